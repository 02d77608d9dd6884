// The engine's whole state in one file, and back at any stage and number of ranks.
#include "checkpoint.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "engine.h"

static const char MAGIC[8] = "ZEROCKPT"; // without a 0 at its end
enum { VERSION = 1 };
enum { PIECE_BYTES = 1 << 20 };            // read and hashed at a time
enum { MAX_DESCRIPTION_BYTES = 64 << 20 }; // far above any model's: a damaged header must not ask for all memory

static const ZeroKind KINDS[] = {ZERO_MASTER, ZERO_EXP_AVG, ZERO_EXP_AVG_SQ};
enum { NUM_KINDS = sizeof KINDS / sizeof KINDS[0] };

typedef struct {
  char magic[8];
  uint32_t version;
  uint32_t type; // ZeroType that the run computed in: the loss scale has a meaning in fp16 alone
  uint64_t description_bytes;
  uint64_t extra_bytes;
  uint64_t applied, skipped; // steps
  // What ZeroLossScaler counts.
  double scale;
  uint64_t scale_iteration;
  int64_t scale_last_overflow;
  int64_t scale_hysteresis_left;
} Header;
_Static_assert(sizeof(Header) == 80, "the header goes to the file as it is and may have no gaps");
_Static_assert(sizeof(off_t) >= 8, "checkpoints over 2 GiB need 64-bit offsets");

// ---------------------------------------------------------------- the file's layout

// One line per tensor, as people read it in errors: `unit 1 block, qkvw: 384 x 128`. To be freed.
static char *describe(const ZeroEngine *e, size_t *bytes) {
  char *text = NULL;
  FILE *out = open_memstream(&text, bytes);
  if (!out) zero_fatal("no memory for the description of a checkpoint");
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    for (int t = 0; t < unit->layout.num_tensors; t++) {
      const ZeroTensor *tensor = &unit->layout.tensors[t];
      fprintf(out, "unit %d %s, %s:", u, unit->name, tensor->name);
      for (int d = 0; d < tensor->ndim; d++) fprintf(out, "%s%zu", d == 0 ? " " : " x ", tensor->shape[d]);
      fputc('\n', out);
    }
  }
  const int failed = ferror(out);
  if (fclose(out) != 0 || failed) zero_fatal("no memory for the description of a checkpoint");
  return text;
}

// Bytes before the state.
static size_t head_bytes(size_t description_bytes, size_t extra_bytes) {
  return sizeof(Header) + description_bytes + extra_bytes;
}

// Bytes of the whole file.
static size_t file_bytes(const ZeroEngine *e, size_t description_bytes, size_t extra_bytes) {
  return head_bytes(description_bytes, extra_bytes) + NUM_KINDS * e->num_parameters * sizeof(float) +
         sizeof(uint64_t);
}

// Elements of one kind of state that stand before a tensor's.
static size_t elements_before(const ZeroEngine *e, int unit, int tensor) {
  size_t elements = 0;
  for (int u = 0; u < unit; u++) elements += e->units[u].layout.real;
  for (int t = 0; t < tensor; t++) elements += e->units[unit].layout.counts[t];
  return elements;
}

static XXH3_state_t *hash_start(void) {
  XXH3_state_t *hash = XXH3_createState();
  if (!hash || XXH3_64bits_reset(hash) != XXH_OK) zero_fatal("XXH3 could not be started: out of memory");
  return hash;
}

static void hash_add(XXH3_state_t *hash, const void *data, size_t bytes) {
  if (XXH3_64bits_update(hash, data, bytes) != XXH_OK) zero_fatal("XXH3 failed");
}

static uint64_t hash_end(XXH3_state_t *hash) {
  uint64_t value = XXH3_64bits_digest(hash);
  XXH3_freeState(hash);
  return value;
}

// ---------------------------------------------------------------- writing, on rank 0

// After the first failure nothing more is written, but the ranks go on together to the end.
typedef struct {
  int fd;
  int error; // errno of what failed, 0: nothing has
  size_t written;
  XXH3_state_t *hash;
} Writer;

static void write_unhashed(Writer *writer, const void *data, size_t bytes) {
  const char *next = data;
  while (bytes > 0 && writer->error == 0) {
    ssize_t put = write(writer->fd, next, bytes);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      writer->error = put < 0 ? errno : EIO;
      return;
    }
    next += put;
    bytes -= (size_t)put;
    writer->written += (size_t)put;
  }
}

static void write_bytes(Writer *writer, const void *data, size_t bytes) {
  hash_add(writer->hash, data, bytes);
  write_unhashed(writer, data, bytes);
}

static void take_into_file(void *ctx, size_t first, size_t count, const float *piece) {
  (void)first;
  write_bytes(ctx, piece, count * sizeof *piece);
}

static void write_head(Writer *writer, const ZeroEngine *e, const void *extra, size_t extra_bytes) {
  size_t description_bytes = 0;
  char *description = describe(e, &description_bytes);
  Header header = {.version = VERSION,
                   .type = (uint32_t)e->config.type,
                   .description_bytes = description_bytes,
                   .extra_bytes = extra_bytes,
                   .applied = e->applied,
                   .skipped = e->skipped,
                   .scale = e->scaler.scale,
                   .scale_iteration = e->scaler.iteration,
                   .scale_last_overflow = e->scaler.last_overflow,
                   .scale_hysteresis_left = e->scaler.hysteresis_left};
  memcpy(header.magic, MAGIC, sizeof MAGIC);
  write_bytes(writer, &header, sizeof header);
  write_bytes(writer, description, description_bytes);
  if (extra_bytes > 0) write_bytes(writer, extra, extra_bytes);
  free(description);
}

// Hash, disk, close. A file that is not whole is emptied: it holds no space on a disk that may be full.
static void finish_file(Writer *writer) {
  const uint64_t hash = hash_end(writer->hash);
  write_unhashed(writer, &hash, sizeof hash);
  if (writer->error == 0 && fsync(writer->fd) != 0) writer->error = errno;
  if (writer->error != 0 && writer->written > 0 && ftruncate(writer->fd, 0) != 0) {
    fprintf(stderr, "note: what was written of the checkpoint cannot be removed: %s\n", strerror(errno));
  }
  if (close(writer->fd) != 0 && writer->error == 0) writer->error = errno;
}

// Says on rank 0 why it failed; 0 or -1, the same on all ranks.
static int agree_on_writer(ZeroEngine *e, const char *path, Writer *writer) {
  if (e->comm->rank == 0 && writer->error != 0) {
    fflush(stdout);
    fprintf(stderr,
            "error: %s: the checkpoint cannot be written, at byte %zu: %s; make room or give another folder\n", path,
            writer->written, strerror(writer->error));
    fflush(stderr);
  }
  e->comm->control_broadcast(e->comm, &writer->error, sizeof writer->error);
  return writer->error == 0 ? 0 : -1;
}

int zero_save(ZeroEngine *e, const char *path, const void *extra, size_t extra_bytes) {
  zero_check_call(e, "zero_save", 0);
  if (e->micro_steps > 0) zero_fatal("zero_save within a step: finish it with zero_apply or zero_skip first");
  Writer writer = {.fd = -1};
  const int writes = e->comm->rank == 0;
  if (writes) {
    writer.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer.fd < 0) writer.error = errno;
  }
  if (agree_on_writer(e, path, &writer) != 0) return -1;
  if (writes) {
    writer.hash = hash_start();
    write_head(&writer, e, extra, extra_bytes);
  }
  float *buffers = zero_malloc(2 * ZERO_READ_PIECE * sizeof(float), ZERO_MEM_OTHER);
  for (int k = 0; k < NUM_KINDS; k++) {
    for (int u = 0; u < e->num_units; u++) {
      for (int t = 0; t < e->units[u].layout.num_tensors; t++) {
        zero_collect(e, KINDS[k], u, t, buffers, take_into_file, &writer);
      }
    }
  }
  zero_free(buffers);
  if (writes) finish_file(&writer);
  return agree_on_writer(e, path, &writer);
}

// ---------------------------------------------------------------- checking, on every rank

typedef struct {
  const ZeroEngine *engine;
  const char *path;
  int fd;
  size_t bytes; // of the file
  Header header;
  int kind; // being filled
} Reader;

// All of [offset, offset + bytes). Returns NULL, or why not.
static const char *read_bytes(int fd, void *out, size_t bytes, size_t offset) {
  char *next = out;
  while (bytes > 0) {
    ssize_t got = pread(fd, next, bytes, (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return strerror(errno);
    if (got == 0) return "the file ends there";
    next += got;
    offset += (size_t)got;
    bytes -= (size_t)got;
  }
  return NULL;
}

static int open_file(Reader *reader, ZeroErrors *errors) {
  struct stat info;
  // Not blocking: to open a FIFO would wait for its writer.
  reader->fd = open(reader->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (reader->fd < 0 || fstat(reader->fd, &info) != 0) {
    zero_errors_add(errors, "%s: the checkpoint cannot be opened: %s; give a folder that has it", reader->path,
                    strerror(errno));
    return -1;
  }
  if (!S_ISREG(info.st_mode)) {
    zero_errors_add(errors, "%s: is not a regular file, so it is no checkpoint", reader->path);
    return -1;
  }
  reader->bytes = (size_t)info.st_size;
  return 0;
}

static const char CUT_OFF[] = "it was cut off or damaged; use an older checkpoint";

static int check_header(Reader *reader, ZeroErrors *errors) {
  Header *header = &reader->header;
  const size_t least = sizeof *header + sizeof(uint64_t);
  if (reader->bytes < least) {
    zero_errors_add(errors, "%s: has %zu bytes, a checkpoint has more than %zu; %s", reader->path, reader->bytes,
                    least, CUT_OFF);
    return -1;
  }
  const char *reason = read_bytes(reader->fd, header, sizeof *header, 0);
  if (reason) {
    zero_errors_add(errors, "%s: the header cannot be read: %s", reader->path, reason);
  } else if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0) {
    zero_errors_add(errors, "%s: does not begin with %.8s, so it is no checkpoint of this program, or damaged",
                    reader->path, MAGIC);
  } else if (header->version != VERSION) {
    zero_errors_add(errors, "%s: is of version %" PRIu32 ", this program reads version %d", reader->path,
                    header->version, VERSION);
  } else if (header->description_bytes > MAX_DESCRIPTION_BYTES || header->description_bytes > reader->bytes - least) {
    zero_errors_add(errors, "%s: has %zu bytes, too few for its header's description of %" PRIu64 " bytes; %s",
                    reader->path, reader->bytes, header->description_bytes, CUT_OFF);
  } else {
    return 0;
  }
  return -1;
}

// A line of a description, cut and made printable. Returns what comes after it.
enum { SHOWN = 120 };
static const char *show_line(const char *at, const char *end, char shown[SHOWN]) {
  const char *line_end = at < end ? memchr(at, '\n', (size_t)(end - at)) : NULL;
  if (!line_end) line_end = end;
  size_t length = (size_t)(line_end - at) < SHOWN - 1 ? (size_t)(line_end - at) : SHOWN - 1;
  for (size_t i = 0; i < length; i++) shown[i] = (char)(isprint((unsigned char)at[i]) ? at[i] : '?');
  shown[length] = '\0';
  if (at == end) snprintf(shown, SHOWN, "no more tensors");
  return line_end < end ? line_end + 1 : end;
}

static int check_hash(const Reader *reader, ZeroErrors *errors) {
  const size_t hashed = reader->bytes - sizeof(uint64_t);
  XXH3_state_t *hash = hash_start();
  char *piece = zero_malloc(PIECE_BYTES, ZERO_MEM_OTHER);
  const char *reason = NULL;
  size_t at = 0;
  while (at < hashed && !reason) {
    const size_t bytes = hashed - at < PIECE_BYTES ? hashed - at : PIECE_BYTES;
    reason = read_bytes(reader->fd, piece, bytes, at);
    if (reason) break;
    hash_add(hash, piece, bytes);
    at += bytes;
  }
  zero_free(piece);
  const uint64_t found = hash_end(hash);
  uint64_t expected = 0;
  if (!reason) reason = read_bytes(reader->fd, &expected, sizeof expected, hashed);
  if (reason) {
    zero_errors_add(errors, "%s: cannot be read at byte %zu: %s", reader->path, at, reason);
  } else if (found != expected) {
    zero_errors_add(errors,
                    "%s: its %zu bytes have the hash %016" PRIx64 ", it says %016" PRIx64
                    ": it was damaged; use an older checkpoint",
                    reader->path, hashed, found, expected);
  } else {
    return 0;
  }
  return -1;
}

// Names the first line in which the two differ; they do.
static void report_difference(const char *path, const char *theirs, size_t their_bytes, const char *ours,
                              size_t our_bytes, ZeroErrors *errors) {
  const char *their_end = theirs + their_bytes, *our_end = ours + our_bytes;
  char in_file[SHOWN], here[SHOWN];
  for (;;) {
    const char *their_next = show_line(theirs, their_end, in_file), *our_next = show_line(ours, our_end, here);
    const size_t length = (size_t)(their_next - theirs);
    if (length == 0 || length != (size_t)(our_next - ours) || memcmp(theirs, ours, length) != 0) break;
    theirs = their_next;
    ours = our_next;
  }
  zero_errors_add(errors,
                  "%s: is a checkpoint of another model: it has '%s' where this one has '%s'; use the model "
                  "that it was saved from",
                  path, in_file, here);
}

static int check_description(const Reader *reader, ZeroErrors *errors) {
  size_t our_bytes = 0, their_bytes = reader->header.description_bytes;
  char *ours = describe(reader->engine, &our_bytes), *theirs = malloc(their_bytes + 1);
  if (!theirs) zero_fatal("no memory for the description of %s", reader->path);
  const char *reason = read_bytes(reader->fd, theirs, their_bytes, sizeof(Header));
  int wrong = 1;
  if (reason) {
    zero_errors_add(errors, "%s: the description cannot be read: %s", reader->path, reason);
  } else if (their_bytes != our_bytes || memcmp(theirs, ours, our_bytes) != 0) {
    // A damaged file may look like another model's.
    if (check_hash(reader, errors) == 0) {
      report_difference(reader->path, theirs, their_bytes, ours, our_bytes, errors);
    }
  } else {
    wrong = 0;
  }
  free(ours);
  free(theirs);
  return wrong ? -1 : 0;
}

static int check_sizes(const Reader *reader, size_t extra_bytes, ZeroErrors *errors) {
  if (reader->header.extra_bytes != extra_bytes) {
    zero_errors_add(errors,
                    "%s: its record of the run has %" PRIu64
                    " bytes, this program's has %zu; use the program "
                    "that it was saved by",
                    reader->path, reader->header.extra_bytes, extra_bytes);
    return -1;
  }
  const size_t expected = file_bytes(reader->engine, reader->header.description_bytes, extra_bytes);
  if (reader->bytes != expected) {
    zero_errors_add(errors, "%s: has %zu bytes, this model's checkpoint has %zu; %s", reader->path, reader->bytes,
                    expected, CUT_OFF);
    return -1;
  }
  return 0;
}

// ---------------------------------------------------------------- loading

static void fill_from_file(void *ctx, int u, int t, size_t first, size_t count, float *out) {
  const Reader *reader = ctx;
  const size_t element =
      (size_t)reader->kind * reader->engine->num_parameters + elements_before(reader->engine, u, t) + first;
  const size_t offset =
      head_bytes(reader->header.description_bytes, reader->header.extra_bytes) + element * sizeof *out;
  const char *reason = read_bytes(reader->fd, out, count * sizeof *out, offset);
  if (reason) {
    zero_fatal("%s: cannot be read at byte %zu: %s; was the file changed?", reader->path, offset, reason);
  }
}

// The scale and its counters; the rules stay this run's, and so does a constant scale.
static void set_scaler(ZeroEngine *e, const Header *header) {
  if (e->config.type != ZERO_F16 || header->type != ZERO_F16 || e->scaler.rules.scale != 0.0) return;
  ZeroLossScaler scaler = zero_scaler(e);
  scaler.scale = header->scale;
  scaler.iteration = header->scale_iteration;
  scaler.last_overflow = (long)header->scale_last_overflow;
  scaler.hysteresis_left = (int)header->scale_hysteresis_left;
  zero_set_scaler(e, &scaler);
}

int zero_load(ZeroEngine *e, const char *path, void *extra, size_t extra_bytes, ZeroErrors *errors) {
  zero_check_call(e, "zero_load", 0);
  if (e->micro_steps > 0) zero_fatal("zero_load within a step: finish it with zero_apply or zero_skip first");
  Reader reader = {.engine = e, .path = path, .fd = -1};
  const int good = open_file(&reader, errors) == 0 && check_header(&reader, errors) == 0 &&
                   check_description(&reader, errors) == 0 && check_sizes(&reader, extra_bytes, errors) == 0 &&
                   check_hash(&reader, errors) == 0;
  const double wrong = good ? 0.0 : 1.0;
  if (zero_sum_ordered(e, &wrong, 1) > 0.0) {
    if (reader.fd >= 0) close(reader.fd);
    return -1;
  }
  for (reader.kind = 0; reader.kind < NUM_KINDS; reader.kind++) {
    zero_fill(e, KINDS[reader.kind], fill_from_file, &reader);
  }
  const size_t extra_at = sizeof(Header) + reader.header.description_bytes;
  const char *reason = read_bytes(reader.fd, extra, extra_bytes, extra_at);
  if (reason) zero_fatal("%s: cannot be read at byte %zu: %s; was the file changed?", path, extra_at, reason);
  close(reader.fd);
  zero_set_steps(e, reader.header.applied, reader.header.skipped);
  set_scaler(e, &reader.header);
  return 0;
}
