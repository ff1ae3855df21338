/* reduce.h: sums in a fixed order, and reading and writing strided arrays in tiles. Included once a width.
 *
 * A sum keeps 16 running lanes in double: element i of a block goes to lane i mod 16, lanes are folded as a tree. So the
 * bits do not depend on the width of the vectors that the compiler chose, nor on how a block was cut into tiles of
 * a multiple of 64 elements.
 */
typedef struct { double v[16]; } FN(lanes);

/* Adds (cx x[i]) (cy y[i]) lane by lane; the products are rounded in double. */
static void FN(dot_into)(FN(lanes) *acc, const REAL *x, const REAL *y, REAL cx, REAL cy, ptrdiff_t n)
{
    FN(lanes) a = *acc;
    ptrdiff_t i = 0;
    for (; i + 16 <= n; i += 16) {
        for (int j = 0; j < 16; j++) a.v[j] += (double)(cx * x[i + j]) * (double)(cy * y[i + j]);
        FO_LANES_STAY;
    }
    for (int j = 0; i + j < n; j++) a.v[j] += (double)(cx * x[i + j]) * (double)(cy * y[i + j]);
    *acc = a;
}

/* Adds the squares of x[i]: the one read pass that a guarded step pays for, so it runs at the speed of loads. For float, four squares are
 * added in float before they go to their lane (converting each would take twice the time of reading it): at most 3 ulp of float
 * off, while squares stay in float's range; squares_block looks after the rest by asking for `wide`. */
static inline void FN(squares_into)(FN(lanes) *acc, const REAL *x, ptrdiff_t n, int wide)
{
    FN(lanes) a = *acc;
    ptrdiff_t i = 0;
    if (!wide)
        for (; i + 64 <= n; i += 64)
            for (int j = 0; j < 16; j++) {
                const REAL *y = x + i + j;
                a.v[j] += (double)((y[0] * y[0] + y[16] * y[16]) + (y[32] * y[32] + y[48] * y[48]));
            }
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) {
            double d = (double)x[i + j];
            a.v[j] += d * d;
        }
    for (int j = 0; i + j < n; j++) {
        double d = (double)x[i + j];
        a.v[j] += d * d;
    }
    *acc = a;
}

static inline double FN(fold)(const FN(lanes) *acc)
{
    const double *v = acc->v;
    double a[8], b[4];
    for (int j = 0; j < 8; j++) a[j] = v[j] + v[j + 8];
    for (int j = 0; j < 4; j++) b[j] = a[j] + a[j + 4];
    return (b[0] + b[2]) + (b[1] + b[3]);
}

/* The largest magnitude; NaN counts as 0. */
static REAL FN(largest)(const REAL *x, ptrdiff_t n)
{
    REAL m[16] = { 0 };
    ptrdiff_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) m[j] = FABS(x[i + j]) > m[j] ? FABS(x[i + j]) : m[j];
    for (int j = 0; i + j < n; j++) m[j] = FABS(x[i + j]) > m[j] ? FABS(x[i + j]) : m[j];
    for (int j = 1; j < 16; j++) m[0] = m[j] > m[0] ? m[j] : m[0];
    return m[0];
}

static inline UINT FN(bits)(REAL x)
{
    UINT bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
/* Inf or NaN: all exponent bits are set. */
static inline UINT FN(is_nonfinite)(REAL x) { return (FN(bits)(x) & EXPONENT) == EXPONENT; }

static int64_t FN(nonfinite)(const REAL *x, ptrdiff_t n)
{
    UINT bad = 0;                                       /* n <= FO_BLOCK: no overflow */
    for (ptrdiff_t i = 0; i < n; i++) bad += FN(is_nonfinite)(x[i]);
    return (int64_t)bad;
}

/* Walks len elements of a strided array from the start-th in C order, one run along the last axis at a time. memcpy, since an array
 * may lie at any byte. */
static void FN(strided)(char *base, const fo_layout *at, REAL *tile, ptrdiff_t start, ptrdiff_t len, int write)
{
    ptrdiff_t index[FO_MAX_DIMS], rest = start, offset = 0;
    const int last = at->nd - 1;
    for (int d = last; d >= 0; d--) {
        index[d] = rest % at->shape[d];
        rest /= at->shape[d];
        offset += index[d] * at->strides[d];
    }
    if (last < 0) {                                     /* a 0-d array that is not aligned */
        if (write) memcpy(base, tile, sizeof *tile);
        else memcpy(tile, base, sizeof *tile);
        return;
    }
    const ptrdiff_t stride = at->strides[last];
    while (len > 0) {
        ptrdiff_t run = at->shape[last] - index[last];
        if (run > len) run = len;
        char *x = base + offset;
        if (write) for (ptrdiff_t i = 0; i < run; i++) memcpy(x + i * stride, &tile[i], sizeof *tile);
        else for (ptrdiff_t i = 0; i < run; i++) memcpy(&tile[i], x + i * stride, sizeof *tile);
        tile += run;
        len -= run;
        index[last] += run;
        offset += run * stride;
        for (int d = last; d > 0 && index[d] == at->shape[d]; d--) {
            offset += at->strides[d - 1] - at->shape[d] * at->strides[d];
            index[d] = 0;
            index[d - 1]++;
        }
    }
}
static void FN(gather)(REAL *tile, const char *base, const fo_layout *at, ptrdiff_t start, ptrdiff_t len)
{
    FN(strided)((char *)base, at, tile, start, len, 0);
}
static void FN(scatter)(char *base, const fo_layout *at, REAL *tile, ptrdiff_t start, ptrdiff_t len)
{
    FN(strided)(base, at, tile, start, len, 1);
}

enum { FN(TILE) = 1024 };                               /* a multiple of 64: cutting into tiles changes no lane */

/* len <= TILE elements of the gradient from the start-th: where they lie, or gathered into the tile. */
static inline const REAL *FN(read_gradient)(const fo_tensor *t, REAL *tile, ptrdiff_t start, ptrdiff_t len)
{
    if (!t->g_at) return (const REAL *)t->g + start;
    FN(gather)(tile, t->g, t->g_at, start, len);
    return tile;
}

static double FN(squares_walk)(const fo_tensor *t, ptrdiff_t start, ptrdiff_t n, REAL c, int wide)
{
    FN(lanes) acc = { { 0 } };
    REAL tile[FN(TILE)];
    for (ptrdiff_t done = 0; done < n; done += FN(TILE)) {
        ptrdiff_t len = n - done < FN(TILE) ? n - done : FN(TILE);
        const REAL *g = FN(read_gradient)(t, tile, start + done, len);
        if (c == 1) FN(squares_into)(&acc, g, len, wide);
        else FN(dot_into)(&acc, g, g, c, c, len);
    }
    return FN(fold)(&acc);
}

/* Sum of (c x)^2 over n <= FO_BLOCK elements of the gradient from the start-th; c = 1 except where squares would overflow. */
static inline double FN(squares_block)(const fo_tensor *t, ptrdiff_t start, ptrdiff_t n, REAL c)
{
    if (c != 1) return FN(squares_walk)(t, start, n, c, 1);
    double s;
    if (t->g_at) s = FN(squares_walk)(t, start, n, 1, !NARROW);
    else {                                              /* the common case, with nothing in its way */
        FN(lanes) acc = { { 0 } };
        FN(squares_into)(&acc, (const REAL *)t->g + start, n, !NARROW);
        s = FN(fold)(&acc);
    }
    /* Squares of floats above 1e19 overflow, those below 1e-19 lose digits; 1e-29 a square leaves room for the others. */
    if (NARROW && !(s >= 1e-29 * (double)n && s < (double)INFINITY)) s = FN(squares_walk)(t, start, n, 1, 1);
    return s;
}

/* Non-finite elements and the largest magnitude among the rest of one block. */
static int64_t FN(inspect_block)(const fo_tensor *t, ptrdiff_t start, ptrdiff_t n, double *largest)
{
    REAL tile[FN(TILE)];
    int64_t bad = 0;
    for (ptrdiff_t done = 0; done < n; done += FN(TILE)) {
        ptrdiff_t len = n - done < FN(TILE) ? n - done : FN(TILE);
        const REAL *g = FN(read_gradient)(t, tile, start + done, len);
        bad += FN(nonfinite)(g, len);
        double m = (double)FN(largest)(g, len);
        *largest = m > *largest ? m : *largest;
    }
    return bad;
}
