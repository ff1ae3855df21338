/* threads.h: parallel-for over numbered pieces of work, on a small pool that starts late.
 *
 * Results never depend on which thread ran a piece: callers give each piece its own output.
 * The pool starts at the first call with more than one thread, never at load, and is forgotten in the
 * child after a fork (its threads do not exist there; the next call starts new ones).
 */
#ifndef FO_THREADS_H
#define FO_THREADS_H
#include <stddef.h>

/* Runs pieces [begin, end) of the work described by ctx. May be called many times, from many threads. */
typedef void (*fo_task)(void *ctx, ptrdiff_t begin, ptrdiff_t end);

/* Covers [0, n) with calls of task, `grain` pieces at a time (>= 1), on at most `threads` threads with the caller.
 * Returns when all is done. A pool that another caller is using is not waited for: the caller works alone. */
void fo_parallel(fo_task task, void *ctx, ptrdiff_t n, ptrdiff_t grain, int threads);

int fo_threads_max(void);          /* the most threads this build can use: 1 without a pool */
#define FO_THREADS_LIMIT 256
#endif
