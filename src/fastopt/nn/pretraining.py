"""Pretraining for models of fastopt.nn: parts of a model at work alone, its layers in stages, hints from a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastopt.meta import Hint, Stage
from fastopt.nn import layers as nn
from fastopt.nn.model import CHUNK, KEPT, Sequential, _matrix
from fastopt.nn.stages import Chain

__all__ = ["Segment", "greedy_stages", "hint"]


class Segment:
    """Some layers of a model in a row, at work by themselves on the model's own arrays.

    Parameters
    ----------
    model : Sequential
    start, stop : int
        Its layers from number `start` up to, not including, `stop`.

    Attributes
    ----------
    n_in, n_out : int
        Columns that go in and come out.
    params, grads : dict
        The model's arrays of these layers, by the layer's position in the model.

    Raises
    ------
    ValueError
        There is no layer between `start` and `stop`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt import nn
    >>> model = nn.mlp(4, [8, 8], 3, rng=0)
    >>> trunk = nn.Segment(model, 0, 2)
    >>> trunk.features(np.ones((5, 4))).shape, list(trunk.params)
    ((5, 8), ['0'])
    """

    def __init__(self, model: Sequential, start: int, stop: int) -> None:
        if not isinstance(model, Sequential):
            raise TypeError(f"model is {type(model).__name__}; a fastopt.nn.Sequential is needed")
        for name, place in (("start", start), ("stop", stop)):
            if isinstance(place, bool) or not isinstance(place, (int, np.integer)):
                raise TypeError(f"{name} is {place!r}; the number of a layer is needed")
        if not 0 <= start < stop <= len(model.layers):
            raise ValueError(
                f"layers {start} to {stop} are asked for; the model has 0 to {len(model.layers)}"
            )
        self.model, self.start, self.stop = model, int(start), int(stop)
        width = nn.chain_width(model.layers[:start], model.n_in)
        assert width is not None
        self.n_in = width
        width = nn.chain_width(model.layers[start:stop], width)
        assert width is not None
        self.n_out = width
        keys = [str(i) for i in range(start, stop) if str(i) in model.params]
        self.params = {key: model.params[key] for key in keys}
        self.grads = {key: model.grads[key] for key in keys}
        self._chains: dict[tuple[int, bool, bool], Chain] = {}

    def features(self, x: Any) -> np.ndarray:
        """Outputs of the last of these layers, as in prediction: a new array (n, n_out)."""
        x = _matrix(x, self.n_in, empty=True)
        out = np.empty((len(x), self.n_out), self.model.dtype)
        with self.model._lock:
            for first in range(0, len(x), CHUNK):
                rows = slice(first, first + CHUNK)
                chain = self._chain(len(x[rows]), False, False)
                out[rows] = chain.forward(self._ready(x[rows]))
                chain.release()
        return out

    def forward(self, x: Any, need: bool = False) -> np.ndarray:
        """As in training, with dropout: outputs, in an array that the next call overwrites.

        With `need`, `backward` also gives the gradient by x.
        """
        x = _matrix(x, self.n_in)
        self._without_heads()
        with self.model._lock:
            self._last = self._chain(len(x), True, need)
            return self._last.forward(self._ready(x))

    def backward(self, d: np.ndarray) -> Any:
        """Fill `grads` for the gradient d by the outputs of the last `forward`; d may be overwritten."""
        with self.model._lock:
            return self._last.backward(d)

    def _without_heads(self) -> None:
        for i, layer in enumerate(self.model.layers[self.start : self.stop], self.start):
            if isinstance(layer, nn.Auxiliary):
                raise ValueError(
                    f"layer {i} is an auxiliary head, which needs targets; a model without is needed"
                )

    def _ready(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x, self.model.dtype)

    def _chain(self, rows: int, training: bool, need: bool) -> Chain:
        key = (rows, training, need)
        if key not in self._chains:
            if len(self._chains) >= 2 * KEPT:
                del self._chains[next(iter(self._chains))]
            m = self.model
            self._chains[key] = Chain(
                m.layers, m.params, m.grads, self.n_in, m.setting(rows, training),
                need=need, start=self.start, stop=self.stop,
            )  # fmt: skip
        return self._chains[key]


def greedy_stages(
    model: Sequential, *, at: Sequence[int] | None = None, joint: bool = True, rng: Any = 0
) -> list[Stage]:
    """The stages of greedy supervised pretraining of a model, for `fastopt.meta.Greedy`.

    Stage k trains the k-th block of layers, and a linear head on top of it that gives the model's outputs, on what the
    blocks below (trained before, and still) make of the inputs. The last block has the model's own output layer. Heads
    are forgotten; the blocks are the model's own arrays, so in the end they stand joined.

    Parameters
    ----------
    model : Sequential
    at : sequence of int, optional
        Numbers of the layers that begin a block, rising, without 0. Default: every `Dense` and `Residual` but the first
        and the last: a block needs something hidden.
    joint : bool, default True
        Whether a last stage trains the whole model.
    rng : None, int, Generator, ..., default 0
        What ``np.random.default_rng`` takes: initial weights of the heads.

    Returns
    -------
    list of fastopt.meta.Stage

    Raises
    ------
    TypeError, ValueError
        The model is none, has auxiliary heads of its own, or `at` is no rising sequence of layers that leaves something
        to train in every block.

    Notes
    -----
    To save a run, save the model beside the `Greedy`: it holds the states of dropout and the running statistics.

    References
    ----------
    Bengio, Lamblin, Popovici, Larochelle, Greedy layer-wise training of deep networks, 2007. Goodfellow et al., *Deep
    Learning*, section 8.7.4.

    Examples
    --------
    >>> import fastopt as fo
    >>> from fastopt import nn
    >>> X, y = fo.data.load_digits()
    >>> model = nn.mlp(64, [20, 20, 20], 10, activation="tanh", rng=0)
    >>> stages = nn.greedy_stages(model)
    >>> [stage.name for stage in stages]
    ['layers 0 to 2', 'layers 2 to 4', 'layers 4 to 7', 'all layers']
    >>> greedy = fo.meta.Greedy(stages, lambda params: fo.Adam(params, lr=0.01), steps=50)
    >>> greedy.train(fo.Batches(X / 16, y, size=64, rng=0))
    """
    layers = Segment(model, 0, len(model.layers)).model.layers
    if any(isinstance(layer, nn.Auxiliary) for layer in layers):
        raise ValueError("the model has auxiliary heads of its own; stages bring theirs")
    cuts = _default_cuts(layers) if at is None else list(at)
    borders = [0, *cuts, len(layers)]
    rng = np.random.default_rng(rng)
    stages = []
    for start, stop in pairwise(borders):
        if not 0 <= start < stop <= len(layers):
            raise ValueError(f"at is {cuts}; rising numbers of layers from 1 to {len(layers) - 1} are needed")
        block = Segment(model, start, stop)
        if not block.params:
            raise ValueError(
                f"at is {cuts}; layers {start} to {stop} have no parameters, so nothing to train"
            )
        below = Segment(model, 0, start) if start else None
        stages.append(_Block(below, block, stop == len(layers), rng).stage())
    if joint:
        whole = Stage(model.params, lambda params, x, y: model.loss_and_grads(x, y), "all layers")
        stages.append(whole)
    return stages


def _default_cuts(layers: Sequence[nn.Layer]) -> list[int]:
    heads = [i for i, layer in enumerate(layers) if isinstance(layer, (nn.Dense, nn.Residual))]
    return heads[1:-1]


class _Block:
    """A block of a model with the head that trains it."""

    def __init__(self, below: Segment | None, block: Segment, last: bool, rng: np.random.Generator) -> None:
        self.below, self.block = below, block
        self.model = block.model
        self.params: dict[str, Any] = {"block": block.params}
        self.head: Sequential | None = None
        if not last:
            head = nn.Dense(block.n_out, self.model.n_out)
            self.head = Sequential(head, loss=self.model.loss_function, dtype=self.model.dtype, rng=rng)
            self.params["head"] = self.head.params

    def stage(self) -> Stage:
        return Stage(self.params, self.loss_and_grads, f"layers {self.block.start} to {self.block.stop}")

    def loss_and_grads(self, params: Any, x: Any, y: Any) -> tuple[float, Any]:
        x = x if self.below is None else self.below.features(x)
        out = self.block.forward(x)
        if self.head is None:
            value, d = self.model.loss_function.value_and_grad(out, y)
            self.block.backward(d)
            return value, {"block": self.block.grads}
        d = np.empty_like(out)
        value = _head(self.head, out, y, d)
        self.block.backward(d)
        return value, {"block": self.block.grads, "head": self.head.grads}


def _head(head: Sequential, x: np.ndarray, y: Any, dx: np.ndarray) -> float:
    """Loss of a linear head on x; its gradients, and that by x into dx."""
    p, g = head.params["0"], head.grads["0"]
    z = x @ p["w"]
    z += p["b"]
    value, d = head.loss_function.value_and_grad(z, y)
    np.matmul(x.T, d, out=g["w"])
    np.sum(d, axis=0, out=g["b"])
    np.matmul(d, p["w"].T, out=dx)
    return value


def hint(student: Sequential, teacher: Sequential, depth: int, teacher_depth: int, rng: Any = 0) -> Hint:
    """The hint of a teacher's middle layer for a student, thinner and deeper maybe (FitNets).

    Parameters
    ----------
    student, teacher : Sequential
        The teacher is trained, and only asked.
    depth, teacher_depth : int
        The student's first `depth` layers are trained so that what they put out predicts, through a linear
        regressor, what the teacher's first `teacher_depth` layers put out.
    rng : None, int, Generator, ..., default 0
        What ``np.random.default_rng`` takes: the regressor.

    Returns
    -------
    fastopt.meta.Hint
        ``hint.stage()`` is a stage for `fastopt.meta.Greedy`; ``hint.params["student"]`` are the student's own arrays.

    Raises
    ------
    TypeError, ValueError
        One is no model, a depth is out of its range, or the first `depth` layers have no parameters.

    Examples
    --------
    >>> import fastopt as fo
    >>> from fastopt import nn
    >>> X, y = fo.data.load_digits()
    >>> teacher, student = nn.mlp(64, [50], 10, rng=0), nn.mlp(64, [12] * 6, 10, rng=1)
    >>> stages = [nn.hint(student, teacher, 6, 2).stage(), *nn.greedy_stages(student, at=[])]
    >>> greedy = fo.meta.Greedy(stages, lambda params: fo.Adam(params), steps=20)
    >>> greedy.train(fo.Batches(X / 16, y, size=64, rng=0))
    """
    lower, above = Segment(student, 0, depth), Segment(teacher, 0, teacher_depth)
    lower._without_heads()
    if not lower.params:
        raise ValueError(f"the student's first {depth} layers have no parameters, so nothing to train")

    def features(params: Any, x: Any) -> tuple[np.ndarray, Any]:
        v = lower.forward(x)

        def pull(d: np.ndarray) -> Any:
            lower.backward(np.ascontiguousarray(d))
            return lower.grads

        return v, pull

    def hints(x: Any) -> np.ndarray:
        return above.features(x).astype(student.dtype, copy=False)

    return Hint(features, hints, lower.params, (lower.n_out, above.n_out), student.dtype, rng)
