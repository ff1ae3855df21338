"""Fields of optimizers: conventions that fill them, ranges that bound them, and scalars that may be functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypedDict

import numpy as np

from fastopt.averaging import Average

__all__ = ["REQUIRED", "Common", "Scalar", "check_scalar", "expand", "resolve", "spelled"]

#: A number, or a function of the step's number t = 1, 2, ...
Scalar: TypeAlias = float | Callable[[int], float]


class _Required:
    def __repr__(self) -> str:
        return "required"


#: Marks a field that a convention leaves to the user.
REQUIRED = _Required()


class Common(TypedDict, total=False):
    """Keywords that every optimizer takes; `Optimizer` documents them."""

    weight_decay: Scalar
    decoupled_weight_decay: bool
    maximize: bool
    groups: Mapping[str, Mapping[str, Any]] | None
    clip_norm: Scalar | None
    clip_value: Scalar | None
    clip_eps: float
    grad_scale: Scalar
    nonfinite: str
    average: Average | None
    zero_grads: bool
    diagnostics: bool
    flush_subnormals: bool


COMMON_DEFAULTS: dict[str, Any] = {
    "weight_decay": 0.0,
    "decoupled_weight_decay": False,
    "maximize": False,
    "groups": None,
    "clip_norm": None,
    "clip_value": None,
    "clip_eps": 1e-6,
    "grad_scale": 1.0,
    "nonfinite": "raise",
    "average": None,
    "zero_grads": False,
    "diagnostics": False,
    "flush_subnormals": False,
}

#: What a convention says of every optimizer alike.
COMMON_CONVENTIONS: dict[str, dict[str, Any]] = {
    "torch": {},
    "book": {"clip_eps": 0.0},
    "keras": {"clip_eps": 0.0, "decoupled_weight_decay": True},
    "optax": {"clip_eps": 0.0},
}

#: Fields that hold two numbers, and the names of these in rules.def.
PAIRS = {
    "betas": ("beta1", "beta2"),
    "etas": ("eta_minus", "eta_plus"),
    "step_sizes": ("step_min", "step_max"),
}

_FINITE = "a finite number"
#: name -> (test, what is needed); NaN fails every test.
RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "lr": (lambda x: 0 <= x < math.inf, "a finite number of at least 0"),
    "weight_decay": (lambda x: 0 <= x < math.inf, "a finite number of at least 0"),
    "momentum": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "dampening": (lambda x: -math.inf < x < math.inf, _FINITE),
    "lr_decay": (lambda x: 0 <= x < math.inf, "a finite number of at least 0"),
    "initial_accumulator_value": (lambda x: 0 <= x < math.inf, "a finite number of at least 0"),
    "alpha": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "rho": (lambda x: 0 <= x <= 1, "a number from 0 to 1"),
    "beta1": (lambda x: 0 <= x < 1, "a number of at least 0 and below 1"),
    "beta2": (lambda x: 0 <= x < 1, "a number of at least 0 and below 1"),
    "eps": (lambda x: 0 <= x < math.inf, "a finite number of at least 0"),
    "eps_root": (lambda x: 0 <= x < math.inf, "a finite number of at least 0"),
    "momentum_decay": (lambda x: x >= 0, "a number of at least 0, or inf"),
    "eta_minus": (lambda x: 0 < x < 1, "a number between 0 and 1"),
    "eta_plus": (lambda x: 1 < x < math.inf, "a finite number above 1"),
    "step_min": (lambda x: 0 < x < math.inf, "a finite number above 0"),
    "step_max": (lambda x: 0 < x < math.inf, "a finite number above 0"),
    "grad_scale": (lambda x: -math.inf < x < math.inf, _FINITE),
    "clip_norm": (lambda x: 0 < x < math.inf, "a finite number above 0"),
    "clip_value": (lambda x: 0 < x < math.inf, "a finite number above 0"),
    "clip_eps": (lambda x: 0 <= x < math.inf, "a finite number of at least 0"),
}


def spelled(name: str) -> str:
    """How the user wrote a scalar: ``beta1`` stands in the field ``betas``."""
    for field, names in PAIRS.items():
        if name in names:
            return f"{field}[{names.index(name)}]"
    return name


def check_scalar(name: str, value: Any, where: str = "", t: int | None = None) -> float:
    """A number in its range as a float; TypeError or ValueError that names the argument otherwise."""
    said = f"{where}{spelled(name)}" + (f" at step {t}" if t is not None else "")
    test, needed = RANGES[name]
    if (
        isinstance(value, (bool, np.bool_, str, bytes, complex))
        or value is None
        or getattr(value, "ndim", 0) != 0
    ):
        raise TypeError(f"{said} is {value!r}; {needed} is needed")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{said} is {type(value).__name__}; {needed} is needed") from None
    if not test(number):
        raise ValueError(f"{said} is {number}; {needed} is needed")
    return number


def resolve(
    cls: str, conventions: Mapping[str, Mapping[str, Any]], convention: str, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Every field of an optimizer: torch's defaults, then the convention's differences, then what the user gave."""
    if convention not in conventions:
        known = ", ".join(repr(name) for name in conventions)
        raise ValueError(f"convention is {convention!r}; {cls} has {known}")
    fields = {**COMMON_DEFAULTS, **COMMON_CONVENTIONS[convention], **conventions["torch"]}
    fields.update(conventions[convention])
    for name, value in given.items():
        if name not in fields:
            raise TypeError(f"{cls} has no argument {name!r}; it has {', '.join(fields)}")
        if value is not None:
            fields[name] = value
    for name, value in fields.items():
        if value is REQUIRED:
            raise ValueError(f"{name} is missing; convention={convention!r} has no default for it in {cls}")
    return fields


def expand(fields: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Fields as the scalars of rules.def: pairs taken apart, flags as 0 and 1, epsilon on its side of the root."""
    scalars: dict[str, Any] = {}
    for name, value in fields.items():
        if name in PAIRS:
            try:
                first, second = value
            except (TypeError, ValueError):
                raise TypeError(f"{where}{name} is {value!r}; a pair of numbers is needed") from None
            scalars.update(zip(PAIRS[name], (first, second), strict=True))
        else:
            scalars[name] = value
    if "eps_inside" in fields:
        inside = fields["eps_inside"]
        scalars["eps"], scalars["eps_root"] = (0.0, fields["eps"]) if inside else (fields["eps"], 0.0)
    return scalars
