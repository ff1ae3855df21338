/* Searches and first steps in C, for the sanitizers: hostile phis, copies in the middle, expected numbers of trials. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "fastopt.h"

static int failures;
#define CHECK(x) do { if (!(x)) { printf("line %d: %s\n", __LINE__, #x); failures++; } } while (0)

static double quadratic(double a, double *d) { *d = 2 * (a - 3); return (a - 3) * (a - 3); }
static double rational(double a, double *d)                      /* More & Thuente 1994, (5.1) */
{
    double u = a * a + 2;
    *d = (a * a - 2) / (u * u);
    return -a / u;
}
static double quintic(double a, double *d)                       /* (5.2) */
{
    double u = a + 0.004;
    *d = (5 * u - 8) * u * u * u;
    return (u - 2) * u * u * u * u;
}
static double barrier(double a, double *d) { *d = -1 / (1 - a); return a < 1 ? log(1 - a) - a : NAN; }
static double islands(double a, double *d)
{
    *d = 2 * (a - 3);
    return fmod(a * 7, 1) < 0.5 ? (a - 3) * (a - 3) : NAN;
}
static double hopeless(double a, double *d) { *d = -1; return a > 0 ? INFINITY : 0; }
static double rising(double a, double *d) { *d = -1; return a; }
static double bottomless(double a, double *d) { *d = -1; return a > 1e3 ? -INFINITY : -a; }
static double falling(double a, double *d) { *d = -1; return -a; }
static double jump(double a, double *d) { *d = -1; return a < 0.7 ? -a : 5 - a; }
static double huge(double a, double *d) { *d = 2e150 * (a * 1e150 - 3e-3); return (a * 1e150 - 3e-3) * (a * 1e150 - 3e-3); }
static double flat(double a, double *d) { *d = 1e-9 * (a - 1); return 1 + 0 * a; }

typedef double phi(double a, double *d);
static phi *const phis[] = { quadratic, rational, quintic, barrier, islands, hopeless, rising, bottomless, falling, jump, huge, flat };
enum { PHIS = sizeof phis / sizeof *phis };

static fo_search begin(int kind, phi *p, double first, int approximate)
{
    fo_search q;
    memset(&q, 0, sizeof q);
    q.kind = kind;
    q.f0 = q.reference = p(0, &q.df0);
    q.first = first;
    q.max_alpha = 1e10;
    q.c1 = 1e-4;
    q.c2 = 0.1;
    q.eps_f = 1e-15;
    q.scale_f = fabs(q.f0);
    q.approximate = approximate;
    q.max_trials = 40;
    fo_search_begin(&q);
    return q;
}

static fo_search run(fo_search q, phi *p)
{
    double seen[64], f = 0, d = 0;
    fo_search copy;
    int n = 0, answer;
    while ((answer = fo_search_advance(&q, f, d)) == FO_SEARCH_EVALUATE) {
        CHECK(q.alpha > 0 && q.alpha <= q.max_alpha && q.trials <= q.max_trials);
        for (int i = 0; i < n; i++) CHECK(seen[i] != q.alpha);
        seen[n++] = q.alpha;
        f = p(q.alpha, &d);
        copy = q;
        int a = fo_search_advance(&copy, f, d);
        fo_search other = q;
        CHECK(fo_search_advance(&other, f, d) == a && !memcmp(&copy, &other, sizeof q));
    }
    CHECK(answer == fo_search_advance(&q, f, d));
    CHECK((q.why <= FO_WHY_APPROXIMATE_WOLFE) == (answer == FO_SEARCH_DONE) && q.why != FO_WHY_RUNNING);
    return q;
}

int main(void)
{
    for (int kind = 0; kind < FO_SEARCHES; kind++)
        for (int i = 0; i < PHIS; i++)
            for (int mode = 0; mode < 3; mode++)
                for (double first = 1e-6; first < 1e7; first *= 3.7) run(begin(kind, phis[i], first, mode), phis[i]);

    const int most[2][4] = { { 6, 3, 1, 4 }, { 12, 8, 8, 11 } };       /* tables 1 and 2 of More & Thuente */
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 4; j++) {
            fo_search q = begin(FO_WOLFE, phis[i + 1], 1e-3 * pow(100, j), 0);
            q.c1 = i ? 0.1 * (1 - 1e-12) : 0.001;
            q = run(q, phis[i + 1]);
            CHECK(q.why == FO_WHY_STRONG_WOLFE && q.trials <= most[i][j]);
        }

    fo_search q = begin(FO_WOLFE, hopeless, 1, 1);
    CHECK(run(q, hopeless).why == FO_WHY_NOT_FINITE);
    q.df0 = 1;
    CHECK(run(q, quadratic).why == FO_WHY_NO_DESCENT);
    q = begin(FO_HAGER_ZHANG, quadratic, 1, 1);
    q.resume = 99;                                               /* a damaged state ends */
    CHECK(fo_search_advance(&q, 0, 0) == FO_SEARCH_FAILED);

    CHECK(fo_first_hager_zhang(2, 4, 100, 7, 0.01) == 0.01 * 0.5 && fo_first_hager_zhang(0, 4, 100, -7, 0.01) == 0.01 * 0.07);
    CHECK(fo_first_hager_zhang(0, 0, 0, 0, 0.01) == 1 && fo_first_again(0.5, 2) == 1 && fo_first_again(INFINITY, 2) == 1);
    CHECK(fo_first_decrease(1, 2, -8) == 2.02 / 8 && fo_first_decrease(1, 9, -1) == 1 && fo_first_decrease(1, NAN, -1) == 1);
    CHECK(fo_first_slope(0.5, -4, -1) == 2 && fo_first_slope(0.5, -4, 0) == 1);
    CHECK(fo_first_parabola(9, -6, 1, 4) == 3 && fo_first_parabola(9, -6, 1, 2) == 1);
    CHECK(!fo_search_name(-1) && !fo_search_name(FO_SEARCHES) && !fo_search_reason(FO_WHYS));
    for (int i = 0; i < FO_WHYS; i++) CHECK(fo_search_reason(i));
    if (failures) printf("%d failures\n", failures);
    return failures != 0;
}
