/* step.c: the calls around the kernels of a first-order step: coefficients, the norm of the gradient, the pass itself. */
#include <math.h>
#include <string.h>
#include "kernels.h"

#define FO_PREP 1
#define REAL double
#define SQRT sqrt
#define FABS fabs
#define COPYSIGN copysign
#define FN(x) x##_f64
#include "rules.h"

const fo_rule_info fo_rule_table[FO_RULES] = {
#define RULE(name, states, state_names, hyper_names, scalar_names) { #name, states, state_names, hyper_names, scalar_names },
#include "rules.def"
#undef RULE
};

enum {
    SERIAL = 100000,               /* elements below which waking a thread costs more than it gives; measured */
    GRAIN = 16                     /* most blocks taken at once: long enough for the prefetchers, short enough to balance */
};

/* A <rule>_k holds doubles only, so it can be read as an array of them. */
#define RULE(name, states, state_names, hyper_names, scalar_names)                                                          \
    _Static_assert(sizeof(name##_k_f64) <= FO_MAX_COEFS * sizeof(double), "FO_MAX_COEFS is too small for " #name);         \
    static void name##_coefs(const double *h, double t, double *scalars, double *k)                                         \
    {                                                                                                                       \
        name##_k_f64 coefs = { 0 };                                                                                         \
        name##_prep(h, t, scalars, &coefs);                                                                                 \
        memcpy(k, &coefs, sizeof coefs);                                                                                    \
    }
#include "rules.def"
#undef RULE

static void (*const coefs_of[FO_RULES])(const double *, double, double *, double *) = {
#define RULE(name, states, state_names, hyper_names, scalar_names) name##_coefs,
#include "rules.def"
#undef RULE
};

void fo_prepare(int rule, const double *h, double weight_decay, int decoupled, double t, double *scalars, fo_group *out)
{
    memset(out->k_f64, 0, sizeof out->k_f64);
    coefs_of[rule](h, t, scalars, out->k_f64);
    for (int i = 0; i < FO_MAX_COEFS; i++) out->k_f32[i] = (float)out->k_f64[i];
    out->keep = decoupled ? 1 - h[0] * weight_decay : 1;
    out->decay = decoupled ? 0 : weight_decay;
}

static void run(fo_task task, const fo_job *job, int threads)
{
    if (job->elements < SERIAL) threads = 1;
    ptrdiff_t grain = threads > 1 ? job->blocks / (threads * 8) : job->blocks;
    fo_parallel(task, (void *)job, job->blocks, grain < 1 ? 1 : grain > GRAIN ? GRAIN : grain, threads);
}

void fo_step(const fo_job *job, int threads) { run(fo_current()->step, job, threads); }

int64_t fo_count_nonfinite(const fo_tensor *t)
{
    double largest;
    return fo_current()->inspect(t, &largest);
}

double fo_gradient_norm(const fo_job *job, double *norms, int threads)
{
    const fo_kernels *kernels = fo_current();
    run(kernels->squares, job, threads);
    /* Squares of doubles keep full accuracy while their sum is in this range; 0 may be the sum of squares too small to see. */
    const double low = 1e-280, high = 1e300;
    double sum = 0, largest_norm = 0;
    int plain = 1;
    for (ptrdiff_t i = 0; i < job->count; i++) {
        const fo_tensor *t = &job->tensors[i];
        double s = 0;
        for (ptrdiff_t b = t->first; b < t->first + fo_blocks(t->n); b++) s += job->squares[b];
        sum += s;
        if (t->width == FO_F32 || (s > low && s < high)) norms[i] = sqrt(s);
        else {
            double largest = 0;
            int64_t bad = kernels->inspect(t, &largest);
            if (bad) norms[i] = s == s ? INFINITY : NAN;
            else if (largest == 0) norms[i] = 0;
            else {
                plain = 0;
                /* A power of two near 1/largest: scaling by it rounds nothing. */
                int exponent;
                frexp(largest, &exponent);
                double c = ldexp(1, exponent < -1000 ? 1000 : exponent > 1000 ? -1000 : -exponent);
                norms[i] = sqrt(kernels->squares_scaled(t, c)) / c;
            }
        }
        largest_norm = norms[i] > largest_norm ? norms[i] : largest_norm;
    }
    if (plain || !(largest_norm > 0 && largest_norm <= 1.7976931348623157e308)) return sqrt(sum);
    double scaled = 0;
    for (ptrdiff_t i = 0; i < job->count; i++) scaled += (norms[i] / largest_norm) * (norms[i] / largest_norm);
    return largest_norm * sqrt(scaled);
}

void fo_floor(int width, void *const *written, int n_written, const void *read, int twice, ptrdiff_t n, int threads, int repeat)
{
    fo_floor_job job = { written, read, width, n_written, n };
    const fo_kernels *kernels = fo_current();
    if (n < SERIAL) threads = 1;
    for (int i = 0; i < repeat; i++) {
        if (twice) fo_parallel(kernels->floor_read, &job, fo_blocks(n), GRAIN, threads);
        fo_parallel(kernels->floor_step, &job, fo_blocks(n), GRAIN, threads);
    }
}
