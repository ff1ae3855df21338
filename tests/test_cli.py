"""The command line, run as a person runs it: files in, files and one clear line out."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import fastopt as fo
from fastopt.cli import choices, compare, features, predict_rows, targets
from fastopt.cli.__main__ import main
from fastopt.cli.errors import Mistake
from fastopt.cli.tables import as_table, read_table
from fastopt.cli.targets import split_rows
from fastopt.cli.training import Diverged, Score, train


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Every command runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def frame(rows=300, seed=0):
    """Numbers and text, with gaps, a constant column and one that names its row; price follows."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(18, 80, rows)
    city = rng.choice(["Oslo", "Bergen", "Bodø"], rows)
    member = rng.choice([True, False], rows)
    price = 2.0 * age + 30.0 * (city == "Oslo") + 15.0 * member + rng.normal(0, 2, rows)
    table = pd.DataFrame(
        {
            "age": age.round(1),
            "city": city,
            "member": member,
            "const": 7,
            "name": [f"p{i}" for i in range(rows)],
        }
    )
    table.loc[rng.choice(rows, 15, False), "age"] = np.nan
    table.loc[rng.choice(rows, 10, False), "city"] = None
    table["price"] = price.round(3)
    table["kind"] = np.where(price > price.mean(), "dear", "cheap")
    return table


def good(arguments, capsys):
    """Run a command that must succeed; what it printed."""
    code = main(list(map(str, arguments)))
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.err == ""
    return said.out


def bad(arguments, capsys):
    """Run a command that must fail as promised; the line it said."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    code = main(list(map(str, arguments)))
    said = capsys.readouterr()
    assert code == 2
    assert said.err.startswith("fastopt: error: ")
    assert said.err.count("\n") == 1
    assert len(said.err) > 30
    after = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    assert after == before, "something was written or removed"
    return said.err


def check_picture(path):
    """A whole PNG with more than a blank sheet in it."""
    from matplotlib.image import imread

    pixels = imread(path)
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20
    assert (pixels[..., :3].min(axis=2) < 0.5).mean() > 0.002


def test_train_with_no_arguments_learns_the_digits(capsys):
    said = good(["train"], capsys)
    for word in (
        "digits",
        "10 classes",
        "1257 training",
        "val. acc.",
        "samples/s",
        "step",
        "curve.png",
        "fo.nn.load",
    ):
        assert word in said
    assert sorted(p.name for p in Path("fastopt-run").iterdir()) == ["curve.png", "model.safetensors"]
    check_picture("fastopt-run/curve.png")
    model = fo.nn.load("fastopt-run/model.safetensors")
    assert model.meta["scores"]["test"]["accuracy"] > 0.95
    x, y = fo.data.load_digits()
    assert (predict_rows(model, x) == y).mean() > 0.97
    with pytest.raises(ValueError, match="63 columns; the model takes 64"):
        predict_rows(model, x[:, 1:])


def test_train_is_reproducible(capsys):
    for out in "ab":
        good(["train", "--epochs", 2, "--seed", 5, "--dropout", 0.2, "--out", out, "--quiet"], capsys)
    a, b = (fo.nn.load(f"{out}/model.safetensors").vector for out in "ab")
    np.testing.assert_array_equal(a, b)


def test_a_file_with_mixed_columns_is_handled_and_said(capsys):
    frame().to_csv("mixed.csv", index=False)
    said = good(["train", "mixed.csv", "--target", "price", "--drop", "kind", "--epochs", 20], capsys)
    for words in (
        "price: regression", "one value only: const", "hardly ever the same: name", "city (4)",
        "training median: age (15)", "missing text is a value of its own: city", "R²", "RMSE",
    ):  # fmt: skip
        assert words in said
    scores = fo.nn.load("fastopt-run/model.safetensors").meta["scores"]
    assert scores["test"]["r2"] > 0.9
    assert scores["test"]["rmse"] < 15.0


def test_predict_gives_what_the_model_gives(capsys):
    table = frame()
    table.to_csv("mixed.csv", index=False)
    good(["train", "mixed.csv", "--target", "kind", "--drop", "price", "--epochs", 5, "--quiet"], capsys)
    said = good(["predict", "fastopt-run/model.safetensors", "mixed.csv"], capsys)
    assert "300 predictions of kind" in said
    assert "accuracy" in said
    with open("predictions.csv") as file:
        rows = list(csv.DictReader(file))
    model = fo.nn.load("fastopt-run/model.safetensors")
    recipe = features.Recipe.from_meta(model.meta["recipe"])
    x, _ = recipe.features(read_table("mixed.csv"))
    probabilities = model.probabilities(x)
    assert [row["prediction"] for row in rows] == [
        recipe.target.classes[k] for k in probabilities.argmax(axis=1)
    ]
    np.testing.assert_allclose(
        [float(row["probability"]) for row in rows], probabilities.max(axis=1), rtol=1e-5
    )
    # The same rows by every door: a frame, a dict, and a run's folder in place of the file.
    by_frame = predict_rows(model, table)
    by_dict = predict_rows(model, {name: table[name].to_list() for name in ("age", "city", "member")})
    assert by_frame.tolist() == by_dict.tolist() == [row["prediction"] for row in rows]
    good(["predict", "fastopt-run", "mixed.csv"], capsys)


def test_predict_meets_unseen_values_and_missing_columns(capsys):
    table = frame()
    table.to_csv("mixed.csv", index=False)
    good(["train", "mixed.csv", "--target", "price", "--drop", "kind", "--epochs", 2, "--quiet"], capsys)
    table.loc[3, "city"] = "Paris"
    table.drop(columns=["const", "name", "price"]).to_csv("new.csv", index=False)
    said = good(["predict", "fastopt-run", "new.csv", "--out", "new_predictions.csv"], capsys)
    assert "not seen in training" in said
    assert "Paris" in said
    values = np.loadtxt("new_predictions.csv", skiprows=1)
    assert values.shape == (300,)
    assert np.isfinite(values).all()
    table.drop(columns="age").to_csv("lacking.csv", index=False)
    assert "'age'" in bad(["predict", "fastopt-run", "lacking.csv"], capsys)
    table["age"] = "old"
    table.to_csv("text.csv", index=False)
    assert "'age' holds text in row 1 ('old'); numbers are needed" in bad(
        ["predict", "fastopt-run", "text.csv"], capsys
    )
    Path("mine.csv").write_text("my own notes\n")
    assert "mine.csv" in bad(["predict", "fastopt-run", "new.csv", "--out", "mine.csv"], capsys)


def test_predict_of_a_regression_is_in_the_units_of_the_target(capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    np.savez("data.npz", X=x, y=1000.0 + 50.0 * x[:, 0])
    good(["train", "data.npz", "--epochs", 30, "--dtype", "float64", "--quiet"], capsys)
    good(["predict", "fastopt-run", "data.npz"], capsys)
    model = fo.nn.load("fastopt-run/model.safetensors")
    target = features.Recipe.from_meta(model.meta["recipe"]).target
    values = np.loadtxt("predictions.csv", skiprows=1)
    columns = model.meta["recipe"]["columns"]
    z = (x - [c["shift"] for c in columns]) / [c["scale"] for c in columns]
    np.testing.assert_array_equal(values, model.predict(z)[:, 0] * target.scale + target.shift)
    assert np.abs(values - (1000.0 + 50.0 * x[:, 0])).mean() < 10.0


@pytest.mark.parametrize(
    "kind", ["npz", "npz-named", "parquet", "semicolon", "tab", "gzip", "cp1252", "indexed"]
)
def test_kinds_of_files(kind, capsys):
    table = frame(80)[["age", "member", "city", "price"]]
    if kind == "npz":
        rng = np.random.default_rng(0)
        np.savez("file", X=rng.normal(size=(60, 2, 3)).astype(np.float32), y=rng.integers(0, 3, 60))
        said = good(["train", "file.npz", "--epochs", 1], capsys)
        assert "6 columns" in said
        assert "3 classes" in said
        return
    if kind == "npz-named":
        np.savez(
            "file",
            age=table["age"],
            member=table["member"],
            price=table["price"],
            city=table["city"].fillna("").to_numpy(str),
        )
    elif kind == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: no Parquet here")
        table.to_parquet("file")
    elif kind == "semicolon":
        table.to_csv("file", index=False, sep=";", decimal=",")
    elif kind == "tab":
        table.to_csv("file", index=False, sep="\t")
    elif kind == "gzip":
        table.to_csv("file", index=False, compression="gzip")
    elif kind == "cp1252":
        table.to_csv("file", index=False, encoding="cp1252")
    else:
        table.to_csv("file")
    name = "file.npz" if kind == "npz-named" else "file"
    said = good(["train", name, "--target", "price", "--epochs", 1], capsys)
    assert "80 rows, 3 columns" in said
    assert "price: regression" in said
    columns = read_table(name).columns
    np.testing.assert_array_equal(columns["age"], table["age"])
    np.testing.assert_array_equal(columns["price"], table["price"])
    assert columns["city"].tolist() == [None if city != city else city for city in table["city"]]


def mistakes():
    """Name, what makes the file, the arguments, and words of the line that is wanted."""
    full = frame(60)

    def csv_of(change):
        def make():
            table = full.copy()
            change(table)
            table.to_csv("f.csv", index=False)

        return make

    def put(name, value, row=None):
        def change(table):
            if row is None:
                table[name] = value
            else:
                table[name] = table[name].astype(object)
                table.loc[row, name] = value

        return change

    plain = csv_of(lambda table: None)
    f = ["train", "f.csv", "--target", "price"]

    def text(content, mode="w"):
        def make():
            with open("f.csv", mode) as file:
                file.write(content)

        return make

    return [
        ("missing file", plain, ["train", "g.csv", "--target", "price"], "no file 'g.csv'"),
        ("near file", plain, ["train", "f.cvs", "--target", "price"], "did you mean 'f.csv'?"),
        ("folder", lambda: Path("d").mkdir(), ["train", "d", "--target", "price"], "is a folder"),
        ("wrong target", plain, ["train", "f.csv", "--target", "prise"], "did you mean 'price'?"),
        ("no target", plain, ["train", "f.csv"], "Give --target NAME; columns: age, city"),
        ("target without file", None, ["train", "--target", "y"], "--target needs a FILE"),
        ("some text among numbers", csv_of(put("age", "old", 4)), f, "(row 5: 'old')"),
        ("some text among targets", csv_of(put("price", "?", 2)), f, "target 'price' of f.csv is numbers"),
        ("text for a regression", plain, [*f[:3], "kind", "--task", "regression"], "needs numbers"),
        ("one class only", csv_of(put("price", "same")), f, "'same' in every row"),
        ("empty file", text(""), f, "is empty"),
        ("blank file", text("\n \n"), f, "is empty"),
        ("header only", text("a,b,price\n"), f, "no rows"),
        ("all missing", csv_of(put("void", np.nan)), f, "--drop void"),
        ("too few rows", text("a,price\n" + "1,2\n" * 5), f, "5 rows are too few"),
        ("missing target", csv_of(put("price", np.nan, 6)), f, "missing in 1 of 60 rows (first: row 7)"),
        ("ragged", text("a,price\n1,2\n1,2,3\n"), f, "line 3"),
        ("longer rows", text("a,price\n1,2,3\n1,2,3\n"), f, "more fields"),
        ("no features", text("price\n" + "1\n2\n" * 9), f, "no column besides"),
        ("nothing to learn from", text("a,price\n" + "1,2\n1,3\n" * 9), f, "each is constant"),
        ("binary", text(bytes(range(256)), "wb"), f, "neither CSV nor NPZ nor Parquet"),
        ("torn npz", text(b"PK\x03\x04" + b"x" * 50, "wb"), f, "as NPZ"),
        ("torn parquet", text(b"PAR1" + b"x" * 50, "wb"), f, "as Parquet"),
        ("pickles", lambda: np.savez("f", X=np.array([{}, 1]), y=np.arange(2)), ["train", "f.npz"], "as NPZ"),
        ("lengths", lambda: np.savez("f", X=np.zeros((3, 2)), y=np.arange(2)), ["train", "f.npz"], "differ"),
        ("many classes", plain, [*f, "--task", "classification"], "no classes to learn"),
        ("unknown optimizer", None, ["train", "--optimizer", "adm"], "did you mean 'adam'"),
        ("unknown field", None, ["train", "--opt", "beta=0.9"], "did you mean 'betas'?"),
        ("field of another", None, ["train", "--optimizer", "sgd", "--opt", "betas=1,2"], "SGD takes no"),
        ("value out of range", None, ["train", "--opt", "betas=0.9,2"], "betas[1] is 2.0"),
        ("not key=value", None, ["train", "--opt", "betas"], "key=value"),
        ("unknown schedule", None, ["train", "--schedule", "cosin"], "did you mean 'cosine'"),
        ("schedule's field", None, ["train", "--schedule", "cosine:stepz=3"], "did you mean 'steps'?"),
        ("schedule's value", None, ["train", "--schedule", "cosine:end=-1"], "end is -1.0"),
        ("average", None, ["train", "--average", "median"], "ema:DECAY or mean"),
        ("average's decay", None, ["train", "--average", "ema:2"], "decay is 2.0"),
        ("lr of 0", None, ["train", "--lr", "0"], "--lr: '0' is not a number above 0"),
        ("lr is text", None, ["train", "--lr", "fast"], "--lr: 'fast' is not a number"),
        ("no lr", None, ["train", "--convention", "optax"], "lr is missing"),
        ("epochs", None, ["train", "--epochs", "many"], "whole number"),
        ("shares", None, ["train", "--test", "0.6", "--validation", "0.5"], "no rows for training"),
        ("share is text", None, ["train", "--test", "some"], "--test: 'some'"),
        ("drop", plain, [*f, "--drop", "agee"], "did you mean 'age'?"),
        ("unknown option", None, ["train", "--epochz", "3"], "did you mean '--epochs'?"),
        ("unknown command", None, ["tran"], "did you mean 'train'?"),
        ("diverges", None, ["train", "--lr", "1e9"], "at step 2"),
        ("diverges, sgd", None, ["train", "--lr", "1e9", "--optimizer", "sgd"], "try a smaller --lr"),
        ("diverges to NaN", plain, [*f, "--lr", "1e30", "--optimizer", "sgd"], "diverged"),
        ("foreign folder", lambda: Path("f.txt").touch(), ["train", "--out", "."], "no earlier run"),
        ("out is a file", lambda: Path("f.txt").touch(), ["train", "--out", "f.txt"], "that is a file"),
        ("out in no folder", None, ["train", "--out", "no/where"], "there is no folder 'no'"),
        ("no model", None, ["predict", "m.safetensors", "f.csv"], "no model file"),
        ("foreign model", text("nonsense" * 40), ["predict", "f.csv", "f.csv"], "cannot load a model"),
        ("compare's optimizer", None, ["compare", "--optimizers", "adam,lyon"], "did you mean 'lion'?"),
        ("compare's out", text("mine"), ["compare", "--out", "f.csv"], "no picture of fastopt"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "arguments", "words"), [pytest.param(*m[1:], id=m[0].replace(" ", "-")) for m in mistakes()]
)
def test_a_mistake_is_one_clear_line_and_nothing_is_written(make, arguments, words, capsys):
    if words == "as Parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: no Parquet here")
    if make is not None:
        make()
    assert words in bad(arguments, capsys)


def test_a_package_that_is_missing_is_named(capsys, monkeypatch):
    frame(40).to_csv("f.csv", index=False)
    for package, command in (
        ("pandas", ["train", "f.csv", "--target", "price"]),
        ("matplotlib", ["train"]),
        ("rich", ["info"]),
    ):
        with monkeypatch.context() as patch:
            for name in [n for n in sys.modules if n.split(".")[0] == package]:
                patch.delitem(sys.modules, name)
            patch.setitem(sys.modules, package, None)
            assert f'needs {package}, which is not installed: pip install "fastopt[cli]"' in bad(
                command, capsys
            )


def test_a_full_disk_leaves_no_pieces(capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert "No space left" in bad(["train", "--epochs", 1, "--quiet"], capsys)[-200:]
    assert not Path("fastopt-run").exists()


def test_an_earlier_run_is_replaced_and_said(capsys):
    good(["train", "--epochs", 1], capsys)
    first = fo.nn.load("fastopt-run/model.safetensors").vector.copy()
    Path("fastopt-run/notes.txt").write_text("mine")
    said = good(["train", "--epochs", 2], capsys)
    assert "in place of the earlier run's" in said
    assert not np.array_equal(first, fo.nn.load("fastopt-run/model.safetensors").vector)
    assert Path("fastopt-run/notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", choices.optimizer_names())
def test_every_optimizer_trains(name, capsys):
    good(["train", "--optimizer", name, "--epochs", 1, "--quiet"], capsys)
    assert np.isfinite(fo.nn.load("fastopt-run/model.safetensors").vector).all()


def test_the_options_reach_the_optimizer(capsys, monkeypatch):
    made = []

    class Spy(fo.Adam):
        def __init__(self, params, lr=None, **fields):
            made.append((lr, fields))
            super().__init__(params, lr, **fields)

    monkeypatch.setattr(fo.optim, "Adam", Spy)
    monkeypatch.setattr(choices, "resolve_optimizer", lambda name, fields=None: (Spy, fields or {}))
    options = [
        "--opt", "betas=0.8,0.99", "--opt", "amsgrad=true", "--lr", "0.01", "--convention", "keras",
        "--schedule", "warmup_cosine:warmup=0.1", "--average", "ema:0.9", "--clip-norm", "1",
        "--clip-value", "0.5", "--epochs", "5", "--batch-size", "100",
    ]  # fmt: skip
    good(["train", *options, "--quiet"], capsys)
    schedule, fields = made[-1]
    total = 5 * 13  # 1257 rows in batches of 100
    assert schedule == fo.schedules.warmup_cosine(0.01, warmup=round(0.1 * total), total=total)
    assert fields["betas"] == (0.8, 0.99)
    assert fields["amsgrad"] is True
    assert (fields["clip_norm"], fields["clip_value"], fields["convention"]) == (1.0, 0.5, "keras")
    assert fields["average"] == fo.averaging.EMA(0.9)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("linear", fo.schedules.linear(0.1, steps=200)),
        ("cosine:end=0.01", fo.schedules.cosine(0.1, steps=200, end=0.01)),
        ("step:every=50,factor=0.5", fo.schedules.step(0.1, every=50, factor=0.5)),
        ("multistep:milestones=10,20,factor=0.5", fo.schedules.multistep(0.1, (10, 20), factor=0.5)),
        ("one-cycle", fo.schedules.one_cycle(0.1, total=200)),
        ("warmup", fo.schedules.warmup(0.1, steps=10)),
        ("cosine_restarts:first=0.5", fo.schedules.cosine_restarts(0.1, first=100)),
    ],
)
def test_schedules_by_name(text, wanted):
    assert choices.build_schedule(text, 0.1, 200) == wanted


def test_plateau_reacts_to_the_validation_loss(capsys, monkeypatch):
    seen = []
    update = fo.schedules.Plateau.update
    monkeypatch.setattr(fo.schedules.Plateau, "update", lambda self, x: (seen.append(x), update(self, x))[1])
    good(["train", "--schedule", "plateau:patience=1", "--epochs", 3, "--quiet"], capsys)
    assert len(seen) == 3
    assert seen[0] > seen[2] > 0.0


class Line:
    """A model of one weight whose validation loss is told beforehand."""

    def __init__(self, losses=(1.0,)):
        self.vector, self.grads = np.zeros(1), {"w": np.zeros(1)}
        self.losses = iter(losses)

    def loss_and_grads(self, x, y):
        return next(self.losses, 1.0), self.grads


class Count:
    """Adds one to the weight at every step."""

    def __init__(self, model):
        self.model = model

    def step(self, grads):
        self.model.vector += 1.0


def test_early_stopping_keeps_the_best_weights():
    model = Line()
    told = iter([0.5, 0.3, 0.4, 0.35, 0.31, 0.1])
    batches = [(np.zeros((2, 1)), np.zeros(2))]
    history = train(model, Count(model), batches, lambda: Score(next(told)), 6, patience=3)
    assert history.stopped_early
    assert (history.best, len(history.validation), model.vector[0]) == (1, 5, 2.0)


def test_accuracy_comes_before_loss():
    assert Score(0.5, accuracy=0.9).rank() < Score(0.1, accuracy=0.8).rank()
    assert Score(0.1, accuracy=0.9).rank() < Score(0.5, accuracy=0.9).rank()


@pytest.mark.parametrize("lost", [np.nan, np.inf, 3e6])
def test_a_lost_run_is_seen_at_the_very_step(lost):
    model = Line([2.0, 2.0, 2.0, 2.0, lost])
    batches = [(np.zeros((2, 1)), np.zeros(2))] * 3
    with pytest.raises(Diverged, match=r"at step 5 \(it began at 2\)") as caught:
        train(model, Count(model), batches, lambda: Score(1.0), 9)
    assert (caught.value.step, model.vector[0]) == (5, 4.0)


def test_ctrl_c_in_the_middle_of_an_epoch_keeps_the_best():
    model = Line()

    class Impatient(Count):
        def step(self, grads):
            super().step(grads)
            if self.model.vector[0] == 8.0:
                raise KeyboardInterrupt

    told = iter([0.5, 0.7])
    batches = [(np.zeros((2, 1)), np.zeros(2))] * 3
    history = train(model, Impatient(model), batches, lambda: Score(next(told)), 9)
    assert history.interrupted
    assert (history.best, model.vector[0]) == (0, 3.0)


def start(*arguments, **more):
    """A program of its own, with Ctrl-C as a terminal has it."""
    return subprocess.Popen(
        [sys.executable, "-m", "fastopt", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **more,
    )


@pytest.mark.skipif(os.name != "posix", reason="SIGINT to another process is POSIX")
def test_ctrl_c_ends_with_130_and_a_model():
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    running = start("train", "--epochs", "1000000", env=env)
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("epoch 1/"):
            break
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in err
    assert out.count("Ctrl-C") == 1
    check_picture("fastopt-run/curve.png")
    model = fo.nn.load("fastopt-run/model.safetensors")
    assert model.meta["scores"]["validation"]["accuracy"] > 0.8
    assert [p.name for p in Path("fastopt-run").glob(".*")] == []


def test_as_a_program():
    done = start("train", "--epochs", "1", "--quiet", env={**os.environ, "NO_COLOR": "1"})
    out, err = done.communicate(timeout=60)
    assert (done.returncode, err) == (0, "")
    assert "test" in out
    assert "\x1b" not in out
    wrong = start("train", "none.csv")
    out, err = wrong.communicate(timeout=60)
    assert (wrong.returncode, out) == (2, "")
    assert err.startswith("fastopt: error: no file 'none.csv'")


def test_help_and_version(capsys):
    assert main(["--version"]) == 0
    assert fo.__version__ in capsys.readouterr().out
    for command in ("train", "predict", "compare", "bench", "info"):
        assert main([command, "--help"]) == 0
        assert "usage: fastopt " + command in capsys.readouterr().out
    assert main([]) == 0
    assert "compare" in capsys.readouterr().out


def test_compare(capsys):
    options = ["--quick", "--seeds", 1, "--epochs", 2, "--batch-size", 128, "--hidden", 32]
    said = good(["compare", *options], capsys)
    for name in choices.optimizer_names():
        assert f"\n {name} " in said
    assert "best lr" in said
    check_picture("fastopt-compare.png")
    good(["compare", *options, "--optimizers", "adam,sgd"], capsys)  # its own picture may be replaced


def test_compare_on_a_regression_with_seeds(capsys):
    frame(80).drop(columns="kind").to_csv("f.csv", index=False)
    options = ["--target", "price", "--quick", "--seeds", 2, "--epochs", 2, "--optimizers", "adam,momentum"]
    said = good(["compare", "f.csv", *options], capsys)
    assert "test RMSE" in said
    assert "±" in said


@pytest.mark.parametrize(
    ("best", "more", "found", "at_end"),
    [(0, 0, 0, False), (1, 6, 1, False), (5, 6, 5, False), (-4, 6, -4, False), (20, 6, 8, True)],
)
def test_the_search_finds_the_valley_or_says_that_it_ended(best, more, found, at_end):
    lr, end = compare.search(lambda lr: abs(np.log(lr / 0.01) / np.log(10.0) * 2 - best), 0.01, 2, more)
    assert lr == pytest.approx(0.01 * 10.0 ** (found / 2))
    assert end is at_end


def test_the_search_when_all_is_lost():
    assert compare.search(lambda lr: np.inf, 0.01, 1, 3) == (None, False)


def test_bench_prints_and_draws_what_was_measured(capsys, monkeypatch):
    asked = []

    def update_table(quick):
        asked.append(quick)
        contestants = [("fastopt", 0.5), ("NumPy", 8.0), ("floor", 0.4)]
        return [
            {"size": n, "contestant": name, "ns_per_parameter": ns, "ratio_to_floor": ns / 0.4}
            for n in (1000, 100000)
            for name, ns in contestants
        ]

    contest = types.ModuleType("fastopt.cli.contest")
    contest.update_table = update_table
    monkeypatch.setitem(sys.modules, "fastopt.cli.contest", contest)
    monkeypatch.setattr(fo.cli, "contest", contest, raising=False)
    said = good(["bench", "--quick", "--out", "bench.png"], capsys)
    assert asked == [True]
    for words in ("1e3", "1e5", "0.50 (1.2)", "8.0 (20.0)", "floor"):
        assert words in said
    check_picture("bench.png")


def test_info(capsys):
    said = good(["info"], capsys)
    for words in (fo.__version__, np.__version__, fo.build_info()["isa"], "threads", "BLAS of NumPy", "rich"):
        assert words in said


# ---- the parts under the commands ----


def test_the_split_keeps_the_shares_of_every_class():
    codes = np.repeat([0, 1, 2, 3], [100, 37, 5, 1])
    train_rows, valid, test = split_rows(codes, len(codes), 0.2, 0.2, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(np.concatenate([train_rows, valid, test])), np.arange(len(codes)))
    assert set(codes[train_rows]) == {0, 1, 2, 3}
    for k, n in enumerate([100, 37, 5, 1]):
        assert abs((codes[test] == k).sum() - 0.2 * n) <= 1
        assert abs((codes[valid] == k).sum() - 0.2 * n) <= 1
    assert abs(len(test) - 0.2 * len(codes)) <= 1
    again = split_rows(codes, len(codes), 0.2, 0.2, np.random.default_rng(0))
    np.testing.assert_array_equal(again[2], test)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (np.repeat([3, 4, 5], 10), "classification"),
        (np.repeat([3.0, 4.0, 5.0], 10), "classification"),
        (np.repeat([0.5, 1.5], 10), "regression"),
        (np.arange(30), "regression"),
        (np.repeat(np.arange(21), 10), "regression"),
        (np.repeat([1, 2, 3, 4, 5], 4), "regression"),
        (np.repeat([True, False], 5), "classification"),
        (np.array(["a", "b"] * 5, object), "classification"),
    ],
)
def test_the_rule_that_finds_the_task(values, task):
    assert targets.learn_target("y", values, None).task == task


def test_statistics_are_those_of_the_training_rows_only():
    table = as_table(
        {"a": np.array([1.0, 2.0, np.nan, 6.0, 100.0, -50.0]), "c": ["u", "v", "u", "u", "w", "w"]}
    )
    target = targets.Target("y", "regression")
    train_rows = np.arange(4)
    recipe, _ = features.learn(table, target, train_rows)
    a, c = recipe.columns
    filled = np.array([1.0, 2.0, 2.0, 6.0])
    assert (a.fill, a.shift, a.scale) == (2.0, filled.mean(), filled.std())
    assert c.values == ["u", "v"]
    x, notes = recipe.features(table, np.float64)
    np.testing.assert_allclose(x[:4, 0], (filled - filled.mean()) / filled.std(), rtol=1e-15)
    np.testing.assert_array_equal(x[:, 1:], [[1, 0], [0, 1], [1, 0], [1, 0], [0, 0], [0, 0]])
    assert any("(w)" in note for note in notes)
    again = features.Recipe.from_meta(json.loads(json.dumps(recipe.to_meta())))
    np.testing.assert_array_equal(again.features(table, np.float64)[0], x)


def test_rare_values_share_a_feature():
    values = [f"v{i:02d}" for i in range(60) for _ in range(4 if i < 50 else 1)]
    recipe, notes = features.learn(
        as_table({"c": values}), targets.Target("y", "regression"), np.arange(len(values))
    )
    (column,) = recipe.columns
    assert (len(column.values), column.rest, recipe.width) == (50, True, 51)
    assert any("share one feature" in note for note in notes)
    x, _ = recipe.features(as_table({"c": ["v00", "v59", "new"]}))
    assert x.argmax(axis=1).tolist() == [0, 50, 50]
    assert (x.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("pairs", "wanted"),
    [
        (["betas=0.9,0.99"], {"betas": (0.9, 0.99)}),
        (["amsgrad=true", "eps=1e-7"], {"amsgrad": True, "eps": 1e-7}),
        (["momentum_decay=inf", "nonfinite=skip"], {"momentum_decay": float("inf"), "nonfinite": "skip"}),
    ],
)
def test_fields(pairs, wanted):
    assert choices.parse_fields(pairs, "--opt") == wanted


def test_no_code_is_run_by_a_value():
    with pytest.raises(Mistake):
        choices.build_optimizer(
            "adam", np.zeros(2), 0.1, choices.parse_fields(["eps=__import__('os').getpid()"], "--opt")
        )
