"""Ill-conditioning (Deep Learning, 8.2.1): the gradient against its curvature, and the ends of the Hessian's spectrum.

A step of -eps g changes the loss by ``-eps g'g + eps^2 g'Hg / 2`` (book, equation 8.10). The second term outweighs
the first from ``eps = 2 g'g / g'Hg`` on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt._progress import Progress, reporting
from fastopt._trees import map_tree
from fastopt.diagnostics._answer import COLOURS, Answer, number
from fastopt.diagnostics._objective import Objective
from fastopt.diagnostics.lanczos import Ends, lanczos

__all__ = [
    "Conditioning",
    "Curvature",
    "Spectrum",
    "conditioning",
    "curvature",
    "extreme_eigenvalues",
    "hessian_operator",
]

#: A condition number, or a share of curvature that the gradient sees, from which descent along gradients is slow:
#: after as many steps at the best rate the slowest part of the error has fallen to 1/e^2 or so.
ILL = 1e3
FAR = 100.0  # times the parameters' size: further than any valley's bottom


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
        ax.set_xscale("symlog", linthresh=max(self.error, 1e-9 * size, 1e-300))
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
        return _spectrum(multiply, n, noise, tol, most, rng, progress)
    with Objective(owner, fun, params).moving() as objective:
        product = Product(objective, hessp, step)
        objective.start()
        return _spectrum(product, objective.n, product.noise, tol, most, rng, progress)


def _operator(owner: str, A: Any) -> tuple[Callable[[np.ndarray], np.ndarray], int, float]:
    if not hasattr(A, "shape"):
        raise TypeError(
            f"{owner}: params is missing; fun with params, or a symmetric LinearOperator or matrix alone, is wanted"
        )
    shape = tuple(A.shape)
    if len(shape) != 2 or shape[0] != shape[1] or shape[0] == 0:
        raise ValueError(f"{owner}: the operator has shape {shape}; (n, n) is wanted")
    return (lambda v: np.asarray(A @ v, np.float64).reshape(-1)), shape[0], 1e-12


def _spectrum(
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


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Curvature(Answer):
    """The gradient against its curvature at one point.

    Attributes
    ----------
    loss : float
    gg : float
        ``g'g``.
    gHg : float
        ``g'Hg``.
    limit : float
        ``2 g'g / g'Hg``, the step length from which the second-order term outweighs the first: longer steps along
        -g raise the loss. inf where the curvature along g is not positive.
    lr : float or None
        The step length in use.
    """

    loss: float
    gg: float
    gHg: float
    limit: float
    lr: float | None

    def _draw(self, ax: Any) -> None:
        reach = self.limit if math.isfinite(self.limit) else (self.lr or 1.0)
        steps = np.linspace(0, 1.5 * max(reach, self.lr or 0.0), 200)
        first, second = -steps * self.gg, steps**2 * self.gHg / 2
        ax.plot(
            steps,
            first,
            color=COLOURS[0],
            linestyle=(0, (5, 2)),
            label="first order, $-\\epsilon\\, g^\\top g$",
        )
        ax.plot(
            steps,
            second,
            color=COLOURS[1],
            linestyle=(0, (1.5, 1.5)),
            label="second order, $\\epsilon^2 g^\\top H g/2$",
        )
        ax.plot(steps, first + second, color=COLOURS[2], linewidth=2.0, label="both")
        ax.axhline(0.0, color="black", linewidth=0.8)
        if self.lr is not None:
            ax.axvline(self.lr, color="#777777", linestyle=":", label=f"step in use, {number(self.lr)}")
        ax.set_xlabel("step length $\\epsilon$ along the gradient")
        ax.set_ylabel("change of the loss")
        ax.legend(frameon=False, fontsize=9)


def curvature(
    fun: Callable[..., Any],
    params: Any,
    *,
    lr: float | None = None,
    hessp: Callable[..., Any] | None = None,
    step: float | None = None,
) -> Curvature:
    """``g'g``, ``g'Hg``, and the step length at which the second-order term outweighs the first; three gradients.

    Parameters
    ----------
    fun, params, hessp, step
        As for `hessian_operator`.
    lr : float, optional
        The step length in use, to be compared.

    Returns
    -------
    Curvature
        `trouble` where `lr` is above the limit ``2 g'g / g'Hg``.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As `extreme_eigenvalues`.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> c = fo.diagnostics.curvature(lambda x: (50 * x @ x, 100 * x), np.ones(2), lr=0.05)
    >>> round(c.limit, 6), c.trouble
    (0.02, True)
    """
    owner = "curvature"
    if lr is not None:
        lr = check_number(owner, "lr", lr)
    with Objective(owner, fun, params).moving() as objective:
        product = Product(objective, hessp, step)
        loss, g = objective.start()
        return curvature_of(loss, g, product(g), lr)


def curvature_of(loss: float, g: np.ndarray, hg: np.ndarray, lr: float | None) -> Curvature:
    gg, ghg = float(g @ g), float(g @ hg)
    limit = 2 * gg / ghg if ghg > 0 else math.inf
    trouble = lr is not None and lr > limit
    if gg == 0:
        verdict = "The gradient is zero: there is no step to judge."
    elif trouble:
        verdict = (
            f"The step length {number(lr or 0.0)} is beyond {number(limit)}, where the second-order term "
            "eps^2 g'Hg/2 outweighs the first, eps g'g: a step along the gradient raises the loss."
        )
    elif math.isinf(limit):
        verdict = "Along the gradient the curvature is not positive: it sets no limit to the step."
    else:
        inside = f"; the one in use, {number(lr)}, is below" if lr is not None else ""
        verdict = f"The second-order term outweighs the first for steps longer than {number(limit)}{inside}."
    return Curvature(
        question="curvature along the gradient", source="8.2.1", trouble=trouble, number=limit, verdict=verdict,
        loss=loss, gg=gg, gHg=ghg, limit=limit, lr=lr,
    )  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Conditioning(Answer):
    """Whether ill-conditioning holds a run back at a point.

    Attributes
    ----------
    curvature : Curvature
    spectrum : Spectrum
    seen : float
        ``high / (g'Hg / g'g)``: how many times flatter the loss is along the gradient than in its steepest
        direction, which bounds the step length. About as many steps are needed to get somewhere. NaN where the
        curvature along the gradient is not positive.
    slow : bool
        `seen` is 1000 or more, and the bottom along the gradient within a hundred times ``max(1, |x|)``.
    """

    curvature: Curvature
    spectrum: Spectrum
    seen: float
    slow: bool

    def _draw(self, ax: Any) -> None:
        self.spectrum._draw(ax)


def conditioning(
    fun: Callable[..., Any],
    params: Any,
    *,
    lr: float | None = None,
    hessp: Callable[..., Any] | None = None,
    step: float | None = None,
    products: int = 200,
    rng: Any = 0,
    progress: Progress = False,
) -> Conditioning:
    """Does ill-conditioning hold the run back here? Curvature along the gradient and the ends of the spectrum together.

    Parameters
    ----------
    fun, params, hessp, step, products, rng, progress
        As for `extreme_eigenvalues`.
    lr : float, optional
        As for `curvature`.

    Returns
    -------
    Conditioning
        `trouble` where the step is beyond its limit; where the Hessian is positive definite with a condition number
        of 1000 or more; or where the curvature along the gradient is positive and 1000 or more times below the
        largest (`slow`), whatever the sign of the smallest eigenvalue.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As `extreme_eigenvalues`.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> scale = np.array([1.0, 1e4])
    >>> print(fo.diagnostics.conditioning(lambda x: (x @ (scale * x) / 2, scale * x), np.array([1.0, 0.0])))
    Ill-conditioned: along the gradient the loss is 1e+04 times flatter than in its steepest direction, which allows steps of at most 0.0002.
    """  # noqa: E501
    owner = "conditioning"
    most = check_integer(owner, "products", products, 1)
    if lr is not None:
        lr = check_number(owner, "lr", lr)
    with Objective(owner, fun, params).moving() as objective:
        product = Product(objective, hessp, step)
        loss, g = objective.start()
        along = curvature_of(loss, g, product(g), lr)
        spectrum = _spectrum(product, objective.n, product.noise, None, most, rng, progress)
        length = objective.length
    return conditioning_of(along, spectrum, length)


def conditioning_of(along: Curvature, spectrum: Spectrum, length: float) -> Conditioning:
    """Both judged together; `length` is what counts as a long way."""
    seen = math.nan
    if along.gg > 0 and spectrum.high > spectrum.error:
        r = along.gHg / along.gg
        seen = spectrum.high / r if r > spectrum.error else math.nan
    # A slope whose bottom is far beyond all lengths is no valley.
    slow = bool(seen >= ILL and along.gg**1.5 <= FAR * length * along.gHg)
    if along.trouble:
        verdict, value = (
            f"Ill-conditioned for its step length: {along.verdict[0].lower()}{along.verdict[1:]}",
            seen,
        )
    elif slow:
        verdict, value = (
            f"Ill-conditioned: along the gradient the loss is {number(seen)} times flatter than in its steepest "
            f"direction, which allows steps of at most {number(2 / spectrum.high)}.",
            seen,
        )
    else:
        verdict, value = spectrum.verdict, spectrum.condition
    return Conditioning(
        question="ill-conditioning", source="8.2.1", trouble=along.trouble or slow or spectrum.trouble, number=value,
        verdict=verdict, curvature=along, spectrum=spectrum, seen=seen, slow=slow,
    )  # fmt: skip
