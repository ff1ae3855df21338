"""The methods as functions that `scipy.optimize.minimize` takes: ``scipy.optimize.minimize(fun, x0,
method=fo.scipy.bfgs)``.

SciPy hands such a function what it was given: options as keywords, ``tol`` among them, the callback as it stands, and
for ``jac=True`` a pair of functions that share one evaluation, here taken back into one call. A ``jac`` given by the
name of a difference scheme arrives as None, so that absolute steps are taken; ``fo.minimize`` takes the name itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastopt.minimize.api import minimize

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

__all__ = ["bb", "bfgs", "cg", "gd", "lbfgs", "newton", "newton_cg", "trust", "trust_cg"]


def _given(value: Any) -> bool:
    """Are there bounds or constraints? None, (), [] and {} are none."""
    return value is not None and not (isinstance(value, (tuple, list, dict)) and len(value) == 0)


def _method(name: str) -> Callable[..., OptimizeResult]:
    def method(
        fun: Any,
        x0: Any,
        args: Any = (),
        jac: Any = None,
        hess: Any = None,
        hessp: Any = None,
        bounds: Any = None,
        constraints: Any = (),
        callback: Any = None,
        tol: float | None = None,
        **options: Any,
    ) -> OptimizeResult:
        for what, value in (("bounds", bounds), ("constraints", constraints)):
            if _given(value):
                raise ValueError(
                    f"fastopt.scipy.{name}: {what} are not supported; leave them out, or take another method"
                )
        # SciPy's wrapper of jac=True: its `derivative` gives what its call remembered.
        joint = getattr(jac, "__self__", None)
        if joint is not None and joint is fun and type(fun).__name__ == "MemoizeJac":
            fun, jac = fun.fun, True
        return minimize(fun, x0, args, name, jac, hess, hessp, tol, callback, options)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"""``fo.minimize(..., method={name!r})`` by SciPy's protocol for methods of one's own.

    Parameters are those that `scipy.optimize.minimize` hands over; ``tol`` is the option ``gtol``. Returns an
    ``OptimizeResult``.

    Raises
    ------
    ValueError
        There are bounds or constraints, or an option is unknown or out of its range.
    """
    return method


gd = _method("gd")
bb = _method("bb")
cg = _method("cg")
bfgs = _method("bfgs")
lbfgs = _method("lbfgs")
newton = _method("newton")
newton_cg = _method("newton_cg")
trust = _method("trust")
trust_cg = _method("trust_cg")
