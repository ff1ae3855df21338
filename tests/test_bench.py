"""The benchmark harness: turns, medians, ratios, who takes part. Nothing here asserts a speed."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

import fastopt as fo
from fastopt.cli.contest import (
    FLOOR,
    FLOOR_TWICE,
    OURS,
    OURS_RAISE,
    Repeated,
    Timing,
    contest,
    ratio,
    update_contestants,
    update_table,
)
from fastopt.cli.peers import ROWS, numpy_step, optax_step, torch_steps

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def bench_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


class Clock:
    """A clock that moves only when someone works."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def worker(self, name, seconds, after=None):
        def call():
            self.now += seconds
            self.calls.append(name)
            if after and self.calls.count(name) > 5:
                self.now += after

        return call

    def __call__(self):
        return self.now


def test_medians_best_and_ratio():
    clock = Clock()
    timings = contest({"a": clock.worker("a", 0.25), "b": clock.worker("b", 0.5)}, 0.0, least=5, clock=clock)
    assert timings == {"a": Timing(0.25, 0.25, 5), "b": Timing(0.5, 0.5, 5)}
    assert ratio(timings, "b", "a") == 2
    assert math.isnan(ratio(timings, "b", "nobody"))


def test_one_disturbed_turn_changes_no_median():
    clock = Clock()
    late = iter([0, 0, 0, 7.0] + [0] * 99)

    def call():
        clock.now += 0.5 + next(late)

    assert contest({"a": call}, 0.0, least=5, clock=clock)["a"] == Timing(0.5, 0.5, 5)


def test_rounds_fill_the_budget_and_stop_at_most():
    clock = Clock()
    field = {"a": clock.worker("a", 0.25)}
    # Two calls before the first round, then one a round until the budget is spent.
    assert contest(field, 2.6, clock=clock)["a"].turns == 11
    assert contest(field, 1e9, most=9, clock=clock)["a"].turns == 9


def test_everyone_plays_each_round_but_the_slow_play_seldom():
    clock = Clock()
    field = {"quick": clock.worker("quick", 0.25), "slow": clock.worker("slow", 10.0)}
    timings = contest(field, 0.0, least=8, clock=clock)
    assert (timings["quick"].turns, timings["slow"].turns) == (8, 2)
    between = clock.calls[4:]  # after the two calls each that are not timed
    assert between.index("slow") < 3  # by turns, not one after the other
    assert len(between) == 10


def test_short_calls_are_timed_many_at_once():
    clock = Clock()
    timings = contest({"a": clock.worker("a", 1e-6)}, 0.0, least=5, clock=clock)
    assert len(clock.calls) > 5 * 100
    assert timings["a"].median == pytest.approx(1e-6)


def test_repeated_work_counts_once():
    clock = Clock()
    timings = contest({"a": Repeated(clock.worker("a", 1.0), 4)}, 0.0, least=3, clock=clock)
    assert timings["a"].median == 0.25


def test_no_contestants():
    with pytest.raises(ValueError, match="contestants is empty"):
        contest({})


@pytest.mark.parametrize("rule", list(ROWS))
def test_every_rule_has_its_floor(rule):
    field = update_contestants(rule, [50], peers=False)
    assert list(field) == [OURS, FLOOR, OURS_RAISE, FLOOR_TWICE]
    for call in field.values():
        call()
    step = field[OURS]()
    assert step.step == 3  # one when it was built, one above, this one
    assert step.nonfinite == 0


@pytest.mark.parametrize("rule", [rule for rule, row in ROWS.items() if row.ours.__name__ != "Adadelta"])
def test_the_floor_leaves_the_shared_arrays_alone(rule):
    row = ROWS[rule]
    p = np.linspace(-1, 1, 40, dtype=np.float32)
    opt = row.ours(p, lr=row.lr, **row.fields)
    opt.step(np.ones_like(p))
    held = [p, *opt._states[0]]
    before = [a.copy() for a in held]
    from fastopt._core.kernels import floor

    floor(held, np.zeros_like(p), True, 1, 3)
    for a, b in zip(held, before, strict=True):
        np.testing.assert_array_equal(a, b)
    floor([], p, True, 1)  # reads only
    np.testing.assert_array_equal(p, before[0])


def two_steps(rule):
    """p after two steps of ours, and what is needed to start someone else after the first."""
    row = ROWS[rule]
    g = np.linspace(0.1, 1, 24, dtype=np.float64) * np.where(np.arange(24) % 2, 1, -1)
    p = np.full(24, 0.5)
    opt = row.ours(p, lr=row.lr, **row.fields)
    opt.step(g)
    first, states = p.copy(), [s.copy() for s in opt._states[0]]
    opt.step(g)
    return row, g, first, states, p


@pytest.mark.parametrize("rule", [rule for rule, row in ROWS.items() if row.torch])
def test_torch_takes_the_same_step(rule):
    pytest.importorskip("torch")
    row, g, first, states, wanted = two_steps(rule)
    p = np.full(24, 0.5)
    # The step that makes torch's states counts as its first, and its states are then ours.
    steps = torch_steps(row, [p], [g], [[s.copy() for s in states]], 1)
    assert set(steps) - {"torch foreach"} == {"torch loop"} | ({"torch fused"} if row.fused else set())
    p[...] = first
    steps["torch loop"]()
    # torch keeps NAdam's product of momenta as a float32 tensor.
    np.testing.assert_allclose(p, wanted, rtol=1e-9 if rule == "nadam" else 1e-12)
    given = g.copy()
    for step in steps.values():
        step()
    np.testing.assert_array_equal(g, given)


@pytest.mark.parametrize("rule", [rule for rule, row in ROWS.items() if row.optax])
def test_optax_keeps_the_dtype(rule):
    pytest.importorskip("optax")
    p = np.ones(8, np.float32)
    step = optax_step(ROWS[rule], [p], [p / 2], 1)
    step()
    assert (p == 1).all()  # its arrays are its own


@pytest.mark.parametrize("rule", ["sgd", "momentum", "rmsprop", "adam"])
def test_numpy_takes_the_same_step(rule):
    row = ROWS[rule]
    g = np.linspace(0.1, 1, 24) * np.where(np.arange(24) % 2, 1, -1)
    ours = np.full(24, 0.5)
    opt = row.ours(ours, lr=row.lr, **row.fields)
    placed = np.full(24, 0.5)
    states = [np.zeros(24) for _ in opt._states[0]]
    step = numpy_step(rule, placed, g, states, in_place=True)
    plain = numpy_step(rule, np.full(24, 0.5), g, [np.zeros(24) for _ in states], in_place=False)
    for _ in range(3):
        opt.step(g)
        step()
        plain()
    np.testing.assert_allclose(placed, ours, rtol=1e-12)
    np.testing.assert_allclose(plain.args[0]["p"], ours, rtol=1e-12)
    assert numpy_step("rprop", placed, g, states, in_place=True) is None


def test_update_table(monkeypatch):
    from fastopt.cli import contest as module

    monkeypatch.setattr(module, "SIZES", (10, 100))
    monkeypatch.setattr(module, "torch_steps", lambda *_: {})
    monkeypatch.setattr(module, "optax_step", lambda *_: None)
    rows = update_table(quick=True)
    assert {row["size"] for row in rows} == {10, 100}
    assert {OURS, FLOOR, "numpy", "numpy out="} <= {row["contestant"] for row in rows}
    for row in rows:
        assert row["ns_per_parameter"] > 0
        assert row["ratio_to_floor"] > 0
        if row["contestant"] == FLOOR:
            assert row["ratio_to_floor"] == 1


def row(size, ours, floor, **peers):
    seconds = {OURS: ours, FLOOR: floor, OURS_RAISE: ours, FLOOR_TWICE: floor, **peers}
    return {
        "rule": "adam", "dtype": "float32", "size": size, "threads": 1, "median": seconds, "best": seconds,
    }  # fmt: skip


def test_verdicts_worst_first():
    from bench.verdicts import report, verdicts

    rows = [
        row(10**7, 1.05, 1.0, **{"torch fused": 1.2}),
        row(10**5, 3.0, 1.0, **{"torch loop": 6.0, "optax": 9.0}),
    ]
    found = verdicts(rows)
    assert [v["bad"] for v in found] == sorted((v["bad"] for v in found), reverse=True)
    values = {(v["size"], v["what"]): (v["value"], v["met"]) for v in found}
    assert values[10**7, "ours / floor"] == (1.05, True)
    assert values[10**7, "torch fused / ours"] == (pytest.approx(1.2 / 1.05), True)
    assert values[10**5, "ours / floor"] == (3.0, False)
    assert values[10**5, "torch loop / ours"] == (2.0, False)  # 2.5 wanted
    assert values[10**5, "optax / ours"] == (3.0, True)
    text = report(rows, {"cpu": "x"})
    assert text.index("MISSED") < text.index("met   ")
    assert "3 of" in text


def test_run_writes_everything(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    for name in ("torch", "jax", "optax"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("fastopt.cli.peers.find_spec", lambda name: None)
    from bench.update import main

    arguments = ["--quick", "--rules", "adam,sgd,adamw", "--sizes", "50,100", "--threads", "1"]
    assert main([*arguments, "--no-again", "--out", str(tmp_path)]) == 0
    assert "targets missed" in capsys.readouterr().out
    rows = json.loads((tmp_path / "update.json").read_text())["rows"]
    assert len(rows) == 2 * (2 * 3 + 4 + 1)
    assert all(seconds > 0 for row in rows for seconds in row["median"].values())
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {"adam-1.png", "rules-float32-1.png", "rules-float64-1.png"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rules", "adm"], "'adm' is not one of"),
        (["--dtypes", "int8"], "'int8' is not one of"),
        (["--threads", "0"], "at least 1"),
    ],
)
def test_arguments_that_are_wrong(arguments, words, capsys):
    from bench.update import main

    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_reduce(tmp_path, capsys):
    from bench.reduce import main

    assert (
        main(["--sizes", "100", "--threads", "1", "--budget", "0.01", "--out", str(tmp_path / "r.json")]) == 0
    )
    rows = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert [row["dtype"] for row in rows] == ["float32", "float64"]
    assert {OURS, FLOOR, "np.linalg.norm"} <= set(rows[0]["median"])
    assert "ours / floor" in capsys.readouterr().out


def test_bfgs_writes_every_row_and_puts_the_worst_first(tmp_path):
    from bench import bfgs

    assert bfgs.main(["--quick", "--out", str(tmp_path), "--sizes", "3,100", "--threads", "1"]) == 0
    data = json.loads((tmp_path / "bfgs.json").read_text())
    assert [(row["dtype"], row["n"]) for row in data["rows"]] == [
        ("float64", 3), ("float64", 100), ("float32", 3), ("float32", 100),
    ]  # fmt: skip
    for row in data["rows"]:
        assert set(row["median"]) == {bfgs.OURS, bfgs.FLOOR, bfgs.OURS_BLAS, bfgs.BLAS, bfgs.SCIPY}
        assert all(t > 0 for t in row["median"].values())
    bad = [v["bad"] for v in bfgs.verdicts(data["rows"])]
    assert len(bad) == 6 and bad == sorted(bad, reverse=True)
    assert "MISSED" in (tmp_path / "bfgs.txt").read_text() or max(bad) <= 1


def test_bfgs_contestants_do_the_same_work():
    from bench import bfgs

    rng = np.random.default_rng(0)
    s, y, g = rng.standard_normal((3, 6))
    y = y if s @ y > 0 else -y
    h = np.eye(6)
    product = bfgs.scipy_update(h, s, y, g)
    left = np.eye(6) - np.outer(s, y) / (s @ y)
    wanted = left @ left.T + np.outer(s, s) / (s @ y)
    np.testing.assert_allclose(h, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(product, wanted @ g, rtol=1e-12, atol=1e-12)


def test_bench_of_initial_values(tmp_path, capsys):
    from bench.init import main

    argv = ["--turns", "1", "--threads", "1", "--sizes", "100", "--shapes", "4x4,6x3", "--out", str(tmp_path)]
    before = fo.get_num_threads()
    try:
        assert main(argv) == 0
    finally:
        fo.set_num_threads(before)
    run = json.loads((tmp_path / "init.json").read_text())
    assert {(r["what"], r["dtype"]) for r in run["records"]} == {
        (what, dtype)
        for what in ("normal", "uniform", "truncated_normal", "orthogonal")
        for dtype in ("float32", "float64")
    }
    assert all(min(times) > 0 for r in run["records"] for times in r["seconds"].values())
    values = [v["value"] for v in run["verdicts"]]
    assert values == sorted(values) and "worst first" in capsys.readouterr().out
