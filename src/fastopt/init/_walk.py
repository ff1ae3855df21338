"""Weights with which the log-norm of the gradient is a random walk without drift."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from fastopt._checks import check_choice, check_number
from fastopt.init._fans import fans, read_axes
from fastopt.init._pieces import normal_piece
from fastopt.init._simple import fits
from fastopt.init._streams import elements
from fastopt.init._targets import Filler, fill

__all__ = ["random_walk"]

T = TypeVar("T")


def random_walk(
    params: T, activation: str = "relu", *, g: float | None = None, axes: Any = "in_out", rng: Any = None
) -> T:
    """Normal with standard deviation ``g / sqrt(N)``, N = fan_in, g such that log-norms of gradients do not drift.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        As for `variance_scaling`.
    activation : {"relu", "linear", "tanh"}, default "relu"
        ``"linear"``: ``g = exp(1 / (2 N))``. ``"relu"``: ``g = sqrt(2) exp(1.2 / (max(N, 6) - 2.4))``. ``"tanh"``:
        g = 1.2, the middle of the range 1.1 to 1.3 found to be good; there is no formula, as it depends on the depth.
    g : float, optional
        Above 0: instead of these.
    axes, rng
        As for `variance_scaling`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `variance_scaling`.

    Notes
    -----
    He's and LeCun's scales keep the *mean* of the squared norm, but the squared norm of a deep product has a heavy
    tail, and its typical value falls with depth. Here the mean of the *logarithm* is kept, so that over layers of
    width N the log-norm of the back-propagated gradient walks at random, with a spread that grows as sqrt(depth /
    N). The difference matters for narrow layers. Sussillo and Abbott, 2014, arXiv:1412.6558.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = fo.init.random_walk(np.empty((20, 20)), "linear", rng=0)
    """
    owner = "fo.init.random_walk"
    check_choice(owner, "activation", activation, ("relu", "linear", "tanh"))
    given = None if g is None else check_number(owner, "g", g, above=True)
    sides = read_axes(owner, axes)

    def factor(n: int) -> float:
        if given is not None:
            return given
        if activation == "linear":
            return math.exp(1 / (2 * max(n, 1)))
        return math.sqrt(2) * math.exp(1.2 / (max(n, 6) - 2.4)) if activation == "relu" else 1.2

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        n = fans(shape, sides, where).fan_in
        std = factor(n) / math.sqrt(max(n, 1))
        fits(16 * std, dtype, where, "16 g / sqrt(N)")
        return elements(normal_piece(0.0, std))

    return fill("random_walk", params, rng, plan)
