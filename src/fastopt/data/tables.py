"""Rows of Arrow tables and Parquet files as arrays of numbers, decoded a row group at a time."""

from __future__ import annotations

import operator
import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastopt._core.files import stamp_of
from fastopt.data.npy import as_indices, checked_out

__all__ = ["Table"]

SLICE = 1 << 16  # rows of a group, where the table is in memory
OPEN_FILES = 8  # Parquet files that are kept open
WASTED = 32  # groups decoded for less than half of their rows before a warning is given


class Table:
    """Columns of an Arrow table, or of Parquet files of any size, as rows of numbers.

    Needs pyarrow: ``pip install "fastopt[arrow]"``.

    Parameters
    ----------
    source : path, sequence of paths, or pyarrow.Table
        Parquet files of one schema (their rows follow each other), or a table.
    columns : sequence of str, optional
        The columns of a row, in this order. Default: all but the target.
    dtype : dtype, default float32
        Of the rows. Nulls become NaN; for an integer dtype they are an error.
    target : str, optional
        A column that is not in the rows, but in ``table.target``: a source of its own that shares what is
        decoded: ``fo.Batches(table, table.target)``.
    cache : int, default 256 MiB
        Most bytes of decoded groups kept in memory; the group being read is kept in any case.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    columns : tuple of str
    groups : ndarray of int64
        First row of each group, and the number of rows: with blocks of these bounds an epoch decodes each
        group once.
    target : source or None
        With `len` and `take`; its dtype is that of the column if it holds integers or booleans, else `dtype`.

    Notes
    -----
    A row group is the least that Parquet can decode. So batches in random order over a file larger than `cache`
    decode many groups for each batch: correct, but slow, and a `RuntimeWarning` says so. Use an order in blocks
    (`fastopt.data.Blocks`) of whole row groups. Columns of text, dictionaries, dates and lists are refused:
    which numbers they should be is not ours to say.

    Examples
    --------
    >>> import pyarrow as pa, fastopt as fo
    >>> table = fo.data.Table(pa.table({"a": [1, 2, None], "b": [0.5, 1.5, 2.5], "y": [0, 1, 1]}), target="y")
    >>> table.take([2, 0])
    array([[nan, 2.5],
           [1. , 0.5]], dtype=float32)
    >>> table.target.take([2, 0])
    array([1, 0])
    """

    def __init__(
        self,
        source: Any,
        columns: Any = None,
        dtype: Any = np.float32,
        target: str | None = None,
        *,
        cache: int = 256 << 20,
    ) -> None:
        arrow = _pyarrow()
        if isinstance(source, (str, bytes, os.PathLike)):
            source = [source]
        self._parts: Any = _InMemory(source) if isinstance(source, arrow.Table) else _Parquet(source)
        schema = self._parts.schema
        if target is not None and not isinstance(target, str):
            raise TypeError(f"target is {target!r}; the name of a column is needed")
        names = [n for n in schema.names if n != target] if columns is None else columns
        if isinstance(names, str):
            raise TypeError(f"columns is {names!r}; a sequence of names is needed")
        self.columns = tuple(names)
        if not self.columns:
            raise ValueError("there are no columns; at least one is needed")
        for name in (*self.columns, *([] if target is None else [target])):
            _check_column(schema, name)
        self.dtype = np.dtype(dtype)
        if self.dtype.kind not in "fiu":
            raise TypeError(f"dtype is {self.dtype}; a floating or integer dtype is needed")
        if isinstance(cache, bool) or operator.index(cache) < 0:
            raise ValueError(f"cache is {cache!r}; a number of bytes, at least 0, is needed")
        self._cache_bytes = operator.index(cache)
        self.groups = np.concatenate([[0], np.cumsum(self._parts.lengths, dtype=np.int64)]).astype(np.int64)
        self.shape = (int(self.groups[-1]), len(self.columns))
        self._target = target
        self.target = (
            None if target is None else _Target(self, _own_dtype(schema.field(target).type, self.dtype))
        )
        self._lock, self._pid = threading.Lock(), os.getpid()
        self._decoded: OrderedDict[int, _Group] = OrderedDict()
        self._bytes = self._wasted = 0

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, indices: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Rows, in the order asked for: shape (k, columns).

        Parameters
        ----------
        indices : array_like of int, shape (k,)
        out : ndarray, optional
            Where to write them: C-contiguous, of `dtype`.
        """
        order = as_indices(indices)
        out = checked_out(out, (len(order), len(self.columns)), self.dtype)
        for group, places, rows in self._by_group(order):
            out[places] = group.rows[rows]
            group.served[0] += len(rows)
        return out

    def _by_group(self, order: np.ndarray) -> Iterator[tuple[_Group, Any, np.ndarray]]:
        """For each group that rows are asked of: the group, their places in the batch, their numbers in it."""
        if len(order) and (order.min() < 0 or order.max() >= len(self)):
            wrong = order[(order < 0) | (order >= len(self))][0]
            raise IndexError(f"indices hold {wrong}; a row number from 0 to {len(self) - 1} is needed")
        if self._pid != os.getpid():  # the lock of the parent may be held by a thread that is not here
            self._lock, self._pid = threading.Lock(), os.getpid()
        number = np.searchsorted(self.groups, order, side="right") - 1
        by_group = np.argsort(number, kind="stable")
        found, starts = np.unique(number[by_group], return_index=True)
        for g, places in zip(found, np.split(by_group, starts[1:]), strict=True) if len(order) else ():
            with self._lock:
                group = self._group(int(g))
            yield group, places, order[places] - self.groups[g]

    def _group(self, g: int) -> _Group:
        group = self._decoded.get(g)
        if group is not None:
            self._decoded.move_to_end(g)
            return group
        names = [*self.columns, *([] if self._target is None else [self._target])]
        table = self._parts.read(g, names)
        where = self._parts.where(g)
        if table.num_rows != self.groups[g + 1] - self.groups[g]:
            raise ValueError(
                f"{where} has {table.num_rows} rows, not the {self.groups[g + 1] - self.groups[g]} it had"
            )
        group = _Group(np.empty((table.num_rows, len(self.columns)), self.dtype))
        for k, name in enumerate(self.columns):
            group.rows[:, k] = _numbers(table.column(name), self.dtype, name, where)
        if self.target is not None and self._target is not None:
            group.target = _numbers(table.column(self._target), self.target.dtype, self._target, where)
        self._decoded[g] = group
        self._bytes += group.nbytes
        while self._bytes > self._cache_bytes and len(self._decoded) > 1:
            _, old = self._decoded.popitem(last=False)
            self._bytes -= old.nbytes
            self._wasted += 2 * max(old.served) < len(old.rows)
            if self._wasted == WASTED:
                warnings.warn(
                    f"{WASTED} row groups were decoded for less than half of their rows each, and dropped: the order "
                    f"jumps between more groups than fit into cache={self._cache_bytes} bytes. Use an order in blocks "
                    "of whole row groups (fastopt.data.Blocks), or a larger cache",
                    RuntimeWarning,
                    stacklevel=4,
                )
        return group

    def __reduce__(self) -> Any:
        raise TypeError("a Table source holds open files and cannot be pickled; send its paths instead")

    def __repr__(self) -> str:
        return f"Table({len(self.groups) - 1} groups; {self.dtype} {self.shape})"


class _Group:
    """Decoded rows of one group."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows
        self.target: np.ndarray | None = None
        self.served = [0, 0]  # rows, and values of the target, that went into batches

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + (0 if self.target is None else self.target.nbytes)


class _Target:
    """The target column of a table, row by row."""

    def __init__(self, table: Table, dtype: np.dtype[Any]) -> None:
        self._table, self.dtype = table, dtype
        self.shape = (len(table),)

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, indices: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Values of the column, in the order asked for: shape (k,)."""
        order = as_indices(indices)
        out = checked_out(out, (len(order),), self.dtype)
        for group, places, rows in self._table._by_group(order):
            assert group.target is not None
            out[places] = group.target[rows]
            group.served[1] += len(rows)
        return out

    def __repr__(self) -> str:
        return f"target {self._table._target!r} of {self._table!r}"


class _InMemory:
    """A table in memory, in slices of equal length."""

    def __init__(self, table: Any) -> None:
        self.schema = table.schema
        self._table = table
        n = table.num_rows
        self.lengths = [min(SLICE, n - start) for start in range(0, n, SLICE)]

    def read(self, g: int, names: list[str]) -> Any:
        return self._table.select(names).slice(g * SLICE, self.lengths[g])

    def where(self, g: int) -> str:
        return f"rows {g * SLICE} to {g * SLICE + self.lengths[g] - 1}"


class _Parquet:
    """Row groups of Parquet files; a few files are kept open."""

    def __init__(self, paths: Any) -> None:
        self._paths = [os.path.abspath(os.fsdecode(path)) for path in paths]
        if not self._paths:
            raise ValueError("source is empty; at least one Parquet file is needed")
        self._stamps: list[Any] = []
        self._at: list[tuple[int, int]] = []  # file and number in it, of each group
        self.lengths: list[int] = []
        self._open: OrderedDict[int, Any] = OrderedDict()
        for i, path in enumerate(self._paths):
            self._stamps.append(_stamp(path))
            with _open_parquet(path) as file:
                if i == 0:
                    self.schema = file.schema_arrow
                elif not file.schema_arrow.equals(self.schema):
                    raise ValueError(
                        f"{path} has other columns or types than {self._paths[0]}; they must agree"
                    )
                for g in range(file.metadata.num_row_groups):
                    self._at.append((i, g))
                    self.lengths.append(file.metadata.row_group(g).num_rows)

    def read(self, g: int, names: list[str]) -> Any:
        i, number = self._at[g]
        path = self._paths[i]
        if _stamp(path) != self._stamps[i]:
            raise ValueError(f"{path} has changed since it was opened; open it again")
        file = self._open.get(i)
        if file is None:
            file = self._open[i] = _open_parquet(path)
            while len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(i)
        try:
            return file.read_row_group(number, columns=names, use_threads=False)
        except (OSError, ValueError) as error:  # pyarrow's own errors are kinds of these
            raise ValueError(f"{self.where(g)} cannot be read: {error}") from None

    def where(self, g: int) -> str:
        i, number = self._at[g]
        return f"row group {number} of {self._paths[i]}"


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise ImportError(
            'Arrow tables and Parquet files need pyarrow: pip install "fastopt[arrow]"'
        ) from None
    return pyarrow


def _stamp(path: str) -> Any:
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"{path} is not a regular file")
    with open(path, "rb") as file:
        return stamp_of(file.fileno())


def _open_parquet(path: str) -> Any:
    _pyarrow()
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path, memory_map=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None


def _check_column(schema: Any, name: Any) -> None:
    """The column is there once and holds numbers."""
    types = _pyarrow().types
    if not isinstance(name, str):
        raise TypeError(f"columns holds {name!r}; names are needed")
    count = len(schema.get_all_field_indices(name))
    if count != 1:
        known = ", ".join(map(repr, schema.names[:20])) + (", ..." if len(schema.names) > 20 else "")
        raise ValueError(
            f"there are {count} columns {name!r}"
            if count
            else f"there is no column {name!r}; there are {known}"
        )
    kind = schema.field(name).type
    if types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind):
        raise TypeError(
            f"column {name!r} holds {kind}: encode it as numbers first, or leave it out with columns="
        )
    if not (
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)
    ):
        raise TypeError(
            f"column {name!r} holds {kind}; numbers are needed: convert it, or leave it out with columns="
        )


def _own_dtype(kind: Any, default: np.dtype[Any]) -> np.dtype[Any]:
    types = _pyarrow().types
    return np.dtype(kind.to_pandas_dtype()) if types.is_integer(kind) or types.is_boolean(kind) else default


def _numbers(column: Any, dtype: np.dtype[Any], name: str, where: str) -> np.ndarray:
    """A column as an array; nulls are NaN, or an error where there is none."""
    arrow = _pyarrow()
    kind = column.type
    if column.null_count and dtype.kind != "f":
        raise ValueError(
            f"column {name!r} has {column.null_count} nulls in {where}; {dtype} has no value for them"
        )
    if dtype.kind in "iu" and not (arrow.types.is_integer(kind) or arrow.types.is_boolean(kind)):
        raise TypeError(f"column {name!r} holds {kind}, which does not go into {dtype}")
    if arrow.types.is_decimal(kind) or (column.null_count and not arrow.types.is_floating(kind)):
        column = column.cast(arrow.float64(), safe=False)
    values = column.to_numpy(zero_copy_only=False) if isinstance(column, arrow.Array) else column.to_numpy()
    if dtype.kind in "iu" and len(values) and values.dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise ValueError(
                f"column {name!r} in {where} has values from {values.min()} to {values.max()}; {dtype} cannot hold them"
            )
    return values.astype(dtype, copy=False)
