"""The packed inverse Hessian of BFGS: csrc/triangle.h, csrc/dense.c, and the table of BLAS they are held against."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from fastopt._core import runtime, triangle

SIZES = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 100, 257, 1000)
DTYPES = (np.float32, np.float64)
HERE = [name for name, runs in runtime.isas() if runs]

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(autouse=True)
def best_isa() -> Iterator[None]:
    yield
    runtime.use_isa(None)


def problem(n: int, dtype: type, seed: int = 0) -> Arrays:
    """A symmetric matrix and vectors s, w, g."""
    rng = np.random.default_rng([n, seed])
    a = rng.standard_normal((n, n))
    s, w, g = rng.standard_normal((3, n)).astype(dtype)
    return (a + a.T).astype(dtype), s, w, g


def packed(a: np.ndarray, offset: int = 0) -> np.ndarray:
    """a as a packed triangle that starts `offset` elements behind a cache line."""
    count = triangle.elements(a.dtype, len(a))
    store = np.full(count + 64 + offset, np.nan, a.dtype)
    start = -(store.ctypes.data // a.itemsize) % (64 // a.itemsize) + offset
    h = store[start : start + count]
    triangle.pack(a, h)
    return h


def run(
    h: np.ndarray, s: np.ndarray | None, w: np.ndarray | None, g: np.ndarray, threads: int = 1
) -> np.ndarray:
    u = np.full(len(g), np.nan, h.dtype)
    room = np.full(triangle.scratch(h.dtype, len(g)), 0xFF, np.uint8)  # NaN, whatever the width
    triangle.pass_(h, s, w, g, u, room, threads)
    return u


def close(got: np.ndarray, wanted: np.ndarray, scale: np.ndarray, terms: int) -> None:
    """Each within `terms` roundings of the sum of the magnitudes that were added up for it."""
    eps = np.finfo(got.dtype).eps
    assert got.shape == wanted.shape
    assert np.all(np.abs(got - wanted) <= terms * eps * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_pass_is_update_and_product(n: int, dtype: type) -> None:
    a, s, w, g = problem(n, dtype)
    h = packed(a)
    u = run(h, s, w, g)
    exact_s, exact_w = s.astype(float), w.astype(float)
    full = a + np.outer(exact_s, exact_w) + np.outer(exact_w, exact_s)
    scale = np.abs(a) + 2 * np.abs(np.outer(s, w)) + 2 * np.abs(np.outer(w, s))
    got = triangle.unpack(n, h)
    close(got, full, scale, 2)
    # The product is of the rounded matrix; every element of u is a sum of n products in some order.
    close(u, got.astype(float) @ g.astype(float), np.abs(got).astype(float) @ np.abs(g), n + 1)
    assert triangle.unpack(n, packed(a), s, w).tobytes() == got.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_pass_without_an_update_only_reads(n: int, dtype: type) -> None:
    a, _, _, g = problem(n, dtype)
    h = packed(a)
    h.flags.writeable = False
    before = h.tobytes()
    u = run(h, None, None, g)
    assert h.tobytes() == before
    zero = np.zeros_like(g)
    assert u.tobytes() == run(packed(a), zero, zero, g).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_pack_unpack_identity(n: int, dtype: type) -> None:
    a, *_ = problem(n, dtype)
    upper_wrong = np.tril(a) + np.triu(np.full_like(a, np.nan), 1)
    assert triangle.unpack(n, packed(upper_wrong)).tobytes() == a.tobytes()
    h = np.full(triangle.elements(dtype, n), np.nan, dtype)
    triangle.identity(n, 0.25, h)
    assert np.array_equal(triangle.unpack(n, h), 0.25 * np.eye(n, dtype=dtype))
    assert h.sum() == 0.25 * n  # the padding is zeros
    block = 32 // h.itemsize
    assert n * (n + 1) // 2 <= h.size <= (n + block - 1) * (n + 2 * block - 1) // 2


def test_nothing_to_do_for_no_unknowns() -> None:
    for dtype in DTYPES:
        empty = np.empty(0, dtype)
        assert triangle.elements(dtype, 0) == triangle.scratch(dtype, 0) == 0
        triangle.pass_(empty, empty, empty, empty, empty.copy(), np.empty(0, np.uint8))
        triangle.dense_pass(empty.reshape(0, 0), empty, empty, empty, empty.copy())
        assert triangle.unpack(0, empty).shape == (0, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_same_bits_for_every_isa_thread_count_and_place(n: int, dtype: type) -> None:
    a, s, w, g = problem(n, dtype)
    seen = set()
    for isa in HERE:
        runtime.use_isa(isa)
        for threads in (1, 2, 3, 8) if n >= 257 else (1, 2):
            for offset in (0, 1, 3) if threads == 1 else (5,):
                h = packed(a, offset)
                moved = [np.concatenate([np.zeros(offset, dtype), x])[offset:] for x in (s, w, g)]
                u = run(h, *moved, threads=threads)
                u_again = run(h, None, None, moved[2], threads=threads)
                seen.add((u.tobytes(), u_again.tobytes(), triangle.unpack(n, h).tobytes()))
    assert len(seen) == 1
    assert len(HERE) > 1 or len(runtime.isas()) == 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_blas_and_fused_agree(n: int, dtype: type) -> None:
    a, s, w, g = problem(n, dtype)
    h, full, v = packed(a), np.triu(a), np.full(n, np.nan, dtype)
    pending = triangle.dense_unpack(full, s, w)
    u = run(h, s, w, g)
    triangle.dense_pass(full, s, w, g, v)
    mine, theirs = triangle.unpack(n, h), triangle.dense_unpack(full)
    scale = np.abs(a) + 2 * np.abs(np.outer(s, w)) + 2 * np.abs(np.outer(w, s))
    close(mine, theirs.astype(float), scale, 4)
    close(mine, pending.astype(float), scale, 0)
    assert np.array_equal(np.tril(full, -1), np.zeros((n, n)))
    close(u, v.astype(float), scale.astype(float) @ np.abs(g), 2 * n + 6)


def test_bad_arrays_are_refused_with_nothing_written() -> None:
    a, s, w, g = problem(9, np.float64)
    h, u, room = packed(a), np.full(9, 7.0), np.empty(triangle.scratch(np.float64, 9), np.uint8)
    before = h.tobytes()
    wrong = [
        ({"s": None}, "of s and w one is None"),
        ({"w": None}, "of s and w one is None"),
        ({"s": s[:8]}, r"s is float64 of shape \(8,\)"),
        ({"w": w.astype(np.float32)}, "w is float32"),
        ({"g": g.astype(int)}, "g is int64"),
        ({"g": np.repeat(g, 2)[::2]}, "g is float64"),
        ({"u": g}, "u overlaps g"),
        ({"h": h[:-1]}, "h is float64"),
        ({"room": room[:-1]}, "room is uint8"),
    ]
    for change, message in wrong:
        with pytest.raises(ValueError, match=message):
            triangle.pass_(**({"h": h, "s": s, "w": w, "g": g, "u": u, "room": room} | change))
    h.flags.writeable = False
    with pytest.raises(ValueError, match="writable"):
        triangle.pass_(h, s, w, g, u, room)
    assert h.tobytes() == before and np.all(u == 7)
    with pytest.raises(ValueError, match="n is -1"):
        triangle.elements(np.float64, -1)
    with pytest.raises(ValueError, match="dtype is int32"):
        triangle.elements(np.int32, 3)
    with pytest.raises(ValueError, match="a square matrix"):
        triangle.pack(np.zeros((2, 3)), np.zeros(100))


# ---- the recurrence of BFGS ----


def pairs(
    n: int, count: int, spread: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, changes of gradient, gradients before and after, as of a quadratic whose eigenvalues span 1/spread to spread."""
    rng = np.random.default_rng([n, seed])
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    hessian = (q * np.geomspace(1 / spread, spread, n)) @ q.T
    steps = rng.standard_normal((count, n)) * np.geomspace(1e-4, 1e4, count)[rng.permutation(count), None]
    x = np.vstack([rng.standard_normal(n), steps]).cumsum(axis=0)
    grads = x @ ((hessian + hessian.T) / 2)
    return steps, np.diff(grads, axis=0), grads[:-1], grads[1:]


class Pending:
    """H in a triangle with its newest update still to be made: what a solver does around the pass."""

    def __init__(self, n: int, fused: bool) -> None:
        self.n, self.fused = n, fused
        self.s: np.ndarray | None = None
        self.w: np.ndarray | None = None
        self.h = packed(np.eye(n)) if fused else np.eye(n)

    def product(self, g: np.ndarray) -> np.ndarray:
        if self.fused:
            return run(self.h, self.s, self.w, g, threads=2)
        u = np.empty(self.n)
        triangle.dense_pass(self.h, self.s, self.w, g, u)
        return u

    def step(self, s: np.ndarray, d: np.ndarray, g: np.ndarray, g_new: np.ndarray) -> np.ndarray:
        """Next direction, from d = -H g; the one pass of an iteration."""
        y, u = g_new - g, self.product(g_new)
        self.hy, self.sy = u + d, s @ y
        w = -self.hy / self.sy + 0.5 * (1 + y @ self.hy / self.sy) / self.sy * s
        self.s, self.w = s, w
        return -(u + s * (w @ g_new) + w * (s @ g_new))

    def full(self) -> np.ndarray:
        if self.fused:
            return triangle.unpack(self.n, self.h, self.s, self.w)
        return triangle.dense_unpack(self.h, self.s, self.w)


def product_form(h: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(I - rho s y') H (I - rho y s') + rho s s', in the precision of h."""
    s, y = s.astype(h.dtype), y.astype(h.dtype)
    rho = 1 / (s @ y)
    left = np.eye(len(s), dtype=h.dtype) - rho * np.outer(s, y)
    return left @ h @ left.T + rho * np.outer(s, s)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "blas"])
@pytest.mark.parametrize("spread", [1.0, 10.0, 300.0])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 17, 64])
def test_thirty_updates_against_the_product_form(n: int, spread: float, fused: bool) -> None:
    """Nocedal & Wright, Numerical Optimization, eq. 6.17, one update at a time.

    Both forms subtract terms as large as |H| (|s| |y| / s'y)^2, and Hy comes as the difference of two products with
    |g|: a few eps of each of those magnitudes, times n for the sums, is what rounding may cost in one update.
    """
    eps = np.finfo(float).eps
    machine, before = Pending(n, fused), np.eye(n)
    steps, changes, old, new = pairs(n, 30, spread, 1)
    d = -old[0]
    for s, y, g, g_new in zip(steps, changes, old, new, strict=True):
        d_next = machine.step(s, d, g, g_new)
        got = machine.full()
        assert np.array_equal(got, got.T)
        plain = product_form(before.astype(np.longdouble), s, y).astype(float)
        size, length = np.linalg.norm(before, 2), np.linalg.norm(s)
        skew = length * np.linalg.norm(y) / (s @ y)
        terms = size * skew**2 + length**2 / (s @ y)
        terms += size * (np.linalg.norm(g) + np.linalg.norm(g_new)) * length / (s @ y) * skew
        assert np.linalg.norm(got - plain, 2) <= 4 * n * eps * terms
        assert np.linalg.norm(got @ y - s) <= 4 * n * eps * terms * np.linalg.norm(y)  # H+ y = s
        assert np.linalg.norm(d_next + got @ g_new) <= 4 * n * eps * terms * np.linalg.norm(g_new)
        np.linalg.cholesky(got)
        before, d = got, d_next


@pytest.mark.skipif(
    bool(np.finfo(np.longdouble).eps > 1e-18), reason="long double is double here: no truth to compare with"
)
@pytest.mark.parametrize("fused", [True, False], ids=["fused", "blas"])
@pytest.mark.parametrize("spread", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("n", [2, 5, 17, 64])
def test_errors_of_thirty_updates_add_up_no_worse_than_in_the_product_form(
    n: int, spread: float, fused: bool
) -> None:
    """Of a run on a quadratic, against the product form in long double: at most ten times what that form loses in double.

    Steps are half to one and a half times the exact ones, so s'y is not small beside s'g, as after a Wolfe search.
    Where it is, Hy = u + d cancels, and the product form, which has y itself, is the better one.
    """
    rng = np.random.default_rng(n)
    q, _ = np.linalg.qr(rng.standard_normal((n, n)))
    hessian = (q * np.geomspace(1 / spread, spread, n)) @ q.T
    machine, plain, truth = Pending(n, fused), np.eye(n), np.eye(n, dtype=np.longdouble)
    g, worst = rng.standard_normal(n), 0.0
    d = -g
    for _ in range(30):
        s = rng.uniform(0.5, 1.5) * -(g @ d) / (d @ hessian @ d) * d
        g_new = g + hessian @ s
        d = machine.step(s, d, g, g_new)
        plain, truth = product_form(plain, s, g_new - g), product_form(truth, s, g_new - g)
        norm = np.linalg.norm(truth.astype(float), 2)
        worst = max(worst, float(np.linalg.norm((plain - truth).astype(float), 2) / norm))
        error = np.linalg.norm((machine.full() - truth).astype(float), 2) / norm
        assert error <= 10 * worst + 4 * n * np.finfo(float).eps
        g = g_new
