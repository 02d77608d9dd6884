// What the descriptors of all models have in common: a shape in words such as L=4,H=4,C=128, and the limits of one.
#ifndef LLMC_DESCRIPTOR_H
#define LLMC_DESCRIPTOR_H

#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

// Far above any model, and small enough for every size in bytes to fit into 64 bits:
// the largest, 12 L C^2 elements of 4 bytes, is below 2^62.
enum {
  MODEL_MAX_LAYERS = 1 << 14,
  MODEL_MAX_CHANNELS = 1 << 20,
  MODEL_MAX_POSITIONS = 1 << 24,
  MODEL_MAX_VOCAB = 1 << 24
};

// The vocabulary rounded up to a multiple of 128: what Vp is where no file says otherwise.
size_t model_pad_vocab(size_t vocab);

// Decimal digits alone, no more than fit. Returns 0, or -1 for anything else.
int descriptor_parse_size(const char *text, size_t length, size_t *value);

typedef struct {
  char name;
  size_t *value;
  int required;
} DescriptorKey;
enum { DESCRIPTOR_MAX_KEYS = 8 };

// shape: KEY=NUMBER, comma between them, in any order; a value that is not given stays. text: the whole argument of
// -e, example: a good shape, for messages. One error for each part that is no such key, is there twice or is not a
// number of 1 or more, and for each required key that is missing.
void descriptor_parse_shape(const char *text, const char *shape, const DescriptorKey *keys, size_t num_keys,
                            const char *example, ZeroErrors *errors);

typedef struct {
  const char *name;
  size_t value, limit;
} DescriptorSize;

// One error for each size that is not from 1 to its limit. place: the argument of -e. Returns their number.
int descriptor_check_sizes(const char *place, const DescriptorSize *sizes, size_t num_sizes, ZeroErrors *errors);

// Errors if C channels do not divide into H heads, or Vp is not from V to MODEL_MAX_VOCAB.
void descriptor_check_fit(const char *place, size_t channels, size_t heads, size_t vocab, size_t padded_vocab,
                          ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
