"""Batch normalization: each channel by the statistics of the batch, or of a part of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt._checks import check_integer
from fastopt._core import norm as kernels
from fastopt._core.norm import Cache

__all__ = ["batch_norm", "batch_norm_backward", "running_statistics"]


def batch_norm(
    x: np.ndarray,
    gamma: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    eps: float = 1e-5,
    running: Any = None,
    momentum: float | None = 0.1,
    training: bool = True,
    axis: int = -1,
    *,
    decay: float | None = None,
    unbiased: bool = True,
    groups: int | None = None,
    ghost: int | None = None,
    out: np.ndarray | None = None,
    cache: Cache | None = None,
) -> tuple[np.ndarray, Cache]:
    """Normalize each channel by its mean and variance over the batch.

    ::

        xhat = (x - mean) / sqrt(var + eps),    y = gamma xhat + beta

    Parameters
    ----------
    x : ndarray of float32 or float64, two axes or more
        Any strides; contiguous arrays are not copied. The batch axis is the first one that is not the channel axis.
    gamma, beta : ndarray, shape (channels,), optional
        Of the dtype of x. Default: 1 and 0.
    eps : float, default 1e-5
        > 0, inside the root. (The book suggests 1e-8, Keras has 1e-3.)
    running : dict or object, optional
        Running statistics: ``mean`` and ``var``, shape (channels,), float32 or float64, and ``count``, one float64
        (see `running_statistics`). In training they take up those of the batch, in place. Needed if not training.
    momentum : float or None, default 0.1
        torch's convention: the share of the *new* statistics, ``r = (1 - momentum) r + momentum new``, in [0, 1].
        None: the plain mean over all batches so far, which needs ``running["count"]``.
    training : bool, default True
        False: normalize by the running statistics, and leave them alone.
    axis : int, default -1
        The channel axis: -1 for channels last, 1 for channels first.
    decay : float, optional
        The convention of Keras and the book: the share of the *old* statistics, in [0, 1]. Overrules `momentum`.
    unbiased : bool, default True
        The running variance takes up ``n / (n - 1) var`` of n values a channel, as torch; False: ``var``, as Keras.
        What x is divided by is always the biased one.
    groups, ghost : int, optional
        Ghost batches (Hoffer et al., 2017): parts of the batch with statistics of their own, in training. Either so
        many `groups` of nearly equal size (the first ones hold one example more), or groups of `ghost` examples; what
        is then left over is a group if it holds at least half as many, else it belongs to the last one. The running
        statistics take up those of each group in turn.
    out : ndarray, optional
        Where y is written. It may be x itself where x is not needed any more: in prediction, and in training without
        gamma and beta.
    cache : Cache, optional
        Of an earlier call: its memory is used again, and its content lost.

    Returns
    -------
    y : ndarray
    cache : Cache
        For `batch_norm_backward`. It refers to x and gamma: do not change them before. ``cache.mean``, ``cache.var``
        and ``cache.rstd`` are arrays (groups, channels) of float64.

    Raises
    ------
    TypeError, ValueError
        With the name of the argument; nothing has been written.

    Notes
    -----
    Statistics are sums of doubles in a fixed order, taken again about the mean where that is far from zero: neither
    the number of threads nor the instruction set changes a bit. A channel with a variance of 0 gives ``y = beta``. A
    single value a channel gives ``y = beta`` and ``dx = 0``, and leaves the running variance as it is. An empty batch
    gives empty arrays and leaves the running statistics. NaN and Inf pass through: they make their channel NaN.

    Ioffe and Szegedy, 2015; Goodfellow et al., *Deep Learning*, section 8.7.1, eq. 8.35 to 8.37.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> x = np.array([[1.0, 10.0], [3.0, 30.0]])
    >>> y, cache = fo.norm.batch_norm(x, eps=1e-12)
    >>> y.round(3)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> dx, dgamma, dbeta = fo.norm.batch_norm_backward(np.array([[1.0, 0.0], [0.0, 0.0]]), cache)
    >>> bool(abs(dx.sum(0)).max() < 1e-12)  # it never asks for a shift
    True
    """
    return kernels.batch_norm(
        x, gamma, beta, eps, running, momentum, decay, unbiased, training, axis, groups, ghost, out, cache
    )


def batch_norm_backward(
    dy: np.ndarray,
    cache: Cache,
    out: np.ndarray | tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None] | None = None,
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Gradients of a loss by x, gamma and beta, from that by y.

    In training, with means over the values of a channel (and of a group)::

        dx = gamma rstd (dy - mean(dy) - xhat mean(dy xhat)),   dgamma = sum dy xhat,   dbeta = sum dy

    in prediction, where the statistics are constants, ``dx = gamma rstd dy``.

    Parameters
    ----------
    dy : ndarray
        Of the shape and dtype of x.
    cache : Cache
        What `batch_norm` gave. It may be used again, as long as x is what it was.
    out : ndarray or tuple of three, optional
        Where dx, or (dx, dgamma, dbeta), are written; None for a new array. dx may be dy, or x, itself.

    Returns
    -------
    dx : ndarray
    dgamma, dbeta : ndarray, shape (channels,)
        None where the forward pass had no gamma, or no beta, and `out` has no array for it.

    Raises
    ------
    TypeError, ValueError
        With the name of the argument; nothing has been written.

    Notes
    -----
    In training, dx is orthogonal to a common shift and to a common scaling of the channel: it sums to 0, and so do
    its products with xhat, but for eps and rounding.
    """
    return kernels.backward(dy, cache, out)


def running_statistics(channels: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Arrays for `batch_norm`'s running statistics, at their start: mean 0, variance 1, count 0.

    Parameters
    ----------
    channels : int
    dtype : dtype, default float32
        Of mean and var, float32 or float64. The count of batches is a float64.

    Returns
    -------
    dict
        ``mean`` and ``var``, shape (channels,), and ``count``, shape (1,).
    """
    channels = check_integer("running_statistics", "channels", channels, 0)
    kind = np.dtype(dtype)
    if kind not in (np.float32, np.float64):
        raise TypeError(f"dtype is {kind}; float32 or float64 is needed")
    return {"mean": np.zeros(channels, kind), "var": np.ones(channels, kind), "count": np.zeros(1)}
