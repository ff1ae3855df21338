"""Losses: a number to make small, and its gradient.

What is wanted (few wrong labels) has no useful gradient; each loss here for classification is a surrogate for
it that has one (Goodfellow et al., *Deep Learning*, section 8.1.2). All are sums over a row's outputs and
means over the rows of a batch. z is what the model puts out, y what was wanted; z is (n, outputs). The
formulas are computed in csrc/layers.h.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from fastopt._core import layers as kernels

__all__ = ["BinaryCrossEntropy", "Hinge", "Huber", "Loss", "SoftmaxCrossEntropy", "SquaredError"]


class Loss:
    """Base of all losses: ``loss(z, y)`` is the value, ``loss.value_and_grad(z, y)`` also the gradient."""

    def __call__(self, z: np.ndarray, y: np.ndarray) -> float:
        """Value of the loss.

        Parameters
        ----------
        z : ndarray, shape (n, outputs), float32 or float64
        y : ndarray
            As the loss wants it.
        """
        z = _outputs(z)
        return self.evaluate(z, self.target(y, self.buffer(len(z), z.shape[1], z.dtype), z.shape[1]), None)

    def value_and_grad(self, z: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        """Value of the loss and its gradient by z, of z's shape and dtype."""
        z = _outputs(z)
        d = np.empty_like(z)
        return self.evaluate(z, self.target(y, self.buffer(len(z), z.shape[1], z.dtype), z.shape[1]), d), d

    def buffer(self, rows: int, outputs: int, dtype: np.dtype) -> np.ndarray:
        """Where the targets of a batch are copied to. ValueError if that many outputs cannot be."""
        raise NotImplementedError

    def target(self, y: Any, buffer: np.ndarray, outputs: int) -> np.ndarray:
        """Check y and copy it into the buffer, which is returned."""
        raise NotImplementedError

    def evaluate(self, z: np.ndarray, target: np.ndarray, d: np.ndarray | None) -> float:
        """The mean loss; the gradient goes to d unless it is None. Targets come from ``target``."""
        raise NotImplementedError

    def probabilities(self, z: np.ndarray) -> np.ndarray:
        """What the outputs mean as probabilities."""
        raise TypeError(f"{self} gives no probabilities; SoftmaxCrossEntropy and BinaryCrossEntropy do")

    def config(self) -> dict[str, Any]:
        """Name and settings as JSON can hold them."""
        return {"loss": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


def _outputs(z: Any) -> np.ndarray:
    z = np.ascontiguousarray(z)
    if z.ndim != 2 or z.dtype not in (np.float32, np.float64) or 0 in z.shape:
        raise ValueError(f"z is {z.dtype} of shape {z.shape}; float32 or float64, (n, outputs), is needed")
    return z


class LabelLoss(Loss):
    """Losses whose target is the number of a class; one output stands for two classes, 0 and 1."""

    def buffer(self, rows: int, outputs: int, dtype: np.dtype) -> np.ndarray:
        self._classes(outputs)
        return np.empty(rows, np.int64)

    def _classes(self, outputs: int) -> int:
        return max(outputs, 2)

    def target(self, y: Any, buffer: np.ndarray, outputs: int) -> np.ndarray:
        y = y if type(y) is np.ndarray else np.asarray(y)
        if y.dtype.kind not in "iub":
            raise TypeError(f"y is {y.dtype}; integer class labels are needed")
        if y.shape != buffer.shape:
            raise ValueError(f"y has shape {y.shape}; one label a row, {buffer.shape}, is needed")
        np.copyto(buffer, y, casting="unsafe")
        classes = self._classes(outputs)
        at = kernels.label_outside(buffer, classes)
        if at >= 0:
            raise ValueError(f"y[{at}] is {y[at]}; labels 0 to {classes - 1} are needed")
        return buffer


class ValueLoss(Loss):
    """Losses whose target is a number for each output."""

    def buffer(self, rows: int, outputs: int, dtype: np.dtype) -> np.ndarray:
        return np.empty((rows, outputs), dtype)

    def target(self, y: Any, buffer: np.ndarray, outputs: int) -> np.ndarray:
        y = y if type(y) is np.ndarray else np.asarray(y)
        if y.dtype.kind not in "fiub":
            raise TypeError(f"y is {y.dtype}; real numbers are needed")
        if y.shape == buffer.shape:
            np.copyto(buffer, y, casting="same_kind")
        elif y.shape == (buffer.size,):  # one output: a plain vector will do
            np.copyto(buffer[:, 0], y, casting="same_kind")
        else:
            raise ValueError(f"y has shape {y.shape}; {buffer.shape} is needed")
        return buffer


@dataclass(frozen=True)
class SoftmaxCrossEntropy(LabelLoss):
    r"""Negative log-likelihood of the right class under the softmax of the outputs.

    Notes
    -----
    For a row z with label y:

    .. math:: L = \log \sum_j e^{z_j} - z_y, \qquad
        \partial L / \partial z_j = e^{z_j} / \sum_k e^{z_k} - [j = y]

    computed after taking the largest z away from all. Targets: integers 0 to outputs - 1, shape (n,). It is
    the usual surrogate for the 0-1 loss, and goes on improving the margin after that has reached 0
    (Goodfellow et al., sections 6.2.2.3 and 8.1.2).
    """

    def _classes(self, outputs: int) -> int:
        if outputs < 2:
            raise ValueError(f"SoftmaxCrossEntropy got {outputs} output; one a class, at least 2, is needed")
        return outputs

    def evaluate(self, z: np.ndarray, target: np.ndarray, d: np.ndarray | None) -> float:
        return kernels.softmax_cross_entropy(z, target, d)

    def probabilities(self, z: np.ndarray) -> np.ndarray:
        return softmax(z, axis=1)


@dataclass(frozen=True)
class BinaryCrossEntropy(ValueLoss):
    r"""Negative log-likelihood of independent yes/no outputs; z are log-odds.

    Notes
    -----
    .. math:: L = \max(z, 0) - z y + \log(1 + e^{-|z|}), \qquad \partial L / \partial z = \sigma(z) - y

    which is -y log s(z) - (1 - y) log(1 - s(z)), s the logistic function, without its overflow. Targets:
    numbers in [0, 1], shape (n, outputs), or (n,) for one output. A surrogate for the 0-1 loss (Goodfellow et
    al., section 8.1.2).
    """

    def target(self, y: Any, buffer: np.ndarray, outputs: int) -> np.ndarray:
        super().target(y, buffer, outputs)
        at = kernels.outside(buffer, 0, 1)
        if at >= 0:
            row = at // outputs
            raise ValueError(f"y holds {buffer.flat[at]} in row {row}; numbers in [0, 1] are needed")
        return buffer

    def evaluate(self, z: np.ndarray, target: np.ndarray, d: np.ndarray | None) -> float:
        return kernels.pointwise(kernels.BINARY_CROSS_ENTROPY, z, target, d)

    def probabilities(self, z: np.ndarray) -> np.ndarray:
        return expit(z)


@dataclass(frozen=True)
class Hinge(LabelLoss):
    r"""Margin loss of support vector machines.

    Notes
    -----
    One output, s = 1 for label 1 and -1 for label 0:

    .. math:: L = \max(0, 1 - s z), \qquad \partial L / \partial z = -s \; [s z < 1]

    More outputs (Crammer and Singer, 2001), r the best wrong class, the first of equal ones:

    .. math:: L = \max(0, 1 + z_r - z_y), \qquad
        \partial L / \partial z_r = -\partial L / \partial z_y = [z_y < 1 + z_r]

    Targets: integers, shape (n,). A convex upper bound of the 0-1 loss, and so a surrogate for it (Goodfellow
    et al., section 8.1.2), that is exactly 0 once every margin is 1.
    """

    def evaluate(self, z: np.ndarray, target: np.ndarray, d: np.ndarray | None) -> float:
        return kernels.hinge(z, target, d)


@dataclass(frozen=True)
class SquaredError(ValueLoss):
    r"""Squared error.

    Notes
    -----
    .. math:: L = (z - y)^2, \qquad \partial L / \partial z = 2 (z - y)

    summed over the outputs (torch's ``MSELoss`` takes their mean). Targets: numbers, shape (n, outputs), or
    (n,) for one output. NaN in y passes through to the loss. For one output it is what is wanted itself; for
    labels it is a poor surrogate.
    """

    def evaluate(self, z: np.ndarray, target: np.ndarray, d: np.ndarray | None) -> float:
        return kernels.pointwise(kernels.SQUARED, z, target, d)


@dataclass(frozen=True)
class Huber(ValueLoss):
    r"""Squared near 0, absolute further out (Huber, 1964): a surrogate for the absolute error, smooth at 0.

    Parameters
    ----------
    delta : float, default 1.0
        Where it changes; finite, above 0.

    Notes
    -----
    With r = z - y:

    .. math:: L = r^2 / 2 \text{ if } |r| \le \delta \text{ else } \delta (|r| - \delta / 2), \qquad
        \partial L / \partial z = \max(-\delta, \min(r, \delta))

    Targets as for `SquaredError`.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.delta, bool) or not isinstance(self.delta, (int, float, np.number)):
            raise TypeError(f"delta is {self.delta!r}; a number is needed")
        if not 0 < self.delta < np.inf:
            raise ValueError(f"delta is {self.delta}; a finite number above 0 is needed")
        object.__setattr__(self, "delta", float(self.delta))

    def evaluate(self, z: np.ndarray, target: np.ndarray, d: np.ndarray | None) -> float:
        return kernels.pointwise(kernels.HUBER, z, target, d, self.delta)


_ALL = (SoftmaxCrossEntropy, BinaryCrossEntropy, Hinge, SquaredError, Huber)
KINDS = {kind.__name__: kind for kind in _ALL}


def loss_from(config: Any) -> Loss:
    """The loss that ``config()`` described. ValueError for anything else."""
    if not isinstance(config, dict) or config.get("loss") not in list(KINDS):
        raise ValueError(f"{config!r:.80} describes no loss; known are {', '.join(KINDS)}")
    try:
        return KINDS[config["loss"]](**{key: value for key, value in config.items() if key != "loss"})
    except TypeError as error:
        raise ValueError(f"loss {config['loss']}: {error}") from None
