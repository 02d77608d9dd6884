// Token ids to bytes, from llm.c's tokenizer file.
#include "tokenizer.h"

#include <stdint.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "files.h"

enum { TOKENIZER_MAGIC = 20240328, TOKENIZER_VERSION = 2 };
static const char FIX[] = "give the tokenizer file that belongs to the data, as the scripts in data/ write it";

struct Tokenizer {
  size_t size;
  int eot;
  unsigned char *text; // the file after its header: per token a length byte and its bytes
  size_t *starts;      // (size) where each token's length byte is
};

// Fills starts; returns the number of tokens found whole in `bytes` bytes, and where the last one ends.
static size_t index_tokens(Tokenizer *tokenizer, size_t bytes, size_t *end) {
  size_t at = 0;
  for (size_t id = 0; id < tokenizer->size; id++) {
    if (at >= bytes || tokenizer->text[at] > bytes - at - 1) {
      *end = at;
      return id;
    }
    tokenizer->starts[id] = at;
    at += 1 + (size_t)tokenizer->text[at];
  }
  *end = at;
  return tokenizer->size;
}

static void read_tokens(Tokenizer *tokenizer, int fd, size_t bytes, const char *path, const char *flag,
                        ZeroErrors *errors) {
  const char *reason = file_read(fd, tokenizer->text, bytes, LLMC_HEADER_BYTES);
  if (reason != NULL) {
    zero_errors_add(errors, "%s %s: cannot be read: %s; %s", flag, path, reason, FIX);
    return;
  }
  size_t end = 0;
  size_t found = index_tokens(tokenizer, bytes, &end);
  if (found < tokenizer->size) {
    zero_errors_add(errors, "%s %s: file is truncated: it ends in token %zu of %zu; %s", flag, path, found,
                    tokenizer->size, FIX);
  } else if (end != bytes) {
    zero_errors_add(errors, "%s %s: %zu bytes follow the last of its %zu tokens; %s", flag, path, bytes - end,
                    tokenizer->size, FIX);
  }
}

Tokenizer *tokenizer_open(const char *path, const char *flag, ZeroErrors *errors) {
  int header[LLMC_HEADER_INTS];
  char problem[512];
  size_t file_bytes = 0;
  int fd =
      file_open_llmc(path, TOKENIZER_MAGIC, "a tokenizer file", FIX, header, &file_bytes, problem, sizeof problem);
  if (fd < 0) {
    zero_errors_add(errors, "%s %s: %s", flag, path, problem);
    return NULL;
  }
  const int version = header[1], vocab = header[2], eot = header[3];
  size_t bytes = file_bytes - LLMC_HEADER_BYTES;
  int problems = errors->count;
  if (version != TOKENIZER_VERSION) {
    zero_errors_add(errors, "%s %s: tokenizer file of version %d, expected %d; %s", flag, path, version,
                    TOKENIZER_VERSION, FIX);
  } else if (vocab <= 0 || (size_t)vocab > bytes) {
    // every token has a length byte
    zero_errors_add(errors, "%s %s: header says %d tokens, but the %zu bytes after it can hold 1 to %zu; %s", flag,
                    path, vocab, bytes, bytes, FIX);
  } else if (eot < -1 || eot >= vocab) {
    zero_errors_add(errors, "%s %s: header says end-of-text is token %d, but the tokens are 0 to %d; %s", flag, path,
                    eot, vocab - 1, FIX);
  }
  if (errors->count > problems) {
    close(fd);
    return NULL;
  }
  Tokenizer *tokenizer = zero_malloc(sizeof *tokenizer, ZERO_MEM_OTHER);
  tokenizer->size = (size_t)vocab;
  tokenizer->eot = eot;
  tokenizer->text = zero_malloc(bytes, ZERO_MEM_OTHER);
  tokenizer->starts = zero_malloc(tokenizer->size * sizeof *tokenizer->starts, ZERO_MEM_OTHER);
  read_tokens(tokenizer, fd, bytes, path, flag, errors);
  close(fd);
  if (errors->count > problems) {
    tokenizer_close(tokenizer);
    return NULL;
  }
  return tokenizer;
}

size_t tokenizer_size(const Tokenizer *tokenizer) {
  return tokenizer->size;
}
int tokenizer_eot(const Tokenizer *tokenizer) {
  return tokenizer->eot;
}

const char *tokenizer_decode(const Tokenizer *tokenizer, int id, size_t *length) {
  *length = 0;
  if (id < 0 || (size_t)id >= tokenizer->size) return NULL;
  const unsigned char *entry = tokenizer->text + tokenizer->starts[id];
  if (entry[0] == 0) return NULL;
  *length = entry[0];
  return (const char *)(entry + 1);
}

void tokenizer_close(Tokenizer *tokenizer) {
  if (tokenizer == NULL) return;
  zero_free(tokenizer->text);
  zero_free(tokenizer->starts);
  zero_free(tokenizer);
}
