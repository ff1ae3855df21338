"""The More-Garbow-Hillstrom problems that fit a model to a table of data: residuals model - y or y - model.

Tables and formulas: More, Garbow, Hillstrom, "Testing unconstrained optimization software", ACM TOMS 7(1),
1981, section 3. Minimal values are given to more digits than there; tests hold them to both.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from fastopt.problems._base import Array, Residuals, Spec, index, like, problem, squares, symmetric

SPECS: list[Spec] = []
_listed = partial(problem, SPECS, group="mgh")

# fmt: off
_BARD = (0.14, 0.18, 0.22, 0.25, 0.29, 0.32, 0.35, 0.39, 0.37, 0.58, 0.73, 0.96, 1.34, 2.10, 4.39)
_GAUSSIAN = (0.0009, 0.0044, 0.0175, 0.0540, 0.1295, 0.2420, 0.3521, 0.3989,
             0.3521, 0.2420, 0.1295, 0.0540, 0.0175, 0.0044, 0.0009)
_MEYER = (34780, 28610, 23650, 19630, 16370, 13720, 11540, 9744, 8261, 7030, 6005, 5147, 4427, 3820, 3307, 2872)
_KOWALIK = (0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246)
_KOWALIK_U = (4.0, 2.0, 1.0, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625)
_OSBORNE_1 = (0.844, 0.908, 0.932, 0.936, 0.925, 0.908, 0.881, 0.850, 0.818, 0.784, 0.751,
              0.718, 0.685, 0.658, 0.628, 0.603, 0.580, 0.558, 0.538, 0.522, 0.506, 0.490,
              0.478, 0.467, 0.457, 0.448, 0.438, 0.431, 0.424, 0.420, 0.414, 0.411, 0.406)
_OSBORNE_2 = (1.366, 1.191, 1.112, 1.013, 0.991, 0.885, 0.831, 0.847, 0.786, 0.725, 0.746, 0.679, 0.608,
              0.655, 0.616, 0.606, 0.602, 0.626, 0.651, 0.724, 0.649, 0.649, 0.694, 0.644, 0.624, 0.661,
              0.612, 0.558, 0.533, 0.495, 0.500, 0.423, 0.395, 0.375, 0.372, 0.391, 0.396, 0.405, 0.428,
              0.429, 0.523, 0.562, 0.607, 0.653, 0.672, 0.708, 0.633, 0.668, 0.645, 0.632, 0.591, 0.559,
              0.597, 0.625, 0.739, 0.710, 0.729, 0.720, 0.636, 0.581, 0.428, 0.292, 0.162, 0.098, 0.054)
# fmt: on


def _columns(*columns: Array) -> Array:
    return np.stack(columns, axis=1)


@_listed("bard", "MGH 8", sizes=3, x0=1.0, minima=8.21487730657898e-3, aliases=("BARD",),
         minimizer=(0.08241055974978899, 1.1330360920297224, 2.3436951786425366),
         note="17.4286... is approached at (0.8406, -inf, -inf)")  # fmt: skip
@squares
def bard(x: Array) -> Residuals:
    """r_i = y_i - (a + u / (v b + w c)), u = i, v = 16 - i, w = min(u, v)."""
    a, b, c = x
    u = index(x, 15)
    v = 16 - u
    w = np.minimum(u, v)
    d = v * b + w * c
    q = u / (d * d)

    def curve(r: Array) -> Array:
        s = -2 * r * q / d
        return symmetric(x, 3, {(1, 1): s @ (v * v), (1, 2): s @ (v * w), (2, 2): s @ (w * w)})

    return Residuals(like(x, _BARD) - (a + u / d), lambda: _columns(q * 0 - 1, q * v, q * w), curve)


@_listed("gaussian", "MGH 9", sizes=3, x0=(0.4, 1.0, 0.0), minima=1.127932769619e-8,
         minimizer=(0.39895613783875666, 1.0000190844878056, 0.0))  # fmt: skip
@squares
def gaussian(x: Array) -> Residuals:
    """r_i = a exp(-b (t_i - c)^2 / 2) - y_i, t_i = (8 - i) / 2."""
    a, b, c = x
    q = (8 - index(x, 15)) / 2 - c
    e = np.exp(-b * q * q / 2)

    def curve(r: Array) -> Array:
        s = r * e
        return symmetric(x, 3, {
            (0, 1): -(s @ (q * q)) / 2, (0, 2): b * (s @ q), (1, 1): a * (s @ q**4) / 4,
            (1, 2): a * (s @ (q - b * q**3 / 2)), (2, 2): a * b * (s @ (b * q * q - 1)),
        })  # fmt: skip

    return Residuals(
        a * e - like(x, _GAUSSIAN), lambda: _columns(e, -a * e * q * q / 2, a * b * e * q), curve
    )


@_listed("meyer", "MGH 10", sizes=3, x0=(0.02, 4000.0, 250.0), minima=87.945855170851, aliases=("MEYER3",),
         note="variables differ by 1e6 in scale, and entries of the Hessian by far more")  # fmt: skip
@squares
def meyer(x: Array) -> Residuals:
    """r_i = a exp(b / (t_i + c)) - y_i, t_i = 45 + 5 i."""
    a, b, c = x
    s = 45 + 5 * index(x, 16) + c
    e = np.exp(b / s)

    def curve(r: Array) -> Array:
        p = r * e
        return symmetric(x, 3, {
            (0, 1): (p / s).sum(), (0, 2): -b * (p / s**2).sum(), (1, 1): a * (p / s**2).sum(),
            (1, 2): -a * (p * (b / s + 1) / s**2).sum(), (2, 2): a * b * (p * (b / s + 2) / s**3).sum(),
        })  # fmt: skip

    return Residuals(a * e - like(x, _MEYER), lambda: _columns(e, a * e / s, -a * b * e / s**2), curve)


@_listed("gulf", "MGH 11", sizes=3, x0=(5.0, 2.5, 0.15), minima=0.0, minimizer=(50.0, 25.0, 1.5),
         aliases=("GULF",),
         note="m = 99; the value is flat far from the minimum")  # fmt: skip
@squares
def gulf(x: Array) -> Residuals:
    """r_i = exp(-|y_i - b|^c / a) - t_i, t_i = i / 100, y_i = 25 + (-50 log t_i)^(2/3), i < 100.

    The exponent |y_i m i b|^c / a of the paper is a misprint.
    """
    a, b, c = x
    t = index(x, 99) / 100
    z = 25 + (-50 * np.log(t)) ** (2 / 3) - b
    # |z|, in a form that holds for complex z; at 0 the term and its slopes vanish for c > 1.
    log = np.log(z * np.where(z.real < 0, -1, 1).astype(t.dtype))
    u = np.exp(c * log) / a
    e = np.exp(-u)
    slopes = [-u / a, -c * u / z, u * log]

    def curve(r: Array) -> Array:
        p = r * e
        bends = {
            (0, 0): 2 * u / a**2, (0, 1): c * u / (a * z), (0, 2): -u * log / a,
            (1, 1): c * (c - 1) * u / z**2, (1, 2): -(1 + c * log) * u / z, (2, 2): u * log**2,
        }  # fmt: skip
        return symmetric(x, 3, {(j, k): p @ (slopes[j] * slopes[k] - bend) for (j, k), bend in bends.items()})

    return Residuals(e - t, lambda: _columns(*(-e * slope for slope in slopes)), curve)


@_listed("box_3d", "MGH 12", sizes=3, x0=(0.0, 10.0, 20.0), minima=0.0, minimizer=(1.0, 10.0, 1.0),
         aliases=("BOX3",), note="m = 10; also 0 at (10, 1, -1) and at (a, a, 0)")  # fmt: skip
@squares
def box_3d(x: Array) -> Residuals:
    """r_i = exp(-t a) - exp(-t b) - c (exp(-t) - exp(-10 t)), t = i / 10."""
    a, b, c = x
    t = index(x, 10) / 10
    ea, eb, k = np.exp(-t * a), np.exp(-t * b), np.exp(-t) - np.exp(-10 * t)

    def curve(r: Array) -> Array:
        return symmetric(x, 3, {(0, 0): r @ (t * t * ea), (1, 1): -(r @ (t * t * eb))})

    return Residuals(ea - eb - c * k, lambda: _columns(-t * ea, t * eb, -k), curve)


@_listed("kowalik_osborne", "MGH 15", sizes=4, x0=(0.25, 0.39, 0.415, 0.39), minima=3.0750560384923778e-4,
         aliases=("KOWOSB",),
         minimizer=(0.1928069345790379, 0.19128232873436676, 0.12305650692632074, 0.13606233068379475),
         note="1.02734e-3 is approached at (inf, -14.07, -inf, -inf)")  # fmt: skip
@squares
def kowalik_osborne(x: Array) -> Residuals:
    """r_i = y_i - a (u^2 + u b) / (u^2 + u c + d)."""
    a, b, c, d = x
    u = like(x, _KOWALIK_U)
    top, bottom = u * (u + b), u * (u + c) + d
    q = top / bottom

    def curve(r: Array) -> Array:
        p, s, w = r / bottom, r / bottom**2, 2 * a * r * top / bottom**3
        return symmetric(x, 4, {
            (0, 1): -(p @ u), (0, 2): s @ (top * u), (0, 3): s @ top,
            (1, 2): a * (s @ (u * u)), (1, 3): a * (s @ u),
            (2, 2): -(w @ (u * u)), (2, 3): -(w @ u), (3, 3): -w.sum(),
        })  # fmt: skip

    return Residuals(
        like(x, _KOWALIK) - a * q,
        lambda: _columns(-q, -a * u / bottom, a * q * u / bottom, a * q / bottom),
        curve,
    )


@_listed("osborne_1", "MGH 17", sizes=5, x0=(0.5, 1.5, -1.0, 0.01, 0.02), minima=5.4648946974829e-5,
         aliases=("OSBORNEA",),
         minimizer=(0.37541005210695194, 1.9358469127123559, -1.4646871366134115,
                    0.012867534640057266, 0.02212269966167266))  # fmt: skip
@squares
def osborne_1(x: Array) -> Residuals:
    """r_i = y_i - (a + b exp(-t d) + c exp(-t e)), t = 10 (i - 1)."""
    a, b, c, d, e = x
    t = 10 * index(x, 32, 0)
    p, q = np.exp(-t * d), np.exp(-t * e)

    def curve(r: Array) -> Array:
        s, w = r * t * p, r * t * q
        return symmetric(x, 5, {
            (1, 3): s.sum(), (2, 4): w.sum(), (3, 3): -b * (s @ t), (4, 4): -c * (w @ t),
        })  # fmt: skip

    return Residuals(
        like(x, _OSBORNE_1) - (a + b * p + c * q),
        lambda: _columns(p * 0 - 1, -p, -q, b * t * p, c * t * q),
        curve,
    )


@_listed("biggs_exp6", "MGH 18", sizes=6, x0=(1.0, 2.0, 1.0, 1.0, 1.0, 1.0), minima=(0.0, 5.6556499254999e-3),
         minimizer=(1.0, 10.0, 1.0, 5.0, 4.0, 3.0), aliases=("BIGGS6",),
         note="m = 13; 5.65565e-3 is a saddle with a = e, c = f, where many methods end")  # fmt: skip
@squares
def biggs_exp6(x: Array) -> Residuals:
    """r_i = c exp(-t a) - d exp(-t b) + f exp(-t e) - y_i, t = i / 10, y = e^-t - 5 e^-10t + 3 e^-4t."""
    a, b, c, d, e, f = x
    t = index(x, 13) / 10
    ea, eb, ee = np.exp(-t * a), np.exp(-t * b), np.exp(-t * e)
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)

    def curve(r: Array) -> Array:
        p, q, s = r * t * ea, r * t * eb, r * t * ee
        return symmetric(x, 6, {
            (0, 0): c * (p @ t), (0, 2): -p.sum(), (1, 1): -d * (q @ t), (1, 3): q.sum(),
            (4, 4): f * (s @ t), (4, 5): -s.sum(),
        })  # fmt: skip

    return Residuals(
        c * ea - d * eb + f * ee - y,
        lambda: _columns(-t * c * ea, t * d * eb, ea, -eb, -t * f * ee, ee),
        curve,
    )


@_listed("osborne_2", "MGH 19", sizes=11, minima=4.0137736293547744e-2, aliases=("OSBORNEB",),
         x0=(1.3, 0.65, 0.65, 0.7, 0.6, 3.0, 5.0, 7.0, 2.0, 4.5, 5.5))  # fmt: skip
@squares
def osborne_2(x: Array) -> Residuals:
    """r_i = y_i - (x1 exp(-t x5) + sum_k h_k exp(-w_k (t - c_k)^2)), t = (i - 1) / 10.

    Heights h = x2, x3, x4; widths w = x6, x7, x8; centres c = x9, x10, x11.
    """
    t = index(x, 64, 0) / 10
    base = np.exp(-t * x[4])
    h, w, c = x[1:4], x[5:8], x[8:11]
    q = t[:, None] - c
    e = np.exp(-w * q * q)
    bell = h * e

    def jac() -> Array:
        j = np.empty((65, 11), dtype=x.dtype)
        j[:, 0], j[:, 4] = -base, t * x[0] * base
        j[:, 1:4], j[:, 5:8], j[:, 8:11] = -e, q * q * bell, -2 * w * q * bell
        return j

    def curve(r: Array) -> Array:
        # Second derivatives of a bell; pairs of its height, width and centre.
        hw, hc = r @ (q * q * e), -2 * w * (r @ (q * e))
        ww, wc = -(r @ (q**4 * bell)), -2 * (r @ (q * (1 - w * q * q) * bell))
        cc = -2 * w * (r @ ((2 * w * q * q - 1) * bell))
        entries = {(0, 4): r @ (t * base), (4, 4): -x[0] * (r @ (t * t * base))}
        for k in range(3):
            i, j, m = 1 + k, 5 + k, 8 + k
            entries |= {(i, j): hw[k], (i, m): hc[k], (j, j): ww[k], (j, m): wc[k], (m, m): cc[k]}
        return symmetric(x, 11, entries)

    return Residuals(like(x, _OSBORNE_2) - (x[0] * base + bell.sum(axis=1)), jac, curve)
