/* The packed triangle against full matrices by hand, every array exactly as long as it says, so that the sanitizers see one byte more. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "fastopt.h"

static int failures;
#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); failures++; } } while (0)

static double uniform(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13; x ^= x >> 7; x ^= x << 17;
    return (double)(x >> 11) / 9007199254740992.0 - 0.5;
}

static double get(int width, const void *x, ptrdiff_t i) { return width == FO_F32 ? (double)((const float *)x)[i] : ((const double *)x)[i]; }
static void set(int width, void *x, ptrdiff_t i, double v)
{
    if (width == FO_F32) ((float *)x)[i] = (float)v;
    else ((double *)x)[i] = v;
}

static void passes(int width, ptrdiff_t n, int threads)
{
    const size_t size = width == FO_F32 ? 4 : 8, square = (size_t)(n * n) * size + !n;
    const double tolerance = (width == FO_F32 ? 1e-6 : 1e-15) * (double)(n + 4);
    void *x[4];                                           /* s, w, g, u */
    for (int k = 0; k < 4; k++) {
        x[k] = malloc((size_t)n * size + !n);
        for (ptrdiff_t i = 0; i < n; i++) set(width, x[k], i, uniform());
    }
    void *a = malloc(square), *b = malloc(square), *h = malloc((size_t)fo_triangle_elements(width, n) * size + !n);
    void *scratch = malloc(fo_triangle_scratch(width, n) + 1);
    fo_triangle_identity(width, n, h, 2);
    fo_triangle_unpack(width, n, h, NULL, NULL, b);
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j < n; j++) {
            CHECK(get(width, b, i * n + j) == (i == j ? 2 : 0));
            set(width, a, i * n + j, (double)((i > j ? i * 7 + j : j * 7 + i) % 13) - 6);
        }
    fo_triangle_pack(width, n, a, h);
    fo_triangle_unpack(width, n, h, NULL, NULL, b);
    for (ptrdiff_t i = 0; i < n * n; i++) CHECK(get(width, a, i) == get(width, b, i));
    for (int update = 1; update >= 0; update--) {        /* the second only reads what the first has written */
        fo_triangle_unpack(width, n, h, update ? x[0] : NULL, x[1], a);
        fo_triangle_pass(width, n, h, update ? x[0] : NULL, x[1], x[2], x[3], scratch, threads);
        fo_triangle_unpack(width, n, h, NULL, NULL, b);
        for (ptrdiff_t i = 0; i < n; i++) {
            double sum = 0;
            for (ptrdiff_t j = 0; j < n; j++) {
                CHECK(get(width, a, i * n + j) == get(width, b, i * n + j));
                CHECK(get(width, a, i * n + j) == get(width, a, j * n + i));
                sum += get(width, a, i * n + j) * get(width, x[2], j);
            }
            CHECK(fabs(get(width, x[3], i) - sum) <= 4 * tolerance);
        }
    }
    fo_triangle_floor(width, n, h, threads, 2);
    for (int k = 0; k < 4; k++) free(x[k]);
    free(a); free(b); free(h); free(scratch);
}

int main(void)
{
    for (int i = 0; fo_isa_name(i); i++) {
        if (!fo_isa_runs(i)) continue;
        fo_use(fo_isa_name(i));
        for (ptrdiff_t n = 0; n <= 70; n++)
            for (int width = 0; width < FO_WIDTHS; width++) passes(width, n, 1);
        passes(FO_F32, 501, 3);
        passes(FO_F64, 502, 3);
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
