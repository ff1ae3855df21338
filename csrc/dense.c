/* dense.c: the pass of triangle.h with BLAS, on a full matrix of which one triangle is used. Two calls, each reading the triangle once:
 * the clear way, which the fused one is held against. "L" for Fortran is the upper triangle by rows. */
#include "fastopt.h"

void fo_dense_pass(const fo_blas *blas, int width, ptrdiff_t n, void *a, const void *s, const void *w, const void *g, void *u)
{
    if (n == 0) return;
    const int size = (int)n, step = 1;
    if (width == FO_F32) {
        const float one = 1, zero = 0;
        /* A += np.outer(s, w) + np.outer(w, s) */
        if (s) blas->s.syr2("L", &size, &one, s, &step, w, &step, a, &size);
        /* u = A @ g */
        blas->s.symv("L", &size, &one, a, &size, g, &step, &zero, u, &step);
    } else {
        const double one = 1, zero = 0;
        /* A += np.outer(s, w) + np.outer(w, s) */
        if (s) blas->d.syr2("L", &size, &one, s, &step, w, &step, a, &size);
        /* u = A @ g */
        blas->d.symv("L", &size, &one, a, &size, g, &step, &zero, u, &step);
    }
}

#define UNPACK(REAL) \
    const REAL *h = a, *x = s, *y = w; \
    REAL *to = out; \
    for (ptrdiff_t i = 0; i < n; i++) \
        for (ptrdiff_t j = i; j < n; j++) { \
            REAL value = h[i * n + j]; \
            if (x) value += x[i] * y[j] + y[i] * x[j]; \
            to[i * n + j] = to[j * n + i] = value; \
        }

void fo_dense_unpack(int width, ptrdiff_t n, const void *a, const void *s, const void *w, void *out)
{
    if (width == FO_F32) {
        UNPACK(float)
    } else {
        UNPACK(double)
    }
}
