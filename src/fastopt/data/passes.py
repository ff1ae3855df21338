"""Passes that need the interpreter for each batch: those with an augmentation, or with sources that are not arrays.

Passes over arrays alone are in C (`fastopt._core.gather.Pass`), also those that gather ahead.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from fastopt._core.gather import Reader
from fastopt.data.seeds import child
from fastopt.data.sources import ReadAhead

__all__ = ["Background", "Foreground", "Maker", "noise"]

NOISE = 0x61756721  # keeps the noise of a batch apart from all orders
AHEAD = 2  # batches made before they are asked for, with prefetch=True


def noise(seed: np.random.SeedSequence, epoch: int, number: int) -> np.random.Generator:
    """The generator of one batch: a function of the seed, the epoch and the number in the unsharded order."""
    return np.random.Generator(np.random.PCG64(child(seed, epoch, number, NOISE)))


class Maker:
    """Batches by their numbers, augmented."""

    def __init__(
        self,
        reader: Reader,
        order: Any,
        seed: np.random.SeedSequence,
        epoch: int,
        augment: Callable[[Any, np.random.Generator], Any] | None,
    ) -> None:
        self.reader, self.seed, self.epoch, self.augment = reader, seed, epoch, augment
        self._ahead = ReadAhead(reader.gather.sources, order, reader.entries)

    def __call__(self, number: int) -> Any:
        size = self.reader.size
        self._ahead.before(number * size, min((number + 1) * size, self.reader.entries))
        self.reader.check()
        batch = self.reader.batch(number)
        return batch if self.augment is None else self.augment(batch, noise(self.seed, self.epoch, number))


class Foreground:
    """A pass whose batches are made when they are asked for: first, first + leap, ... below count."""

    def __init__(self, make: Maker, first: int, leap: int, count: int) -> None:
        self.taken, self.done = 0, False
        self._make: Maker | None = make
        self._first, self._leap, self._count = first, leap, count
        self._closed = False
        self._claims = threading.Lock()

    def close(self) -> None:
        """A newer pass has begun, or another position was loaded: this one gives no more batches."""
        self._closed = True
        self._make = None

    def __iter__(self) -> Foreground:
        return self

    def __length_hint__(self) -> int:
        left = -(-(self._count - self._first) // self._leap) - self.taken
        return 0 if self.done or self._closed else max(0, left)

    def _next_number(self) -> int:
        """The number of the next batch; StopIteration at the end, RuntimeError if another pass has begun."""
        if self.done:
            raise StopIteration
        if self._closed:
            raise RuntimeError(
                "this pass was ended by a newer one over the same Batches, or by load_state_dict; two passes side by "
                "side take two Batches"
            )
        number = self._first + self.taken * self._leap
        if number >= self._count:
            self.done = True
            self._make = None
            raise StopIteration
        return number

    def __next__(self) -> Any:
        with self._claims:
            number = self._next_number()
            make, claim = self._make, self.taken
            self.taken += 1
        try:
            return make(number)  # type: ignore[misc]
        except BaseException:
            with self._claims:
                if self.taken == claim + 1:  # it was not handed out
                    self.taken = claim
            raise


class _Line:
    """What a background thread and its pass share. The thread does not hold the pass, so that it can go."""

    def __init__(self, make: Maker, first: int, leap: int, count: int, most: int) -> None:
        self.make, self.numbers, self.most = make, iter(range(first, count, leap)), most
        self.ready: deque[tuple[Any, BaseException | None]] = deque()
        self.turn = threading.Condition()
        self.stopped = False
        self.pid = os.getpid()
        self.thread = threading.Thread(target=self._work, name="fastopt prefetch", daemon=True)
        _lines.add(self)
        self.thread.start()

    def _work(self) -> None:
        for number in self.numbers:
            batch, error = None, None
            try:
                batch = self.make(number)
            except BaseException as caught:  # it comes out where its batch is asked for
                error = caught
            with self.turn:
                self.ready.append((batch, error))
                batch = None
                self.turn.notify_all()
                if error is not None:
                    return
                while len(self.ready) >= self.most and not self.stopped:
                    self.turn.wait()
                if self.stopped:
                    return

    def get(self) -> tuple[Any, BaseException | None]:
        with self.turn:
            while not self.ready:
                if self.stopped:
                    return None, None
                self.turn.wait()
            item = self.ready.popleft()
            self.turn.notify_all()
        return item

    def stop(self) -> None:
        """The thread ends after the batch that it is making. In another process it never was."""
        self.stopped = True
        if self.pid == os.getpid():
            with self.turn:
                self.ready.clear()
                self.turn.notify_all()


_lines: weakref.WeakSet[_Line] = weakref.WeakSet()


def _stop_all() -> None:
    """At exit: threads end between two batches, and not somewhere inside the interpreter when it goes."""
    lines = list(_lines)
    for line in lines:
        line.stop()
    for line in lines:
        if line.pid == os.getpid():
            line.thread.join(5)


atexit.register(_stop_all)


class Background(Foreground):
    """The same with a thread that makes up to `ahead` batches before they are asked for."""

    def __init__(self, make: Maker, first: int, leap: int, count: int, ahead: bool | int) -> None:
        super().__init__(make, first, leap, count)
        self._most = AHEAD if ahead is True else int(ahead)
        self._line: _Line | None = None
        self._pid = os.getpid()

    def close(self) -> None:
        super().close()
        self._end()

    def __iter__(self) -> Handle:  # type: ignore[override]
        return Handle(self)

    def _end(self) -> None:
        line, self._line = getattr(self, "_line", None), None
        if line is not None:
            line.stop()

    def __next__(self) -> Any:
        if self._pid != os.getpid():  # after a fork: no thread here, and locks as they happened to be
            self._pid = os.getpid()
            self._claims = threading.Lock()
            self._end()
        with self._claims:
            try:
                number = self._next_number()
            except StopIteration:
                self._end()
                raise
            if self._line is None:
                self._line = _Line(self._make, number, self._leap, self._count, self._most)  # type: ignore[arg-type]
            batch, error = self._line.get()
            if error is None and not self._line_stopped():
                self.taken += 1
                return batch
            self._end()
        if error is not None:
            try:
                raise error
            finally:
                error = None  # or the error and this frame would hold each other
        self._next_number()  # closed meanwhile: says so
        raise RuntimeError("the background thread of this pass has ended")

    def _line_stopped(self) -> bool:
        return self._line is None or self._line.stopped


class Handle:
    """What a loop holds of a `Background`, which its `Batches` holds too: when the loop lets go, the thread ends."""

    def __init__(self, of: Background) -> None:
        self._of = of

    def __iter__(self) -> Handle:
        return self

    def __length_hint__(self) -> int:
        return self._of.__length_hint__()

    def __next__(self) -> Any:
        return next(self._of)

    def __del__(self) -> None:
        self._of._end()
