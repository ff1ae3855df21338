"""The solvers as rows, the problems they are run on, and the pairs of both that are known not to work out, each with a reason
that is checked.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastopt as fo
from fastopt import problems
from fastopt.minimize import Reason

__all__ = [
    "EPS", "EXCEPTIONS", "GTOL", "NAMES", "REASONS", "STOPS_EARLY", "ROWS", "SPARE", "TWICE", "WIDTHS", "Row", "Watched", "gap", "get", "hessian", "rounded",
    "solve",
]  # fmt: skip

Array = NDArray[Any]
WIDTHS = ("float64", "float32")
EPS = {w: float(np.finfo(w).eps) for w in WIDTHS}
#: Solved: f - f_low <= tau min(f(x0) - f_low, max(|f_low|, 1)) + 16 eps |f_low|, f_low a known minimum; tau is a few
#: times the square root of eps: half the digits of f.
TAU = {"float64": 1e-7, "float32": 1e-3}
GTOL = {"float64": 1e-7, "float32": 1e-4}
#: Evaluations (each of the second order's brings a Hessian or some products).
BUDGET = {"gd": 400, "bb": 500, "cg": 2000, "bfgs": 2000, "lbfgs": 2000}
SECOND_ORDER = 300
#: Plain gradients are run where 400 steps are enough, whichever rule chooses their length; curved and ill-conditioned valleys
#: take them 10^4 and more.
GD_SOLVES = [
    "beale",
    "jennrich_sampson",
    "gaussian",
    "brown_dennis",
    "variably_dimensioned",
    "trigonometric",
    "discrete_integral_equation",
    "broyden_tridiagonal",
    "broyden_banded",
    "linear_full_rank",
    "linear_rank_1",
    "linear_rank_1_zeros",
    "chebyquad",
    "ARWHEAD",
    "BROYDN7D",
    "COSINE",
    "CRAGGLVY",
    "DIXMAANA",
    "DIXMAANB",
    "DIXMAAND",
    "DIXMAANE",
    "EDENSCH",
    "ENGVAL1",
    "HAGER",
    "PERTQUAD",
    "POWER",
    "QUARTC",
    "RAYDAN1",
    "SCHMVETT",
    "SPARSQUR",
    "TOINTGSS",
]


class Row(NamedTuple):
    """A method with the options that choose its form."""

    method: str
    variant: str
    search: str | None = None

    @property
    def name(self) -> str:
        return "-".join(part for part in self if part)

    @property
    def options(self) -> dict[str, Any]:
        closer = (
            {"c2": 0.1} if self.method == "cg" and self.variant != "hybrid" else {}
        )  # c2 = 0.3 is the hybrid's
        return {"variant": self.variant, **({"search": self.search} if self.search else {}), **closer}

    @property
    def budget(self) -> int:
        return BUDGET.get(self.method, SECOND_ORDER)

    @property
    def problems(self) -> list[str]:
        return GD_SOLVES if self.method == "gd" else problems.names()

    @property
    def blas(self) -> bool:
        """Does it use BLAS or LAPACK? Then bits are not promised."""
        return self.variant == "blas" or self.method in ("newton", "trust")


#: What the book's methods are used with; the first search of a method is its default.
ROWS = tuple(
    Row(method, variant, search)
    for method, variants, searches in (
        ("gd", ("previous",), ("hager_zhang", "wolfe", "backtracking")),
        ("gd", ("quadratic", "constant"), ("hager_zhang",)),
        ("bb", ("alternate", "long", "short"), ("backtracking",)),
        ("cg", ("hybrid",), ("wolfe",)),
        ("cg", ("hager_zhang",), ("wolfe", "hager_zhang")),
        (
            "cg",
            ("fletcher_reeves", "polak_ribiere", "polak_ribiere_plus", "hestenes_stiefel", "dai_yuan"),
            ("wolfe",),
        ),
        ("bfgs", ("fused",), ("hager_zhang", "wolfe", "backtracking")),
        ("bfgs", ("blas",), ("hager_zhang",)),
        ("lbfgs", ("compact",), ("wolfe", "hager_zhang", "backtracking")),
        ("lbfgs", ("two_loop",), ("wolfe",)),
        ("newton", ("regularized",), ("backtracking", "wolfe")),
        ("newton", ("saddle_free",), ("backtracking",)),
        ("newton_cg", ("truncated",), ("backtracking", "hager_zhang")),
        ("trust", ("exact",), (None,)),
        ("trust_cg", ("steihaug",), (None,)),
    )
    for variant in variants
    for search in searches
)


def get(name: str) -> problems.Problem:
    """The problem in the size that the table runs it in: the published one, at most 50 variables for the large ones."""
    if name in problems.names("mgh"):
        return problems.get(name)
    for n in (50, 48, 10):
        try:
            p = problems.get(name, n)
        except ValueError:
            continue
        if p.minimum is not None:
            return p
    raise AssertionError(f"{name}: no size with a known minimum")


def hessian(p: problems.Problem) -> Callable[[Array], Array]:
    """By formula; else its columns by complex steps."""
    if p.hess is not None:
        return p.hess

    def columns(x: Array) -> Array:
        return np.stack([p.hessp(x, e) for e in np.eye(p.n, dtype=x.dtype)])

    return columns


class Watched:
    """fun_and_grad of a problem; keeps where it was evaluated and what came out."""

    def __init__(self, p: problems.Problem, rounding: int = 0) -> None:
        self.p = p
        self.rounding = rounding
        self.points: list[bytes] = []
        self.values: list[float] = []
        self.usable: list[bool] = []

    def __call__(self, x: Array) -> tuple[float, Array]:
        f, g = self.p.fun_and_grad(x)
        if self.rounding:
            f, g = self.moved(x, f, g)
        self.points.append(x.tobytes())
        self.values.append(f)
        self.usable.append(bool(np.isfinite(f) and np.isfinite(g).all()))
        return f, g

    def moved(self, x: Array, f: float, g: Array) -> tuple[float, Array]:
        """f and g as another processor might round them: by up to an ulp off, the same at the same x."""
        rng = np.random.default_rng([self.rounding, zlib.crc32(x.tobytes())])
        by = 1 + float(np.finfo(x.dtype).eps) * rng.uniform(-1, 1, size=x.size + 1)
        return float(x.dtype.type(f * by[0])), (g * by[1:]).astype(x.dtype)


def solve(row: Row, p: problems.Problem, width: str, rounding: int = 0, **more: Any) -> tuple[Any, Watched]:
    """A run of `row` on `p`, and what it saw."""
    fun = Watched(p, rounding)
    second: dict[str, Any] = {}
    if row.method in ("newton", "trust"):
        second["hess"] = hessian(p)
    elif row.method in ("newton_cg", "trust_cg"):
        second["hessp"] = p.hessp
    options = {**row.options, "maxfev": row.budget, "maxiter": row.budget, "gtol": GTOL[width], **more}
    x0 = p.x0.astype(width)
    before = x0.copy()
    result = fo.minimize(fun, x0, method=row.method, options=options, **second)
    assert np.array_equal(x0, before), "x0 was changed"
    return result, fun


def gap(p: problems.Problem, x: Array, width: str) -> float:
    """How far f(x) is from the nearest known minimum, in units of what counts as solved: <= 1 is."""
    value, start = p.f(x.astype(np.float64)), p.f(p.x0)
    return min(
        abs(value - low) / (TAU[width] * min(start - low, max(abs(low), 1)) + 16 * EPS[width] * abs(low))
        for low in p.minima
    )


# ---- reasons ----
def wide(p: problems.Problem, x: Array) -> tuple[float, Array, Array]:
    """f, g, H in float64."""
    x = x.astype(np.float64)
    f, g = p.fun_and_grad(x)
    return f, g, hessian(p)(x)


def spent(p: problems.Problem, result: Any, width: str) -> bool:
    return result.status in (Reason.EVALUATIONS, Reason.ITERATIONS) and result.fun < p.f(p.x0)


def above(p: problems.Problem, value: float) -> float:
    return min(abs(value - low) for low in p.minima)


def flat(p: problems.Problem, result: Any, width: str) -> bool:
    """f - f_low <= g.g / (2 lambda) for the smallest curvature lambda: a gradient of gtol says no more."""
    f, _, h = wide(p, result.x)
    least = float(np.abs(np.linalg.eigvalsh(h)).min())
    return bool(result.success and 2 * least * above(p, f) <= p.n * GTOL[width] ** 2)


def elsewhere(p: problems.Problem, result: Any, width: str) -> bool:
    """Stationary, and not for want of curvature."""
    return bool(result.success and not flat(p, result, width))


def rounded(p: problems.Problem, result: Any, width: str) -> bool:
    """The best step along -g lowers f by less than f is wrong by."""
    f, g, h = wide(p, result.x)
    bend = abs(float(g @ h @ g))
    falls = float(g @ g) ** 2 / (2 * bend)
    rng = np.random.default_rng(0)
    near = [(result.x * (1 + EPS[width] * rng.normal(size=p.n))).astype(width) for _ in range(20)]
    exact = np.longdouble if width == "float64" else np.float64
    noise = max(abs(p.f(y) - float(p.f(y.astype(exact)))) for y in near)
    return bool(not result.success and falls <= 10 * max(noise, EPS[width] * abs(f)))


def early(p: problems.Problem, result: Any, width: str) -> bool:
    ends = (Reason.PRECISION, Reason.NOT_DESCENT)
    return bool(result.status in ends and not rounded(p, result, width))


BUDGET_SPENT = "still falling when the budget of evaluations is spent: a narrow or badly scaled valley"
FLAT = "the gradient is below gtol before f is within tau: the Hessian is singular, or nearly so"
ELSEWHERE = "another stationary point than those in `minima`"
ROUNDED = "what the best step along -g would win is within the rounding of f"
STOPS_EARLY = "defect: ends for want of precision, where the best step along -g would lower f by far more than its rounding"
NAMES = {
    "spent": BUDGET_SPENT,
    "flat": FLAT,
    "elsewhere": ELSEWHERE,
    "rounded": ROUNDED,
    "early": STOPS_EARLY,
}
REASONS: dict[str, Callable[[problems.Problem, Any, str], bool]] = {
    BUDGET_SPENT: spent,
    FLAT: flat,
    ELSEWHERE: elsewhere,
    ROUNDED: rounded,
    STOPS_EARLY: early,
}
#: Which problems a row need not solve in a width, and why: of those alone, one that is not listed may fail in `SPARE` cases, for
#: any reason that is not a defect. Where a run ends depends on the last bits of f and g, which differ between processors (their libm
#: and BLAS); so `data/make_solver_exceptions.py` wrote down what fails under any of a dozen roundings.
EXCEPTIONS: dict[tuple[str, str], dict[str, list[str]]] = {
    tuple(key.split("|")): {name: [NAMES[r] for r in reasons] for name, reasons in listed.items()}  # type: ignore[misc]
    for key, listed in json.loads(
        (Path(__file__).parent / "data" / "solver_exceptions.json").read_text()
    ).items()
}
SPARE = 1
#: In float64 these alone may be evaluated twice at a point: their minima are hidden by the rounding of f or of x.
TWICE = {"meyer", "osborne_1", "powell_badly_scaled", "brown_badly_scaled", "ARWHEAD"}
