"""Which row comes when: the order of an epoch, a function of (seed, epoch) and of nothing else.

The bits of epoch ``e`` come from ``PCG64(SeedSequence(entropy, spawn_key=(..., e)))``. They are turned into
an order in C (Fisher-Yates, or draws with replacement). Both are fixed for ever: ``tests/data/orders.json``
holds recorded orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastopt._core import shuffle as _shuffle

__all__ = ["SHUFFLES", "epoch_order", "seed_from", "seed_from_state", "seed_state"]

SHUFFLES = ("epoch", "once", "replacement", False)


def seed_from(rng: Any) -> np.random.SeedSequence:
    """The seed that ``rng`` stands for: its own if it is one, else 128 bits drawn from it once.

    Takes what :func:`numpy.random.default_rng` takes. A generator that is handed in moves on by that one
    draw; global random state is never touched.
    """
    if isinstance(rng, np.random.SeedSequence):
        return rng
    if rng is None or (
        isinstance(rng, (int, np.integer, Sequence, np.ndarray)) and not isinstance(rng, (str, bytes, bool))
    ):
        try:
            return np.random.SeedSequence(rng)
        except (TypeError, ValueError) as error:
            raise type(error)(f"rng is {rng!r}; {error}") from None
    if isinstance(rng, bool) or not isinstance(
        rng, (np.random.Generator, np.random.BitGenerator, np.random.RandomState)
    ):
        raise TypeError(
            f"rng is {type(rng).__name__}; None, a non-negative integer (or several), a SeedSequence, a "
            "BitGenerator or a Generator is needed"
        )
    bits = rng._bit_generator if isinstance(rng, np.random.RandomState) else rng
    words = np.random.default_rng(bits).integers(0, 2**32, size=4, dtype=np.uint32)
    return np.random.SeedSequence([int(word) for word in words])


def seed_state(seed: np.random.SeedSequence) -> dict[str, Any]:
    """A seed as ``state_dict`` holds it: in strings, as its numbers may be larger than JSON readers keep."""
    entropy = seed.entropy
    numbers = [entropy] if isinstance(entropy, (int, np.integer)) else list(entropy or ())
    return {
        "seed": ",".join(str(int(number)) for number in numbers),
        "spawn_key": ",".join(str(int(number)) for number in seed.spawn_key),
        "pool_size": int(seed.pool_size),
    }


def seed_from_state(state: dict[str, Any]) -> np.random.SeedSequence:
    """The inverse of :func:`seed_state`. ValueError or TypeError if it is not one."""
    numbers = [int(number) for number in state["seed"].split(",")]
    key = tuple(int(number) for number in state["spawn_key"].split(",") if number)
    entropy = numbers[0] if len(numbers) == 1 else numbers
    return np.random.SeedSequence(entropy, spawn_key=key, pool_size=state["pool_size"])


def epoch_order(n: int, seed: np.random.SeedSequence, epoch: int, shuffle: str | bool) -> np.ndarray | None:
    """Row numbers in the order of one epoch; None: in the order of the rows.

    Parameters
    ----------
    n : int
        Rows.
    seed : numpy.random.SeedSequence
        Of the whole run.
    epoch : int
        From 0.
    shuffle : {"epoch", "once", "replacement", False}
        As in :class:`fastopt.Batches`.

    Returns
    -------
    ndarray of uint32 (int64 from 2^32 rows), shape (n,), or None
    """
    if shuffle is False:
        return None
    key = (*seed.spawn_key, 0 if shuffle == "once" else epoch)
    bits = np.random.PCG64(np.random.SeedSequence(seed.entropy, spawn_key=key, pool_size=seed.pool_size))
    if shuffle == "replacement":
        return _shuffle.draws(n, n, bits)
    return _shuffle.permutation(n, bits)
