// JSON with comments, for the configuration file: read whole, checked, parsed by cJSON.
//
// A scan before cJSON blanks the comments out in place, so that what cJSON reports is at the same offset in the text
// as it was written, and reports what cJSON would let pass.
#include "config_json.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "words.h"

enum { FOUND_BYTES = 32 }; // of what an error quotes

char *zero_json_load(const char *path, size_t *bytes, ZeroErrors *errors) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) {
    zero_errors_add(errors, "--config: %s cannot be opened: %s; give a file that exists", path, strerror(errno));
    return NULL;
  }
  char *text = malloc(ZERO_JSON_MAX_BYTES + 1);
  if (text == NULL) zero_fatal("no memory for %s", path);
  // one byte more than allowed tells a file that is too large
  const size_t got = fread(text, 1, ZERO_JSON_MAX_BYTES + 1, file);
  const int failed = ferror(file) ? errno : 0;
  fclose(file);
  if (failed) {
    zero_errors_add(errors, "--config: %s cannot be read: %s; give a file of JSON", path, strerror(failed));
  } else if (got > ZERO_JSON_MAX_BYTES) {
    zero_errors_add(errors, "--config: %s is larger than %d KiB; give a configuration file", path,
                    ZERO_JSON_MAX_BYTES >> 10);
  } else {
    text[got] = '\0';
    *bytes = got;
    return text;
  }
  free(text);
  return NULL;
}

// ---------------------------------------------------------------------------------------------------
// Where and what

typedef struct {
  const char *name;
  const char *text; // as it was written
  char *blanked;    // the copy without comments; ends in a zero byte
  size_t bytes;
  ZeroErrors *errors;
} Source;

// One error at text[at], as NAME:LINE:COLUMN, both from 1 and columns in characters.
static void add_error(const Source *s, size_t at, const char *found, const char *hint) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i < at; i++) {
    const unsigned char c = (unsigned char)s->text[i];
    if (c == '\n') {
      line++;
      column = 1;
    } else if ((c & 0xC0) != 0x80) { // the later bytes of a UTF-8 character take no column
      column++;
    }
  }
  zero_errors_add(s->errors, "%s:%zu:%zu: found %s; %s", s->name, line, column, found, hint);
}

static int is_word(char c) {
  return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '+' || c == '.';
}

// The word or the character at text[at], for a message.
static void quote(const Source *s, size_t at, char found[FOUND_BYTES]) {
  if (at >= s->bytes) {
    strcpy(found, "the end of the file");
    return;
  }
  size_t length = 1;
  if (is_word(s->blanked[at])) {
    while (is_word(s->blanked[at + length])) length++;
  } else {
    while (((unsigned char)s->blanked[at + length] & 0xC0) == 0x80) length++;
  }
  char word[FOUND_BYTES] = "", text[FOUND_BYTES - 2];
  snprintf(word, sizeof word, "%.*s", (int)(length < FOUND_BYTES ? length : FOUND_BYTES - 1), s->blanked + at);
  snprintf(found, FOUND_BYTES, "'%s'", zero_printable(text, sizeof text, word));
}

// The last character before text[at] that is no space; '\0': there is none.
static char character_before(const Source *s, size_t at) {
  while (at > 0 && isspace((unsigned char)s->blanked[at - 1])) at--;
  if (at == 0) return '\0';
  return s->blanked[at - 1];
}

// What to do about the character at which cJSON stopped.
static const char *hint_at(const Source *s, size_t at) {
  const char last = character_before(s, at), here = s->blanked[at];
  if (at >= s->bytes) return last == '\0' ? "write the settings between { and }" : "close what is open with } or ]";
  if ((here == '}' || here == ']') && last == ',') return "take away the comma before it";
  if (here == '\'') return "write texts in double quotes";
  if (isalpha((unsigned char)here)) return "words stand in double quotes, all but true, false and null";
  if (here == '"' && last != '\0' && strchr("\"}]0123456789els", last)) return "put a comma before it";
  if (here == '\\') return "write \\ in a text as \\\\";
  if (last == '\0' && here != '{') return "write the settings between { and }";
  return "this is not JSON: write \"key\": value, with commas between";
}

// ---------------------------------------------------------------------------------------------------
// The scan

// Blanks out the comment that begins at `at`; returns the index behind it, or 0 and an error if it has no end.
static size_t blank_comment(const Source *s, size_t at) {
  char *text = s->blanked;
  if (strncmp(text + at, "/*", 2) != 0) {
    size_t end = at;
    for (; end < s->bytes && text[end] != '\n'; end++) text[end] = ' ';
    return end;
  }
  const char *close = strstr(text + at + 2, "*/");
  if (close == NULL) {
    add_error(s, at, "a comment that does not end", "close it with */");
    return 0;
  }
  const size_t end = (size_t)(close - text) + 2;
  memset(text + at, ' ', end - at);
  return end;
}

// The index behind the text in quotes that begins at `at`, or 0 and an error.
static size_t skip_text(const Source *s, size_t at) {
  for (size_t i = at + 1; i < s->bytes && s->blanked[i] != '\n'; i++) {
    const char *here = s->blanked + i;
    if (*here == '"') return i + 1;
    if (strncmp(here, "\\u0000", 6) == 0) {
      add_error(s, i, "'\\u0000'", "a text cannot hold a zero character");
      return 0;
    }
    if (*here == '\\' && here[1] != '\n') i++;
  }
  add_error(s, at, "a text that does not end on its line", "close it with a double quote");
  return 0;
}

static size_t skip_digits(const char *text, size_t at) {
  while (isdigit((unsigned char)text[at])) at++;
  return at;
}

// The index behind the number that begins at `at` by JSON's grammar (RFC 8259, section 6), or 0 and an error.
static size_t skip_number(const Source *s, size_t at) {
  const char *text = s->blanked;
  const size_t digits = text[at] == '-' ? at + 1 : at;
  size_t end = skip_digits(text, digits);
  int bad = end == digits || (text[digits] == '0' && end > digits + 1);
  if (text[end] == '.') {
    const size_t fraction = end + 1;
    end = skip_digits(text, fraction);
    bad |= end == fraction;
  }
  if (text[end] == 'e' || text[end] == 'E') {
    const size_t exponent = end + (text[end + 1] == '+' || text[end + 1] == '-' ? 2 : 1);
    end = skip_digits(text, exponent);
    bad |= end == exponent;
  }
  if (!bad && !is_word(text[end])) return end;
  char found[FOUND_BYTES];
  quote(s, at, found);
  add_error(s, at, found, "write a number as 12, -0.5 or 1e-3");
  return 0;
}

// Blanks out all comments and checks what cJSON does not. Returns 0, or -1 with one error.
static int scan(const Source *s) {
  char found[FOUND_BYTES];
  for (size_t i = 0; i < s->bytes; i++) {
    const unsigned char c = (unsigned char)s->text[i];
    if (c >= ' ' || c == '\n' || c == '\r' || c == '\t') continue;
    snprintf(found, sizeof found, "the byte 0x%02x", c);
    add_error(s, i, found, "write control characters as \\u escapes; is this a text file?");
    return -1;
  }
  int depth = 0;
  for (size_t i = 0; i < s->bytes;) {
    const char c = s->blanked[i], next = s->blanked[i + 1];
    size_t after = i + 1;
    if (c == '#' || (c == '/' && (next == '/' || next == '*'))) {
      after = blank_comment(s, i);
    } else if (c == '"') {
      after = skip_text(s, i);
    } else if (c == '-' || isdigit((unsigned char)c)) {
      after = skip_number(s, i);
    } else if (isalpha((unsigned char)c)) {
      while (is_word(s->blanked[after])) after++; // left to cJSON; digits within are no numbers
    } else if (c == '{' || c == '[') {
      if (++depth > ZERO_JSON_MAX_DEPTH) {
        snprintf(found, sizeof found, "level %d of blocks", depth);
        add_error(s, i, found, "files of this kind have a few; take the needless ones away");
        return -1;
      }
    } else if (c == '}' || c == ']') {
      depth--;
    }
    if (after == 0) return -1;
    i = after;
  }
  return 0;
}

// ---------------------------------------------------------------------------------------------------

// The character that stopped cJSON. Where it expected a key and found no quote it reports the character behind: that
// case is one where a brace or a comma stands before the character before.
static size_t where_stopped(const Source *s, size_t at) {
  if (at == 0 || s->blanked[at] == '\\' || isspace((unsigned char)s->blanked[at - 1])) return at;
  const char key = s->blanked[at - 1], last = character_before(s, at - 1);
  const int after_brace = last == '{' && key != '}' && key != '"';
  const int after_comma = last == ',' && key != '[' && key != '{' && key != '"';
  return after_brace || after_comma ? at - 1 : at;
}

// The parsed text, or NULL with one error.
static cJSON *parse(const Source *s) {
  const char *end = NULL;
  const int to_the_end = 1;
  cJSON *root = cJSON_ParseWithLengthOpts(s->blanked, s->bytes + 1, &end, to_the_end);
  if (root != NULL && cJSON_IsObject(root)) return root;
  char found[FOUND_BYTES];
  size_t at = root == NULL && end != NULL ? where_stopped(s, (size_t)(end - s->blanked)) : 0;
  while (at < s->bytes && isspace((unsigned char)s->blanked[at])) at++;
  quote(s, at, found);
  add_error(s, at, found, root == NULL ? hint_at(s, at) : "write the settings between { and }");
  cJSON_Delete(root);
  return NULL;
}

cJSON *zero_json_parse(const char *name, const char *text, size_t bytes, ZeroErrors *errors) {
  Source s = {.name = name, .text = text, .bytes = bytes, .errors = errors};
  s.blanked = malloc(bytes + 1);
  if (s.blanked == NULL) zero_fatal("no memory for %s", name);
  memcpy(s.blanked, text, bytes);
  s.blanked[bytes] = '\0';
  cJSON *root = scan(&s) == 0 ? parse(&s) : NULL;
  free(s.blanked);
  return root;
}
