"""Trees of arrays: one array, or any nesting of dict, list and tuple of arrays.

A leaf's path joins its keys by "/" (``layers/0/w``); a bare array has the empty path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

__all__ = ["flatten_tree", "leaves_with_paths", "map_tree", "match_paths", "some_paths", "flatten"]


def leaves_with_paths(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ``(path, leaf)`` in order: dicts by insertion, lists and tuples by position."""
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, (list, tuple)):
        items = enumerate(tree)  # type: ignore[assignment]
    else:
        yield path, tree
        return
    for key, child in items:
        yield from leaves_with_paths(child, f"{path}/{key}" if path else str(key))


def flatten_tree(tree: Any) -> tuple[list[Any], list[str]]:
    """The leaves of a tree and their paths, in order."""
    pairs = list(leaves_with_paths(tree))
    return [leaf for _, leaf in pairs], [path for path, _ in pairs]


def map_tree(function: Callable[[Any], Any], tree: Any) -> Any:
    """A tree of the same nesting that holds ``function(leaf)`` at each leaf."""
    if isinstance(tree, dict):
        return {key: map_tree(function, child) for key, child in tree.items()}
    if isinstance(tree, (list, tuple)):
        children = [map_tree(function, child) for child in tree]
        if isinstance(tree, list):
            return children
        # A named tuple takes its fields one by one, a plain tuple takes an iterable.
        return type(tree)(*children) if hasattr(tree, "_fields") else tuple(children)
    return function(tree)


def flatten(params: Any, align: int = 64) -> tuple[np.ndarray, Any]:
    """Move a tree of arrays into one vector and give back the same tree as views of it.

    Parameters
    ----------
    params : tree of ndarray
        Arrays of one floating dtype. They are copied once; afterwards the originals are unrelated.
    align : int, default 64
        The vector's first element stands at a multiple of this many bytes (a power of two).

    Returns
    -------
    vector : ndarray, shape (n,)
        All elements, in the order of the leaves, each leaf in C order, no gaps.
    tree
        The same nesting; each leaf is a view of ``vector`` with the shape of the original.

    Raises
    ------
    TypeError
        A leaf is not an array, or the leaves differ in dtype. The message names the path.
    """
    leaves, paths = flatten_tree(params)
    for leaf, path in zip(leaves, paths, strict=True):
        if not isinstance(leaf, np.ndarray):
            raise TypeError(f"params{_at(path)} is {type(leaf).__name__}; a NumPy array is needed")
        if leaf.dtype != leaves[0].dtype:
            raise TypeError(
                f"params{_at(path)} is {leaf.dtype} and params{_at(paths[0])} {leaves[0].dtype}; "
                "one vector needs one dtype"
            )
    dtype = leaves[0].dtype if leaves else np.dtype(np.float64)
    vector = aligned_empty(sum(leaf.size for leaf in leaves), dtype, align)
    views = []
    start = 0
    for leaf in leaves:
        view = vector[start : start + leaf.size].reshape(leaf.shape)
        view[...] = leaf
        views.append(view)
        start += leaf.size
    feed = iter(views)
    return vector, map_tree(lambda _: next(feed), params)


def aligned_empty(size: int, dtype: Any, align: int = 64, offset: int = 0) -> np.ndarray:
    """An uninitialised vector whose address is ``offset`` modulo ``align`` bytes."""
    if align < 1 or align & (align - 1):
        raise ValueError(f"align is {align}; a power of two is needed")
    dtype = np.dtype(dtype)
    nbytes = size * dtype.itemsize
    raw = np.empty(nbytes + align, np.uint8)
    start = (offset - raw.ctypes.data) % align
    return raw[start : start + nbytes].view(dtype)


def match_paths(what: str, pattern: Any, paths: Sequence[str]) -> list[int]:
    """Numbers of the paths that a pattern of `fnmatch` matches; `what` names it where it matches none."""
    if not isinstance(pattern, str):
        raise TypeError(f"{what} is {pattern!r}; a path pattern like '0/*' is needed")
    found = [i for i, path in enumerate(paths) if fnmatchcase(path, pattern)]
    if not found:
        raise ValueError(f"{what} matches no path; the paths are {some_paths(paths)}")
    return found


def some_paths(paths: Sequence[str], most: int = 5) -> str:
    """The first paths, as messages have them."""
    return ", ".join(map(repr, paths[:most])) + (", ..." if len(paths) > most else "")


def _at(path: str) -> str:
    """How a message names a leaf: nothing for a bare array, else the path in brackets."""
    return f"[{path!r}]" if path else ""
