"""The read pass of a guarded step against one read of memory, NumPy and torch: ``python -m bench.reduce``.

The pass (norm of the gradient, are there non-finite values) has no function of its own in Python. It is
all that a step with ``nonfinite="skip"`` does when it is refused, and so it is timed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo
from bench.update import listed, machine
from fastopt._core.kernels import floor
from fastopt.cli.contest import FLOOR, OURS, Repeated, contest, placed, ratio


def readers(size: int, dtype: Any, threads: int) -> dict[str, Callable[[], object]]:
    """Ways to get the norm of one gradient array of `size`, the floor first.

    Ours is a step refused because of a second array, of one element, Inf: the large one is read exactly once.
    """
    (p,), (g,), _ = placed([size], dtype)
    opt = fo.SGD([p, np.zeros(1, dtype)], lr=0.0, nonfinite="skip")
    times = max(1, min(200, 200_000 // size))
    field: dict[str, Callable[[], object]] = {
        OURS: partial(opt.step, [g, np.array([np.inf], dtype)]),
        FLOOR: Repeated(partial(floor, [], g, True, threads, times), times),
        "np.linalg.norm": partial(np.linalg.norm, g),
        "np.isfinite.all": lambda: np.isfinite(g).all(),
    }
    if find_spec("torch"):
        import torch

        torch.set_num_threads(threads)
        field["torch norm"] = partial(torch.linalg.vector_norm, torch.from_numpy(g))
    return field


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.reduce", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=listed(lambda s: int(float(s))), default=[10**n for n in range(3, 8)])
    parser.add_argument("--threads", type=listed(int), default=[1, 2])
    parser.add_argument("--budget", type=float, default=0.5, help="seconds a row")
    parser.add_argument("--out", type=Path, help="write the figures there, as JSON")
    options = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    print(f"{'':27s}{'ns per element, median':>60s}   ours / floor (median, quiet)")
    for threads in options.threads:
        fo.set_num_threads(threads)
        for dtype in ("float32", "float64"):
            for size in options.sizes:
                timings = contest(readers(size, np.dtype(dtype), threads), options.budget, threads=threads)
                cells = "".join(f"{name:>16s} {t.median / size * 1e9:6.3f}" for name, t in timings.items())
                quiet = timings[OURS].best / timings[FLOOR].best
                print(f"{dtype} {size:>9.0e} x{threads} {cells}", end="   ")
                print(f"{ratio(timings, OURS, FLOOR):6.2f} {quiet:6.2f}", flush=True)
                rows.append(
                    {
                        "dtype": dtype,
                        "size": size,
                        "threads": threads,
                        "median": {k: t.median for k, t in timings.items()},
                    }
                )
    if options.out:
        options.out.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
