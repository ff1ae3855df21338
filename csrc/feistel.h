/* feistel.h: the keyed permutation (permute.h): one round, one element, and a batch of elements at a time. Included by kernels.c. */

/* Bits that depend on all of x and of the keys; the highest are the best. The odd constant is the first of C. Wellons's lowbias32. */
static inline uint32_t feistel_hash(uint32_t x, uint32_t add, uint32_t mul)
{
    x = (x + add) * UINT32_C(0x7feb352d);
    x ^= x >> 15;
    return x * mul;
}

/* The rounds: an even one adds a function of r to l, modulo 2^shift; an odd one adds a function of l to r, modulo rows. As rows <=
 * 2^31, of a sum and the sum less rows (or a difference and the difference plus rows) the right one is the smaller. */
static inline uint32_t feistel_low(const fo_permute *p, int k, uint32_t r) { return feistel_hash(r, p->add[k], p->mul[k]) >> (32 - p->shift); }
static inline uint32_t feistel_high(const fo_permute *p, int k, uint32_t l)
{
    return (uint32_t)((uint64_t)feistel_hash(l, p->add[k], p->mul[k]) * p->rows >> 32);
}
static inline uint32_t feistel_least(uint32_t a, uint32_t b) { return a < b ? a : b; }
#define FEISTEL_FORWARD(l, r, k)                                                                                              \
    do {                                                                                                                      \
        l = (l + feistel_low(p, k, r)) & mask;                                                                                \
        uint32_t sum_ = r + feistel_high(p, (k) + 1, l);                                                                      \
        r = feistel_least(sum_, sum_ - p->rows);                                                                              \
    } while (0)
#define FEISTEL_BACKWARD(l, r, k)                                                                                             \
    do {                                                                                                                      \
        uint32_t rest_ = r - feistel_high(p, (k) + 1, l);                                                                     \
        r = feistel_least(rest_, rest_ + p->rows);                                                                            \
        l = (l - feistel_low(p, k, r)) & mask;                                                                                \
    } while (0)

static inline uint32_t feistel_mask(const fo_permute *p) { return UINT32_C(0xffffffff) >> (32 - p->shift); }

/* x after the whole network, again and again until it is below n. */
static uint64_t feistel_walk(const fo_permute *p, uint64_t x, int inverse)
{
    const uint32_t mask = feistel_mask(p);
    do {
        uint32_t l = (uint32_t)x & mask, r = (uint32_t)(x >> p->shift);
        if (inverse)
            for (int k = FO_PERMUTE_ROUNDS - 2; k >= 0; k -= 2) FEISTEL_BACKWARD(l, r, k);
        else
            for (int k = 0; k < FO_PERMUTE_ROUNDS; k += 2) FEISTEL_FORWARD(l, r, k);
        x = (uint64_t)r << p->shift | l;
    } while (x >= p->n);
    return x;
}

/* A batch goes through the rounds together: enough independent vectors to hide the latency of the multiplications. */
enum { FEISTEL_LANES = 128 };

/* high half of h[j] rows, for each lane: what feistel_high does. Compilers widen whole vectors for it and narrow them again; even and odd
 * lanes on their own need two multiplications and one blend. */
#if defined(__AVX512F__) || defined(__AVX2__) || defined(__SSE4_1__)
#include <immintrin.h>
#if defined(__AVX512F__)
#define V(name) _mm512_##name
typedef __m512i feistel_vector;
#define BLEND(even, odd) _mm512_mask_mov_epi32((even), 0xaaaa, (odd))
#define LOAD(at) _mm512_loadu_si512(at)
#define STORE(at, x) _mm512_storeu_si512((at), (x))
#elif defined(__AVX2__)
#define V(name) _mm256_##name
typedef __m256i feistel_vector;
#define BLEND(even, odd) _mm256_blend_epi32((even), (odd), 0xaa)
#define LOAD(at) _mm256_loadu_si256((const __m256i *)(at))
#define STORE(at, x) _mm256_storeu_si256((__m256i *)(at), (x))
#else
#define V(name) _mm_##name
typedef __m128i feistel_vector;
#define BLEND(even, odd) _mm_blend_epi16((even), (odd), 0xcc)
#define LOAD(at) _mm_loadu_si128((const __m128i *)(at))
#define STORE(at, x) _mm_storeu_si128((__m128i *)(at), (x))
#endif
static inline void feistel_scale(uint32_t *h, uint32_t rows)
{
    const feistel_vector bound = V(set1_epi32)((int)rows);
    for (size_t j = 0; j < FEISTEL_LANES; j += sizeof bound / sizeof *h) {
        const feistel_vector x = LOAD(h + j);
        const feistel_vector even = V(srli_epi64)(V(mul_epu32)(x, bound), 32), odd = V(mul_epu32)(V(srli_epi64)(x, 32), bound);
        STORE(h + j, BLEND(even, odd));
    }
}
#undef V
#undef BLEND
#undef LOAD
#undef STORE
#else
static inline void feistel_scale(uint32_t *h, uint32_t rows)
{
    for (int j = 0; j < FEISTEL_LANES; j++) h[j] = (uint32_t)((uint64_t)h[j] * rows >> 32);
}
#endif

static inline void feistel_batch(const fo_permute *at, uint32_t *restrict l, uint32_t *restrict r, int inverse)
{
    const fo_permute here = *at, *p = &here;              /* a copy that l and r cannot overlap */
    const uint32_t mask = feistel_mask(p), rows = p->rows;
    uint32_t h[FEISTEL_LANES];
    if (inverse)
        for (int k = FO_PERMUTE_ROUNDS - 2; k >= 0; k -= 2) {
            for (int j = 0; j < FEISTEL_LANES; j++) h[j] = feistel_hash(l[j], p->add[k + 1], p->mul[k + 1]);
            feistel_scale(h, rows);
            for (int j = 0; j < FEISTEL_LANES; j++) {
                r[j] = feistel_least(r[j] - h[j], r[j] - h[j] + rows);
                l[j] = (l[j] - feistel_low(p, k, r[j])) & mask;
            }
        }
    else
        for (int k = 0; k < FO_PERMUTE_ROUNDS; k += 2) {
            for (int j = 0; j < FEISTEL_LANES; j++) {
                l[j] = (l[j] + feistel_low(p, k, r[j])) & mask;
                h[j] = feistel_hash(l[j], p->add[k + 1], p->mul[k + 1]);
            }
            feistel_scale(h, rows);
            for (int j = 0; j < FEISTEL_LANES; j++) r[j] = feistel_least(r[j] + h[j], r[j] + h[j] - rows);
        }
}

/* out[len] of a batch: joined halves, and the few that are outside walk on alone. X: what holds an element. */
#define FEISTEL_JOIN(NAME, X)                                                                                                 \
    static inline void feistel_join_##NAME(const fo_permute *p, const uint32_t *l, const uint32_t *r, X *restrict out, int len, \
                                           int inverse)                                                                       \
    {                                                                                                                         \
        const uint32_t shift = p->shift;                                                                                      \
        const X last = (X)(p->n - 1);                                                                                         \
        X outside = 0;                                                                                                        \
        for (int j = 0; j < len; j++) {                                                                                       \
            out[j] = (X)((X)r[j] << shift | l[j]);                                                                            \
            outside |= out[j] > last;                                                                                         \
        }                                                                                                                     \
        if (outside)                                                                                                          \
            for (int j = 0; j < len; j++)                                                                                     \
                if (out[j] > last) out[j] = (X)feistel_walk(p, (uint64_t)out[j], inverse);                                    \
    }
FEISTEL_JOIN(narrow, uint32_t)
FEISTEL_JOIN(wide, int64_t)

/* Pieces are elements of job->out. Lanes past the end compute what nobody reads. */
static void permute(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_permute_job *job = ctx;
    const fo_permute *p = job->p;
    const uint32_t mask = feistel_mask(p), shift = p->shift;
    uint32_t l[FEISTEL_LANES], r[FEISTEL_LANES];
    for (ptrdiff_t i = begin; i < end; i += FEISTEL_LANES) {
        const int len = end - i < FEISTEL_LANES ? (int)(end - i) : FEISTEL_LANES;
        const uint64_t step = (uint64_t)job->step, first = (uint64_t)job->first + (uint64_t)i * step;
        if (job->in)
            for (int j = 0; j < FEISTEL_LANES; j++) {
                const uint64_t x = (uint64_t)job->in[j < len ? i + j : i];
                l[j] = (uint32_t)x & mask;
                r[j] = (uint32_t)(x >> shift);
            }
        else if (!job->wide)
            for (uint32_t j = 0; j < FEISTEL_LANES; j++) {
                const uint32_t x = (uint32_t)first + j * (uint32_t)step;
                l[j] = x & mask;
                r[j] = x >> shift;
            }
        else
            for (uint64_t j = 0; j < FEISTEL_LANES; j++) {
                const uint64_t x = first + j * step;
                l[j] = (uint32_t)x & mask;
                r[j] = (uint32_t)(x >> shift);
            }
        feistel_batch(p, l, r, job->inverse);
        if (job->wide) feistel_join_wide(p, l, r, (int64_t *)job->out + i, len, job->inverse);
        else feistel_join_narrow(p, l, r, (uint32_t *)job->out + i, len, job->inverse);
    }
}
