/* ahead.c: the helper behind fo_ahead_begin. One lock guards everything; it is taken once for some pieces. */
#include "ahead.h"

#if defined(FO_NO_THREADS)

void fo_ahead_begin(fo_ahead *job) { (void)job; }
void fo_ahead_finish(fo_ahead *job) { if (job->n > 0) job->task(job->ctx, 0, job->n); }
unsigned fo_ahead_forks(void) { return 0; }

#else

#include "locks.h"

static struct {
    mutex_t m;
    cond_t work, rest;             /* there is a job, or the fork is over; a thread has finished some pieces */
    fo_ahead *first, *last;        /* jobs that may have pieces left */
    int helper, watching;          /* the helper exists; the fork handler is registered */
    int busy, forking;             /* the helper is inside a task; a fork is under way */
    unsigned forks;
    _Atomic int waiting;           /* jobs in the list: what the helper looks at before it sleeps */
    _Atomic unsigned finished;     /* counts what `rest` tells */
} line = { .m = MUTEX_INIT, .work = COND_INIT, .rest = COND_INIT };

unsigned fo_ahead_forks(void) { return line.forks; }

/* The lock is held in the calls that follow. */

static void leave(fo_ahead *job)
{
    fo_ahead *before = NULL, *at = line.first;
    if (!job->queued) return;
    while (at != job) { before = at; at = at->link; }
    if (before) before->link = job->link;
    else line.first = job->link;
    if (line.last == job) line.last = before;
    job->queued = 0;
    atomic_fetch_sub(&line.waiting, 1);
}

/* Takes some pieces, and does them without the lock; 0 if none is left. */
static int some(fo_ahead *job, int helper)
{
    const ptrdiff_t begin = job->next, end = job->n - begin > job->grain ? begin + job->grain : job->n;
    if (begin >= job->n) return 0;
    job->next = end;
    job->running++;
    if (helper) line.busy = 1;
    unlock(&line.m);
    job->task(job->ctx, begin, end);
    lock(&line.m);
    if (helper) line.busy = 0;
    job->running--;
    atomic_fetch_add(&line.finished, 1);
    wake_all(&line.rest);
    return 1;
}

static void serve(void)
{
    lock(&line.m);
    for (;;) {
        if (!line.first || line.forking) {
            unlock(&line.m);
            for (int spins = 0; spins < SPINS && !atomic_load(&line.waiting); spins++) relax();
            lock(&line.m);
            while (!line.first || line.forking) wait_on(&line.work, &line.m);
        }
        if (!some(line.first, 1)) leave(line.first);
    }
}

#if defined(_WIN32)
static DWORD WINAPI helper_entry(LPVOID arg) { (void)arg; serve(); return 0; }
static void watch_forks(void) { }
#else
static void *helper_entry(void *arg) { (void)arg; serve(); return NULL; }

/* The child is born with no pieces in the hands of the helper, which it does not have. */
static void prepare(void)
{
    lock(&line.m);
    line.forking = 1;
    while (line.busy) wait_on(&line.rest, &line.m);
}
static void parent(void)
{
    line.forking = 0;
    wake_all(&line.work);
    unlock(&line.m);
}
static void child(void)
{
    pthread_mutex_init(&line.m, NULL);
    pthread_cond_init(&line.work, NULL);
    pthread_cond_init(&line.rest, NULL);
    line.helper = line.forking = 0;
    line.forks++;
}
static void watch_forks(void) { pthread_atfork(prepare, parent, child); }
#endif

void fo_ahead_begin(fo_ahead *job)
{
    lock(&line.m);
    if (!line.watching) {
        watch_forks();
        line.watching = 1;
    }
    job->next = 0;
    job->running = 0;
    job->queued = 1;
    job->forks = line.forks;
    job->link = NULL;
    if (line.last && line.first) line.last->link = job;
    else line.first = job;
    line.last = job;
    atomic_fetch_add(&line.waiting, 1);
    if (!line.helper) line.helper = start_helper(helper_entry, NULL);         /* without one, fo_ahead_finish does it all */
    wake_all(&line.work);
    unlock(&line.m);
}

void fo_ahead_finish(fo_ahead *job)
{
    lock(&line.m);
    if (job->forks != line.forks) job->running = 0;       /* the threads that were at work on it are in the parent */
    while (some(job, 0)) { }
    leave(job);
    while (job->running > 0) {
        unsigned seen = atomic_load(&line.finished);
        unlock(&line.m);
        for (int spins = 0; spins < SPINS && atomic_load(&line.finished) == seen; spins++) relax();
        lock(&line.m);
        if (job->running > 0 && atomic_load(&line.finished) == seen) wait_on(&line.rest, &line.m);
    }
    unlock(&line.m);
}
#endif
