"""What every question gets: a number, a sentence, a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

__all__ = ["COLOURS", "Answer", "both_ways", "dress", "figure_class", "new_axes", "number"]

# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Answer:
    """One question about a run, answered.

    Attributes
    ----------
    question : str
        What was asked, in a word or two: ``"ill-conditioning"``.
    source : str
        Section of the book that the question comes from: ``"8.2.1"``.
    trouble : bool
        Whether this holds the run back. A report speaks of troubles only.
    number : float
        The number that decided.
    verdict : str
        One sentence.
    """

    question: str
    source: str
    trouble: bool
    number: float
    verdict: str

    def plot(self, ax: Any = None, path: str | os.PathLike[str] | None = None) -> Any:
        """Draw the answer.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where; default a new figure.
        path : path-like, optional
            Also write the picture there, in the format of the suffix.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            matplotlib is not installed.
        """
        if ax is None:
            ax = new_axes(f"{type(self).__name__}.plot", path)
        self._draw(ax)
        dress(ax)
        if path is not None:
            ax.figure.savefig(path, dpi=150, bbox_inches="tight")
        return ax

    def _draw(self, ax: Any) -> None:
        raise NotImplementedError

    def __str__(self) -> str:
        return self.verdict

    def __repr__(self) -> str:
        mark = "trouble" if self.trouble else "no trouble"
        return f"{type(self).__name__}({self.question}: {number(self.number)}, {mark}: {self.verdict})"


def number(x: float) -> str:
    """A number as a sentence has it: three digits, powers of ten where they are shorter."""
    return f"{x:.3g}"


def figure_class(owner: str) -> Any:
    """matplotlib's Figure, or an ImportError that says who needs it and how to get it."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"{owner} needs matplotlib: pip install 'fastopt[cli]'") from error
    return Figure


def new_axes(owner: str, path: object = None, size: tuple[float, float] = (7.0, 4.2)) -> Any:
    """Axes of a new figure. For a file alone no window system is asked, and pyplot keeps no figure."""
    figure = figure_class(owner)
    if path is not None:
        return figure(figsize=size, layout="constrained").add_subplot()
    from matplotlib import pyplot

    return pyplot.subplots(figsize=size, layout="constrained")[1]


def both_ways(axis: Any, least: float) -> None:
    """A logarithmic axis to both sides of zero, linear below `least`, with room between its ticks."""
    getattr(axis.axes, f"set_{axis.axis_name}scale")("symlog", linthresh=least, linscale=1.5)
    axis.get_major_locator().set_params(numticks=6)


def dress(ax: Any) -> None:
    """The looks that all pictures share."""
    ax.grid(True, color="#E4E4E4", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
