"""First-order steps over trees of arrays: checks buffers, keeps pointers fresh, calls csrc. No formula lives here."""

cimport cython
from cpython.dict cimport PyDict_GetItemWithError, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_GET_SIZE
from libc.float cimport DBL_MAX, FLT_MAX
from libc.math cimport INFINITY, fabs, isfinite
from libc.stdint cimport int64_t, uintptr_t
from libc.string cimport memcmp, memcpy
cimport numpy as cnp

from fastopt._core.csrc cimport (FO_AVERAGE, FO_BLOCK, FO_COUNT_NONFINITE, FO_F32, FO_F64, FO_FLUSH,
                                 FO_MAX_HYPER, FO_MAX_SCALARS, FO_RULES, FO_STATS,
                                 FO_ZERO_GRADS, fo_group, fo_job, fo_layout, fo_sums, fo_tensor)
from fastopt._core.runtime cimport api

import math

import numpy as np

cnp.import_array()

cdef extern from *:
    """
    #if defined(__GNUC__)
    static inline int fo_enter(int *busy) { return !__atomic_exchange_n(busy, 1, __ATOMIC_ACQUIRE); }
    static inline void fo_leave(int *busy) { __atomic_store_n(busy, 0, __ATOMIC_RELEASE); }
    #else
    static inline int fo_enter(int *busy) { int free = !*busy; *busy = 1; return free; }
    static inline void fo_leave(int *busy) { *busy = 0; }
    #endif
    """
    int fo_enter(int *busy) nogil
    void fo_leave(int *busy) nogil

# In C because it runs twice an array and step: no reference is counted, nothing is checked twice.
cdef extern from *:
    """
    #include "numpy/arrayobject.h"
    /* What the last look at an array found. shape[nd] and strides[nd] belong to the Stepper. */
    typedef struct {
        char *data;
        PyObject *descr;
        fo_layout *layout;
        const npy_intp *shape, *strides;
        int nd;
    } fo_seen;
    /* Is an array (exactly ndarray, or known to be an array) where, and what, it was at the last look? */
    static inline int fo_same(PyObject *o, const fo_seen *seen)
    {
        PyArrayObject *a = (PyArrayObject *)o;
        if (PyArray_BYTES(a) != seen->data || (PyObject *)PyArray_DESCR(a) != seen->descr
            || PyArray_NDIM(a) != seen->nd) return 0;
        for (int d = 0; d < seen->nd; d++)
            if (PyArray_DIMS(a)[d] != seen->shape[d] || PyArray_STRIDES(a)[d] != seen->strides[d]) return 0;
        return 1;
    }
    static inline int fo_is_ndarray(PyObject *o) { return PyArray_CheckExact(o); }
    static inline int fo_is_writable(PyObject *o) { return PyArray_ISWRITEABLE((PyArrayObject *)o) != 0; }
    """
    ctypedef struct fo_seen:
        char *data
        PyObject *descr
        fo_layout *layout
        const Py_ssize_t *shape
        const Py_ssize_t *strides
        int nd
    bint fo_same(PyObject *o, const fo_seen *seen)
    bint fo_is_ndarray(PyObject *o)
    bint fo_is_writable(PyObject *o)

cdef enum:
    RELEASE = 20000     # elements below which a step is shorter than handing the interpreter to another thread and back


def rules():
    """The rule table: name -> (state names, hyper-parameter names, running scalar names)."""
    table = {}
    for i in range(FO_RULES):
        info = &api().rules[i]
        table[info.name.decode()] = (tuple(info.state_names.decode().split()), tuple(info.hyper_names.decode().split()),
                                     tuple(info.scalar_names.decode().split()))
    return table


cdef int rule_number(str name) except -1:
    for i in range(FO_RULES):
        if api().rules[i].name.decode() == name:
            return i
    raise ValueError(f"no rule is called {name!r}")


cdef str at(str path):
    """How a message names a leaf: nothing for a bare array, else the path in brackets."""
    return f"[{path!r}]" if path else ""


# ---- trees ----

cdef enum:
    LEAF
    DICT
    SEQUENCE


cdef class Node:
    """The shape of a tree, kept so that a tree of the same shape is read without a search."""
    cdef int kind
    cdef Py_ssize_t leaf
    cdef tuple keys
    cdef list children


cdef Node build(tree, list leaves):
    cdef Node node = Node()
    node.children = []
    node.keys = ()
    if isinstance(tree, dict):
        node.kind = DICT
        node.keys = tuple(tree)
        children = tree.values()
    elif isinstance(tree, (list, tuple)):
        node.kind = SEQUENCE
        children = tree
    else:
        node.kind = LEAF
        node.leaf = len(leaves)
        leaves.append(tree)
        return node
    for child in children:
        node.children.append(build(child, leaves))
    return node


cdef int walk(Node node, PyObject *tree, PyObject **out) except -1:
    """Borrowed pointers to the leaves of tree into out. Returns 0, or 1 where the shape is another."""
    cdef Py_ssize_t i, n
    cdef Node child
    cdef PyObject *item
    cdef bint is_list = False
    if node.kind == LEAF:
        out[node.leaf] = tree
        return 0
    n = PyList_GET_SIZE(node.children)
    if node.kind == DICT:
        if not isinstance(<object> tree, dict) or PyDict_Size(<object> tree) != n:
            return 1
    else:
        is_list = isinstance(<object> tree, list)
        if is_list:
            if PyList_GET_SIZE(<object> tree) != n:
                return 1
        elif not isinstance(<object> tree, tuple) or PyTuple_GET_SIZE(<object> tree) != n:
            return 1
    for i in range(n):
        if node.kind == DICT:
            item = PyDict_GetItemWithError(<object> tree, <object> PyTuple_GET_ITEM(node.keys, i))
            if item == NULL:
                return 1
        elif is_list:
            item = PyList_GET_ITEM(<object> tree, i)
        else:
            item = PyTuple_GET_ITEM(<object> tree, i)
        child = <Node> PyList_GET_ITEM(node.children, i)
        if child.kind == LEAF:
            out[child.leaf] = item
        elif walk(child, item, out) != 0:
            return 1
    return 0


# ---- where arrays lie ----

cdef struct Interval:
    char *low
    char *high
    char *highest       # of this and all intervals before it
    Py_ssize_t array


cdef void bounds(cnp.ndarray a, char **low, char **high) noexcept:
    """First byte and the byte behind the last of an array that is not empty."""
    cdef Py_ssize_t reach, d
    low[0] = high[0] = <char *> cnp.PyArray_DATA(a)
    for d in range(cnp.PyArray_NDIM(a)):
        reach = (cnp.PyArray_DIM(a, d) - 1) * cnp.PyArray_STRIDE(a, d)
        if reach < 0:
            low[0] += reach
        else:
            high[0] += reach
    high[0] += cnp.PyArray_ITEMSIZE(a)


cdef bint plain(cnp.ndarray a) noexcept:
    return cnp.PyArray_IS_C_CONTIGUOUS(a) and cnp.PyArray_ISALIGNED(a)


cdef fo_layout *place(cnp.ndarray a, fo_layout *old) except? NULL:
    """Layout of an array for C: NULL where it is contiguous and aligned. Axes that continue each other are joined."""
    cdef Py_ssize_t d, n, s
    cdef int k
    if plain(a):
        PyMem_Free(old)
        return NULL
    cdef fo_layout *layout = old
    if layout == NULL:
        layout = <fo_layout *> PyMem_Calloc(1, sizeof(fo_layout))
        if layout == NULL:
            raise MemoryError
    k = 0
    for d in range(cnp.PyArray_NDIM(a)):
        n = cnp.PyArray_DIM(a, d)
        s = cnp.PyArray_STRIDE(a, d)
        if n == 1:
            continue
        if k > 0 and layout.strides[k - 1] == s * n:
            layout.shape[k - 1] *= n
            layout.strides[k - 1] = s
        else:
            layout.shape[k] = n
            layout.strides[k] = s
            k += 1
    layout.nd = k
    return layout


def overlaps_itself(a):
    """True if two indices of an array reach the same byte."""
    if a.size < 2:
        return False
    axes = sorted((abs(s), n) for s, n in zip(a.strides, a.shape) if n > 1)
    reach = a.itemsize
    for stride, n in axes:
        if stride < reach:
            break
        reach = stride * (n - 1) + reach
    else:
        return False
    # Axes interleave: the rare case is settled by looking at every address.
    if a.size > 10_000_000:
        return True
    offsets = np.zeros(a.shape, np.int64)
    for d, (s, n) in enumerate(zip(a.strides, a.shape)):
        offsets += (np.arange(n) * s).reshape([-1 if k == d else 1 for k in range(a.ndim)])
    offsets = np.sort(offsets, axis=None)
    return bool((np.diff(offsets) < a.itemsize).any())


# ---- what a step tells ----

@cython.final
cdef class StepRecord:
    """What one step did.

    Attributes
    ----------
    step : int
        Number of the step, 1 for the first; of the last step taken where this one was skipped.
    grad_norm : float or None
        Euclidean norm of all gradients together after ``grad_scale``, before clipping. None where nothing
        needed it: ``nonfinite="propagate"`` without ``clip_norm`` or diagnostics.
    clip_factor : float
        What ``clip_norm`` multiplied the gradients by; 1.0 where it did not act.
    skipped : bool
        The gradients held Inf or NaN and ``nonfinite="skip"``: nothing was changed.
    skips : int
        Steps skipped so far.
    nonfinite : int
        Elements of the gradients that were Inf or NaN.
    diagnostics : dict or None
        With ``diagnostics=True``, for each path a dict of ``grad_norm`` (as the rule saw it), ``param_norm``,
        ``update_norm``, ``update_ratio`` (update over parameter norm) and ``cosine`` (between the gradient and the
        momentum before the step; None where there is none); frozen paths are left out.
    """
    cdef readonly Py_ssize_t step, skips
    cdef readonly int64_t nonfinite
    cdef readonly bint skipped
    cdef readonly double clip_factor
    cdef readonly object diagnostics
    cdef double norm

    @property
    def grad_norm(self):
        return None if self.norm < 0 else self.norm

    def __repr__(self):
        norm = "None" if self.norm < 0 else f"{self.norm:.6g}"
        return (f"StepRecord(step={self.step}, grad_norm={norm}, clip_factor={self.clip_factor:.6g}, "
                f"skipped={bool(self.skipped)}, skips={self.skips}, nonfinite={self.nonfinite})")


BUSY = "another thread is in a step of this optimizer; an optimizer is for one thread at a time"

cdef enum:
    RAISE
    SKIP
    PROPAGATE


# ---- the stepper ----

@cython.final
cdef class Stepper:
    """Runs the steps of one optimizer: its tensors, their states and what they are updated with.

    Made by `fastopt.optim.Optimizer`, which checks every number; this class checks every array.
    """
    cdef fo_tensor *tensors
    cdef fo_seen *seen_p
    cdef fo_seen *seen_g
    cdef Py_ssize_t *geometry       # for each tensor: shape, strides of p, strides of g
    cdef PyObject **found           # leaves of the trees of this call
    cdef Interval *intervals
    cdef Py_ssize_t n_intervals
    cdef fo_group *groups
    cdef double *hyper
    cdef double *decays
    cdef double *scalars
    cdef double *trial_scalars
    cdef double *norms
    cdef double *squares
    cdef int64_t *nonfinite_counts
    cdef fo_sums *sums
    cdef fo_job job
    cdef Py_ssize_t n_groups
    # Clocks: what the tensors of one group that have taken the same steps share. The first n_groups are of those that
    # missed none.
    cdef Py_ssize_t n_clocks
    cdef Py_ssize_t *owners         # for each clock its group
    cdef Py_ssize_t *behind         # and the steps that its tensors have missed
    cdef char *still                # for each tensor: is it frozen?
    cdef Py_ssize_t *since          # the step after which it was frozen
    cdef Py_ssize_t *missed         # steps missed before that
    cdef double *shares             # what its average still holds of the time before it was frozen
    cdef double *held               # its running scalars, while frozen or late
    cdef bint any_still, roomy
    cdef int busy
    cdef int policy
    cdef bint decoupled
    cdef Node root
    cdef list arrays, keep, group_of
    cdef list converted             # arrays made for gradients of other types; they live for one call
    cdef readonly list paths
    cdef readonly object params
    cdef readonly int n_hyper
    cdef public Py_ssize_t steps, skips
    cdef public double grad_scale, clip_norm, clip_eps
    cdef public bint maximize
    cdef public object closed       # why a step may not be taken now, or None
    cdef readonly bint swapped      # the parameters' arrays hold the averages

    def __cinit__(self, str rule, params, list paths, list group_of, Py_ssize_t n_groups, list states, list averages, *,
                  str nonfinite="raise", bint decoupled=False, bint zero_grads=False, bint diagnostics=False,
                  bint flush_subnormals=False, int momentum=-1):
        cdef Py_ssize_t i, k, total, nd
        cdef Py_ssize_t *geometry
        cdef fo_tensor *t
        cdef cnp.ndarray a
        self.arrays = []
        self.keep = []
        self.converted = []
        self.params = params
        self.paths = paths
        self.root = build(params, self.arrays)
        cdef Py_ssize_t count = len(self.arrays)
        self.job.rule = rule_number(rule)
        self.n_hyper = len(api().rules[self.job.rule].hyper_names.decode().split())
        self.n_groups = n_groups
        self.policy = {"raise": RAISE, "skip": SKIP, "propagate": PROPAGATE}[nonfinite]
        self.decoupled = decoupled
        self.grad_scale = 1.0
        self.clip_norm = self.job.clip = INFINITY
        self.closed = None
        total = sum(array.ndim for array in self.arrays)
        self.tensors = <fo_tensor *> need(PyMem_Calloc(count + 1, sizeof(fo_tensor)))
        self.seen_p = <fo_seen *> need(PyMem_Calloc(count + 1, sizeof(fo_seen)))
        self.seen_g = <fo_seen *> need(PyMem_Calloc(count + 1, sizeof(fo_seen)))
        self.geometry = <Py_ssize_t *> need(PyMem_Calloc(3 * total + 1, sizeof(Py_ssize_t)))
        self.found = <PyObject **> need(PyMem_Calloc(count + 1, sizeof(PyObject *)))
        self.groups = <fo_group *> need(PyMem_Calloc(n_groups, sizeof(fo_group)))
        self.hyper = <double *> need(PyMem_Calloc(n_groups * FO_MAX_HYPER, sizeof(double)))
        self.decays = <double *> need(PyMem_Calloc(n_groups, sizeof(double)))
        self.scalars = <double *> need(PyMem_Calloc(n_groups * FO_MAX_SCALARS, sizeof(double)))
        self.trial_scalars = <double *> need(PyMem_Calloc(n_groups * FO_MAX_SCALARS, sizeof(double)))
        self.norms = <double *> need(PyMem_Calloc(count + 1, sizeof(double)))
        self.still = <char *> need(PyMem_Calloc(count + 1, 1))
        self.since = <Py_ssize_t *> need(PyMem_Calloc(count + 1, sizeof(Py_ssize_t)))
        self.missed = <Py_ssize_t *> need(PyMem_Calloc(count + 1, sizeof(Py_ssize_t)))
        self.shares = <double *> need(PyMem_Calloc(count + 1, sizeof(double)))
        self.held = <double *> need(PyMem_Calloc(count * FO_MAX_SCALARS + 1, sizeof(double)))
        self.owners = <Py_ssize_t *> need(PyMem_Calloc(n_groups, sizeof(Py_ssize_t)))
        self.behind = <Py_ssize_t *> need(PyMem_Calloc(n_groups, sizeof(Py_ssize_t)))
        self.n_clocks = n_groups
        for i in range(n_groups):
            self.owners[i] = i
        for i in range(n_groups * FO_MAX_SCALARS):
            self.scalars[i] = 1
        self.group_of = list(group_of)

        total = 0
        for i in range(count):
            a = self.arrays[i]
            t = &self.tensors[i]
            t.n = cnp.PyArray_SIZE(a)
            t.first = self.job.blocks
            t.width = FO_F32 if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32 else FO_F64
            t.group = group_of[i]
            t.p = <char *> cnp.PyArray_DATA(a)
            t.p_at = self.seen_p[i].layout = place(a, NULL)
            for k in range(len(states[i])):
                t.s[k] = cnp.PyArray_DATA(<cnp.ndarray> states[i][k])
            if averages:
                t.avg = cnp.PyArray_DATA(<cnp.ndarray> averages[i])
            self.keep.append((states[i], averages[i] if averages else None))
            nd = cnp.PyArray_NDIM(a)
            geometry = self.geometry + total
            total += 3 * nd
            memcpy(geometry, cnp.PyArray_DIMS(a), nd * sizeof(Py_ssize_t))
            memcpy(geometry + nd, cnp.PyArray_STRIDES(a), nd * sizeof(Py_ssize_t))
            self.seen_p[i].nd = self.seen_g[i].nd = <int> nd
            self.seen_p[i].shape = self.seen_g[i].shape = geometry
            self.seen_p[i].strides = geometry + nd
            self.seen_g[i].strides = geometry + 2 * nd
            remember(&self.seen_p[i], a)
            self.job.blocks += (t.n + FO_BLOCK - 1) // FO_BLOCK
            self.job.elements += t.n
        self.job.tensors = self.tensors
        self.job.groups = self.groups
        self.job.count = count
        self.job.momentum = momentum
        self.job.flags = ((FO_ZERO_GRADS if zero_grads else 0) | (FO_STATS if diagnostics else 0)
                          | (FO_FLUSH if flush_subnormals else 0) | (FO_AVERAGE if averages else 0)
                          | (FO_COUNT_NONFINITE if self.policy == PROPAGATE else 0))
        self.squares = self.job.squares = <double *> need(PyMem_Calloc(self.job.blocks + 1, sizeof(double)))
        if self.policy == PROPAGATE:
            self.nonfinite_counts = <int64_t *> need(PyMem_Calloc(self.job.blocks + 1, sizeof(int64_t)))
            self.job.nonfinite = self.nonfinite_counts
        if diagnostics:
            self.sums = self.job.sums = <fo_sums *> need(PyMem_Calloc(self.job.blocks + 1, sizeof(fo_sums)))
        self.note_intervals(states, averages)

    def __dealloc__(self):
        cdef Py_ssize_t i
        if self.seen_p != NULL and self.seen_g != NULL:
            for i in range(self.job.count):
                PyMem_Free(self.seen_p[i].layout)
                PyMem_Free(self.seen_g[i].layout)
        for block in (<uintptr_t> self.tensors, <uintptr_t> self.seen_p, <uintptr_t> self.seen_g,
                      <uintptr_t> self.geometry, <uintptr_t> self.found,
                      <uintptr_t> self.intervals, <uintptr_t> self.groups, <uintptr_t> self.hyper,
                      <uintptr_t> self.decays, <uintptr_t> self.scalars, <uintptr_t> self.trial_scalars,
                      <uintptr_t> self.norms, <uintptr_t> self.squares, <uintptr_t> self.nonfinite_counts,
                      <uintptr_t> self.sums, <uintptr_t> self.still, <uintptr_t> self.since,
                      <uintptr_t> self.missed, <uintptr_t> self.shares, <uintptr_t> self.held,
                      <uintptr_t> self.owners, <uintptr_t> self.behind):
            PyMem_Free(<void *> <uintptr_t> block)

    # ---- overlap ----

    cdef int note_intervals(self, list states, list averages) except -1:
        """Bytes that a gradient must not touch, sorted by their start."""
        cdef Py_ssize_t i, k
        cdef char *low
        cdef char *high
        cdef char *highest = NULL
        guarded = list(self.arrays)
        for group in states:
            guarded.extend(group)
        guarded.extend(averages)
        spans = []
        for i, a in enumerate(guarded):
            if a.size:
                bounds(a, &low, &high)
                spans.append((<uintptr_t> low, <uintptr_t> high, i))
        spans.sort()
        self.keep.append(guarded)
        self.n_intervals = len(spans)
        self.intervals = <Interval *> need(PyMem_Calloc(len(spans) + 1, sizeof(Interval)))
        for k, (first, behind, i) in enumerate(spans):
            self.intervals[k].low = <char *> <uintptr_t> first
            self.intervals[k].high = <char *> <uintptr_t> behind
            if self.intervals[k].high > highest:
                highest = self.intervals[k].high
            self.intervals[k].highest = highest
            self.intervals[k].array = i
        return 0

    cdef Py_ssize_t touched(self, cnp.ndarray a) except -2:
        """Number of a guarded array that shares memory with a, or -1."""
        cdef char *low
        cdef char *high
        cdef Py_ssize_t left = 0, right = self.n_intervals, middle
        if cnp.PyArray_SIZE(a) == 0:
            return -1
        bounds(a, &low, &high)
        while left < right:
            middle = (left + right) // 2
            if self.intervals[middle].low < high:
                left = middle + 1
            else:
                right = middle
        left -= 1
        while left >= 0 and self.intervals[left].highest > low:
            if self.intervals[left].high > low:
                guarded = self.keep[len(self.keep) - 1]
                if np.shares_memory(a, guarded[self.intervals[left].array]):
                    return self.intervals[left].array
            left -= 1
        return -1

    # ---- arrays of one call ----

    cdef int check_params(self, bint everything=False) except -1:
        cdef Py_ssize_t i
        cdef PyObject *a
        if walk(self.root, <PyObject *> self.params, self.found) != 0:
            raise ValueError("params has another shape of tree than when the optimizer was made; make a new optimizer")
        for i in range(self.job.count):
            a = self.found[i]
            if a != PyList_GET_ITEM(self.arrays, i):
                raise ValueError(f"params{at(self.paths[i])} is not the array that the optimizer was made with; "
                                 "write into that array (p[...] = values) or make a new optimizer")
            if not fo_same(a, &self.seen_p[i]):
                raise ValueError(f"params{at(self.paths[i])} was resized, reshaped or changed its dtype since the "
                                 "optimizer was made; make a new optimizer")
            if not fo_is_writable(a) and (everything or not self.still[i]):
                raise ValueError(f"params{at(self.paths[i])} is read-only; a writable array is needed")
        return 0

    cdef int take_gradients(self) except -1:
        """Point every tensor at its gradient, one of `found`, after all checks."""
        cdef Py_ssize_t i
        cdef bint fresh = False
        for i in range(self.job.count):
            # A frozen array needs no gradient; one that is given is not looked at, unless it is to be set to zero.
            if self.still[i] and (not self.job.flags & FO_ZERO_GRADS or <object> self.found[i] is None):
                continue
            # Exactly ndarray: a masked view of the same memory must not pass for what it is a view of.
            if not (fo_is_ndarray(self.found[i]) and fo_same(self.found[i], &self.seen_g[i])
                    and (not self.job.flags & FO_ZERO_GRADS or fo_is_writable(self.found[i]))):
                self.take_gradient(i, <object> self.found[i])
                fresh = True
        if fresh and self.job.flags & FO_ZERO_GRADS:
            try:
                self.check_distinct()
            except ValueError:
                for i in range(self.job.count):
                    self.seen_g[i].data = NULL      # looked at anew by the next step
                raise
        return 0

    cdef int take_gradient(self, Py_ssize_t i, g) except -1:
        cdef cnp.ndarray p = self.arrays[i], a
        cdef Py_ssize_t other
        cdef int nd = cnp.PyArray_NDIM(p)
        self.seen_g[i].data = NULL
        name = f"grads{at(self.paths[i])}"
        if isinstance(g, np.ma.MaskedArray):
            raise TypeError(f"{name} is a masked array; a plain array is needed (fill it first)")
        if not isinstance(g, np.ndarray):
            if not hasattr(g, "__array__"):
                raise TypeError(f"{name} is {type(g).__name__}; an array of {(<object> p).dtype} is needed")
            g = np.asarray(g)
            if self.job.flags & FO_ZERO_GRADS:
                raise TypeError(f"{name} is not a NumPy array, so zero_grads cannot zero it")
            self.converted.append(g)
        a = g
        if g.dtype != (<object> p).dtype or not g.dtype.isnative:
            raise TypeError(f"{name} has dtype {g.dtype}{byte_order(g)}; {(<object> p).dtype} is needed, as "
                            f"params{at(self.paths[i])} has")
        if (<object> a).shape != (<object> p).shape:
            raise ValueError(f"{name} has shape {(<object> a).shape}; {(<object> p).shape} is needed, as "
                             f"params{at(self.paths[i])} has")
        if self.job.flags & FO_ZERO_GRADS:
            if not cnp.PyArray_ISWRITEABLE(a):
                raise ValueError(f"{name} is read-only; zero_grads needs a writable array")
            if overlaps_itself(a):
                raise ValueError(f"{name} reaches the same element by two indices; zero_grads needs an array of "
                                 "its own")
        other = self.touched(a)
        if other >= 0:
            what = f"params{at(self.paths[other])}" if other < self.job.count else "the optimizer's own state"
            raise ValueError(f"{name} shares memory with {what}; gradients need memory of their own")
        self.seen_g[i].layout = place(a, self.seen_g[i].layout)
        self.tensors[i].g_at = self.seen_g[i].layout
        self.tensors[i].g = <char *> cnp.PyArray_DATA(a)
        memcpy(<Py_ssize_t *> self.seen_g[i].strides, cnp.PyArray_STRIDES(a), nd * sizeof(Py_ssize_t))
        remember(&self.seen_g[i], a)
        # A dtype equal to the parameter's but another object: its address may be given to a third one later.
        if <PyObject *> cnp.PyArray_DESCR(a) != self.seen_p[i].descr:
            self.seen_g[i].data = NULL
        return 0

    cdef int check_distinct(self) except -1:
        """With zero_grads no two gradients may share memory: the second would be read after the first was zeroed."""
        cdef char *low
        cdef char *high
        spans = []
        for i in range(self.job.count):
            a = <object> self.found[i]
            if a is not None and a.size:        # None: of a frozen array
                bounds(a, &low, &high)
                spans.append((<uintptr_t> low, <uintptr_t> high, i))
        pair = first_overlap(spans, [<object> self.found[i] for i in range(self.job.count)])
        if pair is not None:
            raise ValueError(f"grads{at(self.paths[pair[0]])} and grads{at(self.paths[pair[1]])} share memory; "
                             "zero_grads needs gradients that do not")
        return 0

    cdef int explain_tree(self, grads) except -1:
        from fastopt._trees import flatten_tree

        _, paths = flatten_tree(grads)
        missing = [p for p in self.paths if p not in set(paths)]
        extra = [p for p in paths if p not in set(self.paths)]
        if missing:
            raise ValueError(f"grads has no {missing[0]!r}, which params has"
                             + (f" ({len(missing)} paths are missing)" if len(missing) > 1 else ""))
        if extra:
            raise ValueError(f"grads has {extra[0]!r}, which params has not"
                             + (f" ({len(extra)} paths too many)" if len(extra) > 1 else ""))
        raise ValueError("grads is another shape of tree than params: dicts, lists and tuples must nest alike")

    # ---- numbers ----

    def set_hyper(self, Py_ssize_t group, int index, double value):
        self.hyper[group * FO_MAX_HYPER + index] = value

    def set_decay(self, Py_ssize_t group, double value):
        self.decays[group] = value

    def set_average(self, double weight):
        self.job.average = weight
        if weight == 0:
            self.job.flags &= ~FO_AVERAGE       # nothing would change: the average is not even read
        else:
            self.job.flags |= FO_AVERAGE

    @property
    def diagnostics(self):
        """Whether steps gather diagnostics; may be switched off and on again where there is room for them."""
        return bool(self.job.flags & FO_STATS)

    @diagnostics.setter
    def diagnostics(self, bint on):
        if on and self.sums == NULL:
            raise ValueError("diagnostics can be switched on again only where the optimizer was made with them")
        self.job.flags = self.job.flags | FO_STATS if on else self.job.flags & ~FO_STATS

    def set_clip_value(self, double value):
        self.job.clip = value

    def get_scalars(self):
        """Running scalars of the rule, a list a group, of the arrays that missed no step."""
        cdef Py_ssize_t g
        return [self.named(self.scalars + g * FO_MAX_SCALARS) for g in range(self.n_groups)]

    def put_scalars(self, list values):
        cdef Py_ssize_t g
        for g in range(self.n_groups):
            self.take_named(self.scalars + g * FO_MAX_SCALARS, values[g])

    cdef dict named(self, double *scalars):
        names = api().rules[self.job.rule].scalar_names.decode().split()
        return {name: scalars[k] for k, name in enumerate(names)}

    cdef int take_named(self, double *scalars, values) except -1:
        for k, name in enumerate(api().rules[self.job.rule].scalar_names.decode().split()):
            scalars[k] = values[name]
        return 0

    # ---- arrays that take no part ----

    def freeze(self, list indices):
        """Leave these arrays out of all steps to come."""
        cdef Py_ssize_t i
        self.make_room()
        self.keep_scalars()
        for i in indices:
            if not self.still[i]:
                self.still[i] = True
                self.since[i] = self.steps
                self.shares[i] = 1
        self.arrange()

    def thaw(self, list indices):
        """Take these arrays back. Each counts its own steps: those that it missed are none of them."""
        cdef Py_ssize_t i
        self.make_room()
        self.keep_scalars()
        for i in indices:
            if self.still[i]:
                self.still[i] = False
                self.missed[i] += self.steps - self.since[i]
        self.arrange()

    def is_frozen(self, Py_ssize_t i):
        return bool(self.still[i])

    def share(self, Py_ssize_t i):
        """The part of a frozen array's average that is the array's own average; the rest is the array itself."""
        return self.shares[i] if self.still[i] else 1.0

    def settled(self, Py_ssize_t i):
        """The average of a frozen array has been brought up to date."""
        self.shares[i] = 1

    def get_clocks(self):
        """(index, frozen, since, missed, share, running scalars) of each array that is frozen or has missed steps."""
        cdef Py_ssize_t i
        self.keep_scalars()
        return [(i, bool(self.still[i]), self.since[i], self.missed[i], self.shares[i],
                 self.named(self.held + i * FO_MAX_SCALARS))
                for i in range(self.job.count) if self.still[i] or self.missed[i]]

    def put_clocks(self, list rows):
        """Take up what `get_clocks` gave; all other arrays have missed nothing."""
        cdef Py_ssize_t i
        self.make_room()
        for i in range(self.job.count):
            self.still[i] = False
            self.missed[i] = 0
        for i, frozen, since, missed, share, scalars in rows:
            self.still[i], self.since[i], self.missed[i], self.shares[i] = frozen, since, missed, share
            self.take_named(self.held + i * FO_MAX_SCALARS, scalars)
        self.arrange()

    cdef int make_room(self) except -1:
        """At most every array has a clock of its own; allocated by the first call."""
        cdef Py_ssize_t most = self.n_groups + self.job.count, n = self.n_clocks
        cdef void *blocks[5]
        cdef int k
        if self.roomy:
            return 0
        sizes = (sizeof(fo_group), FO_MAX_SCALARS * sizeof(double), FO_MAX_SCALARS * sizeof(double),
                 sizeof(Py_ssize_t), sizeof(Py_ssize_t))
        for k in range(5):
            blocks[k] = PyMem_Calloc(most, <size_t> sizes[k])
            if blocks[k] == NULL:
                while k > 0:
                    k -= 1
                    PyMem_Free(blocks[k])
                raise MemoryError
        memcpy(blocks[1], self.scalars, n * FO_MAX_SCALARS * sizeof(double))
        memcpy(blocks[3], self.owners, n * sizeof(Py_ssize_t))
        memcpy(blocks[4], self.behind, n * sizeof(Py_ssize_t))
        for block in (<uintptr_t> self.groups, <uintptr_t> self.scalars, <uintptr_t> self.trial_scalars,
                      <uintptr_t> self.owners, <uintptr_t> self.behind):
            PyMem_Free(<void *> <uintptr_t> block)
        self.groups = <fo_group *> blocks[0]
        self.job.groups = self.groups
        self.scalars, self.trial_scalars = <double *> blocks[1], <double *> blocks[2]
        self.owners, self.behind = <Py_ssize_t *> blocks[3], <Py_ssize_t *> blocks[4]
        self.roomy = True
        return 0

    cdef void keep_scalars(self) noexcept:
        """Note the running scalars of each array by itself, before the clocks are made anew."""
        cdef Py_ssize_t i
        for i in range(self.job.count):
            if not self.still[i]:
                memcpy(self.held + i * FO_MAX_SCALARS, self.scalars + self.tensors[i].group * FO_MAX_SCALARS,
                       FO_MAX_SCALARS * sizeof(double))

    cdef int arrange(self) except -1:
        """Give each array that takes part its clock and its blocks; a frozen one has no elements for the engine."""
        cdef Py_ssize_t i, c, group
        cdef fo_tensor *t
        cdef double *own
        self.n_clocks = self.n_groups
        self.job.blocks = self.job.elements = 0
        self.any_still = False
        for i in range(self.job.count):
            t = &self.tensors[i]
            group = self.group_of[i]
            t.first = self.job.blocks
            t.group = <int> group
            if self.still[i]:
                self.any_still = True
                t.n = 0
                continue
            t.n = cnp.PyArray_SIZE(<cnp.ndarray> self.arrays[i])
            self.job.blocks += (t.n + FO_BLOCK - 1) // FO_BLOCK
            self.job.elements += t.n
            if self.missed[i] == 0:
                continue
            own = self.held + i * FO_MAX_SCALARS
            c = self.n_groups
            while c < self.n_clocks and not (
                    self.owners[c] == group and self.behind[c] == self.missed[i]
                    and memcmp(self.scalars + c * FO_MAX_SCALARS, own, FO_MAX_SCALARS * sizeof(double)) == 0):
                c += 1
            if c == self.n_clocks:
                self.owners[c] = group
                self.behind[c] = self.missed[i]
                memcpy(self.scalars + c * FO_MAX_SCALARS, own, FO_MAX_SCALARS * sizeof(double))
                self.n_clocks += 1
            t.group = <int> c
        return 0

    # ---- other contents for the parameters' arrays, for a while ----
    # Each is one call into compiled code, so that Ctrl-C finds it done or not begun.

    def swap_averages(self):
        """Exchange parameters and averages; `swapped` tells which way they are."""
        cdef Py_ssize_t i, start, n, size
        cdef char piece[4096]
        self.check_params(True)
        for i in range(self.job.count):
            if self.tensors[i].p_at == NULL:
                size = cnp.PyArray_NBYTES(<cnp.ndarray> self.arrays[i])
                for start in range(0, size, sizeof(piece)):
                    n = min(<Py_ssize_t> sizeof(piece), size - start)
                    memcpy(piece, self.tensors[i].p + start, n)
                    memcpy(self.tensors[i].p + start, <char *> self.tensors[i].avg + start, n)
                    memcpy(<char *> self.tensors[i].avg + start, piece, n)
            else:
                held = self.arrays[i].copy()
                self.arrays[i][...] = self.keep[i][1]
                self.keep[i][1][...] = held
        self.swapped = not self.swapped

    def restore(self, values):
        """Give the parameters the contents of other arrays; None: of a frozen one, which is left alone."""
        for i in range(self.job.count):
            if values[i] is not None:
                self.arrays[i][...] = values[i]

    # ---- the step ----

    def close(self, str why):
        """Refuse steps from now on, with why as the reason, until `closed` is None again."""
        if not fo_enter(&self.busy):
            raise RuntimeError(BUSY)
        try:
            if self.closed is not None:
                raise RuntimeError(self.closed)
            self.closed = why
        finally:
            fo_leave(&self.busy)

    def step(self, grads, evaluate=None):
        """Take one step. All checks come before the first write; evaluate(t) sets what depends on the step's number."""
        cdef Py_ssize_t i
        cdef StepRecord record
        if not fo_enter(&self.busy):
            raise RuntimeError(BUSY)
        try:
            if self.closed is not None:
                raise RuntimeError(self.closed)
            if evaluate is not None:
                evaluate(self.steps + 1)
            self.check_params()
            if walk(self.root, <PyObject *> grads, self.found) != 0:
                self.explain_tree(grads)
            # The call's own references: an __array__ or, with the GIL released, another thread may empty the user's
            # containers.
            for i in range(self.job.count):
                Py_INCREF(<object> self.found[i])
            try:
                self.take_gradients()
                record = self.run()
            finally:
                for i in range(self.job.count):
                    Py_DECREF(<object> self.found[i])
            return record
        finally:
            if PyList_GET_SIZE(self.converted) > 0:
                self.converted.clear()
                for i in range(self.job.count):
                    self.seen_g[i].data = NULL      # what comes next at their addresses is looked at anew
            fo_leave(&self.busy)

    cdef StepRecord run(self):
        cdef double norm = -1, factor = 1, scale = self.grad_scale
        cdef Py_ssize_t g, b
        cdef int64_t bad = 0
        cdef int threads = api().get_num_threads()
        cdef bint release = self.job.elements >= RELEASE
        cdef StepRecord record = StepRecord.__new__(StepRecord)
        if self.policy != PROPAGATE or self.clip_norm < INFINITY or self.job.flags & FO_STATS:
            if release:
                with nogil:
                    norm = api().gradient_norm(&self.job, self.norms, threads)
            else:
                norm = api().gradient_norm(&self.job, self.norms, threads)
            if not isfinite(norm) and self.policy != PROPAGATE:
                bad = self.refuse()
                if bad:
                    if self.job.flags & FO_ZERO_GRADS:
                        # Whoever accumulates into these arrays would else find the bad values in every later step.
                        self.zero_gradients(True)
                    self.skips += 1
                    record.step = self.steps
                    record.norm = norm
                    record.clip_factor = 1
                    record.skipped = True
                    record.skips = self.skips
                    record.nonfinite = bad
                    return record
            norm *= fabs(scale)
            if self.clip_norm < INFINITY:
                # A NaN norm goes on: as torch, it makes every gradient NaN. A norm of 0 divides nothing.
                if not norm + self.clip_eps <= self.clip_norm:
                    factor = self.clip_norm / (norm + self.clip_eps)
        self.job.scale = -scale * factor if self.maximize else scale * factor
        if fabs(self.job.scale) > 1 and self.policy != PROPAGATE:
            self.check_scaled(fabs(self.job.scale))
        # A finite norm has already told that there is nothing to count.
        if self.policy == PROPAGATE:
            if 0 <= norm < INFINITY:
                self.job.flags &= ~FO_COUNT_NONFINITE
            else:
                self.job.flags |= FO_COUNT_NONFINITE
        memcpy(self.trial_scalars, self.scalars, self.n_clocks * FO_MAX_SCALARS * sizeof(double))
        for b in range(self.n_clocks):
            g = self.owners[b]
            api().prepare(self.job.rule, self.hyper + g * FO_MAX_HYPER, self.decays[g], self.decoupled,
                          <double> (self.steps + 1 - self.behind[b]), self.trial_scalars + b * FO_MAX_SCALARS,
                          &self.groups[b])
        if release:
            with nogil:
                api().step(&self.job, threads)
        else:
            api().step(&self.job, threads)
        memcpy(self.scalars, self.trial_scalars, self.n_clocks * FO_MAX_SCALARS * sizeof(double))
        self.steps += 1
        if self.any_still:
            for g in range(self.job.count):
                if self.still[g]:
                    self.shares[g] *= 1 - self.job.average
            if self.job.flags & FO_ZERO_GRADS:
                self.zero_gradients(False)
        if self.job.flags & FO_COUNT_NONFINITE:
            for b in range(self.job.blocks):
                bad += self.nonfinite_counts[b]
        record.step = self.steps
        record.norm = norm
        record.clip_factor = factor
        record.skipped = False
        record.skips = self.skips
        record.nonfinite = bad
        if self.job.flags & FO_STATS:
            record.diagnostics = self.diagnose()
        return record

    cdef int zero_gradients(self, bint everything) except -1:
        """Set gradients to zero: all of them, or those of frozen arrays, which the engine does not see."""
        for i in range(self.job.count):
            if (everything or self.still[i]) and <object> self.found[i] is not None:
                (<object> self.found[i])[...] = 0
        return 0

    cdef int check_scaled(self, double scale) except -1:
        """Refuse a scale that may carry finite gradients out of their dtype's range."""
        cdef Py_ssize_t i
        for i in range(self.job.count):
            if self.norms[i] * scale > (FLT_MAX if self.tensors[i].width == FO_F32 else DBL_MAX):
                raise FloatingPointError(f"grads{at(self.paths[i])} times grad_scale={self.grad_scale} leaves the "
                                         f"range of its dtype (norm {self.norms[i]:.3g}); nothing was changed")
        return 0

    cdef int64_t refuse(self) except -1:
        """Count the non-finite gradients; raise where the policy says so. 0: the norm alone overflowed."""
        cdef Py_ssize_t i
        cdef int64_t bad, total = 0
        where = []
        for i in range(self.job.count):
            if isfinite(self.norms[i]):
                continue
            bad = api().count_nonfinite(&self.tensors[i])
            total += bad
            if bad:
                where.append(f"grads{at(self.paths[i])} has {bad} of {self.tensors[i].n} elements")
        if total and self.policy == RAISE:
            more = f" (and {len(where) - 3} more arrays)" if len(where) > 3 else ""
            raise FloatingPointError(f"{', '.join(where[:3])}{more} Inf or NaN at step {self.steps + 1}; nothing was "
                                     'changed. nonfinite="skip" passes over such steps')
        return total

    cdef dict diagnose(self):
        cdef Py_ssize_t i, b, first
        cdef fo_sums s
        out = {}
        for i in range(self.job.count):
            if self.still[i]:
                continue
            s = fo_sums(0, 0, 0, 0, 0)
            first = self.tensors[i].first
            for b in range(first, first + (self.tensors[i].n + FO_BLOCK - 1) // FO_BLOCK):
                s.gg += self.sums[b].gg
                s.pp += self.sums[b].pp
                s.uu += self.sums[b].uu
                s.mm += self.sums[b].mm
                s.gm += self.sums[b].gm
            p, u = math.sqrt(s.pp), math.sqrt(s.uu)
            m = math.sqrt(s.gg) * math.sqrt(s.mm)
            out[self.paths[i]] = {"grad_norm": math.sqrt(s.gg), "param_norm": p, "update_norm": u,
                                  "update_ratio": u / p if p > 0 else (math.inf if u > 0 else 0.0),
                                  "cosine": s.gm / m if m > 0 else None}
        return out


cdef void *need(void *block) except NULL:
    if block == NULL:
        raise MemoryError
    return block


cdef void remember(fo_seen *seen, cnp.ndarray a) noexcept:
    seen.data = <char *> cnp.PyArray_DATA(a)
    seen.descr = <PyObject *> cnp.PyArray_DESCR(a)


cdef str byte_order(a):
    return "" if a.dtype.isnative else " in foreign byte order"


cpdef first_overlap(list spans, list arrays):
    """The first pair (i, j) of arrays that share memory, from their (low, high, index) bounds; None if none do."""
    spans = sorted(spans)
    open_spans = []
    for low, high, i in spans:
        open_spans = [s for s in open_spans if s[1] > low]
        for _, _, j in open_spans:
            if arrays[i] is arrays[j] or np.shares_memory(arrays[i], arrays[j]):
                return (min(i, j), max(i, j))
        open_spans.append((low, high, i))
    return None


def byte_bounds(cnp.ndarray a):
    """First byte and the byte behind the last of an array, as integers."""
    cdef char *low
    cdef char *high
    bounds(a, &low, &high)
    return <uintptr_t> low, <uintptr_t> high


def floor(list written, cnp.ndarray read, bint twice, int threads, int repeat=1):
    """The yardstick of benchmarks: add read to each written array in one pass; all contiguous, of one dtype and size.

    With twice, read is read once more before. All of it repeat times, so that small sizes are not timed with this call.
    """
    cdef void *pointers[5]
    cdef Py_ssize_t i, n = read.size
    cdef int width = FO_F32 if read.dtype == np.float32 else FO_F64
    if not 0 <= len(written) <= 5:
        raise ValueError(f"written has {len(written)} arrays; 0 to 5 are needed")
    for a in [*written, read]:
        if (a.dtype != read.dtype or a.size != n or not a.flags.c_contiguous
                or a.dtype not in (np.float32, np.float64)):
            raise ValueError("floor needs contiguous arrays of one floating dtype and one size")
    cdef int count = len(written)
    for i in range(count):
        pointers[i] = cnp.PyArray_DATA(<cnp.ndarray> written[i])
    cdef void *source = cnp.PyArray_DATA(read)
    with nogil:
        api().floor(width, pointers, count, source, twice, n, threads, repeat)
