"""Normalization as layers: batch, layer and RMS norm, and models with their batch norms folded away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt._core import norm as kernels
from fastopt.nn import layers as nn
from fastopt.nn.layers import Layer

__all__ = ["BatchNorm", "LayerNorm", "RMSNorm"]


class Norm(Layer):
    """What the three share: a width that stays, and gamma and beta where they are wanted."""

    features: int
    eps: float | None
    affine: bool
    wanted: tuple[str, ...] = ("gamma", "beta")

    def __post_init__(self) -> None:
        owner = type(self).__name__
        object.__setattr__(self, "features", check_integer(owner, "features", self.features, 1))
        if self.eps is not None:
            object.__setattr__(self, "eps", check_number(owner, "eps", self.eps, above=True))
        if not isinstance(self.affine, (bool, np.bool_)):
            raise TypeError(f"{owner}: affine is {self.affine!r}; True or False is wanted")
        object.__setattr__(self, "affine", bool(self.affine))

    @property
    def n_in(self) -> int:
        return self.features

    def shapes(self) -> dict[str, Any]:
        return dict.fromkeys(self.wanted, (self.features,)) if self.affine else {}

    def width(self, n_in: int | None) -> int:
        if n_in not in (None, self.features):
            raise ValueError(f"{self} gets {n_in} columns from the layer before it")
        return self.features

    def fill(self, params: Any, rng: np.random.Generator, follower: Layer | None) -> None:
        for name, array in params.items():
            array[...] = name == "gamma"


@dataclass(frozen=True)
class BatchNorm(Norm):
    """Batch normalization of each column: ``y = gamma (x - mean) / sqrt(var + eps) + beta``.

    Parameters
    ----------
    features : int
        Columns of its input.
    eps : float, default 1e-5
        > 0.
    momentum : float or None, default 0.1
        Share of a batch in the running statistics, in [0, 1], as torch; None: the plain mean over all batches.
    affine : bool, default True
        False: no gamma, no beta.
    groups, ghost : int, optional
        Ghost batches: parts of a training batch with statistics of their own; see `fastopt.norm.batch_norm`.

    Notes
    -----
    Training normalizes by the batch's statistics; prediction, and `Sequential.loss`, by the running ones, which are
    in ``model.buffers`` and start at mean 0, variance 1. After an average of weights, `Sequential.refresh_statistics`
    makes them fit again.

    The mean takes any constant away: the bias of a Dense layer right before is redundant. It stays where it is (its
    gradient is 0 but for rounding) and does no harm; beta does its work.

    Ioffe and Szegedy, 2015; Goodfellow et al., *Deep Learning*, section 8.7.1, which puts it before the activation.
    """

    features: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    groups: int | None = None
    ghost: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.momentum is not None:
            object.__setattr__(self, "momentum", check_number("BatchNorm", "momentum", self.momentum, 0, 1))
        for name in ("groups", "ghost"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_integer("BatchNorm", name, getattr(self, name), 1))
        if self.groups is not None and self.ghost is not None:
            raise ValueError("BatchNorm: groups and ghost are both given; one of them is wanted")

    def buffers(self) -> dict[str, Any]:
        return {"mean": (self.features,), "var": (self.features,), "count": (1,)}


@dataclass(frozen=True)
class LayerNorm(Norm):
    """Layer normalization: each row by its own mean and variance, in training and in prediction alike.

    Parameters
    ----------
    features : int
        Columns of its input.
    eps : float, default 1e-5
    affine : bool, default True
        False: no gamma, no beta.

    Notes
    -----
    Ba, Kiros and Hinton, 2016; see `fastopt.norm.layer_norm`.
    """

    features: int
    eps: float = 1e-5
    affine: bool = True
    centred = True


@dataclass(frozen=True)
class RMSNorm(Norm):
    """RMS normalization: each row by its own root mean square, ``y = gamma x / sqrt(mean(x^2) + eps)``.

    Parameters
    ----------
    features : int
        Columns of its input.
    eps : float or None, default None
        None: the machine epsilon of the model's dtype, as torch.
    affine : bool, default True
        False: no gamma.

    Notes
    -----
    Zhang and Sennrich, 2019; see `fastopt.norm.rms_norm`.
    """

    features: int
    eps: float | None = None
    affine: bool = True
    centred = False
    wanted = ("gamma",)


nn.KINDS.update({kind.__name__: kind for kind in (BatchNorm, LayerNorm, RMSNorm)})


# ---- at work on batches of one size: see stages ----


class NormStage:
    """Buffers of one of them. y is never x, so that the backward pass finds x."""

    def __init__(self, layer: Norm, params: Any, grads: Any, rows: int, dtype: np.dtype) -> None:
        self.gamma, self.beta = params.get("gamma"), params.get("beta")
        self.into = (grads.get("gamma"), grads.get("beta"))
        self.y: np.ndarray | None = np.empty((rows, layer.features), dtype)
        self.cache: Any = None

    def backward(self, d: np.ndarray) -> np.ndarray:
        return kernels.backward(d, self.cache, (d, *self.into))[0]

    def release(self) -> None:
        if self.cache is not None:
            self.cache.release()


class BatchNormStage(NormStage):
    """`refresh`: statistics of the batch are used and collected, as a plain mean."""

    def __init__(
        self, layer: BatchNorm, params: Any, grads: Any, rows: int, dtype: np.dtype, running: Any, mode: str
    ) -> None:
        super().__init__(layer, params, grads, rows, dtype)
        self.eps, self.running, self.training = layer.eps, running, mode != "predict"
        self.momentum = None if mode == "refresh" else layer.momentum
        groups = layer.groups if layer.groups is None else min(layer.groups, max(rows, 1))
        self.split = (groups, layer.ghost)

    def forward(self, x: np.ndarray) -> np.ndarray:
        y, self.cache = kernels.batch_norm(
            x, self.gamma, self.beta, self.eps, self.running, self.momentum, None, True, self.training,
            -1, *self.split, self.y, self.cache,
        )  # fmt: skip
        return y


class RowNormStage(NormStage):
    def __init__(
        self, layer: LayerNorm | RMSNorm, params: Any, grads: Any, rows: int, dtype: np.dtype
    ) -> None:
        super().__init__(layer, params, grads, rows, dtype)
        self.eps, self.centred = layer.eps, layer.centred

    def forward(self, x: np.ndarray) -> np.ndarray:
        y, self.cache = kernels.layer_norm(
            x, self.gamma, self.beta, self.eps, 1, self.centred, self.y, self.cache
        )
        return y
