"""The data set inside the package."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

__all__ = ["load_digits"]


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits: 1797 images of 8 x 8 pixels.

    Returns
    -------
    X : ndarray of float32, shape (1797, 64)
        Pixels row by row, whole numbers from 0 (paper) to 16 (ink).
    y : ndarray of int64, shape (1797,)
        The digits 0 to 9.

    Notes
    -----
    The test part of E. Alpaydin, C. Kaynak: *Optical Recognition of Handwritten Digits*, UCI Machine
    Learning Repository, 1998, https://doi.org/10.24432/C50P49, under CC BY 4.0
    (https://creativecommons.org/licenses/by/4.0/). Stored as 8-bit integers and compressed, otherwise as it
    was; the rows are in the order in which scikit-learn has them.

    Examples
    --------
    >>> import fastopt as fo
    >>> X, y = fo.data.load_digits()
    >>> X.shape, y[:5].tolist()
    ((1797, 64), [0, 1, 2, 3, 4])
    """
    with (
        (files("fastopt.data") / "digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as stored,
    ):
        return stored["X"].astype(np.float32), stored["y"].astype(np.int64)
