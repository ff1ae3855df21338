"""Parts of a pass: shards, take, cycle; last batches; sizes that change with the epoch; states of all of them."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt as fo


def noisy(batch, rng):
    return batch + rng.random()


@given(
    st.integers(1, 60), st.integers(1, 9), st.integers(1, 7), st.sampled_from(["keep", "drop", "pad"]),
    st.sampled_from(["epoch", False]), st.sampled_from([None, noisy]), st.sampled_from([False, True, 2]), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_shards_together_are_the_epoch(rows, size, ranks, last, shuffle, augment, prefetch, seed):
    options = {
        "size": min(size, rows), "rng": seed, "last": last, "shuffle": shuffle, "augment": augment,
    }  # fmt: skip
    X = np.arange(float(rows))
    whole = fo.Batches(X, **options)
    shards = [fo.Batches(X, **options, prefetch=prefetch).shard(rank, ranks) for rank in range(ranks)]
    assert sum(map(len, shards)) == len(whole)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1
    for epoch in range(2):
        assert all(shard.epoch == epoch for shard in shards)
        expected = [batch.copy() for batch in whole]
        dealt = [[batch.copy() for batch in shard] for shard in shards]
        got = [batch for turn in itertools.zip_longest(*dealt) for batch in turn if batch is not None]
        assert len(got) == len(expected)
        assert all(map(np.array_equal, got, expected))


@given(
    st.integers(20, 200), st.integers(1, 9), st.lists(st.integers(1, 6), min_size=1, max_size=5), st.booleans(),
    st.data(),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_the_number_of_workers_changes_at_checkpoints(rows, size, changes, prefetch, data):
    X = np.arange(float(rows))

    def make(seed):
        return fo.Batches(X, size=size, rng=seed, augment=noisy, prefetch=prefetch)

    whole = make(5)
    expected = [batch.copy() for _ in range(2) for batch in whole]
    state, got = make(5).state_dict(), []
    for at, ranks in enumerate([*changes, 1]):
        shards = [make(None).shard(rank, ranks) for rank in range(ranks)]
        for shard in shards:
            shard.load_state_dict(json.loads(json.dumps(state)))
        rounds = data.draw(st.integers(0, 5)) if at < len(changes) else 10**9
        while shards[0].epoch < 2 and rounds > 0:
            its = [iter(shard) for shard in shards]
            while rounds > 0:
                turn = [next(it, None) for it in its]
                got += [batch.copy() for batch in turn if batch is not None]
                rounds -= 1
                if turn[-1] is None:  # the last round was short, and with it the epoch is over
                    for it in its:
                        assert next(it, None) is None
                    break
            else:
                break
        states = [shard.state_dict() for shard in shards]
        state = states[0]
        assert all(other == state for other in states)
    assert len(got) == len(expected)
    assert all(map(np.array_equal, got, expected))


def test_a_shard_of_a_shard():
    X = np.arange(100)
    whole = [batch.copy() for batch in fo.Batches(X, size=3, rng=0)]
    part = list(fo.Batches(X, size=3, rng=0).shard(1, 2).shard(2, 3))
    assert all(map(np.array_equal, part, whole[5::6]))
    assert len(part) == len(whole[5::6])


def test_more_workers_than_batches():
    shard = fo.Batches(np.arange(10), size=5, rng=0).shard(3, 4)
    assert len(shard) == 0
    assert list(shard) == []
    assert shard.epoch == 1
    with pytest.raises(ValueError, match="no batches"):
        next(shard.cycle())


@pytest.mark.parametrize("prefetch", [False, True])
def test_take(prefetch):
    X = np.arange(50)
    batches = fo.Batches(X, size=4, rng=0, prefetch=prefetch)
    plain = fo.Batches(X, size=4, rng=0)
    orders = [[batch.copy() for batch in plain] for _ in range(3)]
    first = batches.take(3)
    assert len(first) == 3
    assert len(batches.take(100)) == len(batches) == 13
    for epoch in range(2):
        got = list(first)
        assert len(got) == 3
        assert all(map(np.array_equal, got, orders[epoch]))
    assert (first.epoch, batches.epoch) == (2, 0)  # each goes its own way
    next(iter(batches))
    rest = list(batches.take(5))
    assert all(map(np.array_equal, rest, orders[0][1:5]))
    assert len(rest) == 4
    shard = batches.shard(1, 2).take(2)
    assert len(shard) == 2
    state = first.state_dict()
    other = fo.Batches(X, size=4).take(3)
    other.load_state_dict(state)
    assert all(map(np.array_equal, other, orders[2]))


@pytest.mark.parametrize("prefetch", [False, True])
def test_cycle(prefetch):
    batches = fo.Batches(np.arange(20), size=6, rng=0, prefetch=prefetch)
    plain = fo.Batches(np.arange(20), size=6, rng=0)
    expected = [batch.copy() for _ in range(3) for batch in plain]
    for k, batch in enumerate(batches.cycle()):
        assert np.array_equal(batch, expected[k])
        assert (batches.epoch, batches.position) == (k // 4, k % 4 + 1)
        if k == 9:
            break
    resumed = fo.Batches(np.arange(20), size=6)
    resumed.load_state_dict(batches.state_dict())
    assert np.array_equal(next(resumed.cycle()), expected[10])


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("shuffle", ["epoch", False])
def test_pad(shuffle, prefetch):
    X = np.arange(26).reshape(13, 2)
    batches = fo.Batches(X, size=5, rng=0, shuffle=shuffle, last="pad", prefetch=prefetch)
    assert len(batches) == 3
    got = [batch.copy() for batch in batches]
    assert all(batch.shape == (5, 2) for batch in got)
    flat = np.concatenate(got)
    assert np.array_equal(flat[:13], np.concatenate(list(fo.Batches(X, size=5, rng=0, shuffle=shuffle))))
    assert np.array_equal(flat[13:], flat[:2])


def test_pad_of_an_order_shorter_than_a_batch():
    batches = fo.Batches(np.arange(13), size=2, shuffle=[4, 7, 9], last="pad")
    assert [batch.tolist() for batch in batches] == [[4, 7], [9, 4]]


@pytest.mark.parametrize("prefetch", [False, True])
def test_size_as_a_function_of_the_epoch(prefetch):
    def size(epoch):
        return 2 ** (epoch + 1)

    X = np.arange(20)
    batches = fo.Batches(X, size=size, rng=0, prefetch=prefetch)
    lengths, states = [], []
    for _ in range(3):
        lengths.append((len(batches), batches.size))
        for batch in batches:
            states.append((json.dumps(batches.state_dict()), batch.copy()))
    assert lengths == [(10, 2), (5, 4), (3, 8)]
    for k in (0, 9, 10, 14, 16):
        resumed = fo.Batches(X, size=size)
        resumed.load_state_dict(json.loads(states[k][0]))
        if k + 1 < len(states):
            assert np.array_equal(next(resumed.cycle()), states[k + 1][1])
    with pytest.raises(ValueError, match="size is 2, here 3"):
        fo.Batches(X, size=lambda e: 3).load_state_dict(json.loads(states[0][0]))
    bad = fo.Batches(X, size=lambda e: 5 - e)
    for _ in range(5):
        list(bad)
    with pytest.raises(ValueError, match=r"size\(5\) is 0; from 1 to 20"):
        list(bad)


def test_states_of_version_1_and_2():
    X = np.arange(10)
    plain = fo.Batches(X, size=3, rng=0)
    padded = fo.Batches(X, size=3, rng=0, last="pad")
    assert (plain.state_dict()["version"], padded.state_dict()["version"]) == (1, 2)
    padded.load_state_dict(padded.state_dict())
    with pytest.raises(ValueError, match="version is 1, here 2"):
        padded.load_state_dict(plain.state_dict())
    rows = fo.Batches(X, size=2, shuffle=[1, 2, 3, 4])
    other = fo.Batches(X, size=2, shuffle=[1, 2, 3, 5])
    rows.load_state_dict(json.loads(json.dumps(rows.state_dict())))
    with pytest.raises(ValueError, match="shuffle is"):
        rows.load_state_dict(other.state_dict())


BAD = {
    "last": (lambda b: fo.Batches(np.zeros(5), size=2, last="no"), ValueError, "last is 'no'; one of 'keep'"),
    "both": (lambda b: fo.Batches(np.zeros(5), size=2, last="pad", drop_last=True), ValueError, "not both"),
    "take 0": (lambda b: b.take(0), ValueError, "k is 0; at least 1"),
    "take 1.5": (lambda b: b.take(1.5), TypeError, "k is 1.5"),
    "size": (lambda b: b.shard(0, 0), ValueError, "size is 0; at least 1"),
    "rank": (lambda b: b.shard(2, 2), ValueError, "rank is 2; from 0 to 1"),
    "rank True": (lambda b: b.shard(True, 2), TypeError, "rank is True"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, error, message = BAD[case]
    with pytest.raises(error, match=message):
        call(fo.Batches(np.zeros(5), size=2))
