// A trainer's program, whatever the model is.
#include "trainer.h"

#include <stdio.h>

#include "checkpoint_dir.h"
#include "clock.h"
#include "ops.h"
#include "outliers.h"
#include "schedulers.h"
#include "stop.h"

int trainer_main_rank(const Trainer *t) {
  return setup_main_rank(&t->setup);
}

// The update, unless the gradients overflow or loss or norm is an outlier that the user wants skipped.
static ZeroStep update(Trainer *t, float lr, double loss) {
  const Options *o = &t->setup.options;
  ZeroEngine *e = t->engine;
  Progress *p = &t->progress;
  ZeroNorm norm = zero_norm(e);
  int outlier = (o->skip_loss > 0 && outliers_zscore(&p->loss, loss) > o->skip_loss) ||
                (o->skip_norm > 0 && outliers_zscore(&p->norm, norm.norm) > o->skip_norm);
  if (norm.overflow || outlier) {
    ZeroStep skipped = {norm.norm, 1, 1.0, zero_loss_scale(e)};
    zero_skip(e);
    return skipped;
  }
  outliers_add(&p->loss, loss);
  outliers_add(&p->norm, norm.norm);
  return zero_apply(e, lr);
}

// FLOP/s that the ranks' matrix multiplies reach together: the best of two square shapes and the model's own. The
// best product of a rank is one that kept its cores to the end; ranks that share them have but a part of the time.
static double measure_peak(const Trainer *t) {
  const double seconds = 0.1; // each; half a second in all
  const ZeroType type = t->setup.zero.type;
  const size_t side = t->model->peak_side;
  const TrainerProduct largest = t->model->largest_product(t->run);
  double best = matmul_peak(side, side, side, type, seconds);
  double other = matmul_peak(2 * side, 2 * side, 2 * side, type, seconds);
  best = other > best ? other : best;
  other = matmul_peak(largest.rows, largest.inputs, largest.outputs, type, seconds);
  best = (other > best ? other : best) * t->setup.core_share;
  return zero_sum_ordered(t->engine, &best, 1);
}

// Rank 0. A resumed run goes on with its log; a new one moves what is there aside.
static void open_log(Trainer *t) {
  const Options *o = &t->setup.options;
  if (!o->out) return;
  if (t->resumed) {
    t->log = logger_resume(o->out, (size_t)t->progress.step);
    return;
  }
  t->log = logger_open(o->out);
  char problem[2 * CHECKPOINT_PATH];
  if (checkpoint_move_aside(o->out, problem, sizeof problem) != 0) zero_fatal("-o %s: %s", o->out, problem);
}

// The start of what a checkpoint keeps.
static void begin_progress(Trainer *t) {
  const Setup *s = &t->setup;
  const uint64_t sampler_seed = 1337; // llm.c's
  t->progress.sample_state = sampler_seed;
  t->progress.seed = (uint64_t)s->options.seed;
  t->progress.sequences = s->sequences;
  t->progress.T = s->train_samples ? 0 : s->T; // the order of samples does not depend on it
  t->progress.windows = setup_train_sequences(s);
  outliers_init(&t->progress.loss);
  outliers_init(&t->progress.norm);
}

// With engine and weights in place: resumes where -y asks for it, prints the memory table, measures the peak and
// opens the log.
static void start(Trainer *t) {
  const Setup *s = &t->setup;
  if (s->options.resume) t->resumed = run_checkpoint_resume(t->engine, s->comm, &s->options, &t->progress);
  zero_print_memory(t->engine, stdout);
  if (s->steps > 0) t->peak_flops = measure_peak(t);
  if (!trainer_main_rank(t)) return;
  if (s->steps > 0) {
    printf("matrix multiply peak: %.1f GFLOP/s, all ranks%s\n", t->peak_flops * 1e-9,
           s->core_share < 1.0 ? ", whose threads take turns on the cores" : "");
  }
  open_log(t);
  fflush(stdout);
}

// work: of the steps since the last line, which took `seconds` together; loss, done and lr are the last step's.
static void print_step(const Trainer *t, size_t step, double loss, ZeroStep done, double lr, const TrainerWork *work,
                       size_t steps, double seconds) {
  const Setup *s = &t->setup;
  const double left = seconds / (double)steps * (double)(s->steps - step - 1);
  const long minutes = (long)(left / 60.0);
  char scale[32] = "";
  if (s->zero.type == ZERO_F16) snprintf(scale, sizeof scale, " | scale %g", done.scale);
  printf(
      "step %5zu/%zu | loss %.6f | norm %.4f | lr %.3e | %.1f ms | %.0f tok/s | %.1f %% of peak | %ld:%02ld "
      "left%s%s\n",
      step + 1, s->steps, loss, done.norm, lr, seconds / (double)steps * 1e3, work->tokens / seconds,
      100.0 * work->flops / seconds / t->peak_flops, minutes, (long)left - 60 * minutes, scale,
      done.skipped ? " | skipped" : "");
  fflush(stdout);
}

// What is due after `step` steps.
static void evaluate(Trainer *t, size_t step) {
  const Setup *s = &t->setup;
  const Options *o = &s->options;
  const int last = step == s->steps;
  if (o->val_every > 0 && o->val && (last || step % (size_t)o->val_every == 0)) t->model->validate(t->run, step);
  if (t->model->sample && o->sample_every > 0 && (last || (step > 0 && step % (size_t)o->sample_every == 0))) {
    t->model->sample(t->run);
  }
}

// All steps up to -x or a signal.
static void run_steps(Trainer *t) {
  const Setup *s = &t->setup;
  const Options *o = &s->options;
  TrainerWork since = {0.0, 0.0, 0.0};    // the last step's line
  double busy = 0.0, busy_at_print = 0.0; // seconds spent in training steps
  size_t first = (size_t)t->progress.step, printed_step = first, step = first;
  int stop = 0;
  if (first > s->steps && trainer_main_rank(t)) {
    printf("nothing to do: -x asks for %zu steps, the checkpoint has %zu\n", s->steps, first);
  }
  for (; step <= s->steps; step++) {
    evaluate(t, step);
    if (step == s->steps) break;
    const double started = clock_now();
    size_t at = schedule_counts_applied(&s->schedule) ? zero_steps_applied(t->engine) : step;
    double lr = schedule_lr(&s->schedule, at), beta1, beta2;
    if (schedule_betas(&s->schedule, at, &beta1, &beta2)) zero_set_betas(t->engine, beta1, beta2);
    TrainerWork work = t->model->forward_backward(t->run, step);
    ZeroStep done = update(t, (float)lr, work.loss);
    busy += clock_now() - started;
    since.tokens += work.tokens;
    since.flops += work.flops;
    zero_process_peak();
    double stopping = stop_requested();
    stop = zero_sum_ordered(t->engine, &stopping, 1) > 0.0; // on any rank
    if (trainer_main_rank(t)) {
      logger_train(t->log, step, work.loss, lr, done.norm);
      if ((step + 1) % (size_t)o->log_every == 0 || step + 1 == s->steps || step == first || stop) {
        print_step(t, step, work.loss, done, lr, &since, step + 1 - printed_step, busy - busy_at_print);
        since = (TrainerWork){0.0, 0.0, 0.0};
        busy_at_print = busy;
        printed_step = step + 1;
      }
    }
    if (o->hash_every > 0 && (step + 1) % (size_t)o->hash_every == 0) {
      unsigned long long hash = zero_state_hash(t->engine);
      if (trainer_main_rank(t)) printf("step %zu state %016llx\n", step + 1, hash);
    }
    int due =
        o->checkpoint_every > 0 && ((step + 1) % (size_t)o->checkpoint_every == 0 || step + 1 == s->steps || stop);
    t->progress.step = step + 1;
    if (due) {
      run_checkpoint_save(t->engine, s->comm, o, &t->progress, t->model->write_checkpoint, t->run);
    }
    if (stop) break;
  }
  if (!trainer_main_rank(t)) return;
  if (stop)
    printf("stopped by a signal after step %zu%s\n", step + 1,
           o->checkpoint_every > 0 || o->export_to ? "" : ", nothing saved: no -n");
  printf("trained %zu steps in %.1f s", (stop ? step + 1 : step) - first, busy);
  if (busy > 0.0) printf(", %.2f %% of it reading data", 100.0 * t->model->data_seconds(t->run) / busy);
  printf("\n");
}

static void make_export(const Trainer *t) {
  ZeroErrors errors = {NULL, 0};
  const char *path = t->setup.options.export_to;
  if (path && trainer_main_rank(t)) t->model->make_export(path, &errors);
  zero_errors_check(&errors, t->setup.comm);
}

// Training is over: a model that cannot be written is an error.
static void write_export(Trainer *t) {
  const char *path = t->setup.options.export_to;
  char problem[2 * CHECKPOINT_PATH];
  if (!path) return;
  if (t->model->write_export(t->run, path, problem, sizeof problem) != 0)
    zero_fatal("--export %s: %s", path, problem);
  if (trainer_main_rank(t)) printf("exported to %s\n", path);
}

int trainer_program(const TrainerModel *model, Trainer *t, void *run, int argc, char **argv) {
  Setup *s = &t->setup;
  ZeroErrors errors = {NULL, 0};
  t->model = model;
  t->run = run;
  setup_parse(s, model->options, model->device_kind, argc, argv, &errors);
  if (setup_help(s, model->name, model->about)) {
    zero_comm_destroy(s->comm);
    return ZERO_EXIT_OK;
  }
  t->device = model->open_device(s->comm); // a machine without it is told so first
  if (errors.count == 0) model->check(run, &errors);
  zero_errors_check(&errors, s->comm);
  setup_print_notices(s, argc, argv);
  setup_finish(s);
  stop_catch_signals();
  begin_progress(t);
  model->create(run);
  setup_make_output(s);
  make_export(t);
  if (trainer_main_rank(t)) model->print(run); // after the engine has settled which transport it uses
  model->fill(run);
  start(t);
  run_steps(t);
  write_export(t);
  zero_print_traffic(t->engine, stdout);
  zero_print_peak(t->engine, stdout);
  if (t->log) logger_close(t->log);
  model->end(run);
  setup_free(s);
  zero_comm_destroy(s->comm);
  zero_device_destroy(t->device);
  return ZERO_EXIT_OK;
}
