from typing import Any

import numpy as np

class Descent:
    w: np.ndarray
    q: np.ndarray
    r: np.ndarray
    y: np.ndarray
    norms: np.ndarray
    gap: float
    primal: float
    sweeps: int
    checks: int
    screened: int
    def __init__(
        self,
        X: np.ndarray,
        indices: np.ndarray | None,
        indptr: np.ndarray | None,
        shape: tuple[int, int],
        means: np.ndarray | None,
        ones: np.ndarray | None,
        dtype: Any,
    ) -> None: ...
    def target(self, y: np.ndarray, yy: float, careful: bool) -> None: ...
    def start(self, w: Any) -> None: ...
    def run(
        self,
        a: float,
        b: float,
        gap: float,
        most: int,
        positive: bool,
        screening: bool,
        bit_generator: np.random.BitGenerator | None = None,
    ) -> int: ...
