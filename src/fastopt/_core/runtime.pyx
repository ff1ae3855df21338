"""The engine itself: holds csrc, its table of kernels and its threads, and hands its calls to the other modules."""

from fastopt._core.csrc cimport (fo_api, fo_get_api, fo_get_num_threads, fo_isa, fo_isa_name, fo_isa_runs,
                                 fo_set_num_threads, fo_threads_max, fo_use)


cdef const fo_api *api() noexcept nogil:
    return fo_get_api()


def isas():
    """Instruction sets of this build, best first, as pairs (name, runs on this processor)."""
    found = []
    cdef int i = 0
    while fo_isa_name(i) != NULL:
        found.append((fo_isa_name(i).decode(), bool(fo_isa_runs(i))))
        i += 1
    return found


def isa():
    """Name of the instruction set whose kernels are in use."""
    return fo_isa().decode()


def use_isa(name):
    """Choose the kernels of one instruction set by name, or the best with None. ValueError if it is not here."""
    raw = None if name is None else name.encode()
    if fo_use(NULL if raw is None else <const char *> raw) != 0:
        known = ", ".join(f"{n}{'' if runs else ' (not on this processor)'}" for n, runs in isas())
        raise ValueError(f"instruction set {name!r} is not available; this build has: {known}")


def set_num_threads(int n):
    fo_set_num_threads(n)


def get_num_threads():
    return fo_get_num_threads()


def threads_max():
    """The most threads this build can use: 1 if it was made without the pool."""
    return fo_threads_max()
