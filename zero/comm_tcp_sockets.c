// Sockets of the link tcp, and their addresses.
#define _GNU_SOURCE // accept4
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "comm_tcp.h"

// ---------------------------------------------------------------- addresses
static in_port_t *port_of(ZeroAddress *address) {
  if (address->socket.ss_family == AF_INET6) return &((struct sockaddr_in6 *)&address->socket)->sin6_port;
  return &((struct sockaddr_in *)&address->socket)->sin_port;
}

int zero_address_port(const ZeroAddress *address) {
  ZeroAddress copy = *address;
  return ntohs(*port_of(&copy));
}

void zero_address_set_port(ZeroAddress *address, int port) {
  *port_of(address) = htons((uint16_t)port);
}

int zero_address_is_loopback(const ZeroAddress *address) {
  if (address->socket.ss_family == AF_INET6) {
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)&address->socket)->sin6_addr);
  }
  const uint32_t ip = ntohl(((const struct sockaddr_in *)&address->socket)->sin_addr.s_addr);
  return ip >> 24 == IN_LOOPBACKNET;
}

ZeroAddressText zero_address_text(const ZeroAddress *address) {
  ZeroAddressText text;
  char host[INET6_ADDRSTRLEN] = "?";
  const int six = address->socket.ss_family == AF_INET6;
  const void *ip = six ? (const void *)&((const struct sockaddr_in6 *)&address->socket)->sin6_addr
                       : (const void *)&((const struct sockaddr_in *)&address->socket)->sin_addr;
  inet_ntop(address->socket.ss_family, ip, host, sizeof host);
  snprintf(text.text, sizeof text.text, six ? "[%s]:%d" : "%s:%d", host, zero_address_port(address));
  return text;
}

// Cuts "HOST:PORT" in two; the port stays as it is if there is none. 0, or -1: no such thing.
static int cut(const char *server, char *host, size_t room, char *port, size_t port_room) {
  const char *from = server, *end, *colon;
  if (server[0] == '[') {
    from = server + 1;
    end = strchr(from, ']');
    if (end == NULL || (end[1] != ':' && end[1] != '\0')) return -1;
    colon = end[1] == ':' ? end + 1 : NULL;
  } else {
    colon = strrchr(server, ':');
    if (colon != NULL && strchr(server, ':') != colon) colon = NULL; // an IPv6 address alone
    end = colon != NULL ? colon : server + strlen(server);
  }
  if (end == from || (size_t)(end - from) >= room) return -1;
  snprintf(host, room, "%.*s", (int)(end - from), from);
  if (colon == NULL) return 0;
  char *rest;
  const long number = strtol(colon + 1, &rest, 10);
  if (colon[1] < '0' || colon[1] > '9' || *rest != '\0' || number < 1 || number > UINT16_MAX) return -1;
  snprintf(port, port_room, "%ld", number);
  return 0;
}

int zero_address_find(const char *server, ZeroAddress *found, int room, ZeroReason *why) {
  char host[256], port[16];
  snprintf(port, sizeof port, "%d", ZERO_TCP_PORT);
  if (cut(server, host, sizeof host, port, sizeof port) != 0) {
    snprintf(why->text, sizeof why->text, "'%.200s' is no address; give HOST:PORT, as in node1:%d", server,
             ZERO_TCP_PORT);
    return 0;
  }
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list;
  const int code = getaddrinfo(host, port, &hints, &list);
  if (code != 0) {
    snprintf(why->text, sizeof why->text, "the address of '%s' is not known: %s", host, gai_strerror(code));
    return 0;
  }
  int count = 0;
  for (const struct addrinfo *one = list; one != NULL && count < room; one = one->ai_next) {
    if (one->ai_family != AF_INET && one->ai_family != AF_INET6) continue;
    memcpy(&found[count].socket, one->ai_addr, one->ai_addrlen);
    found[count++].bytes = one->ai_addrlen;
  }
  freeaddrinfo(list);
  if (count == 0) snprintf(why->text, sizeof why->text, "'%s' has no address of the internet", host);
  return count;
}

ZeroAddress zero_address_any(int family) {
  ZeroAddress any;
  memset(&any, 0, sizeof any);
  any.socket.ss_family = (sa_family_t)family;
  any.bytes = family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
  return any; // all zeros: any address, any port
}

// ---------------------------------------------------------------- sockets
// Each message at once; and a peer whose machine says nothing any more has gone after 10 + 3 * 5 seconds.
static void set_up(int socket) {
  static const struct {
    int level, name, value;
  } options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
                 {SOL_SOCKET, SO_KEEPALIVE, 1},
                 {IPPROTO_TCP, TCP_KEEPIDLE, 10},
                 {IPPROTO_TCP, TCP_KEEPINTVL, 5},
                 {IPPROTO_TCP, TCP_KEEPCNT, 3}};
  for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
    if (setsockopt(socket, options[i].level, options[i].name, &options[i].value, sizeof(int)) != 0) {
      zero_fatal("a socket's option %d of level %d could not be set: %s", options[i].name, options[i].level,
                 strerror(errno));
    }
  }
}

static int fail(int socket, const char *what, ZeroReason *why) {
  const int code = errno;
  snprintf(why->text, sizeof why->text, "%s: %s%s", what, strerror(code),
           code == EMFILE ? "; allow more open files (ulimit -n)" : "");
  if (socket >= 0) close(socket);
  return -1;
}

static int new_socket(const ZeroAddress *address) {
  return socket(address->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

void zero_socket_close(int *socket) {
  if (*socket >= 0) close(*socket);
  *socket = -1;
}

int zero_socket_listen(const ZeroAddress *address, ZeroReason *why) {
  char what[sizeof(ZeroAddressText) + 32];
  snprintf(what, sizeof what, "listening at %s", zero_address_text(address).text);
  const int listener = new_socket(address), yes = 1;
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      bind(listener, (const struct sockaddr *)&address->socket, address->bytes) != 0 ||
      listen(listener, SOMAXCONN) != 0) {
    return fail(listener, what, why);
  }
  return listener;
}

ZeroAddress zero_socket_address(int socket) {
  ZeroAddress own = {.bytes = sizeof own.socket};
  if (getsockname(socket, (struct sockaddr *)&own.socket, &own.bytes) != 0) {
    zero_fatal("a socket's own address is not known: %s", strerror(errno));
  }
  return own;
}

enum { MOST_POLL_SECONDS = 60 }; // a deadline may be further away than poll can count

// Until something can be read or written: 1. 0: the deadline has passed, and errno says so.
static int await(int socket, short events, double deadline) {
  for (;;) {
    const double left = deadline - zero_comm_seconds();
    if (left <= 0) {
      errno = ETIMEDOUT;
      return 0;
    }
    struct pollfd polled = {.fd = socket, .events = events};
    const int ready = poll(&polled, 1, left < MOST_POLL_SECONDS ? (int)(left * 1e3) + 1 : MOST_POLL_SECONDS * 1000);
    if (ready > 0) return 1;
    if (ready < 0 && errno != EINTR) zero_fatal("poll was expected to succeed: %s", strerror(errno));
  }
}

int zero_socket_connect(const ZeroAddress *address, double deadline, ZeroReason *why) {
  char what[sizeof(ZeroAddressText) + 32];
  snprintf(what, sizeof what, "connecting to %s", zero_address_text(address).text);
  const int connected = new_socket(address);
  if (connected < 0) return fail(connected, what, why);
  if (connect(connected, (const struct sockaddr *)&address->socket, address->bytes) != 0) {
    if (errno != EINPROGRESS) return fail(connected, what, why);
    if (!await(connected, POLLOUT, deadline)) return fail(connected, what, why);
    int code = 0;
    socklen_t bytes = sizeof code;
    if (getsockopt(connected, SOL_SOCKET, SO_ERROR, &code, &bytes) != 0) return fail(connected, what, why);
    errno = code;
    if (code != 0) return fail(connected, what, why);
  }
  set_up(connected);
  return connected;
}

int zero_socket_accept(int listener, ZeroAddress *from) {
  memset(from, 0, sizeof *from); // it travels to the other ranks, whole
  from->bytes = sizeof from->socket;
  const int accepted =
      accept4(listener, (struct sockaddr *)&from->socket, &from->bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (accepted >= 0) {
    set_up(accepted);
  } else if (errno == EMFILE || errno == ENFILE) {
    zero_fatal("no more connections can be opened: %s; allow more open files (ulimit -n)", strerror(errno));
  }
  return accepted;
}

int zero_socket_send(int socket, const void *data, size_t bytes, double deadline, ZeroReason *why) {
  for (size_t at = 0; at < bytes;) {
    const ssize_t sent = send(socket, (const char *)data + at, bytes - at, MSG_NOSIGNAL);
    if (sent >= 0) {
      at += (size_t)sent;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return fail(-1, "sending", why);
    if (!await(socket, POLLOUT, deadline)) return fail(-1, "sending", why);
  }
  return 0;
}

int zero_socket_receive(int socket, void *data, size_t bytes, double deadline, ZeroReason *why) {
  for (size_t at = 0; at < bytes;) {
    const ssize_t received = recv(socket, (char *)data + at, bytes - at, 0);
    if (received > 0) {
      at += (size_t)received;
      continue;
    }
    if (received == 0) {
      snprintf(why->text, sizeof why->text, "the connection was closed");
      return -1;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return fail(-1, "receiving", why);
    if (!await(socket, POLLIN, deadline)) return fail(-1, "receiving", why);
  }
  return 0;
}
