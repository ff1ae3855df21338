"""Stopping and going on: state_dict, load_state_dict, pickle and copies give the bits of a run that never stopped."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from rows import DTYPES, IDS, ROWS, Row, bits, gradients, make, whole

every_row = pytest.mark.parametrize("row", ROWS, ids=IDS)
STEPS = 8


def _lr(t: int) -> float:
    return 0.1 / t


def _fields(row: Row) -> dict[str, Any]:
    own = {
        "average": fo.averaging.EMA(0.8),
        "clip_norm": 1.0,
        "nonfinite": "skip",
        "groups": {"b*": {"weight_decay": 0.3}},
    }
    return own if row.rule == "rprop" else {**own, "lr": _lr}


def _tree(dtype: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    start, grads = gradients(50, dtype, STEPS)
    other, more = gradients((3, 4), "float32", STEPS, seed=1)
    grads[3][7] = np.nan  # skipped, whichever side of the cut it is on
    return {"a": start, "b": [other]}, [{"a": g, "b": [h]} for g, h in zip(grads, more, strict=True)]


@every_row
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_cut_point(row: Row, dtype: str) -> None:
    start, grads = _tree(dtype)
    params = copy.deepcopy(start)
    opt = make(row, params, **_fields(row))
    path = [whole(opt)]
    for g in grads:
        opt.step(g)
        path.append(whole(opt))
    assert path[-1]["skips"] == 1
    for cut in range(STEPS + 1):
        first = make(row, copy.deepcopy(start), **_fields(row))
        for g in grads[:cut]:
            first.step(g)
        saved = first.state_dict()
        kept = copy.deepcopy(first.params)
        for g in grads[cut:]:
            first.step(g)  # a saved state is a copy: later steps do not reach it
        again = make(row, kept, **_fields(row))
        again.load_state_dict(saved)
        assert whole(again) == path[cut]
        for t, g in enumerate(grads[cut:], cut + 1):
            again.step(g)
            assert whole(again) == path[t], f"cut at {cut}, step {t}"


@every_row
def test_pickle_and_copies(row: Row) -> None:
    start, grads = _tree("float32")
    opt = make(row, copy.deepcopy(start), **_fields(row))
    for g in grads[:5]:
        opt.step(g)
    before = whole(opt)
    twins = [pickle.loads(pickle.dumps(opt, protocol)) for protocol in range(2, 6)]
    twins.append(copy.deepcopy(opt))
    for twin in twins:
        assert whole(twin) == before
        assert not np.shares_memory(twin.params["a"], opt.params["a"])
    shallow = copy.copy(opt)
    assert shallow.params is opt.params
    for g in grads[5:]:
        opt.step(g)
    after = whole(opt)
    assert after != before
    for twin in twins:
        assert whole(twin) == before
        for g in grads[5:]:
            twin.step(g)
        assert whole(twin) == after


def test_a_copy_keeps_its_params_and_the_tie_to_them() -> None:
    """What is pickled with its parameters comes back tied to the same arrays."""
    p = np.ones(4)
    opt = fo.Adam(p)
    opt.step(np.ones(4))
    q, twin = pickle.loads(pickle.dumps((p, opt)))
    assert twin.params is q
    twin.step(np.ones(4))
    assert q.tobytes() != p.tobytes()


def test_state_holds_what_it_says() -> None:
    opt = fo.NAdam(
        {"a": np.ones(2), "b": [np.ones(3, np.float32)]},
        groups={"a": {"betas": (0.5, 0.9)}},
        average=fo.averaging.Mean(),
    )
    opt.step({"a": np.ones(2), "b": [np.ones(3, np.float32)]})
    state = opt.state_dict()
    assert set(state) == {"rule", "step", "skips", "scalars", "state", "average"}
    assert (state["rule"], state["step"], state["skips"]) == ("nadam", 1, 0)
    assert [set(s) for s in state["scalars"]] == [{"mu_product"}, {"mu_product"}]
    assert state["scalars"][0] != state["scalars"][1]
    assert {k: set(v) for k, v in state["state"].items()} == {"a": {"m", "v"}, "b/0": {"m", "v"}}
    assert state["state"]["b/0"]["m"].dtype == np.float32
    assert list(state["average"]) == ["a", "b/0"]
    shared = opt.state_dict(copy=False)
    assert np.shares_memory(shared["state"]["a"]["m"], opt.state_dict(copy=False)["state"]["a"]["m"])
    opt.load_state_dict(shared)  # its own arrays
    assert bits(opt.state_dict()) == bits(state)


def test_mismatches_are_listed_together_and_nothing_is_loaded() -> None:
    opt = fo.Adam({"a": np.ones(2), "b": np.ones(3)}, average=fo.averaging.Mean())
    opt.step({"a": np.ones(2), "b": np.ones(3)})
    before = whole(opt)
    state = fo.Adam({"a": np.ones(2), "b": np.ones(3)}).state_dict()
    state["state"]["a"]["m"] = np.ones(3)
    state["state"]["a"]["v"] = np.ones(2, np.float32)
    del state["state"]["b"]["m"]
    state["state"]["b"]["x"] = np.ones(3)
    state["state"]["c"] = {}
    state["step"] = -1
    with pytest.raises(ValueError, match="state does not fit") as caught:
        opt.load_state_dict(state)
    for part in ("step is -1", "state['a']['m'] is float64[3], needed float64[2]", "state['a']['v'] is float32[2]",
                 "state['b']['m'] is missing", "state['b']['x'] belongs to nothing", "state['c'] belongs to nothing",
                 "average is missing"):  # fmt: skip
        assert part in str(caught.value)
    assert whole(opt) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "sgd"}, "state is of rule 'sgd'"),
        ({"rule": None}, "rule None"),
        ({"step": 1.5}, "step is 1.5"),
        ({"step": True}, "step is True"),
        ({"skips": None}, "skips is None"),
        ({"scalars": []}, "scalars is for 0 groups"),
        ({"scalars": None}, "scalars is for no groups"),
        ({"scalars": [{}]}, r"scalars\[0\] is"),
        ({"scalars": [{"mu_product": float("nan")}]}, r"scalars\[0\] is"),
        ({"scalars": [{"mu_product": "1"}]}, r"scalars\[0\] is"),
        ({"scalars": [1]}, r"scalars\[0\] is"),
        ({"state": None}, "state is missing"),
        ({"state": {"": []}}, "state is list"),
        ({"state": {"": {"m": [1.0, 2.0], "v": np.ones(2)}}}, "is list, not an array"),
        ({"state": {"": {"m": np.ones(2, ">f8"), "v": np.ones(2)}}}, "is >f8"),
        ({"average": {"": np.ones(2)}}, "keeps none"),
        ({"schedules": [{}]}, "1 schedules"),
        ({"schedules": None}, "schedules is NoneType"),
    ],
)
def test_bad_states(change: dict[str, Any], message: str) -> None:
    opt = fo.NAdam(np.ones(2))
    opt.step(np.ones(2))
    before = whole(opt)
    with pytest.raises((ValueError, TypeError), match=message):
        opt.load_state_dict({**opt.state_dict(), **change})
    assert whole(opt) == before
    with pytest.raises(TypeError, match="state is list"):
        opt.load_state_dict([])  # type: ignore[arg-type]


class Counting:
    """A schedule with a state of its own, which it may refuse."""

    def __init__(self) -> None:
        self.seen = 0.1

    def __call__(self, t: int) -> float:
        return self.seen

    def state_dict(self) -> dict[str, float]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, float]) -> None:
        if state["seen"] < 0:
            raise ValueError("seen is below 0")
        self.seen = state["seen"]


def test_schedules_with_a_state() -> None:
    first, second = Counting(), Counting()
    p = np.ones(2)
    opt = fo.SGD(p, weight_decay=first, lr=second)  # in the order of the fields
    first.seen = 0.5
    state = opt.state_dict()
    assert state["schedules"] == [{"seen": 0.5}, {"seen": 0.1}]
    first.seen = 0.7
    opt.load_state_dict(state)
    assert (first.seen, second.seen) == (0.5, 0.1)
    before = whole(opt)
    state["schedules"] = [{"seen": 0.9}, {"seen": -1.0}]
    state["step"] = 7
    with pytest.raises(ValueError, match="below 0"):
        opt.load_state_dict(state)
    assert whole(opt) == before, "the first schedule was loaded though the second refused"
