"""Rosenbrock's, Powell's singular and Wood's functions, alone (MGH 1, 13, 14) and as sums over blocks.

Formulas: More, Garbow, Hillstrom, "Testing unconstrained optimization software", ACM TOMS 7(1), 1981, problems
1, 13, 14, 21, 22; WOODS is CUTEst's. Values and gradients cost O(n); Hessians are dense matrices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt.problems._base import Array, Sizes, Spec, blocks, problem, with_hessian

SPECS: list[Spec] = []


def _tiles(*start: float) -> Any:
    """n -> the block `start` over and over, n numbers in all."""
    return lambda n: np.tile(start, n // len(start))


def _rosenbrock_hessian(x: Array) -> Array:
    a, b = x[0::2], x[1::2]
    return blocks(x, 2, {(0, 0): 1200 * a * a - 400 * b + 2, (0, 1): -400 * a, (1, 1): 200})


@problem(SPECS, "extended_rosenbrock", "MGH 21", sizes=Sizes(2, 2), n=10, x0=_tiles(-1.2, 1.0), minimizer=1.0,
         aliases=("SROSENBR",), group="mgh")  # fmt: skip
@problem(
    SPECS,
    "rosenbrock",
    "MGH 1",
    sizes=2,
    x0=_tiles(-1.2, 1.0),
    minimizer=1.0,
    aliases=("ROSENBR",),
    group="mgh",
)
@with_hessian(_rosenbrock_hessian)
def rosenbrock(x: Array) -> tuple[Any, Any]:
    """f = sum over pairs (a, b) of 100 (b - a^2)^2 + (1 - a)^2."""
    a, b = x[0::2], x[1::2]
    p, q = b - a * a, a - 1

    def gradient() -> Array:
        g = np.empty_like(x)
        g[0::2] = 2 * q - 400 * a * p
        g[1::2] = 200 * p
        return g

    return 100 * (p @ p) + q @ q, gradient


def _powell_hessian(x: Array) -> Array:
    a, b, c, d = x.reshape(-1, 4).T
    p, q = 12 * (b - 2 * c) ** 2, 120 * (a - d) ** 2
    return blocks(x, 4, {
        (0, 0): 2 + q, (0, 1): 20, (0, 3): -q, (1, 1): 200 + p, (1, 2): -2 * p,
        (2, 2): 10 + 4 * p, (2, 3): -10, (3, 3): 10 + q,
    })  # fmt: skip


@problem(SPECS, "extended_powell_singular", "MGH 22", sizes=Sizes(4, 4), n=12, x0=_tiles(3.0, -1.0, 0.0, 1.0),
         minimizer=0.0, aliases=("POWELLSG",), group="mgh",
         note="the Hessian is singular at the minimizer")  # fmt: skip
@problem(SPECS, "powell_singular", "MGH 13", sizes=4, x0=_tiles(3.0, -1.0, 0.0, 1.0), minimizer=0.0,
         note="the Hessian is singular at the minimizer", group="mgh")  # fmt: skip
@with_hessian(_powell_hessian)
def powell_singular(x: Array) -> tuple[Any, Any]:
    """f = sum over blocks (a, b, c, d) of (a + 10 b)^2 + 5 (c - d)^2 + (b - 2 c)^4 + 10 (a - d)^4."""
    a, b, c, d = x.reshape(-1, 4).T
    p, q, r, s = a + 10 * b, c - d, b - 2 * c, a - d
    r2, s2 = r * r, s * s

    def gradient() -> Array:
        g = np.empty((x.size // 4, 4), dtype=x.dtype)
        r3, s3 = 4 * r * r2, 40 * s * s2
        g[:, 0], g[:, 1] = 2 * p + s3, 20 * p + r3
        g[:, 2], g[:, 3] = 10 * q - 2 * r3, -10 * q - s3
        return g.reshape(-1)

    return p @ p + 5 * (q @ q) + r2 @ r2 + 10 * (s2 @ s2), gradient


def _wood_hessian(x: Array) -> Array:
    a, b, c, d = x.reshape(-1, 4).T
    return blocks(x, 4, {
        (0, 0): 1200 * a * a - 400 * b + 2, (0, 1): -400 * a, (1, 1): 220.2, (1, 3): 19.8,
        (2, 2): 1080 * c * c - 360 * d + 2, (2, 3): -360 * c, (3, 3): 200.2,
    })  # fmt: skip


@problem(
    SPECS,
    "WOODS",
    "CUTEst WOODS",
    sizes=Sizes(4, 4),
    n=1000,
    x0=_tiles(-3.0, -1.0),
    minimizer=1.0,
    group="large",
)
@problem(SPECS, "wood", "MGH 14", sizes=4, x0=_tiles(-3.0, -1.0), minimizer=1.0, group="mgh",
         note="a saddle with value 7.87697 lies near (-1, 1, -1, 1): slow methods rest there")  # fmt: skip
@with_hessian(_wood_hessian)
def wood(x: Array) -> tuple[Any, Any]:
    """f = sum over blocks (a, b, c, d) of 100 (b - a^2)^2 + (1 - a)^2 + 90 (d - c^2)^2 + (1 - c)^2
    + 10 (b + d - 2)^2 + (b - d)^2 / 10.
    """
    a, b, c, d = x.reshape(-1, 4).T
    p, q, r, s = b - a * a, a - 1, d - c * c, c - 1
    u, v = b + d - 2, b - d

    def gradient() -> Array:
        g = np.empty((x.size // 4, 4), dtype=x.dtype)
        g[:, 0], g[:, 1] = 2 * q - 400 * a * p, 200 * p + 20 * u + 0.2 * v
        g[:, 2], g[:, 3] = 2 * s - 360 * c * r, 180 * r + 20 * u - 0.2 * v
        return g.reshape(-1)

    return 100 * (p @ p) + q @ q + 90 * (r @ r) + s @ s + 10 * (u @ u) + 0.1 * (v @ v), gradient
