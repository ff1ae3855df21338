"""The optimizers as rows: one for each rule of the engine, with the class and the fields that lead to it.

Also what tests build from a row: the optimizer itself, arrays at odd places, and bits to compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

import fastopt as fo
from fastopt._core import runtime

__all__ = [
    "DTYPES",
    "EVERYTHING",
    "ISAS",
    "NORM",
    "ROWS",
    "TOLERANCE",
    "Row",
    "bits",
    "everything",
    "gradients",
    "make",
    "misplaced",
]

DTYPES = ("float32", "float64")
#: Instruction sets that run on this processor.
ISAS = [name for name, runs in runtime.isas() if runs]
#: Largest difference from the float64 reference after t steps, in units of max|theta|. A step rounds the new parameter
#: (half an eps) and with it the coefficients that multiply the update, so float32 may lose one eps a step;
#: float64 is far inside 1e-13 for 100 steps, and the reference rounds there as well.
TOLERANCE = {"float32": lambda t: t * 2.0**-23, "float64": lambda t: 1e-13}
#: Norms, relative. float32: a square and two sums in float32 leave a sum of squares within 3 * 2^-24, its root
#: within half of that.
NORM = {"float32": 1.5 * 2.0**-24, "float64": 16 * 2.0**-52}


class Row(NamedTuple):
    """One rule of rules.def: its states, and a class with the fields that choose it."""

    rule: str
    cls: str
    fields: Mapping[str, Any]
    states: tuple[str, ...]


ROWS = [
    Row("sgd", "SGD", {"lr": 0.1}, ()),
    Row("momentum", "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2}, ("b",)),
    Row("nesterov", "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, ("b",)),
    Row("adagrad", "Adagrad", {"lr": 0.1, "lr_decay": 0.01}, ("s",)),
    Row("rmsprop", "RMSprop", {"lr": 0.01, "alpha": 0.9}, ("v",)),
    Row("rmsprop_momentum", "RMSprop", {"lr": 0.01, "momentum": 0.8}, ("v", "b")),
    Row("rmsprop_centered", "RMSprop", {"lr": 0.01, "centered": True}, ("v", "m")),
    Row(
        "rmsprop_centered_momentum",
        "RMSprop",
        {"lr": 0.01, "centered": True, "momentum": 0.8},
        ("v", "m", "b"),
    ),
    Row("adadelta", "Adadelta", {"lr": 1.0}, ("s", "a")),
    Row("adam", "Adam", {"lr": 0.01}, ("m", "v")),
    Row("adam", "AdamW", {"lr": 0.01, "weight_decay": 0.1}, ("m", "v")),
    Row("amsgrad", "Adam", {"lr": 0.01, "amsgrad": True}, ("m", "v", "w")),
    Row("adamax", "Adamax", {"lr": 0.01}, ("m", "u")),
    Row("nadam", "NAdam", {"lr": 0.01}, ("m", "v")),
    Row("radam", "RAdam", {"lr": 0.01, "betas": (0.8, 0.9)}, ("m", "v")),
    Row("rprop", "Rprop", {"lr": 0.01}, ("prev", "step")),
    Row("lion", "Lion", {"lr": 0.01, "weight_decay": 0.1}, ("m",)),
]
IDS = [f"{row.cls}-{row.rule}" for row in ROWS]

#: Every option that is worked elementwise at once (the norm of clip_norm depends on the whole tree).
EVERYTHING: dict[str, Any] = {
    "weight_decay": 0.1,
    "clip_value": 1.0,
    "grad_scale": 0.75,
    "maximize": True,
    "zero_grads": True,
    "diagnostics": True,
}


def everything() -> dict[str, Any]:
    """`EVERYTHING` and an average."""
    return {**EVERYTHING, "average": fo.averaging.EMA(0.9)}


def make(row: Row, params: Any, **common: Any) -> fo.Optimizer:
    """The row's optimizer on params."""
    return getattr(fo, row.cls)(params, **{**row.fields, **common})


def gradients(shape: Any, dtype: Any, steps: int, seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    """A start and a gradient a step: heavy tails, zeros, many sizes; each element differs from the others."""
    rng = np.random.default_rng(seed)
    start = rng.standard_normal(shape).astype(dtype)
    grads = [
        np.asarray(
            rng.standard_t(3, shape) * 10.0 ** rng.uniform(-3, 0, shape) * (rng.random(shape) > 0.1), dtype
        )
        for _ in range(steps)
    ]
    return np.asarray(start), grads


def misplaced(a: np.ndarray, offset: int) -> np.ndarray:
    """A copy of a whose first byte stands `offset` bytes behind a cache line."""
    raw = np.zeros(a.nbytes + 128, np.uint8)
    first = (offset - raw.ctypes.data) % 64
    out = raw[first : first + a.nbytes].view(a.dtype).reshape(a.shape)
    out[...] = a
    assert out.size == 0 or (out.ctypes.data - offset) % 64 == 0
    return out


def bits(tree: Any) -> Any:
    """A tree with each array as its dtype, shape and bytes in C order: equal exactly where every bit is."""
    if isinstance(tree, dict):
        return {key: bits(child) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [bits(child) for child in tree]
    if isinstance(tree, np.ndarray):
        return (tree.dtype.str, tree.shape, tree.tobytes())
    return tree


def whole(opt: fo.Optimizer) -> Any:
    """Bits of all that an optimizer holds: parameters, states, averages, counts."""
    return bits({"params": opt.params, **opt.state_dict()})
