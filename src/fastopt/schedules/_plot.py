"""A picture of schedules. matplotlib is imported only here, and only when a picture is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from textwrap import shorten
from typing import Any

import numpy as np

from fastopt._checks import check_integer
from fastopt.schedules._base import ScheduleLike, as_schedule

# Okabe and Ito's colours, which colour-blind readers can tell apart; the dashes help in print.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
_POINTS = 4000


def plot(
    *schedules: ScheduleLike,
    steps: int,
    ax: Any = None,
    labels: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
) -> Any:
    """Draw schedules over the steps 1 to `steps`.

    Parameters
    ----------
    *schedules : float or callable
        At least one.
    steps : int
        >= 1. Beyond 4000 steps an even selection of them is evaluated.
    ax : matplotlib Axes, optional
        Where to draw; default a new figure.
    labels : sequence of str, optional
        One a schedule; default their ``repr``, shortened.
    path : path-like, optional
        Also write the picture there, in the format of the suffix.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        matplotlib is not installed.
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Examples
    --------
    >>> from fastopt.schedules import cosine, linear, plot
    >>> ax = plot(cosine(0.1, 1000), linear(0.1, steps=1000), steps=1200)  # doctest: +SKIP
    """
    if not schedules:
        raise TypeError("plot: no schedule came; at least one is wanted")
    steps = check_integer("plot", "steps", steps, 1)
    functions = [as_schedule("plot", f"schedules[{i}]", s) for i, s in enumerate(schedules)]
    names = [shorten(repr(f), 60, placeholder=" ...") for f in functions] if labels is None else list(labels)
    if len(names) != len(functions):
        raise ValueError(
            f"plot: {len(names)} labels and {len(functions)} schedules; one label each is wanted"
        )
    t = np.unique(np.linspace(1, steps, min(steps, _POINTS)).round().astype(np.int64)).tolist()
    curves = [[f(k) for k in t] for f in functions]

    if ax is None:
        ax = _new_axes(path)
    for i, (curve, name) in enumerate(zip(curves, names, strict=True)):
        ax.plot(
            t,
            curve,
            color=_COLOURS[i % len(_COLOURS)],
            linestyle=_DASHES[i // len(_COLOURS) % len(_DASHES)],
            linewidth=2.0,
            marker="o" if len(t) == 1 else None,
            label=name,
            zorder=3,
        )
    _dress(ax, steps, len(names))
    if path is not None:
        ax.figure.savefig(path, dpi=150, bbox_inches="tight")
    return ax


def _new_axes(path: object) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("schedules.plot needs matplotlib: pip install 'fastopt[cli]'") from error
    size = (8.0, 4.5)
    if path is not None:  # for a file alone no window system is asked, and pyplot keeps no figure
        return Figure(figsize=size, layout="constrained").add_subplot()
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def _dress(ax: Any, steps: int, count: int) -> None:
    ax.set_xlabel("step t")
    ax.set_ylabel("value")
    ax.set_xlim(1, max(steps, 2))
    ax.set_ylim(bottom=0.0)
    ax.grid(True, color="#dddddd", linewidth=0.7, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)
    # Whole numbers at the ticks: a power of ten above the axis would run into the legend.
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    # Above the axes a legend hides no curve, however many there are.
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.02),
        borderaxespad=0.0,
        frameon=False,
        ncols=2 if count > 3 else 1,
        fontsize="small",
    )
