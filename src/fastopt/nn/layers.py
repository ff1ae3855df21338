"""Layers: what each one computes, forward and backward.

A layer is a description: sizes and settings, no arrays. The model owns the arrays; `stages` works on them.

Shapes: a batch is (rows, width); weights are (n_in, n_out), so ``y = x @ w + b``. Normalization is in `norms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
from scipy.special import expit, ndtr

from fastopt import schedules
from fastopt._checks import check_number
from fastopt._core import layers as kernels
from fastopt.init._scaled import weights_from

__all__ = ["Auxiliary", "Dense", "Dropout", "GELU", "Layer", "ReLU", "Residual", "Sigmoid", "Tanh"]


class Layer:
    """Base of all layers. Layers compare equal when their settings do."""

    def shapes(self) -> dict[str, Any]:
        """The tree of shapes of its parameters; empty if it has none."""
        return {}

    def buffers(self) -> dict[str, Any]:
        """The tree of shapes of what it keeps beside parameters (running statistics); empty if nothing."""
        return {}

    def width(self, n_in: int | None) -> int | None:
        """Columns of the output for that many of the input; None: not known. ValueError if they misfit."""
        return n_in

    def fill(self, params: Any, rng: np.random.Generator, follower: Layer | None) -> None:
        """Write initial values into the parameters."""

    def config(self) -> dict[str, Any]:
        """Name and settings as JSON can hold them."""
        return {"layer": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class Dense(Layer):
    """Affine layer, ``y = x w + b``.

    Parameters
    ----------
    n_in, n_out : int
        Widths, at least 1. ``w`` has shape (n_in, n_out), ``b`` (n_out,).

    Notes
    -----
    With d the gradient by y: ``dw = x^T d``, ``db = sum over rows of d``, ``dx = d w^T``. An activation
    that follows is done in the same stage.

    ``b`` starts at zero. ``w`` starts, where ReLU or GELU follows, normal with variance 2 / n_in (He et al.,
    2015, eq. 10), else uniform within sqrt(6 / (n_in + n_out)) (Glorot and Bengio, 2010, eq. 16; Goodfellow
    et al., *Deep Learning*, eq. 8.23). Anything else is written into a made model: ``fo.init.tree(model.params,
    {"*/w": "orthogonal", "*/b": 0.0}, rng=0)``.
    """

    n_in: int
    n_out: int

    def __post_init__(self) -> None:
        for name in ("n_in", "n_out"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
                raise TypeError(f"{name} is {value!r}; a whole number is needed")
            if value < 1:
                raise ValueError(f"{name} is {value}; at least 1 is needed")
            object.__setattr__(self, name, int(value))

    def shapes(self) -> dict[str, Any]:
        return {"w": (self.n_in, self.n_out), "b": (self.n_out,)}

    def width(self, n_in: int | None) -> int:
        if n_in not in (None, self.n_in):
            raise ValueError(f"{self} gets {n_in} columns from the layer before it")
        return self.n_out

    def fill(self, params: Any, rng: np.random.Generator, follower: Layer | None) -> None:
        he = isinstance(follower, (ReLU, GELU))
        rule = (2.0, "fan_in", "normal") if he else (1.0, "fan_avg", "uniform")
        params["w"][...] = weights_from(rng, (self.n_in, self.n_out), *rule)
        params["b"][...] = 0


class Activation(Layer):
    """An elementwise function: ``apply`` writes y = f(z), ``kept`` gives what the slope kernel reads."""

    slope: int  # which slope the kernel computes from what was kept
    in_place = True  # y may be z

    @staticmethod
    def apply(z: np.ndarray, y: np.ndarray, spare: np.ndarray) -> None:
        raise NotImplementedError

    @staticmethod
    def kept(z: np.ndarray, y: np.ndarray, spare: np.ndarray) -> np.ndarray:
        return y


@dataclass(frozen=True)
class ReLU(Activation):
    """Rectifier, ``y = max(0, z)``; slope 1 where z > 0, else 0."""

    slope = kernels.RELU

    @staticmethod
    def apply(z: np.ndarray, y: np.ndarray, spare: np.ndarray) -> None:
        np.maximum(z, 0, out=y)


@dataclass(frozen=True)
class Tanh(Activation):
    """Hyperbolic tangent; slope ``1 - y^2``."""

    slope = kernels.TANH

    @staticmethod
    def apply(z: np.ndarray, y: np.ndarray, spare: np.ndarray) -> None:
        np.tanh(z, out=y)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """Logistic function, ``y = 1 / (1 + exp(-z))``; slope ``y (1 - y)``."""

    slope = kernels.SIGMOID

    @staticmethod
    def apply(z: np.ndarray, y: np.ndarray, spare: np.ndarray) -> None:
        expit(z, out=y)


@dataclass(frozen=True)
class GELU(Activation):
    """Gaussian error linear unit, ``y = z Phi(z)``, with the exact Phi(z) = (1 + erf(z / sqrt 2)) / 2.

    Notes
    -----
    Slope ``Phi(z) + z exp(-z^2 / 2) / sqrt(2 pi)``. Hendrycks and Gimpel, 2016. No tanh approximation.
    """

    slope = kernels.TIMES
    in_place = False

    @staticmethod
    def apply(z: np.ndarray, y: np.ndarray, spare: np.ndarray) -> None:
        ndtr(z, out=spare)
        np.multiply(z, spare, out=y)

    @staticmethod
    def kept(z: np.ndarray, y: np.ndarray, spare: np.ndarray) -> np.ndarray:
        np.multiply(z, z, out=y)  # y is free: the layers above are done with it
        np.multiply(y, -0.5, out=y)
        np.exp(y, out=y)
        np.multiply(y, z, out=y)
        np.multiply(y, 1 / np.sqrt(2 * np.pi).item(), out=y)
        return np.add(y, spare, out=y)


@dataclass(frozen=True)
class Dropout(Layer):
    """Inverted dropout: in training an input is 0 with probability p, the others are scaled by 1 / (1 - p).

    Parameters
    ----------
    p : float, default 0.5
        0 <= p < 1.

    Notes
    -----
    Prediction leaves its input alone. Each dropout layer of a model draws from a generator of its own,
    whose state is part of ``model.state_dict()``. Srivastava et al., 2014; Goodfellow et al., *Deep
    Learning*, section 7.12.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        if isinstance(self.p, bool) or not isinstance(self.p, (int, float, np.number)):
            raise TypeError(f"p is {self.p!r}; a number is needed")
        if not 0 <= self.p < 1:
            raise ValueError(f"p is {self.p}; 0 <= p < 1 is needed")
        object.__setattr__(self, "p", float(self.p))


@dataclass(frozen=True, init=False)
class Residual(Layer):
    """Skip connection, ``y = x + f(x)`` with f the layers inside, which must keep the width.

    Parameters
    ----------
    *layers : Layer
        At least one.

    Notes
    -----
    He et al., 2016; Goodfellow et al., *Deep Learning*, section 8.7.5, on models that are easier to optimise.
    """

    layers: tuple[Layer, ...] = field(default=())

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "layers", check_layers(layers, "Residual", inside=True))
        start = entry_width(self.layers)
        end = chain_width(self.layers, start)
        if start != end:
            raise ValueError(f"{self} turns {start} columns into {end}; x + f(x) needs as many")

    def shapes(self) -> dict[str, Any]:
        return chain_shapes(self.layers)

    def buffers(self) -> dict[str, Any]:
        return chain_buffers(self.layers)

    def width(self, n_in: int | None) -> int | None:
        return chain_width(self.layers, n_in)

    def fill(self, params: Any, rng: np.random.Generator, follower: Layer | None) -> None:
        fill_chain(self.layers, params, rng)

    def config(self) -> dict[str, Any]:
        return {"layer": "Residual", "layers": [layer.config() for layer in self.layers]}


@dataclass(frozen=True, init=False)
class Auxiliary(Layer):
    """Auxiliary head: what passes is left alone; in training a side branch is to give the targets from this depth.

    .. code-block:: text

        training     loss = loss(model) + weight * loss(layers(x)), the gradient of both flows into the layers before
        prediction   nothing: the branch is not computed

    Parameters
    ----------
    *layers : Layer
        From the width at this depth to the model's outputs; at least one of them a `Dense`.
    weight : float or function, default 0.3
        Of the side loss, at least 0; or a function of the number of the batch, from 1, such as
        ``fo.schedules.linear(0.3, 0.0, 1000)``.

    Notes
    -----
    It stands in a `Sequential`, not inside another layer. ``model.loss_and_grads`` returns the sum of all losses;
    ``model.loss`` and ``model.predict`` leave the heads out. Szegedy et al., Going deeper with convolutions, 2014; Lee
    et al., Deeply-supervised nets, 2014; Goodfellow et al., *Deep Learning*, section 8.7.5.
    """

    layers: tuple[Layer, ...] = field(default=())
    weight: float | Callable[[int], float] = 0.3

    def __init__(self, *layers: Layer, weight: float | Callable[[int], float] = 0.3) -> None:
        object.__setattr__(self, "layers", check_layers(layers, "Auxiliary", inside=True))
        object.__setattr__(self, "weight", weight)
        if entry_width(self.layers) is None:
            raise ValueError(f"{self} has no Dense layer, so nothing to train")
        if not callable(weight):
            object.__setattr__(self, "weight", check_number("Auxiliary", "weight", weight))
        self.weight_at(1)

    def weight_at(self, batch: int) -> float:
        """The weight of the side loss for that batch, counted from 1."""
        if callable(self.weight):
            return check_number("Auxiliary", f"weight({batch})", self.weight(batch))
        return self.weight

    def shapes(self) -> dict[str, Any]:
        return chain_shapes(self.layers)

    def buffers(self) -> dict[str, Any]:
        return chain_buffers(self.layers)

    def width(self, n_in: int | None) -> int | None:
        chain_width(self.layers, n_in)
        return n_in

    def fill(self, params: Any, rng: np.random.Generator, follower: Layer | None) -> None:
        fill_chain(self.layers, params, rng)

    def config(self) -> dict[str, Any]:
        weight = schedule_config(self.weight) if callable(self.weight) else self.weight
        return {"layer": "Auxiliary", "layers": [layer.config() for layer in self.layers], "weight": weight}


def schedule_config(schedule: Any) -> dict[str, Any]:
    """A schedule of fo.schedules as JSON can hold it. TypeError for any other function: a file runs no code."""
    kind = type(schedule).__name__
    if type(schedule) is not getattr(schedules, kind, None) or not is_dataclass(schedule):
        raise TypeError(f"weight is {schedule!r:.80}; a number or a schedule of fo.schedules can be saved")

    def plain(value: Any) -> Any:
        if callable(value):
            return schedule_config(value)
        return [plain(x) for x in value] if isinstance(value, (list, tuple)) else value

    given = {f.name: plain(getattr(schedule, f.name)) for f in fields(schedule) if f.init}
    return {"schedule": kind, **given}


def schedule_from(config: Any) -> Any:
    """What `schedule_config` described; numbers and lists as they are. ValueError for an unknown name."""
    if isinstance(config, list):
        return [schedule_from(x) for x in config]
    if not isinstance(config, dict):
        return config
    given = {key: schedule_from(value) for key, value in config.items() if key != "schedule"}
    kind = config.get("schedule")
    made = getattr(schedules, kind, None) if isinstance(kind, str) and kind in schedules.__all__ else None
    if not (isinstance(made, type) and is_dataclass(made)):
        raise ValueError(f"schedule {kind!r:.80} is unknown")
    return made(**given)


# ---- chains of layers ----


def check_layers(layers: Sequence[Any], where: str, inside: bool = False) -> tuple[Layer, ...]:
    if not layers:
        raise ValueError(f"{where} got no layers; at least one is needed")
    for i, layer in enumerate(layers):
        if type(layer) not in (*KINDS.values(), Residual, Auxiliary):
            raise TypeError(f"layer {i} of {where} is {type(layer).__name__}; a fastopt.nn layer is needed")
        if inside and isinstance(layer, Auxiliary):
            raise TypeError(f"layer {i} of {where} is an Auxiliary; it stands in a Sequential itself")
    return tuple(layers)


def entry_width(layers: Sequence[Layer]) -> int | None:
    """Columns that the chain wants, told by its first layer that knows (Dense, or a norm); None if it has none."""
    for layer in layers:
        found = getattr(layer, "n_in", None)
        if isinstance(layer, (Residual, Auxiliary)):
            found = entry_width(layer.layers)
        if found is not None:
            return found
    return None


def chain_width(layers: Sequence[Layer], n_in: int | None) -> int | None:
    for layer in layers:
        n_in = layer.width(n_in)
    return n_in


def chain_shapes(layers: Sequence[Layer]) -> dict[str, Any]:
    """Shapes of all parameters: a dict by the layer's position, layers without any left out."""
    return {str(i): layer.shapes() for i, layer in enumerate(layers) if layer.shapes()}


def chain_buffers(layers: Sequence[Layer]) -> dict[str, Any]:
    """Shapes of all buffers, as `chain_shapes`."""
    return {str(i): layer.buffers() for i, layer in enumerate(layers) if layer.buffers()}


def named_shapes(shapes: dict[str, Any], path: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    """Pairs of path and shape from a tree of shapes."""
    for key, child in shapes.items():
        here = f"{path}/{key}" if path else key
        if isinstance(child, dict):
            yield from named_shapes(child, here)
        else:
            yield here, child


def fill_chain(layers: Sequence[Layer], params: Any, rng: np.random.Generator) -> None:
    for i, layer in enumerate(layers):
        if str(i) in params:
            layer.fill(params[str(i)], rng, layers[i + 1] if i + 1 < len(layers) else None)


def dropout_paths(layers: Sequence[Layer], path: str = "") -> Iterator[str]:
    for i, layer in enumerate(layers):
        here = f"{path}/{i}" if path else str(i)
        if isinstance(layer, Dropout):
            yield here
        elif isinstance(layer, (Residual, Auxiliary)):
            yield from dropout_paths(layer.layers, here)


ACTIVATIONS = {"relu": ReLU, "tanh": Tanh, "sigmoid": Sigmoid, "gelu": GELU}
#: Layers by name; `norms` adds its own.
KINDS: dict[str, type[Layer]] = {kind.__name__: kind for kind in (Dense, ReLU, Tanh, Sigmoid, GELU, Dropout)}


def layer_from(config: Any) -> Layer:
    """The layer that ``config()`` described. ValueError for anything else."""
    if not isinstance(config, dict) or not isinstance(config.get("layer"), str):
        raise ValueError(f"{config!r:.80} describes no layer")
    settings = {key: value for key, value in config.items() if key != "layer"}
    name = config["layer"]
    if name == "Residual" and set(settings) == {"layers"} and isinstance(settings["layers"], list):
        return Residual(*map(layer_from, settings["layers"]))
    if name == "Auxiliary" and set(settings) == {"layers", "weight"} and isinstance(settings["layers"], list):
        inside = [layer_from(layer) for layer in settings["layers"]]
        try:
            return Auxiliary(*inside, weight=schedule_from(settings["weight"]))
        except TypeError as error:
            raise ValueError(f"layer {name}: {error}") from None
    if name not in KINDS:
        raise ValueError(
            f"layer {name!r:.80} is unknown; known are {', '.join([*KINDS, 'Residual', 'Auxiliary'])}"
        )
    try:
        return KINDS[name](**settings)
    except TypeError as error:
        raise ValueError(f"layer {name}: {error}") from None
