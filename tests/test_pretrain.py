"""Pretraining on trees and functions of one's own: stages, hints, transfer, thawing; and for models of fastopt.nn."""

from __future__ import annotations

import copy
import doctest
import threading
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt import nn
from fastopt.meta import Greedy, Hint, Stage, Thaw, pretrain, transfer, transferring
from fastopt.nn import pretraining
from rows import bits, whole

RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 6))
Y = np.argmax(np.tanh(X @ RNG.standard_normal((6, 8))) @ RNG.standard_normal((8, 3)), axis=1)


def deep(**fields: Any) -> nn.Sequential:
    return nn.mlp(6, [8, 7, 5], 3, activation="tanh", dtype=np.float64, rng=4, **fields)


def batches() -> fo.Batches:
    return fo.Batches(X, Y, size=16, rng=2)


def adam(params: Any) -> fo.Optimizer:
    return fo.Adam(params, lr=0.02)


def central(loss: Any, a: np.ndarray, h: float = 1e-6) -> np.ndarray:
    out = np.empty_like(a)
    for i in np.ndindex(a.shape):
        kept = a[i]
        a[i] = kept + h
        up = loss()
        a[i] = kept - h
        out[i] = (up - loss()) / (2 * h)
        a[i] = kept
    return out


# ---- stages


def test_stages_follow_each_other_on_one_stream_of_batches() -> None:
    seen: list[tuple[int, int]] = []

    def stage(k: int) -> Stage:
        def loss_and_grads(p: Any, x: np.ndarray) -> tuple[float, Any]:
            seen.append((k, int(x[0])))
            return float(k), [np.ones(1)]

        return Stage([np.zeros(1)], loss_and_grads, f"s{k}")

    stages = [stage(k) for k in range(3)]
    data = fo.Batches(np.arange(5), size=1, shuffle=False)
    told: list[Any] = []
    greedy = Greedy(stages, lambda p: fo.SGD(p, lr=1.0), [2, 4, 1])
    greedy.train(data, progress=lambda *a: told.append(a[:3]))
    assert seen == [(0, 0), (0, 1), (1, 2), (1, 3), (1, 4), (1, 0), (2, 1)]
    assert [s.params[0][0] for s in stages] == [-2.0, -4.0, -1.0]
    assert greedy.stage == 3 and greedy.opt is None
    assert [(r["stage"], r["step"], r["loss"]) for r in greedy.history] == [
        (0, 2, 0),
        (1, 3, 1),
        (1, 4, 1),
        (2, 1, 2),
    ]
    assert told == [("pretraining", i, 7) for i in range(1, 8)]
    greedy.train(data)
    assert len(seen) == 7


def test_every_cut_point(tmp_path: Any) -> None:
    """Saved after any step, also at the border of two stages, the rest gives the same bits."""

    def made() -> tuple[nn.Sequential, Greedy, fo.Batches]:
        model = deep()
        return model, Greedy(nn.greedy_stages(model, rng=1), adam, [5, 3, 4, 2]), batches()

    model, greedy, data = made()
    path = tmp_path / "x.safetensors"
    states = []

    def note() -> None:
        fo.save(path, greedy=greedy, data=data)
        states.append(path.read_bytes())

    greedy.train(data, after_step=note)
    want, history = bits(model.params), greedy.history
    assert len(states) == 14
    for state in states:
        path.write_bytes(state)
        model, greedy, data = made()
        fo.load(path, greedy=greedy, data=data)
        greedy.train(data)
        assert bits(model.params) == want and greedy.history == history


def test_dropout_and_batch_norm_go_on_too(tmp_path: Any) -> None:
    def made() -> tuple[nn.Sequential, Greedy, fo.Batches]:
        layers: list[nn.Layer] = []
        for n, m in ((6, 8), (8, 7)):
            layers += [nn.Dense(n, m), nn.BatchNorm(m), nn.ReLU(), nn.Dropout(0.2)]
        model = nn.Sequential(*layers, nn.Dense(7, 3), rng=0)
        return model, Greedy(nn.greedy_stages(model, rng=1), adam, [5, 4, 3]), batches()

    model, greedy, data = made()
    states: list[bytes] = []
    path = tmp_path / "x.safetensors"

    def note() -> None:
        fo.save(path, greedy=greedy, model=model, data=data)
        states.append(path.read_bytes())

    greedy.train(data, after_step=note)
    want = bits(model.state_dict())
    assert [s.name for s in greedy.stages] == ["layers 0 to 4", "layers 4 to 9", "all layers"]
    for state in states[::2]:
        path.write_bytes(state)
        model, greedy, data = made()
        fo.load(path, greedy=greedy, model=model, data=data)
        greedy.train(data)
        assert bits(model.state_dict()) == want


def test_greedy_stages_train_their_block_and_nothing_else() -> None:
    model = deep()
    start = copy.deepcopy(model.params)
    stages = nn.greedy_stages(model)
    assert [s.name for s in stages] == ["layers 0 to 2", "layers 2 to 4", "layers 4 to 7", "all layers"]
    moved = [["0"], ["2"], ["4", "6"], ["0", "2", "4", "6"]]
    losses = []
    for stage, mine in zip(stages, moved, strict=True):
        before = copy.deepcopy(model.params)
        greedy = Greedy([stage], adam, 60)
        greedy.train(batches())
        losses.append((greedy.history[0]["loss"], greedy.history[-1]["loss"]))
        assert [k for k in before if bits(before[k]) != bits(model.params[k])] == mine
    assert all(last < 0.8 * first for first, last in losses)
    assert bits(start) != bits(model.params)


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_gradients_of_stages(k: int) -> None:
    model = deep()
    stage = nn.greedy_stages(model, rng=3)[k]
    _, grads = stage.loss_and_grads(stage.params, X, Y)
    leaves, paths = fo._trees.flatten_tree(stage.params)
    given = dict(zip(*reversed(fo._trees.flatten_tree(copy.deepcopy(grads))), strict=True))
    assert sorted(given) == sorted(paths)
    for path, leaf in zip(paths, leaves, strict=True):
        numeric = central(lambda: stage.loss_and_grads(stage.params, X, Y)[0], leaf)
        np.testing.assert_allclose(given[path], numeric, rtol=1e-5, atol=1e-8)


def test_greedy_with_dropout_and_residual_blocks() -> None:
    layers = [
        nn.Dense(6, 8),
        nn.Residual(nn.Dense(8, 8), nn.Tanh(), nn.Dropout(0.3)),
        nn.ReLU(),
        nn.Dense(8, 3),
    ]
    model = nn.Sequential(*layers, rng=0)
    stages = nn.greedy_stages(model)
    assert [s.name for s in stages] == ["layers 0 to 1", "layers 1 to 4", "all layers"]
    before = model.state_dict()["dropout"]
    Greedy(stages, adam, 3).train(batches())
    assert model.state_dict()["dropout"] != before
    assert [s.name for s in nn.greedy_stages(model, at=[], joint=False)] == ["layers 0 to 4"]


# ---- hints


def test_gradients_of_a_hint() -> None:
    student, teacher = deep(), nn.mlp(6, [9], 3, dtype=np.float64, rng=7)
    hint = nn.hint(student, teacher, 4, 2, rng=5)
    loss, grads = hint.loss_and_grads(hint.params, X, Y)
    v = nn.Segment(student, 0, 4).features(X)
    u = np.maximum(X @ teacher.params["0"]["w"] + teacher.params["0"]["b"], 0)
    want = 0.5 * np.square(v @ hint.params["w"] + hint.params["b"] - u).sum(1).mean()
    assert loss == pytest.approx(want, rel=1e-12)
    given = dict(zip(*reversed(fo._trees.flatten_tree(copy.deepcopy(grads))), strict=True))
    leaves, paths = fo._trees.flatten_tree(hint.params)
    assert (
        sorted(given)
        == sorted(paths)
        == ["b", "student/0/b", "student/0/w", "student/2/b", "student/2/w", "w"]
    )
    for path, leaf in zip(paths, leaves, strict=True):
        numeric = central(lambda: hint.loss_and_grads(hint.params, X)[0], leaf)
        np.testing.assert_allclose(given[path], numeric, rtol=1e-5, atol=1e-7)


def test_a_student_learns_its_hint_and_then_the_task() -> None:
    teacher, student = nn.mlp(6, [20], 3, rng=7), nn.mlp(6, [8] * 4, 3, rng=1)
    opt = adam(teacher.params)
    for _ in range(10):
        for x, y in batches():
            opt.step(teacher.loss_and_grads(x, y)[1])
    hint = nn.hint(student, teacher, 4, 2)
    before = hint.loss_and_grads(hint.params, X)[0]
    kept = bits(teacher.params), bits(student.params["6"])
    greedy = Greedy([hint.stage(), *nn.greedy_stages(student, at=[], joint=False)], adam, [150, 150])
    greedy.train(batches())
    assert greedy.history[0]["name"] == "hint"
    assert bits(teacher.params) == kept[0] and bits(student.params["6"]) != kept[1]
    at_the_end = [r["loss"] for r in greedy.history if r["stage"] == 0][-1]
    assert at_the_end < 0.3 * before
    assert student.loss(X, Y) < 0.7


def test_segments_are_the_model() -> None:
    model = deep()
    parts = [nn.Segment(model, 0, 3), nn.Segment(model, 3, 7)]
    middle = parts[0].features(X)
    np.testing.assert_allclose(parts[1].features(middle), model.predict(X), rtol=1e-12)
    # Backward through both is the gradient of the whole.
    _, grads = model.loss_and_grads(X, Y)
    want = copy.deepcopy(grads)
    for a in fo._trees.flatten_tree(model.grads)[0]:
        a[...] = np.nan
    out = parts[1].forward(parts[0].forward(X).copy(), need=True)
    _, d = model.loss_function.value_and_grad(out, Y)
    parts[0].backward(parts[1].backward(d))
    for mine, theirs in zip(
        fo._trees.flatten_tree(model.grads)[0], fo._trees.flatten_tree(want)[0], strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-14)
    assert len(parts[0].features(X[:0])) == 0


# ---- transfer


def tree(seed: int, top: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    return {
        "0": {"w": rng.random((4, 5)), "b": rng.random(5)},
        "1": [rng.random((5, top)).astype(np.float32)],
    }


def test_transfer_copies_what_is_asked_for() -> None:
    source, mine = tree(0, top=9), tree(1)
    before = copy.deepcopy(mine)
    assert transfer(source, mine, "0/*") == ["0/w", "0/b"]
    assert bits(mine["0"]) == bits(source["0"]) and bits(mine["1"]) == bits(before["1"])
    deep_tree = {"encoder": {"first": {"w": np.full((4, 5), 2.0), "b": np.full(5, 3.0)}}, "b": np.ones(5)}
    assert transfer(deep_tree, mine, ["0/w"], rename={"0/*": "encoder/first/*"}) == ["0/w"]
    assert (mine["0"]["w"] == 2).all() and bits(mine["0"]["b"]) == bits(source["0"]["b"])
    assert transfer(deep_tree, mine, "*/b", rename=lambda p: p.split("/")[-1]) == ["0/b"]
    assert (mine["0"]["b"] == 1).all()
    assert transfer({"v": np.full((5, 3), 0.1)}, mine, "1/0", rename={"1/0": "v"}) == ["1/0"]
    assert mine["1"][0].dtype == np.float32 and (mine["1"][0] == np.float32(0.1)).all()


def test_transfer_within_a_tree_reads_before_it_writes() -> None:
    p = {"a": np.zeros(3), "b": np.ones(3)}
    transfer(p, p, rename={"a": "b", "b": "a"})
    assert p["a"].tolist() == [1, 1, 1] and p["b"].tolist() == [0, 0, 0]


def test_transfer_from_a_checkpoint(tmp_path: Any) -> None:
    model, mine = deep(), nn.mlp(6, [8, 7, 5], 4, activation="tanh", dtype=np.float64, rng=9)
    fo.save(tmp_path / "x.safetensors", params=model.params)
    parts = fo.load(tmp_path / "x.safetensors")
    assert len(transfer(parts["params"], mine.params, ["0/*", "2/*", "4/*"])) == 6
    assert bits(mine.params["4"]) == bits(model.params["4"])
    with pytest.raises(
        ValueError, match=r"params\['6/w'\] is \[5, 4\] and source\['6/w'\] \[5, 3\]; params\['6/b'\]"
    ):
        transfer(parts["params"], mine.params)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda m: transfer(tree(0), m, "2/*"), ValueError, "pattern '2/\\*' matches no path; the paths are '0/w'"),
        (lambda m: transfer(tree(0), m, ["0/*", "x"]), ValueError, "pattern 'x' matches no path"),
        (lambda m: transfer(tree(0), m, []), ValueError, "patterns is empty"),
        (lambda m: transfer(tree(0), m, [0]), TypeError, "patterns has 0"),
        (lambda m: transfer(tree(0, 4), m), ValueError, r"nothing was copied: params\['1/0'\] is \[5, 3\] and .* \[5, 4\]"),
        (lambda m: transfer({"0": {"w": np.ones((4, 5))}}, m), ValueError, r"source\['0/b'\] is missing; .* \(source has '0/w'\)"),
        (lambda m: transfer({**tree(0), "1": [np.ones((5, 3), int)]}, m), ValueError, "is no array of floats"),
        (lambda m: transfer({**tree(0), "1": [3]}, m), ValueError, "is no array of floats"),
        (lambda m: transfer(tree(0), m, rename="0"), TypeError, "rename is '0'"),
        (lambda m: transfer(tree(0), m, rename={"*/*": "x"}), TypeError, "at most one"),
        (lambda m: transfer(tree(0), m, rename={"0/*": "x"}), ValueError, "both or neither"),
    ],
)  # fmt: skip
def test_bad_transfers_write_nothing(call: Any, kind: type[Exception], words: str) -> None:
    mine = tree(1)
    before = bits(mine)
    with pytest.raises(kind, match=words):
        call(mine)
    assert bits(mine) == before


# ---- thawing on a schedule


def three() -> fo.Optimizer:
    return fo.Adam({str(i): {"w": np.ones(2)} for i in range(3)}, lr=0.1)


G = {str(i): {"w": np.ones(2)} for i in range(3)}


def test_thaw_follows_its_plan() -> None:
    opt = three()
    thaw = Thaw(opt, {"0/*": 4, "1/*": 2, "2/*": 0})
    moves = []
    for _ in range(6):
        before = copy.deepcopy(opt.params)
        opt.step(G)
        moves.append([k for k in before if bits(before[k]) != bits(opt.params[k])])
        thaw.update()
    assert moves == [["2"]] * 2 + [["1", "2"]] * 2 + [["0", "1", "2"]] * 2
    gradual = Thaw.gradual(three(), ["2/*", "1/*", "0/*"], every=2)
    assert gradual.until == {"2/w": 0, "1/w": 2, "0/w": 4} and gradual.opt.frozen == {"0/w", "1/w"}


def test_thaw_goes_on_where_its_optimizer_stood(tmp_path: Any) -> None:
    def go(opt: fo.Optimizer, thaw: Thaw, steps: int) -> Any:
        for _ in range(steps):
            opt.step(G)
            thaw.update()
        return whole(opt)

    opt = three()
    want = go(opt, Thaw(opt, {"0/*": 4, "1/*": 2}), 6)
    for cut in range(7):
        for late in (False, True):
            opt, again = three(), three()
            go(opt, Thaw(opt, {"0/*": 4, "1/*": 2}), cut)
            fo.save(tmp_path / "x.safetensors", params=opt.params, opt=opt)
            thaw = None if late else Thaw(again, {"0/*": 4, "1/*": 2})
            fo.load(tmp_path / "x.safetensors", params=again.params, opt=again)
            assert go(again, thaw or Thaw(again, {"0/*": 4, "1/*": 2}), 6 - cut) == want


def test_odd_paths_are_taken_literally() -> None:
    opt = fo.SGD({"a[0]*": np.ones(1), "a0": np.ones(1)}, lr=0.1)
    thaw = Thaw(opt, {"a[[]0*": 1})
    assert opt.frozen == {"a[0]*"}
    opt.step({"a[0]*": None, "a0": np.ones(1)})
    assert thaw.update() == ["a[0]*"] and not opt.frozen


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda o: Thaw(o, {}), TypeError, "Thaw: plan is {}"),
        (lambda o: Thaw(o, ["0/*"]), TypeError, "Thaw: plan is"),
        (
            lambda o: Thaw(o, {"0/*": 1, "7": 2}),
            ValueError,
            r"plan\['7'\] matches no path; the paths are '0/w'",
        ),
        (lambda o: Thaw(o, {"0/*": 1, "*": 2}), ValueError, "'0/w' is matched by '0/\\*' and by '\\*'"),
        (lambda o: Thaw(o, {"0/*": -1}), ValueError, r"plan\['0/\*'\] is -1"),
        (lambda o: Thaw(o, {"0/*": 1.5}), TypeError, r"plan\['0/\*'\] is 1.5"),
        (lambda o: Thaw(o, {0: 1}), TypeError, "plan has 0"),
        (lambda o: Thaw.gradual(o, "0/*", 1), TypeError, "a sequence of different patterns"),
        (lambda o: Thaw.gradual(o, ["0/*"], 0), ValueError, "every is 0"),
    ],
)
def test_bad_plans_freeze_nothing(call: Any, kind: type[Exception], words: str) -> None:
    opt = three()
    with pytest.raises(kind, match=words):
        call(opt)
    assert not opt.frozen


def zero(p: Any, *batch: Any) -> tuple[float, Any]:
    return 0.0, [np.zeros(1)]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: Stage([1.0], zero), TypeError, r"Stage: params\['0'\] is float"),
        (lambda: Stage([np.ones(1)], 3), TypeError, "Stage: loss_and_grads is 3"),
        (lambda: Greedy([], adam, 1), ValueError, "Greedy: stages is empty"),
        (lambda: Greedy([zero], adam, 1), TypeError, r"Greedy: stages\[0\] is function"),
        (lambda: Greedy([Stage([np.ones(1)], zero)], 0.1, 1), TypeError, "Greedy: optimizer is 0.1"),
        (lambda: Greedy([Stage([np.ones(1)], zero)], adam, [1, 2]), ValueError, "steps has 2 numbers; 1"),
        (lambda: Greedy([Stage([np.ones(1)], zero)], adam, 0), ValueError, r"steps\[0\] is 0"),
        (lambda: Greedy([Stage([np.ones(1)], zero)], adam, 1).train([]), ValueError, "batches gave nothing"),
        (lambda: Hint(1, 2, [], (1, 1)), TypeError, "features and teacher must be functions"),
        (lambda: Hint(zero, zero, [], (0, 1)), ValueError, r"widths\[0\] is 0"),
        (lambda: nn.Segment(3, 0, 1), TypeError, "model is int"),
        (lambda: nn.Segment(deep(), 0, 8), ValueError, "layers 0 to 8 are asked for; the model has 0 to 7"),
        (lambda: nn.Segment(deep(), 0, 1.0), TypeError, "stop is 1.0"),
        (lambda: nn.greedy_stages(deep(), at=[4, 2]), ValueError, "rising numbers"),
        (lambda: nn.greedy_stages(deep(), at=[7]), ValueError, "rising numbers"),
        (lambda: nn.greedy_stages(deep(), at=[1, 2]), ValueError, "layers 1 to 2 have no parameters"),
        (lambda: nn.hint(deep(), deep(), 0, 2), ValueError, "are asked for"),
        (lambda: nn.hint(deep(), 3, 1, 2), TypeError, "model is int"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        call()


@pytest.mark.parametrize(
    "change",
    [
        {"stage": 5}, {"stage": 2}, {"opt": None}, {"params": []}, {"params": [{}, {}]}, {"history": 3}, {"running": 1},
        {"params": [{"0": np.ones(2)}, {"0": np.ones(1)}]}, {"opt": {"rule": "sgd"}},
    ],
    ids=repr,
)  # fmt: skip
def test_bad_states_change_nothing(change: dict[str, Any]) -> None:
    greedy = Greedy([Stage([np.ones(1)], zero), Stage([np.ones(1)], zero)], adam, 2)
    state = {**greedy.state_dict(), "params": [{"0": np.zeros(1)}, {"0": np.zeros(1)}]}
    before = bits(greedy.state_dict())
    with pytest.raises(ValueError):
        greedy.load_state_dict({**state, **change})
    assert bits(greedy.state_dict()) == before
    greedy.load_state_dict(state)
    assert greedy.stages[0].params[0][0] == 0


def test_docstring_examples() -> None:
    for module in (pretrain, transferring, pretraining):
        result = doctest.testmod(module)
        assert result.failed == 0 and result.attempted > 4


def test_greedy_ends_where_every_step_is_skipped() -> None:
    model = fo.nn.mlp(4, [5], 3)
    greedy = fo.meta.Greedy(
        fo.nn.greedy_stages(model), lambda p: fo.SGD(p, lr=0.1, nonfinite="skip"), steps=3
    )
    with pytest.raises(RuntimeError, match="Greedy: two passes without a step"):
        greedy.train([(np.full((2, 4), np.nan, np.float32), np.zeros(2, int))])


def test_a_student_with_heads_is_refused() -> None:
    nn = fo.nn
    student = nn.Sequential(
        nn.Dense(4, 5), nn.Tanh(), nn.Auxiliary(nn.Dense(5, 3)), nn.Dense(5, 5), nn.Tanh(), nn.Dense(5, 3)
    )
    with pytest.raises(ValueError, match="layer 2 is an auxiliary head"):
        nn.hint(student, nn.mlp(4, [6], 3), 5, 2)
    with pytest.raises(ValueError, match="layer 2 is an auxiliary head"):
        nn.Segment(student, 0, 4).forward(np.ones((2, 4)))


def test_segments_take_turns() -> None:
    nn, rng = fo.nn, np.random.default_rng(0)
    model = nn.Sequential(nn.Dense(4, 5), nn.BatchNorm(5), nn.Tanh(), nn.Dense(5, 3))
    trunk = nn.Segment(model, 0, 3)
    xs = [rng.standard_normal((50, 4)).astype(np.float32) for _ in range(4)]
    wanted = [trunk.features(x) for x in xs]
    wrong: list[int] = []

    def work(k: int) -> None:
        wrong.extend(k for _ in range(1500) if not np.array_equal(trunk.features(xs[k]), wanted[k]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
