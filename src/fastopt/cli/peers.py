"""The update rules as this library, torch, optax and NumPy spell them, one row a rule.

Benchmarks compare like with like by it. torch, jax and optax are imported when they are first asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

import fastopt as fo

__all__ = ["ROWS", "Row", "numpy_step", "optax_step", "torch_steps"]

Step = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One rule: our class, torch's class and optax's function, and the fields that make them one formula."""

    ours: Callable[..., fo.Optimizer]
    lr: float
    fields: dict[str, Any] = field(default_factory=dict)
    torch: str = ""
    torch_fields: dict[str, Any] = field(default_factory=dict)
    torch_states: tuple[str, ...] = ()  # torch's names of our states, in our order
    fused: bool = False  # torch has a fused CPU kernel for it
    optax: str = ""
    optax_fields: dict[str, Any] = field(default_factory=dict)
    root: bool = True  # an element takes a square root or a division


_M = {"momentum": 0.9}
_N = {"momentum": 0.9, "nesterov": True}
_R = ("square_avg", "momentum_buffer")
_MV = ("exp_avg", "exp_avg_sq")

ROWS: dict[str, Row] = {
    "sgd": Row(fo.SGD, 1e-3, {}, "SGD", {}, (), True, "sgd", {}, root=False),
    "momentum": Row(fo.SGD, 1e-3, _M, "SGD", _M, ("momentum_buffer",), True, "sgd", _M, root=False),
    "nesterov": Row(fo.SGD, 1e-3, _N, "SGD", _N, ("momentum_buffer",), True, "sgd", _N, root=False),
    "adagrad": Row(fo.Adagrad, 1e-2, {}, "Adagrad", {}, ("sum",), True, "adagrad"),
    "rmsprop": Row(fo.RMSprop, 1e-3, {}, "RMSprop", {}, _R[:1], False, "rmsprop", {"decay": 0.99}),
    "rmsprop_momentum": Row(
        fo.RMSprop, 1e-3, _M, "RMSprop", _M, _R, False, "rmsprop", {"decay": 0.99, **_M}
    ),
    "rmsprop_centered": Row(
        fo.RMSprop, 1e-6, {"centered": True}, "RMSprop", {"centered": True}, ("square_avg", "grad_avg"),
        False, "rmsprop", {"decay": 0.99, "centered": True},
    ),
    "rmsprop_centered_momentum": Row(
        fo.RMSprop, 1e-6, {"centered": True, **_M}, "RMSprop", {"centered": True, **_M},
        ("square_avg", "grad_avg", "momentum_buffer"), False,
        "rmsprop", {"decay": 0.99, "centered": True, **_M},
    ),
    "adadelta": Row(fo.Adadelta, 1.0, {}, "Adadelta", {}, ("square_avg", "acc_delta"), False, "adadelta"),
    "adam": Row(fo.Adam, 1e-3, {}, "Adam", {}, _MV, True, "adam"),
    "adamw": Row(
        fo.AdamW, 1e-3, {"weight_decay": 0.01}, "AdamW", {"weight_decay": 0.01}, _MV, True,
        "adamw", {"weight_decay": 0.01},
    ),
    "amsgrad": Row(
        fo.Adam, 1e-3, {"amsgrad": True}, "Adam", {"amsgrad": True}, (*_MV, "max_exp_avg_sq"), True, "amsgrad"
    ),
    "adamax": Row(fo.Adamax, 2e-3, {}, "Adamax", {}, ("exp_avg", "exp_inf"), False, "adamax"),
    "nadam": Row(fo.NAdam, 2e-3, {}, "NAdam", {}, _MV, False, "nadam"),
    "radam": Row(fo.RAdam, 1e-3, {}, "RAdam", {}, _MV, False, "radam"),
    "rprop": Row(
        fo.Rprop, 1e-6, {"step_sizes": (1e-6, 1e-3)}, "Rprop", {"step_sizes": (1e-6, 1e-3)},
        ("prev", "step_size"), False, "rprop", {"min_step_size": 1e-6, "max_step_size": 1e-3}, root=False,
    ),
    "lion": Row(fo.Lion, 1e-4, {}, optax="lion", optax_fields={"weight_decay": 0.0}, root=False),
}  # fmt: skip


def torch_steps(
    row: Row,
    params: Sequence[np.ndarray],
    grads: Sequence[np.ndarray],
    states: Sequence[Sequence[np.ndarray]],
    threads: int,
) -> dict[str, Step]:
    """torch's ways to take this step, {} where torch is not installed or has no such rule.

    The tensors are the given arrays themselves, states included: torch walks the same memory as we do.
    """
    if not row.torch or find_spec("torch") is None:
        return {}
    import torch

    torch.set_num_threads(threads)
    tensors = [torch.from_numpy(p).requires_grad_() for p in params]
    for tensor, g in zip(tensors, grads, strict=True):
        tensor.grad = torch.from_numpy(g)
    modes = {"torch loop": {"foreach": False}, "torch foreach": {"foreach": True}}
    if row.fused:
        modes["torch fused"] = {"fused": True}
    if row.torch_fields.get("nesterov"):
        del modes["torch foreach"]  # writes into the gradients, which then grow without end
    steps: dict[str, Step] = {}
    for name, mode in modes.items():
        opt = getattr(torch.optim, row.torch)(tensors, lr=row.lr, **row.torch_fields, **mode)
        opt.step()  # makes the states
        for tensor, arrays in zip(tensors, states, strict=True):
            for key, array in zip(row.torch_states, arrays, strict=True):
                if opt.state[tensor][key].shape != tensor.shape:
                    raise RuntimeError(f"torch.optim.{row.torch} keeps {key} in another shape")
                opt.state[tensor][key] = torch.from_numpy(array)
        steps[name] = opt.step
    return steps


def prepare_jax(threads: int) -> bool:
    """Whether optax under jax can take part; sets what jax reads only when it starts."""
    if find_spec("jax") is None or find_spec("optax") is None:
        return False
    if "jax" not in sys.modules:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        os.environ["NPROC"] = os.environ["PJRT_NPROC"] = str(threads)  # size of XLA's thread pool
    import jax

    jax.config.update("jax_enable_x64", True)
    return True


def optax_step(
    row: Row, params: Sequence[np.ndarray], grads: Sequence[np.ndarray], threads: int
) -> Step | None:
    """optax under jit, parameters and state donated, until the result is there. Its arrays are its own."""
    if not row.optax or not prepare_jax(threads):
        return None
    import jax
    import optax

    rule = getattr(optax, row.optax)(row.lr, **row.optax_fields)

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(p: Any, s: Any, g: Any) -> Any:
        changes, s = rule.update(g, s, p)
        return optax.apply_updates(p, changes), s

    g = [jax.numpy.array(a) for a in grads]
    p = [jax.numpy.array(a) for a in params]
    held = [p, rule.init(p)]
    dtype = params[0].dtype

    def step() -> None:
        held[:] = jax.block_until_ready(update(held[0], held[1], g))

    step()
    if any(a.dtype != dtype for a in held[0]):
        raise RuntimeError(f"optax.{row.optax} changed {dtype} to {held[0][0].dtype}")
    return step


def numpy_step(
    name: str, p: np.ndarray, g: np.ndarray, states: Sequence[np.ndarray], in_place: bool
) -> Step | None:
    """A rule in NumPy, as people write it or in place with ``out=``; None for rules not written here."""
    plain, placed = _NUMPY.get(name, (None, None))
    if placed is None or plain is None:
        return None
    if in_place:
        return partial(placed, p, g, *states, np.empty_like(p), [0])
    return partial(plain, {"p": p.copy(), "s": [s.copy() for s in states], "t": 0}, g)


def _sgd(h: dict[str, Any], g: np.ndarray) -> None:
    h["p"] = h["p"] - 1e-3 * g


def _sgd_out(p: np.ndarray, g: np.ndarray, w: np.ndarray, t: list[int]) -> None:
    np.multiply(g, 1e-3, out=w)
    np.subtract(p, w, out=p)


def _momentum(h: dict[str, Any], g: np.ndarray) -> None:
    b = 0.9 * h["s"][0] + g
    h["s"] = [b]
    h["p"] = h["p"] - 1e-3 * b


def _momentum_out(p: np.ndarray, g: np.ndarray, b: np.ndarray, w: np.ndarray, t: list[int]) -> None:
    np.multiply(b, 0.9, out=b)
    np.add(b, g, out=b)
    np.multiply(b, 1e-3, out=w)
    np.subtract(p, w, out=p)


def _rmsprop(h: dict[str, Any], g: np.ndarray) -> None:
    v = 0.99 * h["s"][0] + 0.01 * g**2
    h["s"] = [v]
    h["p"] = h["p"] - 1e-3 * g / (np.sqrt(v) + 1e-8)


def _rmsprop_out(p: np.ndarray, g: np.ndarray, v: np.ndarray, w: np.ndarray, t: list[int]) -> None:
    np.multiply(g, g, out=w)
    np.multiply(w, 0.01, out=w)
    np.multiply(v, 0.99, out=v)
    np.add(v, w, out=v)
    np.sqrt(v, out=w)
    np.add(w, 1e-8, out=w)
    np.divide(g, w, out=w)
    np.multiply(w, 1e-3, out=w)
    np.subtract(p, w, out=p)


def _adam(h: dict[str, Any], g: np.ndarray) -> None:
    h["t"] += 1
    m = 0.9 * h["s"][0] + 0.1 * g
    v = 0.999 * h["s"][1] + 0.001 * g**2
    m_hat = m / (1 - 0.9 ** h["t"])
    v_hat = v / (1 - 0.999 ** h["t"])
    h["p"] = h["p"] - 1e-3 * m_hat / (np.sqrt(v_hat) + 1e-8)
    h["s"] = [m, v]


def _adam_out(
    p: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, w: np.ndarray, t: list[int]
) -> None:
    t[0] += 1
    np.multiply(m, 0.9, out=m)
    np.multiply(g, 0.1, out=w)
    np.add(m, w, out=m)
    np.multiply(g, g, out=w)
    np.multiply(w, 0.001, out=w)
    np.multiply(v, 0.999, out=v)
    np.add(v, w, out=v)
    np.multiply(v, 1 / (1 - 0.999 ** t[0]), out=w)
    np.sqrt(w, out=w)
    np.add(w, 1e-8, out=w)
    np.divide(m, w, out=w)
    np.multiply(w, 1e-3 / (1 - 0.9 ** t[0]), out=w)
    np.subtract(p, w, out=p)


_NUMPY: dict[str, tuple[Callable[..., None], Callable[..., None]]] = {
    "sgd": (_sgd, _sgd_out),
    "momentum": (_momentum, _momentum_out),
    "rmsprop": (_rmsprop, _rmsprop_out),
    "adam": (_adam, _adam_out),
}
