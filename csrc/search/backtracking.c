/* backtracking.c: armijo's test with interpolation (Nocedal & Wright 2006, algorithm 3.1 and section 3.5), on phi alone.
 *
 * The next step is the minimum of the parabola through phi(0), phi'(0), phi(alpha), from the second failure on of the cubic through
 * the last two trials, or through phi'(alpha) where the caller knows it; kept in [0.1, 0.5] alpha.
 * Beyond the book: where armijo asks for a decrease that rounding hides, the slope is asked for as well, and decides.
 *
 * Keeps: x, fx: the trial before the last, x = 0: none.
 */
#include "search/parts.h"

static double shorter(const fo_search *q)
{
    double alpha = q->alpha, s = alpha * q->df0, r = (q->f - q->f0) - s, u;
    if (!q->finite) return SHRINK * alpha;
    if (q->slope && equal(q, q->f, q->f0))
        u = secant(0, q->df0, alpha, q->df) / alpha;             /* the values say nothing */
    else if (q->slope)
        u = from_zero(s, r, (alpha * q->df - s) - 2 * r);
    else if (q->x > 0) {
        double p = q->x / alpha, before = (q->fx - q->f0 - s * p) / p / p;
        u = from_zero(s, r, (r - before) / (1 - p));
    }
    else
        u = from_zero(s, r, 0);
    return alpha * (u > 0 ? clip(u, 0.1, 0.5) : 0.5);
}

int fo_backtracking(fo_search *q)
{
    BEGIN(q->resume);
    q->next = q->first;
    for (;;) {
        q->want_slope = q->approximate && -q->c1 * q->df0 * q->next <= q->slack;
        WAIT(q->resume, 1, FO_SEARCH_EVALUATE);
        if (sufficient(q)) return done(q, sufficient(q));
        q->next = shorter(q);
        q->x = q->finite ? q->alpha : 0;
        q->fx = q->f;
    }
    END(q->resume);
    return failed(q, FO_WHY_INTERVAL);                          /* a damaged state */
}
