"""The matrix work of one BFGS iteration against its floor, BLAS and SciPy's update: ``python -m bench.bfgs [--quick]``.

Ours is one pass over a packed triangle that makes the pending rank-two update and the next product. The floor reads
and writes n (n + 1) / 2 elements once. "symv + syr2" is the same work with the BLAS of SciPy, "scipy BFGS" what
``scipy.optimize.minimize(method="BFGS")`` computes: ``A1 @ (H @ A2) + rho s s'`` and ``H @ g``.
Writes bfgs.json and bfgs.txt. One process a number of threads, with BLAS limited to as many.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg.blas

from bench.update import in_a_process, listed, machine
from fastopt._core import triangle
from fastopt.cli.contest import Repeated, contest

Row = dict[str, Any]

SIZES = (100, 500, 1000, 2000)
SMALL = (2, 5, 10, 20)
OURS, FLOOR, OURS_BLAS, BLAS, SCIPY = "fastopt", "floor", "fastopt with BLAS", "symv + syr2", "scipy BFGS"
CUBIC_LIMIT = 1000  # the largest n for which SciPy's update takes part: 0.1 s each there


def aligned(count: int, dtype: np.dtype[Any]) -> np.ndarray:
    store = np.zeros(count + 64, dtype)
    start = -(store.ctypes.data // dtype.itemsize) % (64 // dtype.itemsize)
    return store[start : start + count]


def scipy_update(h: np.ndarray, s: np.ndarray, y: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The lines of SciPy's BFGS that touch its matrix."""
    eye = np.eye(len(s), dtype=h.dtype)
    rho = h.dtype.type(1 / (y @ s))
    a1 = eye - s[:, None] * y[None, :] * rho
    a2 = eye - y[:, None] * s[None, :] * rho
    h[...] = a1 @ (h @ a2) + rho * s[:, None] * s[None, :]
    return h @ g


def contestants(n: int, dtype: np.dtype[Any], threads: int) -> dict[str, Callable[[], object]]:
    """Each does one iteration's work, in place, over and over; s and w are small, so that H stays near I."""
    rng = np.random.default_rng(n)
    s, w = (1e-3 * rng.standard_normal((2, n))).astype(dtype)
    g = rng.standard_normal(n).astype(dtype)
    u = np.empty(n, dtype)
    h = aligned(triangle.elements(dtype, n), dtype)
    triangle.identity(n, 1.0, h)
    room = aligned(triangle.scratch(dtype, n), np.dtype(np.uint8))
    plain = aligned(n * (n + 1) // 2, dtype)
    plain[:] = 1
    times = max(1, 500_000 // (n * n))  # calls in one: the way through Python is no part of the work
    full, theirs = (aligned(n * n, dtype).reshape(n, n) for _ in range(2))
    full[...] = theirs[...] = np.eye(n)
    kind = "d" if dtype == np.float64 else "s"
    syr2, symv = (getattr(scipy.linalg.blas, kind + name) for name in ("syr2", "symv"))

    def blas() -> None:
        syr2(1.0, s, w, a=theirs.T, lower=1, overwrite_a=1)
        symv(1.0, theirs.T, g, lower=1, y=u, overwrite_y=1)

    field: dict[str, Callable[[], object]] = {
        OURS: Repeated(partial(triangle.pass_, h, s, w, g, u, room, threads, times), times),
        FLOOR: Repeated(partial(triangle.floor, n, plain, threads, times), times),
        OURS_BLAS: partial(triangle.dense_pass, full, s, w, g, u),
        BLAS: blas,
    }
    if n <= CUBIC_LIMIT:
        field[SCIPY] = partial(scipy_update, np.eye(n, dtype=dtype), s, s, g)
    return field


def measure(options: argparse.Namespace, threads: int) -> list[Row]:
    rows = []
    for dtype in options.dtypes:
        for n in options.sizes:
            timings = contest(
                contestants(n, np.dtype(dtype), threads), 1.0 if options.quick else 4.0, threads=threads
            )
            rows.append(
                {
                    "n": n,
                    "dtype": dtype,
                    "threads": threads,
                    "median": {name: t.median for name, t in timings.items()},
                    "best": {name: t.best for name, t in timings.items()},
                    "turns": {name: t.turns for name, t in timings.items()},
                }
            )
    return rows


def verdicts(rows: Sequence[Row]) -> list[Row]:
    """Every target that applies to every row, worst first: `bad` above 1 is a miss."""

    def found() -> Iterator[Row]:
        for row in rows:
            targets = [(OURS, FLOOR, 1.6, 0.0)] if row["n"] >= min(SIZES) else []
            targets += [(BLAS, OURS, 0.0, 1.0)]
            if row["n"] == CUBIC_LIMIT and row["dtype"] == "float64":
                targets += [(SCIPY, OURS, 0.0, 500.0)]
            for over, under, at_most, at_least in targets:
                value, quiet = (row[kind][over] / row[kind][under] for kind in ("median", "best"))
                yield {
                    "what": f"{over} / {under}",
                    "value": value,
                    "quiet": quiet,
                    "target": f"<= {at_most:g}" if at_most else f">= {at_least:g}",
                    "bad": value / at_most if at_most else at_least / value,
                    **{key: row[key] for key in ("n", "dtype", "threads")},
                }

    return sorted(found(), key=lambda v: -v["bad"])


def report(rows: Sequence[Row], about: dict[str, Any]) -> str:
    lines = ["  ".join(f"{key} {value}" for key, value in about.items()), ""]
    lines.append("ratio of medians, target, ratio of the best turns; worst first")
    for v in verdicts(rows):
        state = "met   " if v["bad"] <= 1 else "MISSED"
        lines.append(
            f"{state} {v['what']:24s} {v['dtype']:8s} n={v['n']:<5d} x{v['threads']}"
            f"{v['value']:10.2f}  {v['target']:7s}{v['quiet']:10.2f}"
        )
    lines += ["", "microseconds, medians"]
    for row in rows:
        cells = "  ".join(f"{name} {t * 1e6:.4g}" for name, t in row["median"].items())
        lines.append(f"{row['dtype']:8s} n={row['n']:<5d} x{row['threads']}: {cells}")
    return "\n".join(lines) + "\n"


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.bfgs", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short turns")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    parser.add_argument("--sizes", type=listed(int), default=[*SMALL, *SIZES])
    parser.add_argument("--threads", type=listed(int), default=[1, 2])
    parser.add_argument("--dtypes", type=listed(str), default=["float64", "float32"])
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if set(options.dtypes) - {"float32", "float64"}:
        parser.error(f"--dtypes: {','.join(options.dtypes)}; float32 and float64 are known")
    if min(options.threads) < 1 or min(options.sizes) < 1:
        parser.error("--threads and --sizes need numbers of at least 1")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else list(argv)
    options = parse(argv)
    if options.part:
        options.part.write_text(json.dumps(measure(options, options.threads[0])))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for threads in options.threads:
        limits = {f"{name}_NUM_THREADS": str(threads) for name in ("OPENBLAS", "MKL", "OMP")}
        rows += in_a_process("bench.bfgs", argv, threads, options.out, limits)
    about = machine()
    (options.out / "bfgs.json").write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    text = report(rows, about)
    (options.out / "bfgs.txt").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
