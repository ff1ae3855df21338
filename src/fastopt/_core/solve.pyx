"""Drives a solver machine of csrc/solve: Python callables, compiled callbacks, ask and tell.

The machine asks (evaluate here, Hessian, product, preconditioner) and this module answers; it holds no formula. A point
handed to Python is an array of the callee's own: it is used again only if nobody kept it, so nothing that the callee
does with it can reach the solver.
"""

from time import monotonic

import numpy as np

cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_Check
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetName, PyCapsule_GetPointer
from cpython.ref cimport Py_REFCNT
from libc.math cimport isfinite, isnan
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastopt._core.blas cimport blas
from fastopt._core.csrc cimport (FO_BY_CALLBACK, FO_EVALUATE, FO_F32, FO_F64, FO_G, FO_GT, FO_HESSIAN, FO_HV,
                                 FO_ITERATED, FO_MATRIX, FO_METHOD_bfgs, FO_METHOD_newton, FO_METHOD_trust,
                                 FO_METHODS, FO_PAIRS,
                                 FO_PRECONDITION, FO_PRODUCT, FO_STOPPED, FO_V, FO_WANT_F, FO_WANT_G, FO_X, FO_XT, FO_Z,
                                 fo_blas, fo_objective, fo_options, fo_solver)
from fastopt._core.runtime cimport api

cnp.import_array()


REQUESTS = {FO_STOPPED: "stopped", FO_EVALUATE: "evaluate", FO_HESSIAN: "hessian", FO_PRODUCT: "product",
            FO_PRECONDITION: "precondition", FO_ITERATED: "iterated"}
SEARCHES = ("backtracking", "wolfe", "hager_zhang")

cdef enum:
    GIL_FREE = 4096               # elements from which the GIL is let go around the machine's own work


cdef bint present(int method) noexcept:
    cdef fo_options o
    api().default_options(&o, method, FO_F64, 1)
    return api().solver_bytes(FO_F64, 1, &o) > 0


cdef dict NUMBERS = {api().methods[i].name.decode(): i for i in range(FO_METHODS) if present(i)}
cdef dict METHODS = {name: tuple(api().methods[i].variants.decode().split()) for name, i in NUMBERS.items()}


def methods():
    """Name -> names of the variants, for every method of this build, the default variant first."""
    return dict(METHODS)


cdef int method_number(str name) except -1:
    if name not in NUMBERS:
        raise ValueError(f"method is {name!r}; it must be one of {', '.join(METHODS)}")
    return NUMBERS[name]


def as_value(f):
    """The one real number in what an objective returned."""
    if isinstance(f, (str, bytes)) or f is None:
        raise TypeError(f"fun returned {f!r} as its value; a real number is needed")
    a = np.asarray(f)
    if a.size != 1:
        raise ValueError(f"fun returned a value of shape {a.shape}; one number is needed")
    if a.dtype.kind == "c":
        raise TypeError(f"fun returned a complex value ({a.dtype}); a real number is needed")
    try:
        return float(a.reshape(()).item())
    except (TypeError, ValueError):
        raise TypeError(f"fun returned {f!r} as its value; a real number is needed") from None


def as_vector(g, n, dtype, what):
    """What a callback returned as a contiguous vector of n elements; a column or a row of n will do."""
    try:
        a = np.asarray(g)
    except ValueError:
        a = np.empty(0, object)
    if a.dtype.kind == "c":
        raise TypeError(f"{what} is complex ({a.dtype}); real numbers are needed")
    if a.dtype.kind not in "fiub":
        if a.dtype.kind == "O" and a.size == n:
            try:
                a = a.astype(np.float64)
            except (TypeError, ValueError):
                raise TypeError(f"{what} is {type(g).__name__} of objects; real numbers are needed") from None
        else:
            raise TypeError(f"{what} is {type(g).__name__} ({a.dtype}); an array of real numbers is needed")
    if a.size != n or max(a.shape, default=1) != n:
        raise ValueError(f"{what} has shape {a.shape}; {(n,)} is needed")
    return np.ascontiguousarray(a.reshape(n), dtype)


def unpack(answer):
    """(f, g) of a joint objective that returned something else than a tuple of two."""
    try:
        f, g = answer
    except (TypeError, ValueError):
        raise TypeError(f"fun returned {type(answer).__name__}; "
                        "with jac=True it must return the pair (value, gradient)") from None
    return f, g


# ---- options: the struct's fields by name ----
cdef fo_options probe
cdef dict PLACES = {}                                     # name -> (offset in bytes, kind)
cdef enum:
    INT, LONG, REAL


cdef int place(str name, void *field, int kind) except -1:
    PLACES[name] = (<char *> field - <char *> &probe, kind)
    return 0


place("threads", &probe.threads, INT)
place("norm", &probe.norm, INT)
place("memory", &probe.memory, INT)
place("precondition", &probe.precondition, INT)
place("max_trials", &probe.max_trials, INT)
place("maxiter", &probe.maxiter, LONG)
place("maxfev", &probe.maxfev, LONG)
place("restart", &probe.restart, LONG)
place("gtol", &probe.gtol, REAL)
place("ftol", &probe.ftol, REAL)
place("xtol", &probe.xtol, REAL)
place("ftarget", &probe.ftarget, REAL)
place("fmin", &probe.fmin, REAL)
place("c1", &probe.c1, REAL)
place("c2", &probe.c2, REAL)
place("eps_f", &probe.eps_f, REAL)
place("powell", &probe.powell, REAL)
place("first_step", &probe.first_step, REAL)
place("max_step", &probe.max_step, REAL)
place("radius", &probe.radius, REAL)
place("max_radius", &probe.max_radius, REAL)
place("eta", &probe.eta, REAL)
FIELDS = tuple(PLACES)


cdef str variant_name(const fo_options *o):
    return api().methods[o.method].variants.decode().split()[o.variant]


cdef dict all_options(const fo_options *o):
    out = {"variant": variant_name(o), "search": SEARCHES[o.search]}
    cdef const char *field
    for name, (offset, kind) in PLACES.items():
        field = <const char *> o + <Py_ssize_t> offset
        out[name] = ((<const int *> field)[0] if kind == INT else (<const int64_t *> field)[0] if kind == LONG
                     else (<const double *> field)[0])
    return out


cdef int set_options(fo_options *o, str method, dict options) except -1:
    cdef char *field
    cdef int kind
    for name, value in options.items():
        if name in PLACES:
            offset, kind = PLACES[name]
            field = <char *> o + <Py_ssize_t> offset
            if kind == INT:
                (<int *> field)[0] = value
            elif kind == LONG:
                (<int64_t *> field)[0] = value
            else:
                (<double *> field)[0] = value
        elif name == "variant":
            if value not in METHODS[method]:
                raise ValueError(f"variant is {value!r}; {method} has {', '.join(METHODS[method])}")
            o.variant = METHODS[method].index(value)
        elif name == "search":
            if value not in SEARCHES:
                raise ValueError(f"search is {value!r}; it must be one of {', '.join(SEARCHES)}")
            o.search = SEARCHES.index(value)
        else:
            raise ValueError(f"unknown option {name!r}; known are variant, search, {', '.join(FIELDS)}")
    return 0


def default_options(str method, dtype, n):
    """The options of a method for vectors of n elements, by name."""
    cdef fo_options o
    api().default_options(&o, method_number(method), FO_F32 if np.dtype(dtype) == np.float32 else FO_F64, n)
    return all_options(&o)


def packed_options(str method, dtype, int64_t n, dict options):
    """(fo_options as bytes, bytes of one solver) for modules that lay solvers out themselves."""
    cdef fo_options o
    cdef int width = FO_F32 if np.dtype(dtype) == np.float32 else FO_F64
    api().default_options(&o, method_number(method), width, n)
    set_options(&o, method, options)
    return (<const char *> &o)[:sizeof(o)], api().solver_bytes(width, n, &o)


# ---- compiled objectives ----
WANTED = "double (int64_t n, const double *x, double *g, void *user), or with float * for float32"


cdef int width_of(str signature) except -1:
    """The width of the vectors that a C signature takes; TypeError if it is not the one that is called."""
    text = signature.replace("const", " ").replace("*", " * ")
    head, _, rest = text.partition("(")
    args = [" ".join(a.split()) for a in rest.rpartition(")")[0].split(",")]
    counts = ("int64_t", "int64", "long", "long int", "long long", "ssize_t", "Py_ssize_t", "npy_intp", "ptrdiff_t",
              "intptr_t")
    if head.strip() == "double" and len(args) == 4 and args[0] in counts and args[3] == "void *" and args[1] == args[2]:
        if args[1] == "double *":
            return FO_F64
        if args[1] == "float *":
            return FO_F32
    raise TypeError(f"the compiled objective has the signature {signature!r}; {WANTED} is needed")


def is_compiled(fun):
    """Is this a scipy.LowLevelCallable or a numba cfunc?"""
    return is_low_level(fun) or is_cfunc(fun)


cdef bint is_low_level(fun):
    return type(fun).__name__ == "LowLevelCallable" and isinstance(fun, tuple)


cdef bint is_cfunc(fun):
    return hasattr(fun, "address") and hasattr(fun, "_sig") and hasattr(fun, "ctypes")


cdef class Compiled:
    """A compiled objective: address, user data, width of its vectors. Keeps what it was made from alive."""

    cdef fo_objective call
    cdef void *user
    cdef readonly int width
    cdef object source, data

    cdef int check(self, int width) except -1:
        if self.width != width:
            raise TypeError(f"the compiled objective takes vectors of {'float' if self.width == FO_F32 else 'double'}; "
                            f"x0 is {'float32' if width == FO_F32 else 'float64'}")
        return 0

    @property
    def pointers(self):
        """Addresses of the function and of its user data, as numbers."""
        return <size_t> self.call, <size_t> self.user

    def __call__(self, x):
        """(f, g) at one point: what differences of gradients are made of."""
        cdef cnp.ndarray at = np.ascontiguousarray(x, np.float32 if self.width == FO_F32 else np.float64)
        cdef cnp.ndarray g = np.zeros_like(at)
        cdef double f
        cdef int64_t n = at.shape[0]
        with nogil:
            f = self.call(n, at.data, g.data, self.user)
        return f, g

    def __init__(self, fun, data=None):
        cdef const char *name
        self.source = fun
        self.data = data
        self.user = NULL
        if is_low_level(fun):
            capsule = (<tuple> fun)[0]
            name = PyCapsule_GetName(capsule)
            self.width = width_of(name.decode())
            self.call = <fo_objective> PyCapsule_GetPointer(capsule, name)
            self.user = PyCapsule_GetContext(capsule)
        elif is_cfunc(fun):
            text = str(fun._sig)                          # numba: (int64, float64*, float64*, void*) -> float64
            args, _, result = text.partition("->")
            spelled = {"float64": "double", "float32": "float", "none": "void"}
            for old, new in spelled.items():
                args, result = args.replace(old, new), result.replace(old, new)
            self.width = width_of(f"{result.strip()} {args.strip()}")
            self.call = <fo_objective> <size_t> fun.address
        else:
            raise TypeError(f"{fun!r} is no compiled objective; "
                            f"a scipy.LowLevelCallable or a numba cfunc is needed: {WANTED}")
        if data is not None:
            if not isinstance(data, np.ndarray) or not data.flags.c_contiguous:
                raise TypeError("args of a compiled objective must hold one C-contiguous array: its address is `user`")
            if self.user != NULL:
                raise ValueError("the compiled objective has user data of its own; args must be empty")
            self.user = cnp.PyArray_DATA(data)


cdef object aligned_bytes(int64_t size):
    """Zeroed bytes that begin at a cache line."""
    raw = np.zeros(size + 64, np.uint8)
    start = -(<size_t> cnp.PyArray_DATA(raw)) % 64
    return raw[start:start + size]


cdef class Machine:
    """One run of one method.

    Parameters
    ----------
    x0 : ndarray, shape (n,), float32 or float64, C-contiguous
        Copied.
    method : str
    options : dict
        Fields of ``fo_options`` that differ from the method's defaults; ``variant`` and ``search`` by name.
    """

    cdef object memory, kept, type
    cdef fo_solver *s
    cdef const fo_blas *table
    cdef int typenum
    cdef cnp.npy_intp n
    cdef size_t row
    cdef bint busy

    def __cinit__(self):
        self.s = NULL
        self.table = NULL

    def __init__(self, x0, str method, dict options):
        cdef cnp.ndarray x = x0
        cdef fo_options o
        cdef int number = method_number(method), width, kind = cnp.PyArray_TYPE(x)
        cdef int64_t size
        if x.ndim != 1 or kind not in (cnp.NPY_FLOAT, cnp.NPY_DOUBLE) or not cnp.PyArray_ISCARRAY_RO(x):
            raise TypeError("x0 must be a contiguous vector of float32 or float64")
        width = FO_F32 if kind == cnp.NPY_FLOAT else FO_F64
        api().default_options(&o, number, width, x.shape[0])
        set_options(&o, method, options)
        size = api().solver_bytes(width, x.shape[0], &o)
        if size < 0:
            raise MemoryError(f"{method} of {x.shape[0]} elements needs more memory than can be addressed")
        self.allocate(size)
        api().solver_begin(self.s, width, x.shape[0], &o)
        self.bind()
        memcpy(api().solver_vector(self.s, FO_XT), x.data, self.row)

    cdef allocate(self, int64_t size):
        self.memory = aligned_bytes(size)
        self.s = <fo_solver *> cnp.PyArray_DATA(self.memory)

    cdef bind(self):
        """What is read off the state once it stands."""
        self.n = self.s.n
        self.typenum = cnp.NPY_FLOAT if self.s.width == FO_F32 else cnp.NPY_DOUBLE
        self.type = np.dtype(np.float32 if self.s.width == FO_F32 else np.float64)
        self.row = <size_t> self.n * (4 if self.s.width == FO_F32 else 8)
        self.kept = None
        self.busy = False
        if self.s.o.method in (FO_METHOD_newton, FO_METHOD_trust) or variant_name(&self.s.o) == "blas":
            self.table = blas()

    # ---- the state ----
    def state(self):
        """The whole state as bytes: a solver made from them goes on bit for bit."""
        return self.memory.tobytes()

    @staticmethod
    def from_state(bytes state):
        cdef Machine self = Machine.__new__(Machine)
        cdef const unsigned char[::1] raw = state
        self.allocate(max(len(state), 1))
        if len(state):
            memcpy(self.s, &raw[0], len(state))
        if not api().solver_valid(self.s, len(state)):
            raise ValueError("state is not that of a solver of this version of fastopt, or it is torn")
        self.bind()
        return self

    # ---- ask and tell ----
    cdef int advance(self) except -1:
        cdef int r
        if self.n >= GIL_FREE:
            with nogil:
                r = api().solver_advance(self.s, self.table)
            return r
        return api().solver_advance(self.s, self.table)

    cdef cnp.ndarray view(self, int place):
        """A copy of a vector of the state."""
        cdef cnp.ndarray out = cnp.PyArray_EMPTY(1, &self.n, self.typenum, 0)
        memcpy(out.data, api().solver_vector(self.s, place), self.row)
        return out

    cdef object point(self):
        """The point to evaluate at, as an array of the callee's own."""
        cdef cnp.ndarray out
        if self.kept is None or Py_REFCNT(self.kept) > 1:
            self.kept = cnp.PyArray_EMPTY(1, &self.n, self.typenum, 0)
        out = <cnp.ndarray> self.kept
        memcpy(out.data, api().solver_vector(self.s, FO_XT), self.row)
        return out

    cdef int put(self, object g, int place, str what) except -1:
        cdef cnp.ndarray a
        cdef void *to = api().solver_vector(self.s, place)
        if cnp.PyArray_Check(g):
            a = <cnp.ndarray> g
            if (cnp.PyArray_TYPE(a) == self.typenum and a.ndim == 1 and a.shape[0] == self.n
                    and cnp.PyArray_ISCARRAY_RO(a)):
                memcpy(to, a.data, self.row)
                return 0
        a = as_vector(g, self.n, self.type, what)
        memcpy(to, a.data, self.row)
        return 0

    cdef int put_value(self, object f) except -1:
        self.s.ft = PyFloat_AS_DOUBLE(f) if PyFloat_Check(f) else as_value(f)
        return 0

    cdef int put_matrix(self, object h) except -1:
        if hasattr(h, "toarray"):
            h = h.toarray()
        a = np.asarray(h)
        if a.dtype.kind not in "fiub":
            raise TypeError(f"hess returned {type(h).__name__} ({a.dtype}); a matrix of real numbers is needed")
        if a.shape != (self.n, self.n):
            raise ValueError(f"hess returned shape {a.shape}; {(self.n, self.n)} is needed")
        a = np.ascontiguousarray(a, self.type)
        memcpy(api().solver_vector(self.s, FO_MATRIX), cnp.PyArray_DATA(a), self.row * self.n)
        return 0

    def ask(self):
        """What the solver waits for, as (request, vector).

        The vector is x of "evaluate", "hessian", "iterated" and "stopped", v of "product" and "precondition".
        """
        cdef int r = self.advance() if self.s.resume == 0 else self.s.request
        place = {FO_EVALUATE: FO_XT, FO_PRODUCT: FO_V, FO_PRECONDITION: FO_V}.get(r, FO_X)
        return REQUESTS[r], self.view(place)

    def tell(self, answer, gradient=None):
        """The answer to what `ask` returned: f and gradient for "evaluate". What is not fit changes nothing."""
        cdef int r = self.s.request
        if self.s.resume == 0:
            raise RuntimeError("tell was called before ask: nothing has been asked yet")
        if r == FO_STOPPED:
            raise RuntimeError("the solver has stopped; it asks nothing more")
        if r == FO_EVALUATE:
            g = None if gradient is None else as_vector(gradient, self.n, self.type, "the gradient")
            if g is None and self.s.want & FO_WANT_G:
                raise ValueError("tell got no gradient; at this point one is needed")
            f = self.s.ft if answer is None and not self.s.want & FO_WANT_F else as_value(answer)
            self.s.ft = f
            self.s.have = FO_WANT_F
            if g is not None:
                self.put(g, FO_GT, "the gradient")
                self.s.have |= FO_WANT_G
        elif r == FO_HESSIAN:
            self.put_matrix(answer)
        elif r == FO_PRODUCT:
            self.put(answer, FO_HV, "the product with the Hessian")
        elif r == FO_PRECONDITION:
            self.put(answer, FO_Z, "the preconditioned vector")
        return REQUESTS[self.advance()]

    def stop(self, int status=FO_BY_CALLBACK):
        """End the run; the best point becomes the result: the first one, where no value is known yet."""
        if self.s.status >= 0:
            return
        if self.s.nit == 0 and self.s.f != self.s.f:
            memcpy(api().solver_vector(self.s, FO_X), api().solver_vector(self.s, FO_XT), self.row)
            self.fill(FO_G)
        api().solver_stop(self.s, status)

    cdef int fill(self, int place) except -1:
        """NaN, for a vector that is not known."""
        cdef cnp.ndarray nans = np.full(self.n, np.nan, self.type)
        memcpy(api().solver_vector(self.s, place), nans.data, self.row)
        return 0

    def charge(self, int64_t nfev=0, int64_t njev=0, int64_t nhev=0):
        """Count evaluations that the machine did not ask for: those that differences are made of."""
        self.s.nfev += nfev
        self.s.njev += njev
        self.s.nhev += nhev

    # ---- runs ----
    cdef int answer(self, int r, hess, hessp, precondition, callback) except -1:
        """Every request but an evaluation. 1: the callback wants no more."""
        if r == FO_HESSIAN:
            self.put_matrix(hess(self.view(FO_X)))
        elif r == FO_PRODUCT:
            self.put(hessp(self.view(FO_X), self.view(FO_V)), FO_HV, "what hessp returned")
        elif r == FO_PRECONDITION:
            self.put(precondition(self.view(FO_V)), FO_Z, "what the preconditioner returned")
        elif r == FO_ITERATED:
            try:
                callback(self)
            except StopIteration:
                api().solver_stop(self.s, FO_BY_CALLBACK)
                return 1
        return 0

    cdef int evaluate_both(self, fun, tuple args) except -1:
        cdef object x = self.point(), answer, f, g
        answer = fun(x, *args) if args else fun(x)
        if type(answer) is tuple and len(<tuple> answer) == 2:
            f, g = <tuple> answer
        else:
            f, g = unpack(answer)
        self.put_value(f)
        self.put(g, FO_GT, "the gradient that fun returned")
        self.s.have = FO_WANT_F | FO_WANT_G
        return 0

    cdef int evaluate_apart(self, fun, tuple args, jac, bint with_value) except -1:
        if self.s.want & FO_WANT_F:
            self.put_value(fun(self.point(), *args))
            self.s.have = FO_WANT_F
            if not isfinite(self.s.ft):                   # no machine looks at a gradient there
                if isnan(self.s.f) and self.s.nit == 0:
                    self.fill(FO_GT)
                return 0
        if self.s.want & FO_WANT_G:
            self.put(jac(self.point(), self.s.ft) if with_value else jac(self.point(), *args), FO_GT,
                     "the gradient that jac returned")
            self.s.have |= FO_WANT_G
        return 0

    def run(self, fun, tuple args, jac, hess, hessp, precondition, callback, bint with_value=True):
        """Until the solver stops.

        jac: True (fun gives both), or a callable (x, f) -> g, or without `with_value` (x, *args) -> g. callback(self)
        may raise StopIteration. Whatever else a callable raises comes out, and the state stands as it did before.
        """
        cdef int r
        cdef bint joint = jac is True
        if self.busy:
            raise RuntimeError("this solver is running already")
        self.busy = True
        try:
            self.s.report = callback is not None
            r = self.advance() if self.s.resume == 0 else self.s.request
            while r != FO_STOPPED:
                if r == FO_EVALUATE:
                    self.s.have = 0
                    if joint:
                        self.evaluate_both(fun, args)
                    else:
                        self.evaluate_apart(fun, args, jac, with_value)
                    PyErr_CheckSignals()                  # a compiled callable looks at none
                elif self.answer(r, hess, hessp, precondition, callback):
                    break
                r = self.advance()
        finally:
            self.busy = False

    def run_compiled(self, Compiled fun, hess, hessp, precondition, callback):
        """As `run`, with a compiled objective: no Python and no GIL between signals."""
        cdef int r
        cdef int64_t budget = 1
        cdef double begin, took
        fun.check(self.s.width)
        if self.busy:
            raise RuntimeError("this solver is running already")
        self.busy = True
        try:
            self.s.report = callback is not None
            while True:
                begin = monotonic()
                with nogil:
                    r = api().solver_run(self.s, self.table, fun.call, fun.user, budget)
                if r == FO_STOPPED:
                    break
                if r == FO_EVALUATE:                      # the budget is spent: about 20 ms of work between looks
                    PyErr_CheckSignals()
                    took = monotonic() - begin
                    budget = max(1, budget * 2 if took < 0.01 else budget // 2 if took > 0.04 else budget)
                    continue
                if self.answer(r, hess, hessp, precondition, callback):
                    break
                self.advance()
        finally:
            self.busy = False

    # ---- what came out ----
    @property
    def method(self):
        return api().methods[self.s.o.method].name.decode()

    @property
    def request(self):
        """What is waited for, by name."""
        return REQUESTS[self.s.request]

    @property
    def needs_gradient(self):
        return bool(self.s.want & FO_WANT_G)

    @property
    def size(self):
        return self.n

    @property
    def dtype(self):
        return self.type

    @property
    def x(self):
        return self.view(FO_X)

    @property
    def jac(self):
        return self.view(FO_G)

    @property
    def fun(self):
        return self.s.f

    @property
    def status(self):
        return self.s.status

    @property
    def nit(self):
        return self.s.nit

    @property
    def nfev(self):
        return self.s.nfev

    @property
    def njev(self):
        return self.s.njev

    @property
    def nhev(self):
        return self.s.nhev

    @property
    def nhessp(self):
        return self.s.nprod

    @property
    def resets(self):
        return self.s.resets

    @property
    def gnorm(self):
        return self.s.gnorm

    @property
    def best(self):
        """The lowest value seen so far."""
        return self.s.fbest

    @property
    def options(self):
        """All options of this run, with the values they have."""
        return all_options(&self.s.o)

    def start_inverse_hessian(self, a):
        """bfgs, before the first request: begin with `a`, which is symmetric and positive definite."""
        cdef cnp.ndarray matrix = np.ascontiguousarray(a, self.type)
        if self.s.o.method != FO_METHOD_bfgs or self.s.resume != 0 or matrix.ndim != 2 or (
                matrix.shape[0] != self.n or matrix.shape[1] != self.n):
            raise ValueError("a matrix of the size of x0 is taken by bfgs, before its first request")
        api().start_inverse_hessian(self.s, cnp.PyArray_DATA(matrix))

    def inverse_hessian(self):
        """bfgs: the inverse Hessian, symmetric, with every update in it."""
        out = np.empty((self.n, self.n), self.type)
        api().inverse_hessian(self.s, cnp.PyArray_DATA(out))
        return out

    def pairs_block(self):
        """lbfgs: the memory of pairs as bytes for `Pairs.load`, or None before the first step."""
        if api().solver_vector(self.s, FO_PAIRS) == NULL or self.s.nit == 0:
            return None
        cdef char *at = <char *> api().solver_vector(self.s, FO_PAIRS)
        return at[:api().pairs_bytes(self.s.width, self.n, self.s.o.memory)]
