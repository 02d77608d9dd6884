// The configuration file's walk: sets what the parsed keys say, and collects everything that is wrong with them.
#ifndef ZERO_CONFIG_WALK_H
#define ZERO_CONFIG_WALK_H

#include <cjson/cJSON.h>

#include "config_file.h"

#ifdef __cplusplus
extern "C" {
#endif

// Walks the object `root` of the file `name` along zero_config_keys; *out must hold the defaults. Returns the paths
// of all keys that have no effect here, separated by ", ", to be freed with free(), or NULL if there is none.
char *zero_config_walk(const char *name, const cJSON *root, ZeroConfigFile *out, ZeroErrors *errors);

#ifdef __cplusplus
}
#endif
#endif
