// llm.c's model .bin: 256 int32 of header, then 16 tensors, those of the blocks layer after layer. Read by range,
// written tensor by tensor.
#include "gpt2_bin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../zero/half.h"
#include "../zero/memory.h"
#include "files.h"

enum {
  MODEL_MAGIC = 20240326,
  VERSION_F32 = 3,
  VERSION_BF16 = 5,
  CONVERT_ELEMENTS = 1 << 16 // bf16 elements per read or write
};
static const char FIX[] = "give a model file of llm.c (gpt2_124M.bin), or a descriptor such as d12";

struct GPT2Bin {
  int fd;
  char *path;
  ZeroType type;
  GPT2Config config;
  size_t offsets[GPT2_NUM_TENSORS]; // bytes, from the start of the file
};

static size_t tensor_elements(const GPT2Config *config, GPT2Tensor tensor) {
  size_t rows, cols;
  gpt2_tensor_shape(config, tensor, &rows, &cols);
  return rows * cols;
}

static size_t tensor_layers(const GPT2Config *config, GPT2Tensor tensor) {
  return gpt2_tensor_in_block(tensor) ? config->num_layers : 1;
}

int gpt2_is_bin(const char *path) {
  static const char ending[] = ".bin";
  const size_t length = strlen(path), tail = strlen(ending);
  return length >= tail && strcmp(path + length - tail, ending) == 0;
}

// ---------------------------------------------------------------- reading

// A negative header value becomes 0, which is out of every range.
static size_t header_size(int value) {
  return value > 0 ? (size_t)value : 0;
}

static void check_header(const int *header, size_t file_bytes, const char *path, GPT2Config *config,
                         ZeroErrors *errors) {
  const int version = header[1];
  if (version != VERSION_F32 && version != VERSION_BF16) {
    zero_errors_add(errors, "-e %s: model file of version %d, expected %d (fp32) or %d (bf16); %s", path, version,
                    VERSION_F32, VERSION_BF16, FIX);
    return;
  }
  *config = (GPT2Config){.max_seq_len = header_size(header[2]),
                         .vocab_size = header_size(header[3]),
                         .num_layers = header_size(header[4]),
                         .num_heads = header_size(header[5]),
                         .channels = header_size(header[6]),
                         .padded_vocab_size = header_size(header[7])};
  const int problems = errors->count;
  gpt2_config_check(config, path, errors);
  if (errors->count > problems) return;
  const size_t element = zero_type_size(version == VERSION_F32 ? ZERO_F32 : ZERO_BF16);
  const size_t expected = LLMC_HEADER_BYTES + gpt2_num_parameters(config) * element;
  if (file_bytes != expected) {
    zero_errors_add(errors, "-e %s: file has %zu bytes, its header's shape needs %zu; copy or download it again",
                    path, file_bytes, expected);
  }
}

GPT2Bin *gpt2_bin_open(const char *path, GPT2Config *config, ZeroErrors *errors) {
  int header[LLMC_HEADER_INTS];
  char problem[512];
  size_t file_bytes = 0;
  const int fd = file_open_llmc(path, MODEL_MAGIC, "a model file", FIX, header, &file_bytes, problem, sizeof problem);
  if (fd < 0) {
    zero_errors_add(errors, "-e %s: %s", path, problem);
    return NULL;
  }
  const int problems = errors->count;
  check_header(header, file_bytes, path, config, errors);
  if (errors->count > problems) {
    close(fd);
    return NULL;
  }
  GPT2Bin *bin = zero_malloc(sizeof *bin, ZERO_MEM_OTHER);
  bin->fd = fd;
  bin->path = zero_malloc(strlen(path) + 1, ZERO_MEM_OTHER);
  memcpy(bin->path, path, strlen(path) + 1);
  bin->type = header[1] == VERSION_F32 ? ZERO_F32 : ZERO_BF16;
  bin->config = *config;
  size_t offset = LLMC_HEADER_BYTES;
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    bin->offsets[t] = offset;
    offset +=
        tensor_elements(config, (GPT2Tensor)t) * tensor_layers(config, (GPT2Tensor)t) * zero_type_size(bin->type);
  }
  return bin;
}

static void read_bytes(const GPT2Bin *bin, GPT2Tensor tensor, void *out, size_t bytes, size_t offset) {
  const char *reason = file_read(bin->fd, out, bytes, offset);
  if (reason != NULL) {
    zero_fatal("%s: %zu bytes of %s at byte %zu cannot be read: %s; was the file changed?", bin->path, bytes,
               gpt2_tensor_name(tensor), offset, reason);
  }
}

static void read_bf16(const GPT2Bin *bin, GPT2Tensor tensor, size_t offset, size_t count, float *out) {
  uint16_t *piece = zero_malloc(CONVERT_ELEMENTS * sizeof *piece, ZERO_MEM_OTHER);
  while (count > 0) {
    const size_t elements = count < CONVERT_ELEMENTS ? count : CONVERT_ELEMENTS;
    read_bytes(bin, tensor, piece, elements * sizeof *piece, offset);
    for (size_t i = 0; i < elements; i++) out[i] = zero_bf16_to_f32(piece[i]);
    offset += elements * sizeof *piece;
    out += elements;
    count -= elements;
  }
  zero_free(piece);
}

void gpt2_bin_read(const GPT2Bin *bin, GPT2Tensor tensor, size_t layer, size_t first, size_t count, float *out) {
  const size_t elements = tensor_elements(&bin->config, tensor);
  if (layer >= tensor_layers(&bin->config, tensor) || first > elements || count > elements - first) {
    zero_fatal("%s: elements %zu + %zu of %s, layer %zu, are outside the tensor of %zu", bin->path, first, count,
               gpt2_tensor_name(tensor), layer, elements);
  }
  const size_t offset = bin->offsets[tensor] + (layer * elements + first) * zero_type_size(bin->type);
  if (bin->type == ZERO_F32) {
    read_bytes(bin, tensor, out, count * sizeof *out, offset);
  } else {
    read_bf16(bin, tensor, offset, count, out);
  }
}

void gpt2_bin_close(GPT2Bin *bin) {
  if (bin == NULL) return;
  close(bin->fd);
  zero_free(bin->path);
  zero_free(bin);
}

// ---------------------------------------------------------------- writing

// After the first failure nothing more is written, but the ranks go on together to the end.
typedef struct {
  int fd;
  ZeroType type;
  int error; // errno of what failed, 0: nothing has
  size_t written;
} Writer;

static void write_bytes(Writer *writer, const void *data, size_t bytes) {
  if (writer->error == 0) writer->error = file_write(writer->fd, data, bytes, &writer->written);
}

static void write_header(Writer *writer, const GPT2Config *config) {
  const int header[LLMC_HEADER_INTS] = {MODEL_MAGIC,
                                        writer->type == ZERO_F32 ? VERSION_F32 : VERSION_BF16,
                                        (int)config->max_seq_len,
                                        (int)config->vocab_size,
                                        (int)config->num_layers,
                                        (int)config->num_heads,
                                        (int)config->channels,
                                        (int)config->padded_vocab_size};
  write_bytes(writer, header, sizeof header);
}

// half: (CONVERT_ELEMENTS)
static void write_values(Writer *writer, const float *values, size_t count, uint16_t *half) {
  if (writer->type == ZERO_F32) {
    write_bytes(writer, values, count * sizeof *values);
    return;
  }
  while (count > 0) {
    const size_t elements = count < CONVERT_ELEMENTS ? count : CONVERT_ELEMENTS;
    for (size_t i = 0; i < elements; i++) half[i] = zero_f32_to_bf16(values[i]);
    write_bytes(writer, half, elements * sizeof *half);
    values += elements;
    count -= elements;
  }
}

// Disk, close. A file that is not whole is emptied: it holds no space on a disk that may be full.
static void finish_file(Writer *writer) {
  if (writer->error == 0 && fsync(writer->fd) != 0) writer->error = errno;
  if (writer->error != 0 && writer->written > 0 && ftruncate(writer->fd, 0) != 0) {
    fprintf(stderr, "note: what was written of the model cannot be removed: %s\n", strerror(errno));
  }
  if (close(writer->fd) != 0 && writer->error == 0) writer->error = errno;
}

int gpt2_bin_write(const char *path, const GPT2Config *config, ZeroType type, GPT2Read *read, void *ctx,
                   char *problem, size_t problem_bytes) {
  if (type != ZERO_F32 && type != ZERO_BF16) {
    zero_fatal("a model file of llm.c is fp32 or bf16, not %s", zero_type_name(type));
  }
  Writer writer = {.fd = -1, .type = type};
  float *values = NULL;
  uint16_t *half = NULL;
  if (path) {
    values = zero_malloc(gpt2_largest_tensor(config) * sizeof *values, ZERO_MEM_OTHER);
    half = zero_malloc(CONVERT_ELEMENTS * sizeof *half, ZERO_MEM_OTHER);
    writer.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer.fd < 0) writer.error = errno;
    write_header(&writer, config);
  }
  for (int t = 0; t < GPT2_NUM_TENSORS; t++) {
    const GPT2Tensor tensor = (GPT2Tensor)t;
    for (size_t layer = 0; layer < tensor_layers(config, tensor); layer++) {
      read(ctx, tensor, layer, values);
      if (path) write_values(&writer, values, tensor_elements(config, tensor), half);
    }
  }
  if (writer.fd >= 0) finish_file(&writer);
  zero_free(values);
  zero_free(half);
  if (writer.error == 0) return 0;
  snprintf(problem, problem_bytes,
           "%s: the model cannot be written, at byte %zu: %s; make room or give another folder", path, writer.written,
           strerror(writer.error));
  return -1;
}
