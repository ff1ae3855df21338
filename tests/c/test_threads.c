/* test_threads.c: the pool: every piece exactly once, many callers at once, changing numbers of threads, forks. */
#define _GNU_SOURCE
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#define HAVE_POSIX 1
#endif
#include "fastopt.h"

static _Atomic int failures;
#define CHECK(condition, ...)                                                  \
    do {                                                                       \
        if (!(condition)) {                                                    \
            printf("%s:%d: %s: ", __FILE__, __LINE__, #condition);             \
            printf(__VA_ARGS__);                                               \
            printf("\n");                                                      \
            atomic_fetch_add(&failures, 1);                                    \
        }                                                                      \
    } while (0)

typedef struct {
    int *hits;                     /* plain ints: a piece that two threads run is a race that the sanitizer sees */
    ptrdiff_t n, grain;
    _Atomic ptrdiff_t calls;
} work;

static void count(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    work *w = ctx;
    atomic_fetch_add(&w->calls, 1);
    for (ptrdiff_t i = begin; i < end; i++) w->hits[i]++;
}

static void cover(ptrdiff_t n, ptrdiff_t grain, int threads)
{
    work w = { .hits = calloc((size_t)n + 1, sizeof(int)), .n = n, .grain = grain };
    fo_parallel(count, &w, n, grain, threads);
    for (ptrdiff_t i = 0; i < n; i++) CHECK(w.hits[i] == 1, "piece %td of %td ran %d times (grain %td, %d threads)", i, n, w.hits[i], grain, threads);
    CHECK(w.hits[n] == 0, "a piece past the end ran");
    if (n == 0) CHECK(w.calls == 0, "a call for nothing");
    free(w.hits);
}

static void test_cover(void)
{
    static const ptrdiff_t sizes[] = { 0, 1, 2, 3, 7, 16, 17, 100, 1001 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (ptrdiff_t grain = 0; grain < 20; grain += 3)
            for (int threads = 0; threads < 9; threads++) cover(sizes[i], grain, threads);
    cover(100, 200, 4);
    cover(100, 1, 100000);         /* more than the limit */
}

static void test_settings(void)
{
    fo_set_num_threads(3);
    CHECK(fo_get_num_threads() == (fo_threads_max() < 3 ? fo_threads_max() : 3), "%d", fo_get_num_threads());
    fo_set_num_threads(-5);
    CHECK(fo_get_num_threads() == 1, "%d", fo_get_num_threads());
    fo_set_num_threads(1 << 30);
    CHECK(fo_get_num_threads() == fo_threads_max(), "%d", fo_get_num_threads());
    fo_set_num_threads(2);
}

static void nested(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    for (ptrdiff_t i = begin; i < end; i++) cover(5, 1, 3);      /* the pool is busy: runs on this thread alone */
    atomic_fetch_add((_Atomic ptrdiff_t *)ctx, end - begin);
}
static void test_nested(void)
{
    _Atomic ptrdiff_t done = 0;
    fo_parallel(nested, &done, 40, 1, 4);
    CHECK(done == 40, "%td", (ptrdiff_t)done);
}

#ifdef HAVE_POSIX
static void *caller(void *arg)
{
    unsigned x = (unsigned)(size_t)arg;
    for (int i = 0; i < 400; i++) {
        x = x * 1664525u + 1013904223u;
        cover((ptrdiff_t)(x >> 24), 1 + (x >> 8) % 5, 1 + (int)((x >> 16) % 5));
    }
    return NULL;
}
static void test_many_callers(void)
{
    pthread_t id[4];
    for (size_t i = 0; i < 4; i++) CHECK(pthread_create(&id[i], NULL, caller, (void *)(i + 1)) == 0, "no thread");
    for (size_t i = 0; i < 4; i++) pthread_join(id[i], NULL);
}

/* After a pause helpers sleep; the next job must wake them and the one after must not be lost. */
static void test_sleep_and_wake(void)
{
    for (int i = 0; i < 30; i++) {
        struct timespec pause = { 0, (i % 5) * 400000 };
        nanosleep(&pause, NULL);
        cover(64, 1, 2 + i % 4);
    }
}

static int ends_well(pid_t child)
{
    for (int i = 0; i < 20000; i++) {
        int status;
        if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        struct timespec pause = { 0, 1000000 };
        nanosleep(&pause, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}

/* Pieces that take a while are shared: the pool is there and its helpers come. */
static void linger(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    struct timespec pause = { 0, 3000000 };
    for (ptrdiff_t i = begin; i < end; i++) ((pthread_t *)ctx)[i] = pthread_self();
    nanosleep(&pause, NULL);
}
static void shared_work(const char *who)
{
    pthread_t ran[24];
    int others = 0;
    fo_parallel(linger, ran, 24, 1, 3);
    for (int i = 0; i < 24; i++) others += !pthread_equal(ran[i], pthread_self());
    CHECK(fo_threads_max() == 1 || others > 0, "%s: no helper took any of 24 pieces", who);
}

static _Atomic int stop;
static void *busy(void *arg)
{
    while (!atomic_load(&stop)) cover(200, 1, 3);
    return arg;
}
static void forks(int times)
{
    for (int i = 0; i < times; i++) {
        cover(100, 1, 3);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            cover(100, 1, 3);
            cover(1000, 2, 4);
            if (i < 5) shared_work("child");
            _exit(atomic_load(&failures) != 0);
        }
        CHECK(child > 0 && ends_well(child), "child %d", i);
        cover(100, 1, 2);
    }
}
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif
static void test_forks(void)
{
#ifdef UNDER_TSAN
    printf("forks: left out, the thread sanitizer dies in children that start threads\n");
#else
    forks(100);
    pthread_t id;
    CHECK(pthread_create(&id, NULL, busy, NULL) == 0, "no thread");
    forks(100);
    atomic_store(&stop, 1);
    pthread_join(id, NULL);
#endif
}

/* Helpers block all signals: one sent to the process comes to a thread of the program. */
static _Atomic int signals_here;
static pthread_t main_thread;
static void on_signal(int number)
{
    (void)number;
    if (pthread_equal(pthread_self(), main_thread)) atomic_fetch_add(&signals_here, 1);
    else atomic_fetch_add(&signals_here, 1000);
}
static void test_signals(void)
{
    main_thread = pthread_self();
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGUSR1, &action, NULL);
    for (int i = 0; i < 20; i++) {
        cover(64, 1, 4);
        kill(getpid(), SIGUSR1);
    }
    struct timespec pause = { 0, 1000000 };
    for (int i = 0; i < 2000 && signals_here == 0; i++) nanosleep(&pause, NULL);
    CHECK(signals_here >= 1 && signals_here <= 20, "%d", (int)signals_here);
    action.sa_handler = SIG_IGN;   /* not the default: one may still be on its way */
    sigaction(SIGUSR1, &action, NULL);
}
#endif

/* A step on several threads, again and again: the sanitizer looks at the kernels as well. */
static void test_steps(void)
{
    enum { N = 20 * FO_BLOCK + 13 };
    float *p = calloc(N, sizeof *p), *g = malloc(N * sizeof *g);
    for (int i = 0; i < N; i++) g[i] = 1;
    fo_tensor t = { .n = N, .p = (char *)p, .g = (char *)g, .width = FO_F32 };
    fo_group group;
    double squares[21], scalars[FO_MAX_SCALARS] = { 1 }, norms[1];
    fo_job job = { .tensors = &t, .groups = &group, .count = 1, .blocks = 21, .elements = N, .rule = FO_RULE_sgd, .momentum = -1, .scale = 1,
                   .clip = INFINITY, .squares = squares };
    for (int i = 1; i <= 40; i++) {
        double norm = fo_gradient_norm(&job, norms, 1 + i % 4);
        CHECK(norm * norm > N - 1 && norm * norm < N + 1, "%g", norm);
        fo_prepare(FO_RULE_sgd, (double[]){ 1.0 }, 0, 0, i, scalars, &group);
        fo_step(&job, 1 + i % 4);
    }
    for (int i = 0; i < N; i++) CHECK(p[i] == -40, "p[%d] = %g", i, (double)p[i]);
    free(p);
    free(g);
}

int main(void)
{
    test_settings();
    test_cover();
    test_nested();
    test_steps();
#ifdef HAVE_POSIX
    test_many_callers();
    test_sleep_and_wake();
    shared_work("parent");
    test_signals();
    test_forks();
#endif
    if (failures) printf("%d checks failed\n", (int)failures);
    return failures != 0;
}
