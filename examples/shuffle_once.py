r"""
Why is shuffling once mostly enough, and when does it fail? (8.1.3)
===================================================================

The book asks for rows in random order, and adds that in practice it is enough to shuffle them once. Why?
And what happens with sorted rows, with a shuffle buffer that is small, with draws that may repeat, in one
epoch or in thirty?

What an order does can be seen before any training. Walk through an epoch at a fixed point and add up how
far the gradients seen so far are from their share of the full gradient: a walk that begins and ends at
zero. How far it strays is how far the order misleads the parameters within an epoch. A permutation strays
by about :math:`\sqrt n`, and it hardly matters which one: that is why one is enough. Rows sorted by class
stray by :math:`n`.

What is seen: as long as the epochs are few, shuffling once cannot be told from shuffling every epoch. A
long run with a falling rate tells them apart, in decimals of the training loss that the test set does not
show. Draws with replacement lose somewhat more; small buffers cost most in a single epoch, and many epochs
in ever new orders of the blocks make up for them; sorted rows do not recover.
"""

# %%
# Softmax regression on the digits, sorted by class, with a little weight decay, so that there is one
# minimum, found by L-BFGS. Each order trains for 1 to 32 epochs, the rate falling linearly to a hundredth
# over the run.

from __future__ import annotations

from functools import lru_cache
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import digits, finish, interval, told

import fastopt as fo

DECAY, LR, SIZE = 1e-3, 1.0, 16
ORDERS: dict[str, Any] = {
    "every epoch": lambda: "epoch",
    "once": lambda: "once",
    "with replacement": lambda: "replacement",
    "blocks of 28, buffer of 8": lambda: fo.data.Blocks(28, buffer=8),
    "blocks of 28, buffer of 1": lambda: fo.data.Blocks(28, buffer=1),
    "sorted": lambda: False,
}
EPOCHS = (1, 2, 4, 8, 16, 32)


@lru_cache
def task(seed: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Rows sorted by class, the weights of the minimum, and its value."""
    X, y, _, _ = digits(seed, rows)
    order = np.argsort(y, kind="stable")
    X, y = X[order], y[order]
    model = fo.nn.mlp(X.shape[1], (), 10, dtype=np.float64)

    def fun(w: np.ndarray) -> tuple[float, np.ndarray]:
        model.vector[:] = w
        value, _ = model.loss_and_grads(X, y)
        return value + DECAY / 2 * w @ w, model.grad_vector + DECAY * w

    res = fo.minimize(fun, np.zeros_like(model.vector), options={"gtol": 1e-7, "maxiter": 2000})
    return X, y, res.x, float(res.fun)


def trained(seed: int, shuffle: Any, epochs: int, rows: int) -> tuple[float, float]:
    """How far above the minimum training ends, and the share of test rows it gets right."""
    X, y, _, least = task(seed, rows)
    _, _, X_test, y_test = digits(seed, rows)
    model = fo.nn.mlp(X.shape[1], (), 10)
    model.vector[:] = 0
    steps = epochs * -(-rows // SIZE)
    opt = fo.SGD(model.params, lr=fo.schedules.linear(LR, LR / 100, steps), weight_decay=DECAY)
    batches = fo.Batches(X, y, size=SIZE, rng=seed, shuffle=shuffle)
    for _ in range(epochs):
        for xb, yb in batches:
            opt.step(model.loss_and_grads(xb, yb)[1])
    w = model.vector.astype(np.float64)
    right = np.mean(model.predict(X_test).argmax(axis=1) == y_test)
    return model.loss(X, y) + DECAY / 2 * float(w @ w) - least, float(right)


def straying(seed: int, shuffle: Any, rows: int) -> np.ndarray:
    """Length of the sum of (gradient of a row - mean gradient) at weights zero, after each row of an epoch."""
    X, y, _, _ = task(seed, rows)
    d = 0.1 - np.eye(10)[y]  # gradients by the outputs
    each = (X[:, :, None] * d[:, None, :]).reshape(rows, -1)
    each -= each.mean(axis=0)
    order = np.concatenate(list(fo.Batches(np.arange(rows), size=SIZE, rng=seed, shuffle=shuffle)))
    return np.linalg.norm(np.cumsum(each[order], axis=0), axis=1)


def run(seed: int, rows: int = 1400, epochs: tuple[int, ...] = EPOCHS) -> dict[str, dict[str, np.ndarray]]:
    """By order: excess and accuracy after each number of epochs, and how the sums of an epoch stray."""
    results = {}
    for name, make in ORDERS.items():
        ends = np.array([trained(seed, make(), e, rows) for e in epochs])
        results[name] = {"excess": ends[:, 0], "right": ends[:, 1], "strays": straying(seed, make(), rows)}
    return results


# %%
# On the left how far each order strays within an epoch, on the right what is left above the minimum after
# training.


def draw(results: list[Any]) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for k, name in enumerate(ORDERS):
        walks = np.array([r[name]["strays"] for r in results])
        if name != "every epoch":  # in one epoch the same as "once"
            left.plot(np.arange(1, walks.shape[1] + 1), walks.mean(axis=0), color=f"C{k}")
        ends = np.array([r[name]["excess"] for r in results])
        mean, low, high = np.array([interval(e) for e in ends.T]).T
        right.plot(EPOCHS, mean, "o-", color=f"C{k}", label=name)
        right.fill_between(EPOCHS, np.maximum(low, mean / 10), high, color=f"C{k}", alpha=0.2, lw=0)
    left.set(xlabel="rows seen in the epoch", ylabel="length of the sum of deviations")
    right.set(xlabel="epochs of the run", ylabel="loss above its minimum", xscale="log", yscale="log")
    right.set_xticks(EPOCHS, [str(e) for e in EPOCHS])
    right.legend()
    return figure


def main() -> None:
    results = [run(seed) for seed in range(8)]
    for name in ORDERS:
        print(f"{name:26} strays by {told((r[name]['strays'].max() for r in results), '.0f')}")
    for name in list(ORDERS)[1:]:
        print(f"{name}, against every epoch:")
        for place in (0, 3, 5):
            base = [r["every epoch"] for r in results]
            ratio = [
                np.log(r[name]["excess"][place] / b["excess"][place])
                for r, b in zip(results, base, strict=True)
            ]
            right = [
                100 * (r[name]["right"][place] - b["right"][place])
                for r, b in zip(results, base, strict=True)
            ]
            mean, low, high = np.exp(interval(ratio))
            verdict = "worse" if low > 1 else "better" if high < 1 else "no difference seen"
            print(
                f"  {EPOCHS[place]:2} epochs: {mean:.2f} [{low:.2f}, {high:.2f}] times the excess: {verdict};",
                end=" ",
            )
            print(f"test accuracy {told(right, '+.2f')} points")
    finish(draw(results), __file__)


if __name__ == "__main__":
    main()
