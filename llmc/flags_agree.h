// Have all ranks the same flags? Ranks that differ would wait for each other for ever, or train on something else
// than they say.
#ifndef LLMC_FLAGS_AGREE_H
#define LLMC_FLAGS_AGREE_H

#include <stddef.h>

#include "../zero/comm.h"
#include "flags.h"

#ifdef __cplusplus
extern "C" {
#endif

// Collective, with one table on all ranks. Numbers and words from a list of choices have to be rank 0's, whether they
// come from the command line, a file or the defaults; each that is not is an error with flag and both values. Names
// of files and servers may be a rank's own, but either all ranks have one or none. The flags of these names
// (own_count) may differ in any way.
void flags_check_same(const Flag *flags, size_t count, const char *const *own, size_t own_count, ZeroComm *,
                      ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
