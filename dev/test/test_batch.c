// The batch triple: DeepSpeed's table of inference with its messages, and the command line before the file.
#include "../../zero/batch.h"
#include "check.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define NEEDED "Either train_batch_size or train_micro_batch_size_per_gpu needs to be provided"
#define PRODUCT                                                                                                 \
  "Check batch related parameters. train_batch_size is not equal to micro_batch_per_gpu * gradient_acc_step * " \
  "world_size "

typedef struct {
  ZeroBatch file, flags; // train, micro, accumulation; 0: not given
  int ranks;
  ZeroBatch expected;
  const char *error; // a part of it, or NULL
} Case;

static const Case cases[] = {
    // all three: check only
    {{32, 16, 1}, {0, 0, 0}, 2, {32, 16, 1}, NULL},
    {{32, 8, 2}, {0, 0, 0}, 2, {32, 8, 2}, NULL},
    {{33, 17, 2}, {0, 0, 0}, 2, {0, 0, 0}, PRODUCT "33 != 17 * 2 * 2"},
    {{32, 18, 1}, {0, 0, 0}, 2, {0, 0, 0}, PRODUCT "32 != 18 * 1 * 2"},
    {{32, 16, 1}, {0, 0, 0}, 4, {0, 0, 0}, PRODUCT "32 != 16 * 1 * 4"},
    // train + micro: accumulation = train // micro // ranks
    {{32, 4, 0}, {0, 0, 0}, 2, {32, 4, 4}, NULL},
    {{32, 16, 0}, {0, 0, 0}, 2, {32, 16, 1}, NULL},
    {{33, 4, 0}, {0, 0, 0}, 2, {0, 0, 0}, PRODUCT "33 != 4 * 4 * 2"},
    {{32, 32, 0}, {0, 0, 0}, 2, {0, 0, 0}, "Gradient accumulation steps: 0 has to be greater than 0"},
    {{4, 8, 0}, {0, 0, 0}, 1, {0, 0, 0}, "Gradient accumulation steps: 0 has to be greater than 0"},
    // train + accumulation: micro = train // ranks // accumulation
    {{32, 0, 2}, {0, 0, 0}, 2, {32, 8, 2}, NULL},
    {{32, 0, 1}, {0, 0, 0}, 4, {32, 8, 1}, NULL},
    {{34, 0, 4}, {0, 0, 0}, 2, {0, 0, 0}, PRODUCT "34 != 4 * 4 * 2"},
    {{4, 0, 4}, {0, 0, 0}, 2, {0, 0, 0}, "Micro batch size per gpu: 0 has to be greater than 0"},
    // micro + accumulation: train = micro * accumulation * ranks
    {{0, 8, 2}, {0, 0, 0}, 2, {32, 8, 2}, NULL},
    {{0, 3, 5}, {0, 0, 0}, 7, {105, 3, 5}, NULL},
    // train only: accumulation 1, micro = train // ranks
    {{32, 0, 0}, {0, 0, 0}, 2, {32, 16, 1}, NULL},
    {{12, 0, 0}, {0, 0, 0}, 3, {12, 4, 1}, NULL},
    {{33, 0, 0}, {0, 0, 0}, 2, {0, 0, 0}, PRODUCT "33 != 16 * 1 * 2"},
    {{1, 0, 0}, {0, 0, 0}, 2, {0, 0, 0}, "Micro batch size per gpu: 0 has to be greater than 0"},
    // micro only: accumulation 1, train = micro * ranks
    {{0, 8, 0}, {0, 0, 0}, 2, {16, 8, 1}, NULL},
    // accumulation only
    {{0, 0, 4}, {0, 0, 0}, 2, {0, 0, 0}, "gradient_accumulation_steps: found 4 alone: " NEEDED},
    // nothing at all: ours
    {{0, 0, 0}, {0, 0, 0}, 3, {12, 4, 1}, NULL},

    // -b alone, over each file
    {{0, 0, 0}, {0, 2, 0}, 3, {6, 2, 1}, NULL},
    {{0, 8, 0}, {0, 2, 0}, 3, {6, 2, 1}, NULL},
    {{0, 0, 4}, {0, 2, 0}, 3, {24, 2, 4}, NULL}, // the file's accumulation: the global batch is not known
    {{0, 8, 4}, {0, 2, 0}, 3, {24, 2, 4}, NULL},
    {{32, 0, 0}, {0, 2, 0}, 2, {32, 2, 8}, NULL}, // inferred anew: the global batch is known
    {{32, 0, 2}, {0, 2, 0}, 2, {32, 2, 8}, NULL},
    {{32, 8, 2}, {0, 2, 0}, 2, {32, 2, 8}, NULL},
    {{32, 8, 2}, {0, 5, 0}, 2, {0, 0, 0}, PRODUCT "32 != 5 * 3 * 2"},
    // -d alone
    {{0, 0, 0}, {24, 0, 0}, 3, {24, 4, 2}, NULL}, // the only entry: our micro-batch
    {{0, 0, 0}, {10, 0, 0}, 3, {0, 0, 0}, "Gradient accumulation steps: 0 has to be greater than 0"},
    {{0, 0, 0}, {25, 0, 0}, 3, {0, 0, 0}, PRODUCT "25 != 4 * 2 * 3"},
    {{0, 8, 0}, {48, 0, 0}, 3, {48, 8, 2}, NULL},
    {{0, 8, 7}, {48, 0, 0}, 3, {48, 8, 2}, NULL},
    {{0, 0, 2}, {48, 0, 0}, 3, {48, 8, 2}, NULL},  // the file's accumulation: the micro-batch is not known
    {{32, 0, 0}, {48, 0, 0}, 3, {48, 4, 4}, NULL}, // replaces the file's only entry, and so is the only one
    {{32, 8, 2}, {64, 0, 0}, 2, {64, 8, 4}, NULL},
    {{32, 0, 2}, {64, 0, 0}, 2, {64, 16, 2}, NULL},
    // both
    {{0, 0, 0}, {64, 2, 0}, 2, {64, 2, 16}, NULL},
    {{32, 8, 2}, {64, 2, 0}, 2, {64, 2, 16}, NULL},
    {{0, 0, 3}, {64, 2, 0}, 2, {64, 2, 16}, NULL},
    {{0, 0, 0}, {64, 3, 0}, 2, {0, 0, 0}, PRODUCT "64 != 3 * 10 * 2"},

    // products past 64 bits
    {{0, INT64_MAX / 2, 3}, {0, 0, 0}, 1, {0, 0, 0}, "is too large"},
    {{0, INT64_MAX / 2, 1}, {0, 0, 0}, 3, {0, 0, 0}, "is too large"},
    {{7, INT64_MAX, 3}, {0, 0, 0}, 1, {0, 0, 0}, PRODUCT "7 != 9223372036854775807 * 3 * 1"},
};

static void test_cases(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(cases); i++) {
    const Case *c = &cases[i];
    ZeroErrors errors = {0};
    ZeroBatch found = {-1, -1, -1};
    const int result = zero_batch_infer(c->file, c->flags, c->ranks, &found, &errors);
    if (result != (c->error != NULL ? -1 : 0)) fail_msg("case %zu: %d", i, result);
    if (c->error != NULL) {
      check_one_error(&errors, c->error, NULL);
      continue;
    }
    check_no_error(&errors);
    const ZeroBatch *e = &c->expected;
    if (found.train != e->train || found.micro != e->micro || found.accumulation != e->accumulation) {
      fail_msg("case %zu: %lld = %lld * %lld * %d", i, (long long)found.train, (long long)found.micro,
               (long long)found.accumulation, c->ranks);
    }
  }
  assert_true(COUNT(cases) >= 45);
}

// Whatever is given, what comes out multiplies, and keeps what the flags said.
static void test_every_triple(void **state) {
  (void)state;
  enum { MOST = 6 };
  int taken = 0, refused = 0;
  ZeroBatch file, flags = {0, 0, 0};
  for (file.train = 0; file.train <= 2 * MOST; file.train++) {
    for (file.micro = 0; file.micro <= MOST; file.micro++) {
      for (file.accumulation = 0; file.accumulation <= MOST; file.accumulation++) {
        for (int given = 0; given < 4 * MOST; given++) {
          flags.train = given % 2 ? given / 2 : 0;
          flags.micro = given % 4 == 2 ? given / 4 + 1 : 0;
          const int ranks = 1 + given % 3;
          ZeroErrors errors = {0};
          ZeroBatch out;
          if (zero_batch_infer(file, flags, ranks, &out, &errors) == 0) {
            assert_int_equal(errors.count, 0);
            assert_true(out.train == out.micro * out.accumulation * ranks && out.train > 0);
            assert_true(!flags.train || out.train == flags.train);
            assert_true(!flags.micro || out.micro == flags.micro);
            taken++;
          } else {
            assert_int_equal(errors.count, 1);
            check_clear(&errors);
            refused++;
          }
        }
      }
    }
  }
  assert_true(taken > 1000 && refused > 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cases),
      cmocka_unit_test(test_every_triple),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
