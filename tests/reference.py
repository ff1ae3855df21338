"""Runs of every first-order optimizer in plain float64 NumPy: the reference the library is compared with.

Slow and plain on purpose; imports nothing of the library. The formulas stand in `reference_rules`, the rows
to be compared in `reference_cases`; recorded runs of torch are read by `trajectories`. Left out: groups,
non-finite policies, narrow dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

import reference_rules as rules
from reference_cases import CASES, PRESETS, Case, problem
from reference_rules import Array, States, is_zero

__all__ = ["CASES", "FIELDS", "PRESETS", "Case", "Run"]
__all__ += ["global_norm", "nesterov_83", "problem", "rmsprop_86", "run", "trace"]

Params = Any  # dict[str, Array] | Array
Rule = Callable[[Array, Array, States, SimpleNamespace, int], Array]


# ---- From a class and its fields to a rule ----

COMMON: dict[str, Any] = {
    "weight_decay": 0.0,
    "decoupled_weight_decay": False,
    "maximize": False,
    "clip_norm": None,
    "clip_value": None,
    "clip_eps": 1e-6,
    "grad_scale": 1.0,
    "average": None,
}
_ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
_ADAM_FLAGS = {"eps_root": 0.0, "eps_hat": False, "amsgrad": False, "amsgrad_corrected": False}
# What a field is when nothing is said: torch's defaults (Lion: its authors').
FIELDS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "lr_in_buffer": False},
    "Adagrad": {
        "lr": 1e-2,
        "lr_decay": 0.0,
        "initial_accumulator_value": 0.0,
        "eps": 1e-10,
        "eps_inside": False,
    },
    "RMSprop": {
        "lr": 1e-2,
        "alpha": 0.99,
        "eps": 1e-8,
        "eps_inside": False,
        "momentum": 0.0,
        "centered": False,
        "lr_in_buffer": False,
    },
    "Adadelta": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
    "Adam": _ADAM | _ADAM_FLAGS,
    "AdamW": _ADAM | _ADAM_FLAGS | {"weight_decay": 1e-2, "decoupled_weight_decay": True},
    "Adamax": _ADAM | {"lr": 2e-3, "eps_inside": True},
    "NAdam": _ADAM | {"lr": 2e-3, "momentum_decay": 4e-3},
    "RAdam": _ADAM | {"eps_hat": True},
    "Rprop": {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)},
    "Lion": {"lr": 1e-4, "betas": (0.9, 0.99), "decoupled_weight_decay": True},
}
_ONE_FORM: dict[str, Rule] = {
    "Adagrad": rules.adagrad,
    "RMSprop": rules.rmsprop,
    "Adadelta": rules.adadelta,
    "Adamax": rules.adamax,
    "RAdam": rules.radam,
    "Rprop": rules.rprop,
    "Lion": rules.lion,
}


def choose(name: str, f: dict[str, Any]) -> Rule:
    """The rule that states what these fields of this class mean."""
    if name == "SGD":
        if is_zero(f["momentum"]):
            return rules.sgd
        return rules.momentum_book if f["lr_in_buffer"] else rules.momentum_torch
    if name in ("Adam", "AdamW"):
        if f["amsgrad"] and f["amsgrad_corrected"]:
            if f["eps_hat"]:
                raise ValueError("no source puts eps before a correction that the maximum already holds")
            return rules.amsgrad_optax
        return rules.adam_keras if f["eps_hat"] else rules.adam_book
    if name == "NAdam":
        return rules.nadam_optax if f["momentum_decay"] == math.inf else rules.nadam
    return _ONE_FORM[name]


def at_step(fields: dict[str, Any], t: int) -> SimpleNamespace:
    """The fields at step t: what is callable, also inside a tuple, is called with t."""

    def value(x: Any) -> Any:
        if isinstance(x, tuple):
            return tuple(value(y) for y in x)
        return x(t) if callable(x) else x

    return SimpleNamespace(**{key: value(x) for key, x in fields.items()})


# ---- A run ----


def global_norm(grads: Params) -> float:
    """Euclidean norm over all elements of all arrays, exactly summed and safe from overflow."""
    leaves = list(_as_dict(grads).values())
    flat = np.concatenate([np.ravel(x).astype(np.float64) for x in leaves]) if leaves else np.zeros(0)
    largest = float(np.max(np.abs(flat), initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(math.fsum((flat / largest) ** 2))


def prepare(grads: dict[str, Array], h: SimpleNamespace) -> tuple[dict[str, Array], float, float]:
    """Scale, sign, clip by global norm, clip by value, in this order; with the norm and the clip factor."""
    sign = -1.0 if h.maximize else 1.0
    grads = {key: sign * h.grad_scale * np.asarray(g, np.float64) for key, g in grads.items()}
    norm, factor = global_norm(grads), 1.0
    if h.clip_norm is not None and norm + h.clip_eps > h.clip_norm:  # book 8.2.4 and 10.11.1; torch adds 1e-6
        factor = h.clip_norm / (norm + h.clip_eps)
        grads = {key: g * factor for key, g in grads.items()}
    if h.clip_value is not None:
        grads = {key: np.clip(g, -h.clip_value, h.clip_value) for key, g in grads.items()}
    return grads, norm, factor


@dataclass
class Run:
    """What a run leaves: parameters, average, states by path; for each step parameters, norm, clip factor."""

    params: Params
    average: Params | None = None
    states: dict[str, States] = field(default_factory=dict)
    history: list[Params] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)


Gradients = Sequence[Params] | Callable[[Params, int], Params]


def trace(name: str, p0: Params, grads: Gradients, steps: int, **fields: Any) -> Run:
    """Take ``steps`` steps of class ``name`` in float64 from ``p0`` and keep everything.

    ``grads`` is a list with one tree a step or a function of parameters and step number. ``fields`` are the
    class's constructor fields and the common ones; each scalar may be a function of the step number.
    ``average`` is ``("mean", start)`` or ``("ema", decay, debias)``.
    """
    f = COMMON | FIELDS[name]
    if unknown := fields.keys() - f.keys():
        raise TypeError(f"{name} has no field {sorted(unknown)}")
    f |= fields
    rule = choose(name, f)
    bare = not isinstance(p0, dict)

    def tree(p: dict[str, Array]) -> Params:
        return p[""] if bare else p

    start = {key: np.array(p, np.float64) for key, p in _as_dict(p0).items()}
    params = dict(start)
    out = Run(tree(params), states={key: {} for key in params})
    for t in range(1, steps + 1):
        h = at_step({key: x for key, x in f.items() if key != "average"}, t)
        raw = grads(tree(params), t) if callable(grads) else grads[t - 1]
        ready, norm, factor = prepare(_as_dict(raw), h)
        new = {}
        for key, p in params.items():
            g = ready[key] if h.decoupled_weight_decay else ready[key] + h.weight_decay * p
            new[key] = np.asarray(rule(p, g, out.states[key], h, t))
            if h.decoupled_weight_decay:  # Loshchilov and Hutter 2019, algorithm 2: - eta lambda theta_{t-1}
                new[key] = new[key] - h.lr * h.weight_decay * p
        params = new
        out.history.append(tree(params))
        out.norms.append(norm)
        out.factors.append(factor)
    out.params = tree(params)
    if f["average"] is not None:
        path = [_as_dict(p) for p in out.history]
        out.average = tree({key: _average(f["average"], start[key], [p[key] for p in path]) for key in start})
    return out


def run(name: str, p0: Params, grads: Gradients, steps: int, **fields: Any) -> Params:
    """The final parameters of `trace`."""
    return trace(name, p0, grads, steps, **fields).params


def _average(kind: tuple[Any, ...], start: Array, path: list[Array]) -> Array:
    """Closed forms over the whole path: the mean of book 8.7.3 (or after a start), exponential weights."""
    if kind[0] == "mean":
        return np.mean(path[kind[1] :], axis=0) if len(path) > kind[1] else ([start, *path])[-1]
    _, decay, debias = kind
    weights = [(1 - decay) * decay**k for k in range(len(path))][::-1]
    total = sum((w * p for w, p in zip(weights, path, strict=True)), np.zeros_like(start))
    if not path:
        return start
    return total / (1 - decay ** len(path)) if debias else total + decay ** len(path) * start


def _as_dict(p: Params) -> dict[str, Array]:
    return p if isinstance(p, dict) else {"": np.asarray(p)}


# ---- The book's algorithms that look ahead ----


def nesterov_83(p0: Array, grad: Callable[[Array, int], Array], steps: int, lr: Any, momentum: Any) -> Array:
    """Book 8.3: g at theta + alpha v; v <- alpha v - eps g; theta <- theta + v."""
    theta = np.array(p0, np.float64)
    v = np.zeros_like(theta)
    for t in range(1, steps + 1):
        h = at_step({"lr": lr, "momentum": momentum}, t)
        g = grad(theta + h.momentum * v, t)
        v = h.momentum * v - h.lr * g
        theta = theta + v
    return theta


def rmsprop_86(
    p0: Array,
    grad: Callable[[Array, int], Array],
    steps: int,
    lr: Any,
    rho: Any,
    momentum: Any,
    eps: Any = 0.0,
) -> Array:
    """Book 8.6: g at theta + alpha v; r <- rho r + (1 - rho) g^2; v <- alpha v - eps/sqrt(r) g; add v.

    The printed algorithm has no delta under the root (eps = 0 here); 8.5 has one, which ``eps`` puts back.
    """
    theta = np.array(p0, np.float64)
    v, r = np.zeros_like(theta), np.zeros_like(theta)
    for t in range(1, steps + 1):
        h = at_step({"lr": lr, "rho": rho, "momentum": momentum, "eps": eps}, t)
        g = grad(theta + h.momentum * v, t)
        r = h.rho * r + (1 - h.rho) * g**2
        v = h.momentum * v - h.lr / np.sqrt(h.eps + r) * g
        theta = theta + v
    return theta
