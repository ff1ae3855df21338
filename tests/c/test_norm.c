/* test_norm.c: normalization without Python, for the sanitizers: every shape of walk on both widths and every instruction set that runs here.
 * Equal bits for 1 to 8 threads; values against plain loops; gradients sum to nothing; edges of nothing and of one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fastopt.h"

static int failures;
#define CHECK(condition, ...)                                                  \
    do {                                                                       \
        if (!(condition)) {                                                    \
            printf("%s:%d: %s: ", __FILE__, __LINE__, #condition);             \
            printf(__VA_ARGS__);                                               \
            printf("\n");                                                      \
            failures++;                                                        \
        }                                                                      \
    } while (0)

static uint64_t seed = 1;
static double number(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return 4 * ((double)(seed >> 11) / 9007199254740992.0) - 2;
}
static size_t bytes_of(int width) { return width == FO_F32 ? sizeof(float) : sizeof(double); }
static void put(void *a, int width, ptrdiff_t i, double x)
{
    if (width == FO_F32) ((float *)a)[i] = (float)x;
    else ((double *)a)[i] = x;
}
static double get(const void *a, int width, ptrdiff_t i) { return width == FO_F32 ? (double)((const float *)a)[i] : ((const double *)a)[i]; }
/* Of exactly n elements, so that a step past the end is found. */
static void *filled(int width, ptrdiff_t n)
{
    void *a = malloc((size_t)n * bytes_of(width) + !n);
    for (ptrdiff_t i = 0; i < n; i++) put(a, width, i, number());
    return a;
}

typedef struct { ptrdiff_t outer, channels, inner, batch, groups, size; int first; } shape;
static const shape shapes[] = {
    { 7, 5, 1, 7, 1, 0, 0 }, { 64, 16, 1, 64, 1, 0, 0 }, { 261, 48, 1, 261, 1, 0, 0 }, { 1100, 3, 1, 1100, 4, 0, 0 },
    { 700, 1300, 1, 700, 3, 250, 0 }, { 9, 4, 5, 9, 2, 0, 0 }, { 6, 3, 70, 6, 1, 0, 0 }, { 2, 3, 9000, 2, 2, 0, 0 }, { 1, 4, 300, 100, 3, 0, 1 },
    { 500, 1, 1, 500, 1, 0, 0 }, { 1, 6, 1, 1, 1, 0, 0 }, { 0, 6, 1, 0, 1, 0, 0 }, { 8, 0, 1, 8, 1, 0, 0 }, { 24, 10, 1, 8, 2, 0, 0 },
    { 1, 2, 20000, 20000, 1, 0, 1 }, { 4, 2, 0, 4, 1, 0, 0 },
};

typedef struct {
    fo_norm job;
    ptrdiff_t n;
    double *running, count;
} trial;

static trial begin(shape s, int width, int offset)
{
    trial t = { .n = s.outer * s.channels * s.inner };
    seed = 7;
    fo_norm *j = &t.job;
    *j = (fo_norm){ .width = width, .first = s.first, .outer = s.outer, .channels = s.channels, .inner = s.inner, .batch = s.batch,
                    .groups = s.groups, .size = s.size, .eps = 1e-5 };
    void *x = filled(width, t.n);
    if (offset)
        for (ptrdiff_t i = 0; i < t.n; i++) put(x, width, i, get(x, width, i) + offset);
    j->x = x;
    j->dy = filled(width, t.n);
    j->gamma = filled(width, s.channels);
    j->beta = filled(width, s.channels);
    j->y = filled(width, t.n);
    j->dx = filled(width, t.n);
    j->dgamma = filled(width, s.channels);
    j->dbeta = filled(width, s.channels);
    const size_t all = (size_t)(s.groups * s.channels) * sizeof(double);
    j->mean = malloc(all + 1);
    j->rstd = malloc(all + 1);
    j->var = malloc(all + 1);
    j->scratch = malloc(fo_norm_scratch(j));
    t.running = calloc(2 * (size_t)s.channels + 1, sizeof(double));
    return t;
}
static void run(trial *t, int threads)
{
    fo_norm_train(&t->job, threads);
    fo_norm_running(&t->job, FO_F64, t->running, t->running + t->job.channels, &t->count, 0.9, 0.1, 1);
    fo_norm_back(&t->job, 0, 0, threads);
}
static void end(trial *t)
{
    const void *all[] = { t->job.x, t->job.dy, t->job.gamma, t->job.beta, t->job.y, t->job.dx, t->job.dgamma, t->job.dbeta, t->job.mean,
                          t->job.rstd, t->job.var, t->job.scratch, t->running };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free((void *)all[i]);
}
static int same(const trial *a, const trial *b)
{
    const size_t all = (size_t)a->n * bytes_of(a->job.width), some = (size_t)a->job.channels * bytes_of(a->job.width);
    return !memcmp(a->job.y, b->job.y, all) && !memcmp(a->job.dx, b->job.dx, all) && !memcmp(a->job.dgamma, b->job.dgamma, some)
        && !memcmp(a->job.dbeta, b->job.dbeta, some) && a->count == b->count
        && !memcmp(a->running, b->running, 2 * (size_t)a->job.channels * sizeof(double));
}

/* One group: channel c of x against plain loops. */
static void check_values(const trial *t, const char *isa)
{
    const fo_norm *j = &t->job;
    const double tolerance = j->width == FO_F32 ? 3e-6 : 1e-12, n = (double)j->outer * (double)j->inner;
    for (ptrdiff_t c = 0; c < j->channels; c++) {
        double mean = 0, var = 0, shift = 0;
#define EACH for (ptrdiff_t o = 0; o < j->outer; o++) for (ptrdiff_t i = 0, k = (o * j->channels + c) * j->inner; i < j->inner; i++, k++)
        EACH mean += get(j->x, j->width, k) / n;
        EACH var += (get(j->x, j->width, k) - mean) * (get(j->x, j->width, k) - mean) / n;
        EACH {
            const double wanted = get(j->gamma, j->width, c) * (get(j->x, j->width, k) - mean) / sqrt(var + j->eps) + get(j->beta, j->width, c);
            CHECK(fabs(get(j->y, j->width, k) - wanted) <= 8 * tolerance, "%s, channel %td: %g, wanted %g", isa, c, get(j->y, j->width, k), wanted);
            shift += get(j->dx, j->width, k);
        }
        CHECK(fabs(shift) <= tolerance * (n + 1) * 4, "%s, channel %td: the gradient shifts by %g", isa, c, shift);
    }
}

static void test_batch(void)
{
    for (int width = 0; width < FO_WIDTHS; width++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int offset = 0; offset <= 900; offset += 900) {
                trial first = begin(shapes[s], width, offset);
                fo_use(NULL);
                run(&first, 1);
                if (shapes[s].groups == 1 && !offset) check_values(&first, fo_isa());
                for (int i = 0; fo_isa_name(i); i++) {
                    if (!fo_isa_runs(i)) continue;
                    fo_use(fo_isa_name(i));
                    for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
                        trial x = begin(shapes[s], width, offset);
                        run(&x, threads);
                        CHECK(same(&x, &first), "shape %zu, width %d, %s, %d threads", s, width, fo_isa_name(i), threads);
                        end(&x);
                    }
                }
                end(&first);
            }
    fo_use(NULL);
}

/* In place, with statistics given, without gamma; dx over dy. */
static void test_ways(void)
{
    for (int width = 0; width < FO_WIDTHS; width++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
            if (shapes[s].groups > 1) continue;
            trial a = begin(shapes[s], width, 0);
            run(&a, 2);
            trial c = begin(shapes[s], width, 0);
            free(c.job.dx);
            c.job.dx = (void *)c.job.dy;
            run(&c, 1);
            const size_t all = (size_t)a.n * bytes_of(width);
            CHECK(!memcmp(a.job.dx, c.job.dx, all), "dx over dy, shape %zu", s);
            c.job.dx = NULL;
            fo_norm_given(&a.job, FO_F64, a.running, a.running + a.job.channels);
            fo_norm_apply(&a.job, 1);
            void *y = malloc(all + 1);
            memcpy(y, a.job.y, all);
            free(a.job.y);
            a.job.y = (void *)a.job.x;
            fo_norm_apply(&a.job, 2);
            CHECK(!memcmp(a.job.x, y, all), "y over x, shape %zu", s);
            fo_norm_back(&a.job, 1, 0, 1);
            fo_norm_back(&a.job, 0, 1, 1);
            a.job.y = y;
            end(&a);
            end(&c);
        }
}

static void test_rows(void)
{
    static const ptrdiff_t sizes[][2] = { { 1, 1 }, { 5, 17 }, { 130, 64 }, { 300, 401 }, { 0, 8 }, { 3, 1000 } };
    for (int width = 0; width < FO_WIDTHS; width++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
            for (int centred = 0; centred < 2; centred++) {
                const ptrdiff_t rows = sizes[s][0], cols = sizes[s][1], n = rows * cols;
                void *kept[4] = { NULL, NULL, NULL, NULL };
                for (int i = 0; fo_isa_name(i); i++)
                    for (int threads = 1; threads <= 3; threads += 2) {
                        if (!fo_isa_runs(i)) continue;
                        fo_use(fo_isa_name(i));
                        seed = 3;
                        void *x = filled(width, n), *dy = filled(width, n), *gamma = filled(width, cols), *beta = filled(width, cols);
                        void *out[4] = { filled(width, n), filled(width, n), filled(width, cols), filled(width, cols) };
                        fo_layer_norm job = { .width = width, .centred = centred, .rows = rows, .cols = cols, .eps = 1e-5, .gamma = gamma,
                                              .beta = beta, .x = x, .y = out[0], .dy = dy, .dx = out[1], .dgamma = out[2], .dbeta = out[3] };
                        job.mean = malloc((size_t)rows * sizeof(double) + 1);
                        job.rstd = malloc((size_t)rows * sizeof(double) + 1);
                        job.scratch = malloc(fo_layer_norm_scratch(&job));
                        fo_layer_norm_forward(&job, threads);
                        fo_layer_norm_back(&job, threads);
                        for (int k = 0; k < 4; k++) {
                            const size_t bytes = (size_t)(k < 2 ? n : cols) * bytes_of(width);
                            if (kept[k]) CHECK(!memcmp(out[k], kept[k], bytes), "rows %td x %td, %s", rows, cols, fo_isa_name(i));
                            else {
                                kept[k] = malloc(bytes + 1);
                                memcpy(kept[k], out[k], bytes);
                            }
                            free(out[k]);
                        }
                        free(x), free(dy), free(gamma), free(beta), free(job.mean), free(job.rstd), free(job.scratch);
                    }
                for (int k = 0; k < 4; k++) free(kept[k]);
            }
    fo_use(NULL);
}

int main(void)
{
    test_batch();
    test_ways();
    test_rows();
    printf(failures ? "%d failures\n" : "ok\n", failures);
    return failures != 0;
}
