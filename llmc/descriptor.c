// Shapes in words, and their limits.
#include "descriptor.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { VOCAB_MULTIPLE = 128, LIST_BYTES = 64 };

size_t model_pad_vocab(size_t vocab) {
  return (vocab + VOCAB_MULTIPLE - 1) / VOCAB_MULTIPLE * VOCAB_MULTIPLE;
}

int descriptor_parse_size(const char *text, size_t length, size_t *value) {
  *value = 0;
  if (length == 0) return -1;
  for (size_t i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9' || *value > (SIZE_MAX - 9) / 10) return -1;
    *value = *value * 10 + (size_t)(text[i] - '0');
  }
  return 0;
}

// "L=, H=, C="
static void list_keys(const DescriptorKey *keys, size_t num_keys, char list[LIST_BYTES]) {
  size_t used = 0;
  list[0] = '\0';
  for (size_t k = 0; k < num_keys; k++) {
    used += (size_t)snprintf(list + used, LIST_BYTES - used, "%s%c=", k > 0 ? ", " : "", keys[k].name);
  }
}

void descriptor_parse_shape(const char *text, const char *shape, const DescriptorKey *keys, size_t num_keys,
                            const char *example, ZeroErrors *errors) {
  int given[DESCRIPTOR_MAX_KEYS] = {0};
  char list[LIST_BYTES];
  if (num_keys > DESCRIPTOR_MAX_KEYS)
    zero_fatal("%zu keys of a descriptor, at most %d", num_keys, DESCRIPTOR_MAX_KEYS);
  list_keys(keys, num_keys, list);
  for (const char *at = shape;;) {
    const size_t length = strcspn(at, ",");
    size_t k = 0;
    while (k < num_keys && !(length >= 2 && at[0] == keys[k].name && at[1] == '=')) k++;
    if (k == num_keys) {
      zero_errors_add(errors, "-e %s: '%.*s' is not one of %s; write %s", text, (int)length, at, list, example);
    } else if (given[k]++) {
      zero_errors_add(errors, "-e %s: %c= is there twice; give it once", text, keys[k].name);
    } else if (descriptor_parse_size(at + 2, length - 2, keys[k].value) != 0 || *keys[k].value == 0) {
      zero_errors_add(errors, "-e %s: %c= is '%.*s'; give a whole number of 1 or more", text, keys[k].name,
                      (int)(length - 2), at + 2);
    }
    if (at[length] == '\0') break;
    at += length + 1;
  }
  for (size_t k = 0; k < num_keys; k++) {
    if (given[k] || !keys[k].required) continue;
    zero_errors_add(errors, "-e %s: %c= is missing; write %s (V may be left out)", text, keys[k].name, example);
  }
}

int descriptor_check_sizes(const char *place, const DescriptorSize *sizes, size_t num_sizes, ZeroErrors *errors) {
  const int before = errors->count;
  for (size_t i = 0; i < num_sizes; i++) {
    if (sizes[i].value >= 1 && sizes[i].value <= sizes[i].limit) continue;
    zero_errors_add(errors, "-e %s: %s is %zu; it must be from 1 to %zu", place, sizes[i].name, sizes[i].value,
                    sizes[i].limit);
  }
  return errors->count - before;
}

void descriptor_check_fit(const char *place, size_t channels, size_t heads, size_t vocab, size_t padded_vocab,
                          ZeroErrors *errors) {
  if (channels % heads != 0) {
    zero_errors_add(errors, "-e %s: %zu channels do not divide into %zu heads; make C a multiple of H", place,
                    channels, heads);
  }
  if (padded_vocab < vocab || padded_vocab > MODEL_MAX_VOCAB) {
    zero_errors_add(errors, "-e %s: padded vocabulary Vp is %zu; it must be from V, %zu, to %d", place, padded_vocab,
                    vocab, MODEL_MAX_VOCAB);
  }
}
