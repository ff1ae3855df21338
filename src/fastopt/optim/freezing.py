"""Arrays that take no part in the steps for a while: freeze, thaw, and how that is saved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from fastopt._core.kernels import Stepper
from fastopt._trees import match_paths

__all__ = ["Clock", "Freezing", "finite"]

#: Index, frozen, since, missed, share and running scalars of an array: what `Stepper.put_clocks` takes.
Clock = tuple[int, bool, int, int, float, Mapping[str, float]]

_CHANGING = "frozen paths are being changed"


class Freezing:
    """The part of `Optimizer` that leaves arrays out of its steps."""

    _stepper: Stepper
    _leaves: list[np.ndarray]
    _averages: list[np.ndarray]
    _closed: Callable[[str], AbstractContextManager[None]]

    @property
    def frozen(self) -> frozenset[str]:
        """Paths of the arrays that are frozen now."""
        return frozenset(p for i, p in enumerate(self._stepper.paths) if self._stepper.is_frozen(i))

    def freeze(self, *patterns: str) -> None:
        """Leave arrays out of all steps until `thaw`.

        A step neither reads nor writes a frozen array or its states, and its gradient counts neither in the norm of
        ``clip_norm`` nor among the non-finite values: all other arrays get the bits that they would get if the
        frozen ones did not exist. The tree of gradients keeps its shape; what stands at a frozen path is not looked
        at, so None will do. (With ``zero_grads=True`` an array there is set to zero, so that a sum over
        micro-batches does not wait for the thaw.)

        The average of a frozen array goes on, as an average of an array that does not move. Functions of the step
        go on as well. What a rule itself counts (bias corrections, the first momentum) are the steps that the array
        has taken part in.

        Parameters
        ----------
        *patterns : str
            Patterns of paths, as in `fnmatch`: ``"0/*"`` is everything below ``0``. Paths that are frozen already
            stay so.

        Raises
        ------
        TypeError, ValueError
            There is no pattern, or one is no string or matches no path. Nothing has been frozen then.
        RuntimeError
            Inside `lookahead` or `averaged`, or while another thread steps this optimizer.

        Examples
        --------
        >>> import numpy as np, fastopt as fo
        >>> params = {"0": {"w": np.ones(2)}, "1": {"w": np.ones(2)}}
        >>> opt = fo.SGD(params, lr=0.5)
        >>> opt.freeze("0/*")
        >>> _ = opt.step({"0": {"w": None}, "1": {"w": np.ones(2)}})
        >>> params["0"]["w"], params["1"]["w"], sorted(opt.frozen)
        (array([1., 1.]), array([0.5, 0.5]), ['0/w'])
        >>> opt.thaw("0/*")
        >>> opt.frozen
        frozenset()
        """
        indices = self._indices("freeze", patterns)
        with self._closed(_CHANGING):
            self._stepper.freeze(indices)

    def thaw(self, *patterns: str) -> None:
        """Let frozen arrays take part in the steps again, from where their states stood.

        Parameters
        ----------
        *patterns : str
            Patterns of paths; ``"*"`` is all. Paths that are not frozen are left alone.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            As for `freeze`.
        """
        indices = self._indices("thaw", patterns)
        with self._closed(_CHANGING):
            self._settle(indices)
            self._stepper.thaw(indices)

    def _indices(self, name: str, patterns: tuple[str, ...]) -> list[int]:
        if not patterns:
            raise TypeError(f"{name}() got no pattern; at least one is needed, '*' for all paths")
        paths = self._stepper.paths
        return sorted({i for p in patterns for i in match_paths(f"{name}({p!r})", p, paths)})

    def _settle(self, indices: Sequence[int]) -> None:
        """Bring the averages of frozen arrays up to date: k steps at one place p are ``p + share (avg - p)``."""
        for i in indices if self._averages else ():
            share = self._stepper.share(i)
            if share == 0.0:
                self._averages[i][...] = self._leaves[i]
            elif share != 1.0:
                average, leaf = self._averages[i], self._leaves[i]
                average += average.dtype.type(1.0 - share) * (leaf - average)
            self._stepper.settled(i)

    def _clocks(self) -> dict[str, dict[str, Any]]:
        """By path, what is saved of each array that is frozen or has missed steps."""
        return {
            self._stepper.paths[i]: {
                "frozen": frozen,
                "since": since,
                "missed": missed,
                "share": share,
                "scalars": dict(scalars),
            }
            for i, frozen, since, missed, share, scalars in self._stepper.get_clocks()
        }

    def _check_clocks(self, given: Any, steps: Any, wrong: list[str]) -> list[Clock]:
        """The rows of a saved state; what is wrong with it is added to `wrong`."""
        if not isinstance(given, Mapping):
            wrong.append(f"clocks is {type(given).__name__}, not a mapping of paths")
            return []
        paths = self._stepper.paths
        names = set(self._stepper.get_scalars()[0])
        steps = steps if isinstance(steps, (int, np.integer)) else 0
        rows: list[Clock] = []
        for path, entry in given.items():
            what = f"clocks[{path!r}]"
            if path not in paths:
                wrong.append(f"{what} belongs to nothing here")
            elif not isinstance(entry, Mapping) or set(entry) != {
                "frozen", "since", "missed", "share", "scalars"
            }:  # fmt: skip
                wrong.append(f"{what} is {entry!r:.80}, not what state_dict() gives")
            elif not (
                isinstance(entry["frozen"], (bool, np.bool_))
                and _count(entry["since"], steps)
                and _count(entry["missed"], steps)
                and finite(entry["share"])
                and 0 <= entry["share"] <= 1
                and isinstance(entry["scalars"], Mapping)
                and set(entry["scalars"]) == names
                and all(map(finite, entry["scalars"].values()))
            ):
                wrong.append(f"{what} is {dict(entry)!r:.200}, with a number out of its range")
            else:
                rows.append(
                    (
                        paths.index(path), bool(entry["frozen"]), int(entry["since"]), int(entry["missed"]),
                        float(entry["share"]), entry["scalars"],
                    )
                )  # fmt: skip
        return rows


def _count(x: Any, most: int) -> bool:
    return bool(isinstance(x, (int, np.integer)) and not isinstance(x, bool) and 0 <= x <= most)


def finite(x: Any) -> bool:
    """Whether a number of a saved state is one."""
    return bool(isinstance(x, (int, float, np.number)) and not isinstance(x, bool) and math.isfinite(x))
