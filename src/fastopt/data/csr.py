"""Rows of sparse matrices in compressed rows (CSR), copied in C."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from fastopt._core.files import CsrRows
from fastopt.data.npy import as_indices

__all__ = ["Csr"]

_STEP = 1 << 20


class Csr:
    """Rows of a sparse matrix or array of SciPy in CSR format.

    Parameters
    ----------
    matrix : scipy.sparse.csr_matrix or csr_array, shape (n, m)
        Its three arrays are referred to, not copied; they may be memory maps. Elements may be unsorted or
        there twice: rows come out as they are.
    dense : bool, default False
        Give dense arrays of shape (k, m) instead; elements that are there twice are added, as by ``toarray``.

    Notes
    -----
    ``Csr(X).take(indices)`` equals ``X[indices]``, in type, dtype and order of the elements. Indices of a
    batch are 64-bit where the matrix has them, or where the batch stores 2^31 elements or more.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp, fastopt as fo
    >>> X = sp.csr_array(np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]))
    >>> fo.data.Csr(X).take([1, 1, 0]).toarray()
    array([[2., 0.],
           [2., 0.],
           [0., 1.]])
    """

    def __init__(self, matrix: Any, *, dense: bool = False) -> None:
        import scipy.sparse as sparse

        if not sparse.issparse(matrix):
            raise TypeError(
                f"matrix is {type(matrix).__name__}; a scipy.sparse matrix in CSR format is needed"
            )
        if matrix.format != "csr" or matrix.ndim != 2:
            raise TypeError(
                f"matrix is in {matrix.format.upper()} format, of {matrix.ndim} dimensions; rows are taken from a "
                "matrix in CSR format: pass matrix.tocsr()"
            )
        if matrix.dtype.hasobject:
            raise TypeError("matrix has dtype object; numbers are needed")
        self.shape: tuple[int, int] = matrix.shape
        self.dtype: np.dtype[Any] = matrix.dtype
        self.dense = bool(dense)
        indptr, indices = (np.ascontiguousarray(part) for part in (matrix.indptr, matrix.indices))
        if indptr.dtype not in (np.int32, np.int64) or indices.dtype != indptr.dtype:
            indptr, indices = indptr.astype(np.int64), indices.astype(np.int64)
        data = np.ascontiguousarray(matrix.data)
        stored = min(len(indices), len(data))
        if len(indptr) != self.shape[0] + 1:
            raise ValueError(f"matrix.indptr has {len(indptr)} entries; {self.shape[0] + 1} are needed")
        for start in range(0, len(indptr), _STEP):  # by parts: it may be a memory map
            part = indptr[start : start + _STEP + 1]
            if part[0] < 0 or part[-1] > stored or np.any(part[1:] < part[:-1]):
                raise ValueError(
                    f"matrix.indptr does not rise from 0 to at most {stored}, the elements stored"
                )
        self._rows = CsrRows(indptr, indices, data)
        self._make = type(matrix)
        self._empty: Any = None

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, indices: Any) -> Any:
        """Rows, in the order asked for: a matrix of the same class, or a dense array.

        Parameters
        ----------
        indices : array_like of int, shape (k,)
            From 0 to ``len(self) - 1``; repetitions are fine.
        """
        order = as_indices(indices)
        data, columns, indptr = self._rows.take(order)
        # The constructor takes longer than the copy. Batches have few lengths, so an empty matrix is kept to copy.
        if self._empty is None or self._empty.shape[0] != len(order):
            self._empty = self._make((len(order), self.shape[1]), dtype=self.dtype)
        rows = copy.copy(self._empty)
        rows.data, rows.indices, rows.indptr = data, columns, indptr
        if not self.dense:
            return rows
        if len(columns) and (columns.min() < 0 or columns.max() >= self.shape[1]):
            raise ValueError(f"matrix.indices holds columns outside 0 to {self.shape[1] - 1}")
        return rows.toarray()

    def __repr__(self) -> str:
        return f"Csr({self.dtype} {self.shape}{', dense' if self.dense else ''})"
