"""Both ends of a symmetric operator's spectrum by thick-restart Lanczos (Wu and Simon, SIAM J. Matrix Anal. 22, 2000).

Unlike ARPACK's, the stopping test is relative to the whole spectrum, so that a smallest eigenvalue near zero does
not cost all the products there are; an answer always comes, with its error bound; and any n from 1 on will do.
Each new vector is orthogonalised against the whole basis, twice, so the projected matrix is read off the products
and a restart needs no book-keeping of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["Ends", "lanczos"]

BASIS = (24, 128)  # vectors kept, n float64 each: the fewer, the larger n is
ROOM = 1 << 24  # elements that the basis may have where more than the fewest are kept


class Ends(NamedTuple):
    """Ritz values in ascending order, bounds of their errors, Ritz vectors of both ends, products spent."""

    values: np.ndarray
    bounds: np.ndarray
    low: np.ndarray
    high: np.ndarray
    products: int
    converged: bool


def lanczos(
    product: Callable[[np.ndarray], np.ndarray],
    n: int,
    start: np.ndarray,
    *,
    tol: float,
    most: int,
    tell: Callable[..., None] | None = None,
) -> Ends:
    """Run until both extreme Ritz values are known to ``tol * max|value|``, or for `most` products."""
    m = min(n, max(BASIS[0], min(BASIS[1], ROOM // n)))
    ends = max(1, m // 6)  # Ritz vectors of each end that a restart keeps
    basis = np.empty((m + 1, n))
    small = np.zeros((m, m))
    basis[0] = start / np.linalg.norm(start)
    j = products = 0
    while True:
        w = np.array(product(basis[j]), np.float64)  # a copy: the product may hand out its own buffer
        products += 1
        used = basis[: j + 1]
        h = used @ w
        w -= h @ used
        more = used @ w
        w -= more @ used
        h += more
        small[: j + 1, j] = small[j, : j + 1] = h
        beta = float(np.linalg.norm(w))
        j += 1
        # A look costs j^3: for long bases not at every step.
        if 32 < j < m and j % 8 and products < most and beta > 0:
            basis[j] = w / beta
            continue
        values, vectors = np.linalg.eigh(small[:j, :j])
        bounds = beta * np.abs(vectors[-1])
        size = max(abs(values[0]), abs(values[-1]))
        if tell is not None:
            tell(products, low=float(values[0]), high=float(values[-1]))
        whole = j == n or beta <= 1e-14 * size
        if whole:
            bounds = np.zeros_like(bounds)
        converged = whole or (j > 1 and max(bounds[0], bounds[-1]) <= tol * size)
        if converged or products >= most:
            low, high = vectors[:, 0] @ basis[:j], vectors[:, -1] @ basis[:j]
            return Ends(values, bounds, low, high, products, bool(converged))
        if j == m:
            keep = np.r_[:ends, j - ends : j]
            basis[: keep.size] = vectors[:, keep].T @ basis[:j]
            small[:] = 0
            small[range(keep.size), range(keep.size)] = values[keep]
            j = keep.size
        basis[j] = w / beta
