"""Line searches, one evaluation at a time: for tests, and for whoever wants to watch one. Solvers use csrc/search."""

from libc.math cimport INFINITY, NAN
from libc.string cimport memcpy, memset

from fastopt._core.csrc cimport FO_SEARCH_DONE, FO_SEARCH_EVALUATE, FO_SEARCHES, FO_WHYS, fo_search
from fastopt._core.runtime cimport api

NAMES = tuple([api().search_name(i).decode() for i in range(FO_SEARCHES)])
REASONS = tuple([api().search_reason(i).decode() for i in range(FO_WHYS)])
WHYS = ("running", "armijo", "approximate_armijo", "strong_wolfe", "weak_wolfe", "approximate_wolfe", "trials",
        "interval", "not_finite", "at_max", "unbounded", "no_descent")


cdef class Search:
    """One search. Arguments as the members of ``fo_search`` in csrc/search/search.h.

    ``advance()`` starts it, ``advance(f, df)`` tells what was asked for; both return True while phi is wanted at
    ``alpha``.
    """
    cdef fo_search q

    def __cinit__(self):
        memset(&self.q, 0, sizeof(fo_search))

    def __init__(self, kind, double f0, double df0, *, reference=None, double first=1.0, double min_alpha=0.0,
                 double max_alpha=INFINITY, double c1=1e-4, double c2=0.9, double eps_f=1e-15, scale_f=None,
                 int approximate=1, int max_trials=30):
        if kind not in NAMES:
            raise ValueError(f"kind is {kind!r}; one of {', '.join(NAMES)} is needed")
        if not 0 < c1 < 0.5 or not c1 < c2 < 1:
            raise ValueError(f"c1 is {c1} and c2 is {c2}; 0 < c1 < 1/2 and c1 < c2 < 1 are needed")
        if not first > 0 or not 0 <= min_alpha < max_alpha:
            raise ValueError(f"first is {first}, min_alpha {min_alpha}, max_alpha {max_alpha}; 0 < first and "
                             "0 <= min_alpha < max_alpha are needed")
        cdef double from_, scale
        from_ = f0 if reference is None else reference
        scale = abs(f0) if scale_f is None else scale_f
        if from_ < f0 or not eps_f >= 0 or not scale >= 0 or max_trials < 1 or not 0 <= approximate <= 2:
            raise ValueError(f"reference is {from_}, eps_f {eps_f}, scale_f {scale}, max_trials {max_trials}, "
                             f"approximate {approximate}; reference >= f0, eps_f >= 0, scale_f >= 0, "
                             "max_trials >= 1 and approximate 0, 1 or 2 are needed")
        self.q.kind = NAMES.index(kind)
        self.q.f0, self.q.df0, self.q.reference = f0, df0, from_
        self.q.first, self.q.min_alpha, self.q.max_alpha = first, min_alpha, max_alpha
        self.q.c1, self.q.c2, self.q.eps_f, self.q.scale_f = c1, c2, eps_f, scale
        self.q.approximate, self.q.max_trials = approximate, max_trials
        api().search_begin(&self.q)

    def advance(self, double f=NAN, double df=NAN):
        """Start, or tell phi and phi' at ``alpha``; True while there is an ``alpha`` to evaluate."""
        return api().search_advance(&self.q, f, df) == FO_SEARCH_EVALUATE

    def __getstate__(self):
        return <bytes> (<char *> &self.q)[:sizeof(fo_search)]

    def __setstate__(self, bytes state):
        cdef fo_search q
        if len(state) != sizeof(fo_search):
            raise ValueError(f"the state of a search has {sizeof(fo_search)} bytes; got {len(state)}")
        memcpy(&q, <const char *> state, sizeof(fo_search))
        if not 0 <= q.kind < FO_SEARCHES or not 0 <= q.why < FO_WHYS:
            raise ValueError(f"this is not the state of a search: its kind is {q.kind} and its reason {q.why}")
        self.q = q

    def __reduce__(self):
        return restore, (self.__getstate__(),)

    @property
    def kind(self):
        return NAMES[self.q.kind]

    @property
    def done(self):
        """Has it found a step?"""
        return self.q.result == FO_SEARCH_DONE

    @property
    def alpha(self):
        return self.q.alpha

    @property
    def f(self):
        return self.q.f

    @property
    def df(self):
        return self.q.df

    @property
    def slack(self):
        return self.q.slack

    @property
    def want_slope(self):
        return bool(self.q.want_slope)

    @property
    def trials(self):
        return self.q.trials

    @property
    def bad(self):
        """Trials that were not finite."""
        return self.q.bad

    @property
    def why(self):
        """What ended it, in a word; ``reason`` is the sentence."""
        return WHYS[self.q.why]

    @property
    def reason(self):
        return REASONS[self.q.why]


def restore(bytes state):
    """A search from the bytes of ``__getstate__``."""
    cdef Search search = Search.__new__(Search)
    search.__setstate__(state)
    return search
