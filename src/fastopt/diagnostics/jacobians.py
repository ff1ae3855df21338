"""Long-term dependencies (Deep Learning, 8.2.5): how products of Jacobians grow over many steps.

The product of t Jacobians stretches directions by its singular values; for one matrix W used t times they follow
``|lambda|^t`` (book, equation 8.11): what is not of absolute value near 1 explodes or vanishes. Columns are kept
orthonormal by a QR factorisation a step and their stretches added up as logarithms (Benettin et al., Meccanica 15,
1980), so no power overflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt._progress import Progress, reporting
from fastopt.diagnostics._answer import COLOURS, Answer, number

__all__ = ["LongTerm", "long_term"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LongTerm(Answer):
    """Growth of repeated Jacobians.

    Attributes
    ----------
    state : {"vanishing", "exploding", "kept"}
    log_growth : ndarray, shape (steps, k)
        Natural logarithm of the stretch of k leading directions after 1, 2, ... steps, strongest first.
    factors : ndarray, shape (k,)
        Mean factor a step of each: for a single matrix the absolute values of its largest eigenvalues.
    """

    state: str
    log_growth: np.ndarray
    factors: np.ndarray
    limit: float

    def _draw(self, ax: Any) -> None:
        steps = np.arange(1, len(self.log_growth) + 1)
        scale = math.log(10)
        for i, curve in enumerate(self.log_growth.T[:4]):
            ax.plot(
                steps,
                np.clip(curve / scale, -1e9, 1e9),
                color=COLOURS[i],
                label=f"direction {i + 1}: {number(float(self.factors[i]))} a step",
            )
        for sign in (-1, 1):
            ax.axhline(sign * math.log10(self.limit), color="#777777", linestyle=":", linewidth=1.0)
        ax.set_xlabel("steps")
        ax.set_ylabel("stretch, power of ten")
        ax.legend(frameon=False, fontsize=9)


def long_term(
    jacobian: Any,
    steps: int | None = None,
    *,
    size: int | None = None,
    limit: float = 1e3,
    directions: int = 4,
    rng: Any = 0,
    progress: Progress = False,
) -> LongTerm:
    """Do signals explode or vanish over repeated steps?

    Parameters
    ----------
    jacobian : matrix, sequence of matrices, or callable
        One square matrix, used again and again; the Jacobian of each step in order (square or of fitting shapes);
        or ``jacobian(v, t) -> J_t v`` for vectors v of `size` elements and t = 0, 1, ... (a product of the Jacobian,
        or of its transpose as back-propagation has it: both grow alike).
    steps : int, optional
        How many; default 100, or the length of the sequence.
    size : int, optional
        Elements of v; wanted with a function.
    limit : float, default 1000
        Stretches above it, or of all directions below its inverse, are trouble.
    directions : int, default 4
        How many leading directions are followed. The strongest decides.
    rng : default 0
        Of the first directions.
    progress : bool or callable, default False

    Returns
    -------
    LongTerm
        `number` is the mean factor a step of the strongest direction. `trouble` where the strongest direction is
        stretched beyond `limit` (exploding) or shrinks below ``1 / limit`` (vanishing: then all directions do).

    Raises
    ------
    TypeError, ValueError
        An argument, or what the function gives, is not what is wanted.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> print(fo.diagnostics.long_term(0.9 * np.eye(3)))
    Vanishing: over 100 steps even the strongest direction shrinks to 2.66e-05 of its size, 0.9 a step.
    >>> fo.diagnostics.long_term(np.array([[0.0, -1.0], [1.0, 0.0]])).trouble
    False
    """
    owner = "long_term"
    limit = check_number(owner, "limit", limit, 1.0, above=True)
    k = check_integer(owner, "directions", directions, 1)
    multiply, n, length = _read(owner, jacobian, size)
    if steps is None:
        count = 100 if length is None else length
    else:
        count = check_integer(owner, "steps", steps, 1)
        if length is not None and count > length:
            raise ValueError(
                f"{owner}: steps is {count} and there are {length} Jacobians; at most {length} is wanted"
            )
    q, _ = np.linalg.qr(np.random.default_rng(rng).standard_normal((n, min(k, n))))
    total = np.zeros(q.shape[1])
    growth = np.empty((count, q.shape[1]))
    with reporting(progress, "Jacobians", count) as tell:
        for t in range(count):
            image = multiply(q, t)
            if not np.isfinite(image).all():
                raise ValueError(f"{owner}: the product with the Jacobian of step {t} holds Inf or NaN")
            q, r = np.linalg.qr(image)
            if q.shape[1] < total.size:  # fewer rows than directions: the others end here
                total, growth = total[: q.shape[1]], growth[:, : q.shape[1]]
                r = r[:, : q.shape[1]]
            with np.errstate(divide="ignore"):
                total = total + np.log(np.abs(np.diag(r)))
            growth[t] = total
            tell(t + 1)
    growth = -np.sort(-growth, axis=1)
    factors = np.exp(growth[-1] / count)
    top = float(growth[-1, 0])
    state = "exploding" if top > math.log(limit) else "vanishing" if top < -math.log(limit) else "kept"
    size_now = _power(top)
    verdict = {
        "exploding": f"Exploding: over {count} steps the strongest direction grows {size_now} times, "
        f"{number(float(factors[0]))} a step.",
        "vanishing": f"Vanishing: over {count} steps even the strongest direction shrinks to {size_now} of its size, "
        f"{number(float(factors[0]))} a step.",
        "kept": f"Signals last: over {count} steps the strongest direction is stretched {size_now} times.",
    }[state]
    return LongTerm(
        question="long-term dependencies", source="8.2.5", trouble=state != "kept", number=float(factors[0]),
        verdict=verdict, state=state, log_growth=growth, factors=factors, limit=limit,
    )  # fmt: skip


def _power(log: float) -> str:
    """exp(log) in words, also where it leaves the range of a float."""
    if abs(log) < 600 or math.isinf(log):
        return number(math.exp(log))
    return f"1e{log / math.log(10):+.0f}"


def _read(
    owner: str, jacobian: Any, size: int | None
) -> tuple[Callable[[np.ndarray, int], np.ndarray], int, int | None]:
    """How columns are multiplied at step t, their length, and how many steps there are (None: any number)."""
    if callable(jacobian) and not hasattr(jacobian, "shape"):
        if size is None:
            raise TypeError(
                f"{owner}: size is missing; a function needs the number of elements of its vectors"
            )
        n = check_integer(owner, "size", size, 1)

        def apply(q: np.ndarray, t: int) -> np.ndarray:
            columns = [np.asarray(jacobian(np.ascontiguousarray(v), t), np.float64) for v in q.T]
            for column in columns:
                if column.ndim != 1:
                    raise ValueError(f"{owner}: jacobian(v, t) has shape {column.shape}; a vector is wanted")
            return np.stack(columns, axis=1)

        return apply, n, None
    if isinstance(jacobian, Sequence) and len(jacobian) and np.ndim(jacobian[0]) == 2:
        matrices = [_matrix(owner, f"jacobian[{t}]", j) for t, j in enumerate(jacobian)]
        for t, (a, b) in enumerate(pairwise(matrices)):
            if b.shape[1] != a.shape[0]:
                raise ValueError(
                    f"{owner}: jacobian[{t + 1}] has shape {b.shape} and jacobian[{t}] {a.shape}; each must take what "
                    "the one before gives"
                )
        return (lambda q, t: matrices[t] @ q), matrices[0].shape[1], len(matrices)
    if hasattr(jacobian, "matmat") or (hasattr(jacobian, "shape") and not isinstance(jacobian, np.ndarray)):
        one: Any = jacobian  # an operator or a sparse matrix
    else:
        one = _matrix(owner, "jacobian", jacobian)
    if len(one.shape) != 2 or one.shape[0] != one.shape[1] or one.shape[0] == 0:
        raise ValueError(f"{owner}: jacobian has shape {tuple(one.shape)}; a square matrix is wanted")
    return (lambda q, t: np.asarray(one @ q)), one.shape[0], None


def _matrix(owner: str, name: str, value: Any) -> np.ndarray:
    a = np.asarray(value)
    if a.dtype.kind not in "fiub" or a.ndim != 2 or 0 in a.shape:
        raise TypeError(
            f"{owner}: {name} is {a.dtype} of shape {a.shape}; a real matrix, several, or a function is wanted"
        )
    if not np.isfinite(a).all():
        raise ValueError(f"{owner}: {name} holds Inf or NaN; finite numbers are wanted")
    return a.astype(np.float64)
