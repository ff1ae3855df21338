/* trust_cg.c: the step of a trust region by truncated conjugate gradients (Steihaug 1983, Toint 1981; Nocedal and Wright, algorithm 7.2).
 *
 * From p = 0 along conjugate directions, one product with the Hessian each, until |g + H p| <= eta |g| (eta as in newton_cg.c), the border
 * of the region is met, or the curvature along the direction is not positive: then p goes on to the border.
 *
 * After a refused step no product is asked for: the model is known on the plane of g and p from six numbers (g.g, g.p, p.p and the same
 * with H between, since H p is the residual minus g), and its minimum on the part of that plane within the smaller radius
 * is the next step. That contains the steepest descent step, and with it what convergence needs.
 */
#include "solver.h"

static void layout(plan *p)
{
    plan_vector(p, FO_V);
    plan_vector(p, FO_HV);
    plan_vector(p, FO_R);
}

/* ---- the plane of g and p ---- */

/* y = argmin of b y0 + y.My / 2 over |y| <= radius, M = (a c; c d); returns how far it falls. */
static double plane_step(double b, double a, double c, double d, double radius, double *y)
{
    const double half = 0.5 * (a - d), least = 0.5 * (a + d) - hypot(half, c);
    double low = fmax(0, -least), up = b / radius + low, lambda = low, det;
    if (least > 0) {
        det = a * d - c * c;
        y[0] = -b * d / det;
        y[1] = b * c / det;
        if (det > 0 && hypot(y[0], y[1]) <= radius) return -0.5 * b * y[0];
    }
    for (int k = 0; k < 100; k++) {                      /* |y| falls as lambda grows */
        lambda = 0.5 * (low + up);
        det = (a + lambda) * (d + lambda) - c * c;
        y[0] = -b * (d + lambda) / det;
        y[1] = b * c / det;
        if (!(lambda > low && lambda < up)) break;
        if (det > 0 && hypot(y[0], y[1]) <= radius) up = lambda;
        else low = lambda;
    }
    det = (a + up) * (d + up) - c * c;
    y[0] = -b * (d + up) / det;
    y[1] = b * c / det;
    double room = (radius - fabs(y[0])) * (radius + fabs(y[0]));
    if (!(hypot(y[0], y[1]) > 0.99 * radius) && room > 0) y[1] = copysign(sqrt(room), y[1]);      /* hard case */
    return -(b * y[0] + 0.5 * (a * y[0] * y[0] + 2 * c * y[0] * y[1] + d * y[1] * y[1]));
}

static void shorter(fo_solver *s)
{
    space v = space_of(s);
    fo_region *q = &s->m.region;
    const double gg = s->gg, gp = s->m.trust_cg.gp, pp = s->m.trust_cg.pp, g = sqrt(gg);
    const double ghg = s->m.trust_cg.ghg, ghp = s->m.trust_cg.ghp, php = s->m.trust_cg.php;
    const double along = gp / gg, across = sqrt(fmax(pp - along * gp, 0));
    double y[2], a, b;
    q->on_border = 1;
    if (across <= 1e-4 * sqrt(pp)) {                     /* p lies along g */
        double bend = ghg / gg, far = bend > 0 ? fmin(g / bend, q->radius) : q->radius;
        q->predicted = far * (g - 0.5 * far * bend);
        a = -far / g;
        b = 0;
    } else {
        double c = (ghp - along * ghg) / (g * across), d = (php - 2 * along * ghp + along * along * ghg) / (across * across);
        q->predicted = plane_step(g, ghg / gg, c, d, q->radius, y);
        b = y[1] / across;
        a = y[0] / g - b * along;
    }
    vec_combine(&v, b, vec(s, FO_D), a, vec(s, FO_G), vec(s, FO_D));
    s->m.trust_cg.gp = a * gg + b * gp;
    s->m.trust_cg.pp = a * a * gg + 2 * a * b * gp + b * b * pp;
    s->m.trust_cg.ghp = a * ghg + b * ghp;
    s->m.trust_cg.php = a * a * ghg + 2 * a * b * ghp + b * b * php;
}

/* ---- conjugate gradients ---- */
static int propose(fo_solver *s, const fo_blas *blas)
{
    (void)blas;
    space v = space_of(s);
    fo_region *q = &s->m.region;
    BEGIN(s->inner);
    if (s->m.region.rejected) {
        if (s->m.trust_cg.known) shorter(s);
        else {
            vec_combine(&v, -q->radius / sqrt(s->gg), vec(s, FO_G), 0, vec(s, FO_G), vec(s, FO_D));
            q->predicted = q->radius * sqrt(s->gg);
        }
        return READY;
    }
    s->m.trust_cg.top = fmax(s->m.trust_cg.top, s->gg);
    s->m.trust_cg.goal = fmin(0.25, sqrt(s->gg / s->m.trust_cg.top)) * s->gg;
    s->m.trust_cg.rr = s->gg;
    s->m.trust_cg.k = 0;
    q->predicted = 0;
    q->on_border = 0;
    memset(vec(s, FO_D), 0, vec_size(&v));
    vec_copy(s, FO_G, FO_R);
    vec_combine(&v, -1, vec(s, FO_G), 0, vec(s, FO_G), vec(s, FO_V));
    for (;;) {
        WAIT(s->inner, 1, FO_PRODUCT);
        s->nprod++;
        const double bend = vec_dot(&v, vec(s, FO_V), vec(s, FO_HV)), rr = s->m.trust_cg.rr;
        if (!isfinite(bend) || !isfinite(rr)) {
            s->m.trust_cg.known = s->m.trust_cg.k > 0;
            if (s->m.trust_cg.k) break;
            if (s->nit == 0 || s->m.trust_cg.unknown++) q->predicted = (double)NAN;
            else {
                s->resets++;
                if (!(q->radius > 0)) region_first(s);
                vec_combine(&v, q->radius / sqrt(s->gg), vec(s, FO_V), 0, vec(s, FO_V), vec(s, FO_D));
                q->predicted = q->radius * sqrt(s->gg);
                q->on_border = 1;
            }
            return READY;
        }
        if (s->m.trust_cg.k == 0) {
            s->m.trust_cg.known = 1;
            s->m.trust_cg.unknown = 0;
            s->m.trust_cg.ghg = bend;
            if (!(q->radius > 0)) region_first(s);
        }
        const double vv = vec_dot(&v, vec(s, FO_V), vec(s, FO_V)), pv = vec_dot(&v, vec(s, FO_D), vec(s, FO_V));
        const double pp = vec_dot(&v, vec(s, FO_D), vec(s, FO_D)), a = rr / bend;
        const double room = (q->radius - sqrt(pp)) * (q->radius + sqrt(pp));
        const double edge = room > 0 ? room / (pv + sqrt(pv * pv + vv * room)) : 0;      /* |p + edge v| = radius; p.v >= 0 */
        const int out = !(bend > 0) || !(a < edge);
        const double t = out ? edge : a;
        vec_combine(&v, 1, vec(s, FO_D), t, vec(s, FO_V), vec(s, FO_D));
        vec_combine(&v, 1, vec(s, FO_R), t, vec(s, FO_HV), vec(s, FO_R));
        q->predicted += t * (rr - 0.5 * t * bend);
        q->on_border = out;
        s->m.trust_cg.k++;
        s->m.trust_cg.rr = vec_dot(&v, vec(s, FO_R), vec(s, FO_R));
        if (out || !(s->m.trust_cg.rr > s->m.trust_cg.goal) || s->m.trust_cg.k >= 20 + 10 * s->n) break;
        vec_combine(&v, -1, vec(s, FO_R), s->m.trust_cg.rr / rr, vec(s, FO_V), vec(s, FO_V));
    }
    const double gr = vec_dot(&v, vec(s, FO_G), vec(s, FO_R));
    s->m.trust_cg.gp = vec_dot(&v, vec(s, FO_G), vec(s, FO_D));
    s->m.trust_cg.pp = vec_dot(&v, vec(s, FO_D), vec(s, FO_D));
    s->m.trust_cg.ghp = gr - s->gg;
    s->m.trust_cg.php = vec_dot(&v, vec(s, FO_D), vec(s, FO_R)) - s->m.trust_cg.gp;
    END(s->inner);
    return READY;
}

const region_method method_trust_cg = { layout, NULL, propose };
