r"""
Pretraining a deep and thin network (8.7.4)
===========================================

A network of many narrow layers can represent a lot, and is hard to train from where it starts. Two ways to a better
start: *greedy supervised pretraining* trains one layer after another, each with an output layer of its own for the
time being, then all together; and *hints* (FitNets) let the middle of the thin, deep student first predict the middle
layer of a teacher that is wide and shallow and easy to train. Do they help, counted in steps, when pretraining is
paid for?
"""

# %%
# The student has 16 layers of 16 tanh units whose weights start uniform within :math:`1/\sqrt{m}`. All ways take the
# same number of steps: half of them for pretraining, where there is any, the rest for the whole net, by Adam at 0.003
# (at 0.01 the deep net learns nothing; a single layer with its head bears it, and gets it). `fo.meta.Greedy` runs the
# stages, `nn.greedy_stages` and `nn.hint` make them.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import finish, interval, told

import fastopt as fo
from fastopt import nn

WAYS = {"from scratch": "C3", "greedy": "C0", "hints": "C2"}
EVERY = 100


def student_of(depth: int, seed: int) -> nn.Sequential:
    model = nn.mlp(64, [16] * depth, 10, activation="tanh")
    fo.init.tree(model.params, {"*/w": "heuristic_uniform", "*/b": 0.0}, rng=seed)
    return model


def adam(params: Any, lr: float = 3e-3) -> fo.Optimizer:
    return fo.Adam(params, lr=lr)


def run(seed: int, depth: int = 16, steps: int = 2000, rows: int = 1200) -> dict[str, Any]:
    """For each way: right answers on held-out digits, every so many steps of the whole net."""
    X, y = fo.data.load_digits()
    order = np.random.default_rng(seed).permutation(len(y))
    X, y = (X[order] / 16).astype(np.float32), y[order]

    def batches() -> fo.Batches:
        return fo.Batches(X[:rows], y[:rows], size=64, rng=seed)

    def right(model: nn.Sequential) -> float:
        return float((model.predict(X[rows:]).argmax(1) == y[rows:]).mean())

    teacher = nn.mlp(64, [64], 10, activation="tanh", rng=seed)
    fo.meta.train_steps(lambda p, x, t: teacher.loss_and_grads(x, t), adam(teacher.params), batches(), 300)

    found: dict[str, Any] = {"teacher": right(teacher)}
    for way in WAYS:
        model = student_of(depth, seed)
        spent = 0 if way == "from scratch" else steps // 2
        if way == "greedy":
            stages = nn.greedy_stages(model, joint=False, rng=seed)
            fo.meta.Greedy(stages, lambda p: adam(p, 1e-2), spent // len(stages)).train(batches())
        elif way == "hints":  # the student's lower half is to predict the teacher's hidden layer
            stages = [nn.hint(model, teacher, depth, 2, rng=seed).stage()]
            fo.meta.Greedy(stages, adam, spent).train(batches())
        opt, stream = adam(model.params), batches()
        curve = [(spent, right(model))]
        for end in range(EVERY, steps - spent + 1, EVERY):
            fo.meta.train_steps(lambda p, x, t: model.loss_and_grads(x, t), opt, stream, end)  # noqa: B023
            curve.append((spent + end, right(model)))
        found[way] = curve
    return found


def draw(results: list[dict[str, Any]]) -> Any:
    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    for way, colour in WAYS.items():
        curves = np.array([r[way] for r in results])
        ax.plot(curves[0, :, 0], curves[:, :, 1].mean(0), color=colour, label=way)
        ax.fill_between(
            curves[0, :, 0], curves[:, :, 1].min(0), curves[:, :, 1].max(0), color=colour, alpha=0.15, lw=0
        )
    teacher = np.mean([r["teacher"] for r in results])
    ax.axhline(teacher, color="0.4", ls=":", lw=1, label="teacher")
    ax.axvline(results[0]["greedy"][0][0], color="0.8", lw=1, zorder=0)
    ax.text(results[0]["greedy"][0][0] * 0.98, 0.02, "pretraining", ha="right", color="0.4")
    ax.set(xlabel="steps, pretraining included", ylabel="right answers, held-out digits", ylim=(0, 1.02))
    ax.legend(loc="upper left")
    return figure


def main() -> None:
    results = [run(seed) for seed in range(9)]
    print(f"teacher: {told((r['teacher'] for r in results), '.2f')} right")
    for way in WAYS:
        print(
            f"{way}: {told((r[way][-1][1] for r in results), '.2f')} right after {results[0][way][-1][0]} steps in all"
        )
    for way in ("greedy", "hints"):
        gain = [r[way][-1][1] - r["from scratch"][-1][1] for r in results]
        _, low, high = interval(gain)
        verdict = "better than from scratch" if low > 0 else "worse" if high < 0 else "no difference seen"
        print(f"{way}: {told(gain, '.2f')} more right: {verdict}")
    finish(draw(results), __file__)


if __name__ == "__main__":
    main()
