// Whole arrays between fp32 and a half type.
#include "convert.h"

#include "element.h"
#include "parallel.h"

// Elements that a thread takes at once: long enough to hide the loop around it.
enum { PIECE = 4096 };

VEC_INLINE void convert_piece(float *out, const void *data, size_t first, size_t end, ZeroType type) {
  for (size_t at = first; at < end; at += VEC_WIDTH) {
    size_t n = vec_count(end - at);
    vec_store_n(out + at, load_elements(data, at, n, type), n);
  }
}

void convert_to_f32(float *out, const void *data, size_t count, ZeroType type) {
#pragma omp parallel for schedule(static) if (worth_threads(count))
  for (size_t first = 0; first < count; first += PIECE) {
    FOR_TYPE(type, convert_piece, out, data, first, min_size(first + PIECE, count));
  }
}

VEC_INLINE void round_piece(OpsGrad grad, const float *sums, size_t first, size_t end, ZeroType type) {
  grad.type = type; // known when compiling
  for (size_t at = first; at < end; at += VEC_WIDTH) {
    size_t n = vec_count(end - at);
    store_gradient(grad, at, n, vec_load_n(sums + at, n));
  }
}

void round_sums(OpsGrad grad, const float *sums, size_t count) {
#pragma omp parallel for schedule(static) if (worth_threads(count))
  for (size_t first = 0; first < count; first += PIECE) {
    FOR_TYPE(grad.type, round_piece, grad, sums, first, min_size(first + PIECE, count));
  }
}
