/* search.h: line searches as machines. They see phi(alpha) = f(x + alpha d) and its slope phi'(alpha), never a vector.
 *
 *     fo_search q = { .kind = FO_WOLFE, .f0 = ..., ... };        every member of the first part
 *     fo_search_begin(&q);
 *     double f = 0, df = 0;
 *     while (fo_search_advance(&q, f, df) == FO_SEARCH_EVALUATE)
 *         f = phi(q.alpha), df = dphi(q.alpha);
 *
 * The struct holds plain numbers only: a copy of it is a search saved between two evaluations.
 *
 * What all searches keep: alpha lies in (0, max_alpha], no alpha is asked for twice, there are at most max_trials of them; a
 * trial where phi or phi' is not finite shortens the step and enters no interpolation; the step accepted is the trial seen last.
 */
#ifndef FO_SEARCH_H
#define FO_SEARCH_H
#ifdef __cplusplus
extern "C" {
#endif

enum { FO_BACKTRACKING, FO_WOLFE, FO_HAGER_ZHANG, FO_SEARCHES };
enum { FO_SEARCH_EVALUATE, FO_SEARCH_DONE, FO_SEARCH_FAILED };

/* Why a search ended; fo_search_reason says it in words. "armijo" is phi(alpha) <= reference + c1 alpha phi'(0), and the approximate form
 * below too where c1 alpha |phi'(0)| <= slack and nothing else would keep a step from being too long; the curvature of
 * the weak Wolfe conditions is phi'(alpha) >= c2 phi'(0), of the strong ones |phi'(alpha)| <= c2 |phi'(0)|. Their approximate form
 * is for values that rounding no longer tells apart: |phi(alpha) - phi(0)| <= slack (HZ with approximate = 2: phi(alpha) <= phi(0) + slack)
 * and phi'(alpha) <= (2 c1 - 1) phi'(0), which is armijo's test for the parabola through phi(0), phi'(0), phi'(alpha) (Hager &
 * Zhang 2005, equation 4.1). */
enum {
    FO_WHY_RUNNING,
    /* done */
    FO_WHY_ARMIJO,                 /* armijo alone: all that backtracking asks; others: the interval is too small for more */
    FO_WHY_APPROXIMATE_ARMIJO,     /* its approximate form alone, likewise */
    FO_WHY_STRONG_WOLFE,
    FO_WHY_WEAK_WOLFE,
    FO_WHY_APPROXIMATE_WOLFE,      /* approximate armijo and phi'(alpha) >= c2 phi'(0) */
    /* failed */
    FO_WHY_TRIALS,                 /* max_trials evaluations were not enough */
    FO_WHY_INTERVAL,               /* rounding leaves no new alpha, or it would be below min_alpha */
    FO_WHY_NOT_FINITE,             /* no trial was finite */
    FO_WHY_AT_MAX,                 /* still descending at max_alpha */
    FO_WHY_UNBOUNDED,              /* phi is -inf */
    FO_WHY_NO_DESCENT,             /* phi'(0) is not below 0, or phi(0), phi'(0) or the first step is not finite */
    FO_WHYS
};

typedef struct fo_search {
    /* set by the caller */
    int kind;
    double f0, df0;                /* phi(0), phi'(0) < 0 */
    double reference;              /* what armijo is measured from: f0, or more (nonmonotone searches) */
    double first;                  /* first trial, > 0; cut to [min_alpha, max_alpha] */
    double min_alpha, max_alpha;   /* 0 <= min_alpha < max_alpha <= INFINITY */
    double c1, c2;                 /* 0 < c1 < 1/2, c1 < c2 < 1: sufficient decrease and curvature (delta, sigma in Hager-Zhang) */
    double eps_f, scale_f;         /* values of phi that differ by eps_f * scale_f >= 0 or less are equal: f's rounding, times |f0| or
                                    * Hager-Zhang's running mean C_k of |f| */
    int approximate;               /* 0: no approximate test; 1: it ends a search too; 2: and Hager-Zhang brackets the minimum of phi
                                    * itself, else of phi(alpha) - c1 alpha phi'(0) */
    int max_trials;                /* >= 1 */
    /* out */
    double alpha;                  /* EVALUATE: where; DONE: the step; FAILED: the trial seen last */
    double f, df;                  /* phi and phi' at the trial seen last (df is NaN where it is not known) */
    double slack;                  /* eps_f * scale_f; Hager-Zhang lets it grow, 10^5 times at most, where rounding hides a bracket */
    int want_slope;                /* EVALUATE: 0: phi alone is enough; 1: both */
    int trials;                    /* evaluations asked for */
    int bad;                       /* of them not finite */
    int why;                       /* FO_WHY_... */
    /* private; each machine says what it keeps here */
    int resume, result, finite, slope, bracket, stage, turn, rounds, grown;
    double next, most;
    double x, fx, dx, y, fy, dy, z, fz, dz;
    double lower, upper, width, width1, wall;
} fo_search;

void fo_search_begin(fo_search *q);

/* phi and phi' at q->alpha; neither is read at the first call after fo_search_begin. df may be NaN where want_slope was 0 and it is not
 * known; where it is known it is used. After the end it repeats its answer. */
int fo_search_advance(fo_search *q, double f, double df);

const char *fo_search_name(int kind);      /* NULL if there is none */
const char *fo_search_reason(int why);     /* one sentence without its full stop; NULL if there is none */

/* ---- first trial steps; see first.c. All return 1 where their formula gives nothing positive and finite ---- */
double fo_first_hager_zhang(double x_max, double g_max, double gg, double f, double psi0);
double fo_first_again(double alpha, double psi2);
double fo_first_decrease(double f, double f_before, double df0);
double fo_first_slope(double alpha, double df_before, double df0);
double fo_first_parabola(double f0, double df0, double alpha, double f);

#ifdef __cplusplus
}
#endif
#endif
