/* parts.h: what the searches share: their tests, their ends, their interpolations. Private to this folder. */
#ifndef FO_SEARCH_PARTS_H
#define FO_SEARCH_PARTS_H
#include <float.h>
#include <math.h>
#include <stddef.h>
#include "machine.h"
#include "search/search.h"

/* Machines: q->next is the trial they want; they are called again with q->f, q->df, and q->finite, q->slope saying what holds. */
int fo_backtracking(fo_search *q);
int fo_wolfe(fo_search *q);
int fo_hager_zhang(fo_search *q);

#define SHRINK 0.1                 /* after a trial that is not finite, when none was finite yet */
#define NEAR_WALL 0.01             /* a step of 99 % of the way to where phi is not finite is taken, as interior methods do */

static inline double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

static inline int end(fo_search *q, int result, int why)
{
    q->why = why;
    q->result = result;
    return result;
}
static inline int done(fo_search *q, int why) { return end(q, FO_SEARCH_DONE, why); }
static inline int failed(fo_search *q, int why) { return end(q, FO_SEARCH_FAILED, why); }

/* ---- tests at the trial seen last ---- */
/* Does rounding hide the difference of two values? */
static inline int equal(const fo_search *q, double f, double g) { return q->approximate && fabs(f - g) <= q->slack; }

static inline int from_start(const fo_search *q) { return q->approximate == 2 && q->kind == FO_HAGER_ZHANG; }

static inline int armijo(const fo_search *q)
{
    double ask = q->c1 * q->df0 * q->alpha;
    if (!(q->f <= q->reference + ask)) return 0;
    /* Where rounding hides what is asked for, any step as flat would pass: the slope must agree. */
    int hidden = q->slope && -ask <= q->slack && equal(q, q->f, q->f0) && equal(q, q->reference, q->f0);
    return !hidden || q->df <= (2 * q->c1 - 1) * q->df0;
}

static inline int approximate_armijo(const fo_search *q)
{
    int low = equal(q, q->f, q->f0) || (from_start(q) && q->f <= q->f0);
    return low && q->slope && q->df <= (2 * q->c1 - 1) * q->df0;
}
static inline int weak_curvature(const fo_search *q) { return q->slope && q->df >= q->c2 * q->df0; }

static inline int sufficient(const fo_search *q)   /* the reason of a step that only decreases; 0: it does not */
{
    if (!q->finite) return 0;
    return armijo(q) ? FO_WHY_ARMIJO : approximate_armijo(q) ? FO_WHY_APPROXIMATE_ARMIJO : 0;
}

/* No trial is left: the one seen last is the step if it decreases phi. */
static inline int collapse(fo_search *q)
{
    int why = sufficient(q);
    return why ? done(q, why) : failed(q, FO_WHY_INTERVAL);
}

/* Is the trial seen last, finite and descending, as near to a trial at `wall` that was not finite as one needs to go? */
static inline int near_wall(const fo_search *q, double wall) { return wall - q->alpha <= NEAR_WALL * wall && armijo(q); }

/* ---- between two ends ---- */
static inline int too_close(double a, double b) { return fabs(b - a) <= 4 * DBL_EPSILON * fmax(fabs(a), fabs(b)); }

static inline double middle(double a, double b) { return a + 0.5 * (b - a); }

/* x if it lies strictly between a and b, else their middle. */
static inline double between(double x, double a, double b)
{
    return x > fmin(a, b) && x < fmax(a, b) ? x : middle(a, b);
}

/* ---- interpolations; NaN where there is no minimum ---- */

/* Zero of the line through the slopes: the minimum of a parabola. */
static inline double secant(double a, double da, double b, double db) { return a - da * ((b - a) / (db - da)); }

/* Minimum of the parabola with value and slope at a and value at b. */
static inline double parabola(double a, double fa, double da, double b, double fb)
{
    double h = b - a, rise = (fb - fa) / h;
    return (rise - da) * h > 0 ? a + 0.5 * h * (da / (da - rise)) : NAN;
}

/* Minimum of the cubic with values and slopes at a and b (Nocedal & Wright 2006, equation 3.59, scaled so that no square
 * leaves the range), written from b so that it is accurate near b. */
static inline double cubic(double a, double fa, double da, double b, double fb, double db)
{
    double h = b - a, t = da + db - 3 * ((fb - fa) / h);
    double s = fmax(fabs(t), fmax(fabs(da), fabs(db)));
    double under = (t / s) * (t / s) - (da / s) * (db / s);
    if (!(under >= 0)) return NAN;
    double r = copysign(s * sqrt(under), h);
    return b - h * ((db + r - t) / (db - da + 2 * r));
}

/* Minimum, in units of alpha > 0, of the cubic with value and slope at 0 and value at alpha, and third
 * coefficient c (0: a parabola): f0 + s u + b u^2 + c u^3 where s = alpha df0 < 0, b + c = r = f - f0 - s. */
static inline double from_zero(double s, double r, double c)
{
    double b = r - c, m = fmax(fabs(s), fmax(fabs(b), fabs(c)));
    double under = (b / m) * (b / m) - 3 * (c / m) * (s / m);
    return under >= 0 ? (-s / m) / (b / m + sqrt(under)) : NAN;
}

#endif
