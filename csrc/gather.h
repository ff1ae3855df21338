/* gather.h: rows of arrays gathered into batches, converted and scaled on the way. */
#ifndef FO_GATHER_H
#define FO_GATHER_H
#include <stddef.h>
#include <stdint.h>
struct fo_layout;

/* Element types that a gather converts from: to float or double. */
#define FO_KINDS(KIND)                                                                                                        \
    KIND(u8, uint8_t) KIND(i8, int8_t) KIND(u16, uint16_t) KIND(i16, int16_t) KIND(u32, uint32_t) KIND(i32, int32_t)          \
    KIND(u64, uint64_t) KIND(i64, int64_t) KIND(f16, uint16_t) KIND(f32, float) KIND(f64, double)
enum {
    FO_KIND_COPY = -1,             /* bytes as they are */
#define KIND(name, type) FO_KIND_##name,
    FO_KINDS(KIND)
#undef KIND
    FO_KIND_COUNT
};

/* One array whose rows are gathered. A row is an element, or a whole sub-array, at the first index. */
typedef struct {
    const char *data;              /* row 0; any alignment */
    ptrdiff_t step;                /* bytes from a row to the next, any sign */
    ptrdiff_t bytes;               /* of one row, packed, >= 0 */
    ptrdiff_t run;                 /* bytes that lie together in the source; == bytes: the row is packed there */
    const struct fo_layout *runs;  /* how the runs of one row lie, strides in bytes; not read for packed rows */
    int kind;                      /* of its elements, FO_KIND_...; FO_KIND_COPY: neither converted nor scaled */
    int width;                     /* FO_F32 or FO_F64: what an element becomes, unless copied */
    double factor;                 /* out = (T)x * (T)factor, T the width; 1: converted only */
    ptrdiff_t item, out_bytes;     /* bytes of an element of the source; of a row of the batch */
} fo_rows;

/* Some batches of `count` arrays. Entry i of batch b is order[first + b leap + i], or that number itself if order is NULL; all
 * that is read of order must be row numbers of every array. */
typedef struct {
    const fo_rows *arrays;
    int count;
    int wide;                      /* order is uint32_t, or if `wide` int64_t */
    const void *order;
    ptrdiff_t known;               /* entries of order: rows of those that come next are fetched into cache */
    ptrdiff_t first, leap;         /* leap >= size */
    ptrdiff_t size;                /* rows of a batch, >= 1 */
    ptrdiff_t n;                   /* rows of all batches: the last one may be short */
    char *const *out;              /* out[batch * count + array]: packed rows; none overlaps another or a source */
} fo_gathering;

void fo_gather(const fo_gathering *job, int threads);
/* The same as a task for fo_ahead_begin: ctx is the fo_gathering, pieces are rows; and how many rows to take at a time. */
void fo_gather_rows(void *ctx, ptrdiff_t begin, ptrdiff_t end);
ptrdiff_t fo_gather_grain(const fo_gathering *job);

/* The floor, for benchmarks: the plainest loop that copies packed rows of one array in batches of `size`, into two buffers in turn.
 * `distance` > 0: fetches the row that many places ahead. */
void fo_copy_rows(const fo_rows *array, char *const out[2], const uint32_t *order, ptrdiff_t n, ptrdiff_t size, int distance);
#endif
