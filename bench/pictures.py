"""Pictures of a run of bench.update: nanoseconds per parameter against size, the memory floor as a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.verdicts import best_torch
from fastopt.cli.contest import FLOOR, OURS, OURS_RAISE

__all__ = ["draw"]

matplotlib.use("Agg")

Row = dict[str, Any]

#: Contestant -> colour, dashes, width. Ours stands out, the floor is the ground.
_LOOKS: dict[str, tuple[str, str, float]] = {
    OURS: ("#c2410c", "-", 2.4),
    OURS_RAISE: ("#c2410c", "--", 1.4),
    "torch fused": ("#1d4ed8", "-", 1.6),
    "torch foreach": ("#3b82f6", "--", 1.2),
    "torch loop": ("#93c5fd", "-", 1.2),
    "optax": ("#15803d", "-", 1.6),
    "numpy out=": ("#7c3aed", "-", 1.4),
    "numpy": ("#a78bfa", "--", 1.2),
    FLOOR: ("#525252", "-", 1.2),
}


def _curve(rows: Iterable[Row], name: str) -> tuple[list[int], list[float]]:
    points = sorted((r["size"], r["median"][name] / r["size"] * 1e9) for r in rows if name in r["median"])
    return [x for x, _ in points], [y for _, y in points]


def _lines(ax: Axes, rows: list[Row], names: Iterable[str]) -> None:
    for name in names:
        x, y = _curve(rows, name)
        if not x:
            continue
        colour, dashes, width = _LOOKS[name]
        order = 5 if name == OURS else 4 if name == OURS_RAISE else 2
        ax.plot(x, y, dashes, color=colour, lw=width, marker="o", ms=3, label=name, zorder=order)
        if name == FLOOR:
            ax.fill_between(x, y, 1e-3, color=colour, alpha=0.12, lw=0)


def _frame(ax: Axes, low: float, high: float) -> None:
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.grid(True, which="major", color="#e5e5e5", lw=0.8)
    ax.set_axisbelow(True)
    ax.yaxis.set_major_formatter("{x:g}")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def _limits(rows: list[Row], names: Iterable[str]) -> tuple[float, float]:
    values = [y for name in names for y in _curve(rows, name)[1]]
    return min(values) * 0.6, max(values) * 1.5


def _label_ends(ax: Axes, rows: list[Row], names: Iterable[str]) -> None:
    """Names at the right end of the lines, pushed apart where they would lie on one another."""
    ends = sorted((y[-1], name, x[-1], y[-1]) for name in names for x, y in [_curve(rows, name)] if x)
    low, high = ax.get_ylim()
    step = (high / low) ** 0.055
    last = low
    for y, name, x, end in ends:
        at = max(y, last * step)
        last = at
        colour = _LOOKS[name][0]
        label = f"{name}  {end:.3g}"
        ax.annotate(
            label, (x, end), xytext=(x * 1.5, at), color=colour, fontsize=8.5, va="center",
            annotation_clip=False,
            weight="bold" if name == OURS else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5, "shrinkA": 0, "shrinkB": 2},
        )  # fmt: skip


def _one_rule(rule: str, rows: list[Row], threads: int, path: Path) -> None:
    """One rule, both dtypes side by side, everyone who took part."""
    dtypes = sorted({r["dtype"] for r in rows})
    figure = Figure(figsize=(1.2 + 5.9 * len(dtypes), 4.8), layout="constrained")
    low, high = _limits(rows, _LOOKS)
    for ax, dtype in zip(figure.subplots(1, len(dtypes), squeeze=False, sharey=True)[0], dtypes, strict=True):
        part = [r for r in rows if r["dtype"] == dtype]
        _frame(ax, low, high)
        _lines(ax, part, _LOOKS)
        _label_ends(ax, part, _LOOKS)
        ax.set_title(dtype, loc="left", fontsize=10)
        ax.set_xlabel("parameters (one array)")
    figure.axes[0].set_ylabel("nanoseconds per parameter and step")
    figure.suptitle(
        f"{rule}: one step, {threads} thread{'s' * (threads > 1)} (median; lower is better)",
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=130)


def _all_rules(rows: list[Row], dtype: str, threads: int, path: Path) -> None:
    """A small panel a rule: ours, the best of torch, optax, the floor."""
    for row in rows:
        best = best_torch(row["median"])
        if best:
            row["median"]["best of torch"] = row["median"][best]
    looks = {
        OURS: _LOOKS[OURS],
        "best of torch": _LOOKS["torch fused"],
        "optax": _LOOKS["optax"],
        FLOOR: _LOOKS[FLOOR],
    }
    rules = list(dict.fromkeys(r["rule"] for r in rows))
    columns = min(5, len(rules))
    lines = -(-len(rules) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.3 * lines + 0.9), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    low, high = _limits(rows, looks)
    for ax in axes[len(rules) :]:
        ax.set_visible(False)
    for ax, rule in zip(axes, rules, strict=False):
        part = [r for r in rows if r["rule"] == rule]
        _frame(ax, low, high)
        _LOOKS.setdefault("best of torch", looks["best of torch"])
        _lines(ax, part, looks)
        ax.set_title(rule.replace("_", " "), loc="left", fontsize=9)
        ax.tick_params(labelsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(
        f"One step, {dtype}, {threads} thread{'s' * (threads > 1)}", x=0.01, ha="left", fontsize=11
    )
    figure.supxlabel("parameters (one array)", fontsize=9)
    figure.supylabel("ns per parameter", fontsize=9)
    figure.savefig(path, dpi=130)


def draw(rows: list[Row], out: Path) -> list[Path]:
    """One picture of Adam (or the first rule) a number of threads, and one of all rules a dtype besides."""
    single = [r | {"median": dict(r["median"])} for r in rows if "arrays" not in r and FLOOR in r["median"]]
    paths: list[Path] = []
    for threads in sorted({r["threads"] for r in single}):
        part = [r for r in single if r["threads"] == threads]
        rules = list(dict.fromkeys(r["rule"] for r in part))
        rule = "adam" if "adam" in rules else rules[0]
        paths.append(out / f"{rule}-{threads}.png")
        _one_rule(rule, [r for r in part if r["rule"] == rule], threads, paths[-1])
        if len(rules) > 1:
            for dtype in sorted({r["dtype"] for r in part}):
                paths.append(out / f"rules-{dtype}-{threads}.png")
                _all_rules([r for r in part if r["dtype"] == dtype], dtype, threads, paths[-1])
    return paths
