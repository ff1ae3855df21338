"""Schedules made of schedules: one after another, scaled, multiplied."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastopt.schedules._base import Schedule, ScheduleLike, as_schedule, bad_step, items


@dataclass(frozen=True)
class join(Schedule):
    """One schedule after another, each counting its own steps from 1.

    Parameters
    ----------
    schedules : sequence of float or callable
        One more than `boundaries`; a number stands for `constant`.
    boundaries : sequence of int
        Rising, each >= 1: the last step of each schedule but the last.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range, `boundaries` do not rise, or the lengths
        do not fit.

    Notes
    -----
    ``schedules[i](t - boundaries[i-1])`` for ``boundaries[i-1] < t <= boundaries[i]``, with
    ``boundaries[-1] = 0`` for the first; torch's ``SequentialLR``, optax's ``join_schedules``.

    Examples
    --------
    >>> from fastopt.schedules import step
    >>> lr = join([0.1, step(0.8, every=10, factor=0.5)], [100])
    >>> lr(100), lr(101), lr(111)
    (0.1, 0.8, 0.4)
    """

    schedules: Sequence[ScheduleLike]
    boundaries: Sequence[int]

    def __post_init__(self) -> None:
        parts = enumerate(items("join", "schedules", self.schedules))
        self._set("schedules", tuple(as_schedule("join", f"schedules[{i}]", s) for i, s in parts))
        self._boundaries("boundaries")
        if len(self.schedules) != len(self.boundaries) + 1:
            raise ValueError(
                f"join: {len(self.schedules)} schedules and {len(self.boundaries)} boundaries; "
                "one schedule more than boundaries is wanted"
            )

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        i = bisect_left(self.boundaries, t)
        return self.schedules[i](t - self.boundaries[i - 1] if i else t)  # type: ignore[operator]


@dataclass(frozen=True)
class scale(Schedule):
    """A schedule times a number.

    Parameters
    ----------
    schedule : float or callable
        What is scaled; a number stands for `constant`.
    factor : float
        >= 0.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``factor * schedule(t)``.

    Examples
    --------
    >>> from fastopt.schedules import cosine
    >>> scale(cosine(0.5, steps=100), 0.5)(1)
    0.25
    """

    schedule: ScheduleLike
    factor: float

    def __post_init__(self) -> None:
        self._set("schedule", as_schedule("scale", "schedule", self.schedule))
        self._number("factor")

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        return self.factor * self.schedule(t)  # type: ignore[operator]


@dataclass(frozen=True, init=False, repr=False)
class chain(Schedule):
    """The product of schedules that run side by side.

    Parameters
    ----------
    *schedules : float or callable
        At least one; a number stands for `constant`.

    Raises
    ------
    TypeError, ValueError
        No schedule is given, or one is of the wrong kind.

    Notes
    -----
    ``schedules[0](t) * schedules[1](t) * ...``; what torch's ``ChainedScheduler`` does to one start value.

    Examples
    --------
    >>> from fastopt.schedules import step, warmup
    >>> lr = chain(warmup(1.0, 4), step(0.5, every=100, factor=0.5))
    >>> lr(1), lr(4), lr(101)
    (0.125, 0.5, 0.25)
    """

    schedules: tuple[Callable[[int], float], ...]

    def __init__(self, *schedules: ScheduleLike) -> None:
        if not schedules:
            raise TypeError("chain: no schedule came; at least one is wanted")
        parts = enumerate(schedules)
        self._set("schedules", tuple(as_schedule("chain", f"schedules[{i}]", s) for i, s in parts))

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.schedules))})"

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        product = 1.0
        for schedule in self.schedules:
            product *= schedule(t)
        return product
