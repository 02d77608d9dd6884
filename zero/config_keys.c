// The keys of DeepSpeed's configuration file: where each may stand, what it takes, and what it sets here.
//
// One line per key. A key with an `at` is honoured; UNUSED ones are accepted, checked and named in one warning.
#include "config_keys.h"

#include "loss_scaler.h"

#define AT(field) offsetof(ZeroConfigFile, field)
#define BOOL(key, set, ...) \
  { .name = key, .kind = CONFIG_BOOL, .at = set, __VA_ARGS__ }
#define INT(key, set, low, high, ...) \
  { .name = key, .kind = CONFIG_INT, .at = set, .min = low, .max = high, __VA_ARGS__ }
#define REAL(key, set, low, high, ...) \
  { .name = key, .kind = CONFIG_REAL, .at = set, .min = low, .max = high, __VA_ARGS__ }
#define WORD(key, set, choices, ...) \
  { .name = key, .kind = CONFIG_WORD, .at = set, .words = choices, __VA_ARGS__ }
#define TYPE(key, set, ...) \
  { .name = key, .kind = CONFIG_TYPE, .at = set, __VA_ARGS__ }
#define BLOCK(key, table, ...) \
  { .name = key, .kind = CONFIG_BLOCK, .keys = table, __VA_ARGS__ }
#define ANY(key, ...) \
  { .name = key, .kind = CONFIG_ANY, __VA_ARGS__ }
#define UNUSED_BOOL(key) BOOL(key, 0, .flags = CONFIG_UNUSED)
#define UNUSED_INT(key, low, ...) INT(key, 0, low, CONFIG_MAX_INT, .flags = CONFIG_UNUSED __VA_ARGS__)
#define UNUSED_REAL(key, low, high) REAL(key, 0, low, high, .flags = CONFIG_UNUSED)
#define UNUSED_TEXT(key) \
  { .name = key, .kind = CONFIG_TEXT, .flags = CONFIG_UNUSED | CONFIG_NULL }
#define UNUSED_ANY(key) ANY(key, .flags = CONFIG_UNUSED)
#define UNUSED_BLOCK(key, table) BLOCK(key, table, .flags = CONFIG_UNUSED | CONFIG_NULL)
#define END \
  { .name = NULL }

#define MAX_COUNT 2147483647.0 // of batches and other things kept in an int
#define MAX_LR 1e6             // of learning rates and rates of change
#define BELOW_ONE (1.0 - 1e-9) // of betas and momentum

// ---------------------------------------------------------------------------------------------------
// Precision

static const ConfigKey fp16_keys[] = {
    BOOL("enabled", AT(fp16.enabled), .flags = CONFIG_AUTO),
    REAL("loss_scale", AT(fp16.loss_scale), 0, ZERO_MAX_LOSS_SCALE),
    INT("initial_scale_power", AT(fp16.initial_scale_power), 0, ZERO_MAX_LOSS_SCALE_POWER),
    INT("loss_scale_window", AT(fp16.loss_scale_window), 1, CONFIG_MAX_INT),
    INT("hysteresis", AT(fp16.hysteresis), 1, MAX_COUNT),
    BOOL("consecutive_hysteresis", AT(fp16.consecutive_hysteresis)),
    REAL("min_loss_scale", AT(fp16.min_loss_scale), 1, ZERO_MAX_LOSS_SCALE),
    UNUSED_BOOL("auto_cast"),
    UNUSED_BOOL("fp16_master_weights_and_grads"),
    END,
};

static const ConfigKey bf16_keys[] = {
    BOOL("enabled", AT(bf16), .flags = CONFIG_AUTO),
    UNUSED_BOOL("check_grad_overflow"),
    UNUSED_BOOL("immediate_grad_update"),
    UNUSED_BOOL("bf16_master_weights_and_grads"),
    UNUSED_BOOL("bf16_optimizer_states"),
    END,
};

static const ConfigKey data_types_keys[] = {
    TYPE("grad_accum_dtype", AT(grad_accum_dtype), .flags = CONFIG_NULL),
    UNUSED_TEXT("param_dtype"),
    UNUSED_TEXT("buffer_dtype"),
    END,
};

// ---------------------------------------------------------------------------------------------------
// ZeRO

static const ConfigKey offload_optimizer_keys[] = {
    WORD("device", 0, "none|cpu|nvme", .flags = CONFIG_NULL),
    UNUSED_TEXT("nvme_path"),
    UNUSED_INT("buffer_count", 0),
    UNUSED_BOOL("pin_memory"),
    UNUSED_BOOL("pipeline_read"),
    UNUSED_BOOL("pipeline_write"),
    UNUSED_BOOL("pipeline"),
    UNUSED_BOOL("fast_init"),
    REAL("ratio", AT(offload_optimizer_ratio), 0, 1),
    END,
};

static const ConfigKey offload_param_keys[] = {
    WORD("device", 0, "none|cpu|nvme", .flags = CONFIG_NULL),
    UNUSED_TEXT("nvme_path"),
    UNUSED_INT("buffer_count", 0),
    UNUSED_INT("buffer_size", 0),
    UNUSED_INT("max_in_cpu", 0),
    UNUSED_BOOL("pin_memory"),
    END,
};

static const ConfigKey zero_keys[] = {
    INT("stage", AT(stage), 0, 3, .flags = CONFIG_OLD_BOOL),
    UNUSED_BOOL("contiguous_gradients"),
    UNUSED_BOOL("reduce_scatter"),
    UNUSED_INT("reduce_bucket_size", 0, | CONFIG_AUTO),
    UNUSED_BOOL("use_multi_rank_bucket_allreduce"),
    UNUSED_BOOL("allgather_partitions"),
    UNUSED_INT("allgather_bucket_size", 0, | CONFIG_EVEN),
    BOOL("overlap_comm", 0, .flags = CONFIG_UNUSED | CONFIG_NULL),
    UNUSED_BOOL("round_robin_gradients"),
    UNUSED_BOOL("load_from_fp32_weights"),
    BOOL("elastic_checkpoint", AT(elastic_checkpoint), .flags = CONFIG_UNUSED),
    BLOCK("offload_param", offload_param_keys, .flags = CONFIG_UNUSED | CONFIG_NULL | CONFIG_OLD_BOOL),
    BLOCK("offload_optimizer", offload_optimizer_keys, .flags = CONFIG_UNUSED | CONFIG_NULL | CONFIG_OLD_BOOL),
    UNUSED_INT("sub_group_size", 0, | CONFIG_AUTO),
    UNUSED_INT("stage3_prefetch_bucket_size", 0, | CONFIG_AUTO),
    UNUSED_INT("stage3_param_persistence_threshold", 0, | CONFIG_AUTO),
    // DeepSpeed's default is sys.maxsize, which files copy: no upper end
    REAL("stage3_model_persistence_threshold", 0, 0, CONFIG_MAX_REAL, .flags = CONFIG_UNUSED),
    UNUSED_INT("stage3_max_live_parameters", 0, | CONFIG_AUTO),
    UNUSED_INT("stage3_max_reuse_distance", 0, | CONFIG_AUTO),
    UNUSED_BOOL("stage3_gather_16bit_weights_on_model_save"),
    UNUSED_INT("stage3_module_granularity_threshold", 0),
    UNUSED_BOOL("stage3_use_all_reduce_for_fetch_params"),
    UNUSED_BOOL("stage3_allgather_sequential"),
    UNUSED_INT("stage3_partition_stream_chunk_size", 0),
    UNUSED_INT("zero_hpz_partition_size", 0),
    UNUSED_BOOL("zero_quantized_weights"),
    UNUSED_BOOL("zero_quantized_nontrainable_weights"),
    UNUSED_BOOL("zero_quantized_gradients"),
    UNUSED_ANY("zeropp_loco_param"),
    UNUSED_INT("mics_shard_size", -1),
    UNUSED_BOOL("mics_hierarchical_params_gather"),
    UNUSED_BOOL("ignore_unused_parameters"),
    UNUSED_BOOL("legacy_stage1"),
    UNUSED_BOOL("memory_efficient_linear"),
    UNUSED_BOOL("pipeline_loading_checkpoint"),
    UNUSED_BOOL("override_module_apply"),
    UNUSED_BOOL("log_trace_cache_warnings"),
    UNUSED_BOOL("enable_sanity_checks"),
    UNUSED_BOOL("save_muon_momentum_buffer_in_memory"),
    UNUSED_ANY("zenflow"),
    UNUSED_ANY("leaf_module"),
    // older spellings
    BOOL("cpu_offload", 0, .flags = CONFIG_UNUSED | CONFIG_NULL, .now = "offload_optimizer"),
    BOOL("cpu_offload_param", 0, .flags = CONFIG_UNUSED | CONFIG_NULL, .now = "offload_param"),
    BOOL("cpu_offload_use_pin_memory", 0, .flags = CONFIG_UNUSED | CONFIG_NULL, .now = "offload_optimizer"),
    BOOL("stage3_gather_fp16_weights_on_model_save", 0, .flags = CONFIG_UNUSED,
         .now = "stage3_gather_16bit_weights_on_model_save"),
    END,
};

static const ConfigKey aio_keys[] = {
    UNUSED_INT("block_size", 1),
    UNUSED_INT("queue_depth", 1),
    UNUSED_INT("intra_op_parallelism", 1),
    INT("thread_count", 0, 1, CONFIG_MAX_INT, .flags = CONFIG_UNUSED, .now = "intra_op_parallelism"),
    UNUSED_BOOL("single_submit"),
    UNUSED_BOOL("overlap_events"),
    UNUSED_BOOL("use_gds"),
    END,
};

// ---------------------------------------------------------------------------------------------------
// Optimizer and scheduler

static const ConfigKey adam_keys[] = {
    REAL("lr", AT(optimizer.lr), 0, MAX_LR, .flags = CONFIG_AUTO),
    {.name = "betas", .kind = CONFIG_PAIR, .flags = CONFIG_AUTO, .at = AT(optimizer.betas), .max = BELOW_ONE},
    REAL("eps", AT(optimizer.eps), 0, 1, .flags = CONFIG_AUTO),
    REAL("weight_decay", AT(optimizer.weight_decay), 0, MAX_LR, .flags = CONFIG_AUTO),
    BOOL("bias_correction", AT(optimizer.bias_correction)),
    BOOL("adam_w_mode", AT(optimizer.adam_w_mode)),
    UNUSED_BOOL("torch_adam"),
    UNUSED_BOOL("fused"),
    UNUSED_BOOL("amsgrad"),
    ANY("max_grad_norm", .flags = CONFIG_MOVED, .now = "gradient_clipping at the top level"),
    END,
};

static const ConfigKey optimizer_keys[] = {
    UNUSED_BOOL("legacy_fusion"),
    ANY("type"),
    ANY("params"),
    END,
};

static const ConfigVariant optimizers[] = {
    {"AdamW", CONFIG_ADAMW, adam_keys},
    {"Adam", CONFIG_ADAM, adam_keys},
    {"Adagrad", CONFIG_OTHER_OPTIMIZER, NULL},
    {"Lamb", CONFIG_OTHER_OPTIMIZER, NULL},
    {"Lion", CONFIG_OTHER_OPTIMIZER, NULL},
    {"Muon", CONFIG_OTHER_OPTIMIZER, NULL},
    {"MuAdam", CONFIG_OTHER_OPTIMIZER, NULL},
    {"MuAdamW", CONFIG_OTHER_OPTIMIZER, NULL},
    {"MuSGD", CONFIG_OTHER_OPTIMIZER, NULL},
    {"OneBitAdam", CONFIG_ONE_BIT_OPTIMIZER, NULL},
    {"ZeroOneAdam", CONFIG_ONE_BIT_OPTIMIZER, NULL},
    {"OneBitLamb", CONFIG_ONE_BIT_OPTIMIZER, NULL},
    {NULL, 0, NULL},
};

#define WARMUP_KEYS                                                                                 \
  INT("warmup_num_steps", AT(scheduler.warmup_num_steps), 1, CONFIG_MAX_INT, .flags = CONFIG_AUTO), \
      WORD("warmup_type", AT(scheduler.warmup_linear), "log|linear"), UNUSED_INT("last_batch_iteration", -1)
#define WARMUP_LR_KEYS                                                                 \
  REAL("warmup_min_lr", AT(scheduler.warmup_min_lr), 0, MAX_LR, .flags = CONFIG_AUTO), \
      REAL("warmup_max_lr", AT(scheduler.warmup_max_lr), 0, MAX_LR, .flags = CONFIG_AUTO), WARMUP_KEYS
#define TOTAL_KEY \
  INT("total_num_steps", AT(scheduler.total_num_steps), 1, CONFIG_MAX_INT, .flags = CONFIG_AUTO | CONFIG_REQUIRED)

static const ConfigKey warmup_keys[] = {WARMUP_LR_KEYS, END};
static const ConfigKey warmup_decay_keys[] = {WARMUP_LR_KEYS, TOTAL_KEY, END};
static const ConfigKey warmup_cosine_keys[] = {
    WARMUP_KEYS,
    TOTAL_KEY,
    REAL("warmup_min_ratio", AT(scheduler.warmup_min_ratio), 0, 1),
    REAL("cos_min_ratio", AT(scheduler.cos_min_ratio), 0, 1),
    END,
};

static const ConfigKey range_test_keys[] = {
    REAL("lr_range_test_min_lr", AT(scheduler.range_min_lr), 0, MAX_LR),
    INT("lr_range_test_step_size", AT(scheduler.range_step_size), 1, CONFIG_MAX_INT),
    REAL("lr_range_test_step_rate", AT(scheduler.range_step_rate), 0, MAX_LR),
    BOOL("lr_range_test_staircase", AT(scheduler.range_staircase)),
    UNUSED_INT("last_batch_iteration", -1),
    END,
};

static const ConfigKey one_cycle_keys[] = {
    REAL("cycle_min_lr", AT(scheduler.cycle_min_lr), 0, MAX_LR, .flags = CONFIG_REQUIRED),
    REAL("cycle_max_lr", AT(scheduler.cycle_max_lr), 0, MAX_LR, .flags = CONFIG_REQUIRED),
    REAL("decay_lr_rate", AT(scheduler.decay_lr_rate), 0, MAX_LR),
    INT("cycle_first_step_size", AT(scheduler.cycle_first_step_size), 1, CONFIG_MAX_INT),
    INT("cycle_second_step_size", AT(scheduler.cycle_second_step_size), 1, CONFIG_MAX_INT, .flags = CONFIG_NULL),
    INT("decay_step_size", AT(scheduler.decay_step_size), 0, CONFIG_MAX_INT),
    BOOL("cycle_momentum", AT(scheduler.cycle_momentum)),
    REAL("cycle_min_mom", AT(scheduler.cycle_min_mom), 0, BELOW_ONE),
    REAL("cycle_max_mom", AT(scheduler.cycle_max_mom), 0, BELOW_ONE),
    REAL("decay_mom_rate", AT(scheduler.decay_mom_rate), 0, MAX_LR),
    UNUSED_INT("cycle_first_stair_count", 0),
    UNUSED_INT("cycle_second_stair_count", 0, | CONFIG_NULL),
    UNUSED_INT("last_batch_iteration", -1),
    END,
};

static const ConfigKey scheduler_keys[] = {ANY("type"), ANY("params"), END};

static const ConfigVariant schedulers[] = {
    {"WarmupLR", ZERO_SCHEDULER_WARMUP, warmup_keys},
    {"WarmupDecayLR", ZERO_SCHEDULER_WARMUP_DECAY, warmup_decay_keys},
    {"WarmupCosineLR", ZERO_SCHEDULER_WARMUP_COSINE, warmup_cosine_keys},
    {"LRRangeTest", ZERO_SCHEDULER_LR_RANGE_TEST, range_test_keys},
    {"OneCycle", ZERO_SCHEDULER_ONE_CYCLE, one_cycle_keys},
    {NULL, 0, NULL},
};

// ---------------------------------------------------------------------------------------------------
// Activation checkpointing: the block asks for it, whatever it holds

static const ConfigKey activation_checkpointing_keys[] = {
    UNUSED_BOOL("partition_activations"),
    UNUSED_BOOL("cpu_checkpointing"),
    UNUSED_BOOL("contiguous_memory_optimization"),
    UNUSED_INT("number_checkpoints", 0, | CONFIG_NULL),
    UNUSED_BOOL("synchronize_checkpoint_boundary"),
    UNUSED_BOOL("profile"),
    END,
};

// ---------------------------------------------------------------------------------------------------
// Blocks without effect here

static const ConfigKey flops_profiler_keys[] = {
    UNUSED_BOOL("enabled"),        UNUSED_REAL("recompute_fwd_factor", 0, CONFIG_MAX_REAL),
    UNUSED_INT("profile_step", 0), UNUSED_INT("module_depth", -1),
    UNUSED_INT("top_modules", 0),  UNUSED_BOOL("detailed"),
    UNUSED_TEXT("output_file"),    END,
};

static const ConfigKey monitor_keys[] = {
    UNUSED_BOOL("enabled"),
    UNUSED_TEXT("output_path"),
    UNUSED_TEXT("job_name"),
    END,
};

static const ConfigKey checkpoint_keys[] = {
    WORD("tag_validation", 0, "Warn|Ignore|Fail", .flags = CONFIG_UNUSED),
    UNUSED_BOOL("load_universal"),
    UNUSED_BOOL("use_node_local_storage"),
    UNUSED_ANY("parallel_write"),
    UNUSED_ANY("writer"),
    END,
};

// ---------------------------------------------------------------------------------------------------

const ConfigKey zero_config_keys[] = {
    INT("train_batch_size", AT(train_batch_size), 1, MAX_COUNT, .flags = CONFIG_AUTO | CONFIG_NULL),
    INT("train_micro_batch_size_per_gpu", AT(train_micro_batch_size_per_gpu), 1, MAX_COUNT,
        .flags = CONFIG_AUTO | CONFIG_NULL),
    INT("gradient_accumulation_steps", AT(gradient_accumulation_steps), 1, MAX_COUNT,
        .flags = CONFIG_AUTO | CONFIG_NULL),
    BOOL("deterministic", AT(deterministic)),
    BOOL("stochastic_rounding", AT(stochastic_rounding)),
    INT("steps_per_print", AT(steps_per_print), 1, CONFIG_MAX_INT, .flags = CONFIG_NULL),
    REAL("gradient_clipping", AT(gradient_clipping), 0, MAX_LR, .flags = CONFIG_AUTO),
    TYPE("communication_data_type", AT(communication_data_type), .flags = CONFIG_NULL),
    BLOCK("data_types", data_types_keys),
    BLOCK("fp16", fp16_keys),
    BLOCK("bf16", bf16_keys),
    BLOCK("bfloat16", bf16_keys, .now = "bf16"),
    BLOCK("zero_optimization", zero_keys, .flags = CONFIG_OLD_BOOL),
    BLOCK("activation_checkpointing", activation_checkpointing_keys, .at = AT(activation_checkpointing),
          .flags = CONFIG_NULL),
    {.name = "optimizer", .kind = CONFIG_TYPED, .keys = optimizer_keys, .variants = optimizers},
    {.name = "scheduler", .kind = CONFIG_TYPED, .keys = scheduler_keys, .variants = schedulers},
    // without effect here
    UNUSED_BLOCK("aio", aio_keys),
    UNUSED_BLOCK("checkpoint", checkpoint_keys),
    UNUSED_BLOCK("flops_profiler", flops_profiler_keys),
    UNUSED_BLOCK("csv_monitor", monitor_keys),
    UNUSED_BLOCK("tensorboard", monitor_keys),
    UNUSED_BOOL("wall_clock_breakdown"),
    UNUSED_BOOL("memory_breakdown"),
    UNUSED_BOOL("prescale_gradients"),
    UNUSED_REAL("gradient_predivide_factor", 0, CONFIG_MAX_REAL),
    UNUSED_BOOL("sparse_gradients"),
    UNUSED_BOOL("zero_allow_untested_optimizer"),
    UNUSED_BOOL("zero_force_ds_cpu_optimizer"),
    UNUSED_BOOL("disable_allgather"),
    UNUSED_BOOL("dump_state"),
    UNUSED_BOOL("graph_harvesting"),
    UNUSED_BOOL("dataloader_drop_last"),
    UNUSED_BOOL("use_data_before_expert_parallelism"),
    UNUSED_BOOL("managed_gradient_accumulation"),
    UNUSED_INT("vocabulary_size", 1),
    UNUSED_INT("allgather_size", 0),
    TYPE("seq_parallel_communication_data_type", 0, .flags = CONFIG_UNUSED | CONFIG_NULL),
    UNUSED_TEXT("gradient_allreduce_op"),
    UNUSED_TEXT("log_level"),
    UNUSED_ANY("amp"),
    UNUSED_ANY("autotuning"),
    UNUSED_ANY("comet"),
    UNUSED_ANY("comms_logger"),
    UNUSED_ANY("compile"),
    UNUSED_ANY("compression_training"),
    UNUSED_ANY("curriculum_learning"),
    UNUSED_ANY("data_efficiency"),
    UNUSED_ANY("datastates_ckpt"),
    UNUSED_ANY("eigenvalue"),
    UNUSED_ANY("elasticity"),
    UNUSED_ANY("expert_parallel"),
    UNUSED_ANY("hybrid_engine"),
    UNUSED_ANY("nebula"),
    UNUSED_ANY("pipeline"),
    UNUSED_ANY("progressive_layer_drop"),
    UNUSED_ANY("sparse_attention"),
    UNUSED_ANY("tensor_parallel"),
    UNUSED_ANY("timers"),
    UNUSED_ANY("torch_autocast"),
    UNUSED_ANY("wandb"),
    UNUSED_ANY("weight_quantization"),
    END,
};
