"""fastopt: optimization for training models on a CPU, at the speed of the hardware, on plain NumPy arrays."""

from typing import TYPE_CHECKING, Any

from fastopt import _threads

_threads.start()

from fastopt import averaging, checkpoint, data, schedules  # noqa: E402
from fastopt._core.kernels import StepRecord  # noqa: E402
from fastopt._info import __version__, build_info  # noqa: E402
from fastopt._threads import get_num_threads, set_num_threads  # noqa: E402
from fastopt._trees import flatten  # noqa: E402
from fastopt.checkpoint import load, save  # noqa: E402
from fastopt.data import Batches  # noqa: E402

# Bound now, not late: the function has the name of its folder, which an import would bind instead.
from fastopt.minimize import Solver, minimize, minimize_many  # noqa: E402
from fastopt.minimize import scipy_methods as scipy  # noqa: E402
from fastopt.optim import (  # noqa: E402
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
)

if TYPE_CHECKING:
    from fastopt import diagnostics as diagnostics
    from fastopt import init as init
    from fastopt import meta as meta
    from fastopt import nn as nn
    from fastopt import norm as norm
    from fastopt import problems as problems
    from fastopt.minimize.coordinate import Block, BlockCoordinate, lasso, lasso_path
    from fastopt.minimize.linear import cg
    from fastopt.minimize.stochastic import StochasticLBFGS

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Batches",
    "Block",
    "BlockCoordinate",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "Solver",
    "StepRecord",
    "StochasticLBFGS",
    "__version__",
    "averaging",
    "build_info",
    "cg",
    "checkpoint",
    "data",
    "diagnostics",
    "flatten",
    "get_num_threads",
    "init",
    "lasso",
    "lasso_path",
    "load",
    "meta",
    "minimize",
    "minimize_many",
    "nn",
    "norm",
    "problems",
    "save",
    "schedules",
    "scipy",
    "set_num_threads",
]


def __getattr__(name: str) -> Any:
    # fastopt.nn needs scipy.special, which takes longer to import than all the rest; not every script needs the others.
    if name in ("diagnostics", "init", "meta", "nn", "norm", "problems"):
        from importlib import import_module

        return import_module(f"fastopt.{name}")
    if name in ("Block", "BlockCoordinate", "lasso", "lasso_path"):  # they need scipy.sparse
        from importlib import import_module

        return getattr(import_module("fastopt.minimize.coordinate"), name)
    if name in ("StochasticLBFGS", "cg"):  # cg needs scipy.sparse
        from importlib import import_module

        return getattr(import_module(f"fastopt.minimize.{'linear' if name == 'cg' else 'stochastic'}"), name)
    raise AttributeError(f"module 'fastopt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
