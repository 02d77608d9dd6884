// What the tests of the configuration file share: short ways to write one, and reading it.
#ifndef TEST_CONFIG_TEXT_H
#define TEST_CONFIG_TEXT_H

#include "../../zero/config_file.h"
#include "check.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))
#define NAME "ds.json"
#define Z "zero_optimization."
#define TOP(text) "{" text "}"
#define ZERO(text) "{\"zero_optimization\": {" text "}}"
#define FP16(text) "{\"fp16\": {" text "}}"
#define ADAM(text) "{\"optimizer\": {\"type\": \"AdamW\", \"params\": {" text "}}}"
#define SCHEDULER(type, text) "{\"scheduler\": {\"type\": \"" type "\", \"params\": {" text "}}}"

// Reading the text gives `expected`, 0 or -1.
static inline void read_text(const char *text, ZeroConfigFile *file, ZeroErrors *errors, int expected) {
  const int result = zero_config_text_read(NAME, text, strlen(text), file, errors);
  if (result != expected) {
    for (int i = 0; i < errors->count; i++) print_message("error: %s\n", errors->lines[i]);
    fail_msg("%d, expected %d, for: %s", result, expected, text);
  }
}

#endif
