"""The keyed permutation once more, from its description: integers of Python, or a whole domain at once with NumPy.

`rounds` and `hashed` can be weakened, to see whether the tests of randomness notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

ROUNDS = 24
M32 = 2**32 - 1


def hashed(x: Any, add: int, mul: int) -> Any:
    """32 bits of x and two keys, the highest of them the best."""
    h = (x + add & M32) * 0x7FEB352D & M32
    return (h ^ h >> 15) * (mul | 1) & M32


def sizes(n: int) -> tuple[int, int]:
    """Bits of the low half, and values of the high half."""
    low = max((n - 1).bit_length() + 1, 2) // 2
    return low, -(-n >> low) if n % 2**low == 0 else (n >> low) + 1


def network(
    x: Any, n: int, words: list[int], rounds: int = ROUNDS, hash_of: Callable[..., Any] = hashed
) -> Any:
    """One pass: x below high 2^low to another such number. Integers, or an array of uint64."""
    low, high = sizes(n)
    left, right = x % 2**low, x >> low
    for k in range(0, rounds, 2):
        left = (left + (hash_of(right, words[2 * k], words[2 * k + 1]) >> 32 - low)) % 2**low
        right = (right + (hash_of(left, words[2 * k + 2], words[2 * k + 3]) * high >> 32)) % high
    return right << low | left


def element(i: int, n: int, words: list[int]) -> int:
    """Element i of the order."""
    while True:
        i = network(i, n, words)
        if i < n:
            return i


def whole(n: int, words: list[int], rounds: int = ROUNDS, hash_of: Callable[..., Any] = hashed) -> np.ndarray:
    """The order, n < 2^32."""
    x = network(np.arange(n, dtype=np.uint64), n, words, rounds, hash_of)
    while (outside := x >= n).any():
        x[outside] = network(x[outside], n, words, rounds, hash_of)
    return x.astype(np.int64)


def words_of(seed: int | list[int], spawn_key: tuple[int, ...], n: int, epoch: int) -> list[int]:
    """Keys of the rounds."""
    state = np.random.SeedSequence(seed, spawn_key=(*spawn_key, epoch, n)).generate_state(2 * ROUNDS)
    return [int(word) for word in state]
