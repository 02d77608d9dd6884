// Threads and cores of one rank. mpirun binds a rank to one core and OpenMP spins while it waits: both are
// wrong for a rank with several threads, and the OpenMP runtime reads its settings only when it is loaded.
#ifndef LLMC_LAUNCH_H
#define LLMC_LAUNCH_H

#ifdef __cplusplus
extern "C" {
#endif

// Call first in main, before MPI starts. threads 0: cores / ranks on this node, at least 1; ranks_here: how many
// those are where no launcher says it. Under mpirun widens the affinity that mpirun narrowed and takes this rank's
// own cores (all cores where ranks x threads exceed them); with more threads than cores waiting is made passive. What
// the OpenMP runtime must know when it is loaded is put into the environment and the program executes itself once
// more. Variables that the user set (OMP_WAIT_POLICY, OMP_PROC_BIND, OMP_PLACES, GOMP_CPU_AFFINITY) are left alone.
// share: the part of a core that a thread has while all threads of this node's ranks work, at most 1.
// Returns the number of threads, which OpenMP is then set to.
int launch_threads(int threads, int ranks_here, char **argv, double *share);

#ifdef __cplusplus
}
#endif
#endif
