"""A model layer by layer, as ``fo.init.watch``, ``adjust`` and ``lsuv`` take it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._trees import map_tree
from fastopt.init import Layer as Watched
from fastopt.init import Skip
from fastopt.nn import layers as nn
from fastopt.nn.stages import Chain, Setting

if TYPE_CHECKING:
    from fastopt.nn.model import Sequential

__all__ = ["layerwise"]


def layerwise(model: Sequential, y: Any) -> tuple[list[Any], Callable[[np.ndarray], np.ndarray] | None]:
    """Layers and ways back, without dropout and side heads; and the loss's gradient, if there are targets."""
    entries = _entries(model.layers, model.params, model.dtype, "")

    def gradient(z: np.ndarray) -> np.ndarray:
        z = np.ascontiguousarray(z, model.dtype)
        loss = model.loss_function
        target = loss.target(np.asarray(y), loss.buffer(len(z), model.n_out, model.dtype), model.n_out)
        d = np.empty_like(z)
        loss.evaluate(z, target, d)
        return d

    return entries, None if y is None else gradient


def _entries(layers: Sequence[nn.Layer], params: Any, dtype: np.dtype, path: str) -> list[Any]:
    entries: list[Any] = []
    for i, layer in enumerate(layers):
        name, own = f"{path}{i}", params.get(str(i), {})
        if isinstance(layer, nn.Residual):
            entries.append(Skip(_entries(layer.layers, own, dtype, f"{name}/"), name))
        elif not isinstance(layer, (nn.Dropout, nn.Auxiliary)):
            at_work = _AtWork(layer, own, dtype)
            weights = own["w"] if isinstance(layer, nn.Dense) else None
            entries.append(Watched(at_work.forward, weights, at_work.backward, name))
    return entries


class _AtWork:
    """One layer alone, as in training: its stage is made for the rows that come; its gradients go nowhere."""

    def __init__(self, layer: nn.Layer, params: Any, dtype: np.dtype) -> None:
        self.layer, self.params, self.dtype = layer, params, dtype
        self.grads = map_tree(np.zeros_like, params)
        self.chain: Any = None
        self.shape: tuple[int, ...] = ()

    def forward(self, x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x, self.dtype)
        if x.ndim != 2:
            raise ValueError(f"x has shape {x.shape}; (n, columns) is needed")
        self.layer.width(x.shape[1])  # a ValueError where columns misfit
        if self.chain is None or self.shape != x.shape:
            at = Setting(len(x), self.dtype, True, {})  # no buffers: running statistics stay as they are
            self.chain = Chain([self.layer], {"0": self.params}, {"0": self.grads}, x.shape[1], at, need=True)
            self.shape = x.shape
        out: np.ndarray = self.chain.forward(x)
        return out

    def backward(self, d: np.ndarray) -> np.ndarray:
        below: np.ndarray = self.chain.backward(np.ascontiguousarray(d, self.dtype))
        return below
