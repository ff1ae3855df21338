"""Models with their batch norms folded into the Dense layers beside them, for prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastopt._trees import flatten_tree
from fastopt.nn.layers import Auxiliary, Dense, Dropout, Layer, Residual
from fastopt.nn.model import Sequential
from fastopt.nn.norms import BatchNorm
from fastopt.norm.folding import fold as fold_behind
from fastopt.norm.folding import fold_into_next

__all__ = ["fold"]


def fold(model: Sequential) -> Sequential:
    """The same predictions without batch norm: every one is folded into the Dense layer before or behind it.

    Parameters
    ----------
    model : Sequential
        It is not changed.

    Returns
    -------
    Sequential
        A new model; its predictions agree but for rounding. It is meant for prediction: trained further, it trains as
        a network without batch norm, and auxiliary heads are left out.

    Raises
    ------
    TypeError
        `model` is something else.
    ValueError
        A BatchNorm has no Dense layer next to it (Dropout between them does not count).
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model is {type(model).__name__}; a fastopt.nn.Sequential is needed")
    layers, params = _fold_chain(model.layers, model.params, model.buffers, "")
    folded = Sequential(*layers, loss=model.loss_function, dtype=model.dtype)
    for mine, given in zip(flatten_tree(folded.params)[0], flatten_tree(params)[0], strict=True):
        mine[...] = given
    folded.meta = dict(model.meta)
    return folded


def _fold_chain(
    layers: Sequence[Layer], params: Any, buffers: Any, path: str
) -> tuple[list[Layer], dict[str, Any]]:
    """Layers that are left, and their parameters by their new positions."""
    kept: list[tuple[Layer, Any]] = []
    waiting: tuple[str, tuple[Any, ...]] | None = None  # a batch norm for the Dense layer to come
    for i, layer in enumerate(layers):
        key = str(i)
        here = f"{path}{key}"
        own = params.get(key, {})
        if isinstance(layer, Auxiliary):  # has no part in predictions
            continue
        if isinstance(layer, Dropout):
            kept.append((layer, {}))
            continue
        if waiting is not None and not isinstance(layer, Dense):
            raise ValueError(
                f"layer {waiting[0]}, a BatchNorm, has no Dense layer next to it to fold it into"
            )
        if isinstance(layer, BatchNorm):
            at = buffers[key]
            values = (own.get("gamma"), own.get("beta"), at["mean"], at["var"], layer.eps)
            last = next((k for k in reversed(range(len(kept))) if not isinstance(kept[k][0], Dropout)), None)
            if last is not None and isinstance(kept[last][0], Dense):
                before = kept[last][1]
                w, b = fold_behind(before["w"], before["b"], *values)
                kept[last] = (kept[last][0], {"w": w, "b": b})
            else:
                waiting = (here, values)
            continue
        if isinstance(layer, Residual):
            inside, inner = _fold_chain(layer.layers, own, buffers.get(key, {}), f"{here}/")
            kept.append((Residual(*inside), inner))
            continue
        if waiting is not None:
            w, b = fold_into_next(own["w"], own["b"], *waiting[1])
            own, waiting = {"w": w, "b": b}, None
        kept.append((layer, {name: np.copy(array) for name, array in own.items()}))
    if waiting is not None:
        raise ValueError(f"layer {waiting[0]}, a BatchNorm, has no Dense layer next to it to fold it into")
    return [layer for layer, _ in kept], {str(i): own for i, (_, own) in enumerate(kept) if own}
