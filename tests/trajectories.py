"""Reads the recorded runs of torch in ``tests/data`` (made by ``make_torch_trajectories.py`` there)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(__file__).parent / "data"


class TorchCase(NamedTuple):
    """One recorded run. ``params``: step number to the parameters after it; all arrays have ``dtype``."""

    id: str
    torch_class: str
    torch_fields: dict[str, Any]
    cls: str
    fields: dict[str, Any]
    dtype: str
    start: np.ndarray
    gradients: np.ndarray
    params: dict[int, np.ndarray]


def torch_version() -> str:
    """The version of torch that was recorded."""
    return str(_about()["torch"])


def torch_cases() -> list[TorchCase]:
    """All recorded runs, each in float32 and float64."""
    about = _about()
    cases = []
    with np.load(DATA / "torch_trajectories.npz", allow_pickle=False) as file:
        for name, row in about["cases"].items():
            for dtype in ("float32", "float64"):
                rows = file[f"{name}/{dtype}/params"]
                cases.append(
                    TorchCase(
                        f"{name}-{dtype}",
                        row["torch"][0],
                        _tuples(row["torch"][1]),
                        row["fastopt"][0],
                        _tuples(row["fastopt"][1]),
                        dtype,
                        file["start"].astype(dtype),
                        file["gradients"].astype(dtype),
                        dict(zip(about["recorded"], rows, strict=True)),
                    )
                )
    return cases


def _about() -> dict[str, Any]:
    return dict(json.loads((DATA / "torch_trajectories.json").read_text()))


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples: lists come back as what the constructors take."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
