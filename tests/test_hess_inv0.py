"""bfgs from an inverse Hessian that the caller gives."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fastopt as fo
from objectives import rosenbrock

Array = NDArray[Any]
SQUARE = np.diag([1.0, 10.0, 100.0]) + 0.5


def square(x: Array) -> tuple[float, Array]:
    g = SQUARE.astype(x.dtype) @ (x - 1)
    return 0.5 * float(g @ (x - 1)), g


@pytest.mark.parametrize("variant", ["fused", "blas"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_inverse_of_the_hessian_is_enough_for_one_step(variant: str, dtype: str) -> None:
    given = np.linalg.inv(SQUARE)
    kept = given.copy()
    result = fo.minimize(
        square,
        np.zeros(3, dtype),
        method="bfgs",
        options={"hess_inv0": given, "variant": variant, "gtol": 1e-10 if dtype == "float64" else 1e-3},
    )
    assert result.success and result.nit == 1 and result.nfev == 2
    np.testing.assert_allclose(result.x, 1, rtol=50 * np.finfo(dtype).eps)
    np.testing.assert_allclose(result.hess_inv, given, rtol=1e-3 if dtype == "float32" else 1e-12)
    assert np.array_equal(given, kept)


@pytest.mark.parametrize("variant", ["fused", "blas"])
def test_iterates_from_hess_inv0_are_those_of_the_product_form(variant: str) -> None:
    """H+ = (I - rho s y') H (I - rho y s') + rho s s', from the given H, over the accepted points."""
    h = np.array([[2.0, 0.3], [0.3, 0.5]]) * 1e-3
    points: list[Array] = [np.array([-1.2, 1.0])]
    gradients = [rosenbrock(points[0])[1]]
    result = fo.minimize(
        rosenbrock,
        points[0],
        method="bfgs",
        callback=lambda x: points.append(x.copy()),
        options={"hess_inv0": h, "variant": variant, "maxiter": 12},
    )
    for x, new in itertools.pairwise(points):
        s, g = new - x, rosenbrock(new)[1]
        d = -h @ gradients[-1]
        assert abs(s @ d) >= (1 - 1e-9) * np.linalg.norm(s) * np.linalg.norm(d), "the step is along -H g"
        y = g - gradients[-1]
        gradients.append(g)
        left = np.eye(2) - np.outer(s, y) / (s @ y)
        h = left @ h @ left.T + np.outer(s, s) / (s @ y)
    assert result.nit == 12
    np.testing.assert_allclose(result.hess_inv, h, rtol=1e-9)


@pytest.mark.parametrize(
    ("value", "error", "says"),
    [
        (-np.eye(3), ValueError, "positive definite"),
        (np.diag([0.0, 1, 1]), ValueError, "positive definite"),
        (np.eye(2), ValueError, r"shape \(2, 2\); \(3, 3\)"),
        (np.ones(3), ValueError, "shape"),
        (np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]]), ValueError, "not symmetric"),
        (np.diag([1, np.nan, 1]), ValueError, "NaN"),
        (np.eye(3) * 1j, TypeError, "real"),
        ("identity", TypeError, "real matrix"),
    ],
)
def test_hess_inv0_that_is_none(value: Any, error: type[Exception], says: str) -> None:
    for attempt in (
        lambda: fo.minimize(square, np.zeros(3), method="bfgs", options={"hess_inv0": value}),
        lambda: fo.Solver(np.zeros(3), method="bfgs", options={"hess_inv0": value}),
    ):
        with pytest.raises(error, match=says):
            attempt()


def test_hess_inv0_elsewhere() -> None:
    with pytest.raises(ValueError, match="'lbfgs' has no use for option 'hess_inv0'"):
        fo.minimize(square, np.zeros(3), method="lbfgs", options={"hess_inv0": np.eye(3)})
    with pytest.raises(ValueError, match="'hess_inv0' has no meaning here"):
        fo.minimize_many(lambda x: x, np.zeros((2, 3)), method="bfgs", options={"hess_inv0": np.eye(3)})


def test_a_solver_saved_before_its_given_matrix_was_used() -> None:
    options = {"hess_inv0": np.linalg.inv(SQUARE)}
    first = fo.Solver(np.zeros(3), method="bfgs", options=options)
    other = fo.Solver(np.ones(3) * 7, method="bfgs")
    other.load_state_dict(first.state_dict())
    for s in (first, other):
        while not s.done:
            s.tell(*square(s.ask()))
    assert other.result.nfev == 2 and np.array_equal(first.result.x, other.result.x)
