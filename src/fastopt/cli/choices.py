"""Optimizer, schedule and average by name and ``key=value``, as the command line gives them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from typing import Any

from fastopt import averaging, optim, schedules
from fastopt.cli.errors import Mistake, close_names, first_line
from fastopt.optim.fields import Common

__all__ = [
    "optimizer_names",
    "resolve_optimizer",
    "build_optimizer",
    "default_lr",
    "describe",
    "parse_fields",
    "build_schedule",
    "build_average",
]

# Names that are no class of their own: fields of one.
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "amsgrad": ("Adam", {"amsgrad": True}),
}
# Given by options of their own, or without meaning here.
RESERVED = {
    "params",
    "lr",
    "convention",
    "common",
    "groups",
    "clip_norm",
    "clip_value",
    "average",
    "diagnostics",
}


def classes() -> dict[str, Any]:
    """The optimizer classes of the library by lower-case name."""
    found = {}
    for name in optim.__all__:
        member = getattr(optim, name)
        if inspect.isclass(member) and issubclass(member, optim.Optimizer) and member is not optim.Optimizer:
            found[name.lower()] = member
    return found


def optimizer_names() -> list[str]:
    """Every name that ``--optimizer`` takes: classes and presets, gradient descent first."""
    order = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "amsgrad"]
    known = [*classes(), *PRESETS]
    return [name for name in order if name in known] + [name for name in known if name not in order]


def resolve_optimizer(name: str, fields: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
    """The class behind a name and its fields, checked against the class's constructor."""
    key = name.lower().replace("-", "").replace("_", "")
    found = classes()
    class_name, given = PRESETS.get(key, (key, {}))
    if class_name.lower() not in found:
        near = close_names(name, optimizer_names())
        raise Mistake(
            f"no optimizer {name!r}{near}{' ' if near else '; '}known: {', '.join(optimizer_names())}"
        )
    chosen = found[class_name.lower()]
    allowed = [
        p for p in [*inspect.signature(chosen).parameters, *Common.__annotations__] if p not in RESERVED
    ]
    for field in fields or {}:
        if field not in allowed:
            hint = ""
            if field in RESERVED:
                hint = "; it has an option of its own (see fastopt train --help)"
            near = hint or close_names(field, allowed)
            raise Mistake(
                f"{chosen.__name__} takes no --opt {field}{near}{' ' if near.endswith('?') else '; '}"
                f"fields: {', '.join(allowed)}"
            )
    return chosen, {**given, **(fields or {})}


def build_optimizer(
    name: str, params: Any, lr: Any, fields: dict[str, Any] | None = None, **common: Any
) -> Any:
    """An optimizer over `params`; a value that its constructor refuses is a `Mistake`.

    Subnormals are flushed: moments of weights whose gradient is mostly zero (dead pixels) end there, and are slow.
    """
    chosen, given = resolve_optimizer(name, fields)
    try:
        return chosen(params, lr, **{"flush_subnormals": True, **given, **common})
    except (TypeError, ValueError) as error:
        raise Mistake(first_line(error)) from None


def default_lr(opt: Any) -> float:
    """The learning rate that an optimizer made with ``lr=None`` has."""
    return float(opt.scalars["lr"])


def parse_fields(pairs: Sequence[str], option: str) -> dict[str, Any]:
    """``["betas=0.9,0.99", "amsgrad=true"]`` as a dict; a value with commas is a tuple."""
    fields = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip() or not text.strip():
            raise Mistake(f"{option} {pair!r}: key=value is wanted")
        parts = [_value(part) for part in text.split(",") if part.strip()]
        fields[key.strip()] = parts[0] if len(parts) == 1 else tuple(parts)
    return fields


def _value(text: str) -> Any:
    words = {"true": True, "yes": True, "false": False, "no": False, "none": None, "inf": float("inf")}
    text = text.strip()
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _schedule_rows() -> dict[str, tuple[str, dict[str, Any], tuple[str, ...]]]:
    """Name -> (field that takes the learning rate, other fields by default, fields that count steps).

    A default or a given count of steps between 0 and 1 is a share of the run's steps.
    """
    return {
        "constant": ("value", {}, ()),
        "linear": ("start", {"steps": 1.0}, ("steps",)),
        "polynomial": ("start", {"end": 0.0, "steps": 1.0}, ("steps",)),
        "cosine": ("start", {"steps": 1.0}, ("steps",)),
        "exponential": ("value", {"rate": 0.01, "every": 1.0}, ("every",)),
        "inverse_time": ("value", {"rate": 1.0, "every": 0.1}, ("every",)),
        "step": ("value", {"every": 1 / 3}, ("every",)),
        "warmup": ("schedule", {"steps": 0.05}, ("steps",)),
        "warmup_cosine": ("peak", {"warmup": 0.05, "total": 1.0}, ("warmup", "total")),
        "one_cycle": ("peak", {"total": 1.0}, ("total",)),
        "warmup_stable_decay": (
            "peak",
            {"warmup": 0.05, "stable": 0.75, "decay": 0.2},
            ("warmup", "stable", "decay"),
        ),
        "cosine_restarts": ("value", {"first": 0.25}, ("first",)),
        "multistep": ("value", {"milestones": (0.5, 0.75)}, ("milestones",)),
        "plateau": ("value", {}, ()),
    }


def build_schedule(text: str, lr: float, total: int) -> Any:
    """``NAME`` or ``NAME:key=value,...`` as a schedule with `lr` as its height over `total` steps."""
    name, _, rest = text.partition(":")
    key = name.strip().lower().replace("-", "_")
    rows = _schedule_rows()
    if key not in rows:
        near = close_names(key, rows)
        raise Mistake(f"no schedule {name!r}{near}{' ' if near else '; '}known: {', '.join(rows)}")
    height, defaults, counts = rows[key]
    pairs: list[str] = []
    for part in rest.split(",") if rest.strip() else []:
        if "=" not in part and pairs:
            pairs[-1] += "," + part  # one more entry of the value before
        else:
            pairs.append(part)
    given = parse_fields(pairs, f"--schedule {key}:")
    made = getattr(schedules, "Plateau" if key == "plateau" else key)
    allowed = [p for p in inspect.signature(made).parameters if p != height]
    for field in given:
        if field not in allowed:
            hint = "; its height is --lr." if field == height else close_names(field, allowed)
            raise Mistake(f"schedule {key} has no field {field!r}{hint} Fields: {', '.join(allowed)}")
    fields: dict[str, Any] = {**defaults, **given}
    for field in counts:
        fields[field] = _steps(fields[field], total, share_of_one=field not in given)
    try:
        return made(**{height: lr}, **fields)
    except (TypeError, ValueError) as error:
        raise Mistake(f"--schedule {text}: {first_line(error)}") from None


def _steps(value: Any, total: int, share_of_one: bool) -> Any:
    """A share of the run as a count of steps; 1.0 is the whole run only as a default of ours."""
    if isinstance(value, tuple):
        return tuple(_steps(v, total, share_of_one) for v in value)
    if isinstance(value, float) and (0.0 < value < 1.0 or (share_of_one and value == 1.0)):
        return max(1, round(value * total))
    return value


def build_average(text: str | None) -> Any:
    """``ema``, ``ema:0.999``, ``mean`` or ``mean:100`` (steps left out at first)."""
    if text is None:
        return None
    name, _, value = text.strip().lower().partition(":")
    try:
        if name == "ema":
            return averaging.EMA(float(value) if value else 0.999)
        if name == "mean":
            return averaging.Mean(int(value) if value else 0)
    except (TypeError, ValueError) as error:
        raise Mistake(f"--average {text}: {first_line(error)}") from None
    raise Mistake(f"--average {text!r}: ema:DECAY or mean is wanted")


def describe(name: str, fields: dict[str, Any], lr: float) -> str:
    """``Adam(lr=0.001, betas=(0.9, 0.99))``."""
    chosen, given = resolve_optimizer(name, fields)
    return f"{chosen.__name__}({', '.join([f'lr={lr:g}', *(f'{k}={v}' for k, v in given.items())])})"
