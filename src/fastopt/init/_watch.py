"""Watch the scale of activations and gradients on one mini-batch, and adjust weights by it (book 8.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastopt._checks import check_choice, check_integer, check_number
from fastopt.init._layers import Gradient, Node, as_layers, back, flat, judged_by, walk

__all__ = ["LayerScale", "Scales", "adjust", "watch"]


@dataclass(frozen=True)
class LayerScale:
    """What one layer does to one mini-batch.

    Attributes
    ----------
    name : str
    weighted : bool
        Whether it has weights that can be scaled.
    mean, std : float
        Of its outputs, over all elements.
    zeros : float
        The share of its outputs that are exactly zero.
    grad_std : float
        Of the gradient of the loss by its outputs; NaN where unknown.
    grad_below : float
        Of the gradient by its input; NaN where unknown.
    """

    name: str
    weighted: bool
    mean: float
    std: float
    zeros: float
    grad_std: float
    grad_below: float


@dataclass
class Scales:
    """Rows of `watch`, and what `lsuv` or `adjust` did; printed as a table.

    Attributes
    ----------
    rows : list of LayerScale
        All layers, from the input on.
    factors : dict of str to float
        By how much the weights of each layer were multiplied, in all.
    settled : dict of str to bool
        Whether each layer that was to be adjusted is as it was to be.
    """

    rows: list[LayerScale]
    factors: dict[str, float] = field(default_factory=dict)
    settled: dict[str, bool] = field(default_factory=dict)

    def __str__(self) -> str:
        width = max(5, *(len(row.name) for row in self.rows))
        lines = [f"{'layer':{width}}  {'mean':>10} {'std':>10} {'zeros':>7} {'grad std':>10}  scaled by"]
        for row in self.rows:
            grad = "" if math.isnan(row.grad_std) else f"{row.grad_std:.3g}"
            factor = self.factors.get(row.name)
            note = (
                "" if factor is None else f"  {factor:.3g}{'' if self.settled[row.name] else ', not settled'}"
            )
            lines.append(
                f"{row.name:{width}}  {row.mean:10.3g} {row.std:10.3g} {row.zeros:7.1%} {grad:>10}{note}".rstrip()
            )
        return "\n".join(lines)


def batch(owner: str, x: Any) -> np.ndarray:
    out = np.asarray(x)
    if out.dtype.kind not in "fiub":
        raise TypeError(f"{owner}: x is {out.dtype}; real numbers are wanted")
    if not out.size:
        raise ValueError(f"{owner}: x has shape {out.shape}; at least one element is wanted")
    return out


def std(values: np.ndarray | None) -> float:
    return math.nan if values is None else float(values.std(dtype=np.float64))


def look(nodes: list[Any], x: np.ndarray, grad: Gradient | None) -> list[LayerScale]:
    """One way forward, and back where there is a gradient to start from."""
    seen = []
    steps = walk(nodes, x)
    while True:
        try:
            node, _ = next(steps)
        except StopIteration as end:
            outputs = end.value
            break
        seen.append((node, float(node.y.mean(dtype=np.float64)), std(node.y), float((node.y == 0).mean())))
        node.d_out = node.d_in = None
    if grad is not None:
        back(nodes, np.asarray(grad(outputs)))
    return [
        LayerScale(
            node.name, node.layer.weights is not None, mean, spread, zeros, std(node.d_out), std(node.d_in)
        )
        for node, mean, spread, zeros in seen
    ]


@contextmanager
def restoring(nodes: list[Any]) -> Iterator[None]:
    """If anything is raised inside, all weights are as they were before."""
    arrays = [node.layer.weights for node in flat(nodes) if node.layer.weights is not None]
    before = [array.copy() for array in arrays]
    try:
        yield
    except BaseException:
        for array, old in zip(arrays, before, strict=True):
            array[...] = old
        raise


def rescale(node: Node, factor: float, owner: str) -> None:
    if not (math.isfinite(factor) and factor > 0):
        raise ValueError(
            f"{owner}: layer {node.name!r} gives a constant, Inf or NaN on this batch: no scale of its weights mends it"
        )
    assert node.layer.weights is not None
    node.layer.weights *= factor


def watch(model: Any, x: Any, y: Any = None, *, grad: Gradient | None = None) -> Scales:
    """Standard deviation of activations and of gradients, layer by layer, on one mini-batch.

    Parameters
    ----------
    model : list, or object with a method ``layerwise``
        A ``fastopt.nn.Sequential``; or the layers in order, each a function of the batch, a pair (function,
        weights), a `Layer` (which can also have a way back), or a `Skip`.
    x : array_like
        The mini-batch, as the model takes it.
    y : array_like, optional
        Its targets, for models that know their loss: gradients are watched too.
    grad : callable, optional
        ``grad(outputs)`` gives the gradient of the loss by the outputs. Gradients are then watched from the output
        down, as long as layers have a ``backward``.

    Returns
    -------
    Scales

    Raises
    ------
    TypeError, ValueError
        The model is not what is needed, or a layer gives no array of floats.

    Notes
    -----
    Nothing is changed. Of a ``Sequential``, dropout is off, batch norm takes the batch's statistics, and auxiliary
    heads are left out. Deep Learning, section 8.4: a good rule of thumb for the scales is to look
    at the range or standard deviation of activations or gradients on a single mini-batch.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = np.eye(3)
    >>> scales = fo.init.watch([(lambda x: x @ w, w), np.tanh], np.random.default_rng(0).normal(size=(64, 3)))
    >>> [row.weighted for row in scales.rows]
    [True, False]
    """
    owner = "fo.init.watch"
    nodes, grad = as_layers(owner, model, y, grad)
    return Scales(look(nodes, batch(owner, x), grad))


def adjust(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    by: str = "activations",
    target: float | None = None,
    low: float = 0.5,
    high: float = 2.0,
    max_iter: int = 10,
    grad: Gradient | None = None,
) -> Scales:
    """Scale weights until activations, or gradients, have about the same spread in all layers, on one mini-batch.

    Parameters
    ----------
    model, x, y, grad
        As for `watch`.
    by : {"activations", "gradients"}, default "activations"
        ``"activations"``: a layer with weights is judged by what comes out of it and of the layers without weights that
        directly follow it (its activation) in the same `Skip`. ``"gradients"``: by the gradient
        that it passes down.
    target : float, optional
        The standard deviation wanted. Default: 1 for activations; for gradients that at the model's output.
    low, high : float, default 0.5 and 2
        Only layers outside ``[low, high]`` times `target` are touched; ``0 < low <= 1 <= high``.
    max_iter : int, default 10
        How often one layer may be scaled.

    Returns
    -------
    Scales
        As it is afterwards; ``settled`` tells whether each layer is inside the band.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is needed, gradients are asked for and not known, or a layer gives a constant, Inf
        or NaN on this batch; all weights are as they were.

    Notes
    -----
    Deep Learning, section 8.4: repeatedly take the first layer whose activations are unacceptably small (or large)
    and increase (decrease) its weights by what is missing. For gradients the layers are gone through from the
    output down.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> a, b = fo.init.normal([np.empty((8, 32)), np.empty((32, 4))], std=1e-3, rng=0)
    >>> layers = [(lambda x: x @ a, a), np.tanh, (lambda x: x @ b, b)]
    >>> scales = fo.init.adjust(layers, np.random.default_rng(0).normal(size=(200, 8)), target=0.5)
    >>> [bool(0.25 <= scales.rows[i].std <= 1) for i in (1, 2)]
    [True, True]
    """
    owner = "fo.init.adjust"
    check_choice(owner, "by", by, ("activations", "gradients"))
    lowest = check_number(owner, "low", low, 0.0, 1.0, above=True)
    highest = check_number(owner, "high", high, 1.0)
    rounds = check_integer(owner, "max_iter", max_iter, 1)
    wanted = None if target is None else check_number(owner, "target", target, above=True)
    nodes, grad = as_layers(owner, model, y, grad)
    x = batch(owner, x)
    if by == "gradients" and grad is None:
        raise ValueError(f"{owner}: gradients are asked for; y, or grad=, is wanted")
    order = list(flat(nodes))
    weighted = [i for i, node in enumerate(order) if node.layer.weights is not None]
    place = {id(node): i for i, node in enumerate(order)}
    ends = {place[id(node)]: place[id(end)] for node, end in judged_by(nodes)}
    judged: Callable[[list[LayerScale], int], float]
    if by == "activations":
        turns, goal = weighted, 1.0 if wanted is None else wanted
        judged = lambda rows, i: rows[ends[i]].std  # noqa: E731
    else:
        turns, goal = weighted[::-1], wanted if wanted is not None else math.nan
        judged = lambda rows, i: rows[i].grad_below  # noqa: E731
    factors = {order[i].name: 1.0 for i in weighted}
    tries = dict.fromkeys(weighted, 0)
    with restoring(nodes):
        while True:
            rows = look(nodes, x, grad if by == "gradients" else None)
            if by == "gradients" and wanted is None:
                goal = rows[-1].grad_std
            if by == "gradients" and any(math.isnan(rows[i].grad_below) for i in weighted):
                raise ValueError(
                    f"{owner}: gradients are NaN, or a layer has no backward; they cannot be judged"
                )
            outside = [i for i in turns if not lowest * goal <= judged(rows, i) <= highest * goal]
            i = next((i for i in outside if tries[i] < rounds), None)
            if i is None:
                break
            factor = goal / judged(rows, i) if judged(rows, i) else math.inf
            rescale(order[i], factor, owner)
            factors[order[i].name] *= factor
            tries[i] += 1
    settled = {order[i].name: i not in outside for i in weighted}
    return Scales(look(nodes, x, grad), factors, settled)
