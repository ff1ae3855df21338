"""Continuation: smoothing against closed forms, control of the level, resumed runs, and minima that direct runs miss."""

from __future__ import annotations

import doctest
import importlib
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastopt as fo
from fastopt.meta import (
    Continuation,
    Smoothed,
    by_steps,
    continuation,
    tempered_cross_entropy,
    tempered_errors,
)

TAU = 2 * math.pi


@pytest.mark.parametrize("name", ["continuation", "levels", "smoothing"])
def test_doctests(name):
    assert doctest.testmod(importlib.import_module(f"fastopt.meta.{name}")).failed == 0


# ---- objectives whose mean over a Gaussian is known ----
def rastrigin(x, sigma=0.0, depth=3.0):
    """sum x^2 + depth (1 - cos 2 pi x): waves fall by exp(-2 pi^2 sigma^2), squares grow by sigma^2."""
    d = depth * math.exp(-0.5 * (TAU * sigma) ** 2)
    value = float((x * x + sigma**2 + depth - d * np.cos(TAU * x)).sum())
    return value, 2 * x + TAU * d * np.sin(TAU * x)


def griewank(x, sigma=0.0):
    """1 + |x|^2 / 4000 - prod cos(x_i / sqrt i): the cosines are independent, so their product's mean is one of means."""
    root = np.sqrt(np.arange(1, x.size + 1))
    c, s = (f(x / root) * np.exp(-(sigma**2) / (2 * root**2)) for f in (np.cos, np.sin))
    others = np.array([np.prod(np.delete(c, i)) for i in range(x.size)])
    value = 1 + float(x @ x + x.size * sigma**2) / 4000 - float(np.prod(c))
    return value, x / 2000 + others * s / root


def flat(tree):
    return np.concatenate([np.asarray(leaf, float).ravel() for leaf in fo._trees.flatten_tree(tree)[0]])


@pytest.mark.parametrize("exact", [rastrigin, griewank])
@pytest.mark.parametrize("jac", [True, False])
@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("common", [True, False])
def test_sampled_is_the_closed_form_on_average(exact, jac, antithetic, common):
    x, sigma = np.array([0.3, -1.1]), 0.35

    def fun(p):
        value, grad = exact(flat(p))
        return (value, {"a": grad[:1], "b": [grad[1:]]}) if jac else value

    tree = {"a": x[:1], "b": [x[1:].astype(np.float32)]}
    at = flat(tree)  # float32 rounded
    found = []
    one = Smoothed(fun, 40, jac=jac, antithetic=antithetic, common=common)
    for seed in range(80):
        smooth = Smoothed(fun, 40, seed, jac=jac, antithetic=antithetic) if common else one
        value, grad = smooth(tree, sigma)
        assert grad["b"][0].dtype == np.float32
        found.append([value, *flat(grad), smooth.error])
    found = np.array(found)
    value, grad = exact(at, sigma)
    mean, error = found.mean(0), found.std(0, ddof=1) / math.sqrt(len(found))
    assert (np.abs(mean[:3] - [value, *grad]) < 5 * error[:3] + 1e-6).all()
    assert error[0] < 0.2
    # The error told is the spread seen.
    assert found[:, 3].mean() == pytest.approx(found[:, 0].std(ddof=1), rel=0.2)
    # And the smoothed value is well away from the plain one: a test that would pass without smoothing is none.
    assert abs(mean[0] - exact(at)[0]) > 5 * error[0]


@pytest.mark.parametrize("jac", [True, False])
def test_scale_gives_every_leaf_its_own_width(jac):
    """J = sum x^2: mean (x^2 + s^2 sigma^2)."""
    x = {"a": np.array([1.0, 2.0]), "b": np.array(-3.0)}
    fun = lambda p: (  # noqa: E731
        float((p["a"] ** 2).sum() + p["b"] ** 2),
        {"a": 2 * p["a"], "b": 2 * p["b"]},
    )
    smooth = Smoothed(
        fun if jac else (lambda p: fun(p)[0]), 20000, jac=jac, scale={"b": 5.0, "a": np.array([0.5, 2.0])}
    )
    value, grad = smooth(x, 0.5)
    wanted = 14 + 0.25 * (0.25 + 4 + 25)
    assert abs(value - wanted) < 5 * smooth.error < 0.6
    np.testing.assert_allclose(flat(grad), [2, 4, -6], atol=1e-9 if jac else 1.2)


def test_antithetic_pairs_are_exact_where_the_function_is_odd():
    c = np.array([2.0, -1.0, 0.5])
    for jac in (True, False):
        smooth = Smoothed((lambda x: (float(c @ x), c)) if jac else (lambda x: float(c @ x)), 2, jac=jac)
        value, grad = smooth(np.ones(3), 3.0)
        assert value == pytest.approx(1.5, abs=1e-14)
        if jac:
            assert np.array_equal(grad, c)


def test_common_numbers_make_one_function_whose_gradient_is_its_own():
    smooth = Smoothed(rastrigin, 8)
    x = np.array([0.4, 1.3])
    assert smooth(x, 0.3)[0] == smooth(x, 0.3)[0]
    for i in range(2):
        h = np.eye(2)[i] * 1e-5
        slope = (smooth(x + h, 0.3)[0] - smooth(x - h, 0.3)[0]) / 2e-5
        assert slope == pytest.approx(smooth(x, 0.3)[1][i], rel=1e-6)
    fresh = Smoothed(rastrigin, 8, common=False)
    assert fresh(x, 0.3)[0] != fresh(x, 0.3)[0]


def test_kept_and_drawn_numbers_are_the_same(monkeypatch):
    smoothing = importlib.import_module("fastopt.meta.smoothing")
    x = np.linspace(0, 1, 7)
    kept = Smoothed(rastrigin, 6)(x, 0.5)
    monkeypatch.setattr(smoothing, "KEPT", 0)
    drawn = Smoothed(rastrigin, 6)(x, 0.5)
    assert kept[0] == drawn[0]
    assert np.array_equal(kept[1], drawn[1])


def test_width_zero_is_the_function_itself_and_arguments_go_through():
    smooth = Smoothed(lambda x, a, b: (float(a * x @ x + b), 2 * a * x), 4)
    value, grad = smooth(np.array([1.0, 2.0]), 0.0, 3.0, 7.0)
    assert (value, grad.tolist(), smooth.nfev, smooth.error) == (22.0, [6.0, 12.0], 1, 0.0)
    smooth(np.array([1.0, 2.0]), 1e-9, 3.0, 7.0)
    assert smooth.nfev == 5


def test_a_fresh_smoothed_goes_on_where_it_was_saved(tmp_path):
    whole, first, second = (Smoothed(rastrigin, 4, 5, common=False) for _ in range(3))
    x = np.ones(3)
    values = [whole(x, 0.5)[0] for _ in range(6)]
    assert [first(x, 0.5)[0] for _ in range(3)] == values[:3]
    fo.save(tmp_path / "a.safetensors", smooth=first)
    fo.load(tmp_path / "a.safetensors", smooth=second)
    assert [second(x, 0.5)[0] for _ in range(3)] == values[3:]
    assert second.nfev == 24


def test_a_function_may_use_its_gradient_array_again():
    kept = np.empty(3)

    def again(x):
        value, kept[:] = rastrigin(x)
        return value, kept

    x = np.array([0.2, 0.7, -1.0])
    found = Smoothed(again, 6)(x, 0.4)[1]
    assert np.array_equal(found, Smoothed(rastrigin, 6)(x, 0.4)[1])


# ---- tempered losses ----
@given(
    hnp.arrays(np.float64, (3, 4), elements=st.floats(-30, 30)),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.floats(0.3, 1e3),
)
@settings(max_examples=60)
def test_tempered_cross_entropy_is_its_formula(z, labels, t):
    loss, grad = tempered_cross_entropy(z, labels, t)
    e = np.exp((z - z.max(1, keepdims=True)) / t)
    free = z.max(1) + t * np.log(e.mean(1)) + math.log(4)
    assert loss == pytest.approx(float((free - z[range(3), labels]).mean()), abs=1e-9)
    np.testing.assert_allclose(grad, (e / e.sum(1, keepdims=True) - np.eye(4)[labels]) / 3, atol=1e-12)
    same, other = tempered_cross_entropy(z, np.eye(4)[labels], t)
    assert same == loss
    assert np.array_equal(other, grad)


def test_tempered_cross_entropy_at_its_ends():
    z = np.random.default_rng(0).standard_normal((5, 3)) * 3
    labels = np.array([0, 1, 2, 2, 1])
    picked = z[range(5), labels]
    plain = np.log(np.exp(z).sum(1)) - picked
    assert tempered_cross_entropy(z, labels)[0] == pytest.approx(plain.mean(), rel=1e-13)
    hot = (z.mean(1) - picked).mean() + math.log(3)
    assert tempered_cross_entropy(z, labels, math.inf)[0] == pytest.approx(hot, rel=1e-13)
    assert tempered_cross_entropy(z, labels, 1e12)[0] == pytest.approx(hot, rel=1e-10)
    cold = (z.max(1) - picked).mean()
    assert tempered_cross_entropy(z, labels, 1e-9)[0] == pytest.approx(cold + math.log(3), abs=1e-6)
    assert tempered_cross_entropy(z.astype(np.float32), labels)[1].dtype == np.float32


@given(hnp.arrays(np.float64, 6, elements=st.floats(-50, 50)), st.floats(0.1, 100))
@settings(max_examples=40)
def test_tempered_errors_are_sigmoids(m, t):
    loss, grad = tempered_errors(m, t)
    s = 1 / (1 + np.exp(m / t))
    assert loss == pytest.approx(s.mean(), abs=1e-12)
    np.testing.assert_allclose(grad, -s * (1 - s) / t / 6, atol=1e-12)


def test_cold_errors_are_errors():
    m = np.array([3.0, -0.1, 0.2, -7.0, 1e-3])
    assert tempered_errors(m, 1e-9)[0] == np.mean(m < 0)
    assert tempered_errors(m, math.inf)[0] == 0.5


# ---- minima that direct runs miss ----
def exact_family(fun):
    return lambda x, sigma: fun(x, sigma)


@pytest.mark.parametrize(
    ("fun", "wide", "reach"), [(rastrigin, 0.8, 4.0), (griewank, 5.0, 60.0)], ids=["rastrigin", "griewank"]
)
def test_continuation_finds_the_global_minimum_where_minimize_does_not(fun, wide, reach):
    rng = np.random.default_rng(1)
    direct, along = [], []
    for _ in range(12):
        x0 = rng.uniform(-reach, reach, 4)
        direct.append(fo.minimize(fun, x0).fun)
        result = continuation(exact_family(fun), x0, [wide, 0.0], step=0.25)
        assert result.success
        assert result.level == 0.0
        along.append(result.fun)
        assert result.fun == fun(result.x)[0]
    assert sum(f < 1e-6 for f in along) == 12  # the value at the global minimum is 0
    assert sum(f < 1e-6 for f in direct) <= 2


def test_sampled_smoothing_finds_it_too():
    rng = np.random.default_rng(2)
    starts = rng.uniform(-4, 4, (4, 2))
    assert sum(fo.minimize(rastrigin, x).fun < 1e-6 for x in starts) == 0
    for x in starts:
        result = continuation(Smoothed(rastrigin, 200), x, [0.8, 0.4, 0.2, 0.0])
        assert result.success
        assert result.fun < 1e-6


def test_values_alone_find_it_by_steps_of_an_optimizer():
    """A staircase: its gradient is zero wherever there is one."""

    def stairs(x):
        return float(np.floor(4 * rastrigin(x, depth=1.0)[0]) / 4)

    start = np.array([3.2, -2.7])
    solver = by_steps(lambda params, level: fo.Adam(params, lr=0.3 * level), steps=60)
    smooth = Smoothed(stairs, 64, jac=False, common=False)
    result = continuation(smooth, start, [1.0, 0.5, 0.2, 0.1], solver=solver)
    assert stairs(start) > 15
    assert stairs(result.x) <= 0.25
    assert smooth.nfev == 4 * 61 * 64 == result.nfev * 64


def test_annealed_errors_end_with_fewer_of_them():
    """Outliers far on the wrong side pull the logistic loss; the true loss does not mind how far they are."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 2))
    y = np.where(X[:, 0] > 0, 1.0, -1.0)
    X[:20] = y[:20, None] * [-4.0, 0.0] + 0.3 * rng.standard_normal((20, 2))
    phi = np.column_stack([X, np.ones(200)]) * y[:, None]

    def family(w, t):  # of the direction alone: a longer w would be a colder one
        length = math.sqrt(float(w @ w))
        u = w / length
        loss, g = tempered_errors(phi @ u, t)
        g = phi.T @ g
        return loss, (g - (g @ u) * u) / length

    def logistic(w):
        m = phi @ w
        return float(np.logaddexp(0, -m).mean()), phi.T @ (-1 / (1 + np.exp(m))) / 200

    surrogate = fo.minimize(logistic, np.zeros(3)).x
    result = continuation(family, surrogate, [1.0, 0.02], geometric=True)
    assert result.success
    assert np.mean(phi @ surrogate < 0) > 0.25
    assert np.mean(phi @ result.x < 0) <= 0.115  # the 20 outliers, and few more


# ---- control of the level ----
def well(x, level):
    """A valley whose bottom runs away as the level falls."""
    c = 10 * (1 - level) ** 2
    return float(((x - c) ** 2).sum()), 2 * (x - c)


def test_fixed_levels_are_visited_in_turn():
    result = continuation(well, [0.0, 0.0], levels=[1.0, 0.7, 0.1, 0.0], keep=True)
    assert [a.level for a in result.path] == [1.0, 0.7, 0.1, 0.0]
    assert [a.place for a in result.path] == [0, 1, 2, 3]
    assert result.refused == []
    for attempt, point in zip(result.path, result.points, strict=True):
        np.testing.assert_allclose(point, 10 * (1 - attempt.level) ** 2, atol=1e-4)
    assert result.nfev == sum(a.nfev for a in result.path)
    assert result.message == "The last level, 0, is solved."


def test_steps_grow_and_shrink():
    result = continuation(well, [0.0], step=0.1, grow=2.0)
    places = [a.place for a in result.path]
    np.testing.assert_allclose(places, [0, 0.1, 0.3, 0.7, 1.0])
    held = continuation(well, [0.0], step=0.1, grow=2.0, max_move=2.0)
    assert held.success
    assert held.refused
    assert all(a.move <= 2.0 for a in held.path)
    assert all("max_move" in a.refused for a in held.refused)
    for before, after in itertools.pairwise(sorted([*held.path, *held.refused], key=lambda a: a.place)):
        assert before.place < after.place or before.refused or after.refused
    # After a refusal the next attempt goes half as far, from the same point.
    run = Continuation(well, [0.0], step=1.0, max_move=2.0)
    told = [run.advance() for _ in range(3)]
    assert [a.place for a in told[:2]] == [0, 1.0]
    assert told[1].refused
    assert told[2].place == 0.5


def test_every_level_given_is_met_exactly():
    result = continuation(well, [0.0], levels=[1.0, 0.3, 0.2, 0.0], step=0.3, grow=1.7)
    assert {1.0, 0.3, 0.2, 0.0} <= {a.level for a in result.path}
    places = [a.place for a in result.path]
    assert places == sorted(places)


def test_levels_in_between():
    run = Continuation(well, [0.0], levels=[8.0, 2.0, 0.0], geometric=True)
    assert run.level_at(0.5) == pytest.approx(4.0)
    assert run.level_at(1.5) == 1.0  # no ratio leads to 0
    assert [run.level_at(p) for p in (0, 1, 2)] == [8.0, 2.0, 0.0]
    assert Continuation(well, [0.0], levels=[8.0, 2.0]).level_at(0.5) == 5.0


def test_a_rise_is_refused_and_min_step_ends_the_run():
    def cliff(x, level):
        up = 100.0 if level < 0.4 else 0.0
        return float(x @ x) + up, 2 * x

    result = continuation(cliff, [1.0], max_rise=1.0, min_step=0.01)
    assert not result.success
    assert 0.4 <= result.level < 0.42
    assert "min_step" in result.message
    assert "max_rise" in result.message
    assert result.fun == pytest.approx(0, abs=1e-9)
    assert all(a.level < 0.4 for a in result.refused)


def test_failures_of_the_solve_are_refused():
    def hole(x, level):
        return (float(x @ x) if level > 0.35 else math.nan), 2 * x

    result = continuation(hole, [1.0], min_step=0.05)
    assert not result.success
    assert result.refused
    assert result.level > 0.35
    assert np.isfinite(result.x).all()
    first = continuation(lambda x, level: (-float((x**4).sum()), -4 * x**3), [1.0])  # falls for ever
    assert not first.success
    assert first.x.tolist() == [1.0]
    assert math.isnan(first.level)
    assert first.path == []
    assert "first level" in first.message


def test_a_budget_that_was_set_may_be_used_up():
    w = np.array([1.0, 1e7])

    def ill(x, level):
        return float(w @ (x - level) ** 2), 2 * w * (x - level)

    start = np.array([50.0, 1.0])
    short = continuation(ill, start, solver="gd", options={"maxiter": 2})
    assert short.success
    assert short.fun > 1
    failed = continuation(ill, start, solver="gd")
    assert not failed.success
    assert "Maximum number of iterations" in failed.message


def test_accept_is_asked_with_both_attempts():
    asked = []

    def accept(attempt, last):
        asked.append((attempt.place, None if last is None else last.place))
        return attempt.place != 1.0 or last.place == 0.75

    result = continuation(well, [0.0], step=0.5, grow=2.0, accept=accept)
    assert result.success
    assert asked == [(0.0, None), (0.5, 0.0), (1.0, 0.5), (0.75, 0.5), (1.0, 0.75)]
    assert [a.refused for a in result.refused] == ["accept said no"]


def test_the_predictor_starts_nearer():
    plain = continuation(well, np.zeros(3), step=0.1, grow=1.0, keep=True)
    ahead = continuation(well, np.zeros(3), step=0.1, grow=1.0, predictor=True)
    np.testing.assert_allclose(ahead.x, plain.x, atol=1e-4)
    starts = []
    solver = lambda fun, x, level: (starts.append(x.copy()), np.full(3, 10 * (1 - level) ** 2))[1]  # noqa: E731
    continuation(well, np.zeros(3), step=0.1, grow=1.0, predictor=True, solver=solver)
    ends = [10 * (i / 10) ** 2 for i in range(11)]
    for i in range(2, 11):  # on the line through the last two ends
        np.testing.assert_allclose(starts[i], 2 * ends[i - 1] - ends[i - 2], atol=1e-9)


def test_solvers_of_ones_own():
    seen = []

    def solver(fun, x, level):
        seen.append(level)
        return fo.minimize(fun, x, method="bfgs")

    tree = {"a": np.zeros(2, np.float32), "b": [np.ones((1, 2), np.float32)]}
    family = lambda p, level: (  # noqa: E731
        float(sum(((leaf - level) ** 2).sum() for leaf in (p["a"], p["b"][0]))),
        {"a": 2 * (p["a"] - np.float32(level)), "b": [2 * (p["b"][0] - np.float32(level))]},
    )
    result = continuation(family, tree, [3.0, 2.0, 1.0], solver=solver)
    assert seen == [3.0, 2.0, 1.0]
    assert result.x["b"][0].dtype == np.float32
    np.testing.assert_allclose(result.x["b"][0], 1, atol=1e-3)
    assert tree["b"][0].tolist() == [[1, 1]]


# ---- told, stopped, resumed ----
def test_progress_and_callback():
    told, called = [], []
    continuation(well, [0.0], step=0.5, grow=1.0, progress=lambda *a: told.append(a), callback=called.append)
    assert [(t[0], t[1], t[2]) for t in told] == [
        ("continuation", 0, 100),
        ("continuation", 50, 100),
        ("continuation", 100, 100),
    ]
    assert told[-1][3] == {"level": 0.0, "fun": called[-1].fun, "step": 0.5}
    assert [a.place for a in called] == [0, 0.5, 1.0]

    def stop(attempt):
        if attempt.place >= 0.5:
            raise StopIteration

    run = Continuation(well, [0.0], step=0.5)
    half = run.run(stop)
    assert not half.success
    assert half.message.startswith("Not done")
    assert half.level == 0.5
    assert run.run().success
    with pytest.raises(RuntimeError, match="has ended"):
        run.advance()


class Boom(Exception):
    pass


def test_what_the_family_raises_comes_out_and_nothing_has_moved():
    calls = itertools.count()

    def family(x, level):
        if next(calls) == 12:
            raise Boom
        return well(x, level)

    run = Continuation(family, [0.0], step=0.2)
    with pytest.raises(Boom):
        run.run()
    before = len(run.attempts)
    assert run.run().success
    assert before < len(run.attempts)
    np.testing.assert_allclose(run.x, 10, atol=1e-4)


@pytest.mark.parametrize("kind", ["closed", "sampled", "steps"])
def test_resumed_is_uninterrupted(kind, tmp_path):
    def start():
        x0 = {"w": np.array([2.9, -1.7]), "v": [np.array([0.6])]}

        def joint(p):
            value, g = rastrigin(flat(p))
            return value, {"w": g[:2], "v": [g[2:]]}

        if kind == "closed":

            def family(p, s):
                value, g = rastrigin(flat(p), s)
                return value, {"w": g[:2], "v": [g[2:]]}

            return Continuation(family, x0, [0.7, 0.0], max_move=0.5, predictor=True, keep=True)
        smooth = Smoothed(joint, 8, common=kind == "sampled")
        solver = by_steps(lambda p, s: fo.Adam(p, lr=0.05), 15) if kind == "steps" else "lbfgs"
        return Continuation(smooth, x0, [0.7, 0.3, 0.1], step=0.4, solver=solver, keep=True)

    whole = start().run()
    attempts = whole.path + whole.refused
    assert len(attempts) > 4
    for cut in range(len(attempts)):
        first, second = start(), start()
        for _ in range(cut):
            first.advance()
        fo.save(tmp_path / "a.safetensors", run=first)
        fo.load(tmp_path / "a.safetensors", run=second)
        result = second.run()
        # NaN of a refused attempt is not itself, so representations are compared.
        assert repr((result.path, result.refused)) == repr((whole.path, whole.refused))
        assert np.array_equal(flat(result.x), flat(whole.x))
        assert all(np.array_equal(flat(a), flat(b)) for a, b in zip(result.points, whole.points, strict=True))
        assert (result.message, result.nfev) == (whole.message, whole.nfev)


def state_with(**changes):
    return {**Continuation(well, np.zeros(2)).state_dict(), **changes}


@pytest.mark.parametrize(
    "state",
    [
        3,
        {},
        state_with(more=1),
        state_with(levels=[1.0, 0.5]),
        state_with(step=-1.0),
        state_with(message=None),
        state_with(x={"": np.zeros(3)}),
        state_with(x={"": np.zeros(2, np.float32)}),
        state_with(x={"": np.array([0.0, math.nan])}),
        state_with(x={"a": np.zeros(2)}),
        state_with(x=None),
        state_with(before=3),
        state_with(before=[0.0, {"": np.zeros(3)}]),
        state_with(attempts=[[1, 2]]),
        state_with(attempts=3),
        state_with(attempts=[[0.0, 1.0, 0.0, 0.0, 3, None]]),
        state_with(points=[3]),
    ],
)
def test_bad_states_change_nothing(state):
    run = Continuation(well, np.zeros(2))
    run.advance()
    before = repr(run.state_dict())
    with pytest.raises((TypeError, ValueError), match="continuation: "):
        run.load_state_dict(state)
    assert repr(run.state_dict()) == before


def test_a_bad_state_of_the_family_changes_nothing():
    run = Continuation(Smoothed(rastrigin, 4), np.zeros(2))
    state = run.state_dict()
    state["family"]["calls"] = -1
    with pytest.raises(ValueError, match="calls"):
        run.load_state_dict(state)


NO = lambda *a: None  # noqa: E731
BAD = [
    (lambda: Smoothed(3), TypeError, "fun is int"),
    (lambda: Smoothed(NO, 0), ValueError, "samples is 0"),
    (lambda: Smoothed(NO, 3), ValueError, "even"),
    (lambda: Smoothed(NO, jac=1), TypeError, "jac is 1"),
    (lambda: Smoothed(NO, rng="a"), TypeError, "rng"),
    (lambda: Smoothed(NO, scale={"a": 0.0}), ValueError, r"scale\['a'\]"),
    (lambda: Smoothed(NO, scale={"a": "b"}), ValueError, r"scale\['a'\]"),
    (lambda: Smoothed(rastrigin)(np.zeros(2), -1.0), ValueError, "sigma"),
    (lambda: Smoothed(rastrigin)(np.zeros(2), math.inf), ValueError, "sigma"),
    (lambda: Smoothed(rastrigin)([1, 2], 1.0), TypeError, r"params\['0'\] is int"),
    (lambda: Smoothed(rastrigin)(np.zeros(2, int), 1.0), TypeError, "params is int64"),
    (lambda: Smoothed(NO)(np.zeros(2), 1.0), TypeError, "fun returned NoneType"),
    (lambda: Smoothed(NO, jac=False)(np.zeros(2), 1.0), TypeError, "value is None"),
    (lambda: Smoothed(lambda x: 1.0, jac=False)(np.zeros(2), 0.0), ValueError, "sigma is 0"),
    (
        lambda: Smoothed(lambda x: (1.0, np.zeros(3)))(np.zeros(2), 1.0),
        ValueError,
        r"the gradient is float64 \(3,\)",
    ),
    (lambda: Smoothed(lambda x: (1.0, {"a": x}))(np.zeros(2), 1.0), ValueError, "paths"),
    (lambda: Smoothed(lambda x: (x, x))(np.zeros(2), 1.0), TypeError, "one real number"),
    (lambda: Smoothed(rastrigin, scale=np.ones(3))(np.zeros(2), 1.0), ValueError, r"scale has shape \(3,\)"),
    (lambda: Smoothed(rastrigin, scale={"a": 1.0})(np.zeros(2), 1.0), ValueError, "scale has the paths"),
    (lambda: Smoothed(NO).load_state_dict({}), ValueError, "state has"),
    (lambda: Smoothed(NO).load_state_dict(None), TypeError, "state is NoneType"),
    (lambda: Smoothed(NO).load_state_dict({**Smoothed(NO).state_dict(), "seed": "x"}), ValueError, "seed"),
    (lambda: Smoothed(NO).load_state_dict({**Smoothed(NO).state_dict(), "nfev": 1.0}), TypeError, "nfev"),
    (lambda: tempered_cross_entropy([1.0], [0]), TypeError, "logits"),
    (lambda: tempered_cross_entropy([[1.0, 2.0]], [2]), ValueError, "labels holds 2"),
    (lambda: tempered_cross_entropy([[1.0, 2.0]], [0, 1]), TypeError, "labels is"),
    (lambda: tempered_cross_entropy([[1.0, 2.0]], [0], 0.0), ValueError, "temperature"),
    (lambda: tempered_errors([[1.0]], 1.0), TypeError, "margins"),
    (lambda: tempered_errors([1.0], math.nan), ValueError, "temperature"),
    (lambda: by_steps(3, 3), TypeError, "make"),
    (lambda: by_steps(NO, 0), ValueError, "steps"),
    (lambda: Continuation(3, [0.0]), TypeError, "family"),
    (lambda: Continuation(well, [0.0], [1.0]), ValueError, "two at least"),
    (lambda: Continuation(well, [0.0], 1.0), TypeError, "levels"),
    (lambda: Continuation(well, [0.0], [1.0, "a"]), TypeError, r"levels\[1\]"),
    (lambda: Continuation(well, [0.0], [1.0, math.nan]), ValueError, r"levels\[1\]"),
    (lambda: Continuation(well, {"a": np.ones(1, int)}), TypeError, r"x0\['a'\] is int64"),
    (lambda: Continuation(well, {"a": 1.0}), TypeError, r"x0\['a'\] is float"),
    (lambda: Continuation(well, [math.nan]), ValueError, "x0 has an element"),
    (lambda: Continuation(well, ["a"]), TypeError, "x0 is"),
    (lambda: Continuation(well, [0.0], step=0), ValueError, "step"),
    (lambda: Continuation(well, [0.0], step=1.5), ValueError, "step"),
    (lambda: Continuation(well, [0.0], min_step=0), ValueError, "min_step"),
    (lambda: Continuation(well, [0.0], grow=0.9), ValueError, "grow"),
    (lambda: Continuation(well, [0.0], shrink=1.0), ValueError, "shrink"),
    (lambda: Continuation(well, [0.0], max_move=0.0), ValueError, "max_move"),
    (lambda: Continuation(well, [0.0], max_rise=-1.0), ValueError, "max_rise"),
    (lambda: Continuation(well, [0.0], accept=3), TypeError, "accept"),
    (lambda: Continuation(well, [0.0], keep=1), TypeError, "keep"),
    (lambda: Continuation(well, [0.0], solver=3), TypeError, "solver"),
    (lambda: Continuation(well, [0.0], solver=NO, options={}), ValueError, "options"),
    (lambda: continuation(well, [0.0], solver="nelder"), ValueError, "nelder"),
    (lambda: continuation(well, [0.0], solver=lambda f, x, s: x[:0]), ValueError, r"solver gave \(0,\)"),
    (lambda: continuation(well, [0.0], solver=lambda f, x, s: {"a": x}), ValueError, "paths"),
    (lambda: continuation(well, [0.0], callback=3), TypeError, "callback"),
    (lambda: continuation(well, [0.0], progress=3), TypeError, "progress"),
]


@pytest.mark.parametrize(("call", "kind", "match"), BAD)
def test_bad_input(call, kind, match):
    with pytest.raises(kind, match=match):
        call()
