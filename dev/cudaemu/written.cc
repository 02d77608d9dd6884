// Reads of shared memory that nobody has written in this block. With
//   -fsanitize=address --param asan-instrumentation-with-call-threshold=0
// g++ calls a function of ASan's before each access. These here stand before them: they look at shared memory's
// record of writes, then go on in ASan's own, at their end and with -O2, so that its report names the kernel's line
// and not theirs. Without ASan this file is empty.
#include "sanitizers.h"

#ifdef CUDAEMU_ASAN

#include <dlfcn.h>

#include <cstdio>

#include "report.h"
#include "shared.h"

typedef void AccessCheck(const void *address);
typedef void AccessCheckN(const void *address, size_t bytes);

static void *of_asan(const char *name) {
  void *function = dlsym(RTLD_NEXT, name);
  if (function == NULL) cudaemu_fail(NULL, 0, "ASan has no function %s: link with its shared library (g++)", name);
  return function;
}

static void check_load(const void *address, size_t bytes, const void *caller) {
  if (!cudaemu_shared_is_unwritten(address, bytes) || __asan_address_is_poisoned(address)) return;
  char place[512];
  __sanitizer_symbolize_pc((char *)caller - 1, "%S", place, sizeof(place));
  cudaemu_fail(NULL, 0, "%s: uninitialised shared memory is read (%zu bytes)", place, bytes);
}

#define ACCESS(size)                                                                \
  extern "C" void __asan_load##size(const void *address) {                          \
    static AccessCheck *const check = (AccessCheck *)of_asan("__asan_load" #size);  \
    check_load(address, size, __builtin_return_address(0));                         \
    return check(address);                                                          \
  }                                                                                 \
  extern "C" void __asan_store##size(const void *address) {                         \
    static AccessCheck *const check = (AccessCheck *)of_asan("__asan_store" #size); \
    cudaemu_shared_note_write(address, size);                                       \
    return check(address);                                                          \
  }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)

extern "C" void __asan_loadN(const void *address, size_t bytes) {
  static AccessCheckN *const check = (AccessCheckN *)of_asan("__asan_loadN");
  check_load(address, bytes, __builtin_return_address(0));
  return check(address, bytes);
}
extern "C" void __asan_storeN(const void *address, size_t bytes) {
  static AccessCheckN *const check = (AccessCheckN *)of_asan("__asan_storeN");
  cudaemu_shared_note_write(address, bytes);
  return check(address, bytes);
}

#endif
