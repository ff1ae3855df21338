"""Kernels of fastopt.nn on NumPy arrays: each function checks its arrays, then calls csrc/layers.h once."""

cimport numpy as cnp
from libc.stdint cimport int64_t

from fastopt._core.csrc cimport (FO_BINARY_CROSS_ENTROPY, FO_F32, FO_F64, FO_HUBER, FO_NONE, FO_RELU,
                                 FO_SIGMOID, FO_SQUARED, FO_TANH, FO_TIMES, fo_layers)
from fastopt._core.runtime cimport api

cnp.import_array()

NONE = FO_NONE
RELU = FO_RELU
TANH = FO_TANH
SIGMOID = FO_SIGMOID
TIMES = FO_TIMES
BINARY_CROSS_ENTROPY = FO_BINARY_CROSS_ENTROPY
SQUARED = FO_SQUARED
HUBER = FO_HUBER


cdef int bad(name, cnp.ndarray x, wanted) except -1:
    raise ValueError(f"{name} is {x.dtype} of shape {tuple((<object> x).shape)}; {wanted} is needed")


cdef int matrix(cnp.ndarray x) except -1:
    """Its width, if x is a matrix that a kernel can take: float32 or float64, native, contiguous."""
    cdef int kind = cnp.PyArray_TYPE(x)
    if (cnp.PyArray_NDIM(x) != 2 or not (kind == cnp.NPY_FLOAT or kind == cnp.NPY_DOUBLE)
            or not cnp.PyArray_ISCARRAY_RO(x)):
        bad("matrix", x, "a contiguous 2-d array of float32 or float64")
    return FO_F32 if kind == cnp.NPY_FLOAT else FO_F64


cdef void *same(name, cnp.ndarray x, cnp.ndarray like, Py_ssize_t size, bint write) except? NULL:
    """The data of x, if it has the dtype of `like` and this many elements. NULL for None."""
    if x is None:
        return NULL
    if (cnp.PyArray_TYPE(x) != cnp.PyArray_TYPE(like) or cnp.PyArray_SIZE(x) != size
            or not cnp.PyArray_ISCARRAY_RO(x) or (write and not cnp.PyArray_ISWRITEABLE(x))):
        bad(name, x, f"{'a writable' if write else 'a'} contiguous array of {size} elements of {like.dtype}")
    return cnp.PyArray_DATA(x)


cdef const int64_t *labels_of(cnp.ndarray labels, Py_ssize_t rows) except? NULL:
    if (cnp.PyArray_TYPE(labels) != cnp.NPY_INT64 or cnp.PyArray_SIZE(labels) != rows
            or not cnp.PyArray_ISCARRAY_RO(labels)):
        bad("labels", labels, f"a contiguous array of {rows} int64")
    return <const int64_t *> cnp.PyArray_DATA(labels)


def bias(cnp.ndarray y not None, cnp.ndarray b not None, bint relu):
    """y += b row by row, then max(0, y) if relu; in place."""
    cdef const fo_layers *f = api().layers(matrix(y))
    cdef Py_ssize_t rows = cnp.PyArray_DIM(y, 0), cols = cnp.PyArray_DIM(y, 1)
    cdef void *to = same("y", y, y, rows * cols, True)
    cdef void *by = same("b", b, y, cols, False)
    with nogil:
        f.bias(to, by, rows, cols, relu)


def slope(int kind, cnp.ndarray d not None, cnp.ndarray y, cnp.ndarray total):
    """d *= the activation's slope, in place, from its kept output y; total = column sums of the result."""
    cdef const fo_layers *f = api().layers(matrix(d))
    cdef Py_ssize_t rows = cnp.PyArray_DIM(d, 0), cols = cnp.PyArray_DIM(d, 1)
    if not FO_NONE <= kind <= FO_TIMES or (y is None and kind != FO_NONE):
        raise ValueError(f"kind is {kind}; one of the five, with y unless it is NONE, is needed")
    cdef void *to = same("d", d, d, rows * cols, True)
    cdef void *kept = same("y", y, d, rows * cols, False)
    cdef void *into = same("total", total, d, cols, True)
    with nogil:
        f.slope(kind, to, kept, into, rows, cols)


def dropout(cnp.ndarray u not None, cnp.ndarray x not None, cnp.ndarray y not None, double p):
    """y = x / (1 - p) where u >= p, else 0."""
    cdef const fo_layers *f = api().layers(matrix(x))
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    cdef void *uniform = same("u", u, x, n, False)
    cdef void *to = same("y", y, x, n, True)
    cdef void *given = cnp.PyArray_DATA(x)
    with nogil:
        f.dropout(uniform, given, to, n, p)


ctypedef double (*labelled)(const void *z, const int64_t *label, void *d, Py_ssize_t rows,
                            Py_ssize_t cols) noexcept nogil


cdef double run_labelled(labelled loss, cnp.ndarray z, cnp.ndarray labels, cnp.ndarray d) except *:
    cdef Py_ssize_t rows = cnp.PyArray_DIM(z, 0), cols = cnp.PyArray_DIM(z, 1)
    cdef const int64_t *label = labels_of(labels, rows)
    cdef void *slope_to = same("d", d, z, rows * cols, True)
    cdef double value
    with nogil:
        value = loss(cnp.PyArray_DATA(z), label, slope_to, rows, cols)
    return value


def softmax_cross_entropy(cnp.ndarray z not None, cnp.ndarray labels not None, cnp.ndarray d):
    """Mean loss; d gets the gradient unless it is None. Labels must have passed `label_outside`."""
    return run_labelled(api().layers(matrix(z)).softmax_cross_entropy, z, labels, d)


def hinge(cnp.ndarray z not None, cnp.ndarray labels not None, cnp.ndarray d):
    """As softmax_cross_entropy."""
    return run_labelled(api().layers(matrix(z)).hinge, z, labels, d)


def pointwise(int kind, cnp.ndarray z not None, cnp.ndarray y not None, cnp.ndarray d,
              double delta=1.0):
    """Loss of one output against one target, summed over a row's outputs, mean over rows."""
    cdef const fo_layers *f = api().layers(matrix(z))
    cdef Py_ssize_t rows = cnp.PyArray_DIM(z, 0), cols = cnp.PyArray_DIM(z, 1)
    if not FO_BINARY_CROSS_ENTROPY <= kind <= FO_HUBER:
        raise ValueError(f"kind is {kind}; one of the three is needed")
    cdef void *target = same("y", y, z, rows * cols, False)
    cdef void *slope_to = same("d", d, z, rows * cols, True)
    cdef double value
    with nogil:
        value = f.pointwise(kind, cnp.PyArray_DATA(z), target, slope_to, rows, cols, delta)
    return value


def outside(cnp.ndarray x not None, double low, double high):
    """Index (row by row) of a matrix's first element outside [low, high], NaN too; -1 if there is none."""
    return api().layers(matrix(x)).outside(cnp.PyArray_DATA(x), cnp.PyArray_SIZE(x), low, high)


def label_outside(cnp.ndarray labels not None, int64_t classes):
    """Index of the first label that is not one of 0 .. classes - 1; -1 if there is none."""
    cdef Py_ssize_t i, n = cnp.PyArray_SIZE(labels)
    cdef const int64_t *label = labels_of(labels, n)
    for i in range(n):
        if label[i] < 0 or label[i] >= classes:
            return i
    return -1
