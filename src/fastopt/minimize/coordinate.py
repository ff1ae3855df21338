"""Lasso and elastic net by coordinate descent: checks of what came, the scales of the penalty, the path.
The descent is in csrc.

Sources: Deep Learning, section 8.7.2; Friedman, Hastie, Tibshirani, J. Stat. Software 33(1), 2010 (the
coordinate step, warm
starts); Fercoq, Gramfort, Salmon, ICML 2015 (screening by the gap); Massias, Gramfort, Salmon, ICML 2018
(working sets).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from fastopt._checks import check_choice, check_integer, check_number
from fastopt.minimize.blocks import Block, BlockCoordinate
from fastopt.minimize.design import Design

__all__ = ["Block", "BlockCoordinate", "lasso", "lasso_path"]

#: By the status that csrc gives.
MESSAGES = (
    "The duality gap is at most tol times the squared norm of y.",
    "The limit of sweeps (max_iter) was reached before the duality gap was small enough.",
    "No step changes the residual any more: the duality gap is what rounding allows, and larger than tol asks for.",
    "Numbers left the range of the dtype; scale X or y.",
)


class _Run:
    """The arguments that lasso and lasso_path share, checked."""

    def __init__(
        self,
        owner: str,
        l1_ratio: float,
        positive: bool,
        tol: float,
        max_iter: int,
        selection: str,
        rng: Any,
        screening: bool,
    ) -> None:
        self.owner = owner
        self.l1_ratio = check_number(owner, "l1_ratio", l1_ratio, 0.0, 1.0)
        self.tol = check_number(owner, "tol", tol, 0.0)
        self.max_iter = check_integer(owner, "max_iter", max_iter, 1)
        self.positive, self.screening = bool(positive), bool(screening)
        random = check_choice(owner, "selection", selection, ("cyclic", "random")) == "random"
        self.bits: Any = np.random.default_rng(rng).bit_generator if random else None

    def solve(self, design: Design, alpha: float) -> tuple[int, np.ndarray]:
        """Status and coefficients for one penalty, from where the design's descent stands."""
        penalty = alpha * design.n
        status = design.descent.run(
            penalty * self.l1_ratio,
            penalty * (1.0 - self.l1_ratio),
            self.tol * design.yy,
            self.max_iter,
            self.positive,
            self.screening,
            self.bits,
        )
        return status, design.descent.w.astype(design.dtype)


def lasso(
    X: Any,
    y: Any,
    alpha: float,
    *,
    l1_ratio: float = 1.0,
    fit_intercept: bool = False,
    sample_weight: Any = None,
    positive: bool = False,
    x0: Any = None,
    tol: float = 1e-4,
    max_iter: int = 10_000,
    selection: str = "cyclic",
    rng: Any = None,
    screening: bool = True,
) -> OptimizeResult:
    r"""Least squares with an L1 penalty (lasso), or L1 and L2 (elastic net), by coordinate descent.

    .. math:: \min_{w, c}\; \frac{1}{2n} \|y - Xw - c\|_2^2 + \alpha\rho \|w\|_1
              + \frac{\alpha(1-\rho)}{2} \|w\|_2^2, \qquad \rho = \mathtt{l1\_ratio}

    One coordinate at a time is set to its exact minimum, all others held (Deep Learning, section 8.7.2):
    with :math:`r = y - Xw` and :math:`S(u, a) = \operatorname{sign}(u) \max(|u| - a, 0)`,

    .. math:: w_j \leftarrow S(x_j^\top r + \|x_j\|^2 w_j,\; n\alpha\rho) \,/\, (\|x_j\|^2 + n\alpha(1-\rho)).

    Parameters
    ----------
    X : array or SciPy sparse matrix, shape (n, p)
        float32 and float64 are used as they are, other real dtypes as float64. A dense X whose columns are packed
        (Fortran order, or every k-th column of it) is not copied, any other is, once; sparse formats
        other than CSC are
        converted. With ``fit_intercept`` or ``sample_weight`` a dense X is copied, of a sparse one at
        most the stored elements.
    y : array, shape (n,) or (n, k)
        Targets. Each of k columns is a problem of its own; X is prepared once.
    alpha : float > 0
        Weight of the penalty.
    l1_ratio : float in [0, 1], default 1
        1: lasso, 0: ridge.
    fit_intercept : bool, default False
        Also fit the constant c, which is not penalised. A sparse X stays sparse.
    sample_weight : array, shape (n,), optional
        :math:`s_i \ge 0`: the first term becomes
        :math:`\sum_i s_i (y_i - x_i w - c)^2 / (2 \sum_i s_i)`.
    positive : bool, default False
        Only :math:`w \ge 0`.
    x0 : array, shape (p,) or (p, k), optional
        Where to start; zeros if not given. It is not changed.
    tol : float >= 0, default 1e-4
        Stop when the duality gap, in the scale of the sums (n times that of ``fun``), is at most ``tol``
        times the squared norm
        of y (less its mean, and weighted, where these are asked for). scikit-learn's criterion.
    max_iter : int, default 10000
        Limit of sweeps. A sweep goes over the working set, not over all columns.
    selection : {"cyclic", "random"}, default "cyclic"
        Order of the columns within a sweep.
    rng : optional
        For ``selection="random"``: what :func:`numpy.random.default_rng` takes.
    screening : bool, default True
        Leave out columns that the gap proves to be zero at the optimum. Changes time, not the solution.

    Returns
    -------
    OptimizeResult
        ``x`` and ``coef`` (the same array, dtype of X, shape (p,) or (p, k)), ``intercept``, ``fun``,
        ``dual_gap`` (in the scale of
        ``fun``: it is at most so far above the minimum), ``nit`` (sweeps), ``success``, ``status``,
        ``message``. With k targets,
        ``intercept``, ``fun``, ``dual_gap`` and ``nit`` are arrays and ``status`` is the largest.

    Raises
    ------
    TypeError, ValueError
        Arguments of the wrong kind, shape or range, or numbers that are not finite. Nothing was computed.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt.minimize.coordinate import lasso
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> lasso(X, X @ [2.0, 0.0], alpha=0.1).coef.round(2)
    array([1.85, 0.  ])
    """
    run = _Run("lasso", l1_ratio, positive, tol, max_iter, selection, rng, screening)
    alpha = check_number("lasso", "alpha", alpha, above=True)
    design = Design("lasso", X, y, fit_intercept, sample_weight)
    starts = design.starts(x0, run.positive)
    found: list[tuple[int, np.ndarray, float, float, int]] = []
    for k in range(design.targets):
        design.target(k)
        design.descent.start(starts[:, k] if starts is not None else 0.0)
        status, w = run.solve(design, alpha)
        d = design.descent
        found.append((status, w, d.primal / max(design.n, 1), max(d.gap, 0.0) / max(design.n, 1), d.sweeps))
    several = design.several
    coef = np.empty((design.p, len(found)), design.dtype, order="F")
    for k, item in enumerate(found):
        coef[:, k] = item[1]
    fun, gap, nit = (np.array([item[i] for item in found]) for i in (2, 3, 4))
    intercept = design.intercepts(coef)
    status = max((item[0] for item in found), default=0)
    x = coef if several else coef[:, 0]
    return OptimizeResult(
        x=x,
        coef=x,
        intercept=intercept if several else float(intercept[0]),
        fun=fun if several else float(fun[0]),
        dual_gap=gap if several else float(gap[0]),
        nit=nit if several else int(nit[0]),
        success=status == 0,
        status=status,
        message=MESSAGES[status],
    )


def lasso_path(
    X: Any,
    y: Any,
    alphas: Iterable[float] | None = None,
    *,
    n_alphas: int = 100,
    eps: float = 1e-3,
    l1_ratio: float = 1.0,
    fit_intercept: bool = False,
    sample_weight: Any = None,
    positive: bool = False,
    tol: float = 1e-4,
    max_iter: int = 10_000,
    selection: str = "cyclic",
    rng: Any = None,
    screening: bool = True,
) -> OptimizeResult:
    r"""The solutions of :func:`lasso` for many penalties, each started from the one before.

    Parameters
    ----------
    X, y
        As for :func:`lasso`; y has one dimension.
    alphas : sequence of float > 0, optional
        Penalties; they are solved, and given back, from the largest to the smallest.
    n_alphas : int, default 100
        Without ``alphas``: so many in a geometric row from :math:`\alpha_{\max} = \max_j |x_j^\top y| /
        (n \rho)`, the
        smallest for which all coefficients are zero (1 if there is no correlation at all), to ``eps`` times it.
    eps : float in (0, 1), default 1e-3
        Smallest penalty of that row over the largest.
    l1_ratio, fit_intercept, sample_weight, positive, tol, max_iter, selection, rng, screening
        As for :func:`lasso`; ``max_iter`` counts for each penalty by itself. The row needs ``l1_ratio > 0``.

    Returns
    -------
    OptimizeResult
        ``alphas`` (m,), ``coefs`` and ``x`` (the same array, (p, m), dtype of X), ``intercepts``,
        ``fun``, ``dual_gap`` and ``nit``, all (m,);
        ``success``, ``status`` (the largest of all) and ``message``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastopt.minimize.coordinate import lasso_path
    >>> X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    >>> path = lasso_path(X, X @ [2.0, 0.0], n_alphas=3)
    >>> path.alphas.round(4), np.count_nonzero(path.coefs, axis=0)
    (array([1.3333, 0.0422, 0.0013]), array([0, 1, 1]))
    """
    run = _Run("lasso_path", l1_ratio, positive, tol, max_iter, selection, rng, screening)
    design = Design("lasso_path", X, y, fit_intercept, sample_weight)
    if design.several:
        raise ValueError(f"lasso_path: y has shape {np.shape(y)}; one dimension is wanted")
    design.target(0)
    if alphas is None:
        penalties = _row(run, design, n_alphas, eps)
    else:
        wanted = [check_number("lasso_path", f"alphas[{i}]", a, above=True) for i, a in enumerate(alphas)]
        penalties = np.sort(np.array(wanted, float))[::-1]
    m = len(penalties)
    coefs = np.empty((design.p, m), design.dtype, order="F")
    fun, gap, nit, worst = np.empty(m), np.empty(m), np.empty(m, np.int64), 0
    for i, alpha in enumerate(penalties):
        status, coefs[:, i] = run.solve(design, float(alpha))
        d = design.descent
        fun[i], gap[i], nit[i] = d.primal / max(design.n, 1), max(d.gap, 0.0) / max(design.n, 1), d.sweeps
        worst = max(worst, status)
    return OptimizeResult(
        x=coefs,
        coefs=coefs,
        alphas=penalties,
        intercepts=design.intercepts(coefs),
        fun=fun,
        dual_gap=gap,
        nit=nit,
        success=worst == 0,
        status=worst,
        message=MESSAGES[worst],
    )


def _row(run: _Run, design: Design, n_alphas: Any, eps: Any) -> np.ndarray:
    """The geometric row of penalties, from the correlations with y."""
    count = check_integer("lasso_path", "n_alphas", n_alphas, 1)
    eps = check_number("lasso_path", "eps", eps, 0.0, 1.0, above=True, below=True)
    if run.l1_ratio == 0:
        raise ValueError("lasso_path: with l1_ratio = 0 no alpha gives all zeros; alphas are wanted")
    # Any gap will do: this only fills X'y.
    design.descent.run(1.0, 0.0, np.inf, 1, run.positive, False)
    q = design.descent.q
    most = float((q if run.positive else np.abs(q)).max(initial=0.0)) / (max(design.n, 1) * run.l1_ratio)
    return (most if most > 0 else 1.0) * eps ** (np.arange(count) / max(count - 1, 1))
