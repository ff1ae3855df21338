"""Random orders from a NumPy bit generator."""

import numpy as np

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetPointer
from numpy.random cimport bitgen_t

from fastopt._core.csrc cimport fo_bits
from fastopt._core.runtime cimport api

cnp.import_array()


cdef fo_bits bits_of(bit_generator) except *:
    cdef bitgen_t *source = <bitgen_t *> PyCapsule_GetPointer(bit_generator.capsule, "BitGenerator")
    cdef fo_bits bits
    bits.state = source.state
    bits.next = source.next_uint64
    return bits


def permutation(Py_ssize_t n, bit_generator, wide=None):
    """Every order of 0 .. n-1 with equal chance: uint32 below 2^32, else (or if `wide`) int64."""
    if n < 0:
        raise ValueError(f"n is {n}; at least 0 is needed")
    cdef bint is_wide = n >= <Py_ssize_t> 0xFFFFFFFF if wide is None else wide
    cdef fo_bits bits = bits_of(bit_generator)
    cdef cnp.ndarray order = np.empty(n, np.int64 if is_wide else np.uint32)
    cdef void *data = cnp.PyArray_DATA(order)
    with bit_generator.lock, nogil:
        api().shuffle(data, is_wide, n, &bits)
    return order


def draws(Py_ssize_t n, Py_ssize_t count, bit_generator, wide=None):
    """`count` independent uniform draws from 0 .. n-1, dtype as for `permutation`."""
    if n < 1 or count < 0:
        raise ValueError(f"n is {n} and count is {count}; at least 1 and 0 are needed")
    cdef bint is_wide = n >= <Py_ssize_t> 0xFFFFFFFF if wide is None else wide
    cdef fo_bits bits = bits_of(bit_generator)
    cdef cnp.ndarray order = np.empty(count, np.int64 if is_wide else np.uint32)
    cdef void *data = cnp.PyArray_DATA(order)
    with bit_generator.lock, nogil:
        api().draw(data, is_wide, count, n, &bits)
    return order
