// JSON with comments, for the configuration file: read whole, checked, parsed by cJSON.
#ifndef ZERO_CONFIG_JSON_H
#define ZERO_CONFIG_JSON_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ZERO_JSON_MAX_BYTES = 64 << 10, ZERO_JSON_MAX_DEPTH = 32 };

// The bytes of a file with a zero byte behind them, to be freed with free(); NULL and one error if it cannot be read
// or is larger than ZERO_JSON_MAX_BYTES.
char *zero_json_load(const char *path, size_t *bytes, ZeroErrors *errors);

// Parses text, called `name` in messages; comments (#, // and /* */) count as spaces. The result is to be freed with
// cJSON_Delete. NULL and one error with line and column if this is no JSON object. Stricter than cJSON: no control
// characters, no numbers such as 01, no \u0000, at most ZERO_JSON_MAX_DEPTH levels.
cJSON *zero_json_parse(const char *name, const char *text, size_t bytes, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
