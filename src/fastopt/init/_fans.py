"""Which axes of a weight array are inputs and outputs, and how many of each a unit has."""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

__all__ = ["Axes", "Fans", "fans", "read_axes", "resolve"]

NAMED = {"in_out": ((-2,), (-1,)), "out_in": ((1,), (0,))}
FORMS = "'in_out' (the default: (..., in, out)), 'out_in' ((out, in, ...), as torch) or a pair (in axis, out axis)"


class Axes(NamedTuple):
    """Axes of the inputs and of the outputs; all others are the kernel's."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Fans(NamedTuple):
    """Inputs of an output unit, and outputs that an input unit reaches; places of a kernel count."""

    fan_in: int
    fan_out: int


def read_axes(owner: str, axes: Any) -> Axes:
    """What was given as ``axes``: a name, or (in axis, out axis), each an integer or a tuple of them."""
    if isinstance(axes, str):
        if axes not in NAMED:
            raise ValueError(f"{owner}: axes is {axes!r}; {FORMS} is wanted")
        return Axes(*NAMED[axes])
    if not isinstance(axes, (tuple, list)) or len(axes) != 2:
        raise TypeError(f"{owner}: axes is {axes!r}; {FORMS} is wanted")
    try:
        inputs, outputs = (
            tuple(map(operator.index, side)) if isinstance(side, (tuple, list)) else (operator.index(side),)
            for side in axes
        )
    except TypeError:
        raise TypeError(f"{owner}: axes is {axes!r}; {FORMS} is wanted") from None
    return Axes(inputs, outputs)


def resolve(shape: tuple[int, ...], axes: Axes, where: str) -> Axes:
    """The axes counted from the front, or a ValueError that names the leaf."""
    if len(shape) == 2 and axes == NAMED["in_out"]:
        return Axes((0,), (1,))
    if len(shape) < 2:
        raise ValueError(
            f"{where} has shape {shape}; inputs and outputs have a meaning from two axes on. Biases want a rule of "
            "their own, as in fo.init.tree(params, {'*/w': 'he_normal', '*/b': 'zeros'})"
        )
    found = []
    for side in axes:
        for axis in side:
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"{where} has shape {shape}; axes names axis {axis}, which it has not")
        found.append(tuple(axis % len(shape) for axis in side))
    named = [*found[0], *found[1]]
    if len(set(named)) < len(named):
        raise ValueError(f"{where} has shape {shape}; axes {tuple(axes)} name one axis twice")
    if not found[0] or not found[1]:
        raise ValueError(f"{where}: axes {tuple(axes)} leave inputs or outputs without an axis")
    return Axes(*found)


def fans(shape: tuple[int, ...], axes: Axes, where: str = "the array") -> Fans:
    """Inputs and outputs by shape: the product of their axes, times the kernel's axes, which count for both."""
    inputs, outputs = resolve(shape, axes, where)
    n_in = math.prod(shape[axis] for axis in inputs)
    n_out = math.prod(shape[axis] for axis in outputs)
    kernel = math.prod(n for axis, n in enumerate(shape) if axis not in inputs and axis not in outputs)
    return Fans(n_in * kernel, n_out * kernel)


def fans_of(shape: tuple[int, ...] | list[int], axes: Any = "in_out") -> Fans:
    """Inputs of an output unit and outputs that an input unit reaches, by the shape of the weights.

    Parameters
    ----------
    shape : tuple of int
        At least two axes.
    axes : str or pair, default "in_out"
        As for `variance_scaling`.

    Returns
    -------
    Fans
        ``(fan_in, fan_out)``, each the product of its axes times that of the kernel's axes.

    Raises
    ------
    TypeError, ValueError
        The shape has fewer than two axes, or `axes` does not fit.

    Examples
    --------
    >>> import fastopt as fo
    >>> fo.init.fans((3, 3, 16, 32))
    Fans(fan_in=144, fan_out=288)
    """
    owner = "fo.init.fans"
    return fans(tuple(map(operator.index, shape)), read_axes(owner, axes), f"{owner}: the array")
