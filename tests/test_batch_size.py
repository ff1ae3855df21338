"""Sizes of batches as functions of the epoch: formulas, what a decay becomes, noise as a guide, resumed runs."""

from __future__ import annotations

import doctest
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastopt as fo
from fastopt.meta import (
    BiggerBatches,
    NoiseGuided,
    batch_size,
    geometric_size,
    linear_size,
    scale_lr,
    stepped_size,
)


def test_doctests():
    assert doctest.testmod(batch_size).failed == 0


@given(
    st.integers(1, 500), st.floats(1.0, 10.0), st.integers(1, 9), st.integers(0, 5000), st.integers(0, 10**6)
)
def test_geometric_is_its_formula(start, factor, every, more, epoch):
    most = start + more
    size = geometric_size(start, factor, most, every)(epoch)
    power = min(700.0, epoch // every * math.log(factor))
    assert abs(size - min(most, start * math.exp(power))) <= 0.5 + 1e-6 * most
    assert start <= size <= most


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 50), st.integers(0, 100))
def test_linear_is_its_formula(start, end, epochs, epoch):
    size = linear_size(start, end, epochs)(epoch)
    assert abs(size - np.interp(epoch, [0, epochs], [start, end])) <= 0.5 + 1e-9
    assert isinstance(size, int)


def test_schedules_are_values():
    for size in (geometric_size(4, 2.0, 60), linear_size(4, 9, 3), stepped_size([4, 9, 2], [1, 5])):
        assert pickle.loads(pickle.dumps(size)) == size
        assert eval(repr(size)) == size
        with pytest.raises(ValueError, match="epoch"):
            size(-1)
        sizes = []
        batches = fo.Batches(np.zeros(64), size=size, rng=0)
        for _ in range(4):
            sizes.append(len(next(iter(batches))))
            for _ in batches:
                pass
        assert len(sizes) == 4


@pytest.mark.parametrize(
    "decay",
    [
        fo.schedules.step(0.1, every=3, factor=0.2),
        fo.schedules.cosine(0.5, 10),
        fo.schedules.warmup_cosine(0.5, warmup=4, total=12),
        fo.schedules.inverse_time(1.0, 0.3),
        lambda t: 0.0,
        lambda t: [0.4, 0.2, 0.3, 0.4, 0.8, 0.1, 0.0, 0.1][min(t, 8) - 1],
    ],
)
@pytest.mark.parametrize("drop_last", [False, True])
def test_bigger_batches_keep_the_ratio_of_rate_to_size(decay, drop_last):
    trade = BiggerBatches(decay, start=8, most=50, rows=131, drop_last=drop_last)
    batches = fo.Batches(np.zeros(131), size=trade.size, rng=0, drop_last=drop_last)
    t = 0
    for epoch in range(15):
        for batch in batches:
            t += 1
            size = trade.size(epoch)
            assert len(batch) == size or (not drop_last and len(batch) < size)
            assert trade.lr(t) / size == pytest.approx(decay(epoch + 1) / 8, rel=1e-14)
            if size < 50:  # below the cap the rate stays at the peak, up to the rounding of the size
                peak = max(decay(e + 1) for e in range(epoch + 1))
                assert abs(trade.lr(t) - peak) <= 0.5 / 8 * decay(epoch + 1) + 1e-15
    assert trade.lr(1) == decay(1)
    # A pure function: what was asked before does not matter.
    assert BiggerBatches(decay, 8, 50, 131, drop_last).lr(t) == trade.lr(t)
    assert pickle.loads(pickle.dumps(BiggerBatches(fo.schedules.cosine(0.5, 10), 8, 50, 131))).lr(9) > 0


def test_bigger_batches_never_fall_below_start():
    trade = BiggerBatches(fo.schedules.warmup_cosine(1.0, warmup=5, total=20), 8, 512, 1000)
    sizes = [trade.size(e) for e in range(30)]
    assert sizes[:5] == [8] * 5
    assert sizes == sorted(sizes)
    assert sizes[-1] == 512


def test_scaled_rates():
    assert (
        scale_lr(0.1, 64, 64) == scale_lr(0.1, 64, 64, "sqrt") == scale_lr(0.1, 64, 64, "noise", 5.0) == 0.1
    )
    for size in (1, 16, 100, 1000):
        low, middle, high = (scale_lr(0.1, size, 64, "noise", s) for s in (1e-9, 100.0, 1e12))
        assert low == pytest.approx(0.1)
        assert high == pytest.approx(scale_lr(0.1, size, 64)) == scale_lr(0.1, size, 64, "noise", math.inf)
        assert middle == pytest.approx(0.1 * (1 / 100 + 1 / 64) / (1 / 100 + 1 / size))
        assert min(low, high) <= middle <= max(low, high)


def test_noise_scale_gives_the_best_rate_of_a_noisy_quadratic():
    """The greedy step of f = x^2/2 with gradient noise of variance v/B is 1 / (1 + v / (B x^2)): the rule itself."""
    x, v, base = 2.0, 40.0, 4

    def best(size):
        return 1 / (1 + v / (size * x * x))

    for size in (1, 16, 1024):
        assert scale_lr(best(base), size, base, "noise", v / x**2) == pytest.approx(best(size))


# ---- noise-guided ----
@given(
    st.lists(st.one_of(st.floats(0, 1e9), st.just(math.inf), st.just(math.nan)), max_size=20),
    st.booleans(),
    st.floats(1.05, 20),
    st.floats(0.1, 10),
)
def test_guided_sizes_stay_in_their_bounds(scales, monotone, change, part):
    guided = NoiseGuided(20, most=300, least=5, change=change, part=part, monotone=monotone)
    for epoch, scale in enumerate(scales):
        now = guided(epoch)
        size = guided.update(scale, epoch)
        assert guided(epoch) == now
        assert guided(epoch + 1) == guided(epoch + 100) == size
        assert 5 <= size <= 300
        assert min(now - 1, math.ceil(now / change)) <= size <= max(now + 1, now * change)  # by one at least
        assert size >= now or not monotone
        wanted = part * scale
        if math.isnan(scale):
            assert size == now
        elif (
            now / change + 1 < wanted < now * change - 1
            and 5 < wanted < 300
            and (not monotone or wanted > now)
        ):
            assert abs(size - wanted) <= 0.5
    assert guided(0) == 20


def test_guided_is_told_again_and_refuses_to_go_back():
    guided = NoiseGuided(16, most=128)
    assert guided.update(1e9, 3) == 32
    assert guided.update(20.0, 3) == 20
    assert [guided(3), guided(4)] == [16, 20]
    with pytest.raises(ValueError, match="epochs rise"):
        guided.update(50.0, 2)
    assert guided.state_dict() == {"epochs": [0, 4], "sizes": [16, 20]}


def test_guided_batches_go_on_bit_for_bit(tmp_path):
    def start():
        guided = NoiseGuided(4, most=40, monotone=False)
        return guided, fo.Batches(np.arange(97), size=guided, rng=1)

    def run(guided, batches):
        for epoch in range(batches.epoch, 6):
            for rows in batches:
                yield rows.tolist()
            guided.update(5.0 * (epoch * 7 % 11), epoch)

    whole = list(run(*start()))
    assert len({len(rows) for rows in whole}) > 3
    for cut in range(1, len(whole), 7):
        first, second = start(), start()
        going = run(*first)
        for _ in range(cut):
            next(going)
        fo.save(tmp_path / "a.safetensors", batches=first[1])
        fo.load(tmp_path / "a.safetensors", batches=second[1])
        assert second[0].state_dict() == first[0].state_dict()
        assert list(run(*second)) == whole[cut:]


def test_a_state_of_batches_that_does_not_fit_leaves_the_guide_alone():
    guided = NoiseGuided(4, most=40)
    batches = fo.Batches(np.arange(97), size=guided, rng=1)
    other = fo.Batches(np.arange(96), size=(theirs := NoiseGuided(4, most=40)), rng=1)
    theirs.update(30, 0)
    with pytest.raises(ValueError, match="rows is 96"):
        batches.load_state_dict(other.state_dict())
    assert guided(5) == 4
    plain = fo.Batches(np.arange(97), size=lambda epoch: 4, rng=1)
    with pytest.raises(ValueError, match="size_state"):
        plain.load_state_dict(batches.state_dict())
    with pytest.raises(ValueError, match="size_state is missing"):
        batches.load_state_dict(plain.state_dict())


def test_guided_by_the_noise_of_a_real_run():
    """A quadratic whose gradient falls while its noise stays: the batch must grow, to about the noise scale."""
    data = np.random.default_rng(3).standard_normal((4096, 10))
    params = np.full(10, 3.0)
    guided = NoiseGuided(8, most=512, part=10.0)
    batches = fo.Batches(data, size=guided, rng=2)
    opt = fo.SGD(params, lr=0.0007)
    scale = fo.diagnostics.NoiseScale(0.98)
    for epoch in range(4):
        for xb in batches:
            parts = np.array_split(params - xb, 4)  # gradients of the rows, in four workers
            if len(xb) >= 4:
                sizes = [len(p) for p in parts]
                scale.update(fo.diagnostics.noise_from_batches([p.mean(0) for p in parts], sizes))
            opt.step((params - xb).mean(0))
        true = data.var(0).sum() / ((params - data.mean(0)) ** 2).sum()
        assert scale.scale == pytest.approx(true, rel=0.25)
        guided.update(scale.scale, epoch)
    sizes = [guided(e) for e in range(5)]
    assert sizes == sorted(sizes)
    assert sizes[-1] == pytest.approx(10 * true, rel=0.25)


GUIDED = NoiseGuided(4, most=40, least=2)
BAD = [
    (lambda: geometric_size(0, 2.0, 9), ValueError, "start is 0"),
    (lambda: geometric_size(4, 0.5, 9), ValueError, "factor"),
    (lambda: geometric_size(4, 2.0, 9, every=0), ValueError, "every"),
    (lambda: geometric_size(4, 2.0, most=3), ValueError, "most is 3"),
    (lambda: linear_size(4, 0, 3), ValueError, "end is 0"),
    (lambda: linear_size(4, 5.0, 3), TypeError, "end is 5.0"),
    (lambda: stepped_size([4, 5], []), ValueError, "2 sizes for 0"),
    (lambda: stepped_size([4, 5, 6], [3, 2]), ValueError, "rising"),
    (lambda: stepped_size(4, [1]), TypeError, "sizes is 4"),
    (lambda: BiggerBatches(0.1, 4, 8, 100), TypeError, "decay is 0.1"),
    (lambda: BiggerBatches(abs, 4, 2, 100), ValueError, "most is 2"),
    (lambda: BiggerBatches(abs, 4, 200, 100), ValueError, "most <= rows"),
    (lambda: BiggerBatches(abs, 4, 8, 100, drop_last=1), TypeError, "drop_last"),
    (lambda: BiggerBatches(lambda t: -1.0, 4, 8, 100).size(0), ValueError, r"decay\(1\)"),
    (lambda: BiggerBatches(lambda t: math.nan, 4, 8, 100).lr(1), ValueError, r"decay\(1\)"),
    (lambda: BiggerBatches(abs, 4, 8, 100).lr(0), ValueError, "from 1"),
    (lambda: BiggerBatches(abs, 4, 8, 100).size(-1), ValueError, "epoch"),
    (lambda: scale_lr(-1.0, 4, 4), ValueError, "lr"),
    (lambda: scale_lr(1.0, 0, 4), ValueError, "size"),
    (lambda: scale_lr(1.0, 4, 4, "cubic"), ValueError, "'sqrt'"),
    (lambda: scale_lr(1.0, 4, 4, "noise"), ValueError, "needs one"),
    (lambda: scale_lr(1.0, 4, 4, "linear", 3.0), ValueError, "needs one"),
    (lambda: scale_lr(1.0, 4, 4, "noise", -3.0), ValueError, "noise_scale"),
    (lambda: NoiseGuided(4, most=3), ValueError, "start <= most"),
    (lambda: NoiseGuided(4, most=9, least=5), ValueError, "start is 4"),
    (lambda: NoiseGuided(4, most=9, change=1.0), ValueError, "change"),
    (lambda: NoiseGuided(4, most=9, part=0), ValueError, "part"),
    (lambda: NoiseGuided(4, most=9, monotone=1), TypeError, "monotone"),
    (lambda: GUIDED.update("a", 0), TypeError, "noise_scale"),
    (lambda: GUIDED.update(-1.0, 0), ValueError, "noise_scale"),
    (lambda: GUIDED.update(1.0, -1), ValueError, "epoch"),
    (lambda: GUIDED.load_state_dict(3), TypeError, "state is int"),
    (lambda: GUIDED.load_state_dict({"epochs": [0]}), ValueError, "state has"),
    (lambda: GUIDED.load_state_dict({"epochs": 0, "sizes": [4]}), TypeError, "list"),
    (lambda: GUIDED.load_state_dict({"epochs": [1], "sizes": [4]}), ValueError, "rising from 0"),
    (lambda: GUIDED.load_state_dict({"epochs": [0, 2, 1], "sizes": [4] * 3}), ValueError, "rising"),
    (lambda: GUIDED.load_state_dict({"epochs": [0, 2], "sizes": [4]}), ValueError, "one each"),
    (lambda: GUIDED.load_state_dict({"epochs": [0], "sizes": [1]}), ValueError, "sizes"),
    (lambda: GUIDED.load_state_dict({"epochs": [0], "sizes": [41]}), ValueError, "at most 40"),
    (lambda: fo.Batches(np.zeros(3), size=NoiseGuided(4, 40)).size, ValueError, r"size\(0\) is 4"),
]


@pytest.mark.parametrize(("call", "kind", "match"), BAD)
def test_bad_input(call, kind, match):
    with pytest.raises(kind, match=match):
        call()
    assert GUIDED.state_dict() == {"epochs": [0], "sizes": [4]}


def test_small_sizes_move_too() -> None:
    guided = NoiseGuided(1, most=100, change=1.2, monotone=False)
    sizes = [guided.update(100.0, epoch) for epoch in range(8)]
    assert sizes == [2, 3, 4, 5, 6, 7, 8, 9]
    assert [guided.update(1.0, epoch) for epoch in range(8, 12)] == [8, 7, 6, 5]
