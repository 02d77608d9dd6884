// The configuration file: a table of files, each with its effective values or its exact errors; broken JSON with line
// and column; what cannot be had together.
#include <math.h>

#include "../../zero/config_file.h"
#include "../../zero/words.h"
#include "check.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define NAME "ds.json"
#define TOP(text) "{" text "}"
#define ZERO(text) "{\"zero_optimization\": {" text "}}"
#define FP16(text) "{\"fp16\": {" text "}}"
#define ADAM(text) "{\"optimizer\": {\"type\": \"AdamW\", \"params\": {" text "}}}"
#define SCHEDULER(type, text) "{\"scheduler\": {\"type\": \"" type "\", \"params\": {" text "}}}"

enum { MAX_ERRORS = 12 };

// ---------------------------------------------------------------------------------------------------
// Effective values as one line

typedef struct {
  char text[CHECK_TEXT];
} Values;

static void add(Values *v, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add(Values *v, const char *name, const char *format, ...) {
  size_t length = strlen(v->text);
  length += (size_t)snprintf(v->text + length, CHECK_TEXT - length, "%s%s=", length > 0 ? " " : "", name);
  va_list args;
  va_start(args, format);
  const int more = vsnprintf(v->text + length, CHECK_TEXT - length, format, args);
  va_end(args);
  assert_true(more >= 0 && length + (size_t)more < CHECK_TEXT);
}

static void add_int(Values *v, const char *name, const ZeroFileInt *key) {
  if (key->state == ZERO_KEY_GIVEN) add(v, name, "%lld", (long long)key->value);
  if (key->state == ZERO_KEY_AUTO) add(v, name, "auto");
}

static void add_number(Values *v, const char *name, const ZeroFileNumber *key) {
  if (key->state == ZERO_KEY_GIVEN) add(v, name, "%.12g", key->value);
  if (key->state == ZERO_KEY_AUTO) add(v, name, "auto");
}

static void add_type(Values *v, const char *name, const ZeroFileType *key) {
  if (key->state == ZERO_KEY_GIVEN) add(v, name, "%s", zero_type_name(key->value));
}

// All keys that the file gave; of an optimizer all that is in force.
static void list_values(const ZeroConfigFile *f, Values *v) {
  v->text[0] = '\0';
  add_int(v, "train", &f->train_batch_size);
  add_int(v, "micro", &f->train_micro_batch_size_per_gpu);
  add_int(v, "accumulation", &f->gradient_accumulation_steps);
  add_int(v, "stage", &f->stage);
  add_int(v, "deterministic", &f->deterministic);
  add_int(v, "stochastic", &f->stochastic_rounding);
  add_int(v, "print", &f->steps_per_print);
  add_number(v, "clip", &f->gradient_clipping);
  add_type(v, "comm", &f->communication_data_type);
  add_type(v, "accum", &f->grad_accum_dtype);
  add_int(v, "fp16", &f->fp16.enabled);
  add_number(v, "scale", &f->fp16.loss_scale);
  add_int(v, "power", &f->fp16.initial_scale_power);
  add_int(v, "window", &f->fp16.loss_scale_window);
  add_int(v, "hysteresis", &f->fp16.hysteresis);
  add_int(v, "consecutive", &f->fp16.consecutive_hysteresis);
  add_number(v, "min", &f->fp16.min_loss_scale);
  add_int(v, "bf16", &f->bf16);
  const ZeroFileOptimizer *o = &f->optimizer;
  if (o->given) {
    add(v, "optimizer", "%s", o->adam ? "Adam" : "AdamW");
    add(v, "lr", o->lr.state == ZERO_KEY_AUTO ? "auto" : "%.12g", o->lr.value);
    add(v, "betas", o->betas.state == ZERO_KEY_AUTO ? "auto" : "%.12g/%.12g", o->betas.value[0], o->betas.value[1]);
    add(v, "eps", o->eps.state == ZERO_KEY_AUTO ? "auto" : "%.12g", o->eps.value);
    add(v, "decay", o->weight_decay.state == ZERO_KEY_AUTO ? "auto" : "%.12g", o->weight_decay.value);
    add_int(v, "correction", &o->bias_correction);
    add_int(v, "w_mode", &o->adam_w_mode);
  }
  const ZeroFileScheduler *s = &f->scheduler;
  static const char *const types[] = {"none",           "WarmupLR",    "WarmupDecayLR",
                                      "WarmupCosineLR", "LRRangeTest", "OneCycle"};
  if (s->type != ZERO_SCHEDULER_NONE) add(v, "scheduler", "%s", types[s->type]);
  add_number(v, "min_lr", &s->warmup_min_lr);
  add_number(v, "max_lr", &s->warmup_max_lr);
  add_int(v, "warmup", &s->warmup_num_steps);
  add_int(v, "total", &s->total_num_steps);
  add_int(v, "linear", &s->warmup_linear);
  add_number(v, "min_ratio", &s->warmup_min_ratio);
  add_number(v, "cos_min", &s->cos_min_ratio);
  add_number(v, "range_lr", &s->range_min_lr);
  add_number(v, "range_rate", &s->range_step_rate);
  add_int(v, "range_size", &s->range_step_size);
  add_int(v, "stairs", &s->range_staircase);
  add_number(v, "cycle_min", &s->cycle_min_lr);
  add_number(v, "cycle_max", &s->cycle_max_lr);
  add_number(v, "decay_lr", &s->decay_lr_rate);
  add_int(v, "first", &s->cycle_first_step_size);
  add_int(v, "second", &s->cycle_second_step_size);
  add_int(v, "decay_step", &s->decay_step_size);
  add_int(v, "momentum", &s->cycle_momentum);
  add_number(v, "min_mom", &s->cycle_min_mom);
  add_number(v, "max_mom", &s->cycle_max_mom);
  add_number(v, "decay_mom", &s->decay_mom_rate);
}

// ---------------------------------------------------------------------------------------------------
// Files that are right

typedef struct {
  const char *text;
  const char *values; // as list_values writes them
  const char *unused; // paths in the warning, or NULL for no warning
} Valid;

#define Z "zero_optimization."
static const Valid valid[] = {
    {"{}", "", NULL},
    // the article's file
    {"{\n  \"train_batch_size\": 32,\n  \"gradient_accumulation_steps\": 1,\n  \"zero_optimization\": {\n"
     "    \"stage\": 0,\n    \"offload_optimizer\": false,\n    \"offload_param\": false,\n    \"overlap_comm\": "
     "true\n"
     "  }\n}\n",
     "train=32 accumulation=1 stage=0", Z "offload_optimizer, " Z "offload_param, " Z "overlap_comm"},
    // batch and top level
    {TOP("\"train_batch_size\": 32, \"train_micro_batch_size_per_gpu\": 8, \"gradient_accumulation_steps\": 2"),
     "train=32 micro=8 accumulation=2", NULL},
    {TOP("\"train_batch_size\": \"auto\", \"train_micro_batch_size_per_gpu\": \"auto\", "
         "\"gradient_accumulation_steps\": \"auto\", \"gradient_clipping\": \"auto\""),
     "train=auto micro=auto accumulation=auto clip=auto", NULL},
    {TOP("\"train_batch_size\": null, \"gradient_accumulation_steps\": 4e0"), "accumulation=4", NULL},
    {TOP("\"deterministic\": false"), "deterministic=0", NULL},
    {TOP("\"stochastic_rounding\": true"), "stochastic=1", NULL},
    {TOP("\"deterministic\": true, \"steps_per_print\": 100, \"gradient_clipping\": 0"),
     "deterministic=1 print=100 clip=0", NULL},
    {TOP("\"steps_per_print\": null, \"gradient_clipping\": 0.5"), "clip=0.5", NULL},
    {TOP("\"communication_data_type\": \"fp32\""), "comm=fp32", NULL},
    {TOP("\"communication_data_type\": \"BF16\", \"data_types\": {\"grad_accum_dtype\": \"float16\"}"),
     "comm=bf16 accum=fp16", NULL},
    {TOP("\"communication_data_type\": null, \"data_types\": {\"grad_accum_dtype\": null}"), "", NULL},
    {TOP("\"data_types\": {\"grad_accum_dtype\": \"bfloat16\", \"param_dtype\": \"fp32\"}"), "accum=bf16",
     "data_types.param_dtype"},
    // precision
    {FP16("\"enabled\": true"), "fp16=1", NULL},
    {FP16("\"enabled\": true, \"loss_scale\": 0, \"initial_scale_power\": 16, \"loss_scale_window\": 1000, "
          "\"hysteresis\": 2, \"consecutive_hysteresis\": false, \"min_loss_scale\": 1"),
     "fp16=1 scale=0 power=16 window=1000 hysteresis=2 consecutive=0 min=1", NULL},
    {FP16("\"enabled\": \"auto\", \"loss_scale\": 128.5, \"consecutive_hysteresis\": true"),
     "fp16=auto scale=128.5 consecutive=1", NULL},
    {FP16("\"enabled\": false, \"auto_cast\": true, \"fp16_master_weights_and_grads\": false"), "fp16=0",
     "fp16.auto_cast, fp16.fp16_master_weights_and_grads"},
    {TOP("\"bf16\": {\"enabled\": true, \"check_grad_overflow\": true, \"immediate_grad_update\": false}"), "bf16=1",
     "bf16.check_grad_overflow, bf16.immediate_grad_update"},
    {TOP("\"bfloat16\": {\"enabled\": true}, \"fp16\": {\"enabled\": false}"), "fp16=0 bf16=1", NULL},
    {TOP("\"bf16\": {\"enabled\": \"auto\"}, \"fp16\": {\"enabled\": \"auto\"}"), "fp16=auto bf16=auto", NULL},
    // ZeRO
    {ZERO("\"stage\": 3"), "stage=3", NULL},
    {ZERO("\"stage\": 2.0"), "stage=2", NULL},
    {ZERO(""), "", NULL},
    {TOP("\"zero_optimization\": true"), "stage=1", NULL},
    {TOP("\"zero_optimization\": false"), "stage=0", NULL},
    {ZERO("\"stage\": true"), "stage=1", NULL},
    {ZERO("\"stage\": 3, \"reduce_bucket_size\": \"auto\", \"stage3_prefetch_bucket_size\": \"auto\", "
          "\"stage3_param_persistence_threshold\": \"auto\", \"stage3_max_live_parameters\": \"auto\", "
          "\"stage3_max_reuse_distance\": \"auto\", \"sub_group_size\": \"auto\""),
     "stage=3",
     Z "reduce_bucket_size, " Z "stage3_prefetch_bucket_size, " Z "stage3_param_persistence_threshold, " Z
       "stage3_max_live_parameters, " Z "stage3_max_reuse_distance, " Z "sub_group_size"},
    {ZERO("\"stage\": 2, \"contiguous_gradients\": true, \"reduce_scatter\": true, \"allgather_partitions\": true, "
          "\"allgather_bucket_size\": 5e8, \"reduce_bucket_size\": 5e8, \"round_robin_gradients\": false"),
     "stage=2",
     Z "contiguous_gradients, " Z "reduce_scatter, " Z "allgather_partitions, " Z "allgather_bucket_size, " Z
       "reduce_bucket_size, " Z "round_robin_gradients"},
    // an offload block is one entry, whatever it holds
    {ZERO("\"stage\": 3, \"offload_optimizer\": {\"device\": \"cpu\", \"pin_memory\": true, \"ratio\": 0.3}, "
          "\"offload_param\": {\"device\": \"nvme\", \"nvme_path\": \"/n\", \"buffer_size\": 1e8, \"max_in_cpu\": "
          "1e9}"),
     "stage=3", Z "offload_optimizer, " Z "offload_param"},
    {ZERO("\"offload_optimizer\": null, \"offload_param\": {\"device\": \"none\"}, \"overlap_comm\": null"), "",
     Z "offload_optimizer, " Z "offload_param, " Z "overlap_comm"},
    {ZERO("\"stage\": 2, \"cpu_offload\": true, \"cpu_offload_use_pin_memory\": true"), "stage=2",
     Z "cpu_offload, " Z "cpu_offload_use_pin_memory"},
    {ZERO("\"stage\": 3, \"cpu_offload_param\": true, \"stage3_gather_fp16_weights_on_model_save\": true"), "stage=3",
     Z "cpu_offload_param, " Z "stage3_gather_fp16_weights_on_model_save"},
    {ZERO("\"stage\": 3, \"zero_hpz_partition_size\": 8, \"zero_quantized_weights\": true, "
          "\"zero_quantized_gradients\": true, \"mics_shard_size\": -1, "
          "\"stage3_model_persistence_threshold\": 9223372036854775807"),
     "stage=3",
     Z "zero_hpz_partition_size, " Z "zero_quantized_weights, " Z "zero_quantized_gradients, " Z "mics_shard_size, " Z
       "stage3_model_persistence_threshold"},
    // optimizer
    {TOP("\"optimizer\": {\"type\": \"AdamW\"}"), "optimizer=AdamW lr=0.001 betas=0.9/0.999 eps=1e-08 decay=0", NULL},
    {ADAM("\"lr\": 3e-4, \"betas\": [0.9, 0.95], \"eps\": 1e-6, \"weight_decay\": 0.1"),
     "optimizer=AdamW lr=0.0003 betas=0.9/0.95 eps=1e-06 decay=0.1", NULL},
    {ADAM("\"lr\": \"auto\", \"betas\": \"auto\", \"eps\": \"auto\", \"weight_decay\": \"auto\""),
     "optimizer=AdamW lr=auto betas=auto eps=auto decay=auto", NULL},
    {TOP("\"optimizer\": {\"type\": \"Adam\", \"params\": {\"adam_w_mode\": false, \"bias_correction\": false, "
         "\"torch_adam\": true}, \"legacy_fusion\": false}"),
     "optimizer=Adam lr=0.001 betas=0.9/0.999 eps=1e-08 decay=0 correction=0 w_mode=0",
     "optimizer.legacy_fusion, optimizer.params.torch_adam"},
    {TOP("\"optimizer\": {\"type\": \"adam\", \"params\": {\"lr\": 0}}"),
     "optimizer=Adam lr=0 betas=0.9/0.999 eps=1e-08 decay=0", NULL},
    // scheduler
    {TOP("\"scheduler\": {\"type\": \"WarmupLR\"}"), "scheduler=WarmupLR", NULL},
    {SCHEDULER("WarmupLR",
               "\"warmup_min_lr\": 0, \"warmup_max_lr\": 0.001, \"warmup_num_steps\": 1000, "
               "\"warmup_type\": \"linear\""),
     "scheduler=WarmupLR min_lr=0 max_lr=0.001 warmup=1000 linear=1", NULL},
    {SCHEDULER("WarmupDecayLR",
               "\"warmup_min_lr\": \"auto\", \"warmup_max_lr\": \"auto\", \"warmup_num_steps\": "
               "\"auto\", \"total_num_steps\": \"auto\", \"warmup_type\": \"log\""),
     "scheduler=WarmupDecayLR min_lr=auto max_lr=auto warmup=auto total=auto linear=0", NULL},
    {SCHEDULER("WarmupCosineLR",
               "\"total_num_steps\": 500, \"warmup_min_ratio\": 0.1, \"cos_min_ratio\": 0.01, "
               "\"warmup_num_steps\": 50"),
     "scheduler=WarmupCosineLR warmup=50 total=500 min_ratio=0.1 cos_min=0.01", NULL},
    {SCHEDULER("LRRangeTest",
               "\"lr_range_test_min_lr\": 1e-4, \"lr_range_test_step_size\": 200, "
               "\"lr_range_test_step_rate\": 5, \"lr_range_test_staircase\": true"),
     "scheduler=LRRangeTest range_lr=0.0001 range_rate=5 range_size=200 stairs=1", NULL},
    {SCHEDULER("OneCycle",
               "\"cycle_min_lr\": 1e-4, \"cycle_max_lr\": 1e-3, \"decay_lr_rate\": 0.1, "
               "\"cycle_first_step_size\": 100, \"cycle_second_step_size\": null, \"decay_step_size\": 10, "
               "\"cycle_momentum\": false, \"cycle_min_mom\": 0.85, \"cycle_max_mom\": 0.99, "
               "\"decay_mom_rate\": 0, \"last_batch_iteration\": -1"),
     "scheduler=OneCycle cycle_min=0.0001 cycle_max=0.001 decay_lr=0.1 first=100 decay_step=10 momentum=0 "
     "min_mom=0.85 max_mom=0.99 decay_mom=0",
     "scheduler.params.last_batch_iteration"},
    // blocks without effect
    {TOP("\"wall_clock_breakdown\": false, \"tensorboard\": {\"enabled\": true, \"output_path\": \"\", \"job_name\": "
         "\"j\"}, \"activation_checkpointing\": {\"number_checkpoints\": null}, \"elasticity\": {\"anything\": "
         "[{}]}"),
     "", "wall_clock_breakdown, tensorboard, activation_checkpointing, elasticity"},
    {TOP("\"aio\": {\"block_size\": 1048576, \"queue_depth\": 8, \"thread_count\": 1}, \"checkpoint\": "
         "{\"tag_validation\": \"Warn\"}, \"amp\": {}, \"wandb\": {\"enabled\": false}"),
     "", "aio, checkpoint, amp, wandb"},
    // what the Hugging Face Trainer's documents give for stage 3
    {TOP("\"fp16\": {\"enabled\": \"auto\", \"loss_scale\": 0, \"loss_scale_window\": 1000, \"initial_scale_power\": "
         "16, \"hysteresis\": 2, \"min_loss_scale\": 1}, \"bf16\": {\"enabled\": \"auto\"}, \"optimizer\": "
         "{\"type\": "
         "\"AdamW\", \"params\": {\"lr\": \"auto\", \"betas\": \"auto\", \"eps\": \"auto\", \"weight_decay\": "
         "\"auto\"}}, \"scheduler\": {\"type\": \"WarmupLR\", \"params\": {\"warmup_min_lr\": \"auto\", "
         "\"warmup_max_lr\": \"auto\", \"warmup_num_steps\": \"auto\"}}, \"zero_optimization\": {\"stage\": 3, "
         "\"offload_optimizer\": {\"device\": \"cpu\", \"pin_memory\": true}, \"sub_group_size\": 1e9, "
         "\"reduce_bucket_size\": \"auto\"}, \"gradient_accumulation_steps\": \"auto\", \"gradient_clipping\": "
         "\"auto\", \"steps_per_print\": 2000, \"train_batch_size\": \"auto\", "
         "\"train_micro_batch_size_per_gpu\": \"auto\", \"wall_clock_breakdown\": false"),
     "train=auto micro=auto accumulation=auto stage=3 print=2000 clip=auto fp16=auto scale=0 power=16 window=1000 "
     "hysteresis=2 min=1 bf16=auto optimizer=AdamW lr=auto betas=auto eps=auto decay=auto scheduler=WarmupLR "
     "min_lr=auto max_lr=auto warmup=auto",
     Z "offload_optimizer, " Z "sub_group_size, " Z "reduce_bucket_size, wall_clock_breakdown"},
    // comments, and signs of comments within texts
    {"# one\n{ // two\n \"train_batch_size\": /* three\n \"stage\": 3 */ 8 # four }\n}\n// five", "train=8", NULL},
    {TOP("\"csv_monitor\": {\"output_path\": \"http://a#b/*c\", \"job_name\": \"\\\"//\\\\\"}"), "", "csv_monitor"},
    {"\xEF\xBB\xBF{\"train_batch_size\": 8}", "train=8", NULL}, // a byte order mark
};

static void read_text(const char *text, ZeroConfigFile *file, ZeroErrors *errors, int expected) {
  const int result = zero_config_text_read(NAME, text, strlen(text), file, errors);
  if (result != expected) {
    for (int i = 0; i < errors->count; i++) print_message("error: %s\n", errors->lines[i]);
    fail_msg("%d, expected %d, for: %s", result, expected, text);
  }
}

static void test_valid(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(valid); i++) {
    ZeroConfigFile file;
    ZeroErrors errors = {0};
    Values values;
    read_text(valid[i].text, &file, &errors, 0);
    check_no_error(&errors);
    list_values(&file, &values);
    if (strcmp(values.text, valid[i].values) != 0) {
      fail_msg("%s\ngives    %s\nexpected %s", valid[i].text, values.text, valid[i].values);
    }
    if (valid[i].unused == NULL) {
      if (file.warning != NULL) fail_msg("%s\ngives the %s", valid[i].text, file.warning);
    } else {
      char expected[CHECK_TEXT];
      snprintf(expected, sizeof expected, "warning: " NAME ": known, but without effect here: %s", valid[i].unused);
      if (file.warning == NULL) fail_msg("no warning for: %s", valid[i].text);
      assert_string_equal(file.warning, expected);
    }
    zero_config_file_free(&file);
    assert_null(file.warning);
  }
  assert_true(COUNT(valid) >= 45);
}

static void test_defaults(void **state) {
  (void)state;
  ZeroConfigFile file, empty;
  ZeroErrors errors = {0};
  zero_config_file_default(&file);
  assert_true(file.gradient_clipping.value == 1.0);
  assert_int_equal(file.fp16.enabled.value, 0);
  assert_true(file.fp16.loss_scale.value == 0.0 && file.fp16.min_loss_scale.value == 1.0);
  assert_int_equal(file.fp16.initial_scale_power.value, 16);
  assert_int_equal(file.fp16.loss_scale_window.value, 1000);
  assert_int_equal(file.fp16.hysteresis.value, 2);
  assert_int_equal(file.fp16.consecutive_hysteresis.value, 0);
  assert_int_equal(file.optimizer.bias_correction.value, 1);
  assert_int_equal(file.optimizer.adam_w_mode.value, 1);
  const ZeroFileScheduler *s = &file.scheduler;
  assert_true(s->warmup_min_lr.value == 0.0 && s->warmup_max_lr.value == 1e-3);
  assert_int_equal(s->warmup_num_steps.value, 1000);
  assert_true(s->warmup_min_ratio.value == 0.0 && s->cos_min_ratio.value == 1e-4);
  assert_true(s->range_min_lr.value == 1e-3 && s->range_step_rate.value == 1.0);
  assert_int_equal(s->range_step_size.value, 2000);
  assert_int_equal(s->cycle_first_step_size.value, 2000);
  assert_int_equal(s->cycle_momentum.value, 1);
  assert_true(s->cycle_min_mom.value == 0.8 && s->cycle_max_mom.value == 0.9);
  read_text("{}", &empty, &errors, 0);
  assert_memory_equal(&file, &empty, sizeof file);
}

// ---------------------------------------------------------------------------------------------------
// Files that are wrong. Errors without the file's name, which stands before each.

typedef struct {
  const char *text;
  const char *errors[MAX_ERRORS];
} Invalid;

static const Invalid invalid[] = {
    // values of another type
    {TOP("\"train_batch_size\": \"32\""),
     {"train_batch_size: found \"32\", expected a whole number from 1 to 2147483647, or \"auto\"; take away the "
      "quotes"}},
    {TOP("\"train_batch_size\": \"many\""),
     {"train_batch_size: found \"many\", expected a whole number from 1 to 2147483647, or \"auto\""}},
    {TOP("\"train_batch_size\": 0"),
     {"train_batch_size: found 0, expected a whole number from 1 to 2147483647, or \"auto\""}},
    {TOP("\"train_micro_batch_size_per_gpu\": 1.5"),
     {"train_micro_batch_size_per_gpu: found 1.5, expected a whole number from 1 to 2147483647, or \"auto\""}},
    {TOP("\"gradient_accumulation_steps\": -1"),
     {"gradient_accumulation_steps: found -1, expected a whole number from 1 to 2147483647, or \"auto\""}},
    {TOP("\"gradient_clipping\": true"),
     {"gradient_clipping: found true, expected a number from 0 to 1000000, or "
      "\"auto\""}},
    {TOP("\"gradient_clipping\": 1e999"),
     {"gradient_clipping: found inf, expected a number from 0 to 1000000, or "
      "\"auto\""}},
    {TOP("\"gradient_clipping\": null"),
     {"gradient_clipping: found null, expected a number from 0 to 1000000, or "
      "\"auto\""}},
    {TOP("\"deterministic\": 1"), {"deterministic: found 1, expected true or false"}},
    {TOP("\"deterministic\": \"True\""),
     {"deterministic: found \"True\", expected true or false; without quotes, in small letters"}},
    {TOP("\"stochastic_rounding\": 1"), {"stochastic_rounding: found 1, expected true or false"}},
    {TOP("\"deterministic\": \"auto\""), {"deterministic: found \"auto\", expected true or false"}},
    {TOP("\"steps_per_print\": \"auto\""), {"steps_per_print: found \"auto\", expected a whole number from 1"}},
    {TOP("\"steps_per_print\": 0"), {"steps_per_print: found 0, expected a whole number from 1"}},
    {TOP("\"communication_data_type\": \"fp8\""),
     {"communication_data_type: found \"fp8\", expected one of fp32, bf16, fp16"}},
    {TOP("\"communication_data_type\": 16"), {"communication_data_type: found 16, expected one of fp32, bf16, fp16"}},
    {TOP("\"data_types\": {\"grad_accum_dtype\": \"int8\"}"),
     {"data_types.grad_accum_dtype: found \"int8\", expected one of fp32, bf16, fp16"}},
    {TOP("\"fp16\": true"), {"fp16: found true, expected an object { }"}},
    {TOP("\"fp16\": [1]"), {"fp16: found a list, expected an object { }"}},
    {TOP("\"wall_clock_breakdown\": \"no\""), {"wall_clock_breakdown: found \"no\", expected true or false"}},
    {TOP("\"tensorboard\": {\"job_name\": 5}"), {"tensorboard.job_name: found 5, expected a text in double quotes"}},
    {TOP("\"checkpoint\": {\"tag_validation\": \"warning\"}"),
     {"checkpoint.tag_validation: found \"warning\", expected one of Warn, Ignore, Fail"}},
    // ranges
    {FP16("\"enabled\": 1, \"loss_scale\": -1, \"initial_scale_power\": 200, \"loss_scale_window\": 0, "
          "\"hysteresis\": 0, \"consecutive_hysteresis\": 0, \"min_loss_scale\": 0"),
     {"fp16.enabled: found 1, expected true or false, or \"auto\"",
      "fp16.loss_scale: found -1, expected a number from 0 to 1.701411835e+38",
      "fp16.initial_scale_power: found 200, expected a whole number from 0 to 127",
      "fp16.loss_scale_window: found 0, expected a whole number from 1",
      "fp16.hysteresis: found 0, expected a whole number from 1 to 2147483647",
      "fp16.consecutive_hysteresis: found 0, expected true or false",
      "fp16.min_loss_scale: found 0, expected a number from 1 to 1.701411835e+38"}},
    {ZERO("\"stage\": 4"), {Z "stage: found 4, expected a whole number from 0 to 3"}},
    {ZERO("\"stage\": -1"), {Z "stage: found -1, expected a whole number from 0 to 3"}},
    {ZERO("\"stage\": \"2\""), {Z "stage: found \"2\", expected a whole number from 0 to 3; take away the quotes"}},
    {ZERO("\"stage\": \"auto\""), {Z "stage: found \"auto\", expected a whole number from 0 to 3"}},
    {ZERO("\"allgather_bucket_size\": 500000001"),
     {Z "allgather_bucket_size: found 500000001, expected an even whole number from 0"}},
    {ZERO("\"reduce_bucket_size\": -1"),
     {Z "reduce_bucket_size: found -1, expected a whole number from 0, or \"auto\""}},
    {ZERO("\"allgather_bucket_size\": \"auto\""),
     {Z "allgather_bucket_size: found \"auto\", expected an even whole number from 0"}},
    {ZERO("\"overlap_comm\": 1"), {Z "overlap_comm: found 1, expected true or false"}},
    {ZERO("\"offload_optimizer\": \"cpu\""), {Z "offload_optimizer: found \"cpu\", expected an object { }"}},
    {ZERO("\"offload_optimizer\": {\"device\": \"gpu\", \"ratio\": 2}"),
     {Z "offload_optimizer.device: found \"gpu\", expected one of none, cpu, nvme",
      Z "offload_optimizer.ratio: found 2, expected a number from 0 to 1"}},
    // optimizer
    {ADAM("\"lr\": \"high\", \"betas\": [0.9], \"eps\": -1, \"weight_decay\": \"0.1\", \"bias_correction\": 1"),
     {"optimizer.params.lr: found \"high\", expected a number from 0 to 1000000, or \"auto\"",
      "optimizer.params.betas: found a list, expected a list of two numbers from 0 to 0.999999999, or \"auto\"",
      "optimizer.params.eps: found -1, expected a number from 0 to 1, or \"auto\"",
      "optimizer.params.weight_decay: found \"0.1\", expected a number from 0 to 1000000, or \"auto\"; take away the "
      "quotes",
      "optimizer.params.bias_correction: found 1, expected true or false"}},
    {ADAM("\"betas\": [0.9, 1]"),
     {"optimizer.params.betas: found a list, expected a list of two numbers from 0 to 0.999999999, or \"auto\""}},
    {ADAM("\"betas\": [0.9, 0.95, 0.99]"),
     {"optimizer.params.betas: found a list, expected a list of two numbers from 0 to 0.999999999, or \"auto\""}},
    {ADAM("\"max_grad_norm\": 1.0"),
     {"optimizer.params.max_grad_norm: does not belong here; use gradient_clipping at the top level instead"}},
    {ADAM("\"learning_rate\": 1"),
     {"optimizer.params.learning_rate: unknown key; take it away, or look for its spelling"}},
    {TOP("\"optimizer\": {}"), {"optimizer.type: missing; give one of AdamW, Adam"}},
    {TOP("\"optimizer\": {\"type\": \"Lion\", \"params\": {\"anything\": 1}}"),
     {"optimizer.type: found \"Lion\"; give one of AdamW, Adam"}},
    {TOP("\"optimizer\": {\"type\": \"SGD\"}"), {"optimizer.type: found \"SGD\"; give one of AdamW, Adam"}},
    {TOP("\"optimizer\": {\"type\": 7, \"params\": 8, \"parms\": 9}"),
     {"optimizer.parms: unknown key; did you mean params?", "optimizer.type: found 7; give one of AdamW, Adam",
      "optimizer.params: found 8, expected an object { }"}},
    // scheduler
    {TOP("\"scheduler\": {\"params\": {}}"),
     {"scheduler.type: missing; give one of WarmupLR, WarmupDecayLR, WarmupCosineLR, LRRangeTest, OneCycle"}},
    {TOP("\"scheduler\": {\"type\": \"auto\", \"legacy_fusion\": true}"),
     {"scheduler.legacy_fusion: unknown key; take it away, or look for its spelling",
      "scheduler.type: found \"auto\"; give one of WarmupLR, WarmupDecayLR, WarmupCosineLR, LRRangeTest, OneCycle"}},
    {SCHEDULER("cosine", ""),
     {"scheduler.type: found \"cosine\"; give one of WarmupLR, WarmupDecayLR, WarmupCosineLR, LRRangeTest, "
      "OneCycle"}},
    {SCHEDULER("WarmupDecayLR", ""), {"scheduler.params.total_num_steps: missing; give it, or \"auto\""}},
    {SCHEDULER("WarmupCosineLR", "\"total_num_steps\": 10, \"warmup_max_lr\": 1"),
     {"scheduler.params.warmup_max_lr: unknown key; take it away, or look for its spelling"}},
    {SCHEDULER("WarmupLR", "\"warmup_num_steps\": 0, \"warmup_type\": \"cosine\", \"warmup_step\": 3"),
     {"scheduler.params.warmup_num_steps: found 0, expected a whole number from 1, or \"auto\"",
      "scheduler.params.warmup_type: found \"cosine\", expected one of log, linear",
      "scheduler.params.warmup_step: unknown key; did you mean warmup_type?"}},
    {TOP("\"scheduler\": {\"type\": \"OneCycle\"}"),
     {"scheduler.params.cycle_min_lr: missing; give it", "scheduler.params.cycle_max_lr: missing; give it"}},
    {SCHEDULER("LRRangeTest", "\"lr_range_test_step_size\": 0, \"lr_range_test_min_lr\": \"auto\""),
     {"scheduler.params.lr_range_test_step_size: found 0, expected a whole number from 1",
      "scheduler.params.lr_range_test_min_lr: found \"auto\", expected a number from 0 to 1000000"}},
    // unknown keys
    {TOP("\"train_batchsize\": 8"), {"train_batchsize: unknown key; did you mean train_batch_size?"}},
    {TOP("\"Train_Batch_Size\": 8"), {"Train_Batch_Size: unknown key; did you mean train_batch_size?"}},
    {TOP("\"stage\": 2"), {"stage: unknown key here; write it as zero_optimization.stage"}},
    {ZERO("\"gradient_clipping\": 1"),
     {Z "gradient_clipping: unknown key here; write gradient_clipping at the top "
        "level"}},
    {TOP("\"\": 1"), {": unknown key; take it away, or look for its spelling"}},
    {TOP("\"qqqq\\n\\u0007\": 1"), {"qqqq??: unknown key; take it away, or look for its spelling"}},
    {ZERO("\"overlap_com\": true, \"offload_optimizer\": {\"devise\": \"cpu\"}"),
     {Z "overlap_com: unknown key; did you mean overlap_comm?",
      Z "offload_optimizer.devise: unknown key; did you mean device?"}},
    // duplicates, at every depth
    {TOP("\"train_batch_size\": 8, \"train_batch_size\": 8"),
     {"train_batch_size: found 2 times, expected once; keep one of them"}},
    {ZERO(
         "\"stage\": 1, \"stage\": 2, \"stage\": 3, \"offload_param\": {\"device\": \"none\", \"device\": \"none\"}"),
     {Z "stage: found 3 times, expected once; keep one of them",
      Z "offload_param.device: found 2 times, expected once; keep one of them"}},
    {TOP("\"elasticity\": {\"list\": [1, {\"a\": 1, \"a\": 2}]}"),
     {"elasticity.list.[].a: found 2 times, expected once; keep one of them"}},
    // older spellings beside newer ones
    {TOP("\"bf16\": {\"enabled\": true}, \"bfloat16\": {\"enabled\": true}"),
     {"bfloat16: found beside bf16, of which it is the older spelling; keep bf16 only"}},
    {ZERO("\"cpu_offload\": false, \"offload_optimizer\": {\"device\": \"cpu\"}"),
     {Z
      "cpu_offload: found beside offload_optimizer, of which it is the older spelling; keep offload_optimizer only"}},
    {ZERO("\"offload_param\": {}, \"cpu_offload_param\": true"),
     {Z "cpu_offload_param: found beside offload_param, of which it is the older spelling; keep offload_param only"}},
    {ZERO("\"stage3_gather_16bit_weights_on_model_save\": true, \"stage3_gather_fp16_weights_on_model_save\": true"),
     {Z
      "stage3_gather_fp16_weights_on_model_save: found beside stage3_gather_16bit_weights_on_model_save, of which it "
      "is the older spelling; keep stage3_gather_16bit_weights_on_model_save only"}},
    // between keys
    {TOP("\"fp16\": {\"enabled\": true}, \"bf16\": {\"enabled\": true}"),
     {"fp16.enabled and bf16.enabled: both are true; enable one of them"}},
    // all together, in one report
    {TOP("\"train_batch_size\": \"x\", \"foo_bar_baz\": 1, \"fp16\": {\"enabled\": true}, \"bf16\": {\"enabled\": "
         "true}, "
         "\"zero_optimization\": {\"stage\": 9}, \"zero_optimization\": {\"stage\": 1}"),
     {"zero_optimization: found 2 times, expected once; keep one of them",
      "train_batch_size: found \"x\", expected a whole number from 1 to 2147483647, or \"auto\"",
      "foo_bar_baz: unknown key; take it away, or look for its spelling",
      Z "stage: found 9, expected a whole number from 0 to 3",
      "fp16.enabled and bf16.enabled: both are true; enable one of them"}},
};

// The errors are exactly those listed, in this order.
static void check_errors(ZeroErrors *errors, const char *const *expected, const char *separator, const char *text) {
  int count = 0;
  while (count < MAX_ERRORS && expected[count] != NULL) count++;
  for (int i = 0; i < count && i < errors->count; i++) {
    char line[CHECK_TEXT];
    snprintf(line, sizeof line, NAME "%s%s", separator, expected[i]);
    if (strcmp(errors->lines[i], line) != 0) fail_msg("%s\ngives    %s\nexpected %s", text, errors->lines[i], line);
  }
  if (errors->count != count) {
    for (int i = 0; i < errors->count; i++) print_message("error: %s\n", errors->lines[i]);
    fail_msg("%s\ngives %d errors, expected %d", text, errors->count, count);
  }
  check_clear(errors);
}

static void test_invalid(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(invalid); i++) {
    ZeroConfigFile file;
    ZeroErrors errors = {0};
    read_text(invalid[i].text, &file, &errors, -1);
    check_errors(&errors, invalid[i].errors, ": ", invalid[i].text);
    zero_config_file_free(&file);
  }
  assert_true(COUNT(invalid) >= 55);
}

// ---------------------------------------------------------------------------------------------------
// Broken JSON

static const Invalid broken[] = {
    {"", {"1:1: found the end of the file; write the settings between { and }"}},
    {"  \n# nothing\n", {"3:1: found the end of the file; write the settings between { and }"}},
    {"[]", {"1:1: found '['; write the settings between { and }"}},
    {"\n 7", {"2:2: found '7'; write the settings between { and }"}},
    {"{", {"1:2: found the end of the file; close what is open with } or ]"}},
    {"{\"a\": {\n}\n", {"3:1: found the end of the file; close what is open with } or ]"}},
    {"{\"a\": 1}}", {"1:9: found '}'; this is not JSON: write \"key\": value, with commas between"}},
    {"{\n  \"stage\": 1,\n}", {"3:1: found '}'; take away the comma before it"}},
    {"{\"a\": [1, 2,]}", {"1:13: found ']'; take away the comma before it"}},
    {"{\"a\": 1\n \"b\": 2}", {"2:2: found '\"'; put a comma before it"}},
    {"{\"a\": true \"b\": 2}", {"1:12: found '\"'; put a comma before it"}},
    {"{\"a\" 1}", {"1:6: found '1'; this is not JSON: write \"key\": value, with commas between"}},
    {"{a: 1}", {"1:2: found 'a'; words stand in double quotes, all but true, false and null"}},
    {"{\"a\": True}", {"1:7: found 'True'; words stand in double quotes, all but true, false and null"}},
    {"{\"a\": NaN}", {"1:7: found 'NaN'; words stand in double quotes, all but true, false and null"}},
    {"{'a': 1}", {"1:2: found '''; write texts in double quotes"}},
    {"{\"a\": \"b\n\"}", {"1:7: found a text that does not end on its line; close it with a double quote"}},
    {"{\"a\": \"b", {"1:7: found a text that does not end on its line; close it with a double quote"}},
    {"{\"a\": \"b\\", {"1:7: found a text that does not end on its line; close it with a double quote"}},
    {"{\"a\": \"\\x\"}", {"1:8: found '\\'; write \\ in a text as \\\\"}},
    {"{\"a\\u0000b\": 1}", {"1:4: found '\\u0000'; a text cannot hold a zero character"}},
    {"{\"a\": 01}", {"1:7: found '01'; write a number as 12, -0.5 or 1e-3"}},
    {"{\"a\": 1.}", {"1:7: found '1.'; write a number as 12, -0.5 or 1e-3"}},
    {"{\"a\": -}", {"1:7: found '-'; write a number as 12, -0.5 or 1e-3"}},
    {"{\"a\": 1e}", {"1:7: found '1e'; write a number as 12, -0.5 or 1e-3"}},
    {"{\"a\": 0x10}", {"1:7: found '0x10'; write a number as 12, -0.5 or 1e-3"}},
    {"{\"a\": .5}", {"1:7: found '.5'; this is not JSON: write \"key\": value, with commas between"}},
    {"{\n/* a\n * b\n", {"2:1: found a comment that does not end; close it with */"}},
    {"{]", {"1:2: found ']'; this is not JSON: write \"key\": value, with commas between"}},
    {"{\"a\": {} b}", {"1:10: found 'b'; words stand in double quotes, all but true, false and null"}},
    {"{\"a\": {}b}", {"1:9: found 'b'; words stand in double quotes, all but true, false and null"}},
    {"{\"a\": [1, [tru]]}", {"1:12: found 'tru'; words stand in double quotes, all but true, false and null"}},
    {"{\"a\": 1, b: 2}", {"1:10: found 'b'; words stand in double quotes, all but true, false and null"}},
    {"{\"a\": 1, \"b\" 2}", {"1:14: found '2'; this is not JSON: write \"key\": value, with commas between"}},
    {"{\"a\": 1 / 2}", {"1:9: found '/'; this is not JSON: write \"key\": value, with commas between"}},
    {"{\"a\": \x01}", {"1:7: found the byte 0x01; write control characters as \\u escapes; is this a text file?"}},
    // comments keep lines and columns true; a character is one column
    {"{ /* \xC3\xA9\xC3\xA9 */ \"a\" 1}",
     {"1:16: found '1'; this is not JSON: write \"key\": value, with commas "
      "between"}},
    {"{ # x\n /* y\n */ \"a\": 1 // z\n, ]", {"4:3: found ']'; take away the comma before it"}},
    {"{\"a\": \xC3\xA9}", {"1:7: found '\xC3\xA9'; this is not JSON: write \"key\": value, with commas between"}},
};

static void test_broken(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(broken); i++) {
    ZeroConfigFile file;
    ZeroErrors errors = {0};
    read_text(broken[i].text, &file, &errors, -1);
    check_errors(&errors, broken[i].errors, ":", broken[i].text);
    zero_config_file_free(&file);
  }
  assert_true(COUNT(broken) >= 30);
}

// Levels within one another, and a byte of zero in the middle.
static void test_limits_of_a_text(void **state) {
  (void)state;
  ZeroConfigFile file;
  ZeroErrors errors = {0};
  char text[256];
  // 32 levels are taken, 33 are not; where they end does not matter
  for (int depth = 32; depth <= 33; depth++) {
    memset(text, 0, sizeof text);
    strcpy(text, "{\"amp\":");
    for (int i = 1; i < depth; i++) strcat(text, "[");
    for (int i = 1; i < depth; i++) strcat(text, "]");
    strcat(text, "}");
    assert_int_equal(zero_config_text_read(NAME, text, strlen(text), &file, &errors), depth == 32 ? 0 : -1);
    if (depth == 33)
      check_one_error(&errors, NAME ":1:39: found level 33 of blocks; files of this kind have a few", NULL);
    zero_config_file_free(&file);
  }
  assert_int_equal(zero_config_text_read(NAME, "{}\0", 3, &file, &errors), -1);
  check_one_error(&errors, NAME ":1:3: found the byte 0x00", NULL);
  // a key that is longer than any message
  memset(text, 'k', sizeof text);
  memcpy(text, "{\"", 2);
  memcpy(text + 200, "\":1}", 5);
  assert_int_equal(zero_config_text_read(NAME, text, 204, &file, &errors), -1);
  check_one_error(&errors, NAME ": kkkk", "kkk...: unknown key", NULL);
  zero_config_file_free(&file);
}

static void test_files(void **state) {
  char *dir = *state, path[CHECK_PATH];
  ZeroConfigFile file;
  ZeroErrors errors = {0};
  check_path(path, dir, "none.json");
  assert_int_equal(zero_config_file_read(path, &file, &errors), -1);
  check_one_error(&errors, "--config: ", path, "cannot be opened: No such file", NULL);
  assert_int_equal(zero_config_file_read(dir, &file, &errors), -1);
  check_one_error(&errors, "--config: ", dir, "cannot be read: Is a directory", NULL);

  const char text[] = "{\"train_batch_size\": 12, \"dump_state\": true}";
  check_path(path, dir, "ds.json");
  check_write(path, text, strlen(text));
  assert_int_equal(zero_config_file_read(path, &file, &errors), 0);
  assert_int_equal(file.train_batch_size.value, 12);
  check_contains(file.warning, path);
  check_contains(file.warning, "here: dump_state");
  zero_config_file_free(&file);

  // 64 KiB are taken, one byte more is not
  const size_t limit = 64 << 10;
  char *large = malloc(limit + 1);
  assert_non_null(large);
  memset(large, ' ', limit + 1);
  memcpy(large, "{}", 2);
  check_write(path, large, limit);
  assert_int_equal(zero_config_file_read(path, &file, &errors), 0);
  check_write(path, large, limit + 1);
  assert_int_equal(zero_config_file_read(path, &file, &errors), -1);
  check_one_error(&errors, "--config: ", path, "is larger than 64 KiB", NULL);
  free(large);
  zero_config_file_free(&file);
}

// ---------------------------------------------------------------------------------------------------
// With the stage of the run

typedef struct {
  const char *text;
  int stages[4];     // 1: an error at this stage
  const char *error; // a part of it
} StageCase;

static const StageCase stage_cases[] = {
    {ZERO("\"elastic_checkpoint\": true"), {0, 0, 0, 1}, "elastic_checkpoint: found true with stage 3"},
    {ZERO("\"elastic_checkpoint\": false"), {0, 0, 0, 0}, NULL},
    {ZERO("\"offload_optimizer\": {\"device\": \"cpu\", \"ratio\": 0.5}"),
     {1, 1, 1, 0},
     "offload_optimizer.ratio: found 0.5"},
    {ZERO("\"offload_optimizer\": {\"device\": \"cpu\", \"ratio\": 1}"), {0, 0, 0, 0}, NULL},
    {ZERO("\"offload_param\": {\"device\": \"cpu\"}"), {1, 1, 1, 0}, "offload_param: found with stage"},
    {ZERO("\"offload_param\": true"), {1, 1, 1, 0}, "offload_param: found with stage"},
    {ZERO("\"cpu_offload_param\": true"), {1, 1, 1, 0}, "offload_param: found with stage"},
    {ZERO("\"offload_param\": {\"device\": \"none\"}"), {0, 0, 0, 0}, NULL},
    {ZERO("\"offload_param\": false, \"offload_optimizer\": false"), {0, 0, 0, 0}, NULL},
    {TOP("\"optimizer\": {\"type\": \"OneBitAdam\"}"), {0, 0, 1, 1}, "a 1-bit optimizer does not go with ZeRO stage"},
    {TOP("\"optimizer\": {\"type\": \"ZeroOneAdam\"}"), {0, 0, 1, 1}, "a 1-bit optimizer"},
    {TOP("\"optimizer\": {\"type\": \"Lamb\"}"), {0, 0, 0, 0}, NULL},
};

static void test_stages(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(stage_cases); i++) {
    const StageCase *c = &stage_cases[i];
    ZeroConfigFile file;
    ZeroErrors errors = {0};
    zero_config_text_read(NAME, c->text, strlen(c->text), &file, &errors);
    check_clear(&errors); // a type that is not there
    for (int stage = 0; stage <= 3; stage++) {
      zero_config_file_check(NAME, &file, stage, &errors);
      if (c->stages[stage]) {
        check_one_error(&errors, NAME ": ", c->error, NULL);
      } else {
        check_no_error(&errors);
      }
    }
    zero_config_file_free(&file);
  }
}

static void test_type(void **state) {
  (void)state;
  static const struct {
    const char *text;
    ZeroType type;
    int automatic;
  } cases[] = {
      {"{}", ZERO_F32, 0},
      {FP16("\"enabled\": true"), ZERO_F16, 0},
      {FP16("\"enabled\": false"), ZERO_F32, 0},
      {FP16("\"enabled\": \"auto\""), ZERO_F32, 1},
      {TOP("\"bf16\": {\"enabled\": true}, \"fp16\": {\"enabled\": \"auto\"}"), ZERO_BF16, 0},
      {TOP("\"bf16\": {\"enabled\": \"auto\"}, \"fp16\": {\"enabled\": true}"), ZERO_F16, 0},
      {TOP("\"bf16\": {\"enabled\": \"auto\"}"), ZERO_F32, 1},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    ZeroConfigFile file;
    ZeroErrors errors = {0};
    read_text(cases[i].text, &file, &errors, 0);
    int automatic = -1;
    assert_int_equal(zero_config_file_type(&file, &automatic), cases[i].type);
    assert_int_equal(automatic, cases[i].automatic);
    zero_config_file_free(&file);
  }
}

static void test_words(void **state) {
  (void)state;
  assert_int_equal(zero_edit_distance("kitten", "Sitting"), 3);
  assert_int_equal(zero_edit_distance("", "abc"), 3);
  assert_int_equal(zero_edit_distance("same", "SAME"), 0);
  char out[12];
  assert_string_equal(zero_printable(out, sizeof out, "eleven char"), "eleven char");
  assert_string_equal(zero_printable(out, sizeof out, "more than eleven"), "more tha...");
  assert_string_equal(zero_printable(out, sizeof out, "1234567\xC3\xA9xyz"), "1234567...");
  assert_string_equal(zero_printable(out, sizeof out, "a\nb\x7f"), "a?b?");
}

static int setup(void **state) {
  static char dir[CHECK_PATH];
  check_make_dir(dir);
  *state = dir;
  return 0;
}

static int teardown(void **state) {
  check_remove_dir(*state);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_valid),
      cmocka_unit_test(test_defaults),
      cmocka_unit_test(test_invalid),
      cmocka_unit_test(test_broken),
      cmocka_unit_test(test_limits_of_a_text),
      cmocka_unit_test_setup_teardown(test_files, setup, teardown),
      cmocka_unit_test(test_stages),
      cmocka_unit_test(test_type),
      cmocka_unit_test(test_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
