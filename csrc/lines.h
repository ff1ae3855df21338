/* lines.h: what solvers do to whole vectors: sums over one pass, and combinations. Included once a width, after reduce.h.
 *
 * Each works on one block of at most FO_BLOCK elements from `start` on. Products and sums are taken in double and rounded once where
 * they are stored, so that a float vector loses nothing to the scalars that steer it.
 */

/* The sum of up to 4 terms, the rest 0: the additions of fold() without its zeros. */
static inline double FN(few)(const double *v) { return (v[0] + v[2]) + (v[1] + v[3]); }

#define LANE_LOOP(body)                                                                                                     \
    do {                                                                                                                    \
        ptrdiff_t i0 = 0;                                                                                                   \
        for (; i0 + 16 <= n; i0 += 16)                                                                                      \
            for (int j = 0; j < 16; j++) { const ptrdiff_t i = i0 + j; body }                                               \
        for (int j = 0; i0 + j < n; j++) { const ptrdiff_t i = i0 + j; body }                                               \
    } while (0)

/* sums[0] = x.y */
static void FN(line_dot)(const fo_lines *a, ptrdiff_t start, ptrdiff_t n, double *sums)
{
    const REAL *x = (const REAL *)a->x + start, *y = (const REAL *)a->y + start;
    if (n <= 4) {
        double v[4] = { 0 };
        for (ptrdiff_t i = 0; i < n; i++) v[i] = (double)x[i] * (double)y[i];
        sums[0] = FN(few)(v);
        return;
    }
    FN(lanes) acc = { { 0 } };
    LANE_LOOP(acc.v[j] += (double)x[i] * (double)y[i];);
    sums[0] = FN(fold)(&acc);
}

/* sums[0] = x.x, sums[1] = the largest |x|, NaN if an element is NaN */
static void FN(line_norms)(const fo_lines *a, ptrdiff_t start, ptrdiff_t n, double *sums)
{
    const REAL *x = (const REAL *)a->x + start;
    if (n <= 4) {
        double v[4] = { 0 };
        REAL top = 0;
        for (ptrdiff_t i = 0; i < n; i++) {
            v[i] = (double)x[i] * (double)x[i];
            top = FABS(x[i]) > top ? FABS(x[i]) : top;
        }
        sums[0] = FN(few)(v);
        sums[1] = sums[0] == sums[0] ? (double)top : sums[0];
        return;
    }
    FN(lanes) acc = { { 0 } };
    REAL m[16] = { 0 };
    LANE_LOOP(acc.v[j] += (double)x[i] * (double)x[i]; m[j] = FABS(x[i]) > m[j] ? FABS(x[i]) : m[j];);
    for (int j = 1; j < 16; j++) m[0] = m[j] > m[0] ? m[j] : m[0];
    sums[0] = FN(fold)(&acc);
    sums[1] = sums[0] == sums[0] ? (double)m[0] : sums[0];              /* a square is NaN exactly where the element is */
}

/* out = x + a y; sums[0] > 0 if any element differs from x's, sums[1] > 0 if any differs from what out held. out overlaps neither. */
static void FN(line_step)(const fo_lines *a, ptrdiff_t start, ptrdiff_t n, double *sums)
{
    const REAL *restrict x = (const REAL *)a->x + start, *restrict y = (const REAL *)a->y + start;
    REAL *restrict out = (REAL *)a->out + start;
    const double c = a->a;
    int moved = 0, changed = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL v = (REAL)((double)x[i] + c * (double)y[i]);
        moved |= v != x[i];
        changed |= v != out[i];
        out[i] = v;
    }
    sums[0] = moved;
    sums[1] = changed;
}

/* out = a x + b y; out may be x or y. */
static void FN(line_combine)(const fo_lines *a, ptrdiff_t start, ptrdiff_t n, double *sums)
{
    const REAL *x = (const REAL *)a->x + start, *y = (const REAL *)a->y + start;
    REAL *out = (REAL *)a->out + start;
    const double c = a->a, d = a->b;
    for (ptrdiff_t i = 0; i < n; i++) out[i] = (REAL)(c * (double)x[i] + d * (double)y[i]);
    (void)sums;
}

/* s = xt - x and y = gt - g with x, y, z, w = x, xt, g, gt; stored in out and out2 where these are not NULL.
 * sums: s.y, y.y, s.s, gt.gt, s.gt, y.gt */
static void FN(line_pair)(const fo_lines *a, ptrdiff_t start, ptrdiff_t n, double *sums)
{
    const REAL *x = (const REAL *)a->x + start, *xt = (const REAL *)a->y + start, *g = (const REAL *)a->z + start,
               *gt = (const REAL *)a->w + start;
    REAL *s = a->out ? (REAL *)a->out + start : NULL, *y = a->out2 ? (REAL *)a->out2 + start : NULL;
    if (n <= 4) {
        double v[FO_PAIR_SUMS][4] = { { 0 } };
        for (ptrdiff_t i = 0; i < n; i++) {
            REAL si = xt[i] - x[i], yi = gt[i] - g[i];
            double ds = (double)si, dy = (double)yi, dg = (double)gt[i];
            v[0][i] = ds * dy; v[1][i] = dy * dy; v[2][i] = ds * ds; v[3][i] = dg * dg; v[4][i] = ds * dg; v[5][i] = dy * dg;
            if (s) s[i] = si;
            if (y) y[i] = yi;
        }
        for (int k = 0; k < FO_PAIR_SUMS; k++) sums[k] = FN(few)(v[k]);
        return;
    }
    REAL ts[FN(TILE)], ty[FN(TILE)];
    FN(lanes) acc[FO_PAIR_SUMS] = { { { 0 } } };
    for (ptrdiff_t done = 0; done < n; done += FN(TILE)) {
        ptrdiff_t len = n - done < FN(TILE) ? n - done : FN(TILE);
        const REAL *q = gt + done;
        for (ptrdiff_t i = 0; i < len; i++) {
            ts[i] = xt[done + i] - x[done + i];
            ty[i] = q[i] - g[done + i];
        }
        FN(dot_into)(&acc[0], ts, ty, 1, 1, len);
        FN(dot_into)(&acc[1], ty, ty, 1, 1, len);
        FN(dot_into)(&acc[2], ts, ts, 1, 1, len);
        FN(dot_into)(&acc[3], q, q, 1, 1, len);
        FN(dot_into)(&acc[4], ts, q, 1, 1, len);
        FN(dot_into)(&acc[5], ty, q, 1, 1, len);
        if (s) memcpy(s + done, ts, (size_t)len * sizeof *s);
        if (y) memcpy(y + done, ty, (size_t)len * sizeof *y);
    }
    for (int k = 0; k < FO_PAIR_SUMS; k++) sums[k] = FN(fold)(&acc[k]);
}
#undef LANE_LOOP

static inline void FN(lines)(const fo_lines *a, ptrdiff_t start, ptrdiff_t n, double *sums)
{
    switch (a->op) {
    case FO_LINE_DOT: FN(line_dot)(a, start, n, sums); break;
    case FO_LINE_NORMS: FN(line_norms)(a, start, n, sums); break;
    case FO_LINE_STEP: FN(line_step)(a, start, n, sums); break;
    case FO_LINE_COMBINE: FN(line_combine)(a, start, n, sums); break;
    case FO_LINE_PAIR: FN(line_pair)(a, start, n, sums); break;
    }
}
