/* kernels.h: what one instruction set offers: the table that kernels.c fills and dispatch.c chooses. Private to csrc/. */
#ifndef FO_KERNELS_H
#define FO_KERNELS_H
#include "fastopt.h"
#include "vectors.h"

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
