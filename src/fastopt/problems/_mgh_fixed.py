"""The More-Garbow-Hillstrom problems of fixed size that need no table of data.

Formulas: More, Garbow, Hillstrom, "Testing unconstrained optimization software", ACM TOMS 7(1), 1981,
section 3. Rosenbrock's, Powell's singular and Wood's functions are blocks of scalable ones: `_chains`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastopt.problems._base import Array, Residuals, Spec, index, like, problem, squares, symmetric

SPECS: list[Spec] = []
_listed = partial(problem, SPECS, group="mgh")


def _rows(x: Array, *rows: Any) -> Array:
    return np.array(rows, dtype=x.dtype)


@_listed("freudenstein_roth", "MGH 2", sizes=2, x0=(0.5, -2.0), minima=(0.0, 48.98425367924002),
         minimizer=(5.0, 4.0), note="48.98... at (11.4127..., -0.8968...) is reached from x0")  # fmt: skip
@squares
def freudenstein_roth(x: Array) -> Residuals:
    """r = (-13 + a + ((5 - b) b - 2) b, -29 + a + ((b + 1) b - 14) b)."""
    a, b = x
    return Residuals(
        _rows(x, -13 + a + ((5 - b) * b - 2) * b, -29 + a + ((b + 1) * b - 14) * b),
        lambda: _rows(x, [1, (10 - 3 * b) * b - 2], [1, (3 * b + 2) * b - 14]),
        lambda r: symmetric(x, 2, {(1, 1): r[0] * (10 - 6 * b) + r[1] * (6 * b + 2)}),
    )


@_listed("powell_badly_scaled", "MGH 3", sizes=2, x0=(0.0, 1.0), minima=0.0,
         minimizer=(1.0981593296998053e-05, 9.106146739866624), aliases=("POWELLBS",))  # fmt: skip
@squares
def powell_badly_scaled(x: Array) -> Residuals:
    """r = (10^4 a b - 1, exp(-a) + exp(-b) - 1.0001)."""
    a, b = x
    ea, eb = np.exp(-a), np.exp(-b)
    return Residuals(
        _rows(x, 1e4 * a * b - 1, ea + eb - 1.0001),
        lambda: _rows(x, [1e4 * b, 1e4 * a], [-ea, -eb]),
        lambda r: symmetric(x, 2, {(0, 0): r[1] * ea, (0, 1): 1e4 * r[0], (1, 1): r[1] * eb}),
    )


@_listed(
    "brown_badly_scaled", "MGH 4", sizes=2, x0=1.0, minima=0.0, minimizer=(1e6, 2e-6), aliases=("BROWNBS",)
)
@squares
def brown_badly_scaled(x: Array) -> Residuals:
    """r = (a - 10^6, b - 2 10^-6, a b - 2)."""
    a, b = x
    return Residuals(
        _rows(x, a - 1e6, b - 2e-6, a * b - 2),
        lambda: _rows(x, [1, 0], [0, 1], [b, a]),
        lambda r: symmetric(x, 2, {(0, 1): r[2]}),
    )


@_listed("beale", "MGH 5", sizes=2, x0=1.0, minima=0.0, minimizer=(3.0, 0.5), aliases=("BEALE",))  # fmt: skip
@squares
def beale(x: Array) -> Residuals:
    """r_i = y_i - a (1 - b^i), y = 1.5, 2.25, 2.625."""
    a, b = x
    i = index(x, 3)
    powers = _rows(x, 1, b, b * b)
    return Residuals(
        like(x, (1.5, 2.25, 2.625)) - a * (1 - b * powers),
        lambda: np.stack((b * powers - 1, a * i * powers), axis=1),
        lambda r: symmetric(x, 2, {(0, 1): r @ (i * powers), (1, 1): a * (2 * r[1] + 6 * b * r[2])}),
    )


@_listed("jennrich_sampson", "MGH 6", sizes=2, x0=(0.3, 0.4), minima=124.36218235561485,
         minimizer=0.2578252136703641, aliases=("JENSMP",),
         note="m = 10; the minimum is at a = b = 0.2578...")  # fmt: skip
@squares
def jennrich_sampson(x: Array) -> Residuals:
    """r_i = 2 + 2 i - (exp(i a) + exp(i b)), i = 1..10."""
    i = index(x, 10)
    e = np.exp(np.outer(i, x))
    return Residuals(
        2 + 2 * i - e.sum(axis=1),
        lambda: -i[:, None] * e,
        lambda r: -np.diag((r * i * i) @ e),
    )


@_listed("helical_valley", "MGH 7", sizes=3, x0=(-1.0, 0.0, 0.0), minima=0.0, minimizer=(1.0, 0.0, 0.0),
         aliases=("HELIX",), note="the angle jumps by one turn where a = 0, b < 0")  # fmt: skip
@squares
def helical_valley(x: Array) -> Residuals:
    """r = (10 (c - 10 angle(a, b)), 10 (sqrt(a^2 + b^2) - 1), c), the angle in turns from -1/4 to 3/4."""
    a, b, c = x
    angle = np.arctan(b / a) / (2 * np.pi) + (0.5 if a.real < 0 else 0.0)
    s = a * a + b * b
    rho = np.sqrt(s)

    def jac() -> Array:
        k = 100 / (2 * np.pi * s)
        return _rows(x, [k * b, -k * a, 10], [10 * a / rho, 10 * b / rho, 0], [0, 0, 1])

    def curve(r: Array) -> Array:
        turn, far = -100 * r[0] / (2 * np.pi * s * s), 10 * r[1] / (s * rho)
        return symmetric(x, 3, {
            (0, 0): turn * 2 * a * b + far * b * b, (1, 1): -turn * 2 * a * b + far * a * a,
            (0, 1): turn * (b * b - a * a) - far * a * b,
        })  # fmt: skip

    return Residuals(_rows(x, 10 * (c - 10 * angle), 10 * (rho - 1), c), jac, curve)


@_listed("brown_dennis", "MGH 16", sizes=4, x0=(25.0, 5.0, -5.0, -1.0), minima=85822.20162635634,
         minimizer=(-11.594439904762165, 13.203630051207204, -0.40343948817685954, 0.2367787744557363),
         aliases=("BROWNDEN",), note="m = 20")  # fmt: skip
@squares
def brown_dennis(x: Array) -> Residuals:
    """r_i = (a + t b - exp(t))^2 + (c + d sin(t) - cos(t))^2, t = i / 5."""
    a, b, c, d = x
    t = index(x, 20) / 5
    s = np.sin(t)
    p, q = a + t * b - np.exp(t), c + d * s - np.cos(t)

    def curve(r: Array) -> Array:
        return 2 * symmetric(x, 4, {
            (0, 0): r.sum(), (0, 1): r @ t, (1, 1): r @ (t * t),
            (2, 2): r.sum(), (2, 3): r @ s, (3, 3): r @ (s * s),
        })  # fmt: skip

    return Residuals(p * p + q * q, lambda: 2 * np.stack((p, p * t, q, q * s), axis=1), curve)
