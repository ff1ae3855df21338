/* gradient.c: steepest descent with a line search (where the chapter starts, 8.3.1 without the noise), and the steps of Barzilai and
 * Borwein (1988, IMA J. Numer. Anal. 8), globalised as Raydan did (1997, SIAM J. Optim. 7): Armijo measured from the largest of the
 * last values (Grippo, Lampariello, Lucidi 1986).
 */
#include "solver.h"

static int along_gradient(fo_solver *s, const fo_blas *blas)
{
    (void)blas;
    int fresh = s->fresh || s->o.method == FO_METHOD_gd;     /* gd has nothing to forget */
    steepest(s);
    s->fresh = fresh;
    return READY;
}

static void forget(fo_solver *s) { s->alpha_old = 0; }

/* ---- gd ---- */
enum { PREVIOUS, QUADRATIC, CONSTANT };

static double gd_first(fo_solver *s)
{
    if (s->nit == 0 || !(s->alpha_old > 0)) return first_of_all(s);
    switch (s->o.variant) {
    case QUADRATIC: return fo_first_decrease(s->f, s->f_old, s->slope);
    case CONSTANT: return s->alpha_old;
    default: return fo_first_slope(s->alpha_old, s->slope_old, s->slope);
    }
}

static void gd_update(fo_solver *s, const fo_blas *blas) { (void)s; (void)blas; }

const descent_method method_gd = { NULL, NULL, along_gradient, gd_first, gd_update, forget };

/* ---- bb ---- */
enum { ALTERNATE, LONG, SHORT };

static void remember(fo_solver *s, double f)
{
    const int most = s->o.memory < 32 ? s->o.memory : 32;
    s->m.bb.history[s->m.bb.count++ % most] = f;
    double top = f;
    for (int64_t i = 0; i < most && i < s->m.bb.count; i++) top = s->m.bb.history[i] > top ? s->m.bb.history[i] : top;
    s->m.bb.reference = top;
}

static void bb_start(fo_solver *s) { remember(s, s->f); }

static void bb_update(fo_solver *s, const fo_blas *blas)
{
    (void)blas;
    space v = space_of(s);
    pair_sums p = vec_pair(&v, vec(s, FO_X), vec(s, FO_XT), vec(s, FO_G), vec(s, FO_GT), NULL, NULL);
    double far = p.ss / p.sy, near = p.sy / p.yy;
    int use_long = s->o.variant == LONG || (s->o.variant == ALTERNATE && s->nit % 2);
    double step = p.sy > 0 ? (use_long ? far : near) : 2 * s->alpha;
    s->m.bb.step = isfinite(step) && step > 0 ? step : 0;
    remember(s, s->ft);
}

static double bb_first(fo_solver *s)
{
    return s->fresh || !(s->m.bb.step > 0) ? first_of_all(s) : s->m.bb.step;
}

static void bb_forget(fo_solver *s)
{
    s->m.bb.count = 0;
    remember(s, s->f);
}

const descent_method method_bb = { NULL, bb_start, along_gradient, bb_first, bb_update, bb_forget };
