"""fastopt.minimize: SciPy's call, on the machines of csrc/solve."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastopt.minimize.methods import NEED_HESSIAN, NEED_PRODUCT, begin, method_name, split_options
from fastopt.minimize.objective import Objective
from fastopt.minimize.point import Point
from fastopt.minimize.result import Reason, empty_result, make_result, show, warn

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastopt._core.solve import Machine

__all__ = ["minimize"]


def minimize(
    fun: Any,
    x0: Any,
    args: Any = (),
    method: str = "lbfgs",
    jac: Any = True,
    hess: Any = None,
    hessp: Any = None,
    tol: float | None = None,
    callback: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> OptimizeResult:
    """Minimize a smooth function of many variables.

    Parameters
    ----------
    fun : callable or compiled objective
        ``fun(x, *args)`` gives the value, and with ``jac=True`` the pair (value, gradient). Or a
        `scipy.LowLevelCallable` or numba ``cfunc`` of ``double f(int64_t n, const double *x, double *g, void *user)``
        (``float *`` for a float32 ``x0``), which writes the gradient to ``g`` and is called without Python.
    x0 : array_like or tree of arrays
        Where to start; never changed. An array of any shape, or a dict, list or tuple of arrays: ``fun`` then gets such
        a tree and gives the gradient as one. All of float32: the run is in float32, else in float64.
    args : tuple
        Handed to ``fun``, ``jac``, ``hess`` and ``hessp``. Compiled objective: one C-contiguous array, whose address is
        ``user``.
    method : str
        "gd", "bb", "cg", "bfgs", "lbfgs", "newton", "newton_cg", "trust" or "trust_cg"; SciPy's spellings work too.
    jac : True, callable, None, "2-point", "3-point" or "cs"
        How to get the gradient: from ``fun``, from a function of its own, or by SciPy's differences (None: as SciPy,
        forward differences with the absolute step ``eps``).
    hess : callable, "2-point", "3-point", "cs" or HessianUpdateStrategy, optional
        The Hessian, (n, n), of "newton" and "trust"; a name: by differences of the gradient; SciPy's ``BFGS()`` or
        ``SR1()``: from the steps taken. "newton_cg" and "trust_cg" take their products from it without ``hessp``. For a
        tree: over all elements, in the order of the leaves.
    hessp : callable, optional
        ``hessp(x, v, *args)``, the Hessian times a vector, for "newton_cg" and "trust_cg". Without it and ``hess``:
        differences of gradients.
    tol : float, optional
        The same as the option ``gtol``.
    callback : callable, optional
        Called after each step as ``callback(intermediate_result=OptimizeResult)`` if that is its parameter's name, else
        as ``callback(xk)``. `StopIteration` ends the run with the best point and status 99.
    options : dict, optional
        All methods: ``gtol`` (1e-5, float32 1e-3; the largest element of the gradient, or with ``norm=2`` its length),
        ``ftol``, ``xtol`` (or ``xrtol``), ``ftarget``, ``fmin``, ``maxiter``, ``maxfev`` (or ``maxfun``), ``variant``,
        ``threads``, ``disp``, ``return_all``. Line searches: ``search`` ("backtracking", "wolfe", "hager_zhang"),
        ``c1``, ``c2``, ``eps_f``, ``max_trials`` (or ``maxls``), ``first_step``, ``max_step``. cg: ``restart``,
        ``powell``, ``preconditioner``. bfgs: ``hess_inv0``, positive definite, (n, n). lbfgs, bb: ``memory`` (or
        ``maxcor``). Trust regions: ``initial_trust_radius``, ``max_trust_radius``, ``eta``. Differences: ``eps``,
        ``finite_diff_rel_step``, ``workers`` (SciPy 1.16 and later).

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x, fun, jac, nit, nfev, njev, nhev, status, success, message``; ``nhessp`` where products were asked for,
        ``hess_inv`` of "bfgs" and "lbfgs". ``x`` is the point of the lowest finite value seen; ``status`` is a
        `fastopt.minimize.Reason`. An element of ``jac`` is NaN where the gradient at ``x`` was never asked for.

    Notes
    -----
    The array that ``fun`` gets is its own: it may keep or change it. Whatever ``fun`` or ``callback`` raises comes out
    unchanged, with the best point so far as its attribute ``fastopt_result`` where the exception can carry one.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> def rosenbrock(x):
    ...     a, b = x
    ...     r = b - a * a
    ...     return 100 * r * r + (1 - a) ** 2, np.array([-400 * a * r - 2 * (1 - a), 200 * r])
    >>> fo.minimize(rosenbrock, [-1.2, 1.0], method="cg", tol=1e-8).x.round(6)
    array([1., 1.])
    """
    owner = "minimize"
    name = method_name(owner, method)
    if not isinstance(args, tuple):
        args = (args,)
    if callback is not None and not callable(callback):
        raise TypeError(f"{owner}: callback is {type(callback).__name__}; a function is wanted")
    if tol is not None:
        options = {"gtol": tol, **(options or {})}
    if hess is not None and name not in NEED_HESSIAN | NEED_PRODUCT:
        warn(f"Method {method} does not use Hessian information (hess).", RuntimeWarning)
    if hessp is not None and name not in NEED_PRODUCT:
        warn(f"Method {method} does not use Hessian-vector product information (hessp).", RuntimeWarning)
    fields, outside = split_options(owner, name, options)
    point = Point(owner, x0)
    objective = Objective(owner, fun, args, jac, hess, hessp, point, name, outside)
    machine = begin(owner, name, point.vector, fields, outside)
    points = [point.tree(point.vector)] if outside.get("return_all") else None
    try:
        objective.run(machine, reporter(point, callback, points))
    except BaseException as error:
        attach(error, machine, point)
        raise
    result = make_result(machine, point.tree)
    if points is not None:
        result["allvecs"] = points
    if outside.get("disp"):
        show(result)
    return result


def reporter(point: Point, callback: Any, points: list[Any] | None) -> Callable[[Machine], None] | None:
    """What is done after each step, or None if nothing is."""
    if callback is None and points is None:
        return None
    whole = callback is not None and wants_result(callback)

    def report(machine: Machine) -> None:
        if points is not None:
            points.append(point.tree(machine.x))
        if callback is None:
            return
        x = point.tree(machine.x)
        if whole:
            callback(
                intermediate_result=empty_result(
                    x=x, fun=machine.fun, jac=point.tree(machine.jac), nit=machine.nit, nfev=machine.nfev
                )
            )
        else:
            callback(x)

    return report


def wants_result(callback: Callable[..., Any]) -> bool:
    """SciPy's rule: the one parameter is called ``intermediate_result``."""
    from inspect import signature

    try:
        return set(signature(callback).parameters) == {"intermediate_result"}
    except (TypeError, ValueError):  # some builtins have no signature
        return False


def attach(error: BaseException, machine: Machine, point: Point) -> None:
    """The best point so far, as an attribute of the exception; some exceptions can carry none."""
    machine.stop(int(Reason.RAISED))
    with contextlib.suppress(AttributeError, TypeError):
        error.fastopt_result = make_result(machine, point.tree, Reason.RAISED)  # type: ignore[attr-defined]
