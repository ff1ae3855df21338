"""`load`: a mapped file, checked whole, then taken up by what is there already; or looked at."""

from __future__ import annotations

import mmap
import os
import signal
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastopt.checkpoint import header
from fastopt.checkpoint.fit import Plan
from fastopt.checkpoint.header import CAP, KEY, CheckpointError, Entry
from fastopt.checkpoint.save import VERSION
from fastopt.checkpoint.state import Decoder

__all__ = ["describe", "load"]


def load(path: str | os.PathLike[str], /, *, verify: bool = True, **parts: Any) -> dict[str, Any]:
    """Take up what `save` wrote.

    Parameters
    ----------
    path : path-like
        Of a file that `save` wrote.
    verify : bool, default True
        Read all of the file once and compare checksums, before anything is changed. False leaves that out (the header's
        is always checked), and so reads only what is used; it also opens safetensors files of other programs, which
        have no checksums.
    **parts
        Where the parts of the file go. Arrays are written into, in place; objects take up their state
        (``load_state_dict``); generators are set; dicts and lists of plain values are filled anew. For a plain
        value anything may stand (``epoch=None``): it says that the part has to be there.

    Returns
    -------
    dict
        Every part of the file by name: those given as `parts` (plain values: the file's), the others as they were
        saved, objects as their states. **Arrays of these are read-only views of the mapped file**, read from disk when
        they are looked at; copy what you keep. Of a file of another program: all arrays by name.

    Raises
    ------
    CheckpointError
        (A ValueError.) The file is no checkpoint, damaged, or does not fit `parts`: then all names, shapes
        and dtypes that differ are listed. Nothing has been changed: an object that refuses its state has the others
        put back.
    OSError
        The file is not there or cannot be read.

    Notes
    -----
    Reading runs nothing that is in the file, and takes no more memory than the file is long and 1 MiB, whatever is in
    it.
    Parameters are matched by path; dtypes must be equal, but for the byte order.

    Files are replaced by `save`, never changed, so views stay what they are when a new checkpoint is saved. What
    shortens a mapped file in place (``cp`` over it) makes the system end a process that reads the lost part.

    Examples
    --------
    See `fastopt.save`.
    """
    if not isinstance(verify, (bool, np.bool_)):
        raise TypeError(f"load: verify is {verify!r}; True or False is wanted")
    with explained(path):
        file = File(path)
        if file.parts is None:
            if verify or parts:
                raise CheckpointError(
                    "it is a safetensors file without fastopt's checksums; "
                    "load(path, verify=False), with no parts, gives its arrays"
                )
            return {name: file.array(name) for name in file.table}
        if verify:
            file.verify()
        decoder = Decoder(file.array, file.table)
        plan = Plan(decoder)
        out = {}
        for name, given in parts.items():
            if name in file.parts:
                out[name] = plan.fit(given, file.parts[name], name)
            else:
                plan.wrong.append(f"{name} is missing; there are {', '.join(map(repr, file.parts))}"[:200])
        rest = {name: decoder.decode(node) for name, node in file.parts.items() if name not in parts}
        plan.check()
        if decoder.unused and not plan.wrong:
            raise CheckpointError(f"the array {min(decoder.unused)!r:.80} belongs to no part")
    with undisturbed():
        plan.carry_out()
    return {name: out[name] if name in out else rest[name] for name in file.parts}


def describe(path: str | os.PathLike[str], /) -> dict[str, Any]:
    """What a checkpoint holds, from its header alone.

    Parameters
    ----------
    path : path-like
        Of any safetensors file.

    Returns
    -------
    dict
        ``version`` and ``fastopt`` (of the format, of the library that wrote; None for a file of another program),
        ``bytes``, ``parts`` (names), ``arrays`` (name -> dtype and shape), ``metadata`` (of a file of another program).

    Raises
    ------
    CheckpointError, OSError
        As `load`.
    """
    with explained(path):
        file = File(path)
    return {
        "version": file.version,
        "fastopt": file.made_by,
        "bytes": file.size,
        "parts": list(file.parts or ()),
        "arrays": {
            name: (header.NAMES[entry.code], entry.shape)
            for name, entry in sorted(file.table.items(), key=lambda item: item[1].begin)
        },
        "metadata": {name: text for name, text in file.meta.items() if name != KEY},
    }


class File:
    """A mapped safetensors file, its header checked."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        # A named pipe must not hold us up.
        self.handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(self.handle)
            if not stat.S_ISREG(status.st_mode):
                raise CheckpointError("it is no regular file")
            self.size = status.st_size
            if self.size < 10:
                raise CheckpointError(f"it has {self.size} bytes; a safetensors file has more")
            self.map = mmap.mmap(self.handle, self.size, access=mmap.ACCESS_READ)
        finally:
            os.close(self.handle)
        length = int.from_bytes(self.map[:8], "little")
        if not 2 <= length <= min(self.size - 8, CAP):
            raise CheckpointError(
                f"it is cut short, or no safetensors file: a header of {length} bytes in a file of {self.size}"
            )
        self.start = 8 + length
        view = memoryview(self.map)[: self.start]
        self.version: int | None = None
        self.made_by: str | None = None
        self.parts: dict[str, Any] | None = None
        place = 8 + len(header.START)
        ours = view[8:place] == header.START
        if ours and view[place : place + 8] != header.header_crc(view):
            raise CheckpointError("the header is damaged: its checksum does not fit")
        end = self.map.rfind(b"}", 8, self.start) + 1
        if self.map[end : self.start].strip(b" "):
            raise CheckpointError("it is no safetensors file: the header is no JSON object")
        self.table, self.meta = header.parse(self.map[8:end], self.start, self.size)
        if ours:
            self._read_meta()
        elif KEY in self.meta:
            raise CheckpointError("the header is damaged: its checksum is not where it was written")

    def _read_meta(self) -> None:
        meta = header.read_json(self.meta[KEY], "the header's description of the parts")
        version = meta.get("version")
        if type(version) is not int or version < 1:
            raise CheckpointError(f"the version is {version!r:.40}")
        if version > VERSION:
            raise CheckpointError(
                f"the format's version is {version}; this fastopt reads up to {VERSION}: a newer one is needed"
            )
        if set(meta) != {"crc32", "version", "fastopt", "chunk", "chunks", "parts"}:
            raise CheckpointError("the header's description is not whole")
        chunk, sums = meta["chunk"], meta["chunks"]
        if type(chunk) is not int or not 1 <= chunk <= 1 << 30 or not isinstance(sums, list):
            raise CheckpointError("the header's checksums are not whole")
        if len(sums) != -(-(self.size - self.start) // chunk):
            raise CheckpointError("the header's checksums are not as many as the file has chunks")
        if not isinstance(meta["parts"], dict) or not isinstance(meta["fastopt"], str):
            raise CheckpointError("the header's description is not whole")
        self.version, self.made_by, self.parts = version, meta["fastopt"], meta["parts"]
        self.chunk, self.sums = chunk, sums

    def array(self, name: str) -> np.ndarray:
        """A read-only view of the file."""
        entry: Entry = self.table[name]
        dtype = header.entry_dtype(entry.code)
        count = (entry.end - entry.begin) // dtype.itemsize
        flat = (
            np.frombuffer(self.map, dtype, count, self.start + entry.begin) if count else np.empty(0, dtype)
        )
        out = flat.reshape(entry.shape)
        out.flags.writeable = False
        return out

    def verify(self) -> None:
        """Compare all checksums of the payload; two threads, one reads while the other sums up."""
        view = memoryview(self.map)
        bad: list[int] = []

        def work(first: int, step: int) -> None:
            for i in range(first, len(self.sums), step):
                begin = self.start + i * self.chunk
                data = view[begin : min(begin + self.chunk, self.size)]
                if self.sums[i] != f"{zlib.crc32(data):08x}":
                    bad.append(i)

        if hasattr(self.map, "madvise"):
            self.map.madvise(mmap.MADV_WILLNEED)
        other = threading.Thread(target=work, args=(1, 2)) if len(self.sums) > 1 else None
        if other is not None:
            other.start()
        work(0, 2 if other is not None else 1)
        if other is not None:
            other.join()
        if bad:
            at = self.start + min(bad) * self.chunk
            raise CheckpointError(
                f"it is damaged: a checksum does not fit (bytes {at} to {min(at + self.chunk, self.size)})"
            )


@contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Put the file's name in front of what is wrong with it, and where an older one is, if there is one."""
    try:
        yield
    except CheckpointError as error:
        older = f"{os.fspath(path)}.1"
        hint = f" (the generation before is {older})" if os.path.isfile(older) else ""
        raise CheckpointError(f"cannot load {os.fspath(path)}: {error}{hint}") from None
    except RecursionError:
        raise CheckpointError(f"cannot load {os.fspath(path)}: it is nested too deeply") from None


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let one Ctrl-C wait until a load is complete; a second one does not wait."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[Any] = []
    old = signal.getsignal(signal.SIGINT)
    if not callable(old):
        yield
        return

    def note(number: int, frame: Any) -> None:
        came.append(frame)
        if len(came) > 1:
            signal.signal(signal.SIGINT, old)
            old(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, old)
        if came:
            old(signal.SIGINT, came[0])
