"""Orthogonal, delta-orthogonal, sparse and identity weights: exact where the definition is, uniform where it says so."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import fastopt as fo

init = fo.init
DTYPES = (np.float32, np.float64)
both = pytest.mark.parametrize("dtype", DTYPES)
SHAPES = [
    (1, 1),
    (1, 5),
    (5, 1),
    (4, 4),
    (7, 3),
    (3, 7),
    (64, 64),
    (200, 50),
    (50, 200),
    (3, 3, 8, 16),
    (2, 5, 4),
]


def gram(m):
    m = m.astype(np.float64)
    return m.T @ m if m.shape[0] >= m.shape[1] else m @ m.T


@both
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_orthogonal_to_rounding(shape, gain, dtype):
    a = np.full(shape, np.nan, dtype)
    assert init.orthogonal(a, gain, rng=3) is a
    g = gram(a.reshape(-1, shape[-1]) / gain)
    # LAPACK's measure: |Q'Q - I| / (n eps), below 10 for a backward stable method.
    assert np.abs(g - np.eye(len(g))).max() / (max(len(g), 4) * np.finfo(dtype).eps) < 2


@both
def test_orthogonal_by_other_axes(dtype):
    a = init.orthogonal(np.empty((16, 8, 3, 3), dtype), axes="out_in", rng=0)
    np.testing.assert_allclose(gram(a.reshape(16, -1)), np.eye(16), atol=1e-6)
    b = init.orthogonal(np.empty((12, 2, 3), dtype), axes=(0, (1, 2)), rng=0)
    np.testing.assert_allclose(gram(b.reshape(12, 6)), np.eye(6), atol=1e-6)
    c = init.orthogonal(np.empty((12, 6), dtype), rng=0)
    np.testing.assert_array_equal(b.reshape(12, 6), c)
    d = init.orthogonal(np.empty((6, 12), dtype), axes="out_in", rng=0)
    np.testing.assert_array_equal(d, c.T)


def test_orthogonal_is_q_of_the_qr_of_its_reflectors():
    """Stewart's way gives what QR by reflectors gives: rebuilt here one reflector after the other, signs of R included."""
    m, n = 7, 4
    x = np.random.default_rng(5).standard_normal((n, m)).T
    q = np.eye(m)
    signs = []
    for j in range(n):
        v = x[j:, j].copy()
        r = -np.copysign(np.linalg.norm(v), v[0])
        v[0] -= r
        h = np.eye(m)
        h[j:, j:] -= 2 * np.outer(v, v) / (v @ v)
        q = q @ h
        signs.append(np.sign(r))
    a = init.orthogonal(np.empty((m, n)), rng=5)
    np.testing.assert_allclose(a, q[:, :n] * signs, atol=1e-13)


def householder(n, rng, fix=True):
    """The same by LAPACK's QR of a Gaussian matrix; without the fix of signs the trace gives it away."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return q * np.sign(np.diagonal(r)) if fix else q


def haar_failures(sample) -> list[str]:
    """What of the uniform distribution on O(n) fails on a sample (count, n, n), each with p below 1e-6."""
    count, n, _ = sample.shape
    failed = []
    # A row is uniform on the sphere: each entry squared is Beta(1/2, (n-1)/2), of either sign.
    beta = stats.beta(0.5, (n - 1) / 2)
    for name, i, j in (("first", 0, 0), ("corner", n - 1, n - 1), ("edge", 0, n - 1), ("inside", 1, 2)):
        x = sample[:, i, j]
        signed = np.sign(x) * beta.cdf(x**2)
        if stats.kstest(signed, stats.uniform(-1, 2).cdf).pvalue < 1e-6:
            failed.append(f"{name} entry")
    # Traces of powers: E tr Q = 0, E (tr Q)^2 = 1, E tr Q^2 = 1, and var tr Q^2 = 2 (Diaconis and Shahshahani).
    trace = np.trace(sample, axis1=1, axis2=2)
    square = np.trace(sample @ sample, axis1=1, axis2=2)
    for name, x, mean in (
        ("trace", trace, 0),
        ("trace squared", trace**2, 1),
        ("trace of square", square, 1),
    ):
        if abs(x.mean() - mean) > 5.2 * x.std() / math.sqrt(count):
            failed.append(name)
    # Either sign of the determinant is as likely.
    if abs(np.linalg.det(sample).mean()) > 5.2 / math.sqrt(count):
        failed.append("determinant")
    # Angles of eigenvalues of a random rotation are spread evenly, and repel: spacings vary less than Poisson's.
    angles = np.sort(np.angle(np.linalg.eigvals(sample)), axis=1)
    inner = angles[:, n // 2 :]
    even = np.histogram(np.abs(angles), 4, (0.3, np.pi - 0.3))[0]
    if stats.chisquare(even).pvalue < 1e-6:
        failed.append("angles")
    gaps = np.diff(inner, axis=1)
    if gaps.std() / gaps.mean() > 0.8:
        failed.append("spacings")
    return failed


@pytest.mark.parametrize("shape", ["square", "wide", "tall"])
def test_orthogonal_is_uniform_over_the_group(shape):
    n, count = 6, 4000
    rng = np.random.default_rng(17)
    sizes = {"square": (n, n), "wide": (n, n + 3), "tall": (n + 3, n)}
    sample = np.stack([init.orthogonal(np.empty(sizes[shape]), rng=rng) for _ in range(count)])
    if shape == "square":
        assert haar_failures(sample) == []
        return
    # Columns (rows) of a uniform matrix of the larger size: entries as of a row on the larger sphere.
    beta = stats.beta(0.5, (n + 2) / 2)
    for i, j in ((0, 0), (n - 1, n - 1), (2, 1)):
        x = sample[:, i, j]
        assert stats.kstest(np.sign(x) * beta.cdf(x**2), stats.uniform(-1, 2).cdf).pvalue > 1e-6
    # The law does not change under a fixed rotation from either side.
    left, right = (householder(k, np.random.default_rng(1)) for k in sizes[shape])
    x = (left @ sample @ right)[:, 0, 0]
    assert stats.kstest(np.sign(x) * beta.cdf(x**2), stats.uniform(-1, 2).cdf).pvalue > 1e-6


def test_the_test_of_uniformity_sees_a_missing_sign():
    rng = np.random.default_rng(17)
    right = np.stack([householder(6, rng) for _ in range(4000)])
    wrong = np.stack([householder(6, rng, fix=False) for _ in range(4000)])
    assert haar_failures(right) == []
    assert {"first entry", "trace", "angles"} <= set(haar_failures(wrong))


@both
@pytest.mark.parametrize("kernel", [(), (3,), (3, 5), (4, 2, 1)])
def test_delta_orthogonal(kernel, dtype):
    a = init.delta_orthogonal(np.full((*kernel, 5, 8), np.nan, dtype), gain=3.0, rng=0)
    centre = tuple((k - 1) // 2 for k in kernel)
    np.testing.assert_allclose(gram(a[centre]), 9 * np.eye(5), rtol=1e-5, atol=1e-5)
    assert np.count_nonzero(a) == 40
    if not kernel:
        np.testing.assert_array_equal(a, init.orthogonal(np.empty((5, 8), dtype), 3.0, rng=0))


def test_a_convolution_with_a_delta_orthogonal_kernel_keeps_norms():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 4))  # places on a ring, channels

    def convolve(kernel):
        return sum(np.roll(x, 1 - k, axis=0) @ kernel[k] for k in range(3))

    kept = convolve(init.delta_orthogonal(np.empty((3, 4, 6)), rng=1))
    assert np.linalg.norm(kept) == pytest.approx(np.linalg.norm(x), rel=1e-13)
    assert (
        abs(np.linalg.norm(convolve(init.orthogonal(np.empty((3, 4, 6)), rng=1))) / np.linalg.norm(x) - 1)
        > 0.01
    )
    torch_like = init.delta_orthogonal(np.empty((6, 4, 3)), axes="out_in", rng=1)
    np.testing.assert_array_equal(
        torch_like.transpose(2, 1, 0), init.delta_orthogonal(np.empty((3, 4, 6)), rng=1)
    )


# ---- sparse ----


@both
@pytest.mark.parametrize("n, k", [(15, 15), (16, 15), (100, 15), (40, 39), (5, 0), (7, 1)])
def test_exactly_k_for_each_unit(n, k, dtype):
    a = init.sparse(np.full((n, 30), np.nan, dtype), k, rng=2)
    assert (np.count_nonzero(a, axis=0) == k).all()
    b = init.sparse(np.full((30, n), np.nan, dtype), k, axes="out_in", rng=2)
    assert (np.count_nonzero(b, axis=1) == k).all()
    np.testing.assert_array_equal(a, b.T)
    c = init.sparse(np.full((2, 3, n, 9), np.nan, dtype), 2 * k, rng=2)
    assert (np.count_nonzero(c.reshape(-1, 9), axis=0) == 2 * k).all()


def test_exactly_k_at_the_smallest_scale_allowed():
    tiny = float(np.finfo(np.float32).tiny)
    a = init.sparse(np.empty((50, 4000), np.float32), 15, std=1e9 * tiny, rng=0)
    assert (np.count_nonzero(a, axis=0) == 15).all()


def test_sparse_weights_are_normal_and_inputs_drawn_evenly():
    a = init.sparse(np.empty((20, 30_000)), 6, std=0.5, rng=1)
    assert stats.kstest(a[a != 0], stats.norm(0, 0.5).cdf).pvalue > 1e-6
    chosen = a != 0
    assert stats.chisquare(chosen.sum(axis=1)).statistic < stats.chi2(19).isf(1e-6)
    # All pairs alike: 190 of them, each with probability 6/20 * 5/19.
    pairs = (chosen.astype(float) @ chosen.T)[np.triu_indices(20, 1)]
    wanted = 30_000 * 6 / 20 * 5 / 19
    assert np.abs(pairs - wanted).max() < 5.5 * math.sqrt(wanted)
    # All sets alike, in a case small enough to count them.
    for k in (2, 4):
        b = init.sparse(np.empty((6, 20_000)), k, rng=3) != 0
        counts = np.unique((1 << np.arange(6)) @ b, return_counts=True)[1]
        assert counts.size == math.comb(6, k)
        assert stats.chisquare(counts).pvalue > 1e-6


def test_sparse_does_not_depend_on_blocks_in_memory(monkeypatch):
    from fastopt.init import _structured

    monkeypatch.setattr(_structured, "UNITS", 100)
    a = init.sparse(np.empty((30, 41)), 5, rng=0)
    assert (np.count_nonzero(a, axis=0) == 5).all()


# ---- identity ----


@both
def test_identity(dtype):
    np.testing.assert_array_equal(init.identity(np.full((3, 5), 7, dtype)), np.eye(3, 5))
    np.testing.assert_array_equal(init.identity(np.full((5, 3), 7, dtype), -2), -2 * np.eye(5, 3))
    kernel = init.identity(np.full((3, 4, 2, 2), 7, dtype))
    assert kernel.sum() == 2 and (kernel[1, 1] == np.eye(2)).all()
    heads = init.identity(np.full((6, 2, 3), 7, dtype), axes=(0, (1, 2)))
    np.testing.assert_array_equal(heads.reshape(6, 6), np.eye(6))
    out_in = init.identity(np.full((5, 3, 2), 7, dtype), axes="out_in")
    np.testing.assert_array_equal(out_in[..., 0], np.eye(5, 3))
    assert not out_in[..., 1].any()


@both
def test_near_identity(dtype):
    noise = init.near_identity(np.empty((300, 200), dtype), std=0.02, rng=3) - np.eye(300, 200)
    assert stats.kstest(noise.ravel(), stats.norm(0, 0.02).cdf).pvalue > 1e-6
    np.testing.assert_array_equal(init.near_identity(np.empty((4, 4)), std=0, rng=3), np.eye(4))
