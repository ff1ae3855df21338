"""phi and phi' for the tests of line searches: published ones, slices of known problems, hostile ones; and runs of a search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from scipy.special import expit

from fastopt._core.search import Search

Phi = Callable[[float], tuple[float, float]]


def rational(a: float, beta: float = 2.0) -> tuple[float, float]:
    """Moré & Thuente (1994), (5.1)."""
    return -a / (a * a + beta), (a * a - beta) / (a * a + beta) ** 2


def quintic(a: float, beta: float = 0.004) -> tuple[float, float]:
    """(5.2)."""
    u = a + beta
    return u**5 - 2 * u**4, 5 * u**4 - 8 * u**3


def wavy(a: float, beta: float = 0.01, waves: float = 39.0) -> tuple[float, float]:
    """(5.3): a kink with many small waves."""
    if a <= 1 - beta:
        base, slope = 1 - a, -1.0
    elif a >= 1 + beta:
        base, slope = a - 1, 1.0
    else:
        base, slope = (a - 1) ** 2 / (2 * beta) + beta / 2, (a - 1) / beta
    angle = waves * np.pi / 2 * a
    return (
        float(base + 2 * (1 - beta) / (waves * np.pi) * np.sin(angle)),
        float(slope + (1 - beta) * np.cos(angle)),
    )


def yanai(a: float, beta1: float, beta2: float) -> tuple[float, float]:
    """(5.4), from Yanai, Ozawa & Kaneko (1981)."""
    g1, g2 = np.hypot(1, beta1) - beta1, np.hypot(1, beta2) - beta2
    r1, r2 = np.hypot(1 - a, beta2), np.hypot(a, beta1)
    return float(g1 * r1 + g2 * r2), float(-g1 * (1 - a) / r1 + g2 * a / r2)


#: Number of the function: phi, c1, c2 and the evaluations published for the first steps 1e-3, 1e-1, 1e1, 1e3
#: (tables I to VI of Moré & Thuente).
MORE_THUENTE: dict[int, tuple[Phi, float, float, tuple[int, int, int, int]]] = {
    1: (rational, 0.001, 0.1, (6, 3, 1, 4)),
    2: (quintic, 0.1, 0.1, (12, 8, 8, 11)),
    3: (wavy, 0.1, 0.1, (12, 12, 10, 13)),
    4: (partial(yanai, beta1=0.001, beta2=0.001), 0.001, 0.001, (4, 1, 3, 4)),
    5: (partial(yanai, beta1=0.01, beta2=0.001), 0.001, 0.001, (6, 3, 7, 8)),
    6: (partial(yanai, beta1=0.001, beta2=0.01), 0.001, 0.001, (13, 11, 8, 11)),
}
FIRSTS = (1e-3, 1e-1, 1e1, 1e3)


def rosenbrock(
    a: float, x: tuple[float, float] = (-1.2, 1.0), d: tuple[float, float] | None = None
) -> tuple[float, float]:
    """A slice of Rosenbrock's function, along -g unless told."""

    def gradient(u: float, v: float) -> tuple[float, float]:
        return -400 * u * (v - u * u) - 2 * (1 - u), 200 * (v - u * u)

    if d is None:
        d = (-gradient(*x)[0], -gradient(*x)[1])
    u, v = x[0] + a * d[0], x[1] + a * d[1]
    g = gradient(u, v)
    return 100 * (v - u * u) ** 2 + (1 - u) ** 2, g[0] * d[0] + g[1] * d[1]


def parabola(
    a: float, at: float = 3.0, scale: float = 1.0, unit: float = 1.0, base: float = 0.0
) -> tuple[float, float]:
    u = a / unit - at
    return base + scale * u * u, 2 * scale * u / unit


def quartic(a: float) -> tuple[float, float]:
    return (a - 2) ** 4, 4 * (a - 2) ** 3


def softplus(a: float) -> tuple[float, float]:
    """Logistic loss of two points: nearly straight, then flat."""
    return float(np.logaddexp(0, -a) + np.logaddexp(0, (a - 8) / 2)), float(
        expit((a - 8) / 2) / 2 - expit(-a)
    )


def exponential(a: float) -> tuple[float, float]:
    with np.errstate(over="ignore"):
        return float(np.exp(3 * a) - 20 * a), float(3 * np.exp(3 * a) - 20)


def barrier(a: float, at: float = 1.0) -> tuple[float, float]:
    """Self-concordant barrier: NaN from `at` on."""
    return (-2 * a - float(np.log(1 - a / at)), -2 + 1 / (at - a)) if a < at else (np.nan, np.nan)


#: Well-behaved phis, for expected steps and for counting trials.
SMOOTH: dict[str, Phi] = {
    **{f"more_thuente_{i}": row[0] for i, row in MORE_THUENTE.items()},
    "parabola": parabola,
    "narrow": partial(parabola, at=1e-3),
    "quartic": quartic,
    "softplus": softplus,
    "exponential": exponential,
    "barrier": barrier,
    "rosenbrock_start": rosenbrock,
    "rosenbrock_valley": partial(rosenbrock, x=(0.5, 0.26), d=(0.3, 0.28)),
    "rosenbrock_curve": partial(rosenbrock, x=(-0.8, 0.6), d=(0.5, -0.9)),
}


@dataclass
class Run:
    search: Search
    alphas: list[float] = field(default_factory=list)
    fs: list[float] = field(default_factory=list)
    dfs: list[float] = field(default_factory=list)


def run(kind: str, phi: Phi, *, reload_at: int = -1, slopes: bool = True, **options: Any) -> Run:
    """A whole search. Where the slope is not wanted NaN is told, unless `slopes`; at `reload_at` the search is saved and restored."""
    f0, df0 = phi(0.0)
    out = Run(Search(kind, f0, df0, **options))
    f = df = np.nan
    while out.search.advance(f, df):
        alpha = out.search.alpha
        f, df = phi(alpha)
        out.alphas.append(alpha)
        out.fs.append(f)
        out.dfs.append(df)
        if not (slopes or out.search.want_slope):
            df = np.nan
        if len(out.alphas) == reload_at:
            state = out.search.__getstate__()
            out.search = Search("wolfe", 1.0, -1.0)
            out.search.__setstate__(state)
    return out
