r"""
An ill-conditioned quadratic, six ways (8.2.1, 8.3, 8.6)
========================================================

How many gradients does a method need, when the curvature along one direction is :math:`\kappa` times that
along another? Theory says about :math:`\kappa` for gradient descent, :math:`\sqrt\kappa` for momentum and
for conjugate gradients, and one step for Newton's method, which knows the curvature. BFGS has to learn it
first: on a quadratic its way is that of conjugate gradients, as long as it has seen fewer directions than
there are. On :math:`f(x) = \tfrac12 x^\top A x` all six are counted.
"""

# %%
# The eigenvalues of A are spread evenly in their logarithm from :math:`1/\kappa` to 1, its axes are random.
# A method is done when f is :math:`10^{-8}` of what it was at the start. Gradient descent, momentum and
# Nesterov get the steps that are best for the extreme eigenvalues (which nobody knows in practice); the
# other three find theirs with a line search, whose evaluations count too.

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import finish, told

import fastopt as fo

REDUCTION = 1e-8
LEARNERS = ("cg", "bfgs", "newton")


def quadratic(n: int, kappa: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    axes, _ = np.linalg.qr(rng.standard_normal((n, n)))
    A = (axes * np.geomspace(1 / kappa, 1, n)) @ axes.T
    return (A + A.T) / 2, axes @ rng.standard_normal(n)


def fixed_steps(kappa: float) -> dict[str, dict[str, Any]]:
    """The best constants for eigenvalues in [1/kappa, 1] (Polyak 1964; Nesterov 2004, scheme 2.2.11)."""
    root = np.sqrt(kappa)
    shrink = (root - 1) / (root + 1)
    return {
        "gradient descent": {"lr": 2 / (1 + 1 / kappa)},
        "momentum": {"lr": 4 / (1 + 1 / root) ** 2, "momentum": shrink**2},
        "Nesterov": {"lr": 1.0, "momentum": shrink, "nesterov": True},
    }


def gradients_needed(A: np.ndarray, x0: np.ndarray, most: int, **settings: Any) -> int:
    x = x0.copy()
    opt = fo.SGD(x, **settings)
    goal = REDUCTION * x @ A @ x
    for count in range(1, most):
        g = A @ x
        if x @ g <= goal:
            return count
        opt.step(g)
    return most


def run(
    seed: int, n: int = 200, kappas: tuple[float, ...] = (10, 100, 1000, 10000)
) -> dict[str, list[float]]:
    """Gradients that each method needs, by kappa."""
    counts: dict[str, list[float]] = {}
    for kappa in kappas:
        A, x0 = quadratic(n, kappa, np.random.default_rng([seed, int(kappa)]))
        for name, settings in fixed_steps(kappa).items():
            counts.setdefault(name, []).append(gradients_needed(A, x0, 100 * int(kappa) + 1000, **settings))
        goal = REDUCTION * x0 @ A @ x0 / 2
        for method in LEARNERS:
            hess = {"hess": lambda x, A=A: A} if method == "newton" else {}
            res = fo.minimize(
                lambda x, A=A: (x @ A @ x / 2, A @ x), x0, method=method, **hess,
                options={"ftarget": goal, "gtol": 0.0, "maxiter": 5000},
            )  # fmt: skip
            counts.setdefault(method, []).append(res.nfev if res.fun <= goal else np.inf)
    return counts


# %%
# In theory a step of gradient descent leaves :math:`((\kappa - 1)/(\kappa + 1))^2` of f, one of momentum
# about :math:`((\sqrt\kappa - 1)/(\sqrt\kappa + 1))^2`; the same number bounds conjugate gradients from
# above. So many steps are drawn dashed.

NAMES = {"cg": "conjugate gradients", "bfgs": "BFGS", "newton": "Newton"}


def predicted(kappa: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    def steps(c: np.ndarray) -> np.ndarray:
        return np.log(REDUCTION) / (2 * np.log((c - 1) / (c + 1)))

    return steps(kappa), steps(np.sqrt(kappa))


def draw(results: list[dict[str, list[float]]], kappas: np.ndarray) -> Any:
    figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
    for k, name in enumerate(results[0]):
        counts = np.array([r[name] for r in results])
        ax.plot(kappas, counts.mean(0), "o-", color=f"C{k}", label=NAMES.get(name, name))
        ax.fill_between(kappas, counts.min(0), counts.max(0), color=f"C{k}", alpha=0.2, lw=0)
    fine = np.geomspace(kappas[0], kappas[-1])
    for steps, label in zip(predicted(fine), (r"theory, $\kappa$", r"theory, $\sqrt{\kappa}$"), strict=True):
        ax.plot(fine, steps, "k--", lw=0.8)
        ax.annotate(
            label, (fine[30], steps[30]), textcoords="offset points", xytext=(0, -14), fontsize="small"
        )
    ax.set(xscale="log", yscale="log", xlabel=r"condition number $\kappa$")
    ax.set_ylabel(f"gradients until f is {REDUCTION:g} of the start")
    ax.legend()
    return figure


def main() -> None:
    kappas = np.array([10.0, 100.0, 1000.0, 10000.0])
    results = [run(seed, kappas=tuple(kappas)) for seed in range(6)]
    print("gradients needed at the largest condition number, and the power of kappa by which they grow:")
    for name in results[0]:
        powers = [np.polyfit(np.log(kappas[1:]), np.log(r[name][1:]), 1)[0] for r in results]
        print(
            f"  {NAMES.get(name, name):20} {told((r[name][-1] for r in results), '8.0f'):32} {told(powers, '.2f')}"
        )
    finish(draw(results, kappas), __file__)


if __name__ == "__main__":
    main()
