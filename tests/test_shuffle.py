"""Orders: permutations, each equally likely, the same for ever."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fastopt._core import shuffle
from fastopt.data.order import epoch_order, seed_from, seed_from_state, seed_state

GOLDEN = json.loads((Path(__file__).parent / "data" / "orders.json").read_text())
WIDTHS = [(False, np.uint32), (True, np.int64)]
# Seeds are fixed, so a chi-square that passes once passes always; one in a thousand is far from what a
# biased method gives.
LEAST_P = 1e-3


@pytest.mark.parametrize(("wide", "dtype"), WIDTHS)
@pytest.mark.parametrize("n", [0, 1, 2, 3, 63, 64, 65, 66, 127, 128, 129, 1000, 100_003])
def test_permutations_are_permutations(n, wide, dtype):
    order = shuffle.permutation(n, np.random.PCG64(n), wide)
    assert order.dtype == dtype
    assert np.array_equal(np.sort(order), np.arange(n))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_every_permutation_is_equally_likely(n, wide):
    bits = np.random.PCG64(7 * n + wide)
    cells = list(itertools.permutations(range(n)))
    seen = Counter(tuple(shuffle.permutation(n, bits, wide).tolist()) for _ in range(400 * len(cells)))
    assert set(seen) <= set(cells)
    assert stats.chisquare([seen[cell] for cell in cells]).pvalue > LEAST_P


def test_every_permutation_is_equally_likely_over_epochs():
    seed = np.random.SeedSequence(3)
    seen = Counter(tuple(epoch_order(4, seed, e, "epoch").tolist()) for e in range(24 * 200))
    assert len(seen) == 24
    assert stats.chisquare(list(seen.values())).pvalue > LEAST_P


@pytest.mark.parametrize("wide", [False, True])
def test_places_and_neighbours_of_long_orders(wide):
    """Beyond the 64 places drawn ahead: where a row goes, and which row follows it, are uniform."""
    n, times = 200, 2000
    bits = np.random.PCG64(11 + wide)
    orders = np.array([shuffle.permutation(n, bits, wide) for _ in range(times)], np.int64)
    places = np.stack([np.bincount(column, minlength=n) for column in orders.T])
    assert stats.chisquare(places.ravel()).pvalue > LEAST_P
    gaps = np.bincount(((orders[:, 1:] - orders[:, :-1]) % n).ravel(), minlength=n)[1:]
    assert stats.chisquare(gaps).pvalue > LEAST_P


@pytest.mark.parametrize(("wide", "dtype"), WIDTHS)
def test_draws_are_uniform(wide, dtype):
    draws = shuffle.draws(7, 70_000, np.random.PCG64(5), wide)
    assert draws.dtype == dtype
    assert stats.chisquare(np.bincount(draws, minlength=7)).pvalue > LEAST_P
    pairs = np.bincount(draws[::2].astype(np.int64) * 7 + draws[1::2], minlength=49)
    assert stats.chisquare(pairs).pvalue > LEAST_P


@pytest.mark.parametrize(
    ("n", "wide"), [(3 * 2**30, False), (2**32 - 2, False), (3 * 2**30, True), (3 * 2**61, None)]
)
def test_draws_below_large_bounds(n, wide):
    """A method that rejects nothing gives some numbers below 3 * 2^30 twice the chance of others."""
    draws = shuffle.draws(n, 60_000, np.random.PCG64(1), wide).astype(np.int64)
    assert draws.min() >= 0
    assert draws.max() < n
    assert stats.kstest(draws / n, "uniform").pvalue > LEAST_P
    assert stats.chisquare(np.bincount(draws % 3, minlength=3)).pvalue > LEAST_P


def lemire(words, bound, width):
    """Algorithm 5 of Lemire's paper."""
    while True:
        m = next(words) * bound
        if m % 2**width >= 2**width % bound:
            return m >> width


def words_of(bits, wide):
    """64-bit words, or their halves, low half first."""
    for word in iter(bits.random_raw, None):
        yield from (int(word),) if wide else (int(word) % 2**32, int(word) >> 32)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("n", [5, 64, 65, 66, 1500])
def test_against_the_textbook(n, wide):
    words = words_of(np.random.PCG64(n), wide)
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = lemire(words, i + 1, 64 if wide else 32)
        order[i], order[j] = order[j], order[i]
    assert shuffle.permutation(n, np.random.PCG64(n), wide).tolist() == order


@pytest.mark.parametrize("wide", [False, True])
def test_rejection_against_the_textbook(wide):
    """A bound so large that a quarter of the words are rejected."""
    n = 3 * 2 ** (61 if wide else 30)
    words = words_of(np.random.PCG64(2), wide)
    expected = [lemire(words, n, 64 if wide else 32) for _ in range(500)]
    assert shuffle.draws(n, 500, np.random.PCG64(2), wide).tolist() == expected


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['shuffle']}-{row['n']}-{row['epoch']}")
def test_golden_orders(row):
    seed = np.random.SeedSequence(row["entropy"], spawn_key=tuple(row["spawn_key"]))
    order = epoch_order(row["n"], seed, row["epoch"], row["shuffle"])
    assert order[: len(row["first"])].tolist() == row["first"]
    places = np.arange(1, row["n"] + 1, dtype=np.uint64)
    assert int((order.astype(np.uint64) * places).sum() % 2**61) == row["checksum"]


def test_once_is_the_order_of_epoch_0():
    seed = np.random.SeedSequence(4)
    assert np.array_equal(epoch_order(50, seed, 9, "once"), epoch_order(50, seed, 0, "epoch"))
    assert not np.array_equal(epoch_order(50, seed, 9, "epoch"), epoch_order(50, seed, 0, "epoch"))


@pytest.mark.parametrize("seed", [0, 2**200, [1, 2, 2**70], np.random.SeedSequence(5).spawn(3)[2]])
def test_seeds_go_through_json(seed):
    seed = seed_from(seed)
    back = seed_from_state(json.loads(json.dumps(seed_state(seed))))
    assert back.generate_state(8).tolist() == seed.generate_state(8).tolist()
    assert np.array_equal(epoch_order(20, back, 3, "epoch"), epoch_order(20, seed, 3, "epoch"))


def test_rng_as_default_rng_takes_it():
    assert seed_from(3).entropy == 3
    assert seed_from(np.int64(3)).entropy == 3
    assert seed_from(None).entropy != seed_from(None).entropy
    a, b = np.random.default_rng(1), np.random.default_rng(1)
    first = seed_from(a).entropy
    assert first == seed_from(b.bit_generator).entropy
    assert first != seed_from(a).entropy  # the draw moved a on
    assert seed_from(np.random.RandomState(1)).entropy == seed_from(np.random.RandomState(1)).entropy
    child = np.random.SeedSequence(1).spawn(1)[0]
    seed_from(child)
    assert child.n_children_spawned == 0


def test_global_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    epoch_order(10, seed_from(None), 0, "epoch")
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("rng", [True, 1.5, "seed", object(), np.random, [0.5]])
def test_rng_of_another_kind(rng):
    with pytest.raises(TypeError, match="rng is"):
        seed_from(rng)


@pytest.mark.parametrize("rng", [-1, [1, -2]])
def test_negative_seed(rng):
    with pytest.raises(ValueError, match="rng is"):
        seed_from(rng)


def test_bad_counts():
    bits = np.random.PCG64(0)
    with pytest.raises(ValueError, match="n is -1"):
        shuffle.permutation(-1, bits)
    with pytest.raises(ValueError, match="n is 0"):
        shuffle.draws(0, 1, bits)
