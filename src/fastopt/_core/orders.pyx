"""Permutations that need no memory, and the table for draws by weight (csrc/permute.h)."""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastopt._core.csrc cimport FO_PERMUTE_WORDS, fo_permute
from fastopt._core.runtime cimport api

cnp.import_array()

WORDS = FO_PERMUTE_WORDS
cdef enum:
    RELEASE = 1 << 13           # elements; fewer are not worth passing on the interpreter lock


cdef class Keyed:
    """A permutation of 0 .. n-1 with the keys `words`, uint32 of length WORDS. Callers check what they ask for."""
    cdef fo_permute key
    cdef readonly int64_t n
    cdef readonly bint wide     # elements are int64, not uint32

    def __init__(self, int64_t n, const uint32_t[::1] words):
        if n < 1 or words.shape[0] != FO_PERMUTE_WORDS:
            raise ValueError(f"n is {n}, with {words.shape[0]} words; 1 and {WORDS} are needed")
        self.n = n
        self.wide = n > <int64_t> 0xFFFFFFFF
        api().permute_begin(&self.key, n, &words[0])

    def at(self, int64_t i):
        return api().permute_at(&self.key, i, 0)

    def index_of(self, int64_t v):
        return api().permute_at(&self.key, v, 1)

    def slice(self, int64_t first, int64_t step, Py_ssize_t count):
        """Elements first, first + step, ..."""
        cdef cnp.ndarray out = np.empty(count, np.int64 if self.wide else np.uint32)
        cdef void *data = cnp.PyArray_DATA(out)
        cdef int threads = api().get_num_threads()
        if count >= RELEASE:
            with nogil:
                api().permute_slice(&self.key, first, step, count, self.wide, data, threads)
        else:
            api().permute_slice(&self.key, first, step, count, self.wide, data, 1)
        return out

    def map(self, const int64_t[::1] places, bint inverse):
        """Elements at `places`, or with `inverse` the places of those elements: int64."""
        cdef Py_ssize_t count = places.shape[0]
        cdef cnp.ndarray out = np.empty(count, np.int64)
        cdef int64_t *data = <int64_t *> cnp.PyArray_DATA(out)
        cdef int threads = api().get_num_threads()
        if count:
            with nogil:
                api().permute_map(&self.key, &places[0], data, count, inverse, threads)
        return out


def alias(const double[::1] weights):
    """(threshold, other): a uniform row stays if 64 random bits are below threshold[row], else it is other[row]."""
    cdef Py_ssize_t n = weights.shape[0]
    if n < 1:
        raise ValueError("weights is empty; at least one is needed")
    cdef uint64_t[::1] threshold = np.empty(n, np.uint64)
    cdef int64_t[::1] other = np.empty(n, np.int64), work = np.empty(n, np.int64)
    cdef double[::1] share = np.empty(n)
    with nogil:
        api().alias(&weights[0], n, &threshold[0], &other[0], &share[0], &work[0])
    return np.asarray(threshold), np.asarray(other)
