/* matrix.h: the dense symmetric matrices of Newton's methods, of a solver's width. Private to csrc/.
 *
 * n x n, stored in full, so that rows and columns are the same thing. Factorizations are LAPACK's, and with them the promise about
 * results: to rounding, for one library and one number of threads.
 */
#ifndef FO_MATRIX_H
#define FO_MATRIX_H
#include "../blas.h"
#include "solver.h"

typedef struct {
    double norm;                   /* Frobenius; not finite if an element is not */
    double diagonal;               /* its least element: not below the least eigenvalue */
    double low, high;              /* Gershgorin: all eigenvalues lie in between */
} matrix_facts;

/* h <- (h + h^T) / 2, and what is easily known about it. */
matrix_facts matrix_symmetrise(int width, int64_t n, void *h);
/* r = Cholesky factor of h + shift I. 0, or k >= 1: the leading k x k part is not positive definite, that before it is, and is factored. */
int64_t matrix_factor(const fo_blas *blas, int width, int64_t n, const void *h, double shift, void *r);
/* x <- A^-1 x for the leading k x k part A of what was factored. */
void matrix_solve(const fo_blas *blas, int width, int64_t n, int64_t k, const void *r, void *x);
/* Where factoring failed at k: w[n] scratch, v = (-A^-1 a, 1, 0, ...) with A the leading k-1 part, a the column beside it, has
 * v^T (h + shift I) v <= 0. Returns that over v.v: the least eigenvalue is not above it. */
double matrix_bound(const fo_blas *blas, int width, int64_t n, int64_t k, const void *h, double shift, const void *r, void *w);
/* h <- its eigenvectors, one a row; values[n] rising. 0, or LAPACK could not. */
int64_t matrix_eigen(const fo_blas *blas, int width, int64_t n, void *h, void *values, void *work);
int64_t matrix_eigen_work(int width, int64_t n);         /* bytes of `work`; -1: larger than LAPACK can count */
int64_t matrix_bytes(int width, int64_t n);
double vector_element(int width, const void *x, int64_t i);
/* Signs and sizes that no pattern of a problem follows: where inverse iteration begins. */
void vector_mixed(int width, int64_t n, void *x);
#endif
