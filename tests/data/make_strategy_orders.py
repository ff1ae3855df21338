"""Writes strategy_orders.json: orders that must never change. Run once; running it again must change nothing."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from strategy_rows import STRATEGIES, recorded  # noqa: E402

lines = [json.dumps(recorded(name, 2, epoch)) for name in STRATEGIES for epoch in (0, 5)]
(HERE / "strategy_orders.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
