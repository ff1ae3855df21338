"""Layer-sequential unit variance: orthogonal weights, then each layer's output to variance 1 on one mini-batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt._progress import Progress, reporting
from fastopt.init._fans import read_axes, resolve
from fastopt.init._layers import as_layers, flat, walk
from fastopt.init._orthogonal import orthogonal as fill_orthogonal
from fastopt.init._targets import generator, leaf_seed, words
from fastopt.init._watch import Scales, batch, look, rescale, restoring

__all__ = ["lsuv"]

STUCK = 0.99  # of the distance from variance 1: a scaling that leaves more of it is taken back


def lsuv(
    model: Any,
    x: Any,
    *,
    tol: float = 0.1,
    max_iter: int = 10,
    orthogonal: bool = True,
    axes: Any = "in_out",
    rng: Any = None,
    progress: Progress = False,
) -> Scales:
    """Layer-sequential unit-variance initialization, in place, on one mini-batch.

    Parameters
    ----------
    model : list, or object with a method ``layerwise``
        As for `watch`; no gradients are needed.
    x : array_like
        The mini-batch, as the model takes it. The larger the better; some hundred rows do.
    tol : float, default 0.1
        Above 0. A layer is done when the variance of its outputs differs from 1 by less than this.
    max_iter : int, default 10
        How often a layer may be scaled.
    orthogonal : bool, default True
        Fill weights by `orthogonal` first. False: only scale what is there.
    axes : str or pair, default "in_out"
        Of the weights, as for `variance_scaling`; only with `orthogonal`.
    rng
        As for `uniform`, only with `orthogonal`. Each layer has a stream of its own, by its name.
    progress : bool or callable, default False
        True for a bar, or a function ``progress(title, done, total, numbers)``.

    Returns
    -------
    Scales
        As they are afterwards, with the factors, and whether each layer has settled.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is needed, or a layer gives a constant, Inf or NaN on this batch; all weights are as
        they were.

    Notes
    -----
    From the input on, for each layer with weights: while the variance v of its outputs (before the activation that
    follows) has ``|v - 1| >= tol``, divide the weights by sqrt(v) and evaluate the layer again. Mishkin and Matas,
    *All you need is a good init*, 2016, algorithm 1. Biases are left as they are (zero is usual).

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> a, b = np.empty((8, 32)), np.empty((32, 4))
    >>> layers = [(lambda x: x @ a, a), np.tanh, (lambda x: x @ b, b)]
    >>> scales = fo.init.lsuv(layers, np.random.default_rng(0).normal(size=(200, 8)), rng=0)
    >>> all(scales.settled.values())
    True
    """
    owner = "fo.init.lsuv"
    tolerance = check_number(owner, "tol", tol, above=True)
    rounds = check_integer(owner, "max_iter", max_iter, 1)
    if not isinstance(orthogonal, (bool, np.bool_)):
        raise TypeError(f"{owner}: orthogonal is {orthogonal!r}; True or False is wanted")
    sides = read_axes(owner, axes)
    nodes, _ = as_layers(owner, model, None, None)
    x = batch(owner, x)
    weighted = [node for node in flat(nodes) if node.layer.weights is not None]
    source = generator(owner, rng)
    factors, settled = {}, {}
    with restoring(nodes), reporting(progress, "LSUV", len(weighted)) as tell:
        if orthogonal:
            for node in weighted:
                assert node.layer.weights is not None
                resolve(node.layer.weights.shape, sides, f"{owner}: the weights of layer {node.name!r}")
            seed = words(source)
            for node in weighted:
                fill_orthogonal(node.layer.weights, axes=axes, rng=leaf_seed(seed, node.name))
        for node, below in walk(nodes, x):
            if node.layer.weights is None:
                continue
            total = 1.0
            for _ in range(rounds):
                spread = float(node.y.std(dtype=np.float64))
                if abs(spread**2 - 1) < tolerance:
                    break
                factor = 1 / spread if spread else math.inf
                before = node.layer.weights.copy()
                rescale(node, factor, owner)
                node.run(below)
                if abs(float(node.y.var(dtype=np.float64)) - 1) > STUCK * abs(spread**2 - 1):
                    node.layer.weights[...] = (
                        before  # what is added to them makes the spread: scaling is no help
                    )
                    node.run(below)
                    break
                total *= factor
            factors[node.name] = total
            settled[node.name] = abs(node.y.var(dtype=np.float64) - 1) < tolerance
            tell(len(factors), std=float(node.y.std(dtype=np.float64)))
        rows = look(nodes, x, None)
    return Scales(rows, factors, {name: bool(done) for name, done in settled.items()})
