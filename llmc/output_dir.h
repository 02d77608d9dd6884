// The folder that a run writes into (-o): checked before the run begins, then made.
#ifndef LLMC_OUTPUT_DIR_H
#define LLMC_OUTPUT_DIR_H

#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

// Can dir be created (parents too) and written to, and has its disk `bytes` free? Problems go into errors; nothing is
// created. flag: "-o", for messages. what: what needs the bytes, in words.
void output_dir_check(const char *dir, const char *flag, size_t bytes, const char *what, ZeroErrors *errors);
// mkdir -p, and a file written and removed again: what permissions do not tell (a full disk, /proc) shows here. A
// problem goes into errors, and no folder made here stays. Call on one rank, after the start-up checks.
void output_dir_make(const char *dir, const char *flag, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
