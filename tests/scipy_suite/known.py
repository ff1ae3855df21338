"""The tests of SciPy's that our methods do not pass, and why not: a row a test or a family of tests."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A test that fails with this text; any other failure of it is a failure, and so is its passing."""

    test: str  # a pattern of fnmatch, over "module::class::test[parameters]", whose "[" stand for themselves
    says: str  # a regular expression, found in what the test raises
    reason: str


KNOWN: tuple[Known, ...] = (
)
