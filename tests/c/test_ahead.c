/* Jobs that begin now and are waited for later: every piece done once, from several threads at a time, before and after a fork. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "fastopt.h"

static int failures;
#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); failures++; } } while (0)

enum { N = 1000, JOBS = 8 };
typedef struct { fo_ahead job; int done[N]; } counted;

static void count(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    int *done = ctx;
    for (ptrdiff_t i = begin; i < end; i++) done[i]++;
}

static void begin(counted *c, ptrdiff_t n, ptrdiff_t grain)
{
    memset(c, 0, sizeof *c);
    c->job.task = count;
    c->job.ctx = c->done;
    c->job.n = n;
    c->job.grain = grain;
    fo_ahead_begin(&c->job);
}

static int whole(const counted *c, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < N; i++)
        if (c->done[i] != (i < n)) return 0;
    return 1;
}

static void *many(void *arg)
{
    counted *c = malloc(JOBS * sizeof *c);
    int *bad = arg;
    for (int turn = 0; turn < 300; turn++) {
        for (int k = 0; k < JOBS; k++) begin(&c[k], (turn * 37 + k) % (N + 1), 1 + turn % 50);
        for (int k = 0; k < JOBS; k++) {
            int at = turn % 2 ? k : JOBS - 1 - k;         /* in the order of the list, and against it */
            fo_ahead_finish(&c[at].job);
            *bad += !whole(&c[at], (turn * 37 + at) % (N + 1));
        }
    }
    free(c);
    return NULL;
}

int main(void)
{
    pthread_t threads[3];
    int bad[3] = { 0 };
    for (int k = 0; k < 3; k++) pthread_create(&threads[k], NULL, many, &bad[k]);
    for (int k = 0; k < 3; k++) {
        pthread_join(threads[k], NULL);
        CHECK(bad[k] == 0);
    }
    static counted c;
    for (int turn = 0; turn < 20; turn++) {
        begin(&c, N, 7);
        unsigned forks = fo_ahead_forks();
        pid_t pid = fork();
        fo_ahead_finish(&c.job);                          /* in both */
        CHECK(whole(&c, N));
        if (pid == 0) {
            CHECK(fo_ahead_forks() == forks + 1);
            begin(&c, N, 1);
            fo_ahead_finish(&c.job);
            CHECK(whole(&c, N));
            _exit(failures != 0);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        CHECK(fo_ahead_forks() == forks);
    }
    return failures != 0;
}
