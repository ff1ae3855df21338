"""Rules that use the sign of the gradient: Rprop and Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from fastopt.optim.base import Optimizer
from fastopt.optim.fields import REQUIRED, Common, Scalar

__all__ = ["Lion", "Rprop"]


class Rprop(Optimizer):
    """Resilient backpropagation, in the form without weight backtracking (iRprop-).

    .. code-block:: text

        s  = sign(g prev)
        step <- clip(step * (eta_plus if s > 0, eta_minus if s < 0, else 1), step_min, step_max)
        g <- 0 where s < 0
        p <- p - sign(g) step;   prev <- g

    For full batches: the sign of a mini-batch's gradient changes by chance alone.

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float, default 1e-2
        The first step of every element.
    etas : pair of float, default (0.5, 1.2)
        Factor of the step where the sign changed, in (0, 1), and where it did not, above 1.
    step_sizes : pair of float, default (1e-6, 50)
        Smallest and largest step.
    convention : {"torch"}
    **common
        See `Optimizer`.

    References
    ----------
    Riedmiller, Braun 1993. Igel, Huesken 2000.
    """

    conventions = {"torch": {"lr": 1e-2, "etas": (0.5, 1.2), "step_sizes": (1e-6, 50.0)}}

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        etas: tuple[Scalar, Scalar] | None = None,
        step_sizes: tuple[Scalar, Scalar] | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes}, convention, common)

    def check(self, fields: Mapping[str, Any], where: str) -> None:
        least, most = fields["step_sizes"]
        if not (callable(least) or callable(most)) and least > most:
            raise ValueError(
                f"{where}step_sizes is {fields['step_sizes']!r}; the smallest must not exceed the largest"
            )

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        return "rprop"

    def initial_state(self, scalars: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"step": scalars["lr"]}


class Lion(Optimizer):
    """Lion: the sign of an interpolation between gradient and momentum.

    .. code-block:: text

        p <- p - lr sign(beta1 m + (1 - beta1) g)
        m <- beta2 m + (1 - beta2) g

    Parameters
    ----------
    params : tree of ndarray
        Parameters, written in place; see `Optimizer`.
    lr : float or function of the step
        At least 0. Default: torch 1e-4, keras 1e-3; optax has none.
    betas : pair of float or function, default (0.9, 0.99)
        Each at least 0 and below 1.
    convention : {"torch", "keras", "optax"}
        Fills the fields that are not given. "torch" stands for the authors' own code, written for torch.
        Weight decay is decoupled in all; optax has 1e-3, the others 0.
    **common
        See `Optimizer`.

    References
    ----------
    Chen et al., Symbolic Discovery of Optimization Algorithms, 2023.
    """

    conventions = {
        "torch": {"lr": 1e-4, "betas": (0.9, 0.99), "decoupled_weight_decay": True},
        "keras": {"lr": 1e-3},
        "optax": {"lr": REQUIRED, "weight_decay": 1e-3},
    }

    def __init__(
        self,
        params: Any,
        lr: Scalar | None = None,
        *,
        betas: tuple[Scalar, Scalar] | None = None,
        convention: str = "torch",
        **common: Unpack[Common],
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas}, convention, common)

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        return "lion"
