/* solve.h: solvers as machines (reverse communication). Public, through fastopt.h.
 *
 * The caller owns one block of memory; fo_begin lays a solver out in it. Then, over and over: r = fo_advance(s), do what r asks for,
 * and call again. Everything that must survive lies in the block, which holds no pointer: its bytes, copied, are the saved state, and a
 * copy anywhere else (64-byte aligned) goes on bit for bit. Scalars are double, whatever the width of the vectors.
 */
#ifndef FO_SOLVE_H
#define FO_SOLVE_H
#include <stddef.h>
#include <stdint.h>
#include "blas.h"
#include "pairs_api.h"
#include "search/search.h"

enum fo_method {
#define METHOD(name, loop, variants) FO_METHOD_##name,
#include "methods.def"
#undef METHOD
    FO_METHODS
};

/* What fo_advance asks for. Vectors are found by fo_vector; every answer is written into the block (f: into s->ft). */
enum fo_request {
    FO_STOPPED,                    /* s->status says why; the best point is FO_X, s->f, FO_G */
    FO_EVALUATE,                   /* at FO_XT: s->want & FO_WANT_F: s->ft; s->want & FO_WANT_G: FO_GT. s->have = what was given (may be more) */
    FO_HESSIAN,                    /* at FO_X: n x n, both triangles, to FO_MATRIX */
    FO_PRODUCT,                    /* FO_HV = Hessian at FO_X times FO_V */
    FO_PRECONDITION,               /* FO_Z = P FO_V, P symmetric positive definite */
    FO_ITERATED                    /* only with s->report: a step was taken; FO_X, s->f, FO_G are there to be shown */
};
enum { FO_WANT_F = 1, FO_WANT_G = 2 };

/* Why a run ended. One sentence each in minimize/result.py. */
enum fo_status {
    FO_GRADIENT_SMALL,             /* success: norm of the gradient <= gtol */
    FO_ITERATIONS,
    FO_PRECISION,                  /* no lower point can be told from rounding */
    FO_NONFINITE,                  /* f or gradient not finite where it had to be */
    FO_VALUE_SETTLED,              /* success: relative decrease <= ftol */
    FO_STEP_SMALL,                 /* success: relative step <= xtol */
    FO_EVALUATIONS,
    FO_UNBOUNDED,                  /* f reached -inf, or fmin */
    FO_NOT_DESCENT,                /* f does not fall along minus the gradient */
    FO_CHANGED,                    /* f at the same x came out differently */
    FO_TRUST_COLLAPSED,            /* region too small to move */
    FO_VALUE_REACHED,              /* success: f <= ftarget */
    FO_BY_CALLBACK = 99
};

typedef struct fo_options {
    int method, variant, search, threads;
    int norm;                      /* of the gradient, against gtol: 0 largest element, 2 Euclidean */
    int memory;                    /* pairs of L-BFGS, 1 to FO_PAIRS_MAX; values that bb looks back on */
    int precondition;              /* cg, gd, newton_cg: ask for FO_PRECONDITION */
    int max_trials;                /* of one search */
    int64_t maxiter, maxfev;
    int64_t restart;               /* cg: every so many steps; 0: never */
    double gtol, ftol, xtol;       /* <= 0: not tested */
    double ftarget, fmin;          /* -INFINITY: not tested */
    double c1, c2, eps_f;          /* of the search; eps_f: relative rounding of f */
    double powell;                 /* cg: restart where |g+.g| >= powell g+.g+; 0: never */
    double first_step;             /* length of the first step; 0: by rule */
    double max_step;               /* length of any step; INFINITY: no bound */
    double radius, max_radius;     /* trust region: first, 0: by rule; largest, 0: no bound */
    double eta;                    /* trust region: least ratio of a step that is taken */
} fo_options;

enum fo_place {                    /* vectors and matrices of a solver; what a method does not use has no memory */
    FO_X, FO_G, FO_XT, FO_GT, FO_D, FO_XB, FO_GB, FO_V, FO_HV, FO_Z, FO_ZB, FO_S, FO_Y, FO_W, FO_U, FO_P, FO_R,
    FO_MATRIX, FO_FACTOR, FO_TRIANGLE, FO_PAIRS, FO_SMALL, FO_SCRATCH, FO_PLACES
};

typedef struct fo_region {
    double radius;                 /* 0: not chosen yet */
    double predicted;              /* how far the model falls along FO_D */
    double length;                 /* |FO_D| */
    int32_t on_border;             /* the radius is what limits the step */
    int32_t rejected;              /* steps from this point that were refused: the model is as it was */
} fo_region;

typedef struct fo_solver {
    uint64_t magic;                /* layout of this struct; a foreign block is refused */
    int64_t bytes;                 /* of the whole block */
    int64_t n;
    int32_t width, resume, inner;  /* inner: where the method's own machine goes on */
    int32_t status, want, have, report, request;
    int32_t rose;                  /* trials in a row that rose about as much as the slope says they should fall */
    int64_t nit, nfev, njev, nhev, nprod, nprec, resets;
    double f, ft;                  /* at FO_X, at FO_XT */
    double f_old;                  /* at the point before FO_X; NaN before the first step */
    double fbest, fbest_old;       /* lowest value seen, and the lowest before it */
    double gnorm;                  /* of the gradient at FO_X, in the norm that is tested */
    double gg;                     /* g.g at FO_X */
    double gmax;
    double slope, slope_t;         /* g.d, gt.d */
    double alpha, alpha_old, slope_old;
    double low_alpha;              /* step of the lowest trial of this search */
    double x_move;                 /* |last step| */
    double mean_f, mean_q;         /* Hager and Zhang's C_k and Q_k */
    double flat_g;                 /* smallest gradient seen while f is flat */
    int32_t best_at;               /* 0: FO_X is the lowest point; 1: FO_XB holds a lower one, with its gradient; 2: without */
    int32_t lowest_trial;          /* FO_XT is lower than all before it */
    int32_t fresh;                 /* the direction is steepest descent: nothing is left to forget */
    int32_t weak, flat, low_here, tries, again;
    fo_options o;
    fo_search search;
    union {
        struct { double gz, gz_old, zy, yy, dy, dg, dd, gg_old; int64_t since; int32_t restart, spare; } cg;
        struct { double gamma, c; int32_t pending, filled, updated, fused; } bfgs;
        struct { double gamma; int32_t measured; } lbfgs;
        struct { double step, reference, history[32]; int64_t count; } bb;
        struct { double shift; int32_t forgotten, unknown; } newton;
        struct { double rz, goal, top; int64_t k; int32_t plain, forgotten, unknown, spare; } newton_cg;
        fo_region region;              /* what region.c knows; the methods' own come behind it */
        struct { fo_region region; double g, low, eigen_low, eigen_high, norm, next; int32_t known, unknown, mixed, spare; } trust;
        struct { fo_region region; double rr, goal, top, gp, pp, ghg, ghp, php; int64_t k; int32_t known, unknown; } trust_cg;
    } m;
    int64_t at[FO_PLACES];         /* offsets in bytes from the block's start; 0: absent */
} fo_solver;

typedef struct { const char *name, *variants; } fo_method_info;
extern const fo_method_info fo_method_table[FO_METHODS];

/* Bytes of the block for a problem of n elements; -1: does not fit into memory at all. */
int64_t fo_solver_bytes(int width, int64_t n, const fo_options *o);
/* Lays a solver out in a 64-byte aligned block of that size. The caller then writes x0 to FO_XT. */
void fo_begin(void *block, int width, int64_t n, const fo_options *o);
/* blas is read by newton, saddle_free, trust and bfgs with variant "blas" alone; else it may be NULL. */
int fo_advance(fo_solver *s, const fo_blas *blas);
void *fo_vector(fo_solver *s, int place);
/* Is this block, of so many bytes, the state of a solver of this build? Nothing in it is trusted before. */
int fo_solver_valid(const void *block, int64_t bytes);
/* The caller stops a run (callback, limits of its own): the best point goes to FO_X, FO_G. */
void fo_stop(fo_solver *s, int status);
/* bfgs: the inverse Hessian as a full symmetric n x n matrix, up to date. */
void fo_inverse_hessian(fo_solver *s, void *out);
/* bfgs, before the first advance: H = a[n n], symmetric and positive definite, instead of a multiple of I. */
void fo_start_inverse_hessian(fo_solver *s, const void *a);
void fo_default_options(fo_options *o, int method, int width, int64_t n);

/* A compiled objective: f, and the gradient to g. Vectors have the solver's width. */
typedef double (*fo_objective)(int64_t n, const void *x, void *g, void *user);
/* Runs until it stops (FO_STOPPED), something else than an evaluation is asked for, or `budget` evaluations were made (FO_EVALUATE: call again). */
int fo_run(fo_solver *s, const fo_blas *blas, fo_objective fun, void *user, int64_t budget);

/* ---- many problems of one size (solve/many.c); methods that ask for evaluations alone ---- */
typedef struct {
    int width, lanes;              /* lanes: problems under way at once */
    int64_t n, rows, block_bytes;  /* block_bytes: of one solver, a multiple of 64 */
    const fo_options *o;
    const char *x0;                /* [rows][n] */
    char *x, *g;                   /* out, [rows][n]: written as problems end, like all that follow */
    double *f;
    int64_t *nit, *nfev, *njev;
    int32_t *status;
    char *blocks;                  /* [lanes][block_bytes], 64-byte aligned */
    int64_t *row;                  /* [lanes], the problem of each; -1: none, at first */
    int64_t next;                  /* first problem that no lane has taken; 0 at first */
} fo_many;
/* The points to evaluate, x[k][n], and which problems they are of, rows[k]; returns k <= lanes, 0 at the end. */
int64_t fo_many_ask(fo_many *m, void *x, int64_t *rows);
/* Values and gradients at the points of the last ask, in its order. */
void fo_many_tell(fo_many *m, const double *f, const void *g);
/* About `budget` evaluations in each lane; `user` moves on by `step` bytes a problem. 0: all problems have ended. */
int fo_many_run(fo_many *m, fo_objective fun, void *user, int64_t step, int64_t budget, int threads);

#endif
