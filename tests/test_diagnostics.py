"""Diagnostics on problems whose answer is known: every question is asked of every made run, and the rest keeps silent."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.sparse.linalg import eigsh

import diagnostic_runs
import fastopt as fo
from fastopt import diagnostics as d
from fastopt import problems

# ---- the table: runs x questions ----

QUESTIONS = {
    "finite gradients", "divergence", "gradient norm", "cliffs", "to and fro", "noise in the run", "updates", "ill-conditioning",
    "critical point", "inexact gradients", "straight line", "path", "long-term dependencies", "gradients",
}  # fmt: skip


@pytest.mark.parametrize("ill", diagnostic_runs.RUNS, ids=lambda ill: ill.name)
def test_each_run_has_its_own_trouble_and_no_other(ill):
    answers = diagnostic_runs.ask(ill)
    assert QUESTIONS - set(answers) <= {"to and fro", "noise in the run"}, "those two need momentum"
    table = {question: answers[question].trouble for question in QUESTIONS & set(answers)}
    assert table == {question: question in ill.ails for question in table}
    for answer in answers.values():
        assert answer.verdict.endswith(".") or answer.verdict.endswith(").")
        assert isinstance(answer.number, float)
        assert isinstance(answer.trouble, bool)


def test_the_verdicts_of_the_table_say_what_it_is():
    said = {ill.name: diagnostic_runs.ask(ill) for ill in diagnostic_runs.RUNS}
    assert "saddle: 1 of 3" in said["saddle"]["critical point"].verdict
    assert "plateau" in said["plateau"]["critical point"].verdict
    assert said["well-behaved"]["critical point"].kind == "minimum"
    assert "step 31 " in said["cliff"]["cliffs"].verdict
    assert said["ill-conditioned"]["ill-conditioning"].spectrum.condition == pytest.approx(1e5, rel=1e-3)
    assert said["vanishing"]["long-term dependencies"].state == "vanishing"
    assert said["exploding"]["long-term dependencies"].state == "exploding"
    assert said["wrong gradient"]["gradients"].index == (2,)
    assert said["around a mountain"]["straight line"].hill > 1


def test_every_question_has_a_run_that_has_it_as_trouble():
    silent = QUESTIONS - set().union(*(ill.ails for ill in diagnostic_runs.RUNS))
    assert silent == {"finite gradients", "divergence"}  # below, runs that end


def test_a_monitor_sees_divergence_and_refused_steps():
    x = np.ones(3)
    opt = fo.SGD(x, lr=2.02)
    monitor = d.Monitor(opt)
    for _ in range(60):
        monitor.step(x.copy(), loss=x @ x)
    assert {a.question for a in monitor.verdicts()} == {"divergence"}
    with pytest.raises(FloatingPointError):
        monitor.step(np.array([1.0, np.nan, 1.0]), loss=1.0)
    assert monitor.steps == 60
    troubles = {a.question: a for a in monitor.verdicts()}
    assert "nothing was changed" in troubles["finite gradients"].verdict
    skipping = d.Monitor(fo.SGD(np.ones(3), lr=0.1, nonfinite="skip"))
    for i in range(30):
        skipping.step(np.full(3, np.inf if i == 20 else 0.5**i), loss=0.5**i)
    (answer,) = skipping.verdicts()
    assert "3 elements, 1 steps skipped, first around step 21" in answer.verdict


# ---- curvature ----


def spectrum_problem(values, seed=0, dtype=np.float64):
    """A quadratic x'Ax / 2 with these eigenvalues, in turned coordinates, as a function of a tree."""
    values = np.asarray(values, float)
    n = values.size
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((n, n)))
    a = (q * values) @ q.T
    half = n // 2
    params = {"w": np.linspace(-1, 1, half).astype(dtype), "b": np.linspace(0, 1, n - half).astype(dtype)}

    def fun(p):
        x = np.concatenate([p["w"], p["b"]]).astype(float)
        g = (a @ x).astype(dtype)
        return float(x @ a @ x) / 2, {"w": g[:half], "b": g[half:]}

    return fun, params, a


@pytest.mark.parametrize("values", [
    np.linspace(1, 2, 2), np.linspace(1, 9, 3), np.logspace(-3, 3, 40), np.linspace(-2, 5, 60), np.r_[-7.0, np.ones(50), 3.0],
    np.logspace(0, 2, 300), np.full(30, 4.0), -np.linspace(1, 2, 7),
], ids=lambda v: f"{v.size} from {v[0]:g} to {v[-1]:g}")  # fmt: skip
def test_extreme_eigenvalues_of_a_given_spectrum(values):
    fun, params, _ = spectrum_problem(values)
    s = d.extreme_eigenvalues(fun, params, products=600)
    top = abs(values).max()
    assert s.converged
    assert abs(s.low - values.min()) <= 1e-8 * top
    assert abs(s.high - values.max()) <= 1e-8 * top
    assert s.error <= 1e-7 * top
    if values.min() > 0:
        assert s.condition == pytest.approx(
            values.max() / values.min(), rel=1e-3 if values.min() < 1e-2 else 1e-6
        )
        assert s.trouble == (s.condition > 1e3)
    else:
        assert math.isnan(s.condition)


def test_eigenvalues_in_float32_are_right_to_three_digits():
    fun, params, _ = spectrum_problem(np.linspace(1, 10, 50), dtype=np.float32)
    s = d.extreme_eigenvalues(fun, params)
    assert s.low == pytest.approx(1, rel=5e-3)
    assert s.high == pytest.approx(10, rel=1e-3)
    assert s.error < 1e-2


def test_a_singular_hessian_has_no_finite_condition():
    fun, params, _ = spectrum_problem(np.r_[0.0, np.linspace(1, 3, 20)])
    s = d.extreme_eigenvalues(fun, params)
    assert math.isinf(s.condition)
    assert not s.trouble
    assert "flat" in s.verdict


def test_eigenvalues_take_a_product_and_an_operator():
    fun, params, a = spectrum_problem(np.linspace(1, 5, 12))

    def hessp(p, v):
        out = a @ np.concatenate([v["w"], v["b"]])
        return {"w": out[:6], "b": out[6:]}

    exact = d.extreme_eigenvalues(fun, params, hessp=hessp)
    assert exact.high == pytest.approx(5, rel=1e-13)
    assert d.extreme_eigenvalues(a).low == pytest.approx(1, rel=1e-12)
    operator = d.hessian_operator(fun, params)
    assert d.extreme_eigenvalues(operator).high == pytest.approx(5, rel=1e-8)
    assert eigsh(operator, k=1, which="LA", return_eigenvectors=False)[0] == pytest.approx(5, rel=1e-7)


def test_one_and_two_parameters():
    for n in (1, 2):
        s = d.extreme_eigenvalues(lambda x: (1.5 * float(x @ x), 3 * x), np.ones(n))
        assert (s.low, s.high) == pytest.approx((3, 3), rel=1e-8)


def test_few_products_still_answer_with_an_honest_error():
    fun, params, _ = spectrum_problem(np.logspace(-4, 4, 200))
    s = d.extreme_eigenvalues(fun, params, products=12)
    assert s.products == 12
    assert not s.converged
    assert abs(s.high - 1e4) <= s.error
    assert abs(s.low - 1e-4) <= s.error


def test_the_operator_leaves_arrays_as_they_are_and_keeps_its_point():
    fun, params, a = spectrum_problem(np.linspace(1, 5, 12))
    operator = d.hessian_operator(lambda p: fun(params), params)  # reads its own arrays, as models do
    params["w"][:] = np.nan
    before = params["w"].tobytes(), params["b"].tobytes()
    assert operator @ np.eye(12) == pytest.approx(a, abs=1e-8)
    assert (params["w"].tobytes(), params["b"].tobytes()) == before


@pytest.mark.parametrize("lr, trouble", [(0.5, False), (0.9999, False), (1.0001, True), (3.0, True)])
def test_the_step_at_which_the_second_order_term_outweighs(lr, trouble):
    # g = H x along one eigenvector of eigenvalue 2: the limit is 2/2.
    c = d.curvature(lambda x: (x @ x, 2 * x), np.array([1.0, 2.0]), lr=lr)
    assert c.limit == pytest.approx(1.0, rel=1e-9)
    assert c.trouble is trouble
    assert c.gg == pytest.approx(20.0)
    assert c.gHg == pytest.approx(40.0, rel=1e-9)


def test_ill_conditioning_is_seen_along_the_gradient_though_some_directions_are_flat():
    values = np.array([1e5, 1.0, 0.0])
    x = np.array([0.0, 1.0, 5.0])
    found = d.conditioning(lambda x: (x @ (values * x) / 2, values * x), x)
    assert found.seen == pytest.approx(1e5, rel=1e-3)
    assert found.trouble


# ---- critical points ----

POINTS = [
    ("minimum", 0, lambda x: (x @ x, 2 * x), [0.0, 0.0]),
    ("maximum", 2, lambda x: (-x @ x, -2 * x), [0.0, 0.0]),
    ("saddle", 1, lambda x: (x[0] ** 2 - x[1] ** 2, np.array([2 * x[0], -2 * x[1]])), [0.0, 0.0]),
    ("none", 0, lambda x: (x @ x, 2 * x), [1.0, 0.0]),
    ("none", 1, lambda x: (x[0] ** 2 - x[1] ** 2, np.array([2 * x[0], -2 * x[1]])), [1.0, 1.0]),
    ("none", 0, lambda x: (x[0], np.array([1.0, 0.0])), [1.0, 1.0]),
    ("degenerate", 0, lambda x: (1.0 + x[0] ** 2, np.array([2 * x[0], 0.0])), [0.0, 3.0]),
    ("plateau", 0, lambda x: (1.0, np.zeros(2)), [0.0, 3.0]),
]  # fmt: skip


@pytest.mark.parametrize("kind, index, fun, x", POINTS, ids=[f"{p[0]} at {p[3]}" for p in POINTS])
@pytest.mark.parametrize("dense", [300, 0], ids=["all eigenvalues", "Lanczos"])
def test_what_a_point_is(kind, index, fun, x, dense):
    p = d.critical_point(fun, np.array(x), dense=dense)
    assert p.kind == kind
    assert p.least_index == index
    assert p.index in (index, None)
    assert p.index is not None or not dense
    assert p.trouble == (kind in ("saddle", "maximum", "plateau"))


@pytest.mark.parametrize(
    "p", [p for p in problems.all_problems("mgh") if p.minimizer is not None], ids=lambda p: p.name
)
def test_known_minima_and_starts_of_published_problems(p):
    """At a minimizer no curvature is negative; at any point the index is that of the Hessian by formula."""
    here = d.critical_point(p.fun_and_grad, p.minimizer, scale=0.0, hessp=p.hessp)
    assert here.least_index == 0, "no negative curvature at a minimizer"
    assert here.kind in ("minimum", "degenerate")
    start = d.critical_point(p.fun_and_grad, p.x0, scale=0.0, hessp=p.hessp)
    exact = np.linalg.eigvalsh(p.hess(p.x0))
    assert start.eigenvalues == pytest.approx(exact, abs=1e-9 * abs(exact).max())
    assert start.least_index == (exact < -start.error).sum()


def test_a_saddle_of_many_dimensions_by_lanczos():
    values = np.r_[-3.0, np.linspace(1, 10, 400)]
    p = d.critical_point(lambda x: (x @ (values * x) / 2, values * x), np.zeros(401))
    assert p.kind == "saddle"
    assert p.index is None
    assert p.low == pytest.approx(-3, rel=1e-5)
    assert abs(p.direction[0]) == pytest.approx(1, abs=1e-3)


def test_near_a_saddle_is_the_saddle_and_far_is_not():
    def fun(x):
        return x[0] ** 2 - x[1] ** 2, np.array([2 * x[0], -2 * x[1]])

    assert d.critical_point(fun, np.array([1e-3, 1e-3])).kind == "saddle"
    assert d.critical_point(fun, np.array([0.1, 0.1])).kind == "none"


def test_escape_goes_down_and_stays_where_it_cannot():
    x = np.array([0.0, 0.0, 0.0])
    out = d.escape(diagnostic_runs.saddle, x)
    assert out.moved
    assert out.after == pytest.approx(diagnostic_runs.saddle(x)[0], abs=1e-15)
    assert out.after < -0.2
    assert out.curvature == pytest.approx(-1, rel=1e-6)
    bowl = np.array([0.0, -0.0])
    before = bowl.tobytes()
    out = d.escape(lambda x: (x @ x, 2 * x), bowl)
    assert not out.moved
    assert out.trouble
    assert bowl.tobytes() == before


def test_escape_takes_the_side_that_slopes_down():
    def fun(x):
        return -(x[0] ** 2) + 0.1 * x[0], np.array([-2 * x[0] + 0.1])

    x = np.array([0.0])
    assert d.escape(fun, x).moved
    assert x[0] < 0


# ---- norms ----


def test_hill_finds_the_index_of_a_pareto_tail():
    for alpha in (1.0, 1.5, 3.0):
        rng = np.random.default_rng(4)
        norms = rng.pareto(alpha, 20000) + 1.0
        tails = d.gradient_tails(norms, limit=1e9)
        assert tails.index == pytest.approx(alpha, rel=0.25)
        assert tails.trouble == (alpha < 2)


def test_light_tails_and_falling_norms_are_no_cliff():
    rng = np.random.default_rng(5)
    healthy = np.exp(-np.arange(3000) / 300) * (1 + 0.3 * rng.random(3000))
    tails = d.gradient_tails(healthy)
    assert not tails.trouble
    assert tails.index > 4
    assert tails.ratio < 2


def test_what_stands_out_late_but_is_small_is_no_cliff():
    norms = np.r_[np.ones(100), np.full(200, 1e-3)]
    norms[250] = 0.5  # 500 times its neighbours, half of what was usual
    assert not d.gradient_tails(norms).trouble
    norms[250] = 5.0
    assert d.gradient_tails(norms).crossings == [251]


def test_the_step_that_crossed_and_the_clip_rate():
    norms = np.ones(300)
    norms[[100, 200]] = 50, 80
    tails = d.gradient_tails(norms, clip_factors=np.where(norms > 10, 0.5, 1.0))
    assert tails.crossings == [101, 201]
    assert (tails.step, tails.ratio, tails.count) == (201, 80.0, 2)
    assert tails.clip_rate == 2 / 300
    clipped = d.gradient_tails(np.ones(100), clip_factors=np.r_[np.full(60, 0.5), np.ones(40)])
    assert clipped.trouble
    assert "60 % of the steps were clipped" in clipped.verdict


def test_an_infinite_norm_is_a_cliff():
    norms = np.ones(50)
    norms[30] = np.inf
    assert d.gradient_tails(norms).crossings == [31]


def test_the_gradient_norm_test_of_the_book():
    t = np.arange(200.0)
    stuck = 1 + np.exp(-t / 5)
    assert d.gradient_norm_test(np.full(200, 3.0), stuck).trouble
    assert not d.gradient_norm_test(np.exp(-t), stuck).trouble
    assert not d.gradient_norm_test(1 + t, np.exp(-t / 50)).trouble, (
        "growing norms are none while the loss falls"
    )


# ---- Jacobians ----


def test_growth_is_the_spectral_radius():
    rng = np.random.default_rng(0)
    q = rng.standard_normal((20, 20))
    for radius, state in ((0.8, "vanishing"), (1.0, "kept"), (1.2, "exploding")):
        w = q * (radius / np.abs(np.linalg.eigvals(q)).max())
        out = d.long_term(w, 400)
        assert out.state == state
        assert out.factors[0] == pytest.approx(radius, rel=0.02)
        total = np.linalg.matrix_power(w, 400)
        assert out.log_growth[-1, 0] == pytest.approx(np.log(np.linalg.norm(total, 2)), abs=3.0)


def test_growth_of_many_jacobians_functions_and_operators_agrees():
    rng = np.random.default_rng(1)
    steps = [rng.standard_normal((5, 5)) / 2 for _ in range(60)]
    a = d.long_term(steps)
    b = d.long_term(lambda v, t: steps[t] @ v, 60, size=5)
    assert a.log_growth == pytest.approx(b.log_growth)
    product = np.linalg.multi_dot(steps[::-1])
    assert a.log_growth[-1, 0] == pytest.approx(np.log(np.linalg.norm(product, 2)), abs=3.0)
    from scipy.sparse import eye_array

    assert d.long_term(0.5 * eye_array(6), 50).state == "vanishing"


def test_growth_beyond_any_float_and_to_nothing():
    assert "1e+3" in d.long_term(1e10 * np.eye(2), 300).verdict.replace("1e+03", "")
    assert d.long_term(np.zeros((3, 3)), 5).state == "vanishing"


# ---- noise ----


def test_inexact_gradients_have_the_noise_they_were_given():
    rng = np.random.default_rng(2)
    data = 3.0 + 2.0 * rng.standard_normal((4000, 5))
    found = d.inexact_gradient(
        lambda x, rows: (0.0, x - rows.mean(axis=0)), np.zeros(5), list(data.reshape(200, 20, 5))
    )
    assert found.variance == pytest.approx(5 * 4.0, rel=0.15)
    assert found.signal == pytest.approx(5 * 9.0, rel=0.05)
    assert found.noise_scale == pytest.approx(20 / 45, rel=0.2)
    assert found.signal_to_noise == pytest.approx(45 / (20 / 20), rel=0.2)
    assert not found.trouble
    assert found.cosines.min() > 0.9


def test_a_monitor_does_not_call_noise_trouble_while_the_loss_falls():
    x = np.full(30, 50.0)
    opt = fo.SGD(x, lr=0.02)
    monitor = d.Monitor(opt)
    for _ in range(100):
        monitor.step(x.copy(), loss=x @ x)
    noisy = monitor.probe_noise(diagnostic_runs.noisy_mean, diagnostic_runs.noisy_batches())
    assert noisy.trouble
    assert monitor.verdicts() == []


# ---- landscape ----


def test_the_line_finds_the_hill_where_it_is():
    x = np.array([3.0])
    line = d.straight_line(
        lambda x: float((x[0] ** 2 - 1) ** 2), x, np.array([-1.0]), np.array([1.0]), points=101
    )
    assert line.hill == pytest.approx(1.0)
    assert line.hill_at == pytest.approx(0.5)
    assert line.trouble
    assert x[0] == 3.0
    steep = d.straight_line(
        lambda x: math.inf if x[0] == 0 else x[0] ** 2, x, np.array([-1.0]), np.array([1.0])
    )
    assert math.isinf(steep.hill)


def test_filter_normalisation_gives_each_filter_the_norm_of_its_weights():
    params = {"w": np.random.default_rng(0).standard_normal((6, 3)) * [1.0, 10.0, 0.1], "b": np.ones(3)}
    out = d.plane(lambda p: float((p["w"] ** 2).sum()), params, points=5)
    for direction in out.directions:
        w = direction[:18].reshape(6, 3)
        assert np.linalg.norm(w, axis=0) == pytest.approx(np.linalg.norm(params["w"], axis=0))
        assert not direction[18:].any()
    assert out.losses[2, 2] == pytest.approx((params["w"] ** 2).sum())
    assert out.losses[2, 4] == pytest.approx(((params["w"].ravel() + out.directions[0][:18]) ** 2).sum())
    kernel = {"k": np.random.default_rng(1).standard_normal((4, 2, 3, 3))}
    first = d.plane(lambda p: 0.0, kernel, points=3, axis=0).directions[0].reshape(4, 18)
    assert np.linalg.norm(first, axis=1) == pytest.approx(np.linalg.norm(kernel["k"].reshape(4, 18), axis=1))


def test_a_rugged_slice_has_basins_and_a_bowl_one():
    x = np.zeros(2)
    axes = np.eye(2)
    rugged = d.plane(lambda x: float(np.cos(6 * x[0]) + x @ x), x, directions=axes, points=41)
    assert rugged.basins == 2
    assert rugged.trouble
    bowl = d.plane(lambda x: float(x @ x), x, directions=axes, points=41)
    assert bowl.basins == 1
    assert not bowl.trouble


def test_the_path_on_its_axes():
    t = np.linspace(0, 2 * np.pi, 200)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 3)))[0]
    ellipse = np.stack([3 * np.cos(t), np.sin(t), 0.01 * np.sin(9 * t)], axis=1) @ turn.T
    out = d.trajectory(list(ellipse))
    assert out.explained[:2] == pytest.approx([0.9, 0.1], abs=0.01)
    assert out.axes @ out.axes.T == pytest.approx(np.eye(2), abs=1e-9)
    assert out.trouble, "it comes back to where it began"
    assert out.coordinates[-1] == pytest.approx([0, 0], abs=1e-12)
    radius = np.hypot(*(out.coordinates - out.coordinates.mean(axis=0)).T)
    assert radius.max() == pytest.approx(3, rel=0.05)


def test_every_answer_draws_its_picture(tmp_path):
    ill = next(i for i in diagnostic_runs.RUNS if i.name == "pure noise")
    answers = list(diagnostic_runs.ask(ill).values())
    x = np.array([0.3, -0.2])

    def bowl(x):
        return float(x @ x), 2 * x

    answers += [
        d.extreme_eigenvalues(bowl, x), d.curvature(bowl, x, lr=0.5), d.escape(bowl, x.copy()), d.gradient_tails(np.ones(99)),
        d.plane(bowl, x, directions=np.eye(2), points=5, path=np.zeros((2, 2))), d.gradient_norm_test(np.ones(50), np.ones(50)),
    ]  # fmt: skip
    figure = Figure(figsize=(40, 30))
    for i, answer in enumerate(answers):
        ax = answer.plot(figure.add_subplot(5, 5, i + 1))
        assert ax.get_xlabel()
    figure.savefig(tmp_path / "all.png", dpi=30)
    path = tmp_path / "one.png"
    assert answers[-1].plot(path=path).figure is not figure
    assert path.read_bytes()[:4] == b"\x89PNG"


# ---- arguments ----


def nan_at(x):
    return math.nan, np.zeros_like(x)


BAD = [
    (TypeError, "fun is int", lambda: d.curvature(3, np.ones(2))),
    (TypeError, "fun gave float; a pair", lambda: d.curvature(lambda x: 1.0, np.ones(2))),
    (TypeError, "params has dtype int64", lambda: d.curvature(lambda x: (0.0, x), np.ones(2, int))),
    (ValueError, "params holds no element", lambda: d.curvature(lambda x: (0.0, x), np.ones(0))),
    (ValueError, "params holds Inf or NaN", lambda: d.curvature(lambda x: (0.0, x), np.array([np.nan]))),
    (FloatingPointError, "the loss is nan at params", lambda: d.curvature(nan_at, np.ones(2))),
    (ValueError, r"grads is float64\[3\]", lambda: d.curvature(lambda x: (0.0, np.ones(3)), np.ones(2))),
    (ValueError, "'b'] has no counterpart", lambda: d.curvature(lambda p: (0.0, {"w": p["w"]}), {"w": np.ones(2), "b": np.ones(2)})),
    (TypeError, "loss of float64 and shape", lambda: d.curvature(lambda x: (x, x), np.ones(2))),
    (TypeError, "lr is '1'", lambda: d.curvature(lambda x: (0.0, x), np.ones(2), lr="1")),
    (ValueError, "step is -1", lambda: d.hessian_operator(lambda x: (0.0, x), np.ones(2), step=-1)),
    (TypeError, "hessp is int", lambda: d.hessian_operator(lambda x: (0.0, x), np.ones(2), hessp=1)),
    (TypeError, "params is missing", lambda: d.extreme_eigenvalues(lambda x: (0.0, x))),
    (ValueError, r"shape \(2, 3\)", lambda: d.extreme_eigenvalues(np.ones((2, 3)))),
    (ValueError, "products is 0", lambda: d.extreme_eigenvalues(np.eye(3), products=0)),
    (TypeError, "dense is 1.5", lambda: d.critical_point(lambda x: (0.0, x), np.ones(2), dense=1.5)),
    (TypeError, "point is int", lambda: d.escape(lambda x: (0.0, x), np.ones(2), point=1)),
    (TypeError, "size is missing", lambda: d.long_term(lambda v, t: v)),
    (ValueError, r"shape \(2, 3\)", lambda: d.long_term(np.ones((2, 3)))),
    (ValueError, r"jacobian\[1\] has shape", lambda: d.long_term([np.ones((2, 3)), np.ones((3, 3))])),
    (ValueError, "there are 2 Jacobians", lambda: d.long_term([np.eye(2)] * 2, 3)),
    (ValueError, "holds Inf or NaN", lambda: d.long_term(np.full((2, 2), np.inf))),
    (TypeError, "a real matrix", lambda: d.long_term("W")),
    (TypeError, "norms is float64 of shape", lambda: d.gradient_tails(np.ones((2, 2)))),
    (ValueError, "norms holds a negative", lambda: d.gradient_tails([-1.0])),
    (ValueError, "clip_factors has 1 numbers", lambda: d.gradient_tails([1.0, 2.0], clip_factors=[1.0])),
    (ValueError, "5 steps came", lambda: d.gradient_norm_test(np.ones(5), np.ones(5))),
    (ValueError, "losses is float64 of shape", lambda: d.gradient_norm_test(np.ones(30), np.ones(3))),
    (ValueError, "1 batches came", lambda: d.inexact_gradient(lambda x, b: (0.0, x), np.ones(2), [np.ones(3)])),
    (ValueError, "batch 0 is empty", lambda: d.inexact_gradient(lambda x, b: (0.0, x), np.ones(2), [np.ones(0)])),
    (TypeError, "batch 0 is int", lambda: d.inexact_gradient(lambda x, b: (0.0, x), np.ones(2), [1, 2])),
    (ValueError, "points is 2", lambda: d.straight_line(lambda x: 0.0, np.ones(2), np.ones(2), points=2)),
    (ValueError, r"start is float64\[3\]", lambda: d.straight_line(lambda x: 0.0, np.ones(2), np.ones(3))),
    (ValueError, "reach is", lambda: d.plane(lambda x: 0.0, np.ones((2, 2)), reach=[1, 2])),
    (ValueError, "axis is 5", lambda: d.plane(lambda x: 0.0, np.ones((2, 2)), axis=5)),
    (ValueError, "no matrix that is not zero", lambda: d.plane(lambda x: 0.0, np.ones(2))),
    (ValueError, "two directions are wanted", lambda: d.plane(lambda x: 0.0, np.ones(2), directions=[np.ones(2)])),
    (ValueError, "two or more is wanted", lambda: d.trajectory([np.ones(2)])),
    (TypeError, "progress is 'yes'", lambda: d.plane(lambda x: 0.0, np.ones((2, 2)), progress="yes")),
]  # fmt: skip


@pytest.mark.parametrize("kind, words, call", BAD, ids=[row[1] for row in BAD])
def test_bad_input_is_one_clear_error(kind, words, call):
    with pytest.raises(kind, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ask", [
    lambda f, x: d.curvature(f, x), lambda f, x: d.extreme_eigenvalues(f, x), lambda f, x: d.conditioning(f, x),
    lambda f, x: d.critical_point(f, x), lambda f, x: d.escape(f, x), lambda f, x: d.straight_line(f, x, np.zeros(5)),
    lambda f, x: d.plane(f, x, directions=np.eye(2, 5)), lambda f, x: d.check_gradients(f, x, method="differences"),
], ids=["curvature", "eigenvalues", "conditioning", "critical", "escape", "line", "plane", "check"])  # fmt: skip
def test_parameters_come_back_bit_for_bit_after_an_exception(ask):
    for stop in (0, 1, 2):
        x = np.array([0.1, -0.0, 1e-300, 3.0, -7.25])
        before = x.tobytes()
        calls = 0

        def fun(p, stop=stop):
            nonlocal calls
            calls += 1
            if calls > stop:
                raise KeyboardInterrupt
            return float(p @ p), 2 * p

        with pytest.raises(KeyboardInterrupt):
            ask(fun, x)
        assert x.tobytes() == before


def test_progress_is_told_to_the_end():
    told = []
    d.plane(
        lambda x: 0.0,
        np.ones((2, 2)),
        points=4,
        progress=lambda title, done, total, numbers: told.append((done, total)),
    )
    assert told[-1] == (16, 16)
    told.clear()
    d.extreme_eigenvalues(
        np.diag([1.0, 2.0, 3.0]), progress=lambda title, done, total, numbers: told.append(numbers)
    )
    assert told[-1]["high"] == pytest.approx(3.0)


def test_importing_diagnostics_loads_neither_scipy_sparse_nor_matplotlib():
    code = (
        "import sys, fastopt.diagnostics as d, numpy as np\n"
        "d.curvature(lambda x: (float(x @ x), 2 * x), np.ones(3))\n"
        "bad = [m for m in ('scipy.sparse', 'scipy.linalg', 'matplotlib', 'rich') if m in sys.modules]\n"
        "assert not bad, bad"
    )
    before = subprocess.run(
        [sys.executable, "-c", "import sys, fastopt; print('scipy.sparse' in sys.modules)"],
        capture_output=True,
        text=True,
    )
    if before.stdout.strip() == "False":
        subprocess.run([sys.executable, "-c", code], check=True)
