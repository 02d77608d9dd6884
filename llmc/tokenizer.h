// Token ids to bytes: llm.c's tokenizer file (magic 20240328, version 2; header [2] vocabulary, [3] the
// end-of-text id; then per token a length byte and its bytes).
#ifndef LLMC_TOKENIZER_H
#define LLMC_TOKENIZER_H

#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Tokenizer Tokenizer;

// Problems go into errors (then NULL): missing, wrong magic or version, truncated, absurd header.
Tokenizer *tokenizer_open(const char *path, const char *flag, ZeroErrors *errors);
size_t tokenizer_size(const Tokenizer *);
int tokenizer_eot(const Tokenizer *);
// The bytes of a token, *length of them; NULL if the id has no text (then print it as <id>).
const char *tokenizer_decode(const Tokenizer *, int id, size_t *length);
void tokenizer_close(Tokenizer *);

#ifdef __cplusplus
}
#endif
#endif
