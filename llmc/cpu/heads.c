// What the heads of a model need beside linear layers: the pooler's tanh and a regression's loss.
#include "element.h"
#include "parallel.h"

// Elements that a thread takes at once: long enough to hide the loop around it.
enum { PIECE = 4096 };

VEC_INLINE void tanh_forward_piece(void *out, const void *inp, size_t first, size_t end, ZeroType type) {
  for (size_t at = first; at < end; at += VEC_WIDTH) {
    size_t n = vec_count(end - at);
    store_elements(out, at, n, vec_tanh(load_elements(inp, at, n, type)), type);
  }
}

void tanh_forward(void *out, const void *inp, size_t count, ZeroType type, ZeroStream stream) {
  (void)stream;
#pragma omp parallel for schedule(static) if (worth_threads(count))
  for (size_t first = 0; first < count; first += PIECE) {
    FOR_TYPE(type, tanh_forward_piece, out, inp, first, min_size(first + PIECE, count));
  }
}

VEC_INLINE void tanh_backward_piece(void *dinp, const void *dout, const void *out, size_t first, size_t end,
                                    ZeroType type) {
  for (size_t at = first; at < end; at += VEC_WIDTH) {
    size_t n = vec_count(end - at);
    Vec y = load_elements(out, at, n, type);
    store_elements(dinp, at, n, load_elements(dout, at, n, type) * (1.0f - y * y), type);
  }
}

void tanh_backward(void *dinp, const void *dout, const void *out, size_t count, ZeroType type, ZeroStream stream) {
  (void)stream;
#pragma omp parallel for schedule(static) if (worth_threads(count))
  for (size_t first = 0; first < count; first += PIECE) {
    FOR_TYPE(type, tanh_backward_piece, dinp, dout, out, first, min_size(first + PIECE, count));
  }
}

VEC_INLINE void squared_error_piece(float *loss, void *dout, const void *out, const float *targets, float grad_scale,
                                    size_t first, size_t end, ZeroType type) {
  for (size_t at = first; at < end; at += VEC_WIDTH) {
    size_t n = vec_count(end - at);
    Vec error = load_elements(out, at, n, type) - vec_load_n(targets + at, n);
    vec_store_n(loss + at, error * error, n);
    if (dout != NULL) store_elements(dout, at, n, error * (2.0f * grad_scale), type);
  }
}

void squared_error(float *loss, void *dout, const void *out, const float *targets, float grad_scale, size_t N,
                   ZeroType type, ZeroStream stream) {
  (void)stream;
#pragma omp parallel for schedule(static) if (worth_threads(N))
  for (size_t first = 0; first < N; first += PIECE) {
    FOR_TYPE(type, squared_error_piece, loss, dout, out, targets, grad_scale, first, min_size(first + PIECE, N));
  }
}
