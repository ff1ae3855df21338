"""A rule for each path of a tree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

import numpy as np

from fastopt._parameters import check_params
from fastopt._trees import _at, some_paths
from fastopt.init import _biases, _orthogonal, _scaled, _simple, _structured, _walk
from fastopt.init._targets import ASK, Filler, generator, write
from fastopt.init._threads import Job

__all__ = ["NAMES", "tree"]

T = TypeVar("T")
#: Initializers by name: those that fill an array from its shape, their arguments and rng.
NAMES: dict[str, Callable[..., Any]] = {
    name: getattr(module, name)
    for module in (_simple, _scaled, _walk, _orthogonal, _structured, _biases)
    for name in module.__all__
    if name not in ("stiefel", "weights_from")
}


def tree(params: T, rules: Mapping[str, Any], *, rng: Any = None) -> T:
    """Fill the leaves of a tree, each by the rule of the first pattern that matches its path.

    Parameters
    ----------
    params : tree of ndarray
        float32 or float64, written in place.
    rules : mapping of pattern to rule
        Patterns are those of `fnmatch`, as in an optimizer's ``groups``; one that matches no path is an error. A
        rule is the name of an initializer (``"he_normal"``), a pair of name and arguments (``("orthogonal",
        {"gain": "relu"})``), a number, or a function called as ``rule(array, rng=generator)`` that fills the array
        it is given. Leaves that no pattern matches stay as they are.
    rng : None, int, Generator, ..., optional
        What ``np.random.default_rng`` takes. Each leaf has a stream of its own, spawned from 128 bits of it and the
        text of the leaf's path: its values do not depend on other leaves or other rules.

    Returns
    -------
    params

    Raises
    ------
    TypeError, ValueError
        A leaf, a pattern or a rule is not what is needed; nothing is written.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> params = {"0": {"w": np.empty((4, 8)), "b": np.empty(8)}, "1": {"w": np.empty((8, 2)), "b": np.empty(2)}}
    >>> params = fo.init.tree(params, {"0/w": "he_normal", "*/w": ("orthogonal", {"gain": 0.1}), "*/b": 0.0}, rng=0)
    >>> params["1"]["b"]
    array([0., 0.])
    """
    owner = "fo.init.tree"
    leaves, paths = check_params(params, owner)
    if not isinstance(rules, Mapping) or not rules:
        raise TypeError(f"{owner}: rules is {rules!r:.80}; a mapping of pattern to rule is wanted")
    rng = generator(owner, rng)
    makers = {pattern: _maker(f"{owner}: rules[{pattern!r}]", rule) for pattern, rule in rules.items()}
    matched: set[str] = set()
    chosen: list[tuple[np.ndarray, str, Filler]] = []
    for leaf, path in zip(leaves, paths, strict=True):
        pattern = next((p for p in makers if fnmatchcase(path, p)), None)
        if pattern is not None:
            matched.add(pattern)
            filler = makers[pattern](leaf, f"{owner}: params{_at(path)}")
            chosen.append((leaf, path, filler))
    # A pattern is also in use where an earlier one took all that it matches: an error, as nothing would come of it.
    for pattern in makers:
        if pattern not in matched:
            known = some_paths(paths, 8)
            raise ValueError(f"{owner}: rules[{pattern!r}] is the first match of no path; paths are {known}")
    # What a user's function raises must come before anything is written.
    chosen.sort(key=lambda row: not isinstance(row[2], _Users))
    if chosen:
        arrays, names, fillers = (list(column) for column in zip(*chosen, strict=True))
        write(arrays, names, fillers, rng, bare=isinstance(params, np.ndarray))
    return params


def _maker(where: str, rule: Any) -> Callable[[np.ndarray, str], Filler]:
    """From a leaf and its name to its filler; the rule's own arguments are checked here."""
    for name, function in NAMES.items():
        if rule is function:
            rule = name
    if isinstance(rule, (int, float)) and not isinstance(rule, bool):
        rule = ("constant", {"value": rule})
    if isinstance(rule, str):
        rule = (rule, {})
    if callable(rule):
        return lambda leaf, at: _Users(rule)
    if not (isinstance(rule, (tuple, list)) and len(rule) == 2 and isinstance(rule[1], Mapping)):
        raise TypeError(
            f"{where} is {rule!r:.80}; the name of an initializer, (name, arguments), a number or a function is wanted"
        )
    name, arguments = rule
    if name not in NAMES:
        raise ValueError(f"{where}: initializer {name!r} is unknown; known are {', '.join(NAMES)}")
    if "rng" in arguments or "params" in arguments:
        raise TypeError(f"{where}: {name} takes neither rng nor params here")
    try:
        plan = NAMES[name](ASK, **arguments)
    except TypeError as error:
        raise TypeError(f"{where}: {error}") from None
    return lambda leaf, at: plan(leaf.shape, leaf.dtype, f"{at} ({name})")


class _Users:
    """A user's function as a filler: it fills a copy, which is written once all functions have done so."""

    def __init__(self, rule: Callable[..., Any]) -> None:
        self.rule = rule

    def __call__(self, leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
        copy = np.array(leaf)
        self.rule(copy, rng=rng)
        return (Job(leaf.size, partial(np.copyto, leaf, copy)),)
