"""What the solvers cost beside their evaluations: ``python -m bench.minimize [--quick]``.

overhead    microseconds that `minimize` adds to each call of a Python function. The function answers from a list of
            what the chained Rosenbrock function gave on the same run, so that its own time, which is taken off,
            hides nothing; SciPy's method of the same name beside it.
rosenbrock  the function of two variables from (-1.2, 1), compiled: a whole run inside `minimize_many`, and by a call.
curve       fits of a exp(-b t) + c to 20 points: compiled, and as one function of rows against a loop over SciPy.
iteration   a whole iteration of L-BFGS at n = 1e6, less the time of its evaluations, against SciPy's.

Compiled objectives are numba's; without numba those rows are left out. Writes minimize.json and minimize.txt.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy.optimize import minimize as scipy_minimize

import fastopt as fo
from bench.lbfgs import SCIPY, Quadratic, whole_solvers
from bench.update import listed, machine
from fastopt.cli.contest import OURS, Repeated, Timing, contest

Row = dict[str, Any]
Function = Callable[..., Any]

#: Ours -> SciPy's method of the same name.
SAME = {"cg": "CG", "bfgs": "BFGS", "lbfgs": "L-BFGS-B"}
PARTS = ("overhead", "rosenbrock", "curve", "iteration")
ALONE, FIRST, LOOP, CALL, ROWS = (
    "function alone",
    "one evaluation",
    "loop over SciPy",
    "one call",
    "function of rows",
)
KINDS = ("median", "best")
START = (-1.2, 1.0)
TIMES = np.linspace(0, 4, 20)  # where the curve is measured
OVERHEAD, WHOLE, FITS, FASTER, ITERATION = 1.5, 5.0, 1e5, 50.0, 2.0  # the targets, in the order of verdicts()


def timed(row: Row, timings: dict[str, Timing]) -> Row:
    return row | {
        "median": {name: t.median for name, t in timings.items()},
        "best": {name: t.best for name, t in timings.items()},
        "turns": {name: t.turns for name, t in timings.items()},
    }


# ---- overhead ----
def chained(x: np.ndarray) -> tuple[float, np.ndarray]:
    """The chained Rosenbrock function, and its gradient."""
    r, e = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    g = np.zeros_like(x)
    g[1:] = 200 * r
    g[:-1] -= 400 * x[:-1] * r + 2 * e
    return float(100 * (r @ r) + e @ e), g


class Tape:
    """A run whose function answers from a list."""

    def __init__(self, solve: Callable[[Function], object]) -> None:
        self.solve = solve
        self.answers: list[tuple[float, np.ndarray]] = []
        solve(self._record)
        self.rest = iter(self.answers)

    def _record(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        answer = chained(x)
        self.answers.append(answer)
        return answer

    def _answer(self, x: np.ndarray | None) -> tuple[float, np.ndarray]:
        return next(self.rest)

    def run(self) -> None:
        self.rest = iter(self.answers)
        self.solve(self._answer)
        if next(self.rest, None) is not None:
            raise RuntimeError("the run ended before the one that it repeats")

    def alone(self) -> None:
        self.rest = iter(self.answers)
        function = self._answer
        for _ in self.answers:
            function(None)


def overhead(options: argparse.Namespace) -> Iterator[Row]:
    for n in options.sizes:
        x0 = np.resize(START, n)
        for ours, theirs in SAME.items():
            peer = f"scipy {theirs}"
            tapes = {
                OURS: Tape(partial(fo.minimize, x0=x0, method=ours)),
                peer: Tape(partial(scipy_minimize, x0=x0, jac=True, method=theirs)),
            }
            first = Tape(partial(fo.minimize, x0=x0, method=ours, options={"maxfev": 1}))
            field: dict[str, Callable[[], object]] = {FIRST: first.run}
            for name, tape in tapes.items():
                field |= {name: tape.run, f"{name}, {ALONE}": tape.alone}
            row = {"part": "overhead", "n": n, "method": ours, "peer": peer, "threads": 1}
            row["nfev"] = {name: len(tape.answers) for name, tape in tapes.items()}
            yield timed(row, contest(field, options.budget, least=options.least))


def added(row: Row, name: str, kind: str) -> float:
    """Seconds that a solver adds to each evaluation."""
    return (row[kind][name] - row[kind][f"{name}, {ALONE}"]) / row["nfev"][name]


# ---- compiled ----
def compiled() -> tuple[dict[str, Any], Callable[[np.ndarray, np.ndarray, np.ndarray], float]]:
    """The objectives as numba's cfuncs, and a loop that evaluates curves a number of times each."""
    from numba import carray, cfunc, njit, types

    real = types.CPointer(types.float64)
    objective = cfunc(types.float64(types.int64, real, real, types.voidptr), error_model="numpy")
    step = float(TIMES[1])

    def rosenbrock(n, x, g, user):  # type: ignore[no-untyped-def]
        r, e = x[1] - x[0] * x[0], 1 - x[0]
        g[0] = -400 * x[0] * r - 2 * e
        g[1] = 200 * r
        return 100 * r * r + e * e

    @njit(error_model="numpy")
    def half_squares(a, b, c, y):  # type: ignore[no-untyped-def]
        f = ga = gb = gc = 0.0
        for i in range(20):
            t = i * step
            e = math.exp(-b * t)
            r = a * e + c - y[i]
            f += r * r
            ga += r * e
            gb -= r * a * t * e
            gc += r
        return 0.5 * f, ga, gb, gc

    def curve(n, x, g, user):  # type: ignore[no-untyped-def]
        f, g[0], g[1], g[2] = half_squares(x[0], x[1], x[2], carray(user, 20, np.float64))
        return f

    @njit(error_model="numpy")
    def again(X, Y, counts):  # type: ignore[no-untyped-def]
        total = 0.0
        for i in range(len(X)):
            for k in range(counts[i]):
                nudge = 1e-9 * k  # no call is like the last
                f, ga, gb, gc = half_squares(X[i, 0], X[i, 1] + nudge, X[i, 2], Y[i])
                total += f + ga + gb + gc
        return total

    return {"rosenbrock": objective(rosenbrock), "curve": objective(curve)}, again


def rosenbrock(options: argparse.Namespace) -> Iterator[Row]:
    f = compiled()[0]["rosenbrock"]
    copies = np.tile(START, (options.copies, 1))
    for ours, theirs in SAME.items():
        one = {"threads": 1}
        many = partial(fo.minimize_many, f, copies, method=ours, options=one)
        ended = many()
        field: dict[str, Callable[[], object]] = {
            OURS: Repeated(many, options.copies),
            CALL: partial(fo.minimize, f, np.array(START), method=ours, options=one),
            f"scipy {theirs}": partial(scipy_minimize, chained, START, jac=True, method=theirs),
        }
        row = {"part": "rosenbrock", "n": 2, "method": ours, "threads": 1, "copies": options.copies}
        row |= {"nfev": int(ended.nfev[0]), "solved": bool(ended.success.all())}
        yield timed(row, contest(field, options.budget, least=options.least))


def curves(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Measured values of `count` curves, noise of 0.02; the parameters they were made from."""
    rng = np.random.default_rng(0)
    true = rng.uniform((1, 0.5, -1), (3, 2, 1), (count, 3))
    y = true[:, :1] * np.exp(-true[:, 1:2] * TIMES) + true[:, 2:]
    return y + 0.02 * rng.standard_normal(y.shape), true


def curve_rows(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the sum of squares of each curve, and the gradients."""
    e = np.exp(-X[:, 1:2] * TIMES)
    part = X[:, :1] * e
    r = part + X[:, 2:] - Y
    part *= r
    g = np.stack([np.einsum("ij,ij->i", r, e), -(part @ TIMES), r.sum(1)], 1)
    return 0.5 * np.einsum("ij,ij->i", r, r), g


def curve_one(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    e = np.exp(-x[1] * TIMES)
    part = x[0] * e
    r = part + x[2] - y
    return 0.5 * float(r @ r), np.array([r @ e, -(r @ (TIMES * part)), r.sum()])


def curve(options: argparse.Namespace) -> Iterator[Row]:
    Y, true = curves(options.fits)
    X0 = np.tile((1.0, 1.0, 0.0), (options.fits, 1))
    few = min(options.fits, options.looped)
    objectives, again = compiled() if find_spec("numba") else ({}, None)
    for ours in ("bfgs", "lbfgs"):
        solve = partial(fo.minimize_many, X0=X0, args=Y, method=ours, options={"threads": 1})
        rows = solve(curve_rows)
        field: dict[str, Callable[[], object]] = {ROWS: Repeated(partial(solve, curve_rows), options.fits)}
        if again:
            compiled_run = partial(solve, objectives["curve"])
            field = {OURS: Repeated(compiled_run, options.fits)} | field
            field[ALONE] = Repeated(partial(again, X0, Y, compiled_run().nfev), options.fits)

        def loop(method: str = SAME[ours]) -> None:
            for i in range(few):
                scipy_minimize(curve_one, X0[i], args=(Y[i],), jac=True, method=method)

        field[LOOP] = Repeated(loop, few)
        row = {"part": "curve", "n": 3, "method": ours, "threads": 1, "fits": options.fits}
        row |= {"nfev": float(rows.nfev.mean()), "solved": float(rows.success.mean())}
        row["error"] = float(np.median(np.abs(rows.x - true)))
        yield timed(row, contest(field, options.budget, least=min(options.least, 3)))


# ---- L-BFGS, a whole iteration ----
def iteration(options: argparse.Namespace) -> Iterator[Row]:
    from threadpoolctl import threadpool_limits

    n, m = options.large, 10

    def ours(f: Quadratic, iterations: int) -> int:
        limits = {"maxiter": iterations, "gtol": 0, "memory": m}
        return int(fo.minimize(f, np.ones(n), method="lbfgs", options=limits).nit)

    def seconds(run: Callable[[Quadratic, int], int], iterations: int) -> tuple[float, int]:
        f = Quadratic(n)
        start = time.perf_counter()
        done = run(f, iterations)
        return time.perf_counter() - start - f.seconds, done

    before = fo.get_num_threads()
    for threads in options.threads:
        with threadpool_limits(threads):
            fo.set_num_threads(threads)
            field = {OURS: ours, SCIPY: whole_solvers(n, m, threads)[SCIPY]}
            turns: dict[str, list[float]] = {name: [] for name in field}
            for turn in range(options.least):
                for name in list(field)[:: 1 if turn % 2 else -1]:
                    # The memory is full in between.
                    (first, began), (second, ended) = (seconds(field[name], k) for k in (m + 2, 2 * m + 12))
                    turns[name].append((second - first) / max(ended - began, 1))
            row = {"part": "iteration", "n": n, "method": "lbfgs", "threads": threads}
            yield timed(row, {name: Timing(median(t), min(t), len(t)) for name, t in turns.items()})
    fo.set_num_threads(before)


# ---- what is printed ----
def verdicts(rows: Sequence[Row]) -> list[Row]:
    """Every target that applies to every row, worst first: `bad` above 1 is a miss."""

    def judge(row: Row, what: str, values: dict[str, float], target: float, least: bool = True) -> Row:
        value = values["median"]
        return {key: row[key] for key in ("part", "n", "method", "threads")} | {
            "what": what,
            "value": value,
            "quiet": values["best"],
            "target": f"{'>=' if least else '<='} {target:g}",
            "bad": target / max(value, 1e-300) if least else value / target,
        }

    def ratio(row: Row, over: str, under: str) -> dict[str, float]:
        return {kind: row[kind][over] / row[kind][under] for kind in KINDS}

    def found() -> Iterator[Row]:
        for row in rows:
            if row["part"] == "overhead":
                values = {kind: added(row, OURS, kind) * 1e6 for kind in KINDS}
                yield judge(row, "us added an evaluation", values, OVERHEAD, least=False)
            elif row["part"] == "rosenbrock" and row["method"] == "bfgs":
                values = {kind: row[kind][OURS] * 1e6 for kind in KINDS}
                yield judge(row, "us a whole run", values, WHOLE, least=False)
            elif row["part"] == "curve":
                if OURS in row["median"]:
                    yield judge(row, "compiled fits a second", {k: 1 / row[k][OURS] for k in KINDS}, FITS)
                yield judge(row, f"{LOOP} / {ROWS}", ratio(row, LOOP, ROWS), FASTER)
            elif row["part"] == "iteration":
                yield judge(row, f"{SCIPY} / {OURS}", ratio(row, SCIPY, OURS), ITERATION)

    return sorted(found(), key=lambda v: -v["bad"])


def detail(row: Row) -> str:
    """One row's figures, the best turns."""
    head = f"{row['part']:10s} n={row['n']:<8d}{row['method']:6s}x{row['threads']}: "
    if row["part"] == "overhead":
        each = {name: added(row, name, "best") * 1e6 for name in (OURS, row["peer"])}
        start = row["best"][FIRST] * 1e6
        later = (each[OURS] * row["nfev"][OURS] - start) / max(row["nfev"][OURS] - 1, 1)
        told = "  ".join(f"{name} {us:.2f} ({row['nfev'][name]} evaluations)" for name, us in each.items())
        ratio = each[row["peer"]] / each[OURS]
        return f"{head}{told}  ratio {ratio:.0f}; ours {start:.1f} to begin and end, {later:.2f} each after"
    cells = "  ".join(f"{name} {seconds * 1e6:.4g}" for name, seconds in row["best"].items())
    more = "".join(f"  {key} {row[key]:.4g}" for key in ("nfev", "solved", "error") if key in row)
    return f"{head}{cells}{';' if more else ''}{more}"


def report(rows: Sequence[Row], about: dict[str, Any]) -> str:
    found = verdicts(rows)
    missed = sum(v["bad"] > 1 for v in found)
    lines = ["  ".join(f"{key} {value}" for key, value in about.items()), ""]
    lines.append(
        f"{missed} of {len(found)} targets missed, worst first (median, target, the same of the best turns)"
    )
    for v in found:
        lines.append(
            f"{'met   ' if v['bad'] <= 1 else 'MISSED'} {v['part']:10s} n={v['n']:<8d}{v['method']:6s}x{v['threads']}  "
            f"{v['what']:34s}{v['value']:10.4g}  {v['target']:9s}{v['quiet']:10.4g}"
        )
    lines += ["", "microseconds, best turns", *map(detail, rows), ""]
    return "\n".join(lines)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.minimize", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20000 fits, short turns")
    parser.add_argument("--parts", type=listed(str), default=list(PARTS), help=", ".join(PARTS))
    parser.add_argument("--sizes", type=listed(int), default=[2, 10, 100], help="n of the overhead")
    parser.add_argument("--copies", type=int, default=200, help="Rosenbrock runs in one call")
    parser.add_argument("--fits", type=int)
    parser.add_argument("--looped", type=int, default=200, help="fits of the loop over SciPy")
    parser.add_argument("--large", type=int, default=10**6, help="n of the iteration")
    parser.add_argument("--threads", type=listed(int), default=[1, 2], help="of the iteration")
    parser.add_argument("--budget", type=float, help="seconds a row")
    parser.add_argument("--out", type=Path, default=Path("bench-results"))
    options = parser.parse_args(argv)
    if set(options.parts) - set(PARTS):
        parser.error(f"--parts: {','.join(options.parts)}; {', '.join(PARTS)} are known")
    if min([*options.threads, options.copies, options.looped, options.large]) < 1 or min(options.sizes) < 2:
        parser.error("--threads, --copies, --looped and --large need at least 1, --sizes at least 2")
    options.fits = options.fits or (20_000 if options.quick else 100_000)
    options.budget = options.budget if options.budget is not None else 0.7 if options.quick else 3.0
    options.least = 3 if options.quick else 7
    return options


def main(argv: Sequence[str] | None = None) -> int:
    options = parse(argv)
    rows: list[Row] = []
    for part in options.parts:
        if part == "rosenbrock" and not find_spec("numba"):
            continue
        rows += globals()[part](options)
    about = machine()
    about["load"] = [round(x, 1) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None
    about["peers"] = {name: version(name) for name in ("scipy", "numpy", "numba") if find_spec(name)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "minimize.json").write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    text = report(rows, about)
    (options.out / "minimize.txt").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
