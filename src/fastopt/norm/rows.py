"""Layer norm and RMS norm: each row by its own statistics, so that the batch does not matter."""

from __future__ import annotations

import numpy as np

from fastopt._core import norm as kernels
from fastopt._core.norm import Cache

__all__ = ["layer_norm", "layer_norm_backward", "rms_norm", "rms_norm_backward"]

Out = np.ndarray | tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None] | None


def layer_norm(
    x: np.ndarray,
    gamma: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    eps: float = 1e-5,
    axes: int = 1,
    *,
    out: np.ndarray | None = None,
    cache: Cache | None = None,
) -> tuple[np.ndarray, Cache]:
    """Normalize each row by its own mean and variance: ``y = gamma (x - mean) / sqrt(var + eps) + beta``.

    Parameters
    ----------
    x : ndarray of float32 or float64
    gamma, beta : ndarray, shape x.shape[-axes:], optional
        Of the dtype of x.
    eps : float, default 1e-5
        > 0.
    axes : int, default 1
        How many of the last axes make a row.
    out, cache
        As for `batch_norm`.

    Returns
    -------
    y : ndarray
    cache : Cache
        For `layer_norm_backward`; ``mean`` and ``rstd`` have one element a row.

    Raises
    ------
    TypeError, ValueError
        With the name of the argument; nothing has been written.

    Notes
    -----
    Ba, Kiros and Hinton, 2016. What is said of bits, NaN and zero variance at `batch_norm` holds here.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> fo.norm.layer_norm(np.array([[0.0, 2.0], [5.0, 9.0]]), eps=1e-12)[0].round(3)
    array([[-1.,  1.],
           [-1.,  1.]])
    """
    return kernels.layer_norm(x, gamma, beta, eps, axes, True, out, cache)


def layer_norm_backward(
    dy: np.ndarray, cache: Cache, out: Out = None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Gradients of a loss by x, gamma and beta, from that by y.

    With h = gamma dy, and means over the row::

        dx = rstd (h - mean(h) - xhat mean(h xhat)),   dgamma = sum over rows dy xhat,   dbeta = sum over rows dy

    Parameters and what is returned are as for `batch_norm_backward`.
    """
    return kernels.backward(dy, cache, out)


def rms_norm(
    x: np.ndarray,
    gamma: np.ndarray | None = None,
    eps: float | None = None,
    axes: int = 1,
    *,
    out: np.ndarray | None = None,
    cache: Cache | None = None,
) -> tuple[np.ndarray, Cache]:
    """Normalize each row by its root mean square: ``y = gamma x / sqrt(mean(x^2) + eps)``.

    Parameters
    ----------
    x : ndarray of float32 or float64
    gamma : ndarray, shape x.shape[-axes:], optional
    eps : float, optional
        > 0. Default: the machine epsilon of x's dtype, as torch.
    axes, out, cache
        As for `layer_norm`.

    Returns
    -------
    y : ndarray
    cache : Cache

    Notes
    -----
    Zhang and Sennrich, 2019.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> fo.norm.rms_norm(np.array([[3.0, 4.0]]))[0].round(4)
    array([[0.8485, 1.1314]])
    """
    return kernels.layer_norm(x, gamma, None, eps, axes, False, out, cache)


def rms_norm_backward(
    dy: np.ndarray, cache: Cache, out: Out = None
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Gradients by x and gamma: ``dx = rstd (h - xhat mean(h xhat))``, h = gamma dy, ``dgamma = sum dy xhat``.

    Parameters and what is returned are as for `batch_norm_backward`; dbeta is None.
    """
    return kernels.backward(dy, cache, out)
