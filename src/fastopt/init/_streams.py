"""Independent elements, each a function of random bits alone: from one stream where few, in chunks where many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import numpy as np

from fastopt.init._targets import Filler, words
from fastopt.init._threads import Job, run_jobs

__all__ = ["BLOCK", "CHUNK", "SMALL", "ChunkGenerator", "Piece", "elements", "one_stream"]

SMALL = 1 << 15  # elements that are drawn from the given generator itself
CHUNK = 1 << 17  # elements that one stream draws; a larger array is cut, whatever the number of threads
BLOCK = 1 << 16  # elements that are drawn and then scaled while they are in the second-level cache


class ChunkGenerator(np.random.Generator):
    """The generator of one chunk, used for nothing else: its 64-bit words have not been cut in halves by others."""


#: Writes into a contiguous vector, in place, from a generator.
Piece: TypeAlias = Callable[[np.ndarray, np.random.Generator], None]


def elements(piece: Piece) -> Filler:
    """The filler that draws every element by `piece`.

    Up to `SMALL` elements come from the leaf's generator, in C order. A larger leaf is cut into chunks of `CHUNK`
    elements; chunk i has the SFC64 stream of ``SeedSequence(128 bits of the generator, spawn_key=(i,))``.
    """

    def filler(leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
        direct = leaf.flags.c_contiguous and leaf.flags.aligned
        target = np.asarray(leaf) if direct else np.empty(leaf.shape, leaf.dtype)
        flat = target.reshape(-1)
        if flat.size <= SMALL:
            jobs = [Job(flat.size, partial(_draw, piece, flat, rng))]
        else:
            seed = words(rng)
            jobs = []
            for i, start in enumerate(range(0, flat.size, CHUNK)):
                part = flat[start : start + CHUNK]
                jobs.append(Job(part.size, partial(_draw_chunk, piece, part, seed, i)))
        if direct:
            return jobs
        run_jobs(jobs)
        leaf[...] = target
        return ()

    return filler


def one_stream(piece: Piece, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A new float64 array of any size, all of it from the one stream of `rng`."""
    out = np.empty(shape)
    _draw(piece, out.reshape(-1), rng)
    return out


def _draw(piece: Piece, flat: np.ndarray, rng: np.random.Generator) -> None:
    for start in range(0, flat.size, BLOCK):
        piece(flat[start : start + BLOCK], rng)


def _draw_chunk(piece: Piece, flat: np.ndarray, seed: Sequence[int], i: int) -> None:
    bits = np.random.SFC64(np.random.SeedSequence(list(seed), spawn_key=(i,)))
    _draw(piece, flat, ChunkGenerator(bits))
