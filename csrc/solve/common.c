/* common.c: memory of a solver, the best point, and the tests that end a run: written once for all loops and methods. */
#include "solver.h"

static const descent_method *const descents[FO_METHODS] = {
    [FO_METHOD_gd] = &method_gd, [FO_METHOD_bb] = &method_bb, [FO_METHOD_cg] = &method_cg, [FO_METHOD_bfgs] = &method_bfgs,
    [FO_METHOD_lbfgs] = &method_lbfgs,
    [FO_METHOD_newton] = &method_newton, [FO_METHOD_newton_cg] = &method_newton_cg,
};
static const region_method *const regions[FO_METHODS] = {
    [FO_METHOD_trust] = &method_trust, [FO_METHOD_trust_cg] = &method_trust_cg,
};

const fo_method_info fo_method_table[FO_METHODS] = {
#define METHOD(name, loop, variants) { #name, variants },
#include "../methods.def"
#undef METHOD
};

/* ---- memory ---- */
static const uint64_t MAGIC = UINT64_C(0x666f736c76000000) + sizeof(fo_solver);

void plan_place(plan *p, int place, int64_t bytes)
{
    p->s->at[place] = p->used;
    p->used += (bytes + 63) & ~(int64_t)63;
}

void plan_vector(plan *p, int place)
{
    space v = space_of(p->s);
    plan_place(p, place, (int64_t)vec_size(&v));
}

static int64_t lay_out(fo_solver *s, int width, int64_t n, const fo_options *o)
{
    memset(s, 0, sizeof *s);
    s->width = width;
    s->n = n;
    s->o = *o;
    plan p = { s, ((int64_t)sizeof *s + 63) & ~(int64_t)63 };
    for (int place = FO_X; place <= FO_GB; place++) plan_vector(&p, place);
    if (vec_scratch(n)) plan_place(&p, FO_SCRATCH, vec_scratch(n) * (int64_t)sizeof(double));
    void (*layout)(plan *) = descents[o->method] ? descents[o->method]->layout : regions[o->method]->layout;
    if (layout) layout(&p);
    return p.used;
}

int64_t fo_solver_bytes(int width, int64_t n, const fo_options *o)
{
    fo_solver s;
    const int square = o->method == FO_METHOD_bfgs || o->method == FO_METHOD_newton || o->method == FO_METHOD_trust;
    if (!descents[o->method] && !regions[o->method]) return -1;
    if (n > (int64_t)1 << (square ? 29 : 46)) return -1;                /* bytes would not fit into int64_t */
    return lay_out(&s, width, n, o);
}

void fo_begin(void *block, int width, int64_t n, const fo_options *o)
{
    fo_solver *s = block;
    s->bytes = lay_out(s, width, n, o);
    s->magic = MAGIC;
    s->f = s->f_old = s->ft = (double)NAN;
    s->fbest = (double)INFINITY;
    s->flat_g = (double)INFINITY;
    s->status = -1;
}

void *fo_vector(fo_solver *s, int place) { return s->at[place] ? vec(s, place) : NULL; }

void vec_copy(fo_solver *s, int from, int to)
{
    space v = space_of(s);
    memcpy(vec(s, to), vec(s, from), vec_size(&v));
}

static void vec_fill(fo_solver *s, int place, double value)
{
    if (s->width == FO_F32) for (int64_t i = 0; i < s->n; i++) ((float *)vec(s, place))[i] = (float)value;
    else for (int64_t i = 0; i < s->n; i++) ((double *)vec(s, place))[i] = value;
}

/* ---- the best point ---- */
void note_evaluation(fo_solver *s, int along)
{
    s->nfev += (s->have & FO_WANT_F) && (s->want & FO_WANT_F);
    s->njev += (s->have & FO_WANT_G) != 0;
    if (along && s->have & FO_WANT_G) {
        space v = space_of(s);
        s->slope_t = vec_dot(&v, vec(s, FO_GT), vec(s, FO_D));
    } else s->slope_t = (double)NAN;
    int usable = isfinite(s->ft) && (!along || !(s->have & FO_WANT_G) || isfinite(s->slope_t));
    if (usable && s->ft < s->fbest) {
        s->fbest_old = s->fbest;
        s->fbest = s->ft;
        s->lowest_trial = 1;
    } else s->lowest_trial = 0;
}

void keep_lowest(fo_solver *s)
{
    if (!s->lowest_trial) return;
    exchange(s, FO_XT, FO_XB);
    exchange(s, FO_GT, FO_GB);
    s->best_at = s->have & FO_WANT_G ? 1 : 2;
    s->lowest_trial = 0;
}

void measure_gradient(fo_solver *s)
{
    space v = space_of(s);
    s->gmax = vec_norms(&v, vec(s, FO_G), &s->gg);
    s->gnorm = s->o.norm ? sqrt(s->gg) : s->gmax;
}

void take_step(fo_solver *s)
{
    if (s->lowest_trial) s->best_at = 0;
    else if (s->best_at == 0 && s->ft > s->f) {          /* the point left behind is the lowest: it goes where it is kept */
        exchange(s, FO_X, FO_XB);
        exchange(s, FO_G, FO_GB);
        s->best_at = 1;
    }
    exchange(s, FO_X, FO_XT);
    exchange(s, FO_G, FO_GT);
    s->lowest_trial = 0;
    s->f_old = s->f;
    s->f = s->ft;
    s->slope_old = s->slope;
    s->alpha_old = s->alpha;
    s->nit++;
    /* Hager and Zhang (2006), C_k: a mean of |f| that forgets, the size that rounding of f is measured by. */
    s->mean_q = 1 + 0.7 * s->mean_q;
    s->mean_f += (fabs(s->f) - s->mean_f) / s->mean_q;
    measure_gradient(s);
}

static double rounding(const fo_solver *s) { return 4 * (s->width == FO_F32 ? FLT_EPSILON : DBL_EPSILON) * fabs(s->f); }

void fo_stop(fo_solver *s, int status)
{
    keep_lowest(s);
    /* A point that passes the test and is as low as f can tell is kept, not left for one that does not. */
    if (status == FO_GRADIENT_SMALL && s->f - s->fbest <= rounding(s)) s->best_at = 0;
    if (s->best_at) {
        exchange(s, FO_X, FO_XB);
        exchange(s, FO_G, FO_GB);
        s->f = s->fbest;
        if (s->best_at == 2) vec_fill(s, FO_G, (double)NAN);            /* only its value was asked for */
        measure_gradient(s);
        s->best_at = 0;
        if (status == FO_GRADIENT_SMALL && !(s->gnorm <= s->o.gtol)) status = FO_PRECISION;
    }
    s->status = status;
    s->resume = -1;
    s->request = FO_STOPPED;
}

/* ---- ends ---- */
int arrive(fo_solver *s)
{
    note_evaluation(s, 0);
    exchange(s, FO_X, FO_XT);
    exchange(s, FO_G, FO_GT);
    s->lowest_trial = 0;
    s->f = s->ft;
    s->mean_f = fabs(s->f);
    s->mean_q = 1;
    s->alpha = 1;
    measure_gradient(s);
    if (s->f == -(double)INFINITY) return FO_UNBOUNDED;
    return isfinite(s->f) && isfinite(s->gmax) ? -1 : FO_NONFINITE;
}

int finished(fo_solver *s, int stepped)
{
    const fo_options *o = &s->o;
    if (s->gnorm <= o->gtol || s->gmax == 0) return FO_GRADIENT_SMALL;
    if (s->f <= o->ftarget) return FO_VALUE_REACHED;
    if (s->f < o->fmin) return FO_UNBOUNDED;
    if (stepped) {
        double size = fmax(fmax(fabs(s->f), fabs(s->f_old)), 1), fell = s->f_old - s->f;
        if (o->ftol > 0 && fell >= 0 && fell <= o->ftol * size) return FO_VALUE_SETTLED;
        if (o->xtol > 0) {
            space v = space_of(s);
            double xx, dd = vec_dot(&v, vec(s, FO_D), vec(s, FO_D));
            vec_norms(&v, vec(s, FO_X), &xx);
            if (s->alpha * sqrt(dd) <= o->xtol * (o->xtol + sqrt(xx))) return FO_STEP_SMALL;
        }
        /* Steps that neither lower f beyond its rounding nor better the gradient lead nowhere. */
        if (fell <= rounding(s) && s->gnorm >= 0.9 * s->flat_g) {
            if (++s->flat >= 20) return s->flat == s->nit ? FO_NOT_DESCENT : FO_PRECISION;
        } else s->flat = 0;
        if (s->gnorm < s->flat_g) s->flat_g = s->gnorm;
    }
    if (s->nit >= o->maxiter) return FO_ITERATIONS;
    if (s->nfev >= o->maxfev) return FO_EVALUATIONS;
    return -1;
}

/* ---- steepest descent, where every method begins ---- */
void steepest(fo_solver *s)
{
    space v = space_of(s);
    double c = s->gmax > 1e100 || s->gmax < 1e-100 ? 1 / s->gmax : 1;
    vec_combine(&v, -c, vec(s, FO_G), 0, vec(s, FO_G), vec(s, FO_D));
    s->slope = c == 1 ? -s->gg : vec_dot(&v, vec(s, FO_G), vec(s, FO_D));
    s->fresh = 1;
}

double first_of_all(fo_solver *s)
{
    space v = space_of(s);
    double length = sqrt(vec_dot(&v, vec(s, FO_D), vec(s, FO_D)));
    if (s->o.first_step > 0) return s->o.first_step / length;
    if (length > 1) return 1 / length;
    if (s->nit > 0) return 1;
    /* A start whose gradient is too small to move x: f is in tiny units. Then a hundredth of x, as Hager and Zhang begin. */
    double xx;
    vec_norms(&v, vec(s, FO_X), &xx);
    const double eps = s->width == FO_F32 ? FLT_EPSILON : DBL_EPSILON;
    return xx == 0 || length > eps * sqrt(xx) ? 1 : 0.01 * sqrt(xx) / length;
}

/* ---- the calls that outsiders see ---- */
int fo_advance(fo_solver *s, const fo_blas *blas)
{
    if (s->resume < 0) return FO_STOPPED;
    const int method = s->o.method;
    s->request = descents[method] ? descent_advance(s, descents[method], blas) : region_advance(s, regions[method], blas);
    return s->request;
}

int fo_run(fo_solver *s, const fo_blas *blas, fo_objective fun, void *user, int64_t budget)
{
    int r = s->resume == 0 ? fo_advance(s, blas) : s->request;
    while (r == FO_EVALUATE && budget-- > 0) {
        s->ft = fun(s->n, vec(s, FO_XT), vec(s, FO_GT), user);
        s->have = FO_WANT_F | FO_WANT_G;                   /* both at once: so nothing is evaluated twice */
        r = fo_advance(s, blas);
    }
    return r;
}

void fo_default_options(fo_options *o, int method, int width, int64_t n)
{
    const double eps = width == FO_F32 ? FLT_EPSILON : DBL_EPSILON;
    memset(o, 0, sizeof *o);
    o->method = method;
    o->search = FO_WOLFE;
    o->threads = 1;
    o->memory = 10;
    o->max_trials = 40;
    o->maxiter = n < 5 ? 1000 : n > 75 ? 15000 : 200 * n;
    o->maxfev = INT64_MAX;
    o->gtol = width == FO_F32 ? 1e-3 : 1e-5;              /* about eps^(1/3) */
    o->ftarget = o->fmin = -(double)INFINITY;
    o->max_step = (double)INFINITY;
    o->c1 = 1e-4;
    o->c2 = 0.9;
    o->eps_f = 10 * eps;
    o->eta = 0.1;
    switch (method) {
    case FO_METHOD_gd:
        o->search = FO_HAGER_ZHANG;
        o->c1 = 0.1;
        o->eps_f = 1e-6;
        break;
    case FO_METHOD_bfgs:
        o->search = FO_HAGER_ZHANG;
        o->eps_f = width == FO_F32 ? 10 * eps : 1e-10;
        break;
    case FO_METHOD_bb: o->search = FO_BACKTRACKING; break;
    case FO_METHOD_cg:
        o->c2 = 0.3;
        o->eps_f = width == FO_F32 ? 10 * eps : 1e-10;
        o->restart = 6 * n;
        break;
    case FO_METHOD_newton: case FO_METHOD_newton_cg: o->search = FO_BACKTRACKING; break;
    default: break;
    }
}
