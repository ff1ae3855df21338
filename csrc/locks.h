/* locks.h: the locks and threads of the platform. Included where threads are built in: threads.c, ahead.c. */
#ifndef FO_LOCKS_H
#define FO_LOCKS_H
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
typedef LPTHREAD_START_ROUTINE thread_entry;
static int start_helper(thread_entry entry, void *arg)
{
    HANDLE h = CreateThread(NULL, 0, entry, arg, 0, NULL);
    if (!h) return 0;
    CloseHandle(h);
    return 1;
}
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
typedef void *(*thread_entry)(void *);
static int start_helper(thread_entry entry, void *arg)
{
    /* Helpers take no signals: Ctrl-C and the like belong to the threads of the program. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_attr_t attr;
    if (pthread_attr_init(&attr)) return 0;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_t id;
    int ok = pthread_create(&id, &attr, entry, arg) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return ok;
}
#endif

enum { SPINS = 2000 };             /* rounds of relax() before a waiting thread sleeps: tens of microseconds */
#endif
