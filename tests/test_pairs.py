"""The memory of L-BFGS against dense BFGS in NumPy: compact form, two loops, ring, damping, bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt._core import runtime
from fastopt._core.pairs import DIRECT, MAX, Pairs
from rows import ISAS

SIZES = (1, 2, 3, 15, 16, 17, 1000, 1023, 1024, 1025, 8191, 8193, 20000)
MEMORIES = (1, 2, 5, 10, 20)
EPS = {np.float32: 2.0**-23, np.float64: 2.0**-52}
WIDTHS = (np.float64, np.float32)


class Walk:
    """Iterates of a quadratic with curvatures between 1 and `condition`, and a memory that saw them.

    `kept` holds what the memory should hold: the pairs as NumPy makes them, oldest first.
    """

    def __init__(
        self, n: int, m: int, dtype: Any, condition: float = 100.0, scale: float = 1.0, seed: int = 0
    ):
        self.rng = np.random.default_rng(seed)
        self.curvature = np.geomspace(1, condition, n)
        self.scale, self.dtype = scale, dtype
        self.memory = Pairs(n, m, dtype)
        self.kept: list[tuple[np.ndarray, np.ndarray]] = []
        self.x = self.draw()
        self.g = self.gradient(self.x)

    def draw(self) -> np.ndarray:
        return (self.scale * self.rng.standard_normal(len(self.curvature))).astype(self.dtype)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        return (self.curvature * x / self.scale).astype(self.dtype)

    def measure(self) -> dict[str, float]:
        self.xt = (self.x + self.draw() * 10.0 ** self.rng.uniform(-2, 0)).astype(self.dtype)
        self.gt = self.gradient(self.xt)
        if len(self.kept) == self.memory.m:
            del self.kept[0]
        sums = self.memory.measure(self.x, self.xt, self.g, self.gt)
        # Tiny problems keep differences in double.
        wide = np.float64 if len(self.x) <= DIRECT else self.dtype
        self.pair = tuple(
            np.subtract(a.astype(wide), b.astype(wide)).astype(np.float64)
            for a, b in ((self.xt, self.x), (self.gt, self.g))
        )
        self.x, self.g = self.xt, self.gt
        return sums

    def step(self) -> None:
        self.measure()
        self.memory.accept()
        self.kept.append(self.pair)


def dense_product(kept: list[tuple[np.ndarray, np.ndarray]], gamma: float, v: np.ndarray) -> np.ndarray:
    """H v with H <- (I - rho s y') H (I - rho y s') + rho s s', one pair after the other (Nocedal and Wright, 6.17).

    Each update is applied as an operator, so that n may be large.
    """
    if not kept:
        return gamma * v
    *older, (s, y) = kept
    rho = 1 / (s @ y)
    along = rho * (s @ v)
    inner = dense_product(older, gamma, v - along * y)
    return inner - rho * (y @ inner) * s + along * s


def matrix(kept: list[tuple[np.ndarray, np.ndarray]], gamma: float, n: int) -> np.ndarray:
    h = gamma * np.eye(n)
    for s, y in kept:
        rho = 1 / (s @ y)
        left = np.eye(n) - rho * np.outer(s, y)
        h = left @ h @ left.T + rho * np.outer(s, s)
    return h


def close(a: np.ndarray, b: np.ndarray, dtype: Any, factor: float) -> None:
    error = np.linalg.norm(a.astype(np.float64) - b) / np.linalg.norm(b)
    assert error <= factor * EPS[dtype], error / EPS[dtype]


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("m", MEMORIES)
@pytest.mark.parametrize("n", SIZES)
def test_all_forms_agree_from_the_first_pair_to_after_the_ring_has_turned(n: int, m: int, dtype: Any) -> None:
    walk = Walk(n, m, dtype)
    for k in range(2 * m + 2):
        walk.step()
        memory = walk.memory
        assert memory.count == len(walk.kept) == min(k + 1, m)
        if n > 2000 and k not in (0, 1, m - 1, m, 2 * m + 1):
            continue
        wanted = dense_product(walk.kept, memory.gamma, walk.g.astype(np.float64))
        compact, slope = memory.direction(walk.g)
        loops, slope_of_loops = memory.two_loop(walk.g)
        product, square = memory.product(walk.g)
        for got in (-compact, -loops, product):
            close(got, wanted, dtype, 2000)
        direct = compact.astype(np.float64) @ walk.g.astype(np.float64)
        assert slope < 0
        assert slope == pytest.approx(direct, rel=1e-12)
        assert square == pytest.approx(-slope, rel=1000 * EPS[dtype])
        assert slope_of_loops == pytest.approx(slope, rel=1000 * EPS[dtype])


@pytest.mark.parametrize("n", [2, 16, 17, 60])
def test_product_is_the_product_form_of_bfgs(n: int) -> None:
    walk = Walk(n, 5, np.float64)
    for _ in range(8):
        walk.step()
        h = matrix(walk.kept, walk.memory.gamma, n)
        assert np.linalg.eigvalsh((h + h.T) / 2)[0] > 0
        got = np.array([walk.memory.product(e)[0] for e in np.eye(n)])
        np.testing.assert_allclose(got, h, rtol=0, atol=1e-12 * np.abs(h).max())
        np.testing.assert_allclose(got, got.T, rtol=0, atol=1e-12 * np.abs(h).max())


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("n", [2, 17, 1025, 8193])
def test_secant_equation_of_the_newest_pair(n: int, dtype: Any) -> None:
    walk = Walk(n, 7, dtype, condition=1e3)
    for _ in range(9):
        walk.step()
        s, y = walk.memory.pair(walk.memory.count - 1)
        got, value = walk.memory.product(y)
        close(got, s.astype(np.float64), dtype, 2e4)
        assert value == pytest.approx(
            float(s.astype(np.float64) @ y.astype(np.float64)), rel=2e4 * EPS[dtype]
        )


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("n", [1, 5, 16, 17, 100, 1024, 9000])
def test_sums_and_rows_are_those_of_numpy(n: int, dtype: Any) -> None:
    walk = Walk(n, 3, dtype)
    for _ in range(6):
        sums = walk.measure()
        s, y = walk.pair
        gt = walk.gt.astype(np.float64)
        wanted = {"sy": s @ y, "yy": y @ y, "ss": s @ s, "gg": gt @ gt, "sg": s @ gt, "yg": y @ gt}
        sizes = {"sy": abs(s) @ abs(y), "sg": abs(s) @ abs(gt), "yg": abs(y) @ abs(gt)} | {
            k: wanted[k] for k in ("yy", "ss", "gg")
        }
        for name, value in wanted.items():
            # Products of one width are rounded once to that width where they belong to one vector.
            room = 4 * EPS[dtype] if name in ("ss", "gg") else 1e-14
            assert abs(sums[name] - value) <= room * sizes[name], name
        assert sums["largest"] == np.abs(gt).max()
        walk.memory.accept()
        walk.kept.append(walk.pair)
        for age, (s, y) in enumerate(walk.kept):
            got_s, got_y = walk.memory.pair(age)
            np.testing.assert_array_equal(got_s, s.astype(dtype))
            np.testing.assert_array_equal(got_y, y.astype(dtype))
        assert walk.memory.gamma == sums["sy"] / sums["yy"]


@pytest.mark.parametrize("n", [2, 40, 3000])
@pytest.mark.parametrize("before", [0, 1, 3, 4, 7, 8])
def test_a_rejected_pair_leaves_no_trace(n: int, before: int) -> None:
    walk = Walk(n, 4, np.float64)
    for _ in range(before):
        walk.step()
    for _ in range(3):
        walk.measure()
        walk.memory.reject()
        assert walk.memory.count == len(walk.kept) == min(before, 3 if before >= 4 else before)
        wanted = dense_product(walk.kept, walk.memory.gamma, walk.g)
        close(-walk.memory.direction(walk.g)[0], wanted, np.float64, 2000)
        close(walk.memory.product(walk.g)[0], wanted, np.float64, 2000)
    for _ in range(6):
        walk.step()
        wanted = dense_product(walk.kept, walk.memory.gamma, walk.g)
        close(-walk.memory.direction(walk.g)[0], wanted, np.float64, 2000)
        close(-walk.memory.two_loop(walk.g)[0], wanted, np.float64, 2000)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("n", [2, 17, 5000, 9000])
@pytest.mark.parametrize("theta", [0.0, 0.3, 1.0])
def test_damping_replaces_y_in_all_products(n: int, theta: float, dtype: Any) -> None:
    walk = Walk(n, 3, dtype)
    for _ in range(5):
        walk.measure()
        gamma = walk.memory.gamma
        sums = walk.memory.damp(theta, walk.g)
        s, y = walk.pair
        y = theta * y + (1 - theta) / gamma * s
        if n > DIRECT:
            y = y.astype(dtype).astype(np.float64)
        walk.memory.accept()
        walk.kept.append((s, y))
        np.testing.assert_array_equal(walk.memory.pair(walk.memory.count - 1)[1], y.astype(dtype))
        assert sums["sy"] == pytest.approx(s @ y, rel=1e-11)
        assert sums["yg"] == pytest.approx(y @ walk.g.astype(np.float64), rel=1e-10, abs=1e-12 * sums["yy"])
        wanted = dense_product(walk.kept, walk.memory.gamma, walk.g.astype(np.float64))
        close(-walk.memory.direction(walk.g)[0], wanted, dtype, 2000)


@pytest.mark.parametrize("n", [3, 200, 9000])
@pytest.mark.parametrize("scale", [1e-60, 1e60])
def test_badly_scaled_pairs(n: int, scale: float) -> None:
    """Curvatures 1 to 1e8 and steps of length 1e-60 or 1e60: agreement as far as the condition of R allows."""
    walk = Walk(n, 10, np.float64, condition=1e8, scale=scale)
    for _ in range(14):
        walk.step()
        wanted = dense_product(walk.kept, walk.memory.gamma, walk.g)
        got, slope = walk.memory.direction(walk.g)
        loops, _ = walk.memory.two_loop(walk.g)
        assert slope < 0
        close(-loops, wanted, np.float64, 1e8)
        close(-got, wanted, np.float64, 1e8)


@pytest.mark.parametrize("dtype", WIDTHS)
@pytest.mark.parametrize("n", [1, 2, 16, 17, 1023, 1025, 8193, 60001])
def test_bits_depend_on_neither_instruction_set_nor_threads(n: int, dtype: Any) -> None:
    seen: dict[bytes, list[Any]] = {}
    for isa in ISAS:
        runtime.use_isa(isa)
        for threads in (1, 2, 3, 8):
            fo.set_num_threads(threads)
            walk = Walk(n, 5, dtype)
            found = b""
            for k in range(7):
                sums = walk.measure()
                if k == 4:
                    sums = walk.memory.damp(0.5, walk.g)
                if k == 3:
                    walk.memory.reject()
                else:
                    walk.memory.accept()
                outs = (
                    walk.memory.direction(walk.g),
                    walk.memory.two_loop(walk.g),
                    walk.memory.product(walk.x),
                )
                found += b"".join(d.tobytes() + np.float64(z).tobytes() for d, z in outs)
                found += np.array(list(sums.values())).tobytes()
            seen.setdefault(found + walk.memory.block.tobytes(), []).append((isa, threads))
    assert len(seen) == 1, list(seen.values())


@pytest.mark.parametrize("n", [50, 2000])
def test_where_the_compact_form_fails_the_two_loops_step_in(n: int) -> None:
    """y'y overflows: the compact form needs it, the two loops do not."""
    memory = Pairs(n, 4)
    zero, one = np.zeros(n), np.ones(n)
    sums = memory.measure(zero, 1e-100 * one, zero, 1e160 * one)
    assert sums["yy"] == np.inf
    memory.accept()
    memory.gamma = 1.0
    gt = one + 3 * np.where(np.arange(n) % 2, 1.0, -1.0)
    memory.measure(zero, one, zero, gt)
    memory.reject()
    loops, slope = memory.two_loop(gt)
    assert np.isfinite(loops).all()
    assert slope < 0
    compact = memory.product(gt)[0]
    assert not np.isfinite(compact).all(), "the example does not reach the fallback"
    d, slope_of_d = memory.direction(gt)
    assert d.tobytes() == loops.tobytes()
    assert slope_of_d == slope


@pytest.mark.parametrize("n", [2, 50, 2000])
def test_no_direction_of_descent_is_nan(n: int) -> None:
    walk = Walk(n, 4, np.float64)
    for _ in range(4):
        walk.step()
    for bad in (np.full(n, np.nan), np.full(n, np.inf)):
        walk.memory.measure(walk.x, walk.x, walk.g, bad)
        walk.memory.reject()
        assert np.isnan(walk.memory.direction(bad)[1])
    assert np.isnan(Pairs(n, 2).direction(np.zeros(n))[1])


@pytest.mark.parametrize("n", [0, 2, 100, 1500])
def test_without_pairs_h_is_gamma(n: int) -> None:
    memory = Pairs(n, 3)
    v = np.arange(1.0, n + 1)
    for gamma in (1.0, 0.25):
        memory.gamma = gamma
        np.testing.assert_array_equal(memory.direction(v)[0], -gamma * v)
        np.testing.assert_array_equal(memory.two_loop(v)[0], -gamma * v)
        np.testing.assert_array_equal(memory.product(v)[0], gamma * v)
    memory.reset()
    assert (memory.gamma, memory.count) == (1.0, 0)


@pytest.mark.parametrize("n", [2, 300, 8193])
def test_a_saved_memory_goes_on_with_the_same_bits(n: int) -> None:
    walk, other = Walk(n, 3, np.float64), Walk(n, 3, np.float64)
    for _ in range(5):
        walk.step()
        other.step()
    copy = Pairs(n, 3)
    copy.load(other.memory.block.tobytes())
    other.memory = copy
    for _ in range(3):
        walk.step()
        other.step()
        assert walk.memory.direction(walk.g)[0].tobytes() == copy.direction(other.g)[0].tobytes()
    assert walk.memory.block.tobytes() == copy.block.tobytes()


def test_a_foreign_block_is_refused() -> None:
    memory = Pairs(300, 3)
    good = memory.block.tobytes()
    for bad in (
        good[:-1],
        Pairs(300, 3, np.float32).block.tobytes(),
        b"",
        bytes(len(good)),
        b"\xff" * len(good),
    ):
        with pytest.raises(ValueError, match="data "):
            memory.load(bad)
    for place in range(0, 128):
        broken = bytearray(good)
        broken[place] ^= 0x10
        try:
            memory.load(bytes(broken))
        except ValueError:
            assert memory.block.tobytes() == good
        else:
            memory.load(good)


def test_tiny_memories_are_small() -> None:
    assert Pairs(2, 10).block.nbytes <= 640
    assert Pairs(10**6, 10).block.nbytes <= 1.005 * 160e6 + 4096


def test_bad_arguments() -> None:
    for m in (0, -1, MAX + 1):
        with pytest.raises(ValueError, match=f"m is {m}"):
            Pairs(5, m)
    with pytest.raises(ValueError, match="n is -1"):
        Pairs(-1, 5)
    with pytest.raises(TypeError, match="int64"):
        Pairs(5, 5, np.int64)
    memory, v = Pairs(4, 2), np.ones(4)
    bad: list[Any] = [np.ones(5), np.ones((4, 1)), np.ones(4, np.float32), [1.0] * 4, None, np.ones(8)[::2]]
    for given in bad:
        for place in range(4):
            args = [v] * 4
            args[place] = given
            with pytest.raises(ValueError, match=rf"^{('x', 'xt', 'g', 'gt')[place]} is "):
                memory.measure(*args)
        with pytest.raises(ValueError, match="v is "):
            memory.direction(given)
    frozen = np.ones(4)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        memory.product(v, frozen)
    with pytest.raises(ValueError, match="out overlaps"):
        memory.product(v, v)
    for call in (memory.accept, memory.reject, lambda: memory.damp(0.5, v)):
        with pytest.raises(ValueError, match="no pair has been measured"):
            call()
    memory.measure(v, 2 * v, v, 3 * v)
    for theta in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="theta is"):
            memory.damp(theta, v)
    for gamma in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="gamma is"):
            memory.gamma = gamma
    with pytest.raises(IndexError, match="age is 1"):
        memory.pair(1)
