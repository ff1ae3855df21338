"""The test problems themselves: derivatives by complex steps, published values, minima that are reached."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.optimize import minimize

from fastopt import problems

ALL = problems.names()
MGH = problems.names("mgh")
LARGE = problems.names("large")

#: f(x0), worked out by hand; the squares are norms of residuals as MINPACK's test program prints them.
START = {
    "rosenbrock": 24.2, "freudenstein_roth": 400.5, "powell_badly_scaled": 1.13526171734838,
    "brown_badly_scaled": 999998000003.0, "beale": 14.203125, "helical_valley": 2500.0, "bard": 6.456136295159668**2,
    "powell_singular": 215.0, "wood": 19192.0, "watson": 30.0, "brown_dennis": 7926693.33699744,
    "extended_rosenbrock": 121.0, "extended_powell_singular": 645.0, "variably_dimensioned": 2198551.1625,
    "penalty_1": 148032.56535, "brown_almost_linear": 16.5302162063499**2, "linear_full_rank": 50.0,
    "broyden_tridiagonal": 21.0,
    "ARWHEAD": 3.0 * 999, "DQDRTIC": 9.0 * (1 + 101 + 201 * 996 + 200 + 100), "ENGVAL1": 59.0 * 999,
    "DIXON3DQ": 8.0, "EXTROSNB": 400.0 * 99 + 4, "FLETCHCR": 9900.0, "LIARWHD": 585.0 * 1000, "NONDIA": 400.0 * 999 + 4,
    "NONDQUAR": 102.0, "POWER": 5050.0**2, "TQUARTIC": 0.81, "TRIDIA": 500499.0, "WOODS": 19192.0 * 250,
    "DIXMAANA": 1 + 300 * 4 + 200 * 0.125 * 64 + 100 * 0.125 * 4, "COSINE": 999 * np.cos(0.5),
    "EDENSCH": 16 + 999 * (1296 + 48**2 + 81.0),
}  # fmt: skip

#: Least values as printed in the literature: MGH's section 3, CUTEst's SIF files.
PUBLISHED = [
    ("freudenstein_roth", 2, 48.9842), ("jennrich_sampson", 2, 124.362), ("bard", 3, 8.21487e-3), ("gaussian", 3, 1.12793e-8),
    ("meyer", 3, 87.9458), ("kowalik_osborne", 4, 3.07505e-4), ("brown_dennis", 4, 85822.2), ("osborne_1", 5, 5.46489e-5),
    ("biggs_exp6", 6, 5.65565e-3), ("osborne_2", 11, 4.01377e-2), ("watson", 6, 2.28767e-3), ("watson", 9, 1.39976e-6),
    ("watson", 12, 4.72238e-10), ("penalty_1", 4, 2.24997e-5), ("penalty_1", 10, 7.08765e-5), ("penalty_2", 4, 9.37629e-6),
    ("penalty_2", 10, 2.93660e-4), ("trigonometric", 10, 2.79506e-5), ("chebyquad", 8, 3.51687e-3),
    ("chebyquad", 10, 6.50395e-3), ("BDQRTIC", 1000, 3.98382e3), ("CRAGGLVY", 1000, 3.36423e2), ("EDENSCH", 36, 219.28),
    ("EDENSCH", 2000, 1.20032e4), ("ENGVAL1", 1000, 1.10819e3), ("FREUROTH", 1000, 1.21470e5), ("TOINTGSS", 100, 10.102),
]  # fmt: skip

#: Where a method ends that does not reach any of `minima`, and why.
SHORT = {
    ("meyer", "lbfgs"): "scales 1e6 apart: the limited memory stalls",
    ("jennrich_sampson", "lbfgs"): "its first step runs into exponentials that vanish",
    ("powell_badly_scaled", "lbfgs"): "scales 1e6 apart: f = 2e-7, and changes below its tolerance",
}
#: Both methods creep along a flat valley for ten thousands of iterations: value and minimizer are the formula's.
SLOW = {"EXTROSNB", "NONDQUAR"}
#: Hessian singular or zero at the minimizer, or values of rounding only: f - minimum as far as the methods get.
ROUGH = {
    "powell_singular": 1e-9, "extended_powell_singular": 1e-9, "POWER": 1e-9, "QUARTC": 1e-9,
    "SPARSQUR": 1e-9, "SINQUAD": 1e-9,
}  # fmt: skip


def points(p: problems.Problem) -> list[np.ndarray]:
    """x0 and three points near it."""
    rng = np.random.default_rng(7)
    scale = np.maximum(np.abs(p.x0), 0.1)
    return [p.x0, *(p.x0 + 0.1 * scale * rng.standard_normal(p.n) for _ in range(3))]


def complex_step(p: problems.Problem, x: np.ndarray, v: np.ndarray) -> float:
    """v'grad f(x), from the value alone."""
    return p.f(x + 1e-30j * v).imag / 1e-30


def ends(p: problems.Problem, method: str) -> tuple[float, np.ndarray]:
    """Least value and its point by one of SciPy's methods from x0; SciPy itself may overflow on the way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return _ends(p, method)


def _ends(p: problems.Problem, method: str) -> tuple[float, np.ndarray]:
    if method == "exact":
        options = {"gtol": 1e-11, "maxiter": 3000}
        res = minimize(p.fun_and_grad, p.x0, jac=True, hess=p.hess, method="trust-exact", options=options)
    elif method == "ncg":
        options = {"gtol": 1e-9, "maxiter": 400}
        res = minimize(p.fun_and_grad, p.x0, jac=True, hessp=p.hessp, method="trust-ncg", options=options)
    else:
        options = {"gtol": 1e-11, "ftol": 0.0, "maxfun": 30_000, "maxiter": 30_000, "maxcor": 20}
        res = minimize(p.fun_and_grad, p.x0, jac=True, method="L-BFGS-B", options=options)
    return float(res.fun), res.x


def distance(p: problems.Problem, value: float) -> float:
    """Of `value` from the nearest of the known minima, relative where they are not 0."""
    return min(abs(value - m) / (abs(m) if m else 1.0) for m in p.minima)


def test_lists() -> None:
    assert len(MGH) == 35 and len(LARGE) >= 20
    assert len({name.lower() for name in ALL}) == len(ALL)
    assert MGH + LARGE == ALL
    sources = [problems.get(name).source for name in MGH]
    assert sources == [f"MGH {i}" for i in range(1, 36)]
    assert [p.name for p in problems.all_problems()] == ALL
    assert [p.name for p in problems.all_problems("large")] == LARGE
    for name in ALL:
        assert problems.get(name.swapcase()).name == name
    assert problems.get("MGH 7").name == "helical_valley"
    assert problems.get("POWELLSG", 400).n == 400


@pytest.mark.parametrize("name", ALL)
def test_gradient_is_the_complex_step(name: str) -> None:
    p = problems.get(name)
    rng = np.random.default_rng(3)
    for x in points(p):
        g = p.grad(x)
        assert g.shape == (p.n,) and np.all(np.isfinite(g)) and np.any(g != 0)
        # All coordinates of small problems; of large ones both ends, some inside, and dense directions.
        places = (
            range(p.n) if p.n <= 12 else [0, 1, 2, 3, p.n - 3, p.n - 2, p.n - 1, *rng.integers(0, p.n, 8)]
        )
        for i in places:
            unit = np.zeros(p.n)
            unit[i] = 1
            assert abs(complex_step(p, x, unit) - g[i]) <= 1e-12 * np.abs(g).max(), i
        for _ in range(4):
            v = rng.choice((-1.0, 1.0), p.n)
            assert abs(complex_step(p, x, v) - g @ v) <= 1e-12 * np.abs(g).sum()


@pytest.mark.parametrize("name", ALL)
def test_second_derivatives(name: str) -> None:
    p = problems.get(name)
    rng = np.random.default_rng(4)
    assert (p.hess is not None) == (name in MGH or name == "WOODS")
    for x in points(p):
        v = rng.choice((-1.0, 1.0), p.n)
        hv = p.hessp(x, v)
        # hessp against the value alone, by a central difference of complex steps.
        far = 1e-6 * max(1.0, float(np.abs(x).max()))
        slope = (complex_step(p, x + far * v, v) - complex_step(p, x - far * v, v)) / (2 * far)
        rounding = 1e-14 * np.abs(p.grad(x)).sum() / far
        assert abs(slope - v @ hv) <= 1e-5 * np.abs(hv).sum() + rounding
        if p.hess is not None and p.n <= 12:
            h = p.hess(x)
            assert np.array_equal(h, h.T) or np.allclose(h, h.T, rtol=1e-14, atol=0)
            columns = np.stack([p.hessp(x, e) for e in np.eye(p.n)])
            assert np.abs(h - columns).max() <= 1e-12 * np.abs(h).max()


@pytest.mark.parametrize("name", START)
def test_value_at_the_start(name: str) -> None:
    p = problems.get(name)
    assert p.f(p.x0) == pytest.approx(START[name], rel=1e-13)


@pytest.mark.parametrize("name, n, value", PUBLISHED)
def test_published_minima(name: str, n: int, value: float) -> None:
    """To the digits printed, which are rounded in some tables and cut off in others."""
    p = problems.get(name, n)
    assert distance(p, value) < 3e-5


@pytest.mark.parametrize("method", ["exact", "lbfgs"])
@pytest.mark.parametrize("name", MGH)
def test_mgh_minima_are_reached(name: str, method: str) -> None:
    p = problems.get(name)
    value, _ = ends(p, method)
    reached = distance(p, value) <= ROUGH.get(name, 1e-6 if any(p.minima) else 1e-14)
    assert reached != ((name, method) in SHORT), (value, p.minima)
    assert value >= p.minimum * (1 - 1e-12)


@pytest.mark.parametrize("method", ["ncg", "lbfgs"])
@pytest.mark.parametrize("name", [name for name in LARGE if name not in SLOW])
def test_large_minima_are_reached(name: str, method: str) -> None:
    p = problems.get(name)
    value, _ = ends(p, method)
    reached = distance(p, value) <= ROUGH.get(name, 1e-7)
    assert reached != ((name, method) in SHORT), (value, p.minima)
    assert value >= p.minimum - 1e-12 * abs(p.minimum)


@pytest.mark.parametrize("name", [name for name in ALL if problems.get(name).minimizer is not None])
def test_gradient_vanishes_at_the_minimizer(name: str) -> None:
    p = problems.get(name)
    assert p.minimizer is not None and p.minimum is not None
    value, g = p.fun_and_grad(p.minimizer)
    assert value == pytest.approx(p.minimum, rel=1e-12, abs=1e-25)
    # As far as rounding of the minimizer itself lets it.
    curvature = np.abs(p.hessp(p.minimizer, np.abs(p.minimizer))).max()
    assert np.abs(g).max() <= 1e-13 * max(1.0, curvature, abs(value))


def test_other_minima_are_stationary() -> None:
    """Every value but the least of every problem is where a run from x0, or from near it, comes to rest."""
    routes = {
        "freudenstein_roth": (2, "exact"), "biggs_exp6": (6, "lbfgs"), "trigonometric": (10, "exact"),
        "chebyquad": (10, "lbfgs"), "TOINTGSS": (1000, "ncg"),
    }  # fmt: skip
    several = {name for name in ALL if len(problems.get(name).minima) > 1}
    assert several | {"chebyquad"} == set(routes)
    for name, (n, method) in routes.items():
        p = problems.get(name, n)
        value, x = ends(p, method)
        assert value == pytest.approx(p.minima[1], rel=1e-9), name
        assert np.abs(p.grad(x)).max() <= 1e-7, name
        assert list(p.minima) == sorted(p.minima)
    p = problems.get("chebyquad", 10)
    assert ends(p, "exact")[0] == pytest.approx(p.minima[0], rel=1e-12)


def test_notes_are_true() -> None:
    p = problems.get("brown_almost_linear")
    end = np.append(np.zeros(9), 11.0)
    assert p.f(end) == 1.0 and not p.grad(end).any()
    p = problems.get("box_3d")
    assert p.f([10.0, 1.0, -1.0]) == 0.0 and p.f([3.0, 3.0, 0.0]) == 0.0
    p = problems.get("wood")
    assert p.hess is not None
    saddle = minimize(
        lambda x: (p.grad(x) ** 2).sum(),
        [-1, 1, -1, 1],
        method="Nelder-Mead",
        tol=1e-13,
        options={"maxiter": 4000},
    ).x
    assert p.f(saddle) == pytest.approx(7.8770, abs=1e-4)
    assert np.linalg.eigvalsh(p.hess(saddle))[0] < 0
    p = problems.get("biggs_exp6")
    assert p.hess is not None
    _, x = ends(p, "lbfgs")
    assert (
        np.linalg.eigvalsh(p.hess(x))[0] < -1e-3
        and x[0] == pytest.approx(x[4])
        and x[2] == pytest.approx(x[5])
    )


@pytest.mark.parametrize("name", ALL)
def test_precision_of_x_is_kept(name: str) -> None:
    p = problems.get(name)
    f, g = p.fun_and_grad(p.x0)
    low = p.x0.astype(np.float32)
    f32, g32 = p.fun_and_grad(low)
    # float32 arithmetic on the rounded start: compare with float64 there.
    f_low, g_low = p.fun_and_grad(low.astype(np.float64))
    assert g32.dtype == np.float32 and isinstance(f32, float) and f32 == np.float32(f32)
    assert f32 == pytest.approx(f_low, rel=2e-5)
    assert np.abs(g32 - g_low).max() <= 4e-4 * np.abs(g_low).max()
    z, gz = p.fun_and_grad(p.x0 + 0j)
    assert isinstance(z, complex) and gz.dtype == np.complex128 and z.real == pytest.approx(f, rel=1e-12)
    assert p.grad(p.x0.astype(np.complex64)).dtype == np.complex64
    assert p.grad(p.x0.astype(np.longdouble)).dtype == np.longdouble
    assert p.hessp(low, low).dtype == np.float32
    if p.hess is not None and p.n <= 12:
        assert p.hess(low).dtype == np.float32
    assert g.dtype == np.float64 and p.grad(np.ones(p.n, dtype=int)).dtype == np.float64


@pytest.mark.parametrize("name", ALL)
def test_joint_equals_separate_and_x_is_kept(name: str) -> None:
    p = problems.get(name)
    for x in points(p):
        kept = x.copy()
        x.flags.writeable = False
        f, g = p.fun_and_grad(x)
        assert isinstance(f, float) and f == p.f(x) and np.array_equal(g, p.grad(x))
        if p.hess is not None and p.n <= 12:
            p.hess(x)
        assert np.array_equal(x, kept)
        again = p.grad(x)
        again[:] = 0
        assert np.array_equal(p.grad(x), g)
    assert p.x0 is not p.x0 and p.x0.dtype == np.float64
    p.x0[:] = 99
    assert np.array_equal(p.x0, problems.get(name).x0)


@pytest.mark.parametrize("name", LARGE)
def test_large_sizes(name: str) -> None:
    """Any legal size works, and derivatives hold in the smallest ones, where pieces of a formula overlap."""
    n = 10_000 if name[:7] != "DIXMAAN" else 9999
    p = problems.get(name, n)
    f, g = p.fun_and_grad(p.x0)
    assert np.isfinite(f) and np.all(np.isfinite(g)) and g.shape == (n,)
    legal = []
    for n in range(1, 16):
        try:
            legal.append(problems.get(name, n))
        except ValueError as error:
            assert f"n is {n}" in str(error) and "is wanted" in str(error)
    assert legal
    for p in legal:
        x = p.x0 + 0.1 * np.sin(np.arange(p.n))
        g = p.grad(x)
        steps = [complex_step(p, x, e) for e in np.eye(p.n)]
        assert np.abs(g - steps).max() <= 1e-12 * max(np.abs(g).max(), 1e-3), p.n
        if p.minimizer is not None:
            assert p.f(p.minimizer) == pytest.approx(p.minimum, rel=1e-12, abs=1e-25)


@pytest.mark.parametrize(
    "name", [name for name in MGH if problems._SPECS[name].sizes.least != problems._SPECS[name].sizes.most]
)
def test_mgh_sizes(name: str) -> None:
    for n in range(1, 16):
        try:
            p = problems.get(name, n)
        except ValueError as error:
            assert f"n is {n}" in str(error) and "is wanted" in str(error)
            continue
        x = p.x0 + 0.1 * np.sin(1 + np.arange(n))
        g = p.grad(x)
        assert np.abs(g - [complex_step(p, x, e) for e in np.eye(n)]).max() <= 1e-12 * max(
            np.abs(g).max(), 1e-3
        ), n
        assert p.hess is not None
        columns = np.stack([p.hessp(x, e) for e in np.eye(n)])
        assert np.abs(p.hess(x) - columns).max() <= 1e-12 * np.abs(columns).max()
        if p.minimizer is not None:
            assert p.f(p.minimizer) == pytest.approx(p.minimum, rel=1e-12, abs=1e-25)


@pytest.mark.parametrize(
    "call, kind, words",
    [
        (lambda: problems.get("rosenbrock", 3), ValueError, "n is 3; n = 2 is wanted"),
        (lambda: problems.get("extended_rosenbrock", 7), ValueError, "n is 7; n a multiple of 2, >= 2 is wanted"),
        (lambda: problems.get("watson", 32), ValueError, "n is 32; n from 2 to 31 is wanted"),
        (lambda: problems.get("DIXMAANA", 100), ValueError, "n is 100; n a multiple of 3, >= 3 is wanted"),
        (lambda: problems.get("ARWHEAD", 1), ValueError, "n is 1; n >= 2 is wanted"),
        (lambda: problems.get("ARWHEAD", 0), ValueError, "n is 0"),
        (lambda: problems.get("ARWHEAD", 10.0), TypeError, "n is 10.0"),
        (lambda: problems.get("no such"), ValueError, "'no such'"),
        (lambda: problems.get(7), TypeError, "a str is wanted"),  # type: ignore[arg-type]
        (lambda: problems.names("small"), ValueError, "'small'"),
        (lambda: problems.get("beale").f([1.0]), ValueError, r"shape \(1,\); \(2,\) is wanted"),
        (lambda: problems.get("beale").grad([[1.0, 2.0]]), ValueError, r"shape \(1, 2\)"),
        (lambda: problems.get("beale").hessp([1.0, 2.0], [1.0]), ValueError, "v has shape"),
        (lambda: problems.get("beale").hessp([1j, 2.0], [1.0, 1.0]), TypeError, "real"),
        (lambda: problems.get("beale").f(["a", "b"]), TypeError, "numbers are wanted"),
    ],
)  # fmt: skip
def test_bad_input(call, kind, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(kind, match=words):
        call()


def test_overflow_is_silent() -> None:
    """Warnings are errors in this suite: far out, values are Inf or NaN and nothing else happens."""
    for p in problems.all_problems():
        value, g = p.fun_and_grad(np.full(p.n, 1e200))
        assert isinstance(value, float) and g.shape == (p.n,)
