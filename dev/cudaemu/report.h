// How the emulator says what it found: one line `error: FILE:LINE: kernel 'K', block (x,y,z), thread (x,y,z): …`, the
// place of the launch, who waits where; then the program ends with exit code 2.
#ifndef CUDAEMU_REPORT_H
#define CUDAEMU_REPORT_H

#include "include/cudaemu/launch.h"

// file NULL: no place but that of the launch is known.
__attribute__((noreturn, format(printf, 3, 4))) void cudaemu_fail(const char *file, int line, const char *format,
                                                                  ...);
// From here on reports name this launch; NULL: no kernel runs.
void cudaemu_report_launch(const CudaemuSite *site);
const CudaemuSite *cudaemu_running_launch(void);
// Tells TSan the name of the thread that runs now; race_thread: what TSan knows it by.
void cudaemu_report_name_thread(void *race_thread);
// Reports memory faults of kernels too, where no sanitizer does.
void cudaemu_report_faults(void);

#endif
