"""Early stopping (Deep Learning, 7.8 and 8.1.2): the best weights by what is wanted, not by what is minimized."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from types import NoneType
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_keys
from fastopt._trees import _at, flatten_tree
from fastopt.meta._patience import Metric, Patience

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Watches a metric, keeps the best weights, and says when to stop.

    Training minimizes a surrogate (a log-likelihood) that has useful gradients in place of what is wanted (few wrong
    answers), and stops where what is wanted, on rows held out, no longer gets better, often while the surrogate still
    falls.

    Parameters
    ----------
    patience : int or None, default 10
        Updates in a row without a better metric before `update` says stop, >= 1. None: never; the best weights are
        kept all the same.
    min_delta : float, default 0.0
        How much better than the best a metric must be to count, >= 0.
    mode : {"min", "max"}, default "min"
        Whether a smaller or a larger metric is better.

    Attributes
    ----------
    best : float, tuple of float or None
        The best metric so far; None before the first finite one.
    best_step : int or None
        The step it was taken after.
    bad : int
        Updates since the best one.
    stopped : bool
        Whether the patience is spent.
    history : list of dict
        A row for each update: ``step``, ``metric``, and ``surrogate``, the training loss beside it (None where none
        was told).

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    Better means ``metric < best - min_delta`` (``metric > best + min_delta`` for "max"). A tuple of numbers is
    compared number by number: ``(error, loss)`` is the error, and the loss only where errors are equal. A metric that
    is NaN or infinite is no improvement.

    The weights are copied to two trees in turn, so that an interrupt (Ctrl-C) in the middle of a copy leaves the other
    one whole; after the second improvement nothing is allocated.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, 2016, algorithm 7.1 and section 8.1.2. Prechelt, Early stopping, but
    when?, 1998.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w, early = np.zeros(2), fo.meta.EarlyStopping(patience=2)
    >>> for step, error in enumerate([0.5, 0.3, 0.4, 0.35, 0.2], 1):
    ...     w += 1.0
    ...     if early.update(error, w, step):
    ...         break
    >>> early.restore(w), early.best, early.best_step, step
    (array([2., 2.]), 0.3, 2, 4)
    """

    def __init__(self, patience: int | None = 10, *, min_delta: float = 0.0, mode: str = "min") -> None:
        self._patience = Patience("EarlyStopping", patience, min_delta, mode)
        self.best_step: int | None = None
        self.history: list[dict[str, Any]] = []
        self._paths: list[str] = []
        self._copies: list[list[np.ndarray]] = []  # one or two; the last is the best
        # Of the driver: losses summed since the last update, how many they are, and passes finished.
        self.running: dict[str, Any] = {"sum": 0.0, "count": 0, "passes": 0}

    @property
    def patience(self) -> int | None:
        """As given; it may be changed at any time."""
        return self._patience.patience

    @patience.setter
    def patience(self, value: int | None) -> None:
        self._patience.patience = (
            None if value is None else check_integer("EarlyStopping", "patience", value, 1)
        )

    @property
    def best(self) -> Metric | None:
        """The best metric so far."""
        return self._patience.best

    @property
    def best_surrogate(self) -> float | None:
        """The training loss that was told with the best metric: the target of algorithm 7.3."""
        return next((row["surrogate"] for row in self.history if row["step"] == self.best_step), None)

    @property
    def bad(self) -> int:
        """Updates since the best one."""
        return self._patience.bad

    @property
    def stopped(self) -> bool:
        """Whether the patience is spent."""
        return self._patience.spent

    def update(
        self, metric: Any, params: Any = None, step: int | None = None, surrogate: float | None = None
    ) -> bool:
        """Tell the newest metric; the weights are kept if it is the best.

        Parameters
        ----------
        metric : float or tuple of float
            What is wanted, on rows held out.
        params : tree of ndarray, optional
            The weights that gave it: any tree of arrays, so also ``{"params": ..., "buffers": ...}``. Default: none
            are kept.
        step : int, optional
            The optimizer's step (``opt.steps``). Default: the number of updates.
        surrogate : float, optional
            The training loss at the same time, for the history.

        Returns
        -------
        bool
            Whether to stop.

        Raises
        ------
        TypeError, ValueError
            A metric is no number or changed its length; the tree is another one than before. Nothing has changed.
        """
        value = self._patience.read(metric)
        step = len(self.history) + 1 if step is None else check_integer("EarlyStopping", "step", step, 0)
        told = None if surrogate is None else float(surrogate)
        leaves = self._match(params)
        row = {"step": step, "metric": value, "surrogate": told}
        before = (self._patience.best, self._patience.bad)
        if self._patience.update(value):
            try:
                self._keep(leaves)
            except BaseException:
                self._patience.best, self._patience.bad = before
                raise
            self.best_step = step
        self.history.append(row)
        return self.stopped

    def _match(self, params: Any) -> list[np.ndarray]:
        if params is None:
            if self._copies:
                raise ValueError(
                    "EarlyStopping: params is missing; they were given before and are wanted again"
                )
            return []
        leaves, paths = flatten_tree(params)
        for leaf, path in zip(leaves, paths, strict=True):
            if not isinstance(leaf, np.ndarray):
                raise TypeError(
                    f"EarlyStopping: params{_at(path)} is {type(leaf).__name__}; an array is wanted"
                )
        if self.history and not self._copies and self.best is not None:
            raise ValueError(
                "EarlyStopping: params came after updates without them; give them always or never"
            )
        if self._copies:
            _compare(leaves, paths, self._copies[-1], self._paths)
        else:
            self._paths = paths
        return leaves

    def _keep(self, leaves: list[np.ndarray]) -> None:
        if not leaves:
            return
        if len(self._copies) < 2:
            self._copies.append([leaf.copy() for leaf in leaves])
            return
        for kept, leaf in zip(self._copies[0], leaves, strict=True):
            kept[...] = leaf
        self._copies.reverse()

    def restore(self, params: Any) -> Any:
        """Write the best weights into the arrays of `params`, a tree like that of `update`; returns it.

        Raises
        ------
        ValueError
            None are kept, or the tree is another one. Nothing has been written.
        """
        if not self._copies:
            raise ValueError("EarlyStopping: no weights are kept; update(metric, params) keeps them")
        leaves, paths = flatten_tree(params)
        _compare(leaves, paths, self._copies[-1], self._paths)
        for leaf, path in zip(leaves, paths, strict=True):
            if not leaf.flags.writeable:
                raise ValueError(f"EarlyStopping: params{_at(path)} is read-only; it cannot be restored")
        for leaf, kept in zip(leaves, self._copies[-1], strict=True):
            leaf[...] = kept
        return params

    def state_dict(self) -> dict[str, Any]:
        """All of it but the constructor's arguments: best metric and weights (by path), counts, history."""
        return {
            **self._patience.state_dict(),
            "best_step": self.best_step,
            "history": [dict(row) for row in self.history],
            "weights": {p: a.copy() for p, a in zip(self._paths, self._copies[-1], strict=True)}
            if self._copies
            else None,
            "running": dict(self.running),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave.

        Raises
        ------
        TypeError, ValueError
            Something is missing, unknown or out of its range; nothing has been changed.
        """
        check_keys("EarlyStopping", state, self.state_dict())
        best, bad = self._patience.check_state(state)
        best_step = state["best_step"]
        if best_step is not None:
            best_step = check_integer("EarlyStopping", "state['best_step']", best_step, 0)
        history = state["history"]
        if not isinstance(history, list) or not all(
            isinstance(row, Mapping) and set(row) == {"step", "metric", "surrogate"} for row in history
        ):
            raise ValueError(
                "EarlyStopping: state['history'] is no list of rows of step, metric and surrogate"
            )
        for row in history:
            check_integer("EarlyStopping", "state['history'] step", row["step"], 0)
            told = row["metric"] if isinstance(row["metric"], (list, tuple)) else [row["metric"]]
            if not all(isinstance(x, numbers.Real) for x in told) or not isinstance(
                row["surrogate"], (numbers.Real, NoneType)
            ):
                raise ValueError(f"EarlyStopping: state['history'] has {row!r:.80}, which are no numbers")
        running = state["running"]
        if not isinstance(running, Mapping) or set(running) != set(self.running):
            raise ValueError(
                f"EarlyStopping: state['running'] is {running!r:.80}; {list(self.running)} are wanted"
            )
        total = float(running["sum"])
        count, passes = (
            check_integer("EarlyStopping", f"state['running'][{k!r}]", running[k], 0)
            for k in ("count", "passes")
        )
        weights = state["weights"]
        if weights is not None and not (
            isinstance(weights, Mapping) and all(isinstance(a, np.ndarray) for a in weights.values())
        ):
            raise ValueError("EarlyStopping: state['weights'] is no mapping of paths to arrays")
        self._patience.best, self._patience.bad, self.best_step = best, bad, best_step
        self.history = [
            {**row, "metric": tuple(row["metric"]) if isinstance(row["metric"], list) else row["metric"]}
            for row in history
        ]
        self.running = {"sum": total, "count": count, "passes": passes}
        self._paths = [] if weights is None else list(weights)
        self._copies = [] if weights is None else [[a.copy() for a in weights.values()]]

    def __repr__(self) -> str:
        p = self._patience
        return (
            f"EarlyStopping(patience={p.patience}, min_delta={p.min_delta}, mode={p.mode!r}): "
            f"best {self.best} at step {self.best_step}, {self.bad} updates ago"
        )


def _compare(leaves: list[Any], paths: list[str], kept: list[np.ndarray], kept_paths: list[str]) -> None:
    """ValueError unless two trees are alike."""
    if paths != kept_paths:
        raise ValueError(
            f"EarlyStopping: params has the paths {paths!r:.200}; {kept_paths!r:.200} are wanted"
        )
    for leaf, old, path in zip(leaves, kept, paths, strict=True):
        if not isinstance(leaf, np.ndarray) or leaf.shape != old.shape or leaf.dtype != old.dtype:
            found = f"{leaf.dtype}{list(leaf.shape)}" if isinstance(leaf, np.ndarray) else type(leaf).__name__
            raise ValueError(
                f"EarlyStopping: params{_at(path)} is {found}; {old.dtype}{list(old.shape)} is wanted"
            )
