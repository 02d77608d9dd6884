// Checkpoints of the engine, on any number of ranks, with the transport that ZERO_COMM names: the file byte by byte,
// the state back at every stage in every type, damaged files, files that cannot be written.
//
// `test_checkpoint --save FILE STAGE TYPE` and `--load FILE STAGE TYPE` train a few steps of one global batch of 12
// micro-batches before and after, and print the state, for the shell to compare between numbers of ranks
// (test_checkpoint_ranks.sh).
#include "../../zero/checkpoint.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "fake_model.h"
#include "ranks.h"

enum { STAGES = 4, GLOBAL_BATCH = 12, TIME_LIMIT_SECONDS = 240 };
static const ZeroType TYPES[] = {ZERO_F32, ZERO_BF16, ZERO_F16};
enum { NUM_TYPES = sizeof TYPES / sizeof TYPES[0] };
static const float LEARNING_RATE = 0.01f;

ZeroComm *comm;
int wrong;
static ZeroDevice *device;
static char path[CHECK_PATH]; // in dir; the same on all ranks, as dir is

static int setup(void **state) {
  (void)state;
  if (comm->rank == 0) check_make_dir(dir);
  comm->control_broadcast(comm, dir, sizeof dir);
  check_path(path, dir, "state.bin");
  return 0;
}

static int teardown(void **state) {
  (void)state;
  over_ranks(0.0);
  if (comm->rank == 0) check_remove_dir(dir);
  return 0;
}

// ---------------------------------------------------------------- engines

static ZeroConfig config_of(int stage, ZeroType type) {
  ZeroConfig config;
  zero_config_default(&config);
  config.stage = stage;
  config.type = type; // gradients travel as fp32, which is how the fake model makes them
  config.weight_decay = 0.1;
  return config;
}

static ZeroEngine *empty_engine(int stage, ZeroType type) {
  ZeroConfig config = config_of(stage, type);
  return zero_initialize(&config, fake_units, FAKE_UNITS, comm, device);
}

// All three kinds of state filled.
static ZeroEngine *filled_engine(int stage, ZeroType type) {
  ZeroEngine *e = empty_engine(stage, type);
  for (ZeroKind kind = ZERO_MASTER; kind <= ZERO_EXP_AVG_SQ; kind++) zero_fill(e, kind, fake_fill, &kind);
  return e;
}

static void train_step(ZeroEngine *e, size_t step, float bad) {
  fake_backward(e, comm, step, 1, bad, comm->size - 1);
  zero_step(e, LEARNING_RATE);
}

static int same_scaler(const ZeroEngine *a, const ZeroEngine *b) {
  const ZeroLossScaler x = zero_scaler(a), y = zero_scaler(b);
  return x.scale == y.scale && x.iteration == y.iteration && x.last_overflow == y.last_overflow &&
         x.hysteresis_left == y.hysteresis_left;
}

// Bytes of all parameters, in the compute type, that differ between two engines on this rank.
static size_t differing_parameters(ZeroEngine *a, ZeroEngine *b, ZeroType type) {
  size_t differing = 0;
  for (int u = 0; u < FAKE_UNITS; u++) {
    const char *x = zero_get(a, u), *y = zero_get(b, u);
    for (int t = 0; t < fake_units[u].num_tensors; t++) {
      const size_t at = zero_offset(a, u, t) * zero_type_size(type);
      differing += memcmp(x + at, y + at, fake_count(u, t) * zero_type_size(type)) != 0;
    }
    zero_release(a, u);
    zero_release(b, u);
  }
  return differing;
}

// ---------------------------------------------------------------- the file, byte by byte

static const char RECORD[] = "data position, sampler";

// What the header is documented to hold, built here without the engine's code.
typedef struct {
  char *bytes;
  size_t count;
} Image;

static void append(Image *image, const void *data, size_t count) {
  image->bytes = realloc(image->bytes, image->count + count);
  assert_non_null(image->bytes);
  memcpy(image->bytes + image->count, data, count);
  image->count += count;
}

static const char DESCRIPTION[] =
    "unit 0 embeddings, table: 37 x 23\n"
    "unit 0 embeddings, positions: 5 x 23\n"
    "unit 1 first block, scale: 129\n"
    "unit 1 first block, weight: 31 x 67\n"
    "unit 1 first block, single: 1\n"
    "unit 1 first block, cube: 13 x 7 x 3\n"
    "unit 2 second block, deep: 2 x 5 x 10 x 30\n"
    "unit 2 second block, bias: 100\n"
    "unit 3 final norm, gain: 7\n"
    "unit 3 final norm, shift: 7\n";
enum { HEADER_BYTES = 80, DESCRIPTION_AT = HEADER_BYTES, RECORD_AT = DESCRIPTION_AT + sizeof DESCRIPTION - 1 };
enum { STATE_AT = RECORD_AT + sizeof RECORD, HASH_AT = STATE_AT + 3 * FAKE_PARAMETERS * 4, FILE_BYTES = HASH_AT + 8 };

// The state of filled_engine after `applied` and `skipped` steps, in fp16 with a scale of its own.
static Image image_of_filled(uint64_t applied, uint64_t skipped, const ZeroLossScaler *scaler) {
  Image image = {NULL, 0};
  const uint32_t version = 1, type = ZERO_F16;
  const uint64_t sizes[] = {sizeof DESCRIPTION - 1, sizeof RECORD}, iteration = scaler->iteration;
  const int64_t last_overflow = scaler->last_overflow, hysteresis_left = scaler->hysteresis_left;
  append(&image, "ZEROCKPT", 8);
  append(&image, &version, 4);
  append(&image, &type, 4);
  append(&image, sizes, sizeof sizes);
  append(&image, &applied, 8);
  append(&image, &skipped, 8);
  append(&image, &scaler->scale, 8);
  append(&image, &iteration, 8);
  append(&image, &last_overflow, 8);
  append(&image, &hysteresis_left, 8);
  append(&image, DESCRIPTION, sizeof DESCRIPTION - 1);
  append(&image, RECORD, sizeof RECORD);
  for (ZeroKind kind = ZERO_MASTER; kind <= ZERO_EXP_AVG_SQ; kind++) {
    for (int u = 0; u < FAKE_UNITS; u++) {
      for (int t = 0; t < fake_units[u].num_tensors; t++) {
        for (size_t i = 0; i < fake_count(u, t); i++) {
          const float value = fake_value(kind, u, t, i);
          append(&image, &value, sizeof value);
        }
      }
    }
  }
  const uint64_t hash = XXH3_64bits(image.bytes, image.count);
  append(&image, &hash, sizeof hash);
  assert_int_equal(image.count, FILE_BYTES);
  return image;
}

static Image read_image(const char *file) {
  Image image = {malloc(2 * FILE_BYTES), 0};
  assert_non_null(image.bytes);
  FILE *in = fopen(file, "rb");
  assert_non_null(in);
  image.count = fread(image.bytes, 1, 2 * FILE_BYTES, in);
  assert_int_equal(fclose(in), 0);
  return image;
}

// Whatever stage and number of ranks write it, the file is the same, and every stage and number of ranks reads it.
static void test_format(void **state) {
  (void)state;
  ZeroLossScaler scaler = {.scale = 2048.0, .iteration = 70, .last_overflow = 66, .hysteresis_left = 1};
  for (int stage = 0; stage < STAGES; stage++) {
    ZeroEngine *e = filled_engine(stage, ZERO_F16);
    scaler.rules = zero_scaler(e).rules;
    zero_set_scaler(e, &scaler);
    zero_set_steps(e, 65, 5);
    Image expected = image_of_filled(65, 5, &scaler);
    EXPECT(zero_save(e, path, RECORD, sizeof RECORD) == 0);
    Image found = read_image(path);
    EXPECT(found.count == expected.count);
    EXPECT(memcmp(found.bytes, expected.bytes, expected.count) == 0);
    over_ranks(0.0); // all have read it
    if (comm->rank == 0) check_write(path, expected.bytes, expected.count);
    over_ranks(0.0);
    ZeroEngine *loaded = empty_engine(stage, ZERO_F16);
    char record[sizeof RECORD] = "";
    ZeroErrors errors = {NULL, 0};
    EXPECT(zero_load(loaded, path, record, sizeof record, &errors) == 0);
    EXPECT(errors.count == 0 && memcmp(record, RECORD, sizeof record) == 0);
    EXPECT(zero_state_hash(loaded) == zero_state_hash(e));
    EXPECT(zero_steps_applied(loaded) == 65 && zero_steps_skipped(loaded) == 5);
    EXPECT(same_scaler(loaded, e));
    free(found.bytes);
    free(expected.bytes);
    zero_destroy(loaded);
    zero_destroy(e);
  }
  finish_test();
}

// ---------------------------------------------------------------- there and back

// Two steps and one that is skipped, saved; at every stage the run goes on with the same bits.
static void check_round_trip(ZeroType type, int from) {
  ZeroEngine *e = filled_engine(from, type);
  train_step(e, 0, 0.0f);
  train_step(e, 1, INFINITY);
  train_step(e, 2, 0.0f);
  EXPECT(zero_steps_applied(e) == 2 && zero_steps_skipped(e) == 1);
  const uint64_t saved = zero_state_hash(e);
  EXPECT(zero_save(e, path, NULL, 0) == 0);
  EXPECT(zero_state_hash(e) == saved);
  ZeroEngine *loaded[STAGES];
  for (int to = 0; to < STAGES; to++) {
    loaded[to] = empty_engine(to, type);
    ZeroErrors errors = {NULL, 0};
    EXPECT(zero_state_hash(loaded[to]) != saved);
    EXPECT(zero_load(loaded[to], path, NULL, 0, &errors) == 0 && errors.count == 0);
    EXPECT(zero_state_hash(loaded[to]) == saved);
    EXPECT(differing_parameters(loaded[to], e, type) == 0);
    EXPECT(zero_steps_applied(loaded[to]) == 2 && zero_steps_skipped(loaded[to]) == 1);
    EXPECT(type != ZERO_F16 || same_scaler(loaded[to], e));
  }
  train_step(e, 3, 0.0f);
  EXPECT(zero_state_hash(e) != saved);
  for (int to = 0; to < STAGES; to++) {
    train_step(loaded[to], 3, 0.0f);
    EXPECT(zero_state_hash(loaded[to]) == zero_state_hash(e));
    zero_destroy(loaded[to]);
  }
  zero_destroy(e);
}

static void test_round_trip(void **state) {
  (void)state;
  for (int type = 0; type < NUM_TYPES; type++) {
    for (int stage = 0; stage < STAGES; stage++) check_round_trip(TYPES[type], stage);
  }
  finish_test();
}

// The scale of an fp16 run is taken by fp16 runs with a dynamic scale; rules stay those of the run.
static void test_scaler_rules(void **state) {
  (void)state;
  ZeroEngine *e = filled_engine(0, ZERO_F16);
  train_step(e, 0, INFINITY);
  train_step(e, 1, INFINITY); // hysteresis 2: halves now
  EXPECT(zero_scaler(e).scale == 32768.0);
  EXPECT(zero_save(e, path, NULL, 0) == 0);
  ZeroConfig config = config_of(0, ZERO_F16);
  config.loss_scaling.window = 7;
  ZeroErrors errors = {NULL, 0};
  ZeroEngine *dynamic = zero_initialize(&config, fake_units, FAKE_UNITS, comm, device);
  EXPECT(zero_load(dynamic, path, NULL, 0, &errors) == 0);
  EXPECT(same_scaler(dynamic, e) && zero_scaler(dynamic).rules.window == 7);
  config.loss_scaling.scale = 128.0;
  ZeroEngine *constant = zero_initialize(&config, fake_units, FAKE_UNITS, comm, device);
  EXPECT(zero_load(constant, path, NULL, 0, &errors) == 0);
  EXPECT(zero_scaler(constant).scale == 128.0);
  // from a run without a scale: the initial one
  ZeroEngine *single = filled_engine(0, ZERO_F32);
  EXPECT(zero_save(single, path, NULL, 0) == 0);
  ZeroEngine *fresh = empty_engine(0, ZERO_F16);
  ZeroLossScaler untouched = zero_scaler(fresh);
  EXPECT(zero_load(fresh, path, NULL, 0, &errors) == 0);
  EXPECT(zero_scaler(fresh).scale == untouched.scale && zero_scaler(fresh).iteration == untouched.iteration);
  EXPECT(errors.count == 0);
  zero_destroy(e);
  zero_destroy(dynamic);
  zero_destroy(constant);
  zero_destroy(single);
  zero_destroy(fresh);
  finish_test();
}

// ---------------------------------------------------------------- bad files

// The file is refused on all ranks, each with one line that has both texts, and nothing has changed.
static void expect_refused(ZeroEngine *e, const char *file, const char *text) {
  char record[sizeof RECORD];
  memset(record, 'x', sizeof record);
  ZeroErrors errors = {NULL, 0};
  const uint64_t before = zero_state_hash(e);
  EXPECT(zero_load(e, file, record, sizeof record, &errors) == -1);
  EXPECT(errors.count == 1);
  EXPECT(zero_state_hash(e) == before);
  EXPECT(zero_steps_applied(e) == 0 && zero_steps_skipped(e) == 0);
  for (size_t i = 0; i < sizeof record; i++) EXPECT(record[i] == 'x');
  if (errors.count == 1 && (!strstr(errors.lines[0], text) || strncmp(errors.lines[0], file, strlen(file)) != 0)) {
    fprintf(stderr, "'%s' is not in: %s\n", text, errors.lines[0]);
    wrong++;
  }
  check_clear(&errors);
}

// Writes a file for all ranks.
static void write_for_all(const void *bytes, size_t count) {
  over_ranks(0.0); // nobody reads the last one any more
  if (comm->rank == 0) check_write(path, bytes, count);
  over_ranks(0.0);
}

static void expect_refused_bytes(ZeroEngine *e, const Image *image, size_t count, const char *text) {
  write_for_all(image->bytes, count);
  expect_refused(e, path, text);
}

// One bit of one byte turned.
static void expect_refused_flip(ZeroEngine *e, const Image *image, size_t at, const char *text) {
  image->bytes[at] ^= 1;
  expect_refused_bytes(e, image, image->count, text);
  image->bytes[at] ^= 1;
}

static void test_damaged(void **state) {
  (void)state;
  for (int stage = 0; stage < STAGES; stage += 3) {
    ZeroEngine *e = filled_engine(stage, ZERO_F32);
    const ZeroLossScaler scaler = zero_scaler(e);
    Image image = image_of_filled(3, 4, &scaler);
    expect_refused_bytes(e, &image, 0, "has 0 bytes, a checkpoint has more than 88; it was cut off");
    expect_refused_bytes(e, &image, HEADER_BYTES, "has 80 bytes, a checkpoint has more than 88");
    expect_refused_bytes(e, &image, DESCRIPTION_AT + 100, "too few for its header's description of");
    expect_refused_bytes(e, &image, STATE_AT + 1000, "this model's checkpoint has");
    expect_refused_bytes(e, &image, FILE_BYTES - 1, "it was cut off or damaged; use an older checkpoint");
    append(&image, "", 1);
    expect_refused_bytes(e, &image, FILE_BYTES + 1, "this model's checkpoint has");
    image.count--;
    expect_refused_flip(e, &image, 0, "does not begin with ZEROCKPT");
    expect_refused_flip(e, &image, 8, "is of version 0, this program reads version 1");
    expect_refused_flip(e, &image, 12, "it was damaged"); // the type
    expect_refused_flip(e, &image, 16 + 7, "too few for its header's description");
    expect_refused_flip(e, &image, 24, "its record of the run has");
    expect_refused_flip(e, &image, 32, "it was damaged"); // steps
    expect_refused_flip(e, &image, HEADER_BYTES - 1, "it was damaged");
    expect_refused_flip(e, &image, DESCRIPTION_AT, "it was damaged");
    for (size_t at = 0; at < HEADER_BYTES; at++) expect_refused_flip(e, &image, at, "");
    expect_refused_flip(e, &image, RECORD_AT, "it was damaged");
    expect_refused_flip(e, &image, STATE_AT, "it was damaged");
    expect_refused_flip(e, &image, (STATE_AT + HASH_AT) / 2, "it was damaged");
    expect_refused_flip(e, &image, HASH_AT - 1, "it was damaged");
    expect_refused_flip(e, &image, HASH_AT, "it was damaged");
    expect_refused_flip(e, &image, FILE_BYTES - 1, "it was damaged; use an older checkpoint");
    char other[CHECK_PATH];
    check_path(other, dir, "missing.bin");
    expect_refused(e, other, "cannot be opened: No such file");
    expect_refused(e, dir, "is not a regular file");
    // and as it was, it loads: the refusals came from the damage
    write_for_all(image.bytes, image.count);
    char record[sizeof RECORD];
    ZeroErrors errors = {NULL, 0};
    EXPECT(zero_load(e, path, record, sizeof record, &errors) == 0 && errors.count == 0);
    EXPECT(zero_steps_applied(e) == 3 && zero_steps_skipped(e) == 4);
    free(image.bytes);
    zero_destroy(e);
  }
  finish_test();
}

// One rank cannot read the file: none loads it, and that rank alone has an error.
static void test_one_rank_fails(void **state) {
  (void)state;
  ZeroEngine *e = filled_engine(3, ZERO_F32), *loaded = empty_engine(3, ZERO_F32);
  EXPECT(zero_save(e, path, NULL, 0) == 0);
  char missing[CHECK_PATH];
  check_path(missing, dir, "missing.bin");
  const int failing = comm->rank == comm->size - 1;
  ZeroErrors errors = {NULL, 0};
  const uint64_t before = zero_state_hash(loaded);
  EXPECT(zero_load(loaded, failing ? missing : path, NULL, 0, &errors) == -1);
  EXPECT(errors.count == failing);
  EXPECT(zero_state_hash(loaded) == before);
  check_clear(&errors);
  zero_destroy(e);
  zero_destroy(loaded);
  finish_test();
}

// A model that differs in one tensor of one unit, or has one unit fewer.
static void test_other_model(void **state) {
  (void)state;
  ZeroEngine *e = filled_engine(1, ZERO_F32);
  EXPECT(zero_save(e, path, RECORD, sizeof RECORD) == 0);
  ZeroTensor tensors[FAKE_TENSORS];
  ZeroUnit units[FAKE_UNITS];
  memcpy(tensors, fake_tensors[1], sizeof tensors);
  memcpy(units, fake_units, sizeof units);
  units[1].tensors = tensors;
  tensors[1].shape[0] = 67; // the same number of elements
  tensors[1].shape[1] = 31;
  const ZeroConfig config = config_of(1, ZERO_F32);
  ZeroEngine *other = zero_initialize(&config, units, FAKE_UNITS, comm, device);
  expect_refused(other, path,
                 "another model: it has 'unit 1 first block, weight: 31 x 67' where this one has 'unit 1 "
                 "first block, weight: 67 x 31'");
  zero_destroy(other);
  other = zero_initialize(&config, fake_units, FAKE_UNITS - 1, comm, device);
  expect_refused(other, path, "it has 'unit 3 final norm, gain: 7' where this one has 'no more tensors'");
  EXPECT(zero_save(other, path, RECORD, sizeof RECORD) == 0);
  expect_refused(e, path, "it has 'no more tensors' where this one has 'unit 3 final norm, gain: 7'");
  zero_destroy(other);
  // the same model, saved with a record of another size
  EXPECT(zero_save(e, path, RECORD, 5) == 0);
  expect_refused(e, path, "its record of the run has 5 bytes, this program's has 23");
  zero_destroy(e);
  finish_test();
}

// ---------------------------------------------------------------- files that cannot be written

static void limit_file_size(rlim_t bytes) {
  struct rlimit limit;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
  limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

// -1 on all ranks; rank 0 says one line of error that has the texts; training goes on as if nothing had been tried.
// limit: the largest file that can be written, bytes.
static void expect_unwritable(const char *file, const char *text, rlim_t limit) {
  char said[CHECK_PATH], message[CHECK_TEXT];
  check_path(said, dir, "stderr.txt");
  ZeroEngine *e = filled_engine(3, ZERO_F32), *without = filled_engine(3, ZERO_F32);
  const int stderr_copy = dup(STDERR_FILENO);
  assert_true(stderr_copy >= 0);
  if (comm->rank == 0 && freopen(said, "w", stderr) == NULL) abort();
  limit_file_size(limit);
  const int result = zero_save(e, file, RECORD, sizeof RECORD);
  limit_file_size(RLIM_INFINITY);
  fflush(stderr);
  assert_true(dup2(stderr_copy, STDERR_FILENO) >= 0);
  close(stderr_copy);
  EXPECT(result == -1);
  if (comm->rank == 0) {
    check_read(said, message);
    EXPECT(strncmp(message, "error: ", 7) == 0);
    EXPECT(strstr(message, file) && strstr(message, text));
    if (!strstr(message, text)) fprintf(stderr, "'%s' is not in: %s\n", text, message);
  }
  train_step(e, 0, 0.0f);
  train_step(without, 0, 0.0f);
  EXPECT(zero_state_hash(e) == zero_state_hash(without));
  zero_destroy(e);
  zero_destroy(without);
}

static void test_unwritable(void **state) {
  (void)state;
  char file[CHECK_PATH];
  check_path(file, dir, "no/such/folder.bin");
  expect_unwritable(file, "No such file or directory", RLIM_INFINITY);
  expect_unwritable(dir, "Is a directory", RLIM_INFINITY);
  expect_unwritable("/dev/full", "No space left on device", RLIM_INFINITY);
  finish_test();
}

// A limit that is met in the middle of the state; what was written is given back.
static void test_file_size_limit(void **state) {
  (void)state;
  const size_t limit = STATE_AT + 30000;
  char text[CHECK_TEXT];
  signal(SIGXFSZ, SIG_IGN); // then write says it
  snprintf(text, sizeof text, "at byte %zu: File too large", limit);
  expect_unwritable(path, text, limit);
  struct stat info;
  EXPECT(stat(path, &info) == 0 && info.st_size == 0);
  finish_test();
}

// A small file system that is full before the state is whole.
static void test_full_disk(void **state) {
  (void)state;
  char disk[CHECK_PATH], file[CHECK_PATH];
  check_path(disk, dir, "disk");
  check_path(file, dir, "disk/state.bin");
  double mounted = 0.0;
  if (comm->rank == 0) {
    assert_int_equal(mkdir(disk, 0777), 0);
    mounted = mount("tmpfs", disk, "tmpfs", 0, "size=32k") == 0;
  }
  mounted = over_ranks(mounted);
  if (mounted == 0.0) {
    if (comm->rank == 0) print_message("skip full disk: a tmpfs cannot be mounted here\n");
    skip();
  }
  expect_unwritable(file, "No space left on device", RLIM_INFINITY);
  if (comm->rank == 0) EXPECT(umount(disk) == 0);
  finish_test();
}

// ---------------------------------------------------------------- main

// Steps [first, first + 2) of the same global batch, whatever the number of ranks.
static void train_and_print(ZeroEngine *e, size_t first) {
  for (size_t s = first; s < first + 2; s++) {
    fake_backward(e, comm, FAKE_ROUGH_STEPS + s, GLOBAL_BATCH / comm->size, 0.0f, 0);
    zero_step(e, LEARNING_RATE);
    unsigned long long hash = zero_state_hash(e);
    if (comm->rank == 0) printf("step %zu state %016llx\n", s + 1, hash);
  }
}

static int run_for_shell(int loads, const char *file, int stage, int type) {
  ZeroErrors errors = {NULL, 0};
  ZeroEngine *e = loads ? empty_engine(stage, TYPES[type]) : filled_engine(stage, TYPES[type]);
  if (loads) zero_load(e, file, NULL, 0, &errors);
  zero_errors_check(&errors, comm);
  if (!loads) train_and_print(e, 0);
  const int failed = loads ? 0 : zero_save(e, file, NULL, 0);
  train_and_print(e, 2);
  zero_destroy(e);
  return failed;
}

static int run_suite(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_format, setup, teardown),
      cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
      cmocka_unit_test_setup_teardown(test_scaler_rules, setup, teardown),
      cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
      cmocka_unit_test_setup_teardown(test_one_rank_fails, setup, teardown),
      cmocka_unit_test_setup_teardown(test_other_model, setup, teardown),
      cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
      cmocka_unit_test_setup_teardown(test_file_size_limit, setup, teardown),
      cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
  };
  return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}

int main(int argc, char **argv) {
  alarm(TIME_LIMIT_SECONDS); // a deadlock ends here
  comm = zero_comm_create(NULL);
  device = zero_device_cpu();
  int failed = 0;
  if (argc == 5) {
    failed = run_for_shell(strcmp(argv[1], "--load") == 0, argv[2], atoi(argv[3]), atoi(argv[4]));
  } else {
    // Quiet: what is wrong on another rank is on stderr, and the verdict is rank 0's too.
    if (comm->rank != 0 && freopen("/dev/null", "w", stdout) == NULL) return ZERO_EXIT_FAILED;
    if (comm->rank != 0) cmocka_set_message_output(CM_OUTPUT_TAP);
    failed = run_suite();
  }
  zero_comm_destroy(comm);
  zero_device_destroy(device);
  return failed != 0;
}
