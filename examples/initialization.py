"""
Initialization scale against trainability
=========================================

*Deep Learning*, section 8.4: the initial scale of the weights decides whether a deep network can be trained at all. Too
small, and signals die on their way through the layers; too large, and gradients explode. For rectifiers theory has a
scale at which neither happens: standard deviation ``sqrt(2 / m)`` for a layer of m inputs (He's). How far from it may
one start, and does adjusting by one mini-batch (LSUV, or the book's watching and adjusting) mend a bad start?

A plain network of 20 hidden ReLU layers learns to tell handwritten digits apart by SGD with momentum, from weights of
He's scale times a factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from study import finish, interval, told

import fastopt as fo
from fastopt import nn

SEEDS = range(5)
FACTORS = (0.25, 0.5, 0.71, 1.0, 1.41, 2.0, 4.0)


# %%
# One run
# -------
# The network starts from ``factor`` times He's scale, or that start is first mended by one mini-batch; then it is
# trained for a fixed budget. Gradients are clipped by their norm, so that no start is lost to one overflow.
def run(
    seed: int,
    factor: float,
    mend: str = "",
    depth: int = 20,
    width: int = 48,
    steps: int = 150,
    rows: int = 64,
) -> tuple[float, list[float]]:
    """Accuracy on the training images at the end, and each layer's gradient (standard deviation) at the start."""
    x, y = fo.data.load_digits()
    x = (x / 8 - 1).astype(np.float32)
    model = nn.mlp(x.shape[1], [width] * depth, 10, rng=seed)
    fo.init.tree(model.params, {"*/w": ("he_normal", {"gain": factor * 2**0.5}), "*/b": "zeros"}, rng=seed)
    sample = np.random.default_rng(seed).choice(len(x), 256, replace=False)
    if mend == "lsuv":
        fo.init.lsuv(model, x[sample], rng=seed)
    elif mend == "adjust":
        fo.init.adjust(model, x[sample])
    watched = [row.grad_std for row in fo.init.watch(model, x[sample], y[sample]).rows if row.weighted]

    opt = fo.SGD(model.params, lr=0.05, momentum=0.9, clip_norm=1.0)
    batches = fo.Batches(x, y, size=rows, rng=seed).cycle()
    for _, (xb, yb) in zip(range(steps), batches, strict=False):
        _, grads = model.loss_and_grads(xb, yb)
        opt.step(grads)
    return float((model.predict(x).argmax(axis=1) == y).mean()), watched


def draw(
    accuracies: dict[tuple[float, str], list[float]], gradients: dict[float, Sequence[float]]
) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    styles = {
        "": ("as it is", "o-"),
        "lsuv": ("LSUV", "s--"),
        "adjust": ("adjusted", "^:"),
    }
    for mend, (label, style) in styles.items():
        factors = sorted({factor for factor, kind in accuracies if kind == mend})
        means, lows, highs = zip(*(interval(accuracies[factor, mend]) for factor in factors), strict=True)
        left.plot(factors, means, style, label=label)
        left.fill_between(factors, lows, highs, alpha=0.2)
    left.axhline(0.1, color="grey", lw=0.8)
    left.text(FACTORS[0], 0.115, "guessing", color="grey", fontsize=8)
    left.set(xscale="log", xlabel="scale of the weights / He's scale", ylabel="accuracy after training")
    left.set_xticks(FACTORS, [f"{factor:g}" for factor in FACTORS], minor=False)
    left.minorticks_off()
    left.set_ylim(0, 1.02)
    left.legend(loc="center right", fontsize=8)
    for factor, grads in gradients.items():
        right.semilogy(range(1, len(grads) + 1), grads, label=f"{factor:g} times He's")
    right.set(
        xlabel="layer", ylabel="std of the gradient at the start", title="20 hidden layers, before training"
    )
    right.set_xticks([1, 5, 10, 15, 20])
    right.legend(fontsize=8)
    left.set_title(f"20 hidden ReLU layers, {len(SEEDS)} seeds, 95 % bands")
    return figure


# %%
# All factors, several seeds
# --------------------------
def main() -> None:
    accuracies: dict[tuple[float, str], list[float]] = {}
    gradients: dict[float, Sequence[float]] = {}
    for factor in FACTORS:
        ends, starts = zip(*(run(seed, factor) for seed in SEEDS), strict=True)
        accuracies[factor, ""] = list(ends)
        if factor in (0.5, 1.0, 2.0):
            gradients[factor] = np.exp(np.mean(np.log(np.maximum(starts, 1e-300)), axis=0)).tolist()
        print(f"{factor:4g} times He's scale: accuracy {told(ends)}")
    for factor in (FACTORS[0], FACTORS[-1]):
        for mend in ("lsuv", "adjust"):
            accuracies[factor, mend] = [run(seed, factor, mend)[0] for seed in SEEDS]
            print(f"{factor:4g} times, then {mend}: accuracy {told(accuracies[factor, mend])}")

    # Differences seed by seed, since a seed brings its data order and its random signs along.
    for factor in (0.5, 2.0):
        gaps = np.subtract(accuracies[1.0, ""], accuracies[factor, ""])
        low = interval(gaps)[1]
        verdict = "He's scale is better" if low > 0 else "no difference seen"
        print(f"He's scale less {factor:g} times it: {told(gaps)}: {verdict}")
    ratios = {factor: grads[0] / grads[-1] for factor, grads in gradients.items()}
    for factor, ratio in ratios.items():
        print(f"gradient of the first layer over that of the last at {factor:g}: {ratio:.1e}")
    mended = [accuracies[FACTORS[0], mend] for mend in ("lsuv", "adjust")]
    for name, own in zip(("LSUV", "adjusting"), mended, strict=True):
        gain = interval(np.subtract(own, accuracies[FACTORS[0], ""]))
        print(f"{name} mends a start at {FACTORS[0]:g}: {'yes' if gain[1] > 0 else 'no difference seen'}")
    finish(draw(accuracies, gradients), __file__)


if __name__ == "__main__":
    main()
