"""What a part may be, and how it becomes JSON and arrays: written to be read by eye, taken back exactly.

JSON holds None, bool, int, float, str, list and dict as they are. All else is an object with one key, a tag:

=========== =======================================================================================================
``$array``  the name of an array of the file; ``$complex``: the same, of real and imaginary parts in a last axis
``$state``  the state of an object with ``state_dict`` and ``load_state_dict``
``$random`` the state of a NumPy generator, its class as ``bit_generator``
``$tuple``  a tuple, as a list; ``$items``: a dict with integers among its keys, as a list of pairs
``$bytes``  the name of an array of uint8
``$scalar`` a NumPy scalar: dtype and bytes (little-endian, hexadecimal)
``$float``  a float that is not finite: its 8 bytes (big-endian, hexadecimal); ``$int``: a very long integer, the same
=========== =======================================================================================================

A key of a dict that begins with ``$`` gets another one in front.
"""

from __future__ import annotations

import inspect
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from fastopt.checkpoint.header import META, CheckpointError, stored_dtype

__all__ = ["Decoder", "Encoder", "has_state", "is_random", "knows_copy", "random_state", "tag_of"]

DEPTH = 64  # nesting of a part; deeper ones are taken for a cycle
LONG = 10**4000  # integers beyond it pass Python's limit on decimal digits
RANDOM = (np.random.Generator, np.random.BitGenerator, np.random.RandomState)
WANTED = (
    "arrays, numbers, strings, None, lists, tuples, dicts, bytes, NumPy generators, and objects with state_dict and "
    "load_state_dict can be saved"
)


def has_state(value: Any) -> bool:
    return (
        not isinstance(value, type)
        and callable(getattr(value, "state_dict", None))
        and callable(getattr(value, "load_state_dict", None))
    )


def is_random(value: Any) -> bool:
    return isinstance(value, RANDOM)


def knows_copy(value: Any) -> bool:
    """Whether ``state_dict`` takes ``copy``: the sign of objects that copy when loading, all or nothing."""
    try:
        return "copy" in inspect.signature(value.state_dict).parameters
    except (TypeError, ValueError):
        return False


def bits_of(value: Any) -> np.random.BitGenerator:
    if isinstance(value, np.random.Generator):
        return value.bit_generator
    return value._bit_generator if isinstance(value, np.random.RandomState) else value


def random_state(value: Any) -> dict[str, Any]:
    """The state of a generator; of a RandomState also the normal number that it keeps."""
    state = dict(bits_of(value).state)
    if isinstance(value, np.random.RandomState):
        legacy = value.get_state(legacy=False)
        state["gauss"] = [legacy["has_gauss"], legacy["gauss"]]
    return state


class Encoder:
    """Turns parts into JSON, and collects their arrays by name."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def encode(self, value: Any, path: str, depth: int = 0) -> Any:
        """The JSON of a value. TypeError or ValueError, with the path, for what cannot be saved."""
        if depth > DEPTH:
            raise ValueError(f"{path[:80]} is nested deeper than {DEPTH} levels")
        kind = type(value)
        if value is None or kind is bool:
            return value
        if kind is str:
            return self._text(value, path)
        if kind is int:
            return value if -LONG < value < LONG else {"$int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"$float": struct.pack(">d", value).hex()}
        if isinstance(value, np.ndarray):
            return self._array(value, path)
        if isinstance(value, np.generic):
            return self._scalar(value, path)
        if isinstance(value, dict):
            return self._dict(value, path, depth)
        if kind is list:
            return [self.encode(v, f"{path}/{i}", depth + 1) for i, v in enumerate(value)]
        if isinstance(value, tuple):
            return {"$tuple": [self.encode(v, f"{path}/{i}", depth + 1) for i, v in enumerate(value)]}
        if kind in (bytes, bytearray):
            return {"$bytes": self._put(path, np.frombuffer(value, np.uint8))}
        if is_random(value):
            return {"$random": self.encode(random_state(value), path, depth + 1)}
        if has_state(value):
            state = value.state_dict(copy=False) if knows_copy(value) else value.state_dict()
            return {"$state": self.encode(state, path, depth + 1)}
        raise TypeError(f"{path} is {kind.__name__}; {WANTED}")

    def _text(self, value: str, path: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{path[:80]!r} holds half a surrogate pair, which is no text") from None
        return value

    def _put(self, name: str, array: np.ndarray) -> str:
        if name in self.arrays:
            raise ValueError(f"two arrays have the path {name!r}; paths must differ")
        if name == META or "\0" in name:
            raise ValueError(f"{name!r} cannot be the path of an array")
        self.arrays[self._text(name, name)] = array
        return name

    def _array(self, value: np.ndarray, path: str) -> dict[str, str]:
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{path} is a masked array; its mask would be lost: save data and mask as two")
        value = value.view(np.ndarray)
        if value.dtype.kind == "c" and value.dtype.itemsize <= 16:
            parts = value.reshape(*value.shape, 1).view(
                f"{value.dtype.byteorder}f{value.dtype.itemsize // 2}"
            )
            return {"$complex": self._put(path, parts)}
        if stored_dtype(value.dtype) is None:
            raise TypeError(f"{path} has dtype {value.dtype}, which safetensors files cannot hold")
        return {"$array": self._put(path, value)}

    def _scalar(self, value: np.generic, path: str) -> dict[str, list[str]]:
        dtype = value.dtype
        if dtype.kind not in "fiubc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
            raise TypeError(f"{path} is a NumPy scalar of dtype {dtype}, which cannot be saved")
        return {"$scalar": [dtype.name, np.asarray(value).astype(dtype.newbyteorder("<")).tobytes().hex()]}

    def _dict(self, value: dict[Any, Any], path: str, depth: int) -> dict[str, Any]:
        for key in value:
            if type(key) not in (str, int):
                raise TypeError(f"{path} has the key {key!r}; strings and integers are wanted")
        inner = [(key, self.encode(v, f"{path}/{key}", depth + 1)) for key, v in value.items()]
        if all(type(key) is str for key in value):
            return {
                "$" + self._text(k, path) if k.startswith("$") else self._text(k, path): v for k, v in inner
            }
        return {"$items": [[key, v] for key, v in inner]}


def tag_of(node: Any) -> str | None:
    """The tag of a node of JSON, None for plain ones. CheckpointError for a tag that is none."""
    if not isinstance(node, dict):
        return None
    tags = [key for key in node if key.startswith("$") and not key.startswith("$$")]
    if not tags:
        return None
    if len(node) > 1 or tags[0] not in TAGS:
        raise CheckpointError(f"the header holds an unknown tag {tags[0]!r:.40}")
    return tags[0]


class Decoder:
    """Turns JSON back into parts.

    Parameters
    ----------
    array : callable
        The array of a name. It is asked once for each; `unused` are those that no part has asked for.
    """

    def __init__(self, array: Callable[[str], np.ndarray], names: Any) -> None:
        self._array = array
        self.unused = set(names)

    def take(self, name: Any) -> np.ndarray:
        if not isinstance(name, str) or name not in self.unused:
            raise CheckpointError(f"the header wants an array {name!r:.80}, which is not there, or not once")
        self.unused.remove(name)
        return self._array(name)

    def decode(self, node: Any, copy: bool = False) -> Any:
        """The value of a node; arrays are views of the file, or copies."""
        tag = tag_of(node)
        if tag is not None:
            return TAGS[tag](self, node[tag], copy)
        if isinstance(node, dict):
            return {k[1:] if k.startswith("$$") else k: self.decode(v, copy) for k, v in node.items()}
        if isinstance(node, list):
            return [self.decode(v, copy) for v in node]
        return node

    def items(self, node: Any) -> list[tuple[Any, Any]] | None:
        """Keys and nodes of a dict's node; None if it is the node of something else."""
        tag = tag_of(node)
        if tag == "$items":
            return self._pairs(node[tag])
        if tag is not None or not isinstance(node, dict):
            return None
        return [(k[1:] if k.startswith("$$") else k, v) for k, v in node.items()]

    def _pairs(self, given: Any) -> list[tuple[Any, Any]]:
        if not isinstance(given, list) or not all(
            isinstance(p, list) and len(p) == 2 and type(p[0]) in (str, int) for p in given
        ):
            raise CheckpointError("the header holds $items that are no pairs")
        if len({p[0] for p in given}) < len(given):
            raise CheckpointError("the header holds $items with one key twice")
        return [(p[0], p[1]) for p in given]

    def plain_array(self, given: Any, copy: bool) -> np.ndarray:
        array = self.take(given)
        return array.astype(array.dtype.newbyteorder("="), copy=True) if copy else array

    def complex_array(self, given: Any, copy: bool) -> np.ndarray:
        parts = self.take(given)
        if parts.dtype.kind != "f" or parts.dtype.itemsize < 4 or parts.ndim == 0 or parts.shape[-1] != 2:
            raise CheckpointError(f"the header calls {given!r:.80} complex, and it has no two parts")
        whole = parts.view(f"{parts.dtype.byteorder}c{2 * parts.dtype.itemsize}").reshape(parts.shape[:-1])
        return whole.astype(whole.dtype.newbyteorder("="), copy=True) if copy else whole

    def _state(self, given: Any, copy: bool) -> Any:
        return self.decode(given, copy)

    def _items(self, given: Any, copy: bool) -> dict[Any, Any]:
        return {key: self.decode(v, copy) for key, v in self._pairs(given)}

    def _tuple(self, given: Any, copy: bool) -> tuple[Any, ...]:
        if not isinstance(given, list):
            raise CheckpointError("the header holds a $tuple that is no list")
        return tuple(self.decode(v, copy) for v in given)

    def _bytes(self, given: Any, copy: bool) -> bytes:
        array = self.take(given)
        if array.dtype != np.uint8 or array.ndim != 1:
            raise CheckpointError(
                f"the header calls {given!r:.80} bytes, and it is {array.dtype}{list(array.shape)}"
            )
        return array.tobytes()

    def _scalar(self, given: Any, copy: bool) -> Any:
        try:
            name, data = given
            dtype = np.dtype(name)
            if dtype.name != name or dtype.kind not in "fiubc" or len(data) != 2 * dtype.itemsize:
                raise ValueError
            return np.frombuffer(bytes.fromhex(data), dtype.newbyteorder("<")).astype(dtype)[0]
        except (TypeError, ValueError):
            raise CheckpointError(f"the header holds a $scalar that is none: {given!r:.80}") from None

    def _float(self, given: Any, copy: bool) -> float:
        try:
            return float(struct.unpack(">d", bytes.fromhex(given))[0])
        except (TypeError, ValueError, struct.error):
            raise CheckpointError(f"the header holds a $float that is none: {given!r:.80}") from None

    def _int(self, given: Any, copy: bool) -> int:
        try:
            return int(given, 16)
        except (TypeError, ValueError):
            raise CheckpointError(f"the header holds an $int that is none: {given!r:.80}") from None


TAGS: dict[str, Callable[[Decoder, Any, bool], Any]] = {
    "$array": Decoder.plain_array,
    "$complex": Decoder.complex_array,
    "$state": Decoder._state,
    "$random": Decoder._state,
    "$tuple": Decoder._tuple,
    "$items": Decoder._items,
    "$bytes": Decoder._bytes,
    "$scalar": Decoder._scalar,
    "$float": Decoder._float,
    "$int": Decoder._int,
}
