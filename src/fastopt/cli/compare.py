"""``fastopt compare``: every optimizer of the library on the same rows, first weights and batches.

The search of the learning rate, the same for all: the optimizer's default times 1/10, 1/√10, 1, √10 and 10,
and on from an end by √10, up to 6 times, as long as that end is the best. The rate with the lowest validation
loss in any epoch wins, with the first seed; all seeds are then run with it. A seed sets the split, the first
weights and the order. Test scores are taken at the epoch of the lowest validation loss.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastopt.cli import choices, pictures, report
from fastopt.cli.arguments import hidden_sizes, whole
from fastopt.cli.errors import Mistake, need
from fastopt.cli.files import check_place, is_our_png, write_whole
from fastopt.cli.prepare import Prepared, add_data_arguments, prepare
from fastopt.cli.train import build_batches, build_model, set_threads
from fastopt.cli.training import Diverged, History, Score, train

__all__ = ["add_arguments", "run", "search"]

FACTOR = math.sqrt(10.0)
MOST_MORE = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = __doc__
    add_data_arguments(parser)
    parser.add_argument(
        "--optimizers",
        metavar="A,B",
        help="only these (default: all): " + ", ".join(choices.optimizer_names()),
    )
    parser.add_argument("--seeds", type=whole, default=3, metavar="N", help="seeds 0 to N-1 (default 3)")
    parser.add_argument("--epochs", type=whole, metavar="N", help="default 20; 5 with --quick")
    parser.add_argument("--batch-size", type=whole, default=32, metavar="N", help="default 32")
    parser.add_argument(
        "--hidden", type=hidden_sizes, default=(128, 64), metavar="N,M", help="default 128,64; 0: none"
    )
    parser.add_argument("--activation", default="relu", choices=["relu", "tanh", "sigmoid", "gelu"])
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--threads", type=whole, metavar="N")
    parser.add_argument("--quick", action="store_true", help="fewer epochs and a shorter search of the rate")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("fastopt-compare.png"),
        metavar="PNG",
        help="default fastopt-compare.png",
    )
    parser.set_defaults(dropout=0.0)


@dataclass
class Result:
    """One optimizer: its best rate, and a history and a test score for every seed."""

    name: str
    lr: float
    at_end: bool
    histories: list[History]
    tests: list[Score]

    @property
    def losses(self) -> list[float]:
        return [min(s.loss for s in history.validation) for history in self.histories]


def run(args: argparse.Namespace) -> int:
    out = report.console()
    need("matplotlib", "drawing the picture")
    check_place(args.out, is_our_png, "picture")
    set_threads(args.threads)
    names = choices.optimizer_names()
    if args.optimizers:
        names = [name.strip().lower() for name in args.optimizers.split(",") if name.strip()]
        for name in names:
            choices.resolve_optimizer(name)
    args.epochs = args.epochs or (5 if args.quick else 20)
    sets = [prepare(args, seed, args.dtype) for seed in range(args.seeds)]
    data = sets[0]
    out.print(f"{data.source}: {data.rows} rows, {data.recipe.target.task} of {data.recipe.target.name}, "
              f"{args.seeds} seed{'s' * (args.seeds > 1)}, {args.epochs} epochs, "
              f"batches of {args.batch_size}")  # fmt: skip
    for note in data.notes:
        out.print(f"note: {note}")
    results = []
    with _Status(out, len(names)) as status:
        for number, name in enumerate(names):
            status.tell(number, name)
            result = one(name, sets, args)
            if result is None:
                out.print(f"{name}: diverged at every learning rate tried")
            else:
                results.append(result)
    if not results:
        raise Mistake("every optimizer diverged at every learning rate tried; are the data in order?")
    results.sort(key=lambda result: float(np.mean(result.losses)))
    out.print(as_table(results, data))
    ends = [result.name for result in results if result.at_end]
    if ends:
        out.print(f"* the best rate tried is at the end of the search: {', '.join(ends)}")
    if any(result.name == "rprop" for result in results):
        out.print("rprop is made for full batches; here it gets the same batches as all.")
    origin = Path(args.file).name if args.file else "digits"
    title = f"{data.recipe.target.name} from {origin}: each optimizer at its best learning rate"
    if args.seeds > 1:
        title += f" (line: median of {args.seeds} seeds, band: all)"
    write_whole(args.out, pictures.comparison([(r.name, r.histories) for r in results], title))
    out.print(f"picture  {args.out}")
    return 0


def one(name: str, sets: Sequence[Prepared], args: argparse.Namespace) -> Result | None:
    """Search the rate with the first seed, then run all seeds with it; None when nothing converges."""
    model = build_model(args, sets[0], 0)
    default = choices.default_lr(choices.build_optimizer(name, model.params, None))
    tried: dict[float, tuple[History, Score]] = {}

    def loss_at(lr: float) -> float:
        try:
            tried[lr] = single(name, sets[0], 0, lr, args)
        except Diverged:
            return math.inf
        return min(s.loss for s in tried[lr][0].validation)

    lr, at_end = search(loss_at, default, 1 if args.quick else 2, 3 if args.quick else MOST_MORE)
    if lr is None:
        return None
    runs = [tried[lr]]
    for seed in range(1, len(sets)):
        try:
            runs.append(single(name, sets[seed], seed, lr, args))
        except Diverged:
            continue
    return Result(name, lr, at_end, [history for history, _ in runs], [test for _, test in runs])


def search(loss_at: Any, default: float, reach: int, more: int) -> tuple[float | None, bool]:
    """The best of ``default * FACTOR^k``, k from -reach to reach, and on from an end that is best.

    Returns the rate (None when no loss is finite) and whether it is still at an end.
    """
    losses = {k: loss_at(default * FACTOR**k) for k in range(-reach, reach + 1)}
    for _ in range(more):
        best = min(losses, key=lambda k: losses[k])
        if best == max(losses):
            k = best + 1
        elif best == min(losses):
            k = best - 1
        else:
            break
        losses[k] = loss_at(default * FACTOR**k)
    best = min(losses, key=lambda k: losses[k])
    if not math.isfinite(losses[best]):
        return None, False
    return default * FACTOR**best, best in (min(losses), max(losses))


def single(
    name: str, data: Prepared, seed: int, lr: float, args: argparse.Namespace
) -> tuple[History, Score]:
    """One run: the weights of the lowest validation loss, scored on the test rows."""
    model = build_model(args, data, seed)
    batches = build_batches(data, args.batch_size, seed)
    opt = choices.build_optimizer(name, model.params, lr)
    history = train(
        model,
        opt,
        batches,
        lambda: data.score(model, "validation"),
        args.epochs,
        rank=lambda s: (s.loss, 0.0),
    )
    if history.interrupted:
        raise KeyboardInterrupt
    return history, data.score(model, "test")


def as_table(results: Sequence[Result], data: Prepared) -> Any:
    rich_table = need("rich.table", "the command line")
    table = rich_table.Table(box=need("rich.box", "the command line").SIMPLE_HEAD, pad_edge=False)
    wanted = "test accuracy" if data.is_classes else "test RMSE"
    table.add_column("optimizer")
    for head in ("best lr", "validation loss", wanted, "ms per epoch"):
        table.add_column(head, justify="right")
    for result in results:
        losses = np.array(result.losses)
        tests = np.array([100 * t.accuracy if data.is_classes else t.rmse for t in result.tests])
        per_epoch = np.median([1000 * h.seconds[-1] / len(h.seconds) for h in result.histories])
        digits, percent = (".2f", " %") if data.is_classes else (".4g", "")
        table.add_row(
            result.name,
            f"{result.lr:.3g}" + ("*" if result.at_end else ""),
            spread(losses, ".4f"),
            spread(tests, digits) + percent,
            f"{per_epoch:.2f}",
        )
    return table


def spread(values: np.ndarray, digits: str) -> str:
    """Mean and standard deviation of the seeds."""
    text = format(values.mean(), digits)
    return f"{text} ± {format(values.std(ddof=1), digits)}" if len(values) > 1 else text


class _Status:
    """Which optimizer is being tried: a line that is overwritten on a terminal, a line each elsewhere."""

    def __init__(self, out: Any, total: int) -> None:
        self.out, self.total = out, total
        self.live = out.status("") if out.is_terminal and not out.is_dumb_terminal else None

    def __enter__(self) -> _Status:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def tell(self, number: int, name: str) -> None:
        text = f"{number + 1}/{self.total}  {name}"
        if self.live:
            self.live.update(text)
        else:
            self.out.print(text)
