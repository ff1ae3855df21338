/* blas.h: the routines of BLAS and LAPACK that csrc calls, as pointers that it is handed: csrc links none. Fortran's calling convention:
 * every argument by address, matrices by columns, integers of 32 bits, flags as one letter. A matrix by rows is its own transpose
 * by columns, so the upper triangle by rows is what these call "L". */
#ifndef FO_BLAS_H
#define FO_BLAS_H

#define FO_BLAS_OF(REAL) \
    /* y = alpha A x + beta y, A symmetric */ \
    void (*symv)(const char *uplo, const int *n, const REAL *alpha, const REAL *a, const int *lda, const REAL *x, const int *incx, \
                 const REAL *beta, REAL *y, const int *incy); \
    /* A += alpha (x y' + y x') */ \
    void (*syr2)(const char *uplo, const int *n, const REAL *alpha, const REAL *x, const int *incx, const REAL *y, const int *incy, \
                 REAL *a, const int *lda); \
    /* y = alpha op(A) x + beta y */ \
    void (*gemv)(const char *trans, const int *m, const int *n, const REAL *alpha, const REAL *a, const int *lda, const REAL *x, \
                 const int *incx, const REAL *beta, REAL *y, const int *incy); \
    /* x = op(A)^-1 x, A triangular */ \
    void (*trsv)(const char *uplo, const char *trans, const char *diag, const int *n, const REAL *a, const int *lda, REAL *x, \
                 const int *incx); \
    /* Cholesky: A = L L' or U' U; info > 0: that leading minor is not positive */ \
    void (*potrf)(const char *uplo, const int *n, REAL *a, const int *lda, int *info); \
    /* B = A^-1 B from potrf's factor */ \
    void (*potrs)(const char *uplo, const int *n, const int *nrhs, const REAL *a, const int *lda, REAL *b, const int *ldb, int *info); \
    /* A = Q diag(w) Q', w ascending, Q over A; lwork = -1: sizes in work[0], iwork[0] */ \
    void (*syevd)(const char *jobz, const char *uplo, const int *n, REAL *a, const int *lda, REAL *w, REAL *work, const int *lwork, \
                  int *iwork, const int *liwork, int *info); \
    /* Bunch-Kaufman: A = L D L' with D of blocks 1 and 2 */ \
    void (*sytrf)(const char *uplo, const int *n, REAL *a, const int *lda, int *ipiv, REAL *work, const int *lwork, int *info); \
    void (*sytrs)(const char *uplo, const int *n, const int *nrhs, const REAL *a, const int *lda, const int *ipiv, REAL *b, \
                  const int *ldb, int *info);

typedef struct { FO_BLAS_OF(float) } fo_blas_f32;
typedef struct { FO_BLAS_OF(double) } fo_blas_f64;
#undef FO_BLAS_OF
typedef struct {
    fo_blas_f32 s;
    fo_blas_f64 d;
} fo_blas;
#endif
