"""The strategies whose orders are recorded in ``data/strategy_orders.json``, and what is recorded of an order."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastopt.data import Blocks, Grouped, Strategy, Stratified, Weighted

__all__ = ["N", "STRATEGIES", "recorded"]

N = 1000
_LABELS = np.arange(N) ** 2 % 7
STRATEGIES: dict[str, Strategy] = {
    "weighted": Weighted(_LABELS + 0.5, 200),
    "weighted, no replacement": Weighted(_LABELS, 200, False),
    "stratified": Stratified(_LABELS, 64),
    "grouped": Grouped(_LABELS),
    "grouped, mixed": Grouped(_LABELS, mix=True),
    "blocks": Blocks(30, 4),
}


def recorded(name: str, seed: int, epoch: int) -> dict[str, Any]:
    """The beginning of an order, and a sum in which every place counts."""
    order = STRATEGIES[name].order(N, np.random.SeedSequence(seed), epoch)[:]
    places = np.arange(1, len(order) + 1, dtype=np.uint64)
    checksum = int((order.astype(np.uint64) * places).sum() % 2**61)
    return {
        "strategy": name,
        "seed": seed,
        "epoch": epoch,
        "first": order[:20].tolist(),
        "checksum": checksum,
    }
