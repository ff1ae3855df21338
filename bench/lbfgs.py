"""The vector work of an L-BFGS iteration against the memory floor and others: ``python -m bench.lbfgs [--quick]``.

Ours: one new pair measured and accepted, and the next direction. The floor: every pair read twice. NumPy: the
two-loop recursion with ``out=`` and a ring that moves nothing. SciPy and torch: whole iterations on a separable
quadratic, less the time of its evaluations, so their line search and tests are in the figure; PyLBFGS likewise.
The iterations are those of a run that has filled its memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import fastopt as fo
from bench.update import listed, machine
from fastopt._core.kernels import floor
from fastopt._core.pairs import Pairs
from fastopt.cli.contest import FLOOR, OURS, Repeated, contest

TWO_LOOP = "fastopt, two loops"
FLOOR_TARGET, SCIPY_TARGET = 1.2, 2.0
SCIPY = "scipy L-BFGS-B"


class NumpyPairs:
    """The two-loop recursion as a careful NumPy user writes it."""

    def __init__(self, n: int, m: int, dtype: Any):
        self.s, self.y = np.zeros((m, n), dtype), np.zeros((m, n), dtype)
        self.rho, self.work, self.head, self.m = np.zeros(m), np.empty(n, dtype), 0, m
        self.gamma, self.count = 1.0, 0

    def iterate(self, x: np.ndarray, xt: np.ndarray, g: np.ndarray, gt: np.ndarray, d: np.ndarray) -> None:
        s, y = self.s[self.head], self.y[self.head]
        np.subtract(xt, x, out=s)
        np.subtract(gt, g, out=y)
        sy = float(s @ y)
        self.rho[self.head], self.gamma = 1 / sy, sy / float(y @ y)
        self.head, self.count = (self.head + 1) % self.m, min(self.count + 1, self.m)
        order = [(self.head - 1 - k) % self.m for k in range(self.count)]
        alpha: dict[int, float] = {}
        np.negative(gt, out=d)
        for k in order:
            alpha[k] = float(self.rho[k] * (self.s[k] @ d))
            np.multiply(self.y[k], self.s.dtype.type(alpha[k]), out=self.work)
            d -= self.work
        d *= self.s.dtype.type(self.gamma)
        for k in reversed(order):
            beta = float(self.rho[k] * (self.y[k] @ d))
            np.multiply(self.s[k], self.s.dtype.type(alpha[k] - beta), out=self.work)
            d += self.work


def points(n: int, dtype: Any) -> tuple[np.ndarray, ...]:
    """x, xt, g, gt of a quadratic."""
    rng = np.random.default_rng(0)
    curvature = np.linspace(1, 10, n).astype(dtype)
    x, xt = (rng.standard_normal(n).astype(dtype) for _ in range(2))
    return x, xt, curvature * x, curvature * xt


def ours_and_numpy(n: int, m: int, dtype: Any, threads: int) -> dict[str, Callable[[], object]]:
    """Contestants that do the same work on the same vectors; ours and the floor walk one block."""
    x, xt, g, gt = points(n, dtype)
    memory, plain, d = Pairs(n, m, dtype), NumpyPairs(n, m, dtype), np.empty(n, dtype)

    def pair() -> None:
        memory.measure(x, xt, g, gt)
        memory.accept()

    def ours() -> None:
        pair()
        memory.direction(gt, d)

    def two_loop() -> None:
        pair()
        memory.two_loop(gt, d)

    numpy = partial(plain.iterate, x, xt, g, gt, d)
    for _ in range(m):
        ours()
        numpy()
    rows = memory.block[: memory.block.nbytes // 8 * 8].view(dtype)
    times = max(1, min(200, 100_000 // (n * m)))
    read = partial(floor, [], rows, True, threads, 2 * times)
    return {OURS: ours, FLOOR: Repeated(read, times), TWO_LOOP: two_loop, "numpy out=": numpy}


class Quadratic:
    """1/2 sum c x^2, curvatures 1 to 1e6, counting its evaluations and their time."""

    def __init__(self, n: int):
        self.curvature, self.evaluations, self.seconds = np.geomspace(1, 1e6, n), 0, 0.0

    def __call__(self, x: np.ndarray, *_: Any) -> tuple[float, np.ndarray]:
        start = time.perf_counter()
        g = self.curvature * x
        f = 0.5 * float(g @ x)
        self.seconds += time.perf_counter() - start
        self.evaluations += 1
        return f, g


def _per_iteration(run: Callable[[Quadratic, int], int], n: int, few: int, many: int) -> float:
    """Seconds per iteration between the few-th and the many-th, evaluations not counted."""

    def once(iterations: int) -> tuple[float, int]:
        f = Quadratic(n)
        start = time.perf_counter()
        done = run(f, iterations)
        return time.perf_counter() - start - f.seconds, done

    (first, began), (second, ended) = once(few), once(many)
    return (second - first) / max(ended - began, 1)


def whole_solvers(n: int, m: int, threads: int) -> dict[str, Callable[[Quadratic, int], int]]:
    from scipy.optimize import minimize

    def scipy_run(f: Quadratic, iterations: int) -> int:
        options = {"maxcor": m, "maxiter": iterations, "maxfun": 10**6, "ftol": 0, "gtol": 0}
        return int(minimize(f, np.ones(n), jac=True, method="L-BFGS-B", options=options).nit)

    found: dict[str, Callable[[Quadratic, int], int]] = {SCIPY: scipy_run}
    if find_spec("torch"):
        import torch

        torch.set_num_threads(threads)

        def torch_run(f: Quadratic, iterations: int) -> int:
            x = torch.ones(n, dtype=torch.float64, requires_grad=True)
            opt = torch.optim.LBFGS(
                [x], lr=1e-1, max_iter=iterations, max_eval=10**6, history_size=m,
                tolerance_grad=0, tolerance_change=0,
            )  # fmt: skip

            def closure() -> Any:
                value, g = f(x.detach().numpy())
                x.grad = torch.from_numpy(g)
                return torch.tensor(value)

            opt.step(closure)
            return int(opt.state[x]["n_iter"])

        found["torch LBFGS"] = torch_run
    if find_spec("lbfgs"):
        from lbfgs import LBFGSError, fmin_lbfgs

        def pylbfgs_run(f: Quadratic, iterations: int) -> int:
            done = 0

            def evaluate(x: np.ndarray, g: np.ndarray) -> float:
                value, slope = f(x)
                g[:] = slope
                return value

            def progress(*args: Any) -> int:
                nonlocal done
                done += 1
                return int(done >= iterations)

            with suppress(LBFGSError):  # stopped by progress
                fmin_lbfgs(evaluate, np.ones(n), progress=progress, m=m, epsilon=0.0)
            return done

        found["PyLBFGS"] = pylbfgs_run
    return found


def measure(n: int, m: int, dtype: str, threads: int, budget: float) -> dict[str, Any]:
    """One row: seconds of one iteration's vector work, ours and theirs."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(
        threads
    ):  # everybody's; helpers of BLAS that wait for a core would slow SciPy down
        return _measure(n, m, dtype, threads, budget)


def _measure(n: int, m: int, dtype: str, threads: int, budget: float) -> dict[str, Any]:
    fo.set_num_threads(threads)
    timings = contest(ours_and_numpy(n, m, np.dtype(dtype), threads), budget, threads=threads)
    row: dict[str, Any] = {"n": n, "m": m, "dtype": dtype, "threads": threads}
    row["median"] = {name: t.median for name, t in timings.items()}
    row["best"] = {name: t.best for name, t in timings.items()}
    if dtype == "float64":
        for name, run in whole_solvers(n, m, threads).items():
            times = [_per_iteration(run, n, m + 2, 2 * m + 12) for _ in range(3)]
            row["median"][name], row["best"][name] = median(times), min(times)
    return row


def verdicts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Targets and how far each row is from them, worst first."""
    found = []
    for row in rows:
        for over, under, target in ((OURS, FLOOR, FLOOR_TARGET), (SCIPY, OURS, SCIPY_TARGET)):
            if over not in row["median"] or (under == FLOOR and row["n"] * row["m"] < 10**7):
                continue
            value, quiet = (row[kind][over] / row[kind][under] for kind in ("median", "best"))
            bad = value / target if under == FLOOR else target / value
            found.append(
                {key: row[key] for key in ("n", "m", "dtype", "threads")}
                | {"what": f"{over} / {under}", "value": value, "quiet": quiet, "bad": bad, "met": bad <= 1}
                | {"target": f"{'<=' if under == FLOOR else '>='} {target:g}"}
            )
    return sorted(found, key=lambda v: -v["bad"])


def report(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["worst first (median: ratio of medians; quiet: ratio of the best turns)"]
    for v in verdicts(rows):
        lines.append(
            f"{'met   ' if v['met'] else 'MISSED'} n={v['n']:<9.0e} m={v['m']:<3d} {v['dtype']} x{v['threads']}  "
            f"{v['what']:28s}{v['value']:8.2f}  {v['target']:8s}{v['quiet']:8.2f}"
        )
    lines += ["", "microseconds an iteration, medians"]
    for row in rows:
        cells = "  ".join(f"{name} {seconds * 1e6:.4g}" for name, seconds in row["median"].items())
        lines.append(f"n={row['n']:.0e} m={row['m']} {row['dtype']} x{row['threads']}: {cells}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.lbfgs", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="n = 1e3 and 1e6, short turns")
    parser.add_argument("--sizes", type=listed(lambda s: int(float(s))))
    parser.add_argument("--memory", type=int, default=10)
    parser.add_argument("--threads", type=listed(int), default=[1, 2])
    parser.add_argument("--dtypes", type=listed(str), default=["float64", "float32"])
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    options = parser.parse_args(argv)
    sizes = options.sizes or ([10**3, 10**6] if options.quick else [2, 100, 10**3, 10**4, 10**5, 10**6])
    rows = [
        measure(n, options.memory, dtype, threads, 0.5 if options.quick else 2.0)
        for threads in options.threads
        for dtype in options.dtypes
        for n in sizes
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    about = machine()
    (options.out / "lbfgs.json").write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    print("  ".join(f"{key} {value}" for key, value in about.items()))
    print(report(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
