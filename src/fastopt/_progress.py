"""How far a long run is: nothing, a bar, or a function of yours."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, TypeAlias

__all__ = ["Progress", "reporting"]

#: False or None: nothing. True: a bar (with rich, on a terminal) or a line now and then, on stderr. A function
#: is called as ``progress(title, done, total, numbers)`` after every unit of work; total is None where unknown.
Progress: TypeAlias = bool | Callable[[str, int, int | None, Mapping[str, float]], Any] | None

REFRESH = 0.1  # seconds between two pictures of a bar
LINE = 10.0  # and between two lines where there is no terminal


@contextmanager
def reporting(progress: Progress, title: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Yield ``tell(done, **numbers)``, to be called after each unit of work.

    Raises
    ------
    TypeError
        `progress` is neither a bool, None nor a function.
    """
    if callable(progress):
        yield lambda done, **numbers: progress(title, done, total, numbers)
    elif progress is None or progress is False:
        yield lambda done, **numbers: None
    elif progress is True:
        bar = _bar(title, total)
        if bar is None:
            yield _lines(title, total)
        else:
            with bar[0]:
                yield bar[1]
    else:
        raise TypeError(
            f"progress is {progress!r}; True, False or a function (title, done, total, numbers) is needed"
        )


def _text(numbers: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def _bar(title: str, total: int | None) -> tuple[Any, Callable[..., None]] | None:
    try:
        from rich import progress as rich
        from rich.console import Console
    except ImportError:
        return None
    console = Console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        return None
    columns = [
        rich.TextColumn(title),
        rich.BarColumn(bar_width=None),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[text]}"),
        rich.TimeRemainingColumn(compact=True),
    ]
    bar = rich.Progress(*columns, console=console, auto_refresh=False, transient=True, expand=True)
    task = bar.add_task(title, total=total, text="")
    drawn = -math.inf

    def tell(done: int, **numbers: float) -> None:
        nonlocal drawn
        if perf_counter() - drawn >= REFRESH or done == total:
            bar.update(task, completed=done, text=_text(numbers), refresh=True)
            drawn = perf_counter()

    return bar, tell


def _lines(title: str, total: int | None) -> Callable[..., None]:
    told = perf_counter()

    def tell(done: int, **numbers: float) -> None:
        nonlocal told
        if perf_counter() - told >= LINE or done == total:
            of = "" if total is None else f"/{total}"
            print(f"{title} {done}{of}  {_text(numbers)}", file=sys.stderr, flush=True)
            told = perf_counter()

    return tell
