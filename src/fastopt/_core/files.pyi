from collections.abc import Sequence

import numpy as np

def stamp_of(fd: int) -> tuple[int, int, int, int, int]: ...

class Reader:
    paths: list[str]
    bytes: int
    rows: int
    budget: int
    held: int
    loaded: int
    open_files: int
    def __init__(
        self,
        parts: list[tuple[str, int, int, Sequence[int]]],
        row_bytes: int,
        budget: int,
        most_open: int,
    ) -> None: ...
    def close(self) -> None: ...
    def advise(self, first: int, stop: int) -> None: ...
    def announced(self) -> list[tuple[int, int]]: ...
    def take(self, order: np.ndarray, out: np.ndarray) -> None: ...
    def read(self, first: int, out: np.ndarray) -> None: ...

class CsrRows:
    def __init__(self, indptr: np.ndarray, indices: np.ndarray, data: np.ndarray) -> None: ...
    def take(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
