"""Reading without trust: damaged, cut and hostile files end in CheckpointError, in bounded memory, with nothing changed."""

from __future__ import annotations

import os
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import fastopt as fo
from checkpoint_cases import bits, craft, sample
from checkpoint_inputs import make, signed
from fastopt.checkpoint import CheckpointError, describe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


def refused(path: Path, **parts: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        fo.load(path, **parts)
    return str(caught.value)


def small(path: Path) -> bytes:
    """A file of about 4 KiB with all that a header can hold."""
    fo.save(path, **sample(), more=np.arange(120.0))
    data = path.read_bytes()
    assert 3000 < len(data) < 5500
    return data


def test_every_length_it_may_be_cut_to(path: Path) -> None:
    data = small(path)
    with path.open("r+b") as file:
        for length in range(len(data) - 1, -1, -1):
            file.truncate(length)
            refused(path)
    path.write_bytes(data + b"\0")
    refused(path)


def test_every_single_bit(path: Path) -> None:
    data = small(path)
    handle = os.open(path, os.O_RDWR)
    try:
        for at, byte in enumerate(data):
            for bit in range(8):
                os.pwrite(handle, bytes([byte ^ 1 << bit]), at)
                try:
                    fo.load(path)
                except CheckpointError:
                    continue
                pytest.fail(f"bit {bit} of byte {at} of {len(data)} may flip")
            os.pwrite(handle, bytes([byte]), at)
    finally:
        os.close(handle)
    fo.load(path)


def test_bursts_and_swapped_blocks_of_the_payload(path: Path) -> None:
    fo.save(path, a=np.arange(4096.0))
    data = path.read_bytes()
    start = len(data) - 4096 * 8
    for at in range(start, len(data) - 1024, 512):
        swapped = data[:at] + data[at + 512 : at + 1024] + data[at : at + 512] + data[at + 1024 :]
        path.write_bytes(swapped)
        assert "a checksum does not fit" in refused(path)


def entry(**changes: Any) -> dict[str, Any]:
    return {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]} | changes


HOSTILE = {
    "nothing": (b"", b""),
    "no JSON": (b"{" * 20, b""),
    "an array": (b"[]" + b" " * 10, b""),
    "leading space": (b' {"a":1}', b""),
    "not UTF-8": (b'{"\xff":{}}', b""),
    "a lone surrogate": (b'{"\xed\xa0\x80":{}}', b""),
    "NaN": (b'{"a":NaN}', b""),
    "more after it": (b"{}{}", b""),
    "NUL padding": (b"{}\0\0\0\0\0\0", b""),
    "one name twice": (b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"1"),
    "metadata twice": (b'{"__metadata__":{"a":"b"},"__metadata__":{"a":"c"}}', b""),
    "a key twice": (b'{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}', b"1"),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, b""),
    "metadata a list": ({"__metadata__": []}, b""),
    "NUL in a name": ({"a\0": entry()}, b"x" * 16),
    "no dtype": ({"a": {"shape": [2], "data_offsets": [0, 16]}}, b"x" * 16),
    "one key more": ({"a": entry(more=1)}, b"x" * 16),
    "unknown dtype": ({"a": entry(dtype="F65")}, b"x" * 16),
    "dtype a list": ({"a": entry(dtype=["F64"])}, b"x" * 16),
    "shape negative": ({"a": entry(shape=[-2])}, b"x" * 16),
    "shape negative twice": ({"a": entry(shape=[-2, -1])}, b"x" * 16),
    "shape of floats": ({"a": entry(shape=[2.0])}, b"x" * 16),
    "shape of bools": ({"a": entry(shape=[True, 2])}, b"x" * 16),
    "shape a number": ({"a": entry(shape=2)}, b"x" * 16),
    "shape too large": ({"a": entry(shape=[2**62, 2**62])}, b"x" * 16),
    "shape too large with a zero": ({"a": entry(shape=[2**62, 0, 2**62], data_offsets=[0, 0])}, b""),
    "shape that wraps": ({"a": entry(shape=[2**61 + 2])}, b"x" * 16),
    "too many axes": ({"a": entry(shape=[1] * 65, dtype="U8", data_offsets=[0, 1])}, b"x"),
    "offsets negative": ({"a": entry(data_offsets=[-16, 0])}, b"x" * 16),
    "offsets reversed": ({"a": entry(data_offsets=[16, 0])}, b"x" * 16),
    "offsets too many": ({"a": entry(data_offsets=[0, 16, 16])}, b"x" * 16),
    "offsets beyond the file": ({"a": entry(shape=[2**40], data_offsets=[0, 2**43])}, b"x" * 16),
    "offsets and shape disagree": ({"a": entry(shape=[3])}, b"x" * 16),
    "a hole first": ({"a": entry(data_offsets=[8, 24])}, b"x" * 24),
    "a hole between": ({"a": entry(), "b": entry(data_offsets=[24, 40])}, b"x" * 40),
    "a hole at the end": ({"a": entry()}, b"x" * 17),
    "an overlap": ({"a": entry(), "b": entry(data_offsets=[8, 24])}, b"x" * 24),
    "one place for two": ({"a": entry(), "b": entry()}, b"x" * 16),
    "nested deeply": (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b""),
    "nested deeply in objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b""),
    "very many empty lists": (b'{"a":[' + b"[]," * 1_000_000 + b"1]}", b""),
    "very many names": (b"{" + b",".join(b'"%d":{}' % i for i in range(200_000)) + b"}", b""),
    "wide letters": ('{"a":"' + "𝄞" * 500_000 + '"}', b""),
    "a long number": (b'{"a":' + b"9" * 100_000 + b"}", b""),
    "numbers": (b'{"a":[' + b"1.5," * 500_000 + b"1]}", b""),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers(path: Path, name: str) -> None:
    head, payload = HOSTILE[name]
    craft(path, head.encode() if isinstance(head, str) else head, payload)
    size = path.stat().st_size
    for load in (lambda: fo.load(path, verify=False), lambda: fo.load(path), lambda: describe(path)):
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError) as caught:
                load()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= size + (1 << 20)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600


@pytest.mark.parametrize("length", [0, 1, 2**63, 2**64 - 1, 10**8 + 1, 100])
def test_header_lengths(path: Path, length: int) -> None:
    path.write_bytes(length.to_bytes(8, "little") + b'{"a":1}       ')
    assert "cut short, or no safetensors file" in refused(path)


def test_a_header_above_the_cap_is_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.write((10**8 + 8).to_bytes(8, "little"))
        file.truncate(10**8 + 100)  # a hole: takes no room
    tracemalloc.start()
    refused(path)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


WRONG_PARTS: list[Any] = [
    {"$array": "p"}, {"$array": 3}, {"$array": ["a"]}, {"$nothing": 1}, {"$array": "a", "more": 1},
    [{"$array": "a"}, {"$array": "a"}], {"$tuple": 3}, {"$tuple": {}}, {"$items": [[1.5, 2]]}, {"$items": [[1, 2, 3]]},
    {"$items": [["a", 1], ["a", 2]]}, {"$items": 1}, {"$bytes": "a"}, {"$complex": "a"}, {"$scalar": ["object", "00"]},
    {"$scalar": ["float64", "00"]}, {"$scalar": ["float64", "zz" * 8]}, {"$scalar": 3}, {"$scalar": ["<f8", "00" * 8]},
    {"$float": "00"}, {"$float": 1}, {"$float": "zz" * 8}, {"$int": "x"}, {"$int": 1.5}, {"$int": None}, "no array at all",
]  # fmt: skip


@pytest.mark.parametrize("node", WRONG_PARTS, ids=repr)
def test_descriptions_that_are_wrong_though_the_checksums_fit(path: Path, node: Any) -> None:
    save, load_module = sys.modules["fastopt.checkpoint.save"], sys.modules["fastopt.checkpoint.load"]
    assert load_module.VERSION == 1
    save.write(path, {"a": np.zeros(3)}, {"p": node}, 1)
    before = sample(1)
    kept = bits(before)
    for parts in (
        {},
        *(
            {"p": value}
            for value in (None, np.ones(3), np.random.default_rng(0), [], {}, [np.ones(3)], *before.values())
        ),
    ):
        refused(path, **parts)
    assert bits(before) == kept


@pytest.mark.parametrize("change", [
    lambda m: m | {"version": 0}, lambda m: m | {"version": 1.0}, lambda m: m | {"version": True}, lambda m: m | {"chunk": 0},
    lambda m: m | {"chunk": "1"}, lambda m: m | {"chunk": 1 << 40}, lambda m: m | {"chunks": []}, lambda m: m | {"chunks": ["0" * 8] * 2},
    lambda m: m | {"chunks": [0]}, lambda m: m | {"parts": []}, lambda m: m | {"more": 1}, lambda m: {k: v for k, v in m.items() if k != "parts"},
    lambda m: m | {"fastopt": None}, lambda m: m | {"chunks": [m["chunks"][0].upper()]} if m["chunks"][0].upper() != m["chunks"][0] else m | {"chunks": [""]},
])  # fmt: skip
def test_our_own_part_of_the_header(path: Path, change: Any) -> None:
    import json

    fo.save(path, a=np.arange(3.0))
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tree = json.loads(data[8:start])
    meta = change(json.loads(tree["__metadata__"]["fastopt"]))
    tree["__metadata__"]["fastopt"] = json.dumps(meta, separators=(",", ":"))
    text = json.dumps(tree, separators=(",", ":")).encode()
    path.write_bytes(signed(len(text).to_bytes(8, "little") + text) + data[start:])
    refused(path)


def test_a_state_of_a_generator_that_is_none(path: Path) -> None:
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    for state in ({"bit_generator": "PCG64"}, {"bit_generator": "PCG64", "state": 3}, {"bit_generator": 5},
                  {"bit_generator": "PCG64", "state": {"state": 2**200, "inc": -1}, "has_uint32": 0, "uinteger": 0}):  # fmt: skip
        fo.save(path, rng=state)
        refused(path, rng=rng)
    assert rng.bit_generator.state == before


@pytest.mark.parametrize("kind", ["MT19937", "Philox"])
@pytest.mark.parametrize("position", [-1, -(2**31), 625, 2**31 - 1, 2**70, 1.5, True, None])
def test_positions_beyond_a_generators_buffer(path: Path, kind: str, position: Any) -> None:
    bits = getattr(np.random, kind)(0)
    state = bits.state
    if kind == "Philox":
        state["buffer_pos"] = position
    else:
        state["state"]["pos"] = position
    fo.save(path, rng=state)
    wanted = bits.random_raw(3).tolist()
    bits = getattr(np.random, kind)(0)
    for rng in (bits, np.random.Generator(bits), np.random.RandomState(bits)):
        assert "holds no state of" in refused(path, rng=rng)
    assert bits.random_raw(3).tolist() == wanted


@pytest.mark.parametrize("method", ["cg", "lbfgs", "newton_cg"])
def test_any_number_in_the_state_of_a_solver(method: str) -> None:
    """A state with one number exchanged is refused, or goes on; it never leads outside of its memory."""

    def answer(solver: fo.Solver) -> None:
        asked = solver.ask()
        if solver.request == "evaluate":
            solver.tell(float((asked**4).sum()), 4 * asked**3)
        elif solver.request == "product":
            solver.tell(12 * asked[0] ** 2 * asked[1])
        elif solver.request == "hessian":
            solver.tell(np.diag(12 * asked**2))
        else:
            solver.tell(asked)

    good = fo.Solver(np.full(5, 1.5), method=method)
    for _ in range(5):
        answer(good)
    state = good.state_dict()
    refusals = 0
    for place in range(0, min(len(state["block"]), 1200), 4):
        for value in (-1, 0, 1, 3, 4, 2**31 - 1):
            block = state["block"].copy()
            block[place : place + 4] = np.frombuffer(np.int32(value).tobytes(), np.uint8)
            solver = fo.Solver(np.zeros(5), method=method)
            try:
                solver.load_state_dict(state | {"block": block})
            except ValueError:
                refusals += 1
                continue
            try:
                with np.errstate(all="ignore"):
                    for _ in range(3):
                        if not solver.done:
                            answer(solver)
            except (ValueError, RuntimeError, ArithmeticError):
                pass
    assert refusals > 100


def test_it_takes_no_more_memory_than_views(path: Path) -> None:
    fo.save(path, a=np.zeros(4_000_000))
    into = np.ones(4_000_000)
    tracemalloc.start()
    fo.load(path)["a"].sum()
    fo.load(path, a=into)
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()
    assert not into.any()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, bytes]]:
    path = tmp_path_factory.mktemp("fuzz") / "base"
    yield path, small(path)


@given(seed=st.integers(0, 2**60))
def test_fuzz(seed: int, base: tuple[Path, bytes]) -> None:
    """The long run is ``python tests/fuzz_checkpoint.py``."""
    path, good = base
    data = make(seed, good)
    path.write_bytes(data)
    targets = sample(1) | {"more": np.zeros(120)}
    before = bits(targets)
    tracemalloc.start()
    try:
        fo.load(path, **targets)
        assert data == good
    except CheckpointError:
        assert bits(targets) == before
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < len(data) + (1 << 20) + 100_000  # the targets' own bits are in it


@given(seed=st.integers(0, 2**60))
def test_what_the_library_refuses_is_refused_here(seed: int, base: tuple[Path, bytes]) -> None:
    path, good = base
    path.write_bytes(make(seed, good))
    try:
        mine = fo.load(path, verify=False)
    except CheckpointError:
        return
    try:
        theirs = safetensors.numpy.load_file(path)
    except KeyError:  # dtypes it does not give to NumPy
        return
    assert set(theirs) == set(describe(path)["arrays"])
    assert mine is not None
