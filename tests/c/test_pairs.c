/* test_pairs.c: the memory of L-BFGS without Python, for sanitizers: exact sizes of block, scratch and vectors, all lengths around tiles and
 * blocks, a ring that turns; compact form against two loops, secant equation. Values against dense BFGS: tests/test_pairs.py. */
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
static double number(void)                             /* in (-1, 1) */
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(seed >> 11) / 4503599627370496.0 - 1;
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
static void *vector(int width, ptrdiff_t n) { return malloc((size_t)n * bytes_of(width) + 1); }

/* |a - sign b| / |b| */
static double apart(const void *a, const void *b, double sign, int width, ptrdiff_t n)
{
    double over = 0, under = 1e-300;
    for (ptrdiff_t i = 0; i < n; i++) {
        const double x = get(a, width, i), y = sign * get(b, width, i);
        over += (x - y) * (x - y);
        under += y * y;
    }
    return sqrt(over / under);
}

static void walk(int width, ptrdiff_t n, int m, int threads)
{
    const double room = width == FO_F32 ? 1e-3 : 1e-11;
    const size_t size = fo_pairs_bytes(width, n, m);
    void *block = aligned_alloc(64, (size + 63) / 64 * 64), *scratch = malloc(fo_pairs_scratch(width, n, m) + 1);
    void *x = vector(width, n), *xt = vector(width, n), *g = vector(width, n), *gt = vector(width, n);
    void *d = vector(width, n), *e = vector(width, n), *s = vector(width, n), *y = vector(width, n);
    fo_pair_sums z;
    fo_pairs_begin(block, width, n, m);
    const fo_pairs *head = block;
    for (ptrdiff_t i = 0; i < n; i++) {
        put(x, width, i, number());
        put(g, width, i, (1 + (double)(i % 7)) * get(x, width, i));
    }
    for (int k = 0; k < 2 * m + 3; k++) {
        for (ptrdiff_t i = 0; i < n; i++) {
            put(xt, width, i, number());
            put(gt, width, i, (1 + (double)(i % 7)) * get(xt, width, i));
        }
        const int before = head->count;
        fo_pairs_measure(block, x, xt, g, gt, &z, scratch, threads);
        CHECK(z.sy > 0 && z.ss > 0 && z.gg > 0 && z.largest > 0, "n=%td", n);
        if (k % 4 == 2) fo_pairs_damp(block, 0.5, gt, &z, scratch, threads);
        if (k % 5 == 3) fo_pairs_reject(block);
        else fo_pairs_accept(block);
        CHECK(head->count <= m && head->count >= before - 1, "n=%td count=%d", n, head->count);
        const double slope = fo_pairs_direction(block, gt, d, scratch, threads);
        const double again = fo_pairs_two_loop(block, gt, e, scratch, threads);
        CHECK(slope < 0 && fabs(slope - again) <= room * fabs(slope), "n=%td %g %g", n, slope, again);
        CHECK(apart(d, e, 1, width, n) < room, "width=%d n=%td m=%d k=%d: %g", width, n, m, k, apart(d, e, 1, width, n));
        fo_pairs_product(block, gt, e, scratch, threads);
        CHECK(apart(e, d, -1, width, n) < room, "n=%td", n);
        if (head->count) {
            fo_pairs_get(block, head->count - 1, s, y);
            fo_pairs_product(block, y, e, scratch, threads);
            CHECK(apart(e, s, 1, width, n) < room, "secant: width=%d n=%td m=%d k=%d: %g", width, n, m, k, apart(e, s, 1, width, n));
        }
        void *t = x;
        x = xt;
        xt = t;
        t = g;
        g = gt;
        gt = t;
    }
    /* A copy elsewhere goes on with the same bits. */
    void *copy = aligned_alloc(64, (size + 63) / 64 * 64);
    memcpy(copy, block, size);
    const double one = fo_pairs_product(block, g, d, scratch, threads), two = fo_pairs_product(copy, g, e, scratch, 1);
    CHECK(one == two && !memcmp(d, e, (size_t)n * bytes_of(width)), "n=%td", n);
    fo_pairs_reset(block);
    CHECK(head->count == 0 && head->gamma == 1, "n=%td", n);
    void *all[] = { block, scratch, x, xt, g, gt, d, e, s, y, copy };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

int main(void)
{
    static const ptrdiff_t sizes[] = { 1, 2, 15, 16, 17, 33, 1000, 1023, 1024, 1025, 8191, 8193, 20000 };
    for (int i = 0; fo_isa_name(i); i++) {
        if (!fo_isa_runs(i)) continue;
        fo_use(fo_isa_name(i));
        for (int width = 0; width < FO_WIDTHS; width++)
            for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
                walk(width, sizes[k], 5, 2);
                if (sizes[k] < 1100) {
                    walk(width, sizes[k], 1, 1);
                    walk(width, sizes[k], FO_PAIRS_MAX, 1);
                }
            }
    }
    if (!failures) printf("ok\n");
    return failures != 0;
}
