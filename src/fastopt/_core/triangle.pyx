"""The matrix work of BFGS on NumPy arrays, for tests and benchmarks: solvers call it from C (csrc/triangle.h)."""

cimport numpy as cnp
from libc.limits cimport INT_MAX

from fastopt._core.blas cimport blas
from fastopt._core.csrc cimport FO_F32, FO_F64, fo_blas
from fastopt._core.runtime cimport api

import numpy as np

cnp.import_array()


cdef int bad(name, cnp.ndarray x, wanted) except -1:
    raise ValueError(f"{name} is {x.dtype} of shape {tuple((<object> x).shape)}; {wanted} is needed")


cdef int width_of(name, cnp.ndarray x) except -1:
    cdef int kind = cnp.PyArray_TYPE(x)
    if not (kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE) or not cnp.PyArray_ISCARRAY_RO(x):
        bad(name, x, "a contiguous array of float32 or float64")
    return FO_F32 if kind == cnp.NPY_FLOAT else FO_F64


cdef void *data(name, cnp.ndarray x, int width, Py_ssize_t size, bint write) except? NULL:
    """The data of x, if it has this width and at least this many elements. NULL for None."""
    if x is None:
        return NULL
    if width_of(name, x) != width or cnp.PyArray_SIZE(x) < size or (write and not cnp.PyArray_ISWRITEABLE(x)):
        bad(name, x, f"a {'writable ' if write else ''}contiguous array of {size} elements of "
                     f"{'float32' if width == FO_F32 else 'float64'}")
    return cnp.PyArray_DATA(x)


cdef int pair(cnp.ndarray s, cnp.ndarray w) except -1:
    if (s is None) != (w is None):
        raise ValueError("of s and w one is None; both or none are needed")
    return 0


cdef int apart(cnp.ndarray u, others) except -1:
    for name, x in others:
        if x is not None and np.may_share_memory(u, x):
            raise ValueError(f"u overlaps {name}; an array of its own is needed")
    return 0


cdef int width_named(dtype) except -1:
    kind = np.dtype(dtype)
    if kind != np.float32 and kind != np.float64:
        raise ValueError(f"dtype is {kind}; float32 or float64 is needed")
    return FO_F32 if kind == np.float32 else FO_F64


cdef Py_ssize_t order(n) except -1:
    if n < 0:
        raise ValueError(f"n is {n}; 0 or more is needed")
    return n


def elements(dtype, n):
    """Elements of a packed triangle for n unknowns."""
    return api().triangle_elements(width_named(dtype), order(n))


def scratch(dtype, n):
    """Bytes of scratch that `pass_` needs."""
    return api().triangle_scratch(width_named(dtype), order(n))


def identity(n, double gamma, cnp.ndarray h not None):
    """h = gamma I, packed; in place."""
    cdef int width = width_of("h", h)
    cdef Py_ssize_t size = order(n)
    cdef void *to = data("h", h, width, api().triangle_elements(width, size), True)
    with nogil:
        api().triangle_identity(width, size, to, gamma)


def pack(cnp.ndarray a not None, cnp.ndarray h not None):
    """h = the lower triangle of a, packed; in place."""
    cdef int width = width_of("a", a)
    if cnp.PyArray_NDIM(a) != 2 or cnp.PyArray_DIM(a, 0) != cnp.PyArray_DIM(a, 1):
        bad("a", a, "a square matrix")
    cdef Py_ssize_t n = cnp.PyArray_DIM(a, 0)
    cdef void *to = data("h", h, width, api().triangle_elements(width, n), True)
    cdef const void *x = cnp.PyArray_DATA(a)
    with nogil:
        api().triangle_pack(width, n, x, to)


def unpack(n, cnp.ndarray h not None, cnp.ndarray s=None, cnp.ndarray w=None):
    """H + s w' + w s' as a full matrix."""
    cdef int width = width_of("h", h)
    cdef Py_ssize_t size = order(n)
    cdef const void *x = data("h", h, width, api().triangle_elements(width, size), False)
    cdef const void *left = data("s", s, width, size, False)
    cdef const void *right = data("w", w, width, size, False)
    pair(s, w)
    cdef cnp.ndarray out = np.empty((n, n), h.dtype)
    cdef void *to = cnp.PyArray_DATA(out)
    with nogil:
        api().triangle_unpack(width, size, x, left, right, to)
    return out


def pass_(cnp.ndarray h not None, cnp.ndarray s, cnp.ndarray w, cnp.ndarray g not None, cnp.ndarray u not None,
          cnp.ndarray room not None, int threads=1, int repeat=1):
    """h += s w' + w s', u = H g in one pass; in place. None for s and w: h is only read. room: scratch, in bytes.

    All of it `repeat` times, for benchmarks.
    """
    cdef int width = width_of("h", h)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    cdef void *to = data("h", h, width, api().triangle_elements(width, n), s is not None)
    cdef const void *left = data("s", s, width, n, False)
    cdef const void *right = data("w", w, width, n, False)
    cdef const void *by = data("g", g, width, n, False)
    cdef void *out = data("u", u, width, n, True)
    pair(s, w)
    apart(u, (("h", h), ("s", s), ("w", w), ("g", g), ("room", room)))
    if <size_t> cnp.PyArray_NBYTES(room) < api().triangle_scratch(width, n):
        bad("room", room, f"{api().triangle_scratch(width, n)} bytes")
    cdef void *space = cnp.PyArray_DATA(room)
    with nogil:
        for _ in range(repeat):
            api().triangle_pass(width, n, to, left, right, by, out, space, threads)


def floor(n, cnp.ndarray h not None, int threads=1, int repeat=1):
    """Read and write the elements of a triangle once, `repeat` times: the floor of `pass_`."""
    cdef int width = width_of("h", h)
    cdef Py_ssize_t size = order(n)
    cdef void *to = data("h", h, width, size * (size + 1) // 2, True)
    with nogil:
        api().triangle_floor(width, size, to, threads, repeat)


def dense_pass(cnp.ndarray a not None, cnp.ndarray s, cnp.ndarray w, cnp.ndarray g not None, cnp.ndarray u not None):
    """`pass_` with BLAS, on the upper triangle of the full matrix a; in place."""
    cdef const fo_blas *routines = blas()
    cdef int width = width_of("a", a)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(g)
    if n > INT_MAX:
        raise ValueError(f"n is {n}; BLAS takes at most {INT_MAX}")
    cdef void *to = data("a", a, width, n * n, s is not None)
    cdef const void *left = data("s", s, width, n, False)
    cdef const void *right = data("w", w, width, n, False)
    cdef const void *by = data("g", g, width, n, False)
    cdef void *out = data("u", u, width, n, True)
    pair(s, w)
    apart(u, (("a", a), ("s", s), ("w", w), ("g", g)))
    with nogil:
        api().dense_pass(routines, width, n, to, left, right, by, out)


def dense_unpack(cnp.ndarray a not None, cnp.ndarray s=None, cnp.ndarray w=None):
    """a + s w' + w s' as a full matrix, from the upper triangle of a."""
    cdef int width = width_of("a", a)
    cdef Py_ssize_t n = cnp.PyArray_DIM(a, 0) if cnp.PyArray_NDIM(a) == 2 else -1
    if n != (cnp.PyArray_DIM(a, 1) if cnp.PyArray_NDIM(a) == 2 else 0):
        bad("a", a, "a square matrix")
    cdef const void *x = cnp.PyArray_DATA(a)
    cdef const void *left = data("s", s, width, n, False)
    cdef const void *right = data("w", w, width, n, False)
    pair(s, w)
    cdef cnp.ndarray out = np.empty((n, n), a.dtype)
    cdef void *to = cnp.PyArray_DATA(out)
    with nogil:
        api().dense_unpack(width, n, x, left, right, to)
    return out
