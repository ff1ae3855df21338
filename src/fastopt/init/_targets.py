"""What every initializer does with its target: check it whole, give each leaf its stream, then write.

An initializer makes a *plan*, a function of (shape, dtype, how to name the leaf) that checks these and gives a
*filler*; a filler takes the leaf and its generator, and either writes at once or gives jobs for the threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeGuard, TypeVar

import numpy as np

from fastopt._parameters import check_params
from fastopt._trees import _at
from fastopt.init._threads import Job, run_jobs

__all__ = ["ASK", "Filler", "Plan", "fill", "generator", "leaf_seed", "words"]

T = TypeVar("T")
Filler: TypeAlias = Callable[[np.ndarray, np.random.Generator], Sequence[Job]]
Plan: TypeAlias = Callable[[tuple[int, ...], np.dtype, str], Filler]


class _Ask:
    """Given as params, an initializer checks its other arguments and returns its plan instead of filling."""


ASK: Any = _Ask()


def fill(name: str, params: T, rng: Any, plan: Plan) -> T:
    """Fill an array, or all leaves of a tree, by one plan. Everything is checked before anything is written."""
    if params is ASK:
        return plan  # type: ignore[return-value]
    owner = f"fo.init.{name}"
    if _plain(params):
        leaves, paths = [params], [""]
    else:
        leaves, paths = check_params(params, owner)
    rng = generator(owner, rng)
    fillers = [
        plan(leaf.shape, leaf.dtype, f"{owner}: params{_at(path)}")
        for leaf, path in zip(leaves, paths, strict=True)
    ]
    write(leaves, paths, fillers, rng, bare=isinstance(params, np.ndarray))
    return params


def _plain(params: Any) -> TypeGuard[np.ndarray]:
    """Whether it is an array with which nothing can be wrong: most are, and are spared the long way round."""
    return (
        type(params) is np.ndarray
        and params.dtype.char in "fd"
        and params.dtype.isnative
        and params.flags.c_contiguous
        and params.flags.writeable
    )


def write(
    leaves: Sequence[np.ndarray],
    paths: Sequence[str],
    fillers: Sequence[Filler],
    rng: np.random.Generator,
    bare: bool,
) -> None:
    """Each leaf by its filler. A bare array draws from `rng` itself, a leaf of a tree from a stream of its path."""
    jobs: list[Job] = []
    seed = () if bare else words(rng)
    for leaf, path, filler in zip(leaves, paths, fillers, strict=True):
        if leaf.size:
            own = rng if bare else np.random.Generator(np.random.PCG64(leaf_seed(seed, path)))
            jobs += filler(leaf, own)
    run_jobs(jobs)


def generator(owner: str, rng: Any) -> np.random.Generator:
    """What `rng` stands for, by the rules of ``np.random.default_rng``; a Generator is itself."""
    if isinstance(rng, np.random.Generator):
        return rng
    if isinstance(rng, np.random.RandomState):
        return np.random.Generator(rng._bit_generator)
    if isinstance(rng, (bool, np.bool_, str, bytes, float)):
        raise TypeError(
            f"{owner}: rng is {rng!r}; None, a non-negative integer (or several), a SeedSequence, a BitGenerator or "
            "a Generator is needed"
        )
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{owner}: rng is {rng!r}; {error}") from None


def words(rng: np.random.Generator) -> tuple[int, ...]:
    """128 bits of the generator, which moves on by them: the seed from which streams are spawned."""
    return tuple(rng.integers(0, 2**32, size=4, dtype=np.uint32).tolist())


def leaf_seed(seed: Sequence[int], path: str) -> np.random.SeedSequence:
    """The seed of a leaf: it depends on the tree's seed and on the path's text alone, not on other leaves."""
    digest = hashlib.blake2b(path.encode(), digest_size=16).digest()
    key = tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
    return np.random.SeedSequence(list(seed), spawn_key=key)
