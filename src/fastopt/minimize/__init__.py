"""Minimization of smooth functions: SciPy's call, ask and tell, many problems at once."""

from fastopt.minimize.api import minimize
from fastopt.minimize.many import minimize_many
from fastopt.minimize.result import Reason
from fastopt.minimize.solver import Solver

__all__ = ["Reason", "Solver", "minimize", "minimize_many"]
