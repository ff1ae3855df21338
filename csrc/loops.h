/* loops.h: the array loop around a rule, and the walk over blocks. Included once a width, after rules.h and reduce.h.
 *
 * A block is FO_BLOCK consecutive elements of one tensor (its last may be shorter). Where a step asks for more than the bare rule
 * (decay, clipping by value, averages, sums, strided arrays), a block is walked in tiles that stay in the first-level
 * cache, so that memory is still read and written once.
 */

static inline REAL FN(cut)(REAL x, REAL c) { return x > c ? c : x < -c ? -c : x; }      /* NaN stays NaN */

/* What a loop does besides the rule: nothing; count the elements of g that are Inf or NaN; count, cut g to [-clip, clip] and add
 * decay p to it; or count and move an average of p. */
enum { FN(BARE), FN(COUNTING), FN(SHAPED), FN(AVERAGING), FN(KINDS) };
typedef struct { REAL keep, scale, clip, decay, average; } FN(shape);

/* The loops: p and states in place, g read only; no two arrays overlap; n <= FO_BLOCK, so the count fits. */
#define RULE(name, states, state_names, hyper_names, scalar_names)                                                          \
    static inline UINT FN(name##_body)(const REAL *coefs, FN(shape) f, REAL *restrict p, const REAL *restrict g,            \
                                       REAL *restrict s0, REAL *restrict s1, REAL *restrict s2, REAL *restrict avg,         \
                                       ptrdiff_t n, int kind)                                                               \
    {                                                                                                                       \
        const FN(name##_k) k = *(const FN(name##_k) *)coefs;        /* REAL members only: the array, by name */             \
        UINT bad = 0;                                                                                                       \
        for (ptrdiff_t i = 0; i < n; i++) {                                                                                 \
            FN(cell) x = { f.keep * p[i], f.scale * g[i], (states) > 0 ? s0[i] : 0, (states) > 1 ? s1[i] : 0,               \
                           (states) > 2 ? s2[i] : 0 };                                                                      \
            if (kind != FN(BARE)) bad += FN(is_nonfinite)(g[i]);                                                            \
            if (kind == FN(SHAPED)) x.g = FN(cut)(x.g, f.clip) + f.decay * p[i];                                            \
            x = FN(name)(x, k);                                                                                             \
            p[i] = x.p;                                                                                                     \
            if ((states) > 0) s0[i] = x.s0;                                                                                 \
            if ((states) > 1) s1[i] = x.s1;                                                                                 \
            if ((states) > 2) s2[i] = x.s2;                                                                                 \
            if (kind == FN(AVERAGING)) avg[i] = FN(mean)(avg[i], x.p, f.average);                                           \
        }                                                                                                                   \
        (void)s0; (void)s1; (void)s2;                                                                                       \
        return bad;                                                                                                         \
    }                                                                                                                       \
    KIND(name, bare, FN(BARE)) KIND(name, counting, FN(COUNTING)) KIND(name, shaped, FN(SHAPED))                            \
    KIND(name, averaging, FN(AVERAGING))
#define KIND(name, word, kind)                                                                                              \
    static UINT FN(name##_##word)(const REAL *coefs, FN(shape) f, REAL *restrict p, const REAL *restrict g,                 \
                                  REAL *restrict s0, REAL *restrict s1, REAL *restrict s2, REAL *restrict avg, ptrdiff_t n) \
    {                                                                                                                       \
        return FN(name##_body)(coefs, f, p, g, s0, s1, s2, avg, n, kind);                                                   \
    }
#include "rules.def"
#undef RULE
#undef KIND

typedef UINT (*FN(rule_loop))(const REAL *, FN(shape), REAL *, const REAL *, REAL *, REAL *, REAL *, REAL *, ptrdiff_t);
static const FN(rule_loop) FN(rule_loops)[FO_RULES][FN(KINDS)] = {
#define RULE(name, states, state_names, hyper_names, scalar_names)                                                          \
    { FN(name##_bare), FN(name##_counting), FN(name##_shaped), FN(name##_averaging) },
#include "rules.def"
#undef RULE
};

/* out = cut(scale g) + decay p */
static void FN(shape_gradient)(REAL *restrict out, const REAL *restrict g, const REAL *restrict p, REAL scale, REAL clip,
                               REAL decay, ptrdiff_t n)
{
    if (decay != 0)
        for (ptrdiff_t i = 0; i < n; i++) out[i] = FN(cut)(scale * g[i], clip) + decay * p[i];
    else
        for (ptrdiff_t i = 0; i < n; i++) out[i] = FN(cut)(scale * g[i], clip);
}

static void FN(move_average)(REAL *restrict avg, const REAL *restrict p, REAL c, ptrdiff_t n)
{
    if (c == 1) memcpy(avg, p, (size_t)n * sizeof(REAL));       /* also where the average held garbage before */
    else
        for (ptrdiff_t i = 0; i < n; i++) avg[i] = FN(mean)(avg[i], p[i], c);
}

/* The same as step_block below, for everything that a bare loop does not do; a tile stays in the first-level cache between
 * the stages. Apart from it, so that small steps do not pay for its stack. */
static void FN(step_tiles)(const fo_job *job, const fo_tensor *t, ptrdiff_t block, ptrdiff_t start, ptrdiff_t n)
{
    const fo_group *group = &job->groups[t->group];
    const FN(shape) f = { (REAL)group->keep, (REAL)job->scale, (REAL)job->clip, (REAL)group->decay, (REAL)job->average };
    FN(shape) left = f;                                 /* what the loop still has to do */
    const int sums = job->flags & FO_STATS, zero = job->flags & FO_ZERO_GRADS, count = job->flags & FO_COUNT_NONFINITE;
    const FN(rule_loop) loop = FN(rule_loops)[job->rule][FN(BARE)];
    const int shaped = f.decay != 0 || f.clip < (REAL)INFINITY;
    if (shaped) left.scale = 1;
    _Alignas(64) REAL p_tile[FN(TILE)], g_tile[FN(TILE)], made[FN(TILE)], old[FN(TILE)], old_m[FN(TILE)];
    FN(lanes) gg = { { 0 } }, pp = { { 0 } }, uu = { { 0 } }, mm = { { 0 } }, gm = { { 0 } };
    int64_t bad = 0;

    for (ptrdiff_t at = start, end = start + n, len; at < end; at += len) {
        len = end - at < FN(TILE) ? end - at : FN(TILE);
        const size_t bytes = (size_t)len * sizeof(REAL);
        REAL *s[FO_MAX_STATES], *p = p_tile;
        for (int i = 0; i < FO_MAX_STATES; i++) s[i] = t->s[i] ? (REAL *)t->s[i] + at : NULL;
        const REAL *g = FN(read_gradient)(t, g_tile, at, len), *m = job->momentum >= 0 ? s[job->momentum] : NULL;
        if (t->p_at) FN(gather)(p_tile, t->p, t->p_at, at, len);
        else p = (REAL *)t->p + at;
        /* Stages read one stream after the other: without a hint each would wait for the first lines of its next page. */
        for (ptrdiff_t line = 0; line < 4; line++) {
            const ptrdiff_t ahead = at + len + line * (ptrdiff_t)(64 / sizeof(REAL));
            if (ahead >= end) break;
            if (!t->p_at) FO_PREFETCH((REAL *)t->p + ahead);
            if (!t->g_at) FO_PREFETCH((REAL *)t->g + ahead);
            for (int i = 0; i < FO_MAX_STATES; i++)
                if (t->s[i]) FO_PREFETCH((REAL *)t->s[i] + ahead);
            if (job->flags & FO_AVERAGE) FO_PREFETCH((REAL *)t->avg + ahead);
        }
        if (count) bad += FN(nonfinite)(g, len);

        if (shaped) {
            FN(shape_gradient)(made, g, p, f.scale, f.clip, f.decay, len);
            g = made;
        }
        if (sums) {
            memcpy(old, p, bytes);
            FN(dot_into)(&gg, g, g, left.scale, left.scale, len);
            if (m) {
                memcpy(old_m, m, bytes);
                FN(dot_into)(&mm, old_m, old_m, 1, 1, len);
                FN(dot_into)(&gm, g, old_m, left.scale, 1, len);
            }
        }
        loop(group->FN(k), left, p, g, s[0], s[1], s[2], NULL, len);
        if (sums) {
            for (ptrdiff_t i = 0; i < len; i++) old[i] = p[i] - old[i];
            FN(dot_into)(&pp, p, p, 1, 1, len);
            FN(dot_into)(&uu, old, old, 1, 1, len);
        }
        if (job->flags & FO_AVERAGE) FN(move_average)((REAL *)t->avg + at, p, f.average, len);
        if (t->p_at) FN(scatter)(t->p, t->p_at, p_tile, at, len);
        if (zero && t->g_at) {
            memset(g_tile, 0, bytes);
            FN(scatter)(t->g, t->g_at, g_tile, at, len);
        } else if (zero) memset((REAL *)t->g + at, 0, bytes);
    }
    if (count) job->nonfinite[block] = bad;
    if (sums) job->sums[block] = (fo_sums){ FN(fold)(&gg), FN(fold)(&pp), FN(fold)(&uu), FN(fold)(&mm), FN(fold)(&gm) };
}

/* Walks [start, start + n) of one tensor, all of it inside one block. */
static void FN(step_block)(const fo_job *job, const fo_tensor *t, ptrdiff_t block, ptrdiff_t start, ptrdiff_t n)
{
    const fo_group *group = &job->groups[t->group];
    const FN(shape) f = { (REAL)group->keep, (REAL)job->scale, (REAL)job->clip, (REAL)group->decay, (REAL)job->average };
    const int count = job->flags & FO_COUNT_NONFINITE, decays = f.decay != 0, averages = job->flags & FO_AVERAGE;
    const int kind = decays ? FN(SHAPED) : averages ? FN(AVERAGING) : count ? FN(COUNTING) : FN(BARE);
    /* For the tiles: what has no loop of its own; cutting without decay, since a decay of 0 would make NaN of an infinite parameter; and
     * an average that is to be a copy, which a + 1 (p - a) is not to the last bit. */
    if (t->p_at || t->g_at || (!decays && job->clip < INFINITY) || (averages && (decays || job->average == 1))
        || job->flags & ~(FO_COUNT_NONFINITE | FO_FLUSH | FO_AVERAGE)) {
        FN(step_tiles)(job, t, block, start, n);
        return;
    }
    REAL *s[FO_MAX_STATES];
    for (int i = 0; i < FO_MAX_STATES; i++) s[i] = t->s[i] ? (REAL *)t->s[i] + start : NULL;
    UINT bad = FN(rule_loops)[job->rule][kind](group->FN(k), f, (REAL *)t->p + start, (const REAL *)t->g + start, s[0], s[1], s[2],
                                               averages ? (REAL *)t->avg + start : NULL, n);
    if (count) job->nonfinite[block] = (int64_t)bad;
}
