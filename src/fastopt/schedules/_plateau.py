"""The one schedule with a state: it falls when a metric no longer gets better."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from fastopt._checks import check_choice, check_integer, check_keys, check_number
from fastopt.schedules._base import Schedule, bad_step


@dataclass
class Plateau(Schedule):
    """Multiply the value by `factor` when a metric has not improved for more than `patience` updates.

    Parameters
    ----------
    value : float
        The value until the first drop, >= 0.
    factor : float, default 0.1
        In (0, 1).
    patience : int, default 10
        Updates without improvement that are borne; the next one drops the value. >= 0.
    threshold : float, default 1e-4
        How much better than the best a metric must be to count, >= 0.
    threshold_mode : {"rel", "abs"}, default "rel"
        Whether `threshold` is a part of ``abs(best)`` or a difference.
    cooldown : int, default 0
        Updates after a drop in which bad metrics are not counted, >= 0.
    min_value : float, default 0.0
        The value never falls below this; in [0, value].
    mode : {"min", "max"}, default "min"
        Whether a smaller or a larger metric is better.

    Attributes
    ----------
    current : float
        The present value, which a call gives for every `t`.
    best : float or None
        The best metric so far; None before the first finite one.
    bad : int
        Updates without improvement since the last improvement or drop.
    waiting : int
        Updates of the cooldown that are left.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    Better means ``metric < best - d`` (``metric > best + d`` for "max"), with ``d = threshold |best|`` or
    ``d = threshold``. A metric that is NaN or infinite is no improvement. The updates are those of torch's
    ``ReduceLROnPlateau``, except that a relative threshold makes a negative metric harder to beat, not
    easier, and that no drop is left out for being small.

    Examples
    --------
    >>> lr = Plateau(0.1, factor=0.5, patience=1)
    >>> [lr.update(loss) for loss in (1.0, 0.9, 0.9, 0.9, 0.8)]
    [0.1, 0.1, 0.1, 0.05, 0.05]
    >>> lr(1)
    0.05
    """

    value: float
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    min_value: float = 0.0
    mode: str = "min"
    current: float = field(init=False)
    best: float | None = field(init=False, default=None)
    bad: int = field(init=False, default=0)
    waiting: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._number("value")
        self._number("factor", 0.0, 1.0, above=True, below=True)
        self._integer("patience", 0)
        self._number("threshold")
        check_choice("Plateau", "threshold_mode", self.threshold_mode, ("rel", "abs"))
        self._integer("cooldown", 0)
        self._number("min_value", 0.0, self.value)
        check_choice("Plateau", "mode", self.mode, ("min", "max"))
        self.current = self.value

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        return self.current

    def update(self, metric: float) -> float:
        """Tell the newest metric (a validation loss, say); gives the value from now on.

        Raises
        ------
        TypeError
            `metric` is not a number; the state is as before.
        """
        try:
            x = float(metric)
        except (TypeError, ValueError):
            raise TypeError(f"Plateau: metric is {metric!r}; a number is wanted") from None
        if self._improves(x):
            self.best, self.bad = x, 0
        else:
            self.bad += 1
        if self.waiting:
            self.waiting -= 1
            self.bad = 0
        if self.bad > self.patience:
            self.current = max(self.factor * self.current, self.min_value)
            self.waiting, self.bad = self.cooldown, 0
        return self.current

    def _improves(self, x: float) -> bool:
        if not math.isfinite(x):
            return False
        if self.best is None:
            return True
        margin = self.threshold * (abs(self.best) if self.threshold_mode == "rel" else 1.0)
        return x < self.best - margin if self.mode == "min" else x > self.best + margin

    def state_dict(self) -> dict[str, Any]:
        """What `update` changes: ``current``, ``best``, ``bad``, ``waiting``; plain numbers or None."""
        return {"current": self.current, "best": self.best, "bad": self.bad, "waiting": self.waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the state of another `Plateau`; the fields of construction stay.

        Raises
        ------
        TypeError, ValueError
            Something is missing, unknown or out of its range; the state is as before.
        """
        check_keys("Plateau", state, self.state_dict())
        current = check_number("Plateau", "state['current']", state["current"])
        best = state["best"]
        if best is not None:
            best = check_number("Plateau", "state['best']", best, -math.inf)
        bad = check_integer("Plateau", "state['bad']", state["bad"], 0)
        waiting = check_integer("Plateau", "state['waiting']", state["waiting"], 0)
        self.current, self.best, self.bad, self.waiting = current, best, bad, waiting
