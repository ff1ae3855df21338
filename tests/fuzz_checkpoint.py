"""Fuzz the reader of checkpoints: ``python tests/fuzz_checkpoint.py [count] [first]``; a million takes about half an hour on one core.

Every file either loads or ends in CheckpointError; more memory than the file's length and 1 MiB is never taken. What
is found is printed with its number: ``make(number, base)`` makes that file again.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import fastopt as fo
from checkpoint_cases import bits, sample
from checkpoint_inputs import make
from fastopt.checkpoint import CheckpointError

TRACED = 97  # each so-manieth input is read with an eye on memory, which takes ten times as long


def attempt(data: bytes, path: str, targets: dict[str, object] | None) -> str:
    with open(path, "wb") as file:
        file.write(data)
    try:
        fo.load(path, **(targets or {}))
    except CheckpointError as error:
        return str(error).partition(": ")[2][:24]
    return "loaded"


def main(count: int, first: int) -> int:
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = os.path.join(place, "x")
        fo.save(path, **sample())
        base = Path(path).read_bytes()
        targets = sample(1)
        untouched = bits(targets)
        seen: Counter[str] = Counter()
        begin = time.perf_counter()
        for seed in range(first, first + count):
            data = make(seed, base)
            into = targets if seed % 2 else None
            traced = seed % TRACED == 0
            try:
                if traced:
                    tracemalloc.start()
                what = attempt(data, path, into)
                if traced and tracemalloc.get_traced_memory()[1] > len(data) + (1 << 20):
                    print(f"{seed}: {tracemalloc.get_traced_memory()[1]} bytes of memory for {len(data)}")
                    return 1
            except Exception as error:
                print(f"{seed}: {type(error).__name__}: {error}")
                return 1
            finally:
                tracemalloc.stop()
            seen[what] += 1
            if into is not None:
                if what == "loaded":  # the good file, or one that differs in what is not ours
                    targets = sample(1)
                elif seed % 101 == 1 and bits(targets) != untouched:
                    print(f"{seed}: refused, and something was changed")
                    return 1
        seconds = time.perf_counter() - begin
        print(f"{count} inputs in {seconds:.0f} s: {seen['loaded']} loaded, the others CheckpointError")
        for text, times in seen.most_common(40):
            print(f"{times:9d}  {text}")
    return 0


if __name__ == "__main__":
    given = [int(float(a)) for a in sys.argv[1:]]
    sys.exit(main(*given, *(1_000_000, 0)[len(given) :]))
