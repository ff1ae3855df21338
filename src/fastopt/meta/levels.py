"""One level after the other: the engine of `fastopt.meta.continuation`, which has the words."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastopt._checks import check_keys, check_number
from fastopt._parameters import load_states
from fastopt._progress import Progress, reporting
from fastopt._trees import _at, flatten_tree, map_tree

__all__ = ["Attempt", "Continuation", "ContinuationResult"]


class Attempt(NamedTuple):
    """One level that was tried.

    Attributes
    ----------
    place : float
        Where between the levels it lies: 0 the first, 1 the second, and so on.
    level : float
        What the family got.
    fun : float
        Its value at the end of the solve.
    move : float
        Euclidean distance from the end of the level before; 0 for the first.
    nfev : int
        Evaluations of the family.
    refused : str
        Why the level was not taken; empty if it was.
    """

    place: float
    level: float
    fun: float
    move: float
    nfev: int
    refused: str = ""


@dataclass
class ContinuationResult:
    """What a continuation has come to.

    Attributes
    ----------
    x : tree of arrays
        The end of the last level that was taken (the start, if none was).
    fun : float
        The family's value there, at that level.
    level : float
        That level; the true objective if `success`.
    success : bool
        Whether the last level was taken.
    message : str
        Why it ended, a sentence.
    path : list of Attempt
        The levels that were taken, in order.
    refused : list of Attempt
        Those that were not.
    points : list of trees
        The ends of the levels of `path`, with ``keep=True``, else empty.
    nfev : int
        Evaluations of the family.
    """

    x: Any
    fun: float
    level: float
    success: bool
    message: str
    path: list[Attempt]
    refused: list[Attempt]
    points: list[Any] = field(default_factory=list)
    nfev: int = 0


class Continuation:
    """A continuation, one level at a time; it can be saved between any two. See `continuation` for the parameters.

    Attributes
    ----------
    done : bool
        Whether it has ended.
    x : tree of arrays
        The end of the last level taken; copied.
    place, level : float
        Of that level; NaN before the first.
    step : float
        How far the next attempt goes, in levels.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> family = lambda x, level: (float((x - level) @ (x - level)), 2 * (x - level))
    >>> run = fo.meta.Continuation(family, np.zeros(2), levels=[3.0, 1.0, 0.0])
    >>> while not run.done:
    ...     print(run.advance().level)
    3.0
    1.0
    0.0
    """

    def __init__(
        self,
        family: Callable[[Any, float], Any],
        x0: Any,
        levels: Sequence[float] = (1.0, 0.0),
        *,
        step: float | None = None,
        min_step: float = 1e-3,
        grow: float = 1.5,
        shrink: float = 0.5,
        geometric: bool = False,
        predictor: bool = False,
        solver: str | Callable[..., Any] = "lbfgs",
        options: Mapping[str, Any] | None = None,
        max_move: float | None = None,
        max_rise: float | None = None,
        accept: Callable[[Attempt, Attempt | None], bool] | None = None,
        keep: bool = False,
    ) -> None:
        owner = "continuation"
        if not callable(family):
            raise TypeError(f"{owner}: family is {family!r}; a function of (params, level) is wanted")
        if not callable(solver) and not isinstance(solver, str):
            raise TypeError(f"{owner}: solver is {solver!r}; a method of minimize or a function is wanted")
        if callable(solver) and options is not None:
            raise ValueError(f"{owner}: options are for a method of minimize; solver is a function")
        if accept is not None and not callable(accept):
            raise TypeError(f"{owner}: accept is {accept!r}; a function of two attempts is wanted")
        for name, flag in (("geometric", geometric), ("predictor", predictor), ("keep", keep)):
            if not isinstance(flag, bool):
                raise TypeError(f"{owner}: {name} is {flag!r}; True or False is wanted")
        self.family, self.solver, self.options, self.accept = family, solver, options, accept
        self.levels = _as_levels(owner, levels)
        self.geometric, self.predictor, self.keep = geometric, predictor, keep
        self.min_step = check_number(owner, "min_step", min_step, 0.0, 1.0, above=True)
        default = 1.0 if len(self.levels) > 2 else 0.1
        self.step = check_number(owner, "step", default if step is None else step, self.min_step, 1.0)
        self.grow = check_number(owner, "grow", grow, 1.0)
        self.shrink = check_number(owner, "shrink", shrink, 0.0, 1.0, above=True, below=True)
        self.max_move = None if max_move is None else check_number(owner, "max_move", max_move, above=True)
        self.max_rise = None if max_rise is None else check_number(owner, "max_rise", max_rise)
        self._nesting, self._paths, self._x = _as_point(owner, x0)
        self._before: tuple[float, list[np.ndarray]] | None = (
            None  # place and end of the level before the last
        )
        self.attempts: list[Attempt] = []
        self._points: list[list[np.ndarray]] = []
        self._message = ""

    # ---- where it stands ----
    @property
    def path(self) -> list[Attempt]:
        """The levels taken so far."""
        return [a for a in self.attempts if not a.refused]

    @property
    def _last(self) -> Attempt | None:
        return next((a for a in reversed(self.attempts) if not a.refused), None)

    @property
    def place(self) -> float:
        """Of the last level taken."""
        return math.nan if self._last is None else self._last.place

    @property
    def level(self) -> float:
        """The last level taken."""
        return math.nan if self._last is None else self._last.level

    @property
    def x(self) -> Any:
        """The end of the last level taken; a copy."""
        return self._tree(self._x)

    @property
    def done(self) -> bool:
        """Whether the last level was reached, or the step became too small."""
        return bool(self._message)

    def _tree(self, leaves: Sequence[np.ndarray]) -> Any:
        feed = iter([leaf.copy() for leaf in leaves])
        return map_tree(lambda _: next(feed), self._nesting)

    def level_at(self, place: float) -> float:
        """The level at a place between the given ones: on a straight line, or with `geometric` in equal ratios."""
        i = min(int(place), len(self.levels) - 2)
        w, a, b = place - i, self.levels[i], self.levels[i + 1]
        if w == 0.0 or w == 1.0:
            return b if w else a
        return a ** (1 - w) * b**w if self.geometric and a > 0 and b > 0 else (1 - w) * a + w * b

    # ---- one level ----
    def advance(self) -> Attempt:
        """Try the next level, and tell how it went.

        Raises
        ------
        RuntimeError
            It is done.
        Exception
            What the family, the solver or `accept` raises comes out as it is; this object stands where it stood.
        """
        if self.done:
            raise RuntimeError(f"this continuation has ended: {self._message}")
        last = self._last
        place = 0.0 if last is None else self._next_place(last.place)
        level = self.level_at(place)
        calls = 0

        def fun(params: Any) -> Any:
            nonlocal calls
            calls += 1
            return self.family(params, level)

        x, value, why = self._solve(fun, self._start(place), level)
        move = math.nan if x is None else _distance(x, self._x) if last is not None else 0.0
        attempt = Attempt(place, level, value, move, calls, why or self._objection(value, move, last))
        if not attempt.refused and self.accept is not None and not self.accept(attempt, last):
            attempt = attempt._replace(refused="accept said no")
        self._record(attempt, x, last)
        return attempt

    def _next_place(self, place: float) -> float:
        knot = math.floor(place) + 1.0
        reached = place + self.step
        # A last bit that is left over is no level of its own.
        return knot if reached >= knot - 1e-9 else reached

    def _start(self, place: float) -> Any:
        if not self.predictor or self._before is None or self._last is None:
            return self._tree(self._x)
        before, old = self._before
        ratio = (place - self._last.place) / (self._last.place - before)
        return self._tree([(x + ratio * (x - o)).astype(x.dtype) for x, o in zip(self._x, old, strict=True)])

    def _solve(
        self, fun: Callable[[Any], Any], start: Any, level: float
    ) -> tuple[list[np.ndarray] | None, float, str]:
        """The end of a level, its value, and what went wrong."""
        if callable(self.solver):
            out = self.solver(fun, start, level)
            whole = hasattr(out, "success") and hasattr(out, "x")
            x = self._leaves(out.x if whole else out)
            why = f"the solver failed: {getattr(out, 'message', '')}" if whole and not out.success else ""
            value = _value_of(out.fun if whole and hasattr(out, "fun") else fun(self._tree(x)))
        else:
            from fastopt.minimize import minimize

            out = minimize(fun, start, method=self.solver, options=self.options)
            x, value, why = self._leaves(out.x), float(out.fun), "" if self._solved(out) else out.message
        if not (math.isfinite(value) and all(np.isfinite(leaf).all() for leaf in x)):
            return None, value, why or "the value or the point is not finite"
        return x, value, why

    def _leaves(self, found: Any) -> list[np.ndarray]:
        """What a solver gave, in copies of the dtypes that the parameters have."""
        leaves, paths = flatten_tree(found)
        if paths != self._paths:
            raise ValueError(f"continuation: the solver gave the paths {paths}; {self._paths} are wanted")
        for leaf, path, like in zip(leaves, paths, self._x, strict=True):
            if not isinstance(leaf, np.ndarray) or leaf.shape != like.shape:
                raise ValueError(
                    f"continuation: the solver gave {getattr(leaf, 'shape', type(leaf).__name__)} for "
                    f"params{_at(path)}; an array of shape {like.shape} is wanted"
                )
        return [leaf.astype(like.dtype) for leaf, like in zip(leaves, self._x, strict=True)]

    def _solved(self, out: Any) -> bool:
        """A budget that was set is no failure when it is used up; nor is the end of what rounding lets see, if near."""
        from fastopt.minimize import Reason

        if out.status == Reason.PRECISION:
            # Relative gradient, |g_i| max(|x_i|, 1) / max(|f|, 1): without it a fall without end would do.
            x, g = (np.concatenate([np.ravel(leaf) for leaf in flatten_tree(t)[0]]) for t in (out.x, out.jac))
            return bool((np.abs(g) * np.maximum(np.abs(x), 1.0)).max() <= 1e-3 * max(abs(out.fun), 1.0))
        budget = {Reason.ITERATIONS: ("maxiter",), Reason.EVALUATIONS: ("maxfev", "maxfun")}
        mine = self.options or {}
        return out.success or any(name in mine for name in budget.get(out.status, ()))

    def _objection(self, value: float, move: float, last: Attempt | None) -> str:
        if last is None:
            return ""
        if self.max_move is not None and not move <= self.max_move:
            return f"the point moved by {move:.3g}, more than max_move = {self.max_move:g}"
        if self.max_rise is not None and not value - last.fun <= self.max_rise:
            return f"the value rose by {value - last.fun:.3g}, more than max_rise = {self.max_rise:g}"
        return ""

    def _record(self, attempt: Attempt, x: list[np.ndarray] | None, last: Attempt | None) -> None:
        if attempt.refused:
            self.attempts.append(attempt)
            # The step that was tried may have been cut at a level.
            tried = 0.0 if last is None else attempt.place - last.place
            self.step = tried * self.shrink
            if last is None:
                self._message = f"The first level, {attempt.level:g}, was refused: {attempt.refused}."
            elif self.step < self.min_step:
                self._message = (
                    f"The step after level {last.level:g} would be {self.step:.3g}, less than min_step = "
                    f"{self.min_step:g}; the last attempt was refused: {attempt.refused}."
                )
            return
        assert x is not None
        self._before = None if last is None else (last.place, self._x)
        self._x = x
        self.attempts.append(attempt)
        if self.keep:
            self._points.append([leaf.copy() for leaf in x])
        if last is not None:
            self.step = min(1.0, self.step * self.grow)
        if attempt.place == len(self.levels) - 1:
            self._message = f"The last level, {attempt.level:g}, is solved."

    # ---- all levels ----
    def run(
        self, callback: Callable[[Attempt], Any] | None = None, progress: Progress = False
    ) -> ContinuationResult:
        """Go on to the end.

        Parameters
        ----------
        callback : callable, optional
            Called with each `Attempt`. `StopIteration` ends the run; a later one goes on.
        progress : bool or callable, default False
            True: a bar on a terminal. A function is called as ``progress("continuation", done, total, numbers)`` after
            each attempt, in hundredths of a level, with the numbers `level`, `fun` and `step`.
        """
        if callback is not None and not callable(callback):
            raise TypeError(f"continuation: callback is {callback!r}; a function is wanted")
        total = 100 * (len(self.levels) - 1)
        with reporting(progress, "continuation", total) as tell, contextlib.suppress(StopIteration):
            while not self.done:
                attempt = self.advance()
                done = 0 if self._last is None else round(100 * self._last.place)
                tell(done, level=attempt.level, fun=attempt.fun, step=self.step)
                if callback is not None:
                    callback(attempt)
        return self.result()

    def result(self) -> ContinuationResult:
        """Where it stands."""
        last = self._last
        return ContinuationResult(
            x=self.x,
            fun=math.nan if last is None else last.fun,
            level=self.level,
            success=last is not None and last.place == len(self.levels) - 1,
            message=self._message or "Not done: levels are left.",
            path=self.path,
            refused=[a for a in self.attempts if a.refused],
            points=[self._tree(leaves) for leaves in self._points],
            nfev=sum(a.nfev for a in self.attempts),
        )

    # ---- saved and restored ----
    def _owners(self) -> dict[str, Any]:
        given = {"family": self.family, "solver": self.solver}
        return {name: owner for name, owner in given.items() if hasattr(owner, "load_state_dict")}

    def state_dict(self) -> dict[str, Any]:
        """Where it stands: arrays by path, and plain values; with the states of family and solver, if they have any."""
        return {
            "levels": list(self.levels),
            "step": self.step,
            "message": self._message,
            "x": self._saved(self._x),
            "before": None if self._before is None else [self._before[0], self._saved(self._before[1])],
            "attempts": [list(a) for a in self.attempts],
            "points": [self._saved(leaves) for leaves in self._points],
            **{name: owner.state_dict() for name, owner in self._owners().items()},
        }

    def _saved(self, leaves: list[np.ndarray]) -> dict[str, np.ndarray]:
        return {path: leaf.copy() for path, leaf in zip(self._paths, leaves, strict=True)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state: what follows is what the saved run had still to come, bit for bit.

        Raises
        ------
        TypeError, ValueError
            Something is missing, unknown, or of another problem (levels, paths, shapes, dtypes); the state is as it
            was before.
        """
        owner = "continuation"
        check_keys(owner, state, self.state_dict())
        if state["levels"] != self.levels:
            raise ValueError(
                f"{owner}: state is of the levels {state['levels']!r:.80}, here {self.levels!r:.80}"
            )
        step = check_number(owner, "state['step']", state["step"], 0.0, 1.0)
        message = state["message"]
        if not isinstance(message, str):
            raise TypeError(f"{owner}: state['message'] is {message!r:.60}; a string is wanted")
        x = self._taken("state['x']", state["x"])
        before = state["before"]
        if before is not None:
            if not isinstance(before, (list, tuple)) or len(before) != 2:
                raise ValueError(f"{owner}: state['before'] is no place and point")
            place = check_number(owner, "state['before'][0]", before[0])
            before = place, self._taken("state['before'][1]", before[1])
        try:
            attempts = [_as_attempt(a) for a in state["attempts"]]
            points = [self._taken("state['points']", p) for p in state["points"]]
        except TypeError as error:
            raise ValueError(f"{owner}: state['attempts'] or state['points'] is damaged ({error})") from None
        owners = self._owners()
        load_states(list(owners.values()), [state[name] for name in owners])
        self.step, self._message, self._x, self._before = step, message, x, before
        self.attempts, self._points = attempts, points

    def _taken(self, name: str, given: Any) -> list[np.ndarray]:
        if not isinstance(given, Mapping) or list(given) != self._paths:
            raise ValueError(f"continuation: {name} has other paths than {self._paths}")
        leaves = [np.array(given[path]) for path in self._paths]
        for leaf, like, path in zip(leaves, self._x, self._paths, strict=True):
            if leaf.dtype != like.dtype or leaf.shape != like.shape or not np.isfinite(leaf).all():
                raise ValueError(
                    f"continuation: {name}{_at(path)} is {leaf.dtype} {leaf.shape}; finite {like.dtype} {like.shape} "
                    "is wanted"
                )
        return leaves


def _as_levels(owner: str, levels: Any) -> list[float]:
    if isinstance(levels, str) or not isinstance(levels, (Sequence, np.ndarray)) or np.ndim(levels) != 1:
        raise TypeError(f"{owner}: levels is {levels!r}; a sequence of numbers is wanted")
    found = [
        check_number(owner, f"levels[{i}]", x.item() if isinstance(x, np.generic) else x, -math.inf)
        for i, x in enumerate(levels)
    ]
    if len(found) < 2:
        raise ValueError(
            f"{owner}: levels is {found}; two at least are wanted, the smoothest and the true one"
        )
    return found


def _as_point(owner: str, x0: Any) -> tuple[Any, list[str], list[np.ndarray]]:
    """Nesting, paths and copies of the leaves."""
    leaves, paths = flatten_tree(x0)
    if leaves and not any(isinstance(leaf, np.ndarray) for leaf in leaves) and not isinstance(x0, dict):
        x0 = np.array(x0)  # numbers, perhaps in lists, as for `minimize`
        x0 = x0.astype(np.float64) if x0.dtype.kind in "iu" else x0
        leaves, paths = [x0], [""]
    for leaf, path in zip(leaves, paths, strict=True):
        if not isinstance(leaf, np.ndarray) or leaf.dtype.kind != "f":
            what = getattr(leaf, "dtype", type(leaf).__name__)
            raise TypeError(f"{owner}: x0{_at(path)} is {what}; a floating array is wanted")
        if not np.isfinite(leaf).all():
            raise ValueError(f"{owner}: x0{_at(path)} has an element that is not finite")
    return map_tree(lambda _: None, x0), paths, [leaf.copy() for leaf in leaves]


def _value_of(answer: Any) -> float:
    return float(answer[0] if isinstance(answer, (tuple, list)) else answer)


def _as_attempt(given: Any) -> Attempt:
    if not isinstance(given, (list, tuple)) or len(given) != len(Attempt._fields):
        raise TypeError(f"no attempt: {given!r:.80}")
    place, level, fun, move, nfev, refused = given
    if not isinstance(refused, str) or not isinstance(nfev, int):
        raise TypeError(f"no attempt: {given!r:.80}")
    return Attempt(float(place), float(level), float(fun), float(move), nfev, refused)


def _distance(a: list[np.ndarray], b: list[np.ndarray]) -> float:
    total = 0.0
    for x, y in zip(a, b, strict=True):
        d = x.astype(np.float64) - y
        total += float(np.vdot(d, d))
    return math.sqrt(total)
