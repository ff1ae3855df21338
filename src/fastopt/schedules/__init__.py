"""Schedules: values as functions of the step number t, which is 1 for the first step.

Every scalar of an optimizer may be such a function. Those of this module are small frozen objects: they
are evaluated in well under a microsecond, pickle, copy, compare by their fields, and print as the call
that makes them.

How they count:

- `linear` is the book's Algorithm 8.1, ``a = t / steps``: it has `end` at ``t = steps``.
- The other decays count the steps already taken, ``t - 1``, as torch, optax and Keras do: the first step
  gets the start value, and those with a length have `end` from ``t = steps + 1``.
- `warmup`, `warmup_cosine`, `warmup_stable_decay` and `one_cycle` have their peak at the last step of the
  rise (``t = warmup``) and `end` at the last step of all (``t = total``).
- After the last step the last value stays. Boundaries are the last step of the stretch they close.
- No value is NaN or below 0 for any t >= 1; a t below 1 is refused.
"""

from __future__ import annotations

from fastopt.schedules._base import Schedule, ScheduleLike
from fastopt.schedules._combine import chain, join, scale
from fastopt.schedules._cycles import (
    cosine_restarts,
    one_cycle,
    warmup,
    warmup_cosine,
    warmup_stable_decay,
)
from fastopt.schedules._decays import (
    constant,
    cosine,
    exponential,
    inverse_time,
    linear,
    polynomial,
)
from fastopt.schedules._plateau import Plateau
from fastopt.schedules._plot import plot
from fastopt.schedules._sawtooth import sawtooth
from fastopt.schedules._steps import multistep, piecewise, step

__all__ = [
    "Schedule",
    "ScheduleLike",
    "constant",
    "linear",
    "step",
    "multistep",
    "piecewise",
    "exponential",
    "inverse_time",
    "polynomial",
    "cosine",
    "warmup",
    "warmup_cosine",
    "one_cycle",
    "warmup_stable_decay",
    "cosine_restarts",
    "sawtooth",
    "join",
    "scale",
    "chain",
    "Plateau",
    "plot",
]

# Pickles and help pages name the public module, so that the files behind it may be moved.
for _name in __all__:
    if _name != "ScheduleLike":
        globals()[_name].__module__ = __name__
del _name
