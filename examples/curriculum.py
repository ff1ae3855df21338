r"""
Curriculum against random order (8.7.6)
=======================================

Easy examples first: does a network learn sooner, or end better, than from the same examples in random order?
The controls are the anti-curriculum (the hardest first) and random pacing (as few examples at first, but any of
them): a curriculum that does not beat both has shown nothing about what is easy.
"""

# %%
# A small network on the handwritten digits, once with their true labels and once with three labels in ten
# drawn at random, as the hardest examples of real data often are mistakes. How hard an example is comes from a
# teacher: the loss of a linear model that was trained on the same labels. Every order has the same number of
# steps, and all of them see everything from the middle of the run on, but for self-paced learning, which has no
# teacher: it leaves out the quarter of the examples that the network itself finds hardest at the time.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import digits, finish, interval, told

import fastopt as fo

ORDERS = {
    "random order": "C7",
    "curriculum": "C0",
    "anti-curriculum": "C3",
    "random pacing": "C1",
    "mixture": "C2",
    "self-paced": "C4",
}


def losses(model: Any, X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Cross entropy, row by row."""
    return -np.log(np.maximum(model.probabilities(X)[np.arange(len(y)), y], 1e-30))


def teach(X: np.ndarray, y: np.ndarray, seed: int, epochs: int) -> np.ndarray:
    """How hard every example is for a linear model."""
    teacher = fo.nn.mlp(X.shape[1], (), 10, rng=seed)
    opt = fo.Adam(teacher.params, lr=0.01)
    batches = fo.Batches(X, y, size=50, rng=seed)
    for _ in range(epochs):
        for xb, yb in batches:
            opt.step(teacher.loss_and_grads(xb, yb)[1])
    return fo.meta.losses_of(lambda xb, yb: losses(teacher, xb, yb), X, y)


def order_of(name: str, hard: np.ndarray, y: np.ndarray, epochs: int) -> Any:
    """The order by its name; all epochs have as many entries as there are rows."""
    n, pacing = len(y), fo.meta.pacing.root(0.15, epochs=epochs // 2)
    if name == "random order":
        return "epoch"
    if name == "mixture":  # half of the rows are hard; at first one entry in ten is
        return fo.meta.Mixture.by_scores(hard, lambda epoch: min(0.5, 0.1 + 0.8 * epoch / epochs))
    if name == "self-paced":
        # All in the first epoch, when nothing is known; then the rows it finds easiest.
        return fo.meta.SelfPaced(np.zeros(n), lambda epoch: 0.75)
    first = {"curriculum": "easy", "anti-curriculum": "hard", "random pacing": "random"}[name]
    return fo.meta.Curriculum(hard, pacing, count=n, labels=y, first=first)


def run(
    seed: int, noise: float = 0.0, epochs: int = 24, rows: int = 800, orders: Any = tuple(ORDERS)
) -> dict[str, np.ndarray]:
    """Errors on the test digits (percent) after each so many examples, for every order."""
    X, y, X_test, y_test = digits(seed, rows)
    rng = np.random.default_rng([seed, 5])
    y = np.where(rng.random(rows) < noise, rng.integers(0, 10, rows), y)
    hard = teach(X, y, seed, epochs=10)
    found = {}
    for name in orders:
        order = order_of(name, hard, y, epochs)
        model = fo.nn.mlp(X.shape[1], (32,), 10, rng=seed)
        opt = fo.SGD(model.params, lr=0.1, momentum=0.9)
        batches = fo.Batches(X, y, np.arange(rows), size=40, rng=seed, shuffle=order)
        errors: list[float] = []
        every, steps = rows // 40, 0
        while (
            len(errors) < epochs
        ):  # self-paced epochs are shorter: steps are what all have the same number of
            epoch = batches.epoch
            for xb, yb, _ in batches:
                opt.step(model.loss_and_grads(xb, yb)[1])
                steps += 1
                if steps % every == 0:
                    errors.append(100 * float(np.mean(model.predict(X_test).argmax(axis=1) != y_test)))
            if name == "self-paced":
                order.observe(losses(model, X, y))
                order.advance(epoch)
        found[name] = np.array(errors[:epochs])
    return found


def compared(a: np.ndarray, b: np.ndarray) -> str:
    """Whether the one has fewer errors than the other, seed by seed."""
    _, low, high = interval(a - b)
    return "fewer errors" if high < 0 else "more errors" if low > 0 else "no difference seen"


# %%
# Errors along the run, with true labels on the left and noisy ones on the right.


def main() -> None:
    seeds, noises = range(8), (0.0, 0.3)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for noise, ax in zip(noises, axes, strict=True):
        results = [run(seed, noise) for seed in seeds]
        plain = np.array([r["random order"] for r in results])
        print(f"{noise:.0%} of the labels at random; test errors (%) at a quarter of the run and at its end,")
        print("  and against random order:")
        for name, color in ORDERS.items():
            curves = np.array([r[name] for r in results])
            mean, low, high = np.array([interval(c) for c in curves.T]).T
            x = np.arange(1, len(mean) + 1)
            ax.plot(x, mean, color=color, label=name)
            ax.fill_between(x, low, high, color=color, alpha=0.15, lw=0)
            quarter = curves.shape[1] // 4 - 1
            said = f"  {name:16} {told(curves[:, quarter], '.1f')}, {told(curves[:, -1], '.1f')}"
            if name != "random order":
                early = compared(curves[:, quarter], plain[:, quarter])
                said += f": {early}; {compared(curves[:, -1], plain[:, -1])}"
            print(said)
        early = {name: np.array([r[name][quarter] for r in results]) for name in ORDERS}
        said = ", ".join(
            f"{compared(early['curriculum'], early[name])} (against {name})"
            for name in ("anti-curriculum", "random pacing")
        )
        print(f"  the curriculum at a quarter: {said}")
        ax.set(
            title=f"{noise:.0%} of the labels drawn at random",
            xlabel="examples seen, in passes over the data",
            ylabel="errors on test digits (%)",
            yscale="log",
        )
        ax.set_yticks(ticks := (3, 5, 10, 20, 50, 100), [str(t) for t in ticks], minor=False)
        ax.minorticks_off()
    axes[0].legend(fontsize=8)
    finish(figure, __file__)


if __name__ == "__main__":
    main()
