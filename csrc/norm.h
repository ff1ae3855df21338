/* norm.h: the loops of batch, layer and RMS normalization. Included once a width; norm.c cuts the work and keeps the order of sums.
 *
 *     xhat = (x - mean) rstd,  rstd = 1 / sqrt(var + eps),  y = gamma xhat + beta
 *     dx = gamma rstd (dy - mean(dy) - xhat mean(dy xhat)),  dgamma = sum dy xhat,  dbeta = sum dy
 *
 * (Ioffe and Szegedy, 2015; Deep Learning, 8.7.1, eq. 8.35.) What is elementwise is done in the array's width, about m, the mean rounded
 * to it; what rounding the mean left over goes into the constant term, so that a mean far larger than the spread does no harm:
 *
 *     y = (x - m) a + b        dx = ((dy - (x - m) b) + d) a
 *
 * Two shapes. Columns: a matrix whose columns belong to channels; sums run down the rows, sixteen columns at a time, so that each cache line is
 * used whole (rows that lie 4096 bytes apart share a set of the cache). Runs: consecutive elements of one channel, in sixteen lanes.
 *
 * Sums are double. Those of statistics take each element by itself. Those of gradients, for float, add four rows (or four groups of
 * lanes) in float first: at most 5 roundings of float on each term, and a term is a float already.
 */

#ifndef FO_NORM_VECTORS
#define FO_NORM_VECTORS
enum { NORM_LANES = 16 };                               /* columns that go down together; lanes of a run */
#if defined(__GNUC__)
typedef double norm_quad __attribute__((vector_size(32)));
typedef double norm_quad_at __attribute__((vector_size(32), aligned(sizeof(double)), may_alias));
typedef float norm_oct __attribute__((vector_size(32)));
typedef float norm_oct_at __attribute__((vector_size(32), aligned(sizeof(float)), may_alias));
#define NORM_IVDEP _Pragma("GCC ivdep")                 /* y[i] depends on x[i] alone, also where y is x */
#define NORM_INLINE static inline __attribute__((always_inline))
#define QUAD(p) ((norm_quad)*(const norm_quad_at *)(p))
#define PUT_QUAD(p, x) (*(norm_quad_at *)(p) = (norm_quad_at)(x))
#define OCT(p) ((norm_oct)*(const norm_oct_at *)(p))
#if defined(__AVX__)                                    /* gcc 12 widens floats by way of the stack; this is one instruction */
#include <immintrin.h>
#define WIDE(p) ((norm_quad)_mm256_cvtps_pd(_mm_loadu_ps(p)))
#define LOW(x) ((norm_quad)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)(x))))
#define HIGH(x) ((norm_quad)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)(x), 1)))
#else
#define WIDE(p) ((norm_quad){ (double)(p)[0], (double)(p)[1], (double)(p)[2], (double)(p)[3] })
#define LOW(x) ((norm_quad){ (double)(x)[0], (double)(x)[1], (double)(x)[2], (double)(x)[3] })
#define HIGH(x) ((norm_quad){ (double)(x)[4], (double)(x)[5], (double)(x)[6], (double)(x)[7] })
#endif
#else
#define NORM_IVDEP
#define NORM_INLINE static inline
#endif
#endif

#if defined(__GNUC__)
#if NARROW
typedef norm_oct FN(norm_vec);
#define AS_QUAD(p) WIDE(p)
#define VEC(p) OCT(p)
#define PUT_VEC(p, x) (*(norm_oct_at *)(p) = (norm_oct_at)(x))
#else
typedef norm_quad FN(norm_vec);
#define AS_QUAD(p) QUAD(p)
#define VEC(p) QUAD(p)
#define PUT_VEC(p, x) PUT_QUAD(p, x)
#endif
enum { FN(NORM_V) = 32 / sizeof(REAL) };
#endif

/* One column (or lane): the very sums of the loops over sixteen, for columns that are left over. */
static void FN(norm_moments_of_one)(const REAL *x, ptrdiff_t step, ptrdiff_t rows, double c, double *s1, double *s2)
{
    double a = 0, b = 0;
    for (ptrdiff_t i = 0; i < rows; i++) {
        const double d = (double)x[i * step] - c;
        a += d;
        b += d * d;
    }
    *s1 = a;
    *s2 = b;
}

static void FN(norm_products_of_one)(const REAL *x, const REAL *dy, ptrdiff_t step, ptrdiff_t rows, REAL m, REAL r, double *s1, double *s2)
{
    double a = 0, b = 0;
    ptrdiff_t i = 0;
    for (; i + 4 <= rows; i += 4) {
        const REAL *u = x + i * step, *v = dy + i * step;
        const REAL g0 = v[0], g1 = v[step], g2 = v[2 * step], g3 = v[3 * step];
        a += (double)((g0 + g1) + (g2 + g3));
        b += (double)(((u[0] - m) * r * g0 + (u[step] - m) * r * g1) + ((u[2 * step] - m) * r * g2 + (u[3 * step] - m) * r * g3));
    }
    for (; i < rows; i++) {
        a += (double)dy[i * step];
        b += (double)((x[i * step] - m) * r * dy[i * step]);
    }
    *s1 = a;
    *s2 = b;
}

#if defined(__GNUC__)
/* n rows, sixteen columns: s1 += sum (x - c), s2 += sum (x - c)^2. */
NORM_INLINE void FN(norm_moments_16)(const REAL *x, ptrdiff_t step, ptrdiff_t n, const REAL *c, int shifted, double *s1, double *s2)
{
    norm_quad a0 = QUAD(s1), a1 = QUAD(s1 + 4), a2 = QUAD(s1 + 8), a3 = QUAD(s1 + 12);
    norm_quad b0 = QUAD(s2), b1 = QUAD(s2 + 4), b2 = QUAD(s2 + 8), b3 = QUAD(s2 + 12), c0 = a0, c1 = a0, c2 = a0, c3 = a0;
    if (shifted) c0 = AS_QUAD(c), c1 = AS_QUAD(c + 4), c2 = AS_QUAD(c + 8), c3 = AS_QUAD(c + 12);
    for (ptrdiff_t i = 0; i < n; i++, x += step) {
        norm_quad d0 = AS_QUAD(x), d1 = AS_QUAD(x + 4), d2 = AS_QUAD(x + 8), d3 = AS_QUAD(x + 12);
        if (shifted) d0 -= c0, d1 -= c1, d2 -= c2, d3 -= c3;
        a0 += d0, a1 += d1, a2 += d2, a3 += d3;
        b0 += d0 * d0, b1 += d1 * d1, b2 += d2 * d2, b3 += d3 * d3;
    }
    PUT_QUAD(s1, a0), PUT_QUAD(s1 + 4, a1), PUT_QUAD(s1 + 8, a2), PUT_QUAD(s1 + 12, a3);
    PUT_QUAD(s2, b0), PUT_QUAD(s2 + 4, b1), PUT_QUAD(s2 + 8, b2), PUT_QUAD(s2 + 12, b3);
}

/* Four rows, n times over, sixteen columns: s1 += sum dy, s2 += sum dy (x - m) r. */
NORM_INLINE void FN(norm_products_16)(const REAL *x, const REAL *g, ptrdiff_t step, ptrdiff_t n, const REAL *m, const REAL *r, double *s1,
                                      double *s2)
{
    norm_quad a0 = QUAD(s1), a1 = QUAD(s1 + 4), a2 = QUAD(s1 + 8), a3 = QUAD(s1 + 12);
    norm_quad b0 = QUAD(s2), b1 = QUAD(s2 + 4), b2 = QUAD(s2 + 8), b3 = QUAD(s2 + 12);
#if NARROW
#define TERM(at, m, r) ((OCT(x + (at)) - m) * r * OCT(g + (at)))
#define SUM(at) ((OCT(g + (at)) + OCT(g + (at) + step)) + (OCT(g + (at) + 2 * step) + OCT(g + (at) + 3 * step)))
#define TERMS(at, m, r) ((TERM(at, m, r) + TERM(at + step, m, r)) + (TERM(at + 2 * step, m, r) + TERM(at + 3 * step, m, r)))
    const norm_oct m0 = OCT(m), m1 = OCT(m + 8), r0 = OCT(r), r1 = OCT(r + 8);
    for (; n > 0; n--, x += 4 * step, g += 4 * step) {
        const norm_oct e0 = SUM(0), e1 = SUM(8), p0 = TERMS(0, m0, r0), p1 = TERMS(8, m1, r1);
        a0 += LOW(e0), a1 += HIGH(e0), a2 += LOW(e1), a3 += HIGH(e1);
        b0 += LOW(p0), b1 += HIGH(p0), b2 += LOW(p1), b3 += HIGH(p1);
    }
#else
#define TERM(at, q) ((QUAD(x + (at)) - QUAD(m + (q))) * QUAD(r + (q)) * QUAD(g + (at)))
#define SUM(q) ((QUAD(g + (q)) + QUAD(g + (q) + step)) + (QUAD(g + (q) + 2 * step) + QUAD(g + (q) + 3 * step)))
#define TERMS(q) ((TERM(q, q) + TERM(q + step, q)) + (TERM(q + 2 * step, q) + TERM(q + 3 * step, q)))
    for (; n > 0; n--, x += 4 * step, g += 4 * step) {
        a0 += SUM(0), a1 += SUM(4), a2 += SUM(8), a3 += SUM(12);
        b0 += TERMS(0), b1 += TERMS(4), b2 += TERMS(8), b3 += TERMS(12);
    }
#endif
#undef TERM
#undef SUM
#undef TERMS
    PUT_QUAD(s1, a0), PUT_QUAD(s1 + 4, a1), PUT_QUAD(s1 + 8, a2), PUT_QUAD(s1 + 12, a3);
    PUT_QUAD(s2, b0), PUT_QUAD(s2 + 4, b1), PUT_QUAD(s2 + 8, b2), PUT_QUAD(s2 + 12, b3);
}
#endif

enum { FN(NORM_ROWS) = 8 };                             /* rows of which sixteen columns are taken before the next sixteen */

/* Sums down the columns of x[rows][cols], rows `step` apart: s1[j] = sum (x - shift[j]), s2[j] = sum of squares of that. shift NULL: 0. */
static void FN(norm_moments)(const void *x_, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t cols, const void *shift_, double *s1, double *s2)
{
    const REAL *x = x_, *shift = shift_;
    ptrdiff_t whole = 0;
#if defined(__GNUC__)
    whole = cols / NORM_LANES * NORM_LANES;
    memset(s1, 0, (size_t)whole * sizeof *s1);
    memset(s2, 0, (size_t)whole * sizeof *s2);
    for (ptrdiff_t i = 0; i < rows; i += FN(NORM_ROWS)) {
        const ptrdiff_t n = rows - i < FN(NORM_ROWS) ? rows - i : FN(NORM_ROWS);
        const REAL *top = x + i * step;
        if (shift)
            for (ptrdiff_t j = 0; j < whole; j += NORM_LANES) FN(norm_moments_16)(top + j, step, n, shift + j, 1, s1 + j, s2 + j);
        else if (n == FN(NORM_ROWS))
            for (ptrdiff_t j = 0; j < whole; j += NORM_LANES) FN(norm_moments_16)(top + j, step, FN(NORM_ROWS), NULL, 0, s1 + j, s2 + j);
        else
            for (ptrdiff_t j = 0; j < whole; j += NORM_LANES) FN(norm_moments_16)(top + j, step, n, NULL, 0, s1 + j, s2 + j);
    }
#endif
    for (ptrdiff_t j = whole; j < cols; j++) FN(norm_moments_of_one)(x + j, step, rows, shift ? (double)shift[j] : 0, s1 + j, s2 + j);
}

/* s1[j] = sum dy, s2[j] = sum dy (x - m[j]) r[j]: down the columns. */
static void FN(norm_products)(const void *x_, const void *dy_, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t cols, const void *m_, const void *r_,
                              double *s1, double *s2)
{
    const REAL *x = x_, *dy = dy_, *m = m_, *r = r_;
    ptrdiff_t whole = 0;
#if defined(__GNUC__)
    whole = cols / NORM_LANES * NORM_LANES;
    memset(s1, 0, (size_t)whole * sizeof *s1);
    memset(s2, 0, (size_t)whole * sizeof *s2);
    ptrdiff_t i = 0;
    for (; i + 4 <= rows; i += 4)
        for (ptrdiff_t j = 0; j < whole; j += NORM_LANES)
            FN(norm_products_16)(x + i * step + j, dy + i * step + j, step, 1, m + j, r + j, s1 + j, s2 + j);
    for (; i < rows; i++)
        for (ptrdiff_t j = 0; j < whole; j++) {
            const REAL g = dy[i * step + j];
            s1[j] += (double)g;
            s2[j] += (double)((x[i * step + j] - m[j]) * r[j] * g);
        }
#endif
    for (ptrdiff_t j = whole; j < cols; j++) FN(norm_products_of_one)(x + j, dy + j, step, rows, m[j], r[j], s1 + j, s2 + j);
}

/* Blocks of rows from the last to the first, for what the pass before read last is still in cache; rows in their order inside, as the
 * processor fetches ahead. Narrow rows are written four at a time, which then share the loads of the coefficients. y[i] and dx[i] depend on
 * the elements in their own place alone, so they may be x and dy. */
enum { FN(NORM_DOWN) = 64 };
static ptrdiff_t FN(norm_together)(ptrdiff_t cols) { return cols <= 64 ? 4 : 1; }

/* y = (x - m) a + b in n rows. */
NORM_INLINE void FN(norm_scale_rows)(const REAL *x, REAL *y, ptrdiff_t step, ptrdiff_t n, ptrdiff_t cols, const REAL *m, const REAL *a,
                                     const REAL *b)
{
    ptrdiff_t j = 0;
#if defined(__GNUC__)
    for (; j + 2 * FN(NORM_V) <= cols; j += 2 * FN(NORM_V)) {
        const FN(norm_vec) m0 = VEC(m + j), a0 = VEC(a + j), b0 = VEC(b + j);
        const FN(norm_vec) m1 = VEC(m + j + FN(NORM_V)), a1 = VEC(a + j + FN(NORM_V)), b1 = VEC(b + j + FN(NORM_V));
        for (ptrdiff_t i = 0, at = j; i < n; i++, at += step) {
            const FN(norm_vec) x0 = VEC(x + at), x1 = VEC(x + at + FN(NORM_V));
            PUT_VEC(y + at, (x0 - m0) * a0 + b0);
            PUT_VEC(y + at + FN(NORM_V), (x1 - m1) * a1 + b1);
        }
    }
#endif
    for (; j < cols; j++)
        for (ptrdiff_t i = 0, at = j; i < n; i++, at += step) y[at] = (x[at] - m[j]) * a[j] + b[j];
}

/* dx = ((dy - (x - m) b) + d) a in n rows. */
NORM_INLINE void FN(norm_slope_rows)(const REAL *x, const REAL *dy, REAL *dx, ptrdiff_t step, ptrdiff_t n, ptrdiff_t cols, const REAL *m,
                                     const REAL *a, const REAL *b, const REAL *d)
{
    ptrdiff_t j = 0;
#if defined(__GNUC__)
    for (; j + 2 * FN(NORM_V) <= cols; j += 2 * FN(NORM_V)) {
        const ptrdiff_t k = j + FN(NORM_V);
        const FN(norm_vec) m0 = VEC(m + j), a0 = VEC(a + j), b0 = VEC(b + j), d0 = VEC(d + j);
        const FN(norm_vec) m1 = VEC(m + k), a1 = VEC(a + k), b1 = VEC(b + k), d1 = VEC(d + k);
        for (ptrdiff_t i = 0, at = j; i < n; i++, at += step) {
            const ptrdiff_t to = at + FN(NORM_V);
            const FN(norm_vec) x0 = VEC(x + at), x1 = VEC(x + to), g0 = VEC(dy + at), g1 = VEC(dy + to);
            PUT_VEC(dx + at, ((g0 - (x0 - m0) * b0) + d0) * a0);
            PUT_VEC(dx + to, ((g1 - (x1 - m1) * b1) + d1) * a1);
        }
    }
#endif
    for (; j < cols; j++)
        for (ptrdiff_t i = 0, at = j; i < n; i++, at += step) dx[at] = ((dy[at] - (x[at] - m[j]) * b[j]) + d[j]) * a[j];
}

static void FN(norm_scale)(const void *x_, void *y_, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t cols, const void *m, const void *a, const void *b)
{
    const REAL *x = x_;
    REAL *y = y_;
    const ptrdiff_t few = FN(norm_together)(cols);
    for (ptrdiff_t end = rows, i; end > 0; end -= FN(NORM_DOWN)) {
        i = end < FN(NORM_DOWN) ? 0 : end - FN(NORM_DOWN);
        for (; few == 4 && i + 4 <= end; i += 4) FN(norm_scale_rows)(x + i * step, y + i * step, step, 4, cols, m, a, b);
        for (; i < end; i++) FN(norm_scale_rows)(x + i * step, y + i * step, step, 1, cols, m, a, b);
    }
}

static void FN(norm_slope)(const void *x_, const void *dy_, void *dx_, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t cols, const void *m,
                           const void *a, const void *b, const void *d)
{
    const REAL *x = x_, *dy = dy_;
    REAL *dx = dx_;
    const ptrdiff_t few = FN(norm_together)(cols);
    for (ptrdiff_t end = rows, i; end > 0; end -= FN(NORM_DOWN)) {
        i = end < FN(NORM_DOWN) ? 0 : end - FN(NORM_DOWN);
        for (; few == 4 && i + 4 <= end; i += 4)
            FN(norm_slope_rows)(x + i * step, dy + i * step, dx + i * step, step, 4, cols, m, a, b, d);
        for (; i < end; i++) FN(norm_slope_rows)(x + i * step, dy + i * step, dx + i * step, step, 1, cols, m, a, b, d);
    }
}

/* ---- runs: x[n] in sixteen lanes, which are the columns of a matrix ---- */

static inline double FN(norm_fold)(const double *v)
{
    double t[8];
    for (int l = 0; l < 8; l++) t[l] = v[l] + v[l + 8];
    for (int l = 0; l < 4; l++) t[l] += t[l + 4];
    return (t[0] + t[2]) + (t[1] + t[3]);
}

static void FN(norm_run_moments)(const void *x_, ptrdiff_t n, double shift, double *s1, double *s2)
{
    double a[NORM_LANES], b[NORM_LANES];
    REAL c[NORM_LANES];
    const REAL *x = x_;
    const ptrdiff_t rows = n / NORM_LANES;
    for (int l = 0; l < NORM_LANES; l++) c[l] = (REAL)shift;
    FN(norm_moments)(x, NORM_LANES, rows, NORM_LANES, shift != 0 ? c : NULL, a, b);
    for (ptrdiff_t i = rows * NORM_LANES; i < n; i++) {
        const double d = (double)x[i] - (double)c[0];
        a[i % NORM_LANES] += d;
        b[i % NORM_LANES] += d * d;
    }
    *s1 = FN(norm_fold)(a);
    *s2 = FN(norm_fold)(b);
}

static void FN(norm_run_products)(const void *x_, const void *dy_, ptrdiff_t n, const void *m_, const void *r_, double *s1, double *s2)
{
    double a[NORM_LANES], b[NORM_LANES];
    REAL m[NORM_LANES], r[NORM_LANES];
    const REAL *x = x_, *dy = dy_;
    const ptrdiff_t rows = n / NORM_LANES;
    for (int l = 0; l < NORM_LANES; l++) {
        m[l] = *(const REAL *)m_;
        r[l] = *(const REAL *)r_;
    }
    FN(norm_products)(x, dy, NORM_LANES, rows, NORM_LANES, m, r, a, b);
    for (ptrdiff_t i = rows * NORM_LANES; i < n; i++) {
        a[i % NORM_LANES] += (double)dy[i];
        b[i % NORM_LANES] += (double)((x[i] - m[0]) * r[0] * dy[i]);
    }
    *s1 = FN(norm_fold)(a);
    *s2 = FN(norm_fold)(b);
}

static void FN(norm_run_scale)(const void *x_, void *y_, ptrdiff_t n, const void *m_, const void *a_, const void *b_)
{
    const REAL *x = x_, m = *(const REAL *)m_, a = *(const REAL *)a_, b = *(const REAL *)b_;
    REAL *y = y_;
    NORM_IVDEP
    for (ptrdiff_t i = 0; i < n; i++) y[i] = (x[i] - m) * a + b;
}

static void FN(norm_run_slope)(const void *x_, const void *dy_, void *dx_, ptrdiff_t n, const void *m_, const void *a_, const void *b_,
                               const void *d_)
{
    const REAL *x = x_, *dy = dy_, m = *(const REAL *)m_, a = *(const REAL *)a_, b = *(const REAL *)b_, d = *(const REAL *)d_;
    REAL *dx = dx_;
    NORM_IVDEP
    for (ptrdiff_t i = 0; i < n; i++) dx[i] = ((dy[i] - (x[i] - m) * b) + d) * a;
}

/* ---- from sums to statistics and coefficients: vectors over channels ---- */

/* mean and var (biased) of n values each from sums about 0. 1 if a mean is so far from 0 that the difference of squares lost more than 12
 * bits: the caller then takes the sums again about the means. */
static int FN(norm_statistics)(ptrdiff_t channels, double n, const double *restrict s1, const double *restrict s2, double *restrict mean,
                               double *restrict var)
{
    int ill = 0;
    for (ptrdiff_t c = 0; c < channels; c++) {
        const double e = s1[c] / n, v = s2[c] / n - e * e;
        mean[c] = e;
        var[c] = v;
        ill |= v < e * e * 0x1p-12;
    }
    return ill;
}

/* The channels that were ill, from sums about shift[c] = (REAL)mean[c]. */
static void FN(norm_better_statistics)(ptrdiff_t channels, double n, const double *s1, const double *s2, double *mean, double *var)
{
    for (ptrdiff_t c = 0; c < channels; c++) {
        if (!(var[c] < mean[c] * mean[c] * 0x1p-12)) continue;
        const double e = s1[c] / n, v = s2[c] / n - e * e;
        mean[c] = (double)(REAL)mean[c] + e;
        var[c] = v < 0 ? 0 : v;
    }
}

static void FN(norm_rstd)(ptrdiff_t channels, const double *var, double eps, double *rstd)      /* rstd may be var */
{
    NORM_IVDEP
    for (ptrdiff_t c = 0; c < channels; c++) rstd[c] = 1 / sqrt(var[c] + eps);
}

/* Of y = (x - m) a + b. */
static void FN(norm_coefs)(ptrdiff_t channels, const double *restrict mean, const double *restrict rstd, const void *gamma_,
                           const void *beta_, void *m_, void *a_, void *b_)
{
    const REAL *restrict gamma = gamma_, *restrict beta = beta_;
    REAL *restrict m = m_, *restrict a = a_, *restrict b = b_;
    for (ptrdiff_t c = 0; c < channels; c++) {
        m[c] = (REAL)mean[c];
        a[c] = (REAL)rstd[c];
        b[c] = (REAL)(((double)m[c] - mean[c]) * rstd[c]);
    }
    if (gamma)
        for (ptrdiff_t c = 0; c < channels; c++) {
            const double scale = (double)gamma[c] * rstd[c];
            a[c] = (REAL)scale;
            b[c] = (REAL)(((double)m[c] - mean[c]) * scale);
        }
    if (beta && gamma)
        for (ptrdiff_t c = 0; c < channels; c++)
            b[c] = (REAL)((double)beta[c] + ((double)m[c] - mean[c]) * ((double)gamma[c] * rstd[c]));
    else if (beta)
        for (ptrdiff_t c = 0; c < channels; c++) b[c] = (REAL)((double)beta[c] + ((double)m[c] - mean[c]) * rstd[c]);
}

/* Of the sums of the backward pass, sum dy (x - m) r. mean, rstd NULL: x is normalized already. */
static void FN(norm_centres)(ptrdiff_t channels, const double *mean, const double *rstd, void *m_, void *r_)
{
    REAL *m = m_, *r = r_;
    for (ptrdiff_t c = 0; c < channels; c++) {
        m[c] = mean ? (REAL)mean[c] : 0;
        r[c] = rstd ? (REAL)rstd[c] : 1;
    }
}

/* s2 += what the rounding of the mean left out: it becomes sum dy xhat. */
static void FN(norm_complete)(ptrdiff_t channels, const double *mean, const double *rstd, const double *s1, double *s2)
{
    for (ptrdiff_t c = 0; c < channels; c++) s2[c] += ((double)(REAL)mean[c] - mean[c]) * rstd[c] * s1[c];
}

/* Of dx = ((dy - (x - m) b) + d) a, from s1 = sum dy, s2 = sum dy xhat over n values. A single value is its own mean: dx = 0. No coefficient
 * has rstd squared, which leaves the range of float where x is of 1e19 and more. */
static void FN(norm_back_coefs)(ptrdiff_t channels, double n, const double *restrict mean, const double *restrict rstd, const void *gamma_,
                                int normed, const double *restrict s1, const double *restrict s2, void *a_, void *b_, void *d_)
{
    const REAL *restrict gamma = gamma_;
    REAL *restrict a = a_, *restrict b = b_, *restrict d = d_;
    const double one = n > 1 ? 1 : 0;
#define COEFS(scale_, r, rest)                                                                                              \
    for (ptrdiff_t c = 0; c < channels; c++) {                                                                              \
        const double along = (r) * (s2[c] / n);                                                                             \
        a[c] = (REAL)(one * (scale_));                                                                                      \
        b[c] = (REAL)along;                                                                                                 \
        d[c] = (REAL)(along * (rest) - s1[c] / n);                                                                          \
    }
    if (normed && gamma) COEFS((double)gamma[c] * rstd[c], 1, 0)
    else if (normed) COEFS(rstd[c], 1, 0)
    else if (gamma) COEFS((double)gamma[c] * rstd[c], rstd[c], mean[c] - (double)(REAL)mean[c])
    else COEFS(rstd[c], rstd[c], mean[c] - (double)(REAL)mean[c])
#undef COEFS
}

/* ---- rows normalized by themselves ---- */

static void FN(norm_layer_forward)(const fo_layer_norm *job, ptrdiff_t begin, ptrdiff_t end)
{
    const ptrdiff_t cols = job->cols;
    const double n = (double)cols;
    const REAL *gamma = job->gamma, *beta = job->beta;
    for (ptrdiff_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)job->x + i * cols;
        REAL *y = (REAL *)job->y + i * cols, m, a, b;
        double s1, s2, mean = 0, var, rstd;
        FN(norm_run_moments)(x, cols, 0, &s1, &s2);
        var = s2 / n;
        if (job->centred) {
            if (FN(norm_statistics)(1, n, &s1, &s2, &mean, &var)) {
                FN(norm_run_moments)(x, cols, mean, &s1, &s2);
                FN(norm_better_statistics)(1, n, &s1, &s2, &mean, &var);
            }
            job->mean[i] = mean;
        }
        FN(norm_rstd)(1, &var, job->eps, &rstd);
        job->rstd[i] = rstd;
        FN(norm_coefs)(1, &mean, &rstd, NULL, NULL, &m, &a, &b);
        FN(norm_run_scale)(x, y, cols, &m, &a, &b);
        if (gamma) for (ptrdiff_t j = 0; j < cols; j++) y[j] *= gamma[j];
        if (beta) for (ptrdiff_t j = 0; j < cols; j++) y[j] += beta[j];
    }
}

/* Rows begin..end: dx, and their share of dgamma and dbeta in sums[2 cols] (NULL: neither is wanted). */
static void FN(norm_layer_back)(const fo_layer_norm *job, ptrdiff_t begin, ptrdiff_t end, double *sums)
{
    const ptrdiff_t cols = job->cols;
    const double n = (double)cols;
    const REAL *gamma = job->gamma;
    if (sums) memset(sums, 0, 2 * (size_t)cols * sizeof *sums);
    for (ptrdiff_t i = begin; i < end; i++) {
        const REAL *x = (const REAL *)job->x + i * cols, *dy = (const REAL *)job->dy + i * cols;
        REAL *dx = job->dx ? (REAL *)job->dx + i * cols : NULL, m, r, b;
        const double mean = job->centred && !job->normed ? job->mean[i] : 0, rstd = job->rstd[i], hat = job->normed ? 1 : rstd;
        double s1[NORM_LANES] = { 0 }, s2[NORM_LANES] = { 0 };
        FN(norm_coefs)(1, &mean, &hat, NULL, NULL, &m, &r, &b);
        for (ptrdiff_t j = 0; j < cols; j += NORM_LANES) {
            const int few = cols - j < NORM_LANES ? (int)(cols - j) : NORM_LANES;
            for (int l = 0; l < few; l++) {
                const REAL h = gamma ? dy[j + l] * gamma[j + l] : dy[j + l];
                s1[l] += (double)h;
                s2[l] += (double)(h * ((x[j + l] - m) * r + b));
            }
        }
        if (sums) {
            double *dgamma = sums, *dbeta = sums + cols;
            for (ptrdiff_t j = 0; j < cols; j++) {
                dgamma[j] += (double)(dy[j] * ((x[j] - m) * r + b));
                dbeta[j] += (double)dy[j];
            }
        }
        if (!dx) continue;
        const double one = cols > 1 || !job->centred ? 1 : 0, along = hat * (FN(norm_fold)(s2) / n);
        const double across = job->centred ? FN(norm_fold)(s1) / n : 0;
        const REAL a = (REAL)(one * rstd), c = (REAL)along, d = (REAL)(along * (mean - (double)m) - across);
        if (gamma) {
            NORM_IVDEP
            for (ptrdiff_t j = 0; j < cols; j++) dx[j] = ((dy[j] * gamma[j] - (x[j] - m) * c) + d) * a;
        } else {
            NORM_IVDEP
            for (ptrdiff_t j = 0; j < cols; j++) dx[j] = ((dy[j] - (x[j] - m) * c) + d) * a;
        }
    }
}

/* dgamma and dbeta as their width holds them. */
static void FN(norm_store)(ptrdiff_t n, const double *sums, void *out_)
{
    REAL *out = out_;
    for (ptrdiff_t i = 0; i < n; i++) out[i] = (REAL)sums[i];
}

/* r = keep r + share s */
static void FN(norm_blend)(ptrdiff_t n, const double *s, double factor, double keep, double share, void *r_)
{
    REAL *r = r_;
    for (ptrdiff_t i = 0; i < n; i++) r[i] = (REAL)(keep * (double)r[i] + share * (factor * s[i]));
}

static void FN(norm_widen)(ptrdiff_t n, const void *x_, double *out)
{
    const REAL *x = x_;
    for (ptrdiff_t i = 0; i < n; i++) out[i] = (double)x[i];
}

/* The yardstick: x read, y written; x and dy read, dx written. */
static void FN(norm_floor)(const void *x_, void *y_, const void *dy_, void *dx_, ptrdiff_t n)
{
    const REAL *restrict x = x_, *restrict dy = dy_;
    REAL *restrict y = y_, *restrict dx = dx_;
    for (ptrdiff_t i = 0; i < n; i++) y[i] = x[i] + 1;
    for (ptrdiff_t i = 0; i < n; i++) dx[i] = x[i] + dy[i];
}
#undef AS_QUAD
#undef VEC
#undef PUT_VEC

static const fo_norm_kernels FN(norm_kernels) = {
    sizeof(REAL), FN(norm_moments), FN(norm_products), FN(norm_scale), FN(norm_slope), FN(norm_run_moments), FN(norm_run_products),
    FN(norm_run_scale), FN(norm_run_slope), FN(norm_statistics), FN(norm_better_statistics), FN(norm_rstd), FN(norm_coefs),
    FN(norm_centres), FN(norm_complete), FN(norm_back_coefs), FN(norm_layer_forward), FN(norm_layer_back), FN(norm_store),
    FN(norm_blend), FN(norm_widen), FN(norm_floor),
};
