"""Optimizers beyond their rules: policies, the order on the gradient, averages, diagnostics, functions, look-ahead."""

from __future__ import annotations

import gc
import math
import sys
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastopt as fo
import reference
from rows import DTYPES, IDS, ROWS, Row, bits, everything, gradients, make, whole

every_row = pytest.mark.parametrize("row", ROWS, ids=IDS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
BAD = (math.nan, math.inf, -math.inf)


# ---- non-finite gradients ----


@every_row
@every_dtype
@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_a_refused_step_leaves_no_trace(row: Row, dtype: str, policy: str) -> None:
    """One bad value at every position of small arrays; then the run goes on as one that never saw it."""
    for n in (1, 2, 3, 15, 16, 17, 33):
        start, grads = gradients(n, dtype, 6, seed=n)
        common = {"nonfinite": policy, "average": fo.averaging.EMA(0.9), "clip_norm": 0.5, "zero_grads": True}
        lr = row.fields["lr"] if row.rule == "rprop" else (lambda t: 0.1 / t)
        p, q = start.copy(), start.copy()
        seen, clean = make(row, p, **common, lr=lr), make(row, q, **common, lr=lr)
        for g in grads[:2]:
            seen.step(g.copy())
            clean.step(g.copy())
        for i in range(n):
            before = whole(seen)
            g = grads[2].copy()
            g[i] = BAD[i % 3]
            kept = g.tobytes()
            if policy == "raise":
                with pytest.raises(
                    FloatingPointError, match=rf"grads has 1 of {n} elements Inf or NaN at step 3"
                ):
                    seen.step(g)
            else:
                record = seen.step(g)
                assert (record.skipped, record.skips, record.nonfinite, record.step) == (True, i + 1, 1, 2)
                before["skips"] = i + 1
            # Raised: not a byte is written. Skipped: the gradients are zeroed as zero_grads asks, nothing else.
            assert g.tobytes() == (kept if policy == "raise" else bytes(g.nbytes))
            assert whole(seen) == before, f"position {i} of {n}"
        for g in grads[2:]:
            assert seen.step(g.copy()).step == clean.step(g.copy()).step
        after = whole(seen)
        after["skips"] = 0
        assert after == whole(clean)


@every_row
@every_dtype
def test_a_hundred_clean_steps_after_a_skip(row: Row, dtype: str) -> None:
    start, grads = gradients(40, dtype, 100)
    p, q = start.copy(), start.copy()
    seen, clean = make(row, p, nonfinite="skip"), make(row, q, nonfinite="skip")
    bad = np.full(40, math.nan, dtype)
    assert seen.step(bad).skipped  # before the first step, too
    for t, g in enumerate(grads):
        if t % 7 == 3:
            assert seen.step(bad).skipped
        seen.step(g)
        clean.step(g)
    assert p.tobytes() == q.tobytes()
    assert (seen.steps, clean.steps) == (100, 100)


@every_row
@every_dtype
def test_propagate_counts_and_tells(row: Row, dtype: str) -> None:
    for n in (5, 9000):
        for common in ({}, {"clip_value": 1.0, "average": fo.averaging.Mean()}):
            start, (g,) = gradients(n, dtype, 1)
            places = [0, n // 2, n - 1]
            g[places] = BAD
            p = start.copy()
            record = make(row, p, nonfinite="propagate", **common).step(g)
            assert (record.nonfinite, record.skipped, record.step) == (3, False, 1)
            assert record.grad_norm is None
            clean = np.delete(np.arange(n), places)
            assert np.isfinite(p[clean]).all()
            if row.rule in ("rprop", "lion"):  # the sign of NaN is 0, as in torch
                kept = 1 - 0.01 * row.fields.get("weight_decay", 0.0)
                assert p[0] == pytest.approx(start[0] * kept, rel=1e-6)
            else:
                assert np.isnan(p[0])


@every_dtype
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_centered_variance_never_goes_below_zero(dtype: str, momentum: float) -> None:
    """Under a constant gradient v - m^2 is rounding alone, of either sign: the root of a negative one would be NaN."""
    g = np.linspace(0.1, 3, 500).astype(dtype)
    p = np.zeros(500, dtype)
    opt = fo.RMSprop(p, lr=1e-3, alpha=0.5, eps=1e-3, centered=True, momentum=momentum)
    below = 0
    for _ in range(100):
        opt.step(g)
        state = opt.state_dict(copy=False)["state"][""]
        below += int((state["v"] - state["m"] * state["m"] < 0).sum())
    assert below > 0, "nothing was tried"
    assert np.isfinite(p).all()


def test_messages_name_every_bad_array() -> None:
    params = {name: np.zeros(4) for name in "abcde"}
    opt = fo.SGD(params, lr=0.1)
    grads = {name: np.zeros(4) for name in "abcde"}
    for name in "bcde":
        grads[name][1:3] = np.nan
    with pytest.raises(
        FloatingPointError, match=r"grads\['b'\] has 2 of 4 elements, .*and 1 more arrays.*at step 1; nothing"
    ):
        opt.step(grads)
    assert opt.steps == 0


def test_a_norm_too_large_for_a_double_is_not_a_bad_gradient() -> None:
    p = np.zeros(4)
    record = fo.SGD(p, lr=1e-300).step(np.full(4, 1.7e308))
    assert not record.skipped
    np.testing.assert_allclose(p, -1.7e8)


# ---- the order on the gradient ----


@every_dtype
@pytest.mark.parametrize("n", [3, 20_000])
def test_order_on_the_gradient(dtype: str, n: int) -> None:
    """Scale, sign, norm, value, coupled decay; SGD with lr 1 moves p by the gradient as the rule saw it."""
    start, (g,) = gradients(n, dtype, 1)
    p = start.copy()
    opt = fo.SGD(
        p,
        lr=1.0,
        grad_scale=3.0,
        maximize=True,
        clip_norm=0.7,
        clip_value=0.5,
        weight_decay=0.25,
        clip_eps=0.0,
    )
    record = opt.step(g)
    wide = -3.0 * g.astype(np.float64)
    norm = math.sqrt(math.fsum(wide**2))
    factor = min(0.7 / norm, 1.0)
    expected = start - (np.clip(factor * wide, -0.5, 0.5) + 0.25 * start.astype(np.float64))
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(p, expected, rtol=4 * eps, atol=4 * eps)
    rel = 1e-14 if dtype == "float64" else eps
    assert record.grad_norm == pytest.approx(norm, rel=rel)
    assert record.clip_factor == pytest.approx(factor, rel=rel)
    assert factor < 1


def test_clip_factor() -> None:
    def factor(norm: float, **fields: Any) -> float:
        return fo.SGD(np.zeros(2), lr=0.1, clip_norm=1.0, **fields).step(np.array([0.0, norm])).clip_factor

    assert factor(2.0) == 1.0 / (2.0 + 1e-6)
    assert factor(1.0) == 1.0 / (1.0 + 1e-6)  # torch's
    assert factor(1.0, convention="book") == 1.0
    assert factor(0.5) == 1.0
    assert factor(0.0, convention="book") == 1.0
    assert factor(2.0, clip_eps=2.0) == 0.25


def test_clipping_is_over_the_whole_tree() -> None:
    params = {"a": np.zeros(1, np.float32), "b": [np.zeros(1), np.zeros(())]}
    record = fo.SGD(params, lr=1.0, clip_norm=1.0, clip_eps=0.0).step(
        {"a": np.array([2.0], np.float32), "b": [np.array([3.0]), np.array(6.0)]}
    )
    assert record.grad_norm == 7.0
    np.testing.assert_allclose(
        [params["a"][0], params["b"][0][0], params["b"][1]], [-2 / 7, -3 / 7, -6 / 7], rtol=1e-7
    )


def test_weight_decay() -> None:
    for decoupled, expected in ((False, 2 - 0.1 * (1 + 0.5 * 2)), (True, 2 * (1 - 0.1 * 0.5) - 0.1)):
        p = np.array([2.0])
        fo.SGD(p, lr=0.1, weight_decay=0.5, decoupled_weight_decay=decoupled).step(np.array([1.0]))
        assert p[0] == pytest.approx(expected, rel=1e-15)


@every_row
def test_zero_grads(row: Row) -> None:
    for policy in ("raise", "propagate"):
        start, grads = gradients((30, 50), "float32", 3)
        p, q = start.copy(), start.copy()
        zeroing, plain = make(row, p, zero_grads=True, nonfinite=policy), make(row, q, nonfinite=policy)
        buffer = np.empty((30, 50), np.float32)
        for g in grads:
            buffer[...] = g
            zeroing.step(buffer)
            plain.step(g)
            assert not buffer.any()
        assert p.tobytes() == q.tobytes()


# ---- averages ----


@every_dtype
@pytest.mark.parametrize(
    ("average", "kind"),
    [
        (fo.averaging.Mean(), ("mean", 0)),
        (fo.averaging.Mean(start=7), ("mean", 7)),
        (fo.averaging.EMA(0.9), ("ema", 0.9, True)),
        (fo.averaging.EMA(0.9, debias=False), ("ema", 0.9, False)),
        (fo.averaging.EMA(0.0), ("ema", 0.0, True)),
    ],
    ids=str,
)
def test_averages(dtype: str, average: Any, kind: tuple[Any, ...]) -> None:
    start, grads = gradients(3000, dtype, 20)
    p = start.copy()
    opt = fo.SGD(p, lr=0.1, momentum=0.9, average=average)
    path = []
    for t, g in enumerate(grads, 1):
        opt.step(g)
        path.append(p.astype(np.float64))
        expected = reference._average(kind, start.astype(np.float64), path)
        with opt.averaged() as held:
            assert held is p
            eps = float(np.finfo(dtype).eps)
            np.testing.assert_allclose(p, expected, rtol=0, atol=t * eps * np.abs(expected).max())


def test_averaged_swaps_and_swaps_back() -> None:
    base = np.arange(24.0).reshape(4, 6)
    params = {"a": np.arange(70_000.0), "b": base[::-1, ::2]}
    opt = fo.SGD(params, lr=0.1, average=fo.averaging.Mean())
    grads = {"a": np.ones(70_000), "b": np.ones((4, 3))}
    opt.step(grads)
    opt.step(grads)
    before = whole(opt)
    with opt.averaged():
        np.testing.assert_allclose(params["a"][:2], [-0.15, 0.85])
        with pytest.raises(RuntimeError, match="average"):
            opt.step(grads)
        with pytest.raises(RuntimeError, match="average"), opt.averaged():
            raise AssertionError("a nested block was entered")
        with pytest.raises(RuntimeError, match="average"):
            opt.state_dict()
        with pytest.raises(RuntimeError, match="average"):
            opt.load_state_dict({})
    assert whole(opt) == before
    with pytest.raises(KeyError, match="mine"), opt.averaged():
        raise KeyError("mine")
    assert whole(opt) == before
    opt.step(grads)
    with pytest.raises(ValueError, match="keeps no average"), fo.SGD(np.zeros(1), lr=0.1).averaged():
        pass


def test_an_average_of_the_users_own() -> None:
    class Odd:
        starts_at_parameters = True
        value: Any = 0.5

        def weight(self, t: int) -> float:
            if isinstance(self.value, Exception):
                raise self.value
            return float(self.value)

    own = Odd()
    p = np.array([1.0])
    opt = fo.SGD(p, lr=1.0, average=own)
    opt.step(np.array([1.0]))
    with opt.averaged():
        assert p[0] == 0.5
    before = whole(opt)
    for bad in (math.nan, 1.5, -0.1):
        own.value = bad
        with pytest.raises(ValueError, match="weight of step 2"):
            opt.step(np.array([1.0]))
    own.value = KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        opt.step(np.array([1.0]))
    assert whole(opt) == before


# ---- diagnostics ----


@every_row
@every_dtype
def test_diagnostics(row: Row, dtype: str) -> None:
    params = {"w": gradients((90, 100), dtype, 1)[0], "b": gradients(7, dtype, 1, seed=1)[0]}
    opt = make(row, params, diagnostics=True, grad_scale=0.5, weight_decay=0.0, clip_norm=1.0)
    momentum = next((s for s in row.states if s in ("b", "m")), None)
    for t in range(3):
        grads = {
            "w": gradients((90, 100), dtype, 1, seed=t)[1][0],
            "b": gradients(7, dtype, 1, seed=t + 9)[1][0],
        }
        before = {k: x.astype(np.float64) for k, x in params.items()}
        old = (
            {k: s[momentum].astype(np.float64) for k, s in opt.state_dict()["state"].items()}
            if momentum
            else None
        )
        record = opt.step(grads)
        assert record.clip_factor < 1
        for k, found in record.diagnostics.items():
            g = grads[k].astype(np.float64) * 0.5 * record.clip_factor
            p = params[k].astype(np.float64)
            rel = 3e-6 if dtype == "float32" else 1e-13
            assert found["grad_norm"] == pytest.approx(np.linalg.norm(g), rel=rel)
            assert found["param_norm"] == pytest.approx(np.linalg.norm(p), rel=rel)
            assert found["update_norm"] == pytest.approx(np.linalg.norm(p - before[k]), rel=rel)
            assert found["update_ratio"] == pytest.approx(
                np.linalg.norm(p - before[k]) / np.linalg.norm(p), rel=rel
            )
            if old is None or not old[k].any():
                assert found["cosine"] is None
            else:
                m = old[k].ravel()
                assert found["cosine"] == pytest.approx(
                    g.ravel() @ m / np.linalg.norm(g) / np.linalg.norm(m), rel=1e-4, abs=1e-6
                )


# ---- functions of the step ----


def test_every_scalar_may_be_a_function() -> None:
    """A function is asked for t = 1, 2, ... and gives what the numbers would have given."""
    asked: list[int] = []

    def lr(t: int) -> float:
        asked.append(t)
        return 0.1 / t

    start, grads = gradients(5, "float64", 4)
    p, q = start.copy(), start.copy()
    opt = fo.SGD(
        p,
        lr=lr,
        momentum=lambda t: 0.5 + 0.1 * t,
        dampening=lambda t: 0.1 * t,
        weight_decay=lambda t: 0.01 * t,
        clip_norm=lambda t: 2.0 - 0.3 * t,
        clip_value=lambda t: 1.0 / t,
        grad_scale=lambda t: 1.0 / t,
    )
    asked.clear()
    b = np.zeros(5)
    for t, g in enumerate(grads, 1):
        record = opt.step(g)
        assert opt.scalars["lr"] == 0.1 / t
        ready = g / t
        norm = float(np.linalg.norm(ready))
        factor = min((2.0 - 0.3 * t) / (norm + 1e-6), 1.0)
        assert record.clip_factor == pytest.approx(factor, rel=1e-14)
        ready = np.clip(ready * factor, -1.0 / t, 1.0 / t) + 0.01 * t * q
        b = ready if t == 1 else (0.5 + 0.1 * t) * b + (1 - 0.1 * t) * ready
        q = q - 0.1 / t * b
    np.testing.assert_allclose(p, q, rtol=1e-13)
    assert asked == [1, 2, 3, 4]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, "0.1", None, [0.1, 0.2], True, 1j])
@pytest.mark.parametrize("field", ["lr", "betas", "weight_decay", "eps", "clip_norm", "clip_value", "group"])
def test_a_bad_value_at_a_step_writes_nothing(field: str, bad: Any) -> None:
    def value(t: int) -> Any:
        return bad if t == 3 else 0.1

    fields: dict[str, Any] = {"betas": (0.9, value)} if field == "betas" else {field: value}
    if field == "group":
        fields = {"groups": {"": {"lr": value}}}
    p = np.ones(4)
    opt = fo.Adam(p, **fields, average=fo.averaging.Mean())
    g = np.array([1.0, 2.0, 0.5, -1.0])
    opt.step(g)
    opt.step(g)
    before = whole(opt)
    name = {"betas": r"betas\[1\]", "group": r"groups\[''\]: lr"}.get(field, field)
    for _ in range(2):
        with pytest.raises((ValueError, TypeError), match=rf"{name} at step 3 is"):
            opt.step(g)
        assert whole(opt) == before


def test_an_exception_in_a_function_comes_out_as_itself() -> None:
    class Stop(BaseException):
        pass

    def lr(t: int) -> float:
        if t == 2:
            raise Stop
        return 0.1

    p = np.ones(3)
    opt = fo.SGD(p, lr=lr, momentum=0.9)
    opt.step(np.ones(3))
    before = whole(opt)
    with pytest.raises(Stop):
        opt.step(np.ones(3))
    assert whole(opt) == before
    with pytest.raises(Stop), opt.lookahead():
        pass
    assert whole(opt) == before


def test_a_function_cannot_step_its_own_optimizer() -> None:
    holder: list[fo.Optimizer] = []

    def lr(t: int) -> float:
        if holder:
            holder[0].step(np.ones(3))
        return 0.1

    p = np.ones(3)
    opt = fo.SGD(p, lr=lr)
    holder.append(opt)
    with pytest.raises(RuntimeError, match="in a step"):
        opt.step(np.ones(3))
    assert (opt.steps, p.tolist()) == (0, [1.0, 1.0, 1.0])


# ---- looking ahead ----


def _bowl(p: np.ndarray) -> np.ndarray:
    return np.array([1.0, 10.0, 0.1]) * p + np.sin(p)


@pytest.mark.parametrize("lr", [0.05, lambda t: 0.1 / t])
@pytest.mark.parametrize("momentum", [0.9, lambda t: 1 - 0.5 / t])
@pytest.mark.parametrize("convention", ["book", "torch"])
def test_lookahead_is_algorithm_8_3(lr: Any, momentum: Any, convention: str) -> None:
    if convention == "torch" and callable(lr):
        pytest.skip(
            "with lr outside the buffer the velocity depends on the next lr: not the book's algorithm"
        )
    start = np.array([1.0, -2.0, 0.5])
    p = start.copy()
    opt = fo.SGD(p, lr=lr, momentum=momentum, convention=convention)
    for _ in range(40):
        with opt.lookahead() as at:
            g = _bowl(at)
        opt.step(g)
    expected = reference.nesterov_83(start, lambda x, t: _bowl(x), 40, lr, momentum)
    np.testing.assert_allclose(p, expected, rtol=1e-12, atol=1e-14)


def test_lookahead_is_algorithm_8_6() -> None:
    start = np.array([1.0, -2.0, 0.5])
    p = start.copy()
    opt = fo.RMSprop(p, lr=0.01, momentum=0.9, convention="book")
    for _ in range(40):
        with opt.lookahead() as at:
            g = _bowl(at)
        opt.step(g)
    expected = reference.rmsprop_86(start, lambda x, t: _bowl(x), 40, 0.01, 0.9, 0.9, 1e-6)
    np.testing.assert_allclose(p, expected, rtol=1e-12, atol=1e-14)


def test_nesterov_is_lookahead_in_shifted_parameters() -> None:
    """theta' = theta + alpha v follows torch's rule where theta follows the book's, at constant lr and momentum."""
    start = np.array([1.0, -2.0, 0.5])
    p, q = start.copy(), start.copy()
    book, torch = (
        fo.SGD(p, lr=0.05, momentum=0.9, convention="book"),
        fo.SGD(q, lr=0.05, momentum=0.9, nesterov=True),
    )
    for _ in range(30):
        with book.lookahead() as at:
            g = _bowl(at)
        book.step(g)
        torch.step(_bowl(q))
        v = book.state_dict()["state"][""]["b"]
        np.testing.assert_allclose(p + 0.9 * v, q, rtol=1e-12, atol=1e-14)


def test_lookahead_restores_and_refuses() -> None:
    params = {"a": np.array([0.1, 0.2, 0.3], np.float32), "b": np.arange(6.0).reshape(2, 3).T}
    opt = fo.SGD(params, lr=0.1, momentum=0.9, groups={"b": {"momentum": 0.5}})
    grads = {"a": np.ones(3, np.float32), "b": np.ones((3, 2))}
    opt.step(grads)
    before = whole(opt)
    a = params["a"].copy()
    with opt.lookahead():
        np.testing.assert_allclose(params["a"], a - 0.1 * 0.9, rtol=1e-6)
        np.testing.assert_allclose(params["b"][0, 0], -0.1 - 0.1 * 0.5)
        with pytest.raises(RuntimeError, match="look-ahead"):
            opt.step(grads)
        with pytest.raises(RuntimeError, match="look-ahead"), opt.lookahead():
            raise AssertionError
    assert whole(opt) == before
    with pytest.raises(ZeroDivisionError), opt.lookahead():
        raise ZeroDivisionError
    assert whole(opt) == before
    for other in (fo.SGD(np.zeros(2), lr=0.1), fo.Adam(np.zeros(2)), fo.RMSprop(np.zeros(2))):
        with pytest.raises(ValueError, match="look-ahead"), other.lookahead():
            pass
    with (
        pytest.raises(ValueError, match="nesterov"),
        fo.SGD(np.zeros(2), lr=0.1, momentum=0.9, nesterov=True).lookahead(),
    ):
        pass


# ---- groups ----


def test_groups_are_what_separate_optimizers_would_be() -> None:
    for row in ROWS:
        if row.rule in ("rprop",):
            continue
        extra = {"lr": 0.003, "weight_decay": 0.2}
        start, grads = gradients(2000, "float32", 5)
        params = {"dense/w": start[:1500].copy(), "dense/bias": start[1500:].copy()}
        alone = {key: x.copy() for key, x in params.items()}
        opt = make(row, params, groups={"*/bias": extra, "*": {}})
        first, second = make(row, alone["dense/w"]), make(row, alone["dense/bias"], **extra)
        for g in grads:
            opt.step({"dense/w": g[:1500], "dense/bias": g[1500:]})
            first.step(g[:1500])
            second.step(g[1500:])
        assert bits(params) == bits(alone), row.rule


# ---- subnormals, the processor's mode, resources ----


@every_dtype
def test_flush_subnormals(dtype: str) -> None:
    """With it subnormal results become zero; afterwards the processor rounds as before."""
    tiny = float(np.finfo(dtype).tiny)
    for n in (5, 120_000):
        ends = {}
        for flush in (False, True):
            p = np.zeros(n, dtype)
            fo.SGD(p, lr=0.25, flush_subnormals=flush).step(np.full(n, tiny, dtype))
            ends[flush] = p
            smallest = np.array([tiny], dtype) / 4
            assert smallest[0] > 0, "the processor still flushes"
            assert float.fromhex("0x1p-1074") > 0
        assert (ends[False] == -tiny / 4).all()
        assert (ends[True] == 0).all()


def test_flush_is_undone_when_a_step_is_refused() -> None:
    opt = fo.SGD(np.zeros(3), lr=0.1, flush_subnormals=True)
    with pytest.raises(FloatingPointError):
        opt.step(np.array([np.nan, 0, 0]))
    assert np.array([2.0**-1074])[0] * 1.0 > 0


def test_no_growth_and_no_lost_references() -> None:
    params = {"a": np.zeros(50, np.float32), "b": [np.zeros((5, 5))[::2]]}
    grads = {"a": np.ones(50, np.float32), "b": [np.ones((5, 5))[::2]]}
    opt = fo.AdamW(
        params, lr=lambda t: 1e-3, clip_norm=1.0, average=fo.averaging.EMA(0.9), groups={"a": {"lr": 0.1}}
    )
    watched: list[Any] = [params, grads, params["a"], grads["a"], grads["b"][0], np.dtype(np.float32), opt]
    bad = {"a": grads["a"], "b": [np.full((3, 5), np.nan)]}

    def steps(n: int) -> None:
        for i in range(n):
            opt.step(grads)
            if i % 10 == 0:
                opt.step({"a": np.ones(50, np.float32), "b": [np.ones((3, 5))]})
                with pytest.raises(FloatingPointError):
                    opt.step(bad)
                with pytest.raises(ValueError, match="shape"):
                    opt.step({"a": np.ones(3, np.float32), "b": bad["b"]})
            if i % 100 == 0:
                with opt.averaged():
                    pass

    steps(200)
    gc.collect()
    counts = [sys.getrefcount(x) for x in watched]
    tracemalloc.start()
    try:
        steps(100)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        steps(2000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    for _ in range(10_000):
        opt.step(grads)
    assert grown < 2000, f"{grown} bytes in 2000 steps"
    assert [sys.getrefcount(x) for x in watched] == counts


def test_arrays_live_as_long_as_the_optimizer() -> None:
    p = np.ones(100_000)
    gone = weakref.ref(p)
    opt = fo.Adam(p)
    del p
    opt.step(np.ones(100_000))
    assert opt.params[0] < 1
    del opt
    gc.collect()
    assert gone() is None


def test_converges() -> None:
    """Each optimizer walks down a bowl with its own fields."""
    rates: dict[str, Callable[[int], float] | float] = {"Adadelta": 10.0, "Adagrad": 0.5}
    for row in ROWS:
        p = np.array([1.0, -1.0])
        opt = make(row, p, lr=rates.get(row.cls, 0.02), weight_decay=0.0)
        start = p @ (np.array([1.0, 5.0]) * p)
        for _ in range(400):
            opt.step(np.array([1.0, 5.0]) * p)
        assert p @ (np.array([1.0, 5.0]) * p) < 0.02 * start, row


def test_repr_and_record() -> None:
    opt = fo.Adam({"a": np.zeros((2, 3))}, **everything())
    record = opt.step({"a": np.ones((2, 3))})
    assert repr(opt).startswith("Adam(1 arrays, 6 parameters, lr=0.001")
    assert repr(opt).endswith("after 1 steps")
    assert repr(record).startswith("StepRecord(step=1, grad_norm=")
    assert opt.paths == ["a"]


def test_a_skipped_step_zeroes_what_it_accumulates_into() -> None:
    p, g = np.ones(5), np.array([1.0, np.nan, 3.0, 4.0, 5.0])
    opt = fo.Adam(p, nonfinite="skip", zero_grads=True)
    assert opt.step(g).skipped
    assert not g.any()
    assert (p == 1).all()
    g += 1
    assert not opt.step(g).skipped


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("policy", ["raise", "skip"])
def test_a_scale_that_overflows_is_refused(dtype: str, policy: str) -> None:
    p = {"a": np.ones(3, dtype), "b": np.ones(3, dtype)}
    big = float(np.finfo(dtype).max) / 4
    opt = fo.SGD(p, grad_scale=8.0, nonfinite=policy)
    with pytest.raises(FloatingPointError, match=r"grads\['b'\] times grad_scale=8.0 leaves the range"):
        opt.step({"a": np.ones(3, dtype), "b": np.array([0, big, 0], dtype)})
    assert (p["a"] == 1).all()
    assert (p["b"] == 1).all()
    assert opt.steps == 0
    assert opt.step({"a": np.ones(3, dtype), "b": np.ones(3, dtype)}).grad_norm == pytest.approx(8 * 6**0.5)


def test_averages_come_back_whatever_interrupts_the_block() -> None:
    p = {"a": np.arange(3000.0), "b": np.asfortranarray(np.ones((4, 5), np.float32)), "c": np.ones(8)[::2]}
    opt = fo.SGD(p, lr=0.5, average=fo.averaging.EMA(0.5))
    for _ in range(3):
        opt.step({k: np.ones(x.shape, x.dtype) for k, x in p.items()})
    before = {k: x.copy() for k, x in p.items()}
    average = opt.state_dict()["average"]
    with pytest.raises(KeyboardInterrupt), opt.averaged() as held:
        for k in p:
            assert held[k].tobytes() == average[k].tobytes()
        raise KeyboardInterrupt
    for k in p:
        assert p[k].tobytes() == before[k].tobytes()
        assert opt.state_dict()["average"][k].tobytes() == average[k].tobytes()
