// libFuzzer on files of samples: every micro-batch of one that is taken holds tokens of the vocabulary, and rows and
// labels where they belong.
#include "fuzz.h"

#include "../../llmc/bert_batch.h"

enum { T = 12, B = 3, VOCABULARY = 1000 };

static void check_batch(const BertBatch *b, const SamplesInfo *info) {
  for (size_t n = 0; n < b->N; n++) {
    fuzz_require(b->tokens[n] >= 0 && b->tokens[n] < VOCABULARY, "token");
    fuzz_require(b->positions[n] >= 0 && b->positions[n] < T, "position");
    fuzz_require(b->types[n] == 0 || b->types[n] == 1, "type");
  }
  for (size_t m = 0; m < b->M; m++) {
    const int there = m < b->targets;
    fuzz_require(there ? b->masked_rows[m] >= 0 && (size_t)b->masked_rows[m] < b->N : b->masked_rows[m] == -1, "row");
    fuzz_require(
        there ? b->masked_targets[m] >= 0 && b->masked_targets[m] < VOCABULARY : b->masked_targets[m] == OPS_IGNORE,
        "target");
  }
  const int classes = info->pairs ? 2 : (int)info->num_labels;
  for (size_t slot = 0; slot < B; slot++) {
    fuzz_require(b->parts.lengths[slot] >= 0 && b->parts.lengths[slot] <= T, "length");
    fuzz_require(b->first_rows[slot] >= -1 && b->first_rows[slot] < (int)b->N, "first row");
    fuzz_require(
        b->label_classes[slot] == OPS_IGNORE || (b->label_classes[slot] >= 0 && b->label_classes[slot] < classes),
        "label");
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  ZeroErrors errors = {NULL, 0};
  SampleLoader *loader = sample_loader_open(fuzz_file_header(data, bytes, 13), "-i", T, VOCABULARY, 42, &errors);
  fuzz_require((loader != NULL) == (errors.count == 0), "the result does not agree with the errors");
  fuzz_check_errors(&errors);
  if (loader == NULL) return 0;
  const SamplesInfo info = sample_loader_info(loader);
  fuzz_require(info.num_samples > 0 && info.longest <= T, "samples");
  for (int packed = 0; packed < 2; packed++) {
    const BertBatchShape shape = {B, T, packed, 1, 0.15};
    BertBatches *batches = bert_batches_create(loader, shape);
    for (size_t first = 0; first < info.num_samples; first += B) {
      check_batch(bert_batches_validate(batches, first, info.num_samples), &info);
      const size_t targets = bert_batches_train_targets(batches, first);
      const BertBatch *batch = bert_batches_train(batches, first, first);
      check_batch(batch, &info);
      fuzz_require(batch->targets == targets, "look-ahead");
    }
    bert_batches_free(batches);
  }
  sample_loader_close(loader);
  return 0;
}
