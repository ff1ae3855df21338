/* triangle.h: the inverse Hessian of BFGS as one packed triangle, updated and multiplied in one pass. Included once a width.
 *
 * Layout. V = 32 bytes of elements (4 double, 8 float). Rows and columns are cut into blocks of V; block row B keeps its column blocks
 * 0..B, so the block on the diagonal is a full square, both halves of it kept. Within a block row, four rows at a time: for each column
 * block, V elements of each of the four, so that a pass walks memory from the first element to the last. Rows and columns beyond n are
 * zeros. That is N (N + V) / 2 elements with N = n rounded up to V: for double at most 1.5 n + 6 more than n (n + 1) / 2.
 *
 * The pass. H <- H + s w' + w s', u = H g: every element h_ij below the diagonal blocks stands for two of H, so it is added to u_i (in V
 * running lanes a row, folded as a tree) and to u_j; a diagonal block only to u_i. The sum in brackets makes the update symmetric to
 * the last bit: h + (s_i w_j + w_i s_j).
 *
 * Order of sums. Rows are cut into panels by n alone (triangle.c); each has its own sums over columns, added in the order of panels. A
 * vector of V elements is one operand here whatever the registers of the machine, so no bit depends on the instruction set.
 */
#define V FO_TRIANGLE_V(sizeof(REAL))
enum { FN(V_) = V, FN(SQUARE) = V * V, FN(GROUP) = FO_TRIANGLE_ROWS * V };

#if defined(__GNUC__) && !defined(FO_PLAIN_VECTORS)
typedef REAL FN(vec) __attribute__((vector_size(32)));
typedef REAL FN(vec_at) __attribute__((vector_size(32), aligned(sizeof(REAL)), may_alias));      /* anywhere an element may lie */
#define LOAD(p) ((FN(vec))*(const FN(vec_at) *)(p))
#define STORE(p, x) (*(FN(vec_at) *)(p) = (FN(vec_at))(x))
#define SPLAT(c) ((c) - (FN(vec)) { 0 })
#define ADD(x, y) ((x) + (y))
#define MUL(x, y) ((x) * (y))
#define LANE(x, l) ((x)[l])
#define UNROLLED static inline __attribute__((always_inline))
/* A value that stays in its register: gcc would rather load it anew for each of four rows, and loads are what runs out. */
#if defined(__AVX__)
#define HELD(x) __asm__("" : "+x"(x))
#else
#define HELD(x) (void)0
#endif
#else
typedef struct { REAL v[V]; } FN(vec);
static inline FN(vec) FN(load)(const REAL *p) { FN(vec) x; memcpy(&x, p, sizeof x); return x; }
static inline FN(vec) FN(splat)(REAL c) { FN(vec) x; for (int l = 0; l < V; l++) { x.v[l] = c; } return x; }
static inline FN(vec) FN(plus)(FN(vec) x, FN(vec) y) { for (int l = 0; l < V; l++) { x.v[l] += y.v[l]; } return x; }
static inline FN(vec) FN(times)(FN(vec) x, FN(vec) y) { for (int l = 0; l < V; l++) { x.v[l] *= y.v[l]; } return x; }
#define LOAD(p) FN(load)(p)
#define STORE(p, x) memcpy(p, &(x), sizeof(FN(vec)))
#define SPLAT(c) FN(splat)(c)
#define ADD(x, y) FN(plus)(x, y)
#define MUL(x, y) FN(times)(x, y)
#define LANE(x, l) ((x).v[l])
#define UNROLLED static inline
#define HELD(x) (void)0
#endif

static inline REAL FN(fold_lanes)(const FN(vec) *x)
{
    REAL t[V];
    for (int l = 0; l < V; l++) t[l] = LANE(*x, l);
    for (int half = V / 2; half; half /= 2)
        for (int l = 0; l < half; l++) t[l] += t[l + half];
    return t[0];
}

/* Rows i..i+3, whose first element is h: `left` column blocks below the diagonal, then the one on it. u[left V], in/out; r[i..i+3], out. */
UNROLLED void FN(triangle_rows)(REAL *restrict h, ptrdiff_t i, ptrdiff_t left, const REAL *s, const REAL *w, const REAL *g,
                                REAL *restrict u, REAL *restrict r, const int update)
{
    FN(vec) si[FO_TRIANGLE_ROWS], wi[FO_TRIANGLE_ROWS], gi[FO_TRIANGLE_ROWS], sum[FO_TRIANGLE_ROWS], x[FO_TRIANGLE_ROWS];
    for (int k = 0; k < FO_TRIANGLE_ROWS; k++) {
        gi[k] = SPLAT(g[i + k]);
        sum[k] = SPLAT((REAL)0);
        if (update) si[k] = SPLAT(s[i + k]), wi[k] = SPLAT(w[i + k]);
    }
    for (ptrdiff_t b = 0; b <= left; b++, h += FN(GROUP)) {
        const ptrdiff_t j = b * V;
        FN(vec) gj = LOAD(g + j), sj = gj, wj = gj;
        if (update) {
            sj = LOAD(s + j), wj = LOAD(w + j);
            HELD(sj);
            HELD(wj);
        }
        HELD(gj);
        for (int k = 0; k < FO_TRIANGLE_ROWS; k++) {
            x[k] = LOAD(h + k * V);
            if (update) {
                x[k] = ADD(x[k], ADD(MUL(si[k], wj), MUL(wi[k], sj)));          /* H + s w' + w s' */
                STORE(h + k * V, x[k]);
            }
            sum[k] = ADD(sum[k], MUL(x[k], gj));
        }
        if (b == left) break;
        const FN(vec) low = ADD(MUL(x[0], gi[0]), MUL(x[1], gi[1])), high = ADD(MUL(x[2], gi[2]), MUL(x[3], gi[3]));
        const FN(vec) uj = ADD(LOAD(u + j), ADD(low, high));
        STORE(u + j, uj);
    }
    for (int k = 0; k < FO_TRIANGLE_ROWS; k++) r[i + k] = FN(fold_lanes)(&sum[k]);
}

/* Panel p: block rows [cut p, cut p + 1), its own sums over columns in job->u + p N, row sums in job->r. */
UNROLLED void FN(triangle_panel)(const fo_triangle_job *job, ptrdiff_t p, const int update)
{
    const ptrdiff_t begin = fo_triangle_cut(job, p), end = fo_triangle_cut(job, p + 1);
    REAL *h = (REAL *)job->h + fo_triangle_row(begin, V), *u = (REAL *)job->u + p * job->blocks * V;
    memset(u, 0, (size_t)(end * V) * sizeof *u);
    for (ptrdiff_t block = begin; block < end; block++)
        for (ptrdiff_t i = block * V; i < (block + 1) * V; i += FO_TRIANGLE_ROWS, h += (block + 1) * FN(GROUP))
            FN(triangle_rows)(h, i, block, job->s, job->w, job->g, u, job->r, update);
}

static void FN(triangle_panels)(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_triangle_job *job = ctx;
    for (ptrdiff_t p = begin; p < end; p++) {
        if (job->s) FN(triangle_panel)(job, p, 1);
        else FN(triangle_panel)(job, p, 0);
    }
}

/* u = r + the panels' sums over columns, in the order of panels. */
static void FN(triangle_close)(const fo_triangle_job *job, void *out)
{
    REAL *restrict r = job->r;
    for (ptrdiff_t p = 0; p < job->panels; p++) {
        const REAL *restrict u = (REAL *)job->u + p * job->blocks * V;
        const ptrdiff_t n = fo_triangle_cut(job, p + 1) * V;
        for (ptrdiff_t j = 0; j < n; j++) r[j] += u[j];
    }
    memcpy(out, r, (size_t)job->n * sizeof *r);
}

/* n <= V: the one block, without padding, panels or scratch. */
UNROLLED void FN(triangle_square)(const ptrdiff_t n, REAL *restrict h, const REAL *s, const REAL *w, const REAL *g, REAL *restrict u)
{
    for (ptrdiff_t i = 0; i < n; i++) {
        REAL sum = 0;
        for (ptrdiff_t j = 0; j < n; j++) {
            REAL x = h[i * V + j];
            if (s) h[i * V + j] = x += s[i] * w[j] + w[i] * s[j];
            sum += x * g[j];
        }
        u[i] = sum;
    }
}

/* Solvers of two or three unknowns live here: loops of constant length cost nothing but their arithmetic. */
static void FN(triangle_small)(ptrdiff_t n, void *h, const void *s, const void *w, const void *g, void *u)
{
    switch (n) {
    case 1: FN(triangle_square)(1, h, s, w, g, u); break;
    case 2: FN(triangle_square)(2, h, s, w, g, u); break;
    case 3: FN(triangle_square)(3, h, s, w, g, u); break;
    case 4: FN(triangle_square)(4, h, s, w, g, u); break;
    default: FN(triangle_square)(n, h, s, w, g, u);
    }
}

/* Where element (i, j) with j <= i lies. */
static inline ptrdiff_t FN(triangle_at)(ptrdiff_t i, ptrdiff_t j)
{
    const ptrdiff_t block = i / V, in = i % V;
    return fo_triangle_row(block, V) + in / FO_TRIANGLE_ROWS * (block + 1) * FN(GROUP) + j / V * FN(GROUP)
           + in % FO_TRIANGLE_ROWS * V + j % V;
}

/* Full symmetric matrices, row by row: out = H + s w' + w s' (s may be NULL); H = the lower triangle of a. */
static void FN(triangle_unpack)(ptrdiff_t n, const void *from, const void *s_, const void *w_, void *to)
{
    const REAL *h = from, *s = s_, *w = w_;
    REAL *out = to;
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j <= i; j++) {
            REAL x = h[FN(triangle_at)(i, j)];
            if (s) x += s[i] * w[j] + w[i] * s[j];
            out[i * n + j] = out[j * n + i] = x;
        }
}
static void FN(triangle_pack)(ptrdiff_t n, const void *from, void *to)
{
    const REAL *a = from;
    REAL *h = to;
    memset(h, 0, (size_t)fo_triangle_row((n + V - 1) / V, V) * sizeof *h);
    for (ptrdiff_t i = 0; i < n; i++)
        for (ptrdiff_t j = 0; j <= i; j++) {
            h[FN(triangle_at)(i, j)] = a[i * n + j];
            if (j / V == i / V) h[FN(triangle_at)(j, i)] = a[i * n + j];        /* the other half of a diagonal block */
        }
}
static void FN(triangle_identity)(ptrdiff_t n, void *to, double gamma)
{
    REAL *h = to;
    memset(h, 0, (size_t)fo_triangle_row((n + V - 1) / V, V) * sizeof *h);
    for (ptrdiff_t i = 0; i < n; i++) h[FN(triangle_at)(i, i)] = (REAL)gamma;
}

/* The floor: [start, start + n) elements read and written once. */
static void FN(triangle_floor)(void *to, ptrdiff_t start, ptrdiff_t n)
{
    REAL *h = (REAL *)to + start;
    const REAL c = (REAL)1e-3;
    for (ptrdiff_t i = 0; i < n; i++) h[i] += c;
}

static const fo_triangle_kernels FN(triangle) = {
    FN(triangle_small), FN(triangle_panels), FN(triangle_close), FN(triangle_identity), FN(triangle_pack), FN(triangle_unpack),
    FN(triangle_floor),
};
#undef V
#undef LOAD
#undef STORE
#undef SPLAT
#undef ADD
#undef MUL
#undef LANE
#undef UNROLLED
#undef HELD
