"""Continuation (Deep Learning, 8.7.6): objectives from smooth to true, each solved from where the last one ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastopt._checks import check_integer
from fastopt._progress import Progress
from fastopt.meta.levels import Attempt, Continuation, ContinuationResult

__all__ = ["by_steps", "continuation"]


def by_steps(make: Callable[[Any, float], Any], steps: int) -> Callable[..., Any]:
    """A solver for `continuation`: so many steps of an optimizer, a new one at each level.

    Parameters
    ----------
    make : callable
        ``make(params, level)`` gives the optimizer: an object whose ``step(grads)`` moves `params` in place.
    steps : int
        At each level, >= 1.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> family = lambda x, level: (float(x @ x), 2 * x)
    >>> solver = fo.meta.by_steps(lambda params, level: fo.Adam(params, lr=0.1), steps=200)
    >>> fo.meta.continuation(family, np.ones(2), solver=solver).fun < 1e-6
    True
    """
    if not callable(make):
        raise TypeError(f"by_steps: make is {make!r}; a function of (params, level) is wanted")
    steps = check_integer("by_steps", "steps", steps, 1)

    def solve(fun: Callable[[Any], Any], x: Any, level: float) -> Any:
        optimizer = make(x, level)
        for _ in range(steps):
            optimizer.step(fun(x)[1])
        return x

    return solve


def continuation(
    family: Callable[[Any, float], Any],
    x0: Any,
    levels: Sequence[float] = (1.0, 0.0),
    *,
    callback: Callable[[Attempt], Any] | None = None,
    progress: Progress = False,
    **fields: Any,
) -> ContinuationResult:
    r"""Minimize by continuation: first a smooth objective, then ever truer ones, each from the end of the last.

    Parameters
    ----------
    family : callable
        ``family(params, level)`` gives the pair (value, gradient) of the objective of that level: `Smoothed` of a
        function (the level is the width of the Gaussian), a loss at a temperature, or any of yours.
    x0 : array_like or tree of arrays
        Where to start; never changed. `family` gets such trees.
    levels : sequence of float, default (1.0, 0.0)
        Two or more, the smoothest first, the true one last. Each of them is solved on the way.
    callback : callable, optional
        Called with the `Attempt` of each level that was tried. `StopIteration` ends the run.
    progress : bool or callable, default False
        As of `Continuation.run`.
    step : float, optional
        How far the first attempts go, as a part of the way from one of the `levels` to the next, at most 1; by default
        0.1 for two levels, 1 for more of them.
    min_step : float, default 1e-3
        The run ends without success when the step would be less.
    grow, shrink : float, default 1.5 and 0.5
        What the step is multiplied by after a level that was taken, and after one that was refused: the next attempt
        then starts from the same point, at a level in between.
    geometric : bool, default False
        Levels in between are in equal ratios, not on a straight line, where both ends are above 0.
    predictor : bool, default False
        Begin a level not where the last one ended but on the straight line through the last two ends.
    solver : str or callable, default "lbfgs"
        A method of `fastopt.minimize`; or ``solver(fun, x, level)``, where `fun` is the objective of the level and
        `x` the solver's own copy, which returns the end: parameters, or an object with `x`, `success` and `fun` (as
        results of `minimize` are). `by_steps` makes one of an optimizer.
    options : dict, optional
        For `minimize`. A ``maxiter`` or ``maxfev`` given here may be used up; else reaching one is a failure, and so
        are all other ends without success, but for the limit of rounding where the gradient is small by then.
    max_move : float, optional
        A level whose end is further than this (Euclidean) from the last end is refused: it lies in another valley.
    max_rise : float, optional
        So is one whose value is above the last level's by more than this.
    accept : callable, optional
        ``accept(attempt, last)``, False to refuse; `last` is None at the first level.
    keep : bool, default False
        Whether the result has the ends of all levels, as ``points``.

    Returns
    -------
    ContinuationResult
        ``x, fun, level, success, message, path, refused, points, nfev``.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range. What functions raise comes out as it is.

    Notes
    -----
    A level is refused when its solve fails, ends where value or point is not finite, or breaks `max_move`,
    `max_rise` or `accept`. The first level has nothing before it to go back to: refused, it ends the run.

    Continuation helps where the smooth objective has one valley and that valley leads to the deepest of the true one
    (the hope of the book's section 8.7.6; it is no theorem). Smoothing may also lead astray: a narrow deep minimum
    leaves no trace in a wide mean.

    `Continuation` is the same one level at a time, to be saved and resumed.

    References
    ----------
    Allgower, Georg, Introduction to numerical continuation methods, 2003, chapter 6 (steps). Mobahi, Fisher, On the
    link between Gaussian homotopy continuation and convex envelopes, 2015. Goodfellow, Bengio, Courville, Deep
    Learning, 2016, section 8.7.6.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> def wavy(x):
    ...     return float((x * x - 3 * np.cos(6 * x)).sum()), 2 * x + 18 * np.sin(6 * x)
    >>> start = np.array([3.0, -4.0])
    >>> bool(fo.minimize(wavy, start).fun > -1)                     # caught in a valley near the start
    True
    >>> smooth = fo.meta.Smoothed(wavy, samples=64)
    >>> result = fo.meta.continuation(smooth, start, levels=[1.0, 0.5, 0.25, 0.0])
    >>> round(result.fun, 6), [attempt.level for attempt in result.path]
    (-6.0, [1.0, 0.5, 0.25, 0.0])
    """
    return Continuation(family, x0, levels, **fields).run(callback, progress)
