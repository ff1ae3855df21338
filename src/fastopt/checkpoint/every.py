"""Saving now and then, and going on: what a training loop needs of checkpoints, in three calls."""

from __future__ import annotations

import os
import re
from time import monotonic
from typing import Any, NamedTuple

from fastopt._checks import check_integer
from fastopt.checkpoint.load import load
from fastopt.checkpoint.save import Saving, save

__all__ = ["Checkpointer", "Interval", "interval"]

UNITS = {
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), ("seconds", 1.0)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), ("seconds", 60.0)),
    **dict.fromkeys(("h", "hour", "hours"), ("seconds", 3600.0)),
    **dict.fromkeys(("step", "steps"), ("steps", 1.0)),
    **dict.fromkeys(("epoch", "epochs"), ("epochs", 1.0)),
}


class Interval(NamedTuple):
    """So many seconds, steps or epochs."""

    number: float
    unit: str


def interval(every: str | float) -> Interval:
    """Read ``"30s"``, ``"5min"``, ``"2h"``, ``"100 steps"``, ``"1 epoch"``, or a number of seconds."""
    wanted = (
        "a time, or a number of steps or epochs, as '30s', '5min', '2h', '100 steps', '1 epoch', is wanted"
    )
    if isinstance(every, bool) or not isinstance(every, (str, int, float)):
        raise TypeError(f"every is {every!r}; {wanted}")
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", str(every))
    if not found or found[2] not in UNITS:
        raise ValueError(f"every is {every!r}; {wanted}")
    unit, factor = UNITS[found[2]]
    count = float(found[1]) * factor
    if count == 0 or (unit != "seconds" and count != int(count)):
        raise ValueError(f"every is {every!r}; {wanted}")
    return Interval(count, unit)


class Checkpointer:
    """Saves the same parts again and again, whenever it is time.

    Parameters
    ----------
    path : path-like
        As for `fastopt.save`.
    every : str or float, default "30s"
        Between two saves: seconds (``"30s"``, ``"5min"``, ``"2h"``, a number), ``"100 steps"`` or ``"1 epoch"``.
    keep : int, default 1
        As for `fastopt.save`.
    background : bool, default True
        As for `fastopt.save`.
    **parts
        What changes in place: arrays, objects with a state, generators, dicts and lists. (A plain number would be
        saved as it is now for ever.)

    Examples
    --------
    >>> import fastopt as fo, numpy as np, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> params = {"w": np.ones(3)}
    >>> opt, batches = fo.Adam(params), fo.Batches(np.eye(3), size=1, rng=0)
    >>> checkpointer = fo.checkpoint.Checkpointer(path, "2 steps", params=params, opt=opt, batches=batches)
    >>> checkpointer.resume()      # True when there was something to go on from
    False
    >>> for epoch in range(batches.epoch, 2):
    ...     for xb in batches:
    ...         _ = opt.step({"w": params["w"] - xb[0]})
    ...         _ = checkpointer.step()
    ...     _ = checkpointer.epoch()
    >>> checkpointer.save()        # the end of the run
    >>> checkpointer.resume()
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        /,
        every: str | float = "30s",
        *,
        keep: int = 1,
        background: bool = True,
        **parts: Any,
    ) -> None:
        for name, value in parts.items():
            if value is None or isinstance(value, (bool, int, float, str, bytes, tuple)):
                raise TypeError(
                    f"Checkpointer: {name} is {type(value).__name__}, which cannot change in place; "
                    "put it into a dict or an array"
                )
        self.path, self.parts = path, parts
        self.every = interval(every)
        self.keep = check_integer("Checkpointer", "keep", keep, 1)
        self.background = background
        self._saving: Saving | None = None
        self._begin()

    def _begin(self) -> None:
        self._since = monotonic()
        self._steps = self._epochs = 0

    def resume(self) -> bool:
        """Load the file into the parts, if it is there; whether it was. Errors as of `fastopt.load`."""
        self.wait()
        if not os.path.exists(self.path):
            return False
        load(self.path, **self.parts)
        self._begin()
        return True

    def step(self) -> bool:
        """Tell that a step is complete; save if it is time. Whether it was."""
        self._steps += 1
        due = (
            monotonic() - self._since >= self.every.number
            if self.every.unit == "seconds"
            else self.every.unit == "steps" and self._steps >= self.every.number
        )
        return self._save_if(due)

    def epoch(self) -> bool:
        """Tell that an epoch is complete, and what belongs to its end; save if it is time. Whether it was."""
        self._epochs += 1
        return self._save_if(self.every.unit == "epochs" and self._epochs >= self.every.number)

    def _save_if(self, due: bool) -> bool:
        if due:
            self._write(self.background)
        return due

    def save(self) -> None:
        """Save now, and wait until it is on disk."""
        self._write(False)

    def wait(self) -> None:
        """Wait for a save that is under way in the background; raises what it failed with."""
        saving, self._saving = self._saving, None
        if saving is not None:
            saving.wait()

    def _write(self, background: bool) -> None:
        self.wait()
        if background:
            self._saving = save(self.path, keep=self.keep, background=True, **self.parts)
        else:
            save(self.path, keep=self.keep, **self.parts)
        self._begin()
