// libFuzzer on a BERT's config.json: what is taken is a shape in range, with names for its labels.
#include "fuzz.h"

#include "../../llmc/bert_hf.h"

static int is_rate(double rate) {
  return rate >= 0.0 && rate < 1.0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  BertConfig config;
  BertAbout about;
  ZeroErrors errors = {NULL, 0};
  const int result = bert_hf_config(fuzz_folder(HF_CONFIG, data, bytes), &config, &about, &errors);
  fuzz_require((result == 0) == (errors.count == 0), "the result does not agree with the errors");
  fuzz_check_errors(&errors);
  if (result != 0) {
    fuzz_require(about.labels.count == 0 && about.labels.text == NULL, "labels of a file with errors");
    return 0;
  }
  fuzz_require(config.num_layers > 0 && config.hidden > 0 && config.max_positions > 0 && config.type_vocab > 0,
               "sizes");
  fuzz_require(config.channels % config.num_heads == 0, "heads");
  fuzz_require(config.padded_vocab_size >= config.vocab_size && config.padded_vocab_size % 128 == 0, "vocabulary");
  fuzz_require(config.num_labels == 0 && config.nsp == 0, "what it predicts");
  fuzz_require(is_rate(about.dropout.hidden) && is_rate(about.dropout.attention), "dropout");
  fuzz_require(about.dropout.classifier == BERT_DROPOUT_AS_HIDDEN || is_rate(about.dropout.classifier), "classifier");
  size_t letters = 0; // every name is read
  for (size_t i = 0; i < about.labels.count; i++) letters += strlen(about.labels.lines[i]);
  fuzz_require(about.labels.count <= 65536 && letters <= 16 * (bytes + 65536), "labels");
  bert_about_free(&about);
  return 0;
}
