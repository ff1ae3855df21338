"""Constants, and numbers whose distribution is given outright."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from fastopt._checks import check_number
from fastopt.init._pieces import normal_piece, truncated_piece, uniform_piece
from fastopt.init._streams import elements
from fastopt.init._targets import Filler, Plan, fill
from fastopt.init._threads import Job

__all__ = ["constant", "normal", "ones", "truncated_normal", "uniform", "zeros"]

T = TypeVar("T")
LARGEST = {kind: float(np.finfo(kind).max) for kind in "fd"}


def fits(value: float, dtype: np.dtype, where: str, name: str) -> None:
    """A ValueError where the leaf's dtype makes Inf of a finite number."""
    if abs(value) > LARGEST[dtype.char]:
        raise ValueError(f"{where} is {dtype}, which cannot hold {name} = {value!r}")


def constant_plan(owner: str, value: Any) -> Plan:
    number = check_number(owner, "value", value, -math.inf)

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        fits(number, dtype, where, "value")

        def filler(leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
            leaf[...] = number
            return ()

        return filler

    return plan


def constant(params: T, value: float, *, rng: Any = None) -> T:
    """Fill with one number.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        float32 or float64, written in place.
    value : float
        Finite.
    rng
        Taken so that all initializers can be called alike; nothing is drawn.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        An array is not what is needed, or `value` is not finite or too large for a dtype; nothing is written.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> fo.init.constant(np.empty(3), 0.1)
    array([0.1, 0.1, 0.1])
    """
    return fill("constant", params, rng, constant_plan("fo.init.constant", value))


def zeros(params: T, *, rng: Any = None) -> T:
    """Fill with 0.

    Parameters
    ----------
    params, rng
        As for `constant`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `constant`.
    """
    return fill("zeros", params, rng, constant_plan("fo.init.zeros", 0.0))


def ones(params: T, *, rng: Any = None) -> T:
    """Fill with 1.

    Parameters
    ----------
    params, rng
        As for `constant`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `constant`.
    """
    return fill("ones", params, rng, constant_plan("fo.init.ones", 1.0))


def uniform(params: T, low: float = 0.0, high: float = 1.0, *, rng: Any = None) -> T:
    """Fill with independent numbers, uniform between `low` and `high`.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        float32 or float64, written in place. Any strides; C-contiguous ones are fastest.
    low, high : float, default 0 and 1
        ``low <= high``. `high` itself is met only by rounding.
    rng : None, int, Generator, ..., optional
        What ``np.random.default_rng`` takes. An array of up to 2^15 elements is drawn from it, in C order: a
        Generator gives what ``rng.random(out=...)`` gives, scaled. Larger arrays are cut into chunks with streams
        spawned from 128 bits of it. Each leaf of a tree has a stream of its own, spawned from 128 bits and the
        leaf's path: it does not depend on the other leaves.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        An array, a bound or `rng` is not what is needed; nothing is written.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = fo.init.uniform(np.empty((100, 50)), -0.1, 0.1, rng=0)
    >>> bool(abs(w).max() <= 0.1)
    True
    """
    owner = "fo.init.uniform"
    a = check_number(owner, "low", low, -math.inf)
    b = check_number(owner, "high", high, -math.inf)
    if not a <= b:
        raise ValueError(f"{owner}: low is {a!r} and high {b!r}; low <= high is wanted")

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        for name, value in (("low", a), ("high", b), ("high - low", b - a)):
            fits(value, dtype, where, name)
        return elements(uniform_piece(a, b, dtype))

    return fill("uniform", params, rng, plan)


def normal(params: T, mean: float = 0.0, std: float = 1.0, *, rng: Any = None) -> T:
    """Fill with independent normal numbers.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        As for `uniform`.
    mean, std : float, default 0 and 1
        ``std >= 0``.
    rng
        As for `uniform`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `uniform`.
    """
    owner = "fo.init.normal"
    m = check_number(owner, "mean", mean, -math.inf)
    s = check_number(owner, "std", std)

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        fits(abs(m) + 16 * s, dtype, where, "|mean| + 16 std")
        return elements(normal_piece(m, s))

    return fill("normal", params, rng, plan)


def truncated_normal(
    params: T, mean: float = 0.0, std: float = 1.0, low: float = -2.0, high: float = 2.0, *, rng: Any = None
) -> T:
    """Fill with independent normal numbers, given that they lie in [low, high].

    Parameters
    ----------
    params : ndarray or tree of ndarray
        As for `uniform`.
    mean, std : float, default 0 and 1
        Of the normal distribution before it is cut; ``std > 0``.
    low, high : float, default -2 and 2
        Bounds of the numbers themselves (as torch has it), not multiples of `std`; ``low < high``. May be infinite.
    rng
        As for `uniform`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `uniform`.

    Notes
    -----
    The distribution is exact for any bounds: numbers outside are drawn again, or, where fewer than a quarter lie
    inside, the distribution function is inverted on the logarithm's scale (far tails included).
    """
    owner = "fo.init.truncated_normal"
    m = check_number(owner, "mean", mean, -math.inf)
    s = check_number(owner, "std", std, above=True)
    a = low if low == -math.inf else check_number(owner, "low", low, -math.inf)
    b = high if high == math.inf else check_number(owner, "high", high, -math.inf)
    if not a < b:
        raise ValueError(f"{owner}: low is {a!r} and high {b!r}; low < high is wanted")

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        fits(abs(m) + 16 * s, dtype, where, "|mean| + 16 std")
        for name, value in (("low", a), ("high", b)):
            if math.isfinite(value):
                fits(value, dtype, where, name)
        return elements(truncated_piece(m, s, a, b, dtype))

    return fill("truncated_normal", params, rng, plan)
