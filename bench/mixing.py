"""How much mixing a training run needs: ``python -m bench.mixing [--quick] [--out FOLDER]``.

The digits of the package, their training rows sorted by class (the worst case for an order that follows the file), in
blocks of 30 rows; softmax regression by plain SGD, batches of 32, a fixed step. Orders: as the rows lie, a fixed
permutation, blocks with buffers of growing size, a new permutation each epoch. Figures: accuracy on the rows left
out, after the last epoch, mean and standard deviation over seeds, and the mean
over the last quarter of the epochs. Writes mixing.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo
from fastopt.data.order import epoch_order

BLOCK, SIZE, CLASSES = 30, 32, 10


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training rows sorted by class, and every fifth row left out for testing."""
    X, y = fo.data.load_digits()
    X = np.asarray(X, float).reshape(len(y), -1)
    X = np.c_[X / X.max(), np.ones(len(y))]
    test = np.arange(len(y)) % 5 == 0
    sort = np.argsort(y[~test], kind="stable")
    return X[~test][sort], y[~test][sort], X[test], y[test]


def train(shuffle: Any, seed: int, epochs: int, lr: float) -> list[float]:
    """Accuracy on the test rows after each epoch."""
    X, y, X_test, y_test = data()
    W = np.zeros((X.shape[1], CLASSES))
    found = []
    for epoch in range(epochs):
        order = epoch_order(len(X), np.random.SeedSequence(seed), epoch, shuffle)
        for start in range(0, len(X), SIZE):
            rows = slice(start, start + SIZE) if order is None else order[start : start + SIZE]
            xb, yb = X[rows], y[rows]
            z = xb @ W
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            p[np.arange(len(yb)), yb] -= 1
            W -= lr / len(yb) * xb.T @ p
        found.append(float(np.mean((X_test @ W).argmax(axis=1) == y_test)))
    return found


def orders(blocks: int) -> dict[str, Any]:
    field: dict[str, Any] = {"none (sorted by class)": False}
    buffer = 1
    while buffer < blocks:
        field[f"Blocks, buffer of {buffer / blocks:.0%}"] = fo.data.Blocks(BLOCK, buffer)
        buffer *= 2
    return {**field, "once": "once", "a new permutation each epoch": "epoch"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer seeds")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path("bench-results"), help="folder of the results")
    args = parser.parse_args()
    blocks = -(-len(data()[1]) // BLOCK)
    print(f"{blocks} blocks of {BLOCK} rows, {args.epochs} epochs, step {args.lr}")
    print(f"{'order':32s} {'last':>7s} {'+-':>6s} {'last quarter':>13s}")
    records = []
    for name, shuffle in orders(blocks).items():
        runs = [train(shuffle, seed, args.epochs, args.lr) for seed in range(3 if args.quick else 10)]
        last = [run[-1] for run in runs]
        late = statistics.mean(statistics.mean(run[-(args.epochs // 4) :]) for run in runs)
        print(f"{name:32s} {statistics.mean(last):7.3f} {statistics.stdev(last):6.3f} {late:13.3f}")
        records.append({"order": name, "last": last, "late": late})
    args.out.mkdir(parents=True, exist_ok=True)
    results = {"block": BLOCK, "size": SIZE, "epochs": args.epochs, "lr": args.lr, "records": records}
    (args.out / "mixing.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
