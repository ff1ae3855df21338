"""fastopt.norm: against plain NumPy, its complex-step derivatives and torch's figures, and what is promised beside."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastopt as fo
import reference_norm as reference
from fastopt._core import runtime

norm = fo.norm
ISAS = [name for name, runs in runtime.isas() if runs]
RTOL = {np.dtype(np.float32): 3e-6, np.dtype(np.float64): 2e-13}

#: shape, channel axis: columns, joined columns, runs, one channel, channels first of all
SHAPES = [
    ((7, 5), -1), ((8, 16), -1), ((33, 20), -1), ((300, 3), -1), ((9, 1), -1), ((3, 4, 6), -1),
    ((4, 3, 5), 1), ((3, 2, 5, 4), 1), ((2, 3, 70), 1), ((3, 2, 4, 5), 2), ((4, 9), 0), ((3, 4, 50), 0),
]  # fmt: skip


def close(got: Any, wanted: Any, dtype: Any = np.float64, scale: float = 1.0) -> None:
    wanted = np.asarray(wanted)
    reach = max(1.0, np.abs(wanted).max(initial=0.0)) * scale
    np.testing.assert_allclose(got, wanted, rtol=0, atol=RTOL[np.dtype(dtype)] * reach)


def case(shape: tuple[int, ...], axis: int, dtype: Any = np.float64, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng([seed, *shape])
    channels = shape[axis]
    return {
        "x": (1.5 * rng.standard_normal(shape) + 2).astype(dtype),
        "gamma": rng.standard_normal(channels).astype(dtype),
        "beta": rng.standard_normal(channels).astype(dtype),
        "dy": rng.standard_normal(shape).astype(dtype),
    }


def both(at: dict[str, np.ndarray], **options: Any) -> list[np.ndarray]:
    """y, dx, dgamma, dbeta."""
    y, cache = norm.batch_norm(at["x"], at["gamma"], at["beta"], **options)
    return [y, *norm.batch_norm_backward(at["dy"], cache)]


# ---- the definition ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("parts", [{}, {"groups": 2}, {"ghost": 2}])
def test_forward_is_the_definition(shape: tuple[int, ...], axis: int, dtype: Any, parts: Any) -> None:
    at = case(shape, axis, dtype)
    y, cache = norm.batch_norm(at["x"], at["gamma"], at["beta"], axis=axis, eps=1e-3, **parts)
    wide = {name: array.astype(np.float64) for name, array in at.items()}
    wanted, means, variances = reference.batch_norm(
        wide["x"], wide["gamma"], wide["beta"], 1e-3, axis, **parts
    )
    assert y.dtype == dtype and y.shape == shape
    close(y, wanted, dtype)
    np.testing.assert_allclose(cache.mean, means, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(cache.var, variances, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(cache.rstd, 1 / np.sqrt(np.array(variances) + 1e-3), rtol=1e-11)


@pytest.mark.parametrize(
    ("shape", "axis"), [*SHAPES[:2], ((18, 3), -1), *SHAPES[4:8], ((2, 2, 66), 1), *SHAPES[9:11]]
)
@pytest.mark.parametrize("parts", [{}, {"groups": 2}])
def test_backward_is_the_complex_step_derivative(shape: tuple[int, ...], axis: int, parts: Any) -> None:
    at = case(shape, axis)
    _, *got = both(at, axis=axis, **parts)

    def loss(x: Any, gamma: Any, beta: Any) -> Any:
        return (at["dy"] * reference.batch_norm(x, gamma, beta, 1e-5, axis, **parts)[0]).sum()

    by_x = reference.complex_step(lambda x: loss(x, at["gamma"], at["beta"]), at["x"])
    by_gamma = reference.complex_step(lambda gamma: loss(at["x"], gamma, at["beta"]), at["gamma"])
    by_beta = reference.complex_step(lambda beta: loss(at["x"], at["gamma"], beta), at["beta"])
    for mine, wanted in zip(got, (by_x, by_gamma, by_beta), strict=True):
        close(mine, wanted)


def test_backward_in_prediction_is_the_complex_step_derivative() -> None:
    at = case((6, 4, 3), 1)
    running = norm.running_statistics(4, np.float64)
    running["mean"][:] = [1, 2, -1, 0.5]
    running["var"][:] = [0.5, 2, 1, 3]
    along = (1, 4, 1)

    def predict(x: Any, gamma: Any, beta: Any) -> Any:
        xhat = (x - running["mean"].reshape(along)) / np.sqrt(running["var"].reshape(along) + 1e-5)
        return xhat * gamma.reshape(along) + beta.reshape(along)

    y, *got = both(at, axis=1, running=running, training=False)
    close(y, predict(at["x"], at["gamma"], at["beta"]))
    for k, name in enumerate(("x", "gamma", "beta")):

        def loss(z: Any, name: str = name) -> Any:
            return (
                at["dy"] * predict(**({"x": at["x"], "gamma": at["gamma"], "beta": at["beta"]} | {name: z}))
            ).sum()

        close(got[k], reference.complex_step(loss, at[name]))


@pytest.mark.parametrize("which", ["layer", "rms"])
@pytest.mark.parametrize(
    ("shape", "axes"), [((5, 7), 1), ((3, 40), 1), ((2, 3, 4), 2), ((4, 1), 1), ((70, 3), 1), ((6,), 1)]
)
def test_rows_are_the_definition_and_its_derivative(which: str, shape: tuple[int, ...], axes: int) -> None:
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal(shape) + 1, rng.standard_normal(shape)
    gamma, beta = rng.standard_normal((2, *shape[-axes:]))
    if which == "layer":
        y, cache = norm.layer_norm(x, gamma, beta, axes=axes)
        got = norm.layer_norm_backward(dy, cache)

        def run(x: Any, gamma: Any, beta: Any) -> Any:
            return reference.layer_norm(x, gamma, beta, 1e-5, axes)
    else:
        y, cache = norm.rms_norm(x, gamma, 1e-5, axes)
        got = norm.rms_norm_backward(dy, cache)
        assert got[2] is None

        def run(x: Any, gamma: Any, beta: Any) -> Any:
            return reference.rms_norm(x, gamma, 1e-5, axes)

    close(y, run(x, gamma, beta))
    close(got[0], reference.complex_step(lambda x: (dy * run(x, gamma, beta)).sum(), x))
    close(got[1], reference.complex_step(lambda gamma: (dy * run(x, gamma, beta)).sum(), gamma))
    if which == "layer":
        close(got[2], reference.complex_step(lambda beta: (dy * run(x, gamma, beta)).sum(), beta))


# ---- torch's figures ----

RECORDED = np.load(Path(__file__).parent / "data" / "norm.npz")
BATCH = {
    "images": {"momentum": 0.25, "eps": 1e-3},
    "long_f32": {"momentum": 0.3},
    "cumulative": {"momentum": None},
}


def recorded(name: str) -> dict[str, np.ndarray]:
    return {key.split("/")[1]: RECORDED[key] for key in RECORDED.files if key.startswith(f"{name}/")}


@pytest.mark.parametrize(
    "name",
    sorted(
        {key.split("/")[0] for key in RECORDED.files} - {"layer", "layer_f32", "layer_two", "rms", "rms_f32"}
    ),
)
def test_parity_with_torch(name: str) -> None:
    at = recorded(name)
    dtype = at["x"].dtype
    running = norm.running_statistics(at["mean"].size, dtype)
    options = {"axis": 1, "running": running, **BATCH.get(name, {})}
    affine = (at.get("gamma"), at.get("beta"))
    norm.batch_norm(at["first"], *affine, **options)
    y, cache = norm.batch_norm(at["x"], *affine, training=not name.startswith("eval"), **options)
    dx, dgamma, dbeta = norm.batch_norm_backward(at["dy"], cache)
    close(y, at["y"], dtype)
    close(dx, at["dx"], dtype)
    close(running["mean"], at["mean"], dtype)
    close(running["var"], at["var"], dtype)
    assert running["count"] == (1 if name.startswith("eval") else 2)
    if affine[0] is None:
        assert dgamma is None and dbeta is None
    else:
        close(dgamma, at["dgamma"], dtype)
        close(dbeta, at["dbeta"], dtype)


@pytest.mark.parametrize("name", ["layer", "layer_f32", "layer_two", "rms", "rms_f32"])
def test_rows_parity_with_torch(name: str) -> None:
    at = recorded(name)
    dtype, axes = at["x"].dtype, at["gamma"].ndim
    if name.startswith("layer"):
        y, cache = norm.layer_norm(at["x"], at["gamma"], at["beta"], axes=axes)
    else:
        y, cache = norm.rms_norm(at["x"], at["gamma"], axes=axes)
    for mine, wanted in zip(
        (y, *norm.layer_norm_backward(at["dy"], cache)), ("y", "dx", "dgamma", "dbeta"), strict=True
    ):
        if mine is not None:
            close(mine, at[wanted], dtype)


# ---- the chapter's claim: never a change that only shifts or scales ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis"), [((128, 48), -1), ((4, 3, 20, 20), 1), ((1000, 6), -1)])
def test_the_gradient_proposes_no_shift_and_no_scaling(shape: tuple[int, ...], axis: int, dtype: Any) -> None:
    at = case(shape, axis, dtype)
    _, cache = norm.batch_norm(at["x"], at["gamma"], at["beta"], axis=axis, eps=1e-30)
    dx, _, _ = norm.batch_norm_backward(at["dy"] + at["x"], cache)  # with much of both directions in it
    wide = np.moveaxis(dx.astype(np.float64), axis, -1).reshape(-1, shape[axis])
    x = np.moveaxis(at["x"].astype(np.float64), axis, -1).reshape(-1, shape[axis])
    xhat = (x - x.mean(0)) / x.std(0)
    size = np.abs(wide).sum(0)
    assert (size > 1e-3).all()
    eps = np.finfo(dtype).eps
    assert (np.abs(wide.sum(0)) <= 4 * eps * size * np.abs(xhat).max()).all()
    assert (
        np.abs((wide * xhat).sum(0)) <= 8 * eps * (np.abs(wide) * np.abs(xhat)).sum(0) * np.abs(xhat).max()
    ).all()


def test_the_gradient_of_the_layer_before_is_orthogonal_to_its_scale() -> None:
    """w and 2 w give the same y: the gradient by each unit's weights is orthogonal to them, and that by its bias 0."""
    rng = np.random.default_rng(5)
    x, w, b = rng.standard_normal((64, 10)), rng.standard_normal((10, 8)), rng.standard_normal(8)
    _, cache = norm.batch_norm(x @ w + b, eps=1e-30)
    dz, _, _ = norm.batch_norm_backward(rng.standard_normal((64, 8)), cache)
    dw = x.T @ dz
    assert (np.abs((dw * w).sum(0) + dz.sum(0) * b) < 1e-11).all()
    assert (np.abs(dz.sum(0)) < 1e-12).all()
    assert (np.linalg.norm(dw, axis=0) > 0.1).all()


# ---- bits ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis", "parts"), [
    ((1100, 100), -1, {}), ((600, 190), -1, {"ghost": 250}), ((90_001, 3), -1, {}), ((37, 5, 30), 1, {}),
    ((6, 4, 70, 70), 1, {}), ((2, 130_000), 0, {}), ((50, 7), -1, {"groups": 7}),
])  # fmt: skip
def test_bits_depend_on_neither_threads_nor_instruction_set(
    shape: tuple[int, ...], axis: int, parts: Any, dtype: Any
) -> None:
    at = case(shape, axis, dtype)
    at["x"][..., -1] += 4000  # some channels need their sums a second time
    first = None
    for isa in ISAS:
        runtime.use_isa(isa)
        for threads in (1, 2, 3, 8) if isa == ISAS[0] else (1, 5):
            fo.set_num_threads(threads)
            running = norm.running_statistics(shape[axis], dtype)
            got = [*both(at, axis=axis, running=running, **parts), running["mean"], running["var"]]
            first = first or got
            for mine, wanted in zip(got, first, strict=True):
                assert mine.tobytes() == wanted.tobytes(), (isa, threads)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_row_bits_depend_on_neither_threads_nor_instruction_set(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 700, 203)).astype(dtype)
    gamma, beta = rng.standard_normal((2, 203)).astype(dtype)
    x[3] += 5000
    first = None
    for isa in ISAS:
        runtime.use_isa(isa)
        for threads in (1, 2, 8):
            fo.set_num_threads(threads)
            y, cache = norm.layer_norm(x, gamma, beta)
            z, other = norm.rms_norm(x, gamma)
            got = [y, z, *norm.layer_norm_backward(dy, cache), *norm.rms_norm_backward(dy, other)[:2]]
            first = first or got
            for mine, wanted in zip(got, first, strict=True):
                assert mine.tobytes() == wanted.tobytes(), (isa, threads)


# ---- any layout ----


@st.composite
def layouts(draw: Any) -> tuple[dict[str, np.ndarray], int, dict[str, Any]]:
    """Arrays of any strides, offset and dtype, and a channel axis."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=2, max_size=4)))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    at = case(shape, axis, dtype, draw(st.integers(0, 99)))
    for name in ("x", "dy"):
        order = draw(st.permutations(range(len(shape))))
        back = np.argsort(order)
        step = draw(st.sampled_from([1, 2, -1]))
        raw = np.ascontiguousarray(at[name].transpose(order))
        spread = np.zeros((*raw.shape[:-1], raw.shape[-1] * abs(step)), dtype)
        view = spread[..., ::step] if step > 0 else spread[..., ::-1]
        view[...] = raw
        if draw(st.booleans()):  # not aligned to the element
            view = np.frombuffer(bytes(1) + view.tobytes(), dtype=dtype, offset=1).reshape(view.shape)
        at[name] = view.transpose(back)
    batch = shape[1 if axis % len(shape) == 0 else 0]
    parts = draw(
        st.sampled_from([{}, {"groups": draw(st.integers(1, batch))}, {"ghost": draw(st.integers(1, 7))}])
    )
    return at, axis, parts


@given(layouts())
@settings(max_examples=150)
def test_any_strides_axes_and_groups(drawn: Any) -> None:
    at, axis, parts = drawn
    plain = {name: np.ascontiguousarray(array).copy() for name, array in at.items()}
    wanted = both(plain, axis=axis, **parts)
    for mine, theirs in zip(both(at, axis=axis, **parts), wanted, strict=True):
        assert mine.tobytes() == theirs.tobytes()
    wide = {name: array.astype(np.float64) for name, array in plain.items()}
    close(
        wanted[0],
        reference.batch_norm(wide["x"], wide["gamma"], wide["beta"], 1e-5, axis, **parts)[0],
        plain["x"].dtype,
        300,
    )
    out = np.empty((*at["x"].shape[:-1], 2 * at["x"].shape[-1]), at["x"].dtype)[
        ..., ::2
    ]  # written through strides
    y, cache = norm.batch_norm(at["x"], at["gamma"], at["beta"], axis=axis, out=out, **parts)
    assert y is out and out.tobytes() == wanted[0].tobytes()
    dx, _, _ = norm.batch_norm_backward(at["dy"], cache, out=out)
    assert dx is out and out.tobytes() == wanted[1].tobytes()


@pytest.mark.parametrize("offset", range(0, 64, 4))
def test_every_alignment_gives_the_same_bits(offset: int) -> None:
    at = case((37, 50), -1, np.float32)
    wanted = both(at)
    for name in ("x", "dy"):
        raw = np.empty(at[name].nbytes + 128, np.uint8)
        start = -raw.ctypes.data % 64 + offset
        moved = raw[start : start + at[name].nbytes].view(np.float32).reshape(at[name].shape)
        moved[...] = at[name]
        at[name] = moved
    for mine, theirs in zip(both(at), wanted, strict=True):
        assert mine.tobytes() == theirs.tobytes()


# ---- in place, again ----


def test_in_place_where_it_is_legal() -> None:
    at = case((40, 6), -1, np.float32)
    running = norm.running_statistics(6)
    wanted = both(at, running=running, training=False)
    x = at["x"].copy()
    y, cache = norm.batch_norm(x, at["gamma"], at["beta"], running=running, training=False, out=x)
    assert y is x and x.tobytes() == wanted[0].tobytes()
    with pytest.raises(ValueError, match="cache has no x"):
        norm.batch_norm_backward(at["dy"], cache)

    x = at["x"].copy()
    y, cache = norm.batch_norm(x)
    wanted = [y, norm.batch_norm_backward(at["dy"], cache)[0]]
    y, cache = norm.batch_norm(x, out=x)  # x is its own xhat afterwards
    assert y is x and x.tobytes() == wanted[0].tobytes()
    close(norm.batch_norm_backward(at["dy"], cache)[0], wanted[1], np.float32)

    y, cache = norm.batch_norm(at["x"], at["gamma"], at["beta"])
    wanted = [array.tobytes() for array in norm.batch_norm_backward(at["dy"], cache)]
    for target in (at["dy"].copy(), at["x"]):
        dy = target if target is not at["x"] else at["dy"]
        got = norm.batch_norm_backward(dy, cache, out=target)
        assert got[0] is target and [array.tobytes() for array in got] == wanted

    x = at["dy"].copy()
    y, cache = norm.layer_norm(x)
    dx = norm.layer_norm_backward(at["dy"], cache)[0]
    y, cache = norm.layer_norm(x, out=x)
    close(norm.layer_norm_backward(at["dy"], cache, out=x)[0], dx, np.float32)


def test_a_cache_is_used_again() -> None:
    at = case((50, 20), -1)
    y, cache = norm.batch_norm(at["x"], at["gamma"], at["beta"])
    wanted = norm.batch_norm_backward(at["dy"], cache)
    mean = cache.mean
    again = norm.batch_norm(at["x"][:20] * 2, cache=cache)[1]
    assert again is cache and cache.mean is mean
    norm.layer_norm(at["x"], cache=cache)
    assert cache.kind == "layer"
    norm.batch_norm(at["x"], at["gamma"], at["beta"], cache=cache, groups=2)
    norm.batch_norm(at["x"], at["gamma"], at["beta"], cache=cache, out=y)
    for mine, theirs in zip(norm.batch_norm_backward(at["dy"], cache), wanted, strict=True):
        assert mine.tobytes() == theirs.tobytes()


# ---- the edges ----


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("shape", "axis"), [((1000, 5), -1), ((10, 5, 100), 1), ((5, 1000), 0)])
def test_a_mean_far_from_zero(dtype: Any, shape: tuple[int, ...], axis: int) -> None:
    """R22: mean 1e8 and spread 32, whole numbers, so that float32 holds them; two passes in wide arithmetic are the truth."""
    rng = np.random.default_rng(1)
    x = (1e8 + 8 * rng.integers(-8, 9, shape)).astype(dtype)
    y, cache = norm.batch_norm(x, axis=axis)
    exact = np.moveaxis(x.astype(np.longdouble) - 1e8, axis, -1).reshape(-1, 5)
    np.testing.assert_allclose(cache.mean[0], (1e8 + exact.mean(0)).astype(float), rtol=4e-16)
    np.testing.assert_allclose(cache.var[0], exact.var(0).astype(float), rtol=1e-12)
    xhat = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
    np.testing.assert_allclose(
        np.moveaxis(y, axis, -1).reshape(-1, 5),
        xhat.astype(float),
        atol=1e-6 if dtype == np.float32 else 1e-8,
    )
    row, _ = norm.layer_norm(np.ascontiguousarray(exact.T.astype(np.float64) + 1e8).astype(dtype))
    np.testing.assert_allclose(row.T, xhat.astype(float), atol=1e-6 if dtype == np.float32 else 1e-8)


@pytest.mark.parametrize(("shape", "axis"), [((1000, 5), -1), ((10, 5, 100), 1), ((48, 32), -1)])
def test_gradients_of_a_mean_far_from_zero(shape: tuple[int, ...], axis: int) -> None:
    """float32 cannot hold that mean; what its rounding leaves out must come back in every sum and coefficient."""
    at = case(shape, axis, np.float32)
    at["x"] = (1e8 + 8 * np.random.default_rng(1).integers(-8, 9, shape)).astype(np.float32)
    wide = {name: array.astype(np.float64) for name, array in at.items()}
    for mine, wanted in zip(both(at, axis=axis), both(wide, axis=axis), strict=True):
        close(mine, wanted, np.float32)
    gamma = np.resize(at["gamma"], shape[-1])
    rows = []
    for kind in (np.float32, np.float64):
        _, cache = norm.layer_norm(at["x"].astype(kind), gamma.astype(kind))
        rows.append(norm.layer_norm_backward(at["dy"].astype(kind), cache)[:2])
    for mine, wanted in zip(*rows, strict=True):
        close(mine, wanted, np.float32)


@pytest.mark.parametrize("value", [0.0, 3.3, 1e8, -1e-30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_channel(value: float, dtype: Any) -> None:
    at = case((30, 4), -1, dtype)
    at["x"][:, 2] = value
    y, cache = norm.batch_norm(at["x"], at["gamma"], at["beta"])
    assert (y[:, 2] == at["beta"][2]).all()
    assert cache.var[0, 2] <= 1e-24 * max(1, value**2)
    dx, dgamma, _ = norm.batch_norm_backward(at["dy"], cache)
    assert np.isfinite(dx).all() and dgamma[2] == pytest.approx(0, abs=1e-3 if dtype == np.float32 else 1e-6)


def test_one_row() -> None:
    at = case((1, 5), -1)
    running = norm.running_statistics(5, np.float64)
    y, cache = norm.batch_norm(at["x"], at["gamma"], at["beta"], running=running, momentum=0.5)
    assert (y == at["beta"]).all()
    dx, dgamma, dbeta = norm.batch_norm_backward(at["dy"], cache)
    assert (dx == 0).all() and (dgamma == 0).all() and (dbeta == at["dy"][0]).all()
    np.testing.assert_allclose(running["mean"], at["x"][0] / 2)
    assert (running["var"] == 1).all()  # one value says nothing about it
    norm.batch_norm(at["x"], running=running, momentum=0.5, unbiased=False)
    assert (running["var"] == 0.5).all()
    images = case((1, 3, 4, 5), 1)
    close(
        both(images, axis=1)[0],
        reference.batch_norm(images["x"], images["gamma"].reshape(3), images["beta"], axis=1)[0],
    )


@pytest.mark.parametrize(
    ("shape", "axis"), [((0, 4), -1), ((3, 0), -1), ((2, 3, 0), 1), ((0, 3, 5), 1), ((4, 0), 0)]
)
def test_nothing(shape: tuple[int, ...], axis: int) -> None:
    at = case(shape, axis)
    running = norm.running_statistics(shape[axis], np.float64)
    y, dx, dgamma, dbeta = both(at, axis=axis, running=running)
    assert y.shape == dx.shape == shape
    assert (dgamma == 0).all() and (dbeta == 0).all() and dgamma.shape == (shape[axis],)
    assert (running["mean"] == 0).all() and (running["var"] == 1).all()
    assert running["count"] == (shape == (3, 0))  # three examples of no channels are a batch
    both(at, axis=axis, running=running, training=False)
    both(at, axis=axis, ghost=3)


def test_rows_of_nothing() -> None:
    for shape in ((0, 4), (3, 0)):
        y, cache = norm.layer_norm(np.zeros(shape), np.ones(shape[1]), np.ones(shape[1]))
        dx, dgamma, dbeta = norm.layer_norm_backward(np.zeros(shape), cache)
        assert y.shape == dx.shape == shape and (dgamma == 0).all() and dbeta.shape == (shape[1],)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_pass_through_their_channel_only(bad: float) -> None:
    at = case((60, 20), -1, np.float32)
    clean = both(at)
    at["x"][17, 3] = bad
    for mine, wanted in zip(both(at)[:3], clean, strict=False):
        assert np.isnan(mine[..., 3]).any()
        others = np.delete(mine, 3, -1)
        assert others.tobytes() == np.delete(wanted, 3, -1).tobytes()


# ---- running statistics ----


def test_the_two_conventions_of_momentum() -> None:
    x = case((9, 3), -1)["x"]
    mean, var = x.mean(0), x.var(0, ddof=1)
    for options, share in (
        ({"momentum": 0.25}, 0.25),
        ({"decay": 0.75}, 0.25),
        ({"momentum": 0.9, "decay": 0.99}, 1 - 0.99),
        ({}, 0.1),
    ):
        running = norm.running_statistics(3, np.float64)
        norm.batch_norm(x, running=running, **options)
        np.testing.assert_allclose(running["mean"], share * mean, rtol=1e-13)
        np.testing.assert_allclose(running["var"], (1 - share) + share * var, rtol=1e-13)
    running = norm.running_statistics(3, np.float64)
    norm.batch_norm(x, running=running, decay=0.5, unbiased=False)
    np.testing.assert_allclose(running["var"], 0.5 + 0.5 * x.var(0), rtol=1e-13)


def test_the_plain_mean_over_batches() -> None:
    rng = np.random.default_rng(2)
    batches = rng.standard_normal((7, 11, 3))
    running = norm.running_statistics(3, np.float64)
    for batch in batches:
        norm.batch_norm(batch, running=running, momentum=None)
    assert running["count"] == 7
    np.testing.assert_allclose(running["mean"], batches.mean(1).mean(0), rtol=1e-12)
    np.testing.assert_allclose(running["var"], batches.var(1, ddof=1).mean(0), rtol=1e-12)


def test_groups_are_batches_one_after_another() -> None:
    x = case((23, 4), -1)["x"]
    for parts in ({"groups": 4}, {"ghost": 6}, {"ghost": 9}, {"ghost": 100}):
        running, other = norm.running_statistics(4, np.float64), norm.running_statistics(4, np.float64)
        y, cache = norm.batch_norm(x, running=running, **parts)
        ends = reference.bounds(23, parts.get("groups"), parts.get("ghost"))
        for low, high in pairwise(ends):
            z, _ = norm.batch_norm(x[low:high].copy(), running=other)
            assert y[low:high].tobytes() == z.tobytes()
        assert cache.groups == len(ends) - 1 == running["count"]
        assert all(running[name].tobytes() == other[name].tobytes() for name in running)
    assert reference.bounds(23, None, 6) == [0, 6, 12, 18, 23]
    assert reference.bounds(20, None, 6) == [0, 6, 12, 20]


def test_running_of_an_object() -> None:
    class Kept:
        mean, var = np.zeros(3), np.ones(3)

    norm.batch_norm(case((5, 3), -1)["x"], running=Kept())
    assert Kept.mean.any()


# ---- folding ----


@pytest.mark.parametrize("affine", [True, False])
def test_folding(affine: bool) -> None:
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((20, 6)), rng.standard_normal((6, 5)), rng.standard_normal(5)
    mean, var = rng.standard_normal(5), rng.uniform(0.1, 3, 5)
    gamma, beta = rng.standard_normal((2, 5)) if affine else (None, None)
    running = {"mean": mean, "var": var}
    wanted, _ = norm.batch_norm(x @ w + b, gamma, beta, running=running, training=False, eps=1e-3)
    w2, b2 = norm.fold(w, b, gamma, beta, mean, var, 1e-3)
    np.testing.assert_allclose(x @ w2 + b2, wanted, rtol=1e-12, atol=1e-12)
    w3, b3 = norm.fold(np.ascontiguousarray(w.T), None, gamma, beta, mean, var, 1e-3, axis=0)
    np.testing.assert_allclose(w3.T, w2)
    np.testing.assert_allclose(b3 + b * (b2 - b3) / b, b2)
    z = rng.standard_normal((20, 5))
    v, c = rng.standard_normal((5, 3)), rng.standard_normal(3)
    normed, _ = norm.batch_norm(z, gamma, beta, running=running, training=False, eps=1e-3)
    v2, c2 = norm.fold_into_next(v, c, gamma, beta, mean, var, 1e-3)
    np.testing.assert_allclose(z @ v2 + c2, normed @ v + c, rtol=1e-12, atol=1e-12)


# ---- bad input: the argument is named, nothing is written ----

X, G = np.ones((4, 3)), np.ones(3)
RUN = {"mean": np.zeros(3), "var": np.ones(3)}
BAD: list[tuple[str, Any, dict[str, Any], type[Exception]]] = [
    ("x is", [[1.0, 2.0]], {}, TypeError),
    ("x is", np.ones((4, 3), int), {}, TypeError),
    ("x is", np.ones((4, 3), np.float16), {}, TypeError),
    ("x is", np.ones((4, 3), ">f8"), {}, TypeError),
    ("x is", np.ones(4), {}, ValueError),
    ("x is", np.float64(3), {}, TypeError),
    ("gamma is", X, {"gamma": np.ones(4)}, ValueError),
    ("gamma is", X, {"gamma": np.ones(3, np.float32)}, TypeError),
    ("gamma is", X, {"gamma": 2.0}, TypeError),
    ("beta is", X, {"beta": np.ones((3, 1))}, ValueError),
    ("eps is", X, {"eps": 0.0}, ValueError),
    ("eps is", X, {"eps": -1}, ValueError),
    ("eps is", X, {"eps": float("nan")}, ValueError),
    ("eps is", X, {"eps": float("inf")}, ValueError),
    ("eps is", X, {"eps": "small"}, TypeError),
    ("axis is", X, {"axis": 2}, ValueError),
    ("axis is", X, {"axis": -3}, ValueError),
    ("axis is", X, {"axis": 1.0}, TypeError),
    ("momentum is", X, {"momentum": 1.5, "running": RUN}, ValueError),
    ("momentum is", X, {"momentum": -0.1, "running": RUN}, ValueError),
    ("momentum is", X, {"momentum": "torch", "running": RUN}, TypeError),
    ("decay is", X, {"decay": 2.0, "running": RUN}, ValueError),
    ("running has no count", X, {"momentum": None, "running": RUN}, ValueError),
    ("running has no var", X, {"running": {"mean": np.zeros(3)}}, ValueError),
    ("running has no mean", X, {"running": 5}, ValueError),
    (r"running\['mean'\] is", X, {"running": RUN | {"mean": np.zeros(2)}}, ValueError),
    (r"running\['mean'\] is", X, {"running": RUN | {"mean": [0, 0, 0]}}, TypeError),
    (r"running\['var'\] is", X, {"running": RUN | {"var": np.ones(3, np.float32)}}, ValueError),
    (r"running\['var'\] is", X, {"running": RUN | {"var": np.ones(6)[::2]}}, ValueError),
    (r"running\['count'\] is", X, {"running": RUN | {"count": np.zeros(2)}}, ValueError),
    (r"running\['count'\] is", X, {"running": RUN | {"count": np.zeros(1, int)}}, TypeError),
    (r"running\['var'\] overlaps", X, {"running": {"mean": G, "var": G}}, ValueError),
    ("running is None", X, {"training": False}, ValueError),
    ("groups is", X, {"groups": 0}, ValueError),
    ("groups is", X, {"groups": 5}, ValueError),
    ("groups is", X, {"groups": 1.5}, TypeError),
    ("ghost is", X, {"ghost": 0}, ValueError),
    ("groups and ghost", X, {"groups": 2, "ghost": 2}, ValueError),
    ("out is", X, {"out": np.ones((3, 4))}, ValueError),
    ("out is", X, {"out": np.ones((4, 3), np.float32)}, TypeError),
    ("out is", X, {"out": "here"}, TypeError),
    ("out is x", X, {"out": X, "gamma": G}, ValueError),
    ("cache is", X, {"cache": {}}, TypeError),
]  # fmt: skip


@pytest.mark.parametrize("row", range(len(BAD)))
def test_bad_input(row: int) -> None:
    message, x, options, kind = BAD[row]
    arrays = [a for a in [x, *options.values(), *RUN.values()] if isinstance(a, np.ndarray)]
    before = [a.tobytes() for a in arrays]
    with pytest.raises(kind, match=message):
        norm.batch_norm(x, **options)
    assert [a.tobytes() for a in arrays] == before


def test_bad_memory() -> None:
    data = np.ones((9, 3))
    frozen = np.ones((8, 3))
    frozen.flags.writeable = False
    for out, message in ((data[1:], "out overlaps x"), (frozen, "out is read-only")):
        with pytest.raises(ValueError, match=message):
            norm.batch_norm(data[:-1], out=out)
    gamma = data[0]
    with pytest.raises(ValueError, match="out overlaps gamma"):
        norm.batch_norm(np.ones((9, 3)), gamma, out=data)
    locked = {"mean": np.zeros(3), "var": np.ones(3)}
    locked["var"].flags.writeable = False
    with pytest.raises(ValueError, match=r"running\['var'\] is read-only"):
        norm.batch_norm(np.ones((9, 3)), running=locked)
    norm.batch_norm(np.ones((9, 3)), running=locked, training=False)  # only read there
    with pytest.raises(ValueError, match=r"out overlaps running\['mean'\]"):
        norm.batch_norm(np.ones((9, 3)), running={"mean": data[2], "var": np.ones(3)}, out=data)
    assert (data == 1).all()


def test_bad_backward() -> None:
    at = case((8, 3), -1)
    _, cache = norm.batch_norm(at["x"], at["gamma"], at["beta"])
    big = np.zeros((9, 3))
    empty = norm.Cache()
    rows: list[tuple[str, Any, Any, Any, type[Exception]]] = [
        ("cache is", at["dy"], None, None, TypeError),
        ("cache is empty", at["dy"], empty, None, ValueError),
        ("dy is", at["dy"][:4], cache, None, ValueError),
        ("dy is", at["dy"].astype(np.float32), cache, None, TypeError),
        ("dy is", None, cache, None, TypeError),
        ("out is", at["dy"], cache, np.zeros((3, 8)), ValueError),
        ("out has 2", at["dy"], cache, (None, None), ValueError),
        ("dgamma, is", at["dy"], cache, (None, np.zeros(4), None), ValueError),
        ("dbeta, is", at["dy"], cache, (None, None, np.zeros(3, np.float32)), TypeError),
        ("dgamma overlaps", at["dy"], cache, (big[1:], big[2], None), ValueError),
        ("dbeta overlaps dgamma", at["dy"], cache, (None, big[0], big[0]), ValueError),
        ("dgamma overlaps gamma", at["dy"], cache, (None, at["gamma"], None), ValueError),
        ("out overlaps gamma", at["dy"], norm.batch_norm(at["x"], big[4])[1], big[1:], ValueError),
    ]
    for message, dy, held, out, kind in rows:
        with pytest.raises(kind, match=message):
            norm.batch_norm_backward(dy, held, out=out)
    with pytest.raises(ValueError, match="out overlaps dy"):
        norm.batch_norm_backward(big[1:], cache, out=big[:-1])
    assert not big.any()


def test_bad_rows_and_folds() -> None:
    x, g = np.ones((4, 3)), np.ones(3)
    for options, message, kind in (
        ({"axes": 3}, "axes is", ValueError), ({"axes": 0}, "axes is", ValueError), ({"axes": 1.5}, "axes is", TypeError),
        ({"gamma": np.ones(4)}, "gamma is", ValueError), ({"eps": 0.0}, "eps is", ValueError), ({"out": x, "gamma": g}, "out is x", ValueError),
        ({"out": np.ones(3)}, "out is", ValueError), ({"cache": 1}, "cache is", TypeError),
    ):  # fmt: skip
        with pytest.raises(kind, match=message):
            norm.layer_norm(x, **options)
    w = np.ones((2, 3))
    for arguments, message in (
        ((w, None, None, None, np.ones(2), g), "mean has"), ((w, None, None, None, g, -g), "var has"), ((w, np.ones(2), None, None, g, g), "b has"),
        ((w, None, g, None, g, g, 0.0), "eps is"), ((w, None, None, None, g, g, 1e-5, 2), "axis is"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            norm.fold(*arguments)
    with pytest.raises(ValueError, match="w has shape"):
        norm.fold_into_next(g, None, None, None, g, g)
    with pytest.raises(ValueError, match="channels is"):
        norm.running_statistics(-1)
    with pytest.raises(TypeError, match="dtype is"):
        norm.running_statistics(3, int)


# ---- the process ----


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_after_threads() -> None:
    fo.set_num_threads(2)
    at = case((3000, 64), -1, np.float32)
    wanted = [array.tobytes() for array in both(at)]
    child = os.fork()
    if child == 0:
        os._exit(0 if [array.tobytes() for array in both(at)] == wanted else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [array.tobytes() for array in both(at)] == wanted


@pytest.mark.parametrize("kind", ["batch", "layer", "rms"])
@pytest.mark.parametrize("size", [1e17, 1e21, 1e25, 1e-25])
def test_gradients_of_large_and_small_activations(kind: str, size: float) -> None:
    """1 / variance leaves the range of float32 long before the gradient does."""
    rng = np.random.default_rng(0)
    forward = {"batch": norm.batch_norm, "layer": norm.layer_norm, "rms": norm.rms_norm}[kind]
    back = {
        "batch": norm.batch_norm_backward,
        "layer": norm.layer_norm_backward,
        "rms": norm.rms_norm_backward,
    }[kind]
    x = (rng.standard_normal((64, 48)) * size).astype(np.float32)
    dy = (x / np.float32(size) + rng.standard_normal(x.shape)).astype(np.float32)
    dx = back(dy, forward(x)[1])[0].astype(np.float64)
    axis, wide, g = (0 if kind == "batch" else 1), x.astype(np.float64), dy.astype(np.float64)
    mean = 0.0 if kind == "rms" else wide.mean(axis, keepdims=True)
    eps = np.finfo(np.float32).eps if kind == "rms" else 1e-5
    rstd = 1 / np.sqrt(((wide - mean) ** 2).mean(axis, keepdims=True) + eps)
    hat = (wide - mean) * rstd
    across = 0.0 if kind == "rms" else g.mean(axis, keepdims=True)
    wanted = rstd * (g - across - hat * (g * hat).mean(axis, keepdims=True))
    np.testing.assert_allclose(dx / np.abs(wanted).max(), wanted / np.abs(wanted).max(), atol=3e-6)


def test_one_cache_and_many_threads() -> None:
    """An error or a right answer, never another thread's memory."""
    rng = np.random.default_rng(0)
    xs = [
        rng.standard_normal(shape).astype(np.float32)
        for shape in [(64, 64), (900, 200), (300, 900), (5000, 33)]
    ]
    cache = norm.batch_norm(xs[0])[1]
    refused: list[bool] = []
    wrong: list[Any] = []

    def work(k: int) -> None:
        try:
            for i in range(40):
                try:
                    y, _ = norm.batch_norm(xs[(k + i) % 4], cache=cache)
                except RuntimeError as error:
                    assert "cache is in use by another thread" in str(error)
                    refused.append(True)
                else:
                    assert abs(y.mean()) < 1e-3 and abs(y.std() - 1) < 1e-3
                try:
                    norm.batch_norm_backward(xs[(k + i) % 4], cache)
                except (RuntimeError, ValueError):  # in use, or of another shape by now
                    refused.append(True)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    norm.batch_norm(xs[0], cache=cache)  # and it is free again


def test_a_refused_call_leaves_the_cache_free() -> None:
    x = np.ones((4, 3))
    _, cache = norm.batch_norm(x)
    for _ in range(2):
        with pytest.raises(ValueError, match="gamma"):
            norm.batch_norm(x, np.ones(2), cache=cache)
        with pytest.raises(ValueError, match="dy"):
            norm.batch_norm_backward(np.ones((4, 2)), cache)
        with pytest.raises(ValueError, match="gamma"):
            norm.layer_norm(x, np.ones(2), cache=cache)


def test_an_eps_that_float32_cannot_hold() -> None:
    x = np.full((4, 2), 3, np.float32)
    with pytest.raises(ValueError, match="eps is 1e-80; at least 1.18e-38 for float32"):
        norm.batch_norm(x, eps=1e-80)
    assert not norm.batch_norm(x, eps=1e-37)[0].any()
    assert not norm.batch_norm(x.astype(np.float64), eps=1e-80)[0].any()


def test_rows_without_columns() -> None:
    _, cache = norm.layer_norm(np.ones((5, 0)), eps=0.25)
    assert cache.mean.tolist() == [0.0] * 5 and cache.rstd.tolist() == [2.0] * 5


def test_running_statistics_need_arrays_of_their_own() -> None:
    one = np.ones(1)
    with pytest.raises(ValueError, match=r"running\['count'\] overlaps running\['mean'\]"):
        norm.batch_norm(
            np.ones((4, 1)), running={"mean": one, "var": np.ones(1), "count": one}, momentum=None
        )
    assert one[0] == 1


def test_groups_beyond_any_number() -> None:
    x = np.arange(12.0).reshape(6, 2)
    assert norm.batch_norm(x, ghost=10**30)[0].tobytes() == norm.batch_norm(x)[0].tobytes()
    with pytest.raises(ValueError, match="groups is 10"):
        norm.batch_norm(x, groups=10**30)


# ---- what is written about it ----


@pytest.mark.parametrize("module", ["batch", "rows"])
def test_doctests(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"fastopt.norm.{module}")).failed == 0


def test_the_page_runs() -> None:
    page = (Path(__file__).parents[1] / "docs" / "norm.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert abs(names["dx"].sum(0)).max() < 1e-4


def test_the_contestants_of_the_benchmark_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))
    bench = importlib.import_module("bench.norm")
    monkeypatch.setattr(bench, "find_spec", lambda name: None)  # the others take seconds to import
    at = case((64, 32), -1, np.float32)
    hand = bench.ByHand(at["x"], at["dy"], at["gamma"], at["beta"])
    hand()
    for mine, theirs in zip(both(at), (hand.y, hand.dx, hand.dgamma, hand.dbeta), strict=True):
        close(mine, theirs, np.float32, 10)
    for call in bench.field((64, 32)).values():
        call()
