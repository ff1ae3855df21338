/* descent.h: coordinate descent for least squares with L1 and L2 terms, as a machine that works in slices. Public, through fastopt.h.
 *
 * Minimises over w[p]   P(w) = 1/2 |y - X w|^2 + a |w|_1 + b/2 |w|_2^2,   a, b >= 0, a + b > 0, w >= 0 if asked for.
 * The caller owns all memory. Nothing here depends on the number of threads or on the instruction set.
 */
#ifndef FO_DESCENT_H
#define FO_DESCENT_H
#include <stddef.h>
#include <stdint.h>
#include "shuffle.h"

/* The columns of X: dense, each packed; or stored by columns (CSC), row numbers in any order, none twice in a column. */
typedef struct {
    int width;                     /* FO_F32 or FO_F64: of data, and of every vector below that is "of elements" */
    int careful;                   /* products of floats may leave the range of float: take them in double */
    int wide;                      /* CSC: rows are int64_t, else int32_t */
    ptrdiff_t n, p;
    const void *data;
    ptrdiff_t step;                /* dense: elements from a column to the next, any sign */
    const void *rows;              /* CSC; NULL: dense */
    const int64_t *start;          /* CSC: start[p + 1]; column j holds elements start[j] .. start[j + 1] - 1 */
    /* CSC with an intercept: the columns are x_j - means[j] ones, without being formed. NULL: as they are stored. */
    const double *means;           /* [p] */
    const void *ones;              /* elements [n]: the column of the intercept, 1 or the roots of the weights */
    double mass;                   /* |ones|^2 */
} fo_columns;

enum fo_descent_status { FO_DESCENT_CONVERGED, FO_DESCENT_ITERATIONS, FO_DESCENT_PRECISION, FO_DESCENT_NONFINITE, FO_DESCENT_MORE };

typedef struct {
    fo_columns x;
    const void *y;                 /* elements [n]; with means, orthogonal to ones */
    double yy;                     /* |y|^2 */
    const double *norms;           /* [p] from fo_column_norms; 0: the column is left alone and w[j] must be 0 */
    double a, b;
    double gap_wanted;             /* stop when the duality gap is at most this */
    int64_t most;                  /* sweeps */
    int positive, screening, threads;
    const fo_bits *bits;           /* random order of each sweep; NULL: by number */
    /* in/out */
    double *w;                     /* [p], representable in the width when fo_descend has ended */
    void *r;                       /* elements [n]: y - X w */
    double *q;                     /* [p]: X'r when fo_descend has ended */
    int fresh;                     /* r and q belong to w and y: nonzero after an end; set 0 whenever w, x or y changed */
    /* work */
    int64_t *alive, *working;      /* [p] each */
    void *order;                   /* p numbers of 8 bytes */
    double *rank;                  /* [p] */
    /* out */
    double gap, primal;
    int64_t sweeps, checks;        /* sweeps over a working set; products with all columns that were left */
    int64_t screened;              /* columns that the last check but one left out */
    /* where it goes on; fo_descent_begin sets these */
    int phase, dual;
    int stuck;                     /* looks in a row at which nothing but rounding had moved */
    int since, pause;              /* sweeps since the last look at the gap, and until the next */
    ptrdiff_t at, alives, workings;
    int64_t spent, pass;           /* work since the last check; work of looking at all columns */
    double shift, rest;            /* with means the residual is r + shift ones, and ones'r = rest */
    double moved;                  /* largest |change of w_j| |x_j| of this sweep */
    double gap_best, gap_inner;    /* of all columns, of the working set */
    double radius, scale;
} fo_descent;

/* Squared norm of every column (less its mean, where there are means). Inf or NaN where an element, or the square, is. */
void fo_column_norms(const fo_columns *x, double *norms, int threads);
/* Readies s for another run: a, b, gap_wanted, most and the rest of the first part are set, w is the start. */
void fo_descent_begin(fo_descent *s);
/* Works on about `budget` elements of X. FO_DESCENT_MORE: call again; else why it ended. */
int fo_descend(fo_descent *s, int64_t budget);
#endif
