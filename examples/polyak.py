r"""
Polyak averaging on noise (8.7.3)
=================================

Gradients of mini-batches are noisy, so with a rate that stays large the iterates bounce about the minimum, and
with a rate that falls as :math:`c/t` they settle, at the best speed only if :math:`c` suits the smallest
eigenvalue of the Hessian :math:`H`, which nobody knows. Polyak's answer: let the rate fall slower, as
:math:`t^{-0.6}`, and take the mean of the iterates. Its error tends to

.. math:: \operatorname{E} (\bar\theta_t - \theta^*)(\bar\theta_t - \theta^*)^\top \to \tfrac{1}{t} H^{-1} S H^{-1},

:math:`S` the covariance of the gradients, and no estimate from :math:`t` samples can do better. Does it, and what is
left of this on a network, where the start is far and the loss not convex?
"""

# %%
# Left: descents with exact gradients plus noise, 200 at once as the rows of one array. The error is told in units of
# the best possible, :math:`\operatorname{tr}(H^{-1} S H^{-1}) / t`, so the optimum is the line at 1.
# Right: a small network on digits at a constant rate; how many digits it gets wrong along the way, with the
# weights of the moment and with averages of them, which cost nothing but memory.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import finish, interval, told

import fastopt as fo
from fastopt import nn

CURVATURES = np.array([1.0, 0.5, 0.25])
RATES = {
    "c/t, c fits": (lambda t: 4.0 / (t + 8), "C2"),
    "c/t, c eight times too small": (lambda t: 0.5 / (t + 1), "C3"),
    "$t^{-0.6}$": (lambda t: t**-0.6, "C1"),
}


def descents(seed: int, steps: int, chains: int) -> dict[str, list[tuple[int, float]]]:
    """Step and error, in units of the best possible, of last and averaged iterates."""
    found: dict[str, list[tuple[int, float]]] = {}
    best = (1 / CURVATURES**2).sum()  # S = 1
    marks = {int(t) for t in np.geomspace(10, steps, 15)}
    for name, (rate, _) in RATES.items():
        rng = np.random.default_rng(seed)
        x = np.ones((chains, 3))
        opt = fo.SGD(x, lr=rate, average=fo.averaging.Mean())
        averages = name.startswith("$")
        for t in range(1, steps + 1):
            opt.step(x * CURVATURES + rng.standard_normal(x.shape))
            if t in marks:
                found.setdefault(name, []).append((t, t * (x**2).sum(1).mean() / best))
                if averages:
                    with opt.averaged():
                        error = t * (x**2).sum(1).mean() / best
                    found.setdefault(f"{name}, averaged", []).append((t, error))
    return found


def network(seed: int, passes: int, rows: int) -> dict[str, list[float]]:
    """Share of wrong answers on held-out digits after each pass."""
    X, y = fo.data.load_digits()
    order = np.random.default_rng(seed).permutation(len(y))
    X, y = (X[order] / 16).astype(np.float32), y[order]
    test_x, test_y = X[rows:], y[rows:]
    kinds = {
        "EMA": fo.averaging.EMA(0.99),
        "mean over the last half": fo.averaging.Tail(passes * (rows // 16), 0.5),
    }
    found: dict[str, list[float]] = {}
    for name, average in kinds.items():
        model = nn.mlp(64, [32], 10, rng=seed)
        opt = fo.SGD(model.params, lr=0.5, average=average)
        batches = fo.Batches(X[:rows], y[:rows], size=16, rng=seed, drop_last=True)

        def wrong() -> float:
            return float((model.predict(test_x).argmax(1) != test_y).mean())  # noqa: B023

        for _ in range(passes):
            for xb, yb in batches:
                opt.step(model.loss_and_grads(xb, yb)[1])
            found.setdefault("last weights", [])
            if name == "EMA":
                found["last weights"].append(wrong())
            with opt.averaged():
                found.setdefault(name, []).append(wrong())
    return found


def run(seed: int, steps: int = 3000, chains: int = 200, passes: int = 24, rows: int = 800) -> dict[str, Any]:
    return {"descents": descents(seed, steps, chains), "network": network(seed, passes, rows)}


def draw(results: list[dict[str, Any]]) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4.0), layout="constrained")
    for name in results[0]["descents"]:
        curves = np.array([r["descents"][name] for r in results])
        averaged = name.endswith("averaged")
        colour = "C0" if averaged else RATES[name][1]
        left.plot(
            curves[0, :, 0], curves[:, :, 1].mean(0), color=colour, lw=2.4 if averaged else 1.4, label=name
        )
        left.fill_between(
            curves[0, :, 0], *np.quantile(curves[:, :, 1], [0, 1], axis=0), color=colour, alpha=0.2, lw=0
        )
    left.axhline(1, color="0.4", ls=":", lw=1)
    left.set(xscale="log", yscale="log", xlabel="step t", ylabel="squared error / best possible")
    left.legend(fontsize="small", loc="upper left")
    for name, colour in (("last weights", "C1"), ("EMA", "C0"), ("mean over the last half", "C4")):
        curves = 100 * np.array([r["network"][name] for r in results])
        passes = np.arange(1, curves.shape[1] + 1)
        if name.startswith("mean"):  # until then it is the last weights
            curves, passes = curves[:, len(passes) // 2 :], passes[len(passes) // 2 :]
        right.plot(passes, curves.mean(0), color=colour, label=name)
        right.fill_between(passes, *np.quantile(curves, [0, 1], axis=0), color=colour, alpha=0.15, lw=0)
    right.set(xlabel="pass", ylabel="wrong answers, %", yscale="log")
    right.set_yticks([2, 3, 5, 10, 20], labels=["2", "3", "5", "10", "20"])
    right.minorticks_off()
    right.legend(fontsize="small")
    return figure


def main() -> None:
    results = [run(seed) for seed in range(6)]
    print("squared error at the end, in units of the best possible:")
    for name in results[0]["descents"]:
        print(f"  {name:32} {told((r['descents'][name][-1][1] for r in results), '.2f')}")
    last = np.array([r["network"]["last weights"] for r in results])
    for name in ("EMA", "mean over the last half"):
        gain = [
            100 * (a[-5:].mean() - np.mean(r["network"][name][-5:]))
            for a, r in zip(last, results, strict=True)
        ]
        _, low, high = interval(gain)
        verdict = "better than the last weights" if low > 0 else "worse" if high < 0 else "no difference seen"
        print(f"network, {name}: {told(gain, '.2f')} points fewer wrong in the last five passes: {verdict}")
    finish(draw(results), __file__)


if __name__ == "__main__":
    main()
