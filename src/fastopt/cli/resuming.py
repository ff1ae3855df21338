"""``--checkpoint``, ``--every``, ``--resume``: a run that may be stopped at any moment and goes on bit for bit."""

from __future__ import annotations

import argparse
import signal
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastopt.checkpoint import Checkpointer, load
from fastopt.checkpoint.every import interval
from fastopt.cli.errors import Mistake, first_line
from fastopt.cli.files import check_folder
from fastopt.cli.prepare import Prepared

__all__ = ["Resumable", "add_checkpoint_arguments", "check_options"]

MADE_BY = "fastopt train"
EVERY = "30s"
#: Options that make the run what it is; a checkpoint goes on only where all of them are as they were.
SETTINGS = (
    "target", "task", "drop", "categorical", "missing", "no_header", "validation", "test", "hidden", "activation",
    "dropout", "dtype", "optimizer", "opt", "lr", "schedule", "convention", "batch_size", "epochs", "clip_norm",
    "clip_value", "average", "early_stopping", "seed", "diagnose",
)  # fmt: skip


def add_checkpoint_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("checkpoints")
    group.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="save all that the run goes on from, now and then"
    )
    group.add_argument(
        "--every",
        type=_interval,
        metavar="TIME",
        help=f"between two saves: 30s, 5min, 2h, 100steps, 1epoch (default {EVERY})",
    )
    group.add_argument("--keep", type=_whole, metavar="K", help="generations of the checkpoint (default 1)")
    group.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint; from the start if there is none yet"
    )


def _interval(text: str) -> str:
    try:
        interval(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of 30s, 5min, 2h, 100steps, 1epoch") from None
    return text


def _whole(text: str) -> int:
    from fastopt.cli.arguments import whole

    return whole(text)


def check_options(args: argparse.Namespace) -> None:
    """Before any work: the options fit each other, and no earlier checkpoint is lost."""
    path = args.checkpoint
    if path is None:
        for option in ("every", "keep", "resume"):
            if getattr(args, option):
                raise Mistake(f"--{option} needs --checkpoint FILE")
        return
    check_folder("--checkpoint", path, "a file name")
    if path.exists() and not args.resume:
        raise Mistake(f"--checkpoint {path}: the file is there already; --resume goes on from it")


class Resumable:
    """A run's checkpoints: made at the moments when it stands still, and gone on from.

    Parameters
    ----------
    args : argparse.Namespace
    data : Prepared
        A run goes on only with the data that it began with.
    course : Course
    **parts
        Model, optimizer, batches.
    """

    def __init__(self, args: argparse.Namespace, data: Prepared, course: Any, **parts: Any) -> None:
        self.path = args.checkpoint
        self.settings = {"made_by": MADE_BY, **{name: getattr(args, name) for name in SETTINGS}}
        self.settings["data"] = fingerprint(data)
        self.checkpointer = Checkpointer(
            self.path,
            args.every or EVERY,
            keep=args.keep or 1,
            settings=self.settings,
            course=course,
            **parts,
        )
        self.stop = False

    def resume(self) -> bool:
        """Go on from the file, if it is there; a `Mistake` if it is of another run."""
        if not self.path.exists():
            return False
        try:
            self._compare(load(self.path).get("settings"))
            return self.checkpointer.resume()
        except OSError as error:
            raise Mistake(f"--checkpoint {self.path}: {error.strerror or error}") from None
        except ValueError as error:
            raise Mistake(f"--resume: {first_line(error)}") from None

    def _compare(self, saved: Any) -> None:
        where = f"--resume: {self.path}"
        if not isinstance(saved, dict) or saved.get("made_by") != MADE_BY:
            raise Mistake(f"{where} is no checkpoint of fastopt train")
        # Where nothing depends on the length of the run, it may be made longer.
        free = {"data", *(["epochs"] if self.settings["schedule"] is None else [])}
        differing = [
            f"{option(name)} was {told(saved.get(name))} and is {told(value)}"
            for name, value in self.settings.items()
            if name not in free and saved.get(name) != value
        ]
        if differing:
            raise Mistake(f"{where} is of a run with other options: {'; '.join(differing)}")
        if saved.get("data") != self.settings["data"]:
            raise Mistake(f"{where} is of a run with other data")

    def after_step(self) -> None:
        self._now_and_then(self.checkpointer.step)

    def after_epoch(self) -> None:
        self._now_and_then(self.checkpointer.epoch)

    def _now_and_then(self, save_if_due: Callable[[], bool]) -> None:
        with saying(self.path):
            if not self.stop:
                save_if_due()
                return
            self.checkpointer.save()
        raise KeyboardInterrupt

    def finish(self) -> None:
        """At the end of the run: so that going on from here says so, or makes it longer."""
        with saying(self.path):
            self.checkpointer.save()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let Ctrl-C wait until the step is complete and saved; a second one does not wait."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: Any) -> None:
            if self.stop:
                raise KeyboardInterrupt
            self.stop = True

        old = signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, old)
            with saying(self.path):
                self.checkpointer.wait()


@contextmanager
def saying(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Mistake(f"cannot write the checkpoint {str(path)!r}: {error.strerror or error}") from None


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


def told(value: Any) -> str:
    if value is None or value == []:
        return "not given"
    if value is True:
        return "given"
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def fingerprint(data: Prepared) -> str:
    """A checksum of all rows as they are learned from."""
    crc = 0
    for arrays in (data.x, data.y):
        for part in sorted(arrays):
            array = np.ascontiguousarray(arrays[part])
            crc = zlib.crc32(
                array.reshape(-1).view(np.uint8).data, zlib.crc32(repr(array.shape).encode(), crc)
            )
    return f"{crc:08x}"
