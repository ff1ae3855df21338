"""From the arguments to arrays: read, find the task, split, preprocess. For train and compare."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastopt.cli.arguments import share
from fastopt.cli.errors import Mistake, close_names, listed
from fastopt.cli.features import Recipe, is_numbers, learn, to_numbers
from fastopt.cli.tables import digits_table, read_table
from fastopt.cli.targets import learn_target, split_rows, with_scale
from fastopt.cli.training import Score, score

__all__ = ["Prepared", "prepare", "add_data_arguments"]

PARTS = ("train", "validation", "test")


@dataclass
class Prepared:
    """Features and targets of the three parts, the recipe that made them, and what to say about it."""

    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    recipe: Recipe
    source: str
    rows: int
    raw_columns: int
    notes: list[str] = field(default_factory=list)

    @property
    def is_classes(self) -> bool:
        return self.recipe.target.task == "classification"

    def score(self, model: Any, part: str) -> Score:
        """How well `model` does on one of the three parts."""
        scale = None if self.is_classes else self.recipe.target.scale
        return score(model, self.x[part], self.y[part], scale)


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which data is learned from."""
    data = parser.add_argument_group("data")
    data.add_argument(
        "file", nargs="?", metavar="FILE", help="CSV, NPZ or Parquet; none: the digits inside the package"
    )
    data.add_argument(
        "--target", metavar="NAME", help="the column (or NPZ array) to predict; y in an NPZ file"
    )
    data.add_argument(
        "--task", choices=["classification", "regression"], help="default: found from the target"
    )
    data.add_argument("--drop", metavar="A,B", default="", help="columns to leave out")
    data.add_argument("--categorical", metavar="A,B", default="", help="number columns to take as categories")
    data.add_argument(
        "--missing", metavar="TEXT", action="append", default=[], help="text that means missing (repeatable)"
    )
    data.add_argument(
        "--no-header", action="store_true", help="the CSV has no header line; columns are c1, c2, ..."
    )
    data.add_argument(
        "--validation", type=share, default=0.15, metavar="SHARE", help="of the rows (default 0.15)"
    )
    data.add_argument("--test", type=share, default=0.15, metavar="SHARE", help="of the rows (default 0.15)")


def prepare(args: argparse.Namespace, seed: int, dtype: str) -> Prepared:
    """Read and prepare the data that the arguments name."""
    if args.validation + args.test >= 1.0:
        raise Mistake("--validation and --test together leave no rows for training")
    if args.file is None:
        if args.target is not None:
            raise Mistake("--target needs a FILE; without one the digits inside the package are learned")
        target_name: str | None
        table, target_name = digits_table()
        source = "digits (UCI optical digits, inside the package)"
    else:
        table = read_table(args.file, args.missing, header=not args.no_header)
        source = str(args.file)
        target_name = args.target
        if target_name is None:
            target_name = next(
                (name for name in ("y", "Y", "target", "label", "labels") if name in table.columns), None
            )
            if target_name is None:
                raise Mistake(
                    f"which column is to be predicted? Give --target NAME; columns: {listed(table.columns)}"
                )
            table.notes.append(f"no --target given: column {target_name!r} is predicted")
    values = table.take_out(target_name)
    for option in ("drop", "categorical"):
        for name in names(getattr(args, option)):
            if name not in table.columns:
                raise Mistake(
                    f"--{option}: {table.source} has no column {name!r}{close_names(name, table.columns)}"
                )
    for name in names(args.drop):
        del table.columns[name]
    if not table.columns:
        raise Mistake(f"{table.source} has no column besides the target {target_name!r}")
    if values.dtype == object and is_numbers(values, f"target {target_name!r}", table.source, ""):
        values = to_numbers(values, target_name)
    target = learn_target(target_name, values, args.task)
    classes = target.task == "classification"
    codes = target.codes(values) if classes else None
    rng = np.random.default_rng(seed)
    chosen = dict(zip(PARTS, split_rows(codes, len(values), args.validation, args.test, rng), strict=True))
    raw_columns = len(table.columns)
    if not classes:
        target = with_scale(target, values[chosen["train"]])
    recipe, notes = learn(table, target, chosen["train"], names(args.categorical))
    features, more = recipe.features(table, np.dtype(dtype))
    notes += [note for note in more if note.startswith("values not seen")]
    answers = codes if codes is not None else target.scaled(values, np.dtype(dtype))
    return Prepared(
        {part: features[rows] for part, rows in chosen.items()},
        {part: answers[rows] for part, rows in chosen.items()},
        recipe, source, len(values), raw_columns, table.notes + notes,
    )  # fmt: skip


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
