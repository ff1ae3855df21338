"""Prefetch: the same batches, bounded memory, an end at every exit."""

import gc
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import numpy as np
import pytest

import fastopt as fo

AHEAD = [True, 1, 2, 3, 7]


def copies(batches):
    return [tuple(part.copy() for part in batch) for batch in batches]


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert all(map(np.array_equal, x, y))


def noisy(batch, rng):
    return batch[0] + rng.standard_normal(batch[0].shape), batch[1]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "fastopt prefetch"]


def gone():
    for _ in range(200):
        if not threads():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("augment", [None, noisy])
@pytest.mark.parametrize("shuffle", ["epoch", "once", False])
@pytest.mark.parametrize("last", ["keep", "drop", "pad"])
@pytest.mark.parametrize("ahead", AHEAD)
def test_the_same_batches(ahead, last, shuffle, augment):
    X, y = np.random.default_rng(0).random((103, 5)), np.arange(103)
    options = {
        "size": 8, "rng": 4, "shuffle": shuffle, "last": last, "augment": augment, "dtype": np.float32,
    }  # fmt: skip
    plain, fetched = fo.Batches(X, y, **options), fo.Batches(X, y, **options, prefetch=ahead)
    for _ in range(2):
        same(copies(plain), copies(fetched))
        assert plain.state_dict() == fetched.state_dict()


@pytest.mark.parametrize("augment", [None, noisy])
@pytest.mark.parametrize("ahead", AHEAD)
def test_resume_at_every_position(ahead, augment):
    X, y, epochs = np.random.default_rng(0).random((23, 3)), np.arange(23), 3

    def make(rng, prefetch):
        return fo.Batches(X, y, size=5, rng=rng, prefetch=prefetch, augment=augment)

    first, whole, states = make(7, False), [], []
    for _ in range(epochs):
        for xb, yb in first:
            whole.append((xb.copy(), yb.copy()))
            states.append((len(whole), first.state_dict()))
    second, got = make(7, ahead), []
    for _ in range(epochs):
        for xb, yb in second:
            got.append((xb.copy(), yb.copy()))
            assert (len(got), second.state_dict()) == states[len(got) - 1]
    same(got, whole)
    for done, state in states:
        resumed = make(None, ahead)
        resumed.load_state_dict(state)
        rest = []
        for _ in range(resumed.epoch, epochs):
            rest += copies(resumed)
        same(rest, whole[done:])


def test_noise_depends_on_seed_epoch_and_batch_only():
    X = np.zeros((40, 2))

    def first(seed, epoch, number, **options):
        batches = fo.Batches(X, size=4, rng=seed, augment=lambda b, rng: b + rng.random(), **options)
        batches.load_state_dict({**batches.state_dict(), "epoch": epoch, "position": number})
        return float(next(iter(batches))[0, 0])

    found = {key: first(*key) for key in [(1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1), (2, 0, 0)]}
    assert len(set(found.values())) == 5
    assert all(first(*key, prefetch=True) == value for key, value in found.items())
    assert first(1, 0, 1, shuffle=False) == found[1, 0, 1]


def test_kept_batches_stay_as_they_are():
    X = np.arange(4000.0).reshape(1000, 4)
    kept = list(fo.Batches(X, size=10, rng=1, prefetch=True))
    expected = list(fo.Batches(X, size=10, rng=1))
    assert all(map(np.array_equal, kept, expected))
    assert not any(np.shares_memory(a, b) for a, b in itertools.pairwise(kept))


@pytest.mark.parametrize("ahead", [True, 1, 4])
def test_a_plain_loop_needs_a_bounded_number_of_buffers(ahead):
    X = np.zeros((100_000, 16))
    places = set()
    for batch in fo.Batches(X, size=100, rng=0, prefetch=ahead):
        places.add(batch.__array_interface__["data"][0])
    most = 2 * 64 + 4 if ahead is True else 2 * ahead + 4
    assert len(places) <= most


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_no_more_are_made_than_asked_for(ahead):
    made = []

    def count(batch, rng):
        made.append(1)
        return batch

    it = iter(fo.Batches(np.zeros(1000), size=10, prefetch=ahead, augment=count))
    for taken in range(1, 6):
        next(it)
        time.sleep(0.05)
        assert len(made) <= taken + ahead
    assert len(made) == 5 + ahead


class Fails:
    """Raises at its fifth call, once."""

    def __init__(self):
        self.calls = 0

    def __call__(self, batch, rng):
        self.calls += 1
        if self.calls == 5:
            raise KeyError("five")
        return batch


@pytest.mark.parametrize("ahead", [False, True, 1, 6])
def test_an_exception_comes_out_of_its_batch(ahead):
    batches = fo.Batches(np.arange(100), size=10, rng=0, prefetch=ahead, augment=Fails())
    expected = list(fo.Batches(np.arange(100), size=10, rng=0))
    it = iter(batches)
    for k in range(4):
        assert np.array_equal(next(it), expected[k])
    with pytest.raises(KeyError, match="five"):
        next(it)
    assert batches.position == 4
    for k in range(4, 10):  # asked for again, it is made again
        assert np.array_equal(next(it), expected[k])
    assert list(it) == []
    assert gone()


def test_the_thread_ends_with_its_pass():
    def make():
        return fo.Batches(np.arange(1000), size=10, prefetch=True, augment=lambda b, rng: b)

    for _ in make():  # the whole of it
        pass
    assert gone()
    for _ in make():  # left
        break
    assert gone()
    batches = make()
    it = iter(batches)
    next(it)
    assert len(threads()) == 1
    second = iter(batches)  # a newer one
    assert gone()
    with pytest.raises(RuntimeError, match="ended by a newer one"):
        next(it)
    next(second)
    batches.load_state_dict(batches.state_dict())
    assert gone()
    it = iter(batches)
    next(it)
    ring = [it]
    ring.append(ring)
    del it, second, batches, ring
    gc.collect()
    assert gone()


def test_arrays_and_buffers_go_with_the_pass():
    class Base(np.ndarray):
        pass

    for augment in (None, lambda b, rng: b):
        X = np.arange(10_000.0).view(Base)
        gone_too = weakref.ref(X)
        it = iter(fo.Batches(X, size=10, prefetch=True, augment=augment))
        next(it)
        del X, it
        assert gone()
        gc.collect()
        assert gone_too() is None


def test_an_array_cannot_be_resized_while_it_is_read():
    X = np.zeros((1000, 3))
    it = iter(fo.Batches(X, size=10, prefetch=4))
    next(it)
    with pytest.raises(ValueError, match="cannot resize"):
        X.resize((5000, 3), refcheck=False)
    assert sum(1 for _ in it) == 99
    X.resize((5000, 3), refcheck=False)


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
def test_a_changed_shape_is_found_where_its_batch_is_asked_for():
    X = np.zeros((1000, 3))
    batches = fo.Batches(X, size=10, prefetch=4)
    it = iter(batches)
    next(it)
    X.shape = (3000, 1)
    before = []
    with pytest.raises(ValueError, match="has changed its memory, shape or dtype"):
        before.extend(it)
    taken = batches.position
    assert taken < 10
    X.shape = (1000, 3)
    assert sum(1 for _ in it) == 100 - taken


@pytest.mark.parametrize("augment", [None, lambda b, rng: b])
def test_threads_share_one_pass(augment):
    X = np.arange(20_000 * 4).reshape(20_000, 4)
    it, taken, lock = (
        iter(fo.Batches(X, size=30, rng=0, prefetch=True, augment=augment)),
        [],
        threading.Lock(),
    )

    def work():
        for batch in it:
            assert (np.diff(batch, axis=1) == 1).all()
            with lock:
                taken.append(batch[:, 0] // 4)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert np.array_equal(np.sort(np.concatenate(taken)), np.arange(20_000))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("augment", [None, noisy])
def test_a_forked_child_goes_on(augment):
    X, y = np.random.default_rng(0).random((5000, 20)), np.arange(5000)
    expected = copies(fo.Batches(X, y, size=16, rng=3, augment=augment))
    it = iter(fo.Batches(X, y, size=16, rng=3, augment=augment, prefetch=True))
    got = [tuple(part.copy() for part in next(it)) for _ in range(20)]
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(20)
            same(got + copies(it), expected)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    same(got + copies(it), expected)


EXITS = {
    "in the middle": "next(it)",
    "with an exception": "next(it); raise SystemExit(0)",
    "in a thread": "threading.Thread(target=lambda: next(it)).start()",
    "held in a cycle": "next(it); c = [it]; c.append(c); del it",
}


@pytest.mark.parametrize("augment", ["None", "slow"])
@pytest.mark.parametrize("case", EXITS)
def test_the_interpreter_ends(case, augment):
    code = f"""
        import threading, time, numpy as np, fastopt as fo
        def slow(batch, rng):
            time.sleep(0.01)
            return batch
        it = iter(fo.Batches(np.zeros((100_000, 30)), size=64, prefetch=True, augment={augment}))
        {EXITS[case]}
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_interrupt():
    code = """
        import time, numpy as np, fastopt as fo
        def slow(batch, rng):
            time.sleep(0.2)
            return batch
        batches = fo.Batches(np.arange(1000), size=10, prefetch=True, augment=slow)
        try:
            print("ready", flush=True)
            for batch in batches:
                pass
        except KeyboardInterrupt:
            print(batches.position, len(list(batches.take(batches.position + 2))))
    """
    run = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    assert run.stdout.readline() == "ready\n"
    time.sleep(0.5)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    assert run.returncode == 0
    assert out.split()[1] == "2"


def test_no_memory_is_lost():
    import tracemalloc

    X = np.zeros((4000, 8), np.float32)
    batches = [
        fo.Batches(X, size=16, prefetch=True),
        fo.Batches(X, size=16, prefetch=True, augment=lambda b, rng: b),
    ]
    for b in batches:
        list(b.take(3))
    tracemalloc.start()
    try:
        sizes = []
        for turn in range(30):
            for b in batches:
                for k, _ in enumerate(b):
                    if k == 40:
                        break
            assert gone()
            if turn in (9, 29):
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert sizes[1] - sizes[0] < 30_000


BAD = {
    "zero": ({"prefetch": 0}, ValueError, "prefetch is 0"),
    "text": ({"prefetch": "yes"}, TypeError, "prefetch is 'yes'"),
    "augment": ({"augment": 3}, TypeError, "augment is 3; a function"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    options, error, message = BAD[case]
    with pytest.raises(error, match=message):
        fo.Batches(np.zeros(5), size=2, **options)
