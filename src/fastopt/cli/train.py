"""``fastopt train``: a network learned from a table, with its scores, its picture and its model file."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastopt.cli import choices, pictures, report
from fastopt.cli.arguments import fraction, hidden_sizes, positive, whole, whole_from_0
from fastopt.cli.diagnose import DIAGNOSIS, Diagnosis, is_our_diagnosis
from fastopt.cli.errors import Mistake, first_line, listed, need
from fastopt.cli.files import write_whole
from fastopt.cli.prepare import PARTS, Prepared, add_data_arguments, prepare
from fastopt.cli.resuming import Resumable, add_checkpoint_arguments, check_options
from fastopt.cli.training import Course, Diverged, History, Score, train

__all__ = ["add_arguments", "run"]

MADE_BY = "fastopt train"
MODEL, CURVE = "model.safetensors", "curve.png"

EPILOG = """\
The rows are split by --seed (classes in equal shares); columns are standardised with the training rows' mean
and deviation; text columns become 0/1 features, missing numbers the training median. The task is
classification when the target is text, true/false, or at most 20 different whole numbers with 5 rows a value
or more; else regression. The weights kept are those of the epoch with the best validation score (accuracy,
then loss; for a regression the loss); Ctrl-C stops the run and keeps them.
With --checkpoint FILE a run may end at any moment, by Ctrl-C, kill -9 or loss of power: the same command with
--resume goes on from the last save and ends as if nothing had been. Only --epochs may then be another (without
--schedule), and what has no part in the result.
--out DIR gets curve.png and model.safetensors. An earlier run there is replaced; a folder that holds anything
else and no such run is refused. With --diagnose it also gets diagnosis.png and diagnosis.html: what holds the run
back (Deep Learning, 8.2), by the steps themselves and, at the end, by the function; of a run that diverged too.

  fastopt train data.csv --target price --hidden 256,128 --optimizer adamw --opt weight_decay=0.05
  fastopt train data.csv --checkpoint run.safetensors --every 30s --resume
  fastopt train data.csv --lr 0.3 --optimizer sgd --diagnose
  fastopt train --optimizer sgd --opt momentum=0.9 --lr 0.1 --schedule warmup_cosine:warmup=0.1 --epochs 60
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    add_data_arguments(parser)
    model = parser.add_argument_group("network")
    model.add_argument(
        "--hidden",
        type=hidden_sizes,
        default=(128, 64),
        metavar="N,M",
        help="sizes of the hidden layers (default 128,64; 0: none)",
    )
    model.add_argument("--activation", default="relu", choices=["relu", "tanh", "sigmoid", "gelu"])
    model.add_argument("--dropout", type=fraction, default=0.0, metavar="P", help="after each hidden layer")
    model.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    method = parser.add_argument_group("method")
    method.add_argument(
        "--optimizer",
        default="adam",
        metavar="NAME",
        help=", ".join(choices.optimizer_names()) + " (default adam)",
    )
    method.add_argument(
        "--opt",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a field of the optimizer (repeatable): --opt betas=0.9,0.99",
    )
    method.add_argument("--lr", type=positive, metavar="LR", help="learning rate (default: the optimizer's)")
    method.add_argument(
        "--schedule",
        metavar="NAME[:KEY=VALUE,...]",
        help="of the learning rate over the run: cosine, linear, warmup_cosine, one_cycle, step, ...; "
        "counts of steps below 1 are shares of the run",
    )
    method.add_argument(
        "--convention",
        default="torch",
        choices=["torch", "book", "keras", "optax"],
        help="whose defaults and formulas (default torch)",
    )
    method.add_argument("--batch-size", type=whole, default=32, metavar="N", help="default 32")
    method.add_argument("--epochs", type=whole, default=40, metavar="N", help="default 40")
    method.add_argument("--clip-norm", type=positive, metavar="C", help="clip the gradient's global norm")
    method.add_argument("--clip-value", type=positive, metavar="C", help="clip each entry of the gradient")
    method.add_argument(
        "--average", metavar="ema:DECAY|mean", help="judge and keep an average of the weights"
    )
    method.add_argument(
        "--early-stopping",
        type=whole,
        metavar="EPOCHS",
        help="stop after so many epochs without a better validation score",
    )
    method.add_argument(
        "--seed",
        type=whole_from_0,
        default=0,
        metavar="N",
        help="of split, first weights and order (default 0)",
    )
    method.add_argument(
        "--threads", type=whole, metavar="N", help="for the library and, with threadpoolctl, for BLAS"
    )
    add_checkpoint_arguments(parser)
    result = parser.add_argument_group("result")
    result.add_argument(
        "--out", type=Path, default=Path("fastopt-run"), metavar="DIR", help="default fastopt-run"
    )
    result.add_argument(
        "--diagnose",
        action="store_true",
        default=None,
        help="watch the run and say what holds it back: verdicts, diagnosis.png, diagnosis.html",
    )
    result.add_argument("--quiet", action="store_true", help="print the scores and nothing else")


def run(args: argparse.Namespace) -> int:
    out = report.console()
    need("matplotlib", "drawing the picture")
    check_options(args)
    replaced = check_folder(args.out)
    set_threads(args.threads)
    fields = choices.parse_fields(args.opt, "--opt")
    choices.resolve_optimizer(args.optimizer, fields)
    average = choices.build_average(args.average)
    data = prepare(args, args.seed, args.dtype)
    model = build_model(args, data, args.seed)
    batches = build_batches(data, args.batch_size, args.seed)
    total = args.epochs * len(batches)

    def optimizer(lr: Any) -> Any:
        return choices.build_optimizer(
            args.optimizer, model.params, lr, fields,
            convention=args.convention, clip_norm=args.clip_norm, clip_value=args.clip_value, average=average,
            **({"diagnostics": True} if args.diagnose else {}),
        )  # fmt: skip

    lr = args.lr if args.lr is not None else choices.default_lr(optimizer(None))
    schedule: Any = choices.build_schedule(args.schedule, lr, total) if args.schedule else None
    opt = optimizer(lr if schedule is None else schedule)
    course = Course()
    diagnosis = (
        Diagnosis(model, opt, build_model(args, data, args.seed, dropout=0.0), data)
        if args.diagnose
        else None
    )
    watched = {} if diagnosis is None else {"monitor": diagnosis.monitor}
    resumable = None
    if args.checkpoint is not None:
        resumable = Resumable(args, data, course, model=model, opt=opt, batches=batches, **watched)
    resumed = resumable is not None and args.resume and resumable.resume()
    if not args.quiet:
        rows = heading(args, data, model, fields, lr, batches)
        if resumed:
            rows.append(("resumed", f"{args.checkpoint}, after {course.history.steps} steps"))
        report.print_pairs(out, rows)
        out.print()

    def after_epoch() -> None:
        if diagnosis is not None:
            diagnosis.after_epoch(len(course.history.validation))
        if resumable is not None:
            over = len(course.history.validation) >= args.epochs or course.early.stopped
            resumable.finish() if over else resumable.after_epoch()

    progress = report.Progress(out, args.epochs, len(batches), data.is_classes, args.quiet)
    with progress, resumable.held() if resumable is not None else nullcontext():
        try:
            history = train(
                model, opt, batches,
                lambda: data.score(model, "validation"),
                args.epochs,
                patience=args.early_stopping, averaged=average is not None,
                on_epoch=(lambda s: schedule.update(s.loss)) if hasattr(schedule, "update") else None,
                show=progress.show, done=progress.done, course=course,
                after_step=resumable.after_step if resumable is not None else None, after_epoch=after_epoch,
                watch=diagnosis.watch if diagnosis is not None else None,
            )  # fmt: skip
        except Diverged as lost:
            told = ""
            if diagnosis is not None:
                page = write_diagnosis(args.out, diagnosis.of_lost_run(lost))[-1]
                told = f" ({page} says more)"
            raise Mistake(f"the run diverged: {lost}; {remedy(args, lr, optimizer)}{told}") from None
    found = None if diagnosis is None else diagnosis.report(out.is_terminal and not args.quiet)
    scores = {part: data.score(model, part) for part in PARTS}
    written = write(args, data, model, history, scores, lr)
    if found is not None:
        written += write_diagnosis(args.out, found)
    tell(out, args, data, history, scores, written, replaced)
    if found is not None and not args.quiet:
        out.print(f"What holds the run back:\n{found.text}", markup=False)
    return 130 if history.interrupted else 0


def remedy(args: argparse.Namespace, lr: float, optimizer: Any) -> str:
    """What to try after a run that diverged."""
    usual = None
    if args.lr is not None:
        try:
            usual = choices.default_lr(optimizer(None))
        except Mistake:
            usual = None  # a convention without a default
    smaller = usual if usual is not None and usual < lr else lr / 10
    return f"try a smaller --lr (it is {lr:g}; {smaller:g} is a good guess) or --clip-norm 1"


def set_threads(threads: int | None) -> None:
    if threads is None:
        return
    import fastopt as fo

    fo.set_num_threads(threads)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return
    threadpool_limits(threads, user_api="blas")


def build_model(args: argparse.Namespace, data: Prepared, seed: int, dropout: float | None = None) -> Any:
    from fastopt import nn

    loss = nn.SoftmaxCrossEntropy() if data.is_classes else nn.SquaredError()
    try:
        return nn.mlp(
            data.recipe.width, args.hidden, data.recipe.target.width,
            activation=args.activation, dropout=args.dropout if dropout is None else dropout,
            loss=loss, dtype=np.dtype(args.dtype), rng=seed,
        )  # fmt: skip
    except (TypeError, ValueError) as error:
        raise Mistake(first_line(error)) from None


def build_batches(data: Prepared, size: int, seed: int) -> Any:
    import fastopt as fo

    return fo.Batches(data.x["train"], data.y["train"], size=min(size, len(data.y["train"])), rng=seed)


def heading(
    args: argparse.Namespace, data: Prepared, model: Any, fields: dict[str, Any], lr: float, batches: Any
) -> list[tuple[str, str]]:
    """What is going to be done, in a few lines."""
    import fastopt as fo

    target = data.recipe.target
    train, valid, test = (len(data.y[part]) for part in PARTS)
    classes = f", {target.width} classes" if data.is_classes else ""
    widths = " → ".join(map(str, [data.recipe.width, *args.hidden, target.width]))
    method = choices.describe(args.optimizer, fields, lr)
    if args.schedule:
        method += f", schedule {args.schedule}"
    if args.average:
        method += f", average {args.average}"
    threads = fo.get_num_threads()
    return [
        ("data", f"{data.source}: {data.rows} rows, {data.raw_columns} columns"),
        ("target", f"{target.name}: {target.task}{classes} ({target.why})"),
        *(("note", note) for note in data.notes),
        ("split", f"{train} training, {valid} validation, {test} test rows (seed {args.seed})"),
        ("network", f"{widths}, {args.activation}, {model.vector.size} weights, {args.dtype}"),
        ("method", method),
        ("run", f"{args.epochs} epochs of {len(batches)} batches of {min(args.batch_size, train)}, "
                f"{threads} thread{'s' * (threads > 1)}"),
    ]  # fmt: skip


def check_folder(folder: Path) -> bool:
    """Before any work: the folder is new, empty or holds an earlier run (then True)."""
    if folder.exists() and not folder.is_dir():
        raise Mistake(f"--out {folder}: that is a file; a folder is wanted")
    if not folder.exists():
        parent = folder.parent
        if not parent.is_dir():
            raise Mistake(f"--out {folder}: there is no folder {str(parent)!r}")
        if not os.access(parent, os.W_OK):
            raise Mistake(f"--out {folder}: {str(parent)!r} may not be written to")
        return False
    if not os.access(folder, os.W_OK):
        raise Mistake(f"--out {folder}: the folder may not be written to")
    held = sorted(entry.name for entry in folder.iterdir())
    if not held:
        return False
    ours = MODEL in held and is_our_model(folder / MODEL)
    if not ours and not (set(held) <= set(DIAGNOSIS) and is_our_diagnosis(folder)):
        raise Mistake(
            f"--out {folder}: the folder holds {listed(held, 3)} and no earlier run of fastopt; "
            "choose a new or empty one"
        )
    return True


def is_our_model(path: Path) -> bool:
    from fastopt import nn

    try:
        meta = nn.load(path).meta
    except Exception:  # whatever it is, it is not ours
        return False
    return isinstance(meta, dict) and meta.get("made_by") == MADE_BY


def write(
    args: argparse.Namespace,
    data: Prepared,
    model: Any,
    history: History,
    scores: dict[str, Score],
    lr: float,
) -> list[Path]:
    """Both files, each whole or not at all; a folder made here does not stay empty after a failure."""
    from fastopt import __version__, nn

    target = data.recipe.target
    meta = {
        "made_by": MADE_BY,
        "fastopt": __version__,
        "data": "digits" if args.file is None else Path(args.file).name,
        "recipe": data.recipe.to_meta(),
        "optimizer": args.optimizer,
        "lr": lr,
        "seed": args.seed,
        "epoch": None if history.best is None else history.best + 1,
        "scores": {part: {k: v for k, v in asdict(s).items() if v == v} for part, s in scores.items()},
    }
    picture = None
    if history.validation:
        cells = report.score_cells(scores["test"], data.is_classes)
        test = f"test: {cells[1]}" if data.is_classes else f"test: RMSE {cells[1]}, R² {cells[2]}"
        title = f"{target.name} from {meta['data']}: {choices.describe(args.optimizer, {}, lr)}"
        picture = pictures.curve(history, data.is_classes, title, test, target.name)
    made = not args.out.exists()
    try:
        args.out.mkdir(exist_ok=True)
        nn.save(args.out / MODEL, model, meta)
        written = [args.out / MODEL]
        if picture is not None:
            write_whole(args.out / CURVE, picture)
            written.insert(0, args.out / CURVE)
        else:
            (args.out / CURVE).unlink(missing_ok=True)  # of the run that is replaced
        for name in DIAGNOSIS:
            (args.out / name).unlink(missing_ok=True)
    except OSError as error:
        if made and args.out.is_dir() and not any(args.out.iterdir()):
            args.out.rmdir()
        raise Mistake(f"cannot write to {str(args.out)!r}: {error.strerror or error}") from None
    return written


def write_diagnosis(folder: Path, found: Any) -> list[Path]:
    """The page of a report as picture and as HTML."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise Mistake(f"cannot write to {str(folder)!r}: {error.strerror or error}") from None
    picture = found.png()
    paths = [folder / name for name in DIAGNOSIS]
    for path, content in zip(paths, (picture, found.html(picture).encode()), strict=True):
        write_whole(path, content)
    return paths


def tell(
    out: Any, args: argparse.Namespace, data: Prepared, history: History, scores: dict[str, Score],
    written: list[Path], replaced: bool,
) -> None:  # fmt: skip
    """The scores, where the time went, where the files are and how to use them."""
    out.print(report.score_table([(p, len(data.y[p]), scores[p]) for p in PARTS], data.is_classes))
    if args.quiet:
        return
    if history.interrupted:
        kept = (
            f"the weights of epoch {history.best + 1}"
            if history.best is not None
            else "the weights as they were"
        )
        out.print(
            f"Stopped by Ctrl-C in epoch {len(history.validation) + 1} of {args.epochs}; kept {kept}.\n"
            + ("The same command with --resume goes on.\n" if args.checkpoint is not None else "")
        )
    total = sum(history.times.values())
    rows = []
    if history.best is not None and not history.interrupted:
        early = f", stopped early after {len(history.validation)}" if history.stopped_early else ""
        rows.append(
            (
                "kept",
                f"the weights of epoch {history.best + 1} of {args.epochs}, the best on validation{early}",
            )
        )
    if total > 0.0:
        shares = ", ".join(f"{name} {100 * t / total:.0f} %" for name, t in history.times.items())
        rows.append(("time", f"{total:.2f} s: {shares}"))
    for path in written:
        name = {CURVE: "picture", MODEL: "model"}.get(path.name, "diagnosis")
        rows.append((name, f"{path}" + (" (in place of the earlier run's)" if replaced else "")))
    report.print_pairs(out, rows)
    file = "" if args.file is None else " FILE"
    columns = len(data.recipe.inputs)
    out.print(
        f"\nUse it:  fastopt predict {args.out / MODEL}{file}\nor from Python:\n\n"
        "    import fastopt as fo, fastopt.cli\n"
        f'    model = fo.nn.load("{(args.out / MODEL).as_posix()}")\n'
        f"    fastopt.cli.predict_rows(model, X)    # X: a table of the same {columns} columns\n",
        markup=False,
    )
