"""What every optimizer needs of its arguments: trees of parameters, and functions of the step that have a state."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastopt._core.kernels import byte_bounds, first_overlap, overlaps_itself
from fastopt._trees import _at, flatten_tree

__all__ = ["check_params", "load_states", "stateful"]


def check_params(params: Any, owner: str = "") -> tuple[list[np.ndarray], list[str]]:
    """Leaves and paths of a tree of parameters, or the first reason why it is none; `owner` begins the message."""
    owner = owner and f"{owner}: "
    leaves, paths = flatten_tree(params)
    seen: dict[str, None] = {}
    for leaf, path in zip(leaves, paths, strict=True):
        name = f"{owner}params{_at(path)}"
        if path in seen:
            raise ValueError(f"{owner}two leaves of params have one path {path!r}; paths must differ")
        seen[path] = None
        if not isinstance(leaf, np.ndarray):
            raise TypeError(f"{name} is {type(leaf).__name__}; a NumPy array of float32 or float64 is needed")
        if isinstance(leaf, np.ma.MaskedArray):
            raise TypeError(f"{name} is a masked array; a plain array is needed")
        if leaf.dtype not in (np.float32, np.float64):
            order = "" if leaf.dtype.isnative else " in foreign byte order"
            raise TypeError(f"{name} has dtype {leaf.dtype}{order}; float32 or float64 is needed")
        if not leaf.flags.writeable:
            raise ValueError(f"{name} is read-only; a writable array is needed")
        if overlaps_itself(leaf):
            raise ValueError(f"{name} reaches the same element by two indices; an array of its own is needed")
    spans = [(*byte_bounds(leaf), i) for i, leaf in enumerate(leaves) if leaf.size]
    pair = first_overlap(spans, leaves)
    if pair is not None:
        i, j = pair
        what = "are the same array" if leaves[i] is leaves[j] else "share memory"
        raise ValueError(
            f"{owner}params{_at(paths[i])} and params{_at(paths[j])} {what}; each needs memory of its own"
        )
    return leaves, paths


def stateful(functions: Iterable[Any]) -> list[Any]:
    """Those functions of the step (or averages) that have a state, those inside other schedules too."""
    found: list[Any] = []
    queue = list(functions)
    while queue:
        f = queue.pop(0)
        if hasattr(f, "state_dict") and hasattr(f, "load_state_dict"):
            found.append(f)
        queue += [x for x in (getattr(f, "schedule", None), *getattr(f, "schedules", ())) if callable(x)]
    return found


def load_states(owners: Sequence[Any], states: Sequence[Any]) -> None:
    """Each owner takes up its state; if one refuses, all are as they were."""
    before = [owner.state_dict() for owner in owners]
    try:
        for owner, state in zip(owners, states, strict=True):
            owner.load_state_dict(state)
    except BaseException:
        for owner, state in zip(owners, before, strict=True):
            owner.load_state_dict(state)
        raise
