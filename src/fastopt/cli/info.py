"""``fastopt info``: what a bug report needs to say."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from typing import Any

import numpy as np

from fastopt.cli import report

__all__ = ["add_arguments", "run"]

OPTIONAL = [
    "rich",
    "matplotlib",
    "pandas",
    "pyarrow",
    "threadpoolctl",
    "torch",
    "jax",
    "optax",
    "scikit-learn",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace) -> int:
    out = report.console()
    out.print(report.grid(facts()))
    return 0


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def facts() -> list[tuple[str, str]]:
    """What is told, row by row."""
    import fastopt as fo

    build = fo.build_info()
    rows = [("fastopt", fo.__version__)]
    rows.append(
        ("Python", f"{platform.python_version()} ({platform.python_implementation()}), {platform.platform()}")
    )
    rows += [(name, version(name) or "missing") for name in ("numpy", "scipy", "safetensors")]
    rows += [
        (key.replace("_", " "), _text(value))
        for key, value in build.items()
        if key not in ("version", "fastopt")
    ]
    rows.append(("BLAS of NumPy", blas()))
    rows.append(("thread pools", pools()))
    found = [f"{name} {number}" for name in OPTIONAL if (number := version(name))]
    absent = [name for name in OPTIONAL if version(name) is None]
    rows.append(("optional", ", ".join(found) or "none"))
    if absent:
        rows.append(("not installed", ", ".join(absent)))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value))
    return str(value)


def blas() -> str:
    config: Any = np.show_config(mode="dicts")
    entry = config.get("Build Dependencies", {}).get("blas", {})
    return f"{entry.get('name', 'unknown')} {entry.get('version', '')}".strip()


def pools() -> str:
    """The thread pools of the process, ours among them, when threadpoolctl can tell."""
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "threadpoolctl is not installed"
    return ", ".join(
        f"{pool['internal_api']} {pool.get('version') or ''}".strip() + f": {pool['num_threads']} threads"
        for pool in threadpool_info()
    )
