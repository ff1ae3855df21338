"""Frozen arrays: left alone to the last bit, and all others updated as if they did not exist."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from rows import DTYPES, IDS, ROWS, Row, bits, gradients, make, whole

every_row = pytest.mark.parametrize("row", ROWS, ids=IDS)
STEPS = 9
#: Step after which -> what is frozen ("+") or thawed ("-") there; b is away for steps 3 to 5, a/1 for 1 and 2, 7 and 8.
PLAN = {0: ["+a/1"], 2: ["-a/1", "+b"], 5: ["-b"], 6: ["+a/1"], 8: ["-a/1"]}
AWAY = {"a/0": (), "a/1": (1, 2, 7, 8), "b": (3, 4, 5)}


def tree(dtype: str) -> tuple[Any, list[Any]]:
    a, ga = gradients(50, dtype, STEPS)
    b, gb = gradients((3, 4), "float32", STEPS, seed=1)
    c, gc = gradients(7, dtype, STEPS, seed=2)
    return {"a": [a, c], "b": b}, [{"a": [g, h], "b": i} for g, h, i in zip(ga, gc, gb, strict=True)]


def obey(opt: fo.Optimizer, words: list[str]) -> None:
    for word in words:
        (opt.freeze if word[0] == "+" else opt.thaw)(word[1:])


def leaves(t: Any) -> dict[str, np.ndarray]:
    return {"a/0": t["a"][0], "a/1": t["a"][1], "b": t["b"]}


@every_row
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_array_moves_as_if_it_were_alone(row: Row, dtype: str) -> None:
    """Every array gets the bits of an optimizer of its own that takes only the steps the array takes part in."""
    start, grads = tree(dtype)
    fields = {"weight_decay": 0.1, "clip_value": 1.0, "nonfinite": "raise"}
    alone = {}
    for path, p in leaves(copy.deepcopy(start)).items():
        opt = make(row, p, **fields)
        for t, g in enumerate(grads, 1):
            if t not in AWAY[path]:
                opt.step(leaves(g)[path])
        alone[path] = (bits(p), bits(opt.state_dict()["state"][""]))

    opt = make(row, start, **fields)
    for t, g in enumerate(grads, 1):
        obey(opt, PLAN.get(t - 1, []))
        given = copy.deepcopy(g)
        away = [path for path in AWAY if t in AWAY[path]]
        assert opt.frozen == set(away)
        for k, path in enumerate(away):  # not looked at, whatever it is
            wrong = [None, np.full(leaves(g)[path].shape, np.nan, dtype), "nothing"][(t + k) % 3]
            if path == "b":
                given["b"] = wrong
            else:
                given["a"][1] = wrong
        before = {p: bits([leaves(start)[p], opt.state_dict()["state"][p]]) for p in away}
        opt.step(given)
        assert before == {p: bits([leaves(start)[p], opt.state_dict()["state"][p]]) for p in away}
    state = opt.state_dict()["state"]
    for path, p in leaves(start).items():
        assert (bits(p), bits(state[path])) == alone[path], path


@every_row
def test_norms_and_averages_of_the_rest(row: Row) -> None:
    """With clipping by norm, an average and diagnostics: as an optimizer of the arrays that are not frozen."""
    start, grads = tree("float64")
    fields = {"clip_norm": 0.5, "average": fo.averaging.EMA(0.7), "diagnostics": True, "nonfinite": "skip"}
    rest = {"a": [copy.deepcopy(start["a"][0])], "b": start["b"].copy()}
    alone = make(row, rest, **fields)
    opt = make(row, start, **fields)
    opt.freeze("a/1")
    for t, g in enumerate(grads):
        g["a"][1][...] = np.inf
        if t == 4:
            g["b"][0, 0] = np.nan
        mine, own = opt.step(g), alone.step({"a": [g["a"][0]], "b": g["b"]})
        assert (mine.grad_norm, mine.clip_factor) == (own.grad_norm, own.clip_factor) or t == 4
        assert (mine.skipped, mine.nonfinite, mine.diagnostics) == (t == 4, own.nonfinite, own.diagnostics)
    assert bits([start["a"][0], start["b"]]) == bits([rest["a"][0], rest["b"]])
    average, own_average = opt.state_dict()["average"], alone.state_dict()["average"]
    assert {p: bits(average[p]) for p in own_average} == bits(own_average)


@pytest.mark.parametrize(
    "average",
    [fo.averaging.Mean(), fo.averaging.Mean(4), fo.averaging.EMA(0.8), fo.averaging.EMA(0.8, debias=False)],
    ids=repr,
)
@pytest.mark.parametrize("looked_at", [False, True])
def test_averages_of_frozen_arrays_go_on(average: Any, looked_at: bool) -> None:
    start, grads = tree("float64")
    opt = fo.Adam(start, lr=0.1, average=average)
    want = copy.deepcopy(start)
    for t, g in enumerate(grads, 1):
        obey(opt, PLAN.get(t - 1, []))
        opt.step(g)
        for avg, p in zip(leaves(want).values(), leaves(start).values(), strict=True):
            avg += average.weight(t) * (p - avg)
        if looked_at or t == STEPS:
            with opt.averaged() as held:
                for path, avg in leaves(want).items():
                    np.testing.assert_allclose(
                        leaves(held)[path], avg, rtol=1e-6 if path == "b" else 1e-12, atol=1e-7
                    )
    assert (
        max(np.abs(a - p).max() for a, p in zip(leaves(want).values(), leaves(start).values(), strict=True))
        > 1e-3
    )


def run(opt: fo.Optimizer, grads: list[Any], first: int = 0) -> Iterator[Any]:
    for t, g in enumerate(grads[first:], first + 1):
        obey(opt, PLAN.get(t - 1, []))
        opt.step(g)
        yield whole(opt)


@every_row
def test_every_cut_point(row: Row) -> None:
    start, grads = tree("float32")
    grads[3]["a"][0][7] = np.nan  # skipped while b is away
    fields = {
        "average": fo.averaging.EMA(0.8),
        "clip_norm": 1.0,
        "nonfinite": "skip",
        "groups": {"b": {"weight_decay": 0.3}},
    }
    opt = make(row, copy.deepcopy(start), **fields)
    path = [whole(opt), *run(opt, grads)]
    assert "clocks" in path[3]
    for cut in range(STEPS + 1):
        first = make(row, copy.deepcopy(start), **fields)
        for _ in zip(range(cut), run(first, grads[:cut]), strict=True):
            pass
        saved, kept = first.state_dict(), copy.deepcopy(first.params)
        again = make(row, kept, **fields)
        again.load_state_dict(saved)
        twin = pickle.loads(pickle.dumps(first))
        assert whole(again) == whole(twin) == path[cut]
        assert again.frozen == twin.frozen == first.frozen
        assert list(run(again, grads, cut)) == path[cut + 1 :] == list(run(twin, grads, cut))


def test_a_state_without_frozen_arrays_thaws_all() -> None:
    opt = fo.Adam({"a": np.ones(3), "b": np.ones(2)})
    free = opt.state_dict()
    assert "clocks" not in free
    opt.freeze("*")
    opt.step({"a": None, "b": None})
    assert opt.steps == 1
    opt.load_state_dict(free)
    assert opt.frozen == set()
    opt.step({"a": np.ones(3), "b": np.ones(2)})
    assert opt.params["a"][0] < 1


def test_several_threads_and_many_arrays() -> None:
    """Blocks are numbered anew: same bits for 1 and 3 threads, and for arrays with empty and frozen ones between."""
    rng = np.random.default_rng(0)
    shapes = [70_000, 0, 50_000, 3, 200_000, 8192, 1]
    start = [rng.standard_normal(n).astype(np.float32) for n in shapes]
    grads = [[rng.standard_normal(n).astype(np.float32) for n in shapes] for _ in range(3)]
    moving = [0, 3, 4, 6]
    alone = fo.AdamW([start[i].copy() for i in moving], clip_norm=1.0)
    for g in grads:
        alone.step([g[i] for i in moving])
    before = fo.get_num_threads()
    try:
        for threads in (1, 3):
            fo.set_num_threads(threads)
            params = copy.deepcopy(start)
            opt = fo.AdamW(params, clip_norm=1.0)
            opt.freeze("1", "2", "5")
            for g in grads:
                opt.step(g)
            assert bits([params[i] for i in moving]) == bits(alone.params)
            assert bits([params[i] for i in (1, 2, 5)]) == bits([start[i] for i in (1, 2, 5)])
    finally:
        fo.set_num_threads(before)


def test_zero_grads_reaches_frozen_gradients() -> None:
    """Else a sum over micro-batches would grow while the array is frozen, and be its first gradient afterwards."""
    p = {"a": np.ones(3), "b": np.ones(2)}
    opt = fo.SGD(p, lr=1.0, zero_grads=True, nonfinite="skip")
    opt.freeze("a")
    g = {"a": np.full(3, 5.0), "b": np.full(2, 0.5)}
    opt.step(g)
    assert not g["a"].any() and not g["b"].any() and (p["a"] == 1).all() and (p["b"] == 0.5).all()
    opt.step({"a": None, "b": np.ones(2)})
    assert opt.step({"a": None, "b": np.full(2, np.nan)}).skipped
    with pytest.raises(ValueError, match=r"grads\['a'\] shares memory with params\['a'\]"):
        opt.step({"a": p["a"], "b": np.ones(2)})
    with pytest.raises(ValueError, match="share memory"):
        same = np.ones(3)
        opt.step({"a": same, "b": same[:2]})


def test_a_frozen_array_may_be_read_only() -> None:
    p = [np.ones(3), np.ones(3)]
    opt = fo.SGD(p, lr=1.0)
    opt.freeze("0")
    p[0].flags.writeable = False
    opt.step([None, np.ones(3)])
    assert (p[1] == 0).all()
    opt.thaw("0")
    with pytest.raises(ValueError, match="read-only"):
        opt.step([np.ones(3), np.ones(3)])


def test_look_ahead_leaves_frozen_arrays_where_they_are() -> None:
    p = [np.ones(3), np.ones(3)]
    opt = fo.SGD(p, lr=0.1, momentum=0.9, convention="book")
    opt.step([np.ones(3), np.ones(3)])
    opt.freeze("0")
    before = [bits(x) for x in p]
    with opt.lookahead():
        assert bits(p[0]) == before[0] and bits(p[1]) != before[1]
    assert [bits(x) for x in p] == before


def test_functions_of_the_step_go_on() -> None:
    """The rate is the optimizer's, the bias correction the array's own."""
    p = [np.ones(1), np.ones(1)]
    opt = fo.Adam(p, lr=lambda t: 1.0 / t)
    opt.freeze("1")
    for _ in range(3):
        opt.step([np.ones(1), None])
    opt.thaw("1")
    opt.step([np.ones(1), np.full(1, 7.0)])
    assert p[1][0] == pytest.approx(1 - 1 / 4, abs=1e-7)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda o: o.freeze(), TypeError, r"freeze\(\) got no pattern"),
        (lambda o: o.thaw(), TypeError, r"thaw\(\) got no pattern"),
        (lambda o: o.freeze("c*"), ValueError, r"freeze\('c\*'\) matches no path; the paths are 'a', 'b/0'"),
        (lambda o: o.freeze("a", "nowhere"), ValueError, r"freeze\('nowhere'\) matches no path"),
        (lambda o: o.thaw("A"), ValueError, r"thaw\('A'\) matches no path"),
        (lambda o: o.freeze(["a"]), TypeError, r"freeze\(\['a'\]\) is \['a'\]; a path pattern"),
        (lambda o: o.freeze(0), TypeError, "a path pattern"),
    ],
)
def test_bad_patterns_freeze_nothing(call: Any, kind: type[Exception], words: str) -> None:
    opt = fo.Adam({"a": np.ones(2), "b": [np.ones(2)]})
    with pytest.raises(kind, match=words):
        call(opt)
    assert opt.frozen == set()


def test_not_inside_a_block() -> None:
    opt = fo.SGD(np.ones(2), lr=0.1, average=fo.averaging.Mean())
    opt.step(np.ones(2))
    with opt.averaged():
        for call in (opt.freeze, opt.thaw):
            with pytest.raises(RuntimeError, match="hold the average"):
                call("*")
    opt.freeze("*")
    assert opt.frozen == {""}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clocks": 3}, "clocks is int"),
        ({"clocks": {"c": {}}}, r"clocks\['c'\] belongs to nothing here"),
        ({"clocks": {"a": {"frozen": True}}}, "not what state_dict"),
        ({"since": 2}, "out of its range"),
        ({"since": True}, "out of its range"),
        ({"missed": -1}, "out of its range"),
        ({"share": 1.5}, "out of its range"),
        ({"share": np.nan}, "out of its range"),
        ({"frozen": 1}, "out of its range"),
        ({"scalars": {}}, "out of its range"),
        ({"scalars": {"mu_product": np.inf}}, "out of its range"),
    ],
    ids=repr,
)
def test_bad_states_change_nothing(change: dict[str, Any], words: str) -> None:
    opt = fo.NAdam({"a": np.ones(2), "b": np.ones(2)})
    opt.freeze("a")
    opt.step({"a": None, "b": np.ones(2)})
    state = opt.state_dict()
    bad = {**state, "clocks": {"a": {**state["clocks"]["a"], **change}}}
    if "clocks" in change:
        bad = {**state, **change}
    opt.step({"a": None, "b": np.ones(2)})
    before = whole(opt)
    with pytest.raises(ValueError, match=words):
        opt.load_state_dict(bad)
    assert whole(opt) == before


def test_checkpoints_hold_it(tmp_path: Any) -> None:
    def made() -> fo.Optimizer:
        return fo.NAdam({"a": np.ones(2), "b": np.ones(2)}, lr=0.1, average=fo.averaging.Mean())

    opt = made()
    g = {"a": np.ones(2), "b": np.ones(2)}
    opt.step(g)
    opt.freeze("a")
    opt.step(g)
    fo.save(tmp_path / "x.safetensors", params=opt.params, opt=opt)
    again = made()
    fo.load(tmp_path / "x.safetensors", params=again.params, opt=again)
    assert whole(again) == whole(opt) and again.frozen == {"a"}
    for o in (opt, again):
        o.thaw("*")
        o.step(g)
    assert whole(again) == whole(opt)


@pytest.mark.parametrize("name", ["step", "skips"])
def test_a_count_beyond_64_bits_changes_nothing(name: str) -> None:
    opt = fo.SGD(np.ones(3), lr=0.1, momentum=0.9)
    state = opt.state_dict()
    state["state"][""]["b"][:] = 5
    with pytest.raises(ValueError, match="not a count"):
        opt.load_state_dict({**state, name: 10**30})
    assert not opt.state_dict()["state"][""]["b"].any()
