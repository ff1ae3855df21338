"""The methods by name, ours and SciPy's, and the options that each takes: a row an option."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastopt._checks import check_choice, check_integer, check_number
from fastopt._core import runtime, solve

__all__ = ["NEED_HESSIAN", "NEED_PRODUCT", "OUTSIDE", "begin", "method_name", "split_options"]

#: SciPy's spellings, in small letters, of what goes by another name here.
ALIASES = {
    "l-bfgs": "lbfgs",
    "l-bfgs-b": "lbfgs",
    "newton-cg": "newton_cg",
    "trust-ncg": "trust_cg",
    "trust-exact": "trust",
    "saddle-free": "newton",
}
#: Methods of SciPy that nothing here stands for, and why.
ELSEWHERE = {
    **dict.fromkeys(
        ("slsqp", "cobyla", "cobyqa", "trust-constr", "tnc"), "bounds and constraints are not supported"
    ),
    **dict.fromkeys(("nelder-mead", "powell"), "methods without gradients are not offered"),
    **dict.fromkeys(("dogleg", "trust-krylov"), "'trust' and 'trust_cg' solve the same problem"),
}
NEED_HESSIAN = frozenset({"newton", "trust"})
NEED_PRODUCT = frozenset({"newton_cg", "trust_cg"})
#: Methods whose step length comes from a line search.
SEARCHING = frozenset({"gd", "bb", "cg", "bfgs", "lbfgs", "newton", "newton_cg"})
TRUSTING = frozenset({"trust", "trust_cg"})
ALL = SEARCHING | TRUSTING


def method_name(owner: str, method: Any) -> str:
    """The name of a method of this build, from ours or SciPy's spelling in any case."""
    if not isinstance(method, str):
        raise TypeError(f"{owner}: method is {method!r} ({type(method).__name__}); a name is wanted")
    small = method.lower()
    name = ALIASES.get(small, small)
    if name in _methods:
        return name
    if small in ELSEWHERE:
        raise ValueError(
            f"{owner}: method is {method!r}; {ELSEWHERE[small]}. Known are {', '.join(_methods)}"
        )
    near = difflib.get_close_matches(small, [*_methods, *ALIASES], 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{owner}: method is {method!r}; it must be one of {', '.join(_methods)}{hint}")


_methods = solve.methods()


def _norm(owner: str, name: str, value: Any) -> int:
    if isinstance(value, (int, float)) and value in (2, math.inf) and not isinstance(value, bool):
        return 2 if value == 2 else 0
    raise ValueError(f"{owner}: {name} is {value!r}; inf (the largest element) or 2 (Euclidean) is wanted")


def _whole(low: int, high: int | None = None) -> Callable[[str, str, Any], int]:
    def check(owner: str, name: str, value: Any) -> int:
        number = check_integer(owner, name, value, low)
        if high is not None and number > high:
            raise ValueError(f"{owner}: {name} is {number}; an integer from {low} to {high} is wanted")
        return min(number, 2**63 - 1)

    return check


def _real(
    low: float, high: float = math.inf, *, above: bool = False, below: bool = False
) -> Callable[..., float]:
    def check(owner: str, name: str, value: Any) -> float:
        return check_number(owner, name, value, low, high, above=above, below=below)

    return check


def _level(owner: str, name: str, value: Any) -> float:
    return -math.inf if value == -math.inf else check_number(owner, name, value, -math.inf)


def _length(owner: str, name: str, value: Any) -> float:
    return math.inf if value == math.inf else check_number(owner, name, value, above=True)


def _limit(owner: str, name: str, value: Any) -> int:
    """A count that may be given as a whole float or inf, as SciPy's users do."""
    if isinstance(value, float) and not math.isnan(value):
        if value == math.inf:
            return 2**63 - 1
        if value == int(value):
            value = int(value)
    return _whole(1 if name.startswith("maxf") else 0)(owner, name, value)


def _word(choices: tuple[str, ...]) -> Callable[[str, str, Any], str]:
    return lambda owner, name, value: check_choice(owner, name, value, choices)


#: name -> (field of the solver, check, methods that have a use for it). SciPy's names beside ours.
OPTIONS: dict[str, tuple[str, Callable[[str, str, Any], Any], frozenset[str]]] = {
    "gtol": ("gtol", _real(0), ALL),
    "ftol": ("ftol", _real(0), ALL),
    "xtol": ("xtol", _real(0), ALL),
    "xrtol": ("xtol", _real(0), ALL),
    "ftarget": ("ftarget", _level, ALL),
    "fmin": ("fmin", _level, ALL),
    "norm": ("norm", _norm, ALL),
    "maxiter": ("maxiter", _limit, ALL),
    "maxfev": ("maxfev", _limit, ALL),
    "maxfun": ("maxfev", _limit, ALL),
    "threads": ("threads", _whole(1), ALL),
    "search": ("search", _word(solve.SEARCHES), SEARCHING),
    "c1": ("c1", _real(0, 0.5, above=True, below=True), SEARCHING),
    "c2": ("c2", _real(0, 1, above=True, below=True), SEARCHING),
    "eps_f": ("eps_f", _real(0), SEARCHING),
    "max_trials": ("max_trials", _whole(1, 2**31 - 1), SEARCHING),
    "maxls": ("max_trials", _whole(1, 2**31 - 1), SEARCHING),
    "first_step": ("first_step", _real(0), SEARCHING),
    "max_step": ("max_step", _length, SEARCHING),
    "memory": ("memory", _whole(1, 64), frozenset({"lbfgs", "bb"})),
    "maxcor": ("memory", _whole(1, 64), frozenset({"lbfgs", "bb"})),
    "restart": ("restart", _whole(0), frozenset({"cg"})),
    "powell": ("powell", _real(0), frozenset({"cg"})),
    "radius": ("radius", _real(0), TRUSTING),
    "initial_trust_radius": ("radius", _real(0, above=True), TRUSTING),
    "max_radius": ("max_radius", _real(0, above=True), TRUSTING),
    "max_trust_radius": ("max_radius", _real(0, above=True), TRUSTING),
    "eta": ("eta", _real(0, 0.25, below=True), TRUSTING),
}
PRECONDITIONED = frozenset({"cg", "newton_cg"})
#: Options that stay in Python.
OUTSIDE = (
    "variant",
    "preconditioner",
    "hess_inv0",
    "disp",
    "return_all",
    "eps",
    "finite_diff_rel_step",
    "workers",
)


def split_options(
    owner: str, method: str, options: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what the solver takes, what stays outside of it), each value checked; an option given as None is not given."""
    fields: dict[str, Any] = {"threads": runtime.get_num_threads()}
    outside: dict[str, Any] = {}
    if options is None:
        return fields, outside
    if not isinstance(options, Mapping):
        raise TypeError(f"{owner}: options is {type(options).__name__}; a dict is wanted")
    given: dict[str, str] = {}
    for name, value in options.items():
        row = OPTIONS.get(name)
        if row is None and name not in OUTSIDE:
            near = difflib.get_close_matches(str(name), [*OPTIONS, *OUTSIDE], 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join([*OPTIONS, *OUTSIDE])}"
            raise ValueError(f"{owner}: unknown option {name!r}; {hint}")
        if value is None:
            continue
        if row is None:
            if name == "variant":
                fields[name] = check_choice(owner, name, value, _methods[method])
            elif name == "preconditioner":
                _check_use(owner, method, name, PRECONDITIONED)
                if not callable(value):
                    raise TypeError(
                        f"{owner}: preconditioner is {type(value).__name__}; a function of a vector is wanted"
                    )
                fields["precondition"] = 1
                outside[name] = value
            else:
                if name == "hess_inv0":
                    _check_use(owner, method, name, frozenset({"bfgs"}))
                outside[name] = value
            continue
        field, check, users = row
        _check_use(owner, method, name, users)
        if field in given:
            raise ValueError(f"{owner}: options {given[field]!r} and {name!r} are the same; give one of them")
        given[field] = name
        fields[field] = check(owner, name, value)
    for small, large in (("c1", "c2"), ("radius", "max_radius")):
        if small in fields or large in fields:
            have = {**solve.default_options(method, "f8", 1), **fields}
            # A radius of 0 is one by rule.
            if have[large] and not have[small] < have[large]:
                raise ValueError(
                    f"{owner}: {small!r} and {large!r} are {have[small]:g} and {have[large]:g}; "
                    f"{small} < {large} is wanted"
                )
    return fields, outside


def begin(
    owner: str, method: str, x0: NDArray[Any], fields: dict[str, Any], outside: Mapping[str, Any]
) -> solve.Machine:
    """A run of a method from x0, with what `split_options` gave."""
    machine = solve.Machine(x0, method, fields)
    if "hess_inv0" in outside:
        machine.start_inverse_hessian(_start_hessian(owner, outside["hess_inv0"], x0.size, x0.dtype))
    return machine


def _start_hessian(owner: str, value: Any, n: int, dtype: Any) -> NDArray[Any]:
    """The option hess_inv0: a symmetric positive definite (n, n) matrix, rounded to the width of x0."""
    from scipy.linalg import LinAlgError, cholesky  # importing fastopt does not import SciPy's

    try:
        found = np.asarray(value)
        matrix = found.astype(
            dtype, order="C", copy=True, casting="same_kind" if found.dtype.kind in "fc" else "unsafe"
        )
    except (TypeError, ValueError) as error:
        raise TypeError(f"{owner}: hess_inv0 cannot be read as a real matrix ({error})") from None
    if matrix.shape != (n, n):
        raise ValueError(f"{owner}: hess_inv0 has shape {matrix.shape}; ({n}, {n}) is wanted")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{owner}: hess_inv0 holds NaN or Inf")
    size = float(np.abs(matrix).max(initial=0))
    if not np.allclose(matrix, matrix.T, rtol=0, atol=8 * float(np.finfo(dtype).eps) * size):
        raise ValueError(f"{owner}: hess_inv0 is not symmetric; the inverse of a Hessian is")
    try:
        cholesky(matrix.astype(np.float64), lower=True)
    except LinAlgError:
        raise ValueError(f"{owner}: 'hess_inv0' matrix isn't positive definite.") from None
    return matrix


def _check_use(owner: str, method: str, name: str, users: frozenset[str]) -> None:
    if method not in users:
        takers = ", ".join(name for name in _methods if name in users)
        raise ValueError(f"{owner}: method {method!r} has no use for option {name!r}; {takers} have")
