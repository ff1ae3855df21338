/* first.c: the first trial step of a search. A quasi-Newton or Newton direction has its own: 1. */
#include "search/parts.h"

static double or_one(double alpha) { return alpha > 0 && alpha <= DBL_MAX ? alpha : 1; }

/* Along -g at the start of a method: psi0 max|x| / max|g|, or psi0 |f| / g.g where x = 0 (Hager & Zhang 2005, rule I0; psi0 = 0.01). */
double fo_first_hager_zhang(double x_max, double g_max, double gg, double f, double psi0)
{
    if (x_max > 0) return or_one(psi0 * (x_max / g_max));
    return or_one(psi0 * (fabs(f) / gg));
}

/* A multiple of the step before, psi2 > 1 (rule I2; psi2 = 2), or psi1 < 1 for the trial of rule I1 (psi1 = 0.1). */
double fo_first_again(double alpha, double psi2) { return or_one(psi2 * alpha); }

/* As if the last step's decrease came again, on a parabola: 1.01 * 2 (f - f_before) / phi'(0), at most 1 (Nocedal & Wright 2006,
 * equation 3.60). */
double fo_first_decrease(double f, double f_before, double df0)
{
    double alpha = 2 * 1.01 * ((f - f_before) / df0);
    return or_one(alpha < 1 ? alpha : 1);
}

/* As if the last step's change to first order came again: alpha phi'_before(0) / phi'(0) (Nocedal & Wright, section 3.5). */
double fo_first_slope(double alpha, double df_before, double df0) { return or_one(alpha * (df_before / df0)); }

/* Minimum of the parabola through phi(0), phi'(0) and the value at a trial (rule I1), if that is convex. */
double fo_first_parabola(double f0, double df0, double alpha, double f) { return or_one(parabola(0, f0, df0, alpha, f)); }
