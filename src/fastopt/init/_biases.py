"""Biases: from the marginal of the outputs, for rectifiers, for the forget gate of a recurrent cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from fastopt._checks import check_choice, check_integer, check_number
from fastopt.init._simple import constant_plan, fits
from fastopt.init._targets import Filler, Plan, fill
from fastopt.init._threads import Job

__all__ = ["forget_bias", "marginal_bias", "relu_bias"]

T = TypeVar("T")


def relu_bias(params: T, value: float = 0.1, *, rng: Any = None) -> T:
    """Fill with a small positive number, so that a rectifier passes something for most inputs at first.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        float32 or float64, written in place.
    value : float, default 0.1
        At least 0. The book's 0.1 (8.4); 0.01 is also used.
    rng
        Taken so that all initializers can be called alike; nothing is drawn.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `constant`; also for a negative value.
    """
    owner = "fo.init.relu_bias"
    return fill("relu_bias", params, rng, constant_plan(owner, check_number(owner, "value", value)))


def forget_bias(params: T, value: float = 1.0, *, gate: int = 1, gates: int = 4, rng: Any = None) -> T:
    """Fill the concatenated biases of a recurrent cell's gates: `value` for the forget gate, 0 for the others.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        The last axis holds the gates one after another, each as wide as the cell. float32 or float64, written in
        place.
    value : float, default 1
        Finite.
    gate : int, default 1
        Which gate it is, counted from 0: 1 in torch's order (input, forget, cell, output) and Keras's.
    gates : int, default 4
        How many there are: 4 for an LSTM, 3 for a GRU.
    rng
        Taken so that all initializers can be called alike; nothing is drawn.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `constant`; also where the last axis is no multiple of `gates`, or there is no such gate.

    Notes
    -----
    A forget gate that starts open lets gradients reach far back. Gers et al., 2000; Jozefowicz et al., 2015; book
    8.4 and 10.10. A cell with two bias vectors (torch) adds them: fill one, and the other with `zeros`.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> fo.init.forget_bias(np.empty(8))
    array([0., 0., 1., 1., 0., 0., 0., 0.])
    """
    owner = "fo.init.forget_bias"
    number = check_number(owner, "value", value, -math.inf)
    count = check_integer(owner, "gates", gates, 1)
    which = check_integer(owner, "gate", gate, 0)
    if which >= count:
        raise ValueError(f"{owner}: gate is {which}; one of 0 to {count - 1} is wanted")

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        if not shape or shape[-1] % count:
            raise ValueError(
                f"{where} has shape {shape}; a last axis that is a multiple of {count} is wanted"
            )
        fits(number, dtype, where, "value")
        width = shape[-1] // count

        def filler(leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
            leaf[...] = 0
            leaf[..., which * width : (which + 1) * width] = number
            return ()

        return filler

    return fill("forget_bias", params, rng, plan)


def marginal_bias(
    params: T, y: Any, *, output: str = "softmax", smoothing: float = 1.0, rng: Any = None
) -> T:
    """Fill the biases of the output layer so that, with zero weights, it puts out the marginal of the targets.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        One array, shape (c,), float32 or float64, written in place.
    y : array_like
        Targets. ``"softmax"``: labels (n,), integers from 0 to c - 1, or shares (n, c). ``"sigmoid"``: numbers in
        [0, 1], (n, c), or (n,) where c is 1. ``"identity"``: numbers (n, c), or (n,) where c is 1.
    output : {"softmax", "sigmoid", "identity"}, default "softmax"
        What makes outputs of the last layer's sums.
    smoothing : float, default 1
        Added to the count of every class, so that one that does not occur gets a finite bias. At least 0. Not used by
        ``"identity"``.
    rng
        Taken so that all initializers can be called alike; nothing is drawn.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        An array, `y` or a number is not what is needed, or a class does not occur and `smoothing` is 0.

    Notes
    -----
    The inverse of the output's nonlinearity at the marginal p: ``log p`` for softmax (p the smoothed frequencies),
    ``log(p / (1 - p))`` for sigmoid, the mean for identity. The first steps of training need not learn it then.
    Goodfellow et al., *Deep Learning*, section 8.4.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> b = fo.init.marginal_bias(np.empty(2), [0, 0, 0, 1], smoothing=0)
    >>> np.exp(b)
    array([0.75, 0.25])
    """
    owner = "fo.init.marginal_bias"
    check_choice(owner, "output", output, ("softmax", "sigmoid", "identity"))
    s = check_number(owner, "smoothing", smoothing)
    targets = np.asarray(y)
    if targets.dtype.kind not in "fiub":
        raise TypeError(f"{owner}: y is {targets.dtype}; real numbers are wanted")
    if not targets.size:
        raise ValueError(f"{owner}: y is empty; at least one target is wanted")
    if targets.dtype.kind == "f" and not np.isfinite(targets).all():
        raise ValueError(f"{owner}: y holds Inf or NaN; finite numbers are wanted")
    return fill("marginal_bias", params, rng, _marginal_plan(owner, targets, output, s))


def _marginal_plan(owner: str, y: np.ndarray, output: str, smoothing: float) -> Plan:
    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        if len(shape) != 1 or not shape[0]:
            raise ValueError(f"{where} has shape {shape}; biases of shape (c,) are wanted")
        bias = _inverse_of_marginal(owner, y, shape[0], output, smoothing)
        fits(float(np.abs(bias).max()), dtype, where, "a bias")

        def filler(leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
            leaf[...] = bias
            return ()

        return filler

    return plan


def _inverse_of_marginal(owner: str, y: np.ndarray, c: int, output: str, smoothing: float) -> np.ndarray:
    labels = output == "softmax" and y.ndim == 1
    if labels and y.dtype.kind not in "iub":
        raise TypeError(f"{owner}: y is {y.dtype}; integer labels (n,), or shares (n, {c}), are wanted")
    if not labels and y.ndim == 1 and c == 1:
        y = y[:, None]
    if not labels and (y.ndim != 2 or y.shape[1] != c):
        raise ValueError(f"{owner}: y has shape {y.shape}; (n, {c}), one column for each bias, is wanted")
    if output == "identity":
        return y.mean(axis=0, dtype=np.float64)
    if labels:
        y = y.astype(np.int64)
        if y.min() < 0 or y.max() >= c:
            raise ValueError(f"{owner}: y has labels from {y.min()} to {y.max()}; 0 to {c - 1} are wanted")
        counts = np.bincount(y, minlength=c).astype(np.float64)
    else:
        if y.min() < 0 or y.max() > 1:
            raise ValueError(f"{owner}: y has numbers from {y.min():g} to {y.max():g}; 0 to 1 are wanted")
        counts = y.sum(axis=0, dtype=np.float64)
    if output == "softmax":
        above, below = counts + smoothing, np.full(c, counts.sum() + c * smoothing)
    else:
        above, below = counts + smoothing, len(y) - counts + smoothing
    if not (above.min() > 0 and below.min() > 0):
        raise ValueError(
            f"{owner}: output {int(np.argmin(np.minimum(above, below)))} has one value for all targets; "
            "smoothing > 0 is wanted"
        )
    return np.log(above) - np.log(below)
