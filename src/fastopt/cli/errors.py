"""What the commands share when something is wrong: one exception, close names, packages that are missing."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

__all__ = ["Mistake", "close_names", "need", "listed", "first_line"]


class Mistake(Exception):
    """What a person can mend: ends in one line on stderr and exit code 2."""


def close_names(name: str, options: Iterable[str]) -> str:
    """ "; did you mean 'price'?", or nothing when no option is near."""
    by_lower = {option.lower(): option for option in options}
    near = difflib.get_close_matches(name.lower(), list(by_lower), n=2, cutoff=0.7)
    return f"; did you mean {' or '.join(repr(by_lower[n]) for n in near)}?" if near else ""


def need(package: str, purpose: str, install: str = '"fastopt[cli]"') -> Any:
    """Import a package that is not among the run-time needs, or say how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if error.name is not None and error.name.split(".")[0] != package.split(".")[0]:
            raise  # the package is there and is broken: not ours to explain
        root = package.split(".")[0]
        raise Mistake(f"{purpose} needs {root}, which is not installed: pip install {install}") from None


def listed(names: Iterable[Any], most: int = 8) -> str:
    """Names for a message: the first few, and how many more there are."""
    names = [str(name) for name in names]
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def first_line(error: BaseException) -> str:
    """An exception's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__
