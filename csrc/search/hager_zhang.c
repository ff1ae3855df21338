/* hager_zhang.c: Wolfe or approximate Wolfe conditions by Hager & Zhang (SIAM J. Optim. 16, 2005, 170-192, "HZ"; ACM Trans. Math.
 * Software 32, 2006, 113-137, Algorithm 851), with fall-backs in the spirit of later versions of CG_DESCENT.
 *
 *     symbol of the papers    here
 *     a, b                    x, y, with values fx, fy and slopes dx, dy
 *     delta, sigma            c1, c2
 *     epsilon_k               slack
 *     rho, theta, gamma       RHO, the 1/2 of middle(), GAMMA
 *     T1, T2                  FO_WHY_WEAK_WOLFE, FO_WHY_APPROXIMATE_WOLFE, tested at every trial
 *
 * What is bracketed is the minimum of h(alpha) = phi(alpha) - w alpha, w = c1 phi'(0) or, with approximate = 2, w = 0. The lower
 * end x always has h(x) <= limit and h'(x) < 0; what is known of y is `bracket`:
 *     OPEN     there is none yet: expand (B3), by the secant of the last two slopes where it points ahead
 *     WALL     phi or phi' is not finite there: go half-way at most
 *     HIGH     h(y) > limit and h'(y) < 0: contract (U3), by cubic interpolation and bisection in turn
 *     SLOPE    h'(y) >= 0: secant^2, and bisection where that has not shortened the interval by GAMMA (L1, L2)
 * Every trial lies strictly between the ends and becomes one of them, so that none is seen twice.
 * Departures: B2 contracts [a, c] for the last good a, not [0, c]. S1 is a cubic where values tell, and S2 is left out while y is
 * higher than x: from a trial far too long both would creep. Where ten contractions, or values within rounding, show no bracket, the
 * slack grows (as in later versions of CG_DESCENT), and the end at which contraction began counts as low if it then is.
 *
 * Keeps: z, fz, dz: OPEN: the last x; HIGH: y as it was when contraction began; SLOPE: the end that the last trial replaced, on
 * the side `stage` (-1: x, 1: y). turn: of secant^2. width: of the interval when it began. rounds: contractions. wall: WALL's y.
 */
#include "search/parts.h"

#define RHO 5.0
#define GAMMA 0.66

enum { OPEN, WALL, HIGH, SLOPE };
enum { CONTRACTIONS = 10, GROWTHS = 5 };

static double tilt(const fo_search *q) { return from_start(q) ? 0 : q->c1 * q->df0; }
static double limit(const fo_search *q) { return (from_start(q) ? q->f0 : q->reference) + (q->approximate ? q->slack : 0); }

static void move_up(fo_search *q, double at, double h, double d) { q->x = at; q->fx = h; q->dx = d; }

/* The trial becomes an end of the interval. */
static void place(fo_search *q)
{
    double h = q->f - tilt(q) * q->alpha, d = q->df - tilt(q);
    if (!q->finite) {
        q->y = q->wall = q->alpha;
        q->bracket = WALL;
    }
    else if (d >= 0 || h > limit(q)) {
        int now = d >= 0 ? SLOPE : HIGH;
        if (now == HIGH && q->bracket != HIGH) {
            q->z = q->alpha, q->fz = h, q->dz = d;
            q->rounds = 0;
        }
        if (now == SLOPE) {
            if (q->bracket == SLOPE) q->z = q->y, q->dz = q->dy;
            else q->turn = 0;
        }
        q->stage = 1;
        q->y = q->alpha, q->fy = h, q->dy = d;
        q->bracket = now;
    }
    else {
        if (q->bracket != HIGH) q->z = q->x, q->fz = q->fx, q->dz = q->dx;
        q->stage = -1;
        move_up(q, q->alpha, h, d);
    }
}

/* B3, and what later versions added: the secant of two slopes, never far beyond. */
static double expand(const fo_search *q)
{
    if (!(q->x > q->z)) return RHO * q->x;
    double s = secant(q->z, q->dz, q->x, q->dx);
    return s > q->x ? clip(s, q->x + 1.1 * (q->x - q->z), RHO * q->x) : RHO * q->x;
}

/* U3, one trial of it; or OPEN or WALL again if the slack has grown over the end where contraction began. */
static double contract(fo_search *q)
{
    int hidden = -q->dx * (q->y - q->x) <= q->slack;
    if (q->approximate && q->grown < GROWTHS && (hidden || q->rounds >= CONTRACTIONS)) {
        q->rounds = 0;
        do {
            q->slack *= 10;
            q->grown++;
        } while (q->grown < GROWTHS && q->fz <= limit(q) + 9 * q->slack && q->fz > limit(q));
        if (q->fz <= limit(q)) {
            move_up(q, q->z, q->fz, q->dz);
            q->bracket = q->wall > 0 ? WALL : OPEN;
            q->y = q->wall;
            return q->wall > 0 ? middle(q->x, q->wall) : RHO * q->x;
        }
    }
    double w = q->y - q->x;
    if (q->rounds++ % 2) return middle(q->x, q->y);
    return clip(cubic(q->x, q->fx, q->dx, q->y, q->fy, q->dy), q->x + 0.01 * w, q->y - 0.01 * w);
}

/* Inside a bracket, where values tell: the cubic, held back by the parabola while y is far too high (as case 1 of More & Thuente),
 * where a line through the slopes would creep. */
static double interpolate(const fo_search *q)
{
    if (equal(q, q->fx, q->fy)) return secant(q->x, q->dx, q->y, q->dy);
    double c = cubic(q->y, q->fy, q->dy, q->x, q->fx, q->dx), s = parabola(q->x, q->fx, q->dx, q->y, q->fy);
    return q->fy > q->fx && s < c ? middle(s, c) : c;
}

/* S1 to S4 and L2, one trial of them. */
static double secant_squared(fo_search *q)
{
    double w = q->y - q->x, c;
    if (q->turn == 1) {                                          /* S2, S3: the end that just moved, and what it was before */
        q->turn = 2;
        c = q->stage > 0 ? secant(q->z, q->dz, q->y, q->dy) : secant(q->z, q->dz, q->x, q->dx);
        if (c > q->x && c < q->y && (q->stage < 0 || q->fy <= q->fx || equal(q, q->fy, q->fx))) return c;
    }
    if (q->turn == 2) {
        q->turn = 0;
        if (w > GAMMA * q->width) return middle(q->x, q->y);
    }
    q->turn = 1;
    q->width = w;
    return interpolate(q);
}

int fo_hager_zhang(fo_search *q)
{
    BEGIN(q->resume);
    q->want_slope = 1;
    move_up(q, 0, q->f0, q->df0 - tilt(q));
    q->next = q->first;
    for (;;) {
        WAIT(q->resume, 1, FO_SEARCH_EVALUATE);
        if (q->finite) {
            if (armijo(q) && weak_curvature(q)) return done(q, FO_WHY_WEAK_WOLFE);
            if (approximate_armijo(q) && weak_curvature(q)) return done(q, FO_WHY_APPROXIMATE_WOLFE);
            if (q->bracket == WALL && near_wall(q, q->y)) return done(q, FO_WHY_ARMIJO);
        }
        place(q);
        if (q->bracket != OPEN && too_close(q->x, q->y)) return collapse(q);
        switch (q->bracket) {
        case OPEN: q->next = expand(q); break;
        case WALL: q->next = q->trials == q->bad ? SHRINK * q->y : fmin(expand(q), middle(q->x, q->y)); break;
        case HIGH: q->next = contract(q); break;
        default: q->next = secant_squared(q);
        }
        if (q->bracket != OPEN) q->next = between(q->next, q->x, q->y);
        else if (q->x >= q->most) return failed(q, FO_WHY_AT_MAX);
    }
    END(q->resume);
    return failed(q, FO_WHY_INTERVAL);                          /* a damaged state */
}
