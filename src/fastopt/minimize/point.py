"""Where a run starts: x0 as one vector, and the way from vectors back to what the user has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastopt._trees import flatten_tree, map_tree

__all__ = ["Point"]


class Point:
    """x0 as a vector of float32 or float64, checked and copied.

    A list or tuple is a tree if an array or a dict is somewhere in it, else an array-like as for SciPy. A scalar is a
    vector of one.

    Attributes
    ----------
    vector : ndarray, shape (n,)
    plain : bool
        The user's points are such vectors themselves.
    """

    __slots__ = ("paths", "plain", "shapes", "starts", "template", "vector")

    def __init__(self, owner: str, x0: Any, name: str = "x0") -> None:
        if (
            type(x0) is np.ndarray and x0.ndim == 1 and x0.dtype == np.float64
        ):  # the common case, without detours
            self.paths, self.template, self.plain = [""], None, True
            self.shapes = [x0.shape]
            self.starts: list[int] = []
            self.vector = np.array(x0, np.float64, order="C")
        else:
            self._gather(owner, x0, name)
        if not np.isfinite(self.vector).all():
            at = int(np.flatnonzero(~np.isfinite(self.vector))[0])
            raise ValueError(
                f"{owner}: {name} is {self.vector[at]} at element {at}; a finite start is wanted"
            )

    def _gather(self, owner: str, x0: Any, name: str) -> None:
        if is_tree(x0):
            leaves, self.paths = flatten_tree(x0)
            arrays = [
                as_real(owner, f"{name}[{path!r}]", leaf)
                for leaf, path in zip(leaves, self.paths, strict=True)
            ]
            # The nesting alone: what the leaves hold lies in the vector.
            self.template = map_tree(lambda _: None, x0)
            self.plain = False
        else:
            arrays = [np.atleast_1d(as_real(owner, name, x0))]
            self.paths = [""]
            self.template = None
            self.plain = arrays[0].ndim == 1
        narrow = bool(arrays) and all(a.dtype == np.float32 for a in arrays)
        dtype = np.float32 if narrow else np.float64
        self.shapes = [a.shape for a in arrays]
        self.starts = np.cumsum([0, *(a.size for a in arrays)]).tolist() if not self.plain else []
        if self.plain:
            self.vector = np.array(arrays[0], dtype, order="C")
        else:
            self.vector = np.concatenate([np.empty(0, dtype), *(a.ravel().astype(dtype) for a in arrays)])

    def tree(self, vector: np.ndarray) -> Any:
        """What the user has for a vector: the vector itself, or views of it."""
        if self.plain:
            return vector
        views = self._views(vector)
        return next(views) if self.template is None else map_tree(lambda _: next(views), self.template)

    def _views(self, vector: np.ndarray) -> Iterator[np.ndarray]:
        for shape, start, stop in zip(self.shapes, self.starts, self.starts[1:], strict=False):
            yield vector[start:stop].reshape(shape)

    def flat(self, tree: Any, what: str) -> np.ndarray:
        """The vector of a tree that must have the nesting and the shapes of x0."""
        if self.plain:
            return tree
        if self.template is None:
            leaves = [tree]
        else:
            leaves, paths = flatten_tree(tree)
            if paths != self.paths or not same_nesting(tree, self.template):
                found = next((p for p in paths if p not in self.paths), None)
                lost = next((p for p in self.paths if p not in paths), None)
                told = (
                    f"has {found!r}"
                    if found is not None
                    else f"lacks {lost!r}"
                    if lost is not None
                    else "has its leaves in another order"
                )
                raise ValueError(f"{what} {told}; the nesting of x0 is needed")
        out = np.empty(self.vector.size, self.vector.dtype)
        for leaf, path, view in zip(leaves, self.paths, self._views(out), strict=True):
            at = f"[{path!r}]" if path else ""
            a = np.asarray(leaf)
            if a.dtype.kind not in "fiub":
                raise TypeError(
                    f"{what}{at} is {type(leaf).__name__} ({a.dtype}); an array of real numbers is needed"
                )
            if a.shape != view.shape and not (self.template is None and a.shape == (out.size,)):
                raise ValueError(f"{what}{at} has shape {a.shape}; {view.shape} is needed")
            view[...] = a.reshape(view.shape)
        return out

    def takes_tree(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` of a vector, where the user's takes a tree first."""
        if self.plain:
            return function
        return lambda x, *args: function(self.tree(x), *args)

    def gives_tree(self, function: Callable[..., Any], what: str) -> Callable[..., Any]:
        """As `takes_tree`, where the user's function gives a tree back too."""
        if self.plain:
            return function
        return lambda x, *args: self.flat(function(self.tree(x), *args), what)


def is_tree(x0: Any) -> bool:
    """Is this a nesting of arrays, and not one array-like?"""
    if isinstance(x0, dict):
        return True
    return isinstance(x0, (list, tuple)) and any(isinstance(leaf, np.ndarray) or is_tree(leaf) for leaf in x0)


def same_nesting(tree: Any, template: Any) -> bool:
    """Dicts are dicts, and lists or tuples are lists or tuples: their paths look alike."""
    if isinstance(template, dict):
        return isinstance(tree, dict) and all(
            same_nesting(tree[key], child) for key, child in template.items()
        )
    if isinstance(template, (list, tuple)):
        return isinstance(tree, (list, tuple)) and all(map(same_nesting, tree, template))
    return True


def as_real(owner: str, name: str, x: Any) -> np.ndarray:
    """`x` as an array of float32 or of what becomes float64; what is no array of real numbers is refused."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{owner}: {name} is a masked array; fill it, or leave the masked elements out")
    if type(x).__module__.startswith("scipy.sparse"):
        raise TypeError(f"{owner}: {name} is a sparse array; a dense one is wanted")
    try:
        a = np.asarray(x)
    except ValueError:
        raise ValueError(
            f"{owner}: {name} is {type(x).__name__} of rows of different lengths; an array is wanted"
        ) from None
    kind = a.dtype.kind
    if kind == "c":
        raise TypeError(f"{owner}: {name} is complex ({a.dtype}); real numbers are wanted")
    if kind not in "fiub":
        raise TypeError(f"{owner}: {name} is {type(x).__name__} ({a.dtype}); real numbers are wanted")
    if a.dtype == np.float16:
        raise TypeError(f"{owner}: {name} is float16, too narrow to search in; float32 or float64 is wanted")
    if a.dtype == np.float32:
        return a.astype(np.float32, copy=False)  # in this machine's byte order
    return a.astype(np.float64, copy=False)
