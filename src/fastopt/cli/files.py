"""Writing without surprises: whole files or none, and nothing of somebody else's is replaced."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from fastopt.cli.errors import Mistake

__all__ = ["write_whole", "check_folder", "check_place", "PNG_OWNER"]

PNG_OWNER = b"fastopt"  # stands in the "Software" entry of our pictures


def write_whole(path: Path, data: bytes) -> None:
    """Write a file by way of a temporary one beside it: readers see the old file or the new one."""
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes it private; a result is an ordinary file
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise Mistake(f"cannot write {str(path)!r}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def check_folder(option: str, path: Path, wanted: str) -> None:
    """A file of that name can be written."""
    if path.is_dir():
        raise Mistake(f"{option} {path}: that is a folder; {wanted} is wanted")
    if not path.parent.is_dir():
        raise Mistake(f"{option} {path}: there is no folder {str(path.parent)!r}")
    if not os.access(path.parent, os.W_OK):
        raise Mistake(f"{option} {path}: the folder may not be written to")


def check_place(path: Path, is_ours: Callable[[bytes], bool], what: str) -> None:
    """Before any work: the file can be written, and what stands there, if anything, is ours."""
    check_folder("--out", path, f"a file name for {what}")
    if path.exists():
        try:
            with path.open("rb") as file:
                start = file.read(1 << 16)
        except OSError as error:
            raise Mistake(f"--out {path}: {error.strerror or error}") from None
        if not is_ours(start):
            raise Mistake(
                f"--out {path}: the file is there already and is no {what} of fastopt; choose another name"
            )


def is_our_png(start: bytes) -> bool:
    return start.startswith(b"\x89PNG") and b"Software\0" + PNG_OWNER in start
