"""Gains: by how much weights must be larger where the activation makes its input smaller."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastopt._checks import check_number

__all__ = ["gain", "squared_gain"]

#: Squares of gains: those of torch's table first, then 1 / E[f(z)^2], z standard normal.
SQUARES = {
    "linear": 1.0,
    "identity": 1.0,
    "sigmoid": 1.0,
    "tanh": 25 / 9,
    "relu": 2.0,
    "selu": 9 / 16,
    "gelu": 1 / (1 / 3 + 1 / (2 * math.pi * math.sqrt(3))),
    "elu": 1 / 0.644945417492924,  # E[f^2] = 1 + e^2 Phi(-2) - 2 e^(1/2) Phi(-1), for alpha = 1
    "silu": 1 / 0.35577551981735217,  # by quadrature
}
LEAKY = ("leaky_relu", "prelu")


def gain(activation: str, param: float | None = None) -> float:
    """The factor on weights of variance 1 / fan_in with which an activation keeps the scale of what passes.

    Parameters
    ----------
    activation : str
        ``"linear"``, ``"sigmoid"``, ``"tanh"``, ``"relu"``, ``"leaky_relu"`` (``"prelu"``), ``"selu"``, ``"elu"``,
        ``"gelu"``, ``"silu"``.
    param : float, optional
        The slope below zero of ``"leaky_relu"``, default 0.01. No other takes one.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        The name is unknown, or `param` is given where none belongs.

    Notes
    -----
    ``relu``: sqrt(2); ``leaky_relu``: sqrt(2 / (1 + a^2)) (He et al., 2015, eqs. 10 and 15). ``gelu``, ``elu``,
    ``silu``: 1 / sqrt(E[f(z)^2]) for standard normal z, which is what the same argument gives; for GELU E[f^2] =
    1/3 + 1 / (2 pi sqrt(3)). ``tanh``: 5/3, ``sigmoid``: 1 and ``selu``: 3/4 are the values of torch's table; the
    first is LeCun's choice of scale, the last damps SELU networks, whose own theory (Klambauer et al., 2017) wants
    1.

    Examples
    --------
    >>> import fastopt as fo
    >>> round(fo.init.gain("leaky_relu", 0.2), 4)
    1.3868
    """
    return math.sqrt(_square("fo.init.gain", activation, param))


def squared_gain(owner: str, value: Any) -> float:
    """The square of a gain given as a number or as an activation's name."""
    if isinstance(value, str):
        return _square(owner, value, None)
    return check_number(owner, "gain", value, above=True) ** 2


def _square(owner: str, activation: Any, param: Any) -> float:
    if not isinstance(activation, str):
        raise TypeError(
            f"{owner}: the activation is {activation!r}; its name, or a number as gain, is wanted"
        )
    if activation in LEAKY:
        slope = 0.01 if param is None else check_number(owner, "param", param, -np.inf)
        return 2 / (1 + slope * slope)
    if activation not in SQUARES:
        known = ", ".join([*SQUARES, *LEAKY])
        raise ValueError(f"{owner}: activation {activation!r} is unknown; one of {known} is wanted")
    if param is not None:
        raise ValueError(f"{owner}: param is {param!r}; {activation} takes none")
    return SQUARES[activation]
