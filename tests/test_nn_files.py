"""Model files of fastopt.nn: the same bits after a round trip, whole or not at all, deaf to hostile ones."""

from __future__ import annotations

import json
import os
import pickle
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file

from fastopt import nn


def sample(dtype=np.float32):
    return nn.Sequential(
        nn.Dense(5, 6),
        nn.GELU(),
        nn.Dropout(0.25),
        nn.Residual(nn.Dense(6, 3), nn.Tanh(), nn.Dense(3, 6), nn.Dropout(0.1)),
        nn.Sigmoid(),
        nn.Dense(6, 2),
        loss=nn.Huber(0.5),
        dtype=dtype,
        rng=12,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saved_and_loaded_is_the_same_to_the_bit(tmp_path, dtype):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 5)), rng.standard_normal((16, 2))
    model = sample(dtype)
    model.loss_and_grads(x, y)
    meta = {"columns": ["ä", "b"], "mean": [0.1, 2.5], "none": None}
    nn.save(tmp_path / "m.safetensors", model, meta)
    other = nn.load(tmp_path / "m.safetensors")
    assert other.meta == meta
    assert repr(other) == repr(model)
    assert other.vector.tobytes() == model.vector.tobytes()
    assert other.predict(x).tobytes() == model.predict(x).tobytes()
    for _ in range(3):  # dropout goes on where it was
        assert other.loss_and_grads(x, y)[0] == model.loss_and_grads(x, y)[0]
    assert other.grad_vector.tobytes() == model.grad_vector.tobytes()
    nn.save(tmp_path / "again.safetensors", other)
    assert nn.load(tmp_path / "again.safetensors").meta == meta
    assert sorted(os.listdir(tmp_path)) == ["again.safetensors", "m.safetensors"]


def test_file_is_plain_safetensors(tmp_path):
    model = sample()
    nn.save(tmp_path / "m", model)
    arrays = load_file(tmp_path / "m")
    assert sorted(arrays) == sorted(model.paths)
    np.testing.assert_array_equal(arrays["3/0/w"], model.params["3"]["0"]["w"])


def test_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m"
    nn.save(path, sample(), {"n": 1})
    old = path.read_bytes()
    with pytest.raises(TypeError, match="meta"):
        nn.save(path, sample(), {"n": object()})
    with pytest.raises(TypeError, match="meta"):
        nn.save(path, sample(), [1])
    with pytest.raises(TypeError, match="model"):
        nn.save(path, sample().vector)

    def no_space(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        nn.save(path, sample(), {"n": 2})
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["m"]


def test_a_link_stays_a_link(tmp_path):
    nn.save(tmp_path / "real", sample(), {"n": 1})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    nn.save(tmp_path / "link", sample(), {"n": 2})
    assert (tmp_path / "link").is_symlink()
    assert nn.load(tmp_path / "real").meta == {"n": 2}


def test_missing_file_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        nn.load(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        nn.load(tmp_path)


# ---- damage ----


def parts(data):
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def joined(header, payload):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + payload


def test_every_truncation_is_an_error(tmp_path):
    model = nn.Sequential(nn.Dense(2, 2), nn.Dropout(0.5), loss=nn.Hinge())
    nn.save(tmp_path / "m", model)
    data = (tmp_path / "m").read_bytes()
    for end in range(len(data)):
        (tmp_path / "hurt").write_bytes(data[:end])
        with pytest.raises(ValueError, match="cannot load a model"):
            nn.load(tmp_path / "hurt")


def test_a_flipped_bit_is_an_error_or_changes_nothing(tmp_path):
    model = nn.Sequential(nn.Dense(2, 2), nn.Dropout(0.5), loss=nn.Hinge())
    nn.save(tmp_path / "m", model, {"k": "v"})
    model.meta = {"k": "v"}
    data = (tmp_path / "m").read_bytes()
    whole = pickle.dumps(model)
    refused = same = 0
    bits = range(0, 8 * len(data), 5)  # 5 and 8 have no common factor: every place in a byte comes up
    for bit in bits:
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / "hurt").write_bytes(flipped)
        try:
            other = nn.load(tmp_path / "hurt")
        except ValueError as error:
            refused += str(error).startswith("cannot load a model")
        else:
            same += pickle.dumps(other) == whole
    assert refused + same == len(bits)
    assert refused > 0.95 * len(bits)


def describe(change):
    """An edit of the model's description."""

    def edit(header, payload):
        model = json.loads(header["__metadata__"]["model"])
        change(model)
        header["__metadata__"]["model"] = json.dumps(model)
        return joined(header, payload)

    return edit


def head(change):
    """An edit of the file's header."""

    def edit(header, payload):
        change(header)
        return joined(header, payload)

    return edit


EMPTY_ARRAY = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
HOSTILE = {
    "empty": lambda h, p: b"",
    "text": lambda h, p: b"hello, world, this is no model\n" * 3,
    "pickle": lambda h, p: pickle.dumps({"w": np.ones(3)}),
    "huge header": lambda h, p: struct.pack("<Q", 2**62) + b"{}",
    "deep header": lambda h, p: struct.pack("<Q", 400000) + b"[" * 400000,
    "foreign": head(lambda h: h.pop("__metadata__")),
    "newer": head(lambda h: h["__metadata__"].update(version="2")),
    "no model": head(lambda h: h["__metadata__"].pop("model")),
    "bad json": head(lambda h: h["__metadata__"].update(model="{")),
    "deep json": head(lambda h: h["__metadata__"].update(model="[" * 100000)),
    "not a dict": head(lambda h: h["__metadata__"].update(model="3")),
    "array gone": head(lambda h: h.pop("0/w")),
    "array more": head(lambda h: h.update({"x": EMPTY_ARRAY})),
    "wrong dtype": head(lambda h: h["0/w"].update(dtype="I32")),
    "wrong shape": head(lambda h: h["0/w"].update(shape=[6, 5])),
    "unknown layer": describe(lambda m: m["layers"].append({"layer": "os.system", "command": "true"})),
    "base class": describe(lambda m: m["layers"].append({"layer": "Layer"})),
    "layer is a list": describe(lambda m: m["layers"].append([])),
    "layer name is a list": describe(lambda m: m["layers"].append({"layer": ["Dense"]})),
    "extra setting": describe(lambda m: m["layers"][0].update(evil=1)),
    "huge layer": describe(lambda m: m["layers"][0].update(n_in=10**15)),
    "negative layer": describe(lambda m: m["layers"][0].update(n_in=-5)),
    "half a column": describe(lambda m: m["layers"][0].update(n_in=5.0)),
    "layers do not fit": describe(lambda m: m["layers"].pop(0)),
    "no layers": describe(lambda m: m.update(layers=[])),
    "layers is text": describe(lambda m: m.update(layers="Dense")),
    "residual of text": describe(lambda m: m["layers"][3].update(layers="x")),
    "unknown loss": describe(lambda m: m.update(loss={"loss": "eval"})),
    "loss name is a list": describe(lambda m: m.update(loss={"loss": []})),
    "bad delta": describe(lambda m: m["loss"].update(delta="1")),
    "infinite delta": describe(lambda m: m["loss"].update(delta=float("inf"))),
    "dtype object": describe(lambda m: m.update(dtype="object")),
    "dtype a list": describe(lambda m: m.update(dtype=["float32"])),
    "dropout gone": describe(lambda m: m.update(dropout={})),
    "dropout text": describe(lambda m: m.update(dropout="PCG64")),
    "dropout state": describe(lambda m: m["dropout"]["2"].update(state=5)),
    "dropout minus": describe(lambda m: m["dropout"]["2"]["state"].update(state=-1)),
    "dropout wide": describe(lambda m: m["dropout"]["2"].update(uinteger=2**70)),
    "meta list": describe(lambda m: m.update(meta=[])),
    "more keys": describe(lambda m: m.update(evil=1)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(tmp_path, name, monkeypatch):
    path = tmp_path / "m"
    nn.save(path, sample())
    header, payload = parts(path.read_bytes())
    checksum = header["__metadata__"]["crc32"]
    path.write_bytes(HOSTILE[name](header, payload))
    monkeypatch.setattr("fastopt.nn.files._checksum", lambda *_: checksum)  # as if the attacker had mended it
    with pytest.raises(ValueError, match="cannot load a model from"):
        nn.load(path)
