"""From a table to what a network takes: learned on the training rows once, kept as JSON, applied again later.

A number column is filled with its training median where missing and standardised with the training mean and
standard deviation; a text column becomes one 0/1 feature a value seen in training. What holds no information
(one value only) or only names the row (text, hardly ever the same) is left out. All of it is said in notes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fastopt.cli.errors import Mistake, listed
from fastopt.cli.tables import Table, as_table, as_text
from fastopt.cli.targets import Target

__all__ = ["Column", "Recipe", "learn", "predict_rows", "answers", "is_numbers", "to_numbers"]

MOST_CATEGORIES = 50  # rarer values share one feature
IDENTIFIER = 0.5  # text with more distinct values than this share of the rows says nothing about other rows


@dataclass
class Column:
    """How one column becomes features; ``kind`` is "number" or "category"."""

    name: str
    kind: str
    fill: float = 0.0
    shift: float = 0.0
    scale: float = 1.0
    values: list[str] = field(default_factory=list)
    rest: bool = False  # one more feature for values that were rare in training
    absent: bool = False  # one more feature for "missing"

    @property
    def width(self) -> int:
        return 1 if self.kind == "number" else len(self.values) + self.rest + self.absent


@dataclass
class Recipe:
    """All that turns a table into features and a network's outputs into answers."""

    columns: list[Column]
    inputs: list[str]  # every column of the training table but the target, in order
    target: Target

    @property
    def width(self) -> int:
        return sum(column.width for column in self.columns)

    def to_meta(self) -> dict[str, Any]:
        return {
            "columns": [asdict(column) for column in self.columns],
            "inputs": self.inputs,
            "target": asdict(self.target),
        }

    @classmethod
    def from_meta(cls, meta: Any) -> Recipe:
        try:
            return cls(
                [Column(**column) for column in meta["columns"]],
                list(meta["inputs"]),
                Target(**meta["target"]),
            )
        except (KeyError, TypeError):
            raise Mistake(
                "the model file holds no preprocessing: it was not written by fastopt train"
            ) from None

    def features(self, table: Table, dtype: Any = np.float32) -> tuple[np.ndarray, list[str]]:
        """The features of a table's rows, shape (rows, width), and notes on what had to be mended."""
        lacking = [column.name for column in self.columns if column.name not in table.columns]
        if lacking:
            raise Mistake(
                f"{table.source} lacks column{'s' * (len(lacking) > 1)} {listed(map(repr, lacking))} "
                f"that the model was trained with; it holds {listed(table.columns)}"
            )
        out = np.zeros((table.rows, self.width), dtype)
        filled: dict[str, int] = {}
        unseen: dict[str, list[str]] = {}
        start = 0
        for column in self.columns:
            values = table.columns[column.name]
            if column.kind == "number":
                numbers = to_numbers(values, column.name)
                absent = ~np.isfinite(numbers)
                if absent.any():
                    filled[column.name] = int(absent.sum())
                    numbers = np.where(absent, column.fill, numbers)
                out[:, start] = (numbers - column.shift) / column.scale
            else:
                unknown = _one_hot(column, texts(values), out[:, start : start + column.width])
                if unknown:
                    unseen[column.name] = unknown
            start += column.width
        notes = []
        if filled:
            notes.append(f"missing numbers filled with the training median: {_counts(filled)}")
        for name, new in unseen.items():
            what = "rare" if next(c for c in self.columns if c.name == name).rest else "none of the known"
            notes.append(f"values not seen in training, taken as {what}: {name} ({listed(new, 4)})")
        return out, notes


def _one_hot(column: Column, values: np.ndarray, out: np.ndarray) -> list[str]:
    """Write the 0/1 features of a category column; return the values that training did not hold."""
    place: dict[str | None, int] = {value: j for j, value in enumerate(column.values)}
    rest = len(column.values) if column.rest else None
    if column.absent:
        place[None] = len(column.values) + column.rest
    unknown: dict[str, None] = {}
    for i, value in enumerate(values):
        j = place.get(value, None if value is None else rest)
        if j is not None:
            out[i, j] = 1.0
        if value is not None and value not in place:
            unknown[value] = None
    return [] if column.rest else list(unknown)


def learn(
    table: Table, target: Target, train: np.ndarray, categorical: Collection[str] = ()
) -> tuple[Recipe, list[str]]:
    """Learn the preprocessing from the rows `train` of a table; the notes say what was done."""
    columns: list[Column] = []
    constant: list[str] = []
    identifiers: list[str] = []
    infinite: dict[str, int] = {}
    filled: dict[str, int] = {}
    for name, values in table.columns.items():
        if (
            values.dtype == object
            and name not in categorical
            and is_numbers(values, f"column {name!r}", table.source, name)
        ):
            values = to_numbers(values, name)
        if values.dtype == object or name in categorical:
            column, words = _learn_category(name, texts(values), train)
            if column is None:
                (constant if words == "constant" else identifiers).append(name)
                continue
        else:
            numbers = to_numbers(values, name)
            bad = int(np.isinf(numbers).sum())
            if bad:
                infinite[name] = bad
            finite = np.isfinite(numbers)
            if not finite.any():
                raise Mistake(f"column {name!r} holds no value in any row; leave it out with --drop {name}")
            column = _learn_number(name, numbers[train], finite[train])
            if column is None:
                constant.append(name)
                continue
            if not finite.all():
                filled[name] = int((~finite).sum())
        columns.append(column)
    if not columns:
        raise Mistake("no column is left to learn from: each is constant or names its row")
    notes = []
    if constant:
        notes.append(f"left out, one value only: {listed(constant)}")
    if identifiers:
        notes.append(f"left out, text that is hardly ever the same: {listed(identifiers)}")
    one_hot = [f"{column.name} ({column.width})" for column in columns if column.kind == "category"]
    if one_hot:
        notes.append(f"text as 0/1 features, one a value: {listed(one_hot)}")
    rare = [column.name for column in columns if column.rest]
    if rare:
        notes.append(f"values beyond the {MOST_CATEGORIES} most frequent share one feature: {listed(rare)}")
    absent = [column.name for column in columns if column.absent]
    if absent:
        notes.append(f"missing text is a value of its own: {listed(absent)}")
    if infinite:
        notes.append(f"infinite numbers taken as missing: {_counts(infinite)}")
    if filled:
        notes.append(f"missing numbers filled with the training median: {_counts(filled)}")
    return Recipe(columns, list(table.columns), target), notes


def _learn_number(name: str, values: np.ndarray, finite: np.ndarray) -> Column | None:
    """Median, mean and deviation over the training rows; None when they hold one value only."""
    known = values[finite]
    if known.size == 0:
        return None
    fill = float(np.median(known))
    filled = np.where(finite, values, fill)
    shift, scale = float(filled.mean()), float(filled.std())
    if not scale > 1e-12 * max(abs(shift), 1e-300):
        return None
    return Column(name, "number", fill=fill, shift=shift, scale=scale)


def _learn_category(name: str, values: np.ndarray, train: np.ndarray) -> tuple[Column | None, str]:
    """The values to give a feature each, most frequent first; or None and why there is no column."""
    if all(value is None for value in values):
        raise Mistake(f"column {name!r} holds no value in any row; leave it out with --drop {name}")
    counts = Counter(values[train])
    absent = counts.pop(None, 0) > 0
    if len(counts) + absent < 2:
        return None, "constant"
    if len(counts) > max(20, IDENTIFIER * (len(train))):
        return None, "identifier"
    ranked = sorted(counts, key=lambda value: (-counts[value], value))
    rest = len(ranked) > MOST_CATEGORIES
    return Column(name, "category", values=ranked[:MOST_CATEGORIES], rest=rest, absent=absent), ""


def is_numbers(values: np.ndarray, what: str, source: str, name: str) -> bool:
    """Whether a text column holds numbers throughout; an error when it nearly does."""
    known = [(i, value) for i, value in enumerate(values) if value is not None]
    odd = [(i, value) for i, value in known if not _parses(value)]
    if not known or len(odd) > 0.5 * len(known):
        return False
    if odd:
        row, value = odd[0]
        hint = f", or take all as categories with --categorical {name}" if name else ""
        raise Mistake(
            f"{what} of {source} is numbers in {len(known) - len(odd)} rows and text in {len(odd)} "
            f"(row {row + 1}: {value!r}); mend them, or read that text as missing with --missing {value!r}"
            f"{hint}"
        )
    return True


def _parses(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return "_" not in value


def to_numbers(values: np.ndarray, name: str) -> np.ndarray:
    """A column as float64, NaN where missing; an error naming the first row that is text."""
    if values.dtype != object:
        return values.astype(np.float64, copy=False)
    numbers = np.full(len(values), np.nan)
    yes_no = {"true": 1.0, "false": 0.0}
    for i, value in enumerate(values):
        if value is None:
            continue
        if _parses(value):
            numbers[i] = float(value)
        elif value.lower() in yes_no:
            numbers[i] = yes_no[value.lower()]
        else:
            raise Mistake(f"column {name!r} holds text in row {i + 1} ({value!r}); numbers are needed")
    return numbers


def texts(values: np.ndarray) -> np.ndarray:
    """A column as str objects, None where missing."""
    if values.dtype == object:
        return values
    out = np.empty(len(values), object)
    for i, value in enumerate(values.tolist()):
        out[i] = as_text(value) if value == value else None
    return out


def _counts(numbers: dict[str, int]) -> str:
    return listed(f"{name} ({count})" for name, count in numbers.items())


def answers(model: Any, table: Table) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Classes and their probabilities, or values and None; with the notes of the preprocessing."""
    recipe = Recipe.from_meta((model.meta or {}).get("recipe"))
    features, notes = recipe.features(table, model.vector.dtype)
    target = recipe.target
    if target.task == "classification":
        probabilities = model.probabilities(features)
        return target.labels(probabilities.argmax(axis=1)), probabilities, notes
    return target.values(model.predict(features)), None, notes


def predict_rows(model: Any, rows: Any) -> np.ndarray:
    """What a model written by ``fastopt train`` says about rows as they come: preprocessing included.

    Parameters
    ----------
    model : fastopt.nn.Sequential
        From ``fo.nn.load(path)``; its ``meta`` holds the preprocessing.
    rows : path, DataFrame, dict of columns, or array of shape (rows, columns)
        The columns that training had, target aside. An array has them in the order of the training table.

    Returns
    -------
    ndarray, shape (rows,)
        The class of each row, or its value.

    Raises
    ------
    ValueError
        A column is missing or holds text where training had numbers. The message names it.
    """
    try:
        table = as_table(rows)
        if table.source == "array":
            inputs = Recipe.from_meta((model.meta or {}).get("recipe")).inputs
            if len(inputs) != len(table.columns):
                raise Mistake(f"rows has {len(table.columns)} columns; the model takes {len(inputs)}")
            table = Table(dict(zip(inputs, table.columns.values(), strict=True)), "rows")
        return answers(model, table)[0]
    except Mistake as mistake:
        raise ValueError(str(mistake)) from None
