"""Checkpoints: all that a run goes on from, in one safetensors file that is whole or not there.

`save` and `load` are `fastopt.save` and `fastopt.load`; ``docs/checkpoints.md`` has the format and what is promised.
"""

from __future__ import annotations

from fastopt.checkpoint.every import Checkpointer
from fastopt.checkpoint.header import CheckpointError
from fastopt.checkpoint.load import describe, load
from fastopt.checkpoint.save import Saving, save

__all__ = ["CheckpointError", "Checkpointer", "Saving", "describe", "load", "save"]
