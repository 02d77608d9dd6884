// A block's shared memory, static and dynamic.
#ifndef CUDAEMU_SHARED_H
#define CUDAEMU_SHARED_H

#include <cstddef>

#define CUDAEMU_STATIC_SHARED_LIMIT ((size_t)48 << 10) // without asking for more
#define CUDAEMU_OPTIN_SHARED_LIMIT ((size_t)163 << 10) // with cudaFuncSetAttribute, on sm_80

// A new block: nothing declared yet, `dynamic_bytes` of dynamic memory full of NaN; both together take at most
// `limit`.
void cudaemu_shared_begin_block(size_t dynamic_bytes, size_t limit);
// For the check of uninitialised reads: remembers that these bytes were written; whether one of them was not, since
// the block began. Memory that is not shared counts as written.
void cudaemu_shared_note_write(const void *memory, size_t bytes);
int cudaemu_shared_is_unwritten(const void *memory, size_t bytes);

#endif
