"""Linear conjugate gradients: finite termination, honest residuals, every form of A and M, bad input."""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from scipy.sparse.linalg import cg as scipy_cg

import fastopt as fo

WIDTHS = (np.float64, np.float32)
FORMS = ("array", "fortran", "strided", "csr", "csc", "coo", "dia", "operator", "function", "list")


def matrix(eigenvalues: Any, seed: int = 0) -> np.ndarray:
    """Symmetric, with these eigenvalues."""
    values = np.asarray(eigenvalues, float)
    basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((values.size, values.size)))[0]
    A = (basis * values) @ basis.T
    return (A + A.T) / 2


def vector(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n)


def poisson(k: int) -> Any:
    line = sp.diags_array([-np.ones(k - 1), 2 * np.ones(k), -np.ones(k - 1)], offsets=[-1, 0, 1])
    return sp.csr_array(sp.kron(line, sp.eye_array(k)) + sp.kron(sp.eye_array(k), line))


def given_as(form: str, A: np.ndarray) -> Any:
    if form == "array":
        return A
    if form == "fortran":
        return np.asfortranarray(A)
    if form == "strided":
        wide = np.zeros((2 * len(A), 3 * len(A)), A.dtype)
        wide[::2, ::3] = A
        return wide[::2, ::3]
    if form == "operator":
        return aslinearoperator(A)
    if form == "function":
        return lambda v: A @ v
    return A.tolist() if form == "list" else sp.csr_array(A).asformat(form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", WIDTHS)
def test_every_form_of_a(form: str, dtype: Any) -> None:
    A, b = matrix(np.linspace(1, 10, 30)).astype(dtype), vector(30).astype(dtype)
    frozen = b.copy()
    A.flags.writeable = b.flags.writeable = False
    result = fo.cg(given_as(form, A), b, rtol=1e-5)
    assert result.success and result.status == 0
    assert result.x.dtype == (np.float64 if form == "list" else dtype)  # a list holds doubles
    exact = np.linalg.solve(A.astype(float), b.astype(float))
    assert np.linalg.norm(result.x - exact) <= 1.1e-5 * np.linalg.norm(b)  # smallest eigenvalue 1
    real = b.astype(float) - A.astype(float) @ result.x.astype(float)
    assert result.residual == pytest.approx(np.linalg.norm(real), rel=0.05)
    np.testing.assert_allclose(result.jac, -real, atol=1e-5)
    assert result.fun == pytest.approx(
        0.5 * result.x @ A.astype(float) @ result.x - b @ result.x.astype(float), rel=1e-5
    )
    np.testing.assert_array_equal(b, frozen)


@pytest.mark.parametrize("distinct", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("n", [8, 40])
def test_as_many_iterations_as_distinct_eigenvalues(n: int, distinct: int) -> None:
    values = np.resize(np.linspace(1, 4, distinct), n)
    result = fo.cg(matrix(values), vector(n), rtol=1e-10)
    assert result.success and result.nit == distinct
    early = fo.cg(matrix(values), vector(n), rtol=1e-10, maxiter=distinct - 1)
    assert not early.success and early.status == 1


def test_only_the_eigenvectors_in_b_count() -> None:
    A = np.diag(np.arange(1.0, 21.0))
    b = np.zeros(20)
    b[[2, 5, 11]] = 1, -2, 3
    assert fo.cg(A, b, rtol=1e-12).nit == 3


@pytest.mark.parametrize("rough", [True, False])
def test_condition_1e8(rough: bool) -> None:
    """A right side that meets all eigenvectors alike (a long x), and one that belongs to an x of length 10."""
    A = matrix(np.geomspace(1e-8, 1, 100))
    b = vector(100) if rough else A @ vector(100)
    # The smallest residual that rounding leaves is near eps ||A|| ||x||: 1e-9 and 1e-15 of b here.
    rtol = 1e-7 if rough else 1e-12
    result = fo.cg(A, b, rtol=rtol, maxiter=50_000)
    assert result.success
    # Success is said of the residual that the caller can compute.
    residual = np.linalg.norm(b - A @ result.x)
    assert residual <= 1.001 * rtol * np.linalg.norm(b)
    assert np.linalg.norm(result.x - np.linalg.solve(A, b)) <= 1e8 * 1.1 * residual + 1e-6 * np.linalg.norm(
        result.x
    )


@pytest.mark.parametrize("dtype", WIDTHS)
def test_more_than_rounding_allows_is_no_success(dtype: Any) -> None:
    A, b = matrix(np.geomspace(1e-4, 1, 60)).astype(dtype), vector(60).astype(dtype)
    result = fo.cg(A, b, rtol=0.0, maxiter=20_000)
    real = np.linalg.norm(b.astype(float) - A.astype(float) @ result.x.astype(float))
    assert result.status == 2 and not result.success and "ounding" in result.message
    assert result.residual == pytest.approx(real, rel=1)
    floor = np.finfo(dtype).eps * np.linalg.norm(A, 2) * np.linalg.norm(result.x)
    assert real <= 60 * floor, "the point is as good as the dtype lets it be"
    # SciPy's carries its residual along, and claims success here
    _, info = scipy_cg(A, b, rtol=1e-3 * real / np.linalg.norm(b), maxiter=20_000)
    assert info == 0


def test_as_scipys() -> None:
    A, b = poisson(30), vector(900)
    count: list[Any] = []
    theirs, info = scipy_cg(A, b, rtol=1e-8, callback=count.append)
    ours = fo.cg(A, b, rtol=1e-8)
    assert info == 0 and ours.success
    assert abs(ours.nit - len(count)) <= 1
    np.testing.assert_allclose(ours.x, theirs, atol=1e-6 * np.abs(theirs).max())


def test_agrees_with_solve() -> None:
    A, b = matrix(np.linspace(0.5, 50, 80)), vector(80)
    np.testing.assert_allclose(fo.cg(A, b, rtol=1e-13).x, np.linalg.solve(A, b), rtol=1e-10)


@pytest.mark.parametrize("form", FORMS)
def test_the_inverse_as_preconditioner(form: str) -> None:
    A, b = matrix(np.geomspace(1, 1e4, 25)), vector(25)
    inverse = np.linalg.inv(A)
    result = fo.cg(A, b, M=given_as(form, (inverse + inverse.T) / 2), rtol=1e-9)
    assert result.success and result.nit == 1


def test_jacobi_helps_bad_scales() -> None:
    scale = np.geomspace(1, 1e3, 200)
    A = scale[:, None] * matrix(np.linspace(1, 3, 200)) * scale
    b = vector(200)
    plain, helped = fo.cg(A, b, rtol=1e-6, maxiter=200), fo.cg(A, b, rtol=1e-6, M=np.diag(1 / np.diag(A)))
    assert helped.success and helped.nit < 40 and not plain.success


def test_start() -> None:
    A, b, x0 = matrix(np.linspace(1, 5, 12)), vector(12), vector(12, 3)
    kept = x0.copy()
    x0.flags.writeable = False
    assert np.allclose(fo.cg(A, b, x0, rtol=1e-12).x, np.linalg.solve(A, b), atol=1e-10)
    np.testing.assert_array_equal(x0, kept)
    at = fo.cg(A, b, np.linalg.solve(A, b))
    assert at.success and at.nit == 0 and at.nfev == 1
    far = fo.cg(A, b, 1e6 * x0, rtol=1e-10)
    assert far.success
    none = fo.cg(A, np.zeros(12), x0)
    assert none.success and not none.x.any() and none.nit == 0 and none.fun == 0
    assert fo.cg(A, b, maxiter=0).status == 1
    assert fo.cg(A, b, rtol=0.0, atol=1e3).nit == 0


def test_tiny_sizes() -> None:
    for A in (np.zeros((0, 0)), sp.csr_array((0, 0)), lambda v: v):
        empty = fo.cg(A, np.zeros(0))
        assert empty.success and empty.x.shape == (0,) and empty.fun == 0
    one = fo.cg([[4]], [2])
    assert one.success and one.x[0] == 0.5 and one.nit == 1
    assert fo.cg(lambda v: 4 * v, np.array([2], np.float32)).x.dtype == np.float32


def test_integers_become_float64() -> None:
    result = fo.cg(np.array([[4, 1], [1, 3]]), np.array([1, 2]), x0=[0, 1], rtol=1e-12)
    np.testing.assert_allclose(result.x, [1 / 11, 7 / 11])


def test_numbers_whose_squares_leave_the_range() -> None:
    A, b = matrix(np.linspace(1, 5, 12)), vector(12)
    here = fo.cg(A, b, rtol=1e-10)
    for power in (-1000, -600, 600, 1000):
        far = fo.cg(A, np.ldexp(b, power), rtol=1e-10)
        assert far.success and far.nit == here.nit
        np.testing.assert_allclose(np.ldexp(far.x, -power), here.x, rtol=1e-8)


def test_no_positive_curvature() -> None:
    b = np.array([1.0, 1.0, 1.0])
    for A in (np.diag([3.0, -1, 2]), -np.eye(3), lambda v: np.array([3.0, -1, 2]) * v):
        result = fo.cg(A, b)
        assert result.status == 7 and not result.success and "not positive definite" in result.message
        assert np.isfinite(result.x).all() and result.fun <= 0
    singular = fo.cg(np.diag([1.0, 1.0, 0.0]), b)
    assert singular.status == 7
    consistent = fo.cg(np.diag([1.0, 1.0, 0.0]), [1.0, 2.0, 0.0])
    assert consistent.success
    np.testing.assert_allclose(consistent.x, [1, 2, 0])
    bad_m = fo.cg(np.eye(3), b, M=np.diag([1.0, -5, 1]))
    assert bad_m.status == 8 and "M is not positive definite" in bad_m.message


def test_what_is_not_finite_ends_the_run() -> None:
    A = matrix(np.linspace(1, 5, 6))
    calls = 0

    def later(v: np.ndarray) -> np.ndarray:
        nonlocal calls
        calls += 1
        return A @ v * (np.nan if calls == 3 else 1)

    result = fo.cg(later, vector(6), rtol=1e-12)
    assert result.status == 3 and result.nit == 2 and "with A" in result.message
    assert np.isfinite(result.x).all() and result.fun < 0
    result = fo.cg(A, vector(6), M=lambda r: r * np.inf)
    assert result.status == 3 and "with M" in result.message and not result.x.any()


def test_not_symmetric() -> None:
    A = matrix(np.linspace(1, 5, 9))
    A[2, 7] += 0.01
    for form in ("array", "fortran", "csr", "csc"):
        with pytest.raises(ValueError, match="cg: A is not symmetric"):
            fo.cg(given_as(form, A), vector(9))
    A[2, 7] += 10
    for form in ("operator", "function"):
        with pytest.raises(ValueError, match="A is not symmetric, or no linear function"):
            fo.cg(given_as(form, A), vector(9))
    with pytest.raises(ValueError, match="no linear function"):
        fo.cg(lambda v: np.linspace(1, 5, 9) * v + 1, vector(9))
    noisy = matrix(np.linspace(1, 5, 9))
    rng = np.random.default_rng(0)
    assert fo.cg(lambda v: noisy @ v * (1 + 1e-8 * rng.standard_normal()), vector(9)).success


def test_callback() -> None:
    A, b = matrix(np.geomspace(1, 100, 20)), vector(20)
    seen: list[np.ndarray] = []
    result = fo.cg(A, b, callback=lambda x: seen.append(x.copy()))
    assert len(seen) == result.nit
    q = [0.5 * x @ A @ x - b @ x for x in seen]
    assert all(later < now for now, later in pairwise(q)), "q falls at every step"
    np.testing.assert_array_equal(seen[-1], result.x)

    def whole(intermediate_result: Any) -> None:
        r = intermediate_result
        assert not r.x.flags.writeable
        assert r.fun == pytest.approx(q[r.nit - 1])
        assert r.residual == pytest.approx(np.linalg.norm(b - A @ r.x), rel=1e-6)
        if r.nit == 3:
            raise StopIteration

    stopped = fo.cg(A, b, callback=whole)
    assert stopped.status == 99 and stopped.nit == 3 and not stopped.success
    np.testing.assert_array_equal(stopped.x, seen[2])
    assert stopped.residual == pytest.approx(np.linalg.norm(b - A @ stopped.x))

    def wrong(x: np.ndarray) -> None:
        x[0] = 0

    with pytest.raises(ValueError, match="read-only"):
        fo.cg(A, b, callback=wrong)


def test_exceptions_pass() -> None:
    def broken(v: np.ndarray) -> np.ndarray:
        raise KeyError("mine")

    for arguments in ({"A": broken}, {"A": np.eye(3), "M": broken}, {"A": np.eye(3), "callback": broken}):
        with pytest.raises(KeyError, match="mine"):
            fo.cg(b=np.ones(3), **arguments)  # type: ignore[arg-type]


def test_a_function_may_not_write_its_argument() -> None:
    def careless(v: np.ndarray) -> np.ndarray:
        v *= 2
        return v

    with pytest.raises(ValueError, match="read-only"):
        fo.cg(careless, np.ones(3))


def test_results_that_are_reused_or_shared() -> None:
    A, b = matrix(np.geomspace(1, 100, 20)), vector(20)
    out = np.empty(20)
    right = fo.cg(lambda v: A @ v, b, M=lambda r: r * 1.0)
    again = fo.cg(lambda v: np.matmul(A, v, out=out), b, M=lambda r: r)
    np.testing.assert_array_equal(right.x, again.x)
    assert fo.cg(lambda v: v, b).nit == 1
    assert fo.cg(lambda v: (A @ v).tolist(), b).nit == right.nit
    assert fo.cg(lambda v: np.repeat(A @ v, 2)[::2], b).nit == right.nit


def test_a_run_inside_a_run() -> None:
    A, b = matrix(np.geomspace(1, 100, 20)), vector(20)
    result = fo.cg(A, b, M=lambda r: fo.cg(A, r, rtol=1e-13).x, rtol=1e-8)
    assert result.success and result.nit == 1


BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("b is a matrix", {"b": np.ones((3, 1))}, ValueError, r"b has shape \(3, 1\)"),
    ("b is complex", {"b": np.ones(3) * 1j}, TypeError, "b is complex"),
    ("b holds NaN", {"b": [1, np.nan, 1]}, ValueError, "b is nan at element 1"),
    ("b is text", {"b": ["a", "b", "c"]}, TypeError, "cg: b is"),
    ("b is half", {"b": np.ones(3, np.float16)}, TypeError, "float16"),
    ("x0 is short", {"x0": np.ones(2)}, ValueError, r"x0 has shape \(2,\); \(3,\) is wanted"),
    ("x0 is infinite", {"x0": [0, 0, np.inf]}, ValueError, "x0 is inf at element 2"),
    ("x0 is complex", {"x0": np.ones(3) * 1j}, TypeError, "x0 is complex"),
    ("A is wide", {"A": np.ones((3, 4))}, ValueError, r"A has shape \(3, 4\); \(3, 3\) is wanted"),
    ("A is a vector", {"A": np.ones(3)}, ValueError, r"A has shape \(3,\)"),
    ("A is small", {"A": sp.eye_array(2)}, ValueError, r"A has shape \(2, 2\)"),
    ("A is complex", {"A": np.eye(3) * 1j}, TypeError, "A is complex"),
    ("A is sparse and complex", {"A": sp.eye_array(3) * 1j}, TypeError, "complex128"),
    ("A holds NaN", {"A": np.diag([1, np.nan, 1])}, ValueError, "A holds NaN"),
    ("A is None", {"A": None}, TypeError, "cg: A is"),
    ("A gives a column", {"A": lambda v: v[:, None]}, ValueError, r"A\(v\) has shape \(3, 1\)"),
    ("A gives complex", {"A": lambda v: 1j * v}, TypeError, r"A\(v\) is ndarray \(complex128\)"),
    ("A gives nothing", {"A": lambda v: None}, TypeError, r"A\(v\) is NoneType"),
    ("operator of another size", {"A": LinearOperator((4, 4), matvec=lambda v: v)}, ValueError, r"\(4, 4\)"),
    ("M is small", {"M": np.eye(2)}, ValueError, r"M has shape \(2, 2\)"),
    ("M is askew", {"M": np.triu(np.ones((3, 3)))}, ValueError, "M is not symmetric"),
    ("rtol below 0", {"rtol": -1.0}, ValueError, "rtol"),
    ("atol is text", {"atol": "legacy"}, TypeError, "atol"),
    ("maxiter is 1.5", {"maxiter": 1.5}, TypeError, "maxiter"),
    ("callback is 3", {"callback": 3}, TypeError, "callback"),
]


@pytest.mark.parametrize(("change", "error", "said"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_input(change: dict[str, Any], error: type[Exception], said: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=said):
            fo.cg(**{"A": np.diag([1.0, 2, 3]), "b": np.ones(3), **change})
