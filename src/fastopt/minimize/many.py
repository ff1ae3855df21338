"""Many independent problems of one size in one call."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._core import many as engine
from fastopt._core import runtime, solve
from fastopt.minimize.methods import NEED_HESSIAN, NEED_PRODUCT, method_name, split_options
from fastopt.minimize.point import as_real
from fastopt.minimize.result import SUCCESSES, empty_result

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

__all__ = ["minimize_many"]

#: Bytes of solvers that are at work at once for a function of rows: bounds memory, and keeps them in cache.
AT_WORK = 32 << 20


def minimize_many(
    fun: Any,
    X0: Any,
    args: Any = (),
    method: str = "bfgs",
    tol: float | None = None,
    options: Mapping[str, Any] | None = None,
) -> OptimizeResult:
    """Minimize B functions of n variables, each with its own search and its own end.

    Each row comes out with the bits that `minimize` gives for it alone.

    Parameters
    ----------
    fun : callable or compiled objective
        ``fun(X, *args)`` gives the values (k,) and the gradients (k, n) at the rows of X (k, n): one point of each
        problem that is at work. Or a compiled objective as `minimize` takes it, called for one problem at a time, on
        all threads.
    X0 : array_like, shape (B, n)
        Where to start, a row a problem; never changed. float32 stays float32.
    args : tuple
        Function of rows: every array with B rows is cut to the rows of the problems in X, in their order; what is no
        array, or has another first length, is handed over whole. Compiled objective: one C-contiguous array of B rows;
        the address of the row of the problem is ``user``.
    method : str
        A method that needs no Hessian: "gd", "bb", "cg", "bfgs" or "lbfgs".
    tol : float, optional
        The same as the option ``gtol``.
    options : dict, optional
        As `minimize` takes them; limits hold for each problem. ``threads`` is how many problems run at once.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x`` and ``jac`` (B, n); ``fun``, ``nit``, ``nfev``, ``njev``, ``status`` and ``success`` (B,); ``message``,
        how many ended how.

    Notes
    -----
    An exception comes out unchanged, with what has ended by then as its attribute ``fastopt_result``; rows still at
    work have status -1.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> def squares(X, centre):
    ...     d = X - centre
    ...     return (d * d).sum(1), 2 * d
    >>> fo.minimize_many(squares, np.zeros((3, 2)), args=np.arange(6.0).reshape(3, 2), method="cg").x
    array([[0., 1.],
           [2., 3.],
           [4., 5.]])
    """
    owner = "minimize_many"
    name = method_name(owner, method)
    if name in NEED_HESSIAN | NEED_PRODUCT:
        raise ValueError(f"{owner}: method {name!r} needs Hessians; take one of gd, bb, cg, bfgs, lbfgs")
    if not isinstance(args, tuple):
        args = (args,)
    if tol is not None:
        options = {"gtol": tol, **(options or {})}
    fields, outside = split_options(owner, name, options)
    if "preconditioner" in outside:
        raise ValueError(f"{owner}: option 'preconditioner' is of one problem; it has no meaning here")
    if fields.get("variant") == "blas":
        raise ValueError(f"{owner}: variant 'blas' is of one problem; leave it out")
    if outside:
        raise ValueError(f"{owner}: option {next(iter(outside))!r} has no meaning here")
    starts = np.ascontiguousarray(as_real(owner, "X0", X0))
    if starts.ndim != 2:
        raise ValueError(f"{owner}: X0 has shape {starts.shape}; (problems, variables) is wanted")
    bad = ~np.isfinite(starts).all(axis=1)
    if bad.any():
        raise ValueError(f"{owner}: row {int(np.argmax(bad))} of X0 is not finite; a finite start is wanted")
    rows, n = starts.shape
    threads = min(fields.pop("threads"), runtime.threads_max())
    compiled = solve.is_compiled(fun)
    if compiled:
        lanes = max(1, min(threads, rows))
    else:
        if not callable(fun):
            raise TypeError(f"{owner}: fun is {type(fun).__name__}; a function is wanted")
        size = solve.packed_options(name, starts.dtype, n, fields)[1]
        lanes = max(1, min(rows, AT_WORK // max(size, 1)))
    machine = engine.Many(starts, name, fields, lanes)
    try:
        if compiled:
            data, step = _user(owner, args, rows)
            machine.run_compiled(solve.Compiled(fun, data), step, threads)
        else:
            machine.run(fun, _Select(args, rows))
    except BaseException as error:
        with contextlib.suppress(AttributeError, TypeError):
            error.fastopt_result = _result(machine)  # type: ignore[attr-defined]
        raise
    return _result(machine)


def _user(owner: str, args: tuple[Any, ...], rows: int) -> tuple[np.ndarray | None, int]:
    """The array whose rows are the user data, and the bytes from one to the next."""
    if not args:
        return None, 0
    data = args[0]
    if len(args) > 1 or not isinstance(data, np.ndarray) or data.ndim < 1 or data.shape[0] != rows:
        came = f"an array of shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise ValueError(
            f"{owner}: args holds {len(args)} items, the first {came}; "
            f"a compiled objective takes one array of {rows} rows"
        )
    return data, data.strides[0]


class _Select:
    """The args for some rows; cut again only when other rows are at work."""

    def __init__(self, args: tuple[Any, ...], rows: int) -> None:
        self.args = args
        self.cut = [isinstance(a, np.ndarray) and a.ndim > 0 and a.shape[0] == rows for a in args]
        self.any = any(self.cut)
        self.rows: np.ndarray | None = None
        self.last: tuple[Any, ...] = ()

    def __call__(self, rows: np.ndarray) -> tuple[Any, ...]:
        if not self.any:
            return self.args
        if self.rows is None or not np.array_equal(rows, self.rows):
            self.rows = rows.copy()
            self.last = tuple(a[rows] if cut else a for a, cut in zip(self.args, self.cut, strict=True))
        return self.last


def _result(machine: engine.Many) -> OptimizeResult:
    success = np.isin(machine.status, [int(reason) for reason in SUCCESSES])
    reasons, counts = np.unique(machine.status, return_counts=True)
    told = ", ".join(f"{count} with status {reason}" for reason, count in zip(reasons, counts, strict=True))
    return empty_result(
        x=machine.x,
        fun=machine.fun,
        jac=machine.jac,
        nit=machine.nit,
        nfev=machine.nfev,
        njev=machine.njev,
        status=machine.status,
        success=success,
        message=f"{int(success.sum())} of {success.size} problems met their test"
        + (f": {told}." if told else "."),
    )
