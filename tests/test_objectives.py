"""Bad objectives: every hostile one with every method of the build, each with its outcome; see `objectives.check` for what always holds."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt.minimize import Reason
from objectives import METHODS, SECOND, build, low_level, quadratic, rosenbrock, run

every_method = pytest.mark.parametrize("method", METHODS)
LIMIT = {"maxfev": 3000, "maxiter": 500}


# ---- values that are not finite ----
@every_method
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_value_not_finite_at_the_start(method: str, value: float) -> None:
    result = run(method, lambda x: (value, 2 * x), [1.0, 2.0])
    assert result.status == Reason.NONFINITE and result.nfev == 1
    assert np.array_equal(result.x, [1.0, 2.0])


@every_method
def test_gradient_not_finite_at_the_start(method: str) -> None:
    result = run(method, lambda x: (1.0, np.array([math.nan, 1.0])), [1.0, 2.0])
    assert result.status == Reason.NONFINITE and result.nfev == 1


@every_method
def test_minus_infinity_at_the_start(method: str) -> None:
    result = run(method, lambda x: (-math.inf, 2 * x), [1.0, 2.0])
    assert result.status == Reason.UNBOUNDED and not result.success


@every_method
@pytest.mark.parametrize("outside", [math.nan, math.inf])
def test_walls_are_kept_clear_of(method: str, outside: float) -> None:
    """A logarithmic barrier, not finite beyond it: the run recovers."""

    def barrier(x: np.ndarray) -> tuple[float, np.ndarray]:
        if (np.abs(x) >= 1).any():
            return outside, np.full_like(x, math.nan)
        return float(3 * x.sum() - np.log(1 - x * x).sum()), 3 + 2 * x / (1 - x * x)

    result = run(method, barrier, [0.0, 0.5, -0.5], options=LIMIT)
    assert result.success, result.message
    assert np.allclose(result.x, (1 - math.sqrt(10)) / 3, atol=1e-4)


@every_method
def test_gradient_not_finite_beyond_a_wall(method: str) -> None:
    """The value stays finite there: a point whose gradient is not is never the result."""

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        return float(x @ x - 40 * x[0]), np.full_like(x, math.nan) if x[0] > 5 else 2 * x - [40.0, 0.0]

    result = run(method, fun, [0.0, 1.0], rough=True, options=LIMIT)
    assert not result.success and np.isfinite(result.jac).all() and result.x[0] <= 5


@every_method
def test_minus_infinity_in_the_search(method: str) -> None:
    result = run(method, lambda x: (x[0] if x[0] > -5 else -math.inf, np.ones(1)), [0.0], options=LIMIT)
    assert result.status == Reason.UNBOUNDED
    assert np.isfinite(result.fun)


@every_method
def test_unbounded_below(method: str) -> None:
    result = run(method, lambda x: (float(x.sum()), np.ones_like(x)), [1.0, 2.0], options=LIMIT)
    assert not result.success
    assert result.fun < 3


@every_method
def test_fmin_ends_what_is_unbounded(method: str) -> None:
    result = run(
        method, lambda x: (float(x.sum()), np.ones_like(x)), [1.0, 2.0], options={**LIMIT, "fmin": -10.0}
    )
    assert result.status == Reason.UNBOUNDED and result.fun < -10


# ---- functions that are not what they should be ----
@every_method
def test_constant(method: str) -> None:
    result = run(method, lambda x: (7.0, np.zeros_like(x)), [1.0, 2.0])
    assert result.success and result.nfev == 1 and result.fun == 7


@every_method
def test_wrong_sign(method: str) -> None:
    result = run(method, lambda x: (float(x @ x), -2 * x), [1.0, 2.0], rough=True, options=LIMIT)
    if method not in ("trust", "trust_cg"):  # these shrink their region for as long as they may
        # Newton's family takes steps so short that f is level; bb may rise, so that its last search is one among such points.
        level = method == "bb" or method.startswith("newton")
        assert result.status in (Reason.NOT_DESCENT, *([Reason.PRECISION] if level else []))
    assert not result.success
    assert np.array_equal(result.x, [1.0, 2.0])


@every_method
def test_wrong_gradient(method: str) -> None:
    """Of another function: the run ends, and claims no more than it can show."""
    result = run(method, lambda x: (float(x @ x), 3 * x + 1), [1.0, 2.0], rough=True, options=LIMIT)
    assert result.fun <= 5


@every_method
def test_discontinuous(method: str) -> None:
    result = run(
        method, lambda x: (float(x @ x) + 10.0 * (x[0] < 0.3), 2 * x), [2.0, 1.0], rough=True, options=LIMIT
    )
    assert result.fun <= 5


@every_method
def test_kink(method: str) -> None:
    result = run(
        method, lambda x: (float(np.abs(x).sum()), np.sign(x)), [2.0, 1.0], rough=True, options=LIMIT
    )
    assert result.fun <= 3


@every_method
@pytest.mark.parametrize("noise", [1e-6, 1e-1])
def test_stochastic(method: str, noise: float) -> None:
    """Ends; points are new ones, so a change shows only where it makes a search fail."""
    rng = np.random.default_rng(5)

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = quadratic(x)
        return f + noise * rng.standard_normal(), g

    result = run(method, fun, [3.0, -2.0, 5.0], rough=True, options=LIMIT)
    assert result.nfev <= LIMIT["maxfev"]


@every_method
def test_changed(method: str) -> None:
    """One that grows with every call, as another mini-batch might: said, where the method can know."""
    count = 0

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal count
        count += 1
        return float(x @ x) + count, 2 * x

    result = run(method, fun, [1e-3, 1e-3], rough=True, options=LIMIT)
    assert result.status in (Reason.CHANGED, Reason.TRUST_COLLAPSED)


@every_method
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e150])
def test_scales(method: str, scale: float) -> None:
    result = run(
        method,
        lambda x: (scale * float(x @ x), 2 * scale * x),
        [1.0, -2.0],
        rough=True,
        options={**LIMIT, "gtol": 0.0},
    )
    assert result.fun <= 5 * scale


# ---- sizes and kinds of x0 ----
@every_method
def test_no_variables(method: str) -> None:
    result = run(method, lambda x: (3.0, x), [])
    assert result.success and result.fun == 3 and result.x.shape == (0,) and result.nfev == 1


@every_method
def test_one_variable(method: str) -> None:
    result = run(method, quadratic, [5.0])
    assert result.success and np.allclose(result.x, 1)


def starts() -> dict[str, Any]:
    frozen = np.array([3.0, -2.0])
    frozen.flags.writeable = False
    return {
        "integers": np.array([3, -2]),
        "list": [3, -2],
        "tuple": (3.0, -2.0),
        "read-only": frozen,
        "every second": np.array([3.0, 9.0, -2.0, 9.0])[::2],
        "backwards": np.array([-2.0, 3.0])[::-1],
        "other byte order": np.array([3.0, -2.0], ">f8"),
        "unaligned": np.frombuffer(b"x" + np.array([3.0, -2.0]).tobytes(), np.uint8)[1:].view(np.float64),
        "long double": np.array([3, -2], np.longdouble),
    }


@every_method
@pytest.mark.parametrize("kind", list(starts()))
def test_kinds_of_start(method: str, kind: str) -> None:
    wanted = run(method, quadratic, np.array([3.0, -2.0]))
    result = run(method, quadratic, starts()[kind])
    assert (
        result.x.tobytes() == wanted.x.tobytes()
        and result.x.dtype == np.float64
        and result.nfev == wanted.nfev
    )


@every_method
def test_float32(method: str) -> None:
    result = run(method, quadratic, np.array([3.0, -2.0, 0.5], np.float32))
    assert result.success and result.x.dtype == np.float32 and result.jac.dtype == np.float32
    assert np.allclose(result.x, 1, atol=1e-3)


@pytest.mark.parametrize(
    ("x0", "error", "told"),
    [
        ([1.0, math.nan], ValueError, "element 1"),
        ([math.inf], ValueError, "finite"),
        ([1 + 2j], TypeError, "complex"),
        (["a"], TypeError, "real numbers"),
        ([None], TypeError, "real numbers"),
        (None, TypeError, "real numbers"),
        ([[1.0], [1.0, 2.0]], ValueError, "lengths"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), TypeError, "masked"),
        (np.array([1.0], np.float16), TypeError, "float16"),
        (np.array(["2020-01-01"], "M8[D]"), TypeError, "real numbers"),
        ({"w": np.array([1.0]), "b": np.array([math.nan])}, ValueError, "finite"),
        ({"w": np.array([1.0]), "b": "x"}, TypeError, r"x0\['b'\]"),
    ],
)
def test_starts_that_are_refused(x0: Any, error: type, told: str) -> None:
    called = []
    with pytest.raises(error, match=told):
        fo.minimize(called.append, x0, method=METHODS[0])
    assert not called


# ---- what comes back ----
VALUES = {
    "0-d": lambda f: np.array(f),
    "(1,)": lambda f: np.array([f]),
    "(1, 1)": lambda f: np.array([[f]]),
    "float64": np.float64,
    "list": lambda f: [f],
    "object": lambda f: np.array(f, object),
}
GRADIENTS = {
    "list": lambda g: g.tolist(),
    "tuple": tuple,
    "column": lambda g: g[:, None],
    "row": lambda g: g[None],
    "strided": lambda g: np.repeat(g, 2)[::2],
    "objects": lambda g: g.astype(object),
    "read-only": lambda g: np.frombuffer(g.tobytes()),
    "long double": lambda g: g.astype(np.longdouble),
}


@every_method
@pytest.mark.parametrize("form", VALUES)
def test_forms_of_value(method: str, form: str) -> None:
    kwargs = SECOND.get(method, {})
    wanted = fo.minimize(quadratic, [3.0, -2.0], method=method, **kwargs)

    def fun(x: np.ndarray) -> Any:
        f, g = quadratic(x)
        return VALUES[form](f), g

    assert fo.minimize(fun, [3.0, -2.0], method=method, **kwargs).x.tobytes() == wanted.x.tobytes()


@every_method
@pytest.mark.parametrize("form", GRADIENTS)
def test_forms_of_gradient(method: str, form: str) -> None:
    kwargs = SECOND.get(method, {})
    wanted = fo.minimize(quadratic, [3.0, -2.0], method=method, **kwargs)

    def fun(x: np.ndarray) -> Any:
        f, g = quadratic(x)
        return f, GRADIENTS[form](g)

    assert fo.minimize(fun, [3.0, -2.0], method=method, **kwargs).x.tobytes() == wanted.x.tobytes()
    split = fo.minimize(
        lambda x: quadratic(x)[0],
        [3.0, -2.0],
        method=method,
        jac=lambda x: GRADIENTS[form](quadratic(x)[1]),
        **kwargs,
    )
    assert split.x.tobytes() == wanted.x.tobytes()


WRONG = {
    "no pair": (lambda x: 1.0, TypeError, "pair"),
    "three": (lambda x: (1.0, x, x), TypeError, "pair"),
    "none": (lambda x: None, TypeError, "pair"),
    "two values": (lambda x: (np.ones(2), x), ValueError, r"shape \(2,\)"),
    "complex value": (lambda x: (1j, x), TypeError, "complex"),
    "text value": (lambda x: ("1", x), TypeError, "real number"),
    "value none": (lambda x: (None, x), TypeError, "real number"),
    "short": (lambda x: (1.0, x[:-1]), ValueError, r"shape \(1,\)"),
    "long": (lambda x: (1.0, np.ones(3)), ValueError, r"shape \(3,\)"),
    "scalar": (lambda x: (1.0, 1.0), ValueError, r"shape \(\)"),
    "complex": (lambda x: (1.0, x + 0j), TypeError, "complex"),
    "text": (lambda x: (1.0, ["a", "b"]), TypeError, "real numbers"),
    "gradient none": (lambda x: (1.0, None), TypeError, "real numbers"),
    "ragged": (lambda x: (1.0, [[1.0], [1.0, 2.0]]), TypeError, "real numbers"),
    "dict": (lambda x: (1.0, {"g": x}), TypeError, "real numbers"),
}


@every_method
@pytest.mark.parametrize("what", WRONG)
def test_forms_that_are_refused(method: str, what: str) -> None:
    fun, error, told = WRONG[what]
    with pytest.raises(error, match=told):
        fo.minimize(fun, [1.0, 2.0], method=method, **SECOND.get(method, {}))


# ---- exceptions ----
class Told(Exception):
    pass


@every_method
@pytest.mark.parametrize("k", [1, 2, 5])
def test_exception_at_the_kth_call(method: str, k: int) -> None:
    """It comes out as itself, with the best point before it."""
    seen: list[float] = []
    error = Told("here")

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        if len(seen) == k - 1:
            raise error
        f, g = rosenbrock(x)
        seen.append(f)
        return f, g

    with pytest.raises(Told) as caught:
        fo.minimize(fun, [-1.2, 1.0, 0.7], method=method, **SECOND.get(method, {}))
    assert caught.value is error
    best = error.fastopt_result  # type: ignore[attr-defined]
    assert best.status == Reason.RAISED and not best.success and best.nfev == k - 1
    if k == 1:
        assert np.array_equal(best.x, [-1.2, 1.0, 0.7]) and math.isnan(best.fun) and np.isnan(best.jac).all()
    else:
        assert best.fun == min(seen) and rosenbrock(best.x)[0] == best.fun


class Slotted(Exception):
    """Carries no attribute of ours."""

    @property
    def fastopt_result(self) -> None:
        return None


def test_exception_that_carries_nothing() -> None:
    def fun(x: np.ndarray) -> Any:
        raise Slotted

    with pytest.raises(Slotted) as caught:
        fo.minimize(fun, [1.0], method=METHODS[0], **SECOND.get(METHODS[0], {}))
    assert caught.value.fastopt_result is None


@every_method
def test_exception_in_the_gradient(method: str) -> None:
    def jac(x: np.ndarray) -> Any:
        raise Told

    with pytest.raises(Told) as caught:
        fo.minimize(lambda x: float(x @ x), [1.0, 2.0], method=method, jac=jac, **SECOND.get(method, {}))
    assert np.array_equal(caught.value.fastopt_result.x, [1.0, 2.0])  # type: ignore[attr-defined]


# ---- objectives that do things to x and g ----
@every_method
def test_x_kept_or_changed(method: str) -> None:
    wanted = run(method, rosenbrock, [-1.2, 1.0, 0.5], options=LIMIT)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    buffer = np.empty(3)

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = rosenbrock(x)
        if len(kept) % 2:
            kept.append((x, x.copy()))
        else:
            kept.append((x.copy(), x.copy()))
            x[:] = math.nan
        buffer[:] = g
        return f, buffer

    result = fo.minimize(fun, [-1.2, 1.0, 0.5], method=method, options=LIMIT, **SECOND.get(method, {}))
    assert result.x.tobytes() == wanted.x.tobytes() and result.nfev == wanted.nfev
    assert all(np.array_equal(was, copy) for was, copy in kept), "a kept point was written over"
    assert all(result.x is not x and result.jac is not buffer for x, _ in kept)


@every_method
def test_gradient_that_is_x(method: str) -> None:
    """f = |x|^2 / 2, the gradient handed back is the very point."""
    result = fo.minimize(
        lambda x: (0.5 * float(x @ x), x), [3.0, -2.0], method=method, **SECOND.get(method, {})
    )
    assert result.success and np.allclose(result.x, 0, atol=1e-4)


# ---- callbacks ----
@every_method
@pytest.mark.parametrize("whole", [True, False])
def test_callback_stops(method: str, whole: bool) -> None:
    steps: list[Any] = []

    def with_result(intermediate_result: Any) -> None:
        steps.append(intermediate_result.x)
        assert rosenbrock(intermediate_result.x)[0] == intermediate_result.fun
        intermediate_result.x[:] = math.nan
        if len(steps) == 3:
            raise StopIteration

    def with_x(xk: Any) -> None:
        steps.append(xk)
        xk[:] = math.nan
        if len(steps) == 3:
            raise StopIteration

    result = run(method, rosenbrock, [-1.2, 1.0, 0.5], callback=with_result if whole else with_x)
    assert len(steps) == 3 and result.nit == 3
    assert result.status == Reason.BY_CALLBACK == 99 and not result.success


@every_method
def test_callback_raises(method: str) -> None:
    def callback(xk: np.ndarray) -> None:
        raise Told

    with pytest.raises(Told) as caught:
        fo.minimize(rosenbrock, [-1.2, 1.0], method=method, callback=callback, **SECOND.get(method, {}))
    best = caught.value.fastopt_result  # type: ignore[attr-defined]
    assert best.nit == 1 and best.fun < rosenbrock(np.array([-1.2, 1.0]))[0]


@every_method
def test_callback_changes_nothing(method: str) -> None:
    seen: list[np.ndarray] = []
    wanted = run(method, rosenbrock, [-1.2, 1.0, 0.5], options=LIMIT)
    result = run(method, rosenbrock, [-1.2, 1.0, 0.5], options=LIMIT, callback=seen.append)
    assert result.x.tobytes() == wanted.x.tobytes() and len(seen) == result.nit


# ---- runs within runs, beside each other, and stopped from outside ----
@every_method
def test_nested(method: str) -> None:
    """f(x) = |x|^2 / 2 + min_y (|y - x|^2 / 2 + |y|^2 / 2), the minimum over y found by the same method: f = 3 |x|^2 / 4."""
    second = SECOND.get(method, {})

    def outer(x: np.ndarray) -> tuple[float, np.ndarray]:
        inner = fo.minimize(
            lambda y: (0.5 * float((y - x) @ (y - x) + y @ y), 2 * y - x),
            x,
            method=method,
            options={"gtol": 1e-7},
            **second,
        )
        assert inner.success
        return 0.5 * float(x @ x) + inner.fun, x + (x - inner.x)

    result = fo.minimize(outer, [3.0, -2.0], method=method, **second)
    assert result.success and np.allclose(result.x, 0, atol=1e-4)


@every_method
def test_same_function_from_several_threads(method: str) -> None:
    wanted = run(method, rosenbrock, np.linspace(-1, 1, 20), options=LIMIT)
    found: list[Any] = [None] * 4

    def work(i: int) -> None:
        found[i] = fo.minimize(
            rosenbrock, np.linspace(-1, 1, 20), method=method, options=LIMIT, **SECOND.get(method, {})
        )

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(r.x.tobytes() == wanted.x.tobytes() and r.nfev == wanted.nfev for r in found)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.parametrize("many", [False, True])
def test_interrupt_of_a_compiled_run(tmp_path: Path, many: bool) -> None:
    """Ctrl-C ends a run without Python within 0.2 seconds of processor time, and the best point comes along."""
    build(tmp_path)
    script = f"""
        import ctypes, os, signal, sys, threading, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import numpy as np, fastopt as fo, scipy.optimize
        from objectives import low_level
        fun = low_level(ctypes.CDLL({str(tmp_path / "objectives.so")!r}).endless)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job comes with it ignored
        options = dict(gtol=0.0, maxiter=10**15)
        sent = []
        def press():
            time.sleep(0.5)
            sent.append(time.process_time())
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=press).start()
        try:
            if {many}:
                fo.minimize_many(fun, np.tile([-1.2, 1.0], (3, 1)), method="gd", options=options)
            else:
                fo.minimize(fun, [-1.2, 1.0], method="gd", options=options)
        except KeyboardInterrupt as error:
            took = time.process_time() - sent[0]
            assert took < 0.2 * fo.get_num_threads(), took
            result = error.fastopt_result
            if not {many}:
                assert result.fun < 24 and result.nfev > 1 and result.status == 98
            print("stopped")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "stopped", done.stderr


@every_method
def test_compiled_gives_the_bits_of_python(method: str, tmp_path: Path) -> None:
    library = build(tmp_path)
    centre = np.array([2.0, -1.0, 0.5])

    def shifted(x: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = 0.0, np.empty(3)
        for i in range(3):
            g[i] = (i + 1) * (x[i] - centre[i])
            f += 0.5 * g[i] * (x[i] - centre[i])
        return f, g

    second = SECOND.get(method, {})
    wanted = run(method, shifted, [0.0, 0.0, 0.0])
    result = fo.minimize(low_level(library.shifted), [0.0, 0.0, 0.0], args=centre, method=method, **second)
    assert result.x.tobytes() == wanted.x.tobytes() and result.nfev == wanted.nfev
