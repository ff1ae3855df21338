"""RMSProp: a rate from the running mean of squares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt.optim.base import Optimizer
from fastopt.optim.fields import REQUIRED, Common, Scalar
from fastopt.optim.sgd import velocity_factor

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """RMSProp (book algorithms 8.5 and 8.6).

    .. code-block:: text

        v <- alpha v + (1 - alpha) g^2
        centered      m <- alpha m + (1 - alpha) g,   v - m^2 (never below 0) in place of v
        d  = sqrt(v) + eps,   eps_inside: sqrt(v + eps)
        momentum = 0  p <- p - lr g / d
        momentum      b <- momentum b + g / d,          p <- p - lr b
        lr_in_buffer  b <- momentum b - lr g / d,       p <- p + b

    Algorithm 8.6, with Nesterov's momentum, is ``convention="book"`` with momentum and the gradient taken
    inside `lookahead`.

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float or function of the step
        At least 0. Default: torch 1e-2, keras 1e-3; book and optax have none.
    alpha : float or function
        Decay of the mean of squares (the book's and Keras's rho), from 0 to 1. Default: torch 0.99, the others 0.9.
    eps : float or function
        At least 0. Default: torch and optax 1e-8, book 1e-6, keras 1e-7.
    eps_inside : bool
        Whether eps stands under the root. Default: torch False, the others True.
    momentum : float or function, default 0
        From 0 to 1.
    centered : bool, default False
    lr_in_buffer : bool
        Whether the momentum buffer holds the velocity, learning rate included. Default: torch False, the others True.
    convention : {"torch", "book", "keras", "optax"}
        Fills the fields that are not given.
    **common
        See `Optimizer`.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, algorithms 8.5, 8.6. Hinton, lecture 6e, 2012. Centred: Graves 2013.
    """

    structure = ("eps_inside", "centered", "lr_in_buffer")
    conventions = {
        "torch": {
            "lr": 1e-2,
            "alpha": 0.99,
            "eps": 1e-8,
            "eps_inside": False,
            "momentum": 0.0,
            "centered": False,
            "lr_in_buffer": False,
        },
        "book": {"lr": REQUIRED, "alpha": 0.9, "eps": 1e-6, "eps_inside": True, "lr_in_buffer": True},
        "keras": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "eps_inside": True, "lr_in_buffer": True},
        "optax": {"lr": REQUIRED, "alpha": 0.9, "eps": 1e-8, "eps_inside": True, "lr_in_buffer": True},
    }

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        alpha: Scalar | None = None,
        eps: Scalar | None = None,
        eps_inside: bool | None = None,
        momentum: Scalar | None = None,
        centered: bool | None = None,
        lr_in_buffer: bool | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        given = {
            "lr": lr,
            "alpha": alpha,
            "eps": eps,
            "eps_inside": eps_inside,
            "momentum": momentum,
            "centered": centered,
            "lr_in_buffer": lr_in_buffer,
        }
        super().__init__(params, given, convention, common)

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        centered = "_centered" if settings[0]["centered"] else ""
        momentum = "_momentum" if any(s["momentum"] != 0 for s in settings) else ""
        return f"rmsprop{centered}{momentum}"

    def lookahead_factor(self, scalars: Mapping[str, float]) -> tuple[str, float]:
        if "b" not in self.state_names:
            return super().lookahead_factor(scalars)
        return "b", velocity_factor(scalars)
