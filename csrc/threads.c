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

#include <stdatomic.h>

#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
typedef SRWLOCK mutex_t;
typedef CONDITION_VARIABLE cond_t;
#define MUTEX_INIT SRWLOCK_INIT
#define COND_INIT CONDITION_VARIABLE_INIT
static void lock(mutex_t *m) { AcquireSRWLockExclusive(m); }
static int try_lock(mutex_t *m) { return TryAcquireSRWLockExclusive(m); }
static void unlock(mutex_t *m) { ReleaseSRWLockExclusive(m); }
static void wait_on(cond_t *c, mutex_t *m) { SleepConditionVariableSRW(c, m, INFINITE, 0); }
static void wake_all(cond_t *c) { WakeAllConditionVariable(c); }
static void relax(void) { YieldProcessor(); }
static DWORD WINAPI helper_entry(LPVOID arg);
static int start_helper(void *arg)
{
    HANDLE h = CreateThread(NULL, 0, helper_entry, arg, 0, NULL);
    if (!h) return 0;
    CloseHandle(h);
    return 1;
}
static void watch_forks(void) { }
#else
#include <pthread.h>
#include <sched.h>
#include <signal.h>
typedef pthread_mutex_t mutex_t;
typedef pthread_cond_t cond_t;
#define MUTEX_INIT PTHREAD_MUTEX_INITIALIZER
#define COND_INIT PTHREAD_COND_INITIALIZER
static void lock(mutex_t *m) { pthread_mutex_lock(m); }
static int try_lock(mutex_t *m) { return pthread_mutex_trylock(m) == 0; }
static void unlock(mutex_t *m) { pthread_mutex_unlock(m); }
static void wait_on(cond_t *c, mutex_t *m) { pthread_cond_wait(c, m); }
static void wake_all(cond_t *c) { pthread_cond_broadcast(c); }
static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}
static void *helper_entry(void *arg);
static int start_helper(void *arg)
{
    /* Helpers take no signals: Ctrl-C and the like belong to the threads of the program. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_t attr;
    if (pthread_attr_init(&attr)) return 0;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_t id;
    int ok = pthread_create(&id, &attr, helper_entry, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return ok;
}
#endif

enum { SPINS = 2000 };             /* rounds of relax() before a waiting thread sleeps: tens of microseconds */

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
    while (pool.helpers < threads - 1 && start_helper((void *)(size_t)atomic_load(&pool.job))) pool.helpers++;

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
