"""How a block of elements is drawn: uniform, normal, truncated normal."""

from __future__ import annotations

import math
import sys

import numpy as np

from fastopt.init._streams import ChunkGenerator, Piece

__all__ = ["normal_piece", "truncated_piece", "uniform_piece"]

FAR = 1e3  # standard deviations beyond which lies nothing
REJECT = 0.25  # share of normal numbers inside the bounds from which drawing again beats inverting


def uniform_piece(low: float, high: float, dtype: np.dtype) -> Piece:
    width, top = high - low, dtype.type(high)
    over = dtype.type(width) + dtype.type(low) > top  # rounding could step over the end

    def piece(v: np.ndarray, rng: np.random.Generator) -> None:
        if dtype == np.float32 and isinstance(rng, ChunkGenerator) and sys.byteorder == "little":
            _integers(v, rng)
            v *= width * 2.0**-24
        else:
            rng.random(out=v, dtype=v.dtype)
            v *= width
        v += low
        if over:
            np.minimum(v, top, out=v)

    return piece


def _integers(v: np.ndarray, rng: np.random.Generator) -> None:
    """2^24 times what ``rng.random(out=v)`` gives in float32, in less time: 24 bits of each half of a word."""
    halves = rng.integers(0, 1 << 64, dtype=np.uint64, size=-(-v.size // 2)).view(np.uint32)[: v.size]
    halves >>= 8
    np.copyto(v, halves.view(np.int32), casting="unsafe")


def normal_piece(mean: float, std: float) -> Piece:
    def piece(v: np.ndarray, rng: np.random.Generator) -> None:
        rng.standard_normal(out=v, dtype=v.dtype)
        if std != 1:
            v *= std
        if mean != 0:
            v += mean

    return piece


def truncated_piece(mean: float, std: float, low: float, high: float, dtype: np.dtype) -> Piece:
    """Normal (mean, std) given that it lies in [low, high]; exact, whatever the bounds.

    Where at least a quarter of all normal numbers lie inside, those outside are drawn again. Elsewhere the
    distribution function is inverted, on the logarithm's scale, in the lower tail (the upper one is reflected).
    """
    from scipy.special import log_ndtr, ndtr, ndtri_exp

    a, b = (low - mean) / std, (high - mean) / std
    if a < -FAR < b - 1:
        a = -math.inf
    if b > FAR > a + 1:
        b = math.inf
    reflect = a > -b  # more of the interval lies above 0: the lower tail is the accurate one
    if reflect:
        a, b = -b, -a
    inside = float(ndtr(b) - ndtr(a))
    log_a, log_b = float(log_ndtr(a)), float(log_ndtr(b))

    def redraw(v: np.ndarray, rng: np.random.Generator) -> None:
        rng.standard_normal(out=v, dtype=v.dtype)
        bad = np.flatnonzero(np.abs(v) > b if a == -b else (v < a) | (v > b))
        while bad.size:
            again = rng.standard_normal(bad.size, dtype=v.dtype)
            v[bad] = again
            bad = bad[(again < a) | (again > b)]

    def invert(v: np.ndarray, rng: np.random.Generator) -> None:
        w = rng.random(v.size)
        # log(Phi(b) - w (Phi(b) - Phi(a))) without leaving the logarithm's scale
        v[...] = ndtri_exp(log_b + np.log1p(w * math.expm1(log_a - log_b)))

    draw = redraw if inside >= REJECT else invert
    # Rounding goes the same way for all numbers: where the ends themselves stay inside, all do.
    real = dtype.type
    ends = [real(z) * real(-std if reflect else std) + real(mean) for z in (a, b)]
    over = draw is invert or min(ends) < real(low) or max(ends) > real(high)

    def piece(v: np.ndarray, rng: np.random.Generator) -> None:
        draw(v, rng)
        v *= -std if reflect else std
        if mean != 0:
            v += mean
        if over:
            np.clip(v, low, high, out=v)  # of rounding only

    return piece
