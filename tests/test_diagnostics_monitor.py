"""The monitor: what it keeps, that it goes on bit for bit, what its report holds, and ``fastopt train --diagnose``."""

from __future__ import annotations

import base64
import html.parser
import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import diagnostic_runs
import fastopt as fo
from fastopt import diagnostics as d
from fastopt.cli import pictures
from fastopt.cli.__main__ import main
from fastopt.diagnostics.series import FIELDS, Series


def run(monitor, steps, *, start=0, x=None):
    """A run whose gradients are a fixed function of the step."""
    for t in range(start, start + steps):
        g = {path: np.cos(a * (t + 1)) + 0.1 for path, a in x.items()}
        monitor.step(g, loss=2.0 + np.sin(t))


def make(**more):
    x = {"w": np.linspace(0.5, 1, 6), "b": np.ones(2)}
    opt = fo.SGD(x, lr=1e-3, momentum=0.9, diagnostics=True, clip_norm=2.0)
    return d.Monitor(opt, **more), x


# ---- what is kept ----


@pytest.mark.parametrize("steps", [0, 1, 31, 32, 33, 64, 65, 1000, 4097])
def test_a_series_keeps_every_step_in_bounded_memory(steps):
    rng = np.random.default_rng(steps)
    loss, norm = rng.random(steps), rng.random(steps)
    series = Series(1, 32)
    done = 0
    while done < steps:
        n = min(int(rng.integers(1, 40)), steps - done)
        part = slice(done, done + n)
        rows = {name: np.ones(n) for name in FIELDS}
        rows |= {"loss_sum": loss[part], "loss_min": loss[part], "loss_max": loss[part]}
        rows |= {"norm_sum": norm[part], "norm_min": norm[part], "norm_max": norm[part]}
        series.extend(rows, np.ones((n, 1, 7)) * norm[part, None, None])
        done += n
    assert series.bins <= 32
    assert series.bins == -(-steps // series.width)
    assert series.column("steps").sum() == steps
    assert series.column("loss_sum").sum() == pytest.approx(loss.sum())
    for i in range(series.bins):
        part = slice(i * series.width, (i + 1) * series.width)
        assert series.column("loss_max")[i] == loss[part].max()
        assert series.column("norm_min")[i] == norm[part].min()
        assert series.mean("loss")[i] == pytest.approx(loss[part].mean())
        assert series.path_fields[i, 0, 0] == pytest.approx(norm[part].sum())
    if steps:
        assert series.at[0] == (1 + min(series.width, steps)) / 2


def test_memory_does_not_grow_with_the_run():
    monitor, x = make(capacity=32, snapshots=4)
    sizes = []
    for _ in range(6):
        run(monitor, 700, start=monitor.steps, x=x)
        state = monitor.state_dict()
        assert len(state["snapshots"]) <= 4
        assert len(state["pending"]["steps"]) < 128
        sizes.append(sum(a.nbytes for a in (monitor._series.path_fields, *monitor._series.fields.values())))
    assert len(set(sizes)) == 1
    assert len(monitor._worst) == 256
    assert monitor.steps == 4200


def test_snapshots_begin_at_the_start_and_stay_evenly_spread():
    monitor, x = make(snapshots=8)
    start = np.concatenate([x["w"], x["b"]])
    run(monitor, 100, x=x)
    steps = [step for step, _ in monitor._snapshots]
    assert steps[0] == 0
    assert len(steps) <= 8
    assert len(set(np.diff(steps))) == 1
    assert (monitor._snapshots[0][1] == start).all()


def test_the_norms_of_a_monitor_are_those_of_the_list():
    rng = np.random.default_rng(0)
    norms = np.exp(rng.standard_normal(700))
    norms[500] = 300.0
    x = np.zeros(1)
    monitor = d.Monitor(fo.SGD(x, lr=1e-9))
    for n in norms:
        monitor.step(np.array([n]))
    mine, whole = monitor.tails(), d.gradient_tails(norms)
    assert mine.crossings == whole.crossings
    assert (mine.ratio, mine.step, mine.count) == (whole.ratio, whole.step, whole.count)
    assert mine.index == whole.index


def test_records_of_steps_taken_elsewhere_are_the_same():
    a, x = make()
    run(a, 300, x=x)
    b, y = make()
    for t in range(300):
        record = b.opt.step({path: np.cos(v * (t + 1)) + 0.1 for path, v in y.items()})
        b.observe(record, loss=2.0 + np.sin(t))
    assert same(a.state_dict(), b.state_dict())


def test_a_monitor_that_begins_later_counts_as_the_optimizer():
    x = {"w": np.linspace(0.5, 1, 6), "b": np.ones(2)}
    opt = fo.SGD(x, lr=1e-3)
    for _ in range(10):
        opt.step({"w": np.ones(6), "b": np.ones(2)})
    monitor = d.Monitor(opt)
    for t in range(40):
        scale = 100.0 if t == 30 else 1.0
        monitor.step({"w": scale * np.ones(6), "b": np.ones(2)})
    assert monitor.tails().crossings == [41]


def test_optimizers_of_every_kind_can_be_watched():
    for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Lion", "Rprop", "Adadelta", "NAdam"):
        for diagnostics in (False, True):
            x = np.ones(3)
            monitor = d.Monitor(getattr(fo, name)(x, diagnostics=diagnostics))
            for _ in range(30):
                monitor.step(2 * x, loss=x @ x)
            monitor.probe(lambda x: (float(x @ x), 2 * x))
            assert len(monitor.ask()) >= 5


def test_diagnostics_now_and_then_are_those_of_their_steps():
    whole, x = make()
    run(whole, 512, x=x)
    thin, y = make(every=8)
    run(thin, 512, x=y)
    assert (x["w"] == y["w"]).all(), "what is recorded changes no bit"
    assert thin.opt.diagnostics
    count = thin._series.path_fields[:, :, -1]
    assert count.sum() == 2 * 512 / 8
    ratios = (m._series.path_mean("update_ratio")[::8] for m in (whole, thin))
    np.testing.assert_array_equal(*ratios)
    assert same(whole._series.fields, thin._series.fields)


def test_an_optimizer_made_without_diagnostics_cannot_be_given_them():
    opt = fo.SGD(np.ones(2), lr=0.1)
    assert not opt.diagnostics
    opt.diagnostics = False
    with pytest.raises(ValueError, match="only where the optimizer was made with them"):
        opt.diagnostics = True
    with pytest.raises(TypeError, match="diagnostics is 1; True or False"):
        opt.diagnostics = 1
    monitor = d.Monitor(opt, every=4)
    monitor.step(np.ones(2), loss=1.0)
    on = fo.SGD(np.ones(2), lr=0.1, diagnostics=True)
    on.diagnostics = False
    assert on.step(np.ones(2)).diagnostics is None
    on.diagnostics = True
    assert on.step(np.ones(2)).diagnostics[""]["grad_norm"] == pytest.approx(2**0.5)


# ---- saving ----


def same(a, b):
    """Two states, bit for bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


@pytest.mark.parametrize("cut", [0, 1, 100, 128, 300, 555])
def test_a_watch_goes_on_bit_for_bit(cut, tmp_path):
    whole, x = make(capacity=32, snapshots=4, every=3)
    run(whole, cut, x=x)
    whole.probe_curvature(lambda p: (1.0, {"w": p["w"] * 1.0, "b": p["b"] * 1.0}))
    fo.save(tmp_path / "run.safetensors", x=x, opt=whole.opt, monitor=whole)
    run(whole, 600 - cut, start=cut, x=x)

    again, y = make(capacity=32, snapshots=4, every=3)
    fo.load(tmp_path / "run.safetensors", x=y, opt=again.opt, monitor=again)
    run(again, 600 - cut, start=cut, x=y)
    assert same(whole.state_dict(), again.state_dict())
    for first, second in zip(whole.ask(), again.ask(), strict=True):
        assert first.verdict == second.verdict
        assert first.number == second.number or first.number != first.number


def spoiled():
    """Changes that make a state unfit, each with a word of its error."""
    return [
        ("seen", lambda s: s.update(seen=-1)),
        ("pending", lambda s: s.update(seen=s["seen"] + 1)),
        ("bins of 3", lambda s: s["series"].update(width=3)),
        ("paths", lambda s: s["series"].update(paths=np.zeros((2, 2)))),
        ("fields", lambda s: s["series"].update(fields={})),
        ("worst", lambda s: s.update(worst=np.zeros(3))),
        ("probes", lambda s: s.update(probes=np.zeros((1, 2)))),
        ("snapshot", lambda s: s.update(snapshots=[np.zeros(3)] * len(s["snapshots"]))),
        ("step_length", lambda s: s.update(step_length="x")),
        ("no 'recent'", lambda s: s.pop("recent")),
    ]


@pytest.mark.parametrize("word, spoil", spoiled(), ids=[row[0] for row in spoiled()])
def test_a_state_of_something_else_is_refused_and_changes_nothing(word, spoil):
    monitor, x = make(snapshots=4)
    run(monitor, 300, x=x)
    before = monitor.state_dict()
    state = monitor.state_dict()
    spoil(state)
    with pytest.raises((ValueError, TypeError), match=word):
        monitor.load_state_dict(state)
    assert same(monitor.state_dict(), before)


BAD = [
    (TypeError, "opt is int", lambda: d.Monitor(3)),
    (ValueError, "capacity is 33", lambda: make(capacity=33)),
    (ValueError, "capacity is 2", lambda: make(capacity=2)),
    (ValueError, "every is 0", lambda: make(every=0)),
    (ValueError, "snapshots is 3", lambda: make(snapshots=3)),
    (TypeError, "record is float", lambda: make()[0].observe(3.0)),
    (TypeError, "loss of <U1", lambda: make()[0].step({}, loss="x")),
    (ValueError, "keeps no snapshots", lambda: make()[0].probe_path(lambda p: 0.0)),
    (ValueError, "has seen no step", lambda: make(snapshots=2)[0].probe_path(lambda p: 0.0)),
    (ValueError, "name is 'a/b'", lambda: make()[0].report(name="a/b")),
    (TypeError, "state is list", lambda: make()[0].load_state_dict([])),
]  # fmt: skip


@pytest.mark.parametrize("kind, words, call", BAD, ids=[row[1] for row in BAD])
def test_bad_input(kind, words, call):
    with pytest.raises(kind, match=words):
        call()


# ---- the report ----


class Reader(html.parser.HTMLParser):
    """What a page shows and what it loads."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.loads, self.images = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                (self.images if value.startswith("data:image/png;base64,") else self.loads).append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_is_one_page_and_one_file(tmp_path, capsys):
    ill = next(i for i in diagnostic_runs.RUNS if i.name == "saddle")
    monitor, _ = diagnostic_runs.watch(ill)
    monitor.probe(ill.fun)
    monitor.probe_path(ill.fun)
    title = "<script>alert('$x$ & more')</script>"
    report = monitor.report(tmp_path, title=title)
    assert capsys.readouterr().out == report.text + "\n"
    assert report.text.startswith("[8.2.2, 8.2.3] critical point: A saddle")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["diagnosis.html", "diagnosis.png"]
    picture = (tmp_path / "diagnosis.png").read_bytes()
    page = (tmp_path / "diagnosis.html").read_text()
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    assert not reader.loads
    assert base64.b64decode(reader.images[0].partition(",")[2]) == picture
    assert "<script" not in page
    assert title in "".join(reader.text)
    assert not re.search(r"https?:", page)
    shown = "".join(reader.text)
    for answer in report.answers:
        assert answer.verdict in shown


def test_a_report_without_trouble_says_so_in_one_line(capsys):
    monitor, _ = diagnostic_runs.watch(diagnostic_runs.RUNS[0])
    report = monitor.report()
    assert report.troubles == []
    assert capsys.readouterr().out.startswith("Nothing found that holds the run back (")
    assert monitor.report(quiet=True).text == report.text
    assert capsys.readouterr().out == ""


def test_a_page_of_no_run_at_all_and_of_many_paths_can_be_drawn():
    empty = d.Monitor(fo.SGD(np.ones(2), lr=0.1))
    empty.report(quiet=True).figure().draw_without_rendering()
    x = {f"layer $_{i}": np.ones(2) for i in range(9)}
    many = d.Monitor(fo.Adam(x, diagnostics=True))
    for _ in range(3):
        many.step({path: np.ones(2) for path in x}, loss=-1.0)
    figure = many.report(quiet=True).figure()
    figure.draw_without_rendering()
    assert len(figure.axes) == 6


def test_without_matplotlib_verdicts_are_printed_and_pictures_refused(monkeypatch, tmp_path, capsys):
    monitor, _ = diagnostic_runs.watch(diagnostic_runs.RUNS[0])
    for name in [m for m in sys.modules if m.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monitor.report()
    assert "Nothing found" in capsys.readouterr().out
    with pytest.raises(ImportError, match=r"Monitor.report needs matplotlib: pip install 'fastopt\[cli\]'"):
        monitor.report(tmp_path)
    with pytest.raises(ImportError, match="GradientTails.plot needs matplotlib"):
        monitor.tails().plot()
    assert not list(tmp_path.iterdir())


def test_a_report_into_a_folder_that_is_not_there(tmp_path):
    monitor, _ = diagnostic_runs.watch(diagnostic_runs.RUNS[0])
    with pytest.raises(FileNotFoundError):
        monitor.report(tmp_path / "none", quiet=True)


# ---- the command ----


def said(arguments, capsys):
    code = main(list(map(str, arguments)))
    out = capsys.readouterr()
    assert (code, out.err) == (0, "")
    return out.out


QUICK = ["train", "--epochs", 3, "--hidden", "8", "--out", "run"]


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A folder, and pictures that cost nothing: the page itself is drawn above."""
    monkeypatch.chdir(tmp_path)
    picture = b"\x89PNG\r\n Software\0fastopt"
    monkeypatch.setattr(d.Report, "png", lambda self: picture)
    monkeypatch.setattr(pictures, "curve", lambda *_: picture)


def test_train_diagnose_writes_the_page_and_learns_the_same(quick, capsys):
    out = said([*QUICK, "--diagnose", "--dropout", "0.2"], capsys)
    assert "What holds the run back:" in out
    assert {p.name for p in Path("run").iterdir()} == {
        "model.safetensors",
        "curve.png",
        "diagnosis.png",
        "diagnosis.html",
    }
    watched = fo.nn.load("run/model.safetensors")
    page = Path("run/diagnosis.html").read_text()
    assert "ill-conditioning" in page
    assert "straight line" in page
    assert "inexact gradients" in page
    said([*QUICK, "--dropout", "0.2"], capsys)
    plain = fo.nn.load("run/model.safetensors")
    assert (plain.vector == watched.vector).all(), "watching changes nothing"
    assert {p.name for p in Path("run").iterdir()} == {"model.safetensors", "curve.png"}, (
        "an earlier page goes"
    )


def test_a_diagnosed_run_resumes_to_the_same_page(quick, capsys):
    whole = [*QUICK, "--diagnose", "--quiet"]
    said(whole, capsys)
    wanted = Path("run/diagnosis.html").read_bytes()
    checkpoint = ["--checkpoint", "c.safetensors", "--every", "1epoch"]
    short = [a if a != 3 else 2 for a in whole]
    said([*short, *checkpoint], capsys)
    said([*whole, *checkpoint, "--resume"], capsys)
    assert Path("run/diagnosis.html").read_bytes() == wanted
    code = main(list(map(str, [*QUICK, *checkpoint, "--resume"])))
    assert code == 2
    assert "--diagnose was given and is not given" in capsys.readouterr().err


def test_a_run_that_diverged_is_told_about(quick, capsys):
    arguments = list(map(str, [*QUICK, "--diagnose", "--optimizer", "sgd", "--lr", 1e4]))
    for _ in range(2):  # the second finds the first's folder
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert err.startswith("fastopt: error: the run diverged")
        assert "diagnosis.html says more" in err
        assert {p.name for p in Path("run").iterdir()} == {"diagnosis.png", "diagnosis.html"}
    assert "the loss is" in Path("run/diagnosis.html").read_text()


def test_the_states_of_a_monitor_are_plain():
    monitor, x = make(snapshots=2)
    run(monitor, 10, x=x)
    state = monitor.state_dict()
    arrays = []

    def plain(value):
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return 0
        if isinstance(value, dict):
            return {key: plain(v) for key, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, list) else value

    json.dumps(plain(state))
    assert arrays


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("begin", [0, 60])
def test_a_loss_that_is_not_finite_is_told(bad: float, begin: int) -> None:
    x, scale = np.ones(3), np.array([1.0, 30.0, 100.0])
    monitor = d.Monitor(fo.SGD(x, lr=0.005))
    for t in range(600):
        monitor.step(scale * x, loss=1.0 if t < begin else bad)
    assert f"The loss was not finite in {600 - begin} steps" in " ".join(map(str, monitor.verdicts()))


def test_a_loss_that_is_not_told_is_no_trouble() -> None:
    x = np.ones(3)
    monitor = d.Monitor(fo.SGD(x, lr=0.1))
    for _ in range(300):
        monitor.step(1 * x)
    assert not monitor.verdicts()
