// DeepSpeed's configuration file: defaults, reading, and what its keys cannot have together.
#include "config_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "config_json.h"
#include "config_walk.h"

// ---------------------------------------------------------------------------------------------------
// Between keys

// Does zero_optimization.offload_param, in its new or an older form, ask for offloading?
static int asks_offload_param(const cJSON *root) {
  const cJSON *zero = cJSON_GetObjectItemCaseSensitive(root, "zero_optimization");
  const cJSON *block = cJSON_GetObjectItemCaseSensitive(zero, "offload_param");
  const cJSON *device = cJSON_GetObjectItemCaseSensitive(block, "device");
  const int on = cJSON_IsString(device) && strcasecmp(device->valuestring, "none") != 0;
  return on || cJSON_IsTrue(block) || cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(zero, "cpu_offload_param"));
}

void zero_config_file_check(const char *name, const ZeroConfigFile *file, int stage, ZeroErrors *errors) {
  if (stage == 3 && file->elastic_checkpoint.value) {
    zero_errors_add(errors,
                    "%s: zero_optimization.elastic_checkpoint: found true with stage 3, which does not have it; "
                    "take the key away",
                    name);
  }
  if (stage < 3 && file->offload_optimizer_ratio.value < 1.0) {
    zero_errors_add(errors,
                    "%s: zero_optimization.offload_optimizer.ratio: found %g with stage %d: Partial offloading only "
                    "supported for ZeRO Stage 3.",
                    name, file->offload_optimizer_ratio.value, stage);
  }
  if (stage < 3 && file->offload_param) {
    zero_errors_add(errors,
                    "%s: zero_optimization.offload_param: found with stage %d, which keeps all parameters on every "
                    "rank; use stage 3, or take the key away",
                    name, stage);
  }
  if (stage >= 2 && file->optimizer.one_bit) {
    zero_errors_add(errors,
                    "%s: optimizer.type: a 1-bit optimizer does not go with ZeRO stage %d; use AdamW, or stage "
                    "0 or 1",
                    name, stage);
  }
}

ZeroType zero_config_file_type(const ZeroConfigFile *file, int *automatic) {
  const ZeroFileInt *fp16 = &file->fp16.enabled, *bf16 = &file->bf16;
  *automatic = 0;
  if (fp16->value) return ZERO_F16;
  if (bf16->value) return ZERO_BF16;
  *automatic = fp16->state == ZERO_KEY_AUTO || bf16->state == ZERO_KEY_AUTO;
  return ZERO_F32;
}

// ---------------------------------------------------------------------------------------------------

void zero_config_file_default(ZeroConfigFile *file) {
  *file = (ZeroConfigFile){
      .gradient_clipping.value = 1.0,
      .offload_optimizer_ratio.value = 1.0,
      .fp16 = {.initial_scale_power.value = 16,
               .loss_scale_window.value = 1000,
               .hysteresis.value = 2,
               .min_loss_scale.value = 1.0},
      .optimizer = {.adam_w_mode.value = 1,
                    .lr.value = 1e-3,
                    .betas.value = {0.9, 0.999},
                    .eps.value = 1e-8,
                    .bias_correction.value = 1},
      .scheduler = {.warmup_max_lr.value = 1e-3,
                    .warmup_num_steps.value = 1000,
                    .cos_min_ratio.value = 1e-4,
                    .range_min_lr.value = 1e-3,
                    .range_step_size.value = 2000,
                    .range_step_rate.value = 1.0,
                    .cycle_first_step_size.value = 2000,
                    .cycle_momentum.value = 1,
                    .cycle_min_mom.value = 0.8,
                    .cycle_max_mom.value = 0.9},
  };
}

static char *make_warning(const char *name, const char *unused) {
  static const char format[] = "warning: %s: known, but without effect here: %s";
  const int length = snprintf(NULL, 0, format, name, unused);
  char *warning = length < 0 ? NULL : malloc((size_t)length + 1);
  if (warning == NULL) zero_fatal("no memory for the warning about %s", name);
  snprintf(warning, (size_t)length + 1, format, name, unused);
  return warning;
}

int zero_config_text_read(const char *name, const char *text, size_t bytes, ZeroConfigFile *out, ZeroErrors *errors) {
  const int errors_before = errors->count;
  zero_config_file_default(out);
  cJSON *root = zero_json_parse(name, text, bytes, errors);
  if (root == NULL) return -1;
  char *unused = zero_config_walk(name, root, out, errors);
  out->offload_param = asks_offload_param(root);
  cJSON_Delete(root);
  if (out->fp16.enabled.value && out->bf16.value) {
    zero_errors_add(errors, "%s: fp16.enabled and bf16.enabled: both are true; enable one of them", name);
  }
  if (unused != NULL) out->warning = make_warning(name, unused);
  free(unused);
  return errors->count == errors_before ? 0 : -1;
}

int zero_config_file_read(const char *path, ZeroConfigFile *out, ZeroErrors *errors) {
  zero_config_file_default(out);
  size_t bytes = 0;
  char *text = zero_json_load(path, &bytes, errors);
  if (text == NULL) return -1;
  const int result = zero_config_text_read(path, text, bytes, out, errors);
  free(text);
  return result;
}

void zero_config_file_free(ZeroConfigFile *file) {
  free(file->warning);
  file->warning = NULL;
}
