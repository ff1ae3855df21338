/* rules.h: every update formula, as a function of one element, easiest first.
 *
 * Included once with REAL = float and once with REAL = double. An element travels as a small struct by value:
 * p the parameter, g the gradient (already scaled, clipped and decayed), s0..s2 the states in the order of rules.def.
 * A rule is three things: its coefficients <rule>_k (REAL members only), the formula <rule>, and <rule>_prep, which turns
 * hyper-parameters h[] and the step's number t = 1, 2, ... into coefficients. prep exists once, in double; the float
 * coefficients are its results rounded once.
 *
 * Same bits everywhere: formulas use only + - * /, SQRT, comparisons, FABS and COPYSIGN, which every instruction
 * set rounds alike.
 * pow and friends stay in prep. Left out on purpose: weight decay, clipping, averages; they belong to every rule
 * alike and live in loops.h.
 *
 * Sources: Goodfellow, Bengio, Courville, Deep Learning, chapter 8 ("book"); the papers named at each rule.
 * Where conventions differ only in numbers, they are coefficients: sqrt(v + eps_root) + eps puts epsilon inside, outside or both.
 */

typedef struct { REAL p, g, s0, s1, s2; } FN(cell);

static inline REAL FN(larger)(REAL a, REAL b) { return a > b ? a : b; }      /* b where either is NaN */
static inline REAL FN(smaller)(REAL a, REAL b) { return a < b ? a : b; }
/* Running means: of x, left alone by x = m; and of g^2. */
static inline REAL FN(mean)(REAL m, REAL x, REAL rest) { return m + rest * (x - m); }
static inline REAL FN(mean_square)(REAL v, REAL g, REAL keep, REAL rest) { return keep * v + rest * (g * g); }
/* size sign(a), for size >= 0; 0 for NaN, as torch */
static inline REAL FN(toward)(REAL size, REAL a) { return FABS(a) > 0 ? COPYSIGN(size, a) : 0; }

/* ---- SGD, book algorithm 8.1 ---- */
typedef struct { REAL lr; } FN(sgd_k);
static inline FN(cell) FN(sgd)(FN(cell) x, FN(sgd_k) k)
{
    x.p -= k.lr * x.g;
    return x;
}

/* ---- momentum, book algorithm 8.2 (Polyak 1964) ----
 * lr outside the buffer (torch): b <- mu b + (1 - dampening) g, p <- p - lr b.   Inside (book): b is the velocity v. */
typedef struct { REAL mu, c1, c2; } FN(momentum_k);
static inline FN(cell) FN(momentum)(FN(cell) x, FN(momentum_k) k)
{
    x.s0 = k.mu * x.s0 + k.c1 * x.g;
    x.p -= k.c2 * x.s0;
    return x;
}

/* ---- Nesterov's momentum in the form that needs the gradient at p itself (Sutskever et al. 2013; torch, Keras) ---- */
typedef struct { REAL mu, c1, c2, e, f; } FN(nesterov_k);
static inline FN(cell) FN(nesterov)(FN(cell) x, FN(nesterov_k) k)
{
    x.s0 = k.mu * x.s0 + k.c1 * x.g;
    x.p -= k.c2 * (k.e * x.g + k.f * x.s0);
    return x;
}

/* ---- AdaGrad, book algorithm 8.4 (Duchi, Hazan, Singer 2011) ---- */
typedef struct { REAL lr, eps, eps_root; } FN(adagrad_k);
static inline FN(cell) FN(adagrad)(FN(cell) x, FN(adagrad_k) k)
{
    x.s0 += x.g * x.g;
    x.p -= k.lr * x.g / (SQRT(x.s0 + k.eps_root) + k.eps);
    return x;
}

/* ---- RMSProp, book algorithms 8.5 and 8.6 (Hinton 2012; centred: Graves 2013) ---- */
typedef struct { REAL lr, alpha, rest, eps, eps_root, mu, c1, c2; } FN(rmsprop_k);
static inline REAL FN(rms)(REAL v, FN(rmsprop_k) k) { return SQRT(v + k.eps_root) + k.eps; }
/* Rounding may push v - m^2 below zero, where the root would be NaN. */
static inline REAL FN(rms_variance)(REAL v, REAL m) { REAL d = v - m * m; return d < 0 ? 0 : d; }
static inline FN(cell) FN(rmsprop)(FN(cell) x, FN(rmsprop_k) k)
{
    x.s0 = FN(mean_square)(x.s0, x.g, k.alpha, k.rest);
    x.p -= k.lr * x.g / FN(rms)(x.s0, k);
    return x;
}
static inline FN(cell) FN(rmsprop_momentum)(FN(cell) x, FN(rmsprop_k) k)
{
    x.s0 = FN(mean_square)(x.s0, x.g, k.alpha, k.rest);
    x.s1 = k.mu * x.s1 + k.c1 * x.g / FN(rms)(x.s0, k);
    x.p -= k.c2 * x.s1;
    return x;
}
static inline FN(cell) FN(rmsprop_centered)(FN(cell) x, FN(rmsprop_k) k)
{
    x.s0 = FN(mean_square)(x.s0, x.g, k.alpha, k.rest);
    x.s1 = FN(mean)(x.s1, x.g, k.rest);
    x.p -= k.lr * x.g / FN(rms)(FN(rms_variance)(x.s0, x.s1), k);
    return x;
}
static inline FN(cell) FN(rmsprop_centered_momentum)(FN(cell) x, FN(rmsprop_k) k)
{
    x.s0 = FN(mean_square)(x.s0, x.g, k.alpha, k.rest);
    x.s1 = FN(mean)(x.s1, x.g, k.rest);
    x.s2 = k.mu * x.s2 + k.c1 * x.g / FN(rms)(FN(rms_variance)(x.s0, x.s1), k);
    x.p -= k.c2 * x.s2;
    return x;
}
typedef FN(rmsprop_k) FN(rmsprop_momentum_k);
typedef FN(rmsprop_k) FN(rmsprop_centered_k);
typedef FN(rmsprop_k) FN(rmsprop_centered_momentum_k);

/* ---- Adadelta (Zeiler 2012) ---- */
typedef struct { REAL lr, rho, rest, eps; } FN(adadelta_k);
static inline FN(cell) FN(adadelta)(FN(cell) x, FN(adadelta_k) k)
{
    x.s0 = FN(mean_square)(x.s0, x.g, k.rho, k.rest);
    REAL u = SQRT((x.s1 + k.eps) / (x.s0 + k.eps)) * x.g;   /* one root, not two: the divider is the bottleneck */
    x.s1 = FN(mean_square)(x.s1, u, k.rho, k.rest);
    x.p -= k.lr * u;
    return x;
}

/* ---- Adam, book algorithm 8.7 (Kingma, Ba 2015) ----
 * m as m + (1 - b1)(g - m): for g = m it stays m exactly, which b1 m + (1 - b1) g does not. */
typedef struct { REAL step, rest1, b2, rest2, root, eps, eps_root, seen; } FN(adam_k);
static inline REAL FN(adam_move)(REAL m, REAL v, FN(adam_k) k)
{
    return k.step * m / (SQRT(v + k.eps_root) * k.root + k.eps);
}
static inline FN(cell) FN(adam)(FN(cell) x, FN(adam_k) k)
{
    x.s0 = FN(mean)(x.s0, x.g, k.rest1);
    x.s1 = FN(mean_square)(x.s1, x.g, k.b2, k.rest2);
    x.p -= FN(adam_move)(x.s0, x.s1, k);
    return x;
}

/* ---- AMSGrad (Reddi, Kale, Kumar 2018): w the largest v so far, raw (torch, Keras) or corrected (optax) ---- */
typedef FN(adam_k) FN(amsgrad_k);
static inline FN(cell) FN(amsgrad)(FN(cell) x, FN(amsgrad_k) k)
{
    x.s0 = FN(mean)(x.s0, x.g, k.rest1);
    x.s1 = FN(mean_square)(x.s1, x.g, k.b2, k.rest2);
    x.s2 = FN(larger)(x.s2, k.seen * x.s1);
    x.p -= FN(adam_move)(x.s0, x.s2, k);
    return x;
}

/* ---- Adamax (Kingma, Ba 2015, section 7.1); eps_root: inside the maximum, eps: in the denominator ---- */
typedef struct { REAL step, rest1, b2, eps, eps_root; } FN(adamax_k);
static inline FN(cell) FN(adamax)(FN(cell) x, FN(adamax_k) k)
{
    x.s0 = FN(mean)(x.s0, x.g, k.rest1);
    x.s1 = FN(larger)(k.b2 * x.s1, FABS(x.g) + k.eps_root);
    x.p -= k.step * x.s0 / (x.s1 + k.eps);
    return x;
}

/* ---- NAdam (Dozat 2016) ---- */
typedef struct { REAL step_g, step_m, rest1, b2, rest2, root, eps; } FN(nadam_k);
static inline FN(cell) FN(nadam)(FN(cell) x, FN(nadam_k) k)
{
    x.s0 = FN(mean)(x.s0, x.g, k.rest1);
    x.s1 = FN(mean_square)(x.s1, x.g, k.b2, k.rest2);
    REAL rate = 1 / (SQRT(x.s1) * k.root + k.eps);
    x.p -= k.step_g * x.g * rate;                        /* two subtractions, as torch: their roundings of p add up */
    x.p -= k.step_m * x.s0 * rate;
    return x;
}

/* ---- RAdam (Liu et al. 2020): Adam once the variance of its rate is tractable, momentum before ---- */
typedef struct { REAL step, rest1, b2, rest2, root, eps, rectified; } FN(radam_k);
static inline FN(cell) FN(radam)(FN(cell) x, FN(radam_k) k)
{
    x.s0 = FN(mean)(x.s0, x.g, k.rest1);
    x.s1 = FN(mean_square)(x.s1, x.g, k.b2, k.rest2);
    REAL d = k.rectified != 0 ? SQRT(x.s1) * k.root + k.eps : 1;
    x.p -= k.step * x.s0 / d;
    return x;
}

/* ---- Rprop (Riedmiller, Braun 1993), without going back on a change of sign: iRprop- (Igel, Huesken 2000), as torch ---- */
typedef struct { REAL minus, plus, least, most; } FN(rprop_k);
static inline FN(cell) FN(rprop)(FN(cell) x, FN(rprop_k) k)
{
    REAL agree = FN(toward)(1, x.g) * x.s0;               /* not g * prev, which may underflow to 0 */
    REAL factor = agree > 0 ? k.plus : agree < 0 ? k.minus : 1;
    x.s1 = FN(smaller)(FN(larger)(x.s1 * factor, k.least), k.most);
    x.s0 = agree < 0 ? 0 : x.g;
    x.p -= FN(toward)(x.s1, x.s0);
    return x;
}

/* ---- Lion (Chen et al. 2023) ---- */
typedef struct { REAL lr, rest1, rest2; } FN(lion_k);
static inline FN(cell) FN(lion)(FN(cell) x, FN(lion_k) k)
{
    REAL u = FN(mean)(x.s0, x.g, k.rest1);
    x.p -= FN(toward)(k.lr, u);
    x.s0 = FN(mean)(x.s0, x.g, k.rest2);
    return x;
}

#if FO_PREP
/* From here on: hyper-parameters to coefficients, in double, once a step. h[] in the order of rules.def, c[] the running
 * scalars (changed in place), t >= 1. */

static inline void sgd_prep(const double *h, double t, double *c, sgd_k_f64 *k)
{
    (void)t; (void)c;
    k->lr = h[0];
}

static inline void buffer_coefs(double lr, double dampening, int lr_in_buffer, double t, double *c1, double *c2)
{
    double fresh = t == 1 ? 1 : 1 - dampening;           /* the first buffer is the gradient itself */
    *c1 = lr_in_buffer ? -lr * fresh : fresh;
    *c2 = lr_in_buffer ? -1 : lr;
}

static inline void momentum_prep(const double *h, double t, double *c, momentum_k_f64 *k)
{
    (void)c;
    k->mu = h[1];
    buffer_coefs(h[0], h[2], h[3] != 0, t, &k->c1, &k->c2);
}

static inline void nesterov_prep(const double *h, double t, double *c, nesterov_k_f64 *k)
{
    (void)c;
    int inside = h[3] != 0;
    k->mu = h[1];
    buffer_coefs(h[0], h[2], inside, t, &k->c1, &k->c2);
    k->e = inside ? -h[0] : 1;                            /* p <- p + (mu v - lr g), or p - lr (g + mu b) */
    k->f = h[1];
}

static inline void adagrad_prep(const double *h, double t, double *c, adagrad_k_f64 *k)
{
    (void)c;
    k->lr = h[0] / (1 + (t - 1) * h[1]);
    k->eps = h[2];
    k->eps_root = h[3];
}

static inline void rmsprop_prep(const double *h, double t, double *c, rmsprop_k_f64 *k)
{
    (void)c;
    k->lr = h[0];
    k->alpha = h[1];
    k->rest = 1 - h[1];
    k->eps = h[2];
    k->eps_root = h[3];
    k->mu = h[4];
    buffer_coefs(h[0], 0, h[5] != 0, t, &k->c1, &k->c2);
}
#define rmsprop_momentum_prep rmsprop_prep
#define rmsprop_centered_prep rmsprop_prep
#define rmsprop_centered_momentum_prep rmsprop_prep

static inline void adadelta_prep(const double *h, double t, double *c, adadelta_k_f64 *k)
{
    (void)t; (void)c;
    k->lr = h[0];
    k->rho = h[1];
    k->rest = 1 - h[1];
    k->eps = h[2];
}

/* 1 - b^t, formed as torch and the papers' own code form it, so that coefficients agree to the last bit. */
static inline double correction(double b, double t) { return 1 - pow(b, t); }

static inline void adam_prep(const double *h, double t, double *c, adam_k_f64 *k)
{
    (void)c;
    double c1 = correction(h[1], t), c2 = correction(h[2], t);
    int eps_hat = h[5] != 0;                              /* epsilon before the correction: the paper's epsilon-hat */
    k->step = h[0] / c1 * (eps_hat ? sqrt(c2) : 1);
    k->rest1 = 1 - h[1];
    k->b2 = h[2];
    k->rest2 = 1 - h[2];
    k->root = eps_hat ? 1 : 1 / sqrt(c2);
    k->eps = h[3];
    k->eps_root = eps_hat ? h[4] : h[4] * c2;             /* sqrt(v/c2 + e) = sqrt(v + e c2) / sqrt(c2) */
    k->seen = 1;
}

static inline void amsgrad_prep(const double *h, double t, double *c, amsgrad_k_f64 *k)
{
    adam_prep(h, t, c, k);
    if (h[6] != 0) {                                      /* w holds corrected values, so nothing is corrected later */
        k->seen = 1 / correction(h[2], t);
        k->step = h[0] / correction(h[1], t);
        k->root = 1;
        k->eps_root = h[4];
    }
}

static inline void adamax_prep(const double *h, double t, double *c, adamax_k_f64 *k)
{
    (void)c;
    k->step = h[0] / correction(h[1], t);
    k->rest1 = 1 - h[1];
    k->b2 = h[2];
    k->eps = h[3];
    k->eps_root = h[4];
}

static inline double nadam_mu(double b1, double t, double decay) { return b1 * (1 - 0.5 * pow(0.96, t * decay)); }

static inline void nadam_prep(const double *h, double t, double *c, nadam_k_f64 *k)
{
    double mu = nadam_mu(h[1], t, h[4]), next = nadam_mu(h[1], t + 1, h[4]);
    c[0] *= mu;
    k->step_g = h[0] * (1 - mu) / (1 - c[0]);
    k->step_m = h[0] * next / (1 - c[0] * next);
    k->rest1 = 1 - h[1];
    k->b2 = h[2];
    k->rest2 = 1 - h[2];
    k->root = 1 / sqrt(correction(h[2], t));
    k->eps = h[3];
}

static inline void radam_prep(const double *h, double t, double *c, radam_k_f64 *k)
{
    (void)c;
    double b2 = h[2], c2 = correction(b2, t);
    double last = 2 / (1 - b2) - 1, rho = last - 2 * t * pow(b2, t) / c2;
    int eps_hat = h[4] != 0;
    k->step = h[0] / correction(h[1], t);
    k->rest1 = 1 - h[1];
    k->b2 = b2;
    k->rest2 = 1 - b2;
    k->rectified = rho > 5;
    k->root = eps_hat ? 1 : 1 / sqrt(c2);
    k->eps = h[3];
    if (rho > 5) {
        k->step *= sqrt((rho - 4) * (rho - 2) * last / ((last - 4) * (last - 2) * rho));
        if (eps_hat) k->step *= sqrt(c2);
    }
}

static inline void rprop_prep(const double *h, double t, double *c, rprop_k_f64 *k)
{
    (void)t; (void)c;
    k->minus = h[1];
    k->plus = h[2];
    k->least = h[3];
    k->most = h[4];
}

static inline void lion_prep(const double *h, double t, double *c, lion_k_f64 *k)
{
    (void)t; (void)c;
    k->lr = h[0];
    k->rest1 = 1 - h[1];
    k->rest2 = 1 - h[2];
}
#endif
