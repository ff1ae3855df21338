"""Rows of .npy files that are read when a batch asks for them: data sets larger than memory."""

from __future__ import annotations

import mmap
import operator
import os
import stat
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastopt._core.files import Reader, stamp_of

__all__ = ["Npy", "as_indices", "checked_out"]

#: Descriptors that one source keeps open; systems give a process 256 or more.
OPEN_FILES = 64


class Npy:
    """Rows of one .npy file, or of several as if they were one array; read from disk, never mapped.

    Parameters
    ----------
    paths : path, or sequence of paths
        Files in NumPy's format, of one dtype and row shape. Their rows follow each other in the order given.
    dtype : dtype, optional
        What rows are converted to (``same_kind``). Default: that of the files, in this machine's byte order.
    buffer : int, default 256 MiB
        Most bytes of announced rows (`advise`) that are kept in memory.

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy.dtype

    Notes
    -----
    **How it reads.** `take` sorts what is asked for by its place in the file, reads neighbours in one call
    of ``pread`` without the interpreter lock, and puts each row where it belongs. Nothing is mapped: address
    space as small as a few batches will do, and a file that is cut while in use gives an error where a
    memory map would end the process. Each row asked for alone costs one system call, and one wait for the
    disk if the system has not kept its page: for files larger than memory use an order in blocks
    (`fastopt.data.Blocks`). Its blocks are announced (`advise`), read whole in large pieces, and rows are
    taken from there.

    **What is checked.** Headers are parsed by NumPy without pickle. Object arrays, arrays in Fortran order
    and files shorter than their header says are refused when they are opened. A file whose size, time of
    change or identity has become another is refused when it is read next. At most 64 files are open at once.

    Reads go by explicit positions, so a forked child may use the source that its parent opened. One call
    is served at a time; calls from several threads wait for each other.

    Examples
    --------
    >>> import numpy as np, fastopt as fo, tempfile, os
    >>> folder = tempfile.mkdtemp()
    >>> names = [os.path.join(folder, f"{k}.npy") for k in range(2)]
    >>> for k, name in enumerate(names):
    ...     np.save(name, np.arange(6.0).reshape(3, 2) + 10 * k)
    >>> X = fo.data.Npy(names)
    >>> X.shape
    (6, 2)
    >>> X.take([5, 0, 0])
    array([[14., 15.],
           [ 0.,  1.],
           [ 0.,  1.]])
    >>> for xb in fo.Batches(X, size=2, rng=0):
    ...     pass
    >>> X.close()
    """

    def __init__(self, paths: Any, dtype: Any = None, *, buffer: int = 256 << 20) -> None:
        names = [paths] if isinstance(paths, (str, bytes, os.PathLike)) else list(paths)
        if not names:
            raise ValueError("paths is empty; at least one .npy file is needed")
        found = [_read_header(_as_path(name)) for name in names]
        first, kind, row = found[0][0][0], found[0][1], found[0][2]
        for part, other_kind, other_row in found[1:]:
            if other_kind != kind:
                raise ValueError(f"{part[0]} has dtype {other_kind}, but {first} has {kind}; they must agree")
            if other_row != row:
                raise ValueError(f"{part[0]} has rows of shape {other_row}, but {first} of {row}")
        self._begin([part for part, _, _ in found], kind, row, dtype, buffer)

    def _begin(
        self, parts: list[Any], kind: np.dtype[Any], row: tuple[int, ...], dtype: Any, buffer: Any
    ) -> None:
        self._file_dtype = kind
        native = kind.newbyteorder("=")
        self.dtype = native if dtype is None else np.dtype(dtype)
        if self.dtype.hasobject or not np.can_cast(native, self.dtype, "same_kind"):
            raise TypeError(f"dtype is {self.dtype}; the files hold {native}, which does not go into it")
        if isinstance(buffer, bool) or operator.index(buffer) < 0:
            raise ValueError(f"buffer is {buffer!r}; a number of bytes, at least 0, is needed")
        row_bytes = kind.itemsize
        for length in row:
            row_bytes *= length
        if row_bytes > 2**62:
            raise ValueError(f"{parts[0][0]} says that a row has {row_bytes} bytes")
        self._reader = Reader(parts, row_bytes, operator.index(buffer), OPEN_FILES)
        self.shape = (self._reader.rows, *row)

    @classmethod
    def from_memmap(cls, array: np.memmap, dtype: Any = None, *, buffer: int = 256 << 20) -> Npy:
        """The rows of a C-contiguous memory map (`numpy.memmap`), read from its file instead of mapped.

        For files that are not in NumPy's format, and for maps that were opened already: batches in random
        order are then read sorted, and under a limit of address space once the map itself is gone.
        """
        mapped = getattr(array, "_mmap", None)
        if not isinstance(array, np.memmap) or mapped is None or array.filename is None:
            raise TypeError(f"array is {type(array).__name__}; a numpy.memmap of a named file is needed")
        if array.ndim == 0 or not array.flags.c_contiguous or array.dtype.hasobject:
            raise ValueError(
                "array is not C-contiguous with rows of numbers; its rows do not lie together in the file"
            )
        grain = mmap.ALLOCATIONGRANULARITY
        begins = np.frombuffer(mapped, np.uint8).__array_interface__["data"][0]
        # A slice keeps the offset of the map that it was cut from, so its place is told by addresses.
        within = array.__array_interface__["data"][0] - begins if array.size else 0
        path = os.path.abspath(array.filename)
        with open(path, "rb") as file:
            stamp = stamp_of(file.fileno())
        start = array.offset - array.offset % grain + within
        if start + array.nbytes > stamp[2]:
            raise ValueError(f"{path} has {stamp[2]} bytes; the map reaches to {start + array.nbytes}")
        new = cls.__new__(cls)
        new._begin([(path, len(array), start, stamp)], array.dtype, array.shape[1:], dtype, buffer)
        return new

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, in the dtype of the files."""
        return self._reader.rows * self._reader.bytes

    def take(self, indices: Any, out: np.ndarray | None = None) -> np.ndarray:
        """Rows, in the order asked for.

        Parameters
        ----------
        indices : array_like of int, shape (k,)
            From 0 to ``len(self) - 1``; repetitions are fine.
        out : ndarray, shape (k, ...), optional
            Where to write them: C-contiguous, of this source's dtype. After an error its content is undefined.

        Returns
        -------
        ndarray, shape (k, ...)
        """
        order = as_indices(indices)
        out = checked_out(out, (len(order), *self.shape[1:]), self.dtype)
        if self.dtype == self._file_dtype:
            self._reader.take(order, out)
        else:
            raw = np.empty(out.shape, self._file_dtype)
            self._reader.take(order, raw)
            np.copyto(out, raw, casting="same_kind")
        return out

    def advise(self, first: int, stop: int) -> None:
        """Say that rows `first` to ``stop - 1`` are needed soon, most of them before long.

        The system begins to read them, without waiting. The first `take` that needs one of them reads them
        all, in large pieces, into the buffer, if they fit there; they leave it when as many rows were
        taken as it has, or room is needed and nobody has asked for them for long.
        """
        first, stop = operator.index(first), operator.index(stop)
        if not 0 <= first <= stop <= len(self):
            raise IndexError(f"rows {first} to {stop} are not within the {len(self)} that there are")
        if first < stop:
            self._reader.advise(first, stop)

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, slice):
            first, stop, step = key.indices(len(self))
            if step != 1:
                return self.take(np.arange(first, stop, step, dtype=np.int64))
            raw = np.empty((max(0, stop - first), *self.shape[1:]), self._file_dtype)
            self._reader.read(first, raw)
            return raw if self.dtype == self._file_dtype else raw.astype(self.dtype, casting="same_kind")
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            row = key + len(self) if key < 0 else key
            if not 0 <= row < len(self):
                raise IndexError(f"row {key} of {len(self)} was asked for")
            return self.take(np.array([row], np.int64))[0]
        if isinstance(key, tuple):
            raise IndexError("a source is indexed by rows alone: X[a:b], X[i] or X[[i, j]]")
        return self.take(key)

    def close(self) -> None:
        """Give back descriptors and memory; reading afterwards is a ValueError."""
        self._reader.close()

    def __enter__(self) -> Npy:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("an Npy source holds open files and cannot be pickled; send its paths instead")

    def __repr__(self) -> str:
        paths = self._reader.paths
        files = repr(paths[0]) if len(paths) == 1 else f"{len(paths)} files from {paths[0]!r}"
        return f"Npy({files}; {self.dtype} {self.shape})"


def as_indices(indices: Any) -> np.ndarray:
    """Row numbers as the engine reads them: one dimension, uint32 or int64, C-contiguous."""
    order = np.asarray(indices)
    if order.size == 0 and order.ndim == 1:
        return np.empty(0, np.int64)
    if order.ndim != 1 or order.dtype.kind not in "iu":
        raise TypeError(
            f"indices have shape {order.shape} and dtype {order.dtype}; one dimension of integers is needed"
        )
    if order.dtype not in (np.uint32, np.int64):
        if order.dtype == np.uint64 and order.max() > np.iinfo(np.int64).max:
            raise IndexError(f"indices hold {order.max()}, which is no row number")
        order = order.astype(np.int64)
    return np.ascontiguousarray(order)


def checked_out(out: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Memory for rows: `out` if it fits, else new."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        what = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out is {what}; an array of {dtype} {shape} is needed")
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError("out is not C-contiguous, aligned and writable")
    return out


def _as_path(name: Any) -> str:
    if not isinstance(name, (str, bytes, os.PathLike)):
        raise TypeError(f"paths holds {type(name).__name__}; paths of .npy files are needed")
    return os.path.abspath(os.fsdecode(name))  # the working directory may become another one


def _read_header(path: str) -> tuple[tuple[str, int, int, Iterable[int]], np.dtype[Any], tuple[int, ...]]:
    """((path, rows, first byte, stamp), dtype, shape of a row) of a .npy file; ValueError if it cannot be read."""
    # Opening a pipe would wait for its other end.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise ValueError(f"{path} is not a regular file")
    with os.fdopen(fd, "rb") as file:
        stamp = stamp_of(fd)
        try:
            version = np.lib.format.read_magic(file)
        except ValueError as error:
            raise ValueError(f"{path} is not a .npy file: {error}") from None
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            raise ValueError(
                f"{path} is in version {version[0]}.{version[1]} of the .npy format; 1.0 and 2.0 can be read"
            )
        try:
            shape, fortran, dtype = readers[version](file)
        except Exception as error:  # what a damaged header makes NumPy raise is not only ValueError
            raise ValueError(f"the header of {path} cannot be read: {error}") from None
        start = file.tell()
    if dtype.hasobject:
        raise ValueError(
            f"{path} holds Python objects ({dtype}); numbers, or others of a fixed width, are needed"
        )
    if dtype.itemsize == 0 or dtype.subdtype is not None:
        raise ValueError(f"{path} has dtype {dtype!r}; numbers, or others of a fixed width, are needed")
    if not shape:
        raise ValueError(
            f"{path} holds a single value; an array with rows (at least one dimension) is needed"
        )
    if any(isinstance(length, bool) or length < 0 for length in shape):
        raise ValueError(f"the header of {path} says shape {shape}")
    if fortran and sum(length > 1 for length in shape) > 1:
        raise ValueError(
            f"{path} is in Fortran order: its rows do not lie together; save numpy.ascontiguousarray(...) instead"
        )
    need = dtype.itemsize
    for length in shape:
        need *= length
    if start + need > stamp[2]:
        raise ValueError(
            f"{path} is cut: it has {stamp[2]} bytes, and {start + need} are needed for {dtype} {shape}"
        )
    return (path, shape[0], start, stamp), dtype, tuple(shape[1:])
