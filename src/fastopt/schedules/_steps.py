"""Schedules that are constant between given steps."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from fastopt.schedules._base import Schedule, bad_step


@dataclass(frozen=True)
class step(Schedule):
    """Multiply by `factor` after every `every` steps.

    Parameters
    ----------
    value : float
        The value of the first `every` steps, >= 0.
    every : int
        Steps between two drops, >= 1.
    factor : float, default 0.1
        In (0, 1].

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``value * factor^floor((t - 1) / every)``; torch's ``StepLR``.

    References
    ----------
    He et al., Deep residual learning for image recognition, 2016, section 3.4 (divide by 10).

    Examples
    --------
    >>> lr = step(0.5, every=10, factor=0.5)
    >>> lr(1), lr(10), lr(11), lr(21)
    (0.5, 0.5, 0.25, 0.125)
    """

    value: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        self._number("value")
        self._integer("every")
        self._number("factor", 0.0, 1.0, above=True)

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        return self.value * self.factor ** ((t - 1) // self.every)


@dataclass(frozen=True)
class multistep(Schedule):
    """Multiply by `factor` after each of the given steps.

    Parameters
    ----------
    value : float
        The value up to and including step ``milestones[0]``, >= 0.
    milestones : sequence of int
        Rising, each >= 1: the last step before each drop.
    factor : float, default 0.1
        In (0, 1].

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range, or `milestones` do not rise.

    Notes
    -----
    ``value * factor^n``, n the number of milestones below t; torch's ``MultiStepLR``.

    Examples
    --------
    >>> lr = multistep(0.5, [30, 80], factor=0.5)
    >>> lr(30), lr(31), lr(81)
    (0.5, 0.25, 0.125)
    """

    value: float
    milestones: Sequence[int]
    factor: float = 0.1

    def __post_init__(self) -> None:
        self._number("value")
        self._boundaries("milestones")
        self._number("factor", 0.0, 1.0, above=True)

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        return self.value * self.factor ** bisect_left(self.milestones, t)


@dataclass(frozen=True)
class piecewise(Schedule):
    """A constant value on each stretch between boundaries.

    Parameters
    ----------
    values : sequence of float
        One value a stretch, >= 0; one more than `boundaries`.
    boundaries : sequence of int
        Rising, each >= 1: the last step of each stretch but the last, which never ends.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range, `boundaries` do not rise, or the lengths
        do not fit.

    Notes
    -----
    ``values[i]`` for ``boundaries[i-1] < t <= boundaries[i]``.

    Examples
    --------
    >>> lr = piecewise([0.1, 0.2, 0.01], [10, 100])
    >>> lr(10), lr(11), lr(101)
    (0.1, 0.2, 0.01)
    """

    values: Sequence[float]
    boundaries: Sequence[int]

    def __post_init__(self) -> None:
        self._numbers("values")
        self._boundaries("boundaries")
        if len(self.values) != len(self.boundaries) + 1:
            raise ValueError(
                f"piecewise: {len(self.values)} values and {len(self.boundaries)} boundaries; "
                "one value more than boundaries is wanted"
            )

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        return self.values[bisect_left(self.boundaries, t)]
