r"""
What holds this run back? (8.2)
===============================

The chapter lists what makes training hard: ill-conditioning, saddles and plateaus, cliffs, noise, signals
that vanish on a long way. All of them end in a loss that does not fall as it should, and the loss does not
say which it is. Can it be told from the run? Here a small network learns the digits, once well and then with
one ailment at a time, and each run is asked every question of `fastopt.diagnostics`. A diagnosis is right if
the run's own trouble is named and a good run hears nothing.
"""

# %%
# The ailments: a rate two hundred times too large; pixels on scales that differ by a factor of a thousand (in
# a linear regression); all weights zero, a saddle by symmetry, where no gradient reaches the first layer;
# labels drawn anew for every batch, so that there is nothing to learn; now and then a batch whose pixels come
# on another scale; a backward pass with a mistake in one array; and a recurrent matrix whose powers vanish,
# or explode.

from __future__ import annotations

from itertools import islice
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import digits, finish, told

import fastopt as fo
from fastopt import diagnostics as d

#: Each ailment, and the questions that name it.
AILMENTS = {
    "none": set(),
    "rate too large": {"divergence", "updates"},
    "pixels badly scaled": {"ill-conditioning"},
    "all weights zero": {"critical point", "updates"},
    "labels are noise": {"noise in the run", "inexact gradients"},
    "spoiled batches": {"cliffs"},
    "mistake in the gradient": {"gradients"},
    "recurrent, powers vanish": {"long-term dependencies"},
    "recurrent, powers explode": {"long-term dependencies"},
}
QUESTIONS = (
    "ill-conditioning", "gradient norm", "updates", "divergence", "critical point", "noise in the run",
    "inexact gradients", "cliffs", "gradients", "long-term dependencies",
)  # fmt: skip


def run(
    seed: int, steps: int = 400, rows: int = 600, ailments: Any = tuple(AILMENTS)
) -> dict[str, np.ndarray]:
    """For every ailment which of the questions found trouble: 1 or 0."""
    found = {ailment: diagnose(seed, ailment, steps, rows) for ailment in ailments}
    return {ailment: np.array([float(q in said) for q in QUESTIONS]) for ailment, said in found.items()}


def diagnose(seed: int, ailment: str, steps: int, rows: int) -> set[str]:
    X, y, _, _ = digits(seed, rows)
    rng = np.random.default_rng([seed, 9])
    X = X - np.float32(0.3)
    targets: Any = y
    if (
        ailment == "pixels badly scaled"
    ):  # a linear regression, in double: its Hessian has no flat or falling direction
        X = X[:, X.std(axis=0) > 0.05].astype(float)
        X *= 10 ** rng.uniform(-1.5, 1.5, X.shape[1])
        targets = y[:, None] / 9
        model = fo.nn.mlp(X.shape[1], (), 1, loss=fo.nn.SquaredError(), dtype=float, rng=seed)
    else:
        model = fo.nn.mlp(64, (16,), 10, activation="tanh", rng=seed)
    if ailment == "all weights zero":
        model.vector[:] = 0
    bearable = 0.3 * len(X) / np.linalg.norm(X, 2) ** 2  # by the steepest direction of the regression
    lr = {"rate too large": 10.0, "pixels badly scaled": bearable, "all weights zero": 1.0}.get(ailment, 0.05)
    opt = fo.SGD(model.params, lr=lr, momentum=0.5, diagnostics=True)
    monitor = d.Monitor(opt)
    size = (
        len(X) if ailment == "all weights zero" else 64
    )  # the noise of batches would shake it off the saddle

    def loss_and_grads(params: Any, x: np.ndarray, labels: np.ndarray) -> tuple[float, Any]:
        loss, grads = model.loss_and_grads(x, labels)
        if ailment == "mistake in the gradient":
            grads["0"]["b"] *= np.float32(1.5)
        return loss, grads

    for t, (xb, yb) in enumerate(islice(fo.Batches(X, targets, size=size, rng=seed).cycle(), steps)):
        if ailment == "labels are noise":
            yb = rng.integers(0, 10, len(yb))
        if ailment == "spoiled batches" and t % 97 == 60:
            xb = xb * np.float32(1000)
        loss, grads = loss_and_grads(model.params, xb, yb)
        monitor.step(grads, loss=loss)

    labels = rng.integers(0, 10, len(y)) if ailment == "labels are noise" else targets
    monitor.probe(lambda params: loss_and_grads(params, X, labels))
    monitor.probe_noise(
        loss_and_grads, [(X[i : i + 64], labels[i : i + 64]) for i in range(0, len(X) - 63, 64)]
    )
    matrix = np.linalg.qr(rng.standard_normal((16, 16)))[0]  # orthogonal: its powers last
    matrix *= {"recurrent, powers vanish": 0.85, "recurrent, powers explode": 1.15}.get(ailment, 1.0)
    asked = [*monitor.ask(), d.long_term(matrix, 100)]
    asked.append(
        d.check_gradients(lambda params: loss_and_grads(params, X[:32], labels[:32]), model.params, k=5)
    )
    return {answer.question for answer in asked if answer.trouble}


# %%
# Every ailment with every seed. A row is a kind of run, a column a question; the number says in how many of
# the runs it found trouble. Frames mark what each ailment should be known by, one of them at least.


def main() -> None:
    seeds = range(5)
    found = [run(seed) for seed in seeds]
    known = {a: np.array([q in AILMENTS[a] for q in QUESTIONS]) for a in AILMENTS}
    share = np.array([np.mean([f[a] for f in found], axis=0) for a in AILMENTS])
    for ailment, row in zip(AILMENTS, share, strict=True):
        said = ", ".join(
            f"{q} {n * len(seeds):.0f}/{len(seeds)}" for q, n in zip(QUESTIONS, row, strict=True) if n
        )
        print(f"{ailment:26s} {said or 'nothing'}")
    named = [np.mean([f[a][known[a]].any() for a in AILMENTS if AILMENTS[a]]) for f in found]
    further = [np.mean([f[a][~known[a]].any() for a in AILMENTS]) for f in found]
    silent = sum(not f["none"].any() for f in found)
    print(
        f"Share of ailments named: {told(named, '.2f')}; of runs with a further verdict: {told(further, '.2f')}."
    )
    print(f"The good run hears nothing in {silent} of {len(seeds)}.")

    figure, ax = plt.subplots(figsize=(9.0, 5.2), layout="constrained")
    image = ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, ailment in enumerate(AILMENTS):
        for j, question in enumerate(QUESTIONS):
            if share[i, j]:
                colour = "white" if share[i, j] > 0.5 else "black"
                ax.text(
                    j,
                    i,
                    f"{share[i, j] * len(found):.0f}/{len(found)}",
                    ha="center",
                    va="center",
                    color=colour,
                )
            if question in AILMENTS[ailment]:
                frame = plt.Rectangle((j - 0.48, i - 0.46), 0.96, 0.92, fill=False, edgecolor="#D55E00", lw=2)
                ax.add_patch(frame)
    ax.set_xticks(range(len(QUESTIONS)), QUESTIONS, rotation=35, ha="right")
    ax.set_yticks(range(len(AILMENTS)), AILMENTS)
    ax.set_xlabel("question")
    ax.set_ylabel("ailment of the run")
    ax.set_title("Verdicts of trouble; framed: what the ailment is known by", fontsize=11, loc="left")
    figure.colorbar(image, ax=ax, label="share of seeds")
    finish(figure, __file__)


if __name__ == "__main__":
    main()
