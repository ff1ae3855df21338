"""Averages of the weights at work (Deep Learning, 8.7.3): when to start, cyclic rates, what else must be refreshed.

The averages themselves are in `fastopt.averaging`; the optimizer forms them in its own pass over memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_keys, check_number
from fastopt._trees import _at, flatten_tree
from fastopt.averaging import Average, Every, Mean
from fastopt.meta._patience import Patience
from fastopt.schedules import Schedule, join, linear, sawtooth

__all__ = ["OnPlateau", "adopt_average", "averaged", "swa"]


class OnPlateau:
    """An average that starts when a metric has stopped to get better.

    Until then the average is a copy of the parameters. Averaging helps where the iterates bounce about a minimum, and
    hurts while they still travel towards it; the plateau of a validation loss tells one from the other.

    Parameters
    ----------
    patience : int, default 3
        Updates in a row without a better metric, >= 1; the last of them starts the average.
    min_delta : float, default 0.0
        How much better a metric must be to count, >= 0.
    mode : {"min", "max"}, default "min"
        Whether a smaller or a larger metric is better.
    then : Average, default Mean()
        The average from there on; it counts its steps from the start.

    Attributes
    ----------
    began : int or None
        The step after which the average started.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    Its state is part of the optimizer's ``state_dict()``.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, 2016, section 8.7.3.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> average = fo.meta.OnPlateau(patience=1)
    >>> opt = fo.SGD(np.ones(2), lr=0.1, average=average)
    >>> for loss in (1.0, 0.5, 0.6):
    ...     _ = opt.step(np.ones(2))
    ...     started = average.update(loss, opt.steps)
    >>> started, average.began, average.weight(4), average.weight(5)
    (True, 3, 1.0, 0.5)
    """

    def __init__(
        self, patience: int = 3, *, min_delta: float = 0.0, mode: str = "min", then: Average | None = None
    ) -> None:
        self._patience = Patience(
            "OnPlateau", check_integer("OnPlateau", "patience", patience, 1), min_delta, mode
        )
        self.then = Mean() if then is None else then
        if isinstance(self.then, type) or not isinstance(self.then, Average):
            raise TypeError(f"OnPlateau: then is {then!r}; fo.averaging.Mean() or EMA() is wanted")
        self.began: int | None = None

    @property
    def starts_at_parameters(self) -> bool:
        """False: ``c_1 = 1``."""
        return False

    def weight(self, t: int) -> float:
        """The coefficient ``c_t`` in ``avg += c_t (p - avg)``: 1 until the start, then that of `then`."""
        if not t >= 1:
            raise ValueError(f"OnPlateau: t is {t!r}; steps count from 1")
        if self.began is None or t <= self.began:
            return 1.0
        return self.then.weight(t - self.began)

    def update(self, metric: float, step: int) -> bool:
        """Tell the newest metric, and the optimizer's step it was taken after (``opt.steps``).

        Returns
        -------
        bool
            Whether the average has started. Once it has, further metrics change nothing.
        """
        value = self._patience.read(metric)
        step = check_integer("OnPlateau", "step", step, 0)
        if self.began is None:
            self._patience.update(value)
            if self._patience.spent:
                self.began = step
        return self.began is not None

    def state_dict(self) -> dict[str, Any]:
        """What `update` changes: ``best``, ``bad``, ``began``."""
        return {**self._patience.state_dict(), "began": self.began}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the state of another `OnPlateau`; nothing changes if it is none."""
        check_keys("OnPlateau", state, self.state_dict())
        best, bad = self._patience.check_state(state)
        began = state["began"]
        if began is not None:
            began = check_integer("OnPlateau", "state['began']", began, 0)
        self._patience.best, self._patience.bad, self.began = best, bad, began

    def __repr__(self) -> str:
        p = self._patience
        return (
            f"OnPlateau(patience={p.patience}, min_delta={p.min_delta}, mode={p.mode!r}, then={self.then!r})"
        )


def swa(
    lr: float | Callable[[int], float],
    start: int,
    *,
    high: float,
    low: float | None = None,
    period: int = 1,
    anneal: int = 0,
) -> tuple[Schedule, Every]:
    """Rate and average of stochastic weight averaging: a good start, then a large rate whose ends are averaged.

    Parameters
    ----------
    lr : float or function of the step
        The rate of the first `start` steps.
    start : int
        Steps before the averaging, >= 1.
    high : float
        The rate afterwards, >= 0. With `low` it falls from `high` to `low` in every period, in a straight line.
    low : float, optional
        The rate at the last step of every period, where the weights are collected. Default: `high`, a constant rate.
    period : int, default 1
        Steps of a period, >= 1: those of an epoch, say.
    anneal : int, default 0
        Steps after `start` that lead from ``lr(start)`` to `high` in a straight line, before the first period.

    Returns
    -------
    schedule : fo.schedules.join
        For the optimizer's ``lr``.
    average : fo.averaging.Every
        For the optimizer's ``average``; it collects at the end of every period.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    References
    ----------
    Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, Averaging weights leads to wider optima and better
    generalization, 2018.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> lr, average = fo.meta.swa(fo.schedules.cosine(0.1, 100), start=75, high=0.05, low=0.01, period=5)
    >>> opt = fo.SGD(np.ones(3), lr=lr, momentum=0.9, average=average)
    >>> [round(lr(t), 12) for t in (76, 80, 81)], average.weight(80), average.weight(81)
    ([0.042, 0.01, 0.042], 1.0, 0.0)
    """
    start = check_integer("swa", "start", start, 1)
    anneal = check_integer("swa", "anneal", anneal, 0)
    period = check_integer("swa", "period", period, 1)
    high = check_number("swa", "high", high)
    low = high if low is None else check_number("swa", "low", low)
    if not callable(lr):
        lr = check_number("swa", "lr", lr)
    parts: list[Any] = [lr, sawtooth(high, low, period)]
    if anneal:
        last = check_number("swa", f"lr({start})", lr(start)) if callable(lr) else lr
        parts.insert(1, linear(last, high, anneal))
        return join(parts, [start, start + anneal]), Every(period, start + anneal)
    return join(parts, [start]), Every(period, start)


@contextmanager
def averaged(opt: Any, refresh: Callable[[Any], Any] | None = None, buffers: Any = None) -> Iterator[Any]:
    """Hold the averaged weights in the parameters' arrays, with everything refreshed that depends on weights.

    Running statistics of batch normalisation belong to the weights they were gathered with; for averaged weights they
    must be gathered anew. This is ``opt.averaged()``, then `refresh`, and at the end of the block parameters and
    buffers are what they were, bit for bit.

    Parameters
    ----------
    opt : Optimizer
        One that was made with ``average=``.
    refresh : function, optional
        Called as ``refresh(params)`` with the averaged weights in place: a pass over some batches. For a model of
        fo.nn: ``lambda params: model.refresh_statistics(some)``, with batches that training does not draw from.
    buffers : tree of ndarray, optional
        What `refresh` writes (``model.buffers``): put back at the end of the block.

    Yields
    ------
    tree of ndarray
        The parameters' arrays, holding the average.

    Raises
    ------
    TypeError, ValueError
        The optimizer keeps no average, or `buffers` is no tree of arrays.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w, mean = np.zeros(1), np.zeros(1)
    >>> opt = fo.SGD(w, lr=1.0, average=fo.averaging.Mean())
    >>> for g in (1.0, 2.0):
    ...     _ = opt.step(np.array([g]))
    >>> def refresh(params):
    ...     mean[...] = 10 * params
    >>> with fo.meta.averaged(opt, refresh, buffers=mean) as params:
    ...     print(params, mean)
    [-2.] [-20.]
    >>> w, mean
    (array([-3.]), array([0.]))
    """
    held = _checked(buffers)
    with opt.averaged() as params:
        kept = [a.copy() for a in held]
        try:
            if refresh is not None:
                refresh(params)
            yield params
        finally:
            for mine, old in zip(held, kept, strict=True):
                mine[...] = old


def adopt_average(opt: Any, refresh: Callable[[Any], Any] | None = None) -> None:
    """Make the averaged weights the parameters: the end of a run with an average.

    Parameters
    ----------
    opt : Optimizer
        One that was made with ``average=``; the average itself stays what it is.
    refresh : function, optional
        Called as ``refresh(params)`` afterwards, for statistics that belong to the weights; see `averaged`.

    Raises
    ------
    ValueError
        The optimizer keeps no average.
    """
    with opt.averaged() as params:
        leaves, _ = flatten_tree(params)
        average = [leaf.copy() for leaf in leaves]
    for leaf, values in zip(leaves, average, strict=True):
        leaf[...] = values
    if refresh is not None:
        refresh(opt.params)


def _checked(buffers: Any) -> list[np.ndarray]:
    leaves, paths = ([], []) if buffers is None else flatten_tree(buffers)
    for leaf, path in zip(leaves, paths, strict=True):
        if not isinstance(leaf, np.ndarray):
            raise TypeError(f"averaged: buffers{_at(path)} is {type(leaf).__name__}; an array is wanted")
    return leaves
