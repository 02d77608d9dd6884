// libFuzzer on a vocabulary: what is taken has every special word once, no line twice, and lines that are in the
// file.
#include "fuzz.h"

#include "../../llmc/bert_text.h"

enum { V = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  BertVocab vocab;
  ZeroErrors errors = {NULL, 0};
  const int result = bert_vocab_read(fuzz_file(data, bytes), "--export", V, &vocab, &errors);
  fuzz_require((result == 0) == (errors.count == 0), "the result does not agree with the errors");
  fuzz_check_errors(&errors);
  if (result != 0) return 0;
  fuzz_require(vocab.words.count > 0 && vocab.words.count <= V, "words");
  fuzz_require(strcmp(vocab.words.lines[vocab.pad], "[PAD]") == 0, "[PAD]");
  fuzz_require(strcmp(vocab.words.lines[vocab.cls], "[CLS]") == 0, "[CLS]");
  fuzz_require(strcmp(vocab.words.lines[vocab.sep], "[SEP]") == 0, "[SEP]");
  fuzz_require(strcmp(vocab.words.lines[vocab.mask], "[MASK]") == 0, "[MASK]");
  size_t letters = 0;
  for (size_t i = 0; i < vocab.words.count; i++) letters += strlen(vocab.words.lines[i]) + 1;
  fuzz_require(letters <= bytes + 1, "more letters than the file has");
  bert_vocab_free(&vocab);
  return 0;
}
