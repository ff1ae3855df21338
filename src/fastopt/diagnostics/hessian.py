"""The Hessian as an operator, and the ends of its spectrum (Deep Learning, 8.2.1 and 8.6)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt._progress import Progress, reporting
from fastopt._trees import map_tree
from fastopt.diagnostics._answer import COLOURS, Answer, both_ways, number
from fastopt.diagnostics._objective import Objective
from fastopt.diagnostics.lanczos import Ends, lanczos

__all__ = ["ILL", "Product", "Spectrum", "extreme_eigenvalues", "hessian_operator", "spectrum_by"]

#: A condition number, or a share of curvature that the gradient sees, from which descent along gradients is slow:
#: after as many steps at the best rate the slowest part of the error has fallen to 1/e^2 or so.
ILL = 1e3


class Product:
    """v -> H v at an objective's point, by central differences of gradients or by the user's own product.

    The step along v is ``eps^(1/3) max(1, |x|)``: the error of a central difference, of order step^2, then is of the
    size of its rounding, of order eps / step. float32 so gets steps of some 0.5 % of the parameters' size.
    """

    def __init__(self, objective: Objective, hessp: Callable[..., Any] | None, step: float | None) -> None:
        self.objective, self.hessp = objective, hessp
        if hessp is not None and not callable(hessp):
            raise TypeError(
                f"{objective.owner}: hessp is {type(hessp).__name__}; a function (params, v) is wanted"
            )
        owner = objective.owner
        self.step = (
            objective.eps ** (1 / 3) * objective.length
            if step is None
            else check_number(owner, "step", step, above=True)
        )
        #: Below this share of the largest eigenvalue nothing is resolved.
        self.noise = objective.eps ** (2 / 3) if hessp is None else 100 * objective.eps
        self.count = 0

    def __call__(self, v: np.ndarray) -> np.ndarray:
        self.count += 1
        o = self.objective
        v = np.asarray(v, np.float64).reshape(-1)
        size = float(np.linalg.norm(v))
        if size == 0:
            return np.zeros(o.n)
        if self.hessp is not None:
            o.restore()
            tree = iter(np.split(v, np.cumsum([leaf.size for leaf in o.leaves])[:-1]))
            out = self.hessp(o.params, map_tree(lambda leaf: next(tree).reshape(leaf.shape), o.params))
            hv = o.vector(out, "hessp(params, v)")
        else:
            h = self.step / size
            hv = (o(h * v)[1] - o(-h * v)[1]) / (2 * h)
        if not np.isfinite(hv).all():
            raise FloatingPointError(
                f"{o.owner}: the product of the Hessian and a vector holds Inf or NaN; a point (or a step) with "
                "finite gradients around it is wanted"
            )
        return hv


def hessian_operator(
    fun: Callable[..., Any],
    params: Any,
    *,
    hessp: Callable[..., Any] | None = None,
    step: float | None = None,
) -> Any:
    """The Hessian at `params` as a SciPy ``LinearOperator``, for `eigsh`, `minres`, `svds` and their like.

    ``H v = (g(x + h v) - g(x - h v)) / 2h``, or the user's own product.

    Parameters
    ----------
    fun : callable
        ``fun(params) -> (loss, grads)``. It may read the arrays of `params` themselves: they are moved in place
        for the time of a product and put back, bit for bit, also by an exception.
    params : tree of ndarray
        Where; float32 or float64. Elements are counted leaf after leaf. The point is that of this call:
        what the arrays hold later makes no difference to a product, and is not lost by it.
    hessp : callable, optional
        ``hessp(params, v) -> tree``: the product of the Hessian and a tree `v` (float64).
    step : float, optional
        Length of the step h v. Default ``eps^(1/3) max(1, |x|)``, eps of the coarsest dtype.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator
        Shape (n, n), float64, symmetric to the accuracy of the differences (about ``eps^(2/3)``).

    Raises
    ------
    TypeError, ValueError
        An argument is not what is wanted.
    FloatingPointError
        Later, in a product: a gradient beside `params` is not finite.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> x = np.array([1.0, 1.0])
    >>> H = fo.diagnostics.hessian_operator(lambda x: (x[0] ** 2 + 3 * x[1] ** 2, np.array([2, 6]) * x), x)
    >>> (H @ np.eye(2)).round(6)
    array([[2., 0.],
           [0., 6.]])
    """
    objective = Objective("hessian_operator", fun, params)
    product = Product(objective, hessp, step)
    from scipy.sparse.linalg import LinearOperator

    def matvec(v: np.ndarray) -> np.ndarray:
        now = [leaf.copy() for leaf in objective.leaves]
        try:
            return product(v)
        finally:
            for leaf, held in zip(objective.leaves, now, strict=True):
                leaf[...] = held

    return LinearOperator((objective.n, objective.n), matvec=matvec, rmatvec=matvec, dtype=np.float64)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Spectrum(Answer):
    """The ends of a Hessian's spectrum.

    Attributes
    ----------
    low, high : float
        Smallest and largest eigenvalue.
    error : float
        Bound of the error of both: of Lanczos, or what differences cannot resolve.
    condition : float
        ``high / low`` where `low` is above `error`; inf where it is zero to within `error`; NaN where there is
        negative curvature, which leaves no meaning to it.
    values : ndarray
        All Ritz values of the last Lanczos space, ascending: those at the ends are eigenvalues.
    low_vector, high_vector : ndarray, shape (n,)
        Eigenvectors of the two ends.
    products : int
        Hessian-vector products spent.
    converged : bool
        The error bound met the tolerance.
    """

    low: float
    high: float
    error: float
    condition: float
    values: np.ndarray
    low_vector: np.ndarray
    high_vector: np.ndarray
    products: int
    converged: bool

    def _draw(self, ax: Any) -> None:
        values = self.values
        size = max(abs(self.low), abs(self.high)) or 1.0
        ax.vlines(values, 0, 1, color="#BBBBBB", linewidth=1.0, label="Ritz values")
        ax.vlines([self.low, self.high], 0, 1, color=COLOURS[1], linewidth=2.5, label="ends")
        ax.axvline(0.0, color="black", linewidth=0.8)
        both_ways(ax.xaxis, max(self.error, 1e-4 * size, 1e-300))
        ax.set_yticks([])
        ax.set_xlabel("eigenvalue of the Hessian")
        ax.set_title(f"condition number {number(self.condition)}", fontsize=11, loc="left")
        ax.legend(frameon=False, fontsize=9)


def extreme_eigenvalues(
    fun: Any,
    params: Any = None,
    *,
    hessp: Callable[..., Any] | None = None,
    step: float | None = None,
    tol: float | None = None,
    products: int = 200,
    rng: Any = 0,
    progress: Progress = False,
) -> Spectrum:
    """Smallest and largest eigenvalue and condition number of the Hessian, by Lanczos.

    Parameters
    ----------
    fun : callable, or operator
        As for `hessian_operator`; or, without `params`, a symmetric ``LinearOperator`` or matrix.
    params, hessp, step
        As for `hessian_operator`.
    tol : float, optional
        Stop when both ends are known to `tol` times the larger of their sizes. Default: what the differences
        resolve, ``eps^(2/3)``, at least 1e-9.
    products : int, default 200
        At most so many products with the Hessian: two gradients each, without `hessp`.
    rng : default 0
        Of the first vector; what ``np.random.default_rng`` takes.
    progress : bool or callable, default False

    Returns
    -------
    Spectrum
        `trouble` where the Hessian is positive definite with a condition number of 1000 or more.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is wanted.
    FloatingPointError
        A gradient at `params` or beside it is not finite.

    Notes
    -----
    Memory: 25 to 129 vectors of n float64, at most 128 MiB up to n of 700 thousand. A product by differences costs two
    gradients; the ends of a well separated spectrum take some 20 to 50 products.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> scale = np.logspace(0, 4, 50)
    >>> s = fo.diagnostics.extreme_eigenvalues(lambda x: (x @ (scale * x) / 2, scale * x), np.ones(50))
    >>> round(s.high), s.trouble
    (10000, True)
    >>> print(s)
    Ill-conditioned: the largest eigenvalue of the Hessian, 1e+04, is 1e+04 times the smallest, 1.
    """
    owner = "extreme_eigenvalues"
    most = check_integer(owner, "products", products, 1)
    if tol is not None:
        tol = check_number(owner, "tol", tol, above=True)
    if params is None:
        multiply, n, noise = _operator(owner, fun)
        return spectrum_by(multiply, n, noise, tol, most, rng, progress)
    with Objective(owner, fun, params).moving() as objective:
        product = Product(objective, hessp, step)
        objective.start()
        return spectrum_by(product, objective.n, product.noise, tol, most, rng, progress)


def _operator(owner: str, A: Any) -> tuple[Callable[[np.ndarray], np.ndarray], int, float]:
    if not hasattr(A, "shape"):
        raise TypeError(
            f"{owner}: params is missing; fun with params, or a symmetric LinearOperator or matrix alone, is wanted"
        )
    shape = tuple(A.shape)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"{owner}: the operator has shape {shape}; (n, n) is wanted")
    return (lambda v: np.asarray(A @ v, np.float64).reshape(-1)), shape[0], 1e-12


def spectrum_by(
    product: Callable[[np.ndarray], np.ndarray],
    n: int,
    noise: float,
    tol: float | None,
    most: int,
    rng: Any,
    progress: Progress,
) -> Spectrum:
    start = np.random.default_rng(rng).standard_normal(n)
    with reporting(progress, "eigenvalues", most) as tell:
        ends = lanczos(product, n, start, tol=max(noise, 1e-9) if tol is None else tol, most=most, tell=tell)
    return spectrum_of(ends, noise)


def spectrum_of(ends: Ends, noise: float) -> Spectrum:
    """The answer that both ends of a spectrum give; `noise` is the share of the largest that is not resolved."""
    low, high = float(ends.values[0]), float(ends.values[-1])
    error = max(float(max(ends.bounds[0], ends.bounds[-1])), noise * max(abs(low), abs(high)))
    if low < -error:
        condition = math.nan
        verdict = (
            f"The Hessian has negative curvature: its eigenvalues reach from {number(low)} to {number(high)}."
        )
    elif high <= error or low <= error:
        condition = math.inf if high > error else math.nan
        verdict = (
            f"The largest eigenvalue of the Hessian is {number(high)}, the smallest is zero to within {number(error)}: "
            "some directions are flat."
        )
    else:
        condition = high / low
        ill = condition >= ILL
        verdict = (
            f"{'Ill' if ill else 'Well'}-conditioned: the largest eigenvalue of the Hessian, {number(high)}, is "
            f"{number(condition)} times the smallest, {number(low)}."
        )
    return Spectrum(
        question="condition number", source="8.2.1", trouble=bool(ILL <= condition < math.inf), number=condition,
        verdict=verdict, low=low, high=high, error=error, condition=condition, values=ends.values,
        low_vector=ends.low, high_vector=ends.high, products=ends.products, converged=ends.converged,
    )  # fmt: skip
