"""The safetensors format: 8 bytes of length, a JSON header, the arrays' bytes. Written here, and read without trust.

The library of that name reads what is written here, and writes the same bytes when it is given the same (a test holds
that). It is not used for it: it reports a full disk as an error of its own instead of an OSError, leaves temporary
files behind after a crash, and wants the checksums before the first byte is written.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = [
    "CheckpointError",
    "Entry",
    "build",
    "entry_dtype",
    "header_crc",
    "layout",
    "parse",
    "stored_dtype",
]

CAP = 100_000_000  # bytes of header; the safetensors library's own limit
SLACK = 1 << 20  # bytes that reading may need beyond the length of the file
META = "__metadata__"
KEY = "fastopt"
#: How the header of every version begins; the eight digits of its checksum follow.
START = b'{"__metadata__":{"fastopt":"{\\"crc32\\":\\"'
BLANK = b"00000000"
MAX_DIMS = 64  # NumPy's
MAX_BYTES = 2**63 - 1

#: NumPy's names of what the format knows, in its order of alignment: widest first.
CODES = {
    "float64": "F64", "int64": "I64", "uint64": "U64",
    "float32": "F32", "int32": "I32", "uint32": "U32",
    "float16": "F16", "bfloat16": "BF16", "int16": "I16", "uint16": "U16",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "int8": "I8", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
NAMES = {code: name for name, code in CODES.items()}
#: Where arrays of equal width stand: the order in which the library puts them.
RANK = (
    "BOOL",
    "U8",
    "I8",
    "F8_E5M2",
    "F8_E4M3",
    "I16",
    "U16",
    "F16",
    "BF16",
    "I32",
    "U32",
    "F32",
    "F64",
    "I64",
    "U64",
)
EXTENDED = {"bfloat16", "float8_e4m3fn", "float8_e5m2"}  # of the package ml_dtypes


class CheckpointError(ValueError):
    """A file that is no checkpoint, is damaged, or does not fit what it is loaded into; nothing has been changed."""


class Entry(NamedTuple):
    """An array of the file: its dtype's code, its shape, and where its bytes begin and end after the header."""

    code: str
    shape: tuple[int, ...]
    begin: int
    end: int


def stored_dtype(dtype: np.dtype[Any]) -> str | None:
    """The format's code for a dtype of any byte order, or None if it has none."""
    return CODES.get(dtype.name) if dtype.kind in "fiub" or dtype.name in EXTENDED else None


def entry_dtype(code: str) -> np.dtype[Any]:
    """The little-endian NumPy dtype of a code.

    Raises
    ------
    CheckpointError
        It needs a package that is not there.
    """
    name = NAMES[code]
    if name in EXTENDED:
        try:
            import ml_dtypes
        except ImportError:
            raise CheckpointError(
                f"arrays of {name} need the package ml_dtypes, which is not installed"
            ) from None
        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name).newbyteorder("<")


def itemsize(code: str) -> int:
    name = NAMES[code]
    return {"bfloat16": 2}.get(name, 1) if name in EXTENDED else np.dtype(name).itemsize


def layout(arrays: Mapping[str, np.ndarray]) -> dict[str, Entry]:
    """Where each array goes: the widest dtypes first, so that all are aligned in a mapped file; then by name."""
    codes = {name: CODES[array.dtype.name] for name, array in arrays.items()}
    order = sorted(codes, key=lambda name: (-RANK.index(codes[name]), name.encode()))
    table, begin = {}, 0
    for name in order:
        array = arrays[name]
        table[name] = Entry(codes[name], array.shape, begin, begin + array.nbytes)
        begin += array.nbytes
    return table


def build(table: Mapping[str, Entry], meta: str) -> bytes:
    """Length and header, padded to a multiple of 8 and to what a reader's bound on memory asks for."""
    tree: dict[str, Any] = {META: {KEY: meta}}
    for name, entry in table.items():
        tree[name] = {
            "dtype": entry.code,
            "shape": list(entry.shape),
            "data_offsets": [entry.begin, entry.end],
        }
    text = json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()
    payload = max((entry.end for entry in table.values()), default=0)
    length = -(-max(len(text), cost(text) - SLACK - payload) // 8) * 8
    if length > CAP:
        raise ValueError(
            f"the header would have {length} bytes, and {CAP} is the most: put long lists and small arrays together "
            "into larger arrays"
        )
    text = text.ljust(length)
    return len(text).to_bytes(8, "little") + text


def header_crc(head: bytes | memoryview) -> bytes:
    """The checksum of length and header, with zeros in its own place: eight digits."""
    place = 8 + len(START)
    crc = zlib.crc32(memoryview(head)[place + 8 :], zlib.crc32(BLANK, zlib.crc32(head[:place])))
    return b"%08x" % crc


def cost(text: bytes) -> int:
    """At most so many bytes do the objects take that a header turns into, by its brackets, commas and strings."""
    copies = 5 if text.isascii() else 13
    return copies * len(text) + 200 * (text.count(b"{") + text.count(b"[")) + 110 * text.count(b",")


def parse(text: bytes, start: int, size: int) -> tuple[dict[str, Entry], dict[str, str]]:
    """The arrays' table and the metadata of a header, checked against the length of the file.

    Parameters
    ----------
    text : bytes
        The header without its padding.
    start, size : int
        Where the payload begins and where the file ends, bytes.

    Raises
    ------
    CheckpointError
        Anything is not as the format wants it.
    """
    if not text.startswith(b"{"):
        raise CheckpointError("it is no safetensors file: the header is no JSON object")
    if cost(text) > size + SLACK:
        raise CheckpointError("the header would need more memory than the file is long")
    tree = read_json(text, "the header")
    meta = tree.pop(META, {})
    if not isinstance(meta, dict) or not all(isinstance(value, str) for value in meta.values()):
        raise CheckpointError("the metadata is no table of strings")
    table = {name: entry_from(name, given) for name, given in tree.items()}
    position = 0
    for name, entry in sorted(table.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            what = "overlaps with another" if entry.begin < position else "leaves a hole before it"
            raise CheckpointError(f"array {name!r:.80} {what}")
        position = entry.end
    if position != size - start:
        raise CheckpointError(f"the arrays end at byte {start + position}, and the file has {size}")
    return table, meta


def entry_from(name: str, given: Any) -> Entry:
    wrong = f"array {name!r:.80} is described wrongly"
    if "\0" in name:
        raise CheckpointError(f"{wrong}: NUL in its name")
    if not isinstance(given, dict) or set(given) != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(f"{wrong}: dtype, shape and data_offsets are wanted")
    code, shape, offsets = given["dtype"], given["shape"], given["data_offsets"]
    if not isinstance(code, str) or code not in NAMES:
        raise CheckpointError(f"{wrong}: dtype {code!r:.40} is unknown")
    if not whole(shape) or len(shape) > MAX_DIMS:
        raise CheckpointError(f"{wrong}: the shape is no list of at most {MAX_DIMS} whole numbers")
    if not whole(offsets) or len(offsets) != 2:
        raise CheckpointError(f"{wrong}: data_offsets are no two whole numbers")
    nbytes = reach = itemsize(code)
    for n in shape:
        nbytes *= n
        reach *= max(n, 1)  # NumPy bounds this one even where another axis has no length
        if reach > MAX_BYTES:
            raise CheckpointError(f"{wrong}: its shape is too large")
    if offsets[1] - offsets[0] != nbytes:
        raise CheckpointError(
            f"{wrong}: shape and dtype take {nbytes} bytes, and it has {offsets[1] - offsets[0]}"
        )
    return Entry(NAMES_INTERNED[code], tuple(shape), offsets[0], offsets[1])


NAMES_INTERNED = {code: code for code in NAMES}


def whole(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n <= MAX_BYTES for n in value)


def read_json(text: bytes | str, what: str) -> dict[str, Any]:
    """A JSON object, strictly: no key twice, no NaN, nothing deeper than Python's own limit."""
    try:
        text = (
            text.decode() if isinstance(text, bytes) else text
        )  # json itself would let half surrogates through
        tree = json.loads(text, object_pairs_hook=once, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else f"{error}"[:120]
        raise CheckpointError(f"{what} cannot be read: {reason}") from None
    if not isinstance(tree, dict):
        raise CheckpointError(f"{what} is no JSON object")
    return tree


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CheckpointError("a name occurs twice in the header")
    return found


def no_constant(name: str) -> Any:
    raise CheckpointError(f"the header holds {name}, which is no JSON")
