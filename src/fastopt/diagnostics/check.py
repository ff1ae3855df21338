"""Are the gradients those of the loss? Sampled elements by complex step, or by central differences with an error bound.

Complex step: ``Im f(x + i h e) / h`` with h = 1e-30 has no cancellation, so it is exact to rounding (Squire and
Trapp, SIAM Review 40, 1998). Central differences at h and h/2 are extrapolated, ``(4 D(h/2) - D(h)) / 3``; what they
differ by, and the rounding of the loss over h, bound the error, and so does what the next smaller h gives. h shrinks
until rounding outweighs that; the smallest bound is taken (after Ridders, Advances in Engineering Software 4, 1982).

Every leaf is also checked along one direction of random signs. What sampled elements miss is seen there, and found by
halving the leaf.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastopt._checks import check_choice, check_integer, check_number
from fastopt._progress import Progress, reporting
from fastopt._trees import _at, flatten_tree, map_tree
from fastopt.diagnostics._answer import COLOURS, Answer, number
from fastopt.diagnostics._objective import Objective, loss_eps, read_loss, tree_vector

__all__ = ["GradientCheck", "GradientError", "check_gradients"]

TINY = 1e-30  # imaginary step
SHRINK, STEPS = 4.0, 24  # of real steps
#: A gradient is right where it is within so much of the derivative; float32 sums are good for 3 to 4 digits.
RTOL = {"float32": 1e-3, "float64": 1e-6}


class GradientError(ValueError):
    """A gradient is not that of the loss; `check` is the `GradientCheck` that found it."""

    def __init__(self, check: GradientCheck) -> None:
        super().__init__(check.verdict)
        self.check = check


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GradientCheck(Answer):
    """What `check_gradients` found.

    Attributes
    ----------
    ok : bool
        Every gradient looked at is that of the loss. False, too, where nothing could be looked at.
    path : str
        Of the worst element.
    index : tuple of int
        Its index in that leaf.
    analytic, numeric : float
        The gradient there as `fun` gave it, and as the loss has it.
    error : float
        Bound of the error of `numeric`.
    method : {"complex", "differences"}
    precision : {"float32", "float64"}
        In which the loss was computed for it.
    checked : int
        Elements looked at one by one.
    leaves : dict
        For each path: ``(elements checked, worst ratio of the difference to what is allowed)``.
    pairs : ndarray, shape (checked, 2)
        Analytic and numeric derivative of every element looked at.
    unknown : list of (str, tuple of int)
        Path and index of elements that nothing is known of, since the loss is not finite around them; with index ()
        the direction over a whole leaf. They are not counted in `checked`.
    """

    ok: bool
    path: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float
    method: str
    precision: str
    checked: int
    leaves: dict[str, tuple[int, float]]
    pairs: np.ndarray
    unknown: list[tuple[str, tuple[int, ...]]]

    def __bool__(self) -> bool:
        return self.ok

    def _draw(self, ax: Any) -> None:
        x, y = self.pairs.T
        ends = [float(self.pairs.min(initial=0.0)), float(self.pairs.max(initial=0.0))]
        ax.plot(ends, ends, color="#999999", linewidth=1.0, label="equal")
        ax.plot(y, x, "o", color=COLOURS[0], markersize=4, label="checked elements")
        if not self.ok:
            ax.plot(
                self.numeric,
                self.analytic,
                "o",
                color=COLOURS[1],
                label=f"worst: {_name(self.path, self.index)}",
            )
        ax.set_xlabel("derivative of the loss")
        ax.set_ylabel("gradient as given")
        ax.legend(frameon=False, fontsize=9)


def check_gradients(
    fun: Callable[..., Any],
    params: Any,
    *,
    method: str = "auto",
    k: int = 10,
    rtol: float | None = None,
    atol: float = 0.0,
    rng: Any = 0,
    raises: bool = False,
    progress: Progress = False,
) -> GradientCheck:
    """Compare gradients with the derivatives of the loss, and name the worst.

    Parameters
    ----------
    fun : callable
        ``fun(params) -> (loss, grads)``, not random: fix batch and dropout. For the complex step it must work with the
        tree that it is handed (complex then, a copy); for differences it may read the arrays of `params` themselves.
    params : tree of ndarray
        float32 or float64. Bit for bit unchanged afterwards, also by an exception.
    method : {"auto", "complex", "differences"}, default "auto"
        ``"auto"``: complex step where the loss comes out complex and its real part agrees; else differences, in
        double where `fun` computes in double for a float64 copy of float32 parameters. What the complex step blames
        (a loss with ``abs`` is not analytic) is confirmed by differences.
    k : int, default 10
        Elements of each leaf that are looked at one by one: the largest gradient and random ones; all of a leaf that
        has no more.
    rtol : float, optional
        A gradient is right within ``rtol * max(|gradient|, |derivative|, r) + atol`` and three times the error bound,
        r the root mean square of the leaf's gradients. Default: 1e-6, or 1e-3 where a leaf is float32.
    atol : float, default 0
    rng : default 0
        Of the sampled elements and signs.
    raises : bool, default False
        Raise `GradientError` instead of returning a check that is not `ok`.
    progress : bool or callable, default False

    Returns
    -------
    GradientCheck
        Truthy where all is right. `number` is the worst difference over what is allowed: above 1 is wrong.

    Raises
    ------
    GradientError
        A gradient is wrong, or nothing is known of any, and `raises` is True.
    TypeError, ValueError
        An argument is not what is wanted; the complex step is asked for and the loss is not complex; `fun` gives
        another loss when called again.
    FloatingPointError
        Loss or gradient at `params` is not finite.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> params = {"w": np.arange(1.0, 4.0), "b": np.ones(2)}
    >>> def fun(p):
    ...     g = {"w": 2 * p["w"], "b": 3 * p["b"] ** 2}
    ...     g["b"][1] *= 1.1                                    # a mistake
    ...     return (p["w"] ** 2).sum() + (p["b"] ** 3).sum(), g
    >>> print(fo.diagnostics.check_gradients(fun, params))
    Wrong gradient: grads['b'][1] is 3.3 and the derivative of the loss 3 (complex step).
    """
    owner = "check_gradients"
    check_choice(owner, "method", method, ("auto", "complex", "differences"))
    k = check_integer(owner, "k", k, 1)
    atol = check_number(owner, "atol", atol)
    if not isinstance(raises, bool):
        raise TypeError(f"{owner}: raises is {raises!r}; True or False is wanted")
    with Objective(owner, fun, params).moving() as objective:
        if rtol is not None:
            rtol = check_number(owner, "rtol", rtol)
        coarse = "float32" if objective.eps > 1e-10 else "float64"
        check = _Check(objective, RTOL[coarse] if rtol is None else rtol, atol, method)
        answer = check.run(k, np.random.default_rng(rng), progress)
    if raises and not answer.ok:
        raise GradientError(answer)
    return answer


class _Check:
    def __init__(self, objective: Objective, rtol: float, atol: float, method: str) -> None:
        self.o, self.rtol, self.atol = objective, rtol, atol
        self.f, g = objective.start()
        self.middle = self.f  # as differences compute it
        again = objective.loss()
        if again != self.f:
            raise ValueError(
                f"{objective.owner}: fun gave the losses {self.f!r} and {again!r} for the same params; a function that "
                "is not random is wanted (fix the batch, switch dropout off)"
            )
        sizes = [leaf.size for leaf in objective.leaves]
        self.grads = np.split(g, np.cumsum(sizes)[:-1])
        self.rms = [float(np.sqrt(np.mean(a * a))) if a.size else 0.0 for a in self.grads]
        self.auto = method == "auto"
        self.complex = method != "differences" and self._takes_complex(method == "complex")
        self.wide = objective.eps > 1e-10 and self._computes_wide()
        narrow = (
            0.0 if self.wide else max(objective.eps, loss_eps(self._out(objective.fun(objective.params))))
        )
        self.eps = max(2.2e-16, narrow)

    # ---- the loss, three ways ----

    @staticmethod
    def _out(out: Any) -> Any:
        return out[0] if isinstance(out, (tuple, list)) else out

    def _takes_complex(self, must: bool) -> bool:
        """Whether the loss of a complex copy is complex, and its real part the loss."""
        tree = map_tree(lambda a: a.astype(np.complex128), self.o.params)
        why = "is no complex number"
        try:
            value = self._complex_loss(tree)
            if value is not None:
                if abs(value.real - self.f) <= 1e-3 * max(abs(self.f), 1e-300) + self.o.eps:
                    return True
                why = f"is {value} where it was {self.f}"
        except Exception as error:
            if must:
                raise
            why = str(error)
        if must:
            raise ValueError(
                f"{self.o.owner}: the loss of complex params {why}; method='differences' is for such a function"
            )
        return False

    def _complex_loss(self, tree: Any) -> complex | None:
        with warnings.catch_warnings():
            # A cast that drops the imaginary part would give a derivative of zero.
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            out = self.o.fun(tree)
        value = np.asarray(self._out(out))
        return complex(value.reshape(-1)[0]) if value.size == 1 and value.dtype.kind == "c" else None

    def _computes_wide(self) -> bool:
        """Whether fun computes in double for a float64 copy of the parameters, and of that copy."""
        tree = map_tree(lambda a: a.astype(np.float64), self.o.params)
        try:
            out = self.o.fun(tree)
            if not all(np.asarray(g).dtype == np.float64 for g in flatten_tree(out[1])[0]):
                return False
            # A function that reads its own arrays gives the same for any copy.
            moved = map_tree(lambda a: a * 1.01 + 0.01, tree)
            other = self.o.fun(moved)
            here = tree_vector(self.o.owner, "grads", out[1], self.o.leaves, self.o.paths)
            there = tree_vector(self.o.owner, "grads", other[1], self.o.leaves, self.o.paths)
            first, second = read_loss(self.o.owner, out[0]), read_loss(self.o.owner, other[0])
        except Exception:
            return False
        if first == second and np.array_equal(here, there):
            return False
        # float() of a float32 loss has none of the digits that a double has at such a point.
        if max(loss_eps(out[0]), loss_eps(other[0])) > 1e-10 or (
            second and float(np.float32(second)) == second
        ):
            return False
        if not abs(first - self.f) <= 1e-3 * abs(self.f) + self.o.eps:
            return False
        self.middle = first
        return True

    def along(self, leaf: int, d: np.ndarray, *, differences: bool = False) -> tuple[float, float]:
        """Derivative of the loss along `d`, a vector over one leaf, and the bound of its error."""
        if self.complex and not differences:
            tree, target = self._copy(np.complex128, leaf)
            target += 1j * TINY * d.reshape(target.shape)
            value = self._complex_loss(tree)
            if value is None or not math.isfinite(value.imag):
                raise ValueError(
                    f"{self.o.owner}: the loss of complex params is {value}; a finite number is wanted"
                )
            return value.imag / TINY, 0.0
        return self._differences(leaf, d)

    def _copy(self, dtype: Any, leaf: int) -> tuple[Any, np.ndarray]:
        """A copy of the tree in another dtype, and its leaf of that number."""
        self.o.restore()
        tree = map_tree(lambda a: a.astype(dtype), self.o.params)
        return tree, flatten_tree(tree)[0][leaf]

    def _differences(self, leaf: int, d: np.ndarray) -> tuple[float, float]:
        """NaN and inf where no two steps in a row give finite values."""
        size = float(np.abs(self.o.held[leaf].ravel()[d != 0]).max(initial=0.0))
        least = 4 * size * (2.2e-16 if self.wide else float(np.finfo(self.o.leaves[leaf].dtype).eps))
        h = self.eps**0.2 * max(size, 0.1)
        best = last = (math.nan, math.inf)
        same = 0
        for _ in range(STEPS):
            value, error, rounding = self._extrapolated(leaf, d, h)
            if value == 0.0 and math.isfinite(last[0]) and last[0] != 0.0:
                break  # the loss no longer sees the step
            if math.isfinite(last[1]):
                # No estimate counts alone: a step can span periods and look smooth.
                gap = abs(value - last[0])
                first, bound = (last, gap) if last[1] <= error else ((value, error), gap)
                bound = max(bound, first[1])
                if bound < best[1]:
                    best = (first[0], bound)
                elif best[1] <= 1e-5 * abs(best[0]):
                    break  # it had converged, and this is noise; agreement by luck comes if one goes on
                same = same + 1 if gap + abs(error - last[1]) < 0.01 * error else 0
                if rounding >= best[1] or same == 3 or best[1] <= 1e-2 * self.rtol * abs(best[0]):
                    break  # nothing to gain; a kink right here; good enough
            last = (value, error) if math.isfinite(value) else (math.nan, math.inf)
            h /= SHRINK
            if h < least:
                break
        return best

    def _extrapolated(self, leaf: int, d: np.ndarray, h: float) -> tuple[float, float, float]:
        """Derivative from the steps h and h/2, its error, and what of that is rounding."""
        wide, bent_wide, rough_wide = self._quotient(leaf, d, h)
        half, bent, rough = self._quotient(leaf, d, h / 2)
        rounding = 2 * max(rough, rough_wide)
        error = abs(half - wide) / 3 + rounding
        if bent > 0.75 * bent_wide:  # of a smooth loss it would be half: there is a kink
            error += bent
        return (4 * half - wide) / 3, error, rounding

    def _moved(self, leaf: int, d: np.ndarray, h: float) -> float:
        """The loss at a step; NaN where it has none."""
        try:
            with np.errstate(all="ignore"):
                if not self.wide:
                    shift = np.zeros(self.o.n)
                    start = sum(a.size for a in self.o.leaves[:leaf])
                    shift[start : start + d.size] = h * d
                    return self.o.loss(shift)
                tree, target = self._copy(np.float64, leaf)
                target += h * d.reshape(target.shape)
                return read_loss(self.o.owner, self._out(self.o.fun(tree)))
        except (ArithmeticError, ValueError):  # math.log of a negative number, a matrix that is not definite
            return math.nan

    def _quotient(self, leaf: int, d: np.ndarray, h: float) -> tuple[float, float, float]:
        """Central difference; half of what both one-sided ones differ by; what rounding of the loss makes of both."""
        values = [self._moved(leaf, d, h), self._moved(leaf, d, -h)]
        if not (math.isfinite(values[0]) and math.isfinite(values[1])):
            return math.nan, math.nan, math.inf
        # Parameters are rounded too: what a lone element really moved by is known.
        span = 2 * h
        if not self.wide and np.count_nonzero(d) == 1:
            place = int(np.flatnonzero(d)[0])
            held = self.o.held[leaf].ravel()[place]
            kind = self.o.leaves[leaf].dtype.type
            span = (float(kind(float(held) + h * d[place])) - float(kind(float(held) - h * d[place]))) / d[
                place
            ]
        blur = 0.0
        if not self.wide and np.count_nonzero(d) > 1:
            x = self.o.held[leaf].ravel().astype(np.float64)
            blur = (
                float(np.finfo(self.o.leaves[leaf].dtype).eps * np.linalg.norm(self.grads[leaf] * x * d)) / 2
            )
        size = max(abs(values[0]), abs(values[1]))
        bent = abs(values[0] - 2 * self.middle + values[1]) / (2 * h)
        return (values[0] - values[1]) / span, bent, (self.eps * size + blur / 2) / h

    # ---- what is compared ----

    def ratio(
        self, leaf: int, d: np.ndarray, *, differences: bool = False, confirm: bool = True
    ) -> tuple[float, float, float, float]:
        """Difference over what is allowed; gradient and derivative along `d`; error of the latter."""
        g = self.grads[leaf]
        analytic = float(g @ d)
        numeric, error = self.along(leaf, d, differences=differences)
        count = np.count_nonzero(d)
        usual = max(abs(analytic), abs(numeric), self.rms[leaf] * math.sqrt(count))
        allowed = self.rtol * usual + self.atol * math.sqrt(count) + 3 * error
        gap = abs(analytic - numeric)
        if math.isnan(gap):  # no finite difference: nothing is known
            return math.nan, analytic, numeric, error
        ratio = gap / allowed if allowed > 0 else (math.inf if gap > 0 else 0.0)
        if confirm and ratio > 1 and self.auto and self.complex and not differences:
            again = self.ratio(leaf, d, differences=True)
            return again if again[0] <= 1 else (ratio, analytic, numeric, error)
        return ratio, analytic, numeric, error

    def run(self, k: int, rng: np.random.Generator, progress: Progress) -> GradientCheck:
        worst: tuple[float, int, int, float, float, float] | None = None
        pairs: list[tuple[float, float]] = []
        told: dict[str, tuple[int, float]] = {}
        unknown: list[tuple[str, tuple[int, ...]]] = []
        leaves = [i for i, a in enumerate(self.grads) if a.size]
        with reporting(progress, "gradients", len(leaves)) as tell:
            for done, i in enumerate(leaves, 1):
                places = self._sample(i, k, rng)
                rows = [(*self.ratio(i, np.eye(1, self.grads[i].size, j)[0]), j) for j in places]
                shape = self.o.leaves[i].shape
                unknown += [(self.o.paths[i], _place(r[-1], shape)) for r in rows if math.isnan(r[0])]
                rows = [r for r in rows if not math.isnan(r[0])]
                if self.grads[i].size > len(places) and max((r[0] for r in rows), default=0.0) <= 1:
                    found, known = self._hunt(i, rng)
                    rows += found
                    unknown += [] if known else [(self.o.paths[i], ())]
                for ratio, analytic, numeric, error, j in rows:
                    pairs.append((analytic, numeric))
                    if worst is None or ratio > worst[0]:
                        worst = (ratio, i, j, analytic, numeric, error)
                told[self.o.paths[i]] = (len(rows), max((r[0] for r in rows), default=math.nan))
                tell(done, worst=worst[0] if worst else 0.0)
        if worst is None:  # nothing is known of any
            worst = (math.nan, leaves[0], 0, float(self.grads[leaves[0]][0]), math.nan, math.inf)
        ratio, i, j, analytic, numeric, error = worst
        index = _place(j, self.o.leaves[i].shape)
        path, ok = self.o.paths[i], bool(ratio <= 1)
        how = "complex step" if self.complex else f"differences, error {number(error)}"
        name = _name(path, index)
        if ok:
            share = number(ratio)
            verdict = (
                f"Gradients are right: {len(pairs)} elements, the worst, {name}, at {share} of the tolerance."
            )
        elif math.isnan(ratio):
            verdict = "No gradient could be checked."
        else:
            verdict = f"Wrong gradient: {name} is {analytic:.6g} and the derivative of the loss {numeric:.6g} ({how})."
        if unknown:
            name = _name(*unknown[0])
            verdict += (
                f" Nothing is known of {len(unknown)}, the first {name}: the loss is not finite around it."
            )
        return GradientCheck(
            question="gradients", source="8.2", trouble=not ok, number=float(ratio), verdict=verdict, ok=ok, path=path,
            index=index, analytic=analytic, numeric=numeric, error=error,
            method="complex" if self.complex else "differences",
            precision="float64" if self.complex or self.eps < 1e-10 else "float32", checked=len(pairs), leaves=told,
            pairs=np.array(pairs).reshape(-1, 2), unknown=unknown,
        )  # fmt: skip

    def _sample(self, leaf: int, k: int, rng: np.random.Generator) -> list[int]:
        g = self.grads[leaf]
        if g.size <= k:
            return list(range(g.size))
        top = int(np.abs(g).argmax())
        return list(dict.fromkeys([top, *rng.choice(g.size, k, replace=False).tolist()]))[:k]

    def _hunt(
        self, leaf: int, rng: np.random.Generator
    ) -> tuple[list[tuple[float, float, float, float, int]], bool]:
        """The element at fault, if the whole leaf along random signs has one: halve the leaf until it stands alone.

        And whether anything is known along those.
        """
        signs = rng.choice([-1.0, 1.0], self.grads[leaf].size)
        whole = self.ratio(leaf, signs)[0]
        if not whole > 1:
            return [], not math.isnan(whole)
        low, high = 0, signs.size
        while high - low > 1:
            middle = (low + high) // 2
            halves = []
            for a, b in ((low, middle), (middle, high)):
                part = np.zeros_like(signs)
                part[a:b] = signs[a:b]
                ratio = self.ratio(leaf, part, confirm=False)[0]
                halves.append((-1.0 if math.isnan(ratio) else ratio, a, b))
            _, low, high = max(halves)
        found = (*self.ratio(leaf, np.eye(1, signs.size, low)[0]), low)
        return ([], False) if math.isnan(found[0]) else ([found], True)


def _place(flat: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(v) for v in np.unravel_index(flat, shape))


def _name(path: str, index: tuple[int, ...]) -> str:
    where = "".join(f"[{', '.join(map(str, index))}]" if index else "")
    return f"grads{_at(path)}{where}"
