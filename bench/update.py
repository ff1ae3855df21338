"""Optimizer steps against the memory floor, torch, optax and NumPy: ``python -m bench.update [--quick]``.

One process a number of threads (XLA reads that only when it starts); in it, the contestants of a row take
turns. Writes update.json, update.txt and pictures to --out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo
from bench.verdicts import report, verdicts
from fastopt.cli.contest import (
    OURS,
    OURS_RAISE,
    SIZES,
    Timing,
    contest,
    gradients,
    placed,
    update_contestants,
)
from fastopt.cli.peers import ROWS, Row, torch_steps

LARGE = 5 * 10**7
ALL_IN_ONE = "clip + AdamW + EMA"

Record = dict[str, Any]


def record(rule: str, dtype: str, size: int, threads: int, timings: dict[str, Timing]) -> Record:
    """One row of the results: seconds per step of every contestant, median and best."""
    return {
        "rule": rule,
        "dtype": dtype,
        "size": size,
        "threads": threads,
        "median": {name: t.median for name, t in timings.items()},
        "best": {name: t.best for name, t in timings.items()},
        "turns": {name: t.turns for name, t in timings.items()},
    }


def one_array(rule: str, dtype: str, size: int, threads: int, budget: float, peers: bool = True) -> Record:
    """A rule on one array."""
    field = update_contestants(rule, [size], np.dtype(dtype), threads=threads, peers=peers)
    return record(rule, dtype, size, threads, contest(field, budget, threads=threads))


def many_arrays(rule: str, dtype: str, count: int, size: int, threads: int, budget: float) -> Record:
    """A rule on `count` arrays of `size`, and ours on one array of as many numbers."""
    field = update_contestants(rule, [size] * count, np.dtype(dtype), threads=threads)
    whole = update_contestants(rule, [size * count], np.dtype(dtype), threads=threads, peers=False)
    field |= {f"{name}, one array": whole[name] for name in (OURS, OURS_RAISE)}
    row = record(rule, dtype, size * count, threads, contest(field, budget, threads=threads))
    return row | {"arrays": count}


def all_in_one(dtype: str, size: int, threads: int, budget: float) -> Record:
    """Clipping by the global norm, AdamW and an average of the weights: one step, three calls of torch."""
    kind = np.dtype(dtype)
    params, grads, _ = placed([size], kind)
    row = ROWS["adamw"]
    field: dict[str, Callable[[], object]] = {}
    for name, policy in ((OURS, "propagate"), (OURS_RAISE, "raise")):
        opt = fo.AdamW(
            params[0], lr=row.lr, clip_norm=1.0, average=fo.averaging.EMA(0.999, debias=False),
            nonfinite=policy, **row.fields,
        )  # fmt: skip
        field[name] = partial(opt.step, grads[0])
    opt.step(grads[0])
    # torch scales the gradient in place: one of its own, so that ours is clipped as well at every step.
    (theirs,) = gradients([size], kind)
    field |= _torch_all_in_one(row, params[0], theirs, opt._states, threads)
    timings = contest(field, budget, threads=threads)
    return record(ALL_IN_ONE, dtype, size, threads, timings)


def _torch_all_in_one(
    row: Row, p: np.ndarray, g: np.ndarray, states: Sequence[Sequence[np.ndarray]], threads: int
) -> dict[str, Callable[[], object]]:
    steps = torch_steps(row, [p], [g], states, threads)
    if not steps:
        return {}
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    class Holder(torch.nn.Module):
        def __init__(self, tensor: Any) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(tensor)

    tensor = torch.from_numpy(p).requires_grad_()
    tensor.grad = torch.from_numpy(g)
    average = tensor.detach().clone()
    model = Holder(torch.from_numpy(p))
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999), use_buffers=False)
    field: dict[str, Callable[[], object]] = {}
    for name, step in steps.items():

        def lerp(step: Callable[[], object] = step) -> None:
            torch.nn.utils.clip_grad_norm_([tensor], 1.0)
            step()
            with torch.no_grad():
                torch._foreach_lerp_([average], [tensor], 0.001)

        def swa(step: Callable[[], object] = step) -> None:
            torch.nn.utils.clip_grad_norm_([tensor], 1.0)
            step()
            averaged.update_parameters(model)

        field[f"{name} + lerp"] = lerp
        if name == "torch fused":
            field[f"{name} + swa_utils"] = swa
    return field


def measure(options: argparse.Namespace, threads: int) -> list[Record]:
    """All rows for one number of threads, in this process."""
    fo.set_num_threads(threads)
    short = 0.25 if options.quick else 1.0
    rows: list[Record] = []

    def add(what: str, make: Callable[[float], Record], budget: float) -> None:
        start = time.perf_counter()
        row = make(budget * short)
        if options.again and any(not v["met"] for v in verdicts([row])):
            # The machine may have been busy: of two runs the one stands in which our own turns differ less.
            second = make(2 * budget * short)
            first_noise, second_noise = (r["median"][OURS] / r["best"][OURS] for r in (row, second))
            row = (second if second_noise <= first_noise else row) | {"measured": 2}
        rows.append(row)
        if options.progress:
            print(f"{what} {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)

    for dtype in options.dtypes:
        for size in options.sizes:
            for rule in options.rules:
                what = f"{rule} {dtype} {size:.0e} threads={threads}"
                budget = 0.3 if size < 10**6 else 0.6 if size < 10**7 else 1.5
                peers = size <= 10**7 or ROWS[rule].fused
                add(
                    what,
                    partial(one_array, rule, dtype, size, threads, peers=peers),
                    budget,
                )
        for rule in ("adam", "sgd"):
            if rule in options.rules:
                for count, size in ((10, 100), (100, 1000)):
                    what = f"{rule} {dtype} {count} x {size} threads={threads}"
                    add(
                        what,
                        partial(many_arrays, rule, dtype, count, size, threads),
                        1,
                    )
        if "adamw" in options.rules:
            size = max(options.sizes)
            what = f"{ALL_IN_ONE} {dtype} {size:.0e} threads={threads}"
            add(what, partial(all_in_one, dtype, size, threads), 3)
    return rows


_ABOUT = ("version", "python", "machine", "isa")


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    versions: dict[str, str | None] = {}
    for name in ("torch", "jax", "optax", "numpy"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    info = {
        key: value for key, value in fo.build_info().items() if key in ("version", "machine", "isa", "python")
    }
    cpu = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    return {"cpu": cpu, "cores": os.cpu_count(), "load": os.getloadavg(), **info, "peers": versions}


def listed(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [kind(item) for item in text.split(",")]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.update", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="sizes to 1e6, short turns")
    parser.add_argument("--large", action="store_true", help="also 5e7 (2 GB)")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    parser.add_argument("--rules", type=listed(str), default=list(ROWS), help=",".join(ROWS))
    parser.add_argument("--sizes", type=listed(lambda s: int(float(s))))
    parser.add_argument("--threads", type=listed(int), default=[1, 2])
    parser.add_argument("--dtypes", type=listed(str), default=["float32", "float64"])
    parser.add_argument(
        "--no-again", dest="again", action="store_false", help="do not repeat rows that miss a target"
    )
    parser.add_argument("--progress", action="store_true")
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.sizes is None:
        options.sizes = [
            *(n for n in SIZES if n < 10**7 or not options.quick),
            *([LARGE] if options.large else []),
        ]
    for name, known in (("rules", tuple(ROWS)), ("dtypes", ("float32", "float64"))):
        for value in getattr(options, name):
            if value not in known:
                parser.error(f"--{name}: {value!r} is not one of {', '.join(known)}")
    if min(options.threads) < 1 or min(options.sizes) < 1:
        parser.error("--threads and --sizes need numbers of at least 1")
    return options


def in_a_process(
    module: str, argv: Sequence[str], threads: int, out: Path, env: dict[str, str] | None = None
) -> list[Any]:
    """The rows that a bench measures with this number of threads, in a process of its own."""
    part = out / f"part-{threads}.json"
    again = [*argv, "--threads", str(threads), "--part", str(part)]
    subprocess.run([sys.executable, "-m", module, *again], check=True, env=os.environ | (env or {}))
    rows: list[Any] = json.loads(part.read_text())
    part.unlink()
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    options = parse(argv)
    if options.part:
        options.part.write_text(json.dumps(measure(options, options.threads[0])))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[Record] = []
    if len(options.threads) == 1:
        rows = measure(options, options.threads[0])
    else:
        for threads in options.threads:
            rows += in_a_process("bench.update", argv, threads, options.out)
    about = machine()
    (options.out / "update.json").write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    text = report(rows, about)
    (options.out / "update.txt").write_text(text)
    print(text)
    try:
        from bench.pictures import draw
    except ImportError as error:
        print(f"no pictures: {error}", file=sys.stderr)
        return 0
    for path in draw(rows, options.out):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
