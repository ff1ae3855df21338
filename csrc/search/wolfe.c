/* wolfe.c: strong Wolfe conditions by More & Thuente (ACM Trans. Math. Software 20, 1994, 286-307).
 *
 *     symbol of the paper     here
 *     alpha_l, alpha_u        x (best end), y (other end), with fx, dx, fy, dy
 *     alpha_t, alpha_t+       q->alpha, q->next
 *     mu, eta                 c1, c2
 *     psi                     phi(alpha) - phi(0) - c1 phi'(0) alpha, used in stage 1
 *     delta_max, 0.66         EXTRAPOLATE_MOST, SHRINK_LEAST
 *
 * Departures: (1) a trial that is not finite becomes y, an end without values: the interval is then halved toward x, and
 * only trials and x enter interpolations. (2) Values within rounding of each other (slack) count as equal: slopes alone place the
 * next trial then, as in Hager-Zhang, and the approximate Wolfe test ends the search.
 *
 * Keeps, besides: bracket: x and y enclose a step; turn: y has values; lower, upper: where the next trial may lie; width, width1:
 * length of the interval one and two trials ago.
 */
#include "search/parts.h"

#define EXTRAPOLATE_LEAST 1.1
#define EXTRAPOLATE_MOST 4.0
#define SHRINK_LEAST 0.66
#define FLAT 16                    /* values are equal by rounding, not by symmetry, where slopes promise little too */

typedef struct { double at, f, d; } point;

/* The next trial from the best end x, the trial t, the other end y (section 4 of the paper, its four cases); `same`: rounding
 * hides the difference of the values at x and t. */
static double trial(const fo_search *q, point x, point t, point y, int same)
{
    double c, s, next;
    if (!same && t.f > x.f) {                                   /* 1: higher: the minimum is in between */
        c = cubic(t.at, t.f, t.d, x.at, x.f, x.d);
        s = parabola(x.at, x.f, x.d, t.at, t.f);
        if (!(fabs(c - x.at) >= fabs(s - x.at))) return isnan(c) ? s : c;
        return c + 0.5 * (s - c);
    }
    int opposite = (t.d < 0) != (x.d < 0);
    s = secant(x.at, x.d, t.at, t.d);
    c = same ? s : cubic(x.at, x.f, x.d, t.at, t.f, t.d);
    if (opposite)                                                /* 2: the minimum is in between */
        return isnan(c) || fabs(s - t.at) >= fabs(c - t.at) ? s : c;
    double ahead = t.at > x.at ? q->upper : q->lower;
    if (fabs(t.d) < fabs(x.d)) {                                 /* 3: the slope falls: it is ahead */
        if (!((c - t.at) * (t.at - x.at) > 0)) c = ahead;
        if (!q->bracket) {
            next = fabs(c - t.at) > fabs(s - t.at) ? c : s;
            return clip(next, q->lower, q->upper);
        }
        next = fabs(c - t.at) < fabs(s - t.at) ? c : s;
        double most = t.at + SHRINK_LEAST * (y.at - t.at);
        return t.at > x.at ? fmin(next, most) : fmax(next, most);
    }
    if (!q->bracket) return ahead;                               /* 4: the slope does not fall */
    return q->turn ? cubic(y.at, y.f, y.d, t.at, t.f, t.d) : middle(t.at, y.at);
}

/* Update of the interval (section 4, U1 to U3) and of q->next, from a finite trial. */
static void interval(fo_search *q)
{
    /* Stage 1 works on psi while it sees no lower value of phi that psi would not: (4) of section 4. */
    int same = equal(q, q->f, q->fx) && fabs(q->dx * (q->alpha - q->x)) <= FLAT * q->slack;
    double gain = q->stage == 1 && !same && q->f <= q->fx && !armijo(q) ? q->c1 * q->df0 : 0;
    point x = { q->x, q->fx - gain * q->x, q->dx - gain };
    point y = { q->y, q->fy - gain * q->y, q->dy - gain };
    point t = { q->alpha, q->f - gain * q->alpha, q->df - gain };
    int higher = !same && t.f > x.f, opposite = (t.d < 0) != (x.d < 0);

    q->next = trial(q, x, t, y, same);
    if (!higher) {                                               /* the trial becomes the best end */
        if (opposite) q->y = q->x, q->fy = q->fx, q->dy = q->dx, q->turn = 1;
        q->x = q->alpha, q->fx = q->f, q->dx = q->df;
    }
    else
        q->y = q->alpha, q->fy = q->f, q->dy = q->df, q->turn = 1;
    if (higher || opposite) q->bracket = 1;
}

int fo_wolfe(fo_search *q)
{
    BEGIN(q->resume);
    q->want_slope = 1;
    q->stage = 1;
    q->fx = q->fy = q->f0;
    q->dx = q->dy = q->df0;
    q->next = q->first;
    q->upper = q->first + EXTRAPOLATE_MOST * q->first;
    q->width = q->most - q->min_alpha;
    q->width1 = 2 * q->width;
    for (;;) {
        WAIT(q->resume, 1, FO_SEARCH_EVALUATE);
        if (q->finite) {
            if (armijo(q) && fabs(q->df) <= -q->c2 * q->df0) return done(q, FO_WHY_STRONG_WOLFE);
            if (approximate_armijo(q) && weak_curvature(q)) return done(q, FO_WHY_APPROXIMATE_WOLFE);
            if (q->bracket && !q->turn && q->y > q->alpha && near_wall(q, q->y)) return done(q, FO_WHY_ARMIJO);
            if (q->alpha >= q->most && armijo(q) && q->df <= q->c1 * q->df0) return failed(q, FO_WHY_AT_MAX);
            if (q->stage == 1 && armijo(q) && q->df >= 0) q->stage = 2;
            interval(q);
        }
        else {
            q->y = q->alpha;
            q->turn = 0;
            q->bracket = 1;
            q->next = q->x + (q->trials == q->bad ? SHRINK : 0.5) * (q->y - q->x);
        }
        if (q->bracket) {                                        /* the interval shall shrink to 0.66 in two trials */
            double width = fabs(q->y - q->x);
            if (q->finite && width >= SHRINK_LEAST * q->width1) q->next = middle(q->x, q->y);
            q->width1 = q->width;
            q->width = width;
            q->lower = fmin(q->x, q->y);
            q->upper = fmax(q->x, q->y);
            if (too_close(q->x, q->y)) return collapse(q);
            q->next = between(q->next, q->x, q->y);
        }
        else {
            if (!(q->next > q->alpha)) q->next = q->upper;
            q->lower = q->next + EXTRAPOLATE_LEAST * (q->next - q->x);
            q->upper = q->next + EXTRAPOLATE_MOST * (q->next - q->x);
            if (q->alpha >= q->most) return failed(q, FO_WHY_AT_MAX);
        }
    }
    END(q->resume);
    return failed(q, FO_WHY_INTERVAL);                          /* a damaged state */
}
