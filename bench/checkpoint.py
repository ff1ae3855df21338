"""Saving and loading a state of a gigabyte, against the disk itself and against other formats.

Run by hand: ``python -m bench.checkpoint [--gigabytes 1] [--folder .] [--rounds 5] [--out FILE.json]``. The folder must
be on the disk that is meant; tmpfs measures memory. All contestants take turns; a row is the median.

The floor of saving is the disk's own rate: one buffer that is there already, written in order and fsynced, plain and
with the advice that starts the disk at once (the better of the two counts). The floor of loading: the same file read in
order into memory that is there already, after its pages were dropped from the cache. What a rival writes is fsynced
too, as a checkpoint must be.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import safetensors.numpy

import fastopt as fo
from fastopt.checkpoint.save import start_writeback

PIECE = 1 << 24
TARGET = 0.8


def state(size: int) -> tuple[dict[str, np.ndarray], fo.Adam]:
    """Parameters of a third of the size, and Adam's two moments."""
    rng = np.random.default_rng(0)
    each = size // 12 // 8
    params = {f"layers/{i}": rng.standard_normal(each, np.float32) for i in range(8)}
    opt = fo.Adam(params)
    opt.step({name: array + 1 for name, array in params.items()})
    return params, opt


def named(params: dict[str, np.ndarray], opt: fo.Adam) -> dict[str, np.ndarray]:
    """The same arrays as one table, for formats that know nothing else."""
    moments = opt.state_dict(copy=False)["state"]
    return {**params, **{f"{path}/{name}": a for path, row in moments.items() for name, a in row.items()}}


def synced(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def dropped(path: Path) -> None:
    """Take a file out of the page cache."""
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def disk_write(path: Path, data: memoryview, advise: bool) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    for start in range(0, len(data), PIECE):
        os.write(handle, data[start : start + PIECE])
        if advise:
            start_writeback(handle)
    os.fsync(handle)
    os.close(handle)


def disk_read(path: Path, into: memoryview) -> None:
    handle = os.open(path, os.O_RDONLY)
    for start in range(0, len(into), PIECE):
        os.preadv(handle, [into[start : start + PIECE]], start)
    os.close(handle)


def contestants(
    folder: Path, size: int
) -> tuple[dict[str, Callable[[], None]], dict[str, Callable[[], None]], int]:
    """What writes (by name), what reads what that wrote, and the bytes of the state."""
    params, opt = state(size)
    table = named(params, opt)
    total = sum(a.nbytes for a in table.values())
    raw = memoryview(np.concatenate([a.ravel() for a in table.values()]).view(np.uint8))
    into = memoryview(np.ones(total, np.uint8))

    def path(name: str) -> Path:
        return folder / name.replace(" ", "-")

    def store(name: str, write: Callable[[Path], Any]) -> None:
        write(path(name))
        synced(path(name))

    def fill(loaded: Any) -> None:
        for name, array in table.items():
            np.copyto(array, loaded[name])

    writes: dict[str, Callable[[], None]] = {
        "disk": lambda: disk_write(path("disk"), raw, False),
        "disk, advised": lambda: disk_write(path("disk, advised"), raw, True),
        "fo.save": lambda: fo.save(path("fo.save"), params=params, opt=opt),
        "safetensors": lambda: store("safetensors", lambda p: safetensors.numpy.save_file(table, p)),
        "np.savez": lambda: store(
            "np.savez.npz", lambda p: np.savez(p, **{k.replace("/", "."): v for k, v in table.items()})
        ),
    }
    reads: dict[str, Callable[[], None]] = {
        "disk": lambda: disk_read(path("disk"), into),
        "fo.save": lambda: fo.load(path("fo.save"), params=params, opt=opt) and None,
        "safetensors": lambda: fill(safetensors.numpy.load_file(path("safetensors"))),
        "np.savez": lambda: fill({k.replace(".", "/"): v for k, v in np.load(path("np.savez.npz")).items()}),
    }
    try:
        import torch
    except ImportError:
        pass
    else:
        tensors = {name: torch.from_numpy(array) for name, array in table.items()}

        def refill() -> None:
            for name, tensor in torch.load(path("torch.save"), mmap=True).items():
                tensors[name].copy_(tensor)

        writes["torch.save"] = lambda: store("torch.save", lambda p: torch.save(tensors, p))
        reads["torch.save"] = refill
    return writes, reads, total


def clear(folder: Path, name: str) -> Path:
    """Every contestant writes a file that is new."""
    place = folder / {"np.savez": "np.savez.npz"}.get(name, name.replace(" ", "-"))
    place.unlink(missing_ok=True)
    return place


def run(folder: Path, size: int, rounds: int) -> dict[str, Any]:
    writes, reads, total = contestants(folder, size)
    seconds: dict[str, dict[str, list[float]]] = {
        "save": {n: [] for n in writes},
        "load": {n: [] for n in reads},
    }
    for turn in range(rounds + 1):  # the first is not counted
        names = list(writes)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            place = clear(folder, name)
            begin = perf_counter()
            writes[name]()
            seconds["save"][name].append(perf_counter() - begin)
            if name in reads:
                dropped(place)
                begin = perf_counter()
                reads[name]()
                seconds["load"][name].append(perf_counter() - begin)
            dropped(place)
    rates = {
        what: {n: total / statistics.median(times[1:]) / 1e9 for n, times in rows.items()}
        for what, rows in seconds.items()
    }
    floor = {
        "save": max(rates["save"]["disk"], rates["save"]["disk, advised"]),
        "load": rates["load"]["disk"],
    }
    return {
        "bytes": total,
        "gigabytes a second": rates,
        "ratio to the disk": {
            what: {n: r / floor[what] for n, r in rows.items()} for what, rows in rates.items()
        },
        "ratio to plain writes": {n: r / rates["save"]["disk"] for n, r in rates["save"].items()},
        "load average": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = run(Path(folder), int(args.gigabytes * 1e9), args.rounds)
    for what in ("load", "save"):
        for name, ratio in sorted(found["ratio to the disk"][what].items(), key=lambda item: item[1]):
            met = (
                "" if name != "fo.save" else ("  met" if ratio >= TARGET else f"  missed: {TARGET} is wanted")
            )
            print(
                f"{what}  {name:14s} {found['gigabytes a second'][what][name]:6.2f} GB/s  {ratio:5.2f} of the disk{met}"
            )
    plain, load = found["ratio to plain writes"]["fo.save"], found["load average"]
    print(f"fo.save is {plain:.2f} of plain writes; load average {load:.1f}")
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
