"""Permutations as functions: bijections, whatever way they are asked for, the same for ever, and random."""

from __future__ import annotations

import copy
import itertools
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import fastopt as fo
from fastopt._core import runtime
from fastopt._core.orders import WORDS, Keyed
from fastopt.data import Permutation
from fastopt.data.order import epoch_order
from fastopt.data.permutation import EXACT_MOST, Draws
from reference_orders import ROUNDS, element, hashed, whole, words_of

GOLDEN = json.loads((Path(__file__).parent / "data" / "keyed_orders.json").read_text())
LARGE = [2**32 - 1, 2**32, 2**32 + 1, 10**10, 2**53 + 1, 2**62, 2**62 + 1, 2**63 - 1]
# All seeds are fixed: what passes once passes always. Some hundred tests of chance share this bound.
LEAST_P = 1e-6


def keys(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**32, (count, WORDS), dtype=np.uint32)


# ---- a permutation, and its inverse ----


@pytest.mark.parametrize("method", ["keyed", "exact"])
def test_bijection_and_inverse_of_every_small_n(method):
    for n in range(1, 400):
        order = Permutation(n, 5, n, method)
        values = order[:]
        assert np.array_equal(np.sort(values), np.arange(n)), n
        assert np.array_equal(order.index_of(values), np.arange(n)), n
        assert order.index_of(int(values[-1])) == n - 1


@given(st.integers(1, 2**63 - 1), st.integers(0, 2**130), st.integers(0, 2**40), st.data())
@settings(max_examples=200, deadline=None)
def test_bijection_at_any_n(n, seed, epoch, data):
    order = Permutation(n, seed, epoch, "keyed")
    places = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=20, unique=True)))
    values = order[places]
    assert values.dtype == order.dtype
    assert values.min() >= 0
    assert values.max() < n
    assert len(set(values.tolist())) == len(places)
    assert np.array_equal(order.index_of(values), places)
    assert [order[int(i)] for i in places] == values.tolist()
    back = order.index_of(places)
    assert np.array_equal(order[back], places)


@pytest.mark.parametrize("n", [1023, 1024, 1025, 2**16, 2**16 + 1, 2**20 + 3])
def test_every_element_of_longer_orders(n):
    order = Permutation(n, 1, method="keyed")
    values = order[:]
    assert np.array_equal(np.bincount(values, minlength=n), np.ones(n))
    assert np.array_equal(order.index_of(values), np.arange(n))


# ---- one order, however it is asked for ----


@pytest.mark.parametrize("n", [1, 5, 127, 128, 129, 1000, 70_000])
@pytest.mark.parametrize("method", ["keyed", "exact"])
def test_indexing_is_that_of_arrays(n, method):
    order = Permutation(n, 3, 2, method)
    values = np.asarray(order)
    assert len(order) == n == len(values)
    assert list(itertools.islice(order, 300)) == values[:300].tolist()
    rng = np.random.default_rng(n)
    for _ in range(60):
        a, b = (int(v) for v in rng.integers(-n - 3, n + 4, 2))
        step = int(rng.choice([-130, -7, -2, -1, 1, 2, 3, 50]))
        for index in (slice(a, b), slice(a, b, step), slice(None, b), slice(a, None, step)):
            found = order[index]
            assert found.dtype == order.dtype
            assert np.array_equal(found, values[index]), index
    places = rng.integers(-n, n, 50)
    assert np.array_equal(order[places], values[places])
    assert np.array_equal(order[places.tolist()], values[places])
    assert order[-1] == values[-1]
    assert order[[]].shape == (0,)


@pytest.mark.parametrize("n", LARGE)
def test_slices_of_large_orders_are_their_elements(n):
    order = Permutation(n, 8)
    assert order.method == "keyed"
    assert order.dtype == (np.uint32 if n < 2**32 else np.int64)
    for first in (0, n // 2, n - 300):
        values = order[first : first + 300]
        assert [order[first + i] for i in range(0, 300, 37)] == values[::37].tolist()
        assert np.array_equal(order[first : first + 300 : 3], values[::3])
        assert np.array_equal(
            np.concatenate([order[first : first + 131], order[first + 131 : first + 300]]), values
        )
    assert np.array_equal(order[n - 1 : n - 300 : -1], order[n - 299 : n][::-1])
    assert len(order) == n


@pytest.mark.parametrize("n", [2**22 + 5, 2**40])
def test_threads_and_instruction_sets_give_the_same(n):
    count = 200_003
    order = Permutation(n, 4)
    places = np.arange(count, dtype=np.int64) * 17 % n
    expected, inverse = order[7 : 7 + count], order.index_of(places)
    before, threads = runtime.isa(), fo.get_num_threads()
    try:
        for isa in [name for name, here in runtime.isas() if here]:
            runtime.use_isa(isa)
            for number in (1, 2, 3):
                fo.set_num_threads(number)
                assert np.array_equal(order[7 : 7 + count], expected)
                assert np.array_equal(order.index_of(places), inverse)
                assert np.array_equal(order[inverse], places)
    finally:
        runtime.use_isa(before)
        fo.set_num_threads(threads)


def test_shards_are_the_order():
    order = Permutation(1003, 1, method="keyed")
    for size in (1, 2, 3, 7, 1003, 2000):
        shards = [order.shard(rank, size) for rank in range(size)]
        whole_order = np.empty(1003, np.int64)
        for rank, shard in enumerate(shards):
            assert len(shard) == len(range(rank, 1003, size))
            whole_order[rank::size] = shard[:]
        assert np.array_equal(whole_order, order[:])
    shard = order.shard(1, 3)
    assert np.array_equal(shard[::-2], order[:][1::3][::-2])
    assert np.array_equal(shard.shard(1, 2)[[0, -1]], order[:][1::3][1::2][[0, -1]])
    assert shard[4] == order[13]
    assert len(Permutation(10**12, 0).shard(2, 5)[10:20]) == 10


def test_exact_is_fisher_yates_as_it_always_was():
    seed = np.random.SeedSequence(6, spawn_key=(1,))
    assert np.array_equal(Permutation(500, seed, 4)[:], epoch_order(500, seed, 4, "epoch"))


def test_auto_changes_over_at_the_threshold():
    assert EXACT_MOST == 2**22
    assert Permutation(EXACT_MOST, 0).method == "exact"
    assert Permutation(EXACT_MOST + 1, 0).method == "keyed"
    seed = np.random.SeedSequence(0)
    assert isinstance(epoch_order(EXACT_MOST, seed, 0, "epoch"), np.ndarray)
    assert epoch_order(EXACT_MOST + 1, seed, 3, "epoch") == Permutation(EXACT_MOST + 1, 0, 3)
    assert epoch_order(EXACT_MOST + 1, seed, 3, "once") == Permutation(EXACT_MOST + 1, 0, 0)


def test_equality_copies_and_text():
    order = Permutation(10**9, 5, 2)
    assert order == Permutation(10**9, np.random.SeedSequence(5), 2, "keyed")
    assert hash(order) == hash(Permutation(10**9, 5, 2))
    others = [Permutation(10**9 + 1, 5, 2), Permutation(10**9, 6, 2), Permutation(10**9, 5, 3)]
    assert all(order != other for other in others)
    assert Permutation(9, 5, method="exact") != Permutation(9, 5, method="keyed")
    assert order != "another thing"
    for same in (pickle.loads(pickle.dumps(order)), copy.deepcopy(order)):
        assert same == order
        assert np.array_equal(same[:10], order[:10])
    assert repr(order) == "Permutation(n=1000000000, seed=5, epoch=2, method='keyed')"


def test_what_is_kept_cannot_be_written():
    order = Permutation(10, 0)
    order[2:5][:] = 0
    assert np.array_equal(np.sort(order[:]), np.arange(10))
    assert not order.array().flags.writeable


def test_empty():
    for method in ("keyed", "exact"):
        order = Permutation(0, 0, method=method)
        assert len(order) == 0
        assert order[:].shape == (0,)
        assert list(order) == []


# ---- for ever ----


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['n']}-{row['epoch']}")
def test_golden_keyed_orders(row):
    seed = np.random.SeedSequence(row["entropy"], spawn_key=tuple(row["spawn_key"]))
    order = Permutation(row["n"], seed, row["epoch"], "keyed")
    for i, value in row["elements"].items():
        assert order[int(i)] == value
        assert order.index_of(value) == int(i)


@pytest.mark.parametrize("n", [*range(1, 70), 1000, 4097, 65_537, 10**6])
def test_against_the_description(n):
    words = words_of(n, (), n, 1)
    expected = whole(n, words)
    assert np.array_equal(Permutation(n, n, 1, "keyed")[:], expected)
    assert element(n // 2, n, words) == expected[n // 2]


# ---- chance ----


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_all_orders_of_few_elements(n):
    """All n! orders, equally often. (The exact method: test_shuffle.py.)"""
    draws = 200_000
    orders = np.array([Keyed(n, words).slice(0, 1, n) for words in keys(draws, n)], np.int64)
    seen = np.unique(orders @ n ** np.arange(n), return_counts=True)[1]
    assert len(seen) == math.factorial(n)
    assert stats.chisquare(seen).pvalue > LEAST_P


def order_statistics(make, n: int, orders: int) -> dict[str, float]:
    """p-values of statistics over several orders of n elements. make(k): the k-th of them."""
    blocks = 16
    first, places, steps, back = [], np.zeros((blocks, blocks)), np.zeros(64), np.zeros(64)
    triples, inversions, serial, fixed = np.zeros(6), [], [], 0
    for k in range(orders):
        order = make(k)
        first.append(int(order[0]))
        at = np.arange(n) * blocks // n
        places += np.bincount(at * blocks + order * blocks // n, minlength=blocks**2).reshape(blocks, blocks)
        steps += np.bincount((order[1:] - order[:-1]) % n * 64 // n, minlength=64)
        inverse = np.argsort(order)
        back += np.bincount((inverse[1:] - inverse[:-1]) % n * 64 // n, minlength=64)
        a, b, c = (order[i : n - n % 3 : 3] for i in range(3))
        triples += np.bincount(((a < b) * 4 + (b < c) * 2 + (a < c)), minlength=8)[[0, 2, 3, 4, 5, 7]]
        x, y = order[: n // 2 * 2 : 2].astype(float), order[1 : n // 2 * 2 : 2].astype(float)
        inversions.append(np.mean(x > y))
        serial.append(np.corrcoef(order[:-1], order[1:])[0, 1] * math.sqrt(n) + 1 / math.sqrt(n))
        fixed += int(np.sum(order == np.arange(n)))
    pairs = n // 2
    z = (np.mean(inversions) - 0.5) / math.sqrt(0.25 / (pairs * orders))
    return {
        "first element": stats.kstest((np.array(first) + 0.5) / n, "uniform").pvalue,
        "place and value": _square(places, n, orders),
        "successor": stats.chisquare(steps, _cells(n, 64) * orders * (n - 1)).pvalue,
        "displacement of neighbours": stats.chisquare(back, _cells(n, 64) * orders * (n - 1)).pvalue,
        "orders of triples": stats.chisquare(triples).pvalue,
        "inversions of pairs": 2 * stats.norm.sf(abs(z)),
        "serial correlation": 2 * stats.norm.sf(abs(np.sum(serial) / math.sqrt(orders))),
        "fixed points": min(
            1.0, 2 * min(stats.poisson.cdf(fixed, orders), stats.poisson.sf(fixed - 1, orders))
        ),
    }


def _square(counts: np.ndarray, n: int, orders: int) -> float:
    """Chi-square of a table whose sums by row and column are given, summed over orders without replacement."""
    part = np.bincount(np.arange(n) * len(counts) // n)
    expected = np.outer(part, part) / n * orders
    found = ((counts - expected) ** 2 / expected).sum() * (n - 1) / n
    return float(stats.chi2.sf(found, (len(counts) - 1) ** 2))


def _cells(n: int, cells: int) -> np.ndarray:
    """Chances of the differences 1 .. n-1, equally likely, in `cells` equal parts."""
    return np.bincount(np.arange(1, n) * cells // n, minlength=cells) / (n - 1)


SIZES = [(1000, 3000), (1024, 3000), (4099, 800), (65_537, 60), (10**6, 6)]


@pytest.mark.parametrize(("n", "orders"), SIZES)
def test_longer_orders_behave_as_random_ones(n, orders):
    words = keys(orders, n)
    found = order_statistics(lambda k: Keyed(n, words[k]).slice(0, 1, n).astype(np.int64), n, orders)
    assert min(found.values()) > LEAST_P, found


@pytest.mark.parametrize(("n", "orders"), SIZES[:3])
def test_the_exact_method_passes_the_same_tests(n, orders):
    found = order_statistics(lambda k: Permutation(n, 1, k, "exact")[:].astype(np.int64), n, orders)
    assert min(found.values()) > LEAST_P, found


@pytest.mark.parametrize("fault", ["2 rounds", "4 rounds", "linear rounds"])
def test_weak_networks_are_noticed(fault):
    """The tests above can fail: they do for too few rounds, and for a round function without its mixing."""
    n, orders = 1024, 600
    words = keys(orders, 1).astype(np.uint64)
    rounds = {"2 rounds": 2, "4 rounds": 4}.get(fault, ROUNDS)
    hash_of = (lambda x, add, mul: x + add << 22 & 0xFFFFFFFF) if fault == "linear rounds" else hashed
    found = order_statistics(lambda k: whole(n, words[k], rounds, hash_of), n, orders)
    assert min(found.values()) < LEAST_P, found


@pytest.mark.parametrize("changed", ["seed", "epoch", "n"])
def test_neighbouring_orders_have_nothing_in_common(changed):
    """Seeds, epochs and n that differ by one: as many equal elements as chance gives, and no correlation."""
    n, times = 1000, 400
    equal, correlations = 0, []
    for k in range(times):
        one = Permutation(n, k, 3, "keyed")[:].astype(np.int64)
        arguments = {"seed": (n, k + 1, 3), "epoch": (n, k, 4), "n": (n + 1, k, 3)}[changed]
        other = Permutation(*arguments, "keyed")[:n].astype(np.int64)
        equal += int(np.sum(one == other))
        correlations.append(np.corrcoef(one, other)[0, 1] * math.sqrt(n))
    assert min(stats.poisson.cdf(equal, times), stats.poisson.sf(equal - 1, times)) > LEAST_P
    assert stats.kstest(correlations, "norm").pvalue > LEAST_P


def test_one_bit_of_a_key_changes_half_of_the_bits():
    """But for the lowest bit of a multiplier, which is always 1. The highest bit of one, times odd hashes only, changes
    half of a round's values, and with them a quarter of the bits at the least. The last rounds change one half each."""
    n, places = 2**20, 64
    base = keys(1, 9)[0]
    expected = Keyed(n, base).slice(5, n // places, places)
    for word in range(WORDS - 8):
        for bit in (0, 7, 31):
            changed = base.copy()
            changed[word] ^= np.uint32(1 << bit)
            flips = np.bitwise_count(Keyed(n, changed).slice(5, n // places, places) ^ expected).sum() / (
                places * 20
            )
            least = 0.43 if word % 2 == 0 or bit == 7 else 0.0 if bit == 0 else 0.15
            most = 0.0 if word % 2 and bit == 0 else 0.57  # of 1280 bits; 0.07 are five deviations
            assert least <= flips <= most, (word, bit, flips)


# ---- draws without memory ----


@pytest.mark.parametrize("n", [1, 5, 2**31, 3 * 2**30, 2**40 + 7, 2**62 + 1, 2**63 - 1])
def test_draws_are_the_high_part_of_a_product(n):
    seed = np.random.SeedSequence(n)
    draws = Draws(n, 500, seed)
    words = [int(word) for word in seed.generate_state(WORDS)]
    expected = [n * element(i, 2**62, words) >> 62 for i in range(0, 500, 7)]
    assert draws[::7].tolist() == expected
    assert draws[[7, 14]].tolist() == expected[1:3]
    assert draws[7] == expected[1]


def test_draws_are_uniform_and_repeat():
    draws = Draws(1000, 200_000, np.random.SeedSequence(1))[:]
    assert stats.chisquare(np.bincount(draws, minlength=1000)).pvalue > LEAST_P
    pairs = np.bincount(draws[::2] // 50 * 20 + draws[1::2] // 50, minlength=400)
    assert stats.chisquare(pairs).pvalue > LEAST_P
    large = epoch_order(10**9, np.random.SeedSequence(1), 0, "replacement")
    assert len(large) == 10**9
    assert stats.kstest(large[:20_000] / 1e9, "uniform").pvalue > LEAST_P


# ---- bad input ----


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1, 0), ValueError, "n is -1; an integer from 0 to 9223372036854775807 is needed"),
        ((2**63, 0), ValueError, "n is 9223372036854775808"),
        ((1.5, 0), TypeError, "n is 1.5"),
        ((True, 0), TypeError, "n is True"),
        ((5, "seed"), TypeError, "seed is str"),
        ((5, -1), ValueError, "seed is -1"),
        ((5, 0, -1), ValueError, "epoch is -1"),
        ((5, 0, 0.5), TypeError, "epoch is 0.5"),
        ((5, 0, 0, "fast"), ValueError, "method is 'fast'; one of 'auto', 'exact', 'keyed' is needed"),
        ((5, 0, 0, None), ValueError, "method is None"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Permutation(*arguments)


@pytest.mark.parametrize("method", ["keyed", "exact"])
def test_bad_indices(method):
    order = Permutation(10, 0, method=method)
    for index in (10, -11, 2**70, [0, 10], np.array([-11])):
        with pytest.raises(IndexError, match="10 elements"):
            order[index]
    for index in (1.0, "a", None, [0.5], [[1, 2]], np.zeros(10, bool), (1, 2)):
        with pytest.raises(TypeError, match="the index"):
            order[index]
    for value in (-1, 10, [3, 10]):
        with pytest.raises(ValueError, match="from 0 to 9"):
            order.index_of(value)
    for value in (1.5, [0.5], [[1]], "a"):
        with pytest.raises(TypeError, match="value"):
            order.index_of(value)
    with pytest.raises(ValueError, match="size is 0"):
        order.shard(0, 0)
    with pytest.raises(ValueError, match="rank is 2; an integer from 0 to 1"):
        order.shard(2, 2)
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(order, copy=False)


def test_keys_of_another_length():
    with pytest.raises(ValueError, match=f"{WORDS} are needed"):
        Keyed(5, np.zeros(3, np.uint32))
