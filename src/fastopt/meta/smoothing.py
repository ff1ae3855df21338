r"""Smoother versions of an objective: the mean over Gaussian steps around the point, by sampling; softened losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_keys, check_number
from fastopt._trees import _at, flatten_tree, map_tree
from fastopt.data.seeds import child, seed_from, seed_from_state, seed_state

__all__ = ["Smoothed", "tempered_cross_entropy", "tempered_errors"]

KEPT = 1 << 20  # random numbers that are kept between calls, where all calls use the same


class Smoothed:
    r"""An objective averaged over a Gaussian around the point: value and gradient, without bias.

    .. math::

        J_\sigma(\theta) = E\, J(\theta + \sigma s z), \qquad z \sim N(0, I).

    Parameters
    ----------
    fun : callable
        ``fun(params, *args)`` gives the pair (value, gradient), or with ``jac=False`` the value. It gets a tree of new
        arrays, and gives the gradient as such a tree.
    samples : int, default 16
        Evaluations of `fun` for one of :math:`J_\sigma`; even with `antithetic`.
    rng : seed, default 0
        As for :class:`fastopt.Batches`.
    jac : bool, default True
        Whether `fun` gives gradients. Without, the gradient of :math:`J_\sigma` comes from values alone; `J` need not
        even be continuous.
    antithetic : bool, default True
        Every `z` together with `-z`: exact in all that is odd about the point (linear terms), so mostly less variance.
    common : bool, default True
        All calls use the same `z`: what results is one fixed smooth function of the parameters, which any
        minimizer may take. False: new ones for each call, as a stochastic optimizer likes them.
    scale : tree, optional
        `s`: positive numbers or arrays by the paths of the parameters, where these differ in size.

    Attributes
    ----------
    calls, nfev : int
        Calls of this object, and of `fun`.
    error : float
        Standard error of the value of the last call; NaN where one sample, or one pair, says nothing about it.

    Raises
    ------
    TypeError, ValueError
        An argument is of the wrong kind or out of its range.

    Notes
    -----
    A call is ``smoothed(params, sigma, *args)``, so this object is a family for `continuation`; ``sigma=0`` is `fun`
    itself, evaluated once. With gradients, :math:`\nabla J_\sigma = E\, \nabla J(\theta + \sigma s z)`. Without,

    .. math::

        \nabla J_\sigma = E\, \frac{z}{\sigma s} J(\theta + \sigma s z)
          = E\, \frac{z}{2 \sigma s} \left[J(\theta + \sigma s z) - J(\theta - \sigma s z)\right],

    the second if `antithetic`; else :math:`J(\theta)` is taken from each value (one evaluation more), which changes
    the variance and not the mean. Sums are in float64.

    References
    ----------
    Mobahi, Fisher, A theoretical analysis of optimization by Gaussian continuation, 2015. Nesterov, Spokoiny, Random
    gradient-free minimization of convex functions, 2017. Salimans et al., Evolution strategies as a scalable
    alternative to reinforcement learning, 2017. Goodfellow, Bengio, Courville, Deep Learning, 2016, section 8.7.6.

    Examples
    --------
    >>> import numpy as np
    >>> wavy = lambda x: (float(x @ x + 10 * np.sin(9 * x).sum()), 2 * x + 90 * np.cos(9 * x))
    >>> smooth = Smoothed(wavy, samples=2000)
    >>> value, gradient = smooth(np.array([3.0, 4.0]), 0.5)     # |x|^2 + n sigma^2 + 10 e^(-81/8) sum sin(9 x)
    >>> abs(value - 25.5) < 4 * smooth.error, gradient.shape
    (True, (2,))
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        samples: int = 16,
        rng: Any = 0,
        *,
        jac: bool = True,
        antithetic: bool = True,
        common: bool = True,
        scale: Any = None,
    ) -> None:
        owner = "Smoothed"
        if not callable(fun):
            raise TypeError(f"{owner}: fun is {type(fun).__name__}; a function is wanted")
        for name, flag in (("jac", jac), ("antithetic", antithetic), ("common", common)):
            if not isinstance(flag, bool):
                raise TypeError(f"{owner}: {name} is {flag!r}; True or False is wanted")
        self.fun, self.jac, self.antithetic, self.common = fun, jac, antithetic, common
        self.samples = check_integer(owner, "samples", samples, 1)
        if antithetic and self.samples % 2:
            raise ValueError(f"{owner}: samples is {samples}; an even number is wanted with antithetic=True")
        self.scale = scale
        self._scales: dict[str, np.ndarray] = {}
        if scale is not None:
            for leaf, path in zip(*flatten_tree(scale), strict=True):
                found = np.asarray(leaf)
                if found.dtype.kind not in "fiu" or not (np.isfinite(found) & (found > 0)).all():
                    raise ValueError(
                        f"{owner}: scale{_at(path)} is {leaf!r:.40}; finite numbers > 0 are wanted"
                    )
                self._scales[path] = found.astype(np.float64)
        self._seed = seed_from(rng)
        self._kept: np.ndarray | None = None
        self.calls = self.nfev = 0
        self.error = math.nan

    def __call__(self, params: Any, sigma: float, *args: Any) -> tuple[float, Any]:
        """Value and gradient at a point, for a width of the Gaussian; the gradient has the dtypes of `params`."""
        sigma = check_number("Smoothed", "sigma", sigma)
        point = _Point(params, self._scales if self.scale is not None else None)
        if sigma == 0:
            return self._exact(point, args)
        n = point.vector.size
        pairs = self.samples // 2 if self.antithetic else self.samples
        draw = self._numbers(pairs, n)
        self.calls += 1
        width = sigma * point.scale
        base = 0.0 if self.jac or self.antithetic else self._evaluate(point, point.vector, args)[0]
        gradient, values = np.zeros(n), np.empty(pairs)
        for i in range(pairs):
            z = draw(i)
            value, slope = self._evaluate(point, point.vector + width * z, args)
            weight = 0.0 if self.jac else value - base
            if self.antithetic:
                other, other_slope = self._evaluate(point, point.vector - width * z, args)
                weight = (value - other) / 2
                value = (value + other) / 2
                if slope is not None:
                    slope = (slope + other_slope) / 2
            values[i] = value
            gradient += weight * z if slope is None else slope
        gradient /= pairs if self.jac else pairs * width
        mean = float(values.mean())
        self.error = float(values.std(ddof=1)) / math.sqrt(pairs) if pairs > 1 else math.nan
        return mean, point.tree(gradient)

    def _exact(self, point: _Point, args: tuple[Any, ...]) -> tuple[float, Any]:
        if not self.jac:
            raise ValueError(
                "Smoothed: sigma is 0; without gradients of fun (jac=False) a small sigma > 0 is the last that can be"
            )
        self.calls += 1
        value, slope = self._evaluate(point, point.vector, args)
        self.error = 0.0
        return value, point.tree(slope)

    def _evaluate(self, point: _Point, at: np.ndarray, args: tuple[Any, ...]) -> tuple[float, Any]:
        self.nfev += 1
        answer = self.fun(point.tree(at), *args)
        if not self.jac:
            return _as_value(answer), None
        if not isinstance(answer, (tuple, list)) or len(answer) != 2:
            raise TypeError(
                f"Smoothed: fun returned {type(answer).__name__}; a pair (value, gradient) is wanted, or jac=False"
            )
        return _as_value(answer[0]), point.flat(answer[1])

    def _numbers(self, pairs: int, n: int) -> Callable[[int], np.ndarray]:
        """Normal numbers of pair i, asked for in order."""
        if self._kept is not None and self._kept.shape == (pairs, n):
            return self._kept.__getitem__
        seed = self._seed if self.common else child(self._seed, self.calls)
        normal = np.random.Generator(np.random.PCG64(seed)).standard_normal
        if self.common and pairs * n <= KEPT:
            self._kept = normal((pairs, n))
            return self._kept.__getitem__
        return lambda _: normal(n)

    def state_dict(self) -> dict[str, Any]:
        """The seed, and how many calls there were: plain values."""
        return {**seed_state(self._seed), "calls": self.calls, "nfev": self.nfev}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state: the next call uses the numbers that the saved object's would have.

        Raises
        ------
        TypeError, ValueError
            Something is missing, unknown or out of its range; the state is as before.
        """
        owner = "Smoothed"
        check_keys(owner, state, self.state_dict())
        calls = check_integer(owner, "state['calls']", state["calls"], 0)
        nfev = check_integer(owner, "state['nfev']", state["nfev"], 0)
        try:
            seed = seed_from_state(dict(state))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ValueError(f"{owner}: the seed of the state cannot be read ({error})") from None
        self._seed, self.calls, self.nfev, self._kept = seed, calls, nfev, None


class _Point:
    """A tree of parameters as one vector of float64, and the way back."""

    def __init__(self, params: Any, scales: dict[str, np.ndarray] | None) -> None:
        leaves, self.paths = flatten_tree(params)
        for leaf, path in zip(leaves, self.paths, strict=True):
            if not isinstance(leaf, np.ndarray) or leaf.dtype.kind != "f":
                what = getattr(leaf, "dtype", type(leaf).__name__)
                raise TypeError(f"Smoothed: params{_at(path)} is {what}; a floating array is wanted")
        self.nesting = map_tree(lambda _: None, params)
        self.like = [(leaf.shape, leaf.size, leaf.dtype) for leaf in leaves]
        self.vector = np.concatenate([np.zeros(0), *(leaf.ravel() for leaf in leaves)]).astype(np.float64)
        self.scale: Any = 1.0
        if scales is not None:
            if set(scales) != set(self.paths):
                raise ValueError(f"Smoothed: scale has the paths {list(scales)}; {self.paths} are wanted")
            parts = []
            for path, (shape, _, _) in zip(self.paths, self.like, strict=True):
                try:
                    parts.append(np.broadcast_to(scales[path], shape).ravel())
                except ValueError:
                    raise ValueError(
                        f"Smoothed: scale{_at(path)} has shape {scales[path].shape}; {shape} or a number is wanted"
                    ) from None
            self.scale = np.concatenate(parts)

    def tree(self, vector: np.ndarray) -> Any:
        if self.nesting is None:  # a bare array, without detours
            shape, _, dtype = self.like[0]
            return vector.reshape(shape).astype(dtype)
        leaves, start = [], 0
        for shape, size, dtype in self.like:
            leaves.append(vector[start : start + size].reshape(shape).astype(dtype))
            start += size
        feed = iter(leaves)
        return map_tree(lambda _: next(feed), self.nesting)

    def flat(self, gradient: Any) -> np.ndarray:
        leaves, paths = flatten_tree(gradient)
        found = dict(zip(paths, leaves, strict=True))
        if set(found) != set(self.paths) or len(paths) != len(self.paths):
            raise ValueError(f"Smoothed: the gradient has the paths {paths}; {self.paths} are wanted")
        parts = [np.zeros(0)]
        for path, (shape, _, _) in zip(self.paths, self.like, strict=True):
            a = np.asarray(found[path])
            if a.dtype.kind not in "fiu" or a.shape != shape:
                raise ValueError(
                    f"Smoothed: the gradient{_at(path)} is {a.dtype} {a.shape}; numbers of shape {shape} are wanted"
                )
            parts.append(a.astype(np.float64).ravel())
        return np.concatenate(parts)


def _as_value(value: Any) -> float:
    found = np.asarray(value)
    if found.size != 1 or found.dtype.kind not in "fiu":
        raise TypeError(f"Smoothed: the value is {value!r:.60}; one real number is wanted")
    return float(found.reshape(()))


def tempered_cross_entropy(logits: Any, labels: Any, temperature: float = 1.0) -> tuple[float, np.ndarray]:
    r"""Cross entropy of the softmax at a temperature: nearly linear where hot, the true loss at 1, a hinge where cold.

    Parameters
    ----------
    logits : array_like, shape (n, classes)
        `z`, before the softmax.
    labels : array_like, shape (n,) of int, or (n, classes)
        Classes from 0, or a distribution a row.
    temperature : float, default 1.0
        `T` > 0; infinite is allowed.

    Returns
    -------
    loss : float
        The mean over rows.
    gradient : ndarray, shape (n, classes)
        Of `loss`, with respect to `logits`, of their dtype.

    Raises
    ------
    TypeError, ValueError
        Shapes do not fit, a label is no class, or `temperature` is not above 0.

    Notes
    -----
    .. math::

        L_T = T \log \frac1C \sum_c e^{z_c / T} + \log C - \sum_c y_c z_c, \qquad
        \frac{\partial L_T}{\partial z} = \operatorname{softmax}(z / T) - y,

    a row; ``T = 1`` is the cross entropy, for :math:`T \to \infty` the first term tends to the mean of the logits, for
    :math:`T \to 0` to their largest (the perceptron's loss). It is convex in `z` for every `T`; what heat takes away
    is the curvature that `z` itself brings along, as the gradient at the logits hardly depends on them.

    Examples
    --------
    >>> loss, gradient = tempered_cross_entropy([[2.0, 0.0]], [0])
    >>> round(loss, 4), gradient.round(4).tolist()
    (0.1269, [[-0.1192, 0.1192]])
    >>> tempered_cross_entropy([[2.0, 0.0]], [0], temperature=float("inf"))[1].tolist()
    [[-0.5, 0.5]]
    """
    owner = "tempered_cross_entropy"
    z = np.asarray(logits)
    if z.dtype.kind not in "fiu" or z.ndim != 2 or 0 in z.shape:
        raise TypeError(f"{owner}: logits is {z.dtype} {z.shape}; numbers of shape (n, classes) are wanted")
    t = _temperature(owner, temperature)
    rows, classes = z.shape
    y = np.asarray(labels)
    if y.shape == (rows,) and y.dtype.kind in "iu":
        if y.min() < 0 or y.max() >= classes:
            raise ValueError(f"{owner}: labels holds {y.min()} to {y.max()}; 0 to {classes - 1} are wanted")
        y = np.eye(classes)[y]
    elif y.shape != z.shape or y.dtype.kind not in "fiu":
        raise TypeError(
            f"{owner}: labels is {y.dtype} {y.shape}; classes ({rows},) or a distribution a row {z.shape} are wanted"
        )
    dtype = z.dtype if z.dtype.kind == "f" else np.dtype(np.float64)
    z = z.astype(np.float64)
    top = z.max(1, keepdims=True)
    if t == math.inf:
        free, p = z.mean(1), np.full_like(z, 1 / classes)
    else:
        # log mean exp(u) = log1p(mean expm1(u)): no cancellation where u is small, that is for a large T.
        u = np.expm1((z - top) / t)
        free = top[:, 0] + t * np.log1p(u.mean(1))
        p = (u + 1) / (u + 1).sum(1, keepdims=True)
    loss = float((free + math.log(classes) - (y * z).sum(1)).mean())
    return loss, ((p - y) / rows).astype(dtype)


def tempered_errors(margins: Any, temperature: float) -> tuple[float, np.ndarray]:
    r"""A smooth stand-in for the share of errors, which it becomes as the temperature falls.

    Parameters
    ----------
    margins : array_like, shape (n,)
        `m`: positive where the example is right, as :math:`y f(x)` for labels :math:`\pm 1`.
    temperature : float
        `T` > 0; infinite is allowed.

    Returns
    -------
    loss : float
        The mean of :math:`1 / (1 + e^{m / T})`.
    gradient : ndarray, shape (n,)
        Of `loss`, with respect to `margins`, of their dtype.

    Raises
    ------
    TypeError, ValueError
        `margins` is not one number a row, or `temperature` not above 0.

    Notes
    -----
    The book's true loss and a surrogate of it (section 8.1.2), with a family between the two. The gradient falls
    as 1/T: give a first-order optimizer a rate that grows with `T`.

    Examples
    --------
    >>> [round(tempered_errors([2.0, 1.0, -1.0], t)[0], 3) for t in (100.0, 1.0, 0.01)]
    [0.498, 0.373, 0.333]
    """
    m = np.asarray(margins)
    if m.dtype.kind not in "fiu" or m.ndim != 1 or not m.size:
        raise TypeError(f"tempered_errors: margins is {m.dtype} {m.shape}; one number a row is wanted")
    t = _temperature("tempered_errors", temperature)
    dtype = m.dtype if m.dtype.kind == "f" else np.dtype(np.float64)
    with np.errstate(over="ignore"):
        wrong = (1 - np.tanh(m.astype(np.float64) / t / 2)) / 2
    return float(wrong.mean()), (-wrong * (1 - wrong) / t / m.size).astype(dtype)


def _temperature(owner: str, value: Any) -> float:
    return math.inf if value == math.inf else check_number(owner, "temperature", value, above=True)
