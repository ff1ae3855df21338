"""Transfer (Deep Learning, 8.7.4): weights of another model, layers that stand still, and when they move again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastopt._checks import check_integer
from fastopt._trees import _at, flatten_tree, match_paths, some_paths

__all__ = ["Thaw", "transfer"]

MOST = 10  # mismatches that are told one by one


def transfer(
    source: Any,
    params: Any,
    patterns: str | Sequence[str] = "*",
    *,
    rename: Mapping[str, str] | Callable[[str], str] | None = None,
) -> list[str]:
    """Copy some layers of one tree of parameters into another: all that was asked for, or nothing.

    Parameters
    ----------
    source : tree of ndarray
        Where the values come from: ``other_model.params``, or ``fo.load(path)["params"]``.
    params : tree of ndarray
        Where they go: written in place.
    patterns : str or sequence of str, default "*"
        Which paths of `params` are to be filled, patterns as in `fnmatch`; each must match something.
    rename : mapping or function, optional
        What a path is called in `source`. A mapping has patterns of paths in `params`, with at most one ``*`` each, and
        what stands for them in `source`: ``{"0/*": "encoder/0/*"}``; the first that fits counts, other paths keep
        their names. A function takes a path and returns one.

    Returns
    -------
    list of str
        The paths that were filled.

    Raises
    ------
    TypeError, ValueError
        A pattern matches nothing, `source` lacks a path, or a shape differs. All mismatches are listed, and nothing has
        been written.

    Notes
    -----
    float32 and float64 are converted into each other. The states of an optimizer are not touched: make it afterwards,
    or freeze what was transferred.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> trained = {"0": {"w": np.ones((2, 3))}, "1": {"w": np.ones((3, 10))}}
    >>> mine = {"0": {"w": np.zeros((2, 3))}, "1": {"w": np.zeros((3, 4))}}
    >>> fo.meta.transfer(trained, mine, "0/*")
    ['0/w']
    >>> fo.meta.transfer(trained, mine)
    Traceback (most recent call last):
    ValueError: transfer: nothing was copied: params['1/w'] is [3, 4] and source['1/w'] [3, 10]
    """
    sources = dict(zip(*reversed(flatten_tree(source)), strict=True))
    leaves, paths = flatten_tree(params)
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    if not wanted:
        raise ValueError("transfer: patterns is empty; at least one is wanted, '*' for all paths")
    chosen: set[int] = set()
    for pattern in wanted:
        if not isinstance(pattern, str):
            raise TypeError(f"transfer: patterns has {pattern!r}; path patterns like '0/*' are wanted")
        chosen.update(match_paths(f"transfer: pattern {pattern!r}", pattern, paths))
    name = rename if callable(rename) else _renamer(rename)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    done, wrong = [], []
    for i in sorted(chosen):
        leaf, path = leaves[i], paths[i]
        other = name(path)
        here, there = f"params{_at(path)}", f"source{_at(other)}"
        if other not in sources:
            wrong.append(f"{there} is missing")
        elif not isinstance(leaf, np.ndarray) or leaf.dtype.kind != "f" or not leaf.flags.writeable:
            wrong.append(f"{here} is no writable array of floats")
        elif not isinstance(sources[other], np.ndarray) or sources[other].dtype.kind != "f":
            wrong.append(f"{there} is no array of floats")
        elif sources[other].shape != leaf.shape:
            wrong.append(f"{here} is {list(leaf.shape)} and {there} {list(sources[other].shape)}")
        else:
            pairs.append((leaf, sources[other]))
            done.append(path)
    if wrong:
        more = f"; and {len(wrong) - MOST} more" if len(wrong) > MOST else ""
        names = "" if all("missing" not in w for w in wrong) else f" (source has {some_paths(list(sources))})"
        raise ValueError(f"transfer: nothing was copied: {'; '.join(wrong[:MOST])}{more}{names}")
    values = [theirs.copy() for _, theirs in pairs]  # a source may be among the arrays that are written
    for (mine, _), theirs in zip(pairs, values, strict=True):
        mine[...] = theirs
    return done


def _renamer(rename: Any) -> Callable[[str], str]:
    if rename is None:
        return str
    if not isinstance(rename, Mapping):
        raise TypeError(f"transfer: rename is {rename!r:.80}; a mapping of patterns or a function is wanted")
    for key, value in rename.items():
        if not (isinstance(key, str) and isinstance(value, str)) or key.count("*") > 1:
            raise TypeError(
                f"transfer: rename has {key!r}: {value!r}; two strings with at most one * are wanted"
            )
        if value.count("*") != key.count("*"):
            raise ValueError(f"transfer: rename has {key!r}: {value!r}; both or neither must have a *")
    rules = dict(rename)

    def name(path: str) -> str:
        for key, value in rules.items():
            head, star, tail = key.partition("*")
            if path == key:
                return value
            if star and len(path) >= len(head + tail) and path.startswith(head) and path.endswith(tail):
                return value.replace("*", path[len(head) : len(path) - len(tail)])
        return path

    return name


class Thaw:
    """Freezes arrays of an optimizer, and thaws them at given steps: gradual unfreezing.

    Parameters
    ----------
    opt : Optimizer
        Any with ``freeze``, ``thaw``, ``paths`` and ``steps``.
    plan : mapping of pattern to int
        For each pattern of paths the number of steps that its arrays stand still: they take part from the step after
        it. 0: from the start. No path may be matched by two.

    Raises
    ------
    TypeError, ValueError
        A pattern matches nothing, or a path is matched twice, or a number is no count; nothing has been frozen.

    Notes
    -----
    Call `update` after each step. What is frozen is part of the optimizer's own ``state_dict()``, and what comes next
    depends on ``opt.steps`` alone: a resumed run makes the optimizer and its `Thaw` as before, and loads the optimizer.

    References
    ----------
    Yosinski, Clune, Bengio, Lipson, How transferable are features in deep neural networks?, 2014. Howard, Ruder,
    Universal language model fine-tuning for text classification, 2018, section 3.3.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> params = {"0": {"w": np.ones(2)}, "1": {"w": np.ones(2)}}
    >>> opt = fo.SGD(params, lr=0.1)
    >>> thaw = fo.meta.Thaw(opt, {"0/*": 2})
    >>> for _ in range(3):
    ...     _ = opt.step({"0": {"w": np.ones(2)}, "1": {"w": np.ones(2)}})
    ...     print(opt.steps, thaw.update(), params["0"]["w"])
    1 [] [1. 1.]
    2 ['0/w'] [1. 1.]
    3 [] [0.9 0.9]
    """

    def __init__(self, opt: Any, plan: Mapping[str, int]) -> None:
        if not isinstance(plan, Mapping) or not plan:
            raise TypeError(f"Thaw: plan is {plan!r:.80}; a mapping of path patterns to steps is wanted")
        self.opt = opt
        self.until: dict[str, int] = {}
        owner: dict[str, str] = {}
        paths = opt.paths
        for pattern, steps in plan.items():
            if not isinstance(pattern, str):
                raise TypeError(f"Thaw: plan has {pattern!r}; path patterns like '0/*' are wanted")
            steps = check_integer("Thaw", f"plan[{pattern!r}]", steps, 0)
            for path in (paths[i] for i in match_paths(f"Thaw: plan[{pattern!r}]", pattern, paths)):
                if path in owner:
                    raise ValueError(
                        f"Thaw: {path!r} is matched by {owner[path]!r} and by {pattern!r}; one is wanted"
                    )
                owner[path], self.until[path] = pattern, steps
        still = [path for path, steps in self.until.items() if steps > opt.steps]
        if still:
            opt.freeze(*map(_exactly, still))

    @classmethod
    def gradual(cls, opt: Any, patterns: Sequence[str], every: int, start: int = 0) -> Thaw:
        """Layer after layer: the first pattern moves after `start` steps, each other `every` steps later.

        Parameters
        ----------
        opt : Optimizer
        patterns : sequence of str
            The layer next to the output first.
        every : int
            Steps from one to the next, >= 1.
        start : int, default 0
            Steps before the first, >= 0.
        """
        every = check_integer("Thaw.gradual", "every", every, 1)
        start = check_integer("Thaw.gradual", "start", start, 0)
        if isinstance(patterns, str) or len(set(patterns)) != len(patterns):
            raise TypeError(
                f"Thaw.gradual: patterns is {patterns!r:.80}; a sequence of different patterns is wanted"
            )
        return cls(opt, {pattern: start + every * i for i, pattern in enumerate(patterns)})

    def update(self) -> list[str]:
        """Thaw what is due after ``opt.steps`` steps.

        Returns
        -------
        list of str
            The paths that were thawed now.
        """
        if not (frozen := self.opt.frozen):
            return []
        due = [p for p, steps in self.until.items() if p in frozen and steps <= self.opt.steps]
        if due:
            self.opt.thaw(*map(_exactly, due))
        return due

    def __repr__(self) -> str:
        return f"Thaw({self.until!r}) after {self.opt.steps} steps"


def _exactly(path: str) -> str:
    """The pattern that matches this path alone."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in path)
