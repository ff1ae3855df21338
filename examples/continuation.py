r"""
Continuation: from a smooth objective to the true one (8.7.6)
=============================================================

An objective with a valley in every corner, averaged over a wide Gaussian, has one valley. Follow its bottom while the
Gaussian narrows, and it may lead to the deepest of the true ones. Does that beat what the same work buys otherwise,
minimizing from many random starts? And when does it lead astray?
"""

# %%
# The bowl with waves, :math:`\sum_i (x_i - 0.15)^2 + 3 (1 - \cos 2 \pi x_i)`, in more and more dimensions: its valleys
# are :math:`7^d` in reach of the starts, and one of them is the deepest, a little aside of the bowl's middle.
# :class:`fastopt.meta.Smoothed` averages by sampling; nothing of the objective is known to it but values and
# gradients. Restarts may spend as many evaluations as the continuation did. The second objective is a wide bowl of
# which the deepest point is somewhere else, in a narrow hole.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import finish, interval, told

import fastopt as fo

LEVELS = (0.5, 0.42, 0.35, 0.25, 0.0)
REACH = 3.0
TAU = 2 * np.pi


def wavy(x: np.ndarray) -> tuple[float, np.ndarray]:
    """A bowl with waves; the minimum is `LEAST` a dimension, near 0."""
    b = x - 0.15
    return float((b * b + 3 - 3 * np.cos(TAU * x)).sum()), 2 * b + 3 * TAU * np.sin(TAU * x)


LEAST = fo.minimize(wavy, np.zeros(1)).fun


def hole(x: np.ndarray) -> tuple[float, np.ndarray]:
    """A bowl around 0, and a hole of depth 8 and width 0.1 at (2, ..., 2); the minimum is in the hole."""
    d = x - 2
    deep = 8 * np.exp(-(d @ d) / (2 * 0.1**2))
    return float(x @ x / x.size - deep), 2 * x / x.size + deep * d / 0.1**2


def by_continuation(fun: Any, x0: np.ndarray, seed: int, steps: int) -> Any:
    smooth = fo.meta.Smoothed(fun, samples=10, rng=seed, common=False)
    solver = fo.meta.by_steps(
        lambda x, level: fo.Adam(x, lr=fo.schedules.linear(0.2 * level, 0.01 * level, steps)), steps
    )
    result = fo.meta.continuation(smooth, x0, LEVELS[:-1], solver=solver)
    end = fo.minimize(fun, result.x)
    return end.fun, smooth.nfev + end.nfev


def run(
    seed: int, dims: Any = (1, 2, 4, 8, 16), starts: int = 2, steps: int = 80
) -> dict[str, dict[int, float]]:
    """The share of starts that end in the deepest valley, by method and dimension."""
    found: dict[str, dict[int, float]] = {"one run": {}, "restarts": {}, "continuation": {}}
    for d in dims:
        rng = np.random.default_rng([seed, d])
        wins = dict.fromkeys(found, 0)
        for _ in range(starts):
            x0 = rng.uniform(-REACH, REACH, d)
            value, budget = by_continuation(wavy, x0, seed, steps)
            wins["continuation"] += value < d * LEAST + 1e-6
            wins["one run"] += (first := fo.minimize(wavy, x0)).fun < d * LEAST + 1e-6
            best, spent = first.fun, first.nfev
            while spent < budget and best > d * LEAST + 1e-6:
                again = fo.minimize(wavy, rng.uniform(-REACH, REACH, d))
                best, spent = min(best, again.fun), spent + again.nfev
            wins["restarts"] += best < d * LEAST + 1e-6
        for name, count in wins.items():
            found[name][d] = count / starts
    return found


def astray(seed: int, starts: int = 4, steps: int = 80) -> float:
    """The share of starts beside the hole from which the continuation finds it; a plain run always does."""
    rng = np.random.default_rng([seed, 77])
    caught = 0
    for _ in range(starts):
        x0 = 2 + rng.uniform(-0.05, 0.05, 2)
        assert fo.minimize(hole, x0).fun < -4
        caught += by_continuation(hole, x0, seed, steps)[0] < -4
    return caught / starts


# %%
# One dimension, level by level; then how often the deepest valley is found.


def main() -> None:
    seeds, dims = range(5), (1, 2, 4, 8, 16)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    grid = np.linspace(-REACH, REACH, 400)
    x = np.array([2.9])
    for k, level in enumerate(LEVELS):
        fall = np.exp(-0.5 * (TAU * level) ** 2)  # of the waves; here in closed form

        def family(x: np.ndarray, level: float, fall: float = fall) -> tuple[float, np.ndarray]:
            value = (x - 0.15) ** 2 + level**2 + 3 - 3 * fall * np.cos(TAU * x)
            return float(value.sum()), 2 * (x - 0.15) + 3 * fall * TAU * np.sin(TAU * x)

        color = plt.get_cmap("viridis")(k / len(LEVELS))
        curve = [family(np.array([g]), level)[0] for g in grid]
        left.plot(grid, curve, color=color, label=rf"$\sigma$ = {level:g}")
        before, x = x, fo.minimize(lambda x, level=level, f=family: f(x, level), x).x
        left.plot(
            [before[0], x[0]], [family(before, level)[0], family(x, level)[0]], "o--", color=color, ms=4, lw=1
        )
    direct = fo.minimize(wavy, np.array([2.9]))
    left.plot(direct.x, direct.fun, "kx", ms=9, label="plain run from the same start")
    left.set(xlabel="x", ylabel="value", title="the bottom of the valley while the Gaussian narrows")
    left.legend(fontsize=8)

    results = [run(seed, dims) for seed in seeds]
    for name, color in (("one run", "C7"), ("restarts", "C1"), ("continuation", "C0")):
        shares = np.array([[r[name][d] for d in dims] for r in results])
        mean, low, high = np.array([interval(s) for s in shares.T]).T
        right.plot(
            dims,
            mean,
            "o-",
            color=color,
            label=name if name != "restarts" else "restarts, as many evaluations",
        )
        right.fill_between(dims, low.clip(0, 1), high.clip(0, 1), color=color, alpha=0.2, lw=0)
        said = ", ".join(
            f"{m:.2f} [{lo:.2f}, {hi:.2f}] in {d}" for m, lo, hi, d in zip(mean, low, high, dims, strict=True)
        )
        print(f"share of starts that end in the deepest valley, {name:12}: {said}")
    better = [d for d in dims if interval([r["continuation"][d] - r["restarts"][d] for r in results])[1] > 0]
    said = f"in {', '.join(map(str, better))} dimensions" if better else "nowhere"
    print(f"continuation finds it more often than restarts of the same work: {said}")
    print(
        f"from beside the narrow hole, which a plain run falls into: {told([astray(s) for s in seeds], '.2f')} find it"
    )
    right.set(
        xlabel="dimensions",
        ylabel="share of starts that end in the deepest valley",
        title="found, for the same number of evaluations",
        xscale="log",
    )
    right.set_xticks(dims, [str(d) for d in dims])
    right.minorticks_off()
    right.legend(fontsize=8)
    finish(figure, __file__)


if __name__ == "__main__":
    main()
