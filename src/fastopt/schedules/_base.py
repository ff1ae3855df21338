"""What every schedule shares: the call, the checks of its fields, the mix of two values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any

from fastopt._checks import check_integer, check_number

ScheduleLike = float | Callable[[int], float]


class Schedule:
    """A value as a function of the step number; the base class of the schedules of this package.

    Any callable that takes the step number ``t`` (1 for the first step) and returns a number is a
    schedule to the rest of the library; this class only says so and checks fields. A subclass refuses a
    `t` below 1 (`bad_step`) in its own ``__call__``: one Python call a step, not two.

    Notes
    -----
    Schedules are frozen dataclasses: equal when their fields are equal, hashable, picklable, and their
    ``repr`` builds them again. Only `Plateau` has a state.
    """

    def __call__(self, t: int) -> float:
        """The value at step `t`, 1 for the first step."""
        raise NotImplementedError(f"{type(self).__name__} gives no __call__")

    def _number(self, name: str, low: float = 0.0, high: float = float("inf"), **ends: bool) -> None:
        """Check a field and keep it as a float (`above`, `below` as in `check_number`)."""
        self._set(name, check_number(type(self).__name__, name, getattr(self, name), low, high, **ends))

    def _integer(self, name: str, low: int = 1) -> None:
        """Check a field and keep it as an int."""
        self._set(name, check_integer(type(self).__name__, name, getattr(self, name), low))

    def _boundaries(self, name: str) -> None:
        """Check a field and keep it as a tuple of integers >= 1, each above the one before."""
        owner = type(self).__name__
        given = items(owner, name, getattr(self, name))
        kept = tuple(check_integer(owner, f"{name}[{i}]", b, 1) for i, b in enumerate(given))
        for i in range(1, len(kept)):
            if kept[i] <= kept[i - 1]:
                raise ValueError(
                    f"{owner}: {name}[{i}] is {kept[i]}, after {kept[i - 1]}; rising integers are wanted"
                )
        self._set(name, kept)

    def _numbers(self, name: str) -> None:
        """Check a field and keep it as a tuple of numbers >= 0."""
        owner = type(self).__name__
        given = items(owner, name, getattr(self, name))
        self._set(name, tuple(check_number(owner, f"{name}[{i}]", v) for i, v in enumerate(given)))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


def bad_step(schedule: Schedule, t: int) -> ValueError:
    """The error for a step below 1."""
    return ValueError(f"{type(schedule).__name__}: t is {t!r}; steps count from 1")


def items(owner: str, name: str, given: Any) -> list[Any]:
    """The entries of a sequence that was given as an argument."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"{owner}: {name} is {given!r}; a sequence is wanted")
    return list(given)


def as_schedule(owner: str, name: str, given: Any) -> Callable[[int], float]:
    """A callable as it is, a number as `constant`."""
    from fastopt.schedules._decays import constant  # _decays stands on this file

    if isinstance(given, type):
        raise TypeError(f"{owner}: {name} is the class {given.__name__}; an instance of it is wanted")
    if callable(given):
        return given
    if not isinstance(given, Real):
        raise TypeError(f"{owner}: {name} is {given!r}; a number or a function of the step is wanted")
    return constant(check_number(owner, name, given))


def blend(start: float, end: float, w: float) -> float:
    """``w start + (1 - w) end``; exact at ``w = 0`` and ``w = 1``, never below 0 for w in [0, 1]."""
    return w * start + (1.0 - w) * end
