/* shuffle.h: random orders of rows. Nothing here depends on the instruction set. */
#ifndef FO_SHUFFLE_H
#define FO_SHUFFLE_H
#include <stddef.h>
#include <stdint.h>

/* A source of random bits that somebody else owns; only one call may use it at a time. */
typedef struct {
    void *state;
    uint64_t (*next)(void *state);     /* 64 uniform bits */
} fo_bits;

/* order[n] becomes a permutation of 0 .. n-1, each of the n! equally likely if the bits are uniform.
 * order is uint32_t, n < 2^32, or with `wide` int64_t. The same bits give the same order on every machine. */
void fo_shuffle(void *order, int wide, ptrdiff_t n, const fo_bits *bits);

/* order[count] becomes independent uniform draws from 0 .. n-1, n >= 1; widths as above. */
void fo_draw(void *order, int wide, ptrdiff_t count, ptrdiff_t n, const fo_bits *bits);
#endif
