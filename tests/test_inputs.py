"""Bad input: one named error before the first write, bits as they were after it; and odd input that must work."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from rows import DTYPES, IDS, ROWS, Row, bits, make, misplaced, whole

every_row = pytest.mark.parametrize("row", ROWS, ids=IDS)
DTYPE = np.float32


class ArrayLike:
    """What a JAX array or a torch tensor is to NumPy: not an ndarray, but __array__ gives one."""

    def __init__(self, a: Any) -> None:
        self.a = a

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.asarray(self.a, dtype)


def tree() -> dict[str, Any]:
    return {"w": np.linspace(-1, 1, 12, dtype=DTYPE).reshape(3, 4), "b": [np.ones(5, DTYPE)]}


# ---- gradients ----

Grads = Callable[[dict[str, Any], fo.Optimizer], Any]


def _w(x: Any) -> Grads:
    """The good gradients, with another array for w."""

    def build(params: dict[str, Any], opt: fo.Optimizer) -> Any:
        return {"w": x(params, opt) if callable(x) else x, "b": [np.ones(5, DTYPE)]}

    return build


def _foreign(a: np.ndarray) -> np.ndarray:
    return a.astype(a.dtype.newbyteorder())


SHAPE = (3, 4)
BAD_GRADIENTS: dict[str, tuple[Grads, type[Exception], str]] = {
    "missing path": (lambda p, o: {"b": [np.ones(5, DTYPE)]}, ValueError, "grads has no 'w'"),
    "extra path": (lambda p, o: {**tree(), "c": np.ones(1, DTYPE)}, ValueError, "grads has 'c'"),
    "extra element": (
        lambda p, o: {"w": p["w"] * 1, "b": [np.ones(5, DTYPE)] * 2},
        ValueError,
        "grads has 'b/1'",
    ),
    "leaf for a list": (lambda p, o: {"w": p["w"] * 1, "b": np.ones(5, DTYPE)}, ValueError, "'b/0'"),
    "list for a leaf": (_w([np.ones(SHAPE, DTYPE)]), TypeError, r"grads\['w'\] is list"),
    "bare array": (lambda p, o: np.ones(SHAPE, DTYPE), ValueError, "grads has no"),
    "dict for a list": (
        lambda p, o: {"w": p["w"] * 1, "b": {"0": np.ones(5, DTYPE)}},
        ValueError,
        "shape of tree",
    ),
    "nothing": (lambda p, o: None, ValueError, "grads has no"),
    "None in place of an array": (_w(None), TypeError, r"grads\['w'\] is NoneType"),
    "a number": (_w(1.0), TypeError, r"grads\['w'\] is float"),
    "text": (_w("text"), TypeError, r"grads\['w'\] is str"),
    "transposed": (_w(np.ones(SHAPE, DTYPE).T), ValueError, r"grads\['w'\] has shape \(4, 3\); \(3, 4\)"),
    "one element to broadcast": (_w(np.ones(1, DTYPE)), ValueError, r"has shape \(1,\)"),
    "0-d": (_w(np.array(1, DTYPE)), ValueError, r"has shape \(\)"),
    "flat": (_w(np.ones(12, DTYPE)), ValueError, r"has shape \(12,\)"),
    "one axis more": (_w(np.ones((1, 3, 4), DTYPE)), ValueError, r"has shape \(1, 3, 4\)"),
    "too long": (_w(np.ones((4, 4), DTYPE)), ValueError, r"has shape \(4, 4\)"),
    "empty": (_w(np.ones((0, 4), DTYPE)), ValueError, r"has shape \(0, 4\)"),
    "float64": (_w(np.ones(SHAPE)), TypeError, r"grads\['w'\] has dtype float64; float32"),
    "float16": (_w(np.ones(SHAPE, np.float16)), TypeError, "has dtype float16"),
    "long double": (_w(np.ones(SHAPE, np.longdouble)), TypeError, "has dtype"),
    "integers": (_w(np.ones(SHAPE, np.int32)), TypeError, "has dtype int32"),
    "booleans": (_w(np.ones(SHAPE, bool)), TypeError, "has dtype bool"),
    "complex": (_w(np.ones(SHAPE, np.complex64)), TypeError, "has dtype complex64"),
    "objects": (_w(np.ones(SHAPE, object)), TypeError, "has dtype object"),
    "foreign byte order": (_w(_foreign(np.ones(SHAPE, DTYPE))), TypeError, "foreign byte order"),
    "masked": (_w(np.ma.masked_array(np.ones(SHAPE, DTYPE), np.eye(3, 4))), TypeError, "masked"),
    "array-like of another dtype": (_w(ArrayLike(np.ones(SHAPE))), TypeError, "has dtype float64"),
    "array-like of another shape": (_w(ArrayLike(np.ones(3, DTYPE))), ValueError, "has shape"),
    "the parameter": (_w(lambda p, o: p["w"]), ValueError, r"grads\['w'\] shares memory with params\['w'\]"),
    "the parameter, by an array-like": (_w(lambda p, o: ArrayLike(p["w"])), ValueError, "shares memory"),
    "the parameter reversed": (
        _w(lambda p, o: p["w"][::-1, ::-1]),
        ValueError,
        r"shares memory with params\['w'\]",
    ),
    "another parameter": (
        lambda p, o: {"w": p["w"] * 1, "b": [p["w"].reshape(-1)[:5]]},
        ValueError,
        r"grads\['b/0'\] shares memory with params\['w'\]",
    ),
    "broadcast from a parameter": (
        _w(lambda p, o: np.broadcast_to(p["w"][:1], SHAPE)),
        ValueError,
        "shares memory",
    ),
    "the average": (
        _w(lambda p, o: o.state_dict(copy=False)["average"]["w"]),
        ValueError,
        "the optimizer's own state",
    ),
    "NaN": (_w(np.full(SHAPE, np.nan, DTYPE)), FloatingPointError, r"grads\['w'\] has 12 of 12"),
    "Inf": (
        _w(np.where(np.eye(3, 4), np.inf, 1).astype(DTYPE)),
        FloatingPointError,
        r"grads\['w'\] has 3 of 12",
    ),
}


@every_row
@pytest.mark.parametrize("name", BAD_GRADIENTS)
def test_bad_gradient(row: Row, name: str) -> None:
    build, error, message = BAD_GRADIENTS[name]
    params = tree()
    opt = make(row, params, average=fo.averaging.EMA(0.9))
    good = {"w": np.full(SHAPE, 0.5, DTYPE), "b": [np.ones(5, DTYPE)]}
    opt.step(good)
    grads = build(params, opt)
    before, arrays = whole(opt), bits(grads) if isinstance(grads, dict) else None
    for _ in range(2):  # the second time must not be taken for what was seen
        with pytest.raises(error, match=message):
            opt.step(grads)
        assert whole(opt) == before
        if arrays is not None:
            assert repr(bits(grads)) == repr(arrays)
    opt.step(good)
    assert opt.steps == 2


@every_row
def test_gradient_in_a_state(row: Row) -> None:
    params = tree()
    opt = make(row, params)
    for state in opt.state_dict(copy=False)["state"]["w"].values():
        before = whole(opt)
        with pytest.raises(ValueError, match="the optimizer's own state"):
            opt.step({"w": state, "b": [np.ones(5, DTYPE)]})
        assert whole(opt) == before


@every_row
def test_read_only_gradients_are_read(row: Row) -> None:
    params = tree()
    opt = make(row, params)
    grads = {"w": np.ones(SHAPE, DTYPE), "b": [np.broadcast_to(np.array(2, DTYPE), 5)]}
    grads["w"].flags.writeable = False
    opt.step(grads)
    before = whole(opt)
    twin = make(row, tree())
    twin.step({"w": np.ones(SHAPE, DTYPE), "b": [np.full(5, 2, DTYPE)]})
    assert before == whole(twin)


@every_row
def test_zero_grads_needs_arrays_it_may_zero(row: Row) -> None:
    params = tree()
    opt = make(row, params, zero_grads=True)
    good = {"w": np.ones(SHAPE, DTYPE), "b": [np.ones(5, DTYPE)]}
    opt.step(good)
    shared = np.ones(17, DTYPE)
    good["w"][...] = 1
    frozen = good["w"].view()
    frozen.flags.writeable = False
    before = whole(opt)
    for grads, message in (
        ({**good, "w": frozen}, "read-only"),
        ({**good, "w": np.broadcast_to(np.ones(4, DTYPE), SHAPE)}, "read-only|two indices"),
        ({**good, "w": np.lib.stride_tricks.as_strided(np.ones(4, DTYPE), SHAPE, (0, 4))}, "two indices"),
        (
            {"w": shared[:12].reshape(SHAPE), "b": [shared[10:15]]},
            r"grads\['w'\] and grads\['b/0'\] share memory",
        ),
    ):
        for _ in range(2):
            with pytest.raises(ValueError, match=message):
                opt.step(grads)
            assert whole(opt) == before
    with pytest.raises(TypeError, match="zero_grads cannot zero it"):
        opt.step({**good, "w": ArrayLike(np.ones(SHAPE, DTYPE))})
    assert whole(opt) == before
    assert (shared == 1).all()
    assert (good["w"] == 1).all()


# ---- parameters at construction ----


def _twice() -> Any:
    a = np.ones(4)
    return {"a": a, "b": a}


def _overlapping() -> Any:
    a = np.ones(10)
    return {"a": a[:6], "b": a[5:]}


def _frozen() -> np.ndarray:
    a = np.ones(4)
    a.flags.writeable = False
    return a


BAD_PARAMS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "integers": (lambda: np.ones(3, int), TypeError, "params has dtype int64; float32 or float64"),
    "float16": (lambda: np.ones(3, np.float16), TypeError, "float16"),
    "objects": (lambda: np.ones(3, object), TypeError, "object"),
    "booleans": (lambda: np.ones(3, bool), TypeError, "bool"),
    "complex": (lambda: np.ones(3, complex), TypeError, "complex128"),
    "text": (lambda: np.array(["a"]), TypeError, "<U1"),
    "records": (lambda: np.zeros(3, "f4,f4"), TypeError, "float32 or float64"),
    "foreign byte order": (lambda: _foreign(np.ones(3)), TypeError, "foreign byte order"),
    "read-only": (_frozen, ValueError, "params is read-only"),
    "broadcast": (lambda: np.broadcast_to(np.ones(1), 3), ValueError, "read-only"),
    "one element by many indices": (
        lambda: np.lib.stride_tricks.as_strided(np.ones(4), (3, 2), (8, 8)),
        ValueError,
        "the same element by two indices",
    ),
    "masked": (lambda: np.ma.ones(3), TypeError, "masked"),
    "a list of numbers": (lambda: [1.0, 2.0], TypeError, r"params\['0'\] is float"),
    "None": (lambda: {"w": None}, TypeError, r"params\['w'\] is NoneType"),
    "array-like": (lambda: ArrayLike(np.ones(3)), TypeError, "params is ArrayLike"),
    "given twice": (_twice, ValueError, r"params\['a'\] and params\['b'\] are the same array"),
    "overlapping": (_overlapping, ValueError, r"params\['a'\] and params\['b'\] share memory"),
    "two paths alike": (lambda: {"a/b": np.ones(1), "a": {"b": np.ones(1)}}, ValueError, "path 'a/b'"),
}


@pytest.mark.parametrize("name", BAD_PARAMS)
@every_row
def test_bad_params(row: Row, name: str) -> None:
    build, error, message = BAD_PARAMS[name]
    with pytest.raises(error, match=message):
        make(row, build())


# ---- numbers at construction ----

WRONG = [math.nan, -0.5, "0.1", None, True, 1j, [0.1], np.array([0.1, 0.2])]
BAD_SCALARS = [
    *(("SGD", "lr", x) for x in [math.inf, *WRONG]),
    *(("SGD", "momentum", x) for x in [1.5, *WRONG]),
    *(("SGD", "dampening", x) for x in (math.nan, math.inf, "x")),
    *(
        ("Adagrad", name, x)
        for name in ("lr_decay", "initial_accumulator_value", "eps")
        for x in (-1, math.nan, math.inf, "x")
    ),
    *(("RMSprop", "alpha", x) for x in (-0.1, 1.1, math.nan)),
    *(("Adadelta", "rho", x) for x in (-0.1, 1.1, math.nan)),
    *(
        ("Adam", "betas", x)
        for x in (
            (1.0, 0.9),
            (0.9, 1.0),
            (-0.1, 0.9),
            (0.9, math.nan),
            0.9,
            (0.9,),
            (0.9, 0.9, 0.9),
            "ab",
            (None, 0.9),
        )
    ),
    *(("NAdam", "momentum_decay", x) for x in (-1, math.nan)),
    *(("Rprop", "etas", x) for x in ((0.0, 1.2), (1.0, 1.2), (0.5, 1.0), (0.5, math.inf))),
    *(("Rprop", "step_sizes", x) for x in ((0.0, 1.0), (1e-6, math.inf), (1e-6, 0.0))),
    *(
        ("AdamW", name, x)
        for name in ("weight_decay", "clip_norm", "clip_value")
        for x in (-1.0, math.nan, math.inf, "x", True)
    ),
    *(("AdamW", name, 0.0) for name in ("clip_norm", "clip_value")),
    *(("AdamW", "clip_eps", x) for x in (-1.0, math.nan, "x")),
    *(("AdamW", "grad_scale", x) for x in (math.nan, math.inf, "x")),
    *(
        ("Adam", name, x)
        for name in ("maximize", "zero_grads", "diagnostics", "amsgrad", "eps_hat")
        for x in (1, "yes", 0.0)
    ),
    *(("Adam", "nonfinite", x) for x in ("ignore", 1)),
    *(("Adam", "convention", x) for x in ("pytorch", "")),
    *(("Adam", "average", x) for x in (0.9, "ema", fo.averaging.EMA)),
    *(
        ("Adam", "groups", x)
        for x in (
            [],
            {"nothing": {}},
            {"*": 1.0},
            {"*": {"lr": -1.0}},
            {"*": {"amsgrad": True}},
            {"*": {"x": 1}},
            {3: {}},
        )
    ),
    ("Adam", "momentum", 0.9),
    ("AdamW", "convention", "book"),
    ("Rprop", "convention", "optax"),
    ("SGD", "convention", "optax"),
    ("SGD", "nesterov", True),
]


@pytest.mark.parametrize(("cls", "field", "value"), BAD_SCALARS, ids=str)
def test_bad_number(cls: str, field: str, value: Any) -> None:
    if value is None:
        pytest.skip("None asks for the default")
    p = np.ones(3)
    fields = {field: value}
    with pytest.raises((ValueError, TypeError)) as caught:
        getattr(fo, cls)(p, **fields)
    named = {"optax": "lr"}.get(value, field) if isinstance(value, str) and cls == "SGD" else field
    assert named in str(caught.value)
    assert (p == 1).all()


def test_a_step_size_range_must_be_one() -> None:
    with pytest.raises(ValueError, match="step_sizes"):
        fo.Rprop(np.ones(3), step_sizes=(1.0, 0.1))


# ---- parameters that change under the optimizer ----


@every_row
def test_params_that_changed(row: Row) -> None:
    def replaced(p: dict[str, Any]) -> None:
        p["w"] = p["w"].copy()

    def viewed(p: dict[str, Any]) -> None:
        p["w"] = p["w"][:]

    def grown(p: dict[str, Any]) -> None:
        p["c"] = np.ones(1, DTYPE)

    def removed(p: dict[str, Any]) -> None:
        del p["w"]

    def resized(p: dict[str, Any]) -> None:
        p["b"][0].resize(100_000, refcheck=False)

    def reshaped(p: dict[str, Any]) -> None:
        p["w"].shape = (4, 3)

    def more_axes(p: dict[str, Any]) -> None:
        p["b"][0].shape = (1, 1, 5, 1, 1, 1, 1)

    def retyped(p: dict[str, Any]) -> None:
        p["w"].dtype = np.int32

    def frozen(p: dict[str, Any]) -> None:
        p["w"].flags.writeable = False

    good = {"w": np.ones(SHAPE, DTYPE), "b": [np.ones(5, DTYPE)]}
    for change in (replaced, viewed, grown, removed, resized, reshaped, more_axes, retyped, frozen):
        params = {"w": np.ones(SHAPE, DTYPE), "b": [np.ones(5, DTYPE)]}
        opt = make(row, params)
        opt.step(good)
        with _quiet():
            change(params)
        before = bits(params), opt.steps
        with pytest.raises(ValueError, match="params"):
            opt.step(good)
        assert (bits(params), opt.steps) == before, change.__name__


class _quiet:
    """NumPy warns that setting shape or dtype in place goes away; until then it must be caught."""

    def __enter__(self) -> None:
        self.context = warnings.catch_warnings()
        self.context.__enter__()
        warnings.simplefilter("ignore", DeprecationWarning)

    def __exit__(self, *reason: Any) -> None:
        self.context.__exit__(*reason)


def test_a_zero_dimensional_parameter_given_axes() -> None:
    params = [np.array(1.0), np.ones((1, 1, 1))]
    opt = fo.SGD(params, lr=0.1)
    with _quiet():
        params[0].shape = (1, 1, 1)
    with pytest.raises(ValueError, match=r"params\['0'\] was resized"):
        opt.step([np.array(1.0), np.ones((1, 1, 1))])
    assert params[0].ravel()[0] == 1.0


# ---- gradients that come and go ----


@every_row
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_freed_and_made_anew(row: Row, dtype: str) -> None:
    """Arrays at the addresses of dead ones, of other layouts and dtypes, are looked at anew."""
    rng = np.random.default_rng(0)
    p, q = np.ones((40, 30), dtype), np.ones((40, 30), dtype)
    opt, twin = make(row, p), make(row, q)
    kept = []
    for t in range(60):
        values = rng.standard_normal((40, 30)).astype(dtype)
        g: Any = [
            values.copy(),
            np.asfortranarray(values),
            values.copy()[::-1][::-1],
            ArrayLike(values.copy()),
        ][t % 4]
        opt.step(g)
        del g
        if t % 5 == 0:
            other = np.ones((40, 30), np.float64 if dtype == "float32" else np.float32)
            with pytest.raises(TypeError):
                opt.step(other)
        kept.append(values)
        twin.step(values)
    assert p.tobytes() == q.tobytes()


def test_an_array_like_that_empties_the_tree() -> None:
    """While __array__ runs, the other gradients are dropped by their owner; the step holds on to them."""
    grads: dict[str, Any] = {}

    class Hostile:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            grads["b"] = None
            gc.collect()
            self.filler = [np.full(5000, 7.0) for _ in range(50)]
            return np.ones(2)

    params = {"a": np.zeros(2), "b": np.zeros(5000)}
    opt = fo.SGD(params, lr=1.0)
    grads.update(a=Hostile(), b=np.full(5000, 3.0))
    opt.step(grads)
    assert (params["b"] == -3).all()


def test_exceptions_of_an_array_like_come_out() -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            raise KeyError("mine")

    p = np.ones(2)
    opt = fo.SGD(p, lr=1.0)
    with pytest.raises(KeyError, match="mine"):
        opt.step(Broken())
    opt.step(np.ones(2))
    assert p.tolist() == [0, 0]


@every_row
def test_array_likes_and_subclasses(row: Row) -> None:
    params, twin_params = tree(), tree()
    opt, twin = make(row, params), make(row, twin_params)
    g = {"w": np.full(SHAPE, 0.5, DTYPE), "b": [np.ones(5, DTYPE)]}
    for t in range(4):
        g["w"][...] = t - 1.5
        opt.step({"w": ArrayLike(g["w"]), "b": (np.asarray(g["b"][0]).view(np.recarray),)})
        twin.step(g)
    assert whole(opt) == whole(twin)


@pytest.mark.parametrize("module", ["torch", "jax"])
def test_arrays_of_other_libraries(module: str) -> None:
    lib = pytest.importorskip(module)
    values = np.array([1.0, -2.0], np.float32)
    g = lib.tensor(values) if module == "torch" else lib.numpy.asarray(values)
    p = np.zeros(2, np.float32)
    opt = fo.SGD(p, lr=1.0)
    opt.step(g)
    opt.step(g)
    assert p.tolist() == [-2.0, 4.0]


# ---- neighbours in memory that do not overlap ----


@every_row
def test_interleaved_views_are_not_an_overlap(row: Row) -> None:
    """Even elements are the parameter, odd ones the gradient and a second parameter."""
    base = np.zeros(30, DTYPE)
    params = {"a": base[::3], "b": base[1::3]}
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2, 10)).astype(DTYPE)
    params["a"][...], params["b"][...] = values
    base[2::3] = rng.standard_normal(10)
    alone = {"a": values[0].copy(), "b": values[1].copy()}
    opt, twin = make(row, params), make(row, alone)
    g = base[2::3].copy()
    for _ in range(3):
        opt.step({"a": base[2::3], "b": base[2::3]})
        twin.step({"a": g, "b": g})
    assert bits(params) == bits(alone)
    assert base[2::3].tobytes() == g.tobytes()


def test_touching_neighbours_are_not_an_overlap() -> None:
    base = misplaced(np.zeros(64), 4)
    params = [base[:10], base[20:30]]
    opt = fo.SGD(params, lr=1.0)
    opt.step([base[10:20], base[30:40]])
    for bad in (base[9:19], base[11:21], base[29:39]):
        with pytest.raises(ValueError, match="shares memory"):
            opt.step([bad, base[40:50]])


@pytest.mark.parametrize("order", [1, -1])
def test_many_tensors_find_their_overlap(order: int) -> None:
    base = np.zeros(2000)
    params = [base[i * 20 : i * 20 + 10] for i in range(100)][::order]
    opt = fo.SGD(params, lr=1.0)
    grads = [np.zeros(10) for _ in params]
    for i in (0, 37, 99):
        wrong = list(grads)
        wrong[50] = base[i * 20 + 9 : i * 20 + 19]
        with pytest.raises(ValueError, match=r"grads\['50'\] shares memory"):
            opt.step(wrong)
    opt.step([base[i * 20 + 10 : i * 20 + 20] for i in range(100)])
