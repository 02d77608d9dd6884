// The predictions of a validation's samples, gathered from the ranks that made them.
#include "predictions.h"

#include "../zero/error.h"
#include "../zero/memory.h"

enum { PIECE_ENTRIES = 4096 }; // of a rank that travel at once: 96 KiB

// As it travels: doubles, in which the number is exact.
typedef struct {
  double number, predicted, label;
} Entry;
enum { ENTRY_DOUBLES = 3 };
_Static_assert(sizeof(Entry) == ENTRY_DOUBLES * sizeof(double), "entries travel as doubles");

struct Predictions {
  size_t total, own;          // own: entries of this rank
  Entry *entries;             // (total) the first `own` are used
  double *predicted, *labels; // (total)
  unsigned char *seen;        // (total)
};

Predictions *predictions_create(size_t total) {
  Predictions *p = zero_malloc(sizeof *p, ZERO_MEM_OTHER);
  p->total = total;
  p->entries = zero_malloc(total * sizeof *p->entries, ZERO_MEM_OTHER);
  p->predicted = zero_malloc(total * sizeof *p->predicted, ZERO_MEM_OTHER);
  p->labels = zero_malloc(total * sizeof *p->labels, ZERO_MEM_OTHER);
  p->seen = zero_malloc(total * sizeof *p->seen, ZERO_MEM_OTHER);
  return p;
}

void predictions_add(Predictions *p, size_t number, double predicted, double label) {
  if (number >= p->total || p->own == p->total) {
    zero_fatal("predictions: sample %zu is number %zu of this rank, expected at most %zu samples", number, p->own + 1,
               p->total);
  }
  p->entries[p->own++] = (Entry){(double)number, predicted, label};
}

// Every rank's own count; counts (ranks), offsets (ranks + 1) is used on the way.
static void gather_counts(const Predictions *p, ZeroComm *comm, double *counts, size_t *offsets) {
  const double own = (double)p->own;
  for (size_t r = 0; r <= (size_t)comm->size; r++) offsets[r] = r;
  comm->control_gather(comm, &own, counts, offsets);
}

static void place(Predictions *p, const Entry *entry) {
  const size_t number = (size_t)entry->number;
  if (p->seen[number])
    zero_fatal("predictions: sample %zu was predicted twice; ranks have to take different ones", number);
  p->seen[number] = 1;
  p->predicted[number] = entry->predicted;
  p->labels[number] = entry->label;
}

void predictions_gather(Predictions *p, ZeroComm *comm) {
  const size_t ranks = (size_t)comm->size;
  double *counts = zero_malloc(ranks * sizeof *counts, ZERO_MEM_OTHER);
  size_t *offsets = zero_malloc((ranks + 1) * sizeof *offsets, ZERO_MEM_OTHER);
  Entry *piece = zero_malloc(ranks * PIECE_ENTRIES * sizeof *piece, ZERO_MEM_OTHER);
  gather_counts(p, comm, counts, offsets);
  size_t most = 0, sum = 0;
  for (size_t r = 0; r < ranks; r++) {
    const size_t count = (size_t)counts[r];
    if (count > most) most = count;
    sum += count;
  }
  if (sum != p->total)
    zero_fatal("predictions: the ranks have %zu samples, expected %zu; was one left out?", sum, p->total);
  for (size_t at = 0; at < most; at += PIECE_ENTRIES) {
    for (size_t r = 0; r < ranks; r++) {
      const size_t count = (size_t)counts[r], left = count > at ? count - at : 0;
      offsets[r + 1] = offsets[r] + ENTRY_DOUBLES * (left < PIECE_ENTRIES ? left : PIECE_ENTRIES);
    }
    const Entry *mine = p->entries + (at < p->own ? at : p->own);
    comm->control_gather(comm, (const double *)mine, (double *)piece, offsets);
    for (size_t i = 0; i < offsets[ranks] / ENTRY_DOUBLES; i++) place(p, &piece[i]);
  }
  zero_free(counts);
  zero_free(offsets);
  zero_free(piece);
}

const double *predictions_predicted(const Predictions *p) {
  return p->predicted;
}
const double *predictions_labels(const Predictions *p) {
  return p->labels;
}

void predictions_free(Predictions *p) {
  if (p == NULL) return;
  zero_free(p->entries);
  zero_free(p->predicted);
  zero_free(p->labels);
  zero_free(p->seen);
  zero_free(p);
}
