"""What Batches takes rows from besides arrays: files, sparse matrices, tables, and objects with ``take``.

A *source* is an object with ``len(source)`` and ``take(indices)``, which gives the rows of these numbers in
the order asked for: an array of ``len(indices)`` rows, or a CSR matrix, always of one dtype and row shape.
``indices`` is a one-dimensional array of uint32 or int64, and may hold a number twice. It may have ``shape``,
``dtype``, ``take(indices, out=...)``, and ``advise(first, stop)``, which says that those rows are needed soon.
"""

from __future__ import annotations

import os
import sys
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastopt.data.csr import Csr
from fastopt.data.npy import Npy
from fastopt.data.tables import Table, _Target

__all__ = ["Checked", "ReadAhead", "as_source"]

BATCHES_AHEAD = 8  # announced where rows come in their own order
_SUFFIXES = {".npy": Npy, ".parquet": Table, ".pq": Table}


def as_source(obj: Any, name: str) -> Any:
    """The source that an argument of `Batches` stands for, or None if it is an array or like one.

    Parameters
    ----------
    obj : object
        A source; the path of a .npy or .parquet file, or a sequence of such paths; a CSR matrix of
        `scipy.sparse`; a pyarrow.Table; any object with ``len`` and ``take(indices)``.
    name : str
        What error messages call it.
    """
    if isinstance(obj, (Npy, Csr, Table, _Target, Checked)):
        return obj
    if isinstance(obj, np.ndarray):
        return None
    if isinstance(obj, (str, bytes, os.PathLike)):
        return _from_paths([obj], name)
    if isinstance(obj, (list, tuple)):
        if obj and any(isinstance(entry, os.PathLike) or _suffix(entry) for entry in obj):
            return _from_paths(list(obj), name)
        return None
    sparse = sys.modules.get("scipy.sparse")  # whoever has a sparse matrix has imported it
    if sparse is not None and sparse.issparse(obj):
        return _named(name, Csr, obj)
    arrow = sys.modules.get("pyarrow")
    if arrow is not None and isinstance(obj, arrow.Table):
        return _named(name, Table, obj)
    return _from_object(obj, name)


class Checked:
    """An object with ``take``, whose answers are held against what they have to be.

    Parameters
    ----------
    source : object
        With ``len(source)`` and ``take(indices)``.
    name : str
        What error messages call it.
    """

    def __init__(self, source: Any, name: str) -> None:
        self._source, self._name = source, name
        self._length = _length(source, name)
        if callable(getattr(source, "advise", None)):
            self.advise = source.advise
        self._row: Any = None  # dtype and shape of a row, once one was seen
        self.dtype = getattr(source, "dtype", None)
        self.shape = getattr(source, "shape", (self._length,))

    def __len__(self) -> int:
        return self._length

    def take(self, indices: np.ndarray) -> Any:
        """What the object gives for these rows, an array or a CSR matrix; an error if it is not what it was before."""
        if len(self._source) != self._length:
            raise ValueError(f"{self._name} had {self._length} rows and now has {len(self._source)}")
        try:
            rows = self._source.take(indices)
        except Exception as error:
            if self._row is None:
                error.add_note(f"{self._name}.take was called with an array of row numbers, as batches do")
            raise
        sparse = sys.modules.get("scipy.sparse")
        if sparse is not None and sparse.issparse(rows):
            if rows.format != "csr":
                raise TypeError(
                    f"{self._name}.take gave a matrix in {rows.format.upper()} format; CSR is needed"
                )
        elif isinstance(rows, (tuple, Mapping)):
            raise TypeError(
                f"{self._name}.take gave a {type(rows).__name__}; one array is needed: hand in a source for each part"
            )
        else:
            rows = np.asarray(rows)
            if rows.dtype.hasobject or rows.dtype.kind == "T":
                raise TypeError(
                    f"{self._name}.take gave dtype {rows.dtype}; numbers, or others of a fixed width, are needed"
                )
        if rows.ndim == 0 or rows.shape[0] != len(indices):
            raise ValueError(
                f"{self._name}.take gave shape {rows.shape} for {len(indices)} indices; as many rows are needed"
            )
        row = (rows.dtype, rows.shape[1:])
        if self._row is None:
            self._row = row
        elif row != self._row:
            raise ValueError(
                f"{self._name}.take gave rows of {row[0]} {row[1]} where it gave {self._row[0]} {self._row[1]} before"
            )
        return rows

    def __repr__(self) -> str:
        return f"{type(self._source).__name__} of {self._length} rows"


class ReadAhead:
    """Tells sources which rows an order is about to draw from: those of its current buffer and of the next.

    Parameters
    ----------
    sources : iterable
        Those without ``advise`` are passed over.
    order : object or None
        The order of an epoch; None: in the order of the rows. Of others than None and those with ``runs(a, b)``
        (that of `fastopt.data.Blocks`) nothing is announced: they draw from everywhere.
    entries : int
        Length of the order.
    """

    def __init__(self, sources: Iterable[Any], order: Any, entries: int) -> None:
        self._sources = [source for source in sources if callable(getattr(source, "advise", None))]
        self._order, self._entries = order, entries
        self._tells = bool(self._sources) and (order is None or callable(getattr(order, "runs", None)))
        self._reached: int | None = None  # where the first buffer begins that was not announced
        self._ahead = 0  # rows of the last one that was

    def before(self, first: int, stop: int) -> None:
        """Entries first .. stop-1 are taken next. Entries are asked for in rising order."""
        if not self._tells or first >= stop:
            return
        order = self._order
        if order is None:
            self._ahead = (stop - first) * BATCHES_AHEAD
            reached = first if self._reached is None else self._reached
            if reached < min(self._entries, stop + self._ahead // 2):
                self._reached = min(self._entries, stop + self._ahead)
                self._tell([(reached, self._reached)])
            return
        if self._reached is None:
            self._reached = first + self._announce(first)
            if first:  # the pass begins within a buffer, which ends where other runs are drawn from
                here = order.runs(first, first + 1)
                last = min(self._entries, self._reached)
                self._reached = first + bisect_left(
                    range(first, last), True, key=lambda i: bool(order.runs(i, i + 1) != here)
                )
        while self._reached < min(self._entries, stop + self._ahead):
            self._reached += self._announce(self._reached)

    def _tell(self, runs: list[tuple[int, int]]) -> None:
        for source in self._sources:
            for run in runs:
                source.advise(*run)

    def _announce(self, entry: int) -> int:
        """Tells the runs of the buffer that holds an entry; returns how many rows it has."""
        runs = self._order.runs(entry, entry + 1)
        self._tell(runs)
        self._ahead = sum(stop - first for first, stop in runs)
        return self._ahead


def _suffix(entry: Any) -> str:
    """The ending of a path of ours, else nothing."""
    if not isinstance(entry, (str, bytes, os.PathLike)):
        return ""
    ending = os.path.splitext(os.fsdecode(entry))[1].lower()
    return ending if ending in _SUFFIXES else ""


def _from_paths(paths: list[Any], name: str) -> Any:
    for path in paths:
        if not _suffix(path):
            what = repr(path) if isinstance(path, (str, bytes, os.PathLike)) else type(path).__name__
            raise ValueError(
                f"{name} holds {what}; an array, or paths that end in .npy or .parquet, are needed"
            )
    kinds = {_SUFFIXES[_suffix(path)] for path in paths}
    if len(kinds) > 1:
        raise ValueError(f"{name} holds paths of .npy and of .parquet files; one kind is needed")
    return _named(name, kinds.pop(), paths)


def _named(name: str, kind: Any, obj: Any) -> Any:
    try:
        return kind(obj)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _from_object(obj: Any, name: str) -> Any:
    # Arrays of other libraries, and frames, have a `take` of their own meaning; they are read as arrays.
    if any(hasattr(obj, key) for key in ("__array__", "__array_interface__", "__buffer__", "__dlpack__")):
        return None
    if isinstance(obj, (Sequence, Mapping, Iterator, memoryview, type)):
        return None
    if callable(getattr(obj, "take", None)):
        return Checked(obj, name)
    if hasattr(obj, "__getitem__") and hasattr(obj, "__len__"):
        try:
            memoryview(obj)
        except TypeError:
            raise TypeError(
                f"{name} is {type(obj).__name__}, which gives one row at a time (__getitem__); batches need a method "
                "take(indices) that gives the rows of an array of row numbers as one array"
            ) from None
    return None


def _length(source: Any, name: str) -> int:
    try:
        return len(source)
    except TypeError:
        raise TypeError(
            f"{name} is {type(source).__name__}, which has take but no length; len() is needed"
        ) from None
