"""Hostile checkpoint files: made from a number, so that any of them can be made again.

Half of them carry a header whose checksum fits, since else hardly any would be read past it.
"""

from __future__ import annotations

import json
import random
from typing import Any

from fastopt.checkpoint import header

CODES = ["F64", "F32", "I64", "U8", "BOOL", "F16", "BF16", "C64", "F4", "", None, 3]
NUMBERS = [
    0,
    1,
    2,
    3,
    8,
    255,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    2**64,
    -1,
    10**30,
    1.0,
    1e300,
    True,
    None,
    "1",
    [],
]
TAGS = [
    "$array",
    "$complex",
    "$state",
    "$random",
    "$tuple",
    "$items",
    "$bytes",
    "$scalar",
    "$float",
    "$int",
    "$none",
]
LEAVES = [
    "p/a",
    "p/b",
    "",
    "\0",
    "__metadata__",
    "nan",
    "ff",
    "7ff8000000000000",
    ["float64", "00" * 8],
    ["<U9", "00"],
    None,
    -1,
    0.5,
]


def mutate(base: bytes, rng: random.Random) -> bytes:
    """Flip, cut, repeat, overwrite some bytes of a good file."""
    data = bytearray(base)
    for _ in range(rng.randint(1, 6)):
        if not data:
            break
        at = rng.randrange(len(data))
        kind = rng.randrange(6)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randint(1, 64)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randint(1, 64)]
        elif kind == 3:
            data[at : at + 4] = rng.randbytes(rng.randint(0, 8))
        elif kind == 4:
            data[:8] = rng.choice(
                [0, 1, 2, 2**63, 2**64 - 1, len(data), max(len(data) - 8, 0), 10**8, 10**8 + 1]
            ).to_bytes(8, "little")
        else:
            del data[at:]
    return bytes(data)


def node(rng: random.Random, depth: int = 0) -> Any:
    """JSON as `parts` may hold it, right and wrong."""
    kind = rng.randrange(8) if depth < 5 else 7
    if kind < 4:
        tag = rng.choice(TAGS)
        inner = rng.choice(LEAVES) if rng.random() < 0.6 else node(rng, depth + 1)
        return {tag: inner} if rng.random() < 0.9 else {tag: inner, "x": 1}
    if kind == 4:
        return [node(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 5:
        return {rng.choice(["a", "$$b", "", "c/d"]): node(rng, depth + 1) for _ in range(rng.randrange(4))}
    if kind == 6:
        return {
            "bit_generator": rng.choice(["PCG64", "Philox", 3]),
            "state": rng.choice([{}, {"state": 2**200, "inc": -1}, None]),
        }
    return rng.choice(NUMBERS) if rng.random() < 0.5 else rng.choice(LEAVES)


def grammatical(rng: random.Random) -> bytes:
    """A file with a header of the right form, whose numbers and names are anything."""
    tree: dict[str, Any] = {}
    meta: Any = {
        "crc32": "00000000",
        "version": 1 if rng.random() < 0.9 else rng.choice(NUMBERS),
        "fastopt": "0",
        "chunk": rng.choice([1, 7, 1 << 24]) if rng.random() < 0.9 else rng.choice(NUMBERS),
        "chunks": [],
        "parts": {"p": node(rng), "q": node(rng)},
    }
    size = 0
    table: dict[str, Any] = {}
    for name in rng.sample(["p/a", "p/b", "q", "x" * 300, "é", "\ud800", "a\0"], rng.randint(0, 3)):
        n = rng.choice([0, 1, 3])
        table[name] = {"dtype": "F64", "shape": [n], "data_offsets": [size, size + 8 * n]}
        size += 8 * n
        while rng.random() < 0.15:
            key = rng.choice(["dtype", "shape", "data_offsets", "more"])
            table[name][key] = {
                "dtype": rng.choice(CODES),
                "shape": [rng.choice(NUMBERS) for _ in range(rng.choice([0, 1, 2, 70]))],
                "data_offsets": [rng.choice(NUMBERS), rng.choice(NUMBERS)],
                "more": 1,
            }[key]
    payload = rng.randbytes(size if rng.random() < 0.9 else rng.randrange(64))
    if rng.random() < 0.9 and type(meta["chunk"]) is int and meta["chunk"] > 0:
        import zlib

        step = meta["chunk"]
        meta["chunks"] = [f"{zlib.crc32(payload[i : i + step]):08x}" for i in range(0, len(payload), step)]
    if rng.random() < 0.05:
        meta.pop(rng.choice(list(meta)))
    tree["__metadata__"] = (
        {"fastopt": json.dumps(meta, separators=(",", ":"))} if rng.random() < 0.95 else rng.choice(NUMBERS)
    )
    tree.update(table)
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    if rng.random() < 0.1:
        text = mutate(text, rng)
    if rng.random() < 0.05:
        text += rng.choice([b" " * 9, b"\n", b"\0", b"{}", b"[" * 5000])
    return signed(len(text).to_bytes(8, "little") + text) + payload


def deep(rng: random.Random) -> bytes:
    """Headers that want much memory or depth for few bytes."""
    n = rng.choice([10, 1000, 100_000])
    inner = rng.choice(
        [
            "[" * n,
            "[" * n + "]" * n,
            '{"a":' * n,
            "[" + "{}," * n + "{}]",
            "[" + "[]," * n + "1]",
            "9" * n,
            '"' + "𝄞" * n + '"',
        ]
    )
    text = ('{"__metadata__":{"a":"b"},"x":' + inner + "}").encode()
    return len(text).to_bytes(8, "little") + text


def signed(head: bytes) -> bytes:
    """The header with a checksum that fits, if it has a place for one."""
    place = 8 + len(header.START)
    if head[8:place] != header.START or len(head) < place + 8:
        return head
    return head[:place] + header.header_crc(head) + head[place + 8 :]


def resigned(data: bytes) -> bytes:
    """A file whose header's checksum is made to fit what was done to it."""
    length = int.from_bytes(data[:8], "little")
    return signed(data[: 8 + length]) + data[8 + length :] if length < len(data) else data


def make(seed: int, base: bytes) -> bytes:
    """The hostile file of a number."""
    rng = random.Random(seed)
    kind = rng.random()
    if kind < 0.25:
        return mutate(base, rng)
    if kind < 0.5:
        return resigned(mutate(base, rng))
    if kind < 0.98:
        return grammatical(rng)
    return rng.randbytes(rng.randrange(200)) if kind < 0.99 else deep(rng)
