"""The benchmarks of whole solvers run and add up. Nothing here asserts a speed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import fastopt as fo

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def bench_importable(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


def test_the_objectives_have_the_gradients_they_say():
    from bench import minimize as bench

    x = np.array([0.3, -0.7, 1.1, 0.4])
    y, true = bench.curves(5)
    cases = [
        (bench.chained, x),
        (lambda p: bench.curve_one(p, y[0]), true[0] + 0.1),
    ]
    for f, at in cases:
        g = f(at)[1]
        steps = 1e-6 * np.eye(at.size)
        slopes = [(f(at + h)[0] - f(at - h)[0]) / 2e-6 for h in steps]
        np.testing.assert_allclose(g, slopes, rtol=1e-6, atol=1e-6)
    values, gradients = bench.curve_rows(true, y)
    for i in range(5):
        f, g = bench.curve_one(true[i], y[i])
        np.testing.assert_allclose(values[i], f, rtol=1e-12)
        np.testing.assert_allclose(gradients[i], g, rtol=1e-9, atol=1e-12)


def test_a_tape_repeats_the_run_and_says_when_it_does_not():
    from bench import minimize as bench

    ends = []
    tape = bench.Tape(lambda f: ends.append(fo.minimize(f, np.resize(bench.START, 4), method="bfgs")))
    for _ in range(2):
        tape.run()
        tape.alone()
    assert {(end.nfev, end.fun) for end in ends} == {(len(tape.answers), ends[0].fun)}
    assert ends[0].success
    tape.solve = lambda f: f(None)
    with pytest.raises(RuntimeError, match="ended before"):
        tape.run()


def test_compiled_objectives_agree_with_python():
    pytest.importorskip("numba")
    from bench import minimize as bench

    objectives, again = bench.compiled()
    y, true = bench.curves(3)
    for name, f, x, args in (
        ("rosenbrock", bench.chained, np.array([-1.2, 1.0]), ()),
        ("curve", lambda p: bench.curve_one(p, y[0]), true[0], (y[0],)),
    ):
        ours = fo.minimize(objectives[name], x, args=args, options={"maxfev": 1})
        f0, g0 = f(x)
        np.testing.assert_allclose(ours.fun, f0, rtol=1e-12)
        np.testing.assert_allclose(ours.jac, g0, rtol=1e-9, atol=1e-12)
    wanted = sum(f + g.sum() for f, g in (bench.curve_one(p, row) for p, row in zip(true, y, strict=True)))
    np.testing.assert_allclose(again(true, y, np.ones(3, np.int64)), wanted, rtol=1e-9)


def test_every_part_writes_its_rows_and_the_worst_comes_first(tmp_path, capsys):
    from importlib.util import find_spec

    from bench import minimize as bench

    pytest.importorskip("threadpoolctl")
    arguments = [
        "--quick",
        "--budget",
        "0",
        "--sizes",
        "2,3",
        "--copies",
        "3",
        "--fits",
        "20",
        "--looped",
        "2",
    ]
    assert bench.main([*arguments, "--large", "50", "--threads", "1", "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "minimize.json").read_text())["rows"]
    compiled = bool(find_spec("numba"))
    parts = [row["part"] for row in rows]
    assert parts == ["overhead"] * 6 + ["rosenbrock"] * 3 * compiled + ["curve"] * 2 + ["iteration"]
    for row in rows:
        assert all(turns >= 1 for turns in row["turns"].values())
        if row["part"] in ("rosenbrock", "curve"):
            assert row["solved"] == 1
            assert all(seconds > 0 for seconds in row["median"].values())
    found = bench.verdicts(rows)
    assert len(found) == 6 + compiled + 2 * (1 + compiled) + 1
    bad = [v["bad"] for v in found]
    assert bad == sorted(bad, reverse=True)
    text = capsys.readouterr().out
    assert text.count("MISSED") == sum(b > 1 for b in bad)


def test_verdicts_take_off_the_evaluations():
    from bench import minimize as bench

    seconds = {
        bench.OURS: 300e-6, f"{bench.OURS}, {bench.ALONE}": 100e-6, "scipy CG": 9e-3,
        f"scipy CG, {bench.ALONE}": 1e-3, bench.FIRST: 50e-6,
    }  # fmt: skip
    row = {
        "part": "overhead", "n": 2, "method": "cg", "threads": 1, "peer": "scipy CG", "median": seconds, "best": seconds,
        "nfev": {bench.OURS: 100, "scipy CG": 80},
    }  # fmt: skip
    (verdict,) = bench.verdicts([row])
    assert verdict["value"] == pytest.approx(2.0)
    assert verdict["bad"] == pytest.approx(2.0 / bench.OVERHEAD)
    assert "ratio 50" in bench.detail(row)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--parts", "overhed"], "are known"),
        (["--threads", "0"], "at least 1"),
        (["--sizes", "1"], "at least 2"),
    ],
)
def test_arguments_that_are_wrong(arguments, words, capsys):
    from bench.minimize import main

    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_performance_profile(tmp_path):
    pytest.importorskip("matplotlib")
    from bench.evaluations import draw, profile

    inf = float("inf")
    counts = {
        "a": {"fastopt x": 10.0, "y": 20.0},
        "b": {"fastopt x": 30.0, "y": 10.0},
        "c": {"fastopt x": inf, "y": inf},
    }
    ratio, share = profile(counts, "fastopt x")
    np.testing.assert_array_equal(ratio, [1, 3])
    np.testing.assert_allclose(share, [1 / 3, 2 / 3])
    names = {name: {} for name in counts["a"]}
    draw("a family", {"1e-06": {"rows": names, "counts": counts}}, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
