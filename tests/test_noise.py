"""Statistics of inexact gradients: formulas on made data whose covariance and mean are known."""

from __future__ import annotations

import doctest
import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastopt as fo
from fastopt.diagnostics import (
    GradientMoments,
    NoiseEstimate,
    NoiseScale,
    disagreement,
    noise,
    noise_from_batches,
    noise_from_norms,
    standard_error,
)

DIM = 5
MEAN = np.array([0.5, -1.0, 0.0, 0.25, 0.75])
MIX = np.random.default_rng(3).standard_normal((DIM, DIM))
TRACE = float((MIX @ MIX.T).trace())
SQUARED = float(MEAN @ MEAN)


def test_doctests():
    assert doctest.testmod(noise).failed == 0


def as_tree(g):
    return {"w": g[:4].reshape(2, 2), "b": [g[4:]]}


def examples(rng, n):
    """Gradients of single examples: mean and covariance known, not normal."""
    return MEAN + (rng.exponential(size=(n, DIM)) - 1) @ MIX.T


@pytest.mark.parametrize("sizes", [(4, 4, 4), (1, 3, 10, 2)])
def test_moments_are_the_two_pass_sums(sizes):
    rng = np.random.default_rng(1)
    grads = rng.standard_normal((len(sizes), DIM)) + 1e8  # where a difference of large sums has no digit left
    moments = GradientMoments(as_tree(np.zeros(DIM)))
    for g, size in zip(grads, sizes, strict=True):
        moments.update(as_tree(g), size)
    B = np.array(sizes)[:, None]
    mean = (B * grads).sum(0) / B.sum()
    variance = (B * (grads - mean) ** 2).sum(0) / (len(sizes) - 1)
    flat = {name: fo.flatten(getattr(moments, name))[0] for name in ("mean", "variance", "standard_error")}
    np.testing.assert_allclose(flat["mean"], mean, rtol=1e-15)
    np.testing.assert_allclose(flat["variance"], variance, rtol=1e-6)
    np.testing.assert_allclose(flat["standard_error"], np.sqrt(variance / B.sum()), rtol=1e-6)
    assert moments.mean["b"][0].shape == (1,)
    assert (moments.count, moments.examples) == (len(sizes), sum(sizes))
    trace, squared = moments.noise()
    assert trace == pytest.approx(variance.sum(), rel=1e-6)
    assert squared == pytest.approx(float(mean @ mean) - variance.sum() / B.sum(), rel=1e-14)


def mean_of(estimates):
    """Mean of many estimates and its standard error, field by field."""
    x = np.array(estimates)
    return x.mean(0), x.std(0, ddof=1) / math.sqrt(len(x))


def assert_unbiased(estimates, wanted):
    mean, error = mean_of(estimates)
    assert (np.abs(mean - wanted) < 5 * error).all()
    # Sharp enough to see the usual slips: divisor k for k - 1, |mean|^2 not corrected.
    assert (error < 0.03 * np.abs(wanted)).all()


def test_estimate_from_batches_of_different_sizes_is_unbiased():
    sizes = (2, 5, 1, 8)
    rng = np.random.default_rng(2)
    found = [
        noise_from_batches([as_tree(examples(rng, s).mean(0)) for s in sizes], sizes) for _ in range(8000)
    ]
    assert_unbiased(found, [TRACE, SQUARED])


def test_estimate_from_two_sizes_is_unbiased():
    rng = np.random.default_rng(4)
    found = []
    for _ in range(8000):
        small, big = examples(rng, 4).mean(0), examples(rng, 32).mean(0)
        found.append(noise_from_norms(float(small @ small), float(big @ big), 4, 32))
    assert_unbiased(found, [TRACE, SQUARED])


def test_two_sizes_and_batches_agree_where_they_are_one_thing():
    """k equal batches; small: their mean squared length, big: all of them together."""
    rng = np.random.default_rng(5)
    grads = rng.standard_normal((6, DIM))
    whole = grads.mean(0)
    by_norms = noise_from_norms(float((grads**2).sum(1).mean()), float(whole @ whole), 3, 18)
    np.testing.assert_allclose(by_norms, noise_from_batches(list(grads), 3), rtol=1e-12)


def test_without_replacement_every_batch_of_a_population():
    """The mean over *all* ways to draw two batches is the population's figure exactly: no luck in it."""
    rows = np.random.default_rng(6).standard_normal((6, 2))
    G = rows.mean(0)
    trace = float(((rows - G) ** 2).sum() / 5)
    found, errors = [], []
    for first in itertools.combinations(range(6), 2):
        for second in itertools.combinations(sorted(set(range(6)) - set(first)), 2):
            moments = GradientMoments(G, population=6)
            moments.update(rows[list(first)].mean(0), 2)
            moments.update(rows[list(second)].mean(0), 2)
            found.append(moments.noise())
            errors.append([(moments.mean - G) ** 2, moments.standard_error**2])
    np.testing.assert_allclose(np.mean(found, 0), [trace, G @ G], rtol=1e-12)
    squares, told = np.mean(errors, 0)
    np.testing.assert_allclose(squares, told, rtol=1e-12)
    assert standard_error(3.0, 4, population=6) == pytest.approx(3 / 2 * math.sqrt(1 / 3))


def test_standard_error_is_the_spread_of_batch_means():
    rng = np.random.default_rng(7)
    for n in (4, 64):
        means = examples(rng, n * 5000).reshape(5000, n, DIM).mean(1)
        told = standard_error(np.sqrt((MIX**2).sum(1)), n)
        np.testing.assert_allclose(means.std(0, ddof=1), told, rtol=0.06)


def test_float32_gradients_are_summed_in_double():
    moments = GradientMoments(np.zeros(1, np.float32))
    for x in (1e4, 1e4 + 1 / 64):
        moments.update(np.array([x], np.float32))
    assert moments.variance[0] == (1 / 64) ** 2 / 2
    assert moments.mean.dtype == np.float64


@given(hnp.arrays(np.float64, (4, 3), elements=st.floats(-1e3, 1e3, width=32)), st.permutations(range(4)))
@settings(max_examples=50)
def test_order_of_batches_does_not_matter(grads, order):
    sizes = [1, 2, 3, 4]
    one = noise_from_batches(list(grads), sizes)
    two = noise_from_batches([grads[i] for i in order], [sizes[i] for i in order])
    np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9 * (1 + (grads**2).sum()))
    assert one.trace >= 0


@given(st.floats(0.0, 1e6), st.floats(0.1, 1e3), st.integers(1, 100), st.integers(1, 100))
def test_norms_of_exact_expectations_are_taken_apart_again(trace, squared, small, more):
    big = small + more
    found = noise_from_norms(squared + trace / small, squared + trace / big, small, big)
    scale = squared + trace
    assert found.trace == pytest.approx(trace, abs=1e-8 * scale * big)
    assert found.squared_norm == pytest.approx(squared, abs=1e-8 * scale * big)


def test_scale_of_an_estimate():
    assert NoiseEstimate(6.0, 2.0).scale == 3
    assert NoiseEstimate(6.0, -2.0).scale == math.inf
    assert NoiseEstimate(6.0, 0.0).scale == math.inf
    assert NoiseEstimate(-1.0, 2.0).scale == 0
    assert math.isnan(NoiseEstimate(0.0, 0.0).scale)


def test_running_scale_is_the_ratio_of_averages():
    rng = np.random.default_rng(8)
    estimates = rng.uniform(1, 2, (30, 2))
    running = NoiseScale(0.9)
    assert math.isnan(running.scale)
    for i, estimate in enumerate(estimates, 1):
        told = running.update(NoiseEstimate(*map(float, estimate)))
        weights = 0.9 ** np.arange(i)[::-1]
        trace, squared = weights @ estimates[:i] / weights.sum()
        assert told == running.scale == pytest.approx(trace / squared, rel=1e-12)
        np.testing.assert_allclose(running.estimate, [trace, squared], rtol=1e-12)


def test_running_scale_finds_the_true_one():
    rng = np.random.default_rng(9)
    running = NoiseScale(0.999)
    for _ in range(4000):
        running.update(noise_from_batches(list(examples(rng, 8)), 1))
    assert running.scale == pytest.approx(TRACE / SQUARED, rel=0.1)


def test_disagreement():
    full = {"a": np.array([3.0, 0.0], np.float32), "b": np.array([[4.0]])}
    batch = {"b": np.array([[0.0]]), "a": np.array([0.0, 10.0], np.float32)}  # matched by path, not by place
    found = disagreement(batch, full)
    assert found.cosine == 0
    assert found.norm_ratio == 2
    assert found.relative_error == pytest.approx(math.sqrt(9 + 100 + 16) / 5)
    same = disagreement(full, full)
    assert (same.cosine, same.relative_error, same.norm_ratio) == (1.0, 0.0, 1.0)
    for tiny in (1e-200, 1e200):  # squares of these leave the range
        g = np.array([tiny, 2 * tiny])
        assert disagreement(-2 * g, g) == pytest.approx((-1.0, 3.0, 2.0))
    zero, one = np.zeros(2), np.ones(2)
    assert math.isnan(disagreement(zero, one).cosine)
    assert disagreement(zero, one)[1:] == (1.0, 0.0)
    assert disagreement(one, zero)[1:] == (math.inf, math.inf)
    assert all(map(math.isnan, disagreement(zero, zero)))


def test_cosine_falls_with_noise_as_theory_has_it():
    """For isotropic noise of trace T, cos is about 1 / sqrt(1 + T / (B |G|^2))."""
    rng = np.random.default_rng(10)
    full = rng.standard_normal(4000)
    noise_ = rng.standard_normal((2, 4000)) * math.sqrt(float(full @ full) / 4000)
    for size, eps in zip((1, 4), noise_, strict=True):
        assert disagreement(full + eps / math.sqrt(size), full).cosine == pytest.approx(
            1 / math.sqrt(1 + 1 / size), abs=0.03
        )


def test_resumed_is_uninterrupted(tmp_path):
    rng = np.random.default_rng(11)
    grads = [as_tree(g) for g in rng.standard_normal((10, DIM))]
    whole, first, second = (GradientMoments(grads[0], population=1000) for _ in range(3))
    scales = NoiseScale(0.7), NoiseScale(0.7), NoiseScale(0.7)
    for i, g in enumerate(grads):
        whole.update(g, i + 1)
        scales[0].update((i + 0.5, 1.0 + i))
        if i < 6:
            first.update(g, i + 1)
            scales[1].update((i + 0.5, 1.0 + i))
    fo.save(tmp_path / "a.safetensors", moments=first, scale=scales[1])
    fo.load(tmp_path / "a.safetensors", moments=second, scale=scales[2])
    json.dumps(scales[1].state_dict())
    for i, g in enumerate(grads[6:], 6):
        second.update(g, i + 1)
        scales[2].update((i + 0.5, 1.0 + i))
    assert second.noise() == whole.noise()
    assert scales[2].state_dict() == scales[0].state_dict()
    assert np.array_equal(second.standard_error["w"], whole.standard_error["w"])


def test_state_of_moments_is_a_copy():
    moments = GradientMoments(np.zeros(2))
    moments.update(np.ones(2))
    state = moments.state_dict()
    moments.update(np.zeros(2))
    assert state["mean"][""].tolist() == [1, 1]
    other = GradientMoments(np.zeros(2))
    other.load_state_dict(state)
    other.update(np.zeros(2))
    assert state["mean"][""].tolist() == [1, 1]
    assert other.mean.tolist() == moments.mean.tolist() == [0.5, 0.5]


TWO = {"w": np.ones(2), "b": np.ones(1)}
BAD_UPDATES = [
    ({"w": np.ones(2)}, 1, ValueError, "paths"),
    ({**TWO, "c": np.ones(1)}, 1, ValueError, "paths"),
    ({**TWO, "w": np.ones(3)}, 1, ValueError, r"grads\['w'\] has shape \(3,\)"),
    ({**TWO, "w": np.ones(2, int)}, 1, TypeError, r"grads\['w'\] is int64"),
    ({**TWO, "w": np.ones(2, complex)}, 1, TypeError, "complex"),
    ({**TWO, "w": None}, 1, TypeError, "NoneType"),
    ({**TWO, "b": np.array([math.nan])}, 1, FloatingPointError, r"grads\['b'\]"),
    ({**TWO, "b": np.array([math.inf])}, 1, FloatingPointError, "not finite"),
    (TWO, 0, ValueError, "size is 0"),
    (TWO, 2.0, TypeError, "size is 2.0"),
    (TWO, True, TypeError, "size is True"),
    (TWO, 5, ValueError, "at most 10"),
]


@pytest.mark.parametrize(("grads", "size", "kind", "match"), BAD_UPDATES)
def test_bad_gradients_change_nothing(grads, size, kind, match):
    moments = GradientMoments(TWO, population=10)
    moments.update(TWO, 6)
    before = moments.state_dict()
    with pytest.raises(kind, match=match):
        moments.update(grads, size)
    after = moments.state_dict()
    assert after["count"] == before["count"]
    assert all(np.array_equal(after[k][p], before[k][p]) for k in ("mean", "spread") for p in TWO)


def spoiled(**changes):
    moments = GradientMoments(TWO)
    moments.update(TWO)
    return {**moments.state_dict(), **changes}


@pytest.mark.parametrize(
    "state",
    [
        7,
        {},
        spoiled(more=1),
        spoiled(count=-1),
        spoiled(count=2.5),
        spoiled(examples=0),
        spoiled(mean={"w": np.ones(2)}),
        spoiled(mean={"w": np.ones(2), "b": np.ones(2)}),
        spoiled(mean={"w": np.ones(2), "b": np.ones(1, np.float32)}),
        spoiled(spread={"w": np.ones(2), "b": -np.ones(1)}),
        spoiled(spread={"w": np.ones(2), "b": np.array([math.nan])}),
        spoiled(spread=None),
    ],
)
def test_bad_states_change_nothing(state):
    moments = GradientMoments(TWO)
    with pytest.raises((TypeError, ValueError), match="GradientMoments: state"):
        moments.load_state_dict(state)
    assert moments.count == 0
    assert not moments._mean[0].any()
    scale = NoiseScale()
    with pytest.raises((TypeError, ValueError), match="NoiseScale: state"):
        scale.load_state_dict(state)
    assert scale.count == 0


@pytest.mark.parametrize(
    ("call", "kind", "match"),
    [
        (lambda: standard_error(-1.0, 4), ValueError, "deviation"),
        (lambda: standard_error(math.nan, 4), ValueError, "deviation"),
        (lambda: standard_error("a", 4), TypeError, "deviation"),
        (lambda: standard_error(1.0, 0), ValueError, "size is 0"),
        (lambda: standard_error(1.0, 5, 4), ValueError, "population 4"),
        (lambda: noise_from_norms(1.0, 1.0, 8, 8), ValueError, "small < big"),
        (lambda: noise_from_norms(1.0, 1.0, 0, 8), ValueError, "small is 0"),
        (lambda: noise_from_norms(-1.0, 1.0, 2, 8), ValueError, "small_squared"),
        (lambda: noise_from_norms(1.0, math.inf, 2, 8), ValueError, "big_squared"),
        (lambda: noise_from_batches([np.ones(2)]), ValueError, "1 gradients"),
        (lambda: noise_from_batches([]), ValueError, "0 gradients"),
        (lambda: noise_from_batches([np.ones(2)] * 3, [1, 2]), ValueError, "sizes has 2"),
        (lambda: noise_from_batches([np.ones(2)] * 2, [1, 2, 3]), ValueError, "sizes has 3"),
        (lambda: NoiseScale(1.0), ValueError, "decay"),
        (lambda: NoiseScale().update(3.0), TypeError, "pair"),
        (lambda: NoiseScale().update((math.nan, 1.0)), ValueError, "trace"),
        (lambda: GradientMoments({"a": 1.0}), TypeError, r"like\['a'\] is float"),
        (lambda: GradientMoments(np.ones(1), population=0), ValueError, "population"),
        (lambda: GradientMoments(np.ones(1)).mean, ValueError, "0 gradients"),
        (lambda: GradientMoments(np.ones(1)).noise(), ValueError, "needs 2"),
        (lambda: disagreement(np.ones(2), np.ones(3)), ValueError, r"full has shape \(3,\)"),
        (lambda: disagreement(np.ones(2), {"a": np.ones(2)}), ValueError, "paths"),
        (lambda: disagreement(np.ones(2), [1.0, 2.0]), TypeError, "float"),
    ],
)
def test_bad_input(call, kind, match):
    with pytest.raises(kind, match=match):
        call()
