"""What the examples share: the digits cut in two, an interval over seeds, and where a picture goes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import fastopt as fo


def digits(seed: int, rows: int = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """So many digits to train with and the others to test, as the seed has it: X (ink is 1), y, X_test, y_test."""
    X, y = fo.data.load_digits()
    order = np.random.default_rng([seed, 2]).permutation(len(X))
    X, y = X[order] / np.float32(16), y[order]
    return X[:rows], y[:rows], X[rows:], y[rows:]


def interval(values: Iterable[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean over seeds, and the ends of Student's interval for it: (mean, low, high)."""
    x = np.asarray(list(values), float)
    if x.size < 2:
        raise ValueError(f"{x.size} values; an interval needs at least two seeds")
    half = stats.t.ppf((1 + confidence) / 2, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size)
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


def told(values: Iterable[float], form: str = ".3g", confidence: float = 0.95) -> str:
    """An interval in words: ``0.92 [0.91, 0.93]``."""
    mean, low, high = interval(values, confidence)
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def finish(figure: Any, script: str) -> None:
    """Keep the picture as <script>.png when run by hand; the gallery takes the open figure itself."""
    if os.environ.get("FASTOPT_GALLERY") != "1":
        path = Path(script).with_suffix(".png").name
        figure.savefig(path, dpi=120)
        print(f"picture: {path}", file=sys.stderr)
