"""The column that is predicted: which task it makes, its classes or its scale, and how the rows are split.

Rule for the task when it is not told: text and true/false are classes; whole numbers are classes when there
are at most 20 different ones and at least 5 rows a value on average; all else is regression.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastopt.cli.errors import Mistake
from fastopt.cli.tables import as_text

__all__ = ["Target", "learn_target", "split_rows"]

MOST_CLASSES = 20
ROWS_A_CLASS = 5
FEWEST_ROWS = 10


@dataclass
class Target:
    """What is predicted; ``task`` is "classification" or "regression"."""

    name: str
    task: str
    classes: list[Any] = field(default_factory=list)
    shift: float = 0.0
    scale: float = 1.0
    why: str = ""

    @property
    def width(self) -> int:
        return len(self.classes) if self.task == "classification" else 1

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Class numbers of a column; -1 where the class is not one of these."""
        place = {as_text(value): k for k, value in enumerate(self.classes)}
        return np.array([place.get(as_text(value), -1) for value in values.tolist()], np.int64)

    def labels(self, codes: np.ndarray) -> np.ndarray:
        """Class numbers as the classes themselves."""
        return np.array(self.classes)[codes]

    def scaled(self, values: np.ndarray, dtype: Any) -> np.ndarray:
        """A number column as the network learns it: standardised, shape (rows, 1)."""
        return ((values.astype(np.float64) - self.shift) / self.scale).astype(dtype)[:, None]

    def values(self, outputs: np.ndarray) -> np.ndarray:
        """The network's outputs in the units of the column, float64."""
        return outputs.reshape(-1).astype(np.float64) * self.scale + self.shift


def learn_target(name: str, values: np.ndarray, task: str | None) -> Target:
    """Check the target column and find its task; the scale of a regression is set by `with_scale`."""
    number = values.dtype != object
    absent = ~np.isfinite(values.astype(np.float64)) if number else np.array([v is None for v in values])
    if absent.any():
        raise Mistake(
            f"target {name!r} is missing in {int(absent.sum())} of {len(values)} rows "
            f"(first: row {int(absent.argmax()) + 1}); fill them in or leave those rows out"
        )
    if len(values) < FEWEST_ROWS:
        raise Mistake(
            f"{len(values)} rows are too few to train, validate and test; at least {FEWEST_ROWS} are wanted"
        )
    distinct = np.unique(values) if number else np.array(sorted(set(values)), object)
    if len(distinct) == 1:
        raise Mistake(f"target {name!r} is {as_text(distinct[0])!r} in every row; there is nothing to learn")
    whole = number and bool((distinct == np.floor(distinct)).all())
    if task == "regression" and not number:
        raise Mistake(
            f"target {name!r} holds text ({as_text(values[0])!r} in row 1); regression needs numbers"
        )
    if task is not None:
        found, why = task, "as told"
    elif not number or values.dtype == bool:
        found, why = "classification", "text" if not number else "true/false"
    elif whole and len(distinct) <= MOST_CLASSES and len(values) >= ROWS_A_CLASS * len(distinct):
        found, why = "classification", f"{len(distinct)} different whole numbers; --task regression to change"
    else:
        found, why = "regression", "numbers; --task classification to change"
    if found == "regression":
        return Target(name, found, why=why)
    if len(distinct) > max(MOST_CLASSES, len(values) // 2):
        raise Mistake(
            f"target {name!r} has {len(distinct)} different values in {len(values)} rows: no classes to learn"
        )
    if number and values.dtype != bool:
        classes = [int(value) if whole else float(value) for value in distinct]
    else:
        classes = distinct.tolist()
    return Target(name, found, classes, why=why)


def split_rows(
    codes: np.ndarray | None, rows: int, validation: float, test: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows for training, validation and test, each sorted; with `codes`, the same shares of every class.

    A class keeps at least one row in training. What rounding leaves over is carried from class to class, so
    that the whole has its shares too.
    """
    groups = [np.arange(rows)] if codes is None else [np.flatnonzero(codes == k) for k in np.unique(codes)]
    parts: list[list[np.ndarray]] = [[], [], []]
    owed_validation = owed_test = 0.0
    for group in groups:
        group = rng.permutation(group)
        owed_test += test * len(group)
        n_test = max(0, min(round(owed_test), len(group) - 1))
        owed_test -= n_test
        owed_validation += validation * len(group)
        n_validation = max(0, min(round(owed_validation), len(group) - 1 - n_test))
        owed_validation -= n_validation
        for part, piece in zip(
            parts, np.split(group, [len(group) - n_validation - n_test, len(group) - n_test]), strict=True
        ):
            part.append(piece)
    train, valid, tests = (np.sort(np.concatenate(part)) for part in parts)
    for what, chosen in (("training", train), ("validation", valid), ("test", tests)):
        if len(chosen) == 0:
            raise Mistake(f"{rows} rows leave none for {what}; more rows are wanted")
    return train, valid, tests


def with_scale(target: Target, values: np.ndarray) -> Target:
    """A regression's target standardised by its training rows (left alone when they are all equal)."""
    numbers = values.astype(np.float64)
    shift, scale = float(numbers.mean()), float(numbers.std())
    if not scale > 0.0:
        raise Mistake(
            f"target {target.name!r} has one value only in the training rows; there is nothing to learn"
        )
    return Target(target.name, target.task, target.classes, shift, scale, target.why)
