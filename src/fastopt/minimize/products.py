"""A symmetric linear map however it came (matrix, sparse matrix, operator, function), and BLAS on vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import blas
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator

from fastopt.minimize.point import as_real

__all__ = ["LinearMap", "narrow", "vectors"]

#: float32 is summed in double, so many elements at a time.
CHUNK = 16384


def narrow(A: Any) -> bool:
    """May a run with A be in float32? A function has no dtype, and is asked in that of the vectors."""
    dtype = getattr(A, "dtype", None)
    return dtype == np.float32 or (dtype is None and callable(A))


def vectors(
    n: int, dtype: np.dtype[Any]
) -> tuple[Callable[..., float], Callable[..., Any], Callable[..., Any]]:
    """dot(u, v), axpy(u, v, a): v += a u, and scal(a, v): v *= a, for packed vectors of n elements."""
    wide = dtype == np.float64
    if n == 0:
        return (lambda u, v: 0.0), (lambda u, v, a: None), (lambda a, v: None)
    if n >= 2**31:  # BLAS as SciPy has it counts in 32 bits; NumPy cuts the vectors into parts

        def plus(u: np.ndarray, v: np.ndarray, a: float) -> None:
            for start in range(0, n, CHUNK):
                v[start : start + CHUNK] += dtype.type(a) * u[start : start + CHUNK]

        def times(a: float, v: np.ndarray) -> None:
            v *= dtype.type(a)

        return (lambda u, v: float(np.dot(u, v))) if wide else _dot_narrow(n), plus, times
    axpy = blas.daxpy if wide else blas.saxpy
    scal = blas.dscal if wide else blas.sscal
    return blas.ddot if wide else _dot_narrow(n), (lambda u, v, a: axpy(u, v, n, a)), scal


def _dot_narrow(n: int) -> Callable[..., float]:
    """The dot product of float32 in double, a piece at a time through two buffers."""
    left, right = np.empty((2, min(n, CHUNK)))

    def dot(u: np.ndarray, v: np.ndarray) -> float:
        total = 0.0
        for start in range(0, n, CHUNK):
            size = min(CHUNK, n - start)
            left[:size] = u[start : start + size]
            if v is u:
                total += blas.ddot(left, left, size)
            else:
                right[:size] = v[start : start + size]
                total += blas.ddot(left, right, size)
        return total

    return dot


class LinearMap:
    """v -> A v for vectors of n elements of one dtype; counts its products.

    Attributes
    ----------
    count : int
        Products so far.
    checked : bool
        Symmetry has been looked at; if not, `compare` does it from two products.
    """

    def __init__(self, owner: str, name: str, A: Any, n: int, dtype: np.dtype[Any]) -> None:
        self.name = f"{owner}: {name}"
        self.n, self.dtype = n, dtype
        self.count = 0
        self.checked = False
        self.product: Callable[[np.ndarray], Any]
        if type(A) is np.ndarray:  # the common case, without detours
            self._dense(as_real(owner, name, A))
        elif isinstance(A, LinearOperator) or (callable(getattr(A, "matvec", None)) and hasattr(A, "shape")):
            self._shape(A.shape, A.dtype)
            self.product = A.matvec
        elif issparse(A):
            self._shape(A.shape, A.dtype)
            self._sparse(A)
        elif callable(A):
            self.product = A
        else:
            self._dense(as_real(owner, name, A))

    def _shape(self, shape: Any, dtype: Any) -> None:
        if tuple(shape) != (self.n, self.n):
            raise ValueError(
                f"{self.name} has shape {tuple(shape)}; {(self.n, self.n)} is wanted, b has {self.n} elements"
            )
        if dtype is not None and np.dtype(dtype).kind not in "fiub":
            raise TypeError(f"{self.name} has dtype {dtype}; real numbers are wanted")

    def _sparse(self, A: Any) -> None:
        if A.format not in ("csr", "csc", "bsr", "dia"):  # those whose product is one compiled loop
            A = A.tocsr()
        A = A.astype(self.dtype, copy=False)
        self.product = lambda v: A @ v
        self._try(self.product, lambda v: A.T @ v)

    def _dense(self, A: np.ndarray) -> None:
        self._shape(A.shape, A.dtype)
        A = A.astype(self.dtype, copy=False)
        if not (A.flags.c_contiguous or A.flags.f_contiguous) or not A.flags.aligned:
            A = A.copy()
        if not self.n:
            self.product = np.zeros_like
            return
        # symv reads one triangle, so half of the memory that a general product does.
        columns = A if A.flags.f_contiguous else A.T
        symv = blas.dsymv if self.dtype == np.float64 else blas.ssymv
        out = np.empty(self.n, self.dtype)
        # A @ v
        self.product = lambda v: symv(1.0, columns, v, 0.0, out, overwrite_y=1)
        self._try(self.product, lambda v: A @ v)

    def _try(
        self, product: Callable[[np.ndarray], np.ndarray], other: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        """Two products that are one if A is symmetric, on a vector that no structure of A goes with."""
        v = np.sin(np.arange(1.0, self.n + 1) ** 2).astype(self.dtype)
        with np.errstate(all="ignore"):
            mine, theirs = product(v), other(v)
            gap, size = np.abs(mine - theirs).max(initial=0.0), np.abs(theirs).max(initial=0.0)
        if not gap <= np.finfo(self.dtype).eps ** 0.5 * size < np.inf:
            if np.isfinite(gap):
                raise ValueError(f"{self.name} is not symmetric; a symmetric matrix is wanted")
            raise ValueError(
                f"{self.name} holds NaN or Inf, or numbers near the largest; finite ones are wanted"
            )
        self.checked = True

    def compare(
        self,
        uav: float,
        vau: float,
        first: tuple[np.ndarray, np.ndarray],
        second: tuple[np.ndarray, np.ndarray],
        dot: Callable[..., float],
    ) -> None:
        """u'A v against v'A u, from (u, A u) and (v, A v).

        The bound is wide: products that come from differences are symmetric to a few digits only.
        """
        self.checked = True
        (u, au), (v, av) = first, second
        size = (dot(u, u) * dot(av, av)) ** 0.5 + (dot(v, v) * dot(au, au)) ** 0.5
        if abs(uav - vau) > np.finfo(self.dtype).eps ** 0.25 * size:
            raise ValueError(
                f"{self.name} is not symmetric, or no linear function: u'A v = {uav:.6g} and v'A u = {vau:.6g} "
                "for two vectors; a symmetric one is wanted"
            )

    def __call__(self, v: np.ndarray) -> np.ndarray:
        """A v: packed, of the dtype; it may be an array that the next product writes again."""
        self.count += 1
        q = self.product(v)
        if type(q) is np.ndarray and q.dtype == self.dtype and q.shape == v.shape and q.flags.c_contiguous:
            return q
        a = np.asarray(q)
        if a.dtype.kind not in "fiub":
            raise TypeError(
                f"{self.name}(v) is {type(q).__name__} ({a.dtype}); an array of real numbers is wanted"
            )
        if a.shape != v.shape:
            raise ValueError(f"{self.name}(v) has shape {a.shape}; {v.shape} is wanted")
        return np.ascontiguousarray(a, self.dtype)
