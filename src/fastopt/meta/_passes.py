"""Passes over batches that bring nothing: a resumed one may be empty, or all skipped; two in a row are an error."""

from __future__ import annotations

__all__ = ["Passes"]


class Passes:
    """Counts passes in vain, for a loop that would else never end."""

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.empty = self.idle = 0

    def ended(self, tried: bool, stepped: bool) -> None:
        """A pass is over: whether it had batches, and whether a step was taken.

        Raises
        ------
        ValueError, RuntimeError
            The second pass in a row without batches, or without a step.
        """
        self.empty = 0 if tried else self.empty + 1
        self.idle = self.idle + 1 if tried and not stepped else 0
        if self.empty > 1:
            raise ValueError(
                f"{self.owner}: batches gave nothing; an iterable that can be iterated again is wanted"
            )
        if self.idle > 1:
            raise RuntimeError(f"{self.owner}: two passes without a step; every gradient held Inf or NaN")
