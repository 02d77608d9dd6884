// Hugging Face's safetensors: tensors by name in one file, or in several with an index.
//
// A file is 8 bytes with the length of its header (little-endian), the header, then the tensors' data. The header is
// a JSON object {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …}: offsets in bytes from the
// end of the header, without overlaps or gaps. "__metadata__" may hold texts. https://huggingface.co/docs/safetensors
#ifndef LLMC_SAFETENSORS_H
#define LLMC_SAFETENSORS_H

#include <stddef.h>

#include "../zero/device.h"
#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SAFETENSORS_FILE "model.safetensors"
#define SAFETENSORS_INDEX "model.safetensors.index.json"

enum {
  SAFETENSORS_MAX_DIMS = 8,
  SAFETENSORS_MAX_FILES = 512,      // of one model; all are open at once
  SAFETENSORS_MAX_HEADER = 32 << 20 // bytes; a GPT-2 of 16,384 layers needs 24 MB
};

typedef struct {
  const char *name;
  const char *path;  // of the file that it is in
  const char *dtype; // as the format writes it: "F32", "BF16", "I64", …
  int ndim;
  size_t shape[SAFETENSORS_MAX_DIMS];
  size_t bytes;
  size_t offset; // bytes, from the start of the file
  int fd;
} SafeTensor;

// All tensors of a model, sorted by name.
typedef struct {
  const SafeTensor *tensors;
  size_t count;
  const char *path; // of its only file, or of the index
  struct SafeTensorsFiles *files;
} SafeTensors;

// folder: of model.safetensors or, where that is not there, of model.safetensors.index.json and the files it names
// (the order in which Hugging Face looks for them). flag: "-e", for messages. All headers are read and checked whole.
// Problems go into errors, each with file and tensor: files missing or cut off, headers that are no JSON or not of
// the form above, sizes that do not fit the shape, offsets outside the file, overlaps, gaps, names that are there
// twice, index and files that do not agree, files outside the folder. Returns 0, or -1 if there is any.
int safetensors_open(const char *folder, const char *flag, SafeTensors *out, ZeroErrors *errors);
void safetensors_close(SafeTensors *); // closed ones too

// The tensor of this name, or NULL.
const SafeTensor *safetensors_find(const SafeTensors *, const char *name);

// Has it one of the three types that can be read as fp32? Then *type is that type.
int safetensors_float_type(const SafeTensor *, ZeroType *type);
// Elements [first, first + count), row-major, as fp32, from a tensor of such a type. A read that fails ends all ranks
// with file and offset.
void safetensors_read(const SafeTensor *, size_t first, size_t count, float *out);
// Have the two tensors the same type and the same bytes?
int safetensors_equal(const SafeTensor *, const SafeTensor *);

// ---------------------------------------------------------------- writing
// What a new file is to hold. Its tensors have one type: fp32, bf16 or fp16.
typedef struct {
  const char *name;
  int ndim; // 1 or 2
  size_t shape[2];
} SafeTensorPlan;

typedef struct SafeTensorsWriter SafeTensorsWriter;

// Begins a file with the header of these tensors. Then their values are appended in that order, in pieces of any
// size, rounded to nearest, ties to even. Failures are kept for safetensors_finish. The file is open until then.
SafeTensorsWriter *safetensors_create(const char *path, ZeroType type, const SafeTensorPlan *tensors, size_t count);
void safetensors_append(SafeTensorsWriter *, const float *values, size_t count);
// Flushes the file to the disk and closes it. Returns 0, or -1 and the reason, file included, in `problem`; the
// incomplete file is removed.
int safetensors_finish(SafeTensorsWriter *, char *problem, size_t problem_bytes);

#ifdef __cplusplus
}
#endif
#endif
