/* square.h: what matrix.c does for one width: REAL, FN(x) and BLAS(x), the routine of that width. Included twice. */

static matrix_facts FN(symmetrise)(int64_t n, REAL *h)
{
    double sum = 0;
    matrix_facts f = { 0, INFINITY, INFINITY, -INFINITY };
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) {
            REAL middle = h[i * n + j] == h[j * n + i] ? h[i * n + j] : (REAL)(0.5 * ((double)h[i * n + j] + h[j * n + i]));
            h[i * n + j] = h[j * n + i] = middle;
        }
    for (int64_t i = 0; i < n; i++) {
        double d = h[i * n + i], around = 0;
        for (int64_t j = 0; j < n; j++) {
            double e = h[i * n + j];
            around += fabs(e);
            sum += e * e;
        }
        around -= fabs(d);
        f.diagonal = fmin(f.diagonal, d);
        f.low = fmin(f.low, d - around);
        f.high = fmax(f.high, d + around);
    }
    f.norm = sqrt(sum);
    return f;
}

static int64_t FN(factor)(const fo_blas *blas, int64_t n, const REAL *h, double shift, REAL *r)
{
    char uplo = 'U';
    int order = (int)n, info = 0;
    memcpy(r, h, (size_t)(n * n) * sizeof *r);
    for (int64_t i = 0; i < n; i++) r[i * n + i] = (REAL)(h[i * n + i] + shift);
    BLAS(potrf)(&uplo, &order, r, &order, &info);
    return info;
}

static void FN(solve)(const fo_blas *blas, int64_t n, int64_t k, const REAL *r, REAL *x)
{
    char uplo = 'U';
    int order = (int)k, one = 1, stride = (int)n, info = 0;
    if (k > 0) BLAS(potrs)(&uplo, &order, &one, r, &stride, x, &order, &info);
}

static double FN(bound)(const fo_blas *blas, int64_t n, int64_t k, const REAL *h, double shift, const REAL *r, REAL *w)
{
    const REAL *a = h + (k - 1) * n;
    double curvature = a[k - 1] + shift, vv = 1;
    memcpy(w, a, (size_t)k * sizeof *w);
    FN(solve)(blas, n, k - 1, r, w);
    for (int64_t i = 0; i < k - 1; i++) {
        curvature -= (double)a[i] * w[i];
        vv += (double)w[i] * w[i];
    }
    return curvature / vv;
}

static int64_t FN(eigen)(const fo_blas *blas, int64_t n, REAL *h, REAL *values, void *work)
{
    char job = 'V', uplo = 'U';
    int order = (int)n, reals = (int)(1 + 6 * n + 2 * n * n), ints = (int)(3 + 5 * n), info = 0;
    REAL *space = work;
    BLAS(syevd)(&job, &uplo, &order, h, &order, values, space, &reals, (int *)(void *)(space + reals + reals % 2), &ints, &info);
    return info;
}

static void FN(mixed)(int64_t n, REAL *x)
{
    uint64_t bits = UINT64_C(0x9e3779b97f4a7c15);
    for (int64_t i = 0; i < n; i++) {
        bits = bits * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        double u = (double)(bits >> 40) * (1.0 / 16777216);      /* [0, 1) */
        x[i] = (REAL)(bits >> 39 & 1 ? 0.5 + u : -0.5 - u);
    }
}
