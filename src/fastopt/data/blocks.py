"""Block order, for rows that are cheap only in runs: runs in random order, rows mixed in a buffer of several."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt.data.lazy import Lazy, index_dtype
from fastopt.data.orders import Strategy
from fastopt.data.permutation import EXACT_MOST, Permutation
from fastopt.data.seeds import as_count, child

__all__ = ["Blocks"]

#: Part of the seeds of buffers, which no number of a batch reaches.
BUFFERS = 2**63


class Blocks(Strategy):
    r"""Shuffling on two levels, for files: blocks of rows in random order, rows mixed within some blocks at a time.

    The rows are cut into runs of `block`; each epoch puts the runs in a random order, takes `buffer` of them at
    a time, and puts the rows of those in a random order. So a file is read in runs, of which `buffer` are in
    use.

    Parameters
    ----------
    block : int
        Rows of a run. The last one may be shorter. A run should be what a disk reads well at once, some 100 kB
        or more.
    buffer : int, default 8
        Runs that are mixed, at least 1. All runs together would be a full shuffle.

    Notes
    -----
    How much mixing does a training run need? Where rows lie in random order, none. The worst case are rows
    sorted by class. So measured (``bench/mixing.py``: the digits, softmax regression, 20 epochs, 48 blocks of
    30 rows; accuracy on rows left out, mean of 10 seeds, standard deviations up to 0.02):

    ==============================  ==========  ==========
    order                           step 0.5    step 2
    ==============================  ==========  ==========
    none, sorted by class           0.847       0.828
    buffer of 2 % (one block)       0.949       0.944
    buffer of 8 %                   0.950       0.948
    buffer of 33 %                  0.954       0.961
    ``"once"``                      0.957       0.964
    ``"epoch"``                     0.958       0.968
    ==============================  ==========  ==========

    Blocks in random order win back eight or nine tenths of what sorting costs, even if each block is of one
    class; a buffer of a third of the rows 95 %. Small steps forgive more than large ones.

    The order is computed as it is read. The row numbers of one buffer are kept, or of buffers with more than
    :math:`2^{22}` rows none, so memory does not grow with the number of rows.

    Source: L. Xu, S. Qiu, B. Yuan, J. Jiang, C. Renggli, S. Gan, K. Kara, G. Li, J. Liu, W. Wu, J. Ye and C.
    Zhang, *In-database machine learning with CorgiPile: stochastic gradient descent without full data shuffle*,
    SIGMOD 2022, section 4.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> X = np.arange(12)
    >>> batches = fo.Batches(X, size=6, rng=0, shuffle=fo.data.Blocks(3, buffer=2))
    >>> first = next(iter(batches))
    >>> len(set(first // 3))
    2
    """

    name = "blocks"

    def __init__(self, block: int, buffer: int = 8) -> None:
        self.block = as_count(block, "block", 1)
        self.buffer = as_count(buffer, "buffer", 1)

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> BlockOrder:
        return BlockOrder(n, min(self.block, max(n, 1)), self.buffer, seed, epoch)

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "block": self.block, "buffer": self.buffer}


class BlockOrder(Lazy):
    """The order of one epoch. The short block, if there is one, is number blocks - 1 and comes at place `short_at`."""

    def __init__(self, n: int, block: int, buffer: int, seed: np.random.SeedSequence, epoch: int) -> None:
        self._count, self.block = n, block
        self.dtype = index_dtype(n)
        self._seed = child(seed, epoch, BUFFERS)
        self.blocks = -(-n // block)
        self.buffer = min(buffer, max(self.blocks, 1))
        self._order = Permutation(self.blocks, seed, epoch)
        self._missing = self.blocks * block - n  # rows that the short block has less than others
        self._short_at = self._order.index_of(self.blocks - 1) if n else 0
        self._last: tuple[int, np.ndarray] | None = None  # a buffer and its rows; replaced in one piece

    def _start(self, k: int) -> int:
        """Entries before buffer k."""
        place = min(k * self.buffer, self.blocks)
        return place * self.block - (self._missing if place > self._short_at else 0)

    def _buffer_of(self, i: int) -> int:
        k = i // (self.buffer * self.block)
        return k + (i >= self._start(k + 1))

    def _ids(self, k: int) -> np.ndarray:
        """Numbers of the blocks in buffer k, in their order."""
        return self._order[k * self.buffer : (k + 1) * self.buffer].astype(np.int64)

    def _mixed(self, k: int) -> Permutation:
        return Permutation(self._start(k + 1) - self._start(k), self._seed, k)

    def _rows(self, k: int, ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """Row numbers at offsets in the unmixed buffer k."""
        offsets = offsets.astype(np.int64)
        end = (self._short_at - k * self.buffer + 1) * self.block - self._missing
        if self._missing and end > 0:
            offsets[offsets >= end] += self._missing
        within = offsets // self.block
        return (ids[within] * self.block + (offsets - within * self.block)).astype(self.dtype)

    def _part(self, k: int, places: np.ndarray | slice) -> np.ndarray:
        """Entries of buffer k at places counted from its first. Buffers that are not large are kept whole."""
        last = self._last
        if last is not None and last[0] == k:
            return last[1][places]
        mixed, ids = self._mixed(k), self._ids(k)
        if len(mixed) > EXACT_MOST:
            return self._rows(k, ids, mixed[places])
        rows = self._rows(k, ids, mixed.array())
        self._last = (k, rows)
        return rows[places]

    def _run(self, first: int, step: int, count: int) -> np.ndarray:
        if step != 1:
            return self._take(first + step * np.arange(count))
        parts, i, stop = [np.empty(0, self.dtype)], first, first + count
        while i < stop:
            k = self._buffer_of(i)
            start, end = self._start(k), min(self._start(k + 1), stop)
            parts.append(self._part(k, slice(i - start, end - start)))
            i = end
        return np.concatenate(parts)

    def _take(self, places: np.ndarray) -> np.ndarray:
        out = np.empty(len(places), self.dtype)
        buffers = np.array([self._buffer_of(int(i)) for i in places], np.int64)
        for k in np.unique(buffers).tolist():
            at = buffers == k
            out[at] = self._part(k, places[at] - self._start(k))
        return out

    def runs(self, a: int, b: int) -> list[tuple[int, int]]:
        """Runs of rows that entries a .. b-1 are drawn from, as (first, stop).

        Buffer by buffer in the order in which those are needed; within a buffer, whose rows are mixed, by row
        number, neighbours joined. All rows of a buffer count as needed if one is.

        Parameters
        ----------
        a, b : int
            0 <= a <= b <= len(order).

        Returns
        -------
        list of (int, int)
        """
        b = as_count(b, "b", 0, self._count)
        a = as_count(a, "a", 0, b)
        found: list[tuple[int, int]] = []
        if a == b:
            return found
        for k in range(self._buffer_of(a), self._buffer_of(b - 1) + 1):
            head = len(found)
            for number in np.sort(self._ids(k)).tolist():
                first, stop = number * self.block, min((number + 1) * self.block, self._count)
                if len(found) > head and found[-1][1] == first:
                    found[-1] = (found[-1][0], stop)
                else:
                    found.append((first, stop))
        return found

    def __repr__(self) -> str:
        return f"BlockOrder(n={self._count}, block={self.block}, buffer={self.buffer})"
