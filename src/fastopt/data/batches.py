"""Mini-batches: rows of arrays in random order, in buffers that are used again once they are free."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastopt._core.shuffle import Gather, Pass, Source
from fastopt.data.order import SHUFFLES, epoch_order, seed_from, seed_from_state, seed_state

__all__ = ["Batches"]


class Batches:
    r"""Mini-batches of rows of one or more arrays; each iteration is one pass over all rows (an epoch).

    Section 8.1.3 of the book: batches have to be drawn at random. Here the order of epoch :math:`e` is a
    function of ``(rng, e)`` alone: the same seed gives the same batches on every machine and with any
    number of threads, and a position is three numbers ``(seed, epoch, batch)`` that can be saved at any
    moment.

    Parameters
    ----------
    *arrays : array_like, shape (n, ...)
        Arrays of one length `n`, of any dtype but object. NumPy arrays (also strided and memory-mapped
        ones) are read where they lie, at the moment a batch is asked for, so changes to their elements are
        seen. Everything else goes through `numpy.asarray` once.
    size : int, default 128
        Rows of a batch, 1 to `n`. The last batch of a pass has the rows that remain.
    rng : None, int, sequence of int, SeedSequence, BitGenerator or Generator
        Seed of the orders. None takes fresh entropy; from a generator 128 bits are drawn, once, now.
    shuffle : {"epoch", "once", "replacement", False}, default "epoch"
        ``"epoch"``: a new permutation for every epoch, each of the :math:`n!` equally likely
        (Fisher-Yates). ``"once"``: that of epoch 0 in every epoch. ``"replacement"``: `n` independent
        uniform draws an epoch. False: in the order of the rows.
    drop_last : bool, default False
        Leave out the last batch of a pass if it is shorter than `size`.
    dtype : dtype, or tuple with one dtype or None an array, optional
        What batches are converted to. One dtype is for the floating arrays, others stay as they are; in a
        tuple each entry is for its own array, and None leaves it. The conversion must keep the kind of
        number (``same_kind``).

    Attributes
    ----------
    epoch : int
        Number of the pass that is under way, or comes next: from 0; finished passes count.
    position : int
        Batches of that pass handed out so far.
    rows : int
        `n`.
    size : int
    shuffle : str or bool
    drop_last : bool

    Notes
    -----
    **Buffers.** A batch is a tuple of arrays (one bare array if only one was given), C-contiguous, 64-byte
    aligned, writable, the caller's own. When neither a batch array nor any view, memoryview or other export
    of it is alive, its memory serves a later batch; as long as one is, it is left alone. A plain loop so
    uses two buffers in turn, while ``list(batches)`` holds all of its batches. On a free-threaded Python
    every batch is new memory. (An address taken by ``.ctypes.data`` alone holds nothing.)

    **In order.** With ``shuffle=False``, a C-contiguous array that needs no conversion is not copied at
    all: its batches are *read-only views*. Copy a batch to write into it.

    **Passes.** Iterating goes on from a loaded position, else begins an epoch: the next one, if the last
    pass was left with ``break``. One pass is alive at a time: an older one raises `RuntimeError` when it is
    asked for more. Two passes side by side take two `Batches`. Threads may share one pass; each batch goes
    to one of them.

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
    """

    def __init__(
        self,
        *arrays: Any,
        size: int = 128,
        rng: Any = None,
        shuffle: str | bool = "epoch",
        drop_last: bool = False,
        dtype: Any = None,
    ) -> None:
        found = [_as_rows(array, f"arrays[{i}]") for i, array in enumerate(arrays)]
        if not found:
            raise TypeError("no array was given; at least one is needed")
        lengths = [len(array) for array in found]
        if len(set(lengths)) > 1:
            raise ValueError(f"the arrays have {', '.join(map(str, lengths))} rows; they must agree")
        self.rows = lengths[0]
        if self.rows == 0:
            raise ValueError("the arrays have no rows; at least one is needed")
        self.size = _as_size(size, self.rows)
        if not isinstance(shuffle, (str, bool)) or shuffle not in SHUFFLES:
            raise ValueError(f"shuffle is {shuffle!r}; one of {', '.join(map(repr, SHUFFLES))} is needed")
        self.shuffle = shuffle
        if not isinstance(drop_last, (bool, np.bool_)):
            raise TypeError(f"drop_last is {drop_last!r}; True or False is needed")
        self.drop_last = bool(drop_last)
        targets = _as_targets(dtype, found)
        self._seed = seed_from(rng)
        self._gather = Gather(
            tuple(
                Source(f"arrays[{i}]", array, target, self.size)
                for i, (array, target) in enumerate(zip(found, targets, strict=True))
            ),
            self.size,
        )
        self._describe = ", ".join(f"{array.dtype} {array.shape}" for array in found)
        self._epoch = 0  # of the pass in _pass, or of the one that comes next
        self._start = 0  # where it begins
        self._pass: Pass | None = None
        self._once: np.ndarray | None = None

    def __len__(self) -> int:
        """Batches of one pass."""
        return self.rows // self.size if self.drop_last else -(-self.rows // self.size)

    @property
    def epoch(self) -> int:
        """Number of the pass that is under way, or comes next."""
        return self._epoch + (self._pass is not None and self._pass.done)

    @property
    def position(self) -> int:
        """Batches of that pass handed out so far."""
        if self._pass is None:
            return self._start
        return 0 if self._pass.done else self._pass.position

    def __iter__(self) -> Iterator[Any]:
        epoch, start, old = self._epoch, self._start, self._pass
        if old is not None:
            # A pass of which nothing was taken is begun again; one that gave batches is over, finished or
            # not.
            epoch, start = (epoch + 1, 0) if old.done or old.position > start else (epoch, start)
        order = self._order(epoch)
        if old is not None:
            old.close()
        self._epoch, self._start = epoch, start
        self._pass = Pass(self._gather, order, self.rows, len(self), start)
        return self._pass

    def _order(self, epoch: int) -> np.ndarray | None:
        if self.shuffle != "once":
            return epoch_order(self.rows, self._seed, epoch, self.shuffle)
        if self._once is None:
            self._once = epoch_order(self.rows, self._seed, 0, "once")
        return self._once

    def state_dict(self) -> dict[str, Any]:
        """Where the batches stand: a dict of plain strings, integers and booleans, fit for JSON.

        The arrays themselves are not in it, nor ``dtype``.
        """
        return {
            "version": 1,
            "rows": self.rows,
            "size": self.size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            **seed_state(self._seed),
            "epoch": self.epoch,
            "position": self.position,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position, of the saved seed: iterating then gives the batches that had still to come.

        Parameters
        ----------
        state : dict
            From `state_dict`.

        Raises
        ------
        ValueError
            The state is of other batches (rows, size, shuffle, drop_last), or is damaged; all that is wrong
            is listed, and nothing has been changed.
        """
        if not isinstance(state, dict):
            raise TypeError(f"state is {type(state).__name__}; a dict from state_dict() is needed")
        mine = self.state_dict()
        wrong = [f"{key} is missing" for key in mine if key not in state]
        wrong += [f"{key!r} is unknown" for key in state if key not in mine]
        for key in ("version", "rows", "size", "shuffle", "drop_last"):
            if key in state and (type(state[key]) is not type(mine[key]) or state[key] != mine[key]):
                wrong.append(f"{key} is {state[key]!r}, here {mine[key]!r}")
        for key, most in (("epoch", None), ("position", len(self))):
            value = state.get(key, 0)
            if not _is_int(value) or value < 0 or (most is not None and value > most):
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
        return (
            f"Batches({self._describe}; size={self.size}, shuffle={self.shuffle!r}, "
            f"drop_last={self.drop_last}; epoch {self.epoch}, batch {self.position} of {len(self)})"
        )


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


def _as_size(size: Any, rows: int) -> int:
    if isinstance(size, (bool, np.bool_)):
        raise TypeError(f"size is {size!r}; an integer is needed")
    try:
        size = operator.index(size)
    except TypeError:
        raise TypeError(f"size is {size!r}; an integer is needed") from None
    if not 1 <= size <= rows:
        raise ValueError(f"size is {size}; from 1 to {rows} (the number of rows) is needed")
    return size


def _as_targets(dtype: Any, arrays: list[np.ndarray]) -> list[np.dtype[Any]]:
    """The dtype of each array's batches."""
    if isinstance(dtype, tuple):
        if len(dtype) != len(arrays):
            raise ValueError(
                f"dtype has {len(dtype)} entries; one for each of the {len(arrays)} arrays is needed"
            )
        wanted = [None if entry is None else _as_dtype(entry) for entry in dtype]
    else:
        one = None if dtype is None else _as_dtype(dtype)
        if one is not None and one.kind not in "fc":
            raise TypeError(
                f"dtype is {one}; a floating dtype, or a tuple with one entry an array, is needed"
            )
        wanted = [one if array.dtype.kind == "f" else None for array in arrays]
    for i, (array, target) in enumerate(zip(arrays, wanted, strict=True)):
        if target is not None and (target.hasobject or not np.can_cast(array.dtype, target, "same_kind")):
            raise TypeError(f"arrays[{i}] has dtype {array.dtype}, which does not go into {target}")
    return [array.dtype if target is None else target for array, target in zip(arrays, wanted, strict=True)]


def _as_dtype(entry: Any) -> np.dtype[Any]:
    try:
        return np.dtype(entry)
    except TypeError as error:
        raise TypeError(f"dtype is {entry!r}; {error}") from None


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
