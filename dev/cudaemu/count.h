// ZERO_EMU_COUNTS: how often the host waited, and what it gave the device to do.
#ifndef CUDAEMU_COUNT_H
#define CUDAEMU_COUNT_H

// One more of `kind` and `name`. Kinds: "launch" and "copy" of work that was given to a stream; "wait" of a host that
// waited for work and left more of it in the stream, "drain" where it left the stream empty. Calls that found
// everything done are no waits.
void cudaemu_count(const char *kind, const char *name);
// The host has waited for a stream, of which `left` pieces of work are not done.
void cudaemu_count_wait(const char *call, bool left);

#endif
