"""Curricula as orders of Batches: who is let in, how often, in which order; resumed runs; bad input."""

from __future__ import annotations

import doctest
import json
import math
import pickle
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

import fastopt as fo
from fastopt.meta import Curriculum, Mixture, SelfPaced, combined, curriculum, losses_of, pacing, self_paced

SEED = np.random.SeedSequence(7)
LEAST_P = 1e-6
N = 60
SCORES = np.random.default_rng(1).permutation(N).astype(float)
LABELS = np.arange(N) % 3


@pytest.mark.parametrize("module", [pacing, curriculum, self_paced])
def test_doctests(module):
    assert doctest.testmod(module).failed == 0


# ---- pacing ----
PACINGS = [
    pacing.step(0.3, at=4),
    pacing.exponential(0.05, 1.7, every=2),
    pacing.exponential(),
    pacing.stages(0.1, 3.0, [2, 3, 9]),
    pacing.linear(0.2, epochs=7),
    pacing.root(0.2, epochs=7),
    pacing.root(0.2, epochs=7, power=5),
]


@pytest.mark.parametrize("share", PACINGS, ids=repr)
def test_pacings_rise_from_start_to_all(share):
    values = [share(epoch) for epoch in range(40)]
    assert values[0] == share.start
    assert values[-1] == share(10**9) == 1.0
    assert all(a <= b for a, b in pairwise(values))
    assert pickle.loads(pickle.dumps(share)) == share
    assert eval(f"pacing.{share!r}") == share
    for epoch, kind in ((-1, ValueError), (1.0, TypeError), (True, TypeError)):
        with pytest.raises(kind, match="epoch"):
            share(epoch)


@given(st.floats(1e-6, 1.0), st.integers(1, 1000), st.floats(0.1, 50), st.integers(0, 2000))
def test_root_is_its_formula(start, epochs, power, epoch):
    wanted = (start**power + (1 - start**power) * min(1, epoch / epochs)) ** (1 / power)
    found = pacing.root(start, epochs, power)(epoch)
    assert found == pytest.approx(min(1.0, wanted), rel=1e-9)
    assert 0 < found <= 1
    assert pacing.linear(start, epochs)(epoch) == pytest.approx(start + (1 - start) * min(1, epoch / epochs))


@given(st.floats(1e-6, 1.0), st.floats(1.01, 1e6), st.integers(1, 50), st.integers(0, 10**6))
def test_exponential_is_its_formula(start, factor, every, epoch):
    power = epoch // every * math.log(factor) + math.log(start)
    assert pacing.exponential(start, factor, every)(epoch) == pytest.approx(math.exp(min(0, power)))


# ---- curriculum ----
@pytest.mark.parametrize("first", ["easy", "hard"])
def test_rows_of_an_epoch_are_the_first_k_once_each(first):
    order = Curriculum(SCORES, pacing.linear(0.1, epochs=9), first=first)
    by_rank = np.argsort(SCORES if first == "easy" else -SCORES)
    batches = fo.Batches(np.arange(N), size=8, rng=3, shuffle=order)
    for epoch in range(12):
        k = min(N, 6 + 6 * epoch)
        assert order.length_in(N, epoch) == k
        assert len(batches) == -(-k // 8)
        rows = np.concatenate(list(batches))
        assert sorted(rows) == sorted(by_rank[:k])
    assert batches.epoch == 12


def test_random_first_is_one_random_ranking():
    one, two = (Curriculum(SCORES, PACINGS[0], first="random", rng=r) for r in (0, 1))
    assert sorted(one.ranking) == list(range(N))
    assert np.array_equal(one.admitted(0), one.admitted(3))
    assert not np.array_equal(one.ranking, two.ranking)
    assert abs(stats.spearmanr(SCORES, np.argsort(one.ranking)).statistic) < 0.5


@pytest.mark.parametrize("count", [5, 18, 41, 200])
def test_count_makes_epochs_of_one_length(count):
    order = Curriculum(SCORES, pacing.step(0.3, at=1), count)
    assert order.length(N) == order.length_in(N, 0) == count
    seen = Counter(order.order(N, SEED, 0).tolist())
    assert set(seen) <= set(np.argsort(SCORES)[:18].tolist())
    assert set(seen.values()) <= {count // 18, count // 18 + 1}
    assert seen.total() == count
    batches = fo.Batches(np.arange(N), size=4, rng=0, shuffle=order)
    assert sum(len(b) for b in batches) == count


def test_order_within_is_uniform():
    """Every one of k! orders alike, and of a cut permutation every row alike at every place."""
    order = Curriculum([5.0, 1, 2, 9, 3], lambda epoch: 0.6)
    seen = Counter(tuple(order.order(5, SEED, epoch).tolist()) for epoch in range(6000))
    assert set(map(frozenset, seen)) == {frozenset({1, 2, 4})}
    assert len(seen) == 6
    assert stats.chisquare(list(seen.values())).pvalue > LEAST_P
    cut = Curriculum([5.0, 1, 2, 9, 3], lambda epoch: 0.6, count=4)
    table = np.zeros((4, 5))
    for epoch in range(6000):
        table[np.arange(4), cut.order(5, SEED, epoch)] += 1
    for place in table:
        assert stats.chisquare(place[[1, 2, 4]]).pvalue > LEAST_P


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 100])
@pytest.mark.parametrize("share", [1e-9, 0.1, 0.125, 0.5, 0.7, 1.0])
def test_how_many_are_let_in(rows, share):
    k = len(Curriculum(np.arange(rows), lambda epoch: share).admitted(0))
    assert k == max(1, int(np.floor(share * rows + 0.5)))


def test_equal_scores_are_ranked_at_random_not_as_they_lie():
    first = Counter()
    for rng in range(300):
        found = Curriculum([0, 0, 0, 1, 0], lambda epoch: 0.2, rng=rng).admitted(0)
        first[int(found[0])] += 1
    assert set(first) == {0, 1, 2, 4}
    assert stats.chisquare(list(first.values())).pvalue > LEAST_P


@pytest.mark.parametrize("sizes", [(20, 20, 20), (2, 10, 48), (1, 1, 58)])
@pytest.mark.parametrize("first", ["easy", "hard", "random"])
def test_classes_keep_their_proportions(sizes, first):
    """However unlike their scores are: class 2 is the hardest by far."""
    labels = np.random.default_rng(2).permutation(np.repeat([0, 1, 2], sizes))
    scores = SCORES + 1000 * labels
    order = Curriculum(scores, pacing.linear(0.01, epochs=60), labels=labels, first=first)
    assert sorted(order.ranking) == list(range(N))
    classes, n_c = np.array(labels)[order.ranking], np.array(sizes)
    seen = np.cumsum(classes[:, None] == np.arange(3), axis=0)
    wanted = np.arange(1, N + 1)[:, None] * n_c / N
    bound = 0.5 + 3 * n_c / (2 * N)
    assert (np.abs(seen - wanted) < bound + 1e-12).all()
    if first != "random":
        for c in range(3):
            inside = scores[order.ranking[classes == c]]
            assert (np.diff(inside if first == "easy" else -inside) > 0).all()


def test_drop_and_pad_with_epochs_that_grow():
    order = Curriculum(SCORES, pacing.linear(0.1, epochs=9))
    dropped = fo.Batches(np.arange(N), size=8, rng=3, shuffle=order, drop_last=True)
    padded = fo.Batches(np.arange(N), size=8, rng=3, shuffle=order, last="pad")
    for k in (6, 12, 18):
        size = min(8, k)
        assert (dropped.size, len(dropped), len(padded)) == (size, k // size, -(-k // size))
        assert [len(b) for b in dropped] == [size] * (k // size)
        assert [len(b) for b in padded] == [size] * -(-k // size)


# ---- mixtures ----
def test_mixture_has_the_shares_it_should():
    levels = np.array(list("aabbbbcc") * 5)
    shares = np.array([0.55, 0.27, 0.18])
    order = Mixture(levels, lambda epoch: 4 * shares, count=33)
    kinds = np.array([np.bincount(order.levels[order.order(40, SEED, e)], minlength=3) for e in range(4000)])
    assert (kinds.sum(1) == 33).all()
    wanted = 33 * shares
    assert ((kinds == np.floor(wanted)) | (kinds == np.ceil(wanted))).all()
    error = kinds.std(0) / np.sqrt(len(kinds))
    assert (np.abs(kinds.mean(0) - wanted) < 5 * error).all()
    assert (error < 0.01).all()


def test_mixture_draws_evenly_and_mixes():
    levels = [1, 0, 0, 1, 0, 1, 0]
    order = Mixture(levels, lambda epoch: [0.5, 0.5], count=6)
    places = np.zeros((6, 7))
    for epoch in range(4000):
        places[np.arange(6), order.order(7, SEED, epoch)] += 1
    for place in places:  # each place: half of them easy, and every row of a level alike
        assert stats.chisquare(place, 4000 * np.where(levels, 1 / 6, 1 / 8)).pvalue > LEAST_P


def test_easy_rows_are_always_there_and_hard_ones_grow():
    share = pacing.linear(0.1, epochs=8)
    order = Mixture.by_scores(SCORES, lambda epoch: 0.9 * share(epoch), split=0.25)
    hard = SCORES >= 15
    assert np.array_equal(order.levels, hard.astype(int))
    found = [hard[order.order(N, SEED, epoch)].mean() for epoch in range(10)]
    np.testing.assert_allclose(found, [0.9 * share(e) for e in range(10)], atol=1 / N)
    assert max(found) < 1


def test_a_level_of_share_zero_never_comes():
    for chances in ([0.0, 1, 1], [1, 0, 2], [1, 1e-300, 0], [0, 0, 5]):
        order = Mixture([0, 1, 2] * 20, lambda epoch, c=chances: c)
        seen = {int(r) % 3 for e in range(50) for r in order.order(60, SEED, e)}
        assert seen == {i for i, c in enumerate(chances) if c > 1e-9}


def test_combined_visits_levels_in_turn():
    chances = combined(levels=4, epochs=6, always=0.4)
    top = [int(np.argmax(chances(e))) for e in range(9)]
    assert top == [0, 0, 1, 1, 2, 2, 3, 3, 3]
    for epoch in range(9):
        assert sum(chances(epoch)) == pytest.approx(1)
        assert min(chances(epoch)) == pytest.approx(0.1)
    assert combined(1, 3)(5) == [1.0]


# ---- self-paced ----
def run_self_paced(order, epochs, batches=None):
    """Losses that hang on the row, on the epoch, and on how often it was seen."""
    batches = batches or fo.Batches(np.arange(N), size=7, rng=4, shuffle=order)
    for epoch in range(batches.epoch, epochs):
        for rows in batches:
            order.observe((SCORES[rows] + 1) / (epoch + 2), rows)
            yield rows.copy()
        order.advance(epoch)


@pytest.mark.parametrize("growth", [1.2, 2.0])
def test_hard_self_pacing_is_the_rows_below_the_threshold(growth):
    order = SelfPaced(SCORES + 1, share=0.25, growth=growth)
    threshold = math.nextafter(15.0, 16.0)
    losses = SCORES + 1
    batches = fo.Batches(np.arange(N), size=7, rng=4, shuffle=order)
    for epoch in range(5):
        assert order.threshold == pytest.approx(threshold)
        rows = np.concatenate(list(batches))
        assert sorted(rows) == sorted(np.flatnonzero(losses < threshold))
        order.observe(losses := losses * 0.9)
        assert order.advance(epoch) == order.threshold
        threshold *= growth


def test_shares_by_pacing_hold_whatever_the_losses_are():
    order = SelfPaced(np.zeros(N), share=pacing.linear(0.1, epochs=9))
    assert order.length_in(N, 0) == N  # all alike: all are below the threshold
    order.observe(-np.exp(SCORES))
    order.advance(0)
    assert sorted(order.order(N, SEED, 1)) == sorted(np.argsort(-SCORES)[:12])


@pytest.mark.parametrize("weights", ["linear", "mixture"])
def test_soft_weights_are_chances(weights):
    losses = np.array([0.0, 0.5, 1.0, 1.5, 1.9, 2.0, 3.0, np.inf])
    order = SelfPaced(losses, threshold=2.0, weights=weights)
    formula = {"linear": 1 - losses / 2, "mixture": np.minimum(1, 2 / np.maximum(losses, 1e-9) - 1)}[weights]
    v = np.clip(formula, 0, 1)
    np.testing.assert_allclose(order.weights(0), v)
    k = int(np.floor(v.sum()))
    seen = np.zeros(8)
    places = np.zeros((k, 8))
    runs = 4000
    for epoch in range(runs):
        rows = order.order(8, SEED, epoch)
        assert len(rows) == len(set(rows.tolist())) == k == order.length_in(8, epoch)
        seen[rows] += 1
        places[np.arange(k), rows] += 1
    chance = v * k / v.sum()
    assert (np.abs(seen / runs - chance) <= 5 * np.sqrt(chance * (1 - chance).clip(0) / runs) + 1e-12).all()
    for place in places:
        inside = chance > 0
        assert stats.chisquare(place[inside], runs * chance[inside] / k).pvalue > LEAST_P


def test_a_function_of_weights_and_an_empty_choice():
    order = SelfPaced([3.0, 1.0, 2.0], threshold=0.5)
    assert order.order(3, SEED, 0).tolist() == [1]  # none below: the easiest
    ours = SelfPaced([3.0, 1.0, 2.0], threshold=9.0, weights=lambda losses, t: np.exp(-losses / t))
    np.testing.assert_allclose(ours.weights(0), np.exp([-1 / 3, -1 / 9, -2 / 9]))


def test_choices_hold_from_the_next_epoch_on():
    order = SelfPaced(SCORES + 1, share=0.25)
    before = order.order(N, SEED, 2)
    order.observe(N + 1 - SCORES)
    order.advance(2)
    assert np.array_equal(order.order(N, SEED, 2), before)
    assert not set(order.order(N, SEED, 3)) & set(before)
    order.advance(2)  # again: the same threshold, newer losses
    assert order.threshold == pytest.approx(15 * 1.3)
    order.advance(4)
    assert len(order._choices) == 2
    with pytest.raises(ValueError, match="epochs rise"):
        order.advance(3)
    with pytest.raises(ValueError, match="are gone"):
        order.weights(2)


# ---- resumed ----
STRATEGIES = {
    "curriculum": lambda: Curriculum(SCORES, pacing.root(0.1, 9)),
    "count": lambda: Curriculum(SCORES, pacing.root(0.1, 9), 50, labels=LABELS),
    "anti": lambda: Curriculum(SCORES, pacing.linear(0.1, 9), first="hard"),
    "mixture": lambda: Mixture(LABELS, combined(3, 4)),
    "by scores": lambda: Mixture.by_scores(SCORES, pacing.linear(0.1, 5)),
}


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("prefetch", [False, True])
def test_stopped_anywhere_goes_on_bit_for_bit(name, prefetch):
    def batches():
        return fo.Batches(np.arange(N), size=7, rng=4, shuffle=STRATEGIES[name](), prefetch=prefetch)

    def told(b, epochs=5):
        for _ in range(b.epoch, epochs):
            for rows in b:
                yield rows.tolist()

    whole = list(told(batches()))
    for cut in range(0, len(whole) + 1, 3):
        first, second = batches(), batches()
        run = told(first)
        assert [next(run) for _ in range(cut)] == whole[:cut]
        state = json.loads(json.dumps(first.state_dict()))
        second.load_state_dict(state)
        assert list(told(second)) == whole[cut:]


@pytest.mark.parametrize("weights", ["hard", "linear"])
def test_self_paced_goes_on_bit_for_bit(weights, tmp_path):
    def start():
        order = SelfPaced(SCORES + 1, share=0.3, growth=1.1, weights=weights)
        return order, fo.Batches(np.arange(N), size=7, rng=4, shuffle=order)

    order, batches = start()
    whole = [rows.tolist() for rows in run_self_paced(order, 6, batches)]
    assert len(whole) > 8
    for cut in range(1, len(whole), 2):
        first, second = start(), start()
        run = run_self_paced(first[0], 6, first[1])
        for _ in range(cut):
            next(run)
        # A generator stops at its yield, after observe: as a loop that saves at its end would.
        fo.save(tmp_path / "a.safetensors", batches=first[1])
        fo.load(tmp_path / "a.safetensors", batches=second[1])
        rest = [rows.tolist() for rows in run_self_paced(*(second[0], 6, second[1]))]
        assert rest == whole[cut:]


def test_states_of_other_strategies_are_refused_and_nothing_changes():
    def batches(shuffle):
        return fo.Batches(np.arange(N), size=7, rng=4, shuffle=shuffle)

    others = [make() for make in STRATEGIES.values()] + [SelfPaced(SCORES), Curriculum(SCORES, PACINGS[1])]
    for i, mine in enumerate(others):
        for j, theirs in enumerate(others):
            state = batches(theirs).state_dict()
            if i == j:
                batches(mine).load_state_dict(state)
            else:
                b = batches(mine)
                before = b.state_dict()
                with pytest.raises(ValueError, match="does not fit"):
                    b.load_state_dict(state)
                assert str(b.state_dict()) == str(before)


def test_a_state_that_does_not_fit_leaves_the_strategy_alone():
    def start(size):
        order = SelfPaced(SCORES + 1)
        return order, fo.Batches(np.arange(N), size=size, rng=4, shuffle=order)

    order, batches = start(7)
    order.observe(SCORES * 2 + 1)
    order.advance(0)
    other, smaller = start(5)
    with pytest.raises(ValueError, match="size is 7, here 5"):
        smaller.load_state_dict(batches.state_dict())
    assert other.threshold != order.threshold
    assert np.array_equal(other.losses, SCORES + 1)
    state = batches.state_dict()
    state["shuffle_state"]["losses"] = np.ones(3)
    with pytest.raises(ValueError, match="has 3 entries"):
        batches.load_state_dict(state)
    state = batches.state_dict()
    del state["shuffle_state"]
    with pytest.raises(ValueError, match="shuffle_state is missing"):
        batches.load_state_dict(state)


# ---- losses of a teacher ----
@given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e6, 1e6)), st.integers(1, 30))
@settings(max_examples=40)
def test_losses_of_keeps_the_rows(values, size):
    seen = []
    found = losses_of(lambda x: x**2, values, size=size, progress=lambda *told: seen.append(told))
    assert np.array_equal(found, values**2)
    batches = -(-len(values) // size)
    assert [told[:3] for told in seen] == [("losses", i + 1, batches) for i in range(batches)]


BAD = [
    (lambda: pacing.step(0.0, 3), ValueError, "start"),
    (lambda: pacing.step(1.5, 3), ValueError, "start"),
    (lambda: pacing.step(0.5, 0), ValueError, "at is 0"),
    (lambda: pacing.exponential(0.5, 1.0), ValueError, "factor"),
    (lambda: pacing.exponential(0.5, 2.0, every=1.5), TypeError, "every"),
    (lambda: pacing.stages(0.5, 2.0, [3, 3]), ValueError, "rising"),
    (lambda: pacing.stages(0.5, 2.0, 3), TypeError, "sequence"),
    (lambda: pacing.linear(0.5, 0), ValueError, "epochs"),
    (lambda: pacing.root(0.5, 3, power=0), ValueError, "power"),
    (lambda: pacing.root(math.nan, 3), ValueError, "start"),
    (lambda: Curriculum([1.0, math.nan], PACINGS[0]), ValueError, r"scores\[1\] is NaN"),
    (lambda: Curriculum([], PACINGS[0]), ValueError, "empty"),
    (lambda: Curriculum([[1.0]], PACINGS[0]), TypeError, "scores has dtype"),
    (lambda: Curriculum(["a"], PACINGS[0]), TypeError, "scores has dtype"),
    (lambda: Curriculum(SCORES, 0.5), TypeError, "pacing is 0.5"),
    (lambda: Curriculum(SCORES, PACINGS[0], 0), ValueError, "count"),
    (lambda: Curriculum(SCORES, PACINGS[0], first="best"), ValueError, "first is 'best'"),
    (lambda: Curriculum(SCORES, PACINGS[0], labels=[1, 2]), ValueError, "labels has 2"),
    (lambda: Curriculum(SCORES, PACINGS[0], rng="a"), TypeError, "rng"),
    (lambda: Curriculum(SCORES, lambda e: 0.0).order(N, SEED, 0), ValueError, r"pacing\(0\) is 0"),
    (lambda: Curriculum(SCORES, lambda e: 1.1).order(N, SEED, 2), ValueError, r"pacing\(2\) is 1.1"),
    (lambda: Curriculum(SCORES, lambda e: "a").order(N, SEED, 0), TypeError, "pacing"),
    (lambda: fo.Batches(np.ones(3), shuffle=Curriculum(SCORES, PACINGS[0])), ValueError, "60 scores for 3"),
    (
        lambda: fo.Batches(np.ones(N), size=61, shuffle=Curriculum(SCORES, PACINGS[0])),
        ValueError,
        "size is 61",
    ),
    (lambda: Mixture(LABELS, [1, 2, 3]), TypeError, "chances"),
    (lambda: Mixture([[1]], combined(1, 1)), TypeError, "levels"),
    (lambda: Mixture(LABELS, combined(2, 1)).order(N, SEED, 0), TypeError, "3 levels"),
    (lambda: Mixture(LABELS, lambda e: [0, 0, 0]).order(N, SEED, 0), ValueError, "not all 0"),
    (lambda: Mixture(LABELS, lambda e: [1, -1, 1]).order(N, SEED, 0), ValueError, "not all 0"),
    (lambda: Mixture(LABELS, lambda e: [1, math.nan, 1]).order(N, SEED, 0), ValueError, "finite"),
    (lambda: Mixture.by_scores(SCORES, lambda e: 1.5).order(N, SEED, 0), ValueError, r"share\(0\)"),
    (lambda: Mixture.by_scores(SCORES, 0.5), TypeError, "share"),
    (lambda: Mixture.by_scores(SCORES, PACINGS[0], split=1.0), ValueError, "split"),
    (lambda: Mixture.by_scores([1.0], PACINGS[0]), ValueError, "one entry"),
    (lambda: Mixture(LABELS, combined(3, 1)).length(5), ValueError, "60 levels for 5"),
    (lambda: combined(0, 1), ValueError, "levels"),
    (lambda: combined(2, 1, always=1.5), ValueError, "always"),
    (lambda: SelfPaced(SCORES, share=0), ValueError, "share"),
    (lambda: SelfPaced(SCORES, growth=1.0), ValueError, "growth"),
    (lambda: SelfPaced(SCORES, threshold=-1.0), ValueError, "threshold"),
    (lambda: SelfPaced(SCORES, PACINGS[0], threshold=1.0), ValueError, "one of them"),
    (lambda: SelfPaced(SCORES, weights="soft"), ValueError, "'linear'"),
    (lambda: SelfPaced(SCORES - 9, weights="linear"), ValueError, "losses >= 0"),
    (lambda: SelfPaced(SCORES - 90), ValueError, "above 0"),
    (lambda: SelfPaced(SCORES, weights=lambda l, t: l), ValueError, "weights gave"),
    (lambda: SelfPaced([1.0, -math.inf]), ValueError, "-inf"),
    (lambda: SelfPaced(SCORES).observe([1.0]), ValueError, "1 losses for 60"),
    (lambda: SelfPaced(SCORES).observe([1.0], [60]), IndexError, "60"),
    (lambda: SelfPaced(SCORES).observe([1.0], [-1]), IndexError, "-1"),
    (lambda: SelfPaced(SCORES).observe([1.0], [0.0]), TypeError, "rows"),
    (lambda: SelfPaced(SCORES).observe([math.nan], [0]), ValueError, "NaN"),
    (lambda: SelfPaced(SCORES).advance(-1), ValueError, "epoch"),
    (lambda: SelfPaced(SCORES).load_state_dict(3), TypeError, "state is int"),
    (lambda: SelfPaced(SCORES).load_state_dict({}), ValueError, "state has"),
    (lambda: SelfPaced(SCORES).load_state_dict({"losses": SCORES, "choices": []}), ValueError, "one or two"),
    (lambda: SelfPaced(SCORES).load_state_dict({"losses": SCORES, "choices": [{}]}), ValueError, "no choice"),
    (lambda: losses_of(3, SCORES), TypeError, "loss is 3"),
    (lambda: losses_of(lambda x: x), TypeError, "no array"),
    (lambda: losses_of(lambda x: x.sum(), SCORES), TypeError, r"loss returned float64 \(\) for 60"),
    (lambda: losses_of(lambda x: x * math.nan, SCORES), ValueError, "NaN for row 0"),
    (lambda: losses_of(lambda x: x, SCORES, size=0), ValueError, "size"),
]


@pytest.mark.parametrize(("call", "kind", "match"), BAD)
def test_bad_input(call, kind, match):
    with pytest.raises(kind, match=match):
        call()


@pytest.mark.parametrize("weights", ["hard", "linear", "mixture"])
def test_a_threshold_that_grows_beyond_all_numbers(weights: str) -> None:
    order = fo.meta.SelfPaced([1.0, 2.0, np.inf], 0.5, growth=1e200, weights=weights)
    for epoch in range(4):
        order.advance(epoch)
    order.load_state_dict(order.state_dict())
    assert order.weights(3).tolist() == [1.0, 1.0, 0.0]
