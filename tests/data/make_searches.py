"""Makes searches.json: the step and the number of trials of every search on every smooth phi (search_phis.py). By hand, after a
change of a search that is meant to change its steps; read the difference before it is kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from fastopt._core.search import NAMES
from search_phis import SMOOTH, run

found = {}
for kind in NAMES:
    found[kind] = {name: [] for name in SMOOTH}
    for name, phi in SMOOTH.items():
        for first in (1e-3, 0.1, 1.0, 10.0, 1e3):
            r = run(kind, phi, first=first, c1=1e-4, c2=0.9, eps_f=1e-15, max_trials=40)
            found[kind][name].append([first, float(f"{r.alphas[-1]:.8g}"), len(r.alphas)])
text = json.dumps(found, indent=1)
(Path(__file__).parent / "searches.json").write_text(text + "\n")
