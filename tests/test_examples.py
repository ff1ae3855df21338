"""Examples run, in small; they stand in the gallery, and each tells an interval. The site itself is built in .ci/run."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fastopt as fo

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
FILES = sorted(p for p in EXAMPLES.glob("*.py") if p.name != "study.py")
IDS = [p.stem for p in FILES]

# Arguments of `run` that make it short; a file without a row fails. Rows of files that are not there do no harm.
SMALL: dict[str, dict[str, Any]] = {
    "adaptive_rates": {"decades": 1.0, "steps": 5, "rows": 60},
    "augmentation_and_batches": {"sizes": (5, 20), "rows": 20, "steps": 5, "copies": 2},
    "batch_norm": {"rates": (0.1,), "epochs": 1, "depth": 2, "width": 8},
    "batch_size": {"rows": 300, "batches": 4, "epochs": 6},
    "continuation": {"dims": (1, 2), "starts": 1, "steps": 3},
    "curriculum": {"epochs": 3, "rows": 80},
    "early_stopping": {"passes": 3, "patience": 1, "rows": 60, "held_out": 40},
    "diagnosis": {"steps": 30, "rows": 130, "ailments": ("none", "mistake in the gradient")},
    "ill_conditioned": {"n": 10, "kappas": (10, 100)},
    "initialization": {"factor": 1.0, "depth": 3, "width": 8, "steps": 3, "rows": 16},
    "local_minima": {"widths": (2,), "points": 2, "starts": 2, "rows": 40, "iterations": 10, "bends": 3},
    "polyak": {"steps": 20, "chains": 5, "passes": 2, "rows": 64},
    "pretraining": {"depth": 4, "steps": 200, "rows": 64},
    "residual": {"depths": (2, 4), "passes": 1, "rows": 64},
    "second_order": {"passes": 3, "rows": 60, "batch": 20},
    "shuffle_once": {"rows": 280, "epochs": (1, 2)},
    "sparse_coding": {"images": 30, "atoms": 6, "sweeps": 2, "rates": (0.01,)},
    "stochastic_gradient": {"steps": 200},
}

WORDS = {"diagnosis"}  # its answers are verdicts


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The file as a module; importing it must not run it, and nothing in it may reach for the network."""
    pytest.importorskip("matplotlib").use("Agg")
    path: Path = request.param

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"{path.name} opens a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.syspath_prepend(str(EXAMPLES))  # for study, which is imported by its bare name
    had = set(sys.modules)
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    import matplotlib.pyplot as plt

    plt.close("all")
    if "study" not in had:
        sys.modules.pop("study", None)


def numbers(value: Any) -> Iterator[np.ndarray]:
    """All numbers in a nest of dicts, sequences, records and objects with attributes."""
    if isinstance(value, dict):
        for inside in value.values():
            yield from numbers(inside)
    elif isinstance(value, (list, tuple, set)):
        for inside in value:
            yield from numbers(inside)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        yield from numbers(vars(value))
    elif isinstance(value, (np.ndarray, np.generic, int, float, complex)):
        yield np.asarray(value)


def test_there_are_examples() -> None:
    assert len(FILES) >= 6


@pytest.mark.parametrize("example", FILES, ids=IDS, indirect=True)
def test_run_gives_finite_numbers(example: ModuleType, request: pytest.FixtureRequest) -> None:
    name = example.__name__.removeprefix("example_")
    assert name in SMALL, f"examples/{name}.py has no row in SMALL; give arguments that make its run() short"
    with np.errstate(all="warn", under="ignore"):
        result = example.run(0, **SMALL[name])
    found = list(numbers(result))
    assert found or name in WORDS
    for array in found:
        assert array.dtype.kind in "biufc" and np.isfinite(array).all(), array


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_form(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    text = ast.get_docstring(tree) or ""
    title, rule, *rest = text.splitlines()
    assert set(rule) == {"="} and len(rule) >= len(title), "a title, and = below it as long as it is"
    assert len("".join(rest)) > 100, "what is asked, in a few sentences"
    assert "# %%" in source, "cells of text, for the gallery"
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"run", "main"} <= set(functions)
    said = ast.unparse(functions["main"])
    assert re.search(r"\b(told|interval)\(", said), "main tells an interval"
    assert "print(" in said and "finish(" in said
    calls = ast.unparse(tree.body[-1])
    assert calls.startswith("if __name__ == '__main__':") and "main()" in calls
    idle = (
        ast.Import,
        ast.ImportFrom,
        ast.FunctionDef,
        ast.ClassDef,
        ast.Assign,
        ast.AnnAssign,
        ast.Expr,
        ast.If,
    )
    assert all(isinstance(node, idle) for node in tree.body), "nothing runs when the file is imported"
    roots = {
        (name or "").split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    known = {*sys.stdlib_module_names, "numpy", "scipy", "matplotlib", "fastopt", "study"}
    assert roots <= known, f"only what the package comes with: {roots - known}"
    assert not roots & {"urllib", "http", "socket", "ssl", "ftplib", "argparse"}


def test_every_example_is_in_the_gallery() -> None:
    listed = re.findall(r"^   \.\./examples/(\w+)\.py$", (EXAMPLES / "index.rst").read_text(), re.M)
    assert len(set(listed)) == len(listed), "an example stands twice in examples/index.rst"
    missing = set(IDS) - set(listed)
    assert not missing, f"add to their section in examples/index.rst: {sorted(missing)}"


def test_every_public_name_is_in_the_reference() -> None:
    """docs/api.rst names what fo.__all__ has; the pages of modules are made from their own __all__."""
    reference = (ROOT / "docs" / "api.rst").read_text()
    listed = set(re.findall(r"^   ([A-Za-z_.]+)$", reference, re.M))
    missing = set(fo.__all__) - {"__version__", "scipy"} - listed
    assert not missing, f"add to docs/api.rst: {sorted(missing)}"
    for name in listed:
        thing: Any = fo
        for part in name.split("."):
            thing = getattr(thing, part, None) or getattr(sys.modules.get("fastopt.minimize"), part)
    methods = re.search(r"That module is ``fo.scipy``: (.*?)\. All take", reference, re.S)
    assert methods is not None
    assert set(re.findall(r"``(\w+)``", methods[1])) == set(fo.scipy.__all__)


def test_interval_covers_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import study

    rng = np.random.default_rng(0)
    ends = np.array([study.interval(rng.normal(3, 2, 6)) for _ in range(4000)])
    covered = np.mean((ends[:, 1] <= 3) & (ends[:, 2] >= 3))
    assert abs(covered - 0.95) < 5 * np.sqrt(0.95 * 0.05 / 4000)
    assert study.told([1.0, 2.0, 3.0], ".1f") == "2.0 [-0.5, 4.5]"
    with pytest.raises(ValueError, match="two seeds"):
        study.interval([1.0])


def test_finish_writes_by_hand_and_not_in_the_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    figures = pytest.importorskip("matplotlib.figure")
    import study

    monkeypatch.chdir(tmp_path)
    for gallery, files in (("1", []), ("0", ["some.png"])):
        monkeypatch.setenv("FASTOPT_GALLERY", gallery)
        study.finish(figures.Figure(), "/elsewhere/some.py")
        assert os.listdir(tmp_path) == files
