r"""
What is minimized and what is wanted (8.1)
==========================================

Training minimizes a surrogate, the log-likelihood on the training rows, because what is wanted, few wrong answers on
rows never seen, has no useful gradient. The two part: the surrogate goes on falling when what is wanted has long been
at its best, sometimes to good use (8.1.2: the wrong answers may go on falling after the *error on the training rows* is
zero), sometimes not. When does early stopping pay, and is it worth to train again on all rows afterwards?
"""

# %%
# Digits with a third of the labels drawn at random, so that there is something not to be learned. A network much too
# large is trained on 500 rows, judged after each pass on 200 held out; `fo.meta.early_stop` keeps the best weights.
# Then algorithm 7.2: from the start again, on all 700 rows, for the number of steps that was best. 1000 other rows,
# their labels right, tell how good each really is.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import finish, interval, told

import fastopt as fo
from fastopt import nn


def run(
    seed: int, passes: int = 60, patience: int = 8, rows: int = 500, held_out: int = 200
) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    X, y = fo.data.load_digits()
    order = rng.permutation(len(y))
    X, truth = (X[order] / 16).astype(np.float32), y[order]
    labels = np.where(rng.random(len(y)) < 1 / 3, rng.integers(0, 10, len(y)), truth)
    train, held = slice(0, rows), slice(rows, rows + held_out)
    both, test = slice(0, rows + held_out), slice(rows + held_out, None)

    def begin(part: slice) -> tuple[nn.Sequential, Any, fo.Optimizer, fo.Batches]:
        model = nn.mlp(64, [256], 10, rng=seed)
        opt = fo.Adam(model.params, lr=1e-3)
        return (
            model,
            lambda p, x, t: model.loss_and_grads(x, t),
            opt,
            fo.Batches(X[part], labels[part], size=32, rng=seed),
        )

    def wrong(model: nn.Sequential, part: slice, y: np.ndarray) -> float:
        return float((model.predict(X[part]).argmax(1) != y[part]).mean())

    # The whole course first, to see what stopping leaves out.
    model, loss_and_grads, opt, batches = begin(train)
    course: list[float] = []
    whole = fo.meta.early_stop(
        loss_and_grads, opt, batches, lambda p: wrong(model, held, labels), fo.meta.EarlyStopping(None), passes=passes,
        restore=False, after_update=lambda e: course.append(wrong(model, test, truth)),
    )  # fmt: skip
    end = wrong(model, test, truth)

    model, loss_and_grads, opt, batches = begin(train)
    early = fo.meta.early_stop(
        loss_and_grads, opt, batches, lambda p: wrong(model, held, labels), patience, passes=passes
    )
    stopped = wrong(model, test, truth)

    model, loss_and_grads, opt, batches = begin(both)
    fo.meta.train_steps(loss_and_grads, opt, batches, early.best_step or 0)
    return {
        "surrogate": [row["surrogate"] for row in whole.history],
        "held out": [row["metric"] for row in whole.history],
        "test": course,
        "best pass": (early.best_step or 0) / len(fo.Batches(X[train], size=32)),
        "to the end": end,
        "stopped early": stopped,
        "again on all rows": wrong(model, test, truth),
        "saved": 1 - len(early.history) / passes,
    }


def draw(results: list[dict[str, Any]]) -> Any:
    figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    other = ax.twinx()
    passes = np.arange(1, len(results[0]["surrogate"]) + 1)
    lines = []
    for axis, name, label, colour in (
        (other, "surrogate", "surrogate: log-loss, training rows (right scale)", "C1"),
        (ax, "held out", "wrong on held-out rows, their labels as noisy", "C7"),
        (ax, "test", "wrong on new rows, true labels", "C0"),
    ):
        curves = np.array([r[name] for r in results])
        lines += axis.plot(passes, curves.mean(0), color=colour, label=label)
        axis.fill_between(passes, curves.min(0), curves.max(0), color=colour, alpha=0.15, lw=0)
    for k, r in enumerate(results):
        ax.axvline(
            r["best pass"], color="0.6", lw=0.8, ls=":", label="best pass, a seed each" if k == 0 else None
        )
    ax.set(xlabel="pass", ylabel="share of wrong answers", ylim=(0, None))
    other.set(ylabel="log-loss", ylim=(0, None))
    handles = lines + [h for h in ax.get_lines() if str(h.get_label()).startswith("best pass")]
    ax.legend(handles, [str(h.get_label()) for h in handles], fontsize="small", loc="upper right")
    return figure


def main() -> None:
    results = [run(seed) for seed in range(8)]
    for name in ("to the end", "stopped early", "again on all rows"):
        print(f"wrong on new rows, {name}: {told((100 * r[name] for r in results), '.1f')} %")
    for name, other in (("stopped early", "to the end"), ("again on all rows", "stopped early")):
        gain = [100 * (r[other] - r[name]) for r in results]
        _, low, high = interval(gain)
        verdict = "better" if low > 0 else "worse" if high < 0 else "no difference seen"
        print(f"{name}, against {other}: {told(gain, '.1f')} points fewer wrong: {verdict}")
    print(f"passes saved: {told((r['saved'] for r in results), '.0%')}")
    finish(draw(results), __file__)


if __name__ == "__main__":
    main()
