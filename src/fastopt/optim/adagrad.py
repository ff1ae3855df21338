"""Rates from accumulated squares: AdaGrad and Adadelta."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt.optim.base import Optimizer
from fastopt.optim.fields import REQUIRED, Common, Scalar

__all__ = ["Adadelta", "Adagrad"]


class Adagrad(Optimizer):
    """AdaGrad (book algorithm 8.4).

    .. code-block:: text

        s <- s + g^2                         (s starts at initial_accumulator_value)
        p <- p - lr_t g / (sqrt(s) + eps),   eps_inside: sqrt(s + eps)
        lr_t = lr / (1 + (t - 1) lr_decay)

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float or function of the step
        Learning rate, at least 0. Default: torch 1e-2, keras 1e-3; book and optax have none.
    lr_decay : float or function, default 0
        At least 0.
    initial_accumulator_value : float
        At least 0. Default: torch and book 0, keras and optax 0.1.
    eps : float or function
        At least 0. Default: torch 1e-10, the others 1e-7.
    eps_inside : bool
        Whether eps stands under the root. Default: torch and book False, keras and optax True.
    convention : {"torch", "book", "keras", "optax"}
        Fills the fields that are not given.
    **common
        See `Optimizer`.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, algorithm 8.4. Duchi, Hazan, Singer 2011.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = np.array([1.0, -2.0])
    >>> _ = fo.Adagrad(w, lr=0.5).step(2 * w)
    >>> w
    array([ 0.5, -1.5])
    """

    structure = ("eps_inside",)
    conventions = {
        "torch": {
            "lr": 1e-2,
            "lr_decay": 0.0,
            "initial_accumulator_value": 0.0,
            "eps": 1e-10,
            "eps_inside": False,
        },
        "book": {"lr": REQUIRED, "eps": 1e-7},
        "keras": {"lr": 1e-3, "initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside": True},
        "optax": {"lr": REQUIRED, "initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside": True},
    }

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        lr_decay: Scalar | None = None,
        initial_accumulator_value: float | None = None,
        eps: Scalar | None = None,
        eps_inside: bool | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        given = {
            "lr": lr,
            "lr_decay": lr_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
            "eps_inside": eps_inside,
        }
        super().__init__(params, given, convention, common)

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        return "adagrad"

    def initial_state(self, scalars: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"s": scalars["initial_accumulator_value"]}


class Adadelta(Optimizer):
    """Adadelta.

    .. code-block:: text

        s <- rho s + (1 - rho) g^2
        u  = sqrt(a + eps) / sqrt(s + eps) g
        a <- rho a + (1 - rho) u^2
        p <- p - lr u

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float or function of the step
        At least 0. Default: torch 1, keras 1e-3; optax has none.
    rho : float or function
        From 0 to 1. Default: 0.9, keras 0.95.
    eps : float or function
        At least 0. Default: 1e-6, keras 1e-7.
    convention : {"torch", "keras", "optax"}
        Fills the fields that are not given.
    **common
        See `Optimizer`.

    References
    ----------
    Zeiler, ADADELTA, 2012. Named in the book, 8.5.4.
    """

    conventions = {
        "torch": {"lr": 1.0, "rho": 0.9, "eps": 1e-6},
        "keras": {"lr": 1e-3, "rho": 0.95, "eps": 1e-7},
        "optax": {"lr": REQUIRED},
    }

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        rho: Scalar | None = None,
        eps: Scalar | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps}, convention, common)

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        return "adadelta"
