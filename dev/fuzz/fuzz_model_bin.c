// libFuzzer on llm.c's model file: what is taken can be read to its last element, what is not has one-line errors.
#include "fuzz.h"

#include "../../llmc/gpt2_bin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  GPT2Config config;
  ZeroErrors errors = {NULL, 0};
  GPT2Bin *bin = gpt2_bin_open(fuzz_file_llmc(data, bytes), &config, &errors);
  fuzz_require((bin != NULL) == (errors.count == 0), "the result does not agree with the errors");
  fuzz_check_errors(&errors);
  if (bin == NULL) return 0;
  fuzz_require(config.channels % config.num_heads == 0, "channels and heads");
  fuzz_require(config.padded_vocab_size >= config.vocab_size, "vocabulary");
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    size_t rows, cols;
    gpt2_tensor_shape(&config, (GPT2Tensor)t, &rows, &cols);
    float *out = malloc(rows * cols * sizeof *out);
    fuzz_require(out != NULL, "no memory for a tensor of a small file");
    size_t layers = gpt2_tensor_in_block((GPT2Tensor)t) ? config.num_layers : 1;
    for (size_t l = 0; l < layers; l++) gpt2_bin_read(bin, (GPT2Tensor)t, l, 0, rows * cols, out);
    free(out);
  }
  gpt2_bin_close(bin);
  return 0;
}
