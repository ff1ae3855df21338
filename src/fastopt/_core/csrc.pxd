# The only extern block for csrc/.
from libc.stdint cimport int64_t, uint32_t, uint64_t

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

    ctypedef struct fo_rows:
        const char *data
        Py_ssize_t step
        Py_ssize_t bytes
        Py_ssize_t run
        const fo_layout *runs
        char *out

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
        void (*gather)(const fo_rows *arrays, int count, const void *order, int wide, Py_ssize_t first, Py_ssize_t n,
                       Py_ssize_t ahead, int threads) noexcept nogil
        void (*copy_rows)(const fo_rows *array, char **out, const uint32_t *order, Py_ssize_t n, Py_ssize_t size,
                          int distance) noexcept nogil
        void (*column_norms)(const fo_columns *x, double *norms, int threads) noexcept nogil
        void (*descent_begin)(fo_descent *s) noexcept nogil
        int (*descend)(fo_descent *s, int64_t budget) noexcept nogil

    const fo_api *fo_get_api()
    const char *fo_isa_name(int i)
    int fo_isa_runs(int i)
    int fo_use(const char *isa)
    const char *fo_isa()
    void fo_set_num_threads(int n)
    int fo_get_num_threads()
    int fo_threads_max()
