"""Writes orders.json: the orders that must never change. Run once; running it again must change nothing."""

import json
from pathlib import Path

import numpy as np

from fastopt.data.order import epoch_order

ROWS = [
    (0, [], 10, 0, "epoch"),
    (0, [], 10, 1, "epoch"),
    (0, [], 10, 5, "once"),
    (1, [], 1797, 3, "epoch"),
    (2**100 + 7, [4, 2], 1000, 17, "epoch"),
    ([1, 2, 3], [], 65, 2, "epoch"),
    (0, [], 1_000_000, 0, "epoch"),
    (0, [], 10, 0, "replacement"),
    (5, [], 100_000, 2, "replacement"),
]

lines = []
for entropy, spawn_key, n, epoch, shuffle in ROWS:
    order = epoch_order(n, np.random.SeedSequence(entropy, spawn_key=tuple(spawn_key)), epoch, shuffle)
    checksum = int((order.astype(np.uint64) * np.arange(1, n + 1, dtype=np.uint64)).sum() % 2**61)
    row = {"entropy": entropy, "spawn_key": spawn_key, "n": n, "epoch": epoch, "shuffle": shuffle}
    lines.append(json.dumps({**row, "first": order[:20].tolist(), "checksum": checksum}))
(Path(__file__).parent / "orders.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
