"""What the user handed in, as functions of a vector: fun, jac, hess and hessp, given or by differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._core import solve
from fastopt.minimize.methods import NEED_HESSIAN, NEED_PRODUCT
from fastopt.minimize.point import Point

if TYPE_CHECKING:
    from fastopt._core.solve import Compiled, Machine

__all__ = ["DIFFERENCES", "Objective"]

DIFFERENCES = ("2-point", "3-point", "cs")


class Value:
    """f as SciPy's differences call it. A class and not a closure, so that `workers` can take it to other processes."""

    def __init__(self, fun: Any, args: tuple[Any, ...], scheme: str | None) -> None:
        self.fun, self.args, self.scheme = fun, args, scheme
        self.calls = 0

    def __call__(self, x: np.ndarray) -> Any:
        self.calls += 1
        out = self.fun(np.copy(x), *self.args)
        return out if self.scheme == "cs" else solve.as_value(out)


class Secant:
    """A Hessian from SciPy's ``HessianUpdateStrategy``, which learns from each step and the change of the gradient."""

    def __init__(self, strategy: Any, n: int) -> None:
        self.strategy = strategy
        strategy.initialize(n, "hess")
        self.last: tuple[np.ndarray, np.ndarray] | None = None

    def at(self, x: np.ndarray, g: np.ndarray) -> Any:
        """The strategy, brought to x, where the gradient is g."""
        if self.last is None or not np.array_equal(x, self.last[0]):
            if self.last is not None:
                self.strategy.update(x - self.last[0], g - self.last[1])
            self.last = np.array(x, np.float64), np.array(g, np.float64)
        return self.strategy


def is_strategy(hess: Any) -> bool:
    return not isinstance(hess, type) and all(
        callable(getattr(hess, name, None)) for name in ("initialize", "update", "dot", "get_matrix")
    )


class Objective:
    """The callables of one run. ``machine`` is known after construction, before the first call.

    Parameters
    ----------
    owner : str
        Who asks, for messages.
    fun, args, jac, hess, hessp
        As `minimize` takes them.
    point : Point
    method : str
    outside : dict
        Options that are not the solver's: ``eps``, ``finite_diff_rel_step``, ``workers``, ``preconditioner``.
    """

    machine: Machine

    def __init__(
        self, owner: str, fun: Any, args: tuple[Any, ...], jac: Any, hess: Any, hessp: Any, point: Point, method: str,
        outside: dict[str, Any],
    ) -> None:  # fmt: skip
        self.point = point
        self.args = args
        self.eps = outside.get("eps", 1.4901161193847656e-08)  # SciPy's, the root of the rounding of float64
        self.rel_step = outside.get("finite_diff_rel_step")
        self.workers = _workers(owner, outside.get("workers"))
        self.compiled: Compiled | None = None
        self.hess: Callable[..., Any] | None = None
        self.hessp: Callable[..., Any] | None = None
        if solve.is_compiled(fun):
            if jac is not True and jac is not None:
                raise ValueError(
                    f"{owner}: jac is {jac!r}; a compiled objective gives the gradient itself, jac=True"
                )
            if len(args) > 1:
                raise ValueError(
                    f"{owner}: args has {len(args)} items; a compiled objective takes one array, as `user`"
                )
            self.compiled = solve.Compiled(fun, args[0] if args else None)
            jac = True
        elif not callable(fun):
            raise TypeError(f"{owner}: fun is {type(fun).__name__}; a function is wanted")
        self.raw = fun
        self.jac, self.differences = jac, False
        if self.compiled is not None:
            self.fun = fun
        elif jac is True:
            self.fun = fun if point.plain else self._joint_tree
        else:
            self.fun = point.takes_tree(fun)
            if callable(jac):
                self.jac = point.gives_tree(jac, "the gradient that jac returned")
            elif jac is None or jac is False or jac in DIFFERENCES:
                self.scheme = jac or None
                self.jac, self.differences = self._gradient_by_differences, True
            else:
                raise ValueError(
                    f"{owner}: jac is {jac!r}; True, a function, None or one of "
                    f"{', '.join(map(repr, DIFFERENCES))} is wanted"
                )
        given = outside.get("preconditioner")
        self.preconditioner = (
            None if given is None else point.gives_tree(given, "what the preconditioner returned")
        )
        self._second(owner, method, hess, hessp)

    def _second(self, owner: str, method: str, hess: Any, hessp: Any) -> None:
        """Hessians and their products, where the method asks for them."""
        for name, value in (("hess", hess), ("hessp", hessp)):
            schemes = DIFFERENCES if name == "hess" else ()
            if (
                value is not None
                and not callable(value)
                and not (isinstance(value, str) and value in schemes)
                and not (schemes and is_strategy(value))
            ):
                offer = f", {', '.join(map(repr, schemes))}" if schemes else ""
                raise ValueError(f"{owner}: {name} is {value!r}; a function{offer} or None is wanted")
        if isinstance(hess, str) and self.differences:
            raise ValueError(
                f"{owner}: hess is {hess!r}, differences of a gradient that is made of differences; give jac"
            )
        if method in NEED_HESSIAN:
            if hess is None:
                raise ValueError(
                    f"{owner}: method {method!r} needs hess: a function, or '2-point' for differences of the gradient"
                )
            if callable(hess):
                self.hess = self._counted(hess)
            elif is_strategy(hess):
                self.secant = Secant(hess, self.point.vector.size)
                self.hess = self._hessian_by_secant
            else:
                self.hess_scheme = hess
                self.hess = self._hessian_by_differences
        elif method in NEED_PRODUCT:
            if hessp is not None:
                given = self.point.gives_tree(hessp, "what hessp returned")
                # Both vectors become trees; args come last, as SciPy has them.
                if self.point.plain:
                    self.hessp = given if not self.args else lambda x, v: hessp(x, v, *self.args)
                else:
                    self.hessp = lambda x, v: given(x, self.point.tree(v), *self.args)
            elif callable(hess):
                self.full = self._counted(hess)
                self.at: tuple[int, Any] = (-1, None)
                self.hessp = self._product_with_full
            elif is_strategy(hess):
                self.secant = Secant(hess, self.point.vector.size)
                self.hessp = lambda x, v: self.secant.at(x, self.machine.jac).dot(v)
            else:
                self.hessp = self._product_by_differences

    def run(self, machine: Machine, callback: Callable[[Machine], None] | None) -> None:
        """Until the machine stops."""
        self.machine = machine
        try:
            if self.compiled is not None:
                machine.run_compiled(self.compiled, self.hess, self.hessp, self.preconditioner, callback)
            else:
                machine.run(
                    self.fun,
                    self.args,
                    self.jac,
                    self.hess,
                    self.hessp,
                    self.preconditioner,
                    callback,
                    with_value=self.differences,
                )
        finally:
            # Bound methods of this object: with them it would live until the next garbage collection.
            self.fun = self.jac = self.hess = self.hessp = self.workers = None

    # ---- trees ----
    def _joint_tree(self, x: np.ndarray, *args: Any) -> tuple[Any, np.ndarray]:
        f, g = solve.unpack(self.raw(self.point.tree(x), *args))
        return f, self.point.flat(g, "the gradient that fun returned")

    # ---- first derivatives ----
    def _gradient_by_differences(self, x: np.ndarray, f: float) -> np.ndarray:
        """SciPy's own, with its steps: absolute ones of ``eps`` for jac=None, relative ones for a named scheme."""
        from scipy.optimize._numdiff import approx_derivative

        value = Value(self.fun, self.args, self.scheme)
        many = {} if self.workers is None else {"workers": self.workers, "full_output": True}
        try:
            out = approx_derivative(
                value, x.copy(), method=self.scheme or "2-point", rel_step=self.rel_step if self.scheme else None,
                abs_step=None if self.scheme else self.eps, f0=f, **many,
            )  # fmt: skip
            if many:  # calls in other processes are not seen here
                out, info = out
                value.calls = info["nfev"]
            return out
        finally:
            self.machine.charge(nfev=value.calls)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """The gradient at a point that the machine did not ask for; counted."""
        if self.compiled is not None:
            self.machine.charge(nfev=1, njev=1)
            return self.compiled(x)[1]
        if self.jac is True:
            self.machine.charge(nfev=1, njev=1)
            g = solve.unpack(self.fun(np.copy(x), *self.args))[1]
        elif self.differences:
            self.machine.charge(nfev=1, njev=1)
            g = self._gradient_by_differences(x, solve.as_value(self.fun(np.copy(x), *self.args)))
        else:
            self.machine.charge(njev=1)
            g = self.jac(np.copy(x), *self.args)
        return solve.as_vector(g, x.size, x.dtype, "the gradient")

    # ---- second derivatives ----
    def _counted(self, hess: Callable[..., Any]) -> Callable[[np.ndarray], Any]:
        return lambda x: hess(self.point.tree(x), *self.args)

    def _hessian_by_differences(self, x: np.ndarray) -> np.ndarray:
        from scipy.optimize._numdiff import approx_derivative

        self.machine.charge(nhev=-1)  # the machine counts a Hessian; none was evaluated
        h = approx_derivative(
            self._complex_gradient if self.hess_scheme == "cs" else self.gradient, x.copy(), method=self.hess_scheme,
            rel_step=self.rel_step, f0=self.machine.jac,
        )  # fmt: skip
        h = np.atleast_2d(h)
        return 0.5 * (h + h.T)

    def _hessian_by_secant(self, x: np.ndarray) -> np.ndarray:
        self.machine.charge(nhev=-1)  # as above
        return self.secant.at(x, self.machine.jac).get_matrix()

    def _complex_gradient(self, x: np.ndarray) -> Any:
        joint = self.jac is True
        self.machine.charge(nfev=int(joint), njev=1)
        answer = (self.fun if joint else self.jac)(np.copy(x), *self.args)
        return np.asarray(solve.unpack(answer)[1] if joint else answer)

    def _product_with_full(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """H v from the Hessian itself, evaluated once an iteration."""
        if self.at[0] != self.machine.nit:
            self.at = (self.machine.nit, self.full(x))
            self.machine.charge(nhev=1)
        h = self.at[1]
        if not hasattr(h, "shape"):
            h = np.asarray(h)
        if h.shape != (x.size, x.size):
            raise ValueError(f"hess returned shape {h.shape}; {(x.size, x.size)} is needed")
        return h @ v

    def _product_by_differences(self, x: np.ndarray, v: np.ndarray) -> np.ndarray:
        """H v by (grad f(x + h v) - grad f(x)) / h, h |v| = 2 sqrt(eps) (1 + |x|) (Nocedal and Wright, section 7.1)."""
        size = float(np.linalg.norm(v))
        if size == 0:
            return np.zeros_like(v)
        h = 2 * float(np.sqrt(np.finfo(x.dtype).eps)) * (1 + float(np.linalg.norm(x))) / size
        at = (x + h * v).astype(x.dtype)
        return (self.gradient(at).astype(np.float64) - self.machine.jac) / h


def _workers(owner: str, workers: Any) -> Any:
    """The option ``workers`` of SciPy's differences: a function like `map`, or how many processes."""
    if workers is None:
        return None
    if not callable(workers) and (
        not isinstance(workers, int) or isinstance(workers, bool) or workers < -1 or not workers
    ):
        raise ValueError(
            f"{owner}: workers is {workers!r}; a function like map or a number of processes is wanted"
        )
    from inspect import signature

    from scipy.optimize._numdiff import approx_derivative

    if "workers" not in signature(approx_derivative).parameters:
        raise ValueError(f"{owner}: workers needs SciPy 1.16 or later")
    return workers
