"""Random orders from a NumPy bit generator; batches of rows in buffers that are used again once free."""

import mmap

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.list cimport PyList_GET_ITEM
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject, PyTypeObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint32_t
from numpy.random cimport bitgen_t

from fastopt._core.csrc cimport fo_bits, fo_layout, fo_rows
from fastopt._core.runtime cimport api

cnp.import_array()

cdef extern from *:
    """
    /* Where threads share reference counts without a lock, a count of one proves nothing. */
    #ifdef Py_GIL_DISABLED
    #define FO_COUNTS_ARE_EXACT 0
    #else
    #define FO_COUNTS_ARE_EXACT 1
    #endif
    """
    const bint FO_COUNTS_ARE_EXACT
    Py_ssize_t Py_REFCNT(PyObject *)

cdef extern from "numpy/arrayobject.h":
    PyTypeObject PyArray_Type
    # Steals a reference to dtype.
    object PyArray_NewFromDescr(PyTypeObject *, cnp.dtype dtype, int nd, cnp.npy_intp *shape,
                                cnp.npy_intp *strides, void *data, int flags, PyObject *)

cdef enum:
    RING = 4                    # buffers that are watched: a loop needs two, a window over batches more
    ALIGN = 64
    RELEASE_BYTES = 1 << 17     # copying less is not worth passing on the interpreter lock


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


@cython.final
cdef class Block:
    """Memory of one batch of one array. A batch array holds a reference to it, and views hold that array."""
    cdef object raw
    cdef char *data
    cdef Py_ssize_t nbytes

    def __cinit__(self, Py_ssize_t nbytes):
        self.raw = np.empty(nbytes + ALIGN, np.uint8)
        self.data = <char *> cnp.PyArray_DATA(<cnp.ndarray> self.raw)
        self.data += -<Py_ssize_t> self.data & (ALIGN - 1)
        self.nbytes = nbytes


@cython.final
cdef class Ring:
    """The last few blocks; one that only the ring holds is free."""
    cdef list blocks
    cdef Py_ssize_t turn

    def __cinit__(self):
        self.blocks = []

    cdef Block take(self, Py_ssize_t nbytes):
        cdef Py_ssize_t i
        cdef PyObject *held
        if FO_COUNTS_ARE_EXACT:
            for i in range(len(self.blocks)):
                held = PyList_GET_ITEM(self.blocks, i)
                if Py_REFCNT(held) == 1:
                    return <Block> <object> held
        cdef Block block = Block(nbytes)
        if FO_COUNTS_ARE_EXACT:
            if len(self.blocks) < RING:
                self.blocks.append(block)
            else:                                   # whoever holds the old one may keep it
                self.blocks[self.turn] = block
                self.turn = (self.turn + 1) % RING
        return block


cdef object array_on(Block block, cnp.dtype dtype, int nd, cnp.npy_intp *dims):
    Py_INCREF(dtype)
    array = PyArray_NewFromDescr(&PyArray_Type, dtype, nd, dims, NULL, block.data, cnp.NPY_ARRAY_CARRAY, NULL)
    cnp.set_array_base(array, block)
    return array


cdef list maps_under(array):
    """The memory maps that an array's data may lie in: found by following its bases."""
    found = []
    while array is not None:
        if isinstance(array, mmap.mmap):
            found.append(array)
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return found


@cython.final
cdef class Source:
    """One array of the user, as it was when it was handed in."""
    cdef readonly object name
    cdef readonly cnp.ndarray array
    cdef cnp.dtype dtype, target
    cdef list maps, sizes
    cdef Ring ring, scratch
    cdef fo_rows rows
    cdef fo_layout runs                     # rows.runs points here
    cdef char *data
    cdef int nd
    cdef cnp.npy_intp shape[64]
    cdef cnp.npy_intp strides[64]
    cdef Py_ssize_t batch_bytes
    cdef bint casts

    def __init__(self, str name, cnp.ndarray array, cnp.dtype target, Py_ssize_t size):
        cdef int i, k
        self.name = name
        self.array = array
        self.dtype = array.dtype
        self.target = target
        self.casts = target != self.dtype
        self.ring = Ring()
        self.scratch = Ring()
        self.nd = cnp.PyArray_NDIM(array)
        self.data = <char *> cnp.PyArray_DATA(array)
        cdef Py_ssize_t itemsize = self.dtype.itemsize
        cdef Py_ssize_t elements = 1
        for i in range(self.nd):
            self.shape[i] = cnp.PyArray_DIM(array, i)
            self.strides[i] = cnp.PyArray_STRIDE(array, i)
            if i > 0:
                elements *= self.shape[i]
        self.rows.data = self.data
        self.rows.step = self.strides[0]
        self.rows.bytes = elements * itemsize
        self.rows.run = itemsize
        k = self.nd - 1
        while k >= 1 and (self.shape[k] == 1 or self.strides[k] == self.rows.run):
            self.rows.run *= self.shape[k]
            k -= 1
        self.runs.nd = k
        for i in range(k):
            self.runs.shape[i] = self.shape[i + 1]
            self.runs.strides[i] = self.strides[i + 1]
        self.batch_bytes = size * elements * target.itemsize
        self.maps = maps_under(array)
        self.sizes = [file_size(m) for m in self.maps]
        self.check()

    cdef int check(self) except -1:
        """ValueError if the array no longer has the memory, shape or dtype that it had."""
        cdef int i
        cdef bint same = (<char *> cnp.PyArray_DATA(self.array) == self.data
                          and cnp.PyArray_NDIM(self.array) == self.nd
                          and <PyObject *> cnp.PyArray_DESCR(self.array) == <PyObject *> self.dtype)
        if same:
            for i in range(self.nd):
                same &= (cnp.PyArray_DIM(self.array, i) == self.shape[i]
                         and cnp.PyArray_STRIDE(self.array, i) == self.strides[i])
        if not same:
            raise ValueError(f"{self.name} has changed its memory, shape or dtype since these batches were "
                             "made; make new ones from the array as it is now")
        if self.maps:
            self.hold_maps()
        return 0

    cdef list hold_maps(self):
        """Maps cannot be closed while the result lives. ValueError if one is closed or its file was cut."""
        held = []
        for mapping, size in zip(self.maps, self.sizes, strict=True):
            try:
                held.append(memoryview(mapping))
            except ValueError:
                raise ValueError(f"the memory map of {self.name} is closed; open the file again") from None
            if size >= 0 and mapping.size() < size:
                raise ValueError(f"the file that {self.name} is mapped from has shrunk from {size} to "
                                 f"{mapping.size()} bytes")
        return held

    cdef object view(self, Py_ssize_t first, Py_ssize_t n):
        """Rows of the user's own memory, read-only."""
        cdef cnp.npy_intp dims[64]
        cdef int i
        for i in range(1, self.nd):
            dims[i] = self.shape[i]
        dims[0] = n
        Py_INCREF(self.dtype)
        cdef char *data = self.data + first * self.rows.step
        view = PyArray_NewFromDescr(&PyArray_Type, self.dtype, self.nd, dims, NULL, data, 0, NULL)
        cnp.PyArray_UpdateFlags(view, cnp.NPY_ARRAY_UPDATE_ALL)
        cnp.set_array_base(view, self.array)
        return view


cdef object file_size(mapping):
    try:
        return mapping.size()
    except (OSError, ValueError):           # no file behind it, or closed: hold_maps finds that
        return -1


@cython.final
cdef class Gather:
    """Makes batches of rows of several arrays of one length."""
    cdef tuple sources
    cdef int count
    cdef Py_ssize_t row_bytes
    cdef bint mapped
    cdef readonly Py_ssize_t size

    def __init__(self, tuple sources, Py_ssize_t size):
        self.sources = sources
        self.count = <int> len(sources)
        self.size = size
        cdef Source s
        for s in sources:
            self.row_bytes += s.rows.bytes
            self.mapped |= len(s.maps) > 0

    cdef int check(self) except -1:
        cdef int j
        for j in range(self.count):
            (<Source> self.sources[j]).check()
        return 0

    cdef object take(self, cnp.ndarray order, Py_ssize_t first, Py_ssize_t n):
        """Rows order[first:first+n] of each array, or without an order rows first .. first+n-1."""
        cdef fo_rows few[8]
        cdef fo_rows *rows = few
        cdef cnp.npy_intp dims[64]
        cdef cnp.ndarray out, packed
        cdef Source s
        cdef int i, j, copied = 0
        cdef const void *data = NULL
        cdef bint wide = False
        cdef Py_ssize_t ahead = 0
        cdef list batch = [], casts = None, held = None
        if order is not None:
            data = cnp.PyArray_DATA(order)
            wide = cnp.PyArray_ITEMSIZE(order) == 8
            ahead = cnp.PyArray_DIM(order, 0) - first - n
        if self.count > 8:
            rows = <fo_rows *> PyMem_Malloc(self.count * sizeof(fo_rows))
            if rows == NULL:
                raise MemoryError()
        try:
            for j in range(self.count):
                s = <Source> self.sources[j]
                if order is None and not s.casts and cnp.PyArray_IS_C_CONTIGUOUS(s.array):
                    batch.append(s.view(first, n))
                    continue
                dims[0] = n
                for i in range(1, s.nd):
                    dims[i] = s.shape[i]
                packed = out = array_on(s.ring.take(s.batch_bytes), s.target, s.nd, dims)
                if s.casts:
                    packed = array_on(s.scratch.take(self.size * s.rows.bytes), s.dtype, s.nd, dims)
                    if casts is None:
                        casts = []
                    casts.append((out, packed))
                batch.append(out)
                rows[copied] = s.rows
                rows[copied].runs = &s.runs
                rows[copied].out = <char *> cnp.PyArray_DATA(packed)
                copied += 1
            if self.mapped:
                held = []
                for s in self.sources:
                    held.append(s.hold_maps())
            if copied and (self.mapped or self.row_bytes * n >= RELEASE_BYTES):
                with nogil:
                    api().gather(rows, copied, data, wide, first, n, ahead, api().get_num_threads())
            elif copied:
                api().gather(rows, copied, data, wide, first, n, ahead, 1)
        finally:
            if rows != few:
                PyMem_Free(rows)
        if casts is not None:
            for out, packed in casts:
                cnp.PyArray_CopyInto(out, packed)
        return batch[0] if self.count == 1 else tuple(batch)


@cython.final
cdef class Pass:
    """One pass over the batches; what ``iter(batches)`` returns."""
    cdef Gather gather
    cdef cnp.ndarray order
    cdef Py_ssize_t rows, count
    cdef readonly Py_ssize_t position       # batches handed out
    cdef readonly bint done                 # the end was reached
    cdef bint closed

    def __init__(self, Gather gather, order, Py_ssize_t rows, Py_ssize_t count, Py_ssize_t position):
        self.gather = gather
        self.order = order
        self.rows = rows
        self.count = count
        self.position = position

    def close(self):
        """A newer pass has begun, or another position was loaded: this one gives no more batches."""
        self.closed = True
        self.order = None

    def __iter__(self):
        return self

    def __length_hint__(self):
        return 0 if self.done or self.closed else self.count - self.position

    def __next__(self):
        cdef Py_ssize_t first, n, number
        cdef cnp.ndarray order
        # Checks and the claim of a number are one piece, so threads that share a pass get each batch once.
        with cython.critical_section(self):
            if self.done:
                raise StopIteration
            if self.closed:
                raise RuntimeError("this pass was ended by a newer one over the same Batches, or by "
                                   "load_state_dict; two passes side by side take two Batches")
            if self.position >= self.count:
                self.done = True
                self.order = None
                raise StopIteration
            self.gather.check()
            order = self.order
            number = self.position
            self.position = number + 1
        first = number * self.gather.size
        n = min(self.gather.size, self.rows - first)
        return self.gather.take(order, first, n)


def copy_rows(const float[:, ::1] array, float[:, :, ::1] out, const uint32_t[::1] order, int distance=0):
    """The floor of benchmarks: a plain C loop over an order, in batches into out[0] and out[1] in turn."""
    cdef fo_rows rows
    cdef char *to[2]
    cdef bint fits = out.shape[0] == 2 and out.shape[1] > 0 and out.shape[2] == array.shape[1]
    if not fits or np.max(order) >= array.shape[0]:
        raise ValueError("out must be two batches of rows, and order row numbers")
    rows.data = <const char *> &array[0, 0]
    rows.bytes = rows.run = rows.step = array.shape[1] * 4
    rows.runs = NULL
    to[0] = <char *> &out[0, 0, 0]
    to[1] = <char *> &out[1, 0, 0]
    with nogil:
        api().copy_rows(&rows, to, &order[0], order.shape[0], out.shape[1], distance)
