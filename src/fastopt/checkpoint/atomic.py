"""A file that is replaced whole: at any moment its name leads to the old one or to the new one, both on disk.

The order of things is that of every careful writer (P. Pillai et al., *All file systems are not created equal*, OSDI
2014, section 4.4): temporary file in the same folder, its data to the disk, rename, the folder to the disk.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on this system; there, an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

__all__ = ["replacing", "write_all"]

TEMPORARY = re.compile(r"\.fastopt-[0-9a-f]{16}\.tmp")


@contextmanager
def replacing(path: str | os.PathLike[str], keep: int = 1) -> Iterator[io.FileIO]:
    """Open a temporary file for writing; when the block ends, it stands at `path`, on disk.

    Parameters
    ----------
    path : path-like
        A link to a file stays a link; permissions stay those of the file that is replaced.
    keep : int, default 1
        How many generations stay: with 3, the former two as ``path.1`` (newer) and ``path.2``.

    Raises
    ------
    OSError
        As the system says it; what stood at `path` stands there still, and the temporary file is gone.
    """
    target = Path(os.path.realpath(path))
    mode = None
    with suppress(FileNotFoundError):
        old = os.stat(target)
        if not stat.S_ISREG(old.st_mode):
            raise OSError(f"{os.fspath(path)!r} is there and no regular file; another name is needed")
        mode = stat.S_IMODE(old.st_mode)
    with folder_lock(target.parent):
        remove_stale(target.parent)
    temporary, file = claim(target.parent)
    try:
        with file:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), mode)
            yield file
            os.fsync(file.fileno())
            with folder_lock(target.parent) as folder:
                rotate(target, keep)
                os.replace(temporary, target)
                if folder is not None:
                    os.fsync(folder)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_all(file: io.FileIO, data: bytes | memoryview) -> None:
    """Write every byte: the system takes at most 2 GiB at once, and fewer when it likes."""
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) :]


def claim(folder: Path) -> tuple[Path, io.FileIO]:
    """A new temporary file, locked as long as it is open: the sign that its writer lives."""
    while True:
        name = folder / f".fastopt-{secrets.token_hex(8)}.tmp"
        file = io.FileIO(name, "x+b")
        if fcntl is None:
            return name, file
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return name, file
        file.close()  # taken for stale in the moment before the lock: once more


def remove_stale(folder: Path) -> None:
    """Remove temporary files whose writers are dead, as after kill -9."""
    for entry in os.scandir(folder):
        if not TEMPORARY.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
            continue
        with suppress(OSError):  # it lives, it is gone already, or it is not ours to remove
            if fcntl is None:
                os.unlink(entry.path)
                continue
            handle = os.open(entry.path, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(entry.path)
            finally:
                release(handle)


def release(handle: int) -> None:
    """Unlock and close: a child forked meanwhile has the handle too, and closing ours alone would leave the lock."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


#: Open folders of the lock below. A forked child closes its copies: the threads that would have done so are not in it.
held: set[int] = set()


def forget_held() -> None:
    while held:
        with suppress(OSError):
            os.close(held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_held)


@contextmanager
def folder_lock(folder: Path) -> Iterator[int | None]:
    """The folder's descriptor, locked against other writers; None where a folder cannot be opened."""
    if not hasattr(os, "O_DIRECTORY"):
        yield None
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    held.add(handle)
    try:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        if handle in held:  # else this is a forked child, and it is closed
            held.discard(handle)
            release(handle)


def rotate(target: Path, keep: int) -> None:
    """Hand each generation on by one number; `target` keeps its name until the new file takes it."""
    if keep < 2 or not target.exists():
        return
    ages = [target, *(target.with_name(f"{target.name}.{i}") for i in range(1, keep))]
    if ages[1].exists() and os.path.samefile(target, ages[1]):
        return  # a writer died between here and the rename
    for newer, older in zip(ages[-2:0:-1], ages[:1:-1], strict=True):
        with suppress(FileNotFoundError):
            os.replace(newer, older)
    ages[1].unlink(missing_ok=True)
    try:
        os.link(target, ages[1])
    except OSError:  # a file system without links
        shutil.copy2(target, ages[1])
