"""The model: layers, a loss, one vector of parameters and one of gradients."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastopt._checks import check_integer
from fastopt._progress import Progress, reporting
from fastopt._trees import flatten, flatten_tree, map_tree
from fastopt.nn import layers as nn
from fastopt.nn.layerwise import layerwise
from fastopt.nn.losses import LabelLoss, Loss, SoftmaxCrossEntropy, ValueLoss
from fastopt.nn.stages import Chain, Setting
from fastopt.norm.batch import running_statistics

__all__ = ["Sequential", "mlp"]

CHUNK = 1024  # rows that prediction takes at a time
KEPT = 4  # batch sizes whose buffers are kept, for training and for prediction each


class Sequential:
    """Layers one after another, with the loss they are trained by.

    Parameters
    ----------
    *layers : Layer
        At least one of them with parameters.
    loss : Loss, default SoftmaxCrossEntropy()
    dtype : dtype, default float32
        Of parameters, gradients and computation: float32 or float64.
    rng : None, int, Generator, ..., default 0
        What ``np.random.default_rng`` takes: initial weights and dropout. Both dtypes start from the same
        numbers.

    Attributes
    ----------
    params, grads : dict
        Trees of views into ``vector`` and ``grad_vector``; a layer is found by its position
        (``params["0"]["w"]``, path ``0/w``). Write into the arrays, do not replace them.
    vector, grad_vector : ndarray
        All parameters and all gradients, 64-byte aligned.
    buffers : dict
        Tree of what layers keep beside parameters: of each BatchNorm the running ``mean``, ``var`` and ``count``
        (``buffers["1"]["mean"]``); empty without one. Write into the arrays, do not replace them.
    n_in, n_out : int
        Columns of the input and of the output.
    batches_seen : int
        Calls of `loss_and_grads` so far, counted where there are auxiliary heads: what their weights are a function of.
    meta : dict
        Whatever belongs to the model; `save` and `load` carry it.

    Notes
    -----
    Buffers are made at the first batch of a size and kept for the last few sizes; after that a step
    allocates no array. A model may be pickled and copied. Calls from several threads take turns.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt import nn
    >>> model = nn.Sequential(nn.Dense(2, 16), nn.Tanh(), nn.Dense(16, 2), rng=0)
    >>> x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    >>> loss, grads = model.loss_and_grads(x, np.array([0, 1, 1, 0]))
    >>> grads["0"]["w"].shape
    (2, 16)
    """

    def __init__(
        self, *layers: nn.Layer, loss: Loss | None = None, dtype: Any = np.float32, rng: Any = 0
    ) -> None:
        loss = SoftmaxCrossEntropy() if loss is None else loss
        self._describe(nn.check_layers(layers, "Sequential"), loss, dtype)
        self._allocate()
        rng = np.random.default_rng(rng)
        nn.fill_chain(self.layers, self.params, rng)
        for path in nn.dropout_paths(self.layers):
            seed = rng.integers(0, 2**32, size=4, dtype=np.uint32).tolist()
            self._generators[path] = np.random.Generator(np.random.PCG64(seed))

    def _describe(self, layers: tuple[nn.Layer, ...], loss: Loss, dtype: Any) -> None:
        """Everything but arrays; checks that the parts fit."""
        if not isinstance(loss, (LabelLoss, ValueLoss)):
            raise TypeError(f"loss is {type(loss).__name__}; a loss of fastopt.nn is needed")
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"dtype is {self.dtype}; float32 or float64 is needed")
        n_in = nn.entry_width(layers)
        if n_in is None:
            raise ValueError("the model has no Dense layer, so nothing to train")
        n_out = nn.chain_width(layers, n_in)
        assert n_out is not None
        loss.buffer(0, n_out, self.dtype)
        width: int | None = n_in
        for i, layer in enumerate(layers):
            if isinstance(layer, nn.Auxiliary) and nn.chain_width(layer.layers, width) != n_out:
                found = nn.chain_width(layer.layers, width)
                raise ValueError(
                    f"layer {i}: the auxiliary head gives {found} columns; the model's {n_out} are needed"
                )
            width = layer.width(width)
        self._heads = any(isinstance(layer, nn.Auxiliary) for layer in layers)
        self.batches_seen = 0
        self.layers, self.loss_function, self.n_in, self.n_out = layers, loss, n_in, n_out
        self.meta: dict[str, Any] = {}
        self._generators: dict[str, np.random.Generator] = {}
        self._plans: tuple[dict[int, _Plan], dict[int, _Plan]] = ({}, {})  # for prediction, for training
        self._lock = threading.Lock()

    def _allocate(self) -> None:
        shapes, params, grads = _by_shape(nn.chain_shapes(self.layers), self.dtype)
        self.paths: list[str] = shapes
        self.vector, self.params = params
        self.grad_vector, self.grads = grads
        self.buffers = _start_buffers(nn.chain_buffers(self.layers), self.dtype)

    def loss_and_grads(self, x: Any, y: Any) -> tuple[float, dict[str, Any]]:
        """Mean loss of a batch, and its gradient by every parameter; dropout is on, and batch norm takes the batch's
        statistics and adds them to its running ones.

        Parameters
        ----------
        x : ndarray, shape (n, n_in)
            Real numbers. Fastest as a C-contiguous array of the model's dtype; anything else is converted
            batch by batch.
        y : ndarray
            Targets as the loss wants them: integer labels (n,), or numbers (n, n_out).

        Returns
        -------
        loss : float
        grads : dict
            ``self.grads``, overwritten by the next call.

        Raises
        ------
        TypeError, ValueError
            x or y is not what is wanted; nothing has been written. NaN in x passes through.
        """
        with self._lock:
            x = _matrix(x, self.n_in)
            plan = self._plans[True].get(len(x)) or self._plan(len(x), True)
            target = self.loss_function.target(y, plan.target, self.n_out)
            plan.take(x)
            if self._heads:
                plan.at.target, plan.at.batch, plan.at.side = target, self.batches_seen + 1, 0.0
                self._check_weights()
            z = plan.chain.forward(plan.x)
            value = self.loss_function.evaluate(z, target, plan.d)
            plan.chain.backward(plan.d)
            if self._heads:
                value += plan.at.side
                self.batches_seen += 1
            plan.release()
        return value, self.grads

    def predict(self, x: Any) -> np.ndarray:
        """Outputs for each row, without dropout and with the running statistics of batch norm: logits for
        classification, values for regression.

        Parameters
        ----------
        x : ndarray, shape (n, n_in)
            Any number of rows; they are worked on in chunks.

        Returns
        -------
        ndarray, shape (n, n_out)
            A new array of the model's dtype.
        """
        x = _matrix(x, self.n_in, empty=True)
        out = np.empty((len(x), self.n_out), self.dtype)
        with self._lock:
            for start in range(0, len(x), CHUNK):
                rows = slice(start, start + CHUNK)
                out[rows] = self._forward(x[rows]).z
        return out

    def probabilities(self, x: Any) -> np.ndarray:
        """What `predict` means as probabilities, where the loss says so; TypeError where it does not."""
        return self.loss_function.probabilities(self.predict(x))

    def loss(self, x: Any, y: Any) -> float:
        """Mean loss as of `predict`, without dropout and without gradients, in chunks.

        Parameters
        ----------
        x, y : ndarray
            As for `loss_and_grads`, any number of rows.
        """
        x, y = _matrix(x, self.n_in), np.asarray(y)
        if y.ndim == 0 or len(y) != len(x):
            raise ValueError(f"y has shape {y.shape}; {len(x)} rows, as x, are needed")
        total = 0.0
        with self._lock:
            for start in range(0, len(x), CHUNK):
                rows = slice(start, start + CHUNK)
                plan = self._forward(x[rows])
                target = self.loss_function.target(y[rows], plan.target, self.n_out)
                total += self.loss_function.evaluate(plan.z, target, None) * len(x[rows])
        return total / len(x)

    def refresh_statistics(self, batches: Iterable[Any], progress: Progress = False) -> int:
        """Replace the running statistics of all batch norms by those of the present weights.

        They become the plain means over the statistics of the batches, dropout off: what is needed after weights
        have been averaged or set by hand, since running statistics belong to the weights they were collected with.

        Parameters
        ----------
        batches : iterable
            Arrays x, shape (n, n_in), or tuples whose first element is one; each counts the same.
        progress : bool or callable, default False
            Tell how far it is; see `fastopt.minimize`.

        Returns
        -------
        int
            How many batches there were. Without a BatchNorm nothing is read: 0.

        Raises
        ------
        ValueError
            There was no batch. Whatever is raised, also by `batches`: the statistics are as before.
        """
        kept, _ = flatten_tree(self.buffers)
        if not kept:
            return 0
        before = [leaf.copy() for leaf in kept]
        count = 0
        try:
            with reporting(progress, "refresh_statistics") as tell:
                for leaf in kept:
                    leaf[...] = 0
                for batch in batches:
                    x = _matrix(batch[0] if isinstance(batch, (tuple, list)) else batch, self.n_in)
                    with self._lock:
                        plan = _Plan(self, len(x), False, refresh=True)
                        plan.take(x)
                        plan.chain.forward(plan.x)
                        plan.release()
                    count += 1
                    tell(count)
            if not count:
                raise ValueError("batches is empty; at least one batch is needed")
        except BaseException:
            for leaf, old in zip(kept, before, strict=True):
                leaf[...] = old
            raise
        return count

    def layerwise(self, y: Any = None) -> Any:
        """The layers one by one, with their weights, as ``fo.init.watch``, ``adjust`` and ``lsuv`` take them.

        Parameters
        ----------
        y : ndarray, optional
            Targets of the batch that will be watched.

        Returns
        -------
        layers : list
            A `fastopt.init.Layer` for each layer but dropout and auxiliary heads, a `fastopt.init.Skip` for each
            `Residual`.
        gradient : callable or None
            From outputs to the gradient of the loss by them; None without targets.
        """
        return layerwise(self, y)

    def state_dict(self, copy: bool = True) -> dict[str, Any]:
        """Copies of the parameters (or the arrays themselves), and the state of each dropout generator, by path; with
        batch norm also the buffers."""
        state = {
            "params": map_tree(np.copy, self.params) if copy else self.params,
            "dropout": {path: rng.bit_generator.state for path, rng in self._generators.items()},
        }
        if self.buffers:
            state["buffers"] = map_tree(np.copy, self.buffers) if copy else self.buffers
        return state | {"batches_seen": self.batches_seen} if self._heads else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave; ValueError, and nothing changed, if it belongs to another model."""
        if not isinstance(state, Mapping) or not {"params", "dropout"} <= set(state):
            raise ValueError(f"state is {state!r:.80}; a dict from state_dict() is needed")
        leaves, paths = flatten_tree(state["params"])
        wanted, _ = flatten_tree(self.params)
        if paths != self.paths or [np.shape(leaf) for leaf in leaves] != [leaf.shape for leaf in wanted]:
            raise ValueError(f"state['params'] has {paths}; the paths and shapes of {self.paths} are needed")
        kept, names = flatten_tree(state.get("buffers", {}))
        own, own_names = flatten_tree(self.buffers)
        if names != own_names or [np.shape(leaf) for leaf in kept] != [leaf.shape for leaf in own]:
            raise ValueError(f"state['buffers'] has {names}; the paths and shapes of {own_names} are needed")
        generators = generators_from(state["dropout"], self._generators)
        seen = check_integer("model", "state['batches_seen']", state.get("batches_seen", 0), 0)
        wanted, leaves = wanted + own, [np.asarray(leaf) for leaf in leaves + kept]
        for path, mine, given in zip(paths + names, wanted, leaves, strict=True):
            if not np.can_cast(given.dtype, mine.dtype, "same_kind"):
                raise ValueError(f"state: {path} is {given.dtype}; {mine.dtype} is needed")
        self.batches_seen = seen
        for mine, given in zip(wanted, leaves, strict=True):
            np.copyto(mine, given, casting="same_kind")
        for path, rng in generators.items():  # in place: stages hold the generators
            self._generators[path].bit_generator.state = rng.bit_generator.state

    def setting(self, rows: int, training: bool, refresh: bool = False) -> Setting:
        """What stages of this model need to know at one batch size."""
        buffers = _by_path(self.buffers)
        return Setting(rows, self.dtype, training, self._generators, buffers, refresh, self.loss_function)

    def _check_weights(self) -> None:
        """A weight that is a function is refused before anything is computed."""
        for layer in self.layers:
            if isinstance(layer, nn.Auxiliary):
                layer.weight_at(self.batches_seen + 1)

    def _plan(self, rows: int, training: bool) -> _Plan:
        plans = self._plans[training]
        if rows not in plans:
            plan = _Plan(self, rows, training)
            if len(plans) >= KEPT:
                del plans[next(iter(plans))]
            plans[rows] = plan
        return plans[rows]

    def _forward(self, x: np.ndarray) -> _Plan:
        plan = self._plan(len(x), False)
        plan.take(x)
        plan.z = plan.chain.forward(plan.x)
        plan.release()
        return plan

    def __getstate__(self) -> dict[str, Any]:
        settings = {"layers": self.layers, "loss": self.loss_function, "dtype": self.dtype, "meta": self.meta}
        state = self.state_dict(copy=False)
        seen = {"batches_seen": self.batches_seen} if self._heads else {}
        buffers = [leaf.copy() for leaf in flatten_tree(self.buffers)[0]]
        arrays = {"vector": self.vector.copy(), "buffers": buffers}
        return settings | arrays | {"dropout": state["dropout"]} | seen

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._describe(state["layers"], state["loss"], state["dtype"])
        self._allocate()
        self.vector[:] = state["vector"]
        own = flatten_tree(self.buffers)[0]
        for mine, given in zip(
            own, state.get("buffers", own), strict=True
        ):  # models pickled before there were any
            mine[...] = given
        self.meta = state["meta"]
        self.batches_seen = check_integer("model", "batches_seen", state.get("batches_seen", 0), 0)
        self._generators = generators_from(state["dropout"], dict.fromkeys(nn.dropout_paths(self.layers)))

    def __repr__(self) -> str:
        inside = ", ".join(map(repr, self.layers))
        return f"Sequential({inside}, loss={self.loss_function}, dtype={self.dtype})"


class _Plan:
    """A model at one batch size: its stages, and buffers for batch, targets and the loss's gradient."""

    def __init__(self, model: Sequential, rows: int, training: bool, refresh: bool = False) -> None:
        self.at = at = model.setting(rows, training, refresh)
        self.chain = Chain(model.layers, model.params, model.grads, model.n_in, at)
        self.target = model.loss_function.buffer(rows, model.n_out, model.dtype)
        self.d: Any = at.empty(model.n_out) if training else None
        self.x: Any = None
        self.z: Any = None
        self.own_x: Any = None
        self.dtype = model.dtype
        self.rows, self.n_in = rows, model.n_in

    def take(self, x: np.ndarray) -> None:
        """Stand x ready in the model's dtype."""
        if x.dtype != self.dtype or not x.flags.c_contiguous or not x.flags.aligned:
            if self.own_x is None:
                self.own_x = np.empty((self.rows, self.n_in), self.dtype)
            np.copyto(self.own_x, x, casting="same_kind")
            x = self.own_x
        self.x = x

    def release(self) -> None:
        self.x = None
        self.chain.release()


def mlp(
    n_in: int,
    hidden: Sequence[int],
    n_out: int,
    *,
    activation: str = "relu",
    dropout: float = 0.0,
    loss: Loss | None = None,
    dtype: Any = np.float32,
    rng: Any = 0,
) -> Sequential:
    """A multi-layer perceptron: Dense, activation and maybe Dropout for each hidden width, then Dense.

    Parameters
    ----------
    n_in, n_out : int
        Columns of input and output.
    hidden : sequence of int
        Width of each hidden layer; empty for a linear model.
    activation : {"relu", "tanh", "sigmoid", "gelu"}, default "relu"
    dropout : float, default 0.0
        Probability of each hidden unit's dropout; 0 for none.
    loss, dtype, rng
        As for `Sequential`.

    Returns
    -------
    Sequential
    """
    if activation not in nn.ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}; one of {', '.join(nn.ACTIVATIONS)} is needed")
    if isinstance(hidden, (str, bytes)) or not isinstance(hidden, (Sequence, np.ndarray)):
        raise TypeError(f"hidden is {hidden!r}; a sequence of whole numbers is needed")
    inner = nn.Dropout(dropout)
    layers: list[nn.Layer] = []
    width = n_in
    for size in hidden:
        layers += [nn.Dense(width, size), nn.ACTIVATIONS[activation]()]
        layers += [inner] if inner.p else []
        width = size
    return Sequential(*layers, nn.Dense(width, n_out), loss=loss, dtype=dtype, rng=rng)


def generators_from(states: Any, wanted: Any) -> dict[str, np.random.Generator]:
    """Generators of dropout layers from their saved states. ValueError for states of something else."""
    if not isinstance(states, dict) or list(states) != list(wanted):
        raise ValueError(f"dropout states are for {states!r:.80}; those of {list(wanted)} are needed")
    generators = {}
    for path, state in states.items():
        bits = np.random.PCG64(0)
        try:
            bits.state = state
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise ValueError(f"the state of dropout {path} is no state of PCG64: {error}") from None
        generators[path] = np.random.Generator(bits)
    return generators


def _by_shape(shapes: dict[str, Any], dtype: np.dtype) -> Any:
    """Paths of a tree of shapes, and two trees of zeros with it, each a vector and views."""

    def zeros(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: zeros(child) for key, child in node.items()}
        return np.zeros(node, dtype)

    tree = zeros(shapes)
    return flatten_tree(tree)[1], flatten(tree), flatten(tree)


def _start_buffers(shapes: Any, dtype: np.dtype) -> Any:
    """Running statistics at their start, by the tree of their shapes."""
    if "mean" in shapes:
        return running_statistics(shapes["mean"][0], dtype)
    return {key: _start_buffers(child, dtype) for key, child in shapes.items()}


def _by_path(buffers: dict[str, Any], path: str = "") -> dict[str, dict[str, np.ndarray]]:
    """The statistics of each batch norm under its path."""
    if "mean" in buffers:
        return {path: buffers}
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, child in buffers.items():
        found |= _by_path(child, f"{path}/{key}" if path else key)
    return found


def _matrix(x: Any, n_in: int, empty: bool = False) -> np.ndarray:
    x = x if type(x) is np.ndarray else np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise TypeError(f"x is {x.dtype}; real numbers are needed")
    if x.ndim != 2 or x.shape[1] != n_in:
        raise ValueError(f"x has shape {x.shape}; (n, {n_in}) is needed")
    if not (len(x) or empty):
        raise ValueError("x has no rows; at least one is needed")
    return x
