/* gather.c: the gather of rows. What an element becomes is in convert.h. */
#include <string.h>
#include "kernels.h"

#if defined(__GNUC__)
#define FETCH(p) __builtin_prefetch((p), 0, 3)
#else
#define FETCH(p) ((void)(p))
#endif

enum {
    LINE = 64,
    REACH = 4096,                  /* bytes of rows that are fetched before they are copied; measured */
    REACH_MOST = 16,               /* and not more rows than this */
    FETCH_LINES = 64,              /* and of one row not more lines than this: the processor sees the rest coming */
    THREAD_BYTES = 1 << 17,        /* batches below this are copied by the caller alone: waking costs more */
    GRAIN_BYTES = 1 << 15          /* what a thread takes at a time */
};

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

/* The same, converted. */
static char *convert(char *to, const char *from, const fo_rows *a, int dim, fo_convert kernel)
{
    const fo_layout *at = a->runs;
    const ptrdiff_t count = at->shape[dim], step = at->strides[dim], size = a->width == FO_F32 ? 4 : 8;
    if (dim + 1 < at->nd) {
        for (ptrdiff_t i = 0; i < count; i++) to = convert(to, from + i * step, a, dim + 1, kernel);
        return to;
    }
    if (a->run == a->item) {
        kernel(to, from, count, step, a->factor);
        return to + count * size;
    }
    const ptrdiff_t items = a->run / a->item;
    for (ptrdiff_t i = 0; i < count; i++, to += items * size) kernel(to, from + i * step, items, a->item, a->factor);
    return to;
}

static inline ptrdiff_t row_at(const fo_gathering *job, ptrdiff_t entry)
{
    return !job->order ? entry
        : job->wide ? (ptrdiff_t)((const int64_t *)job->order)[entry] : (ptrdiff_t)((const uint32_t *)job->order)[entry];
}

static inline void fetch(const fo_rows *a, ptrdiff_t row, ptrdiff_t lines)
{
    const char *from = a->data + row * a->step;
    for (ptrdiff_t k = 0; k < lines; k++) FETCH(from + k * LINE);
    if (lines * LINE >= a->bytes) FETCH(from + a->bytes - 1);                /* rows need not begin at a line */
}

/* Packed rows: entries [begin, end) of order to `to`. kernel NULL: copied. */
static inline void packed(const fo_rows *a, const fo_gathering *job, ptrdiff_t begin, ptrdiff_t end, char *to, ptrdiff_t bytes,
                          fo_convert kernel)
{
    ptrdiff_t reach = REACH / (bytes + 1) + 1;
    if (reach > REACH_MOST) reach = REACH_MOST;
    ptrdiff_t lines = (bytes + LINE - 1) / LINE;
    if (lines > FETCH_LINES) lines = FETCH_LINES;
    const ptrdiff_t known = job->leap > job->size ? end : job->known;        /* what comes next is not ours */
    ptrdiff_t both = known - reach < end ? known - reach : end;              /* before it, the row `reach` places ahead exists */
    if (!job->order) both = begin;                                           /* in order, the processor fetches by itself */
    const ptrdiff_t items = kernel ? bytes / a->item : 0, out = kernel ? a->out_bytes : bytes;
    ptrdiff_t i = begin;
#define ROW(i)                                                                                                                \
    do {                                                                                                                      \
        const char *from = a->data + row_at(job, i) * a->step;                                                                \
        if (kernel) kernel(to, from, items, a->item, a->factor);                                                              \
        else copy(to, from, bytes);                                                                                           \
    } while (0)
    for (; i < both; i++, to += out) {
        fetch(a, row_at(job, i + reach), lines);
        ROW(i);
    }
    for (; i < end; i++, to += out) ROW(i);
#undef ROW
}

/* Entries [begin, end) of order, all of one batch; `to` is where the first of them goes. */
static void rows(const fo_rows *a, const fo_gathering *job, ptrdiff_t begin, ptrdiff_t end, char *to)
{
    if (a->bytes == 0) return;
    const fo_convert kernel = a->kind == FO_KIND_COPY ? NULL : fo_current()->convert[a->kind][a->width];
    if (a->run != a->bytes)
        for (ptrdiff_t i = begin; i < end; i++, to += a->out_bytes) {
            const char *from = a->data + row_at(job, i) * a->step;
            if (kernel) convert(to, from, a, 0, kernel);
            else collect(to, from, a->runs, 0, a->run);
        }
    else if (!job->order && a->step == a->bytes) {
        const char *from = a->data + begin * a->step;
        if (kernel) kernel(to, from, (end - begin) * (a->bytes / a->item), a->item, a->factor);
        else memcpy(to, from, (size_t)((end - begin) * a->bytes));
    }
    else if (kernel && a->bytes == a->item && !job->order) kernel(to, a->data + begin * a->step, end - begin, a->step, a->factor);
    else if (kernel) packed(a, job, begin, end, to, a->bytes, kernel);
    else if (a->bytes == 1) packed(a, job, begin, end, to, 1, NULL);
    else if (a->bytes == 4) packed(a, job, begin, end, to, 4, NULL);
    else if (a->bytes == 8) packed(a, job, begin, end, to, 8, NULL);
    else packed(a, job, begin, end, to, a->bytes, NULL);
}

void fo_gather_rows(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_gathering *job = ctx;
    while (begin < end) {
        const ptrdiff_t batch = begin / job->size, start = begin - batch * job->size;
        const ptrdiff_t stop = end - batch * job->size < job->size ? end - batch * job->size : job->size;
        const ptrdiff_t entry = job->first + batch * job->leap;
        for (int j = 0; j < job->count; j++) {
            const fo_rows *a = &job->arrays[j];
            rows(a, job, entry + start, entry + stop, job->out[batch * job->count + j] + start * a->out_bytes);
        }
        begin = batch * job->size + stop;
    }
}

static ptrdiff_t row_bytes(const fo_gathering *job)
{
    ptrdiff_t bytes = 1;
    for (int j = 0; j < job->count; j++) bytes += job->arrays[j].bytes + job->arrays[j].out_bytes;
    return bytes;
}

ptrdiff_t fo_gather_grain(const fo_gathering *job) { return 1 + 2 * GRAIN_BYTES / row_bytes(job); }

void fo_gather(const fo_gathering *job, int threads)
{
    if (row_bytes(job) * job->n < 2 * THREAD_BYTES) threads = 1;
    fo_gathering once = *job;
    if (threads > 1) fo_parallel(fo_gather_rows, &once, job->n, fo_gather_grain(job), threads);
    else fo_gather_rows(&once, 0, job->n);
}

void fo_copy_rows(const fo_rows *array, char *const out[2], const uint32_t *order, ptrdiff_t n, ptrdiff_t size, int distance)
{
    const size_t bytes = (size_t)array->bytes;
    for (ptrdiff_t i = 0; i < n; i++) {
        if (distance > 0 && i + distance < n) fetch(array, order[i + distance], (array->bytes + LINE - 1) / LINE);
        memcpy(out[(i / size) & 1] + (size_t)(i % size) * bytes, array->data + order[i] * array->step, bytes);
    }
}
