"""How many evaluations each solver needs, over all of fastopt.problems: ``python -m bench.evaluations --quick``.

A problem counts as solved to tau when f <= f_low + tau (f(x0) - f_low), f_low the lowest value that any contestant of any family came to
(More and Wild 2009). So no solver's own stopping test has a say. Budget: 20000 evaluations, joint ones of f and g.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.solvers import FAMILIES, Counted, available, solve
from fastopt import problems

TAUS = (1e-3, 1e-6, 1e-9)


def cases(quick: bool, dense: bool) -> list[tuple[str, Any]]:
    """(label, problem): every problem at its default size, and the large ones at other sizes where the family can."""
    found = [(p.name, p) for p in problems.all_problems()]
    if not quick and not dense:
        for name in problems.names("large"):
            for n in (1000, 10_000):
                try:
                    found.append((f"{name} {n}", problems.get(name, n)))
                except ValueError:
                    continue
    return found


def run_family(family: str, quick: bool, budget: int, only: str | None = None) -> dict[str, dict[str, Any]]:
    """label -> contestant -> lowest values by evaluation."""
    dense = family in ("quasi-Newton, dense", "Newton")
    table: dict[str, dict[str, Any]] = {}
    for label, problem in cases(quick, dense):
        if family == "Newton" and problem.hess is None:
            continue
        row: dict[str, Any] = {}
        for name, run in available(family).items():
            if only and only not in name:
                continue
            counted = Counted(problem, budget)
            end = solve(run, counted)
            row[name] = {"lowest": counted.lowest, "end": end}
        table[label] = row
        print(f"{family}: {label}", file=sys.stderr)
    return table


def needed(lowest: list[float], f_low: float, tau: float) -> float:
    """Evaluations until f <= f_low + tau (f0 - f_low); inf if never."""
    if not lowest or not np.isfinite(lowest[0]):
        return np.inf
    goal = f_low + tau * (lowest[0] - f_low) + 4e-16 * abs(f_low)
    below = np.flatnonzero(np.asarray(lowest) <= goal)
    return float(below[0] + 1) if below.size else np.inf


def summary(table: dict[str, dict[str, Any]], ours: str, peer: str | None, taus: tuple[float, ...] = TAUS) -> dict[str, Any]:
    """The performance profile at 1 and 2, and the median ratio to the peer of the same name."""
    names = list(next(iter(table.values())))
    out: dict[str, Any] = {}
    for tau in taus:
        counts = {}
        for label, row in table.items():
            f_low = min((r["lowest"][-1] for r in row.values() if r["lowest"]), default=np.inf)
            counts[label] = {name: needed(row[name]["lowest"], f_low, tau) for name in names}
        best = {label: min(c.values()) for label, c in counts.items()}
        rows = {}
        for name in names:
            ratio = [c[name] / best[label] for label, c in counts.items() if np.isfinite(best[label])]
            rows[name] = {
                "solved": int(np.sum(np.isfinite(ratio))),
                "best": int(np.sum(np.asarray(ratio) <= 1)),
                "within 2": int(np.sum(np.asarray(ratio) <= 2)),
                "of": len(counts),
            }
        verdict: dict[str, Any] = {"rows": rows, "counts": counts}
        if peer in names and ours in names:
            both = [(c[ours], c[peer]) for c in counts.values() if np.isfinite(c[ours]) and np.isfinite(c[peer])]
            if both:
                verdict["median ratio"] = float(np.median([a / b for a, b in both]))
                verdict["total ratio"] = sum(a for a, _ in both) / sum(b for _, b in both)
        out[f"{tau:g}"] = verdict
    return out


PAIRS = {
    "quasi-Newton, dense": ("fastopt bfgs", "SciPy BFGS"),
    "limited memory": ("fastopt lbfgs", "SciPy L-BFGS-B"),
    "conjugate gradients": ("fastopt cg", "SciPy CG"),
    "Newton": ("fastopt newton_cg", "SciPy Newton-CG"),
}


def show(family: str, result: dict[str, Any]) -> None:
    ours, peer = PAIRS[family]
    for tau, verdict in result.items():
        print(f"\n{family}, tau = {tau}: solved / fewest evaluations / within twice the fewest, of {next(iter(verdict['rows'].values()))['of']}")
        for name, row in sorted(verdict["rows"].items(), key=lambda item: -item[1]["solved"]):
            print(f"  {name:20s} {row['solved']:4d} {row['best']:4d} {row['within 2']:4d}")
        if "median ratio" in verdict:
            print(f"  {ours} / {peer}: median {verdict['median ratio']:.2f}, total {verdict['total ratio']:.2f}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="default sizes only")
    parser.add_argument("--budget", type=int, default=20_000)
    parser.add_argument("--family", choices=list(FAMILIES), action="append")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    results = {}
    for family in args.family or FAMILIES:
        table = run_family(family, args.quick, args.budget)
        results[family] = summary(table, *PAIRS[family])
        show(family, results[family])
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / "evaluations.json").write_text(json.dumps(results, indent=1, default=float))


if __name__ == "__main__":
    main()
