"""A straight fall again and again: the cyclic rate of stochastic weight averaging."""

from __future__ import annotations

from dataclasses import dataclass

from fastopt.schedules._base import Schedule, bad_step, blend


@dataclass(frozen=True)
class sawtooth(Schedule):
    """A straight fall from `high` to `low`, once every `period` steps.

    Parameters
    ----------
    high : float
        Where each fall starts from, >= 0; the first step of a period is one part of `period` below it.
    low : float
        The value of the last step of every period, >= 0. It may be above `high`: then it is a rise.
    period : int
        Steps of a period, >= 1; with 1 the value is always `low`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``(1 - s) high + s low`` with ``s = (((t - 1) mod period) + 1) / period``.

    References
    ----------
    Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, Averaging weights leads to wider optima and better
    generalization, 2018, section 3.1.

    Examples
    --------
    >>> lr = sawtooth(0.4, 0.1, period=3)
    >>> [round(lr(t), 12) for t in (1, 2, 3, 4)]
    [0.3, 0.2, 0.1, 0.3]
    """

    high: float
    low: float
    period: int

    def __post_init__(self) -> None:
        self._number("high")
        self._number("low")
        self._integer("period")

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        left = self.period - 1 - (t - 1) % self.period
        return blend(self.high, self.low, left / self.period)
