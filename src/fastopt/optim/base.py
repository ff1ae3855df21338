"""What every optimizer shares: trees of arrays, scalars that may be functions, states, averages, resuming."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from fastopt._core.kernels import Stepper, StepRecord, rules
from fastopt._parameters import check_params, load_states, stateful
from fastopt._trees import _at, match_paths
from fastopt.averaging import Average
from fastopt.optim.arrays import allocate
from fastopt.optim.fields import PAIRS, RANGES, check_scalar, expand, resolve, spelled
from fastopt.optim.freezing import Freezing, finite

__all__ = ["Optimizer"]

_RULES = rules()
_POLICIES = ("raise", "skip", "propagate")
_FLAGS = ("decoupled_weight_decay", "maximize", "zero_grads", "diagnostics", "flush_subnormals")
#: Numbers that belong to the whole step, not to a rule: field -> what None means.
_STEP_SCALARS = {"grad_scale": 1.0, "clip_norm": math.inf, "clip_value": math.inf}


class Optimizer(Freezing):
    """Base of all first-order optimizers: one class a family, one rule of the C engine at work.

    A step moves every array of ``params`` in place, in one pass over memory. Gradients are treated in this order: times
    ``grad_scale`` (and -1 with ``maximize``), times the factor of ``clip_norm``, cut by ``clip_value``, plus
    coupled weight decay.

    Parameters
    ----------
    params : tree of ndarray
        One array, or any nesting of dict, list and tuple of arrays, of float32 or float64, each writable, none sharing
        memory with another. Written in place. Any strides work; contiguous arrays are fastest.
    weight_decay : float or function, default 0
        Coupled: ``g += weight_decay * p`` (the gradient of an L2 term). Decoupled: ``p *= 1 - lr *
        weight_decay`` before the rule.
    decoupled_weight_decay : bool
        Which of the two. Default: as the convention and the class have it.
    maximize : bool, default False
        Ascend instead of descend.
    groups : mapping of pattern to mapping, optional
        Other scalars for some paths: ``{"*/bias": {"weight_decay": 0.0}}``. Patterns are those of `fnmatch`;
        the first that matches a path wins; one that matches no path is an error.
    clip_norm : float or function, optional
        Gradients are scaled so that their norm, over all arrays together, is at most this (book 8.2.4).
    clip_value : float or function, optional
        Each gradient element is cut to ``[-clip_value, clip_value]``.
    clip_eps : float
        The factor is ``clip_norm / (norm + clip_eps)`` where that is below 1: 1e-6 with torch's convention, else 0.
    grad_scale : float or function, default 1
        Gradients are multiplied by it: 1 / loss scale, or 1 / k for the sum over k micro-batches.
    nonfinite : {"raise", "skip", "propagate"}, default "raise"
        What Inf or NaN in a gradient does: FloatingPointError and nothing is written; the step is left out and counted;
        the step is taken and the elements counted. The first two read the gradients once more.
    average : fastopt.averaging.Mean or EMA, optional
        A running average of the parameters, formed in the same pass; see `averaged`.
    zero_grads : bool, default False
        Set the gradient arrays to zero in the same pass; also where ``nonfinite="skip"`` left the step out.
    diagnostics : bool, default False
        Record norms, update ratio and cosine for every path, in the same pass.
    flush_subnormals : bool, default False
        Treat subnormal numbers as zero during the step: some processors are many times slower on them. The
        processor's setting is restored afterwards.

    Raises
    ------
    TypeError, ValueError
        An array or a number is not what is needed; the message names it. Nothing has been written then.
    """

    conventions: ClassVar[Mapping[str, Mapping[str, Any]]]
    #: Fields that choose the rule or its form; the same for all groups.
    structure: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, params: Any, given: Mapping[str, Any], convention: str, common: Mapping[str, Any]
    ) -> None:
        name = type(self).__name__
        self._made_with = (given, convention, common)
        fields = resolve(name, self.conventions, convention, {**given, **common})
        self.convention = convention
        self.fields = fields
        for flag in (*_FLAGS, *self.structure):
            if not isinstance(fields[flag], (bool, np.bool_)):
                raise TypeError(f"{flag} is {fields[flag]!r}; True or False is needed")
        if fields["nonfinite"] not in _POLICIES:
            raise ValueError(f"nonfinite is {fields['nonfinite']!r}; one of {_POLICIES} is needed")
        average = fields["average"]
        if average is not None and (isinstance(average, type) or not isinstance(average, Average)):
            raise TypeError(f"average is {average!r}; fo.averaging.Mean() or EMA() is needed")

        self._leaves, paths = check_params(params)
        overrides, self._group_of = _match_groups(fields["groups"], paths)
        settings = [fields, *({**fields, **extra} for extra in overrides.values())]
        wheres = ["", *(f"groups[{pattern!r}]: " for pattern in overrides)]
        for where, extra in zip(wheres[1:], overrides.values(), strict=True):
            self._check_override(where, extra)
        self._wheres = wheres
        self._functions: list[tuple[Callable[[int], Any], list[tuple[int, str]]]] = []

        # All numbers are checked, with functions at step 1, before anything is allocated.
        fixed: list[tuple[int, str, float]] = []
        starts: list[dict[str, float]] = []
        for g, (where, setting) in enumerate(zip(wheres, settings, strict=True)):
            scalars = expand(setting, where)
            for field in self.scalar_fields(scalars):
                value = scalars[field]
                if callable(value):
                    self._watch(value, g, field)
                    value = scalars[field] = value(1)
                fixed.append((g, field, check_scalar(field, value, where)))
            starts.append({s: float(v) for s, v in self.initial_state(scalars).items()})
        for field, absent in _STEP_SCALARS.items():
            value = fields[field]
            if callable(value):
                self._watch(value, -1, field)
                value = value(1)
            fixed.append((-1, field, absent if value is None else check_scalar(field, value)))

        for where, setting in zip(wheres, settings, strict=True):
            self.check(setting, where)
        self.rule = self.choose_rule(settings)
        states, hypers, _ = _RULES[self.rule]
        self.state_names = states
        self._hypers = hypers
        for flag in self.structure:
            if flag in hypers:
                fixed.extend((g, flag, float(fields[flag])) for g in range(len(settings)))

        count = len(states) + (average is not None)
        blocks = allocate(self._leaves, count)
        self._states = [block[: len(states)] for block in blocks]
        self._averages = [block[-1] for block in blocks] if average is not None else []
        for leaf, copy in zip(self._leaves, self._averages, strict=False):
            copy[...] = leaf
        for g, row in zip(self._group_of, self._states, strict=True):
            for state, array in zip(states, row, strict=True):
                if starts[g].get(state):
                    array[...] = starts[g][state]
        self._average = average
        self._stepper = Stepper(
            self.rule, params, paths, self._group_of, len(settings), self._states, self._averages,
            nonfinite=fields["nonfinite"], decoupled=bool(fields["decoupled_weight_decay"]),
            zero_grads=bool(fields["zero_grads"]), diagnostics=bool(fields["diagnostics"]),
            flush_subnormals=bool(fields["flush_subnormals"]),
            momentum=next((i for i, s in enumerate(states) if s in ("b", "m")), -1),
        )  # fmt: skip
        self._stepper.maximize = bool(fields["maximize"])
        self._stepper.clip_eps = check_scalar("clip_eps", fields["clip_eps"])
        self._values: dict[tuple[int, str], float] = {}
        for g, field, value in fixed:
            self._put(g, field, value)

    # ---- what a class may say differently ----

    def check(self, fields: Mapping[str, Any], where: str) -> None:
        """Refuse fields that do not go together."""

    def choose_rule(self, settings: list[dict[str, Any]]) -> str:
        """Name of the rule for these settings, the first those of the optimizer, the others those of its groups."""
        raise NotImplementedError

    def initial_state(self, scalars: Mapping[str, Any]) -> Mapping[str, Any]:
        """States that do not start at zero, and what they start at."""
        return {}

    def lookahead_factor(self, scalars: Mapping[str, float]) -> tuple[str, float]:
        """The state that is the velocity, and what it is multiplied by to reach the look-ahead point."""
        raise ValueError(
            f"{type(self).__name__} has no look-ahead point here; SGD and RMSprop with momentum above 0 have one"
        )

    # ---- scalars ----

    @classmethod
    def scalar_fields(cls, scalars: Mapping[str, Any]) -> list[str]:
        """Those of the expanded fields that are numbers of a group."""
        return [n for n in scalars if n in RANGES and n not in _STEP_SCALARS and n != "clip_eps"]

    def _check_override(self, where: str, extra: Mapping[str, Any]) -> None:
        own = {"weight_decay", *(f for f in self.conventions["torch"] if f in RANGES or f in PAIRS)}
        for field in extra:
            if field not in own:
                allowed = ", ".join(sorted(own))
                raise ValueError(
                    f"{where}{field!r} cannot differ between groups of {type(self).__name__}; these can: {allowed}"
                )

    def _watch(self, function: Callable[[int], Any], group: int, field: str) -> None:
        for known, targets in self._functions:
            if known is function:
                targets.append((group, field))
                return
        self._functions.append((function, [(group, field)]))

    def _put(self, group: int, field: str, value: float) -> None:
        self._values[group, field] = value
        if field == "weight_decay":
            self._stepper.set_decay(group, value)
        elif field == "clip_value":
            self._stepper.set_clip_value(value)
        elif field in _STEP_SCALARS:
            setattr(self._stepper, field, value)
        elif field in self._hypers:
            self._stepper.set_hyper(group, self._hypers.index(field), value)

    def _evaluate(self, t: int) -> None:
        """Bring everything that is a function of the step to step t; nothing changes if one of them is refused."""
        values = []
        for function, targets in self._functions:
            value = function(t)
            for g, field in targets:
                values.append((g, field, check_scalar(field, value, self._wheres[g] if g > 0 else "", t)))
        if self._average is not None:
            weight = self._average.weight(t)
            if not 0 <= weight <= 1:
                raise ValueError(
                    f"average: the weight of step {t} is {weight}; a number from 0 to 1 is needed"
                )
            self._stepper.set_average(weight)
        for g, field, number in values:
            self._put(g, field, number)

    @property
    def scalars(self) -> dict[str, float]:
        """The optimizer's scalars as the last step used them (groups' own are left out), by field name."""
        return {
            spelled(field): x
            for (g, field), x in self._values.items()
            if g <= 0 and field not in self.structure
        }

    # ---- stepping ----

    @property
    def params(self) -> Any:
        """The tree of parameters that the optimizer was made with."""
        return self._stepper.params

    @property
    def paths(self) -> list[str]:
        """Paths of the parameters, in order."""
        return list(self._stepper.paths)

    @property
    def diagnostics(self) -> bool:
        """Whether steps record norms, update ratio and cosine; made with them, they may be left out for a while."""
        return self._stepper.diagnostics

    @diagnostics.setter
    def diagnostics(self, on: bool) -> None:
        if not isinstance(on, (bool, np.bool_)):
            raise TypeError(f"diagnostics is {on!r}; True or False is needed")
        self._stepper.diagnostics = bool(on)

    @property
    def steps(self) -> int:
        """Steps taken (skipped ones not counted)."""
        return self._stepper.steps

    def step(self, grads: Any) -> StepRecord:
        """Move the parameters by one step.

        Parameters
        ----------
        grads : tree of ndarray
            Gradients in the same shape of tree, each of its parameter's shape and dtype, sharing no memory
            with parameters. Read only (zeroed with ``zero_grads=True``). Passing the same arrays every time is
            fastest. At a frozen path anything may stand, None too; see `freeze`.

        Returns
        -------
        StepRecord
            ``step, grad_norm, clip_factor, skipped, skips, nonfinite, diagnostics``.

        Raises
        ------
        FloatingPointError
            A gradient holds Inf or NaN and ``nonfinite="raise"``.
        TypeError, ValueError
            A gradient has another path, shape or dtype; a parameter was replaced; a function gave a number out
            of range.
        RuntimeError
            Inside `lookahead` or `averaged`, or while another thread steps this optimizer.

        In each of these cases nothing has been written.
        """
        if self._functions or self._average is not None:
            return self._stepper.step(grads, self._evaluate)
        return self._stepper.step(grads)

    @contextmanager
    def lookahead(self) -> Iterator[Any]:
        """Hold the parameters at the look-ahead point, where algorithms 8.3 and 8.6 of the book take the gradient.

        Inside the block the parameters are theta + alpha v; at its end they are what they were, bit for bit. The step
        comes after the block::

            with opt.lookahead():
                loss, grads = loss_and_grads(params)
            opt.step(grads)

        Yields
        ------
        tree of ndarray
            The parameters.

        Raises
        ------
        ValueError
            The optimizer has no momentum buffer, or ``nesterov=True`` already accounts for the look-ahead.
        """
        if self._functions:
            self._evaluate(self._stepper.steps + 1)
        factors = []
        for g in range(len(self._wheres)):
            state, factor = self.lookahead_factor({f: v for (k, f), v in self._values.items() if k == g})
            factors.append(factor)
        index = self.state_names.index(state)
        held = [None if self._stepper.is_frozen(i) else leaf.copy() for i, leaf in enumerate(self._leaves)]
        with self._closed("the parameters are at the look-ahead point; step after the `with` block"):
            try:
                for old, leaf, row, g in zip(held, self._leaves, self._states, self._group_of, strict=True):
                    if old is not None:
                        leaf += leaf.dtype.type(factors[g]) * row[index]
                yield self.params
            finally:
                self._stepper.restore(held)

    @contextmanager
    def averaged(self) -> Iterator[Any]:
        """Hold the averaged weights in the parameters' arrays for the length of a block, then the parameters again.

        The two are exchanged, so nothing is allocated and both come back bit for bit. Changes made inside the block are
        made to the average.

        Yields
        ------
        tree of ndarray
            The parameters' arrays, holding the average.
        """
        if self._average is None:
            raise ValueError(
                "the optimizer keeps no average; make it with average=fo.averaging.EMA(...) or Mean(...)"
            )
        with self._closed("the parameters' arrays hold the average; step after the `with` block"):
            try:
                self._settle(range(len(self._leaves)))
                self._stepper.swap_averages()
                yield self.params
            finally:
                if self._stepper.swapped:
                    self._stepper.swap_averages()

    @contextmanager
    def _closed(self, why: str) -> Iterator[None]:
        self._stepper.close(why)
        try:
            yield
        finally:
            self._stepper.closed = None

    # ---- resuming ----

    def state_dict(self, copy: bool = True) -> dict[str, Any]:
        """All that a run needs to go on with the same bits, by path.

        Parameters
        ----------
        copy : bool, default True
            False gives the optimizer's own arrays: no memory is needed, but the next step changes them.

        Returns
        -------
        dict
            ``rule``, ``step``, ``skips``, ``scalars`` (running scalars of each group), ``state`` (path -> name
            -> array), ``average`` (path -> array, if one is kept), ``schedules`` (states of schedules, and of an
            average, that have any), ``clocks`` (if anything is or was frozen: which arrays, since when, the steps
            that they missed; the average of a frozen one is ``p + share (avg - p)``). Hyper-parameters are not in
            it: they are the constructor's.
        """
        if self._stepper.closed is not None:
            raise RuntimeError(self._stepper.closed)

        def own(a: np.ndarray) -> np.ndarray:
            return a.copy() if copy else a

        out: dict[str, Any] = {
            "rule": self.rule,
            "step": self._stepper.steps,
            "skips": self._stepper.skips,
            "scalars": self._stepper.get_scalars(),
            "state": {
                path: {name: own(a) for name, a in zip(self.state_names, row, strict=True)}
                for path, row in zip(self.paths, self._states, strict=True)
            },
        }
        if self._average is not None:
            out["average"] = {p: own(a) for p, a in zip(self.paths, self._averages, strict=True)}
        schedules = [f.state_dict() for f in self._stateful()]
        if schedules:
            out["schedules"] = schedules
        clocks = self._clocks()
        if clocks:
            out["clocks"] = clocks
        return out

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; parameters themselves are the caller's to restore.

        Raises
        ------
        ValueError
            The state belongs to another rule, tree, shape or dtype. All mismatches are listed and nothing has
            been changed.
        """
        if self._stepper.closed is not None:
            raise RuntimeError(self._stepper.closed)
        wrong: list[str] = []
        pairs: list[tuple[np.ndarray, np.ndarray]] = []

        def match(name: str, mine: np.ndarray, theirs: Any) -> None:
            if not isinstance(theirs, np.ndarray):
                wrong.append(f"{name} is {type(theirs).__name__}, not an array")
            elif theirs.shape != mine.shape or theirs.dtype != mine.dtype:
                wrong.append(
                    f"{name} is {theirs.dtype}{list(theirs.shape)}, needed {mine.dtype}{list(mine.shape)}"
                )
            else:
                pairs.append((mine, theirs))

        def mapping(name: str, value: Any, wanted: list[str]) -> Mapping[str, Any]:
            if not isinstance(value, Mapping):
                wrong.append(f"{name} is {'missing' if value is None else type(value).__name__}")
                return {}
            wrong.extend(f"{name}{_at(k)} is missing" for k in wanted if k not in value)
            wrong.extend(f"{name}{_at(k)} belongs to nothing here" for k in value if k not in wanted)
            return value

        if not isinstance(state, Mapping):
            raise TypeError(f"state is {type(state).__name__}; a dict from state_dict() is needed")
        if state.get("rule") != self.rule:
            raise ValueError(f"state is of rule {state.get('rule')!r}; this optimizer follows {self.rule!r}")
        for name in ("step", "skips"):
            value = state.get(name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**62:
                wrong.append(f"{name} is {value!r}, not a count")
        arrays = mapping("state", state.get("state"), self.paths)
        for path, row in zip(self.paths, self._states, strict=True):
            if path in arrays:
                inner = mapping(f"state{_at(path)}", arrays[path], list(self.state_names))
                for name, mine in zip(self.state_names, row, strict=True):
                    if name in inner:
                        match(f"state{_at(path)}[{name!r}]", mine, inner[name])
        if self._average is not None:
            averages = mapping("average", state.get("average"), self.paths)
            for path, mine in zip(self.paths, self._averages, strict=True):
                if path in averages:
                    match(f"average{_at(path)}", mine, averages[path])
        elif "average" in state:
            wrong.append("there is an average, and this optimizer keeps none")
        scalars = self._check_running(state.get("scalars"), wrong)
        clocks = self._check_clocks(state.get("clocks", {}), state.get("step"), wrong)
        schedules, saved = self._stateful(), state.get("schedules", [])
        if not isinstance(saved, (list, tuple)):
            wrong.append(f"schedules is {type(saved).__name__}, not a list")
        elif len(schedules) != len(saved):
            wrong.append(f"there are {len(saved)} schedules with a state, needed {len(schedules)}")
        if wrong:
            raise ValueError("state does not fit: " + "; ".join(wrong))
        load_states(schedules, saved)
        for mine, theirs in pairs:
            mine[...] = theirs
        self._stepper.put_clocks(clocks)
        self._stepper.put_scalars(scalars)
        self._stepper.steps = int(state["step"])
        self._stepper.skips = int(state["skips"])

    def _check_running(self, given: Any, wrong: list[str]) -> list[dict[str, float]]:
        mine = self._stepper.get_scalars()
        if not isinstance(given, (list, tuple)) or len(given) != len(mine):
            wrong.append(
                f"scalars is for {len(given) if isinstance(given, (list, tuple)) else 'no'} groups, needed {len(mine)}"
            )
            return mine
        for g, (own, theirs) in enumerate(zip(mine, given, strict=True)):
            if (
                not isinstance(theirs, Mapping)
                or set(theirs) != set(own)
                or not all(map(finite, theirs.values()))
            ):
                wrong.append(f"scalars[{g}] is {theirs!r}, needed finite numbers for {list(own)}")
        return [dict(theirs) if isinstance(theirs, Mapping) else {} for theirs in given]

    def _stateful(self) -> list[Any]:
        functions = [function for function, _ in self._functions]
        return stateful(functions if self._average is None else [*functions, self._average])

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self._stepper.params, *self._made_with, self.state_dict(copy=False))

    def __repr__(self) -> str:
        n = sum(leaf.size for leaf in self._leaves)
        own = ", ".join(f"{k}={v!r}" for k, v in self.fields.items() if k in self.conventions["torch"])
        return f"{type(self).__name__}({len(self._leaves)} arrays, {n} parameters, {own}) after {self.steps} steps"


def _match_groups(groups: Any, paths: list[str]) -> tuple[dict[str, Mapping[str, Any]], list[int]]:
    """The overrides by pattern, and for each path the number of its group: 0 without one, else 1, 2, ..."""
    if groups is None:
        return {}, [0] * len(paths)
    if not isinstance(groups, Mapping):
        raise TypeError(
            f"groups is {type(groups).__name__}; a mapping of path patterns to mappings is needed"
        )
    for pattern, extra in groups.items():
        if not isinstance(pattern, str) or not isinstance(extra, Mapping):
            raise TypeError(
                f"groups[{pattern!r}] is {extra!r}; a mapping of fields is needed for a path pattern"
            )
    found = [0] * len(paths)
    for number, pattern in enumerate(groups, 1):
        for i in match_paths(f"groups[{pattern!r}]", pattern, paths):
            found[i] = found[i] or number
    return dict(groups), found


def _restore(
    cls: type[Optimizer], params: Any, given: Any, convention: str, common: Any, state: Any
) -> Optimizer:
    """Undo `Optimizer.__reduce__`."""
    optimizer = cls(params, **given, convention=convention, **common)
    optimizer.load_state_dict(state)
    return optimizer
