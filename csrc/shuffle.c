/* shuffle.c: Fisher-Yates and draws with replacement, and the gather of rows. Left out: orders that need no memory.
 *
 * Order: D. E. Knuth, The Art of Computer Programming 2, 3.4.2, algorithm P. Numbers below a bound: D. Lemire, Fast random integer
 * generation in an interval, ACM TOMACS 29 (2019), algorithm 5, which rejects what would favour some numbers.
 */
#include <string.h>
#include "fastopt.h"

#if defined(__GNUC__)
#define FETCH(p) __builtin_prefetch((p), 0, 3)
#define FETCH_WRITE(p) __builtin_prefetch((p), 1, 3)
#else
#define FETCH(p) ((void)(p))
#define FETCH_WRITE(p) ((void)(p))
#endif

enum {
    LINE = 64,
    PICKS = 64,                    /* swaps whose places are drawn, and fetched, before the first of them is made */
    REACH = 4096,                  /* bytes of rows that are fetched before they are copied; measured */
    REACH_MOST = 16,               /* and not more rows than this */
    FETCH_LINES = 64,              /* and of one row not more lines than this: the processor sees the rest coming */
    THREAD_BYTES = 1 << 17         /* batches below this are copied by the caller alone: waking costs more */
};

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

/* ---- gather ---- */

/* n bytes, in pieces that the compiler knows the length of; the last piece overlaps the one before. */
static inline void copy(char *to, const char *from, ptrdiff_t n)
{
    if (n >= 32) {
        if (n > 2048) { memcpy(to, from, (size_t)n); return; }
        for (ptrdiff_t i = 0; i + 32 <= n; i += 32) memcpy(to + i, from + i, 32);
        memcpy(to + n - 32, from + n - 32, 32);
    } else if (n >= 16) { memcpy(to, from, 16); memcpy(to + n - 16, from + n - 16, 16); }
    else if (n >= 8) { memcpy(to, from, 8); memcpy(to + n - 8, from + n - 8, 8); }
    else if (n >= 4) { memcpy(to, from, 4); memcpy(to + n - 4, from + n - 4, 4); }
    else for (ptrdiff_t i = 0; i < n; i++) to[i] = from[i];
}

/* One row whose runs are scattered; returns the end of what was written. */
static char *collect(char *to, const char *from, const fo_layout *at, int dim, ptrdiff_t run)
{
    ptrdiff_t count = at->shape[dim], step = at->strides[dim];
    if (dim + 1 < at->nd) {
        for (ptrdiff_t i = 0; i < count; i++) to = collect(to, from + i * step, at, dim + 1, run);
        return to;
    }
    if (run == 4) for (ptrdiff_t i = 0; i < count; i++) memcpy(to + 4 * i, from + i * step, 4);
    else if (run == 8) for (ptrdiff_t i = 0; i < count; i++) memcpy(to + 8 * i, from + i * step, 8);
    else for (ptrdiff_t i = 0; i < count; i++) copy(to + run * i, from + i * step, run);
    return to + run * count;
}

typedef struct {
    const fo_rows *arrays;
    int count, wide;
    const void *order;
    ptrdiff_t first, ahead, n;
} gather_job;

static inline ptrdiff_t row_at(const gather_job *job, ptrdiff_t i)
{
    i += job->first;
    return !job->order ? i : job->wide ? (ptrdiff_t)((const int64_t *)job->order)[i] : (ptrdiff_t)((const uint32_t *)job->order)[i];
}

static inline void fetch(const fo_rows *a, ptrdiff_t row, ptrdiff_t lines)
{
    const char *from = a->data + row * a->step;
    for (ptrdiff_t k = 0; k < lines; k++) FETCH(from + k * LINE);
    if (lines * LINE >= a->bytes) FETCH(from + a->bytes - 1);                /* rows need not begin at a line */
}

static inline void packed(const fo_rows *a, const gather_job *job, ptrdiff_t begin, ptrdiff_t end, ptrdiff_t bytes)
{
    ptrdiff_t reach = REACH / (bytes + 1) + 1;
    if (reach > REACH_MOST) reach = REACH_MOST;
    ptrdiff_t lines = (bytes + LINE - 1) / LINE, known = job->n + job->ahead;
    if (lines > FETCH_LINES) lines = FETCH_LINES;
    ptrdiff_t both = known - reach < end ? known - reach : end;              /* before it, the row `reach` places ahead exists */
    if (!job->order) both = begin;                                           /* in order, the processor fetches by itself */
    char *to = a->out + begin * bytes;
    ptrdiff_t i = begin;
    for (; i < both; i++, to += bytes) {
        fetch(a, row_at(job, i + reach), lines);
        copy(to, a->data + row_at(job, i) * a->step, bytes);
    }
    for (; i < end; i++, to += bytes) copy(to, a->data + row_at(job, i) * a->step, bytes);
}

/* Pieces are rows of the batch. */
static void gather(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const gather_job *job = ctx;
    for (int j = 0; j < job->count; j++) {
        const fo_rows *a = &job->arrays[j];
        if (a->bytes == 0) continue;
        if (a->run != a->bytes)
            for (ptrdiff_t i = begin; i < end; i++)
                collect(a->out + i * a->bytes, a->data + row_at(job, i) * a->step, a->runs, 0, a->run);
        else if (!job->order && a->step == a->bytes)
            memcpy(a->out + begin * a->bytes, a->data + (job->first + begin) * a->step, (size_t)((end - begin) * a->bytes));
        else if (a->bytes == 1) packed(a, job, begin, end, 1);
        else if (a->bytes == 4) packed(a, job, begin, end, 4);
        else if (a->bytes == 8) packed(a, job, begin, end, 8);
        else packed(a, job, begin, end, a->bytes);
    }
}

void fo_gather(const fo_rows *arrays, int count, const void *order, int wide, ptrdiff_t first, ptrdiff_t n, ptrdiff_t ahead,
               int threads)
{
    gather_job job = { arrays, count, wide, order, first, ahead, n };
    ptrdiff_t bytes = 0, grain;
    for (int j = 0; j < count; j++) bytes += arrays[j].bytes;
    if (bytes * n < THREAD_BYTES) threads = 1;
    grain = threads > 1 ? n / (threads * 4) : n;
    fo_parallel(gather, &job, n, grain < 1 ? 1 : grain, threads);
}

void fo_copy_rows(const fo_rows *array, char *const out[2], const uint32_t *order, ptrdiff_t n, ptrdiff_t size, int distance)
{
    const size_t bytes = (size_t)array->bytes;
    for (ptrdiff_t i = 0; i < n; i++) {
        if (distance > 0 && i + distance < n) fetch(array, order[i + distance], (array->bytes + LINE - 1) / LINE);
        memcpy(out[(i / size) & 1] + (size_t)(i % size) * bytes, array->data + order[i] * array->step, bytes);
    }
}
