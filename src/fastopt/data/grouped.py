"""Orders that know of classes or groups: proportions kept in every batch; rows that stay together."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt._core import shuffle as _shuffle
from fastopt.data.lazy import index_dtype
from fastopt.data.orders import Strategy, as_classes, checksum
from fastopt.data.seeds import as_count, child

__all__ = ["Grouped", "Stratified"]


def sorted_by(keys: np.ndarray, count: int) -> np.ndarray:
    """Places in the order of keys 0 .. count - 1, equal ones as they lie; 16 bits are sorted by counting, faster."""
    return np.argsort(keys.astype(np.uint16) if count <= 2**16 else keys, kind="stable")


class Stratified(Strategy):
    r"""Every row once, and every batch with the classes in proportion.

    With :math:`n_c` of `n` rows in class `c`, a batch of `s` rows has :math:`s\,n_c / n` of them, rounded down
    or up; the shorter last batch too. Which rows, which of the two, and the order within the batch are random.

    Parameters
    ----------
    labels : array_like, shape (n,)
        Class of each row: anything that can be sorted.
    size : int
        Rows of a batch, the `size` of the :class:`fastopt.Batches`.

    Notes
    -----
    That such an order exists for all classes and batches at once is the theorem on controlled rounding of
    tables. First the last batch is settled, within bounds that keep the others possible; of what remains, a
    class gives each batch its share rounded down, and the left-over rows of all classes, one class after the
    other, go round the batches in turn: no batch gets two of a class, as no class has more left than there are
    batches.

    Sources: L. H. Cox, *A constructive procedure for unbiased controlled rounding*, Journal of the American
    Statistical Association 82 (1987); the round: R. McNaughton, *Scheduling with deadlines and loss functions*,
    Management Science 6 (1959).

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> y = np.repeat([0, 1], [90, 30])
    >>> batches = fo.Batches(y, size=8, rng=0, shuffle=fo.data.Stratified(y, 8))
    >>> {int(labels.sum()) for labels in batches}
    {2}
    """

    name = "stratified"

    def __init__(self, labels: Any, size: int) -> None:
        self.classes, self.sizes = as_classes(labels, "labels")
        self.size = as_count(size, "size", 1, len(self.classes))

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray:
        self.length(n)
        bits = np.random.PCG64(child(seed, epoch))
        batches, rest = divmod(n, self.size)
        # Classes by a random number, so that none is always first where rows are left over.
        number = _shuffle.permutation(len(self.sizes), bits).astype(np.int64)
        sizes = np.empty_like(self.sizes)
        sizes[number] = self.sizes
        last = self._last_batch(sizes, n, batches, rest, bits)
        down, left = np.divmod(sizes - last, batches)
        before = np.cumsum(left) - left
        turn = np.append(_shuffle.permutation(batches, bits).astype(np.int64), batches)
        mixed = _shuffle.permutation(n, bits)
        kind = number[self.classes[mixed]]
        # Rows of a class, in mixed order: `down` to each batch, one more to some batches, the rest to the last.
        by_class = sorted_by(kind, len(sizes))
        kind = kind[by_class]
        k = np.arange(n) - (np.cumsum(sizes) - sizes)[kind]
        over = k - down[kind] * batches
        at = np.where(over < 0, k, before[kind] + over) % batches
        at[over >= left[kind]] = batches
        batch = np.empty(n, np.int64)
        batch[mixed[by_class]] = turn[at]
        mixed = _shuffle.permutation(n, bits)  # anew: which batch a row is in hangs on its place in the other
        return mixed[sorted_by(batch[mixed], batches + 1)]

    def _last_batch(
        self, sizes: np.ndarray, n: int, batches: int, rest: int, bits: np.random.BitGenerator
    ) -> np.ndarray:
        """Rows of each class in a shorter last batch: its share down or up, such that the others can have theirs."""
        down = self.size * sizes // n
        up = -(-self.size * sizes // n)
        least = np.maximum(rest * sizes // n, sizes - batches * up)
        most = np.minimum(-(-rest * sizes // n), sizes - batches * down)
        free = np.flatnonzero(most > least)
        chosen = _shuffle.permutation(len(free), bits)[: rest - int(least.sum())]
        least[free[chosen]] += 1
        return least

    def length(self, n: int) -> int:
        if n != len(self.classes):
            raise ValueError(f"shuffle has {len(self.classes)} labels for {n} rows; one a row is needed")
        return n

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "labels": checksum(self.classes)}


class Grouped(Strategy):
    """Every row once; the rows of a group stay together, groups come in random order.

    For rows that belong together: frames of a film, measurements of a patient, sentences of a text.

    Parameters
    ----------
    groups : array_like, shape (n,)
        Group of each row: anything that can be sorted. The rows of a group need not lie together.
    mix : bool, default False
        The rows of a group in random order too, not as they lie.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> patient = np.array([3, 3, 7, 7, 7, 9])
    >>> batches = fo.Batches(patient, size=6, rng=1, shuffle=fo.data.Grouped(patient))
    >>> next(iter(batches))
    array([9, 7, 7, 7, 3, 3])
    """

    name = "grouped"

    def __init__(self, groups: Any, mix: bool = False) -> None:
        if not isinstance(mix, (bool, np.bool_)):
            raise TypeError(f"mix is {mix!r}; True or False is needed")
        self.groups, self.sizes = as_classes(groups, "groups")
        self.mix = bool(mix)

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray:
        self.length(n)
        bits = np.random.PCG64(child(seed, epoch))
        turn = _shuffle.permutation(len(self.sizes), bits)
        if not self.mix:
            return sorted_by(turn[self.groups], len(turn)).astype(index_dtype(n))
        mixed = _shuffle.permutation(n, bits)
        return mixed[sorted_by(turn[self.groups[mixed]], len(turn))]

    def length(self, n: int) -> int:
        if n != len(self.groups):
            raise ValueError(f"shuffle has {len(self.groups)} groups for {n} rows; one a row is needed")
        return n

    def state(self) -> dict[str, Any]:
        return {"name": self.name, "mix": self.mix, "groups": checksum(self.groups)}
