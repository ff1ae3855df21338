"""The table of BLAS and LAPACK routines that csrc is handed (csrc/blas.h): those of SciPy, asked for at the first use.

SciPy publishes them as capsules whose name is the signature in C. Each is compared with what blas.h declares
before its pointer is taken: a SciPy built with 64-bit integers ("ILP64", its build option cython-blas-abi)
has other ones.
"""

cimport numpy as cnp
from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer

from fastopt._core.csrc cimport fo_blas

import re

import numpy as np

cnp.import_array()

# Arguments in the order of blas.h: c a letter, i an integer, r numbers of the routine's width.
ROUTINES = {
    "symv": "cirririrri",
    "syr2": "cirririri",
    "gemv": "ciirririrri",
    "trsv": "ccciriri",
    "potrf": "cirii",
    "potrs": "ciiririi",
    "syevd": "ccirirriiii",
    "sytrf": "ciriirii",
    "sytrs": "ciiriirii",
}

cdef fo_blas table
cdef bint filled = False

ctypedef void (*call5)(void *, void *, void *, void *, void *) noexcept nogil
ctypedef void (*call8)(void *, void *, void *, void *, void *, void *, void *, void *) noexcept nogil
ctypedef void (*call9)(void *, void *, void *, void *, void *, void *, void *, void *, void *) noexcept nogil
ctypedef void (*call10)(void *, void *, void *, void *, void *, void *, void *, void *, void *,
                        void *) noexcept nogil
ctypedef void (*call11)(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *,
                        void *) noexcept nogil


def arguments(str signature):
    """A signature in C as letters: c, i (int), s and d (float, double); I for other integers, ? for others."""
    match = re.fullmatch(r"void \((.*)\)", signature)
    if match is None:
        return "?"
    letters = []
    for kind in match[1].split(","):
        word = kind.replace("*", "").replace("const", "").strip()
        tail = re.sub(".*cython_(blas|lapack)_", "", word)
        if kind.count("*") != 1:
            letters.append("?")
        elif tail in ("char", "int"):
            letters.append(tail[0])
        elif tail in ("s", "float"):
            letters.append("s")
        elif tail in ("d", "double"):
            letters.append("d")
        else:
            letters.append("I" if re.search("int|long", tail) else "?")
    return "".join(letters)


def verify(str name, str signature):
    """RuntimeError if a routine, by its full name, has another signature than csrc calls it with."""
    wanted = ROUTINES[name[1:]].replace("r", name[0])
    found = arguments(signature)
    if found == wanted:
        return
    import scipy
    what = (f"SciPy {scipy.__version__} offers {name} as {signature!r}, which takes {found}, and not "
            f"{wanted} (c letter, i 32-bit int, s float, d double)")
    if found.replace("I", "i") == wanted:
        what += ("; it was built with 64-bit integers (ILP64), which fastopt cannot call: install a SciPy "
                 "built with -Dcython-blas-abi=lp64, as SciPy's wheels are")
    raise RuntimeError(what)


cdef void *find(str name) except NULL:
    """Address of a routine by its full name."""
    import scipy.linalg.cython_blas
    import scipy.linalg.cython_lapack
    for module in (scipy.linalg.cython_blas, scipy.linalg.cython_lapack):
        capsule = module.__pyx_capi__.get(name)
        if capsule is not None:
            verify(name, PyCapsule_GetName(capsule).decode())
            return PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule))
    raise RuntimeError(f"SciPy {scipy.__version__} offers no {name} in cython_blas or cython_lapack")


cdef int fill() except -1:
    global table, filled
    cdef fo_blas new
    cdef void **slot = <void **> &new
    assert sizeof(fo_blas) == 2 * len(ROUTINES) * sizeof(void *)
    for width in "sd":
        for name in ROUTINES:
            slot[0] = find(width + name)
            slot += 1
    table = new
    filled = True
    return 0


cdef const fo_blas *blas() except NULL:
    """The table. RuntimeError if SciPy's routines cannot be called."""
    if not filled:
        fill()
    return &table


def call(str name not None, *arrays):
    """One routine by its full name, for tests: every argument an array, letters as dtype S1, integers as int32.

    Sizes and leading dimensions are the caller's to get right.
    """
    if name[:1] not in ("s", "d") or name[1:] not in ROUTINES:
        raise ValueError(f"routine is {name!r}; one of {', '.join(ROUTINES)} after s or d is needed")
    cdef str kinds = ROUTINES[name[1:]]
    if len(arrays) != len(kinds):
        raise ValueError(f"{len(arrays)} arguments for {name}; {len(kinds)} are needed")
    cdef void *p[11]
    cdef cnp.ndarray x
    types = {"c": np.dtype("S1"), "i": np.dtype(np.int32),
             "r": np.dtype(np.float32 if name[0] == "s" else np.float64)}
    for i, (kind, array) in enumerate(zip(kinds, arrays, strict=True)):
        if not isinstance(array, np.ndarray) or array.dtype != types[kind]:
            raise ValueError(f"argument {i} of {name} is {array!r}; an array of {types[kind]} is needed")
        x = array
        p[i] = cnp.PyArray_DATA(x)
    blas()
    cdef Py_ssize_t at = list(ROUTINES).index(name[1:]) + (len(ROUTINES) if name[0] == "d" else 0)
    cdef void *f = (<void **> &table)[at]
    cdef int count = len(kinds)
    with nogil:
        if count == 5:
            (<call5> f)(p[0], p[1], p[2], p[3], p[4])
        elif count == 8:
            (<call8> f)(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7])
        elif count == 9:
            (<call9> f)(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8])
        elif count == 10:
            (<call10> f)(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9])
        else:
            (<call11> f)(p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10])
