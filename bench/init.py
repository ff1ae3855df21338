"""Initial values: ``python -m bench.init [--quick] [--out FOLDER]``.

How long it takes to fill an array with scaled uniform, normal and truncated normal numbers (contestants: NumPy's
Generator into the array and scaled in place, NumPy as people write it, torch), and with an orthogonal matrix (torch,
NumPy's QR with the sign fixed). Contestants take turns in an order that changes; figures are medians over the turns,
"quiet" is the same ratio of the best turns. Writes init.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo

OURS, IN_PLACE, WRITTEN, TORCH = "fastopt", "NumPy in place", "NumPy as written", "torch"
STD = 0.05
SETTLE = 2e-3  # seconds in which the helper threads of the contestant before fall asleep
LEAST = 2e-3  # seconds of calls in a turn

Record = dict[str, Any]
Field = dict[str, Callable[[], Any]]


def torch_or_none() -> Any:
    try:
        import torch
    except ImportError:
        return None
    return torch


def fills(kind: str, size: int, dtype: Any) -> Field:
    """Ways to fill one vector; all but torch write the same array."""
    a = np.zeros(size, dtype)
    one = a.dtype.type
    rng, own, limit = np.random.default_rng(0), np.random.default_rng(0), STD * 3**0.5
    torch = torch_or_none()
    t = None if torch is None else torch.from_numpy(np.zeros(size, dtype))
    field: Field = {}
    if kind == "normal":

        def in_place() -> None:
            rng.standard_normal(out=a, dtype=dtype)
            np.multiply(a, one(STD), out=a)

        def written() -> None:
            a[...] = rng.normal(0.0, STD, size)

        field = {OURS: lambda: fo.init.normal(a, std=STD, rng=own), IN_PLACE: in_place, WRITTEN: written}
        if t is not None:
            field[TORCH] = lambda: t.normal_(0, STD)
    elif kind == "uniform":

        def in_place() -> None:
            rng.random(out=a, dtype=dtype)
            np.multiply(a, one(2 * limit), out=a)
            np.subtract(a, one(limit), out=a)

        def written() -> None:
            a[...] = rng.uniform(-limit, limit, size)

        field = {
            OURS: lambda: fo.init.uniform(a, -limit, limit, rng=own),
            IN_PLACE: in_place,
            WRITTEN: written,
        }
        if t is not None:
            field[TORCH] = lambda: t.uniform_(-limit, limit)
    else:

        def in_place() -> None:
            rng.standard_normal(out=a, dtype=dtype)
            bad = np.flatnonzero(np.abs(a) > 2)
            while bad.size:
                a[bad] = again = rng.standard_normal(bad.size, dtype=dtype)
                bad = bad[np.abs(again) > 2]
            np.multiply(a, one(STD), out=a)

        field = {
            OURS: lambda: fo.init.truncated_normal(a, std=STD, low=-2 * STD, high=2 * STD, rng=own),
            IN_PLACE: in_place,
        }
        if t is not None:
            field[TORCH] = lambda: torch.nn.init.trunc_normal_(t, 0, STD, -2 * STD, 2 * STD)
    return field


def orthogonals(shape: tuple[int, int], dtype: Any) -> Field:
    a = np.zeros(shape, dtype)
    rng, own = np.random.default_rng(0), np.random.default_rng(0)

    def written() -> None:
        q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape)), dtype=dtype))
        q *= np.sign(np.diagonal(r))
        a[...] = q if shape[0] >= shape[1] else q.T

    field: Field = {OURS: lambda: fo.init.orthogonal(a, rng=own), WRITTEN: written}
    torch = torch_or_none()
    if torch is not None:
        t = torch.from_numpy(np.zeros(shape, dtype))
        field[TORCH] = lambda: torch.nn.init.orthogonal_(t)
    return field


def take_turns(field: Field, turns: int) -> dict[str, tuple[float, float]]:
    """Seconds of a call, median and best, for each contestant."""
    times: dict[str, list[float]] = {name: [] for name in field}
    calls = {}
    for name, call in field.items():
        call()
        start = time.perf_counter()
        call()
        calls[name] = max(1, int(LEAST / (time.perf_counter() - start)))
    names = list(field)
    for _ in range(turns):
        names.append(names.pop(0))
        for name in names:
            time.sleep(SETTLE)
            field[name]()  # wakes its threads, and brings the array into its cache
            start = time.perf_counter()
            for _ in range(calls[name]):
                field[name]()
            times[name].append((time.perf_counter() - start) / calls[name])
    return {name: (statistics.median(own), min(own)) for name, own in times.items()}


def threads(count: int) -> Any:
    """Everybody on so many threads."""
    fo.set_num_threads(count)
    torch = torch_or_none()
    if torch is not None:
        torch.set_num_threads(count)
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        print("threadpoolctl is not installed: BLAS keeps its own number of threads")
        return nullcontext()
    return threadpool_limits(count, "blas")


def verdicts(records: Sequence[Record]) -> list[Record]:
    """Rival over ours, at least 1 wanted; the worst first. Of fills NumPy in place counts, of orthogonal torch."""
    lines = []
    for r in records:
        rival = TORCH if r["what"] == "orthogonal" else IN_PLACE
        if rival in r["seconds"]:
            value, quiet = (r["seconds"][rival][i] / r["seconds"][OURS][i] for i in (0, 1))
            lines.append(
                {
                    **{k: v for k, v in r.items() if k != "seconds"},
                    "rival": rival,
                    "value": value,
                    "quiet": quiet,
                }
            )
    return sorted(lines, key=lambda v: v["value"])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.init", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="up to 10^6 elements, fewer turns")
    parser.add_argument("--threads", type=int, default=2, help="run with 1 and with so many")
    parser.add_argument("--turns", type=int, default=0, help="default: 15, with --quick 7")
    parser.add_argument("--sizes", default="", help="of the fills, by commas")
    parser.add_argument("--shapes", default="", help="of orthogonal, as 64x64,1024x256")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder of the results")
    args = parser.parse_args(argv)
    turns = args.turns or (7 if args.quick else 15)
    sizes = [10**4, 10**5, 10**6] + ([] if args.quick else [10**7])
    shapes = [(16, 16), (64, 64), (256, 256), (1024, 1024), (1000, 250), (4096, 64), (64, 4096)]
    if args.sizes:
        sizes = [int(float(n)) for n in args.sizes.split(",")]
    if args.shapes:
        shapes = [tuple(map(int, shape.split("x"))) for shape in args.shapes.split(",")]
    if args.quick:
        shapes = [shape for shape in shapes if shape != (1024, 1024)]
    records: list[Record] = []
    for count in sorted({1, args.threads}):
        with threads(count):
            for dtype in (np.float32, np.float64):
                about = {"dtype": np.dtype(dtype).name, "threads": count}
                for kind in ("normal", "uniform", "truncated_normal"):
                    for n in sizes:
                        seconds = take_turns(fills(kind, n, dtype), turns)
                        records.append({"what": kind, "size": str(n), **about, "seconds": seconds})
                for shape in shapes:
                    seconds = take_turns(orthogonals(shape, dtype), turns)
                    size = "x".join(map(str, shape))
                    records.append({"what": "orthogonal", "size": size, **about, "seconds": seconds})
    for r in records:
        figures = "  ".join(f"{name} {s[0] * 1e6:,.1f}" for name, s in r["seconds"].items())
        print(
            f"{r['what']:16} {r['size']:>10} {r['dtype']} {r['threads']} thread(s), microseconds: {figures}"
        )
    lines = verdicts(records)
    print("\nrival / fastopt, worst first (medians, then best turns); at least 1 is wanted")
    for v in lines:
        met = "met   " if v["value"] >= 1 else "MISSED"
        print(
            f"{met} {v['value']:6.2f} {v['quiet']:6.2f}  {v['what']:16} {v['size']:>10} {v['dtype']} "
            f"{v['threads']} thread(s) against {v['rival']}"
        )
    torch = torch_or_none()
    machine = {
        "numpy": np.__version__,
        "torch": None if torch is None else torch.__version__,
        "isa": fo.build_info()["isa"],
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "init.json").write_text(
        json.dumps({"machine": machine, "records": records, "verdicts": lines}, indent=1)
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
