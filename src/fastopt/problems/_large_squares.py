"""Large problems, 1: sums of squares and of even powers. Values and gradients cost O(n).

Formulas: the SIF files of the CUTEst collection (Gould, Orban, Toint, Comput. Optim. Appl. 60, 2015), and
Luksan, Matonoha, Vlcek, "Modified CUTE problems for sparse unconstrained optimization", Report 1081, Academy
of Sciences of the Czech Republic, 2010; one-line names are CUTEst's. Indices count from 1, as there.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from fastopt.problems._base import Array, Sizes, Spec, index, problem

SPECS: list[Spec] = []
_listed = partial(problem, SPECS, group="large")


@_listed("ARWHEAD", "CUTEst ARWHEAD", sizes=Sizes(2), n=1000, x0=1.0, minima=0.0,
         minimizer=lambda n: np.append(np.ones(n - 1), 0.0))  # fmt: skip
def arwhead(x: Array) -> tuple[Any, Any]:
    """f = sum_{i<n} (x_i^2 + x_n^2)^2 - 4 x_i + 3."""
    y, z = x[:-1], x[-1]
    s = y * y + z * z

    def gradient() -> Array:
        return np.append(4 * y * s - 4, 4 * z * s.sum())

    return (s * s - 4 * y + 3).sum(), gradient


@_listed(
    "BDQRTIC",
    "CUTEst BDQRTIC",
    sizes=Sizes(5),
    n=1000,
    x0=1.0,
    minima={50: 178.4887052104703, 100: 378.7691918086842, 1000: 3983.817950576535, 10000: 40034.30553825505},
)
def bdqrtic(x: Array) -> tuple[Any, Any]:
    """f = sum_{i<=n-4} (3 - 4 x_i)^2 + (x_i^2 + 2 x_{i+1}^2 + 3 x_{i+2}^2 + 4 x_{i+3}^2 + 5 x_n^2)^2."""
    m, y = x.size - 4, x * x
    d = 3 - 4 * x[:m]
    s = y[:m] + 2 * y[1 : m + 1] + 3 * y[2 : m + 2] + 4 * y[3 : m + 3] + 5 * y[-1]

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[:m] = -8 * d
        for k in range(4):
            g[k : m + k] += 4 * (k + 1) * s * x[k : m + k]
        g[-1] += 20 * x[-1] * s.sum()
        return g

    return d @ d + s @ s, gradient


@_listed("CHNRSNBM", "CUTEst CHNRSNBM", sizes=Sizes(2), n=100, x0=-1.0, minima=0.0, minimizer=1.0,
         note="CHNROSNB with the weights (1.5 + sin i)^2, which exist for every n")  # fmt: skip
def chnrsnbm(x: Array) -> tuple[Any, Any]:
    """f = sum_{i>1} 16 (1.5 + sin i)^2 (x_{i-1} - x_i^2)^2 + (x_i - 1)^2."""
    w = 16 * (1.5 + np.sin(index(x, x.size, 2))) ** 2
    y = x[1:]
    p, q = x[:-1] - y * y, y - 1
    wp = w * p

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[:-1] = 2 * wp
        g[1:] += 2 * q - 4 * y * wp
        return g

    return p @ wp + q @ q, gradient


@_listed("DIXON3DQ", "CUTEst DIXON3DQ", sizes=Sizes(3), n=100, x0=-1.0, minima=0.0, minimizer=1.0)
def dixon3dq(x: Array) -> tuple[Any, Any]:
    """f = (x_1 - 1)^2 + sum_{1<i<n} (x_i - x_{i+1})^2 + (x_n - 1)^2."""
    first, last, d = x[0] - 1, x[-1] - 1, x[1:-1] - x[2:]

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[1:-1] = 2 * d
        g[2:] -= 2 * d
        g[0] += 2 * first
        g[-1] += 2 * last
        return g

    return first * first + d @ d + last * last, gradient


@_listed("DQDRTIC", "CUTEst DQDRTIC", sizes=Sizes(3), n=1000, x0=3.0, minima=0.0, minimizer=0.0)
def dqdrtic(x: Array) -> tuple[Any, Any]:
    """f = sum_{i<=n-2} x_i^2 + 100 x_{i+1}^2 + 100 x_{i+2}^2."""
    w = np.full(x.size, 201, dtype=x.real.dtype)
    w[:2], w[-2:] = (1, 101), (200, 100)
    if x.size == 3:
        w[:] = 1, 100, 100
    wx = w * x
    return x @ wx, lambda: 2 * wx


@_listed(
    "ENGVAL1",
    "CUTEst ENGVAL1",
    sizes=Sizes(2),
    n=1000,
    x0=2.0,
    minima={
        50: 53.58221488520762,
        100: 109.0881361430921,
        1000: 1108.1947187850133,
        10000: 11099.260545204226,
    },
)
def engval1(x: Array) -> tuple[Any, Any]:
    """f = sum_{i<n} (x_i^2 + x_{i+1}^2)^2 - 4 x_i + 3."""
    y = x * x
    s = y[:-1] + y[1:]

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[:-1] = 4 * x[:-1] * s - 4
        g[1:] += 4 * x[1:] * s
        return g

    return (s * s - 4 * x[:-1] + 3).sum(), gradient


@_listed("ERRINRSM", "CUTEst ERRINRSM", sizes=Sizes(2), n=50, x0=-1.0,
         minima={50: 37.72990289660545, 100: 77.54169718769623},
         note="ERRINROS with the weights (1.5 + sin i)^2, which exist for every n")  # fmt: skip
def errinrsm(x: Array) -> tuple[Any, Any]:
    """f = sum_{i>1} (x_{i-1} - 16 (1.5 + sin i)^2 x_i^2)^2 + (x_i - 1)^2."""
    w = 16 * (1.5 + np.sin(index(x, x.size, 2))) ** 2
    y = x[1:]
    p, q = x[:-1] - w * y * y, y - 1

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[:-1] = 2 * p
        g[1:] += 2 * q - 4 * w * y * p
        return g

    return p @ p + q @ q, gradient


@_listed("EXTROSNB", "CUTEst EXTROSNB", sizes=Sizes(2), n=100, x0=-1.0, minima=0.0, minimizer=1.0,
         note="all but flat along the valley: small gradients, far from the minimizer")  # fmt: skip
def extrosnb(x: Array) -> tuple[Any, Any]:
    """f = (x_1 - 1)^2 + 100 sum_{i>1} (x_i - x_{i-1}^2)^2."""
    first, p = x[0] - 1, x[1:] - x[:-1] ** 2

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[1:] = 200 * p
        g[:-1] -= 400 * x[:-1] * p
        g[0] += 2 * first
        return g

    return first * first + 100 * (p @ p), gradient


@_listed("FLETCHCR", "CUTEst FLETCHCR", sizes=Sizes(2), n=100, x0=0.0, minima=0.0, minimizer=1.0)
def fletchcr(x: Array) -> tuple[Any, Any]:
    """f = 100 sum_{i<n} (x_{i+1} - x_i + 1 - x_i^2)^2."""
    y = x[:-1]
    p = x[1:] - y + 1 - y * y

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[1:] = 200 * p
        g[:-1] -= 200 * (1 + 2 * y) * p
        return g

    return 100 * (p @ p), gradient


@_listed("FREUROTH", "CUTEst FREUROTH", sizes=Sizes(2), n=1000,
         minima={50: 5880.958861943224, 100: 11964.577348654189, 1000: 121469.71010945157, 10000: 1216427.0143996994},
         x0=lambda n: np.append((0.5, -2.0), np.zeros(n - 2)),
         note="the value found from x0; others may exist")  # fmt: skip
def freuroth(x: Array) -> tuple[Any, Any]:
    """f = sum_{i<n} (x_i - 13 + ((5 - y) y - 2) y)^2 + (x_i - 29 + ((y + 1) y - 14) y)^2, y = x_{i+1}."""
    y = x[1:]
    p, q = x[:-1] - 13 + ((5 - y) * y - 2) * y, x[:-1] - 29 + ((y + 1) * y - 14) * y

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[:-1] = 2 * (p + q)
        g[1:] += 2 * (((10 - 3 * y) * y - 2) * p + ((3 * y + 2) * y - 14) * q)
        return g

    return p @ p + q @ q, gradient


@_listed("GENROSE", "CUTEst GENROSE", sizes=Sizes(2), n=100, x0=lambda n: np.arange(1, n + 1) / (n + 1),
         minima=1.0, minimizer=1.0)  # fmt: skip
def genrose(x: Array) -> tuple[Any, Any]:
    """f = 1 + sum_{i>1} 100 (x_i - x_{i-1}^2)^2 + (x_i - 1)^2."""
    p, q = x[1:] - x[:-1] ** 2, x[1:] - 1

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[1:] = 200 * p + 2 * q
        g[:-1] -= 400 * x[:-1] * p
        return g

    return 1 + 100 * (p @ p) + q @ q, gradient


@_listed("LIARWHD", "CUTEst LIARWHD", sizes=Sizes(2), n=1000, x0=4.0, minima=0.0, minimizer=1.0)
def liarwhd(x: Array) -> tuple[Any, Any]:
    """f = sum 4 (x_i^2 - x_1)^2 + (x_i - 1)^2."""
    p, q = x * x - x[0], x - 1

    def gradient() -> Array:
        g = 16 * x * p + 2 * q
        g[0] -= 8 * p.sum()
        return g

    return 4 * (p @ p) + q @ q, gradient


@_listed("NONDIA", "CUTEst NONDIA", sizes=Sizes(2), n=1000, x0=-1.0, minima=0.0, minimizer=1.0)
def nondia(x: Array) -> tuple[Any, Any]:
    """f = (x_1 - 1)^2 + 100 sum_{i>1} (x_1 - x_{i-1}^2)^2."""
    first, p = x[0] - 1, x[0] - x[:-1] ** 2

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[:-1] = -400 * x[:-1] * p
        g[0] += 2 * first + 200 * p.sum()
        return g

    return first * first + 100 * (p @ p), gradient


@_listed("NONDQUAR", "CUTEst NONDQUAR", sizes=Sizes(3), n=100, minima=0.0, minimizer=0.0,
         x0=lambda n: 1.0 - 2.0 * (np.arange(n) % 2), note="the Hessian is singular at the minimizer")  # fmt: skip
def nondquar(x: Array) -> tuple[Any, Any]:
    """f = (x_1 - x_2)^2 + (x_{n-1} + x_n)^2 + sum_{i<=n-2} (x_i + x_{i+1} + x_n)^4."""
    first, last, s = x[0] - x[1], x[-2] + x[-1], x[:-2] + x[1:-1] + x[-1]
    s2 = s * s

    def gradient() -> Array:
        g, cube = np.zeros_like(x), 4 * s * s2
        g[:-2] = cube
        g[1:-1] += cube
        g[-1] += cube.sum()
        g[0] += 2 * first
        g[1] -= 2 * first
        g[-2:] += 2 * last
        return g

    return first * first + last * last + s2 @ s2, gradient


@_listed("PERTQUAD", "Andrei: perturbed quadratic", sizes=Sizes(1), n=1000, x0=0.5, minima=0.0, minimizer=0.0)
def pertquad(x: Array) -> tuple[Any, Any]:
    """f = sum i x_i^2 + (sum x_i)^2 / 100 (Andrei, Adv. Model. Optim. 10(1), 2008)."""
    wx, s = index(x, x.size) * x, x.sum()
    return x @ wx + s * s / 100, lambda: 2 * wx + s / 50


@_listed("POWER", "CUTEst POWER", sizes=Sizes(1), n=100, x0=1.0, minima=0.0, minimizer=0.0,
         note="the Hessian is zero at the minimizer")  # fmt: skip
def power(x: Array) -> tuple[Any, Any]:
    """f = (sum i x_i^2)^2."""
    wx = index(x, x.size) * x
    s = x @ wx
    return s * s, lambda: 4 * s * wx


@_listed("QUARTC", "CUTEst QUARTC", sizes=Sizes(1), n=1000, x0=2.0, minima=0.0, minimizer=lambda n: np.arange(1, n + 1),
         note="the Hessian is zero at the minimizer")  # fmt: skip
def quartc(x: Array) -> tuple[Any, Any]:
    """f = sum (x_i - i)^4."""
    d = x - index(x, x.size)
    s = d * d
    return s @ s, lambda: 4 * d * s


@_listed("TQUARTIC", "CUTEst TQUARTIC", sizes=Sizes(2), n=1000, x0=0.1, minima=0.0, minimizer=1.0,
         note="every (1, +-1, ..., +-1) is a minimizer")  # fmt: skip
def tquartic(x: Array) -> tuple[Any, Any]:
    """f = (x_1 - 1)^2 + sum_{i>1} (x_1^2 - x_i^2)^2."""
    first, p = x[0] - 1, x[0] * x[0] - x[1:] ** 2

    def gradient() -> Array:
        return np.append(2 * first + 4 * x[0] * p.sum(), -4 * x[1:] * p)

    return first * first + p @ p, gradient


@_listed("TRIDIA", "CUTEst TRIDIA", sizes=Sizes(2), n=1000, x0=1.0, minima=0.0,
         minimizer=lambda n: 0.5 ** np.arange(n))  # fmt: skip
def tridia(x: Array) -> tuple[Any, Any]:
    """f = (x_1 - 1)^2 + sum_{i>1} i (2 x_i - x_{i-1})^2."""
    first, p = x[0] - 1, 2 * x[1:] - x[:-1]
    wp = index(x, x.size, 2) * p

    def gradient() -> Array:
        g = np.zeros_like(x)
        g[1:] = 4 * wp
        g[:-1] -= 2 * wp
        g[0] += 2 * first
        return g

    return first * first + p @ wp, gradient
