"""Auxiliary heads of fastopt.nn: exact gradients, only in training, saved; and nets that train where the plain one does not."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt import nn
from fastopt._trees import flatten_tree
from fastopt.nn.layers import layer_from
from rows import bits

RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 5))
LABELS = RNG.integers(0, 3, 20)
VALUES = RNG.standard_normal((20, 3))


def layers(weight: Any = 0.3) -> list[nn.Layer]:
    return [
        nn.Auxiliary(nn.Dense(5, 3), weight=0.7),
        nn.Dense(5, 8),
        nn.GELU(),
        nn.Auxiliary(nn.Dense(8, 4), nn.Tanh(), nn.Dense(4, 3), weight=weight),
        nn.Dense(8, 6),
        nn.Auxiliary(nn.Dense(6, 3), weight=0.0),
        nn.Tanh(),
        nn.Dense(6, 3),
    ]


def made(weight: Any = 0.3, loss: Any = None) -> nn.Sequential:
    return nn.Sequential(*layers(weight), loss=loss, dtype=np.float64, rng=1)


def by_hand(model: nn.Sequential, y: Any) -> float:
    """All losses, each by a model of its own that has the same weights."""
    total = 0.0
    ends = [((), 0, 0.7), ((1, 2), 3, 0.3), ((1, 2, 4), 5, 0.0), ((1, 2, 4, 6, 7), None, 1.0)]
    for trunk, head, weight in ends:
        parts = [(model.layers[i], model.params.get(str(i))) for i in trunk]
        if head is not None:
            inside = model.layers[head].layers
            parts += [(layer, model.params[str(head)].get(str(i))) for i, layer in enumerate(inside)]
        plain = nn.Sequential(*(layer for layer, _ in parts), loss=model.loss_function, dtype=np.float64)
        for i, (_, p) in enumerate(parts):
            for name in p or ():
                plain.params[str(i)][name][...] = p[name]
        total += weight * plain.loss(X, y)
    return total


@pytest.mark.parametrize(
    ("loss", "y"), [(None, LABELS), (nn.SquaredError(), VALUES)], ids=["labels", "values"]
)
def test_loss_and_gradients(loss: Any, y: Any) -> None:
    model = made(loss=loss)
    value, grads = model.loss_and_grads(X, y)
    assert value == pytest.approx(by_hand(model, y), rel=1e-13)
    given = copy.deepcopy(grads)
    for (leaf, path), g in zip(
        zip(*flatten_tree(model.params), strict=True), flatten_tree(given)[0], strict=True
    ):
        numeric = np.empty_like(leaf)
        for i in np.ndindex(leaf.shape):
            kept = leaf[i]
            leaf[i] = kept + 1e-6
            up = by_hand(model, y)
            leaf[i] = kept - 1e-6
            numeric[i] = (up - by_hand(model, y)) / 2e-6
            leaf[i] = kept
        np.testing.assert_allclose(g, numeric, rtol=1e-5, atol=1e-8, err_msg=path)


def test_only_in_training() -> None:
    model = made()
    plain = nn.Sequential(*(x for x in model.layers if not isinstance(x, nn.Auxiliary)), dtype=np.float64)
    for mine, theirs in zip(["1", "4", "7"], plain.params, strict=True):
        for name in ("w", "b"):
            plain.params[theirs][name][...] = model.params[mine][name]
    assert bits(model.predict(X)) == bits(plain.predict(X))
    assert model.loss(X, LABELS) == plain.loss(X, LABELS) < model.loss_and_grads(X, LABELS)[0]
    assert model.batches_seen == 1


def test_weight_as_a_function_of_the_batch() -> None:
    model, same = made(fo.schedules.linear(0.6, 0.0, steps=4)), made(0.0)
    for t in range(1, 6):
        value = model.loss_and_grads(X, LABELS)[0]
        rest = same.loss_and_grads(X, LABELS)[0]
        head = nn.Segment(made(1.0), 1, 3)
        side = made(1.0).loss_and_grads(X, LABELS)[0] - rest
        assert value - rest == pytest.approx(max(0.6 * (1 - t / 4), 0) * side, rel=1e-9, abs=1e-12)
        assert head.n_out == 8
    assert model.batches_seen == 5


def test_going_on_is_bit_for_bit(tmp_path: Any) -> None:
    def fresh() -> tuple[nn.Sequential, fo.Optimizer]:
        model = made(fo.schedules.linear(0.6, 0.0, steps=8))
        return model, fo.Adam(model.params, lr=0.01)

    def go(model: nn.Sequential, opt: fo.Optimizer, steps: int) -> Any:
        for _ in range(steps):
            opt.step(model.loss_and_grads(X, LABELS)[1])
        return bits(model.vector)

    want = go(*fresh(), 6)
    for cut in (0, 3, 6):
        model, opt = fresh()
        go(model, opt, cut)
        fo.save(tmp_path / "x.safetensors", model=model, opt=opt)
        nn.save(tmp_path / "m.safetensors", model)
        again, opt2 = fresh()
        fo.load(tmp_path / "x.safetensors", model=again, opt=opt2)
        assert go(again, opt2, 6 - cut) == want
        for twin in (
            pickle.loads(pickle.dumps(model)),
            copy.deepcopy(model),
            nn.load(tmp_path / "m.safetensors"),
        ):
            other = fo.Adam(twin.params, lr=0.01)
            other.load_state_dict(opt.state_dict())
            assert twin.batches_seen == cut and twin.layers == model.layers
            assert go(twin, other, 6 - cut) == want


@pytest.mark.parametrize(
    "weight",
    [0.25, fo.schedules.cosine(0.3, 10), fo.schedules.join([0.3, fo.schedules.exponential(0.3, 0.9)], [5])],
    ids=repr,
)
def test_config_comes_back(weight: Any) -> None:
    layer = nn.Auxiliary(nn.Dense(4, 3), weight=weight)
    again = layer_from(json.loads(json.dumps(layer.config())))
    assert again == layer
    assert [again.weight_at(t) for t in (1, 7, 20)] == [layer.weight_at(t) for t in (1, 7, 20)]


def test_a_function_of_ones_own_is_not_saved(tmp_path: Any) -> None:
    model = nn.Sequential(
        nn.Dense(5, 4), nn.Auxiliary(nn.Dense(4, 3), weight=lambda t: 1 / t), nn.Dense(4, 3)
    )
    model.loss_and_grads(X, LABELS)
    with pytest.raises(TypeError, match="a number or a schedule of fo.schedules can be saved"):
        nn.save(tmp_path / "m.safetensors", model)
    assert not list(tmp_path.iterdir())


def head_from(weight: Any) -> nn.Layer:
    return layer_from({"layer": "Auxiliary", "layers": [nn.Dense(2, 2).config()], "weight": weight})


@pytest.mark.parametrize("seen", [-1, "3", True, 1.5, None])
def test_a_forged_count_is_refused(seen: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = made()
    monkeypatch.setattr(model, "batches_seen", seen)
    nn.save(tmp_path / "m.safetensors", model)
    with pytest.raises(ValueError, match="cannot load a model .* its batches_seen is"):
        nn.load(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: nn.Auxiliary(), ValueError, "Auxiliary got no layers"),
        (lambda: nn.Auxiliary(nn.Tanh()), ValueError, "has no Dense layer"),
        (lambda: nn.Auxiliary(nn.Dense(2, 2), weight=-1), ValueError, "weight is -1"),
        (lambda: nn.Auxiliary(nn.Dense(2, 2), weight="a"), TypeError, "weight is 'a'"),
        (lambda: nn.Auxiliary(nn.Dense(2, 2), weight=lambda t: -t), ValueError, r"weight\(1\) is -1"),
        (lambda: nn.Auxiliary(nn.Auxiliary(nn.Dense(2, 2))), TypeError, "stands in a Sequential itself"),
        (lambda: nn.Residual(nn.Dense(2, 2), nn.Auxiliary(nn.Dense(2, 2))), TypeError, "stands in a Sequential"),
        (lambda: nn.Sequential(nn.Dense(2, 4), nn.Auxiliary(nn.Dense(4, 3)), nn.Dense(4, 5)), ValueError,
         "layer 1: the auxiliary head gives 3 columns; the model's 5"),
        (lambda: nn.Sequential(nn.Dense(2, 4), nn.Auxiliary(nn.Dense(5, 3)), nn.Dense(4, 3)), ValueError, "columns"),
        (lambda: layer_from({"layer": "Auxiliary", "layers": []}), ValueError, "unknown"),
        (lambda: layer_from({"layer": "Auxiliary", "layers": [], "weight": 1}), ValueError, "no layers"),
        (lambda: layer_from({"layer": "Auxiliary", "layers": [nn.Dense(2, 2).config()],
                             "weight": {"schedule": "Schedule"}}), ValueError, "schedule"),
        (lambda: head_from("0.3"), ValueError, "layer Auxiliary: .* weight is '0.3'"),
        (lambda: head_from(None), ValueError, "layer Auxiliary"),
        (lambda: head_from({"schedule": "plot"}), ValueError, "schedule 'plot' is unknown"),
        (lambda: head_from({"schedule": ["linear"]}), ValueError, "is unknown"),
        (lambda: head_from({"schedule": "linear"}), ValueError, "layer Auxiliary"),
        (lambda: head_from({"schedule": "linear", "start": 1, "steps": 5, "more": 2}), ValueError, "layer Auxiliary"),
        (lambda: head_from({"schedule": "linear", "start": -1, "steps": 5}), ValueError, "linear: start is -1"),
    ],
)  # fmt: skip
def test_bad_heads_are_named(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        call()


def test_a_weight_that_turns_bad_changes_nothing() -> None:
    model = made(lambda t: 1.0 if t < 2 else math.nan)
    model.loss_and_grads(X, LABELS)
    before = bits([model.vector, model.grad_vector]), model.batches_seen
    with pytest.raises(ValueError, match=r"weight\(2\) is nan"):
        model.loss_and_grads(X, LABELS)
    assert before == (bits([model.vector, model.grad_vector]), model.batches_seen)


def test_a_head_has_statistics_of_its_own() -> None:
    inside = [nn.Dense(8, 6), nn.BatchNorm(6), nn.Dropout(0.2), nn.Dense(6, 3)]
    model = nn.Sequential(nn.Dense(5, 8), nn.Auxiliary(*inside), nn.Tanh(), nn.Dense(8, 3), dtype=np.float64)
    model.loss_and_grads(X, LABELS)
    once = copy.deepcopy(model.buffers)
    model.refresh_statistics([X])
    p = model.params
    z = (X @ p["0"]["w"] + p["0"]["b"]) @ p["1"]["0"]["w"] + p["1"]["0"]["b"]
    np.testing.assert_allclose(model.buffers["1"]["1"]["mean"], z.mean(0))
    assert bits(once) != bits(model.buffers)


# ---- what they are for (8.7.5)


def deep(kind: str, depth: int, seed: int) -> nn.Sequential:
    """Many narrow tanh layers that start uniform within 1 / sqrt(m): what passes shrinks from layer to layer."""
    inner: list[nn.Layer] = [nn.Dense(64, 16), nn.Tanh()]
    for _ in range(depth):
        block = [nn.Dense(16, 16), nn.Tanh()]
        inner += [nn.Residual(*block, nn.Dense(16, 16))] if kind == "residual" else block
        if kind == "auxiliary":
            inner.append(nn.Auxiliary(nn.Dense(16, 10), weight=1.0))
    model = nn.Sequential(*inner, nn.Dense(16, 10))
    rng = np.random.default_rng(seed)
    for p, path in zip(*flatten_tree(model.params), strict=True):
        if path.endswith("w"):
            p[...] = rng.uniform(-1, 1, p.shape) / math.sqrt(len(p))
    return model


def test_they_train_where_the_plain_net_does_not() -> None:
    x, y = fo.data.load_digits()
    x = (x / 16).astype(np.float32)
    right: dict[str, list[float]] = {"plain": [], "residual": [], "auxiliary": []}
    for kind, found in right.items():
        for seed in (0, 1):
            model = deep(kind, 16, seed)
            opt = fo.Adam(model.params, lr=3e-3)
            batches = fo.Batches(x, y, size=64, rng=seed)
            for _ in range(25):
                for xb, yb in batches:
                    opt.step(model.loss_and_grads(xb, yb)[1])
            found.append(float((model.predict(x).argmax(1) == y).mean()))
    # Of six seeds seen: plain 0.10 to 0.47, residual 0.98 to 1.00, auxiliary 0.75 to 0.93.
    assert np.mean(right["plain"]) < 0.45
    assert np.mean(right["residual"]) > 0.9
    assert np.mean(right["auxiliary"]) > 0.65
