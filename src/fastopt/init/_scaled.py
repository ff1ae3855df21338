"""Independent weights whose variance is a scale over the number of a unit's inputs, outputs or both."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from fastopt._checks import check_choice, check_number
from fastopt.init._fans import Fans, fans, read_axes
from fastopt.init._gains import squared_gain
from fastopt.init._pieces import normal_piece, truncated_piece, uniform_piece
from fastopt.init._simple import fits
from fastopt.init._streams import Piece, elements, one_stream
from fastopt.init._targets import Filler, Plan, fill

__all__ = [
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "heuristic_uniform",
    "lecun_normal",
    "lecun_uniform",
    "variance_scaling",
    "weights_from",
]

T = TypeVar("T")
MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("uniform", "normal", "truncated_normal")
#: Standard deviation of a standard normal number given that it lies in [-2, 2].
CUT_STD = 0.8796256610342398


def scaled_piece(scale: float, by: Fans, mode: str, distribution: str, dtype: np.dtype) -> Piece:
    """Elements of mean 0 and variance scale / n, with n by mode."""
    n = {
        "fan_in": by.fan_in,
        "fan_out": by.fan_out,
        "fan_avg": (by.fan_in + by.fan_out) / 2,
        "fan_geo_avg": math.sqrt(by.fan_in * by.fan_out),
    }[mode] or 1  # nothing is written where a fan is 0
    if distribution == "uniform":
        limit = math.sqrt(3 * scale / n)
        return uniform_piece(-limit, limit, dtype)
    std = math.sqrt(scale / n)
    if distribution == "normal":
        return normal_piece(0.0, std)
    std /= CUT_STD
    return truncated_piece(0.0, std, -2 * std, 2 * std, dtype)


def weights_from(
    rng: np.random.Generator, shape: tuple[int, int], scale: float, mode: str, how: str
) -> np.ndarray:
    """New float64 weights, all from the one stream of `rng`: float32 models can start from the same numbers."""
    piece = scaled_piece(scale, Fans(*shape), mode, how, np.dtype(np.float64))
    return one_stream(piece, shape, rng)


def _plan(owner: str, scale: float, mode: Any, distribution: str, axes: Any) -> Plan:
    check_choice(owner, "mode", mode, MODES)
    sides = read_axes(owner, axes)

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        by = fans(shape, sides, where)
        fits(16 * math.sqrt(scale), dtype, where, "16 sqrt(scale)")
        return elements(scaled_piece(scale, by, mode, distribution, dtype))

    return plan


def variance_scaling(
    params: T,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    *,
    axes: Any = "in_out",
    rng: Any = None,
) -> T:
    """Fill with independent numbers of mean 0 and variance ``scale / n``.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        Of at least two axes each, float32 or float64, written in place.
    scale : float, default 1
        Above 0.
    mode : {"fan_in", "fan_out", "fan_avg", "fan_geo_avg"}, default "fan_in"
        n: the inputs of a unit, the outputs that an input reaches, their mean, or their geometric mean.
    distribution : {"truncated_normal", "normal", "uniform"}, default "truncated_normal"
        Uniform: within ``sqrt(3 scale / n)``. Truncated: cut at two standard deviations of the uncut distribution,
        widened so that the variance is that asked for.
    axes : str or pair, default "in_out"
        Which axes are inputs and outputs: ``"in_out"`` for weights (in, out) and kernels (k..., in, out);
        ``"out_in"`` for torch's (out, in, k...); or a pair (in axis, out axis), each an axis or a tuple of axes. The
        remaining axes are a kernel's and count for both fans.
    rng
        As for `uniform`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        An array, a number or `axes` is not what is needed, or an array has fewer than two axes; nothing is written.

    Notes
    -----
    He et al., 2015; Keras's and JAX's family. `glorot_uniform`, `he_normal` and the like are its rows.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> kernel = np.empty((3, 3, 16, 32))
    >>> w = fo.init.variance_scaling(kernel, 2.0, "fan_in", "normal", rng=0)
    >>> round(float(w.std() * (3 * 3 * 16) ** 0.5), 1)
    1.4
    """
    owner = "fo.init.variance_scaling"
    scale = check_number(owner, "scale", scale, above=True)
    check_choice(owner, "distribution", distribution, DISTRIBUTIONS)
    return fill("variance_scaling", params, rng, _plan(owner, scale, mode, distribution, axes))


def _row(name: str, params: T, factor: float, gain: Any, mode: str, how: str, axes: Any, rng: Any) -> T:
    owner = f"fo.init.{name}"
    return fill(name, params, rng, _plan(owner, factor * squared_gain(owner, gain), mode, how, axes))


def heuristic_uniform(params: T, *, axes: Any = "in_out", rng: Any = None) -> T:
    """Uniform within ``1 / sqrt(m)``, m the inputs of a unit: the common heuristic of the book's section 8.4.

    Its variance is 1 / (3 m): layer by layer, signals become sqrt(3) times smaller.

    Parameters
    ----------
    params, axes, rng
        As for `variance_scaling`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `variance_scaling`.
    """
    return _row("heuristic_uniform", params, 1 / 3, 1.0, "fan_in", "uniform", axes, rng)


def glorot_uniform(params: T, gain: float | str = 1.0, *, axes: Any = "in_out", rng: Any = None) -> T:
    """Uniform within ``gain sqrt(6 / (fan_in + fan_out))``: the normalized initialization, book eq. 8.23.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        As for `variance_scaling`.
    gain : float or str, default 1
        Above 0, or the name of an activation that `gain` knows.
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
    Variance ``gain^2 2 / (fan_in + fan_out)``: a compromise between keeping the variance of activations (1 / fan_in)
    and that of gradients (1 / fan_out), derived for linear units. Glorot and Bengio, 2010, eq. 16.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = fo.init.glorot_uniform(np.empty((64, 32), np.float32), rng=0)
    >>> bool(abs(w).max() <= 0.25)
    True
    """
    return _row("glorot_uniform", params, 1.0, gain, "fan_avg", "uniform", axes, rng)


def glorot_normal(params: T, gain: float | str = 1.0, *, axes: Any = "in_out", rng: Any = None) -> T:
    """Normal with variance ``gain^2 2 / (fan_in + fan_out)``, not truncated.

    Parameters
    ----------
    params, gain, axes, rng
        As for `glorot_uniform`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `glorot_uniform`.
    """
    return _row("glorot_normal", params, 1.0, gain, "fan_avg", "normal", axes, rng)


def he_uniform(
    params: T, gain: float | str = "relu", *, mode: str = "fan_in", axes: Any = "in_out", rng: Any = None
) -> T:
    """Uniform within ``gain sqrt(3 / fan)``; with ReLU's gain sqrt(2), ``sqrt(6 / fan)``.

    Parameters
    ----------
    params, gain, mode, axes, rng
        As for `he_normal`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `he_normal`.
    """
    return _row("he_uniform", params, 1.0, gain, mode, "uniform", axes, rng)


def he_normal(
    params: T, gain: float | str = "relu", *, mode: str = "fan_in", axes: Any = "in_out", rng: Any = None
) -> T:
    """Normal with variance ``gain^2 / fan``: 2 / fan_in for ReLU, not truncated.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        As for `variance_scaling`.
    gain : float or str, default "relu"
        Above 0, or the name of an activation that `gain` knows. For a leaky ReLU of slope a:
        ``gain=fo.init.gain("leaky_relu", a)``.
    mode : {"fan_in", "fan_out", "fan_avg", "fan_geo_avg"}, default "fan_in"
        ``"fan_in"`` keeps the scale of activations, ``"fan_out"`` that of gradients.
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
    He et al., 2015, eqs. 10 and 14. torch calls it kaiming.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> params = {"w": np.empty((50, 40)), "v": np.empty((40, 30))}
    >>> params = fo.init.he_normal(params, rng=0)
    >>> round(float(params["w"].std()), 1)
    0.2
    """
    return _row("he_normal", params, 1.0, gain, mode, "normal", axes, rng)


def lecun_uniform(params: T, gain: float | str = 1.0, *, axes: Any = "in_out", rng: Any = None) -> T:
    """Uniform within ``gain sqrt(3 / fan_in)``.

    Parameters
    ----------
    params, gain, axes, rng
        As for `glorot_uniform`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `glorot_uniform`.
    """
    return _row("lecun_uniform", params, 1.0, gain, "fan_in", "uniform", axes, rng)


def lecun_normal(params: T, gain: float | str = 1.0, *, axes: Any = "in_out", rng: Any = None) -> T:
    """Normal with variance ``gain^2 / fan_in``, not truncated: for linear units, and with gain 1 for SELU.

    LeCun et al., *Efficient BackProp*, 1998, section 4.6; Klambauer et al., 2017.

    Parameters
    ----------
    params, gain, axes, rng
        As for `glorot_uniform`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `glorot_uniform`.
    """
    return _row("lecun_normal", params, 1.0, gain, "fan_in", "normal", axes, rng)
