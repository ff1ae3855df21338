"""Runs that stop and go on: Checkpointer, and fastopt train with --checkpoint and --resume."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from checkpoint_cases import bits, left_over, sample
from fastopt.checkpoint import Checkpointer
from fastopt.checkpoint.every import Interval, interval
from fastopt.cli.__main__ import main
from fastopt.cli.training import Course, History, Score
from fastopt.meta import EarlyStopping


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- from Python ----


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("30s", (30, "seconds")), ("0.5s", (0.5, "seconds")), ("5min", (300, "seconds")), ("2 h", (7200, "seconds")), (7, (7, "seconds")),
        (0.25, (0.25, "seconds")), ("100 steps", (100, "steps")), ("1step", (1, "steps")), ("1epoch", (1, "epochs")), (" 3 epochs ", (3, "epochs")),
    ],
)  # fmt: skip
def test_intervals(text: Any, wanted: tuple[float, str]) -> None:
    assert interval(text) == Interval(*wanted)


@pytest.mark.parametrize(
    "text",
    ["", "s", "-1s", "0s", "0 steps", "1.5 steps", "3 days", "1e3", "nan", "inf", None, True, [3], -3, 0],
)
def test_intervals_that_are_none(text: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="every is .* is wanted"):
        interval(text)


@pytest.mark.parametrize(
    ("every", "steps"),
    [
        ("2 steps", [2, 4, 6, 8, 10]),
        ("1 epoch", [5, 10]),
        ("2 epochs", [10]),
        ("1h", []),
        ("0.0001s", range(1, 11)),
    ],
)
@pytest.mark.parametrize("background", [False, True])
def test_when_it_saves(every: str, steps: Any, background: bool) -> None:
    count = np.zeros(1, np.int64)
    checkpointer = Checkpointer("run", every, background=background, count=count)
    assert not checkpointer.resume()
    saved = []
    for _ in range(2):
        for _ in range(5):
            count += 1
            time.sleep(0.0002)
            if checkpointer.step():
                saved.append(int(count[0]))
        if checkpointer.epoch():
            saved.append(int(count[0]))
    checkpointer.wait()
    assert saved == list(steps)
    if saved:
        count[:] = 0
        assert checkpointer.resume()
        assert count[0] == saved[-1]


def test_checkpointer_keeps_generations_and_refuses_what_stands_still() -> None:
    count = [0]
    checkpointer = Checkpointer("run", "1 step", keep=2, count=count)
    for i in range(4):
        count[0] = i
        checkpointer.step()
    checkpointer.wait()
    assert [fo.load(name)["count"] for name in ("run", "run.1")] == [[3], [2]]
    with pytest.raises(TypeError, match="epoch is int, which cannot change in place"):
        Checkpointer("run", epoch=3)
    with pytest.raises(ValueError, match="keep is 0"):
        Checkpointer("run", keep=0)


def test_an_error_in_the_background_comes_at_the_next_call() -> None:
    checkpointer = Checkpointer("no/such/place", "1 step", a=[1])
    checkpointer.step()
    with pytest.raises(FileNotFoundError):
        checkpointer.step()


def test_a_run_that_stops_at_any_step_goes_on_bit_for_bit() -> None:
    def build() -> dict[str, Any]:
        parts = sample(3)
        del parts["epoch"]
        parts["batches"] = fo.Batches(np.arange(20.0), size=3, rng=1)
        return parts

    def run(parts: dict[str, Any], checkpointer: Checkpointer | None, stop: int) -> Any:
        opt, batches, rng = parts["opt"], parts["batches"], parts["rng"]
        for _ in range(batches.epoch, 2):
            for xb in batches:
                g = float(xb.mean()) * rng.normal()
                opt.step(
                    {
                        "layers": [{"w": np.full((4, 3), g), "b": np.full(3, g)}],
                        "scale": np.array(g, np.float32),
                    }
                )
                parts["history"]["loss"].append(g)
                if checkpointer is not None:
                    checkpointer.step()
                if opt.steps == stop:
                    return None
        del parts["batches"]  # its epoch is over, or one beyond
        return bits(parts)

    wanted = run(build(), None, -1)
    for stop in range(2, 16):
        first = build()
        run(first, Checkpointer("run", "1 step", background=bool(stop % 2), **first), stop)
        again = build()
        checkpointer = Checkpointer("run", "1 step", **again)
        assert checkpointer.resume()
        assert run(again, checkpointer, -1) == wanted, stop


# ---- the command line ----

OPTIONS = [
    "train", "--epochs", "5", "--dropout", "0.2", "--optimizer", "adamw", "--average", "ema:0.9", "--clip-norm", "1", "--schedule",
    "plateau:patience=0", "--early-stopping", "3", "--threads", "1", "--quiet",
]  # fmt: skip
MODEL = Path("fastopt-run/model.safetensors")


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "fastopt", *OPTIONS, *options]


def content(path: str | Path) -> Any:
    """All that a model's file holds. (The library writes the entries of its metadata in any order.)"""
    model = fo.nn.load(path)
    return bits(model), repr(model), model.meta


def never_stopped(capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    assert main([*OPTIONS, "--out", "whole"]) == 0
    return content("whole/model.safetensors"), capsys.readouterr().out


def test_killed_runs_end_like_whole_ones(capsys: pytest.CaptureFixture[str]) -> None:
    model, scores = never_stopped(capsys)
    resume = command("--checkpoint", "run.safetensors", "--every", "3steps", "--keep", "2", "--resume")
    rng = random.Random(5)
    killed = 0
    for _ in range(30):
        run = subprocess.Popen(resume, stdout=subprocess.DEVNULL)
        before = os.path.getmtime("run.safetensors") if os.path.exists("run.safetensors") else 0.0
        # From its first new checkpoint on, at a random moment.
        while run.poll() is None and not (
            os.path.exists("run.safetensors") and os.path.getmtime("run.safetensors") > before
        ):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        run.send_signal(signal.SIGKILL)
        if run.wait() == 0:
            break
        killed += 1
        assert not MODEL.exists()
        if killed == 3:
            assert main([*OPTIONS, "--checkpoint", "run.safetensors", "--resume"]) == 0
            break
    assert killed >= 2
    assert content(MODEL) == model
    assert capsys.readouterr().out in (scores, "")
    assert left_over(".") == []


@pytest.mark.skipif(os.name != "posix", reason="SIGINT to another process is POSIX")
def test_ctrl_c_saves(capsys: pytest.CaptureFixture[str]) -> None:
    model, scores = never_stopped(capsys)
    patient = command("--checkpoint", "run.safetensors", "--every", "1step", "--out", "first")
    run = subprocess.Popen(
        patient,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not os.path.exists("run.safetensors"):
        time.sleep(0.001)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert "Traceback" not in err
    assert run.returncode == 130, out + err
    steps = fo.load("run.safetensors")["course"]["history"]["steps"]
    assert 0 < steps < 5 * 40
    assert main([*OPTIONS, "--checkpoint", "run.safetensors", "--resume"]) == 0
    assert content(MODEL) == model
    assert capsys.readouterr().out == scores


def test_a_finished_run_may_be_asked_again_and_made_longer(capsys: pytest.CaptureFixture[str]) -> None:
    short = ["train", "--epochs", "2", "--quiet", "--checkpoint", "run", "--every", "1epoch"]
    assert main(short) == 0
    first = content(MODEL)
    assert main([*short, "--resume"]) == 0
    assert content(MODEL) == first
    short[2] = "4"
    assert main([*short, "--resume"]) == 0
    assert main(["train", "--epochs", "4", "--quiet", "--out", "whole"]) == 0
    assert content(MODEL) == content("whole/model.safetensors")
    assert fo.load("run")["course"]["history"]["steps"] == 4 * 40
    assert capsys.readouterr().err == ""


def test_it_says_where_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["train", "--epochs", "2", "--checkpoint", "run", "--every", "1epoch"]
    assert main([*options, "--resume"]) == 0
    assert "resumed" not in capsys.readouterr().out
    assert main([*options, "--resume"]) == 0
    assert "resumed  run, after 80 steps" in capsys.readouterr().out


def refused(options: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert main(["train", "--quiet", *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("fastopt: error: ")
    assert said.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
    return said


def test_options_that_contradict_the_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    run = ["--checkpoint", "run", "--resume"]
    assert main(["train", "--quiet", "--epochs", "1", "--checkpoint", "run"]) == 0
    for options, said in (
        (["--lr", "0.1"], "--lr was not given and is 0.1"),
        (["--hidden", "8"], "--hidden was 128,64 and is 8"),
        (["--opt", "eps=1e-7"], "--opt was not given and is eps=1e-7"),
        (["--seed", "1", "--batch-size", "9"], "--batch-size was 32 and is 9; --seed was 0 and is 1"),
        (["--schedule", "cosine"], "--epochs was 1 and is 40"),
        (["--early-stopping", "2"], "--early-stopping was not given and is 2"),
    ):
        line = refused([*run, *options], capsys)
        assert "run is of a run with other options" in line
        assert said in line
    rng = np.random.default_rng(0)
    np.savez("data.npz", X=rng.normal(size=(200, 4)), y=rng.integers(0, 2, 200))
    assert "is of a run with other data" in refused([*run, "data.npz"], capsys)
    assert "the file is there already; --resume goes on from it" in refused(["--checkpoint", "run"], capsys)
    fo.save("other", a=1)
    assert "is no checkpoint of fastopt train" in refused(["--checkpoint", "other", "--resume"], capsys)
    Path("torn").write_bytes(Path("run").read_bytes()[:-1])
    assert "cannot load torn" in refused(["--checkpoint", "torn", "--resume"], capsys)
    for options, said in (
        (["--resume"], "--resume needs --checkpoint"), (["--every", "3s"], "--every needs --checkpoint"), (["--keep", "3"], "--keep needs"),
        (["--checkpoint", "no/run"], "there is no folder 'no'"), (["--checkpoint", "."], "that is a folder"),
        (["--checkpoint", "x", "--every", "3 days"], "'3 days' is none of"), (["--checkpoint", "x", "--keep", "0"], "--keep"),
    ):  # fmt: skip
        assert said in refused(options, capsys)


def test_a_checkpoint_that_cannot_be_written_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys.modules["fastopt.checkpoint.save"], "_write_payload", full)
    assert main(["train", "--quiet", "--checkpoint", "run", "--every", "1step"]) == 2
    assert (
        capsys.readouterr().err
        == "fastopt: error: cannot write the checkpoint 'run': No space left on device\n"
    )
    assert left_over(".") == []


def test_the_course_of_a_run_comes_back() -> None:
    early = EarlyStopping(None)
    early.update((0.1, 0.5), np.ones(4), 0)
    history = History(losses=[1.0], validation=[Score(0.5, accuracy=0.9)], best=0, steps=3)
    course = Course(history, early, 2.0, 3.0, 4, 5)
    fo.save("run", course=course)
    fresh = Course()
    held = fresh
    fo.load("run", course=fresh)
    assert bits(held.state_dict()) == bits(course.state_dict())
    for wrong in ({}, course.state_dict() | {"more": 1}, course.state_dict() | {"history": {"nothing": 1}}):
        before = bits(fresh.state_dict())
        with pytest.raises((TypeError, KeyError)):
            fresh.load_state_dict(wrong)
        assert bits(fresh.state_dict()) == before
