r"""
Designing a model that is easier to train (8.7.5)
=================================================

To be able to optimize, it is often better to choose a model that is easy to optimize than a cleverer algorithm. In a
deep chain of layers that each shrink what passes a little, the gradient that reaches the first layers is too small
to say anything. Skip connections (:math:`y = x + f(x)`) give it a short way down; auxiliary heads give the middle
layers a target of their own. Do nets with them train where the plain one does not, and is it for that reason?
"""

# %%
# The same net three times: narrow tanh layers whose weights start uniform within :math:`1/\sqrt{m}`, the old rule of
# thumb, so that signals shrink from layer to layer. One has its layers in pairs with a skip connection, one has a
# linear head behind every layer, whose loss counts as much as the last one's, in training only. All are trained
# alike, by Adam, at several depths.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import finish, interval, told

import fastopt as fo
from fastopt import nn

KINDS = {"plain": "C3", "residual": "C0", "auxiliary heads": "C2"}


def made(kind: str, depth: int, seed: int, width: int = 16) -> nn.Sequential:
    """So many hidden layers, however they are connected."""
    layers: list[nn.Layer] = [nn.Dense(64, width), nn.Tanh()]
    if kind == "residual":
        block = [nn.Dense(width, width), nn.Tanh(), nn.Dense(width, width)]
        layers += [nn.Residual(*block)] * (depth // 2)
    else:
        for _ in range(depth):
            layers += [nn.Dense(width, width), nn.Tanh()]
            if kind == "auxiliary heads":
                layers.append(nn.Auxiliary(nn.Dense(width, 10), weight=1.0))
    model = nn.Sequential(*layers, nn.Dense(width, 10))
    fo.init.tree(model.params, {"*/w": "heuristic_uniform", "*/b": 0.0}, rng=seed)
    return model


def run(
    seed: int, depths: tuple[int, ...] = (2, 4, 8, 16, 32), passes: int = 15, rows: int = 1200
) -> dict[str, Any]:
    """For each kind: right answers on held-out digits by depth, and how much gradient reaches the first layer."""
    X, y = fo.data.load_digits()
    order = np.random.default_rng(seed).permutation(len(y))
    X, y = (X[order] / 16).astype(np.float32), y[order]
    found: dict[str, Any] = {kind: {"right": [], "reaches": []} for kind in KINDS}
    for kind in KINDS:
        for depth in depths:
            model = made(kind, depth, seed)
            grads = model.loss_and_grads(X[:rows], y[:rows])[1]
            reaches = np.linalg.norm(grads["0"]["w"])
            opt = fo.Adam(model.params, lr=3e-3)
            batches = fo.Batches(X[:rows], y[:rows], size=64, rng=seed)
            for _ in range(passes):
                for xb, yb in batches:
                    opt.step(model.loss_and_grads(xb, yb)[1])
            right = (model.predict(X[rows:]).argmax(1) == y[rows:]).mean()
            found[kind]["right"].append(float(right))
            found[kind]["reaches"].append(float(reaches))
    found["depths"] = depths
    return found


def draw(results: list[dict[str, Any]]) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    depths = results[0]["depths"]
    for ax, what in zip(axes, ("reaches", "right"), strict=True):
        for kind, colour in KINDS.items():
            values = np.array([r[kind][what] for r in results])
            ax.plot(
                depths,
                values.mean(0) if what == "right" else np.median(values, 0),
                "o-",
                color=colour,
                label=kind,
            )
            ax.fill_between(depths, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
        ax.set_xscale("log", base=2)
        ax.set_xticks(depths, labels=map(str, depths))
        ax.set_xlabel("hidden layers")
    axes[0].set(ylabel="norm of the first layer's gradient", yscale="log", title="before training")
    axes[1].set(ylabel="right answers, held-out digits", ylim=(0, 1.02), title="after training")
    axes[1].legend(loc="lower left")
    return figure


def main() -> None:
    results = [run(seed) for seed in range(5)]
    for kind in KINDS:
        right = " ".join(
            f"{d}: {told((r[kind]['right'][i] for r in results), '.2f')}"
            for i, d in enumerate(results[0]["depths"])
        )
        print(f"{kind}: right answers by depth  {right}")
    smaller = [np.log10(r["plain"]["reaches"][0] / r["plain"]["reaches"][-2]) for r in results]
    print(
        f"from 2 to 16 layers the plain net's first gradient falls by {told(smaller, '.1f')} orders of magnitude"
    )
    for kind in ("residual", "auxiliary heads"):
        gain = [r[kind]["right"][-2] - r["plain"]["right"][-2] for r in results]
        _, low, _ = interval(gain)
        verdict = "trains where the plain net does not" if low > 0 else "no difference seen"
        print(
            f"{kind}, {results[0]['depths'][-2]} layers: {told(gain, '.2f')} more right than plain: {verdict}"
        )
    finish(draw(results), __file__)


if __name__ == "__main__":
    main()
