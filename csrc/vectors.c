/* vectors.c: see vectors.h. Blocks in parallel, their sums added by number. */
#include <math.h>
#include <string.h>
#include "kernels.h"
#include "vectors.h"

/* The loops of lines.h once more, for vectors so short that the way to an instruction set's own would take longer. */
#define FO_NOINLINE
#define FO_LANES_STAY (void)0
#define REAL float
#define NARROW 1
#define FABS fabsf
#define UINT uint32_t
#define EXPONENT UINT32_C(0x7f800000)
#define FN(x) x##_f32
#include "reduce.h"
#include "lines.h"
#undef REAL
#undef NARROW
#undef FABS
#undef UINT
#undef EXPONENT
#undef FN
#define REAL double
#define NARROW 0
#define FABS fabs
#define UINT uint64_t
#define EXPONENT UINT64_C(0x7ff0000000000000)
#define FN(x) x##_f64
#include "reduce.h"
#include "lines.h"

enum {
    SHORT = 8,                     /* elements */
    SERIAL = 100000, GRAIN = 8     /* as in step.c */
};

static void over_blocks(fo_lines *job, const space *v, double *sums, int count)
{
    const fo_kernels *kernels = fo_current();
    job->width = v->width;
    job->n = v->n;
    if (v->n <= FO_BLOCK) {
        kernels->lines_block(job, sums);
        return;
    }
    job->sums = v->scratch;
    const ptrdiff_t blocks = fo_blocks(v->n);
    fo_parallel(kernels->lines, job, blocks, GRAIN, v->n < SERIAL ? 1 : v->threads);
    for (int k = 0; k < count; k++) sums[k] = job->sums[k];
    for (ptrdiff_t b = 1; b < blocks; b++) {
        const double *part = job->sums + b * FO_PAIR_SUMS;
        for (int k = 0; k < count; k++) sums[k] += part[k];
    }
}

/* The operation is known where this is called, so a short vector costs its loop and nothing else. */
static inline void run(fo_lines *job, const space *v, double *sums, int count)
{
    if (v->n > SHORT) over_blocks(job, v, sums, count);
    else if (v->width == FO_F64) lines_f64(job, 0, v->n, sums);
    else lines_f32(job, 0, v->n, sums);
}

double vec_dot(const space *v, const void *x, const void *y)
{
    fo_lines job = { .op = FO_LINE_DOT, .x = x, .y = y };
    double sums[FO_PAIR_SUMS];
    run(&job, v, sums, 1);
    return sums[0];
}

double vec_norms(const space *v, const void *x, double *xx)
{
    fo_lines job = { .op = FO_LINE_NORMS, .x = x };
    double sums[FO_PAIR_SUMS];
    run(&job, v, sums, 1);
    *xx = sums[0];
    if (v->n <= FO_BLOCK) return sums[1];
    double most = 0;
    for (ptrdiff_t b = 0; b < fo_blocks(v->n); b++) {
        double m = job.sums[b * FO_PAIR_SUMS + 1];
        most = m > most || m != m ? m : most;
        if (m != m) break;
    }
    return most;
}

int vec_step(const space *v, const void *x, double a, const void *y, void *out)
{
    int changed;
    return vec_step_anew(v, x, a, y, out, &changed);
}

int vec_step_anew(const space *v, const void *x, double a, const void *y, void *out, int *changed)
{
    fo_lines job = { .op = FO_LINE_STEP, .x = x, .y = y, .out = out, .a = a };
    double sums[FO_PAIR_SUMS];
    run(&job, v, sums, 2);
    *changed = sums[1] > 0;
    return sums[0] > 0;
}

void vec_combine(const space *v, double a, const void *x, double b, const void *y, void *out)
{
    fo_lines job = { .op = FO_LINE_COMBINE, .x = x, .y = y, .out = out, .a = a, .b = b };
    double sums[FO_PAIR_SUMS];
    run(&job, v, sums, 0);
}

pair_sums vec_pair(const space *v, const void *x, const void *xt, const void *g, const void *gt, void *s, void *y)
{
    fo_lines job = { .op = FO_LINE_PAIR, .x = x, .y = xt, .z = g, .w = gt, .out = s, .out2 = y };
    double sums[FO_PAIR_SUMS];
    run(&job, v, sums, FO_PAIR_SUMS);
    return (pair_sums){ sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] };
}

size_t vec_size(const space *v)
{
    size_t bytes = (size_t)v->n * (v->width == FO_F32 ? sizeof(float) : sizeof(double));
    return (bytes + 63) & ~(size_t)63;
}

ptrdiff_t vec_scratch(ptrdiff_t n) { return n <= FO_BLOCK ? 0 : fo_blocks(n) * FO_PAIR_SUMS; }
