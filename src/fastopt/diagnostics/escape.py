"""A step along negative curvature, away from a saddle (Deep Learning, 8.2.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt.diagnostics._answer import COLOURS, Answer, number
from fastopt.diagnostics._objective import Objective
from fastopt.diagnostics.critical import CriticalPoint, critical_point

__all__ = ["Escape", "escape"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Escape(Answer):
    """A step along negative curvature.

    Attributes
    ----------
    moved : bool
        The parameters were moved; if not, they are bit for bit what they were.
    before, after : float
        The loss.
    step : float
        Length of the step.
    curvature : float
        Along the direction.
    direction : ndarray, shape (n,)
        Its unit vector.
    """

    moved: bool
    before: float
    after: float
    step: float
    curvature: float
    direction: np.ndarray

    def _draw(self, ax: Any) -> None:
        t = np.linspace(0.0, 1.2 * self.step if self.step else 1.0, 100)
        ax.plot(t, self.before + self.curvature * t**2 / 2, color=COLOURS[0], label="quadratic model")
        ax.plot([0.0, self.step], [self.before, self.after], "o", color=COLOURS[1], label="loss")
        ax.set_xlabel("step along negative curvature")
        ax.set_ylabel("loss")
        ax.legend(frameon=False, fontsize=9)


def escape(
    fun: Callable[..., Any],
    params: Any,
    *,
    point: CriticalPoint | None = None,
    hessp: Callable[..., Any] | None = None,
    step: float | None = None,
    products: int = 200,
    rng: Any = 0,
) -> Escape:
    """Step away from a saddle along the direction of most negative curvature, in place.

    The first length tried is a hundredth of ``max(1, |x|)``, both ways, down to a millionth of that; then it is
    doubled for as long as the loss falls, and lengthened by half if that is lower still.

    Parameters
    ----------
    fun, params, hessp, step, products, rng
        As for `critical_point`; `params` are moved.
    point : CriticalPoint, optional
        What `critical_point` found here, so that the direction need not be found again.

    Returns
    -------
    Escape
        `trouble` where the parameters could not be moved: no negative curvature, or no lower loss along it.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As `critical_point`; the parameters are as they were.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> def fun(x):
    ...     return x[0] ** 2 - x[1] ** 2 + x[1] ** 4, np.array([2 * x[0], -2 * x[1] + 4 * x[1] ** 3])
    >>> x = np.zeros(2)
    >>> out = fo.diagnostics.escape(fun, x)
    >>> out.moved, out.after < -0.2
    (True, True)
    """
    owner = "escape"
    if point is None:
        point = critical_point(fun, params, hessp=hessp, step=step, products=products, rng=rng, scale=0.0)
    elif not isinstance(point, CriticalPoint):
        raise TypeError(f"{owner}: point is {type(point).__name__}; what critical_point returned is wanted")
    objective = Objective(owner, fun, params)
    if point.direction.shape != (objective.n,):
        raise ValueError(
            f"{owner}: point is of {point.direction.size} parameters and params holds {objective.n}; they must agree"
        )
    found, after = 0.0, math.nan
    with objective.moving():
        before = objective.loss()
        if point.low < -point.error:
            found, after = _down(objective, point.direction, before)
    if found:
        objective.place(objective.x + found * point.direction)
    elif not math.isfinite(after):
        after = before
    curving = f"curvature {number(point.low)}"
    if found:
        verdict = (
            f"A step of {number(abs(found))} along {curving} lowers the loss by {number(before - after)}."
        )
    elif point.low < -point.error:
        verdict = f"No step along {curving} lowers the loss."
    else:
        verdict = f"There is no negative curvature: the smallest is {number(point.low)}."
    return Escape(
        question="escape", source="8.2.3", trouble=not found, number=before - after, verdict=verdict, moved=bool(found),
        before=before, after=after, step=abs(found), curvature=point.low,
        direction=np.copysign(1.0, found) * point.direction,
    )  # fmt: skip


def _down(objective: Objective, direction: np.ndarray, before: float) -> tuple[float, float]:
    """A signed step to a lower loss and that loss; 0 where none is found."""
    t = 1e-2 * objective.length
    for _ in range(7):
        for way in (t, -t):
            best = objective.loss(way * direction)
            if best < before:
                for _ in range(30):
                    further = objective.loss(2 * way * direction)
                    if not further < best:
                        break
                    way, best = 2 * way, further
                between = objective.loss(1.5 * way * direction)
                return (1.5 * way, between) if between < best else (way, best)
        t /= 10
    return 0.0, before
