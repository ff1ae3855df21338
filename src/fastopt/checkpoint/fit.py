"""Loading into what is there: everything is compared, then objects take up their states, then arrays are filled."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np

from fastopt.checkpoint.header import CheckpointError
from fastopt.checkpoint.state import Decoder, bits_of, has_state, is_random, knows_copy, random_state, tag_of

__all__ = ["Plan"]

MOST = 20  # mismatches that are told one by one


class Plan:
    """What a load is going to change, collected before anything is changed.

    Attributes
    ----------
    wrong : list of str
        All that does not fit.
    """

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.wrong: list[str] = []
        self._arrays: list[tuple[np.ndarray, np.ndarray]] = []
        self._random: list[tuple[Any, dict[str, Any]]] = []
        self._objects: list[tuple[str, Any, Any, int]] = []
        self._plain: list[Callable[[], None]] = []

    def fit(self, target: Any, node: Any, path: str) -> Any:
        """Compare a target with a node of the file; what `load` gives back for it."""
        if isinstance(target, np.ndarray):
            self._fit_array(target, node, path)
        elif is_random(target):
            self._fit_random(target, node, path)
        elif has_state(target):
            self._fit_object(target, node, path)
        elif isinstance(target, (dict, list, tuple)) and holds_slots(target):
            self._fit_tree(target, node, path)
        elif isinstance(target, (dict, list)):
            self._refill(target, node, path)
        else:
            return self._decoder.decode(node, copy=True)
        return target

    def _skip(self, node: Any) -> None:
        """Take a node's arrays out of the account: it does not fit, and that has been said."""
        self._decoder.decode(node)

    def _fit_array(self, target: np.ndarray, node: Any, path: str) -> None:
        tag = tag_of(node)
        found = self._decoder.decode(node)
        if tag not in ("$array", "$complex"):
            self.wrong.append(f"{path} is an array here and {kind_of(node)} in the file")
        elif found.shape != target.shape or found.dtype.newbyteorder("=") != target.dtype.newbyteorder("="):
            self.wrong.append(
                f"{path} is {found.dtype.name}{list(found.shape)}, needed {target.dtype.name}{list(target.shape)}"
            )
        elif not target.flags.writeable:
            self.wrong.append(f"{path} is read-only")
        elif isinstance(target, np.ma.MaskedArray):
            self.wrong.append(f"{path} is a masked array; a plain one is needed")
        else:
            self._arrays.append((target, found))

    def _fit_random(self, target: Any, node: Any, path: str) -> None:
        state = self._decoder.decode(node, copy=True)
        bits = bits_of(target)
        mine = type(bits).__name__
        name = state.get("bit_generator") if isinstance(state, dict) else None
        if name is None:
            self.wrong.append(f"{path} is a generator here and {kind_of(node)} in the file")
            return
        if name != mine:
            self.wrong.append(f"{path} is of {name!s:.40}, needed {mine}")
            return
        try:  # on a spare one first
            spare = type(bits)(0)
            set_random(
                np.random.RandomState(spare) if isinstance(target, np.random.RandomState) else spare, state
            )
        except Exception as error:
            self.wrong.append(f"{path} holds no state of {mine} ({error!s:.80})")
            return
        self._random.append((target, state))

    def _fit_object(self, target: Any, node: Any, path: str) -> None:
        state = self._decoder.decode(node, copy=not knows_copy(target))
        if tag_of(node) != "$state" and not isinstance(
            state, dict
        ):  # a dict: what state_dict() gave, saved as it was
            self.wrong.append(f"{path} is {type(target).__name__} here and {kind_of(node)} in the file")
            return
        self._objects.append((path, target, state, bytes_in(state)))

    def _fit_tree(self, target: Any, node: Any, path: str) -> None:
        if isinstance(target, dict):
            pairs = self._decoder.items(node)
            if pairs is None:
                self._skip(node)
                self.wrong.append(f"{path} is a dict here and {kind_of(node)} in the file")
                return
            there = dict(pairs)
            for key in target:
                if key not in there:
                    self.wrong.append(f"{path}/{key} is missing in the file")
            for key, inner in pairs:
                if key in target:
                    self._fit_leaf(target, key, inner, f"{path}/{key}")
                else:
                    self._skip(inner)
                    self.wrong.append(f"{path}/{key} is in the file and not here")
            return
        inside = node["$tuple"] if tag_of(node) == "$tuple" else node
        if not isinstance(inside, list) or isinstance(target, tuple) != (inside is not node):
            self._skip(node)
            self.wrong.append(f"{path} is a {type(target).__name__} here and {kind_of(node)} in the file")
            return
        if len(inside) != len(target):
            self._skip(node)
            self.wrong.append(f"{path} has {len(inside)} entries in the file, needed {len(target)}")
            return
        for i, inner in enumerate(inside):
            self._fit_leaf(target, i, inner, f"{path}/{i}")

    def _fit_leaf(self, holder: Any, key: Any, node: Any, path: str) -> None:
        before = holder[key]
        value = self.fit(before, node, path)
        if value is before:
            return
        if isinstance(holder, tuple):
            if type(value) is not type(before) or value != before:
                self.wrong.append(
                    f"{path} is {value!r:.40} in the file and {before!r:.40} in a tuple here, which cannot change"
                )
        else:
            self._plain.append(lambda: holder.__setitem__(key, value))

    def _refill(self, target: Any, node: Any, path: str) -> None:
        value = self._decoder.decode(node, copy=True)
        if (
            isinstance(target, dict) != isinstance(value, dict)
            or isinstance(target, list) != isinstance(value, list)
            or tag_of(node) in ("$state", "$random")
        ):
            self.wrong.append(f"{path} is a {type(target).__name__} here and {kind_of(node)} in the file")
        elif isinstance(target, dict):
            self._plain += [target.clear, partial(target.update, value)]
        else:
            self._plain.append(lambda: target.__setitem__(slice(None), value))

    def check(self) -> None:
        """CheckpointError with the list of what does not fit."""
        if self.wrong:
            more = f"; and {len(self.wrong) - MOST} more" if len(self.wrong) > MOST else ""
            raise CheckpointError("it does not fit: " + "; ".join(self.wrong[:MOST]) + more)

    def carry_out(self) -> None:
        """Change everything, or, if an object refuses its state, nothing."""
        # The largest comes last: if it is one that loads whole or not at all, what it holds needs no copy.
        objects = sorted(self._objects, key=lambda item: item[3])
        with ExitStack() as undo:  # what has been done is undone in reverse, should anything raise
            for i, (path, target, state, _) in enumerate(objects):
                if i + 1 < len(objects) or not knows_copy(target):
                    before = target.state_dict() if knows_copy(target) else deepcopy(target.state_dict())
                    undo.callback(target.load_state_dict, before)
                try:
                    target.load_state_dict(state)
                except Exception as error:
                    raise CheckpointError(f"the checkpoint does not fit: {path}: {error}") from error
            for target, state in self._random:
                undo.callback(set_random, target, random_state(target))
                set_random(target, state)
            undo.pop_all()
        for mine, theirs in self._arrays:  # cannot fail any more
            np.copyto(mine, theirs)
        for change in self._plain:
            change()


def holds_slots(tree: Any) -> bool:
    """Whether a tree has something that is loaded in place: an array, a generator, an object with a state."""
    if isinstance(tree, dict):
        return any(holds_slots(v) for v in tree.values())
    if isinstance(tree, (list, tuple)):
        return any(holds_slots(v) for v in tree)
    return isinstance(tree, np.ndarray) or is_random(tree) or has_state(tree)


def set_random(target: Any, state: dict[str, Any]) -> None:
    """Set a generator to a state of `random_state`."""
    state = dict(state)
    gauss = state.pop("gauss", None)
    bits = bits_of(target)
    # NumPy believes these positions, and would read beyond its buffers.
    position = state["buffer_pos"] if "buffer_pos" in state else dict(state["state"]).get("pos", 0)
    limit = {"MT19937": 624, "Philox": 4}.get(type(bits).__name__, 0)
    if type(position) is not int or not 0 <= position <= limit:
        raise ValueError(f"its position is {position!r:.40}, needed one from 0 to {limit}")
    bits.state = state
    if isinstance(target, np.random.RandomState):
        legacy = target.get_state(legacy=False)
        legacy["has_gauss"], legacy["gauss"] = gauss
        target.set_state(legacy)


def bytes_in(state: Any) -> int:
    if isinstance(state, dict):
        return sum(bytes_in(v) for v in state.values())
    if isinstance(state, (list, tuple)):
        return sum(bytes_in(v) for v in state)
    return state.nbytes if isinstance(state, np.ndarray) else 0


def kind_of(node: Any) -> str:
    """What a node of the file is, in words."""
    tag = tag_of(node)
    words = {
        "$array": "an array", "$complex": "an array", "$state": "the state of an object", "$random": "a generator",
        "$tuple": "a tuple", "$items": "a dict", "$bytes": "bytes", "$scalar": "a NumPy scalar",
    }  # fmt: skip
    if tag is not None:
        return words.get(tag, "a number")
    return {dict: "a dict", list: "a list", str: "a string", bool: "a bool", type(None): "None"}.get(
        type(node), "a number"
    )
