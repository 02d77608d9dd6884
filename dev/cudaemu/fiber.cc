// Fibers: stacks, and the switch between them in assembly (x86-64): ucontext takes 30 times as long.
#include "fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#include "race.h"
#include "report.h"
#include "sanitizers.h"

#ifndef __x86_64__
#error "the emulator's fiber switch is written for x86-64"
#endif

// A stride that is not a power of two: the tops of all stacks would else meet in the same few lines of the cache.
#ifdef CUDAEMU_ASAN
#define STACK_BYTES ((size_t)256 << 10)
#else
#define STACK_BYTES ((size_t)64 << 10)
#endif
#define PAGE_BYTES ((size_t)4096)
#define LINE_BYTES ((size_t)64)
#ifdef CUDAEMU_TSAN
#define STRIDE (2 * PAGE_BYTES + STACK_BYTES) // whole pages: each stack is mapped anew
#else
#define STRIDE (PAGE_BYTES + STACK_BYTES + PAGE_BYTES + LINE_BYTES)
#endif

static char *stacks; // all of them, in one piece
static size_t created;

// Saves the registers that a function must keep on the stack, leaves it at *save and goes on at `to`. It ends in a
// jump: a return would be predicted wrongly each time.
extern "C" void cudaemu_switch_stacks(void **save, void *to);
asm(R"(
.text
.globl cudaemu_switch_stacks
.type cudaemu_switch_stacks, @function
cudaemu_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  popq %rcx
  jmp *%rcx
.size cudaemu_switch_stacks, .-cudaemu_switch_stacks
)");
enum { SAVED_REGISTERS = 6 };

void cudaemu_fiber_of_program(CudaemuFiber *fiber) {
#ifdef CUDAEMU_ASAN
  pthread_attr_t attributes;
  void *stack;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0 ||
      pthread_attr_getstack(&attributes, &stack, &fiber->stack_size) != 0) {
    cudaemu_fail(NULL, 0, "the program's own stack cannot be found");
  }
  pthread_attr_destroy(&attributes);
  fiber->stack = (char *)stack;
#endif
  fiber->thread = -1;
}

// As cudaemu_switch_stacks finds it: saved registers, the address to go on at, and for `entry` no caller.
static void set_up(CudaemuFiber *fiber, void (*entry)(void)) {
  void **top = (void **)(fiber->stack + fiber->stack_size);
  *--top = NULL;
  *--top = (void *)entry;
  for (int i = 0; i < SAVED_REGISTERS; i++) *--top = NULL;
  fiber->stack_pointer = top;
}

CudaemuFiber *cudaemu_fiber_create(void (*entry)(void)) {
  if (stacks == NULL) {
    void *memory = mmap(NULL, STRIDE * CUDAEMU_MAX_FIBERS, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) cudaemu_fail(NULL, 0, "no memory for the threads' stacks");
    stacks = (char *)memory;
  }
  if (created == CUDAEMU_MAX_FIBERS) cudaemu_fail(NULL, 0, "more than %d fibers", CUDAEMU_MAX_FIBERS);
  CudaemuFiber *fiber = (CudaemuFiber *)calloc(1, sizeof(*fiber));
  if (fiber == NULL) cudaemu_fail(NULL, 0, "no memory for a fiber");
  uintptr_t low = (uintptr_t)stacks + STRIDE * created, high = (low + STRIDE) & ~(uintptr_t)(LINE_BYTES - 1);
  char *guard = (char *)((low + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1));
  if (mprotect(guard, PAGE_BYTES, PROT_NONE) != 0) cudaemu_fail(NULL, 0, "a stack's guard page cannot be set");
  created++;
  fiber->stack = guard + PAGE_BYTES;
  fiber->stack_size = (size_t)((char *)high - fiber->stack);
  fiber->race_thread = race_new_thread();
  set_up(fiber, entry);
  return fiber;
}

void cudaemu_fiber_renew(CudaemuFiber *fiber, void (*entry)(void)) {
  race_end_thread(fiber->race_thread);
  fiber->race_thread = race_new_thread();
  // The old thread's variables are no race with the new one's: memory that was just mapped is nobody's.
  size_t pages = fiber->stack_size / PAGE_BYTES * PAGE_BYTES;
  if (mmap(fiber->stack, pages, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
      MAP_FAILED) {
    cudaemu_fail(NULL, 0, "no memory for a thread's stack");
  }
  set_up(fiber, entry);
}
void cudaemu_fiber_switch(CudaemuFiber *from, CudaemuFiber *to) {
  race_become_thread(to->race_thread);
#ifdef CUDAEMU_ASAN
  __sanitizer_start_switch_fiber(&from->fake_stack, to->stack, to->stack_size);
#endif
  cudaemu_switch_stacks(&from->stack_pointer, to->stack_pointer);
#ifdef CUDAEMU_ASAN
  __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

int cudaemu_fiber_overflowed(const void *address) {
  if (stacks == NULL) return 0;
  uintptr_t at = (uintptr_t)address, low = (uintptr_t)stacks;
  if (at < low || at >= low + STRIDE * CUDAEMU_MAX_FIBERS) return 0;
  uintptr_t offset = (at - low) % STRIDE;
  return offset < 2 * PAGE_BYTES; // the guard page begins at the first border of a page
}
