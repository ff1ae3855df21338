/* shuffle.c: Fisher-Yates and draws with replacement. Orders that need no memory: permute.c.
 *
 * Order: D. E. Knuth, The Art of Computer Programming 2, 3.4.2, algorithm P. Numbers below a bound: D. Lemire, Fast random integer
 * generation in an interval, ACM TOMACS 29 (2019), algorithm 5, which rejects what would favour some numbers.
 */
#include "fastopt.h"

#if defined(__GNUC__)
#define FETCH_WRITE(p) __builtin_prefetch((p), 1, 3)
#else
#define FETCH_WRITE(p) ((void)(p))
#endif

enum { PICKS = 64 };                /* swaps whose places are drawn, and fetched, before the first of them is made */

/* ---- numbers below a bound ---- */

/* The 64-bit words of the source, also handed out in halves, low half first. */
typedef struct { const fo_bits *bits; uint64_t word; int half; } stream;

static inline uint64_t next64(stream *s) { return s->bits->next(s->bits->state); }
static inline uint32_t next32(stream *s)
{
    if (s->half) {
        s->half = 0;
        return (uint32_t)(s->word >> 32);
    }
    s->word = next64(s);
    s->half = 1;
    return (uint32_t)s->word;
}

static inline uint32_t below32(stream *s, uint32_t bound)
{
    uint64_t m = (uint64_t)next32(s) * bound;
    if ((uint32_t)m < bound) {
        uint32_t least = (0u - bound) % bound;            /* 2^32 mod bound: as many values are one too many */
        while ((uint32_t)m < least) m = (uint64_t)next32(s) * bound;
    }
    return (uint32_t)(m >> 32);
}

/* High and low half of a 128-bit product. */
static inline uint64_t times(uint64_t a, uint64_t b, uint64_t *low)
{
#if defined(__SIZEOF_INT128__)
    __extension__ typedef unsigned __int128 wide;
    wide m = (wide)a * b;
    *low = (uint64_t)m;
    return (uint64_t)(m >> 64);
#else
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t mid = a1 * b0 + ((a0 * b0) >> 32), mid2 = a0 * b1 + (uint32_t)mid;
    *low = a * b;
    return a1 * b1 + (mid >> 32) + (mid2 >> 32);
#endif
}

static inline int64_t below64(stream *s, uint64_t bound)
{
    uint64_t low, high = times(next64(s), bound, &low);
    if (low < bound) {
        uint64_t least = (UINT64_C(0) - bound) % bound;
        while (low < least) high = times(next64(s), bound, &low);
    }
    return (int64_t)high;
}

/* ---- orders ---- */

/* From the end down, place i is swapped with a place drawn from 0 .. i. Draws do not depend on what the places hold, so they run
 * ahead and hide the wait for memory. */
#define ORDER(INDEX, BOUND, BELOW, NAME)                                                                                      \
    static void shuffle_##NAME(INDEX *order, ptrdiff_t n, stream *s)                                                          \
    {                                                                                                                         \
        INDEX pick[PICKS];                                                                                                    \
        for (ptrdiff_t i = 0; i < n; i++) order[i] = (INDEX)i;                                                                \
        for (ptrdiff_t i = n - 1; i > 0;) {                                                                                   \
            ptrdiff_t picks = i < PICKS ? i : PICKS;                                                                          \
            for (ptrdiff_t k = 0; k < picks; k++) {                                                                           \
                pick[k] = BELOW(s, (BOUND)(i - k + 1));                                                                       \
                FETCH_WRITE(&order[pick[k]]);                                                                                 \
            }                                                                                                                 \
            for (ptrdiff_t k = 0; k < picks; k++, i--) {                                                                      \
                INDEX held = order[i];                                                                                        \
                order[i] = order[pick[k]];                                                                                    \
                order[pick[k]] = held;                                                                                        \
            }                                                                                                                 \
        }                                                                                                                     \
    }                                                                                                                         \
    static void draw_##NAME(INDEX *order, ptrdiff_t count, ptrdiff_t n, stream *s)                                            \
    {                                                                                                                         \
        for (ptrdiff_t i = 0; i < count; i++) order[i] = BELOW(s, (BOUND)n);                                                  \
    }
ORDER(uint32_t, uint32_t, below32, narrow)
ORDER(int64_t, uint64_t, below64, wide)

void fo_shuffle(void *order, int wide, ptrdiff_t n, const fo_bits *bits)
{
    stream s = { bits, 0, 0 };
    if (wide) shuffle_wide(order, n, &s);
    else shuffle_narrow(order, n, &s);
}

void fo_draw(void *order, int wide, ptrdiff_t count, ptrdiff_t n, const fo_bits *bits)
{
    stream s = { bits, 0, 0 };
    if (wide) draw_wide(order, count, n, &s);
    else draw_narrow(order, count, n, &s);
}
