"""Strategies: what the `shuffle` of `Batches` may be; the order of an epoch as a function of (n, seed, epoch)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastopt._core import shuffle as _shuffle
from fastopt.data.lazy import index_dtype
from fastopt.data.permutation import Draws, Permutation, as_method
from fastopt.data.seeds import as_count, child

__all__ = ["SHUFFLES", "Computed", "Permuted", "Replacement", "Rows", "Sequential", "Strategy", "as_strategy"]

SHUFFLES = ("epoch", "once", "replacement", False)


class Strategy:
    """How the orders of epochs are made. Subclasses define `order`, and the others where the defaults do not fit."""

    name: ClassVar[str] = ""

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> Any:
        """One epoch over n rows: an array of row numbers, a sequence to be sliced, or None (as the rows lie)."""
        raise NotImplementedError

    def length(self, n: int) -> int:
        """Entries of an epoch over n rows; the most of them, if epochs differ."""
        return n

    def length_in(self, n: int, epoch: int) -> int:
        """Entries of one epoch, where they differ: from 1 to `length`."""
        return self.length(n)

    def state(self) -> dict[str, Any]:
        """What tells this strategy from others: plain values, arrays as checksums."""
        return {"name": self.name}

    def __repr__(self) -> str:
        def short(value: Any) -> str:
            text = str(value)
            return text[:12] if len(text) == 64 else text  # the digest of an array

        values = ", ".join(f"{key}={short(value)}" for key, value in self.state().items() if key != "name")
        return f"{type(self).__name__}({values})"


class Sequential(Strategy):
    """In the order of the rows: ``shuffle=False``."""

    name = "sequential"

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> None:
        return None


class Permuted(Strategy):
    """Every row once, in random order: ``shuffle="epoch"``, or with `once` ``shuffle="once"``.

    Parameters
    ----------
    method : {"auto", "exact", "keyed"}, default "auto"
        As in :class:`fastopt.data.Permutation`.
    once : bool, default False
        The order of epoch 0 in every epoch.
    """

    name = "permuted"

    def __init__(self, method: str = "auto", once: bool = False) -> None:
        as_method(method, 0)
        if not isinstance(once, (bool, np.bool_)):
            raise TypeError(f"once is {once!r}; True or False is needed")
        self.method, self.once = method, bool(once)

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray | Permutation:
        order = Permutation(n, seed, 0 if self.once else epoch, self.method)
        return (
            _shuffle.permutation(n, np.random.PCG64(child(seed, order.epoch)))
            if order.method == "exact"
            else order
        )

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "method": self.method, "once": self.once}


class Replacement(Strategy):
    """As many independent uniform draws as there are rows: ``shuffle="replacement"``."""

    name = "replacement"

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray | Draws:
        if as_method("auto", n) == "keyed":
            return Draws(n, n, child(seed, epoch, n))
        return _shuffle.draws(n, n, np.random.PCG64(child(seed, epoch)))


def checked_rows(rows: Any, n: int, name: str) -> np.ndarray:
    """An order that somebody else made, as row numbers below n."""
    found = np.asarray(rows)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise TypeError(
            f"{name} has dtype {found.dtype} and shape {found.shape}; row numbers, integers in one "
            "dimension, are needed"
        )
    if found.size == 0:
        raise ValueError(f"{name} is empty; at least one row number is needed")
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= n:
        raise ValueError(f"{name} holds {low} to {high}; row numbers from 0 to {n - 1} are needed")
    return np.ascontiguousarray(found, index_dtype(n))


def as_classes(values: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Classes or groups of rows as numbers from 0, and the rows of each."""
    found = np.asarray(values)
    if found.ndim != 1 or found.size == 0:
        raise TypeError(f"{name} has shape {found.shape}; one dimension with at least one entry is needed")
    try:
        _, numbers, sizes = np.unique(found, return_inverse=True, return_counts=True)
    except TypeError as error:
        raise TypeError(f"{name} has entries that cannot be sorted ({error})") from None
    numbers = numbers.astype(np.int64)
    numbers.flags.writeable = False
    return numbers, sizes.astype(np.int64)


def checksum(array: np.ndarray) -> str:
    """Of values, shape and dtype, the same on machines of either byte order."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return hashlib.sha256(f"{little.dtype.str} {little.shape} ".encode() + little.tobytes()).hexdigest()


class Rows(Strategy):
    """The same row numbers in every epoch: ``shuffle=array``. Rows may be left out, or come several times.

    Parameters
    ----------
    rows : array_like of int, one-dimensional
        Copied.
    """

    name = "rows"

    def __init__(self, rows: Any) -> None:
        found = np.asarray(rows)
        self.rows = checked_rows(found, 2**63 - 1, "shuffle").copy()
        self.rows.flags.writeable = False

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray:
        return checked_rows(self.rows, n, "shuffle")

    def length(self, n: int) -> int:
        return len(checked_rows(self.rows, n, "shuffle"))

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "count": len(self.rows), "rows": checksum(self.rows)}


class Computed(Strategy):
    """Row numbers that a function gives for each epoch: ``shuffle=function``. Curricula are such functions.

    Parameters
    ----------
    function : callable
        ``function(seed, epoch)``, with the `SeedSequence` of the run, returns the row numbers of that epoch: an
        array of integers. It must return the same for the same arguments, or a resumed run differs. What it
        returns is checked in every epoch.
    count : int, optional
        Entries of an epoch; by default as many as there are rows.
    """

    name = "computed"

    def __init__(
        self, function: Callable[[np.random.SeedSequence, int], Any], count: int | None = None
    ) -> None:
        if not callable(function):
            raise TypeError(f"function is {function!r}; a function of (seed, epoch) is needed")
        self.function = function
        self.count = None if count is None else as_count(count, "count", 1)

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray:
        rows = checked_rows(self.function(seed, epoch), n, f"what shuffle(seed, {epoch}) returned")
        if len(rows) != self.length(n):
            raise ValueError(
                f"shuffle(seed, {epoch}) returned {len(rows)} row numbers; {self.length(n)} are needed "
                "(Computed(function, count=...) says how many an epoch has)"
            )
        return rows

    def length(self, n: int) -> int:
        return n if self.count is None else self.count

    def state(self) -> dict[str, Any]:
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return {"name": self.name, "function": name, "count": self.count}


def as_strategy(shuffle: Any) -> Strategy:
    """The strategy that a value of `shuffle` stands for; an error that names `shuffle` for any other value."""
    if isinstance(shuffle, Strategy):
        return shuffle
    if isinstance(shuffle, str) and shuffle in SHUFFLES:
        return {"epoch": Permuted, "once": lambda: Permuted(once=True), "replacement": Replacement}[shuffle]()
    if shuffle is False:
        return Sequential()
    if isinstance(shuffle, (list, tuple, np.ndarray)):
        return Rows(shuffle)
    if isinstance(shuffle, type):
        pass  # a strategy that was not made yet, most likely
    elif callable(getattr(shuffle, "order", None)) and callable(getattr(shuffle, "length", None)):
        return shuffle
    elif callable(shuffle):
        return Computed(shuffle)
    raise ValueError(
        f"shuffle is {shuffle!r}; one of {', '.join(map(repr, SHUFFLES))}, a strategy of fastopt.data, an array of "
        "row numbers or a function of (seed, epoch) is needed"
    )
