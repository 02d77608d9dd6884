// Starting the link tcp: the ranks meet at rank 0 (comm_tcp_meet.c), then each pair opens its lanes.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "comm_tcp.h"

#define START_SECONDS 300.0 // ZERO_START_TIMEOUT unless given
#define LANES_SECONDS 20.0  // in which all lanes are open, once all ranks are there
#define WORDS_SECONDS 5.0   // in which a connection says what it is
#define BUSY_SECONDS 5.0    // in which the rank 0 of an earlier run may give up its port
#define FILE_NAME "zero_c_start"

// FNV-1a.
static uint64_t hash_text(uint64_t hash, const char *text) {
  for (; *text != '\0'; text++) hash = (hash ^ (unsigned char)*text) * UINT64_C(1099511628211);
  return hash;
}

// Of the machine as Linux knows it since it started, and its name, which containers have of their own.
static uint64_t name_of_node(const char *host) {
  char boot[64] = "";
  FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
  if (file != NULL) {
    if (fgets(boot, sizeof boot, file) == NULL) boot[0] = '\0';
    fclose(file);
  }
  return hash_text(hash_text(UINT64_C(14695981039346656037), boot), host);
}

static void host_name(char *name, size_t room) {
  memset(name, 0, room);
  if (gethostname(name, room - 1) != 0) snprintf(name, room, "?");
}

ZeroHello zero_tcp_hello(const ZeroTcpStart *s, int lane, int port) {
  ZeroHello hello;
  memset(&hello, 0, sizeof hello); // gaps travel too
  hello.magic = ZERO_TCP_MAGIC;
  hello.version = ZERO_TCP_VERSION;
  hello.ranks = s->start->ranks;
  hello.rank = s->start->rank;
  hello.lane = lane;
  hello.port = port;
  hello.pid = (int32_t)getpid();
  hello.token = s->token;
  hello.node = s->node;
  host_name(hello.host, sizeof hello.host);
  return hello;
}

// ---------------------------------------------------------------- rank 0 listens
static int listen_as_rank_0(ZeroTcpStart *s) {
  ZeroReason why = {""};
  ZeroAddress address = zero_address_any(AF_INET);
  if (getrandom(&s->token, sizeof s->token, 0) != sizeof s->token)
    zero_fatal("no random number: %s", strerror(errno));
  if (s->start->server != NULL && zero_address_find(s->start->server, &address, 1, &why) == 0) {
    zero_errors_add(s->errors, "-ps: %s", why.text);
    return -1;
  }
  const double until = zero_comm_seconds() + BUSY_SECONDS;
  while ((s->listener = zero_socket_listen(&address, &why)) < 0) {
    if (zero_comm_seconds() > until) {
      zero_errors_add(s->errors, "rank 0: %s; %s", why.text,
                      s->start->server != NULL ? "give an address of this machine and a free port by -ps HOST:PORT"
                                               : "look at the machine's network");
      return -1;
    }
    usleep(200000);
  }
  if (s->file[0] == '\0' || zero_tcp_file_write(s, &why) == 0) return 0;
  zero_errors_add(s->errors, "rank 0: the file %s cannot be written: %s; give a folder that all ranks see by -pf",
                  s->file, why.text);
  return -1;
}

// ---------------------------------------------------------------- lanes
static int open_lanes(ZeroTcpStart *s, double deadline) {
  ZeroReason why = {""};
  for (int r = 0; r < s->start->rank; r++) {
    for (int lane = 0; lane < ZERO_LANES; lane++) {
      int *socket = &s->peers[r].lanes[lane];
      if (*socket >= 0) continue;
      const ZeroHello hello = zero_tcp_hello(s, lane, 0);
      *socket = zero_socket_connect(&s->entries[r].address, deadline, &why);
      if (*socket < 0 || zero_socket_send(*socket, &hello, sizeof hello, deadline, &why) != 0) {
        zero_errors_add(s->errors, "rank %d: no connection with rank %d: %s", s->start->rank, r, why.text);
        return -1;
      }
    }
  }
  return 0;
}

// The first rank above this one that has not opened all its lanes, or 0.
static int not_connected(const ZeroTcpStart *s) {
  for (int r = s->start->rank + 1; r < s->start->ranks; r++) {
    for (int lane = 0; lane < ZERO_LANES; lane++) {
      if (s->peers[r].lanes[lane] < 0) return r;
    }
  }
  return 0;
}

static void take_lane(ZeroTcpStart *s, int socket) {
  ZeroHello hello;
  ZeroReason ignored = {""}; // what is not of this run is closed without a word
  if (zero_socket_receive(socket, &hello, sizeof hello, zero_comm_seconds() + WORDS_SECONDS, &ignored) == 0 &&
      hello.magic == ZERO_TCP_MAGIC && hello.token == s->token && hello.rank > s->start->rank &&
      hello.rank < s->start->ranks && hello.lane >= 0 && hello.lane < ZERO_LANES &&
      s->peers[hello.rank].lanes[hello.lane] < 0) {
    s->peers[hello.rank].lanes[hello.lane] = socket;
  } else {
    zero_socket_close(&socket);
  }
}

static int take_lanes(ZeroTcpStart *s, double deadline) {
  int missing;
  while ((missing = not_connected(s)) != 0) {
    if (zero_comm_seconds() > deadline) {
      zero_errors_add(s->errors,
                      "rank %d: rank %d did not connect within %.0f s; look for its error, or for a firewall between "
                      "the machines: ranks connect with each other at ports that the system chooses",
                      s->start->rank, missing, LANES_SECONDS);
      return -1;
    }
    ZeroAddress from;
    struct pollfd polled = {.fd = s->listener, .events = POLLIN};
    if (poll(&polled, 1, 100) <= 0) continue;
    const int accepted = zero_socket_accept(s->listener, &from);
    if (accepted >= 0) take_lane(s, accepted);
  }
  return 0;
}

// ---------------------------------------------------------------- the start
static void find_node(ZeroComm *comm, const ZeroStart *start, const ZeroTcpPeer *peers) {
  ZeroTransport *transport = zero_transport(comm);
  transport->leader = comm->rank;
  comm->node_rank = comm->node_size = 0;
  for (int r = comm->size; r-- > 0;) {
    const int here = start->per_node > 0 ? r / start->per_node == comm->rank / start->per_node
                                         : peers[r].node == peers[comm->rank].node;
    if (!here) continue;
    transport->leader = r;
    comm->node_size++;
    comm->node_rank += r < comm->rank;
  }
}

static int connect_all(ZeroTcpStart *s) {
  if (s->start->ranks == 1) return 0;
  if (s->start->rank == 0 && listen_as_rank_0(s) != 0) return -1;
  if ((s->start->rank == 0 ? zero_tcp_meet(s) : zero_tcp_join(s)) != 0) return -1;
  const double deadline = zero_comm_seconds() + LANES_SECONDS;
  return open_lanes(s, deadline) != 0 ? -1 : take_lanes(s, deadline);
}

void zero_tcp_start(ZeroComm *comm, const ZeroStart *start, ZeroErrors *errors) {
  const size_t ranks = (size_t)start->ranks;
  char host[256];
  host_name(host, sizeof host);
  ZeroTcpStart s = {.start = start, .node = name_of_node(host), .listener = -1, .errors = errors};
  s.seconds = zero_start_seconds("ZERO_START_TIMEOUT", START_SECONDS);
  s.deadline = zero_comm_seconds() + s.seconds;
  if (start->folder != NULL) {
    const int length = snprintf(s.file, sizeof s.file, "%s/" FILE_NAME, start->folder);
    if (length >= (int)sizeof s.file) zero_fatal("-pf: a path of %d characters; give a shorter one", length);
  }
  s.peers = zero_malloc(ranks * sizeof *s.peers, ZERO_MEM_OTHER);
  s.entries = zero_malloc(ranks * sizeof *s.entries, ZERO_MEM_OTHER);
  for (size_t r = 0; r < ranks; r++) {
    for (int lane = 0; lane < ZERO_LANES; lane++) s.peers[r].lanes[lane] = -1;
  }
  s.entries[start->rank].node = s.node;
  comm->rank = start->rank;
  comm->size = start->ranks;
  if (connect_all(&s) == 0) {
    for (size_t r = 0; r < ranks; r++) s.peers[r].node = s.entries[r].node;
    find_node(comm, start, s.peers);
    zero_transport(comm)->link = zero_tcp_link(s.peers, ranks);
  }
  zero_socket_close(&s.listener);
  zero_free(s.entries);
  zero_free(s.peers);
}
