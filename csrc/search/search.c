/* search.c: the table of searches, and what all of them do around their own machines. */
#include "search/parts.h"

static const struct { const char *name; int (*machine)(fo_search *); } searches[FO_SEARCHES] = {
    [FO_BACKTRACKING] = { "backtracking", fo_backtracking },
    [FO_WOLFE] = { "wolfe", fo_wolfe },
    [FO_HAGER_ZHANG] = { "hager_zhang", fo_hager_zhang },
};

static const char *const reasons[FO_WHYS] = {
    [FO_WHY_RUNNING] = "the search has not ended",
    [FO_WHY_ARMIJO] = "the step decreases phi sufficiently",
    [FO_WHY_APPROXIMATE_ARMIJO] = "the step decreases phi sufficiently by its slope, its values being equal to rounding",
    [FO_WHY_STRONG_WOLFE] = "the step satisfies the strong Wolfe conditions",
    [FO_WHY_WEAK_WOLFE] = "the step satisfies the Wolfe conditions",
    [FO_WHY_APPROXIMATE_WOLFE] = "the step satisfies the approximate Wolfe conditions",
    [FO_WHY_TRIALS] = "the search used up its trials",
    [FO_WHY_INTERVAL] = "rounding left the search no new step",
    [FO_WHY_NOT_FINITE] = "phi was finite at no trial of the search",
    [FO_WHY_AT_MAX] = "phi still descends at the largest step",
    [FO_WHY_UNBOUNDED] = "phi is -inf",
    [FO_WHY_NO_DESCENT] = "phi does not descend at 0, or phi(0), phi'(0) or the first step is not finite",
};

const char *fo_search_name(int kind) { return kind >= 0 && kind < FO_SEARCHES ? searches[kind].name : NULL; }
const char *fo_search_reason(int why) { return why >= 0 && why < FO_WHYS ? reasons[why] : NULL; }

void fo_search_begin(fo_search *q)
{
    q->alpha = q->next = 0;
    q->f = q->f0;
    q->df = q->df0;
    q->slack = q->eps_f * q->scale_f;
    q->most = fmin(q->max_alpha, DBL_MAX / 16);                  /* room for extrapolation */
    q->first = clip(q->first, q->min_alpha, q->most);
    q->want_slope = 1;
    q->trials = q->bad = q->grown = 0;
    q->why = FO_WHY_RUNNING;
    q->resume = q->finite = q->slope = q->bracket = q->stage = q->turn = q->rounds = 0;
    q->result = FO_SEARCH_EVALUATE;
    q->x = q->fx = q->dx = q->y = q->fy = q->dy = q->z = q->fz = q->dz = 0;
    q->lower = q->upper = q->width = q->width1 = q->wall = 0;
}

/* Takes in the trial asked for: is it finite, is its slope known? */
static void take(fo_search *q, double f, double df)
{
    q->f = f;
    q->df = isfinite(df) ? df : NAN;
    q->slope = isfinite(df);
    q->finite = isfinite(f) && (q->slope || !q->want_slope);
    q->bad += !q->finite;
}

int fo_search_advance(fo_search *q, double f, double df)
{
    if (q->result != FO_SEARCH_EVALUATE) return q->result;
    if (q->resume) {
        take(q, f, df);
        if (f == -INFINITY) return failed(q, FO_WHY_UNBOUNDED);
    }
    else if (!(q->df0 < 0 && q->first > 0 && isfinite(q->f0) && isfinite(q->df0) && isfinite(q->first)))
        return failed(q, FO_WHY_NO_DESCENT);
    int result = searches[q->kind].machine(q);
    if (result != FO_SEARCH_EVALUATE) return result;
    if (q->trials >= q->max_trials) return failed(q, q->bad == q->trials ? FO_WHY_NOT_FINITE : FO_WHY_TRIALS);
    double next = fmin(q->next, q->most);
    if (!(next > 0 && next >= q->min_alpha) || next == q->alpha)
        return q->bad == q->trials ? failed(q, FO_WHY_NOT_FINITE) : collapse(q);
    q->alpha = next;
    q->trials++;
    return FO_SEARCH_EVALUATE;
}
