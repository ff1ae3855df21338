"""Sources of rows that are not arrays: what `Batches` takes besides array_likes."""

from __future__ import annotations

from typing import Any

__all__ = ["as_source"]


def as_source(obj: Any, name: str) -> Any:
    """An object with ``__len__`` and ``take(indices)``; None for whatever `numpy.asarray` is to be asked about."""
    if isinstance(obj, (list, tuple)) or hasattr(obj, "__array__") or isinstance(obj, type):
        return None
    if callable(getattr(obj, "take", None)) and hasattr(obj, "__len__"):
        return obj
    return None
