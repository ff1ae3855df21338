/* The keyed permutation: a bijection with its inverse for every small n, slices like single elements, every buffer exactly as long as it says, on
 * every instruction set. The table for draws by weight: chances to the last bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fastopt.h"

static int failures;
#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); failures++; } } while (0)

static uint64_t state = 88172645463325252u;
static uint32_t next(void)
{
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static fo_permute begin(int64_t n)
{
    uint32_t *words = malloc(FO_PERMUTE_WORDS * sizeof *words);
    for (int i = 0; i < FO_PERMUTE_WORDS; i++) words[i] = next();
    fo_permute p;
    fo_permute_begin(&p, n, words);
    free(words);
    return p;
}

static int64_t get(const void *out, int wide, ptrdiff_t i) { return wide ? ((const int64_t *)out)[i] : (int64_t)((const uint32_t *)out)[i]; }

static void small(int64_t n, int wide, int threads)
{
    fo_permute p = begin(n);
    void *out = malloc((size_t)n * (wide ? 8 : 4));
    char *seen = calloc((size_t)n, 1);
    fo_permute_slice(&p, 0, 1, n, wide, out, threads);
    for (int64_t i = 0; i < n; i++) {
        int64_t v = get(out, wide, i);
        CHECK(v >= 0 && v < n && !seen[v]);
        seen[v] = 1;
        if (n < 2000 || i % 997 == 0) {
            CHECK(fo_permute_at(&p, i, 0) == v);
            CHECK(fo_permute_at(&p, v, 1) == i);
        }
    }
    int64_t *places = malloc((size_t)n * 8);
    for (int64_t i = 0; i < n; i++) places[i] = n - 1 - i;
    fo_permute_map(&p, places, places, n, 0, threads);
    for (int64_t i = 0; i < n; i++) CHECK(places[i] == get(out, wide, n - 1 - i));
    fo_permute_map(&p, places, places, n, 1, threads);
    for (int64_t i = 0; i < n; i++) CHECK(places[i] == n - 1 - i);
    free(places); free(seen); free(out);
}

static void large(int64_t n)
{
    fo_permute p = begin(n);
    int wide = n > INT64_C(0xffffffff);
    CHECK(p.rows <= UINT32_C(1) << 31 && p.shift >= 1 && p.shift <= (wide ? 32u : 16u));
    for (ptrdiff_t count = 1; count < 300; count += 43) {
        const int64_t firsts[3] = { 0, n / 2, n - count };
        void *out = malloc((size_t)count * (wide ? 8 : 4));
        for (int k = 0; k < 3; k++) {
            fo_permute_slice(&p, firsts[k], 1, count, wide, out, 1);
            for (ptrdiff_t i = 0; i < count; i++) {
                CHECK(get(out, wide, i) >= 0 && get(out, wide, i) < n);
                CHECK(get(out, wide, i) == fo_permute_at(&p, firsts[k] + i, 0));
                CHECK(fo_permute_at(&p, get(out, wide, i), 1) == firsts[k] + i);
            }
        }
        fo_permute_slice(&p, n - 1, -(n / 300), count, wide, out, 1);
        for (ptrdiff_t i = 0; i < count; i++) CHECK(get(out, wide, i) == fo_permute_at(&p, n - 1 - i * (n / 300), 0));
        free(out);
    }
}

/* What the table gives each row: (threshold of its own + all that others leave to it) / n. */
static void table(int64_t n, int kind)
{
    double *weights = malloc((size_t)n * 8), *share = malloc((size_t)n * 8), total = 0;
    uint64_t *threshold = malloc((size_t)n * 8);
    int64_t *other = malloc((size_t)n * 8), *work = malloc((size_t)n * 8);
    for (int64_t i = 0; i < n; i++) {
        weights[i] = kind == 0 ? 1 : kind == 1 ? next() % 7 : kind == 2 ? ldexp(1 + next() % 9, (int)(next() % 600) - 300) : (double)next();
        if (i == n / 2 && weights[i] == 0) weights[i] = 1;
        total += weights[i];
    }
    fo_alias(weights, n, threshold, other, share, work);
    memset(share, 0, (size_t)n * 8);
    for (int64_t i = 0; i < n; i++) {
        CHECK(other[i] >= 0 && other[i] < n);
        double kept = threshold[i] == UINT64_MAX ? 1 : ldexp((double)threshold[i], -64);
        share[i] += kept;
        share[other[i]] += 1 - kept;
        if (weights[i] == 0) CHECK(threshold[i] == 0);
        CHECK(threshold[i] == UINT64_MAX || weights[other[i]] > 0);
    }
    for (int64_t i = 0; i < n; i++) CHECK(fabs(share[i] - weights[i] / total * (double)n) < 1e-12 * (double)n);
    free(weights); free(share); free(threshold); free(other); free(work);
}

int main(void)
{
    for (int isa = 0; fo_isa_name(isa); isa++) {
        if (fo_use(fo_isa_name(isa))) continue;
        for (int64_t n = 1; n < 300; n++) { small(n, 0, 1); small(n, 1, 1); }
        small(70001, 0, 3);
        small(100003, 1, 2);
        for (int bits = 10; bits < 63; bits++)
            for (int64_t off = -1; off < 2; off++) large((INT64_C(1) << bits) + off);
        large(INT64_MAX);
        for (int k = 0; k < 30; k++) large((int64_t)(((uint64_t)next() << 31 | next()) >> (k + 1)) + 1024);
    }
    for (int64_t n = 1; n < 60; n++)
        for (int kind = 0; kind < 4; kind++) table(n, kind);
    table(100003, 3);
    table(10007, 1);
    return failures != 0;
}
