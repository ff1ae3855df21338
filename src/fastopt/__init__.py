"""fastopt: optimization for training models on a CPU, on plain NumPy arrays."""

from fastopt import _threads as _threads

_threads.start()

from fastopt._threads import get_num_threads, set_num_threads  # noqa: E402
from fastopt._trees import flatten  # noqa: E402

__version__ = "0.1.0"
__all__ = ["flatten", "get_num_threads", "set_num_threads"]
