/* Coordinate descent against the plainest code and the optimality conditions, with every buffer exactly as long as it says, so that the
 * sanitizers see one byte more; and that slices of any size lead to the same bits. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fastopt.h"

static int failures;
#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); failures++; } } while (0)

static uint64_t next(void *state)
{
    uint64_t *x = state;
    *x ^= *x << 13; *x ^= *x >> 7; *x ^= *x << 17;
    return *x;
}
static double uniform(uint64_t *state) { return (double)(next(state) >> 11) * 0x1p-52 - 1; }

static void *exactly(ptrdiff_t n, size_t size) { return calloc((size_t)n ? (size_t)n : 1, n ? size : 1); }

typedef struct { ptrdiff_t n, p; int width, sparse, wide, centred, positive, random; double a, b; int64_t slice; } setting;

/* Solves one problem of the setting; its coefficients go to w_out[p]. */
static void solve(setting c, double *w_out)
{
    uint64_t state = 88172645463325252u;
    const size_t size = c.width == FO_F32 ? 4 : 8;
    double *dense = exactly(c.n * c.p, 8), *y = exactly(c.n, 8), *means = exactly(c.p, 8);
    ptrdiff_t stored = 0;
    for (ptrdiff_t i = 0; i < c.n * c.p; i++) {
        dense[i] = (double)(float)uniform(&state);
        if (c.sparse && next(&state) % 4) dense[i] = 0;
        stored += dense[i] != 0;
    }
    double mean = 0;
    for (ptrdiff_t i = 0; i < c.n; i++) mean += (y[i] = (double)(float)(3 * uniform(&state))) / (double)c.n;
    for (ptrdiff_t i = 0; c.centred && i < c.n; i++) y[i] -= mean;
    for (ptrdiff_t j = 0; j < c.p; j++)
        for (ptrdiff_t i = 0; i < c.n; i++) means[j] += dense[j * c.n + i] / (double)c.n;

    const ptrdiff_t count = c.sparse ? stored : c.n * c.p;
    char *data = exactly(count, size), *yw = exactly(c.n, size), *ones = exactly(c.n, size);
    int64_t *start = exactly(c.p + 1, 8);
    char *rows = exactly(stored, c.wide ? 8 : 4);
    ptrdiff_t k = 0;
#define PUT(to, at, v) do { if (c.width == FO_F32) ((float *)(void *)(to))[at] = (float)(v); else ((double *)(void *)(to))[at] = (v); } while (0)
    for (ptrdiff_t j = 0; j < c.p; j++) {
        for (ptrdiff_t i = 0; i < c.n; i++) {
            const double v = dense[j * c.n + i];
            if (!c.sparse) PUT(data, j * c.n + i, v);
            else if (v != 0) {
                PUT(data, k, v);
                if (c.wide) ((int64_t *)(void *)rows)[k++] = i;
                else ((int32_t *)(void *)rows)[k++] = (int32_t)i;
            }
        }
        start[j + 1] = k;
    }
    double yy = 0;
    for (ptrdiff_t i = 0; i < c.n; i++) { PUT(yw, i, y[i]); PUT(ones, i, 1); yy += y[i] * y[i]; }

    fo_descent s;
    memset(&s, 0, sizeof s);
    s.x = (fo_columns){ c.width, 0, c.wide, c.n, c.p, data, c.n, c.sparse ? rows : NULL, start, NULL, NULL, 0 };
    if (c.centred) { s.x.means = means; s.x.ones = ones; s.x.mass = (double)c.n; }
    double *norms = exactly(c.p, 8);
    fo_column_norms(&s.x, norms, 2);
    for (ptrdiff_t j = 0; j < c.p; j++) {
        double norm = 0;
        for (ptrdiff_t i = 0; i < c.n; i++) { double d = dense[j * c.n + i] - (c.centred ? means[j] : 0); norm += d * d; }
        CHECK(fabs(norm - norms[j]) <= 1e-5 * (norm + 1));
    }
    fo_bits bits = { &state, next };
    s.y = yw; s.yy = yy; s.norms = norms; s.a = c.a; s.b = c.b; s.gap_wanted = (c.width == FO_F32 ? 1e-6 : 1e-12) * yy; s.most = 100000;
    s.positive = c.positive; s.screening = 1; s.threads = 2; s.bits = c.random ? &bits : NULL;
    s.w = exactly(c.p, 8); s.r = exactly(c.n, size); s.q = exactly(c.p, 8);
    s.alive = exactly(c.p, 8); s.working = exactly(c.p, 8); s.order = exactly(c.p, 8); s.rank = exactly(c.p, 8);
    fo_descent_begin(&s);
    int status;
    while ((status = fo_descend(&s, c.slice)) == FO_DESCENT_MORE) {}
    CHECK(status == FO_DESCENT_CONVERGED);

    /* The subgradient conditions, from the definitions. */
    const double close = (c.width == FO_F32 ? 2e-2 : 1e-4) * (1 + sqrt(yy));
    double *r = exactly(c.n, 8);
    for (ptrdiff_t i = 0; i < c.n; i++) r[i] = y[i];
    for (ptrdiff_t j = 0; j < c.p; j++)
        for (ptrdiff_t i = 0; i < c.n; i++) r[i] -= s.w[j] * (dense[j * c.n + i] - (c.centred ? means[j] : 0));
    for (ptrdiff_t j = 0; j < c.p; j++) {
        double g = -c.b * s.w[j];
        for (ptrdiff_t i = 0; i < c.n; i++) g += r[i] * (dense[j * c.n + i] - (c.centred ? means[j] : 0));
        if (s.w[j] > 0) CHECK(fabs(g - c.a) < close);
        else if (s.w[j] < 0) CHECK(!c.positive && fabs(g + c.a) < close);
        else CHECK((c.positive ? g : fabs(g)) < c.a + close);
        CHECK(fabs(s.q[j] - g - c.b * s.w[j]) < close);
    }
    memcpy(w_out, s.w, (size_t)c.p * 8);
    free(dense); free(y); free(means); free(data); free(yw); free(ones); free(start); free(rows); free(norms); free(r);
    free(s.w); free(s.r); free(s.q); free(s.alive); free(s.working); free(s.order); free(s.rank);
}

int main(void)
{
    static const ptrdiff_t shapes[][2] = { { 0, 3 }, { 3, 0 }, { 1, 1 }, { 15, 7 }, { 70, 33 }, { 40, 300 } };
    double whole[300], cut[300];
    for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++)
        for (int kind = 0; kind < 64; kind++) {
            setting c = { shapes[shape][0], shapes[shape][1], kind & 1 ? FO_F32 : FO_F64, (kind & 2) != 0, (kind & 4) != 0,
                          (kind & 6) == 6 && (kind & 8), (kind & 16) != 0, (kind & 32) != 0, 1.5, kind & 8 ? 0.5 : 0, 1 << 20 };
            solve(c, whole);
            c.slice = 1;
            solve(c, cut);
            CHECK(!memcmp(whole, cut, (size_t)c.p * 8));
        }
    printf(failures ? "%d failures\n" : "ok\n", failures);
    return failures != 0;
}
