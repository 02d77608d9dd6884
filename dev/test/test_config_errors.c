// Configuration files that are wrong: a table of files, each with its exact errors; broken JSON with line and column;
// what is no such file at all.
#include "config_text.h"

enum { MAX_ERRORS = 12 };

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
  (void)state;
  char path[CHECK_PATH];
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_invalid),
      cmocka_unit_test(test_broken),
      cmocka_unit_test(test_limits_of_a_text),
      cmocka_unit_test_setup_teardown(test_files, check_setup_dir, check_teardown_dir),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
