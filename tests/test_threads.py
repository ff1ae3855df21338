"""Threads, forks, other processes, signals: the same bits, whole steps, clean errors, nothing hangs."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from fastopt._core import runtime
from rows import IDS, ISAS, ROWS, gradients, make, whole

LARGE = 150_000  # elements: enough that helpers are woken
posix_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def _python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
    )


# ---- the number of threads ----


def test_set_and_get() -> None:
    for n in (1, 2, 3, np.int64(4)):
        fo.set_num_threads(n)
        assert fo.get_num_threads() == n
    fo.set_num_threads(10**6)
    assert fo.get_num_threads() == runtime.threads_max()
    for bad, error in (
        (0, ValueError),
        (-1, ValueError),
        (1.0, TypeError),
        ("2", TypeError),
        (True, TypeError),
        (None, TypeError),
    ):
        with pytest.raises(error, match="n is"):
            fo.set_num_threads(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["0", "-1", "two", "", "1.5"])
def test_bad_environment_threads(value: str) -> None:
    done = _python("import fastopt", FASTOPT_NUM_THREADS=value)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("ImportError: FASTOPT_NUM_THREADS is ")


@pytest.mark.parametrize("value", ["v9", "", "V3"])
def test_bad_environment_isa(value: str) -> None:
    done = _python("import fastopt", FASTOPT_ISA=value)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: FASTOPT_ISA: instruction set")
    assert ISAS[0] in last


def test_good_environment() -> None:
    code = "import fastopt as fo; i = fo.build_info(); print(i['isa'], i['isa_forced'], i['threads'])"
    for isa in ISAS:
        assert _python(code, FASTOPT_ISA=isa, FASTOPT_NUM_THREADS="3").stdout.split() == [isa, "True", "3"]


def test_build_info_says_what_is_in_use() -> None:
    for isa in ISAS:
        runtime.use_isa(isa)
        assert fo.build_info()["isa"] == isa
    with pytest.raises(ValueError, match="'v9' is not available; this build has"):
        runtime.use_isa("v9")
    assert runtime.isa() == ISAS[-1]


def test_threadpoolctl() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    fo.set_num_threads(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of other libraries in the process
        with threadpoolctl.threadpool_limits(limits=1, user_api="fastopt"):
            assert fo.get_num_threads() == 1
        assert fo.get_num_threads() == 3
        with threadpoolctl.threadpool_limits(limits=1):
            assert fo.get_num_threads() == 1
    (mine,) = [x for x in threadpoolctl.threadpool_info() if x["user_api"] == "fastopt"]
    assert (mine["num_threads"], mine["internal_api"]) == (3, "fastopt")


def test_importing_starts_no_thread_and_changes_nothing() -> None:
    code = """
import os, signal, sys, warnings, locale
import numpy as np
filters, handlers = list(warnings.filters), [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
state = np.random.get_state()[1].tobytes()
import fastopt as fo
fo.SGD(np.zeros(1000), lr=0.1).step(np.zeros(1000))
assert tasks == (len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0), "threads were started"
assert warnings.filters == filters and [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
assert np.random.get_state()[1].tobytes() == state
assert 5e-324 * 1.0 > 0, "subnormals are flushed"
assert "torch" not in sys.modules and "matplotlib" not in sys.modules and "pandas" not in sys.modules
"""
    done = _python(code, FASTOPT_NUM_THREADS="4", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr


# ---- many threads of Python ----


def _in_threads(work: Callable[[int], Any], n: int) -> list[Any]:
    out: list[Any] = [None] * n
    errors: list[BaseException] = []
    gate = threading.Barrier(n)

    def body(i: int) -> None:
        try:
            gate.wait()
            out[i] = work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(timeout=60)
        assert not t.is_alive(), "a step hangs"
    if errors:
        raise errors[0]
    return out


def test_eight_optimizers_in_eight_threads() -> None:
    """The pool serves one of them at a time; the others work alone: the bits of serial runs either way."""
    fo.set_num_threads(2)
    chosen = [ROWS[i % len(ROWS)] for i in range(0, 16, 2)]
    start, grads = gradients(LARGE, "float32", 3)

    def work(i: int) -> Any:
        p = start.copy()
        opt = make(chosen[i], p, clip_norm=1.0)
        for _ in range(4):
            for g in grads:
                opt.step(g)
        return whole(opt)

    assert _in_threads(work, 8) == [work(i) for i in range(8)]


def test_one_optimizer_from_two_threads() -> None:
    """A whole step or a RuntimeError; in the end exactly the steps that said they were taken."""
    fo.set_num_threads(2)
    g = np.ones(LARGE, np.float32)
    p = np.zeros(LARGE, np.float32)
    opt = fo.SGD(p, lr=lambda t: 2.0**-10 * t, momentum=0.5)
    refused = [0] * 4

    def work(i: int) -> int:
        taken = 0
        for _ in range(30):
            try:
                opt.step(g)
                taken += 1
            except RuntimeError as error:
                assert "another thread" in str(error)
                refused[i] += 1
        return taken

    taken = sum(_in_threads(work, 4))
    assert taken + sum(refused) == 120
    assert opt.steps == taken >= 1
    assert (p == p[0]).all(), "a torn step"
    q = np.zeros(1, np.float32)
    twin = fo.SGD(q, lr=lambda t: 2.0**-10 * t, momentum=0.5)
    for _ in range(taken):
        twin.step(np.ones(1, np.float32))
    assert p[0] == q[0], "a step was taken with the scalars of another"


def test_a_function_of_the_step_runs_inside_the_lock() -> None:
    """While one thread is in its function, another may not step: it would take the first one's scalars."""
    inside, go = threading.Event(), threading.Event()

    def lr(t: int) -> float:
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            assert go.wait(20)
        return 0.5

    p = np.zeros(3)
    opt = fo.SGD(p, lr=lr)
    other = threading.Thread(target=lambda: opt.step(np.ones(3)))
    other.start()
    assert inside.wait(20)
    with pytest.raises(RuntimeError, match="another thread"):
        opt.step(np.ones(3))
    with (
        pytest.raises(RuntimeError, match="another thread"),
        opt._closed("as averaged and lookahead close it"),
    ):
        pass
    go.set()
    other.join(20)
    assert (opt.steps, p[0]) == (1, -0.5)


def test_the_interpreter_is_free_during_a_large_step() -> None:
    """Another thread counts on while a step runs without the GIL."""
    fo.set_num_threads(1)
    p, g = np.zeros(4_000_000), np.ones(4_000_000)
    opt = fo.Adam(p)
    opt.step(g)
    stop, ticks = threading.Event(), []

    def count() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    other = threading.Thread(target=count)
    other.start()
    try:
        spans = []
        for _ in range(20):
            begin = time.perf_counter()
            opt.step(g)
            spans.append((begin, time.perf_counter()))
    finally:
        stop.set()
        other.join()
    inside = sum(any(b < t < e for t in ticks) for b, e in spans)
    assert inside >= 10, f"only {inside} of 20 steps let another thread run"


# ---- forks and other processes ----


def _child_ends_well(pid: int, limit: float = 20.0) -> bool:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # Python 3.12 warns of forks with threads: that is the test
        warnings.simplefilter("ignore", RuntimeWarning)
        return os.fork()


@posix_only
def test_forks_after_threads() -> None:
    """The parent's pool is used, then forty times a child is born that uses its own."""
    fo.set_num_threads(2)
    start, (g,) = gradients(LARGE, "float32", 1)
    p = start.copy()
    opt = fo.Adam(p)
    opt.step(g)
    for i in range(40):
        pid = _fork()
        if pid == 0:
            try:
                before = p.copy()
                opt.step(g)
                q = before.copy()
                code = 0 if opt.steps == i + 2 and (p != q).any() else 1
            except BaseException:
                code = 2
            os._exit(code)
        assert _child_ends_well(pid), f"child {i}"
        opt.step(g)
    q = start.copy()
    fo.set_num_threads(1)
    twin = fo.Adam(q)
    for _ in range(41):
        twin.step(g)
    assert p.tobytes() == q.tobytes()


@posix_only
def test_forks_while_another_thread_steps() -> None:
    """The pool is busy when the child is born; the child's own is quiet all the same."""
    fo.set_num_threads(2)
    stop = threading.Event()
    busy_p, g = np.zeros(LARGE), np.ones(LARGE)
    busy = fo.SGD(busy_p, lr=1e-3, momentum=0.5)

    def run() -> None:
        while not stop.is_set():
            busy.step(g)

    other = threading.Thread(target=run)
    other.start()
    p = np.zeros(LARGE)
    mine = fo.Adam(p)
    try:
        for i in range(15):
            pid = _fork()
            if pid == 0:
                try:
                    mine.step(g)
                    mine.step(g)
                    os._exit(0 if (p == p[0]).all() and p[0] != 0 else 1)
                except BaseException:
                    os._exit(2)
            assert _child_ends_well(pid), f"child {i}"
    finally:
        stop.set()
        other.join(20)
    assert (busy_p == busy_p[0]).all()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes(method: str) -> None:
    """An optimizer travels to another process and takes the same step there."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    start, (g,) = gradients(LARGE, "float32", 1)
    p = start.copy()
    opt = fo.AdamW(p, clip_norm=1.0)
    opt.step(g)
    code = (
        "import sys, pickle\n"
        "if __name__ == '__main__':\n"
        "    import multiprocessing as mp, fastopt as fo\n"
        "    opt, g = pickle.load(open(sys.argv[1], 'rb'))\n"
        "    import pathlib; sys.path.insert(0, sys.argv[3])\n"
        "    import stepping\n"
        f"    with mp.get_context({method!r}).Pool(1) as pool:\n"
        "        done = pool.apply(stepping.step, (opt, g))\n"
        "    pickle.dump(done, open(sys.argv[2], 'wb'))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        given, got = os.path.join(folder, "given"), os.path.join(folder, "got")
        with open(os.path.join(folder, "stepping.py"), "w") as file:
            file.write("def step(opt, g):\n    opt.step(g)\n    return opt.params\n")
        with open(os.path.join(folder, "main.py"), "w") as file:
            file.write(code)
        with open(given, "wb") as raw:
            pickle.dump((opt, g), raw)
        done = subprocess.run(
            [sys.executable, os.path.join(folder, "main.py"), given, got, folder],
            timeout=90,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        with open(got, "rb") as raw:
            theirs = pickle.load(raw)
    opt.step(g)
    assert theirs.tobytes() == p.tobytes()


# ---- signals ----


@posix_only
def test_ctrl_c_leaves_whole_steps() -> None:
    """SIGINT at ten moments of a run: the process ends at once, with the parameters of a whole number of steps."""
    code = """
import signal, numpy as np, fastopt as fo, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job comes with it ignored
fo.set_num_threads(2)
p, g = np.zeros(400_000, np.float32), np.ones(400_000, np.float32)
opt = fo.SGD(p, lr=1.0)
print("ready", flush=True)
try:
    while True:
        opt.step(g)
except KeyboardInterrupt:
    assert (p == -np.float32(opt.steps)).all(), "a torn step"
    opt.step(g)
    print("whole", opt.steps, flush=True)
"""
    rng = np.random.default_rng(0)
    for _ in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(float(rng.uniform(0.005, 0.05)))
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=10)
        assert out.startswith("whole"), err


# ---- sizes beyond 32 bits ----


@pytest.mark.slow
@pytest.mark.parametrize("row", [ROWS[0], ROWS[9]], ids=[IDS[0], IDS[9]])
def test_more_than_2_to_the_31_elements(row: Any) -> None:
    """2^31 + 1000 float32 parameters and gradients, each 64 MiB of memory mapped again and again."""
    if not hasattr(os, "memfd_create"):
        pytest.skip("needs memfd_create")
    if row.states and os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 24 * 2**30:
        pytest.skip("states of 16 GiB need 24 GiB of free memory")
    n, piece = 2**31 + 1000, 64 * 2**20
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
    ]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    maps: list[tuple[int, int]] = []

    def mapped() -> np.ndarray:
        total = -(-n * 4 // piece) * piece
        fd = os.memfd_create("fastopt")
        os.ftruncate(fd, piece)
        base = libc.mmap(None, total, 0, 0x22, -1, 0)
        assert base != ctypes.c_void_p(-1).value
        for at in range(0, total, piece):
            assert libc.mmap(base + at, piece, 3, 0x11, fd, 0) == base + at  # shared, at this very address
        os.close(fd)
        maps.append((base, total))
        return np.frombuffer((ctypes.c_char * (4 * n)).from_address(base), np.float32)

    p, g = mapped(), mapped()
    try:
        p[: piece // 4] = 0
        g[: piece // 4] = 1
        assert g[-1] == 1
        fo.set_num_threads(1)  # the same memory stands at many addresses: threads would race
        record = make(row, p).step(g)
        assert record.grad_norm == pytest.approx(n**0.5, rel=1e-7)
        if not row.states:
            # Each element was stepped once for every time it is mapped; the tail, 1000 elements, once more.
            turns = n // (piece // 4)
            expected = np.float32(0)
            for _ in range(turns):
                expected -= np.float32(0.1)
            assert p[2000] == expected
            assert p[999] == expected - np.float32(0.1)
            assert p[1000] == expected
        else:
            assert np.isfinite(p[-1])
            assert p[-1] != 0
    finally:
        del p, g
        for base, total in maps:
            libc.munmap(base, total)
