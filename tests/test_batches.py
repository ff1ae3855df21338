"""Mini-batches: the right rows, buffers used again only when free, positions that resume, bad input."""

import ctypes
import gc
import itertools
import json
import mmap
import multiprocessing.shared_memory as shared
import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt as fo
from fastopt.data.order import SHUFFLES, epoch_order, seed_from

RECORD = np.dtype([("a", np.int16), ("b", np.float64, (3,))])
DTYPES = [
    np.float32, np.float64, np.float16, np.longdouble, np.complex64, np.complex128, np.bool_, np.int8,
    np.uint16, np.int64, "S3", "S7", "U5", "V11", "M8[s]", ">f4", RECORD,
]  # fmt: skip


@pytest.fixture
def threads():
    before = fo.get_num_threads()
    yield fo.set_num_threads
    fo.set_num_threads(before)


def filled(shape, dtype, seed=0):
    """An array of arbitrary bytes that are valid values of the dtype."""
    dtype = np.dtype(dtype)
    n = int(np.prod(shape, dtype=np.int64))
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        flat = rng.integers(0, 2, n).astype(bool)
    elif dtype.kind == "U":
        flat = np.array([chr(97 + k % 26) * (k % 6) for k in rng.integers(0, 1000, n)], dtype)
    elif dtype.kind in "fc" and dtype.itemsize > 8:
        flat = rng.standard_normal(n).astype(dtype)
    else:
        flat = (
            np.frombuffer(rng.bytes(n * dtype.itemsize), np.uint8).copy().view(dtype)
            if n
            else np.empty(0, dtype)
        )
    return flat.reshape(shape)


def same(a, b):
    """Equal dtype, shape and bytes."""
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@st.composite
def arrays(draw, rows):
    """An array of any dtype and layout: steps of any sign, any order of axes, any offset in memory."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    inner = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    shape = (rows, *inner)
    steps = [draw(st.sampled_from([1, 1, 2, -1, -3])) for _ in shape]
    axes = draw(st.permutations(range(len(shape)))) if draw(st.booleans()) else list(range(len(shape)))
    big = [shape[axis] * abs(steps[axis]) for axis in axes]
    offset = draw(st.integers(0, 17))
    raw = np.zeros(int(np.prod(big)) * dtype.itemsize + offset, np.uint8)
    store = raw[offset:].view(dtype).reshape(big)
    store[...] = filled(big, dtype, draw(st.integers(0, 9)))
    cut = tuple(slice(None, None, steps[axis]) for axis in axes)
    view = store[cut].transpose(np.argsort(axes))
    assert view.shape == shape
    return view


@given(st.data(), st.integers(1, 70), st.sampled_from(SHUFFLES), st.booleans(), st.integers(0, 2**40))
@settings(max_examples=200, deadline=None)
def test_batches_are_the_rows_of_the_order(data, rows, shuffle, drop_last, seed):
    sources = [data.draw(arrays(rows)) for _ in range(data.draw(st.integers(1, 3)))]
    size = data.draw(st.integers(1, rows))
    batches = fo.Batches(*sources, size=size, rng=seed, shuffle=shuffle, drop_last=drop_last)
    for epoch in range(2):
        assert batches.epoch == epoch
        order = epoch_order(rows, seed_from(seed), epoch, shuffle)
        order = np.arange(rows) if order is None else order
        starts = list(range(0, rows - size + 1 if drop_last else rows, size))
        got = [batch if len(sources) > 1 else (batch,) for batch in batches]
        assert len(got) == len(batches) == len(starts)
        for start, batch in zip(starts, got, strict=True):
            for source, rows_of in zip(sources, batch, strict=True):
                expected = np.take(source, order[start : start + size], axis=0)
                assert same(rows_of, expected)
                assert rows_of.flags.c_contiguous
                assert type(rows_of) is np.ndarray
                assert rows_of.flags.writeable or shuffle is False


def test_every_row_once_an_epoch_and_another_order_each():
    seen = []
    batches = fo.Batches(np.arange(1000), size=30, rng=1)
    for _ in range(3):
        seen.append(np.concatenate(list(batches)))
        assert np.array_equal(np.sort(seen[-1]), np.arange(1000))
    assert not np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[1], seen[2])


def test_once_and_replacement():
    once = fo.Batches(np.arange(100), size=7, rng=1, shuffle="once")
    first, second = np.concatenate(list(once)), np.concatenate(list(once))
    assert np.array_equal(first, second)
    assert np.array_equal(first, np.concatenate(list(fo.Batches(np.arange(100), size=9, rng=1))))
    drawn = np.concatenate(list(fo.Batches(np.arange(100), size=7, rng=1, shuffle="replacement")))
    assert drawn.shape == (100,)
    assert len(np.unique(drawn)) < 100


def test_the_order_does_not_depend_on_the_arrays_or_the_size():
    a = np.concatenate(list(fo.Batches(np.arange(999), size=10, rng=8)))
    b = np.concatenate(
        [rows for rows, _ in fo.Batches(np.arange(999.0), np.zeros((999, 3)), size=128, rng=8)]
    )
    assert np.array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_threads_give_the_same(threads, count, dtype):
    X = filled(
        (5000, 301), dtype, 3
    )  # a batch of 600 rows is far above the size from which threads are woken
    order = epoch_order(5000, seed_from(5), 0, "epoch")
    for source in (X, X[:, ::2], X[::-1, 1:]):
        threads(count)
        got = np.concatenate([xb.copy() for xb in fo.Batches(source, size=600, rng=5)])
        assert same(got, source[order])


def test_many_arrays():
    sources = [np.arange(50) * k for k in range(1, 20)]
    for batch in fo.Batches(*sources, size=8, rng=0):
        assert len(batch) == 19
        for k, part in enumerate(batch, 1):
            assert np.array_equal(part, batch[0] * k)


def test_many_rows():
    n = 3_000_000
    counts = np.zeros(n, np.int64)
    for rows in fo.Batches(np.arange(n), size=100_000, rng=0):
        counts[rows] += 1
    assert (counts == 1).all()


# ---- buffers ----


def address(array):
    return array.__array_interface__["data"][0]


def test_a_plain_loop_uses_two_buffers():
    X, y = np.random.default_rng(0).random((1000, 5)), np.arange(1000)
    places = [set(), set()]
    for xb, yb in fo.Batches(X, y, size=10, rng=0):
        for part, at in zip((xb, yb), places, strict=True):
            at.add(address(part))
            assert address(part) % 64 == 0
            assert part.flags.writeable
    assert [len(at) for at in places] == [2, 2]


def test_one_buffer_if_nothing_is_kept():
    it = iter(fo.Batches(np.arange(100), size=10, rng=0))
    assert len({address(next(it)) for _ in range(10)}) == 1


KEEPERS = {
    "array": lambda a: a,
    "view": lambda a: a[1:],
    "view of view": lambda a: a[1:].T[::2],
    "element view": lambda a: a[0, :0],
    "dtype view": lambda a: a.view(np.uint8),
    "reshaped": lambda a: a.reshape(-1),
    "memoryview": memoryview,
    "part of a memoryview": lambda a: memoryview(a)[1:],
    "asarray of memoryview": lambda a: np.asarray(memoryview(a)),
    "frombuffer": lambda a: np.frombuffer(a, np.float32),
    "dlpack": np.from_dlpack,
    "iterator": iter,
    "flat": lambda a: a.flat,
    "ctypes": lambda a: a.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
    "closure": lambda a: lambda: a,
    "subclass": lambda a: a.view(np.matrix),
}


@pytest.mark.parametrize("keeper", KEEPERS)
def test_whatever_holds_a_batch_keeps_its_rows(keeper):
    keep = KEEPERS[keeper]
    X = np.random.default_rng(0).random((60, 4)).astype(np.float32)
    it = iter(fo.Batches(X, size=5, rng=0))
    batch = next(it)
    at, before = address(batch), batch.copy()
    span = range(at, at + batch.nbytes)
    held = keep(batch)
    del batch
    later = [next(it) for _ in range(8)]
    assert all(address(other) not in span for other in later)
    now = np.ctypeslib.as_array((ctypes.c_float * before.size).from_address(at)).reshape(before.shape)
    assert np.array_equal(now, before)
    del held


def test_free_again_when_the_last_view_goes():
    it = iter(fo.Batches(np.arange(100.0), size=5, rng=0))
    batch = next(it)
    at, view = address(batch), batch[2:]
    del batch
    assert address(next(it)) != at
    del view
    assert address(next(it)) == at


def test_all_batches_in_a_list():
    X = np.arange(1000).reshape(500, 2)
    batches = list(fo.Batches(X, size=20, rng=0))
    assert len({address(batch) for batch in batches}) == 25
    assert np.array_equal(np.concatenate(batches), X[epoch_order(500, seed_from(0), 0, "epoch")])
    assert not any(np.shares_memory(a, b) for a, b in itertools.pairwise(batches))


def test_two_at_a_time():
    order = epoch_order(100, seed_from(0), 0, "epoch")
    it = iter(fo.Batches(np.arange(100), size=10, rng=0))
    for k, (a, b) in enumerate(zip(it, it, strict=True)):
        assert np.array_equal(np.concatenate([a, b]), order[20 * k : 20 * k + 20])


def test_held_ones_do_not_stop_the_reuse_of_others():
    batches = fo.Batches(np.arange(1000), size=10, rng=0)
    kept, places = [], set()
    for k, batch in enumerate(batches):
        if k < 20:
            kept.append(batch)
        elif k > 25:
            places.add(address(batch))
    assert len(places) <= 2
    assert np.array_equal(np.concatenate(kept), epoch_order(1000, seed_from(0), 0, "epoch")[:200])


def test_batches_outlive_their_maker_and_leave_nothing_behind():
    class Base(np.ndarray):
        pass

    X = np.arange(100.0).view(Base)
    gone = weakref.ref(X)
    batches = fo.Batches(X, size=10, rng=0)
    kept = list(batches)
    total = sum(map(np.sum, kept))
    del batches, X
    gc.collect()
    assert gone() is None
    assert sum(map(np.sum, kept)) == total == 4950


def test_writing_to_a_batch_leaves_the_source_alone():
    X = np.ones((50, 3))
    for xb in fo.Batches(X, size=7, rng=0):
        xb[...] = 0
    assert (X == 1).all()


def test_changed_elements_are_seen():
    X = np.zeros(10)
    it = iter(fo.Batches(X, size=5, rng=0))
    assert (next(it) == 0).all()
    X[:] = 1
    assert (next(it) == 1).all()


def test_in_order_gives_read_only_views():
    X, y = np.arange(20.0).reshape(10, 2), np.arange(20)[::2]
    for k, (xb, yb) in enumerate(fo.Batches(X, y, size=4, shuffle=False)):
        assert np.shares_memory(xb, X)
        assert np.array_equal(xb, X[4 * k : 4 * k + 4])
        assert not xb.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            xb[0] = 1
        assert not np.shares_memory(yb, y)  # not contiguous: copied
        assert np.array_equal(yb, y[4 * k : 4 * k + 4])
        assert yb.flags.writeable
    kept = list(fo.Batches(np.arange(20), size=6, shuffle=False))  # views hold the array
    assert np.array_equal(np.concatenate(kept), np.arange(20))


def test_threads_share_one_pass(threads):
    threads(2)
    X = np.arange(20_000 * 64).reshape(20_000, 64)
    it, taken, lock = iter(fo.Batches(X, size=300, rng=0)), [], threading.Lock()

    def work():
        for batch in it:
            assert (np.diff(batch, axis=1) == 1).all()  # whole rows, not two batches in one buffer
            with lock:
                taken.append(batch[:, 0] // 64)

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert np.array_equal(np.sort(np.concatenate(taken)), np.arange(20_000))


# ---- passes and positions ----


def test_leaving_a_pass_and_coming_back_is_a_new_epoch():
    batches = fo.Batches(np.arange(40), size=10, rng=3)
    for _ in batches:
        break
    assert (batches.epoch, batches.position) == (0, 1)
    got = np.concatenate(list(batches))
    assert np.array_equal(got, epoch_order(40, seed_from(3), 1, "epoch"))
    assert (batches.epoch, batches.position) == (2, 0)
    iter(batches)
    iter(batches)  # nothing taken: still the same epoch
    assert np.array_equal(np.concatenate(list(batches)), epoch_order(40, seed_from(3), 2, "epoch"))


def test_an_older_pass_is_over():
    batches = fo.Batches(np.arange(40), size=10, rng=3)
    old = iter(batches)
    next(old)
    new = iter(batches)
    with pytest.raises(RuntimeError, match="ended by a newer one"):
        next(old)
    assert np.array_equal(next(new), epoch_order(40, seed_from(3), 1, "epoch")[:10])
    with pytest.raises(RuntimeError, match="two Batches"):
        list(zip(batches, batches, strict=True))
    finished = iter(batches)
    list(finished)
    iter(batches)
    assert list(finished) == []  # a finished pass stays finished


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_resume_at_every_position(shuffle, drop_last):
    X, y, epochs = np.random.default_rng(0).random((23, 3)), np.arange(23), 3

    def make(rng):
        return fo.Batches(X, y, size=5, rng=rng, shuffle=shuffle, drop_last=drop_last)

    def run(batches):
        """All that is still to come, and the state after each batch and each pass."""
        got, states = [], []
        for _ in range(batches.epoch, epochs):
            for xb, yb in batches:
                got.append((xb.copy(), yb.copy()))
                states.append((len(got), json.dumps(batches.state_dict())))
            states.append((len(got), json.dumps(batches.state_dict())))
        return got, states

    first = make(7)
    start = json.dumps(first.state_dict())
    whole, states = run(first)
    assert len(whole) == epochs * len(first)
    for done, state in [(0, start), *states]:
        resumed = make(None)
        resumed.load_state_dict(json.loads(state))
        assert json.dumps(resumed.state_dict()) == state
        rest, _ = run(resumed)
        assert len(rest) == len(whole) - done
        for a, b in zip(rest, whole[done:], strict=True):
            assert all(map(same, a, b))


def test_loading_in_the_middle_of_a_pass():
    batches = fo.Batches(np.arange(40), size=10, rng=3)
    it = iter(batches)
    next(it)
    state = batches.state_dict()
    expected = [batch.copy() for batch in it]
    batches.load_state_dict(state)
    again = iter(batches)
    assert np.array_equal(next(again), expected[0])
    batches.load_state_dict(state)
    with pytest.raises(RuntimeError, match="load_state_dict"):
        next(again)
    assert all(map(np.array_equal, batches, expected))


def test_state_is_plain():
    batches = fo.Batches(np.arange(40), size=np.int64(10), rng=[2**90, 3], drop_last=np.True_)
    state = batches.state_dict()
    assert all(type(value) in (int, str, bool) for value in state.values())
    assert json.loads(json.dumps(state)) == state


BAD_STATES = {
    "rows": (41, "rows is 41, here 40"),
    "size": (9, "size is 9, here 10"),
    "shuffle": ("once", "shuffle is 'once', here 'epoch'"),
    "drop_last": (True, "drop_last is True, here False"),
    "version": (2, "version is 2, here 1"),
    "epoch": (-1, "epoch is -1"),
    "position": (5, "position is 5, needed is an integer from 0 to 4"),
    "seed": ("x", "the seed cannot be read"),
    "spawn_key": (3, "the seed cannot be read"),
    "pool_size": (1, "the seed cannot be read"),
}


@pytest.mark.parametrize("key", BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(key):
    batches = fo.Batches(np.arange(40), size=10, rng=3)
    it = iter(batches)
    next(it)
    before = batches.state_dict()
    value, message = BAD_STATES[key]
    for state in (
        {**before, key: value},
        {k: v for k, v in before.items() if k != key},
        {**before, key: 1.5},
    ):
        with pytest.raises(ValueError, match="does not fit") as caught:
            batches.load_state_dict(state)
        assert key in str(caught.value) or "seed" in str(caught.value)
        if state.get(key) == value:
            assert message in str(caught.value)
    assert batches.state_dict() == before
    assert np.array_equal(next(it), epoch_order(40, seed_from(3), 0, "epoch")[10:20])


def test_all_mismatches_are_listed_together():
    batches = fo.Batches(np.arange(40), size=10)
    other = fo.Batches(np.arange(30), size=9, shuffle=False, drop_last=True)
    with pytest.raises(ValueError, match=r"rows is 30.*size is 9.*shuffle is False.*drop_last is True"):
        batches.load_state_dict(other.state_dict())
    with pytest.raises(ValueError, match="'extra' is unknown"):
        batches.load_state_dict({**batches.state_dict(), "extra": 1})
    with pytest.raises(TypeError, match="state is list"):
        batches.load_state_dict([])


# ---- dtype ----


def test_one_dtype_is_for_floating_arrays():
    X, y, h = np.linspace(0, 1, 30).reshape(10, 3), np.arange(10), np.arange(10, dtype=np.float16)
    order = epoch_order(10, seed_from(1), 0, "epoch")
    for shuffle in ("epoch", False):
        rows = order if shuffle else np.arange(10)
        for k, (xb, yb, hb) in enumerate(
            fo.Batches(X, y, h, size=4, rng=1, shuffle=shuffle, dtype=np.float32)
        ):
            at = rows[4 * k : 4 * k + 4]
            assert same(xb, X[at].astype(np.float32))
            assert same(yb, y[at])
            assert same(hb, h[at].astype(np.float32))
            assert xb.flags.writeable
            assert address(xb) % 64 == 0


def test_a_dtype_for_each_array():
    image, y = filled((10, 4), np.uint8), np.arange(10)
    order = epoch_order(10, seed_from(1), 0, "epoch")
    for k, (xb, yb) in enumerate(fo.Batches(image, y, size=4, rng=1, dtype=("float32", None))):
        assert same(xb, image[order[4 * k : 4 * k + 4]].astype(np.float32))
        assert same(yb, y[order[4 * k : 4 * k + 4]])
    swapped = np.arange(5, dtype=">f8")
    assert next(iter(fo.Batches(swapped, size=5, shuffle=False, dtype=np.float64))).tolist() == [
        0,
        1,
        2,
        3,
        4,
    ]


# ---- sources ----


def test_lists_are_taken_once():
    rows = [[1, 2], [3, 4], [5, 6]]
    (batch,) = fo.Batches(rows, size=3, shuffle=False)
    assert np.array_equal(batch, rows)


def test_a_memory_map(tmp_path):
    X = np.random.default_rng(0).random((300, 7)).astype(np.float32)
    np.save(tmp_path / "x.npy", X)
    order = epoch_order(300, seed_from(0), 0, "epoch")
    source = np.load(tmp_path / "x.npy", mmap_mode="r")
    for array, expected in ((source, X), (source[::-2, 1:], X[::-2, 1:])):
        at = order if len(array) == 300 else epoch_order(150, seed_from(0), 0, "epoch")
        assert same(np.concatenate(list(fo.Batches(array, size=16, rng=0))), expected[at])
    batches = fo.Batches(source, size=16, rng=0)
    (tmp_path / "x.npy").unlink()  # the mapping lives on
    assert same(np.concatenate(list(batches)), X[order])


@pytest.mark.parametrize("shuffle", ["epoch", False])
def test_a_closed_memory_map(tmp_path, shuffle):
    path = tmp_path / "x.bin"
    np.arange(5000.0).tofile(path)
    source = np.memmap(path, np.float64, "r")
    batches = fo.Batches(source[::-1][::-1], size=100, shuffle=shuffle)
    it = iter(batches)
    next(it)
    state = batches.state_dict()
    source._mmap.close()
    with pytest.raises(ValueError, match=r"memory map of arrays\[0\] is closed"):
        next(it)
    assert batches.state_dict() == state
    with pytest.raises(ValueError, match="closed"):
        fo.Batches(source, size=100)


def test_a_memory_map_whose_file_was_cut(tmp_path):
    path = tmp_path / "x.bin"
    np.arange(50_000.0).tofile(path)
    it = iter(fo.Batches(np.memmap(path, np.float64, "r"), size=100, rng=0))
    next(it)
    with path.open("r+b") as file:
        file.truncate(8)
    with pytest.raises(ValueError, match=r"arrays\[0\] is mapped from has shrunk from 400000 to 8 bytes"):
        next(it)


def test_memory_without_a_file():
    store = mmap.mmap(-1, 8000)
    X = np.frombuffer(store, np.float64)
    X[:] = np.arange(1000)
    assert np.concatenate(list(fo.Batches(X, size=64, rng=0))).sum() == 499500
    block = shared.SharedMemory(create=True, size=8000)
    try:
        Y = np.ndarray(1000, np.float64, buffer=block.buf)
        Y[:] = 1
        it = iter(fo.Batches(Y, size=64, rng=0))
        assert (next(it) == 1).all()
    finally:
        block.close()
        block.unlink()
    with pytest.raises(ValueError, match="closed"):
        next(it)


CHANGES = {
    "resized": lambda a: a.resize((2000, 3), refcheck=False),
    "shrunk": lambda a: a.resize((1, 3), refcheck=False),
    "other shape": lambda a: setattr(a, "shape", (300, 1)),
    "other dtype": lambda a: setattr(a, "dtype", np.int64),
}


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
@pytest.mark.parametrize("shuffle", ["epoch", False])
@pytest.mark.parametrize("change", CHANGES)
def test_an_array_that_changed_under_the_batches(change, shuffle):
    X = np.zeros((100, 3))
    batches = fo.Batches(X, np.arange(100), size=10, shuffle=shuffle)
    it = iter(batches)
    next(it)
    state = batches.state_dict()
    CHANGES[change](X)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"arrays\[0\] has changed its memory, shape or dtype"):
            next(it)
    assert batches.state_dict() == state


BAD = {
    "no arrays": ((), {}, TypeError, "no array was given"),
    "no rows": ((np.zeros((0, 3)),), {}, ValueError, "no rows"),
    "a scalar": ((np.float64(3),), {}, ValueError, r"arrays\[0\] is a single value"),
    "0-d": ((np.zeros(5), np.array(3)), {}, ValueError, r"arrays\[1\] is a single value"),
    "lengths": ((np.zeros(5), np.zeros((6, 2))), {}, ValueError, "5, 6 rows; they must agree"),
    "objects": ((np.array([None, 1]),), {}, TypeError, r"arrays\[0\] has dtype object"),
    "objects inside": ((np.zeros(3, [("a", "O")]),), {}, TypeError, "numbers, or others of a fixed width"),
    "ragged text": ((np.array(["a"], np.dtypes.StringDType()),), {}, TypeError, "fixed width"),
    "no bytes": ((np.zeros(3, "V0"),), {}, TypeError, "of no bytes"),
    "masked": ((np.ma.zeros(3),), {}, TypeError, "masked"),
    "size 0": ((np.zeros(5),), {"size": 0}, ValueError, "size is 0; from 1 to 5"),
    "size -1": ((np.zeros(5),), {"size": -1}, ValueError, "size is -1"),
    "size 6": ((np.zeros(5),), {"size": 6}, ValueError, "size is 6; from 1 to 5"),
    "size True": ((np.zeros(5),), {"size": True}, TypeError, "size is True"),
    "size 2.0": ((np.zeros(5),), {"size": 2.0}, TypeError, "size is 2.0"),
    "size None": ((np.zeros(5),), {"size": None}, TypeError, "size is None"),
    "shuffle": (
        (np.zeros(5),),
        {"size": 2, "shuffle": "random"},
        ValueError,
        "shuffle is 'random'; one of 'epoch'",
    ),
    "shuffle True": ((np.zeros(5),), {"size": 2, "shuffle": True}, ValueError, "shuffle is True"),
    "shuffle 0": ((np.zeros(5),), {"size": 2, "shuffle": 0}, ValueError, "shuffle is 0"),
    "drop_last": ((np.zeros(5),), {"size": 2, "drop_last": "no"}, TypeError, "drop_last is 'no'"),
    "rng": ((np.zeros(5),), {"size": 2, "rng": "x"}, TypeError, "rng is"),
    "rng < 0": ((np.zeros(5),), {"size": 2, "rng": -1}, ValueError, "rng is -1"),
    "dtype": ((np.zeros(5),), {"size": 2, "dtype": np.int32}, TypeError, "dtype is int32; a floating dtype"),
    "dtype what": ((np.zeros(5),), {"size": 2, "dtype": "flaot"}, TypeError, "dtype is 'flaot'"),
    "dtypes": ((np.zeros(5),), {"size": 2, "dtype": (None, "f4")}, ValueError, "dtype has 2 entries"),
    "cast": (
        (np.zeros(5),),
        {"size": 2, "dtype": ("i4",)},
        TypeError,
        "float64, which does not go into int32",
    ),
    "cast to object": ((np.zeros(5),), {"size": 2, "dtype": (object,)}, TypeError, "does not go into object"),
    "positional size": ((np.zeros(5), 3), {}, ValueError, r"arrays\[1\] is a single value"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    given_arrays, options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        fo.Batches(*given_arrays, **options)


def test_generator_is_drawn_from_once():
    rng = np.random.default_rng(0)
    batches = fo.Batches(np.arange(50), size=5, rng=rng)
    state = rng.bit_generator.state
    list(batches)
    list(batches)
    assert rng.bit_generator.state == state
    again = fo.Batches(np.arange(50), size=5, rng=np.random.default_rng(0))
    assert np.array_equal(
        np.concatenate(list(again)), epoch_order(50, seed_from(np.random.default_rng(0)), 0, "epoch")
    )


def test_repr_and_length():
    batches = fo.Batches(np.zeros((10, 2)), np.arange(10), size=4, rng=0)
    assert (len(batches), len(fo.Batches(np.zeros(10), size=4, drop_last=True))) == (3, 2)
    next(iter(batches))
    assert repr(batches) == (
        "Batches(float64 (10, 2), int64 (10,); size=4, shuffle='epoch', drop_last=False; "
        "epoch 0, batch 1 of 3)"
    )
    assert batches.epoch == 0


def test_digits():
    X, y = fo.data.load_digits()
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((1797, 64), np.float32, (1797,), np.int64)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert (X.min(), X.max(), X.sum()) == (0, 16, 561718)
    assert np.array_equal(X, np.rint(X))
