"""Jobs that write to places of their own, shared out among a few Python threads: NumPy fills without the GIL."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fastopt._threads import get_num_threads

__all__ = ["Job", "run_jobs"]

LEAST = 1 << 15  # elements for which waking a thread pays


class Job(NamedTuple):
    """Some elements to write; what they become does not depend on who writes them, or when."""

    size: int
    work: Callable[[], None]


def run_jobs(jobs: Sequence[Job]) -> None:
    """Do all jobs, the calling thread among the workers. The first error stops the rest and is raised."""
    helpers = 0
    if len(jobs) > 1:
        helpers = min(get_num_threads(), len(jobs), sum(job.size for job in jobs) // LEAST) - 1
    if helpers < 1:
        for job in jobs:
            job.work()
        return
    waiting = deque(sorted(jobs, key=lambda job: -job.size))  # large ones first, for an even end
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                try:
                    job = waiting.popleft()
                except IndexError:
                    return
                job.work()
        except BaseException as error:
            waiting.clear()
            errors.append(error)

    threads = []
    for _ in range(helpers):
        thread = threading.Thread(target=work, name="fastopt-init")
        try:
            thread.start()
        except RuntimeError:  # no more threads here, or the interpreter is ending: the caller does it all
            break
        threads.append(thread)
    work()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
