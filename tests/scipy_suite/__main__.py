"""SciPy's own tests of `scipy.optimize.minimize`, run with our methods in place of SciPy's: ``python tests/scipy_suite``.

Arguments are handed to pytest. A test that calls none of our methods is skipped, whatever it says of SciPy's own; of
the others each one passes or is in known.py. Anything else, or too few tests that reach our methods, is a failure.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import methods
import pytest
import scipy
from known import KNOWN, Known

MODULES = ("test_optimize", "test_trustregion", "test_lbfgsb_hessinv", "test__basinhopping")
#: Fewer tests than this that pass and reach our methods: then something is wrong with how they are put in.
ENOUGH = 130


class Suite:
    """A plugin of pytest: puts our methods in, counts their calls, and holds every failure against known.py."""

    def __init__(self) -> None:
        self.reached: Counter[str] = Counter()
        self.passed = self.failed = 0
        self.met: Counter[Known] = Counter()

    def pytest_configure(self) -> None:
        methods.put_in()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        methods.calls.clear()
        return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
        report = yield
        if report.when != "call" or hasattr(report, "wasxfail") or report.skipped:
            return report
        known = row_of(item)
        if not methods.calls and known is None:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.reportinfo()[1] or 0, "calls none of our methods")
            return report
        for name in methods.calls:
            self.reached[name] += 1
        if known is not None:
            self.met[known] += 1
            if call.excinfo is None:
                report.outcome = "failed"
                report.longrepr = (
                    f"passes, or reaches none of our methods, and is in known.py: {known.reason}"
                )
            elif re.search(known.says, text := call.excinfo.exconly()):
                report.outcome, report.wasxfail = "skipped", known.reason
            else:
                report.sections.append(("known.py", f"{known.says!r} was expected to be in\n{text}"))
        self.passed += report.passed
        self.failed += report.failed
        return report

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        say = terminalreporter.write_line
        say(f"SciPy {scipy.__version__}: {self.passed} tests that reach our methods passed, "
            f"{sum(self.met.values())} are in known.py, {self.failed} failed")  # fmt: skip
        say("tests by method: " + ", ".join(f"{name} {n}" for name, n in sorted(self.reached.items())))
        for row in KNOWN:
            say(f"  {self.met[row]:3d}  {row.test}: {row.reason}")


def row_of(item: pytest.Item) -> Known | None:
    """The first row of known.py that is about this test."""
    name = f"{item.path.stem}::{item.nodeid.split('::', 1)[1]}"
    return next((row for row in KNOWN if fnmatch.fnmatchcase(name, row.test.replace("[", "[[]"))), None)


def main(arguments: list[str]) -> int:
    names = [f"scipy.optimize.tests.{name}" for name in MODULES]
    for name in ("scipy.optimize.tests", *names):
        if importlib.util.find_spec(name) is None:
            print(f"{name} is not installed with SciPy {scipy.__version__} ({Path(scipy.__file__).parent}); "
                  "its wheels hold it: pip install --force-reinstall --only-binary scipy scipy")  # fmt: skip
            return 1
    suite = Suite()
    # Neither our settings of pytest nor SciPy's: its wheel has none, and ours are about our tests.
    alone = ["-c", os.devnull, "--rootdir", str(Path(scipy.__file__).parents[1]), "-p", "no:cacheprovider"]
    status = int(pytest.main([*alone, "-q", *arguments, "--pyargs", *names], plugins=[suite]))
    if status == 0 and not arguments and suite.passed < ENOUGH:
        print(f"only {suite.passed} tests reach our methods and pass; at least {ENOUGH} are expected")
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
