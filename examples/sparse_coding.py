r"""
Sparse coding by coordinate descent (8.7.2)
===========================================

The example of *Deep Learning*, section 8.7.2, on handwritten digits: images :math:`X` as sums :math:`W H`
of few atoms,

.. math:: J(H, W) = \lambda \sum |H_{ij}| + \sum (X - W H)_{ij}^2 + \delta \sum W_{ij}^2 .

:math:`J` is not convex in both, but in each alone: the codes given the atoms are a lasso for every image,
the atoms given the codes least squares. The last term keeps :math:`J` from the trick of large :math:`W` and
small :math:`H`. Is it worth to solve for one block at a time, rather than to move both at once down the
gradient? What is seen: the gradient is as quick at first; the blocks end a little lower, need no rate, and
only they give codes that are zero.
"""

# %%
# Block coordinate descent solves each block exactly in its turn (`fastopt.lasso` for the codes). Its rival
# moves both together: Adam on the subgradient, with the best of three rates. Both start alike; time is that
# of the processor, evaluation of the curve not counted.

from __future__ import annotations

import time
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import finish, interval, told

import fastopt as fo

LAM, DECAY = 1.0, 0.05


def cost(X: np.ndarray, p: Any) -> float:
    misfit = ((X - p["W"] @ p["H"]) ** 2).sum()
    return float(LAM * np.abs(p["H"]).sum() + misfit + DECAY * (p["W"] ** 2).sum())


def start_of(X: np.ndarray, atoms: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    picked = X[:, rng.choice(X.shape[1], atoms, replace=False)]
    return {"W": picked + 0.01 * rng.standard_normal(picked.shape), "H": np.zeros((atoms, X.shape[1]))}


def by_blocks(X: np.ndarray, start: Any, sweeps: int) -> tuple[Any, list[tuple[float, float]]]:
    """The last point, and the curve: pairs of seconds and J."""
    pixels, atoms = start["W"].shape
    curve = [(0.0, cost(X, start))]
    began = time.process_time()

    def codes(p: Any) -> np.ndarray:
        # lasso divides the squares by 2 n: n = pixels, so the penalty is divided by it too.
        return fo.lasso(p["W"], X, LAM / (2 * pixels), x0=p["H"], tol=1e-5).x

    def dictionary(p: Any) -> np.ndarray:
        H = p["H"]
        return np.linalg.solve(H @ H.T + DECAY * np.eye(atoms), H @ X.T).T

    def value(p: Any) -> float:
        J = cost(X, p)
        curve.append((time.process_time() - began, J))
        return J

    blocks = fo.BlockCoordinate([fo.Block("H", solve=codes), fo.Block("W", solve=dictionary)])
    return blocks.minimize(value, start, max_iter=sweeps, ftol=1e-4).x, curve


def at_once(X: np.ndarray, start: Any, lr: float, seconds: float) -> tuple[Any, list[tuple[float, float]]]:
    """Adam on W and H together, for so many seconds of the processor: the same two."""
    p = {name: a.copy() for name, a in start.items()}
    opt = fo.Adam(p, lr=lr)
    curve, used = [(0.0, cost(X, p))], 0.0
    while used < seconds:
        began = time.process_time()
        for _ in range(10):
            R = p["W"] @ p["H"] - X
            opt.step(
                {"W": 2 * (R @ p["H"].T + DECAY * p["W"]), "H": 2 * p["W"].T @ R + LAM * np.sign(p["H"])}
            )
        used += time.process_time() - began
        curve.append((used, cost(X, p)))
    return p, curve


def run(
    seed: int,
    images: int = 300,
    atoms: int = 48,
    sweeps: int = 20,
    rates: tuple[float, ...] = (0.003, 0.01, 0.03),
) -> Any:
    X = fo.data.load_digits()[0].astype(np.float64) / 16
    X = X[np.random.default_rng(100 + seed).permutation(len(X))[:images]].T
    X -= X.mean(axis=1, keepdims=True)
    start = start_of(X, atoms, seed)
    end, blocks = by_blocks(X, start, sweeps)
    rivals = [at_once(X, start, lr, blocks[-1][0]) for lr in rates]
    moved, best = min(rivals, key=lambda rival: rival[1][-1][1])
    misfit = ((X - end["W"] @ end["H"]) ** 2).sum()
    return {
        "blocks": blocks,
        "at once": best,
        "ratio": best[-1][1] / blocks[-1][1],
        "zeros at once": np.mean(moved["H"] == 0),
        "zeros": np.mean(end["H"] == 0),
        "used": np.count_nonzero(end["H"], axis=0).mean(),
        "explained": 1 - misfit / (X**2).sum(),
        "W": end["W"],
    }


# %%
# On the left J against time for each seed, on the right the atoms that the first seed found: strokes, not
# digits.


def draw(results: list[Any]) -> Any:
    figure = plt.figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.05))
    ax = left.subplots()
    for name, colour in (("blocks", "C0"), ("at once", "C1")):
        for k, result in enumerate(results):
            label = (
                {"blocks": "one block at a time", "at once": "both at once (Adam)"}[name] if k == 0 else None
            )
            seconds, J = np.array(result[name]).T
            ax.plot(seconds[1:], J[1:], color=colour, alpha=0.7, lw=1.2, label=label)
    ax.set(xlabel="seconds of the processor", ylabel="J", xscale="log", yscale="log")
    ax.legend()
    W = results[0]["W"]
    axes = right.subplots(-(-W.shape[1] // 8), 8)
    right.suptitle("atoms", fontsize="medium")
    for ax, atom in zip(axes.flat, W.T, strict=False):
        reach = np.abs(atom).max() or 1.0
        ax.imshow(atom.reshape(8, 8), cmap="RdBu_r", vmin=-reach, vmax=reach)
    for ax in axes.flat:
        ax.axis("off")
    return figure


def main() -> None:
    results = [run(seed) for seed in range(6)]
    ratio = [r["ratio"] for r in results]
    _, low, _ = interval(ratio)
    verdict = "the blocks end lower" if low > 1 else "no difference seen"
    print(f"J of Adam over J of the blocks, after the same time: {told(ratio, '.3f')}: {verdict}")
    print(f"codes that are zero: {told((r['zeros'] for r in results), '.1%')} by blocks,", end=" ")
    print(f"{told((r['zeros at once'] for r in results), '.1%')} by Adam")
    print(f"an image uses {told(r['used'] for r in results)} of {results[0]['W'].shape[1]} atoms,")
    print(f"which explain {told((r['explained'] for r in results), '.3f')} of the variance")
    finish(draw(results), __file__)


if __name__ == "__main__":
    main()
