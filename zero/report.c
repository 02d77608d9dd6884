// What a run costs: bytes held and bytes sent, by the ZeRO paper, by this engine's formula, and as measured.
// The formulas are those of zero/README.md, "What it costs"; the tests hold them against literal figures.
#include "engine.h"

static const double MIB = 1024.0 * 1024.0;

// ---------------------------------------------------------------- formulas

void zero_memory_formula(const ZeroEngine *e, ZeroMemoryFormula *f) {
  size_t psi = e->num_parameters, ranks = (size_t)e->comm->size;
  size_t share = (psi + ranks - 1) / ranks;
  size_t type = zero_type_size(e->config.type), wire = zero_type_size(e->config.wire);
  int stage = e->config.stage;
  size_t in_flight = 0, largest_shared = 0; // elements
  for (int u = 0; u < e->num_units; u++) {
    size_t real = e->units[u].layout.real;
    if (e->units[u].flags & ZERO_OWN_BUFFER) {
      in_flight += real;
    } else if (real > largest_shared) {
      largest_shared = real;
    }
  }
  in_flight += SHARED_SLOTS * largest_shared;

  f->parameters = type * (stage == 3 ? share : psi);
  int local = zero_local_accumulation(e);
  size_t accumulate = zero_type_size(e->config.accumulate);
  f->gradients = accumulate * (stage == 0 || local ? psi : share) + (stage == 1 && !local ? wire * psi : 0);
  size_t kinds = e->config.type == ZERO_F32 ? 2 : 3; // moments; in the half types the master weights too
  f->optimizer = kinds * sizeof(float) * (stage == 0 ? psi : share);
  f->grad_buffers = zero_shared_gradients(e) ? wire * in_flight : 0;
  f->gather_buffers = zero_sharded_parameters(e) ? type * in_flight : 0;
}

// The ZeRO paper's table 1, carried over to fp32: gradients in the compute type, no master copy, K = 8.
static void paper_memory(const ZeroEngine *e, double state[3]) {
  double psi = (double)e->num_parameters, ranks = e->comm->size, type = (double)zero_type_size(e->config.type);
  double optimizer = e->config.type == ZERO_F32 ? 8.0 : 12.0;
  int stage = e->config.stage;
  state[0] = type * psi / (stage >= 3 ? ranks : 1.0);
  state[1] = type * psi / (stage >= 2 ? ranks : 1.0);
  state[2] = optimizer * psi / (stage >= 1 ? ranks : 1.0);
}

void zero_traffic_formula(const ZeroEngine *e, ZeroTraffic *f) {
  uint64_t peers = (uint64_t)e->comm->size - 1;
  uint64_t type = zero_type_size(e->config.type), wire = zero_type_size(e->config.wire);
  *f = (ZeroTraffic){0, 0};
  if (peers == 0) return;
  for (int u = 0; u < e->num_units; u++) {
    const Unit *unit = &e->units[u];
    uint64_t total = unit->layout.total, own = unit->own_hi - unit->own_lo;
    f->reduce += (zero_local_accumulation(e) ? e->steps_here : e->micro_steps_here) * (total - own) * wire;
    switch (e->config.stage) {
      case 0:
        f->gather +=
            e->steps_here * peers * own * (zero_all_reduces(e) ? wire : zero_type_size(e->config.accumulate));
        break;
      case 1:
      case 2:
        f->gather += e->applied_here * peers * own * type;
        break;
      default: {
        uint64_t gathers = unit->flags & ZERO_OWN_BUFFER ? 1 : 2;
        f->gather += e->micro_steps_here * gathers * peers * own * type;
      }
    }
  }
}

void zero_traffic_counted(ZeroEngine *e, ZeroTraffic *counted) {
  zero_sum_ordered(e, &(double){0.0}, 1); // the transport's counters are exact after a collective
  counted->reduce = e->comm->sent(e->comm, ZERO_WIRE_REDUCE);
  counted->gather = e->comm->sent(e->comm, ZERO_WIRE_GATHER);
}

// ---------------------------------------------------------------- over the ranks

// The largest of all ranks' values. Collective.
static double largest(ZeroEngine *e, double value) {
  size_t ranks = (size_t)e->comm->size;
  double *all = zero_malloc(ranks * sizeof *all, ZERO_MEM_OTHER);
  size_t *offsets = zero_malloc((ranks + 1) * sizeof *offsets, ZERO_MEM_OTHER);
  for (size_t r = 0; r <= ranks; r++) offsets[r] = r;
  e->comm->control_gather(e->comm, &value, all, offsets);
  double most = all[0];
  for (size_t r = 1; r < ranks; r++) most = all[r] > most ? all[r] : most;
  zero_free(offsets);
  zero_free(all);
  return most;
}

// ---------------------------------------------------------------- tables

void zero_print_memory(ZeroEngine *e, FILE *out) {
  ZeroMemoryFormula f;
  zero_memory_formula(e, &f);
  double paper[3], paper_total = 0.0, formula_total = 0.0, state = 0.0, total = 0.0;
  paper_memory(e, paper);
  const size_t formula[] = {f.parameters, f.gradients, f.optimizer, f.grad_buffers, f.gather_buffers};
  double held[ZERO_MEM_CATEGORIES];
  for (int c = 0; c < ZERO_MEM_CATEGORIES; c++) held[c] = largest(e, (double)zero_ledger_now((ZeroMemory)c));
  if (e->comm->rank != 0) return;

  fprintf(out, "memory per rank in MiB, stage %d, %d ranks, %zu parameters\n", e->config.stage, e->comm->size,
          e->num_parameters);
  fprintf(out, "  %-18s %10s %10s %10s\n", "", "paper", "formula", "allocated");
  for (int c = 0; c < ZERO_MEM_CATEGORIES; c++) {
    const char *name = zero_ledger_name((ZeroMemory)c);
    total += held[c];
    if (c <= ZERO_MEM_OPTIMIZER) {
      fprintf(out, "  %-18s %10.2f %10.2f %10.2f\n", name, paper[c] / MIB, (double)formula[c] / MIB, held[c] / MIB);
      paper_total += paper[c];
      formula_total += (double)formula[c];
      state += held[c];
    } else if (c <= ZERO_MEM_GATHER_BUFFERS) {
      fprintf(out, "  %-18s %10s %10.2f %10.2f\n", name, "-", (double)formula[c] / MIB, held[c] / MIB);
    } else {
      fprintf(out, "  %-18s %10s %10s %10.2f\n", name, "-", "-", held[c] / MIB);
    }
    if (c == ZERO_MEM_OPTIMIZER) {
      fprintf(out, "  %-18s %10.2f %10.2f %10.2f\n", "= model state", paper_total / MIB, formula_total / MIB,
              state / MIB);
    }
  }
  fprintf(out, "  %-18s %10s %10s %10.2f\n", "= all", "", "", total / MIB);
}

static void print_traffic_row(FILE *out, const char *name, double paper, double formula, double counted) {
  fprintf(out, "  %-18s %14.0f %14.0f %14.0f\n", name, paper, formula, counted);
}

void zero_print_traffic(ZeroEngine *e, FILE *out) {
  ZeroTraffic formula, counted;
  zero_traffic_formula(e, &formula);
  zero_traffic_counted(e, &counted);
  double steps = e->steps_here ? (double)e->steps_here : 1.0;
  double per_step[] = {(double)formula.reduce / steps, (double)counted.reduce / steps, (double)formula.gather / steps,
                       (double)counted.gather / steps, (double)e->comm->sent(e->comm, ZERO_WIRE_CONTROL) / steps};
  for (size_t i = 0; i < sizeof per_step / sizeof per_step[0]; i++)
    per_step[i] = zero_sum_ordered(e, &per_step[i], 1);
  if (e->comm->rank != 0) return;

  // The paper, section 7: one reduce-scatter and one all-gather per step, at stage 3 a second all-gather.
  double paper = (double)e->num_parameters * (double)zero_type_size(e->config.type) * (e->comm->size - 1);
  fprintf(out, "bytes sent per step by all %d ranks, stage %d, comm %s\n", e->comm->size, e->config.stage,
          e->comm->name);
  fprintf(out, "  %-18s %14s %14s %14s\n", "", "paper", "formula", "counted");
  print_traffic_row(out, "reduce-scatter", paper, per_step[0], per_step[1]);
  print_traffic_row(out, "all-gather", e->config.stage == 3 ? 2.0 * paper : paper, per_step[2], per_step[3]);
  fprintf(out, "  %-18s %14s %14s %14.0f\n", "norms, losses", "-", "-", per_step[4]);
}

void zero_print_peak(ZeroEngine *e, FILE *out) {
  double peak = largest(e, (double)zero_process_peak()), held = 0.0;
  for (int c = 0; c < ZERO_MEM_CATEGORIES; c++) held += (double)zero_ledger_now((ZeroMemory)c);
  held = largest(e, held);
  double device_peak = largest(e, (double)zero_ledger_device_peak());
  double device_in_use = largest(e, (double)e->device->in_use_peak(e->device));
  if (e->comm->rank != 0) return;
  fprintf(out, "peak memory of a rank's process %.1f MiB | in the ledger %.1f MiB\n", peak / MIB, held / MIB);
  if (e->device->host_memory) return;
  fprintf(out,
          "peak memory of a rank on its %s device %.1f MiB | in use there by all processes and the driver %.1f MiB\n",
          e->device->name, device_peak / MIB, device_in_use / MIB);
}
