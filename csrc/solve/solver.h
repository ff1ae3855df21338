/* solver.h: what the files of solve/ share: a method's row, a solver's vectors and the rules about the best point. Private to csrc/.
 *
 * A method adds its difference only: where it keeps its memory, a direction from x and g, and what it learns from a step. The loops
 * (descent.c with a line search, region.c with a trust region) never ask which method they run.
 */
#ifndef FO_SOLVER_H
#define FO_SOLVER_H
#include <float.h>
#include <math.h>
#include <string.h>
#include "../fastopt.h"
#include "../machine.h"
#include "../vectors.h"

/* Lays out memory: counts bytes, and notes where each place begins. */
typedef struct { fo_solver *s; int64_t used; } plan;
void plan_place(plan *p, int place, int64_t bytes);
void plan_vector(plan *p, int place);

enum { READY = -1 };                   /* of a direction: it stands in FO_D */

typedef struct {
    void (*layout)(plan *p);                                       /* places beside those that every solver has; may be NULL */
    void (*start)(fo_solver *s);                                   /* once, after f and g at x0 */
    int (*direction)(fo_solver *s, const fo_blas *blas);    /* FO_D and s->slope, or a request; called again after it */
    double (*first)(fo_solver *s);                                 /* the first trial of the search along FO_D */
    void (*update)(fo_solver *s, const fo_blas *blas);      /* x, g, xt, gt, alpha known: learn; before they are exchanged */
    void (*reset)(fo_solver *s);                                   /* forget: the next direction is steepest descent */
} descent_method;

typedef struct {
    void (*layout)(plan *p);
    void (*start)(fo_solver *s);
    int (*propose)(fo_solver *s, const fo_blas *blas);      /* FO_D within s->m.region.radius, and what is said of it there; or a request */
} region_method;

extern const descent_method method_gd, method_bb, method_cg, method_bfgs, method_lbfgs, method_newton, method_newton_cg;
extern const region_method method_trust, method_trust_cg;

int descent_advance(fo_solver *s, const descent_method *m, const fo_blas *blas);
int region_advance(fo_solver *s, const region_method *m, const fo_blas *blas);
/* The first radius: the user's, else max(1, |x0|). */
void region_first(fo_solver *s);

/* ---- in common.c ---- */
static inline space space_of(fo_solver *s)
{
    return (space){ s->width, s->o.threads, s->n, s->at[FO_SCRATCH] ? (double *)((char *)s + s->at[FO_SCRATCH]) : NULL };
}
static inline void *vec(fo_solver *s, int place) { return (char *)s + s->at[place]; }
static inline void exchange(fo_solver *s, int a, int b)
{
    int64_t t = s->at[a];
    s->at[a] = s->at[b];
    s->at[b] = t;
}
void vec_copy(fo_solver *s, int from, int to);

/* FO_D = -c FO_G, c = 1 unless squares would leave the range of double; s->slope. */
void steepest(fo_solver *s);
/* The step along a steepest descent direction that nothing is known about: of length first_step, or at most 1. */
double first_of_all(fo_solver *s);
/* An evaluation came back: count it, and see whether FO_XT is the lowest point yet. `along` a direction: slope_t, NaN without G. */
void note_evaluation(fo_solver *s, int along);
/* FO_XT is about to be written: keep it if it is the lowest. */
void keep_lowest(fo_solver *s);
/* x, g <- xt, gt; f, norms, averages. The lowest point stays known. */
void take_step(fo_solver *s);
/* Norms of FO_G. */
void measure_gradient(fo_solver *s);
/* After a step, or at x0: a status >= 0 if the run ends here, else -1. */
int finished(fo_solver *s, int stepped);
/* The first evaluation came back: FO_XT becomes FO_X. What failed there; -1: nothing. */
int arrive(fo_solver *s);
#endif
