"""Paths of lasso and elastic net against scikit-learn, at equal duality gap: ``python -m bench.lasso [--quick]``.

The same penalties and the same criterion (gap <= tol |y|^2) for both, X in the order that both use
without copying. The gap of every
solution of either is then measured here, in double, over all columns. Writes lasso.json and lasso.txt to --out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import scipy.sparse as sp

import fastopt as fo
from bench.update import listed, machine
from fastopt.minimize.coordinate import lasso_path

OURS, PEER = "fastopt", "scikit-learn"
Record = dict[str, Any]


def data(kind: str, dtype: str, n: int, p: int) -> tuple[Any, np.ndarray]:
    """X of normal numbers, 1 % of them stored if sparse; y of 2 % of the columns, noise of 0.3 of its deviation."""
    rng = np.random.default_rng(0)
    if kind == "sparse":
        X: Any = sp.random_array(
            (n, p), density=0.01, format="csc", rng=rng, data_sampler=lambda size: rng.standard_normal(size)
        )
        X = sp.csc_matrix(X)
    else:
        X = np.asfortranarray(rng.standard_normal((n, p)))
        if kind == "correlated":  # neighbours share half of their variance
            X[:, 1:] += X[:, :-1]
    w = np.zeros(p)
    w[rng.choice(p, p // 50, replace=False)] = rng.standard_normal(p // 50)
    y = X @ w
    y += 0.3 * y.std() * rng.standard_normal(n)
    return X.astype(dtype), y.astype(dtype)


def largest_gap(X: Any, y: np.ndarray, alphas: np.ndarray, coefs: np.ndarray, l1_ratio: float) -> float:
    """Of all solutions of a path, over |y|^2: as a lasso on [X; sqrt(b) I], the residual scaled to be feasible."""
    X, y, n, worst = X.astype(float), y.astype(float), len(y), 0.0
    for alpha, w in zip(alphas, coefs.T.astype(float), strict=True):
        a, b = n * alpha * l1_ratio, n * alpha * (1 - l1_ratio)
        r = y - X @ w
        square = r @ r + b * (w @ w)
        c = min(r @ y / square, a / np.abs(X.T @ r - b * w).max())
        worst = max(worst, 0.5 * square + a * np.abs(w).sum() - c * (r @ y) + 0.5 * c * c * square)
    return float(worst / (y @ y))


def by_turns(field: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contestant, one turn a round, the order turned round each time."""
    seconds: dict[str, list[float]] = {name: [] for name in field}
    for turn in range(rounds):
        for name in list(field)[:: 1 if turn % 2 else -1]:
            start = time.perf_counter()
            field[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def measure(kind: str, dtype: str, l1_ratio: float, options: argparse.Namespace) -> Record:
    from sklearn.linear_model import enet_path

    X, y = data(kind, dtype, options.rows, options.columns)
    alphas = lasso_path(X, y, n_alphas=options.alphas, l1_ratio=l1_ratio, max_iter=1).alphas
    kept: dict[str, np.ndarray] = {}

    def ours(threads: int, name: str) -> None:
        fo.set_num_threads(threads)
        kept[name] = lasso_path(X, y, alphas, l1_ratio=l1_ratio, tol=options.tol).coefs

    def peer() -> None:
        kept[PEER] = enet_path(X, y, alphas=alphas, l1_ratio=l1_ratio, tol=options.tol, max_iter=100_000)[1]

    field: dict[str, Callable[[], object]] = {OURS: lambda: ours(1, OURS)}
    if options.threads > 1:
        name = f"{OURS} x{options.threads}"
        field[name] = lambda: ours(options.threads, name)
    field[PEER] = peer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds = by_turns(field, options.rounds)
    return {
        "kind": kind,
        "dtype": dtype,
        "l1_ratio": l1_ratio,
        "shape": [options.rows, options.columns],
        "alphas": len(alphas),
        "tol": options.tol,
        "median": {name: median(t) for name, t in seconds.items()},
        "best": {name: min(t) for name, t in seconds.items()},
        "gap": {name: largest_gap(X, y, alphas, coefs, l1_ratio) for name, coefs in kept.items()},
        "nonzero": {name: int(np.count_nonzero(coefs[:, -1])) for name, coefs in kept.items()},
    }


def report(rows: list[Record], about: dict[str, Any]) -> str:
    """Every row with its ratio, the worst first. Target: not slower than scikit-learn."""
    lines = []
    for row in rows:
        for name, seconds in row["median"].items():
            if name == PEER:
                continue
            value, quiet = (row[how][PEER] / row[how][name] for how in ("median", "best"))
            gaps = f"{row['gap'][name] / row['tol']:9.3f}{row['gap'][PEER] / row['tol']:9.3f}"
            what = f"{row['kind']:11s}{row['dtype']:8s} {row['l1_ratio']:8g}  {PEER} / {name:12s}"
            figures = f"{value:9.2f}  {'>= 1':8s}{quiet:9.2f}{seconds:10.4f}{gaps}"
            text = f"{'met   ' if value >= 1 else 'MISSED'} {what}{figures}"
            lines.append((value, text))
    lines.sort()
    missed = sum(value < 1 for value, _ in lines)
    head = (
        f"{'':6s} {'X':11s}{'dtype':8s} {'l1_ratio':>8s}  {'ratio':27s}"
        f"{'median':>9s}  {'target':8s}{'quiet':>9s}{'seconds':>10s}"
    )
    return "\n".join(
        [
            "  ".join(f"{key} {value}" for key, value in about.items()),
            "",
            f"{missed} of {len(lines)} targets missed, worst first (median: ratio of medians; quiet: "
            f"ratio of the best turns; seconds of "
            "ours; gaps: the largest of the path over what was asked for, ours and theirs)",
            head + f"{'gap':>9s}{'theirs':>9s}",
            *(text for _, text in lines),
            "",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.lasso", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="lasso only, three turns")
    parser.add_argument("--kinds", type=listed(str), default=["dense", "sparse", "correlated"])
    parser.add_argument("--dtypes", type=listed(str), default=["float32", "float64"])
    parser.add_argument("--l1-ratios", type=listed(float), default=[1.0, 0.5])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--columns", type=int, default=5000)
    parser.add_argument("--alphas", type=int, default=100)
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2, help="ours is run with 1 and with so many")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    options = parser.parse_args(argv)
    if options.quick:
        options.kinds = [kind for kind in options.kinds if kind != "correlated"]
        options.l1_ratios, options.rounds = options.l1_ratios[:1], min(options.rounds, 3)
    rows = [
        measure(kind, dtype, l1_ratio, options)
        for kind in options.kinds
        for l1_ratio in options.l1_ratios
        for dtype in options.dtypes
    ]
    about = machine()
    from importlib.metadata import version

    about["peers"] = {name: version(name) for name in ("scikit-learn", "scipy", "numpy")}
    text = report(rows, about)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "lasso.json").write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    (options.out / "lasso.txt").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
