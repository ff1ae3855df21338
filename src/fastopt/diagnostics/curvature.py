"""Ill-conditioning (Deep Learning, 8.2.1): the gradient against its curvature, and against the ends of the spectrum.

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
from fastopt._progress import Progress
from fastopt.diagnostics._answer import COLOURS, Answer, number
from fastopt.diagnostics._objective import Objective
from fastopt.diagnostics.hessian import ILL, Product, Spectrum, spectrum_by

__all__ = ["Conditioning", "Curvature", "conditioning", "curvature", "curvature_of"]

FAR = 100.0  # times the parameters' size: further than any valley's bottom


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
        self.curvature._draw(ax)


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
        spectrum = spectrum_by(product, objective.n, product.noise, None, most, rng, progress)
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
