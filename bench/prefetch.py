"""An epoch with prefetch against its parts: ``python -m bench.prefetch [--quick] [--out FOLDER]``.

Each row is the same loop four ways, taking turns: batches alone, computation alone (over one batch that stays),
both without prefetch, both with. What is wanted: with prefetch, at most 1.05 of the larger of the two alone. The
computation is a matrix product of one thread that takes about as long as the gather. Writes prefetch.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo

WANTED = 1.05
ROWS = [((60_000, 784), 128), ((1_000_000, 32), 128), ((60_000, 784), 1024), ((1797, 64), 32)]


def noisy(batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    batch += rng.standard_normal(batch.shape, dtype=np.float32)
    return batch


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def balanced(X: np.ndarray, size: int, target: float) -> np.ndarray:
    """Weights so wide that their products with all batches take about `target` seconds."""
    batch, width = X[:size].copy(), 1
    while width < 4096:
        weights = np.ones((X.shape[1], width), np.float32)
        took = min(seconds(lambda w=weights: batch @ w) for _ in range(20)) * (len(X) / size)  # type: ignore[misc]
        if took >= target:
            break
        width = max(width + 1, int(width * min(4.0, target / took)))
    return weights


def compete(
    shape: tuple[int, int], size: int, augment: Callable[..., Any] | None, turns: int
) -> dict[str, Any]:
    X = np.random.default_rng(0).random(shape, dtype=np.float32)
    plain = fo.Batches(X, size=size, rng=0, augment=augment)
    ahead = fo.Batches(X, size=size, rng=0, augment=augment, prefetch=True)

    def gather() -> None:
        for _ in plain:
            pass

    gather()
    weights = balanced(X, size, seconds(gather))
    out, still = np.empty((size, weights.shape[1]), np.float32), X[:size].copy()

    def compute() -> None:
        for _ in range(len(plain)):
            np.matmul(still, weights, out=out)

    def both(batches: fo.Batches) -> Callable[[], None]:
        def run() -> None:
            for batch in batches:
                np.matmul(batch, weights, out=out[: len(batch)])

        return run

    field = {
        "gather": gather,
        "compute": compute,
        "one after the other": both(plain),
        "prefetch": both(ahead),
    }
    times: dict[str, list[float]] = {name: [] for name in field}
    for turn in range(turns + 1):
        for name, run in field.items():
            took = seconds(run)
            if turn:
                times[name].append(took)
    median = {name: statistics.median(found) for name, found in times.items()}
    best = {name: min(found) for name, found in times.items()}
    return {
        "shape": shape,
        "size": size,
        "augment": augment is not None,
        "median": median,
        "ratio": median["prefetch"] / max(median["gather"], median["compute"]),
        "quiet": best["prefetch"] / max(best["gather"], best["compute"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer turns")
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder of the results")
    args = parser.parse_args()
    turns = 5 if args.quick else 21
    records = [compete(shape, size, None, turns) for shape, size in ROWS]
    records.append(compete((60_000, 784), 128, noisy, turns))
    records.sort(key=lambda record: -record["ratio"])
    print(f"epoch with prefetch / max(gather, compute), worst first; wanted {WANTED}")
    for r in records:
        parts = "  ".join(f"{name} {value * 1e3:.2f}" for name, value in r["median"].items())
        kind = "augmented" if r["augment"] else ""
        print(
            f"{r['shape'][0]:>8} x {r['shape'][1]:<4} by {r['size']:<5}{kind:10}{r['ratio']:6.2f}"
            f"  quiet {r['quiet']:5.2f}   ms: {parts}"
        )
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "prefetch.json").write_text(
        json.dumps({"numpy": np.__version__, "records": records}, indent=1)
    )


if __name__ == "__main__":
    main()
