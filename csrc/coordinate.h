/* coordinate.h: what coordinate descent does to one column of X and one vector: a product, an addition. Included once a width, after
 * reduce.h. Orders of addition are fixed: 16 lanes for dense columns, 4 for sparse ones.
 */

/* x'r. For float, four products are added in float before they go to their lane, as in squares_into, unless `careful`. */
static double FN(dense_dot)(const REAL *x, const REAL *r, ptrdiff_t n, int careful)
{
    FN(lanes) acc = { { 0 } };
    ptrdiff_t i = 0;
    if (NARROW && !careful) {
        FN(lanes) a = acc;
        for (; i + 64 <= n; i += 64)
            for (int j = 0; j < 16; j++) {
                const REAL *u = x + i + j, *v = r + i + j;
                a.v[j] += (double)((u[0] * v[0] + u[16] * v[16]) + (u[32] * v[32] + u[48] * v[48]));
            }
        acc = a;
    }
    FN(lanes) a = acc;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) a.v[j] += (double)x[i + j] * (double)r[i + j];
    for (int j = 0; i + j < n; j++) a.v[j] += (double)x[i + j] * (double)r[i + j];
    acc = a;
    return FN(fold)(&acc);
}

/* r += c x; they do not overlap. */
static void FN(dense_add)(REAL *restrict r, const REAL *restrict x, REAL c, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) r[i] += c * x[i];
}

static double FN(dense_norm)(const REAL *x, ptrdiff_t n)
{
    FN(lanes) acc = { { 0 } };
    FN(squares_into)(&acc, x, n, 1);
    return FN(fold)(&acc);
}

#define SPARSE(INDEX, NAME)                                                                                                   \
    static double FN(sparse_dot_##NAME)(const REAL *x, const INDEX *rows, ptrdiff_t n, const REAL *r)                         \
    {                                                                                                                         \
        double a[4] = { 0 };                                                                                                  \
        ptrdiff_t k = 0;                                                                                                      \
        for (; k + 4 <= n; k += 4)                                                                                            \
            for (int j = 0; j < 4; j++) a[j] += (double)x[k + j] * (double)r[rows[k + j]];                                    \
        for (int j = 0; k + j < n; j++) a[j] += (double)x[k + j] * (double)r[rows[k + j]];                                    \
        return (a[0] + a[2]) + (a[1] + a[3]);                                                                                 \
    }                                                                                                                         \
    static void FN(sparse_add_##NAME)(REAL *restrict r, const REAL *restrict x, const INDEX *restrict rows, ptrdiff_t n,      \
                                      REAL c)                                                                                 \
    {                                                                                                                         \
        for (ptrdiff_t k = 0; k < n; k++) r[rows[k]] += c * x[k];                                                             \
    }                                                                                                                         \
    /* |x - m ones|^2: rows that are not stored contribute m^2 ones_i^2, their sum is m^2 (mass - that of the stored rows) */ \
    static double FN(sparse_norm_##NAME)(const REAL *x, const INDEX *rows, ptrdiff_t n, double m, const REAL *ones,           \
                                         double mass)                                                                         \
    {                                                                                                                         \
        double sum = 0;                                                                                                       \
        for (ptrdiff_t k = 0; k < n; k++) {                                                                                   \
            double o = ones ? (double)ones[rows[k]] : 0, d = (double)x[k] - m * o;                                            \
            sum += d * d;                                                                                                     \
            mass -= o * o;                                                                                                    \
        }                                                                                                                     \
        return sum + (mass > 0 ? m * m * mass : 0);                                                                           \
    }
SPARSE(int32_t, narrow)
SPARSE(int64_t, wide)
#undef SPARSE

static inline ptrdiff_t FN(stored)(const fo_columns *x, ptrdiff_t j, const REAL **data)
{
    ptrdiff_t first = x->rows ? (ptrdiff_t)x->start[j] : j * x->step;
    *data = (const REAL *)x->data + first;
    return x->rows ? (ptrdiff_t)x->start[j + 1] - first : x->n;
}

static double FN(column_dot)(const fo_columns *x, ptrdiff_t j, const void *r)
{
    const REAL *data;
    ptrdiff_t n = FN(stored)(x, j, &data);
    if (!x->rows) return FN(dense_dot)(data, r, n, x->careful);
    if (x->wide) return FN(sparse_dot_wide)(data, (const int64_t *)x->rows + x->start[j], n, r);
    return FN(sparse_dot_narrow)(data, (const int32_t *)x->rows + x->start[j], n, r);
}

static void FN(column_add)(const fo_columns *x, ptrdiff_t j, double c, void *r)
{
    const REAL *data;
    ptrdiff_t n = FN(stored)(x, j, &data);
    if (!x->rows) FN(dense_add)(r, data, (REAL)c, n);
    else if (x->wide) FN(sparse_add_wide)(r, data, (const int64_t *)x->rows + x->start[j], n, (REAL)c);
    else FN(sparse_add_narrow)(r, data, (const int32_t *)x->rows + x->start[j], n, (REAL)c);
}

static double FN(column_norm)(const fo_columns *x, ptrdiff_t j)
{
    const REAL *data;
    ptrdiff_t n = FN(stored)(x, j, &data);
    const double m = x->means ? x->means[j] : 0, mass = x->means ? x->mass : 0;
    const void *ones = x->means ? x->ones : NULL;
    if (!x->rows) return FN(dense_norm)(data, n);
    if (x->wide) return FN(sparse_norm_wide)(data, (const int64_t *)x->rows + x->start[j], n, m, ones, mass);
    return FN(sparse_norm_narrow)(data, (const int32_t *)x->rows + x->start[j], n, m, ones, mass);
}

static double FN(vector_dot)(const void *u, const void *v, ptrdiff_t n) { return FN(dense_dot)(u, v, n, 1); }
static void FN(vector_add)(void *r, const void *x, double c, ptrdiff_t n) { FN(dense_add)(r, x, (REAL)c, n); }

static const fo_column_kernels FN(columns) = { sizeof(REAL), FN(column_dot), FN(column_add), FN(column_norm), FN(vector_dot), FN(vector_add) };
