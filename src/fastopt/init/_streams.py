"""Independent elements, each a function of random bits alone: from one stream where few, in chunks where many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.random.bit_generator import ISeedSequence

from fastopt.init._targets import Filler, words
from fastopt.init._threads import Job, run_jobs

__all__ = ["BLOCK", "CHUNK", "SMALL", "ChunkGenerator", "Piece", "elements", "one_stream"]

SMALL = 1 << 15  # elements that are drawn from the given generator itself
CHUNK = 1 << 16  # elements that one stream draws; a larger array is cut, whatever the number of threads
BLOCK = 1 << 16  # elements of one stream that are drawn, then scaled while they are in the second-level cache


class ChunkGenerator(np.random.Generator):
    """The generator of one chunk, used for nothing else: its 64-bit words have not been cut in halves by others."""


#: Writes into a contiguous vector, in place, from a generator.
Piece: TypeAlias = Callable[[np.ndarray, np.random.Generator], None]


def elements(piece: Piece) -> Filler:
    """The filler that draws every element by `piece`.

    Up to `SMALL` elements come from the leaf's generator, in C order. A larger leaf is cut into chunks of `CHUNK`
    elements; chunk i has an SFC64 stream whose seed are the words 3 i to 3 i + 2 of
    ``SeedSequence(128 bits of the generator).generate_state(..., uint64)``.
    """

    def filler(leaf: np.ndarray, rng: np.random.Generator) -> Sequence[Job]:
        direct = leaf.flags.c_contiguous and leaf.flags.aligned
        target = np.asarray(leaf) if direct else np.empty(leaf.shape, leaf.dtype)
        flat = target.reshape(-1)
        if flat.size <= SMALL:
            jobs = [Job(flat.size, partial(_draw, piece, flat, rng))]
        else:
            parts = [flat[start : start + CHUNK] for start in range(0, flat.size, CHUNK)]
            seeds = (
                np.random.SeedSequence(words(rng)).generate_state(3 * len(parts), np.uint64).reshape(-1, 3)
            )
            jobs = [
                Job(part.size, partial(_draw_chunk, piece, part, seed))
                for part, seed in zip(parts, seeds, strict=True)
            ]
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


class _Seed(ISeedSequence):
    """Words that a SeedSequence has made already; a sequence for each chunk would take a good part of the time."""

    def __init__(self, made: np.ndarray) -> None:
        self.made = made

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        assert (n_words, np.dtype(dtype)) == (self.made.size, self.made.dtype), "SFC64 asks for three words"
        return self.made


def _draw_chunk(piece: Piece, flat: np.ndarray, seed: np.ndarray) -> None:
    made: Any = _Seed(seed)  # as NumPy documents it, though its stubs know SeedSequence only
    _draw(piece, flat, ChunkGenerator(np.random.SFC64(made)))
