/* matrix.c: see matrix.h. */
#include "matrix.h"

#define REAL float
#define FN(x) x##_f32
#define BLAS(x) blas->s.x
#include "square.h"
#undef REAL
#undef FN
#undef BLAS
#define REAL double
#define FN(x) x##_f64
#define BLAS(x) blas->d.x
#include "square.h"

matrix_facts matrix_symmetrise(int width, int64_t n, void *h)
{
    return width == FO_F32 ? symmetrise_f32(n, h) : symmetrise_f64(n, h);
}

int64_t matrix_factor(const fo_blas *blas, int width, int64_t n, const void *h, double shift, void *r)
{
    return width == FO_F32 ? factor_f32(blas, n, h, shift, r) : factor_f64(blas, n, h, shift, r);
}

void matrix_solve(const fo_blas *blas, int width, int64_t n, int64_t k, const void *r, void *x)
{
    if (width == FO_F32) solve_f32(blas, n, k, r, x);
    else solve_f64(blas, n, k, r, x);
}

double matrix_bound(const fo_blas *blas, int width, int64_t n, int64_t k, const void *h, double shift, const void *r, void *w)
{
    return width == FO_F32 ? bound_f32(blas, n, k, h, shift, r, w) : bound_f64(blas, n, k, h, shift, r, w);
}

int64_t matrix_eigen(const fo_blas *blas, int width, int64_t n, void *h, void *values, void *work)
{
    return width == FO_F32 ? eigen_f32(blas, n, h, values, work) : eigen_f64(blas, n, h, values, work);
}

int64_t matrix_eigen_work(int width, int64_t n)
{
    if (n > 32000) return -1;                            /* 2 n^2 must fit into 32 bits */
    return (2 + 6 * n + 2 * n * n) * (width == FO_F32 ? 4 : 8) + (3 + 5 * n) * 4;
}

int64_t matrix_bytes(int width, int64_t n)
{
    return n > 1000000000 ? INT64_MAX / 8 : n * n * (width == FO_F32 ? 4 : 8);      /* more than there is, but no overflow */
}

double vector_element(int width, const void *x, int64_t i) { return width == FO_F32 ? ((const float *)x)[i] : ((const double *)x)[i]; }

void vector_mixed(int width, int64_t n, void *x)
{
    if (width == FO_F32) mixed_f32(n, x);
    else mixed_f64(n, x);
}
