"""Cliffs and exploding gradients (Deep Learning, 8.2.4), from the norms of a run's gradients alone.

A norm is set against the median of the 64 before it, so that the slow fall of a healthy run is no tail. Hill's
estimator (Annals of Statistics 3, 1975) of the tail's index from the k largest ratios r_1 >= ... >= r_k is
``alpha = k / sum_i log(r_i / r_{k+1})``; below 2 the norm has no finite variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import check_number
from fastopt.diagnostics._answer import COLOURS, Answer, number

__all__ = ["ENOUGH", "WINDOW", "GradientTails", "gradient_tails", "hill", "ratios_to_median"]

WINDOW = 64  # norms that a norm is compared with
ENOUGH = 8  # fewer than so many before it say nothing
CLIFF = 10.0  # times the median: a cliff
HEAVY = 2.0  # tail index below which the variance is infinite
SAMPLE = 400  # norms that a tail index wants
CLIPPED = 0.5  # share of clipped steps from which the threshold sets the step


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GradientTails(Answer):
    """How the norms of the gradients are spread.

    Attributes
    ----------
    ratio : float
        The largest norm over the median of the norms before it.
    step : int or None
        The step (from 1) where that was.
    crossings : list of int
        Steps whose ratio was above the limit (of a `Monitor`: the 64 worst).
    count : int
        How many there were.
    index : float
        Hill's tail index; NaN where there are too few norms.
    clip_rate : float
        Share of steps that were clipped.
    steps : int
        Norms that were looked at.
    worst : ndarray
        The largest ratios, descending.
    """

    ratio: float
    step: int | None
    crossings: list[int]
    count: int
    index: float
    clip_rate: float
    steps: int
    worst: np.ndarray

    def _draw(self, ax: Any) -> None:
        rank = np.arange(1, len(self.worst) + 1)
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        ax.loglog(self.worst, rank / max(self.steps, 1), ".", color=COLOURS[0], label="norms")
        wide = self.worst[np.isfinite(self.worst)]
        few = wide.size and wide.max() > 100 * max(wide.min(), 0.1)
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.axvline(CLIFF, color=COLOURS[1], linestyle=":", label="cliff")
        ax.set_xlabel("norm over the median before it")
        ax.set_ylabel("share of steps beyond")
        ax.set_title(f"tail index {number(self.index)}", fontsize=11, loc="left")
        ax.legend(frameon=False, fontsize=9)


def gradient_tails(
    norms: Sequence[float] | np.ndarray,
    *,
    clip_factors: Sequence[float] | np.ndarray | None = None,
    limit: float = CLIFF,
) -> GradientTails:
    """Cliffs, heavy tails and clipping, from the gradient norms of a run in order.

    Parameters
    ----------
    norms : sequence of float, shape (steps,)
        As ``StepRecord.grad_norm`` has them: before clipping.
    clip_factors : sequence of float, optional
        As ``StepRecord.clip_factor`` has them.
    limit : float, default 10
        A norm so many times the median of the 64 before it (at least 8) is a cliff.

    Returns
    -------
    GradientTails
        `number` is the largest ratio. `trouble` where a norm was beyond `limit`, where the tail index of at least
        400 norms is below 2, or where more than half of the steps were clipped.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is wanted.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> norms = np.ones(100)
    >>> norms[70] = 500.0
    >>> print(fo.diagnostics.gradient_tails(norms))
    A cliff: at step 71 the gradient's norm was 500 times the median before it.
    """
    owner = "gradient_tails"
    limit = check_number(owner, "limit", limit, 1.0, above=True)
    x = _numbers(owner, "norms", norms)
    factors = np.ones_like(x) if clip_factors is None else _numbers(owner, "clip_factors", clip_factors)
    if factors.shape != x.shape:
        raise ValueError(
            f"{owner}: clip_factors has {factors.size} numbers and norms {x.size}; one each is wanted"
        )
    ratios = ratios_to_median(x, np.empty(0))
    order = np.argsort(-np.nan_to_num(ratios, nan=-1.0), kind="stable")
    order = order[~np.isnan(ratios[order])]
    over = np.flatnonzero(ratios > limit)
    return tails_of(
        order[:256] + 1, ratios[order[:256]], len(order), [int(i) + 1 for i in over], over.size,
        float((factors < 1).mean()) if x.size else 0.0, limit,
    )  # fmt: skip


def _numbers(owner: str, name: str, values: Any) -> np.ndarray:
    a = np.asarray(values)
    if a.ndim != 1 or a.dtype.kind not in "fiu":
        raise TypeError(f"{owner}: {name} is {a.dtype} of shape {a.shape}; a sequence of numbers is wanted")
    a = a.astype(np.float64)
    if (a < 0).any():
        raise ValueError(f"{owner}: {name} holds a negative number; numbers >= 0 are wanted")
    return a


def ratios_to_median(norms: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Each norm over the median of up to `WINDOW` finite ones before it; NaN where there are fewer than `ENOUGH`.

    `before` are the norms that came before the first. A norm that is not finite has ratio inf, or NaN for NaN.
    """
    line = np.concatenate([np.full(WINDOW, np.nan), before[-WINDOW:], norms])
    lead = line.size - norms.size
    finite = np.isfinite(line)
    line[~finite] = np.nan
    windows = np.lib.stride_tricks.sliding_window_view(line, WINDOW)[lead - WINDOW : line.size - WINDOW]
    counts = np.concatenate([[0], np.cumsum(finite)])
    known = (counts[lead:] - counts[lead - WINDOW : -WINDOW])[: norms.size]
    ordered = np.sort(windows, axis=1)  # NaN comes last
    at = np.arange(norms.size)
    middle = (
        ordered[at, np.maximum(known - 1, 0) // 2] + ordered[at, np.minimum(known // 2, WINDOW - 1)]
    ) / 2
    out = np.full(norms.size, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.divide(norms, middle, out=out, where=known >= ENOUGH)
    return out


def hill(ratios: np.ndarray, steps: int) -> float:
    """Tail index from the largest of `steps` ratios, descending; NaN where there are too few."""
    k = min(steps // 20, ratios.size - 1)
    if steps < SAMPLE or k < 10 or not np.isfinite(ratios[0]) or ratios[k] <= 0:
        return math.nan
    total = float(np.log(ratios[:k] / ratios[k]).sum())
    return k / total if total > 0 else math.inf


def tails_of(
    steps: np.ndarray, ratios: np.ndarray, count: int, crossings: list[int], crossed: int, clip_rate: float,
    limit: float,
) -> GradientTails:  # fmt: skip
    """The answer from the largest ratios (descending) and their steps, of `count` in all."""
    index = hill(ratios, count)
    ratio = float(ratios[0]) if ratios.size else math.nan
    step = int(steps[0]) if ratios.size else None
    cliff, heavy, clipped = crossed > 0, index < HEAVY, clip_rate > CLIPPED
    if cliff:
        times = f" ({crossed} such steps)" if crossed > 1 else ""
        verdict = f"A cliff: at step {step} the gradient's norm was {number(ratio)} times the median before it{times}."
    elif heavy:
        verdict = (
            f"Heavy tails: the index of the norms is {number(index)}, below 2: single steps decide the run."
        )
    elif clipped:
        verdict = f"{100 * clip_rate:.0f} % of the steps were clipped: the threshold sets the step, not the gradient."
    else:
        verdict = f"No cliff: the largest norm was {number(ratio)} times the median before it."
    if clipped and (cliff or heavy):
        verdict += f" {100 * clip_rate:.0f} % of the steps were clipped."
    return GradientTails(
        question="cliffs", source="8.2.4", trouble=cliff or heavy or clipped, number=ratio, verdict=verdict,
        ratio=ratio, step=step, crossings=crossings, count=crossed, index=index, clip_rate=clip_rate, steps=count,
        worst=ratios,
    )  # fmt: skip
