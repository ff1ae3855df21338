"""Stochastic L-BFGS: pairs of the same samples against pairs of different ones, damping, resuming, bad input."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt.minimize.stochastic import StochasticStep

#: A "batch" that is another one at every call: what plain L-BFGS makes its pairs from.
FRESH = object()


def falling(t: int) -> float:
    return 0.5 / (1 + t / 50)


class Problem:
    """A mean over samples (x_i, t_i), its minimum found without noise."""

    def __init__(self, kind: str, seed: int, count: int = 2000, n: int = 20, batch: int = 32):
        self.rng = np.random.default_rng(seed)
        self.kind, self.count, self.batch = kind, count, batch
        self.X = self.rng.standard_normal((count, n)) * np.geomspace(1, 0.05, n)
        clean = self.X @ self.rng.standard_normal(n)
        if kind == "squares":
            self.t = clean + 0.5 * self.rng.standard_normal(count)
        else:
            self.t = np.where(clean + self.rng.logistic(size=count) > 0, 1.0, -1.0)
        self.everything = np.arange(count)
        self.best = fo.minimize(self, np.zeros(n), args=(self.everything,), tol=1e-9).x

    def __call__(self, w: np.ndarray, rows: Any) -> tuple[float, np.ndarray]:
        if rows is FRESH:
            rows = self.rows()
        X, t = self.X[rows], self.t[rows]
        if self.kind == "squares":
            r = X @ w - t
            return 0.5 * float(np.mean(r * r)), X.T @ r / len(r)
        m = t * (X @ w)
        loss = float(np.mean(np.logaddexp(0, -m))) + 5e-4 * float(w @ w)
        return loss, -X.T @ (t / (1 + np.exp(m))) / len(t) + 1e-3 * w

    def rows(self) -> np.ndarray:
        return self.rng.integers(self.count, size=self.batch)

    def excess(self, w: np.ndarray) -> float:
        """What is left of the distance to the minimum, 1 at the start."""
        value = [self(v, self.everything)[0] for v in (w, self.best, 0 * w)]
        return (value[0] - value[1]) / (value[2] - value[1])

    def run(
        self, overlap: Callable[[np.ndarray], Any], steps: int = 400, **options: Any
    ) -> tuple[float, Counter[str]]:
        w = np.zeros(self.best.size)
        optimizer = fo.StochasticLBFGS(w, falling, **options)
        pairs: Counter[str] = Counter()
        for _ in range(steps):
            rows = self.rows()
            pairs[optimizer.step(self, rows, overlap(rows)).pair] += 1
        return self.excess(w), pairs


def same(rows: np.ndarray) -> Any:
    return None


def half(rows: np.ndarray) -> Any:
    return rows[: len(rows) // 2]


def different(rows: np.ndarray) -> Any:
    return FRESH


@pytest.mark.parametrize("kind", ["squares", "logistic"])
@pytest.mark.parametrize("seed", range(3))
def test_pairs_of_the_same_samples_converge_and_others_stall(kind: str, seed: int) -> None:
    ours = [Problem(kind, seed).run(overlap)[0] for overlap in (same, half)]
    assert max(ours) < 0.05, "5 % of the way is left at most, after 400 steps of 32 samples"
    theirs, pairs = Problem(kind, seed).run(different)
    assert theirs > 4 * max(ours)
    assert pairs["kept"] < 200, "noise is no curvature"


def test_undamped_pairs_of_different_samples_diverge() -> None:
    """Not every time: some runs end further off than they started, all further off than those of the same samples."""
    lefts = []
    for seed in range(3):
        with np.errstate(all="ignore"):
            try:
                left, pairs = Problem("logistic", seed).run(different, damping=0.0)
                assert pairs["damped"] == 0 and pairs["left out"] > 50
            except FloatingPointError:
                left = np.inf
        assert not left < 4 * Problem("logistic", seed).run(same, damping=0.0)[0]
        lefts.append(left)
    assert max(lefts) > 1


def test_without_noise_it_is_a_quasi_newton_method() -> None:
    problem = Problem("squares", 0)
    w = np.zeros(20)
    optimizer = fo.StochasticLBFGS(w, 1.0, memory=20, damping=0.0)
    for _ in range(120):
        record = optimizer.step(problem, problem.everything)
    assert record.grad_norm < 1e-8 and np.abs(w - problem.best).max() < 1e-5
    # gradient descent with the best fixed step is nowhere near after as many evaluations
    H = problem.X.T @ problem.X / problem.count
    v = np.zeros(20)
    for _ in range(240):
        v -= 2 / (np.linalg.norm(H, 2) + np.linalg.eigvalsh(H)[0]) * problem(v, problem.everything)[1]
    assert problem.excess(v) > 1e6 * abs(problem.excess(w))


def saddle(w: np.ndarray, batch: Any) -> tuple[float, np.ndarray]:
    """Negative curvature along the second axis near 0."""
    return float(0.5 * w[0] ** 2 + 0.25 * w[1] ** 4 - 0.5 * w[1] ** 2), np.array([w[0], w[1] ** 3 - w[1]])


@pytest.mark.parametrize("damping", [0.05, 0.2, 0.6])
def test_damping_keeps_curvature_positive(damping: float) -> None:
    w = np.array([0.3, 0.05])
    optimizer = fo.StochasticLBFGS(w, 0.3, damping=damping)
    kinds: Counter[str] = Counter()
    for _ in range(200):
        gamma, before = optimizer._pairs.gamma, w.copy()
        record = optimizer.step(saddle, None)
        kinds[record.pair] += 1
        for age in range(optimizer.pairs):
            s, y = optimizer._pairs.pair(age)
            assert s @ y > 0
        if record.pair == "damped":
            s, y = optimizer._pairs.pair(optimizer.pairs - 1)
            np.testing.assert_array_equal(s, w - before)
            true = saddle(w, None)[1] - saddle(before, None)[1]
            assert s @ true < damping * (s @ s) / gamma
            assert s @ y == pytest.approx(damping * (s @ s) / gamma)
            part = y - s / gamma  # theta (y - s / gamma)
            assert np.linalg.norm(np.cross([*part, 0], [*(true - s / gamma), 0])) < 1e-12
        H = np.column_stack([optimizer._pairs.product(e)[0] for e in np.eye(2)])
        assert np.linalg.eigvalsh((H + H.T) / 2)[0] > 0
    assert kinds["damped"] > 0
    np.testing.assert_allclose(w, [0, 1], atol=1e-6)


def test_undamped_pairs_without_curvature_are_left_out() -> None:
    w = np.array([0.0, 0.05])
    optimizer = fo.StochasticLBFGS(w, 0.3, damping=0.0)
    record = optimizer.step(saddle, None)
    assert record.pair == "left out" and record.curvature < 0 and optimizer.pairs == 0
    still = fo.StochasticLBFGS(w, 0.0).step(saddle, None)
    assert still.pair == "left out" and np.isnan(still.curvature) and still.length == 0


def test_what_a_step_calls_and_tells() -> None:
    A, calls = np.diag([1.0, 4.0]), []

    def f(w: np.ndarray, batch: str) -> tuple[float, np.ndarray]:
        calls.append((batch, w.copy()))
        return float(w @ A @ w) / 2, A @ w

    w = np.array([3.0, 1.0])
    optimizer = fo.StochasticLBFGS(w, 0.1)
    start = w.copy()
    record = optimizer.step(f, "batch", "overlap")
    assert isinstance(record, StochasticStep)
    assert [name for name, _ in calls] == ["batch", "overlap", "overlap"]
    np.testing.assert_allclose(
        w, start - 0.1 * (A @ start) / 5
    )  # the first move: the gradient is cut to length 1
    np.testing.assert_array_equal(calls[1][1], start)
    np.testing.assert_array_equal(calls[2][1], w)
    s = w - start
    assert record == pytest.approx((1, 6.5, 5.0, 0.1, s @ A @ s / (s @ s), "kept"))
    calls.clear()
    optimizer.step(f, "batch")
    assert [name for name, _ in calls] == ["batch", "batch"]
    assert optimizer.steps == 2 and optimizer.pairs == 2


def test_the_move_is_minus_lr_h_g() -> None:
    problem, w = Problem("squares", 5), np.zeros(20)
    optimizer = fo.StochasticLBFGS(w, falling, memory=4)
    for t in range(1, 12):
        rows = problem.rows()
        before, pairs = w.copy(), [optimizer._pairs.pair(age) for age in range(optimizer.pairs)]
        optimizer.step(problem, rows, half(rows))
        if not pairs:
            continue
        q, alphas = problem(before, rows)[1], []
        for s, y in reversed(pairs):
            alphas.append(s @ q / (s @ y))
            q = q - alphas[-1] * y
        s, y = pairs[-1]
        q = q * (s @ y) / (y @ y)
        for s, y in pairs:
            q = q + (alphas.pop() - y @ q / (s @ y)) * s
        np.testing.assert_allclose(w - before, -falling(t) * q, rtol=1e-8, atol=1e-13)
    assert optimizer.pairs == 4


def test_max_step() -> None:
    w = np.array([300.0, 1.0])
    optimizer = fo.StochasticLBFGS(w, 50.0, max_step=0.25)
    for _ in range(5):
        assert optimizer.step(saddle_far, None).length == pytest.approx(0.25)


def saddle_far(w: np.ndarray, batch: Any) -> tuple[float, np.ndarray]:
    return float(w @ w), 2 * w


@pytest.mark.parametrize("dtype", [np.float32, np.float64, None])
def test_trees_of_any_layout(dtype: Any) -> None:
    """The same numbers in a tree as in one vector; None: leaves of both widths, memory in double."""
    problem = Problem("logistic", 2)
    big = np.zeros((10, 4), dtype or np.float64)
    tree = {
        "a": np.zeros(7, dtype or np.float32),
        "b": [big[::2, ::2], (np.zeros((), dtype or np.float64),)],
        "c": np.zeros((0, 3)),
    }
    tree["c"] = tree["c"].astype(dtype or np.float64)
    tree["d"] = np.zeros((1, 2), dtype or np.float64)

    def f(p: Any, rows: Any) -> tuple[float, Any]:
        w = np.concatenate([p["a"], p["b"][0].ravel(), [p["b"][1][0]], p["d"].ravel()]).astype(float)
        loss, g = problem(w, rows)
        return loss, {
            "a": g[:7],
            "b": [g[7:17].reshape(5, 2), (g[17],)],
            "c": np.zeros((0, 3)),
            "d": g[None, 18:],
        }

    flat = np.zeros(20, dtype or np.float64)
    one, other = fo.StochasticLBFGS(tree, 0.2), fo.StochasticLBFGS(flat, 0.2)
    assert one.dtype == (dtype or np.float64)
    for _ in range(15):
        rows = problem.rows()
        first, second = one.step(f, rows), other.step(lambda w, rows: problem(w.astype(float), rows), rows)
    mine = np.concatenate([tree["a"], tree["b"][0].ravel(), [tree["b"][1][0]], tree["d"].ravel()])
    if dtype is None:
        np.testing.assert_allclose(mine, flat, atol=1e-4)
    else:
        np.testing.assert_array_equal(mine, flat)
        assert first == second
    assert not big[1::2].any() and not big[:, 1::2].any() and flat.any()


def test_resume_gives_equal_bits() -> None:
    def make() -> tuple[Problem, np.ndarray, Any]:
        problem, w = Problem("squares", 7), np.zeros(20)
        return problem, w, fo.StochasticLBFGS(w, fo.schedules.cosine(0.5, 60), memory=5)

    problem, w, whole = make()
    batches = [problem.rows() for _ in range(40)]
    for k, rows in enumerate(batches):
        if k == 23:
            saved, kept, pickled = whole.state_dict(), w.copy(), pickle.dumps((problem, whole))
        whole.step(problem, rows, half(rows))
    problem, v, second = make()
    v[...] = kept
    second.load_state_dict(saved)
    other, third = pickle.loads(pickled)
    for rows in batches[23:]:
        one, two = second.step(problem, rows, half(rows)), third.step(other, rows, half(rows))
        assert one == two
    assert v.tobytes() == w.tobytes() == third.params.tobytes()
    for key, value in whole.state_dict().items():
        assert np.array_equal(second.state_dict()[key], value), key
    assert repr(second) == repr(whole) and "after 40 steps" in repr(whole)


def test_a_saved_state_is_its_own() -> None:
    problem = Problem("squares", 1)
    optimizer = fo.StochasticLBFGS(np.zeros(20))
    for _ in range(3):
        optimizer.step(problem, problem.rows())
    saved = optimizer.state_dict()
    bits = saved["pairs"].tobytes()
    optimizer.step(problem, problem.rows())
    assert saved["pairs"].tobytes() == bits
    optimizer.reset()
    assert optimizer.pairs == 0 and optimizer.steps == 4


def test_a_state_that_does_not_fit() -> None:
    problem = Problem("squares", 1)
    optimizer = fo.StochasticLBFGS(np.zeros(20))
    for _ in range(3):
        optimizer.step(problem, problem.rows())
    good = optimizer.state_dict()
    bits = good["pairs"].tobytes()
    bad: list[tuple[Any, str]] = [
        ([], "state is list"),
        ({}, "of rule None"),
        ({**good, "rule": "adam"}, "of rule 'adam'"),
        ({**good, "step": -1}, "step is -1"),
        ({**good, "step": True}, "step is True"),
        ({**good, "pairs": b"1"}, "pairs is no vector"),
        ({**good, "pairs": good["pairs"][:-1]}, "pairs: data has"),
        ({**good, "pairs": 0 * good["pairs"]}, "pairs: data is not"),
        ({**good, "pairs": fo.StochasticLBFGS(np.zeros(21)).state_dict()["pairs"]}, "pairs: "),
        ({**good, "schedules": [{}]}, "list of 0"),
    ]
    for state, said in bad:
        with pytest.raises((TypeError, ValueError), match=said):
            optimizer.load_state_dict(state)
        assert optimizer.state_dict()["pairs"].tobytes() == bits and optimizer.steps == 3


@pytest.mark.parametrize("call", [0, 1, 2])
@pytest.mark.parametrize("how", ["nan", "inf", "raise", "interrupt", "shape", "tree", "none"])
def test_a_step_that_fails_changes_nothing(call: int, how: str) -> None:
    problem = Problem("squares", 3)
    params = {"w": np.zeros(20)}
    optimizer = fo.StochasticLBFGS(params, 0.3)
    count = -1

    def f(p: Any, rows: Any) -> Any:
        nonlocal count
        loss, g = problem(p["w"], rows)
        count += 1
        if count < 12 + call:
            return loss, {"w": g}
        if how in ("nan", "inf"):
            g[3] = float(how)
        elif how == "raise":
            raise KeyError("mine")
        elif how == "interrupt":
            raise KeyboardInterrupt
        elif how == "none":
            return None
        return loss, {"w": g[:-1] if how == "shape" else g} if how != "tree" else {"v": g}

    for _ in range(4):
        rows = problem.rows()
        optimizer.step(f, rows, half(rows))
    before, state = params["w"].tobytes(), optimizer.state_dict()
    errors = {"raise": KeyError, "interrupt": KeyboardInterrupt, "nan": FloatingPointError, "inf": FloatingPointError,
              "shape": ValueError, "tree": ValueError, "none": TypeError}  # fmt: skip
    said = {
        "nan": r"grads\['w'\] on the",
        "inf": "nothing was written",
        "shape": r"shape \(19,\); \(20,\)",
        "tree": "'v'",
    }
    with pytest.raises(errors[how], match=said.get(how)):
        optimizer.step(f, rows, half(rows))
    assert count == 12 + call
    assert params["w"].tobytes() == before and optimizer.steps == 4
    assert optimizer.state_dict()["pairs"].tobytes() == state["pairs"].tobytes()
    count = -1
    assert optimizer.step(f, rows, half(rows)).step == 5


def test_out_of_range() -> None:
    w = np.full(2, 3e38, np.float32)
    optimizer = fo.StochasticLBFGS(w, 1e38)
    for gradient, said in ((-np.ones(2), "leaves the range of float32"), (np.full(2, 1e300), "in float32")):
        with pytest.raises(FloatingPointError, match=said):
            optimizer.step(lambda p, batch, g=gradient: (0.0, g), None)
    assert (w == np.float32(3e38)).all() and optimizer.steps == 0
    with pytest.raises(FloatingPointError, match="norm of the gradient"):
        fo.StochasticLBFGS(np.zeros(2)).step(lambda p, batch: (0.0, np.full(2, 1e300)), None)


def test_no_step_inside_a_step() -> None:
    optimizer = fo.StochasticLBFGS(np.ones(2))

    def f(w: np.ndarray, batch: Any) -> tuple[float, np.ndarray]:
        optimizer.step(saddle, None)
        return saddle(w, batch)

    with pytest.raises(RuntimeError, match="a step is under way"):
        optimizer.step(f, None)
    assert optimizer.step(saddle, None).step == 1


def test_no_parameters() -> None:
    for params, grads in ((np.zeros(0), np.zeros(0)), ({}, {}), ([], [])):
        optimizer = fo.StochasticLBFGS(params)
        assert optimizer.step(lambda p, batch, g=grads: (1.0, g), None).pair == "left out"


SHARED = np.zeros(4)
FROZEN = np.zeros(3)
FROZEN.flags.writeable = False
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"params": [1.0, 2.0]}, TypeError, "params.* is float"),
    ({"params": np.zeros(3, int)}, TypeError, "params has dtype int64"),
    ({"params": {"w": np.zeros(3, np.float16)}}, TypeError, r"params\['w'\] has dtype float16"),
    ({"params": FROZEN}, ValueError, "read-only"),
    ({"params": [SHARED, SHARED[1:]]}, ValueError, "share memory"),
    ({"params": np.broadcast_to(np.zeros(1), 3)}, ValueError, "read-only|two indices"),
    ({"params": {"w": np.array([1.0, np.nan])}}, ValueError, r"params\['w'\] holds NaN"),
    ({"params": {"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}}, ValueError, "one path"),
    ({"lr": -1.0}, ValueError, "lr is -1"),
    ({"lr": True}, TypeError, "lr is True"),
    ({"lr": np.nan}, ValueError, "lr is nan"),
    ({"lr": lambda t: -t}, ValueError, "lr is -1"),
    ({"memory": 0}, ValueError, "memory is 0"),
    ({"memory": 65}, ValueError, "memory is 65; an integer from 1 to 64"),
    ({"memory": 2.0}, TypeError, "memory is 2.0"),
    ({"damping": 1.0}, ValueError, "damping is 1"),
    ({"damping": -0.1}, ValueError, "damping"),
    ({"max_step": 0.0}, ValueError, "max_step"),
]


@pytest.mark.parametrize(("change", "error", "said"), BAD)
def test_bad_arguments(change: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        fo.StochasticLBFGS(**{"params": np.zeros(3), **change})


def test_bad_steps() -> None:
    w = np.ones(2)
    optimizer = fo.StochasticLBFGS(w, lambda t: 0.1 if t < 2 else -1.0)
    with pytest.raises(TypeError, match="loss_and_grads is ndarray"):
        optimizer.step(np.zeros(2), None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="complex128"):
        optimizer.step(lambda p, batch: (0.0, 1j * p), None)
    optimizer.step(saddle, None)
    at = w.copy()
    with pytest.raises(ValueError, match="lr is -1"):
        optimizer.step(saddle, None)
    np.testing.assert_array_equal(w, at)
