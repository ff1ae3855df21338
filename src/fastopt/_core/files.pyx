"""Rows of files by pread, through a bounded number of descriptors; rows of sparse matrices."""

import os
import threading

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

from fastopt._core.csrc cimport (
    FO_READ_CHANGED, FO_READ_CLOSED, FO_READ_DONE, FO_READ_SHORT, fo_csr, fo_file, fo_pick, fo_read_job, fo_window,
)
from fastopt._core.runtime cimport api

cnp.import_array()

cdef enum:
    ROOM = 1 << 20              # bytes of one read of rows that belong apart
    RELEASE_ROWS = 1 << 12      # sorting fewer is not worth passing on the interpreter lock
    IDLE = 64                   # takes after which a window that served none of them may go
    WANTED = 1024               # windows that may wait to be read


cdef class Window:
    """Rows first .. stop-1 that were announced; in memory once `data` is there."""
    cdef int64_t first, stop, served, tick
    cdef cnp.ndarray data


def stamp_of(int fd):
    """Device, number, size and time of last change of an open file."""
    cdef int64_t stamp[5]
    cdef int error = api().stamp_file(fd, stamp)
    if error:
        raise OSError(error, os.strerror(error))
    return tuple([stamp[k] for k in range(5)])


cdef int outside(cnp.ndarray order, int64_t rows) except -1:
    cdef Py_ssize_t n = cnp.PyArray_DIM(order, 0)
    cdef bint wide = cnp.PyArray_ITEMSIZE(order) == 8
    cdef Py_ssize_t i = api().outside(cnp.PyArray_DATA(order), wide, n, rows)
    if i < n:
        raise IndexError(f"indices[{i}] is {order[i]}; a row number from 0 to {rows - 1} is needed")
    return 0


@cython.final
cdef class Reader:
    """Rows of one length from a list of files, one call at a time.

    parts: for each file its path, its rows, the byte at which they start and its stamp.
    """
    cdef readonly list paths
    cdef readonly Py_ssize_t bytes, rows, budget, held, loaded
    # held: bytes of windows in memory; loaded: of all that ever were
    cdef readonly int open_files
    cdef fo_file *files
    cdef int count, most_open
    cdef int64_t tick
    cdef object lock, pid
    cdef list windows, spare         # spare: memory of windows that are gone
    cdef Py_ssize_t kept             # bytes of spare
    cdef cnp.ndarray scratch, picks
    cdef bint closed

    def __cinit__(self, list parts, Py_ssize_t row_bytes, Py_ssize_t budget, int most_open):
        cdef int i, k
        self.count = <int> len(parts)
        self.bytes = row_bytes
        self.budget = budget
        self.most_open = most_open
        self.files = <fo_file *> calloc(self.count, sizeof(fo_file))
        if self.files == NULL:
            raise MemoryError()
        self.paths = []
        for i, (path, rows, start, stamp) in enumerate(parts):
            self.paths.append(path)
            self.files[i].fd = -1
            self.files[i].first = self.rows
            self.files[i].rows = rows
            self.files[i].start = start
            for k in range(5):
                self.files[i].stamp[k] = stamp[k]
            self.rows += rows
        self.windows = []
        self.spare = []
        self.lock = threading.Lock()
        self.pid = os.getpid()

    def __dealloc__(self):
        free(self.files)

    def __del__(self):
        self.shut()

    cdef shut(self):
        cdef int i, fd
        for i in range(self.count):
            fd = self.files[i].fd
            if fd >= 0:
                self.files[i].fd = -1
                os.close(fd)
        self.open_files = 0

    def close(self):
        """Gives back descriptors and memory. Reading afterwards is an error."""
        with self.guard():
            self.closed = True
            self.drop_all()
            self.scratch = self.picks = None
            self.shut()

    cdef object guard(self):
        """The lock. In a forked child that of the parent may be held for ever by a thread that is not there."""
        if self.pid != os.getpid():
            self.lock = threading.Lock()
            self.pid = os.getpid()
            self.drop_all()                 # what another thread was about to fill
            self.scratch = self.picks = None
        return self.lock

    cdef int check_open(self) except -1:
        if self.closed:
            raise ValueError(f"{self.paths[0]} is closed; open it again")
        return 0

    # ---- files ----

    cdef int open(self, int i) except -1:
        """Opens file i; before that closes the one that was not used for longest, if too many are open."""
        cdef int k, old = -1, fd
        if self.open_files >= self.most_open:
            for k in range(self.count):
                if self.files[k].fd >= 0 and (old < 0 or self.files[k].used < self.files[old].used):
                    old = k
            fd = self.files[old].fd
            self.files[old].fd = -1
            self.open_files -= 1
            os.close(fd)
        self.files[i].fd = os.open(self.paths[i], os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        self.open_files += 1
        return 0

    cdef int run(self, fo_read_job *job) except -1:
        cdef int status
        job.files = self.files
        job.count = self.count
        job.bytes = self.bytes
        job.tick = self.tick
        while True:
            with nogil:
                status = api().read_rows(job)
            if status == FO_READ_DONE:
                return 0
            path = self.paths[job.file]
            if status == FO_READ_CLOSED:
                self.open(job.file)
            elif status == FO_READ_CHANGED:
                was = tuple([self.files[job.file].stamp[k] for k in range(5)])
                now = stamp_of(self.files[job.file].fd)
                if was[:2] != now[:2]:
                    raise ValueError(f"{path} was replaced by another file since it was opened; open it again")
                if was[2] != now[2]:
                    raise ValueError(f"{path} has changed from {was[2]} to {now[2]} bytes since it was opened; "
                                     "open it again")
                raise ValueError(f"{path} was written to since it was opened; open it again")
            elif status == FO_READ_SHORT:
                raise ValueError(f"{path} ends before all of its {self.files[job.file].rows} rows: it was cut")
            else:
                raise OSError(job.error, os.strerror(job.error), path)

    # ---- windows ----

    cdef drop(self, Window w):
        self.windows.remove(w)
        if w.data is not None:
            self.held -= len(w.data)
            self.spare.append(w.data)
            self.kept += len(w.data)
            w.data = None

    cdef drop_all(self):
        self.windows = []
        self.spare = []
        self.held = self.kept = 0

    cdef object memory(self, Py_ssize_t size):
        """Memory of a window: that of an old one if it fits, for new memory costs a page fault a page."""
        for i, old in enumerate(self.spare):
            if size <= len(old) <= size + (size >> 2):
                self.kept -= len(old)
                return self.spare.pop(i)
        while self.spare and self.held + self.kept + size > self.budget:
            self.kept -= len(self.spare.pop())
        return np.empty(size, np.uint8)

    cdef load(self, Window w):
        """Reads a window, if its memory is within the budget once those that nobody needs are gone."""
        cdef Window other
        cdef Py_ssize_t size = (w.stop - w.first) * self.bytes
        if self.held + size > self.budget:
            for other in list(self.windows):
                if other.data is not None and other.tick + IDLE < self.tick:
                    self.drop(other)
            if self.held + size > self.budget:
                return                      # its rows are read one by one
        data = self.memory(size)
        self.read_run(w.first, w.stop - w.first, <char *> cnp.PyArray_DATA(<cnp.ndarray> data))
        w.data = data
        self.held += len(data)
        self.loaded += size

    cdef int read_run(self, int64_t first, Py_ssize_t n, char *out) except -1:
        """Rows in their own order. Signals are looked at every now and then."""
        cdef fo_read_job job
        cdef Py_ssize_t step = max(1, (1 << 26) // self.bytes), done = 0
        job.windows = NULL
        job.n_windows = 0
        job.picks = NULL
        job.scratch = NULL
        job.room = 0
        while done < n:
            job.first = first + done
            job.n = min(step, n - done)
            job.out = out + done * self.bytes
            job.done = 0
            self.run(&job)
            done += job.n
            PyErr_CheckSignals()
        return 0

    def advise(self, int64_t first, int64_t stop):
        """Rows first .. stop-1 are wanted soon: the system begins to read; the next `take` keeps them here."""
        cdef Window w
        cdef int i
        cdef int64_t low, high
        with self.guard():
            self.check_open()
            for w in list(self.windows):
                if w.first == first and w.stop == stop:
                    return
                if w.first < stop and first < w.stop:
                    self.drop(w)
            for i in range(self.count):
                low = max(first, self.files[i].first)
                high = min(stop, self.files[i].first + self.files[i].rows)
                if low < high:
                    if self.files[i].fd < 0:
                        self.open(i)
                    self.files[i].used = self.tick
                    with nogil:
                        api().advise_rows(&self.files[i], self.bytes, low - self.files[i].first, high - low)
            if (stop - first) * self.bytes > self.budget:
                return
            if len(self.windows) >= WANTED:
                self.drop(self.windows[0])
            w = Window()
            w.first = first
            w.stop = stop
            w.tick = self.tick
            self.windows.append(w)

    def announced(self):
        """The windows that are wanted or here, as (first, stop)."""
        cdef Window w
        return [(w.first, w.stop) for w in self.windows]

    cdef list serve(self, fo_pick *picks, Py_ssize_t n):
        """Counts the picks that lie in each window and reads those that are not here yet."""
        cdef Window w
        cdef Py_ssize_t count
        cdef list ready = []
        for w in list(self.windows):
            count = below(picks, n, w.stop) - below(picks, n, w.first)
            if count == 0:
                continue
            w.tick = self.tick
            w.served += count
            if w.data is None:
                self.load(w)
            if w.data is not None:
                ready.append(w)
        ready.sort(key=_first)
        return ready

    # ---- rows ----

    def take(self, cnp.ndarray order, cnp.ndarray out):
        """Rows order[i] into out[i]: a C-contiguous array of len(order) rows; order is uint32 or int64."""
        cdef Py_ssize_t n = cnp.PyArray_DIM(order, 0), i
        cdef bint wide = cnp.PyArray_ITEMSIZE(order) == 8
        cdef void *data = cnp.PyArray_DATA(order)
        cdef fo_pick *picks
        cdef fo_window few[16]
        cdef fo_window *table = few
        cdef cnp.ndarray more
        cdef Window w
        cdef list ready = []
        cdef fo_read_job job
        outside(order, self.rows)
        with self.guard():
            self.check_open()
            if n == 0 or self.bytes == 0:
                return
            self.tick += 1
            if self.picks is None or len(self.picks) < 4 * n:
                self.picks = np.empty(4 * n, np.int64)
            if self.scratch is None:
                self.scratch = np.empty(ROOM, np.uint8)
            picks = <fo_pick *> cnp.PyArray_DATA(self.picks)
            if n >= RELEASE_ROWS:
                with nogil:
                    api().sort_picks(data, wide, n, self.rows, picks, picks + n)
            else:
                api().sort_picks(data, wide, n, self.rows, picks, picks + n)
            if self.windows:
                ready = self.serve(picks, n)
            if len(ready) > 16:
                more = np.empty(len(ready) * sizeof(fo_window), np.uint8)
                table = <fo_window *> cnp.PyArray_DATA(more)
            for i, w in enumerate(ready):
                table[i].first = w.first
                table[i].stop = w.stop
                table[i].data = <const char *> cnp.PyArray_DATA(w.data)
            job.windows = table
            job.n_windows = <int> len(ready)
            job.picks = picks
            job.first = 0
            job.n = n
            job.out = <char *> cnp.PyArray_DATA(out)
            job.scratch = <char *> cnp.PyArray_DATA(self.scratch)
            job.room = ROOM
            job.done = 0
            self.run(&job)
            for w in list(self.windows):
                if w.served >= w.stop - w.first:        # of an epoch's order nothing of it is left
                    self.drop(w)

    def read(self, int64_t first, cnp.ndarray out):
        """Rows from `first` on into a C-contiguous array, which must be as long as they are."""
        cdef Py_ssize_t n = cnp.PyArray_DIM(out, 0)
        with self.guard():
            self.check_open()
            self.tick += 1
            if self.bytes:
                self.read_run(first, n, <char *> cnp.PyArray_DATA(out))


def _first(Window w):
    return w.first


cdef Py_ssize_t below(const fo_pick *picks, Py_ssize_t n, int64_t row) noexcept nogil:
    """How many picks are of rows before `row`."""
    cdef Py_ssize_t low = 0, high = n, mid
    while low < high:
        mid = low + (high - low) // 2
        if picks[mid].row < row:
            low = mid + 1
        else:
            high = mid
    return low


@cython.final
cdef class CsrRows:
    """Rows of a matrix in compressed rows, given by its three arrays."""
    cdef cnp.ndarray indptr, indices, data
    cdef fo_csr m

    def __init__(self, cnp.ndarray indptr, cnp.ndarray indices, cnp.ndarray data):
        self.indptr = indptr
        self.indices = indices
        self.data = data
        self.m.indptr = cnp.PyArray_DATA(indptr)
        self.m.indices = cnp.PyArray_DATA(indices)
        self.m.data = <const char *> cnp.PyArray_DATA(data)
        self.m.wide = cnp.PyArray_ITEMSIZE(indptr) == 8
        self.m.item = cnp.PyArray_ITEMSIZE(data)
        self.m.rows = len(indptr) - 1
        self.m.stored = min(len(indices), len(data))

    def take(self, cnp.ndarray order):
        """data, indices, indptr of these rows; indices are int64 where 32 bits do not suffice."""
        cdef Py_ssize_t n = cnp.PyArray_DIM(order, 0)
        cdef bint wide = cnp.PyArray_ITEMSIZE(order) == 8, out_wide
        cdef cnp.ndarray starts = np.empty(n + 1, np.int64)
        cdef int64_t *at = <int64_t *> cnp.PyArray_DATA(starts)
        cdef const void *rows = cnp.PyArray_DATA(order)
        cdef int64_t count
        with nogil:
            count = api().csr_starts(&self.m, rows, wide, n, at)
        if count < 0:
            outside(order, self.m.rows)
            raise ValueError(f"indptr of row {order[-1 - count]} is not in order: the matrix was changed or is damaged")
        out_wide = self.m.wide or count > 0x7FFFFFFF
        kind = np.int64 if out_wide else np.int32
        cdef cnp.ndarray indptr = np.empty(n + 1, kind), indices = np.empty(count, kind)
        cdef cnp.ndarray data = np.empty(count, self.data.dtype)
        cdef void *p = cnp.PyArray_DATA(indptr)
        cdef void *j = cnp.PyArray_DATA(indices)
        cdef char *x = <char *> cnp.PyArray_DATA(data)
        with nogil:
            api().csr_rows(&self.m, rows, wide, n, at, out_wide, p, j, x)
        return data, indices, indptr
