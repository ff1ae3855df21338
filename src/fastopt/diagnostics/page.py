"""The report of a monitor: verdicts as text, one page of plots as PNG, and one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
import io
import math
import os
import tempfile
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._info import __version__
from fastopt.diagnostics._answer import COLOURS, Answer, dress, figure_class, number

if TYPE_CHECKING:
    from fastopt.diagnostics.monitor import Monitor

__all__ = ["Report"]

NAMED = 6  # paths that a panel names
#: Answers with a picture of their own, in the order in which the page takes them.
PICTURES = ("ill-conditioning", "critical point", "inexact gradients", "straight line", "path")


class Report:
    """What a monitor has to say.

    Attributes
    ----------
    answers : list of Answer
        All that were asked.
    troubles : list of Answer
        Those that hold the run back.
    text : str
        The verdicts, one a line with its number and section; or one line that there is none.
    """

    def __init__(self, monitor: Monitor, answers: list[Answer], title: str) -> None:
        self._monitor, self.answers, self.title = monitor, answers, title
        self.troubles = [answer for answer in answers if answer.trouble]

    @property
    def text(self) -> str:
        if not self.troubles:
            asked = f"{len(self.answers)} questions, {self._monitor.steps} steps"
            return f"Nothing found that holds the run back ({asked})."
        return "\n".join(f"[{a.source}] {a.question}: {a.verdict}" for a in self.troubles)

    def __str__(self) -> str:
        return self.text

    # ---- the page ----

    def figure(self) -> Any:
        """The page of plots, a matplotlib Figure."""
        figure_of = figure_class("Monitor.report")
        pictured = {a.question: a for a in self.answers}
        extra = [pictured[question] for question in PICTURES if question in pictured]
        rows = 2 + -(-len(extra) // 3)
        lines = [
            fill(f"{'•' if self.troubles else ''} {line}".strip(), 150, subsequent_indent="   ")
            for line in self.text.splitlines()
        ]
        count = sum(line.count("\n") + 1 for line in lines)
        head = 0.55 + 0.22 * count
        height = head + 3.1 * rows
        figure = figure_of(figsize=(13.0, height), layout="constrained")
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(rect=(0.0, 0.0, 1.0, 1.0 - head / height), hspace=0.06, wspace=0.04)
        figure.text(0.012, 1 - 0.12 / height, self.title, fontsize=15, weight="bold", va="top")
        colour = COLOURS[1] if self.troubles else COLOURS[2]
        # No text of a user is mathematics, though it hold two dollar signs.
        body = "\n".join(lines).replace("$", r"\$")
        figure.text(0.012, 1 - 0.45 / height, body, fontsize=10, va="top", color=colour, linespacing=1.25)
        axes = figure.subplots(rows, 3, squeeze=False).ravel()
        for ax, draw in zip(axes, (_loss, _norm, _tail, _updates, _cosines, _curvature), strict=False):
            draw(ax, self._monitor)
            dress(ax)
        for ax, answer in zip(axes[6:], extra, strict=False):
            answer.plot(ax)
            ax.set_title(f"{answer.question} ({answer.source})", fontsize=11, loc="left")
        for ax in axes[6 + len(extra) :]:
            ax.set_axis_off()
        return figure

    def png(self) -> bytes:
        """The page as a PNG file."""
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png", dpi=110, metadata={"Software": "fastopt"})
        return buffer.getvalue()

    def html(self, picture: bytes | None = None) -> str:
        """The report as one HTML file: text escaped, the picture inside, nothing loaded from anywhere."""
        image = base64.b64encode(self.png() if picture is None else picture).decode()
        cells = []
        for a in sorted(self.answers, key=lambda a: not a.trouble):
            mark = ' class="trouble"' if a.trouble else ""
            row = (a.question, a.source, number(a.number), a.verdict)
            cells.append(f"<tr{mark}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>")
        found = (
            f"{len(self.troubles)} of {len(self.answers)} questions found trouble"
            if self.troubles
            else f"Nothing found that holds the run back ({len(self.answers)} questions)"
        )
        return PAGE.format(
            title=html.escape(self.title), found=html.escape(found), steps=self._monitor.steps,
            rows="\n".join(cells), image=image, version=html.escape(__version__),
        )  # fmt: skip

    def write(self, folder: Path, name: str = "diagnosis") -> list[Path]:
        """Both files, each whole or not at all."""
        if not folder.is_dir():
            raise FileNotFoundError(f"Monitor.report: there is no folder {str(folder)!r}")
        picture = self.png()
        page = self.html(picture).encode()
        paths = [folder / f"{name}.png", folder / f"{name}.html"]
        for path, data in zip(paths, (picture, page), strict=True):
            _replace(path, data)
        return paths


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="fastopt {version}">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border-bottom: 1px solid #ddd; padding: .35em .8em .35em 0; text-align: left; vertical-align: top; }}
td:nth-child(2), td:nth-child(3) {{ white-space: nowrap; }}
tr.trouble td {{ color: #a33c00; font-weight: 600; }}
img {{ max-width: 100%; margin-top: 1.5em; }}
footer {{ color: #777; margin-top: 1em; font-size: 13px; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{found}, after {steps} steps.</p>
<table>
<thead><tr><th>Question</th><th>Section</th><th>Number</th><th>Verdict</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
<img alt="Plots of the run" src="data:image/png;base64,{image}">
<footer>fastopt {version}; sections are those of Deep Learning (Goodfellow, Bengio, Courville), chapter 8.</footer>
</body>
</html>
"""


def _replace(path: Path, data: bytes) -> None:
    """Write by way of a temporary file beside it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes it private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# ---- panels ----


def _empty(ax: Any, why: str) -> None:
    ax.text(0.5, 0.5, why, transform=ax.transAxes, ha="center", va="center", color="#777777", fontsize=10)
    ax.set_xticks([])
    ax.set_yticks([])


def _head(ax: Any, title: str, label: str) -> None:
    ax.set_title(title, fontsize=11, loc="left")
    ax.set_ylabel(label)
    ax.set_xlabel("step")


def _band(ax: Any, monitor: Monitor, name: str, colour: str, label: str) -> bool:
    """Mean, least and greatest of each bin; a logarithmic axis where the values span it. False without any."""
    series = monitor._series
    mean = series.mean(name)
    if not np.isfinite(mean).any():
        return False
    at = monitor._first + series.at
    low, high = series.column(f"{name}_min"), series.column(f"{name}_max")
    marker = "." if len(at) < 3 else None
    if (high > low).any():
        ax.fill_between(at, low, high, color=colour, alpha=0.2, linewidth=0, label="least to greatest")
    ax.plot(at, mean, color=colour, linewidth=1.6, marker=marker, label=label)
    with np.errstate(invalid="ignore"):
        if np.nanmin(low) > 0 and np.nanmax(high) > 5 * np.nanmin(low):
            ax.set_yscale("log")
    return True


def _loss(ax: Any, monitor: Monitor) -> None:
    _head(ax, "Loss", "loss")
    if not _band(ax, monitor, "loss", COLOURS[0], "mean"):
        _empty(ax, "no loss was told:\nmonitor.step(grads, loss=loss)")
        return
    ax.legend(frameon=False, fontsize=8)


def _norm(ax: Any, monitor: Monitor) -> None:
    tails = monitor.tails()
    _head(ax, "Gradient norm", "norm, before clipping")
    if not _band(ax, monitor, "norm", COLOURS[2], "mean"):
        _empty(ax, 'the optimizer tells no norm:\nnonfinite="raise" or diagnostics=True')
        return
    if tails.crossings:
        series = monitor._series
        bins = np.clip((np.array(tails.crossings) - monitor._first - 1) // series.width, 0, series.bins - 1)
        ax.plot(tails.crossings, series.column("norm_max")[bins], "v", color=COLOURS[1], label="cliff")
    ax.legend(frameon=False, fontsize=8)


def _tail(ax: Any, monitor: Monitor) -> None:
    tails = monitor.tails()
    finite = tails.worst[np.isfinite(tails.worst) & (tails.worst > 0)]
    if finite.size < 3:
        _head(ax, "Spread of the norm", "")
        _empty(ax, "too few gradient norms")
        return
    tails._draw(ax)
    clipped = f", {100 * tails.clip_rate:.0f} % clipped" if tails.clip_rate else ""
    index = "" if math.isnan(tails.index) else f": tail index {number(tails.index)}"
    ax.set_title(f"Spread of the norm{index}{clipped}", fontsize=11, loc="left")


def _updates(ax: Any, monitor: Monitor) -> None:
    _head(ax, "Updates", "update over parameter norm")
    ratio = monitor._series.path_mean("update_ratio") if monitor._series.bins else np.empty((0, 0))
    shown = np.where(ratio > 0, ratio, np.nan)
    if not np.isfinite(shown).any():
        _empty(ax, "path by path with\nan optimizer of diagnostics=True")
        return
    at = monitor._first + monitor._series.at
    _lines(ax, at, shown, monitor._paths)
    ax.axhline(1e-3, color="#777777", linestyle=":", linewidth=1.0)
    ax.set_yscale("log")
    if shown.shape[1] > 1:
        ax.legend(frameon=False, fontsize=8, ncols=2)


def _cosines(ax: Any, monitor: Monitor) -> None:
    _head(ax, "Gradient against momentum", "cosine")
    cosine = monitor._series.path_mean("cosine") if monitor._series.bins else np.empty((0, 0))
    if not np.isfinite(cosine).any():
        _empty(ax, "needs a method with momentum\nand diagnostics=True")
        return
    _lines(ax, monitor._first + monitor._series.at, cosine, monitor._paths)
    ax.axhline(0.0, color="black", linewidth=0.8)
    ax.set_ylim(-1.05, 1.05)
    if cosine.shape[1] > 1:
        ax.legend(frameon=False, fontsize=8, ncols=2)


def _lines(ax: Any, at: np.ndarray, curves: np.ndarray, paths: list[str]) -> None:
    """A line a path; of many, the first few are named and the others grey."""
    marker = "." if len(at) < 3 else None
    for i in range(curves.shape[1]):
        named = i < NAMED
        told = ~np.isnan(curves[:, i])  # diagnostics gathered now and then leave bins without
        ax.plot(
            at[told], curves[told, i], color=COLOURS[i] if named else "#CCCCCC", linewidth=1.2, marker=marker,
            label=(paths[i] or "params").replace("$", r"\$") if named else "others" if i == NAMED else None,
            zorder=3 - 0.1 * i if named else 1,
        )  # fmt: skip


def _curvature(ax: Any, monitor: Monitor) -> None:
    _head(ax, "Curvature along the gradient", "")
    probes = monitor._probes
    if not len(probes):
        _empty(ax, "no probe was taken:\nmonitor.probe(fun)")
        return
    step, _, gg, ghg, lr = probes.T
    mark = "o" if len(step) < 30 else None
    ax.plot(
        step, np.where(gg > 0, gg, np.nan), color=COLOURS[0], marker=mark, markersize=4, label="$g^\\top g$"
    )
    ax.plot(
        step,
        np.where(ghg > 0, ghg, np.nan),
        color=COLOURS[1],
        marker=mark,
        markersize=4,
        label="$g^\\top H g$",
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        beyond = lr * ghg > 2 * gg
    if beyond.any():
        first = step[np.flatnonzero(beyond)[0]]
        ax.plot(
            step[beyond], np.where(ghg > 0, ghg, np.nan)[beyond], "x", color="black", markersize=6,
            label=f"second order outweighs (from step {first:.0f})",
        )  # fmt: skip
    if (gg > 0).any() or (ghg > 0).any():
        ax.set_yscale("log")
    ax.legend(frameon=False, fontsize=8)
