// What tests share that all ranks of a job run. Every rank runs every test; a test counts what is wrong on its rank
// and all ranks compare the sum at its end, so that they pass or fail together and never leave each other waiting.
#ifndef TEST_RANKS_H
#define TEST_RANKS_H

#include "../../zero/comm.h"
#include "check.h"

// Of the program, which defines them.
extern ZeroComm *comm;
extern int wrong; // on this rank, in this test

#define EXPECT(condition)                                                                                    \
  do {                                                                                                       \
    if (!(condition) && wrong++ < 3) {                                                                       \
      fprintf(stderr, "%s:%d: rank %d of %d: %s\n", __FILE__, __LINE__, comm->rank, comm->size, #condition); \
    }                                                                                                        \
  } while (0)

// The sum of one figure over the ranks; also a barrier.
static inline double over_ranks(double mine) {
  enum { MOST = 64 };
  double all[MOST], sum = 0.0;
  size_t offsets[MOST + 1];
  assert_true(comm->size <= MOST);
  for (int r = 0; r <= comm->size; r++) offsets[r] = (size_t)r;
  comm->control_gather(comm, &mine, all, offsets);
  for (int r = 0; r < comm->size; r++) sum += all[r];
  return sum;
}

static inline void finish_test(void) {
  double all = over_ranks(wrong);
  wrong = 0;
  assert_true(all == 0.0);
}

#endif
