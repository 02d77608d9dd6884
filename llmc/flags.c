// Command-line flags: one table gives the parser, its errors and the help text.
#include "flags.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../zero/words.h"

enum { LONGEST_FLAG = 64 }; // of names that are compared for suggestions

// ---------------------------------------------------------------------------------------------------
// Finding a flag

static int same_name(const char *known, const char *name, size_t length) {
  return known != NULL && strlen(known) == length && memcmp(known, name, length) == 0;
}

// The flag of this name or alias, or NULL.
static const Flag *find_flag(const Flag *flags, size_t count, const char *name, size_t length) {
  for (size_t i = 0; i < count; i++) {
    if (flags[i].name == NULL) continue;
    if (same_name(flags[i].name, name, length) || same_name(flags[i].alias, name, length)) return &flags[i];
  }
  return NULL;
}

static const char *without_dashes(const char *flag) {
  return flag + strspn(flag, "-");
}

// The known flag that is nearest to what was written, or NULL. A third of the letters may differ, so that
// one-letter flags are near only where dashes or case differ.
static const char *nearest_flag(const Flag *flags, size_t count, const char *argument) {
  char name[LONGEST_FLAG + 1];
  const size_t length = strcspn(argument, "="); // -b=4 means -b
  if (length > LONGEST_FLAG) return NULL;
  memcpy(name, argument, length);
  name[length] = '\0';
  const char *nearest = NULL;
  size_t least = (length - strspn(name, "-") + 1) / 3 + 1;
  for (size_t i = 0; i < count; i++) {
    const char *const spellings[2] = {flags[i].name, flags[i].alias};
    for (int k = 0; k < 2; k++) {
      if (flags[i].name == NULL || spellings[k] == NULL || strlen(spellings[k]) > LONGEST_FLAG) continue;
      const size_t distance = zero_edit_distance(without_dashes(spellings[k]), without_dashes(name));
      if (distance < least) {
        least = distance;
        nearest = spellings[k];
      }
    }
  }
  return nearest;
}

// ---------------------------------------------------------------------------------------------------
// Values

static int is_number(const char *text) {
  char *end = NULL;
  (void)strtod(text, &end);
  return end != text && *end == '\0';
}

// The whole of `text` as a number; strtoll and strtod would also take leading spaces.
static int parse_int(const char *text, int64_t *value) {
  if (text[0] == '\0' || isspace((unsigned char)text[0])) return -1;
  char *end = NULL;
  errno = 0;
  const long long parsed = strtoll(text, &end, 10);
  if (errno != 0 || *end != '\0') return -1;
  *value = parsed;
  return 0;
}

static int parse_double(const char *text, double *value) {
  if (text[0] == '\0' || isspace((unsigned char)text[0])) return -1;
  char *end = NULL;
  const double parsed = strtod(text, &end); // too large becomes infinite, too small 0 or denormal
  if (*end != '\0' || !isfinite(parsed)) return -1;
  *value = parsed;
  return 0;
}

static void check_range(const Flag *flag, const char *name, const char *text, double value, ZeroErrors *errors) {
  if (value >= flag->min && value <= flag->max) return;
  zero_errors_add(errors, "%s: %s is out of range; give a number from %.10g to %.10g", name, text, flag->min,
                  flag->max);
}

int flags_choice(const char *choices, const char *word) {
  const size_t length = strlen(word);
  int place = 0;
  for (const char *at = choices;; place++) {
    const size_t choice = strcspn(at, "|");
    if (choice == length && memcmp(at, word, length) == 0) return place;
    if (at[choice] == '\0') return -1;
    at += choice + 1;
  }
}

// Puts the value where the flag's target is. name: as it was spelled.
static void set_value(const Flag *flag, const char *name, const char *text, ZeroErrors *errors, FILE *notices) {
  switch (flag->kind) {
    case FLAG_INT: {
      int64_t value = 0;
      if (parse_int(text, &value) != 0) {
        zero_errors_add(errors, "%s: '%s' is not a whole number; give one from %.10g to %.10g", name, text, flag->min,
                        flag->max);
        return;
      }
      check_range(flag, name, text, (double)value, errors);
      *(int64_t *)flag->target = value;
      return;
    }
    case FLAG_FLOAT: {
      double value = 0;
      if (parse_double(text, &value) != 0) {
        zero_errors_add(errors, "%s: '%s' is not a number; give one from %.10g to %.10g", name, text, flag->min,
                        flag->max);
        return;
      }
      check_range(flag, name, text, value, errors);
      *(double *)flag->target = value;
      return;
    }
    case FLAG_STRING:
      if (flag->choices != NULL && flags_choice(flag->choices, text) < 0) {
        zero_errors_add(errors, "%s: '%s' is not known; give one of %s", name, text, flag->choices);
        return;
      }
      *(const char **)flag->target = text;
      return;
    case FLAG_SWITCH:
      *(int *)flag->target = 1;
      return;
    case FLAG_IGNORED:
      if (notices != NULL) fprintf(notices, "notice: %s means nothing here and is ignored\n", name);
      return;
  }
}

// ---------------------------------------------------------------------------------------------------
// The line

// argv[at] is no flag: an error. Returns how many arguments it takes with it.
static int report_unknown(const Flag *flags, size_t count, int argc, char **argv, int at, ZeroErrors *errors) {
  const char *name = argv[at];
  if (name[0] != '-') {
    zero_errors_add(errors, "'%s' stands where a flag should; write flags as -x VALUE (--help lists them)", name);
    return 1;
  }
  const char *nearest = nearest_flag(flags, count, name);
  if (nearest != NULL) {
    zero_errors_add(errors, "%s: unknown flag; did you mean %s?", name, nearest);
  } else {
    zero_errors_add(errors, "%s: unknown flag; --help lists those that there are", name);
  }
  // What follows is most likely its value, no second error.
  const int has_value = at + 1 < argc && (argv[at + 1][0] != '-' || is_number(argv[at + 1]));
  return has_value ? 2 : 1;
}

void flags_parse(const Flag *flags, size_t count, int argc, char **argv, int *given, ZeroErrors *errors,
                 FILE *notices) {
  memset(given, 0, count * sizeof *given);
  for (int at = 1; at < argc;) {
    const char *argument = argv[at];
    // --flag=value: the name ends before the sign, in long flags only
    const char *equals = strncmp(argument, "--", 2) == 0 ? strchr(argument, '=') : NULL;
    const size_t length = equals != NULL ? (size_t)(equals - argument) : strlen(argument);
    const Flag *flag = find_flag(flags, count, argument, length);
    if (flag == NULL) {
      at += report_unknown(flags, count, argc, argv, at, errors);
      continue;
    }
    const char *name = same_name(flag->name, argument, length) ? flag->name : flag->alias;
    const char *value = equals != NULL ? equals + 1 : NULL;
    at++;
    if (flag->kind == FLAG_SWITCH && value != NULL) {
      zero_errors_add(errors, "%s: takes no value, found '%s'; write %s alone", name, value, name);
      continue;
    }
    if (flag->kind != FLAG_SWITCH && value == NULL) {
      // Another flag is no value; "-1" is one.
      if (at == argc || find_flag(flags, count, argv[at], strlen(argv[at])) != NULL) {
        zero_errors_add(errors, "%s: its value is missing, found %s; write %s %s", name,
                        at == argc ? "the end of the line" : argv[at], name, flag->value ? flag->value : "VALUE");
        continue;
      }
      value = argv[at++];
    }
    given[flag - flags] = 1;
    set_value(flag, name, value, errors, notices);
  }
}

// ---------------------------------------------------------------------------------------------------
// Help

// "-z, --zero-stage N" into text; returns its length.
static int format_usage(const Flag *flag, char *text, size_t bytes) {
  return snprintf(text, bytes, "%s%s%s%s%s", flag->name, flag->alias ? ", " : "", flag->alias ? flag->alias : "",
                  flag->value ? " " : "", flag->value ? flag->value : "");
}

void flags_help(FILE *out, const Flag *flags, size_t count) {
  char usage[2 * LONGEST_FLAG];
  int width = 0;
  for (size_t i = 0; i < count; i++) {
    const int length = flags[i].name != NULL ? format_usage(&flags[i], usage, sizeof usage) : 0;
    if (length > width) width = length;
  }
  for (size_t i = 0; i < count; i++) {
    if (flags[i].name == NULL) {
      fprintf(out, "%s%s\n", i > 0 ? "\n" : "", flags[i].help);
      continue;
    }
    format_usage(&flags[i], usage, sizeof usage);
    fprintf(out, "  %-*s  %s", width, usage, flags[i].help);
    if (flags[i].choices != NULL) fprintf(out, " (%s)", flags[i].choices);
    fputc('\n', out);
  }
}
