"""Arrays of an optimizer: where its states lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["allocate"]

_LINE = 64  # bytes of a cache line


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
