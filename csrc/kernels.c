/* kernels.c: the loops for float, then for double, as one table. Compiled once per instruction set with FO_ISA its name. */
#include <math.h>
#include <string.h>
#include "kernels.h"

#define FO_PREP 0
#if defined(__GNUC__)
#define FO_PREFETCH(x) __builtin_prefetch(x)
#define FO_NOINLINE __attribute__((noinline))
/* At the end of a loop over groups of 16 lanes: each lane stays in its place of a vector. Without it gcc 12 takes several groups at a time and
 * sorts their products into chains, at a quarter of the speed. */
#define FO_LANES_STAY __asm__ volatile ("")
#else
#define FO_PREFETCH(x) (void)(x)
#define FO_NOINLINE
#define FO_LANES_STAY (void)0
#endif

#define REAL float
#define NARROW 1
#define SQRT sqrtf
#define FABS fabsf
#define COPYSIGN copysignf
#define EXP expf
#define LOG1P log1pf
#define UINT uint32_t
#define EXPONENT UINT32_C(0x7f800000)
#define FN(x) x##_f32
#include "rules.h"
#include "reduce.h"
#include "lines.h"
#include "loops.h"
#include "floor.h"
#include "layers.h"
#include "triangle.h"
#include "pairs.h"
#include "coordinate.h"
#include "convert.h"
#include "norm.h"
#undef REAL
#undef NARROW
#undef SQRT
#undef FABS
#undef COPYSIGN
#undef EXP
#undef LOG1P
#undef UINT
#undef EXPONENT
#undef FN

#define REAL double
#define NARROW 0
#define SQRT sqrt
#define FABS fabs
#define COPYSIGN copysign
#define EXP exp
#define LOG1P log1p
#define UINT uint64_t
#define EXPONENT UINT64_C(0x7ff0000000000000)
#define FN(x) x##_f64
#include "rules.h"
#include "reduce.h"
#include "lines.h"
#include "loops.h"
#include "floor.h"
#include "layers.h"
#include "triangle.h"
#include "pairs.h"
#include "coordinate.h"
#include "convert.h"
#include "norm.h"

/* ---- integers only: once for both ---- */
#include "feistel.h"

/* ---- flushing of subnormals, for the calls that ask for it; the caller's setting comes back ---- */
#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
static unsigned flush_begin(void)
{
    unsigned old = _mm_getcsr();
    _mm_setcsr(old | 0x8040u);                            /* flush results, read subnormals as zero */
    return old;
}
static void flush_end(unsigned old) { _mm_setcsr(old); }
#elif defined(__aarch64__)
static uint64_t flush_begin(void)
{
    uint64_t old;
    __asm__ __volatile__("mrs %0, fpcr" : "=r"(old));
    __asm__ __volatile__("msr fpcr, %0" : : "r"(old | (UINT64_C(1) << 24)));
    return old;
}
static void flush_end(uint64_t old) { __asm__ __volatile__("msr fpcr, %0" : : "r"(old)); }
#else
static int flush_begin(void) { return 0; }
static void flush_end(int old) { (void)old; }
#endif

/* The tensor that a block belongs to: the last whose first block is not behind it (empty tensors own none). */
static ptrdiff_t owner(const fo_job *job, ptrdiff_t block)
{
    ptrdiff_t low = 0, high = job->count;
    while (high - low > 1) {
        ptrdiff_t mid = low + (high - low) / 2;
        if (job->tensors[mid].first <= block) low = mid;
        else high = mid;
    }
    return low;
}

/* Cuts [begin, end) of a job's blocks at the borders of tensors: the next block's tensor, start and length. */
typedef struct { const fo_tensor *t; ptrdiff_t start, n; } piece;
static piece piece_at(const fo_job *job, const fo_tensor *hint, ptrdiff_t block)
{
    const fo_tensor *t = hint ? hint : &job->tensors[owner(job, block)];
    while (block - t->first >= fo_blocks(t->n)) t++;
    ptrdiff_t start = (block - t->first) * FO_BLOCK, rest = t->n - start;
    return (piece){ t, start, rest < FO_BLOCK ? rest : FO_BLOCK };
}

static void step(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_job *job = ctx;
    const int flush = job->flags & FO_FLUSH;
    __typeof__(flush_begin()) old = 0;
    if (flush) old = flush_begin();
    piece x = { NULL, 0, 0 };
    for (ptrdiff_t block = begin; block < end; block++) {
        x = piece_at(job, x.t, block);
        if (x.t->width == FO_F32) step_block_f32(job, x.t, block, x.start, x.n);
        else step_block_f64(job, x.t, block, x.start, x.n);
    }
    if (flush) flush_end(old);
}

static void squares(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_job *job = ctx;
    piece x = { NULL, 0, 0 };
    for (ptrdiff_t block = begin; block < end; block++) {
        x = piece_at(job, x.t, block);
        job->squares[block] = x.t->width == FO_F32 ? squares_block_f32(x.t, x.start, x.n, 1) : squares_block_f64(x.t, x.start, x.n, 1);
    }
}

static double squares_scaled(const fo_tensor *t, double c)
{
    double sum = 0;
    for (ptrdiff_t start = 0; start < t->n; start += FO_BLOCK) {
        ptrdiff_t n = t->n - start < FO_BLOCK ? t->n - start : FO_BLOCK;
        sum += t->width == FO_F32 ? squares_block_f32(t, start, n, (float)c) : squares_block_f64(t, start, n, c);
    }
    return sum;
}

static int64_t inspect(const fo_tensor *t, double *largest)
{
    int64_t bad = 0;
    *largest = 0;
    for (ptrdiff_t start = 0; start < t->n; start += FO_BLOCK) {
        ptrdiff_t n = t->n - start < FO_BLOCK ? t->n - start : FO_BLOCK;
        bad += t->width == FO_F32 ? inspect_block_f32(t, start, n, largest) : inspect_block_f64(t, start, n, largest);
    }
    return bad;
}

static void floor_step(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_floor_job *job = ctx;
    ptrdiff_t start = begin * FO_BLOCK, stop = end * FO_BLOCK < job->n ? end * FO_BLOCK : job->n;
    if (job->width == FO_F32) floor_range_f32(job, start, stop - start);
    else floor_range_f64(job, start, stop - start);
}

static void floor_read(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_floor_job *job = ctx;
    ptrdiff_t start = begin * FO_BLOCK, stop = end * FO_BLOCK < job->n ? end * FO_BLOCK : job->n;
    if (job->width == FO_F32) floor_read_f32(job, start, stop - start);
    else floor_read_f64(job, start, stop - start);
}

static void lines_block(const fo_lines *job, double *sums)
{
    if (job->width == FO_F32) lines_f32(job, 0, job->n, sums);
    else lines_f64(job, 0, job->n, sums);
}

static void lines(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const fo_lines *job = ctx;
    for (ptrdiff_t b = begin; b < end; b++) {
        ptrdiff_t start = b * FO_BLOCK, n = job->n - start < FO_BLOCK ? job->n - start : FO_BLOCK;
        double *sums = job->sums + b * FO_PAIR_SUMS;
        if (job->width == FO_F32) lines_f32(job, start, n, sums);
        else lines_f64(job, start, n, sums);
    }
}
/* Passes over pairs. The combination walks backwards: what the pass before it read last is still in cache. */
#define PAIRS_TASK(name, backwards)                                                                                       \
    static void name(void *ctx, ptrdiff_t begin, ptrdiff_t end)                                                           \
    {                                                                                                                     \
        const fo_pairs_job *job = ctx;                                                                                    \
        for (ptrdiff_t i = begin; i < end; i++) {                                                                         \
            const ptrdiff_t block = backwards ? fo_blocks(job->at->n) - 1 - i : i;                                        \
            if (job->at->width == FO_F32) name##_f32(job, block);                                                         \
            else name##_f64(job, block);                                                                                  \
        }                                                                                                                 \
    }
PAIRS_TASK(pairs_measure, 0)
PAIRS_TASK(pairs_products, 0)
PAIRS_TASK(pairs_combine, 1)
PAIRS_TASK(pairs_sweep, 0)
PAIRS_TASK(pairs_copy, 0)

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define NAME_(isa) fo_kernels_##isa
#define NAME(isa) NAME_(isa)
const fo_kernels NAME(FO_ISA) = {
    .isa = TEXT(FO_ISA),
    .step = step,
    .squares = squares,
    .floor_step = floor_step,
    .floor_read = floor_read,
    .squares_scaled = squares_scaled,
    .inspect = inspect,
    .lines_block = lines_block,
    .lines = lines,
    .layers = { &layers_f32, &layers_f64 },
    .convert = {
#define KIND(name, type) { convert_##name##_f32, convert_##name##_f64 },
        FO_KINDS(KIND)
#undef KIND
    },
    .columns = { &columns_f32, &columns_f64 },
    .pairs_measure = pairs_measure,
    .pairs_products = pairs_products,
    .pairs_combine = pairs_combine,
    .pairs_sweep = pairs_sweep,
    .pairs_copy = pairs_copy,
    .triangle = { &triangle_f32, &triangle_f64 },
    .norm = { &norm_kernels_f32, &norm_kernels_f64 },
    .permute = permute,
    .permute_walk = feistel_walk,
};
