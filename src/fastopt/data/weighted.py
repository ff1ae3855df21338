"""Rows drawn by weights: importance, or classes in balance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastopt._core import shuffle as _shuffle
from fastopt._core.orders import alias
from fastopt.data.lazy import index_dtype
from fastopt.data.orders import Strategy, as_classes, checksum
from fastopt.data.seeds import as_count, child

__all__ = ["Weighted"]


class Weighted(Strategy):
    r"""Rows drawn with chances in proportion to their weights.

    With replacement, draw `i` is row `j` with chance :math:`w_j / \sum w`, whatever the others are. Without,
    rows are drawn one after the other, each with a chance in proportion to its weight among those that are
    left.

    Parameters
    ----------
    weights : array_like of float, shape (n,)
        One a row; finite, not negative, not all of them 0. Copied. Rows of weight 0 never come.
    count : int, optional
        Draws of an epoch; by default as many as there are rows, or without replacement as many as have a weight
        above 0.
    replacement : bool, default True

    Attributes
    ----------
    weights : ndarray of float64
    count : int
    replacement : bool

    Notes
    -----
    To keep an average over rows unbiased when they are drawn by importance, weigh the loss of row `j` by
    :math:`\sum w / (n w_j)`.

    With replacement: a table of `n` thresholds and as many second choices, built once (16 `n` bytes), then two
    random numbers a draw. Without: row `j` gets the number :math:`-\ln(u_j) / w_j` with uniform
    :math:`u_j`, and the smallest numbers come first.

    Sources: M. D. Vose, *A linear algorithm for generating random numbers with a given distribution*, IEEE
    Transactions on Software Engineering 17 (1991); P. S. Efraimidis and P. G. Spirakis, *Weighted random
    sampling with a reservoir*, Information Processing Letters 97 (2006).

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> y = np.array([0, 0, 0, 1])
    >>> strategy = fo.data.Weighted.balanced(y, count=1000)
    >>> batches = fo.Batches(y, size=4, rng=0, shuffle=strategy)
    >>> strategy.weights
    array([0.66666667, 0.66666667, 0.66666667, 2.        ])
    """

    name = "weighted"

    def __init__(self, weights: Any, count: int | None = None, replacement: bool = True) -> None:
        found = np.asarray(weights)
        if found.ndim != 1 or found.dtype.kind not in "iufb" or found.size == 0:
            raise TypeError(
                f"weights has dtype {found.dtype} and shape {found.shape}; real numbers in one dimension, at least "
                "one, are needed"
            )
        found = found.astype(np.float64)
        bad = np.flatnonzero(~(np.isfinite(found) & (found >= 0)))
        if bad.size:
            raise ValueError(
                f"weights[{bad[0]}] is {found[bad[0]]}; finite numbers, not negative, are needed"
            )
        if not found.any():
            raise ValueError("all weights are 0; at least one must be larger")
        if not isinstance(replacement, (bool, np.bool_)):
            raise TypeError(f"replacement is {replacement!r}; True or False is needed")
        found.flags.writeable = False
        self.weights, self.replacement = found, bool(replacement)
        most = None if replacement else int(np.count_nonzero(found))
        self.count = (most or len(found)) if count is None else as_count(count, "count", 1, most)
        self._table = alias(found) if replacement else None

    @classmethod
    def balanced(cls, labels: Any, count: int | None = None) -> Weighted:
        """Every class with the same chance: rows of a class of `m` rows get the weight n / (classes m).

        Parameters
        ----------
        labels : array_like, shape (n,)
            Anything that can be sorted: numbers, strings.
        count : int, optional
            As for the class.
        """
        classes, sizes = as_classes(labels, "labels")
        return cls((len(classes) / (len(sizes) * sizes))[classes], count)

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray:
        self.length(n)
        bits = np.random.PCG64(child(seed, epoch))
        if self._table is None:
            numbers = _minus_log(bits.random_raw(n))
            with np.errstate(divide="ignore", over="ignore"):
                numbers /= self.weights
            # Rows of weight 0 have infinity, and so may others: those without a chance go last.
            return np.lexsort((self.weights == 0, numbers))[: self.count].astype(index_dtype(n))
        threshold, other = self._table
        rows = _shuffle.draws(n, self.count, bits)
        return np.where(bits.random_raw(self.count) < threshold[rows], rows, other[rows]).astype(
            index_dtype(n)
        )

    def length(self, n: int) -> int:
        if n != len(self.weights):
            raise ValueError(f"shuffle has {len(self.weights)} weights for {n} rows; one a row is needed")
        return self.count

    def state(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "count": self.count,
            "replacement": self.replacement,
            "weights": checksum(self.weights),
        }


def _minus_log(words: np.ndarray) -> np.ndarray:
    """-ln of the uniform numbers that 64-bit words stand for: by + - * / alone, so alike on all machines.

    u = m 2^e with m from sqrt(1/2) to sqrt(2), and ln m = 2 artanh(s), s = (m - 1) / (m + 1), whose series is cut where
    the next term is below 2^-54.
    """
    u = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
    m, e = np.frexp(u)
    low = m < math.sqrt(0.5)
    m = np.where(low, 2 * m, m)
    s = (m - 1) / (m + 1)
    square = s * s
    series = np.full_like(s, 1 / 21)
    for k in range(19, 0, -2):
        series = series * square + 1 / k
    return (low - e) * math.log(2) - 2 * s * series
