/* trust.c: the step of a trust region with the Hessian: min g.p + p.Hp / 2 over |p| <= radius, solved as More and Sorensen do (1983, SIAM J.
 * Sci. Stat. Comput. 4; Conn, Gould, Toint 2000, section 7.3; Nocedal and Wright, section 4.3).
 *
 * p solves (H + lambda I) p = -g with lambda >= 0, H + lambda I positive definite, and lambda (|p| - radius) = 0. lambda is found by Newton's
 * method on 1/|p| = 1/radius within an interval [low, up] that only shrinks. In the hard case g has no part along the least
 * eigenvector z and |p| stays below the radius: then p + tau z reaches it, z by inverse iteration with the factor that is there.
 *
 * A step is good enough if it gives 9/10 of what any step could: for every such lambda no step within the radius lets the model fall
 * by more than bound = (-g.p + lambda radius^2) / 2 (weak duality), and both kinds say how far they let it fall:
 *     t p         t (1 - t/2) (-g.p) + t^2 lambda |p|^2 / 2         p + tau z   bound - tau^2 (z.(H + lambda I) z) / 2
 * A Hessian that is not finite: as in newton.c; the step is then steepest descent as far as the radius goes.
 */
#include "matrix.h"

enum { SOLVES = 50, INVERSE_STEPS = 3 };
static const double ENOUGH = 0.9;

static void layout(plan *p)
{
    const fo_solver *s = p->s;
    plan_vector(p, FO_Z);
    plan_vector(p, FO_W);
    plan_place(p, FO_MATRIX, matrix_bytes(s->width, s->n));
    plan_place(p, FO_FACTOR, matrix_bytes(s->width, s->n));
}

typedef struct { double low, up, lambda; int low_is_free; } interval;      /* low_is_free: lambda = 0 was not tried */

static void steepest_step(fo_solver *s, double radius)
{
    space v = space_of(s);
    vec_combine(&v, -radius / s->m.trust.g, vec(s, FO_G), 0, vec(s, FO_G), vec(s, FO_D));
    s->m.region.predicted = radius * s->m.trust.g;
    s->m.region.on_border = 1;
}

/* A unit vector to FO_Z for which z.(H + lambda I) z, returned, is near the least eigenvalue. FO_W: scratch. */
static double least_eigenvector(fo_solver *s, const fo_blas *blas)
{
    space v = space_of(s);
    double size = 1, sigma = (double)INFINITY;
    if (!s->m.trust.mixed) vector_mixed(s->width, s->n, vec(s, FO_Z));
    s->m.trust.mixed = 1;
    for (int k = 0; k < INVERSE_STEPS; k++) {
        size = sqrt(vec_dot(&v, vec(s, FO_Z), vec(s, FO_Z)));
        vec_combine(&v, 1 / size, vec(s, FO_Z), 0, vec(s, FO_Z), vec(s, FO_Z));
        vec_copy(s, FO_Z, FO_W);
        matrix_solve(blas, s->width, s->n, s->n, vec(s, FO_FACTOR), vec(s, FO_Z));
        double ww = vec_dot(&v, vec(s, FO_Z), vec(s, FO_Z)), wz = vec_dot(&v, vec(s, FO_Z), vec(s, FO_W));
        if (!isfinite(ww) || !(wz > 0)) return (double)INFINITY;
        sigma = wz / ww;
    }
    size = sqrt(vec_dot(&v, vec(s, FO_Z), vec(s, FO_Z)));
    vec_combine(&v, 1 / size, vec(s, FO_Z), 0, vec(s, FO_Z), vec(s, FO_Z));
    return sigma;
}

/* A lambda inside, nearer to the lower end, where the interval says it is (Conn, Gould, Toint, 7.3.8). */
static double inside(const interval *in) { return fmax(sqrt(in->low * in->up), in->low + 0.01 * (in->up - in->low)); }

/* With FO_FACTOR of H + lambda I: the step to FO_D if it is good enough or `last`; else a better interval and lambda. */
static int try_step(fo_solver *s, const fo_blas *blas, interval *in, int last)
{
    space v = space_of(s);
    fo_region *q = &s->m.region;
    const double lambda = in->lambda, radius = q->radius;
    void *p = vec(s, FO_D), *z = vec(s, FO_Z);
    vec_combine(&v, -1, vec(s, FO_G), 0, vec(s, FO_G), p);
    matrix_solve(blas, s->width, s->n, s->n, vec(s, FO_FACTOR), p);
    const double pp = vec_dot(&v, p, p), fall = -vec_dot(&v, p, vec(s, FO_G)), length = sqrt(pp);
    if (!isfinite(pp) || !isfinite(fall)) {              /* all but singular: as if it could not be factored */
        in->low = fmax(in->low, lambda);
        in->low_is_free = 0;
        in->lambda = inside(in);
        return 0;
    }
    q->on_border = lambda > 0 || length > radius;
    if (lambda == 0 && length <= radius) {
        q->predicted = 0.5 * fall;
        s->m.trust.next = 0;
        return 1;
    }
    vec_copy(s, FO_D, FO_W);
    matrix_solve(blas, s->width, s->n, s->n, vec(s, FO_FACTOR), vec(s, FO_W));
    const double slope = pp / vec_dot(&v, p, vec(s, FO_W));        /* of Newton's method, in lambda per relative length */
    s->m.trust.next = lambda;
    const double bound = 0.5 * (fall + lambda * radius * radius), t = radius / length;
    const double scaled = t * (1 - 0.5 * t) * fall + 0.5 * t * t * lambda * pp;
    if (t < 2 && (scaled >= ENOUGH * bound || (last && length >= radius))) {
        vec_combine(&v, t, p, 0, p, p);
        q->predicted = scaled;
        return 1;
    }
    double next = lambda + slope * (length - radius) / radius;
    if (length > radius) {
        in->low = lambda;
        in->low_is_free = 0;
        in->lambda = next > in->low && next < in->up ? next : inside(in);
        if (last) {
            vec_combine(&v, t, p, 0, p, p);
            q->predicted = scaled;
        }
        return last;
    }
    in->up = lambda;
    double sigma = least_eigenvector(s, blas);
    if (isfinite(sigma)) {
        /* The root of |p + tau z| = radius that is smaller in size. */
        double pz = vec_dot(&v, p, z), room = (radius - length) * (radius + length);
        double tau = room / (pz + copysign(sqrt(pz * pz + room), pz));
        double edge = bound - 0.5 * tau * tau * sigma;
        if (edge >= ENOUGH * bound || (last && edge > 0.5 * fall)) {
            vec_combine(&v, 1, p, tau, z, p);
            q->predicted = edge;
            return 1;
        }
        in->low = fmax(in->low, lambda - sigma);
        s->m.trust.low = fmax(s->m.trust.low, lambda - sigma);
    }
    if (last) {                                          /* within the radius, and as far as rounding lets it be told */
        q->predicted = 0.5 * (fall + lambda * pp);
        return 1;
    }
    if (next > in->low) in->lambda = next;
    else in->lambda = in->low_is_free && in->low <= 0 ? 0 : inside(in);
    return 0;
}

static void solve(fo_solver *s, const fo_blas *blas)
{
    const double eps = s->width == FO_F32 ? FLT_EPSILON : DBL_EPSILON, ask = s->m.trust.g / s->m.region.radius;
    interval in = { fmax(fmax(s->m.trust.low, ask - s->m.trust.eigen_high), 0), 0, 0, 1 };
    in.up = fmax(ask - fmin(s->m.trust.eigen_low, 0), in.low) * (1 + 4 * eps) + 4 * eps * s->m.trust.norm;
    in.lambda = s->m.region.rejected ? s->m.trust.next : 0;
    if (in.low > 0 && !(in.lambda > in.low && in.lambda < in.up)) in.lambda = inside(&in);
    for (int k = 0, last = 0; k < 2 * SOLVES; k++) {
        int64_t failed = matrix_factor(blas, s->width, s->n, vec(s, FO_MATRIX), in.lambda, vec(s, FO_FACTOR));
        if (!failed) {
            if (try_step(s, blas, &in, last)) return;
        } else if (last) in.up = 2 * in.up + eps * s->m.trust.norm;
        else {
            double below = matrix_bound(blas, s->width, s->n, failed, vec(s, FO_MATRIX), in.lambda, vec(s, FO_FACTOR), vec(s, FO_W));
            in.low = fmax(in.low, in.lambda);
            if (below < 0 && in.lambda - below < in.up) in.low = fmax(in.low, in.lambda - below);
            s->m.trust.low = fmax(s->m.trust.low, in.low);
            in.low_is_free = 0;
            in.lambda = inside(&in);
        }
        last = last || k >= SOLVES || in.up - in.low <= 4 * eps * (in.up + s->m.trust.norm);
        if (last) in.lambda = in.up;
    }
    steepest_step(s, 0);                                 /* nothing could be factored: predicted = 0 */
}

static int propose(fo_solver *s, const fo_blas *blas)
{
    BEGIN(s->inner);
    if (!s->m.region.rejected) {
        WAIT(s->inner, 1, FO_HESSIAN);
        s->nhev++;
        matrix_facts h = matrix_symmetrise(s->width, s->n, vec(s, FO_MATRIX));
        s->m.trust.g = sqrt(s->gg);
        s->m.trust.mixed = 0;
        s->m.trust.norm = h.norm;
        s->m.trust.low = -h.diagonal;
        s->m.trust.eigen_low = fmax(h.low, -h.norm);
        s->m.trust.eigen_high = fmin(h.high, h.norm);
        s->m.trust.known = isfinite(h.norm);
        if (s->m.trust.known) s->m.trust.unknown = 0;
        else if (s->nit == 0 || s->m.trust.unknown++) {
            s->m.region.predicted = (double)NAN;
            return READY;
        } else s->resets++;
    }
    if (!(s->m.region.radius > 0)) region_first(s);
    if (s->m.trust.known) solve(s, blas);
    else steepest_step(s, s->m.region.radius);
    END(s->inner);
    return READY;
}

const region_method method_trust = { layout, NULL, propose };
