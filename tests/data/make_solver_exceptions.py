"""Writes solver_exceptions.json: which problems a solver does not solve, and why, under any of a dozen roundings.

Run by hand from the repository's root after a solver has changed, and read the difference: ``python
tests/data/make_solver_exceptions.py``. Rounding 0 is this machine's own; in the others f and g are off by up to an ulp.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import solver_rows as rows  # noqa: E402

ROUNDINGS = range(12)


def failures(rounding: int) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for row in rows.ROWS:
        for width in rows.WIDTHS:
            for name in row.problems:
                p = rows.get(name)
                result, _ = rows.solve(row, p, width, rounding)
                if rows.gap(p, result.x, width) <= 1:
                    continue
                reasons = [key for key, text in rows.NAMES.items() if rows.REASONS[text](p, result, width)]
                if not reasons:
                    raise SystemExit(
                        f"{row.name}, {width}, {name}: not solved, and no reason holds: {result}"
                    )
                found.setdefault(f"{row.name}|{width}", {})[name] = reasons
    return found


if __name__ == "__main__":
    union: dict[str, dict[str, set[str]]] = {}
    with ProcessPoolExecutor(max_workers=2) as pool:
        for found in pool.map(failures, ROUNDINGS):
            for key, listed in found.items():
                for name, reasons in listed.items():
                    union.setdefault(key, {}).setdefault(name, set()).update(reasons)
    lines = [
        f'"{key}": ' + json.dumps({name: sorted(union[key][name]) for name in sorted(union[key])})
        for key in sorted(union)
    ]
    (HERE / "solver_exceptions.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
