/* norm.c: see norm_api.h. Cuts arrays into pieces whose size depends on shapes alone, adds what they yield by number, and turns sums into
 * statistics and coefficients; the loops are in norm.h.
 *
 * A group of the batch is walked as one of two shapes:
 *
 * - columns: a matrix whose rows are examples (or places) and whose columns are channels, each `inner` columns wide. Where the width is no
 *   multiple of the lanes, `copies` rows count as one row, so that few channels fill vectors too; sums of the columns that belong to
 *   one channel are added in order.
 * - runs: consecutive elements of one channel, cut at FO_BLOCK elements.
 */
#include <math.h>
#include <string.h>
#include "kernels.h"

enum {
    LANES = 16,
    SHORT_RUN = 64,                /* shorter ones are columns */
    CHUNK = 256,                   /* rows of a matrix that one sum runs over */
    WIDEST = 1024,                 /* columns that one piece holds, so that their sums stay in the first cache */
    PADDED = 1024,                 /* wider rows are not joined */
    LAYER_ROWS = 64,               /* rows that one sum of a layer norm's dgamma runs over */
    SERIAL = 100000                /* elements under which no thread is woken, as in step.c */
};

typedef struct {
    const fo_norm *job;
    const fo_norm_kernels *f;
    int runs, threads, normed;
    ptrdiff_t start;               /* of the group, in elements of x */
    ptrdiff_t outer, inner, pitch; /* of the group; pitch: from channel to channel, for runs */
    double n;                      /* values a channel */
    ptrdiff_t rows, cols, rest, copies, chunks, strip, strips;        /* columns; rest: rows of x that fill no row of the matrix */
    ptrdiff_t blocks;              /* of a run */
    ptrdiff_t pieces;
    double *partial, *s1, *s2, *t1, *t2;
    char *m, *a, *b, *d, *r;       /* [channels] or, expanded, [cols] */
    const void *shift;             /* expanded, or NULL */
    const double *shifts;          /* [channels], or NULL */
} group;

static ptrdiff_t min(ptrdiff_t a, ptrdiff_t b) { return a < b ? a : b; }
static ptrdiff_t cut(ptrdiff_t n, ptrdiff_t size) { return n > 0 ? (n - 1) / size + 1 : 0; }
static ptrdiff_t common(ptrdiff_t a, ptrdiff_t b) { return b ? common(b, a % b) : a; }
static size_t bytes_of(int width) { return width == FO_F32 ? sizeof(float) : sizeof(double); }

static int by_runs(const fo_norm *job) { return job->first || job->channels == 1 || job->inner >= SHORT_RUN; }
static ptrdiff_t joined(ptrdiff_t base) { return base < PADDED ? LANES / common(base, LANES) : 1; }

/* First example of group g; g = groups: batch. */
static ptrdiff_t bound(const fo_norm *job, ptrdiff_t g)
{
    if (g == job->groups) return job->batch;
    if (job->size) return g * job->size;
    return g * (job->batch / job->groups) + min(g, job->batch % job->groups);
}

/* Sums of pieces of the largest group, in doubles. */
static size_t partials(const fo_norm *job)
{
    if (by_runs(job))
        return job->channels == 1 ? 2 * (size_t)cut(job->outer * job->inner, FO_BLOCK)
                                  : 2 * (size_t)(job->outer * job->channels) * (size_t)cut(job->inner, FO_BLOCK);
    const ptrdiff_t base = job->channels * job->inner;
    return 2 * (size_t)((job->outer / CHUNK + 3 * joined(base)) * base);
}

size_t fo_norm_scratch(const fo_norm *job)
{
    const ptrdiff_t base = job->channels * job->inner, cols = by_runs(job) ? job->channels : base * joined(base);
    return (partials(job) + 4 * (size_t)job->channels) * sizeof(double) + 6 * ((size_t)cols * bytes_of(job->width) + 64);
}

static group group_of(const fo_norm *job, ptrdiff_t g, int threads)
{
    group v = { .job = job, .f = fo_current()->norm[job->width], .runs = by_runs(job) };
    const ptrdiff_t from = bound(job, g), examples = bound(job, g + 1) - from, channels = job->channels;
    const ptrdiff_t per = job->batch ? (job->first ? job->inner : job->outer) / job->batch : 0;      /* places of an example */
    v.outer = job->first ? 1 : examples * per;
    v.inner = job->first ? examples * per : job->inner;
    v.pitch = job->inner;
    v.start = from * per * (job->first ? 1 : channels * job->inner);
    v.n = (double)v.outer * (double)v.inner;
    v.threads = v.outer * channels * v.inner < SERIAL ? 1 : threads;
    if (v.runs) {
        if (channels == 1) v.inner *= v.outer, v.outer = 1;
        v.blocks = cut(v.inner, FO_BLOCK);
        v.pieces = v.outer * channels * v.blocks;
        v.cols = channels;
    } else {
        const ptrdiff_t base = channels * v.inner;
        v.copies = joined(base);
        if (v.outer < 4 * v.copies) v.copies = 1;
        v.cols = base * v.copies;
        v.rows = v.outer / v.copies;
        v.rest = v.outer % v.copies;
        v.chunks = cut(v.rows, CHUNK);
        v.strip = WIDEST;
        while (v.threads > 1 && v.strip > LANES * 4 && v.chunks * cut(v.cols, v.strip) < 4 * v.threads) v.strip /= 2;
        v.strips = cut(v.cols, v.strip);
        v.pieces = v.chunks * v.strips;
    }
    v.s1 = job->scratch;
    v.s2 = v.s1 + channels;
    v.t1 = v.s2 + channels;
    v.t2 = v.t1 + channels;
    v.partial = v.t2 + channels;
    char *coefs = (char *)(v.partial + partials(job));
    const size_t room = (size_t)v.cols * bytes_of(job->width) + 64;
    char **const all[] = { &v.m, &v.a, &v.b, &v.d, &v.r };
    for (int i = 0; i < 5; i++) *all[i] = coefs + (size_t)i * room;
    return v;
}

static const char *at(const void *x, const group *v, ptrdiff_t i) { return (const char *)x + (size_t)(v->start + i) * v->f->size; }
static char *to(void *x, const group *v, ptrdiff_t i) { return (char *)x + (size_t)(v->start + i) * v->f->size; }

/* ---- pieces ---- */

typedef struct { ptrdiff_t x, n, channel; } run;
static run run_at(const group *v, ptrdiff_t piece)
{
    const ptrdiff_t block = piece % v->blocks, line = piece / v->blocks, channel = line % v->job->channels, o = line / v->job->channels;
    const ptrdiff_t from = block * FO_BLOCK;
    return (run){ o * v->job->channels * v->pitch + channel * v->pitch + from, min(v->inner - from, FO_BLOCK), channel };
}

typedef struct { ptrdiff_t row, rows, col, cols; double *s1, *s2; } tile;
static tile tile_at(const group *v, ptrdiff_t piece)
{
    const ptrdiff_t chunk = piece / v->strips, col = piece % v->strips * v->strip, row = chunk * CHUNK;
    double *sums = v->partial + chunk * 2 * v->cols + col;
    return (tile){ row, min(v->rows - row, CHUNK), col, min(v->cols - col, v->strip), sums, sums + v->cols };
}

static void sum_moments(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const group *v = ctx;
    for (ptrdiff_t i = begin; i < end; i++) {
        if (v->runs) {
            const run p = run_at(v, i);
            v->f->run_moments(at(v->job->x, v, p.x), p.n, v->shifts ? v->shifts[p.channel] : 0, v->partial + 2 * i, v->partial + 2 * i + 1);
        } else {
            const tile p = tile_at(v, i);
            v->f->moments(at(v->job->x, v, p.row * v->cols + p.col), v->cols, p.rows, p.cols,
                          v->shift ? (const char *)v->shift + (size_t)p.col * v->f->size : NULL, p.s1, p.s2);
        }
    }
}

static void sum_products(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const group *v = ctx;
    for (ptrdiff_t i = begin; i < end; i++) {
        if (v->runs) {
            const run p = run_at(v, i);
            const size_t c = (size_t)p.channel * v->f->size;
            v->f->run_products(at(v->job->x, v, p.x), at(v->job->dy, v, p.x), p.n, v->m + c, v->r + c, v->partial + 2 * i,
                               v->partial + 2 * i + 1);
        } else {
            const tile p = tile_at(v, i);
            const ptrdiff_t x = p.row * v->cols + p.col;
            const size_t c = (size_t)p.col * v->f->size;
            v->f->products(at(v->job->x, v, x), at(v->job->dy, v, x), v->cols, p.rows, p.cols, v->m + c, v->r + c, p.s1, p.s2);
        }
    }
}

/* Both from the last piece to the first: the end of x is what the sums read last. */
static void write_scaled(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const group *v = ctx;
    for (ptrdiff_t i = begin; i < end; i++) {
        if (v->runs) {
            const run p = run_at(v, v->pieces - 1 - i);
            const size_t c = (size_t)p.channel * v->f->size;
            v->f->run_scale(at(v->job->x, v, p.x), to(v->job->y, v, p.x), p.n, v->m + c, v->a + c, v->b + c);
        } else {
            const tile p = tile_at(v, v->pieces - 1 - i);
            const ptrdiff_t x = p.row * v->cols + p.col;
            const size_t c = (size_t)p.col * v->f->size;
            v->f->scale(at(v->job->x, v, x), to(v->job->y, v, x), v->cols, p.rows, p.cols, v->m + c, v->a + c, v->b + c);
        }
    }
}

static void write_slope(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const group *v = ctx;
    for (ptrdiff_t i = begin; i < end; i++) {
        if (v->runs) {
            const run p = run_at(v, v->pieces - 1 - i);
            const size_t c = (size_t)p.channel * v->f->size;
            v->f->run_slope(at(v->job->x, v, p.x), at(v->job->dy, v, p.x), to(v->job->dx, v, p.x), p.n, v->m + c, v->a + c, v->b + c, v->d + c);
        } else {
            const tile p = tile_at(v, v->pieces - 1 - i);
            const ptrdiff_t x = p.row * v->cols + p.col;
            const size_t c = (size_t)p.col * v->f->size;
            v->f->slope(at(v->job->x, v, x), at(v->job->dy, v, x), to(v->job->dx, v, x), v->cols, p.rows, p.cols, v->m + c, v->a + c, v->b + c,
                        v->d + c);
        }
    }
}

/* ---- a whole group ---- */

/* Sums of all pieces and of the rows left over, by channel: s1, s2. */
static void sum(group *v, fo_task task)
{
    const ptrdiff_t channels = v->job->channels;
    fo_parallel(task, v, v->pieces, v->runs ? cut(4 * FO_BLOCK, v->inner) : 1, v->threads);
    double *s1 = v->s1, *s2 = v->s2;
    if (v->runs) {
        memset(s1, 0, (size_t)channels * sizeof *s1);
        memset(s2, 0, (size_t)channels * sizeof *s2);
        for (ptrdiff_t i = 0; i < v->pieces; i++) {
            const ptrdiff_t c = i / v->blocks % channels;
            s1[c] += v->partial[2 * i];
            s2[c] += v->partial[2 * i + 1];
        }
        return;
    }
    double *p1 = v->partial, *p2 = p1 + v->cols;
    for (ptrdiff_t k = 1; k < v->chunks; k++) {
        const double *more = v->partial + k * 2 * v->cols;
        for (ptrdiff_t j = 0; j < 2 * v->cols; j++) p1[j] += more[j];
    }
    if (v->rest) {                                      /* fewer rows than there are copies: one short row of the matrix */
        const ptrdiff_t used = v->rest * channels * v->inner, x = v->rows * v->cols;
        double *q1 = v->partial + 2 * v->cols, *q2 = q1 + used;
        if (task == sum_moments) v->f->moments(at(v->job->x, v, x), v->cols, 1, used, v->shift, q1, q2);
        else v->f->products(at(v->job->x, v, x), at(v->job->dy, v, x), v->cols, 1, used, v->m, v->r, q1, q2);
        for (ptrdiff_t j = 0; j < used; j++) {
            p1[j] += q1[j];
            p2[j] += q2[j];
        }
    }
    if (v->cols == channels) {
        memcpy(s1, p1, (size_t)channels * sizeof *s1);
        memcpy(s2, p2, (size_t)channels * sizeof *s2);
        return;
    }
    for (ptrdiff_t c = 0; c < channels; c++) {
        double a = 0, b = 0;
        for (ptrdiff_t k = 0; k < v->copies; k++)
            for (ptrdiff_t i = 0; i < v->inner; i++) {
                const ptrdiff_t j = (k * channels + c) * v->inner + i;
                a += p1[j];
                b += p2[j];
            }
        s1[c] = a;
        s2[c] = b;
    }
}

/* A coefficient a channel becomes one a column. From the back, for it is done in place. */
static void expand(const group *v, char *a)
{
    if (v->runs || v->cols == v->job->channels) return;
    const size_t size = v->f->size;
    const ptrdiff_t base = v->job->channels * v->inner;
    for (ptrdiff_t j = base - 1; j >= 0; j--) memmove(a + (size_t)j * size, a + (size_t)(j / v->inner) * size, size);
    for (ptrdiff_t k = 1; k < v->copies; k++) memcpy(a + (size_t)(k * base) * size, a, (size_t)base * size);
}

static void write(group *v, fo_task task)
{
    fo_parallel(task, v, v->pieces, v->runs ? cut(4 * FO_BLOCK, v->inner) : 1, v->threads);
    if (v->runs || !v->rest) return;
    const ptrdiff_t used = v->rest * v->job->channels * v->inner, x = v->rows * v->cols;
    if (task == write_scaled) v->f->scale(at(v->job->x, v, x), to(v->job->y, v, x), v->cols, 1, used, v->m, v->a, v->b);
    else v->f->slope(at(v->job->x, v, x), at(v->job->dy, v, x), to(v->job->dx, v, x), v->cols, 1, used, v->m, v->a, v->b, v->d);
}

static void scale_group(group *v, const double *mean, const double *rstd)
{
    v->f->coefs(v->job->channels, mean, rstd, v->job->gamma, v->job->beta, v->m, v->a, v->b);
    expand(v, v->m);
    expand(v, v->a);
    expand(v, v->b);
    write(v, write_scaled);
}

void fo_norm_train(const fo_norm *job, int threads)
{
    const ptrdiff_t channels = job->channels;
    for (ptrdiff_t g = 0; g < job->groups; g++) {
        group v = group_of(job, g, threads);
        double *mean = job->mean + g * channels, *var = job->var + g * channels, *rstd = job->rstd + g * channels;
        if (v.n == 0) {                                 /* of nothing: the statistics of zeros */
            memset(mean, 0, (size_t)channels * sizeof *mean);
            memset(var, 0, (size_t)channels * sizeof *var);
            v.f->rstd(channels, var, job->eps, rstd);
            continue;
        }
        sum(&v, sum_moments);
        if (v.f->statistics(channels, v.n, v.s1, v.s2, mean, var)) {
            v.f->centres(channels, mean, NULL, v.m, v.r);
            expand(&v, v.m);
            v.shift = v.m;
            v.shifts = mean;
            sum(&v, sum_moments);
            v.f->better_statistics(channels, v.n, v.s1, v.s2, mean, var);
        }
        v.f->rstd(channels, var, job->eps, rstd);
        scale_group(&v, mean, rstd);
    }
}

void fo_norm_apply(const fo_norm *job, int threads)
{
    group v = group_of(job, 0, threads);
    if (v.n > 0) scale_group(&v, job->mean, job->rstd);
}

void fo_norm_back(const fo_norm *job, int fixed, int normed, int threads)
{
    const ptrdiff_t channels = job->channels;
    const int want = job->dgamma || job->dbeta;
    for (ptrdiff_t g = 0; g < job->groups; g++) {
        group v = group_of(job, g, threads);
        const double *mean = job->mean + g * channels, *rstd = job->rstd + g * channels;
        if (g == 0) {
            memset(v.t1, 0, (size_t)channels * sizeof *v.t1);
            memset(v.t2, 0, (size_t)channels * sizeof *v.t2);
        }
        if (v.n == 0) continue;
        v.f->centres(channels, normed ? NULL : mean, normed ? NULL : rstd, v.m, v.r);
        expand(&v, v.m);
        expand(&v, v.r);
        if (want || !fixed) {
            sum(&v, sum_products);
            if (!normed) v.f->complete(channels, mean, rstd, v.s1, v.s2);
            for (ptrdiff_t c = 0; c < channels; c++) {
                v.t1[c] += v.s1[c];
                v.t2[c] += v.s2[c];
            }
        }
        if (!job->dx) continue;
        if (fixed) {                                    /* dx = dy gamma rstd: as forward, without a mean */
            fo_norm scaled = *job;
            scaled.x = job->dy;
            scaled.y = job->dx;
            scaled.beta = NULL;
            v.job = &scaled;
            memset(v.s1, 0, (size_t)channels * sizeof *v.s1);
            scale_group(&v, v.s1, rstd);
            continue;
        }
        v.f->back_coefs(channels, v.n, mean, rstd, job->gamma, normed, v.s1, v.s2, v.a, v.b, v.d);
        expand(&v, v.a);
        expand(&v, v.b);
        expand(&v, v.d);
        write(&v, write_slope);
    }
    const fo_norm_kernels *f = fo_current()->norm[job->width];
    const double *t1 = (const double *)job->scratch + 2 * channels;
    if (job->dbeta) f->store(channels, t1, job->dbeta);
    if (job->dgamma) f->store(channels, t1 + channels, job->dgamma);
}

void fo_norm_running(const fo_norm *job, int width, void *mean, void *var, double *count, double keep, double share, int unbiased)
{
    const fo_norm_kernels *f = fo_current()->norm[width];
    const ptrdiff_t channels = job->channels;
    const double places = job->batch ? (double)job->outer * (double)job->inner / (double)job->batch : 0;
    for (ptrdiff_t g = 0; g < job->groups; g++) {
        const double n = (double)(bound(job, g + 1) - bound(job, g)) * places;
        if (n == 0) continue;
        const double s = share < 0 ? 1 / (*count + 1) : share, k = share < 0 ? *count * s : keep;
        f->blend(channels, job->mean + g * channels, 1, k, s, mean);
        if (n > 1 || !unbiased) f->blend(channels, job->var + g * channels, unbiased ? n / (n - 1) : 1, k, s, var);
        *count += 1;
    }
}

void fo_norm_given(const fo_norm *job, int width, const void *mean, const void *var)
{
    const fo_norm_kernels *f = fo_current()->norm[width];
    f->widen(job->channels, mean, job->mean);
    f->widen(job->channels, var, job->rstd);
    f->rstd(job->channels, job->rstd, job->eps, job->rstd);
}

/* ---- rows by themselves ---- */

size_t fo_layer_norm_scratch(const fo_layer_norm *job)
{
    return (size_t)cut(job->rows + !job->rows, LAYER_ROWS) * 2 * (size_t)job->cols * sizeof(double);
}

static void layer_forward(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_layer_norm *job = ctx;
    fo_current()->norm[job->width]->layer_forward(job, begin, end);
}

static void layer_back(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_layer_norm *job = ctx;
    const int want = job->dgamma || job->dbeta;
    for (ptrdiff_t k = begin; k < end; k++)
        fo_current()->norm[job->width]->layer_back(job, k * LAYER_ROWS, min(job->rows, (k + 1) * LAYER_ROWS),
                                                   want ? (double *)job->scratch + k * 2 * job->cols : NULL);
}

void fo_layer_norm_forward(const fo_layer_norm *job, int threads)
{
    fo_parallel(layer_forward, (void *)job, job->rows, LAYER_ROWS, job->rows * job->cols < SERIAL ? 1 : threads);
}

void fo_layer_norm_back(const fo_layer_norm *job, int threads)
{
    const fo_norm_kernels *f = fo_current()->norm[job->width];
    const ptrdiff_t chunks = cut(job->rows, LAYER_ROWS);
    fo_parallel(layer_back, (void *)job, chunks, 1, job->rows * job->cols < SERIAL ? 1 : threads);
    if (!job->dgamma && !job->dbeta) return;
    double *sums = job->scratch;
    if (!chunks) memset(sums, 0, 2 * (size_t)job->cols * sizeof *sums);
    for (ptrdiff_t k = 1; k < chunks; k++)
        for (ptrdiff_t j = 0; j < 2 * job->cols; j++) sums[j] += sums[k * 2 * job->cols + j];
    if (job->dgamma) f->store(job->cols, sums, job->dgamma);
    if (job->dbeta) f->store(job->cols, sums + job->cols, job->dbeta);
}

void fo_norm_floor(int width, const void *x, void *y, const void *dy, void *dx, ptrdiff_t n, int repeat)
{
    for (int i = 0; i < repeat; i++) fo_current()->norm[width]->floor(x, y, dy, dx, n);
}
