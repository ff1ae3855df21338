/* coordinate.c: coordinate descent for least squares with L1 and L2 terms (descent.h says what is minimised).
 *
 * One coordinate, all others held (Deep Learning, section 8.7.2; Friedman, Hastie, Tibshirani 2010, equation 5):
 *   w_j <- S(x_j'r + |x_j|^2 w_j, a) / (|x_j|^2 + b),   S(u, a) = sign(u) max(|u| - a, 0).
 * Sweeps run over a working set, the columns that the dual point says matter most (Massias, Gramfort, Salmon 2018); all columns are
 * looked at only to measure the duality gap and to choose the next set. Columns that the gap proves to be zero at the optimum are left out of
 * that (Fercoq, Gramfort, Salmon 2015), but for the last time: the gap that is told is that of the whole problem.
 *
 * Formulas are in double, whatever the width; only r and the columns have the width.
 */
#include <math.h>
#include <string.h>
#include "kernels.h"

enum { PRODUCE_R, PRODUCTS, REST, JUDGE, SWEEP, INNER };       /* phases */
enum { NEW_COLUMNS = 64, FEW = 8, LONGEST_PAUSE = 16, COLUMN_COST = 16, THREAD_WORK = 100000 };
enum { BY_SCALING = 0, BY_PENALTY = 1 };

static inline ptrdiff_t column_work(const fo_descent *s, ptrdiff_t j)
{
    return COLUMN_COST + (s->x.rows ? (ptrdiff_t)(s->x.start[j + 1] - s->x.start[j]) : s->x.n);
}

/* How far a product pushes a coefficient off zero, to be held against a. */
static inline double reach(const fo_descent *s, double v) { return s->positive ? v : fabs(v); }

static inline double shrunk(const fo_descent *s, double u)
{
    if (u > s->a) return u - s->a;
    return u < -s->a && !s->positive ? u + s->a : 0;
}

/* The true residual is r + shift ones; rest = ones'r. With means[j] mass = x_j'ones, x_j less its mean gives x_j'r - means[j] rest. */
static inline double product(const fo_descent *s, const fo_column_kernels *k, ptrdiff_t j)
{
    double v = k->dot(&s->x, j, s->r);
    return s->x.means ? v - s->x.means[j] * s->rest : v;
}

static inline void add_column(fo_descent *s, const fo_column_kernels *k, ptrdiff_t j, double c)
{
    k->add(&s->x, j, c, s->r);
    if (s->x.means) {
        s->shift -= c * s->x.means[j];
        s->rest += c * s->x.means[j] * s->x.mass;
    }
}

static void settle(fo_descent *s, const fo_column_kernels *k)
{
    if (!s->x.means) return;
    k->vector_add(s->r, s->x.ones, s->shift, s->x.n);
    s->shift = 0;
    s->rest = k->vector_dot(s->x.ones, s->r, s->x.n);
}

/* ---- products with many columns, on threads ---- */
typedef struct {
    const fo_descent *s;
    const int64_t *list;
    double *out;                   /* [p], by column */
} products_job;

static void products(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const products_job *job = ctx;
    const fo_column_kernels *k = fo_current()->columns[job->s->x.width];
    for (ptrdiff_t i = begin; i < end; i++) {
        ptrdiff_t j = (ptrdiff_t)job->list[i];
        job->out[j] = job->s->norms[j] > 0 ? product(job->s, k, j) : 0;
    }
}

/* From list[s->at] on, as far as the budget goes: q. Returns the work done. */
static int64_t some_products(fo_descent *s, const int64_t *list, ptrdiff_t count, int64_t budget)
{
    int64_t work = 0;
    ptrdiff_t end = s->at;
    while (end < count && work < budget) work += column_work(s, (ptrdiff_t)list[end++]);
    products_job job = { s, list + s->at, s->q };
    ptrdiff_t n = end - s->at, grain = (ptrdiff_t)((double)THREAD_WORK * (double)n / (double)(work + 1)) + 1;
    fo_parallel(products, &job, n, grain, work > 2 * THREAD_WORK ? s->threads : 1);
    s->at = end;
    return work;
}

/* ---- the duality gap over a list that holds every w_j != 0, from q and r ----
 * Two dual points, both from r: scaled until it is feasible for the columns of [X; sqrt(b) I], and as it is, where b > 0
 * (Duenner et al. 2016, 5.2.3). The better bound counts. `radius`: the dual optimum is no farther from that point. */
static double gap_of(fo_descent *s, const fo_column_kernels *k, const int64_t *list, ptrdiff_t count)
{
    const double rr = k->vector_dot(s->r, s->r, s->x.n), ry = k->vector_dot(s->r, s->y, s->x.n);
    double most = 0, l1 = 0, l2 = 0, over = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const ptrdiff_t j = (ptrdiff_t)list[i];
        const double w = s->w[j], q = s->q[j], v = reach(s, q - s->b * w), u = reach(s, q) - s->a;
        most = v > most ? v : most;
        l1 += fabs(w);
        l2 += w * w;
        over += u > 0 ? u * u : 0;
    }
    const double square = rr + s->b * l2, primal = 0.5 * rr + s->a * l1 + 0.5 * s->b * l2;
    double c = square > 0 ? ry / square : 0;
    if (c * most > s->a) c = s->a / most;
    if (c < 0) c = 0;
    const double scaled = c * ry - 0.5 * c * c * square;
    const double penalised = s->b > 0 ? ry - 0.5 * rr - over / (2 * s->b) : -INFINITY;
    s->dual = penalised > scaled ? BY_PENALTY : BY_SCALING;
    const double gap = primal - (s->dual == BY_PENALTY ? penalised : scaled);
    s->scale = c;
    s->radius = gap > 0 ? sqrt(2 * gap) : 0;
    s->primal = primal;
    return gap;
}

/* Leaves columns out that are zero at the optimum: those that no dual point within the radius can push off zero. They go to the end
 * of the list. */
static void screen(fo_descent *s)
{
    ptrdiff_t kept = 0, left = 0;
    for (ptrdiff_t i = 0; i < s->alives; i++) {
        const ptrdiff_t j = (ptrdiff_t)s->alive[i];
        const double b = s->dual == BY_PENALTY ? 0 : s->b, c = s->dual == BY_PENALTY ? 1 : s->scale;
        const double furthest = c * reach(s, s->q[j] - b * s->w[j]) + s->radius * sqrt(s->norms[j] + b);
        if (s->w[j] != 0 || furthest >= s->a) s->alive[kept++] = j;
        else s->working[left++] = j;
    }
    memcpy(s->alive + kept, s->working, (size_t)left * sizeof *s->working);
    s->alives = kept;
}

/* The k-th smallest (from 0) of rank[n], which is reordered. */
static double smallest(double *rank, ptrdiff_t n, ptrdiff_t k)
{
    ptrdiff_t low = 0, high = n - 1;
    while (low < high) {
        const double pivot = rank[low + (high - low) / 2];
        ptrdiff_t i = low, j = high;
        while (i <= j) {
            while (rank[i] < pivot) i++;
            while (pivot < rank[j]) j--;
            if (i <= j) {
                const double held = rank[i];
                rank[i++] = rank[j];
                rank[j--] = held;
            }
        }
        if (k <= j) high = j;
        else if (k >= i) low = i;
        else break;
    }
    return rank[k];
}

/* How near the border of its constraint the dual point lies, in the direction of a column. */
static inline double distance(const fo_descent *s, ptrdiff_t j)
{
    return (s->a - s->scale * reach(s, s->q[j] - s->b * s->w[j])) / sqrt(s->norms[j] + s->b);
}

/* The working set: all w_j != 0, and others nearest the border: few the first time, for a path's next penalty needs few; as many
 * again after that, so that from a cold start the set doubles. */
static void choose(fo_descent *s)
{
    ptrdiff_t zeros = 0, support = 0;
    for (ptrdiff_t i = 0; i < s->alives; i++) {
        const ptrdiff_t j = (ptrdiff_t)s->alive[i];
        if (s->w[j] != 0) support++;
        else if (s->norms[j] > 0) s->rank[zeros++] = distance(s, j);
    }
    const ptrdiff_t share = s->checks > 1 ? support : support / FEW, more = share > NEW_COLUMNS ? share : NEW_COLUMNS;
    const double border = s->a == 0 || more >= zeros ? INFINITY : smallest(s->rank, zeros, more - 1);
    s->workings = 0;
    for (ptrdiff_t i = 0; i < s->alives; i++) {
        const ptrdiff_t j = (ptrdiff_t)s->alive[i];
        if (s->w[j] != 0 || (s->norms[j] > 0 && distance(s, j) <= border)) s->working[s->workings++] = j;
    }
}

static void arrange(fo_descent *s)
{
    s->at = 0;
    s->moved = 0;
    if (s->bits) fo_shuffle(s->order, 1, s->workings, s->bits);
}

/* Steps up to this size, as |change of w_j| |x_j|, may come from the rounding of r alone; where the gap does not fall either, no more can
 * be had. */
static inline double rounding(const fo_descent *s) { return (s->x.width == FO_F32 ? 0x1p-19 : 0x1p-48) * sqrt(s->yy); }

/* ---- phases; each returns the work done, and sets the next phase ---- */

/* r = y - X w, with w rounded to the width, so that r, q and the gap are those of the w that is given back. */
static int64_t produce_r(fo_descent *s, const fo_column_kernels *k, int64_t budget)
{
    int64_t work = 0;                                   /* the copy is not counted: each call takes at least one column */
    if (s->at == 0) {
        memcpy(s->r, s->y, (size_t)s->x.n * k->size);
        s->shift = s->rest = 0;
    }
    for (; s->at < s->x.p && work < budget; s->at++) {
        const ptrdiff_t j = s->at;
        if (s->norms[j] == 0) s->w[j] = 0;
        if (s->x.width == FO_F32) s->w[j] = (double)(float)s->w[j];
        work++;
        if (s->w[j] == 0) continue;
        add_column(s, k, j, -s->w[j]);
        work += column_work(s, j);
    }
    if (s->at == s->x.p) {
        settle(s, k);
        s->at = 0;
        s->phase = PRODUCTS;
    }
    return work;
}

static int end(fo_descent *s, int status)
{
    s->phase = JUDGE;
    s->fresh = 1;
    return status;
}

static void all_alive(fo_descent *s)
{
    for (ptrdiff_t j = 0; j < s->x.p; j++) s->alive[j] = j;
    s->alives = s->x.p;
}

/* With q for all that are alive: stop, look at all columns to make sure, or choose the next working set. */
static int judge(fo_descent *s, const fo_column_kernels *k)
{
    const double gap = gap_of(s, k, s->alive, s->alives);
    if (gap < 0.99 * s->gap_best) {
        s->gap_best = gap;
        s->stuck = 0;
    } else if (s->moved <= rounding(s)) s->stuck++;
    const int done = gap <= s->gap_wanted, over = s->sweeps >= s->most, stuck = s->stuck >= 3, broken = !isfinite(gap);
    s->checks++;
    s->gap = gap;
    if (done || over || stuck || broken) {
        if (s->alives == s->x.p)
            return end(s, broken ? FO_DESCENT_NONFINITE : done ? FO_DESCENT_CONVERGED
                                : stuck ? FO_DESCENT_PRECISION : FO_DESCENT_ITERATIONS);
        s->screened = s->x.p - s->alives;
        s->phase = REST;                                /* their q is of an earlier r */
        s->at = s->alives;
        return FO_DESCENT_MORE;
    }
    if (s->screening) screen(s);
    choose(s);
    s->gap_inner = INFINITY;
    s->spent = 0;
    s->since = 0;
    s->pause = 2;
    s->phase = SWEEP;
    arrange(s);
    return FO_DESCENT_MORE;
}

static int64_t sweep(fo_descent *s, const fo_column_kernels *k, int64_t budget)
{
    int64_t work = 0;
    for (; s->at < s->workings && work < budget; s->at++) {
        const ptrdiff_t j = (ptrdiff_t)s->working[s->bits ? ((const int64_t *)s->order)[s->at] : s->at];
        const double norm = s->norms[j], old = s->w[j];
        const double new = shrunk(s, product(s, k, j) + norm * old) / (norm + s->b);
        work += column_work(s, j);
        if (new == old) continue;
        s->w[j] = new;
        add_column(s, k, j, old - new);
        work += column_work(s, j);
        const double moved = fabs(new - old) * sqrt(norm);
        s->moved = moved > s->moved ? moved : s->moved;
    }
    if (s->at < s->workings) return work;
    s->sweeps++;
    s->since++;
    if (s->moved == 0 || s->sweeps >= s->most) {
        s->phase = PRODUCE_R;
        s->at = 0;
    } else if (s->since >= s->pause) {
        settle(s, k);
        s->phase = INNER;
        s->at = 0;
    } else arrange(s);
    return work;
}

/* The gap of the working set alone: cheap, and what tells when to look at all columns again. */
static int64_t inner(fo_descent *s, const fo_column_kernels *k, int64_t budget)
{
    int64_t work = some_products(s, s->working, s->workings, budget);
    if (s->at < s->workings) return work;
    /* Enough: nearly all that is wanted; or ten times nearer, once as much work was done as looking at all columns takes. */
    const double gap = gap_of(s, k, s->working, s->workings);
    const double wanted = s->spent + work > s->pass && 0.1 * s->gap > 0.9 * s->gap_wanted ? 0.1 * s->gap : 0.9 * s->gap_wanted;
    const int stalled = gap >= s->gap_inner && s->moved <= rounding(s);
    if (!(gap > wanted) || stalled) {                   /* also NaN: judge says so */
        s->phase = PRODUCE_R;
        s->at = 0;
        return work;
    }
    /* At the rate since the last look, how many more sweeps? Half of them, lest many be wasted. */
    const double rate = gap / s->gap_inner;
    double left = gap;
    int more = 0;
    while (rate < 1 && left > wanted && more < LONGEST_PAUSE) {
        left *= rate;
        more += s->since;
    }
    s->pause = rate >= 1 || more > LONGEST_PAUSE ? LONGEST_PAUSE : more / 2 > 2 ? more / 2 : 2;
    s->gap_inner = gap;
    s->since = 0;
    s->phase = SWEEP;
    arrange(s);
    return work;
}

void fo_descent_begin(fo_descent *s)
{
    s->sweeps = s->checks = s->screened = 0;
    s->stuck = 0;
    s->gap_best = INFINITY;
    s->moved = INFINITY;
    s->at = 0;
    s->phase = s->fresh ? JUDGE : PRODUCE_R;
    s->fresh = 0;
    all_alive(s);
    s->pass = s->x.p * COLUMN_COST + (s->x.rows ? (s->x.p > 0 ? s->x.start[s->x.p] - s->x.start[0] : 0) : (int64_t)s->x.n * s->x.p);
}

int fo_descend(fo_descent *s, int64_t budget)
{
    const fo_column_kernels *k = fo_current()->columns[s->x.width];
    while (budget > 0) {
        int status;
        int64_t work;
        switch (s->phase) {
        case PRODUCE_R: budget -= produce_r(s, k, budget); break;
        case PRODUCTS:
            budget -= some_products(s, s->alive, s->alives, budget);
            if (s->at == s->alives) s->phase = JUDGE;
            break;
        case REST:
            budget -= some_products(s, s->alive, s->x.p, budget);
            if (s->at < s->x.p) break;
            all_alive(s);
            s->phase = JUDGE;
            break;
        case JUDGE:
            status = judge(s, k);
            if (status != FO_DESCENT_MORE) return status;
            budget -= 4 * s->x.p + s->x.n;
            break;
        default:
            work = s->phase == SWEEP ? sweep(s, k, budget) : inner(s, k, budget);
            s->spent += work;
            budget -= work;
        }
    }
    return FO_DESCENT_MORE;
}

typedef struct { const fo_columns *x; double *norms; } norms_job;
static void norms(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const norms_job *job = ctx;
    const fo_column_kernels *k = fo_current()->columns[job->x->width];
    for (ptrdiff_t j = begin; j < end; j++) job->norms[j] = k->norm(job->x, j);
}

void fo_column_norms(const fo_columns *x, double *out, int threads)
{
    norms_job job = { x, out };
    const ptrdiff_t work = x->rows ? (ptrdiff_t)x->start[x->p] : x->n * x->p;
    fo_parallel(norms, &job, x->p, x->p / 64 + 1, work > 2 * THREAD_WORK ? threads : 1);
}
