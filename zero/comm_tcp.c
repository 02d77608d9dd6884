// The link tcp: messages through sockets, for ranks that were started without MPI.
//
// Every pair of ranks has a socket for each lane. A socket is read only for messages that were asked for, so that
// what is early waits at its sender, and one lane never holds up another. A message is its length and its bytes; the
// length must be what the receiver expects. On the lane ALARM nothing travels but the news that a rank ends the job,
// or that it leaves at the end. It also is where the system tells of a rank that was killed: the connection is
// closed, and the peer had not said that it leaves.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "comm_tcp.h"

#define GRACE_SECONDS 1.0  // in which another rank may say why a connection was closed
#define LINGER_SECONDS 2.0 // in which the others may read why this rank ends them
enum { POLL_MS = 100, ALARMS = ZERO_LANE_ALARM + 1 };

// A message under way. Its length travels before its data.
typedef struct Transfer {
  ZeroMessages *owner;
  char *data;
  uint64_t bytes, header; // expected; as it travels
  size_t done;            // bytes of header and data together
  struct Transfer *next;
} Transfer;

typedef struct {
  Transfer *first, *last;
} Queue;

typedef struct {
  int socket; // -1: closed
  Queue out, in;
} Lane;

typedef enum { ALARM_LEAVES = 1, ALARM_ENDS } AlarmKind;
typedef struct {
  int32_t kind, code; // code: of the exit
  char text[1024];    // why; "": that rank has said it already
} Alarm;

typedef struct {
  Lane lanes[ZERO_LANES];
  Alarm alarm;
  size_t alarm_got; // bytes of it
  int leaving;      // it said that it leaves
  double gone;      // zero_comm_seconds when a connection was closed that should not; 0: none
} Peer;

// `link` comes first: the ZeroLink of a communicator that goes through TCP is a Tcp.
typedef struct {
  ZeroLink link;
  Peer *peers;           // (size)
  struct pollfd *polled; // (size * ZERO_LANES)
} Tcp;

static Tcp *tcp_of(ZeroComm *comm) {
  return (Tcp *)zero_transport(comm)->link;
}

// ---------------------------------------------------------------- posting
static void post(Queue *queue, ZeroMessages *messages, const void *data, size_t bytes) {
  Transfer *transfer = malloc(sizeof *transfer);
  if (transfer == NULL) zero_fatal("no memory for a message");
  *transfer = (Transfer){.owner = messages, .data = (char *)(uintptr_t)data, .bytes = bytes, .header = bytes};
  if (queue->last != NULL) {
    queue->last->next = transfer;
  } else {
    queue->first = transfer;
  }
  queue->last = transfer;
  messages->count++;
}

static void end_first(Queue *queue) {
  Transfer *transfer = queue->first;
  transfer->owner->count--;
  queue->first = transfer->next;
  if (queue->first == NULL) queue->last = NULL;
  free(transfer);
}

// ---------------------------------------------------------------- moving
static int would_block(void) {
  return errno == EAGAIN || errno == EINTR;
}

static void lane_ends(Peer *peer, Lane *lane) {
  zero_socket_close(&lane->socket);
  if (peer->gone == 0) peer->gone = zero_comm_seconds();
}

// What is still to move of the first message: its header's rest and its data's, as far as `data_too` says.
static struct msghdr rest_of(Transfer *transfer, struct iovec parts[2], int data_too) {
  const size_t head = sizeof transfer->header;
  const size_t in_head = transfer->done < head ? transfer->done : head, in_data = transfer->done - in_head;
  parts[0] = (struct iovec){(char *)&transfer->header + in_head, head - in_head};
  parts[1] = (struct iovec){transfer->data + in_data, data_too ? transfer->bytes - in_data : 0};
  return (struct msghdr){.msg_iov = parts, .msg_iovlen = 2};
}

static size_t whole(const Transfer *transfer) {
  return sizeof transfer->header + transfer->bytes;
}

// Both go on until nothing is left or the socket is not ready.
static void move_out(Peer *peer, Lane *lane) {
  while (lane->out.first != NULL && lane->socket >= 0) {
    Transfer *transfer = lane->out.first;
    struct iovec parts[2];
    const struct msghdr message = rest_of(transfer, parts, 1);
    const ssize_t moved = sendmsg(lane->socket, &message, MSG_NOSIGNAL);
    if (moved < 0 && would_block()) return;
    if (moved < 0) {
      lane_ends(peer, lane);
      return;
    }
    transfer->done += (size_t)moved;
    if (transfer->done == whole(transfer)) end_first(&lane->out);
  }
}

static void move_in(Peer *peer, int from, Lane *lane) {
  while (lane->in.first != NULL && lane->socket >= 0) {
    Transfer *transfer = lane->in.first;
    struct iovec parts[2];
    // The data after the header has shown that they are these.
    struct msghdr message = rest_of(transfer, parts, transfer->done >= sizeof transfer->header);
    const ssize_t moved = recvmsg(lane->socket, &message, 0);
    if (moved < 0 && would_block()) return;
    if (moved <= 0) {
      lane_ends(peer, lane);
      return;
    }
    transfer->done += (size_t)moved;
    if (transfer->done >= sizeof transfer->header && transfer->header != transfer->bytes) {
      zero_fatal(
          "a message of %llu bytes was expected from rank %d, but it sends %llu; every rank makes the same calls, "
          "with the same model and flags",
          (unsigned long long)transfer->bytes, from, (unsigned long long)transfer->header);
    }
    if (transfer->done == whole(transfer)) end_first(&lane->in);
  }
}

static void move_all(ZeroComm *comm) {
  Tcp *tcp = tcp_of(comm);
  for (int r = 0; r < comm->size; r++) {
    for (int l = ZERO_LANE_ALARM + 1; l < ZERO_LANES; l++) {
      Lane *lane = &tcp->peers[r].lanes[l];
      move_out(&tcp->peers[r], lane);
      move_in(&tcp->peers[r], r, lane);
    }
  }
}

// ---------------------------------------------------------------- alarms
static void end_this_process(int code) {
  fflush(NULL);
  _exit(code); // handlers of exit could wait for a peer, or for a kernel that hangs
}

static void take_alarm(ZeroComm *comm, int from, Peer *peer) {
  peer->alarm_got = 0;
  if (peer->alarm.kind == ALARM_LEAVES) {
    peer->leaving = 1;
    return;
  }
  fflush(stdout);
  peer->alarm.text[sizeof peer->alarm.text - 1] = '\0';
  if (peer->alarm.text[0] != '\0') {
    fprintf(stderr, "error: rank %d: rank %d ended the job: %s\n", comm->rank, from, peer->alarm.text);
  }
  end_this_process(peer->alarm.code);
}

static void read_alarms(ZeroComm *comm) {
  Tcp *tcp = tcp_of(comm);
  for (int r = 0; r < comm->size; r++) {
    Peer *peer = &tcp->peers[r];
    Lane *lane = &peer->lanes[ZERO_LANE_ALARM];
    while (lane->socket >= 0) {
      const ssize_t got =
          recv(lane->socket, (char *)&peer->alarm + peer->alarm_got, sizeof peer->alarm - peer->alarm_got, 0);
      if (got < 0 && would_block()) break;
      if (got <= 0) {
        if (peer->leaving) {
          zero_socket_close(&lane->socket);
        } else {
          lane_ends(peer, lane);
        }
        break;
      }
      peer->alarm_got += (size_t)got;
      if (peer->alarm_got == sizeof peer->alarm) take_alarm(comm, r, peer);
    }
  }
}

// The first of those that have gone, or -1.
static int first_gone(const ZeroComm *comm, const Tcp *tcp) {
  int first = -1;
  for (int r = 0; r < comm->size; r++) {
    if (tcp->peers[r].gone > 0 && (first < 0 || tcp->peers[r].gone < tcp->peers[first].gone)) first = r;
  }
  return first;
}

static void look(ZeroComm *comm) {
  const Tcp *tcp = tcp_of(comm);
  read_alarms(comm);
  const int gone = first_gone(comm, tcp);
  if (gone < 0 || zero_comm_seconds() - tcp->peers[gone].gone < GRACE_SECONDS) return;
  const char *what = zero_transport(comm)->waited_for;
  zero_fatal(
      "rank %d has closed its connections, and this rank waits for it in %s: it ended or was killed, or the network "
      "failed; look for what ended it, and start the job again",
      gone, what != NULL ? what : "its next call");
}

// ---------------------------------------------------------------- waiting
// Sleeps until a socket that matters is ready, at most POLL_MS. lanes: how many of them, from ALARM on, are moved by
// the caller; the others would be ready for ever.
static void await_sockets(ZeroComm *comm, int lanes) {
  Tcp *tcp = tcp_of(comm);
  size_t count = 0;
  for (int r = 0; r < comm->size; r++) {
    for (int l = 0; l < lanes; l++) {
      const Lane *lane = &tcp->peers[r].lanes[l];
      short events = l == ZERO_LANE_ALARM || lane->in.first != NULL ? POLLIN : 0;
      if (lane->out.first != NULL) events |= POLLOUT;
      if (lane->socket >= 0 && events != 0) {
        tcp->polled[count++] = (struct pollfd){.fd = lane->socket, .events = events};
      }
    }
  }
  if (poll(tcp->polled, count, POLL_MS) < 0 && errno != EINTR)
    zero_fatal("poll was expected to succeed: %s", strerror(errno));
}

static int test(ZeroComm *comm, ZeroMessages *messages) {
  move_all(comm);
  if (messages->count > 0) {
    await_sockets(comm, ZERO_LANES);
    look(comm);
    move_all(comm);
  }
  return messages->count == 0;
}

static void wait_all(ZeroComm *comm, ZeroMessages *messages) {
  while (!test(comm, messages)) continue;
}

static void send_message(ZeroComm *comm, ZeroMessages *messages, int to, const void *data, size_t bytes, int lane) {
  Peer *peer = &tcp_of(comm)->peers[to];
  post(&peer->lanes[lane].out, messages, data, bytes);
  move_out(peer, &peer->lanes[lane]);
}

static void receive_message(ZeroComm *comm, ZeroMessages *messages, int from, void *data, size_t bytes, int lane) {
  post(&tcp_of(comm)->peers[from].lanes[lane].in, messages, data, bytes);
}

// ---------------------------------------------------------------- the end
static void tell_all(ZeroComm *comm, const Alarm *alarm) {
  Tcp *tcp = tcp_of(comm);
  ZeroReason ignored = {""}; // it has gone, then
  for (int r = 0; r < comm->size; r++) {
    const int socket = tcp->peers[r].lanes[ZERO_LANE_ALARM].socket;
    if (socket >= 0) zero_socket_send(socket, alarm, sizeof *alarm, zero_comm_seconds() + 1, &ignored);
  }
}

static int anyone_connected(const ZeroComm *comm, const Tcp *tcp) {
  for (int r = 0; r < comm->size; r++) {
    if (tcp->peers[r].lanes[ZERO_LANE_ALARM].socket >= 0) return 1;
  }
  return 0;
}

// Ends the others, and waits until they have heard it: what a process that ends leaves unread is lost to its peer.
static void end_all(ZeroComm *comm, int code) {
  Tcp *tcp = tcp_of(comm);
  Alarm alarm = {.kind = ALARM_ENDS, .code = code};
  snprintf(alarm.text, sizeof alarm.text, "%s", zero_error_message());
  tell_all(comm, &alarm);
  for (int r = 0; r < comm->size; r++) {
    if (tcp->peers[r].lanes[ZERO_LANE_ALARM].socket >= 0)
      shutdown(tcp->peers[r].lanes[ZERO_LANE_ALARM].socket, SHUT_WR);
  }
  const double until = zero_comm_seconds() + LINGER_SECONDS;
  while (anyone_connected(comm, tcp) && zero_comm_seconds() < until) {
    await_sockets(comm, ALARMS);
    for (int r = 0; r < comm->size; r++) {
      Lane *lane = &tcp->peers[r].lanes[ZERO_LANE_ALARM];
      char ignored[sizeof(Alarm)];
      while (lane->socket >= 0) {
        const ssize_t got = recv(lane->socket, ignored, sizeof ignored, 0);
        if (got < 0 && would_block()) break;
        if (got <= 0) zero_socket_close(&lane->socket);
      }
    }
  }
  end_this_process(code);
}

static void await_end(ZeroComm *comm, unsigned seconds) {
  const double until = zero_comm_seconds() + seconds;
  const Tcp *tcp = tcp_of(comm);
  while (zero_comm_seconds() < until && first_gone(comm, tcp) < 0) {
    await_sockets(comm, ALARMS);
    read_alarms(comm);
  }
}

static int all_leave(const ZeroComm *comm, const Tcp *tcp) {
  for (int r = 0; r < comm->size; r++) {
    if (r != comm->rank && !tcp->peers[r].leaving) return 0;
  }
  return 1;
}

// Nobody goes before everyone has all that was sent to it.
static void destroy(ZeroComm *comm) {
  Tcp *tcp = tcp_of(comm);
  const Alarm alarm = {.kind = ALARM_LEAVES};
  const double limit = zero_comm_time_limit(), until = zero_comm_seconds() + limit;
  zero_transport(comm)->waited_for = "the end of the job";
  tell_all(comm, &alarm);
  while (!all_leave(comm, tcp)) {
    await_sockets(comm, ALARMS);
    look(comm);
    if (zero_comm_seconds() > until) zero_comm_too_long("the end of the job", limit);
  }
  for (int r = 0; r < comm->size; r++) {
    for (int l = 0; l < ZERO_LANES; l++) zero_socket_close(&tcp->peers[r].lanes[l].socket);
  }
  zero_free(tcp->polled);
  zero_free(tcp->peers);
  zero_free(tcp);
}

ZeroLink *zero_tcp_link(const ZeroTcpPeer *peers, size_t ranks) {
  Tcp *tcp = zero_malloc(sizeof *tcp, ZERO_MEM_OTHER);
  tcp->link = (ZeroLink){.name = "tcp",
                         .send = send_message,
                         .receive = receive_message,
                         .wait = wait_all,
                         .test = test,
                         .look = look,
                         .end_all = end_all,
                         .await_end = await_end,
                         .destroy = destroy};
  tcp->peers = zero_malloc(ranks * sizeof *tcp->peers, ZERO_MEM_OTHER);
  tcp->polled = zero_malloc(ranks * ZERO_LANES * sizeof *tcp->polled, ZERO_MEM_OTHER);
  for (size_t r = 0; r < ranks; r++) {
    for (int lane = 0; lane < ZERO_LANES; lane++) tcp->peers[r].lanes[lane].socket = peers[r].lanes[lane];
  }
  return &tcp->link;
}
