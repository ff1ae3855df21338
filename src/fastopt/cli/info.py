"""``fastopt info``: what a bug report needs to say."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
from typing import Any

import numpy as np
import scipy

from fastopt.cli import report

__all__ = ["add_arguments", "run"]

NEEDED = [("NumPy", "numpy"), ("SciPy", "scipy"), ("safetensors", "safetensors")]
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
    report.print_pairs(report.console(), facts())
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
    isas = build["isas"]
    unable = [name for name, can in isas.items() if not can]
    note = f"; not on this processor: {', '.join(unable)}" if unable else ""
    forced = ", forced by FASTOPT_ISA" if build["isa_forced"] else ""
    found = [f"{name} {number}" for name in OPTIONAL if (number := version(name))]
    absent = [name for name in OPTIONAL if version(name) is None]
    return [
        ("fastopt", fo.__version__),
        (
            "Python",
            f"{platform.python_version()} ({platform.python_implementation()}), {platform.platform()}",
        ),
        *((name, version(package) or "missing") for name, package in NEEDED),
        ("instruction set", f"{build['isa']}{forced} (built: {', '.join(isas)}{note})"),
        ("threads", f"{fo.get_num_threads()} for fastopt (FASTOPT_NUM_THREADS, --threads)"),
        ("BLAS of NumPy", blas(np)),
        ("BLAS of SciPy", blas(scipy)),
        ("thread pools", pools()),
        ("optional", ", ".join(found) or "none"),
        *([("not installed", ", ".join(absent))] if absent else []),
    ]


def blas(package: Any) -> str:
    """The BLAS that a package was built with."""
    entry = package.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
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
