/* norm_api.h: batch, layer and RMS normalization of arrays, forward and backward. What the calls want and promise; norm.c does it.
 *
 * Arrays are contiguous, aligned to the element, of the job's width; statistics are double. No bit depends on threads or instruction set.
 */
#ifndef FO_NORM_API_H
#define FO_NORM_API_H
#include <stddef.h>

/* A batch seen as x[outer][channels][inner]: statistics are per channel, over outer and inner. Channels last: inner = 1; channels first:
 * outer counts the examples. With `first` the channel axis comes before that of the examples (outer = 1), which lie along inner.
 * Each group of the batch has statistics of its own: group g begins at example g size; with size 0, all groups hold batch / groups
 * examples and the first batch % groups one more. The last ends at batch. 1 <= groups <= max(batch, 1). */
typedef struct {
    int width, first;
    ptrdiff_t outer, channels, inner;
    ptrdiff_t batch, groups, size;
    double eps;                    /* > 0 */
    const void *gamma, *beta;      /* [channels]; NULL: 1, 0 */
    double *mean, *rstd;           /* [groups][channels]; rstd = 1 / sqrt(var + eps) */
    double *var;                   /* [groups][channels], out, biased */
    const void *x;
    void *y;                       /* y[i] belongs to x[i]; may be x itself, else overlaps nothing */
    const void *dy;
    void *dx;                      /* may be dy or x itself; NULL: not wanted */
    void *dgamma, *dbeta;          /* [channels]; NULL: not wanted */
    void *scratch;                 /* fo_norm_scratch bytes, aligned for double */
} fo_norm;

size_t fo_norm_scratch(const fo_norm *job);
void fo_norm_train(const fo_norm *job, int threads);       /* mean, rstd, var, y from x */
void fo_norm_apply(const fo_norm *job, int threads);       /* y from x with the mean and rstd given; groups = 1 */
/* dx, dgamma, dbeta from x, dy, mean, rstd. `fixed`: mean and rstd were given, not taken from x. With `normed` x holds what is
 * normalized already: (x - mean) rstd of the forward pass. */
void fo_norm_back(const fo_norm *job, int fixed, int normed, int threads);

/* Running statistics [channels] of one width take up those of the groups of a training pass, in order:
 * r = keep r + share s, with s the mean, and the variance times n / (n - 1) if unbiased (n = 1 leaves the running variance alone).
 * share < 0: cumulative, share = 1 / (count + 1). `count` grows by one a group. */
void fo_norm_running(const fo_norm *job, int width, void *mean, void *var, double *count, double keep, double share, int unbiased);
/* mean and rstd of the job from running statistics of one width. */
void fo_norm_given(const fo_norm *job, int width, const void *mean, const void *var);

/* Rows x[rows][cols], each normalized by its own statistics; gamma and beta are [cols]. `centred`: by mean and variance (layer norm), else by
 * the mean square (RMS norm; mean is not written). */
typedef struct {
    int width, centred;
    int normed;                    /* backward: x holds (x - mean) rstd of the forward pass */
    ptrdiff_t rows, cols;
    double eps;
    const void *gamma, *beta;      /* NULL: 1, 0 */
    double *mean, *rstd;           /* [rows] */
    const void *x;
    void *y;                       /* may be x itself */
    const void *dy;
    void *dx;                      /* may be dy or x itself */
    void *dgamma, *dbeta;          /* NULL: not wanted */
    void *scratch;
} fo_layer_norm;
size_t fo_layer_norm_scratch(const fo_layer_norm *job);
void fo_layer_norm_forward(const fo_layer_norm *job, int threads);
void fo_layer_norm_back(const fo_layer_norm *job, int threads);

/* The floor, for benchmarks: forward (y = x + 1) and backward (dx = x + dy), five streams touched once; `repeat` times, one thread. */
void fo_norm_floor(int width, const void *x, void *y, const void *dy, void *dx, ptrdiff_t n, int repeat);
#endif
