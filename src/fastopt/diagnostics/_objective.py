"""A loss with gradients, seen as a function of one vector: the user's arrays are moved in place and put back.

In place, because many functions read the arrays of their model and not the tree that they are handed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastopt._parameters import check_params
from fastopt._trees import _at, flatten_tree

__all__ = ["Objective", "loss_eps", "read_loss", "tree_vector"]


class Objective:
    """``fun`` at ``params + shift``.

    Parameters
    ----------
    owner : str
        Who asks; messages begin with it.
    fun : callable
        ``fun(params) -> (loss, grads)``. Where only the loss is used, ``fun(params) -> loss`` will do.
    params : tree of ndarray

    Attributes
    ----------
    n : int
        Number of parameters.
    x : ndarray of float64, shape (n,)
        Where `params` were when this was made, leaf after leaf.
    eps : float
        Rounding unit of the coarsest leaf.
    length : float
        ``max(1, |x|)``: what counts as a long way.
    calls : int
    """

    def __init__(self, owner: str, fun: Callable[..., Any], params: Any) -> None:
        if not callable(fun):
            raise TypeError(f"{owner}: fun is {type(fun).__name__}; a function of params is wanted")
        self.owner, self.fun, self.params = owner, fun, params
        self.leaves, self.paths = check_params(params, owner)
        self.n = sum(leaf.size for leaf in self.leaves)
        if self.n == 0:
            raise ValueError(f"{owner}: params holds no element; at least one is wanted")
        self.held = [leaf.copy() for leaf in self.leaves]
        self.x = np.concatenate([leaf.astype(np.float64).ravel() for leaf in self.held])
        if not np.isfinite(self.x).all():
            raise ValueError(f"{owner}: params holds Inf or NaN; finite numbers are wanted")
        self.eps = float(max(np.finfo(leaf.dtype).eps for leaf in self.leaves if leaf.size))
        self.length = max(1.0, float(np.linalg.norm(self.x)))
        self.calls = 0

    @contextmanager
    def moving(self) -> Iterator[Objective]:
        """At the end of the block, also by an exception, the arrays are bit for bit what they were."""
        try:
            yield self
        finally:
            self.restore()

    def restore(self) -> None:
        for leaf, held in zip(self.leaves, self.held, strict=True):
            leaf[...] = held

    def place(self, vector: np.ndarray) -> None:
        """Write a vector into the arrays, in their dtypes."""
        start = 0
        for leaf in self.leaves:
            leaf[...] = vector[start : start + leaf.size].reshape(leaf.shape)
            start += leaf.size

    def __call__(self, shift: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Loss, and gradient as a new float64 vector, at ``x + shift``."""
        out = self._run(shift)
        if not isinstance(out, (tuple, list)) or len(out) != 2:
            raise TypeError(
                f"{self.owner}: fun gave {type(out).__name__}; a pair (loss, grads) is wanted, grads a tree like params"
            )
        return read_loss(self.owner, out[0]), self.vector(out[1], "grads")

    def loss(self, shift: np.ndarray | None = None) -> float:
        """The loss at ``x + shift``."""
        out = self._run(shift)
        return read_loss(self.owner, out[0] if isinstance(out, (tuple, list)) and out else out)

    def start(self) -> tuple[float, np.ndarray]:
        """Loss and gradient where the parameters are; both must be finite there."""
        loss, g = self()
        if not (math.isfinite(loss) and np.isfinite(g).all()):
            what = f"the loss is {loss}" if not math.isfinite(loss) else "the gradient holds Inf or NaN"
            raise FloatingPointError(f"{self.owner}: {what} at params; a point with finite ones is wanted")
        return loss, g

    def _run(self, shift: np.ndarray | None) -> Any:
        if shift is None:
            self.restore()
        else:
            self.place(self.x + shift)
        self.calls += 1
        return self.fun(self.params)

    def vector(self, tree: Any, name: str) -> np.ndarray:
        """A tree like params as one new float64 vector."""
        return tree_vector(self.owner, name, tree, self.leaves, self.paths)


def tree_vector(
    owner: str, name: str, tree: Any, leaves: Sequence[np.ndarray], paths: Sequence[str]
) -> np.ndarray:
    """The leaves of `tree` as one float64 vector, if they have the paths and shapes of params."""
    given, theirs = flatten_tree(tree)
    if len(leaves) == 1 and paths[0] == "" and theirs != [""]:
        given, theirs = [np.asarray(tree)], [""]  # a list of numbers for a bare array
    if set(theirs) != set(paths):
        missing = [p for p in paths if p not in theirs]
        which, which_not = (name, "params") if not missing else ("params", name)
        odd = missing[0] if missing else next(p for p in theirs if p not in set(paths))
        raise ValueError(f"{owner}: {which}{_at(odd)} has no counterpart in {which_not}; trees must be alike")
    by_path = dict(zip(theirs, given, strict=True))
    out = np.empty(sum(leaf.size for leaf in leaves))
    start = 0
    for leaf, path in zip(leaves, paths, strict=True):
        a = np.asarray(by_path[path])
        if a.dtype.kind not in "fiub" or a.shape != leaf.shape:
            raise ValueError(
                f"{owner}: {name}{_at(path)} is {a.dtype}{list(a.shape)}; real numbers of shape {list(leaf.shape)} "
                "are wanted"
            )
        out[start : start + leaf.size] = a.ravel()
        start += leaf.size
    return out


def loss_eps(value: Any) -> float:
    """Rounding unit of the type that a loss came in; of float64 for a Python number."""
    dtype = np.asarray(value).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def read_loss(owner: str, value: Any) -> float:
    """A loss as a float: a real number, or an array of one."""
    a = np.asarray(value)
    if a.size != 1 or a.dtype.kind not in "fiub":
        raise TypeError(
            f"{owner}: fun gave a loss of {a.dtype} and shape {a.shape}; one real number is wanted"
        )
    return float(a.reshape(-1)[0])
