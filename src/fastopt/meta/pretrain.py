"""Supervised pretraining (Deep Learning, 8.7.4): one stage after another, each an easier problem; and hints.

A stage is a tree of parameters and a function giving loss and gradients. Its arrays are usually part of the final
model's, so that the stages are joined by being trained; what only the stage needs (an auxiliary head, a regressor)
stands in the tree beside them and is forgotten afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_keys
from fastopt._parameters import check_params
from fastopt._progress import Progress, reporting
from fastopt.meta._passes import Passes

__all__ = ["Greedy", "Hint", "Stage"]


@dataclass(frozen=True)
class Stage:
    """One stage of pretraining.

    Parameters
    ----------
    params : tree of ndarray
        What the stage trains: new layers, and the head that only it needs.
    loss_and_grads : function
        ``loss_and_grads(params, *batch)`` returns the loss and the tree of gradients.
    name : str, default ""
        For progress and history.
    """

    params: Any
    loss_and_grads: Callable[..., tuple[float, Any]]
    name: str = ""

    def __post_init__(self) -> None:
        check_params(self.params, "Stage")
        if not callable(self.loss_and_grads):
            raise TypeError(f"Stage: loss_and_grads is {self.loss_and_grads!r:.80}; a function is wanted")


class Greedy:
    """Trains stages one after another, each with an optimizer of its own; a last stage may tune all together.

    Parameters
    ----------
    stages : sequence of Stage
        In the order of training. Arrays may be in several of them; the last one usually has all that remain.
    optimizer : function
        ``optimizer(params)`` makes the optimizer of a stage.
    steps : int or sequence of int
        Steps of each stage.

    Attributes
    ----------
    stage : int
        The stage under way; ``len(stages)`` at the end.
    opt : Optimizer or None
        Its optimizer; None at the end.
    history : list of dict
        ``stage``, ``name``, ``step`` and ``loss``, the mean since the row before: a row for each pass over the
        batches and for the end of each stage.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    All stages draw from one stream of batches: a pass is not cut off where a stage ends.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, 2016, section 8.7.4. Bengio, Lamblin, Popovici, Larochelle, Greedy
    layer-wise training of deep networks, 2007.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> x = np.linspace(-1, 1, 32)
    >>> w = {"a": np.zeros(1), "b": np.zeros(1)}
    >>> def line(p, x):  # first a alone, then a and b
    ...     r = p["a"] + p.get("b", 0) * x - (3 + 2 * x)
    ...     return float(r @ r), {k: np.array([2 * r.sum() if k == "a" else 2 * (r @ x)]) for k in p}
    >>> greedy = fo.meta.Greedy(
    ...     [fo.meta.Stage({"a": w["a"]}, line), fo.meta.Stage(w, line)], lambda p: fo.SGD(p, lr=0.01), steps=[20, 100])
    >>> greedy.train([x])
    >>> w["a"].round(3), w["b"].round(3), greedy.stage
    (array([3.]), array([2.]), 2)
    """

    def __init__(
        self, stages: Sequence[Stage], optimizer: Callable[[Any], Any], steps: int | Sequence[int]
    ) -> None:
        self.stages = list(stages)
        for i, stage in enumerate(self.stages):
            if not isinstance(stage, Stage):
                raise TypeError(f"Greedy: stages[{i}] is {type(stage).__name__}; a Stage is wanted")
        if not self.stages:
            raise ValueError("Greedy: stages is empty; at least one is wanted")
        if not callable(optimizer):
            raise TypeError(f"Greedy: optimizer is {optimizer!r:.80}; a function of the parameters is wanted")
        counts = list(steps) if isinstance(steps, (list, tuple, np.ndarray)) else [steps] * len(self.stages)
        if len(counts) != len(self.stages):
            raise ValueError(
                f"Greedy: steps has {len(counts)} numbers; {len(self.stages)}, one a stage, are wanted"
            )
        self.steps = [check_integer("Greedy", f"steps[{i}]", n, 1) for i, n in enumerate(counts)]
        self.optimizer = optimizer
        self.stage = 0
        self.history: list[dict[str, Any]] = []
        self._sum, self._count = 0.0, 0
        self.opt: Any = optimizer(self.stages[0].params)

    def train(
        self,
        batches: Iterable[Any],
        *,
        after_step: Callable[[], Any] | None = None,
        progress: Progress = False,
    ) -> None:
        """Train from where it stands to the end of the last stage.

        Parameters
        ----------
        batches : iterable
            Iterated as often as it takes; batches are tuples of arrays, or arrays.
        after_step : function, optional
            Called when a step is done, everything at rest: the moment to save this object and `batches`.
        progress : bool or function, default False
            See `fastopt.meta`.

        Raises
        ------
        ValueError
            Two passes over `batches` gave nothing.
        RuntimeError
            In two passes all steps were skipped.
        """
        total = sum(self.steps)
        passes = Passes("Greedy")
        with reporting(progress, "pretraining", total) as tell:
            while self.stage < len(self.stages):
                found = False
                stood = (self.stage, self.opt.steps)
                for batch in batches:
                    found = True
                    stage = self.stages[self.stage]
                    spread = batch if isinstance(batch, (tuple, list)) else (batch,)
                    loss, grads = stage.loss_and_grads(stage.params, *spread)
                    self.opt.step(grads)
                    self._sum, self._count = self._sum + float(loss), self._count + 1
                    tell(sum(self.steps[: self.stage]) + self.opt.steps, stage=self.stage, loss=float(loss))
                    if self.opt.steps >= self.steps[self.stage]:
                        self._next()
                    if after_step is not None:
                        after_step()
                    if self.stage == len(self.stages):
                        return
                passes.ended(found, stood != (self.stage, self.opt.steps))
                self._note()

    def _note(self) -> None:
        if self._count:
            name = self.stages[self.stage].name
            row = {"stage": self.stage, "name": name, "step": self.opt.steps, "loss": self._sum / self._count}
            self.history.append(row)
        self._sum, self._count = 0.0, 0

    def _next(self) -> None:
        self._note()
        self.stage += 1
        self.opt = self.optimizer(self.stages[self.stage].params) if self.stage < len(self.stages) else None

    def state_dict(self) -> dict[str, Any]:
        """The stage under way, its optimizer, and the parameters of all stages, by path."""
        return {
            "stage": self.stage,
            "opt": None if self.opt is None else self.opt.state_dict(),
            "params": [{p: a.copy() for p, a in _named(stage.params)} for stage in self.stages],
            "history": [dict(row) for row in self.history],
            "running": [self._sum, self._count],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave, parameters included.

        Raises
        ------
        TypeError, ValueError
            The state belongs to other stages. No parameter has been changed.
        """
        check_keys("Greedy", state, ("stage", "opt", "params", "history", "running"))
        at = check_integer("Greedy", "state['stage']", state["stage"], 0)
        if at > len(self.stages) or (state["opt"] is None) != (at == len(self.stages)):
            raise ValueError(f"Greedy: state is at stage {at}; this has {len(self.stages)} stages")
        params, history, running = state["params"], state["history"], state["running"]
        if not isinstance(params, (list, tuple)) or len(params) != len(self.stages):
            raise ValueError(f"Greedy: state['params'] is no list of {len(self.stages)} mappings")
        if not isinstance(history, list) or not all(isinstance(row, Mapping) for row in history):
            raise ValueError("Greedy: state['history'] is no list of rows")
        if not isinstance(running, (list, tuple)) or len(running) != 2:
            raise ValueError("Greedy: state['running'] is no pair")
        pairs = []
        for i, (stage, saved) in enumerate(zip(self.stages, params, strict=True)):
            mine = dict(_named(stage.params))
            if not isinstance(saved, Mapping) or set(saved) != set(mine):
                raise ValueError(
                    f"Greedy: state['params'][{i}] has not the paths of stage {i}, {list(mine)!r:.200}"
                )
            for path, a in mine.items():
                b = saved[path]
                if not isinstance(b, np.ndarray) or b.shape != a.shape or b.dtype != a.dtype:
                    raise ValueError(
                        f"Greedy: state['params'][{i}][{path!r}] is not {a.dtype}{list(a.shape)}"
                    )
                pairs.append((a, b))
        total, count = float(running[0]), check_integer("Greedy", "state['running'][1]", running[1], 0)
        opt = None
        if at < len(self.stages):
            opt = self.optimizer(self.stages[at].params)
            opt.load_state_dict(state["opt"])
        for a, b in pairs:
            a[...] = b
        self.stage, self.opt, self.history = at, opt, [dict(row) for row in history]
        self._sum, self._count = total, count


def _named(params: Any) -> list[tuple[str, np.ndarray]]:
    leaves, paths = check_params(params)
    return list(zip(paths, leaves, strict=True))


class Hint:
    """Loss of a hint: the student's middle layer is to predict the teacher's, through a linear regressor (FitNets).

    .. code-block:: text

        L = sum |v W + b - u|^2 / (2 n),  v = features of the student, u = features of the teacher, n rows

    Parameters
    ----------
    features : function
        ``features(params, x)`` returns the student's features v, (n, k), and a function that takes the gradient by them
        and returns the tree of gradients by `student`.
    teacher : function
        ``teacher(x)`` returns the teacher's features u, (n, m).
    student : tree of ndarray
        The student's parameters up to that layer.
    widths : pair of int
        k and m.
    dtype : dtype, default float32
        Of the regressor: that of v.
    rng : None, int, Generator, ..., default 0
        What ``np.random.default_rng`` takes: the regressor begins uniform within sqrt(6 / (k + m)).

    Attributes
    ----------
    params : dict
        ``student``, and the regressor's ``w`` and ``b``.

    Notes
    -----
    Its gradients are ``d = (v W + b - u) / n``, ``dW = v^T d``, ``db = sum over rows of d``, and ``d W^T`` by v.

    References
    ----------
    Romero, Ballas, Kahou, Chassang, Gatta, Bengio, FitNets: hints for thin deep nets, 2015, equation 3. Goodfellow,
    Bengio, Courville, Deep Learning, 2016, section 8.7.4.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> student = {"w": np.full((3, 2), 0.1)}
    >>> hint = fo.meta.Hint(
    ...     lambda p, x: (x @ p["w"], lambda d: {"w": x.T @ d}), lambda x: x @ np.ones((3, 4)),
    ...     student, widths=(2, 4), dtype=np.float64)
    >>> loss, grads = hint.loss_and_grads(hint.params, np.eye(3))
    >>> grads["student"]["w"].shape, grads["w"].shape
    ((3, 2), (2, 4))
    >>> stage = hint.stage("hint")
    """

    def __init__(
        self,
        features: Callable[[Any, Any], tuple[np.ndarray, Callable[[np.ndarray], Any]]],
        teacher: Callable[[Any], np.ndarray],
        student: Any,
        widths: tuple[int, int],
        dtype: Any = np.float32,
        rng: Any = 0,
    ) -> None:
        if not callable(features) or not callable(teacher):
            raise TypeError("Hint: features and teacher must be functions")
        k, m = (check_integer("Hint", f"widths[{i}]", n, 1) for i, n in enumerate(widths))
        limit = np.sqrt(6 / (k + m))
        w = np.random.default_rng(rng).uniform(-limit, limit, (k, m)).astype(dtype)
        self.features, self.teacher = features, teacher
        self.params = {"student": student, "w": w, "b": np.zeros(m, dtype)}

    def loss_and_grads(self, params: Any, x: Any, *rest: Any) -> tuple[float, Any]:
        """The loss on a batch, whose targets (`rest`) are not needed, and the tree of gradients."""
        v, pull = self.features(params["student"], x)
        r = v @ params["w"]
        r += params["b"]
        u = self.teacher(x)
        if u.shape != r.shape:
            raise ValueError(f"Hint: the teacher's features have shape {u.shape}; {r.shape} is wanted")
        r -= u
        n = len(r)
        flat = r.ravel().astype(np.float64, copy=False)
        loss = float(flat @ flat) / (2 * n)
        r /= n
        grads = {"w": v.T @ r, "b": r.sum(axis=0)}
        return loss, {"student": pull(r @ params["w"].T), **grads}

    def stage(self, name: str = "hint") -> Stage:
        """The stage that trains student and regressor."""
        return Stage(self.params, self.loss_and_grads, name)
