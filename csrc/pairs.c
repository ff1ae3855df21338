/* pairs.c: the calls of pairs_api.h: the ring, the small algebra of the compact form, the two loops, and for tiny n all of it
 * directly. The passes over long vectors are in pairs.h. */
#include <math.h>
#include <string.h>
#include "kernels.h"

enum { SERIAL = 100000 };          /* elements of a pass below which waking a thread costs more than it gives */

/* ---- the block ---- */
static ptrdiff_t round_up(ptrdiff_t n, ptrdiff_t to) { return (n + to - 1) / to * to; }
static int direct(const fo_pairs *p) { return p->n <= FO_PAIRS_DIRECT; }
static double *array(const fo_pairs *p, ptrdiff_t at) { return (double *)((char *)p + at); }

/* Where everything lies. Returns the size of the block. */
static ptrdiff_t lay_out(fo_pairs *p, int width, ptrdiff_t n, int m)
{
    const ptrdiff_t size = width == FO_F32 && n > FO_PAIRS_DIRECT ? (ptrdiff_t)sizeof(float) : (ptrdiff_t)sizeof(double);
    const ptrdiff_t each = (ptrdiff_t)sizeof(double) * m;
    ptrdiff_t end = round_up(sizeof *p, 64);
    p->n = n;
    p->width = width;
    p->m = m;
    p->sy = end;
    end += each;
    p->ry = p->yy = p->sg = p->yg = end;                  /* the direct path needs none of these */
    if (n <= FO_PAIRS_DIRECT) {
        p->row = n;
        p->tile = 2 * m * n;
        p->rows = end;
        return round_up(end + p->tile * size, 64);
    }
    p->yy = p->ry + each * m;
    p->sg = p->yy + each * m;
    p->yg = p->sg + each;
    p->rows = round_up(p->yg + each, 64);
    p->row = n < PAIRS_TILE ? round_up(n, 16) : PAIRS_TILE;
    p->tile = 2 * m * p->row;
    return p->rows + (round_up(n, p->row) / p->row) * p->tile * size;
}

size_t fo_pairs_bytes(int width, ptrdiff_t n, int m)
{
    fo_pairs p;
    return (size_t)lay_out(&p, width, n, m);
}

size_t fo_pairs_scratch(int width, ptrdiff_t n, int m)
{
    (void)width;
    return n <= FO_PAIRS_DIRECT ? 0 : (size_t)fo_blocks(n) * (size_t)(4 * m + 3) * sizeof(double);
}

void fo_pairs_reset(void *block)
{
    fo_pairs *p = block;
    p->count = p->head = 0;
    p->gamma = 1;
    p->fresh_sy = p->fresh_yy = 0;
}

void fo_pairs_begin(void *block, int width, ptrdiff_t n, int m)
{
    lay_out(block, width, n, m);
    fo_pairs_reset(block);
}

/* The slot of the pair of this age, 0 the oldest; age = count is the one being measured. */
static int slot_of(const fo_pairs *p, int age)
{
    int slot = p->head - p->count + age;
    return slot < 0 ? slot + p->m : slot;
}

void fo_pairs_accept(void *block)
{
    fo_pairs *p = block;
    p->gamma = p->fresh_sy / p->fresh_yy;
    p->head = p->head + 1 == p->m ? 0 : p->head + 1;
    p->count++;
}

void fo_pairs_reject(void *block) { (void)block; }        /* its slot was never counted */

/* ---- tiny n: doubles, two loops, no products kept but s'y ---- */
static void load(double *to, const void *v, const fo_pairs *p)
{
    if (p->width == FO_F64) for (ptrdiff_t i = 0; i < p->n; i++) to[i] = ((const double *)v)[i];
    else for (ptrdiff_t i = 0; i < p->n; i++) to[i] = (double)((const float *)v)[i];
}
static double dot(const double *a, const double *b, ptrdiff_t n)
{
    double sum = 0;
    for (ptrdiff_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void direct_sums(fo_pairs *p, const double *gt, fo_pair_sums *out)
{
    const double *s = array(p, p->rows) + 2 * p->head * p->row, *y = s + p->row;
    fo_pair_sums z = { 0 };
    for (ptrdiff_t i = 0; i < p->n; i++) {
        z.sy += s[i] * y[i];
        z.yy += y[i] * y[i];
        z.ss += s[i] * s[i];
        z.gg += gt[i] * gt[i];
        z.sg += s[i] * gt[i];
        z.yg += y[i] * gt[i];
        z.largest = fabs(gt[i]) > z.largest ? fabs(gt[i]) : z.largest;
    }
    array(p, p->sy)[p->head] = 1 / z.sy;                  /* a division less in each link of the chain below */
    p->fresh_sy = z.sy;
    p->fresh_yy = z.yy;
    *out = z;
}

static void direct_measure(fo_pairs *p, const void *x, const void *xt, const void *g, const void *gt, fo_pair_sums *out)
{
    double a[FO_PAIRS_DIRECT], b[FO_PAIRS_DIRECT];
    double *s = array(p, p->rows) + 2 * p->head * p->row, *y = s + p->row;
    load(a, x, p);
    load(b, xt, p);
    for (ptrdiff_t i = 0; i < p->n; i++) s[i] = b[i] - a[i];
    load(a, g, p);
    load(b, gt, p);
    for (ptrdiff_t i = 0; i < p->n; i++) y[i] = b[i] - a[i];
    direct_sums(p, b, out);
}

/* q <- H q. Inlined for the smallest n, where q then stays in registers: all of this is one chain of dependent operations. */
#if defined(__GNUC__)
__attribute__((always_inline))
#endif
static inline void direct_loops(const fo_pairs *p, double *q, const ptrdiff_t n)
{
    const double *rows = array(p, p->rows), *rho = array(p, p->sy);
    double alpha[FO_PAIRS_MAX];
    for (int age = p->count - 1; age >= 0; age--) {
        const int k = slot_of(p, age);
        const double *s = rows + 2 * k * n, *y = s + n;
        alpha[age] = dot(s, q, n) * rho[k];
        for (ptrdiff_t i = 0; i < n; i++) q[i] -= alpha[age] * y[i];
    }
    for (ptrdiff_t i = 0; i < n; i++) q[i] *= p->gamma;
    for (int age = 0; age < p->count; age++) {
        const int k = slot_of(p, age);
        const double *s = rows + 2 * k * n, *y = s + n;
        const double c = alpha[age] - dot(y, q, n) * rho[k];
        for (ptrdiff_t i = 0; i < n; i++) q[i] += c * s[i];
    }
}

/* out = sign H v; returns v'out. */
static double direct_product(const fo_pairs *p, const void *v, void *out, double sign)
{
    double q[FO_PAIRS_DIRECT], given[FO_PAIRS_DIRECT], sum = 0;
    load(given, v, p);
    for (ptrdiff_t i = 0; i < p->n; i++) q[i] = given[i];
    switch (p->n) {
    case 2: {
        double pair[2] = { q[0], q[1] };
        direct_loops(p, pair, 2);
        q[0] = pair[0];
        q[1] = pair[1];
        break;
    }
    case 3: {
        double three[3] = { q[0], q[1], q[2] };
        direct_loops(p, three, 3);
        for (int i = 0; i < 3; i++) q[i] = three[i];
        break;
    }
    default: direct_loops(p, q, p->n);
    }
    for (ptrdiff_t i = 0; i < p->n; i++) {
        q[i] *= sign;
        if (p->width == FO_F32) q[i] = (double)(((float *)out)[i] = (float)q[i]);
        else ((double *)out)[i] = q[i];
        sum += given[i] * q[i];
    }
    return sum;
}

/* ---- passes ---- */
static fo_pairs_job job_of(const fo_pairs *p, void *scratch, int stride)
{
    fo_pairs_job job = { .at = p, .rows = (char *)p + p->rows, .partial = scratch, .stride = stride };
    /* Slots 0 to count hold the pairs and the slot at head; only there, once the ring has been full, may lie a pair that does not count. */
    const int wrapped = p->head < p->count;
    job.rows_used = 2 * (wrapped && p->count < p->m ? p->count + 1 : p->count);
    job.skip = wrapped && p->count < p->m ? p->head : -1;
    return job;
}

/* Runs a pass over all blocks and adds up each of its first `sums` partial sums by block. */
static void run(fo_task task, fo_pairs_job *job, int rows, int sums, int threads)
{
    const ptrdiff_t n = job->at->n, blocks = fo_blocks(n);
    if (n * rows < SERIAL) threads = 1;
    fo_parallel(task, job, blocks, threads > 1 ? 1 : blocks, threads);
    for (ptrdiff_t b = 1; b < blocks; b++)
        for (int k = 0; k < sums; k++) job->partial[k] += job->partial[b * job->stride + k];
}

static void measure(fo_pairs *p, fo_pairs_job *job, fo_pair_sums *out, int threads)
{
    const int slots = p->count + 1, h = p->head, m = p->m, sums = 4 * slots;
    run(fo_current()->pairs_measure, job, 2 * slots + 4, sums + 2, threads);
    double *found = job->partial, *ry = array(p, p->ry), *yy = array(p, p->yy), *sg = array(p, p->sg), *yg = array(p, p->yg);
    double largest = found[sums + 2];
    for (ptrdiff_t b = 1; b < fo_blocks(p->n); b++) {
        const double l = found[b * job->stride + sums + 2];
        largest = l > largest ? l : largest;
    }
    for (int k = 0; k < slots; k++) {
        sg[k] = found[4 * k];
        ry[h * m + k] = found[4 * k + 1];
        yg[k] = found[4 * k + 2];
        yy[h * m + k] = yy[k * m + h] = found[4 * k + 3];
    }
    array(p, p->sy)[h] = p->fresh_sy = ry[h * m + h];
    p->fresh_yy = yy[h * m + h];
    *out = (fo_pair_sums){ p->fresh_sy, p->fresh_yy, found[sums], found[sums + 1], sg[h], yg[h], largest };
}

void fo_pairs_measure(void *block, const void *x, const void *xt, const void *g, const void *gt, fo_pair_sums *out, void *scratch,
                      int threads)
{
    fo_pairs *p = block;
    if (p->count == p->m) p->count--;                     /* the oldest pair lies at head and is overwritten */
    if (direct(p)) {
        direct_measure(p, x, xt, g, gt, out);
        return;
    }
    fo_pairs_job job = job_of(p, scratch, 4 * p->m + 3);
    job.x = x;
    job.xt = xt;
    job.g = g;
    job.gt = gt;
    measure(p, &job, out, threads);
}

void fo_pairs_damp(void *block, double theta, const void *gt, fo_pair_sums *out, void *scratch, int threads)
{
    fo_pairs *p = block;
    const double blend = (1 - theta) / p->gamma;
    if (direct(p)) {
        double given[FO_PAIRS_DIRECT];
        double *s = array(p, p->rows) + 2 * p->head * p->row, *y = s + p->row;
        for (ptrdiff_t i = 0; i < p->n; i++) y[i] = theta * y[i] + blend * s[i];
        load(given, gt, p);
        direct_sums(p, given, out);
        return;
    }
    fo_pairs_job job = job_of(p, scratch, 4 * p->m + 3);
    job.gt = gt;
    job.keep = theta;
    job.blend = blend;
    measure(p, &job, out, threads);
}

/* ---- the compact form ---- */
/* Coefficients of H v = gamma v + S p - gamma Y q, by row, from a = S'v and b = Y'v (by slot):
 *   q = R^-1 a,   p = R^-T ((D + gamma Y'Y) q - gamma b).
 * Columns of R and of Y'Y are contiguous; pairs are taken by age through their slots. */
static void coefficients(const fo_pairs *p, const double *a, const double *b, double sign, double *c)
{
    const int count = p->count, m = p->m;
    const double *ry = array(p, p->ry), *yy = array(p, p->yy), gamma = p->gamma;
    int slot[FO_PAIRS_MAX];
    double q[FO_PAIRS_MAX], t[FO_PAIRS_MAX];
    for (int i = 0; i < count; i++) {
        slot[i] = slot_of(p, i);
        q[i] = a[slot[i]];
    }
    for (int j = count - 1; j >= 0; j--) {
        const double *column = ry + slot[j] * m;
        q[j] /= column[slot[j]];
        for (int i = 0; i < j; i++) q[i] -= column[slot[i]] * q[j];
    }
    for (int i = 0; i < count; i++) t[i] = -b[slot[i]];
    for (int j = 0; j < count; j++) {
        const double *column = yy + slot[j] * m;
        for (int i = 0; i < count; i++) t[i] += column[slot[i]] * q[j];
    }
    for (int i = 0; i < count; i++) {
        const double *column = ry + slot[i] * m;
        double z = gamma * t[i] + column[slot[i]] * q[i];
        for (int j = 0; j < i; j++) z -= column[slot[j]] * t[j];
        t[i] = z / column[slot[i]];
        c[2 * slot[i]] = sign * t[i];
        c[2 * slot[i] + 1] = -sign * gamma * q[i];
    }
}

/* out = sign H v from the products of v with the pairs; returns v'out. */
static double combine(const fo_pairs *p, const void *v, const double *a, const double *b, double sign, void *out, void *scratch,
                      int threads)
{
    double c[2 * FO_PAIRS_MAX];
    fo_pairs_job job = job_of(p, scratch, 1);
    coefficients(p, a, b, sign, c);
    job.gt = v;
    job.out = out;
    job.c = c;
    job.scale = sign * p->gamma;
    run(fo_current()->pairs_combine, &job, job.rows_used + 2, 1, threads);
    return job.partial[0];
}

static int descends(double slope) { return slope < 0 && slope > -INFINITY; }

double fo_pairs_direction(void *block, const void *gt, void *d, void *scratch, int threads)
{
    const fo_pairs *p = block;
    if (!direct(p)) {
        const double slope = combine(p, gt, array(p, p->sg), array(p, p->yg), -1, d, scratch, threads);
        if (descends(slope)) return slope;
    }
    const double slope = fo_pairs_two_loop(p, gt, d, scratch, threads);
    return descends(slope) ? slope : NAN;
}

double fo_pairs_product(const void *block, const void *v, void *out, void *scratch, int threads)
{
    const fo_pairs *p = block;
    if (direct(p)) return direct_product(p, v, out, 1);
    double a[FO_PAIRS_MAX] = { 0 }, b[FO_PAIRS_MAX] = { 0 };
    fo_pairs_job job = job_of(p, scratch, 2 * p->m);
    job.gt = v;
    run(fo_current()->pairs_products, &job, job.rows_used + 1, job.rows_used, threads);
    for (int k = 0; k < job.rows_used / 2; k++) {
        a[k] = job.partial[2 * k];
        b[k] = job.partial[2 * k + 1];
    }
    return combine(p, v, a, b, 1, out, scratch, threads);
}

/* ---- the two loops ---- */
/* out = scale (from + c row_add); returns out'row_dot, or out'gt for row_dot = -1. */
static double sweep(fo_pairs_job *job, const void *from, double c, int add, double scale, int with, int threads)
{
    job->x = from;
    job->keep = c;
    job->add = add;
    job->scale = scale;
    job->dot = with;
    run(fo_current()->pairs_sweep, job, 3, 1, threads);
    return job->partial[0];
}

double fo_pairs_two_loop(const void *block, const void *gt, void *d, void *scratch, int threads)
{
    const fo_pairs *p = block;
    if (direct(p)) return direct_product(p, gt, d, -1);
    const double *sy = array(p, p->sy);
    double alpha[FO_PAIRS_MAX];
    fo_pairs_job job = job_of(p, scratch, 1);
    job.gt = gt;
    job.out = d;
    if (!p->count) return sweep(&job, gt, 0, -1, -p->gamma, -1, threads);
    int k = slot_of(p, p->count - 1);
    double product = sweep(&job, gt, 0, -1, 1, 2 * k, threads);
    for (int age = p->count - 1; age >= 0; age--) {
        k = slot_of(p, age);
        alpha[age] = product / sy[k];
        product = age ? sweep(&job, d, -alpha[age], 2 * k + 1, 1, 2 * slot_of(p, age - 1), threads)
                      : sweep(&job, d, -alpha[age], 2 * k + 1, p->gamma, 2 * k + 1, threads);
    }
    for (int age = 0; age < p->count; age++) {
        k = slot_of(p, age);
        const double c = alpha[age] - product / sy[k];
        product = age + 1 < p->count ? sweep(&job, d, c, 2 * k, 1, 2 * slot_of(p, age + 1) + 1, threads)
                                     : sweep(&job, d, c, 2 * k, -1, -1, threads);
    }
    return product;
}

/* ---- looking inside ---- */
void fo_pairs_get(const void *block, int age, void *s, void *y)
{
    const fo_pairs *p = block;
    const int k = slot_of(p, age);
    if (direct(p)) {
        const double *from = array(p, p->rows) + 2 * k * p->row;
        for (ptrdiff_t i = 0; i < 2 * p->n; i++) {
            void *to = i < p->n ? s : y;
            const ptrdiff_t j = i < p->n ? i : i - p->n;
            if (p->width == FO_F32) ((float *)to)[j] = (float)from[i];
            else ((double *)to)[j] = from[i];
        }
        return;
    }
    fo_pairs_job job = job_of(p, NULL, 0);
    for (int which = 0; which < 2; which++) {
        job.add = 2 * k + which;
        job.out = which ? y : s;
        fo_current()->pairs_copy(&job, 0, fo_blocks(p->n));
    }
}
