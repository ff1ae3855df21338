"""Newton's family (csrc/solve: newton, newton_cg, trust, trust_cg) through the driver that Python uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastopt import problems
from fastopt._core.solve import Machine

Array = NDArray[Any]

GRADIENT_SMALL, ITERATIONS, PRECISION, NONFINITE = 0, 1, 2, 3
EVALUATIONS, UNBOUNDED, CHANGED, COLLAPSED, BY_CALLBACK = 6, 7, 9, 10, 99

VARIANTS = [
    ("newton", "regularized"),
    ("newton", "saddle_free"),
    ("newton_cg", "truncated"),
    ("trust", "exact"),
    ("trust_cg", "steihaug"),
]
REGIONS = VARIANTS[3:]
WITH_HESSIAN = [v for v in VARIANTS if v[0] in ("newton", "trust")]
every = pytest.mark.parametrize("method", VARIANTS, ids="-".join)
CLASSICS = ["rosenbrock", "powell_singular", "wood", "beale", "helical_valley"]


class Objective:
    """Counts what is asked of it, and remembers where."""

    def __init__(
        self, fun: Callable[[Array], float], grad: Callable[[Array], Array], hess: Callable[[Array], Any]
    ) -> None:
        self.f, self.g, self.h = fun, grad, hess
        self.values: list[float] = []
        self.at_f: list[bytes] = []
        self.at_g: list[bytes] = []
        self.at_h: list[bytes] = []
        self.products = 0

    def value(self, x: Array) -> float:
        self.at_f.append(x.tobytes())
        with np.errstate(all="ignore"):
            self.values.append(float(self.f(x)))
        return self.values[-1]

    def both(self, x: Array) -> tuple[float, Array]:
        return self.value(x), self.jac(x, None)

    def jac(self, x: Array, f: Any) -> Array:
        self.at_g.append(x.tobytes())
        with np.errstate(all="ignore"):
            return np.asarray(self.g(x))

    def hess(self, x: Array) -> Any:
        self.at_h.append(x.tobytes())
        with np.errstate(all="ignore"):
            return self.h(x)

    def hessp(self, x: Array, v: Array) -> Array:
        self.products += 1
        with np.errstate(all="ignore"):
            return np.asarray(self.h(x)) @ v


def of(name: str, n: int | None = None) -> tuple[Objective, Array]:
    p = problems.get(name, n)
    assert p.hess is not None
    return Objective(p.f, p.grad, p.hess), np.array(p.x0)


def solve(
    objective: Objective,
    x0: Any,
    method: tuple[str, str],
    *,
    joint: bool = True,
    callback: Any = None,
    precondition: Any = None,
    **options: Any,
) -> Machine:
    x0 = np.asarray(x0)
    x0 = x0 if x0.dtype == np.float32 else x0.astype(np.float64)
    before = x0.copy()
    m = Machine(x0, method[0], {"variant": method[1], **options})
    if joint:
        m.run(objective.both, (), True, objective.hess, objective.hessp, precondition, callback)
    else:
        m.run(objective.value, (), objective.jac, objective.hess, objective.hessp, precondition, callback)
    assert np.array_equal(x0, before)
    finite = [f for f in objective.values if np.isfinite(f)]
    if finite:
        low = min(finite)  # a converged point is kept if rounding of f alone tells it from the lowest
        assert m.fun == low or (m.status == 0 and m.fun - low <= 4 * np.finfo(x0.dtype).eps * abs(m.fun))
    return m


def quadratic(a: Array, b: Array) -> Objective:
    return Objective(lambda x: 0.5 * x @ (a @ x) - b @ x, lambda x: a @ x - b, lambda x: a)


def rotated(values: Any, seed: int) -> Array:
    n = len(values)
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    a = (q * np.asarray(values, float)) @ q.T
    return (a + a.T) / 2


# ---- the classics ----
@every
@pytest.mark.parametrize("name", CLASSICS)
def test_classics(method: tuple[str, str], name: str) -> None:
    objective, x0 = of(name)
    m = solve(objective, x0, method, gtol=1e-6)
    assert m.status == GRADIENT_SMALL
    assert m.fun <= 1e-8
    assert m.gnorm <= 1e-6


@every
@pytest.mark.parametrize("name", CLASSICS)
def test_classics_in_float32(method: tuple[str, str], name: str) -> None:
    objective, x0 = of(name)
    m = solve(objective, x0.astype(np.float32), method)
    assert m.status in (GRADIENT_SMALL, PRECISION)
    assert m.x.dtype == np.float32
    assert m.fun <= 1e-4


@every
@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("name", [*CLASSICS, "gulf", "chebyquad"])
def test_counts_are_what_was_asked_and_no_point_is_asked_twice(
    method: tuple[str, str], name: str, joint: bool
) -> None:
    objective, x0 = of(name)
    m = solve(objective, x0, method, joint=joint, gtol=1e-6)
    assert (m.nfev, m.njev) == (len(objective.at_f), len(objective.at_g))
    assert (m.nhev, m.nhessp) == (len(objective.at_h), objective.products)
    for places in (objective.at_f, objective.at_g, objective.at_h):
        assert len(set(places)) == len(places)
    if not joint and method in REGIONS:  # the gradient is asked for where a step is taken, and nowhere else
        assert m.njev == m.nit + 1
    if method in WITH_HESSIAN:  # one Hessian a point, however many trials it takes to leave it
        assert m.nhev in (m.nit, m.nit + 1)
        assert m.nhessp == 0
    else:
        assert m.nhev == 0
        assert m.nhessp > 0


@every
def test_quadratic_of_condition_1e8(method: tuple[str, str]) -> None:
    n = 20
    a = rotated(np.geomspace(1, 1e8, n), 3)
    b = a @ np.linspace(-1, 1, n)
    m = solve(quadratic(a, b), np.ones(n), method, gtol=1e-5, radius=100)
    assert np.max(np.abs(a @ m.x - b)) <= 1e-4
    assert np.max(np.abs(m.x - np.linspace(-1, 1, n))) <= 1e-5
    if method in WITH_HESSIAN:
        assert m.nit <= 2


@every
@pytest.mark.parametrize(
    "name", ["osborne_2", "penalty_2", "trigonometric", "broyden_banded", "variably_dimensioned"]
)
def test_gradient_is_zero_where_it_says_so(method: tuple[str, str], name: str) -> None:
    objective, x0 = of(name)
    m = solve(objective, x0, method, gtol=1e-7)
    assert m.status in (GRADIENT_SMALL, PRECISION)
    assert np.max(np.abs(objective.g(m.x))) <= 1e-5
    assert np.array_equal(np.asarray(objective.g(m.x)), m.jac)


# ---- saddles and what is not convex ----
def saddle() -> Objective:
    return Objective(
        lambda x: x[0] ** 2 - x[1] ** 2 + x[1] ** 4 / 4,
        lambda x: np.array([2 * x[0], -2 * x[1] + x[1] ** 3]),
        lambda x: np.diag([2, -2 + 3 * x[1] ** 2]),
    )


def monkey() -> Objective:
    """x^3 - 3 x y^2, a saddle with three ways down, in a bowl."""

    def hess(x: Array) -> Array:
        a, b = x
        q = a * a + b * b
        return np.array(
            [[6 * a + q + 2 * a * a, -6 * b + 2 * a * b], [-6 * b + 2 * a * b, -6 * a + q + 2 * b * b]]
        )

    return Objective(
        lambda x: x[0] ** 3 - 3 * x[0] * x[1] ** 2 + (x @ x) ** 2 / 4,
        lambda x: np.array([3 * x[0] ** 2 - 3 * x[1] ** 2, -6 * x[0] * x[1]]) + x * (x @ x),
        hess,
    )


@every
@pytest.mark.parametrize("y0", [1e-4, -1e-8])
def test_leaves_a_saddle_point(method: tuple[str, str], y0: float) -> None:
    m = solve(saddle(), [0.1, y0], method, gtol=1e-9)
    assert m.status == GRADIENT_SMALL
    assert m.fun == pytest.approx(-1, abs=1e-12)
    assert m.x[1] * y0 > 0
    assert m.nfev <= 60


@every
def test_leaves_the_monkey_saddle(method: tuple[str, str]) -> None:
    objective = monkey()
    m = solve(objective, [1e-3, 1e-3], method, gtol=1e-9)
    assert m.fun == pytest.approx(-6.75, abs=1e-9)
    assert np.linalg.eigvalsh(objective.h(m.x))[0] > 0


@every
@pytest.mark.parametrize("seed", range(4))
def test_indefinite_hessian_at_the_start(method: tuple[str, str], seed: int) -> None:
    n = 12
    x0 = np.random.default_rng(seed).normal(size=n) * 0.3
    objective = Objective(  # Styblinski-Tang: 2^n minima, all directions of negative curvature at 0
        lambda x: 0.5 * np.sum(x**4 - 16 * x**2 + 5 * x),
        lambda x: 0.5 * (4 * x**3 - 32 * x + 5),
        lambda x: np.diag(0.5 * (12 * x**2 - 32)),
    )
    assert np.linalg.eigvalsh(objective.h(x0))[0] < 0
    m = solve(objective, x0, method, gtol=1e-8)
    assert m.status == GRADIENT_SMALL
    assert np.linalg.eigvalsh(objective.h(m.x))[0] > 0


@every
def test_singular_hessian(method: tuple[str, str]) -> None:
    ones = np.ones((5, 5))
    objective = Objective(lambda x: (np.sum(x) - 1) ** 4, lambda x: 4 * (np.sum(x) - 1) ** 3 * np.ones(5),
                          lambda x: 12 * (np.sum(x) - 1) ** 2 * ones)  # fmt: skip
    m = solve(objective, np.arange(5.0), method, gtol=1e-8)
    assert m.status == GRADIENT_SMALL
    assert np.sum(m.x) == pytest.approx(1, abs=2e-3)


@every
def test_linear_objective_is_unbounded(method: tuple[str, str]) -> None:
    c = np.array([1.0, -2.0, 0.5])
    objective = Objective(lambda x: c @ x, lambda x: c, lambda x: np.zeros((3, 3)))
    m = solve(objective, np.zeros(3), method, fmin=-100.0)
    assert m.status == UNBOUNDED
    assert m.fun < -100


@every
def test_minus_infinity_ends_the_run(method: tuple[str, str]) -> None:
    objective = Objective(
        lambda x: -np.inf if x[0] < -0.5 else x[0], lambda x: np.ones(1), lambda x: np.zeros((1, 1))
    )
    m = solve(objective, [0.0], method)
    assert m.status == UNBOUNDED


# ---- the subproblem of a trust region ----
def best_decrease(g: Array, h: Array, radius: float) -> float:
    """How far g.p + p.Hp/2 falls within the radius: by eigenvalues and bisection, nothing that the solver does."""
    values, q = np.linalg.eigh(h)
    c = q.T @ g
    if values[0] > 0 and np.linalg.norm(c / values) <= radius:
        return float(0.5 * np.sum(c * c / values))
    low, up = max(0.0, -values[0]), np.linalg.norm(g) / radius + max(0.0, -values[0]) + 1e-300
    for _ in range(200):
        middle = (low + up) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.linalg.norm(c / (values + middle)) <= radius
        low, up = (low, middle) if inside else (middle, up)
    p = -np.divide(
        c, values + up, out=np.zeros_like(c), where=np.abs(values + up) > 1e-14 * np.abs(values).max()
    )
    room = radius**2 - p @ p
    if room > 0:
        p[0] += np.sqrt(room)  # the hard case: along the least eigenvector, either way
    return -float(c @ p + 0.5 * np.sum(values * p * p))


def one_step(
    g: Array, h: Array, radius: float, method: tuple[str, str], dtype: Any = np.float64
) -> tuple[Array, float]:
    objective = Objective(lambda x: float(g @ x + 0.5 * x @ (h @ x)), lambda x: g + h @ x, lambda x: h)
    m = solve(
        objective, np.zeros(len(g), dtype), method, gtol=0.0, radius=radius, max_radius=radius, maxiter=1
    )
    assert m.nit == 1
    assert m.nfev == 2
    x = m.x.astype(np.float64)
    return x, -float(g @ x + 0.5 * x @ (h @ x))


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20])
@pytest.mark.parametrize("seed", range(12))
def test_subproblem(n: int, seed: int) -> None:
    rng = np.random.default_rng([n, seed])
    g = rng.normal(size=n) * 10.0 ** rng.integers(-3, 4)
    h = rotated(rng.normal(size=n) * 10.0 ** rng.integers(-3, 4, n) + rng.integers(-1, 2), seed)
    for radius in (1e-3, 0.1, 1.0, 30.0, 1e4):
        p, fell = one_step(g, h, radius, ("trust", "exact"))
        assert np.linalg.norm(p) <= radius * (1 + 1e-10)
        assert fell >= 0.9 * best_decrease(g, h, radius) * (1 - 1e-10)
        p, fell = one_step(g, h, radius, ("trust_cg", "steihaug"))
        bend, size = g @ h @ g, np.linalg.norm(g)
        far = min(radius, size**3 / bend) if bend > 0 else radius
        assert np.linalg.norm(p) <= radius * (1 + 1e-10)
        assert fell >= (far * size - 0.5 * far**2 * bend / size**2) * (1 - 1e-8), (
            "at least what steepest descent gives"
        )


@pytest.mark.parametrize("n", [2, 3, 8, 20])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_hard_case(n: int, seed: int, dtype: Any) -> None:
    """g has no part along the least eigenvectors, and the radius is beyond what the other directions reach."""
    rng = np.random.default_rng([n, seed])
    values = np.sort(rng.normal(size=n)) + 1
    values -= values[0] + rng.uniform(0.5, 2)
    if n > 3:
        values[1] = values[0]
    q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    c = rng.normal(size=n) * (values > values[0])
    if seed % 5 == 0:
        c *= 1e-6
    h = (q * values) @ q.T
    h, g = ((h + h.T) / 2).astype(dtype).astype(float), (q @ c).astype(dtype).astype(float)
    reach = np.linalg.norm(c[values > values[0]] / (values - values[0])[values > values[0]])
    for radius in (float(1.5 * reach), float(20 * reach)):
        radius = float(dtype(radius))
        p, fell = one_step(g, h, radius, ("trust", "exact"), dtype)
        slack = 1e-10 if dtype is np.float64 else 1e-5
        assert np.linalg.norm(p) <= radius * (1 + slack)
        assert fell >= (0.9 - slack) * best_decrease(g, h, radius)


@pytest.mark.parametrize("seed", range(10))
def test_after_a_refused_step_trust_cg_asks_no_product(seed: int) -> None:
    """The second step is the best on the plane of g and the first one, within its own length."""
    rng = np.random.default_rng(seed)
    n = 6
    h = rotated(rng.normal(size=n) + rng.integers(-1, 2), seed)
    g = rng.normal(size=n)
    m = Machine(np.zeros(n), "trust_cg", {"gtol": 0.0, "radius": 2.0})
    trials: list[Array] = []
    asked: list[str] = []
    while len(trials) < 4:
        request, x = m.ask()
        asked.append(request)
        if request == "product":
            m.tell(h @ x)
        else:
            trials.append(x)
            m.tell(0.0 if len(trials) == 1 else 1e3, g if len(trials) == 1 else None)
    first = asked.index("evaluate", 1)
    assert asked[first:] == ["evaluate"] * 3
    assert "product" in asked[:first]
    p = trials[1]
    for step in trials[2:]:
        basis, sizes, _ = np.linalg.svd(
            np.stack([g / np.linalg.norm(g), p / np.linalg.norm(p)], 1), full_matrices=False
        )
        basis = basis[:, sizes > 1e-3]  # a line where the first step went along -g to the border
        assert np.linalg.norm(step - basis @ (basis.T @ step)) <= 1e-12
        b, a, size = basis.T @ g, basis.T @ h @ basis, np.linalg.norm(step)
        assert size <= 0.5 * np.linalg.norm(p) * (1 + 1e-12)
        angle = np.linspace(0, 2 * np.pi, 4001)
        edge = size * np.stack([np.cos(angle), np.sin(angle)])[: basis.shape[1]]
        least = np.min(b @ edge + 0.5 * np.einsum("ik,ij,jk->k", edge, a, edge))
        assert g @ step + 0.5 * step @ h @ step <= least + 1e-4 * abs(least)
        p = step


# ---- bad objectives ----
def barrier() -> Objective:
    """-sum log(1 - x^2) + c.x: not a number beyond |x| = 1."""
    c = np.array([3.0, -40.0, 0.1])
    return Objective(
        lambda x: c @ x - np.sum(np.log(1 - x * x)),
        lambda x: c + 2 * x / (1 - x * x),
        lambda x: np.diag(2 * (1 + x * x) / (1 - x * x) ** 2),
    )


@every
def test_regions_where_f_is_not_a_number(method: tuple[str, str]) -> None:
    m = solve(barrier(), [0.0, 0.0, 0.9], method, gtol=1e-8, radius=100.0)
    assert m.status == GRADIENT_SMALL
    assert np.all(np.abs(m.x) < 1)


@every
@pytest.mark.parametrize("joint", [True, False])
def test_gradient_not_finite_where_f_is(method: tuple[str, str], joint: bool) -> None:
    objective = barrier()
    good = objective.g
    objective.g = lambda x: good(x) if np.all(np.abs(x) < 0.99) else np.full(3, np.nan)
    m = solve(objective, [0.0, 0.0, 0.9], method, joint=joint, gtol=1e-8, radius=100.0)
    assert m.status == GRADIENT_SMALL


@every
def test_start_not_finite(method: tuple[str, str]) -> None:
    m = solve(barrier(), [2.0, 0.0, 0.0], method)
    assert m.status == NONFINITE
    assert (m.nfev, m.nhev, m.nhessp) == (1, 0, 0)


class Broken:
    """A Hessian with NaN or Inf at the k-th call, or from it on."""

    def __init__(self, hess: Callable[[Array], Array], at: int, always: bool, bad: float) -> None:
        self.hess, self.at, self.always, self.bad, self.calls = hess, at, always, bad, 0

    def __call__(self, x: Array) -> Array:
        self.calls += 1
        h = np.array(self.hess(x))
        if self.calls == self.at or (self.always and self.calls > self.at):
            h[:, -1] = h[-1, :] = self.bad
        return h


@every
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_hessian_not_finite(method: tuple[str, str], bad: float) -> None:
    def run(at: int, always: bool) -> Machine:
        objective, x0 = of("rosenbrock")
        objective.h = Broken(objective.h, at, always, bad)
        return solve(objective, x0, method)

    m = run(1, False)
    assert (m.status, m.nit) == (NONFINITE, 0)
    m = run(4, False)
    assert m.status == GRADIENT_SMALL
    assert m.fun <= 1e-8
    if method in WITH_HESSIAN:  # one product of many may be missing without notice
        assert m.resets == 1
        m = run(4, True)
        assert (m.status, m.nhev) == (NONFINITE, 5)


@pytest.mark.parametrize("method", WITH_HESSIAN, ids="-".join)
@pytest.mark.parametrize("shape", [(2,), (2, 3), (3, 3), ()])
def test_hessian_of_the_wrong_shape(method: tuple[str, str], shape: tuple[int, ...]) -> None:
    objective, x0 = of("rosenbrock")
    objective.h = lambda x: np.ones(shape)
    with pytest.raises(ValueError, match=r"hess returned shape .*; \(2, 2\) is needed"):
        solve(objective, x0, method)


@pytest.mark.parametrize("method", [("newton_cg", "truncated"), ("trust_cg", "steihaug")], ids="-".join)
def test_product_of_the_wrong_shape(method: tuple[str, str]) -> None:
    objective, x0 = of("rosenbrock")
    objective.h = lambda x: np.ones((3, 2))
    with pytest.raises(ValueError, match=r"hessp returned has shape \(3,\); \(2,\) is needed"):
        solve(objective, x0, method)


@pytest.mark.parametrize("method", WITH_HESSIAN, ids="-".join)
def test_hessian_that_is_not_symmetric_counts_as_its_symmetric_part(method: tuple[str, str]) -> None:
    objective, x0 = of("wood")
    twisted, _ = of("wood")
    skew = np.triu(np.ones((4, 4)), 1)
    h = twisted.h
    twisted.h = lambda x: h(x) + 1024 * (skew - skew.T)
    a, b = solve(objective, x0, method), solve(twisted, x0, method)
    assert b.status == GRADIENT_SMALL
    assert np.allclose(a.x, b.x, atol=1e-6)
    assert abs(a.nit - b.nit) <= 2


@every
def test_wrong_sign_of_the_gradient(method: tuple[str, str]) -> None:
    objective = Objective(lambda x: float(x @ x), lambda x: -2 * x, lambda x: 2 * np.eye(3))
    m = solve(objective, np.ones(3), method, maxiter=50)
    assert m.status == COLLAPSED if method in REGIONS else m.status != GRADIENT_SMALL
    assert m.fun == 3


@pytest.mark.parametrize("method", REGIONS, ids="-".join)
def test_objective_that_changes_is_told(method: tuple[str, str]) -> None:
    calls = [0]

    def drifting(x: Array) -> float:
        calls[0] += 1
        return float(x @ x) + calls[0]

    m = solve(Objective(drifting, lambda x: 2 * x, lambda x: 2 * np.eye(3)), np.full(3, 0.1), method)
    assert m.status == CHANGED


# ---- limits, callbacks, small n ----
@every
@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_limits(method: tuple[str, str], n: int) -> None:
    objective, x0 = of("rosenbrock")
    m = solve(objective, x0, method, maxiter=n)
    assert (m.status, m.nit) == (ITERATIONS, n)
    objective, x0 = of("rosenbrock")
    m = solve(objective, x0, method, maxfev=n)
    assert (m.status, m.nfev) == (EVALUATIONS, n)
    assert len(objective.values) == n


@every
def test_callback_sees_every_step_and_may_stop(method: tuple[str, str]) -> None:
    seen: list[tuple[int, float]] = []

    def callback(m: Machine) -> None:
        seen.append((m.nit, m.fun))
        if m.nit == 4:
            raise StopIteration

    objective, x0 = of("rosenbrock")
    m = solve(objective, x0, method, callback=callback)
    assert (m.status, m.nit) == (BY_CALLBACK, 4)
    assert [k for k, _ in seen] == [1, 2, 3, 4]

    def broken(m: Machine) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        solve(*of("rosenbrock"), method, callback=broken)


@every
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_no_and_one_element(method: tuple[str, str], dtype: Any) -> None:
    empty = Objective(lambda x: 7.0, lambda x: x, lambda x: np.zeros((0, 0)))
    m = solve(empty, np.zeros(0, dtype), method)
    assert (m.status, m.fun, m.nfev, m.x.shape) == (GRADIENT_SMALL, 7.0, 1, (0,))
    one = Objective(
        lambda x: float(np.cosh(x[0] - 2)), lambda x: np.sinh(x - 2), lambda x: np.cosh(x[:, None] - 2)
    )
    m = solve(one, np.array([-1], dtype), method)
    assert m.status == GRADIENT_SMALL
    assert m.x[0] == pytest.approx(2, abs=2e-3)


@pytest.mark.parametrize("method", REGIONS, ids="-".join)
def test_no_step_is_longer_than_the_largest_radius(method: tuple[str, str]) -> None:
    points: list[Array] = []
    objective, x0 = of("rosenbrock")
    solve(
        objective, x0, method, radius=5.0, max_radius=0.1, maxiter=10, callback=lambda m: points.append(m.x)
    )
    lengths = np.linalg.norm(np.diff(np.array([x0, *points]), axis=0), axis=1)
    assert lengths.max() <= 0.1 * (1 + 1e-10)
    assert lengths.max() > 0.099


def test_preconditioner_saves_products() -> None:
    n = 60
    scale = np.geomspace(1, 1e6, n)
    a = rotated(np.linspace(1, 2, n), 0) * np.sqrt(np.outer(scale, scale))
    b = np.ones(n)
    counts = []
    for precondition in (None, lambda v: v / scale):
        m = Machine(np.zeros(n), "newton_cg", {"precondition": int(precondition is not None), "gtol": 1e-6})
        objective = quadratic(a, b)
        m.run(objective.both, (), True, None, objective.hessp, precondition, None)
        assert np.max(np.abs(a @ m.x - b)) <= 1e-6
        counts.append(m.nhessp)
    assert 3 * counts[1] < counts[0]
    # P that is not positive definite: the direction does without it
    m = Machine(np.zeros(n), "newton_cg", {"precondition": 1, "gtol": 1e-6})
    objective = quadratic(a, b)
    m.run(objective.both, (), True, None, objective.hessp, lambda v: -v, None)
    assert np.max(np.abs(a @ m.x - b)) <= 1e-6


# ---- saved and restored ----
@every
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", ["wood", "chebyquad"])
def test_state_goes_on_bit_for_bit(method: tuple[str, str], dtype: Any, name: str) -> None:
    p = problems.get(name)
    assert p.hess is not None

    def run(restore: bool) -> tuple[list[tuple[str, bytes]], bytes]:
        m = Machine(np.array(p.x0, dtype), method[0], {"variant": method[1], "maxiter": 25})
        seen = []
        while True:
            request, x = m.ask()
            seen.append((request, x.tobytes()))
            if request == "stopped":
                return seen, m.state()
            if restore:
                m = Machine.from_state(m.state())
                assert m.ask()[1].tobytes() == x.tobytes()
            y = x.astype(np.float64)
            if request == "evaluate":
                m.tell(p.f(y), p.grad(y))
            elif request == "hessian":
                m.tell(p.hess(y))
            else:
                m.tell(p.hessp(m.x.astype(np.float64), y))
            if restore:
                m = Machine.from_state(m.state())

    plain = run(False)
    assert run(True) == plain
    assert len(plain[0]) >= 12
