"""Files and states that several tests of checkpoints share."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo


def sample(seed: int = 0) -> dict[str, Any]:
    """Parts of every kind, in about 4 KiB."""
    rng = np.random.default_rng(seed)
    params = {
        "layers": [{"w": rng.normal(size=(4, 3)), "b": np.zeros(3)}],
        "scale": np.array(2.0, np.float32),
    }
    opt = fo.Adam(params, lr=fo.schedules.Plateau(0.1), average=fo.averaging.EMA(0.9), clip_norm=1.0)
    opt.step({"layers": [{"w": np.ones((4, 3)), "b": np.ones(3)}], "scale": np.array(1.0, np.float32)})
    batches = fo.Batches(np.arange(20.0), size=3, rng=seed)
    passing = iter(batches)
    next(passing), next(passing)
    rng.normal(size=3)
    return {
        "params": params,
        "opt": opt,
        "batches": batches,
        "rng": rng,
        "history": {"loss": [0.5, float("nan")], "best": 10**30},
        "epoch": 3,
    }


def bits(value: Any) -> Any:
    """A value as what can be compared exactly: arrays and floats by their bytes."""
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return (isinstance(value, tuple), *(bits(v) for v in value))
    if isinstance(value, (np.ndarray, np.generic)):
        native = value.astype(value.dtype.newbyteorder("="))
        return (
            type(value).__name__ if isinstance(value, np.generic) else "",
            native.dtype.name,
            value.shape,
            native.tobytes(),
        )
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, (np.random.Generator, np.random.BitGenerator)):
        return bits((value.bit_generator if isinstance(value, np.random.Generator) else value).state)
    return bits(value.state_dict()) if hasattr(value, "state_dict") else value


def craft(path: Path, head: Any, payload: bytes = b"") -> Path:
    """A safetensors file out of any header (bytes, or what becomes JSON)."""
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + payload)
    return path


def left_over(folder: str | os.PathLike[str]) -> list[str]:
    """Temporary files in a folder."""
    return sorted(name for name in os.listdir(folder) if name.endswith(".tmp"))
