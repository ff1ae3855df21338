/* kernels.h: what one instruction set offers: the table that kernels.c fills and dispatch.c chooses. Private to csrc/. */
#ifndef FO_KERNELS_H
#define FO_KERNELS_H
#include "fastopt.h"

/* Columns of X for coordinate descent; see coordinate.h. */
typedef struct {
    size_t size;                   /* of an element */
    double (*dot)(const fo_columns *x, ptrdiff_t j, const void *r);         /* of the stored column, means aside */
    void (*add)(const fo_columns *x, ptrdiff_t j, double c, void *r);       /* r += c x_j, means aside */
    double (*norm)(const fo_columns *x, ptrdiff_t j);                       /* squared, less the mean */
    double (*vector_dot)(const void *u, const void *v, ptrdiff_t n);
    void (*vector_add)(void *r, const void *x, double c, ptrdiff_t n);
} fo_column_kernels;

typedef struct {
    const char *isa;
    fo_task step;                  /* ctx: const fo_job; pieces: blocks */
    fo_task squares;               /* ctx: const fo_job; job->squares[block] = sum of g^2 */
    fo_task floor_step, floor_read;                                         /* ctx: const fo_floor_job; pieces: blocks of elements */
    double (*squares_scaled)(const fo_tensor *t, double c);                 /* sum of (c g)^2 over a whole tensor */
    int64_t (*inspect)(const fo_tensor *t, double *largest);                /* Inf and NaN, and the largest |g| */
    const fo_layers *layers[FO_WIDTHS];
    const fo_column_kernels *columns[FO_WIDTHS];
} fo_kernels;

typedef struct {
    void *const *written;
    const void *read;
    int width, n_written;
    ptrdiff_t n;
} fo_floor_job;

const fo_kernels *fo_current(void);

static inline ptrdiff_t fo_blocks(ptrdiff_t n) { return n > 0 ? (n - 1) / FO_BLOCK + 1 : 0; }
#endif
