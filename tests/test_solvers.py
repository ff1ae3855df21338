"""Proof of the solvers: every form of every method over all problems in both widths, what theory says of quadratics, and bits that
stay the same over saved states, threads and instruction sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastopt as fo
from fastopt import problems
from fastopt._core import runtime
from fastopt._core.solve import Machine
from fastopt.minimize import Reason
from fastopt.minimize.result import SUCCESSES
from solver_rows import (
    EPS,
    EXCEPTIONS,
    GTOL,
    REASONS,
    ROWS,
    SPARE,
    STOPS_EARLY,
    TWICE,
    WIDTHS,
    Row,
    Watched,
    gap,
    get,
    hessian,
    rounded,
    solve,
)

Array = NDArray[Any]
every_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
every_width = pytest.mark.parametrize("width", WIDTHS)
#: Ends at which f is asked for at x once more, to tell a wrong gradient from a function that changes.
ASKED_AGAIN = {Reason.NOT_DESCENT, Reason.CHANGED, Reason.TRUST_COLLAPSED}


# ---- every method over all problems ----
@every_row
@every_width
def test_every_problem(row: Row, width: str) -> None:
    listed = EXCEPTIONS.get((row.name, width), {})
    failed, wrong = {}, []
    for name in row.problems:
        p = get(name)
        result, fun = solve(row, p, width)
        if width == "float64" and name not in TWICE and evaluated_twice(result, fun):
            wrong.append(f"{name}: a point was evaluated twice")
        if width == "float64" and result.status == Reason.NOT_DESCENT and not rounded(p, result, width):
            wrong.append(f"{name}: a right gradient is called wrong where rounding does not hide the descent")
        wrong += [f"{name}: {what}" for what in broken(result, fun, width)]
        if not gap(p, result.x, width) <= 1:
            failed[name] = result
    assert not wrong, wrong
    told = {
        name: f"{Reason(r.status).name}, gap {gap(get(name), r.x, width):.2g}" for name, r in failed.items()
    }
    new = [name for name in failed if name not in listed]
    assert len(new) <= SPARE, f"not solved: {[(name, told[name]) for name in new]}"
    honest = [reason for reason in REASONS if reason != STOPS_EARLY]
    false = [
        (name, listed.get(name, honest), told[name])
        for name, r in failed.items()
        if not any(REASONS[reason](get(name), r, width) for reason in listed.get(name, honest))
    ]
    assert not false, f"not for a reason that is listed: {false}"


def broken(result: Any, fun: Watched, width: str) -> list[str]:
    """Which of the things that are true of every run are not true of this one."""
    lowest = min((f for f, usable in zip(fun.values, fun.usable, strict=True) if usable), default=np.inf)
    # Of points that f cannot tell apart, the one that passes the test is the result.
    slack = 4 * EPS[width] * abs(result.fun) if result.status == Reason.GRADIENT_SMALL else 0
    size = float(np.abs(result.jac).max())
    at = {point: (f, k) for k, (point, f) in enumerate(zip(fun.points, fun.values, strict=True))}
    claims = {
        "success is a status that is one": result.success == (result.status in SUCCESSES),
        "success is finite": not result.success
        or (np.isfinite(result.fun) and np.isfinite(result.jac).all() and np.isfinite(result.x).all()),
        "gradient as small as it says": result.status != Reason.GRADIENT_SMALL or size <= GTOL[width],
        "lowest of all": result.fun <= lowest + slack,
        "counts": result.nfev == result.njev == len(fun.points),
        "a point that was evaluated": result.x.tobytes() in at and at[result.x.tobytes()][0] == result.fun,
        "width": result.x.dtype == result.jac.dtype == width,
    }
    return [what for what, holds in claims.items() if not holds]


def evaluated_twice(result: Any, fun: Watched) -> bool:
    return len(fun.points) - len(set(fun.points)) > (result.status in ASKED_AGAIN)


def of(name: str) -> Row:
    return next(row for row in ROWS if row.name == name)


def test_exceptions_are_of_rows() -> None:
    assert set(EXCEPTIONS) <= {(row.name, width) for row in ROWS for width in WIDTHS}
    assert all(set(listed) <= set(problems.names()) for listed in EXCEPTIONS.values())


# ---- quadratics ----
def rotated(values: Any, seed: int = 0) -> Array:
    n = len(values)
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    a = (q * np.asarray(values, float)) @ q.T
    return (a + a.T) / 2


def quadratic(a: Array, end: Array) -> Callable[[Array], tuple[float, Array]]:
    """0.5 (x - end)' A (x - end): no rounding of a constant hides the minimum."""

    def fun(x: Array) -> tuple[float, Array]:
        g = a @ (x - end)
        return 0.5 * float(g @ (x - end)), g

    return fun


def second(row: Row, a: Array) -> dict[str, Any]:
    if row.method in ("newton", "trust"):
        return {"hess": lambda x: a}
    return {"hessp": lambda x, v: a @ v} if row.method in ("newton_cg", "trust_cg") else {}


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.method != "gd"],
    ids=[r.name for r in ROWS if r.method != "gd"],
)
def test_quadratic_of_condition_1e8(row: Row) -> None:
    """f falls to 1e-8 of its start; that asks for all eigenvalues, for the start has an equal part of f in each. Methods that keep
    vectors alone meet three clusters of them, which conjugate gradients know how to use; spread evenly, theory allows them
    sqrt(1e8) / 2 log(2e4) = 5e4 steps."""
    n = 12
    vectors = row.method in ("bb", "cg", "lbfgs")
    values = np.repeat([1e-4, 1.0, 1e4], 4) if vectors else np.geomspace(1e-4, 1e4, n)
    a, end = rotated(values, 3), np.linspace(-1, 1, n)
    q = np.linalg.eigh(a)[1]
    fun = quadratic(a, end)
    x0 = end + q @ (1 / np.sqrt(values))
    start = fun(x0)[0]
    limit = 20_000 if row.method == "bb" else 500
    options = {**row.options, "maxiter": limit, "gtol": 0.0, "ftarget": 1e-8 * start}
    result = fo.minimize(fun, x0, method=row.method, options=options, **second(row, a))
    assert result.status == Reason.VALUE_REACHED, (result.message, result.fun / start, result.nit)


@pytest.mark.parametrize(
    "row", [r for r in ROWS if r.method == "gd"], ids=[r.name for r in ROWS if r.method == "gd"]
)
def test_gradient_descent_keeps_its_rate(row: Row) -> None:
    """Condition 1e8 is beyond it: (1 - 1e-8)^2 a step in the worst case (Nocedal and Wright, theorem 3.4). Condition 100 is not:
    ((k - 1) / (k + 1))^2 for exact steps; a search that is not exact may need three times as many."""
    values = np.geomspace(0.1, 10, 12)
    a, end = rotated(values, 4), np.linspace(-1, 1, 12)
    fun = quadratic(a, end)
    x0 = end + np.linalg.eigh(a)[1] @ (1 / np.sqrt(values))
    steps = int(np.ceil(np.log(1e-10) / (2 * np.log(99 / 101))))
    options = {**row.options, "maxiter": 3 * steps, "gtol": 0.0, "ftarget": 1e-10 * fun(x0)[0]}
    result = fo.minimize(fun, x0, method="gd", options=options)
    assert result.status == Reason.VALUE_REACHED, (result.message, result.fun / fun(x0)[0])


#: Steps to the minimum along the line, to 1e-9 of the first slope; no test of values ends a search before.
EXACT = {"search": "wolfe", "c1": 1e-10, "c2": 1e-9, "eps_f": 0.0, "gtol": 0.0, "return_all": True}


def exact_case(n: int = 8) -> tuple[Array, Array, Array]:
    a = rotated(np.linspace(1, 20, n), 5)
    return a, np.linspace(-1, 1, n), np.random.default_rng(6).normal(size=n)


def path(method: str, a: Array, end: Array, x0: Array, steps: int, **options: Any) -> tuple[Array, Any]:
    result = fo.minimize(quadratic(a, end), x0, method=method, options={**EXACT, "maxiter": steps, **options})
    return np.array(result.allvecs), result


def conjugate_gradients(a: Array, end: Array, x: Array, steps: int) -> Array:
    """Hestenes and Stiefel (1952), the reference."""
    r = a @ (end - x)
    p, points = r.copy(), [x.copy()]
    for _ in range(steps):
        ap = a @ p
        alpha = (r @ r) / (p @ ap)
        x = x + alpha * p
        r, old = r - alpha * ap, r
        p = r + (r @ r) / (old @ old) * p
        points.append(x)
    return np.array(points)


@pytest.mark.parametrize("variant", ["fused", "blas"])
def test_bfgs_ends_after_n_exact_steps(variant: str) -> None:
    """Nocedal and Wright, theorem 6.4: conjugate steps, the minimum after n of them, and H = A^-1 then."""
    a, end, x0 = exact_case()
    n = x0.size
    points, result = path("bfgs", a, end, x0, n, variant=variant)
    assert result.nit == n
    sizes = [float(np.linalg.norm(a @ (x - end))) for x in points]
    assert sizes[n] <= 1e-7 * sizes[0] and min(sizes[:n]) > 1e-5 * sizes[0]
    steps = np.diff(points, axis=0)
    steps /= np.sqrt(np.einsum("ij,jk,ik->i", steps, a, steps))[:, None]
    assert np.abs(steps @ a @ steps.T - np.eye(n)).max() <= 1e-5
    assert np.abs(result.hess_inv @ a - np.eye(n)).max() <= 1e-5


@pytest.mark.parametrize(
    ("method", "variant"),
    [("cg", v) for v in fo._core.solve.methods()["cg"]]
    + [("bfgs", "fused"), ("bfgs", "blas"), ("lbfgs", "compact"), ("lbfgs", "two_loop")],
)
def test_one_path_on_a_quadratic_with_exact_steps(method: str, variant: str) -> None:
    """All formulas of beta are one there, and BFGS and L-BFGS (whatever their first matrix) take the same path (Nocedal and Wright,
    theorem 6.4 and section 7.2)."""
    a, end, x0 = exact_case()
    n = x0.size
    more = {"memory": n + 1} if method == "lbfgs" else {}
    points, _ = path(method, a, end, x0, n, variant=variant, **more)
    wanted = conjugate_gradients(a, end, x0, n)
    assert points.shape == wanted.shape
    assert np.abs(points - wanted).max() <= 1e-6 * np.abs(x0 - end).max()


# ---- BFGS ----
@pytest.mark.parametrize("variant", ["fused", "blas"])
@pytest.mark.parametrize("search", ["hager_zhang", "wolfe"])
@pytest.mark.parametrize("name", ["extended_rosenbrock", "wood", "DIXMAANE", "CHNRSNBM", "osborne_2"])
@every_width
def test_after_every_update(variant: str, search: str, name: str, width: str) -> None:
    """H y = s, H positive definite, H symmetric to the bit."""
    p = get(name)
    machine = Machine(
        p.x0.astype(width), "bfgs", {"variant": variant, "search": search, "gtol": 1e-5, "maxiter": 60}
    )
    last: list[tuple[Array, Array]] = [(machine.x, p.grad(p.x0.astype(width)))]
    last[0] = (p.x0.astype(width), last[0][1])
    updates, before = 0, 0.0

    def check(m: Machine) -> None:
        nonlocal updates, before
        h, x, g = m.inverse_hessian(), m.x.copy(), m.jac.copy()
        assert h.dtype == width and np.array_equal(h, h.T)
        s, y = x.astype(float) - last[0][0], g.astype(float) - last[0][1]
        last[0] = x, g
        wide = h.astype(float)
        if not s @ y > 1e3 * EPS[width] * np.linalg.norm(s) * np.linalg.norm(y):
            return
        # Rounding: of the entries of H and of the H before it, and of y.H y / s.y where s and y are far from one direction.
        size, before = max(before, np.linalg.norm(wide, 2)), np.linalg.norm(wide, 2)
        angle = np.linalg.norm(s) * np.linalg.norm(y) / (s @ y)
        off = np.linalg.norm(wide @ y - s) / (size * np.linalg.norm(y))
        assert off <= 20 * EPS[width] * p.n * angle, (m.nit, off, angle)
        values = np.linalg.eigvalsh(wide)
        assert values[0] > 0 or (width == "float32" and values[0] > -EPS[width] * p.n * values[-1]), m.nit
        updates += 1

    machine.run(p.fun_and_grad, (), True, None, None, None, check)
    assert updates >= 10


CONVEX = ["quadratic", "RAYDAN1", "DIXMAANA", "EDENSCH", "ENGVAL1"]


def convex(name: str) -> tuple[Callable[[Array], tuple[float, Array]], Array]:
    if name == "quadratic":
        return quadratic(rotated(np.geomspace(1, 100, 30), 1), np.linspace(-1, 1, 30)), np.zeros(30)
    p = get(name)
    return p.fun_and_grad, p.x0


@pytest.mark.parametrize("name", CONVEX)
@pytest.mark.parametrize(
    ("method", "one", "other"), [("bfgs", "fused", "blas"), ("lbfgs", "compact", "two_loop")]
)
def test_two_paths_with_the_same_iterates(name: str, method: str, one: str, other: str) -> None:
    fun, x0 = convex(name)
    points = []
    for variant in (one, other):
        options = {"variant": variant, "maxiter": 12, "gtol": 0.0, "return_all": True}
        points.append(np.array(fo.minimize(fun, x0, method=method, options=options).allvecs))
    assert points[0].shape == points[1].shape and len(points[0]) >= 8
    assert np.abs(points[0] - points[1]).max() <= 1e-8 * max(1, np.abs(points[0]).max())


# ---- saved and restored ----
def answer(solver: fo.Solver, p: problems.Problem) -> None:
    asked = solver.ask()
    if solver.request == "evaluate":
        solver.tell(*p.fun_and_grad(asked))
    elif solver.request == "hessian":
        solver.tell(hessian(p)(asked))
    else:
        assert solver.request == "product"
        solver.tell(p.hessp(*asked))


@every_row
@every_width
def test_goes_on_bit_for_bit(row: Row, width: str) -> None:
    """From a state saved at every request, in a new solver: the bits of the run that was never stopped, wherever it is cut."""
    p = problems.get("wood")
    x0 = p.x0.astype(width)
    options = {**row.options, "maxiter": 25, "gtol": 0.0}
    plain = fo.Solver(x0, row.method, options)
    states = []
    while not plain.done:
        states.append(plain.state_dict())
        answer(plain, p)
    states.append(plain.state_dict())
    assert len(states) > 20
    for k, state in enumerate(states[:-1]):
        again = fo.Solver(np.zeros(p.n, width), row.method)
        again.load_state_dict(state)
        answer(again, p)
        assert again.state_dict()["block"].tobytes() == states[k + 1]["block"].tobytes(), k


# ---- bits ----
ISAS = [name for name, runs in runtime.isas() if runs]


def scaled(n: int) -> tuple[Callable[[Array], tuple[float, Array]], Array]:
    """sum (1 + d_i) (cosh-like: x^2 / 2 + x^4 / 4) with coupled neighbours; NumPy alone, the same bits at the same x."""
    d = np.random.default_rng(0).uniform(1, 50, n)
    x0 = np.random.default_rng(1).normal(size=n)

    def fun(x: Array) -> tuple[float, Array]:
        r = np.diff(x)
        g = d.astype(x.dtype) * x * (1 + x * x)
        g[1:] += r
        g[:-1] -= r
        return float((d * (x * x / 2 + x**4 / 4)).sum() + (r.astype(float) ** 2).sum() / 2), g

    return fun, x0


@pytest.mark.parametrize(
    ("row", "n"),
    [(r, n) for r in ROWS if not r.blas for n in (1000, 200_000) if n == 1000 or r.method != "bfgs"],
    ids=lambda v: v.name if isinstance(v, Row) else str(v),
)
@every_width
def test_same_bits_for_threads_and_instruction_sets(row: Row, n: int, width: str) -> None:
    fun, x0 = scaled(n)
    x0 = x0.astype(width)
    d = np.random.default_rng(0).uniform(1, 50, n)
    more = {"hessp": lambda x, v: (d * (1 + 3 * x * x) * v).astype(x.dtype)} if "newton" in row.name else {}
    if row.method == "trust_cg":
        more = {"hessp": lambda x, v: (d * (1 + 3 * x * x) * v).astype(x.dtype)}

    def run(threads: int) -> tuple[bytes, float, int, int]:
        options = {**row.options, "maxiter": 12 if n == 1000 else 3, "gtol": 0.0, "threads": threads}
        r = fo.minimize(fun, x0, method=row.method, options=options, **more)
        return r.x.tobytes(), r.fun, r.nit, r.nfev

    wanted = run(1)
    assert wanted[2] > 0
    for threads in (2, 3):
        assert run(threads) == wanted, threads
    for isa in ISAS:
        runtime.use_isa(isa)
        assert run(1) == wanted, isa
