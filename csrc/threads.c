/* threads.c: the pool behind fo_parallel. Left out: nested parallelism, priorities, affinity.
 *
 * One job at a time. Helpers wait for a new job number, first spinning for a short while (a step is often followed
 * by another within microseconds), then sleeping, so that they do not take the cores from BLAS between two steps.
 */
#include "threads.h"

#if defined(FO_NO_THREADS)

int fo_threads_max(void) { return 1; }
void fo_parallel(fo_task task, void *ctx, ptrdiff_t n, ptrdiff_t grain, int threads)
{
    (void)grain; (void)threads;
    if (n > 0) task(ctx, 0, n);
}

#else

#include "locks.h"

static struct {
    mutex_t owner;                 /* held by the caller whose job is running */
    mutex_t m;                     /* guards sleeping and waking */
    cond_t start, done;
    int helpers;                   /* threads that exist besides callers */
    int watching;                  /* the fork handler is registered */
    _Atomic unsigned job;          /* number of the newest job */
    _Atomic int seats;             /* helpers that may still join this job; below 0: closed */
    _Atomic int inside;            /* helpers at work on it */
    _Atomic ptrdiff_t next;        /* first piece not yet taken */
    ptrdiff_t n, grain;
    fo_task task;
    void *ctx;
} pool = { .owner = MUTEX_INIT, .m = MUTEX_INIT, .start = COND_INIT, .done = COND_INIT };

int fo_threads_max(void) { return FO_THREADS_LIMIT; }

static void work(void)
{
    for (;;) {
        ptrdiff_t begin = atomic_fetch_add(&pool.next, pool.grain);
        if (begin >= pool.n) return;
        ptrdiff_t end = pool.n - begin > pool.grain ? begin + pool.grain : pool.n;
        pool.task(pool.ctx, begin, end);
    }
}

static void helper_loop(unsigned seen)
{
    for (;;) {
        int spins = 0;
        while (atomic_load(&pool.job) == seen && spins++ < SPINS) relax();
        if (atomic_load(&pool.job) == seen) {
            lock(&pool.m);
            while (atomic_load(&pool.job) == seen) wait_on(&pool.start, &pool.m);
            unlock(&pool.m);
        }
        seen = atomic_load(&pool.job);
        /* `inside` is raised before the seat is taken, so a caller that has closed the seats and then reads 0
         * knows that nobody will look at the job any more. */
        atomic_fetch_add(&pool.inside, 1);
        if (atomic_fetch_sub(&pool.seats, 1) > 0) work();
        if (atomic_fetch_sub(&pool.inside, 1) == 1) {
            lock(&pool.m);
            wake_all(&pool.done);
            unlock(&pool.m);
        }
    }
}

#if defined(_WIN32)
static void watch_forks(void) { }
static DWORD WINAPI helper_entry(LPVOID arg) { helper_loop((unsigned)(size_t)arg); return 0; }
#else
static void *helper_entry(void *arg) { helper_loop((unsigned)(size_t)arg); return NULL; }

/* A fork copies the locks in whatever state they are, but none of the helpers. prepare() waits until no job is
 * running, so that the child is born with a quiet pool; the child then forgets the helpers it does not have. */
static void prepare(void) { lock(&pool.owner); lock(&pool.m); }
static void parent(void) { unlock(&pool.m); unlock(&pool.owner); }
static void child(void)
{
    pthread_mutex_init(&pool.owner, NULL);
    pthread_mutex_init(&pool.m, NULL);
    pthread_cond_init(&pool.start, NULL);
    pthread_cond_init(&pool.done, NULL);
    pool.helpers = 0;
    atomic_store(&pool.inside, 0);
    atomic_store(&pool.seats, 0);
}
static void watch_forks(void) { pthread_atfork(prepare, parent, child); }
#endif

void fo_parallel(fo_task task, void *ctx, ptrdiff_t n, ptrdiff_t grain, int threads)
{
    if (n <= 0) return;
    if (grain < 1) grain = 1;
    ptrdiff_t pieces = (n - 1) / grain + 1;
    if (threads > FO_THREADS_LIMIT) threads = FO_THREADS_LIMIT;
    if (threads > pieces) threads = (int)pieces;
    if (threads <= 1 || !try_lock(&pool.owner)) {
        task(ctx, 0, n);
        return;
    }
    if (!pool.watching) {
        watch_forks();
        pool.watching = 1;
    }
    while (pool.helpers < threads - 1 && start_helper(helper_entry, (void *)(size_t)atomic_load(&pool.job))) pool.helpers++;

    pool.task = task;
    pool.ctx = ctx;
    pool.n = n;
    pool.grain = grain;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.seats, threads - 1);
    lock(&pool.m);
    atomic_fetch_add(&pool.job, 1);
    wake_all(&pool.start);
    unlock(&pool.m);

    work();
    atomic_store(&pool.seats, 0);
    for (int spins = 0; atomic_load(&pool.inside) > 0 && spins < SPINS; spins++) relax();
    if (atomic_load(&pool.inside) > 0) {
        lock(&pool.m);
        while (atomic_load(&pool.inside) > 0) wait_on(&pool.done, &pool.m);
        unlock(&pool.m);
    }
    unlock(&pool.owner);
}
#endif
