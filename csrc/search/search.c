#include <math.h>
#include "search.h"
#include "../machine.h"
void fo_search_begin(fo_search *q) { q->resume = 0; q->trials = 0; q->lo = 0; q->hi = 0; }
double fo_first_quadratic(double f, double f_old, double slope, double alpha_old) { (void)alpha_old; return 2.02 * (f - f_old) / slope; }
int fo_search_advance(fo_search *q, double f, double df)
{
    BEGIN(q->resume);
    q->alpha = q->first;
    while (q->trials < q->max_trials) {
        q->want_slope = 1;
        q->trials++;
        WAIT(q->resume, 1, FO_SEARCH_EVALUATE);
        if (!isfinite(f) || !isfinite(df)) { q->bad++; q->hi = q->alpha; q->alpha = q->lo + 0.1 * (q->hi - q->lo); continue; }
        if (f > q->f0 + q->c1 * q->alpha * q->df0) q->hi = q->alpha;
        else if (df < q->c2 * q->df0) q->lo = q->alpha;
        else { q->f = f; q->df = df; return FO_SEARCH_DONE; }
        q->alpha = q->hi > 0 ? 0.5 * (q->lo + q->hi) : 3 * q->alpha;
    }
    END(q->resume);
    return FO_SEARCH_FAILED;
}
