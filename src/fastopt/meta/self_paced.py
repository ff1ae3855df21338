r"""Self-paced learning: the examples that the model itself finds easy, from its losses; an order for `Batches`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastopt._checks import check_integer, check_keys, check_number
from fastopt._core import shuffle as _shuffle
from fastopt.data.lazy import index_dtype
from fastopt.data.orders import Strategy
from fastopt.data.seeds import child
from fastopt.meta.curriculum import as_scores
from fastopt.meta.pacing import share_of

__all__ = ["SelfPaced"]


class _Choice(NamedTuple):
    """What holds from an epoch on."""

    epoch: int
    threshold: float
    weights: np.ndarray


def _hard(losses: np.ndarray, threshold: float) -> np.ndarray:
    return (losses < threshold).astype(np.float64)


def _linear(losses: np.ndarray, threshold: float) -> np.ndarray:
    with np.errstate(over="ignore"):  # the threshold may be the least number above 0
        return np.clip(1.0 - losses / threshold, 0.0, 1.0)


def _mixture(losses: np.ndarray, threshold: float) -> np.ndarray:
    with np.errstate(over="ignore", divide="ignore"):
        return np.clip(threshold / losses - 1.0, 0.0, 1.0)


WEIGHTS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "hard": _hard,
    "linear": _linear,
    "mixture": _mixture,
}


class SelfPaced(Strategy):
    r"""Epochs of the rows whose loss is below a threshold that grows.

    Parameters
    ----------
    losses : array_like, shape (n,)
        Loss of each row at the start, from the untrained model, a first epoch, or `losses_of`. With soft weights
        all >= 0.
    share : float or callable, default 0.5
        A number in (0, 1]: the first threshold lets in that share of the rows, and each later one is `growth` times
        the one before. Or a function of the epoch (see `fastopt.meta.pacing`): every threshold lets in that share
        (and who has the same loss as the last of them), whatever the losses are.
    growth : float, default 1.3
        Factor of the threshold at each `advance`, above 1.
    threshold : float, optional
        The first threshold itself, > 0, in place of `share`.
    weights : {"hard", "linear", "mixture"} or callable, default "hard"
        The weight of a row of loss `l` under the threshold :math:`\lambda`, in [0, 1]; a function gets
        ``(losses, threshold)``.

        ============= ==========================================================================================
        ``"hard"``    1 for :math:`l < \lambda`, else 0
        ``"linear"``  :math:`1 - l / \lambda` for :math:`l < \lambda`, else 0
        ``"mixture"`` 1 for :math:`l \le \lambda/2`, then :math:`\lambda / l - 1`, and 0 from :math:`\lambda` on
        ============= ==========================================================================================

    Attributes
    ----------
    losses : ndarray of float64, shape (n,)
        The newest loss of each row.
    threshold : float
        Of the newest choice.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    Kumar, Packer and Koller minimize :math:`\sum_i v_i l_i(\theta) - \lambda \sum_i v_i` over both :math:`\theta` and
    :math:`v \in [0, 1]^n`, in turn; for fixed :math:`\theta` the hard weights are the minimizer. In an epoch a row of
    weight `v` comes at most once, and with the chance `v`: that is weighing its gradient by `v`, on average. The
    entries of an epoch are the integer part of the sum of weights (chances shrink by the rest), at least one: when
    no row is below the threshold, the row of the least loss.

    Losses are told by `observe`, a choice is made by `advance`, and it holds *from the next epoch on*; so an order
    stays the same function of (seed, epoch) until its epoch is over. The state of this object is part of that of its
    `Batches`, and need not be saved by itself.

    References
    ----------
    Kumar, Packer, Koller, Self-paced learning for latent variable models, 2010, section 4. Jiang, Meng, Mitamura,
    Hauptmann, Easy samples first, 2014 (linear and mixture weights).

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> order = fo.meta.SelfPaced([0.1, 4.0, 1.0, 0.5], share=0.5, growth=2.0)
    >>> batches = fo.Batches(np.arange(4), np.arange(4), size=4, rng=0, shuffle=order)
    >>> for epoch in range(3):
    ...     for x, rows in batches:
    ...         print(sorted(map(int, rows)))
    ...         order.observe(np.full(len(rows), 0.2), rows)     # the losses of the batch
    ...     _ = order.advance(epoch)
    [0, 3]
    [0, 2, 3]
    [0, 2, 3]
    """

    name = "self_paced"

    def __init__(
        self,
        losses: Any,
        share: float | Callable[[int], float] = 0.5,
        growth: float = 1.3,
        *,
        threshold: float | None = None,
        weights: str | Callable[[np.ndarray, float], np.ndarray] = "hard",
    ) -> None:
        owner = "SelfPaced"
        if not callable(weights) and (not isinstance(weights, str) or weights not in WEIGHTS):
            raise ValueError(
                f"{owner}: weights is {weights!r}; a function or one of {', '.join(map(repr, WEIGHTS))} is wanted"
            )
        self.weighing = weights
        self.losses = self._checked(as_scores(owner, losses, "losses"))
        self.growth = check_number(owner, "growth", growth, 1.0, math.inf, above=True)
        if not callable(share):
            share = check_number(owner, "share", share, 0.0, 1.0, above=True)
        self.share = share
        if threshold is not None:
            if callable(share):
                raise ValueError(f"{owner}: threshold is given and share a function; one of them is wanted")
            threshold = check_number(owner, "threshold", threshold, above=True)
        elif callable(share):
            threshold = self._admitting(share_of(share, 0, "share"))
        else:
            threshold = self._admitting(share)
            if not threshold > 0:
                raise ValueError(
                    f"{owner}: the losses of the easiest share of {share:g} reach {threshold:g}; a threshold that "
                    "grows by a factor needs losses above 0: give threshold, or share as a function of the epoch"
                )
        self._choices = [self._choice(0, threshold)]

    def _checked(self, losses: np.ndarray) -> np.ndarray:
        if np.isinf(losses).any() and losses.min() == -math.inf:
            raise ValueError(
                "SelfPaced: losses holds -inf; numbers, or +inf for rows to leave out, are wanted"
            )
        if self.weighing in ("linear", "mixture") and losses.min() < 0:
            raise ValueError(
                f"SelfPaced: losses holds {losses.min():g}; {self.weighing} weights need losses >= 0"
            )
        return losses

    def _admitting(self, share: float) -> float:
        """The least threshold under which at least that share of the rows is."""
        k = max(1, math.floor(share * len(self.losses) + 0.5))
        last = float(np.partition(self.losses, k - 1)[k - 1])
        return min(math.nextafter(last, math.inf), sys.float_info.max)

    def _choice(self, epoch: int, threshold: float) -> _Choice:
        if callable(self.weighing):
            weights = np.array(self.weighing(self.losses.copy(), threshold), np.float64)
            if weights.shape != self.losses.shape or not ((weights >= 0) & (weights <= 1)).all():
                raise ValueError(
                    f"SelfPaced: weights gave {weights.shape}; {self.losses.shape} of numbers in [0, 1] are wanted"
                )
        else:
            weights = WEIGHTS[self.weighing](self.losses, threshold)
        if not weights.any():
            weights[int(self.losses.argmin())] = 1.0
        weights.flags.writeable = False
        return _Choice(epoch, threshold, weights)

    @property
    def threshold(self) -> float:
        """Of the newest choice."""
        return self._choices[-1].threshold

    def observe(self, losses: Any, rows: Any = None) -> None:
        """Tell new losses: of all rows, or of the given ones. They count at the next `advance`.

        Raises
        ------
        TypeError, ValueError, IndexError
            Not one number a row, NaN, or no such row; nothing has changed.
        """
        found = self._checked(as_scores("SelfPaced", losses, "losses"))
        n = len(self.losses)
        if rows is None:
            if len(found) != n:
                raise ValueError(
                    f"SelfPaced: {len(found)} losses for {n} rows; give the rows that they are of"
                )
            self.losses = found
            return
        places = np.asarray(rows)
        if places.dtype.kind not in "iu" or places.shape != found.shape:
            raise TypeError(
                f"SelfPaced: rows is {places.dtype} {places.shape}; a number for each of {len(found)} losses is wanted"
            )
        if places.min() < 0 or places.max() >= n:
            raise IndexError(
                f"SelfPaced: rows holds {places.min()} to {places.max()}; 0 to {n - 1} are there"
            )
        self.losses[places] = found

    def advance(self, epoch: int) -> float:
        """Choose anew, from the epoch after `epoch` on; gives the new threshold.

        Parameters
        ----------
        epoch : int
            The epoch that is over or under way, as `Batches.epoch` tells within it. Not below that of the last call;
            the same again chooses again, with the threshold that the last call found.

        Raises
        ------
        TypeError, ValueError
            `epoch` is no integer, or below an earlier one; nothing has changed.
        """
        epoch = check_integer("SelfPaced", "epoch", epoch, 0) + 1
        last = self._choices[-1]
        if epoch < last.epoch:
            raise ValueError(
                f"SelfPaced: epoch is {epoch - 1}, and a choice was made after epoch {last.epoch - 1}; epochs rise"
            )
        kept = self._choices if epoch > last.epoch else self._choices[:-1]
        if callable(self.share):
            threshold = self._admitting(share_of(self.share, epoch, "share"))
        else:
            threshold = min(last.threshold * (self.growth if epoch > last.epoch else 1.0), sys.float_info.max)
        # The epoch under way keeps its order: its choice and the newest are all that is needed.
        self._choices = [*kept[-1:], self._choice(epoch, threshold)]
        return threshold

    def weights(self, epoch: int) -> np.ndarray:
        """The weights of all rows in an epoch, read-only, for those who weigh losses themselves."""
        for choice in reversed(self._choices):
            if choice.epoch <= epoch:
                return choice.weights
        raise ValueError(f"SelfPaced: the weights of epoch {epoch} are gone; {choice.epoch} is the first")

    def order(self, n: int, seed: np.random.SeedSequence, epoch: int) -> np.ndarray:
        count = self.length_in(n, epoch)
        weights = self.weights(epoch)
        bits = np.random.PCG64(child(seed, epoch))
        rows = np.flatnonzero(weights)
        rows = rows[_shuffle.permutation(len(rows), bits)].astype(index_dtype(n))
        if count == len(rows):
            return rows
        # Systematic sampling: the rows side by side, each as wide as its chance (at most 1), and a comb of
        # distance 1 laid over them. The order of the rows is random, and mixed again afterwards.
        ends = np.cumsum(weights[rows])
        comb = (np.arange(count) + (int(bits.random_raw()) >> 11) * 2.0**-53) * (ends[-1] / count)
        found = rows[np.minimum(np.searchsorted(ends, comb, side="right"), len(rows) - 1)]
        return found[_shuffle.permutation(count, bits)]

    def length(self, n: int) -> int:
        if n != len(self.losses):
            raise ValueError(f"shuffle has {len(self.losses)} losses for {n} rows; one a row is needed")
        return n

    def length_in(self, n: int, epoch: int) -> int:
        self.length(n)
        return max(1, math.floor(float(self.weights(epoch).sum())))

    def state(self) -> dict[str, Any]:
        kind = self.weighing if isinstance(self.weighing, str) else "function"
        return {"name": self.name, "rows": len(self.losses), "weights": kind, "growth": self.growth}

    def state_dict(self) -> dict[str, Any]:
        """Losses, thresholds and weights: what `observe` and `advance` change; copies."""
        return {
            "losses": self.losses.copy(),
            "choices": [
                {"epoch": c.epoch, "threshold": c.threshold, "weights": c.weights.copy()}
                for c in self._choices
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state.

        Raises
        ------
        TypeError, ValueError
            Something is missing, unknown, of another shape or out of its range; the state is as before.
        """
        owner = "SelfPaced"
        check_keys(owner, state, ("losses", "choices"))
        losses = self._checked(as_scores(owner, state["losses"], "state['losses']"))
        given = state["choices"]
        if not isinstance(given, list) or not 1 <= len(given) <= 2:
            raise ValueError(f"{owner}: state['choices'] is {given!r:.60}; a list of one or two is wanted")
        choices: list[_Choice] = []
        for i, one in enumerate(given):
            where = f"state['choices'][{i}]"
            if not isinstance(one, Mapping) or set(one) != {"epoch", "threshold", "weights"}:
                raise ValueError(f"{owner}: {where} is no choice: {one!r:.60}")
            epoch = check_integer(
                owner, f"{where}['epoch']", one["epoch"], choices[-1].epoch + 1 if choices else 0
            )
            threshold = check_number(owner, f"{where}['threshold']", one["threshold"], -math.inf)
            weights = as_scores(owner, one["weights"], f"{where}['weights']")
            if len(weights) != len(self.losses) or not ((weights >= 0) & (weights <= 1)).all():
                raise ValueError(
                    f"{owner}: {where}['weights'] has {len(weights)} entries, or some outside [0, 1]"
                )
            if not weights.any():
                raise ValueError(f"{owner}: {where}['weights'] are all 0")
            weights.flags.writeable = False
            choices.append(_Choice(epoch, threshold, weights))
        if len(losses) != len(self.losses):
            raise ValueError(
                f"{owner}: state['losses'] has {len(losses)} entries; {len(self.losses)} are wanted"
            )
        self.losses, self._choices = losses, choices
