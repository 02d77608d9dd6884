// Token shards: files, windows and the order in which training takes them.
#include "dataloader.h"

#include <unistd.h>

#include "../zero/memory.h"
#include "../zero/philox.h"
#include "clock.h"
#include "files.h"

enum {
  TOKENS_MAGIC = 20240520,
  TOKENS_VERSION = 1,
  SCAN_TOKENS = 1 << 19, // tokens per read when a shard is scanned: 1 MiB
  FEISTEL_ROUNDS = 6,
  PERMUTE_STREAM = 0x5045524d // "PERM": apart from the counters that random_normal uses
};

typedef struct {
  const char *path; // belongs to the files
  size_t tokens;
} Shard;

struct DataLoader {
  ShardFiles files;
  Shard *shards; // (num_shards)
  size_t num_shards;
  size_t windows, tokens;
  size_t T, vocab;
  uint64_t seed;
  uint16_t *buffer; // (T + 1)
  ShardsVerified verified;
  double seconds; // spent on windows
};

// ---------------------------------------------------------------------------------------------------
// Checks at start

static size_t token_offset(size_t token) {
  return LLMC_HEADER_BYTES + token * sizeof(uint16_t);
}

// The number of tokens by the shard's header, which the file's size must confirm. The header's int32 is read
// as unsigned, so a shard may hold up to 2^32 - 1 tokens (8 GiB).
static void check_shard(Shard *shard, const char *flag, ZeroErrors *errors) {
  int header[LLMC_HEADER_INTS];
  char problem[512];
  size_t size = 0;
  int fd = file_open_llmc(shard->path, TOKENS_MAGIC, "a token file",
                          "give token files in llm.c's format, as the scripts in data/ write them", header, &size,
                          problem, sizeof problem);
  if (fd < 0) {
    zero_errors_add(errors, "%s %s: %s", flag, shard->path, problem);
    return;
  }
  close(fd);
  if (header[1] != TOKENS_VERSION) {
    zero_errors_add(errors, "%s %s: token file of version %d, expected %d; prepare the data anew", flag, shard->path,
                    header[1], TOKENS_VERSION);
    return;
  }
  shard->tokens = (uint32_t)header[2];
  size_t expected = token_offset(shard->tokens);
  if (size != expected) {
    zero_errors_add(errors,
                    "%s %s: file is %s than its header says: %zu tokens need %zu bytes, it has %zu; copy or prepare "
                    "it anew",
                    flag, shard->path, size < expected ? "shorter" : "longer", shard->tokens, expected, size);
  }
}

// Index of the first token >= vocab, or count.
static size_t find_bad_token(const uint16_t *tokens, size_t count, size_t vocab) {
  if (vocab > UINT16_MAX) return count;
  unsigned largest = 0;
  for (size_t i = 0; i < count; i++) largest = tokens[i] > largest ? tokens[i] : largest;
  if (largest < vocab) return count;
  size_t bad = 0;
  while (tokens[bad] < vocab) bad++;
  return bad;
}

// Every token of one shard against the vocabulary: a wrong tokenizer shows before anything is written.
static void scan_shard(const Shard *shard, const char *flag, size_t vocab, ZeroErrors *errors) {
  size_t size = 0;
  const char *reason = NULL;
  int fd = file_open(shard->path, &size, &reason);
  if (fd < 0) {
    zero_errors_add(errors, "%s %s: cannot be opened: %s; check the file", flag, shard->path, reason);
    return;
  }
  uint16_t *piece = zero_malloc(SCAN_TOKENS * sizeof *piece, ZERO_MEM_OTHER);
  for (size_t first = 0; first < shard->tokens; first += SCAN_TOKENS) {
    size_t left = shard->tokens - first;
    size_t count = left < SCAN_TOKENS ? left : SCAN_TOKENS;
    reason = file_read(fd, piece, count * sizeof *piece, token_offset(first));
    if (reason != NULL) {
      zero_errors_add(errors, "%s %s: cannot be read at byte %zu: %s; check the file", flag, shard->path,
                      token_offset(first), reason);
      break;
    }
    size_t bad = find_bad_token(piece, count, vocab);
    if (bad < count) {
      zero_errors_add(errors,
                      "%s %s: token %u at position %zu is outside the model's vocabulary of %zu; give the V of the "
                      "tokenizer that made the data (-e …,V=…), or data made for this model",
                      flag, shard->path, piece[bad], first + bad, vocab);
      break;
    }
  }
  zero_free(piece);
  close(fd);
}

static void open_shards(DataLoader *loader, const char *pattern, const char *flag, ZeroErrors *errors) {
  loader->num_shards = shard_files_count(&loader->files);
  loader->shards = zero_malloc(loader->num_shards * sizeof *loader->shards, ZERO_MEM_OTHER);
  int problems = errors->count;
  size_t longest = 0;
  for (size_t s = 0; s < loader->num_shards; s++) {
    Shard *shard = &loader->shards[s];
    shard->path = shard_files_path(&loader->files, s);
    check_shard(shard, flag, errors);
    loader->tokens += shard->tokens;
    // The last window's targets need one token more than its inputs.
    shard_files_add(&loader->files, shard->tokens > 0 ? (shard->tokens - 1) / loader->T : 0);
    if (shard->tokens > longest) longest = shard->tokens;
  }
  if (errors->count > problems) return;
  loader->windows = shard_files_items(&loader->files);
  if (loader->windows == 0) {
    zero_errors_add(
        errors,
        "%s %s: no file has the %zu tokens that -t %zu needs (T + 1), the longest has %zu; give a smaller "
        "-t or more text",
        flag, pattern, loader->T + 1, loader->T, longest);
    return;
  }
  scan_shard(&loader->shards[0], flag, loader->vocab, errors);
}

DataLoader *dataloader_open(const char *pattern, const char *flag, size_t T, size_t vocab, uint64_t seed,
                            ZeroErrors *errors) {
  DataLoader *loader = zero_malloc(sizeof *loader, ZERO_MEM_OTHER);
  if (shard_files_find(&loader->files, pattern, flag, errors) != 0) {
    dataloader_close(loader);
    return NULL;
  }
  loader->T = T;
  loader->vocab = vocab;
  loader->seed = seed;
  loader->buffer = zero_malloc((T + 1) * sizeof *loader->buffer, ZERO_MEM_OTHER);

  int problems = errors->count;
  open_shards(loader, pattern, flag, errors);
  if (errors->count > problems) {
    dataloader_close(loader);
    return NULL;
  }
  return loader;
}

void dataloader_verify(DataLoader *loader, const char *flag, int rank, int ranks, ZeroErrors *errors) {
  loader->verified = shard_files_verify(&loader->files, flag, rank, ranks, errors);
}

ShardsVerified dataloader_verified(const DataLoader *loader) {
  return loader->verified;
}

size_t dataloader_windows(const DataLoader *loader) {
  return loader->windows;
}
size_t dataloader_tokens(const DataLoader *loader) {
  return loader->tokens;
}
size_t dataloader_shards(const DataLoader *loader) {
  return loader->num_shards;
}

void dataloader_close(DataLoader *loader) {
  if (loader == NULL) return;
  shard_files_close(&loader->files);
  zero_free(loader->shards);
  zero_free(loader->buffer);
  zero_free(loader);
}

// ---------------------------------------------------------------------------------------------------
// Windows

static void read_window(DataLoader *loader, size_t w, int *inputs, int *targets) {
  if (w >= loader->windows) zero_fatal("window %zu asked for, the data has %zu", w, loader->windows);
  const ShardPlace place = shard_files_place(&loader->files, w);
  const Shard *shard = &loader->shards[place.shard];
  size_t first = place.item * loader->T;
  size_t count = loader->T + 1;
  uint16_t *tokens = loader->buffer; // (T + 1)
  const char *reason =
      file_read(shard_files_fd(&loader->files, place.shard), tokens, count * sizeof *tokens, token_offset(first));
  if (reason != NULL) {
    zero_fatal("%s: %zu tokens at byte %zu cannot be read: %s; was the file changed?", shard->path, count,
               token_offset(first), reason);
  }
  size_t bad = find_bad_token(tokens, count, loader->vocab);
  if (bad < count) {
    zero_fatal(
        "%s: token %u at position %zu is outside the model's vocabulary of %zu; prepare this file anew with "
        "the tokenizer of the others",
        shard->path, tokens[bad], first + bad, loader->vocab);
  }
  for (size_t t = 0; t < loader->T; t++) {
    inputs[t] = tokens[t];
    targets[t] = tokens[t + 1];
  }
}

void dataloader_window(DataLoader *loader, size_t w, int *inputs, int *targets) {
  const double start = clock_now();
  read_window(loader, w, inputs, targets);
  loader->seconds += clock_now() - start;
}

double dataloader_seconds(const DataLoader *loader) {
  return loader->seconds;
}

void dataloader_train_window(DataLoader *loader, size_t i, int *inputs, int *targets) {
  const double start = clock_now();
  size_t epoch = i / loader->windows;
  size_t w = dataloader_permute(i % loader->windows, loader->windows, loader->seed, epoch);
  read_window(loader, w, inputs, targets);
  loader->seconds += clock_now() - start;
}

// ---------------------------------------------------------------------------------------------------
// The permutation
//
// A Feistel network is a bijection of the numbers of 2h bits whatever its round function is (Luby and Rackoff,
// 1988); here Philox of (half, round, epoch) under the seed. h is the smallest with n <= 2^2h, so the domain is
// less than 4n; a result outside [0, n) is put through again until it falls inside (cycle walking: Black and
// Rogaway, CT-RSA 2002), less than 4 times on average.

static uint64_t feistel(uint64_t x, unsigned half_bits, uint64_t seed, uint64_t epoch) {
  const uint64_t mask = (UINT64_C(1) << half_bits) - 1;
  const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
  uint64_t left = x >> half_bits, right = x & mask;
  for (uint32_t round = 0; round < FEISTEL_ROUNDS; round++) {
    const uint32_t counter[4] = {(uint32_t)right, PERMUTE_STREAM + round, (uint32_t)epoch, (uint32_t)(epoch >> 32)};
    uint32_t bits[4];
    zero_philox4x32(counter, key, bits);
    uint64_t next = left ^ (bits[0] & mask);
    left = right;
    right = next;
  }
  return left << half_bits | right;
}

size_t dataloader_permute(size_t i, size_t n, uint64_t seed, uint64_t epoch) {
  unsigned half_bits = 1;
  while (half_bits < 32 && (n - 1) >> (2 * half_bits) != 0) half_bits++;
  uint64_t x = i;
  do {
    x = feistel(x, half_bits, seed, epoch);
  } while (x >= n);
  return (size_t)x;
}
