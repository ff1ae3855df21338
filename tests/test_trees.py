"""Trees of any nesting, shapes, strides, dtypes, groups and fields: one step is what one step on each leaf alone is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastopt as fo
from fastopt._trees import aligned_empty, flatten_tree, map_tree
from rows import ROWS, bits, make

shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)
axes = st.sampled_from(["plain", "transposed", "reversed", "strided", "odd"])


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """An array of zeros in any layout, alone in its memory."""
    shape, way = draw(shapes), draw(axes)
    dtype = np.dtype(draw(st.sampled_from(["f4", "f8"])))
    if way == "transposed":
        return np.zeros(shape[::-1], dtype).T
    if way == "reversed":
        return np.zeros(shape, dtype)[(..., *(slice(None, None, -1) for _ in shape))]
    if way == "strided":
        return np.zeros(tuple(3 * n for n in shape), dtype)[(..., *(slice(1, None, 3) for _ in shape))]
    if way == "odd":
        size = int(np.prod(shape))
        return np.zeros(size * dtype.itemsize + 1, np.uint8)[1:].view(dtype).reshape(shape)
    return np.zeros(shape, dtype)


trees = st.recursive(
    arrays(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("abcxyz", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "decoupled_weight_decay": st.booleans(),
        "maximize": st.booleans(),
        "clip_value": st.floats(0.01, 2),
        "grad_scale": st.floats(-2, 2),
        "nonfinite": st.sampled_from(["raise", "skip", "propagate"]),
        "zero_grads": st.booleans(),
        "diagnostics": st.booleans(),
        "average": st.sampled_from([fo.averaging.Mean(), fo.averaging.EMA(0.5)]),
        "flush_subnormals": st.booleans(),
    },
)


def _layout_like(a: np.ndarray, values: np.ndarray, way: int) -> np.ndarray:
    if way == 0:
        return values.copy()
    out = np.zeros(tuple(2 * n for n in a.shape), a.dtype)[(..., *(slice(None, None, 2) for _ in a.shape))]
    out[...] = values
    return out


@given(trees, st.sampled_from(ROWS), fields, st.integers(0, 2**32 - 1), st.booleans())
def test_a_tree_is_its_leaves(tree: Any, row: Any, options: dict[str, Any], seed: int, grouped: bool) -> None:
    rng = np.random.default_rng(seed)
    leaves, paths = flatten_tree(tree)
    for leaf in leaves:
        leaf[...] = rng.standard_normal(leaf.shape)
    alone = [leaf.copy(order="C") for leaf in leaves]
    groups = {paths[0]: {"lr": 0.5}} if grouped and paths and not set("[]*?") & set(paths[0]) else {}
    opt = make(row, tree, **options, groups=groups)
    singles = [
        make(row, a, **options, **({"lr": 0.5} if path in groups else {}))
        for a, path in zip(alone, paths, strict=True)
    ]
    for step in range(3):
        values = [rng.standard_normal(a.shape).astype(a.dtype) for a in alone]
        feed = iter(values)
        grads = map_tree(lambda leaf, feed=feed, step=step: _layout_like(leaf, next(feed), step % 2), tree)
        record = opt.step(grads)
        for single, g in zip(singles, values, strict=True):
            single.step(g)
        assert record.step == step + 1
        if options.get("zero_grads"):
            assert not any(g.any() for g in flatten_tree(grads)[0])
    assert [bits(np.ascontiguousarray(leaf).reshape(leaf.shape)) for leaf in leaves] == [
        bits(a) for a in alone
    ]
    state = opt.state_dict()
    for path, single in zip(paths, singles, strict=True):
        own = single.state_dict()
        assert bits(state["state"][path]) == bits(own["state"][""])
        if "average" in options:
            assert bits(state["average"][path]) == bits(own["average"][""])


class Pair(NamedTuple):
    w: np.ndarray
    b: np.ndarray


def test_named_tuples_and_mixed_sequences() -> None:
    params = {"x": Pair(np.ones(2), np.ones(3)), "y": [np.ones(1)]}
    opt = fo.SGD(params, lr=1.0)
    assert opt.paths == ["x/0", "x/1", "y/0"]
    opt.step(
        {"y": (np.ones(1),), "x": [np.ones(2), np.ones(3)]}
    )  # order of keys and kind of sequence do not matter
    assert not any(a.any() for a in flatten_tree(params)[0])


def test_no_parameters_at_all() -> None:
    for tree in ({}, [], (), {"a": []}):
        for row in ROWS:
            opt = make(row, tree, average=fo.averaging.Mean(), diagnostics=True)
            record = opt.step(tree)
            assert (record.step, record.grad_norm, record.diagnostics) == (1, 0.0, {})


def test_first_group_wins() -> None:
    params = {"l0": {"w": np.ones(1), "b": np.ones(1)}, "l1": {"w": np.ones(1), "b": np.ones(1)}}
    opt = fo.SGD(params, lr=1.0, groups={"l0/*": {"lr": 2.0}, "*/b": {"lr": 3.0}})
    opt.step(map_tree(np.ones_like, params))
    assert [a[0] for a in flatten_tree(params)[0]] == [-1.0, -1.0, 0.0, -2.0]


def test_flatten() -> None:
    tree = {"a": np.arange(6.0).reshape(2, 3).T, "b": [np.array(7.0), np.zeros(0)]}
    vector, views = fo.flatten(tree)
    assert vector.tolist() == [0, 3, 1, 4, 2, 5, 7]
    assert vector.ctypes.data % 64 == 0
    assert views["a"].shape == (3, 2)
    vector[:] = 1
    assert views["a"].all()
    assert views["b"][0] == 1
    opt = fo.SGD(views, lr=1.0)
    opt.step(map_tree(np.ones_like, views))
    assert not vector.any()
    with pytest.raises(TypeError, match=r"params\['b'\] is list|params\['b/0'\] is float"):
        fo.flatten({"a": np.ones(1), "b": [1.0]})
    with pytest.raises(TypeError, match="one vector needs one dtype"):
        fo.flatten([np.ones(1), np.ones(1, np.float32)])
    with pytest.raises(ValueError, match="power of two"):
        aligned_empty(3, np.float32, align=24)
