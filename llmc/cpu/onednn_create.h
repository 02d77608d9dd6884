// Creating oneDNN's matmul objects: the calls that differ between oneDNN 2.x and 3.x, under the same names.
//
// dnnl_memory_desc_t is a struct in 2.x and a pointer to an object of oneDNN's in 3.x, so it is always passed by
// its address here. Every function returns oneDNN's status.
#ifndef LLMC_CPU_ONEDNN_CREATE_H
#define LLMC_CPU_ONEDNN_CREATE_H

#include <dnnl.h>
#include <dnnl_version.h>
#include <stdint.h>

// description: of a dense matrix of sizes[0] rows and sizes[1] columns, row after row with tag dnnl_ab, column
// after column with dnnl_ba. Ends with destroy_description; what was created from it stays valid.
static inline dnnl_status_t create_description(dnnl_memory_desc_t *description, const dnnl_dims_t sizes,
                                               dnnl_data_type_t type, dnnl_format_tag_t tag) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_memory_desc_create_with_tag(description, 2, sizes, type, tag);
#else
  return dnnl_memory_desc_init_by_tag(description, 2, sizes, type, tag);
#endif
}

static inline dnnl_status_t destroy_description(dnnl_memory_desc_t *description) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_memory_desc_destroy(*description);
#else
  (void)description; // holds nothing
  return dnnl_success;
#endif
}

// memory: a matrix so described, without data: dnnl_memory_set_data_handle gives it some.
static inline dnnl_status_t create_memory(dnnl_memory_t *memory, const dnnl_memory_desc_t *description,
                                          dnnl_engine_t engine) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_memory_create(memory, *description, engine, DNNL_MEMORY_NONE);
#else
  return dnnl_memory_create(memory, description, engine, DNNL_MEMORY_NONE);
#endif
}

// To the result of an operation is added what its destination held before.
static inline dnnl_status_t append_sum(dnnl_post_ops_t post_ops) {
  const float scale = 1.0f;
#if DNNL_VERSION_MAJOR >= 3
  const int32_t zero_point = 0;
  return dnnl_post_ops_append_sum(post_ops, scale, zero_point, dnnl_data_type_undef); // undef: the destination's
#else
  return dnnl_post_ops_append_sum(post_ops, scale);
#endif
}

// matmul: the plan of c = a * b + bias, with the post-operations in attributes; bias may be NULL.
static inline dnnl_status_t plan_matmul(dnnl_primitive_desc_t *matmul, const dnnl_memory_desc_t *a,
                                        const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *bias,
                                        const dnnl_memory_desc_t *c, dnnl_primitive_attr_t attributes,
                                        dnnl_engine_t engine) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_matmul_primitive_desc_create(matmul, engine, *a, *b, bias != NULL ? *bias : NULL, *c, attributes);
#else
  dnnl_matmul_desc_t operation;
  dnnl_status_t status = dnnl_matmul_desc_init(&operation, a, b, bias, c);
  if (status != dnnl_success) return status;
  return dnnl_primitive_desc_create(matmul, &operation, attributes, engine, NULL);
#endif
}

// Whether the plan of a matmul takes b as described.
static inline int plans_right_operand(dnnl_primitive_desc_t matmul, const dnnl_memory_desc_t *b) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_memory_desc_equal(dnnl_primitive_desc_query_md(matmul, dnnl_query_weights_md, 0), *b);
#else
  return dnnl_memory_desc_equal(dnnl_primitive_desc_query_md(matmul, dnnl_query_weights_md, 0), b);
#endif
}

#endif
