/* newton.c: Newton's method with the Hessian (Deep Learning 8.6.1; Nocedal and Wright, sections 3.3 and 3.4).
 *
 * regularized: d = -(H + alpha I)^-1 g with the first alpha at which Cholesky's factorization succeeds (the book's 8.28; Nocedal and
 *     Wright, algorithm 3.3). alpha = 0 is tried first. Where it fails, what was factored shows a direction of curvature -c, and
 *     twice c is tried, so that this curvature counts by its size; at least a quarter of what the last indefinite Hessian needed,
 *     and 1e-3 |H| (Frobenius).
 * saddle_free: d = -|H|^-1 g, |H| = Q |L| Q^T from H = Q L Q^T (Dauphin et al. 2014): along negative curvature it leaves a saddle point
 *     where Newton's own step would go to it. |eigenvalues| below eps^(3/4) of the largest count as that.
 *
 * A Hessian that is not finite: at x0, or at two points one after the other, the run ends; else that step is steepest descent.
 */
#include "matrix.h"

enum { REGULARIZED, SADDLE_FREE };
enum { SHIFTS = 60 };

static int by_eigenvalues(const fo_solver *s) { return s->o.variant == SADDLE_FREE && matrix_eigen_work(s->width, s->n) > 0; }

static void layout(plan *p)
{
    const fo_solver *s = p->s;
    plan_place(p, FO_MATRIX, matrix_bytes(s->width, s->n));
    if (by_eigenvalues(s)) {
        plan_vector(p, FO_U);
        plan_place(p, FO_SMALL, matrix_eigen_work(s->width, s->n));
    } else {
        plan_vector(p, FO_W);
        plan_place(p, FO_FACTOR, matrix_bytes(s->width, s->n));
    }
}

static void forget(fo_solver *s) { s->m.newton.forgotten = 1; }

/* FO_D = -(H + shift I)^-1 g; 0 if no shift will do. */
static int regularized(fo_solver *s, const fo_blas *blas, matrix_facts h)
{
    space v = space_of(s);
    const double least = fmax(0.25 * s->m.newton.shift, h.norm > 0 ? 1e-3 * h.norm : 1);
    double shift = 0;
    int64_t failed = 1;
    for (int k = 0; failed && k < SHIFTS; k++) {
        failed = matrix_factor(blas, s->width, s->n, vec(s, FO_MATRIX), shift, vec(s, FO_FACTOR));
        if (!failed) break;
        double below = matrix_bound(blas, s->width, s->n, failed, vec(s, FO_MATRIX), shift, vec(s, FO_FACTOR), vec(s, FO_W));
        shift = fmax(least, 2 * (isfinite(below) ? fmax(shift - below, shift) : shift));
    }
    s->m.newton.shift = shift > 0 ? shift : 0.25 * s->m.newton.shift;
    if (failed) return 0;
    vec_combine(&v, -1, vec(s, FO_G), 0, vec(s, FO_G), vec(s, FO_D));
    matrix_solve(blas, s->width, s->n, s->n, vec(s, FO_FACTOR), vec(s, FO_D));
    return 1;
}

/* FO_D = -|H|^-1 g; 0 if LAPACK found no eigenvalues. */
static int saddle_free(fo_solver *s, const fo_blas *blas)
{
    space v = space_of(s);
    const int64_t row = s->n * (s->width == FO_F32 ? 4 : 8);
    const char *q = vec(s, FO_MATRIX);
    const void *values = vec(s, FO_U);
    if (matrix_eigen(blas, s->width, s->n, vec(s, FO_MATRIX), vec(s, FO_U), vec(s, FO_SMALL))) return 0;
    double most = fmax(fabs(vector_element(s->width, values, 0)), fabs(vector_element(s->width, values, s->n - 1)));
    const double floor = most > 0 ? most * pow(s->width == FO_F32 ? FLT_EPSILON : DBL_EPSILON, 0.75) : 1;
    memset(vec(s, FO_D), 0, vec_size(&v));
    for (int64_t i = 0; i < s->n; i++, q += row) {
        double size = fmax(fabs(vector_element(s->width, values, i)), floor);
        vec_combine(&v, 1, vec(s, FO_D), -vec_dot(&v, q, vec(s, FO_G)) / size, q, vec(s, FO_D));
    }
    return 1;
}

static int direction(fo_solver *s, const fo_blas *blas)
{
    BEGIN(s->inner);
    if (!s->m.newton.forgotten) {
        WAIT(s->inner, 1, FO_HESSIAN);
        s->nhev++;
        space v = space_of(s);
        matrix_facts h = matrix_symmetrise(s->width, s->n, vec(s, FO_MATRIX));
        if (isfinite(h.norm)) {
            s->m.newton.unknown = 0;
            if (by_eigenvalues(s) ? saddle_free(s, blas) : regularized(s, blas, h)) {
                s->slope = vec_dot(&v, vec(s, FO_G), vec(s, FO_D));
                s->fresh = 0;
                if (s->slope < 0 && isfinite(s->slope)) return READY;
            }
        } else if (s->nit == 0 || s->m.newton.unknown++) {
            s->fresh = 1;                                /* with a slope that is no number: the loop ends */
            s->slope = (double)NAN;
            return READY;
        }
        s->resets++;
    }
    s->m.newton.forgotten = 0;
    steepest(s);
    END(s->inner);
    return READY;
}

static double first(fo_solver *s)
{
    if (s->fresh || (s->nit == 0 && s->o.first_step > 0)) return first_of_all(s);
    return 1;
}

static void update(fo_solver *s, const fo_blas *blas) { (void)s; (void)blas; }

const descent_method method_newton = { layout, NULL, direction, first, update, forget };
