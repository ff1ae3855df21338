"""minimize_many: each row has the bits that it has alone, rows that have ended are not evaluated, threads change nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt.minimize import Reason, many
from objectives import METHODS, SIGNATURE, build, low_level

WITHOUT_HESSIANS = [m for m in METHODS if m in ("gd", "bb", "cg", "bfgs", "lbfgs")]
every_method = pytest.mark.parametrize("method", WITHOUT_HESSIANS)
TIMES = np.linspace(0, 1, 20)


def curves(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the squares of a exp(-b t) + c - y, and their gradients, one curve a row."""
    e = np.exp(-x[:, 1:2] * TIMES)
    r = x[:, :1] * e + x[:, 2:] - y
    g = np.stack([(r * e).sum(1), (-r * e * TIMES * x[:, :1]).sum(1), r.sum(1)], 1)
    return 0.5 * (r * r).sum(1), g


def problems(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = np.stack([rng.uniform(1, 3, count), rng.uniform(0.5, 3, count), rng.uniform(-1, 1, count)], 1)
    return p, p[:, :1] * np.exp(-p[:, 1:2] * TIMES) + p[:, 2:] + 0.01 * rng.standard_normal((count, 20))


def alone(y: np.ndarray, x0: np.ndarray, method: str, **more: Any) -> Any:
    def fun(x: np.ndarray) -> Any:
        f, g = curves(x[None], y[None])
        return f[0], g[0]

    return fo.minimize(fun, x0, method=method, **more)


@every_method
@pytest.mark.parametrize("at_work", [many.AT_WORK, 40_000])
def test_rows_are_what_they_are_alone(method: str, at_work: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "AT_WORK", at_work)
    _, y = problems(30)
    x0 = np.tile([1.0, 1.0, 0.0], (30, 1))
    sizes = []

    def fun(x: np.ndarray, ys: np.ndarray) -> Any:
        sizes.append(len(x))
        assert ys.shape == (len(x), 20)
        return curves(x, ys)

    result = fo.minimize_many(fun, x0, y, method, options={"maxiter": 200})
    assert result.x.shape == result.jac.shape == (30, 3) and result.success.dtype == bool
    assert sum(sizes) == result.nfev.sum(), "a row that has ended was evaluated"
    for i in range(30):
        one = alone(y[i], x0[i], method, options={"maxiter": 200})
        assert result.x[i].tobytes() == one.x.tobytes() and result.jac[i].tobytes() == one.jac.tobytes()
        for field in ("fun", "nit", "nfev", "njev", "status", "success"):
            assert result[field][i] == one[field], field
    assert f"{result.success.sum()} of 30" in result.message


@every_method
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_compiled_rows(method: str, threads: int, tmp_path: Path) -> None:
    library = build(tmp_path)
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((300, 4))
    x0 = rng.standard_normal((300, 4))
    result = fo.minimize_many(low_level(library.shifted), x0, centres, method, options={"threads": threads})
    assert result.success.all() and np.allclose(result.x, centres, atol=1e-4)
    for i in range(0, 300, 37):
        one = fo.minimize(low_level(library.shifted), x0[i], centres[i].copy(), method)
        assert (
            result.x[i].tobytes() == one.x.tobytes()
            and result.nfev[i] == one.nfev
            and result.fun[i] == one.fun
        )


def test_compiled_without_data_and_in_float32(tmp_path: Path) -> None:
    library = build(tmp_path)
    result = fo.minimize_many(
        low_level(library.rosenbrock), np.tile([-1.2, 1.0], (5, 1)), method="cg", tol=1e-7
    )
    assert result.success.all() and np.allclose(result.x, 1, atol=1e-5)
    narrow = low_level(
        library.shifted_narrow, SIGNATURE.replace(b"const double *, double *", b"const float *, float *")
    )
    result = fo.minimize_many(narrow, np.zeros((7, 3), np.float32), method="cg")
    assert result.x.dtype == np.float32 and np.allclose(result.x, 1, atol=1e-2)
    with pytest.raises(TypeError, match="x0 is float64"):
        fo.minimize_many(narrow, np.zeros((7, 3)), method="cg")


def test_bad_rows_hurt_no_others() -> None:
    """NaN at the start, unbounded, constant and plain, in one call."""

    def fun(x: np.ndarray, kind: np.ndarray) -> Any:
        f, g = (x * x).sum(1), 2 * x
        f[kind == 1], f[kind == 2] = math.nan, -math.inf
        f[kind == 3], g[kind == 3] = 0, 0
        return f, g

    kinds = np.array([0, 1, 2, 3, 0])
    result = fo.minimize_many(fun, np.ones((5, 2)), kinds, "cg")
    assert result.status.tolist() == [0, Reason.NONFINITE, Reason.UNBOUNDED, 0, 0]
    assert result.success.tolist() == [True, False, False, True, True]


def test_args_are_cut_by_their_rows() -> None:
    def fun(x: np.ndarray, rows: np.ndarray, whole: np.ndarray, word: str) -> Any:
        assert rows.shape == (len(x), 2) and whole.shape == (3,) and word == "w"
        d = x - rows
        return (d * d).sum(1) * (1 + rows[:, 0] ** 2), 2 * d * (1 + rows[:, :1] ** 2)

    centres = np.arange(8.0).reshape(4, 2)
    result = fo.minimize_many(fun, np.zeros((4, 2)), (centres, np.ones(3), "w"), "cg")
    assert np.allclose(result.x, centres, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"method": "newton"}, ValueError, "newton|must be one of"),
        ({"X0": np.ones(3)}, ValueError, r"shape \(3,\)"),
        ({"X0": np.array([[1.0], [math.nan]])}, ValueError, "row 1"),
        ({"X0": np.array([[1j]])}, TypeError, "complex"),
        ({"fun": 3}, TypeError, "fun is int"),
        ({"options": {"gtoll": 1}}, ValueError, "gtol"),
        ({"options": {"disp": True}}, ValueError, "no meaning"),
        ({"options": {"preconditioner": abs}}, ValueError, "preconditioner"),
        ({"fun": lambda x: 1.0}, TypeError, "pair"),
        ({"fun": lambda x: (np.ones(len(x) + 1), x)}, ValueError, "values"),
        ({"fun": lambda x: (np.ones(len(x)), x[:, :1])}, ValueError, "gradients"),
        ({"fun": lambda x: (np.ones(len(x)), x * 1j)}, TypeError, "gradients"),
    ],
)
def test_refused(change: dict[str, Any], error: type, told: str) -> None:
    given = {"fun": lambda x: ((x * x).sum(1), 2 * x), "X0": np.ones((2, 2)), "method": "cg", **change}
    with pytest.raises(error, match=told):
        fo.minimize_many(**given)


def test_args_of_compiled_that_are_refused(tmp_path: Path) -> None:
    fun = low_level(build(tmp_path).shifted)
    for args in ((np.ones((3, 2)),), (np.ones((2, 2)), np.ones((2, 2))), ([[1.0, 2.0]] * 2,)):
        with pytest.raises(ValueError, match="takes one array of 2 rows"):
            fo.minimize_many(fun, np.zeros((2, 2)), args, "cg")
    with pytest.raises(TypeError, match="C-contiguous"):
        fo.minimize_many(fun, np.zeros((2, 2)), np.ones((2, 4))[:, ::2], "cg")


def test_nothing_to_do() -> None:
    result = fo.minimize_many(lambda x: (x.sum(1), x), np.zeros((0, 3)), method="cg")
    assert result.x.shape == (0, 3) and result.message.startswith("0 of 0")
    result = fo.minimize_many(lambda x: (np.ones(len(x)), x), np.zeros((4, 0)), method="cg")
    assert result.success.all() and result.nfev.tolist() == [1] * 4


def test_exception_brings_what_has_ended() -> None:
    calls = 0

    def fun(x: np.ndarray, scale: np.ndarray) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise RuntimeError("here")
        return scale * (x**4).sum(1), scale[:, None] * 4 * x**3

    with pytest.raises(RuntimeError, match="here") as caught:
        fo.minimize_many(fun, np.ones((3, 2)), np.array([1.0, 0.0, 2.0]), "cg")
    result = caught.value.fastopt_result  # type: ignore[attr-defined]
    assert result.status.tolist() == [-1, 0, -1] and result.success.tolist() == [False, True, False]


def test_start_is_not_changed_and_points_may_be_kept() -> None:
    x0 = np.ones((3, 2))
    x0.flags.writeable = False
    kept = []

    def fun(x: np.ndarray) -> Any:
        kept.append((x, x.copy()))
        return (x**4).sum(1), 4 * x**3

    fo.minimize_many(fun, x0, method="cg")
    assert np.array_equal(x0, np.ones((3, 2))) and all(np.array_equal(a, b) for a, b in kept)
