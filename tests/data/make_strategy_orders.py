"""Writes strategy_orders.json: orders that must never change. Run once; running it again must change nothing."""

import json
from pathlib import Path

import numpy as np

from fastopt.data import Blocks, Grouped, Stratified, Weighted

labels = np.arange(1000) ** 2 % 7
STRATEGIES = {
    "weighted": Weighted(labels + 0.5, 200),
    "weighted, no replacement": Weighted(labels, 200, False),
    "stratified": Stratified(labels, 64),
    "grouped": Grouped(labels),
    "grouped, mixed": Grouped(labels, mix=True),
    "blocks": Blocks(30, 4),
}

lines = []
for name, strategy in STRATEGIES.items():
    for epoch in (0, 5):
        order = strategy.order(1000, np.random.SeedSequence(2), epoch)[:]
        places = np.arange(1, len(order) + 1, dtype=np.uint64)
        checksum = int((order.astype(np.uint64) * places).sum() % 2**61)
        row = {
            "strategy": name,
            "seed": 2,
            "epoch": epoch,
            "first": order[:20].tolist(),
            "checksum": checksum,
        }
        lines.append(json.dumps(row))
(Path(__file__).parent / "strategy_orders.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
