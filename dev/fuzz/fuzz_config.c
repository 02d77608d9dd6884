// libFuzzer on the configuration file: any text is either taken or refused with one-line errors, and memory is
// sound.
#include "fuzz.h"

#include "../../zero/config_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  ZeroConfigFile file;
  ZeroErrors errors = {NULL, 0};
  const int result = zero_config_text_read("fuzz.json", (const char *)data, bytes, &file, &errors);
  fuzz_require((result == 0) == (errors.count == 0), "the result does not agree with the errors");
  if (result == 0) { // what is taken is in range
    fuzz_require(file.stage.value >= 0 && file.stage.value <= 3, "stage");
    fuzz_require(file.train_batch_size.value >= 0 && file.gradient_accumulation_steps.value >= 0, "batch");
    fuzz_require(file.optimizer.betas.value[0] < 1 && file.optimizer.betas.value[1] < 1, "betas");
    fuzz_require(file.scheduler.warmup_num_steps.value >= 1 && file.scheduler.cycle_first_step_size.value >= 1,
                 "scheduler");
    fuzz_require(!(file.fp16.enabled.value && file.bf16.value), "fp16 with bf16");
    for (int stage = 0; stage <= 3; stage++) zero_config_file_check("fuzz.json", &file, stage, &errors);
  }
  if (file.warning != NULL) fuzz_require(strchr(file.warning, '\n') == NULL, "a warning of several lines");
  fuzz_check_errors(&errors);
  zero_config_file_free(&file);
  return 0;
}
