// What backward works out anew instead of keeping it from forward, llm.c's -r: each level what the one before does
// and more.
#ifndef LLMC_RECOMPUTE_H
#define LLMC_RECOMPUTE_H

enum {
  RECOMPUTE_NONE,
  RECOMPUTE_GELU,
  RECOMPUTE_LAYERNORM, // not of a BERT, whose blocks hand on what their norms give
  // Activation checkpointing (Chen et al., arXiv 1604.06174): a block keeps its output, which is the next one's
  // input, and its forward runs again before its backward.
  RECOMPUTE_BLOCK
};

#endif
