// The race check: TSan is told that each CUDA thread is a thread, and that only barriers order them. The emulator's
// own files are compiled without -fsanitize=thread, so that TSan does not look at them; kernels are compiled with it.
#ifndef CUDAEMU_RACE_H
#define CUDAEMU_RACE_H

#include <cstddef>

#ifdef CUDAEMU_TSAN
#include <sanitizer/tsan_interface.h>
enum { CUDAEMU_RACE_CHECK = 1 };
static inline void race_release(void *object) {
  __tsan_release(object);
}
static inline void race_acquire(void *object) {
  __tsan_acquire(object);
}
// The running thread reads 16 bytes in code that TSan does not look at.
extern "C" void __tsan_read16(void *memory);
static inline void race_read_16(const void *memory) {
  __tsan_read16((void *)memory);
}
static inline void *race_this_thread(void) {
  return __tsan_get_current_fiber();
}
static inline void *race_new_thread(void) {
  return __tsan_create_fiber(0);
}
static inline void race_become_thread(void *thread) {
  __tsan_switch_to_fiber(thread, __tsan_switch_to_fiber_no_sync);
}
#else
enum { CUDAEMU_RACE_CHECK = 0 };
static inline void race_release(void *object) {
  (void)object;
}
static inline void race_acquire(void *object) {
  (void)object;
}
static inline void race_read_16(const void *memory) {
  (void)memory;
}
static inline void *race_this_thread(void) {
  return nullptr;
}
static inline void *race_new_thread(void) {
  return nullptr;
}
static inline void race_become_thread(void *thread) {
  (void)thread;
}
#endif

// A thread ends, not the running one.
void race_end_thread(void *thread);

// Objects that are released and acquired: `count` in a row that nobody has used, until after a million the first ones
// come again. They are only addresses; without the race check there are none.
enum { RACE_OBJECT_BYTES = 8 };
char *race_new_objects(size_t count);

#endif
