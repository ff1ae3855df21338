from collections.abc import Callable
from typing import Any

import numpy as np

from fastopt._core.solve import Compiled

class Many:
    x: np.ndarray
    jac: np.ndarray
    fun: np.ndarray
    nit: np.ndarray
    nfev: np.ndarray
    njev: np.ndarray
    status: np.ndarray
    def __init__(self, x0: np.ndarray, method: str, options: dict[str, Any], lanes: int) -> None: ...
    def run_compiled(self, fun: Compiled, step: int, threads: int) -> None: ...
    def run(self, fun: Callable[..., Any], select: Callable[[np.ndarray], tuple[Any, ...]]) -> None: ...
