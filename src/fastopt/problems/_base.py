"""What a test problem is, and how one is written down.

A formula is a function of x that gives the value and a function for the gradient; what both need is worked
out once, between them. Sums of squares give their residuals instead (`squares`), with the product J'r, the
Jacobian J, or both, and, for the Hessian ``2 (J'J + sum_i r_i r_i'')``, the second term.

Formulas must hold for complex x (no absolute value, maximum, or conjugate), so that derivatives can be
checked by complex steps, and keep x's precision: constants are Python numbers or come through `like`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastopt._checks import check_integer

__all__ = [
    "Array", "Formula", "Problem", "Residuals", "Sizes", "Spec",
    "blocks", "diagonal", "index", "like", "problem", "shift", "squares", "symmetric", "with_hessian",
]  # fmt: skip

Array: TypeAlias = NDArray[Any]
#: x -> (value, function of nothing that gives the gradient)
Formula: TypeAlias = Callable[[Array], tuple[Any, Callable[[], Array]]]

#: Imaginary step: far below the rounding of any precision, far above where its products underflow.
_STEP = 1e-20


# Constants in the precision of x.


def like(x: Array, values: ArrayLike) -> Array:
    """Real constants in the precision of `x`."""
    return np.asarray(values, dtype=x.real.dtype)


def index(x: Array, last: int, first: int = 1) -> Array:
    """first, ..., last as reals in the precision of `x`."""
    return np.arange(first, last + 1, dtype=x.real.dtype)


# Small pieces of linear algebra.


def shift(v: Array, k: int) -> Array:
    """w[i] = v[i + k], with zeros from beyond the ends."""
    w = np.zeros_like(v)
    if k >= 0:
        w[: v.size - k] = v[k:]
    else:
        w[-k:] = v[:k]
    return w


def diagonal(v: Array, k: int = 0) -> Array:
    """The matrix with `v` on its k-th diagonal."""
    return np.diag(v, k)


def symmetric(x: Array, n: int, entries: Mapping[tuple[int, int], Any]) -> Array:
    """The symmetric n by n matrix with these entries of its upper triangle, zero elsewhere."""
    matrix = np.zeros((n, n), dtype=x.dtype)
    for (i, j), value in entries.items():
        matrix[i, j] = matrix[j, i] = value
    return matrix


def blocks(x: Array, k: int, entries: Mapping[tuple[int, int], Any]) -> Array:
    """As `symmetric`, for k by k blocks along the diagonal: an entry holds one value for each block."""
    matrix = np.zeros((x.size, x.size), dtype=x.dtype)
    start = np.arange(0, x.size, k)
    for (i, j), value in entries.items():
        matrix[start + i, start + j] = value
        matrix[start + j, start + i] = value
    return matrix


# Sums of squares.


class Residuals(NamedTuple):
    """Residuals r[m] of ``f = sum r^2`` at one x, and functions for their derivatives there.

    `pull` maps r to J'r; without it, `jac` is asked. `jac` gives J[m, n]; `curve` maps r to
    ``sum_i r_i r_i''``. Without the last two there is no Hessian.
    """

    r: Array
    jac: Callable[[], Array] | None = None
    curve: Callable[[Array], Array] | None = None
    pull: Callable[[Array], Array] | None = None


def squares(terms: Callable[[Array], Residuals]) -> Formula:
    """The formula of ``f = sum r^2``; its attribute `hessian` is the Hessian."""

    def formula(x: Array) -> tuple[Any, Callable[[], Array]]:
        at = terms(x)

        def gradient() -> Array:
            if at.pull is not None:
                return 2 * at.pull(at.r)
            assert at.jac is not None
            return 2 * (at.r @ at.jac())

        return at.r @ at.r, gradient

    def hessian(x: Array) -> Array:
        at = terms(x)
        assert at.jac is not None and at.curve is not None
        jac = at.jac()
        return 2 * (jac.T @ jac + at.curve(at.r))

    formula.hessian = hessian  # type: ignore[attr-defined]
    formula.__doc__ = terms.__doc__
    return formula


def with_hessian(hessian: Callable[[Array], Array]) -> Callable[[Formula], Formula]:
    """Decorator: gives a formula that is not written as `squares` its Hessian."""

    def add(formula: Formula) -> Formula:
        formula.hessian = hessian  # type: ignore[attr-defined]
        return formula

    return add


# Problems.


@dataclass(frozen=True, eq=False)
class Problem:
    """An unconstrained test problem: minimize f over x[n], from x0.

    Functions work in the precision of x (integers as float64), also for complex x, and never write to it.
    Where a formula overflows they give Inf or NaN, without a warning.

    Attributes
    ----------
    name : str
        As `get` takes it.
    source : str
        Where the formula is published, e.g. ``"MGH 1"``, ``"CUTEst ARWHEAD"``.
    n : int
        Number of variables.
    minimum : float or None
        The least value known; None where it is not known for this n.
    minima : tuple of float
        Values where minimizers are known to end, the least one first; for most problems that one alone. The
        others are local minima or, where `note` says so, a saddle or a plateau.
    note : str
        What to know before comparing with `minimum`; mostly empty.
    hess : callable or None
        The Hessian ``hess(x)``, by formula; None for the large problems.
    """

    name: str
    source: str
    n: int
    minimum: float | None
    minima: tuple[float, ...]
    note: str
    hess: Callable[[ArrayLike], Array] | None = field(repr=False)
    _formula: Formula = field(repr=False)
    _start: Array = field(repr=False)
    _minimizer: Array | None = field(repr=False)

    @property
    def x0(self) -> NDArray[np.float64]:
        """The published starting point, a new array each time."""
        return self._start.copy()

    @property
    def minimizer(self) -> NDArray[np.float64] | None:
        """A point with f = `minimum` (a new array each time), or None where only the value is known."""
        return None if self._minimizer is None else self._minimizer.copy()

    def f(self, x: ArrayLike) -> float:
        """The value at x."""
        with np.errstate(all="ignore"):
            return self._formula(self._check(x))[0].item()

    def grad(self, x: ArrayLike) -> Array:
        """The gradient at x, of x's dtype."""
        return self.fun_and_grad(x)[1]

    def fun_and_grad(self, x: ArrayLike) -> tuple[float, Array]:
        """Value and gradient at x, for little more than the dearer of the two."""
        with np.errstate(all="ignore"):
            value, gradient = self._formula(self._check(x))
            return value.item(), gradient()

    def hessp(self, x: ArrayLike, v: ArrayLike) -> Array:
        """The Hessian at a real x times v: the gradient's derivative along v by a complex step, exact to rounding."""
        at = self._check(x)
        if at.dtype.kind == "c":
            raise TypeError(f"{self.name}: x is complex; hessp wants a real x")
        along = self._check(v, "v").astype(at.dtype, copy=False)
        with np.errstate(all="ignore"):
            return self._formula(at + 1j * _STEP * along)[1]().imag / at.dtype.type(_STEP)

    def _check(self, x: ArrayLike, name: str = "x") -> Array:
        array = np.asarray(x)
        if array.shape != (self.n,):
            raise ValueError(f"{self.name}: {name} has shape {array.shape}; ({self.n},) is wanted")
        if array.dtype.kind in "iub":
            return array.astype(np.float64)
        if array.dtype.kind not in "fc":
            raise TypeError(f"{self.name}: {name} is of {array.dtype}; real or complex numbers are wanted")
        return array


@dataclass(frozen=True)
class Sizes:
    """Which n are legal: multiples of `step` from `least` to `most`."""

    least: int
    step: int = 1
    most: int | None = None

    def __contains__(self, n: int) -> bool:
        return n >= self.least and n % self.step == 0 and (self.most is None or n <= self.most)

    def __str__(self) -> str:
        if self.least == self.most:
            return f"n = {self.least}"
        kind = "n" if self.step == 1 else f"n a multiple of {self.step},"
        return f"{kind} >= {self.least}" if self.most is None else f"{kind} from {self.least} to {self.most}"


@dataclass(frozen=True)
class Spec:
    """A problem for every legal n. What depends on n is a function of it; minima may be a table over n."""

    name: str
    source: str
    group: str
    sizes: Sizes
    n: int
    formula: Formula
    x0: Callable[[int], ArrayLike]
    minima: Callable[[int], tuple[float, ...]]
    minimizer: Callable[[int], ArrayLike | None]
    note: str
    aliases: tuple[str, ...]

    def make(self, n: int | None = None) -> Problem:
        """The problem in `n` variables."""
        n = self.n if n is None else check_integer(self.name, "n", n, 1)
        if n not in self.sizes:
            raise ValueError(f"{self.name}: n is {n}; {self.sizes} is wanted")
        minima = self.minima(n)
        end = self.minimizer(n)
        hessian = getattr(self.formula, "hessian", None)
        made = Problem(
            name=self.name, source=self.source, n=n, note=self.note,
            minimum=minima[0] if minima else None, minima=minima,
            hess=None,
            _formula=self.formula,
            _start=np.array(np.broadcast_to(self.x0(n), n), dtype=np.float64),
            _minimizer=None if end is None else np.array(np.broadcast_to(end, n), dtype=np.float64),
        )  # fmt: skip
        if hessian is not None:

            def hess(x: ArrayLike) -> Array:
                with np.errstate(all="ignore"):
                    return hessian(made._check(x))

            object.__setattr__(made, "hess", hess)
        return made


def problem(
    into: list[Spec],
    name: str,
    source: str,
    *,
    sizes: Sizes | int,
    n: int | None = None,
    x0: Callable[[int], ArrayLike] | ArrayLike,
    minima: Callable[[int], Any] | Mapping[int, Any] | Any = 0.0,
    minimizer: Callable[[int], ArrayLike | None] | ArrayLike | None = None,
    note: str = "",
    aliases: tuple[str, ...] = (),
    group: str,
) -> Callable[[Formula], Formula]:
    """Decorator: lists a formula as a problem.

    `sizes` is a number for problems of one size; `minima` one value, a tuple of values with the least one
    first, a table of either by n (for other n nothing is known), or a function of n.
    """
    legal = sizes if isinstance(sizes, Sizes) else Sizes(sizes, 1, sizes)

    def of_n(value: Any) -> Callable[[int], Any]:
        return value if callable(value) else lambda n: value

    def known(n: int) -> tuple[float, ...]:
        values = minima.get(n, ()) if isinstance(minima, Mapping) else of_n(minima)(n)
        return tuple(float(v) for v in values) if isinstance(values, tuple) else (float(values),)

    def add(formula: Formula) -> Formula:
        into.append(
            Spec(
                name,
                source,
                group,
                legal,
                legal.least if n is None else n,
                formula,
                of_n(x0),
                known,
                of_n(minimizer),
                note,
                aliases,
            )
        )
        return formula

    return add
