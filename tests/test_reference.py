"""The reference against torch as recorded, against torch, optax and Keras where installed, and by hand."""

from __future__ import annotations

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import reference
import reference_peers
from reference_cases import CONVENTIONS
from trajectories import TorchCase, torch_cases

STEPS = 100
RECORDED = torch_cases()


def largest(tree: reference.Params) -> float:
    return max(float(np.max(np.abs(x))) for x in (tree.values() if isinstance(tree, dict) else [tree]))


# ---- Other libraries ----


@pytest.mark.parametrize("case", RECORDED, ids=[c.id for c in RECORDED])
def test_recorded_runs_of_torch(case: TorchCase) -> None:
    """Float64 to 1e-13; float32 to one eps of max|theta| a step, which its stored parameters alone can lose.

    A step rounds the new parameter (half an eps) and with it whatever rounded coefficient multiplies it.
    """
    out = reference.trace(case.cls, case.start, list(case.gradients), max(case.params), **case.fields)
    for t, params in case.params.items():
        ours = out.history[t - 1]
        room = 1e-13 if case.dtype == "float64" else t * float(np.finfo(np.float32).eps)
        assert np.max(np.abs(ours - params)) <= room * largest(ours), f"after step {t}"
        assert np.max(np.abs(ours - case.start)) > 1e3 * room * largest(ours) / t, f"step {t} hardly moved"


@pytest.mark.parametrize(
    "peer",
    ["torch", pytest.param("optax", marks=pytest.mark.slow), pytest.param("keras", marks=pytest.mark.slow)],
)
def test_installed_peer(peer: str, tmp_path: Path) -> None:
    """All rows the peer can express, in float64, from the user's fields alone: defaults are compared too."""
    for module in {"optax": ("jax", "optax"), "keras": ("jax", "keras")}.get(peer, (peer,)):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    env = os.environ | {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}
    out = tmp_path / "peer.npz"
    script = [sys.executable, reference_peers.__file__, peer, str(out), str(STEPS)]
    done = subprocess.run(script, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    p0, grads = reference.problem(STEPS)
    wrong = {}
    with np.load(out) as found:
        for case in (c for c in reference.CASES if reference_peers.expressible(peer, c)):
            ours = reference.run(case.cls, p0, grads, STEPS, **case.reference)
            assert isinstance(ours, dict)
            far = max(float(np.max(np.abs(ours[k] - found[f"{case.id}/{k}"]))) for k in ours) / largest(ours)
            if not far <= 1e-13:
                wrong[case.id] = far
    assert not wrong


ALONE = {
    "Lion-torch": "torch has no Lion; keras' and optax's are the same rule and are compared",
    "Adam-torch-eps_large": "eps_root is optax's alone",
    "Adam-torch-amsgrad_eps_large": "eps_root is optax's alone",
    "Adam-book-amsgrad_eps_large": "eps_root is optax's alone, the maximum of uncorrected v torch's",
    "Adam-keras-eps_large": "eps_root is optax's alone",
    "Adam-keras-amsgrad_eps_large": "eps_root is optax's alone",
    "Adagrad-book-clip_norm": "no peer has eps outside and clips at exactly c",
    "Rprop-torch-weight_decay": "torch's Rprop has none",
    "SGD-book-dampening": "torch has it, but not in the book's velocity",
    "SGD-torch-decoupled": "torch's SGD has none",
    "RMSprop-torch-eps_inside": "torch's buffer with the others' eps",
    "RMSprop-torch-lr_in_buffer": "torch's eps with the others' buffer",
}


def test_rows_without_a_peer_are_named() -> None:
    """Nothing falls out of the comparison unseen."""
    alone = {
        c.id
        for c in reference.CASES
        if not any(reference_peers.expressible(peer, c) for peer in reference_peers.RUNS)
        and not c.id.startswith("Lion-torch-")
    }
    assert alone == set(ALONE)


# ---- By hand ----


def test_rows_cover_every_class_and_convention() -> None:
    assert len({c.id for c in reference.CASES}) == len(reference.CASES)
    pairs = {(c.cls, c.fields.get("convention", "torch")) for c in reference.CASES}
    assert pairs == set(reference.PRESETS)
    assert {cls for cls, _ in pairs} == set(reference.FIELDS)
    assert {convention for _, convention in pairs} == set(CONVENTIONS)


def test_options_matter() -> None:
    """A row with an option ends elsewhere than the row without it, else it would test nothing."""
    steps = 40
    p0, grads = reference.problem(steps)
    same = []
    plain: dict[tuple[object, ...], reference.Params] = {}
    for case in reference.CASES:
        if not case.fields.keys() - {"lr", "convention", "average"}:
            continue
        convention, lr = case.fields.get("convention", "torch"), case.reference["lr"]
        key = case.cls, convention, lr
        if key not in plain:
            preset = reference.PRESETS[case.cls, convention] | {"lr": lr}
            plain[key] = reference.run(case.cls, p0, grads, steps, **preset)
        with_it = reference.run(case.cls, p0, grads, steps, **case.reference)
        if all(np.allclose(with_it[k], plain[key][k], rtol=1e-9, atol=1e-12) for k in p0):
            same.append(case.id)
    # Rprop asks only for the signs of the gradients.
    assert set(same) == {"Rprop-torch-clip_norm", "Rprop-torch-clip_value", "Rprop-torch-grad_scale"}


@pytest.mark.parametrize(
    ("name", "fields", "step"),
    [
        ("SGD", {"lr": 0.5}, lambda g: 0.5 * g),
        ("SGD", {"lr": 0.5, "momentum": 0.9, "dampening": 0.7}, lambda g: 0.5 * g),
        ("SGD", {"lr": 0.5, "momentum": 0.9, "nesterov": True}, lambda g: 0.5 * 1.9 * g),
        (
            "SGD",
            {"lr": 0.5, "momentum": 0.9, "nesterov": True, "lr_in_buffer": True},
            lambda g: 0.5 * 1.9 * g,
        ),
        ("Adagrad", {"lr": 0.5, "eps": 0.25}, lambda g: 0.5 * g / (abs(g) + 0.25)),
        (
            "Adagrad",
            {"lr": 0.5, "eps": 0.25, "eps_inside": True},
            lambda g: 0.5 * g / math.sqrt(g * g + 0.25),
        ),
        ("RMSprop", {"lr": 0.5, "alpha": 0.75, "eps": 0}, lambda g: math.copysign(1.0, g)),
        (
            "RMSprop",
            {"lr": 0.5, "alpha": 0.75, "centered": True, "eps": 0},
            lambda g: 0.5 * g / abs(g) / 0.1875**0.5,
        ),
        ("Adadelta", {"rho": 0.75, "eps": 0.5}, lambda g: g * math.sqrt(0.5 / (g * g / 4 + 0.5))),
        ("Adam", {"lr": 0.5, "eps": 0.25}, lambda g: 0.5 * g / (abs(g) + 0.25)),
        (
            "Adam",
            {"lr": 0.5, "eps": 0.25, "eps_root": 3.0},
            lambda g: 0.5 * g / (math.sqrt(g * g + 3) + 0.25),
        ),
        (
            "Adam",
            {"lr": 0.5, "eps": 0.25, "eps_hat": True, "betas": (0.9, 0.75)},
            lambda g: 0.5 * 0.5 * g / (0.5 * abs(g) + 0.25),
        ),
        ("Adamax", {"lr": 0.5, "eps": 0.25}, lambda g: 0.5 * g / (abs(g) + 0.25)),
        (
            "NAdam",
            {"lr": 0.5, "eps": 0, "betas": (0.5, 0.9), "momentum_decay": math.inf},
            lambda g: 0.5 * math.copysign(1 + 0.5 * 0.5 / 0.75, g),
        ),
        ("RAdam", {"lr": 0.5}, lambda g: 0.5 * g),
        ("Rprop", {"lr": 0.5}, lambda g: math.copysign(0.5, g)),
        ("Lion", {"lr": 0.5}, lambda g: math.copysign(0.5, g)),
    ],
)
def test_first_step(name: str, fields: dict[str, object], step: object) -> None:
    """After one step every rule has a closed form in g."""
    assert callable(step)
    p0 = np.array([1.0, -2.0, 0.25])
    g = np.array([2.0, -3.0, 0.125])
    new = reference.run(name, p0, [g], 1, **fields)
    np.testing.assert_allclose(p0 - new, [step(x) for x in g], rtol=1e-14)


def test_looking_ahead_is_nesterov_in_shifted_parameters() -> None:
    """Book 8.3 at theta and torch's rule at theta + alpha v walk together at constant lr and momentum."""
    curvature = np.array([0.1, 1.0, 3.0])
    start, lr, mu = np.array([1.0, -2.0, 0.5]), 0.05, 0.9

    def grad(p: np.ndarray, t: int) -> np.ndarray:
        return curvature * p + np.sin(t * curvature)

    for steps in (1, 2, 30):
        shifted = reference.run("SGD", start, grad, steps, lr=lr, momentum=mu, nesterov=True)
        before = reference.nesterov_83(start, grad, steps - 1, lr, mu)
        theta = reference.nesterov_83(start, grad, steps, lr, mu)
        np.testing.assert_allclose(theta + mu * (theta - before), shifted, rtol=1e-13)


def test_rmsprop_that_looks_ahead() -> None:
    """Book 8.6 without momentum is 8.5; with it, two steps by hand."""

    def grad(p: np.ndarray, t: int) -> np.ndarray:
        return 3 * p

    start = np.array([1.0])
    plain = reference.run("RMSprop", start, grad, 9, lr=0.1, alpha=0.9, eps=1e-6, eps_inside=True)
    np.testing.assert_allclose(reference.rmsprop_86(start, grad, 9, 0.1, 0.9, 0.0, 1e-6), plain, rtol=1e-14)
    v1 = -0.1 / math.sqrt(0.5 * 9) * 3
    g2 = 3 * (1 + v1 + 0.8 * v1)
    v2 = 0.8 * v1 - 0.1 / math.sqrt(0.5 * 4.5 + 0.5 * g2**2) * g2
    np.testing.assert_allclose(reference.rmsprop_86(start, grad, 2, 0.1, 0.5, 0.8), [1 + v1 + v2], rtol=1e-14)


@pytest.mark.parametrize(
    "average", [("mean", 0), ("mean", 7), ("mean", 50), ("ema", 0.9, True), ("ema", 0.9, False)]
)
@pytest.mark.parametrize("steps", [0, 1, 7, 8, 40])
def test_averages_follow_the_running_form(average: tuple[object, ...], steps: int) -> None:
    """avg += c_t (p - avg), from the start point, gives what the closed forms give."""
    p0, grads = reference.problem(40)
    out = reference.trace("SGD", p0, grads, steps, lr=0.1, momentum=0.9, average=average)
    running = dict(p0)
    for t, params in enumerate(out.history, 1):
        if average[0] == "mean":
            start = average[1]
            assert isinstance(start, int)
            c = 1.0 if t <= start else 1 / (t - start)
        else:
            c = (1 - 0.9) / (1 - 0.9**t) if average[2] else 1 - 0.9
        assert isinstance(params, dict)
        running = {k: a + c * (params[k] - a) for k, a in running.items()}
    assert isinstance(out.average, dict)
    for k, a in running.items():
        np.testing.assert_allclose(out.average[k], a, rtol=1e-12, atol=1e-14)


def test_clipping_meets_both_sides_of_the_threshold() -> None:
    p0, grads = reference.problem(STEPS)
    out = reference.trace("SGD", p0, grads, STEPS, clip_norm=0.5, clip_eps=0.0)
    above = np.array(out.norms) > 0.5
    assert 20 <= above.sum() <= STEPS - 20
    np.testing.assert_allclose(
        np.array(out.factors), np.where(above, 0.5 / np.array(out.norms), 1.0), rtol=1e-15
    )
    torch_way = reference.trace("SGD", p0, grads, STEPS, clip_norm=0.5)
    np.testing.assert_allclose(
        torch_way.factors, np.minimum(0.5 / (np.array(out.norms) + 1e-6), 1.0), rtol=1e-15
    )


def test_order_on_the_gradient() -> None:
    """Scale, norm, value, then coupled decay: by hand on (3, 4) with norm 5 before and 10 after scaling."""
    common = {"grad_scale": 2.0, "maximize": True, "clip_norm": 5.0, "clip_eps": 0.0, "clip_value": 3.5}
    p0, g = np.array([1.0, 1.0]), np.array([3.0, 4.0])
    out = reference.trace("SGD", p0, [g], 1, lr=1.0, weight_decay=0.5, **common)
    np.testing.assert_allclose(out.params, [1 + 3.0 - 0.5, 1 + 3.5 - 0.5], rtol=1e-15)
    assert (out.norms, out.factors) == ([10.0], [0.5])


def test_global_norm() -> None:
    assert reference.global_norm({"a": np.array([3.0]), "b": np.array([[4.0], [0.0]])}) == 5.0
    assert reference.global_norm(np.array([3e200, 4e200])) == pytest.approx(5e200, rel=1e-15)
    assert reference.global_norm(np.zeros(0)) == 0.0
    assert reference.global_norm(np.array([1.0, np.inf])) == math.inf


def test_unknown_fields_are_refused() -> None:
    with pytest.raises(TypeError, match="dampning"):
        reference.run("SGD", np.zeros(1), [np.zeros(1)], 1, dampning=0.5)
