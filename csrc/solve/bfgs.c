/* bfgs.c: BFGS with the inverse Hessian in one triangle (Deep Learning 8.6.3; Nocedal and Wright, section 6.1).
 *
 * With s = x+ - x, y = g+ - g, rho = s.y:   H+ = H + s w^T + w s^T,   w = -H y / rho + (1 + y.Hy / rho) / (2 rho) s.
 * One product with the triangle does for an iteration: d = -H g is known, so u = H g+ gives H y = u + d, and
 * d+ = -(u + s (w.g+) + w (s.g+)) costs O(n). The update itself waits for the next product, which applies it in the same pass.
 */
#include "solver.h"

enum { AUTO, FUSED, BLAS };
enum { GIVEN = 2 };                    /* m.bfgs.updated: the triangle holds what the caller gave, and no direction came from it yet */

static void layout(plan *p)
{
    fo_solver *s = p->s;
    const int64_t element = s->width == FO_F32 ? 4 : 8;
    s->m.bfgs.fused = s->o.variant != BLAS;
    for (int place = FO_S; place <= FO_P; place++) plan_vector(p, place);
    if (s->m.bfgs.fused) {
        plan_place(p, FO_TRIANGLE, fo_triangle_elements(s->width, s->n) * element);
        plan_place(p, FO_SMALL, (int64_t)fo_triangle_scratch(s->width, s->n));
    } else plan_place(p, FO_TRIANGLE, s->n * s->n * element);
}

static void forget(fo_solver *s) { s->m.bfgs.updated = s->m.bfgs.pending = 0; }

/* a = gamma I, n x n */
static void identity(fo_solver *s, double gamma, void *a)
{
    const int64_t size = s->n * s->n;
    memset(a, 0, (size_t)size * (s->width == FO_F32 ? 4 : 8));
    for (int64_t i = 0; i < size; i += s->n + 1)
        if (s->width == FO_F32) ((float *)a)[i] = (float)gamma;
        else ((double *)a)[i] = gamma;
}

/* u = H g, the pending update applied on the way. Before the first update H = gamma I has no memory. */
static void product(fo_solver *s, const fo_blas *blas, const void *g, void *u)
{
    void *h = vec(s, FO_TRIANGLE), *ps = s->m.bfgs.pending ? vec(s, FO_S) : NULL, *pw = vec(s, FO_W);
    if (s->m.bfgs.fused) fo_triangle_pass(s->width, s->n, h, ps, pw, g, u, vec(s, FO_SMALL), s->o.threads);
    else fo_dense_pass(blas, s->width, s->n, h, ps, pw, g, u);
    s->m.bfgs.pending = 0;
}

static int direction(fo_solver *s, const fo_blas *blas)
{
    if (s->m.bfgs.updated == GIVEN) {
        space v = space_of(s);
        product(s, blas, vec(s, FO_G), vec(s, FO_U));
        vec_combine(&v, -1, vec(s, FO_U), 0, vec(s, FO_U), vec(s, FO_D));
        s->m.bfgs.updated = 1;
    }
    if (!s->m.bfgs.updated) steepest(s);
    else {
        space v = space_of(s);                           /* update() has written FO_D */
        s->slope = vec_dot(&v, vec(s, FO_G), vec(s, FO_D));
    }
    return READY;
}

static double first(fo_solver *s) { return s->m.bfgs.updated ? 1 : first_of_all(s); }

static void update(fo_solver *s, const fo_blas *blas)
{
    space v = space_of(s);
    void *g = vec(s, FO_GT), *d = vec(s, FO_D), *u = vec(s, FO_U), *y = vec(s, FO_Y), *ns = vec(s, FO_P);
    pair_sums p = vec_pair(&v, vec(s, FO_X), vec(s, FO_XT), vec(s, FO_G), g, ns, y);
    /* Scale-free: the angle between s and y, not the size of either. */
    const double least = s->width == FO_F32 ? FLT_EPSILON : DBL_EPSILON;
    int good = p.sy > least * sqrt(p.ss) * sqrt(p.yy) && isfinite(p.yy) && isfinite(1 / p.sy) && p.ss > 0;
    double theta = 1;
    if (s->o.search == FO_BACKTRACKING && isfinite(p.sy)) {
        /* Powell (1978): no Wolfe test made s.y positive, so y is mixed with B s = -alpha g. */
        double sbs = -s->alpha * s->alpha * s->slope;
        if (p.sy < 0.2 * sbs && s->m.bfgs.updated) {
            theta = 0.8 * sbs / (sbs - p.sy);
            vec_combine(&v, theta, y, -(1 - theta) * s->alpha, vec(s, FO_G), y);
            p.sy = 0.2 * sbs;
            good = p.sy > 0;
        }
    }
    if (!s->m.bfgs.updated) {
        if (!good) return;                               /* nothing learnt: steepest descent again */
        /* H = gamma I: the multiple of -g that the search has just found, or s.y / y.y where the first trial was cut short. */
        double found = sqrt(p.ss / s->gg);
        s->m.bfgs.gamma = found > p.sy / p.yy ? found : p.sy / p.yy;
        if (s->m.bfgs.fused) fo_triangle_identity(s->width, s->n, vec(s, FO_TRIANGLE), s->m.bfgs.gamma);
        else identity(s, s->m.bfgs.gamma, vec(s, FO_TRIANGLE));
        vec_combine(&v, s->m.bfgs.gamma, g, 0, g, u);
        vec_combine(&v, -s->m.bfgs.gamma, vec(s, FO_G), 0, g, d);
        s->m.bfgs.updated = 1;
        s->m.bfgs.pending = 0;
    } else product(s, blas, g, u);
    if (!good) {
        vec_combine(&v, -1, u, 0, u, d);
        return;
    }
    /* H y = u + d, or theta (u + d) + (1 - theta) s with a damped y; kept in FO_W until it becomes w. */
    void *w = vec(s, FO_W);
    vec_combine(&v, theta, u, theta, d, w);
    if (theta != 1) vec_combine(&v, 1, w, 1 - theta, ns, w);
    double yhy = vec_dot(&v, y, w);
    vec_combine(&v, -1 / p.sy, w, (1 + yhy / p.sy) / (2 * p.sy), ns, w);
    double wg = vec_dot(&v, w, g);
    exchange(s, FO_P, FO_S);
    vec_combine(&v, -1, u, -wg, ns, d);
    vec_combine(&v, 1, d, -p.sg, w, d);
    s->m.bfgs.pending = 1;
}

void fo_start_inverse_hessian(fo_solver *s, const void *a)
{
    if (s->m.bfgs.fused) fo_triangle_pack(s->width, s->n, a, vec(s, FO_TRIANGLE));
    else memcpy(vec(s, FO_TRIANGLE), a, (size_t)(s->n * s->n) * (s->width == FO_F32 ? 4 : 8));
    s->m.bfgs.updated = GIVEN;
}

void fo_inverse_hessian(fo_solver *s, void *out)
{
    const void *ps = s->m.bfgs.pending ? vec(s, FO_S) : NULL, *pw = vec(s, FO_W);
    if (!s->m.bfgs.updated) identity(s, 1, out);
    else if (s->m.bfgs.fused) fo_triangle_unpack(s->width, s->n, vec(s, FO_TRIANGLE), ps, pw, out);
    else fo_dense_unpack(s->width, s->n, vec(s, FO_TRIANGLE), ps, pw, out);
}

const descent_method method_bfgs = { layout, NULL, direction, first, update, forget };
