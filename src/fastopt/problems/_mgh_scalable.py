"""The More-Garbow-Hillstrom problems of variable size, 20 to 35; Hessians as dense matrices.

Formulas: More, Garbow, Hillstrom, "Testing unconstrained optimization software", ACM TOMS 7(1), 1981,
section 3. Values and gradients cost O(n), but for Watson, Brown and Chebyquad, which cost O(n^2) at most.
Minima that are not 0 are known for the listed n only.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastopt.problems._base import (
    Array,
    Residuals,
    Sizes,
    Spec,
    diagonal,
    index,
    problem,
    shift,
    squares,
    with_hessian,
)

SPECS: list[Spec] = []
_listed = partial(problem, SPECS, group="mgh")


@_listed("watson", "MGH 20", sizes=Sizes(2, 1, 31), n=6, x0=0.0, aliases=("WATSON",),
         minima={2: 0.5466078558746469, 6: 2.287670053552436e-3, 9: 1.399760138099e-6,
                 12: 4.72238110589e-10})  # fmt: skip
@squares
def watson(x: Array) -> Residuals:
    """r_i = p'(t) - p(t)^2 - 1 with p(t) = sum_j x_j t^(j-1), t = i / 29; r_30 = x_1, r_31 = x_2 - x_1^2 - 1."""
    n = x.size
    t = index(x, 29)[:, None] / 29
    powers = t ** index(x, n - 1, 0)
    slopes = np.zeros_like(powers)
    slopes[:, 1:] = powers[:, :-1] * index(x, n - 1)
    p = powers @ x

    def jac() -> Array:
        j = np.zeros((31, n), dtype=x.dtype)
        j[:29] = slopes - 2 * p[:, None] * powers
        j[29, 0], j[30, 0], j[30, 1] = 1, -2 * x[0], 1
        return j

    def curve(r: Array) -> Array:
        h = -2 * (powers.T * r[:29]) @ powers
        h[0, 0] -= 2 * r[30]
        return h

    return Residuals(np.concatenate((slopes @ x - p * p - 1, (x[0], x[1] - x[0] * x[0] - 1))), jac, curve)


def _penalty_1_hessian(x: Array) -> Array:
    return (2e-5 + 4 * (x @ x - 0.25)) * np.eye(x.size, dtype=x.dtype) + 8 * np.outer(x, x)


def _penalty_1_root(n: int) -> float:
    """All variables of the minimizer are equal: to the largest root of 2 n t^3 + (10^-5 - 1/2) t = 10^-5."""
    return float(max(np.roots((2 * n, 0, 1e-5 - 0.5, -1e-5)).real))


@_listed("penalty_1", "MGH 23", sizes=Sizes(1), n=10, x0=lambda n: np.arange(1, n + 1), aliases=("PENALTY1",),
         minima=lambda n: 1e-5 * n * (_penalty_1_root(n) - 1) ** 2 + (n * _penalty_1_root(n) ** 2 - 0.25) ** 2,
         minimizer=_penalty_1_root)  # fmt: skip
@with_hessian(_penalty_1_hessian)
def penalty_1(x: Array) -> tuple[Any, Any]:
    """f = 10^-5 sum (x_i - 1)^2 + (sum x_i^2 - 1/4)^2."""
    d, s = x - 1, x @ x - 0.25
    return 1e-5 * (d @ d) + s * s, lambda: 2e-5 * d + 4 * s * x


def _penalty_2_terms(x: Array) -> tuple[Array, Array, Array, Array, Any]:
    e, c = np.exp(x / 10), np.exp(index(x, x.size) / 10)
    w = x.size + 1 - index(x, x.size)
    return e, e[1:] + e[:-1] - (c[1:] + c[:-1]), e[1:] - float(np.exp(-0.1)), w, w @ (x * x) - 1


def _penalty_2_hessian(x: Array) -> Array:
    e, p, q, w, s = _penalty_2_terms(x)
    on = 4 * s * w
    on[0] += 2
    on[1:] += 2e-7 * e[1:] * (2 * e[1:] + p + q)
    on[:-1] += 2e-7 * e[:-1] * (e[:-1] + p)
    beside = 2e-7 * e[1:] * e[:-1]
    return diagonal(on) + diagonal(beside, 1) + diagonal(beside, -1) + 8 * np.outer(w * x, w * x)


@_listed("penalty_2", "MGH 24", sizes=Sizes(2), n=10, x0=0.5, aliases=("PENALTY2",),
         minima={4: 9.376293007355442e-6, 10: 2.936605374567460e-4})  # fmt: skip
@with_hessian(_penalty_2_hessian)
def penalty_2(x: Array) -> tuple[Any, Any]:
    """f = (x_1 - 1/5)^2 + 10^-5 sum_{i>1} (p_i^2 + q_i^2) + (sum (n - j + 1) x_j^2 - 1)^2.

    With e_i = exp(x_i / 10) and c_i = exp(i / 10): p_i = e_i + e_{i-1} - (c_i + c_{i-1}), q_i = e_i - exp(-1 / 10).
    """
    e, p, q, w, s = _penalty_2_terms(x)
    first = x[0] - 0.2

    def gradient() -> Array:
        g = 4 * s * w * x
        g[0] += 2 * first
        g[1:] += 2e-6 * (p + q) * e[1:]
        g[:-1] += 2e-6 * p * e[:-1]
        return g

    return first * first + 1e-5 * (p @ p + q @ q) + s * s, gradient


def _vardim_hessian(x: Array) -> Array:
    j = index(x, x.size)
    s = j @ (x - 1)
    return 2 * np.eye(x.size, dtype=x.dtype) + (2 + 12 * s * s) * np.outer(j, j)


@_listed("variably_dimensioned", "MGH 25", sizes=Sizes(1), n=10, x0=lambda n: 1 - np.arange(1, n + 1) / n,
         minima=0.0, minimizer=1.0, aliases=("VARDIM",))  # fmt: skip
@with_hessian(_vardim_hessian)
def variably_dimensioned(x: Array) -> tuple[Any, Any]:
    """f = sum (x_i - 1)^2 + s^2 + s^4, s = sum j (x_j - 1)."""
    d, j = x - 1, index(x, x.size)
    s = j @ d
    return d @ d + s * s + s**4, lambda: 2 * d + (2 * s + 4 * s**3) * j


@_listed("trigonometric", "MGH 26", sizes=Sizes(1), n=10, x0=lambda n: 1 / n, minimizer=0.0,
         minima=lambda n: (0.0, 2.7950561218794561e-5) if n == 10 else (0.0,),
         note="from x0 most methods end in a local minimum, 2.79506e-5 for n = 10")  # fmt: skip
@squares
def trigonometric(x: Array) -> Residuals:
    """r_i = n - sum_j cos(x_j) + i (1 - cos(x_i)) - sin(x_i)."""
    i, s, c = index(x, x.size), np.sin(x), np.cos(x)
    slope = i * s - c
    return Residuals(
        # n - sum cos by its terms: near 0 their sum loses half the digits otherwise.
        (1 - c).sum() + i * (1 - c) - s,
        lambda: s + diagonal(slope),
        lambda r: diagonal(c * r.sum() + r * (i * c + s)),
        lambda r: s * r.sum() + slope * r,
    )


def _products_without(x: Array) -> Array:
    """p[i] = product of all x but x[i], without dividing."""
    one = np.ones(1, dtype=x.dtype)
    return np.concatenate((one, np.cumprod(x[:-1]))) * np.concatenate((np.cumprod(x[:0:-1])[::-1], one))


@_listed("brown_almost_linear", "MGH 27", sizes=Sizes(2), n=10, x0=0.5, minima=0.0, minimizer=1.0,
         aliases=("BROWNAL",),
         note="0 also where all but the last are equal; stationary, with value 1, at (0, ..., 0, n + 1)")  # fmt: skip
@squares
def brown_almost_linear(x: Array) -> Residuals:
    """r_i = x_i + sum_j x_j - (n + 1) for i < n; r_n = product of all x_j - 1."""
    n = x.size
    r = x + (x.sum() - (n + 1))
    r[-1] = np.prod(x) - 1

    def pull(r: Array) -> Array:
        g = r + r[:-1].sum()
        g[-1] -= r[-1]
        return g + r[-1] * _products_without(x)

    def jac() -> Array:
        j = np.eye(n, dtype=x.dtype) + 1
        j[-1] = _products_without(x)
        return j

    def curve(r: Array) -> Array:
        h = np.empty((n, n), dtype=x.dtype)
        for i in range(n):
            others = x.copy()
            others[i] = 1
            h[i] = _products_without(others)
            h[i, i] = 0
        return r[-1] * h

    return Residuals(r, jac, curve, pull)


@_listed("discrete_boundary_value", "MGH 28", sizes=Sizes(1), n=10, minima=0.0, aliases=("MOREBV",),
         x0=lambda n: np.arange(1, n + 1) / (n + 1) * (np.arange(1, n + 1) / (n + 1) - 1))  # fmt: skip
@squares
def discrete_boundary_value(x: Array) -> Residuals:
    """r_i = 2 x_i - x_{i-1} - x_{i+1} + h^2 (x_i + t_i + 1)^3 / 2, t_i = i h, h = 1 / (n + 1), x_0 = x_{n+1} = 0."""
    n = x.size
    h = 1 / (n + 1)
    z = x + index(x, n) * h + 1
    on, beside = 2 + 1.5 * h * h * z * z, -np.ones(n - 1, dtype=x.dtype)
    return Residuals(
        2 * x - shift(x, -1) - shift(x, 1) + h * h * z**3 / 2,
        lambda: diagonal(on) + diagonal(beside, 1) + diagonal(beside, -1),
        lambda r: diagonal(3 * h * h * z * r),
        lambda r: on * r - shift(r, -1) - shift(r, 1),
    )


@_listed("discrete_integral_equation", "MGH 29", sizes=Sizes(1), n=10, minima=0.0, aliases=("INTEQNELS",),
         x0=lambda n: np.arange(1, n + 1) / (n + 1) * (np.arange(1, n + 1) / (n + 1) - 1))  # fmt: skip
@squares
def discrete_integral_equation(x: Array) -> Residuals:
    """r_i = x_i + sum_j K_ij (x_j + t_j + 1)^3, K_ij = h min(t_i, t_j) (1 - max(t_i, t_j)) / 2.

    t_i = i h, h = 1 / (n + 1).
    """
    n = x.size
    h = 1 / (n + 1)
    t = index(x, n) * h
    z = x + t + 1

    def kernel(v: Array) -> Array:
        below, above = np.cumsum(t * v), np.cumsum(((1 - t) * v)[::-1])[::-1]
        return h / 2 * ((1 - t) * below + t * shift(above, 1))

    def jac() -> Array:
        k = h / 2 * np.minimum.outer(t, t) * (1 - np.maximum.outer(t, t))
        return np.eye(n, dtype=x.dtype) + k * (3 * z * z)

    return Residuals(
        x + kernel(z**3),
        jac,
        lambda r: diagonal(6 * z * kernel(r)),
        lambda r: r + 3 * z * z * kernel(r),
    )


@_listed("broyden_tridiagonal", "MGH 30", sizes=Sizes(1), n=10, x0=-1.0, minima=0.0, aliases=("BROYDN3DLS",))
@squares
def broyden_tridiagonal(x: Array) -> Residuals:
    """r_i = (3 - 2 x_i) x_i - x_{i-1} - 2 x_{i+1} + 1, x_0 = x_{n+1} = 0."""
    on, one = 3 - 4 * x, np.ones(x.size - 1, dtype=x.dtype)
    return Residuals(
        (3 - 2 * x) * x - shift(x, -1) - 2 * shift(x, 1) + 1,
        lambda: diagonal(on) - diagonal(one, -1) - 2 * diagonal(one, 1),
        lambda r: -4 * diagonal(r),
        lambda r: on * r - shift(r, 1) - 2 * shift(r, -1),
    )


@_listed("broyden_banded", "MGH 31", sizes=Sizes(7), n=10, x0=-1.0, minima=0.0, aliases=("BRYBND",))
@squares
def broyden_banded(x: Array) -> Residuals:
    """r_i = x_i (2 + 5 x_i^2) + 1 - sum_j x_j (1 + x_j), over i - 5 <= j <= i + 1, j not i."""
    band = (-5, -4, -3, -2, -1, 1)
    on, slope = 2 + 15 * x * x, 1 + 2 * x

    def back(r: Array) -> Array:
        return sum((shift(r, -k) for k in band), start=np.zeros_like(r))

    def jac() -> Array:
        return diagonal(on) - sum(np.eye(x.size, k=k, dtype=x.dtype) for k in band) * slope

    return Residuals(
        x * (2 + 5 * x * x) + 1 - sum(shift(x * (1 + x), k) for k in band),
        jac,
        lambda r: diagonal(30 * x * r - 2 * back(r)),
        lambda r: on * r - slope * back(r),
    )


def _flat(x: Array) -> Any:
    """The second term of linear residuals."""
    return lambda r: np.zeros((x.size, x.size), dtype=x.dtype)


@_listed("linear_full_rank", "MGH 32", sizes=Sizes(1), n=10, x0=1.0, minima=lambda n: float(n), minimizer=-1.0,
         aliases=("ARGLINA",), note="m = 2 n")  # fmt: skip
@squares
def linear_full_rank(x: Array) -> Residuals:
    """r_i = x_i - 2 s / m - 1 for i <= n, -2 s / m - 1 for n < i <= m; s = sum x_j, m = 2 n."""
    n = x.size
    common = np.full(2 * n, -x.sum() / n - 1, dtype=x.dtype)
    common[:n] += x
    return Residuals(
        common,
        lambda: np.eye(2 * n, n, dtype=x.dtype) - 1 / n,
        _flat(x),
        lambda r: r[:n] - r.sum() / n,
    )


def _rank_1(x: Array, rows: Array, columns: Array) -> Residuals:
    """r_i = rows_i (columns @ x) - 1."""
    return Residuals(
        rows * (columns @ x) - 1,
        lambda: np.outer(rows, columns).astype(x.dtype),
        _flat(x),
        lambda r: (rows @ r) * columns,
    )


def _inner(n: int) -> Array:
    """(0, 2, 3, ..., n - 1, 0)"""
    j = np.arange(1.0, n + 1)
    j[[0, -1]] = 0
    return j


@_listed("linear_rank_1", "MGH 33", sizes=Sizes(1), n=10, x0=1.0, aliases=("ARGLINB",),
         minima=lambda n: 2 * n * (2 * n - 1) / (2 * (4 * n + 1)),
         minimizer=lambda n: 3 / (4 * n + 1) * np.arange(1, n + 1) / (np.arange(1.0, n + 1) @ np.arange(1, n + 1)),
         note="m = 2 n; every x with sum_j j x_j = 3 / (2 m + 1) is a minimizer")  # fmt: skip
@squares
def linear_rank_1(x: Array) -> Residuals:
    """r_i = i sum_j j x_j - 1, i <= m = 2 n."""
    return _rank_1(x, index(x, 2 * x.size), index(x, x.size))


@_listed("linear_rank_1_zeros", "MGH 34", sizes=Sizes(3), n=10, x0=1.0, aliases=("ARGLINC",),
         minima=lambda n: ((2 * n) ** 2 + 6 * n - 6) / (2 * (4 * n - 3)),
         minimizer=lambda n: 3 / (4 * n - 3) * _inner(n) / (_inner(n) @ _inner(n)),
         note="m = 2 n; every x with sum_{1<j<n} j x_j = 3 / (2 m - 3) is a minimizer")  # fmt: skip
@squares
def linear_rank_1_zeros(x: Array) -> Residuals:
    """r_i = (i - 1) sum_{1<j<n} j x_j - 1 for 1 < i < m, r_1 = r_m = -1; m = 2 n."""
    rows, columns = index(x, 2 * x.size - 1, 0), index(x, x.size)
    rows[-1] = columns[0] = columns[-1] = 0
    return _rank_1(x, rows, columns)


@_listed("chebyquad", "MGH 35", sizes=Sizes(1, 1, 100), n=8, x0=lambda n: np.arange(1, n + 1) / (n + 1),
         minima={**dict.fromkeys((1, 2, 3, 4, 5, 6, 7, 9), 0.0), 8: 3.516873725677932e-3,
                 10: (4.772713696375349e-3, 6.503954800882306e-3)},
         aliases=("CHEBYQAD",), note="the variables may change places")  # fmt: skip
@squares
def chebyquad(x: Array) -> Residuals:
    """r_i = sum_j T_i(x_j) / n - I_i: T_i Chebyshev's polynomial on [0, 1], I_i its integral there; m = n.

    I_i = -1 / (i^2 - 1) for even i, 0 for odd ones.
    """
    n = x.size
    y = 2 * x - 1
    # Rows 0..n of the polynomials and of their first two derivatives in y, by the recurrence of the first.
    tables = np.zeros((3, n + 1, n), dtype=x.dtype)
    t, d, dd = tables
    t[0], t[1], d[1] = 1, y, 1
    for i in range(2, n + 1):
        t[i] = 2 * y * t[i - 1] - t[i - 2]
        d[i] = 2 * t[i - 1] + 2 * y * d[i - 1] - d[i - 2]
        dd[i] = 4 * d[i - 1] + 2 * y * dd[i - 1] - dd[i - 2]
    r = t[1:].sum(axis=1) / n
    even = index(x, n)[1::2]
    r[1::2] += 1 / (even * even - 1)
    return Residuals(r, lambda: 2 * d[1:] / n, lambda r: diagonal(4 * (r @ dd[1:]) / n))
