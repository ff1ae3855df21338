"""One epoch of mini-batches with its random order: ``python -m bench.batches [--quick] [--out FOLDER]``.

Contestants take turns; figures are medians over the turns. The floor is a C loop that copies the same
random rows, with memcpy, into two buffers in turn, after the same Fisher-Yates: plain, and with each row
fetched some places ahead. Writes batches.json and batches.png.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo
from fastopt._core import gather, shuffle

SIZE = 128
SHAPES = [(60_000, 784), (1_000_000, 32)]
FETCH = 16
OURS, FLOOR, FLOOR_FETCH = "fastopt", "C loop", "C loop, fetching ahead"
FANCY, TAKE, LOADER = "NumPy X[order]", "NumPy take(out=)", "torch DataLoader"

Epoch = Callable[[], float]
Record = dict[str, Any]


def timed(epoch: Callable[[], None]) -> Epoch:
    def run() -> float:
        start = time.perf_counter()
        epoch()
        return time.perf_counter() - start

    return run


def contestants(X: np.ndarray, part: int) -> dict[str, Epoch]:
    """Functions that go through an epoch and return its seconds; slow ones scale up from `part` batches."""
    n, width = X.shape
    starts = range(0, n, SIZE)
    buffers = np.zeros((2, SIZE, width), np.float32)
    batches = fo.Batches(X, size=SIZE, rng=0)
    rng = np.random.default_rng(0)
    bits = np.random.PCG64(0)

    def ours() -> None:
        for _ in batches:
            pass

    def floor(distance: int) -> Callable[[], None]:
        return lambda: gather.copy_rows(X, buffers, shuffle.permutation(n, bits), distance)

    def fancy() -> None:
        order = rng.permutation(n)
        for start in starts:
            X[order[start : start + SIZE]]

    def take() -> None:
        order = rng.permutation(n)
        for start in starts:
            rows = order[start : start + SIZE]
            X.take(rows, axis=0, out=buffers[0, : len(rows)], mode="clip")  # other modes copy once more

    field = {
        OURS: timed(ours),
        FLOOR: timed(floor(0)),
        FLOOR_FETCH: timed(floor(FETCH if width < 256 else 2)),
        FANCY: timed(fancy),
        TAKE: timed(take),
    }
    try:
        field.update(torch_contestants(X, part))
    except ImportError:
        print("torch is not installed: left out")
    return field


def torch_contestants(X: np.ndarray, part: int) -> dict[str, Epoch]:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    torch.set_num_threads(1)
    data = torch.from_numpy(X)
    loader = DataLoader(TensorDataset(data), batch_size=SIZE, shuffle=True)

    def whole() -> None:
        order = torch.randperm(len(X))
        for start in range(0, len(X), SIZE):
            data.index_select(0, order[start : start + SIZE])

    def scaled() -> float:
        """The order and the first batch, then `part` batches, which stand for all the others."""
        begin = time.perf_counter()
        batches = iter(loader)
        next(batches)
        first = time.perf_counter()
        count = sum(1 for _ in itertools.islice(batches, part))
        return first - begin + (time.perf_counter() - first) * (len(loader) - 1) / count

    return {"torch randperm, index_select": timed(whole), LOADER: scaled}


def compete(shape: tuple[int, int], turns: int, part: int) -> list[Record]:
    X = np.random.default_rng(0).random(shape, dtype=np.float32)
    field = contestants(X, part)
    two = "fastopt, two threads"
    seconds: dict[str, list[float]] = {name: [] for name in [*field, two]}
    names = list(seconds)
    for turn in range(turns + 1):
        names.append(names.pop(0))  # nobody always comes after the same neighbour
        for name in names:
            fo.set_num_threads(2 if name == two else 1)
            took = field[OURS if name == two else name]()
            if turn:  # the first one warms up
                seconds[name].append(took)
    return [
        {
            "rows": shape[0],
            "columns": shape[1],
            "contestant": name,
            "median": statistics.median(s),
            "seconds": s,
        }
        for name, s in seconds.items()
    ]


def verdicts(records: list[Record]) -> list[Record]:
    """Ratios with what is wanted of each, the one that misses most first."""
    lines = []
    for shape in SHAPES:
        at = {r["contestant"]: r["median"] for r in records if (r["rows"], r["columns"]) == shape}
        wide = shape[1] > 256
        wanted = [
            (FLOOR, OURS, 0.95),
            (FLOOR_FETCH, OURS, 0.95),
            (OURS, "fastopt, two threads", 1.0),
            (TAKE, OURS, 1.0),
            (FANCY, OURS, 1.0 if wide else 2.0),
            (LOADER, OURS, 10.0 if wide else 80.0),
        ]
        for other, mine, least in wanted:
            if other in at:
                ratio = at[other] / at[mine]
                lines.append({"shape": shape, "of": mine, "against": other, "ratio": ratio, "wanted": least})
    return sorted(lines, key=lambda line: line["ratio"] / line["wanted"])


def picture(records: list[Record], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(SHAPES), figsize=(11, 3.6), constrained_layout=True)
    for axis, shape in zip(axes, SHAPES, strict=True):
        rows = [r for r in records if (r["rows"], r["columns"]) == shape]
        rows.sort(key=lambda r: -r["median"])
        names = [r["contestant"] for r in rows]
        nanoseconds = [r["median"] / shape[0] * 1e9 for r in rows]
        colours = [
            "#c2410c" if n.startswith("fastopt") else "#525252" if n.startswith("C") else "#3b82f6"
            for n in names
        ]
        bars = axis.barh(names, nanoseconds, color=colours)
        axis.bar_label(bars, fmt="%.3g", padding=3)
        axis.set(
            xscale="log",
            xlabel="nanoseconds per row",
            title=f"{shape[0]} x {shape[1]} float32, batches of {SIZE}",
        )
        axis.margins(x=0.15)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder of the results")
    args = parser.parse_args()
    turns, part = (5, 60) if args.quick else (21, 400)
    records = [record for shape in SHAPES for record in compete(shape, turns, part)]
    for record in records:
        shape = f"{record['rows']:>8} x {record['columns']:<4}"
        print(f"{shape} {record['contestant']:<30} {record['median'] * 1e3:10.2f} ms")
    lines = verdicts(records)
    print("\nratios, the one furthest below what is wanted first")
    for line in lines:
        name = f"{line['of']} against {line['against']}"
        shape = f"{line['shape'][0]:>8} x {line['shape'][1]:<4}"
        print(f"{shape} {name:<50} {line['ratio']:8.2f}  wanted {line['wanted']}")
    args.out.mkdir(parents=True, exist_ok=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "numpy": np.__version__,
        "turns": turns,
    }
    results = {"machine": machine, "size": SIZE, "records": records, "verdicts": lines}
    (args.out / "batches.json").write_text(json.dumps(results, indent=1))
    picture(records, args.out / "batches.png")


if __name__ == "__main__":
    main()
