"""The pictures, drawn without a display: one run, many optimizers side by side, cost per parameter."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastopt.cli.errors import need
from fastopt.cli.files import PNG_OWNER
from fastopt.cli.training import History

__all__ = ["curve", "comparison", "updates"]

# Okabe and Ito's colours, told apart with every common kind of colour blindness; without their yellow, too
# light for lines.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES: list[Any] = ["-", (0, (5, 2)), (0, (1.5, 1.5))]


def _figure(width: float, height: float, panels: int, **share: Any) -> tuple[Any, Any]:
    need("matplotlib", "drawing the picture")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False, **share)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(True, color="#E4E4E4", linewidth=0.7)
        ax.set_axisbelow(True)
    return figure, axes


def _plain_ticks(ax: Any) -> None:
    """Numbers as one reads them on a logarithmic y axis that spans a few decades at most."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.get_ylim()
    subs = (
        (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if high < 20 * low else (1.0, 2.0, 5.0) if high < 1e3 * low else (1.0,)
    )
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": PNG_OWNER.decode()})
    return buffer.getvalue()


def curve(history: History, classes: bool, title: str, test: str, unit: str) -> bytes:
    """Loss, and accuracy or RMSE, against epochs; the epoch whose weights were kept is marked."""
    figure, (left, right) = _figure(10.0, 4.2, 2)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    epochs = np.arange(1, len(history.validation) + 1)
    marker = "o" if len(epochs) < 3 else None
    left.plot(epochs, history.losses[: len(epochs)], color=COLOURS[0], marker=marker, label="training")
    left.plot(
        epochs, [s.loss for s in history.validation], color=COLOURS[1], marker=marker, label="validation"
    )
    values = [100 * s.accuracy if classes else s.rmse for s in history.validation]
    right.plot(epochs, values, color=COLOURS[1], marker=marker, label="validation")
    if history.best is not None:
        best = history.best
        for ax, height in ((left, history.validation[best].loss), (right, values[best])):
            ax.plot(
                best + 1,
                height,
                "o",
                color=COLOURS[2],
                markersize=7,
                zorder=5,
                label=f"kept (epoch {best + 1})",
            )
    left.set_yscale("log")
    left.set_ylabel("loss")
    left.set_title("Loss", fontsize=11, loc="left")
    right.set_ylabel("accuracy, %" if classes else f"RMSE, in units of {unit}")
    right.set_title(("Accuracy" if classes else "Error") + f" ({test})", fontsize=11, loc="left")
    for ax in (left, right):
        ax.set_xlabel("epoch")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(frameon=False, fontsize=9)
    return _png(figure)


def comparison(runs: Sequence[tuple[str, Sequence[History]]], title: str) -> bytes:
    """Lowest validation loss so far against epochs and seconds, as the table counts it.

    Lines are the median of the seeds, bands reach from the best seed to the worst.
    """
    figure, (left, right) = _figure(13.0, 5.6, 2, sharey=True)
    figure.suptitle(title, fontsize=12, x=0.01, ha="left")
    lows, highs, ends = [], [], []
    for number, (name, histories) in enumerate(runs):
        losses = np.array([[s.loss for s in history.validation] for history in histories])
        losses = np.minimum.accumulate(losses, axis=1)
        seconds = np.median([history.seconds for history in histories], axis=0)
        middle = np.median(losses, axis=0)
        style: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
            "linewidth": 1.6,
        }
        for ax, x in ((left, np.arange(1, losses.shape[1] + 1)), (right, seconds)):
            ax.plot(x, middle, label=name, marker="o" if len(x) == 1 else None, **style)
            ax.fill_between(
                x, losses.min(axis=0), losses.max(axis=0), color=style["color"], alpha=0.07, linewidth=0
            )
        lows.append(losses.min())
        highs.append(middle[0])
        ends.append(middle[-1])
    # High enough for most beginnings, and for the end of every line.
    left.set_ylim(0.9 * min(lows), max(1.3 * float(np.quantile(highs, 0.9)), 1.2 * max(ends)))
    left.set_yscale("log")
    _plain_ticks(left)
    left.set_ylabel("lowest validation loss so far")
    left.set_xlabel("epochs")
    left.set_title("The same number of passes over the data", fontsize=11, loc="left")
    left.xaxis.get_major_locator().set_params(integer=True)
    right.set_xlabel("seconds of training")
    right.set_xlim(left=0.0)
    right.set_title("The same time", fontsize=11, loc="left")
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside right center",
        frameon=False,
        fontsize=9,
        title="best first",
    )
    return _png(figure)


def updates(rows: Sequence[dict[str, Any]], title: str) -> bytes:
    """Nanoseconds per parameter against the number of parameters; the floor is black and dotted."""
    figure, (ax,) = _figure(9.0, 5.2, 1)
    ax.set_title(title, fontsize=12, loc="left")
    names = list(dict.fromkeys(str(row["contestant"]) for row in rows))
    others = [name for name in names if "floor" not in name.lower()]
    for name in names:
        points = sorted((row["size"], row["ns_per_parameter"]) for row in rows if row["contestant"] == name)
        x, y = zip(*points, strict=True)
        if name in others:
            number = others.index(name)
            style: dict[str, Any] = {
                "color": COLOURS[number % (len(COLOURS) - 1)],
                "linestyle": DASHES[number // (len(COLOURS) - 1) % 3],
                "marker": "o",
            }
        else:
            style = {
                "color": "#000000" if "twice" not in name else "#888888",
                "linestyle": ":",
                "linewidth": 2.0,
            }
        ax.plot(x, y, label=name, markersize=4, **style)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("parameters")
    ax.set_ylabel("ns per parameter and step (less is better)")
    figure.legend(
        *ax.get_legend_handles_labels(),
        loc="outside right center",
        frameon=False,
        fontsize=9,
        handlelength=3.2,
    )
    return _png(figure)
