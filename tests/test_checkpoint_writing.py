"""Writing: the old file or the new one, whole, whatever fails; generations; the background."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastopt as fo
from checkpoint_cases import bits, left_over

save_module = sys.modules["fastopt.checkpoint.save"]
atomic = sys.modules["fastopt.checkpoint.atomic"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


def epoch(path: Path | str) -> Any:
    return fo.load(path)["epoch"]


class Faults:
    """Lets the n-th call of any of some functions of os fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
        self.calls: list[str] = []
        self.fail_at = -1
        self.code = code
        for name in ("fsync", "replace", "link", "open", "fchmod"):
            real = getattr(os, name)
            monkeypatch.setattr(
                os, name, lambda *a, _real=real, _name=name, **k: (self.count(_name), _real(*a, **k))[1]
            )
        real_write = save_module.write_all

        def write(file: Any, data: Any) -> None:
            self.count("write", lambda: real_write(file, memoryview(data)[: len(data) // 2]))
            real_write(file, data)

        monkeypatch.setattr(save_module, "write_all", write)

    def count(self, name: str, before: Any = None) -> None:
        self.calls.append(name)
        if len(self.calls) - 1 == self.fail_at:
            if before is not None:
                before()  # half of it is on disk
            raise OSError(self.code, os.strerror(self.code))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("keep", [1, 3])
def test_any_call_may_fail(path: Path, monkeypatch: pytest.MonkeyPatch, code: int, keep: int) -> None:
    parts = {"a": np.arange(300.0), "b": np.ones(5, np.float32)}
    fo.save(path, epoch=0, **parts)
    faults = Faults(monkeypatch, code)
    fo.save(path, keep=keep, epoch=1, **parts)
    calls = list(faults.calls)
    assert calls.count("write") >= 3
    assert calls.count("fsync") == 2
    assert calls[-1] == "fsync"
    assert calls.index("replace") > calls.index("fsync") > max(i for i, c in enumerate(calls) if c == "write")
    for n, call in enumerate(calls):
        if call == "link":
            continue  # a file system without links: the next test
        faults.fail_at = -1
        fo.save(path, epoch="old", **parts)
        faults.calls, faults.fail_at = [], n
        with pytest.raises(OSError) as caught:
            fo.save(path, keep=keep, epoch="new", **parts)
        assert caught.value.errno == code
        faults.fail_at = -1
        # Only the very last call comes after the name has changed hands.
        assert epoch(path) == ("new" if n == len(calls) - 1 else "old"), (n, call)
        assert left_over(path.parent) == []


def test_no_links_no_matter(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*args: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    for i in range(3):
        fo.save(path, keep=2, epoch=i)
    assert [epoch(path), epoch(f"{path}.1")] == [2, 1]


def test_a_full_disk(path: Path) -> None:
    """The system itself ends the file early: RLIMIT_FSIZE, in a process of its own."""
    fo.save(path, epoch="old", a=np.zeros(10))
    code = f"""
import resource, signal, numpy as np, fastopt as fo, os
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for background in (False, True):
    try:
        handle = fo.save({str(path)!r}, epoch="new", a=np.zeros(10**6), background=background)
        handle.wait()
    except OSError as error:
        print(error.errno, background)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout == f"{errno.EFBIG} False\n{errno.EFBIG} True\n", out.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 200_000
    assert epoch(path) == "old"
    assert left_over(path.parent) == []


@pytest.mark.slow
def test_a_file_system_without_room(tmp_path: Path) -> None:
    """A tmpfs of 1 MiB, where it may be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs rights")
    try:
        path = place / "run.safetensors"
        fo.save(path, epoch="old", a=np.zeros(10_000))
        for _ in range(2):
            with pytest.raises(OSError) as caught:
                fo.save(path, epoch="new", a=np.zeros(200_000))
            assert caught.value.errno == errno.ENOSPC
            assert os.listdir(place) == [path.name]
            assert epoch(path) == "old"
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.slow
def test_more_than_two_gibibytes(path: Path) -> None:
    """One array beyond what the system writes at once, and beyond 32 bits."""
    big = np.zeros(2**31 + 4097, np.uint8)
    big[:: 2**20] = 7
    fo.save(path, a=np.ones(3), big=big)
    assert path.stat().st_size > 2**31
    again = np.ones_like(big)
    fo.load(path, big=again)
    assert np.array_equal(again, big)
    with path.open("r+b") as file:
        file.seek(-(2**30), os.SEEK_END)
        file.write(b"\x01")
    with pytest.raises(fo.checkpoint.CheckpointError, match="a checksum does not fit"):
        fo.load(path)


def test_generations(path: Path) -> None:
    for i in range(6):
        fo.save(path, keep=3, epoch=i)
    names = [path, Path(f"{path}.1"), Path(f"{path}.2")]
    assert sorted(path.parent.iterdir()) == names
    assert [epoch(name) for name in names] == [5, 4, 3]
    fo.save(path, keep=2, epoch=6)
    assert [epoch(name) for name in names] == [6, 5, 3]
    names[1].unlink()
    fo.save(path, keep=3, epoch=7)
    assert [epoch(name) for name in names[:2]] == [7, 6]
    path.unlink()
    os.link(names[1], path)  # as after a death between the two renames
    fo.save(path, keep=3, epoch=8)
    assert [epoch(name) for name in names] == [8, 6, 3]


def test_a_damaged_file_names_the_generation_before(path: Path) -> None:
    for i in range(2):
        fo.save(path, keep=2, epoch=i)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(fo.checkpoint.CheckpointError, match=r"the generation before is .*\.1\)"):
        fo.load(path)


def test_links_and_permissions(path: Path, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        fo.save(path, epoch=0)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(before)
    path.chmod(0o604)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    link = folder / "link"
    link.symlink_to(path)
    fo.save(link, epoch=1)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert epoch(path) == 1
    dangling = folder / "dangling"
    dangling.symlink_to(tmp_path / "new")
    fo.save(str(dangling), epoch=2)
    assert dangling.is_symlink()
    assert epoch(tmp_path / "new") == 2


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        fo.save(tmp_path / "no" / "run", a=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        fo.save(tmp_path / "file" / "run", a=1)
    with pytest.raises(OSError, match="no regular file"):
        fo.save(tmp_path, a=1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="no regular file"):
        fo.save(tmp_path / "pipe", a=1)
    with pytest.raises(ValueError, match="no regular file"):
        fo.load(tmp_path / "pipe")
    if os.geteuid() != 0:
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(PermissionError):
            fo.save(tmp_path / "locked" / "run", a=1)
    long = tmp_path / ("n" * 250)  # the temporary file's name is not made of it
    fo.save(long, epoch=1)
    assert epoch(long) == 1


def test_files_of_dead_writers_are_removed_and_no_others(path: Path) -> None:
    code = f"""
import os, sys, fastopt as fo
module = sys.modules["fastopt.checkpoint.save"]
module._write_payload = lambda *args: os.kill(os.getpid(), 9)
fo.save({str(path)!r}, a=1)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert len(left_over(path.parent)) == 1
    mine, alive = path.parent / "mine.tmp", None
    mine.write_text("x")
    name, alive = atomic.claim(path.parent)
    fo.save(path, epoch=1)
    assert left_over(path.parent) == sorted(["mine.tmp", name.name])
    alive.close()
    fo.save(path, epoch=2)
    assert left_over(path.parent) == ["mine.tmp"]


def test_two_writers(path: Path) -> None:
    """Both save to one path, with generations, as fast as they can; at every moment a whole file is read."""
    code = f"""
import sys, numpy as np, fastopt as fo
for i in range(40):
    fo.save({str(path)!r}, keep=3, who=sys.argv[1], epoch=i, a=np.full(2000, i + 0.5))
"""
    fo.save(path, epoch=-1, who="", a=np.full(2000, -0.5))
    writers = [subprocess.Popen([sys.executable, "-c", code, who]) for who in "ab"]
    seen = 0
    while any(writer.poll() is None for writer in writers):
        got = fo.load(path)
        assert (got["a"] == got["epoch"] + 0.5).all()
        seen += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert seen > 10
    assert left_over(path.parent) == []
    for name in path.parent.iterdir():
        assert epoch(name) >= 30
    assert len(list(path.parent.iterdir())) == 3


def test_an_exception_in_the_middle_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: Any) -> None:
        raise KeyboardInterrupt

    fo.save(path, epoch=0)
    monkeypatch.setattr(save_module, "_write_payload", stop)
    with pytest.raises(KeyboardInterrupt):
        fo.save(path, epoch=1)
    assert epoch(path) == 0
    assert left_over(path.parent) == []


# ---- in the background ----


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Holds writers until told."""
    go = threading.Event()
    real = save_module._write_payload

    def payload(*args: Any) -> Any:
        assert go.wait(20)
        return real(*args)

    monkeypatch.setattr(save_module, "_write_payload", payload)
    yield go
    go.set()


def test_the_snapshot_is_of_the_moment_of_the_call(path: Path, slow: threading.Event) -> None:
    tree = {"a": np.arange(5.0), "b": np.arange(12, dtype=">i4").reshape(3, 4).T, "list": [1, 2]}
    before = bits(tree)
    saving = fo.save(path, background=True, tree=tree)
    assert not saving.done
    assert "under way" in repr(saving)
    tree["a"][:] = 9
    tree["b"][:] = 9
    tree["list"].append(3)
    with pytest.raises(TimeoutError, match="is not over after 0.01 seconds"):
        saving.wait(0.01)
    assert not path.exists()
    slow.set()
    saving.wait()
    assert saving.done
    assert bits(fo.load(path)["tree"]) == before


def test_the_next_save_waits_for_the_one_before(path: Path, slow: threading.Event) -> None:
    first = fo.save(path, background=True, epoch=1)
    threading.Timer(0.2, slow.set).start()
    start = time.perf_counter()
    fo.save(path, epoch=2)
    assert time.perf_counter() - start > 0.1
    assert first.done
    assert epoch(path) == 2


def test_errors_are_never_lost(path: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "run"
    saving = fo.save(nowhere, background=True, a=1)
    with pytest.raises(FileNotFoundError):
        saving.wait()
    assert isinstance(saving.exception(), FileNotFoundError)
    assert "failed" in repr(saving)
    fo.save(path, epoch=1)  # it has been told: no second time

    fo.save(nowhere, background=True, a=1)
    gc.collect()
    with pytest.raises(FileNotFoundError) as caught:
        fo.save(path, epoch=2)
    assert "before this one" in "".join(caught.value.__notes__)
    assert epoch(path) == 1
    fo.save(path, epoch=2)
    assert epoch(path) == 2


def test_the_interpreter_ends_after_the_file_is_written(path: Path) -> None:
    code = f"""
import numpy as np, fastopt as fo
fo.save({str(path)!r}, background=True, epoch=5, a=np.zeros(4_000_000))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (out.returncode, out.stderr) == (0, "")
    assert epoch(path) == 5
    code = "import fastopt as fo; fo.save('no/such/place', background=True, epoch=5)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "FileNotFoundError" in out.stderr


def test_a_save_where_no_thread_starts_any_more(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 starts none while the interpreter ends, and a save in the background may still be at work then."""
    arrays = {"a": np.arange(5_000_000.0), "b": np.ones(3)}
    fo.save(path, **arrays)
    expected = path.read_bytes()

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    fo.save(path, **arrays)
    assert path.read_bytes() == expected


@pytest.mark.parametrize("where", ["child", "parent"])
def test_a_fork_while_the_folder_is_locked(path: Path, where: str) -> None:
    """The child has copies of all descriptors: neither it nor the parent may wait for a lock that nobody gives back."""
    began, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with atomic.folder_lock(path.parent):
            began.set()
            go_on.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    began.wait()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if where == "child":
                fo.save(path, epoch=1)
            else:
                os.close(write)
                os.read(read, 1)  # lives on, with what it inherited, until the parent has saved
        finally:
            os._exit(0)
    go_on.set()
    thread.join()
    saved = threading.Thread(target=lambda: where == "parent" and fo.save(path, epoch=1), daemon=True)
    saved.start()
    saved.join(30)
    assert not saved.is_alive(), "the parent waits for its own lock"
    os.close(write)
    for _ in range(600):
        if os.waitpid(child, os.WNOHANG)[0]:
            break
        time.sleep(0.05)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child waits for a lock that it holds itself")
    assert epoch(path) == 1
    assert not atomic.held


def test_a_forked_child_saves_on_its_own(path: Path, slow: threading.Event) -> None:
    fo.save(path, background=True, epoch=1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            slow.set()
            fo.save(f"{path}.child", epoch=2)
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    slow.set()
    fo.save(path, epoch=3)
    assert [epoch(path), epoch(f"{path}.child")] == [3, 2]
