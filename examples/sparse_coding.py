"""Sparse coding by block coordinate descent: the example of Deep Learning, section 8.7.2, on handwritten digits.

    J(H, W) = sum |H| lam + sum (X - W H)^2 + decay sum W^2

J is not convex in (H, W), but convex in each alone: the codes H given the dictionary W are a lasso for
every image, the dictionary given
the codes is least squares in closed form. The penalty on W is what keeps J from the trick of large W and small H.

    python examples/sparse_coding.py [--atoms 48] [--picture atoms.png]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from fastopt.data import load_digits
from fastopt.minimize.coordinate import Block, BlockCoordinate, lasso


def sparse_coding(
    X: np.ndarray, atoms: int, lam: float, decay: float, sweeps: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Dictionary W (pixels x atoms), codes H (atoms x images), and how it went."""
    pixels, images = X.shape
    rng = np.random.default_rng(seed)
    picked = X[:, rng.choice(images, atoms, replace=False)]
    start = {"W": picked + 0.01 * rng.standard_normal(picked.shape), "H": np.zeros((atoms, images))}

    def cost(p: Any) -> float:
        misfit = ((X - p["W"] @ p["H"]) ** 2).sum()
        return float(lam * np.abs(p["H"]).sum() + misfit + decay * (p["W"] ** 2).sum())

    def codes(p: Any) -> np.ndarray:
        # lasso divides the squares by 2 n: n = pixels, so the penalty is divided by it too.
        return lasso(p["W"], X, lam / (2 * pixels), x0=p["H"], tol=1e-5).x

    def dictionary(p: Any) -> np.ndarray:
        H = p["H"]
        return np.linalg.solve(H @ H.T + decay * np.eye(atoms), H @ X.T).T

    blocks = BlockCoordinate([Block("H", solve=codes), Block("W", solve=dictionary)])
    res = blocks.minimize(cost, start, max_iter=sweeps, ftol=1e-4)
    return res.x["W"], res.x["H"], res


def draw(W: np.ndarray, path: str) -> None:
    """The atoms as a sheet of small images."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("matplotlib is not installed: no picture")
        return
    columns = 8
    rows = -(-W.shape[1] // columns)
    figure = Figure(figsize=(columns, rows), layout="constrained")
    for k, ax in enumerate(np.atleast_1d(figure.subplots(rows, columns)).flat):
        ax.axis("off")
        if k < W.shape[1]:
            atom = W[:, k].reshape(8, 8)
            reach = np.abs(atom).max() or 1.0
            ax.imshow(atom, cmap="RdBu_r", vmin=-reach, vmax=reach)
    figure.savefig(path)
    print(f"atoms drawn in {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--atoms", type=int, default=48)
    parser.add_argument("--lam", type=float, default=1.0)
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--picture", help="file to draw the atoms in")
    options = parser.parse_args()

    X = load_digits()[0][: options.images].T.astype(np.float64) / 16
    X -= X.mean(axis=1, keepdims=True)
    start = time.perf_counter()
    W, H, res = sparse_coding(X, options.atoms, options.lam, options.decay, options.sweeps)
    seconds = time.perf_counter() - start

    explained = 1 - ((X - W @ H) ** 2).sum() / (X**2).sum()
    print(
        f"{X.shape[1]} images of {X.shape[0]} pixels, {options.atoms} atoms, {res.nit} sweeps in {seconds:.2f} s"
    )
    print(
        f"J fell from {res.history[0]:.1f} to {res.fun:.1f}: {res.gains['H']:.1f} by the codes, "
        f"{res.gains['W']:.1f} by the atoms"
    )
    print(res.message)
    print(
        f"an image uses {np.count_nonzero(H, axis=0).mean():.1f} atoms; together they explain "
        f"{explained:.1%} of the variance"
    )
    if options.picture:
        draw(W, options.picture)


if __name__ == "__main__":
    main()
