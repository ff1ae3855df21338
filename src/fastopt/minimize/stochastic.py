"""Stochastic L-BFGS: curvature pairs whose two gradients come from the same samples, damped; one step a mini-batch.

Sources: Schraudolph, Yu and Guenter (2007), AISTATS (both gradients of a pair on one batch); Byrd, Hansen, Nocedal and
Singer (2016), SIAM J. Optim. 26 (curvature from samples of its own); Berahas, Nocedal and Takac (2016), NeurIPS,
"A multi-batch L-BFGS method for machine learning" (the samples that successive batches share); Powell (1978), Math.
Programming 14, and Wang, Ma, Goldfarb and Liu (2017), SIAM J. Optim. 27 (damping).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt._core.pairs import MAX, Pairs
from fastopt._parameters import check_params, load_states, stateful
from fastopt._trees import _at, flatten_tree

__all__ = ["StochasticLBFGS", "StochasticStep"]

_OWNER = "StochasticLBFGS"


class StochasticStep(NamedTuple):
    """What one step did."""

    #: Its number, counted from 1.
    step: int
    #: The loss on the batch, before the move.
    loss: float
    #: Euclidean norm of the gradient on the batch.
    grad_norm: float
    #: ||s||, the length of the move.
    length: float
    #: s'y / s's on the overlap, as measured: the curvature along the move; NaN if nothing moved.
    curvature: float
    #: "kept", "damped" (kept, with another y), or "left out".
    pair: str


class StochasticLBFGS:
    r"""L-BFGS for mini-batches: the two gradients of a curvature pair are taken on the same samples.

    .. math:: w_{k+1} = w_k - \eta_k H_k \nabla f_{B_k}(w_k), \qquad
              s = w_{k+1} - w_k, \quad y = \nabla f_{O_k}(w_{k+1}) - \nabla f_{O_k}(w_k)

    With different samples in the two gradients, y is mostly the noise between them; with the overlap :math:`O_k` (the
    samples that this batch and the next have in common, or any others) it is curvature. :math:`H_k` is the inverse
    Hessian of L-BFGS, :math:`H_0 = \gamma I` with :math:`\gamma = s^\top y / y^\top y` of the newest pair. Where the
    curvature is too small or negative, y is damped first:

    .. math:: \hat y = \theta y + (1 - \theta) s / \gamma, \qquad
              \theta = \frac{(1 - \delta)\, s^\top s / \gamma}{s^\top s / \gamma - s^\top y}
              \quad\text{if } s^\top y < \delta\, s^\top s / \gamma

    so that :math:`s^\top \hat y = \delta s^\top s / \gamma > 0` and H stays positive definite.

    Parameters
    ----------
    params : tree of ndarray
        One array, or any nesting of dict, list and tuple of arrays, of float32 or float64, each writable, none sharing
        memory with another. Written in place. The memory is in float32 if all are, else in float64.
    lr : float or function, default 0.1
        Step length >= 0, or a function of the step's number t = 1, 2, ... With noise in the gradients it has to fall.
    memory : int, default 10
        Most pairs that are kept, 1 to 64.
    damping : float in [0, 1), default 0.2
        The :math:`\delta` above; 0: pairs without positive curvature are left out instead. The first pair is never
        damped (there is no scale yet): it is kept or left out.
    max_step : float > 0, optional
        A longer move is cut to this Euclidean length.

    Notes
    -----
    A step with an overlap calls the function three times: on the batch, and on the overlap before and after the move.
    Without one the batch itself is the overlap, and two calls do. Until there is a pair the move is ``lr * g / max(1,
    ||g||)``.

    Examples
    --------
    >>> import numpy as np
    >>> import fastopt as fo
    >>> rng = np.random.default_rng(0)
    >>> X = rng.standard_normal((1000, 5))
    >>> t = X @ np.arange(5.0)
    >>> def loss_and_grads(w, rows):
    ...     r = X[rows] @ w - t[rows]
    ...     return 0.5 * np.mean(r * r), X[rows].T @ r / len(rows)
    >>> w = np.zeros(5)
    >>> opt = fo.StochasticLBFGS(w, lr=0.5)
    >>> for _ in range(60):
    ...     rows = rng.integers(1000, size=64)
    ...     record = opt.step(loss_and_grads, rows, overlap=rows[:32])
    >>> bool(np.abs(w - np.arange(5)).max() < 1e-4)
    True
    """

    def __init__(
        self,
        params: Any,
        lr: float | Callable[[int], float] = 0.1,
        *,
        memory: int = 10,
        damping: float = 0.2,
        max_step: float | None = None,
    ) -> None:
        self._leaves, self._paths = _check_params(params)
        self.params = params
        self.lr = lr
        self._rate(1)
        self.memory = check_integer(_OWNER, "memory", memory, 1)
        if self.memory > MAX:
            raise ValueError(f"{_OWNER}: memory is {memory}; an integer from 1 to {MAX} is wanted")
        self.damping = check_number(_OWNER, "damping", damping, 0.0, 1.0, below=True)
        self.max_step = None if max_step is None else check_number(_OWNER, "max_step", max_step, above=True)
        narrow = bool(self._leaves) and all(leaf.dtype == np.float32 for leaf in self._leaves)
        self.dtype = np.dtype(np.float32 if narrow else np.float64)
        self.steps = 0
        ends = np.cumsum([0, *(leaf.size for leaf in self._leaves)]).tolist()
        self._slices = [slice(a, b) for a, b in pairwise(ends)]
        self._size = ends[-1]
        self._pairs = Pairs(self._size, self.memory, self.dtype)
        # Before and after the move: parameters, and gradients on the overlap; the direction.
        self._x, self._xt, self._g, self._gt, self._d = np.empty((5, self._size), self.dtype)
        self._busy = False

    # ---- stepping ----

    def step(
        self, loss_and_grads: Callable[[Any, Any], tuple[Any, Any]], batch: Any, overlap: Any = None
    ) -> StochasticStep:
        """Move the parameters by one step.

        Parameters
        ----------
        loss_and_grads : callable
            ``loss_and_grads(params, batch)`` gives back the mean loss on a batch and its gradients: a tree like
            ``params``, each leaf of its parameter's shape. It may give back the same arrays every time. It must not
            change the parameters, nor draw anything that differs between two calls with one batch (dropout).
        batch : object
            Handed to the function for the direction.
        overlap : object, optional
            Handed to the function, before and after the move, for the curvature. The batch if not given.

        Returns
        -------
        StochasticStep
            ``step, loss, grad_norm, length, curvature, pair``.

        Raises
        ------
        FloatingPointError
            A gradient holds Inf or NaN, or the move leaves the range of the dtype.
        TypeError, ValueError
            A gradient has another path or shape; ``lr`` gave a number out of range.
        RuntimeError
            Called from inside the function, or while another thread steps this optimizer.

        In each of these cases, and when the function raises, parameters, memory and step count are what they were.
        """
        if self._busy:
            raise RuntimeError(f"{_OWNER}: a step is under way; step again when it has returned")
        if not callable(loss_and_grads):
            raise TypeError(
                f"{_OWNER}: loss_and_grads is {type(loss_and_grads).__name__}; a function is wanted"
            )
        self._busy = True
        try:
            return self._step(loss_and_grads, batch, overlap)
        finally:
            self._busy = False

    def _step(self, function: Callable[[Any, Any], Any], batch: Any, overlap: Any) -> StochasticStep:
        lr = self._rate(self.steps + 1)
        x, xt, g, gt, d = self._x, self._xt, self._g, self._gt, self._d
        self._gather(self._leaves, x)
        loss = self._evaluate(function, batch, g, "the batch")
        grad_norm = _norm(g)
        if not math.isfinite(grad_norm):
            raise FloatingPointError(
                f"{_OWNER}: the norm of the gradient is {grad_norm}; nothing was written"
            )
        self._direct(g, grad_norm, d)
        if overlap is not None:
            self._evaluate(function, overlap, g, "the overlap before the move")

        length = lr * _norm(d)
        if self.max_step is not None and length > self.max_step:
            lr *= self.max_step / length
        np.multiply(d, self.dtype.type(lr), out=d)
        with np.errstate(over="ignore", invalid="ignore"):
            np.add(x, d, out=xt)
        if not np.isfinite(xt).all():
            raise FloatingPointError(
                f"{_OWNER}: step {self.steps + 1} leaves the range of {self.dtype}; nothing was written"
            )
        held = [leaf.copy() for leaf in self._leaves]
        try:
            self._scatter(xt)
            self._gather(self._leaves, xt)  # a float32 leaf among float64 ones has rounded
            self._evaluate(function, batch if overlap is None else overlap, gt, "the overlap after the move")
        except BaseException:
            for leaf, old in zip(self._leaves, held, strict=True):
                leaf[...] = old
            raise
        pair, curvature, moved = self._learn()
        self.steps += 1
        return StochasticStep(self.steps, loss, grad_norm, moved, curvature, pair)

    def _direct(self, g: np.ndarray, norm: float, d: np.ndarray) -> None:
        """d = -H g; the gradient alone, at most of length 1, while there is no pair or if H fails to descend."""
        if self._pairs.count:
            _, value = self._pairs.product(g, d)  # d = H g, one pass for the products, one for the sum
            if 0 < value < math.inf:
                np.negative(d, out=d)
                return
            _, slope = self._pairs.two_loop(g, d)
            if -math.inf < slope < 0:
                return
        np.multiply(g, self.dtype.type(-1.0 / max(1.0, norm)), out=d)

    def _learn(self) -> tuple[str, float, float]:
        """The pair of this move goes into memory, damped if need be: what became of it, s'y / s's, and ||s||."""
        pairs = self._pairs
        gamma = pairs.gamma
        sums = pairs.measure(self._x, self._xt, self._g, self._gt)
        ss, sy = sums["ss"], sums["sy"]
        if not 0 < ss < math.inf:
            pairs.reject()
            return "left out", math.nan, math.sqrt(ss)
        pair, wanted = "kept", self.damping * ss / gamma
        if self.damping and pairs.count and sy < wanted:
            pair = "damped"
            sums = pairs.damp((1 - self.damping) * (ss / gamma) / (ss / gamma - sy), self._gt)
        eps = float(np.finfo(np.float32 if self.dtype == np.float32 else np.float64).eps)
        # Scale-free: the cosine between s and y is above rounding.
        if not math.isfinite(sums["yy"]) or not sums["sy"] > eps * math.sqrt(ss * sums["yy"]):
            pairs.reject()
            pair = "left out"
        else:
            pairs.accept()
        return pair, sy / ss, math.sqrt(ss)

    def _evaluate(
        self, function: Callable[[Any, Any], Any], batch: Any, out: np.ndarray, where: str
    ) -> float:
        """The loss; the gradients go to out[n]."""
        given = function(self.params, batch)
        if not isinstance(given, (tuple, list)) or len(given) != 2:
            raise TypeError(f"{_OWNER}: loss_and_grads gave {type(given).__name__}; (loss, grads) is wanted")
        loss, grads = given
        leaves, paths = flatten_tree(grads)
        if paths != self._paths:
            odd = sorted(set(paths) ^ set(self._paths))
            told = f"differ from the parameters in {odd[0]!r}" if odd else "are in another order"
            raise ValueError(f"{_OWNER}: the gradients {told}; the tree of params is wanted")
        arrays = []
        for leaf, path, mine in zip(leaves, paths, self._leaves, strict=True):
            a = np.asarray(leaf)
            if a.dtype.kind not in "fiub":
                raise TypeError(
                    f"{_OWNER}: grads{_at(path)} is {type(leaf).__name__} ({a.dtype}); real numbers are wanted"
                )
            if a.shape != mine.shape:
                raise ValueError(f"{_OWNER}: grads{_at(path)} has shape {a.shape}; {mine.shape} is wanted")
            arrays.append(a)
        with np.errstate(over="ignore"):
            self._gather(arrays, out)
        if not np.isfinite(out).all():
            at = next(
                _at(path)
                for piece, path in zip(self._slices, paths, strict=True)
                if not np.isfinite(out[piece]).all()
            )
            raise FloatingPointError(
                f"{_OWNER}: grads{at} on {where} hold NaN or Inf in {self.dtype}; nothing was written"
            )
        return float(loss)

    def _gather(self, arrays: list[np.ndarray], out: np.ndarray) -> None:
        for a, piece in zip(arrays, self._slices, strict=True):
            out[piece].reshape(a.shape)[...] = a

    def _scatter(self, vector: np.ndarray) -> None:
        for leaf, piece in zip(self._leaves, self._slices, strict=True):
            leaf[...] = vector[piece].reshape(leaf.shape)

    def _rate(self, t: int) -> float:
        return check_number(_OWNER, "lr", self.lr(t) if callable(self.lr) else self.lr)

    # ---- resuming ----

    @property
    def pairs(self) -> int:
        """Curvature pairs in memory."""
        return self._pairs.count

    def reset(self) -> None:
        """Forget all pairs, as for a new objective; parameters and step count stay."""
        self._pairs.reset()

    def state_dict(self) -> dict[str, Any]:
        """All that a run needs to go on with the same bits, but the parameters.

        Returns
        -------
        dict
            ``rule``, ``step``, ``pairs`` (bytes of the memory as an array of uint8), ``schedules`` (states of those
            schedules in ``lr`` that have any). Options are not in it: they are the constructor's.
        """
        out: dict[str, Any] = {
            "rule": "stochastic_lbfgs",
            "step": self.steps,
            "pairs": np.array(self._pairs.block),
        }
        schedules = [f.state_dict() for f in self._stateful()]
        if schedules:
            out["schedules"] = schedules
        return out

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; parameters themselves are the caller's to restore.

        Raises
        ------
        TypeError, ValueError
            The state is of another rule, size, memory or dtype. Nothing has been changed.
        """
        if self._busy:
            raise RuntimeError(f"{_OWNER}: a step is under way; load when it has returned")
        if not isinstance(state, Mapping):
            raise TypeError(f"state is {type(state).__name__}; a dict from state_dict() is needed")
        if state.get("rule") != "stochastic_lbfgs":
            raise ValueError(
                f"state is of rule {state.get('rule')!r}; this optimizer follows 'stochastic_lbfgs'"
            )
        step = state.get("step")
        if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or step < 0:
            raise ValueError(f"state does not fit: step is {step!r}, not a count")
        data = state.get("pairs")
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 1:
            raise ValueError("state does not fit: pairs is no vector of uint8")
        schedules, saved = self._stateful(), state.get("schedules", [])
        if not isinstance(saved, (list, tuple)) or len(saved) != len(schedules):
            raise ValueError(f"state does not fit: schedules is not a list of {len(schedules)} states")
        fresh = Pairs(self._size, self.memory, self.dtype)
        try:
            fresh.load(np.ascontiguousarray(data))
        except ValueError as error:
            raise ValueError(f"state does not fit: pairs: {error}") from None
        load_states(schedules, saved)
        self._pairs = fresh
        self.steps = int(step)

    def _stateful(self) -> list[Any]:
        return stateful([self.lr] if callable(self.lr) else [])

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"memory": self.memory, "damping": self.damping, "max_step": self.max_step}
        return _restore, (type(self), self.params, self.lr, options, self.state_dict())

    def __repr__(self) -> str:
        return (
            f"{_OWNER}({len(self._leaves)} arrays, {self._size} parameters, lr={self.lr!r}, memory={self.memory}, "
            f"damping={self.damping}) after {self.steps} steps"
        )


def _restore(cls: type[StochasticLBFGS], params: Any, lr: Any, options: Any, state: Any) -> StochasticLBFGS:
    """Undo `StochasticLBFGS.__reduce__`."""
    optimizer = cls(params, lr, **options)
    optimizer.load_state_dict(state)
    return optimizer


def _norm(v: np.ndarray) -> float:
    """Euclidean norm, summed in double."""
    with np.errstate(over="ignore"):
        return float(np.linalg.norm(v.astype(np.float64, copy=False)))


def _check_params(params: Any) -> tuple[list[np.ndarray], list[str]]:
    """Leaves and paths of a tree of finite parameters."""
    leaves, paths = check_params(params, _OWNER)
    for leaf, path in zip(leaves, paths, strict=True):
        if not np.isfinite(leaf).all():
            raise ValueError(f"{_OWNER}: params{_at(path)} holds NaN or Inf; finite numbers are wanted")
    return leaves, paths
