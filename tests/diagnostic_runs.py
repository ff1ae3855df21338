"""Made runs whose ailment is known, for the table of tests/test_diagnostics.py: each a small problem, its optimizer and its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import fastopt as fo


@dataclass
class Ill:
    """A run and what it can be asked with."""

    name: str
    ails: set[str]  # questions in trouble; all others must be silent
    fun: Callable[[np.ndarray], tuple[float, np.ndarray]]
    start: np.ndarray
    opt: Callable[[np.ndarray], Any]
    steps: int = 400
    batches: Callable[[], list[Any]] | None = None  # of the function's noise; None: the batches agree
    batch_fun: Callable[..., tuple[float, np.ndarray]] | None = None
    noisy: Callable[[np.ndarray, np.random.Generator], np.ndarray] | None = None  # gradient of a step
    jacobian: Any = field(
        default_factory=lambda: np.linalg.qr(np.random.default_rng(5).standard_normal((4, 4)))[0]
    )


def quadratic(values: Any) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    values = np.asarray(values, float)
    return lambda x: (float(x @ (values * x)) / 2, values * x)


def sgd(lr: float, **more: Any) -> Callable[[np.ndarray], Any]:
    return lambda x: fo.SGD(x, lr=lr, diagnostics=True, **more)


def noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(x.size)


def saddle(x: np.ndarray) -> tuple[float, np.ndarray]:
    # A saddle at 0, minima at (0, +-1, 0); what starts with x[1] = 0 runs into the saddle.
    value = x[0] ** 2 + x[2] ** 2 - x[1] ** 2 / 2 + x[1] ** 4 / 4
    return float(value), np.array([2 * x[0], -x[1] + x[1] ** 3, 2 * x[2]])


def double_well(x: np.ndarray) -> tuple[float, np.ndarray]:
    # Curvature 2 at the minima, x = +-1: steps longer than 1 go round them for ever.
    return float(((x**2 - 1) ** 2).sum()) / 4, x**3 - x


def plateau(x: np.ndarray) -> tuple[float, np.ndarray]:
    # One minus a Gaussian well at 0: flat from afar.
    e = np.exp(-(x @ x) / 2)
    return float(1.0 - e), e * x


def cliff(x: np.ndarray) -> tuple[float, np.ndarray]:
    # A gentle slope that ends at a wall, x[0] = 1: the step that lands on it is thrown far back (book, figure 8.3).
    on = 0.5 + 0.5 * np.tanh(100 * (x[0] - 1))
    wall = 40 * np.logaddexp(0.0, 200 * (x[0] - 1)) / 200
    return float(0.5 * x[1] ** 2 - x[0] + wall), np.array([40 * on - 1, x[1]])


def around(x: np.ndarray) -> tuple[float, np.ndarray]:
    # A mountain at 0 between the start (-2, 0.1) and the bowl at (2, 0): descent goes around it (book, figure 8.4).
    hill = 6 * np.exp(-(x @ x))
    d = x - np.array([2.0, 0.0])
    return float(0.5 * d @ d * 0.5 + hill), 0.5 * d - 2 * hill * x


def wrong(x: np.ndarray) -> tuple[float, np.ndarray]:
    f, g = quadratic([1.0, 2.0, 3.0, 4.0])(x)
    g[2] *= 0.9
    return f, g


def exact_batches() -> list[Any]:
    return [(np.zeros(8),), (np.zeros(8),), (np.zeros(8),), (np.zeros(8),)]


def noisy_batches() -> list[Any]:
    rng = np.random.default_rng(11)
    return [(rng.standard_normal((8, 30)),) for _ in range(40)]


def noisy_mean(x: np.ndarray, rows: np.ndarray) -> tuple[float, np.ndarray]:
    return 0.0, rows.mean(axis=0)


RUNS = [
    Ill("well-behaved", set(), quadratic([1, 2, 3, 4]), np.ones(4), sgd(0.3), steps=60),
    Ill("well-behaved, with noise", set(), quadratic([1, 2, 3, 4]), 100 * np.ones(4), sgd(0.05, momentum=0.5), steps=100,
        noisy=lambda x, rng: 0.1 * rng.standard_normal(x.size)),
    Ill("ill-conditioned", {"ill-conditioning"}, quadratic([1, 10, 1e3, 1e5]), np.ones(4), sgd(1e-5), steps=400),
    Ill("too long a step", {"ill-conditioning", "gradient norm", "updates"}, double_well, np.array([1.5, 0.5]), sgd(1.1), steps=401),
    Ill("to and fro", {"to and fro"}, quadratic([1.0, 4.0]), np.array([0.0, 1.0]), sgd(0.74, momentum=0.5), steps=60),
    Ill("saddle", {"critical point"}, saddle, np.array([1.0, 0.0, 1.0]), sgd(0.1)),
    Ill("plateau", {"critical point"}, plateau, np.array([6.0, 3.0]), sgd(0.1)),
    Ill("cliff", {"cliffs"}, cliff, np.array([-1.97, 0.5]), sgd(0.1), steps=65),
    Ill("pure noise", {"inexact gradients", "noise in the run", "gradient norm", "path"}, quadratic(np.ones(30)), np.full(30, 0.25),
        sgd(1e-2, momentum=0.9), steps=2000, noisy=noise, batches=noisy_batches, batch_fun=noisy_mean),
    Ill("around a mountain", {"straight line"}, around, np.array([-2.0, 0.3]), sgd(0.05), steps=1000),
    Ill("vanishing", {"long-term dependencies"}, quadratic([1, 2, 3, 4]), np.ones(4), sgd(0.3), steps=60, jacobian=0.8 * np.eye(4)),
    Ill("exploding", {"long-term dependencies"}, quadratic([1, 2, 3, 4]), np.ones(4), sgd(0.3), steps=60,
        jacobian=np.diag([1.3, 0.5, 0.2, 0.1])),
    Ill("wrong gradient", {"gradients"}, wrong, np.ones(4), sgd(0.3), steps=60),
]  # fmt: skip


def watch(ill: Ill) -> tuple[fo.diagnostics.Monitor, np.ndarray]:
    """Run it; its monitor and where it ended."""
    x = ill.start.astype(float).copy()
    opt = ill.opt(x)
    monitor = fo.diagnostics.Monitor(opt, snapshots=16)
    rng = np.random.default_rng(3)
    for _ in range(ill.steps):
        loss, g = ill.fun(x)
        if ill.noisy is not None:
            g = g + ill.noisy(x, rng)
        monitor.step(g, loss=loss)
    return monitor, x


def ask(ill: Ill) -> dict[str, fo.diagnostics.Answer]:
    """Every question of 8.2, by name."""
    d = fo.diagnostics
    monitor, _ = watch(ill)
    monitor.probe(ill.fun)
    batches = ill.batches or exact_batches
    monitor.probe_noise(ill.batch_fun or (lambda x, _: ill.fun(x)), batches())
    monitor.probe_path(ill.fun)
    answers = {a.question: a for a in monitor.ask()}
    for a in (d.long_term(ill.jacobian), d.check_gradients(ill.fun, ill.start.astype(float))):
        answers[a.question] = a
    return answers
