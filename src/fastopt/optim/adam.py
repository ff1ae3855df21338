"""Adam and its relatives: AdamW, AMSGrad (a flag of both), Adamax, NAdam, RAdam."""

from __future__ import annotations

import math
from typing import Any, Unpack

from fastopt.optim.base import Optimizer
from fastopt.optim.fields import REQUIRED, Common, Scalar

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]

_ADAM = {
    "lr": 1e-3,
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "eps_root": 0.0,
    "eps_hat": False,
    "amsgrad": False,
    "amsgrad_corrected": False,
}


class Adam(Optimizer):
    """Adam (book algorithm 8.7), and AMSGrad.

    .. code-block:: text

        m <- beta1 m + (1 - beta1) g,    m^ = m / (1 - beta1^t)
        v <- beta2 v + (1 - beta2) g^2,  v^ = v / (1 - beta2^t)
        p <- p - lr m^ / (sqrt(v^ + eps_root) + eps)
        eps_hat             p <- p - lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v + eps_root) + eps)
        amsgrad             w <- max(w, v) in place of v, corrected afterwards
        amsgrad_corrected   w <- max(w, v^) in place of v^

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float or function of the step
        At least 0. Default 1e-3; optax has none.
    betas : pair of float or function, default (0.9, 0.999)
        Each at least 0 and below 1.
    eps : float or function
        At least 0. Default 1e-8, keras 1e-7.
    eps_root : float or function, default 0
        Epsilon under the root (optax's name).
    eps_hat : bool
        Whether eps is added before the bias correction (the paper's epsilon-hat). Default: keras True, the
        others False.
    amsgrad : bool, default False
    amsgrad_corrected : bool
        Whether AMSGrad's maximum is over corrected values. Default: optax True, the others False.
    convention : {"torch", "book", "keras", "optax"}
        Fills the fields that are not given.
    **common
        See `Optimizer`.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, algorithm 8.7. Kingma, Ba, Adam, 2015. Reddi, Kale, Kumar 2018.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = {"a": np.array([1.0, -2.0])}
    >>> opt = fo.Adam(w, lr=0.1)
    >>> _ = opt.step({"a": np.array([3.0, -0.5])})
    >>> w["a"].round(6)
    array([ 0.9, -1.9])
    """

    structure = ("eps_hat", "amsgrad", "amsgrad_corrected")
    conventions = {
        "torch": _ADAM,
        "book": {},
        "keras": {"eps": 1e-7, "eps_hat": True},
        "optax": {"lr": REQUIRED, "amsgrad_corrected": True},
    }

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        betas: tuple[Scalar, Scalar] | None = None,
        eps: Scalar | None = None,
        eps_root: Scalar | None = None,
        eps_hat: bool | None = None,
        amsgrad: bool | None = None,
        amsgrad_corrected: bool | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        given = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "eps_root": eps_root,
            "eps_hat": eps_hat,
            "amsgrad": amsgrad,
            "amsgrad_corrected": amsgrad_corrected,
        }
        super().__init__(params, given, convention, common)

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        return "amsgrad" if settings[0]["amsgrad"] else "adam"


class AdamW(Adam):
    """Adam with decoupled weight decay: ``p <- p (1 - lr weight_decay)`` before `Adam`'s step.

    Fields are `Adam`'s; ``weight_decay`` is 1e-2 by default (keras 4e-3, optax 1e-4). The book has no such rule.

    References
    ----------
    Loshchilov, Hutter, Decoupled Weight Decay Regularization, 2019.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = np.ones(3, np.float32)
    >>> opt = fo.AdamW(w, lr=0.1, weight_decay=0.5, clip_norm=1.0)
    >>> opt.step(np.array([3, 0, 4], np.float32)).clip_factor
    0.19999996...
    """

    conventions = {
        "torch": {**_ADAM, "weight_decay": 1e-2, "decoupled_weight_decay": True},
        "keras": {"eps": 1e-7, "eps_hat": True, "weight_decay": 4e-3},
        "optax": {"lr": REQUIRED, "amsgrad_corrected": True, "weight_decay": 1e-4},
    }


class Adamax(Optimizer):
    """Adamax: Adam with the infinity norm.

    .. code-block:: text

        m <- beta1 m + (1 - beta1) g
        u <- max(beta2 u, |g| + eps),  p <- p - lr / (1 - beta1^t) m / u              eps_inside
        u <- max(beta2 u, |g|),        p <- p - lr / (1 - beta1^t) m / (u + eps)      else

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float or function of the step
        At least 0. Default: torch 2e-3, keras 1e-3; optax has none.
    betas : pair of float or function, default (0.9, 0.999)
        Each at least 0 and below 1.
    eps : float or function
        At least 0. Default 1e-8, keras 1e-7.
    eps_inside : bool
        Default: torch and optax True, keras False.
    convention : {"torch", "keras", "optax"}
        Fills the fields that are not given.
    **common
        See `Optimizer`.

    References
    ----------
    Kingma, Ba, Adam, 2015, section 7.1.
    """

    structure = ("eps_inside",)
    conventions = {
        "torch": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "eps_inside": True},
        "keras": {"lr": 1e-3, "eps": 1e-7, "eps_inside": False},
        "optax": {"lr": REQUIRED},
    }

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        betas: tuple[Scalar, Scalar] | None = None,
        eps: Scalar | None = None,
        eps_inside: bool | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        given = {"lr": lr, "betas": betas, "eps": eps, "eps_inside": eps_inside}
        super().__init__(params, given, convention, common)

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        return "adamax"


class NAdam(Optimizer):
    """NAdam: Adam with Nesterov's momentum and a momentum schedule.

    .. code-block:: text

        mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2),   P_t = mu_1 ... mu_t
        m <- beta1 m + (1 - beta1) g,   v <- beta2 v + (1 - beta2) g^2
        p <- p - lr [(1 - mu_t) / (1 - P_t) g + mu_(t+1) / (1 - P_(t+1)) m] / (sqrt(v / (1 - beta2^t)) + eps)

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float or function of the step
        At least 0. Default: torch 2e-3, keras 1e-3; optax has none.
    betas : pair of float or function, default (0.9, 0.999)
        Each at least 0 and below 1.
    eps : float or function
        At least 0. Default 1e-8, keras 1e-7.
    momentum_decay : float or function
        At least 0; infinity keeps ``mu_t = beta1``. Default: torch 4e-3, keras 1, optax infinity.
    convention : {"torch", "keras", "optax"}
        Fills the fields that are not given.
    **common
        See `Optimizer`.

    References
    ----------
    Dozat, Incorporating Nesterov Momentum into Adam, 2016.
    """

    conventions = {
        "torch": {"lr": 2e-3, "betas": (0.9, 0.999), "eps": 1e-8, "momentum_decay": 4e-3},
        "keras": {"lr": 1e-3, "eps": 1e-7, "momentum_decay": 1.0},
        "optax": {"lr": REQUIRED, "momentum_decay": math.inf},
    }

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        betas: tuple[Scalar, Scalar] | None = None,
        eps: Scalar | None = None,
        momentum_decay: Scalar | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        given = {"lr": lr, "betas": betas, "eps": eps, "momentum_decay": momentum_decay}
        super().__init__(params, given, convention, common)

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        return "nadam"


class RAdam(Optimizer):
    """RAdam: Adam whose rate is rectified while the variance of the second moment is large.

    .. code-block:: text

        r_inf = 2 / (1 - beta2) - 1,   r = r_inf - 2 t beta2^t / (1 - beta2^t)
        r <= 5   p <- p - lr m^
        r > 5    p <- p - lr R m^ / (sqrt(v^) + eps),   R = sqrt((r-4)(r-2) r_inf / ((r_inf-4)(r_inf-2) r))
        eps_hat  sqrt(1 - beta2^t) / (sqrt(v) + eps) in place of 1 / (sqrt(v^) + eps)

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float or function of the step
        At least 0. Default: torch 1e-3; optax has none.
    betas : pair of float or function, default (0.9, 0.999)
        Each at least 0 and below 1.
    eps : float or function, default 1e-8
        At least 0.
    eps_hat : bool
        Default: torch True, optax False.
    convention : {"torch", "optax"}
        Fills the fields that are not given.
    **common
        See `Optimizer`.

    References
    ----------
    Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2020.
    """

    structure = ("eps_hat",)
    conventions = {
        "torch": {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "eps_hat": True},
        "optax": {"lr": REQUIRED, "eps_hat": False},
    }

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        betas: tuple[Scalar, Scalar] | None = None,
        eps: Scalar | None = None,
        eps_hat: bool | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "eps_hat": eps_hat}, convention, common
        )

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        return "radam"
