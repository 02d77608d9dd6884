// The configuration file's walk: sets what the parsed keys say, and collects everything that is wrong with them.
#include "config_walk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config_keys.h"
#include "words.h"

enum { PATH_BYTES = 1024, FOUND_BYTES = 64, EXPECTED_BYTES = 256 };

// A text that grows.
typedef struct {
  char *text;
  size_t length;
} Line;

typedef struct {
  const char *name; // of the file
  ZeroConfigFile *out;
  ZeroErrors *errors;
  char path[PATH_BYTES]; // of the key at hand: "fp16.enabled"
  Line unused;           // paths without effect, separated by ", "
  int below_unused;      // within a block that is listed as a whole
} Reader;

// ---------------------------------------------------------------------------------------------------
// Paths and messages

// Adds ".key" to the path; returns the length before, to go back to.
static size_t enter(Reader *r, const char *key) {
  const size_t length = strlen(r->path);
  char text[ZERO_LONGEST_WORD + 1];
  zero_printable(text, sizeof text, key);
  snprintf(r->path + length, PATH_BYTES - length, "%s%s", length > 0 ? "." : "", text);
  return length;
}

static void leave(Reader *r, size_t length) {
  r->path[length] = '\0';
}

static void append(Line *line, const char *text) {
  const size_t more = strlen(text);
  char *grown = realloc(line->text, line->length + more + 1);
  if (grown == NULL) zero_fatal("no memory for a message");
  memcpy(grown + line->length, text, more + 1);
  line->text = grown;
  line->length += more;
}

// What stands at a key, for a message.
static const char *describe(const cJSON *item, char found[FOUND_BYTES]) {
  char text[FOUND_BYTES - 2];
  if (cJSON_IsString(item)) {
    snprintf(found, FOUND_BYTES, "\"%s\"", zero_printable(text, sizeof text, item->valuestring));
  } else if (cJSON_IsNumber(item)) {
    snprintf(found, FOUND_BYTES, "%.10g", item->valuedouble);
  } else {
    strcpy(found, cJSON_IsTrue(item)    ? "true"
                  : cJSON_IsFalse(item) ? "false"
                  : cJSON_IsNull(item)  ? "null"
                  : cJSON_IsArray(item) ? "a list"
                                        : "an object");
  }
  return found;
}

static void expected_number(const ConfigKey *key, const char *what, char *out, size_t bytes) {
  if (key->max >= CONFIG_MAX_REAL || (key->kind == CONFIG_INT && key->max >= CONFIG_MAX_INT)) {
    snprintf(out, bytes, "%s from %.10g", what, key->min);
  } else {
    snprintf(out, bytes, "%s from %.10g to %.10g", what, key->min, key->max);
  }
}

// "one of a, b, c" from "a|b|c".
static void expected_word(const char *words, char *out, size_t bytes) {
  size_t length = (size_t)snprintf(out, bytes, "one of ");
  for (const char *c = words; *c != '\0' && length + 3 < bytes; c++) {
    if (*c == '|') {
      memcpy(out + length, ", ", 2);
      length += 2;
    } else {
      out[length++] = *c;
    }
  }
  out[length] = '\0';
}

// The error for a value that the key does not take.
static void wrong_value(Reader *r, const ConfigKey *key, const cJSON *item) {
  char found[FOUND_BYTES], expected[EXPECTED_BYTES] = "";
  switch (key->kind) {
    case CONFIG_BOOL:
      strcpy(expected, "true or false");
      break;
    case CONFIG_INT:
      expected_number(key, key->flags & CONFIG_EVEN ? "an even whole number" : "a whole number", expected,
                      sizeof expected);
      break;
    case CONFIG_REAL:
      expected_number(key, "a number", expected, sizeof expected);
      break;
    case CONFIG_TYPE:
      strcpy(expected, "one of fp32, bf16, fp16");
      break;
    case CONFIG_PAIR:
      expected_number(key, "a list of two numbers", expected, sizeof expected);
      break;
    case CONFIG_WORD:
      expected_word(key->words, expected, sizeof expected);
      break;
    case CONFIG_TEXT:
    case CONFIG_ANY:
      strcpy(expected, "a text in double quotes");
      break;
    case CONFIG_BLOCK:
    case CONFIG_TYPED:
      strcpy(expected, "an object { }");
      break;
  }
  char *end = NULL;
  const char *hint = "";
  if (cJSON_IsString(item) && (key->kind == CONFIG_INT || key->kind == CONFIG_REAL)) {
    (void)strtod(item->valuestring, &end);
    if (end != item->valuestring && *end == '\0') hint = "; take away the quotes";
  } else if (cJSON_IsString(item) && key->kind == CONFIG_BOOL) {
    if (!strcasecmp(item->valuestring, "true") || !strcasecmp(item->valuestring, "false")) {
      hint = "; without quotes, in small letters";
    }
  }
  zero_errors_add(r->errors, "%s: %s: found %s, expected %s%s%s", r->name, r->path, describe(item, found), expected,
                  key->flags & CONFIG_AUTO ? ", or \"auto\"" : "", hint);
}

// ---------------------------------------------------------------------------------------------------
// Unknown and duplicate keys

static const ConfigKey *find_key(const ConfigKey *keys, const char *name) {
  for (; keys->name != NULL; keys++) {
    if (strcmp(keys->name, name) == 0) return keys;
  }
  return NULL;
}

static const char *nearest_key(const ConfigKey *keys, const char *name) {
  const char *nearest = NULL;
  size_t least = (size_t)-1;
  for (; keys->name != NULL; keys++) {
    const size_t distance = zero_edit_distance(name, keys->name);
    if (distance < least && zero_words_near(name, keys->name)) {
      least = distance;
      nearest = keys->name;
    }
  }
  return nearest;
}

// The error for a key that is in no table: what it may have been meant to be, or which block has it.
static void unknown_key(Reader *r, const ConfigKey *keys, const char *name) {
  const char *nearest = nearest_key(keys, name);
  if (nearest != NULL) {
    zero_errors_add(r->errors, "%s: %s: unknown key; did you mean %s?", r->name, r->path, nearest);
    return;
  }
  for (const ConfigKey *block = zero_config_keys; block->name != NULL; block++) {
    if (block->kind == CONFIG_BLOCK && block->keys != keys && find_key(block->keys, name) != NULL) {
      zero_errors_add(r->errors, "%s: %s: unknown key here; write it as %s.%s", r->name, r->path, block->name, name);
      return;
    }
  }
  if (keys != zero_config_keys && find_key(zero_config_keys, name) != NULL) {
    zero_errors_add(r->errors, "%s: %s: unknown key here; write %s at the top level", r->name, r->path, name);
    return;
  }
  zero_errors_add(r->errors, "%s: %s: unknown key; take it away, or look for its spelling", r->name, r->path);
}

// How often the key stands among these items of an object and those behind.
static int count_key(const cJSON *items, const char *key) {
  int count = 0;
  for (; items != NULL; items = items->next) count += strcmp(items->string, key) == 0;
  return count;
}

// One error for each key that an object has more than once, at any depth.
static void check_duplicates(Reader *r, const cJSON *item) {
  for (const cJSON *child = item->child; child != NULL; child = child->next) {
    const char *key = child->string;
    const size_t length = enter(r, key != NULL ? key : "[]");                  // items of a list have none
    if (key != NULL && cJSON_GetObjectItemCaseSensitive(item, key) == child) { // the first of this name
      const int count = count_key(child, key);
      if (count > 1) {
        zero_errors_add(r->errors, "%s: %s: found %d times, expected once; keep one of them", r->name, r->path,
                        count);
      }
    }
    check_duplicates(r, child);
    leave(r, length);
  }
}

// ---------------------------------------------------------------------------------------------------
// Values

static int in_range(const ConfigKey *key, const cJSON *item) {
  const double value = cJSON_IsNumber(item) ? item->valuedouble : (double)NAN;
  if (!(value >= key->min && value <= key->max)) return 0;
  if (key->kind == CONFIG_INT && value != floor(value)) return 0;
  return !(key->flags & CONFIG_EVEN) || fmod(value, 2.0) == 0.0;
}

// Where the key stores its value; NULL: nowhere.
static void *target(const Reader *r, const ConfigKey *key) {
  return key->at > 0 ? (char *)r->out + key->at : NULL;
}

static void set_int(const Reader *r, const ConfigKey *key, int64_t value) {
  ZeroFileInt *to = target(r, key);
  if (to != NULL) *to = (ZeroFileInt){ZERO_KEY_GIVEN, value};
}

// The place of a word in "a|b|c", without case, or -1.
static int place_of_word(const char *words, const char *word) {
  const size_t length = strlen(word);
  for (int place = 0;; place++) {
    const size_t here = strcspn(words, "|");
    if (here == length && strncasecmp(words, word, length) == 0) return place;
    if (words[here] == '\0') return -1;
    words += here + 1;
  }
}

// PyTorch's names are taken too. Returns 0, or -1 if the name is not known.
static int parse_type(const char *name, ZeroType *type) {
  static const struct {
    const char *words;
    ZeroType type;
  } known[] = {{"fp32|float32|float|torch.float32", ZERO_F32},
               {"bf16|bfloat16|torch.bfloat16", ZERO_BF16},
               {"fp16|float16|half|torch.float16", ZERO_F16}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (place_of_word(known[i].words, name) < 0) continue;
    *type = known[i].type;
    return 0;
  }
  return -1;
}

static int read_pair(const Reader *r, const ConfigKey *key, const cJSON *item) {
  const cJSON *first = cJSON_IsArray(item) ? item->child : NULL, *second = first != NULL ? first->next : NULL;
  if (second == NULL || second->next != NULL || !in_range(key, first) || !in_range(key, second)) return -1;
  ZeroFilePair *to = target(r, key);
  if (to != NULL) *to = (ZeroFilePair){ZERO_KEY_GIVEN, {first->valuedouble, second->valuedouble}};
  return 0;
}

// A value that is no block; returns 0, or -1 if the key does not take it.
static int read_value(const Reader *r, const ConfigKey *key, const cJSON *item) {
  switch (key->kind) {
    case CONFIG_BOOL:
      if (!cJSON_IsBool(item)) return -1;
      set_int(r, key, cJSON_IsTrue(item));
      return 0;
    case CONFIG_INT:
      if (!in_range(key, item)) return -1;
      set_int(r, key, (int64_t)item->valuedouble);
      return 0;
    case CONFIG_REAL: {
      if (!in_range(key, item)) return -1;
      ZeroFileNumber *to = target(r, key);
      if (to != NULL) *to = (ZeroFileNumber){ZERO_KEY_GIVEN, item->valuedouble};
      return 0;
    }
    case CONFIG_PAIR:
      return read_pair(r, key, item);
    case CONFIG_TYPE: {
      ZeroType type = ZERO_F32;
      if (!cJSON_IsString(item) || parse_type(item->valuestring, &type) != 0) return -1;
      ZeroFileType *to = target(r, key);
      if (to != NULL) *to = (ZeroFileType){ZERO_KEY_GIVEN, type};
      return 0;
    }
    case CONFIG_WORD: {
      const int place = cJSON_IsString(item) ? place_of_word(key->words, item->valuestring) : -1;
      if (place < 0) return -1;
      set_int(r, key, place);
      return 0;
    }
    case CONFIG_TEXT:
      return cJSON_IsString(item) ? 0 : -1;
    case CONFIG_ANY:
    case CONFIG_BLOCK:
    case CONFIG_TYPED:
      break;
  }
  return 0;
}

// The word "auto"; 1 if the item was it and is dealt with. All stored values begin with their state.
static int read_auto(Reader *r, const ConfigKey *key, const cJSON *item) {
  if (!cJSON_IsString(item) || strcmp(item->valuestring, "auto") != 0) return 0;
  if (key->kind == CONFIG_TEXT || key->kind == CONFIG_ANY) return 0; // a text as any other
  if (key->flags & CONFIG_AUTO) {
    ZeroKeyState *state = target(r, key);
    if (state != NULL) *state = ZERO_KEY_AUTO;
  } else {
    wrong_value(r, key, item);
  }
  return 1;
}

// ---------------------------------------------------------------------------------------------------
// Blocks

static void read_item(Reader *r, const ConfigKey *key, const cJSON *item);

static void read_block(Reader *r, const ConfigKey *keys, const cJSON *object) {
  for (const cJSON *item = object->child; item != NULL; item = item->next) {
    const size_t length = enter(r, item->string);
    const ConfigKey *key = find_key(keys, item->string);
    if (key == NULL) {
      unknown_key(r, keys, item->string);
    } else {
      if (key->now != NULL && !(key->flags & CONFIG_MOVED) &&
          cJSON_GetObjectItemCaseSensitive(object, key->now) != NULL) {
        zero_errors_add(r->errors, "%s: %s: found beside %s, of which it is the older spelling; keep %s only",
                        r->name, r->path, key->now, key->now);
      }
      read_item(r, key, item);
    }
    leave(r, length);
  }
  for (const ConfigKey *key = keys; key->name != NULL; key++) {
    if (!(key->flags & CONFIG_REQUIRED) || cJSON_GetObjectItemCaseSensitive(object, key->name) != NULL) continue;
    zero_errors_add(r->errors, "%s: %s.%s: missing; give it%s", r->name, r->path, key->name,
                    key->flags & CONFIG_AUTO ? ", or \"auto\"" : "");
  }
}

static const ConfigVariant *find_variant(const ConfigVariant *variants, const char *type) {
  for (; variants->type != NULL; variants++) {
    if (strcasecmp(variants->type, type) == 0) return variants;
  }
  return NULL;
}

// "AdamW, Adam": the types that are available.
static void list_variants(const ConfigVariant *variants, char *out, size_t bytes) {
  size_t length = 0;
  for (; variants->type != NULL; variants++) {
    if (variants->keys == NULL) continue;
    length += (size_t)snprintf(out + length, bytes - length, "%s%s", length > 0 ? ", " : "", variants->type);
  }
}

static void set_variant(Reader *r, const ConfigKey *key, const ConfigVariant *variant) {
  if (strcmp(key->name, "scheduler") == 0) {
    r->out->scheduler.type = (ZeroSchedulerType)variant->id;
  } else {
    r->out->optimizer.given = 1;
    r->out->optimizer.adam = variant->id == CONFIG_ADAM;
    r->out->optimizer.one_bit = variant->id == CONFIG_ONE_BIT_OPTIMIZER;
  }
}

// The optimizer or scheduler block: type chooses the keys that params takes.
static void read_typed(Reader *r, const ConfigKey *key, const cJSON *object) {
  static const ConfigKey params_key = {.name = "params", .kind = CONFIG_BLOCK};
  read_block(r, key->keys, object);
  const cJSON *type = cJSON_GetObjectItemCaseSensitive(object, "type");
  const cJSON *params = cJSON_GetObjectItemCaseSensitive(object, "params");
  char known[EXPECTED_BYTES], found[FOUND_BYTES];
  list_variants(key->variants, known, sizeof known);
  const ConfigVariant *variant = cJSON_IsString(type) ? find_variant(key->variants, type->valuestring) : NULL;
  if (variant == NULL || variant->keys == NULL) {
    zero_errors_add(r->errors, "%s: %s.type: %s%s; give one of %s", r->name, r->path,
                    type == NULL ? "missing" : "found ", type == NULL ? "" : describe(type, found), known);
  }
  if (variant != NULL) set_variant(r, key, variant);
  static const cJSON no_params = {.type = cJSON_Object};
  if (params == NULL) params = &no_params;
  const size_t length = enter(r, "params");
  if (!cJSON_IsObject(params)) {
    wrong_value(r, &params_key, params);
  } else if (variant != NULL && variant->keys != NULL) {
    read_block(r, variant->keys, params);
  }
  leave(r, length);
}

// What true or false stands for where a block or a number is expected now.
static void read_old_bool(Reader *r, const ConfigKey *key, const cJSON *item) {
  const int is_stage = key->kind == CONFIG_INT || strcmp(key->name, "zero_optimization") == 0;
  if (is_stage) r->out->stage = (ZeroFileInt){ZERO_KEY_GIVEN, cJSON_IsTrue(item)};
}

static void read_item(Reader *r, const ConfigKey *key, const cJSON *item) {
  if (key->flags & CONFIG_MOVED) {
    zero_errors_add(r->errors, "%s: %s: does not belong here; use %s instead", r->name, r->path, key->now);
    return;
  }
  const int unused = (key->flags & CONFIG_UNUSED) != 0;
  if (unused && r->below_unused == 0) {
    if (r->unused.length > 0) append(&r->unused, ", ");
    append(&r->unused, r->path);
  }
  if (cJSON_IsNull(item) && (key->flags & CONFIG_NULL)) return;
  if (read_auto(r, key, item)) return;
  if (cJSON_IsBool(item) && (key->flags & CONFIG_OLD_BOOL)) {
    read_old_bool(r, key, item);
    return;
  }
  const int block = key->kind == CONFIG_BLOCK || key->kind == CONFIG_TYPED;
  if (block ? !cJSON_IsObject(item) : read_value(r, key, item) != 0) {
    wrong_value(r, key, item);
    return;
  }
  r->below_unused += unused;
  if (key->kind == CONFIG_BLOCK) {
    if (key->at != 0) *(int *)((char *)r->out + key->at) = 1;
    read_block(r, key->keys, item);
  }
  if (key->kind == CONFIG_TYPED) read_typed(r, key, item);
  r->below_unused -= unused;
}

char *zero_config_walk(const char *name, const cJSON *root, ZeroConfigFile *out, ZeroErrors *errors) {
  Reader r = {.name = name, .out = out, .errors = errors};
  check_duplicates(&r, root);
  read_block(&r, zero_config_keys, root);
  return r.unused.text;
}
