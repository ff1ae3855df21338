r"""
Stochastic gradient descent: what the rate and momentum can do (8.3)
====================================================================

With a constant rate the parameters never come to rest: the noise of the gradient keeps them at a distance from the
minimum that grows with the rate. With :math:`\epsilon_k \propto 1/k` a strongly convex cost falls as
:math:`1/k`, and nothing that only sees noisy gradients does better (8.3.1). Momentum averages gradients (8.3.2):
does it also lower that floor?
"""

# %%
# Linear regression in 20 dimensions with a condition number of 20, one fresh example a step. The excess error
# :math:`\tfrac12 (\theta - \theta^*)^\top \Lambda (\theta - \theta^*)` is known exactly. Momentum gets the rate
# :math:`(1 - \alpha) \epsilon`, with which it goes as far per gradient as plain descent with :math:`\epsilon`.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import finish, interval, told

import fastopt as fo

SPECTRUM = np.geomspace(0.05, 1.0, 20)
ALPHA = 0.9
RUNS: dict[str, Any] = {
    "rate 0.04": lambda p: fo.SGD(p, lr=0.04),
    "rate 0.01": lambda p: fo.SGD(p, lr=0.01),
    "rate 0.01, momentum 0.9": lambda p: fo.SGD(p, lr=0.01 * (1 - ALPHA), momentum=ALPHA),
    "rate falling as 1/k": lambda p: fo.SGD(p, lr=lambda k: 40 / (k + 1000)),
}


def run(seed: int, steps: int = 30_000, names: Any = tuple(RUNS)) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps at which it was looked, and the excess error there, for each way of stepping, on the same examples."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((steps, SPECTRUM.size)) * np.sqrt(SPECTRUM)
    noise = rng.standard_normal(steps)
    start = rng.standard_normal(SPECTRUM.size)  # the minimum is at 0
    looks = np.unique(np.geomspace(1, steps, 160).astype(int))
    excess = {}
    for name in names:
        theta = start.copy()
        opt = RUNS[name](theta)
        grad = np.empty_like(theta)
        seen = []
        for k, (x, e) in enumerate(zip(X, noise, strict=True), 1):
            np.multiply(x, x @ theta - e, out=grad)
            opt.step(grad)
            if k == looks[len(seen)]:
                seen.append(0.5 * float(SPECTRUM @ theta**2))
        excess[name] = np.array(seen)
    return looks, excess


def floor(looks: np.ndarray, excess: np.ndarray) -> float:
    """The mean excess over the last third of the steps."""
    return float(excess[looks > 2 * looks[-1] / 3].mean())


# %%
# The floors, and the slope of the falling rate on logarithmic axes.


def main() -> None:
    seeds = range(8)
    found = [run(seed) for seed in seeds]
    looks = found[0][0]
    figure, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    floors = {}
    for name in RUNS:
        curves = np.log10([excess[name] for _, excess in found])
        mean, low, high = np.array([interval(c) for c in curves.T]).T
        (line,) = ax.plot(looks, 10**mean, label=name)
        ax.fill_between(looks, 10**low, 10**high, color=line.get_color(), alpha=0.2, lw=0)
        floors[name] = np.array([floor(looks, excess[name]) for _, excess in found])
        print(f"{name:24} excess error over the last third: {told(floors[name])}")
    late = looks > looks[-1] / 10
    slopes = [np.polyfit(np.log(looks[late]), np.log(e["rate falling as 1/k"][late]), 1)[0] for _, e in found]
    print(f"four times the rate: {told(floors['rate 0.04'] / floors['rate 0.01'], '.2f')} times the floor")
    ratio = floors["rate 0.01, momentum 0.9"] / floors["rate 0.01"]
    _, low, high = interval(ratio)
    print(
        f"momentum at the same rate per gradient: {told(ratio, '.3f')} times the floor"
        + (": no difference seen" if low <= 1 <= high else "")
    )
    print(f"falling rate, last decade of steps: excess error ~ k^{told(slopes, '.2f')}")
    ax.set(xlabel="step k (one example each)", ylabel="excess error", xscale="log", yscale="log")
    ax.legend()
    finish(figure, __file__)


if __name__ == "__main__":
    main()
