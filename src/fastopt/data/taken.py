"""Rows of sources that are not arrays, converted and scaled as those of arrays are."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["Taken"]


class Taken:
    """A source of the user, for `Gather`: ``rows(indices)``.

    Parameters
    ----------
    name : str
        For errors.
    source : object
        From `fastopt.data.sources.as_source`, which sees to it that ``take`` gives what it should.
    wanted : dtype or None
        What batches are converted to; None: what the source gives.
    floats_only : bool
        Only if the source gives floating numbers.
    factor : float or None
        What they are multiplied by, after that.
    """

    def __init__(
        self, name: str, source: Any, wanted: np.dtype[Any] | None, floats_only: bool, factor: float | None
    ) -> None:
        self.name, self.source, self.wanted = name, source, wanted
        self.floats_only, self.factor = floats_only, factor
        self.length = len(source)
        advise = getattr(source, "advise", None)
        self.advise = advise if callable(advise) else None

    def rows(self, indices: np.ndarray) -> Any:
        found = self.source.take(indices)
        target = self.wanted
        if target is not None and (found.dtype.kind == "f" or not self.floats_only) and target != found.dtype:
            if not np.can_cast(found.dtype, target, "same_kind"):
                raise TypeError(f"{self.name}.take gave {found.dtype}, which does not go into {target}")
            found = found.astype(target)
        if self.factor is None:
            return found
        if found.dtype.kind not in "fc":
            raise TypeError(
                f"scale is for {self.name}, whose batches are {found.dtype}; give a floating dtype too"
            )
        return found * found.dtype.type(self.factor)

    def __repr__(self) -> str:
        dtype, shape = getattr(self.source, "dtype", None), getattr(self.source, "shape", (self.length,))
        return (
            f"{type(self.source).__name__} {shape}"
            if dtype is None
            else f"{type(self.source).__name__} {dtype} {shape}"
        )
