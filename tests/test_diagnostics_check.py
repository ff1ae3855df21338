"""`check_gradients`: right gradients pass, one wrong element among many is named, and nothing is left changed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt import diagnostics as d
from fastopt import nn, problems


def smooth(dtype=np.float64, n=7, seed=0):
    """A small network by hand, as a function of the tree that it is handed; takes complex numbers."""
    rng = np.random.default_rng(seed)
    params = {
        "layers": [{"w": rng.standard_normal((4, n)).astype(dtype), "b": np.zeros(n, dtype)}],
        "out": rng.standard_normal(n).astype(dtype),
    }
    x = rng.standard_normal((5, 4)).astype(dtype)

    def fun(p):
        w, b, out = p["layers"][0]["w"], p["layers"][0]["b"], p["out"]
        h = np.tanh(x @ w + b)
        z = h @ out
        dz = 2 * z / 5
        dh = np.outer(dz, out) * (1 - h * h)
        return (z * z).sum() / 5, {"layers": [{"w": x.T @ dh, "b": dh.sum(axis=0)}], "out": h.T @ dz}

    return fun, params


def planted(fun, path, index, factor):
    """The function with one element of its gradient multiplied."""

    def wrong(p):
        loss, g = fun(p)
        leaf = g
        for key in path.split("/"):
            leaf = leaf[int(key) if isinstance(leaf, list) else key]
        leaf[index] *= factor
        return loss, g

    return wrong


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["auto", "complex", "differences"])
def test_right_gradients_pass(dtype, method):
    fun, params = smooth(dtype)
    before = [a.tobytes() for a in (params["layers"][0]["w"], params["layers"][0]["b"], params["out"])]
    check = d.check_gradients(fun, params, method=method, k=40)
    assert check
    assert check.ok
    assert not check.trouble
    assert check.checked == 4 * 7 + 7 + 7
    assert check.method == ("differences" if method == "differences" else "complex")
    assert set(check.leaves) == {"layers/0/w", "layers/0/b", "out"}
    assert [
        a.tobytes() for a in (params["layers"][0]["w"], params["layers"][0]["b"], params["out"])
    ] == before


@pytest.mark.parametrize(
    "dtype, factor", [(np.float64, 1.0001), (np.float64, -1.0), (np.float64, 0.0), (np.float32, 1.05)]
)
@pytest.mark.parametrize("method", ["complex", "differences"])
@pytest.mark.parametrize("path, index", [("layers/0/w", (2, 3)), ("layers/0/b", (6,)), ("out", (0,))])
def test_one_wrong_element_is_named_though_few_are_sampled(dtype, factor, method, path, index):
    fun, params = smooth(dtype)
    check = d.check_gradients(planted(fun, path, index, factor), params, method=method, k=2)
    assert not check.ok
    assert (check.path, check.index) == (path, index)
    assert check.analytic == pytest.approx(factor * check.numeric, rel=1e-2)
    assert repr(path) in check.verdict


def test_one_wrong_element_of_ten_thousand_is_found_by_halving():
    rng = np.random.default_rng(0)
    scale = rng.standard_normal((100, 100))
    calls = 0

    def fun(w):
        nonlocal calls
        calls += 1
        g = scale * np.cos(w)
        g[41, 17] += 1.0
        return (scale * np.sin(w)).sum(), g

    check = d.check_gradients(fun, rng.standard_normal((100, 100)), k=3)
    assert check.index == (41, 17)
    assert calls < 70
    calls = 0
    check = d.check_gradients(fun, rng.standard_normal((100, 100)), k=3, method="differences")
    assert check.index == (41, 17)
    assert calls < 400


def test_a_leaf_forgotten_altogether_is_seen():
    fun, params = smooth()
    check = d.check_gradients(planted(fun, "layers/0/b", slice(None), 0.0), params)
    assert not check
    assert check.path == "layers/0/b"
    assert check.analytic == 0.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "sigmoid"])
def test_models_of_the_library_that_read_their_own_arrays(dtype, activation):
    x, y = fo.data.load_digits()
    x = (x[:40] / 16).astype(dtype)
    model = nn.mlp(64, [9], 10, activation=activation, dtype=dtype)
    check = d.check_gradients(lambda p: model.loss_and_grads(x, y[:40]), model.params)
    assert check.ok, check.verdict
    assert check.method == "differences"
    assert check.precision == dtype.__name__

    def wrong(p):
        loss, grads = model.loss_and_grads(x, y[:40])
        grads["2"]["b"][4] *= 1.3
        return loss, grads

    check = d.check_gradients(wrong, model.params)
    assert (check.path, check.index) == ("2/b", (4,))


@pytest.mark.parametrize("p", problems.all_problems("mgh"), ids=lambda p: p.name)
def test_published_problems(p):
    x = p.x0 + 0.01 * np.cos(np.arange(p.n))
    assert d.check_gradients(p.fun_and_grad, x, rtol=1e-5).ok

    def wrong(x):
        f, g = p.fun_and_grad(x)
        i = int(np.abs(g).argmax())
        g[i] *= 1.01
        return f, g

    assert not d.check_gradients(wrong, x, rtol=1e-5).ok


def test_what_is_not_analytic_is_confirmed_by_differences():
    def fun(x):
        return np.abs(x @ x) + 1j * 0 * x[0], 2 * x

    with pytest.raises(ValueError, match="same params|no complex|was"):
        d.check_gradients(lambda x: (float(np.abs(x).sum()), np.sign(x)), np.ones(3), method="complex")
    # abs drops the imaginary part, so the complex step sees no slope; differences do.
    assert d.check_gradients(
        lambda x: ((np.abs(x) ** 2).sum() + 0 * x[0], 2 * x.real), np.array([0.5, -1.5])
    ).ok


def test_a_float32_function_that_can_do_double_is_checked_in_double():
    fun, params = smooth(np.float32)

    def only_real(p):
        loss, grads = fun(p)
        return float(loss.real), grads

    check = d.check_gradients(only_real, params)
    assert check.ok
    assert (check.method, check.precision) == ("differences", "float64")


def test_raises_when_asked():
    fun, params = smooth()
    with pytest.raises(d.GradientError, match=r"grads\['out'\]\[3\] is") as caught:
        d.check_gradients(planted(fun, "out", (3,), 2.0), params, raises=True)
    assert caught.value.check.index == (3,)
    assert d.check_gradients(fun, params, raises=True).ok


def test_a_zero_gradient_where_it_belongs_and_constant_losses():
    assert d.check_gradients(lambda x: (1.0, np.zeros(3)), np.ones(3)).ok
    assert not d.check_gradients(lambda x: (1.0, np.full(3, 1e-3)), np.ones(3)).ok


def test_kinks_are_no_mistakes():
    # Elements within a difference's step of a kink have a wide error bound.
    x = np.array([1e-9, -1e-6, 0.3, -0.3])
    assert d.check_gradients(
        lambda x: (float(np.maximum(x, 0).sum()), (x > 0).astype(float)), x, method="differences"
    ).ok


DRAWS = iter(np.random.default_rng(0).random(10))
BAD = [
    (ValueError, "same params", lambda: d.check_gradients(lambda x: (next(DRAWS), x), np.ones(2))),
    (ValueError, "method is 'exact'", lambda: d.check_gradients(lambda x: (0.0, x), np.ones(2), method="exact")),
    (ValueError, "k is 0", lambda: d.check_gradients(lambda x: (0.0, x), np.ones(2), k=0)),
    (ValueError, "rtol is -1", lambda: d.check_gradients(lambda x: (0.0, x), np.ones(2), rtol=-1)),
    (TypeError, "raises is 1", lambda: d.check_gradients(lambda x: (0.0, x), np.ones(2), raises=1)),
    (FloatingPointError, "the gradient holds", lambda: d.check_gradients(lambda x: (0.0, x * np.nan), np.ones(2))),
    (ValueError, "is no complex number", lambda: d.check_gradients(lambda x: (0.0, np.zeros(2)), np.ones(2), method="complex")),
    (ValueError, "float64\\[3\\]", lambda: d.check_gradients(lambda x: (0.0, np.zeros(3)), np.ones(2))),
]  # fmt: skip


@pytest.mark.parametrize("kind, words, call", BAD, ids=[row[1] for row in BAD])
def test_bad_input(kind, words, call):
    with pytest.raises(kind, match=words):
        call()


# ---- what differences can tell ----


@pytest.mark.parametrize(
    ("dtype", "kind"), [(np.float32, np.float32), (np.float32, float), (np.float64, np.float32)]
)
def test_a_loss_in_single_precision_bounds_its_differences_so(dtype, kind):
    p = np.full(4, 0.3, dtype)

    def fun(p, factor=2.0):
        return kind(np.float32(1000) + (p * p).sum(dtype=np.float32)), factor * p

    check = d.check_gradients(fun, p)
    assert check.ok and check.precision == "float32" and check.method == "differences"
    assert not d.check_gradients(lambda p: fun(p, 3.0), p), "and a gradient half as large again is seen"


@pytest.mark.parametrize("method", ["auto", "differences"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_stay_where_the_loss_is_finite(method, dtype):
    p = np.array([1e-8, 2e-7, 0.5, 3.0], dtype)

    def fun(p, factor=1.0):
        return np.log(p).sum(), factor / p

    check = d.check_gradients(fun, p, method=method)
    assert check.ok and check.checked == 4 and check.unknown == []
    assert not d.check_gradients(lambda p: fun(p, np.array([1, 1.1, 1, 1])), p, method=method)
    for rest in (
        lambda p: sum(math.log(v) for v in p),
        lambda p: float(np.log(p).sum()),
    ):  # that raise, or warn
        assert d.check_gradients(lambda p, f=rest: (f(p), 1 / p), p, method="differences").ok


def test_where_the_loss_is_not_finite_nothing_is_said():
    def fun(p, factor=1.0):
        root = np.sqrt(p["a"]).sum() if (p["a"] >= 0).all() else np.nan
        return root + (p["b"] ** 2).sum(), {"a": np.full(2, 7.0), "b": factor * 2 * p["b"]}

    p = {"a": np.zeros(2), "b": np.arange(1.0, 4.0)}
    check = d.check_gradients(fun, p, method="differences")
    assert check.ok and check.checked == 3
    assert check.unknown == [("a", (0,)), ("a", (1,))]
    assert "Nothing is known of 2, the first grads['a'][0]" in check.verdict
    assert check.leaves["a"][0] == 0
    wrong = d.check_gradients(lambda p: fun(p, 1.1), p, method="differences")
    assert wrong.trouble and wrong.path == "b" and len(wrong.unknown) == 2
    large = {"a": np.zeros(30), "b": np.ones(1)}
    more = d.check_gradients(
        lambda p: (fun(p)[0], {"a": np.ones(30), "b": 2 * p["b"]}), large, method="differences"
    )
    assert more.ok and more.unknown[-1] == ("a", ()) and len(more.unknown) == 11
    nothing = d.check_gradients(
        lambda p: (np.sqrt(p).sum() if p[0] >= 0 else np.nan, p), np.zeros(1), method="differences"
    )
    assert not nothing and nothing.verdict.startswith("No gradient could be checked. Nothing is known of 1")


@pytest.mark.parametrize("rate", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("seed", range(5))
def test_the_bound_holds_where_a_step_spans_many_periods(rate, seed):
    p = np.random.default_rng(seed).standard_normal(30)

    def fun(p, factor=1.0):
        return np.sin(rate * p).sum(), factor * rate * np.cos(rate * p)

    check = d.check_gradients(fun, p, method="differences", k=30)
    assert check.ok
    exact, found = check.pairs.T
    assert abs(exact - found).max() <= 1e-3 * rate
    assert not d.check_gradients(lambda p: fun(p, 1.01), p, method="differences", k=30)


def test_kinks_have_a_bound_of_their_size():
    p = np.array([0.0, 1e-6, 0.5, -2.0])

    def fun(p, shift=0.0):
        return np.abs(p).sum() + (p**2).sum(), np.sign(p) + 2 * p + shift

    assert d.check_gradients(fun, p, method="differences")
    check = d.check_gradients(lambda p: fun(p, np.array([0, 0.1, 0, 0])), p, method="differences")
    assert not check and check.index == (1,)


def test_a_loss_narrower_than_its_gradients_is_not_blamed() -> None:
    p = np.full(4, 0.3, np.float32)
    assert fo.diagnostics.check_gradients(
        lambda p: (np.float32(1000) + (p * p).sum(dtype=np.float32), 2 * p), p
    ).ok


def test_differences_stay_in_the_domain() -> None:
    found = fo.diagnostics.check_gradients(
        lambda p: (float(np.log(p.real).sum()), 1 / p), np.array([1e-8, 2e-7]), method="differences"
    )
    assert found.ok and found.numeric == pytest.approx(found.analytic, rel=1e-4)


def test_waves_shorter_than_the_first_difference() -> None:
    w = np.random.default_rng(0).standard_normal(20)

    def waves(p: Any) -> Any:
        return float(np.sin(1e4 * p).sum()), 1e4 * np.cos(1e4 * p)

    assert fo.diagnostics.check_gradients(waves, w, method="differences").ok

    def wrong(p: Any) -> Any:
        return float(np.sin(1e4 * p).sum()), 1.01e4 * np.cos(1e4 * p)

    assert not fo.diagnostics.check_gradients(wrong, w, method="differences").ok


def test_no_derivative_is_no_wrong_gradient() -> None:
    """Around 0 the loss is finite at that point only; the other element is checked."""

    def lone(p: Any) -> Any:
        return float(p[1] ** 2 + (0.0 if p[0] == 0 else np.nan)), np.array([5.0, 2 * p[1]])

    found = fo.diagnostics.check_gradients(lone, np.array([0.0, 1.0]), method="differences")
    assert found.ok and found.checked == 1
    assert "Nothing is known of 1, the first grads[0]" in found.verdict

    def nowhere(p: Any) -> Any:
        return float(0.0 if not p.any() else np.nan), np.array([5.0])

    found = fo.diagnostics.check_gradients(nowhere, np.zeros(1), method="differences")
    assert not found.ok and found.verdict.startswith("No gradient could be checked.")
