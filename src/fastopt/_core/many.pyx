"""Drives csrc/solve/many.c: many problems of one size, for a compiled objective or a function of rows."""

from time import monotonic

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

from fastopt._core.csrc cimport FO_F32, FO_F64, fo_many, fo_objective, fo_options
from fastopt._core.runtime cimport api

from fastopt._core.solve import as_vector, packed_options

cnp.import_array()


cdef class Many:
    """B problems of n elements by one method.

    Parameters
    ----------
    x0 : ndarray, shape (B, n), float32 or float64, C-contiguous
        Not changed; held until the end.
    method : str
    options : dict
        Fields of ``fo_options``; each problem works on one thread.
    lanes : int
        Problems under way at once, >= 1.

    Attributes
    ----------
    x, jac : ndarray, shape (B, n)
    fun : ndarray, shape (B,)
    nit, nfev, njev, status : ndarray, shape (B,)
        Of the problems that have ended; ``status`` is -1 for the others.
    """

    cdef fo_many m
    cdef fo_options o
    cdef object x0, blocks, lane_rows, raw
    cdef readonly object x, jac, fun, nit, nfev, njev, status
    cdef object type

    def __init__(self, x0, str method, dict options, Py_ssize_t lanes):
        cdef cnp.ndarray x = x0
        if x.ndim != 2 or x.dtype not in (np.float32, np.float64) or not cnp.PyArray_ISCARRAY_RO(x):
            raise TypeError("x0 must be contiguous rows of float32 or float64")
        packed, size = packed_options(method, x.dtype, x.shape[1], {**options, "threads": 1})
        memcpy(&self.o, <const char *> packed, sizeof(self.o))
        rows = x.shape[0]
        self.type = x.dtype
        self.x0 = x0
        self.x, self.jac = np.array(x0), np.full_like(x0, np.nan)
        self.fun = np.full(rows, np.nan)
        self.nit, self.nfev, self.njev = (np.zeros(rows, np.int64) for _ in range(3))
        self.status = np.full(rows, -1, np.int32)
        size = (size + 63) // 64 * 64
        self.raw = np.empty(lanes * size + 64, np.uint8)
        start = -(<size_t> cnp.PyArray_DATA(self.raw)) % 64
        self.blocks = self.raw[start:start + lanes * size]
        self.lane_rows = np.full(lanes, -1, np.int64)
        self.m.width = FO_F32 if x.dtype == np.float32 else FO_F64
        self.m.lanes = lanes
        self.m.n = x.shape[1]
        self.m.rows = rows
        self.m.block_bytes = size
        self.m.o = &self.o
        self.m.x0 = x.data
        self.m.x = <char *> cnp.PyArray_DATA(self.x)
        self.m.g = <char *> cnp.PyArray_DATA(self.jac)
        self.m.f = <double *> cnp.PyArray_DATA(self.fun)
        self.m.nit = <int64_t *> cnp.PyArray_DATA(self.nit)
        self.m.nfev = <int64_t *> cnp.PyArray_DATA(self.nfev)
        self.m.njev = <int64_t *> cnp.PyArray_DATA(self.njev)
        self.m.status = <int32_t *> cnp.PyArray_DATA(self.status)
        self.m.blocks = <char *> cnp.PyArray_DATA(self.blocks)
        self.m.row = <int64_t *> cnp.PyArray_DATA(self.lane_rows)
        self.m.next = 0

    def run_compiled(self, fun, int64_t step, int threads):
        """fun: a `Compiled`; its user data moves on by `step` bytes a problem. Looks at signals about every 20 ms."""
        cdef size_t call, user
        cdef int64_t budget = 1
        cdef int more = self.m.rows > 0
        cdef double begin, took
        if fun.width != self.m.width:
            raise TypeError(f"the compiled objective takes vectors of {'float' if fun.width == FO_F32 else 'double'}; "
                            f"x0 is {self.type}")
        call, user = fun.pointers
        while more:
            begin = monotonic()
            with nogil:
                more = api().many_run(&self.m, <fo_objective> call, <void *> user, step, budget, threads)
            PyErr_CheckSignals()
            took = monotonic() - begin
            if took < 0.01:
                budget *= 2
            elif took > 0.04:
                budget = max(1, budget // 2)

    def run(self, fun, select):
        """fun(x, *args) -> (f, g) over the rows that are at work; select(rows) -> the args for them."""
        cdef cnp.ndarray rows, x, f, g
        cdef cnp.npy_intp k
        lanes, n = self.m.lanes, self.m.n
        rows = np.empty(lanes, np.int64)
        while True:
            x = np.empty((lanes, n), self.type)             # fun may keep it
            with nogil:
                k = api().many_ask(&self.m, x.data, <int64_t *> rows.data)
            if k == 0:
                return
            answer = fun(x[:k] if k < lanes else x, *select(rows[:k]))
            try:
                values, gradients = answer
            except (TypeError, ValueError):
                came = type(answer).__name__
                raise TypeError(f"fun returned {came}; the pair (values, gradients) is needed") from None
            f = as_vector(values, k, np.dtype(np.float64), "the values that fun returned")
            g = as_rows(gradients, k, n, self.type)
            with nogil:
                api().many_tell(&self.m, <const double *> f.data, g.data)
            PyErr_CheckSignals()


cdef object as_rows(g, k, n, dtype):
    a = np.asarray(g)
    if a.dtype.kind not in "fiub":
        raise TypeError(f"the gradients that fun returned are {type(g).__name__} ({a.dtype}); "
                        "an array of real numbers is needed")
    if a.shape != (k, n):
        raise ValueError(f"the gradients that fun returned have shape {a.shape}; {(k, n)} is needed")
    return np.ascontiguousarray(a, dtype)
