"""Writes keyed_orders.json from the pure Python network: orders that must never change. Run again, it changes nothing."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from reference_orders import element, words_of

ROWS = [
    (0, [], 1, 0),
    (0, [], 2, 0),
    (0, [], 10, 0),
    (0, [], 10, 1),
    (0, [], 11, 0),
    (7, [], 1000, 3),
    (2**100 + 7, [4, 2], 65_537, 17),
    ([1, 2, 3], [], 2**22 + 1, 2),
    (0, [], 10**8, 0),
    (1, [], 2**32 - 1, 0),
    (1, [], 2**32, 0),
    (1, [], 2**32 + 1, 0),
    (0, [], 10**10, 0),
    (2, [], 10**18, 5),
    (3, [], 2**63 - 1, 9),
]

lines = []
for entropy, spawn_key, n, epoch in ROWS:
    words = words_of(entropy, tuple(spawn_key), n, epoch)
    places = sorted({*range(min(n, 8)), n // 3, n // 2, n - 1})
    row = {"entropy": entropy, "spawn_key": spawn_key, "n": n, "epoch": epoch}
    found = {str(i): element(i, n, words) for i in places}
    lines.append(json.dumps({**row, "elements": found}))
(Path(__file__).parent / "keyed_orders.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
