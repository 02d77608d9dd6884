// libFuzzer on token files: every window of one that is taken holds tokens of the vocabulary.
#include "fuzz.h"

#include "../../llmc/dataloader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  enum { T = 5, VOCABULARY = 1000 };
  ZeroErrors errors = {NULL, 0};
  DataLoader *loader = dataloader_open(fuzz_file_llmc(data, bytes), "-i", T, VOCABULARY, 42, &errors);
  fuzz_require((loader != NULL) == (errors.count == 0), "the result does not agree with the errors");
  fuzz_check_errors(&errors);
  if (loader == NULL) return 0;
  const size_t windows = dataloader_windows(loader);
  fuzz_require(windows > 0 && windows * T < dataloader_tokens(loader), "windows");
  for (size_t w = 0; w < 2 * windows; w++) { // training: into the second epoch
    int inputs[T], targets[T];
    if (w < windows) dataloader_window(loader, w, inputs, targets);
    dataloader_train_window(loader, w, inputs, targets);
    for (size_t t = 0; t < T; t++) {
      fuzz_require(inputs[t] >= 0 && inputs[t] < VOCABULARY && targets[t] >= 0 && targets[t] < VOCABULARY, "token");
    }
  }
  dataloader_close(loader);
  return 0;
}
