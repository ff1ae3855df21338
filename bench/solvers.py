"""The solvers that are compared: each runs one counted objective from one start, all but its budget switched off.

A counted objective gives f and g together and is counted once a call, for every contestant alike. It ends a run by
raising `Spent`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["FAMILIES", "Counted", "Spent", "available"]


class Spent(Exception):
    """The budget of evaluations is used up, or the target reached."""


class Counted:
    """f and g of a problem, counted; remembers the lowest f after each evaluation."""

    def __init__(self, problem: Any, budget: int, dtype: Any = np.float64) -> None:
        self.problem = problem
        self.budget = budget
        self.x0 = np.asarray(problem.x0, dtype)
        self.lowest: list[float] = []
        self.x_last: np.ndarray | None = None
        self.g_last: np.ndarray | None = None
        self.f_last = np.nan

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        if self.x_last is not None and np.array_equal(x, self.x_last):
            return self.f_last, self.g_last  # a contestant that asks for f and g apart pays once
        if len(self.lowest) >= self.budget:
            raise Spent
        with np.errstate(all="ignore"):
            f, g = self.problem.fun_and_grad(np.array(x))
        f = float(f)
        low = self.lowest[-1] if self.lowest else np.inf
        self.lowest.append(min(low, f) if np.isfinite(f) else low)
        self.x_last, self.f_last, self.g_last = np.array(x), f, np.array(g)
        return f, self.g_last.copy()

    def f(self, x: np.ndarray) -> float:
        return self(x)[0]

    def g(self, x: np.ndarray) -> np.ndarray:
        return self(x)[1]


def _fastopt(method: str, **options: Any) -> Callable[[Counted], None]:
    def run(c: Counted) -> None:
        import fastopt as fo

        extra = {"hess": c.problem.hess} if method in ("newton", "trust") else {}
        fo.minimize(c, c.x0, method=method, options={"gtol": 1e-12, "maxiter": 10**6, **options}, **extra)

    return run


def _scipy(method: str, **options: Any) -> Callable[[Counted], None]:
    def run(c: Counted) -> None:
        from scipy.optimize import minimize

        extra = {"hess": c.problem.hess} if method in ("Newton-CG", "trust-ncg", "trust-exact") else {}
        minimize(c.f, c.x0, jac=c.g, method=method, options=options, **extra)

    return run


def _pylbfgs(c: Counted) -> None:
    import lbfgs

    def fun(x: np.ndarray, g: np.ndarray) -> float:
        f, g[:] = c(x)
        return f

    lbfgs.fmin_lbfgs(fun, c.x0.copy(), m=10, epsilon=1e-14, max_iterations=0)


def _torch(c: Counted) -> None:
    import torch

    x = torch.tensor(c.x0.copy(), requires_grad=True)
    opt = torch.optim.LBFGS([x], lr=1, max_iter=10**6, max_eval=10**7, tolerance_grad=1e-14, tolerance_change=0,
                            history_size=10, line_search_fn="strong_wolfe")  # fmt: skip

    def closure() -> Any:
        f, g = c(x.detach().numpy().copy())
        x.grad = torch.from_numpy(g)
        return torch.tensor(f)

    opt.step(closure)


def _ensmallen(c: Counted) -> None:
    import pyensmallen

    def fun(x: np.ndarray, g: np.ndarray) -> float:
        f, g[:] = c(np.asarray(x).ravel())
        return f

    opt = pyensmallen.L_BFGS()
    for name, value in (("numBasis", 10), ("maxIterations", 0), ("minGradientNorm", 1e-14), ("factr", 0.0)):
        if hasattr(opt, name):
            setattr(opt, name, value)
    opt.optimize(fun, c.x0.copy())


def _cgdescent(c: Counted) -> None:
    import pycgdescent as cg

    def fungrad(g: np.ndarray, x: np.ndarray) -> float:
        f, g[...] = c(x)
        return f

    def fun(x: np.ndarray) -> float:
        return c.f(x)

    def jac(g: np.ndarray, x: np.ndarray) -> None:
        g[...] = c.g(x)

    cg.minimize(fun, c.x0.copy(), jac=jac, funjac=fungrad, tol=1e-12, options={"max_iters": 10**6})


#: Family -> name -> (package that is needed, runner).
FAMILIES: dict[str, dict[str, tuple[str, Callable[[Counted], None]]]] = {
    "quasi-Newton, dense": {
        "fastopt bfgs": ("fastopt", _fastopt("bfgs")),
        "SciPy BFGS": ("scipy", _scipy("BFGS", gtol=1e-12, maxiter=10**6)),
    },
    "limited memory": {
        "fastopt lbfgs": ("fastopt", _fastopt("lbfgs")),
        "SciPy L-BFGS-B": ("scipy", _scipy("L-BFGS-B", gtol=1e-12, ftol=0, maxiter=10**6, maxfun=10**7)),
        "PyLBFGS": ("lbfgs", _pylbfgs),
        "torch LBFGS": ("torch", _torch),
        "ensmallen L-BFGS": ("pyensmallen", _ensmallen),
    },
    "conjugate gradients": {
        "fastopt cg": ("fastopt", _fastopt("cg")),
        "SciPy CG": ("scipy", _scipy("CG", gtol=1e-12, maxiter=10**6)),
        "CG_DESCENT": ("pycgdescent", _cgdescent),
    },
    "Newton": {
        "fastopt newton": ("fastopt", _fastopt("newton")),
        "fastopt newton_cg": ("fastopt", _fastopt("newton_cg")),
        "fastopt trust": ("fastopt", _fastopt("trust")),
        "fastopt trust_cg": ("fastopt", _fastopt("trust_cg")),
        "SciPy Newton-CG": ("scipy", _scipy("Newton-CG", xtol=1e-14)),
        "SciPy trust-ncg": ("scipy", _scipy("trust-ncg", gtol=1e-12)),
        "SciPy trust-exact": ("scipy", _scipy("trust-exact", gtol=1e-12)),
    },
}


def available(family: str) -> dict[str, Callable[[Counted], None]]:
    """The contestants of a family whose packages are installed."""
    from importlib.util import find_spec

    return {name: run for name, (package, run) in FAMILIES[family].items() if find_spec(package)}


def solve(run: Callable[[Counted], None], counted: Counted) -> str:
    """Run to the end or to the budget; what ended it, for the record."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(counted)
    except Spent:
        return "budget"
    except Exception as e:
        return f"{type(e).__name__}: {e}"
    return "stopped"
