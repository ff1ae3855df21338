/* dispatch.c: which table of kernels this processor gets, and the calls that go through it. Built without instruction-set
 * flags. The table in use and the number of threads are the only settings that csrc keeps. */
#include <math.h>
#include <stdatomic.h>
#include <string.h>
#include "kernels.h"

#define ISA(name) extern const fo_kernels fo_kernels_##name;
#include "isas.def"
#undef ISA

static const fo_kernels *const built[] = {
#define ISA(name) &fo_kernels_##name,
#include "isas.def"
#undef ISA
};
enum { BUILT = sizeof built / sizeof *built };

static _Atomic(const fo_kernels *) current;
static _Atomic int thread_count = 1;

static int runs(const char *isa)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
#define HAS(x) __builtin_cpu_supports(x)
    int v2 = HAS("sse3") && HAS("ssse3") && HAS("sse4.1") && HAS("sse4.2") && HAS("popcnt");
    int v3 = v2 && HAS("avx") && HAS("avx2") && HAS("bmi") && HAS("bmi2") && HAS("fma");
    int v4 = v3 && HAS("avx512f") && HAS("avx512bw") && HAS("avx512cd") && HAS("avx512dq") && HAS("avx512vl");
#undef HAS
    if (!strcmp(isa, "v2")) return v2;
    if (!strcmp(isa, "v3")) return v3;
    if (!strcmp(isa, "v4")) return v4;
#endif
    (void)isa;
    return 1;                                             /* the plain build runs where the library loads */
}

int fo_use(const char *isa)
{
    for (int i = 0; i < BUILT; i++)
        if ((!isa || !strcmp(isa, built[i]->isa)) && runs(built[i]->isa)) {
            atomic_store(&current, built[i]);
            return 0;
        }
    return -1;
}

const fo_kernels *fo_current(void)
{
    const fo_kernels *k = atomic_load_explicit(&current, memory_order_relaxed);
    if (!k) {
        fo_use(NULL);
        k = atomic_load(&current);
    }
    return k;
}

const char *fo_isa(void) { return fo_current()->isa; }
const char *fo_isa_name(int i) { return i >= 0 && i < BUILT ? built[i]->isa : NULL; }
int fo_isa_runs(int i) { return i >= 0 && i < BUILT && runs(built[i]->isa); }

const fo_layers *fo_layers_of(int width) { return fo_current()->layers[width]; }

void fo_set_num_threads(int n)
{
    int most = fo_threads_max();
    atomic_store(&thread_count, n < 1 ? 1 : n > most ? most : n);
}
int fo_get_num_threads(void) { return atomic_load_explicit(&thread_count, memory_order_relaxed); }

const fo_api *fo_get_api(void)
{
    static const fo_api api = {
        .get_num_threads = fo_get_num_threads,
        .rules = fo_rule_table,
        .prepare = fo_prepare,
        .step = fo_step,
        .gradient_norm = fo_gradient_norm,
        .count_nonfinite = fo_count_nonfinite,
        .floor = fo_floor,
        .layers = fo_layers_of,
        .shuffle = fo_shuffle,
        .draw = fo_draw,
        .gather = fo_gather,
        .gather_rows = fo_gather_rows,
        .gather_grain = fo_gather_grain,
        .copy_rows = fo_copy_rows,
        .ahead_begin = fo_ahead_begin,
        .ahead_finish = fo_ahead_finish,
        .ahead_forks = fo_ahead_forks,
        .methods = fo_method_table,
        .default_options = fo_default_options,
        .solver_bytes = fo_solver_bytes,
        .solver_begin = fo_begin,
        .solver_valid = fo_solver_valid,
        .solver_advance = fo_advance,
        .solver_run = fo_run,
        .solver_stop = fo_stop,
        .solver_vector = fo_vector,
        .inverse_hessian = fo_inverse_hessian,
        .start_inverse_hessian = fo_start_inverse_hessian,
        .many_ask = fo_many_ask,
        .many_tell = fo_many_tell,
        .many_run = fo_many_run,
        .search_begin = fo_search_begin,
        .search_advance = fo_search_advance,
        .search_name = fo_search_name,
        .search_reason = fo_search_reason,
        .triangle_elements = fo_triangle_elements,
        .triangle_scratch = fo_triangle_scratch,
        .triangle_identity = fo_triangle_identity,
        .triangle_pack = fo_triangle_pack,
        .triangle_unpack = fo_triangle_unpack,
        .triangle_pass = fo_triangle_pass,
        .triangle_floor = fo_triangle_floor,
        .dense_pass = fo_dense_pass,
        .dense_unpack = fo_dense_unpack,
        .pairs_bytes = fo_pairs_bytes,
        .pairs_scratch = fo_pairs_scratch,
        .pairs_begin = fo_pairs_begin,
        .pairs_reset = fo_pairs_reset,
        .pairs_measure = fo_pairs_measure,
        .pairs_damp = fo_pairs_damp,
        .pairs_accept = fo_pairs_accept,
        .pairs_reject = fo_pairs_reject,
        .pairs_direction = fo_pairs_direction,
        .pairs_two_loop = fo_pairs_two_loop,
        .pairs_product = fo_pairs_product,
        .pairs_get = fo_pairs_get,
        .column_norms = fo_column_norms,
        .descent_begin = fo_descent_begin,
        .descend = fo_descend,
        .permute_begin = fo_permute_begin,
        .permute_at = fo_permute_at,
        .permute_slice = fo_permute_slice,
        .permute_map = fo_permute_map,
        .alias = fo_alias,
        .stamp_file = fo_stamp_file,
        .outside = fo_outside,
        .sort_picks = fo_sort_picks,
        .read_rows = fo_read_rows,
        .advise_rows = fo_advise_rows,
        .csr_starts = fo_csr_starts,
        .csr_rows = fo_csr_rows,
        .norm_scratch = fo_norm_scratch,
        .norm_train = fo_norm_train,
        .norm_apply = fo_norm_apply,
        .norm_back = fo_norm_back,
        .norm_running = fo_norm_running,
        .norm_given = fo_norm_given,
        .layer_norm_scratch = fo_layer_norm_scratch,
        .layer_norm_forward = fo_layer_norm_forward,
        .layer_norm_back = fo_layer_norm_back,
        .norm_floor = fo_norm_floor,
    };
    return &api;
}
