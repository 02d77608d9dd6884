// The cache of oneDNN matmul primitives (oneDNN 2.x or 3.x, C API).
//
// The same bits for any number of threads hold as long as oneDNN does not split the sum over k by that number. With
// vectors versions 2.6 and 3.2 do so only where a is transposed, k is 2,048 or more and m and n are few, or rows have
// gaps (measured with 2 to 48 threads, m up to 2,304, n up to 768, k up to 8,192): callers with a transposed keep k
// below that, see PRODUCT_SLICE_ROWS in product.h, and matrices are dense. On the matrix unit (AMX) it cuts k by a
// plan that weighs the number of threads too, from k = 768 on: those products are ours (unit_product.h), and a
// program built without the unit's instructions forbids oneDNN to use them. dev/test/test_ops_threads.c watches over
// all this.
#include "onednn.h"

#include <omp.h>
#include <stdint.h>
#include <stdlib.h>

#include "../../zero/error.h"
#include "../../zero/memory.h"
#include "../plan_places.h"
#include "matrix_unit.h"
#include "onednn_create.h"
#include "pack.h"
#include "parallel.h"

// What makes two multiplications use the same primitive. All members have one size: no padding to compare.
// oneDNN plans for the number of threads at creation, hence `threads`.
typedef struct {
  uint64_t m, n, k;
  uint64_t a_transposed, b_transposed;
  uint64_t bias, accumulate;
  uint64_t type, out_type;
  uint64_t threads;
} Key;

typedef struct {
  Key key;
  dnnl_primitive_t primitive;
  dnnl_memory_t a, b, bias, c;
  int packs; // b is packed before it is multiplied
} Entry;

// A GPT-2 uses about 20 shapes; more than this many at once only cost their creation again.
enum { CACHE_ENTRIES = 128 };

// A packed copy of bf16 costs as much as the product of about 10 rows, stored transposed 20, and makes it 4 to 10 %
// faster: from so many rows on it pays. Larger matrices, such as a whole head, are used as they are.
enum { PACK_FEWEST_ROWS = 512, PACK_FEWEST_ROWS_TRANSPOSED = 1024 };
static const size_t PACK_MOST_BYTES = (size_t)64 << 20;

// In fp32 the copy costs what it gains, but for rows so far apart that a column's lie in few of a cache's sets, each
// replacing the one before: half the speed where L3 is slow. Against rows of a power of two oneDNN has a copy of its
// own.
enum { PACK_FEWEST_ROWS_CLASHING = 128, CLASHING_BYTES = 2048 };

// The process's engine and primitives. The operations have no context of their own to hold them.
static struct {
  dnnl_engine_t engine;
  dnnl_stream_t stream;
  PlanPlaces places;
  Entry entries[CACHE_ENTRIES];
  void *packed; // the right operand of the product under way; held from call to call
  size_t packed_bytes;
} cache;

static void check_status(dnnl_status_t status, const char *call, const Key *key) {
  if (status == dnnl_success) return;
  zero_fatal("oneDNN: %s gave status %d for m %llu, n %llu, k %llu, transposed %llu and %llu", call, (int)status,
             (unsigned long long)key->m, (unsigned long long)key->n, (unsigned long long)key->k,
             (unsigned long long)key->a_transposed, (unsigned long long)key->b_transposed);
}

#define CHECK(key, call) check_status(call, #call, key)

static dnnl_data_type_t data_type(ZeroType type) {
  switch (type) {
    case ZERO_F32:
      return dnnl_f32;
    case ZERO_BF16:
      return dnnl_bf16;
    default:
      zero_fatal("oneDNN: expected fp32 or bf16, found type %d", (int)type);
  }
}

// Before oneDNN's first use: later it would refuse. Who sets ONEDNN_MAX_CPU_ISA decides alone.
static void forbid_unit_of_others(void) {
  static int asked;
  if (MATRIX_UNIT || asked) return;
  asked = 1;
  if (getenv("ONEDNN_MAX_CPU_ISA") == NULL) {
    const Key none = {0};
    CHECK(&none, dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_bf16));
  }
}

static int has_isa(dnnl_cpu_isa_t isa) {
  forbid_unit_of_others();
  return (dnnl_get_effective_cpu_isa() & isa) == isa;
}

int onednn_has_bf16(void) {
  return has_isa(dnnl_cpu_isa_avx512_core_bf16);
}

int onednn_has_matrix_unit(void) {
  return MATRIX_UNIT && has_isa(dnnl_cpu_isa_avx512_core_amx);
}

// A dense (rows, columns) matrix; transposed: stored as (columns, rows).
static dnnl_memory_desc_t describe(const Key *key, uint64_t rows, uint64_t columns, uint64_t transposed,
                                   uint64_t type) {
  dnnl_memory_desc_t description;
  dnnl_dims_t sizes = {(dnnl_dim_t)rows, (dnnl_dim_t)columns};
  CHECK(key, create_description(&description, sizes, data_type((ZeroType)type), transposed ? dnnl_ba : dnnl_ab));
  return description;
}

static dnnl_primitive_attr_t create_attributes(const Key *key) {
  dnnl_primitive_attr_t attributes;
  CHECK(key, dnnl_primitive_attr_create(&attributes));
  if (key->accumulate) {
    dnnl_post_ops_t post_ops;
    CHECK(key, dnnl_post_ops_create(&post_ops));
    CHECK(key, append_sum(post_ops));
    CHECK(key, dnnl_primitive_attr_set_post_ops(attributes, post_ops));
    CHECK(key, dnnl_post_ops_destroy(post_ops));
  }
  return attributes;
}

static size_t fewest_rows_to_pack(const Key *key) {
  if (key->type == ZERO_BF16) return key->b_transposed ? PACK_FEWEST_ROWS_TRANSPOSED : PACK_FEWEST_ROWS;
  const int power_of_two = (key->n & (key->n - 1)) == 0;
  const int clashes = !key->b_transposed && key->n * sizeof(float) % CLASHING_BYTES == 0 && !power_of_two;
  return clashes ? PACK_FEWEST_ROWS_CLASHING : SIZE_MAX;
}

// Whether b is to be packed: then b's description becomes that of the copy. Only where oneDNN, free to choose, would
// choose the layout of pack.h: what its kernels read depends on the processor and on the shape.
static int choose_packed(const Key *key, const dnnl_memory_desc_t *a, dnnl_memory_desc_t *b,
                         const dnnl_memory_desc_t *bias, const dnnl_memory_desc_t *c,
                         dnnl_primitive_attr_t attributes) {
  if (key->m < fewest_rows_to_pack(key) || key->k % PACK_DEPTH != 0 ||
      pack_bytes(key->k, key->n, (ZeroType)key->type) > PACK_MOST_BYTES) {
    return 0;
  }
  const dnnl_dims_t sizes = {(dnnl_dim_t)key->k, (dnnl_dim_t)key->n};
  const dnnl_format_tag_t layout = key->type == ZERO_BF16 ? dnnl_BA16a64b2a : dnnl_BA16a64b;
  dnnl_memory_desc_t any, packed;
  CHECK(key, create_description(&any, sizes, data_type((ZeroType)key->type), dnnl_format_tag_any));
  CHECK(key, create_description(&packed, sizes, data_type((ZeroType)key->type), layout));
  dnnl_primitive_desc_t plan;
  CHECK(key, plan_matmul(&plan, a, &any, bias, c, attributes, cache.engine));
  const int same = plans_right_operand(plan, &packed);
  CHECK(key, dnnl_primitive_desc_destroy(plan));
  CHECK(key, destroy_description(&any));
  CHECK(key, destroy_description(same ? b : &packed));
  if (same) *b = packed;
  return same;
}

static void create_entry(Entry *entry, const Key *key) {
  dnnl_memory_desc_t a = describe(key, key->m, key->k, key->a_transposed, key->type);
  dnnl_memory_desc_t b = describe(key, key->k, key->n, key->b_transposed, key->type);
  dnnl_memory_desc_t bias = describe(key, 1, key->n, 0, key->type);
  dnnl_memory_desc_t c = describe(key, key->m, key->n, 0, key->out_type);

  *entry = (Entry){.key = *key};
  dnnl_primitive_attr_t attributes = create_attributes(key);
  entry->packs = choose_packed(key, &a, &b, key->bias ? &bias : NULL, &c, attributes);
  dnnl_primitive_desc_t plan;
  CHECK(key, plan_matmul(&plan, &a, &b, key->bias ? &bias : NULL, &c, attributes, cache.engine));
  CHECK(key, dnnl_primitive_create(&entry->primitive, plan));
  CHECK(key, create_memory(&entry->a, &a, cache.engine));
  CHECK(key, create_memory(&entry->b, &b, cache.engine));
  CHECK(key, create_memory(&entry->bias, &bias, cache.engine));
  CHECK(key, create_memory(&entry->c, &c, cache.engine));
  CHECK(key, dnnl_primitive_desc_destroy(plan));
  CHECK(key, dnnl_primitive_attr_destroy(attributes));
  CHECK(key, destroy_description(&a));
  CHECK(key, destroy_description(&b));
  CHECK(key, destroy_description(&bias));
  CHECK(key, destroy_description(&c));
}

static void destroy_entry(Entry *entry) {
  CHECK(&entry->key, dnnl_memory_destroy(entry->a));
  CHECK(&entry->key, dnnl_memory_destroy(entry->b));
  CHECK(&entry->key, dnnl_memory_destroy(entry->bias));
  CHECK(&entry->key, dnnl_memory_destroy(entry->c));
  CHECK(&entry->key, dnnl_primitive_destroy(entry->primitive));
}

static Entry *find_entry(const Key *key) {
  size_t place;
  const PlanState state = plan_places_find(&cache.places, CACHE_ENTRIES, cache.entries, sizeof cache.entries[0], key,
                                           sizeof *key, &place);
  Entry *entry = &cache.entries[place];
  if (state == PLAN_KNOWN) return entry;
  if (cache.engine == NULL) {
    forbid_unit_of_others();
    CHECK(key, dnnl_engine_create(&cache.engine, dnnl_cpu, 0));
    CHECK(key, dnnl_stream_create(&cache.stream, cache.engine, dnnl_stream_default_flags));
  }
  if (state == PLAN_REPLACES) destroy_entry(entry);
  create_entry(entry, key);
  return entry;
}

void onednn_release(void) {
  zero_free(cache.packed);
  cache.packed = NULL;
  cache.packed_bytes = 0;
}

static Entry *find_product(const Matmul *matmul) {
  const Key key = {
      .m = matmul->m,
      .n = matmul->n,
      .k = matmul->k,
      .a_transposed = matmul->a.transposed != 0,
      .b_transposed = matmul->b.transposed != 0,
      .bias = matmul->bias != NULL,
      .accumulate = matmul->accumulate != 0,
      .type = matmul->type,
      .out_type = matmul->out_type,
      .threads = (uint64_t)omp_get_max_threads(),
  };
  return find_entry(&key);
}

// The right operand as an entry takes it.
static const void *right_operand(const Matmul *matmul, const Entry *entry) {
  if (!entry->packs) return matmul->b.data;
  const size_t bytes = pack_bytes(matmul->k, matmul->n, matmul->type);
  if (cache.packed_bytes < bytes) {
    zero_free(cache.packed);
    cache.packed = zero_malloc(bytes, ZERO_MEM_ACTIVATIONS);
    cache.packed_bytes = bytes;
  }
  pack_right(cache.packed, matmul->b, matmul->k, matmul->n, matmul->type);
  return cache.packed;
}

void onednn_matmul(const Matmul *matmul) {
  const Entry *entry = find_product(matmul);
  const Key *key = &entry->key;
  // oneDNN's memory objects take pointers to writable data, also for what they only read.
  CHECK(key, dnnl_memory_set_data_handle(entry->a, (void *)matmul->a.data));
  CHECK(key, dnnl_memory_set_data_handle(entry->b, (void *)right_operand(matmul, entry)));
  CHECK(key, dnnl_memory_set_data_handle(entry->c, matmul->c));
  dnnl_exec_arg_t arguments[4] = {{DNNL_ARG_SRC, entry->a}, {DNNL_ARG_WEIGHTS, entry->b}, {DNNL_ARG_DST, entry->c}};
  int count = 3;
  if (matmul->bias != NULL) {
    CHECK(key, dnnl_memory_set_data_handle(entry->bias, (void *)matmul->bias));
    arguments[count++] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, entry->bias};
  }
  CHECK(key, dnnl_primitive_execute(entry->primitive, cache.stream, count, arguments));
  CHECK(key, dnnl_stream_wait(cache.stream));
}
