"""What a monitor keeps of a run: bounded memory, however many steps there are.

Steps are gathered into bins of equal numbers of steps. When the bins are full, neighbours are joined two by two and
a bin takes twice as many steps: counts, sums, least and greatest are joined exactly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["FIELDS", "PATH_FIELDS", "Series"]

#: name -> how two bins become one
FIELDS = {
    "steps": np.add,
    "loss_count": np.add, "loss_sum": np.add, "loss_min": np.fmin, "loss_max": np.fmax, "loss_bad": np.add,
    "norm_count": np.add, "norm_sum": np.add, "norm_max": np.fmax, "norm_min": np.fmin,
    "clipped": np.add, "skipped": np.add, "nonfinite": np.add,
}  # fmt: skip
#: Of every path: sums over the bin, and how many went into the sum of cosines.
PATH_FIELDS = ("grad_norm", "param_norm", "update_norm", "update_ratio", "cosine", "cosine_count", "count")


class Series:
    """Bins of steps.

    Parameters
    ----------
    paths : sequence of str
        Of the parameters.
    capacity : int
        Bins at most; even.

    Attributes
    ----------
    steps : int
        Steps told so far.
    width : int
        Steps a bin.
    bins : int
        Bins in use.
    fields : dict of ndarray, each shape (capacity,)
    path_fields : ndarray, shape (capacity, paths, fields)
        Empty of paths where no diagnostics came.
    """

    def __init__(self, paths: int, capacity: int) -> None:
        self.capacity = capacity
        self.steps, self.width = 0, 1
        self.fields = {name: np.zeros(capacity) for name in FIELDS}
        for name in ("loss_min", "loss_max", "norm_max", "norm_min"):
            self.fields[name][:] = np.nan
        self.path_fields = np.zeros((capacity, paths, len(PATH_FIELDS)))

    @property
    def bins(self) -> int:
        return -(-self.steps // self.width)

    def extend(self, rows: Mapping[str, np.ndarray], per_path: np.ndarray | None) -> None:
        """Add steps: each field an array over them; `per_path` of shape (steps, paths, fields)."""
        count = len(rows["steps"])
        done = 0
        while done < count:
            if self.steps == self.capacity * self.width:
                self._join()
            here = min(count - done, self.capacity * self.width - self.steps)
            part = slice(done, done + here)
            at = (np.arange(here) + self.steps) // self.width
            starts = np.flatnonzero(np.r_[True, at[1:] != at[:-1]])
            where = at[starts]
            for name, join in FIELDS.items():
                column = self.fields[name]
                column[where] = join(column[where], join.reduceat(rows[name][part], starts))
            if per_path is not None and per_path.shape[1]:
                self.path_fields[where] += np.add.reduceat(per_path[part], starts, axis=0)
            self.steps += here
            done += here

    def _join(self) -> None:
        half = self.capacity // 2
        for name, join in FIELDS.items():
            column = self.fields[name]
            column[:half] = join(column[::2], column[1::2])
            column[half:] = math.nan if name.endswith(("min", "max")) else 0.0
        self.path_fields[:half] = self.path_fields[::2] + self.path_fields[1::2]
        self.path_fields[half:] = 0.0
        self.width *= 2

    # ---- what is read off ----

    @property
    def at(self) -> np.ndarray:
        """The middle step of each bin, counted from 1."""
        full = self.fields["steps"][: self.bins]
        return np.arange(self.bins) * self.width + (full + 1) / 2

    def mean(self, name: str) -> np.ndarray:
        """Mean of ``loss`` or ``norm`` in each bin; NaN where none came."""
        count = self.fields[f"{name}_count"][: self.bins]
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.fields[f"{name}_sum"][: self.bins] / np.where(count > 0, count, np.nan)

    def column(self, name: str) -> np.ndarray:
        return self.fields[name][: self.bins]

    def path_mean(self, name: str) -> np.ndarray:
        """Mean of a field in each bin, for each path: shape (bins, paths); NaN where none came."""
        count = "cosine_count" if name == "cosine" else "count"
        counts = self.path_fields[: self.bins, :, PATH_FIELDS.index(count)]
        with np.errstate(invalid="ignore", divide="ignore"):
            sums = self.path_fields[: self.bins, :, PATH_FIELDS.index(name)]
            return sums / np.where(counts > 0, counts, np.nan)

    # ---- saving ----

    def state_dict(self) -> dict[str, Any]:
        return {
            "steps": self.steps,
            "width": self.width,
            "fields": {name: column[: self.bins].copy() for name, column in self.fields.items()},
            "paths": self.path_fields[: self.bins].copy(),
        }

    def from_state(self, state: Any) -> Series:
        """A new series of this size from a saved state; ValueError for one of something else."""
        if not isinstance(state, Mapping) or set(state) != {"steps", "width", "fields", "paths"}:
            raise ValueError("the series has other entries than steps, width, fields and paths")
        steps, width = state["steps"], state["width"]
        for name, value in (("steps", steps), ("width", width)):
            if isinstance(value, bool) or not isinstance(value, int) or value < (name == "width"):
                raise ValueError(f"its {name} is {value!r}")
        if width & (width - 1) or steps > self.capacity * width:
            raise ValueError(f"{steps} steps do not go into {self.capacity} bins of {width}")
        new = Series(self.path_fields.shape[1], self.capacity)
        new.steps, new.width = steps, width
        fields = state["fields"]
        if not isinstance(fields, Mapping) or set(fields) != set(FIELDS):
            raise ValueError("its fields have other names")
        for name, column in new.fields.items():
            _fill(name, column, fields[name], new.bins)
        _fill("paths", new.path_fields, state["paths"], new.bins)
        return new


def _fill(name: str, into: np.ndarray, given: Any, bins: int) -> None:
    wanted = (bins, *into.shape[1:])
    if not isinstance(given, np.ndarray) or given.shape != wanted or given.dtype != np.float64:
        raise ValueError(f"its {name} is no float64 array of shape {wanted}")
    into[:bins] = given
