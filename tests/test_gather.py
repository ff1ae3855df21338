"""Batches that are converted and scaled on the way, against NumPy; other sources than arrays."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt as fo

NUMBERS = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]
OTHERS = ["?", ">f4", ">i2", "g"]  # through NumPy


def numbers(shape, dtype, seed):
    """Any bytes for integers; for floats all magnitudes, zeros of both signs, infinities, NaN."""
    dtype, rng = np.dtype(dtype), np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        return (
            np.frombuffer(rng.bytes(int(np.prod(shape)) * dtype.itemsize), dtype.newbyteorder("="))
            .reshape(shape)
            .astype(dtype)
        )
    with np.errstate(all="ignore"):
        found = (rng.standard_normal(shape) * 10.0 ** rng.integers(-50, 50, shape)).astype(dtype)
        found = np.where(
            rng.random(shape) < 0.2, np.array([0, -0.0, np.inf, -np.inf, np.nan])[seed % 5], found
        )
        return found.astype(dtype)


def equal(got, expected):
    """Same dtype, shape and bits; NaN of any payload."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    assert np.array_equal(got, expected, equal_nan=True)
    real = ~np.isnan(expected)
    assert np.array_equal(np.signbit(got[real]), np.signbit(expected[real]))


@given(
    st.sampled_from(NUMBERS + OTHERS),
    st.sampled_from(["f4", "f8"]),
    st.sampled_from([None, 1.0, 1 / 255, -3.0, 0.0, 1e-30]),
    st.integers(1, 40),
    st.lists(st.integers(0, 20), max_size=2),
    st.lists(st.sampled_from([1, 2, -1, -3]), min_size=3, max_size=3),
    st.booleans(),
    st.sampled_from(["epoch", False]),
    st.integers(0, 99),
)
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # np.errstate does not reach the thread that prefetches
def test_cast_and_scale_as_numpy(kind, target, scale, rows, inner, steps, turned, shuffle, seed):
    shape = (rows, *inner)
    big = tuple(n * abs(step) for n, step in zip(shape, steps, strict=False))
    store = numbers(big[::-1], kind, seed).T if turned else numbers(big, kind, seed)
    X = store[tuple(slice(None, None, step) for step in steps[: len(shape)])]
    size = 1 + seed % rows
    if np.dtype(kind) == "g" and target == "f4" and scale == 1e-30:
        scale = None
    with np.errstate(all="ignore"):
        expected = X.astype(target)
        if scale is not None:
            expected = expected * np.dtype(target).type(scale)
        order = np.concatenate(list(fo.Batches(np.arange(rows), size=size, rng=seed, shuffle=shuffle)))
        for prefetch in (False, 3):
            batches = fo.Batches(
                X, size=size, rng=seed, shuffle=shuffle, dtype=(target,), scale=scale, prefetch=prefetch
            )
            equal(np.concatenate(list(batches)), expected[order])


def test_all_halves():
    X = np.arange(65536, dtype=np.uint16).view(np.float16)
    (got,) = fo.Batches(X, size=65536, shuffle=False, dtype=np.float32)
    equal(got, X.astype(np.float32))


def test_every_thread_count_gives_the_same_bits():
    X = np.random.default_rng(0).integers(0, 256, (3000, 784), np.uint8)
    before, found = fo.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            fo.set_num_threads(threads)
            batches = fo.Batches(X, size=700, rng=1, dtype=np.float32, scale=1 / 255)
            found.append(b"".join(batch.tobytes() for batch in batches))
    finally:
        fo.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_one_scale_is_for_the_first_array():
    X, y = np.arange(12, dtype=np.uint8).reshape(6, 2), np.arange(6)
    ((xb, yb),) = fo.Batches(X, y, size=6, shuffle=False, dtype=np.float32, scale=0.5)
    assert (xb.dtype, yb.dtype) == (np.float32, np.int64)
    assert np.array_equal(xb, X * np.float32(0.5))
    assert np.array_equal(yb, y)
    ((xb, yb),) = fo.Batches(X, y, size=6, shuffle=False, dtype=(None, "f8"), scale=(None, 3))
    assert np.array_equal(xb, X)
    assert np.array_equal(yb, y * 3.0)
    Z = np.linspace(0, 1, 5)
    (zb,) = fo.Batches(Z, size=5, shuffle=False, scale=2)
    assert np.array_equal(zb, 2 * Z)
    assert zb.flags.writeable


BAD = {
    "no float": ({"scale": 0.5}, TypeError, r"scale is for arrays\[0\], whose batches are uint8"),
    "text": ({"scale": "x"}, TypeError, "scale is 'x'"),
    "nan": ({"scale": np.nan, "dtype": np.float32}, ValueError, "finite"),
    "entries": (
        {"scale": (1.0, 2.0), "dtype": np.float32},
        ValueError,
        "scale has 2 entries; one for each of the 1",
    ),
    "true": ({"scale": True, "dtype": np.float32}, TypeError, "scale is True"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_scales(case):
    options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        fo.Batches(np.zeros((4, 2), np.uint8), size=2, **options)


class Squares:
    """A source that computes its rows."""

    def __init__(self, n):
        self.n, self.asked = n, []

    def __len__(self):
        return self.n

    def take(self, indices):
        self.asked.append(np.array(indices))
        assert indices.ndim == 1
        assert indices.dtype in (np.uint32, np.int64)
        return np.stack([indices, indices.astype(np.int64) ** 2], axis=1).astype(np.float64)


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("shuffle", ["epoch", False])
def test_a_source_with_take(shuffle, prefetch):
    y = np.arange(50)
    batches = fo.Batches(
        Squares(50), y, size=8, rng=2, shuffle=shuffle, dtype=np.float32, scale=2, prefetch=prefetch
    )
    expected = [b.copy() for b in fo.Batches(y, size=8, rng=2, shuffle=shuffle)]
    got = list(batches)
    assert len(got) == len(expected) == len(batches)
    for (xb, yb), rows in zip(got, expected, strict=True):
        assert np.array_equal(yb, rows)
        equal(xb, np.stack([rows, rows**2], axis=1).astype(np.float32) * np.float32(2))


def test_a_sparse_source():
    matrix = sp.random(40, 9, 0.3, format="csr", random_state=0)

    class Rows:
        def __len__(self):
            return 40

        def take(self, indices):
            return matrix[indices]

    batches = fo.Batches(Rows(), np.arange(40), size=7, rng=1, dtype=np.float32)
    for xb, rows in batches:
        assert xb.dtype == np.float32
        assert np.array_equal(xb.toarray(), matrix[rows].toarray().astype(np.float32))


WRONG = {
    "rows": (lambda i: np.zeros((3, 2)), ValueError, r"arrays\[0\].take gave shape \(3, 2\) for 5 indices"),
    "scalar": (lambda i: 3.0, ValueError, r"shape \(\)"),
    "objects": (lambda i: np.array([None] * len(i)), TypeError, "dtype object"),
    "raises": (lambda i: 1 / 0, ZeroDivisionError, "division"),
}


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_a_source_that_gives_something_else(case, prefetch):
    take, error, message = WRONG[case]
    source = type("Source", (), {"__len__": lambda self: 20, "take": lambda self, i: take(i)})()
    batches = fo.Batches(source, size=5, prefetch=prefetch)
    it = iter(batches)
    for _ in range(2):
        with pytest.raises(error, match=message):
            next(it)
    assert batches.position == 0


def test_advice_comes_before_the_rows():
    class Advised(Squares):
        told = 0

        def advise(self, first, stop):
            assert first == self.told
            self.told = stop

        def take(self, indices):
            assert self.told > indices.max()
            return super().take(indices)

    source = Advised(1000)
    assert sum(len(batch) for batch in fo.Batches(source, size=10, shuffle=False)) == 1000
    assert source.told == 1000


class Lazy:
    """An order of n entries without memory: i -> 7 i + seed modulo n."""

    def __init__(self, n, shift, log):
        self.n, self.shift, self.log = n, shift, log

    def __len__(self):
        return self.n

    def __getitem__(self, at):
        a, b, step = at.indices(self.n)
        assert step == 1
        self.log.append(b - a)
        return ((np.arange(a, b) * 7 + self.shift) % self.n).astype(np.uint32)


class Strategy:
    name = "sevens"

    def __init__(self):
        self.log = []

    def order(self, n, seed, epoch):
        return Lazy(n, epoch, self.log)

    def length(self, n):
        return n

    def state(self):
        return {"name": self.name}


@pytest.mark.parametrize("prefetch", [False, True, 5])
def test_a_computed_order_is_taken_in_pieces(prefetch):
    n, strategy = 300_000, Strategy()
    batches = fo.Batches(np.arange(n), size=100, shuffle=strategy, prefetch=prefetch)
    for epoch in range(2):
        got = np.concatenate(list(batches))
        assert np.array_equal(got, (np.arange(n) * 7 + epoch) % n)
    assert sum(strategy.log) == 2 * n
    assert max(strategy.log) <= 2**16 + 100
    state = batches.state_dict()
    assert state["shuffle"] == {"name": "sevens"}
    assert state["version"] == 2
    batches.load_state_dict(state)


@pytest.mark.parametrize("rows", [np.array([0, 9]), np.array([-1, 3]), np.array([0.5, 1.0])])
def test_an_order_that_leads_outside(rows):
    class Outside(Strategy):
        def order(self, n, seed, epoch):
            return rows

        def length(self, n):
            return 2

    with pytest.raises((ValueError, TypeError), match="the order"):
        list(fo.Batches(np.arange(9), size=2, shuffle=Outside()))
