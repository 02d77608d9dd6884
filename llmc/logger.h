// main.log in llm.c's form, %.9g figures: `s:19 trl:2.34567809 lr:0.0003 norm:0.5432`, `s:20 tel:1.48321`.
#ifndef LLMC_LOGGER_H
#define LLMC_LOGGER_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct Logger Logger;

// Creates dir/main.log (dir exists: output_dir_make); an existing log is moved aside to main.log.1, .2, … (the first
// free number), with a line on stdout. Call on rank 0 alone, after the start-up checks. Ends all ranks on failure.
Logger *logger_open(const char *dir);
// To go on with dir/main.log from this step: its lines of that step and later ones are dropped.
Logger *logger_resume(const char *dir, size_t step);
void logger_train(Logger *, size_t step, double loss, double lr, double norm); // step from 0; NULL logger: no-op
void logger_val(Logger *, size_t step, double loss);
void logger_close(Logger *);

#ifdef __cplusplus
}
#endif
#endif
