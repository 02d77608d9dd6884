// The parts of the link tcp: sockets (comm_tcp_sockets.c), finding each other (comm_tcp_start.c, comm_tcp_meet.c),
// and the messages (comm_tcp.c). Nothing outside comm_tcp*.c includes this.
#ifndef ZERO_COMM_TCP_H
#define ZERO_COMM_TCP_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "comm_start.h"

// ---------------------------------------------------------------- sockets
// All are closed on exec, never block, and notice a machine that has gone within half a minute.
typedef struct {
  struct sockaddr_storage socket;
  socklen_t bytes;
} ZeroAddress;

typedef struct {
  char text[INET6_ADDRSTRLEN + 16]; // "10.0.0.1:12345", "[::1]:12345"
} ZeroAddressText;

enum { ZERO_TCP_PORT = 12345 }; // llm.c's, where none is given

ZeroAddressText zero_address_text(const ZeroAddress *);
int zero_address_port(const ZeroAddress *);
void zero_address_set_port(ZeroAddress *, int port);
int zero_address_is_loopback(const ZeroAddress *);
// The addresses of "HOST:PORT", "HOST" or "[HOST]:PORT", at most `room`. Returns how many; 0 with the reason.
int zero_address_find(const char *server, ZeroAddress *found, int room, ZeroReason *why);
// Of any interface, with a port that the system chooses.
ZeroAddress zero_address_any(int family);

// These return a socket, or -1 with the reason.
int zero_socket_listen(const ZeroAddress *, ZeroReason *why);
int zero_socket_connect(const ZeroAddress *, double deadline, ZeroReason *why);
int zero_socket_accept(int listener, ZeroAddress *from); // -1: nobody is there any more
ZeroAddress zero_socket_address(int socket);             // its own
// All the bytes before the deadline (zero_comm_seconds). 0, or -1 with the reason.
int zero_socket_send(int socket, const void *data, size_t bytes, double deadline, ZeroReason *why);
int zero_socket_receive(int socket, void *data, size_t bytes, double deadline, ZeroReason *why);
void zero_socket_close(int *socket); // and sets it to -1

// ---------------------------------------------------------------- finding each other
// A peer, once all are connected; of this rank itself the sockets are -1.
typedef struct {
  int lanes[ZERO_LANES]; // sockets
  uint64_t node;         // the same for the ranks of one machine
} ZeroTcpPeer;

// What a connection begins with.
typedef struct {
  uint64_t magic;
  uint32_t version;
  int32_t ranks, rank;
  int32_t lane;
  int32_t port; // where this rank itself listens
  int32_t pid;
  uint64_t token, node;
  char host[64];
} ZeroHello;

// What rank 0 answers on the lane ALARM, followed by `bytes` bytes.
typedef enum {
  ZERO_ANSWER_WAIT = 1, // you are in; wait for the others
  ZERO_ANSWER_WELCOME,  // all are there; (ranks) ZeroTcpEntry follow
  ZERO_ANSWER_REFUSED,  // the start has failed, a text follows
  ZERO_ANSWER_AGAIN     // this is another run: look again where rank 0 is
} ZeroAnswerKind;

typedef struct {
  uint64_t magic, token;
  uint32_t kind, bytes;
} ZeroAnswer;

typedef struct {
  ZeroAddress address; // where the rank listens
  uint64_t node;
} ZeroTcpEntry;

// A start in progress.
typedef struct {
  const ZeroStart *start;
  double seconds, deadline; // ZERO_START_TIMEOUT; zero_comm_seconds
  uint64_t token;           // rank 0's choice, by which the connections of a run are known
  uint64_t node;            // of this rank
  int listener;             // socket
  char file[4096];          // in which rank 0 writes where it listens; "" without
  ZeroTcpPeer *peers;       // (ranks)
  ZeroTcpEntry *entries;    // (ranks); after the meeting
  ZeroErrors *errors;
} ZeroTcpStart;

#define ZERO_TCP_MAGIC UINT64_C(0x317472617473307a) // "z0start1"
enum { ZERO_TCP_VERSION = 1 };

// A connection's first words, filled in for this rank.
ZeroHello zero_tcp_hello(const ZeroTcpStart *, int lane, int port);

// Rank 0: waits for all. The others: look for rank 0 and wait for all. Afterwards token, entries and the lanes ALARM
// between rank 0 and the others are there. 0, or -1 with an error added.
int zero_tcp_meet(ZeroTcpStart *);
int zero_tcp_join(ZeroTcpStart *);

// The file: written in one go, in place of one that an earlier run left. 0, or -1 with the reason.
int zero_tcp_file_write(const ZeroTcpStart *, ZeroReason *why);
// Whether it is still this run's.
int zero_tcp_file_is_ours(const ZeroTcpStart *);
void zero_tcp_file_remove(const ZeroTcpStart *); // if it is this run's
// Sets the token; returns how many addresses there are, 0 with the reason.
int zero_tcp_file_read(ZeroTcpStart *, ZeroAddress *found, int room, ZeroReason *why);

// The link, from connected peers (ranks), whose sockets it takes over.
ZeroLink *zero_tcp_link(const ZeroTcpPeer *peers, size_t ranks);

#endif
