"""Sources: the rows that NumPy's indexing gives, from files, sparse matrices, tables and objects; every failure told."""

import contextlib
import errno
import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

import fastopt as fo
from fastopt._core import files
from fastopt.data import npy as npy_module
from fastopt.data.sources import Checked, ReadAhead, as_source

RECORD = np.dtype([("a", "<i2"), ("b", "<f8", (3,))])
DTYPES = ["f4", "f8", "f2", "u1", "i8", "c8", "?", "S3", "U5", "V11", "M8[s]", ">f4", ">i8", RECORD]


def filled(shape, dtype, seed=0):
    """An array of values of any dtype, all different in their bytes where there is room for it."""
    dtype = np.dtype(dtype)
    n = int(np.prod(shape, dtype=np.int64))
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.integers(0, 2, n).astype(bool).reshape(shape)
    if dtype.kind in "SU":
        return np.array([chr(97 + k % 26) * (k % 6) for k in rng.integers(0, 99, n)], dtype).reshape(shape)
    if dtype.kind in "fc":
        return rng.standard_normal(n).astype(dtype).reshape(shape)
    raw = np.frombuffer(rng.bytes(n * dtype.itemsize), np.uint8).copy()
    return raw.view(dtype).reshape(shape) if n else np.empty(shape, dtype)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def shards(folder, array, cuts):
    """The array's rows in several files, cut at these rows."""
    folder.mkdir(exist_ok=True)
    names = []
    for k, part in enumerate(np.split(array, cuts)):
        names.append(folder / f"{k}.npy")
        np.save(names[-1], part)
    return names


# ---- .npy ----


@given(st.data())
def test_npy_is_fancy_indexing(tmp_path_factory, data):
    rows = data.draw(st.integers(0, 60))
    row = tuple(data.draw(st.lists(st.integers(0, 4), max_size=2)))
    dtype = np.dtype(data.draw(st.sampled_from(DTYPES)))
    array = filled((rows, *row), dtype, data.draw(st.integers(0, 5)))
    cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=5)))
    X = fo.data.Npy(shards(tmp_path_factory.mktemp("npy"), array, cuts))
    native = array.astype(dtype.newbyteorder("="))
    assert (len(X), X.shape, X.dtype, X.ndim) == (rows, array.shape, native.dtype, array.ndim)
    assert same(X[:], native)
    for _ in range(4):
        order = data.draw(st.lists(st.integers(0, max(0, rows - 1)), max_size=80 if rows else 0))
        if data.draw(st.booleans()):
            order = sorted(order, reverse=data.draw(st.booleans()))
        if rows and data.draw(st.booleans()):
            first = data.draw(st.integers(0, rows))
            X.advise(first, data.draw(st.integers(first, rows)))
        kind = data.draw(st.sampled_from([np.uint32, np.int64, np.int8, np.uint64]))
        order = np.array(order, kind)
        assert same(X.take(order), native[order.astype(np.int64)])
        out = np.empty((len(order), *row), native.dtype)
        assert X.take(order, out=out) is out
        assert same(out, native[order.astype(np.int64)])
    key = slice(
        data.draw(st.integers(-70, 70)),
        data.draw(st.integers(-70, 70)),
        data.draw(st.sampled_from([None, 1, 2, -1, -3])),
    )
    assert same(X[key], native[key])
    X.close()


def test_large_rows_and_large_batches(tmp_path):
    """Rows larger than the piece that neighbours are read in; more picks than are sorted under the lock."""
    wide = filled((5, 300_000), "f8")
    np.save(tmp_path / "wide.npy", wide)
    X = fo.data.Npy(tmp_path / "wide.npy")
    for order in ([4, 0, 4, 4, 1], [0, 1, 2, 3, 4], [3, 2, 2], [2]):
        assert same(X.take(order), wide[order])
    many = filled((70_000, 3), "i4")
    np.save(tmp_path / "many.npy", many)
    Y = fo.data.Npy(tmp_path / "many.npy", dtype="i8")
    order = np.random.default_rng(0).integers(0, 70_000, 200_000)
    assert same(Y.take(order), many[order].astype("i8"))


def test_single_rows_and_keys(tmp_path):
    a = filled((7, 2), "f4")
    np.save(tmp_path / "a.npy", a)
    with fo.data.Npy(str(tmp_path / "a.npy")) as X:
        assert same(X[3], a[3]) and same(X[-1], a[-1]) and same(X[np.array([2, 2])], a[[2, 2]])
        assert same(np.stack(list(X)), a)
        assert X.nbytes == a.nbytes
        for key in (7, -8):
            with pytest.raises(IndexError, match="of 7"):
                X[key]
        with pytest.raises(IndexError, match="rows alone"):
            X[1, 1]


@pytest.mark.parametrize("bad", [[-1], [0, 7], np.array([2**40]), np.array([2**63], np.uint64)])
def test_indices_outside(tmp_path, bad):
    np.save(tmp_path / "a.npy", np.zeros((7, 2)))
    with pytest.raises(IndexError, match=r"indices"):
        fo.data.Npy(tmp_path / "a.npy").take(bad)


@pytest.mark.parametrize("bad", [[0.5], [[1]], [True, False], 3, ["a"]])
def test_indices_of_the_wrong_kind(tmp_path, bad):
    np.save(tmp_path / "a.npy", np.zeros((7, 2)))
    with pytest.raises(TypeError, match="one dimension of integers"):
        fo.data.Npy(tmp_path / "a.npy").take(bad)


@pytest.mark.parametrize(
    "out",
    [
        np.empty((2, 2), "f4"),
        np.empty((3, 2)),
        np.empty((2, 4))[:, ::2],
        [0],
        np.frombuffer(bytes(32)).reshape(2, 2),
    ],
)
def test_out_must_fit(tmp_path, out):
    np.save(tmp_path / "a.npy", np.zeros((7, 2)))
    with pytest.raises(ValueError, match="out is"):
        fo.data.Npy(tmp_path / "a.npy").take([0, 1], out=out)


def test_dtype_converts_what_may_be_converted(tmp_path):
    a = filled((9, 3), "f8")
    np.save(tmp_path / "a.npy", a)
    X = fo.data.Npy(tmp_path / "a.npy", dtype=np.float32)
    assert same(X.take([8, 0]), a[[8, 0]].astype("f4"))
    assert same(X[2:5], a[2:5].astype("f4"))
    with pytest.raises(TypeError, match="does not go into"):
        fo.data.Npy(tmp_path / "a.npy", dtype=int)


def test_fortran_order(tmp_path):
    np.save(tmp_path / "f.npy", np.asfortranarray(np.ones((4, 3))))
    with pytest.raises(ValueError, match=r"f\.npy is in Fortran order"):
        fo.data.Npy(tmp_path / "f.npy")
    with open(tmp_path / "g.npy", "wb") as file:  # says Fortran order, where both are the same
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": True, "shape": (3, 1)})
        file.write(np.arange(3.0).tobytes())
    assert fo.data.Npy(tmp_path / "g.npy").take([2, 0]).tolist() == [[2.0], [0.0]]


def header(**changed):
    return {"descr": "<f8", "fortran_order": False, "shape": (3, 2), **changed}


def written(path, head, tail=bytes(48)):
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, head)
        file.write(tail)


BROKEN = {
    "object": (lambda p: np.save(p, np.array([{}], object), allow_pickle=True), "holds Python objects"),
    "cut data": (lambda p: written(p, header(), bytes(47)), "is cut: it has"),
    "single value": (lambda p: np.save(p, 3.0), "a single value"),
    "negative shape": (lambda p: written(p, header(shape=(-3, 2))), "says shape"),
    "shape of bools": (lambda p: written(p, header(shape=(True, 2))), "says shape"),
    "huge shape": (lambda p: written(p, header(shape=(2**62, 2**62))), "is cut"),
    "no rows of huge rows": (lambda p: written(p, header(shape=(0, 2**62))), "row has"),
    "no bytes": (lambda p: written(p, header(descr="|S0")), "fixed width"),
    "dtype of arrays": (lambda p: written(p, header(descr=("<f8", (2,)))), "fixed width"),
    "no magic": (lambda p: p.write_bytes(b"hello world"), "not a .npy file"),
    "empty": (lambda p: p.write_bytes(b""), "not a .npy file"),
    "cut header": (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'"), "cannot be read"),
    "text header": (lambda p: p.write_bytes(b"\x93NUMPY\x01\x00\x10\x00" + b"__import__('os')" * 9), "cannot be read"),
    "version": (lambda p: p.write_bytes(b"\x93NUMPY\x09\x00v\x00"), "version 9.0"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_name_themselves(tmp_path, case):
    write, message = BROKEN[case]
    path = tmp_path / "broken.npy"
    write(path)
    with pytest.raises(ValueError, match=rf"broken\.npy.*({message})"):
        fo.data.Npy(path)


def test_every_cut_and_flip_of_a_header_is_an_error_or_a_smaller_file(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(6.0).reshape(3, 2))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.npy"):
            fo.data.Npy(path)
    for at in range(128):
        for bit in (1, 4, 128):
            damaged = bytearray(whole)
            damaged[at] ^= bit
            path.write_bytes(damaged)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    X = fo.data.Npy(path)
            except ValueError as error:
                assert "a.npy" in str(error)
            else:
                assert X.nbytes <= 48
                X[:]


def test_what_is_not_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        fo.data.Npy(tmp_path / "none.npy")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder is not a regular file"):
        fo.data.Npy(tmp_path / "folder")
    os.mkfifo(tmp_path / "pipe.npy")  # opening it must not wait for a writer
    with pytest.raises(ValueError, match="not a regular file"):
        fo.data.Npy(tmp_path / "pipe.npy")
    with pytest.raises(ValueError, match="empty"):
        fo.data.Npy([])
    with pytest.raises(TypeError, match="holds int"):
        fo.data.Npy([3])


def test_shards_must_agree(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3)))
    np.save(tmp_path / "b.npy", np.zeros((2, 3), "f4"))
    np.save(tmp_path / "c.npy", np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"b\.npy has dtype float32, but .*a\.npy has float64"):
        fo.data.Npy([tmp_path / "a.npy", tmp_path / "b.npy"])
    with pytest.raises(ValueError, match=r"c\.npy has rows of shape \(4,\), but .*a\.npy of \(3,\)"):
        fo.data.Npy([tmp_path / "a.npy", tmp_path / "c.npy"])


def test_files_that_change_while_in_use(tmp_path):
    path, a = tmp_path / "a.npy", filled((100, 4), "f8")

    def opened(start=True):
        np.save(path, a)
        X = fo.data.Npy(path)
        if start:
            X.take([1])
        return X

    for start in (True, False):
        X = opened(start)
        with open(path, "r+b") as file:
            file.truncate(1000)
        with pytest.raises(ValueError, match=r"a\.npy has changed from \d+ to 1000 bytes"):
            X.take([99])
        with pytest.raises(ValueError, match="has changed"):
            X[:]
    X = opened()
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match="was written to"):
        X.take([0])
    X = opened()
    path.unlink()
    assert same(X.take([5]), a[[5]])  # an open file lives on
    X = opened(start=False)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.npy"):
        X.take([0])
    X = opened(start=False)
    np.save(tmp_path / "b.npy", a + 1)
    os.replace(tmp_path / "b.npy", path)
    with pytest.raises(ValueError, match="replaced by another file"):
        X.take([0])
    X = opened()
    os.replace(shards(tmp_path / "s", a + 1, [])[0], path)
    assert same(X.take([5]), a[[5]])  # and so does one whose name went to another


def test_a_file_cut_between_check_and_read(tmp_path):
    """The stamp agrees, the bytes are not there: pread tells what a memory map would die of."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((10, 4)))
    with open(path, "rb") as file:
        stamp = files.stamp_of(file.fileno())
    reader = files.Reader([(str(path), 1000, 128, stamp)], 32, 0, 4)
    with pytest.raises(ValueError, match=r"a\.npy ends before all of its 1000 rows"):
        reader.take(np.array([999]), np.empty((1, 4)))
    with pytest.raises(OSError) as caught:
        files.stamp_of(12345)
    assert caught.value.errno == errno.EBADF


def test_closed(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((10, 4)))
    X = fo.data.Npy(tmp_path / "a.npy")
    X.close()
    X.close()
    for call in (lambda: X.take([0]), lambda: X[:], lambda: X.advise(0, 5)):
        with pytest.raises(ValueError, match=r"a\.npy is closed"):
            call()
    with pytest.raises(TypeError, match="send its paths"):
        pickle.dumps(fo.data.Npy(tmp_path / "a.npy"))


def descriptors(folder):
    """How many files of a folder this process has open; others may be closed at any moment, by the garbage collector."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(f"/proc/self/fd/{fd}").startswith(f"{folder}{os.sep}")
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors cannot be counted here")
def test_descriptors_are_bounded_and_given_back(tmp_path):
    a = filled((600, 3), "f4")
    names = shards(tmp_path / "s", a, range(2, 600, 2))
    X = fo.data.Npy(names)
    assert descriptors(tmp_path) == 0
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(600)
        assert same(X.take(order), a[order])
        X.advise(0, 600)
        assert 0 < descriptors(tmp_path) <= npy_module.OPEN_FILES
    assert X._reader.open_files <= npy_module.OPEN_FILES
    del X
    assert descriptors(tmp_path) == 0


def test_relative_paths_outlive_the_folder(tmp_path, monkeypatch):
    a = filled((5, 2), "f4")
    np.save(tmp_path / "a.npy", a)
    monkeypatch.chdir(tmp_path)
    X = fo.data.Npy("a.npy")
    monkeypatch.chdir("/")
    assert same(X.take([3]), a[[3]])


# ---- announced rows ----


def test_windows_are_read_once_and_leave(tmp_path):
    a = filled((1000, 5), "f4")
    names = shards(tmp_path / "s", a, [300, 301, 777])
    X = fo.data.Npy(names, buffer=20 * 400)
    rng = np.random.default_rng(0)
    for first, stop in ((250, 450), (700, 900), (0, 200), (900, 1000), (250, 450)):
        X.advise(first, stop)
    runs = [np.arange(250, 450), np.arange(700, 900)]
    order = rng.permutation(np.concatenate(runs))
    for part in np.split(order, 8):
        assert same(X.take(part), a[part])
        assert X._reader.held <= 20 * 400
    assert X._reader.loaded == 400 * 20  # each once
    assert X._reader.held == 0  # all served: gone
    assert same(X.take(order), a[order])  # and now row by row
    assert X._reader.loaded == 400 * 20


def test_windows_beyond_the_buffer_are_read_by_rows(tmp_path):
    a = filled((1000, 5), "f4")
    X = fo.data.Npy(shards(tmp_path / "s", a, []), buffer=20 * 250)
    X.advise(0, 1000)  # never fits
    X.advise(0, 200)
    X.advise(200, 400)
    order = np.random.default_rng(0).permutation(400)
    for part in np.split(order, 8):
        assert same(X.take(part), a[part])
    assert X._reader.loaded == 4000


def test_a_window_left_half_read_makes_room(tmp_path):
    a = filled((1000, 5), "f4")
    X = fo.data.Npy(shards(tmp_path / "s", a, []), buffer=20 * 250)
    X.advise(0, 200)
    X.take([3])
    assert X._reader.held == 4000
    for k in range(100):
        X.take([900 + k])
    X.advise(200, 400)
    assert same(X.take([399, 950]), a[[399, 950]])
    assert X._reader.held == 4000 and X._reader.loaded == 8000
    X.advise(100, 300)  # overlaps: the older one goes
    assert same(X.take([299, 100, 350]), a[[299, 100, 350]])


def test_many_windows_in_one_batch(tmp_path):
    a = filled((1000, 3), "u1")
    X = fo.data.Npy(shards(tmp_path / "s", a, [10, 500]))
    for first in range(0, 1000, 20):
        X.advise(first, first + 19)  # row first+19 is in none
    order = np.random.default_rng(1).permutation(1000)
    assert same(X.take(order), a[order])
    with pytest.raises(IndexError, match="not within"):
        X.advise(0, 1001)


class InBlocks:
    """An order in blocks, as ReadAhead sees one."""

    def __init__(self, n, block, buffer, seed=0):
        rng = np.random.default_rng(seed)
        runs = np.array_split(rng.permutation(n // block), range(buffer, n // block, buffer))
        self.buffers = [[(int(b) * block, int(b) * block + block) for b in sorted(ids)] for ids in runs]
        rows = [np.concatenate([np.arange(*run) for run in buffer_]) for buffer_ in self.buffers]
        self.ends = np.cumsum([len(r) for r in rows])
        self.rows = np.concatenate([rng.permutation(r) for r in rows])
        self.asked = 0

    def __len__(self):
        return len(self.rows)

    def runs(self, a, b):
        self.asked += 1
        first, last = np.searchsorted(self.ends, [a, b - 1], side="right")
        return [run for k in range(first, last + 1) for run in self.buffers[k]]


@pytest.mark.parametrize("start", [0, 1, 39, 40, 41, 90, 159])
@pytest.mark.parametrize("size", [7, 40, 64])
def test_blocks_are_announced_before_they_are_needed_and_read_once(tmp_path, start, size):
    a = filled((160, 4), "f8")
    X = fo.data.Npy(shards(tmp_path / "s", a, [33]), buffer=32 * 160)
    order = InBlocks(160, 10, 4)
    ahead = ReadAhead([X, np.zeros(3)], order, 160)
    announced = set()
    for i in range(start, 160, size):
        part = order.rows[i : i + size]
        ahead.before(i, i + len(part))
        announced |= {row for w in X._reader.announced() for row in range(*w)}
        assert announced.issuperset(part.tolist())
        assert announced.issuperset(
            order.rows[i + len(part) :][:40].tolist()
        )  # and the next buffer is on its way
        assert same(X.take(part), a[part])
    assert order.asked <= (4 if start == 0 else 40)
    before = X._reader.loaded
    assert before == len(np.unique(order.rows[start:] // 10)) * 10 * 32  # each block once
    left = X._reader.announced()
    ReadAhead([X], np.arange(5), 5).before(0, 5)  # draws from everywhere
    assert X._reader.announced() == left


def test_rows_in_their_own_order_are_announced_once(tmp_path):
    told = []
    source = type("Source", (), {"advise": lambda self, *run: told.append(run)})()
    ahead = ReadAhead([source], None, 1000)
    for first in range(30, 1000, 10):
        ahead.before(first, min(1000, first + 10))
        assert told[-1][1] >= min(1000, first + 50)
    assert told[0][0] == 30 and told[-1][1] == 1000 and len(told) < 30
    assert all(a[1] == b[0] for a, b in itertools.pairwise(told))


# ---- threads and forks ----


def test_threads_share_a_source(tmp_path):
    a = filled((5000, 16), "f4")
    X = fo.data.Npy(shards(tmp_path / "s", a, range(100, 5000, 100)))
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        for _ in range(60):
            order = rng.integers(0, 5000, 300)
            first = int(rng.integers(0, 4900))
            X.advise(first, first + 100)
            if not same(X.take(order), a[order]):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_reads_on(tmp_path):
    """Also while another thread of the parent is within a read, and holds the lock."""
    a = filled((20_000, 64), "f4")
    X = fo.data.Npy(shards(tmp_path / "s", a, [5000]))
    stop = threading.Event()

    def read():
        rng = np.random.default_rng(0)
        while not stop.is_set():
            X.advise(0, 5000)
            X.take(rng.integers(0, 20_000, 5000))

    worker = threading.Thread(target=read)
    worker.start()
    try:
        for seed in range(20):
            order = np.random.default_rng(seed).integers(0, 20_000, 100)
            child = os.fork()
            if child == 0:
                os._exit(0 if same(X.take(order), a[order]) else 1)
            end = time.monotonic() + 20
            while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < end:
                time.sleep(0.002)
            if done == (0, 0):
                os.kill(child, 9)
                os.waitpid(child, 0)
            assert done[0] == child, "the child hangs"
            assert done[1] == 0
    finally:
        stop.set()
        worker.join()


LIMITED = """
import resource, sys
import numpy as np, fastopt as fo
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + (24 << 20)                    # a third of the file
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    np.load(sys.argv[1], mmap_mode="r")
except (OSError, MemoryError):
    pass
else:
    raise SystemExit("the limit does not hold")
X = fo.data.Npy(sys.argv[1], buffer=4 << 20)
n = len(X)
total, rng = 0, np.random.default_rng(0)
for first in range(0, n, 4096):
    X.advise(first, min(n, first + 4096))
    for part in np.array_split(first + rng.permutation(min(n, first + 4096) - first), 32):
        total += int(X.take(part)[:, 0].sum())
assert total == n * (n - 1) // 2, total
print(X[n - 3 : n][:, 0].tolist())
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_under_a_limit_far_below_the_size_of_the_file(tmp_path):
    n = 1 << 16
    whole = np.lib.format.open_memmap(tmp_path / "big.npy", "w+", np.int64, (n, 144))
    whole[:, 0] = np.arange(n)
    whole.flush()
    del whole
    got = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "big.npy"], capture_output=True, text=True
    )
    assert got.returncode == 0, got.stderr
    assert got.stdout.split() == f"[{n - 3}, {n - 2}, {n - 1}]".split()


# ---- memory maps ----


def test_rows_of_a_memmap(tmp_path):
    a = filled((3000, 6), ">i4")
    (tmp_path / "raw").write_bytes(b"head" + a.tobytes())
    whole = np.memmap(tmp_path / "raw", ">i4", "r", offset=4, shape=(3000, 6))
    for part, rows in ((whole, a), (whole[2000:2900], a[2000:2900])):
        X = fo.data.Npy.from_memmap(part)
        order = np.random.default_rng(0).permutation(len(rows))
        assert same(X.take(order), rows[order].astype("i4"))
    with pytest.raises(ValueError, match="not C-contiguous"):
        fo.data.Npy.from_memmap(whole[:, 1:])
    with pytest.raises(TypeError, match=r"numpy\.memmap of a named file"):
        fo.data.Npy.from_memmap(np.zeros(3))


# ---- CSR ----


@given(st.data())
def test_csr_is_scipys_indexing(data):
    rows, cols = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 20))
    make = data.draw(st.sampled_from([sp.csr_matrix, sp.csr_array]))
    dtype = data.draw(st.sampled_from(["f4", "f8", "i2", "?", "c16"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    counts = rng.integers(0, 6, rows)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(data.draw(st.sampled_from([np.int32, np.int64])))
    stored = int(indptr[-1])
    columns = rng.integers(0, cols, stored).astype(indptr.dtype)  # unsorted, and some twice
    values = filled((stored,), dtype, 1)
    X = make((rows, cols), dtype=dtype)
    X.data, X.indices, X.indptr = values, columns, indptr
    ours = fo.data.Csr(X)
    dense = fo.data.Csr(X, dense=True)
    assert (ours.shape, ours.dtype, len(ours)) == ((rows, cols), X.dtype, rows)
    for _ in range(3):
        order = np.array(
            data.draw(st.lists(st.integers(0, max(0, rows - 1)), max_size=40 if rows else 0)), np.int64
        )
        order = order.astype(data.draw(st.sampled_from([np.uint32, np.int64])))
        got, want = ours.take(order), X[order.astype(np.int64)]
        assert type(got) is type(want) and got.shape == want.shape
        assert same(got.data, want.data)
        assert np.array_equal(got.indices, want.indices) and np.array_equal(got.indptr, want.indptr)
        assert got.indptr.dtype == got.indices.dtype == indptr.dtype
        assert same(dense.take(order), want.toarray())
        got.check_format(full_check=True)


def test_csr_batches_are_matrices_to_work_with():
    X = sp.random(50, 8, 0.4, format="csr", random_state=0)
    X.sort_indices()
    source = fo.data.Csr(X)
    first, second = source.take([1, 2]), source.take([3, 3])
    second.data[:] = 7  # a batch is the caller's own
    second.sum_duplicates()
    assert same((first @ np.ones(8)), X[[1, 2]] @ np.ones(8))
    assert not np.any(X.data == 7)
    assert second.shape == (2, 8)


def test_csr_beyond_2_to_31_elements(tmp_path):
    """The elements lie in files with holes, which take no room on the disk."""
    stored, rows = 3_000_000_000, 1000
    indptr = np.linspace(0, stored - 10, rows + 1).astype(np.int64)
    indptr[500] = stored - 10
    indptr[501] = stored - 3
    indptr[502:] = stored
    for name, item in (("indices", 8), ("data", 1)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(stored * item)
    X = sp.csr_array((rows, 10), dtype=np.uint8)
    X.indptr = indptr
    X.indices = np.memmap(tmp_path / "indices", np.int64, "r+", shape=(stored,))
    X.data = np.memmap(tmp_path / "data", np.uint8, "r+", shape=(stored,))
    X.indices[-10:] = np.arange(10)
    X.data[-10:] = np.arange(10) + 1
    got = fo.data.Csr(X).take(np.array([500, 501, 500]))
    assert got.indices.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6]
    assert got.data.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4, 5, 6, 7]
    assert got.indptr.tolist() == [0, 7, 10, 17]
    assert got.indices.dtype == np.int64


def test_csr_bad_input():
    X = sp.random(20, 5, 0.5, format="csr", random_state=0)
    with pytest.raises(TypeError, match=r"CSC format.*tocsr"):
        fo.data.Csr(X.tocsc())
    with pytest.raises(TypeError, match=r"scipy\.sparse matrix"):
        fo.data.Csr(np.zeros((3, 3)))
    for bad in ([-1], [20], np.array([2**32])):
        with pytest.raises(IndexError, match="indices"):
            fo.data.Csr(X).take(bad)
    source = fo.data.Csr(X)
    X.indptr[4] = 10**6  # changed under our hands: no read outside
    with pytest.raises(ValueError, match="indptr of row 3"):
        source.take([1, 3])
    with pytest.raises(ValueError, match="does not rise"):
        fo.data.Csr(X)
    Y = sp.csr_matrix((np.ones(2), np.array([0, 1]), np.array([0, 1, 2])), shape=(2, 2))
    dense = fo.data.Csr(Y, dense=True)
    Y.indices[1] = 99
    with pytest.raises(ValueError, match="columns outside"):
        dense.take([0, 1])


# ---- tables ----


@pytest.fixture
def arrow():
    return pytest.importorskip("pyarrow", reason="pyarrow is not installed: no tables here")


def mixed(arrow, n, seed=0):
    rng = np.random.default_rng(seed)
    holes = rng.random(n) < 0.1
    return arrow.table(
        {
            "a": arrow.array(rng.integers(-9, 9, n), mask=holes),
            "b": rng.standard_normal(n),
            "c": arrow.array(rng.integers(0, 2, n).astype(bool), mask=rng.random(n) < 0.1),
            "d": arrow.array(rng.standard_normal(n).astype("f4"), mask=holes),
            "y": rng.integers(0, 10, n),
        }
    )


def plain(table, names, dtype="f4"):
    return np.column_stack(
        [np.array([np.nan if v is None else v for v in table[name].to_pylist()], "f8") for name in names]
    ).astype(dtype)


@pytest.mark.filterwarnings("ignore:32 row groups:RuntimeWarning")  # test_a_jumping_order_is_told
@pytest.mark.parametrize("where", ["memory", "one file", "three files"])
def test_tables(tmp_path, arrow, where):
    import pyarrow.parquet as parquet

    table = mixed(arrow, 3000)
    if where == "memory":
        source = table
    else:
        source = []
        for k, part in enumerate(
            [table] if where == "one file" else [table[:700], table[700:701], table[701:]]
        ):
            parquet.write_table(part, tmp_path / f"{k}.parquet", row_group_size=250)
            source.append(tmp_path / f"{k}.parquet")
        source = source[0] if where == "one file" else source
    want, y = plain(table, "abcd"), table["y"].to_numpy()
    for cache in (0, 9000, 1 << 28):
        X = fo.data.Table(source, target="y", cache=cache)
        assert (len(X), X.shape, X.dtype, X.columns) == (3000, (3000, 4), np.float32, ("a", "b", "c", "d"))
        assert X.groups[0] == 0 and X.groups[-1] == 3000
        assert X.target is not None and X.target.dtype == np.int64 and len(X.target) == 3000
        for seed in range(2):
            order = np.random.default_rng(seed).integers(0, 3000, 50).astype(np.uint32)
            assert np.array_equal(X.take(order), want[order], equal_nan=True)
            assert same(X.target.take(order), y[order])
        assert X.take([]).shape == (0, 4)
        assert X._bytes <= max(cache, 250 * 24 if where != "memory" else 3000 * 24)
    Z = fo.data.Table(source, columns=["y", "b"], dtype=np.float64)
    assert np.array_equal(Z.take([5, 2]), np.column_stack([y, table["b"].to_numpy()])[[5, 2]])
    with pytest.raises(IndexError, match="from 0 to 2999"):
        Z.take([3000])


def test_a_jumping_order_is_told(tmp_path, arrow):
    import pyarrow.parquet as parquet

    parquet.write_table(mixed(arrow, 2000), tmp_path / "t.parquet", row_group_size=100)
    X = fo.data.Table(tmp_path / "t.parquet", columns=["b"], cache=1000)
    with pytest.warns(RuntimeWarning, match="blocks of whole row groups"):
        for seed in range(3):
            X.take(np.random.default_rng(seed).integers(0, 2000, 40))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Y = fo.data.Table(tmp_path / "t.parquet", columns=["b"], cache=1000)
        for first in range(0, 2000, 50):
            Y.take(np.arange(first, first + 50))


def test_tables_refuse(tmp_path, arrow):
    import pyarrow.parquet as parquet

    Table = fo.data.Table
    table = arrow.table(
        {
            "s": ["a", "b"],
            "e": arrow.array(["a", "b"]).dictionary_encode(),
            "t": arrow.array([1, 2], arrow.timestamp("s")),
            "l": [[1], [2]],
            "n": [1, None],
            "f": [0.5, 1.5],
            "big": [1, 2**40],
        }
    )
    for name, message in (
        ("s", "encode it"),
        ("e", "encode it"),
        ("t", "numbers are needed"),
        ("l", "numbers are needed"),
    ):
        with pytest.raises(TypeError, match=rf"column '{name}' holds .*{message}"):
            Table(table, columns=[name])
    with pytest.raises(TypeError, match="column 's'"):
        Table(table)
    with pytest.raises(ValueError, match="no column 'q'; there are 's'"):
        Table(table, columns=["q"])
    with pytest.raises(TypeError, match="sequence of names"):
        Table(table, columns="f")
    with pytest.raises(ValueError, match="column 'n' has 1 nulls in rows 0 to 1; int32"):
        Table(table, columns=["n"], dtype=np.int32).take([0])
    with pytest.raises(ValueError, match="column 'n' has 1 nulls"):
        Table(table, columns=["f"], target="n").target.take([0])
    with pytest.raises(ValueError, match="int32 cannot hold"):
        Table(table, columns=["big"], dtype=np.int32).take([0])
    with pytest.raises(TypeError, match="column 'f' holds double, which does not go into int32"):
        Table(table, columns=["f"], dtype=np.int32).take([0])
    with pytest.raises(TypeError, match="dtype is complex64"):
        Table(table, columns=["f"], dtype="c8")
    (tmp_path / "no.parquet").write_bytes(b"PAR1 this is none PAR1")
    with pytest.raises(ValueError, match=r"no\.parquet cannot be read as Parquet"):
        Table(tmp_path / "no.parquet")
    with pytest.raises(FileNotFoundError, match=r"none\.parquet"):
        Table(tmp_path / "none.parquet")
    a, b = tmp_path / "a.parquet", tmp_path / "b.parquet"
    parquet.write_table(table.select(["f"]), a)
    parquet.write_table(table.select(["big"]), b)
    with pytest.raises(ValueError, match=r"b\.parquet has other columns"):
        Table([a, b])
    with pytest.raises(ValueError, match="empty"):
        Table([])


@pytest.mark.parametrize("start", [True, False])
def test_parquet_files_that_change(tmp_path, arrow, start):
    import pyarrow.parquet as parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(mixed(arrow, 400), path, row_group_size=100)
    X = fo.data.Table(path, columns=["b"], cache=0)
    if start:
        X.take([0])
    with open(path, "r+b") as file:
        file.truncate(500)
    with pytest.raises(ValueError, match=r"t\.parquet has changed"):
        X.take([399])


def test_a_damaged_row_group_is_named(tmp_path, arrow):
    import pyarrow.parquet as parquet

    path = tmp_path / "t.parquet"
    parquet.write_table(mixed(arrow, 4000), path, row_group_size=2000, compression="zstd")
    raw = bytearray(path.read_bytes())
    raw[200:260] = bytes(60)
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"row group 0 of .*t\.parquet cannot be read"):
        fo.data.Table(path, columns=["a", "b"]).take([0])


# ---- what an argument stands for ----


class Rows:
    """The least that is a source."""

    def __init__(self, array):
        self.array = array

    def __len__(self):
        return len(self.array)

    def take(self, indices):
        return self.array[indices]


def test_as_source_finds_its_kind(tmp_path, arrow):
    import pyarrow.parquet as parquet

    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    parquet.write_table(arrow.table({"x": [1.0]}), tmp_path / "t.parquet")
    name, pq = tmp_path / "a.npy", tmp_path / "t.parquet"
    for given_, kind in (
        (name, fo.data.Npy), (str(name), fo.data.Npy), ([name, str(name)], fo.data.Npy), ((name,), fo.data.Npy),
        (pq, fo.data.Table), ([str(pq)], fo.data.Table), (arrow.table({"x": [1]}), fo.data.Table),
        (sp.eye_array(3, format="csr"), fo.data.Csr), (Rows(np.zeros(3)), Checked),
    ):  # fmt: skip
        found = as_source(given_, "arrays[0]")
        assert type(found) is kind
        assert as_source(found, "arrays[0]") is found
    with_target = fo.data.Table(arrow.table({"x": [1.0], "y": [2]}), target="y")
    assert as_source(with_target.target, "arrays[1]") is with_target.target


def test_as_source_leaves_arrays_alone(arrow):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    import array
    import collections

    for obj in (
        np.zeros(3), np.zeros((1, 1)).view(np.matrix), [1, 2], (1, 2), [], [[1], [2]], ["a", "b"], range(4), memoryview(b"abc"),
        array.array("d", [1.0]), collections.deque([1, 2]), torch.zeros(3), pandas.Series([1]), pandas.DataFrame([1]),
        arrow.array([1]), arrow.chunked_array([[1]]), 3, None, {"a": 1}, iter([1]), b"x" * 0 or bytearray(b"abc"),
    ):  # fmt: skip
        assert as_source(obj, "arrays[0]") is None, type(obj)


def test_as_source_refuses_by_name(tmp_path):
    class Items:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return i, i

    class Endless:
        def take(self, indices):
            return indices

    np.save(tmp_path / "a.npy", np.zeros((3, 2)))
    for obj, error, message in (
        ("data.csv", ValueError, "paths that end in"),
        (Path("data.npz"), ValueError, "paths that end in"),
        ([tmp_path / "a.npy", 3], ValueError, "holds int"),
        ([tmp_path / "a.npy", "b.parquet"], ValueError, "one kind"),
        (sp.eye(3, format="csc"), TypeError, "tocsr"),
        (sp.eye_array(3, format="coo"), TypeError, "tocsr"),
        (Items(), TypeError, r"take\(indices\)"),
        (Endless(), TypeError, "no length"),
    ):
        with pytest.raises(error, match=rf"arrays\[1\].*{message}"):
            as_source(obj, "arrays[1]")


def test_objects_are_held_to_their_word():
    array = np.arange(12.0).reshape(6, 2)
    good = as_source(Rows(array), "arrays[0]")
    assert (good.shape, good.dtype, len(good)) == ((6,), None, 6)  # it says nothing about itself
    assert same(good.take(np.array([5, 5])), array[[5, 5]])
    cases = {
        "as many rows": lambda self, i: array[i][:-1],
        "one array is needed": lambda self, i: (array[i], i),
        "numbers": lambda self, i: np.array([None] * len(i)),
        "CSR is needed": lambda self, i: sp.csr_array(array)[i].tocsc(),
        r"for 1 indices": lambda self, i: 3.0,
    }
    for message, take in cases.items():
        kind = type("Bad", (Rows,), {"take": take})
        with pytest.raises((TypeError, ValueError), match=rf"arrays\[2\]\.take.*{message}"):
            as_source(kind(array), "arrays[2]").take(np.array([0]))

    class Fickle(Rows):
        def take(self, indices):
            rows = self.array[indices]
            return rows if len(indices) < 3 else rows.astype("f4") if indices[0] else rows[:, :1]

    fickle = as_source(Fickle(array), "arrays[3]")
    for order in ([1, 2], [1, 2]):
        fickle.take(np.array(order))
    for order in ([1, 2, 3], [0, 1, 2]):
        with pytest.raises(
            ValueError, match=r"arrays\[3\]\.take gave rows of .* where it gave float64 \(2,\) before"
        ):
            fickle.take(np.array(order))
    shrinking = Rows(array)
    held = as_source(shrinking, "arrays[4]")
    shrinking.array = array[:2]
    with pytest.raises(ValueError, match=r"arrays\[4\] had 6 rows and now has 2"):
        held.take(np.array([0]))


def test_an_objects_own_exception_comes_out():
    class Broken(Rows):
        def take(self, indices):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        as_source(Broken(np.zeros(3)), "arrays[0]").take(np.array([0]))
    assert "arrays[0].take was called with an array of row numbers" in caught.value.__notes__[0]


# ---- batches of them ----


def every_batch(batches):
    return [tuple(part.copy() for part in batch) if isinstance(batch, tuple) else batch for batch in batches]


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("shuffle", ["epoch", "replacement", False, fo.data.Blocks(50, buffer=3)], ids=str)
def test_batches_over_files_are_those_over_arrays(tmp_path, shuffle, prefetch):
    X, y = filled((1003, 6), "f4"), np.arange(1003)
    names = shards(tmp_path / "x", X, [100, 101, 640])
    np.save(tmp_path / "y.npy", y)
    ours = fo.Batches(names, tmp_path / "y.npy", size=64, rng=3, shuffle=shuffle, prefetch=prefetch)
    want = fo.Batches(X, y, size=64, rng=3, shuffle=shuffle)
    for _ in range(2):
        for (xb, yb), (xw, yw) in zip(ours, want, strict=True):
            assert same(xb, xw) and same(yb, yw)


@pytest.mark.parametrize("cut", [0, 1, 3, 7, 15])
def test_files_in_blocks_resume_in_mid_epoch(tmp_path, cut):
    X = filled((1003, 6), "f4")
    names = shards(tmp_path / "x", X, [300])

    def made():
        return fo.Batches(names, size=64, rng=3, shuffle=fo.data.Blocks(50, buffer=3), prefetch=True)

    whole = every_batch(made())
    first = made()
    it = iter(first)
    for _ in range(cut):
        next(it)
    state = first.state_dict()
    second = made()
    second.load_state_dict(state)
    rest = every_batch(second)
    assert len(rest) == len(whole) - cut
    assert all(same(a, b) for a, b in zip(rest, whole[cut:], strict=True))


def test_blocks_of_a_file_are_each_read_once_an_epoch(tmp_path):
    X = filled((1003, 6), "f4")
    np.save(tmp_path / "x.npy", X)
    source = fo.data.Npy(tmp_path / "x.npy")
    for epoch, _ in enumerate([0, 1], 1):
        batches = fo.Batches(source, size=64, rng=3, shuffle=fo.data.Blocks(50, buffer=3))
        assert sum(len(xb) for xb in batches) == 1003
        assert source._reader.loaded == epoch * X.nbytes
        assert source._reader.held == 0


def test_batches_of_matrices_tables_and_objects(arrow):
    S = sp.random(200, 30, 0.1, format="csr", random_state=0)
    table = mixed(arrow, 200)
    X = fo.data.Table(table, target="y")
    order = np.concatenate(list(fo.Batches(np.arange(200), size=32, rng=1)))
    at = 0
    for sb, tb, yb, ob in fo.Batches(S, X, X.target, Rows(np.arange(200.0)), size=32, rng=1, prefetch=True):
        rows = order[at : at + len(yb)]
        assert same(sb.toarray(), S[rows].toarray())
        assert np.array_equal(tb, plain(table, "abcd")[rows], equal_nan=True)
        assert same(yb, table["y"].to_numpy()[rows]) and same(ob, rows.astype(float))
        at += len(rows)
    assert at == 200


def test_a_file_cut_in_mid_epoch_comes_out_of_the_loop(tmp_path):
    X = filled((20_000, 6), "f4")
    np.save(tmp_path / "x.npy", X)
    for prefetch in (False, True):
        np.save(tmp_path / "x.npy", X)
        it = iter(fo.Batches(tmp_path / "x.npy", size=64, rng=3, prefetch=prefetch))
        next(it)
        with open(tmp_path / "x.npy", "r+b") as file:
            file.truncate(5000)
        with pytest.raises(ValueError, match=r"x\.npy has changed from \d+ to 5000 bytes"):
            for _ in it:
                pass


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_training_out_of_core_on_a_small_set():
    """The benchmark of 8 GB under 1.5 GB, at 320 MB with 224 MB to spare."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "bench.out_of_core", "--gb", "0.32", "--spare", "224", "--size", "512"]
    got = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert got.returncode == 0, got.stderr
    assert "cannot be mapped" in got.stdout
    losses = [float(v) for v in got.stdout.split("epoch:")[1].split()]
    assert losses[0] > 1.2 * losses[-1]
