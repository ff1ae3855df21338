"""Orders that are computed where they are looked at: what all of them share."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastopt.data.seeds import as_count

__all__ = ["Lazy", "Shard", "index_dtype"]

CHUNK = 1 << 12  # elements computed at a time when iterating


def index_dtype(n: int) -> np.dtype[Any]:
    """What row numbers below n are held in: uint32, or int64 from 2^32."""
    return np.dtype(np.uint32 if n < 2**32 else np.int64)


class Lazy:
    """A sequence of row numbers that takes indices as an array does, and needs no memory for its elements.

    A subclass has `_count`, `dtype`, and either `_run` or both it and `_take`.
    """

    _count: int
    dtype: np.dtype[Any]

    def _run(self, first: int, step: int, count: int) -> np.ndarray:
        """Elements first, first + step, ..., which all exist."""
        raise NotImplementedError

    def _take(self, places: np.ndarray) -> np.ndarray:
        """Elements at places, which all exist: int64, one-dimensional."""
        return np.array([self._run(int(i), 1, 1)[0] for i in places], self.dtype)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            first, stop, step = index.indices(self._count)
            count = len(range(first, stop, step))
            return self._run(first if count else 0, step, count)
        if isinstance(index, (list, np.ndarray)) and np.ndim(index):
            return self._take(self._places(index))
        try:
            i = operator.index(index)
        except TypeError:
            raise TypeError(
                f"the index is {type(index).__name__}; an integer, a slice or an array of integers is needed"
            ) from None
        if not -self._count <= i < self._count:
            raise IndexError(f"the index is {i}; there are {self._count} elements")
        return int(self._run(i % self._count, 1, 1)[0])

    def _places(self, index: Any) -> np.ndarray:
        places = np.asarray(index)
        if places.ndim != 1 or (places.dtype.kind not in "iu" and places.size):
            raise TypeError(
                f"the index has dtype {places.dtype} and shape {places.shape}; integers in one dimension are needed"
            )
        if places.size and (places.max() >= self._count or places.min() < -self._count):
            raise IndexError(
                f"the index holds {places.min()} to {places.max()}; there are {self._count} elements"
            )
        places = places.astype(np.int64)
        places[places < 0] += self._count
        return places

    def __iter__(self) -> Iterator[int]:
        for first in range(0, self._count, CHUNK):
            yield from self._run(first, 1, min(CHUNK, self._count - first)).tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("the elements are computed; without a copy there is no array")
        return np.asarray(self[:], dtype)

    def shard(self, rank: int, size: int) -> Shard:
        """Every `size`-th element from `rank` on: what worker `rank` of `size` works through.

        The shards of all ranks together are the order, whatever `size` is, so a run that goes on with
        another number of workers keeps its order; nobody has to talk to anybody.

        Parameters
        ----------
        rank : int
            0 to size - 1.
        size : int
            Workers, at least 1.

        Returns
        -------
        sequence
            Takes indices as this order does.
        """
        size = as_count(size, "size", 1)
        return Shard(self, as_count(rank, "rank", 0, size - 1), size)


class Shard(Lazy):
    """Elements first, first + step, ... of another order."""

    def __init__(self, order: Lazy, first: int, step: int) -> None:
        self.order, self.first, self.step = order, first, step
        self.dtype = order.dtype
        self._count = len(range(first, len(order), step))

    def _run(self, first: int, step: int, count: int) -> np.ndarray:
        return self.order._run(self.first + first * self.step if count else 0, step * self.step, count)

    def _take(self, places: np.ndarray) -> np.ndarray:
        return self.order._take(self.first + places * self.step)

    def __repr__(self) -> str:
        return f"{self.order!r}[{self.first}::{self.step}]"
