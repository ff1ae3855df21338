/* ahead.h: work that begins now and is waited for later: one helper thread, started late, does it meanwhile.
 *
 * Which thread ran a piece changes no result: callers give each piece its own output. After a fork the child starts a helper of its own
 * when it needs one; a job that was under way there is taken up by whoever waits for it.
 */
#ifndef FO_AHEAD_H
#define FO_AHEAD_H
#include "threads.h"

/* A job; it stays where it is, and what ctx points to stays alive, until fo_ahead_finish has returned. */
typedef struct fo_ahead {
    fo_task task;
    void *ctx;
    ptrdiff_t n, grain;            /* pieces; how many are taken at a time, >= 1 */
    ptrdiff_t next;                /* from here on private: first piece not taken yet */
    int running, queued;           /* threads at work on it; waiting in the list */
    unsigned forks;                /* when it began */
    struct fo_ahead *link;
} fo_ahead;

void fo_ahead_begin(fo_ahead *job);            /* task, ctx, n, grain are set; returns at once */
void fo_ahead_finish(fo_ahead *job);           /* helps with what is left and returns when all is done; once a job */
unsigned fo_ahead_forks(void);                 /* how many forks lie between this process and the first */
#endif
