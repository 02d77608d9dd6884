// Micro-batches on their way to the device and their losses on the way back.
#include "micro_batches.h"

#include "../zero/error.h"
#include "../zero/memory.h"

enum { SLOTS = 2 }; // the device fetches one while the host fills the other

typedef struct {
  int *host;         // (ints)
  ZeroEvent fetched; // stands behind the copy from it
} Slot;

// Losses under way.
typedef struct {
  size_t rows;
  double *sum; // where it is wanted
} Pending;

struct MicroBatches {
  ZeroDevice *device;
  size_t ints, rows;
  Slot slots[SLOTS];
  int filling;    // slot that the host fills now
  int *on_device; // (ints) NULL where kernels read the slots themselves

  float *losses; // (most_pending, rows) of the host; NULL where the host reads the device's
  Pending *pending;
  size_t num_pending, most_pending;
  ZeroEvent arrived; // stands behind the newest copy of losses
};

MicroBatches *micro_batches_create(ZeroDevice *device, size_t ints, size_t rows, size_t pending) {
  if (pending == 0) zero_fatal("micro_batches_create: found 0 for the losses under way, expected 1 or more");
  MicroBatches *m = zero_malloc(sizeof *m, ZERO_MEM_OTHER);
  m->device = device;
  m->ints = ints;
  m->rows = rows;
  const size_t bytes = ints * sizeof(int);
  // A device without a queue is done with a slot as soon as it was asked to read it.
  const int slots = device->host_memory ? 1 : SLOTS;
  for (int s = 0; s < slots; s++) {
    m->slots[s].host = device->alloc_host(device, bytes, ZERO_MEM_OTHER);
    m->slots[s].fetched = device->event_create(device);
  }
  if (device->host_memory) {
    m->slots[1] = m->slots[0];
    return m;
  }
  m->on_device = device->alloc(device, bytes, ZERO_MEM_ACTIVATIONS);
  m->losses = device->alloc_host(device, pending * rows * sizeof(float), ZERO_MEM_OTHER);
  m->pending = zero_malloc(pending * sizeof *m->pending, ZERO_MEM_OTHER);
  m->most_pending = pending;
  m->arrived = device->event_create(device);
  return m;
}

void micro_batches_destroy(MicroBatches *m) {
  ZeroDevice *device = m->device;
  if (m->num_pending > 0) {
    zero_fatal(
        "micro_batches_destroy: the losses of %zu micro-batches are under way; call micro_batches_finish first",
        m->num_pending);
  }
  const int slots = device->host_memory ? 1 : SLOTS;
  for (int s = 0; s < slots; s++) {
    device->event_wait(device, m->slots[s].fetched);
    device->event_destroy(device, m->slots[s].fetched);
    device->free_host(device, m->slots[s].host);
  }
  if (!device->host_memory) {
    device->free(device, m->on_device);
    device->free_host(device, m->losses);
    device->event_destroy(device, m->arrived);
    zero_free(m->pending);
  }
  zero_free(m);
}

int *micro_batches_fill(MicroBatches *m) {
  const Slot *slot = &m->slots[m->filling];
  m->device->event_wait(m->device, slot->fetched);
  return slot->host;
}

const int *micro_batches_send(MicroBatches *m) {
  ZeroDevice *device = m->device;
  const Slot *slot = &m->slots[m->filling];
  m->filling = (m->filling + 1) % SLOTS;
  if (device->host_memory) return slot->host;
  // Queued behind the kernels that read what it overwrites.
  device->from_host_async(device, m->on_device, slot->host, m->ints * sizeof(int));
  device->event_record(device, slot->fetched);
  return m->on_device;
}

static double sum_in_order(const float *losses, size_t rows) {
  double sum = 0.0;
  for (size_t n = 0; n < rows; n++) sum += (double)losses[n];
  return sum;
}

void micro_batches_take_losses(MicroBatches *m, const float *losses, size_t rows, double *sum) {
  ZeroDevice *device = m->device;
  if (rows > m->rows) zero_fatal("micro_batches_take_losses: found %zu rows, expected at most %zu", rows, m->rows);
  if (device->host_memory) {
    *sum = sum_in_order(losses, rows);
    return;
  }
  if (m->num_pending == m->most_pending) micro_batches_finish(m);
  device->to_host_async(device, m->losses + m->num_pending * m->rows, losses, rows * sizeof(float));
  device->event_record(device, m->arrived);
  m->pending[m->num_pending++] = (Pending){rows, sum};
}

void micro_batches_finish(MicroBatches *m) {
  if (m->num_pending == 0) return;
  m->device->event_wait(m->device, m->arrived);
  for (size_t p = 0; p < m->num_pending; p++) {
    *m->pending[p].sum = sum_in_order(m->losses + p * m->rows, m->pending[p].rows);
  }
  m->num_pending = 0;
}
