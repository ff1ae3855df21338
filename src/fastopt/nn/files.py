"""Models in files: safetensors, with the architecture as JSON in the header. Reading runs no code."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as to_bytes

from fastopt._trees import flatten_tree
from fastopt.checkpoint.atomic import replacing, write_all
from fastopt.nn.layers import chain_buffers, chain_shapes, layer_from, named_shapes
from fastopt.nn.losses import loss_from
from fastopt.nn.model import Sequential

__all__ = ["load", "save"]

FORMAT, VERSION = "fastopt.nn", "1"


def save(path: str | os.PathLike[str], model: Sequential, meta: dict[str, Any] | None = None) -> None:
    """Write a model to a file, whole or not at all.

    Parameters
    ----------
    path : path-like
        A file there is replaced, once the new one is safely on disk.
    model : Sequential
    meta : dict, optional
        What JSON can hold: names of columns, means, scores. Default: ``model.meta``.

    Raises
    ------
    TypeError
        ``meta`` is no dict, or holds something that JSON cannot; nothing is written.

    Notes
    -----
    Arrays are stored under their paths (``0/w``, ``1/mean``), little-endian. The header also holds the state of the
    dropout generators, so that training goes on as if it had not stopped, and a checksum of all that.
    """
    if not isinstance(model, Sequential):
        raise TypeError(f"model is {type(model).__name__}; a fastopt.nn.Sequential is needed")
    meta = model.meta if meta is None else meta
    if not isinstance(meta, dict):
        raise TypeError(f"meta is {type(meta).__name__}; a dict is needed")
    state = model.state_dict()
    described = {
        "layers": [layer.config() for layer in model.layers],
        "loss": model.loss_function.config(),
        "dtype": str(model.dtype),
        "dropout": state["dropout"],
        "meta": meta,
        **({"batches_seen": state["batches_seen"]} if "batches_seen" in state else {}),
    }
    try:
        text = json.dumps(described)
    except (TypeError, ValueError) as error:
        raise TypeError(f"meta holds what JSON cannot: {error}") from None
    leaves, paths = flatten_tree(state["params"])
    kept, names = flatten_tree(state.get("buffers", {}))
    leaves, paths = leaves + kept, paths + names
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in zip(paths, leaves, strict=True)}
    crc = _checksum(text, list(arrays.values()))
    header = {"format": FORMAT, "version": VERSION, "model": text, "crc32": crc}
    data = to_bytes(arrays, metadata=header)
    with replacing(path) as file:
        write_all(file, data)


def load(path: str | os.PathLike[str]) -> Sequential:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    Sequential
        Ready to predict and to train on; ``.meta`` is what was saved with it.

    Raises
    ------
    OSError
        There is no such file, or it cannot be read.
    ValueError
        The file is no model of fastopt.nn, or is damaged. No more memory is taken than the file is long.
    """
    path = os.fspath(path)
    Path(path).open("rb").close()  # what the system has to say about it, in its own words
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise ValueError("it is no model of fastopt.nn")
            if header.get("version") != VERSION:
                raise ValueError(f"its version is {header.get('version')!r:.80}; {VERSION} is needed")
            return _model_from(header, file)
    except (SafetensorError, ValueError, LookupError, RecursionError, ArithmeticError, OSError) as error:
        reason = error if str(error) else type(error).__name__
        raise ValueError(f"cannot load a model from {path}: {reason}") from None


def _model_from(header: dict[str, str], file: Any) -> Sequential:
    described = json.loads(header["model"])
    wanted = {"layers", "loss", "dtype", "dropout", "meta"}
    if not isinstance(described, dict) or set(described) - {"batches_seen"} != wanted:
        raise ValueError("its description of the model is not whole")
    if not isinstance(described["layers"], list) or not isinstance(described["meta"], dict):
        raise ValueError("its description of the model is not whole")
    seen = described.get("batches_seen", 0)
    if isinstance(seen, bool) or not isinstance(seen, int) or seen < 0:
        raise ValueError(f"its batches_seen is {seen!r:.80}; a count is needed")
    layers = tuple(layer_from(config) for config in described["layers"])
    loss = loss_from(described["loss"])
    if described["dtype"] not in ("float32", "float64"):
        raise ValueError(f"its dtype is {described['dtype']!r:.80}; float32 or float64 is needed")
    dtype = np.dtype(described["dtype"])

    # The arrays must be those of the layers before anything of their size is allocated.
    shapes = dict(named_shapes(chain_shapes(layers)))
    params = len(shapes)
    shapes |= dict(named_shapes(chain_buffers(layers)))
    if sorted(file.keys()) != sorted(shapes):
        raise ValueError("its arrays are not those of its layers")
    own = {"float32": "F32", "float64": "F64"}[dtype.name]
    for name, shape in shapes.items():
        part = file.get_slice(name)
        stored = "F64" if name.endswith("/count") else own
        if tuple(part.get_shape()) != shape or part.get_dtype() != stored:
            raise ValueError(f"its array {name} has not the shape and dtype of its layer")
    arrays = [file.get_tensor(name) for name in shapes]
    if header.get("crc32") != _checksum(header["model"], arrays):
        raise ValueError("its checksum does not fit; it is damaged")
    model = Sequential.__new__(Sequential)
    vector = np.concatenate([array.ravel() for array in arrays[:params]])
    found = described | {
        "layers": layers,
        "loss": loss,
        "dtype": dtype,
        "vector": vector,
        "buffers": arrays[params:],
    }
    model.__setstate__(found)
    return model


def _checksum(text: str, arrays: list[np.ndarray]) -> str:
    """CRC-32 of the description and of the arrays in order, little-endian."""
    crc = zlib.crc32(text.encode())
    for array in arrays:
        crc = zlib.crc32(array.astype(array.dtype.newbyteorder("<"), copy=False).data, crc)
    return str(crc)
