// The state of the node's other processes, as Linux tells it in /proc/PID/stat.
#include "comm_peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Looks, not seconds: had the whole job been stopped and gone on, the clock would count the pause.
enum { LOOKS_A_SECOND = 10, LOST_SECONDS = 5, LOST_LOOKS = LOST_SECONDS * LOOKS_A_SECOND };
enum { STATE_LINE = 512 };

typedef struct {
  int pid, rank; // process; rank in the job
} Process;

typedef struct {
  Process process;
  int seen;  // it could be looked at when all began; else it is never said to be lost
  int looks; // in a row at which it was gone or stopped
} Peer;

struct ZeroPeers {
  Peer *peers; // (count)
  int count;
  double looked; // seconds; when last
};

// The letter of proc(5): R, S, D; T: stopped by a signal; Z, X: ended. '-': there is no such process.
static char process_state(int pid) {
  char path[64], line[STATE_LINE];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = fopen(path, "r");
  if (file == NULL) return '-';
  const char *text = fgets(line, sizeof line, file);
  fclose(file);
  if (text == NULL) return '-';
  const char *name_end = strrchr(line, ')'); // the name may have any letters in it
  return name_end != NULL && name_end[1] == ' ' ? name_end[2] : '-';
}

static int out_of_action(char state) {
  return state == '-' || state == 'T' || state == 'Z' || state == 'X';
}

ZeroPeers *zero_peers_create(ZeroComm *comm) {
  enum { LEADER, PID, FIGURES };
  const size_t ranks = (size_t)comm->size;
  const int leader = zero_transport(comm)->leader;
  const double mine[FIGURES] = {leader, getpid()};
  double *all = zero_malloc(ranks * sizeof mine, ZERO_MEM_OTHER); // (ranks, FIGURES)
  zero_comm_gather_each(comm, mine, FIGURES, all);
  ZeroPeers *peers = zero_malloc(sizeof *peers, ZERO_MEM_OTHER);
  peers->peers = zero_malloc(ranks * sizeof *peers->peers, ZERO_MEM_OTHER);
  for (size_t r = 0; r < ranks; r++) {
    const Process process = {(int)all[r * FIGURES + PID], (int)r};
    if ((int)all[r * FIGURES + LEADER] != leader) continue;
    // Containers may have numbers of their own: then the peer's is not known here.
    peers->peers[peers->count++] = (Peer){process, !out_of_action(process_state(process.pid)), 0};
  }
  zero_free(all);
  return peers;
}

void zero_peers_free(ZeroPeers *peers) {
  zero_free(peers->peers);
  zero_free(peers);
}

int zero_peers_lost(ZeroPeers *peers, ZeroReason *why) {
  const double now = zero_comm_seconds();
  if (now - peers->looked < 1.0 / LOOKS_A_SECOND) return 0;
  peers->looked = now;
  for (int i = 0; i < peers->count; i++) {
    Peer *peer = &peers->peers[i];
    if (!peer->seen) continue;
    const char state = process_state(peer->process.pid);
    peer->looks = out_of_action(state) ? peer->looks + 1 : 0;
    if (peer->looks < LOST_LOOKS) continue;
    snprintf(why->text, sizeof why->text, "rank %d (process %d) has %s", peer->process.rank, peer->process.pid,
             state == 'T' ? "been stopped by a signal" : "ended");
    return 1;
  }
  return 0;
}

void zero_peers_end(const ZeroReason *why, const char *waited_for) {
  zero_fatal("%s, and this rank waits for it in %s; look for what ended it, and start the job again", why->text,
             waited_for);
}
