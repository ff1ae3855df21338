/* shuffle.h: random orders of rows, and rows gathered in such an order. Nothing here depends on the instruction set. */
#ifndef FO_SHUFFLE_H
#define FO_SHUFFLE_H
#include <stddef.h>
#include <stdint.h>
struct fo_layout;

/* A source of random bits that somebody else owns; only one call may use it at a time. */
typedef struct {
    void *state;
    uint64_t (*next)(void *state);     /* 64 uniform bits */
} fo_bits;

/* One array whose rows are gathered. A row is an element, or a whole sub-array, at the first index. */
typedef struct {
    const char *data;              /* row 0; any alignment */
    ptrdiff_t step;                /* bytes from a row to the next, any sign */
    ptrdiff_t bytes;               /* of one row, packed, >= 0 */
    ptrdiff_t run;                 /* bytes that lie together in the source; == bytes: the row is packed there */
    const struct fo_layout *runs;  /* how the runs of one row lie, strides in bytes; not read for packed rows */
    char *out;                     /* n rows, packed; overlaps no source */
} fo_rows;

/* order[n] becomes a permutation of 0 .. n-1, each of the n! equally likely if the bits are uniform.
 * order is uint32_t, n < 2^32, or with `wide` int64_t. The same bits give the same order on every machine. */
void fo_shuffle(void *order, int wide, ptrdiff_t n, const fo_bits *bits);

/* order[count] becomes independent uniform draws from 0 .. n-1, n >= 1; widths as above. */
void fo_draw(void *order, int wide, ptrdiff_t count, ptrdiff_t n, const fo_bits *bits);

/* Rows order[first .. first+n) of `count` arrays, or rows first .. first+n themselves if order is NULL. All that order holds must be
 * row numbers of every array. `ahead` entries of order follow the last: their rows are fetched into cache, not copied. */
void fo_gather(const fo_rows *arrays, int count, const void *order, int wide, ptrdiff_t first, ptrdiff_t n, ptrdiff_t ahead,
               int threads);

/* The floor, for benchmarks: the plainest loop that copies packed rows of one array in batches of `size`, into two buffers in turn.
 * `distance` > 0: fetches the row that many places ahead. */
void fo_copy_rows(const fo_rows *array, char *const out[2], const uint32_t *order, ptrdiff_t n, ptrdiff_t size, int distance);
#endif
