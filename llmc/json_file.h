// JSON files that other programs wrote: read whole, within a limit, and what cJSON does not check.
#ifndef LLMC_JSON_FILE_H
#define LLMC_JSON_FILE_H

#include <cjson/cJSON.h>
#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { JSON_NAME_BYTES = 160 }; // of a name from a file, made fit to print

// The object in the file, to be freed with cJSON_Delete; NULL and an error if the file cannot be read, is larger than
// `limit` bytes, is no JSON object, or has a key twice at its top. flag: "-e", for messages. Comments are let pass.
cJSON *json_file_read(const char *path, size_t limit, const char *flag, ZeroErrors *errors);

// One error for each key that the object has more than once. place: where it is, "-e gpt2/config.json". Returns how
// many.
int json_check_keys(const cJSON *object, const char *place, ZeroErrors *errors);

// Is the item a whole number from 0 to 2^53, up to where all are exact? Then it goes to *value.
int json_whole_number(const cJSON *item, size_t *value);

// The item as it stands in the file, made fit to print. Returns text.
const char *json_found(const cJSON *item, char text[JSON_NAME_BYTES]);

#ifdef __cplusplus
}
#endif
#endif
