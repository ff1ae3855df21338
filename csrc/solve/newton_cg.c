/* newton_cg.c: Newton's method without a Hessian: H d = -g solved by conjugate gradients as far as it pays (Nocedal and Wright,
 * algorithm 7.1), each step of which needs one product H v.
 *
 * The inner solve ends where |g + H d| <= eta |g|, with eta = min(1/2, sqrt(|g| / |g0|)) (Dembo, Steihaug 1983; |g0|, the largest
 * gradient seen, makes it free of scale). Where the curvature v.Hv is not positive, d goes on along v as far as |curvature| says,
 * as the saddle-free step does, and ends there: what was found before alone would crawl past a saddle point. A preconditioner P
 * takes the place of I; where r.Pr is not positive, this direction does without.
 *
 * A product that is not finite ends the inner solve; the first one of a direction: at x0, or at two points one after the other,
 * the run; else that step is steepest descent.
 */
#include "solver.h"

static void layout(plan *p)
{
    plan_vector(p, FO_V);
    plan_vector(p, FO_HV);
    plan_vector(p, FO_R);
    if (p->s->o.precondition) {
        plan_vector(p, FO_Z);
        plan_vector(p, FO_P);
    }
}

static void forget(fo_solver *s) { s->m.newton_cg.forgotten = 1; }

static int direction(fo_solver *s, const fo_blas *blas)
{
    (void)blas;
    space v = space_of(s);
    double curvature, a, rz;
    BEGIN(s->inner);
    if (s->m.newton_cg.forgotten || !isfinite(s->gg)) goto steep;
    s->m.newton_cg.top = fmax(s->m.newton_cg.top, s->gg);
    s->m.newton_cg.goal = fmin(0.25, sqrt(s->gg / s->m.newton_cg.top)) * s->gg;
    s->m.newton_cg.k = 0;
    s->m.newton_cg.plain = !s->o.precondition;
    memset(vec(s, FO_D), 0, vec_size(&v));
    vec_copy(s, FO_G, FO_R);
    for (;;) {
        rz = vec_dot(&v, vec(s, FO_R), vec(s, FO_R));
        if (s->m.newton_cg.k && (!(rz > s->m.newton_cg.goal) || s->m.newton_cg.k >= 20 + 10 * s->n)) break;
        if (!s->m.newton_cg.plain) {
            exchange(s, FO_V, FO_P);
            vec_copy(s, FO_R, FO_V);
            WAIT(s->inner, 1, FO_PRECONDITION);
            s->nprec++;
            exchange(s, FO_V, FO_P);
            rz = vec_dot(&v, vec(s, FO_R), vec(s, FO_Z));
            if (!(rz > 0) || !isfinite(rz)) {
                if (s->m.newton_cg.k) break;
                s->m.newton_cg.plain = 1;
                rz = s->gg;
            }
        }
        const void *z = vec(s, s->m.newton_cg.plain ? FO_R : FO_Z);
        if (s->m.newton_cg.k) vec_combine(&v, -1, z, rz / s->m.newton_cg.rz, vec(s, FO_V), vec(s, FO_V));
        else vec_combine(&v, -1, z, 0, z, vec(s, FO_V));
        s->m.newton_cg.rz = rz;
        WAIT(s->inner, 2, FO_PRODUCT);
        s->nprod++;
        curvature = vec_dot(&v, vec(s, FO_V), vec(s, FO_HV));
        if (!isfinite(curvature)) {
            if (s->m.newton_cg.k) break;
            if (s->nit == 0 || s->m.newton_cg.unknown++) {
                s->fresh = 1;                            /* with a slope that is no number: the loop ends */
                s->slope = (double)NAN;
                return READY;
            }
            s->resets++;
            goto steep;
        }
        s->m.newton_cg.unknown = 0;
        a = s->m.newton_cg.rz / fabs(curvature);
        if (!isfinite(a)) goto steep;
        vec_combine(&v, 1, vec(s, FO_D), a, vec(s, FO_V), vec(s, FO_D));
        s->m.newton_cg.k++;
        if (!(curvature > 0)) break;
        vec_combine(&v, 1, vec(s, FO_R), a, vec(s, FO_HV), vec(s, FO_R));
    }
    s->slope = vec_dot(&v, vec(s, FO_G), vec(s, FO_D));
    s->fresh = 0;
    return READY;
steep:
    s->m.newton_cg.forgotten = 0;
    steepest(s);
    END(s->inner);
    return READY;
}

static double first(fo_solver *s)
{
    if (s->fresh || (s->nit == 0 && s->o.first_step > 0)) return first_of_all(s);
    return 1;
}

static void update(fo_solver *s, const fo_blas *blas) { (void)s; (void)blas; }

const descent_method method_newton_cg = { layout, NULL, direction, first, update, forget };
