"""Contests: several ways to do the same work, timed by turns in one process.

What slows the machine slows them all, so their ratios stand. `contest` is the harness,
`update_contestants` the field for one optimizer step, `update_table` what ``fastopt bench`` prints.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from statistics import median
from typing import Any

import numpy as np

from fastopt._core.kernels import floor
from fastopt._threads import get_num_threads
from fastopt.cli.peers import ROWS, numpy_step, optax_step, torch_steps
from fastopt.optim.arrays import allocate

__all__ = ["Timing", "contest", "ratio", "update_contestants", "update_table"]

SIZES = (10**3, 10**4, 10**5, 10**6, 10**7)
FLOOR, FLOOR_TWICE = "floor", "floor, g read twice"
OURS, OURS_RAISE = "fastopt", "fastopt raise"
#: What each of ours is held against: the same streams, and the read more that a guarded step costs.
FLOOR_OF = {OURS_RAISE: FLOOR_TWICE}

_TURN = 300e-6  # seconds of calls that a turn holds at least, where one call is shorter
_SETTLE = 2e-3  # seconds in which the helper threads of the contestant before fall asleep
_SLOW = 6.0  # how many times as long as the first a contestant may take and still play every round
_SELDOM = 4  # slower ones play every fourth round


@dataclass(frozen=True)
class Timing:
    """Seconds per call: the median and the smallest of all turns, and how many turns there were."""

    median: float
    best: float
    turns: int


@dataclass(frozen=True)
class Repeated:
    """A contestant whose one call does the work `times` times."""

    call: Callable[[], object]
    times: int

    def __call__(self) -> object:
        return self.call()


def contest(
    contestants: Mapping[str, Callable[[], object]],
    budget: float = 1.0,
    *,
    least: int = 5,
    most: int = 61,
    threads: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time contestants by turns.

    Each round gives every contestant one turn, in an order drawn anew: one call that is not timed (where
    calls are short, so that caches and helper threads are as in a loop), then as many as a turn holds.
    There are as many rounds as `budget` seconds hold, but from `least` to `most`; contestants many times
    slower than the first one sit out three rounds of four.

    Returns
    -------
    dict
        Name to `Timing`, in the order given.
    """
    if not contestants:
        raise ValueError("contestants is empty; at least one is needed")
    guess: dict[str, float] = {}
    for name, call in contestants.items():
        call()
        start = clock()
        call()
        guess[name] = max(clock() - start, 1e-7)
    turns: dict[str, list[float]] = {name: [] for name in contestants}
    first = max(next(iter(guess.values())), _TURN / 10)
    rng = np.random.default_rng(0)
    names = list(contestants)
    collecting = gc.isenabled()
    gc.disable()
    try:
        end = clock() + budget
        for played in range(most):
            if played >= least and clock() > end:
                break
            for i in rng.permutation(len(names)):
                name = names[i]
                if played % _SELDOM and guess[name] > _SLOW * first:
                    continue
                call = contestants[name]
                if threads > 1:
                    time.sleep(_SETTLE)
                if guess[name] < 20 * _TURN:
                    call()
                count = max(1, round(_TURN / guess[name]))
                start = clock()
                for _ in repeat(None, count):
                    call()
                turns[name].append((clock() - start) / count)
                guess[name] = min(guess[name], turns[name][-1])
    finally:
        if collecting:
            gc.enable()
    per = {name: getattr(call, "times", 1) for name, call in contestants.items()}
    return {name: Timing(median(t) / per[name], min(t) / per[name], len(t)) for name, t in turns.items()}


def ratio(timings: Mapping[str, Timing], over: str, under: str) -> float:
    """Median of one contestant over that of another; NaN where either did not take part."""
    if over not in timings or under not in timings:
        return float("nan")
    return timings[over].median / timings[under].median


def gradients(shapes: Sequence[int], dtype: Any, seed: int = 0) -> list[np.ndarray]:
    """Normal numbers of both signs, none near zero: no contestant meets subnormal numbers."""
    rng = np.random.default_rng(seed)
    small = rng.standard_normal(65536)
    small = (np.sign(small) * (0.01 + np.abs(small))).astype(dtype)
    return [np.resize(small, n) for n in shapes]


def placed(shapes: Sequence[int], dtype: Any) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Parameters, gradients and zeros, each at the start of a cache line, at different places of a page."""
    blocks = allocate([np.broadcast_to(np.zeros((), dtype), n) for n in shapes], 3)
    params, grads, zeros = ([block[i] for block in blocks] for i in range(3))
    for p, g, z, value in zip(params, grads, zeros, gradients(shapes, dtype), strict=True):
        p[...] = 1
        g[...] = value
        z[...] = 0  # pages never written are all one page, which reads as if it cost nothing
    return params, grads, zeros


def update_contestants(
    rule: str,
    sizes: Sequence[int],
    dtype: Any = np.float32,
    *,
    threads: int = 1,
    peers: bool = True,
) -> dict[str, Callable[[], object]]:
    """Everyone who can take a step of `rule` on tensors of these sizes, ready and with states in place.

    The floor, torch and NumPy with ``out=`` walk the very arrays that we walk (the floor adds an array of
    zeros, and so leaves them as they are): where arrays lie in memory cannot favour anyone. optax and
    plain NumPy have arrays of their own.
    """
    row = ROWS[rule]
    params, grads, zeros = placed(sizes, dtype)
    tree: Any = params if len(params) > 1 else params[0]
    grad_tree: Any = grads if len(grads) > 1 else grads[0]
    field: dict[str, Callable[[], object]] = {}
    for name, policy in ((OURS, "propagate"), (OURS_RAISE, "raise")):
        opt = row.ours(tree, lr=row.lr, nonfinite=policy, **row.fields)
        field[name] = partial(opt.step, grad_tree)
        opt.step(grad_tree)
        states = opt._states
        if len(sizes) == 1:
            twice = name == OURS_RAISE
            written, times = [params[0], *states[0]], max(1, min(200, 200_000 // sizes[0]))
            field[FLOOR_OF.get(name, FLOOR)] = Repeated(
                partial(floor, written, zeros[0], twice, threads, times), times
            )
        if name == OURS:
            shared = states
    if not peers:
        return field
    field |= torch_steps(row, params, grads, shared, threads)
    if (step := optax_step(row, params, grads, threads)) is not None:
        field["optax"] = step
    if len(sizes) == 1:
        for name, in_place in (("numpy", False), ("numpy out=", True)):
            if (step := numpy_step(rule, params[0], grads[0], shared[0], in_place)) is not None:
                field[name] = step
    return field


def update_table(quick: bool = False) -> list[dict[str, Any]]:
    """Adam in float32 on one array of 10^3 to 10^7 elements (`quick`: to 10^6), on all threads we may use.

    Returns
    -------
    list of dict
        ``size``, ``contestant``, ``ns_per_parameter`` and ``ratio_to_floor``: the floor is a C loop over
        the same streams of memory with next to no arithmetic, and for "fastopt raise" one that reads the
        gradient twice, as that does.
    """
    threads = get_num_threads()
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        if quick and size > 10**6:
            continue
        budget = (0.3 if quick else 1.0) * (1 if size < 10**7 else 5)
        field = update_contestants("adam", [size], np.float32, threads=threads)
        timings = contest(field, budget, threads=threads)
        for name, timing in timings.items():
            rows.append(
                {
                    "size": size,
                    "contestant": name,
                    "ns_per_parameter": timing.median / size * 1e9,
                    "ratio_to_floor": ratio(timings, name, FLOOR_OF.get(name, FLOOR)),
                }
            )
    return rows
