"""Orthogonal matrices, uniform over the group, and kernels that hold one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, TypeVar

import numpy as np

from fastopt.init._fans import Axes, read_axes, resolve
from fastopt.init._gains import squared_gain
from fastopt.init._pieces import normal_piece
from fastopt.init._simple import fits
from fastopt.init._streams import elements
from fastopt.init._targets import Filler, fill
from fastopt.init._threads import Job, run_jobs

__all__ = ["delta_orthogonal", "orthogonal", "stiefel"]

T = TypeVar("T")
KEPT = 64  # columns up to which the mask of a triangle is kept


@cache
def _orgqr(kind: str) -> tuple[Callable[..., Any], int]:
    """LAPACK's routine for float32 ("f") or float64 ("d"), and how much workspace it wants for each column."""
    from scipy.linalg import lapack  # late: it takes long to import

    routine = lapack.sorgqr if kind == "f" else lapack.dorgqr
    return routine, int(routine(np.zeros((1, 1), kind), np.zeros(1, kind), lwork=-1)[1][0])


@lru_cache(16)
def _upper(n: int) -> np.ndarray:
    return np.tri(n, dtype=bool).T


def stiefel(matrix: np.ndarray, gain: float, rng: np.random.Generator) -> None:
    """Write a random F-ordered (m, n) matrix, m >= n, with Q'Q = gain^2 I, uniform among all such.

    Q of a Gaussian matrix's QR factorization with a positive diagonal of R is uniform. The part of each column that
    the factorization has not yet touched is Gaussian again, independent of what came before, so the reflectors need
    not be computed one after the other: all are drawn at once (Stewart, 1980), and LAPACK's orgqr multiplies them.
    """
    n = matrix.shape[1]
    orgqr, work = _orgqr(matrix.dtype.char)
    run_jobs(elements(normal_piece(0.0, 1.0))(matrix.T, rng))
    # With r = sign(x_0) |x|, column j below the diagonal, x, is mapped to -r e_0 by I - tau v v', where
    # v = (x + r e_0) / (x_0 + r) and tau = (x_0 + r) / r: what geqrf makes of it.
    alpha = np.diagonal(matrix).copy()
    squares = np.square(matrix.T)
    if n <= KEPT:
        squares[:, :n] *= _upper(n)
        r = np.sqrt(squares.sum(axis=1))
    else:
        r = np.sqrt(np.triu(squares[:, :n]).sum(axis=1) + squares[:, n:].sum(axis=1))
    r = np.copysign(r, alpha, out=r)
    pivot = alpha + r
    if r.all():
        tau = pivot / r
    else:  # one number of 2^24 in the last column of a square matrix: reflected by nothing
        tau = np.divide(pivot, r, out=np.zeros_like(r), where=r != 0)
        pivot[r == 0] = 1
    matrix /= pivot
    q, _, info = orgqr(matrix, tau, lwork=n * work, overwrite_a=1)
    if info:
        raise RuntimeError(f"LAPACK's orgqr gave {info}")
    np.multiply(q, np.copysign(gain, -r), out=matrix)  # the diagonal of R is -r


def _fill_matrix(leaf: np.ndarray, out_axes: Sequence[int], gain: float, rng: np.random.Generator) -> None:
    """The leaf with its output axes last, as a matrix: orthonormal columns if it is tall, rows if it is wide."""
    last = tuple(range(leaf.ndim - len(out_axes), leaf.ndim))
    moved = leaf if tuple(out_axes) == last else np.moveaxis(leaf, out_axes, last)
    cols = math.prod(moved.shape[-len(out_axes) :])
    rows = moved.size // cols
    wide = rows <= cols
    ready = wide and moved.flags.c_contiguous and moved.flags.aligned
    if wide:
        transposed = np.asarray(moved).reshape(rows, cols) if ready else np.empty((rows, cols), leaf.dtype)
        stiefel(transposed.T, gain, rng)
        if not ready:
            moved[...] = transposed.reshape(moved.shape)
    else:
        q = np.empty((rows, cols), leaf.dtype, order="F")
        stiefel(q, gain, rng)
        # Columns whose starts are a power of two apart fall into few places of the cache: take few at a time.
        step = 8 if q.strides[1] % 2048 == 0 else cols
        table = moved.reshape(rows, cols)
        for j in range(0, cols, step):
            table[:, j : j + step] = q[:, j : j + step]
        if not np.may_share_memory(table, moved):
            moved[...] = table.reshape(moved.shape)


def orthogonal(params: T, gain: float | str = 1.0, *, axes: Any = "in_out", rng: Any = None) -> T:
    """Fill with a random orthogonal matrix times `gain`, uniform over all of them (Haar).

    Parameters
    ----------
    params : ndarray or tree of ndarray
        Of at least two axes each, float32 or float64, written in place. An array of more axes is taken as a matrix
        with a column for each output and a row for each input and place of a kernel.
    gain : float or str, default 1
        Above 0, or the name of an activation that `gain` knows.
    axes : str or pair, default "in_out"
        Which axes are the outputs; as for `variance_scaling`.
    rng
        As for `uniform`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `variance_scaling`.

    Notes
    -----
    Taken as a matrix W, a tall one has ``W' W = gain^2 I``, a wide one ``W W' = gain^2 I``. It is what the QR
    factorization of a Gaussian matrix gives with positive diagonal of R; without that sign it would not be uniform
    (Mezzadri, 2007). The reflectors are drawn, not computed (Stewart, 1980), and multiplied by LAPACK. A linear
    network of such layers keeps all norms, whatever its depth; with ReLU a gain of sqrt(2) is wanted. Saxe et al.,
    2014; book 8.4.

    The same numbers are drawn on any number of threads; the last bits of the result are those of the BLAS in use,
    with the number of threads that it uses.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = fo.init.orthogonal(np.empty((64, 10)), rng=0)
    >>> bool(np.allclose(w.T @ w, np.eye(10)))
    True
    """
    owner = "fo.init.orthogonal"
    factor = math.sqrt(squared_gain(owner, gain))
    sides = read_axes(owner, axes)

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        outputs = resolve(shape, sides, where).outputs
        fits(factor, dtype, where, "gain")

        def filler(leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
            _fill_matrix(leaf, outputs, factor, rng)
            return ()

        return filler

    return fill("orthogonal", params, rng, plan)


def middle(leaf: np.ndarray, axes: Axes) -> np.ndarray:
    """The matrix (inputs..., outputs...) in the middle of a kernel, a view; at (k - 1) // 2 where k is even."""
    kernel = [axis for axis in range(leaf.ndim) if axis not in axes.inputs and axis not in axes.outputs]
    moved = np.moveaxis(leaf, [*kernel, *axes.inputs, *axes.outputs], range(leaf.ndim))
    at: Any = tuple((n - 1) // 2 for n in moved.shape[: len(kernel)])
    return moved[at]


def delta_orthogonal(params: T, gain: float | str = 1.0, *, axes: Any = "in_out", rng: Any = None) -> T:
    """Fill kernels with zeros but for the middle, which gets a random matrix of orthonormal rows times `gain`.

    Parameters
    ----------
    params : ndarray or tree of ndarray
        Kernels (k..., in, out) with at least as many outputs as inputs. Without kernel axes: as `orthogonal`.
    gain, axes, rng
        As for `orthogonal`.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        As for `orthogonal`; also where there are fewer outputs than inputs.

    Notes
    -----
    The convolution with such a kernel keeps norms exactly, apart from the border; that of a kernel filled by
    `orthogonal` does not. Xiao et al., 2018, who trained plain convolutional networks of 10 000 layers from it.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> kernel = fo.init.delta_orthogonal(np.empty((3, 3, 4, 8)), rng=0)
    >>> int(np.count_nonzero(kernel)), bool(np.allclose(kernel[1, 1] @ kernel[1, 1].T, np.eye(4)))
    (32, True)
    """
    owner = "fo.init.delta_orthogonal"
    factor = math.sqrt(squared_gain(owner, gain))
    sides = read_axes(owner, axes)

    def plan(shape: tuple[int, ...], dtype: np.dtype, where: str) -> Filler:
        found = resolve(shape, sides, where)
        n_in, n_out = (math.prod(shape[axis] for axis in side) for side in found)
        if n_in > n_out:
            raise ValueError(
                f"{where} has {n_in} inputs and {n_out} outputs; norms can only be kept with at least as many outputs"
            )
        fits(factor, dtype, where, "gain")

        def filler(leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
            leaf[...] = 0
            heart = middle(leaf, found)
            last = range(heart.ndim - len(found.outputs), heart.ndim)
            _fill_matrix(heart, tuple(last), factor, rng)
            return ()

        return filler

    return fill("delta_orthogonal", params, rng, plan)
