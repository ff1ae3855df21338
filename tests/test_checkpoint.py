"""fo.save and fo.load: every kind of part comes back exactly, in place, or not at all."""

from __future__ import annotations

import sys
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastopt as fo
from checkpoint_cases import bits, craft, sample
from fastopt.checkpoint import CheckpointError, describe
from rows import IDS, ROWS, Row, gradients, make, whole

DATA = Path(__file__).parent / "data"
DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


# ---- round trips ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1,), (2, 3), (5, 1, 2, 3)])
def test_every_dtype_shape_and_order_of_memory(path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    c = (
        (100 * rng.normal(size=shape)).astype(dtype)
        if dtype[0] != "u"
        else rng.integers(0, 100, shape).astype(dtype)
    )
    big = np.zeros([2 * n for n in shape], dtype)
    big[tuple(slice(None, None, 2) for _ in shape)] = c
    forms = {
        "c": np.asarray(c),
        "f": np.asfortranarray(c),
        "strided": big[tuple(slice(None, None, 2) for _ in shape)],
        "backwards": np.ascontiguousarray(c[tuple(slice(None, None, -1) for _ in shape)])[
            tuple(slice(None, None, -1) for _ in shape)
        ],
        "foreign": c.astype(np.dtype(dtype).newbyteorder(">" if sys.byteorder == "little" else "<")),
    }
    forms = {
        name: np.asarray(form).reshape(shape) for name, form in forms.items()
    }  # asfortranarray makes () to (1,)
    fo.save(path, **forms)
    got = fo.load(path)
    for name, form in forms.items():
        assert bits(got[name]) == bits(np.ascontiguousarray(c).reshape(shape)), name
        assert not got[name].flags.writeable
        again = np.zeros_like(form)
        fo.load(path, **{name: again})
        assert bits(again) == bits(form)
        assert again.dtype == form.dtype
    raw = safetensors.numpy.load_file(path)
    assert {array.tobytes() for array in raw.values()} == {np.ascontiguousarray(c).tobytes()}


def test_bfloat16_and_float8(path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        a = np.arange(24).reshape(4, 6).astype(getattr(ml_dtypes, name))[:, ::2]
        fo.save(path, a=a)
        back = np.zeros_like(a)
        fo.load(path, a=back)
        assert back.dtype == a.dtype
        assert back.tobytes() == a.tobytes()
        assert fo.load(path)["a"].dtype == a.dtype


numbers = (
    st.floats(width=64)
    | st.integers()
    | st.booleans()
    | st.none()
    | st.text(max_size=8)
    | st.binary(max_size=5)
)
arrays = hnp.arrays(hnp.floating_dtypes() | hnp.integer_dtypes(), hnp.array_shapes(min_dims=0, max_side=3))
keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), max_size=4) | st.integers(
    -3, 3
)


def _unambiguous(tree: dict[Any, Any]) -> bool:
    return len({str(key) for key in tree}) == len(tree)


trees = st.recursive(
    numbers.filter(lambda v: not isinstance(v, str) or "\0" not in v)
    | arrays.filter(lambda a: a.dtype.itemsize <= 8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(keys, inner, max_size=3).filter(_unambiguous)
    ),
    max_leaves=8,
)


@given(tree=trees)
def test_any_tree_comes_back(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    fo.save(path, tree=tree)
    assert bits(fo.load(path)["tree"]) == bits(tree)


def test_plain_values_are_exact(path: Path) -> None:
    values = {
        "ints": [0, -1, 2**63, -(2**200), 10**4299, -(10**5000)],
        "floats": [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), float("-inf"), float("nan")],
        "scalars": [
            np.float32(0.1),
            np.int8(-3),
            np.bool_(True),
            np.float64("nan"),
            np.complex64(1 + 2j),
            np.uint64(2**64 - 1),
        ],
        "texts": ["", 'é\n\0"\\', "𝄞", "$array"],
        "$array": {"$tuple": [1], "$$": None, "$": {}},
        "nested": [[], {}, (), ((),), [()], b"", b"\0\xff"],
        3: {-1: "int keys", "1": "beside text"},
    }
    fo.save(path, values=values)
    got = fo.load(path)["values"]
    assert bits(got) == bits(values)
    assert list(got) == list(values)


@pytest.mark.parametrize(
    "make_generator",
    [np.random.default_rng, np.random.PCG64, np.random.PCG64DXSM, np.random.MT19937, np.random.Philox, np.random.SFC64,
     np.random.RandomState, lambda s: np.random.Generator(np.random.MT19937(s)), lambda s: np.random.RandomState(np.random.PCG64(s))],
)  # fmt: skip
def test_generators(path: Path, make_generator: Any) -> None:
    def draw(g: Any) -> Any:
        if isinstance(g, np.random.BitGenerator):
            return g.random_raw(5).tolist()
        if isinstance(g, np.random.Generator):
            return [*g.normal(size=3), *g.integers(0, 9, 3, np.uint32), g.random(dtype=np.float32)]
        return [*g.normal(size=3), *g.randint(0, 9, 3)]  # an odd number of normals: one more is kept

    one = make_generator(5)
    draw(one)
    fo.save(path, rng=one, inside={"rng": [one]})
    wanted = draw(one)
    other = make_generator(6)
    fo.load(path, rng=other)
    assert draw(other) == wanted
    tree = {"rng": [make_generator(7)]}
    fo.load(path, inside=tree)
    assert draw(tree["rng"][0]) == wanted
    wrong = np.random.default_rng(0) if make_generator is not np.random.default_rng else np.random.Philox(0)
    if type(getattr(wrong, "bit_generator", wrong)).__name__ not in repr(one) and "PCG64" not in repr(
        bits(fo.load(path)["rng"])
    ):
        with pytest.raises(CheckpointError, match="rng is of "):
            fo.load(path, rng=wrong)


@pytest.mark.parametrize("row", ROWS, ids=IDS)
@pytest.mark.parametrize("background", [False, True])
def test_every_optimizer_goes_on_bit_for_bit(path: Path, row: Row, background: bool) -> None:
    start, grads = gradients((7, 9), "float32", 8)
    own: dict[str, Any] = {"average": fo.averaging.EMA(0.8), "clip_norm": 1.0}
    if row.rule != "rprop":
        own["lr"] = fo.schedules.Plateau(0.1, patience=0)
    params = {"a": start.copy(), "b": [start.T.copy()]}
    opt = make(row, params, **own)
    plateau = own.get("lr")
    for t, g in enumerate(grads):
        if t == 4:
            saving = fo.save(path, params=params, opt=opt, background=background)  # type: ignore[call-overload]
        opt.step({"a": g, "b": [g.T]})
        if plateau:
            plateau.update(1.0)
    if background:
        saving.wait()
    fresh = {"a": np.zeros_like(start), "b": [np.zeros_like(start.T)]}
    again = dict(own)
    if plateau:
        again["lr"] = fo.schedules.Plateau(0.1, patience=0)
    twin = make(row, fresh, **again)
    got = fo.load(path, params=fresh, opt=twin)
    assert got["params"] is fresh
    assert got["opt"] is twin
    for g in grads[4:]:
        twin.step({"a": g, "b": [g.T]})
        if plateau:
            again["lr"].update(1.0)
    assert whole(twin) == whole(opt)


@pytest.mark.parametrize("method", ["gd", "bb", "cg", "bfgs", "lbfgs"])
def test_a_solver_within_a_line_search(path: Path, method: str) -> None:
    def f(x: np.ndarray) -> tuple[float, np.ndarray]:
        g = np.zeros_like(x)
        g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
        g[1:] += 200 * (x[1:] - x[:-1] ** 2)
        return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()), g

    solver = fo.Solver(np.full(6, -1.2), method=method, options={"maxiter": 30})
    trace = []
    saved_at = 17
    while not solver.done:
        if len(trace) == saved_at:
            fo.save(path, solver=solver)
        x = solver.ask()
        trace.append(x.tobytes())
        solver.tell(*f(x))
    twin = fo.Solver(np.zeros(6), method=method, options={"maxiter": 30})
    fo.load(path, solver=twin)
    rest = []
    while not twin.done:
        x = twin.ask()
        rest.append(x.tobytes())
        twin.tell(*f(x))
    assert rest == trace[saved_at:]
    assert len(rest) > 5


def test_models_with_dropout(path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 4)).astype(np.float32), rng.integers(0, 2, 40)

    def run(model: Any, opt: Any, steps: int) -> bytes:
        for _ in range(steps):
            opt.step(model.loss_and_grads(x, y)[1])
        return model.vector.tobytes()

    model, twin = (fo.nn.mlp(4, (5,), 2, dropout=0.3, rng=seed) for seed in (1, 2))
    opt, twin_opt = fo.SGD(model.params, lr=0.1, momentum=0.9), fo.SGD(twin.params, lr=0.1, momentum=0.9)
    run(model, opt, 3)
    fo.save(path, model=model, opt=opt)
    fo.load(path, model=twin, opt=twin_opt)
    assert run(model, opt, 3) == run(twin, twin_opt, 3)


def test_stochastic_lbfgs(path: Path) -> None:
    rng = np.random.default_rng(0)
    a, x = rng.normal(size=(30, 5)), rng.normal(size=5)

    def loss(params: Any, rows: Any) -> tuple[float, Any]:
        r = a[rows] @ (params["x"] - x)
        return 0.5 * float(r @ r), {"x": a[rows].T @ r}

    def run(opt: Any, first: int) -> bytes:
        for t in range(first, first + 5):
            opt.step(loss, slice(t, t + 15))
        return opt.params["x"].tobytes()

    opt, twin = (fo.StochasticLBFGS({"x": np.full(5, start)}, lr=0.01) for start in (0.0, 1.0))
    run(opt, 0)
    fo.save(path, params=opt.params, opt=opt)
    fo.load(path, params=twin.params, opt=twin)
    assert twin.pairs == opt.pairs > 0
    assert run(opt, 5) == run(twin, 5)


# ---- loading into what is there ----


def test_every_part_is_taken_up_in_place(path: Path) -> None:
    one, two = sample(0), sample(1)
    fo.save(path, **one)
    held = two["params"]["layers"][0]["w"], two["history"]["loss"]
    got = fo.load(path, **two)
    assert bits({k: v for k, v in got.items() if k != "epoch"}) == bits(
        {k: v for k, v in one.items() if k != "epoch"}
    )
    assert got["epoch"] == 3
    assert got["params"] is two["params"]
    assert two["params"]["layers"][0]["w"] is held[0]
    third = fo.Batches(np.arange(20.0), size=3, rng=5)
    third.load_state_dict(one["batches"].state_dict())
    assert bits(list(third)) == bits(list(two["batches"]))
    assert one["rng"].normal() == two["rng"].normal()


def test_parts_that_are_not_asked_for_come_as_they_were_saved(path: Path) -> None:
    one = sample()
    fo.save(path, **one)
    got = fo.load(path, epoch=None)
    assert list(got) == list(one)
    assert bits(got["params"]) == bits(one["params"])
    assert bits(got["opt"]) == bits(one["opt"].state_dict())
    with pytest.raises(ValueError, match="read-only"):
        got["params"]["scale"][...] = 0
    other = sample(1)
    other["opt"].load_state_dict(got["opt"])
    fo.save(path, **got)  # over the file that is mapped, states as plain dicts
    fo.load(path, opt=other["opt"], rng=other["rng"])
    assert bits(other["opt"]) == bits(one["opt"])
    assert bits(got["params"]) == bits(one["params"])


def test_mixed_trees(path: Path) -> None:
    Point = namedtuple("Point", "x n")
    tree = {
        "a": np.arange(3.0),
        "n": 3,
        "in": [np.ones(2), "text", (np.zeros(1), 5)],
        "p": Point(np.ones(1), 2),
    }
    fo.save(path, tree=OrderedDict(tree))
    mine = {"a": np.zeros(3), "n": 0, "in": [np.zeros(2), None, (np.ones(1), 5)], "p": Point(np.zeros(1), 2)}
    arrays = mine["a"], mine["in"][0]
    fo.load(path, tree=mine)
    assert bits(mine) == bits(tree)
    assert mine["a"] is arrays[0]
    assert mine["in"][0] is arrays[1]
    mine["p"] = Point(np.zeros(1), 7)
    with pytest.raises(
        CheckpointError, match="tree/p/1 is 2 in the file and 7 in a tuple here, which cannot change"
    ):
        fo.load(path, tree=mine)


def test_mismatches_are_listed_together_and_nothing_is_changed(path: Path) -> None:
    fo.save(path, **sample(0), extra={"a": np.ones(2), "b": np.ones(2)})
    mine = sample(1)
    mine["params"]["layers"][0]["w"] = np.zeros((4, 4))
    mine["params"]["scale"] = np.zeros((), np.float64)
    mine["params"]["layers"].append({"w": np.ones(1)})
    del mine["epoch"]
    mine["rng"] = np.random.Generator(np.random.Philox(1))
    mine["batches"] = [1, 2]
    mine["extra"] = {"a": np.zeros(2), "c": np.zeros(2)}
    mine["none"] = None
    mine["history"] = np.ones(2)
    before = bits(mine)
    with pytest.raises(CheckpointError) as caught:
        fo.load(path, **mine)
    assert bits(mine) == before
    for line in (
        "params/layers has 1 entries in the file, needed 2", "params/scale is float32[], needed float64[]",
        "rng is of PCG64, needed Philox", "batches is a list here and the state of an object in the file",
        "extra/c is missing in the file", "extra/b is in the file and not here", "none is missing",
        "history is an array here and a dict in the file",
    ):  # fmt: skip
        assert line in str(caught.value), line
    locked = np.zeros(2)
    locked.flags.writeable = False
    with pytest.raises(CheckpointError, match="extra/a is read-only"):
        fo.load(path, extra={"a": locked, "b": np.zeros(2)})
    with pytest.raises(CheckpointError, match="and 10 more"):
        fo.load(path, **{f"p{i}": 0 for i in range(30)})


class Fussy:
    """An object whose state can be refused, after a change or before."""

    def __init__(self, value: int, refuse: bool = False) -> None:
        self.value, self.refuse, self.array = value, refuse, np.full(3, float(value))

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value, "array": self.array}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value, self.array = state["value"], state["array"]
        if self.refuse and state["value"] != 7:
            raise KeyError("not today")


def test_an_object_that_refuses_has_the_others_put_back(path: Path) -> None:
    opts = {"opt": sample(0)["opt"], "other": sample(0)["opt"]}
    fo.save(
        path, a=Fussy(1), b=Fussy(2), c=Fussy(3), w=np.ones(4), rng=np.random.default_rng(3), h=[1], **opts
    )
    mine = {
        "a": Fussy(7), "b": Fussy(7, refuse=True), "c": Fussy(7), "w": np.zeros(4), "rng": np.random.default_rng(9), "h": [2],
        "opt": sample(1)["opt"], "other": sample(1)["opt"],
    }  # fmt: skip
    before = bits(mine)
    with pytest.raises(CheckpointError, match="b: 'not today'"):
        fo.load(path, **mine)
    assert bits(mine) == before
    mine["b"].refuse = False
    fo.load(path, **mine)
    assert [mine[k].value for k in "abc"] == [1, 2, 3]
    mine["a"].array[:] = 5  # its own, not the file's


def test_an_optimizer_of_another_rule_is_refused_and_nothing_is_changed(path: Path) -> None:
    fo.save(path, **sample(0))
    mine = sample(1)
    mine["opt"] = fo.SGD(mine["params"], lr=0.1)
    before = bits(mine)
    with pytest.raises(CheckpointError, match="opt: state is of rule 'adam'; this optimizer follows 'sgd'"):
        fo.load(path, **mine)
    assert bits(mine) == before


# ---- what cannot be saved ----


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (np.array(["a"]), "p has dtype <U1"),
        (np.array([None]), "p has dtype object"),
        ({"q": [np.zeros(2, np.longdouble)]}, "p/q/0 has dtype"),
        (np.zeros(2, "M8[s]"), "p has dtype datetime64"),
        (np.zeros(2, [("a", "f4")]), "p has dtype"),
        (np.ma.array([1.0], mask=[True]), "p is a masked array"),
        ({"f": open}, "p/f is builtin_function_or_method"),
        ({"s": {1, 2}}, "p/s is set"),
        ({1.5: 1}, "p has the key 1.5"),
        ({(1, 2): 1}, "p has the key"),
        ({True: 1}, "p has the key True"),
        (1j, "p is complex"),
        (np.float16, "p is type"),
        (np.datetime64("2020"), "p is a NumPy scalar of dtype datetime64"),
        ({"a/b": np.ones(1), "a": {"b": np.ones(1)}}, "two arrays have the path 'p/a/b'"),
        ({"a\0": np.ones(1)}, "cannot be the path of an array"),
        ("\ud800", "half a surrogate pair"),
        (fo.Adam, "p is type"),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(path: Path, part: Any, message: str) -> None:
    fo.save(path, epoch=1)
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError)) as caught:
        fo.save(path, good=np.ones(3), p=part)
    assert message in str(caught.value)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_cycles_and_bad_arguments(path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested deeper than 64"):
        fo.save(path, loop=loop)
    with pytest.raises(TypeError, match="there is no part"):
        fo.save(path)
    for keep in (0, -1, 1.5, True, "3"):
        with pytest.raises((TypeError, ValueError), match="keep is"):
            fo.save(path, keep=keep, a=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="background is"):
        fo.save(path, background="yes", a=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        fo.save(3.5, a=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="verify is"):
        fo.load(path, verify="no")  # type: ignore[arg-type]
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        fo.load(path)
    with pytest.raises(CheckpointError, match="no regular file"):
        fo.load(path.parent)


# ---- the format ----


def test_the_library_reads_it_and_writes_the_same_bytes(path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = {f"{dtype}é{i}": rng.normal(size=i).astype(dtype) for dtype in DTYPES[:12] for i in range(3)}
    fo.save(path, **parts, text='\x01\n"\\ é')
    read = safetensors.numpy.load_file(path)
    assert bits(read) == bits({name: parts[name] for name in read})
    assert set(read) == set(parts)
    with safetensors.safe_open(path, framework="numpy") as file:
        meta = file.metadata()
    assert safetensors.numpy.save(parts, metadata=meta) == path.read_bytes()


def test_the_same_parts_give_the_same_bytes(path: Path) -> None:
    fo.save(path, **sample())
    first = path.read_bytes()
    fo.save(path, **sample())
    assert path.read_bytes() == first
    fo.save(path, **sample(), background=True).wait()
    assert path.read_bytes() == first


def test_arrays_of_a_mapped_file_are_aligned(path: Path) -> None:
    fo.save(
        path,
        a=np.ones(3, np.int8),
        b=np.ones(3),
        c=np.ones(1, np.float32),
        d=np.ones(5, np.int64),
        e=np.ones(1, bool),
    )
    for array in fo.load(path).values():
        assert array.flags.aligned
        assert array.base is not None


def test_many_small_arrays_stay_within_the_bound_on_memory(path: Path) -> None:
    parts = {f"a{i}": np.array(float(i)) for i in range(3000)}
    fo.save(path, tree=parts)
    assert bits(fo.load(path)["tree"]) == bits(parts)
    assert safetensors.numpy.load_file(path)["tree/a17"] == 17.0


def test_several_chunks_and_pieces_across_them(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = sys.modules["fastopt.checkpoint.save"]
    monkeypatch.setattr(save, "CHUNK", 1000)
    monkeypatch.setattr(save, "SMALL", 64)
    rng = np.random.default_rng(0)
    parts = {
        f"a{n}": rng.integers(0, 255, n).astype(np.uint8)
        for n in (0, 1, 63, 64, 65, 936, 999, 1000, 1001, 2500)
    }
    fo.save(path, **parts)
    assert bits(fo.load(path)) == bits(parts)
    size = path.stat().st_size
    whole_file = bytearray(path.read_bytes())
    for back in (1, 1001, 2002, size - 8 - int.from_bytes(whole_file[:8], "little")):
        whole_file[size - back] ^= 16
        path.write_bytes(whole_file)
        with pytest.raises(CheckpointError, match="a checksum does not fit"):
            fo.load(path)
        fo.load(path, verify=False)
        whole_file[size - back] ^= 16


def test_describe(path: Path) -> None:
    fo.save(path, **sample())
    found = describe(path)
    assert found["version"] == 1
    assert found["fastopt"] == fo.__version__
    assert found["parts"] == ["params", "opt", "batches", "rng", "history", "epoch"]
    assert found["arrays"]["params/layers/0/w"] == ("float64", (4, 3))
    assert found["bytes"] == path.stat().st_size


def test_files_of_other_programs_are_read_without_verification_only(path: Path) -> None:
    safetensors.numpy.save_file(
        {"0/w": np.ones((2, 3)), "b": np.zeros(0, np.int8)}, path, {"made": "elsewhere"}
    )
    with pytest.raises(CheckpointError, match=r"without fastopt's checksums; load\(path, verify=False\)"):
        fo.load(path)
    with pytest.raises(CheckpointError, match="with no parts"):
        fo.load(path, verify=False, b=np.zeros(0, np.int8))
    got = fo.load(path, verify=False)
    assert bits(got) == bits({"0/w": np.ones((2, 3)), "b": np.zeros(0, np.int8)})
    assert describe(path)["metadata"] == {"made": "elsewhere"}
    assert describe(path)["version"] is None


def test_a_newer_version_is_told(path: Path) -> None:
    from fastopt.checkpoint import header

    fo.save(path, a=1)
    head = path.read_bytes().replace(b'\\"version\\":1', b'\\"version\\":9')
    place = 8 + len(header.START)
    path.write_bytes(head[:place] + header.header_crc(head) + head[place + 8 :])
    with pytest.raises(CheckpointError, match="version is 9; this fastopt reads up to 1"):
        fo.load(path)


def test_the_golden_file_of_version_1() -> None:
    """Written by the first release; every later one reads it."""
    path = DATA / "checkpoint_v1.safetensors"
    mine = sample(1)
    got = fo.load(path, **mine)
    assert got["epoch"] == 3
    assert bits({k: mine[k] for k in mine if k != "epoch"}) == bits(
        {k: v for k, v in sample(0).items() if k != "epoch"}
    )
    raw = fo.load(path)
    assert raw["forms"]["tuple"] == (1, 2.5)
    assert raw["forms"]["$key"] == b"bytes"
    assert raw["forms"][3] == 10**5000
    assert bits(raw["forms"]["scalar"]) == bits(np.float32(0.1))
    assert bits(raw["forms"]["complex"]) == bits(np.array([1 + 2j, -3j]))


def test_a_checkpoint_without_a_description_of_parts_is_no_checkpoint(path: Path) -> None:
    craft(path, {"__metadata__": {"fastopt": "{}"}})
    with pytest.raises(CheckpointError, match="its checksum is not where it was written"):
        fo.load(path)
