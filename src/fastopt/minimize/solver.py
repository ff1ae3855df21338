"""Ask and tell: a run whose evaluations are the caller's, and that can be saved between any two of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastopt._core import solve
from fastopt.minimize.methods import begin, method_name, split_options
from fastopt.minimize.point import Point
from fastopt.minimize.result import Reason, make_result

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

__all__ = ["Solver"]


class Solver:
    """A minimizer that asks for evaluations and is told them.

    Parameters
    ----------
    x0 : array_like or tree of arrays
        Where to start; as `minimize` takes it.
    method : str
        As `minimize` takes it.
    options : dict, optional
        As `minimize` takes them, but those about differences and printing. ``preconditioner=True``: such products are
        asked for too.
    tol : float, optional
        The same as the option ``gtol``.

    Attributes
    ----------
    request : str
        What is waited for: "evaluate", "hessian", "product", "precondition", or "stopped".
    done : bool
        Nothing is asked for any more.
    result : scipy.optimize.OptimizeResult
        The best point so far; ``status`` is -1 while the run goes on.

    Examples
    --------
    >>> import fastopt as fo
    >>> s = fo.Solver([3.0, -4.0], method="cg")
    >>> while not s.done:
    ...     x = s.ask()
    ...     s.tell(float(x @ x), 2 * x)
    >>> s.result.x
    array([0., 0.])
    """

    def __init__(
        self,
        x0: Any,
        method: str = "lbfgs",
        options: Mapping[str, Any] | None = None,
        tol: float | None = None,
    ) -> None:
        owner = "Solver"
        name = method_name(owner, method)
        options = dict(options or {})
        if tol is not None:
            options.setdefault("gtol", tol)
        asked = options.pop("preconditioner", None)
        if asked not in (None, True, False):
            raise TypeError(
                f"{owner}: preconditioner is {asked!r}; True is wanted: the products are asked for"
            )
        if asked:
            split_options(owner, name, {"preconditioner": bool})
        fields, outside = split_options(owner, name, options)
        if foreign := set(outside) - {"hess_inv0"}:
            raise ValueError(
                f"{owner}: option {min(foreign)!r} has no meaning here; the evaluations are the caller's"
            )
        if asked:
            fields["precondition"] = 1
        self._point = Point(owner, x0)
        self._machine = begin(owner, name, self._point.vector, fields, outside)
        self._machine.ask()

    def __repr__(self) -> str:
        m = self._machine
        return f"<Solver {m.method}: {self.request}, nit {m.nit}, nfev {m.nfev}, lowest {m.best:g}>"

    @property
    def request(self) -> str:
        return self._machine.request

    @property
    def done(self) -> bool:
        return self._machine.status >= 0

    @property
    def needs_gradient(self) -> bool:
        """Whether `tell` must be given a gradient with this evaluation; one may always be given."""
        return self._machine.needs_gradient

    @property
    def x(self) -> Any:
        """The point where the solver stands: the last step taken."""
        return self._point.tree(self._machine.x)

    def ask(self) -> Any:
        """What to work on, as arrays of the caller's own; asking twice gives the same.

        Returns
        -------
        "evaluate" and "hessian": x. "product": the pair (x, v). "precondition": the vector v.

        Raises
        ------
        RuntimeError
            The solver has stopped.
        """
        request, vector = self._machine.ask()
        if request == "stopped":
            raise RuntimeError("the solver has stopped and asks nothing more; its result is there")
        tree = self._point.tree(vector)
        return (self.x, tree) if request == "product" else tree

    def tell(self, answer: Any, gradient: Any = None) -> None:
        """The answer to `ask`: value and gradient at x, the Hessian, H v, or P v. What is not fit is refused, and
        nothing changes.

        ``answer`` may be None where only the gradient at a point is wanted whose value was told before.
        """
        request = self._machine.request
        if request == "stopped":
            raise RuntimeError("the solver has stopped and asks nothing more; its result is there")
        if request == "evaluate":
            if gradient is not None:
                gradient = self._point.flat(gradient, "the gradient")
        elif gradient is not None:
            raise ValueError(f"tell got a gradient; the request is {request!r}")
        elif request in ("product", "precondition"):
            answer = self._point.flat(answer, "the answer")
        self._machine.tell(answer, gradient)

    def stop(self) -> None:
        """End the run; the best point is the result, with status 99."""
        self._machine.stop(int(Reason.BY_CALLBACK))

    @property
    def result(self) -> OptimizeResult:
        if self.done:
            return make_result(self._machine, self._point.tree)
        # A stopped copy: the run itself goes on.
        copy = solve.Machine.from_state(self._machine.state())
        copy.stop(int(Reason.BY_CALLBACK))
        out = make_result(copy, self._point.tree)
        out.update(status=-1, success=False, message="The run has not ended.")
        return out

    # ---- state ----
    def state_dict(self) -> dict[str, Any]:
        """Everything that the run goes on from, bit for bit: plain numbers, strings and one array of bytes.

        It fits the machine and the build that made it; it runs nothing when it is read.
        """
        m = self._machine
        return {
            "kind": "fastopt.Solver",
            "method": m.method,
            "n": int(self._point.vector.size),
            "dtype": self._point.vector.dtype.name,
            "block": np.frombuffer(m.state(), np.uint8).copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, of a solver made with an x0 of the same size and dtype.

        Raises
        ------
        ValueError
            The state is torn, foreign, of another build or of another problem; the solver is as it was.
        """
        if not isinstance(state, Mapping) or state.get("kind") != "fastopt.Solver" or "block" not in state:
            raise ValueError("state is not what Solver.state_dict gave")
        block = np.asarray(state["block"])
        if (
            block.dtype == np.int64
            and block.ndim == 1
            and block.size
            and block.min() >= 0
            and block.max() < 256
        ):
            block = block.astype(np.uint8)  # JSON has only numbers
        if block.dtype != np.uint8 or block.ndim != 1:
            raise ValueError(
                f"state['block'] is {block.dtype} of shape {block.shape}; bytes (uint8) in one row are wanted"
            )
        machine = solve.Machine.from_state(block.tobytes())
        vector = self._point.vector
        if machine.size != vector.size or machine.dtype != vector.dtype:
            raise ValueError(
                f"state is of {machine.size} elements of {machine.dtype}; "
                f"this solver has {vector.size} of {vector.dtype}"
            )
        if state.get("method") != machine.method:
            raise ValueError(
                f"state says method {state.get('method')!r} and holds {machine.method!r}; it is torn"
            )
        machine.ask()  # a state from before the first request goes on to it
        self._machine = machine

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._point.tree(self._point.vector), self.state_dict())


def _restore(x0: Any, state: dict[str, Any]) -> Solver:
    solver = Solver(x0, str(state["method"]))
    solver.load_state_dict(state)
    return solver
