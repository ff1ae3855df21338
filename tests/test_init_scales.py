"""Scales of activations and gradients: in deep networks as theory has them, and as lsuv, watch and adjust make them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import digamma, gammaln

import fastopt as fo
from fastopt import nn

init = fo.init
TANH = (np.tanh, lambda h: 1 - h * h)
RELU = (lambda z: np.maximum(z, 0), lambda h: (h > 0) * 1.0)
LINEAR = (lambda z: z, np.ones_like)


def rms(a) -> float:
    return math.sqrt(float(np.square(a).mean()))


def deep(activation, fill, seed, width=256, depth=50, rows=64):
    """Root mean squares of activations of each layer, and of gradients, of a plain network with random input and output gradient."""
    f, slope = activation
    rng = np.random.default_rng(seed)
    weights = [fill(np.empty((width, width)), rng=rng) for _ in range(depth)]
    hidden = [rng.standard_normal((rows, width))]
    for w in weights:
        hidden.append(f(hidden[-1] @ w))
    grads = [rng.standard_normal((rows, width))]
    for w, h in zip(weights[::-1], hidden[:0:-1], strict=True):
        grads.append((grads[-1] * slope(h)) @ w.T)
    return np.array([rms(h) for h in hidden]), np.array([rms(d) for d in grads])


def with_gain(name, gain):
    return lambda a, rng: getattr(init, name)(a, gain, rng=rng)


#: activation, initializer, log10 of how activations and gradients change over 50 layers: theory, to within 0.5
DEEP = [
    ("relu he_normal", RELU, init.he_normal, 0, 0),
    ("relu he_uniform", RELU, init.he_uniform, 0, 0),
    ("relu orthogonal", RELU, with_gain("orthogonal", "relu"), 0, 0),
    ("relu random_walk", RELU, init.random_walk, 0, 0),
    ("relu lecun_normal", RELU, init.lecun_normal, -25 * math.log10(2), -25 * math.log10(2)),
    ("relu glorot_uniform", RELU, init.glorot_uniform, -25 * math.log10(2), -25 * math.log10(2)),
    ("relu heuristic", RELU, init.heuristic_uniform, -25 * math.log10(6), -25 * math.log10(6)),
    # Linear layers of orthogonal weights keep norms exactly; tanh at gain 1 loses as a power of the depth only: the mean
    # square goes like 1 / (2 l), the gradient's like 1 / l.
    ("linear orthogonal", LINEAR, init.orthogonal, 0, 0),
    ("tanh orthogonal", TANH, init.orthogonal, -0.8, -0.9),
    ("tanh glorot_uniform", TANH, init.glorot_uniform, -0.8, -0.9),
    ("tanh lecun_normal", TANH, init.lecun_normal, -0.8, -0.9),
    ("tanh random_walk", TANH, lambda a, rng: init.random_walk(a, "tanh", rng=rng), -0.2, 0.1),
    ("tanh heuristic", TANH, init.heuristic_uniform, -25 * math.log10(3), -25 * math.log10(3)),
    # Too large: activations look well, gradients explode.
    ("tanh gain 3", TANH, with_gain("lecun_normal", 3.0), 0, 6.7),
]


@pytest.mark.parametrize("name, activation, fill, acts, grads", DEEP, ids=[row[0] for row in DEEP])
def test_fifty_layers(name, activation, fill, acts, grads):
    ratios = []
    for seed in (0, 1):
        h, d = deep(activation, fill, seed)
        ratios.append([math.log10(h[-1] / h[0]), math.log10(d[-1] / d[0])])
    mean = np.mean(ratios, axis=0)
    # The first layer makes of unit input what the activation does to it: up to 0.25 below 0.
    assert mean[1] == pytest.approx(grads, abs=0.5) and mean[0] == pytest.approx(acts, abs=0.6)
    if name.startswith("linear"):
        np.testing.assert_allclose(ratios, 0, atol=1e-12)


@pytest.mark.parametrize("gain", [1.0, 5 / 3])
def test_tanh_follows_mean_field_theory(gain):
    """q <- gain^2 E tanh^2(sqrt(q) z), gradients times gain^2 E tanh'^2 a layer (Poole et al., Schoenholz et al.)."""
    z, weight = np.polynomial.hermite_e.hermegauss(101)
    weight = weight / weight.sum()
    q, log_chi, wanted = gain**2, 0.0, []
    for _ in range(50):
        y = np.tanh(math.sqrt(q) * z)
        log_chi += math.log(gain**2 * float(weight @ (1 - y * y) ** 2))
        wanted.append(math.sqrt(float(weight @ y**2)))
        q = gain**2 * float(weight @ y**2)
    h, d = deep(TANH, with_gain("orthogonal", gain), 0, width=400)
    np.testing.assert_allclose(h[1:], wanted, rtol=0.05)
    assert math.log(d[-1]) == pytest.approx(log_chi / 2, abs=0.3)


def log_drift(activation: str, n: int) -> float:
    """E ln |W'd|^2 / |d|^2 of one layer with N(0, 1/n) weights; for ReLU of n units, half of them active on average."""
    if activation == "linear":
        return float(digamma(n / 2) + math.log(2 / n))
    m = np.arange(1, n + 1)
    p = np.exp(gammaln(n + 1) - gammaln(m + 1) - gammaln(n - m + 1) - n * math.log(2))
    return float(p @ (digamma(m / 2) + math.log(2 / n)) / p.sum())


@pytest.mark.parametrize("activation", ["linear", "relu"])
@pytest.mark.parametrize("n", [10, 20, 50, 200])
def test_random_walk_scale_leaves_no_drift(activation, n):
    # The standard deviation is told by the numbers drawn, exactly: the same normals, scaled.
    plain = init.normal(np.empty((n, n)), rng=0)
    g = init.random_walk(np.empty((n, n)), activation, rng=0)[0, 0] / plain[0, 0] * math.sqrt(n)
    drift = 2 * math.log(g) + log_drift(activation, n)
    assert abs(drift) < (1 / n**2 if activation == "linear" else 0.2 / n)
    plain_drift = log_drift(activation, n) + (math.log(2) if activation == "relu" else 0)
    assert abs(drift) < 0.1 * abs(plain_drift)  # what He's and LeCun's scales leave


@pytest.mark.parametrize("activation, f", [("linear", LINEAR), ("relu", RELU)])
def test_the_logarithm_of_the_gradient_walks_at_random(activation, f):
    n, depth, nets = 20, 60, 100
    rng = np.random.default_rng(7)
    steps = {"random_walk": [], "plain": []}
    for name, own in steps.items():
        for _ in range(nets):

            def fill(a, rng, name=name):
                if name == "random_walk":
                    return init.random_walk(a, activation, rng=rng)
                return init.he_normal(a, activation, rng=rng)

            _, d = deep(f, fill, rng, n, depth, rows=1)
            own.append(2 * np.diff(np.log(d)))
    walk, plain = np.array(steps["random_walk"]), np.array(steps["plain"])
    error = walk.std() / math.sqrt(walk.size)
    assert abs(walk.mean()) < 5.2 * error  # unbiased,
    assert plain.mean() < -5.2 * error  # which keeping the mean square is not;
    # increments of different layers are uncorrelated, and the spread grows as the square root of depth.
    centred = walk - walk.mean()
    assert abs((centred[:, 1:] * centred[:, :-1]).mean()) < 5.2 * centred.var() / math.sqrt(
        centred[:, 1:].size
    )
    ends = centred.sum(axis=1)
    assert ends.var() / (depth * centred.var()) == pytest.approx(1, abs=5.2 * math.sqrt(2 / nets))


# ---- watching ----


def make(dtype=np.float64, scale=1.0):
    layers = (
        nn.Dense(8, 40), nn.Tanh(), nn.Residual(nn.Dense(40, 30), nn.ReLU(), nn.Dropout(0.5), nn.Dense(30, 40)),
        nn.GELU(), nn.Residual(nn.Sigmoid(), nn.Dense(40, 40)), nn.Dropout(0.3), nn.Dense(40, 3),
    )  # fmt: skip
    model = nn.Sequential(*layers, dtype=dtype, rng=5)
    model.vector *= scale
    return model


def batch(rows=200):
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 8)), rng.integers(0, 3, rows)


def test_watch_sees_what_the_network_does():
    model, (x, y) = make(), batch()
    scales = init.watch(model, x, y)
    names = ["0", "1", "2/0", "2/1", "2/3", "3", "4/0", "4/1", "6"]
    assert [row.name for row in scales.rows] == names
    assert [row.name for row in scales.rows if row.weighted] == ["0", "2/0", "2/3", "4/1", "6"]
    # The output is the network's; the gradient by a Dense layer's output, summed over rows, is that of its bias.
    at = {row.name: row for row in scales.rows}
    z = model.predict(x)
    assert (at["6"].mean, at["6"].std) == pytest.approx((z.mean(), z.std()))
    h = np.tanh(x @ model.params["0"]["w"])
    assert (at["1"].mean, at["1"].std) == pytest.approx((h.mean(), h.std()))
    inside = np.maximum(h @ model.params["2"]["0"]["w"], 0)
    assert (at["2/1"].std, at["2/1"].zeros) == pytest.approx((inside.std(), (inside == 0).mean()))
    _, d = model.loss_function.value_and_grad(z, y)
    assert at["6"].grad_std == pytest.approx(d.std())


@pytest.mark.parametrize("name", ["0", "2/0", "2/3", "4/1", "6"])
def test_watched_gradients_are_those_of_the_loss(name):
    """All gradients by a layer's output: by central differences through the bias of one row's batch."""
    model, (x, y) = make(), batch(1)
    bias = model.params
    for key in name.split("/"):
        bias = bias[key]
    bias = bias["b"]
    got = {row.name: row for row in init.watch(model, x, y).rows}[name]
    wanted = np.empty_like(bias)
    for i in range(bias.size):
        start = bias[i]
        bias[i] = start + 1e-5
        above = model.loss(x, y)
        bias[i] = start - 1e-5
        wanted[i] = (above - model.loss(x, y)) / 2e-5
        bias[i] = start
    assert got.grad_std == pytest.approx(wanted.std(), rel=1e-6)


def test_watch_changes_nothing():
    model, (x, y) = make(np.float32), batch()
    model.loss_and_grads(x, y)
    before = (
        model.vector.tobytes(),
        model.grad_vector.tobytes(),
        repr(model.state_dict()["dropout"]),
        x.tobytes(),
    )
    scales = init.watch(model, x.astype(np.float32), y)
    after = (
        model.vector.tobytes(),
        model.grad_vector.tobytes(),
        repr(model.state_dict()["dropout"]),
        x.tobytes(),
    )
    assert before == after
    text = str(scales).splitlines()
    assert len(text) == 10 and text[0].split()[:3] == ["layer", "mean", "std"]
    assert math.isnan(init.watch(model, x).rows[0].grad_std)


def test_normalization_and_auxiliary_heads_can_be_watched():
    layers = (
        nn.Dense(8, 30), nn.BatchNorm(30), nn.ReLU(), nn.Residual(nn.LayerNorm(30), nn.Dense(30, 30), nn.BatchNorm(30)),
        nn.Auxiliary(nn.Dense(30, 3)), nn.RMSNorm(30), nn.Dense(30, 3),
    )  # fmt: skip
    model, (x, y) = nn.Sequential(*layers, dtype=np.float64, rng=5), batch()
    model.loss_and_grads(x, y)
    before = repr(model.state_dict())
    scales = init.watch(model, x, y)
    assert repr(model.state_dict()) == before
    at = {row.name: row for row in scales.rows}
    assert list(at) == ["0", "1", "2", "3/0", "3/1", "3/2", "5", "6"]
    assert [row.name for row in scales.rows if row.weighted] == ["0", "3/1", "6"]
    for name in ("1", "3/0", "3/2"):
        assert at[name].std == pytest.approx(1, abs=1e-3)
    assert at["0"].grad_std > 0 and at["1"].grad_below == pytest.approx(at["0"].grad_std)
    done = init.lsuv(model, x, rng=0)
    assert all(done.settled.values()) and not np.isnan(model.vector).any()
    # Behind a norm the scale of weights does not matter: their layer is judged by what the norm makes of it.
    model.params["0"]["w"][...] *= 1000
    assert init.adjust(model, x).factors["0"] == 1


def plain(depth=6, width=30, scale=1.0, seed=0):
    """A network of bare functions: weights, and layers with a way back."""
    rng = np.random.default_rng(seed)
    weights = [init.lecun_normal(np.empty((width, width)), rng=rng) * scale for _ in range(depth)]
    layers = []
    for w in weights:
        kept = {}

        def act(z, kept=kept):
            kept["y"] = np.tanh(z)
            return kept["y"]

        def below(d, kept=kept):
            d *= 1 - kept["y"] ** 2  # into what it was given: allowed
            return d

        layers.append(init.Layer(lambda x, w=w: x @ w, w, lambda d, w=w: d @ w.T))
        layers.append(init.Layer(act, backward=below))
    return weights, layers


def test_watch_a_list_of_functions():
    weights, layers = plain()
    x = np.random.default_rng(1).standard_normal((100, 30))
    scales = init.watch(layers, x, grad=np.ones_like)
    h = x
    for i, w in enumerate(weights):
        h = np.tanh(h @ w)
        assert scales.rows[2 * i + 1].std == pytest.approx(h.std())
    d = (1 - h * h) @ weights[-1].T
    assert scales.rows[-2].grad_below == pytest.approx(d.std())
    assert scales.rows[-3].grad_std == pytest.approx(d.std())
    assert not any(math.isnan(row.grad_std) for row in scales.rows)
    layers[5] = init.Layer(layers[5].forward)  # no way back: unknown below
    rows = init.watch(layers, x, grad=np.ones_like).rows
    assert [math.isnan(row.grad_std) for row in rows] == [True] * 5 + [False] * 7


# ---- lsuv ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lsuv_gives_unit_variance_layer_by_layer(dtype):
    model, (x, _) = make(dtype, scale=0.01), batch()
    model.params["0"]["b"][...] = 0.3  # a bias: one division does not do
    seen = []
    scales = init.lsuv(model, x, tol=0.01, rng=3, progress=lambda *told: seen.append(told[1:3]))
    assert list(scales.settled) == ["0", "2/0", "2/3", "4/1", "6"] and all(scales.settled.values())
    for row in init.watch(model, x).rows:
        if row.weighted:
            assert row.std**2 == pytest.approx(1, abs=0.0101)
    w = model.params["0"]["w"]
    np.testing.assert_allclose(w @ w.T, scales.factors["0"] ** 2 * np.eye(8), atol=1e-5)
    assert seen == [(i, 5) for i in range(1, 6)]
    assert (model.params["0"]["b"] == dtype(0.3)).all()
    again = make(dtype)
    again.params["0"]["b"][...] = 0.3
    init.lsuv(again, x, tol=0.01, rng=3)
    np.testing.assert_array_equal(again.vector, model.vector)  # what was there before does not matter


def test_lsuv_on_fifty_layers_and_on_weights_of_ones_own():
    weights, layers = plain(50, scale=0.2)
    x = np.random.default_rng(1).standard_normal((300, 30))
    assert init.watch(layers, x).rows[-1].std < 1e-20
    before = [w / np.linalg.norm(w) for w in weights]
    init.lsuv(layers, x, orthogonal=False)
    after = init.watch(layers, x).rows
    assert all(abs(row.std**2 - 1) < 0.1 for row in after if row.weighted)
    for w, old in zip(weights, before, strict=True):  # scaled only
        np.testing.assert_allclose(w / np.linalg.norm(w), old, rtol=1e-12)
    names = {row.name for row in after if row.weighted}
    pairs = [(lambda x, w=w: x @ w, w) for w in weights[:2]]
    scales = init.lsuv([pairs[0], init.Skip([np.tanh, pairs[1]]), np.tanh], x, rng=0)
    assert set(scales.factors) == {"0", "1/1"} and "98" in names


def test_lsuv_stops_where_it_is_no_help_and_after_max_iter():
    w = np.eye(4)
    layers = [(lambda x: np.sign(x @ w), w)]  # no scale of w changes this
    x = np.random.default_rng(0).standard_normal((50, 4)) * [1, 1, 1, 0]
    scales = init.lsuv(layers, x, max_iter=3, tol=1e-3, orthogonal=False)
    assert scales.settled == {"0": False} and scales.factors == {"0": 1.0}
    np.testing.assert_array_equal(w, np.eye(4))
    assert "not settled" in str(scales)
    layers = [(lambda x: np.tanh(x @ w) + 0.1 * x, w)]  # one scaling is not enough
    scales = init.lsuv(layers, 0.1 * x, max_iter=1, tol=1e-3, orthogonal=False)
    assert scales.settled == {"0": False} and scales.factors["0"] > 1


# ---- adjusting ----


@pytest.mark.parametrize("scale", [0.05, 1.0, 6.0])
def test_adjust_brings_activations_into_the_band(scale):
    model, (x, y) = make(scale=scale), batch()
    scales = init.adjust(model, x, y, target=0.5)
    at = {row.name: row.std for row in scales.rows}
    judged = {"0": "1", "2/0": "2/1", "2/3": "2/3", "4/1": "4/1", "6": "6"}
    for name, end in judged.items():
        assert scales.settled[name] and 0.25 <= at[end] <= 1.0
    reference = make(scale=scale)
    init.watch(reference, x)
    np.testing.assert_allclose(
        model.params["6"]["w"], reference.params["6"]["w"] * scales.factors["6"], rtol=1e-12
    )
    if scale == 0.05:
        assert scales.factors["0"] > 2
    settled = model.vector.copy()
    again = init.adjust(model, x, y, target=0.5)
    assert set(again.factors.values()) == {1.0}
    np.testing.assert_array_equal(model.vector, settled)


def test_adjust_touches_only_what_is_outside():
    weights, layers = plain()
    weights[2] *= 1e-3
    kept = [w.copy() for w in weights]
    x = np.random.default_rng(1).standard_normal((100, 30))
    scales = init.adjust(layers, x, target=0.5, low=0.2, high=3.0)
    assert [name for name, f in scales.factors.items() if f != 1] == ["4"]
    np.testing.assert_allclose(weights[2], kept[2] * scales.factors["4"])
    assert all(np.array_equal(w, k) for i, (w, k) in enumerate(zip(weights, kept, strict=True)) if i != 2)


def test_adjust_by_gradients():
    _, layers = plain(8, scale=0.3)
    x = np.random.default_rng(1).standard_normal((100, 30))
    before = init.watch(layers, x, grad=np.ones_like)
    rng = np.random.default_rng(2)
    d = rng.standard_normal((100, 30))
    scales = init.adjust(layers, x, by="gradients", grad=lambda z: d)
    below = [row.grad_below for row in scales.rows if row.weighted]
    assert all(scales.settled.values()) and min(below) >= 0.5 and max(below) <= 2
    assert before.rows[0].grad_below < 0.01
    model, (x, y) = make(scale=0.1), batch()
    scales = init.adjust(model, x, y, by="gradients")  # by what comes from the loss
    assert all(scales.settled.values())
    for row in init.watch(model, x, y).rows:
        if row.weighted:
            assert 0.5 <= row.grad_below / scales.rows[-1].grad_std <= 2


def test_adjust_gives_up_where_scales_do_not_help():
    w, v = np.eye(4), np.eye(4)
    layers = [(lambda x: x @ w, w), np.sign, (lambda x: x @ v, v)]
    x = np.random.default_rng(0).standard_normal((50, 4))
    scales = init.adjust(layers, x, target=8.0, max_iter=4)
    assert scales.settled == {"0": False, "2": True} and scales.factors["0"] > 100


# ---- errors ----


def bad_cases():
    w = np.ones((4, 4))
    good = (lambda x: x @ w, w)
    x = np.random.default_rng(0).standard_normal((20, 4))
    return [
        ("nothing", [], x, {}, TypeError, "non-empty list"),
        ("no list", np.tanh, x, {}, TypeError, "layers is ufunc"),
        ("no weights", [np.tanh], x, {}, ValueError, "no layer has weights"),
        ("no function", [(w, w)], x, {}, TypeError, "forward of layer '0'"),
        ("weights twice", [good, good], x, {}, ValueError, "same array"),
        ("weights of integers", [(lambda x: x, np.ones((2, 2), int))], x, {}, TypeError, r"params\['0'\] has dtype"),
        ("names twice", [init.Layer(*good, name="1"), np.tanh], x, {}, ValueError, "two layers have one name"),
        ("no batch", [good], x[:0], {}, ValueError, "at least one element"),
        ("a batch of words", [good], np.array(["a"]), {}, TypeError, "real numbers"),
        ("a list's y", [good], x, {"y": x}, TypeError, "give grad="),
        ("grad", [good], x, {"grad": 1}, TypeError, "grad is 1"),
        ("no array", [good, lambda x: None], x, {}, ValueError, "output of layer '1'"),
        ("a bad skip", [good, init.Skip([lambda x: x[:, :2]])], x, {}, ValueError, "x \\+ f\\(x\\)"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name, layers, x, arguments, kind, message", bad_cases(), ids=[c[0] for c in bad_cases()]
)
def test_bad_layers(name, layers, x, arguments, kind, message):
    functions = [init.watch, init.adjust] if arguments else [init.watch, init.adjust, init.lsuv]
    for function in functions:
        with pytest.raises(kind, match=message):
            function(layers, x, **arguments)


def test_weights_are_restored_after_an_error():
    w, v = np.full((4, 4), 0.1) + np.eye(4), np.ones((4, 4))
    x = np.random.default_rng(0).standard_normal((20, 4))
    before = w.copy(), v.copy()

    def dead(h):
        return np.maximum(h @ v - 1e9, 0)

    for function in (init.lsuv, init.adjust):
        with pytest.raises(ValueError, match="layer '1' gives a constant"):
            function([(lambda x: 100 * x @ w, w), (dead, v)], x)
        np.testing.assert_array_equal(w, before[0])
        np.testing.assert_array_equal(v, before[1])

    calls = []

    def interrupted(h):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return h @ v

    with pytest.raises(KeyboardInterrupt):
        init.lsuv([(lambda x: 100 * x @ w, w), (interrupted, v)], x)
    np.testing.assert_array_equal(w, before[0])


BAD = [
    ("adjust", {"by": "norm"}, ValueError, "by is 'norm'"),
    ("adjust", {"low": 0}, ValueError, "low is 0"),
    ("adjust", {"high": 0.5}, ValueError, "high is 0.5"),
    ("adjust", {"target": -1}, ValueError, "target is -1"),
    ("adjust", {"max_iter": 0}, ValueError, "max_iter is 0"),
    ("adjust", {"by": "gradients"}, ValueError, "y, or grad=, is wanted"),
    ("adjust", {"by": "gradients", "grad": np.ones_like}, ValueError, "a layer has no backward"),
    ("lsuv", {"tol": 0}, ValueError, "tol is 0"),
    ("lsuv", {"max_iter": 1.5}, TypeError, "max_iter is 1.5"),
    ("lsuv", {"orthogonal": 1}, TypeError, "orthogonal is 1"),
    ("lsuv", {"axes": "io"}, ValueError, "axes is 'io'"),
    ("lsuv", {"rng": "x"}, TypeError, "rng is 'x'"),
    ("lsuv", {"progress": 3}, TypeError, "progress is 3"),
]  # fmt: skip


@pytest.mark.parametrize("name, arguments, kind, message", BAD)
def test_bad_arguments(name, arguments, kind, message):
    w = np.ones((4, 4))
    x = np.random.default_rng(0).standard_normal((20, 4))
    with pytest.raises(kind, match=message):
        getattr(init, name)([(lambda x: x @ w, w)], x, **arguments)
    assert (w == 1).all()


def test_lsuv_wants_matrices():
    w, b = np.ones((4, 4)), np.ones(4)
    layers = [(lambda x: x @ w, w), (lambda x: x * b, b)]
    with pytest.raises(ValueError, match="the weights of layer '1' has shape"):
        init.lsuv(layers, np.random.default_rng(0).standard_normal((20, 4)))
    assert (w == 1).all()
    assert init.lsuv(layers, np.random.default_rng(0).standard_normal((20, 4)), orthogonal=False).settled["1"]


# ---- models of nn ----


def test_dense_layers_start_from_the_numbers_they_always_had():
    """Both dtypes from the same float64 numbers of one stream, also where fo.init would cut it in chunks."""
    n = (700, 500)
    limit = math.sqrt(6 / sum(n))
    rules = [
        (nn.ReLU(), lambda rng: rng.standard_normal(n) * np.sqrt(2 / n[0])),
        (nn.GELU(), lambda rng: rng.standard_normal(n) * np.sqrt(2 / n[0])),
        (nn.Tanh(), lambda rng: rng.uniform(-limit, limit, n)),
    ]
    for act, rule in rules:
        for dtype in (np.float32, np.float64):
            model = nn.Sequential(nn.Dense(*n), act, loss=nn.SquaredError(), dtype=dtype, rng=3)
            wanted = rule(np.random.default_rng(3)).astype(dtype)
            np.testing.assert_array_equal(model.params["0"]["w"], wanted)


def test_a_model_takes_other_initial_values():
    model = nn.mlp(6, [20, 20], 3, rng=0)
    init.tree(model.params, {"4/w": 0.0, "*/w": ("orthogonal", {"gain": "relu"}), "*/b": "relu_bias"}, rng=1)
    w = model.params["0"]["w"]
    np.testing.assert_allclose(w @ w.T, 2 * np.eye(6), atol=1e-5)
    assert not model.params["4"]["w"].any() and (model.params["0"]["b"] == np.float32(0.1)).all()
    assert model.vector[: w.size].tolist() == w.ravel().tolist()  # into the model's own memory


def test_lsuv_leaves_weights_that_scaling_does_not_help() -> None:
    w, x = np.zeros((8, 8)), np.random.default_rng(0).normal(size=(100, 8))
    scales = fo.init.lsuv([(lambda x: x @ w + 10 * np.arange(8), w)], x, rng=0)
    assert scales.settled == {"0": False} and scales.factors == {"0": 1.0}
    np.testing.assert_allclose(w.T @ w, np.eye(8), atol=1e-12)
