/* lbfgs.c: limited-memory BFGS (Deep Learning 8.6.3; Liu and Nocedal 1989). The memory and its products are pairs.c's; here is
 * when a pair counts, and how the first step is taken.
 */
#include "solver.h"

enum { COMPACT, TWO_LOOP };

static void layout(plan *p)
{
    fo_solver *s = p->s;
    plan_place(p, FO_PAIRS, (int64_t)fo_pairs_bytes(s->width, s->n, s->o.memory));
    size_t scratch = fo_pairs_scratch(s->width, s->n, s->o.memory);
    if (scratch) plan_place(p, FO_SMALL, (int64_t)scratch);
}

static void start(fo_solver *s) { fo_pairs_begin(vec(s, FO_PAIRS), s->width, s->n, s->o.memory); }
static void forget(fo_solver *s) { fo_pairs_reset(vec(s, FO_PAIRS)); }
static int count(fo_solver *s) { return ((fo_pairs *)vec(s, FO_PAIRS))->count; }

static int direction(fo_solver *s, const fo_blas *blas)
{
    (void)blas;
    void *pairs = vec(s, FO_PAIRS), *scratch = fo_vector(s, FO_SMALL), *g = vec(s, FO_G), *d = vec(s, FO_D);
    if (count(s) == 0) steepest(s);
    else s->slope = s->o.variant == TWO_LOOP ? fo_pairs_two_loop(pairs, g, d, scratch, s->o.threads)
                                             : fo_pairs_direction(pairs, g, d, scratch, s->o.threads);
    return READY;
}

static double first(fo_solver *s) { return count(s) ? 1 : first_of_all(s); }

static void update(fo_solver *s, const fo_blas *blas)
{
    (void)blas;
    void *pairs = vec(s, FO_PAIRS), *scratch = fo_vector(s, FO_SMALL), *gt = vec(s, FO_GT);
    fo_pair_sums p;
    fo_pairs_measure(pairs, vec(s, FO_X), vec(s, FO_XT), vec(s, FO_G), gt, &p, scratch, s->o.threads);
    if (s->o.search == FO_BACKTRACKING && count(s) && isfinite(p.sy)) {
        /* Powell (1978): no Wolfe test made s.y positive. That it is too small is said by B s = -alpha g, of all pairs; what y is mixed
         * with is B s = s / gamma, of the first matrix alone. */
        double sbs = -s->alpha * s->alpha * s->slope, first = p.ss / ((fo_pairs *)pairs)->gamma;
        if (p.sy < 0.2 * sbs && p.sy < 0.2 * first)
            fo_pairs_damp(pairs, 0.8 * first / (first - p.sy), gt, &p, scratch, s->o.threads);
    }
    const double least = s->width == FO_F32 ? FLT_EPSILON : DBL_EPSILON;
    if (p.sy > least * sqrt(p.ss) * sqrt(p.yy) && isfinite(p.yy) && isfinite(1 / p.sy)) fo_pairs_accept(pairs);
    else fo_pairs_reject(pairs);
}

const descent_method method_lbfgs = { layout, start, direction, first, update, forget };
