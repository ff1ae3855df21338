"""Mini-batches: rows of arrays in random order, in buffers that are used again once they are free."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastopt._core.gather import Gather, Pass, Reader, Source
from fastopt._parameters import load_states
from fastopt.data.arguments import (
    as_augment,
    as_last,
    as_places,
    as_prefetch,
    as_size,
    as_sources,
    is_int,
)
from fastopt.data.order import as_strategy, seed_from, seed_from_state, seed_state
from fastopt.data.passes import Background, Foreground, Maker

__all__ = ["Batches"]


class Batches:
    r"""Mini-batches of rows of one or more arrays; each iteration is one pass over all rows (an epoch).

    Section 8.1.3 of the book: batches have to be drawn at random. Here the order of epoch :math:`e` is a
    function of ``(rng, e)`` alone: the same seed gives the same batches on every machine and with any
    number of threads, and a position is three numbers ``(seed, epoch, batch)`` that can be saved at any
    moment.

    Parameters
    ----------
    *arrays : array_like, shape (n, ...), or sources
        Arrays of one length `n`, of any dtype but object. NumPy arrays (also strided and memory-mapped
        ones) are read where they lie, at the moment a batch is asked for (with `prefetch`, somewhat
        before), so changes to their elements are seen. An object with ``__len__`` and ``take(indices)``,
        which gives the rows of an array of row numbers in that order, is a source of its own. Everything
        else goes through `numpy.asarray` once.
    size : int or callable, default 128
        Rows of a batch, 1 to the entries of an epoch (the longest, if epochs differ; a shorter one then is one
        batch); or a function of the epoch that gives them.
    rng : None, int, sequence of int, SeedSequence, BitGenerator or Generator
        Seed of the orders. None takes fresh entropy; from a generator 128 bits are drawn, once, now.
    shuffle : {"epoch", "once", "replacement", False}, strategy, array of int or callable, default "epoch"
        ``"epoch"``: a new permutation for every epoch. ``"once"``: that of epoch 0 in every epoch.
        ``"replacement"``: `n` independent uniform draws an epoch. False: in the order of the rows. Also a
        strategy of `fastopt.data` (blocks, weights, classes, groups), row numbers, or a function
        ``(seed, epoch)`` that returns row numbers.
    drop_last : bool, default False
        The same as ``last="drop"``.
    dtype : dtype, or tuple with one dtype or None an array, optional
        What batches are converted to. One dtype is for the floating arrays and the scaled one, others stay
        as they are; in a tuple each entry is for its own array, and None leaves it. The conversion must
        keep the kind of number (``same_kind``).
    last : {"keep", "drop", "pad"}, optional
        The last batch of a pass, if fewer than `size` rows remain: it is short (the default), is left out,
        or is filled up with rows from the beginning of the same order, so that all batches have one shape.
    scale : float, or tuple with one float or None an array, optional
        What batches are multiplied by, in the same pass over memory: with :math:`T` the dtype of the batch,
        :math:`T(x) \cdot T(scale)`, that is ``x.astype(T) * T(scale)``. One number is for the first array:
        ``dtype=np.float32, scale=1/255`` for images of bytes.
    prefetch : bool or int, default False
        Gather batches before they are asked for, in a background thread, while the caller computes. An
        integer: so many at most. True: two, or of small arrays about 2 MB. The batches are the same.
    augment : callable, optional
        ``augment(batch, rng)`` returns the batch that is handed out. `rng` is a generator that depends on
        nothing but the seed, the epoch and the number of the batch in the unsharded order: resumed,
        prefetched and differently sharded runs see the same noise. `batch` is the function's own.

    Attributes
    ----------
    epoch : int
        Number of the pass that is under way, or comes next: from 0; finished passes count.
    position : int
        Batches of that pass handed out so far; of a shard, by all shards, if they keep step.
    rows : int
        `n`.
    size : int
        In that epoch.
    shuffle, last, prefetch
        As given.
    drop_last : bool

    Notes
    -----
    **Buffers.** A batch is a tuple of arrays (one bare array if only one was given), C-contiguous, 64-byte
    aligned, writable, the caller's own. When neither a batch array nor any view, memoryview or other export
    of it is alive, its memory serves a later batch; as long as one is, it is left alone. A plain loop so
    uses two buffers in turn, while ``list(batches)`` holds all of its batches. On a free-threaded Python
    every batch is new memory. (An address taken by ``.ctypes.data`` alone holds nothing.)

    **In order.** With ``shuffle=False``, a C-contiguous array that needs no conversion is not copied at
    all: its batches are *read-only views*, unless there is an `augment`. Copy a batch to write into it.

    **Passes.** Iterating goes on from a loaded position, else begins an epoch: the next one, if the last
    pass was left with ``break``. One pass is alive at a time: an older one raises `RuntimeError` when it is
    asked for more. Two passes side by side take two `Batches`. Threads may share one pass; each batch goes
    to one of them.

    **Prefetch.** Small batches of arrays are gathered many at a time; whoever waits for one helps, so two
    threads gather together when nothing is computed. It pays where gathering takes time worth hiding; a
    loop over a few thousand rows in cache loses a few microseconds an epoch. What `augment` and
    ``take`` do runs in a Python thread, one call at a time, and what they raise comes out where that batch
    is asked for. `state_dict` counts batches handed out. A pass that is left, or not used any more, ends its
    thread; a forked child goes on with a thread of its own. An array cannot be resized while a pass
    prefetches from it.

    **Resuming.** ``for epoch in range(batches.epoch, epochs): for xb, yb in batches: ...`` gives, after
    `load_state_dict`, exactly what the saved run had still to come, whether it was saved within a pass, in
    its last batch, or between two passes.

    Sources: D. E. Knuth, *The Art of Computer Programming* 2, 3.4.2, algorithm P; D. Lemire, *Fast random
    integer generation in an interval*, ACM TOMACS 29 (2019).

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> X, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> batches = fo.Batches(X, y, size=2, rng=0)
    >>> len(batches)
    3
    >>> sorted(int(label) for xb, yb in batches for label in yb)
    [0, 1, 2, 3, 4]
    >>> batches.epoch
    1

    Noise of a batch, and pixels as numbers from 0 to 1:

    >>> pixels = np.full((6, 4), 255, np.uint8)
    >>> flip = lambda batch, rng: batch[:, ::-1] if rng.random() < 0.5 else batch
    >>> noisy = fo.Batches(pixels, size=4, rng=0, dtype=np.float32, scale=1/255, augment=flip, prefetch=True)
    >>> [batch.shape for batch in noisy]
    [(4, 4), (2, 4)]
    """

    def __init__(
        self,
        *arrays: Any,
        size: int | Callable[[int], int] = 128,
        rng: Any = None,
        shuffle: Any = "epoch",
        drop_last: bool = False,
        dtype: Any = None,
        last: str | None = None,
        scale: Any = None,
        prefetch: bool | int = False,
        augment: Callable[[Any, np.random.Generator], Any] | None = None,
    ) -> None:
        sources = as_sources(arrays, dtype, scale)
        self.rows = len(sources[0].array) if isinstance(sources[0], Source) else sources[0].length
        self._strategy = as_strategy(shuffle)
        self.shuffle = shuffle
        self._named = isinstance(shuffle, (str, bool))
        self._entries = self._strategy.length(self.rows)
        self._size = size if callable(size) else as_size(size, self._entries)
        self.last = as_last(last, drop_last)
        self.prefetch = as_prefetch(prefetch)
        self._augment = as_augment(augment)
        self._seed = seed_from(rng)
        self._gather = Gather(sources, augment is not None)
        self._describe = ", ".join(
            f"{source.dtype} {source.array.shape}" if isinstance(source, Source) else repr(source)
            for source in sources
        )
        self._rank, self._ranks = 0, 1
        self._limit: int | None = None
        self._epoch = 0  # of the pass in _pass, or of the one that comes next
        self._start = 0  # where it begins
        self._pass: Pass | Foreground | None = None
        self._once: Any = None

    def _entries_in(self, epoch: int) -> int:
        length_in = getattr(self._strategy, "length_in", None)  # not every strategy is a Strategy
        return self._entries if length_in is None else length_in(self.rows, epoch)

    def _size_in(self, epoch: int) -> int:
        size = self._size
        if callable(size):
            size = as_size(size(epoch), self._entries, f"size({epoch})")
        return min(size, self._entries_in(epoch))

    def _count(self, epoch: int) -> int:
        """Batches of an epoch, of all shards."""
        size, entries = self._size_in(epoch), self._entries_in(epoch)
        count = entries // size if self.last == "drop" else -(-entries // size)
        return count if self._limit is None else min(count, self._limit)

    def __len__(self) -> int:
        """Batches of one pass, from its beginning."""
        return max(0, -(-(self._count(self.epoch) - self._rank) // self._ranks))

    @property
    def size(self) -> int:
        """Rows of a batch, in this epoch."""
        return self._size_in(self.epoch)

    @property
    def drop_last(self) -> bool:
        """The last batch of a pass is left out if it is shorter than `size`."""
        return self.last == "drop"

    @property
    def epoch(self) -> int:
        """Number of the pass that is under way, or comes next."""
        return self._epoch + (self._pass is not None and self._pass.done)

    @property
    def position(self) -> int:
        """Batches of that pass handed out so far; of a shard, by all shards, if they keep step."""
        if self._pass is None:
            return self._start
        if self._pass.done:
            return 0
        return min(self._start + self._pass.taken * self._ranks, max(self._start, self._count(self._epoch)))

    def __iter__(self) -> Iterator[Any]:
        epoch, start, old = self._epoch, self._start, self._pass
        if old is not None:
            # A pass of which nothing was taken is begun again; one that gave batches is over, finished or
            # not.
            epoch, start = (epoch + 1, 0) if old.done or old.taken > 0 else (epoch, start)
        order = self._order(epoch)
        entries, size = self._entries_in(epoch), self._size_in(epoch)
        reader = Reader(self._gather, order, entries, self.rows, size, self.last == "pad")
        begun = self._begin(reader, order, epoch, start + self._rank, self._count(epoch))
        if old is not None:
            old.close()
        self._epoch, self._start, self._pass = epoch, start, begun
        return iter(begun)

    def _begin(self, reader: Reader, order: Any, epoch: int, first: int, count: int) -> Pass | Foreground:
        advised = any(getattr(source, "advise", None) for source in self._gather.sources)
        if self._augment is None and not advised and (self._gather.threadable or not self.prefetch):
            return Pass(reader, first, self._ranks, count, self.prefetch)
        make = Maker(reader, order, self._seed, epoch, self._augment)
        if self.prefetch:
            return Background(make, first, self._ranks, count, self.prefetch)
        return Foreground(make, first, self._ranks, count)

    def _order(self, epoch: int) -> Any:
        if isinstance(self.shuffle, str) and self.shuffle == "once":
            if self._once is None:
                self._once = self._strategy.order(self.rows, self._seed, 0)
            return self._once
        return self._strategy.order(self.rows, self._seed, epoch)

    def _like(self) -> Batches:
        """Other batches over the same sources that stand where these do, and go on by themselves."""
        other = copy.copy(self)
        other._epoch, other._start, other._pass = self.epoch, self.position, None
        return other

    def take(self, k: int) -> Batches:
        """The first `k` batches of each pass.

        Parameters
        ----------
        k : int
            At least 1; more than there are means all.

        Returns
        -------
        Batches
            Over the same arrays, from the same seed, standing where these do; from there on each goes its own
            way. An epoch is over after `k` batches. Of a shard, `k` batches of that shard.
        """
        limit = as_places(k, "k", 1) * self._ranks
        other = self._like()
        other._limit = limit if self._limit is None else min(limit, self._limit)
        return other

    def cycle(self) -> Iterator[Any]:
        """Batches without end: pass after pass, from where these stand; `epoch` and `position` count on."""
        if len(self) == 0:
            raise ValueError("there are no batches in a pass; at least one is needed to go on without end")
        while True:
            yield from self

    def shard(self, rank: int, size: int) -> Batches:
        """The part of worker `rank` of `size`: every `size`-th batch of each epoch, beginning with number `rank`.

        Parameters
        ----------
        rank : int
            0 to ``size - 1``.
        size : int
            Workers, at least 1. All of them need the same seed: give `rng` an integer.

        Returns
        -------
        Batches
            Over the same arrays, standing where these do. The shards of all workers together are the epoch,
            batch for batch, with the same augmentation, whatever `size` is.

        Notes
        -----
        `position` counts the batches of all workers, as if each had taken as many as this one, and that is
        what `state_dict` holds: a state saved by one of 4 workers after a common step loads into 3, or into
        unsharded batches, and what they get together is what had still to come. The last round of an epoch may
        leave some workers without a batch: lengths differ by at most one.
        """
        size = as_places(size, "size", 1)
        rank = as_places(rank, "rank", 0, size - 1)
        other = self._like()
        other._rank, other._ranks = self._rank + rank * self._ranks, self._ranks * size
        return other

    def _state_of(self, epoch: int, position: int) -> dict[str, Any]:
        plain = self._named and self.last != "pad" and not callable(self._size)
        state = {
            "version": 1 if plain else 2,
            "rows": self.rows,
            "size": self._size_in(epoch),
            "shuffle": self.shuffle if self._named else self._strategy_state(),
            "drop_last": self.drop_last,
            **seed_state(self._seed),
            "epoch": epoch,
            "position": position,
        }
        if not plain:
            state["last"] = self.last
        return {**state, **{key: owner.state_dict() for key, owner in self._owners().items()}}

    def _owners(self) -> dict[str, Any]:
        """What has a state of its own: a size that is guided, an order that learns. It is part of this one."""
        given = {"size_state": self._size, "shuffle_state": self._strategy}
        return {key: owner for key, owner in given.items() if hasattr(owner, "load_state_dict")}

    def _strategy_state(self) -> dict[str, Any]:
        state = getattr(self._strategy, "state", None)
        return {"name": type(self._strategy).__qualname__} if state is None else state()

    def state_dict(self) -> dict[str, Any]:
        """Where the batches stand: a dict of plain strings, integers and booleans, fit for JSON.

        The arrays themselves are not in it, nor `dtype`, `scale`, `prefetch`, `augment`, nor which shard this
        is. Of a strategy as `shuffle` it has what the strategy tells of itself, also a dict. The states of a
        strategy and of a `size` that have one (``state_dict``) are in it too; those may hold arrays.
        """
        return self._state_of(self.epoch, self.position)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position, of the saved seed: iterating then gives the batches that had still to come.

        Parameters
        ----------
        state : dict
            From `state_dict`.

        Raises
        ------
        ValueError
            The state is of other batches (rows, size, shuffle, last), or is damaged; all that is wrong
            is listed, and nothing has been changed.
        """
        if not isinstance(state, dict):
            raise TypeError(f"state is {type(state).__name__}; a dict from state_dict() is needed")
        # Sizes and orders of past epochs hang on the states within: they are taken up first, and given back if
        # the rest does not fit.
        given = {key: owner for key, owner in self._owners().items() if key in state}
        before = [owner.state_dict() for owner in given.values()]
        load_states(list(given.values()), [state[key] for key in given])
        try:
            self._load(state)
        except BaseException:
            load_states(list(given.values()), before)
            raise

    def _load(self, state: dict[str, Any]) -> None:
        epoch = state.get("epoch", 0)
        epoch = epoch if is_int(epoch) and epoch >= 0 else 0
        mine = self._state_of(epoch, 0)
        wrong = [f"{key} is missing" for key in mine if key not in state]
        wrong += [f"{key!r} is unknown" for key in state if key not in mine]
        for key in ("version", "rows", "size", "shuffle", "drop_last", "last"):
            if (
                key in state
                and key in mine
                and (type(state[key]) is not type(mine[key]) or state[key] != mine[key])
            ):
                wrong.append(f"{key} is {state[key]!r}, here {mine[key]!r}")
        for key, most in (("epoch", None), ("position", self._count(epoch))):
            value = state.get(key, 0)
            if not is_int(value) or value < 0 or (most is not None and value > most):
                wrong.append(
                    f"{key} is {value!r}, needed is an integer from 0"
                    + ("" if most is None else f" to {most}")
                )
        if not {"seed", "spawn_key", "pool_size"} - set(state):
            try:
                seed = seed_from_state(state)
            except (TypeError, ValueError, AttributeError, OverflowError) as error:
                wrong.append(f"the seed cannot be read ({error})")
        if wrong:
            raise ValueError("this state does not fit these batches: " + "; ".join(wrong))
        if self._pass is not None:
            self._pass.close()
        self._seed, self._once, self._pass = seed, None, None
        self._epoch, self._start = state["epoch"], state["position"]

    def __repr__(self) -> str:
        shard = f", shard {self._rank} of {self._ranks}" if self._ranks > 1 else ""
        return (
            f"Batches({self._describe}; size={self.size}, shuffle={self.shuffle!r}, "
            f"drop_last={self.drop_last}{shard}; epoch {self.epoch}, batch {self.position} of "
            f"{self._count(self.epoch)})"
        )
