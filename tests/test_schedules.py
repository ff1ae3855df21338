"""Schedules against torch, optax, closed formulas, and the properties every schedule must have."""

from __future__ import annotations

import copy
import doctest
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastopt import schedules as fs

FAR = 2**40


def outside(t):
    """A schedule of a user's own."""
    return 1.0 / t


# One row a schedule: the object and a step after which it is constant, None where there is none.
ROWS = {
    "constant": (fs.constant(0.3), 1),
    "linear": (fs.linear(0.1, steps=37), 37),
    "linear up": (fs.linear(0.0, 0.9, 37), 37),
    "step": (fs.step(0.1, 10, 0.3), None),
    "multistep": (fs.multistep(0.1, [3, 8, 20]), 21),
    "piecewise": (fs.piecewise([0.1, 0.5, 0.0], [4, 9]), 10),
    "exponential": (fs.exponential(0.1, 0.9, every=3), None),
    "inverse_time": (fs.inverse_time(0.1, 2.0, every=5, power=0.6), None),
    "polynomial": (fs.polynomial(0.1, 0.01, 40, power=1.7), 41),
    "cosine": (fs.cosine(0.1, 40, end=0.003), 41),
    "warmup": (fs.warmup(fs.exponential(0.1, 0.9), 12, start_factor=0.1), None),
    "warmup_cosine": (fs.warmup_cosine(1e-3, warmup=10, total=50), 50),
    "one_cycle": (fs.one_cycle(0.1, 60), 60),
    "one_cycle three": (fs.one_cycle(0.1, 60, three_phase=True, anneal="linear"), 60),
    "wsd": (fs.warmup_stable_decay(0.1, 5, 20, 10, end=0.01, shape="sqrt"), 35),
    "cosine_restarts": (fs.cosine_restarts(0.1, 7, factor=3, end=0.001), None),
    "sawtooth": (fs.sawtooth(0.5, 0.05, 7), None),
    "join": (fs.join([0.1, outside, fs.cosine(0.2, 9)], [5, 11]), 21),
    "scale": (fs.scale(fs.linear(0.1, steps=30), 2.5), 30),
    "chain": (fs.chain(fs.warmup(1.0, 5), fs.cosine(0.1, 40)), 41),
    "plateau": (fs.Plateau(0.1), 1),
}
rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())


# ---- what all of them promise


def test_every_schedule_has_a_row():
    kinds = {type(s).__name__ for s, _ in ROWS.values()} | {"warmup_cosine"}
    assert kinds == set(fs.__all__) - {"Schedule", "ScheduleLike", "plot"}


@rows
def test_finite_and_not_negative_to_the_end_of_time(row):
    steps = [*range(1, 200), *(2**i + d for i in range(8, 41) for d in (-1, 0, 1)), FAR]
    values = [row[0](t) for t in steps]
    assert all(isinstance(v, float) and math.isfinite(v) and v >= 0 for v in values)


@rows
def test_constant_after_its_last_step(row):
    schedule, last = row
    if last is None:
        assert schedule(10**9) != schedule(5)
    else:
        assert {schedule(t) for t in (last, last + 1, last + 100, FAR)} == {schedule(last)}
        assert last == 1 or schedule(last - 1) != schedule(last)


@rows
def test_pickle_copy_equality_and_repr(row):
    schedule = row[0]
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule), copy.copy(schedule)):
        assert twin == schedule
        assert repr(twin) == repr(schedule)
        assert [twin(t) for t in range(1, 80)] == [schedule(t) for t in range(1, 80)]
    if type(schedule) not in (fs.Plateau, fs.join):
        assert eval(repr(schedule), vars(fs).copy()) == schedule
        assert hash(twin) == hash(schedule)
    assert schedule != fs.constant(0.77)


@rows
@pytest.mark.parametrize("t", [0, -1])
def test_steps_below_one_are_refused(row, t):
    with pytest.raises(ValueError, match=r"t is .* steps count from 1"):
        row[0](t)


@rows
def test_fields_cannot_be_changed_under_a_running_optimizer(row):
    if not isinstance(row[0], fs.Plateau):
        with pytest.raises(AttributeError):
            row[0].value = 1.0


def test_pickles_name_the_public_module():
    assert b"fastopt.schedules._" not in pickle.dumps([s for s, _ in ROWS.values()], protocol=0)


def test_numpy_scalars_become_plain_numbers():
    assert repr(fs.cosine(np.float32(0.5), np.int64(10))) == "cosine(start=0.5, steps=10, end=0.0)"


def test_docstring_examples():
    result = doctest.testmod(fs)
    assert result.failed == 0
    assert result.attempted > 30


def test_sawtooth_is_the_rate_of_stochastic_weight_averaging():
    """alpha(i) = (1 - t(i)) a1 + t(i) a2, t(i) = (mod(i - 1, c) + 1) / c: Izmailov et al. 2018, section 3.1."""
    lr = fs.sawtooth(0.05, 0.01, 6)
    part = [((i - 1) % 6 + 1) / 6 for i in range(1, 30)]
    np.testing.assert_allclose(
        [lr(i) for i in range(1, 30)], [(1 - s) * 0.05 + s * 0.01 for s in part], rtol=1e-14
    )
    assert lr(6) == lr(12) == 0.01
    assert fs.sawtooth(0.3, 0.2, 1)(5) == 0.2


# ---- against torch and optax; their count starts at 0, so theirs at k is ours at k + 1


def torch_values(make, steps, lr):
    torch = pytest.importorskip("torch", reason="torch gives the reference values")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


TORCH = {
    "step": (fs.step(0.1, 7, 0.3), lambda m, o: m.StepLR(o, 7, 0.3), 50, 0),
    "multistep": (fs.multistep(0.1, [3, 8]), lambda m, o: m.MultiStepLR(o, [3, 8]), 20, 0),
    "exponential": (fs.exponential(0.1, 0.9), lambda m, o: m.ExponentialLR(o, 0.9), 50, 0),
    "polynomial": (
        fs.polynomial(0.1, 0.0, 40, 1.7),
        lambda m, o: m.PolynomialLR(o, total_iters=40, power=1.7),
        60,
        0,
    ),
    "cosine": (fs.cosine(0.1, 40, 0.003), lambda m, o: m.CosineAnnealingLR(o, 40, 0.003), 41, 0),
    "linear, from its first step": (
        fs.linear(0.1, 0.02, 30),
        lambda m, o: m.LinearLR(o, 1.0, 0.2, total_iters=30),
        50,
        1,
    ),
    "warm-up, from its first step": (
        fs.warmup(0.1, 20, 0.25),
        lambda m, o: m.LinearLR(o, 0.25, 1.0, total_iters=20),
        40,
        1,
    ),
    "restarts, equal": (
        fs.cosine_restarts(0.1, 9, end=0.001),
        lambda m, o: m.CosineAnnealingWarmRestarts(o, 9, 1, 0.001),
        60,
        0,
    ),
    "restarts, growing": (
        fs.cosine_restarts(0.1, 5, 3, 0.001),
        lambda m, o: m.CosineAnnealingWarmRestarts(o, 5, 3, 0.001),
        300,
        0,
    ),
    "one cycle": (fs.one_cycle(0.1, 50), lambda m, o: m.OneCycleLR(o, 0.1, 50), 49, 0),
    "one cycle, linear": (
        fs.one_cycle(0.1, 33, pct_start=0.41, anneal="linear", div_factor=10, final_div_factor=50),
        lambda m, o: m.OneCycleLR(o, 0.1, 33, None, None, 0.41, "linear", False, 0.85, 0.95, 10, 50),
        32,
        0,
    ),
    "one cycle, three phases": (
        fs.one_cycle(0.1, 47, pct_start=0.37, three_phase=True),
        lambda m, o: m.OneCycleLR(o, 0.1, 47, pct_start=0.37, three_phase=True, cycle_momentum=False),
        46,
        0,
    ),
    "join": (
        fs.join([fs.exponential(0.1, 0.5), fs.step(0.1, 4, 0.9)], [6]),
        lambda m, o: m.SequentialLR(o, [m.ExponentialLR(o, 0.5), m.StepLR(o, 4, 0.9)], [6]),
        30,
        0,
    ),
    "chain": (
        fs.chain(fs.exponential(0.1, 0.95), fs.step(1.0, 4, 0.9)),
        lambda m, o: m.ChainedScheduler([m.ExponentialLR(o, 0.95), m.StepLR(o, 4, 0.9)]),
        30,
        0,
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # SequentialLR calls its own parts in a deprecated way
@pytest.mark.parametrize("name", TORCH)
def test_values_of_torch(name):
    ours, make, steps, skip = TORCH[name]
    theirs = torch_values(make, steps, 0.1)
    # torch multiplies from step to step, which gathers an error of some ulp a step.
    np.testing.assert_allclose(
        [ours(t) for t in range(1, steps + 1 - skip)], theirs[skip:], rtol=1e-12, atol=1e-17
    )


def test_values_of_optax():
    optax = pytest.importorskip("optax", reason="optax gives the reference values")
    pairs = [
        (
            fs.warmup_cosine(0.1, warmup=10, total=60, end=0.01),
            optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 60, 0.01),
            0,
        ),
        (fs.inverse_time(0.1, 0.5), lambda k: 0.1 / (1 + 0.5 * k), 1),
        (fs.exponential(0.1, 0.3, every=20), optax.exponential_decay(0.1, 20, 0.3), 1),
        (
            fs.piecewise([1.0, 0.5, 0.125], [4, 9]),
            optax.piecewise_constant_schedule(1.0, {4: 0.5, 9: 0.25}),
            1,
        ),
    ]
    for ours, theirs, shift in pairs:  # optax computes in float32
        for t in range(1, 80):
            assert ours(t) == pytest.approx(float(theirs(t - shift)), rel=3e-6, abs=1e-8)


# ---- closed formulas


def test_the_books_linear_decay():
    e0, tau = 0.1, 40
    lr = fs.linear(e0, steps=tau)
    for k in range(1, 100):
        a = min(k / tau, 1.0)
        assert lr(k) == pytest.approx((1 - a) * e0 + a * 0.01 * e0, rel=1e-15)
    assert lr(tau) == 0.01 * e0


def test_linear_is_polynomial_of_power_one_a_step_later():
    a, b = fs.linear(0.3, 0.2, 31), fs.polynomial(0.3, 0.2, 31)
    assert [a(t) for t in range(1, 60)] == [b(t + 1) for t in range(1, 60)]


def test_warmup_cosine_as_written_in_the_readme():
    lr = fs.warmup_cosine(1e-3, warmup=100, total=5000)
    for t in range(1, 6000, 7):
        cos = 0.5 * (1 + math.cos(math.pi * min((t - 100) / 4900, 1.0)))
        assert lr(t) == pytest.approx(1e-3 * (t / 100 if t < 100 else cos), rel=1e-9, abs=1e-18)
    assert lr(100) == 1e-3
    assert lr(5000) == 0.0


@pytest.mark.parametrize("warmup", [0, 1])
def test_no_warmup_starts_at_the_peak(warmup):
    lr = fs.warmup_cosine(0.5, warmup=warmup, total=10)
    assert lr(1) == 0.5
    assert 0 < lr(9) < lr(2) < 0.5
    assert lr(10) == 0.0
    assert fs.warmup(outside, warmup)(7) == outside(7)


def test_the_transformers_schedule():
    w = 17
    lr = fs.warmup(fs.inverse_time(0.2, 1, every=w, power=0.5), w)
    for t in range(1, 500):
        assert lr(t) == pytest.approx(0.2 * min(t / w, math.sqrt(w / t)), rel=1e-14)


@pytest.mark.parametrize(
    ("shape", "h"),
    [
        ("linear", lambda a: 1 - a),
        ("cosine", lambda a: (1 + math.cos(math.pi * a)) / 2),
        ("sqrt", lambda a: 1 - math.sqrt(a)),
    ],
)
def test_warmup_stable_decay(shape, h):
    lr = fs.warmup_stable_decay(0.5, 10, 20, 30, end=0.1, shape=shape)
    for t in range(1, 100):
        a = min(max((t - 30) / 30, 0.0), 1.0)
        want = 0.5 * t / 10 if t < 10 else 0.1 + 0.4 * h(a)
        assert lr(t) == pytest.approx(want, rel=1e-14)


def test_restarts_fall_on_the_exact_step_however_late():
    lr = fs.cosine_restarts(1.0, 3, factor=10)
    start = 0
    for i in range(12):
        assert lr(start + 1) == 1.0
        n = 3 * 10**i
        start += n
        assert lr(start) == pytest.approx(math.sin(0.5 * math.pi / n) ** 2, rel=1e-14)


def test_schedules_that_are_joined_count_from_one():
    seen = []
    lr = fs.join([0.5, lambda t: seen.append(t) or float(t)], [3])
    assert [lr(t) for t in range(1, 7)] == [0.5, 0.5, 0.5, 1.0, 2.0, 3.0]
    assert seen == [1, 2, 3]


def test_scale_and_chain_are_products():
    a, b = fs.cosine(0.3, 20), fs.step(0.7, 3)
    for t in range(1, 30):
        assert fs.scale(a, 3)(t) == 3 * a(t)
        assert fs.chain(a, b, 2.0)(t) == a(t) * b(t) * 2.0


@pytest.mark.parametrize(
    ("pct_start", "three_phase"),
    [(p, three) for three in (False, True) for p in (0.0, 0.005, 0.01, 0.5, 1.0) if p <= 0.5 or not three],
)
@pytest.mark.parametrize("total", [1, 2, 100])
def test_one_cycle_at_the_edges(pct_start, total, three_phase):
    lr = fs.one_cycle(1.0, total, pct_start=pct_start, three_phase=three_phase)
    values = [lr(t) for t in range(1, total + 3)]
    assert all(0 < v <= 1 for v in values)
    assert values[-1] == values[-2] == values[total - 1]


# ---- properties

values = st.floats(0.0, 1e6)
lengths = st.integers(1, 10**6)


@given(values, values, lengths, st.integers(1, 2 * 10**6), st.floats(0.1, 5.0))
def test_ramps_stay_between_their_ends_and_are_monotone(start, end, steps, t, power):
    low, high = min(start, end), max(start, end)
    ulp = 4 * np.spacing(high)
    ramps = [
        fs.linear(start, end, steps),
        fs.polynomial(start, end, steps, power),
        fs.cosine(start, steps, end),
        *(fs.warmup_stable_decay(start, 0, 0, steps, end, shape) for shape in ("linear", "cosine", "sqrt")),
    ]
    for ramp in ramps:
        now, after = ramp(t), ramp(t + 1)
        assert low - ulp <= now <= high + ulp
        assert now >= 0
        assert (now - after) * (1 if start >= end else -1) >= -ulp
    assert ramps[1](1) == ramps[2](1) == start
    assert {ramp(steps + 1) for ramp in ramps} == {end}


@given(st.floats(1e-6, 1e6), st.integers(2, 10**6), st.integers(1, 10**6), values)
def test_smooth_schedules_do_not_jump(peak, total, t, end):
    """Between two steps at most the steepest slope of the formula, pi / 2 of the range per length."""
    warmup = total // 3
    fall, rise = max(total - max(warmup, 1), 1), max(warmup, 1)
    slope = max(peak, end) * (math.pi / 2) / min(fall, rise) + 1e-9 * max(peak, end)
    lr = fs.warmup_cosine(peak, warmup, total, end)
    assert abs(lr(t + 1) - lr(t)) <= slope
    assert lr(max(warmup, 1)) == peak
    assert lr(total) == end


@given(values, st.floats(1e-6, 1.0), lengths, st.integers(1, FAR), st.integers(1, FAR))
def test_endless_decays_never_rise(value, rate, every, t, later):
    for lr in (
        fs.exponential(value, rate, every),
        fs.inverse_time(value, rate, every),
        fs.step(value, every, rate),
    ):
        assert 0 <= lr(t + later) <= lr(t) <= lr(1) == value


@given(st.lists(st.integers(1, 50), unique=True, max_size=6).map(sorted), st.integers(1, 60))
def test_piecewise_is_a_count_of_boundaries(boundaries, t):
    passed = sum(b < t for b in boundaries)
    assert fs.piecewise(range(len(boundaries) + 1), boundaries)(t) == passed
    assert fs.multistep(1.0, boundaries, 0.5)(t) == 0.5**passed
    assert fs.join(range(len(boundaries) + 1), boundaries)(t) == passed


# ---- the metric


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize(("patience", "cooldown"), [(0, 0), (2, 0), (1, 3), (5, 2)])
def test_plateau_follows_torch(mode, threshold_mode, patience, cooldown):
    torch = pytest.importorskip("torch", reason="torch gives the reference values")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    fields = {"factor": 0.5, "patience": patience, "threshold": 1e-2, "threshold_mode": threshold_mode}
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, cooldown=cooldown, min_lr=1e-3, eps=0.0, **fields
    )
    ours = fs.Plateau(1.0, cooldown=cooldown, min_value=1e-3, mode=mode, **fields)
    rng = np.random.default_rng(3)
    metrics = 2 + np.cumsum(rng.normal(-0.005, 0.05, 200)) * 0.3  # positive: there the rules are the same
    metrics[20:23] = np.nan
    assert metrics[23:].min() > 0
    drops = 0
    for metric in metrics:
        theirs.step(metric)
        before = ours(1)
        assert ours.update(metric) == optimizer.param_groups[0]["lr"] == ours(7)
        drops += ours(1) < before
    assert drops >= 3


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_takes_no_comfort_from_a_metric_that_is_not_finite(bad, mode):
    lr = fs.Plateau(1.0, factor=0.5, patience=1, mode=mode)
    lr.update(3.0)
    assert [lr.update(bad) for _ in range(4)] == [1.0, 0.5, 0.5, 0.25]
    assert lr.best == 3.0


def test_a_relative_threshold_asks_as_much_of_negative_metrics():
    lr = fs.Plateau(1.0, patience=0, factor=0.5, threshold=0.1)
    lr.update(-10.0)
    assert lr.update(-10.5) == 0.5  # torch would take even -9.5 for an improvement
    assert lr.update(-11.1) == 0.5
    assert lr.best == -11.1


def test_plateau_resumes():
    rng = np.random.default_rng(0)
    metrics = rng.normal(size=60)
    whole, first, second = (fs.Plateau(1.0, 0.7, patience=2, cooldown=2) for _ in range(3))
    expected = [whole.update(m) for m in metrics]
    got = [first.update(m) for m in metrics[:23]]
    second.load_state_dict(first.state_dict())
    assert second == first
    assert got + [second.update(m) for m in metrics[23:]] == expected


def test_plateau_keeps_its_state_when_a_load_or_update_is_refused():
    lr = fs.Plateau(1.0)
    lr.update(2.0)
    before = lr.state_dict()
    for state in (
        {},
        {**before, "more": 1},
        {**before, "current": math.nan},
        {**before, "best": "2"},
        {**before, "bad": -1},
        {**before, "waiting": 0.5},
        [1],
    ):
        with pytest.raises((TypeError, ValueError), match="Plateau: state"):
            lr.load_state_dict(state)
        assert lr.state_dict() == before
    with pytest.raises(TypeError, match="metric is 'low'"):
        lr.update("low")
    assert lr.state_dict() == before


def test_warmup_of_a_plateau_follows_it():
    plateau = fs.Plateau(1.0, factor=0.5, patience=0)
    lr = fs.warmup(plateau, 4)
    plateau.update(1.0)
    plateau.update(1.0)
    assert [lr(2), lr(4), lr(9)] == [0.25, 0.5, 0.5]


# ---- arguments that are refused, with the words the message must hold

BAD = [
    (lambda: fs.constant(-0.1), ValueError, "constant: value is -0.1; a finite number >= 0"),
    (lambda: fs.constant(math.nan), ValueError, "constant: value is nan"),
    (lambda: fs.constant(math.inf), ValueError, "constant: value is inf"),
    (lambda: fs.constant("0.1"), TypeError, "constant: value is '0.1'"),
    (lambda: fs.constant(True), TypeError, "constant: value is True"),
    (lambda: fs.constant(None), TypeError, "constant: value is None"),
    (lambda: fs.constant(1j), TypeError, "constant: value is 1j"),
    (lambda: fs.linear(0.1), ValueError, "linear: steps is 0; an integer >= 1"),
    (lambda: fs.linear(0.1, steps=1e3), TypeError, r"linear: steps is 1000.0 \(float\); an integer >= 1"),
    (lambda: fs.linear(0.1, math.nan, 10), ValueError, "linear: end is nan"),
    (lambda: fs.step(0.1, 0), ValueError, "step: every is 0"),
    (lambda: fs.step(0.1, 10, 0.0), ValueError, r"step: factor is 0.0; a number in \(0, 1\]"),
    (lambda: fs.multistep(0.1, [5, 5]), ValueError, r"multistep: milestones\[1\] is 5, after 5"),
    (lambda: fs.multistep(0.1, 5), TypeError, "multistep: milestones is 5; a sequence"),
    (lambda: fs.multistep(0.1, [0]), ValueError, r"multistep: milestones\[0\] is 0"),
    (lambda: fs.piecewise([0.1], [3]), ValueError, "piecewise: 1 values and 1 boundaries"),
    (lambda: fs.piecewise([0.1, math.nan], [3]), ValueError, r"piecewise: values\[1\] is nan"),
    (lambda: fs.piecewise("ab", [3]), TypeError, "piecewise: values is 'ab'"),
    (lambda: fs.exponential(0.1, 1.1), ValueError, r"exponential: rate is 1.1; a number in \(0, 1\]"),
    (lambda: fs.exponential(0.1, 0.9, 0), ValueError, "exponential: every is 0"),
    (lambda: fs.inverse_time(0.1, -1), ValueError, "inverse_time: rate is -1.0"),
    (lambda: fs.inverse_time(0.1, 1, power=2), ValueError, "inverse_time: power is 2.0"),
    (lambda: fs.polynomial(0.1, 0, 10, 0), ValueError, "polynomial: power is 0.0; a finite number > 0"),
    (lambda: fs.cosine(0.1, -5), ValueError, "cosine: steps is -5"),
    (lambda: fs.cosine(0.1, 5, -1), ValueError, "cosine: end is -1.0"),
    (lambda: fs.warmup(0.1, -1), ValueError, "warmup: steps is -1; an integer >= 0"),
    (lambda: fs.warmup(0.1, 5, 1.5), ValueError, r"warmup: start_factor is 1.5; a number in \[0, 1\]"),
    (lambda: fs.warmup(fs.cosine, 5), TypeError, "warmup: schedule is the class cosine"),
    (lambda: fs.warmup("cosine", 5), TypeError, "warmup: schedule is 'cosine'; a number or a function"),
    (lambda: fs.warmup_cosine(1e-3, 50, 50), ValueError, "warmup is 50 and total 50; warmup < total"),
    (lambda: fs.warmup_cosine(1e-3, 0.1, 50), TypeError, "warmup_cosine: warmup is 0.1"),
    (lambda: fs.warmup_cosine(math.nan, 5, 50), ValueError, "warmup_cosine: peak is nan"),
    (lambda: fs.warmup_cosine(1e-3, 5, 50, -1), ValueError, "warmup_cosine: end is -1.0"),
    (lambda: fs.one_cycle(0.1, 10, pct_start=1.5), ValueError, "one_cycle: pct_start is 1.5"),
    (lambda: fs.one_cycle(0.1, 10, 0.6, three_phase=True), ValueError, r"pct_start is 0.6; .*\[0, 0.5\]"),
    (lambda: fs.one_cycle(0.1, 10, anneal="sin"), ValueError, "anneal is 'sin'; one of 'cos', 'linear'"),
    (lambda: fs.one_cycle(0.1, 10, div_factor=0), ValueError, "one_cycle: div_factor is 0.0"),
    (lambda: fs.one_cycle(0.1, 10, three_phase=1), TypeError, "one_cycle: three_phase is 1"),
    (lambda: fs.warmup_stable_decay(1, 1, 1, 0), ValueError, "warmup_stable_decay: decay is 0"),
    (lambda: fs.warmup_stable_decay(1, 1, 1, 1, shape=3), TypeError, "shape is 3; one of 'linear'"),
    (lambda: fs.sawtooth(-0.1, 0.0, 5), ValueError, "sawtooth: high is -0.1"),
    (lambda: fs.sawtooth(0.1, math.nan, 5), ValueError, "sawtooth: low is nan"),
    (lambda: fs.sawtooth(0.1, 0.0, 0), ValueError, "sawtooth: period is 0"),
    (lambda: fs.cosine_restarts(0.1, 5, 0), ValueError, "cosine_restarts: factor is 0"),
    (lambda: fs.cosine_restarts(0.1, 5, 1.5), TypeError, "cosine_restarts: factor is 1.5"),
    (lambda: fs.join([0.1, 0.2], []), ValueError, "join: 2 schedules and 0 boundaries"),
    (lambda: fs.join([0.1, None], [3]), TypeError, r"join: schedules\[1\] is None"),
    (lambda: fs.join(0.1, [3]), TypeError, "join: schedules is 0.1; a sequence"),
    (lambda: fs.scale(0.1, math.nan), ValueError, "scale: factor is nan"),
    (lambda: fs.chain(), TypeError, "chain: no schedule came"),
    (lambda: fs.chain(0.1, "x"), TypeError, r"chain: schedules\[1\] is 'x'"),
    (lambda: fs.Plateau(0.1, 1.0), ValueError, r"Plateau: factor is 1.0; a number in \(0, 1\)"),
    (lambda: fs.Plateau(0.1, patience=-1), ValueError, "Plateau: patience is -1"),
    (lambda: fs.Plateau(0.1, min_value=0.2), ValueError, "Plateau: min_value is 0.2"),
    (lambda: fs.Plateau(0.1, mode="low"), ValueError, "Plateau: mode is 'low'"),
    (lambda: fs.plot(steps=10), TypeError, "plot: no schedule came"),
    (lambda: fs.plot(0.1, steps=0), ValueError, "plot: steps is 0"),
    (lambda: fs.plot(0.1, steps=9, labels=["a", "b"]), ValueError, "plot: 2 labels and 1 schedules"),
]


@pytest.mark.parametrize(("call", "kind", "words"), BAD)
def test_bad_arguments_are_named(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


# ---- the picture


def test_plot_writes_a_picture(tmp_path):
    matplotlib = pytest.importorskip("matplotlib", reason="the extra cli brings matplotlib")
    path = tmp_path / "lr.png"
    ax = fs.plot(fs.cosine(0.1, 50), 0.05, outside, steps=60, labels=["a", "b", "c"], path=path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [line.get_label() for line in ax.lines] == ["a", "b", "c"]
    assert list(ax.lines[0].get_ydata()[:3]) == [fs.cosine(0.1, 50)(t) for t in (1, 2, 3)]
    assert len(ax.lines[0].get_xdata()) == 60
    again = matplotlib.figure.Figure().add_subplot()
    assert fs.plot(0.1, steps=1, ax=again) is again
    assert len(fs.plot(0.1, steps=FAR, ax=again).lines[-1].get_xdata()) == 4000


def test_matplotlib_comes_only_with_the_picture_and_its_absence_is_told():
    code = (
        "import sys; from fastopt import schedules as s; assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib'] = sys.modules['matplotlib.figure'] = None\n"
        "try: s.plot(0.1, steps=5, path='never.png')\n"
        "except ImportError as e: assert 'fastopt[cli]' in str(e)\n"
        "else: raise SystemExit('no error')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
