// --export, whatever the model is: what is there already stays, and a file gets its name when it is whole.
#ifndef LLMC_EXPORT_FILES_H
#define LLMC_EXPORT_FILES_H

#include <stddef.h>

#include "../zero/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EXPORT_FLAG "--export"
#define EXPORT_TMP ".tmp" // behind the names of files that are not whole yet

// folder/name + ending, to be freed with zero_free.
char *export_path(const char *folder, const char *name, const char *ending);
// Where the file or folder lies: "a/b.bin" -> "a", "b.bin" -> ".". To be freed with zero_free.
char *export_parent(const char *path);

// Before training: is the path free? Can the folder be written to, and has it none of these files?
void export_check_absent(const char *path, ZeroErrors *errors);
void export_check_folder(const char *folder, const char *const *names, size_t count, ZeroErrors *errors);

// After it: from path + EXPORT_TMP to path, and the name to the disk. Returns 0, or -1 and the reason in `problem`.
int export_give_name(const char *path, char *problem, size_t problem_bytes);
// The same for these files of the folder, in their order, which is that in which they become visible.
int export_give_names(const char *folder, const char *const *names, size_t count, char *problem,
                      size_t problem_bytes);

#ifdef __cplusplus
}
#endif
#endif
