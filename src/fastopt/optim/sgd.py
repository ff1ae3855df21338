"""Stochastic gradient descent, with momentum and with Nesterov's momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt.optim.base import Optimizer
from fastopt.optim.fields import REQUIRED, Common, Scalar

__all__ = ["SGD", "velocity_factor"]


def velocity_factor(scalars: Mapping[str, float]) -> float:
    """What the buffer is multiplied by to reach the look-ahead point theta + alpha v."""
    return scalars["momentum"] * (1.0 if scalars["lr_in_buffer"] else -scalars["lr"])


class SGD(Optimizer):
    """Stochastic gradient descent (book 8.1 to 8.3).

    .. code-block:: text

        momentum = 0      p <- p - lr g
        momentum          b <- momentum b + (1 - dampening) g        (b = g at the first step)
                          p <- p - lr b
        nesterov          p <- p - lr (g + momentum b)
        lr_in_buffer      v <- momentum v - lr g                      (the book's velocity)
                          p <- p + v,   nesterov: p <- p + momentum v - lr g

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float or function of the step
        Learning rate, at least 0. Default: torch 1e-3, keras 1e-2; book and optax have none. The book's
        schedule of algorithm 8.1 is ``fo.schedules.linear``.
    momentum : float or function, default 0
        From 0 to 1.
    dampening : float or function, default 0
    nesterov : bool, default False
        Sutskever's form, with the gradient at the parameters themselves. For the book's algorithm 8.3, with
        the gradient at the look-ahead point, leave it False and use `lookahead`.
    lr_in_buffer : bool
        Whether the buffer holds the velocity, learning rate included (book, keras), or gradients (torch,
        optax); they differ when ``lr`` changes. Default: as the convention.
    convention : {"torch", "book", "keras", "optax"}
        Fills the fields that are not given.
    **common
        `weight_decay`, `groups`, `clip_norm`, `average`, ...: see `Optimizer`.

    References
    ----------
    Goodfellow, Bengio, Courville, Deep Learning, algorithms 8.1, 8.2, 8.3. Polyak 1964. Sutskever, Martens,
    Dahl, Hinton 2013.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> w = np.array([1.0, -2.0])
    >>> opt = fo.SGD(w, lr=0.1, momentum=0.9)
    >>> opt.step(2 * w).step
    1
    >>> w
    array([ 0.8, -1.6])
    """

    structure = ("nesterov", "lr_in_buffer")
    conventions = {
        "torch": {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "nesterov": False, "lr_in_buffer": False},
        "book": {"lr": REQUIRED, "lr_in_buffer": True},
        "keras": {"lr": 1e-2, "lr_in_buffer": True},
        "optax": {"lr": REQUIRED},
    }

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        momentum: Scalar | None = None,
        dampening: Scalar | None = None,
        nesterov: bool | None = None,
        lr_in_buffer: bool | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        given = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "nesterov": nesterov,
            "lr_in_buffer": lr_in_buffer,
        }
        super().__init__(params, given, convention, common)

    def check(self, fields: Mapping[str, Any], where: str) -> None:
        if fields["nesterov"]:
            if self.convention == "book":
                raise ValueError(
                    "nesterov=True with convention='book': the book takes the gradient at the look-ahead point; "
                    "leave nesterov=False and compute gradients inside `with opt.lookahead():`"
                )
            if fields["momentum"] == 0 or fields["dampening"] != 0:
                raise ValueError(f"{where}nesterov=True needs momentum above 0 and dampening=0")

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        if settings[0]["nesterov"]:
            return "nesterov"
        return "momentum" if any(s["momentum"] != 0 for s in settings) else "sgd"

    def lookahead_factor(self, scalars: Mapping[str, float]) -> tuple[str, float]:
        if self.rule == "nesterov":
            raise ValueError(
                "nesterov=True already accounts for the look-ahead; make the optimizer with nesterov=False"
            )
        if self.rule != "momentum":
            return super().lookahead_factor(scalars)
        return "b", velocity_factor(scalars)
