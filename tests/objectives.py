"""Objectives for tests of the minimizers: recorded, hostile, compiled."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt._core import solve
from fastopt.minimize import Reason
from fastopt.minimize.result import SUCCESSES

METHODS = tuple(solve.methods())
#: What a method needs beside fun: of a Hessian only that it is one, so that every evaluation is one of the run itself.
SECOND: dict[str, dict[str, Any]] = {
    "newton": {"hess": lambda x, *args: np.eye(x.size)},
    "trust": {"hess": lambda x, *args: np.eye(x.size)},
    "newton_cg": {"hessp": lambda x, v, *args: v},
    "trust_cg": {"hessp": lambda x, v, *args: v},
}


class Recorder:
    """`fun` (f and g at once), with every call kept: where, what came out."""

    def __init__(self, fun: Callable[..., Any]) -> None:
        self.fun = fun
        self.calls: list[tuple[bytes, float, np.ndarray]] = []

    def __call__(self, x: np.ndarray, *args: Any) -> Any:
        at = x.tobytes()
        f, g = self.fun(x, *args)
        self.calls.append((at, float(f), np.array(g, x.dtype, copy=True)))
        return f, g


def run(method: str, fun: Callable[..., Any], x0: Any, *, rough: bool = False, **more: Any) -> Any:
    """`minimize` with what the method needs, and the invariants of every run checked.

    `rough`: the value is not smooth along a line, or not the gradient's. Then a search narrows down to where rounding makes two
    trials one point (as it does where nothing else ends a run), or a later one comes back to a point of an earlier one; neither is remembered, so points may repeat.
    """
    recorder = Recorder(fun)
    start = np.array(x0, copy=True)
    result = fo.minimize(recorder, x0, method=method, **{**SECOND.get(method, {}), **more})
    assert np.array_equal(start, np.asarray(x0)), "x0 was changed"
    check(recorder, result, rough)
    return result


def check(recorder: Recorder, result: Any, rough: bool = False) -> None:
    calls = recorder.calls
    assert result.nfev == len(calls) and result.njev == len(calls), "counts are not the objective's own"
    repeated = len(calls) - len({at for at, _, _ in calls})
    asked_again = result.status in (Reason.NOT_DESCENT, Reason.CHANGED)
    assert rough or repeated <= asked_again, "a point was evaluated twice"
    finite = [f for _, f, g in calls if np.isfinite(f) and np.isfinite(g).all()]
    if finite:
        assert result.fun <= min(finite), "the result is worse than the best evaluation"
    if np.isfinite(result.fun):
        known = [(f, g) for at, f, g in calls if at == result.x.tobytes()]
        assert known, "the result is a point that was never evaluated"
        assert any(f == result.fun and np.array_equal(g, result.jac, equal_nan=True) for f, g in known)
    assert result.success == (result.status in SUCCESSES)
    if result.success:
        assert np.isfinite(result.fun) and np.isfinite(result.jac).all() and np.isfinite(result.x).all()
    assert result.message and result.message.endswith(".") and "\n" not in result.message


def rosenbrock(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Rosenbrock's valley, chained over n >= 2 variables."""
    x = np.asarray(x)
    a, b = x[:-1], x[1:]
    r = b - a * a
    g = np.zeros_like(x)
    g[:-1] += -400 * a * r - 2 * (1 - a)
    g[1:] += 200 * r
    return float(100 * (r @ r) + (1 - a) @ (1 - a)), g


def quadratic(x: np.ndarray) -> tuple[float, np.ndarray]:
    d = np.arange(1, x.size + 1, dtype=x.dtype)
    g = d * (x - 1)
    return 0.5 * float(g @ (x - 1)), g


SOURCE = """
#include <math.h>
#include <stdint.h>
double rosenbrock(int64_t n, const double *x, double *g, void *user)
{
    double f = 0, r, s;
    (void)user;
    for (int64_t i = 0; i < n; i++) g[i] = 0;
    for (int64_t i = 0; i + 1 < n; i++) {
        r = x[i + 1] - x[i] * x[i], s = 1 - x[i];
        f += 100 * r * r + s * s;
        g[i] += -400 * x[i] * r - 2 * s;
        g[i + 1] += 200 * r;
    }
    return f;
}
double shifted(int64_t n, const double *x, double *g, void *user)
{
    const double *c = user;
    double f = 0;
    for (int64_t i = 0; i < n; i++) g[i] = (double)(i + 1) * (x[i] - c[i]), f += 0.5 * g[i] * (x[i] - c[i]);
    return f;
}
double shifted_narrow(int64_t n, const float *x, float *g, void *user)
{
    double f = 0;
    (void)user;
    for (int64_t i = 0; i < n; i++) g[i] = (float)(i + 1) * (x[i] - 1), f += 0.5 * g[i] * (x[i] - 1);
    return f;
}
double endless(int64_t n, const double *x, double *g, void *user)      /* about a millisecond a call */
{
    volatile double z = 0;
    for (int i = 0; i < 1000000; i++) z += i;
    return rosenbrock(n, x, g, user);
}
"""
SIGNATURE = b"double (int64_t, const double *, double *, void *)"


def build(folder: Path) -> ctypes.CDLL:
    """The objectives above, compiled; skips where there is no compiler."""
    compiler = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    (folder / "objectives.c").write_text(SOURCE)
    library = folder / "objectives.so"
    command = [
        compiler,
        "-O2",
        "-ffp-contract=off",
        "-shared",
        "-fPIC",
        "-o",
        str(library),
        str(folder / "objectives.c"),
        "-lm",
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


def low_level(function: Any, signature: bytes = SIGNATURE, user: int | None = None) -> Any:
    """A scipy.LowLevelCallable of a ctypes function."""
    from scipy import LowLevelCallable

    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    capsule = new(ctypes.cast(function, ctypes.c_void_p).value, signature, None)
    if user is not None:
        put = ctypes.pythonapi.PyCapsule_SetContext
        put.restype, put.argtypes = ctypes.c_int, [ctypes.py_object, ctypes.c_void_p]
        put(capsule, user)
    out = LowLevelCallable(capsule)
    # The capsule keeps only the address of its name.
    _names.append(signature)
    return out


_names: list[bytes] = []
