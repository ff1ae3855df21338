"""Seeds: what callers may hand in, how a seed is saved, and the independent seeds of an epoch that grow out of one."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["as_count", "child", "seed_from", "seed_from_state", "seed_state"]


def seed_from(rng: Any, name: str = "rng") -> np.random.SeedSequence:
    """The seed that ``rng`` stands for: its own if it is one, else 128 bits drawn from it once.

    Takes what :func:`numpy.random.default_rng` takes. A generator that is handed in moves on by that one
    draw; global random state is never touched.
    """
    if isinstance(rng, np.random.SeedSequence):
        return rng
    if rng is None or (
        isinstance(rng, (int, np.integer, Sequence, np.ndarray)) and not isinstance(rng, (str, bytes, bool))
    ):
        try:
            return np.random.SeedSequence(rng)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name} is {rng!r}; {error}") from None
    if isinstance(rng, bool) or not isinstance(
        rng, (np.random.Generator, np.random.BitGenerator, np.random.RandomState)
    ):
        raise TypeError(
            f"{name} is {type(rng).__name__}; None, a non-negative integer (or several), a SeedSequence, a "
            "BitGenerator or a Generator is needed"
        )
    bits = rng._bit_generator if isinstance(rng, np.random.RandomState) else rng
    words = np.random.default_rng(bits).integers(0, 2**32, size=4, dtype=np.uint32)
    return np.random.SeedSequence([int(word) for word in words])


def seed_state(seed: np.random.SeedSequence) -> dict[str, Any]:
    """A seed as ``state_dict`` holds it: in strings, as its numbers may be larger than JSON readers keep."""
    return {
        "seed": ",".join(str(number) for number in _entropy(seed)),
        "spawn_key": ",".join(str(int(number)) for number in seed.spawn_key),
        "pool_size": int(seed.pool_size),
    }


def _entropy(seed: np.random.SeedSequence) -> list[int]:
    entropy = seed.entropy
    numbers = [entropy] if isinstance(entropy, (int, np.integer)) else list(entropy or ())
    return [int(number) for number in numbers]


def seed_from_state(state: dict[str, Any]) -> np.random.SeedSequence:
    """The inverse of :func:`seed_state`. ValueError or TypeError if it is not one."""
    numbers = [int(number) for number in state["seed"].split(",")]
    key = tuple(int(number) for number in state["spawn_key"].split(",") if number)
    entropy = numbers[0] if len(numbers) == 1 else numbers
    return np.random.SeedSequence(entropy, spawn_key=key, pool_size=state["pool_size"])


def child(seed: np.random.SeedSequence, *key: int) -> np.random.SeedSequence:
    """The seed of an epoch, ``child(seed, epoch)``, or of some part of it; children are independent of each other."""
    return np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, *key), pool_size=seed.pool_size)


def as_count(value: Any, name: str, least: int, most: int | None = None) -> int:
    """An integer in a range, or a TypeError or ValueError that names the argument."""
    wanted = f"an integer, at least {least}," if most is None else f"an integer from {least} to {most}"
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}; {wanted} is needed")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}; {wanted} is needed") from None
    if number < least or (most is not None and number > most):
        raise ValueError(f"{name} is {number}; {wanted} is needed")
    return number
