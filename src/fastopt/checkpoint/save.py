"""`save`: parts into one file, checksums made while it is written; in the background from a snapshot."""

from __future__ import annotations

import atexit
import io
import json
import os
import sys
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from queue import Queue
from typing import Any, Literal, overload

import numpy as np

from fastopt._checks import check_integer
from fastopt._info import __version__
from fastopt.checkpoint.atomic import replacing, write_all
from fastopt.checkpoint.header import BLANK, START, Entry, build, header_crc, layout
from fastopt.checkpoint.state import Encoder

__all__ = ["CHUNK", "VERSION", "Saving", "save"]

VERSION = 1
CHUNK = 1 << 24  # bytes of payload a checksum
SMALL = 1 << 16  # arrays below so many bytes are put together before they are written


@overload
def save(
    path: str | os.PathLike[str], /, *, keep: int = ..., background: Literal[False] = ..., **parts: Any
) -> None: ...
@overload
def save(
    path: str | os.PathLike[str], /, *, keep: int = ..., background: Literal[True], **parts: Any
) -> Saving: ...
def save(
    path: str | os.PathLike[str], /, *, keep: int = 1, background: bool = False, **parts: Any
) -> Saving | None:
    """Write all that a run goes on from to one file, whole or not at all.

    Parameters
    ----------
    path : path-like
        Of a safetensors file. One that is there is replaced when the new one is safely on disk; a link stays a
        link, permissions stay.
    keep : int, default 1
        Generations that stay: with 3, the former two are found as ``path.1`` (newer) and ``path.2``.
    background : bool, default False
        Copy the state, return, and write from a thread. The next `save` waits until that is done.
    **parts
        By name, each one of: an array; None, bool, int, float, str, bytes; a NumPy generator; an object with
        ``state_dict()`` and ``load_state_dict(state)`` (optimizers, `Batches`, `Solver`, models, schedules with
        a state, your own); any nesting of dict (keys: str, int), list and tuple of these.

    Returns
    -------
    None, or Saving
        In the background: a handle to wait on.

    Raises
    ------
    TypeError, ValueError
        A part holds what cannot be saved; the message has its path. Nothing was written.
    OSError
        As the system says it (no room, no permission, a broken disk); what was at `path` is there still. Also of
        a former save in the background whose handle nobody has waited for.

    Notes
    -----
    When this returns (or ``wait()`` does), the file and its name are on disk. At any moment before, also after
    ``kill -9`` or loss of power, `path` leads to the former file, whole. Temporary files that a killed writer
    has left in the folder are removed. Two processes that save to one path do not disturb each other: the one that
    ends later is found.

    Arrays stand under their paths (``params/layers/0/w``), little-endian, in C order; all else is JSON in the header.
    No pickle. CRC-32 checksums of the header and of every 16 MiB find any flipped bit. Nothing else may change the
    arrays while they are written; with ``background=True``, while this call lasts.

    An object whose ``state_dict`` takes ``copy`` is asked for its own arrays (``copy=False``), so nothing is copied.

    Examples
    --------
    >>> import fastopt as fo, numpy as np, tempfile, os
    >>> params = {"w": np.ones(3)}
    >>> opt = fo.Adam(params)
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> fo.save(path, params=params, opt=opt, epoch=3)
    >>> params["w"][:] = 0
    >>> fo.load(path, params=params, opt=opt)["epoch"]
    3
    >>> params["w"]
    array([1., 1., 1.])
    """
    keep = check_integer("save", "keep", keep, 1)
    if not isinstance(background, bool):
        raise TypeError(f"save: background is {background!r}; True or False is wanted")
    if not parts:
        raise TypeError("save: there is no part; name what to save: fo.save(path, params=params, opt=opt)")
    os.fspath(path)
    _finish_former()
    encoder = Encoder()
    described = {name: encoder.encode(value, name) for name, value in parts.items()}
    arrays = encoder.arrays
    if not background:
        write(path, arrays, described, keep)
        return None
    # One copy, after which the caller's arrays are free.
    return Saving(path, {name: _bytes_of(a, copy=True) for name, a in arrays.items()}, described, keep)


def write(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray], described: Any, keep: int) -> None:
    """Write encoded parts to a file."""
    table = layout(arrays)
    size = max((entry.end for entry in table.values()), default=0)
    blanks = [BLANK.decode()] * -(-size // CHUNK)
    with replacing(path, keep) as file:
        head = _head(table, described, blanks)
        write_all(file, head)
        sums = _write_payload(file, (arrays[name] for name in table), size)
        head = _head(table, described, sums)
        place = 8 + len(START)
        crc = header_crc(head)
        file.seek(0)
        write_all(file, head[:place] + crc + head[place + len(crc) :])


def _head(table: Mapping[str, Entry], described: Any, sums: list[str]) -> bytes:
    # crc32 comes first: its place in the file is then always the same.
    meta = {
        "crc32": BLANK.decode(),
        "version": VERSION,
        "fastopt": __version__,
        "chunk": CHUNK,
        "chunks": sums,
        "parts": described,
    }
    return build(table, json.dumps(meta, separators=(",", ":"), allow_nan=False))


def _write_payload(file: io.FileIO, arrays: Iterator[np.ndarray], size: int) -> list[str]:
    """Write the arrays' bytes, and give the checksum of each chunk."""
    sums: list[str] = []
    if size < CHUNK:
        for piece in _pieces(arrays):
            write_all(file, piece)
            sums[:] = [f"{zlib.crc32(piece, int(sums[0], 16) if sums else 0):08x}"]
        return sums
    # zlib and write() both let go of the interpreter: one thread sums up while the other writes.
    summing = _sum_up(sums)
    next(summing)
    pieces: Queue[Any] = Queue(maxsize=4)
    helper = threading.Thread(target=_feed, args=(pieces, summing), name="fastopt-checksum")
    take: Callable[[memoryview], None] = pieces.put
    try:
        helper.start()
    except RuntimeError:  # an interpreter that ends, and waits for this save, starts no thread any more
        take = summing.send
    try:
        for piece in _pieces(arrays):
            take(piece)
            write_all(file, piece)
            if len(piece) >= CHUNK // 2:
                start_writeback(file.fileno())
    finally:
        if helper.ident is not None:
            pieces.put(None)
            helper.join()
    summing.close()
    return sums


def _feed(pieces: Queue[Any], summing: Generator[None, memoryview, None]) -> None:
    while (piece := pieces.get()) is not None:
        summing.send(piece)


def _sum_up(sums: list[str]) -> Generator[None, memoryview, None]:
    """Checksums of a stream that is cut into chunks, from pieces that cross no chunk's end; close() adds the last."""
    crc = done = 0
    try:
        while True:
            piece = yield
            crc = zlib.crc32(piece, crc)
            done += len(piece)
            if done == CHUNK:
                sums.append(f"{crc:08x}")
                crc = done = 0
    finally:
        if done:
            sums.append(f"{crc:08x}")


def _pieces(arrays: Iterator[np.ndarray]) -> Iterator[memoryview]:
    """The payload in pieces that end where a chunk ends; small arrays are put together."""
    room = CHUNK  # bytes left in this chunk
    small = bytearray()
    for array in arrays:
        data = _bytes_of(array).reshape(-1).view(np.uint8).data
        for start, stop in _cuts(len(data), room):
            part = data[start:stop]
            room = (room - len(part)) or CHUNK
            if len(part) < SMALL:
                small += part
            if small and (len(part) >= SMALL or len(small) >= 1 << 20 or room == CHUNK):
                yield memoryview(bytes(small))
                small.clear()
            if len(part) >= SMALL:
                yield part
    if small:
        yield memoryview(bytes(small))


def _cuts(length: int, first: int) -> Iterator[tuple[int, int]]:
    """Slices of a length: `first` elements, then chunks."""
    start, stop = 0, min(first, length)
    while start < length:
        yield start, stop
        start, stop = stop, min(stop + CHUNK, length)


def _bytes_of(array: np.ndarray, copy: bool = False) -> np.ndarray:
    """The elements in C order, little-endian: the very array, if it is so already and no copy is asked for."""
    little = array.dtype.newbyteorder("<") if array.dtype.kind in "fiu" else array.dtype
    return np.array(array, dtype=little, order="C", copy=copy or None)


def start_writeback(handle: int) -> None:
    """Have the system begin with what it holds of a file: the disk then works while we do."""
    if sys.platform == "linux":
        # On Linux this advice writes dirty pages without waiting, and forgets those that are on disk.
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


class Saving:
    """A save in the background: made by ``fastopt.save(..., background=True)``.

    Attributes
    ----------
    path : path-like
    done : bool
        Whether it is over, well or not.
    """

    def __init__(
        self, path: str | os.PathLike[str], arrays: dict[str, np.ndarray], described: Any, keep: int
    ) -> None:
        global _former
        self.path = path
        self._error: BaseException | None = None
        self._told = False
        self._process = os.getpid()
        self._thread = threading.Thread(
            target=self._run, args=(arrays, described, keep), name="fastopt-save", daemon=False
        )
        self._thread.start()  # not a daemon: the interpreter waits for it before it ends
        _former = self

    def _run(self, arrays: dict[str, np.ndarray], described: Any, keep: int) -> None:
        try:
            write(self.path, arrays, described, keep)
        except BaseException as error:
            self._error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait, and give the error that the save ended with, or None.

        Raises
        ------
        TimeoutError
            It is not over after `timeout` seconds.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"saving to {os.fspath(self.path)!r} is not over after {timeout} seconds")
        self._told = True
        return self._error

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the file is on disk; raise the error, if there was one."""
        error = self.exception(timeout)
        if error is not None:
            raise error

    def __repr__(self) -> str:
        state = "under way" if not self.done else "failed" if self._error else "on disk"
        return f"<Saving {os.fspath(self.path)!r}: {state}>"


_former: Saving | None = None


def _finish_former() -> None:
    """Wait for the last save in the background, and raise what nobody has heard of."""
    global _former
    former = _former
    if former is None or former._process != os.getpid():  # after fork its thread is the parent's
        return
    told = former._told
    error = former.exception()
    _former = None
    if error is not None and not told:
        error.add_note(f"(of the save in the background to {os.fspath(former.path)!r}, before this one)")
        raise error


def _tell_at_exit() -> None:
    try:
        _finish_former()
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)


atexit.register(_tell_at_exit)
