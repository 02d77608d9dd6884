// libFuzzer on a GPT-2's config.json: what is taken is a shape in range, what is not has one-line errors.
#include "fuzz.h"

#include "../../llmc/gpt2_hf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  GPT2Config config;
  GPT2DropoutRates dropout;
  ZeroErrors errors = {NULL, 0};
  const int result = gpt2_hf_config(fuzz_folder(HF_CONFIG, data, bytes), &config, &dropout, &errors);
  fuzz_require((result == 0) == (errors.count == 0), "the result does not agree with the errors");
  fuzz_check_errors(&errors);
  if (result != 0) return 0;
  fuzz_require(config.num_layers > 0 && config.channels > 0 && config.max_seq_len > 0, "sizes");
  fuzz_require(config.channels % config.num_heads == 0, "heads");
  fuzz_require(config.padded_vocab_size >= config.vocab_size && config.padded_vocab_size % 128 == 0, "vocabulary");
  const double rates[] = {dropout.embeddings, dropout.attention, dropout.residual};
  for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++)
    fuzz_require(rates[i] >= 0.0 && rates[i] < 1.0, "dropout");
  return 0;
}
