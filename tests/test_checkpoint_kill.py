"""kill -9 at random moments: no torn file, and the end is that of the run that was never killed."""

from __future__ import annotations

import pytest

from kill_checkpoint import kills


@pytest.mark.parametrize(("rule", "seed"), [("adam", 1), ("rmsprop_centered", 2), ("stochastic_lbfgs", 3)])
def test_killed_at_random_moments(rule: str, seed: int) -> None:
    """The long run is ``python tests/kill_checkpoint.py 200``."""
    assert kills(rule, 4, seed)["kills"] >= 2
