r"""How inexact a gradient is (Deep Learning, 8.1.3 and 8.2.6): variance, standard error, noise scale, disagreement.

The gradient of a batch of :math:`B` examples is a draw with mean :math:`G`, the full gradient, and covariance
:math:`\Sigma / B`, with :math:`\Sigma` the covariance of the gradient of one example. All sums are in float64,
whatever the gradients' dtype, and nothing here needs more than the gradients of a run that goes on anyway.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from fastopt._checks import check_integer, check_keys, check_number
from fastopt._trees import _at, flatten_tree, map_tree

__all__ = [
    "Disagreement",
    "GradientMoments",
    "NoiseEstimate",
    "NoiseScale",
    "disagreement",
    "noise_from_batches",
    "noise_from_norms",
    "standard_error",
]


class NoiseEstimate(NamedTuple):
    r"""An unbiased estimate of the noise and the signal in a gradient.

    Attributes
    ----------
    trace : float
        Of :math:`\operatorname{tr} \Sigma`, the variance of the gradient of one example, summed over coordinates.
    squared_norm : float
        Of :math:`|G|^2`, the squared length of the true gradient. Being unbiased, it may come out negative.
    """

    trace: float
    squared_norm: float

    @property
    def scale(self) -> float:
        r"""The simple noise scale :math:`\operatorname{tr} \Sigma / |G|^2`, in examples.

        Infinite where noise was seen and no signal (``squared_norm <= 0``), 0 where no noise was (``trace <= 0``),
        NaN where neither was.
        """
        if self.trace <= 0:
            return 0.0 if self.squared_norm > 0 else math.nan
        if math.isnan(self.trace) or math.isnan(self.squared_norm):
            return math.nan
        return self.trace / self.squared_norm if self.squared_norm > 0 else math.inf


class Disagreement(NamedTuple):
    """How far the gradient of a batch is from the full one.

    Attributes
    ----------
    cosine : float
        Of the angle between the two, in [-1, 1]; NaN where one of them is zero.
    relative_error : float
        Length of the difference over the length of the full gradient; infinite where that alone is
        zero, NaN where both are.
    norm_ratio : float
        Length of the batch's gradient over that of the full one.
    """

    cosine: float
    relative_error: float
    norm_ratio: float


def standard_error(deviation: Any, size: int, population: int | None = None) -> Any:
    r"""The standard error of a mean over `size` examples, :math:`\sigma / \sqrt n`.

    Parameters
    ----------
    deviation : float or array_like
        :math:`\sigma`, the standard deviation of one example; >= 0.
    size : int
        :math:`n`, examples of the batch, at least 1.
    population : int, optional
        Examples there are, if the batch is drawn from them without replacement (and `deviation` has their number
        less one as its divisor): the error is then smaller by :math:`\sqrt{1 - n / N}`, and 0 for the whole.

    Returns
    -------
    float or ndarray of float64
        As `deviation`.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, 2016, section 8.1.3 and equation 5.46.

    Examples
    --------
    Hundred times the work for a tenth of the error:

    >>> standard_error(2.0, 100), standard_error(2.0, 10000)
    (0.2, 0.02)
    >>> standard_error(2.0, 100, population=100)
    0.0
    """
    n = check_integer("standard_error", "size", size, 1)
    sigma = np.asarray(deviation)
    if sigma.dtype.kind not in "fiu":
        raise TypeError(f"standard_error: deviation has dtype {sigma.dtype}; real numbers are wanted")
    sigma = sigma.astype(np.float64)
    if not np.all(sigma >= 0):
        raise ValueError("standard_error: deviation has an entry that is negative or NaN; >= 0 is wanted")
    left = _left("standard_error", n, population)
    error = sigma * math.sqrt(left / n)
    return error if error.ndim else float(error)


def noise_from_norms(small_squared: float, big_squared: float, small: float, big: float) -> NoiseEstimate:
    r"""The noise in a gradient, from its squared lengths at two batch sizes.

    Parameters
    ----------
    small_squared, big_squared : float
        :math:`|g|^2` of a gradient over `small` examples and of one over `big`. With several of the small ones, as
        from workers, their mean is the better number; the big one may be the gradient of all of them together.
    small, big : float
        Examples of the two, ``0 < small < big``.

    Returns
    -------
    NoiseEstimate
        Unbiased in both fields. Their ratio is not, and from one step it is very noisy: `NoiseScale` averages
        numerator and denominator over steps first.

    Raises
    ------
    TypeError, ValueError
        An argument is no number, not finite, or out of its range.

    Notes
    -----
    :math:`E |g_B|^2 = |G|^2 + \operatorname{tr} \Sigma / B` at two sizes gives

    .. math::

        \operatorname{tr} \Sigma \approx \frac{|g_b|^2 - |g_B|^2}{1/b - 1/B}, \qquad
        |G|^2 \approx \frac{B |g_B|^2 - b |g_b|^2}{B - b}.

    References
    ----------
    McCandlish, Kaplan, Amodei et al., An empirical model of large-batch training, 2018, appendix A.1.

    Examples
    --------
    >>> noise_from_norms(3.0, 2.0, small=8, big=16)
    NoiseEstimate(trace=16.0, squared_norm=1.0)
    """
    owner = "noise_from_norms"
    low = check_number(owner, "small_squared", small_squared)
    high = check_number(owner, "big_squared", big_squared)
    b = check_number(owner, "small", small, above=True)
    B = check_number(owner, "big", big, above=True)
    if b >= B:
        raise ValueError(f"{owner}: small is {b:g} and big {B:g}; small < big is wanted")
    return NoiseEstimate((low - high) / (1 / b - 1 / B), (B * high - b * low) / (B - b))


def noise_from_batches(grads: Iterable[Any], sizes: Any = 1, population: int | None = None) -> NoiseEstimate:
    """The noise in a gradient, from the gradients of two or more batches at the same parameters.

    Parameters
    ----------
    grads : iterable of trees of arrays
        One gradient a batch: of workers, of micro-batches, or of single examples. At least 2. They are read one after
        the other, so a generator may reuse one set of arrays.
    sizes : int or sequence of int, default 1
        Examples of each batch, one number if all are alike. With 1, `NoiseEstimate.scale` is in batches.
    population : int, optional
        Examples there are, if the batches were drawn from them without replacement.

    Returns
    -------
    NoiseEstimate
        As of `GradientMoments.noise`, unbiased in both fields.

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        As `GradientMoments.update`; or fewer than two gradients, or another number of sizes.

    Examples
    --------
    >>> import numpy as np
    >>> noise_from_batches([np.array([3.0, 0.0]), np.array([1.0, 0.0])], sizes=4)
    NoiseEstimate(trace=8.0, squared_norm=3.0)
    """
    owner = "noise_from_batches"
    given = sizes if np.ndim(sizes) else None
    moments: GradientMoments | None = None
    count = 0
    for count, grad in enumerate(grads, 1):
        if given is not None and count > len(given):
            raise ValueError(
                f"{owner}: sizes has {len(given)} entries for more gradients; one each is wanted"
            )
        if moments is None:
            moments = GradientMoments(grad, population)
        moments.update(grad, sizes if given is None else given[count - 1])
    if given is not None and count < len(given):
        raise ValueError(f"{owner}: sizes has {len(given)} entries for {count} gradients; one each is wanted")
    if moments is None or count < 2:
        raise ValueError(f"{owner}: {count} gradients; at least two are needed to see their noise")
    return moments.noise()


def disagreement(batch: Any, full: Any) -> Disagreement:
    """Compare the gradient of a batch with the full one.

    Parameters
    ----------
    batch, full : trees of arrays
        Of the same paths and shapes.

    Returns
    -------
    Disagreement

    Raises
    ------
    TypeError, ValueError, FloatingPointError
        A leaf is no real floating array, the trees differ, or an element is not finite; the message names the path.

    Examples
    --------
    >>> import numpy as np
    >>> disagreement(np.array([1.0, 1.0]), np.array([1.0, 0.0])).cosine.__round__(4)
    0.7071
    """
    mine, paths = gradient_leaves("disagreement", "batch", batch)
    theirs = _like("disagreement", "full", full, paths, [a.shape for a in mine])
    # Scaled by the largest element, so that no square is lost to overflow or underflow.
    a, b = _largest(mine), _largest(theirs)
    aa = bb = ab = apart = 0.0
    top = max(a, b)
    for x, y in zip(mine, theirs, strict=True):
        u, v = x.ravel() / (a or 1.0), y.ravel() / (b or 1.0)
        aa, bb, ab = aa + float(u @ u), bb + float(v @ v), ab + float(u @ v)
        d = x.ravel() / (top or 1.0) - y.ravel() / (top or 1.0)
        apart += float(d @ d)
    if not bb:
        return Disagreement(math.nan, *(2 * (math.inf if aa else math.nan,)))
    cosine = min(1.0, max(-1.0, ab / math.sqrt(aa * bb))) if aa else math.nan
    return Disagreement(cosine, top / b * math.sqrt(apart / bb), a / b * math.sqrt(aa / bb))


class GradientMoments:
    r"""Running mean and variance of the gradients of batches, coordinate by coordinate.

    Parameters
    ----------
    like : tree of arrays
        Parameters or gradients, for the paths and shapes; never read.
    population : int, optional
        Examples there are, if each is seen at most once (batches of one epoch, without replacement).

    Attributes
    ----------
    count : int
        Gradients told so far.
    examples : int
        Sum of their sizes, :math:`M`.

    Raises
    ------
    TypeError, ValueError
        A leaf of `like` is no array, or `population` is no integer >= 1.

    Notes
    -----
    With sizes :math:`B_j` and :math:`M = \sum B_j`, by Welford's recursion in float64 (no difference of large sums):

    .. math::

        \bar g = \frac{1}{M} \sum_j B_j g_j, \qquad
        \hat\sigma^2 = \frac{1}{k - 1} \sum_j B_j (g_j - \bar g)^2 .

    :math:`\hat\sigma^2` is the variance of *one example*, without bias: :math:`B_j` times the variance of batch `j`
    is the same for all sizes. The standard error of :math:`\bar g` is :math:`\hat\sigma / \sqrt M`, and
    :math:`|\bar g|^2 - \operatorname{tr} \hat\Sigma / M` is without bias for :math:`|G|^2`. With a `population` of
    `N` both :math:`1/M` become :math:`1/M - 1/N`; the variance needs no change, as batches without
    replacement repel each other by just so much. Parameters should stand still meanwhile; over a few small steps the
    change of :math:`G` counts as noise.

    References
    ----------
    Welford, Note on a method for calculating corrected sums of squares and products, 1962. West, Updating mean
    and variance estimates, 1979. Goodfellow, Bengio, Courville, Deep Learning, 2016, sections 8.1.3, 8.2.6.

    Examples
    --------
    >>> import numpy as np
    >>> moments = GradientMoments(np.zeros(2))
    >>> for g in ([1.0, 5.0], [3.0, 5.0]):
    ...     moments.update(np.array(g), size=4)
    >>> moments.mean, moments.variance
    (array([2., 5.]), array([8., 0.]))
    >>> moments.standard_error
    array([1., 0.])
    >>> moments.noise()
    NoiseEstimate(trace=8.0, squared_norm=28.0)
    """

    def __init__(self, like: Any, population: int | None = None) -> None:
        leaves, self._paths = flatten_tree(like)
        for leaf, path in zip(leaves, self._paths, strict=True):
            if not isinstance(leaf, (np.ndarray, np.generic)):
                raise TypeError(
                    f"GradientMoments: like{_at(path)} is {type(leaf).__name__}; an array is wanted"
                )
        self._nesting = map_tree(lambda _: None, like)
        self._shapes = [leaf.shape for leaf in leaves]
        if population is not None:
            population = check_integer("GradientMoments", "population", population, 1)
        self.population = population
        self.reset()

    def reset(self) -> None:
        """Forget all gradients."""
        self.count = self.examples = 0
        self._mean = [np.zeros(shape) for shape in self._shapes]
        self._spread = [np.zeros(shape) for shape in self._shapes]

    def update(self, grads: Any, size: int = 1) -> None:
        """Tell the gradient of a batch: the mean over `size` examples.

        Raises
        ------
        TypeError, ValueError
            A leaf is no real floating array, the tree differs from `like`, `size` is no integer >= 1, or more examples
            came than the population has. Nothing has changed.
        FloatingPointError
            An element is not finite; nothing has changed.
        """
        owner = "GradientMoments"
        size = check_integer(owner, "size", size, 1)
        leaves = _like(owner, "grads", grads, self._paths, self._shapes)
        if self.population is not None and self.examples + size > self.population:
            raise ValueError(
                f"{owner}: {self.examples} examples were seen and size is {size}; at most {self.population} there are"
            )
        self.count += 1
        self.examples += size
        share = size / self.examples
        for g, mean, spread in zip(leaves, self._mean, self._spread, strict=True):
            apart = g - mean
            mean += share * apart
            spread += size * apart * (g - mean)

    def _tree(self, leaves: Iterable[np.ndarray]) -> Any:
        feed = iter(leaves)
        return map_tree(lambda _: next(feed), self._nesting)

    def _needs(self, least: int, what: str) -> None:
        if self.count < least:
            raise ValueError(f"GradientMoments: {self.count} gradients so far; {what} needs {least}")

    @property
    def mean(self) -> Any:
        """The mean gradient, a tree of float64 arrays (copies)."""
        self._needs(1, "the mean")
        return self._tree(m.copy() for m in self._mean)

    @property
    def variance(self) -> Any:
        """The variance of the gradient of one example, a tree of float64 arrays."""
        self._needs(2, "the variance")
        return self._tree(s / (self.count - 1) for s in self._spread)

    @property
    def standard_error(self) -> Any:
        """The standard error of the mean, a tree of float64 arrays."""
        self._needs(2, "the standard error")
        factor = self._share() / (self.count - 1)
        return self._tree(np.sqrt(s * factor) for s in self._spread)

    def _share(self) -> float:
        """The variance of the mean, as a part of that of one example."""
        return _left("GradientMoments", self.examples, self.population) / self.examples

    def noise(self) -> NoiseEstimate:
        """The trace of the variance, and the squared length of the true gradient, without bias; of two gradients on."""
        self._needs(2, "the noise")
        trace = sum(float(s.sum()) for s in self._spread) / (self.count - 1)
        length = sum(float(np.vdot(m, m)) for m in self._mean)
        return NoiseEstimate(trace, length - trace * self._share())

    def state_dict(self) -> dict[str, Any]:
        """All that `update` changes: counts, and ``mean`` and ``spread`` (sums of squares) by path, as copies."""
        return {
            "count": self.count,
            "examples": self.examples,
            "mean": {p: a.copy() for p, a in zip(self._paths, self._mean, strict=True)},
            "spread": {p: a.copy() for p, a in zip(self._paths, self._spread, strict=True)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state.

        Raises
        ------
        TypeError, ValueError
            Something is missing, unknown, of another shape or out of its range; the state is as before.
        """
        owner = "GradientMoments"
        check_keys(owner, state, ("count", "examples", "mean", "spread"))
        count = check_integer(owner, "state['count']", state["count"], 0)
        examples = check_integer(owner, "state['examples']", state["examples"], count)
        if self.population is not None and examples > self.population:
            raise ValueError(f"{owner}: state['examples'] is {examples}; at most {self.population} there are")
        taken = []
        for name in ("mean", "spread"):
            given = state[name]
            if not isinstance(given, Mapping) or list(given) != self._paths:
                raise ValueError(f"{owner}: state[{name!r}] has other paths than {self._paths}")
            leaves = [np.array(given[path]) for path in self._paths]
            for a, path, shape in zip(leaves, self._paths, self._shapes, strict=True):
                if a.dtype != np.float64 or a.shape != shape:
                    raise ValueError(
                        f"{owner}: state[{name!r}]{_at(path)} is {a.dtype} {a.shape}; float64 {shape} is wanted"
                    )
                if not np.isfinite(a).all() or (name == "spread" and (a < 0).any()):
                    raise ValueError(f"{owner}: state[{name!r}]{_at(path)} is out of range")
            taken.append(leaves)
        self.count, self.examples, (self._mean, self._spread) = count, examples, taken


class NoiseScale:
    r"""The gradient noise scale along a run: averages of :math:`\operatorname{tr} \Sigma` and :math:`|G|^2`.

    Parameters
    ----------
    decay : float, default 0.99
        Of the exponential moving averages, in [0, 1): about the last ``1 / (1 - decay)`` estimates count.

    Attributes
    ----------
    count : int
        Estimates told so far.

    Raises
    ------
    TypeError, ValueError
        `decay` is no number in [0, 1).

    Notes
    -----
    The noise scale :math:`B = \operatorname{tr} \Sigma / |G|^2` is about the batch size up to which twice the batch is
    worth nearly twice the steps, and above which it is wasted. One estimate of numerator and
    denominator is unbiased but rough, and the ratio of the two is neither: both are averaged first. Averages begin
    at zero and are divided by ``1 - decay^count``, so all estimates so far count from the first on.

    References
    ----------
    McCandlish, Kaplan, Amodei et al., An empirical model of large-batch training, 2018, section 2.2, appendix A.1.

    Examples
    --------
    >>> scale = NoiseScale(decay=0.5)
    >>> scale.update(noise_from_norms(3.0, 2.0, small=8, big=16))
    16.0
    >>> scale.update((4.0, 1.0)).__round__(6), scale.count
    (8.0, 2)
    """

    def __init__(self, decay: float = 0.99) -> None:
        self.decay = check_number("NoiseScale", "decay", decay, 0.0, 1.0, below=True)
        self.reset()

    def reset(self) -> None:
        """Forget all estimates."""
        self.count, self._trace, self._squared = 0, 0.0, 0.0

    def update(self, estimate: NoiseEstimate | tuple[float, float]) -> float:
        """Tell the newest estimate, ``(trace, squared_norm)``; gives the noise scale.

        Raises
        ------
        TypeError, ValueError
            It is no pair of finite numbers; nothing has changed.
        """
        try:
            trace, squared = estimate
        except (TypeError, ValueError):
            raise TypeError(
                f"NoiseScale: estimate is {estimate!r}; a pair (trace, squared_norm) is wanted"
            ) from None
        trace = check_number("NoiseScale", "trace", trace, -math.inf)
        squared = check_number("NoiseScale", "squared_norm", squared, -math.inf)
        self.count += 1
        self._trace += (1 - self.decay) * (trace - self._trace)
        self._squared += (1 - self.decay) * (squared - self._squared)
        return self.scale

    @property
    def estimate(self) -> NoiseEstimate:
        """Both averages; NaN before the first estimate."""
        if not self.count:
            return NoiseEstimate(math.nan, math.nan)
        weight = 1 - self.decay**self.count
        return NoiseEstimate(self._trace / weight, self._squared / weight)

    @property
    def scale(self) -> float:
        """The noise scale, in examples: as `NoiseEstimate.scale`, NaN before the first estimate."""
        return self.estimate.scale

    def state_dict(self) -> dict[str, Any]:
        """What `update` changes: ``count``, ``trace``, ``squared_norm`` (before the division)."""
        return {"count": self.count, "trace": self._trace, "squared_norm": self._squared}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state; `decay` stays.

        Raises
        ------
        TypeError, ValueError
            Something is missing, unknown or out of its range; the state is as before.
        """
        owner = "NoiseScale"
        check_keys(owner, state, ("count", "trace", "squared_norm"))
        count = check_integer(owner, "state['count']", state["count"], 0)
        trace = check_number(owner, "state['trace']", state["trace"], -math.inf)
        squared = check_number(owner, "state['squared_norm']", state["squared_norm"], -math.inf)
        self.count, self._trace, self._squared = count, trace, squared


def gradient_leaves(owner: str, name: str, tree: Any) -> tuple[list[np.ndarray], list[str]]:
    """Leaves of a tree of gradients in float64 (no copy of what is), and their paths; finite, or an error."""
    leaves, paths = flatten_tree(tree)
    found = []
    for leaf, path in zip(leaves, paths, strict=True):
        if not isinstance(leaf, (np.ndarray, np.floating)) or leaf.dtype.kind != "f":
            what = getattr(leaf, "dtype", type(leaf).__name__)
            raise TypeError(f"{owner}: {name}{_at(path)} is {what}; a floating array is wanted")
        a = np.asarray(leaf, np.float64)
        if not np.isfinite(a).all():
            raise FloatingPointError(f"{owner}: {name}{_at(path)} has an element that is not finite")
        found.append(a)
    return found, paths


def _like(owner: str, name: str, tree: Any, wanted: list[str], shapes: list[Any]) -> list[np.ndarray]:
    """The leaves of a tree of gradients, in the order of the paths of another tree, whose shapes they must have."""
    leaves, paths = gradient_leaves(owner, name, tree)
    found = dict(zip(paths, leaves, strict=True))
    if set(found) != set(wanted) or len(paths) != len(wanted):
        raise ValueError(f"{owner}: {name} has the paths {paths}; {wanted} are wanted")
    for path, shape in zip(wanted, shapes, strict=True):
        if found[path].shape != shape:
            raise ValueError(f"{owner}: {name}{_at(path)} has shape {found[path].shape}; {shape} is wanted")
    return [found[path] for path in wanted]


def _left(owner: str, n: int, population: int | None) -> float:
    """1 - n / N, the correction for a finite population; 1 without one."""
    if population is None:
        return 1.0
    total = check_integer(owner, "population", population, 1)
    if n > total:
        raise ValueError(f"{owner}: size is {n} and population {total}; size <= population is wanted")
    return (total - n) / total


def _largest(leaves: list[np.ndarray]) -> float:
    return max((float(np.abs(a).max()) for a in leaves if a.size), default=0.0)
