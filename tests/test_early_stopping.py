"""Early stopping: what is kept, when it stops, what comes afterwards, and going on after a stop of the program."""

from __future__ import annotations

import copy
import doctest
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt.meta import EarlyStopping, early_stop, early_stopping, train_steps, train_until, training
from rows import bits, whole

# ---- the watcher


@pytest.mark.parametrize(
    ("fields", "metrics", "best", "stops"),
    [
        ({"patience": 2}, [3, 2, 2, 2, 1], 2, 4),
        ({"patience": 2}, [3, 2, 2, 1, 2, 2], 4, 6),
        ({"patience": 1, "mode": "max"}, [0.1, 0.2, 0.2], 2, 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.5, 2.4], 1, 3),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.4, 2.0, 1.95], 2, 4),
        ({"patience": 2}, [math.nan, 5.0, math.inf, math.nan], 2, 4),
        ({"patience": 2}, [(0.1, 9.0), (0.1, 8.0), (0.2, 1.0), (0.1, 8.0)], 2, 4),
        ({"patience": None}, [1, 2, 3, 4, 5], 1, None),
    ],
)
def test_best_and_stop(fields: dict[str, Any], metrics: list[Any], best: int, stops: int | None) -> None:
    early = EarlyStopping(**fields)
    w = np.zeros(3)
    said = []
    for step, metric in enumerate(metrics, 1):
        w[:] = step
        said.append(early.update(metric, [w], step, surrogate=10.0 - step))
        if said[-1]:
            break
    assert early.best_step == best
    assert step == stops if stops else not any(said)
    assert early.restore([w])[0][0] == best == w[0]
    assert early.best == metrics[best - 1] and early.best_surrogate == 10.0 - best
    assert [row["surrogate"] for row in early.history] == [10.0 - t for t in range(1, step + 1)]


def test_nothing_is_allocated_after_the_second_best() -> None:
    early, w = EarlyStopping(), {"w": np.zeros(300_000), "b": [np.zeros(5, np.float32)]}
    for metric in (5.0, 4.0):
        early.update(metric, w)
    tracemalloc.start()
    for metric in (3.0, 2.0, 2.5, 1.0):
        w["w"] += 1
        early.update(metric, w)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()
    w["w"][:] = -1
    assert early.restore(w)["w"][0] == 4


def test_an_interrupted_copy_leaves_the_best_weights_whole() -> None:
    early = EarlyStopping()
    a, b = np.zeros(4), np.zeros(4)
    for step in (1, 2, 3):
        a[:] = b[:] = step
        early.update(4.0 - step, [a, b])

    kept = early._copies[0]
    kept[1].flags.writeable = False  # the second array of the copy fails, after the first was written
    a[:] = b[:] = 9
    before = early.state_dict()
    with pytest.raises(ValueError, match="read-only"):
        early.update(0.0, [a, b])
    assert bits(early.state_dict()) == bits(before)
    early.restore([a, b])
    assert (a == 3).all() and (b == 3).all()


def test_state_comes_back(tmp_path: Any) -> None:
    early = EarlyStopping(patience=5)
    w = {"a": np.arange(3.0), "b": np.ones((2, 2), np.float32)}
    for step, metric in enumerate([(0.5, 1.0), (0.4, 2.0), (0.4, math.nan)], 1):
        w["a"] += 1
        early.update(metric, w, step, surrogate=None if step == 1 else 0.1 * step)
    fo.save(tmp_path / "x.safetensors", early=early)
    again = EarlyStopping(patience=5)
    fo.load(tmp_path / "x.safetensors", early=again)
    assert repr(again) == repr(early)
    assert bits(again.state_dict()["weights"]) == bits(early.state_dict()["weights"])
    assert repr(again.history) == repr(early.history)
    for e in (early, again):
        e.update((0.4, 1.0), w, 4)
    assert again.best_step == early.best_step == 4 and again.bad == 0


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: EarlyStopping(0), ValueError, "EarlyStopping: patience is 0"),
        (lambda: EarlyStopping(1.5), TypeError, "EarlyStopping: patience is 1.5"),
        (lambda: EarlyStopping(min_delta=math.nan), ValueError, "EarlyStopping: min_delta is nan"),
        (lambda: EarlyStopping(mode="up"), ValueError, "EarlyStopping: mode is 'up'"),
        (lambda: EarlyStopping().update("bad"), TypeError, "EarlyStopping: metric is 'bad'"),
        (lambda: EarlyStopping().update(()), TypeError, "a number or a tuple"),
        (lambda: EarlyStopping().update(1.0, step=-1), ValueError, "EarlyStopping: step is -1"),
        (
            lambda: EarlyStopping().update(1.0, {"w": 3.0}),
            TypeError,
            r"EarlyStopping: params\['w'\] is float",
        ),
        (
            lambda: EarlyStopping(min_delta=1.0).update((1.0, 2.0)),
            TypeError,
            "with min_delta a single number",
        ),
        (lambda: EarlyStopping().restore(np.ones(2)), ValueError, "no weights are kept"),
        (lambda: EarlyStopping().load_state_dict([]), TypeError, "state is list"),
        (lambda: EarlyStopping().load_state_dict({}), ValueError, "are wanted"),
    ],
)
def test_bad_arguments_are_named(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda e: e.update(0.5), "params is missing"),
        (lambda e: e.update((0.5, 1.0), {"w": np.ones(2)}), "must keep its length"),
        (lambda e: e.update(0.5, {"v": np.ones(2)}), r"has the paths \['v'\]"),
        (lambda e: e.update(0.5, {"w": np.ones(3)}), r"params\['w'\] is float64\[3\]; float64\[2\]"),
        (lambda e: e.update(0.5, {"w": np.ones(2, np.float32)}), "is float32"),
        (lambda e: e.restore({"w": np.ones((2, 1))}), r"float64\[2, 1\]"),
        (lambda e: e.restore([np.ones(2)]), "has the paths"),
        (lambda e: e.restore({"w": np.broadcast_to(1.0, 2)}), "read-only"),
        (lambda e: e.load_state_dict({**e.state_dict(), "bad": -1}), "bad"),
        (lambda e: e.load_state_dict({**e.state_dict(), "best_step": -1}), "best_step"),
        (lambda e: e.load_state_dict({**e.state_dict(), "history": [{}]}), "history"),
        (lambda e: e.load_state_dict({**e.state_dict(), "weights": [1]}), "weights"),
        (lambda e: e.load_state_dict({**e.state_dict(), "running": {}}), "running"),
    ],
)
def test_what_does_not_fit_changes_nothing(call: Any, words: str) -> None:
    early = EarlyStopping()
    early.update(1.0, {"w": np.ones(2)})
    before = bits(early.state_dict())
    with pytest.raises(ValueError, match=words):
        call(early)
    assert bits(early.state_dict()) == before


def test_params_always_or_never() -> None:
    early = EarlyStopping()
    early.update(1.0)
    with pytest.raises(ValueError, match="always or never"):
        early.update(0.5, np.ones(2))


# ---- the loops

RNG = np.random.default_rng(3)
X = RNG.standard_normal((90, 30))
Y = X[:, 0] - X[:, 1] + 0.7 * RNG.standard_normal(90)
TRAIN, VALID = slice(0, 60), slice(60, 90)


def loss_and_grads(params: Any, x: np.ndarray, y: np.ndarray) -> tuple[float, Any]:
    r = x @ params["w"] - y
    return float(r @ r) / len(y), {"w": 2 * x.T @ r / len(y)}


def judge(params: Any) -> float:
    return loss_and_grads(params, X[VALID], Y[VALID])[0]


def begin(**fields: Any) -> tuple[Any, fo.Optimizer, fo.Batches]:
    params = {"w": np.zeros(30)}
    opt = fo.Adam(params, lr=0.05, **fields)
    return params, opt, fo.Batches(X[TRAIN], Y[TRAIN], size=16, rng=1)


@pytest.mark.parametrize("every", [None, 3, 4, 7])
def test_algorithm_7_1(every: int | None) -> None:
    """Against the book's loop, written out."""
    params, opt, batches = begin()
    path, values, surrogates, losses = {}, {}, {}, []
    n = every or len(batches)
    i, j, best = 0, 0, math.inf
    stream = (b for _ in range(1000) for b in batches)
    while j < 4:
        for _ in range(n):
            loss, g = loss_and_grads(params, *next(stream))
            opt.step(g)
            losses.append(loss)
        i += n
        path[i], values[i], surrogates[i] = params["w"].copy(), judge(params), np.mean(losses[-n:])
        j, best = (0, values[i]) if values[i] < best else (j + 1, best)
    step = min(values, key=lambda k: values[k])

    params, opt, batches = begin()
    told = []
    early = early_stop(
        loss_and_grads, opt, batches, judge, 4, every=every, progress=lambda *a: told.append(a)
    )
    assert early.stopped and early.best_step == step and early.best == values[step]
    assert [(r["step"], r["metric"]) for r in early.history] == list(values.items())
    np.testing.assert_allclose([r["surrogate"] for r in early.history], list(surrogates.values()), rtol=1e-13)
    assert bits(params["w"]) == bits(path[step])
    assert len(told) == opt.steps == i and told[-1][:3] == ("early stopping", i, None)
    assert early.history[-1]["surrogate"] < early.best_surrogate  # still falling, where what is wanted is not


def test_ends_by_steps_and_passes_and_judges_the_end() -> None:
    _, opt, batches = begin()
    early = early_stop(loss_and_grads, opt, batches, judge, 50, steps=10)
    assert [r["step"] for r in early.history] == [4, 8, 10] and opt.steps == 10
    _, opt, batches = begin()
    early = early_stop(loss_and_grads, opt, batches, judge, 50, passes=3, every=5)
    assert [r["step"] for r in early.history] == [5, 10, 12] and opt.steps == 12
    assert early_stop(loss_and_grads, opt, batches, judge, early, passes=3, restore=False) is early
    assert opt.steps == 12


def test_averaged_weights_and_buffers_are_kept_together() -> None:
    params, opt, batches = begin(average=fo.averaging.EMA(0.9))
    buffers = {"mean": np.zeros(())}

    def refresh(p: Any) -> None:
        buffers["mean"][...] = p["w"].mean()

    seen = []
    early_stop(
        loss_and_grads, opt, batches, judge, 3, averaged=True, refresh=refresh, buffers=buffers,
        after_update=lambda e: seen.append(e.best_step),
    )  # fmt: skip
    assert seen[-1] < opt.steps
    params2, opt2, batches2 = begin(average=fo.averaging.EMA(0.9))
    train_steps(loss_and_grads, opt2, batches2, seen[-1])
    with opt2.averaged():
        np.testing.assert_array_equal(params["w"], params2["w"])
    assert buffers["mean"] == params["w"].mean()


@pytest.mark.parametrize(("every", "steps"), [(None, None), (3, None), (None, 10), (4, 8), (None, 8)])
def test_every_cut_point(every: int | None, steps: int | None) -> None:
    def final(opt: fo.Optimizer, early: EarlyStopping) -> Any:
        return [whole(opt), bits(early.state_dict())]

    _, opt, batches = begin()
    states: list[Any] = []

    def note() -> None:
        states.append(
            copy.deepcopy([opt.params["w"], opt.state_dict(), batches.state_dict(), early.state_dict()])
        )

    early = EarlyStopping(2)
    early_stop(loss_and_grads, opt, batches, judge, early, every=every, steps=steps, after_step=note)
    want = final(opt, early)
    assert len(states) == opt.steps == (steps or opt.steps)
    for w, o, b, e in states:
        params, opt2, batches2 = begin()
        params["w"][...] = w
        opt2.load_state_dict(o)
        batches2.load_state_dict(b)
        early2 = EarlyStopping(2)
        early2.load_state_dict(e)
        early_stop(loss_and_grads, opt2, batches2, judge, early2, every=every, steps=steps)
        assert final(opt2, early2) == want


def test_retraining_takes_the_same_steps() -> None:
    """Algorithm 7.2 on the same rows is the run that was stopped, bit for bit."""
    params, opt, batches = begin()
    early = early_stop(loss_and_grads, opt, batches, judge, 3)
    again, opt, batches = begin()
    mean = train_steps(loss_and_grads, opt, batches, early.best_step)
    assert opt.steps == early.best_step and bits(again) == bits(params)
    assert mean == pytest.approx(np.mean([r["surrogate"] for r in early.history[: early.best_step // 4]]))
    assert math.isnan(train_steps(loss_and_grads, opt, batches, early.best_step))
    everything = fo.Batches(X, Y, size=16, rng=1)
    fresh = {"w": np.zeros(30)}
    train_steps(loss_and_grads, fo.Adam(fresh, lr=0.05), everything, early.best_step)
    assert judge(fresh) < judge(params)  # it has seen these rows now


def test_going_on_until_the_loss_is_that_of_the_training_rows() -> None:
    params, opt, batches = begin()
    early = early_stop(loss_and_grads, opt, batches, judge, 3)
    everything = fo.Batches(X, Y, size=16, rng=2)
    held_out = judge(params)
    assert early.best_surrogate < held_out
    assert train_until(loss_and_grads, opt, everything, judge, early.best_surrogate, steps=opt.steps + 500)
    assert judge(params) <= early.best_surrogate
    now = opt.steps
    assert not train_until(loss_and_grads, opt, everything, judge, 0.0, steps=now + 7, every=2)
    assert opt.steps == now + 7
    assert train_until(loss_and_grads, opt, everything, judge, 1e9, steps=now + 99) and opt.steps == now + 7


def test_loops_tell_what_is_wrong() -> None:
    _, opt, batches = begin()
    with pytest.raises(ValueError, match="early_stop: batches gave nothing"):
        early_stop(loss_and_grads, opt, iter([]), judge)
    with pytest.raises(ValueError, match="train_steps: batches gave nothing"):
        train_steps(loss_and_grads, opt, (b for b in list(batches)), 100)
    with pytest.raises(ValueError, match="train_until: batches gave nothing"):
        train_until(loss_and_grads, opt, [], judge, 0.0, steps=100)
    with pytest.raises(TypeError, match="early_stop: early is 'x'"):
        early_stop(loss_and_grads, opt, batches, judge, "x")
    with pytest.raises(ValueError, match="early_stop: every is 0"):
        early_stop(loss_and_grads, opt, batches, judge, every=0)
    with pytest.raises(ValueError, match="train_until: target is nan"):
        train_until(loss_and_grads, opt, batches, judge, math.nan, steps=1000)
    with pytest.raises(TypeError, match="progress is 'bar'"):
        early_stop(loss_and_grads, opt, batches, judge, progress="bar")
    _, opt, batches = begin(nonfinite="skip")
    with pytest.raises(RuntimeError, match="two passes without a step"):
        train_steps(lambda p, x, y: (math.nan, {"w": np.full(30, np.nan)}), opt, batches, 100)


def test_one_array_a_batch_and_an_exception_of_the_user() -> None:
    x = np.arange(12.0)
    w = np.zeros(1)
    opt = fo.SGD(w, lr=0.1)
    early = early_stop(
        lambda w, b: (0.0, 2 * (w - b.mean())),
        opt,
        fo.Batches(x, size=4, rng=0),
        lambda w: abs(w[0] - 5.5),
        2,
    )
    assert early.best < 1.0

    def stop() -> None:
        raise KeyboardInterrupt

    early = EarlyStopping()
    with pytest.raises(KeyboardInterrupt):
        early_stop(lambda w, b: (0.0, w + 1), opt, [x], lambda w: 1.0, early, after_step=stop)
    assert early.history == []


def test_docstring_examples() -> None:
    for module in (early_stopping, training):
        result = doctest.testmod(module)
        assert result.failed == 0 and result.attempted >= 4


def test_a_history_of_no_numbers_is_refused() -> None:
    early = fo.meta.EarlyStopping()
    early.update(0.5, np.ones(2))
    state = early.state_dict()
    for row in ({"step": 1, "metric": object()}, {"step": "x", "metric": 0.5}):
        with pytest.raises((TypeError, ValueError), match="EarlyStopping"):
            early.load_state_dict({**state, "history": [{**row, "surrogate": None}]})
    assert len(early.history) == 1
