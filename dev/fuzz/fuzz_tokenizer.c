// libFuzzer on the tokenizer file: every token of one that is taken has its bytes, other ids have none.
#include "fuzz.h"

#include "../../llmc/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  ZeroErrors errors = {NULL, 0};
  Tokenizer *tokenizer = tokenizer_open(fuzz_file_llmc(data, bytes), "--tokenizer", &errors);
  fuzz_require((tokenizer != NULL) == (errors.count == 0), "the result does not agree with the errors");
  fuzz_check_errors(&errors);
  if (tokenizer == NULL) return 0;
  const int size = (int)tokenizer_size(tokenizer);
  volatile unsigned sum = 0; // what is read has to be there
  for (int id = -1; id <= size; id++) {
    size_t length = 0;
    const char *piece = tokenizer_decode(tokenizer, id, &length);
    fuzz_require(id >= 0 && id < size ? 1 : piece == NULL, "an id that does not exist has text");
    for (size_t i = 0; piece != NULL && i < length; i++) sum += (unsigned char)piece[i];
  }
  tokenizer_close(tokenizer);
  return 0;
}
