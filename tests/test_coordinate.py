"""Coordinate descent: the lasso kernel against a plain descent in NumPy and the optimality conditions, then the block version."""

from __future__ import annotations

import signal
import time
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import OptimizeResult

import fastopt as fo
from fastopt._core import runtime
from fastopt.data import load_digits
from fastopt.minimize.coordinate import Block, BlockCoordinate, lasso, lasso_path

TIGHT = 1e-12


# ---- references: float64, no blocks, no sets, no screening ----


def plain(X: Any, y: Any, a: float, b: float, positive: bool, sweeps: int) -> np.ndarray:
    """Cyclic coordinate descent over all columns, a and b in the scale of the sums."""
    w, r, norms = np.zeros(X.shape[1]), y.copy(), (X * X).sum(0)
    for _ in range(sweeps):
        before = w.copy()
        for j in np.flatnonzero(norms):
            u = X[:, j] @ r + norms[j] * w[j]
            new = max(abs(u) - a, 0.0) * (1.0 if u > 0 else 0.0 if positive else -1.0) / (norms[j] + b)
            r += X[:, j] * (w[j] - new)
            w[j] = new
        if np.abs(w - before).max(initial=0.0) <= 1e-13 * np.abs(w).max(initial=0.0):
            break
    return w


def objective(X: Any, y: Any, w: Any, a: float, b: float) -> float:
    r = y - X @ w
    return 0.5 * r @ r + a * np.abs(w).sum() + 0.5 * b * w @ w


def _stacked(X: Any, y: Any, b: float) -> tuple[Any, Any]:
    p = X.shape[1]
    return np.vstack([X, np.sqrt(b) * np.eye(p)]), np.r_[y, np.zeros(p)]


def independent_gap(X: Any, y: Any, w: Any, a: float, b: float, positive: bool) -> float:
    """The better of two: of the elastic net as a lasso on [X; sqrt(b) I], with the dual point scaled to be feasible; and with the
    residual as dual point, where the conjugate of the L2 term is finite (Duenner et al. 2016, 5.2.3)."""
    if b > 0:
        r = y - X @ w
        push = (X.T @ r if positive else np.abs(X.T @ r)) - a
        other = objective(X, y, w, a, b) - (r @ y - 0.5 * r @ r - (np.maximum(push, 0) ** 2).sum() / (2 * b))
        return min(other, independent_gap(*_stacked(X, y, b), w, a, 0.0, positive))
    w = np.asarray(w, float)
    r = y - X @ w
    v = X.T @ r
    most = (v if positive else np.abs(v)).max(initial=0.0)
    c = max(0.0, min(r @ y / (r @ r) if r @ r > 0 else 0.0, a / most if most > 0 else np.inf))
    return objective(X, y, w, a, 0.0) - (c * r @ y - 0.5 * c * c * r @ r)


def broken_conditions(X: Any, y: Any, w: Any, a: float, b: float, positive: bool) -> float:
    """How far the subgradient conditions are from holding, relative to a."""
    g = X.T @ (y - X @ w) - b * w
    at_zero = np.maximum((g if positive else np.abs(g)) - a, 0.0)
    return float(np.where(w == 0, at_zero, np.abs(g - a * np.sign(w))).max(initial=0.0) / a)


def problem(n: int, p: int, seed: int = 0, density: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * (rng.random((n, p)) < density)
    w = np.where(rng.random(p) < 0.2, rng.standard_normal(p) * 2, 0.0)
    return np.asfortranarray(X), X @ w + 0.3 * rng.standard_normal(n)


def alpha_max(X: Any, y: Any, l1_ratio: float = 1.0) -> float:
    return float(np.abs(X.T @ y).max() / (len(y) * l1_ratio))


SHAPES = [(60, 20), (30, 80), (50, 50), (200, 3), (4, 120), (17, 129)]
KINDS = [
    {},
    {"positive": True},
    {"l1_ratio": 0.6},
    {"l1_ratio": 0.3, "positive": True},
    {"selection": "random", "rng": 3},
    {"screening": False},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_against_plain_descent(shape: tuple[int, int], kind: dict[str, Any], share: float) -> None:
    X, y = problem(*shape)
    l1, positive = kind.get("l1_ratio", 1.0), kind.get("positive", False)
    alpha = share * alpha_max(X, y, l1)
    a, b = alpha * l1 * len(y), alpha * (1 - l1) * len(y)
    res = lasso(X, y, alpha, tol=TIGHT, **kind)
    assert res.success and res.status == 0
    gap = independent_gap(X, y, res.x, a, b, positive)
    assert gap <= TIGHT * (y @ y) * (1 + 1e-3) + 1e-14 * (y @ y)
    assert broken_conditions(X, y, res.x, a, b, positive) < 1e-3
    reference = plain(X, y, a, b, positive, 600)
    # Where the minimiser is not unique, values are what can be compared.
    assert objective(X, y, res.x, a, b) <= objective(X, y, reference, a, b) + TIGHT * (y @ y)
    assert res.fun == pytest.approx(objective(X, y, res.x, a, b) / len(y), rel=1e-12)
    if shape[0] >= shape[1]:
        np.testing.assert_allclose(res.x, reference, atol=2e-5)


@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
def test_the_gap_that_is_told_is_true(tol: float, dtype: Any, l1_ratio: float) -> None:
    """At a loose tolerance too: measured over all columns, from the coefficients that are given back."""
    if dtype == np.float32 and tol < 1e-6:
        tol = 1e-6
    X, y = problem(80, 400, seed=5)
    X, y = X.astype(dtype), y.astype(dtype)
    for share in (0.7, 0.2, 0.02):
        alpha = share * alpha_max(X, y, l1_ratio)
        res = lasso(X, y, alpha, l1_ratio=l1_ratio, tol=tol)
        a, b = alpha * l1_ratio * 80, alpha * (1 - l1_ratio) * 80
        yy = float(y.astype(float) @ y)
        Xd, yd, wd = X.astype(float), y.astype(float), res.x.astype(float)
        rounding = 1e-13 if dtype == np.float64 else 1e-6
        assert res.x.dtype == dtype and res.dual_gap * 80 <= tol * yy
        # Ours may take the better of two dual points where b > 0; the bound itself must hold either way.
        best = objective(Xd, yd, lasso(Xd, yd, alpha, l1_ratio=l1_ratio, tol=1e-13).x, a, b)
        assert objective(Xd, yd, wd, a, b) - best <= res.dual_gap * 80 + rounding * yy
        if l1_ratio == 1.0:
            assert independent_gap(Xd, yd, wd, a, b, False) == pytest.approx(
                res.dual_gap * 80, rel=1e-3, abs=rounding * yy
            )


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "kind",
    [
        *KINDS,
        {"fit_intercept": True},
        {"fit_intercept": True, "sample_weight": True},
        {"sample_weight": True},
    ],
    ids=str,
)
def test_dense_and_csc_agree(kind: dict[str, Any], dtype: Any, index: Any) -> None:
    X, y = problem(120, 40, seed=2, density=0.15)
    y = y + 4.0
    kind = dict(kind)
    if kind.pop("sample_weight", None):
        kind["sample_weight"] = np.random.default_rng(0).integers(0, 4, 120)
    X, y = X.astype(dtype), y.astype(dtype)
    S = sp.csc_array(X)
    S.indices, S.indptr = S.indices.astype(index), S.indptr.astype(index)
    tol, close = (1e-13, 1e-6) if dtype == np.float64 else (1e-7, 2e-3)
    dense, sparse = (lasso(M, y, 0.05, tol=tol, **kind) for M in (X, S))
    np.testing.assert_allclose(dense.x, sparse.x, atol=close)
    assert dense.intercept == pytest.approx(sparse.intercept, abs=close)
    assert dense.x.dtype == sparse.x.dtype == dtype
    for other in (sp.csr_array(S), sp.coo_matrix(S)):
        np.testing.assert_array_equal(lasso(other, y, 0.05, tol=tol, **kind).x, sparse.x)


def test_intercept_and_weights_are_what_they_say() -> None:
    """A weight of 2 is a row given twice; an intercept is a column of ones that is not penalised."""
    X, y = problem(40, 12, seed=7)
    X, y = X + 5.0, y - 30.0
    weights = np.arange(40) % 3
    res = lasso(X, y, 0.1, fit_intercept=True, sample_weight=weights, tol=TIGHT)
    rows = np.repeat(np.arange(40), weights)
    Xr, yr = X[rows], y[rows]
    np.testing.assert_allclose(
        res.x, lasso(Xr, yr, 0.1, fit_intercept=True, tol=TIGHT).x, rtol=1e-5, atol=1e-7
    )
    r = yr - Xr @ res.x - res.intercept
    assert abs(r.mean()) < 1e-12
    centred = Xr - Xr.mean(0)
    assert broken_conditions(centred, r + centred @ res.x, res.x, 0.1 * len(rows), 0.0, False) < 1e-4
    assert res.fun == pytest.approx(0.5 * (r @ r) / len(rows) + 0.1 * np.abs(res.x).sum())


def test_a_far_mean_does_not_cost_digits() -> None:
    X, y = problem(60, 10, seed=8)
    near = lasso(X, y, 0.05, fit_intercept=True, tol=TIGHT)
    for M in (X + 1e7, sp.csc_array(X + 1e4)):
        far = lasso(M, y, 0.05, fit_intercept=True, tol=TIGHT)
        assert far.success
        np.testing.assert_allclose(far.x, near.x, atol=1e-6)


def test_same_bits_for_every_instruction_set_and_thread_count() -> None:
    X, y = problem(300, 1200, seed=3)
    S = sp.random_array((300, 1200), density=0.05, rng=np.random.default_rng(1), format="csc")
    for M, kind in ((X, {}), (X.astype(np.float32), {}), (S, {}), (S, {"fit_intercept": True})):
        found = []
        for name, runs in runtime.isas():
            for threads in (1, 2, 5) if runs else ():
                runtime.use_isa(name)
                fo.set_num_threads(threads)
                path = lasso_path(M, y, n_alphas=5, eps=0.05, **kind)
                found.append((path.coefs.tobytes(), path.dual_gap.tobytes(), path.nit.tobytes()))
        assert len(found) > 1 and set(found) == {found[0]}


def test_screening_and_order_change_time_only() -> None:
    X, y = problem(100, 600, seed=4)
    for share in (0.8, 0.3, 0.05):
        alpha = share * alpha_max(X, y)
        ways = [
            lasso(X, y, alpha, tol=1e-14, **kind)
            for kind in (
                {},
                {"screening": False},
                {"selection": "random", "rng": 0},
                {"selection": "random", "rng": 1},
            )
        ]
        for other in ways[1:]:
            np.testing.assert_allclose(other.x, ways[0].x, atol=1e-5)
    again = lasso(X, y, alpha, selection="random", rng=1, tol=1e-14)
    np.testing.assert_array_equal(again.x, ways[3].x)
    assert not np.array_equal(ways[2].x, ways[3].x)


def test_screening_leaves_columns_out_and_they_are_zero() -> None:
    from fastopt.minimize.design import Design

    X, y = problem(100, 600, seed=4)
    design = Design("test", X, y, False, None)
    design.target(0)
    a = 0.5 * alpha_max(X, y) * 100
    assert design.descent.run(a, 0.0, 1e-12 * design.yy, 1000, False, True) == 0
    assert design.descent.screened > 300
    np.testing.assert_allclose(design.descent.q, X.T @ (y - X @ design.descent.w), atol=1e-10)
    with_all = lasso(X, y, a / 100, tol=1e-12, screening=False)
    np.testing.assert_allclose(design.descent.w, with_all.x, atol=1e-6)


def test_scikit_learn_gives_the_same_path() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    X, y = problem(60, 150, seed=9, density=0.3)
    for M in (X, sp.csc_array(X)):
        for l1, positive in ((1.0, False), (0.5, False), (1.0, True)):
            ours = lasso_path(M, y, n_alphas=20, eps=0.02, l1_ratio=l1, positive=positive, tol=1e-11)
            alphas, coefs, _ = linear_model.enet_path(
                M, y, alphas=ours.alphas, l1_ratio=l1, positive=positive, tol=1e-11, max_iter=10**5
            )
            np.testing.assert_array_equal(ours.alphas, alphas)
            np.testing.assert_allclose(ours.coefs, coefs, atol=2e-4)
    model = linear_model.Lasso(0.03, tol=1e-11, max_iter=10**5).fit(X, y + 9.0)
    res = lasso(X, y + 9.0, 0.03, fit_intercept=True, tol=1e-11)
    np.testing.assert_allclose(res.x, model.coef_, atol=1e-4)
    assert res.intercept == pytest.approx(model.intercept_, abs=1e-4)


def test_path_is_single_solves() -> None:
    X, y = problem(50, 90, seed=1)
    path = lasso_path(X, y, n_alphas=12, eps=0.01, fit_intercept=True, tol=TIGHT)
    assert path.success and path.coefs.shape == (90, 12) and path.coefs is path.x
    assert np.count_nonzero(path.coefs[:, 0]) == 0 and np.count_nonzero(path.coefs[:, 1]) > 0
    for i, alpha in enumerate(path.alphas):
        one = lasso(X, y, alpha, fit_intercept=True, tol=TIGHT)
        np.testing.assert_allclose(path.coefs[:, i], one.x, atol=1e-4)
        assert path.fun[i] == pytest.approx(one.fun, abs=2e-12 * (y @ y))
        assert path.intercepts[i] == pytest.approx(one.intercept, abs=1e-4)
    given = lasso_path(X, y, alphas=path.alphas[[5, 2, 9]], fit_intercept=True, tol=TIGHT)
    np.testing.assert_array_equal(given.alphas, path.alphas[[2, 5, 9]])


# ---- odd shapes and inputs ----


@pytest.mark.parametrize("make", [np.asfortranarray, sp.csc_array], ids=["dense", "csc"])
@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("shape", [(0, 0), (0, 4), (5, 0), (1, 1), (1, 4), (5, 1)])
def test_small_and_empty(shape: tuple[int, int], intercept: bool, make: Any) -> None:
    n, p = shape
    X, y = np.ones((n, p)) + np.arange(n)[:, None], np.arange(n) + 3.0
    res = lasso(make(X), y, 0.1, fit_intercept=intercept, tol=TIGHT)
    assert res.success and res.x.shape == (p,)
    if (n == 1 and intercept) or n == 0 or p == 0:
        assert not res.x.any()
        assert res.intercept == (y.mean() if intercept and n else 0.0)
    else:
        Xc, yc = (X - X.mean(0), y - y.mean()) if intercept else (X, y)
        assert broken_conditions(Xc, yc, res.x, 0.1 * n, 0.0, False) < 1e-4
    assert lasso_path(make(X), y, n_alphas=3, fit_intercept=intercept).coefs.shape == (p, 3)


def test_zero_columns_stay_zero_whatever_the_start() -> None:
    X, y = problem(30, 6)
    X[:, [1, 4]] = 0.0
    for M in (X, sp.csc_array(X)):
        for kind in ({}, {"fit_intercept": True}, {"l1_ratio": 0.5}, {"l1_ratio": 0.0}):
            res = lasso(M, y, 0.01, x0=np.ones(6), **kind)
            assert res.success and not res.x[[1, 4]].any() and res.x[[0, 2, 3, 5]].all()
    constant = X.copy()
    constant[:, 1] = 0.1
    assert lasso(constant, y, 1e-9, fit_intercept=True, tol=1e-10).x[1] == 0.0


def test_constant_target() -> None:
    X, _ = problem(30, 6)
    res = lasso(X, np.full(30, 0.1), 0.01, fit_intercept=True)
    assert res.success and not res.x.any() and res.intercept == pytest.approx(0.1) and res.nit == 0
    path = lasso_path(X, np.full(30, 0.1), fit_intercept=True, n_alphas=4)
    assert not path.coefs.any() and path.alphas[0] == 1.0
    zero = lasso(X, np.zeros(30), 0.01, x0=np.ones(6))
    np.testing.assert_allclose(zero.x, 0.0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_alpha_max_gives_zeros_and_less_does_not(dtype: Any) -> None:
    X, y = problem(40, 30)
    X, y = X.astype(dtype), y.astype(dtype)
    top = alpha_max(X.astype(float), y.astype(float))
    for alpha in (top * (1 + 1e-6), top * 2, 1e30):
        res = lasso(X, y, alpha)
        assert res.success and res.nit == 0 and not res.x.any()
    assert np.count_nonzero(lasso(X, y, top * 0.99, tol=1e-7).x) == 1


def test_layouts_and_dtypes() -> None:
    X, y = problem(40, 30)
    want = lasso(X, y, 0.1, tol=TIGHT).x
    wide = np.zeros((40, 60))
    wide[:, ::2] = X
    frozen = X.copy(order="F")
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"x" + X.tobytes(order="F"), np.uint8)[1:].view("f8").reshape(30, 40).T
    cases = {
        "C order": np.ascontiguousarray(X),
        "every second column": np.asfortranarray(wide)[:, ::2],
        "strided rows": np.repeat(X, 2, axis=0)[::2],
        "read-only": frozen,
        "other byte order": X.astype(">f8"),
        "unaligned": unaligned,
        "list": X.tolist(),
    }
    for name, M in cases.items():
        before = np.array(M)
        np.testing.assert_array_equal(lasso(M, y, 0.1, tol=TIGHT).x, want, err_msg=name)
        np.testing.assert_array_equal(np.array(M), before, err_msg=name)
    backwards = np.asfortranarray(X)[:, ::-1]
    np.testing.assert_allclose(lasso(backwards, y, 0.1, tol=1e-14).x[::-1], want, atol=1e-6)
    whole = np.round(X * 3).astype(np.int64)
    np.testing.assert_array_equal(lasso(whole, y, 0.1).x, lasso(whole.astype(float), y, 0.1).x)
    np.testing.assert_array_equal(lasso(whole > 0, y, 0.1).x, lasso((whole > 0).astype(float), y, 0.1).x)
    S = sp.csc_array(X)
    S.data.flags.writeable = S.indices.flags.writeable = S.indptr.flags.writeable = False
    np.testing.assert_allclose(lasso(S, y, 0.1, tol=1e-14).x, want, atol=1e-6)


def test_duplicates_and_unsorted_rows_of_a_sparse_matrix() -> None:
    rows, columns = np.array([2, 0, 0, 1, 2]), np.array([0, 0, 0, 1, 1])
    S = sp.coo_array((np.array([1.0, 2.0, 3.0, 4.0, 5.0]), (rows, columns)), shape=(3, 2))
    raw = sp.csc_array((np.array([1.0, 2.0, 3.0, 4.0, 5.0]), rows, np.array([0, 3, 5])), shape=(3, 2))
    y = np.array([1.0, -2.0, 3.0])
    want = lasso(S.toarray(), y, 0.01, tol=TIGHT).x
    for M in (S, raw):
        np.testing.assert_allclose(lasso(M, y, 0.01, tol=TIGHT).x, want, atol=1e-6)
    assert len(raw.data) == 5 and raw.indices.tolist() == rows.tolist()


@pytest.mark.parametrize("scale", [1e-15, 1e14])
def test_float32_far_from_one(scale: float) -> None:
    """Products of two such numbers leave the range of float32."""
    X, y = problem(50, 20)
    X, y = X.astype(np.float32), y.astype(np.float32)
    want = lasso(X, y, 0.1, tol=1e-6)
    res = lasso(X * np.float32(scale), y * np.float32(scale), 0.1 * scale**2, tol=1e-6)
    assert res.success
    np.testing.assert_allclose(res.x, want.x, atol=2e-3)


def test_several_targets_are_single_ones() -> None:
    X, y = problem(40, 15)
    Y = np.c_[y, -2 * y, np.zeros(40)]
    start = np.random.default_rng(0).standard_normal((15, 3))
    held = start.copy()
    res = lasso(X, Y, 0.1, fit_intercept=True, x0=start, tol=TIGHT)
    np.testing.assert_array_equal(start, held)
    assert res.x.shape == (15, 3) and res.dual_gap.shape == res.nit.shape == res.intercept.shape == (3,)
    for k in range(3):
        one = lasso(X, Y[:, k], 0.1, fit_intercept=True, x0=start[:, k], tol=TIGHT)
        np.testing.assert_allclose(res.x[:, k], one.x, atol=1e-12)
        assert res.intercept[k] == pytest.approx(
            one.intercept, abs=1e-14
        )  # NumPy sums one column in another order
        assert res.fun[k] == pytest.approx(one.fun, rel=1e-13)
    assert lasso(X, np.empty((40, 0)), 0.1).x.shape == (15, 0)


def test_warm_start_saves_sweeps() -> None:
    X, y = problem(80, 60)
    cold = lasso(X, y, 0.01, tol=1e-10)
    warm = lasso(X, y, 0.01, tol=1e-10, x0=cold.x)
    assert warm.nit == 0 and cold.nit > 5
    np.testing.assert_array_equal(warm.x, cold.x)


# ---- endings ----


def test_limit_of_sweeps() -> None:
    X, y = problem(60, 120)
    res = lasso(X, y, 0.001, tol=1e-12, max_iter=3)
    assert not res.success and res.status == 1 and res.nit == 3 and "max_iter" in res.message
    a = 0.001 * 60
    assert independent_gap(X, y, res.x, a, 0.0, False) == pytest.approx(res.dual_gap * 60, rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_tolerance_beyond_rounding_ends_with_that_reason(dtype: Any) -> None:
    X, y = problem(60, 20)
    res = lasso(X.astype(dtype), y.astype(dtype), 0.05, tol=0.0, max_iter=10**6)
    assert res.status in (0, 2) and res.nit < 10**4
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(res.x, plain(X, y, 3.0, 0.0, False, 5000), atol=50 * eps)
    if res.status == 2:
        assert not res.success and "rounding" in res.message


def test_numbers_that_leave_the_range_end_with_that_reason() -> None:
    X = np.array([[1e-30], [2e-30]], np.float32)
    res = lasso(X, np.array([1e18, 1e18], np.float32), 1e-20)
    assert res.status == 3 and not res.success and "scale" in res.message


def test_interrupt_comes_out_soon() -> None:
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((1500, 3000)))
    y = rng.standard_normal(1500)

    class Stop(Exception):
        pass

    asked = []

    def ask(*_: Any) -> None:
        asked.append(time.perf_counter())
        raise Stop

    old = signal.signal(signal.SIGALRM, ask)
    try:
        start = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Stop):
            lasso(X, y, 1e-7, tol=0.0, max_iter=10**8)
        late = time.perf_counter() - start - 0.3
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, old)
    assert len(asked) == 1 and late < 0.25  # 50 ms on a quiet machine


GOOD_X, GOOD_Y = problem(6, 3)
BAD: list[tuple[str, type[Exception], str, dict[str, Any]]] = [
    ("nan in X", ValueError, r"X\[2, 1\] is nan", {"X": np.where(np.arange(18).reshape(6, 3) == 7, np.nan, GOOD_X)}),
    ("inf in sparse X", ValueError, r"X\.data\[0\] is inf", {"X": sp.csc_array(np.full((6, 3), np.inf))}),
    ("nan in y", ValueError, r"y\[4\] is nan", {"y": np.r_[1, 2, 3, 4, np.nan, 6]}),
    ("overflow", ValueError, "column 0 of X overflows", {"X": np.full((6, 3), 1e200)}),
    ("overflow of y", ValueError, "y overflows", {"y": np.full(6, 1e200)}),
    ("complex X", TypeError, "X is of dtype complex128", {"X": GOOD_X * 1j}),
    ("complex sparse X", TypeError, "X is of dtype complex128", {"X": sp.csc_array(GOOD_X * 1j)}),
    ("object X", TypeError, "X is of dtype object", {"X": GOOD_X.astype(object)}),
    ("text", TypeError, "X is of dtype", {"X": [["a"] * 3] * 6}),
    ("1-d X", ValueError, r"X has shape \(6,\)", {"X": np.ones(6)}),
    ("3-d X", ValueError, "two dimensions", {"X": np.ones((6, 3, 1))}),
    ("short y", ValueError, r"y has shape \(5,\)", {"y": np.ones(5)}),
    ("3-d y", ValueError, "y has shape", {"y": np.ones((6, 1, 1))}),
    ("alpha 0", ValueError, "alpha is 0.0", {"alpha": 0.0}),
    ("alpha nan", ValueError, "alpha is nan", {"alpha": np.nan}),
    ("alpha text", TypeError, "alpha is '1'", {"alpha": "1"}),
    ("l1_ratio", ValueError, "l1_ratio is 1.5", {"l1_ratio": 1.5}),
    ("tol", ValueError, "tol is -1", {"tol": -1.0}),
    ("max_iter", ValueError, "max_iter is 0", {"max_iter": 0}),
    ("max_iter float", TypeError, "max_iter is 10.0", {"max_iter": 10.0}),
    ("selection", ValueError, "selection is 'greedy'", {"selection": "greedy"}),
    ("x0 shape", ValueError, r"x0 has shape \(2,\)", {"x0": np.zeros(2)}),
    ("x0 nan", ValueError, "x0 holds", {"x0": np.full(3, np.nan)}),
    ("x0 negative", ValueError, "x0 holds negative", {"x0": -np.ones(3), "positive": True}),
    ("weights short", ValueError, "sample_weight has shape", {"sample_weight": np.ones(5)}),
    ("weights negative", ValueError, "sample_weight", {"sample_weight": [1, 1, 1, 1, 1, -1]}),
    ("weights zero", ValueError, "sample_weight", {"sample_weight": np.zeros(6)}),
    ("weights nan", ValueError, "sample_weight", {"sample_weight": [np.nan] * 6}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "message", "changes"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_inputs(error: type[Exception], message: str, changes: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        lasso(**({"X": GOOD_X, "y": GOOD_Y, "alpha": 0.1} | changes))


def test_bad_paths() -> None:
    for error, message, kind in (
        (ValueError, "l1_ratio = 0", {"l1_ratio": 0.0}),
        (ValueError, "eps is 1.0", {"eps": 1.0}),
        (ValueError, "n_alphas is 0", {"n_alphas": 0}),
        (ValueError, r"alphas\[1\] is -1", {"alphas": [1.0, -1.0]}),
    ):
        with pytest.raises(error, match=message):
            lasso_path(GOOD_X, GOOD_Y, **kind)
    with pytest.raises(ValueError, match="y has shape"):
        lasso_path(GOOD_X, np.c_[GOOD_Y, GOOD_Y])
    assert lasso_path(GOOD_X, GOOD_Y, alphas=[]).coefs.shape == (3, 0)


@pytest.mark.parametrize("fault", ["row", "negative row", "indptr", "falling indptr"])
def test_hostile_sparse_matrices_are_refused(fault: str) -> None:
    S = sp.csc_array(np.eye(6, 3))
    if fault == "row":
        S.indices[1] = 6
    elif fault == "negative row":
        S.indices[1] = -1
    elif fault == "indptr":
        S.indptr[-1] = 1000
    else:
        S.indptr[1] = 3
    with pytest.raises(ValueError, match="not a valid sparse matrix"):
        lasso(S, np.ones(6), 0.1)


# ---- blocks ----


def sparse_coding(patches: int = 60, atoms: int = 12) -> tuple[Any, dict[str, np.ndarray], list[Block]]:
    """The book's example (8.7.2): J(H, W) = sum |H| + sum (X - W H)^2, here with weights and a penalty on W."""
    X = load_digits()[0][:patches].T.astype(float) / 16
    rng = np.random.default_rng(0)
    lam, decay = 0.2, 0.1
    start = {"W": rng.standard_normal((64, atoms)), "H": np.zeros((atoms, patches))}

    def cost(p: Any) -> float:
        return float(
            lam * np.abs(p["H"]).sum() + ((X - p["W"] @ p["H"]) ** 2).sum() + decay * (p["W"] ** 2).sum()
        )

    def codes(p: Any) -> np.ndarray:
        # sum of squares + lam |H| = 128 (1/(2 64) sum of squares + lam/128 |H|)
        return lasso(p["W"], X, lam / 128, x0=p["H"], tol=1e-10).x

    def dictionary(p: Any) -> np.ndarray:
        H = p["H"]
        return np.linalg.solve(H @ H.T + decay * np.eye(len(H)), H @ X.T).T

    return cost, start, [Block("H", solve=codes), Block("W", solve=dictionary)]


def test_sparse_coding_falls_in_every_step() -> None:
    cost, start, blocks = sparse_coding()
    held = {name: a.copy() for name, a in start.items()}
    values = [cost(start)]
    res = BlockCoordinate(blocks).minimize(
        cost,
        start,
        max_iter=40,
        ftol=1e-6,
        callback=lambda intermediate_result: values.append(intermediate_result.fun),
    )
    np.testing.assert_array_equal(res.history, values)
    assert (np.diff(res.history) <= 0).all() and len(values) > 5
    assert res.fun == res.history[-1] == cost(res.x) < 0.3 * values[0]
    assert res.gains["H"] > 0 and res.gains["W"] > 0
    assert sum(res.gains.values()) == pytest.approx(values[0] - res.fun)
    assert 0.05 < np.mean(res.x["H"] != 0) < 0.95
    for name in start:
        np.testing.assert_array_equal(start[name], held[name])
    assert res.x["H"] is not start["H"]


def bowl(p: Any) -> float:
    return float((p["a"][0] - 1) ** 2 + 10 * ((p["b"]["c"] - p["a"].sum()) ** 2).sum() + p["rest"] ** 2)


BOWL = {"a": np.array([4, 4]), "b": {"c": np.array([[9.0, -3.0]])}, "rest": np.array(2.0)}
EXACT = [
    Block("a", update=lambda p, a: np.array([1.0, p["b"]["c"].mean() - 1.0])),
    Block("b", solve=lambda p: {"c": np.full((1, 2), p["a"].sum())}),
]


def test_blocks_of_a_tree_and_what_is_in_none() -> None:
    res = BlockCoordinate(EXACT).minimize(bowl, BOWL)
    assert res.status == 4 and res.success and res.fun == pytest.approx(4.0)
    assert res.x["rest"] == 2.0 and res.x["a"].dtype == np.float64 and res.x["b"]["c"].shape == (1, 2)
    assert BOWL["a"].dtype.kind == "i" and BOWL["a"].tolist() == [4, 4]
    assert res.nfev == 1 + 2 * res.nit == len(EXACT) * res.nit + 1


def test_update_may_work_in_place_and_be_an_object() -> None:
    class Halve:
        def update(self, params: Any, block: np.ndarray) -> None:
            assert not params.flags.writeable
            block *= 0.5

    res = BlockCoordinate([Block(lambda x: x[:2], update=Halve(), name="head")]).minimize(
        lambda x: float(x @ x), np.array([8.0, 4.0, 1.0]), max_iter=3
    )
    np.testing.assert_array_equal(res.x, [1.0, 0.5, 1.0])
    assert res.status == 1 and not res.success and res.nit == 3


def test_a_rise_or_nan_is_refused_or_the_best_kept() -> None:
    values = iter([5.0, np.nan, 1.0, 7.0, 0.5, 9.0])
    wild = [Block("", update=lambda p, x: np.full(1, next(values)))]

    def fun(x: Any) -> float:
        return float(abs(x[0]))

    res = BlockCoordinate(wild).minimize(fun, np.array([3.0]), max_iter=1)
    assert res.fun == 3.0 and res.refused == {"": 1} and res.status == 4
    res = BlockCoordinate(wild, monotone=False).minimize(fun, np.array([3.0]), max_iter=5, ftol=0.0)
    assert res.fun == 3.0 and res.refused == {"": 1} and res.status == 4  # NaN: nothing moved
    res = BlockCoordinate(wild, monotone=False).minimize(fun, np.array([3.0]), max_iter=4, ftol=0.0)
    assert res.fun == 0.5 and res.x[0] == 0.5 and res.history.tolist() == [3.0, 1.0, 7.0, 0.5, 9.0]


def test_gradient_tolerance_and_callback() -> None:
    seen = []

    def callback(intermediate_result: OptimizeResult) -> None:
        seen.append(intermediate_result)
        if intermediate_result.nit == 2:
            raise StopIteration

    halve = [Block("x", solve=lambda p: p["x"] / 2)]

    def fun(p: Any) -> float:
        return float(p["x"] @ p["x"])

    start = {"x": np.full(3, 8.0)}
    res = BlockCoordinate(halve).minimize(fun, start, callback=callback)
    assert res.status == 99 and not res.success and res.nit == 2
    assert seen[0].x["x"][0] == 4.0 and seen[1].x["x"][0] == 2.0  # copies
    res = BlockCoordinate(halve).minimize(fun, start, jac=lambda p: {"x": 2 * p["x"]}, gtol=0.1)
    assert res.status == 0 and res.success and np.abs(2 * res.x["x"]).max() == 0.0625
    res = BlockCoordinate(halve).minimize(fun, {"x": np.zeros(3)}, jac=lambda p: {"x": 2 * p["x"]})
    assert res.status == 0 and res.nit == 0
    res = BlockCoordinate(halve).minimize(lambda p: np.inf, start)
    assert res.status == 3 and not res.success and res.nfev == 1


def test_exceptions_pass_through_and_x0_stays() -> None:
    start = np.ones(2)
    for error in (KeyboardInterrupt, ZeroDivisionError, StopIteration):

        def fails(x: Any, error: type[BaseException] = error) -> Any:
            raise error("now")

        with pytest.raises(error, match="now"):
            BlockCoordinate([Block("", solve=fails)]).minimize(lambda x: float(x @ x), start)
        with pytest.raises(error, match="now"):
            BlockCoordinate([Block("", solve=lambda x: x)]).minimize(fails, start)
    assert start.tolist() == [1.0, 1.0]


def test_a_method_of_minimize_on_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through fastopt.minimize.minimize; SciPy's stands in for it where that has not arrived."""
    import fastopt.minimize

    if not hasattr(fastopt.minimize, "minimize"):
        from scipy.optimize import minimize

        def stand_in(fun: Any, x0: Any, method: str, **more: Any) -> Any:
            return minimize(fun, x0, method={"lbfgs": "L-BFGS-B"}[method], **more)

        monkeypatch.setattr(fastopt.minimize, "minimize", stand_in, raising=False)

    def fun(p: Any, k: float) -> float:
        return float(((p["u"] - p["v"][0]) ** 2).sum() + k * ((p["v"] - 3) ** 4).sum() + (p["v"] ** 2).sum())

    def jac_v(p: Any, k: float) -> Any:
        g = 4 * k * (p["v"] - 3) ** 3 + 2 * p["v"]
        g[0] -= 2 * (p["u"] - p["v"][0]).sum()
        return g

    start = {"u": np.zeros((2, 2)), "v": np.full(3, 5.0)}
    u = Block("u", solve=lambda p: np.full((2, 2), p["v"][0]))
    for how in ({"jac": jac_v}, {}):
        v = Block("v", method="lbfgs", tol=1e-10, options={"maxiter": 50}, **how)
        res = BlockCoordinate([u, v]).minimize(fun, start, args=(0.5,))
        assert res.success, res
        assert np.abs(jac_v(res.x, 0.5)).max() < 1e-3
        assert res.gains["v"] > 0 and res.nfev > res.nit * 2
    assert start["v"].tolist() == [5.0] * 3


BAD_BLOCKS: list[tuple[type[Exception], str, Any]] = [
    (ValueError, "nothing was given", lambda: Block("a")),
    (ValueError, "solve and method was given", lambda: Block("a", solve=abs, method="cg")),
    (TypeError, "solve is 3", lambda: Block("a", solve=3)),
    (TypeError, "update is 3", lambda: Block("a", update=3)),
    (TypeError, "method is 3", lambda: Block("a", method=3)),
    (TypeError, "part is 3", lambda: Block(3, solve=abs)),
    (ValueError, "go with method", lambda: Block("a", solve=abs, tol=1.0)),
    (ValueError, "blocks is empty", lambda: BlockCoordinate([])),
    (TypeError, r"blocks\[0\] is 'a'", lambda: BlockCoordinate(["a"])),
    (ValueError, "two blocks are called 'a'", lambda: BlockCoordinate([EXACT[0], EXACT[0]])),
    (ValueError, "no such path; it has 'a', 'b/c', 'rest'", lambda: run(Block("b/d", solve=abs))),
    (ValueError, "no array of the parameters", lambda: run(Block(lambda p: p["a"] * 1, solve=abs))),
    (ValueError, r"solve returned float64 of shape \(3,\)", lambda: run(Block("a", solve=lambda p: np.ones(3)))),
    (ValueError, "solve returned object", lambda: run(Block("a", solve=lambda p: None))),
    (ValueError, "solve returned a tree", lambda: run(Block("b", solve=lambda p: np.ones(2)))),
    (TypeError, "fun returned float64 of shape", lambda: BlockCoordinate(EXACT).minimize(lambda p: np.ones(2), BOWL)),
    (TypeError, "fun is 3", lambda: BlockCoordinate(EXACT).minimize(3, BOWL)),
    (TypeError, r"x0\['a'\] is of dtype complex128", lambda: BlockCoordinate(EXACT).minimize(bowl, {"a": 1j})),
    (ValueError, "max_iter is -1", lambda: BlockCoordinate(EXACT).minimize(bowl, BOWL, max_iter=-1)),
    (ValueError, "ftol is nan", lambda: BlockCoordinate(EXACT).minimize(bowl, BOWL, ftol=np.nan)),
]  # fmt: skip


def run(block: Block) -> OptimizeResult:
    return BlockCoordinate([block]).minimize(bowl, BOWL)


@pytest.mark.parametrize(("error", "message", "make"), BAD_BLOCKS, ids=[row[1] for row in BAD_BLOCKS])
def test_bad_blocks(error: type[Exception], message: str, make: Any) -> None:
    with pytest.raises(error, match=message):
        make()
