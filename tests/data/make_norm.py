"""Records what torch makes of normalization: ``python tests/data/make_norm.py`` writes norm.npz beside it.

Every case holds its inputs, the gradient dy, and torch's y, dx, dgamma, dbeta and running statistics after two batches; all
in float64, and for float32 cases as torch's float32 kernels gave them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

#: name: shape, dtype, keywords of torch.nn.functional.batch_norm
BATCH: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "plain": ((12, 5), "float64", {}),
    "plain_f32": ((12, 5), "float32", {}),
    "long_f32": ((70, 33), "float32", {"momentum": 0.3}),
    "images": ((4, 3, 5, 6), "float64", {"momentum": 0.25, "eps": 1e-3}),
    "images_f32": ((3, 4, 9, 8), "float32", {}),
    "sequence": ((5, 4, 7), "float64", {}),
    "cumulative": ((6, 3), "float64", {"momentum": None}),
    "bare": ((9, 4), "float64", {"affine": False}),
    "eval": ((8, 6), "float64", {"training": False}),
    "eval_images_f32": ((3, 4, 5, 5), "float32", {"training": False}),
}
ROWS: dict[str, tuple[str, tuple[int, ...], int, str]] = {
    "layer": ("layer", (6, 10), 1, "float64"),
    "layer_f32": ("layer", (5, 37), 1, "float32"),
    "layer_two": ("layer", (4, 3, 7), 2, "float64"),
    "rms": ("rms", (6, 10), 1, "float64"),
    "rms_f32": ("rms", (5, 40), 1, "float32"),
}


def main() -> None:
    rng = np.random.default_rng(7)
    found: dict[str, np.ndarray] = {}

    def draw(shape: tuple[int, ...], kind: str, scale: float = 1.0, shift: float = 0.0) -> torch.Tensor:
        return torch.tensor((rng.standard_normal(shape) * scale + shift).astype(kind), requires_grad=True)

    def keep(name: str, **arrays: Any) -> None:
        for key, array in arrays.items():
            if array is not None:
                found[f"{name}/{key}"] = array.detach().numpy()

    for name, (shape, kind, given) in BATCH.items():
        fields = {"momentum": 0.1, "eps": 1e-5, "training": True, "affine": True} | given
        channels = shape[1]
        model: Any = torch.nn.BatchNorm1d(channels, fields["eps"], fields["momentum"], fields["affine"])
        model = model.to(getattr(torch, kind))
        if len(shape) == 4:
            model = torch.nn.BatchNorm2d(channels, fields["eps"], fields["momentum"], fields["affine"]).to(
                model.running_mean.dtype
            )
        if fields["affine"]:
            with torch.no_grad():
                model.weight[:] = draw((channels,), kind, 0.5, 1)
                model.bias[:] = draw((channels,), kind)
            keep(name, gamma=model.weight.clone(), beta=model.bias.clone())
        first = draw(shape, kind, 2, -1)
        model(first)
        model.train(fields["training"])
        x, dy = draw(shape, kind, 1.5, 3), draw(shape, kind)
        y = model(x)
        y.backward(dy.detach())
        keep(name, first=first, x=x, dy=dy, y=y, dx=x.grad, mean=model.running_mean, var=model.running_var)
        if fields["affine"]:
            keep(name, dgamma=model.weight.grad, dbeta=model.bias.grad)
    for name, (which, shape, axes, kind) in ROWS.items():
        x, dy = draw(shape, kind, 1.5, 2), draw(shape, kind)
        gamma, beta = draw(shape[-axes:], kind, 0.5, 1), draw(shape[-axes:], kind)
        if which == "layer":
            y = F.layer_norm(x, shape[-axes:], gamma, beta)
        else:
            y = F.rms_norm(x, shape[-axes:], gamma)
        y.backward(dy.detach())
        keep(name, x=x, dy=dy, gamma=gamma, beta=beta, y=y, dx=x.grad, dgamma=gamma.grad, dbeta=beta.grad)
    np.savez_compressed(Path(__file__).with_name("norm.npz"), **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
