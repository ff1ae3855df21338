r"""
Batch normalization and large rates (8.7.1)
===========================================

The gradient says how to change each layer on the assumption that the others stay as they are; all of them are
changed at once. In a deep network a large step therefore does something nobody asked for. Batch normalization takes
one part of that away: whatever the layers below do to the mean and the scale of a unit is undone before it is
passed on, and no gradient ever proposes such a change. Does a deep network then stand larger rates, and does it
learn better at its best one?
"""

# %%
# A network of eight hidden layers of ReLUs on the digits, trained by plain gradient descent on mini-batches: with batch
# norm before each activation, with layer norm there, and without. All start from the same kind of weights.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import digits, finish, interval, told

import fastopt as fo
from fastopt import nn

NORMS: dict[str, Any] = {"without": None, "batch norm": nn.BatchNorm, "layer norm": nn.LayerNorm}
RATES = tuple(10.0 ** np.arange(-2.5, 1.6, 0.5))


def network(norm: Any, depth: int, width: int, seed: int) -> nn.Sequential:
    layers: list[Any] = []
    for k in range(depth):
        layers.append(nn.Dense(width if k else 64, width))
        layers += [norm(width)] if norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.Dense(width, 10), rng=seed)


def run(
    seed: int, rates: Any = RATES, norms: Any = tuple(NORMS), epochs: int = 6, depth: int = 8, width: int = 50
) -> dict[str, np.ndarray]:
    """The share of test digits that each network gets wrong, for every rate."""
    X, y, X_test, y_test = digits(seed)
    errors: dict[str, list[float]] = {name: [] for name in norms}
    for name in norms:
        for lr in rates:
            model = network(NORMS[name], depth, width, seed)
            opt = fo.SGD(model.params, lr=lr, nonfinite="skip")
            batches = fo.Batches(X, y, size=50, rng=seed)
            with np.errstate(all="ignore"):  # some of these rates are meant to be too large
                for _ in range(epochs):
                    for xb, yb in batches:
                        opt.step(model.loss_and_grads(xb, yb)[1])
                z = model.predict(X_test)
            right = np.isfinite(z).all(axis=1) & (np.nan_to_num(z).argmax(axis=1) == y_test)
            errors[name].append(1 - right.mean())
    return {name: np.array(e) for name, e in errors.items()}


# %%
# Errors against the rate. What the intervals are about: over how many decades the rate may be chosen so that the
# network gets at least half of the digits right, and the error at the best rate.


def main() -> None:
    results = [run(seed) for seed in range(8)]
    figure, ax = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    spans, bests = {}, {}
    for name in NORMS:
        errors = np.array([r[name] for r in results])
        mean, low, high = np.array([interval(e) for e in errors.T]).T
        (line,) = ax.plot(RATES, mean, "o-", label=name)
        ax.fill_between(RATES, low.clip(0), high.clip(max=1), color=line.get_color(), alpha=0.2, lw=0)
        spans[name] = (errors < 0.5).sum(axis=1) * 0.5
        chosen = int(errors.mean(axis=0).argmin())
        bests[name] = errors[:, chosen]
        print(
            f"{name:10} learns over {told(spans[name], '.2f')} decades of rates; at its best one, {RATES[chosen]:.2g}, "
            f"it gets {told(100 * bests[name], '.1f')} % wrong"
        )
    for name in ("batch norm", "layer norm"):
        for what, gain in (
            ("decades of rates more", spans[name] - spans["without"]),
            ("points of error less at the best rate", 100 * (bests["without"] - bests[name])),
        ):
            _, low, high = interval(gain)
            seen = "" if low > 0 or high < 0 else ": no difference seen"
            print(f"{name}: {told(gain, '.2f')} {what} than without{seen}")
    ax.set(xlabel="learning rate", ylabel="share of test digits wrong", xscale="log", ylim=(0, 1))
    ax.legend(title="eight hidden layers")
    finish(figure, __file__)


if __name__ == "__main__":
    main()
