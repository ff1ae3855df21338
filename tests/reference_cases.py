"""Rows to compare the library with `reference`: every class by every convention by its main options.

A row gives the constructor's keywords as a user writes them (``convention="keras"``) and, spelt out from the
table `PRESETS` here, the fields that they must come to. An ``average`` is a tuple in both; who builds the
optimizer turns ``("mean", start)`` and ``("ema", decay, debias)`` into the library's objects. Left out: what
a source does not define.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["CASES", "CONVENTIONS", "PRESETS", "Case", "problem"]

CONVENTIONS = ("torch", "book", "keras", "optax")


class Case(NamedTuple):
    """One row: its name, the class, the constructor's keywords, and the same in `reference`'s fields."""

    id: str
    cls: str
    fields: dict[str, Any]
    reference: dict[str, Any]


# What each source's defaults come to, as read there; torch's are `reference.FIELDS`. Where no lr stands, the
# source has none.
_KERAS: dict[str, Any] = {"decoupled_weight_decay": True, "clip_eps": 0.0}
_PLAIN: dict[str, Any] = {"clip_eps": 0.0}
PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("SGD", "torch"): {},
    ("SGD", "book"): _PLAIN | {"lr_in_buffer": True},
    ("SGD", "keras"): _KERAS | {"lr": 1e-2, "lr_in_buffer": True},
    ("SGD", "optax"): _PLAIN,
    ("Adagrad", "torch"): {},
    ("Adagrad", "book"): _PLAIN | {"initial_accumulator_value": 0.0, "eps": 1e-7, "eps_inside": False},
    ("Adagrad", "keras"): _KERAS
    | {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside": True},
    ("Adagrad", "optax"): _PLAIN | {"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside": True},
    ("RMSprop", "torch"): {},
    ("RMSprop", "book"): _PLAIN | {"alpha": 0.9, "eps": 1e-6, "eps_inside": True, "lr_in_buffer": True},
    ("RMSprop", "keras"): _KERAS
    | {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "eps_inside": True, "lr_in_buffer": True},
    ("RMSprop", "optax"): _PLAIN | {"alpha": 0.9, "eps": 1e-8, "eps_inside": True, "lr_in_buffer": True},
    ("Adadelta", "torch"): {},
    ("Adadelta", "keras"): _KERAS | {"lr": 1e-3, "rho": 0.95, "eps": 1e-7},
    ("Adadelta", "optax"): _PLAIN | {"rho": 0.9, "eps": 1e-6},
    ("Adam", "torch"): {},
    ("Adam", "book"): _PLAIN | {"lr": 1e-3, "eps": 1e-8},
    ("Adam", "keras"): _KERAS | {"lr": 1e-3, "eps": 1e-7, "eps_hat": True},
    ("Adam", "optax"): _PLAIN | {"eps": 1e-8, "amsgrad_corrected": True},
    ("AdamW", "torch"): {},
    ("AdamW", "keras"): _KERAS | {"lr": 1e-3, "eps": 1e-7, "eps_hat": True, "weight_decay": 4e-3},
    ("AdamW", "optax"): _PLAIN | {"eps": 1e-8, "amsgrad_corrected": True, "weight_decay": 1e-4},
    ("Adamax", "torch"): {},
    ("Adamax", "keras"): _KERAS | {"lr": 1e-3, "eps": 1e-7, "eps_inside": False},
    ("Adamax", "optax"): _PLAIN | {"eps": 1e-8, "eps_inside": True},
    ("NAdam", "torch"): {},
    ("NAdam", "keras"): _KERAS | {"lr": 1e-3, "eps": 1e-7, "momentum_decay": 1.0},
    ("NAdam", "optax"): _PLAIN | {"eps": 1e-8, "momentum_decay": float("inf")},
    ("RAdam", "torch"): {},
    ("RAdam", "optax"): _PLAIN | {"eps": 1e-8, "eps_hat": False},
    ("Rprop", "torch"): {},
    ("Lion", "torch"): {},
    ("Lion", "keras"): _KERAS | {"lr": 1e-3, "betas": (0.9, 0.99)},
    ("Lion", "optax"): _PLAIN | {"betas": (0.9, 0.99), "weight_decay": 1e-3},
}

# A rate for each class at which the problem below moves far in 100 steps, given where the source names none.
_RATE = {
    "SGD": 0.02,
    "Adagrad": 0.05,
    "RMSprop": 0.004,
    "Adadelta": 0.7,
    "Adam": 0.003,
    "AdamW": 0.003,
    "Adamax": 0.005,
    "NAdam": 0.003,
}
_RATE |= {"RAdam": 0.006, "Rprop": 0.01, "Lion": 0.002}


def _lr(t: int) -> float:
    return 0.01 / (1 + 0.05 * t)


def _b1(t: int) -> float:
    return 0.95 - 0.3 / (t + 2)


def _b2(t: int) -> float:
    return 1 - 0.4 / (t + 1)


def _mu(t: int) -> float:
    return min(0.5 + 0.01 * t, 0.9)


# Options of each class, tried under every convention that defines it; "" is the defaults with a rate.
_OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "SGD": {"momentum": {"momentum": 0.9}, "momentum_schedule": {"momentum": _mu, "lr": _lr}},
    "Adagrad": {"lr_decay": {"lr_decay": 0.03}, "accumulator": {"initial_accumulator_value": 0.3}},
    "RMSprop": {
        "momentum": {"momentum": 0.9},
        "centered": {"centered": True},
        "momentum_centered": {"momentum": 0.8, "centered": True},
        "momentum_schedule": {"momentum": _mu, "alpha": _b2, "lr": _lr},
        "eps_large": {"eps": 0.01, "momentum": 0.5, "centered": True},
    },
    "Adadelta": {"rho_schedule": {"rho": _b2, "eps": 1e-4}},
    "Adam": {
        "amsgrad": {"amsgrad": True, "betas": (0.8, 0.95)},
        "betas_schedule": {"betas": (_b1, _b2)},
        "eps_large": {"eps": 0.01, "eps_root": 0.02},
        "amsgrad_eps_large": {"amsgrad": True, "betas": (0.8, 0.95), "eps": 0.01, "eps_root": 0.02},
    },
    "AdamW": {
        "amsgrad": {"amsgrad": True, "betas": (0.8, 0.95), "weight_decay": 0.1},
        "decay_schedule": {"weight_decay": _lr, "lr": _lr},
    },
    "Adamax": {"betas_schedule": {"betas": (_b1, _b2)}, "eps_large": {"eps": 0.01}},
    "NAdam": {"decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": True}, "eps_large": {"eps": 0.01}},
    "RAdam": {
        "decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": True},
        "betas": {"betas": (0.8, 0.95)},
        "no_rectification": {"betas": (0.9, 0.5)},
        "eps_large": {"eps": 0.01},
    },
    "Rprop": {"etas": {"etas": (0.4, 1.5), "step_sizes": (0.002, 0.1)}},
    "Lion": {"betas_schedule": {"betas": (_b1, _b2)}},
}
# What only some conventions of a class define, or where one convention is enough.
_EXTRA: list[tuple[str, str, str, dict[str, Any]]] = [
    ("SGD", "torch", "dampening", {"momentum": 0.9, "dampening": 0.3}),
    ("SGD", "book", "dampening", {"momentum": 0.9, "dampening": 0.3}),
    *(("SGD", c, "nesterov", {"momentum": 0.9, "nesterov": True}) for c in ("torch", "keras", "optax")),
    *(
        ("SGD", c, "nesterov_schedule", {"momentum": _mu, "nesterov": True, "lr": _lr})
        for c in ("torch", "keras", "optax")
    ),
    ("RMSprop", "torch", "eps_inside", {"eps_inside": True, "eps": 1e-3, "momentum": 0.9, "centered": True}),
    ("RMSprop", "torch", "lr_in_buffer", {"lr_in_buffer": True, "momentum": 0.9, "lr": _lr}),
    ("NAdam", "torch", "betas_schedule", {"betas": (_b1, _b2)}),
    ("NAdam", "keras", "betas_schedule", {"betas": (_b1, _b2)}),
    (
        "RAdam",
        "torch",
        "decoupled_schedule",
        {"weight_decay": _lr, "decoupled_weight_decay": True, "lr": _lr},
    ),
    ("SGD", "torch", "decoupled", {"weight_decay": 0.1, "decoupled_weight_decay": True, "momentum": 0.9}),
    ("Adam", "torch", "average_mean", {"average": ("mean", 0)}),
    ("Adam", "torch", "average_mean_late", {"average": ("mean", 40)}),
    ("Adam", "torch", "average_ema", {"average": ("ema", 0.97, True)}),
    ("Adam", "torch", "average_ema_biased", {"average": ("ema", 0.97, False)}),
    ("SGD", "book", "average_mean", {"average": ("mean", 0), "momentum": 0.5}),
    (
        "AdamW",
        "torch",
        "all_at_once",
        {
            "lr": _lr,
            "betas": (_b1, _b2),
            "amsgrad": True,
            "weight_decay": _lr,
            "maximize": True,
            "clip_norm": 0.15,
            "clip_value": 0.05,
            "grad_scale": 0.25,
            "average": ("ema", 0.9, True),
        },
    ),
]
# The options every class shares.
_COMMON: dict[str, dict[str, Any]] = {
    "weight_decay": {"weight_decay": 0.1},
    "maximize": {"maximize": True},
    "clip_norm": {"clip_norm": 0.5},
    "clip_value": {"clip_value": 0.1},
    "grad_scale": {"grad_scale": lambda t: 0.5 + 0.01 * t},
    "lr_schedule": {"lr": _lr},
}


def _case(cls: str, convention: str, option: str, fields: dict[str, Any]) -> Case:
    preset = PRESETS[cls, convention]
    rate = {"lr": _RATE[cls]} if option or "lr" not in preset else {}
    if not option and convention == "torch":
        rate = {}
    fields = rate | fields
    named = fields if convention == "torch" else {"convention": convention} | fields
    return Case("-".join(x for x in (cls, convention, option) if x), cls, named, preset | fields)


CASES: list[Case] = [_case(cls, convention, "", {}) for cls, convention in PRESETS]
CASES += [_case(cls, conv, name, opt) for cls, conv in PRESETS for name, opt in _OPTIONS[cls].items()]
CASES += [_case(cls, conv, name, opt) for cls, conv in PRESETS for name, opt in _COMMON.items()]
CASES += [_case(cls, convention, name, opt) for cls, convention, name, opt in _EXTRA]


def problem(steps: int = 100, seed: int = 20) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """A start and one tree of gradients a step: float64 numbers that float32 holds exactly.

    Heavy tails, elements of very different scale, a drift (so that moments differ from zero), exact zeros.
    """
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {"w": (3, 5), "b": (7,), "s": ()}

    def exact(x: np.ndarray) -> np.ndarray:
        return np.asarray(x, np.float32).astype(np.float64)

    p0 = {key: exact(rng.standard_normal(shape)) for key, shape in shapes.items()}
    scale = {key: 10 ** rng.uniform(-4, 0, shape) for key, shape in shapes.items()}
    drift = {key: rng.standard_normal(shape) / 2 for key, shape in shapes.items()}
    grads = []
    for _ in range(steps):
        tree = {}
        for key, shape in shapes.items():
            kept = rng.random(shape) > 0.1
            tree[key] = exact(kept * scale[key] * (drift[key] + rng.standard_t(3, shape)))
        grads.append(tree)
    return p0, grads
