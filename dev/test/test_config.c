// The configuration file: a table of files, each with its effective values; what cannot be had together.
#include "../../zero/words.h"
#include "config_text.h"

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
  if (f->activation_checkpointing) add(v, "checkpointing", "1");
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
         "\"j\"}, \"activation_checkpointing\": null, \"elasticity\": {\"anything\": [{}]}"),
     "", "wall_clock_breakdown, tensorboard, elasticity"},
    {TOP("\"activation_checkpointing\": {\"partition_activations\": true, \"number_checkpoints\": null}"),
     "checkpointing=1",
     "activation_checkpointing.partition_activations, activation_checkpointing.number_checkpoints"},
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_valid), cmocka_unit_test(test_defaults), cmocka_unit_test(test_stages),
      cmocka_unit_test(test_type),  cmocka_unit_test(test_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
