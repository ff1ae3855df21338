"""Loops around any gradients and any optimizer: early stopping (algorithm 7.1) and what comes after it (7.2, 7.3).

A batch is what `batches` yields; a tuple or list of arrays is spread: ``loss_and_grads(params, *batch)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from fastopt._checks import check_integer, check_number
from fastopt._progress import Progress, reporting
from fastopt.meta._passes import Passes
from fastopt.meta.averages import averaged as averaged_weights
from fastopt.meta.early_stopping import EarlyStopping

__all__ = ["early_stop", "train_steps", "train_until"]

LossAndGrads = Callable[..., tuple[float, Any]]


def early_stop(
    loss_and_grads: LossAndGrads,
    opt: Any,
    batches: Iterable[Any],
    judge: Callable[[Any], Any],
    early: EarlyStopping | int | None = None,
    *,
    every: int | None = None,
    steps: int | None = None,
    passes: int | None = None,
    averaged: bool = False,
    refresh: Callable[[Any], Any] | None = None,
    buffers: Any = None,
    restore: bool = True,
    after_step: Callable[[], Any] | None = None,
    after_update: Callable[[EarlyStopping], Any] | None = None,
    progress: Progress = False,
) -> EarlyStopping:
    """Train until what is wanted no longer gets better, and keep the weights that were best.

    Parameters
    ----------
    loss_and_grads : function
        ``loss_and_grads(params, *batch)`` returns the loss and the tree of gradients, of the surrogate.
    opt : Optimizer
        Its parameters are trained in place.
    batches : iterable
        Iterated once a pass, as often as it takes (`fo.Batches`, a list); batches are tuples of arrays, or arrays.
    judge : function
        ``judge(params)`` returns what is wanted, on rows held out: a number, or a tuple (see `EarlyStopping`).
    early : EarlyStopping or int, optional
        What watches it; an integer is its patience, default 10. One that has been loaded goes on.
    every : int, optional
        Steps from one judgement to the next, the n of algorithm 7.1. Default: once a pass.
    steps, passes : int, optional
        Ends of the run, counted from the run's beginning by `opt` and by `early`. Default: none.
    averaged : bool, default False
        Judge and keep the average of the weights that `opt` holds.
    refresh : function, optional
        Called with the weights before each judgement, for what must be gathered anew; see `fastopt.meta.averaged`.
    buffers : tree of ndarray, optional
        Kept and restored with the weights (running statistics).
    restore : bool, default True
        Put the best weights into the parameters at the end.
    after_step : function, optional
        Called when a step is done, everything at rest: the moment to save ``params, opt, batches, early``.
    after_update : function, optional
        Called with `early` after each judgement.
    progress : bool or function, default False
        See `fastopt.meta`.

    Returns
    -------
    EarlyStopping
        `early`: ``history`` has surrogate (mean training loss since the judgement before) and metric side by side.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind; two passes gave no batches.
    RuntimeError
        In two passes all steps were skipped.

    Notes
    -----
    Algorithm 7.1 of the book: evaluate every n steps, keep the best, end after p evaluations without a better one.
    An exception (Ctrl-C) comes out as itself; the best weights are in `early` then. A run that goes on from a saved
    ``(params, opt, batches, early)`` has the bits of one that was never stopped.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, 2016, sections 7.8 and 8.1.2.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((60, 20)); y = x[:, 0] + 0.5 * rng.standard_normal(60)
    >>> def loss_and_grads(w, x, y):
    ...     r = x @ w - y
    ...     return float(r @ r) / len(y), 2 * x.T @ r / len(y)
    >>> w = np.zeros(20)
    >>> early = fo.meta.early_stop(
    ...     loss_and_grads, fo.SGD(w, lr=0.05), fo.Batches(x[:40], y[:40], size=10, rng=0),
    ...     judge=lambda w: np.mean((x[40:] @ w - y[40:]) ** 2), early=3)
    >>> early.stopped, early.best_step < early.history[-1]["step"]
    (True, True)
    """
    early = EarlyStopping(10) if early is None else early
    if not isinstance(early, EarlyStopping):
        early = EarlyStopping(check_integer("early_stop", "early", early, 1))
    every = None if every is None else check_integer("early_stop", "every", every, 1)
    last_step = math.inf if steps is None else check_integer("early_stop", "steps", steps, 0)
    last_pass = math.inf if passes is None else check_integer("early_stop", "passes", passes, 0)
    kept = opt.params if buffers is None else {"params": opt.params, "buffers": buffers}
    running = early.running

    def judged() -> None:
        with _weights(opt, averaged, refresh, buffers) as params:
            early.update(judge(params), kept, opt.steps, running["sum"] / running["count"])
        running.update(sum=0.0, count=0)
        if after_update is not None:
            after_update(early)

    def open_still() -> bool:
        return not early.stopped and opt.steps < last_step and running["passes"] < last_pass

    walk = _Walk("early_stop", loss_and_grads, opt, batches)
    with reporting(progress, "early stopping", steps) as tell:
        # A run that was saved between a step and its judgement goes on with the judgement.
        if running["count"] and (running["count"] >= (every or math.inf) or not open_still()):
            judged()
        while open_still():
            for loss in walk.one_pass():
                running["sum"] += loss
                running["count"] += 1
                tell(opt.steps, loss=loss)
                if after_step is not None:
                    after_step()
                if every is not None and running["count"] >= every:
                    judged()
                if early.stopped or opt.steps >= last_step:
                    break
            else:
                running["passes"] += 1
            if running["count"] and (every is None or not open_still()) and not early.stopped:
                judged()
    if restore and early.best is not None:
        early.restore(kept)
    return early


def train_steps(
    loss_and_grads: LossAndGrads,
    opt: Any,
    batches: Iterable[Any],
    steps: int,
    *,
    after_step: Callable[[], Any] | None = None,
    progress: Progress = False,
) -> float:
    """Take steps until the optimizer has taken so many: algorithm 7.2, retraining on all rows.

    Parameters
    ----------
    loss_and_grads, opt, batches, after_step, progress
        As for `early_stop`: a new optimizer on freshly initialized parameters, and batches of all rows, those for
        validation too.
    steps : int
        What ``opt.steps`` is to reach: ``early.best_step``, so many steps as were best on a part of the rows.

    Returns
    -------
    float
        Mean loss over the steps taken by this call; NaN if there were none.

    Raises
    ------
    ValueError
        `steps` is no count, or two passes gave no batches.
    RuntimeError
        In two passes all steps were skipped.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, 2016, algorithm 7.2.
    """
    steps = check_integer("train_steps", "steps", steps, 0)
    total, count = 0.0, 0
    walk = _Walk("train_steps", loss_and_grads, opt, batches)
    with reporting(progress, "training", steps) as tell:
        while opt.steps < steps:
            for loss in walk.one_pass():
                total, count = total + loss, count + 1
                tell(opt.steps, loss=loss)
                if after_step is not None:
                    after_step()
                if opt.steps >= steps:
                    break
    return total / count if count else math.nan


def train_until(
    loss_and_grads: LossAndGrads,
    opt: Any,
    batches: Iterable[Any],
    judge: Callable[[Any], float],
    target: float,
    *,
    steps: int,
    every: int | None = None,
    after_step: Callable[[], Any] | None = None,
    progress: Progress = False,
) -> bool:
    """Go on with all rows until the loss on those held out before is what it was on the others: algorithm 7.3.

    Parameters
    ----------
    loss_and_grads, opt, batches, after_step, progress
        As for `early_stop`: the optimizer as early stopping left it, with the best weights, and batches of all rows.
    judge : function
        ``judge(params)`` returns the objective (the surrogate) on the rows that were held out.
    target : float
        The run ends when that is at most `target`: ``early.best_surrogate``.
    steps : int
        Most steps that may be taken by `opt`, those before included: nothing says that the target is ever reached.
    every : int, optional
        Steps from one judgement to the next. Default: once a pass.

    Returns
    -------
    bool
        Whether the target was reached.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind, or two passes gave no batches.
    RuntimeError
        In two passes all steps were skipped.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, 2016, algorithm 7.3.
    """
    steps = check_integer("train_until", "steps", steps, 0)
    every = None if every is None else check_integer("train_until", "every", every, 1)
    target = check_number("train_until", "target", target, -math.inf)
    walk = _Walk("train_until", loss_and_grads, opt, batches)
    with reporting(progress, "training", steps) as tell:
        value = float(judge(opt.params))
        while not value <= target and opt.steps < steps:
            for loss in walk.one_pass():
                tell(opt.steps, loss=loss, held_out=value)
                if after_step is not None:
                    after_step()
                if every is not None and opt.steps % every == 0:
                    value = float(judge(opt.params))
                if value <= target or opt.steps >= steps:
                    break
            if not value <= target:
                value = float(judge(opt.params))
    return value <= target


class _Walk:
    """Steps through passes over batches."""

    def __init__(self, owner: str, loss_and_grads: LossAndGrads, opt: Any, batches: Iterable[Any]) -> None:
        self.loss_and_grads, self.opt, self.batches = loss_and_grads, opt, batches
        self.passes = Passes(owner)

    def one_pass(self) -> Iterator[float]:
        """A step for each batch; the loss of each."""
        before, tried = self.opt.steps, False
        for batch in self.batches:
            spread = batch if isinstance(batch, (tuple, list)) else (batch,)
            loss, grads = self.loss_and_grads(self.opt.params, *spread)
            self.opt.step(grads)
            tried = True
            yield float(loss)
        self.passes.ended(tried, self.opt.steps != before)


@contextmanager
def _weights(opt: Any, averaged: bool, refresh: Callable[[Any], Any] | None, buffers: Any) -> Iterator[Any]:
    if averaged:
        with averaged_weights(opt, refresh, buffers) as params:
            yield params
    else:
        if refresh is not None:
            refresh(opt.params)
        yield opt.params
