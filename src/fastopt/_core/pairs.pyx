"""The memory of L-BFGS as an object: checks arrays, owns the block and its scratch, calls csrc/pairs_api.h."""

from libc.string cimport memcpy

cimport numpy as cnp

import numpy as np

from fastopt._core.csrc cimport FO_F32, FO_F64, FO_PAIRS_DIRECT, FO_PAIRS_MAX, fo_pair_sums, fo_pairs
from fastopt._core.runtime cimport api

cnp.import_array()

MAX = FO_PAIRS_MAX
DIRECT = FO_PAIRS_DIRECT


cdef cnp.ndarray aligned(size_t count):
    """Zeroed bytes that start at a cache line."""
    raw = np.zeros(count + 63, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip:skip + count]


cdef class Pairs:
    """Up to m pairs (s, y) of length n; see csrc/pairs_api.h for what each method does and for the formulas.

    Parameters
    ----------
    n : int
        Length of the vectors, >= 0.
    m : int
        Most pairs that are kept, 1 to ``MAX``.
    dtype : dtype
        float32 or float64: of every vector handed in.
    """

    cdef cnp.ndarray _block, _scratch
    cdef fo_pairs *p
    cdef void *work
    cdef bint fresh, busy
    cdef readonly object dtype

    def __init__(self, Py_ssize_t n, int m, dtype=np.float64):
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise TypeError(f"dtype is {self.dtype}; float32 or float64 is needed")
        if not 1 <= m <= FO_PAIRS_MAX:
            raise ValueError(f"m is {m}; 1 to {MAX} pairs are needed")
        if n < 0 or n > (<Py_ssize_t> 1 << 52) // m:
            raise ValueError(f"n is {n}; a length of at least 0 that fits into memory is needed")
        cdef int width = FO_F32 if self.dtype == np.float32 else FO_F64
        self._block = aligned(api().pairs_bytes(width, n, m))
        self._scratch = aligned(api().pairs_scratch(width, n, m))
        self.p = <fo_pairs *> cnp.PyArray_DATA(self._block)
        self.work = cnp.PyArray_DATA(self._scratch)
        api().pairs_begin(self.p, width, n, m)

    cdef void *vector(self, str name, object given, bint write=False) except NULL:
        if not isinstance(given, np.ndarray) or given.dtype != self.dtype or given.ndim != 1 \
                or given.shape[0] != self.p.n or not cnp.PyArray_ISCARRAY_RO(given):
            got = f"{given.dtype} of shape {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
            raise ValueError(f"{name} is {got}; a contiguous array of {self.p.n} elements of {self.dtype} is needed")
        if write and not cnp.PyArray_ISWRITEABLE(given):
            raise ValueError(f"{name} is read-only; a writable array is needed")
        return cnp.PyArray_DATA(given)

    cdef int enter(self) except -1:
        if self.busy:
            raise RuntimeError("this memory is in use by another thread; one call at a time is needed")
        self.busy = True
        return 0

    cdef int need_fresh(self) except -1:
        if not self.fresh:
            raise ValueError("no pair has been measured since the last was accepted or rejected; call measure first")
        return 0

    def measure(self, x, xt, g, gt):
        """Forms s = xt - x, y = gt - g; their sums as a dict: sy, yy, ss, gg, sg, yg, largest."""
        cdef void *a = self.vector("x", x)
        cdef void *b = self.vector("xt", xt)
        cdef void *c = self.vector("g", g)
        cdef void *d = self.vector("gt", gt)
        cdef fo_pair_sums out
        self.enter()
        with nogil:
            api().pairs_measure(self.p, a, b, c, d, &out, self.work, api().get_num_threads())
        self.busy, self.fresh = False, True
        return out

    def damp(self, double theta, gt):
        """y <- theta y + (1 - theta) s / gamma for the measured pair; its new sums."""
        cdef void *a = self.vector("gt", gt)
        cdef fo_pair_sums out
        if not 0 <= theta <= 1:
            raise ValueError(f"theta is {theta}; a number from 0 to 1 is needed")
        self.need_fresh()
        self.enter()
        with nogil:
            api().pairs_damp(self.p, theta, a, &out, self.work, api().get_num_threads())
        self.busy = False
        return out

    def accept(self):
        """The measured pair counts from now on, and gamma is its s'y / y'y."""
        self.need_fresh()
        api().pairs_accept(self.p)
        self.fresh = False

    def reject(self):
        """The measured pair does not count."""
        self.need_fresh()
        api().pairs_reject(self.p)
        self.fresh = False

    def reset(self):
        """Forgets all pairs; gamma = 1."""
        api().pairs_reset(self.p)
        self.fresh = False

    cdef tuple pointers(self, v, out):
        if out is None:
            out = np.empty(self.p.n, self.dtype)
        self.vector("v", v)
        self.vector("out", out, True)
        if self.p.n and np.may_share_memory(v, out):
            raise ValueError("out overlaps v; an array of its own is needed")
        return v, out

    def direction(self, gt, out=None):
        """(d, gt'd) with d = -H gt, gt that of the last measure; gt'd is NaN if d does not descend."""
        cdef cnp.ndarray v, d
        cdef double slope
        v, d = self.pointers(gt, out)
        cdef void *a = cnp.PyArray_DATA(v)
        cdef void *b = cnp.PyArray_DATA(d)
        self.enter()
        with nogil:
            slope = api().pairs_direction(self.p, a, b, self.work, api().get_num_threads())
        self.busy = False
        return d, slope

    def two_loop(self, gt, out=None):
        """(d, gt'd) with d = -H gt for any gt, by the two-loop recursion."""
        cdef cnp.ndarray v, d
        cdef double slope
        v, d = self.pointers(gt, out)
        cdef void *a = cnp.PyArray_DATA(v)
        cdef void *b = cnp.PyArray_DATA(d)
        self.enter()
        with nogil:
            slope = api().pairs_two_loop(self.p, a, b, self.work, api().get_num_threads())
        self.busy = False
        return d, slope

    def product(self, v, out=None):
        """(H v, v'H v) for any v."""
        cdef cnp.ndarray given, to
        cdef double value
        given, to = self.pointers(v, out)
        cdef void *a = cnp.PyArray_DATA(given)
        cdef void *b = cnp.PyArray_DATA(to)
        self.enter()
        with nogil:
            value = api().pairs_product(self.p, a, b, self.work, api().get_num_threads())
        self.busy = False
        return to, value

    def pair(self, int age):
        """Copies (s, y) of the pair of this age: 0 is the oldest, count the one just measured."""
        if not 0 <= age < self.p.count + self.fresh:
            raise IndexError(f"age is {age}; there are {self.p.count + self.fresh} pairs")
        s, y = np.empty(self.p.n, self.dtype), np.empty(self.p.n, self.dtype)
        api().pairs_get(self.p, age, cnp.PyArray_DATA(s), cnp.PyArray_DATA(y))
        return s, y

    @property
    def n(self):
        return self.p.n

    @property
    def m(self):
        return self.p.m

    @property
    def count(self):
        return self.p.count

    @property
    def gamma(self):
        """H_0 = gamma I."""
        return self.p.gamma

    @gamma.setter
    def gamma(self, double value):
        if not 0 < value < float("inf"):
            raise ValueError(f"gamma is {value}; a positive number is needed")
        self.p.gamma = value

    @property
    def block(self):
        """All of the memory, as read-only bytes."""
        view = self._block.view()
        view.flags.writeable = False
        return view

    def load(self, data):
        """Takes over a block of the same n, m and dtype. ValueError, with nothing changed, if it is not one."""
        given = np.frombuffer(data, np.uint8)
        cdef fo_pairs head
        cdef size_t fixed = <char *> &self.p.count - <char *> self.p
        cdef size_t then = <char *> &self.p.gamma - <char *> self.p
        if given.size != self._block.size:
            raise ValueError(f"data has {given.size} bytes; {self._block.size} are needed")
        memcpy(&head, cnp.PyArray_DATA(given), sizeof(fo_pairs))
        mine, offsets = self.block, slice(then + 3 * sizeof(double), sizeof(fo_pairs))
        same = (mine[:fixed] == given[:fixed]).all() and (mine[offsets] == given[offsets]).all()
        # Unless the ring has been full, the next slot is the one after the last pair.
        if not (same and 0 <= head.count <= head.m and 0 <= head.head < head.m and head.gamma > 0
                and (head.head == head.count or head.count >= head.m - 1)):
            raise ValueError(f"data is not a memory of {self.p.m} pairs of {self.p.n} elements of {self.dtype}")
        self._block[:] = given
        self.fresh = False
