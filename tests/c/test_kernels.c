/* test_kernels.c: every rule on both widths and every instruction set that runs here, without Python: equal bits, layouts,
 * reductions, sums, averages, zeroing, offsets beyond 2^31. Values are compared with a reference by tests/test_rules.py. */
#define _GNU_SOURCE
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__)
#include <sys/mman.h>
#endif
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

/* ---- numbers ---- */
static uint64_t seed = 1;
static double number(void)                             /* in (-2, 2), never 0 */
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    double x = (double)(seed >> 11) / 4503599627370496.0 - 1;
    return 2 * (x == 0 ? 0.5 : x);
}
static size_t bytes_of(int width) { return width == FO_F32 ? sizeof(float) : sizeof(double); }
static void put(void *a, int width, ptrdiff_t i, double x)
{
    if (width == FO_F32) ((float *)a)[i] = (float)x;
    else ((double *)a)[i] = x;
}
static double get(const void *a, int width, ptrdiff_t i)
{
    return width == FO_F32 ? (double)((const float *)a)[i] : ((const double *)a)[i];
}
static void *filled(int width, ptrdiff_t n, double low)
{
    void *a = malloc((size_t)n * bytes_of(width) + 1);            /* one byte, so that n = 0 has an address */
    for (ptrdiff_t i = 0; i < n; i++) put(a, width, i, low > 0 ? low + fabs(number()) : number());
    return a;
}

/* Sensible hyper-parameters by name, in the order of the rule's row. */
static void hyper(int rule, double *h)
{
    static const struct { const char *name; double value; } known[] = {
        { "lr", 0.05 }, { "momentum", 0.9 }, { "dampening", 0.1 }, { "lr_in_buffer", 0 }, { "lr_decay", 0.1 }, { "eps", 1e-6 },
        { "eps_root", 1e-7 }, { "alpha", 0.9 }, { "rho", 0.9 }, { "beta1", 0.9 }, { "beta2", 0.99 }, { "eps_hat", 0 },
        { "amsgrad_corrected", 1 }, { "momentum_decay", 0.004 }, { "eta_minus", 0.5 }, { "eta_plus", 1.2 },
        { "step_min", 1e-6 }, { "step_max", 50 },
    };
    char names[256];
    strcpy(names, fo_rule_table[rule].hyper_names);
    int i = 0;
    for (char *name = strtok(names, " "); name; name = strtok(NULL, " "), i++) {
        int found = 0;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (!strcmp(known[k].name, name)) {
                h[i] = known[k].value;
                found = 1;
            }
        CHECK(found, "no value for %s of %s", name, fo_rule_table[rule].name);
    }
    CHECK(i <= FO_MAX_HYPER, "%s", fo_rule_table[rule].name);
}

/* ---- one tensor, stepped ---- */
typedef struct {
    fo_tensor t;
    fo_job job;
    fo_group group;
    double h[FO_MAX_HYPER], scalars[FO_MAX_SCALARS];
    ptrdiff_t blocks;
} trial;

static void begin(trial *x, int rule, int width, ptrdiff_t n, int flags)
{
    memset(x, 0, sizeof *x);
    x->blocks = (n + FO_BLOCK - 1) / FO_BLOCK;
    x->t = (fo_tensor){ .n = n, .width = width };
    x->t.p = filled(width, n, 0);
    x->t.g = filled(width, n, 0);
    for (int i = 0; i < fo_rule_table[rule].states; i++) x->t.s[i] = filled(width, n, 0.1);
    if (flags & FO_AVERAGE) x->t.avg = filled(width, n, 0);
    x->job = (fo_job){ .tensors = &x->t, .groups = &x->group, .count = 1, .blocks = x->blocks, .elements = n, .rule = rule, .flags = flags,
                       .momentum = fo_rule_table[rule].states ? 0 : -1, .scale = 1, .clip = INFINITY, .average = 0.25 };
    x->job.squares = calloc((size_t)x->blocks + 1, sizeof(double));
    x->job.sums = calloc((size_t)x->blocks + 1, sizeof(fo_sums));
    x->job.nonfinite = calloc((size_t)x->blocks + 1, sizeof(int64_t));
    for (int i = 0; i < FO_MAX_SCALARS; i++) x->scalars[i] = 1;
    hyper(rule, x->h);
}
static void steps(trial *x, int threads)
{
    for (int t = 1; t <= 3; t++) {
        fo_prepare(x->job.rule, x->h, 0.1, t == 2, t, x->scalars, &x->group);
        fo_step(&x->job, threads);
    }
}
static void end(trial *x)
{
    free(x->t.p);
    free(x->t.g);
    for (int i = 0; i < FO_MAX_STATES; i++) free(x->t.s[i]);
    free(x->t.avg);
    free(x->job.squares);
    free(x->job.sums);
    free(x->job.nonfinite);
}
/* Whether two trials hold the same bits everywhere. */
static int same(const trial *x, const trial *y)
{
    const size_t bytes = (size_t)x->t.n * bytes_of(x->t.width);
    int equal = !memcmp(x->t.p, y->t.p, bytes) && !memcmp(x->t.g, y->t.g, bytes);
    for (int i = 0; i < fo_rule_table[x->job.rule].states; i++) equal &= !memcmp(x->t.s[i], y->t.s[i], bytes);
    if (x->job.flags & FO_AVERAGE) equal &= !memcmp(x->t.avg, y->t.avg, bytes);
    if (x->job.flags & FO_STATS) equal &= !memcmp(x->job.sums, y->job.sums, (size_t)x->blocks * sizeof(fo_sums));
    return equal;
}

static const char *isa_by(int i) { return fo_isa_runs(i) ? fo_isa_name(i) : NULL; }

static void test_dispatch(void)
{
    int any = 0;
    for (int i = 0; fo_isa_name(i); i++) {
        int answer = fo_use(fo_isa_name(i));
        CHECK((answer == 0) == (fo_isa_runs(i) != 0), "%s", fo_isa_name(i));
        if (answer == 0) CHECK(!strcmp(fo_isa(), fo_isa_name(i)), "%s", fo_isa());
        any |= answer == 0;
    }
    CHECK(any, "no instruction set runs");
    const char *before = fo_isa();
    CHECK(fo_use("nothing") == -1, "an unknown name is taken");
    CHECK(fo_isa() == before, "a refused name changed the choice");
    CHECK(fo_use(NULL) == 0, "no best set");
    CHECK(fo_isa_name(-1) == NULL && !fo_isa_runs(-1) && !fo_isa_runs(99), "ends of the list");
}

static void test_isas_threads_and_ways(void)
{
    static const ptrdiff_t lengths[] = { 0, 1, 15, 16, 17, 1023, 1024, 1025, 8191, 8192, 8193, 3 * FO_BLOCK + 5, 13 * FO_BLOCK + 77 };
    static const int flags[] = { 0, FO_COUNT_NONFINITE, FO_STATS | FO_AVERAGE | FO_COUNT_NONFINITE, FO_ZERO_GRADS | FO_FLUSH };
    for (int rule = 0; rule < FO_RULES; rule++)
        for (int width = 0; width < FO_WIDTHS; width++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
                for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
                    trial first;
                    int have = 0;
                    for (int i = 0; fo_isa_name(i); i++) {
                        if (!isa_by(i)) continue;
                        fo_use(isa_by(i));
                        trial x;
                        seed = l * 100 + f;
                        begin(&x, rule, width, lengths[l], flags[f]);
                        steps(&x, i % 2 ? 3 : 1);
                        if (have) {
                            CHECK(same(&x, &first), "%s, width %d, n %td, flags %d, %s", fo_rule_table[rule].name, width, lengths[l],
                                  flags[f], isa_by(i));
                            end(&x);
                        } else {
                            first = x;
                            first.job.tensors = &first.t;
                            have = 1;
                        }
                        if (flags[f] & FO_ZERO_GRADS)
                            for (ptrdiff_t k = 0; k < lengths[l]; k++) CHECK(get(first.t.g, width, k) == 0, "g[%td] is left", k);
                    }
                    end(&first);
                }
    fo_use(NULL);
}

/* A strided copy of an array: shape (n0, n1, n2), gaps between elements, the second axis backwards. */
static void test_layouts(void)
{
    enum { N0 = 7, N1 = 11, N2 = 31, N = N0 * N1 * N2 };
    for (int i = 0; fo_isa_name(i); i++) {
        if (!isa_by(i)) continue;
        fo_use(isa_by(i));
        for (int rule = 0; rule < FO_RULES; rule++)
            for (int width = 0; width < FO_WIDTHS; width++)
                for (int which = 1; which < 4; which++) {
                    const ptrdiff_t b = (ptrdiff_t)bytes_of(width), step = 2 * b + 1;      /* an odd number of bytes apart */
                    trial x, y;
                    seed = 5;
                    begin(&x, rule, width, N, FO_AVERAGE | FO_STATS);
                    seed = 5;
                    begin(&y, rule, width, N, FO_AVERAGE | FO_STATS);
                    fo_layout at = { 3, { N0, N1, N2 }, { N1 * N2 * step, -N2 * step, step } };
                    char *room[2] = { malloc(N * step), malloc(N * step) }, *dense[2] = { y.t.p, y.t.g };
                    for (int k = 0; k < 2; k++) {
                        memset(room[k], 0x5a, N * step);
                        if (!(which >> k & 1)) continue;
                        char *base = room[k] + (N1 - 1) * N2 * step;
                        for (ptrdiff_t e = 0; e < N; e++) {
                            ptrdiff_t to = e / (N1 * N2) * at.strides[0] + e / N2 % N1 * at.strides[1] + e % N2 * at.strides[2];
                            memcpy(base + to, dense[k] + e * b, (size_t)b);
                        }
                        if (k == 0) y.t.p = base, y.t.p_at = &at;
                        else y.t.g = base, y.t.g_at = &at;
                    }
                    steps(&x, 1);
                    steps(&y, 1);
                    double nx = fo_gradient_norm(&x.job, (double[1]){ 0 }, 1), ny = fo_gradient_norm(&y.job, (double[1]){ 0 }, 1);
                    CHECK(nx == ny, "norm %.17g and %.17g", nx, ny);
                    for (int k = 0; k < 2; k++) {
                        if (!(which >> k & 1)) continue;
                        char *base = k == 0 ? y.t.p : y.t.g;
                        for (ptrdiff_t e = 0; e < N; e++) {
                            ptrdiff_t to = e / (N1 * N2) * at.strides[0] + e / N2 % N1 * at.strides[1] + e % N2 * at.strides[2];
                            memcpy(dense[k] + e * b, base + to, (size_t)b);
                            for (ptrdiff_t gap = b; gap < step; gap++) CHECK(base[to + gap] == 0x5a, "a gap was written");
                        }
                    }
                    y.t.p = dense[0], y.t.g = dense[1];
                    CHECK(same(&x, &y), "%s, width %d, strided %d, %s", fo_rule_table[rule].name, width, which, isa_by(i));
                    end(&x);
                    end(&y);
                    free(room[0]);
                    free(room[1]);
                }
    }
    fo_use(NULL);
}

static void test_by_hand(void)
{
    for (int width = 0; width < FO_WIDTHS; width++) {
        trial x;
        begin(&x, FO_RULE_momentum, width, 3, FO_AVERAGE | FO_STATS | FO_ZERO_GRADS);
        for (int i = 0; i < 3; i++) {
            put(x.t.p, width, i, i);
            put(x.t.g, width, i, 1 + i);
            put(x.t.s[0], width, i, 4);
            put(x.t.avg, width, i, 0);
        }
        double h[] = { 0.5, 0.25, 0, 0 };
        fo_prepare(FO_RULE_momentum, h, 0.5, 0, 2, x.scalars, &x.group);
        x.job.scale = 2;
        x.job.clip = 3;
        fo_step(&x.job, 1);
        /* g: 2, 4 -> 3, 6 -> 3; plus p/2: 2, 3.5, 4; b = 1 + g: 3, 4.5, 5; p - b/2 */
        const double p[] = { -1.5, -1.25, -0.5 }, b[] = { 3, 4.5, 5 };
        for (int i = 0; i < 3; i++) {
            CHECK(get(x.t.p, width, i) == p[i], "p[%d] = %g", i, get(x.t.p, width, i));
            CHECK(get(x.t.s[0], width, i) == b[i], "b[%d] = %g", i, get(x.t.s[0], width, i));
            CHECK(get(x.t.avg, width, i) == p[i] / 4, "avg[%d] = %g", i, get(x.t.avg, width, i));
            CHECK(get(x.t.g, width, i) == 0, "g[%d] is left", i);
        }
        const fo_sums s = x.job.sums[0];
        CHECK(s.gg == 4 + 12.25 + 16 && s.pp == 2.25 + 1.5625 + 0.25, "%g %g", s.gg, s.pp);
        CHECK(s.uu == 2.25 + 5.0625 + 6.25 && s.mm == 48 && s.gm == 4 * 9.5, "%g %g %g", s.uu, s.mm, s.gm);
        end(&x);

        begin(&x, FO_RULE_sgd, width, 2, 0);
        put(x.t.p, width, 0, 8);
        put(x.t.p, width, 1, -8);
        put(x.t.g, width, 0, 1);
        put(x.t.g, width, 1, 2);
        fo_prepare(FO_RULE_sgd, (double[]){ 0.5 }, 0.5, 1, 1, x.scalars, &x.group);      /* keep = 3/4 */
        fo_step(&x.job, 1);
        CHECK(get(x.t.p, width, 0) == 5.5 && get(x.t.p, width, 1) == -7, "decoupled decay");
        end(&x);
    }
}

static void test_norms(void)
{
    static const double sizes[] = { 1, 1e200, 1e-200, 1e154, 1e-160, 1e300, 1e-310, 1e30, 1e-30 };
    static const ptrdiff_t lengths[] = { 1, 63, 64, 65, 1000, FO_BLOCK + 1, 13 * FO_BLOCK + 3 };
    for (int width = 0; width < FO_WIDTHS; width++)
        for (size_t k = width == FO_F32 ? 7 : 0; k < (width == FO_F32 ? 9 : 7); k++)
            for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
                trial x;
                double norms[1], first = 0;
                begin(&x, FO_RULE_sgd, width, lengths[l], 0);
                long double sum = 0;
                for (ptrdiff_t i = 0; i < x.t.n; i++) {
                    put(x.t.g, width, i, number() * sizes[k]);
                    long double v = (long double)get(x.t.g, width, i);
                    sum += v * v;
                }
                double expected = (double)sqrtl(sum), room = width == FO_F32 ? 1.2e-7 : 1e-14;
                for (int i = 0, have = 0; fo_isa_name(i); i++) {
                    if (!isa_by(i)) continue;
                    fo_use(isa_by(i));
                    for (int threads = 1; threads < 4; threads++) {
                        double norm = fo_gradient_norm(&x.job, norms, threads);
                        if (sizeof(long double) > 8)
                            CHECK(fabs(norm - expected) <= room * expected + 5e-324, "%g for %g", norm, expected);
                        CHECK(norm == norms[0], "one tensor has the norm of all");
                        if (have++) CHECK(norm == first, "%s, %d threads: %.17g, not %.17g", isa_by(i), threads, norm, first);
                        else first = norm;
                    }
                }
                const double bad[] = { NAN, INFINITY, -INFINITY };
                for (int i = 0; i < 3; i++) {
                    put(x.t.g, width, x.t.n / 2, bad[i]);
                    CHECK(!isfinite(fo_gradient_norm(&x.job, norms, 1)), "a bad value is not seen");
                    CHECK(fo_count_nonfinite(&x.t) == 1, "%lld", (long long)fo_count_nonfinite(&x.t));
                }
                end(&x);
            }
    fo_use(NULL);
}

/* Several tensors, empty ones among them, of both widths, in one job: as each alone. */
static void test_many_tensors(void)
{
    static const ptrdiff_t lengths[] = { 0, 5, 0, 0, FO_BLOCK, 1, 3 * FO_BLOCK + 1, 0, 40000, 0 };
    enum { COUNT = sizeof lengths / sizeof *lengths };
    for (int rule = 0; rule < FO_RULES; rule++)
        for (int threads = 1; threads < 5; threads += 3) {
            trial alone[COUNT], together[COUNT];
            fo_tensor tensors[COUNT];
            ptrdiff_t blocks = 0, elements = 0;
            for (int i = 0; i < COUNT; i++) {
                seed = (uint64_t)i;
                begin(&alone[i], rule, i % 2, lengths[i], FO_COUNT_NONFINITE);
                seed = (uint64_t)i;
                begin(&together[i], rule, i % 2, lengths[i], FO_COUNT_NONFINITE);
                tensors[i] = together[i].t;
                tensors[i].first = blocks;
                blocks += together[i].blocks;
                elements += lengths[i] * 10;           /* more than there are, so that threads are woken */
                steps(&alone[i], 1);
            }
            trial all = together[0];
            all.job.tensors = tensors;
            all.job.groups = &all.group;
            all.job.count = COUNT;
            all.job.blocks = blocks;
            all.job.elements = elements;
            all.job.nonfinite = calloc((size_t)blocks, sizeof(int64_t));
            steps(&all, threads);
            free(all.job.nonfinite);
            for (int i = 0; i < COUNT; i++) {
                CHECK(same(&alone[i], &together[i]), "%s, tensor %d, %d threads", fo_rule_table[rule].name, i, threads);
                end(&alone[i]);
                end(&together[i]);
            }
        }
}

/* Three elements, 3 GiB apart: offsets that 32 bits do not hold. */
static void test_far_elements(void)
{
#if defined(__unix__) && defined(MAP_NORESERVE)
    const ptrdiff_t apart = (ptrdiff_t)3 << 30;
    if (sizeof(void *) < 8) return;
    char *room = mmap(NULL, (size_t)apart * 2 + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) {
        printf("far elements: skipped, no 6 GiB of addresses\n");
        return;
    }
    for (int sign = -1; sign < 2; sign += 2) {
        trial x;
        begin(&x, FO_RULE_sgd, FO_F64, 3, 0);
        fo_layout at = { 1, { 3 }, { sign * apart } };
        char *old = x.t.p;
        x.t.p = sign > 0 ? room : room + 2 * apart;
        x.t.p_at = &at;
        for (int i = 0; i < 3; i++) {
            double v = i;
            memcpy(x.t.p + i * sign * apart, &v, sizeof v);
            put(x.t.g, FO_F64, i, 1);
        }
        fo_prepare(FO_RULE_sgd, (double[]){ 0.5 }, 0, 0, 1, x.scalars, &x.group);
        fo_step(&x.job, 1);
        for (int i = 0; i < 3; i++) {
            double v;
            memcpy(&v, x.t.p + i * sign * apart, sizeof v);
            CHECK(v == i - 0.5, "element %d is %g", i, v);
        }
        x.t.p = old;
        end(&x);
    }
    munmap(room, (size_t)apart * 2 + 4096);
#endif
}

static void test_flush(void)
{
    trial x;
    for (int flush = 0; flush < 2; flush++) {
        begin(&x, FO_RULE_sgd, FO_F64, 1000, flush ? FO_FLUSH : 0);
        for (int i = 0; i < 1000; i++) {
            put(x.t.p, FO_F64, i, 0);
            put(x.t.g, FO_F64, i, 2.3e-308);
        }
        fo_prepare(FO_RULE_sgd, (double[]){ 0.25 }, 0, 0, 1, x.scalars, &x.group);
        fo_step(&x.job, 1);
        volatile double tiny = 2.3e-308;
        CHECK(tiny / 4 > 0, "the processor still flushes after the call");
#if defined(__x86_64__) || defined(__aarch64__)
        for (int i = 0; i < 1000; i++) CHECK((get(x.t.p, FO_F64, i) == 0) == flush, "p[%d] = %g", i, get(x.t.p, FO_F64, i));
#endif
        end(&x);
    }
}

int main(void)
{
    test_dispatch();
    test_by_hand();
    test_isas_threads_and_ways();
    test_layouts();
    test_norms();
    test_many_tensors();
    test_far_elements();
    test_flush();
    if (failures) printf("%d checks failed\n", failures);
    return failures != 0;
}
