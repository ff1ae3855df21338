"""Why a run ends, one sentence for each reason, and the result that says so."""

from __future__ import annotations

import sys
import warnings
from enum import IntEnum
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

    from fastopt._core.solve import Machine

__all__ = [
    "Reason",
    "SUCCESSES",
    "describe",
    "empty_result",
    "inverse_operator",
    "make_result",
    "show",
    "warn",
]


class Reason(IntEnum):
    """The values of ``status``: ``enum fo_status`` of csrc/solve.h, and what only Python knows of."""

    GRADIENT_SMALL = 0
    ITERATIONS = 1
    PRECISION = 2
    NONFINITE = 3
    VALUE_SETTLED = 4
    STEP_SMALL = 5
    EVALUATIONS = 6
    UNBOUNDED = 7
    NOT_DESCENT = 8
    CHANGED = 9
    TRUST_COLLAPSED = 10
    VALUE_REACHED = 11
    RAISED = 98
    BY_CALLBACK = 99


#: The reasons that are a success: a test that was asked for holds at a finite point.
SUCCESSES = frozenset({Reason.GRADIENT_SMALL, Reason.VALUE_SETTLED, Reason.STEP_SMALL, Reason.VALUE_REACHED})

SENTENCES = {
    Reason.GRADIENT_SMALL: "The {norm} of the gradient, {gnorm:.3g}, is at most gtol = {gtol:g}.",
    Reason.ITERATIONS: "Maximum number of iterations is reached: maxiter = {maxiter}.",
    Reason.PRECISION: (
        "No lower point can be told from rounding, and the {norm} of the gradient, {gnorm:.3g}, is above "
        "gtol = {gtol:g}; a larger gtol, a more exact gradient or float64 may end in success."
    ),
    Reason.NONFINITE: (
        "The value or the gradient is NaN or infinite where the run cannot go on without it; "
        "start where both are finite."
    ),
    Reason.VALUE_SETTLED: "The last step lowered the value by at most ftol = {ftol:g} of its size.",
    Reason.STEP_SMALL: "The last step is at most xtol = {xtol:g} of the size of x.",
    Reason.EVALUATIONS: "Maximum number of evaluations is reached: maxfev = {maxfev}.",
    Reason.UNBOUNDED: "The value falls without bound: -inf, or less than fmin = {fmin:g}, was reached.",
    Reason.NOT_DESCENT: (
        "The value does not fall along minus the gradient; compare the gradient with differences of the value."
    ),
    Reason.CHANGED: (
        "The value at the same x came out differently when asked again; minimize needs a function that does not change."
    ),
    Reason.TRUST_COLLAPSED: (
        "The trust region is too small to move x, and the {norm} of the gradient, {gnorm:.3g}, "
        "is above gtol = {gtol:g}."
    ),
    Reason.VALUE_REACHED: "The value, {fun:.6g}, is at most ftarget = {ftarget:g}.",
    Reason.RAISED: "The objective or a callback raised an exception; this is the best point before it.",
    Reason.BY_CALLBACK: "`callback` raised `StopIteration`; this is the best point so far.",
}

#: Modules between a user and what he gets: `warn` looks past them.
OURS = ("fastopt.", "scipy.optimize._minimize", "scipy.optimize._optimize", "scipy._lib")
_class: Any = None


def empty_result(**fields: Any) -> OptimizeResult:
    """SciPy's ``OptimizeResult``; imported when first needed, for it takes longer than all of fastopt."""
    global _class
    if _class is None:
        from scipy.optimize import OptimizeResult

        _class = OptimizeResult
    return _class(fields)


def describe(status: int, machine: Machine) -> str:
    """One sentence: which test held, with its numbers, or what failed and what to do."""
    sentence = SENTENCES[Reason(status)]
    if "{" not in sentence:
        return sentence
    options = machine.options
    norm = "Euclidean norm" if options["norm"] else "largest element"
    return sentence.format(**{**options, "norm": norm}, gnorm=machine.gnorm, fun=machine.fun)


def make_result(machine: Machine, tree: Any, status: int | None = None) -> OptimizeResult:
    """The result of a machine that has stopped; ``tree`` turns its vectors into what the user has."""
    status = machine.status if status is None else status
    out = empty_result(
        x=tree(machine.x),
        fun=machine.fun,
        jac=tree(machine.jac),
        nit=machine.nit,
        nfev=machine.nfev,
        njev=machine.njev,
        nhev=machine.nhev,
        status=int(status),
        success=status in SUCCESSES,
        message=describe(status, machine),
    )
    if machine.method in ("newton_cg", "trust_cg"):
        out["nhessp"] = machine.nhessp
    if machine.method == "bfgs":
        out["hess_inv"] = machine.inverse_hessian()
    elif machine.method == "lbfgs":
        out["hess_inv"] = inverse_operator(machine)
    return out


def inverse_operator(machine: Machine) -> Any:
    """The inverse Hessian of lbfgs as a `scipy.sparse.linalg.LinearOperator`; ``todense()`` writes it out."""
    return _operator_class()(machine.size, machine.dtype, machine.options["memory"], machine.pairs_block())


@cache
def _operator_class() -> Any:
    from scipy.sparse.linalg import LinearOperator  # scipy.sparse comes with the first result that needs it

    class InverseHessian(LinearOperator):
        """H v from the pairs of a run that has ended, which are unpacked at the first product."""

        def __init__(self, n: int, dtype: np.dtype, memory: int, block: Any) -> None:
            super().__init__(dtype, (n, n))
            self._memory, self._block = memory, block
            self._pairs: Any = None

        def _matvec(self, v: np.ndarray) -> np.ndarray:
            if self._pairs is None:
                from fastopt._core.pairs import Pairs

                self._pairs = Pairs(self.shape[0], self._memory, self.dtype)
                if self._block is not None:
                    self._pairs.load(self._block)
            return self._pairs.product(np.ascontiguousarray(np.asarray(v).reshape(-1), self.dtype))[0]

        _rmatvec = _matvec

        def todense(self) -> np.ndarray:
            """The full symmetric matrix, (n, n)."""
            return self @ np.eye(self.shape[0], dtype=self.dtype)

    return InverseHessian


def warn(message: str, category: type[Warning]) -> None:
    """A warning whose line is the caller's, whether he called us or `scipy.optimize.minimize` did."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(OURS):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)


def show(result: OptimizeResult) -> None:
    """What ``disp`` prints: SciPy's lines; what is no success is a warning, as there."""
    if result.success:
        print(result.message)
    else:
        from scipy.optimize import OptimizeWarning

        warn(result.message, OptimizeWarning)
    print(f"         Current function value: {np.float64(result.fun):f}")
    print(f"         Iterations: {result.nit:d}")
    print(f"         Function evaluations: {result.nfev:d}")
    print(f"         Gradient evaluations: {result.njev:d}")
    if result.nhev:
        print(f"         Hessian evaluations: {result.nhev:d}")
