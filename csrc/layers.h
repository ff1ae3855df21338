/* layers.h: what a small network does beside its matrix products: bias, slopes of activations with the bias's gradient, dropout,
 * and losses with their gradients. Included once a width. Matrices are rows x cols, contiguous, in C order.
 *
 * Sums over the batch run in one fixed order; losses are summed in double. Comparisons are written so that NaN passes through.
 */

/* y[i][j] += b[j], then max(0, .) if relu. y in/out, overlaps not b. */
static void FN(bias)(void *y_, const void *b_, ptrdiff_t rows, ptrdiff_t cols, int relu)
{
    const REAL *restrict b = b_;
    for (ptrdiff_t i = 0; i < rows; i++) {
        REAL *restrict y = (REAL *)y_ + i * cols;
        if (relu)
            for (ptrdiff_t j = 0; j < cols; j++) {
                REAL v = y[j] + b[j];
                y[j] = v < 0 ? 0 : v;
            }
        else
            for (ptrdiff_t j = 0; j < cols; j++) y[j] += b[j];
    }
}

/* The slope of an activation from what the forward pass kept: its output y, or for FO_TIMES the slope itself. */
static inline REAL FN(slope_none)(REAL d, REAL y) { (void)y; return d; }
static inline REAL FN(slope_relu)(REAL d, REAL y) { return y <= 0 ? 0 : d; }
static inline REAL FN(slope_tanh)(REAL d, REAL y) { return d * (1 - y * y); }
static inline REAL FN(slope_sigmoid)(REAL d, REAL y) { return d * (y * (1 - y)); }
static inline REAL FN(slope_times)(REAL d, REAL y) { return d * y; }

/* d[i][j] becomes d times the slope at y; sum[j] = sum over i of it. A strip of columns at a time, and 64 rows of it into one short
 * sum, so that the rounding error of a long batch grows with rows / 64. d in/out; y NULL for FO_NONE; sum NULL: not wanted. */
enum { FN(STRIP) = 256 };
static const REAL FN(nothing)[FN(STRIP)];              /* stands in for y where there is none */
#define STRIP_LOOP(name)                                                                                                    \
    static void FN(strip_##name)(REAL *d, const REAL *y, REAL *sum, ptrdiff_t rows, ptrdiff_t cols, ptrdiff_t width)        \
    {                                                                                                                       \
        REAL total[FN(STRIP)] = { 0 };                                                                                      \
        for (ptrdiff_t top = 0; top < rows; top += 64) {                                                                    \
            REAL part[FN(STRIP)] = { 0 };                                                                                   \
            for (ptrdiff_t i = top; i < rows && i < top + 64; i++) {                                                        \
                REAL *restrict di = d + i * cols;                                                                           \
                const REAL *restrict yi = y ? y + i * cols : FN(nothing);                                                          \
                for (ptrdiff_t j = 0; j < width; j++) {                                                                     \
                    REAL v = FN(slope_##name)(di[j], yi[j]);                                                                \
                    di[j] = v;                                                                                              \
                    part[j] += v;                                                                                           \
                }                                                                                                           \
            }                                                                                                               \
            for (ptrdiff_t j = 0; j < width; j++) total[j] += part[j];                                                      \
        }                                                                                                                   \
        if (sum) memcpy(sum, total, (size_t)width * sizeof(REAL));                                                          \
    }
STRIP_LOOP(none)
STRIP_LOOP(relu)
STRIP_LOOP(tanh)
STRIP_LOOP(sigmoid)
STRIP_LOOP(times)
#undef STRIP_LOOP

static void FN(slope)(int kind, void *d, const void *y, void *sum, ptrdiff_t rows, ptrdiff_t cols)
{
    for (ptrdiff_t left = 0; left < cols; left += FN(STRIP)) {
        ptrdiff_t width = cols - left < FN(STRIP) ? cols - left : FN(STRIP);
        REAL *dl = (REAL *)d + left, *sl = sum ? (REAL *)sum + left : NULL;
        const REAL *yl = y ? (const REAL *)y + left : NULL;
        switch (kind) {
        case FO_RELU: FN(strip_relu)(dl, yl, sl, rows, cols, width); break;
        case FO_TANH: FN(strip_tanh)(dl, yl, sl, rows, cols, width); break;
        case FO_SIGMOID: FN(strip_sigmoid)(dl, yl, sl, rows, cols, width); break;
        case FO_TIMES: FN(strip_times)(dl, yl, sl, rows, cols, width); break;
        default: FN(strip_none)(dl, yl, sl, rows, cols, width); break;
        }
    }
}

/* y[i] = x[i] / (1 - p) where u[i] >= p, else 0; u uniform in [0, 1). y may be x. */
static void FN(dropout)(const void *u_, const void *x_, void *y_, ptrdiff_t n, double p)
{
    const REAL *u = u_, *x = x_, rate = (REAL)p, scale = (REAL)(1 / (1 - p));
    REAL *y = y_;
    for (ptrdiff_t i = 0; i < n; i++) y[i] = u[i] >= rate ? scale * x[i] : 0;
}

/* ---- losses: mean over rows; d (NULL: not wanted) gets the gradient by z, the mean's 1 / rows included ---- */

/* -log softmax(z)[label], shifted by the largest z so that exp cannot overflow. 0 <= label < cols. */
static double FN(softmax_cross_entropy)(const void *z_, const int64_t *label, void *d_, ptrdiff_t rows, ptrdiff_t cols)
{
    double total = 0, share = 1 / (double)rows;
    for (ptrdiff_t i = 0; i < rows; i++) {
        const REAL *z = (const REAL *)z_ + i * cols;
        REAL *d = d_ ? (REAL *)d_ + i * cols : NULL, top = z[0];
        for (ptrdiff_t j = 1; j < cols; j++) top = z[j] > top ? z[j] : top;
        double sum = 0;
        for (ptrdiff_t j = 0; j < cols; j++) {
            REAL e = EXP(z[j] - top);
            if (d) d[j] = e;
            sum += (double)e;
        }
        total += log(sum) + ((double)top - (double)z[label[i]]);
        if (d) {
            const REAL scale = (REAL)(share / sum);
            for (ptrdiff_t j = 0; j < cols; j++) d[j] *= scale;
            d[label[i]] -= (REAL)share;
        }
    }
    return total * share;
}

/* cols = 1: max(0, 1 - s z), s = 1 for label 1 and -1 for label 0. Else max(0, 1 + max_{j != label} z_j - z_label), the first of
 * equal z_j. The slope at the corner is 0. */
static double FN(hinge)(const void *z_, const int64_t *label, void *d_, ptrdiff_t rows, ptrdiff_t cols)
{
    double total = 0, share = 1 / (double)rows;
    if (d_) memset(d_, 0, (size_t)(rows * cols) * sizeof(REAL));
    for (ptrdiff_t i = 0; i < rows; i++) {
        const REAL *z = (const REAL *)z_ + i * cols;
        REAL *d = d_ ? (REAL *)d_ + i * cols : NULL;
        if (cols == 1) {
            const double s = label[i] > 0 ? 1 : -1, gap = 1 - s * (double)z[0];
            if (gap <= 0) continue;
            total += gap;
            if (d) d[0] = (REAL)(-s * share);
            continue;
        }
        ptrdiff_t right = (ptrdiff_t)label[i], rival = right == 0;
        for (ptrdiff_t j = rival + 1; j < cols; j++)
            if (j != right && !(z[j] <= z[rival])) rival = j;
        const double gap = 1 + (double)z[rival] - (double)z[right];
        if (gap <= 0) continue;
        total += gap;
        if (d) {
            d[rival] = (REAL)share;
            d[right] = (REAL)-share;
        }
    }
    return total * share;
}

/* Losses of one output and its target: value, and slope by z. */
typedef struct { double value; REAL slope; } FN(loss);

static inline FN(loss) FN(binary_cross_entropy)(REAL z, REAL y, REAL delta)
{
    (void)delta;
    const REAL e = EXP(-FABS(z));                         /* never overflows */
    const double value = (z > 0 ? (double)z : 0) - (double)z * (double)y + (double)LOG1P(e);
    return (FN(loss)){ value, (z >= 0 ? 1 / (1 + e) : e / (1 + e)) - y };
}
static inline FN(loss) FN(squared)(REAL z, REAL y, REAL delta)
{
    (void)delta;
    const REAL r = z - y;
    return (FN(loss)){ (double)r * (double)r, 2 * r };
}
static inline FN(loss) FN(huber)(REAL z, REAL y, REAL delta)
{
    const REAL r = z - y, a = FABS(r);
    if (a > delta) return (FN(loss)){ (double)delta * ((double)a - 0.5 * (double)delta), r > 0 ? delta : -delta };
    return (FN(loss)){ 0.5 * (double)r * (double)r, r };
}

/* Sum over the outputs of each row, mean over rows. */
#define MEAN_LOOP(name)                                                                                                     \
    for (ptrdiff_t i = 0; i < n; i++) {                                                                                     \
        const FN(loss) l = FN(name)(z[i], y[i], (REAL)delta);                                                               \
        total += l.value;                                                                                                   \
        if (d) d[i] = share * l.slope;                                                                                      \
    }
static double FN(pointwise)(int kind, const void *z_, const void *y_, void *d_, ptrdiff_t rows, ptrdiff_t cols, double delta)
{
    const REAL *z = z_, *y = y_, share = (REAL)(1 / (double)rows);
    const ptrdiff_t n = rows * cols;
    REAL *d = d_;
    double total = 0;
    switch (kind) {
    case FO_BINARY_CROSS_ENTROPY: MEAN_LOOP(binary_cross_entropy) break;
    case FO_SQUARED: MEAN_LOOP(squared) break;
    default: MEAN_LOOP(huber) break;
    }
    return total / (double)rows;
}
#undef MEAN_LOOP

/* Index of the first element outside [low, high], NaN counted as outside; -1 if there is none. */
static ptrdiff_t FN(outside)(const void *x_, ptrdiff_t n, double low, double high)
{
    const REAL *x = x_;
    for (ptrdiff_t i = 0; i < n; i++)
        if (!((double)x[i] >= low && (double)x[i] <= high)) return i;
    return -1;
}

static const fo_layers FN(layers) = { FN(bias), FN(slope), FN(dropout), FN(softmax_cross_entropy), FN(hinge), FN(pointwise),
                                      FN(outside) };
