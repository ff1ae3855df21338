"""Shuffling as a function: the permutation of (n, seed, epoch), of which any element can be had at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt._core import shuffle as _shuffle
from fastopt._core.orders import WORDS, Keyed
from fastopt.data.lazy import Lazy, index_dtype
from fastopt.data.seeds import as_count, child, seed_from, seed_state

__all__ = ["EXACT_MOST", "METHODS", "Draws", "Permutation"]

#: Rows up to which an order is made by Fisher-Yates if nobody says otherwise. Measured: to here it takes 7 to 15 ns
#: an element and 16 MiB, above it falls out of the caches.
EXACT_MOST = 2**22
METHODS = ("auto", "exact", "keyed")
MOST = 2**63 - 1


def as_method(method: Any, n: int) -> str:
    """The method that is meant for n rows."""
    if not isinstance(method, str) or method not in METHODS:
        raise ValueError(f"method is {method!r}; one of {', '.join(map(repr, METHODS))} is needed")
    return method if method != "auto" else "exact" if n <= EXACT_MOST else "keyed"


class Permutation(Lazy):
    r"""A random order of :math:`0, \dots, n-1`, a function of ``(n, seed, epoch)`` and of nothing else.

    ``order[i]`` is the `i`-th element, ``order[a:b]`` a run of them, ``order.index_of(v)`` the place of `v`.
    The same arguments give the same order on every machine, in every version, for any number of threads.

    Parameters
    ----------
    n : int
        Elements, 0 to :math:`2^{63}-1`.
    seed : int, sequence of int, SeedSequence, BitGenerator, Generator or None
        As `numpy.random.default_rng` takes it. From a generator 128 bits are drawn, now; None takes fresh
        entropy.
    epoch : int, default 0
        Orders of different epochs are independent.
    method : {"auto", "exact", "keyed"}, default "auto"
        ``"exact"``: Fisher-Yates; each of the :math:`n!` orders is equally likely, as far as the bits are
        random; the order is made when it is first looked at and is kept, in `4 n` bytes. ``"keyed"``: no
        memory, any element in about a microsecond. ``"auto"``: exact up to :math:`2^{22}` (4,194,304)
        elements, keyed beyond.

    Attributes
    ----------
    n, epoch : int
    seed : SeedSequence
    method : str
        "exact" or "keyed".
    dtype : dtype
        Of slices: uint32, or int64 from :math:`2^{32}` elements.

    Notes
    -----
    **Keyed.** With :math:`p = \lceil \lceil\log_2 n\rceil / 2 \rceil` an index is the pair
    :math:`x = r\,2^p + l`, :math:`r < m = \lceil n / 2^p \rceil`. 24 rounds alternate

    .. math::

        l \leftarrow l + \lfloor 2^{p-32}\, h_k(r) \rfloor \bmod 2^p, \qquad
        r \leftarrow r + \lfloor 2^{-32}\, m\, h_k(l) \rfloor \bmod m,

    with :math:`h_k` a 32-bit hash of its argument and of 64 bits of key. Each round can be undone, so this is a
    permutation of :math:`0, \dots, m 2^p - 1`; it is applied again as long as it leads to `n` or beyond.

    *What it cannot do.* The keys come from a seed of 128 bits, so there are at most :math:`2^{128}` orders for
    each `n`: from n = 35 on not all :math:`n!` can appear (nor can they with Fisher-Yates from one seed). In
    the tests of this package the orders of up to 6 elements come up equally often, and positions, neighbours,
    inversions and cycles of longer orders behave as those of uniform ones. It is made for shuffling, not for
    secrets.

    Sources: J. Black and P. Rogaway, *Ciphers with arbitrary finite domains*, CT-RSA 2002; R. Mitchell,
    D. Stokes, E. Frank and G. Holmes, *Bandwidth-optimal random shuffling for GPUs*, ACM TOPC 9 (2022).
    Exact: D. E. Knuth, *The Art of Computer Programming* 2, 3.4.2, algorithm P.

    Examples
    --------
    >>> import fastopt as fo
    >>> order = fo.data.Permutation(10**12, seed=0, epoch=3)
    >>> place = order.index_of(123)
    >>> order[place]
    123
    >>> len(order[place : place + 5])
    5
    """

    def __init__(self, n: int, seed: Any, epoch: int = 0, method: str = "auto") -> None:
        self.n = self._count = as_count(n, "n", 0, MOST)
        self.seed = seed_from(seed, "seed")
        self.epoch = as_count(epoch, "epoch", 0)
        self.method = as_method(method, self.n)
        self.dtype = index_dtype(self.n)
        self._keyed: Keyed | None = None
        if self.method == "keyed" and self.n:
            self._keyed = Keyed(self.n, child(self.seed, self.epoch, self.n).generate_state(WORDS))
        self._order: np.ndarray | None = None
        self._places_of: np.ndarray | None = None

    def array(self) -> np.ndarray:
        """All of the order, read-only if it is kept ("exact")."""
        if self._keyed is not None:
            return self._keyed.slice(0, 1, self.n)
        if self._order is None:
            order = _shuffle.permutation(self.n, np.random.PCG64(child(self.seed, self.epoch)))
            order.flags.writeable = False
            self._order = order
        return self._order

    def _run(self, first: int, step: int, count: int) -> np.ndarray:
        if self._keyed is not None:
            return self._keyed.slice(first, step, count)
        order = self.array()
        if step == 1:
            return order[first : first + count].copy()
        return self._take(first + step * np.arange(count))

    def _take(self, places: np.ndarray) -> np.ndarray:
        if self._keyed is not None:
            return self._keyed.map(places, False).astype(self.dtype, copy=False)
        return self.array()[places]

    def index_of(self, value: Any) -> Any:
        """The place of a value, so that ``order[order.index_of(v)] == v``.

        Parameters
        ----------
        value : int, or array_like of int, one-dimensional
            0 to n - 1.

        Returns
        -------
        int, or ndarray of int64
        """
        if np.ndim(value) == 0:
            v = as_count(value, "value", 0, self.n - 1)
            return self._keyed.index_of(v) if self._keyed is not None else int(self._inverse()[v])
        values = np.asarray(value)
        if values.ndim != 1 or (values.dtype.kind not in "iu" and values.size):
            raise TypeError(
                f"value has dtype {values.dtype} and shape {values.shape}; integers in one dimension are needed"
            )
        if values.size and (values.min() < 0 or values.max() >= self.n):
            raise ValueError(
                f"value holds {values.min()} to {values.max()}; integers from 0 to {self.n - 1} are needed"
            )
        values = values.astype(np.int64)
        return self._keyed.map(values, True) if self._keyed is not None else self._inverse()[values]

    def _inverse(self) -> np.ndarray:
        if self._places_of is None:
            places = np.empty(self.n, np.int64)
            places[self.array()] = np.arange(self.n)
            self._places_of = places
        return self._places_of

    def _identity(self) -> tuple[Any, ...]:
        return (self.n, *seed_state(self.seed).values(), self.epoch, self.method)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Permutation):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __reduce__(self) -> tuple[Any, ...]:
        return Permutation, (self.n, self.seed, self.epoch, self.method)

    def __repr__(self) -> str:
        entropy, key = self.seed.entropy, self.seed.spawn_key
        seed = f"SeedSequence({entropy}, spawn_key={key})" if key else entropy
        return f"Permutation(n={self.n}, seed={seed}, epoch={self.epoch}, method={self.method!r})"


class Draws(Lazy):
    r"""Independent uniform draws from :math:`0, \dots, n-1`, `count` of them, without memory.

    Draw `i` is :math:`\lfloor n\, \pi(i)\, 2^{-62} \rfloor` with :math:`\pi` the keyed permutation of
    :math:`2^{62}` numbers; that those never repeat shows only after some :math:`2^{31}` draws, and then hardly.
    """

    def __init__(self, n: int, count: int, seed: np.random.SeedSequence) -> None:
        self.n, self._count = n, count
        self.dtype = index_dtype(n)
        self._keyed = Keyed(2**62, seed.generate_state(WORDS))

    def _scaled(self, numbers: np.ndarray) -> np.ndarray:
        # n x / 2^62 in halves of 31 bits: no sum leaves 64.
        half, ones = np.uint64(31), np.uint64(2**31 - 1)
        x = numbers.view(np.uint64)
        x1, x0 = x >> half, x & ones
        n1, n0 = np.uint64(self.n >> 31), np.uint64(self.n) & ones
        middle = n1 * x0 + n0 * x1 + (n0 * x0 >> half)
        return (n1 * x1 + (middle >> half)).astype(self.dtype)

    def _take(self, places: np.ndarray) -> np.ndarray:
        return self._scaled(self._keyed.map(places, False))

    def _run(self, first: int, step: int, count: int) -> np.ndarray:
        return self._scaled(self._keyed.slice(first, step, count))
