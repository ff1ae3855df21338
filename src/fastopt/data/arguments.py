"""The arguments of `Batches`, checked."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from fastopt._core.gather import Source
from fastopt.data.sources import as_source
from fastopt.data.taken import Taken

__all__ = ["LASTS", "as_augment", "as_last", "as_places", "as_prefetch", "as_size", "as_sources", "is_int"]

LASTS = ("keep", "drop", "pad")


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def as_sources(given: tuple[Any, ...], dtype: Any, scale: Any) -> tuple[Source | Taken, ...]:
    """What batches are made of: a `Source` for an array, `Taken` for another source."""
    found = []
    for i, array in enumerate(given):
        source = None if isinstance(array, np.ndarray) else as_source(array, f"arrays[{i}]")
        found.append(_as_rows(array, f"arrays[{i}]") if source is None else source)
    if not found:
        raise TypeError("no array was given; at least one is needed")
    lengths = [len(array) for array in found]
    if len(set(lengths)) > 1:
        raise ValueError(f"the arrays have {', '.join(map(str, lengths))} rows; they must agree")
    if lengths[0] == 0:
        raise ValueError("the arrays have no rows; at least one is needed")
    wanted, floats_only = _as_dtypes(dtype, len(found))
    sources: list[Source | Taken] = []
    for i, (array, target, factor) in enumerate(
        zip(found, wanted, _as_factors(scale, len(found)), strict=True)
    ):
        name, only = f"arrays[{i}]", floats_only and factor is None
        if isinstance(array, np.ndarray):
            sources.append(Source(name, array, _as_target(array, target, only, factor, name), factor))
        else:
            sources.append(Taken(name, array, target, only, factor))
    return tuple(sources)


def _as_rows(array: Any, name: str) -> np.ndarray:
    """An array with rows; the very object, if it is one already, so that later changes to it are noticed."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array; its mask would be lost: fill or drop the masked rows first"
        )
    found = array if isinstance(array, np.ndarray) else np.asarray(array)
    if found.dtype.hasobject or found.dtype.kind == "T":
        raise TypeError(f"{name} has dtype {found.dtype}; numbers, or others of a fixed width, are needed")
    if found.dtype.itemsize == 0:
        raise TypeError(f"{name} has dtype {found.dtype!r}, of no bytes")
    if found.ndim == 0:
        raise ValueError(f"{name} is a single value; an array with rows (at least one dimension) is needed")
    return found


def _as_dtypes(dtype: Any, count: int) -> tuple[list[np.dtype[Any] | None], bool]:
    """A dtype or None for each array, and whether it is for floating arrays only."""
    if isinstance(dtype, tuple):
        if len(dtype) != count:
            raise ValueError(f"dtype has {len(dtype)} entries; one for each of the {count} arrays is needed")
        return [None if entry is None else _as_dtype(entry) for entry in dtype], False
    one = None if dtype is None else _as_dtype(dtype)
    if one is not None and one.kind not in "fc":
        raise TypeError(f"dtype is {one}; a floating dtype, or a tuple with one entry an array, is needed")
    return [one] * count, True


def _as_dtype(entry: Any) -> np.dtype[Any]:
    try:
        return np.dtype(entry)
    except TypeError as error:
        raise TypeError(f"dtype is {entry!r}; {error}") from None


def _as_factors(scale: Any, count: int) -> list[float | None]:
    """A factor or None for each array; one number is for the first."""
    if isinstance(scale, tuple):
        if len(scale) != count:
            raise ValueError(f"scale has {len(scale)} entries; one for each of the {count} arrays is needed")
        factors = list(scale)
    else:
        factors = [scale, *[None] * (count - 1)]
    for factor in factors:
        if factor is None:
            continue
        if isinstance(factor, (bool, np.bool_)) or not isinstance(
            factor, (int, float, np.integer, np.floating)
        ):
            raise TypeError(f"scale is {scale!r}; a number, or a tuple with one or None an array, is needed")
        if not math.isfinite(factor):
            raise ValueError(f"scale is {scale!r}; finite numbers are needed")
    return [None if factor is None else float(factor) for factor in factors]


def _as_target(
    array: np.ndarray, wanted: np.dtype[Any] | None, floats_only: bool, factor: float | None, name: str
) -> np.dtype[Any]:
    target = array.dtype if wanted is None or (floats_only and array.dtype.kind != "f") else wanted
    if target != array.dtype and (target.hasobject or not np.can_cast(array.dtype, target, "same_kind")):
        raise TypeError(f"{name} has dtype {array.dtype}, which does not go into {target}")
    if factor is not None and target.kind not in "fc":
        raise TypeError(f"scale is for {name}, whose batches are {target}; give a floating dtype too")
    return target


def as_size(size: Any, rows: int, name: str = "size") -> int:
    if isinstance(size, (bool, np.bool_)):
        raise TypeError(f"{name} is {size!r}; an integer is needed")
    try:
        size = operator.index(size)
    except TypeError:
        raise TypeError(f"{name} is {size!r}; an integer is needed") from None
    if not 1 <= size <= rows:
        raise ValueError(f"{name} is {size}; from 1 to {rows} (the number of rows) is needed")
    return size


def as_last(last: Any, drop_last: Any) -> str:
    """What becomes of a last batch that is short."""
    if not isinstance(drop_last, (bool, np.bool_)):
        raise TypeError(f"drop_last is {drop_last!r}; True or False is needed")
    if last is None:
        return "drop" if drop_last else "keep"
    if not isinstance(last, str) or last not in LASTS:
        raise ValueError(f"last is {last!r}; one of {', '.join(map(repr, LASTS))} is needed")
    if drop_last and last != "drop":
        raise ValueError(f"last is {last!r} and drop_last is True; one of them is needed, not both")
    return last


def as_prefetch(prefetch: Any) -> bool | int:
    if isinstance(prefetch, (bool, np.bool_)):
        return bool(prefetch)
    if not isinstance(prefetch, (int, np.integer)) or prefetch < 1:
        kind = ValueError if isinstance(prefetch, (int, np.integer)) else TypeError
        raise kind(f"prefetch is {prefetch!r}; True, False or a number of batches from 1 is needed")
    return int(prefetch)


def as_places(value: Any, name: str, least: int, most: int | None = None) -> int:
    """An integer between bounds."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        found = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; an integer is needed") from None
    if found < least or (most is not None and found > most):
        raise ValueError(
            f"{name} is {found}; "
            + (f"at least {least}" if most is None else f"from {least} to {most}")
            + " is needed"
        )
    return found


def as_augment(augment: Any) -> Callable[[Any, np.random.Generator], Any] | None:
    if augment is not None and not callable(augment):
        raise TypeError(f"augment is {augment!r}; a function of (batch, rng) is needed")
    return augment
