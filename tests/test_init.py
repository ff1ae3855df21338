"""Initializers: what is drawn, from which streams, into which layouts; and what is refused."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit, ndtr

import fastopt as fo
from fastopt.init import _streams, _targets
from fastopt.init._tree import NAMES

init = fo.init
DTYPES = (np.float32, np.float64)
both = pytest.mark.parametrize("dtype", DTYPES)
ROWS, COLS = 300, 200
LEAST_P, SIGMAS = 1e-6, 5.2  # whatever NumPy makes of a seed, a right sample fails less often than that


@pytest.fixture(autouse=True)
def threads():
    before = fo.get_num_threads()
    yield
    fo.set_num_threads(before)


def normal(std: float, mean: float = 0.0) -> Any:
    return stats.norm(mean, std)


def within(limit: float) -> Any:
    return stats.uniform(-limit, 2 * limit)


def cut(std: float) -> Any:
    scale = std / stats.truncnorm(-2, 2).std()
    return stats.truncnorm(-2, 2, scale=scale)


FAN_IN, FAN_OUT = ROWS, COLS
AVG = (FAN_IN + FAN_OUT) / 2
#: name, arguments, the distribution that every element has in an array (300, 200)
DISTRIBUTIONS = [
    ("uniform", {}, stats.uniform(0, 1)),
    ("uniform", {"low": -3, "high": -1}, stats.uniform(-3, 2)),
    ("normal", {}, normal(1)),
    ("normal", {"mean": 2.0, "std": 0.3}, normal(0.3, 2.0)),
    ("truncated_normal", {}, stats.truncnorm(-2, 2)),
    ("truncated_normal", {"low": 0.5, "high": 0.7}, stats.truncnorm(0.5, 0.7)),
    ("truncated_normal", {"low": -0.7, "high": -0.5}, stats.truncnorm(-0.7, -0.5)),
    ("truncated_normal", {"low": 6, "high": np.inf}, stats.truncnorm(6, np.inf)),
    ("truncated_normal", {"std": 1e-3, "low": -1e38, "high": np.inf}, normal(1e-3)),
    ("truncated_normal", {"low": -np.inf, "high": 0.0}, stats.truncnorm(-np.inf, 0)),
    ("truncated_normal", {"mean": 1, "std": 2, "low": -1, "high": 0}, stats.truncnorm(-1, -0.5, loc=1, scale=2)),
    ("heuristic_uniform", {}, within(1 / math.sqrt(FAN_IN))),
    ("heuristic_uniform", {"axes": "out_in"}, within(1 / math.sqrt(FAN_OUT))),
    ("glorot_uniform", {}, within(math.sqrt(6 / (FAN_IN + FAN_OUT)))),
    ("glorot_uniform", {"gain": 3.0}, within(3 * math.sqrt(6 / (FAN_IN + FAN_OUT)))),
    ("glorot_normal", {"gain": "tanh"}, normal(5 / 3 * math.sqrt(2 / (FAN_IN + FAN_OUT)))),
    ("he_normal", {}, normal(math.sqrt(2 / FAN_IN))),
    ("he_normal", {"mode": "fan_out"}, normal(math.sqrt(2 / FAN_OUT))),
    ("he_normal", {"axes": "out_in"}, normal(math.sqrt(2 / FAN_OUT))),
    ("he_uniform", {}, within(math.sqrt(6 / FAN_IN))),
    ("lecun_normal", {}, normal(math.sqrt(1 / FAN_IN))),
    ("lecun_uniform", {"gain": 0.5}, within(0.5 * math.sqrt(3 / FAN_IN))),
    ("variance_scaling", {}, cut(math.sqrt(1 / FAN_IN))),
    ("variance_scaling", {"scale": 3, "mode": "fan_avg", "distribution": "normal"}, normal(math.sqrt(3 / AVG))),
    (
        "variance_scaling",
        {"scale": 0.1, "mode": "fan_geo_avg", "distribution": "uniform"},
        within(math.sqrt(0.3 / math.sqrt(FAN_IN * FAN_OUT))),
    ),
    ("random_walk", {}, normal(math.sqrt(2) * math.exp(1.2 / (300 - 2.4)) / math.sqrt(300))),
    ("random_walk", {"activation": "linear"}, normal(math.exp(1 / 600) / math.sqrt(300))),
    ("random_walk", {"activation": "tanh"}, normal(1.2 / math.sqrt(300))),
    ("random_walk", {"g": 7}, normal(7 / math.sqrt(300))),
]  # fmt: skip
RANDOM = sorted({name for name, _, _ in DISTRIBUTIONS} | {"orthogonal", "sparse", "near_identity"})


def looks_like(a, wanted) -> bool:
    """Distribution function, second and fourth moment are those wanted."""
    x = a.ravel().astype(np.float64)
    close = stats.kstest(x, wanted.cdf).pvalue > LEAST_P
    for power in (2, 4):
        spread = math.sqrt((wanted.moment(2 * power) - wanted.moment(power) ** 2) / x.size)
        close &= abs((x**power).mean() - wanted.moment(power)) < SIGMAS * spread
    return bool(close)


@both
@pytest.mark.parametrize("name, arguments, wanted", DISTRIBUTIONS)
def test_every_element_has_the_distribution(name, arguments, wanted, dtype):
    a = np.full((ROWS, COLS), np.nan, dtype)
    assert getattr(init, name)(a, rng=11, **arguments) is a
    assert looks_like(a, wanted)
    low, high = wanted.support()
    assert dtype(low) <= a.min() and a.max() <= dtype(high)


def test_mistakes_would_be_noticed():
    a = init.he_normal(np.empty((ROWS, COLS)), rng=11)
    std = math.sqrt(2 / FAN_IN)
    assert looks_like(a, normal(std)) and not looks_like(a, normal(std * 1.03))
    assert not looks_like(a, normal(std, 0.03 * std)) and not looks_like(a, stats.t(20, scale=std * 0.95))
    clipped = np.clip(init.normal(np.empty((ROWS, COLS)), rng=11), -2, 2)  # what truncation is not
    assert not looks_like(clipped, stats.truncnorm(-2, 2))


@both
def test_far_tails_are_exact(dtype):
    a = init.truncated_normal(np.empty(20_000, np.float64), low=30, high=31, rng=0)
    # Beyond z the tail falls as exp(-z u): an exponential distribution, nearly.
    exact = stats.truncnorm(30, 31)
    assert a.min() >= 30 and stats.kstest(a - 30, lambda x: exact.cdf(x + 30)).pvalue > LEAST_P
    b = init.truncated_normal(np.empty(20_000, dtype), low=-31, high=-30, rng=0)
    np.testing.assert_allclose(b, -a, rtol=np.finfo(dtype).eps)


@pytest.mark.parametrize("low, high", [(2.91, 2.9100011), (-1.31, -1.309999553), (1.69, 1.690002704)])
@pytest.mark.parametrize("size", [1000, 200_000])
def test_rounding_does_not_step_over_the_ends(low, high, size):
    """Narrow intervals in float32: low + (high - low) rounds to more than high."""
    assert np.float32(high - low) + np.float32(low) > np.float32(high)
    a = init.uniform(np.empty(size, np.float32), low, high, rng=0)
    assert np.float32(low) == a.min() and a.max() == np.float32(high)
    b = init.truncated_normal(np.empty(size, np.float32), 0.3, 1e-7, 0.3 - 1.9e-7, 0.3 + 1.9e-7, rng=0)
    assert np.float32(0.3 - 1.9e-7) <= b.min() and b.max() <= np.float32(0.3 + 1.9e-7)


def test_independent_elements():
    """Neighbours in a row, in a column and across the borders of chunks are uncorrelated."""
    a = init.normal(np.empty((2000, 1000), np.float32), rng=5).astype(np.float64)
    flat = a.ravel()
    for x, y in ((a[:, 1:], a[:, :-1]), (a[1:], a[:-1]), (flat[: -_streams.CHUNK], flat[_streams.CHUNK :])):
        assert abs((x * y).mean()) * math.sqrt(x.size) < SIGMAS
        assert abs((x**2 * y**2).mean() - 1) * math.sqrt(x.size / 8) < SIGMAS
    first = np.array([init.normal(np.empty(1), rng=seed)[0] for seed in range(2000)])
    assert stats.kstest(first, "norm").pvalue > LEAST_P


@both
def test_constants(dtype):
    a = np.full((3, 4), np.nan, dtype)
    assert (init.constant(a, 0.1) == dtype(0.1)).all()
    assert (init.ones(a, rng=0) == 1).all() and (init.zeros(a) == 0).all()
    assert init.constant(np.empty((), dtype), 2) == 2


def test_gains_are_those_of_the_theory():
    def by_quadrature(f):
        def square(z):
            return f(z) ** 2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

        return 1 / math.sqrt(quad(square, -12, 0, epsabs=1e-13)[0] + quad(square, 0, 12, epsabs=1e-13)[0])

    functions = {
        "linear": lambda z: z,
        "relu": lambda z: max(z, 0),
        "gelu": lambda z: z * ndtr(z),
        "silu": lambda z: z * expit(z),
        "elu": lambda z: z if z > 0 else math.expm1(z),
    }
    for name, f in functions.items():
        assert init.gain(name) == pytest.approx(by_quadrature(f), rel=1e-9)
    for slope in (None, 0.2, -0.5):
        a = 0.01 if slope is None else slope
        assert init.gain("leaky_relu", slope) == pytest.approx(
            by_quadrature(lambda z, a=a: z if z > 0 else a * z)
        )
    # torch.nn.init.calculate_gain
    assert [init.gain(n) for n in ("sigmoid", "tanh", "selu")] == pytest.approx([1, 5 / 3, 0.75])
    assert init.gain("relu") == math.sqrt(2)


def test_fans():
    assert init.fans((300, 200)) == (300, 200)
    assert init.fans((3, 5, 16, 32)) == (3 * 5 * 16, 3 * 5 * 32)
    assert init.fans((32, 16, 3, 5), "out_in") == (3 * 5 * 16, 3 * 5 * 32)
    assert init.fans((64, 8, 16), (0, (1, 2))) == (64, 128)
    assert init.fans((8, 16, 64), ((0, 1), -1)) == (128, 64)
    assert init.fans((7, 64, 32), (1, 2)) == (7 * 64, 7 * 32)
    kernel = init.he_normal(np.empty((5, 5, 20, 40)), rng=0)
    assert kernel.std() == pytest.approx(math.sqrt(2 / 500), rel=0.02)


# ---- streams ----


def test_small_arrays_are_drawn_from_the_generator_itself():
    def fresh():
        return np.random.default_rng(7)

    for dtype in DTYPES:
        rng = fresh()
        a = init.normal(np.empty((40, 50), dtype), std=0.5, rng=rng)
        twin = fresh()
        np.testing.assert_array_equal(a, twin.standard_normal((40, 50), dtype=dtype) * dtype(0.5))
        assert rng.bit_generator.state == twin.bit_generator.state
        np.testing.assert_array_equal(init.uniform(np.empty(9, dtype), rng=7), fresh().random(9, dtype=dtype))
    b = init.he_normal(np.empty((40, 50)), rng=7)
    np.testing.assert_array_equal(b, fresh().standard_normal((40, 50)) * np.sqrt(2 / 40))
    for form in (7, [7], np.random.SeedSequence(7), np.random.PCG64(7), fresh()):
        assert init.normal(np.empty(5), rng=form).tolist() == init.normal(np.empty(5), rng=7).tolist()
    legacy = init.normal(np.empty(5), rng=np.random.RandomState(np.random.MT19937(7)))
    np.testing.assert_array_equal(legacy, np.random.Generator(np.random.MT19937(7)).standard_normal(5))
    assert init.normal(np.empty(5)).tolist() != init.normal(np.empty(5)).tolist()


@both
@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_large_arrays_are_cut_into_chunks_of_known_streams(name, dtype):
    size = 2 * _streams.CHUNK + 12_345
    a = getattr(init, name)(np.empty(size, dtype), rng=3)
    words = np.random.default_rng(3).integers(0, 2**32, size=4, dtype=np.uint32).tolist()
    wanted = []
    state = np.random.SeedSequence(words).generate_state(9, np.uint64)
    for i, start in enumerate(range(0, size, _streams.CHUNK)):
        rng = np.random.Generator(np.random.SFC64(_streams._Seed(state[3 * i : 3 * i + 3])))
        draw = rng.standard_normal if name == "normal" else rng.random
        wanted.append(draw(min(_streams.CHUNK, size - start), dtype=dtype))
    np.testing.assert_array_equal(a, np.concatenate(wanted))


def test_seeds_of_streams_stay_what_they_are():
    """NumPy promises the words of a bit generator and of a SeedSequence, not the numbers made of them: these are pinned."""
    assert (_streams.SMALL, _streams.CHUNK, _streams.BLOCK) == (1 << 15, 1 << 16, 1 << 16)
    seed = _targets.words(np.random.default_rng(2026))
    assert seed == (3658676650, 768519172, 113462463, 2748406119)
    leaf = np.random.PCG64(_targets.leaf_seed(seed, "layers/0/w")).random_raw(4)
    state = np.random.SeedSequence(seed).generate_state(18, np.uint64)
    np.testing.assert_array_equal(state[:9], np.random.SeedSequence(seed).generate_state(9, np.uint64))
    chunk = np.random.SFC64(_streams._Seed(state[15:])).random_raw(4)
    digest = hashlib.sha256(np.concatenate([leaf, chunk]).astype("<u8").tobytes()).hexdigest()
    assert digest[:32] == "14eb3b1a3d35d33104440ca943bf4545"


def test_values_of_a_leaf_do_not_depend_on_the_others():
    def make(sizes):
        return {"a": [np.empty(s) for s in sizes], "w": np.empty((4, 3), np.float32)}

    one, other = init.normal(make((5, 9)), rng=0), init.normal(make((700_000,)), rng=0)
    np.testing.assert_array_equal(one["w"], other["w"])
    again = init.tree({"w": np.empty((4, 3), np.float32)}, {"*": "normal"}, rng=0)
    np.testing.assert_array_equal(one["w"], again["w"])
    rng = np.random.default_rng(_targets.leaf_seed(_targets.words(np.random.default_rng(0)), "w"))
    np.testing.assert_array_equal(one["w"], rng.standard_normal((4, 3), dtype=np.float32))
    assert not np.array_equal(one["a"][0], one["a"][1][:5])


@both
@pytest.mark.parametrize("name", ["normal", "uniform", "truncated_normal"])
def test_bits_do_not_depend_on_threads(name, dtype):
    def make():
        return {"w": np.empty((1500, 1000), dtype), "v": np.empty(300_000, dtype), "b": np.empty(10, dtype)}

    seen = set()
    for count in (1, 2, 3, 8):
        fo.set_num_threads(count)
        filled = getattr(init, name)(make(), rng=1)
        seen.add(hashlib.sha256(b"".join(a.tobytes() for a in filled.values())).hexdigest())
    assert len(seen) == 1


def test_an_error_in_a_thread_comes_out():
    fo.set_num_threads(4)
    calls = []

    def piece(v, rng):
        calls.append(1)
        raise MemoryError("no more")

    filler = _streams.elements(piece)
    with pytest.raises(MemoryError, match="no more"):
        _streams.run_jobs(filler(np.empty(1 << 21), np.random.default_rng(0)))
    assert len(calls) <= 4  # the rest is not begun


# ---- layouts ----


@st.composite
def views(draw):
    """A view of a larger array, and the larger array: steps of either sign, any order of axes."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(st.lists(st.integers(0, 6), min_size=2, max_size=4))
    steps = [draw(st.sampled_from((1, 2, -1, -3))) for _ in shape]
    order = draw(st.permutations(range(len(shape))))
    base = np.full([n * abs(s) + 1 for n, s in zip(shape, steps, strict=True)], 77, dtype)
    cuts = tuple(
        slice(None, n * s, s) if s > 0 else slice(None, -n * -s - 1, s)
        for n, s in zip(shape, steps, strict=True)
    )
    return base, base[cuts].transpose(order)


@settings(max_examples=150, deadline=None)
@given(
    views(),
    st.sampled_from(sorted(set(NAMES) - {"constant", "marginal_bias", "forget_bias"})),
    st.integers(0, 9),
)
def test_any_strides_get_the_values_of_a_contiguous_array(case, name, seed):
    base, view = case
    arguments = {"k": 1} if name == "sparse" else {}
    twin = np.full(view.shape, 77, view.dtype)
    try:
        getattr(init, name)(twin, rng=seed, **arguments)
    except ValueError as error:
        assert name in ("delta_orthogonal", "sparse"), error
        before = base.copy()
        with pytest.raises(ValueError):
            getattr(init, name)(view, rng=seed, **arguments)
        np.testing.assert_array_equal(base, before)
        return
    outside = base.copy()
    getattr(init, name)(view, rng=seed, **arguments)
    if "orthogonal" in name:
        np.testing.assert_allclose(view, twin, atol=16 * np.finfo(view.dtype).eps)
    else:
        np.testing.assert_array_equal(view, twin)
    view[...] = 77
    np.testing.assert_array_equal(base, outside)  # nothing beside the view was written


@both
def test_unaligned_and_foreign_memory(dtype, tmp_path):
    size = np.dtype(dtype).itemsize
    raw = np.zeros(100 * size + 1, np.uint8)
    odd = raw[1:].view(dtype)
    assert not odd.flags.aligned
    np.testing.assert_array_equal(init.normal(odd, rng=0), init.normal(np.empty(100, dtype), rng=0))
    mapped = np.memmap(tmp_path / "w", dtype, "w+", shape=(10, 10))
    assert init.orthogonal(mapped, rng=0) is mapped
    np.testing.assert_allclose(mapped.T @ mapped, np.eye(10), atol=1e-5)


@pytest.mark.parametrize("name", RANDOM)
def test_empty_arrays(name):
    for shape in ((0, 3), (3, 0), (0, 0), (2, 0, 3)):
        a = np.empty(shape)
        assert getattr(init, name)(a, rng=0) is a
    assert init.normal({}, rng=0) == {}
    assert init.normal(np.empty(()), rng=0).shape == ()


# ---- trees of rules ----


def params(dtype=np.float64):
    return {
        "0": {"w": np.full((20, 30), 9, dtype), "b": np.full(30, 9, dtype)},
        "1": {"w": np.full((30, 4), 9, dtype), "b": np.full(4, 9, dtype), "other": np.full(3, 9, dtype)},
    }


def test_rules_by_path():
    def mine(a, rng):
        a[...] = rng.integers(5, 8, a.shape)

    p = params()
    rules = {"0/w": ("orthogonal", {"gain": "relu"}), "*/w": init.he_normal, "0/b": 0.25, "1/b": mine}
    assert init.tree(p, rules, rng=4) is p
    np.testing.assert_allclose(p["0"]["w"] @ p["0"]["w"].T, 2 * np.eye(20), atol=1e-12)
    assert (p["0"]["b"] == 0.25).all() and set(p["1"]["b"]) <= {5, 6, 7}
    assert (p["1"]["other"] == 9).all()
    q = init.tree(params(), {"*/w": "he_normal"}, rng=4)
    np.testing.assert_array_equal(p["1"]["w"], q["1"]["w"])  # other rules do not matter
    bare = init.tree(np.empty((5, 4)), {"*": "glorot_uniform"}, rng=1)
    np.testing.assert_array_equal(bare, init.glorot_uniform(np.empty((5, 4)), rng=1))


def _raises(a, rng):
    a[...] = 1
    raise KeyError("mine")


BAD_RULES = [
    ({}, TypeError, "mapping of pattern"),
    ([("*", "zeros")], TypeError, "mapping of pattern"),
    ({"*/w": "he_normall"}, ValueError, r"rules\['\*/w'\].*'he_normall' is unknown"),
    ({"*/w": "he_normal", "*/nowhere": "zeros"}, ValueError, "first match of no path"),
    ({"*": "zeros", "*/w": "he_normal"}, ValueError, r"rules\['\*/w'\] is the first match of no path"),
    ({"*/w": ("he_normal", {"gian": 1})}, TypeError, "gian"),
    ({"*/w": ("he_normal", {"gain": -1})}, ValueError, "gain is -1"),
    ({"*/w": ("he_normal", {"rng": 1})}, TypeError, "neither rng"),
    ({"*/w": ("he_normal",)}, TypeError, "name of an initializer"),
    ({"*/w": None}, TypeError, "name of an initializer"),
    ({"*/w": True}, TypeError, "name of an initializer"),
    ({"*/w": "zeros", "*": "he_normal"}, ValueError, r"params\['0/b'\] \(he_normal\) has shape \(30,\)"),
    ({"*/w": "zeros", "1/b": _raises}, KeyError, "mine"),
    ({"0/w": ("sparse", {"k": 21})}, ValueError, "20 inputs"),
    ({"0/w": math.nan}, ValueError, "value is nan"),
]  # fmt: skip


@pytest.mark.parametrize("rules, kind, message", BAD_RULES)
def test_bad_rules(rules, kind, message):
    p = params()
    with pytest.raises(kind, match=message):
        init.tree(p, rules, rng=0)
    assert all((a == 9).all() for layer in p.values() for a in layer.values())


# ---- bad input ----

GOOD = np.ones((4, 3))
READ_ONLY = np.ones((4, 3))
READ_ONLY.flags.writeable = False
BAD_TARGETS = [
    ([1.0, 2.0], TypeError, "is float; a NumPy array"),
    (np.ones((4, 3), np.float16), TypeError, "float16; float32 or float64"),
    (np.ones((4, 3), int), TypeError, "int64; float32 or float64"),
    (np.ones((4, 3), complex), TypeError, "complex128"),
    (np.ones((4, 3), ">f8" if np.little_endian else "<f8"), TypeError, "foreign byte order"),
    (np.ma.ones((4, 3)), TypeError, "masked array"),
    (READ_ONLY, ValueError, "read-only"),
    (np.lib.stride_tricks.as_strided(np.ones(3), (4, 3), (0, 8)), ValueError, "same element by two indices"),
    ({"a": GOOD, "b": READ_ONLY}, ValueError, r"params\['b'\] is read-only"),
    ({"a": GOOD, "b": GOOD}, ValueError, "same array"),
    ({"a": GOOD, "b": GOOD[1:]}, ValueError, "share memory"),
    ({"a": GOOD, "b": None}, TypeError, r"params\['b'\] is NoneType"),
]  # fmt: skip


@pytest.mark.parametrize("name", ["normal", "glorot_uniform", "orthogonal", "zeros", "sparse"])
@pytest.mark.parametrize("target, kind, message", BAD_TARGETS)
def test_bad_targets(target, kind, message, name):
    with pytest.raises(kind, match=f"fo.init.{name}: .*{message}"):
        getattr(init, name)(target, rng=0)
    assert (GOOD == 1).all() and (READ_ONLY == 1).all()


BAD_ARGUMENTS = [
    ("normal", {"std": -1}, ValueError, "std is -1"),
    ("normal", {"std": math.nan}, ValueError, "std is nan"),
    ("normal", {"mean": "0"}, TypeError, "mean is '0'"),
    ("normal", {"std": True}, TypeError, "std is True"),
    ("normal", {"rng": "0"}, TypeError, "rng is '0'"),
    ("normal", {"rng": -1}, ValueError, "rng is -1"),
    ("normal", {"rng": 1.5}, TypeError, "rng is 1.5"),
    ("normal", {"rng": True}, TypeError, "rng is True"),
    ("normal", {"std": 1e308}, ValueError, "cannot hold"),
    ("uniform", {"low": 1, "high": 0}, ValueError, "low <= high"),
    ("uniform", {"low": -math.inf}, ValueError, "low is -inf"),
    ("uniform", {"low": -1.7e308, "high": 1.7e308}, ValueError, "cannot hold high - low"),
    ("truncated_normal", {"low": 1, "high": 1}, ValueError, "low < high"),
    ("truncated_normal", {"std": 0}, ValueError, "std is 0"),
    ("truncated_normal", {"low": math.nan}, ValueError, "low is nan"),
    ("constant", {"value": math.inf}, ValueError, "value is inf"),
    ("variance_scaling", {"scale": 0}, ValueError, "scale is 0"),
    ("variance_scaling", {"mode": "fan"}, ValueError, "mode is 'fan'"),
    ("variance_scaling", {"distribution": "cauchy"}, ValueError, "distribution is 'cauchy'"),
    ("variance_scaling", {"axes": "io"}, ValueError, "axes is 'io'"),
    ("variance_scaling", {"axes": 1}, TypeError, "axes is 1"),
    ("variance_scaling", {"axes": (0, 1.5)}, TypeError, "axes is"),
    ("variance_scaling", {"axes": (0, 2)}, ValueError, "names axis 2"),
    ("variance_scaling", {"axes": (0, -2)}, ValueError, "one axis twice"),
    ("variance_scaling", {"axes": ((), 1)}, ValueError, "without an axis"),
    ("glorot_uniform", {"gain": "rellu"}, ValueError, "'rellu' is unknown"),
    ("glorot_uniform", {"gain": 0}, ValueError, "gain is 0"),
    ("glorot_uniform", {"gain": None}, TypeError, "gain is None"),
    ("he_normal", {"mode": None}, TypeError, "mode is None"),
    ("random_walk", {"activation": "gelu"}, ValueError, "activation is 'gelu'"),
    ("random_walk", {"g": 0}, ValueError, "g is 0"),
    ("orthogonal", {"gain": -1}, ValueError, "gain is -1"),
    ("sparse", {"k": 5}, ValueError, "k <= 4 is wanted, not 5"),
    ("sparse", {"k": -1}, ValueError, "k is -1"),
    ("sparse", {"k": 1.0}, TypeError, "k is 1.0"),
    ("sparse", {"k": 1, "std": 0}, ValueError, "std is 0"),
    ("sparse", {"k": 1, "std": 1e-300}, ValueError, "too coarse"),
    ("identity", {"gain": math.inf}, ValueError, "gain is inf"),
    ("near_identity", {"std": -1}, ValueError, "std is -1"),
    ("delta_orthogonal", {}, ValueError, "4 inputs and 3 outputs"),
    ("relu_bias", {"value": -0.1}, ValueError, "value is -0.1"),
    ("forget_bias", {}, ValueError, "multiple of 4"),
    ("forget_bias", {"gates": 3, "gate": 3}, ValueError, "0 to 2"),
    ("marginal_bias", {"y": [0, 1]}, ValueError, r"shape \(c,\)"),
]  # fmt: skip


@pytest.mark.parametrize("name, arguments, kind, message", BAD_ARGUMENTS)
def test_bad_arguments(name, arguments, kind, message):
    a = {"first": np.ones((4, 3)), "second": np.ones((4, 3))}
    with pytest.raises(kind, match=f"fo.init.{name}: .*{message}"):
        getattr(init, name)(a, **{"rng": 0, **arguments})
    assert (a["first"] == 1).all() and (a["second"] == 1).all()


@pytest.mark.parametrize(
    "name", ["he_normal", "glorot_uniform", "orthogonal", "sparse", "identity", "random_walk"]
)
@pytest.mark.parametrize("shape", [(), (3,)])
def test_fans_mean_nothing_below_two_axes(name, shape):
    tree = {"w": np.ones((20, 20)), "b": np.ones(shape)}
    with pytest.raises(
        ValueError, match=rf"fo.init.{name}: params\['b'\] has shape .*from two axes on.*fo.init.tree"
    ):
        getattr(init, name)(tree, rng=0)
    assert (tree["w"] == 1).all()


@pytest.mark.parametrize(
    "name, arguments",
    [("normal", {"std": 1e38}), ("constant", {"value": 1e39}), ("he_normal", {"gain": 1e39})],
)
def test_what_a_dtype_cannot_hold(name, arguments):
    tree = {"a": np.ones((3, 3)), "b": np.ones((3, 3), np.float32)}
    with pytest.raises(ValueError, match=r"params\['b'\] is float32, which cannot hold"):
        getattr(init, name)(tree, rng=0, **arguments)
    assert (tree["a"] == 1).all()


def test_bad_gains():
    for arguments, message in (((1,), "activation is 1"), (("relu", 1.0), "takes none"), (("x",), "unknown")):
        with pytest.raises((TypeError, ValueError), match=f"fo.init.gain: .*{message}"):
            init.gain(*arguments)
    with pytest.raises(ValueError, match="fo.init.fans: the array has shape"):
        init.fans((3,))


# ---- biases ----


def test_biases_from_the_marginal():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    b = init.marginal_bias(np.empty(3), labels, smoothing=0)
    np.testing.assert_allclose(np.exp(b), [0.5, 0.3, 0.2])
    b = init.marginal_bias(np.empty(4), labels)  # the last class does not occur
    np.testing.assert_allclose(np.exp(b), np.array([51, 31, 21, 1]) / 104)
    one_hot = np.eye(4)[labels]
    np.testing.assert_allclose(init.marginal_bias(np.empty(4), one_hot), b)
    hits = np.repeat([1.0, 0.0], [30, 70])
    b = init.marginal_bias(np.empty(1), hits, output="sigmoid", smoothing=0)
    np.testing.assert_allclose(expit(b), [0.3])
    b = init.marginal_bias(np.empty(2, np.float32), np.c_[hits, 0 * hits], output="sigmoid", smoothing=0.5)
    np.testing.assert_allclose(expit(b), [30.5 / 101, 0.5 / 101], rtol=1e-6)
    y = np.random.default_rng(0).normal([3, 5], size=(50, 2))
    np.testing.assert_allclose(init.marginal_bias(np.empty(2), y, output="identity"), y.mean(0))
    tree = init.tree({"b": np.empty(3)}, {"b": ("marginal_bias", {"y": labels})}, rng=0)
    np.testing.assert_allclose(np.exp(tree["b"]), np.array([51, 31, 21]) / 103)


def test_an_output_layer_at_its_marginal_is_where_a_constant_model_is_best():
    from fastopt import nn

    labels = np.random.default_rng(0).choice(3, 400, p=[0.7, 0.2, 0.1])
    model = nn.Sequential(nn.Dense(5, 3), dtype=np.float64, rng=0)
    init.tree(model.params, {"*/w": 0, "*/b": ("marginal_bias", {"y": labels, "smoothing": 0})})
    _, grads = model.loss_and_grads(np.random.default_rng(1).normal(size=(400, 5)), labels)
    assert np.abs(grads["0"]["b"]).max() < 1e-14


BAD_TARGETS_OF_BIAS = [
    ({"y": []}, ValueError, "y is empty"),
    ({"y": ["a"]}, TypeError, "real numbers"),
    ({"y": [0.5, 0.5]}, TypeError, "integer labels"),
    ({"y": [0, 3]}, ValueError, "labels from 0 to 3; 0 to 2"),
    ({"y": [-1, 2]}, ValueError, "labels from -1"),
    ({"y": np.ones((4, 2))}, ValueError, r"shape \(4, 2\)"),
    ({"y": 2 * np.ones((4, 3))}, ValueError, "0 to 1 are wanted"),
    ({"y": [0, 1], "smoothing": 0}, ValueError, "output 2 has one value"),
    ({"y": [0, 1], "smoothing": -1}, ValueError, "smoothing is -1"),
    ({"y": [[np.nan] * 3], "output": "identity"}, ValueError, "Inf or NaN"),
    ({"y": np.ones((4, 3)), "output": "sigmoid", "smoothing": 0}, ValueError, "one value"),
    ({"y": [0, 1], "output": "linear"}, ValueError, "output is 'linear'"),
]  # fmt: skip


@pytest.mark.parametrize("arguments, kind, message", BAD_TARGETS_OF_BIAS)
def test_bad_targets_of_biases(arguments, kind, message):
    b = np.ones(3)
    with pytest.raises(kind, match=f"fo.init.marginal_bias: .*{message}"):
        init.marginal_bias(b, **arguments)
    assert (b == 1).all()


def test_other_biases():
    assert (init.relu_bias(np.empty(3)) == 0.1).all() and (init.relu_bias(np.empty(3), 0.01) == 0.01).all()
    b = init.forget_bias(np.full((2, 12), 9.0), 2.0)
    np.testing.assert_array_equal(b[0].reshape(4, 3).sum(axis=1), [0, 6, 0, 0])
    b = init.forget_bias(np.full(6, 9.0, np.float32), gate=2, gates=3)
    np.testing.assert_array_equal(b, [0, 0, 0, 0, 1, 1])


def test_floor_and_import_stay_light():
    """fo.init is found late, and neither it nor its names are imported with fastopt."""
    import subprocess
    import sys

    code = (
        "import sys, fastopt as fo; assert 'fastopt.init' not in sys.modules; fo.init; "
        "assert 'fastopt.nn' not in sys.modules and 'scipy.linalg.lapack' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
