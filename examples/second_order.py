r"""
Curvature for a fit of moderate size (8.6)
==========================================

Newton's method, conjugate gradients, BFGS and L-BFGS use the whole training set for one step, mini-batch methods a
small part of it (8.1.3, 8.6). Counted in passes over the data: which gets how far? A fit to full
accuracy is asked for here, not the early plateau where a network's training is stopped.
"""

# %%
# Softmax regression with weight decay on the digits: convex, 650 parameters, one minimum. A pass is one gradient over
# all rows; a product of the Hessian with a vector by a difference of gradients is one too. The mini-batch methods
# shuffle every epoch, one epoch is one pass, and their rate falls linearly.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import digits, finish, interval, told

import fastopt as fo

DECAY = 1e-3
FULL = ("gd", "cg", "bfgs", "lbfgs", "newton_cg")
BATCHED: dict[str, Any] = {
    "SGD, momentum": lambda p, lr: fo.SGD(p, lr=lr, momentum=0.9, weight_decay=DECAY),
    "Adam": lambda p, lr: fo.Adam(p, lr=lr, weight_decay=DECAY),
}
RATES = {"SGD, momentum": 0.1, "Adam": 0.01}


def problem(seed: int, rows: int) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """The model, its penalized loss over all rows with the gradient, and the rows."""
    X, y, _, _ = digits(seed, rows)
    X = X.astype(np.float64)
    model = fo.nn.mlp(X.shape[1], (), 10, dtype=np.float64, rng=seed)
    model.vector[:] = 0

    def fun(w: np.ndarray) -> tuple[float, np.ndarray]:
        np.copyto(model.vector, w)
        value, _ = model.loss_and_grads(X, y)
        return value + DECAY / 2 * float(w @ w), model.grad_vector + DECAY * w

    return model, fun, X, y


def run(seed: int, passes: int = 200, rows: int = 1400, batch: int = 50) -> dict[str, np.ndarray]:
    """Excess of the lowest loss so far over the minimum, after each pass, for each method."""
    model, fun, X, y = problem(seed, rows)
    least = fo.minimize(fun, np.zeros_like(model.vector), options={"gtol": 1e-10, "maxiter": 5000}).fun
    found = {}
    for method in FULL:
        seen: list[float] = []

        def watched(w: np.ndarray, seen: list[float] = seen) -> tuple[float, np.ndarray]:
            value, grad = fun(w)
            seen.append(value)
            return value, grad

        options = {"gtol": 0.0, "maxfev": passes, "maxiter": passes}
        fo.minimize(watched, np.zeros_like(model.vector), method=method, options=options)
        padded = np.full(passes, np.nan)
        padded[: len(seen)] = np.minimum.accumulate(seen)[:passes]
        padded[len(seen) :] = min(seen)
        found[method] = padded - least
    for name, make in BATCHED.items():
        model.vector[:] = 0
        epochs = fo.Batches(X, y, size=batch, rng=seed)
        opt = make(model.params, fo.schedules.linear(RATES[name], 0.0, passes * len(epochs)))
        losses = []
        for _ in range(passes):
            losses.append(fun(model.vector.copy())[0])
            for xb, yb in epochs:
                _, grads = model.loss_and_grads(xb, yb)
                opt.step(grads)
        found[name] = np.minimum.accumulate(losses) - least
    return {name: np.maximum(excess, 1e-14) for name, excess in found.items()}


# %%
# How far each method gets, and the passes that it needs for six digits of the loss.


def main() -> None:
    results = [run(seed) for seed in range(5)]
    figure, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    wanted = 1e-6
    for name in results[0]:
        curves = np.log10([r[name] for r in results])
        mean, low, high = np.array([interval(c) for c in curves.T]).T
        style = "--" if name in BATCHED else "-"
        (line,) = ax.plot(10**mean, style, label=name)
        ax.fill_between(range(len(mean)), 10**low, 10**high, color=line.get_color(), alpha=0.2, lw=0)
        needed = [int((r[name] <= wanted).argmax()) if (r[name] <= wanted).any() else None for r in results]
        early = told([r[name][5] for r in results], ".2g")
        if None in needed:
            late = f"not in {len(mean)} passes (excess then {told([r[name][-1] for r in results], '.1g')})"
        else:
            late = told([n for n in needed if n is not None], ".0f") + " passes"
        print(f"{name:14} excess after 5 passes {early}; to {wanted:g}: {late}")
    ax.axhline(wanted, color="0.7", lw=0.8)
    ax.set(xlabel="passes over the data", ylabel="loss above its minimum", yscale="log", ylim=(1e-10, 5))
    ax.legend(ncols=2)
    finish(figure, __file__)


if __name__ == "__main__":
    main()
