r"""Minibatch size over a run (Deep Learning, 8.1.3): sizes as functions of the epoch, for ``fo.Batches(size=...)``.

The standard error of a gradient falls as one over the root of the batch size, its cost grows with the size itself. So
small batches pay early, when the gradient is long and its noise matters little; large ones late. Growing the batch
does to the noise of a step what lowering the learning rate does, in fewer steps (Smith, Kindermans, Ying, Le, *Don't
decay the learning rate, increase the batch size*, ICLR 2018).

Epochs count from 0, as those of `Batches`; steps from 1, as those of optimizers.
"""

from __future__ import annotations

import math
import numbers
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastopt._checks import check_choice, check_integer, check_keys, check_number

__all__ = ["BiggerBatches", "NoiseGuided", "geometric_size", "linear_size", "scale_lr", "stepped_size"]

RULES = ("linear", "sqrt", "noise")


def scale_lr(
    lr: float, size: int, base: int, rule: str = "linear", noise_scale: float | None = None
) -> float:
    r"""The learning rate for another batch size.

    Parameters
    ----------
    lr : float
        What is good for batches of `base`, >= 0.
    size, base : int
        Rows of a batch, >= 1.
    rule : {"linear", "sqrt", "noise"}, default "linear"
        ``"linear"``: :math:`\eta B / B_0`, which keeps the noise of SGD per example. ``"sqrt"``:
        :math:`\eta \sqrt{B / B_0}`, which keeps the variance of a step, and suits Adam and its kin. ``"noise"``:
        :math:`\eta (1 + S / B_0) / (1 + S / B)` with the noise scale `S`: linear far below it, constant far above.
    noise_scale : float, optional
        `S`, > 0, infinite allowed (linear); for ``"noise"`` only.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range, or `noise_scale` is missing or too many.

    References
    ----------
    Goyal et al., Accurate, large minibatch SGD, 2017 (linear). Krizhevsky, One weird trick for parallelizing
    convolutional neural networks, 2014 (root). McCandlish et al., An empirical model of large-batch training, 2018,
    equation 2.6 (noise).

    Examples
    --------
    >>> scale_lr(0.1, 256, base=64), scale_lr(0.1, 256, base=64, rule="sqrt")
    (0.4, 0.2)
    >>> scale_lr(0.1, 10**9, base=64, rule="noise", noise_scale=64.0).__round__(4)
    0.2

    With `Batches` whose size changes, in a function of the step:
    ``lr=lambda t: scale_lr(0.1, batches.size, base=64)``.
    """
    owner = "scale_lr"
    lr = check_number(owner, "lr", lr)
    size, base = check_integer(owner, "size", size, 1), check_integer(owner, "base", base, 1)
    check_choice(owner, "rule", rule, RULES)
    if (rule == "noise") != (noise_scale is not None):
        raise ValueError(
            f"{owner}: rule is {rule!r} and noise_scale {noise_scale!r}; 'noise' alone needs one"
        )
    if rule == "sqrt":
        return lr * math.sqrt(size / base)
    if noise_scale is None or noise_scale == math.inf:
        return lr * size / base
    scale = check_number(owner, "noise_scale", noise_scale, above=True)
    return lr * (1 + scale / base) / (1 + scale / size)


def _rounded(x: float, least: int, most: int | None) -> int:
    """To the nearest integer, within bounds; anything larger than all integers gives the upper one."""
    if most is not None and x >= most:
        return most
    return max(least, math.floor(x + 0.5))


def _check_epoch(schedule: Any, epoch: Any) -> int:
    return check_integer(type(schedule).__name__, "epoch", epoch, 0)


@dataclass(frozen=True)
class geometric_size:
    """`factor` times the size every `every` epochs.

    Parameters
    ----------
    start : int
        Rows of a batch in epoch 0, >= 1.
    factor : float
        >= 1.
    most : int
        The largest size, >= `start`.
    every : int, default 1
        Epochs between two increases, >= 1.

    Notes
    -----
    ``min(start * factor^floor(epoch / every), most)``, to the nearest integer.

    Examples
    --------
    >>> size = geometric_size(32, 2.0, most=100, every=2)
    >>> [size(epoch) for epoch in range(6)]
    [32, 32, 64, 64, 100, 100]
    """

    start: int
    factor: float
    most: int
    every: int = 1

    def __post_init__(self) -> None:
        owner = "geometric_size"
        object.__setattr__(self, "start", check_integer(owner, "start", self.start, 1))
        object.__setattr__(self, "factor", check_number(owner, "factor", self.factor, 1.0))
        object.__setattr__(self, "every", check_integer(owner, "every", self.every, 1))
        object.__setattr__(self, "most", check_integer(owner, "most", self.most, self.start))

    def __call__(self, epoch: int) -> int:
        times = _check_epoch(self, epoch) // self.every
        if times * math.log(self.factor) >= math.log(self.most / self.start):
            return self.most
        return _rounded(self.start * self.factor**times, self.start, self.most)


@dataclass(frozen=True)
class linear_size:
    """From `start` to `end` at a constant speed.

    Parameters
    ----------
    start, end : int
        Rows of a batch in epoch 0, and from epoch `epochs` on, >= 1.
    epochs : int
        >= 1.

    Notes
    -----
    ``start + (end - start) epoch / epochs``, to the nearest integer.

    Examples
    --------
    >>> [linear_size(10, 40, epochs=3)(epoch) for epoch in range(5)]
    [10, 20, 30, 40, 40]
    """

    start: int
    end: int
    epochs: int

    def __post_init__(self) -> None:
        for name in ("start", "end", "epochs"):
            object.__setattr__(self, name, check_integer("linear_size", name, getattr(self, name), 1))

    def __call__(self, epoch: int) -> int:
        t = min(_check_epoch(self, epoch), self.epochs)
        return (2 * (self.start * (self.epochs - t) + self.end * t) + self.epochs) // (2 * self.epochs)


@dataclass(frozen=True)
class stepped_size:
    """One size for each stretch of epochs.

    Parameters
    ----------
    sizes : sequence of int
        Rows of a batch, >= 1; one more than `epochs`.
    epochs : sequence of int
        Rising, each >= 1: the first epoch of each stretch but the first.

    Examples
    --------
    >>> [stepped_size([32, 128], [2])(epoch) for epoch in range(4)]
    [32, 32, 128, 128]
    """

    sizes: Sequence[int]
    epochs: Sequence[int]

    def __post_init__(self) -> None:
        owner = "stepped_size"
        for name in ("sizes", "epochs"):
            given = getattr(self, name)
            if isinstance(given, str) or not isinstance(given, Sequence):
                raise TypeError(f"{owner}: {name} is {given!r}; a sequence of integers is wanted")
            kept = tuple(check_integer(owner, f"{name}[{i}]", x, 1) for i, x in enumerate(given))
            object.__setattr__(self, name, kept)
        if list(self.epochs) != sorted(set(self.epochs)):
            raise ValueError(f"{owner}: epochs is {list(self.epochs)}; rising integers are wanted")
        if len(self.sizes) != len(self.epochs) + 1:
            raise ValueError(
                f"{owner}: {len(self.sizes)} sizes for {len(self.epochs)} epochs; one more is wanted"
            )

    def __call__(self, epoch: int) -> int:
        return self.sizes[bisect_right(self.epochs, _check_epoch(self, epoch))]


class BiggerBatches:
    r"""A decay of the learning rate, turned into a growth of the batch: two functions, `size` and `lr`.

    Parameters
    ----------
    decay : callable
        The learning rate that would go with batches of `start`, *epoch by epoch*: ``decay(1)`` for the first epoch,
        so any of `fastopt.schedules` whose steps are epochs. >= 0.
    start : int
        Rows of a batch at first, >= 1.
    most : int
        The largest size, from `start` to `rows`. From there on the learning rate falls.
    rows : int
        Entries of an epoch, as the `Batches` have them: how many steps an epoch takes hangs on it.
    drop_last : bool, default False
        As of the `Batches`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range; or later, `decay` gives no number >= 0.

    Notes
    -----
    With the largest rate so far :math:`p`, epoch `e` of rate :math:`d` has batches of :math:`B = B_0 p / d`, rounded
    and cut at `most`, and takes steps with :math:`d B / B_0`. So the ratio of rate to size, which is the scale of the
    noise of SGD, is :math:`d / B_0` in every epoch, just as the decay alone would have it; a warm-up stays a warm-up.

    References
    ----------
    Smith, Kindermans, Ying, Le, Don't decay the learning rate, increase the batch size, 2018.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> decay = fo.schedules.step(0.1, every=2, factor=0.25)             # in epochs
    >>> trade = fo.meta.BiggerBatches(decay, start=8, most=64, rows=256)
    >>> [trade.size(epoch) for epoch in range(6)]
    [8, 8, 32, 32, 64, 64]
    >>> [round(trade.lr(t), 4) for t in (1, 64, 65, 80, 81)]             # 32 + 32 + 8 + 8 steps, then 4 an epoch
    [0.1, 0.1, 0.1, 0.1, 0.05]
    >>> batches = fo.Batches(np.zeros(256), size=trade.size, rng=0)
    >>> opt = fo.SGD(np.zeros(3), lr=trade.lr)
    """

    def __init__(
        self, decay: Callable[[int], float], start: int, most: int, rows: int, drop_last: bool = False
    ) -> None:
        owner = "BiggerBatches"
        if not callable(decay):
            raise TypeError(f"{owner}: decay is {decay!r}; a function of the epoch is wanted")
        self.decay = decay
        self.start = check_integer(owner, "start", start, 1)
        self.most = check_integer(owner, "most", most, self.start)
        self.rows = check_integer(owner, "rows", rows, 1)
        if self.most > self.rows:
            raise ValueError(f"{owner}: most is {most} and rows {rows}; most <= rows is wanted")
        if not isinstance(drop_last, bool):
            raise TypeError(f"{owner}: drop_last is {drop_last!r}; True or False is wanted")
        self.drop_last = drop_last
        # What epochs 0, 1, ... have: asked of `decay` once, in order, as far as anybody has wanted to know.
        self._sizes: list[int] = []
        self._rates: list[float] = []
        self._ends: list[int] = []
        self._peak = 0.0

    def _extend(self) -> None:
        epoch = len(self._sizes)
        rate = check_number("BiggerBatches", f"decay({epoch + 1})", self.decay(epoch + 1))
        peak = max(self._peak, rate)
        size = (
            self.start
            if not peak
            else _rounded(self.start * (peak / rate), 1, self.most)
            if rate
            else self.most
        )
        steps = self.rows // size if self.drop_last else -(-self.rows // size)
        self._peak = peak
        self._sizes.append(size)
        self._rates.append(rate * size / self.start)
        self._ends.append((self._ends[-1] if epoch else 0) + steps)

    def size(self, epoch: int) -> int:
        """Rows of a batch in an epoch, 0 for the first."""
        epoch = check_integer("BiggerBatches", "epoch", epoch, 0)
        while len(self._sizes) <= epoch:
            self._extend()
        return self._sizes[epoch]

    def lr(self, t: int) -> float:
        """The learning rate of step `t`, 1 for the first, if every batch is a step."""
        if not t >= 1:
            raise ValueError(f"BiggerBatches: t is {t!r}; steps count from 1")
        while not self._ends or self._ends[-1] < t:
            self._extend()
        return self._rates[bisect_left(self._ends, t)]

    def __repr__(self) -> str:
        return (
            f"BiggerBatches({self.decay!r}, start={self.start}, most={self.most}, rows={self.rows}, "
            f"drop_last={self.drop_last})"
        )


class NoiseGuided:
    """A size that follows the gradient noise scale; for ``fo.Batches(size=...)``.

    Parameters
    ----------
    start : int
        Rows of a batch until the first `update`, from `least` to `most`.
    most : int
        The largest size.
    least : int, default 1
        The smallest size.
    part : float, default 1.0
        The size wanted is this part of the noise scale, > 0.
    change : float, default 2.0
        The size of the next epoch is at most so many times this one's, and at least one so-manieth of it, or it
        moves by one where that is less; > 1.
    monotone : bool, default True
        The size never falls.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    At the noise scale a batch costs twice the examples that the smallest batches would, and twice the steps
    that the largest would (McCandlish et al., 2018, section 2.4); `part` chooses another trade. As the gradient falls
    during training, its noise scale grows, and the batch with it.

    A size holds *from the epoch after the one told* on, so that batches under way keep theirs. The state is part
    of that of the `Batches`, and need not be saved by itself.

    Examples
    --------
    >>> guided = NoiseGuided(16, most=128)
    >>> guided.update(40.0, epoch=0), guided.update(500.0, epoch=1), guided.update(8.0, epoch=2)
    (32, 64, 64)
    >>> [guided(epoch) for epoch in range(5)]
    [16, 32, 64, 64, 64]
    """

    def __init__(
        self,
        start: int,
        most: int,
        least: int = 1,
        *,
        part: float = 1.0,
        change: float = 2.0,
        monotone: bool = True,
    ) -> None:
        owner = "NoiseGuided"
        self.least = check_integer(owner, "least", least, 1)
        self.most = check_integer(owner, "most", most, self.least)
        self.start = check_integer(owner, "start", start, self.least)
        if self.start > self.most:
            raise ValueError(f"{owner}: start is {start} and most {most}; start <= most is wanted")
        self.part = check_number(owner, "part", part, above=True)
        self.change = check_number(owner, "change", change, 1.0, above=True)
        if not isinstance(monotone, bool):
            raise TypeError(f"{owner}: monotone is {monotone!r}; True or False is wanted")
        self.monotone = monotone
        self._epochs, self._sizes = [0], [self.start]

    def __call__(self, epoch: int) -> int:
        """Rows of a batch in an epoch, 0 for the first."""
        return self._sizes[bisect_right(self._epochs, _check_epoch(self, epoch)) - 1]

    def update(self, noise_scale: float, epoch: int) -> int:
        """Tell the noise scale seen in an epoch; gives the size of the epochs after it.

        Parameters
        ----------
        noise_scale : float
            In examples, as of `fastopt.diagnostics.NoiseScale`, >= 0. Infinite asks for all that is allowed, NaN
            (nothing is known) leaves the size as it is.
        epoch : int
            The epoch that is over or under way, as `Batches.epoch` tells within it. Not below that of an earlier call;
            the same again takes its place.

        Raises
        ------
        TypeError, ValueError
            `noise_scale` is no number or below 0, or `epoch` goes back; nothing has changed.
        """
        owner = "NoiseGuided"
        if isinstance(noise_scale, bool) or not isinstance(noise_scale, numbers.Real):
            raise TypeError(f"{owner}: noise_scale is {noise_scale!r}; a number is wanted")
        scale = float(noise_scale)
        if scale < 0:
            raise ValueError(f"{owner}: noise_scale is {scale:g}; a number >= 0 is wanted")
        after = check_integer(owner, "epoch", epoch, 0) + 1
        if after < self._epochs[-1]:
            raise ValueError(
                f"{owner}: epoch is {epoch}, and a size was found after epoch {self._epochs[-1] - 1}; epochs rise"
            )
        now = self(after - 1)
        size = now
        if not math.isnan(scale):
            low = now if self.monotone else max(self.least, min(now - 1, math.ceil(now / self.change)))
            high = min(self.most, max(now + 1, math.floor(now * self.change)))  # small sizes too must move
            size = min(max(_rounded(self.part * scale, self.least, self.most), low), high)
        if after == self._epochs[-1]:
            self._sizes[-1] = size
        elif size != now:
            self._epochs.append(after)
            self._sizes.append(size)
        return size

    def state_dict(self) -> dict[str, Any]:
        """The sizes so far, and the epochs from which on they hold: lists of integers."""
        return {"epochs": list(self._epochs), "sizes": list(self._sizes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state.

        Raises
        ------
        TypeError, ValueError
            Something is missing, unknown or out of its range; the state is as before.
        """
        owner = "NoiseGuided"
        check_keys(owner, state, ("epochs", "sizes"))
        found = []
        for name, least in (("epochs", 0), ("sizes", self.least)):
            if not isinstance(state[name], list):
                raise TypeError(f"{owner}: state[{name!r}] is {state[name]!r:.60}; a list is wanted")
            found.append(
                [check_integer(owner, f"state[{name!r}][{i}]", x, least) for i, x in enumerate(state[name])]
            )
        epochs, sizes = found
        if not epochs or epochs[0] != 0 or epochs != sorted(set(epochs)) or len(sizes) != len(epochs):
            raise ValueError(
                f"{owner}: state has epochs {epochs} and sizes {sizes}; rising from 0, one each, are wanted"
            )
        if max(sizes) > self.most:
            raise ValueError(f"{owner}: state['sizes'] holds {max(sizes)}; at most {self.most} is wanted")
        self._epochs, self._sizes = epochs, sizes

    def __repr__(self) -> str:
        return (
            f"NoiseGuided({self.start}, most={self.most}, least={self.least}, part={self.part:g}, "
            f"change={self.change:g}, monotone={self.monotone}; now {self._sizes[-1]})"
        )
