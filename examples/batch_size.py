r"""
How large should a mini-batch be? (8.1.3)
=========================================

The standard error of a gradient over n examples is :math:`\sigma / \sqrt n`: hundred times the work buys a tenth of
the error. How large is that noise beside the gradient itself, along a run? And can a batch that grows take the place
of a rate that falls, in fewer steps?
"""

# %%
# A small network on the handwritten digits. First the error of a batch's gradient, measured against the
# gradient over all examples, for batches drawn as :class:`fastopt.Batches` draws them (without replacement). Then
# the gradient noise scale: the trace of the covariance over the squared length of the gradient, which is about
# the size up to which a larger batch saves as many steps as it costs examples. Last the trade: a rate that falls to a
# quarter three times, and instead a batch that grows fourfold three times; on softmax regression with three labels in
# ten drawn at random, where the noise of the gradient is what keeps the loss above its minimum.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import digits, finish, interval, told

import fastopt as fo

SIZES = (1, 4, 16, 64, 256)
START, RATE, FAST = 16, 0.1, 0.6  # FAST: noise keeps it from the minimum


def network(seed: int) -> Any:
    return fo.nn.mlp(64, (32,), 10, rng=seed, dtype=np.float64)


def gradient(model: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    model.loss_and_grads(x, y)
    return model.grad_vector


def errors_of_batches(seed: int, rows: int = 1024, batches: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """The error (root of the mean square) of the gradient by batch size: measured, and sigma / sqrt(n)."""
    X, y, _, _ = digits(seed, rows)
    model = network(seed)
    full = gradient(model, X, y).copy()
    single = fo.diagnostics.GradientMoments(full, population=rows)
    for i in range(rows):
        single.update(gradient(model, X[i : i + 1], y[i : i + 1]))
    sigma = np.sqrt(single.noise().trace)
    measured = []
    for size in SIZES:
        squares = []
        while len(squares) < batches:
            order = fo.Batches(X, y, size=size, rng=[seed, size, len(squares)])
            for xb, yb in order.take(batches - len(squares)):
                d = gradient(model, xb, yb) - full
                squares.append(float(d @ d))
        measured.append(np.sqrt(np.mean(squares)))
    return np.array(measured), np.array([fo.diagnostics.standard_error(sigma, n, rows) for n in SIZES])


def noise_along(seed: int, rows: int = 1000, epochs: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """The noise scale after each epoch, from four micro-batches a step; and exactly, from all single examples."""
    X, y, _, _ = digits(seed, rows)
    model = network(seed)
    opt = fo.SGD(model.params, lr=RATE)
    scale = fo.diagnostics.NoiseScale(decay=0.99)
    told_, exact = [], []
    for _ in range(epochs):
        for xb, yb in (batches := fo.Batches(X, y, size=START, rng=[seed, len(told_)], drop_last=True)):
            parts = (gradient(model, xb[i::4], yb[i::4]).copy() for i in range(4))
            moments = fo.diagnostics.GradientMoments(model.grad_vector)
            for part in parts:
                moments.update(part, batches.size // 4)
            scale.update(moments.noise())
            model.grad_vector[:] = moments.mean
            opt.step(model.grads)
        told_.append(scale.scale)
        moments = fo.diagnostics.GradientMoments(model.grad_vector, population=rows)
        for i in range(rows):
            moments.update(gradient(model, X[i : i + 1], y[i : i + 1]))
        trace, length = moments.noise()
        exact.append(trace / length)
    return np.array(told_), np.array(exact)


def trade(seed: int, rows: int = 1024, epochs: int = 24) -> dict[str, tuple[np.ndarray, int, float]]:
    """Loss above its minimum after each epoch, steps, and test errors (%): rate falls, batch grows, neither."""
    X, y, X_test, y_test = digits(seed, rows)
    rng = np.random.default_rng([seed, 7])
    y = np.where(rng.random(rows) < 0.3, rng.integers(0, 10, rows), y)
    model = fo.nn.mlp(64, (), 10, rng=seed, dtype=np.float64)

    def fun(w: np.ndarray) -> tuple[float, np.ndarray]:
        model.vector[:] = w
        return model.loss_and_grads(X, y)[0], model.grad_vector

    with np.errstate(under="ignore"):  # of probabilities next to nothing
        least = fo.minimize(fun, np.zeros_like(model.vector), options={"gtol": 1e-5, "maxiter": 2000}).fun
    decay = fo.schedules.step(FAST, every=max(1, epochs // 4), factor=0.25)
    found = {}
    for name in ("rate falls", "batch grows", "neither"):
        model.vector[:] = 0
        bigger = fo.meta.BiggerBatches(decay, START, most=rows, rows=rows)
        size: Any = bigger.size if name == "batch grows" else START
        steps_an_epoch = rows // START
        lr: Any = {
            "rate falls": lambda t, n=steps_an_epoch: decay(1 + (t - 1) // n),
            "batch grows": bigger.lr,
            "neither": FAST,
        }[name]
        opt = fo.SGD(model.params, lr=lr)
        curve = []
        batches = fo.Batches(X, y, size=size, rng=seed)
        for _ in range(epochs):
            for xb, yb in batches:
                opt.step(model.loss_and_grads(xb, yb)[1])
            curve.append(model.loss(X, y) - least)
        wrong = 100 * float(np.mean(model.predict(X_test).argmax(axis=1) != y_test))
        found[name] = (np.array(curve), opt.steps, wrong)
    return found


def run(
    seed: int, rows: int = 1024, batches: int = 64, epochs: int = 24
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray], dict[str, Any]]:
    """All three parts for one seed."""
    return (
        errors_of_batches(seed, rows, batches),
        noise_along(seed, rows, epochs // 2),
        trade(seed, rows, epochs),
    )


# %%
# Error against size, noise along the run, and loss against steps.


def main() -> None:
    results = [run(seed) for seed in range(5)]
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")

    measured, expected = (np.array([r[0][k] for r in results]) for k in (0, 1))
    alone = measured / np.sqrt(1 - np.array(SIZES) / 1024)  # as if drawn from more examples than there are
    slopes = [np.polyfit(np.log(SIZES), np.log(m), 1)[0] for m in alone]
    ratio = (measured / expected).ravel()
    print(f"error against size, on logarithmic axes: slope {told(slopes, '.3f')}")
    print(f"measured error over the formula's: {told(ratio, '.3f')}")
    axes[0].loglog(SIZES, measured.T, "C0o", ms=4, alpha=0.5)
    axes[0].loglog(SIZES, expected.mean(axis=0), "k-", lw=1, label=r"$\sigma\,\sqrt{(1 - n/N)\,/\,n}$")
    axes[0].plot([], [], "C0o", ms=4, label="measured, a seed each")
    axes[0].set(xlabel="examples of the batch, n", ylabel="error of the gradient", title="standard error")

    for k, (color, label) in enumerate(
        (("C1", "by four micro-batches a step"), ("k", "by all single examples"))
    ):
        seen = np.array([r[1][k] for r in results]).T
        axes[1].semilogy(np.arange(1, len(seen) + 1), seen, color=color, lw=1, alpha=0.7)
        axes[1].plot([], [], color=color, label=label + ", a seed each")
    ends = np.array([r[1][1][[0, -1]] for r in results])
    for what, x in (
        ("at the end", ends[:, 1]),
        ("at the end over after the first epoch", ends[:, 1] / ends[:, 0]),
    ):
        mean, low, high = np.exp(interval(np.log(x)))
        print(f"noise scale {what}: {mean:.3g} [{low:.3g}, {high:.3g}]")
    axes[1].set(
        xlabel="epoch", ylabel="noise scale (examples)", title="noise against gradient", ylim=(10, None)
    )

    for name, color in (("neither", "C7"), ("rate falls", "C3"), ("batch grows", "C0")):
        curves = np.array([r[2][name][0] for r in results])
        mean, low, high = np.array([interval(c) for c in curves.T]).T
        x = np.arange(1, len(mean) + 1)
        axes[2].semilogy(x, mean, color=color, label=f"{name}: {results[0][2][name][1]} steps")
        axes[2].fill_between(x, np.maximum(low, mean / 10), high, color=color, alpha=0.2, lw=0)
        steps, excess = results[0][2][name][1], told(curves[:, -1], ".4f")
        wrong = told([r[2][name][2] for r in results], ".2f")
        print(f"{name:11} {steps:5d} steps, {excess} above the minimum, test errors {wrong} %")
    ends = {name: np.array([r[2][name][0][-1] for r in results]) for name in results[0][2]}
    for other in ("rate falls", "neither"):
        mean, low, high = np.exp(interval(np.log(ends["batch grows"] / ends[other])))
        word = "lower" if high < 1 else "higher" if low > 1 else "no difference seen"
        print(f"a batch that grows over '{other}': {mean:.4f} [{low:.4f}, {high:.4f}] of the excess: {word}")
    axes[2].set(xlabel="epoch", ylabel="training loss above its minimum", title="two ways to less noise")
    for ax in axes:
        ax.legend(fontsize=8, loc="best" if ax is not axes[1] else "lower right")
    finish(figure, __file__)


if __name__ == "__main__":
    main()
