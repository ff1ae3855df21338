/* vectors.h: a solver's arithmetic on vectors of n elements of one width, over blocks and threads. Private to csrc/.
 *
 * Sums are double, in the fixed order of reduce.h: per block, then blocks by number. So bits depend neither on threads nor on the
 * instruction set. `space` says what all vectors of a problem have in common.
 */
#ifndef FO_VECTORS_H
#define FO_VECTORS_H
#include <stddef.h>

enum { FO_LINE_DOT, FO_LINE_NORMS, FO_LINE_STEP, FO_LINE_COMBINE, FO_LINE_PAIR };
enum { FO_PAIR_SUMS = 6 };

typedef struct {
    int op, width;
    ptrdiff_t n;
    const void *x, *y, *z, *w;
    void *out, *out2;
    double a, b;
    double *sums;                  /* [blocks][FO_PAIR_SUMS] */
} fo_lines;

typedef struct {
    int width, threads;
    ptrdiff_t n;
    double *scratch;               /* [blocks][FO_PAIR_SUMS]; not read for a single block */
} space;

typedef struct { double sy, yy, ss, gg, sg, yg; } pair_sums;

double vec_dot(const space *v, const void *x, const void *y);
/* The largest |x|, NaN if one is; *xx = x.x. */
double vec_norms(const space *v, const void *x, double *xx);
/* out = x + a y; 0 if that moved no element. out overlaps neither. */
int vec_step(const space *v, const void *x, double a, const void *y, void *out);
int vec_step_anew(const space *v, const void *x, double a, const void *y, void *out, int *changed);     /* from what out held? */
/* out = a x + b y; out may be x or y. */
void vec_combine(const space *v, double a, const void *x, double b, const void *y, void *out);
/* s = xt - x, y = gt - g (each stored unless NULL), and their products with each other and with gt. */
pair_sums vec_pair(const space *v, const void *x, const void *xt, const void *g, const void *gt, void *s, void *y);
size_t vec_size(const space *v);   /* bytes of a vector, rounded up to whole cache lines */
ptrdiff_t vec_scratch(ptrdiff_t n);/* doubles that `scratch` needs */
#endif
