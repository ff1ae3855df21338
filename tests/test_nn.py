"""fastopt.nn: every gradient against differences and complex step, buffers, bad input, and that it learns."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.special import erf

import fastopt as fo
from fastopt import nn
from fastopt._core import layers as kernels
from fastopt._core import runtime

LOSSES = {
    "softmax": (nn.SoftmaxCrossEntropy(), 4),
    "bce": (nn.BinaryCrossEntropy(), 3),
    "bce1": (nn.BinaryCrossEntropy(), 1),
    "hinge": (nn.Hinge(), 4),
    "hinge1": (nn.Hinge(), 1),
    "squared": (nn.SquaredError(), 2),
    "huber": (nn.Huber(0.7), 2),
}

NETS = {
    "linear": [nn.Dense(5, 7)],
    "relu": [nn.Dense(5, 7), nn.ReLU()],
    "tanh": [nn.Dense(5, 7), nn.Tanh()],
    "sigmoid": [nn.Dense(5, 7), nn.Sigmoid()],
    "gelu": [nn.Dense(5, 7), nn.GELU()],
    "dropout": [nn.Dropout(0.2), nn.Dense(5, 7), nn.Tanh(), nn.Dropout(0.4)],
    "residual": [nn.Dense(5, 7), nn.Residual(nn.Dense(7, 6), nn.GELU(), nn.Dense(6, 7))],
    "residual first": [nn.Residual(nn.Tanh(), nn.Dense(5, 5), nn.ReLU()), nn.Dense(5, 7), nn.GELU()],
    "activations alone": [nn.Tanh(), nn.Dense(5, 7), nn.ReLU(), nn.GELU(), nn.Sigmoid()],
    "nested": [nn.Dense(5, 7), nn.Residual(nn.Residual(nn.Dense(7, 7), nn.Tanh()), nn.Dropout(0.3))],
    "residual of activation": [nn.Dense(5, 7), nn.Residual(nn.GELU()), nn.Residual(nn.Tanh(), nn.Sigmoid())],
}
WITHOUT_DROPOUT = [name for name in NETS if name not in ("dropout", "nested")]


def target(loss, outputs, n, rng):
    if isinstance(loss, (nn.SoftmaxCrossEntropy, nn.Hinge)):
        return rng.integers(0, max(outputs, 2), n)
    if isinstance(loss, nn.BinaryCrossEntropy):
        return rng.uniform(size=(n, outputs))
    return rng.standard_normal((n, outputs))


def build(layers, loss, outputs, dtype=np.float64, rng=3):
    model = nn.Sequential(*layers, nn.Dense(7, outputs), loss=loss, dtype=dtype, rng=rng)
    moved = np.random.default_rng(5).normal(size=model.vector.size)  # biases off 0
    model.vector += moved.astype(dtype) / 10
    return model


def restarted(model, state, x, y):
    """The training loss with the dropout masks that `state` gives."""
    for path, rng in model._generators.items():
        rng.bit_generator.state = state[path]
    return model.loss_and_grads(x, y)[0]


# ---- gradients ----


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("net", NETS)
def test_gradient_is_the_central_difference(net, loss):
    rng = np.random.default_rng(11)
    kind, outputs = LOSSES[loss]
    model = build(NETS[net], kind, outputs)
    x, y = rng.standard_normal((6, 5)), target(kind, outputs, 6, rng)
    state = model.state_dict()["dropout"]
    restarted(model, state, x, y)
    grad = model.grad_vector.copy()
    h = 1e-6
    numeric = np.empty_like(grad)
    for i in range(grad.size):
        old = model.vector[i]
        model.vector[i] = old + h
        up = restarted(model, state, x, y)
        model.vector[i] = old - h
        numeric[i] = (up - restarted(model, state, x, y)) / (2 * h)
        model.vector[i] = old
    assert np.abs(grad).max() > 1e-3
    # rounding of the difference: eps * loss / h is about 1e-9
    np.testing.assert_allclose(grad, numeric, rtol=2e-6, atol=5e-9)


def softmax_formula(z, y):
    return np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y])


def bce_formula(z, y):
    p = 1 / (1 + np.exp(-z))
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum() / len(y)


def hinge_formula(z, y):
    rows = np.arange(len(y))
    if z.shape[1] == 1:
        gap = 1 - np.where(y > 0, 1, -1) * z[:, 0]
    else:
        others = np.where(np.arange(z.shape[1]) == y[:, None], -np.inf, z.real)
        gap = 1 + z[rows, others.argmax(axis=1)] - z[rows, y]
    return np.where(gap.real > 0, gap, 0).sum() / len(y)


def squared_formula(z, y):
    return ((z - y) ** 2).sum() / len(y)


def huber_formula(z, y, delta=0.7):
    r = z - y
    size = np.where(r.real < 0, -r, r)
    return np.where(size.real <= delta, r * r / 2, delta * (size - delta / 2)).sum() / len(y)


FORMULAS = {
    "softmax": softmax_formula,
    "bce": bce_formula,
    "bce1": bce_formula,
    "hinge": hinge_formula,
    "hinge1": hinge_formula,
    "squared": squared_formula,
    "huber": huber_formula,
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("seed", range(3))
def test_loss_is_its_formula_and_its_gradient_the_complex_step(name, seed):
    rng = np.random.default_rng(seed)
    loss, outputs = LOSSES[name]
    z, y = rng.standard_normal((9, outputs)) * 2, target(loss, outputs, 9, rng)
    value, grad = loss.value_and_grad(z, y)
    formula = FORMULAS[name]
    assert value == pytest.approx(formula(z, y), rel=1e-14)
    assert loss(z, y) == value
    for i, j in np.ndindex(*z.shape):
        moved = z.astype(complex)
        moved[i, j] += 1e-30j
        assert grad[i, j] == pytest.approx(formula(moved, y).imag / 1e-30, rel=1e-13, abs=1e-16)


def gelu_formula(z):
    """erf takes no complex number: to first order in the imaginary part, which is exact at 1e-30."""
    cdf = 0.5 * (1 + erf(z.real / np.sqrt(2)))
    return z.real * cdf + 1j * z.imag * (cdf + z.real * np.exp(-(z.real**2) / 2) / np.sqrt(2 * np.pi))


FUNCTIONS = {
    nn.ReLU: lambda z: np.where(z.real > 0, z, 0),
    nn.Tanh: np.tanh,
    nn.Sigmoid: lambda z: 1 / (1 + np.exp(-z)),
    nn.GELU: gelu_formula,
    nn.Dropout: lambda z: z,
}


def plain_forward(layers, params, x):
    """The network once more: plain, complex, without dropout."""
    for i, layer in enumerate(layers):
        if isinstance(layer, nn.Dense):
            x = x @ params[str(i)]["w"] + params[str(i)]["b"]
        elif isinstance(layer, nn.Residual):
            x = x + plain_forward(layer.layers, params.get(str(i)), x)
        else:
            x = FUNCTIONS[type(layer)](x)
    return x


def leaves(tree):
    return [leaf for child in tree.values() for leaf in leaves(child)] if isinstance(tree, dict) else [tree]


def rebuild(tree, feed):
    if isinstance(tree, dict):
        return {key: rebuild(child, feed) for key, child in tree.items()}
    return next(feed).reshape(tree.shape)


@pytest.mark.parametrize("net", NETS)
def test_prediction_is_the_plain_formula(net):
    model = build(NETS[net], nn.SquaredError(), 2)
    x = np.random.default_rng(0).standard_normal((40, 5))
    wanted = plain_forward(model.layers, model.params, x + 0j).real
    np.testing.assert_allclose(model.predict(x), wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("net", WITHOUT_DROPOUT)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_is_the_complex_step_through_the_network(net, loss):
    """Along a direction d of the parameters: grad . d is the imaginary part of loss(p + ih d) / h."""
    kind, outputs = LOSSES[loss]
    model = build(NETS[net], kind, outputs)
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((8, 5)), target(kind, outputs, 8, rng)
    model.loss_and_grads(x, y)
    sizes = [leaf.size for leaf in leaves(model.params)]
    for _ in range(5):
        d = rng.standard_normal(model.vector.size)
        feed = iter(np.split(model.vector + 1e-30j * d, np.cumsum(sizes)[:-1]))
        z = plain_forward(model.layers, rebuild(model.params, feed), x + 0j)
        exact = FORMULAS[loss](z, y).imag / 1e-30
        assert model.grad_vector @ d == pytest.approx(exact, rel=1e-11, abs=1e-13)


@pytest.mark.parametrize("net", WITHOUT_DROPOUT)
@pytest.mark.parametrize("loss", LOSSES)
def test_float32_agrees_with_float64(net, loss):
    rng = np.random.default_rng(1)
    kind, outputs = LOSSES[loss]
    wide, narrow = (build(NETS[net], kind, outputs, dtype) for dtype in (np.float64, np.float32))
    wide.vector[:] = narrow.vector
    x, y = rng.standard_normal((50, 5)).astype(np.float32), target(kind, outputs, 50, rng)
    if y.dtype.kind == "f":
        y = y.astype(np.float32)
    a, b = wide.loss_and_grads(x, y)[0], narrow.loss_and_grads(x, y)[0]
    assert b == pytest.approx(a, rel=2e-6)
    scale = np.abs(wide.grad_vector).max()
    np.testing.assert_allclose(narrow.grad_vector, wide.grad_vector, atol=2e-6 * scale, rtol=0)


def test_long_batches_sum_in_double_or_in_short_sums():
    """A running float32 sum of 1e5 equal rows would be off by far more."""
    n = 100_001
    d, total = np.full((n, 1), 0.1, np.float32), np.empty(1, np.float32)
    running = np.float32(0)
    for _ in range(n):
        running += np.float32(0.1)
    exact = n * float(np.float32(0.1))
    kernels.slope(kernels.NONE, d, None, total)
    assert abs(float(running) / exact - 1) > 5e-5
    assert total[0] == pytest.approx(exact, rel=1e-5)
    assert nn.SquaredError()(d, np.zeros(n)) == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-12)


@pytest.mark.parametrize("columns", [1, 255, 256, 257, 600])
@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_slope_kernel_over_strips(rows, columns):
    rng = np.random.default_rng(rows * columns)
    y = rng.standard_normal((rows, columns))
    slopes = {
        kernels.NONE: np.ones_like(y),
        kernels.RELU: (y > 0) * 1.0,
        kernels.TANH: 1 - y * y,
        kernels.SIGMOID: y * (1 - y),
        kernels.TIMES: y,
    }
    for kind, slope in slopes.items():
        for dtype in (np.float32, np.float64):
            d = rng.standard_normal((rows, columns)).astype(dtype)
            wanted = d * slope.astype(dtype)
            total = np.empty(columns, dtype)
            kernels.slope(kind, d, None if kind == kernels.NONE else y.astype(dtype), total)
            tolerance = 64 * np.finfo(dtype).eps
            np.testing.assert_allclose(d, wanted, rtol=tolerance, atol=tolerance)
            np.testing.assert_allclose(total, wanted.sum(axis=0), rtol=tolerance, atol=20 * tolerance)


# ---- extreme values ----


def test_losses_do_not_overflow():
    z = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    for loss in (nn.SoftmaxCrossEntropy(), nn.Hinge()):
        value, grad = loss.value_and_grad(z, np.array([0, 0]))
        assert value == pytest.approx(1e4, rel=1e-3)
        assert np.isfinite(grad).all()
    value, grad = nn.BinaryCrossEntropy().value_and_grad(z, np.array([[1, 0], [1, 0]]))
    assert value == pytest.approx(1e4)
    np.testing.assert_array_equal(grad, [[0, 0], [-0.5, 0.5]])


def test_confident_loss_is_not_rounded_to_zero():
    z = np.array([[20.0, 0.0]], np.float32)
    assert nn.SoftmaxCrossEntropy()(z, [0]) == pytest.approx(np.log1p(np.exp(-20.0)), rel=1e-6)
    assert nn.BinaryCrossEntropy()(z[:, :1], [1]) == pytest.approx(np.log1p(np.exp(-20.0)), rel=1e-6)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("net", ["relu", "gelu", "tanh"])
def test_nan_in_x_passes_through(net, name):
    loss, outputs = LOSSES[name]
    model = build(NETS[net], loss, outputs, np.float32)
    x = np.ones((4, 5), np.float32)
    x[2, 3] = np.nan
    value, _ = model.loss_and_grads(x, target(loss, outputs, 4, np.random.default_rng(0)))
    assert np.isnan(value)
    assert np.isnan(model.grads["0"]["w"]).any()
    assert np.isfinite(model.predict(x)[[0, 1, 3]]).all()


# ---- one vector, views, no allocation ----


def test_trees_are_views_of_the_vectors():
    model = nn.mlp(5, [7], 3)
    assert model.paths == ["0/w", "0/b", "2/w", "2/b"]
    assert model.params["0"]["w"].shape == (5, 7)
    assert model.vector.ctypes.data % 64 == model.grad_vector.ctypes.data % 64 == 0
    model.vector[:] = np.arange(model.vector.size)
    assert np.concatenate([leaf.ravel() for leaf in leaves(model.params)]).tolist() == model.vector.tolist()
    model.vector /= model.vector.size
    x, y = np.ones((4, 5), np.float32), np.zeros(4, np.int64)
    _, grads = model.loss_and_grads(x, y)
    assert grads is model.grads
    assert np.shares_memory(grads["2"]["b"], model.grad_vector)
    before = model.predict(x)
    model.params["2"]["b"][0] += 1
    np.testing.assert_allclose(model.predict(x)[:, 0], before[:, 0] + 1, rtol=1e-6)


def _growth(net, loss, rounds):
    """Bytes that 2 `rounds` warm steps of a new model leave behind, those at their peak, and those left in data of arrays."""
    rng = np.random.default_rng(0)
    kind, outputs = LOSSES[loss]
    model = nn.Sequential(*NETS[net], nn.Dense(7, outputs), loss=kind)
    batches = [
        (rng.standard_normal((n, 5)).astype(np.float32), target(kind, outputs, n, rng)) for n in (3000, 400)
    ]
    for x, y in batches * 3:
        model.loss_and_grads(x, y)
    tracemalloc.start()
    try:
        for x, y in batches * 5:
            model.loss_and_grads(x, y)
        tracemalloc.reset_peak()
        start = tracemalloc.get_traced_memory()[0]
        for x, y in batches * rounds:
            model.loss_and_grads(x, y)
        now, peak = tracemalloc.get_traced_memory()
        arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        left = tracemalloc.take_snapshot().filter_traces([arrays]).traces
    finally:
        tracemalloc.stop()
    return now - start, peak - max(start, now), sum(trace.size for trace in left)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("loss", ["softmax", "bce", "huber"])
def test_no_allocation_once_warm(net, loss):
    # The interpreter's own tables may grow once in a window (seen on 3.13, the same in each); a leak grows with the steps.
    for _ in range(8):
        few, peak, arrays = _growth(net, loss, 20)
        many, _, _ = _growth(net, loss, 80)
        assert arrays == 0  # no data of an array, to the byte
        if many - few < 256 and peak < 1500:
            break
    assert many - few < 256  # no growth over 120 steps
    assert peak < 1500  # headers of views; the smallest array of a batch has 1600 bytes


def test_batch_is_let_go():
    for net in NETS.values():
        model = nn.Sequential(*net, nn.Dense(7, 4))
        x, y = np.ones((3, 5), np.float32), np.zeros(3, np.int64)
        before = sys.getrefcount(x), sys.getrefcount(y)
        model.loss_and_grads(x, y)
        model.loss(x, y)
        assert (sys.getrefcount(x), sys.getrefcount(y)) == before, net


def test_predict_leaves_training_alone_and_chunks_agree():
    rng = np.random.default_rng(0)
    model = nn.mlp(5, [7, 6], 3, activation="gelu", dtype=np.float64)
    x, y = rng.standard_normal((2500, 5)), rng.integers(0, 3, 2500)
    model.loss_and_grads(x[:8], y[:8])
    grads = model.grad_vector.copy()
    whole = model.predict(x)
    assert whole.shape == (2500, 3)
    np.testing.assert_array_equal(model.grad_vector, grads)
    single = np.vstack([model.predict(x[i : i + 1]) for i in range(0, 2500, 100)])
    np.testing.assert_allclose(single, whole[::100])
    assert model.predict(x[:0]).shape == (0, 3)
    assert model.loss(x, y) == pytest.approx(softmax_formula(whole, y), rel=1e-12)
    np.testing.assert_allclose(model.probabilities(x).sum(axis=1), 1)
    first = model.predict(x[:10])
    kept = first.copy()
    model.predict(x[10:20])
    np.testing.assert_array_equal(first, kept)  # results are never views of buffers


def test_other_layouts_and_dtypes_of_x_give_the_same():
    rng = np.random.default_rng(0)
    model = nn.mlp(5, [7], 3)
    x, y = rng.integers(0, 9, (12, 5)), rng.integers(0, 3, 12)
    narrow = x.astype(np.float32)
    wanted = model.loss_and_grads(narrow, y)[0], model.grad_vector.copy()
    wide = np.zeros((12, 10), np.float32)
    wide[:, ::2] = x
    raw = np.empty(narrow.nbytes + 1, np.uint8)
    odd = raw[1:].view(np.float32).reshape(12, 5)
    odd[...] = narrow
    backwards = np.ascontiguousarray(narrow[::-1])[::-1]
    variants = [x, x.astype(np.uint8), x.astype(float), x.astype(">f4"), x.tolist()]
    for variant in [*variants, wide[:, ::2], np.asfortranarray(narrow), odd, backwards]:
        for labels in (y, y.astype(np.uint8), y.tolist(), y.astype(">i4")):
            assert model.loss_and_grads(variant, labels)[0] == wanted[0]
            np.testing.assert_array_equal(model.grad_vector, wanted[1])


def test_buffers_of_few_batch_sizes_are_kept():
    model = nn.mlp(2, [3], 2)
    for n in range(1, 30):
        model.loss_and_grads(np.ones((n, 2), np.float32), np.zeros(n, np.int64))
        model.predict(np.ones((n, 2), np.float32))
    assert [len(plans) for plans in model._plans] == [4, 4]


# ---- initial weights, dropout ----


def test_initial_weights():
    for act, wanted in (("relu", 2 / 400), ("gelu", 2 / 400), ("tanh", 2 / 700), ("sigmoid", 2 / 700)):
        model = nn.mlp(400, [300], 200, activation=act, rng=1)
        assert model.params["0"]["w"].var() == pytest.approx(wanted, rel=0.02)
        assert model.params["2"]["w"].var() == pytest.approx(2 / 500, rel=0.02)
        assert not model.params["0"]["b"].any()
    a, b = nn.mlp(4, [3], 2, rng=7), nn.mlp(4, [3], 2, rng=np.random.default_rng(7), dtype=np.float64)
    np.testing.assert_array_equal(a.vector, b.vector.astype(np.float32))
    assert not np.array_equal(a.vector, nn.mlp(4, [3], 2, rng=8).vector)


def test_dropout_statistics():
    model = nn.Sequential(nn.Dropout(0.3), nn.Dense(1000, 1), loss=nn.SquaredError(), dtype=np.float64)
    model.params["1"]["w"][...] = 1
    x = np.ones((1000, 1000))
    model.loss_and_grads(x, np.zeros(1000))
    y = model._plan(1000, True).chain.first.y
    kept = y != 0
    assert kept.mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.21 / 1e6))
    np.testing.assert_array_equal(y[kept], np.full(kept.sum(), 1 / (1 - 0.3)))
    assert np.abs(kept.mean(axis=0) - 0.7).max() < 6 * np.sqrt(0.21 / 1000)
    np.testing.assert_allclose(model.predict(x), 1000)  # off


def test_dropout_is_reproducible_and_resumable():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 5)), rng.integers(0, 2, 16)

    def losses(model, n):
        return [model.loss_and_grads(x, y)[0] for _ in range(n)]

    a, b = (nn.mlp(5, [7, 7], 2, dropout=0.5, rng=4) for _ in range(2))
    whole = losses(a, 8)
    assert len(set(whole)) == 8
    assert losses(b, 4) == whole[:4]
    c = nn.mlp(5, [7, 7], 2, dropout=0.5, rng=99)
    losses(c, 1)
    state = b.state_dict()
    c.load_state_dict({"params": state["params"], "dropout": json.loads(json.dumps(state["dropout"]))})
    assert losses(c, 4) == whole[4:]
    b.predict(x)
    assert losses(b, 4) == whole[4:]
    stages = [forward.__self__ for forward in a._plan(16, True).chain.forwards]
    masks = [stage.u for stage in stages if hasattr(stage, "u")]
    assert len(masks) == 2
    assert not np.array_equal(*masks)


def test_state_of_another_model_is_refused():
    a, b = nn.mlp(4, [3], 2, dropout=0.5), nn.mlp(4, [5], 2, dropout=0.5)
    before = a.vector.copy()
    with pytest.raises(ValueError, match="params"):
        a.load_state_dict(b.state_dict())
    with pytest.raises(ValueError, match="dropout"):
        a.load_state_dict(b.state_dict() | {"params": a.state_dict()["params"], "dropout": {}})
    with pytest.raises(ValueError, match="PCG64"):
        a.load_state_dict(a.state_dict() | {"dropout": {"2": {"bit_generator": "MT19937"}}})
    np.testing.assert_array_equal(a.vector, before)


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_whole_and_independent(way):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 5)), rng.integers(0, 2, 16)
    inner = nn.Residual(nn.Dropout(0.5), nn.Dense(5, 5), nn.ReLU())
    model = nn.Sequential(nn.Dense(5, 5), inner, nn.Dense(5, 2))
    model.meta = {"a": 1}
    model.loss_and_grads(x, y)
    other = way(model)
    assert other.meta == {"a": 1}
    assert other.layers == model.layers
    assert not np.shares_memory(other.vector, model.vector)
    for _ in range(3):
        assert other.loss_and_grads(x, y)[0] == model.loss_and_grads(x, y)[0]
    np.testing.assert_array_equal(other.grad_vector, model.grad_vector)
    other.vector[:] = 0
    assert not other.params["0"]["w"].any()
    assert model.params["0"]["w"].any()


# ---- bad input ----

X, Y = np.ones((4, 5), np.float32), np.array([0, 1, 2, 1])
BAD_BATCHES = {
    "complex x": (X + 0j, Y, TypeError, "x is complex"),
    "text x": (X.astype(str), Y, TypeError, "x is"),
    "object x": (X.astype(object), Y, TypeError, "x is object"),
    "1-d x": (X[0], Y, ValueError, r"x has shape \(5,\)"),
    "narrow x": (X[:, :4], Y, ValueError, r"x has shape \(4, 4\); \(n, 5\)"),
    "3-d x": (X[None], Y, ValueError, "x has shape"),
    "no rows": (X[:0], Y[:0], ValueError, "x has no rows"),
    "few labels": (X, Y[:3], ValueError, r"y has shape \(3,\)"),
    "column of labels": (X, Y[:, None], ValueError, r"y has shape \(4, 1\)"),
    "float labels": (X, Y * 1.0, TypeError, "y is float64; integer"),
    "text labels": (X, Y.astype(str), TypeError, "y is"),
    "label too large": (X, np.array([0, 1, 3, 1]), ValueError, r"y\[2\] is 3; labels 0 to 2"),
    "negative label": (X, np.array([0, -1, 0, 1]), ValueError, r"y\[1\] is -1"),
    "unsigned label": (X, np.array([0, 2**64 - 1, 0, 1], np.uint64), ValueError, r"y\[1\] is"),
    "no y": (X, None, TypeError, "y is object"),
}


@pytest.mark.parametrize("name", BAD_BATCHES)
def test_bad_batch_is_named_and_nothing_written(name):
    x, y, error, message = BAD_BATCHES[name]
    model = nn.mlp(5, [6], 3, dropout=0.5)
    model.loss_and_grads(X, Y)
    before = model.grad_vector.copy(), model.state_dict()["dropout"]
    with pytest.raises(error, match=message):
        model.loss_and_grads(x, y)
    with pytest.raises((TypeError, ValueError), match=r"^[xy]"):
        model.loss(x, y)
    np.testing.assert_array_equal(model.grad_vector, before[0])
    assert model.state_dict()["dropout"] == before[1]
    if y is Y:
        with pytest.raises(error, match=message):
            model.predict(x)
    model.loss_and_grads(X, Y)


@pytest.mark.parametrize(
    ("loss", "y", "error", "message"),
    [
        (nn.BinaryCrossEntropy(), [0, 1, 1.5, 0], ValueError, r"y holds 1.5 in row 2; numbers in \[0, 1\]"),
        (nn.BinaryCrossEntropy(), [0, 1, -1, 0], ValueError, "y holds -1"),
        (nn.BinaryCrossEntropy(), [0, 1, np.nan, 0], ValueError, "y holds nan"),
        (nn.BinaryCrossEntropy(), np.zeros((4, 2)), ValueError, r"y has shape \(4, 2\); \(4, 1\)"),
        (nn.Hinge(), [0, 1, 2, 0], ValueError, r"y\[2\] is 2; labels 0 to 1"),
        (nn.Hinge(), [-1, 1, 1, -1], ValueError, r"y\[0\] is -1"),
        (nn.SquaredError(), np.zeros(3), ValueError, r"y has shape \(3,\)"),
        (nn.SquaredError(), np.zeros(4, complex), TypeError, "y is complex"),
        (nn.Huber(), np.array(["a"] * 4), TypeError, "y is"),
    ],
)
def test_bad_targets_of_each_loss(loss, y, error, message):
    model = nn.mlp(5, [], 1, loss=loss)
    with pytest.raises(error, match=message):
        model.loss_and_grads(X, y)
    with pytest.raises(error, match=message):
        loss(np.zeros((4, 1)), y)
    assert not model.grad_vector.any()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Dense(0, 3), ValueError, "n_in is 0"),
        (lambda: nn.Dense(3, 2.0), TypeError, "n_out is 2.0"),
        (lambda: nn.Dense(True, 2), TypeError, "n_in is True"),
        (lambda: nn.Dropout(1.0), ValueError, "p is 1.0"),
        (lambda: nn.Dropout(-0.1), ValueError, "p is -0.1"),
        (lambda: nn.Dropout(float("nan")), ValueError, "p is nan"),
        (lambda: nn.Dropout("a"), TypeError, "p is 'a'"),
        (lambda: nn.Huber(0), ValueError, "delta is 0"),
        (lambda: nn.Huber(float("nan")), ValueError, "delta is nan"),
        (lambda: nn.Residual(), ValueError, "no layers"),
        (lambda: nn.Residual(nn.Dense(3, 4)), ValueError, "turns 3 columns into 4"),
        (lambda: nn.Sequential(), ValueError, "no layers"),
        (lambda: nn.Sequential(nn.ReLU()), ValueError, "no Dense"),
        (lambda: nn.Sequential(nn.Dense), TypeError, "layer 0"),
        (lambda: nn.Sequential(nn.Layer(), nn.Dense(2, 2)), TypeError, "layer 0"),
        (lambda: nn.Sequential(nn.Dense(2, 3), nn.Dense(4, 3)), ValueError, "gets 3 columns"),
        (lambda: nn.Sequential(nn.Dense(2, 3), nn.Residual(nn.Dense(4, 4))), ValueError, "gets 3 columns"),
        (lambda: nn.Sequential(nn.Dense(2, 1)), ValueError, "SoftmaxCrossEntropy got 1 output"),
        (lambda: nn.Sequential(nn.Dense(2, 2), loss="mse"), TypeError, "loss is str"),
        (lambda: nn.Sequential(nn.Dense(2, 2), loss=nn.Loss()), TypeError, "loss is Loss"),
        (lambda: nn.Sequential(nn.Dense(2, 2), dtype=np.float16), TypeError, "dtype is float16"),
        (lambda: nn.mlp(2, [3], 2, activation="swish"), ValueError, "activation is 'swish'; one of relu"),
        (lambda: nn.mlp(2, 3, 2), TypeError, "hidden is 3"),
        (lambda: nn.mlp(2, [3], 2, dropout=1), ValueError, "p is 1"),
        (lambda: nn.mlp(2, [], 2, loss=nn.Hinge()).probabilities(X[:, :2]), TypeError, "no probabilities"),
    ],
)
def test_bad_descriptions(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_kernels_refuse_what_they_cannot_take():
    z = np.ones((4, 3), np.float32)
    with pytest.raises(ValueError, match="matrix"):
        kernels.bias(z.astype(np.int32), np.ones(3, np.int32), True)
    with pytest.raises(ValueError, match="matrix"):
        kernels.bias(z.T, np.ones(4, np.float32), True)
    with pytest.raises(ValueError, match="b is"):
        kernels.bias(z, np.ones(4, np.float32), True)
    with pytest.raises(ValueError, match="b is"):
        kernels.bias(z, np.ones(3), True)
    fixed = z.copy()
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="y is"):
        kernels.bias(fixed, np.ones(3, np.float32), True)
    with pytest.raises(ValueError, match="labels"):
        kernels.hinge(z, np.zeros(3, np.int64), None)
    with pytest.raises(ValueError, match="kind"):
        kernels.slope(9, z, z, None)
    with pytest.raises(TypeError):
        kernels.bias(None, None, True)


# ---- threads, instruction sets ----


def test_calls_from_threads_take_turns():
    rng = np.random.default_rng(0)
    model = nn.mlp(5, [16], 3, dtype=np.float64)
    x, y = rng.standard_normal((64, 5)), rng.integers(0, 3, 64)
    wanted = model.loss_and_grads(x, y)[0], model.predict(x)
    with ThreadPoolExecutor(4) as pool:
        losses = list(pool.map(lambda _: model.loss_and_grads(x, y)[0], range(200)))
        outputs = list(pool.map(lambda _: model.predict(x), range(200)))
    assert set(losses) == {wanted[0]}
    assert all(np.array_equal(out, wanted[1]) for out in outputs)


def test_kernels_give_the_same_bits_on_every_instruction_set():
    used = runtime.isa()
    seen, tried = set(), 0
    try:
        for name, runs in runtime.isas():
            if not runs:
                continue
            runtime.use_isa(name)
            tried += 1
            rng = np.random.default_rng(0)
            bits = b""
            for dtype in (np.float32, np.float64):
                z, b = rng.standard_normal((37, 301)).astype(dtype), rng.standard_normal(301).astype(dtype)
                labels, total, d = rng.integers(0, 301, 37), np.empty(301, dtype), np.empty_like(z)
                y = rng.uniform(size=z.shape).astype(dtype)
                values = [kernels.softmax_cross_entropy(z, labels, d), kernels.hinge(z, labels, None)]
                values += [kernels.pointwise(kind, z, y, d, 0.5) for kind in range(3)]
                kernels.bias(z, b, True)
                for kind in range(1, 5):
                    kernels.slope(kind, d, y, total)
                kernels.dropout(y, d, z, 0.3)
                bits += np.array(values).tobytes() + z.tobytes() + d.tobytes() + total.tobytes()
            seen.add(bits)
    finally:
        runtime.use_isa(used)
    assert tried >= 1
    assert len(seen) == 1


# ---- it learns ----


def spirals(n, classes, rng):
    label = rng.integers(0, classes, n)
    r = rng.uniform(0.1, 1, n)
    angle = 4 * r + 2 * np.pi * label / classes + rng.normal(0, 0.1, n)
    return np.c_[r * np.cos(angle), r * np.sin(angle)], label


@pytest.mark.parametrize(
    ("loss", "classes", "activation"),
    [
        (nn.SoftmaxCrossEntropy(), 3, "relu"),
        (nn.SoftmaxCrossEntropy(), 3, "gelu"),
        (nn.BinaryCrossEntropy(), 2, "tanh"),
        (nn.Hinge(), 3, "relu"),
        (nn.Hinge(), 2, "tanh"),
        (nn.SquaredError(), 2, "relu"),
        (nn.Huber(), 2, "gelu"),
    ],
)
def test_spirals_are_learned(loss, classes, activation):
    rng = np.random.default_rng(0)
    x, label = spirals(1200, classes, rng)
    outputs = classes if classes > 2 else 1
    model = nn.mlp(2, [48, 48], outputs, activation=activation, loss=loss, rng=1)
    opt = fo.Adam(model.params, lr=0.01)
    signed = isinstance(loss, (nn.SquaredError, nn.Huber))
    y = np.where(label > 0, 1.0, -1.0) if signed else label
    for _ in range(40):
        order = rng.permutation(900)
        for i in range(0, 900, 50):
            rows = order[i : i + 50]
            _, grads = model.loss_and_grads(x[rows], y[rows])
            opt.step(grads)
    out = model.predict(x[900:])
    guess = out.argmax(axis=1) if outputs > 1 else (out[:, 0] > 0).astype(int)
    assert (guess == label[900:]).mean() > 0.95


@pytest.mark.parametrize("bad", [np.zeros(2, complex), np.array(["a", "b"])])
def test_a_state_of_other_types_changes_nothing(bad: np.ndarray) -> None:
    model = nn.mlp(3, [4], 2)
    before, state = model.vector.copy(), model.state_dict()
    state["params"]["0"]["w"][:] = 7
    state["params"]["2"]["b"] = bad
    with pytest.raises(ValueError, match="2/b is"):
        model.load_state_dict(state)
    with pytest.raises(ValueError, match="a dict from state_dict"):
        model.load_state_dict({})
    np.testing.assert_array_equal(model.vector, before)
