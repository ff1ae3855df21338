"""Unconstrained test problems with known answers, for trying and comparing minimizers.

Two groups: ``"mgh"``, the 35 problems of More, Garbow and Hillstrom (ACM TOMS 7(1), 1981) with Hessians, and
``"large"``, problems of any size from the CUTEst collection and from Andrei's, whose value and gradient cost
O(n) and come together.

>>> from fastopt import problems
>>> p = problems.get("rosenbrock")
>>> p.f(p.x0), p.grad(p.x0)
(24.2, array([-215.6,  -88. ]))
>>> problems.get("ARWHEAD", n=10_000).minimum
0.0
"""

from __future__ import annotations

from fastopt._checks import check_choice
from fastopt.problems import _chains, _large_squares, _large_sums, _mgh_data, _mgh_fixed, _mgh_scalable
from fastopt.problems._base import Problem, Spec

__all__ = ["Problem", "all_problems", "get", "names"]

Problem.__module__ = __name__

_GROUPS = ("mgh", "large")


def _collect() -> dict[str, Spec]:
    rooms = (_chains, _mgh_data, _mgh_fixed, _mgh_scalable, _large_squares, _large_sums)
    specs = [spec for room in rooms for spec in room.SPECS]

    def order(spec: Spec) -> tuple[int, int, str]:
        number = int(spec.source.split()[1]) if spec.group == "mgh" else 0
        return _GROUPS.index(spec.group), number, spec.name

    return {spec.name: spec for spec in sorted(specs, key=order)}


_SPECS = _collect()
#: Every name that `get` knows, in lower case.
_KNOWN = {
    key.lower(): spec
    for spec in _SPECS.values()
    for key in (spec.name, *spec.aliases, *((spec.source,) if spec.group == "mgh" else ()))
}


def get(name: str, n: int | None = None) -> Problem:
    """The test problem of this name.

    Parameters
    ----------
    name : str
        One of `names`; upper and lower case are alike. The MGH problems are also known by their number
        (``"MGH 7"``) and by their name in CUTEst (``"POWELLSG"``).
    n : int, optional
        Number of variables, for problems that leave the choice; by default that of the publication or one
        that is solved in a moment.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        No such problem, or an `n` it does not exist in; the message says which exist.
    """
    if not isinstance(name, str):
        raise TypeError(f"problems.get: name is {name!r} ({type(name).__name__}); a str is wanted")
    spec = _KNOWN.get(name.lower())
    if spec is None:
        raise ValueError(f"problems.get: name is {name!r}; one of problems.names() is wanted")
    return spec.make(n)


def names(group: str | None = None) -> list[str]:
    """Names of all problems, or of those of `group` ``"mgh"`` (by number) or ``"large"`` (by letters)."""
    if group is not None:
        check_choice("problems.names", "group", group, _GROUPS)
    return [spec.name for spec in _SPECS.values() if group in (None, spec.group)]


def all_problems(group: str | None = None) -> list[Problem]:
    """All problems, or those of a `group`, each in its default size."""
    return [get(name) for name in names(group)]
