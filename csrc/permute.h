/* permute.h: a random permutation of 0 .. n-1 that needs no memory: any element, any slice, the inverse, n up to 2^63 - 1.
 *
 * A Feistel network on pairs (r, l) with r < rows and l < 2^shift, x = r 2^shift + l; rows 2^shift is n or less than 2^shift more.
 * Where the network leads out of 0 .. n-1, it is applied again (cycle walking), which happens with a chance of about 1 / sqrt(n).
 * All of it is arithmetic of integers, so the bits are the same everywhere. Not for secrets.
 *
 * J. Black, P. Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002, section 4 (unequal halves, addition modulo their
 * sizes) and section 3 (cycle walking); R. Mitchell, D. Stokes, E. Frank, G. Holmes, Bandwidth-optimal random shuffling for GPUs,
 * ACM TOPC 9 (2022), use such networks for shuffling. Here the low half is a power of two, so that nothing has to be divided.
 */
#ifndef FO_PERMUTE_H
#define FO_PERMUTE_H
#include <stddef.h>
#include <stdint.h>

enum { FO_PERMUTE_ROUNDS = 24, FO_PERMUTE_WORDS = 2 * FO_PERMUTE_ROUNDS };

typedef struct {
    uint64_t n;                                /* >= 1 */
    uint32_t rows;                             /* values of the high half, 1 .. 2^31 */
    uint32_t shift;                            /* bits of the low half, 1 .. 32; at most 16 for n < 2^32 */
    uint32_t add[FO_PERMUTE_ROUNDS], mul[FO_PERMUTE_ROUNDS];      /* keys of the rounds; mul is odd */
} fo_permute;

/* 1 <= n < 2^63; words[FO_PERMUTE_WORDS] are uniform random bits: add and mul of round 0, of round 1, and so on. */
void fo_permute_begin(fo_permute *p, int64_t n, const uint32_t *words);

/* Element i, or with `inverse` the place of element i; 0 <= i < n. */
int64_t fo_permute_at(const fo_permute *p, int64_t i, int inverse);

/* out[k] = element first + k step, k < count; all of those places exist. out is uint32_t, n < 2^32, or with `wide` int64_t. */
void fo_permute_slice(const fo_permute *p, int64_t first, int64_t step, ptrdiff_t count, int wide, void *out, int threads);

/* out[k] = element in[k], or with `inverse` its place, k < count; 0 <= in[k] < n. out may be in. */
void fo_permute_map(const fo_permute *p, const int64_t *in, int64_t *out, ptrdiff_t count, int inverse, int threads);

/* Table for draws by weight (alias.c): a row is drawn uniformly, then 64 random bits; below threshold[row] it stays, else it is other[row].
 * weights[n] are finite, >= 0, not all 0; n >= 1; share[n] and work[n] are scratch. */
void fo_alias(const double *weights, int64_t n, uint64_t *threshold, int64_t *other, double *share, int64_t *work);
#endif
