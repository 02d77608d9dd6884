// Streams: queues of work, and what each piece of it must wait for.
#ifndef CUDAEMU_STREAM_H
#define CUDAEMU_STREAM_H

#include <functional>

#include "include/cudaemu/runtime_api.h"

// Puts work at the end of the stream; when it is done depends on ZERO_EMU_STREAMS.
void cudaemu_stream_put(cudaStream_t stream, std::function<void()> work);
// The same of work that may have to wait for another process: it is called until it returns true.
void cudaemu_stream_put_waiting(cudaStream_t stream, std::function<bool()> work);
// Does all that the stream was given; all that any stream was given.
void cudaemu_stream_finish(cudaStream_t stream);
void cudaemu_finish_all(void);
// Whether there is work that is not done: in this stream, or, with NULL, in any.
bool cudaemu_work_left(const cudaStream_t *stream);

#endif
