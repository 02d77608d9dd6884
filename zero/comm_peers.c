// The state of the node's other processes, as Linux tells it in /proc/PID/stat.
#include "comm_peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
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
  const MPI_Comm node = zero_transport(comm)->node;
  Process mine = {(int)getpid(), comm->rank};
  size_t count = (size_t)comm->node_size;
  Process *all = zero_malloc(count * sizeof *all, ZERO_MEM_OTHER); // (node_size)
  ZERO_MPI(MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, all, (int)sizeof mine, MPI_BYTE, node));
  ZeroPeers *peers = zero_malloc(sizeof *peers, ZERO_MEM_OTHER);
  peers->peers = zero_malloc(count * sizeof *peers->peers, ZERO_MEM_OTHER);
  peers->count = comm->node_size;
  for (size_t i = 0; i < count; i++) {
    // Containers may have numbers of their own: then the peer's is not known here.
    peers->peers[i] = (Peer){all[i], !out_of_action(process_state(all[i].pid)), 0};
  }
  zero_free(all);
  return peers;
}

void zero_peers_free(ZeroPeers *peers) {
  zero_free(peers->peers);
  zero_free(peers);
}

int zero_peers_lost(ZeroPeers *peers, ZeroReason *why) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  const double now = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
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
