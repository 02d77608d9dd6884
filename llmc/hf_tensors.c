// The tensors of a Hugging Face folder against those of a model: found by name, checked, and what is left over
// listed.
#include "hf_tensors.h"

#include <stdio.h>
#include <string.h>

#include "../zero/memory.h"
#include "../zero/words.h"
#include "hf_config.h"
#include "json_file.h"

enum { MAX_LISTED = 100 }; // missing or unknown tensors that are named one by one

HFCheck hf_check_begin(const SafeTensors *safe, const char *prefix, ZeroErrors *errors) {
  HFCheck check = {.safe = safe, .prefix = prefix, .errors = errors};
  check.known = zero_malloc(safe->count + 1, ZERO_MEM_OTHER);
  return check;
}

void hf_check_end(HFCheck *check) {
  zero_free(check->known);
  check->known = NULL;
}

const char *hf_without_prefix(const char *name, const char *prefix) {
  return strncmp(name, prefix, strlen(prefix)) == 0 ? name + strlen(prefix) : name;
}

const SafeTensor *hf_check_find(HFCheck *check, const char *name) {
  const char *bare = hf_without_prefix(name, check->prefix);
  const SafeTensor *with = safetensors_find(check->safe, name);
  const SafeTensor *without = bare != name ? safetensors_find(check->safe, bare) : NULL;
  if (with != NULL) check->known[with - check->safe->tensors] = 1;
  if (without != NULL) check->known[without - check->safe->tensors] = 1;
  if (with != NULL && without != NULL) {
    zero_errors_add(check->errors, "-e %s: %s is there twice, as %s too; keep one of them", with->path, with->name,
                    without->name);
  }
  return with != NULL ? with : without;
}

void hf_check_missing(HFCheck *check, const char *name) {
  if (check->missing++ >= MAX_LISTED) return;
  zero_errors_add(check->errors, "-e %s: %s is missing; copy or download the whole folder again", check->safe->path,
                  name);
}

// "[768, 2304]"
static void shape_text(const size_t *shape, int ndim, char text[JSON_NAME_BYTES]) {
  size_t at = 0;
  text[0] = '\0';
  for (int d = 0; d < ndim && at < JSON_NAME_BYTES; d++) {
    at += (size_t)snprintf(text + at, JSON_NAME_BYTES - at, "%s%zu", d == 0 ? "[" : ", ", shape[d]);
  }
  if (at < JSON_NAME_BYTES) snprintf(text + at, JSON_NAME_BYTES - at, "%s", ndim == 0 ? "[]" : "]");
}

void hf_check_tensor(const HFCheck *check, const SafeTensor *found, const size_t *shape, int ndim) {
  int differs = found->ndim != ndim;
  for (int d = 0; d < ndim && !differs; d++) differs = found->shape[d] != shape[d];
  ZeroType type;
  if (differs) {
    char here[JSON_NAME_BYTES], expected[JSON_NAME_BYTES];
    shape_text(found->shape, found->ndim, here);
    shape_text(shape, ndim, expected);
    zero_errors_add(check->errors, "-e %s: %s has the shape %s, by %s it is %s; the two do not belong together",
                    found->path, found->name, here, HF_CONFIG, expected);
  } else if (!safetensors_float_type(found, &type)) {
    zero_errors_add(check->errors, "-e %s: %s is of type %s; F32, BF16 and F16 can be read", found->path, found->name,
                    found->dtype);
  }
}

void hf_check_rest(const HFCheck *check, int (*ignored)(const char *name), const char *model) {
  const SafeTensors *safe = check->safe;
  char name[JSON_NAME_BYTES];
  size_t unknown = 0;
  if (check->missing > MAX_LISTED) {
    zero_errors_add(check->errors, "-e %s: %zu more tensors are missing", safe->path, check->missing - MAX_LISTED);
  }
  for (size_t i = 0; i < safe->count; i++) {
    const SafeTensor *tensor = &safe->tensors[i];
    if (check->known[i] || ignored(hf_without_prefix(tensor->name, check->prefix)) || unknown++ >= MAX_LISTED)
      continue;
    zero_errors_add(check->errors, "-e %s: %s is no tensor of %s; is it another model's file?", tensor->path,
                    zero_printable(name, sizeof name, tensor->name), model);
  }
  if (unknown > MAX_LISTED) {
    zero_errors_add(check->errors, "-e %s: %zu more tensors are not the model's", safe->path, unknown - MAX_LISTED);
  }
}

const char *hf_behind_layer(const char *name, const char *blocks) {
  if (strncmp(name, blocks, strlen(blocks)) != 0) return NULL;
  name += strlen(blocks);
  const size_t digits = strspn(name, "0123456789");
  return digits > 0 && name[digits] == '.' ? name + digits + 1 : NULL;
}
