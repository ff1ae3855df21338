"""How many evaluations each solver needs, over all of fastopt.problems: ``python -m bench.evaluations --quick``.

A problem counts as solved to tau when f <= f_low + tau (f(x0) - f_low), f_low the lowest value that any contestant of
the family came to (More and Wild 2009). So no solver's own stopping test has a say. Budget: 20000 evaluations, joint
ones of f and g.
With --out: evaluations.json, and a picture a family of its performance profiles (Dolan and More 2002).
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
LARGEST_RATIO = 32  # where the pictures end


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


def summary(
    table: dict[str, dict[str, Any]], ours: str, peer: str | None, taus: tuple[float, ...] = TAUS
) -> dict[str, Any]:
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
            both = [
                (c[ours], c[peer]) for c in counts.values() if np.isfinite(c[ours]) and np.isfinite(c[peer])
            ]
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
        of = next(iter(verdict["rows"].values()))["of"]
        print(f"\n{family}, tau = {tau}: solved / fewest evaluations / within twice the fewest, of {of}")
        for name, row in sorted(verdict["rows"].items(), key=lambda item: -item[1]["solved"]):
            print(f"  {name:20s} {row['solved']:4d} {row['best']:4d} {row['within 2']:4d}")
        if "median ratio" in verdict:
            print(
                f"  {ours} / {peer}: median {verdict['median ratio']:.2f}, total {verdict['total ratio']:.2f}"
            )


def profile(counts: dict[str, dict[str, float]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """(ratio to the fewest evaluations of anybody, rising; share of all problems solved within it)."""
    best = [min(row.values()) for row in counts.values()]
    ratios = [
        row[name] / fewest
        for row, fewest in zip(counts.values(), best, strict=True)
        if np.isfinite(row[name])
    ]
    return np.sort(ratios), np.arange(1, len(ratios) + 1) / max(len(counts), 1)


def draw(family: str, result: dict[str, Any], path: Path) -> None:
    """The performance profiles of a family: a panel a tau, a line a solver, ours the bold ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1 + 4.2 * len(result), 4.2), layout="constrained")
    axes = figure.subplots(1, len(result), squeeze=False, sharex=True, sharey=True)[0]
    for ax, (tau, verdict) in zip(axes, result.items(), strict=True):
        for k, name in enumerate(verdict["rows"]):
            ratio, share = profile(verdict["counts"], name)
            ours = name.startswith("fastopt")
            ax.step(
                [1, *ratio, LARGEST_RATIO], [0, *share, share[-1] if share.size else 0], where="post", label=name,
                color=f"C{k}", linewidth=2.2 if ours else 1.2, zorder=3 if ours else 2,
            )  # fmt: skip
        ax.set_xscale("log", base=2)
        ax.set_xlim(1, LARGEST_RATIO)
        ax.set_ylim(0, 1.02)
        ax.grid(alpha=0.25)
        ax.set_title(f"tau = {tau}", loc="left", fontsize=10)
        ax.set_xlabel("evaluations over the fewest of anybody")
    axes[0].set_ylabel("share of the problems solved")
    axes[-1].legend(loc="lower right", fontsize=8, frameon=False)
    figure.suptitle(f"{family}: performance profiles (higher is better)", x=0.01, ha="left")
    figure.savefig(path, dpi=130)


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
        for family, result in results.items():
            name = family.replace(",", "").replace(" ", "-").lower()
            draw(family, result, args.out / f"evaluations-{name}.png")


if __name__ == "__main__":
    main()
