"""Local against global structure (Deep Learning, 8.2.7): the loss along a line and over a plane.

The straight line from start to end is Goodfellow, Vinyals and Saxe's (ICLR 2015); planes along random directions
normalised filter by filter are Li et al.'s (NeurIPS 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import check_integer
from fastopt._progress import Progress, reporting
from fastopt.diagnostics._answer import COLOURS, Answer, number
from fastopt.diagnostics._objective import Objective

__all__ = ["Plane", "StraightLine", "plane", "straight_line"]

HILL = 0.05  # a hill on the line, as a share of what the loss fell by


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class StraightLine(Answer):
    """The loss along the straight line between two points.

    Attributes
    ----------
    t : ndarray, shape (points,)
        From 0, the start, to 1, the end.
    losses : ndarray, shape (points,)
        inf and NaN where the loss has them.
    hill : float
        How far the highest point of the line is above both its ends.
    hill_at : float
        Where that is.
    fall : float
        Loss at the start minus loss at the end.
    """

    t: np.ndarray
    losses: np.ndarray
    hill: float
    hill_at: float
    fall: float

    def _draw(self, ax: Any) -> None:
        ax.plot(self.t, self.losses, color=COLOURS[0], marker=".", markersize=3)
        ax.plot(
            [0.0, 1.0],
            [self.losses[0], self.losses[-1]],
            "o",
            color=COLOURS[2],
            label="start (0) and end (1)",
        )
        if self.trouble and math.isfinite(self.hill):
            ax.plot(
                self.hill_at,
                max(self.losses[0], self.losses[-1]) + self.hill,
                "v",
                color=COLOURS[1],
                label="top of the hill",
            )
        ax.set_xlabel("share of the straight line")
        ax.set_ylabel("loss")
        ax.legend(frameon=False, fontsize=9)


def straight_line(
    fun: Callable[..., Any],
    params: Any,
    start: Any,
    end: Any = None,
    *,
    points: int = 51,
    progress: Progress = False,
) -> StraightLine:
    """The loss along the straight line from where a run started to where it is.

    Parameters
    ----------
    fun : callable
        ``fun(params) -> loss`` or ``(loss, grads)``. It may read the arrays of `params` themselves.
    params : tree of ndarray
        Moved in place along the line, and put back bit for bit.
    start, end : tree like params
        Copies taken earlier; `end` by default `params` as they are.
    points : int, default 51
        Evaluations, the ends included; at least 3.
    progress : bool or callable, default False

    Returns
    -------
    StraightLine
        `number` is the hill over the fall. `trouble` where that is above 0.05: local descent had to find its way
        around what lies between.

    Raises
    ------
    TypeError, ValueError
        An argument, or what the function gives, is not what is wanted.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> x = np.array([1.0])
    >>> line = fo.diagnostics.straight_line(lambda x: float(x[0] ** 4 - x[0] ** 2 - 0.2 * x[0]), x, np.array([-0.7]))
    >>> line.trouble
    True
    """
    owner = "straight_line"
    points = check_integer(owner, "points", points, 3)
    with Objective(owner, fun, params).moving() as o:
        a = o.vector(start, "start")
        b = o.x if end is None else o.vector(end, "end")
        t = np.linspace(0.0, 1.0, points)
        losses = np.empty(points)
        with reporting(progress, "line", points) as tell, np.errstate(over="ignore", invalid="ignore"):
            for i, s in enumerate(t):
                losses[i] = o.loss((1 - s) * a + s * b - o.x)
                tell(i + 1, loss=losses[i])
    return line_of(t, losses)


def line_of(t: np.ndarray, losses: np.ndarray) -> StraightLine:
    first, last = float(losses[0]), float(losses[-1])
    fall = first - last
    heights = np.where(np.isnan(losses), math.inf, losses)
    top = int(heights.argmax())
    hill = max(0.0, float(heights[top]) - max(first, last)) if 0 < top < len(t) - 1 else 0.0
    if math.isnan(first) or math.isnan(last):
        hill = math.nan
    share = hill / abs(fall) if fall else (math.inf if hill > 0 else 0.0)
    trouble = share > HILL
    if trouble:
        verdict = (
            f"Between start and end lies a hill: the straight line rises {number(hill)} above both ends, "
            f"{number(share)} times what the loss fell by."
        )
    elif math.isnan(share):
        verdict = "The loss is not finite at an end of the line."
    else:
        verdict = f"The straight line from start to end has no hill; the loss falls by {number(fall)}."
    return StraightLine(
        question="straight line", source="8.2.7", trouble=trouble, number=share, verdict=verdict, t=t, losses=losses,
        hill=hill, hill_at=float(t[top]), fall=fall,
    )  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Plane(Answer):
    """The loss over a two-dimensional slice.

    Attributes
    ----------
    x, y : ndarray, shape (points,)
        Coordinates along the two directions; 0 is where the parameters are.
    losses : ndarray, shape (points, points)
        ``losses[i, j]`` at ``(x[j], y[i])``.
    basins : int
        Points inside that are lower than all eight neighbours.
    directions : ndarray, shape (2, n)
    path : ndarray, shape (k, 2), or None
        Drawn over the slice.
    """

    x: np.ndarray
    y: np.ndarray
    losses: np.ndarray
    basins: int
    directions: np.ndarray
    path: np.ndarray | None

    def _draw(self, ax: Any) -> None:
        z = np.where(np.isfinite(self.losses), self.losses, np.nan)
        low, high = np.nanmin(z), np.nanmax(z)
        if high > low:
            # Levels even in the root of the height: narrow where it matters, at the bottom.
            levels = low + (high - low) * np.linspace(0.0, 1.0, 24) ** 2
            filled = ax.contourf(self.x, self.y, z, levels=levels, cmap="viridis_r")
            ax.contour(self.x, self.y, z, levels=levels, colors="white", linewidths=0.3)
            ax.figure.colorbar(filled, ax=ax, label="loss", format="%.3g")
        if self.path is not None:
            ax.plot(*self.path.T, color="black", linewidth=1.2, marker=".", markersize=4, label="path")
        ax.plot(0.0, 0.0, "o", color=COLOURS[1], label="here")
        ax.set_xlabel("first direction")
        ax.set_ylabel("second direction")
        ax.legend(frameon=False, fontsize=9, loc="upper right")


def plane(
    fun: Callable[..., Any],
    params: Any,
    *,
    directions: Any = None,
    reach: float | Sequence[float] = 1.0,
    points: int = 25,
    axis: int = -1,
    rng: Any = 0,
    path: np.ndarray | None = None,
    progress: Progress = False,
) -> Plane:
    """The loss over a plane through the parameters, along random directions normalised filter by filter.

    Each filter d of a direction is scaled to the norm of the filter w of the parameters in its place,
    ``d *= |w| / |d|``, so that networks that differ in scale alone have one picture; vectors (biases, scales of
    normalisation) stand still.

    Parameters
    ----------
    fun, params
        As for `straight_line`.
    directions : two trees like params or two vectors, optional
        Other directions, taken as they are: e.g. the axes of a `Trajectory`.
    reach : float or (low x, high x, low y, high y), default 1
        How far the plane goes each way.
    points : int, default 25
        Along each direction; ``points ** 2`` evaluations.
    axis : int, default -1
        The axis of a matrix or kernel that counts filters: the last for weights of shape (in, out).
    rng : default 0
        Of the directions.
    path : ndarray, shape (k, 2), optional
        Coordinates to draw over it.
    progress : bool or callable, default False

    Returns
    -------
    Plane
        `number` counts the basins; `trouble` where there are several.

    Raises
    ------
    TypeError, ValueError
        An argument, or what the function gives, is not what is wanted.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> fo.diagnostics.plane(lambda w: float((w ** 2).sum()), np.ones((3, 2)), points=11).losses.shape
    (11, 11)
    """
    owner = "plane"
    points = check_integer(owner, "points", points, 3)
    try:
        ends = np.asarray(reach, np.float64)
    except (TypeError, ValueError):
        ends = np.empty(0)
    ends = np.array([-1.0, 1.0, -1.0, 1.0]) * abs(ends) if ends.ndim == 0 else ends
    if ends.shape != (4,) or not np.isfinite(ends).all() or not (ends[0] < ends[1] and ends[2] < ends[3]):
        raise ValueError(
            f"{owner}: reach is {reach!r}; a number above 0 or (low x, high x, low y, high y) is wanted"
        )
    with Objective(owner, fun, params).moving() as o:
        if directions is None:
            generator = np.random.default_rng(rng)
            pair = np.stack([_filter_direction(o, axis, generator) for _ in range(2)])
        else:
            if not isinstance(directions, (list, tuple, np.ndarray)) or len(directions) != 2:
                raise ValueError(
                    f"{owner}: directions is {type(directions).__name__}; two directions are wanted"
                )
            pair = np.stack([_direction(o, d, f"directions[{i}]") for i, d in enumerate(directions)])
        x, y = np.linspace(ends[0], ends[1], points), np.linspace(ends[2], ends[3], points)
        losses = np.empty((points, points))
        with (
            reporting(progress, "plane", points * points) as tell,
            np.errstate(over="ignore", invalid="ignore"),
        ):
            for i in range(points):
                for j in range(points):
                    losses[i, j] = o.loss(x[j] * pair[0] + y[i] * pair[1])
                    tell(i * points + j + 1)
    basins = _basins(losses)
    verdict = (
        f"The slice has {basins} basins: what goes down here need not go where it is lowest."
        if basins > 1
        else f"The slice has {'one basin' if basins else 'no basin inside'}; the loss spans "
        f"{number(float(np.nanmin(losses)))} to {number(float(np.nanmax(losses)))}."
    )
    return Plane(
        question="plane", source="8.2.7", trouble=basins > 1, number=float(basins), verdict=verdict, x=x, y=y,
        losses=losses, basins=basins, directions=pair, path=None if path is None else np.asarray(path, np.float64),
    )  # fmt: skip


def _filter_direction(o: Objective, axis: int, rng: np.random.Generator) -> np.ndarray:
    parts = []
    for leaf, path in zip(o.leaves, o.paths, strict=True):
        d = rng.standard_normal(leaf.shape)
        if leaf.ndim < 2:
            parts.append(np.zeros(leaf.size))
            continue
        if not -leaf.ndim <= axis < leaf.ndim:
            raise ValueError(
                f"plane: axis is {axis} and params[{path!r}] has {leaf.ndim} axes; one of them is wanted"
            )
        others = tuple(i for i in range(leaf.ndim) if i != axis % leaf.ndim)
        w = np.sqrt((leaf.astype(np.float64) ** 2).sum(axis=others, keepdims=True))
        parts.append((d * (w / np.sqrt((d * d).sum(axis=others, keepdims=True)))).ravel())
    out = np.concatenate(parts)
    if not out.any():
        raise ValueError(
            "plane: params holds no matrix that is not zero; give directions, such are not made up for it"
        )
    return out


def _direction(o: Objective, d: Any, name: str) -> np.ndarray:
    if isinstance(d, np.ndarray) and d.shape == (o.n,) and d.dtype.kind in "fiu":
        return d.astype(np.float64)
    return o.vector(d, name)


def _basins(losses: np.ndarray) -> int:
    """Grid points inside that are lower than their neighbours, by more than rounding."""
    z = np.where(np.isnan(losses), math.inf, losses)
    inside = z[1:-1, 1:-1]
    finite = z[np.isfinite(z)]
    margin = 1e-9 * float(np.ptp(finite)) if finite.size else 0.0
    lower = np.isfinite(inside)
    n = z.shape[0]
    for di in (0, 1, 2):
        for dj in (0, 1, 2):
            if (di, dj) != (1, 1):
                lower &= inside < z[di : n - 2 + di, dj : n - 2 + dj] - margin
    return int(lower.sum())
