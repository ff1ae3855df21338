"""Our methods in SciPy's place: whoever asks SciPy for one of NAMES gets ours, handed over through ``method=``."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from scipy.optimize import _lbfgsb_py, _optimize

import fastopt as fo

#: SciPy's name -> ours. dogleg and what takes bounds or constraints have no counterpart and stay SciPy's.
NAMES = {
    "bfgs": fo.scipy.bfgs,
    "cg": fo.scipy.cg,
    "newton-cg": fo.scipy.newton_cg,
    "l-bfgs-b": fo.scipy.lbfgs,
    "trust-ncg": fo.scipy.trust_cg,
    "trust-krylov": fo.scipy.trust_cg,
    "trust-exact": fo.scipy.trust,
}
#: What the functions of old times (fmin_bfgs and so on) call: module, name there, method.
OLD = (
    (_optimize, "_minimize_bfgs", "bfgs"),
    (_optimize, "_minimize_cg", "cg"),
    (_optimize, "_minimize_newtoncg", "newton-cg"),
    (_lbfgsb_py, "_minimize_lbfgsb", "l-bfgs-b"),
)
#: Calls of our methods since it was cleared last, by SciPy's name.
calls: Counter[str] = Counter()

_minimize = scipy.optimize.minimize


def minimize(
    fun: Any, x0: Any, args: Any = (), method: Any = None, jac: Any = None, hess: Any = None, hessp: Any = None,
    bounds: Any = None, constraints: Any = (), tol: Any = None, callback: Any = None, options: Any = None,
) -> Any:  # fmt: skip
    """`scipy.optimize.minimize`, whose methods of NAMES are ours where there are no bounds or constraints."""
    free = bounds is None and not constraints
    name = "bfgs" if method is None else method.lower() if isinstance(method, str) else ""
    if free and name in NAMES:
        calls[name] += 1
        method = NAMES[name]
    return _minimize(fun, x0, args, method, jac, hess, hessp, bounds, constraints, tol, callback, options)


def in_place_of(original: Callable[..., Any], method: str) -> Callable[..., Any]:
    """A function called as `original`; what has SciPy's default is taken as not given, for ours are others."""
    signature = inspect.signature(original)

    def replaced(*given: Any, **named: Any) -> Any:
        if named.get("bounds") is not None:
            return original(*given, **named)
        calls[method] += 1  # before anything here can fail
        have = dict(signature.bind(*given, **named).arguments)
        have.update(have.pop("unknown_options", {}))
        passed = {
            key: have.pop(key, None) for key in ("fun", "x0", "args", "jac", "hess", "hessp", "callback")
        }
        passed["args"] = passed["args"] or ()
        if hasattr(passed["callback"], "stop_iteration"):  # SciPy's wrapper of it, for its own methods
            passed["callback"] = inspect.getclosurevars(passed["callback"]).nonlocals["callback"]
        options = {
            key: value
            for key, value in have.items()
            if key not in signature.parameters or not np.array_equal(value, signature.parameters[key].default)
        }
        options.pop("bounds", None)
        return minimize(method=method, options=options, **passed)

    return replaced


def put_in() -> None:
    """In every module of SciPy's that has `minimize` under whatever name; before the tests import it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("scipy.optimize"):
            for key, value in list(vars(module).items()):
                if value is _minimize:
                    setattr(module, key, minimize)
    for module, name, method in OLD:
        setattr(module, name, in_place_of(getattr(module, name), method))
