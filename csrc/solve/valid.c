/* valid.c: is a block the state of a solver? Nothing that is read, written or indexed by it may lie outside of it, whatever its bytes are;
 * numbers in vectors are not looked at, for any of them is a number.
 */
#include "solver.h"

static int variants(int method)
{
    int count = 1;
    for (const char *c = fo_method_table[method].variants; *c; c++) count += *c == ' ';
    return count;
}

static int options_valid(const fo_options *o)
{
    return o->method >= 0 && o->method < FO_METHODS && o->variant >= 0 && o->variant < variants(o->method) &&
           o->search >= 0 && o->search < FO_SEARCHES && o->threads >= 1 && o->threads <= FO_THREADS_LIMIT &&
           o->memory >= 1 && o->memory <= FO_PAIRS_MAX && o->max_trials >= 1 && o->maxiter >= 0 && o->restart >= 0;
}

/* Vectors may have been exchanged with each other, so their places are those of a new solver in any order; the rest lies where it was. */
static int places_valid(const fo_solver *s, const fo_solver *fresh)
{
    for (int place = 0; place < FO_PLACES; place++) {
        if (place > FO_R ? s->at[place] != fresh->at[place] : !s->at[place] != !fresh->at[place]) return 0;
        int found = 0;
        for (int other = 0; other <= FO_R; other++) found += s->at[other] == fresh->at[place];
        if (place <= FO_R && fresh->at[place] && (s->n ? found != 1 : !found)) return 0;
    }
    return 1;
}

static int pairs_valid(const fo_solver *s)
{
    const fo_pairs *p = (const fo_pairs *)((const char *)s + s->at[FO_PAIRS]);
    fo_pairs fresh;
    if (s->resume == 0 || s->resume == 1) return 1;      /* begun anew before it is read */
    if (p->n == 0 && p->m == 0 && p->count == 0 && s->resume < 0) return 1;       /* it never was */
    fo_pairs_begin(&fresh, s->width, s->n, s->o.memory);
    return p->n == fresh.n && p->width == fresh.width && p->m == fresh.m && p->row == fresh.row && p->tile == fresh.tile &&
           p->sy == fresh.sy && p->ry == fresh.ry && p->yy == fresh.yy && p->sg == fresh.sg && p->yg == fresh.yg &&
           p->rows == fresh.rows && p->count >= 0 && p->count <= p->m && p->head >= 0 && p->head < p->m;
}

static int method_valid(const fo_solver *s, const fo_solver *fresh)
{
    switch (s->o.method) {
    case FO_METHOD_bb: return s->m.bb.count >= 0;
    case FO_METHOD_bfgs: return s->m.bfgs.fused == fresh->m.bfgs.fused;
    case FO_METHOD_lbfgs: return pairs_valid(s);
    case FO_METHOD_newton_cg: return s->m.newton_cg.plain || s->o.precondition || s->resume != 2;
    default: return 1;
    }
}

enum { LAST_WAIT = 7 };                /* of descent.c and of region.c */

/* The request that a method's own machine waits for behind `inner`; FO_STOPPED: it has no such wait. */
static int inner_request(const fo_solver *s)
{
    const int with_p = s->o.precondition;
    switch (s->o.method) {
    case FO_METHOD_cg: return s->inner == 1 && with_p ? FO_PRECONDITION : FO_STOPPED;
    case FO_METHOD_newton:
    case FO_METHOD_trust: return s->inner == 1 ? FO_HESSIAN : FO_STOPPED;
    case FO_METHOD_newton_cg: return s->inner == 2 ? FO_PRODUCT : s->inner == 1 && with_p ? FO_PRECONDITION : FO_STOPPED;
    case FO_METHOD_trust_cg: return s->inner == 1 ? FO_PRODUCT : FO_STOPPED;
    default: return FO_STOPPED;
    }
}

/* What is asked for is what the machine waits for: the answer goes to a vector that exists. */
static int request_valid(const fo_solver *s)
{
    if (s->resume <= 0) return s->request == FO_STOPPED;
    if (s->resume == 2) return s->request != FO_STOPPED && s->request == inner_request(s);
    return s->request == (s->resume == 5 ? FO_ITERATED : FO_EVALUATE);
}

static int machine_valid(const fo_solver *s)
{
    const int running = s->resume >= 0;
    return s->resume >= -1 && s->resume <= LAST_WAIT && s->inner >= -1 && (s->report & ~1) == 0 && s->request >= FO_STOPPED && s->request <= FO_ITERATED &&
           (s->want & ~(FO_WANT_F | FO_WANT_G)) == 0 && (s->have & ~(FO_WANT_F | FO_WANT_G)) == 0 &&
           s->best_at >= 0 && s->best_at <= 2 && s->search.kind >= 0 && s->search.kind < FO_SEARCHES &&
           running == (s->status < 0);
}

int fo_solver_valid(const void *block, int64_t bytes)
{
    const fo_solver *s = block;
    fo_solver fresh;
    if (bytes < (int64_t)sizeof *s || s->bytes != bytes || (s->width != FO_F32 && s->width != FO_F64)) return 0;
    if (s->n < 0 || s->n > bytes / 4 || !options_valid(&s->o) || fo_solver_bytes(s->width, s->n, &s->o) != bytes) return 0;
    fo_begin(&fresh, s->width, s->n, &s->o);             /* writes no further than the struct */
    return s->magic == fresh.magic && places_valid(s, &fresh) && machine_valid(s) && request_valid(s) && method_valid(s, &fresh);
}
