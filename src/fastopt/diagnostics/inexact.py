"""Inexact gradients (Deep Learning, 8.2.6): how far the gradients of batches are from each other and from the whole.

The statistics are those of `fastopt.diagnostics.noise`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import check_integer
from fastopt._progress import Progress, reporting
from fastopt._trees import map_tree
from fastopt.diagnostics._answer import COLOURS, Answer, number
from fastopt.diagnostics._objective import Objective
from fastopt.diagnostics.noise import GradientMoments, disagreement

__all__ = ["InexactGradient", "inexact_gradient"]

LOUD = 0.05  # signal to noise of a batch below which its gradient says little


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class InexactGradient(Answer):
    """Noise in the gradient of a batch.

    Attributes
    ----------
    signal : float
        Estimate of ``|G|^2``, the squared length of the true gradient; may come out negative.
    variance : float
        Trace of the covariance of the gradient of one example.
    noise_scale : float
        ``variance / signal``, in examples: the batch size at which signal and noise are equal; inf without signal.
    signal_to_noise : float
        ``signal / (variance / size)`` of one batch.
    cosines, relative_errors : ndarray, shape (batches,)
        Each batch's gradient against the mean of all.
    size : float
        Mean number of examples of a batch.
    """

    signal: float
    variance: float
    noise_scale: float
    signal_to_noise: float
    cosines: np.ndarray
    relative_errors: np.ndarray
    size: float

    def _draw(self, ax: Any) -> None:
        ax.hist(self.cosines, bins=np.linspace(-1, 1, 41), color=COLOURS[0])
        ax.axvline(0.0, color="black", linewidth=0.8)
        ax.set_xlabel("cosine of batch and mean gradient")
        ax.set_ylabel("batches")
        ax.set_title(f"noise scale {number(self.noise_scale)} examples", fontsize=11, loc="left")


def inexact_gradient(
    fun: Callable[..., Any],
    params: Any,
    batches: Iterable[Any],
    *,
    population: int | None = None,
    progress: Progress = False,
) -> InexactGradient:
    """How much do the gradients of batches disagree, here?

    Parameters
    ----------
    fun : callable
        ``fun(params, *batch) -> (loss, grads)``: means over the examples of the batch.
    params : tree of ndarray
        Never written.
    batches : iterable
        At least two. Each is a tuple of arrays of one length (as `fo.Batches` gives them), or one array.
    population : int, optional
        How many examples there are, where each is in at most one batch: the mean over all of them has no error then.
    progress : bool or callable, default False

    Returns
    -------
    InexactGradient
        `number` is the signal to noise of one batch; `trouble` where it is below 0.05.

    Raises
    ------
    TypeError, ValueError
        An argument, or what the function gives, is not what is wanted.
    FloatingPointError
        A gradient is not finite.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> data = np.random.default_rng(0).standard_normal((640, 2))
    >>> def fun(x, rows):
    ...     return 0.5 * np.mean((x - rows) ** 2), x - rows.mean(axis=0)
    >>> at_the_mean = fo.diagnostics.inexact_gradient(fun, data.mean(axis=0), data.reshape(20, 32, 2))
    >>> at_the_mean.trouble, fo.diagnostics.inexact_gradient(fun, np.array([5.0, 5.0]), data.reshape(20, 32, 2)).trouble
    (True, False)
    """
    owner = "inexact_gradient"
    objective = Objective(owner, fun, params)
    if population is not None:
        population = check_integer(owner, "population", population, 1)
    moments = GradientMoments(params, population)
    grads: list[np.ndarray] = []
    with reporting(progress, "batches") as tell:
        for i, batch in enumerate(batches):
            parts = tuple(batch) if isinstance(batch, (tuple, list)) else (batch,)
            try:
                size = len(parts[0])
            except (TypeError, IndexError):
                raise TypeError(
                    f"{owner}: batch {i} is {type(batch).__name__}; an array or a tuple of arrays is wanted"
                ) from None
            if size == 0:
                raise ValueError(f"{owner}: batch {i} is empty; at least one example is wanted")
            out = fun(params, *parts)
            if not isinstance(out, (tuple, list)) or len(out) != 2:
                raise TypeError(f"{owner}: fun gave {type(out).__name__}; a pair (loss, grads) is wanted")
            g = objective.vector(out[1], "grads")
            if not np.isfinite(g).all():
                raise FloatingPointError(f"{owner}: the gradient of batch {i} holds Inf or NaN")
            moments.update(_tree_of(objective, g), size)
            grads.append(g)
            tell(i + 1)
    if len(grads) < 2:
        raise ValueError(f"{owner}: {len(grads)} batches came; at least two are wanted")
    noise = moments.noise()
    full = objective.vector(moments.mean, "mean")
    apart = [disagreement(g, full) for g in grads]
    mean_size = moments.examples / moments.count
    return inexact_of(
        noise.squared_norm, noise.trace, noise.scale, mean_size,
        np.array([d.cosine for d in apart]), np.array([d.relative_error for d in apart]),
    )  # fmt: skip


def _tree_of(objective: Objective, vector: np.ndarray) -> Any:
    parts = iter(np.split(vector, np.cumsum([leaf.size for leaf in objective.leaves])[:-1]))
    return map_tree(lambda leaf: next(parts).reshape(leaf.shape), objective.params)


def inexact_of(
    signal: float, variance: float, scale: float, size: float, cosines: np.ndarray, errors: np.ndarray
) -> InexactGradient:
    """The answer from an estimate of signal and noise."""
    if variance <= 0:
        ratio = math.inf if signal > 0 else math.nan
    else:
        ratio = max(signal, 0.0) / (variance / size)
    trouble = ratio < LOUD
    cosine = number(float(np.nanmean(cosines))) if np.isfinite(cosines).any() else "undefined"
    if trouble:
        wanted = (
            "no batch is large enough"
            if math.isinf(scale)
            else f"{number(scale)} examples would make them equal"
        )
        verdict = (
            f"Noise: the gradient of a batch of {number(size)} holds {number(ratio)} parts of signal to one of noise "
            f"({wanted}); its mean cosine with the whole is {cosine}."
        )
    elif math.isnan(ratio):
        verdict = "There is neither gradient nor noise."
    else:
        verdict = (
            f"Batches agree: signal to noise is {number(ratio)} with {number(size)} examples, the mean cosine with the "
            f"whole {cosine}, the noise scale {number(scale)} examples."
        )
    return InexactGradient(
        question="inexact gradients", source="8.2.6", trouble=trouble, number=ratio, verdict=verdict, signal=signal,
        variance=variance, noise_scale=scale, signal_to_noise=ratio, cosines=cosines, relative_errors=errors, size=size,
    )  # fmt: skip
