"""Schedules that rise before they fall: warm-up, one cycle, warm-up / stable / decay, restarts."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise

from fastopt._checks import check_choice, check_integer, check_number
from fastopt.schedules._base import Schedule, ScheduleLike, as_schedule, bad_step, blend
from fastopt.schedules._decays import cosine, half_cosine


@dataclass(frozen=True)
class warmup(Schedule):
    """A linear rise in front of any schedule, whose first step is the last of the rise.

    Parameters
    ----------
    schedule : float or callable
        What follows; a number stands for `constant`.
    steps : int
        Length of the rise, >= 0; 0 and 1 change nothing.
    start_factor : float, default 0.0
        In [0, 1]: the part of ``schedule(1)`` that step 0 would have. No step gets 0 by the warm-up.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    See Also
    --------
    chain : ``chain(warmup(1.0, steps), schedule)`` lets `schedule` run on during the rise.

    Notes
    -----
    With w = `steps`, f = `start_factor`, and s the schedule:
    ``s(1) (f + (1 - f) t / w)`` for ``t <= w``, then ``s(t - w + 1)``.

    References
    ----------
    Goyal et al., Accurate, large minibatch SGD, 2017, section 2.2.

    Examples
    --------
    >>> lr = warmup(0.8, steps=4)
    >>> [lr(t) for t in (1, 2, 3, 4, 5)]
    [0.2, 0.4, 0.6000000000000001, 0.8, 0.8]
    """

    schedule: ScheduleLike
    steps: int
    start_factor: float = 0.0

    def __post_init__(self) -> None:
        self._set("schedule", as_schedule("warmup", "schedule", self.schedule))
        self._integer("steps", 0)
        self._number("start_factor", 0.0, 1.0)

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        past = t - self.steps
        if past >= 0:
            return self.schedule(past + 1 if self.steps else t)  # type: ignore[operator]
        return self.schedule(1) * blend(self.start_factor, 1.0, -past / self.steps)  # type: ignore[operator]


def warmup_cosine(peak: float, warmup: int, total: int, end: float = 0.0) -> Schedule:
    """Linear warm-up to `peak`, then half a cosine to `end`.

    Parameters
    ----------
    peak : float
        The value at ``t = warmup``, >= 0.
    warmup : int
        Steps of the rise, in [0, total); 0 and 1 both start at `peak`.
    total : int
        Steps in all, >= 2; ``t = total`` and later steps get `end`.
    end : float, default 0.0
        The last value, >= 0.

    Returns
    -------
    warmup
        ``warmup(cosine(peak, total - max(warmup, 1), end), warmup)``.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    With w = ``max(warmup, 1)``: ``peak t / w`` for ``t <= w``, then
    ``end + (peak - end) (1 + cos(pi (t - w) / (total - w))) / 2``.

    References
    ----------
    Goyal et al., 2017, section 2.2; Loshchilov, Hutter, SGDR, 2017, equation 5.

    Examples
    --------
    >>> lr = warmup_cosine(1e-3, warmup=100, total=5000)
    >>> [round(lr(t), 12) for t in (1, 100, 2550, 5000)]
    [1e-05, 0.001, 0.0005, 0.0]
    """
    peak = check_number("warmup_cosine", "peak", peak)
    end = check_number("warmup_cosine", "end", end)
    warmup_ = check_integer("warmup_cosine", "warmup", warmup, 0)
    total = check_integer("warmup_cosine", "total", total, 2)
    if warmup_ >= total:
        raise ValueError(f"warmup_cosine: warmup is {warmup_} and total {total}; warmup < total is wanted")
    return _warmup(cosine(peak, total - max(warmup_, 1), end), warmup_)


_warmup = warmup  # the class, also where an argument has its name


@dataclass(frozen=True)
class one_cycle(Schedule):
    """Up to `peak`, back, and far below the start: one cycle over the whole training.

    Parameters
    ----------
    peak : float
        The largest value, >= 0.
    total : int
        Steps in all, >= 1; later steps keep the value of ``t = total``.
    pct_start : float, default 0.3
        The part of `total` that rises, in [0, 1] (in [0, 0.5] with `three_phase`).
    anneal : {"cos", "linear"}, default "cos"
        Shape of every phase.
    div_factor : float, default 25.0
        >= 1; the first value is ``peak / div_factor``.
    final_div_factor : float, default 1e4
        >= 1; the last value is the first divided by this.
    three_phase : bool, default False
        Come down to the first value as fast as it went up, then to the last; else go down in one phase.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    Phases end at ``t_1 = pct_start total`` (and ``t_2 = 2 t_1 - 1`` with `three_phase`) and ``t = total``;
    within one, with ``a`` the part of it that is done, the value is ``(1 - a) from + a to`` (linear) or
    ``to + (from - to) (1 + cos(pi a)) / 2`` (cos). The values are those of torch's ``OneCycleLR``.

    References
    ----------
    Smith, Topin, Super-convergence: very fast training of neural networks using large learning rates, 2018.

    Examples
    --------
    >>> lr = one_cycle(1.0, total=100, pct_start=0.25)
    >>> lr(1), lr(25), lr(100)
    (0.04, 1.0, 4e-06)
    """

    peak: float
    total: int
    pct_start: float = 0.3
    anneal: str = "cos"
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False
    _phases: tuple[tuple[float, float, float, float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._number("peak")
        self._integer("total")
        if not isinstance(self.three_phase, bool):
            raise TypeError(f"one_cycle: three_phase is {self.three_phase!r}; True or False is wanted")
        self._number("pct_start", 0.0, 0.5 if self.three_phase else 1.0)
        check_choice("one_cycle", "anneal", self.anneal, ("cos", "linear"))
        self._number("div_factor", 1.0)
        self._number("final_div_factor", 1.0)
        first = self.peak / self.div_factor
        last = first / self.final_div_factor
        top = self.pct_start * self.total
        knots = [(1.0, first), (top, self.peak)]
        if self.three_phase:
            knots.append((2.0 * top - 1.0, first))
        knots.append((float(self.total), last))
        # One row a phase: where it ends, its length, the value it comes from and goes to.
        rows = pairwise(knots)
        self._set("_phases", tuple((t1, t1 - t0, v0, v1) for (t0, v0), (t1, v1) in rows))

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        t = min(t, self.total)
        for stop, length, start, end in self._phases:
            if t < stop:
                left = (stop - t) / length
                if self.anneal == "cos":
                    left = half_cosine(left)
                return blend(start, end, left)
            if t == stop:
                return end
        return self._phases[-1][3]


# The part of the way down that is left when the part x of the time is left.
_SHAPES = {
    "linear": lambda x: x,
    "cosine": half_cosine,
    "sqrt": lambda x: 1.0 - math.sqrt(1.0 - x),
}


@dataclass(frozen=True)
class warmup_stable_decay(Schedule):
    """Linear warm-up, a long constant stretch, a short decay.

    Parameters
    ----------
    peak : float
        The value of the constant stretch, >= 0.
    warmup, stable : int
        Steps of the rise and of the constant stretch, >= 0.
    decay : int
        Steps of the decay, >= 1.
    end : float, default 0.0
        The value from ``t = warmup + stable + decay`` on, >= 0.
    shape : {"linear", "cosine", "sqrt"}, default "linear"
        Of the decay; "sqrt" is ``1 - sqrt(a)``, which falls fast at first.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``peak t / warmup``, then ``peak``, then ``end + (peak - end) h(a)`` with
    ``a = (t - warmup - stable) / decay`` and h(a) one of ``1 - a``, ``(1 + cos(pi a)) / 2``, ``1 - sqrt(a)``.

    References
    ----------
    Hu et al., MiniCPM, 2024, section 4. Hägele et al., Scaling laws and compute-optimal training beyond
    fixed training durations, 2024 (the "1 - sqrt" decay).

    Examples
    --------
    >>> lr = warmup_stable_decay(1.0, warmup=10, stable=80, decay=10)
    >>> lr(1), lr(10), lr(90), lr(95), lr(100)
    (0.1, 1.0, 1.0, 0.5, 0.0)
    """

    peak: float
    warmup: int
    stable: int
    decay: int
    end: float = 0.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        self._number("peak")
        self._integer("warmup", 0)
        self._integer("stable", 0)
        self._integer("decay")
        self._number("end")
        check_choice("warmup_stable_decay", "shape", self.shape, tuple(_SHAPES))

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        if t < self.warmup:
            return self.peak * (t / self.warmup)
        past = t - self.warmup - self.stable
        if past <= 0:
            return self.peak
        if past >= self.decay:
            return self.end
        return blend(self.peak, self.end, _SHAPES[self.shape]((self.decay - past) / self.decay))


@dataclass(frozen=True)
class cosine_restarts(Schedule):
    """Half a cosine again and again, each `factor` times as long as the one before.

    Parameters
    ----------
    value : float
        The first value of every cycle, >= 0.
    first : int
        Steps of the first cycle, >= 1.
    factor : int, default 1
        Growth of the cycles, >= 1.
    end : float, default 0.0
        What each cycle goes towards, >= 0; its last step stays one step short of it.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    ``end + (value - end) (1 + cos(pi k / n)) / 2``, k the steps taken in the present cycle and
    ``n = first factor^i`` its length; torch's ``CosineAnnealingWarmRestarts``.

    References
    ----------
    Loshchilov, Hutter, SGDR: stochastic gradient descent with warm restarts, 2017, equation 5.

    Examples
    --------
    >>> lr = cosine_restarts(0.1, first=10, factor=2)
    >>> lr(1), round(lr(6), 12), lr(11), round(lr(21), 12), lr(31)
    (0.1, 0.05, 0.1, 0.05, 0.1)
    """

    value: float
    first: int
    factor: int = 1
    end: float = 0.0
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._number("value")
        self._integer("first")
        self._integer("factor")
        self._number("end")
        starts, length = [0], self.first
        # Exact integers, where a logarithm would miss a restart by one; 2^63 outlasts any counter.
        while self.factor > 1 and starts[-1] < 1 << 63:
            starts.append(starts[-1] + length)
            length *= self.factor
        self._set("_starts", tuple(starts))

    def __call__(self, t: int) -> float:
        if t < 1:
            raise bad_step(self, t)
        if self.factor == 1:
            k, length = (t - 1) % self.first, self.first
        else:
            i = bisect_right(self._starts, t - 1) - 1
            k, length = t - 1 - self._starts[i], self.first * self.factor**i
        return blend(self.value, self.end, half_cosine((length - k) / length))
