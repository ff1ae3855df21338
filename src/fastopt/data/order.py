"""Which row comes when: the order of an epoch, a function of (seed, epoch) and of nothing else.

The bits of epoch ``e`` come from ``SeedSequence(entropy, spawn_key=(..., e))``. What is made of them is fixed for
ever: ``tests/data`` holds recorded orders.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt.data.orders import SHUFFLES, Strategy, as_strategy
from fastopt.data.seeds import seed_from, seed_from_state, seed_state

__all__ = [
    "SHUFFLES",
    "Strategy",
    "as_strategy",
    "epoch_order",
    "seed_from",
    "seed_from_state",
    "seed_state",
]


def epoch_order(n: int, seed: np.random.SeedSequence, epoch: int, shuffle: Any) -> Any:
    """Row numbers in the order of one epoch; None: in the order of the rows.

    Parameters
    ----------
    n : int
        Rows.
    seed : numpy.random.SeedSequence
        Of the whole run.
    epoch : int
        From 0.
    shuffle : {"epoch", "once", "replacement", False}, strategy, array of int or callable
        As in :class:`fastopt.Batches`.

    Returns
    -------
    None, ndarray of uint32 (int64 from 2^32 rows), or a sequence that computes such arrays when sliced
        The latter from 2^22 rows on, and for :class:`fastopt.data.Blocks`.
    """
    return as_strategy(shuffle).order(n, seed, epoch)
