"""Record 200 steps of torch.optim's loop path (foreach=False, fused=False) for `tests/trajectories.py`.

Run ``python tests/data/make_torch_trajectories.py`` where torch is installed. It writes, beside itself,
``torch_trajectories.npz`` (gradients, start, parameters at some steps) and ``torch_trajectories.json``
(versions and, per case, torch's class and keywords and fastopt's). The gradients do not depend on the
parameters, and float32 holds all of them exactly, so that one recording serves both widths.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

STEPS = 200
RECORDED = [1, 50, 100, 150, 200]
SIZE = 37  # no multiple of any vector length, so that tails are seen
DTYPES = {"float32": torch.float32, "float64": torch.float64}
MOMENTUM = {"momentum": 0.9}

# name: torch's class and keywords. The library's keywords are the same names, by its promise.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {"lr": 0.01}),
    "sgd_weight_decay": ("SGD", {"lr": 0.01, "weight_decay": 0.1}),
    "sgd_maximize": ("SGD", {"lr": 0.01, "maximize": True}),
    "sgd_momentum": ("SGD", {"lr": 0.01} | MOMENTUM),
    "sgd_dampening": ("SGD", {"lr": 0.01, "dampening": 0.3} | MOMENTUM),
    "sgd_nesterov": ("SGD", {"lr": 0.01, "nesterov": True} | MOMENTUM),
    "sgd_nesterov_decay": ("SGD", {"lr": 0.01, "nesterov": True, "weight_decay": 0.1} | MOMENTUM),
    "adagrad": ("Adagrad", {}),
    "adagrad_lr_decay": ("Adagrad", {"lr": 0.05, "lr_decay": 0.02, "initial_accumulator_value": 0.1}),
    "adagrad_weight_decay": ("Adagrad", {"lr": 0.05, "weight_decay": 0.1}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop_momentum": ("RMSprop", {"lr": 0.001} | MOMENTUM),
    "rmsprop_centered": ("RMSprop", {"centered": True, "alpha": 0.95}),
    "rmsprop_both": (
        "RMSprop",
        {"lr": 0.001, "centered": True, "alpha": 0.95, "weight_decay": 0.01} | MOMENTUM,
    ),
    "adadelta": ("Adadelta", {}),
    "adadelta_weight_decay": ("Adadelta", {"rho": 0.95, "weight_decay": 0.1}),
    "adam": ("Adam", {}),
    "adam_amsgrad": ("Adam", {"lr": 0.01, "betas": [0.8, 0.95], "amsgrad": True}),
    "adam_weight_decay": ("Adam", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    "adamw": ("AdamW", {}),
    "adamw_amsgrad": ("AdamW", {"lr": 0.01, "betas": [0.8, 0.95], "weight_decay": 0.1, "amsgrad": True}),
    "adamax": ("Adamax", {}),
    "adamax_weight_decay": ("Adamax", {"lr": 0.01, "betas": [0.8, 0.95], "weight_decay": 0.1}),
    "nadam": ("NAdam", {}),
    "nadam_weight_decay": ("NAdam", {"lr": 0.01, "weight_decay": 0.1}),
    "nadam_decoupled": ("NAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "radam": ("RAdam", {}),
    "radam_weight_decay": ("RAdam", {"lr": 0.01, "weight_decay": 0.1}),
    "radam_decoupled": ("RAdam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "rprop": ("Rprop", {}),
    "rprop_etas": ("Rprop", {"lr": 0.02, "etas": [0.4, 1.5], "step_sizes": [0.001, 0.5]}),
}


def gradients() -> np.ndarray:
    """(STEPS, SIZE) float32: heavy tails, scales 1e-5 to 10, a drift per element, one in ten exactly zero."""
    rng = np.random.Generator(np.random.PCG64(8))
    scale = 10 ** rng.uniform(-5, 1, SIZE)
    values = scale * (rng.standard_normal(SIZE) / 2 + rng.standard_t(3, (STEPS, SIZE)))
    values[rng.random((STEPS, SIZE)) < 0.1] = 0.0
    return values.astype(np.float32)


def trajectory(
    cls: str, keywords: dict[str, Any], start: np.ndarray, grads: np.ndarray, dtype: Any
) -> np.ndarray:
    """The parameters after the recorded steps, (len(RECORDED), SIZE)."""
    keywords = {key: tuple(value) if isinstance(value, list) else value for key, value in keywords.items()}
    loop: dict[str, Any] = {"foreach": False}
    if cls in ("SGD", "Adagrad", "Adam", "AdamW"):
        loop["fused"] = False
    p = torch.nn.Parameter(torch.tensor(start, dtype=dtype))
    opt = getattr(torch.optim, cls)([p], **keywords, **loop)
    seen = []
    for t, g in enumerate(grads, 1):
        p.grad = torch.tensor(g, dtype=dtype)
        opt.step()
        if t in RECORDED:
            seen.append(p.detach().numpy().copy())
    return np.stack(seen)


def main() -> None:
    folder = Path(__file__).parent
    grads = gradients()
    start = np.random.Generator(np.random.PCG64(9)).standard_normal(SIZE).astype(np.float32)
    arrays: dict[str, Any] = {"gradients": grads, "start": start}
    for name, (cls, keywords) in CASES.items():
        for dtype, torch_dtype in DTYPES.items():
            # torch keeps NAdam's product of mu as a scalar of the default dtype: in float32 it would make a
            # float64 run wrong by 1e-11.
            torch.set_default_dtype(torch_dtype)
            params = trajectory(cls, keywords, start, grads, torch_dtype)
            if not np.isfinite(params).all():
                raise SystemExit(f"{name} in {dtype} is not finite; such a recording would prove nothing")
            arrays[f"{name}/{dtype}/params"] = params
    np.savez_compressed(folder / "torch_trajectories.npz", **arrays)
    about = {
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "steps": STEPS,
        "recorded": RECORDED,
        "cases": {
            name: {"torch": [cls, keywords], "fastopt": [cls, keywords]}
            for name, (cls, keywords) in CASES.items()
        },
    }
    (folder / "torch_trajectories.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
