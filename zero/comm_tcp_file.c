// The file by which the ranks of a run find rank 0 in a folder that all of them see. A run that was killed leaves its
// file: the next rank 0 puts its own in the place, and who reads the old one in the meantime finds nobody there, or
// somebody who knows the token for another run's, and reads again.
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comm_tcp.h"

static const char TITLE[] = "zero.c start 1";
enum { LINE = 256 };

static int read_head(FILE *file, uint64_t *token, uint64_t *node) {
  char line[LINE];
  return fgets(line, sizeof line, file) != NULL && strncmp(line, TITLE, strlen(TITLE)) == 0 &&
         fscanf(file, "token %" SCNx64 " node %" SCNx64 "\n", token, node) == 2;
}

static FILE *open_file(const char *path, ZeroReason *why) {
  FILE *file = fopen(path, "r");
  if (file == NULL) snprintf(why->text, sizeof why->text, "%s", strerror(errno));
  return file;
}

int zero_tcp_file_is_ours(const ZeroTcpStart *s) {
  ZeroReason why = {""};
  uint64_t token = 0, node = 0;
  FILE *file = open_file(s->file, &why);
  if (file == NULL) return 0;
  const int ours = read_head(file, &token, &node) && token == s->token;
  fclose(file);
  return ours;
}

void zero_tcp_file_remove(const ZeroTcpStart *s) {
  if (s->file[0] != '\0' && zero_tcp_file_is_ours(s)) unlink(s->file);
}

// The addresses of all interfaces that are up, the machine's own first.
static void write_addresses(FILE *file, const struct ifaddrs *interfaces, int port) {
  for (int loopback = 1; loopback >= 0; loopback--) {
    for (const struct ifaddrs *one = interfaces; one != NULL; one = one->ifa_next) {
      if (one->ifa_addr == NULL || one->ifa_addr->sa_family != AF_INET || !(one->ifa_flags & IFF_UP)) continue;
      ZeroAddress address = {.bytes = sizeof(struct sockaddr_in)};
      memcpy(&address.socket, one->ifa_addr, address.bytes);
      zero_address_set_port(&address, port);
      if (zero_address_is_loopback(&address) == loopback)
        fprintf(file, "address %s\n", zero_address_text(&address).text);
    }
  }
  fprintf(file, "end\n");
}

int zero_tcp_file_write(const ZeroTcpStart *s, ZeroReason *why) {
  char temporary[sizeof s->file + 32];
  snprintf(temporary, sizeof temporary, "%s.%ld", s->file, (long)getpid());
  const ZeroAddress own = zero_socket_address(s->listener);
  struct ifaddrs *interfaces = NULL;
  unlink(temporary); // of a process with this number that was killed
  const int descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
  FILE *file = descriptor >= 0 ? fdopen(descriptor, "w") : NULL;
  int written = file != NULL && getifaddrs(&interfaces) == 0;
  if (written) {
    fprintf(file, "%s\ntoken %016" PRIx64 " node %016" PRIx64 "\n", TITLE, s->token, s->node);
    write_addresses(file, interfaces, zero_address_port(&own));
    written = fflush(file) == 0 && !ferror(file) && fsync(fileno(file)) == 0;
  }
  if (file != NULL && fclose(file) != 0) written = 0;
  if (written) written = rename(temporary, s->file) == 0;
  if (!written) {
    snprintf(why->text, sizeof why->text, "%s", strerror(errno));
    unlink(temporary);
  }
  if (interfaces != NULL) freeifaddrs(interfaces);
  return written ? 0 : -1;
}

int zero_tcp_file_read(ZeroTcpStart *s, ZeroAddress *found, int room, ZeroReason *why) {
  FILE *file = open_file(s->file, why);
  if (file == NULL) return 0;
  uint64_t node = 0;
  char line[LINE], text[LINE];
  int count = 0, whole = 0;
  if (read_head(file, &s->token, &node)) {
    while (!whole && fgets(line, sizeof line, file) != NULL) {
      whole = strcmp(line, "end\n") == 0;
      if (count == room || sscanf(line, "address %255s", text) != 1) continue;
      if (zero_address_find(text, found + count, 1, why) == 0) continue;
      // Another machine's own address is this machine's own.
      if (node == s->node || !zero_address_is_loopback(found + count)) count++;
    }
  }
  fclose(file);
  if (whole && count > 0) return count;
  snprintf(why->text, sizeof why->text,
           whole ? "it has no address that can be reached from here" : "it is not whole");
  return 0;
}
