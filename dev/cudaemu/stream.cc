// Streams and events.
//
// Each stream is a queue. A piece of work names the pieces of other streams that must be done before it: those that
// an event stood for, and what the default stream orders. Doing a piece does those first. So work can be left lying
// until somebody waits for it: where an event is missing, the wrong order then really happens. Work that needs
// another process (NCCL's) is tried again and again, and what is queued behind it waits.
#include "stream.h"

#include <sched.h>
#include <time.h>

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "count.h"
#include "memory.h"
#include "options.h"
#include "race.h"
#include "report.h"

typedef struct CudaemuStream Stream;

typedef struct {
  Stream *stream;
  size_t until; // as many pieces of it
} Before;

// For the race check a stream is a thread too, and so is the host: what orders them is released and acquired.
typedef struct {
  std::function<bool()> work; // true: it is done
  std::vector<Before> before;
  char *given; // object: released by the host when it gave the piece
} Piece;

struct CudaemuStream {
  std::deque<Piece> pieces; // not done
  size_t done, given;
  std::vector<Before> wait; // of the next piece: from cudaStreamWaitEvent
  bool blocking, destroyed; // blocking: ordered with the default stream
  bool asked;               // for its end, which was not there yet
  void *race_thread;
  std::deque<char *> ends; // objects, one for each piece done: released when it was
};

struct CudaemuEvent {
  Stream *stream; // NULL: never recorded
  size_t until;
  std::shared_ptr<double> seconds; // when it was reached; NULL: nobody wants to know
  bool asked;                      // for, when it was not reached yet
};

static Stream *new_stream(bool blocking) {
  return new Stream{{}, 0, 0, {}, blocking, false, false, race_new_thread(), {}};
}

// Streams stay until the program ends: events may point to them.
static std::vector<Stream *> &streams(void) {
  static std::vector<Stream *> *all = new std::vector<Stream *>{new_stream(true)}; // the default stream
  return *all;
}

static uint64_t random_state;

static Stream *the_stream(cudaStream_t stream) {
  if (stream == NULL) return streams()[0];
  if (stream->destroyed) cudaemu_fail(NULL, 0, "a stream is used after cudaStreamDestroy");
  return stream;
}

// Whoever runs now knows from here on what was done in the stream until then.
static void acquire_end(const Stream *stream, size_t until) {
  if (CUDAEMU_RACE_CHECK && until > 0) race_acquire(stream->ends[until - 1]);
}

// Moves the stream on to there as far as it can be at this moment; whether it got there.
static bool try_until(Stream *stream, size_t until) {
  while (stream->done < until) {
    Piece &piece = stream->pieces.front(); // stays where it is: only run here, and what is given goes to the end
    for (const Before &before : piece.before) {
      if (!try_until(before.stream, before.until)) return false;
    }
    void *caller = race_this_thread();
    race_become_thread(stream->race_thread);
    race_acquire(piece.given);
    for (const Before &before : piece.before) acquire_end(before.stream, before.until);
    const bool done = piece.work();
    char *end = NULL;
    if (done) {
      piece.work = nullptr; // what it held is freed by the stream, not by the host that could not know it is done
      end = race_new_objects(1);
      race_release(end);
    }
    race_become_thread(caller);
    if (!done) return false;
    stream->pieces.pop_front();
    if (CUDAEMU_RACE_CHECK) stream->ends.push_back(end);
    stream->done++;
  }
  return true;
}

static void run_until(Stream *stream, size_t until) {
  while (!try_until(stream, until)) sched_yield();
}

// The host waits for it.
static void wait_until(Stream *stream, size_t until) {
  run_until(stream, until);
  acquire_end(stream, until);
}

// The default stream waits for all that blocking streams were given before, and they for it.
static void order_with_default(Stream *stream, std::vector<Before> *before) {
  Stream *standard = streams()[0];
  if (stream == standard) {
    for (Stream *other : streams()) {
      if (other != standard && other->blocking) before->push_back({other, other->given});
    }
  } else if (stream->blocking) {
    before->push_back({standard, standard->given});
  }
}

static void run_some_at_random(uint64_t seed) {
  if (random_state == 0) random_state = cudaemu_seed(seed);
  while (cudaemu_random(&random_state, 2) == 0) {
    Stream *stream = streams()[cudaemu_random(&random_state, (uint32_t)streams().size())];
    if (!stream->pieces.empty()) try_until(stream, stream->done + 1);
  }
}

void cudaemu_stream_put(cudaStream_t handle, std::function<void()> work) {
  // Moved, not copied: the race check sees what is freed, and the copy that is left would be the host's to free.
  cudaemu_stream_put_waiting(handle, [work = std::move(work)] {
    work();
    return true;
  });
}

void cudaemu_stream_put_waiting(cudaStream_t handle, std::function<bool()> work) {
  Stream *stream = the_stream(handle);
  Piece piece = {std::move(work), std::move(stream->wait), race_new_objects(1)};
  race_release(piece.given);
  stream->wait.clear();
  order_with_default(stream, &piece.before);
  stream->pieces.push_back(std::move(piece));
  stream->given++;
  uint64_t seed = 0;
  switch (cudaemu_timing(&seed)) {
    case CUDAEMU_AT_ISSUE:
      try_until(stream, stream->given);
      break;
    case CUDAEMU_AT_RANDOM:
      run_some_at_random(seed);
      break;
    case CUDAEMU_DELAYED:
      break;
  }
}

void cudaemu_stream_finish(cudaStream_t handle) {
  Stream *stream = the_stream(handle);
  std::vector<Before> before = stream->wait;
  order_with_default(stream, &before);
  for (const Before &b : before) wait_until(b.stream, b.until);
  wait_until(stream, stream->given);
}

void cudaemu_finish_all(void) {
  for (Stream *stream : streams()) wait_until(stream, stream->given);
}

bool cudaemu_work_left(const cudaStream_t *stream) {
  if (stream != NULL) return !the_stream(*stream)->pieces.empty();
  for (const Stream *each : streams()) {
    if (!each->pieces.empty()) return true;
  }
  return false;
}

// Asking until it is there is waiting too.
static void count_asking(bool *asked, const char *call, bool left) {
  if (*asked) cudaemu_count_wait(call, left);
  *asked = false;
}

// ---------------------------------------------------------------- the API's streams
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
  if (stream == NULL || flags > cudaStreamNonBlocking) return cudaemu_error(cudaErrorInvalidValue);
  *stream = new_stream(flags != cudaStreamNonBlocking);
  streams().push_back(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority) {
  (void)priority;
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == NULL) return cudaemu_error(cudaErrorInvalidResourceHandle);
  run_until(the_stream(stream), stream->given);
  stream->destroyed = true;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (cudaemu_work_left(&stream)) cudaemu_count_wait("cudaStreamSynchronize", false);
  cudaemu_stream_finish(stream);
  return cudaSuccess;
}

// Asking moves the stream on by one piece: a program that asks until all is done comes to an end.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  Stream *stream = the_stream(handle);
  if (stream->pieces.empty()) {
    for (const Before &before :
         stream->wait) { // an event that is waited for is part of the stream, with or without work
      if (!try_until(before.stream, before.until)) {
        stream->asked = true;
        return cudaErrorNotReady;
      }
      acquire_end(before.stream, before.until);
    }
    wait_until(stream, stream->given);
    count_asking(&stream->asked, "cudaStreamQuery", false);
    return cudaSuccess;
  }
  stream->asked = true;
  try_until(stream, stream->done + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags) {
  if (event == NULL || flags != 0) return cudaemu_error(cudaErrorInvalidValue);
  if (event->stream != NULL) the_stream(stream)->wait.push_back({event->stream, event->until});
  return cudaSuccess;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void *data) {
  if (function == NULL) return cudaemu_error(cudaErrorInvalidValue);
  cudaemu_stream_put(stream, [function, data] { function(data); });
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void) {
  if (cudaemu_work_left(NULL)) cudaemu_count_wait("cudaDeviceSynchronize", false);
  cudaemu_finish_all();
  return cudaSuccess;
}

// ---------------------------------------------------------------- events
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags) {
  if (event == NULL || flags > (cudaEventBlockingSync | cudaEventDisableTiming)) {
    return cudaemu_error(cudaErrorInvalidValue);
  }
  *event = new CudaemuEvent{NULL, 0, NULL, false};
  if ((flags & cudaEventDisableTiming) == 0) (*event)->seconds = std::make_shared<double>(0.0);
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  if (event == NULL) return cudaemu_error(cudaErrorInvalidResourceHandle);
  Stream *stream = the_stream(handle);
  event->stream = stream;
  event->until = stream->given + 1; // the piece that notes the time
  event->asked = false;
  std::shared_ptr<double> seconds = event->seconds; // the event itself may be gone by then
  cudaemu_stream_put(handle, [seconds] {
    if (seconds == NULL) return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
  });
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (event == NULL) return cudaemu_error(cudaErrorInvalidResourceHandle);
  if (event->stream == NULL) return cudaSuccess;
  const bool early = event->stream->done < event->until;
  wait_until(event->stream, event->until);
  if (early) cudaemu_count_wait("cudaEventSynchronize", !event->stream->pieces.empty());
  return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (event == NULL) return cudaemu_error(cudaErrorInvalidResourceHandle);
  if (event->stream == NULL) return cudaSuccess;
  if (event->stream->done >= event->until) {
    wait_until(event->stream, event->until);
    count_asking(&event->asked, "cudaEventQuery", !event->stream->pieces.empty());
    return cudaSuccess;
  }
  event->asked = true;
  try_until(event->stream, event->stream->done + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (milliseconds == NULL || start == NULL || end == NULL || start->seconds == NULL || end->seconds == NULL) {
    return cudaemu_error(cudaErrorInvalidResourceHandle);
  }
  if (start->stream == NULL || end->stream == NULL) return cudaemu_error(cudaErrorInvalidResourceHandle);
  if (start->stream->done < start->until || end->stream->done < end->until) return cudaErrorNotReady;
  *milliseconds = (float)(1e3 * (*end->seconds - *start->seconds));
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == NULL) return cudaemu_error(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}
