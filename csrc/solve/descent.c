/* descent.c: the loop of every method that searches along a direction. It knows neither the method nor the search.
 *
 * Where a search fails: 1. the lowest point it saw, if lower than where it began, is taken; 2. else the method forgets and goes on from
 * steepest descent, once; 3. else the run ends with the lowest point ever seen, and the reason.
 */
#include "solver.h"

enum {
    WEAK_STEPS = 3,                    /* steps in a row that only rule 1 above allowed */
    RISES = 3                          /* trials in a row that say that the gradient is wrong */
};

static double rounding(const fo_solver *s) { return 10 * (s->width == FO_F32 ? FLT_EPSILON : DBL_EPSILON) * fabs(s->f); }

static void begin_search(fo_solver *s, double first)
{
    const fo_options *o = &s->o;
    fo_search *q = &s->search;
    double top = 1e100;
    if (isfinite(o->max_step)) {
        space v = space_of(s);
        top = o->max_step / sqrt(vec_dot(&v, vec(s, FO_D), vec(s, FO_D)));
    }
    memset(q, 0, sizeof *q);
    q->kind = o->search;
    q->f0 = s->f;
    q->df0 = s->slope;
    q->reference = o->method == FO_METHOD_bb ? s->m.bb.reference : s->f;
    q->first = first < top ? first : top;
    q->min_alpha = 0;
    q->max_alpha = top;
    q->c1 = o->c1;
    q->c2 = o->c2;
    q->eps_f = o->eps_f;
    q->scale_f = s->mean_q > 1 ? s->mean_f : fabs(s->f);
    /* Hager and Zhang's switch: their approximate test allows a rise, so it waits until f has settled to omega = 1e-3. */
    q->approximate = o->search != FO_HAGER_ZHANG || fabs(s->f - s->f_old) <= 1e-3 * s->mean_f;
    q->max_trials = o->max_trials;
    fo_search_begin(q);
    s->low_here = s->rose = s->again = 0;
}

enum { AT_X, ANEW, AGAIN };

/* The slope at FO_XT. */
static void along(fo_solver *s)
{
    space v = space_of(s);
    s->slope_t = vec_dot(&v, vec(s, FO_GT), vec(s, FO_D));
}

/* The lowest point of this search is the trial again. */
static void recall_lowest(fo_solver *s)
{
    exchange(s, FO_XT, FO_XB);
    exchange(s, FO_GT, FO_GB);
    s->ft = s->fbest;
    s->have = s->best_at == 1 ? FO_WANT_F | FO_WANT_G : FO_WANT_F;
    s->lowest_trial = 1;
    if (s->have & FO_WANT_G) along(s);
}

/* FO_XT at alpha along FO_D: rounding may leave it at x, or AGAIN where the last or the lowest trial of this search was, which then
 * is the trial as it was. */
static int place_trial(fo_solver *s, double alpha)
{
    space v = space_of(s);
    int changed, kept = s->lowest_trial;
    keep_lowest(s);
    s->alpha = alpha;
    if (!vec_step_anew(&v, vec(s, FO_X), alpha, vec(s, FO_D), vec(s, FO_XT), &changed)) return AT_X;
    if (s->low_here && !memcmp(vec(s, FO_XT), vec(s, FO_XB), vec_size(&v))) {
        recall_lowest(s);
        return AGAIN;
    }
    if (!kept && !changed && s->search.trials > 1) return AGAIN;
    s->have = 0;
    return ANEW;
}

static void note_trial(fo_solver *s)
{
    note_evaluation(s, 1);
    if (s->lowest_trial) {
        s->low_here = 1;
        s->low_alpha = s->alpha;
    }
    const double rise = s->ft - s->f, fall = -s->slope * s->alpha;
    /* As much as the slope lets it fall, whatever the step: a step that is only too long rises by less the shorter it is. */
    if (fall > 10 * rounding(s) && isfinite(rise)) s->rose = rise >= 0.5 * fall && rise <= 2 * fall ? s->rose + 1 : 0;
}

/* Why nothing lower was found along steepest descent. */
static int reason(const fo_solver *s)
{
    const fo_search *q = &s->search;
    if (q->why == FO_WHY_UNBOUNDED) return FO_UNBOUNDED;
    if (s->rose < RISES && fabs(s->ft - s->f) <= rounding(s)) return FO_PRECISION;
    if (q->bad && q->bad == q->trials) return FO_NONFINITE;
    return FO_NOT_DESCENT;
}

int descent_advance(fo_solver *s, const descent_method *m, const fo_blas *blas)
{
    int r;
    BEGIN(s->resume);

    s->want = FO_WANT_F | FO_WANT_G;
    s->have = 0;
    WAIT(s->resume, 1, FO_EVALUATE);
    if ((r = arrive(s)) >= 0) goto stop;
    if (m->start) m->start(s);
    s->fresh = 1;

    if ((r = finished(s, 0)) >= 0) goto stop;
    for (;;) {
        for (;;) {                                       /* a direction that descends */
            s->slope = (double)NAN;
            s->inner = 0;
            while ((r = m->direction(s, blas)) != READY) WAIT(s->resume, 2, r);
            if (s->slope < 0 && isfinite(s->slope)) break;
            if (s->fresh) {
                r = isfinite(s->slope) ? FO_PRECISION : FO_NONFINITE;
                goto stop;
            }
            s->resets++;
            m->reset(s);
            s->fresh = 1;
        }

        begin_search(s, m->first(s));
        s->tries = 0;
search:
        while ((r = fo_search_advance(&s->search, s->ft, s->slope_t)) == FO_SEARCH_EVALUATE) {
            r = place_trial(s, s->search.alpha);
            if (r == AT_X) {
                s->alpha = 0;
                r = FO_SEARCH_FAILED;
                break;
            }
            if (r == AGAIN && s->again++) {              /* the interval is as narrow as rounding lets it be */
                r = FO_SEARCH_FAILED;
                break;
            }
            if (r == AGAIN && (s->have & FO_WANT_G || !s->search.want_slope)) continue;
            if (s->nfev >= s->o.maxfev) {
                r = FO_EVALUATIONS;
                goto stop;
            }
            if (r == AGAIN) {                            /* f is known there */
                s->want = FO_WANT_G;
                WAIT(s->resume, 7, FO_EVALUATE);
                s->have |= FO_WANT_F;
                s->njev++;
                along(s);
                continue;
            }
            s->want = s->search.want_slope ? FO_WANT_F | FO_WANT_G : FO_WANT_F;
            WAIT(s->resume, 3, FO_EVALUATE);
            note_trial(s);
        }
        if (r == FO_SEARCH_FAILED) {
            if (s->search.why == FO_WHY_UNBOUNDED) {     /* -inf itself is no point to go to */
                r = FO_UNBOUNDED;
                goto stop;
            }
            if (s->search.why == FO_WHY_AT_MAX && !isfinite(s->o.max_step)) {    /* it falls for 1e100 lengths of d */
                r = FO_UNBOUNDED;
                goto stop;
            }
            if (s->low_here) {                           /* rule 1 */
                if (!s->lowest_trial) {
                    recall_lowest(s);
                    s->alpha = s->low_alpha;
                }
                s->weak += s->search.why != FO_WHY_AT_MAX;           /* max_step is a bound, no failure */
            } else {
                r = reason(s);
                /* Where f could fall by its rounding at most, steepest descent would only spend evaluations. */
                if (s->fresh || r == FO_UNBOUNDED || -s->slope * fmin(s->search.first, 1) <= rounding(s)) {
                    if (r == FO_NOT_DESCENT) goto check_again;
                    goto stop;
                }
                s->resets++;
                m->reset(s);
                s->fresh = 1;
                continue;                                /* rule 2 */
            }
        } else s->weak = 0;

        if (!(s->have & FO_WANT_G)) {
            s->want = FO_WANT_G;
            WAIT(s->resume, 4, FO_EVALUATE);
            s->njev++;
            along(s);
        }
        if (!isfinite(s->slope_t)) {                     /* f is finite there, the gradient is not: nearer, or no further */
            if (s->lowest_trial) s->fbest = s->fbest_old;
            s->lowest_trial = 0;
            if (s->tries++ < 10) {
                begin_search(s, 0.1 * s->alpha);
                goto search;
            }
            r = FO_NONFINITE;
            goto stop;
        }
        s->fresh = 0;
        m->update(s, blas);
        take_step(s);
        if (s->weak > 1) {
            if (s->weak > WEAK_STEPS) {
                r = FO_PRECISION;
                goto stop;
            }
            s->resets++;
            m->reset(s);
            s->fresh = 1;
        }
        if (s->report) WAIT(s->resume, 5, FO_ITERATED);
        if ((r = finished(s, 1)) >= 0) goto stop;
    }

check_again:
    /* f rises along minus the gradient. Either the gradient is wrong, or f is not the function it was: asked once more, at x. */
    vec_copy(s, FO_X, FO_XT);
    s->want = FO_WANT_F;
    s->have = 0;
    WAIT(s->resume, 6, FO_EVALUATE);
    s->nfev++;
    s->njev += (s->have & FO_WANT_G) != 0;               /* an objective that gives both at once gave it here too */
    s->lowest_trial = 0;
    r = s->ft == s->f ? FO_NOT_DESCENT : FO_CHANGED;
stop:
    fo_stop(s, r);
    END(s->resume);
    return FO_STOPPED;
}
