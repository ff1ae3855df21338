"""Batch norm folded into a linear layer: with fixed statistics it is an affine map, and two of these make one."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt._checks import check_number

__all__ = ["fold", "fold_into_next"]


def fold(
    w: np.ndarray,
    b: np.ndarray | None,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float = 1e-5,
    axis: int = -1,
) -> tuple[np.ndarray, np.ndarray]:
    """A linear layer and the batch norm behind it, as one linear layer.

    ::

        batch_norm(x w + b) = x w' + b',    s = gamma / sqrt(var + eps),    w' = w s,    b' = (b - mean) s + beta

    Parameters
    ----------
    w : ndarray
        Weights with the output channels along `axis`: -1 for (n_in, n_out), 0 for convolution kernels (out, in, ...).
    b : ndarray, shape (channels,), or None
    gamma, beta : ndarray, shape (channels,), or None
    mean, var : ndarray, shape (channels,)
        The running statistics.
    eps : float, default 1e-5
    axis : int, default -1

    Returns
    -------
    w, b : ndarray
        New arrays of the dtype of `w`; worked out in float64.

    Raises
    ------
    TypeError, ValueError
        An array has not the shape it needs, or eps is not positive.
    """
    w = _floats("w", w)
    if w.ndim < 1 or not -w.ndim <= axis < w.ndim:
        raise ValueError(f"axis is {axis}; an axis of w, which has {w.ndim}, is needed")
    scale, shift = _affine(gamma, beta, mean, var, eps, w.shape[axis])
    lead = np.zeros(w.shape[axis]) if b is None else _channels("b", b, w.shape[axis])
    along = [1] * w.ndim
    along[axis] = -1
    return (w * scale.reshape(along)).astype(w.dtype), (lead * scale + shift).astype(w.dtype)


def fold_into_next(
    w: np.ndarray,
    b: np.ndarray | None,
    gamma: np.ndarray | None,
    beta: np.ndarray | None,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float = 1e-5,
) -> tuple[np.ndarray, np.ndarray]:
    """A batch norm and the linear layer behind it, as one linear layer.

    ::

        batch_norm(x) w + b = x w' + b',    s = gamma / sqrt(var + eps),    w' = s w,    b' = b + (beta - mean s) w

    Parameters
    ----------
    w : ndarray, shape (channels, n_out)
    b : ndarray, shape (n_out,), or None
    gamma, beta, mean, var, eps
        As for `fold`.

    Returns
    -------
    w, b : ndarray
        New arrays of the dtype of `w`; worked out in float64.

    Raises
    ------
    TypeError, ValueError
        An array has not the shape it needs, or eps is not positive.
    """
    w = _floats("w", w)
    if w.ndim != 2:
        raise ValueError(f"w has shape {w.shape}; (channels, n_out) is needed")
    scale, shift = _affine(gamma, beta, mean, var, eps, w.shape[0])
    lead = np.zeros(w.shape[1]) if b is None else _channels("b", b, w.shape[1])
    wide = w.astype(np.float64)
    return (scale[:, None] * wide).astype(w.dtype), (lead + shift @ wide).astype(w.dtype)


def _affine(gamma: Any, beta: Any, mean: Any, var: Any, eps: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """batch_norm(x) = x scale + shift."""
    eps = check_number("fold", "eps", eps, above=True)
    spread = _channels("var", var, n)
    if not (spread >= 0).all():
        raise ValueError("var has elements below 0, or NaN; variances are needed")
    scale = 1 / np.sqrt(spread + eps)
    if gamma is not None:
        scale = scale * _channels("gamma", gamma, n)
    shift = -_channels("mean", mean, n) * scale
    return scale, shift if beta is None else shift + _channels("beta", beta, n)


def _floats(name: str, x: Any) -> np.ndarray:
    if not isinstance(x, np.ndarray) or x.dtype not in (np.float32, np.float64):
        told = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"{name} is {told}; an array of float32 or float64 is needed")
    return x


def _channels(name: str, x: Any, n: int) -> np.ndarray:
    x = _floats(name, x)
    if x.shape != (n,):
        raise ValueError(f"{name} has shape {x.shape}; {(n,)} is needed")
    return x.astype(np.float64)
