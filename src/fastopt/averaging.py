"""Averages of the weights over the steps: means over all of them, the last ones or every k-th, and moving averages.

All are recursions ``avg += c_t (p - avg)``, done in the optimizer's own pass over memory. A class here
holds no array; it only tells the coefficient ``c_t`` of step t, 1 for the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from fastopt._checks import check_integer, check_number

__all__ = ["EMA", "Average", "Every", "Mean", "Polynomial", "Tail"]


@runtime_checkable
class Average(Protocol):
    """What an optimizer asks of an average; a class of yours may give it too."""

    @property
    def starts_at_parameters(self) -> bool:
        """Whether the average before the first step is the initial parameters; else ``c_1 = 1``."""

    def weight(self, t: int) -> float:
        """The coefficient ``c_t`` in ``avg += c_t (p - avg)``, in [0, 1]; 0 leaves the average alone, unread."""


@dataclass(frozen=True)
class Mean:
    """The mean of the weights after each step, all with the same weight (Polyak averaging).

    Parameters
    ----------
    start : int, default 0
        Steps that are left out at the beginning, >= 0. Up to and including step `start` the average is a
        copy of the parameters.

    Raises
    ------
    TypeError, ValueError
        `start` is not an integer >= 0.

    Notes
    -----
    ``c_t = 1`` for ``t <= start``, then ``1 / (t - start)``, which makes
    ``avg_t = (p_{start+1} + ... + p_t) / (t - start)``.

    References
    ----------
    Polyak, Juditsky, Acceleration of stochastic approximation by averaging, 1992. Goodfellow, Bengio,
    Courville, Deep Learning, 2016, section 8.7.3.

    Examples
    --------
    >>> [Mean(start=2).weight(t) for t in (1, 2, 3, 4, 5, 6)]
    [1.0, 1.0, 1.0, 0.5, 0.3333333333333333, 0.25]
    """

    start: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", check_integer("Mean", "start", self.start, 0))

    @property
    def starts_at_parameters(self) -> bool:
        """False: ``c_1 = 1``, so the initial parameters have no part in the mean."""
        return False

    def weight(self, t: int) -> float:
        """The coefficient ``c_t`` in ``avg += c_t (p - avg)``."""
        _check_step("Mean", t)
        return 1.0 / max(t - self.start, 1)


@dataclass(frozen=True)
class Tail:
    """The mean over the last part of a run whose length is known.

    Parameters
    ----------
    total : int
        Steps of the whole run, >= 1.
    fraction : float, default 0.5
        The part at its end that is averaged, in (0, 1]: ``fraction * total`` steps, rounded, at least one.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``Mean(start=total - m)`` with m the number of steps that count; a run that goes on longer is averaged on. For
    objectives that are strongly convex but not smooth this suffix has the optimal rate, where the mean over all
    steps loses a factor of log T.

    References
    ----------
    Rakhlin, Shamir, Sridharan, Making gradient descent optimal for strongly convex stochastic optimization, 2012.

    Examples
    --------
    >>> [round(Tail(total=8, fraction=0.25).weight(t), 4) for t in (5, 6, 7, 8)]
    [1.0, 1.0, 1.0, 0.5]
    """

    total: int
    fraction: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "total", check_integer("Tail", "total", self.total, 1))
        fraction = check_number("Tail", "fraction", self.fraction, 0.0, 1.0, above=True)
        object.__setattr__(self, "fraction", fraction)

    @property
    def start(self) -> int:
        """Steps that are left out at the beginning."""
        return self.total - max(1, round(self.fraction * self.total))

    @property
    def starts_at_parameters(self) -> bool:
        """False: ``c_1 = 1``."""
        return False

    def weight(self, t: int) -> float:
        """The coefficient ``c_t`` in ``avg += c_t (p - avg)``."""
        _check_step("Tail", t)
        return 1.0 / max(t - self.start, 1)


@dataclass(frozen=True)
class Every:
    """The mean of the weights at every k-th step: the collection of stochastic weight averaging (SWA).

    Parameters
    ----------
    period : int
        Steps between two weights that count, >= 1: the steps of an epoch, or of a cycle of the rate.
    start : int, default 0
        Steps before the first period, >= 0. Until the first weight is collected the average is a copy of the
        parameters.

    Raises
    ------
    TypeError, ValueError
        An argument is not an integer in its range.

    Notes
    -----
    ``c_t = 1 / k`` at step ``t = start + k period``, 0 between these (the average is not even read then), 1 before
    the first. The mean is over what was collected alone; Izmailov et al. count the weights at `start` as one more.

    References
    ----------
    Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, Averaging weights leads to wider optima and better
    generalization, 2018, algorithm 1.

    Examples
    --------
    >>> [Every(2, start=1).weight(t) for t in (1, 2, 3, 4, 5, 6, 7)]
    [1.0, 1.0, 1.0, 0.0, 0.5, 0.0, 0.3333333333333333]
    """

    period: int
    start: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "period", check_integer("Every", "period", self.period, 1))
        object.__setattr__(self, "start", check_integer("Every", "start", self.start, 0))

    @property
    def starts_at_parameters(self) -> bool:
        """False: ``c_1 = 1``."""
        return False

    def weight(self, t: int) -> float:
        """The coefficient ``c_t`` in ``avg += c_t (p - avg)``."""
        _check_step("Every", t)
        count, between = divmod(t - self.start, self.period)
        if count < 1:
            return 1.0
        return 0.0 if between else 1.0 / count


@dataclass(frozen=True)
class Polynomial:
    """A mean in which step i counts about as ``i^eta``: old steps fade, and no length need be known.

    Parameters
    ----------
    eta : float, default 3.0
        At least 0; 0 is the mean over all steps. About the last ``1 / (eta + 1)`` of the steps counts.

    Raises
    ------
    TypeError, ValueError
        `eta` is not a finite number >= 0.

    Notes
    -----
    ``c_t = (eta + 1) / (t + eta)``: for whole eta the weight of step i is in proportion to
    ``i (i + 1) ... (i + eta - 1)``.

    References
    ----------
    Shamir, Zhang, Stochastic gradient descent for non-smooth optimization: convergence results and optimal
    averaging schemes, 2013, section 4.

    Examples
    --------
    >>> [round(Polynomial(1).weight(t), 4) for t in (1, 2, 3, 4)]
    [1.0, 0.6667, 0.5, 0.4]
    """

    eta: float = 3.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "eta", check_number("Polynomial", "eta", self.eta))

    @property
    def starts_at_parameters(self) -> bool:
        """False: ``c_1 = 1``."""
        return False

    def weight(self, t: int) -> float:
        """The coefficient ``c_t`` in ``avg += c_t (p - avg)``."""
        _check_step("Polynomial", t)
        return (self.eta + 1.0) / (t + self.eta)


@dataclass(frozen=True)
class EMA:
    """The exponential moving average of the weights.

    Parameters
    ----------
    decay : float, default 0.999
        The book's alpha, in [0, 1): about the last ``1 / (1 - decay)`` steps count.
    debias : bool, default True
        Whether the weights of the steps so far sum to 1. If not, the average starts at the initial
        parameters, which keep the weight ``decay^t``.

    Raises
    ------
    TypeError, ValueError
        `decay` is not a number in [0, 1), or `debias` not a bool.

    Notes
    -----
    ``c_t = 1 - d`` without `debias`: the book's ``avg_t = d avg_{t-1} + (1 - d) p_t``, from ``avg_0 = p_0``.
    With it ``c_t = (1 - d) / (1 - d^t)``, which makes

        ``avg_t = (1 - d) / (1 - d^t) * sum_{i=1}^t d^(t-i) p_i``,

    an average that began at zero, divided by ``1 - d^t`` as Adam's moments are. For d near 1,
    ``1 - d^t`` is computed as ``-expm1(t log d)``, which does not cancel.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, 2016, section 8.7.3. Kingma, Ba, Adam, 2015, sections 3
    and 7.2.

    Examples
    --------
    >>> [round(EMA(0.5).weight(t), 4) for t in (1, 2, 3, 100)]
    [1.0, 0.6667, 0.5714, 0.5]
    >>> EMA(0.75, debias=False).weight(1)
    0.25
    """

    decay: float = 0.999
    debias: bool = True

    def __post_init__(self) -> None:
        decay = check_number("EMA", "decay", self.decay, 0.0, 1.0, below=True)
        object.__setattr__(self, "decay", decay)
        if not isinstance(self.debias, bool):
            raise TypeError(f"EMA: debias is {self.debias!r}; True or False is wanted")

    @property
    def starts_at_parameters(self) -> bool:
        """Whether the average before the first step is the initial parameters: without `debias`."""
        return not self.debias

    def weight(self, t: int) -> float:
        """The coefficient ``c_t`` in ``avg += c_t (p - avg)``."""
        _check_step("EMA", t)
        if not self.debias:
            return 1.0 - self.decay
        if t == 1 or self.decay == 0.0:
            return 1.0  # exactly: nothing of what the array held before may stay
        return (1.0 - self.decay) / -math.expm1(t * math.log(self.decay))


def _check_step(owner: str, t: int) -> None:
    if not t >= 1:
        raise ValueError(f"{owner}: t is {t!r}; steps count from 1")
