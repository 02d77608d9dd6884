// The trainers' command line: their options, defaults and the one table that gives parser and help.
#include "options.h"

#include <limits.h>
#include <string.h>

#include "masking.h"

// A rate of 1 would leave nothing to scale up.
#define LARGEST_DROPOUT 0.99

static void set_defaults(Options *o, OptionsTrainer trainer, OptionsDevice device) {
  const int bert = trainer == OPTIONS_BERT;
  memset(o, 0, sizeof *o);
  o->train = bert ? NULL : DEMO_TRAIN;
  o->val = bert ? NULL : DEMO_VAL;
  o->model = bert ? "bert-base" : "d12";
  o->task = "mlm";
  o->packed = 1;
  o->dropout = o->attention_dropout = bert ? 0.1 : 0.0;
  o->classifier_dropout = -1.0;
  o->mask_probability = MASKING_PROBABILITY;
  o->schedule = "cosine";
  o->dtype = device == OPTIONS_GPU ? "bf16" : "fp32";
  o->process_rank = -1;
  o->micro_batch = o->seq_len = o->total_batch = o->steps = -1;
  o->val_every = o->val_batches = o->sample_every = 20;
  o->sample_tokens = 64;
  o->seed = 42;
  o->deterministic = device != OPTIONS_GPU;
  o->verify_data = 1;
  o->log_every = 1;
  o->recompute = RECOMPUTE_GELU;
  o->lr = 3e-4;
  o->final_fraction = 1.0;
  o->beta1 = 0.9;
  o->beta2 = 0.95;
  o->eps = 1e-8;
  o->clip = 1.0;
}

void options_init(Options *o, OptionTable *table, OptionsTrainer trainer, OptionsDevice device) {
  const int bert = trainer == OPTIONS_BERT, gpu = device == OPTIONS_GPU;
  const double big = 9e15; // whole numbers up to here are exact in double
  const double many = INT_MAX, rate = 1e6;
  Flag *f = table->flags;
  size_t n = 0;
  memset(table, 0, sizeof *table);
  set_defaults(o, trainer, device);
#define SECTION(text) f[n++] = (Flag){NULL, NULL, FLAG_IGNORED, NULL, 0, 0, NULL, NULL, text}
#define INT(name, alias, field, lo, hi, help)                 \
  f[n++] = (Flag) {                                           \
    name, alias, FLAG_INT, &o->field, lo, hi, NULL, "N", help \
  }
#define NUMBER(name, field, lo, hi, help)                      \
  f[n++] = (Flag) {                                            \
    name, NULL, FLAG_FLOAT, &o->field, lo, hi, NULL, "X", help \
  }
#define TEXT(name, field, words, value, help)                            \
  f[n++] = (Flag) {                                                      \
    name, NULL, FLAG_STRING, (void *)&o->field, 0, 0, words, value, help \
  }
#define IGNORED(name, help)                               \
  f[n++] = (Flag) {                                       \
    name, NULL, FLAG_IGNORED, NULL, 0, 0, NULL, "X", help \
  }
  SECTION("data and model");
  TEXT("-i", train, NULL, "FILE",
       bert ? "training samples, a .bin file or a glob"
            : "training tokens, a .bin file or a glob (default " DEMO_TRAIN ")");
  TEXT("-j", val, NULL, "FILE", bert ? "validation samples" : "validation tokens (default " DEMO_VAL ")");
  INT("--verify-data", NULL, verify_data, 0, 1, "compare token files with their checksums at the start (default 1)");
  if (!bert) {
    TEXT("--tokenizer", tokenizer, NULL, "FILE",
         "tokenizer file, for samples (default: the demo's with the demo's data)");
  }
  TEXT("-e", model, NULL, "MODEL",
       bert ? "bert-tiny, -mini, -small, -medium, -base, -large, L=4,H=4,C=128,T=128,V=30522, or a Hugging Face "
              "folder (default bert-base)"
            : "d6 d12 d24 d36 d48 …, L=4,H=4,C=128,T=64,V=256, a model .bin, or a Hugging Face folder (default d12)");
  TEXT("--export", export_to, NULL, "PATH",
       bert ? "write the model at the end: a folder for Hugging Face (default: none)"
            : "write the model at the end: a folder for Hugging Face, or llm.c's format if it ends in .bin (default: "
              "none)");
  TEXT("-o", out, NULL, "DIR", "folder for main.log and checkpoints (default: none)");
  f[n++] = (Flag){"--config",
                  "--deepspeed_config",
                  FLAG_STRING,
                  (void *)&o->config,
                  0,
                  0,
                  NULL,
                  "FILE",
                  "DeepSpeed's JSON configuration; flags come before it (default: none)"};
  INT("-n", NULL, checkpoint_every, 0, big, "checkpoint into -o every N steps and at the end; 0: never (default 0)");
  INT("-nk", NULL, keep_last, 0, big, "keep the last N checkpoints; 0: all (default 0)");
  INT("-nm", NULL, keep_every, 0, big, "keep those of every N-th step for ever; 0: none (default 0)");
  INT("-y", NULL, resume, 0, 1, "1: go on from the newest checkpoint in -o, if there is one (default 0)");
  if (bert) {
    SECTION("task");
    TEXT("--task", task, "mlm|classify", "NAME",
         "masked-language modelling, or classes (regression where the data has numbers) (default mlm)");
    INT("--nsp", NULL, nsp, 0, 1, "1: predict too whether the second sentence follows the first, in mlm (default 0)");
    NUMBER("--mask-probability", mask_probability, 0, 1, "share of the tokens to be predicted in mlm (default 0.15)");
  }
  SECTION("batch");
  INT("-b", NULL, micro_batch, 1, many, "sequences of a rank's micro-batch (default 4)");
  INT("-t", NULL, seq_len, 1, many, "tokens of a sequence (default: the model's, at most 1024)");
  INT("-d", NULL, total_batch, 1, big, "tokens of a step, all ranks and micro-steps (default: one micro-step)");
  INT("-x", NULL, steps, -1, big, "steps, skipped ones included; -1: one epoch (default -1)");
  if (bert) INT("--packed", NULL, packed, 0, 1, "1: no work on padding, 0: every sample takes -t rows (default 1)");
  INT("-r", NULL, recompute, RECOMPUTE_NONE, RECOMPUTE_BLOCK,
      bert ? "backward recomputes, to hold less: 0 nothing, 1 GELU, 3 whole blocks (default 1)"
           : "backward recomputes, to hold less: 0 nothing, 1 GELU, 2 LayerNorm too, 3 whole blocks (default 1)");
  SECTION("optimizer");
  TEXT("-k", schedule, "cosine|linear|constant|wsd", "NAME", "learning-rate schedule (default cosine)");
  NUMBER("-l", lr, 0, rate, "learning rate (default 3e-4)");
  INT("-u", NULL, warmup, 0, big, "steps of warmup (default 0)");
  NUMBER("-q", final_fraction, 0, 1, "last learning rate as a fraction of -l (default 1)");
  NUMBER("-c", weight_decay, 0, rate, "weight decay, on 2-D tensors (default 0)");
  NUMBER("-sl", skip_loss, 0, rate, "skip the update if the loss's z-score is above this; 0: off (default 0)");
  NUMBER("-sg", skip_norm, 0, rate, "the same for the gradient norm (default 0)");
  INT("-a", NULL, overfit, 0, 1, "1: train on the first batch again and again (default 0)");
  NUMBER("--beta1", beta1, 0, 1, "AdamW (default 0.9)");
  NUMBER("--beta2", beta2, 0, 1, "AdamW (default 0.95)");
  NUMBER("--eps", eps, 0, 1, "AdamW (default 1e-8)");
  NUMBER("--clip", clip, 0, rate, "largest gradient norm; 0: off (default 1)");
  NUMBER("--dropout", dropout, 0, LARGEST_DROPOUT,
         bert ? "of embeddings and of what each half of a block adds (default 0.1)"
              : "of embeddings and of what each half of a block adds (default 0)");
  NUMBER("--attention-dropout", attention_dropout, 0, LARGEST_DROPOUT,
         bert ? "of attention's probabilities (default 0.1)" : "of attention's probabilities (default 0)");
  if (bert) {
    NUMBER("--classifier-dropout", classifier_dropout, 0, LARGEST_DROPOUT,
           "before the classes (default: as --dropout)");
  }
  SECTION("evaluation");
  INT("-v", NULL, val_every, 0, big, "validate every N steps, at the start and the end; 0: never (default 20)");
  INT("-m", NULL, val_batches, -1, big, "micro-batches of a validation, all ranks; -1: the whole split (default 20)");
  if (!bert) {
    INT("-s", NULL, sample_every, 0, big, "sample every N steps and at the end; 0: never (default 20)");
    INT("-g", NULL, sample_tokens, 1, many, "tokens of a sample (default 64)");
  }
  SECTION("ZeRO and the machine");
  INT("-z", "--zero-stage", stage, 0, 3,
      "0 plain data parallel, 1 + optimizer, 2 + gradients, 3 + parameters (default 0)");
  TEXT("--dtype", dtype, "fp32|bf16|fp16", "TYPE",
       gpu ? "type of parameters and activations (default bf16)"
           : "type of parameters and activations (default fp32)");
  INT("--deterministic", NULL, deterministic, 0, 1,
      gpu ? "1: same bits for every number of ranks (default 0)"
          : "1: same bits for every number of ranks (default 1)");
  INT("--stochastic-rounding", NULL, stochastic_rounding, 0, 1,
      "1: round bf16 and fp16 parameters up or down at random, right in the mean (default 0)");
  INT("--seed", NULL, seed, 0, big,
      bert ? "of initial weights, the order of the data, masking, dropout and stochastic rounding (default 42)"
           : "of initial weights, the order of the data, dropout and stochastic rounding (default 42)");
  INT("--threads", NULL, threads, 0, many, "threads of a rank; 0: cores / ranks of the node (default 0)");
  INT("--state-hash", NULL, hash_every, 0, big,
      "print a hash of weights and moments every N steps (default 0: never)");
  INT("--log-every", NULL, log_every, 1, big, "print every N-th step's line; main.log has all (default 1)");
  SECTION("ranks that start without mpirun");
  TEXT("-pi", init, "mpi|tcp|fs", "WAY", "how ranks find each other (default mpi, if that was built in)");
  INT("-pn", NULL, processes, 1, many, "with tcp and fs: number of processes, the ranks of the job (default 1)");
  INT("-pr", NULL, process_rank, 0, many, "with tcp and fs: which of them this is, from 0");
  INT("-pg", NULL, gpus_of_node, 1, many, "with tcp and fs: ranks of each node (default: by the machines' names)");
  TEXT("-ps", server, NULL, "HOST:PORT", "with tcp: where rank 0 listens (port 12345 if left out)");
  TEXT("-pf", folder, NULL, "DIR", "with fs: a folder that all ranks see; rank 0 leaves its address there");
  SECTION("flags of llm.c that mean nothing here");
  IGNORED("-f", "TF32");
  IGNORED("-w", "fp32 master weights: always kept");
  IGNORED("-ge", "GELU fusion");
  IGNORED("-lg", "NVML lines");
  SECTION("about the program");
  f[n++] = (Flag){"--help", NULL, FLAG_SWITCH, &o->help, 0, 0, NULL, NULL, "this text"};
  f[n++] = (Flag){"--version", NULL, FLAG_SWITCH, &o->version, 0, 0, NULL, NULL, "the version"};
#undef SECTION
#undef INT
#undef NUMBER
#undef TEXT
#undef IGNORED
  table->count = n;
}

int options_given(const OptionTable *table, const char *name) {
  for (size_t i = 0; i < table->count; i++) {
    if (table->flags[i].name && strcmp(table->flags[i].name, name) == 0) return table->given[i];
  }
  return 0;
}
