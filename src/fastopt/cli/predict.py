"""``fastopt predict MODEL FILE``: the preprocessing and the network of a model file, applied to a table."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fastopt.cli import report
from fastopt.cli.errors import Mistake, close_names, first_line
from fastopt.cli.features import Recipe, answers, to_numbers
from fastopt.cli.files import check_place, write_whole
from fastopt.cli.tables import as_text, digits_table, read_table

__all__ = ["add_arguments", "run"]

HEADS = {"classification": ["prediction", "probability"], "regression": ["prediction"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="model.safetensors of a run, or the run's folder"
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="CSV, NPZ or Parquet with the columns of training; none: the digits, if trained on them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("predictions.csv"),
        metavar="FILE",
        help="default predictions.csv; - for the terminal",
    )
    parser.add_argument(
        "--missing", metavar="TEXT", action="append", default=[], help="text that means missing (repeatable)"
    )
    parser.add_argument(
        "--no-header", action="store_true", help="the CSV has no header line; columns are c1, c2, ..."
    )


def run(args: argparse.Namespace) -> int:
    model = load_model(args.model)
    meta = model.meta
    recipe = Recipe.from_meta(meta.get("recipe"))
    heads = HEADS[recipe.target.task]
    to_terminal = str(args.out) == "-"
    if not to_terminal:
        check_place(
            args.out,
            lambda start: start.splitlines()[:1] in ([",".join(h).encode()] for h in HEADS.values()),
            "table of predictions",
        )
    if args.file is not None:
        table = read_table(args.file, args.missing, header=not args.no_header)
    elif meta.get("data") == "digits":
        table, _ = digits_table()
    else:
        raise Mistake(f"which rows? Give FILE with the columns of {meta.get('data', 'the training table')}")
    truth = table.columns.pop(recipe.target.name, None)
    labels, probabilities, notes = answers(model, table)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(heads)
    if probabilities is not None:
        for label, probability in zip(labels.tolist(), probabilities.max(axis=1).tolist(), strict=True):
            writer.writerow([as_text(label), f"{probability:.6g}"])
    else:
        writer.writerows([[repr(value)] for value in labels.tolist()])
    if to_terminal:
        sys.stdout.write(buffer.getvalue())
        return 0
    write_whole(args.out, buffer.getvalue().encode())
    out = report.console()
    rows = [("note", note) for note in [*table.notes, *notes]]
    rows.append(("written", f"{args.out}: {len(labels)} predictions of {recipe.target.name}"))
    if truth is not None:
        rows.append(("score", agreement(recipe, truth, labels)))
    report.print_pairs(out, rows)
    return 0


def load_model(path: Path) -> Any:
    """A model that ``fastopt train`` has written, or a mistake."""
    from fastopt import nn

    if path.is_dir():
        path = path / "model.safetensors"
    if not path.exists():
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise Mistake(f"no model file {str(path)!r}{close_names(path.name, beside)}")
    try:
        model = nn.load(path)
    except Exception as error:  # whatever a foreign file makes the reader say
        raise Mistake(first_line(error)) from None
    if not isinstance(model.meta, dict) or "recipe" not in model.meta:
        raise Mistake(f"{str(path)!r} holds no preprocessing: it was not written by fastopt train")
    return model


def agreement(recipe: Recipe, truth: np.ndarray, labels: np.ndarray) -> str:
    """How far the predictions agree with the target column, when the file has it."""
    target = recipe.target
    if target.task == "classification":
        same = [
            t is not None and as_text(t) == as_text(p)
            for t, p in zip(truth.tolist(), labels.tolist(), strict=True)
        ]
        return f"the file holds {target.name}: accuracy {100 * np.mean(same):.2f} %"
    error = to_numbers(truth, target.name) - labels
    known = error[np.isfinite(error)]
    if known.size == 0:
        return f"the file's {target.name} holds no value to compare with"
    return f"the file holds {target.name}: RMSE {np.sqrt(np.mean(known**2)):.4g}"
