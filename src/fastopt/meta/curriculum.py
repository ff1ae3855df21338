r"""Curricula (Deep Learning, 8.7.6): easy examples first, or more of them; orders for ``fo.Batches(shuffle=...)``.

An order is a function of (seed, epoch), as all orders of `fastopt.data` are, so a run stopped in the middle of an
epoch goes on bit for bit. Orders that learn from the losses of a run are in `fastopt.meta.self_paced`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastopt._checks import check_choice, check_integer, check_number
from fastopt._core import shuffle as _shuffle
from fastopt._progress import Progress, reporting
from fastopt.data.grouped import sorted_by
from fastopt.data.lazy import index_dtype
from fastopt.data.orders import Strategy, as_classes, checksum
from fastopt.data.seeds import as_count, child, seed_from
from fastopt.meta.pacing import Pacing, as_epoch, share_of

__all__ = ["Curriculum", "Mixture", "combined", "losses_of"]

FIRST = ("easy", "hard", "random")


def losses_of(
    loss: Callable[..., Any], *arrays: np.ndarray, size: int = 1024, progress: Progress = False
) -> np.ndarray:
    """The loss of every example: difficulty in the eyes of a teacher, or the present state of a student.

    Parameters
    ----------
    loss : callable
        ``loss(*batch)`` gives one number a row, shape (rows,): the losses of a model that was trained before.
    *arrays : array_like, shape (n, ...)
        As for :class:`fastopt.Batches`.
    size : int, default 1024
        Rows that are handed to `loss` at a time.
    progress : bool or callable, default False
        True: a bar on a terminal. A function is called as ``progress("losses", done, total, {})`` after each batch.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    TypeError, ValueError
        `loss` returns something else than one real number a row, or NaN; or the arrays do not agree.

    Examples
    --------
    >>> import numpy as np
    >>> X, y = np.array([[1.0], [2.0], [3.0]]), np.array([1.0, 2.0, 5.0])
    >>> losses_of(lambda x, y: (x[:, 0] - y) ** 2, X, y, size=2)
    array([0., 0., 4.])
    """
    from fastopt.data import Batches

    if not callable(loss):
        raise TypeError(f"losses_of: loss is {loss!r}; a function of a batch is wanted")
    size = check_integer("losses_of", "size", size, 1)
    rows = len(arrays[0]) if arrays and np.ndim(arrays[0]) else 1
    batches = Batches(*arrays, size=max(1, min(size, rows)), shuffle=False)
    out = np.empty(batches.rows)
    done = 0
    with reporting(progress, "losses", len(batches)) as tell:
        for number, batch in enumerate(batches, 1):
            parts = batch if isinstance(batch, tuple) else (batch,)
            found = np.asarray(loss(*parts))
            if found.shape != (len(parts[0]),) or found.dtype.kind not in "fiu":
                raise TypeError(
                    f"losses_of: loss returned {found.dtype} {found.shape} for {len(parts[0])} rows; one real number "
                    "a row is wanted"
                )
            if np.isnan(found).any():
                raise ValueError(
                    f"losses_of: loss returned NaN for row {done + int(np.isnan(found).argmax())}"
                )
            out[done : done + len(found)] = found
            done += len(found)
            tell(number)
    return out


def as_scores(owner: str, scores: Any, name: str = "scores") -> np.ndarray:
    """One real number a row, as float64 (a copy); infinite ones are allowed."""
    found = np.asarray(scores)
    if found.dtype.kind not in "fiub" or found.ndim != 1:
        raise TypeError(
            f"{owner}: {name} has dtype {found.dtype} and shape {found.shape}; one real number a row is wanted"
        )
    if not found.size:
        raise ValueError(f"{owner}: {name} is empty; one number a row is wanted")
    found = found.astype(np.float64)
    if np.isnan(found).any():
        raise ValueError(f"{owner}: {name}[{int(np.isnan(found).argmax())}] is NaN; numbers are wanted")
    return found


def ranked(scores: np.ndarray, first: str, classes: np.ndarray | None, rng: Any) -> np.ndarray:
    """Rows from the first to the last that are let in; equal scores in random order, classes in turn."""
    n = len(scores)
    rank = _shuffle.permutation(n, np.random.PCG64(seed_from(rng)))
    if first != "random":
        key = scores if first == "easy" else -scores
        rank = rank[np.argsort(key[rank], kind="stable")]  # stable: equal ones stay as they were shuffled
    if classes is not None:
        # Row j of m of its class stands at (j + 1/2) / m: every beginning has the classes in proportion.
        kind = classes[rank]
        sizes = np.bincount(classes)
        by_class = sorted_by(kind, len(sizes))
        place = np.empty(n)
        place[by_class] = np.arange(n) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        rank = rank[np.argsort((place + 0.5) / sizes[kind], kind="stable")]
    rank = rank.astype(index_dtype(n))
    rank.flags.writeable = False
    return rank


def rounds(rows: np.ndarray, count: int, bits: np.random.BitGenerator) -> np.ndarray:
    """`count` of the rows in random order, each as often as any other, or once more: permutation after permutation."""
    k = len(rows)
    whole = [rows[_shuffle.permutation(k, bits)] for _ in range(-(-count // k))]
    return np.concatenate(whole)[:count] if len(whole) != 1 else whole[0][:count]


class Curriculum(Strategy):
    r"""The easiest examples first: an epoch uses the share of them that its pacing says, in random order.

    Parameters
    ----------
    scores : array_like, shape (n,)
        Difficulty of each row, larger is harder: known from the task, or the losses of a teacher (`losses_of`).
        Only their order counts; equal ones are ranked at random, once, by `rng`.
    pacing : callable
        ``pacing(epoch)``, 0 for the first epoch, in (0, 1]: see `fastopt.meta.pacing`. The :math:`k` rows that are
        let in are that share of `n`, rounded to the nearest integer, at least one.
    count : int, optional
        Entries of every epoch. Each of the `k` rows comes equally often, or once more: one permutation of them
        after the other, the last one cut off. By default each comes once, so that epochs grow with the share.
    labels : array_like, shape (n,), optional
        Classes that keep their proportions among the rows that are let in, whatever their scores: easiest first
        within each class.
    first : {"easy", "hard", "random"}, default "easy"
        ``"hard"``: the hardest first, the anti-curriculum; ``"random"``: a random ranking. Both are the controls
        that a curriculum must beat, for they have the same pacing.
    rng : seed, default 0
        Of the order of equal scores, and of ``"random"``. The order within an epoch is of the `Batches`' seed.

    Attributes
    ----------
    ranking : ndarray of int
        All rows, in the order in which they are let in.

    Raises
    ------
    TypeError, ValueError
        `scores` is not one number a row or holds NaN, or another argument is wrong. What `pacing` gives is checked
        in each epoch.

    Notes
    -----
    With `labels`, of class `c` with :math:`n_c` rows there are :math:`k n_c / n` among the first `k`, but for less
    than :math:`1/2 + C n_c / (2 n)`, with :math:`C` classes: for classes of one size, less than one row.

    Construction sorts `n` numbers; an epoch costs what its entries cost.

    References
    ----------
    Bengio, Louradour, Collobert, Weston, Curriculum learning, 2009. Hacohen, Weinshall, On the power of curriculum
    learning in training deep networks, 2019. Goodfellow, Bengio, Courville, Deep Learning, 2016, section 8.7.6.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> length = np.array([3, 1, 2, 9, 5, 4])
    >>> order = fo.meta.Curriculum(length, fo.meta.pacing.linear(0.5, epochs=3))
    >>> batches = fo.Batches(length, size=6, rng=0, shuffle=order)
    >>> [sorted(map(int, batch)) for _ in range(4) for batch in batches]
    [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 9]]
    """

    name = "curriculum"

    def __init__(
        self,
        scores: Any,
        pacing: Callable[[int], float],
        count: int | None = None,
        *,
        labels: Any = None,
        first: str = "easy",
        rng: Any = 0,
    ) -> None:
        owner = "Curriculum"
        found = as_scores(owner, scores)
        if not callable(pacing):
            raise TypeError(f"{owner}: pacing is {pacing!r}; a function of the epoch is wanted")
        classes = None if labels is None else as_classes(labels, "labels")[0]
        if classes is not None and len(classes) != len(found):
            raise ValueError(f"{owner}: labels has {len(classes)} entries for {len(found)} scores")
        self.first = check_choice(owner, "first", first, FIRST)
        self.pacing = pacing
        self.count = None if count is None else as_count(count, "count", 1)
        self.ranking = ranked(found, first, classes, rng)

    def admitted(self, epoch: int) -> np.ndarray:
        """The rows of an epoch, from the first that was let in to the last: a view of `ranking`."""
        share = share_of(self.pacing, as_epoch("Curriculum", epoch))
        n = len(self.ranking)
        return self.ranking[: max(1, math.floor(share * n + 0.5))]

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray:
        self.length(n)
        rows = self.admitted(epoch)
        return rounds(rows, self.count or len(rows), np.random.PCG64(child(seed, epoch)))

    def length(self, n: int) -> int:
        if n != len(self.ranking):
            raise ValueError(f"shuffle has {len(self.ranking)} scores for {n} rows; one a row is needed")
        return self.count or n

    def length_in(self, n: int, epoch: int) -> int:
        return self.length(n) if self.count else len(self.admitted(epoch))

    def state(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "count": self.count,
            "first": self.first,
            "pacing": _name_of(self.pacing),
            "ranking": checksum(self.ranking),
        }


class Mixture(Strategy):
    r"""The stochastic curriculum: every epoch mixes all levels, and the share of the hard ones grows.

    Parameters
    ----------
    levels : array_like, shape (n,)
        Level of difficulty of each row: anything that can be sorted, the easiest level first.
    chances : callable
        ``chances(epoch)``, 0 for the first epoch: as many numbers >= 0 as there are levels, not all 0. Divided by
        their sum they are the shares of the levels in that epoch. See `by_scores` and `combined`.
    count : int, optional
        Entries of every epoch; by default `n`.

    Attributes
    ----------
    levels : ndarray of int, shape (n,)
        As numbers from 0.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind. What `chances` gives is checked in each epoch.

    Notes
    -----
    The book: "a random mix of easy and difficult examples is always presented to the learner, but [...] the average
    proportion of the more difficult examples [...] is gradually increased"; with a deterministic curriculum the
    authors saw no improvement over the plain order. Of ``count p_l`` entries that level `l` should have, an epoch has
    the integer below or above, the latter with just the chance that makes the mean right; within a level each row
    comes equally often, or once more; all entries are in random order.

    References
    ----------
    Zaremba, Sutskever, Learning to execute, 2014, section 4. Goodfellow, Bengio, Courville, Deep Learning, 2016,
    section 8.7.6.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> hard = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> share = fo.meta.pacing.linear(0.25, epochs=3)
    >>> order = fo.meta.Mixture.by_scores(hard, lambda epoch: share(epoch) / 2)
    >>> batches = fo.Batches(hard, size=8, rng=0, shuffle=order)
    >>> [int(batch.sum()) for _ in range(4) for batch in batches]
    [1, 2, 3, 4]
    """

    name = "mixture"

    def __init__(self, levels: Any, chances: Callable[[int], Any], count: int | None = None) -> None:
        if not callable(chances):
            raise TypeError(f"Mixture: chances is {chances!r}; a function of the epoch is wanted")
        self.levels, sizes = as_classes(levels, "levels")
        self.chances = chances
        self.count = len(self.levels) if count is None else as_count(count, "count", 1)
        by_level = np.argsort(self.levels, kind="stable").astype(index_dtype(len(self.levels)))
        self._rows = np.split(by_level, np.cumsum(sizes)[:-1])

    @classmethod
    def by_scores(
        cls,
        scores: Any,
        share: Callable[[int], float],
        count: int | None = None,
        *,
        split: float = 0.5,
        rng: Any = 0,
    ) -> Mixture:
        """Two levels: the easier part of the rows, and the harder rest.

        Parameters
        ----------
        scores : array_like, shape (n,)
            Difficulty of each row, larger is harder; equal ones are ranked at random, once, by `rng`.
        share : callable
            ``share(epoch)``, the share of hard entries, in [0, 1]; that of a plain order is ``1 - split``.
        count : int, optional
            As for the class.
        split : float, default 0.5
            The part of the rows that is easy, in (0, 1).
        """
        found = as_scores("Mixture", scores)
        split = check_number("Mixture", "split", split, 0.0, 1.0, above=True, below=True)
        if not callable(share):
            raise TypeError(f"Mixture: share is {share!r}; a function of the epoch is wanted")
        if len(found) < 2:
            raise ValueError("Mixture: scores has one entry; two rows at least are needed for two levels")
        levels = np.ones(len(found), np.int64)
        easy = min(max(1, math.floor(split * len(found) + 0.5)), len(found) - 1)
        levels[ranked(found, "easy", None, rng)[:easy]] = 0
        return cls(levels, _TwoLevels(share), count)

    def shares(self, epoch: int) -> np.ndarray:
        """The shares of the levels in an epoch; they sum to 1."""
        found = np.asarray(self.chances(as_epoch("Mixture", epoch)))
        if found.shape != (len(self._rows),) or found.dtype.kind not in "fiu":
            raise TypeError(
                f"chances({epoch}) is {found.dtype} {found.shape}; one real number for each of the {len(self._rows)} "
                "levels is wanted"
            )
        found = found.astype(np.float64)
        total = float(found.sum())
        if not (math.isfinite(total) and total > 0 and (found >= 0).all()):
            raise ValueError(f"chances({epoch}) is {found}; finite numbers >= 0, not all 0, are wanted")
        return found / total

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray:
        self.length(n)
        shares = self.shares(epoch)
        bits = np.random.PCG64(child(seed, epoch))
        # One random offset for all borders between levels: each count is right on average, and their sum always.
        offset = (int(bits.random_raw()) >> 11) * 2.0**-53
        borders = np.minimum(np.floor(np.cumsum(shares) * self.count + offset).astype(np.int64), self.count)
        borders[np.flatnonzero(shares)[-1] :] = self.count
        counts = np.diff(borders, prepend=0)
        parts = [rounds(rows, int(k), bits) for rows, k in zip(self._rows, counts, strict=True) if k]
        return np.concatenate(parts)[_shuffle.permutation(self.count, bits)]

    def length(self, n: int) -> int:
        if n != len(self.levels):
            raise ValueError(f"shuffle has {len(self.levels)} levels for {n} rows; one a row is needed")
        return self.count

    def state(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "count": self.count,
            "chances": _name_of(self.chances),
            "levels": checksum(self.levels),
        }


class _TwoLevels:
    """Shares of easy and hard from the share of hard."""

    def __init__(self, share: Callable[[int], float]) -> None:
        self.share = share

    def __call__(self, epoch: int) -> list[float]:
        hard = check_number("Mixture", f"share({epoch})", self.share(epoch), 0.0, 1.0)
        return [1.0 - hard, hard]

    def __repr__(self) -> str:
        return f"two levels, {_name_of(self.share)}"


class combined:
    """Zaremba and Sutskever's combined strategy: for `Mixture`, levels one after the other, and always some of all.

    Parameters
    ----------
    levels : int
        How many there are, >= 1.
    epochs : int
        The first epoch in which the hardest level has its turn, >= 1; it stays.
    always : float, default 0.2
        The part of every epoch that is spread evenly over all levels, in [0, 1]: 1 is their "mix" strategy, 0
        the naive curriculum.

    Examples
    --------
    >>> chances = combined(levels=2, epochs=1, always=0.5)
    >>> chances(0), chances(1)
    ([0.75, 0.25], [0.25, 0.75])
    """

    def __init__(self, levels: int, epochs: int, always: float = 0.2) -> None:
        self.levels = check_integer("combined", "levels", levels, 1)
        self.epochs = check_integer("combined", "epochs", epochs, 1)
        self.always = check_number("combined", "always", always, 0.0, 1.0)

    def __call__(self, epoch: int) -> list[float]:
        level = min(self.levels - 1, as_epoch("combined", epoch) * (self.levels - 1) // self.epochs)
        spread = self.always / self.levels
        return [spread + (1.0 - self.always) * (i == level) for i in range(self.levels)]

    def __repr__(self) -> str:
        return f"combined(levels={self.levels}, epochs={self.epochs}, always={self.always})"


def _name_of(function: Any) -> str:
    """A function for the state of a strategy: with its fields, if it is one of ours, else by name."""
    if isinstance(function, (Pacing, combined, _TwoLevels)):
        return repr(function)
    return getattr(function, "__qualname__", type(function).__qualname__)
