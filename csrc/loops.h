/* loops.h: the array loop around a rule, and the walk over blocks. Included once a width, after rules.h and reduce.h.
 *
 * A block is FO_BLOCK consecutive elements of one tensor (its last may be shorter). Where a step asks for more than the bare rule
 * (decay, clipping by value, averages, sums, strided arrays), a block is walked in tiles that stay in the first-level
 * cache, so that memory is still read and written once.
 */

/* The bare loops: p and states in place, g read only; no two arrays overlap. */
#define RULE(name, states, state_names, hyper_names, scalar_names)                                                          \
    static void FN(name##_loop)(const REAL *coefs, REAL keep, REAL scale, REAL *restrict p, const REAL *restrict g,         \
                                REAL *restrict s0, REAL *restrict s1, REAL *restrict s2, ptrdiff_t n)                       \
    {                                                                                                                       \
        FN(name##_k) k;                                                                                                     \
        memcpy(&k, coefs, sizeof k);                                                                                        \
        for (ptrdiff_t i = 0; i < n; i++) {                                                                                 \
            FN(cell) x = { keep * p[i], scale * g[i], (states) > 0 ? s0[i] : 0, (states) > 1 ? s1[i] : 0,                   \
                           (states) > 2 ? s2[i] : 0 };                                                                      \
            x = FN(name)(x, k);                                                                                             \
            p[i] = x.p;                                                                                                     \
            if ((states) > 0) s0[i] = x.s0;                                                                                 \
            if ((states) > 1) s1[i] = x.s1;                                                                                 \
            if ((states) > 2) s2[i] = x.s2;                                                                                 \
        }                                                                                                                   \
        (void)s0; (void)s1; (void)s2;                                                                                       \
    }
#include "rules.def"
#undef RULE

typedef void (*FN(rule_loop))(const REAL *, REAL, REAL, REAL *, const REAL *, REAL *, REAL *, REAL *, ptrdiff_t);
static const FN(rule_loop) FN(rule_loops)[FO_RULES] = {
#define RULE(name, states, state_names, hyper_names, scalar_names) FN(name##_loop),
#include "rules.def"
#undef RULE
};

static inline REAL FN(cut)(REAL x, REAL c) { return x > c ? c : x < -c ? -c : x; }      /* NaN stays NaN */

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
        for (ptrdiff_t i = 0; i < n; i++) avg[i] += c * (p[i] - avg[i]);
}

/* Walks [start, start + n) of one tensor, all of it inside one block. */
static void FN(step_block)(const fo_job *job, const fo_tensor *t, ptrdiff_t block, ptrdiff_t start, ptrdiff_t n)
{
    const fo_group *group = &job->groups[t->group];
    const REAL *coefs = group->FN(k);
    REAL *s[FO_MAX_STATES];
    for (int i = 0; i < FO_MAX_STATES; i++) s[i] = t->s[i] ? (REAL *)t->s[i] + start : NULL;
    REAL *avg = job->flags & FO_AVERAGE ? (REAL *)t->avg + start : NULL;
    const REAL keep = (REAL)group->keep, decay = (REAL)group->decay, scale = (REAL)job->scale, clip = (REAL)job->clip;
    FN(rule_loop) loop = FN(rule_loops)[job->rule];
    const int shaped = decay != 0 || clip < (REAL)INFINITY, sums = job->flags & FO_STATS, zero = job->flags & FO_ZERO_GRADS;
    const int count = job->flags & FO_COUNT_NONFINITE;

    if (!(t->p_at || t->g_at || shaped || avg || sums || zero)) {
        const REAL *g = (const REAL *)t->g + start;
        if (count) job->nonfinite[block] = FN(nonfinite)(g, n);
        loop(coefs, keep, scale, (REAL *)t->p + start, g, s[0], s[1], s[2], n);
        return;
    }

    enum { TILE = 1024 };
    _Alignas(64) REAL p_tile[TILE], g_tile[TILE], shaped_g[TILE], old[TILE], old_m[TILE];
    FN(lanes) gg = { { 0 } }, pp = { { 0 } }, uu = { { 0 } }, mm = { { 0 } }, gm = { { 0 } };
    int64_t bad = 0;
    for (ptrdiff_t done = 0; done < n; done += TILE) {
        const ptrdiff_t len = n - done < TILE ? n - done : TILE, at = start + done;
        REAL *p = (REAL *)t->p + at, *m = job->momentum >= 0 ? s[job->momentum] : NULL;
        const REAL *g = (const REAL *)t->g + at;
        if (t->p_at) FN(gather)(p = p_tile, t->p, t->p_at, at, len);
        if (t->g_at) {
            FN(gather)(g_tile, t->g, t->g_at, at, len);
            g = g_tile;
        }
        if (count) bad += FN(nonfinite)(g, len);
        REAL left = scale;
        if (shaped) {
            FN(shape_gradient)(shaped_g, g, p, scale, clip, decay, len);
            g = shaped_g;
            left = 1;
        }
        if (sums) {
            memcpy(old, p, (size_t)len * sizeof(REAL));
            if (m) memcpy(old_m, m, (size_t)len * sizeof(REAL));
            FN(dot_into)(&gg, g, g, left, left, len);
            if (m) {
                FN(dot_into)(&mm, old_m, old_m, 1, 1, len);
                FN(dot_into)(&gm, g, old_m, left, 1, len);
            }
        }
        loop(coefs, keep, left, p, g, s[0], s[1], s[2], len);
        if (sums) {
            FN(dot_into)(&pp, p, p, 1, 1, len);
            for (ptrdiff_t i = 0; i < len; i++) old[i] = p[i] - old[i];
            FN(dot_into)(&uu, old, old, 1, 1, len);
        }
        if (avg) FN(move_average)(avg + done, p, (REAL)job->average, len);
        if (t->p_at) FN(scatter)(t->p, t->p_at, p_tile, at, len);
        if (zero) {
            if (t->g_at) {
                memset(g_tile, 0, (size_t)len * sizeof(REAL));
                FN(scatter)(t->g, t->g_at, g_tile, at, len);
            } else memset((REAL *)t->g + at, 0, (size_t)len * sizeof(REAL));
        }
        for (int i = 0; i < FO_MAX_STATES; i++) s[i] = s[i] ? s[i] + len : NULL;
    }
    if (count) job->nonfinite[block] = bad;
    if (sums) job->sums[block] = (fo_sums){ FN(fold)(&gg), FN(fold)(&pp), FN(fold)(&uu), FN(fold)(&mm), FN(fold)(&gm) };
}
