// The ledger: every allocation by category, with its peak, so that the program can print what
// a run needs by formula and what it really took.
#ifndef ZERO_MEMORY_H
#define ZERO_MEMORY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZERO_HUGE_PAGE ((size_t)2 << 20)
// From here on memory is mapped by itself, at a multiple of a huge page, and asks for such pages.
#define ZERO_LARGE_BYTES ((size_t)4 << 20)

typedef enum {
  ZERO_MEM_PARAMETERS,     // parameters in the compute type
  ZERO_MEM_GRADIENTS,      // accumulated gradients (and, at stage 1, the full local ones)
  ZERO_MEM_OPTIMIZER,      // exp_avg, exp_avg_sq; master weights where parameters are not the master
  ZERO_MEM_GRAD_BUFFERS,   // gradients in flight (U of the formulas)
  ZERO_MEM_GATHER_BUFFERS, // gathered parameters, stage 3 (G of the formulas)
  ZERO_MEM_COMM,           // staging, flags, norms
  ZERO_MEM_ACTIVATIONS,    // the model's activations and scratch
  ZERO_MEM_OTHER,          // data loader and the rest
  ZERO_MEM_CATEGORIES
} ZeroMemory;

// Enter an allocation / take it out. `window` != 0: it lies in the node's shared window.
void zero_ledger_add(ZeroMemory category, size_t bytes, int window);
void zero_ledger_remove(ZeroMemory category, size_t bytes, int window);

// The same for memory of a GPU, of which the most that is held at once is kept apart.
void zero_ledger_add_device(ZeroMemory category, size_t bytes);
void zero_ledger_remove_device(ZeroMemory category, size_t bytes);
size_t zero_ledger_device_peak(void);

size_t zero_ledger_now(ZeroMemory category);  // bytes held
size_t zero_ledger_peak(ZeroMemory category); // most bytes held at once
size_t zero_ledger_window(void);              // bytes held in this rank's own part of the shared window
const char *zero_ledger_name(ZeroMemory category);

// Aligned (64 bytes; 2 MiB with huge pages asked for where `bytes` is large), zeroed memory that is
// in the ledger. Ends the program with a message when there is none. bytes 0 gives NULL.
void *zero_malloc(size_t bytes, ZeroMemory category);
void zero_free(void *ptr);

// The process's own memory: samples RssAnon of /proc/self/status, keeps the largest, and returns
// largest sample + this rank's own window, in bytes. Peers' shared pages are not counted.
size_t zero_process_peak(void);

#ifdef __cplusplus
}
#endif
#endif
