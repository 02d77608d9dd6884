// model.safetensors.index.json: which file of several has which tensor.
#ifndef LLMC_SAFETENSORS_INDEX_H
#define LLMC_SAFETENSORS_INDEX_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "safetensors.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  const char *tensor, *file;
} SafeIndexEntry;

typedef struct {
  cJSON *root;             // owns the texts
  SafeIndexEntry *entries; // (count), sorted by tensor
  size_t count;
  const char **files; // (num_files), each once, sorted
  size_t num_files;
} SafeIndex;

// The weight_map of the file. Problems go into errors: no JSON, no weight_map, a tensor twice, a file that is no
// plain name in the same folder, too many files. Returns 0, or -1 if there is any. Free the index in both cases.
int safetensors_index_read(const char *path, const char *flag, SafeIndex *out, ZeroErrors *errors);
void safetensors_index_free(SafeIndex *);

// One error for each tensor that is not in the file that the index names, or in a file but not in the index. tensors:
// (count), sorted by name.
void safetensors_index_check(const SafeIndex *, const SafeTensor *tensors, size_t count, const char *path,
                             const char *flag, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
