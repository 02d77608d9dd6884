// How the ranks of a run meet at rank 0: who says what on the first connection, and what is refused.
//
// Rank 0 listens. Each other rank connects, says who it is (ZeroHello) and is told to wait, or why not. When all are
// there rank 0 tells everyone where everyone listens. Until then rank 0 also notices who goes away again.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm_tcp.h"

#define ANSWER_SECONDS 10.0 // in which rank 0 answers a connection; those that are silent are no ranks
#define RETURN_SECONDS 10.0 // in which a rank that went away during the start may come again
#define RETRY_SECONDS 0.1   // between two attempts to reach rank 0
#define LAST_SECONDS 1.0    // for the last attempt
#define LOOK_SECONDS 1.0    // between two looks at the file
enum { POLL_MS = 100, SPARE_VISITORS = 64, MOST_ADDRESSES = 16 };

// A connection at rank 0.
typedef struct {
  int socket; // -1: unused
  double since;
  ZeroAddress from;
  ZeroHello hello;
  size_t got; // bytes of it
  int ours;   // it is of this run, as far as is known
} Visitor;

typedef struct {
  ZeroTcpStart *s;
  Visitor *visitors; // (room)
  size_t room;
  int *joined;       // (ranks) number of the visitor, or -1
  double *left;      // (ranks) when it went away again, or 0
  ZeroHello *former; // (ranks) who that was
  int replaced;      // another run has taken the folder
  ZeroReason why;    // the start has failed, once it is not ""
} Meeting;

// ---------------------------------------------------------------- answers
static int answer(int socket, ZeroAnswerKind kind, uint64_t token, const void *rest, size_t bytes) {
  ZeroReason ignored = {""}; // who has gone in the meantime is noticed when its connection ends
  const ZeroAnswer head = {ZERO_TCP_MAGIC, token, kind, (uint32_t)bytes};
  const double deadline = zero_comm_seconds() + 1;
  if (zero_socket_send(socket, &head, sizeof head, deadline, &ignored) != 0) return -1;
  return zero_socket_send(socket, rest, bytes, deadline, &ignored);
}

static void send_away(Visitor *visitor, ZeroAnswerKind kind, const char *text) {
  answer(visitor->socket, kind, 0, text, strlen(text));
  zero_socket_close(&visitor->socket);
}

// ---------------------------------------------------------------- rank 0
static void describe(const ZeroHello *hello, char *text, size_t room) {
  snprintf(text, room, "process %d on %.63s", hello->pid, hello->host);
}

// Whether one who introduced itself may stay; it is of this run. Else the reason is set.
static int may_join(Meeting *m, const ZeroHello *hello) {
  const int ranks = m->s->start->ranks;
  char who[128], other[128];
  describe(hello, who, sizeof who);
  if (hello->version != ZERO_TCP_VERSION) {
    snprintf(
        m->why.text, sizeof m->why.text,
        "%s is another version of the program: its start is of version %u, rank 0's of version %d; start the same "
        "program everywhere",
        who, hello->version, ZERO_TCP_VERSION);
  } else if (hello->ranks != ranks) {
    snprintf(m->why.text, sizeof m->why.text,
             "rank %d (%s) was started as one of %d ranks, rank 0 as one of %d; give all the same -pn", hello->rank,
             who, hello->ranks, ranks);
  } else if (hello->rank < 1 || hello->rank >= ranks) {
    snprintf(m->why.text, sizeof m->why.text,
             "%s says that it is rank %d; -pr is a number from 0 to %d, and rank 0 is here", who, hello->rank,
             ranks - 1);
  } else if (m->joined[hello->rank] >= 0) {
    describe(&m->visitors[m->joined[hello->rank]].hello, other, sizeof other);
    snprintf(m->why.text, sizeof m->why.text, "rank %d was started twice: %s, and %s; give each process its own -pr",
             hello->rank, other, who);
  }
  return m->why.text[0] == '\0';
}

static void introduce(Meeting *m, size_t index) {
  Visitor *visitor = &m->visitors[index];
  const ZeroHello *hello = &visitor->hello;
  if (hello->magic != ZERO_TCP_MAGIC || hello->lane != ZERO_LANE_ALARM) { // none of ours
    zero_socket_close(&visitor->socket);
    return;
  }
  if (m->s->start->folder != NULL && hello->version == ZERO_TCP_VERSION && hello->token != m->s->token) {
    send_away(visitor, ZERO_ANSWER_AGAIN, "");
    return;
  }
  visitor->ours = 1;
  if (may_join(m, hello)) {
    m->joined[hello->rank] = (int)index;
    m->left[hello->rank] = 0;
    answer(visitor->socket, ZERO_ANSWER_WAIT, m->s->token, NULL, 0);
  }
}

// Something can be read from a connection: its first words, or that it has ended.
static void hear(Meeting *m, size_t index) {
  Visitor *visitor = &m->visitors[index];
  ZeroHello *hello = &visitor->hello;
  char beyond; // a rank that has introduced itself says nothing more
  const int known = visitor->got == sizeof *hello;
  const ssize_t got = known ? recv(visitor->socket, &beyond, 1, 0)
                            : recv(visitor->socket, (char *)hello + visitor->got, sizeof *hello - visitor->got, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got > 0 && !known) {
    visitor->got += (size_t)got;
    if (visitor->got == sizeof *hello) introduce(m, index);
    return;
  }
  if (known && m->joined[hello->rank] == (int)index) {
    m->joined[hello->rank] = -1;
    m->left[hello->rank] = zero_comm_seconds();
    m->former[hello->rank] = *hello;
  }
  zero_socket_close(&visitor->socket);
}

static void receive_visitor(Meeting *m) {
  ZeroAddress from;
  int accepted = zero_socket_accept(m->s->listener, &from);
  if (accepted < 0) return;
  size_t free_one = 0;
  while (free_one < m->room && m->visitors[free_one].socket >= 0) free_one++;
  if (free_one == m->room) {
    zero_socket_close(&accepted);
    return;
  }
  m->visitors[free_one] = (Visitor){.socket = accepted, .since = zero_comm_seconds(), .from = from};
}

static int missing(const Meeting *m) {
  int count = 0;
  for (int r = 1; r < m->s->start->ranks; r++) count += m->joined[r] < 0;
  return count;
}

// Time passes: silent connections are closed; who does not come, or does not come again, ends the start.
static void keep_time(Meeting *m, double *looked) {
  const double now = zero_comm_seconds();
  ZeroTcpStart *s = m->s;
  for (size_t i = 0; i < m->room; i++) {
    Visitor *visitor = &m->visitors[i];
    if (visitor->socket >= 0 && visitor->got < sizeof visitor->hello && now - visitor->since > ANSWER_SECONDS) {
      zero_socket_close(&visitor->socket);
    }
  }
  for (int r = 1; r < s->start->ranks; r++) {
    char who[128];
    if (m->joined[r] >= 0 || m->left[r] == 0 || now - m->left[r] < RETURN_SECONDS) continue;
    describe(&m->former[r], who, sizeof who);
    snprintf(m->why.text, sizeof m->why.text, "rank %d (%s) ended before all ranks were there; look for its error", r,
             who);
    return;
  }
  if (s->file[0] != '\0' && now - *looked > LOOK_SECONDS) {
    *looked = now;
    if (!zero_tcp_file_is_ours(s)) {
      m->replaced = 1;
      snprintf(
          m->why.text, sizeof m->why.text,
          "%.300s is no longer this run's: another run started in the same folder; give each a folder of its own",
          s->file);
      return;
    }
  }
  if (now < s->deadline) return;
  char list[128] = "";
  for (int r = 1; r < s->start->ranks; r++) {
    const size_t length = strlen(list);
    if (m->joined[r] >= 0) continue;
    if (length + 24 > sizeof list) { // room for a rank, and for this
      snprintf(list + length, sizeof list - length, " …");
      break;
    }
    snprintf(list + length, sizeof list - length, "%s%d", length > 0 ? ", " : "", r);
  }
  snprintf(m->why.text, sizeof m->why.text,
           "%d of %d ranks did not come within %.0f s: rank %s; start them, or give them more time: "
           "ZERO_START_TIMEOUT=SECONDS",
           missing(m), s->start->ranks, s->seconds, list);
}

static void poll_once(Meeting *m, struct pollfd *polled) {
  for (size_t i = 0; i < m->room; i++) polled[i] = (struct pollfd){.fd = m->visitors[i].socket, .events = POLLIN};
  polled[m->room] = (struct pollfd){.fd = m->s->listener, .events = POLLIN};
  if (poll(polled, m->room + 1, POLL_MS) < 0) return; // a signal
  for (size_t i = 0; i < m->room && m->why.text[0] == '\0'; i++) {
    if (polled[i].fd >= 0 && polled[i].revents != 0) hear(m, i);
  }
  if (polled[m->room].revents != 0) receive_visitor(m);
}

// All are there: each learns where the others listen.
static void welcome_all(Meeting *m) {
  ZeroTcpStart *s = m->s;
  const int ranks = s->start->ranks;
  s->entries[0] = (ZeroTcpEntry){.address = zero_socket_address(s->listener), .node = s->node};
  for (int r = 1; r < ranks; r++) {
    const Visitor *visitor = &m->visitors[m->joined[r]];
    s->entries[r] = (ZeroTcpEntry){.address = visitor->from, .node = visitor->hello.node};
    zero_address_set_port(&s->entries[r].address, visitor->hello.port);
  }
  for (int r = 1; r < ranks; r++) {
    Visitor *visitor = &m->visitors[m->joined[r]];
    answer(visitor->socket, ZERO_ANSWER_WELCOME, s->token, s->entries, (size_t)ranks * sizeof *s->entries);
    s->peers[r].lanes[ZERO_LANE_ALARM] = visitor->socket;
    visitor->socket = -1;
  }
}

int zero_tcp_meet(ZeroTcpStart *s) {
  const size_t ranks = (size_t)s->start->ranks;
  Meeting m = {.s = s, .room = 2 * ranks + SPARE_VISITORS};
  m.visitors = zero_malloc(m.room * sizeof *m.visitors, ZERO_MEM_OTHER);
  m.joined = zero_malloc(ranks * sizeof *m.joined, ZERO_MEM_OTHER);
  m.left = zero_malloc(ranks * sizeof *m.left, ZERO_MEM_OTHER);
  m.former = zero_malloc(ranks * sizeof *m.former, ZERO_MEM_OTHER);
  struct pollfd *polled = zero_malloc((m.room + 1) * sizeof *polled, ZERO_MEM_OTHER);
  for (size_t i = 0; i < m.room; i++) m.visitors[i].socket = -1;
  for (size_t r = 0; r < ranks; r++) m.joined[r] = -1;
  double looked = zero_comm_seconds();
  while (missing(&m) > 0 && m.why.text[0] == '\0') {
    poll_once(&m, polled);
    if (m.why.text[0] == '\0') keep_time(&m, &looked);
  }
  if (m.why.text[0] == '\0') {
    welcome_all(&m);
  } else {
    zero_errors_add(s->errors, "%s", m.why.text);
  }
  for (size_t i = 0; i < m.room; i++) {
    if (m.visitors[i].socket < 0) continue;
    // Who has read an old file may be of the run that has taken the folder.
    const int again = m.replaced || !m.visitors[i].ours;
    send_away(&m.visitors[i], again ? ZERO_ANSWER_AGAIN : ZERO_ANSWER_REFUSED, again ? "" : m.why.text);
  }
  zero_tcp_file_remove(s);
  zero_free(polled);
  zero_free(m.former);
  zero_free(m.left);
  zero_free(m.joined);
  zero_free(m.visitors);
  return m.why.text[0] == '\0' ? 0 : -1;
}

// ---------------------------------------------------------------- the other ranks
typedef enum { JOINED, NOT_YET, REFUSED } Outcome;

// What rank 0 says, up to its welcome.
static Outcome listen_to_rank_0(ZeroTcpStart *s, int socket, ZeroReason *why) {
  const size_t all = (size_t)s->start->ranks * sizeof *s->entries;
  double deadline = zero_comm_seconds() + ANSWER_SECONDS;
  for (;;) {
    ZeroAnswer head;
    ZeroReason text = {""};
    if (zero_socket_receive(socket, &head, sizeof head, deadline, why) != 0) return NOT_YET;
    if (head.magic != ZERO_TCP_MAGIC) {
      snprintf(why->text, sizeof why->text, "something else answers there");
      return NOT_YET;
    }
    switch (head.kind) {
      case ZERO_ANSWER_WAIT: // rank 0 counts the time from here on, and says when it is over
        deadline = s->deadline = zero_comm_seconds() + s->seconds + ANSWER_SECONDS;
        break;
      case ZERO_ANSWER_WELCOME:
        s->token = head.token;
        if (head.bytes == all)
          return zero_socket_receive(socket, s->entries, all, deadline, why) == 0 ? JOINED : NOT_YET;
        snprintf(why->text, sizeof why->text, "its welcome has %u bytes, expected %zu", head.bytes, all);
        return NOT_YET;
      case ZERO_ANSWER_REFUSED:
        if (head.bytes < sizeof text.text) zero_socket_receive(socket, text.text, head.bytes, deadline, why);
        *why = text;
        return REFUSED;
      default:
        snprintf(why->text, sizeof why->text, "another run's rank 0 answers there");
        return NOT_YET;
    }
  }
}

static Outcome join_at(ZeroTcpStart *s, const ZeroAddress *rank_0, ZeroReason *why) {
  const double now = zero_comm_seconds(), soon = now + ANSWER_SECONDS;
  ZeroReason because = {""};
  double until = soon < s->deadline ? soon : s->deadline;
  if (until < now + LAST_SECONDS) until = now + LAST_SECONDS; // so that the reason is not that there was no time
  int socket = zero_socket_connect(rank_0, until, why);
  if (socket < 0) return NOT_YET;
  // Listening where rank 0 can be reached from, before anyone is told so.
  const ZeroAddress any = zero_address_any(rank_0->socket.ss_family);
  zero_socket_close(&s->listener);
  s->listener = zero_socket_listen(&any, why);
  Outcome outcome = NOT_YET;
  if (s->listener >= 0) {
    const ZeroAddress own = zero_socket_address(s->listener);
    const ZeroHello hello = zero_tcp_hello(s, ZERO_LANE_ALARM, zero_address_port(&own));
    outcome = zero_socket_send(socket, &hello, sizeof hello, soon, &because) == 0
                  ? listen_to_rank_0(s, socket, &because)
                  : NOT_YET;
    *why = because;
    if (outcome == NOT_YET) {
      snprintf(why->text, sizeof why->text, "rank 0 at %s: %.400s", zero_address_text(rank_0).text, because.text);
    }
  }
  if (outcome != JOINED) {
    zero_socket_close(&socket);
    return outcome;
  }
  s->peers[0].lanes[ZERO_LANE_ALARM] = socket;
  for (int r = 0; r < s->start->ranks; r++) { // rank 0 sees those of its own machine where only they can be reached
    ZeroAddress *address = &s->entries[r].address;
    if (r > 0 && !zero_address_is_loopback(address)) continue;
    const int port = r > 0 ? zero_address_port(address) : zero_address_port(rank_0);
    *address = *rank_0;
    zero_address_set_port(address, port);
  }
  return JOINED;
}

static Outcome join_once(ZeroTcpStart *s, ZeroReason *why) {
  ZeroAddress addresses[MOST_ADDRESSES];
  const int count = s->start->folder != NULL ? zero_tcp_file_read(s, addresses, MOST_ADDRESSES, why)
                                             : zero_address_find(s->start->server, addresses, MOST_ADDRESSES, why);
  Outcome outcome = NOT_YET;
  for (int i = 0; i < count && outcome == NOT_YET; i++) outcome = join_at(s, &addresses[i], why);
  return outcome;
}

int zero_tcp_join(ZeroTcpStart *s) {
  const int rank = s->start->rank;
  ZeroReason why = {""};
  for (;;) {
    const Outcome outcome = join_once(s, &why);
    if (outcome == JOINED) return 0;
    if (outcome == REFUSED) {
      zero_errors_add(s->errors, "rank %d: rank 0 refuses the start: %s", rank, why.text);
      return -1;
    }
    if (zero_comm_seconds() > s->deadline) break;
    usleep((useconds_t)(RETRY_SECONDS * 1e6));
  }
  if (s->start->folder != NULL) {
    zero_errors_add(
        s->errors,
        "rank %d: no rank 0 was found through the file %s within %.0f s: %s; start rank 0 with the same -pf, "
        "or give it more time: ZERO_START_TIMEOUT=SECONDS",
        rank, s->file, s->seconds, why.text);
  } else {
    zero_errors_add(
        s->errors,
        "rank %d: rank 0 was not reached at %s within %.0f s: %s; start rank 0 with the same -ps, or give it "
        "more time: ZERO_START_TIMEOUT=SECONDS",
        rank, s->start->server, s->seconds, why.text);
  }
  return -1;
}
