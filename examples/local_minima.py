r"""
Why is a local minimum good enough? (8.2.2, 8.2.3)
==================================================

Training ends in some local minimum, one of very many, and nobody minds. Three measurements ask why, on
small networks whose loss has a little weight decay, so that minima exist:

1. Start often and train to the end. Do the ends have the same loss, and does width matter?
2. Join two ends: by the straight line, and by a bent path, whose one middle point is trained (Garipov et
   al., *Loss surfaces, mode connectivity, and fast ensembling of DNNs*, 2018). Are there walls between them?
3. Find critical points at any height, not only minima, and count the directions in which they fall (Dauphin
   et al., *Identifying and attacking the saddle point problem in high-dimensional non-convex optimization*,
   2014). Are the high ones saddles?

What is seen: the ends of a wide network differ in the third digit or less, those of a narrow one enough
to make a start good or bad. The straight way between two ends leads over a wall, the bent way
hardly, and the less the wider. And what is critical and high has many ways down: where training stays, it
is low already.
"""

# %%
# Everything is done by the loss as a plain function of one vector, and by L-BFGS, which finds ends exactly
# enough to be compared.

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from study import digits, finish, interval, told

import fastopt as fo

DECAY, TINY_DECAY = 1e-3, 3e-3
WIDTHS = (2, 4, 8, 16, 32)

Fun = Callable[[np.ndarray], tuple[float, np.ndarray]]


def network(X: np.ndarray, y: np.ndarray, width: int, classes: int, decay: float) -> tuple[Fun, int]:
    """Loss and gradient of one hidden layer of tanh as a function of all weights, and how many these are."""
    model = fo.nn.mlp(X.shape[1], (width,), classes, activation="tanh", dtype=np.float64)

    def fun(w: np.ndarray) -> tuple[float, np.ndarray]:
        model.vector[:] = w
        value, _ = model.loss_and_grads(X, y)
        return value + decay / 2 * float(w @ w), model.grad_vector + decay * w

    return fun, model.vector.size


def end_of(fun: Fun, n: int, rng: np.random.Generator, iterations: int) -> np.ndarray:
    start = rng.standard_normal(n) * 0.3
    return fo.minimize(fun, start, options={"gtol": 1e-6, "maxiter": iterations}).x


# %%
# The bent path is a Bezier curve of second order, :math:`(1-t)^2 a + 2 t (1-t) m + t^2 b`. Its middle m is
# what lowers the mean loss along it. A wall is how far the highest loss on the way is above the higher end.

ALONG = np.linspace(0, 1, 41)


def bent(a: np.ndarray, m: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * m + t**2 * b


def walls(fun: Fun, a: np.ndarray, b: np.ndarray, iterations: int) -> tuple[float, float]:
    """Height of the wall on the straight and on the bent path."""
    knots = np.linspace(0, 1, 10)[1:-1]

    def mean_loss(m: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = 0.0, np.zeros_like(m)
        for t in knots:
            f, g = fun(bent(a, m, b, t))
            value += f / len(knots)
            gradient += 2 * t * (1 - t) / len(knots) * g
        return value, gradient

    middle = (a + b) / 2
    m = fo.minimize(mean_loss, middle, options={"maxiter": iterations, "gtol": 1e-6}).x
    higher = max(fun(a)[0], fun(b)[0])
    straight, curved = (max(fun(bent(a, c, b, t))[0] for t in ALONG) - higher for c in (middle, m))
    return straight, curved


def ends_and_walls(
    seed: int, width: int, starts: int = 4, rows: int = 240, iterations: int = 300, bends: int = 30
) -> tuple[list[float], float, float]:
    """Losses at the ends of so many starts, and both walls between the first two."""
    X, y, _, _ = digits(seed, rows)
    fun, n = network(X, y, width, 10, DECAY)
    ends = [end_of(fun, n, np.random.default_rng([seed, width, k]), iterations) for k in range(starts)]
    return [fun(w)[0] for w in ends], *walls(fun, ends[0], ends[1], bends)


# %%
# Critical points of any index are where the squared length of the gradient is zero. Newton's method for
# that, damped as by Levenberg and Marquardt, begins where gradient descent from small weights passes by
# after up to 500 steps: slowly, near saddles. Kept is what ends with a gradient of practically zero, each
# point once. The network is tiny, so that its Hessian is at hand: five classes, images averaged to 2 x 2
# pixels, four hidden units, 45 weights.


def hessian(fun: Fun, w: np.ndarray, g: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """By differences of gradients; g is that at w."""
    H = np.array([(fun(w + step)[1] - g) / h for step in h * np.eye(len(w))])
    return (H + H.T) / 2


def critical_point(fun: Fun, w: np.ndarray, iterations: int) -> tuple[float, float] | None:
    """Loss and share of negative eigenvalues at a critical point near w; None if none was reached."""
    damping, g = 1e-2, fun(w)[1]
    H = hessian(fun, w, g)
    for _ in range(iterations):
        step = np.linalg.solve(H @ H + damping * np.eye(len(w)), -H @ g)
        tried = fun(w + step)[1]
        if tried @ tried < g @ g:
            w, g, damping = w + step, tried, damping / 5
            H = hessian(fun, w, g)
        else:
            damping *= 4
        if np.linalg.norm(g) < 1e-9:
            return fun(w)[0], float(np.mean(np.linalg.eigvalsh(H) < -1e-5))
    return None


def critical_points(seed: int, starts: int = 24, iterations: int = 50) -> np.ndarray:
    """Rows of (loss, share of negative eigenvalues)."""
    X, y, _, _ = digits(seed, 1000)
    X, y = X[y < 5][:100], y[y < 5][:100]
    pixels = X.reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).reshape(-1, 4) * 4 - 2
    fun, n = network(pixels, y, 4, 5, TINY_DECAY)
    rng = np.random.default_rng([seed, 11])
    found = {}
    for _ in range(starts):
        w = rng.uniform(0.1, 0.3) * rng.standard_normal(n)
        opt = fo.SGD(w, lr=0.3)
        for _ in range(rng.integers(1, 500)):
            opt.step(fun(w)[1])
        point = critical_point(fun, w, iterations)
        if point:
            found[round(point[0], 6)] = point
    return np.array(list(found.values())).reshape(-1, 2)


def run(seed: int, widths: tuple[int, ...] = WIDTHS, points: int = 24, **smaller: int) -> dict[str, Any]:
    return {
        "ends": {h: ends_and_walls(seed, h, **smaller) for h in widths},
        "critical": critical_points(seed, points),
    }


# %%
# Left: each end of each start; heights of walls in the middle; right: the critical points of all seeds.


def draw(results: list[Any]) -> Any:
    figure, (ends, wall, index) = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    for k, r in enumerate(results):
        for h in WIDTHS:
            losses = r["ends"][h][0]
            ends.plot([h * 1.03 ** (k - 2)] * len(losses), losses, "o", ms=4, alpha=0.5, color="C0")
    ends.set(xscale="log", yscale="log", xlabel="hidden units", ylabel="loss at the end of a start")
    for place, name in ((1, "straight"), (2, "bent")):
        heights = np.array([[r["ends"][h][place] for h in WIDTHS] for r in results])
        wall.plot(WIDTHS, heights.mean(axis=0), "o-", color=f"C{place}", label=name)
        wall.plot(WIDTHS, heights.T, ".", color=f"C{place}", alpha=0.4)
    wall.set(xscale="log", yscale="log", xlabel="hidden units", ylabel="wall between two ends")
    wall.legend()
    for ax in (ends, wall):
        ax.set_xticks(WIDTHS, [str(h) for h in WIDTHS])
        ax.minorticks_off()
    for r in results:
        index.plot(100 * r["critical"][:, 1], r["critical"][:, 0], "o", ms=4, alpha=0.6, color="C3")
    index.set(xlabel="% of the directions that fall", ylabel="loss at a critical point")
    return figure


def main() -> None:
    results = [run(seed) for seed in range(5)]
    print("hidden units, mean loss at the ends, its spread over starts, straight wall, bent wall:")
    for h in WIDTHS:
        losses = [np.array(r["ends"][h][0]) for r in results]
        spread = [x.std(ddof=1) / x.mean() for x in losses]
        straight, bend = ([r["ends"][h][place] for r in results] for place in (1, 2))
        told_mean = told(x.mean() for x in losses)
        print(f"{h:4}  {told_mean}  {told(spread, '.2%')}  {told(straight, '.2f')}  {told(bend, '.3f')}")
    points = [r["critical"] for r in results]
    rank = [stats.spearmanr(c[:, 0], c[:, 1]).statistic for c in points]
    _, low, _ = interval(rank)
    verdict = "the higher, the more directions fall" if low > 0 else "no relation seen"
    print(
        f"{sum(map(len, points))} critical points; rank correlation of loss and index {told(rank, '.2f')}: {verdict}"
    )
    finish(draw(results), __file__)


if __name__ == "__main__":
    main()
