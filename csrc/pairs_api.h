/* pairs_api.h: the memory of L-BFGS, m pairs (s, y) of length n, and its products with a vector. Part of fastopt.h.
 *
 * A memory is one block of bytes without pointers: it may be copied, saved and read back. The caller hands it in, 64-byte aligned.
 * For every new iterate: fo_pairs_measure, a curvature test of the caller's, then fo_pairs_accept or fo_pairs_reject (or
 * fo_pairs_damp before accepting), then fo_pairs_direction.
 *
 *   symbol          here            what
 *   s_k, y_k        rows            steps and differences of gradients, in tiles (pairs.h)
 *   R               ry              upper triangle of S'Y, pairs in order of age
 *   D               sy              diagonal of S'Y; for n <= FO_PAIRS_DIRECT its inverse
 *   H_0 = gamma I   gamma           s'y / y'y of the newest pair; 1 without one
 *
 * Sources: Nocedal (1980), Math. Comp. 35 (the two loops); Byrd, Nocedal and Schnabel (1994), Math. Programming 63, theorem 2.2 (the
 * compact form); Powell (1978), Math. Programming 14, and Wang, Ma, Goldfarb and Liu (2017), SIAM J. Optim. 27 (damping).
 */
#ifndef FO_PAIRS_API_H
#define FO_PAIRS_API_H
#include <stddef.h>

enum {
    FO_PAIRS_MAX = 64,             /* largest m */
    FO_PAIRS_DIRECT = 16           /* up to this n the two loops beat the compact form, and rows are double for either width */
};

/* The head of a block. A caller may read all of it, and write gamma. */
typedef struct fo_pairs {
    ptrdiff_t n;
    int width, m;
    int count;                     /* pairs that count, <= m */
    int head;                      /* slot of the next pair; the newest is in the slot before, cyclically */
    double gamma;                  /* > 0 */
    double fresh_sy, fresh_yy;     /* of the pair last measured */
    ptrdiff_t row, tile;           /* elements from row to row of a tile, and from tile to tile */
    ptrdiff_t sy, ry, yy, sg, yg, rows;     /* bytes from here to the arrays; products of pairs are indexed by slot */
} fo_pairs;

/* What fo_pairs_measure finds. NaN or Inf in gt shows in gg, in the rest of y in yy. */
typedef struct {
    double sy, yy, ss;             /* s'y, y'y, s's */
    double gg, sg, yg;             /* gt'gt, s'gt, y'gt */
    double largest;                /* max |gt|, NaN counted as 0 */
} fo_pair_sums;

size_t fo_pairs_bytes(int width, ptrdiff_t n, int m);         /* of the block; 1 <= m <= FO_PAIRS_MAX, n >= 0 */
size_t fo_pairs_scratch(int width, ptrdiff_t n, int m);       /* bytes of scratch for the calls below, aligned to double; may be 0 */
void fo_pairs_begin(void *block, int width, ptrdiff_t n, int m);      /* no pair, gamma = 1; touches the head only */
void fo_pairs_reset(void *block);                                     /* forgets all pairs, gamma = 1 */

/* Forms s = xt - x, y = gt - g in the next slot and, in the same pass, all products of gt and y with the pairs there. The pair does not
 * count yet. A full memory loses its oldest pair here, also if the new one is rejected. All vectors have n elements of the width. */
void fo_pairs_measure(void *block, const void *x, const void *xt, const void *g, const void *gt, fo_pair_sums *out, void *scratch,
                      int threads);
/* Replaces the measured y by theta y + (1 - theta) s / gamma, 0 <= theta <= 1, and measures it again: one more pass. gt as above. */
void fo_pairs_damp(void *block, double theta, const void *gt, fo_pair_sums *out, void *scratch, int threads);
void fo_pairs_accept(void *block);                            /* the measured pair counts; gamma = s'y / y'y. Needs s'y > 0 */
void fo_pairs_reject(void *block);                            /* it does not; the others and their products stay as they are */

/* d = -H gt, with gt that of the last fo_pairs_measure; d[n] overlaps nothing. One pass over the pairs by the compact form; where
 * that yields no direction of descent, the two loops. Returns gt'd (summed from gt and d), which is < 0 and finite, or NaN if there is
 * no such direction (gt = 0, too): reset, then. Without pairs d = -gamma gt, for any gt. */
double fo_pairs_direction(void *block, const void *gt, void *d, void *scratch, int threads);
/* The same by the two-loop recursion, for any gt: 2m + 1 passes over two vectors. The reference, and the fallback. */
double fo_pairs_two_loop(const void *block, const void *gt, void *d, void *scratch, int threads);
/* out = H v for any v; out[n] overlaps nothing. Returns v'out. Two passes by the compact form. */
double fo_pairs_product(const void *block, const void *v, void *out, void *scratch, int threads);
/* Copies the pair of age 0 (oldest) to count - 1, or the one just measured (count), into s[n] and y[n]. */
void fo_pairs_get(const void *block, int age, void *s, void *y);
#endif
