"""X and y made ready for coordinate descent: checked, in one dtype, weighted and centred."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastopt._core.coordinate import Descent

__all__ = ["Design"]

_COLUMNS = 1 << 18  # elements that are centred at a time


class Design:
    """One matrix, its targets, and the descent that works on them.

    Attributes
    ----------
    n, p, targets : int
        Rows and columns of X, columns of y.
    several : bool
        y came with two dimensions.
    dtype : dtype
        float32 or float64.
    yy : float
        Squared norm of the present target.
    descent : Descent
        After ``target(k)`` it fits the k-th target.
    """

    def __init__(self, owner: str, X: Any, y: Any, fit_intercept: bool, sample_weight: Any) -> None:
        self.owner = owner
        sparse = sp.issparse(X)
        if not sparse:
            X = self._real("X", np.asarray(X))
        if X.ndim != 2:
            raise ValueError(f"{owner}: X has shape {X.shape}; two dimensions are wanted")
        self._real("X", X)
        self.n, self.p = (int(size) for size in X.shape)
        self.dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
        y = self._real("y", np.asarray(y))
        if y.ndim not in (1, 2) or y.shape[0] != self.n:
            raise ValueError(
                f"{owner}: y has shape {y.shape}; ({self.n},) or ({self.n}, k) is wanted, since X has {self.n} rows"
            )
        self.several = y.ndim == 2
        self._y = y.reshape(self.n, -1).astype(np.float64) if self.several else y.astype(np.float64)[:, None]
        self._finite("y", self._y)
        self.targets = self._y.shape[1]
        weights = self._weights(sample_weight)
        self._roots = None if weights is None else np.sqrt(weights)
        self._means: np.ndarray | None = None
        self._y_means = np.zeros(self.targets)
        if fit_intercept:
            self._y_means = self._mean(self._y, weights)
            self._y -= self._y_means
            dust = 8 * np.finfo(np.float64).eps * np.abs(self._y_means)
            self._y[:, np.abs(self._y).max(axis=0, initial=0.0) <= dust] = 0.0
        if self._roots is not None:
            self._y *= self._roots[:, None]
        make = self._sparse if sparse else self._dense
        with np.errstate(all="ignore"):  # what is not finite is told below
            self.descent = make(X, weights, fit_intercept)
        norms = self.descent.norms
        if not np.isfinite(norms).all():
            data = X.data if sparse else X
            self._finite("X", data)
            column = int(np.argmin(np.isfinite(norms)))
            raise ValueError(f"{owner}: the sum of squares of column {column} of X overflows; scale X")
        if self._means is not None:
            # What centring leaves of a constant column is rounding.
            dust = (8 * np.finfo(self.dtype).eps * self._means) ** 2 * self.n
            norms[norms <= dust] = 0.0
        self._largest = float(np.sqrt(norms.max(initial=0.0)))
        self.yy = 0.0

    def _real(self, name: str, a: Any) -> Any:
        if a.dtype.kind not in "fiub":
            raise TypeError(f"{self.owner}: {name} is of dtype {a.dtype}; real numbers are wanted")
        return a

    def _finite(self, name: str, a: np.ndarray) -> None:
        bad = ~np.isfinite(a)
        if bad.any():
            at = tuple(int(i) for i in np.argwhere(bad)[0])
            where = f"{name}.data" if a.ndim == 1 else name
            if not self.several and name == "y":
                at = at[:1]
            raise ValueError(
                f"{self.owner}: {where}[{', '.join(map(str, at))}] is {a[tuple(np.argwhere(bad)[0])]}; "
                "finite numbers are wanted"
            )

    def _weights(self, sample_weight: Any) -> np.ndarray | None:
        """Weights that sum to n, as float64."""
        if sample_weight is None:
            return None
        s = self._real("sample_weight", np.asarray(sample_weight)).astype(np.float64)
        if s.shape != (self.n,):
            raise ValueError(f"{self.owner}: sample_weight has shape {s.shape}; ({self.n},) is wanted")
        total = s.sum()
        if not np.isfinite(total) or (s < 0).any() or (self.n > 0 and not total > 0):
            raise ValueError(
                f"{self.owner}: sample_weight sums to {total} and its least is {s.min()}; finite numbers "
                f">= 0, not all 0, are wanted"
            )
        return s * (self.n / total) if self.n else s

    def _mean(self, a: Any, weights: np.ndarray | None) -> np.ndarray:
        """Weighted means of the columns, in double."""
        ones = np.ones(self.n) if weights is None else weights
        return np.asarray(a.T @ ones, np.float64) / max(self.n, 1)

    def _dense(self, X: np.ndarray, weights: np.ndarray | None, fit_intercept: bool) -> Descent:
        if fit_intercept or weights is not None:
            data = np.empty(X.shape, self.dtype, order="F")
            means = np.zeros(self.p)
            step = max(1, _COLUMNS // max(self.n, 1))
            for start in range(0, self.p, step):
                part = X[:, start : start + step].astype(np.float64)
                if fit_intercept:
                    means[start : start + step] = mean = self._mean(part, weights)
                    part -= mean
                if self._roots is not None:
                    part *= self._roots[:, None]
                data[:, start : start + step] = part
            if fit_intercept:
                self._means = means
        else:
            data = np.require(X, self.dtype, "A")
            size = self.dtype.itemsize
            packed = (self.n < 2 or data.strides[0] == size) and (self.p < 2 or data.strides[1] % size == 0)
            if not packed:
                data = np.asfortranarray(data)
        return Descent(data, None, None, (self.n, self.p), None, None, self.dtype)

    def _sparse(self, X: Any, weights: np.ndarray | None, fit_intercept: bool) -> Descent:
        X = X.tocsc()
        try:  # a new object over the same arrays: checking may store what it found
            X = sp.csc_array((X.data, X.indices, X.indptr), shape=X.shape)
            X.check_format(full_check=True)
        except ValueError as error:
            raise ValueError(f"{self.owner}: X is not a valid sparse matrix: {error}") from None
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        data = np.ascontiguousarray(X.data, self.dtype)
        means = ones = None
        if fit_intercept:
            self._means = means = self._mean(X, weights)
            ones = np.ones(self.n, self.dtype) if self._roots is None else self._roots.astype(self.dtype)
        if self._roots is not None:
            data = (data * self._roots[X.indices]).astype(self.dtype)
        indices, indptr = np.ascontiguousarray(X.indices), np.ascontiguousarray(X.indptr, np.int64)
        return Descent(data, indices, indptr, (self.n, self.p), means, ones, self.dtype)

    def target(self, k: int) -> None:
        """Let the descent fit the k-th column of y."""
        with np.errstate(over="ignore"):
            y = np.ascontiguousarray(self._y[:, k], self.dtype)
            self.yy = float(np.dot(y.astype(np.float64), y))
        if not np.isfinite(self.yy):
            raise ValueError(f"{self.owner}: the sum of squares of y overflows in {self.dtype}; scale y")
        product = self._largest * self.yy**0.5
        careful = self.dtype == np.float32 and not 1e-25 < product < 1e36
        self.descent.target(y, self.yy, careful)

    def starts(self, x0: Any, positive: bool) -> np.ndarray | None:
        """x0 as (p, targets), in double."""
        if x0 is None:
            return None
        w = self._real("x0", np.asarray(x0))
        wanted = (self.p, self.targets) if self.several else (self.p,)
        if w.shape != wanted:
            raise ValueError(f"{self.owner}: x0 has shape {w.shape}; {wanted} is wanted")
        w = w.reshape(self.p, self.targets).astype(np.float64)
        if not np.isfinite(w).all():
            raise ValueError(f"{self.owner}: x0 holds numbers that are not finite")
        if positive and (w < 0).any():
            raise ValueError(f"{self.owner}: x0 holds negative numbers, and positive=True allows none")
        return w

    def intercepts(self, coef: np.ndarray) -> np.ndarray:
        """The constants that belong to the columns of coef; for a path, of the one target."""
        found = np.broadcast_to(self._y_means, (coef.shape[1],)).copy()
        if self._means is not None:
            found -= self._means @ coef.astype(np.float64)
        return found
