"""Normalization in plain NumPy float64, as its sources print it. Complex input is fine: that is how it is differentiated."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np


def bounds(batch: int, groups: int | None, ghost: int | None) -> list[int]:
    """Where groups begin, and the end: as the docstring of batch_norm says."""
    if groups is not None:
        return [0, *np.cumsum([len(part) for part in np.array_split(np.arange(batch), groups)]).tolist()]
    if ghost is not None:
        whole, rest = divmod(batch, ghost)
        starts = [ghost * k for k in range(whole)]
        if not whole or 2 * rest >= ghost:
            starts.append(ghost * whole)
        return [*starts, batch]
    return [0, batch]


def batch_norm(
    x: Any,
    gamma: Any = 1.0,
    beta: Any = 0.0,
    eps: float = 1e-5,
    axis: int = -1,
    groups: Any = None,
    ghost: Any = None,
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """y, and the mean and biased variance of each group."""
    x = np.moveaxis(np.asarray(x), axis, -1)  # the batch axis is first now, whatever it was
    ends = bounds(len(x), groups, ghost)
    parts, means, variances = [], [], []
    for low, high in pairwise(ends):
        part = x[low:high]
        over = tuple(range(part.ndim - 1))
        mean = part.mean(axis=over)
        var = ((part - mean) ** 2).mean(axis=over)  # no absolute value: it must stay analytic
        parts.append(gamma * (part - mean) / np.sqrt(var + eps) + beta)
        means.append(mean)
        variances.append(var)
    return np.moveaxis(np.concatenate(parts), -1, axis), means, variances


def layer_norm(x: Any, gamma: Any = 1.0, beta: Any = 0.0, eps: float = 1e-5, axes: int = 1) -> np.ndarray:
    over = tuple(range(-axes, 0))
    mean = x.mean(axis=over, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=over, keepdims=True)
    return gamma * (x - mean) / np.sqrt(var + eps) + beta


def rms_norm(x: Any, gamma: Any = 1.0, eps: float = 1e-5, axes: int = 1) -> np.ndarray:
    return gamma * x / np.sqrt((x * x).mean(axis=tuple(range(-axes, 0)), keepdims=True) + eps)


def complex_step(function: Any, x: np.ndarray, step: float = 1e-30) -> np.ndarray:
    """Gradient of a real function of an array: exact to rounding, since nothing is subtracted."""
    gradient = np.empty(x.shape)
    for i in np.ndindex(x.shape):
        moved = x.astype(complex)
        moved[i] += 1j * step
        gradient[i] = function(moved).imag / step
    return gradient
