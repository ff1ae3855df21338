/* triangle.c: cutting the passes of triangle.h into panels for threads. Callers check n >= 0, and that the counts below fit. */
#include <string.h>
#include "kernels.h"

enum {
    PANEL = 32768,                 /* elements of a panel, at least: half of a second-level cache, several for two threads at n = 500 */
    PANELS = 32,                   /* at most: each costs a vector of sums over columns */
    SERIAL = 100000                /* elements below which waking a thread costs more than it gives */
};

static ptrdiff_t lanes(int width) { return FO_TRIANGLE_V(width == FO_F32 ? sizeof(float) : sizeof(double)); }
static ptrdiff_t blocks_of(int width, ptrdiff_t n) { return (n + lanes(width) - 1) / lanes(width); }
static ptrdiff_t panels_of(int width, ptrdiff_t n)
{
    ptrdiff_t p = fo_triangle_elements(width, n) / PANEL;
    return p < 1 ? 1 : p > PANELS ? PANELS : p;
}

ptrdiff_t fo_triangle_elements(int width, ptrdiff_t n) { return fo_triangle_row(blocks_of(width, n), lanes(width)); }

/* Padded s, w and g, the row sums, and the panels' sums over columns; and room to begin at a cache line. */
size_t fo_triangle_scratch(int width, ptrdiff_t n)
{
    size_t element = width == FO_F32 ? sizeof(float) : sizeof(double);
    if (n <= lanes(width)) return 0;
    return (size_t)(4 + panels_of(width, n)) * (size_t)(blocks_of(width, n) * lanes(width)) * element + 64;
}

/* x[n] with zeros up to a whole block: itself where n is one. */
static const void *padded(const void *x, char *room, size_t bytes, size_t whole)
{
    if (bytes == whole) return x;
    memcpy(room, x, bytes);
    memset(room + bytes, 0, whole - bytes);
    return room;
}

void fo_triangle_pass(int width, ptrdiff_t n, void *h, const void *s, const void *w, const void *g, void *u, void *scratch, int threads)
{
    const fo_triangle_kernels *kernels = fo_current()->triangle[width];
    if (n <= lanes(width)) {
        kernels->small(n, h, s, w, g, u);
        return;
    }
    const size_t element = width == FO_F32 ? sizeof(float) : sizeof(double);
    fo_triangle_job job = { .n = n, .blocks = blocks_of(width, n), .panels = panels_of(width, n), .h = h };
    const size_t whole = (size_t)(job.blocks * lanes(width)) * element, bytes = (size_t)n * element;
    char *room = (char *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
    job.g = padded(g, room, bytes, whole);
    if (s) {
        job.s = padded(s, room + whole, bytes, whole);
        job.w = padded(w, room + 2 * whole, bytes, whole);
    }
    job.r = room + 3 * whole;
    job.u = room + 4 * whole;
    if (job.blocks * job.blocks * lanes(width) * lanes(width) < 2 * SERIAL) kernels->panels(&job, 0, job.panels);
    else fo_parallel(kernels->panels, &job, job.panels, 1, threads);
    kernels->close(&job, u);
}

void fo_triangle_identity(int width, ptrdiff_t n, void *h, double gamma) { fo_current()->triangle[width]->identity(n, h, gamma); }
void fo_triangle_pack(int width, ptrdiff_t n, const void *a, void *h) { fo_current()->triangle[width]->pack(n, a, h); }
void fo_triangle_unpack(int width, ptrdiff_t n, const void *h, const void *s, const void *w, void *out)
{
    fo_current()->triangle[width]->unpack(n, h, s, w, out);
}

typedef struct { void *h; ptrdiff_t n; void (*floor)(void *h, ptrdiff_t start, ptrdiff_t n); } floor_job;
static void floor_blocks(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    const floor_job *job = ctx;
    ptrdiff_t start = begin * FO_BLOCK, stop = end * FO_BLOCK < job->n ? end * FO_BLOCK : job->n;
    job->floor(job->h, start, stop - start);
}
void fo_triangle_floor(int width, ptrdiff_t n, void *h, int threads, int repeat)
{
    floor_job job = { h, n * (n + 1) / 2, fo_current()->triangle[width]->floor };
    if (job.n < SERIAL) threads = 1;
    for (int i = 0; i < repeat; i++) fo_parallel(floor_blocks, &job, fo_blocks(job.n), 4, threads);
}
