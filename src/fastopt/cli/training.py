"""The loop: batches, loss and gradients, step; validation after each epoch; the best weights kept.

Best is what is wanted, not its surrogate (Deep Learning, 8.1.2 and 7.8): the share of wrong answers on the
validation rows, then the loss where that is equal; for a regression the validation error itself. The weights
kept at the end are those of the best epoch, with and without early stopping; ``patience`` only ends the run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from fastopt.meta.early_stopping import EarlyStopping

__all__ = ["Course", "Diverged", "History", "Score", "score", "train"]

DIVERGED = 1e6  # a loss this many times its first value is lost, finite or not
REFRESH = 0.1  # seconds between two signs of life


class Diverged(Exception):
    """The loss is not finite, or far beyond where it began."""

    def __init__(self, step: int, loss: float, first: float) -> None:
        super().__init__(f"the loss is {loss:.3g} at step {step} (it began at {first:.3g})")
        self.step, self.loss, self.first = step, loss, first


@dataclass
class Score:
    """Loss, and what is wanted: accuracy for classes; RMSE (in the target's units) and R2 for numbers."""

    loss: float
    accuracy: float = math.nan
    rmse: float = math.nan
    r2: float = math.nan

    def rank(self) -> tuple[float, float]:
        """Smaller is better."""
        return (self.loss if math.isnan(self.accuracy) else 1.0 - self.accuracy, self.loss)


def score(model: Any, x: np.ndarray, y: np.ndarray, scale: float | None) -> Score:
    """The score on some rows; `scale` is the unit of a regression's target, None for classes."""
    outputs = model.predict(x)
    loss = float(model.loss_function(outputs, y))
    if scale is None:
        return Score(loss, accuracy=float((outputs.argmax(axis=1) == y).mean()))
    error = (outputs - y).astype(np.float64)
    spread = float(y.astype(np.float64).var())
    mse = float((error * error).mean())
    return Score(loss, rmse=scale * math.sqrt(mse), r2=1.0 - mse / spread if spread > 0.0 else math.nan)


@dataclass
class History:
    """What happened, a row an epoch; seconds are those of batches, passes and steps, without validation."""

    losses: list[float] = field(default_factory=list)
    validation: list[Score] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    times: dict[str, float] = field(
        default_factory=lambda: {"batches": 0.0, "forward-backward": 0.0, "step": 0.0, "validation": 0.0}
    )
    samples: int = 0
    steps: int = 0
    best: int | None = None  # epoch, from 0
    interrupted: bool = False
    stopped_early: bool = False


@dataclass
class Course:
    """Where a run stands between two steps, beside model, optimizer and batches: what `train` goes on from."""

    history: History = field(default_factory=History)
    early: EarlyStopping = field(default_factory=lambda: EarlyStopping(None))  # a step of it is an epoch
    first: float = math.nan  # loss of the very first batch
    total: float = 0.0  # of the epoch under way: losses times rows, rows, steps
    samples: int = 0
    count: int = 0

    def state_dict(self) -> dict[str, Any]:
        """Arrays and plain values, as a checkpoint takes them."""
        state = {name: getattr(self, name) for name in ("first", "total", "samples", "count")}
        return state | {"history": asdict(self.history), "early": self.early.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; nothing is changed if it is none."""
        told = dict(state)
        history = History(**told.pop("history"))
        history.validation = [Score(**score) for score in history.validation]  # type: ignore[arg-type]
        early = EarlyStopping(None)
        early.load_state_dict(told.pop("early"))
        fresh = Course(history, early, **told)
        self.__dict__.update(fresh.__dict__)


def train(
    model: Any,
    opt: Any,
    batches: Iterable[Any],
    judge: Callable[[], Score],
    epochs: int,
    *,
    patience: int | None = None,
    averaged: bool = False,
    rank: Callable[[Score], tuple[float, float]] = Score.rank,
    on_epoch: Callable[[Score], None] | None = None,
    show: Callable[[int, int, float, History], None] | None = None,
    done: Callable[[int, History], None] | None = None,
    watch: Callable[[Any, float], None] | None = None,
    course: Course | None = None,
    after_step: Callable[[], None] | None = None,
    after_epoch: Callable[[], None] | None = None,
) -> History:
    """Train `model` in place; Ctrl-C ends it early, and the best weights so far are in the model either way.

    Parameters
    ----------
    judge : callable
        The score on the validation rows, with the weights as they are.
    patience : int, optional
        Epochs without a better score before the run ends.
    averaged : bool
        Judge, and keep, the average of the weights that `opt` holds.
    rank : callable
        What makes one score better than another: the smaller value.
    on_epoch : callable, optional
        Gets each validation score (a schedule that reacts to it).
    show : callable, optional
        Called about ten times a second with epoch, step in the epoch, loss of the batch, history.
    done : callable, optional
        Called after every epoch with its number from 0 and the history.
    watch : callable, optional
        Gets the record of every step and the loss before it.
    course : Course, optional
        Where to go on; kept up to date. A run that goes on needs model, optimizer and batches as they were.
    after_step, after_epoch : callable, optional
        Called when everything stands still, after each step and each epoch: the moments to save a checkpoint.

    Raises
    ------
    Diverged
        At the first step whose loss is not finite or beyond 10^6 times its start.
    """
    course = Course() if course is None else course
    history, early = course.history, course.early
    early.patience = patience
    try:
        with np.errstate(all="ignore"):  # what overflows is found by the check of the loss
            while (epoch := len(history.validation)) < epochs and not early.stopped:
                _epoch(model, opt, batches, course, epoch, show, watch, after_step)
                start = perf_counter()
                with opt.averaged() if averaged else nullcontext():
                    result = judge()
                    early.update(rank(result), model.vector, epoch)
                history.best = early.best_step
                history.validation.append(result)
                if not math.isfinite(result.loss):
                    raise Diverged(history.steps, result.loss, history.losses[0])
                history.times["validation"] += perf_counter() - start
                if on_epoch is not None:
                    on_epoch(result)
                if done is not None:
                    done(epoch, history)
                if after_epoch is not None:
                    after_epoch()
        history.stopped_early = early.stopped
    except KeyboardInterrupt:
        history.interrupted = True
    if early.best is not None:
        early.restore(model.vector)
    return history


def _epoch(
    model: Any,
    opt: Any,
    batches: Iterable[Any],
    course: Course,
    epoch: int,
    show: Callable[[int, int, float, History], None] | None,
    watch: Callable[[Any, float], None] | None,
    after_step: Callable[[], None] | None,
) -> None:
    """One pass over the batches, or what is left of it. Nothing here but looks at the clock and sums a step."""
    history, times = course.history, course.history.times
    limit = math.inf if math.isnan(course.first) else DIVERGED * max(1.0, course.first)
    clock = perf_counter
    before = clock()
    shown = before
    for xb, yb in batches:
        begin = clock()
        loss, grads = model.loss_and_grads(xb, yb)
        if not loss <= limit or loss == math.inf:  # a NaN fails it too
            raise Diverged(history.steps + 1, loss, loss if math.isnan(course.first) else course.first)
        middle = clock()
        try:
            record = opt.step(grads)
        except FloatingPointError:
            raise Diverged(history.steps + 1, math.nan, course.first) from None
        end = clock()
        if history.steps == 0:
            course.first, limit = loss, DIVERGED * max(1.0, loss)
        times["batches"] += begin - before
        times["forward-backward"] += middle - begin
        times["step"] += end - middle
        course.total += loss * len(xb)
        course.samples += len(xb)
        course.count += 1
        history.samples += len(xb)
        history.steps += 1
        if watch is not None:
            watch(record, loss)
            end = clock()
        if show is not None and end - shown >= REFRESH:
            shown = end
            show(epoch, course.count, loss, history)
            end = clock()
        if after_step is not None:
            after_step()
            end = clock()
        before = end
    history.losses.append(course.total / course.samples)
    course.total, course.samples, course.count = 0.0, 0, 0
    history.seconds.append(times["batches"] + times["forward-backward"] + times["step"])
