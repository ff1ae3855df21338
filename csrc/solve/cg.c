/* cg.c: nonlinear conjugate gradients (Deep Learning 8.6.2), d <- -z + beta d with z = g, or P g with a preconditioner.
 *
 * With y = g+ - g, g+ the new gradient:
 *   Fletcher-Reeves (1964)  g+.z+ / g.z                 Polak-Ribiere (1969)  y.z+ / g.z   (+: not below 0)
 *   Hestenes-Stiefel (1952) y.z+ / d.y                  Dai-Yuan (1999)       g+.z+ / d.y
 *   hybrid (Dai, Yuan 2001) max(0, min(HS, DY))
 *   Hager-Zhang (2005, 2013) (y.z+ - theta y.Py d.g+ / d.y) / d.y with theta = 2, and not below 0.4 d.g / d.P^-1 d
 * The hybrid is the default: over fastopt.problems it solves more than Hager and Zhang's, in fewer evaluations (bench/evaluations.py).
 * Restarts (beta = 0): every `restart` steps, where successive gradients are far from orthogonal (Powell 1977), and where beta is not finite.
 */
#include "solver.h"

enum { HYBRID, HAGER_ZHANG, FLETCHER_REEVES, POLAK_RIBIERE, POLAK_RIBIERE_PLUS, HESTENES_STIEFEL, DAI_YUAN };

static void layout(plan *p)
{
    if (!p->s->o.precondition) return;
    plan_vector(p, FO_V);
    plan_vector(p, FO_Z);
    plan_vector(p, FO_ZB);
    plan_vector(p, FO_Y);
}

static void forget(fo_solver *s) { s->m.cg.restart = 1; }

static double beta(const fo_solver *s)
{
    const double zy = s->m.cg.zy, gz = s->m.cg.gz, gz_old = s->m.cg.gz_old, dy = s->m.cg.dy;
    switch (s->o.variant) {
    case FLETCHER_REEVES: return gz / gz_old;
    case POLAK_RIBIERE: return zy / gz_old;
    case POLAK_RIBIERE_PLUS: return fmax(zy / gz_old, 0);
    case HESTENES_STIEFEL: return zy / dy;
    case DAI_YUAN: return gz / dy;
    case HYBRID: return fmax(0, fmin(zy / dy, gz / dy));
    default: return fmax((zy - 2 * s->m.cg.yy * (s->m.cg.dg / dy)) / dy, 0.4 * s->slope_old / s->m.cg.dd);
    }
}

/* What beta is made of; with a preconditioner the products with z+ follow when it is known. */
static void update(fo_solver *s, const fo_blas *blas)
{
    (void)blas;
    space v = space_of(s);
    pair_sums p = vec_pair(&v, vec(s, FO_X), vec(s, FO_XT), vec(s, FO_G), vec(s, FO_GT), NULL, fo_vector(s, FO_Y));
    s->m.cg.dy = p.sy / s->alpha;
    s->m.cg.dg = s->slope_t;
    s->m.cg.zy = p.yg;
    s->m.cg.yy = p.yy;
    s->m.cg.since++;
    if (s->o.restart > 0 && s->m.cg.since >= s->o.restart) s->m.cg.restart = 1;
    if (s->o.powell > 0 && fabs(p.gg - p.yg) >= s->o.powell * p.gg) s->m.cg.restart = 1;
}

static int direction(fo_solver *s, const fo_blas *blas)
{
    (void)blas;
    space v = space_of(s);
    const int with_z = s->o.precondition;
    BEGIN(s->inner);
    s->m.cg.gz_old = s->m.cg.gz;
    s->m.cg.gz = s->gg;
    if (with_z) {
        vec_copy(s, FO_G, FO_V);
        exchange(s, FO_Z, FO_ZB);
        WAIT(s->inner, 1, FO_PRECONDITION);
        s->nprec++;
        s->m.cg.gz = vec_dot(&v, vec(s, FO_G), vec(s, FO_Z));
        if (!(s->m.cg.gz > 0) || !isfinite(s->m.cg.gz)) {        /* P is not positive definite: this step goes without */
            s->m.cg.restart = 1;
            steepest(s);
            return READY;
        }
        if (!s->m.cg.restart) {
            s->m.cg.zy = vec_dot(&v, vec(s, FO_Y), vec(s, FO_Z));
            s->m.cg.yy = s->m.cg.zy - vec_dot(&v, vec(s, FO_Y), vec(s, FO_ZB));
        }
    }
    double b = s->m.cg.restart || s->fresh ? 0 : beta(s);
    if (!isfinite(b) || b == 0) {
        b = 0;
        s->m.cg.restart = 0;
        s->m.cg.since = 0;
    }
    if (b == 0 && !with_z) steepest(s);
    else {
        vec_combine(&v, -1, vec(s, with_z ? FO_Z : FO_G), b, vec(s, FO_D), vec(s, FO_D));
        s->slope = vec_dot(&v, vec(s, FO_G), vec(s, FO_D));
    }
    /* d.P^-1 d from its parts: P^-1 d+ = -g+ + beta P^-1 d. */
    s->m.cg.dd = b == 0 ? s->m.cg.gz : s->m.cg.gz - 2 * b * s->m.cg.dg + b * b * s->m.cg.dd;
    END(s->inner);
    return READY;
}

static double first(fo_solver *s)
{
    if (s->nit == 0 || s->fresh || !(s->alpha_old > 0)) return first_of_all(s);
    return fo_first_decrease(s->f, s->f_old, s->slope);
}

const descent_method method_cg = { layout, forget, direction, first, update, forget };
