// The keys of DeepSpeed's configuration file: where each may stand, what it takes, and what it sets here.
#ifndef ZERO_CONFIG_KEYS_H
#define ZERO_CONFIG_KEYS_H

#include <stddef.h>

#include "config_file.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
  CONFIG_BOOL,  // ZeroFileInt
  CONFIG_INT,   // ZeroFileInt
  CONFIG_REAL,  // ZeroFileNumber
  CONFIG_TYPE,  // ZeroFileType: fp32, bf16, fp16 and PyTorch's names for them
  CONFIG_PAIR,  // ZeroFilePair: a list of two numbers
  CONFIG_WORD,  // ZeroFileInt: the place in `words`
  CONFIG_TEXT,  // any text
  CONFIG_ANY,   // not looked into
  CONFIG_BLOCK, // an object with `keys`
  CONFIG_TYPED  // an object {type, params}, whose type chooses among `variants`
} ConfigKind;

enum {
  CONFIG_UNUSED = 1,    // DeepSpeed knows it, here it has no effect yet: named in the warning, with all below it
  CONFIG_AUTO = 2,      // takes "auto"
  CONFIG_NULL = 4,      // null is the same as leaving it out
  CONFIG_OLD_BOOL = 8,  // a block or number that older files switch with true or false
  CONFIG_EVEN = 16,     // of even numbers only
  CONFIG_REQUIRED = 32, // an error if the block is there without it
  CONFIG_MOVED = 64     // an error: `now` says what to use instead
};

typedef struct ConfigVariant ConfigVariant;
typedef struct ConfigKey ConfigKey;
struct ConfigKey {
  const char *name; // NULL ends a table
  ConfigKind kind;
  unsigned flags;
  size_t at;                     // offset in ZeroConfigFile of what it sets, of a BLOCK an int set to 1; 0: nothing
  double min, max;               // INT, REAL and each of a PAIR
  const char *words;             // WORD: "log|linear"
  const char *now;               // the spelling that replaced this one, a key of the same block; or NULL
  const ConfigKey *keys;         // BLOCK, TYPED
  const ConfigVariant *variants; // TYPED
};

// A type of optimizer or scheduler.
struct ConfigVariant {
  const char *type; // NULL ends a table
  int id;
  const ConfigKey *keys; // of params; NULL: the type is not available here
};

// Of whole numbers and steps: all up to it are exact in a double.
#define CONFIG_MAX_INT 9007199254740992.0
#define CONFIG_MAX_REAL 1e300

extern const ConfigKey zero_config_keys[]; // the top level

// Identifiers of optimizer types; those of schedulers are ZeroSchedulerType.
enum { CONFIG_ADAMW, CONFIG_ADAM, CONFIG_OTHER_OPTIMIZER, CONFIG_ONE_BIT_OPTIMIZER };

#ifdef __cplusplus
}
#endif
#endif
