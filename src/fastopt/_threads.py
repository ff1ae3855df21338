"""How many threads the engine uses: what the machine allows, FASTOPT_NUM_THREADS, set_num_threads, threadpoolctl."""

from __future__ import annotations

import math
import os
from pathlib import Path

from fastopt._core import runtime

__all__ = ["set_num_threads", "get_num_threads"]


def set_num_threads(n: int) -> None:
    """Set the number of threads that the engine may use, the calling thread included.

    Results never depend on it: only the time does. Small steps use one thread whatever is set here.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    TypeError, ValueError
        ``n`` is not an integer, or is below 1.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"n is {type(n).__name__}; a whole number of threads is needed")
    count = int(n.__index__())
    if count < 1:
        raise ValueError(f"n is {count}; at least 1 thread is needed")
    runtime.set_num_threads(min(count, runtime.threads_max()))


def get_num_threads() -> int:
    """The number of threads that the engine may use, the calling thread included."""
    return runtime.get_num_threads()


def available_cores() -> int:
    """Cores this process may use: the smallest of affinity, cgroup quota (rounded up) and what the machine has."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # no affinity on this system
        cores = os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):
        pass
    return max(1, cores)


def start() -> None:
    """Choose kernels and threads at import, and tell threadpoolctl, where it is installed, how to change the latter."""
    forced = os.environ.get("FASTOPT_ISA")
    if forced is not None:
        try:
            runtime.use_isa(forced)
        except ValueError as error:
            raise ImportError(f"FASTOPT_ISA: {error}") from None
    wanted = os.environ.get("FASTOPT_NUM_THREADS")
    if wanted is None:
        set_num_threads(available_cores())
    else:
        try:
            set_num_threads(int(wanted))
        except ValueError:
            raise ImportError(
                f"FASTOPT_NUM_THREADS is {wanted!r}; a whole number of at least 1 is needed"
            ) from None
    _register_with_threadpoolctl()


def _register_with_threadpoolctl() -> None:
    try:
        from threadpoolctl import LibController, register
    except ImportError:
        return

    class FastoptController(LibController):
        user_api = "fastopt"
        internal_api = "fastopt"
        filename_prefixes = ("runtime.", "libfastopt")
        check_symbols = ("fo_get_num_threads", "fo_set_num_threads")

        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            set_num_threads(num_threads)

        def get_version(self) -> None:
            return None

        def set_additional_attributes(self) -> None:
            self.threading_layer = "own pool"

    register(FastoptController)
