r"""
Do mini-batches weaken data augmentation, or the other way round? (8.1.3)
=========================================================================

Both make the gradient random: which rows are drawn, and how each row is distorted when it is. If both help
to generalize because they are noise, they could be in each other's way. Two things can be measured. First
the noise itself. By the law of total variance the gradient of a batch of B of n rows, drawn without
replacement, has the variance

.. math:: \frac{1}{B} \left( \frac{n - B}{n - 1} V_\text{rows} + V_\text{augment} \right) ,

with :math:`V_\text{rows}` that of the mean gradients of rows and :math:`V_\text{augment}` the mean of what
distortion does to a row's gradient. The two add up and are both divided by B; only the first can be drawn
away. Second what comes of it: the accuracy on unseen digits, with and without augmentation, in small
batches and large ones.

What is seen: mini-batches hide the noise of augmentation at first; later, when the rows are learned, it is
the larger part. After equally many steps small batches have weakened augmentation, since they have shown
fewer distorted copies: give them time, and the gain is there. The noise of small batches brings nothing of
its own here. So neither takes the other's place: augmentation works as data that has to be seen, not as
noise.
"""

# %%
# 100 digits to learn from, a small network. Each image is shifted by up to half a pixel both ways and gets
# noise; `Batches` does so while it gathers (``augment=``). All runs take the same number of steps of the
# same sizes and see 5, 25 or all 100 rows at each; rows are drawn without replacement, epoch by epoch, or
# with.

from __future__ import annotations

from itertools import islice
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import digits, finish, interval, told

import fastopt as fo

SIZES = (5, 25, 100)
LONGER = 4
DRAWS = {"epoch": "without replacement", "replacement": "with replacement"}


def shifted(X: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved by up to half a pixel along both axes (bilinear, what comes in is paper), and noise."""
    n, place = len(X), np.arange(8)

    def shift() -> np.ndarray:
        by = rng.uniform(-0.5, 0.5, (n, 1, 1))
        return np.maximum(0, 1 - np.abs(place[:, None] + by - place)).astype(X.dtype)

    moved = (shift() @ X.reshape(n, 8, 8) @ shift().transpose(0, 2, 1)).reshape(n, 64)
    return moved + rng.normal(0, 0.2, moved.shape).astype(X.dtype)


def augment(batch: Any, rng: np.random.Generator) -> Any:
    return shifted(batch[0], rng), batch[1]


def model_of(seed: int) -> Any:
    return fo.nn.mlp(64, (48,), 10, rng=seed)


def train(X: np.ndarray, y: np.ndarray, seed: int, size: int, draw: str, distort: Any, steps: int) -> Any:
    model = model_of(seed)
    opt = fo.SGD(model.params, lr=fo.schedules.linear(0.3, 0.003, steps))
    batches = fo.Batches(X, y, size=size, rng=seed, shuffle=draw, augment=distort)
    for xb, yb in islice(batches.cycle(), steps):
        opt.step(model.loss_and_grads(xb, yb)[1])
    return model


def variances(
    model: Any, X: np.ndarray, y: np.ndarray, copies: int, rng: np.random.Generator
) -> tuple[float, float]:
    """V_rows and V_augment, summed over the weights, from so many distorted copies of every row."""
    n = len(X)
    mean, square = np.zeros((n, model.vector.size)), 0.0
    for _ in range(copies):
        Z = shifted(X, rng)
        for i in range(n):
            model.loss_and_grads(Z[i : i + 1], y[i : i + 1])
            g = model.grad_vector.astype(np.float64)
            mean[i] += g / copies
            square += float(g @ g) / copies / n
    within = (square - (mean**2).sum() / n) * copies / (copies - 1)
    between = mean.var(axis=0, ddof=1).sum() - within / copies  # what the finite number of copies adds
    return between, within


def measured(model: Any, X: np.ndarray, y: np.ndarray, size: int, count: int, seed: int) -> float:
    """Variance of the gradient of distorted batches without replacement, from so many of them."""
    G = []
    for k in range(count):
        xb, yb = next(iter(fo.Batches(X, y, size=size, rng=[seed, size, k], augment=augment)))
        model.loss_and_grads(xb, yb)
        G.append(model.grad_vector.copy())
    return float(np.var(G, axis=0, ddof=1, dtype=np.float64).sum())


def run(
    seed: int, sizes: tuple[int, ...] = SIZES, rows: int = 100, steps: int = 800, copies: int = 8
) -> dict[str, Any]:
    """Accuracy in percent by (size, draw, augmentation), and the parts of the noise at the first and last weights."""
    X, y, X_test, y_test = digits(seed, rows)
    right = {}
    for size in sizes:
        for draw in DRAWS:
            for distort in (None, augment):
                model = train(X, y, seed, size, draw, distort, steps)
                right[size, draw, distort is augment] = 100 * np.mean(
                    model.predict(X_test).argmax(axis=1) == y_test
                )
    for distort in (None, augment):  # the smallest batches again, with time to see more copies
        longer = train(X, y, seed, sizes[0], "epoch", distort, LONGER * steps)
        right[sizes[0], "longer", distort is augment] = 100 * np.mean(
            longer.predict(X_test).argmax(axis=1) == y_test
        )
    noise = {}
    for when, at in (("first", model_of(seed)), ("last", model)):
        parts = variances(at, X, y, copies, np.random.default_rng([seed, 3]))
        noise[when] = (*parts, [measured(at, X, y, size, 12 * copies, seed) for size in sizes])
    return {"right": right, "noise": noise}


# %%
# Left: the two parts of the variance at the last weights by the formula (lines) and the variance of drawn
# batches (dots): with all rows in the batch only the noise of augmentation is left. Right: what it does to
# accuracy.


def gains(results: list[Any]) -> dict[str, np.ndarray]:
    """Points of accuracy that augmentation brings, by how rows are drawn: (sizes, seeds)."""
    return {
        d: np.array(
            [[r["right"][size, d, True] - r["right"][size, d, False] for r in results] for size in SIZES]
        )
        for d in DRAWS
    }


def draw(results: list[Any], rows: int = 100) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    B = np.arange(SIZES[0], rows + 1)
    between, within = (np.mean([r["noise"]["last"][k] for r in results]) for k in (0, 1))
    part = (rows - B) / (rows - 1) * between / B
    left.plot(B, part, "--", color="C0", label="from rows")
    left.plot(B, within / B, "--", color="C1", label="from augmentation")
    left.plot(B, part + within / B, color="k", label="both")
    left.plot(SIZES, np.mean([r["noise"]["last"][2] for r in results], axis=0), "ko", label="both, measured")
    left.set(xscale="log", yscale="log", xlabel="rows of a batch", ylabel="variance of the gradient")
    left.set_ylim(within / rows / 20)
    left.legend()
    for k, name in enumerate(DRAWS):
        low, mean, high = np.array(
            [np.array(interval(points))[[1, 0, 2]] for points in gains(results)[name]]
        ).T
        place = np.array(SIZES) * 1.05 ** (2 * k - 1)
        right.errorbar(
            place, mean, (mean - low, high - mean), fmt="o-", color=f"C{k + 2}", capsize=4, label=DRAWS[name]
        )
    right.axhline(0, color="k", lw=0.8)
    right.set(xscale="log", xlabel="rows of a batch", ylabel="gain by augmentation, points of accuracy")
    right.legend()
    for ax in (left, right):
        ax.set_xticks(SIZES, [str(size) for size in SIZES])
        ax.minorticks_off()
    return figure


def main() -> None:
    results = [run(seed) for seed in range(8)]
    for when in ("first", "last"):
        share = [100 * r["noise"][when][1] / sum(r["noise"][when][:2]) for r in results]
        print(f"share of augmentation in the noise of small batches, {when} weights: {told(share)} %")
    small, large = SIZES[0], SIZES[-1]
    for d, points in gains(results).items():
        told_each = ", ".join(f"{told(p, '+.2f')} at {size}" for size, p in zip(SIZES, points, strict=True))
        print(f"points gained by augmentation, rows of a batch {DRAWS[d]}: {told_each}")
        plain = [r["right"][small, d, False] - r["right"][large, d, False] for r in results]
        print(f"  by batches of {small} instead of {large} rows, nothing augmented: {told(plain, '+.2f')}")
        both = points[0] - points[-1]
        _, low, high = interval(both)
        verdict = (
            "they help each other" if low > 0 else "they are in each other's way" if high < 0 else "none seen"
        )
        print(f"  interaction, the gain at {small} minus that at {large}: {told(both, '+.2f')}: {verdict}")
    longer = np.array(
        [r["right"][small, "longer", True] - r["right"][small, "longer", False] for r in results]
    )
    print(
        f"points gained by augmentation at {small} rows with {LONGER} times the steps: {told(longer, '+.2f')};",
        end=" ",
    )
    more = longer - gains(results)["epoch"][0]
    _, low, high = interval(more)
    verdict = "more than with fewer steps" if low > 0 else "less" if high < 0 else "no difference seen"
    print(f"{told(more, '+.2f')}: {verdict}")
    finish(draw(results), __file__)


if __name__ == "__main__":
    main()
