"""Linear conjugate gradients: A x = b for a symmetric positive definite A that is a matrix or only a product.

Sources: Hestenes and Stiefel (1952), J. Res. Nat. Bur. Standards 49; Shewchuk (1994), "An introduction to the conjugate
gradient method without the agonizing pain", appendix B (preconditioner, residuals computed anew); Deep Learning,
section 8.6.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt.minimize.api import wants_result
from fastopt.minimize.point import as_real
from fastopt.minimize.products import LinearMap, narrow, vectors
from fastopt.minimize.result import Reason, empty_result

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

__all__ = ["cg"]

#: The quadratic of the docstring has the gradient A x - b: the reasons of `minimize` fit, in these words.
SENTENCES = {
    Reason.GRADIENT_SMALL: "The residual, ||b - A x|| = {norm:.3g}, is at most {bound:.3g}.",
    Reason.ITERATIONS: (
        "The limit of maxiter = {maxiter} iterations is reached; the residual is {norm:.3g}, not {bound:.3g}."
    ),
    Reason.PRECISION: (
        "Rounding lets the residual, {norm:.3g}, fall no further, and {bound:.3g} was asked for; "
        "a larger rtol, a preconditioner or float64 may end in success."
    ),
    Reason.NONFINITE: "A product with {culprit}, or a number made from it, is NaN or infinite.",
    Reason.UNBOUNDED: "A is not positive definite: p'A p = {curvature:.3g} for a direction p.",
    Reason.NOT_DESCENT: "M is not positive definite: r'M r = {curvature:.3g} for a residual r.",
    Reason.BY_CALLBACK: "The callback raised StopIteration; the residual is {norm:.3g}.",
}

#: The residual is computed anew every so many iterations, or sqrt(n) if that is more (Shewchuk, appendix B).
PERIOD = 50


def cg(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[..., Any] | None = None,
) -> OptimizeResult:
    r"""Solve A x = b by conjugate gradients, A symmetric and positive definite.

    .. math:: \min_x\; q(x) = \tfrac12 x^\top A x - b^\top x, \qquad r = b - A x = -\nabla q(x)

    .. math:: \alpha = \frac{r^\top M r}{p^\top A p}, \quad x \leftarrow x + \alpha p, \quad
              r \leftarrow r - \alpha A p, \quad
              \beta = \frac{r_{new}^\top M r_{new}}{r^\top M r}, \quad p \leftarrow M r + \beta p

    One product with A an iteration. With exact arithmetic it ends after as many iterations as A (with M: M A) has
    distinct eigenvalues.

    Parameters
    ----------
    A : array, SciPy sparse matrix, LinearOperator or function, of shape (n, n)
        A function is called as ``A(v)`` and gives back the product, shape (n,). It must not change ``v``, which is
        read-only and holds other numbers at the next call.
    b : array, shape (n,)
        Right side. The run is in float32 if A, b and x0 all are (a function goes by b), else in float64; sums and
        scalars are double either way. Other real dtypes are converted.
    x0 : array, shape (n,), optional
        Where to start; zeros if not given. It is not changed.
    rtol, atol : float >= 0, default 1e-5 and 0
        Success is ``||b - A x|| <= max(rtol * ||b||, atol)``, Euclidean norms.
    maxiter : int >= 0, optional
        Limit of iterations; 10 n if not given.
    M : array, SciPy sparse matrix, LinearOperator or function, optional
        Preconditioner: symmetric, positive definite, near the inverse of A.
    callback : callable, optional
        Called after each iteration as ``callback(intermediate_result=OptimizeResult)`` if that is its parameter's name,
        else as ``callback(xk)``. ``x`` is a read-only view of the running iterate. `StopIteration` ends the run.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x``, ``fun`` (q at x), ``jac`` (A x - b), ``residual`` (``||b - A x||``), ``nit``, ``nfev`` (products with A),
        ``success``, ``status``, ``message``. The last three speak of the real residual: the one that the recurrence
        carries along is replaced by b - A x before success is claimed, and compared with it every max(50, sqrt(n))
        iterations. Where the two have parted, the search starts anew from x; if the real one has then not halved
        since the last such start, the run ends with the better of the two points (status 2). A direction without
        positive curvature ends it with the point before (status 7): q falls at every step, so that is the best.

    Raises
    ------
    TypeError, ValueError
        Arguments of the wrong kind, shape or range, or numbers that are not finite; A is found to be not symmetric.
        A matrix is tried on one fixed vector before the run; for other A the first two products of the run are
        compared (u'A v and v'A u).

    Examples
    --------
    >>> import numpy as np
    >>> import fastopt as fo
    >>> A = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> result = fo.cg(A, [1.0, 2.0], rtol=1e-12)
    >>> result.x.round(4), result.nit
    (array([0.0909, 0.6364]), 2)
    """
    rtol, atol = check_number("cg", "rtol", rtol), check_number("cg", "atol", atol)
    given = as_real("cg", "b", b)
    if given.ndim != 1:
        raise ValueError(f"cg: b has shape {given.shape}; one right side, of shape (n,), is wanted")
    n = given.size
    starts = [] if x0 is None else [as_real("cg", "x0", x0)]
    if starts and starts[0].shape != (n,):
        raise ValueError(f"cg: x0 has shape {starts[0].shape}; {(n,)} is wanted, that of b")
    dtype = np.dtype(
        np.float32 if narrow(A) and all(a.dtype == np.float32 for a in (given, *starts)) else np.float64
    )
    for name, a in zip(("b", "x0"), (given, *starts), strict=False):
        if not np.isfinite(a).all():
            at = int(np.flatnonzero(~np.isfinite(a))[0])
            raise ValueError(f"cg: {name} is {a[at]} at element {at}; finite numbers are wanted")
    limit = 10 * n if maxiter is None else check_integer("cg", "maxiter", maxiter, 0)
    if callback is not None and not callable(callback):
        raise TypeError(f"cg: callback is {type(callback).__name__}; a function or None is wanted")
    run = _Run(
        LinearMap("cg", "A", A, n, dtype),
        None if M is None else LinearMap("cg", "M", M, n, dtype),
        given.astype(dtype),
        np.array(starts[0], dtype, order="C") if starts else np.zeros(n, dtype),
        limit,
    )
    return run.solve(rtol, atol, callback)


class _Run:
    """One system: A and M, b[n], the iterate x[n] and its residual r[n], all multiplied by `scale`."""

    def __init__(self, A: LinearMap, M: LinearMap | None, b: np.ndarray, x: np.ndarray, limit: int) -> None:
        self.A, self.M, self.b, self.x, self.limit = A, M, b, x, limit
        self.dot, self.axpy, self.scal = vectors(b.size, b.dtype)
        # Squares of numbers beyond these leave the range of double; a power of two changes no bit otherwise.
        largest = float(np.abs(b).max(initial=0.0))
        far = b.dtype == np.float64 and largest > 0 and not 1e-100 < largest < 1e100
        self.scale = 2.0 ** -min(max(math.frexp(largest)[1], -1000), 1000) if far else 1.0
        if far:
            b *= self.scale
            x *= self.scale
        self.nit = 0
        self.curvature = math.nan
        self.culprit = "A"

    def residual(self) -> np.ndarray:
        """b - A x, in an array of its own."""
        return self.b - self.A(self.x) if self.x.any() else self.b.copy()

    def solve(self, rtol: float, atol: float, callback: Callable[..., Any] | None) -> OptimizeResult:
        if not self.b.any():
            self.x[...] = 0  # the solution, whatever the start
        self.bound = max(rtol * math.sqrt(self.dot(self.b, self.b)), atol * self.scale)
        self.r = self.residual()
        self.exact = True
        status = self.iterate(self.report(callback))
        if not self.exact:
            self.r = self.residual()
        norm = math.sqrt(self.dot(self.r, self.r))
        if status == Reason.ITERATIONS and norm <= self.bound:
            status = Reason.GRADIENT_SMALL
        out = self.state()
        out["residual"] = norm / self.scale
        out["status"], out["success"] = int(status), status == Reason.GRADIENT_SMALL
        out["message"] = SENTENCES[status].format(
            norm=norm / self.scale,
            bound=self.bound / self.scale,
            maxiter=self.limit,
            culprit=self.culprit,
            curvature=self.curvature,
        )
        return out

    def iterate(self, report: Callable[[], bool]) -> Reason:
        """Runs until there is a reason to stop; x is then the point to give back."""
        dot, axpy, scal = self.dot, self.axpy, self.scal
        A, M, x = self.A, self.M, self.x
        period = max(PERIOD, math.isqrt(self.b.size))
        p = np.empty_like(x)
        direction = p.view()
        direction.flags.writeable = False
        first: tuple[np.ndarray, np.ndarray] | None = None
        fresh = True  # the next direction is M r alone
        rho_old = 1.0
        rr = dot(self.r, self.r)
        anew, kept = math.inf, x  # real residual where the search last started anew, and the point
        while True:
            if not math.isfinite(rr):
                return Reason.NONFINITE
            done = math.sqrt(rr) <= self.bound
            if done and self.exact:
                return Reason.GRADIENT_SMALL
            if not self.exact and (done or self.nit % period == 0):
                true = self.residual()
                norm = math.sqrt(dot(true, true))
                axpy(true, self.r, -1.0)
                if done or not math.sqrt(dot(self.r, self.r)) <= 0.1 * norm:
                    self.r, self.exact, fresh, rr = true, True, True, norm * norm
                    if norm > self.bound:
                        if not norm <= 0.5 * anew:
                            if not norm <= anew:
                                x[...], self.exact = kept, False
                            return Reason.PRECISION
                        anew, kept = norm, x.copy()
                    continue
                axpy(true, self.r, 1.0)  # the recurrence is right, and goes on undisturbed
            if self.nit >= self.limit:
                return Reason.ITERATIONS

            z, rho = self.r, rr
            if M is not None:
                z = M(self.r)
                rho = dot(self.r, z)
                if not 0 < rho < math.inf:
                    self.culprit, self.curvature = "M", rho / self.scale**2
                    return Reason.NOT_DESCENT if rho <= 0 else Reason.NONFINITE
            if fresh:
                p[...] = z
            else:
                scal(rho / rho_old, p)
                axpy(z, p, 1.0)
            q = A(direction)
            curvature = dot(p, q)
            if not math.isfinite(curvature):
                return Reason.NONFINITE
            if curvature <= 0:
                self.curvature = curvature / self.scale**2
                return Reason.UNBOUNDED
            if not A.checked:
                if first is None:
                    first = p.copy(), q.copy()
                else:
                    A.compare(dot(first[0], q), dot(p, first[1]), first, (p, q), dot)
                    first = None
            alpha = rho / curvature
            axpy(p, x, alpha)
            axpy(q, self.r, -alpha)
            rr, rho_old = dot(self.r, self.r), rho
            fresh = self.exact = False
            self.nit += 1
            if report():
                return Reason.BY_CALLBACK

    def state(self) -> OptimizeResult:
        """x, q(x) and what goes with them, as the caller scaled them."""
        # q(x) = x'A x / 2 - b'x, with A x = b - r
        fun = -0.5 * (self.dot(self.x, self.b) + self.dot(self.x, self.r))
        return empty_result(
            x=self.x if self.scale == 1 else self.x / self.scale,
            fun=fun / self.scale / self.scale,
            jac=(0.0 - self.r) / self.scale,  # no -0
            nit=self.nit,
            nfev=self.A.count,
        )

    def report(self, callback: Callable[..., Any] | None) -> Callable[[], bool]:
        """Tells the callback about the iterate; True if it wants to stop."""
        if callback is None:
            return lambda: False
        whole = wants_result(callback)

        def tell() -> bool:
            x = (self.x if self.scale == 1 else self.x / self.scale).view()
            x.flags.writeable = False
            try:
                if whole:
                    seen = self.state()
                    seen["x"] = x
                    seen["residual"] = math.sqrt(self.dot(self.r, self.r)) / self.scale
                    callback(intermediate_result=seen)
                else:
                    callback(x)
            except StopIteration:
                return True
            return False

        return tell
