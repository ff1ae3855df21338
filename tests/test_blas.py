"""Every routine of csrc/blas.h, through the pointers that csrc gets, against NumPy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastopt._core import blas

N = 7
ONE = np.ones(1, np.int32)


def letter(c: str) -> np.ndarray:
    return np.array([c], "S1")


def integer(i: int) -> np.ndarray:
    return np.array([i], np.int32)


@pytest.fixture(params=["s", "d"])
def width(request: pytest.FixtureRequest) -> str:
    return request.param


class Data:
    """A symmetric positive definite matrix, an indefinite one, and vectors, of one width."""

    def __init__(self, width: str) -> None:
        self.dtype = np.dtype(np.float32 if width == "s" else np.float64)
        rng = np.random.default_rng(3)
        a = rng.standard_normal((N, N))
        self.definite = (a @ a.T + np.eye(N)).astype(self.dtype)
        self.indefinite = (a + a.T).astype(self.dtype)
        self.x, self.y = rng.standard_normal((2, N)).astype(self.dtype)

    def number(self, value: float) -> np.ndarray:
        return np.array([value], self.dtype)

    def close(self, got: np.ndarray, wanted: np.ndarray, condition: float = 1) -> None:
        """Small matrices with elements near one: rounding costs at most N terms, `condition` times in a solution."""
        assert got.dtype == self.dtype
        limit = 20 * N * np.finfo(self.dtype).eps * condition * max(1.0, np.abs(wanted).max())
        assert np.abs(got.astype(float) - wanted).max() <= limit


def lower(a: np.ndarray) -> np.ndarray:
    """By columns, with the half that must not be read spoilt."""
    return np.asfortranarray(np.tril(a) + np.triu(np.full_like(a, np.nan), 1))


def test_symv(width: str) -> None:
    d, n = Data(width), integer(N)
    y = d.y.copy()
    args = (d.number(2), lower(d.indefinite), n, d.x, ONE, d.number(-0.5), y, ONE)
    blas.call(width + "symv", letter("L"), n, *args)
    d.close(y, 2 * d.indefinite.astype(float) @ d.x - 0.5 * d.y)


def test_syr2(width: str) -> None:
    d, n = Data(width), integer(N)
    a = np.asfortranarray(np.tril(d.indefinite))
    blas.call(width + "syr2", letter("L"), n, d.number(3), d.x, ONE, d.y, ONE, a, n)
    x, y = d.x.astype(float), d.y.astype(float)
    d.close(a, np.tril(d.indefinite + 3 * (np.outer(x, y) + np.outer(y, x))))


@pytest.mark.parametrize("trans", ["N", "T"])
def test_gemv(width: str, trans: str) -> None:
    d, columns = Data(width), 3
    a = np.asfortranarray(d.indefinite[:, :columns])
    by, y = (d.x[:columns], d.y.copy()) if trans == "N" else (d.x, d.y[:columns].copy())
    wanted = 2 * (a if trans == "N" else a.T).astype(float) @ by + y
    sizes = (integer(N), integer(columns))
    args = (d.number(2), a, integer(N), by, ONE, d.number(1), y, ONE)
    blas.call(width + "gemv", letter(trans), *sizes, *args)
    d.close(y, wanted)


@pytest.mark.parametrize("trans", ["N", "T"])
def test_trsv(width: str, trans: str) -> None:
    d, n = Data(width), integer(N)
    a = np.tril(d.definite)
    x = d.x.copy()
    blas.call(width + "trsv", letter("L"), letter(trans), letter("N"), n, lower(a), n, x, ONE)
    exact = (a if trans == "N" else a.T).astype(float)
    d.close(x, np.linalg.solve(exact, d.x), np.linalg.cond(exact))


def test_potrf_and_potrs(width: str) -> None:
    d, n, info = Data(width), integer(N), integer(9)
    a, b = lower(d.definite), np.asfortranarray(np.stack([d.x, d.y], axis=1))
    blas.call(width + "potrf", letter("L"), n, a, n, info)
    assert info[0] == 0
    d.close(np.tril(a), np.linalg.cholesky(d.definite.astype(float)), np.linalg.cond(d.definite))
    blas.call(width + "potrs", letter("L"), n, integer(2), a, n, b, n, info)
    wanted = np.linalg.solve(d.definite.astype(float), np.stack([d.x, d.y], axis=1))
    assert info[0] == 0
    d.close(b, wanted, np.linalg.cond(d.definite))


def test_potrf_says_which_minor_is_not_positive(width: str) -> None:
    d, n, info = Data(width), integer(N), integer(0)
    a = np.eye(N, dtype=d.dtype)
    a[4, 4] = -1
    blas.call(width + "potrf", letter("L"), n, np.asfortranarray(a), n, info)
    assert info[0] == 5


def test_syevd(width: str) -> None:
    d, n, info = Data(width), integer(N), integer(9)
    a, w, size, isize = lower(d.indefinite), np.empty(N, d.dtype), d.number(0), integer(0)
    flags = (letter("V"), letter("L"), n)
    blas.call(width + "syevd", *flags, a, n, w, size, integer(-1), isize, integer(-1), info)
    assert info[0] == 0
    work, iwork = np.empty(int(size[0]), d.dtype), np.empty(isize[0], np.int32)
    room = (work, integer(len(work)), iwork, integer(len(iwork)))
    blas.call(width + "syevd", *flags, a, n, w, *room, info)
    assert info[0] == 0
    d.close(w, np.linalg.eigvalsh(d.indefinite.astype(float)))
    d.close((a * w) @ a.T, d.indefinite)


def test_sytrf_and_sytrs(width: str) -> None:
    d, n, info = Data(width), integer(N), integer(9)
    a, pivots, work, x = lower(d.indefinite), np.empty(N, np.int32), np.empty(64 * N, d.dtype), d.x.copy()
    blas.call(width + "sytrf", letter("L"), n, a, n, pivots, work, integer(len(work)), info)
    assert info[0] == 0
    blas.call(width + "sytrs", letter("L"), n, ONE, a, n, pivots, x, n, info)
    assert info[0] == 0
    exact = d.indefinite.astype(float)
    d.close(x, np.linalg.solve(exact, d.x), np.linalg.cond(exact))


def test_every_routine_is_tested_and_declared_once() -> None:
    text = Path(__file__).read_text()
    assert {name for name in blas.ROUTINES if f'width + "{name}"' in text} == set(blas.ROUTINES)
    header = Path(__file__).parents[1] / "csrc" / "blas.h"
    kinds = {"char": "c", "int": "i", "REAL": "r"}
    declared = {}
    for name, arguments in re.findall(r"void \(\*(\w+)\)\((.*?)\);", header.read_text().replace("\\\n", " ")):
        declared[name] = "".join(kinds[re.sub(r"const|\*.*", "", a).strip()] for a in arguments.split(","))
    assert list(declared.items()) == list(blas.ROUTINES.items())


def test_a_scipy_with_other_integers_is_refused() -> None:
    at = "__pyx_t_5scipy_6linalg_13cython_lapack_d *"
    narrow = f"void (char *, int *, {at}, int *, int *)"
    assert blas.arguments(narrow) == "cidii"
    blas.verify("dpotrf", narrow)
    blas.verify("dpotrf", narrow.replace(at, "double *"))
    for wide in ("int64_t *", "__pyx_t_5scipy_6linalg_13cython_lapack_blas_int *", "long *"):
        with pytest.raises(RuntimeError, match=r"dpotrf .* 64-bit integers .*lp64"):
            blas.verify("dpotrf", narrow.replace("int *", wide))
    for other in (
        narrow.replace("_d *", "_s *"),
        narrow.replace("char *, ", ""),
        "int (char *)",
        narrow + " x",
    ):
        with pytest.raises(RuntimeError, match="SciPy .* offers dpotrf as"):
            blas.verify("dpotrf", other)


def test_scipy_is_asked_only_at_the_first_use() -> None:
    code = (
        "import sys; from fastopt._core import blas, triangle; "
        "assert 'scipy' not in sys.modules, 'scipy was imported'; "
        "import numpy as np; u = np.empty(2); "
        "triangle.dense_pass(np.eye(2), None, None, np.ones(2), u); "
        "assert 'scipy.linalg.cython_blas' in sys.modules; assert list(u) == [1, 1]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_call_checks_its_arguments() -> None:
    with pytest.raises(ValueError, match="routine is 'dgemm'"):
        blas.call("dgemm")
    with pytest.raises(ValueError, match="2 arguments for dpotrf; 5 are needed"):
        blas.call("dpotrf", ONE, ONE)
    with pytest.raises(ValueError, match="argument 1 of dpotrf"):
        blas.call("dpotrf", letter("L"), np.ones(1, np.int64), np.eye(1), ONE, ONE)
