"""Stages: layers at work on batches of one size.

The model asks for the stages of a batch size once: each is a layer with views of its parameters and
gradients, and with buffers for that many rows. Stages allocate when they are made, never again.
Two rules keep them simple:

- ``forward`` returns the stage's own buffer and leaves its input alone;
- ``backward`` may overwrite the array it is given, and returns the gradient by the stage's input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastopt._core import layers as kernels
from fastopt.nn.layers import Activation, Auxiliary, Dense, Dropout, Layer, ReLU, Residual, chain_width
from fastopt.nn.norms import BatchNorm, BatchNormStage, LayerNorm, Norm, RMSNorm, RowNormStage

__all__ = ["Chain", "Setting"]


@dataclass
class Setting:
    """What all stages of a model share at one batch size."""

    rows: int
    dtype: np.dtype
    training: bool
    generators: dict[str, np.random.Generator]  # of the dropout layers, by path
    buffers: dict[str, Any] = field(default_factory=dict)  # running statistics of the batch norms, by path
    refresh: bool = False  # collect them anew, with dropout off
    # For auxiliary heads: the model's loss, the targets and the number of the batch under way, and the sum of
    # their losses, which they add to on the way back.
    loss: Any = None
    target: Any = None
    batch: int = 1
    side: float = 0.0

    def empty(self, width: int) -> np.ndarray:
        return np.empty((self.rows, width), self.dtype)


class Stage:
    """A layer at one batch size."""

    def forward(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def backward(self, d: np.ndarray) -> Any:
        raise NotImplementedError

    def release(self) -> None:
        """Let go of the input, so that whoever made it may use its memory again."""


class DenseStage(Stage):
    def __init__(
        self, layer: Dense, params: Any, grads: Any, act: Activation | None, at: Setting, need: bool
    ) -> None:
        self.w, self.b = params["w"], params["b"]
        self.gw, self.gb = grads["w"], grads["b"]
        self.w_t = self.w.T
        self.z = self.y = at.empty(layer.n_out)
        self.spare = self.z
        self.relu = isinstance(act, ReLU)  # the one that the bias kernel does on its way
        self.act = None if self.relu else act
        self.slope = kernels.NONE if act is None else act.slope
        if act is not None and not act.in_place:
            self.y, self.spare = at.empty(layer.n_out), at.empty(layer.n_out)
        self.dx = at.empty(layer.n_in) if need and at.training else None
        self.x: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.x = x
        np.matmul(x, self.w, self.z)
        kernels.bias(self.z, self.b, self.relu)
        if self.act is not None:
            self.act.apply(self.z, self.y, self.spare)
        return self.y

    def backward(self, d: np.ndarray) -> Any:
        kept = self.y if self.act is None else self.act.kept(self.z, self.y, self.spare)
        kernels.slope(self.slope, d, kept, self.gb)
        np.matmul(self.x.T, d, self.gw)
        if self.dx is not None:
            np.matmul(d, self.w_t, self.dx)
        return self.dx

    def release(self) -> None:
        self.x = None


class ActivationStage(Stage):
    def __init__(self, act: Activation, width: int, at: Setting) -> None:
        self.act, self.y, self.spare = act, at.empty(width), at.empty(0 if act.in_place else width)
        self.z: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.z = x
        self.act.apply(x, self.y, self.spare)
        return self.y

    def backward(self, d: np.ndarray) -> np.ndarray:
        kernels.slope(self.act.slope, d, self.act.kept(self.z, self.y, self.spare), None)
        return d

    def release(self) -> None:
        self.z = None


class DropoutStage(Stage):
    def __init__(self, layer: Dropout, width: int, rng: np.random.Generator, at: Setting) -> None:
        self.p, self.rng, self.dtype = layer.p, rng, at.dtype
        self.u, self.y = at.empty(width), at.empty(width)

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.rng.random(dtype=self.dtype, out=self.u)
        kernels.dropout(self.u, x, self.y, self.p)
        return self.y

    def backward(self, d: np.ndarray) -> np.ndarray:
        kernels.dropout(self.u, d, d, self.p)
        return d


class ResidualStage(Stage):
    def __init__(self, inside: Chain, width: int, at: Setting, need: bool) -> None:
        self.inside, self.y = inside, at.empty(width)
        self.skip = at.empty(width) if need and at.training else None

    def forward(self, x: np.ndarray) -> np.ndarray:
        return np.add(x, self.inside.forward(x), out=self.y)

    def backward(self, d: np.ndarray) -> Any:
        if self.skip is None:
            return self.inside.backward(d)
        np.copyto(self.skip, d)
        d = self.inside.backward(d)
        return np.add(d, self.skip, out=d)

    def release(self) -> None:
        self.inside.release()


def norm_stage(layer: Norm, params: Any, grads: Any, path: str, at: Setting) -> Any:
    if isinstance(layer, BatchNorm):
        mode = "refresh" if at.refresh else "train" if at.training else "predict"
        return BatchNormStage(layer, params, grads, at.rows, at.dtype, at.buffers.get(path), mode)
    assert isinstance(layer, (LayerNorm, RMSNorm))
    return RowNormStage(layer, params, grads, at.rows, at.dtype)


class AuxiliaryStage(Stage):
    """Only for training. The head's loss is found on the way back, when targets are known to be right."""

    def __init__(self, layer: Auxiliary, inside: Chain, outputs: int, at: Setting, need: bool) -> None:
        self.layer, self.inside, self.at, self.need = layer, inside, at, need
        self.d = at.empty(outputs)
        self.z: Any = None

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.z = self.inside.forward(x)
        return x

    def backward(self, d: np.ndarray) -> np.ndarray:
        weight = self.layer.weight_at(self.at.batch)
        self.at.side += weight * self.at.loss.evaluate(self.z, self.at.target, self.d)
        np.multiply(self.d, self.at.dtype.type(weight), out=self.d)
        dx = self.inside.backward(self.d)
        return np.add(d, dx, out=d) if self.need else d

    def release(self) -> None:
        self.inside.release()


class Chain(Stage):
    """Stages one after another; with ``need`` False, those before the first parameter have no backward.

    ``start`` and ``stop`` are the part of the layers that it runs; ``width`` is that of its input.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        params: Any,
        grads: Any,
        width: int,
        at: Setting,
        path: str = "",
        need: bool = False,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        self.forwards: list[Callable[[np.ndarray], np.ndarray]] = []
        self.backwards: list[Callable[[np.ndarray], Any]] = []
        self.first: Stage | None = None
        self.heads: list[Stage] = []  # in front of it: they see the chain's own input too
        i, stop = start, len(layers) if stop is None else stop
        while i < stop:
            layer, key = layers[i], str(i)
            here = f"{path}/{key}" if path else key
            after = layer.width(width)
            assert after is not None
            i += 1
            stage: Stage
            if isinstance(layer, Dense):
                follower = layers[i] if i < stop else None
                act = follower if isinstance(follower, Activation) else None
                i += act is not None
                stage = DenseStage(layer, params[key], grads[key], act, at, need)
            elif isinstance(layer, Activation):
                stage = ActivationStage(layer, width, at)
            elif isinstance(layer, Residual):
                inner = Chain(layer.layers, params.get(key, {}), grads.get(key, {}), width, at, here, need)
                stage = ResidualStage(inner, width, at, need)
            elif isinstance(layer, Auxiliary):
                if not (at.training or at.refresh):
                    continue
                inner = Chain(layer.layers, params[key], grads[key], width, at, here, need)
                outputs = chain_width(layer.layers, width)
                assert outputs is not None
                stage = AuxiliaryStage(layer, inner, outputs, at, need)
            elif isinstance(layer, Norm):
                stage = norm_stage(layer, params.get(key, {}), grads.get(key, {}), here, at)
            elif isinstance(layer, Dropout):
                if not at.training or layer.p == 0:
                    continue
                stage = DropoutStage(layer, width, at.generators[here], at)
            else:
                raise TypeError(f"{layer!r} has no stage")
            need = need or bool(layer.shapes())
            self.forwards.append(stage.forward)
            if need:
                self.backwards.insert(0, stage.backward)
            if self.first is None and isinstance(stage, AuxiliaryStage):
                self.heads.append(stage)
            else:
                self.first = self.first or stage
            width = after

    def forward(self, x: np.ndarray) -> np.ndarray:
        for forward in self.forwards:
            x = forward(x)
        return x

    def backward(self, d: np.ndarray) -> Any:
        for backward in self.backwards:
            d = backward(d)
        return d

    def release(self) -> None:
        for stage in self.heads:
            stage.release()
        if self.first is not None:
            self.first.release()
