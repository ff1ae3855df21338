"""Batch norm, forward and backward in training: ``python -m bench.norm [--quick] [--out FOLDER]``.

The floor is a C loop over the five streams of the work, each touched once: x read and y written, then x and dy read
and dx written. Contestants, one thread: ours as a user calls it, arrays given by ``out=``; torch's own kernels
without its autograd; NumPy written with care (in place, no temporary that can be avoided); jax where it is installed.
Times are of the processor, so that other programs do not count; ratios are of medians over turns, "quiet" is that of
the best turns. Writes norm.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo
from bench.update import listed, machine
from fastopt._core.norm import floor
from fastopt.cli.contest import FLOOR, OURS, Repeated, contest, ratio

EPS = 1e-5
TORCH, NUMPY, JAX = "torch native", "numpy, with care", "jax"
#: What is wanted of ours / floor, and of each peer / ours.
WANTED = {FLOOR: 2.0, TORCH: 4.0, NUMPY: 10.0}
SHAPES = ((128, 1024), (4096, 256))


class ByHand:
    """Batch norm in NumPy with every array allocated beforehand: what someone writes who minds speed."""

    def __init__(self, x: np.ndarray, dy: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> None:
        self.x, self.dy, self.gamma, self.beta = x, dy, gamma, beta
        self.xhat, self.y, self.dx, self.spare = (np.empty_like(x) for _ in range(4))
        self.mean, self.scale, self.dgamma, self.dbeta = (np.empty_like(gamma) for _ in range(4))

    def __call__(self) -> None:
        n, xhat, spare = len(self.x), self.xhat, self.spare
        np.mean(self.x, axis=0, out=self.mean)
        np.subtract(self.x, self.mean, out=xhat)
        np.einsum("ij,ij->j", xhat, xhat, out=self.scale)
        self.scale /= n
        self.scale += EPS
        np.sqrt(self.scale, out=self.scale)
        np.divide(1, self.scale, out=self.scale)
        xhat *= self.scale
        np.multiply(xhat, self.gamma, out=self.y)
        self.y += self.beta
        np.sum(self.dy, axis=0, out=self.dbeta)
        np.einsum("ij,ij->j", self.dy, xhat, out=self.dgamma)
        np.multiply(xhat, self.dgamma / n, out=spare)
        np.subtract(self.dy, spare, out=self.dx)
        self.dx -= self.dbeta / n
        self.dx *= self.gamma * self.scale


def field(shape: tuple[int, int], dtype: Any = np.float32) -> dict[str, Callable[[], object]]:
    """Everyone who takes part, ready; ours first."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    gamma, beta = rng.uniform(0.5, 1.5, (2, shape[1])).astype(dtype)
    y, dx = np.zeros_like(x), np.zeros_like(x)
    out = (dx, np.empty_like(gamma), np.empty_like(beta))
    _, cache = fo.norm.batch_norm(x, gamma, beta, out=y)

    def ours() -> None:
        fo.norm.batch_norm(x, gamma, beta, EPS, out=y, cache=cache)
        fo.norm.batch_norm_backward(dy, cache, out)

    times = max(1, 400_000 // x.size)
    who: dict[str, Callable[[], object]] = {
        OURS: ours,
        FLOOR: Repeated(partial(floor, x, y, dy, dx, times), times),
        NUMPY: ByHand(x, dy, gamma, beta),
    }
    if find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        tx, tdy, tg, tb = map(torch.from_numpy, (x, dy, gamma, beta))
        back = torch.ops.aten.native_batch_norm_backward

        def native() -> None:
            _, mean, rstd = torch.native_batch_norm(tx, tg, tb, None, None, True, 0.1, EPS)
            back(tdy, tx, tg, None, None, mean, rstd, True, EPS, [True, True, True])

        who[TORCH] = native
    if find_spec("jax"):
        import jax
        import jax.numpy as jnp

        def forward(x: Any, g: Any, b: Any) -> Any:
            mean, var = x.mean(0), x.var(0)
            return (x - mean) * jax.lax.rsqrt(var + EPS) * g + b

        @jax.jit
        def step(x: Any, g: Any, b: Any, dy: Any) -> Any:
            y, pull = jax.vjp(forward, x, g, b)
            return y, pull(dy)

        arrays = [jnp.asarray(a) for a in (x, gamma, beta, dy)]
        who[JAX] = lambda: jax.block_until_ready(step(*arrays))
    return who


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.norm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a third of the time")
    parser.add_argument("--dtypes", type=listed(str), default=["float32", "float64"])
    parser.add_argument("--out", type=Path, help="folder to write norm.json into")
    options = parser.parse_args(argv)
    fo.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for dtype in options.dtypes:
        for shape in SHAPES:
            budget = 1.5 if options.quick else 5.0
            timings = contest(field(shape, np.dtype(dtype)), budget, clock=time.process_time)
            for name, timing in timings.items():
                rows.append({"dtype": dtype, "shape": shape, "contestant": name, **timing.__dict__})
                ours = name == OURS
                over, under = (OURS, FLOOR) if ours else (name, OURS)
                wanted = WANTED.get(FLOOR if ours else name) if dtype == "float32" and name != FLOOR else None
                got, quiet = ratio(timings, over, under), timings[over].best / timings[under].best
                line = f"{dtype} {shape!s:12} {name:18} {timing.median * 1e6:9.1f} us"
                if name != FLOOR:
                    line += f"   {over} / {under} {got:6.2f} (quiet {quiet:.2f})"
                if wanted:
                    line += f"   wanted {'at most' if ours else 'at least'} {wanted:g}: "
                    line += "met" if (got <= wanted if ours else got >= wanted) else "MISSED"
                print(line, flush=True)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "norm.json").write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
