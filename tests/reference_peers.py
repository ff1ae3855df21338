"""Runs the rows of `reference_cases` with the libraries whose conventions they are, in float64.

``python reference_peers.py torch|optax|keras OUT.npz STEPS`` writes the final parameters of every row that
the peer can express. A peer gets only the fields that the row's user gives, so that its own defaults are
compared as well; the book's rows are spelt out for the peer that has the same formula. It runs in a process
of its own: peers set global state, and start threads, when they are imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from reference_cases import CASES, Case, problem

Tree = dict[str, np.ndarray]
NOT_THE_PEERS = {"clip_norm", "clip_value", "grad_scale", "maximize", "average", "convention"}


def expressible(peer: str, case: Case) -> bool:
    """Whether the peer has what the row asks for."""
    convention = case.fields.get("convention", "torch")
    f = case.fields
    if convention == "book":
        if peer == "torch":
            return (case.cls == "Adagrad" and "clip_norm" not in f) or (
                "amsgrad" in f and "eps_root" not in f
            )
        return peer == "optax" and case.cls != "Adagrad" and not {"dampening", "amsgrad"} & f.keys()
    if convention != peer:
        return False
    if peer == "torch":
        decoupled = case.cls in ("SGD", "Adam") and "decoupled_weight_decay" in f
        no_decay = case.cls in ("Rprop", "Lion") and "weight_decay" in f
        return not (
            decoupled
            or no_decay
            or case.cls == "Lion"
            or {"eps_inside", "lr_in_buffer", "eps_root"} & f.keys()
        )
    return not (peer == "keras" and "eps_root" in f)


def at(x: Any, t: int) -> Any:
    """The value at step t, also inside a tuple."""
    if isinstance(x, tuple):
        return tuple(at(y, t) for y in x)
    return x(t) if callable(x) else x


def scaled(fields: dict[str, Any], grads: list[Tree]) -> list[Tree]:
    """The gradients with scale and sign, which no peer has under one name."""
    sign = -1.0 if fields.get("maximize") else 1.0
    scale = fields.get("grad_scale", 1.0)
    return [{k: sign * at(scale, t) * g for k, g in tree.items()} for t, tree in enumerate(grads, 1)]


def run_torch(case: Case, p0: Tree, grads: list[Tree]) -> Tree:
    import torch

    torch.set_default_dtype(torch.float64)  # else NAdam keeps a product in float32
    f = case.fields if "convention" not in case.fields else case.reference
    own = {k: x for k, x in f.items() if k not in NOT_THE_PEERS | {"eps_inside", "clip_eps"}}
    params = {k: torch.nn.Parameter(torch.tensor(p)) for k, p in p0.items()}
    opt = getattr(torch.optim, case.cls)(
        list(params.values()), **{k: at(x, 1) for k, x in own.items()}, foreach=False
    )
    for t, tree in enumerate(scaled(f, grads), 1):
        opt.param_groups[0].update({k: at(x, t) for k, x in own.items()})
        for k, p in params.items():
            p.grad = torch.tensor(tree[k])
        if "clip_norm" in f:
            torch.nn.utils.clip_grad_norm_(params.values(), f["clip_norm"])
        if "clip_value" in f:
            torch.nn.utils.clip_grad_value_(params.values(), f["clip_value"])
        opt.step()
    return {k: p.detach().numpy() for k, p in params.items()}


def run_optax(case: Case, p0: Tree, grads: list[Tree]) -> Tree:
    import jax
    import jax.numpy as jnp
    import optax

    jax.config.update("jax_enable_x64", True)
    book = case.fields["convention"] == "book"
    f = case.reference if book else case.fields
    steps = len(grads)

    def table(x: Any) -> Any:
        """A schedule as optax counts: from 0, traceable."""
        if not callable(x):
            return x
        values = jnp.array([x(t) for t in range(1, steps + 1)])
        return lambda count: values[count]

    lr = table(f["lr"])
    if "lr_decay" in f:
        lr = table(lambda t: f["lr"] / (1 + (t - 1) * f["lr_decay"]))
    names = {"alpha": "decay", "rho": "rho", "eps": "eps", "eps_root": "eps_root", "nesterov": "nesterov"}
    names |= {x: x for x in ("momentum", "centered", "initial_accumulator_value")}
    own = {names[k]: table(x) for k, x in f.items() if k in names}
    if "betas" in f:
        own["b1"], own["b2"] = (table(x) for x in f["betas"])
    made: Callable[..., Any] = getattr(optax, "amsgrad" if f.get("amsgrad") else case.cls.lower())
    if case.cls in ("AdamW", "Lion") and "weight_decay" in f and not f.get("amsgrad"):
        own["weight_decay"] = table(f["weight_decay"])
    if any(callable(x) for x in own.values()):
        made = optax.inject_hyperparams(made)
    if book and case.cls == "SGD":  # the rate goes into the book's velocity
        trace = optax.inject_hyperparams(optax.trace)(own.get("momentum", 0.0))
        decay = optax.add_decayed_weights(f.get("weight_decay", 0.0))
        rule = optax.chain(decay, optax.scale_by_learning_rate(lr), trace)
    elif f.get("weight_decay") and case.cls in ("AdamW", "NAdam", "RAdam") and "weight_decay" not in own:
        if case.cls == "AdamW" or f.get("decoupled_weight_decay"):
            rate = optax.scale_by_schedule(lr) if callable(lr) else optax.scale(lr)
            rule = optax.chain(made(1.0, **own), optax.add_decayed_weights(-f["weight_decay"]), rate)
        else:
            rule = optax.chain(optax.add_decayed_weights(f["weight_decay"]), made(lr, **own))
    elif f.get("weight_decay") and "weight_decay" not in own:
        rule = optax.chain(optax.add_decayed_weights(f["weight_decay"]), made(lr, **own))
    else:
        rule = made(lr, **own)
    clips = [optax.clip_by_global_norm(f["clip_norm"])] if "clip_norm" in f else []
    clips += [optax.clip(f["clip_value"])] if "clip_value" in f else []
    rule = optax.chain(*clips, rule)

    def step(carry: Any, g: Any) -> Any:
        params, state = carry
        updates, state = rule.update(g, state, params)
        return (optax.apply_updates(params, updates), state), None

    params = jax.tree.map(jnp.asarray, p0)
    stacked = {k: jnp.stack([tree[k] for tree in scaled(f, grads)]) for k in p0}
    (params, _), _ = jax.jit(lambda p, g: jax.lax.scan(step, (p, rule.init(p)), g))(params, stacked)
    return {k: np.asarray(p) for k, p in params.items()}


def run_keras(case: Case, p0: Tree, grads: list[Tree]) -> Tree:
    import keras  # type: ignore[import-not-found, unused-ignore]

    keras.config.set_floatx("float64")
    f = case.fields
    names = {"lr": "learning_rate", "alpha": "rho", "eps": "epsilon", "clip_norm": "global_clipnorm"}
    names |= {"clip_value": "clipvalue"}
    own = {names.get(k, k): x for k, x in f.items()}
    for k in ("maximize", "grad_scale", "convention", "decoupled_weight_decay", "lr_decay"):
        own.pop(k, None)
    if "lr_decay" in f:
        own["learning_rate"] = lambda t: f["lr"] / (1 + (t - 1) * f["lr_decay"])
    if "betas" in own:
        own["beta_1"], own["beta_2"] = own.pop("betas")
    name = {"NAdam": "Nadam"}.get(case.cls, case.cls)
    opt = getattr(keras.optimizers, name)(**{k: at(x, 1) for k, x in own.items()})
    flat = keras.Variable(np.concatenate([np.ravel(p) for p in p0.values()]), dtype="float64")
    opt.build([flat])
    for t, tree in enumerate(scaled(f, grads), 1):
        for k, x in own.items():
            if callable(x):
                setattr(opt, k, x(t))
        opt.apply([keras.ops.convert_to_tensor(np.concatenate([np.ravel(g) for g in tree.values()]))])
    ends = np.cumsum([p.size for p in p0.values()])[:-1]
    parts = np.split(np.asarray(flat.value), ends)
    return {k: x.reshape(p.shape) for (k, p), x in zip(p0.items(), parts, strict=True)}


RUNS = {"torch": run_torch, "optax": run_optax, "keras": run_keras}

if __name__ == "__main__":
    peer, out, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    p0, grads = problem(steps)
    found = {}
    for case in CASES:
        if expressible(peer, case):
            for k, p in RUNS[peer](case, p0, grads).items():
                found[f"{case.id}/{k}"] = p
    np.savez(out, **found)  # type: ignore[arg-type]
