// Which calls of attention cuDNN serves, as a program built with USE_CUDNN=1 decides it. No GPU and no cuDNN is
// needed.
#define USE_CUDNN
#include "../../llmc/cuda/attention_cudnn.h"
#include "check.h"

size_t attention_cudnn_version(void) {
  return 91900;
}

static AttentionCall a_call(void) {
  const AttentionCall call = {ZERO_BF16, 4, 1024, 768, 12, 1, 1, 0, 0};
  return call;
}

static void test_serves(void **state) {
  (void)state;
  AttentionCall call = a_call();
  assert_null(attention_cudnn_refuses(&call));
  assert_int_equal(attention_chooses_cudnn(NULL, &call), 1);
  assert_int_equal(attention_chooses_cudnn("cudnn", &call), 1);
  assert_int_equal(attention_chooses_cudnn("own", &call), 0);
  call.type = ZERO_F16;
  assert_int_equal(attention_chooses_cudnn(NULL, &call), 1);
  call.NH = 6; // heads of 128
  assert_int_equal(attention_chooses_cudnn(NULL, &call), 1);
  call.NH = 96; // heads of 8
  assert_int_equal(attention_chooses_cudnn(NULL, &call), 1);
  call.addresses = 0x7f0000000010u;
  assert_int_equal(attention_chooses_cudnn(NULL, &call), 1);
}

// Each of these alone sends the call to the own kernels, with a reason of its own.
static void test_refuses(void **state) {
  (void)state;
  enum { CASES = 9 };
  AttentionCall calls[CASES];
  const char *reasons[CASES];
  for (int i = 0; i < CASES; i++) calls[i] = a_call();
  calls[0].type = ZERO_F32;
  calls[1].NH = 64; // heads of 12
  calls[2].NH = 5;  // no equal heads
  calls[3].dense = 0;
  calls[4].T = 1;
  calls[5].addresses = 8;
  calls[6].causal = 0;
  calls[7].drops = 1;
  calls[8].NH = 4; // heads of 192
  for (int i = 0; i < CASES; i++) {
    reasons[i] = attention_cudnn_refuses(&calls[i]);
    assert_non_null(reasons[i]);
    assert_int_equal(attention_chooses_cudnn(NULL, &calls[i]), 0);
    assert_int_equal(attention_chooses_cudnn("own", &calls[i]), 0);
  }
  assert_ptr_equal(reasons[1], reasons[8]);
  for (int i = 0; i < CASES - 1; i++) {
    for (int j = 0; j < i; j++) assert_string_not_equal(reasons[i], reasons[j]);
  }
}

// What an operation's arguments say about a call.
static void test_call(void **state) {
  (void)state;
  const int numbers[] = {0, 1};
  OpsSequences dense = ops_dense(2, 64), lengths = dense, packed = dense;
  lengths.lengths = numbers;
  packed.starts = numbers;
  const OpsDropout none = {0, 1, 2, 3}, some = {0.1f, 1, 2, 3};
  AttentionCall call = attention_call(&dense, 768, 12, 1, NULL, ZERO_F16, 48);
  assert_int_equal(call.type, ZERO_F16);
  assert_int_equal(call.B, 2);
  assert_int_equal(call.T, 64);
  assert_int_equal(call.C, 768);
  assert_int_equal(call.NH, 12);
  assert_int_equal(call.addresses, 48);
  assert_null(attention_cudnn_refuses(&call));
  call = attention_call(&dense, 768, 12, 1, &none, ZERO_F16, 0);
  assert_null(attention_cudnn_refuses(&call));
  const AttentionCall refused[] = {attention_call(&dense, 768, 12, 0, NULL, ZERO_F16, 0),
                                   attention_call(&dense, 768, 12, 1, &some, ZERO_F16, 0),
                                   attention_call(&lengths, 768, 12, 1, NULL, ZERO_F16, 0),
                                   attention_call(&packed, 768, 12, 1, NULL, ZERO_F16, 0)};
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) assert_non_null(attention_cudnn_refuses(&refused[i]));
}

static void test_name(void **state) {
  (void)state;
  char text[ATTENTION_NAME_BYTES];
  unsetenv("ZERO_ATTENTION");
  assert_string_equal(attention_name(ZERO_BF16, 4, 1024, 768, 12, 0, text), "cuDNN 9.19");
  assert_string_equal(attention_name(ZERO_F32, 4, 1024, 768, 12, 0, text), "own kernels");
  assert_string_equal(attention_name(ZERO_BF16, 4, 1024, 768, 12, 1, text), "own kernels");
  setenv("ZERO_ATTENTION", "own", 1);
  assert_string_equal(attention_name(ZERO_BF16, 4, 1024, 768, 12, 0, text), "own kernels");
  unsetenv("ZERO_ATTENTION");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_serves), cmocka_unit_test(test_refuses),
                                     cmocka_unit_test(test_call), cmocka_unit_test(test_name)};
  return cmocka_run_group_tests_name("attention's choice", tests, NULL, NULL);
}
