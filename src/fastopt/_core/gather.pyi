from typing import Any

import numpy as np

class Source:
    name: str
    array: np.ndarray
    dtype: np.dtype[Any]
    target: np.dtype[Any]
    def __init__(
        self, name: str, array: np.ndarray, target: np.dtype[Any], factor: float | None = None
    ) -> None: ...

class Gather:
    sources: tuple[Any, ...]
    threadable: bool
    def __init__(self, sources: tuple[Any, ...], own: bool = False) -> None: ...

class Reader:
    gather: Gather
    entries: int
    rows: int
    size: int
    pad: bool
    def __init__(self, gather: Gather, order: Any, entries: int, rows: int, size: int, pad: bool) -> None: ...
    def batch(self, number: int) -> Any: ...
    def check(self) -> None: ...

class Pass:
    taken: int
    done: bool
    def __init__(
        self, reader: Reader, first: int, leap: int, count: int, ahead: bool | int = False
    ) -> None: ...
    def close(self) -> None: ...
    def __iter__(self) -> Pass: ...
    def __next__(self) -> Any: ...
    def __length_hint__(self) -> int: ...

def copy_rows(array: np.ndarray, out: np.ndarray, order: np.ndarray, distance: int = 0) -> None: ...
