"""Weights with a pattern: few non-zeros for each unit, or the identity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt.init._fans import Axes, fans, read_axes, resolve
from fastopt.init._orthogonal import middle
from fastopt.init._pieces import normal_piece
from fastopt.init._simple import fits
from fastopt.init._streams import elements
from fastopt.init._targets import Filler, fill
from fastopt.init._threads import Job, run_jobs

__all__ = ["identity", "near_identity", "sparse"]

T = TypeVar("T")
UNITS = 1 << 22  # elements of the mask of connections that is held at a time


def _connections(units: int, n: int, k: int, rng: np.random.Generator) -> np.ndarray:
    """For each unit k of its n inputs, all sets alike: a mask (units, n). Floyd's sampling, over all units at once."""
    mask = np.zeros((units, n), bool)
    few = min(k, n - k)  # chosen, or left out
    row = np.arange(units)
    for j in range(n - few, n):
        t = rng.integers(0, j + 1, size=units)
        t[mask[row, t]] = j
        mask[row, t] = True
    return mask if few == k else ~mask


def sparse(params: T, k: int = 15, std: float = 1.0, *, axes: Any = "in_out", rng: Any = None) -> T:
    """Fill so that each unit has exactly `k` non-zero weights, normal with standard deviation `std`.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        Of at least two axes each, float32 or float64, written in place.
    k : int, default 15
        From 0 to the number of a unit's inputs (places of a kernel count).
    std : float, default 1
        Above 0.
    axes : str or pair, default "in_out"
        Which axes are inputs and outputs; as for `variance_scaling`.
    rng
        As for `uniform`. All of an array is drawn from one stream.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `variance_scaling`; also where `k` is larger than the number of inputs.

    Notes
    -----
    The total input of a unit does not depend on the width, and units differ from each other from the start.
    Martens, 2010, section 5, with k = 15 and unit variance; book 8.4.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> np.count_nonzero(fo.init.sparse(np.empty((100, 4)), k=15, rng=0), axis=0)
    array([15, 15, 15, 15])
    """
    owner = "fo.init.sparse"
    count = check_integer(owner, "k", k, 0)
    s = check_number(owner, "std", std, above=True)
    sides = read_axes(owner, axes)

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        n = fans(shape, sides, where).fan_in
        outputs = resolve(shape, sides, where).outputs
        if count > n and 0 not in shape:
            raise ValueError(
                f"{where} has shape {shape}, {n} inputs for each unit; k <= {n} is wanted, not {count}"
            )
        fits(16 * s, dtype, where, "16 std")
        if s < 1e9 * float(np.finfo(dtype).tiny):  # a weight could be rounded to zero
            raise ValueError(f"{where} is {dtype}, too coarse for std = {s!r}")

        def filler(leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
            moved = np.moveaxis(leaf, outputs, range(len(outputs)))
            units = leaf.size // n
            # Views where the layout allows, else a copy that is written back.
            table = moved.reshape(units, n)
            step = max(1, UNITS // n)
            for start in range(0, units, step):
                part = table[start : start + step]
                mask = _connections(len(part), n, count, rng)
                part[...] = 0
                part[mask] = s * _nonzero(int(len(part) * count), rng)
            if not np.may_share_memory(table, leaf):
                moved[...] = table.reshape(moved.shape)
            return ()

        return filler

    return fill("sparse", params, rng, plan)


def _nonzero(size: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal numbers; those near enough to zero to become it in float32 are drawn again."""
    z = rng.standard_normal(size)
    while (small := np.flatnonzero(np.abs(z) < 1e-9)).size:
        z[small] = rng.standard_normal(small.size)
    return z


def _set_diagonal(leaf: np.ndarray, axes: Axes, value: float) -> None:
    """Add `value` where input i meets output i, in the middle of a kernel."""
    heart = middle(leaf, axes)
    n_in = math.prod(heart.shape[: len(axes.inputs)])
    n_out = heart.size // n_in
    i = np.arange(min(n_in, n_out))
    at = (
        *np.unravel_index(i, heart.shape[: len(axes.inputs)]),
        *np.unravel_index(i, heart.shape[len(axes.inputs) :]),
    )
    heart[at] += value


def identity(params: T, gain: float = 1.0, *, axes: Any = "in_out", rng: Any = None) -> T:
    """Fill with `gain` times the identity: output i is input i; what is left over of either is zero.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        Of at least two axes each; of a kernel (k..., in, out) the middle place is filled, the others are zero.
    gain : float, default 1
        Finite.
    axes : str or pair, default "in_out"
        As for `variance_scaling`.
    rng
        Taken so that all initializers can be called alike; nothing is drawn.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `variance_scaling`.

    Notes
    -----
    For recurrent weights with ReLU (Le, Jaitly and Hinton, 2015). Units stay alike where their inputs are: use
    `near_identity` where no other layer breaks the symmetry.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> fo.init.identity(np.empty((2, 3)))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """
    return _eye("identity", params, gain, 0.0, axes, rng)


def near_identity(
    params: T, gain: float = 1.0, std: float = 0.01, *, axes: Any = "in_out", rng: Any = None
) -> T:
    """Fill with `gain` times the identity plus independent normal noise of standard deviation `std`.

    Parameters
    ----------
    params, gain, axes
        As for `identity`.
    std : float, default 0.01
        At least 0, of every element.
    rng
        As for `uniform`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `variance_scaling`.
    """
    return _eye("near_identity", params, gain, std, axes, rng)


def _eye(name: str, params: T, gain: float, std: float, axes: Any, rng: Any) -> T:
    owner = f"fo.init.{name}"
    value = check_number(owner, "gain", gain, -math.inf)
    s = check_number(owner, "std", std)
    sides = read_axes(owner, axes)

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        found = resolve(shape, sides, where)
        fits(abs(value) + 16 * s, dtype, where, "|gain| + 16 std")

        def filler(leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
            if s:
                run_jobs(elements(normal_piece(0.0, s))(leaf, rng))
            else:
                leaf[...] = 0
            _set_diagonal(leaf, found, value)
            return ()

        return filler

    return fill(name, params, rng, plan)
