/* fastopt.h: all that code outside csrc/ sees. No Python, no allocation, no error strings: callers check, C asserts.
 *
 * Offsets and counts are ptrdiff_t everywhere, so 2^31 elements and more work. "Elements" are float or double, by width.
 */
#ifndef FASTOPT_H
#define FASTOPT_H
#include <stddef.h>
#include <stdint.h>
#include "threads.h"
#include "shuffle.h"
#include "gather.h"
#include "ahead.h"
#include "permute.h"
#include "solve.h"
#include "descent.h"
#include "files.h"
#include "norm_api.h"

#if defined(__GNUC__)
#define FO_VISIBLE __attribute__((visibility("default")))      /* looked up by name: threadpoolctl */
#else
#define FO_VISIBLE
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum { FO_F32, FO_F64, FO_WIDTHS };
enum {
    FO_MAX_STATES = 3,
    FO_MAX_DIMS = 64,              /* as NumPy 2 */
    FO_MAX_HYPER = 8,
    FO_MAX_SCALARS = 1,
    FO_MAX_COEFS = 10,             /* members of the largest <rule>_k */
    FO_BLOCK = 8192                /* elements per block: the unit of work, and of the fixed order of sums */
};

enum fo_rule {
#define RULE(name, states, state_names, hyper_names, scalar_names) FO_RULE_##name,
#include "rules.def"
#undef RULE
    FO_RULES
};

typedef struct {
    const char *name;
    int states;
    const char *state_names, *hyper_names, *scalar_names;     /* separated by one space */
} fo_rule_info;

/* Where the elements of an array lie, in C order of their indices; strides in bytes, any sign. */
typedef struct fo_layout {
    int nd;
    ptrdiff_t shape[FO_MAX_DIMS], strides[FO_MAX_DIMS];
} fo_layout;

/* One tensor of a step. States and average are contiguous, aligned, in C order, and overlap nothing. */
typedef struct {
    ptrdiff_t n;                   /* elements, >= 0 */
    ptrdiff_t first;               /* number of its first block among all blocks of the step */
    char *p;                       /* in/out */
    char *g;                       /* in; written only with FO_ZERO_GRADS; overlaps no p, state, average */
    void *s[FO_MAX_STATES];        /* in/out, as many as the rule has */
    void *avg;                     /* in/out with FO_AVERAGE */
    const fo_layout *p_at, *g_at;  /* NULL: contiguous and aligned to the element */
    int width;                     /* FO_F32 or FO_F64 */
    int group;
} fo_tensor;

/* What a group of tensors is updated with at one step; made by fo_prepare. */
typedef struct {
    double k_f64[FO_MAX_COEFS];
    float k_f32[FO_MAX_COEFS];
    double keep;                   /* decoupled decay: p is multiplied by it first; 1: none */
    double decay;                  /* coupled decay: g + decay p; 0: none */
} fo_group;

enum { FO_COUNT_NONFINITE = 1, FO_ZERO_GRADS = 2, FO_AVERAGE = 4, FO_STATS = 8, FO_FLUSH = 16 };

/* Sums over one tensor that diagnostics are made of (FO_STATS). */
typedef struct {
    double gg;                     /* |g|^2, g as the rule sees it */
    double pp;                     /* |p|^2 after the step */
    double uu;                     /* |p after - p before|^2 */
    double mm, gm;                 /* |m|^2 and g.m with m the momentum before the step */
} fo_sums;

typedef struct {
    const fo_tensor *tensors;
    const fo_group *groups;
    ptrdiff_t count;               /* tensors */
    ptrdiff_t blocks;              /* of all of them */
    ptrdiff_t elements;            /* of all of them */
    int rule, flags;
    int momentum;                  /* which state diagnostics call momentum; -1: none */
    double scale;                  /* g is multiplied by it */
    double clip;                   /* then cut to [-clip, clip]; INFINITY: no */
    double average;                /* avg += average (p - avg) */
    double *squares;               /* out, per block: see fo_squares */
    fo_sums *sums;                 /* out, per block, with FO_STATS */
    int64_t *nonfinite;            /* out, per block, with FO_COUNT_NONFINITE */
} fo_job;

/* ---- instruction sets ---- */
int fo_use(const char *isa);               /* choose kernels by name; NULL: the best. 0, or -1: not on this machine or build */
const char *fo_isa(void);                  /* name in use */
const char *fo_isa_name(int i);            /* i-th name of this build, best first; NULL past the end */
int fo_isa_runs(int i);                    /* does this processor have it? */

/* ---- first-order steps ---- */
extern const fo_rule_info fo_rule_table[FO_RULES];

/* Coefficients of one group at step t >= 1. h in the order of the rule's row; scalars are updated in place. */
void fo_prepare(int rule, const double *h, double weight_decay, int decoupled, double t, double *scalars, fo_group *out);

/* One pass: reads and writes every stream of every tensor once. Bits do not depend on threads. */
void fo_step(const fo_job *job, int threads);

/* Norm of the gradients before scaling: of each tensor in norms[count], of all of them as the result. One read pass, fixed order; sums
 * in double (for float, of four squares added in float); right where squares leave the range of double. Inf or NaN if an element is; Inf also where the norm itself leaves the range of double. job->squares[blocks] is scratch. */
double fo_gradient_norm(const fo_job *job, double *norms, int threads);

int64_t fo_count_nonfinite(const fo_tensor *t);    /* elements of the gradient of one tensor that are Inf or NaN */

/* ---- threads ---- */
FO_VISIBLE void fo_set_num_threads(int n);            /* 1 <= n <= FO_THREADS_LIMIT */
FO_VISIBLE int fo_get_num_threads(void);

/* ---- the floor, for benchmarks: the streams of a step with trivial arithmetic ----
 * Adds read[n] to each of `written` (0 to 5 arrays of n); reads read[n] once more, before, if `twice` (with none written: only
 * that). All of it `repeat` times. */
void fo_floor(int width, void *const *written, int n_written, const void *read, int twice, ptrdiff_t n, int threads, int repeat);

/* ---- layers of a small network, for one width; see layers.h for each call ---- */
enum { FO_NONE, FO_RELU, FO_TANH, FO_SIGMOID, FO_TIMES };
enum { FO_BINARY_CROSS_ENTROPY, FO_SQUARED, FO_HUBER };
typedef struct {
    void (*bias)(void *y, const void *b, ptrdiff_t rows, ptrdiff_t cols, int relu);
    void (*slope)(int kind, void *d, const void *y, void *sum, ptrdiff_t rows, ptrdiff_t cols);
    void (*dropout)(const void *u, const void *x, void *y, ptrdiff_t n, double p);
    double (*softmax_cross_entropy)(const void *z, const int64_t *label, void *d, ptrdiff_t rows, ptrdiff_t cols);
    double (*hinge)(const void *z, const int64_t *label, void *d, ptrdiff_t rows, ptrdiff_t cols);
    double (*pointwise)(int kind, const void *z, const void *y, void *d, ptrdiff_t rows, ptrdiff_t cols, double delta);
    ptrdiff_t (*outside)(const void *x, ptrdiff_t n, double low, double high);
} fo_layers;
const fo_layers *fo_layers_of(int width);

/* ---- the inverse Hessian of BFGS as one packed triangle (layout: triangle.h) ----
 * H + s w' + w s' is the matrix meant: a rank-two update stays pending until the next pass, which has to read H anyway. s == NULL: none
 * is pending. Arrays lie anywhere an element of the width may; n >= 0. */
ptrdiff_t fo_triangle_elements(int width, ptrdiff_t n);                       /* to allocate; 32-byte alignment is fastest */
size_t fo_triangle_scratch(int width, ptrdiff_t n);                           /* bytes that a pass needs; 0 for the smallest n */
void fo_triangle_identity(int width, ptrdiff_t n, void *h, double gamma);     /* H = gamma I */
void fo_triangle_pack(int width, ptrdiff_t n, const void *a, void *h);        /* H = a[n n], of which the lower triangle is read */
void fo_triangle_unpack(int width, ptrdiff_t n, const void *h, const void *s, const void *w, void *out);      /* out[n n], by rows */
/* One pass: h += s w' + w s', u[n] = H g with the new H. u overlaps nothing; h is only read if s is NULL. Bits do not depend on threads. */
void fo_triangle_pass(int width, ptrdiff_t n, void *h, const void *s, const void *w, const void *g, void *u, void *scratch, int threads);
/* The floor of a pass, for benchmarks: n (n + 1) / 2 elements read and written once, with a constant added; `repeat` times. */
void fo_triangle_floor(int width, ptrdiff_t n, void *h, int threads, int repeat);

/* ---- the same with BLAS: a[n n] by rows, of which the upper triangle is used; 0 <= n < 2^31 ---- */
void fo_dense_pass(const fo_blas *blas, int width, ptrdiff_t n, void *a, const void *s, const void *w, const void *g, void *u);
void fo_dense_unpack(int width, ptrdiff_t n, const void *a, const void *s, const void *w, void *out);   /* out may be a */

/* ---- the calls above as pointers, for modules that do not link csrc themselves ---- */
typedef struct {
    int (*get_num_threads)(void);
    const fo_rule_info *rules;
    void (*prepare)(int rule, const double *h, double weight_decay, int decoupled, double t, double *scalars, fo_group *out);
    void (*step)(const fo_job *job, int threads);
    double (*gradient_norm)(const fo_job *job, double *norms, int threads);
    int64_t (*count_nonfinite)(const fo_tensor *t);
    void (*floor)(int width, void *const *written, int n_written, const void *read, int twice, ptrdiff_t n, int threads, int repeat);
    const fo_layers *(*layers)(int width);
    void (*shuffle)(void *order, int wide, ptrdiff_t n, const fo_bits *bits);                        /* these two: shuffle.h */
    void (*draw)(void *order, int wide, ptrdiff_t count, ptrdiff_t n, const fo_bits *bits);
    void (*gather)(const fo_gathering *job, int threads);                                            /* these four: gather.h */
    void (*gather_rows)(void *ctx, ptrdiff_t begin, ptrdiff_t end);
    ptrdiff_t (*gather_grain)(const fo_gathering *job);
    void (*copy_rows)(const fo_rows *array, char *const out[2], const uint32_t *order, ptrdiff_t n, ptrdiff_t size, int distance);
    void (*ahead_begin)(fo_ahead *job);                                                              /* these three: ahead.h */
    void (*ahead_finish)(fo_ahead *job);
    unsigned (*ahead_forks)(void);
    const fo_method_info *methods;                                                                   /* these: solve.h */
    void (*default_options)(fo_options *o, int method, int width, int64_t n);
    int64_t (*solver_bytes)(int width, int64_t n, const fo_options *o);
    void (*solver_begin)(void *block, int width, int64_t n, const fo_options *o);
    int (*solver_valid)(const void *block, int64_t bytes);
    int (*solver_advance)(fo_solver *s, const fo_blas *blas);
    int (*solver_run)(fo_solver *s, const fo_blas *blas, fo_objective fun, void *user, int64_t budget);
    void (*solver_stop)(fo_solver *s, int status);
    void *(*solver_vector)(fo_solver *s, int place);
    void (*inverse_hessian)(fo_solver *s, void *out);
    void (*start_inverse_hessian)(fo_solver *s, const void *a);
    int64_t (*many_ask)(fo_many *m, void *x, int64_t *rows);
    void (*many_tell)(fo_many *m, const double *f, const void *g);
    int (*many_run)(fo_many *m, fo_objective fun, void *user, int64_t step, int64_t budget, int threads);
    void (*search_begin)(fo_search *q);                                                              /* these four: search/search.h */
    int (*search_advance)(fo_search *q, double f, double df);
    const char *(*search_name)(int kind);
    const char *(*search_reason)(int why);
    ptrdiff_t (*triangle_elements)(int width, ptrdiff_t n);
    size_t (*triangle_scratch)(int width, ptrdiff_t n);
    void (*triangle_identity)(int width, ptrdiff_t n, void *h, double gamma);
    void (*triangle_pack)(int width, ptrdiff_t n, const void *a, void *h);
    void (*triangle_unpack)(int width, ptrdiff_t n, const void *h, const void *s, const void *w, void *out);
    void (*triangle_pass)(int width, ptrdiff_t n, void *h, const void *s, const void *w, const void *g, void *u, void *scratch,
                          int threads);
    void (*triangle_floor)(int width, ptrdiff_t n, void *h, int threads, int repeat);
    void (*dense_pass)(const fo_blas *blas, int width, ptrdiff_t n, void *a, const void *s, const void *w, const void *g, void *u);
    void (*dense_unpack)(int width, ptrdiff_t n, const void *a, const void *s, const void *w, void *out);
    size_t (*pairs_bytes)(int width, ptrdiff_t n, int m);                                            /* to pairs_get: pairs_api.h */
    size_t (*pairs_scratch)(int width, ptrdiff_t n, int m);
    void (*pairs_begin)(void *block, int width, ptrdiff_t n, int m);
    void (*pairs_reset)(void *block);
    void (*pairs_measure)(void *block, const void *x, const void *xt, const void *g, const void *gt, fo_pair_sums *out, void *scratch,
                          int threads);
    void (*pairs_damp)(void *block, double theta, const void *gt, fo_pair_sums *out, void *scratch, int threads);
    void (*pairs_accept)(void *block);
    void (*pairs_reject)(void *block);
    double (*pairs_direction)(void *block, const void *gt, void *d, void *scratch, int threads);
    double (*pairs_two_loop)(const void *block, const void *gt, void *d, void *scratch, int threads);
    double (*pairs_product)(const void *block, const void *v, void *out, void *scratch, int threads);
    void (*pairs_get)(const void *block, int age, void *s, void *y);
    void (*column_norms)(const fo_columns *x, double *norms, int threads);                           /* these three: descent.h */
    void (*descent_begin)(fo_descent *s);
    int (*descend)(fo_descent *s, int64_t budget);
    void (*permute_begin)(fo_permute *p, int64_t n, const uint32_t *words);                          /* these five: permute.h */
    int64_t (*permute_at)(const fo_permute *p, int64_t i, int inverse);
    void (*permute_slice)(const fo_permute *p, int64_t first, int64_t step, ptrdiff_t count, int wide, void *out, int threads);
    void (*permute_map)(const fo_permute *p, const int64_t *in, int64_t *out, ptrdiff_t count, int inverse, int threads);
    void (*alias)(const double *weights, int64_t n, uint64_t *threshold, int64_t *other, double *share, int64_t *work);
    int (*stamp_file)(int fd, int64_t stamp[FO_STAMP]);                                              /* to csr_rows: files.h */
    ptrdiff_t (*outside)(const void *order, int wide, ptrdiff_t n, int64_t rows);
    void (*sort_picks)(const void *order, int wide, ptrdiff_t n, int64_t rows, fo_pick *picks, fo_pick *scratch);
    int (*read_rows)(fo_read_job *job);
    void (*advise_rows)(const fo_file *file, ptrdiff_t bytes, int64_t first, int64_t n);
    int64_t (*csr_starts)(const fo_csr *m, const void *order, int wide, ptrdiff_t n, int64_t *starts);
    void (*csr_rows)(const fo_csr *m, const void *order, int wide, ptrdiff_t n, const int64_t *starts, int out_wide, void *indptr,
                     void *indices, char *data);
    size_t (*norm_scratch)(const fo_norm *job);                                                      /* to norm_floor: norm_api.h */
    void (*norm_train)(const fo_norm *job, int threads);
    void (*norm_apply)(const fo_norm *job, int threads);
    void (*norm_back)(const fo_norm *job, int fixed, int normed, int threads);
    void (*norm_running)(const fo_norm *job, int width, void *mean, void *var, double *count, double keep, double share, int unbiased);
    void (*norm_given)(const fo_norm *job, int width, const void *mean, const void *var);
    size_t (*layer_norm_scratch)(const fo_layer_norm *job);
    void (*layer_norm_forward)(const fo_layer_norm *job, int threads);
    void (*layer_norm_back)(const fo_layer_norm *job, int threads);
    void (*norm_floor)(int width, const void *x, void *y, const void *dy, void *dx, ptrdiff_t n, int repeat);
} fo_api;
const fo_api *fo_get_api(void);

#ifdef __cplusplus
}
#endif
#endif
