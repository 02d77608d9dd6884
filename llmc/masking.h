// Masked-language modelling (Devlin et al., arXiv 1810.04805, section 3.1 and appendix A): which tokens of a sample
// are to be predicted, and what stands in their place. Drawn anew in every epoch, by Philox of (seed, epoch, sample,
// position): never by rank, batch or layout.
#ifndef LLMC_MASKING_H
#define LLMC_MASKING_H

#include <stddef.h>
#include <stdint.h>

#include "samples.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MASKING_PROBABILITY 0.15 // BERT's
// Of the chosen tokens: so many become [MASK], so many a random token of the whole vocabulary; the others stay.
#define MASKING_SHARE_MASK 0.8
#define MASKING_SHARE_RANDOM 0.1

typedef struct {
  double probability; // of a token to be chosen
  uint64_t seed;
  uint64_t epoch;
  uint32_t sample; // number in file order
} MaskingKey;

// Chooses among the tokens that are not special ([PAD], [CLS], [SEP], [MASK]), at least one where there is one, and
// changes the chosen ones. positions and targets: where they are, ascending, and which tokens stood there; room for
// `length` each. Returns how many were chosen.
size_t masking_apply(const SamplesInfo *info, const MaskingKey *key, size_t length, int *tokens, int *positions,
                     int *targets);
// The same number, without changing anything.
size_t masking_count(const SamplesInfo *info, const MaskingKey *key, size_t length, const int *tokens);

#ifdef __cplusplus
}
#endif
#endif
