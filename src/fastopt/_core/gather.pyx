"""Batches of rows: gathered when they are asked for or ahead of that, in buffers that are used again once free."""

import mmap
import threading
import weakref

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.list cimport PyList_GET_ITEM
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport uint32_t

from fastopt._core cimport csrc
from fastopt._core.csrc cimport fo_ahead, fo_gathering, fo_layout, fo_rows
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
    CHUNK = 1 << 16             # entries of a computed order that are held at a time, at least
    GROUP_BYTES = 1 << 20       # batches that are gathered ahead in one go: at least so much, if they are small
    GROUP_MOST = 64             # and not more than so many

cdef dict KINDS = {
    "u1": csrc.FO_KIND_u8, "i1": csrc.FO_KIND_i8, "u2": csrc.FO_KIND_u16, "i2": csrc.FO_KIND_i16,
    "u4": csrc.FO_KIND_u32, "i4": csrc.FO_KIND_i32, "u8": csrc.FO_KIND_u64, "i8": csrc.FO_KIND_i64,
    "f2": csrc.FO_KIND_f16, "f4": csrc.FO_KIND_f32, "f8": csrc.FO_KIND_f64,
}


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
    cdef Py_ssize_t turn, most, at

    def __cinit__(self):
        self.blocks = []
        self.most = RING

    cdef Block take(self, Py_ssize_t nbytes):
        cdef Py_ssize_t i, k, n = len(self.blocks)
        cdef PyObject *held
        cdef Block block
        if FO_COUNTS_ARE_EXACT:
            for i in range(n):
                k = i                               # the fewest buffers, or of many those not tried for longest
                if self.most > RING:
                    k += self.at
                    k = k - n if k >= n else k
                held = PyList_GET_ITEM(self.blocks, k)
                if Py_REFCNT(held) == 1:
                    self.at = k + 1 if k + 1 < n else 0
                    block = <Block> <object> held
                    if block.nbytes >= nbytes:
                        return block
                    block = self.blocks[k] = Block(nbytes)
                    return block
        block = Block(nbytes)
        if FO_COUNTS_ARE_EXACT:
            if n < self.most:
                self.blocks.append(block)
            else:                                   # whoever holds the old one may keep it
                self.turn = self.turn % self.most
                self.blocks[self.turn] = block
                self.turn += 1
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
    """One array of the user, as it was when it was handed in; what its batches are converted to and scaled by."""
    cdef readonly object name
    cdef readonly cnp.ndarray array
    cdef readonly cnp.dtype dtype, target
    cdef object factor                      # None: 1
    cdef list maps, sizes
    cdef Ring ring, scratch
    cdef fo_rows rows
    cdef fo_layout runs                     # rows.runs points here
    cdef char *data
    cdef int nd
    cdef cnp.npy_intp shape[64]
    cdef cnp.npy_intp strides[64]
    cdef Py_ssize_t out_bytes               # of a row of the batch
    cdef bint casts                         # by NumPy, after the gather
    cdef bint viewed                        # in order, its own rows will do

    def __init__(self, str name, cnp.ndarray array, cnp.dtype target, factor=None):
        cdef int i, k
        self.name = name
        self.array = array
        self.dtype = array.dtype
        self.target = target
        self.factor = factor
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
        self.rows.run = self.rows.item = itemsize
        k = self.nd - 1
        while k >= 1 and (self.shape[k] == 1 or self.strides[k] == self.rows.run):
            self.rows.run *= self.shape[k]
            k -= 1
        self.runs.nd = k
        for i in range(k):
            self.runs.shape[i] = self.shape[i + 1]
            self.runs.strides[i] = self.strides[i + 1]
        self.rows.runs = &self.runs
        self.rows.kind = csrc.FO_KIND_COPY
        self.rows.out_bytes = self.rows.bytes
        self.rows.factor = 1 if factor is None else factor
        self.out_bytes = elements * target.itemsize
        if target != self.dtype or factor is not None:
            if self.dtype.isnative and target.isnative and target.char in "fd" and self.dtype.str[1:] in KINDS:
                self.rows.kind = KINDS[self.dtype.str[1:]]
                self.rows.width = csrc.FO_F32 if target.itemsize == 4 else csrc.FO_F64
                self.rows.out_bytes = self.out_bytes
            else:
                self.casts = True
        self.viewed = target == self.dtype and factor is None and cnp.PyArray_IS_C_CONTIGUOUS(array)
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

    cdef cnp.ndarray empty(self, Py_ssize_t n, Py_ssize_t size, bint packed):
        """A batch of n rows on a block for `size`, of the target dtype, or if `packed` of the array's."""
        cdef cnp.npy_intp dims[64]
        cdef int i
        for i in range(1, self.nd):
            dims[i] = self.shape[i]
        dims[0] = n
        if packed:
            return array_on(self.scratch.take(size * self.rows.bytes), self.dtype, self.nd, dims)
        return array_on(self.ring.take(size * self.out_bytes), self.target, self.nd, dims)


cdef object file_size(mapping):
    try:
        return mapping.size()
    except (OSError, ValueError):           # no file behind it, or closed: hold_maps finds that
        return -1


@cython.final
cdef class Gather:
    """Makes batches of rows of several sources of one length: `Source`, or objects with ``rows(indices)``.

    With `own`, batches are always the caller's own memory; without, rows in order may be views.
    """
    cdef readonly tuple sources
    cdef readonly bint threadable           # without the interpreter from begin to end
    cdef int count
    cdef bint mapped, foreign, own
    cdef fo_rows *tables[2]                 # of what is copied from a given order, and of what is in order
    cdef int copied[2]
    cdef Py_ssize_t row_bytes

    def __cinit__(self, tuple sources, bint own=False):
        cdef Source s
        self.sources = sources
        self.count = <int> len(sources)
        self.own = own
        self.threadable = True
        self.tables[0] = <fo_rows *> PyMem_Calloc(2 * self.count, sizeof(fo_rows))
        if self.tables[0] == NULL:
            raise MemoryError()
        self.tables[1] = self.tables[0] + self.count
        for source in sources:
            if not isinstance(source, Source):
                self.foreign = True
                self.threadable = False
                continue
            s = <Source> source
            self.row_bytes += s.rows.bytes
            self.mapped |= len(s.maps) > 0
            self.threadable &= not s.casts
            self.tables[0][self.copied[0]] = s.rows
            self.copied[0] += 1
            if own or not s.viewed:
                self.tables[1][self.copied[1]] = s.rows
                self.copied[1] += 1

    def __dealloc__(self):
        PyMem_Free(self.tables[0])

    cdef int check(self) except -1:
        for s in self.sources:
            if isinstance(s, Source):
                (<Source> s).check()
        return 0

    cdef list hold_maps(self):
        held = []
        for s in self.sources:
            if isinstance(s, Source):
                held.append((<Source> s).hold_maps())
        return held

    cdef list lay(self, bint in_order, Py_ssize_t first, Py_ssize_t n, Py_ssize_t size, char **out, list casts):
        """The arrays of one batch, still empty but for views, and where the rows of those go."""
        cdef list batch = []
        cdef Source s
        cdef cnp.ndarray array, packed
        for source in self.sources:
            if not isinstance(source, Source):
                batch.append(None)
                continue
            s = <Source> source
            if in_order and s.viewed and not self.own:
                batch.append(s.view(first, n))
                continue
            packed = array = s.empty(n, size, False)
            if s.casts:
                packed = s.empty(n, size, True)
                casts.append((array, packed, s.factor))
            batch.append(array)
            out[0] = <char *> cnp.PyArray_DATA(packed)
            out += 1
        return batch

    cdef object take(self, cnp.ndarray order, Py_ssize_t first, Py_ssize_t n, Py_ssize_t size):
        """Rows order[first:first+n] of each array, or without an order rows first .. first+n-1."""
        cdef char *few[8]
        cdef char **out = few
        cdef fo_gathering job
        cdef bint in_order = order is None
        cdef list batch, casts = [], _held
        cdef Py_ssize_t i
        if self.count > 8:
            out = <char **> PyMem_Calloc(self.count, sizeof(char *))
            if out == NULL:
                raise MemoryError()
        try:
            batch = self.lay(in_order, first, n, size, out, casts)
            describe(&job, self, order, first, n, n, n, out)
            if self.mapped:
                _held = self.hold_maps()
            if job.count and (self.mapped or self.row_bytes * n >= RELEASE_BYTES):
                with nogil:
                    api().gather(&job, api().get_num_threads())
            elif job.count:
                api().gather(&job, 1)
        finally:
            if out != few:
                PyMem_Free(out)
        for array, packed, factor in casts:
            cnp.PyArray_CopyInto(array, packed)
            if factor is not None:
                np.multiply(array, factor, out=array)
        if self.foreign:
            indices = np.arange(first, first + n) if in_order else order[first:first + n]
            for i in range(self.count):
                if batch[i] is None:
                    batch[i] = self.sources[i].rows(indices)
        return batch[0] if self.count == 1 else tuple(batch)


cdef void describe(fo_gathering *job, Gather gather, cnp.ndarray order, Py_ssize_t first, Py_ssize_t leap,
                   Py_ssize_t size, Py_ssize_t n, char **out) noexcept:
    cdef bint in_order = order is None
    job.arrays = gather.tables[in_order]
    job.count = gather.copied[in_order]
    job.order = NULL if in_order else cnp.PyArray_DATA(order)
    job.wide = 0 if in_order else cnp.PyArray_ITEMSIZE(order) == 8
    job.known = 0 if in_order else cnp.PyArray_DIM(order, 0)
    job.first = first
    job.leap = leap
    job.size = size
    job.n = n
    job.out = out


cdef cnp.ndarray checked(found, Py_ssize_t count, Py_ssize_t rows):
    """Entries of an order, such that no row number leads outside of the arrays."""
    array = np.ascontiguousarray(found)
    if array.dtype not in (np.uint32, np.int64):
        if array.dtype.kind not in "iu":
            raise TypeError(f"the order has dtype {array.dtype}; row numbers are needed")
        array = array.astype(np.int64)
    if array.shape != (count,):
        raise ValueError(f"the order has entries of shape {array.shape}; {(count,)} is needed")
    if count and (array.max() >= rows or (array.dtype == np.int64 and array.min() < 0)):
        raise ValueError(f"the order holds {array.min()} to {array.max()}; row numbers from 0 to {rows - 1} are needed")
    return array


@cython.final
cdef class Reader:
    """The batches of one epoch by their numbers: ``batch(number)``.

    `order` is None, an array, or something that gives arrays when it is sliced; `entries` is its length, and
    `rows` that of the sources. With `pad` a last batch that is short is filled up from the beginning.
    """
    cdef readonly Gather gather
    cdef object order
    cdef readonly Py_ssize_t entries, rows, size
    cdef readonly bint pad
    cdef tuple piece                        # the entries looked at last, and the number of their first

    def __init__(self, Gather gather, order, Py_ssize_t entries, Py_ssize_t rows, Py_ssize_t size, bint pad):
        self.gather = gather
        self.entries = entries
        self.rows = rows
        self.size = size
        self.pad = pad
        self.order = order
        if isinstance(order, np.ndarray):
            self.order = checked(order, entries, rows)
            self.piece = (self.order, 0)

    cdef tuple find(self, Py_ssize_t first, Py_ssize_t n):
        """An array that holds entries first .. first+n-1, and the number of its first."""
        cdef tuple piece = self.piece
        cdef Py_ssize_t start
        if piece is not None:
            start = piece[1]
            if start <= first and first + n <= start + cnp.PyArray_DIM(<cnp.ndarray> piece[0], 0):
                return piece
        cdef Py_ssize_t length = -(-<Py_ssize_t> CHUNK // self.size) * self.size            # whole batches
        start = first // length * length
        cdef Py_ssize_t stop = min(start + length, self.entries)
        piece = (checked(self.order[start:stop], stop - start, self.rows), start)
        self.piece = piece
        return piece

    cdef bint padded(self, Py_ssize_t number):
        return self.pad and (number + 1) * self.size > self.entries

    cdef cnp.ndarray filled(self, Py_ssize_t first):
        """Entries from `first` to the end, and then from the beginning, as many as a batch has."""
        cdef Py_ssize_t rest = self.size - (self.entries - first)
        if self.order is None:
            whole = np.arange(first, self.entries), np.arange(min(rest, self.entries))
        else:
            stop = min(rest, self.entries)
            whole = (checked(self.order[first:self.entries], self.entries - first, self.rows),
                     checked(self.order[0:stop], stop, self.rows))
        return np.concatenate([whole[0], np.resize(whole[1], rest)])

    def batch(self, Py_ssize_t number):
        cdef Py_ssize_t first = number * self.size
        cdef Py_ssize_t n = min(self.size, self.entries - first)
        if self.padded(number):
            return self.gather.take(self.filled(first), 0, self.size, self.size)
        if self.order is None:
            return self.gather.take(None, first, n, self.size)
        cdef tuple piece = self.find(first, n)
        return self.gather.take(<cnp.ndarray> piece[0], first - <Py_ssize_t> piece[1], n, self.size)

    def check(self):
        """ValueError if a source is no longer what it was."""
        self.gather.check()


# Without no_gc, the collector could empty the list of batches while their memory is written to.
@cython.no_gc
@cython.final
cdef class Group:
    """Some batches in a row that are gathered by another thread; the one who asks for them helps with what is left."""
    cdef list batches
    cdef Py_ssize_t at
    cdef object order, held
    cdef Gather gather
    cdef fo_gathering job
    cdef fo_ahead work
    cdef char **out
    cdef bint begun

    cdef int begin(self, Reader reader, Py_ssize_t number, Py_ssize_t leap, Py_ssize_t count) except -1:
        """Batches number, number + leap, ..., as many of `count` as lie in one piece of the order."""
        cdef Py_ssize_t size = reader.size, first = number * size, start = 0, last, n = 0, k, end
        cdef cnp.ndarray order = None
        cdef tuple piece
        cdef char **out
        self.gather = reader.gather
        self.gather.check()
        if reader.padded(number):
            order = reader.filled(first)
            start, n, count = first, size, 1
        else:
            last = number + (count - 1) * leap
            if reader.padded(last):
                count -= 1
            if reader.order is not None:
                piece = reader.find(first, min(size, reader.entries - first))
                order = <cnp.ndarray> piece[0]
                start = piece[1]
                end = start + cnp.PyArray_DIM(order, 0)
                count = min(count, (end - first + leap * size - 1) // (leap * size))
            last = first + (count - 1) * leap * size
            n = (count - 1) * size + min(size, reader.entries - last)
        self.order = order
        self.out = out = <char **> PyMem_Calloc(self.gather.count * count, sizeof(char *))
        if self.out == NULL:
            raise MemoryError()
        describe(&self.job, self.gather, order, first - start, leap * size, size, n, self.out)
        if self.gather.mapped:
            self.held = self.gather.hold_maps()
        self.batches = []
        for k in range(count):
            batch = self.gather.lay(order is None, first + k * leap * size, min(size, n - k * size), size, out, None)
            self.batches.append(batch[0] if self.gather.count == 1 else tuple(batch))
            out += self.job.count
        if self.job.count:
            self.work.task = api().gather_rows
            self.work.ctx = &self.job
            self.work.n = n
            self.work.grain = api().gather_grain(&self.job)
            self.begun = True
            api().ahead_begin(&self.work)
        return 0

    cdef void finish(self) noexcept:
        if self.begun:
            self.begun = False
            with nogil:
                api().ahead_finish(&self.work)
        self.held = self.order = None

    cdef object pop(self):
        batch = self.batches[self.at]
        self.batches[self.at] = None
        self.at += 1
        return batch

    def __dealloc__(self):
        if self.begun:
            with nogil:
                api().ahead_finish(&self.work)
        PyMem_Free(self.out)


@cython.final
cdef class Pass:
    """One pass over the batches of a reader; what ``iter(batches)`` returns.

    Hands out batches first, first + leap, ... below count. With `ahead` (True: as many as is fast), so many at
    most are gathered before they are asked for.
    """
    cdef Reader reader
    cdef Py_ssize_t first, leap, count, size
    cdef readonly Py_ssize_t taken          # batches handed out
    cdef readonly bint done                 # the end was reached
    cdef bint closed
    cdef Py_ssize_t group                   # batches gathered in one go; 0: none ahead
    cdef Group current, coming
    cdef object lock, held
    cdef unsigned forks

    def __init__(self, Reader reader, Py_ssize_t first, Py_ssize_t leap, Py_ssize_t count, ahead=False):
        cdef Py_ssize_t nbytes = 1
        self.reader = reader
        self.first = first
        self.leap = leap
        self.count = count
        if ahead is False:
            return
        for s in reader.gather.sources:
            nbytes += (<Source> s).out_bytes * reader.size
        if ahead is True:
            self.group = max(1, min(<Py_ssize_t> GROUP_BYTES // nbytes, <Py_ssize_t> GROUP_MOST))
        else:
            self.group = (ahead + 1) // 2
        # What is handed out and what comes, and what a loop holds; rings only ever grow.
        for s in reader.gather.sources:
            (<Source> s).ring.most = max((<Source> s).ring.most, 2 * self.group + RING)
        self.lock = threading.Lock()
        self.forks = api().ahead_forks()
        # An array that somebody refers to weakly cannot be resized, so its memory stays while it is read.
        self.held = []
        for s in reader.gather.sources:
            array = (<Source> s).array
            while isinstance(array, np.ndarray):
                self.held.append(weakref.ref(array))
                array = array.base

    def close(self):
        """A newer pass has begun, or another position was loaded: this one gives no more batches."""
        self.closed = True
        self.leave()

    cdef void leave(self):
        self.reader = None
        self.held = None
        self.current = self.coming = None

    def __iter__(self):
        return self

    def __length_hint__(self):
        if self.done or self.closed:
            return 0
        return max(0, -(-(self.count - self.first) // self.leap) - self.taken)

    def __next__(self):
        cdef Py_ssize_t number = 0, claim = 0
        cdef Reader reader
        # Checks and the claim of a number are one piece, so threads that share a pass get each batch once.
        with cython.critical_section(self):
            if self.group and self.current is not None and self.current.at < len(self.current.batches):
                self.taken += 1
                return self.current.pop()
            self.go_on()
            reader = self.reader
            if not self.group:
                reader.gather.check()
                claim = self.taken
                number = self.first + claim * self.leap
                self.taken = claim + 1
        if self.group:
            return self.slow()
        try:
            return reader.batch(number)
        except BaseException:
            if self.taken == claim + 1:             # it was not handed out
                self.taken = claim
            raise

    cdef int go_on(self) except -1:
        """StopIteration at the end, RuntimeError if another pass has begun."""
        if self.done:
            raise StopIteration
        if self.closed:
            raise RuntimeError("this pass was ended by a newer one over the same Batches, or by "
                               "load_state_dict; two passes side by side take two Batches")
        if self.first + self.taken * self.leap >= self.count:
            self.done = True
            self.leave()
            raise StopIteration
        return 0

    cdef object slow(self):
        """The first batch of the next group; the one after that begins to be gathered."""
        cdef Group group
        if self.forks != api().ahead_forks():
            self.forks = api().ahead_forks()
            if self.lock.locked():
                self.closed = True
                self.leave()
            self.lock = threading.Lock()
            if self.closed:
                raise RuntimeError("the process was forked while another thread was taking a batch of this pass; "
                                   "begin a new one")
        with self.lock:
            if self.current is not None and self.current.at < len(self.current.batches):
                self.taken += 1                     # another thread was faster
                return self.current.pop()
            self.go_on()
            reader, group, self.current = self.reader, self.coming, None
            self.coming = None
            if group is not None:
                group.finish()
                self.current = group
                self.taken += 1
                batch = group.pop()
                self.begin(reader, self.taken + len(group.batches) - group.at)
            else:                                   # at the beginning, or what follows could not be begun
                reader.check()
                batch = (<Reader> reader).batch(self.first + self.taken * self.leap)
                self.taken += 1
                self.begin(reader, self.taken)
            return batch

    cdef object begin(self, reader, Py_ssize_t index):
        cdef Py_ssize_t number = self.first + index * self.leap
        cdef Group group
        if number >= self.count or self.closed:
            return None
        group = Group.__new__(Group)
        try:
            group.begin(reader, number, self.leap, min(self.group, (self.count - number - 1) // self.leap + 1))
        except Exception:
            return None                             # it will be raised where its batch is asked for
        self.coming = group
        return None


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
