"""What this installation is: version, instruction sets, threads, BLAS."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from fastopt._core import runtime

__all__ = ["__version__", "build_info"]

try:
    __version__ = version("fastopt")
except PackageNotFoundError:  # used from a source tree that was never installed
    __version__ = "0+unknown"


def build_info() -> dict[str, Any]:
    """What this installation is and what it chose at import.

    Returns
    -------
    dict
        ``version``, ``python``, ``numpy``, ``scipy``, ``machine``, ``isa`` (the instruction set in use),
        ``isas`` (of this build, best first: name -> runs on this processor), ``isa_forced`` (by FASTOPT_ISA),
        ``threads``, ``threads_max`` and ``blas`` (what NumPy was built with).
    """
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "version": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": version("scipy"),
        "machine": platform.machine(),
        "isa": runtime.isa(),
        "isas": dict(runtime.isas()),
        "isa_forced": "FASTOPT_ISA" in os.environ,
        "threads": runtime.get_num_threads(),
        "threads_max": runtime.threads_max(),
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
    }
