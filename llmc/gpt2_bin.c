// llm.c's model .bin: 256 int32 of header, then 16 tensors, read by range.
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "../zero/memory.h"
#include "files.h"
#include "gpt2_config.h"
#include "gpt2_limits.h"

enum {
  MODEL_MAGIC = 20240326,
  VERSION_F32 = 3,
  VERSION_BF16 = 5,
  CONVERT_ELEMENTS = 1 << 16 // bf16 elements per read
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
    for (size_t i = 0; i < elements; i++) {
      const uint32_t bits = (uint32_t)piece[i] << 16; // bf16 is the upper half of an fp32
      memcpy(&out[i], &bits, sizeof bits);
    }
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
