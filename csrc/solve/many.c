/* many.c: many problems of one size by one method, each with its own search and its own end.
 *
 * A lane is a block of memory in which one problem runs; when it ends its row is written out and the lane takes the next. What a lane
 * does depends on its problem alone, so every row has the bits that it has by itself.
 */
#include <stdatomic.h>
#include "solver.h"

static fo_solver *block_of(const fo_many *m, ptrdiff_t lane) { return (fo_solver *)(m->blocks + lane * m->block_bytes); }

static void begin_row(fo_many *m, ptrdiff_t lane, int64_t row)
{
    fo_solver *s = block_of(m, lane);
    const int64_t size = m->n * (m->width == FO_F32 ? 4 : 8);
    m->row[lane] = row;
    memset(s, 0, (size_t)m->block_bytes);
    fo_begin(s, m->width, m->n, m->o);
    memcpy(vec(s, FO_XT), m->x0 + row * size, (size_t)size);
}

static void end_row(fo_many *m, ptrdiff_t lane)
{
    fo_solver *s = block_of(m, lane);
    const int64_t row = m->row[lane], size = m->n * (m->width == FO_F32 ? 4 : 8);
    memcpy(m->x + row * size, vec(s, FO_X), (size_t)size);
    memcpy(m->g + row * size, vec(s, FO_G), (size_t)size);
    m->f[row] = s->f;
    m->nit[row] = s->nit;
    m->nfev[row] = s->nfev;
    m->njev[row] = s->njev;
    m->status[row] = s->status;
    m->row[lane] = -1;
}

/* ---- one function that takes rows ---- */
int64_t fo_many_ask(fo_many *m, void *x, int64_t *rows)
{
    const int64_t size = m->n * (m->width == FO_F32 ? 4 : 8);
    int64_t k = 0;
    for (ptrdiff_t lane = 0; lane < m->lanes; lane++) {
        if (m->row[lane] < 0) {
            if (m->next >= m->rows) continue;
            begin_row(m, lane, m->next++);
            fo_advance(block_of(m, lane), NULL);             /* wants the value at x0, whatever the method */
        }
        memcpy((char *)x + k * size, vec(block_of(m, lane), FO_XT), (size_t)size);
        rows[k++] = m->row[lane];
    }
    return k;
}

void fo_many_tell(fo_many *m, const double *f, const void *g)
{
    const int64_t size = m->n * (m->width == FO_F32 ? 4 : 8);
    int64_t k = 0;
    for (ptrdiff_t lane = 0; lane < m->lanes; lane++) {
        if (m->row[lane] < 0) continue;
        fo_solver *s = block_of(m, lane);
        s->ft = f[k];
        memcpy(vec(s, FO_GT), (const char *)g + k * size, (size_t)size);
        s->have = FO_WANT_F | FO_WANT_G;
        k++;
        if (fo_advance(s, NULL) == FO_STOPPED) end_row(m, lane);
    }
}

/* ---- a compiled objective ---- */
typedef struct {
    fo_many *m;
    fo_objective fun;
    char *user;
    int64_t step, budget;
    _Atomic int64_t next;
} race;

static void run_lanes(void *ctx, ptrdiff_t begin, ptrdiff_t end)
{
    race *c = ctx;
    fo_many *m = c->m;
    for (ptrdiff_t lane = begin; lane < end; lane++) {
        int64_t left = c->budget;
        while (left > 0) {
            fo_solver *s = block_of(m, lane);
            if (m->row[lane] < 0) {
                const int64_t row = atomic_fetch_add(&c->next, 1);
                if (row >= m->rows) break;
                begin_row(m, lane, row);
            }
            const int64_t before = s->nfev;
            const int r = fo_run(s, NULL, c->fun, c->user ? c->user + m->row[lane] * c->step : NULL, left);
            left -= s->nfev - before + 1;
            if (r == FO_STOPPED) end_row(m, lane);
        }
    }
}

int fo_many_run(fo_many *m, fo_objective fun, void *user, int64_t step, int64_t budget, int threads)
{
    race c = { m, fun, user, step, budget, m->next };
    fo_parallel(run_lanes, &c, m->lanes, 1, threads);
    const int64_t next = atomic_load(&c.next);
    m->next = next < m->rows ? next : m->rows;
    if (m->next < m->rows) return 1;
    for (ptrdiff_t lane = 0; lane < m->lanes; lane++)
        if (m->row[lane] >= 0) return 1;
    return 0;
}
