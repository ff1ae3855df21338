"""The path of a run on its principal axes (Deep Learning, 8.2.7; Li et al., NeurIPS 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._parameters import check_params
from fastopt.diagnostics._answer import COLOURS, Answer, number
from fastopt.diagnostics._objective import tree_vector

__all__ = ["Trajectory", "trajectory"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Trajectory(Answer):
    """A run's path on its principal axes.

    Attributes
    ----------
    coordinates : ndarray, shape (k, 2)
        Of each snapshot, from the last one.
    axes : ndarray, shape (2, n)
        Orthonormal directions; zero where the path has fewer.
    explained : ndarray
        Share of the path's variance along each principal axis, descending.
    length : float
        Sum of the distances from snapshot to snapshot.
    straight : float
        Distance from the first to the last.
    """

    coordinates: np.ndarray
    axes: np.ndarray
    explained: np.ndarray
    length: float
    straight: float

    def _draw(self, ax: Any) -> None:
        x, y = self.coordinates.T
        ax.plot(x, y, color="#999999", linewidth=1.0, zorder=1)
        ax.scatter(x, y, c=np.arange(len(x)), cmap="viridis", s=16, zorder=2)
        ax.plot(x[0], y[0], "s", color=COLOURS[2], label="start")
        ax.plot(x[-1], y[-1], "o", color=COLOURS[1], label="end")
        shares = [f"{100 * s:.0f} %" for s in (*self.explained, 0.0, 0.0)[:2]]
        ax.set_xlabel(f"first axis ({shares[0]} of the variance)")
        ax.set_ylabel(f"second axis ({shares[1]})")
        ax.legend(frameon=False, fontsize=9)


def trajectory(snapshots: Sequence[Any]) -> Trajectory:
    """Project a run's path on its two principal axes.

    Parameters
    ----------
    snapshots : sequence of trees of ndarray
        Copies of the parameters along the run, in order: at least two. A list of vectors will do.

    Returns
    -------
    Trajectory
        `number` is the path's length over the straight distance. `trouble` where it is above 2 sqrt(k) for k
        steps between snapshots, twice that of a random walk: the run goes in circles.

    Raises
    ------
    TypeError, ValueError
        `snapshots` is not what is wanted.

    Notes
    -----
    A random walk of many parameters also looks like a curve on two axes that hold most of its variance (the first alone
    61 %; Antognini and Sohl-Dickstein, NeurIPS 2018): the shares alone prove no structure.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> path = fo.diagnostics.trajectory([np.array([t, 2 * t, 0.0]) for t in np.linspace(0, 1, 9)])
    >>> float(path.explained[0].round(6)), round(path.number, 6)
    (1.0, 1.0)
    """
    owner = "trajectory"
    if not isinstance(snapshots, (list, tuple, np.ndarray)) or len(snapshots) < 2:
        raise ValueError(
            f"{owner}: snapshots is {type(snapshots).__name__}; a sequence of two or more is wanted"
        )
    leaves, paths = check_params(snapshots[0], owner)
    rows = np.stack(
        [tree_vector(owner, f"snapshots[{i}]", s, leaves, paths) for i, s in enumerate(snapshots)]
    )
    if not np.isfinite(rows).all():
        raise ValueError(f"{owner}: snapshots hold Inf or NaN; finite numbers are wanted")
    length = float(np.linalg.norm(np.diff(rows, axis=0), axis=1).sum())
    straight = float(np.linalg.norm(rows[-1] - rows[0]))
    centred = rows - rows.mean(axis=0)
    # Through the small matrix of inner products: k by k, however many parameters there are.
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    total = values.sum()
    explained = values / total if total > 0 else values
    axes = np.zeros((2, rows.shape[1]))
    for i in range(min(2, len(values))):
        if values[i] > 1e-20 * max(total, 1e-300) and values[i] > 0:
            axes[i] = vectors[:, i] @ centred / math.sqrt(values[i])
            if axes[i] @ (rows[-1] - rows[0]) < 0:  # the end lies to the right of, and above, the start
                axes[i] = -axes[i]
    coordinates = (rows - rows[-1]) @ axes.T
    detour = length / straight if straight > 0 else (math.inf if length > 0 else 1.0)
    trouble = detour > 2 * math.sqrt(len(rows) - 1) and len(rows) > 4
    held = 100 * float(explained[:2].sum())
    verdict = (
        f"The path {'goes in circles: it ' if trouble else ''}is {number(detour)} times as long as the straight line; "
        f"two axes hold {held:.0f} % of its variance."
    )
    return Trajectory(
        question="path", source="8.2.7", trouble=trouble, number=detour, verdict=verdict, coordinates=coordinates,
        axes=axes, explained=explained, length=length, straight=straight,
    )  # fmt: skip
