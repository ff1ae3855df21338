"""Random orders: ``python -m bench.orders [--quick] [--out FOLDER]``.

How long until a whole order is there as an array (contestants: NumPy's Generator.permutation, torch.randperm,
scikit-learn's shuffle of a range), and until its first element is; and what sequential slices cost an element.
Contestants take turns; figures are medians over the turns. Writes orders.json. At 10^8 elements (left out with
--quick), NumPy and torch each need 0.8 GB.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo
from fastopt.data import Permutation

KEYED, EXACT, TWO = "fastopt keyed", "fastopt exact", "fastopt keyed, two threads"
NUMPY, TORCH, SKLEARN = "NumPy Generator.permutation", "torch.randperm", "sklearn.utils.shuffle"
BATCH = 1 << 13  # elements of a slice in the sequential reading
FAR = 10**10

Record = dict[str, Any]


def contestants(n: int) -> dict[str, Callable[[int], Any]]:
    """Functions of a seed, each of which makes an order of n elements."""
    field: dict[str, Callable[[int], Any]] = {
        KEYED: lambda seed: Permutation(n, seed, method="keyed")[:],
        EXACT: lambda seed: Permutation(n, seed, method="exact").array(),
        TWO: lambda seed: Permutation(n, seed, method="keyed")[:],
        NUMPY: lambda seed: np.random.default_rng(seed).permutation(n),
    }
    try:
        import torch

        torch.set_num_threads(1)
        field[TORCH] = lambda seed: torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    except ImportError:
        print("torch is not installed: left out")
    try:
        from sklearn.utils import shuffle

        field[SKLEARN] = lambda seed: shuffle(np.arange(n), random_state=seed)
    except ImportError:
        print("scikit-learn is not installed: left out")
    return field


def whole_orders(n: int, turns: int) -> list[Record]:
    field = contestants(n)
    if n >= 10**8:
        del field[EXACT]  # nobody asks for it there
        field.pop(SKLEARN, None)  # 2.4 GB
    seconds: dict[str, list[float]] = {name: [] for name in field}
    names = list(field)
    for turn in range(turns + 1):
        names.append(names.pop(0))
        for name in names:
            fo.set_num_threads(2 if name == TWO else 1)
            start = time.perf_counter()
            field[name](turn)
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    fo.set_num_threads(1)
    return [record("whole order", n, name, s) for name, s in seconds.items()]


def record(what: str, n: int, contestant: str, seconds: list[float]) -> Record:
    times = {"median": statistics.median(seconds), "best": min(seconds)}
    return {"what": what, "n": n, "contestant": contestant, **times}


def sequential(n: int, turns: int) -> Record:
    """Slices of 2^13 elements one after the other, one thread: seconds of processor time an element."""
    order = Permutation(n, 0, method="keyed")
    seconds = []
    for turn in range(turns + 1):
        first = turn * BATCH * 128 % (n - BATCH * 128)
        start = time.thread_time()
        for k in range(128):
            order[first + k * BATCH : first + (k + 1) * BATCH]
        seconds.append((time.thread_time() - start) / (128 * BATCH))
    return record("sequential", n, KEYED, seconds[1:])


def first_element(n: int, turns: int) -> Record:
    """From nothing to the first element of an order, and the memory that took."""
    seconds = []
    for seed in range(turns):
        start = time.perf_counter()
        Permutation(n, seed, 3)[0]
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    order = Permutation(n, 0)
    order[n // 2 : n // 2 + 128]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return record("first", n, KEYED, seconds) | {"bytes": peak}


def verdicts(records: list[Record]) -> list[Record]:
    """What is wanted of ratios and rates, the one that misses most first; quiet: the same of the best turns."""
    lines: list[Record] = []

    def line(what: str, n: int, wanted: float, values: tuple[float, float], most: bool = False) -> None:
        good = wanted / values[0] if most else values[0] / wanted
        lines.append(
            {"what": what, "n": n, "value": values[0], "quiet": values[1], "wanted": wanted, "good": good}
        )

    for n in sorted({r["n"] for r in records if r["what"] == "whole order"}):
        at = {r["contestant"]: r for r in records if r["n"] == n and r["what"] == "whole order"}

        def ratio(over: str, under: str, wanted: float, n: int = n, at: Record = at) -> None:
            if over in at and under in at:
                values = tuple(at[over][kind] / at[under][kind] for kind in ("median", "best"))
                line(f"{over} / {under}", n, wanted, (values[0], values[1]))

        ratio(NUMPY, KEYED, 8.0 if n >= 10**8 else 1.0)
        ratio(TORCH, KEYED, 4.0 if n >= 10**8 else 1.0)
        ratio(SKLEARN, KEYED, 1.0)
        for other in (NUMPY, TORCH, SKLEARN):
            ratio(other, EXACT, 1.0)
        ratio(KEYED, TWO, 1.0)
    for r in records:
        if r["what"] == "sequential":
            rates = (1e-6 / r["median"], 1e-6 / r["best"])
            line("sequential, millions a second and core", r["n"], 100.0, rates)
        if r["what"] == "first":
            line(
                "first element, microseconds", r["n"], 100.0, (r["median"] * 1e6, r["best"] * 1e6), most=True
            )
            line(
                "memory of that and of 128 more, bytes", r["n"], 2.0**16, (r["bytes"], r["bytes"]), most=True
            )
    return sorted(lines, key=lambda v: v["good"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="up to 10^7 elements, fewer turns")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder of the results")
    args = parser.parse_args()
    plan = {10**6: 5, 10**7: 3} if args.quick else {10**6: 15, 10**7: 7, 10**8: 3}
    records = [record for n, turns in plan.items() for record in whole_orders(n, turns)]
    records += [sequential(n, 9) for n in (10**7, 10**9, FAR, 2**62)]
    records.append(first_element(FAR, 300))
    for r in records:
        print(f"{r['what']:12s} {r['n']:>20,} {r['contestant']:<30} {r['median'] * 1e6:14,.4f} us")
    lines = verdicts(records)
    print("\nfurthest from what is wanted first (medians, then best turns)")
    for v in lines:
        met = "met   " if v["good"] >= 1 else "MISSED"
        print(
            f"{met} {v['n']:>25,} {v['what']:<50} {v['value']:10.2f} {v['quiet']:10.2f}  wanted {v['wanted']:g}"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "numpy": np.__version__,
        "isa": fo.build_info()["isa"],
    }
    (args.out / "orders.json").write_text(
        json.dumps({"machine": machine, "records": records, "verdicts": lines}, indent=1)
    )


if __name__ == "__main__":
    main()
