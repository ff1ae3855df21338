"""What a point is (Deep Learning, 8.2.2 and 8.2.3): minimum, maximum, saddle, plateau, or no critical point at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt._progress import Progress, reporting
from fastopt.diagnostics._answer import COLOURS, Answer, both_ways, number
from fastopt.diagnostics._objective import Objective
from fastopt.diagnostics.hessian import Product
from fastopt.diagnostics.lanczos import lanczos

__all__ = ["CriticalPoint", "critical_point"]

NEAR = 1e-2  # a stationary point of the quadratic model within this share of max(1, |x|) counts as here
FLAT = 1e-4  # a loss that changes by less than this share over the whole length max(1, |x|) is a plateau


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CriticalPoint(Answer):
    """What a point is.

    Attributes
    ----------
    kind : {"minimum", "maximum", "saddle", "plateau", "degenerate", "none"}
        ``"degenerate"``: critical, no curvature of the wrong sign, and some directions flat to second order, so that
        the Hessian cannot tell. ``"none"``: no critical point.
    loss, grad_norm : float
    low, high : float
        Smallest and largest eigenvalue of the Hessian.
    error : float
        What is below it in size counts as zero.
    index : int or None
        Number of negative eigenvalues; None where not all of them were computed and some are negative.
    least_index : int
        Negative eigenvalues seen.
    distance : float
        How far the nearest stationary point of the quadratic model is, ``|H^+ g|``; inf where the slope lies in
        directions without curvature.
    eigenvalues : ndarray
        All of them, ascending, or the Ritz values of Lanczos' method.
    direction : ndarray, shape (n,)
        Eigenvector of `low`, signed so that the loss does not rise along it to first order.
    """

    kind: str
    loss: float
    grad_norm: float
    low: float
    high: float
    error: float
    index: int | None
    least_index: int
    distance: float
    eigenvalues: np.ndarray
    direction: np.ndarray

    def _draw(self, ax: Any) -> None:
        values = self.eigenvalues
        colours = np.where(
            values < -self.error, COLOURS[1], np.where(values > self.error, COLOURS[0], "#999999")
        )
        ax.scatter(np.arange(1, len(values) + 1), values, c=colours, s=14, zorder=3)
        ax.axhline(0.0, color="black", linewidth=0.8)
        top = float(np.abs(values).max(initial=0.0)) or 1.0
        both_ways(ax.yaxis, max(self.error, 1e-4 * top))
        ax.set_xlabel("eigenvalue, by size")
        ax.set_ylabel("curvature")
        ax.set_title(
            f"{self.kind if self.kind != 'none' else 'no critical point'}: |g| = {number(self.grad_norm)}, "
            f"{self.least_index} negative",
            fontsize=11,
            loc="left",
        )


def critical_point(
    fun: Callable[..., Any],
    params: Any,
    *,
    scale: float | None = None,
    hessp: Callable[..., Any] | None = None,
    step: float | None = None,
    dense: int = 300,
    products: int = 200,
    rng: Any = 0,
    progress: Progress = False,
) -> CriticalPoint:
    """Is this a minimum, a maximum, a saddle, a plateau, or no critical point?

    Parameters
    ----------
    fun, params, hessp, step
        As for `hessian_operator`.
    scale : float, optional
        A change of the loss that would matter, e.g. its fall since the start. Default: the size of the loss here. A
        plateau is where neither slope nor curvature bring 1e-4 of it over the length ``max(1, |x|)``.
    dense : int, default 300
        Up to so many parameters all eigenvalues are computed, from n products; beyond, the ends by Lanczos.
    products : int, default 200
        At most so many products where n is above `dense`, for each of eigenvalues and distance.
    rng : default 0
        Of Lanczos' first vector.
    progress : bool or callable, default False

    Returns
    -------
    CriticalPoint
        `trouble` at a saddle, a maximum and a plateau.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is wanted.
    FloatingPointError
        Loss or gradient at `params`, or a gradient beside it, are not finite.

    Notes
    -----
    A gradient is small only against something: here the point counts as critical where the stationary point of the
    quadratic model, ``x - H^+ g``, is within one hundredth of ``max(1, |x|)``. A slope along directions without
    curvature makes it none.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> def fun(x):
    ...     return x[0] ** 2 - x[1] ** 2, np.array([2 * x[0], -2 * x[1]])
    >>> point = fo.diagnostics.critical_point(fun, np.zeros(2))
    >>> point.kind, point.index
    ('saddle', 1)
    """
    owner = "critical_point"
    dense = check_integer(owner, "dense", dense, 0)
    most = check_integer(owner, "products", products, 1)
    if scale is not None:
        scale = check_number(owner, "scale", scale)
    with Objective(owner, fun, params).moving() as objective:
        return _judge(objective, Product(objective, hessp, step), scale, dense, most, rng, progress)


def _judge(
    objective: Objective, product: Product, scale: float | None, dense: int, most: int, rng: Any, progress: Progress
) -> CriticalPoint:  # fmt: skip
    n = objective.n
    loss, g = objective.start()
    whole = n <= dense
    with reporting(progress, "curvature", n if whole else most) as tell:
        if whole:
            hessian = np.empty((n, n))
            for i in range(n):
                hessian[i] = product(np.eye(1, n, i)[0])
                tell(i + 1)
            values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
            low_vector, bound = vectors[:, 0], 0.0
        else:
            start = np.random.default_rng(rng).standard_normal(n)
            ends = lanczos(product, n, start, tol=max(product.noise, 1e-6), most=most, tell=tell)
            values, low_vector = ends.values, ends.low
            bound = float(max(ends.bounds[0], ends.bounds[-1]))
    low, high = float(values[0]), float(values[-1])
    size = max(abs(low), abs(high))
    error = max(bound, product.noise * size)
    distance, unexplained = _distance(g, values, vectors, error) if whole else _minres(g, product, n, most)

    norm = float(np.linalg.norm(g))
    negative = int((values < -error).sum())
    positive = int((values > error).sum())
    matters = abs(loss) if scale is None else scale
    length = objective.length
    change = norm * length + size * length**2 / 2
    if change <= FLAT * matters:
        kind = "plateau"
    elif norm > error * length and not (distance <= NEAR * length and unexplained <= 0.1 * norm):
        kind = "none"
    elif negative and positive:
        kind = "saddle"
    elif negative:
        kind = "maximum"
    else:
        kind = "minimum" if low > error else "degenerate"
    if unexplained > 0.1 * norm:
        distance = math.inf
    if high < -error:  # all of them are, also those that Lanczos' method has not seen
        negative = n
    index = negative if whole or negative in (0, n) or len(values) == n else None
    about = "" if index is not None else "at least "
    count = f"{about}{negative} of {n} directions"
    spelled_g = f"the gradient's norm is {number(norm)}"
    verdict = {
        "plateau": f"A plateau: neither slope ({spelled_g}) nor curvature (at most {number(size)}) change the loss "
        f"by more than {number(change)} over a length of {number(length)}.",
        "none": f"No critical point: {spelled_g}, and "
        + (
            "the slope has no curvature to end it."
            if math.isinf(distance)
            else f"the stationary point of the quadratic model is {number(distance)} away."
        ),
        "saddle": f"A saddle: {count} curve down, the strongest by {number(low)}; `escape` steps along it.",
        "maximum": f"A maximum: no direction curves up, {count} curve down, the strongest by {number(low)}.",
        "minimum": f"A local minimum: {spelled_g}, and every curvature is positive, the smallest {number(low)}.",
        "degenerate": f"A critical point without negative curvature, where {n - positive if whole else 'some'} of {n} "
        "directions are flat to second order.",
    }[kind]
    sign = -1.0 if float(g @ low_vector) > 0 else 1.0
    return CriticalPoint(
        question="critical point", source="8.2.2, 8.2.3", trouble=kind in ("saddle", "maximum", "plateau"),
        number=norm, verdict=verdict, kind=kind, loss=loss, grad_norm=norm, low=low, high=high, error=error,
        index=index, least_index=negative, distance=distance, eigenvalues=values, direction=sign * low_vector,
    )  # fmt: skip


def _distance(g: np.ndarray, values: np.ndarray, vectors: np.ndarray, error: float) -> tuple[float, float]:
    """``|H^+ g|`` and the norm of what of g lies in directions without curvature."""
    parts = vectors.T @ g
    curved = np.abs(values) > error
    return float(np.linalg.norm(parts[curved] / values[curved])), float(np.linalg.norm(parts[~curved]))


def _minres(g: np.ndarray, product: Product, n: int, most: int) -> tuple[float, float]:
    """The same from products alone."""
    from scipy.sparse.linalg import LinearOperator, minres

    if not g.any():
        return 0.0, 0.0
    p, _ = minres(
        LinearOperator((n, n), matvec=product, dtype=np.float64), -g, rtol=1e-3, maxiter=min(most, 5 * n)
    )
    return float(np.linalg.norm(p)), float(np.linalg.norm(product(p) + g))
