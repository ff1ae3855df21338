/* region.c: the loop of every method with a trust region (Conn, Gould, Toint 2000, algorithm 6.1.1). It does not know the method.
 *
 * A step d of length <= radius comes with how far the model falls along it; it is taken if f falls by more than eta of that. Rounding of f
 * is added to both (CGT 17.4.2), so that steps within it are taken as the model says: near a minimum the gradient still gets smaller.
 * Where less than half the digits of f would change and f did not fall, the slopes at both ends say whether the step is taken.
 * A refused step shrinks the radius to where the parabola through f, g.d and the trial has its minimum, to 1/2 of the step at most
 * and 1/4 at least. The point stays and the model with it: nothing but f is asked for again. A step to the border that fell by
 * more than 3/4 of the model doubles the radius, and triples it where f followed the model to a tenth.
 */
#include "solver.h"

static double rounding(const fo_solver *s)
{
    return 10 * (s->width == FO_F32 ? FLT_EPSILON : DBL_EPSILON) * fabs(s->f);
}

static double limit(const fo_solver *s)
{
    return fmin(s->o.max_radius > 0 ? s->o.max_radius : (double)INFINITY, s->o.max_step);
}

void region_first(fo_solver *s)
{
    space v = space_of(s);
    double xx;
    vec_norms(&v, vec(s, FO_X), &xx);
    const double rule = isfinite(xx) ? fmax(1, sqrt(xx)) : 1;
    s->m.region.radius = fmin(s->o.radius > 0 ? s->o.radius : rule, limit(s));
}

/* How much of the step is kept in the next radius, after it was refused or fell too little. */
static double shrunk(const fo_solver *s)
{
    if (!isfinite(s->ft)) return 0.25;
    double bend = 2 * (s->ft - s->f - s->slope), t = -s->slope / bend;
    return s->slope < 0 && bend > 0 && isfinite(t) ? fmin(fmax(t, 0.25), 0.5) : 0.25;
}

/* Is what the model and f say about this step less than half the digits of f? Not after a longer step was refused: there f did tell. */
static int within_half(const fo_solver *s)
{
    double half = sqrt(s->width == FO_F32 ? FLT_EPSILON : DBL_EPSILON) * fabs(s->f);
    return !s->m.region.rejected && s->m.region.predicted <= half && fabs(s->ft - s->f) <= half;
}

static double ratio(const fo_solver *s)
{
    double noise = s->m.region.rejected ? 0 : rounding(s);       /* after a longer step was refused f does tell */
    double by_value = (s->f - s->ft + noise) / (s->m.region.predicted + noise);
    if (!(s->have & FO_WANT_G) || !within_half(s)) return by_value;
    return fmax(by_value, -0.5 * (s->slope + s->slope_t) / s->m.region.predicted);
}

/* The radius after a trial; rho: what f fell by over what the model did. It does not grow where it was just found too large. */
static void resize(fo_solver *s, double rho)
{
    fo_region *q = &s->m.region;
    if (!(rho >= 0.25)) q->radius = shrunk(s) * q->length;
    else if (rho > 0.75 && q->on_border && !q->rejected)
        q->radius = fmin((fabs(rho - 1) < 0.1 ? 3 : 2) * q->radius, limit(s));
}

int region_advance(fo_solver *s, const region_method *m, const fo_blas *blas)
{
    int r;
    double rho;
    BEGIN(s->resume);

    s->want = FO_WANT_F | FO_WANT_G;
    s->have = 0;
    WAIT(s->resume, 1, FO_EVALUATE);
    if ((r = arrive(s)) >= 0) goto stop;
    if (m->start) m->start(s);

    if ((r = finished(s, 0)) >= 0) goto stop;
    for (;;) {
        s->inner = 0;
        while ((r = m->propose(s, blas)) != READY) WAIT(s->resume, 2, r);
        space v = space_of(s);
        if (isnan(s->m.region.predicted)) {
            r = FO_NONFINITE;
            goto stop;
        }
        keep_lowest(s);
        if (!(s->m.region.predicted > 0) || !vec_step(&v, vec(s, FO_X), 1, vec(s, FO_D), vec(s, FO_XT))) goto no_step;
        if (s->nfev >= s->o.maxfev) {
            r = FO_EVALUATIONS;
            goto stop;
        }
        s->m.region.length = sqrt(vec_dot(&v, vec(s, FO_D), vec(s, FO_D)));
        s->slope = vec_dot(&v, vec(s, FO_G), vec(s, FO_D));
        s->want = FO_WANT_F;
        s->have = 0;
        WAIT(s->resume, 3, FO_EVALUATE);
        note_evaluation(s, 1);
        if (s->ft == -(double)INFINITY) {
            r = FO_UNBOUNDED;
            goto stop;
        }
        if (!(s->have & FO_WANT_G) && (ratio(s) > s->o.eta || within_half(s))) {
            s->want = FO_WANT_G;
            WAIT(s->resume, 4, FO_EVALUATE);
            s->njev++;
            s->have |= FO_WANT_G;
            space again = space_of(s);
            s->slope_t = vec_dot(&again, vec(s, FO_GT), vec(s, FO_D));
        }
        rho = ratio(s);
        if (!(rho > s->o.eta)) {                         /* NaN too */
            if (s->m.region.rejected++ == 0 && s->m.region.predicted <= rounding(s) && isfinite(s->ft)) {
                r = FO_PRECISION;
                goto stop;
            }
            resize(s, rho);
            continue;
        }
        if (!isfinite(s->slope_t)) {                     /* f is finite there, the gradient is not: no further than near it */
            if (s->lowest_trial) s->fbest = s->fbest_old;
            s->lowest_trial = 0;
            s->m.region.rejected++;
            s->m.region.radius = 0.25 * s->m.region.length;
            continue;
        }
        resize(s, rho);
        s->m.region.rejected = 0;
        take_step(s);
        if (s->report) WAIT(s->resume, 5, FO_ITERATED);
        if ((r = finished(s, 1)) >= 0) goto stop;
    }

no_step:
    /* The model falls nowhere, or the step is too short to move x. After steps with a clear promise were refused, f or its
     * derivatives are wrong, or f is not the function it was: asked once more, at x. */
    if (s->m.region.rejected == 0 || !isfinite(s->ft)) {
        r = s->m.region.rejected ? FO_TRUST_COLLAPSED : FO_PRECISION;
        goto stop;
    }
    vec_copy(s, FO_X, FO_XT);
    s->want = FO_WANT_F;
    s->have = 0;
    WAIT(s->resume, 6, FO_EVALUATE);
    s->nfev++;
    s->njev += (s->have & FO_WANT_G) != 0;
    s->lowest_trial = 0;
    r = s->ft == s->f ? FO_TRUST_COLLAPSED : FO_CHANGED;
stop:
    fo_stop(s, r);
    END(s->resume);
    return FO_STOPPED;
}
