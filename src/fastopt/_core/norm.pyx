"""Normalization of NumPy arrays: checks, buffers that are used again, one call of csrc/norm.c, where formulas are."""

cimport numpy as cnp
from libc.float cimport FLT_MIN
from libc.math cimport isfinite

import numpy as np

from fastopt._core.csrc cimport FO_F32, FO_F64, fo_api, fo_layer_norm, fo_norm
from fastopt._core.runtime cimport api

cnp.import_array()

cdef object FLOAT64 = np.dtype(np.float64)


cdef int refuse(name, found, wanted) except -1:
    raise ValueError(f"{name} is {found}; {wanted} is needed")


cdef str told(x):
    """What came, for a message."""
    if isinstance(x, np.ndarray):
        return f"{x.dtype} of shape {x.shape}"
    return f"{x!r:.60} ({type(x).__name__})"


cdef int width_of(cnp.ndarray x) noexcept:
    cdef int kind = cnp.PyArray_TYPE(x)
    if not cnp.PyArray_ISNOTSWAPPED(x):
        return -1
    return FO_F32 if kind == cnp.NPY_FLOAT else FO_F64 if kind == cnp.NPY_DOUBLE else -1


cdef cnp.ndarray values(name, given):
    """An array of float32 or float64, contiguous: the very one where it is, else a copy."""
    if not isinstance(given, np.ndarray) or width_of(given) < 0:
        raise TypeError(f"{name} is {told(given)}; an array of float32 or float64 is needed")
    cdef cnp.ndarray x = given
    if cnp.PyArray_ISCARRAY_RO(x):
        return x
    return np.require(x, requirements=["C", "A"]).copy() if x.flags.c_contiguous else np.ascontiguousarray(x)


cdef int fits(name, given, cnp.ndarray like, tuple shape, bint write) except -1:
    """Is it an array of this shape, and of the dtype of `like`?"""
    if not isinstance(given, np.ndarray) or cnp.PyArray_TYPE(given) != cnp.PyArray_TYPE(like) or width_of(given) < 0:
        raise TypeError(f"{name} is {told(given)}; an array of {like.dtype} and shape {shape} is needed")
    if (<object> given).shape != shape:
        refuse(name, told(given), f"shape {shape}")
    if write and not cnp.PyArray_ISWRITEABLE(given):
        refuse(name, "read-only", "a writable array")
    return 0


cdef bint overlap(cnp.ndarray x, cnp.ndarray y) except -1:
    """Do two arrays share memory? Exact for contiguous ones, careful for others."""
    if x is None or y is None:
        return False
    cdef char *a = <char *> cnp.PyArray_DATA(x)
    cdef char *b = <char *> cnp.PyArray_DATA(y)
    if cnp.PyArray_IS_C_CONTIGUOUS(x) and cnp.PyArray_IS_C_CONTIGUOUS(y):
        return a < b + cnp.PyArray_NBYTES(y) and b < a + cnp.PyArray_NBYTES(x)
    return np.may_share_memory(x, y)


cdef bint same_place(cnp.ndarray x, cnp.ndarray y) noexcept:
    return (cnp.PyArray_DATA(x) == cnp.PyArray_DATA(y) and cnp.PyArray_IS_C_CONTIGUOUS(x)
            and cnp.PyArray_IS_C_CONTIGUOUS(y))


cdef int apart(name, cnp.ndarray written, other, cnp.ndarray read) except -1:
    if overlap(written, read):
        raise ValueError(f"{name} overlaps {other}; an array of its own is needed")
    return 0


cdef cnp.ndarray direct(cnp.ndarray out):
    """Where the kernel writes: `out`, or an array that is copied to it afterwards."""
    return out if cnp.PyArray_ISCARRAY(out) else np.empty((<object> out).shape, out.dtype)


cdef double number(name, given, double low, double high) except? -1:
    """A finite float in (low, high], or [0, high] for low = 0 and a finite high."""
    cdef double x
    if type(given) is float:
        x = given
    else:
        from fastopt._checks import check_number
        return check_number("norm", name, given, low, high, above=high > 1)
    if not (isfinite(x) and x <= high and (x > low or (x == low and high <= 1))):
        from fastopt._checks import check_number
        check_number("norm", name, given, low, high, above=high > 1)
    return x


cdef double epsilon(given, int width) except? -1:
    """eps, > 0; for float32 at least its smallest normal number, so that 1 / sqrt(eps) is a float32 too."""
    cdef double x = number("eps", given, 0, float("inf"))
    if width == FO_F32 and x < FLT_MIN:
        refuse("eps", x, f"at least {FLT_MIN:.3g} for float32")
    return x


cdef class Cache:
    """What a forward pass leaves for its backward pass; handed to the next forward pass, its memory is used again."""

    cdef fo_norm job
    cdef fo_layer_norm rows
    cdef readonly object kind              # "batch", "layer" or "rms"; None: empty
    cdef readonly bint training
    cdef cnp.ndarray source                # x, or y where that is what was normalized
    cdef cnp.ndarray gamma
    cdef tuple param_shape
    cdef bint normed, has_gamma, has_beta, busy
    cdef cnp.ndarray _mean, _rstd, _var, scratch

    @property
    def mean(self):
        """Means in float64: (groups, channels) of a batch norm, (rows,) of a layer norm."""
        return self._mean

    @property
    def rstd(self):
        """1 / sqrt(variance + eps), of the same shape."""
        return self._rstd

    @property
    def var(self):
        """Biased variances of a training pass of batch norm, (groups, channels); else None."""
        return self._var if self.kind == "batch" and self.training else None

    @property
    def groups(self):
        """How many groups of the batch have statistics of their own."""
        return self.job.groups if self.kind == "batch" else None

    def release(self):
        """Let go of x: nothing of it is kept alive. A backward pass needs another forward pass first."""
        self.source = None

    cdef int take(self) except -1:
        """Nobody else may use the cache until `busy` is False again: kernels work on its memory without the GIL."""
        if self.busy:
            raise RuntimeError("cache is in use by another thread; each thread needs one of its own")
        self.busy = True
        return 0

    cdef int room(self, size_t nbytes) except -1:
        if self.scratch is None or <size_t> cnp.PyArray_NBYTES(self.scratch) < nbytes:
            self.scratch = np.empty((nbytes + 7) // 8 + 1, FLOAT64)
        return 0

    cdef int statistics(self, tuple shape, Py_ssize_t n) except -1:
        if self._mean is None or (<object> self._mean).shape != shape:
            self._mean = np.empty(shape, FLOAT64)
            self._rstd = np.empty(shape, FLOAT64)
            self._var = np.empty(shape, FLOAT64)
        return 0


cdef Cache cache_for(given):
    if given is None:
        return Cache.__new__(Cache)
    if type(given) is not Cache:
        raise TypeError(f"cache is {told(given)}; what a forward pass gave, or None, is needed")
    return given


cdef int batch_shape(fo_norm *job, cnp.ndarray x, axis) except -1:
    """outer, channels, inner of the channel axis; 1 <= batch axes."""
    cdef int nd = cnp.PyArray_NDIM(x), i, at
    if type(axis) is not int:
        from fastopt._checks import check_integer
        axis = check_integer("norm", "axis", axis, -nd if nd else 0)
    if nd < 2:
        refuse("x", told(x), "an array of at least two axes, of examples and of channels,")
    if not -nd <= axis < nd:
        refuse("axis", axis, f"an axis of x, which has {nd},")
    at = axis + nd if axis < 0 else axis
    job.outer = job.inner = 1
    for i in range(at):
        job.outer *= cnp.PyArray_DIM(x, i)
    for i in range(at + 1, nd):
        job.inner *= cnp.PyArray_DIM(x, i)
    job.channels = cnp.PyArray_DIM(x, at)
    job.first = at == 0
    job.batch = cnp.PyArray_DIM(x, 1 if at == 0 else 0)
    return 0


cdef int split(fo_norm *job, groups, ghost) except -1:
    """The groups of a batch: `groups` equal ones, or ones of `ghost` examples."""
    job.groups, job.size = 1, 0
    if groups is None and ghost is None:
        return 0
    from fastopt._checks import check_integer
    if groups is not None and ghost is not None:
        raise ValueError("groups and ghost are both given; one of them is needed")
    cdef Py_ssize_t k
    if groups is not None:
        groups = check_integer("norm", "groups", groups, 1)
        if groups > job.batch > 0:
            refuse("groups", groups, f"at most one a example, {job.batch},")
        job.groups = groups if job.batch else 1
        return 0
    k = min(check_integer("norm", "ghost", ghost, 1), max(job.batch, 1))
    job.size = k
    job.groups = job.batch // k + (2 * (job.batch % k) >= k)
    if job.groups < 1:
        job.groups = 1
    return 0


cdef class Running:
    """Running statistics as a kernel takes them."""

    cdef cnp.ndarray mean, var, count
    cdef int width


cdef Running running_of(given, Py_ssize_t channels, bint write, bint counted):
    """mean, var and count of a dict or an object."""
    cdef Running r = Running.__new__(Running)
    found = []
    for name in ("mean", "var", "count"):
        try:
            part = given[name] if isinstance(given, dict) else getattr(given, name)
        except (KeyError, AttributeError):
            part = None
        if part is None:
            if name != "count" or counted:
                also = ", and 'count'" if counted else ""
                raise ValueError(f"running has no {name}; arrays 'mean' and 'var'{also} are needed")
            found.append(None)
            continue
        path = f"running[{name!r}]"
        if not isinstance(part, np.ndarray) or width_of(part) < 0 or (name == "count" and width_of(part) != FO_F64):
            kinds = "float64" if name == "count" else "float32 or float64"
            raise TypeError(f"{path} is {told(part)}; an array of {kinds} is needed")
        if name == "count":
            if part.size != 1:
                refuse(path, told(part), "one element")
        elif part.shape != (channels,):
            refuse(path, told(part), f"shape {(channels,)}")
        if not cnp.PyArray_ISCARRAY_RO(part):
            refuse(path, "not contiguous", "a contiguous array")
        if write and not cnp.PyArray_ISWRITEABLE(part):
            refuse(path, "read-only", "a writable array")
        found.append(part)
    r.mean, r.var, r.count = found
    if cnp.PyArray_TYPE(r.mean) != cnp.PyArray_TYPE(r.var):
        refuse("running['var']", r.var.dtype, f"{r.mean.dtype}, as running['mean'],")
    if overlap(r.mean, r.var):
        raise ValueError("running['var'] overlaps running['mean']; an array of its own is needed")
    for name, part in (("mean", r.mean), ("var", r.var)):
        if r.count is not None and overlap(part, r.count):
            raise ValueError(f"running['count'] overlaps running[{name!r}]; an array of its own is needed")
    r.width = width_of(r.mean)
    return r


cdef cnp.ndarray parameter(name, given, cnp.ndarray x, shape):
    """gamma or beta, contiguous; None if it was not given."""
    if given is None:
        return None
    fits(name, given, x, shape, False)
    return values(name, given)


cdef cnp.ndarray output(out, cnp.ndarray x, cnp.ndarray scale, cnp.ndarray shift, bint back, bint *in_place):
    """The array that y will be: a new one, or `out` if that is allowed; `back`: a backward pass may follow."""
    cdef cnp.ndarray y
    if out is None:
        return np.empty((<object> x).shape, x.dtype)
    fits("out", out, x, (<object> x).shape, True)
    y = out
    in_place[0] = same_place(y, x)
    if not in_place[0]:
        apart("out", y, "x", x)
    elif back and (scale is not None or shift is not None):
        raise ValueError("out is x, which backward needs where gamma or beta are given; another array is needed")
    for other, name in ((scale, "gamma"), (shift, "beta")):
        apart("out", y, name, other)
    return y


def batch_norm(given, gamma, beta, eps, running, momentum, decay, bint unbiased, bint training, axis, groups, ghost,
               out, reuse):
    """Forward pass: (y, cache). See fastopt.norm.batch_norm."""
    cdef Cache cache = cache_for(reuse)
    cache.take()
    try:
        return batch_forward(cache, given, gamma, beta, eps, running, momentum, decay, unbiased, training, axis, groups,
                             ghost, out)
    finally:
        cache.busy = False


cdef tuple batch_forward(Cache cache, given, gamma, beta, eps, running, momentum, decay, bint unbiased, bint training,
                         axis, groups, ghost, out):
    cdef cnp.ndarray x = values("x", given), y, scale = None, shift = None, place
    cdef fo_norm job
    cdef Running kept = None
    cdef double keep = 0, share = -1
    cdef bint counted = False, normed = False
    cdef int threads
    cdef const fo_api *f = api()
    job.width = width_of(x)
    batch_shape(&job, x, axis)
    job.eps = epsilon(eps, job.width)
    shape = (job.channels,)
    scale, shift = parameter("gamma", gamma, x, shape), parameter("beta", beta, x, shape)
    if training:
        split(&job, groups, ghost)
    else:
        job.groups, job.size = 1, 0
    if running is not None:
        if decay is not None:
            keep = number("decay", decay, 0, 1)
            share = 1 - keep
        elif momentum is not None:
            share = number("momentum", momentum, 0, 1)
            keep = 1 - share
        else:
            counted = training
        kept = running_of(running, job.channels, training, counted)
    elif not training:
        raise ValueError("running is None; the statistics to apply are needed where training is False")
    y = output(out, x, scale, shift, training, &normed)
    if kept is not None:
        apart("out", y, "running['mean']", kept.mean)
        apart("out", y, "running['var']", kept.var)
    place = direct(y)

    # Nothing is written before this line. Empty until all of it is there: memory may run out.
    cache.kind = None
    cache.statistics((job.groups, job.channels), job.groups * job.channels)
    cache.room(f.norm_scratch(&job))
    cache.job = job
    cache.kind, cache.training = "batch", training
    cache.param_shape = shape
    cache.has_gamma, cache.has_beta = scale is not None, shift is not None
    cache.gamma = scale
    cache.normed = normed and training
    cache.source = place if cache.normed else x if training or not normed else None
    cdef fo_norm *j = &cache.job
    j.gamma = NULL if scale is None else cnp.PyArray_DATA(scale)
    j.beta = NULL if shift is None else cnp.PyArray_DATA(shift)
    j.mean = <double *> cnp.PyArray_DATA(cache._mean)
    j.rstd = <double *> cnp.PyArray_DATA(cache._rstd)
    j.var = <double *> cnp.PyArray_DATA(cache._var)
    j.x = cnp.PyArray_DATA(x)
    j.y = cnp.PyArray_DATA(place)
    j.scratch = cnp.PyArray_DATA(cache.scratch)
    threads = f.get_num_threads()
    cdef double one = 0
    with nogil:
        if training:
            f.norm_train(j, threads)
            if kept is not None:
                f.norm_running(j, kept.width, cnp.PyArray_DATA(kept.mean), cnp.PyArray_DATA(kept.var),
                               &one if kept.count is None else <double *> cnp.PyArray_DATA(kept.count), keep, share,
                               unbiased)
        else:
            f.norm_given(j, kept.width, cnp.PyArray_DATA(kept.mean), cnp.PyArray_DATA(kept.var))
            f.norm_apply(j, threads)
    if place is not y:
        np.copyto(y, place)
    return y, cache


cdef tuple three(out):
    """dx, dgamma, dbeta of an `out` that is one array or three."""
    if isinstance(out, tuple):
        if len(out) != 3:
            raise ValueError(f"out has {len(out)} arrays; one, or three for dx, dgamma and dbeta, is needed")
        return out
    return out, None, None


cdef cnp.ndarray param_out(name, given, bint wanted, cnp.ndarray like, tuple shape):
    if given is None:
        return np.empty(shape, like.dtype) if wanted else None
    fits(name, given, like, shape, True)
    return given


def backward(grad, reuse, out):
    """(dx, dgamma, dbeta) of a batch, layer or RMS norm. See fastopt.norm."""
    if type(reuse) is not Cache:
        raise TypeError(f"cache is {told(reuse)}; what the forward pass gave is needed")
    cdef Cache cache = reuse
    cache.take()
    try:
        return back(cache, grad, out)
    finally:
        cache.busy = False


cdef tuple back(Cache cache, grad, out):
    if cache.kind is None:
        raise ValueError("cache is empty; what the forward pass gave is needed")
    cdef cnp.ndarray dy = values("dy", grad), x = cache.source, dx, dgamma, dbeta, a, b, place, one = None
    cdef bint batch = cache.kind == "batch", fixed = batch and not cache.training
    cdef int threads
    cdef const fo_api *f = api()
    if x is None:
        raise ValueError("cache has no x: the forward pass wrote over it, or it was released; a forward pass is needed")
    fits("dy", grad, x, (<object> x).shape, False)
    out_x, out_gamma, out_beta = three(out)
    if out_x is None:
        place = dx = np.empty((<object> x).shape, x.dtype)
    else:
        fits("out", out_x, x, (<object> x).shape, True)
        dx = out_x
        if not same_place(dx, dy):
            apart("out", dx, "dy", dy)
        if not same_place(dx, x):
            apart("out", dx, "x of the forward pass", x)
        apart("out", dx, "gamma", cache.gamma)
        place = direct(dx)
    dgamma = param_out("out[1], dgamma,", out_gamma, cache.has_gamma, x, cache.param_shape)
    dbeta = param_out("out[2], dbeta,", out_beta, cache.has_beta, x, cache.param_shape)
    for name, one in (("dgamma", dgamma), ("dbeta", dbeta)):
        for other, read in (("dy", dy), ("x of the forward pass", x), ("gamma", cache.gamma), ("dx", dx)):
            apart(name, one, other, read)
    apart("dbeta", dbeta, "dgamma", dgamma)
    a = None if dgamma is None else direct(dgamma)
    b = None if dbeta is None else direct(dbeta)
    cdef void *to_a = NULL if a is None else cnp.PyArray_DATA(a)
    cdef void *to_b = NULL if b is None else cnp.PyArray_DATA(b)
    cdef const void *scale = NULL if cache.gamma is None else cnp.PyArray_DATA(cache.gamma)
    threads = f.get_num_threads()
    cdef fo_norm *j = &cache.job
    cdef fo_layer_norm *r = &cache.rows
    if batch:
        j.x, j.dy, j.dx = cnp.PyArray_DATA(x), cnp.PyArray_DATA(dy), cnp.PyArray_DATA(place)
        j.dgamma, j.dbeta = to_a, to_b
        j.gamma = scale
        with nogil:
            f.norm_back(j, fixed, cache.normed, threads)
    else:
        r.x, r.dy, r.dx = cnp.PyArray_DATA(x), cnp.PyArray_DATA(dy), cnp.PyArray_DATA(place)
        r.dgamma, r.dbeta = to_a, to_b
        r.gamma, r.normed = scale, cache.normed
        cache.room(f.layer_norm_scratch(r))
        r.scratch = cnp.PyArray_DATA(cache.scratch)
        with nogil:
            f.layer_norm_back(r, threads)
    if place is not dx:
        np.copyto(dx, place)
    if a is not dgamma:
        np.copyto(dgamma, a)
    if b is not dbeta:
        np.copyto(dbeta, b)
    return dx, dgamma, dbeta


def layer_norm(given, gamma, beta, eps, axes, bint centred, out, reuse):
    """Forward pass of layer norm, or of RMS norm: (y, cache). See fastopt.norm."""
    cdef Cache cache = cache_for(reuse)
    cache.take()
    try:
        return layer_forward(cache, given, gamma, beta, eps, axes, centred, out)
    finally:
        cache.busy = False


cdef tuple layer_forward(Cache cache, given, gamma, beta, eps, axes, bint centred, out):
    cdef cnp.ndarray x = values("x", given), y, scale = None, shift = None, place
    cdef bint normed = False
    cdef int threads, i, nd = cnp.PyArray_NDIM(x)
    cdef const fo_api *f = api()
    cdef fo_layer_norm job
    job.width = width_of(x)
    job.centred, job.normed = centred, False
    if type(axes) is not int or not 1 <= axes <= nd:
        from fastopt._checks import check_integer
        check_integer("norm", "axes", axes, 1)
        refuse("axes", axes, f"at most as many as x has, {nd},")
    job.rows = job.cols = 1
    for i in range(nd - <int> axes):
        job.rows *= cnp.PyArray_DIM(x, i)
    for i in range(nd - <int> axes, nd):
        job.cols *= cnp.PyArray_DIM(x, i)
    shape = (<object> x).shape[nd - axes:]
    job.eps = float(np.finfo(x.dtype).eps) if eps is None else epsilon(eps, job.width)
    scale, shift = parameter("gamma", gamma, x, shape), parameter("beta", beta, x, shape)
    y = output(out, x, scale, shift, True, &normed)
    place = direct(y)

    # Nothing is written before this line.
    cache.kind = None
    cache.statistics((job.rows,), job.rows)
    cache.kind, cache.training = "layer" if centred else "rms", True
    cache.param_shape = shape
    cache.has_gamma, cache.has_beta = scale is not None, shift is not None
    cache.gamma, cache.normed = scale, normed
    cache.source = place if normed else x
    job.gamma = NULL if scale is None else cnp.PyArray_DATA(scale)
    job.beta = NULL if shift is None else cnp.PyArray_DATA(shift)
    job.mean = <double *> cnp.PyArray_DATA(cache._mean)
    job.rstd = <double *> cnp.PyArray_DATA(cache._rstd)
    job.x, job.y = cnp.PyArray_DATA(x), cnp.PyArray_DATA(place)
    cache.rows = job
    threads = f.get_num_threads()
    if not centred:
        cache._mean.fill(0)
    if job.cols > 0:
        with nogil:
            f.layer_norm_forward(&cache.rows, threads)
    else:                                   # no values: mean 0, variance 0
        cache._mean.fill(0)
        cache._rstd.fill(job.eps ** -0.5)
    if place is not y:
        np.copyto(y, place)
    return y, cache


def floor(cnp.ndarray x not None, cnp.ndarray y not None, cnp.ndarray dy not None, cnp.ndarray dx not None, int repeat):
    """The benchmark's yardstick: y = x + 1, dx = x + dy, `repeat` times."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(x)
    for name, a in (("y", y), ("dy", dy), ("dx", dx)):
        fits(name, a, x, (<object> x).shape, name != "dy")
        if not cnp.PyArray_ISCARRAY_RO(a):
            refuse(name, "not contiguous", "a contiguous array")
    cdef const fo_api *f = api()
    cdef int width = width_of(x)
    if width < 0 or not cnp.PyArray_ISCARRAY_RO(x):
        refuse("x", told(x), "a contiguous array of float32 or float64")
    with nogil:
        f.norm_floor(width, cnp.PyArray_DATA(x), cnp.PyArray_DATA(y), cnp.PyArray_DATA(dy), cnp.PyArray_DATA(dx), n,
                     repeat)
