"""The tests of SciPy's that our methods do not pass, and why not: a row a test or a family of tests."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A test that fails with this text; any other failure of it is a failure, and so is its passing."""

    test: str  # a pattern of fnmatch over "module::class::test[parameters]", in which brackets stand for themselves
    says: str  # a regular expression, found in what the test raises
    reason: str


TRAJECTORY = "asserts the counts and points of SciPy's own run"
WORDS = "the same ValueError in other words, which name what came"

KNOWN: tuple[Known, ...] = (
    Known(
        "test_optimize::TestOptimize*::test_bfgs", r"^AssertionError: 7\b",
        TRAJECTORY + "; ours needs 7 evaluations, where 10 are asserted",
    ),
    Known(
        "test_optimize::TestOptimize*::test_ncg", r"^AssertionError: 6\b",
        TRAJECTORY + "; ours needs 6 evaluations, where 7 are asserted",
    ),
    Known("test_optimize::TestOptimize*::test_ncg_hess", "rtol=1e-07, atol=1e-06", TRAJECTORY),
    Known("test_optimize::TestOptimize*::test_ncg_hessp", "rtol=1e-07, atol=1e-06", TRAJECTORY),
    Known("test_optimize::TestOptimizeSimple::test_l_bfgs_b", "rtol=1e-07, atol=1e-14", TRAJECTORY),
    Known(
        "test_optimize::TestOptimizeSimple::test_initial_step_scaling", r"DESIRED: array\(1.01\)",
        "asserts the length 1.01 of SciPy's first step; ours is 1 and lands on the minimum",
    ),
    Known(
        "test_optimize::test_gh12513_trustregion_exact_infinite_loop", "unknown option 'subproblem_maxiter'",
        "an option of SciPy's subproblem solver, which ours does not have and says so",
    ),
    Known("test_optimize::test_obj_func_returns_scalar", "fun returned a value of shape", WORDS),
    Known("test_optimize::TestOptimize*::test_invalid_c1_c2[0.5-2]", "c1 is 0.5", WORDS),
    Known("test_optimize::TestOptimize*::test_invalid_c1_c2[-0.1-0.1]", "c1 is -0.1", WORDS),
    Known(
        "test_optimize::TestOptimizeSimple::test_l_bfgs_b_maxiter", "TOTAL NO. OF ITERATIONS",
        "asserts the message of SciPy's L-BFGS-B; x, fun, nit, status and success are compared before it and agree",
    ),
    Known(
        "test_optimize::TestOptimize*::test_ncg_negative_maxiter", "maxiter is -1",
        "a negative maxiter is an error here, and a run that ends at once with SciPy",
    ),
    *(
        Known(
            f"test_optimize::test_minimize_maxiter_noninteger[{method}]", "maxiter is 100.1",
            "a maxiter that is no whole number is an error here, and rounded by SciPy",
        )
        for method in ("bfgs", "cg", "l-bfgs-b")
    ),
    Known(
        "test_optimize::TestOptimize*::test_ncg_zero_xtol", "3.14159",
        "ours stops at a gradient of gtol = 1e-5, SciPy's Newton-CG has no gtol and goes on for xtol = 0",
    ),
    Known(
        "test_optimize::TestOptimizeSimple::test_bfgs_nan", "x0 is nan",
        "a start that is not finite is an error here, and comes back with SciPy",
    ),
    Known(
        "test_optimize::TestOptimizeSimple::test_bfgs_nan_return", r"isnan'>\(0.0\)",
        "ours gives the lowest finite point seen, with a status that says why it ended, and SciPy the NaN",
    ),
    Known(
        "test_optimize::TestOptimize*::test_bfgs_infinite", r"isfinite",
        "ours gives the lowest finite point seen of a function without bound, and SciPy the -inf",
    ),
    Known(
        "test_optimize::TestOptimizeSimple::test_finite_differences_hess", "DID NOT RAISE",
        "after the runs, which succeed: asserts that trust-ncg refuses to run without hess; ours takes differences",
    ),
    Known(
        "test_lbfgsb_hessinv::test_3", "no attribute 'sk'",
        "reads the private sk, yk and rho of SciPy's operator; test_2 compares ours with bfgs",
    ),
)  # fmt: skip
