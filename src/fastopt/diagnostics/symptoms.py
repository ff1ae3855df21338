"""What the record of a run alone tells: rules over its series, each with its threshold.

A run is looked at in ten parts of equal length. Its loss is *falling* where the last part lies below the sixth by more
than three standard errors and by 1 % of all the loss has moved, or, for positive losses that are not yet a millionth of
that, by 5 % of itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt.diagnostics._answer import COLOURS, Answer, number
from fastopt.diagnostics.series import FIELDS, Series
from fastopt.diagnostics.tails import _numbers

__all__ = ["Symptom", "Trend", "gradient_norm_test", "symptoms", "trend"]

PARTS = 10
SHRUNK = 0.1  # of its greatest part: a norm below it may be that of a critical point
ZIGZAG = -0.3  # mean cosine between gradient and momentum
ALIGNED = 0.1  # cosines smaller than it: momentum and gradient know nothing of each other
IDLE = 1e-4  # of the loss: what steps promise that come to nothing
REWRITTEN = 0.3  # update over parameter norm


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Symptom(Answer):
    """An answer from the record of a run.

    Attributes
    ----------
    at : ndarray
        Steps.
    curves : dict of ndarray
        What the verdict was made from, by label.
    log : bool
        Drawn on a logarithmic axis.
    label : str
        Of the axis.
    """

    at: np.ndarray
    curves: dict[str, np.ndarray]
    log: bool = False
    label: str = ""

    def _draw(self, ax: Any) -> None:
        for i, (name, curve) in enumerate(self.curves.items()):
            told = ~np.isnan(curve)
            ax.plot(self.at[told], curve[told], color=COLOURS[i % len(COLOURS)], label=name)
        if self.log and any((c > 0).any() for c in self.curves.values()):
            ax.set_yscale("log")
        ax.set_xlabel("step")
        ax.set_ylabel(self.label)
        if len(self.curves) > 1:
            ax.legend(frameon=False, fontsize=9)


@dataclass(frozen=True)
class Trend:
    """Which way a run is going.

    Attributes
    ----------
    known : bool
        There are 20 steps with a loss or more.
    falling : bool
        The loss falls over the second half.
    risen : bool
        The loss ends above where it was best, by more than half of what it had gained, or above its very start; in both
        cases by more than 1 % of itself and the noise.
    loss : ndarray, shape (10,)
        Means over the parts of the run.
    norm_ratio : float
        The last part's gradient norm over the greatest part's; NaN without norms.
    promised : float
        What the steps of the second half promised to first order, ``sum |update| |gradient|``, over the largest loss;
        NaN without diagnostics.
    """

    known: bool
    falling: bool
    risen: bool
    loss: np.ndarray
    norm_ratio: float
    promised: float = math.nan

    @property
    def shrunk(self) -> bool:
        """The gradient norm has shrunk to insignificance or never was of any, or is not known."""
        return not self.norm_ratio >= SHRUNK or self.promised < IDLE


def _parts(curve: np.ndarray) -> np.ndarray:
    known = curve[np.isfinite(curve)]
    if known.size < PARTS:
        return np.full(PARTS, np.nan)
    return np.array([part.mean() for part in np.array_split(known, PARTS)])


def trend(series: Series) -> Trend:
    """Read it off a series."""
    loss, norm = series.mean("loss"), series.mean("norm")
    norms = _parts(norm)
    top = norms.max() if np.isfinite(norms).all() else math.nan
    ratio = float(norms[-1] / top) if top > 0 else (0.0 if top == 0 else math.nan)
    parts = _parts(loss)
    if series.column("loss_count").sum() < 2 * PARTS or not np.isfinite(parts).all():
        return Trend(False, False, False, parts, ratio)
    # Noise from differences of neighbours, of which the slope takes no part.
    told = loss[np.isfinite(loss)]
    late = told[told.size // 2 :]
    steps = np.diff(late)
    spread = 1.4826 * float(np.median(np.abs(steps - np.median(steps)))) / math.sqrt(2) if steps.size else 0.0
    error = spread / math.sqrt(max(late.size / (PARTS / 2), 1.0)) * math.sqrt(2)
    fall, moved = parts[5] - parts[-1], float(np.ptp(parts))
    enough = fall > 0.01 * moved or (
        parts.min() > 0 and parts[-1] < 0.95 * parts[5] and parts[5] > 1e-6 * moved
    )
    pairs = (parts[1:] + parts[:-1]) / 2  # the least of ten is low by luck, that of pairs less so
    gained, lost = parts[0] - pairs.min(), pairs[-1] - pairs.min()
    # Neighbouring bins may go together; how parts differ tells what that leaves of the noise.
    rough = 1.4826 * float(np.median(np.abs(np.diff(parts)))) / math.sqrt(2)
    noise = max(5 * error, 4 * rough, 0.01 * float(np.abs(parts).max()))
    risen = lost > max(noise, 0.5 * gained) or parts[-1] - told[0] > max(noise, 3 * spread)
    return Trend(
        known=True,
        falling=bool(fall > 3 * error and enough),
        risen=bool(risen),
        loss=parts,
        norm_ratio=ratio,
        promised=_promised(series) / float(np.abs(parts).max() or 1.0),
    )


def _promised(series: Series) -> float:
    """Sum of update times gradient norm over the second half; NaN where no diagnostics came."""
    late = slice(series.bins // 2, series.bins)
    counts = series.path_fields[: series.bins, :, -1].max(axis=1, initial=0.0)[late]
    if not counts.any():
        return math.nan
    each = series.path_mean("update_norm")[late] * series.path_mean("grad_norm")[late]
    return float((np.nansum(each, axis=1) * counts).sum())


def symptoms(
    series: Series, paths: Sequence[str], eps: Sequence[float], first: int, refused: tuple[int, str]
) -> list[Symptom]:
    """All answers that the record gives.

    Parameters
    ----------
    paths, eps : sequence
        Of the parameters, and the rounding units of their dtypes.
    first : int
        Steps that the optimizer had taken before the series began.
    refused : (int, str)
        Steps refused with FloatingPointError, and the last message.
    """
    out = [_finite(series, first, refused)]
    where = trend(series)
    if where.known:
        out += [_divergence(series, first, where), _norm_test(series, first, where)]
    if series.bins and series.path_fields[: series.bins, :, -1].any():
        out += _per_path(series, paths, eps, first, where)
    return out


def _finite(series: Series, first: int, refused: tuple[int, str]) -> Symptom:
    skipped, elements = int(series.column("skipped").sum()), int(series.column("nonfinite").sum())
    count, message = refused
    losses = int(series.column("loss_bad").sum())
    hit = (series.column("skipped") + series.column("nonfinite") + series.column("loss_bad")) > 0
    trouble = bool(hit.any()) or count > 0
    where = f", first around step {first + series.at[hit][0]:.0f}" if hit.any() else ""
    if count:
        verdict = f"{count} step{'s were' if count > 1 else ' was'} refused: {message}"
    elif skipped or elements:
        verdict = f"Gradients were not finite: {elements} elements, {skipped} steps skipped{where}."
    elif losses:
        verdict = f"The loss was not finite in {losses} step{'s' if losses > 1 else ''}{where}."
    else:
        verdict = "All gradients were finite."
    return Symptom(
        question="finite gradients", source="8.2.4", trouble=trouble, number=float(skipped + count + losses),
        verdict=verdict, at=first + series.at, curves={"Inf or NaN elements": series.column("nonfinite")},
        label="elements a bin",
    )  # fmt: skip


def _divergence(series: Series, first: int, where: Trend) -> Symptom:
    best, last = float(where.loss.min()), float(where.loss[-1])
    told = series.mean("loss")
    start = float(told[np.isfinite(told)][0])
    verdict = (
        f"The loss rises: it was {number(min(best, start))} and is {number(last)} at the end."
        if where.risen
        else f"The loss ends at {number(last)}, having been {number(best)} at best."
    )
    return Symptom(
        question="divergence", source="8.2.1", trouble=where.risen, number=last - best, verdict=verdict,
        at=first + series.at, curves={"loss": series.mean("loss")}, label="loss",
    )  # fmt: skip


def _norm_test(series: Series, first: int, where: Trend) -> Symptom:
    """The book's test (8.2.2): where the gradient does not shrink, no critical point holds the run."""
    trouble = not where.falling and not where.shrunk and not where.risen
    if trouble:
        verdict = (
            f"The loss does not fall, and the gradient's norm is still {number(where.norm_ratio)} of its "
            "greatest: neither a local minimum nor any other critical point holds the run, but the step or the noise."
        )
    elif where.falling or where.risen:
        verdict = f"The loss is {'falling' if where.falling else 'rising'}."
    elif math.isnan(where.norm_ratio):
        verdict = "The loss has stopped falling; the optimizer tells no gradient norm."
    elif not where.norm_ratio < SHRUNK:
        verdict = (
            "The loss does not fall and the gradient is insignificant: the steps of the second half promised "
            f"{number(where.promised)} of the loss. It may be a plateau, which `critical_point` names."
        )
    else:
        verdict = (
            f"The loss has stopped falling and the gradient's norm has shrunk to {number(where.norm_ratio)} of its "
            "greatest: it may be at a critical point, which `critical_point` names."
        )
    return Symptom(
        question="gradient norm", source="8.2.2", trouble=trouble, number=where.norm_ratio, verdict=verdict,
        at=first + series.at, curves={"gradient norm": series.mean("norm")}, log=True, label="gradient norm",
    )  # fmt: skip


def gradient_norm_test(norms: Sequence[float] | np.ndarray, losses: Sequence[float] | np.ndarray) -> Symptom:
    """Is it a local minimum, or any critical point, that a run is stuck at? The book's test of the gradient norm.

    Parameters
    ----------
    norms, losses : sequence of float, shape (steps,)
        Of every step, in order; at least 20.

    Returns
    -------
    Symptom
        `number` is the norm at the end (last tenth) over the greatest of the ten parts. `trouble` where the loss has
        stopped falling and that is 0.1 or more: then it is no critical point that holds the run.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is wanted.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> t = np.arange(100.0)
    >>> stuck_in_a_valley = fo.diagnostics.gradient_norm_test(1 + np.sin(t) / 9, 1 + np.exp(-t) + 0.1 * (-1) ** t)
    >>> stuck_at_a_point = fo.diagnostics.gradient_norm_test(np.exp(-t), 1 + np.exp(-2 * t))
    >>> stuck_in_a_valley.trouble, stuck_at_a_point.trouble
    (True, False)
    """
    owner = "gradient_norm_test"
    x, f = _numbers(owner, "norms", norms), np.asarray(losses)
    if f.shape != x.shape or f.dtype.kind not in "fiu":
        raise ValueError(
            f"{owner}: losses is {f.dtype} of shape {f.shape}; {x.size} numbers, as norms, are wanted"
        )
    if x.size < 2 * PARTS:
        raise ValueError(f"{owner}: {x.size} steps came; at least {2 * PARTS} are wanted")
    if not (np.isfinite(x).all() and np.isfinite(f).all()):
        raise ValueError(f"{owner}: norms or losses hold Inf or NaN; finite numbers are wanted")
    series = Series(0, 2 * -(-x.size // 2))
    rows = {name: np.zeros(x.size) for name in FIELDS}
    for name in ("steps", "loss_count", "norm_count"):
        rows[name] = np.ones(x.size)
    for name in ("loss_sum", "loss_min", "loss_max"):
        rows[name] = f.astype(np.float64)
    for name in ("norm_sum", "norm_min", "norm_max"):
        rows[name] = x
    series.extend(rows, None)
    return _norm_test(series, 0, trend(series))


def _per_path(
    series: Series, paths: Sequence[str], eps: Sequence[float], first: int, where: Trend
) -> list[Symptom]:
    late = slice(series.bins // 2, series.bins)
    at = first + series.at
    out = []

    cosine = series.path_mean("cosine")
    with np.errstate(invalid="ignore"):
        each = np.array([np.nan if np.isnan(c).all() else np.nanmean(c) for c in cosine])
    known = each[late][~np.isnan(each[late])]
    if known.size:
        mean = float(known.mean())
        zigzag = mean < ZIGZAG and not where.norm_ratio < 1e-6
        drowned = abs(mean) < ALIGNED and where.known and not where.falling and not where.shrunk
        if zigzag:
            verdict = (
                f"Steps go to and fro: the mean cosine between gradient and momentum is {number(mean)}, so the rate "
                "is at the edge of what the steepest direction bears."
            )
        elif drowned:
            verdict = (
                f"Gradients know nothing of those before: their mean cosine with the momentum is {number(mean)} and "
                "the loss does not fall, so noise drives the run."
            )
        else:
            verdict = f"The mean cosine between gradient and momentum is {number(mean)}."
        shared: dict[str, Any] = {
            "at": at,
            "curves": {"mean over paths": each},
            "label": "cosine of gradient and momentum",
        }
        out.append(
            Symptom(
                question="to and fro", source="8.2.1", trouble=zigzag, number=mean, verdict=verdict, **shared
            )
        )
        out.append(
            Symptom(
                question="noise in the run",
                source="8.2.6",
                trouble=drowned,
                number=mean,
                verdict=verdict,
                **shared,
            )
        )

    ratio, grad = series.path_mean("update_ratio"), series.path_mean("grad_norm")
    said: list[tuple[float, str]] = []
    for i, path in enumerate(paths):
        r, g = ratio[late, i], grad[late, i]
        r, g = r[~np.isnan(r)], g[~np.isnan(g)]
        if not g.size:
            continue
        name = f"params[{path!r}]" if path else "params"
        whole = grad[:, i][~np.isnan(grad[:, i])]
        middle = float(np.median(r))
        if not g.any() and np.nanmax(grad[late]) > 0:
            said.append((0.0, f"No gradient reaches {name}: it was zero over the second half."))
        elif middle > REWRITTEN and not where.falling and not where.shrunk:
            said.append(
                (
                    middle,
                    f"A step changes {name} by {number(middle)} of its norm: the rate is too large for it.",
                )
            )
        elif middle < eps[i] / 4 and g.mean() > SHRUNK * whole.max() and g.any():
            said.append(
                (middle, f"Updates of {name} are {number(middle)} of its norm and are lost in rounding.")
            )
    finite = ratio[late][np.isfinite(ratio[late])]
    middle = float(np.median(finite)) if finite.size else math.nan
    verdict = f"A step changes parameters by {number(middle)} of their norm."
    if said:
        middle, verdict = (
            said[0][0],
            said[0][1] + (f" ({len(said) - 1} more arrays)" if len(said) > 1 else ""),
        )
    out.append(
        Symptom(
            question="updates", source="8.2.1", trouble=bool(said), number=middle, verdict=verdict, at=at,
            curves={path or "params": ratio[:, i] for i, path in enumerate(paths)}, log=True,
            label="update over parameter norm",
        )
    )  # fmt: skip
    return out
