from typing import Any

import numpy as np

class Cache:
    @property
    def kind(self) -> str | None: ...
    @property
    def training(self) -> bool: ...
    @property
    def mean(self) -> np.ndarray: ...
    @property
    def rstd(self) -> np.ndarray: ...
    @property
    def var(self) -> np.ndarray | None: ...
    @property
    def groups(self) -> int | None: ...
    def release(self) -> None: ...

def batch_norm(
    given: Any,
    gamma: Any,
    beta: Any,
    eps: Any,
    running: Any,
    momentum: Any,
    decay: Any,
    unbiased: bool,
    training: bool,
    axis: Any,
    groups: Any,
    ghost: Any,
    out: Any,
    reuse: Cache | None,
) -> tuple[np.ndarray, Cache]: ...
def layer_norm(
    given: Any, gamma: Any, beta: Any, eps: Any, axes: Any, centred: bool, out: Any, reuse: Cache | None
) -> tuple[np.ndarray, Cache]: ...
def backward(
    grad: Any, reuse: Cache, out: Any
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]: ...
def floor(x: np.ndarray, y: np.ndarray, dy: np.ndarray, dx: np.ndarray, repeat: int) -> None: ...
