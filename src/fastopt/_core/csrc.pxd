# The only extern block for csrc/.
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "fastopt.h" nogil:
    enum:
        FO_F32
        FO_F64
        FO_MAX_STATES
        FO_MAX_DIMS
        FO_MAX_HYPER
        FO_MAX_SCALARS
        FO_BLOCK
        FO_RULES
        FO_COUNT_NONFINITE
        FO_ZERO_GRADS
        FO_AVERAGE
        FO_STATS
        FO_FLUSH

    ctypedef struct fo_rule_info:
        const char *name
        int states
        const char *state_names
        const char *hyper_names
        const char *scalar_names

    ctypedef struct fo_layout:
        int nd
        Py_ssize_t shape[64]
        Py_ssize_t strides[64]

    ctypedef struct fo_tensor:
        Py_ssize_t n
        Py_ssize_t first
        char *p
        char *g
        void *s[3]
        void *avg
        const fo_layout *p_at
        const fo_layout *g_at
        int width
        int group

    ctypedef struct fo_group:
        double keep
        double decay

    ctypedef struct fo_sums:
        double gg
        double pp
        double uu
        double mm
        double gm

    ctypedef struct fo_job:
        const fo_tensor *tensors
        const fo_group *groups
        Py_ssize_t count
        Py_ssize_t blocks
        Py_ssize_t elements
        int rule
        int flags
        int momentum
        double scale
        double clip
        double average
        double *squares
        fo_sums *sums
        int64_t *nonfinite

    ctypedef struct fo_bits:
        void *state
        uint64_t (*next)(void *state) noexcept nogil

    enum:
        FO_KIND_COPY
        FO_KIND_u8
        FO_KIND_i8
        FO_KIND_u16
        FO_KIND_i16
        FO_KIND_u32
        FO_KIND_i32
        FO_KIND_u64
        FO_KIND_i64
        FO_KIND_f16
        FO_KIND_f32
        FO_KIND_f64

    ctypedef struct fo_rows:
        const char *data
        Py_ssize_t step
        Py_ssize_t bytes
        Py_ssize_t run
        const fo_layout *runs
        int kind
        int width
        double factor
        Py_ssize_t item
        Py_ssize_t out_bytes

    ctypedef struct fo_gathering:
        const fo_rows *arrays
        int count
        int wide
        const void *order
        Py_ssize_t known
        Py_ssize_t first
        Py_ssize_t leap
        Py_ssize_t size
        Py_ssize_t n
        char **out

    ctypedef struct fo_ahead:
        void (*task)(void *ctx, Py_ssize_t begin, Py_ssize_t end) noexcept nogil
        void *ctx
        Py_ssize_t n
        Py_ssize_t grain

    enum:
        FO_NONE
        FO_RELU
        FO_TANH
        FO_SIGMOID
        FO_TIMES
        FO_BINARY_CROSS_ENTROPY
        FO_SQUARED
        FO_HUBER

    ctypedef struct fo_layers:
        void (*bias)(void *y, const void *b, Py_ssize_t rows, Py_ssize_t cols, int relu) noexcept nogil
        void (*slope)(int kind, void *d, const void *y, void *sum, Py_ssize_t rows,
                      Py_ssize_t cols) noexcept nogil
        void (*dropout)(const void *u, const void *x, void *y, Py_ssize_t n, double p) noexcept nogil
        double (*softmax_cross_entropy)(const void *z, const int64_t *label, void *d, Py_ssize_t rows,
                                        Py_ssize_t cols) noexcept nogil
        double (*hinge)(const void *z, const int64_t *label, void *d, Py_ssize_t rows,
                        Py_ssize_t cols) noexcept nogil
        double (*pointwise)(int kind, const void *z, const void *y, void *d, Py_ssize_t rows, Py_ssize_t cols,
                            double delta) noexcept nogil
        Py_ssize_t (*outside)(const void *x, Py_ssize_t n, double low, double high) noexcept nogil

    enum:
        FO_METHODS
        FO_STOPPED
        FO_EVALUATE
        FO_HESSIAN
        FO_PRODUCT
        FO_PRECONDITION
        FO_ITERATED
        FO_WANT_F
        FO_WANT_G
        FO_METHOD_bfgs
        FO_METHOD_newton
        FO_METHOD_trust
        FO_X
        FO_G
        FO_XT
        FO_GT
        FO_V
        FO_HV
        FO_Z
        FO_MATRIX
        FO_PAIRS
        FO_BY_CALLBACK

    ctypedef struct fo_options:
        int method
        int variant
        int search
        int threads
        int norm
        int memory
        int precondition
        int max_trials
        int64_t maxiter
        int64_t maxfev
        int64_t restart
        double gtol
        double ftol
        double xtol
        double ftarget
        double fmin
        double c1
        double c2
        double eps_f
        double powell
        double first_step
        double max_step
        double radius
        double max_radius
        double eta

    ctypedef struct fo_solver:
        int64_t bytes
        int64_t n
        int width
        int resume
        int status
        int want
        int have
        int report
        int request
        int64_t nit
        int64_t nfev
        int64_t njev
        int64_t nhev
        int64_t nprod
        int64_t nprec
        int64_t resets
        double f
        double ft
        double fbest
        double gnorm
        double alpha
        fo_options o

    ctypedef struct fo_method_info:
        const char *name
        const char *variants

    ctypedef double (*fo_objective)(int64_t n, const void *x, void *g, void *user) noexcept nogil

    enum:
        FO_SEARCHES
        FO_SEARCH_EVALUATE
        FO_SEARCH_DONE
        FO_SEARCH_FAILED
        FO_WHYS

    ctypedef struct fo_search:
        int kind
        double f0
        double df0
        double reference
        double first
        double min_alpha
        double max_alpha
        double c1
        double c2
        double eps_f
        double scale_f
        int approximate
        int max_trials
        double alpha
        double f
        double df
        double slack
        int want_slope
        int trials
        int bad
        int why
        int resume
        int result

    ctypedef struct fo_blas_f32:
        void (*symv)(const char *uplo, const int *n, const float *alpha, const float *a, const int *lda,
                     const float *x, const int *incx, const float *beta, float *y, const int *incy) noexcept nogil
        void (*syr2)(const char *uplo, const int *n, const float *alpha, const float *x, const int *incx,
                     const float *y, const int *incy, float *a, const int *lda) noexcept nogil
        void (*gemv)(const char *trans, const int *m, const int *n, const float *alpha, const float *a,
                     const int *lda, const float *x, const int *incx, const float *beta, float *y,
                     const int *incy) noexcept nogil
        void (*trsv)(const char *uplo, const char *trans, const char *diag, const int *n, const float *a,
                     const int *lda, float *x, const int *incx) noexcept nogil
        void (*potrf)(const char *uplo, const int *n, float *a, const int *lda, int *info) noexcept nogil
        void (*potrs)(const char *uplo, const int *n, const int *nrhs, const float *a, const int *lda, float *b,
                      const int *ldb, int *info) noexcept nogil
        void (*syevd)(const char *jobz, const char *uplo, const int *n, float *a, const int *lda, float *w,
                      float *work, const int *lwork, int *iwork, const int *liwork, int *info) noexcept nogil
        void (*sytrf)(const char *uplo, const int *n, float *a, const int *lda, int *ipiv, float *work,
                      const int *lwork, int *info) noexcept nogil
        void (*sytrs)(const char *uplo, const int *n, const int *nrhs, const float *a, const int *lda,
                      const int *ipiv, float *b, const int *ldb, int *info) noexcept nogil

    ctypedef struct fo_blas_f64:
        void (*symv)(const char *uplo, const int *n, const double *alpha, const double *a, const int *lda,
                     const double *x, const int *incx, const double *beta, double *y, const int *incy) noexcept nogil
        void (*syr2)(const char *uplo, const int *n, const double *alpha, const double *x, const int *incx,
                     const double *y, const int *incy, double *a, const int *lda) noexcept nogil
        void (*gemv)(const char *trans, const int *m, const int *n, const double *alpha, const double *a,
                     const int *lda, const double *x, const int *incx, const double *beta, double *y,
                     const int *incy) noexcept nogil
        void (*trsv)(const char *uplo, const char *trans, const char *diag, const int *n, const double *a,
                     const int *lda, double *x, const int *incx) noexcept nogil
        void (*potrf)(const char *uplo, const int *n, double *a, const int *lda, int *info) noexcept nogil
        void (*potrs)(const char *uplo, const int *n, const int *nrhs, const double *a, const int *lda, double *b,
                      const int *ldb, int *info) noexcept nogil
        void (*syevd)(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
                      double *work, const int *lwork, int *iwork, const int *liwork, int *info) noexcept nogil
        void (*sytrf)(const char *uplo, const int *n, double *a, const int *lda, int *ipiv, double *work,
                      const int *lwork, int *info) noexcept nogil
        void (*sytrs)(const char *uplo, const int *n, const int *nrhs, const double *a, const int *lda,
                      const int *ipiv, double *b, const int *ldb, int *info) noexcept nogil

    ctypedef struct fo_blas:
        fo_blas_f32 s
        fo_blas_f64 d

    enum:
        FO_PAIRS_MAX
        FO_PAIRS_DIRECT

    ctypedef struct fo_pairs:
        Py_ssize_t n
        int width
        int m
        int count
        int head
        double gamma

    ctypedef struct fo_pair_sums:
        double sy
        double yy
        double ss
        double gg
        double sg
        double yg
        double largest

    ctypedef struct fo_many:
        int width
        int lanes
        int64_t n
        int64_t rows
        int64_t block_bytes
        const fo_options *o
        const char *x0
        char *x
        char *g
        double *f
        int64_t *nit
        int64_t *nfev
        int64_t *njev
        int32_t *status
        char *blocks
        int64_t *row
        int64_t next

    ctypedef struct fo_columns:
        int width
        int careful
        int wide
        Py_ssize_t n
        Py_ssize_t p
        const void *data
        Py_ssize_t step
        const void *rows
        const int64_t *start
        const double *means
        const void *ones
        double mass

    enum:
        FO_DESCENT_MORE

    ctypedef struct fo_descent:
        fo_columns x
        const void *y
        double yy
        const double *norms
        double a
        double b
        double gap_wanted
        int64_t most
        int positive
        int screening
        int threads
        const fo_bits *bits
        double *w
        void *r
        double *q
        int fresh
        int64_t *alive
        int64_t *working
        void *order
        double *rank
        double gap
        double primal
        int64_t sweeps
        int64_t checks
        int64_t screened

    enum:
        FO_PERMUTE_WORDS

    ctypedef struct fo_permute:
        uint64_t n

    ctypedef struct fo_file:
        int fd
        int64_t first
        int64_t rows
        int64_t start
        int64_t used
        int64_t stamp[5]

    ctypedef struct fo_window:
        int64_t first
        int64_t stop
        const char *data

    ctypedef struct fo_pick:
        int64_t row
        int64_t place

    ctypedef struct fo_read_job:
        fo_file *files
        int count
        const fo_window *windows
        int n_windows
        Py_ssize_t bytes
        const fo_pick *picks
        int64_t first
        Py_ssize_t n
        char *out
        char *scratch
        Py_ssize_t room
        int64_t tick
        Py_ssize_t done
        int file
        int error

    enum:
        FO_READ_DONE
        FO_READ_CLOSED
        FO_READ_CHANGED
        FO_READ_SHORT
        FO_READ_FAILED

    ctypedef struct fo_csr:
        const void *indptr
        const void *indices
        int wide
        const char *data
        Py_ssize_t item
        int64_t rows
        int64_t stored

    ctypedef struct fo_norm:
        int width
        int first
        Py_ssize_t outer
        Py_ssize_t channels
        Py_ssize_t inner
        Py_ssize_t batch
        Py_ssize_t groups
        Py_ssize_t size
        double eps
        const void *gamma
        const void *beta
        double *mean
        double *rstd
        double *var
        const void *x
        void *y
        const void *dy
        void *dx
        void *dgamma
        void *dbeta
        void *scratch

    ctypedef struct fo_layer_norm:
        int width
        int centred
        int normed
        Py_ssize_t rows
        Py_ssize_t cols
        double eps
        const void *gamma
        const void *beta
        double *mean
        double *rstd
        const void *x
        void *y
        const void *dy
        void *dx
        void *dgamma
        void *dbeta
        void *scratch

    # All calls into csrc, as pointers: runtime.pyx links csrc, the other modules borrow these.
    ctypedef struct fo_api:
        int (*get_num_threads)() noexcept nogil
        const fo_rule_info *rules
        void (*prepare)(int rule, const double *h, double weight_decay, int decoupled, double t, double *scalars,
                        fo_group *out) noexcept nogil
        void (*step)(const fo_job *job, int threads) noexcept nogil
        double (*gradient_norm)(const fo_job *job, double *norms, int threads) noexcept nogil
        int64_t (*count_nonfinite)(const fo_tensor *t) noexcept nogil
        void (*floor)(int width, void **written, int n_written, const void *read, int twice, Py_ssize_t n,
                      int threads, int repeat) noexcept nogil
        const fo_layers *(*layers)(int width) noexcept nogil
        void (*shuffle)(void *order, int wide, Py_ssize_t n, const fo_bits *bits) noexcept nogil
        void (*draw)(void *order, int wide, Py_ssize_t count, Py_ssize_t n, const fo_bits *bits) noexcept nogil
        void (*gather)(const fo_gathering *job, int threads) noexcept nogil
        void (*gather_rows)(void *ctx, Py_ssize_t begin, Py_ssize_t end) noexcept nogil
        Py_ssize_t (*gather_grain)(const fo_gathering *job) noexcept nogil
        void (*copy_rows)(const fo_rows *array, char **out, const uint32_t *order, Py_ssize_t n, Py_ssize_t size,
                          int distance) noexcept nogil
        void (*ahead_begin)(fo_ahead *job) noexcept nogil
        void (*ahead_finish)(fo_ahead *job) noexcept nogil
        unsigned (*ahead_forks)() noexcept nogil
        const fo_method_info *methods
        void (*default_options)(fo_options *o, int method, int width, int64_t n) noexcept nogil
        int64_t (*solver_bytes)(int width, int64_t n, const fo_options *o) noexcept nogil
        void (*solver_begin)(void *block, int width, int64_t n, const fo_options *o) noexcept nogil
        int (*solver_valid)(const void *block, int64_t bytes) noexcept nogil
        int (*solver_advance)(fo_solver *s, const fo_blas *blas) noexcept nogil
        int (*solver_run)(fo_solver *s, const fo_blas *blas, fo_objective fun, void *user,
                          int64_t budget) noexcept nogil
        void (*solver_stop)(fo_solver *s, int status) noexcept nogil
        void *(*solver_vector)(fo_solver *s, int place) noexcept nogil
        void (*inverse_hessian)(fo_solver *s, void *out) noexcept nogil
        void (*start_inverse_hessian)(fo_solver *s, const void *a) noexcept nogil
        int64_t (*many_ask)(fo_many *m, void *x, int64_t *rows) noexcept nogil
        void (*many_tell)(fo_many *m, const double *f, const void *g) noexcept nogil
        int (*many_run)(fo_many *m, fo_objective fun, void *user, int64_t step, int64_t budget,
                        int threads) noexcept nogil
        void (*search_begin)(fo_search *q) noexcept nogil
        int (*search_advance)(fo_search *q, double f, double df) noexcept nogil
        const char *(*search_name)(int kind) noexcept nogil
        const char *(*search_reason)(int why) noexcept nogil
        Py_ssize_t (*triangle_elements)(int width, Py_ssize_t n) noexcept nogil
        size_t (*triangle_scratch)(int width, Py_ssize_t n) noexcept nogil
        void (*triangle_identity)(int width, Py_ssize_t n, void *h, double gamma) noexcept nogil
        void (*triangle_pack)(int width, Py_ssize_t n, const void *a, void *h) noexcept nogil
        void (*triangle_unpack)(int width, Py_ssize_t n, const void *h, const void *s, const void *w,
                                void *out) noexcept nogil
        void (*triangle_pass)(int width, Py_ssize_t n, void *h, const void *s, const void *w, const void *g, void *u,
                              void *scratch, int threads) noexcept nogil
        void (*triangle_floor)(int width, Py_ssize_t n, void *h, int threads, int repeat) noexcept nogil
        void (*dense_pass)(const fo_blas *blas, int width, Py_ssize_t n, void *a, const void *s, const void *w,
                           const void *g, void *u) noexcept nogil
        void (*dense_unpack)(int width, Py_ssize_t n, const void *a, const void *s, const void *w,
                             void *out) noexcept nogil
        size_t (*pairs_bytes)(int width, Py_ssize_t n, int m) noexcept nogil
        size_t (*pairs_scratch)(int width, Py_ssize_t n, int m) noexcept nogil
        void (*pairs_begin)(void *block, int width, Py_ssize_t n, int m) noexcept nogil
        void (*pairs_reset)(void *block) noexcept nogil
        void (*pairs_measure)(void *block, const void *x, const void *xt, const void *g, const void *gt,
                              fo_pair_sums *out, void *scratch, int threads) noexcept nogil
        void (*pairs_damp)(void *block, double theta, const void *gt, fo_pair_sums *out, void *scratch,
                           int threads) noexcept nogil
        void (*pairs_accept)(void *block) noexcept nogil
        void (*pairs_reject)(void *block) noexcept nogil
        double (*pairs_direction)(void *block, const void *gt, void *d, void *scratch, int threads) noexcept nogil
        double (*pairs_two_loop)(const void *block, const void *gt, void *d, void *scratch,
                                 int threads) noexcept nogil
        double (*pairs_product)(const void *block, const void *v, void *out, void *scratch,
                                int threads) noexcept nogil
        void (*pairs_get)(const void *block, int age, void *s, void *y) noexcept nogil
        void (*column_norms)(const fo_columns *x, double *norms, int threads) noexcept nogil
        void (*descent_begin)(fo_descent *s) noexcept nogil
        int (*descend)(fo_descent *s, int64_t budget) noexcept nogil
        void (*permute_begin)(fo_permute *p, int64_t n, const uint32_t *words) noexcept nogil
        int64_t (*permute_at)(const fo_permute *p, int64_t i, int inverse) noexcept nogil
        void (*permute_slice)(const fo_permute *p, int64_t first, int64_t step, Py_ssize_t count, int wide, void *out,
                              int threads) noexcept nogil
        void (*permute_map)(const fo_permute *p, const int64_t *in_, int64_t *out, Py_ssize_t count, int inverse,
                            int threads) noexcept nogil
        void (*alias)(const double *weights, int64_t n, uint64_t *threshold, int64_t *other, double *share,
                      int64_t *work) noexcept nogil
        int (*stamp_file)(int fd, int64_t *stamp) noexcept nogil
        Py_ssize_t (*outside)(const void *order, int wide, Py_ssize_t n, int64_t rows) noexcept nogil
        void (*sort_picks)(const void *order, int wide, Py_ssize_t n, int64_t rows, fo_pick *picks,
                           fo_pick *scratch) noexcept nogil
        int (*read_rows)(fo_read_job *job) noexcept nogil
        void (*advise_rows)(const fo_file *file, Py_ssize_t bytes, int64_t first, int64_t n) noexcept nogil
        int64_t (*csr_starts)(const fo_csr *m, const void *order, int wide, Py_ssize_t n,
                              int64_t *starts) noexcept nogil
        void (*csr_rows)(const fo_csr *m, const void *order, int wide, Py_ssize_t n, const int64_t *starts,
                         int out_wide, void *indptr, void *indices, char *data) noexcept nogil
        size_t (*norm_scratch)(const fo_norm *job) noexcept nogil
        void (*norm_train)(const fo_norm *job, int threads) noexcept nogil
        void (*norm_apply)(const fo_norm *job, int threads) noexcept nogil
        void (*norm_back)(const fo_norm *job, int fixed, int normed, int threads) noexcept nogil
        void (*norm_running)(const fo_norm *job, int width, void *mean, void *var, double *count, double keep,
                             double share, int unbiased) noexcept nogil
        void (*norm_given)(const fo_norm *job, int width, const void *mean, const void *var) noexcept nogil
        size_t (*layer_norm_scratch)(const fo_layer_norm *job) noexcept nogil
        void (*layer_norm_forward)(const fo_layer_norm *job, int threads) noexcept nogil
        void (*layer_norm_back)(const fo_layer_norm *job, int threads) noexcept nogil
        void (*norm_floor)(int width, const void *x, void *y, const void *dy, void *dx, Py_ssize_t n,
                           int repeat) noexcept nogil

    const fo_api *fo_get_api()
    const char *fo_isa_name(int i)
    int fo_isa_runs(int i)
    int fo_use(const char *isa)
    const char *fo_isa()
    void fo_set_num_threads(int n)
    int fo_get_num_threads()
    int fo_threads_max()
