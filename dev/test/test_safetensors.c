// safetensors: files and indexes that are in order give their values, all others their exact error; what is written
// reads again.
#include "../../llmc/safetensors.h"

#include <math.h>
#include <sys/stat.h>

#include "check.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define AGAIN "; copy or download it again"

static char dir[CHECK_PATH], path[CHECK_PATH];

static int setup(void **state) {
  (void)state;
  check_make_dir(dir);
  check_path(path, dir, SAFETENSORS_FILE);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  check_remove_dir(dir);
  return 0;
}

// A file with this header, its right length before it, and this data behind it.
static void write_file(const char *file, const char *header, const void *data, size_t data_bytes) {
  const size_t length = strlen(header);
  unsigned char *bytes = malloc(8 + length + data_bytes);
  assert_non_null(bytes);
  for (int i = 0; i < 8; i++) bytes[i] = (unsigned char)(length >> (8 * i));
  memcpy(bytes + 8, header, length);
  if (data_bytes > 0) memcpy(bytes + 8 + length, data, data_bytes);
  check_write(file, bytes, 8 + length + data_bytes);
  free(bytes);
}

// The errors of the folder are exactly these lines, where @ stands for the folder.
static void expect_errors(const char *const *expected, size_t count) {
  SafeTensors safe;
  ZeroErrors errors = {0};
  assert_int_equal(safetensors_open(dir, "-e", &safe, &errors), -1);
  for (size_t i = 0; i < count || i < (size_t)errors.count; i++) {
    char line[CHECK_TEXT] = "";
    const char *at = i < count ? strchr(expected[i], '@') : NULL;
    if (at != NULL) {
      const int before = (int)(at - expected[i]);
      const char *again = strchr(at + 1, '@'); // the folder may be there twice
      const int between = again != NULL ? (int)(again - at - 1) : (int)strlen(at + 1);
      snprintf(line, sizeof line, "%.*s%s%.*s%s%s", before, expected[i], dir, between, at + 1, again ? dir : "",
               again ? again + 1 : "");
    }
    const char *found = i < (size_t)errors.count ? errors.lines[i] : "no error";
    if (strcmp(found, line) != 0) fail_msg("error %zu:\nfound    %s\nexpected %s", i, found, line);
  }
  check_clear(&errors);
  safetensors_close(&safe);
}

static void expect_error(const char *expected) {
  expect_errors(&expected, 1);
}

// ---------------------------------------------------------------- reading

static void check_values(const SafeTensors *safe, const char *name, const float *expected, size_t count) {
  const SafeTensor *tensor = safetensors_find(safe, name);
  assert_non_null(tensor);
  float found[8];
  assert_true(count <= COUNT(found));
  for (size_t first = 0; first <= count; first++) {
    safetensors_read(tensor, first, count - first, found);
    assert_memory_equal(found, expected + first, (count - first) * sizeof *found);
  }
}

static void test_types(void **state) {
  (void)state;
  static const float single[6] = {1.5f, -2.25f, 0.0f, 3e38f, 1e-40f, 0.1f}, half[3] = {1.0f, -2.0f, 0.15625f};
  unsigned char data[24 + 6 + 6 + 4 + 3];
  static const uint16_t bf16[3] = {0x3f80, 0xc000, 0x3e20}, f16[3] = {0x3c00, 0xc000, 0x3100};
  memcpy(data, single, 24);
  memcpy(data + 24, bf16, 6);
  memcpy(data + 30, f16, 6);
  memset(data + 36, 0, 7);
  write_file(
      path,
      "{\"__metadata__\":{\"format\":\"pt\"},\"b\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[24,30]},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
      "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[36,40]},"
      "\"none\":{\"dtype\":\"F32\",\"shape\":[4,0],\"data_offsets\":[36,36]},"
      "\"mask\":{\"dtype\":\"BOOL\",\"shape\":[1,1,3],\"data_offsets\":[40,43]},"
      "\"h\":{\"dtype\":\"F16\",\"shape\":[3,1],\"data_offsets\":[30,36]}}   ",
      data, sizeof data);
  SafeTensors safe;
  ZeroErrors errors = {0};
  ZeroType type;
  safetensors_open(dir, "-e", &safe, &errors);
  check_no_error(&errors);
  assert_int_equal(safe.count, 6);
  check_values(&safe, "a", single, 6);
  check_values(&safe, "b", half, 3);
  check_values(&safe, "h", half, 3);
  check_values(&safe, "scalar", (const float[]){0.0f}, 1);
  check_values(&safe, "none", NULL, 0);
  const SafeTensor *a = safetensors_find(&safe, "a");
  assert_int_equal(a->ndim, 2);
  assert_int_equal(a->shape[0], 2);
  assert_int_equal(a->shape[1], 3);
  assert_string_equal(a->path, path);
  assert_int_equal(safetensors_find(&safe, "scalar")->ndim, 0);
  assert_int_equal(safetensors_float_type(safetensors_find(&safe, "mask"), &type), 0);
  assert_int_equal(safetensors_float_type(safetensors_find(&safe, "h"), &type), 1);
  assert_int_equal(type, ZERO_F16);
  assert_null(safetensors_find(&safe, "c"));
  assert_int_equal(safetensors_equal(a, a), 1);
  assert_int_equal(safetensors_equal(safetensors_find(&safe, "b"), safetensors_find(&safe, "h")), 0);
  safetensors_close(&safe);
  safetensors_close(&safe);
}

// ---------------------------------------------------------------- bad files

#define PLACE "-e @/model.safetensors: "
#define ONE(text) "{\"x\":{" text "}}"
#define GOOD "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"

// Each with 8 bytes of data.
static const struct {
  const char *header, *expected;
} BAD[] = {
    {"", PLACE "its header does not begin with {; is it a safetensors file?"},
    {" {}", PLACE "its header does not begin with {; is it a safetensors file?"},
    {"[1]", PLACE "its header does not begin with {; is it a safetensors file?"},
    {"{\"x\":", "-e @/model.safetensors, header:1:6: found the end of the file; close what is open with } or ]"},
    {"{}", PLACE "there are 8 bytes of no tensor behind the header" AGAIN},
    {"{\"x\":1}", PLACE "x: found 1; expected {\"dtype\": …, \"shape\": …, \"data_offsets\": …}"},
    {"{\"x\\n\":1}", PLACE "x?: found 1; expected {\"dtype\": …, \"shape\": …, \"data_offsets\": …}"},
    {ONE("\"shape\":[2],\"data_offsets\":[0,8]"),
     PLACE "x: dtype is missing; expected F32, BF16, F16 or another type of the format"},
    {ONE("\"dtype\":\"Q4\",\"shape\":[2],\"data_offsets\":[0,8]"),
     PLACE "x: dtype is \"Q4\"; expected F32, BF16, F16 or another type of the format"},
    {ONE("\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]"),
     PLACE "x: dtype is 4; expected F32, BF16, F16 or another type of the format"},
    {ONE("\"dtype\":\"F32\",\"data_offsets\":[0,8]"),
     PLACE "x: shape is missing; expected a list of at most 8 whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]"),
     PLACE "x: shape is 2; expected a list of at most 8 whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]"),
     PLACE "x: shape is [2.5]; expected a list of at most 8 whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]"),
     PLACE "x: shape is [-2]; expected a list of at most 8 whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[1e400],\"data_offsets\":[0,8]"),
     PLACE "x: shape is [null]; expected a list of at most 8 whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]"),
     PLACE "x: shape is [[2]]; expected a list of at most 8 whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]"),
     PLACE "x: shape is [1,1,1,1,1,1,1,1,2]; expected a list of at most 8 whole numbers"},
    // 2^62 elements of 4 bytes are 0 modulo 2^64
    {ONE("\"dtype\":\"F32\",\"shape\":[2147483648,2147483648],\"data_offsets\":[0,8]"),
     PLACE "x: shape [2147483648,2147483648] has more bytes than any file" AGAIN},
    {ONE("\"dtype\":\"F32\",\"shape\":[2]"), PLACE "x: data_offsets is missing; expected two whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]"),
     PLACE "x: data_offsets is [0]; expected two whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]"),
     PLACE "x: data_offsets is [0,8,8]; expected two whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0.5,8]"),
     PLACE "x: data_offsets is [0.5,8]; expected two whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":{\"a\":0,\"b\":8}"),
     PLACE "x: data_offsets is {\"a\":0,\"b\":8}; expected two whole numbers"},
    {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]"),
     PLACE "x: data_offsets [8, 0] end before they begin" AGAIN},
    {ONE("\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]"),
     PLACE "x: data_offsets [0, 12] reach over the end of the file's 8 bytes of data" AGAIN},
    {ONE("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[9007199254740984,9007199254740992]"),
     PLACE "x: data_offsets [9007199254740984, 9007199254740992] reach over the end of the file's 8 bytes of "
           "data" AGAIN},
    {ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]"),
     PLACE "x: data_offsets [0, 8] are 8 bytes, its dtype and shape need 4" AGAIN},
    {ONE("\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]"),
     PLACE "x: data_offsets [0, 8] are 8 bytes, its dtype and shape need 4" AGAIN},
    {ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"),
     PLACE "x: there are 4 bytes of no tensor before its data" AGAIN},
    {ONE("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"),
     PLACE "there are 4 bytes of no tensor behind x" AGAIN},
    {"{\"x\":{" GOOD "},\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
     PLACE "y: its data overlaps that of x by 4 bytes" AGAIN},
    {"{\"x\":{" GOOD "},\"y\":{" GOOD "}}", NULL}, // which of the two is named first is not said: below
    {"{\"x\":{" GOOD "},\"x\":{" GOOD "}}", PLACE "'x' is there more than once; keep one of them"},
    {"{\"x\":{\"dtype\":1," GOOD "}}", PLACE "x: 'dtype' is there more than once; keep one of them"},
    {"{\"__metadata__\":[],\"x\":{" GOOD "}}", PLACE "__metadata__: found []; expected an object of texts"},
    {"{\"__metadata__\":{\"format\":1},\"x\":{" GOOD "}}", PLACE "__metadata__: 'format' is 1; expected a text"},
    {"{\"__metadata__\":{\"a\":\"\",\"a\":\"\"},\"x\":{" GOOD "}}",
     PLACE "__metadata__: 'a' is there more than once; keep one of them"},
    {"{\"x\\u0000y\":{" GOOD "}}",
     "-e @/model.safetensors, header:1:4: found '\\u0000'; a text cannot hold a zero character"},
    {"{\"x\":{" GOOD "},}", "-e @/model.safetensors, header:1:55: found '}'; take away the comma before it"},
    {"{\"x\":{\"dtype\":\"F32\",\"shape\":[02],\"data_offsets\":[0,8]}}",
     "-e @/model.safetensors, header:1:30: found '02'; write a number as 12, -0.5 or 1e-3"},
};

static void test_bad_headers(void **state) {
  (void)state;
  for (size_t i = 0; i < COUNT(BAD); i++) {
    write_file(path, BAD[i].header, "12345678", 8);
    if (BAD[i].expected != NULL) expect_error(BAD[i].expected);
  }
  // the same place twice: one overlaps the other whole
  write_file(path, "{\"x\":{" GOOD "},\"y\":{" GOOD "}}", "12345678", 8);
  SafeTensors safe;
  ZeroErrors errors = {0};
  assert_int_equal(safetensors_open(dir, "-e", &safe, &errors), -1);
  check_one_error(&errors, "its data overlaps that of", "by 8 bytes", NULL);
}

static void test_several_problems(void **state) {
  (void)state;
  static const char *const expected[] = {PLACE "x: dtype is 1; expected F32, BF16, F16 or another type of the format",
                                         PLACE "y: data_offsets is missing; expected two whole numbers"};
  write_file(path, "{\"x\":{\"dtype\":1},\"y\":{\"dtype\":\"F32\",\"shape\":[2]}}", "12345678", 8);
  expect_errors(expected, COUNT(expected));
}

static void test_deep_headers(void **state) {
  (void)state;
  char header[2 * CHECK_TEXT] = "{\"x\":";
  for (int i = 0; i < 1000; i++) strcat(header, "[");
  write_file(path, header, NULL, 0);
  SafeTensors safe;
  ZeroErrors errors = {0};
  assert_int_equal(safetensors_open(dir, "-e", &safe, &errors), -1);
  check_one_error(&errors, path, "found level 33 of blocks", NULL);
}

static void test_bad_lengths(void **state) {
  (void)state;
  static const unsigned char longest[10] = {255, 255, 255, 255, 255, 255, 255, 255, '{', '}'};
  static const unsigned char longer[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
  check_write(path, "1234567", 7);
  expect_error(PLACE "has 7 bytes, the length of its header alone needs 8" AGAIN);
  check_write(path, longest, sizeof longest);
  expect_error(PLACE "its header of 18446744073709551615 bytes reaches over the end of the file of 10 bytes" AGAIN);
  check_write(path, longer, sizeof longer);
  expect_error(PLACE "its header of 3 bytes reaches over the end of the file of 10 bytes" AGAIN);
  // one byte more than is read, in a file that has them (without blocks on the disk)
  static const unsigned char large[9] = {1, 0, 0, 2, 0, 0, 0, 0, '{'};
  check_write(path, large, sizeof large);
  assert_int_equal(truncate(path, 8 + SAFETENSORS_MAX_HEADER + 1), 0);
  expect_error(PLACE "its header has 33554433 bytes, at most 33554432 are read; is it a model's file?");
  assert_int_equal(unlink(path), 0);
  expect_error(
      "-e @: has neither model.safetensors nor model.safetensors.index.json; save the model with transformers' "
      "save_pretrained, or convert it");
  assert_int_equal(mkdir(path, 0700), 0);
  expect_error(PLACE "cannot be opened: it is a directory; copy or download the whole folder again");
}

static void read_all(void *tensor) {
  float out[4];
  safetensors_read(tensor, 0, 2, out);
}

static void read_behind(void *tensor) {
  float out[4];
  safetensors_read(tensor, 1, 2, out);
}

static void test_failures_while_running(void **state) {
  (void)state;
  write_file(path, "{\"x\":{" GOOD "}}", "12345678", 8);
  SafeTensors safe;
  ZeroErrors errors = {0};
  safetensors_open(dir, "-e", &safe, &errors);
  check_no_error(&errors);
  SafeTensor tensor = *safetensors_find(&safe, "x");
  check_fatal(read_behind, &tensor, path, "elements 1 + 2 of x are outside the tensor of 2", NULL);
  assert_int_equal(truncate(path, 20), 0);
  check_fatal(read_all, &tensor, path, "8 bytes of x at byte", "the file ends there; was the file changed?", NULL);
  safetensors_close(&safe);
}

// ---------------------------------------------------------------- several files

#define INDEX "-e @/model.safetensors.index.json: "

static void write_index(const char *text) {
  char index[CHECK_PATH];
  check_path(index, dir, SAFETENSORS_INDEX);
  check_write(index, text, strlen(text));
}

// one.safetensors has x (1, 2), two.safetensors has y (3) and z (4).
static void write_two_files(void) {
  static const float values[4] = {1, 2, 3, 4};
  char file[CHECK_PATH];
  check_path(file, dir, "one.safetensors");
  write_file(file, "{\"x\":{" GOOD "}}", values, 8);
  check_path(file, dir, "two.safetensors");
  write_file(file,
             "{\"z\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]},"
             "\"y\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
             values + 2, 8);
}

#define MAP(text) "{\"metadata\":{\"total_size\":16},\"weight_map\":{" text "}}"
#define X "\"x\":\"one.safetensors\""
#define YZ "\"y\":\"two.safetensors\",\"z\":\"two.safetensors\""

static void test_index(void **state) {
  (void)state;
  write_two_files();
  write_index(MAP(YZ "," X));
  SafeTensors safe;
  ZeroErrors errors = {0};
  safetensors_open(dir, "-e", &safe, &errors);
  check_no_error(&errors);
  assert_int_equal(safe.count, 3);
  check_values(&safe, "x", (const float[]){1, 2}, 2);
  check_values(&safe, "y", (const float[]){3}, 1);
  check_values(&safe, "z", (const float[]){4}, 1);
  check_contains(safetensors_find(&safe, "y")->path, "/two.safetensors");
  check_contains(safe.path, "/model.safetensors.index.json");
  safetensors_close(&safe);
  // a single file comes before an index
  write_file(path, "{\"w\":{" GOOD "}}", "12345678", 8);
  safetensors_open(dir, "-e", &safe, &errors);
  check_no_error(&errors);
  assert_int_equal(safe.count, 1);
  safetensors_close(&safe);
}

static const struct {
  const char *index, *expected;
} BAD_INDEX[] = {
    {"", "-e @/model.safetensors.index.json:1:1: found the end of the file; write the settings between { and }"},
    {"{}", INDEX "weight_map: found none, expected {\"NAME\": \"FILE\", …}; copy or download the index again"},
    {"{\"weight_map\":3}",
     INDEX "weight_map: found something else, expected {\"NAME\": \"FILE\", …}; copy or download the index again"},
    {MAP(""),
     INDEX "weight_map: found an empty one, expected {\"NAME\": \"FILE\", …}; copy or download the index again"},
    {MAP(X "," X "," YZ), INDEX "weight_map: 'x' is there more than once; keep one of them"},
    {"{\"weight_map\":{" X "},\"weight_map\":{" X "}}",
     INDEX "'weight_map' is there more than once; keep one of them"},
    {MAP(X "," YZ ",\"w\":3"), INDEX "weight_map: w: found 3; write the name of the file that it is in"},
    {MAP("\"x\":\"/etc/one.safetensors\"," YZ),
     INDEX "weight_map: x: found the file \"/etc/one.safetensors\"; it must be a plain name in the same folder"},
    {MAP("\"x\":\"../one.safetensors\"," YZ),
     INDEX "weight_map: x: found the file \"../one.safetensors\"; it must be a plain name in the same folder"},
    {MAP("\"x\":\"..\"," YZ),
     INDEX "weight_map: x: found the file \"..\"; it must be a plain name in the same folder"},
    {MAP("\"x\":\"\"," YZ), INDEX "weight_map: x: found the file \"\"; it must be a plain name in the same folder"},
    {MAP("\"x\":\"gone.safetensors\"," YZ),
     "-e @/gone.safetensors: cannot be opened: No such file or directory; copy or download the whole folder again"},
    {MAP(X "," YZ ",\"w\":\"one.safetensors\""),
     INDEX "w: is not in one.safetensors, where weight_map has it; copy or download that file again"},
    {MAP("\"x\":\"two.safetensors\",\"y\":\"two.safetensors\",\"z\":\"two.safetensors\""),
     INDEX "x: is not in two.safetensors, where weight_map has it; copy or download that file again"},
    {MAP(X ",\"z\":\"two.safetensors\",\"y\":\"one.safetensors\""),
     "-e @/two.safetensors: y: weight_map of @/model.safetensors.index.json has it in one.safetensors; copy or "
     "download both again"},
    {MAP(X ",\"y\":\"two.safetensors\""),
     "-e @/two.safetensors: z: is not in weight_map of @/model.safetensors.index.json; copy or download both again"},
};

static void test_bad_index(void **state) {
  (void)state;
  write_two_files();
  for (size_t i = 0; i < COUNT(BAD_INDEX); i++) {
    write_index(BAD_INDEX[i].index);
    expect_error(BAD_INDEX[i].expected);
  }
}

static void test_too_many_files(void **state) {
  (void)state;
  enum { ENTRY = 32 };
  static char text[ENTRY * (SAFETENSORS_MAX_FILES + 3)] = "{\"weight_map\":{";
  size_t at = strlen(text);
  for (int i = 0; i <= SAFETENSORS_MAX_FILES; i++) {
    at += (size_t)snprintf(text + at, sizeof text - at, "%s\"%d\":\"f%d\"", i > 0 ? "," : "", i, i);
  }
  snprintf(text + at, sizeof text - at, "}}");
  write_index(text);
  expect_error(INDEX "weight_map: names 513 files, at most 512 can be used; save the model in larger files");
}

// ---------------------------------------------------------------- writing

enum { LARGE = 70001 }; // elements: several pieces of the conversion, and an odd number of bytes in half types

static float value_of(size_t i) {
  return ((float)(i * 2654435761u % 100003) - 50001.0f) / 16.0f;
}

// Nearest with `bits` significant bits; from the middle the one whose last bit is 0. The values are far from the ends
// of all three types.
static float nearest(float x, int bits) {
  int exponent;
  const double mantissa = ldexp(frexp(x, &exponent), bits);
  return (float)ldexp(nearbyint(mantissa), exponent - bits);
}

static void write_and_read(ZeroType type, int bits, const char *dtype) {
  static const SafeTensorPlan plans[] = {{"small", 2, {2, 3}}, {"large", 1, {LARGE, 0}}};
  float *values = malloc(LARGE * sizeof *values);
  assert_non_null(values);
  for (size_t i = 0; i < LARGE; i++) values[i] = value_of(i);
  char problem[CHECK_TEXT] = "";
  SafeTensorsWriter *writer = safetensors_create(path, type, plans, COUNT(plans));
  safetensors_append(writer, values, 6);
  safetensors_append(writer, values, 1);
  safetensors_append(writer, values + 1, LARGE - 1);
  if (safetensors_finish(writer, problem, sizeof problem) != 0) fail_msg("%s", problem);
  SafeTensors safe;
  ZeroErrors errors = {0};
  safetensors_open(dir, "-e", &safe, &errors);
  check_no_error(&errors);
  assert_int_equal(safe.count, 2);
  const SafeTensor *large = safetensors_find(&safe, "large"), *small = safetensors_find(&safe, "small");
  assert_string_equal(large->dtype, dtype);
  assert_int_equal(small->offset % 8, 0);
  assert_int_equal(small->shape[0] * 10 + small->shape[1], 23);
  float found[LARGE];
  safetensors_read(large, 0, LARGE, found);
  size_t rounded = 0;
  for (size_t i = 0; i < LARGE; i++) {
    assert_true(found[i] == nearest(values[i], bits));
    rounded += found[i] != values[i];
  }
  assert_true(type == ZERO_F32 ? rounded == 0 : rounded > LARGE / 2);
  safetensors_read(small, 3, 3, found);
  assert_true(found[2] == nearest(values[5], bits));
  safetensors_close(&safe);
  free(values);
}

static void test_writing(void **state) {
  (void)state;
  write_and_read(ZERO_F32, 24, "F32");
  write_and_read(ZERO_BF16, 8, "BF16");
  write_and_read(ZERO_F16, 11, "F16");
}

static void expect_unwritable(const char *file, const char *reason) {
  static const SafeTensorPlan plan = {"x", 1, {2, 0}};
  static const float values[2] = {1, 2};
  char problem[CHECK_TEXT] = "", expected[CHECK_TEXT];
  SafeTensorsWriter *writer = safetensors_create(file, ZERO_F32, &plan, 1);
  safetensors_append(writer, values, 2);
  assert_int_equal(safetensors_finish(writer, problem, sizeof problem), -1);
  snprintf(expected, sizeof expected, "%s: cannot be written, at byte 0: %s; make room or give another folder", file,
           reason);
  assert_string_equal(problem, expected);
}

static void finish_too_early(void *file) {
  static const SafeTensorPlan plan = {"x", 1, {2, 0}};
  char problem[CHECK_TEXT];
  safetensors_finish(safetensors_create(file, ZERO_F32, &plan, 1), problem, sizeof problem);
}

static void test_unwritable(void **state) {
  (void)state;
  char file[CHECK_PATH];
  check_path(file, dir, "no/model.safetensors");
  expect_unwritable(file, "No such file or directory");
  expect_unwritable(dir, "Is a directory");
  check_path(file, dir, "full");
  assert_int_equal(symlink("/dev/full", file), 0); // what is incomplete is removed: not the device itself
  expect_unwritable(file, "No space left on device");
  assert_int_equal(access(file, F_OK), -1);
  check_fatal(finish_too_early, path, path, "bytes were given of the", NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_types, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bad_headers, setup, teardown),
      cmocka_unit_test_setup_teardown(test_several_problems, setup, teardown),
      cmocka_unit_test_setup_teardown(test_deep_headers, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bad_lengths, setup, teardown),
      cmocka_unit_test_setup_teardown(test_failures_while_running, setup, teardown),
      cmocka_unit_test_setup_teardown(test_index, setup, teardown),
      cmocka_unit_test_setup_teardown(test_bad_index, setup, teardown),
      cmocka_unit_test_setup_teardown(test_too_many_files, setup, teardown),
      cmocka_unit_test_setup_teardown(test_writing, setup, teardown),
      cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
  };
  return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
