r"""
Adaptive rates on badly scaled features (8.5)
=============================================

Somebody forgot to standardize: the columns of the table are in metres, seconds and cents. Multiplying
feature j by :math:`s_j` multiplies the gradient of its weights by :math:`s_j`, and the weights that are
wanted by :math:`1 / s_j`. A single rate then moves what the model computes by :math:`s_j^2`, a rate that
adapts itself to each weight's gradients by :math:`s_j`: half of the damage, on a logarithmic scale. Is that
what is seen?
"""

# %%
# Softmax regression on the digits, whose pixels are multiplied by :math:`10^u` with u uniform in an
# interval so many decades wide. Three labels in ten are drawn at random, so that there is a finite minimum,
# and it is the same for any scales: what counts is how far above it the training loss ends. The rate falls
# linearly to a hundredth; each method gets the rate that ends lowest on average over the seeds. The book's
# conventions are used: the numbers that keep AdaGrad and RMSProp from dividing by zero are small.

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import digits, finish, interval, told

import fastopt as fo

METHODS: dict[str, tuple[Any, tuple[float, ...]]] = {
    "SGD": (lambda p, lr: fo.SGD(p, lr=lr), tuple(10.0 ** np.arange(-2, 1.1, 0.5))),
    "AdaGrad": (
        lambda p, lr: fo.Adagrad(p, lr=lr, convention="book"),
        tuple(10.0 ** np.arange(-1.5, 1.1, 0.5)),
    ),
    "RMSProp": (
        lambda p, lr: fo.RMSprop(p, lr=lr, convention="book"),
        tuple(10.0 ** np.arange(-2, 0.1, 0.5)),
    ),
    "Adam": (lambda p, lr: fo.Adam(p, lr=lr), tuple(10.0 ** np.arange(-1.5, 0.6, 0.5))),
}


def run(
    seed: int, decades: float, steps: int = 400, rows: int = 1400, methods: Any = tuple(METHODS)
) -> dict[str, np.ndarray]:
    """How far above the minimum the training loss is after so many steps, for every rate of every method."""
    X, y, least = task(seed, rows)
    rng = np.random.default_rng([seed, 8])
    X = (X * 10 ** rng.uniform(-decades / 2, decades / 2, X.shape[1])).astype(np.float32)
    ends: dict[str, np.ndarray] = {}
    for name in methods:
        make, rates = METHODS[name]
        ends[name] = np.array([train(X, y, make, lr, steps, seed) - least for lr in rates])
    return ends


@lru_cache
def task(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Digits, labels with noise, and the least loss that softmax regression has on them."""
    X, y, _, _ = digits(seed, rows)
    rng = np.random.default_rng([seed, 7])
    y = np.where(rng.random(rows) < 0.3, rng.integers(0, 10, rows), y)
    model = fo.nn.mlp(X.shape[1], (), 10, dtype=np.float64)

    def fun(w: np.ndarray) -> tuple[float, np.ndarray]:
        model.vector[:] = w
        value, _ = model.loss_and_grads(X, y)
        return value, model.grad_vector

    least = fo.minimize(fun, np.zeros_like(model.vector), options={"gtol": 1e-5, "maxiter": 2000}).fun
    return X, y, float(least)


def train(X: np.ndarray, y: np.ndarray, make: Any, lr: float, steps: int, seed: int) -> float:
    model = fo.nn.mlp(X.shape[1], (), 10, rng=seed)
    model.vector[:] = 0  # convex, and the start has no scale of its own
    opt = make(
        model.params, fo.schedules.linear(lr, lr / 100, steps)
    )  # falling, as in the book's algorithm 8.1
    with np.errstate(all="ignore"):
        for xb, yb in islice(fo.Batches(X, y, size=50, rng=seed).cycle(), steps):
            loss, grads = model.loss_and_grads(xb, yb)
            if not loss < 1e3:
                return np.inf
            opt.step(grads)
        return model.loss(X, y)


# %%
# The loss at the end against how badly the features are scaled.


def main() -> None:
    decades, seeds = (0.0, 1.0, 2.0, 3.0), range(5)
    figure, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    results = {d: [run(seed, d) for seed in seeds] for d in decades}
    worse = {}
    for name, (_, rates) in METHODS.items():
        best = []
        for d in decades:
            ends = np.array([r[name] for r in results[d]])
            chosen = int(ends.mean(axis=0).argmin())
            if chosen in (0, len(rates) - 1):
                print(f"{name}, {d:g} decades: the best rate is at the end of its grid ({rates[chosen]:g})")
            best.append(ends[:, chosen])
        mean, low, high = np.array([interval(b) for b in best]).T
        (line,) = ax.plot(decades, mean, "o-", label=name)
        ax.fill_between(decades, low, high, color=line.get_color(), alpha=0.2, lw=0)
        worse[name] = np.log(best[2] / best[0])
        said = ", ".join(f"{told(b, '.2g')} at {d:g}" for d, b in zip(decades, best, strict=True))
        print(f"{name:8} loss above the minimum, by decades: {said}")
    for name in ("AdaGrad", "RMSProp", "Adam"):
        share = worse[name] / worse["SGD"]
        _, _, high = interval(share)
        print(
            f"{name}: {told(share, '.2f')} of SGD's damage (logarithm) at 2 decades"
            + ("" if high < 1 else ": no difference seen")
        )
    ax.set(
        xlabel="decades that the scales of the features span",
        ylabel="training loss above its minimum",
        yscale="log",
    )
    ax.legend(title="each at its best rate")
    finish(figure, __file__)


if __name__ == "__main__":
    main()
