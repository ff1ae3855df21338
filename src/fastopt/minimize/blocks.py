"""Block coordinate descent: one part of the parameters at a time, each by its own method (Deep Learning, 8.7.2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from fastopt._checks import check_integer, check_number
from fastopt._trees import flatten_tree, leaves_with_paths, map_tree

__all__ = ["Block", "BlockCoordinate"]

#: By status; the numbers are those of `minimize`.
MESSAGES = {
    0: "The largest element of the gradient is at most gtol.",
    1: "The limit of sweeps (max_iter) was reached.",
    3: "The objective is not finite at x0.",
    4: "The objective fell by at most ftol, relatively, in a whole sweep.",
    99: "The callback asked to stop.",
}


class Block:
    """A part of the parameters, and how it is minimised while the rest stays as it is.

    Exactly one of `solve`, `update` and `method` is given.

    Parameters
    ----------
    part : str or callable
        A path in the tree (``"W"``, ``"layers/0"``: a leaf, or all below; ``""``: everything), or a
        function of the tree that
        gives back a part of it: arrays of the tree or views of them, in any nesting.
    solve : callable, optional
        ``solve(params)`` gives back the new value of the block, in the shape of the block: the exact
        minimiser in closed form,
        or whatever comes near. `params` is the whole tree, read-only.
    update : callable or object with a method `update`, optional
        ``update(params, block)`` changes `block`, a copy that is its own, and gives back None; or gives
        back the new value.
    method : str, optional
        A method of :func:`fastopt.minimize`, run on the block alone, flattened.
    jac : callable, optional
        With `method`: ``jac(params, *args)`` gives the gradient with respect to the block, in its shape. Without it,
        differences are used.
    tol, options : optional
        With `method`: handed on to :func:`fastopt.minimize`.
    name : str, optional
        Name in messages and results; the path, or the name of the function, if not given.
    """

    def __init__(
        self,
        part: str | Callable[[Any], Any],
        *,
        solve: Callable[[Any], Any] | None = None,
        update: Any = None,
        method: str | None = None,
        jac: Callable[..., Any] | None = None,
        tol: float | None = None,
        options: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(part, str) and not callable(part):
            raise TypeError(f"Block: part is {part!r}; a path or a function of the parameters is wanted")
        self.part = part
        self.name = name or (part if isinstance(part, str) else getattr(part, "__name__", "block"))
        given = {"solve": solve, "update": update, "method": method}
        chosen = [word for word, value in given.items() if value is not None]
        if len(chosen) != 1:
            raise ValueError(
                f"Block {self.name!r}: {' and '.join(chosen) or 'nothing'} was given; exactly one of "
                f"solve, update and method is wanted"
            )
        update = getattr(update, "update", update)
        for word, value in (("solve", solve), ("update", update), ("jac", jac)):
            if value is not None and not callable(value):
                raise TypeError(f"Block {self.name!r}: {word} is {value!r}; a function is wanted")
        if method is not None and not isinstance(method, str):
            raise TypeError(
                f"Block {self.name!r}: method is {method!r}; the name of a method of minimize is wanted"
            )
        if method is None and not (jac is None and tol is None and options is None):
            raise ValueError(f"Block {self.name!r}: jac, tol and options go with method")
        self.solve, self.update, self.method, self.jac = solve, update, method, jac
        self.tol, self.options = tol, dict(options or {})

    def __repr__(self) -> str:
        how = self.method or ("solve" if self.solve else "update")
        return f"Block({self.name!r}, {how})"


class BlockCoordinate:
    r"""Minimise over blocks of the parameters in turn, each by its own method, until a whole sweep gains nothing.

    .. math:: x_B \leftarrow \operatorname*{arg\,min}_{u} f(u, x_{\bar B}) \quad\text{for each block } B

    Deep Learning, section 8.7.2: good where f splits into parts that are easy by themselves, poor where
    the value of one
    block strongly sets the best value of another.

    Parameters
    ----------
    blocks : sequence of Block
        In the order of a sweep. Parameters in no block stay as they are.
    monotone : bool, default True
        Take a block's new value only if the objective does not rise. With False every value with a
        finite objective is taken;
        the best point seen is what is given back either way.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt.minimize.coordinate import Block, BlockCoordinate
    >>> def f(p):
    ...     return float((p["a"] - 1) ** 2 + (p["b"] - p["a"]) ** 2)
    >>> descent = BlockCoordinate(
    ...     [Block("a", solve=lambda p: (1 + p["b"]) / 2), Block("b", solve=lambda p: p["a"])]
    ... )
    >>> res = descent.minimize(f, {"a": np.array(5.0), "b": np.array(9.0)}, ftol=1e-12)
    >>> round(float(res.x["a"]), 4), res.success
    (1.0, True)
    """

    def __init__(self, blocks: Any, *, monotone: bool = True) -> None:
        self.blocks = list(blocks)
        if not self.blocks:
            raise ValueError("BlockCoordinate: blocks is empty; at least one Block is wanted")
        for i, block in enumerate(self.blocks):
            if not isinstance(block, Block):
                raise TypeError(f"BlockCoordinate: blocks[{i}] is {block!r}; a Block is wanted")
        names = [block.name for block in self.blocks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"BlockCoordinate: two blocks are called {name!r}; give them different name="
                )
        self.monotone = bool(monotone)

    def minimize(
        self,
        fun: Callable[..., Any],
        x0: Any,
        args: tuple[Any, ...] = (),
        *,
        jac: Callable[..., Any] | None = None,
        max_iter: int = 1000,
        ftol: float = 1e-9,
        gtol: float = 1e-6,
        callback: Callable[..., Any] | None = None,
    ) -> OptimizeResult:
        """Sweep over the blocks until the objective settles.

        Parameters
        ----------
        fun : callable
            ``fun(params, *args)``: the objective, a number. It gets the whole tree, read-only; the
            arrays change later, so it
            copies what it keeps.
        x0 : array or tree of arrays
            Start; never changed. Integers become float64.
        args : tuple
            Further arguments of `fun` and of every `jac`.
        jac : callable, optional
            ``jac(params, *args)``: gradient of all, as a tree like x0; tested once a sweep against `gtol`.
        max_iter : int, default 1000
            Limit of sweeps.
        ftol : float >= 0, default 1e-9
            Stop after a sweep in which f fell by at most ``ftol * max(|f|, |f before|)``.
        gtol : float >= 0, default 1e-6
            With `jac`: stop when no element of the gradient is larger.
        callback : callable, optional
            ``callback(intermediate_result)`` after each sweep, with ``x``, ``fun`` and ``nit``; StopIteration stops.

        Returns
        -------
        OptimizeResult
            ``x`` (a tree like x0), ``fun``, ``nit`` (sweeps), ``nfev``, ``history`` (f at the start and
            after each sweep), ``gains`` (how
            much f fell in all by each block) and ``refused`` (how often each block's value was not
            taken), both by name;
            ``success``, ``status``, ``message``.

        Raises
        ------
        TypeError, ValueError
            A wrong argument, or a block that returned another shape. Exceptions of the functions given
            come out as they are.
        """
        max_iter = check_integer("minimize", "max_iter", max_iter, 0)
        ftol = check_number("minimize", "ftol", ftol, 0.0)
        gtol = check_number("minimize", "gtol", gtol, 0.0)
        return _Sweeps(self, fun, x0, args).run(jac, max_iter, ftol, gtol, callback)


def _own(path: str, leaf: Any) -> np.ndarray:
    a = np.array(leaf)
    if a.dtype.kind in "iub":
        a = a.astype(np.float64)
    if a.dtype.kind != "f":
        raise TypeError(f"x0{f'[{path!r}]' if path else ''} is of dtype {a.dtype}; real numbers are wanted")
    return a


def _read_only(a: np.ndarray) -> np.ndarray:
    view = a.view()
    view.flags.writeable = False
    return view


def _at(tree: Any, path: str) -> Any:
    """The part of a tree at a path. KeyError if there is none."""
    if path == "":
        return tree
    if isinstance(tree, dict):
        children: Iterator[tuple[Any, Any]] = iter(tree.items())
    elif isinstance(tree, (list, tuple)):
        children = iter(enumerate(tree))
    else:
        raise KeyError(path)
    for key, child in children:
        # A key may hold "/" itself, as in the paths of leaves.
        if path == str(key) or path.startswith(f"{key}/"):
            return _at(child, path[len(str(key)) + 1 :])
    raise KeyError(path)


class _Part:
    """The arrays of one block in the working tree."""

    def __init__(self, block: Block, params: Any) -> None:
        self.block = block
        _, paths = flatten_tree(params)
        if isinstance(block.part, str):
            try:
                self.tree = _at(params, block.part)
            except KeyError:
                raise ValueError(
                    f"Block {block.name!r}: x0 has no such path; it has {', '.join(map(repr, paths))}"
                ) from None
        else:
            self.tree = block.part(params)
        self.leaves, self.paths = flatten_tree(self.tree)
        mine, _ = flatten_tree(params)
        for leaf in self.leaves:
            inside = isinstance(leaf, np.ndarray) and any(np.may_share_memory(leaf, a) for a in mine)
            if not inside and np.size(leaf):
                raise ValueError(
                    f"Block {block.name!r}: the function gave something that is no array of the "
                    f"parameters nor a view of one"
                )

    def copy(self) -> list[np.ndarray]:
        return [leaf.copy() for leaf in self.leaves]

    def put(self, values: list[np.ndarray]) -> None:
        for leaf, value in zip(self.leaves, values, strict=True):
            leaf[...] = value

    def vector(self, leaves: list[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.ravel(leaf) for leaf in leaves]) if leaves else np.empty(0)

    def put_vector(self, x: np.ndarray) -> None:
        start = 0
        for leaf in self.leaves:
            leaf[...] = x[start : start + leaf.size].reshape(leaf.shape)
            start += leaf.size

    def like(self, value: Any, what: str) -> list[np.ndarray]:
        """The leaves of a value that should be nested and shaped as the block is."""
        found = (
            list(leaves_with_paths(value)) if len(self.leaves) != 1 or self.paths != [""] else [("", value)]
        )
        if [path for path, _ in found] != self.paths:
            raise ValueError(
                f"Block {self.block.name!r}: {what} returned a tree of {[p for p, _ in found]}; one of "
                f"{self.paths} is wanted"
            )
        leaves = [np.asarray(leaf) for _, leaf in found]
        for path, leaf, mine in zip(self.paths, leaves, self.leaves, strict=True):
            if leaf.shape != mine.shape or leaf.dtype.kind not in "fiub":
                raise ValueError(
                    f"Block {self.block.name!r}: {what} returned {leaf.dtype} of shape {leaf.shape}"
                    f"{f' for {path!r}' if path else ''}; real numbers of shape {mine.shape} are wanted"
                )
        return leaves


class _Sweeps:
    """One run: the working tree, its best copy, the counts."""

    def __init__(
        self, owner: BlockCoordinate, fun: Callable[..., Any], x0: Any, args: tuple[Any, ...]
    ) -> None:
        if not callable(fun):
            raise TypeError(f"minimize: fun is {fun!r}; a function is wanted")
        self.fun, self.args, self.monotone = fun, tuple(args), owner.monotone
        paths = iter([path for path, _ in leaves_with_paths(x0)])
        self.params = map_tree(lambda leaf: _own(next(paths), leaf), x0)
        self.seen = map_tree(_read_only, self.params)
        self.leaves, _ = flatten_tree(self.params)
        self.parts = [_Part(block, self.params) for block in owner.blocks]
        self.nfev = 0
        self.gains = {block.name: 0.0 for block in owner.blocks}
        self.refused = {block.name: 0 for block in owner.blocks}
        self.best = math.inf
        self.best_leaves: list[np.ndarray] = []

    def value(self) -> float:
        self.nfev += 1
        f = np.asarray(self.fun(self.seen, *self.args))
        if f.size != 1 or f.dtype.kind not in "fiub":
            raise TypeError(f"minimize: fun returned {f.dtype} of shape {f.shape}; one real number is wanted")
        return float(f.reshape(()))

    def keep(self, f: float) -> None:
        if f < self.best or not self.best_leaves:
            self.best, self.best_leaves = f, [leaf.copy() for leaf in self.leaves]

    def by_method(self, part: _Part) -> None:
        minimize = import_module("fastopt.minimize").minimize  # it imports this file

        block = part.block

        def fun(x: np.ndarray) -> float:
            part.put_vector(x)
            return self.value()

        def gradient(x: np.ndarray) -> np.ndarray:
            part.put_vector(x)
            assert block.jac is not None
            return part.vector(part.like(block.jac(self.seen, *self.args), "jac"))

        res = minimize(
            fun,
            part.vector(part.leaves),
            method=block.method,
            jac="2-point" if block.jac is None else gradient,
            tol=block.tol,
            options=block.options,
        )
        part.put_vector(np.asarray(res.x))

    def advance(self, part: _Part, f: float) -> float:
        """Minimise over one block; the objective after it."""
        block, old = part.block, part.copy()
        if block.solve is not None:
            part.put(part.like(block.solve(self.seen), "solve"))
        elif block.update is not None:
            feed = iter(part.copy())
            own = map_tree(lambda _: next(feed), part.tree)
            new = block.update(self.seen, own)
            part.put(part.like(own if new is None else new, "update"))
        else:
            self.by_method(part)
        new_f = self.value()
        # Not `new_f > f`: NaN is refused too.
        if not (new_f <= f if self.monotone else math.isfinite(new_f)):
            part.put(old)
            self.refused[block.name] += 1
            return f
        self.gains[block.name] += f - new_f
        self.keep(new_f)
        return new_f

    def tree_of(self, leaves: list[np.ndarray]) -> Any:
        """A tree like x0 of copies."""
        feed = iter([leaf.copy() for leaf in leaves])
        return map_tree(lambda _: next(feed), self.params)

    def result(self, status: int, history: list[float]) -> OptimizeResult:
        return OptimizeResult(
            x=self.tree_of(self.best_leaves),
            fun=self.best,
            nit=len(history) - 1,
            nfev=self.nfev,
            history=np.array(history),
            gains=self.gains,
            refused=self.refused,
            status=status,
            success=status in (0, 4),
            message=MESSAGES[status],
        )

    def small(self, jac: Callable[..., Any], gtol: float) -> bool:
        whole = _Part(Block("", name="jac", solve=jac), self.params)
        g = whole.vector(whole.like(jac(self.seen, *self.args), "jac"))
        return bool(np.abs(g).max(initial=0.0) <= gtol)

    def run(
        self,
        jac: Callable[..., Any] | None,
        max_iter: int,
        ftol: float,
        gtol: float,
        callback: Callable[..., Any] | None,
    ) -> OptimizeResult:
        f = self.value()
        self.keep(f)
        history = [f]
        if not math.isfinite(f):
            return self.result(3, history)
        if jac is not None and self.small(jac, gtol):
            return self.result(0, history)
        while len(history) <= max_iter:
            before = f
            for part in self.parts:
                f = self.advance(part, f)
            history.append(f)
            if callback is not None:
                shown = OptimizeResult(x=self.tree_of(self.leaves), fun=f, nit=len(history) - 1)
                try:
                    callback(shown)
                except StopIteration:
                    return self.result(99, history)
            if jac is not None and self.small(jac, gtol):
                return self.result(0, history)
            if abs(before - f) <= ftol * max(abs(before), abs(f)):
                return self.result(4, history)
        return self.result(1, history)
