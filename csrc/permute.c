/* permute.c: the keyed permutation: its keys, and slices cut for threads. The network is in feistel.h, compiled per instruction set. */
#include "kernels.h"

enum { GRAIN = 1 << 15 };                                 /* elements a thread takes at a time, about 0.1 ms */

void fo_permute_begin(fo_permute *p, int64_t n, const uint32_t *words)
{
    uint32_t bits = 0;
    while (((uint64_t)n - 1) >> bits) bits++;
    p->n = (uint64_t)n;
    p->shift = bits < 2 ? 1 : (bits + 1) / 2;
    p->rows = (uint32_t)(((uint64_t)n - 1) >> p->shift) + 1;
    for (int k = 0; k < FO_PERMUTE_ROUNDS; k++) {
        p->add[k] = words[2 * k];
        p->mul[k] = words[2 * k + 1] | 1;
    }
}

int64_t fo_permute_at(const fo_permute *p, int64_t i, int inverse)
{
    return (int64_t)fo_current()->permute_walk(p, (uint64_t)i, inverse);
}

static void run(fo_permute_job *job, ptrdiff_t count, int threads)
{
    fo_parallel(fo_current()->permute, job, count, GRAIN, count > 2 * GRAIN ? threads : 1);
}

void fo_permute_slice(const fo_permute *p, int64_t first, int64_t step, ptrdiff_t count, int wide, void *out, int threads)
{
    fo_permute_job job = { p, NULL, first, step, out, wide, 0 };
    run(&job, count, threads);
}

void fo_permute_map(const fo_permute *p, const int64_t *in, int64_t *out, ptrdiff_t count, int inverse, int threads)
{
    fo_permute_job job = { p, in, 0, 0, out, 1, inverse };
    run(&job, count, threads);
}
