"""The surface of fastopt.minimize, fastopt.Solver and fastopt.scipy: arguments, options, derivatives, trees, results, states."""

from __future__ import annotations

import copy
import inspect
import json
import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import LinearConstraint, OptimizeResult, OptimizeWarning

import fastopt as fo
from fastopt._core import solve
from fastopt.minimize import Reason
from fastopt.minimize.methods import ALIASES, OPTIONS
from fastopt.minimize.result import SENTENCES, SUCCESSES
from objectives import METHODS, SECOND, SIGNATURE, build, low_level, quadratic, rosenbrock, run

every_method = pytest.mark.parametrize("method", METHODS)
START = [-1.2, 1.0, 0.5]
LIMIT = {"maxiter": 300}


def rosenbrock_f(x: np.ndarray) -> Any:
    a, b = x[:-1], x[1:]
    return (100 * (b - a * a) ** 2 + (1 - a) ** 2).sum()


def rosenbrock_g(x: np.ndarray) -> np.ndarray:
    return rosenbrock(x)[1]


def hessian(x: np.ndarray) -> np.ndarray:
    """Of the chained Rosenbrock function."""
    n = x.size
    h = np.zeros((n, n))
    for i in range(n - 1):
        h[i, i] += 1200 * x[i] ** 2 - 400 * x[i + 1] + 2
        h[i, i + 1] = h[i + 1, i] = -400 * x[i]
        h[i + 1, i + 1] += 200
    return h


# ---- reasons ----
def test_reasons_are_those_of_the_engine() -> None:
    text = (Path(__file__).parents[1] / "csrc" / "solve.h").read_text()
    body = re.search(r"enum fo_status \{(.*?)\};", text, re.S)
    assert body
    names, value = {}, 0
    for name, given in re.findall(r"^\s*FO_(\w+)(?: = (\d+))?,?", body[1], re.M):
        value = int(given) if given else value
        names[name] = value
        value += 1
    ours = {reason.name: int(reason) for reason in Reason if reason != Reason.RAISED}
    assert ours == names
    assert set(SENTENCES) == set(Reason)
    assert {r for r in Reason if re.search(rf"FO_{r.name},?\s*/\* success", text)} == SUCCESSES


@every_method
def test_every_reason_has_its_sentence(method: str) -> None:
    machine = solve.Machine(np.zeros(1), method, {})
    for reason in Reason:
        from fastopt.minimize.result import describe

        sentence = describe(int(reason), machine)
        assert sentence.endswith(".") and "{" not in sentence


def test_result_says_which_test_held() -> None:
    result = run(METHODS[0], quadratic, [3.0, 4.0], tol=1e-3)
    assert result.status == 0 and "gtol = 0.001" in result.message
    result = run(METHODS[0], quadratic, [3.0, 4.0], options={"maxiter": 0})
    assert result.status == 1 and "maxiter = 0" in result.message and result.nit == 0 and result.nfev == 1


@every_method
def test_solves(method: str) -> None:
    second = {"newton": {"hess": hessian}, "trust": {"hess": hessian}}.get(
        method, {"hessp": lambda x, v: hessian(x) @ v} if method in ("newton_cg", "trust_cg") else {}
    )
    options = {"maxiter": 20000} if method in ("gd", "bb") else {}
    result = run(method, rosenbrock, START, options=options, **second)
    assert isinstance(result, OptimizeResult)
    assert result.success, result.message
    assert np.abs(result.jac).max() <= 1e-5 and result.fun < 1e-8


# ---- names of methods ----
@pytest.mark.parametrize(
    "spelled", sorted({"BFGS", "CG", "L-BFGS-B", "Newton-CG", "trust-ncg", "trust-exact", *ALIASES})
)
def test_spellings_of_scipy(spelled: str) -> None:
    name = ALIASES.get(spelled.lower(), spelled.lower())
    if name not in METHODS:
        with pytest.raises(ValueError, match=r"must be one of"):
            fo.minimize(quadratic, [2.0], method=spelled)
        return
    wanted = fo.minimize(quadratic, [2.0, 3.0], method=name, **SECOND.get(name, {}))
    result = fo.minimize(quadratic, [2.0, 3.0], method=spelled, **SECOND.get(name, {}))
    assert result.x.tobytes() == wanted.x.tobytes()


@pytest.mark.parametrize(
    ("method", "error", "told"),
    [
        ("bfgss", ValueError, "did you mean 'bfgs'"),
        ("SLSQP", ValueError, "bounds and constraints"),
        ("Nelder-Mead", ValueError, "without gradients"),
        ("dogleg", ValueError, "trust"),
        (None, TypeError, "a name is wanted"),
        (scipy.optimize.rosen, TypeError, "a name is wanted"),
    ],
)
def test_methods_that_are_refused(method: Any, error: type, told: str) -> None:
    with pytest.raises(error, match=told):
        fo.minimize(quadratic, [2.0], method=method)


# ---- options ----
GOOD = {
    "gtol": 1e-3, "ftol": 1e-3, "xtol": 1e-3, "xrtol": 1e-3, "ftarget": 0.5, "fmin": -1.0, "norm": 2, "maxiter": 7, "maxfev": 9,
    "maxfun": 9, "threads": 1, "search": "wolfe", "c1": 0.01, "c2": 0.7, "eps_f": 1e-9, "max_trials": 5, "maxls": 5,
    "first_step": 0.1, "max_step": 0.5, "memory": 3, "maxcor": 3, "restart": 4, "powell": 0.2, "radius": 0.5,
    "initial_trust_radius": 0.5, "max_radius": 2.0, "max_trust_radius": 2.0, "eta": 0.2,
}  # fmt: skip
BAD: dict[str, list[Any]] = {
    "gtol": [-1, math.nan, "1", None.__class__], "ftol": [-1, math.inf], "xtol": [-1], "ftarget": [math.nan], "norm": [1, "inf", True],
    "maxiter": [-1, 1.5, math.nan, "3"], "maxfev": [0, -1], "threads": [0, 1.0, True], "search": ["bisection", 1],
    "c1": [0, 0.5, 1], "c2": [0, 1, 2], "eps_f": [-1], "max_trials": [0, 2**31], "first_step": [-1], "max_step": [0, -1, math.nan],
    "memory": [0, 65, 2.0], "restart": [-1], "powell": [-1], "radius": [-1], "max_radius": [0], "eta": [-0.1, 0.25],
    "variant": ["none"], "preconditioner": [1],
}  # fmt: skip


def user_of(option: str) -> str | None:
    """A method of this build that takes the option."""
    users = OPTIONS[option][2] if option in OPTIONS else {"cg"}
    return next((m for m in METHODS if m in users), None)


def test_every_option_has_a_case() -> None:
    assert set(GOOD) == set(OPTIONS)


@pytest.mark.parametrize("option", GOOD)
def test_options_reach_the_solver(option: str) -> None:
    method = user_of(option)
    if method is None:
        pytest.skip("no method of this build takes it")
    seen = {}

    def callback(intermediate_result: Any) -> None:
        raise StopIteration

    from fastopt.minimize.methods import split_options

    fields, _ = split_options("test", method, {option: GOOD[option]})
    field = OPTIONS[option][0]
    machine = solve.Machine(np.zeros(2), method, fields)
    seen = machine.options
    assert seen[field] == (2 if option == "norm" else GOOD[option])
    fo.minimize(
        quadratic, [3.0, 4.0], method=method, options={option: GOOD[option]}, **SECOND.get(method, {})
    )


@pytest.mark.parametrize(("option", "value"), [(o, v) for o, values in BAD.items() for v in values])
def test_options_out_of_range(option: str, value: Any) -> None:
    method = user_of(option)
    if method is None:
        pytest.skip("no method of this build takes it")
    with pytest.raises((ValueError, TypeError), match=option):
        fo.minimize(quadratic, [2.0], method=method, options={option: value}, **SECOND.get(method, {}))


@pytest.mark.parametrize(
    ("method", "options", "told"),
    [
        ("cg", {"gtoll": 1}, "did you mean 'gtol'"),
        ("cg", {"max_iter": 1}, "did you mean 'maxiter'"),
        ("cg", {"qqqq": 1}, "known are"),
        ("cg", {"memory": 3}, "no use for option 'memory'"),
        ("bb", {"restart": 3}, "no use for option 'restart'; cg have"),
        ("cg", {"maxfev": 3, "maxfun": 4}, "are the same"),
        ("cg", {"c1": 0.3, "c2": 0.2}, "c1 < c2"),
    ],
)
def test_options_that_are_refused(method: str, options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fo.minimize(quadratic, [2.0], method=method, options=options)


def test_options_as_no_dict() -> None:
    with pytest.raises(TypeError, match="options is list"):
        fo.minimize(quadratic, [2.0], method="cg", options=[("gtol", 1)])  # type: ignore[arg-type]


def test_options_of_none_and_inf() -> None:
    result = fo.minimize(
        quadratic,
        [2.0],
        method="cg",
        options={"maxiter": None, "maxfev": math.inf, "norm": math.inf, "gtol": None},
    )
    assert result.success


def test_options_win_over_tol() -> None:
    assert (
        "gtol = 0.01" in fo.minimize(quadratic, [2.0], method="cg", tol=1e-8, options={"gtol": 0.01}).message
    )


@every_method
def test_limits(method: str) -> None:
    result = run(method, rosenbrock, START, options={"maxiter": 3, "gtol": 1e-12})
    assert result.nit == 3 and result.status == Reason.ITERATIONS
    result = run(method, rosenbrock, START, options={"maxfev": 4, "gtol": 1e-12})
    assert result.nfev == 4 and result.status == Reason.EVALUATIONS


@every_method
def test_targets(method: str) -> None:
    result = run(method, rosenbrock, START, options={"ftarget": 3.0, "gtol": 0.0})
    assert result.status == Reason.VALUE_REACHED and result.fun <= 3
    result = run(method, rosenbrock, START, options={"ftol": 0.5, "gtol": 0.0})
    assert result.status == Reason.VALUE_SETTLED


def test_euclidean_norm() -> None:
    result = fo.minimize(rosenbrock, START, method="cg", options={"norm": 2, "gtol": 1e-4})
    assert result.success and np.linalg.norm(result.jac) <= 1e-4 and "Euclidean" in result.message


def test_disp_and_return_all(capsys: pytest.CaptureFixture[str]) -> None:
    result = fo.minimize(rosenbrock, START, method="cg", options={"disp": True, "return_all": True})
    out = capsys.readouterr().out
    assert (
        result.message in out
        and f"Iterations: {result.nit}" in out
        and f"Function evaluations: {result.nfev}" in out
    )
    assert len(result.allvecs) == result.nit + 1
    assert np.array_equal(result.allvecs[0], START)
    assert len({x.tobytes() for x in result.allvecs}) == len(result.allvecs)
    with pytest.warns(OptimizeWarning, match="maxiter = 1"):
        fo.minimize(rosenbrock, START, method="cg", options={"disp": True, "maxiter": 1})


def test_preconditioner() -> None:
    """The inverse of a badly scaled diagonal: as good as no scaling at all."""
    d = np.logspace(0, 6, 30)
    kept = []

    def scaled(v: np.ndarray) -> np.ndarray:
        kept.append(v.shape)
        return v / d

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        return 0.5 * float(x @ (d * x)), d * x

    plain = run("cg", fun, np.ones(30), options={"gtol": 1e-8})
    result = run("cg", fun, np.ones(30), options={"gtol": 1e-8, "preconditioner": scaled})
    assert result.success and result.nit < plain.nit / 4 and set(kept) == {(30,)}
    with pytest.raises(ValueError, match="what the preconditioner returned has shape"):
        fo.minimize(fun, np.ones(30), method="cg", options={"preconditioner": lambda v: v[:3]})


# ---- args, callbacks ----
def test_args() -> None:
    def fun(x: np.ndarray, a: float, b: float) -> tuple[float, np.ndarray]:
        return a * float((x - b) @ (x - b)), 2 * a * (x - b)

    assert np.allclose(fo.minimize(fun, [0.0], (2.0, 3.0), "cg").x, 3)
    one = fo.minimize(lambda x, b: fun(x, 1.0, b), [0.0], 3.0, "cg")
    assert np.allclose(one.x, 3)
    apart = fo.minimize(
        lambda x, a, b: fun(x, a, b)[0], [0.0], (2.0, 3.0), "cg", jac=lambda x, a, b: fun(x, a, b)[1]
    )
    assert np.allclose(apart.x, 3)


def test_callback_takes_what_its_name_says() -> None:
    seen: list[Any] = []
    fo.minimize(
        rosenbrock, START, method="cg", callback=lambda intermediate_result: seen.append(intermediate_result)
    )
    assert all(isinstance(r, OptimizeResult) and r.nit == i + 1 for i, r in enumerate(seen))
    seen.clear()
    fo.minimize(rosenbrock, START, method="cg", callback=lambda xk: seen.append(xk))
    assert all(isinstance(x, np.ndarray) for x in seen)
    with pytest.raises(TypeError, match="callback is int"):
        fo.minimize(rosenbrock, START, method="cg", callback=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="fun is int"):
        fo.minimize(3, START, method="cg")


# ---- derivatives ----
@every_method
@pytest.mark.parametrize("jac", [None, False, "2-point", "3-point", "cs"])
def test_differences(method: str, jac: Any) -> None:
    calls = 0

    def fun(x: np.ndarray) -> Any:
        nonlocal calls
        calls += 1
        return rosenbrock_f(x)

    result = fo.minimize(fun, START, method=method, jac=jac, options=LIMIT, **SECOND.get(method, {}))
    assert result.nfev == calls
    assert result.fun < rosenbrock_f(np.array(START)) / 4
    exact = rosenbrock_g(result.x)
    assert np.allclose(result.jac, exact, atol={"cs": 1e-12, "3-point": 1e-6}.get(str(jac), 1e-3))


def test_first_gradient_is_scipys() -> None:
    """The same steps: same differences, to the bit, as SciPy's BFGS has at its first point."""
    for jac, more in ((None, {"eps": 1e-5}), ("2-point", {}), ("3-point", {"finite_diff_rel_step": 1e-4})):
        ours = fo.minimize(rosenbrock_f, START, method="cg", jac=jac, options={"maxiter": 0, **more})
        theirs = scipy.optimize.minimize(
            rosenbrock_f, START, method="BFGS", jac=jac, options={"maxiter": 0, **more}
        )
        assert np.array_equal(ours.jac, theirs.jac) and ours.nfev == theirs.nfev


def test_no_gradient_where_the_value_is_not_finite() -> None:
    calls = []

    def fun(x: np.ndarray) -> float:
        calls.append(x.copy())
        return math.nan if np.abs(x).max() > 2 else -float(x[0])

    result = fo.minimize(fun, [0.0, 0.0], method="cg", jac=None, options={"maxiter": 3})
    assert result.nfev == len(calls)
    assert fo.minimize(fun, [9.0, 9.0], method="cg", jac=None).nfev == 1


def test_jac_apart_is_not_evaluated_where_only_the_value_is_asked_for() -> None:
    values, gradients = [], []

    def fun(x: np.ndarray) -> float:
        values.append(x.tobytes())
        return float(rosenbrock_f(x))

    def jac(x: np.ndarray) -> np.ndarray:
        gradients.append(x.tobytes())
        return rosenbrock_g(x)

    result = fo.minimize(fun, START, method="bb", jac=jac)
    assert result.nfev == len(values) == len(set(values))
    assert result.njev == len(gradients) == len(set(gradients)) and set(gradients) <= set(values)
    assert result.njev < result.nfev


@pytest.mark.parametrize("jac", ["4-point", 3, [1.0]])
def test_jac_that_is_refused(jac: Any) -> None:
    with pytest.raises(ValueError, match="jac is"):
        fo.minimize(rosenbrock_f, START, method="cg", jac=jac)


@pytest.mark.parametrize("method", [m for m in METHODS if m in ("newton", "trust")])
def test_hessians(method: str) -> None:
    with pytest.raises(ValueError, match="needs hess"):
        fo.minimize(rosenbrock, START, method=method)
    given = fo.minimize(rosenbrock, START, method=method, hess=hessian)
    assert given.success and given.nhev > 0
    for scheme in ("2-point", "3-point"):
        result = fo.minimize(rosenbrock, START, method=method, hess=scheme)
        assert result.success and result.nhev == 0 and result.njev > given.njev
    apart = fo.minimize(
        rosenbrock_f, START, method=method, jac=rosenbrock_g, hess="cs" if False else "3-point"
    )
    assert apart.success and apart.nfev < apart.njev
    with pytest.raises(ValueError, match="made of differences"):
        fo.minimize(rosenbrock_f, START, method=method, jac=None, hess="2-point")
    with pytest.raises(ValueError, match="hess is 3"):
        fo.minimize(rosenbrock, START, method=method, hess=3)
    with pytest.raises(ValueError, match="hess returned shape"):
        fo.minimize(rosenbrock, START, method=method, hess=lambda x: np.eye(2))


@pytest.mark.parametrize("method", [m for m in METHODS if m in ("newton_cg", "trust_cg")])
def test_hessian_products(method: str) -> None:
    from scipy.sparse import csr_array

    given = fo.minimize(rosenbrock, START, method=method, hessp=lambda x, v: hessian(x) @ v)
    assert given.success and given.nhessp > 0 and given.nhev == 0
    for full in (hessian, lambda x: csr_array(hessian(x))):
        result = fo.minimize(rosenbrock, START, method=method, hess=full)
        assert result.success and 0 < result.nhev <= result.nit + 1
    calls = 0

    def counted(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        return rosenbrock(x)

    result = fo.minimize(counted, START, method=method)
    assert result.success and result.nfev == result.njev == calls


def test_second_derivatives_that_nothing_asks_for() -> None:
    with pytest.warns(RuntimeWarning, match="does not use Hessian"):
        fo.minimize(quadratic, [2.0], method="cg", hess=lambda x: np.eye(1))


# ---- trees ----
@every_method
def test_trees(method: str) -> None:
    """A tree goes through as the vector of its leaves: the same bits."""
    x0 = {"w": np.array([[3.0, -1.0], [0.5, 2.0]]), "b": [np.array([1.0]), (np.array(4.0),)]}

    def flat(tree: Any) -> np.ndarray:
        return np.concatenate([tree["w"].ravel(), tree["b"][0], tree["b"][1][0][None]])

    def fun(tree: Any) -> tuple[float, Any]:
        assert isinstance(tree["b"], list) and isinstance(tree["b"][1], tuple) and tree["w"].shape == (2, 2)
        f, g = quadratic(flat(tree))
        return f, {"w": g[:4].reshape(2, 2), "b": [g[4:5], (g[5],)]}

    seen: list[Any] = []
    second = SECOND.get(method, {})
    if "hess" in second:
        second = {"hess": lambda tree: np.eye(6)}
    elif second:
        second = {"hessp": lambda tree, v: v}
    before = copy.deepcopy(x0)
    result = fo.minimize(fun, x0, method=method, callback=seen.append, **second)
    wanted = fo.minimize(quadratic, flat(x0), method=method, **SECOND.get(method, {}))
    assert (
        flat(result.x).tobytes() == wanted.x.tobytes() and flat(result.jac).tobytes() == wanted.jac.tobytes()
    )
    assert flat(before).tobytes() == flat(x0).tobytes()
    assert all(s["w"].shape == (2, 2) for s in seen)
    apart = fo.minimize(lambda t: fun(t)[0], x0, method=method, jac=lambda t: fun(t)[1], **second)
    assert flat(apart.x).tobytes() == wanted.x.tobytes()


def test_differences_of_trees() -> None:
    x0 = {"a": np.array([3.0]), "b": np.array([[1.0, 2.0]])}
    result = fo.minimize(
        lambda t: float((t["a"] ** 2).sum() + (t["b"] ** 2).sum()), x0, method="cg", jac=None
    )
    assert result.success and result.jac["b"].shape == (1, 2)


def test_arrays_of_any_shape() -> None:
    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        assert x.shape == (2, 3)
        return float((x * x).sum()), 2 * x

    result = fo.minimize(fun, np.arange(6.0).reshape(2, 3), method="cg")
    assert result.success and result.x.shape == result.jac.shape == (2, 3)
    assert fo.minimize(lambda x: (float(x @ x), 2 * x), 3.0, method="cg").x.shape == (1,)
    assert fo.minimize(quadratic, [np.float64(3.0), 4], method="cg").x.shape == (2,)


def test_width_of_trees() -> None:
    narrow = {"a": np.ones(2, np.float32), "b": np.ones(1, np.float32)}

    def fun(t: Any) -> tuple[float, Any]:
        return float(sum((v * v).sum() for v in t.values())), {k: 2 * v for k, v in t.items()}

    assert fo.minimize(fun, narrow, method="cg").x["a"].dtype == np.float32
    assert fo.minimize(fun, {**narrow, "b": np.ones(1, int)}, method="cg").x["a"].dtype == np.float64


@pytest.mark.parametrize(
    ("gradient", "told"),
    [
        ({"a": np.ones(2)}, "lacks 'b'"),
        ({"a": np.ones(2), "b": np.ones(1), "c": np.ones(1)}, "has 'c'"),
        ({"b": np.ones(1), "a": np.ones(2)}, "another order"),
        ({"a": np.ones(1), "b": np.ones(2)}, r"\['a'\] has shape \(1,\)"),
        ([np.ones(2), np.ones(1)], "has '0'"),
        (np.ones(3), "has ''"),
        ({"a": np.ones(2), "b": "x"}, r"\['b'\] is str"),
    ],
)
def test_gradients_that_are_no_such_tree(gradient: Any, told: str) -> None:
    with pytest.raises((ValueError, TypeError), match=told):
        fo.minimize(lambda t: (1.0, gradient), {"a": np.ones(2), "b": np.ones(1)}, method="cg")


# ---- what comes with the result ----
def test_inverse_hessians() -> None:
    a = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.0]])

    def fun(x: np.ndarray) -> tuple[float, np.ndarray]:
        return 0.5 * float(x @ a @ x), a @ x

    for method in ("bfgs", "lbfgs"):
        if method not in METHODS:
            continue
        result = fo.minimize(fun, [1.0, -2.0, 3.0], method=method, options={"gtol": 1e-10})
        h = result.hess_inv if method == "bfgs" else result.hess_inv.todense()
        assert h.shape == (3, 3) and np.allclose(h, h.T, rtol=1e-12)
        assert (np.linalg.eigvalsh(h) > 0).all()
        assert np.allclose(h, np.linalg.inv(a), atol=1e-2)
        start = fo.minimize(fun, [1.0, -2.0, 3.0], method=method, options={"maxiter": 0})
        h = start.hess_inv if method == "bfgs" else start.hess_inv.todense()
        assert np.array_equal(h, np.eye(3))


def test_nothing_is_left_alive() -> None:
    """No cycles: objective and arrays go when the call ends."""
    import gc
    import weakref

    class Function:
        def __call__(self, x: np.ndarray) -> float:
            return float(x @ x)

    for jac in (None, "3-point"):
        fun = Function()
        gone = weakref.ref(fun)
        gc.disable()
        try:
            fo.minimize(fun, [1.0, 2.0], method="cg", jac=jac)
            del fun
            assert gone() is None
        finally:
            gc.enable()


# ---- compiled objectives ----
def test_compiled(tmp_path: Path) -> None:
    library = build(tmp_path)
    for method in ("cg", "bfgs", "lbfgs"):
        if method not in METHODS:
            continue
        result = fo.minimize(low_level(library.rosenbrock), START, method=method, tol=1e-8)
        assert result.success and np.allclose(result.x, 1, atol=1e-6)
    centre = np.array([1.0, 2.0])
    assert np.allclose(
        fo.minimize(low_level(library.shifted), [0.0, 0.0], (centre,), "cg").x, centre, atol=1e-5
    )
    own = low_level(library.shifted, user=centre.ctypes.data)
    assert np.allclose(fo.minimize(own, [0.0, 0.0], method="cg").x, centre, atol=1e-5)
    with pytest.raises(ValueError, match="user data of its own"):
        fo.minimize(own, [0.0, 0.0], centre, "cg")
    with pytest.raises(ValueError, match="takes one array"):
        fo.minimize(low_level(library.shifted), [0.0, 0.0], (centre, centre), "cg")
    with pytest.raises(TypeError, match="C-contiguous"):
        fo.minimize(low_level(library.shifted), [0.0], np.ones(6)[::2], "cg")
    with pytest.raises(ValueError, match="gives the gradient itself"):
        fo.minimize(low_level(library.shifted), [0.0], centre, "cg", jac="2-point")
    narrow = low_level(
        library.shifted_narrow, SIGNATURE.replace(b"const double *, double *", b"const float *, float *")
    )
    result = fo.minimize(narrow, np.zeros(2, np.float32), method="cg")
    assert result.success and result.x.dtype == np.float32
    with pytest.raises(TypeError, match="vectors of float; x0 is float64"):
        fo.minimize(narrow, [0.0], method="cg")
    with pytest.raises(TypeError, match="signature"):
        fo.minimize(low_level(library.shifted, b"double (double)"), [0.0], method="cg")
    steps: list[Any] = []
    fo.minimize(
        low_level(library.rosenbrock), START, method="cg", callback=steps.append, options={"maxiter": 5}
    )
    assert len(steps) == 5


def test_numba() -> None:
    numba = pytest.importorskip("numba", reason="numba is not installed")
    types = numba.types
    signature = types.double(
        types.int64, types.CPointer(types.double), types.CPointer(types.double), types.voidptr
    )

    @numba.cfunc(signature)
    def fun(n, x, g, user):  # type: ignore[no-untyped-def]
        f = 0.0
        for i in range(n):
            g[i] = 2 * (x[i] - i)
            f += (x[i] - i) ** 2
        return f

    assert np.allclose(fo.minimize(fun, np.ones(4), method="cg").x, np.arange(4), atol=1e-5)


# ---- SciPy's protocol ----
@every_method
def test_through_scipy(method: str) -> None:
    theirs = getattr(fo.scipy, method)
    second = SECOND.get(method, {})
    wanted = run(method, rosenbrock, START, tol=1e-3, options=LIMIT)
    calls = []

    def fun(x: np.ndarray) -> Any:
        calls.append(x.copy())
        return rosenbrock(x)

    result = scipy.optimize.minimize(fun, START, method=theirs, jac=True, tol=1e-3, options=LIMIT, **second)
    assert result.x.tobytes() == wanted.x.tobytes() and result.nfev == wanted.nfev == len(calls)
    result = scipy.optimize.minimize(
        rosenbrock_f, START, method=theirs, jac=rosenbrock_g, tol=1e-3, options=LIMIT, **second
    )
    assert np.allclose(result.x, wanted.x, atol=0.3)
    assert (
        scipy.optimize.minimize(rosenbrock_f, START, method=theirs, options=LIMIT, **second).nfev
        > result.nfev
    )


def test_rules_of_scipy() -> None:
    minimize = scipy.optimize.minimize
    with pytest.raises(ValueError, match="bounds are not supported"):
        minimize(rosenbrock, START, jac=True, method=fo.scipy.cg, bounds=[(0, 1)] * 3)
    with pytest.raises(ValueError, match="constraints are not supported"):
        minimize(rosenbrock, START, jac=True, method=fo.scipy.cg, constraints=LinearConstraint(np.eye(3)))
    with pytest.raises(ValueError, match="unknown option 'gtoll'"):
        minimize(rosenbrock, START, jac=True, method=fo.scipy.cg, options={"gtoll": 1})
    assert minimize(lambda x, a: (a * float(x @ x), 2 * a * x), [1.0], (3.0,), fo.scipy.cg, jac=True).success

    def stop(intermediate_result: Any) -> None:
        raise StopIteration

    result = minimize(rosenbrock, START, jac=True, method=fo.scipy.cg, callback=stop)
    assert result.status == 99 and not result.success and result.nit == 1
    result = minimize(
        rosenbrock, START, jac=True, method=fo.scipy.cg, options={"disp": False, "return_all": True}
    )
    assert len(result.allvecs) == result.nit + 1
    for name in ("gd", "bb", "cg", "bfgs", "lbfgs", "newton", "newton_cg", "trust", "trust_cg"):
        assert getattr(fo.scipy, name).__name__ == name
        assert list(inspect.signature(getattr(fo.scipy, name)).parameters)[:2] == ["fun", "x0"]


@pytest.mark.parametrize("method", ["newton", "newton_cg", "trust", "trust_cg"])
def test_hessian_learnt_from_the_steps(method: str) -> None:
    hess = scipy.optimize.BFGS()
    result = fo.minimize(rosenbrock, START, method=method, hess=hess, options=LIMIT)
    assert result.success and np.allclose(result.x, 1, atol=1e-3) and result.nhev == 0


def test_workers_take_the_differences() -> None:
    if "workers" not in inspect.signature(scipy.optimize._numdiff.approx_derivative).parameters:
        pytest.skip("SciPy before 1.16 has no workers")
    seen = []

    def workers(function: Any, points: Any) -> Any:
        seen.append(1)
        return map(function, points)

    plain = fo.minimize(rosenbrock_f, START, jac=None, options=LIMIT)
    result = fo.minimize(rosenbrock_f, START, jac=None, options={**LIMIT, "workers": workers})
    assert result.x.tobytes() == plain.x.tobytes() and result.nfev == plain.nfev and len(seen) == result.njev
    with pytest.raises(ValueError, match="workers is 'all'"):
        fo.minimize(rosenbrock_f, START, jac=None, options={"workers": "all"})


def test_start_in_tiny_units() -> None:
    result = fo.minimize(lambda x: (1e-50 * float(x @ x), 2e-50 * x), [-1.0], method="bfgs", tol=1e-58)
    assert result.success and abs(result.x[0]) < 1e-7


# ---- ask and tell ----
def answer(solver: fo.Solver) -> None:
    """The right answer to whatever is asked."""
    asked = solver.ask()
    if solver.request == "evaluate":
        solver.tell(*rosenbrock(asked))
    elif solver.request == "hessian":
        solver.tell(hessian(asked))
    elif solver.request == "product":
        solver.tell(hessian(asked[0]) @ asked[1])


@every_method
def test_ask_and_tell_is_the_same_run(method: str) -> None:
    second = {"newton": {"hess": hessian}, "trust": {"hess": hessian}}.get(method, {})
    if method in ("newton_cg", "trust_cg"):
        second = {"hessp": lambda x, v: hessian(x) @ v}
    wanted = fo.minimize(rosenbrock, START, method=method, options=LIMIT, **second)
    solver = fo.Solver(START, method, options=LIMIT)
    asked = 0
    while not solver.done:
        assert np.array_equal(solver.ask()[0], solver.ask()[0])
        asked += solver.request == "evaluate"
        assert solver.result.status == -1 and not solver.result.success
        answer(solver)
    assert solver.result.x.tobytes() == wanted.x.tobytes() and asked == solver.result.nfev == wanted.nfev
    assert solver.result.status == wanted.status and solver.result.message == wanted.message
    for call in (solver.ask, lambda: solver.tell(1.0, np.ones(3))):
        with pytest.raises(RuntimeError, match="stopped"):
            call()


@every_method
def test_saved_between_any_two_evaluations(method: str) -> None:
    """Through JSON and into a new object, at every request: the same bits."""
    options = {"maxiter": 12}
    plain = fo.Solver(START, method, options=options)
    while not plain.done:
        answer(plain)
    moved = fo.Solver(START, method, options=options)
    while not moved.done:
        state = moved.state_dict()
        state["block"] = state["block"].tolist()
        moved = fo.Solver(np.zeros(3), method)
        moved.load_state_dict(json.loads(json.dumps(state)))
        answer(moved)
    assert moved.state_dict()["block"].tobytes() == plain.state_dict()["block"].tobytes()
    assert moved.result.nfev == plain.result.nfev


def test_pickle_and_copy() -> None:
    solver = fo.Solver({"a": np.array(START)}, "cg")
    for _ in range(5):
        solver.tell(*(lambda f, g: (f, {"a": g}))(*rosenbrock(solver.ask()["a"])))
    for other in (pickle.loads(pickle.dumps(solver)), copy.deepcopy(solver)):
        assert np.array_equal(other.ask()["a"], solver.ask()["a"])
        other.tell(1.0, {"a": np.ones(3)})
    assert solver.result.nfev == 5


@every_method
def test_torn_states_are_refused(method: str) -> None:
    """Cut, or any byte of the head changed: refused, or a state that runs to an end; never a crash."""
    solver = fo.Solver(START, method, options={"maxiter": 30})
    for _ in range(4):
        answer(solver)
    good = solver.state_dict()
    rng = np.random.default_rng(1)
    for cut in (0, 1, 7, 8, 100, good["block"].size - 1):
        with pytest.raises(ValueError, match="torn"):
            solver.load_state_dict({**good, "block": good["block"][:cut]})
    refused = 0
    head = good["block"].size - 8 * 3
    for _ in range(600):
        block = good["block"].copy()
        at = int(rng.integers(head))
        block[at] = rng.integers(256)
        other = fo.Solver(START, method)
        try:
            other.load_state_dict({**good, "block": block})
        except ValueError:
            refused += 1
            continue
        with np.errstate(all="ignore"):  # a changed number may lead far away
            for _ in range(40):
                if other.done:
                    break
                answer(other)
    assert refused > 20
    for bad in (
        {},
        None,
        {**good, "kind": "x"},
        {**good, "block": "abc"},
        {**good, "block": good["block"].astype(float)},
    ):
        with pytest.raises(ValueError, match="state"):
            solver.load_state_dict(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="this solver has 2"):
        fo.Solver([1.0, 2.0], method).load_state_dict(good)
    with pytest.raises(ValueError, match="float32"):
        fo.Solver(np.ones(3, np.float32), method).load_state_dict(good)
    solver.load_state_dict(good)
    answer(solver)


def test_tell_refuses_and_changes_nothing() -> None:
    solver = fo.Solver(START, "cg")
    before = solver.state_dict()["block"].tobytes()
    for f, g, error in (
        (1.0, None, ValueError),
        (1.0, np.ones(2), ValueError),
        ("a", np.ones(3), TypeError),
        (1j, np.ones(3), TypeError),
    ):
        with pytest.raises(error):
            solver.tell(f, g)
    assert solver.state_dict()["block"].tobytes() == before
    assert solver.request == "evaluate" and solver.needs_gradient


def test_solver_of_a_tree_and_its_end() -> None:
    solver = fo.Solver({"a": np.ones((2, 2)), "b": np.ones(1)}, "cg")
    while not solver.done:
        x = solver.ask()
        solver.tell(float((x["a"] ** 2).sum() + x["b"][0] ** 2), {"a": 2 * x["a"], "b": 2 * x["b"]})
    assert solver.result.success and solver.result.x["a"].shape == (2, 2)
    stopped = fo.Solver(START, "cg")
    answer(stopped)
    stopped.stop()
    assert stopped.done and stopped.result.status == 99 and np.array_equal(stopped.result.x, START)
    assert "cg" in repr(stopped)


def test_preconditioner_is_asked_for() -> None:
    solver = fo.Solver(START, "cg", options={"preconditioner": True, "maxiter": 3})
    asked = set()
    while not solver.done:
        asked.add(solver.request)
        if solver.request == "precondition":
            solver.tell(solver.ask() * 0.5)
        else:
            answer(solver)
    assert asked == {"evaluate", "precondition"}
    with pytest.raises(ValueError, match="no use for option 'preconditioner'"):
        fo.Solver(START, "bb", options={"preconditioner": True})
    with pytest.raises(ValueError, match="no meaning here"):
        fo.Solver(START, "cg", options={"disp": True})
