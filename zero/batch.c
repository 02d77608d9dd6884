// The batch triple: sequences of a global batch = sequences of a micro-batch x accumulation steps x ranks.
#include "batch.h"

// DeepSpeed's table of what is inferred from what; divisions drop the remainder, which the check then finds. Returns
// 0, or -1 if the product passes 64 bits.
static int infer(ZeroBatch *b, int64_t ranks) {
  if (b->train && b->micro) {
    if (!b->accumulation) b->accumulation = b->train / b->micro / ranks;
  } else if (b->train) {
    if (!b->accumulation) b->accumulation = 1;
    b->micro = b->train / ranks / b->accumulation;
  } else {
    if (!b->accumulation) b->accumulation = 1;
    if (__builtin_mul_overflow(b->micro, b->accumulation, &b->train)) return -1;
    if (__builtin_mul_overflow(b->train, ranks, &b->train)) return -1;
  }
  return 0;
}

// Is the product what it should be? Without overflow: all are positive.
static int product_holds(const ZeroBatch *b, int64_t ranks) {
  int64_t product = 0;
  if (__builtin_mul_overflow(b->micro, b->accumulation, &product)) return 0;
  return !__builtin_mul_overflow(product, ranks, &product) && product == b->train;
}

int zero_batch_infer(ZeroBatch file, ZeroBatch flags, int ranks, ZeroBatch *out, ZeroErrors *errors) {
  ZeroBatch b = file;
  if (flags.train) b.train = flags.train;
  if (flags.micro) b.micro = flags.micro;
  const int only_train_flag = flags.train && !b.micro && !b.accumulation;
  const int nothing = !b.train && !b.micro && !b.accumulation;
  if (only_train_flag || nothing) b.micro = ZERO_BATCH_DEFAULT_MICRO;
  if ((flags.train || flags.micro) && b.train && b.micro) b.accumulation = 0;
  *out = b;
  if (!b.train && !b.micro) {
    zero_errors_add(errors,
                    "gradient_accumulation_steps: found %lld alone: Either train_batch_size or "
                    "train_micro_batch_size_per_gpu needs to be provided",
                    (long long)b.accumulation);
    return -1;
  }
  if (infer(&b, ranks) != 0) {
    zero_errors_add(
        errors,
        "train_batch_size: %lld * %lld * %d (micro_batch_per_gpu * gradient_acc_step * world_size) is too "
        "large; give smaller numbers",
        (long long)b.micro, (long long)b.accumulation, ranks);
    return -1;
  }
  *out = b;
  if (b.micro <= 0) {
    zero_errors_add(errors,
                    "train_micro_batch_size_per_gpu: Micro batch size per gpu: %lld has to be greater than 0; "
                    "train_batch_size (or -d) %lld is less than %d ranks x %lld accumulation steps",
                    (long long)b.micro, (long long)b.train, ranks, (long long)b.accumulation);
    return -1;
  }
  if (b.accumulation <= 0) {
    zero_errors_add(
        errors,
        "gradient_accumulation_steps: Gradient accumulation steps: %lld has to be greater than 0; "
        "train_batch_size (or -d) %lld is less than %d ranks x %lld of train_micro_batch_size_per_gpu (or "
        "-b)",
        (long long)b.accumulation, (long long)b.train, ranks, (long long)b.micro);
    return -1;
  }
  if (!product_holds(&b, ranks)) {
    zero_errors_add(errors,
                    "train_batch_size: Check batch related parameters. train_batch_size is not equal to "
                    "micro_batch_per_gpu * gradient_acc_step * world_size %lld != %lld * %lld * %d; change "
                    "train_batch_size (or -d), train_micro_batch_size_per_gpu (or -b) or gradient_accumulation_steps",
                    (long long)b.train, (long long)b.micro, (long long)b.accumulation, ranks);
    return -1;
  }
  return 0;
}
