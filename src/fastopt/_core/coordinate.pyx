"""Coordinate descent on one matrix: holds the memory, calls csrc slice by slice. No formula lives here."""

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t
from numpy.random cimport bitgen_t

from fastopt._core.csrc cimport FO_DESCENT_MORE, FO_F32, FO_F64, fo_bits, fo_descent
from fastopt._core.runtime cimport api

cnp.import_array()

cdef enum:
    SLICE_DENSE = 4000000       # elements between two looks at signals: milliseconds
    SLICE_SPARSE = 1000000      # each may be a cache miss


@cython.final
cdef class Descent:
    """X with its column norms, a target y, and the coefficients w reached so far.

    The caller has checked: X is (n, p) with packed columns, or CSC within bounds; y has its dtype, float32 or
    float64, and n elements; with `means`, `ones` has n elements of that dtype and y is orthogonal to it.
    """
    cdef fo_descent s
    cdef object held                        # keeps alive what pointers point to
    cdef fo_bits bits
    cdef object bit_generator
    cdef readonly cnp.ndarray w, q, r, y, norms

    def __init__(self, X, indices, indptr, tuple shape, means, ones, dtype):
        cdef cnp.ndarray data = X
        cdef Py_ssize_t n = shape[0], p = shape[1]
        self.s.x.width = FO_F32 if dtype == np.float32 else FO_F64
        self.s.x.n = n
        self.s.x.p = p
        self.s.x.data = cnp.PyArray_DATA(data)
        if indices is None:
            self.s.x.step = cnp.PyArray_STRIDE(data, 1) // cnp.PyArray_ITEMSIZE(data)
        else:
            self.s.x.wide = cnp.PyArray_ITEMSIZE(<cnp.ndarray> indices) == 8
            self.s.x.rows = cnp.PyArray_DATA(<cnp.ndarray> indices)
            self.s.x.start = <const int64_t *> cnp.PyArray_DATA(<cnp.ndarray> indptr)
        if means is not None:
            self.s.x.means = <const double *> cnp.PyArray_DATA(<cnp.ndarray> means)
            self.s.x.ones = cnp.PyArray_DATA(<cnp.ndarray> ones)
            self.s.x.mass = np.dot(ones.astype(np.float64), ones)
        self.norms = np.zeros(p)
        self.w = np.zeros(p)
        self.q = np.zeros(p)
        self.r = np.zeros(n, dtype)
        alive = np.empty(p, np.int64)
        working = np.empty(p, np.int64)
        order = np.empty(p, np.int64)
        rank = np.empty(p)
        self.held = (X, indices, indptr, means, ones, alive, working, order, rank)
        self.s.norms = <const double *> cnp.PyArray_DATA(self.norms)
        self.s.w = <double *> cnp.PyArray_DATA(self.w)
        self.s.q = <double *> cnp.PyArray_DATA(self.q)
        self.s.r = cnp.PyArray_DATA(self.r)
        self.s.alive = <int64_t *> cnp.PyArray_DATA(<cnp.ndarray> alive)
        self.s.working = <int64_t *> cnp.PyArray_DATA(<cnp.ndarray> working)
        self.s.order = cnp.PyArray_DATA(<cnp.ndarray> order)
        self.s.rank = <double *> cnp.PyArray_DATA(<cnp.ndarray> rank)
        self.s.threads = api().get_num_threads()
        cdef double *norms = <double *> self.s.norms
        with nogil:
            api().column_norms(&self.s.x, norms, self.s.threads)

    def target(self, cnp.ndarray y, double yy, bint careful):
        """Fit this y from now on; w stays where it is."""
        self.y = y
        self.s.y = cnp.PyArray_DATA(y)
        self.s.yy = yy
        self.s.x.careful = careful
        self.s.fresh = False

    def start(self, w):
        """Go on from these coefficients."""
        self.s.fresh = False
        self.w[...] = w

    def run(self, double a, double b, double gap, int64_t most, bint positive, bint screening, bit_generator=None):
        """Descend until the gap is reached, or for `most` sweeps; the status of fo_descend.

        An interrupt comes out between two slices; w is then usable, and the next run starts from it.
        """
        cdef bitgen_t *source
        cdef int status = FO_DESCENT_MORE
        cdef int64_t budget = SLICE_SPARSE if self.s.x.rows != NULL else SLICE_DENSE
        self.s.a, self.s.b, self.s.gap_wanted, self.s.most = a, b, gap, most
        self.s.positive, self.s.screening = positive, screening
        self.s.bits = NULL
        if bit_generator is not None:
            source = <bitgen_t *> PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
            self.bits.state = source.state
            self.bits.next = source.next_uint64
            self.s.bits = &self.bits
        api().descent_begin(&self.s)
        while True:
            if bit_generator is None:
                with nogil:
                    status = api().descend(&self.s, budget)
            else:
                with bit_generator.lock, nogil:
                    status = api().descend(&self.s, budget)
            if status != FO_DESCENT_MORE:
                return status
            PyErr_CheckSignals()

    @property
    def gap(self):
        return self.s.gap

    @property
    def primal(self):
        return self.s.primal

    @property
    def sweeps(self):
        return self.s.sweeps

    @property
    def checks(self):
        return self.s.checks

    @property
    def screened(self):
        return self.s.screened
