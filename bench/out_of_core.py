"""Training through a set larger than the memory allowed: ``python -m bench.out_of_core [--gb 8] [--limit 1.5]``.

Writes a set of float32 rows with ten classes to a folder that is removed afterwards, and lets child processes
with a limited address space (``RLIMIT_AS``) go through it: reading in order, batches in blocks alone, and a
softmax regression with Adam. Before each the file's pages are dropped, so that every byte comes from the disk.
The child also tries to map the file, to show that the limit holds. Prints seconds, peak memory and the ratio
to reading in order.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastopt as fo

CLASSES = 10
BLOCK_BYTES = 1 << 20
BUFFER = 32
PIECE = 1 << 20
FREE = 20 * 10**9  # what must stay free on the disk


def write_set(folder: Path, nbytes: float, columns: int) -> int:
    """x.npy and y.npy: rows around the centre of their class. Returns the number of rows."""
    rows = int(nbytes) // (4 * columns)
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, columns), np.float32) / np.float32(columns**0.5)
    labels = rng.integers(0, CLASSES, rows)
    np.save(folder / "y.npy", labels)
    with open(folder / "x.npy", "wb") as file:
        head = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
        np.lib.format.write_array_header_1_0(file, head)
        step = max(1, (64 << 20) // (4 * columns))
        for first in range(0, rows, step):
            label = labels[first : first + step]
            x = rng.standard_normal((len(label), columns), np.float32)
            x += 4 * centres[label]
            file.write(x.data)
        file.flush()
        os.fsync(file.fileno())
    return rows


def drop_pages(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def in_order(path: Path) -> float:
    """Seconds to read the file from its start to its end."""
    drop_pages(path)
    piece = bytearray(PIECE)
    start = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        while file.readinto(piece):
            pass
    return time.perf_counter() - start


def batches_of(folder: Path, size: int, prefetch: bool) -> tuple[fo.Batches, int]:
    """Batches in blocks, and the number of columns."""
    X = fo.data.Npy(folder / "x.npy")
    block = max(1, BLOCK_BYTES // (4 * X.shape[1]))
    order = fo.data.Blocks(block, buffer=BUFFER)
    y = fo.data.Npy(folder / "y.npy")
    return fo.Batches(X, y, size=size, rng=0, shuffle=order, prefetch=prefetch), X.shape[1]


def read_blocks(folder: Path, size: int, prefetch: bool) -> float:
    drop_pages(folder / "x.npy")
    start = time.perf_counter()
    batches, _ = batches_of(folder, size, prefetch)
    rows = sum(len(xb) for xb, _ in batches)
    seconds = time.perf_counter() - start
    if rows != batches.rows:
        raise RuntimeError(f"{rows} rows came, of {batches.rows}")
    return seconds


def train(folder: Path, size: int, prefetch: bool) -> tuple[float, list[float]]:
    """One epoch of softmax regression; seconds, and the mean loss of each tenth of it."""
    drop_pages(folder / "x.npy")
    start = time.perf_counter()
    batches, columns = batches_of(folder, size, prefetch)
    params = {"w": np.zeros((columns, CLASSES), np.float32), "b": np.zeros(CLASSES, np.float32)}
    opt = fo.Adam(params, lr=1e-3)
    losses: list[float] = []
    for xb, yb in batches:
        z = xb @ params["w"] + params["b"]
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=1, keepdims=True)
        at = np.arange(len(yb)), yb
        losses.append(float(np.mean(np.log(total[:, 0]) - z[at])))
        p /= total
        p[at] -= 1
        p /= len(yb)
        opt.step({"w": xb.T @ p, "b": p.sum(axis=0)})
    return time.perf_counter() - start, [float(np.mean(part)) for part in np.array_split(losses, 10)]


def child(folder: Path, task: str, limit: float, spare: float, size: int) -> dict[str, Any]:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    bytes_allowed = int(pages + spare * 2**20 if spare else limit * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (bytes_allowed, bytes_allowed))
    record: dict[str, Any] = {"limit": bytes_allowed}
    try:
        np.load(folder / "x.npy", mmap_mode="r")
        record["maps"] = True
    except (OSError, MemoryError):
        record["maps"] = False  # the limit is below the size of the file
    if task == "in order":
        record["seconds"] = in_order(folder / "x.npy")
    elif task == "train":
        record["seconds"], record["losses"] = train(folder, size, True)
    else:
        record["seconds"] = read_blocks(folder, size, task.endswith("prefetch"))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # ru_maxrss would be that of the parent, if it was larger when it forked.
    status = Path("/proc/self/status").read_text()
    record["peak"] = int(status.split("VmHWM:")[1].split()[0]) * 1024
    record["cpu"] = usage.ru_utime + usage.ru_stime
    return record


TASKS = ("in order", "blocks", "blocks, prefetch", "train")


def run(
    gb: float, columns: int, limit: float, spare: float, size: int, turns: int, folder: str | None
) -> dict[str, Any]:
    """All tasks in turn, several times; the file is written before and removed after."""
    nbytes = gb * 10**9
    place = Path(tempfile.mkdtemp(prefix="out_of_core", dir=folder))
    try:
        if shutil.disk_usage(place).free - nbytes < FREE and gb > 1:
            raise SystemExit(f"{FREE / 1e9:.0f} GB would not stay free in {place}")
        start = time.perf_counter()
        rows = write_set(place, nbytes, columns)
        result: dict[str, Any] = {
            "rows": rows,
            "columns": columns,
            "bytes": rows * columns * 4,
            "written in": time.perf_counter() - start,
            "tasks": {task: [] for task in TASKS},
        }
        for _ in range(turns):
            for task in TASKS:
                command = [sys.executable, "-m", "bench.out_of_core", "--child", task, "--folder", str(place)]
                command += ["--limit", str(limit), "--spare", str(spare), "--size", str(size)]
                done = subprocess.run(
                    command, capture_output=True, text=True, env=dict(os.environ, OPENBLAS_NUM_THREADS="1")
                )
                if done.returncode:
                    raise SystemExit(done.stderr)
                result["tasks"][task].append(json.loads(done.stdout))
        return result
    finally:
        shutil.rmtree(place)


def report(result: dict[str, Any]) -> str:
    size = result["bytes"]
    seconds = {task: statistics.median(r["seconds"] for r in runs) for task, runs in result["tasks"].items()}
    first = result["tasks"]["train"][0]
    lines = [
        f"{size / 1e9:.2f} GB, {result['rows']} rows of {result['columns']} float32; address space "
        f"{first['limit'] / 2**30:.2f} GiB; the file {'CAN' if first['maps'] else 'cannot'} be mapped under it",
        f"{'':20}{'seconds':>9}{'GB/s':>7}{'in order / this':>17}{'CPU s':>8}{'peak MiB':>10}",
    ]
    for task, runs in result["tasks"].items():
        ratio = statistics.median(
            a["seconds"] / b["seconds"] for a, b in zip(result["tasks"]["in order"], runs, strict=True)
        )
        cpu, peak = statistics.median(r["cpu"] for r in runs), max(r["peak"] for r in runs)
        lines.append(
            f"{task:20}{seconds[task]:9.2f}{size / 1e9 / seconds[task]:7.2f}{ratio:17.2f}{cpu:8.1f}{peak / 2**20:10.0f}"
        )
    lines.append("mean loss of each tenth of the epoch: " + " ".join(f"{v:.3f}" for v in first["losses"]))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gb", type=float, default=8.0, help="size of the set in 10^9 bytes")
    parser.add_argument("--columns", type=int, default=256)
    parser.add_argument("--limit", type=float, default=1.5, help="GiB of address space")
    parser.add_argument(
        "--spare", type=float, default=0.0, help="instead: MiB beyond what the interpreter uses"
    )
    parser.add_argument("--size", type=int, default=256, help="rows of a batch")
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--folder", help="where the set is written, on the disk to be measured")
    parser.add_argument("--out", help="folder for out_of_core.json and .txt")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.child:
        print(json.dumps(child(Path(args.folder), args.child, args.limit, args.spare, args.size)))
        return 0
    result = run(args.gb, args.columns, args.limit, args.spare, args.size, args.turns, args.folder)
    text = report(result)
    print(text)
    if args.out:
        out = Path(args.out)
        out.mkdir(parents=True, exist_ok=True)
        (out / "out_of_core.json").write_text(json.dumps(result, indent=1))
        (out / "out_of_core.txt").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
