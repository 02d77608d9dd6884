// Fibers: stacks of their own between which one OS thread switches. Each CUDA thread that has to wait keeps one.
#ifndef CUDAEMU_FIBER_H
#define CUDAEMU_FIBER_H

#include <cstddef>

typedef struct {
  void *stack_pointer; // while it is not running
  char *stack;
  size_t stack_size;
  void *fake_stack;  // ASan's, while it is not running
  void *race_thread; // the thread that TSan takes it for
  int thread;        // the CUDA thread that it is about to run
} CudaemuFiber;

// The stack that the program was started on.
void cudaemu_fiber_of_program(CudaemuFiber *);
// A new fiber, which calls `entry` when it is switched to; `entry` never returns. Lives to the program's end. At most
// CUDAEMU_MAX_FIBERS.
enum { CUDAEMU_MAX_FIBERS = 1025 };
CudaemuFiber *cudaemu_fiber_create(void (*entry)(void));
// The race check's: from here on the fiber is another thread, which begins at `entry`. Not the running one.
void cudaemu_fiber_renew(CudaemuFiber *, void (*entry)(void));
void cudaemu_fiber_switch(CudaemuFiber *from, CudaemuFiber *to);
// Whether this address lies in the page below a fiber's stack: the stack was too small.
int cudaemu_fiber_overflowed(const void *address);

#endif
