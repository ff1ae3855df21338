"""A model as the data-driven methods see it: layers one after another, some with weights, some with a way back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastopt._parameters import check_params

__all__ = ["Gradient", "Layer", "Skip", "as_layers", "back", "flat", "judged_by", "walk"]

#: From outputs of the model to the gradient of its loss by them.
Gradient: TypeAlias = Callable[[np.ndarray], np.ndarray]


@dataclass(eq=False)
class Layer:
    """One layer for `lsuv`, `watch` and `adjust`.

    Parameters
    ----------
    forward : callable
        ``forward(x)`` gives the layer's output for a batch x, of any shape.
    weights : ndarray, optional
        What `forward` multiplies by, scaled in place. None for a layer that is not to be scaled.
    backward : callable, optional
        ``backward(d)`` gives the gradient by the layer's input from that by its output, for the batch that
        `forward` saw last.
    name : str, optional
        How reports name it; its position by default.
    """

    forward: Callable[[np.ndarray], Any]
    weights: np.ndarray | None = None
    backward: Callable[[np.ndarray], Any] | None = None
    name: str = ""


@dataclass(eq=False)
class Skip:
    """Layers with a connection around them: ``y = x + f(x)``.

    Parameters
    ----------
    layers : sequence
        As `watch` takes them.
    name : str, optional
    """

    layers: Sequence[Any]
    name: str = ""


class Node:
    """A layer during a walk: what it last gave, and the gradients that came back."""

    def __init__(self, layer: Layer, name: str) -> None:
        self.layer, self.name = layer, name
        self.y: Any = None
        self.d_out: Any = None
        self.d_in: Any = None

    def run(self, x: np.ndarray) -> np.ndarray:
        self.y = _array(self.layer.forward(x), f"the output of layer {self.name!r}")
        return self.y


class Branch:
    def __init__(self, inside: list[Any]) -> None:
        self.inside = inside


def as_layers(owner: str, model: Any, y: Any, grad: Gradient | None) -> tuple[list[Any], Gradient | None]:
    """Nodes of a list of layers, or of a model that has a method ``layerwise(y)``; and the gradient of its loss."""
    if hasattr(model, "layerwise"):
        layers, own = model.layerwise(y)
        grad = own if grad is None else grad
    else:
        if y is not None:
            raise TypeError(
                f"{owner}: y is for models that know their loss; with a list of layers give grad="
            )
        layers = model
    if grad is not None and not callable(grad):
        raise TypeError(f"{owner}: grad is {grad!r:.80}; a function of the outputs is wanted")
    nodes = _nodes(owner, layers, "")
    found = [node for node in flat(nodes) if node.layer.weights is not None]
    names = [node.name for node in flat(nodes)]
    if len(set(names)) < len(names):
        raise ValueError(f"{owner}: two layers have one name; names are {names}")
    if not found:
        raise ValueError(f"{owner}: no layer has weights")
    check_params({node.name: node.layer.weights for node in found}, owner)
    return nodes, grad


def _nodes(owner: str, layers: Any, path: str) -> list[Any]:
    if not isinstance(layers, (list, tuple)) or not layers:
        raise TypeError(
            f"{owner}: layers is {type(layers).__name__}; a model with a method layerwise, or a non-empty list "
            "of functions, pairs (function, weights), fo.init.Layer and fo.init.Skip is wanted"
        )
    nodes: list[Any] = []
    for i, entry in enumerate(layers):
        name = f"{path}{i}"
        if isinstance(entry, Skip):
            nodes.append(Branch(_nodes(owner, entry.layers, f"{entry.name or name}/")))
            continue
        if isinstance(entry, tuple) and len(entry) == 2:
            entry = Layer(*entry)
        elif not isinstance(entry, Layer):
            entry = Layer(entry)
        for what in ("forward", "backward"):
            function = getattr(entry, what)
            if not callable(function) and (what == "forward" or function is not None):
                raise TypeError(
                    f"{owner}: {what} of layer {name!r} is {function!r:.60}; a function is wanted"
                )
        nodes.append(Node(entry, entry.name or name))
    return nodes


def flat(nodes: list[Any]) -> Iterator[Node]:
    """All layers, in the order in which they are evaluated."""
    for node in nodes:
        if isinstance(node, Branch):
            yield from flat(node.inside)
        else:
            yield node


def judged_by(nodes: list[Any]) -> Iterator[tuple[Node, Node]]:
    """Pairs of a layer with weights and the last layer without that directly follows it in the same list, or itself."""
    weighted: Any = None
    end: Any = None
    for node in [*nodes, None]:
        if isinstance(node, Node) and node.layer.weights is None:
            end = node
            continue
        if weighted is not None:
            yield weighted, end
        weighted = end = node if isinstance(node, Node) else None
        if isinstance(node, Branch):
            yield from judged_by(node.inside)


def walk(nodes: list[Any], x: np.ndarray) -> Generator[tuple[Node, np.ndarray], None, np.ndarray]:
    """Evaluate layer by layer: pairs of a layer that has run and its input.

    The caller may change the layer's weights and run it again; the next layer takes what it gave last. The iterator's
    value is the output.
    """
    for node in nodes:
        if isinstance(node, Branch):
            inner = yield from walk(node.inside, x)
            if inner.shape != x.shape:
                raise ValueError(f"a Skip turns shape {x.shape} into {inner.shape}; x + f(x) needs the same")
            x = x + inner
        else:
            node.run(x)
            yield node, x
            x = node.y
    return x


def back(nodes: list[Any], d: Any) -> Any:
    """Gradients from the outputs down, until a layer has no way back; None below it."""
    for node in reversed(nodes):
        if isinstance(node, Branch):
            inner = back(node.inside, d)
            d = None if inner is None else d + inner
            continue
        node.d_out, node.d_in = d, None
        if d is not None and node.layer.backward is not None:
            # A copy: the way back may write into what it is given.
            node.d_in = _array(node.layer.backward(np.array(d)), f"the gradient below layer {node.name!r}")
        d = node.d_in
    return d


def _array(value: Any, what: str) -> np.ndarray:
    out = np.asarray(value)
    if out.dtype.kind != "f" or not out.size:
        raise ValueError(
            f"{what} is {type(value).__name__} ({out.dtype}, shape {out.shape}); an array of floats is wanted"
        )
    return out
