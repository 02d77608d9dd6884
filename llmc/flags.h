// Command-line flags: one table gives the parser, its errors and the help text.
#ifndef LLMC_FLAGS_H
#define LLMC_FLAGS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  FLAG_INT,    // int64_t *
  FLAG_FLOAT,  // double *
  FLAG_STRING, // const char **
  FLAG_SWITCH, // int *, takes no value: --help
  FLAG_IGNORED // no target: llm.c's flag that means nothing here; takes a value; a notice, not an error
} FlagKind;

typedef struct {
  const char *name;  // "-b"
  const char *alias; // another spelling or NULL
  FlagKind kind;
  void *target;
  double min, max;     // legal range of INT and FLOAT
  const char *choices; // STRING: legal words separated by '|', or NULL
  const char *value;   // name of the value in the help text: "FILE", "N"
  const char *help;    // one line, with the default in words
} Flag;

// Parses argv[1..]; the last of a repeated flag wins; values may be negative numbers. Unknown flags, missing
// values, words for numbers, numbers out of range, unknown choices: one error each, with the nearest known
// flag where one is near. given[i] becomes 1 for each flag of the table that was on the line. Notices for
// ignored flags go to `notices` (NULL: dropped).
void flags_parse(const Flag *flags, size_t count, int argc, char **argv, int *given, ZeroErrors *errors,
                 FILE *notices);
// The place, from 0, of a word in "a|b|c"; -1: it is none of them.
int flags_choice(const char *choices, const char *word);
// The aligned table; a section heading is a Flag with name NULL and its text in help.
void flags_help(FILE *, const Flag *flags, size_t count);

#ifdef __cplusplus
}
#endif
#endif
