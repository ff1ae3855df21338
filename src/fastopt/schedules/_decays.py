"""Schedules that go one way smoothly: constant, and the decays with an end and without."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastopt.schedules._base import Schedule, bad_step, blend


@dataclass(frozen=True)
class constant(Schedule):
    """The same value at every step.

    Parameters
    ----------
    value : float
        The value, >= 0.

    Raises
    ------
    TypeError, ValueError
        `value` is not a finite number >= 0.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """

    value: float

    def __post_init__(self) -> None:
        self._number("value")

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        return self.value


@dataclass(frozen=True)
class linear(Schedule):
    """The book's linear decay: from `start` to `end` at step `steps`, then constant.

    Parameters
    ----------
    start : float
        The value that step 0 would have, >= 0; the first step is already 1/`steps` of the way.
    end : float, optional
        The value at ``t = steps`` and ever after, >= 0. Default ``0.01 * start`` ("about 1%").
    steps : int
        The book's tau, >= 1.

    Raises
    ------
    TypeError, ValueError
        An argument is missing, of the wrong kind or out of its range.

    See Also
    --------
    polynomial : power 1 gives torch's count, whose first step is `start` itself.

    Notes
    -----
    ``eps_t = (1 - a) start + a end`` with ``a = min(t / steps, 1)``. Neither value need be the larger.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, 2016, section 8.3.1, Algorithm 8.1 and equation 8.14.

    Examples
    --------
    >>> lr = linear(0.1, steps=100)
    >>> lr(50), lr(100), lr(10**6)
    (0.0505, 0.001, 0.001)
    """

    start: float
    end: float | None = None
    steps: int = 0  # 0 stands for "not given": `end`, which may be left out, comes before it

    def __post_init__(self) -> None:
        self._number("start")
        if self.end is None:
            self._set("end", 0.01 * self.start)
        self._number("end")
        self._integer("steps")

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        if t >= self.steps:
            return self.end  # type: ignore[return-value]
        return blend(self.start, self.end, (self.steps - t) / self.steps)  # type: ignore[arg-type]


@dataclass(frozen=True)
class polynomial(Schedule):
    """From `start` to `end` along a power of the way that is left.

    Parameters
    ----------
    start, end : float
        The first step's value and the one from ``t = steps + 1`` on; >= 0.
    steps : int
        Number of steps before `end`, >= 1.
    power : float, default 1.0
        Above 0; 1 is a straight line, larger falls faster at first.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``end + (start - end) (1 - min(t - 1, steps) / steps)^power``; torch's ``PolynomialLR`` for ``end = 0``.

    References
    ----------
    Chen et al., DeepLab, 2017, section 4.1 (the "poly" policy, power 0.9).

    Examples
    --------
    >>> lr = polynomial(0.1, 0.0, steps=100, power=2)
    >>> lr(1), lr(51), lr(101)
    (0.1, 0.025, 0.0)
    """

    start: float
    end: float
    steps: int
    power: float = 1.0

    def __post_init__(self) -> None:
        self._number("start")
        self._number("end")
        self._integer("steps")
        self._number("power", above=True)

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        left = self.steps + 1 - t
        if left <= 0:
            return self.end
        return blend(self.start, self.end, (left / self.steps) ** self.power)


def half_cosine(left: float) -> float:
    """``(1 + cos(pi (1 - left))) / 2`` for the part `left` of the way; a square, exact to the last steps."""
    s = math.sin(0.5 * math.pi * left)
    return s * s


@dataclass(frozen=True)
class cosine(Schedule):
    """Half a cosine from `start` to `end`.

    Parameters
    ----------
    start : float
        The first step's value, >= 0.
    steps : int
        Number of steps before `end`, >= 1.
    end : float, default 0.0
        The value from ``t = steps + 1`` on, >= 0.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``end + (start - end) (1 + cos(pi k / steps)) / 2`` with ``k = min(t - 1, steps)``; torch's
    ``CosineAnnealingLR`` with ``T_max = steps``, which does not come up again afterwards.

    References
    ----------
    Loshchilov, Hutter, SGDR, 2017, equation 5.

    Examples
    --------
    >>> lr = cosine(0.1, steps=100)
    >>> lr(1), round(lr(51), 12), lr(101)
    (0.1, 0.05, 0.0)
    """

    start: float
    steps: int
    end: float = 0.0

    def __post_init__(self) -> None:
        self._number("start")
        self._integer("steps")
        self._number("end")

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        left = self.steps + 1 - t
        if left <= 0:
            return self.end
        return blend(self.start, self.end, half_cosine(left / self.steps))


@dataclass(frozen=True)
class exponential(Schedule):
    """Multiply by `rate` once in `every` steps, smoothly.

    Parameters
    ----------
    value : float
        The first step's value, >= 0.
    rate : float
        In (0, 1].
    every : int, default 1
        Steps in which the value falls by `rate`, >= 1.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``value * rate^((t - 1) / every)``; torch's ``ExponentialLR`` for ``every = 1``. It reaches 0 only by
    underflow.

    References
    ----------
    Senior et al., An empirical study of learning rates in deep neural networks for speech recognition,
    2013, section 3.

    Examples
    --------
    >>> lr = exponential(0.8, 0.25, every=100)
    >>> lr(1), lr(51), lr(101)
    (0.8, 0.4, 0.2)
    """

    value: float
    rate: float
    every: int = 1

    def __post_init__(self) -> None:
        self._number("value")
        self._number("rate", 0.0, 1.0, above=True)
        self._integer("every")

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        return self.value * self.rate ** ((t - 1) / self.every)


@dataclass(frozen=True)
class inverse_time(Schedule):
    """Divide by a number that grows with time, or by a root of it.

    Parameters
    ----------
    value : float
        The first step's value, >= 0.
    rate : float
        >= 0.
    every : int, default 1
        Steps in which the divisor grows by `rate`, >= 1.
    power : float, default 1.0
        In (0, 1]. For `power` in (0.5, 1] and a positive `rate` the sum of the values diverges and that
        of their squares converges, the sufficient condition for SGD to converge (equations 8.12, 8.13).

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``value / (1 + rate (t - 1) / every)^power``. ``inverse_time(v, 1, power=0.5)`` is ``v / sqrt(t)``;
    ``warmup(inverse_time(v, 1, every=w, power=0.5), w)`` is the schedule of the transformer,
    ``v min(t / w, sqrt(w / t))``.

    References
    ----------
    Robbins, Monro, A stochastic approximation method, 1951. Darken, Moody, Note on learning rate schedules
    for stochastic optimization, 1990. Deep Learning, section 8.3.1. Vaswani et al., 2017, section 5.3.

    Examples
    --------
    >>> lr = inverse_time(0.5, rate=1.0, every=100)
    >>> lr(1), lr(101), lr(301)
    (0.5, 0.25, 0.125)
    """

    value: float
    rate: float
    every: int = 1
    power: float = 1.0

    def __post_init__(self) -> None:
        self._number("value")
        self._number("rate")
        self._integer("every")
        self._number("power", 0.0, 1.0, above=True)

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        return self.value / (1.0 + self.rate * (t - 1) / self.every) ** self.power
