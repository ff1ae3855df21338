"""Checks of scalar arguments: one sentence that names the argument, what came and what is wanted."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["check_choice", "check_integer", "check_keys", "check_number"]


def check_number(
    owner: str,
    name: str,
    value: Any,
    low: float = 0.0,
    high: float = math.inf,
    *,
    above: bool = False,
    below: bool = False,
) -> float:
    """`value` as a finite float in ``[low, high]``; `above` and `below` leave out the end itself."""
    if high < math.inf:
        wanted = f"a number in {'(' if above else '['}{low:g}, {high:g}{')' if below else ']'}"
    elif low == -math.inf:
        wanted = "a finite number"
    else:
        wanted = f"a finite number {'>' if above else '>='} {low:g}"
    # bool is a number to Python, but lr=True is a slip.
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{owner}: {name} is {value!r} ({type(value).__name__}); {wanted} is wanted")
    x = float(value)
    inside = (x > low if above else x >= low) and (x < high if below else x <= high)
    if not (math.isfinite(x) and inside):
        raise ValueError(f"{owner}: {name} is {x!r}; {wanted} is wanted")
    return x


def check_integer(owner: str, name: str, value: Any, low: int) -> int:
    """`value` as an int of at least `low`; floats are refused, also whole ones."""
    wanted = f"an integer >= {low}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{owner}: {name} is {value!r} ({type(value).__name__}); {wanted} is wanted")
    if value < low:
        raise ValueError(f"{owner}: {name} is {value}; {wanted} is wanted")
    return int(value)


def check_choice(owner: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    """`value` if it is one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"{owner}: {name} is {value!r}; one of {', '.join(map(repr, choices))} is wanted")
    return value


def check_keys(owner: str, state: Any, wanted: Iterable[str]) -> None:
    """A saved state must be a mapping of exactly these keys."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{owner}: state is {type(state).__name__}; a dict from state_dict() is wanted")
    names = sorted(wanted)
    if set(state) != set(names):
        raise ValueError(f"{owner}: state has {sorted(map(str, state))}; {names} are wanted")
