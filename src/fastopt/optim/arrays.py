"""Arrays of an optimizer: what a parameter may be, and where its states lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastopt._core.kernels import byte_bounds, first_overlap, overlaps_itself
from fastopt._trees import _at, flatten_tree

__all__ = ["allocate", "check_params"]

_LINE = 64  # bytes of a cache line


def check_params(params: Any) -> tuple[list[np.ndarray], list[str]]:
    """Leaves and paths of a tree of parameters, or the first reason why it is none."""
    leaves, paths = flatten_tree(params)
    seen: dict[str, None] = {}
    for leaf, path in zip(leaves, paths, strict=True):
        name = f"params{_at(path)}"
        if path in seen:
            raise ValueError(f"two leaves of params have the path {path!r}; paths must differ")
        seen[path] = None
        if not isinstance(leaf, np.ndarray):
            raise TypeError(f"{name} is {type(leaf).__name__}; a NumPy array of float32 or float64 is needed")
        if isinstance(leaf, np.ma.MaskedArray):
            raise TypeError(f"{name} is a masked array; a plain array is needed")
        if leaf.dtype not in (np.float32, np.float64):
            order = "" if leaf.dtype.isnative else " in foreign byte order"
            raise TypeError(f"{name} has dtype {leaf.dtype}{order}; float32 or float64 is needed")
        if not leaf.flags.writeable:
            raise ValueError(f"{name} is read-only; a writable array is needed")
        if overlaps_itself(leaf):
            raise ValueError(f"{name} reaches the same element by two indices; an array of its own is needed")
    spans = [(*byte_bounds(leaf), i) for i, leaf in enumerate(leaves) if leaf.size]
    pair = first_overlap(spans, leaves)
    if pair is not None:
        i, j = pair
        what = "are the same array" if leaves[i] is leaves[j] else "share memory"
        raise ValueError(
            f"params{_at(paths[i])} and params{_at(paths[j])} {what}; each needs memory of its own"
        )
    return leaves, paths


def allocate(like: Sequence[np.ndarray], count: int) -> list[list[np.ndarray]]:
    """For each array `count` zeroed ones of its shape and dtype, contiguous, each at the start of a cache line.

    All of them come from one block. Arrays that are walked together start at different places in a page: equal
    ones make loads wait for stores that only look like theirs.
    """
    places: list[list[int]] = []
    at = 0
    for a in like:
        row = []
        for k in range(count):
            if a.nbytes >= 4096:
                at += (1024 * (k + 1) - at) % 4096
            row.append(at)
            at += -(-a.nbytes // _LINE) * _LINE
        places.append(row)
    raw = np.zeros(at + 4096, np.uint8)
    base = -raw.ctypes.data % 4096
    return [
        [raw[base + p : base + p + a.nbytes].view(a.dtype).reshape(a.shape) for p in row]
        for a, row in zip(like, places, strict=True)
    ]
