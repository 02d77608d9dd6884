// GELU and the residual sum, element by element.
#include "element.h"
#include "parallel.h"

// Elements that a thread takes at once: long enough to hide the loop around it.
enum { PIECE = 4096 };

static void check_gelu(OpsGelu gelu, const char *where) {
  if (gelu != OPS_GELU && gelu != OPS_GELU_ERF) zero_fatal("%s: expected a form of GELU, found %d", where, (int)gelu);
}

VEC_INLINE void gelu_forward_piece(void *out, const void *inp, size_t first, size_t end, OpsGelu gelu,
                                   ZeroType type) {
  for (size_t at = first; at < end; at += VEC_WIDTH) {
    size_t n = vec_count(end - at);
    Vec x = load_elements(inp, at, n, type);
    store_elements(out, at, n, gelu == OPS_GELU_ERF ? vec_gelu_erf(x) : vec_gelu(x), type);
  }
}

void gelu_forward(void *out, const void *inp, size_t count, OpsGelu gelu, ZeroType type, ZeroStream stream) {
  (void)stream;
  check_gelu(gelu, "gelu_forward");
#pragma omp parallel for schedule(static) if (worth_threads(count))
  for (size_t first = 0; first < count; first += PIECE) {
    FOR_TYPE(type, gelu_forward_piece, out, inp, first, min_size(first + PIECE, count), gelu);
  }
}

VEC_INLINE void gelu_backward_piece(void *dinp, const void *dout, const void *inp, size_t first, size_t end,
                                    OpsGelu gelu, ZeroType type) {
  for (size_t at = first; at < end; at += VEC_WIDTH) {
    size_t n = vec_count(end - at);
    Vec x = load_elements(inp, at, n, type);
    Vec slope = gelu == OPS_GELU_ERF ? vec_gelu_erf_derivative(x) : vec_gelu_derivative(x);
    store_elements(dinp, at, n, load_elements(dout, at, n, type) * slope, type);
  }
}

void gelu_backward(void *dinp, const void *dout, const void *inp, size_t count, OpsGelu gelu, ZeroType type,
                   ZeroStream stream) {
  (void)stream;
  check_gelu(gelu, "gelu_backward");
#pragma omp parallel for schedule(static) if (worth_threads(count))
  for (size_t first = 0; first < count; first += PIECE) {
    FOR_TYPE(type, gelu_backward_piece, dinp, dout, inp, first, min_size(first + PIECE, count), gelu);
  }
}

VEC_INLINE void residual_piece(void *out, const void *a, const void *b, size_t first, size_t end, ZeroType type) {
  for (size_t at = first; at < end; at += VEC_WIDTH) {
    size_t n = vec_count(end - at);
    store_elements(out, at, n, load_elements(a, at, n, type) + load_elements(b, at, n, type), type);
  }
}

void residual_add(void *out, const void *a, const void *b, size_t count, ZeroType type, ZeroStream stream) {
  (void)stream;
#pragma omp parallel for schedule(static) if (worth_threads(count))
  for (size_t first = 0; first < count; first += PIECE) {
    FOR_TYPE(type, residual_piece, out, a, b, first, min_size(first + PIECE, count));
  }
}
