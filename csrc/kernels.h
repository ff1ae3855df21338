/* kernels.h: what one instruction set offers: the table that kernels.c fills and dispatch.c chooses. Private to csrc/. */
#ifndef FO_KERNELS_H
#define FO_KERNELS_H
#include <math.h>
#include "fastopt.h"
#include "vectors.h"

/* The inverse Hessian of BFGS (triangle.h): what a pass works on, all of it padded to whole blocks. */
enum { FO_TRIANGLE_ROWS = 4 };
#define FO_TRIANGLE_V(element) ((int)(32 / (element)))            /* elements of a block's side */
typedef struct {
    ptrdiff_t n, blocks, panels;
    void *h;
    const void *s, *w, *g;
    void *r, *u;                   /* row sums; sums over columns of each panel */
} fo_triangle_job;

typedef struct {
    void (*small)(ptrdiff_t n, void *h, const void *s, const void *w, const void *g, void *u);
    fo_task panels;                /* ctx: const fo_triangle_job; pieces: panels */
    void (*close)(const fo_triangle_job *job, void *u);
    void (*identity)(ptrdiff_t n, void *h, double gamma);
    void (*pack)(ptrdiff_t n, const void *a, void *h);
    void (*unpack)(ptrdiff_t n, const void *h, const void *s, const void *w, void *out);
    void (*floor)(void *h, ptrdiff_t start, ptrdiff_t n);
} fo_triangle_kernels;

/* Elements before block row b. */
static inline ptrdiff_t fo_triangle_row(ptrdiff_t b, ptrdiff_t v) { return b * (b + 1) / 2 * (v * v); }
/* First block row of panel p: panels hold about as many elements each. */
static inline ptrdiff_t fo_triangle_cut(const fo_triangle_job *job, ptrdiff_t p)
{
    return p <= 0 ? 0 : p >= job->panels ? job->blocks : (ptrdiff_t)((double)job->blocks * sqrt((double)p / (double)job->panels) + 0.5);
}

/* Columns of X for coordinate descent; see coordinate.h. */
typedef struct {
    size_t size;                   /* of an element */
    double (*dot)(const fo_columns *x, ptrdiff_t j, const void *r);         /* of the stored column, means aside */
    void (*add)(const fo_columns *x, ptrdiff_t j, double c, void *r);       /* r += c x_j, means aside */
    double (*norm)(const fo_columns *x, ptrdiff_t j);                       /* squared, less the mean */
    double (*vector_dot)(const void *u, const void *v, ptrdiff_t n);
    void (*vector_add)(void *r, const void *x, double c, ptrdiff_t n);
} fo_column_kernels;

/* Normalization: see norm.h. Sums are double, m, a, b, d, r, gamma, beta of the width. */
typedef struct {
    size_t size;                   /* of an element */
    void (*moments)(const void *x, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t cols, const void *shift, double *s1, double *s2);
    void (*products)(const void *x, const void *dy, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t cols, const void *m, const void *r, double *s1,
                     double *s2);
    void (*scale)(const void *x, void *y, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t cols, const void *m, const void *a, const void *b);
    void (*slope)(const void *x, const void *dy, void *dx, ptrdiff_t step, ptrdiff_t rows, ptrdiff_t cols, const void *m, const void *a,
                  const void *b, const void *d);
    void (*run_moments)(const void *x, ptrdiff_t n, double shift, double *s1, double *s2);
    void (*run_products)(const void *x, const void *dy, ptrdiff_t n, const void *m, const void *r, double *s1, double *s2);
    void (*run_scale)(const void *x, void *y, ptrdiff_t n, const void *m, const void *a, const void *b);
    void (*run_slope)(const void *x, const void *dy, void *dx, ptrdiff_t n, const void *m, const void *a, const void *b, const void *d);
    int (*statistics)(ptrdiff_t channels, double n, const double *s1, const double *s2, double *mean, double *var);
    void (*better_statistics)(ptrdiff_t channels, double n, const double *s1, const double *s2, double *mean, double *var);
    void (*rstd)(ptrdiff_t channels, const double *var, double eps, double *rstd);
    void (*coefs)(ptrdiff_t channels, const double *mean, const double *rstd, const void *gamma, const void *beta, void *m, void *a, void *b);
    void (*centres)(ptrdiff_t channels, const double *mean, const double *rstd, void *m, void *r);
    void (*complete)(ptrdiff_t channels, const double *mean, const double *rstd, const double *s1, double *s2);
    void (*back_coefs)(ptrdiff_t channels, double n, const double *mean, const double *rstd, const void *gamma, int normed, const double *s1,
                       const double *s2, void *a, void *b, void *d);
    void (*layer_forward)(const fo_layer_norm *job, ptrdiff_t begin, ptrdiff_t end);
    void (*layer_back)(const fo_layer_norm *job, ptrdiff_t begin, ptrdiff_t end, double *sums);
    void (*store)(ptrdiff_t n, const double *sums, void *out);
    void (*blend)(ptrdiff_t n, const double *s, double factor, double keep, double share, void *r);
    void (*widen)(ptrdiff_t n, const void *x, double *out);
    void (*floor)(const void *x, void *y, const void *dy, void *dx, ptrdiff_t n);
} fo_norm_kernels;

/* A run of elements of a keyed permutation (feistel.h): of `in`, else from `first` by `step`. */
typedef struct {
    const fo_permute *p;
    const int64_t *in;
    int64_t first, step;
    void *out;
    int wide, inverse;
} fo_permute_job;

/* n elements, `stride` bytes apart, to one width, times factor: convert.h */
typedef void (*fo_convert)(void *out, const char *from, ptrdiff_t n, ptrdiff_t stride, double factor);

typedef struct {
    const char *isa;
    fo_task step;                  /* ctx: const fo_job; pieces: blocks */
    fo_task squares;               /* ctx: const fo_job; job->squares[block] = sum of g^2 */
    fo_task floor_step, floor_read;                                         /* ctx: const fo_floor_job; pieces: blocks of elements */
    double (*squares_scaled)(const fo_tensor *t, double c);                 /* sum of (c g)^2 over a whole tensor */
    int64_t (*inspect)(const fo_tensor *t, double *largest);                /* Inf and NaN, and the largest |g| */
    void (*lines_block)(const fo_lines *job, double *sums);                 /* a vector of one block at most */
    fo_task lines;                 /* ctx: fo_lines; pieces: blocks of elements; job->sums[block] */
    const fo_layers *layers[FO_WIDTHS];
    const fo_triangle_kernels *triangle[FO_WIDTHS];
    fo_task pairs_measure, pairs_products, pairs_combine, pairs_sweep, pairs_copy;    /* ctx: const fo_pairs_job; pieces: blocks */
    const fo_column_kernels *columns[FO_WIDTHS];
    fo_convert convert[FO_KIND_COUNT][FO_WIDTHS];
    const fo_norm_kernels *norm[FO_WIDTHS];
    fo_task permute;               /* ctx: const fo_permute_job; pieces: elements */
    uint64_t (*permute_walk)(const fo_permute *p, uint64_t x, int inverse);
} fo_kernels;

typedef struct {
    void *const *written;
    const void *read;
    int width, n_written;
    ptrdiff_t n;
} fo_floor_job;

/* A pass over the pairs of L-BFGS: what each kernel in pairs.h reads of it is said there. */
typedef struct {
    const fo_pairs *at;
    char *rows;
    const void *x, *xt, *g, *gt;
    void *out;
    const double *c;               /* a coefficient a row */
    double keep, blend, scale;
    int rows_used, skip;           /* rows in use, of which the two of slot `skip` hold no pair that counts; -1: all do */
    int add, dot;                  /* row numbers */
    double *partial;               /* `stride` sums a block */
    int stride;
} fo_pairs_job;

/* Row lengths of pairs.h: its tiles hold up to PAIRS_TILE elements of every row, padded to a multiple of 16. */
enum { PAIRS_TILE = 1024, PAIRS_TILES = FO_BLOCK / PAIRS_TILE };
typedef struct { ptrdiff_t number, start, len, padded; } fo_tile;
static inline fo_tile fo_tile_at(ptrdiff_t n, ptrdiff_t number)
{
    const ptrdiff_t start = number * PAIRS_TILE, len = n - start < PAIRS_TILE ? n - start : PAIRS_TILE;
    return (fo_tile){ number, start, len, (len + 15) / 16 * 16 };
}

const fo_kernels *fo_current(void);

static inline ptrdiff_t fo_blocks(ptrdiff_t n) { return n > 0 ? (n - 1) / FO_BLOCK + 1 : 0; }
#endif
