"""Strategies: what each promises of its orders, and that each is a function of (seed, epoch)."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fastopt.data import (
    Blocks,
    Computed,
    Grouped,
    Permutation,
    Permuted,
    Rows,
    Strategy,
    Stratified,
    Weighted,
)
from fastopt.data.order import as_strategy, epoch_order
from fastopt.data.permutation import EXACT_MOST
from fastopt.data.weighted import _minus_log
from strategy_rows import recorded

GOLDEN = json.loads((Path(__file__).parent / "data" / "strategy_orders.json").read_text())
SEED = np.random.SeedSequence(11)
LEAST_P = 1e-6  # as in test_orders.py

LABELS = np.arange(60) ** 2 % 7
EVERY = [
    Permuted(),
    Permuted("keyed"),
    Permuted("exact", once=True),
    Weighted(np.arange(60.0)),
    Weighted(np.arange(60.0), replacement=False),
    Weighted.balanced(LABELS, 17),
    Stratified(LABELS, 8),
    Grouped(LABELS),
    Grouped(LABELS, mix=True),
    Blocks(7, 3),
    Rows([3, 1, 1, 59]),
    Computed(lambda seed, epoch: np.roll(np.arange(60), epoch)),
    Computed(lambda seed, epoch: [epoch, 5], count=2),
    *map(as_strategy, ("epoch", "once", "replacement", False)),
]


@pytest.mark.parametrize("strategy", EVERY, ids=repr)
def test_contract(strategy):
    """An order is row numbers, `length` of them, alike for the same seed and epoch; the state is JSON."""
    assert isinstance(strategy, Strategy)
    assert strategy.name
    state = strategy.state()
    assert json.loads(json.dumps(state)) == state
    assert state["name"] == strategy.name
    order = strategy.order(60, SEED, 3)
    if strategy.name == "sequential":
        assert order is None
        assert strategy.length(60) == 60
        return
    again = strategy.order(60, np.random.SeedSequence(11), 3)
    assert len(order) == strategy.length(60)
    assert order[:].dtype == order[2:5].dtype == np.uint32
    assert np.array_equal(order[:], again[:])
    assert np.array_equal(epoch_order(60, SEED, 3, strategy)[:], order[:])
    assert order[:].max() < 60
    constant = isinstance(strategy, Rows) or getattr(strategy, "once", False)
    assert np.array_equal(order[:], strategy.order(60, SEED, 4)[:]) == constant
    if not isinstance(strategy, (Rows, Computed)):
        assert not np.array_equal(order[:], strategy.order(60, np.random.SeedSequence(12), 3)[:])
    if strategy.name in ("permuted", "stratified", "grouped", "blocks"):
        assert np.array_equal(np.sort(order[:]), np.arange(60))


def test_states_tell_strategies_apart():
    changed = [
        Permuted(), Permuted("keyed"), Permuted(once=True), Weighted([1, 2]), Weighted([1, 3]), Weighted([1, 2], 5),
        Weighted([1, 2], replacement=False), Stratified([0, 1], 1), Stratified([0, 1], 2), Stratified([0, 0], 2),
        Grouped([0, 1]), Grouped([0, 0]), Grouped([0, 1], mix=True), Blocks(2), Blocks(3), Blocks(2, 9), Rows([0, 1]),
        Rows([1, 0]), as_strategy("replacement"), as_strategy(False),
    ]  # fmt: skip
    states = [json.dumps(strategy.state(), sort_keys=True) for strategy in changed]
    assert len(set(states)) == len(states)
    assert as_strategy("epoch").state() == Permuted().state()
    assert Stratified(["b", "a"], 1).state() == Stratified([1, 0], 1).state()  # only the classes count


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['strategy']}-{row['epoch']}")
def test_golden_orders(row):
    assert recorded(row["strategy"], row["seed"], row["epoch"]) == row


# ---- weights ----


@pytest.mark.parametrize(
    "weights",
    [[1.0], [1, 2, 3, 4], [0, 1, 0, 2.5], [1e-300, 2e-300], [1e308, 1e308, 5e307], np.arange(1.0, 101)],
)
def test_frequencies_of_weighted_draws(weights):
    weights = np.asarray(weights, float)
    chances = weights / weights.max() / (weights / weights.max()).sum()
    strategy = Weighted(weights, 100_000)
    seen = np.bincount(strategy.order(len(weights), SEED, 0), minlength=len(weights))
    assert seen[weights == 0].sum() == 0
    if len(weights) > 1:
        assert stats.chisquare(seen[weights > 0], 100_000 * chances[weights > 0]).pvalue > LEAST_P


def test_weighted_draws_are_independent():
    order = Weighted([1, 2, 3], 120_000).order(3, SEED, 1)
    pairs = np.bincount(order[::2] * 3 + order[1::2], minlength=9)
    chances = np.outer([1, 2, 3], [1, 2, 3]).ravel() / 36
    assert stats.chisquare(pairs, chances * 60_000).pvalue > LEAST_P


def test_without_replacement_draws_one_after_the_other():
    """The chance of each order of 4 rows is w_a/W · w_b/(W - w_a) ..."""
    weights = np.array([1.0, 2, 0.5, 4])
    strategy = Weighted(weights, replacement=False)
    seen = Counter(tuple(strategy.order(4, SEED, epoch).tolist()) for epoch in range(24_000))
    cells = list(itertools.permutations(range(4)))
    chances = [
        math.prod(weights[row] / weights[list(cell[place:])].sum() for place, row in enumerate(cell))
        for cell in cells
    ]
    assert stats.chisquare([seen[cell] for cell in cells], np.array(chances) * 24_000).pvalue > LEAST_P


def test_without_replacement_rows_come_once():
    weights = np.r_[np.zeros(5), np.geomspace(1e-300, 1e300, 50)]
    strategy = Weighted(weights, replacement=False)
    assert strategy.count == 50
    assert np.array_equal(np.sort(strategy.order(55, SEED, 0)), np.arange(5, 55))
    assert strategy.order(55, SEED, 0)[0] == 54


def test_own_logarithm():
    words = np.random.PCG64(0).random_raw(20_000)
    words[:4] = [0, 2**64 - 1, 2**63, 2**63 - 1]
    u = ((words >> np.uint64(12)).astype(float) + 0.5) * 2.0**-52
    assert np.allclose(_minus_log(words), -np.log(u), rtol=1e-15, atol=0)


def test_balanced_weights():
    labels = np.array(["a"] * 90 + ["b"] * 9 + ["c"])
    strategy = Weighted.balanced(labels, 30_000)
    assert np.allclose(strategy.weights, np.repeat([100 / 270, 100 / 27, 100 / 3], [90, 9, 1]))
    seen = Counter(labels[strategy.order(100, SEED, 0)].tolist())
    assert stats.chisquare(list(seen.values())).pvalue > LEAST_P


# ---- classes and groups ----


@given(st.integers(0, 2**32), st.integers(1, 120), st.integers(1, 15), st.data())
@settings(max_examples=300, deadline=None)
def test_proportions_of_every_batch(seed, n, classes, data):
    """Of each class as many as its share, rounded down or up, in the last batch too; with whole numbers, no rounding."""
    size = data.draw(st.integers(1, n))
    labels = np.random.default_rng(seed).choice(
        classes, n, p=np.random.default_rng(seed).dirichlet(np.ones(classes))
    )
    order = Stratified(labels, size).order(n, np.random.SeedSequence(seed), 0)
    assert np.array_equal(np.sort(order), np.arange(n))
    total = np.bincount(labels, minlength=classes)
    for start in range(0, n, size):
        batch = labels[order[start : start + size]]
        share = len(batch) * total
        seen = np.bincount(batch, minlength=classes) * n
        assert (np.abs(seen - share) < n).all()


def test_stratified_rows_are_random():
    """Each row is in each batch, and at each place of it, equally often."""
    labels = np.repeat([0, 1, 2], [10, 6, 5])
    strategy = Stratified(labels, 4)
    places = np.zeros((21, 21))
    for epoch in range(8000):
        places[strategy.order(21, SEED, epoch), np.arange(21)] += 1
    for rows in (slice(0, 10), slice(10, 16), slice(16, 21)):
        for row in places[rows]:
            assert stats.chisquare(row[:20] + 1e-9, np.full(20, row[:20].mean())).pvalue > LEAST_P
        assert stats.chisquare(places[rows, 20]).pvalue > LEAST_P
    first = Counter(labels[strategy.order(21, SEED, epoch)[0]].item() for epoch in range(4000))
    share = np.array([10, 6, 5]) / 21 * 4000
    assert np.abs([first[c] for c in range(3)] - share).max() < 200


@pytest.mark.parametrize("mix", [False, True])
def test_groups_stay_together_in_random_order(mix):
    groups = np.array(["x", "y", "x", "z", "z", "y", "x"])
    strategy = Grouped(groups, mix)
    seen, within = Counter(), Counter()
    for epoch in range(6000):
        order = strategy.order(7, SEED, epoch)
        runs = [
            (name, [int(row) for row in rows])
            for name, rows in itertools.groupby(order, lambda row: groups[row])
        ]
        assert len(runs) == 3
        seen[tuple(str(name) for name, _ in runs)] += 1
        rows = dict(runs)
        assert mix or (rows["x"], rows["y"], rows["z"]) == ([0, 2, 6], [1, 5], [3, 4])
        within[tuple(rows["x"])] += 1
    assert len(seen) == 6
    assert stats.chisquare(list(seen.values())).pvalue > LEAST_P
    assert len(within) == (6 if mix else 1)
    assert not mix or stats.chisquare(list(within.values())).pvalue > LEAST_P


# ---- blocks ----


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**32), st.data())
@settings(max_examples=200, deadline=None)
def test_two_levels(n, block, buffer, seed, data):
    """A buffer's entries are the rows of `buffer` whole blocks; any slice, element or `runs` agrees with the whole."""
    order = Blocks(block, buffer).order(n, np.random.SeedSequence(seed), 2)
    rows = order[:]
    assert np.array_equal(np.sort(rows), np.arange(n))
    block = min(block, n)
    start, seen = 0, 0
    while start < n:
        stop = start
        members: set[int] = set()
        while stop < n and (len(members | {int(rows[stop]) // block}) <= buffer):
            members.add(int(rows[stop]) // block)
            stop += 1
        size = sum(min(block, n - number * block) for number in members)
        assert sorted(rows[start : start + size].tolist()) == sorted(
            itertools.chain.from_iterable(range(m * block, min((m + 1) * block, n)) for m in members)
        )
        seen += len(members)
        assert len(members) == buffer or start + size == n
        start += size
    assert seen == -(-n // block)
    a, b = sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n))))
    fresh = Blocks(block, buffer).order(n, np.random.SeedSequence(seed), 2)
    assert np.array_equal(fresh[a:b], rows[a:b])
    assert np.array_equal(fresh[b:a:-1], rows[b:a:-1])
    places = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=8)), np.int64)
    assert np.array_equal(fresh[places], rows[places])
    needed = set(itertools.chain.from_iterable(range(*run) for run in fresh.runs(a, b)))
    assert set(rows[a:b].tolist()) <= needed
    assert len(needed) <= (b > a) * (b - a + 2 * block * buffer)


def test_runs_come_in_the_order_of_need():
    order = Blocks(10, 3).order(100, SEED, 0)
    assert order.runs(5, 5) == []
    whole = order.runs(0, 100)
    assert sum(stop - first for first, stop in whole) == 100
    assert order.runs(0, 1) == order.runs(0, 30)
    assert whole[: len(order.runs(0, 30))] == order.runs(0, 30)
    assert len(Blocks(10, 10).order(100, SEED, 0).runs(0, 1)) == 1  # all blocks: neighbours are joined
    for a, b, name in ((0, 101, "b"), (5, 3, "a"), (-1, 3, "a"), (0, 1.5, "b")):
        with pytest.raises((ValueError, TypeError), match=f"{name} is"):
            order.runs(a, b)


def test_block_orders_of_a_billion_rows_need_no_memory():
    order = Blocks(100_000, 64).order(10**9 + 1, SEED, 0)  # buffers of more rows than are kept
    assert EXACT_MOST < 64 * 100_000
    rows = order[7 * 10**8 : 7 * 10**8 + 1000]
    needed = order.runs(7 * 10**8, 7 * 10**8 + 1000)
    assert all(any(first <= row < stop for first, stop in needed) for row in rows.tolist())
    assert order[7 * 10**8 + 5] == rows[5]
    assert order._last is None
    many = Blocks(1, 8).order(10**9, SEED, 0)
    assert np.array_equal(many[10**8 : 10**8 + 16 : 3], many[10**8 : 10**8 + 16][::3])


def test_blocks_and_rows_are_in_random_order():
    places, inside = np.zeros((6, 6)), np.zeros((4, 4))
    for epoch in range(6000):
        rows = Blocks(4, 1).order(24, SEED, epoch)[:]
        places[np.arange(6), rows[::4] // 4] += 1
        inside[np.arange(4), rows[:4] % 4] += 1
    assert stats.chisquare(places.ravel()).pvalue > LEAST_P
    assert stats.chisquare(inside.ravel()).pvalue > LEAST_P


# ---- arrays, functions, names ----


def test_arrays_and_functions_as_shuffle():
    assert epoch_order(5, SEED, 0, [4, 0, 0]).tolist() == [4, 0, 0]
    assert epoch_order(5, SEED, 0, np.array([4, 0], np.uint8)).dtype == np.uint32
    given = np.array([1, 2])
    strategy = as_strategy(given)
    given[:] = 0
    assert strategy.order(3, SEED, 0).tolist() == [1, 2]
    calls = []
    found = epoch_order(3, SEED, 7, lambda seed, epoch: calls.append((seed, epoch)) or [2, 1, 0])
    assert found.tolist() == [2, 1, 0]
    assert calls == [(SEED, 7)]


def test_forced_methods():
    assert isinstance(epoch_order(50, SEED, 1, Permuted("keyed")), Permutation)
    assert np.array_equal(epoch_order(50, SEED, 1, Permuted("exact")), epoch_order(50, SEED, 1, "epoch"))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: as_strategy("random"),
            ValueError,
            "shuffle is 'random'; one of 'epoch', 'once', 'replacement', False",
        ),
        (lambda: as_strategy(True), ValueError, "shuffle is True"),
        (lambda: as_strategy(None), ValueError, "shuffle is None"),
        (lambda: as_strategy(3), ValueError, "shuffle is 3"),
        (lambda: as_strategy(Blocks), ValueError, "shuffle is <class"),
        (lambda: as_strategy([0.5]), TypeError, "shuffle has dtype float64"),
        (lambda: as_strategy([[1]]), TypeError, "shuffle has dtype int64 and shape"),
        (lambda: as_strategy(np.array([], int)), ValueError, "shuffle is empty"),
        (lambda: as_strategy([-1]), ValueError, "shuffle holds -1 to -1"),
        (
            lambda: as_strategy([0, 5]).order(5, SEED, 0),
            ValueError,
            "shuffle holds 0 to 5; row numbers from 0 to 4",
        ),
        (
            lambda: epoch_order(3, SEED, 2, lambda s, e: [0, 1, 3]),
            ValueError,
            r"shuffle\(seed, 2\) returned holds 0 to 3",
        ),
        (
            lambda: epoch_order(3, SEED, 2, lambda s, e: None),
            TypeError,
            r"shuffle\(seed, 2\) returned has dtype object",
        ),
        (
            lambda: epoch_order(3, SEED, 2, lambda s, e: [0, 1]),
            ValueError,
            "returned 2 row numbers; 3 are needed",
        ),
        (lambda: Computed(5), TypeError, "function is 5"),
        (lambda: Computed(len, 0), ValueError, "count is 0"),
        (lambda: Permuted("fast"), ValueError, "method is 'fast'"),
        (lambda: Permuted(once=1), TypeError, "once is 1"),
        (lambda: Weighted([]), TypeError, "weights has dtype"),
        (lambda: Weighted([[1.0]]), TypeError, "weights has dtype"),
        (lambda: Weighted(["a"]), TypeError, "weights has dtype"),
        (lambda: Weighted([1, -0.5]), ValueError, r"weights\[1\] is -0.5"),
        (lambda: Weighted([np.nan, 1]), ValueError, r"weights\[0\] is nan"),
        (lambda: Weighted([np.inf]), ValueError, r"weights\[0\] is inf"),
        (lambda: Weighted([0, 0]), ValueError, "all weights are 0"),
        (lambda: Weighted([1, 1], 0), ValueError, "count is 0"),
        (lambda: Weighted([1, 1], 1.0), TypeError, "count is 1.0"),
        (lambda: Weighted([1, 0], 2, False), ValueError, "count is 2; an integer from 1 to 1"),
        (lambda: Weighted([1], replacement=None), TypeError, "replacement is None"),
        (lambda: Weighted([1, 1]).order(3, SEED, 0), ValueError, "shuffle has 2 weights for 3 rows"),
        (lambda: Weighted.balanced([[1]]), TypeError, "labels has shape"),
        (lambda: Weighted.balanced(np.array([1, "a", None], object)), TypeError, "labels has entries"),
        (lambda: Stratified([], 1), TypeError, "labels has shape"),
        (lambda: Stratified([0, 1], 3), ValueError, "size is 3; an integer from 1 to 2"),
        (lambda: Stratified([0, 1], 1).length(3), ValueError, "shuffle has 2 labels for 3 rows"),
        (lambda: Grouped(5), TypeError, "groups has shape"),
        (lambda: Grouped([1], mix="yes"), TypeError, "mix is 'yes'"),
        (lambda: Grouped([1]).length(2), ValueError, "shuffle has 1 groups for 2 rows"),
        (lambda: Blocks(0), ValueError, "block is 0"),
        (lambda: Blocks(2.0), TypeError, "block is 2.0"),
        (lambda: Blocks(2, 0), ValueError, "buffer is 0"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
