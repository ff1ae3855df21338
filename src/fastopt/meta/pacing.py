r"""Pacing: which share of the examples, from the easiest on, an epoch may use.

A pacing is any function of the epoch, 0 for the first, that gives a number in (0, 1]. Those of this module are frozen
objects: they rise from `start` to 1, pickle, compare by their fields and print as the call that makes them.

Sources: G. Hacohen and D. Weinshall, *On the power of curriculum learning in training deep networks*, ICML 2019,
section 2.3 (step and exponentials); E. A. Platanios et al., *Competence-based curriculum learning for neural machine
translation*, NAACL 2019, section 3.2 (linear and root).

Examples
--------
>>> from fastopt.meta import pacing
>>> share = pacing.root(0.1, epochs=10)
>>> [round(share(epoch), 3) for epoch in (0, 1, 5, 10, 99)]
[0.1, 0.33, 0.711, 1.0, 1.0]
"""

from __future__ import annotations

import math
import numbers
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fastopt._checks import check_integer, check_number

__all__ = ["Pacing", "exponential", "linear", "root", "share_of", "stages", "step"]


def as_epoch(owner: str, epoch: Any) -> int:
    """A number of an epoch, from 0."""
    return check_integer(owner, "epoch", epoch, 0)


def share_of(pacing: Any, epoch: int, name: str = "pacing") -> float:
    """What a pacing gives for an epoch, checked: a number in (0, 1]."""
    share = pacing(epoch)
    if isinstance(share, bool) or not isinstance(share, numbers.Real):
        raise TypeError(f"{name}({epoch}) is {share!r}; a number in (0, 1] is wanted")
    if not 0 < float(share) <= 1:
        raise ValueError(f"{name}({epoch}) is {share!r}; a number in (0, 1] is wanted")
    return float(share)


def _grown(start: float, factor: float, times: int) -> float:
    """min(start * factor^times, 1), where the power alone may be too large for a float."""
    return 1.0 if times * math.log(factor) >= -math.log(start) else min(1.0, start * factor**times)


@dataclass(frozen=True)
class Pacing:
    """Base class: a share that begins with `start`.

    Parameters
    ----------
    start : float
        Share of epoch 0, in (0, 1].
    """

    start: float

    def __post_init__(self) -> None:
        self._number("start", 0.0, 1.0, above=True)

    def __call__(self, epoch: int) -> float:
        """The share of an epoch, 0 for the first: in (0, 1]."""
        raise NotImplementedError(f"{type(self).__name__} gives no __call__")

    def _number(self, name: str, *bounds: float, **ends: bool) -> None:
        value = check_number(type(self).__name__, name, getattr(self, name), *bounds, **ends)
        object.__setattr__(self, name, value)

    def _integer(self, name: str) -> None:
        object.__setattr__(self, name, check_integer(type(self).__name__, name, getattr(self, name), 1))


@dataclass(frozen=True)
class step(Pacing):
    """`start` for the first `at` epochs, then everything.

    Parameters
    ----------
    start : float
        In (0, 1].
    at : int
        The first epoch with all examples, >= 1.

    Examples
    --------
    >>> [step(0.2, at=2)(epoch) for epoch in range(4)]
    [0.2, 0.2, 1.0, 1.0]
    """

    at: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._integer("at")

    def __call__(self, epoch: int) -> float:
        return self.start if as_epoch("step", epoch) < self.at else 1.0


@dataclass(frozen=True)
class exponential(Pacing):
    """`factor` times as much every `every` epochs: Hacohen and Weinshall's fixed exponential pacing.

    Parameters
    ----------
    start : float, default 0.04
        In (0, 1].
    factor : float, default 1.9
        Above 1.
    every : int, default 1
        Epochs between two increases, >= 1.

    Notes
    -----
    ``min(start * factor^floor(epoch / every), 1)``. The defaults of `start` and `factor` are the paper's; its steps are
    100 mini-batches long.

    Examples
    --------
    >>> [exponential(0.1, 2.0, every=2)(epoch) for epoch in range(9)]
    [0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.8, 0.8, 1.0]
    """

    start: float = 0.04
    factor: float = 1.9
    every: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("factor", 1.0, math.inf, above=True)
        self._integer("every")

    def __call__(self, epoch: int) -> float:
        return _grown(self.start, self.factor, as_epoch("exponential", epoch) // self.every)


@dataclass(frozen=True)
class stages(Pacing):
    """`factor` times as much from each of the given epochs on: the varied exponential pacing.

    Parameters
    ----------
    start : float
        In (0, 1].
    factor : float
        Above 1.
    epochs : sequence of int
        Rising, each >= 1: the first epoch of each further stage.

    Notes
    -----
    ``min(start * factor^m, 1)``, m the number of `epochs` that are reached. The paper gives each of few increases a
    length of its own.

    Examples
    --------
    >>> share = stages(0.25, 2.0, [1, 5])
    >>> [share(epoch) for epoch in (0, 1, 4, 5, 6)]
    [0.25, 0.5, 0.5, 1.0, 1.0]
    """

    factor: float
    epochs: Sequence[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("factor", 1.0, math.inf, above=True)
        if isinstance(self.epochs, str) or not isinstance(self.epochs, Sequence):
            raise TypeError(f"stages: epochs is {self.epochs!r}; a sequence of integers is wanted")
        kept = tuple(check_integer("stages", f"epochs[{i}]", e, 1) for i, e in enumerate(self.epochs))
        if any(b <= a for a, b in pairwise(kept)):
            raise ValueError(f"stages: epochs is {list(kept)}; rising integers are wanted")
        object.__setattr__(self, "epochs", kept)

    def __call__(self, epoch: int) -> float:
        return _grown(self.start, self.factor, bisect_right(self.epochs, as_epoch("stages", epoch)))


@dataclass(frozen=True)
class linear(Pacing):
    """From `start` to everything at a constant speed.

    Parameters
    ----------
    start : float
        In (0, 1].
    epochs : int
        The first epoch with all examples, >= 1.

    Notes
    -----
    ``min(start + (1 - start) epoch / epochs, 1)``.

    Examples
    --------
    >>> [linear(0.5, epochs=4)(epoch) for epoch in range(6)]
    [0.5, 0.625, 0.75, 0.875, 1.0, 1.0]
    """

    epochs: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._integer("epochs")

    def __call__(self, epoch: int) -> float:
        t = as_epoch("linear", epoch)
        return 1.0 if t >= self.epochs else min(1.0, self.start + (1.0 - self.start) * t / self.epochs)


@dataclass(frozen=True)
class root(Pacing):
    """Fast at first, then slower, so that new examples get time in proportion to their number.

    Parameters
    ----------
    start : float
        In (0, 1].
    epochs : int
        The first epoch with all examples, >= 1.
    power : float, default 2.0
        2: the square root; 1: linear; larger: faster at first. > 0.

    Notes
    -----
    ``(start^p + (1 - start^p) epoch / epochs)^(1/p)``, and 1 from `epochs` on. With p = 2 the share grows by a rate
    inverse to itself: each newcomer is drawn as often on average before the next ones come.

    Examples
    --------
    >>> [round(root(0.5, epochs=3)(epoch), 4) for epoch in range(5)]
    [0.5, 0.7071, 0.866, 1.0, 1.0]
    """

    epochs: int
    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._integer("epochs")
        self._number("power", 0.0, math.inf, above=True)

    def __call__(self, epoch: int) -> float:
        t = as_epoch("root", epoch)
        if t >= self.epochs:
            return 1.0
        if t == 0:
            return self.start
        low = self.start**self.power
        return min(1.0, max(self.start, (low + (1.0 - low) * t / self.epochs) ** (1.0 / self.power)))
