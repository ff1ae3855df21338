"""The coefficients of the averages against weighted sums by brute force and against exact decimals."""

from __future__ import annotations

import copy
import doctest
import math
import pickle
from decimal import Decimal, localcontext

import numpy as np
import pytest

from fastopt import averaging
from fastopt.averaging import EMA, Average, Every, Mean, Polynomial, Tail

ALL = [
    Mean(), Mean(3), EMA(), EMA(0.9), EMA(0.9, debias=False), EMA(0.0),
    Tail(20), Tail(100, 0.1), Polynomial(), Polynomial(0), Polynomial(0.5),
]  # fmt: skip
EVERY = [Every(1), Every(4), Every(3, start=7)]


def run(average, points, first):
    """The recursion as an optimizer does it."""
    avg = first.copy() if average.starts_at_parameters else np.zeros_like(first)
    out = []
    for t, p in enumerate(points, 1):
        avg += average.weight(t) * (p - avg)
        out.append(avg.copy())
    return np.array(out)


@pytest.fixture
def points():
    return np.random.default_rng(1).normal(size=(300, 5)) + 10.0


@pytest.mark.parametrize("start", [0, 1, 17])
def test_mean_weighs_all_steps_after_start_alike(points, start):
    got = run(Mean(start), points, np.full(5, 1e3))
    want = [points[start:t].mean(0) if t > start else points[t - 1] for t in range(1, 301)]
    np.testing.assert_allclose(got, want, rtol=1e-13)


@pytest.mark.parametrize("d", [0.0, 0.5, 0.9, 0.999, 0.999999])
def test_debiased_ema_is_the_weighted_sum(points, d):
    got = run(EMA(d), points, np.full(5, 1e3))
    for t in (1, 2, 3, 10, 300):
        w = np.float64(d) ** np.arange(t - 1, -1, -1)
        np.testing.assert_allclose(got[t - 1], w @ points[:t] / w.sum(), rtol=1e-12)


@pytest.mark.parametrize("d", [0.0, 0.5, 0.999])
def test_plain_ema_keeps_the_initial_parameters(points, d):
    first = np.full(5, 1e3)
    got = run(EMA(d, debias=False), points, first)
    for t in (1, 2, 50, 300):
        w = (1 - d) * np.float64(d) ** np.arange(t - 1, -1, -1)
        np.testing.assert_allclose(got[t - 1], d**t * first + w @ points[:t], rtol=1e-12)


@pytest.mark.parametrize("d", [1e-300, 0.1, 0.9, 0.999, 0.999999, 1 - 1e-12, 1 - 2**-53])
@pytest.mark.parametrize("t", [1, 2, 3, 1000, 10**6, 10**9])
def test_debiasing_is_accurate_to_some_ulp(d, t):
    with localcontext() as context:
        context.prec = 60
        want = (1 - Decimal(d)) / (1 - Decimal(d) ** t)
        error = abs(Decimal(EMA(d).weight(t)) / want - 1)
    assert error < 8 * Decimal(2) ** -53


@pytest.mark.parametrize("average", ALL)
def test_coefficients_are_weights(average):
    steps = [*range(1, 100), 10**6, 10**9, 2**40]
    weights = [average.weight(t) for t in steps]
    assert all(0 < w <= 1 for w in weights)
    assert weights == sorted(weights, reverse=True)
    assert average.starts_at_parameters or weights[0] == 1.0
    assert isinstance(average, Average)


@pytest.mark.parametrize("average", EVERY)
def test_periodic_coefficients_are_weights_or_nothing(average):
    weights = {t: average.weight(t) for t in [*range(1, 100), 10**9, 2**40]}
    collected = [t for t in weights if t > average.start and (t - average.start) % average.period == 0]
    first = collected[0]
    assert all(w == 1.0 for t, w in weights.items() if t <= first)
    assert all(weights[t] == 1.0 / ((t - average.start) // average.period) for t in collected)
    assert all(weights[t] == 0.0 for t in weights if t > first and t not in collected)
    assert isinstance(average, Average)


@pytest.mark.parametrize(("period", "start"), [(1, 0), (5, 0), (7, 100)])
def test_every_is_the_mean_of_what_it_collects(points, period, start):
    got = run(Every(period, start), points, np.full(5, 1e3))
    for t in (1, start + period - 1, start + period, start + 3 * period + period // 2, 300):
        if t:
            taken = points[start + period - 1 : t : period]
            np.testing.assert_allclose(got[t - 1], taken.mean(0) if len(taken) else points[t - 1], rtol=1e-13)


@pytest.mark.parametrize(("fraction", "count"), [(1.0, 300), (0.5, 150), (0.1, 30), (0.001, 1), (0.7, 210)])
def test_tail_is_the_mean_of_the_last(points, fraction, count):
    got = run(Tail(300, fraction), points, np.full(5, 1e3))
    np.testing.assert_allclose(got[-1], points[-count:].mean(0), rtol=1e-13)
    np.testing.assert_array_equal(got[0], points[0])


@pytest.mark.parametrize("eta", [0, 1, 3])
def test_polynomial_weighs_by_rising_products(points, eta):
    got = run(Polynomial(eta), points, np.full(5, 1e3))
    for t in (1, 2, 10, 300):
        w = np.array([math.prod(range(i, i + eta)) for i in range(1, t + 1)], float)
        np.testing.assert_allclose(got[t - 1], w @ points[:t] / w.sum(), rtol=1e-12)


@pytest.mark.parametrize("average", [*ALL, *EVERY])
def test_pickle_copy_and_repr(average):
    assert pickle.loads(pickle.dumps(average)) == copy.deepcopy(average) == eval(repr(average)) == average
    assert hash(copy.copy(average)) == hash(average)
    with pytest.raises(AttributeError):
        setattr(average, next(iter(vars(average))), 0.5)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: Mean(-1), ValueError, "Mean: start is -1; an integer >= 0"),
        (lambda: Mean(1.0), TypeError, "Mean: start is 1.0"),
        (lambda: Mean(True), TypeError, "Mean: start is True"),
        (lambda: EMA(1.0), ValueError, r"EMA: decay is 1.0; a number in \[0, 1\)"),
        (lambda: EMA(-0.1), ValueError, "EMA: decay is -0.1"),
        (lambda: EMA(math.nan), ValueError, "EMA: decay is nan"),
        (lambda: EMA("0.9"), TypeError, "EMA: decay is '0.9'"),
        (lambda: EMA(0.9, debias=1), TypeError, "EMA: debias is 1; True or False"),
        (lambda: Tail(0), ValueError, "Tail: total is 0"),
        (lambda: Tail(10.0), TypeError, "Tail: total is 10.0"),
        (lambda: Tail(10, 0.0), ValueError, r"Tail: fraction is 0.0; a number in \(0, 1\]"),
        (lambda: Tail(10, 1.1), ValueError, "Tail: fraction is 1.1"),
        (lambda: Tail(10).weight(0), ValueError, "Tail: t is 0"),
        (lambda: Every(0), ValueError, "Every: period is 0"),
        (lambda: Every(2, -1), ValueError, "Every: start is -1"),
        (lambda: Every(2).weight(0), ValueError, "Every: t is 0"),
        (lambda: Polynomial(-1), ValueError, "Polynomial: eta is -1"),
        (lambda: Polynomial(math.inf), ValueError, "Polynomial: eta is inf"),
        (lambda: Polynomial().weight(0), ValueError, "Polynomial: t is 0"),
        (lambda: EMA(0.9).weight(0), ValueError, "EMA: t is 0; steps count from 1"),
        (lambda: Mean().weight(-3), ValueError, "Mean: t is -3"),
    ],
)
def test_bad_arguments_are_named(call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_docstring_examples():
    result = doctest.testmod(averaging)
    assert result.failed == 0
    assert result.attempted == 6
