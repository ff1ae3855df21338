/* pairs.h: passes over the pairs of L-BFGS, a block of FO_BLOCK elements at a time. Included once a width.
 *
 * Pairs lie in tiles: up to PAIRS_TILE elements of s_0, then of y_0, s_1, ... y_(m-1), then the next tile. So a pass that needs all
 * pairs walks memory from one end to the other, and the tile of the vector they meet stays in the first cache. Rows are
 * padded with zeros to a multiple of 16, so sums have no tails. Sums as in reduce.h, one fold a tile. Measured at n = 1e6, m = 10, against
 * whole vectors one after the other: the measuring pass takes 6 to 10 % less, the combination the same, the two loops 40 % more.
 */
static inline REAL *FN(pairs_row)(const fo_pairs_job *job, fo_tile t, int row)
{
    return (REAL *)job->rows + t.number * job->at->tile + row * job->at->row;
}

/* v[len] as doubles, padded with zeros: where it lies, or in the buffer. */
static inline const double *FN(as_doubles)(const REAL *v, double *buffer, ptrdiff_t len, ptrdiff_t padded)
{
#if !NARROW
    if (len == padded) return v;
#endif
    for (ptrdiff_t i = 0; i < len; i++) buffer[i] = (double)v[i];
    for (ptrdiff_t i = len; i < padded; i++) buffer[i] = 0;
    return buffer;
}

/* acc += sum of c[r] row_r for the two rows of a slot, or the four of two slots: several rows at once for the sake of memory. */
static FO_NOINLINE void FN(add_rows)(double *restrict acc, const REAL *restrict r, ptrdiff_t apart, const double *c, int slots, ptrdiff_t n)
{
    const REAL *restrict r1 = r + apart;
    if (slots == 2) {
        const REAL *restrict r2 = r1 + apart, *restrict r3 = r2 + apart;
        for (ptrdiff_t i = 0; i < n; i++)
            acc[i] += (c[0] * (double)r[i] + c[1] * (double)r1[i]) + (c[2] * (double)r2[i] + c[3] * (double)r3[i]);
    }
    else
        for (ptrdiff_t i = 0; i < n; i++) acc[i] += c[0] * (double)r[i] + c[1] * (double)r1[i];
}

/* Lanes of r'a and r'b: the row is read once. n is a multiple of 16, as in all that follow. Not inlined: seen together with the fold, gcc
 * orders the lanes by its needs. */
static FO_NOINLINE void FN(two_dots)(FN(lanes) *restrict ra, FN(lanes) *restrict rb, const REAL *restrict r, const double *restrict a,
                                     const double *restrict b, ptrdiff_t n)
{
    FN(lanes) u = { { 0 } }, v = { { 0 } };
    for (ptrdiff_t i = 0; i < n; i += 16) {
        for (int j = 0; j < 16; j++) u.v[j] += (double)r[i + j] * a[i + j];
        for (int j = 0; j < 16; j++) v.v[j] += (double)r[i + j] * b[i + j];
        FO_LANES_STAY;
    }
    *ra = u;
    *rb = v;
}
static FO_NOINLINE void FN(one_dot)(FN(lanes) *restrict ra, const REAL *restrict r, const double *restrict a, ptrdiff_t n)
{
    FN(lanes) u = { { 0 } };
    for (ptrdiff_t i = 0; i < n; i += 16) {
        for (int j = 0; j < 16; j++) u.v[j] += (double)r[i + j] * a[i + j];
        FO_LANES_STAY;
    }
    *ra = u;
}

#ifndef FOR_TILES
#define FOR_TILES(t, n, block)                                                                                            \
    for (fo_tile t = fo_tile_at(n, (block) * PAIRS_TILES); t.len > 0 && t.number < ((block) + 1) * PAIRS_TILES;           \
         t = fo_tile_at(n, t.number + 1))
#endif

/* Makes the new pair in its slot, and the products of gt and y with every pair. Partial sums: for each row r'gt, r'y; then s's, gt'gt,
 * max |gt|. */
static void FN(pairs_measure)(const fo_pairs_job *job, ptrdiff_t block)
{
    const ptrdiff_t n = job->at->n;
    const int fresh = 2 * job->at->head, rows = 2 * (job->at->count + 1);
    double *sums = job->partial + block * job->stride, g_buffer[PAIRS_TILE], y_buffer[PAIRS_TILE];
    for (int k = 0; k < 2 * rows + 3; k++) sums[k] = 0;
    double *more = sums + 2 * rows;
    FOR_TILES(t, n, block) {
        REAL *restrict s = FN(pairs_row)(job, t, fresh), *restrict y = FN(pairs_row)(job, t, fresh + 1);
        const REAL *gt = (const REAL *)job->gt + t.start;
        if (job->x) {
            const REAL *x = (const REAL *)job->x + t.start, *xt = (const REAL *)job->xt + t.start, *g = (const REAL *)job->g + t.start;
            for (ptrdiff_t i = 0; i < t.len; i++) {
                s[i] = xt[i] - x[i];
                y[i] = gt[i] - g[i];
            }
            for (ptrdiff_t i = t.len; i < t.padded; i++) s[i] = y[i] = 0;
        }
        else
            for (ptrdiff_t i = 0; i < t.padded; i++) y[i] = (REAL)(job->keep * (double)y[i] + job->blend * (double)s[i]);
        const double *gd = FN(as_doubles)(gt, g_buffer, t.len, t.padded), *yd = FN(as_doubles)(y, y_buffer, t.padded, t.padded);
        for (int r = 0; r < rows; r++) {
            FN(lanes) with_g, with_y;
            FN(two_dots)(&with_g, &with_y, FN(pairs_row)(job, t, r), gd, yd, t.padded);
            sums[2 * r] += FN(fold)(&with_g);
            sums[2 * r + 1] += FN(fold)(&with_y);
        }
        FN(lanes) ss = { { 0 } };
        FN(dot_into)(&ss, s, s, 1, 1, t.padded);
        more[0] += FN(fold)(&ss);
        FN(lanes) gg = { { 0 } };
        FN(dot_into)(&gg, gt, gt, 1, 1, t.len);
        more[1] += FN(fold)(&gg);
        const double m = (double)FN(largest)(gt, t.len);
        more[2] = m > more[2] ? m : more[2];
    }
}

/* The products of v with every pair: a sum for each row. */
static void FN(pairs_products)(const fo_pairs_job *job, ptrdiff_t block)
{
    const ptrdiff_t n = job->at->n;
    double *sums = job->partial + block * job->stride, buffer[PAIRS_TILE];
    for (int r = 0; r < job->rows_used; r++) sums[r] = 0;
    FOR_TILES(t, n, block) {
        const double *v = FN(as_doubles)((const REAL *)job->gt + t.start, buffer, t.len, t.padded);
        for (int r = 0; r < job->rows_used; r++) {
            if (r / 2 == job->skip) continue;
            FN(lanes) with_v;
            FN(one_dot)(&with_v, FN(pairs_row)(job, t, r), v, t.padded);
            sums[r] += FN(fold)(&with_v);
        }
    }
}

/* out = c_v v + sum of c[r] row_r; the partial sum is v'out. */
static void FN(pairs_combine)(const fo_pairs_job *job, ptrdiff_t block)
{
    const ptrdiff_t n = job->at->n;
    double buffer[PAIRS_TILE], acc[PAIRS_TILE], sum = 0;
    FOR_TILES(t, n, block) {
        const double *restrict v = FN(as_doubles)((const REAL *)job->gt + t.start, buffer, t.len, t.padded);
        for (ptrdiff_t i = 0; i < t.padded; i++) acc[i] = job->scale * v[i];
        for (int k = 0, slots; k < job->rows_used / 2; k += slots) {
            slots = k + 1 < job->rows_used / 2 && k + 1 != job->skip ? 2 : 1;
            if (k == job->skip) slots = 1;
            else FN(add_rows)(acc, FN(pairs_row)(job, t, 2 * k), job->at->row, job->c + 2 * k, slots, t.padded);
        }
        REAL *restrict out = (REAL *)job->out + t.start;
        for (ptrdiff_t i = 0; i < t.len; i++) out[i] = (REAL)acc[i];
        FN(lanes) dot = { { 0 } };
        FN(dot_into)(&dot, (const REAL *)job->gt + t.start, out, 1, 1, t.len);
        sum += FN(fold)(&dot);
    }
    job->partial[block * job->stride] = sum;
}

/* One pass of the two loops: out = scale (v + c row_add), then the partial sum out'row_dot. v may be out; row -1: none, and gt in place of
 * row_dot. */
static void FN(pairs_sweep)(const fo_pairs_job *job, ptrdiff_t block)
{
    const ptrdiff_t n = job->at->n;
    double sum = 0;
    FOR_TILES(t, n, block) {
        const REAL *v = (const REAL *)job->x + t.start;
        REAL *out = (REAL *)job->out + t.start;
        const REAL scale = (REAL)job->scale, c = (REAL)job->keep;
        if (job->add >= 0) {
            const REAL *row = FN(pairs_row)(job, t, job->add);
            for (ptrdiff_t i = 0; i < t.len; i++) out[i] = scale * (v[i] + c * row[i]);
        }
        else for (ptrdiff_t i = 0; i < t.len; i++) out[i] = scale * v[i];
        const REAL *with = job->dot >= 0 ? FN(pairs_row)(job, t, job->dot) : (const REAL *)job->gt + t.start;
        FN(lanes) dot = { { 0 } };
        FN(dot_into)(&dot, out, with, 1, 1, t.len);
        sum += FN(fold)(&dot);
    }
    job->partial[block * job->stride] = sum;
}

/* Copies a row to out. */
static void FN(pairs_copy)(const fo_pairs_job *job, ptrdiff_t block)
{
    const ptrdiff_t n = job->at->n;
    FOR_TILES(t, n, block) {
        memcpy((REAL *)job->out + t.start, FN(pairs_row)(job, t, job->add), (size_t)t.len * sizeof(REAL));
    }
}
