// The folders of a run's checkpoints: DIR/step_00000020/, each complete or not there at all.
//
// A checkpoint is written into DIR/step_00000020.tmp/ and gets its name only when all of it is on the disk. What
// ends in .tmp is what a crash left behind: it counts for nothing, and the next checkpoint removes it.
//
// One rank alone makes these calls. Those that can fail return 0, or -1 and the reason, path included, in
// `problem`.
#ifndef LLMC_CHECKPOINT_DIR_H
#define LLMC_CHECKPOINT_DIR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CHECKPOINT_PATH = 4096 };

// path = DIR/step_%08zu/name, or DIR/step_%08zu.tmp/name while it is being written; name NULL: the folder. DIR may
// have some 4,000 characters; a longer one ends all ranks.
void checkpoint_path(char path[CHECKPOINT_PATH], const char *dir, size_t step, const char *name);
void checkpoint_tmp_path(char path[CHECKPOINT_PATH], const char *dir, size_t step, const char *name);

// The steps of all complete checkpoints in dir, ascending; none if dir does not exist. *steps: zero_free it.
int checkpoint_list(const char *dir, size_t **steps, size_t *count, char *problem, size_t problem_bytes);

// Removes leftovers, then creates dir (its parent must exist) and the step's .tmp folder, empty.
int checkpoint_begin(const char *dir, size_t step, char *problem, size_t problem_bytes);
// The .tmp folder is complete: its files and itself go to the disk, then it gets its name; a checkpoint of the
// same step that was there before goes.
int checkpoint_commit(const char *dir, size_t step, char *problem, size_t problem_bytes);
// The .tmp folder cannot be completed: removes it, so that it takes no space.
int checkpoint_abandon(const char *dir, size_t step, char *problem, size_t problem_bytes);

// After checkpoint_commit: deletes checkpoints older than `newest` but the last keep_last, `newest` included, and
// those whose step is a multiple of keep_every. keep_last 0: nothing is deleted; keep_every 0: no such exception.
// Steps after `newest`, left over from before a resume, stay and do not count.
int checkpoint_prune(const char *dir, size_t newest, size_t keep_last, size_t keep_every, char *problem,
                     size_t problem_bytes);

// A new run in a folder that holds another run's checkpoints: moves them to DIR/earlier.N/, the first N that is
// free from 1, with one line on stdout. Nothing there: does nothing.
int checkpoint_move_aside(const char *dir, char *problem, size_t problem_bytes);

#ifdef __cplusplus
}
#endif
#endif
