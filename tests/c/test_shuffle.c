/* Orders and gathers against the plainest code, with every buffer exactly as long as it says, so that the sanitizers see one byte more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fastopt.h"

static int failures;
#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); failures++; } } while (0)

static uint64_t next(void *state)                         /* xorshift64: any full stream of bits will do here */
{
    uint64_t *x = state;
    *x ^= *x << 13; *x ^= *x >> 7; *x ^= *x << 17;
    return *x;
}

static void orders(ptrdiff_t n, int wide)
{
    uint64_t state = 88172645463325252u;
    fo_bits bits = { &state, next };
    size_t width = wide ? 8 : 4;
    char *order = malloc((size_t)n * width + !n), *seen = calloc((size_t)n + 1, 1);
    fo_shuffle(order, wide, n, &bits);
    for (ptrdiff_t i = 0; i < n; i++) {
        ptrdiff_t v = wide ? (ptrdiff_t)((int64_t *)order)[i] : (ptrdiff_t)((uint32_t *)order)[i];
        CHECK(v >= 0 && v < n && !seen[v]);
        seen[v] = 1;
    }
    if (n) fo_draw(order, wide, n, 3, &bits);
    for (ptrdiff_t i = 0; i < n; i++)
        CHECK((wide ? (uint64_t)((int64_t *)order)[i] : ((uint32_t *)order)[i]) < 3);
    free(order); free(seen);
}

/* Rows of `bytes` bytes, packed or with gaps between their runs, forwards or backwards, at an odd address. */
static void rows(ptrdiff_t n, ptrdiff_t bytes, int gaps, int backwards, int wide, int threads)
{
    uint64_t state = 1234567;
    fo_bits bits = { &state, next };
    ptrdiff_t run = gaps ? 1 : bytes, spread = gaps ? 3 * bytes : bytes;
    char *store = malloc((size_t)(n * spread) + 1), *out = malloc((size_t)(n * bytes) + !bytes);
    for (ptrdiff_t i = 0; i <= n * spread; i++) store[i] = (char)next(&state);
    void *order = malloc((size_t)n * 8);
    fo_shuffle(order, wide, n, &bits);
    fo_layout layout = { 1, { bytes }, { 3 } };
    fo_rows a = { store + 1 + (backwards ? (n - 1) * spread : 0), backwards ? -spread : spread, bytes, run, &layout, out };
    for (ptrdiff_t first = 0; first < n; first += n / 2 + 1) {
        ptrdiff_t count = n - first < n / 2 + 1 ? n - first : n / 2 + 1;
        fo_gather(&a, 1, order, wide, first, count, n - first - count, threads);
        for (ptrdiff_t i = 0; i < count; i++) {
            ptrdiff_t row = wide ? (ptrdiff_t)((int64_t *)order)[first + i] : (ptrdiff_t)((uint32_t *)order)[first + i];
            for (ptrdiff_t k = 0; k < bytes; k++)
                CHECK(out[i * bytes + k] == a.data[row * a.step + (gaps ? 3 * k : k)]);
        }
        fo_gather(&a, 1, NULL, 0, first, count, 0, threads);
        for (ptrdiff_t i = 0; i < count; i++)
            for (ptrdiff_t k = 0; k < bytes; k++)
                CHECK(out[i * bytes + k] == a.data[(first + i) * a.step + (gaps ? 3 * k : k)]);
    }
    free(store); free(out); free(order);
}

int main(void)
{
    for (ptrdiff_t n = 0; n < 200; n++) { orders(n, 0); orders(n, 1); }
    orders(100003, 0);
    for (ptrdiff_t bytes = 0; bytes < 70; bytes++)
        for (int kind = 0; kind < 8; kind++) rows(37, bytes, kind & 1, kind & 2, kind & 4, 1);
    for (int threads = 1; threads <= 3; threads++) {
        rows(1001, 500, 0, 0, 0, threads);                /* above the size from which threads are woken */
        rows(301, 3136, 0, 1, 1, threads);
        rows(301, 1000, 1, 0, 0, threads);
    }
    return failures != 0;
}
