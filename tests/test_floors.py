"""Imports and includes point down only (design.md, section 2): read from the text of every file."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "fastopt"
CSRC = ROOT / "csrc"

#: Floor of each room; a file imports from lower floors, and from its own room.
FLOORS = {
    "_core": 1,
    "_checks": 2, "_trees": 2, "_parameters": 2, "_threads": 2, "_progress": 2, "_info": 2, "averaging": 2, "schedules": 2, "data": 2,
    "problems": 2, "init": 2, "norm": 2,
    "optim": 3, "minimize": 3,
    "diagnostics": 4, "checkpoint": 4,
    "meta": 5,
    "nn": 6,
    "cli": 7, "": 7, "__main__": 8,
}  # fmt: skip
#: Modules of floor 2 that the others of it stand on.
GROUND = {"_checks", "_trees", "_parameters", "_threads", "_progress", "_info", "averaging"}
#: Rooms that may import nothing of these, though they stand lower.
NEVER = {
    "optim": {"schedules", "minimize", "data"},
    "minimize": {"schedules", "optim", "data"},
    "_core": set(FLOORS) - {"_core"},
}


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def imports(path: Path) -> list[str]:
    """Rooms of fastopt that a Python file imports, also inside functions."""
    found = []
    inside = path.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(inside[: len(inside) - node.level]) + "." if node.level else ""
            module = start + (node.module or "")
            names = [f"{module.rstrip('.')}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "fastopt":
                found.append(parts[1] if len(parts) > 1 and parts[1] in FLOORS else "")
    return found


PYTHON = sorted(PACKAGE.rglob("*.py"))
CYTHON = sorted([*PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxd")])


def test_every_room_has_a_floor() -> None:
    rooms = {room(path) for path in [*PYTHON, *CYTHON]}
    assert rooms <= set(FLOORS), f"no floor for {rooms - set(FLOORS)}"
    assert {"_core", "optim", "schedules", ""} <= rooms


@pytest.mark.parametrize("path", PYTHON, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    mine = room(path)
    for other in imports(path):
        if other == mine:
            continue
        if mine in ("nn", "cli") and other == "":
            continue  # they use the library as a user would
        assert other not in NEVER.get(mine, set()), f"{mine} imports {other}"
        down = FLOORS[other] < FLOORS[mine] or (
            FLOORS[other] == FLOORS[mine] == 2 and other in GROUND and mine not in GROUND
        )
        ground = mine in GROUND and other in {"_checks", "_trees"}
        assert down or ground, (
            f"{mine or 'fastopt'} (floor {FLOORS[mine]}) imports {other or 'fastopt'} (floor {FLOORS[other]})"
        )


@pytest.mark.parametrize("path", CYTHON, ids=lambda p: p.name)
def test_cython_imports_point_down(path: Path) -> None:
    """Compiled modules stand on csrc and NumPy alone; what they need of Python's floor they may ask for late."""
    for line in path.read_text().splitlines():
        if re.match(r"(from|import|cimport) .*fastopt", line):
            assert re.match(r"from fastopt\._core[. ]", line), line


def test_what_modules_need_to_be_imported_lazily() -> None:
    """torch, pandas, matplotlib, rich and the like are no run-time needs: never at the top of a file outside cli."""
    allowed = {"numpy", "scipy", "safetensors", "fastopt", "threadpoolctl"}
    for path in PYTHON:
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                top = name.split(".")[0]
                if room(path) == "cli" and path.name not in ("__init__.py", "__main__.py"):
                    continue
                assert top in allowed or top in sys.stdlib_module_names, (
                    f"{path.relative_to(PACKAGE)} imports {name}"
                )


def test_csrc_headers_are_private() -> None:
    """Outside csrc only fastopt.h is included (and threads.h, by the C tests of the pool)."""
    private = {str(path.relative_to(CSRC)) for path in CSRC.rglob("*.h")} - {"fastopt.h"}
    assert {"kernels.h", "rules.h", "reduce.h", "loops.h"} <= private
    for path in [*CYTHON, *PACKAGE.rglob("*.h"), *(ROOT / "tests").rglob("*.c")]:
        for name in re.findall(r'(?:#include|extern from) "([^"]+)"', path.read_text()):
            assert name not in private - {"threads.h"}, f"{path.name} includes {name}"
    for path in CYTHON:
        assert '"threads.h"' not in path.read_text()


def test_csrc_knows_nothing_above_it() -> None:
    own = {str(path.relative_to(CSRC)) for path in CSRC.rglob("*")} | {"isas.def"}
    system = set()
    for path in CSRC.rglob("*.[ch]"):
        text = path.read_text()
        for name in re.findall(r'#include "([^"]+)"', text):
            beside = (path.parent / name).resolve()
            assert name in own or (CSRC in beside.parents and beside.exists()), f"{path.name} includes {name}"
        system |= set(re.findall(r"#include <([^>]+)>", text))
    assert not {
        name
        for name in system
        if "ython" in name or "numpy" in name or "blas" in name.lower() or name == "stdio.h"
    }


def test_csrc_keeps_no_state_but_the_table_and_the_pool() -> None:
    """No writable static data outside dispatch.c (kernels and thread count in use), threads.c (the pool), ahead.c (its like)."""
    for path in CSRC.rglob("*.[ch]"):
        if path.name in ("dispatch.c", "threads.c", "ahead.c"):
            continue
        for line in path.read_text().splitlines():
            stripped = line.strip()
            if stripped.startswith("static") and "(" not in stripped.split("=")[0]:
                assert "const" in stripped, f"{path.name}: {stripped}"
