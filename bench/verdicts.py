"""Targets of the update benchmarks, and which rows of a run meet them: the worst row comes first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from fastopt.cli.contest import FLOOR, FLOOR_TWICE, OURS, OURS_RAISE
from fastopt.cli.peers import ROWS

__all__ = ["best_torch", "report", "verdicts"]

Row = dict[str, Any]
Verdict = dict[str, Any]

#: Elements -> how many times faster than the best mode of torch.
IN_CACHE = {10**4: 8.0, 10**5: 2.5, 10**6: 1.8}


def best_torch(seconds: dict[str, float]) -> str | None:
    """Name of torch's fastest way in a row."""
    ways = [name for name in seconds if name.startswith("torch")]
    return min(ways, key=seconds.__getitem__) if ways else None


def _verdict(row: Row, what: str, over: str, under: str, at_most: float = 0, at_least: float = 0) -> Verdict:
    value, quiet = (row[kind][over] / row[kind][under] for kind in ("median", "best"))
    bad = value / at_most if at_most else at_least / value
    return {
        "what": what,
        "rule": row["rule"],
        "dtype": row["dtype"],
        "size": row["size"],
        "arrays": row.get("arrays", 1),
        "threads": row["threads"],
        "value": value,
        "quiet": quiet,
        "target": f"<= {at_most:g}" if at_most else f">= {at_least:g}",
        "bad": bad,
        "met": bad <= 1,
        "ns": row["median"][OURS] / row["size"] * 1e9,
    }


def _of_row(row: Row) -> Iterator[Verdict]:
    seconds, size = row["median"], row["size"]
    torch, spec = best_torch(seconds), ROWS.get(row["rule"])
    if spec is None:
        if torch:
            yield _verdict(row, f"{torch} / ours", torch, OURS, at_least=2)
        return
    if row.get("arrays", 1) > 1:
        if row["size"] > 1000:
            yield _verdict(row, "ours / ours on one array", OURS, f"{OURS}, one array", at_most=1.5)
        else:
            for name in (OURS, OURS_RAISE):
                value, quiet = (row[kind][name] * 1e6 for kind in ("median", "best"))
                yield _verdict(row, f"{name}, microseconds", OURS, OURS, at_most=1) | {
                    "value": value, "quiet": quiet, "target": "<= 2", "bad": value / 2, "met": value <= 2,
                }  # fmt: skip
        for peer in (torch, "optax"):
            if peer and peer in seconds:
                yield _verdict(row, f"{peer} / ours", peer, OURS, at_least=1)
        return
    at_most = 1.1 if size >= 10**7 else (2.2 if spec.root else 1.6) if size >= 10**4 else 0
    if at_most:
        yield _verdict(row, "ours / floor", OURS, FLOOR, at_most=at_most)
        yield _verdict(row, "raise / floor read twice", OURS_RAISE, FLOOR_TWICE, at_most=at_most)
    if torch:
        needed = IN_CACHE.get(size, 1.0) if size < 10**7 else 1.0 if spec.fused else 5.0
        yield _verdict(row, f"{torch} / ours", torch, OURS, at_least=needed)
    if "optax" in seconds:
        yield _verdict(row, "optax / ours", "optax", OURS, at_least=1)


def verdicts(rows: Iterable[Row]) -> list[Verdict]:
    """Every target that applies to every row, worst first."""
    return sorted((v for row in rows for v in _of_row(row)), key=lambda v: -v["bad"])


def _line(v: Verdict) -> str:
    size = (
        f"{v['size']:.0e}".replace("e+0", "e")
        if v["arrays"] == 1
        else f"{v['arrays']} x {v['size'] // v['arrays']}"
    )
    return (
        f"{'met   ' if v['met'] else 'MISSED'} {v['rule']:26s}{v['dtype']:8s} {size:>10s}  x{v['threads']}  "
        f"{v['what']:28s}{v['value']:9.2f}  {v['target']:8s}{v['quiet']:9.2f}{v['ns']:10.3f}"
    )


def _times(rows: Iterable[Row]) -> Iterator[str]:
    for row in rows:
        cells = "  ".join(f"{name} {t / row['size'] * 1e9:.3g}" for name, t in row["median"].items())
        arrays = f" in {row['arrays']} arrays" if "arrays" in row else ""
        yield f"{row['rule']} {row['dtype']} {row['size']}{arrays} x{row['threads']}: {cells}"


def report(rows: list[Row], machine: dict[str, Any]) -> str:
    """The whole run as text: what it ran on, targets missed, targets met, all medians."""
    found = verdicts(rows)
    missed = [v for v in found if not v["met"]]
    head = (
        f"{'':6s} {'rule':26s}{'dtype':8s} {'size':>10s}  thr {'ratio':28s}"
        f"{'median':>9s}  {'target':8s}{'quiet':>9s}{'ns/param':>10s}"
    )
    return "\n".join(
        [
            "  ".join(f"{key} {value}" for key, value in machine.items()),
            "",
            f"{len(missed)} of {len(found)} targets missed, worst first "
            "(median: ratio of medians; quiet: ratio of the best turns; ns of ours)",
            head,
            *map(_line, missed),
            "",
            "met, closest first",
            head,
            *(_line(v) for v in found if v["met"]),
            "",
            "nanoseconds per parameter, medians",
            *_times(rows),
            "",
        ]
    )
