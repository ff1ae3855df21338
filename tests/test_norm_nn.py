"""Normalization layers of fastopt.nn: gradients, running statistics as buffers of the model, saving, folding."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt as fo
import reference_norm as reference
from fastopt import nn

ROWS = 40


def data(rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, 6)) * [1, 2, 3, 0.1, 1, 5] + 1
    return x, (x[:, 0] * x[:, 1] > 1).astype(np.int64)


def network(dtype: Any = np.float64, rng: int = 0, **options: Any) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm(6), nn.Dense(6, 12), nn.BatchNorm(12, **options), nn.Tanh(),
        nn.Residual(nn.BatchNorm(12, affine=False), nn.Tanh(), nn.Dense(12, 12)),
        nn.LayerNorm(12), nn.RMSNorm(12, 1e-3), nn.Dropout(0.0), nn.Dense(12, 2), dtype=dtype, rng=rng,
    )  # fmt: skip


def trained(**options: Any) -> nn.Sequential:
    model = network(**options)
    opt = fo.SGD(model.params, lr=0.1)
    for k in range(5):
        opt.step(model.loss_and_grads(*data(seed=k))[1])
    return model


@pytest.mark.parametrize("options", [{}, {"ghost": 15}, {"groups": 3}])
def test_gradients_are_complex_step_derivatives_of_the_whole(options: Any) -> None:
    model = network(**options)
    x, labels = data()
    rng = np.random.default_rng(1)
    model.vector[:] += 0.1 * rng.standard_normal(model.vector.size)

    def loss(vector: Any) -> Any:
        feed = iter(np.split(vector, np.cumsum([leaf.size for leaf in leaves])[:-1]))
        p = {path: next(feed).reshape(leaf.shape) for path, leaf in zip(model.paths, leaves, strict=True)}
        h = reference.batch_norm(x, p["0/gamma"], p["0/beta"])[0] @ p["1/w"] + p["1/b"]
        h = np.tanh(reference.batch_norm(h, p["2/gamma"], p["2/beta"], **options)[0])
        h = h + np.tanh(reference.batch_norm(h)[0]) @ p["4/2/w"] + p["4/2/b"]
        h = reference.rms_norm(reference.layer_norm(h, p["5/gamma"], p["5/beta"]), p["6/gamma"], 1e-3)
        z = h @ p["8/w"] + p["8/b"]
        return (np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), labels]).mean()

    leaves = [leaf for _, leaf in fo._trees.leaves_with_paths(model.params)]
    value, _ = model.loss_and_grads(x, labels)
    assert value == pytest.approx(float(loss(model.vector)), rel=1e-12)
    wanted = reference.complex_step(loss, model.vector)
    np.testing.assert_allclose(model.grad_vector, wanted, rtol=1e-9, atol=1e-12)


def test_prediction_uses_the_running_statistics() -> None:
    model = nn.Sequential(nn.Dense(6, 4), nn.BatchNorm(4, eps=1e-3, momentum=0.3), dtype=np.float64)
    x, labels = data()
    model.loss_and_grads(x, labels)
    z = x @ model.params["0"]["w"] + model.params["0"]["b"]
    kept = model.buffers["1"]
    np.testing.assert_allclose(kept["mean"], 0.3 * z.mean(0), rtol=1e-12)
    np.testing.assert_allclose(kept["var"], 0.7 + 0.3 * z.var(0, ddof=1), rtol=1e-12)
    assert kept["count"] == 1
    wanted = (z - kept["mean"]) / np.sqrt(kept["var"] + 1e-3)
    np.testing.assert_allclose(model.predict(x), wanted, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(model.predict(x[:1]), wanted[:1], rtol=1e-11, atol=1e-12)
    assert kept["count"] == 1  # reading leaves them


def test_the_bias_before_it_is_redundant() -> None:
    model = nn.Sequential(
        nn.Dense(6, 8), nn.BatchNorm(8, eps=1e-30), nn.ReLU(), nn.Dense(8, 2), dtype=np.float64
    )
    x, labels = data()
    before, grads = model.loss_and_grads(x, labels)
    assert np.abs(grads["0"]["b"]).max() < 1e-14
    w = model.params["0"]["w"]
    assert np.abs((w * grads["0"]["w"]).sum(0)).max() < 1e-13  # orthogonal to its scale
    model.params["0"]["b"] += 3
    w *= 2
    assert model.loss_and_grads(x, labels)[0] == pytest.approx(before, rel=1e-11)


def test_state_pickle_copy_and_files(tmp_path: Path) -> None:
    for dtype in (np.float32, np.float64):
        model = trained(dtype=dtype)
        x, labels = data()
        wanted = model.predict(x)
        nn.save(tmp_path / "model", model)
        state = model.state_dict()
        other = network(dtype=dtype, rng=9)
        other.load_state_dict(state)
        fo.save(tmp_path / "run", model=model)
        fresh = network(dtype=dtype, rng=8)
        fo.load(tmp_path / "run", model=fresh)
        copies = [
            other,
            fresh,
            pickle.loads(pickle.dumps(model)),
            copy.deepcopy(model),
            nn.load(tmp_path / "model"),
        ]
        expected = model.loss_and_grads(x, labels)[0]
        after = model.predict(x)
        for same in copies:
            assert same.predict(x).tobytes() == wanted.tobytes()
            assert same.buffers["2"]["count"] == 5
            assert same.loss_and_grads(x, labels)[0] == expected
            assert same.predict(x).tobytes() == after.tobytes()  # the statistics went on alike
        assert state["buffers"]["2"]["count"] == 5  # a copy


def test_a_run_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def start() -> tuple[nn.Sequential, Any]:
        model = network(np.float32, momentum=None)
        return model, fo.Adam(model.params, lr=0.01)

    model, opt = start()
    for k in range(8):
        opt.step(model.loss_and_grads(*data(seed=k))[1])
        if k == 3:
            fo.save(tmp_path / "run", model=model, opt=opt)
    other, again = start()
    fo.load(tmp_path / "run", model=other, opt=again)
    for k in range(4, 8):
        again.step(other.loss_and_grads(*data(seed=k))[1])
    assert other.vector.tobytes() == model.vector.tobytes()
    for mine, theirs in zip(
        fo._trees.flatten_tree(other.buffers)[0], fo._trees.flatten_tree(model.buffers)[0], strict=True
    ):
        assert mine.tobytes() == theirs.tobytes()


def test_states_of_other_models_are_refused_whole() -> None:
    model = trained()
    state = model.state_dict()
    before = (model.vector.tobytes(), model.buffers["2"]["mean"].tobytes())
    torn = {key: part for key, part in state.items() if key != "buffers"}
    wrong = state | {
        "buffers": state["buffers"] | {"0": {"mean": np.zeros(7), "var": np.ones(7), "count": np.zeros(1)}}
    }
    for bad in (torn, wrong):
        with pytest.raises(ValueError, match="buffers"):
            model.load_state_dict(bad)
    assert before == (model.vector.tobytes(), model.buffers["2"]["mean"].tobytes())


def test_models_without_batch_norm_are_as_they_were() -> None:
    model = nn.mlp(6, [4], 2)
    assert model.buffers == {} and set(model.state_dict()) == {"params", "dropout"}
    old = model.__getstate__()
    del old["buffers"]  # as pickled before there were any
    other = nn.Sequential.__new__(nn.Sequential)
    other.__setstate__(old)
    assert other.vector.tobytes() == model.vector.tobytes()
    assert model.refresh_statistics(iter(())) == 0


def test_refreshed_statistics_are_those_of_the_present_weights() -> None:
    model = nn.Sequential(
        nn.Dense(6, 8), nn.BatchNorm(8), nn.Dropout(0.5), nn.ReLU(), nn.Dense(8, 2), dtype=np.float64
    )
    x, labels = data(60)
    model.loss_and_grads(x, labels)
    model.vector[:] *= 1.7  # as after an average of weights
    generator = repr(model.state_dict()["dropout"])
    told: list[Any] = []
    batches = [x[:20], (x[20:40], labels[20:40]), [x[40:]]]
    assert model.refresh_statistics(iter(batches), progress=lambda *what: told.append(what)) == 3
    z = (x @ model.params["0"]["w"] + model.params["0"]["b"]).reshape(3, 20, 8)
    np.testing.assert_allclose(model.buffers["1"]["mean"], z.mean(1).mean(0), rtol=1e-12)
    np.testing.assert_allclose(model.buffers["1"]["var"], z.var(1, ddof=1).mean(0), rtol=1e-12)
    assert model.buffers["1"]["count"] == 3 and len(told) == 3
    assert repr(model.state_dict()["dropout"]) == generator  # nothing was drawn
    before = [leaf.tobytes() for leaf in model.buffers["1"].values()]

    def broken() -> Any:
        yield x[:20]
        raise KeyboardInterrupt

    for bad, kind in ((iter(()), ValueError), ([x[:, :3]], ValueError), (broken(), KeyboardInterrupt)):
        with pytest.raises(kind):
            model.refresh_statistics(bad)
        assert [leaf.tobytes() for leaf in model.buffers["1"].values()] == before


def test_folded_models_predict_alike() -> None:
    x, labels = data()
    models = [
        nn.Sequential(nn.Dense(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dense(8, 2), dtype=np.float64),
        nn.Sequential(nn.BatchNorm(6), nn.Dense(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.BatchNorm(8, affine=False), nn.Dropout(0.1), nn.Dense(8, 2), dtype=np.float64),
        nn.Sequential(nn.Dense(6, 8), nn.Residual(nn.Dense(8, 8), nn.BatchNorm(8), nn.Tanh(), nn.Residual(nn.Dense(8, 8), nn.BatchNorm(8))), nn.Dense(8, 2), dtype=np.float64),
        nn.Sequential(nn.Dense(6, 8), nn.BatchNorm(8), nn.BatchNorm(8), nn.Dense(8, 2), nn.BatchNorm(2), dtype=np.float64),
    ]  # fmt: skip
    for model in models:
        opt = fo.SGD(model.params, lr=0.1)
        for k in range(4):
            opt.step(model.loss_and_grads(*data(seed=k))[1])
        model.meta["name"] = "m"
        before = model.vector.copy()
        folded = nn.fold(model)
        assert "BatchNorm" not in repr(folded) and folded.buffers == {} and folded.meta == {"name": "m"}
        np.testing.assert_allclose(folded.predict(x), model.predict(x), rtol=1e-11, atol=1e-12)
        assert model.vector.tobytes() == before.tobytes()
    single = nn.Sequential(nn.Dense(6, 8), nn.BatchNorm(8), nn.ReLU(), nn.Dense(8, 2))
    single.loss_and_grads(x, labels)
    np.testing.assert_allclose(nn.fold(single).predict(x), single.predict(x), atol=1e-5)


def test_what_cannot_be_folded_is_named() -> None:
    tail = nn.Sequential(nn.Dense(6, 8), nn.ReLU(), nn.BatchNorm(8))
    inside = nn.Sequential(nn.Dense(6, 8), nn.Residual(nn.BatchNorm(8), nn.ReLU(), nn.Dense(8, 8)))
    for model, path in ((tail, "layer 2,"), (inside, "layer 1/0,")):
        with pytest.raises(ValueError, match=path):
            nn.fold(model)
    with pytest.raises(TypeError, match="model is int"):
        nn.fold(3)  # type: ignore[arg-type]


def test_a_step_allocates_no_array() -> None:
    model = nn.Sequential(
        nn.Dense(64, 128), nn.BatchNorm(128), nn.ReLU(), nn.LayerNorm(128), nn.Dense(128, 2)
    )
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((256, 64)).astype(np.float32), rng.integers(0, 2, 256)
    for _ in range(3):
        model.loss_and_grads(x, labels)
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    for _ in range(5):
        model.loss_and_grads(x, labels)
    peak = tracemalloc.get_traced_memory()[1] - base
    tracemalloc.stop()
    assert peak < 16_000  # an array of a batch is 131,072 bytes


def test_the_input_is_let_go() -> None:
    import sys

    model = nn.Sequential(nn.BatchNorm(6), nn.Dense(6, 2), dtype=np.float64)
    x, labels = data()
    before = sys.getrefcount(x)
    model.loss_and_grads(x, labels)
    model.predict(x)
    assert sys.getrefcount(x) == before


@pytest.mark.parametrize(("make", "message", "kind"), [
    (lambda: nn.BatchNorm(0), "features is 0", ValueError),
    (lambda: nn.BatchNorm(2.5), "features is 2.5", TypeError),  # type: ignore[arg-type]
    (lambda: nn.BatchNorm(3, eps=0), "eps is", ValueError),
    (lambda: nn.BatchNorm(3, momentum=2), "momentum is", ValueError),
    (lambda: nn.BatchNorm(3, affine=1), "affine is", TypeError),  # type: ignore[arg-type]
    (lambda: nn.BatchNorm(3, groups=0), "groups is", ValueError),
    (lambda: nn.BatchNorm(3, groups=2, ghost=2), "groups and ghost", ValueError),
    (lambda: nn.LayerNorm(3, eps=-1), "eps is", ValueError),
    (lambda: nn.RMSNorm("3"), "features is", TypeError),  # type: ignore[arg-type]
    (lambda: nn.Sequential(nn.Dense(6, 4), nn.BatchNorm(5)), "gets 4 columns", ValueError),
    (lambda: nn.Residual(nn.LayerNorm(4), nn.Dense(4, 3)), "turns 4 columns into 3", ValueError),
])  # fmt: skip
def test_bad_settings(make: Any, message: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=message):
        make()


def test_files_whose_buffers_are_torn(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    model = trained(dtype=np.float32)
    nn.save(tmp_path / "model", model)
    with safe_open(tmp_path / "model", framework="numpy") as file:
        header = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {"2/mean", "2/var", "2/count", "4/0/mean"} <= set(arrays)
    for change in (
        {"2/mean": np.zeros(11, np.float32)},
        {"2/count": np.zeros(1, np.float32)},
        {"2/var": arrays["2/var"] + 1},
    ):
        save_file(arrays | change, tmp_path / "bad", metadata=header)
        with pytest.raises(ValueError, match="cannot load"):
            nn.load(tmp_path / "bad")
    del arrays["2/mean"]
    save_file(arrays, tmp_path / "bad", metadata=header)
    with pytest.raises(ValueError, match="not those of its layers"):
        nn.load(tmp_path / "bad")
