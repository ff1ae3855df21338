"""How long nothing better may come: the counting that early stopping and late averaging share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fastopt._checks import check_choice, check_integer, check_number

__all__ = ["Metric", "Patience"]

#: A number, or several of which each counts only where all before it are equal.
Metric = float | tuple[float, ...]


class Patience:
    """Counts the values since the best one."""

    def __init__(self, owner: str, patience: int | None, min_delta: float, mode: str) -> None:
        self.owner = owner
        self.patience = None if patience is None else check_integer(owner, "patience", patience, 1)
        self.min_delta = check_number(owner, "min_delta", min_delta)
        self.mode = check_choice(owner, "mode", mode, ("min", "max"))
        self.best: Metric | None = None
        self.bad = 0

    @property
    def spent(self) -> bool:
        """Whether `patience` values in a row brought nothing better."""
        return self.patience is not None and self.bad >= self.patience

    def read(self, metric: Any) -> Metric:
        """A metric as a float, or as a tuple of floats. TypeError for anything else, ValueError for another length."""
        parts = metric if isinstance(metric, (tuple, list)) else (metric,)
        try:
            numbers = tuple(float(x) for x in parts)
        except (TypeError, ValueError):
            numbers = ()
        if not numbers:
            raise TypeError(
                f"{self.owner}: metric is {metric!r:.80}; a number or a tuple of numbers is wanted"
            )
        if not isinstance(metric, (tuple, list)):
            value: Metric = numbers[0]
        elif self.min_delta:
            raise TypeError(
                f"{self.owner}: metric is {metric!r:.80}; with min_delta a single number is wanted"
            )
        else:
            value = numbers
        if self.best is not None and _length(value) != _length(self.best):
            raise ValueError(
                f"{self.owner}: metric is {metric!r:.80}; it was {self.best!r} before, and must keep its length"
            )
        return value

    def update(self, value: Metric) -> bool:
        """Count a value from `read`; whether it is the best so far. NaN and infinity never are."""
        better = self._better(value)
        if better:
            self.best, self.bad = value, 0
        else:
            self.bad += 1
        return better

    def _better(self, value: Metric) -> bool:
        if not all(map(math.isfinite, value if isinstance(value, tuple) else (value,))):
            return False
        if self.best is None:
            return True
        if isinstance(value, tuple):
            return value < self.best if self.mode == "min" else value > self.best  # type: ignore[operator]
        assert not isinstance(self.best, tuple)
        gain = self.best - value if self.mode == "min" else value - self.best
        return gain > self.min_delta

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "bad": self.bad}

    def check_state(self, state: Mapping[str, Any]) -> tuple[Metric | None, int]:
        """Best and count of a saved state; the error where it is none."""
        best = state["best"]
        if best is not None:
            if isinstance(best, (tuple, list)):
                name = f"{self.owner}: state['best']"
                best = tuple(check_number(name, str(i), x, -math.inf) for i, x in enumerate(best))
            else:
                best = check_number(self.owner, "state['best']", best, -math.inf)
        return best, check_integer(self.owner, "state['bad']", state["bad"], 0)


def _length(value: Metric) -> int:
    return len(value) if isinstance(value, tuple) else 0
