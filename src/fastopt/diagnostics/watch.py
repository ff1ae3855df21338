"""What a monitor sees: records of steps, gathered, thinned, saved and gone on from. `Monitor` asks the questions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastopt._checks import check_integer, check_number
from fastopt._parameters import check_params
from fastopt._trees import map_tree
from fastopt.diagnostics._answer import Answer
from fastopt.diagnostics._objective import read_loss
from fastopt.diagnostics.series import FIELDS, PATH_FIELDS, Series
from fastopt.diagnostics.tails import CLIFF, WINDOW, GradientTails, ratios_to_median, tails_of

__all__ = ["Watch"]

ALONG = ("sgd", "momentum", "nesterov")  # rules whose updates are along gradients, or sums of them
CHUNK = 128  # steps gathered before they are worked on
WORST = 256  # largest ratios kept
PROBES = 256  # points of g'g and g'Hg kept
_RECORD = ("grad_norm", "param_norm", "update_norm", "update_ratio", "cosine")  # as a StepRecord has them
PROBE = ("step", "loss", "gg", "gHg", "lr")


class Watch:
    """The part of `Monitor` that has a state."""

    def __init__(self, opt: Any, *, capacity: int = 512, snapshots: int = 0, every: int = 1) -> None:
        for name in ("step", "params", "paths", "steps"):
            if not hasattr(opt, name):
                raise TypeError(f"Monitor: opt is {type(opt).__name__}; an optimizer of fastopt is wanted")
        capacity = check_integer("Monitor", "capacity", capacity, 32)
        snapshots = check_integer("Monitor", "snapshots", snapshots, 0)
        self._every = check_integer("Monitor", "every", every, 1)
        if capacity % 2 or snapshots % 2:
            name, value = ("capacity", capacity) if capacity % 2 else ("snapshots", snapshots)
            raise ValueError(f"Monitor: {name} is {value}; an even number is wanted")
        self.opt = opt
        leaves, self._paths = check_params(opt.params, "Monitor")
        self._eps = [float(np.finfo(leaf.dtype).eps) for leaf in leaves]
        self._wide = any(leaf.dtype == np.float64 for leaf in leaves)
        self._first = int(opt.steps)
        self._series = Series(len(self._paths), capacity)
        self._pending: list[tuple[float | None, Any]] = []
        self._carried: tuple[dict[str, np.ndarray], np.ndarray] | None = (
            None  # pending steps of a loaded state
        )
        self._length: float | None = None  # step length of the last step that is no longer pending
        self._seen = 0
        self._recent = np.empty(0)  # the last norms
        self._top = 0.0  # the greatest median of norms
        self._worst = np.empty((0, 2))  # ratio, step: the largest ratios
        self._ratios = self._crossed = 0
        self._refused: tuple[int, str] = (0, "")
        self._probes = np.empty((0, len(PROBE)))
        self._stride = 1
        self._snapshots: list[tuple[int, np.ndarray]] = []
        self._kept = snapshots
        self.answers: dict[str, Answer] = {}
        self._thins = every > 1 and getattr(opt, "diagnostics", False)
        if snapshots:
            self._snapshots.append((0, self._copy()))

    # ---- watching ----

    @property
    def snapshots(self) -> int:
        """Copies of the parameters kept at present, the start among them."""
        return len(self._snapshots)

    @property
    def steps(self) -> int:
        """Steps watched, skipped ones among them."""
        return self._seen

    def step(self, grads: Any, loss: float | None = None) -> Any:
        """``opt.step(grads)``, watched.

        Parameters
        ----------
        grads : tree of ndarray
            As `Optimizer.step` takes them.
        loss : float, optional
            At the parameters before the step. Without it there are no verdicts about the loss.

        Returns
        -------
        StepRecord

        Raises
        ------
        TypeError
            `loss` is no number; no step was taken.
        Exception
            What `Optimizer.step` raises. A refused gradient is remembered.
        """
        value = loss if loss is None or type(loss) is float else read_loss("Monitor.step", loss)
        try:
            record = self.opt.step(grads)
        except FloatingPointError as error:
            self.refused(str(error))
            raise
        self._append(record, value)
        return record

    def refused(self, message: str) -> None:
        """Remember a step that was not taken, or a run that ended, and why: it stands in the verdicts."""
        self._refused = (self._refused[0] + 1, str(message))

    def observe(self, record: Any, loss: float | None = None) -> None:
        """Watch a step that was taken elsewhere: `record` is what ``opt.step`` returned."""
        if not hasattr(record, "clip_factor"):
            raise TypeError(f"Monitor.observe: record is {type(record).__name__}; a StepRecord is wanted")
        self._append(record, None if loss is None else read_loss("Monitor.observe", loss))

    def _append(self, record: Any, loss: float | None) -> None:
        self._pending.append((loss, record))
        self._seen += 1
        if self._thins:
            self.opt.diagnostics = self._seen % self._every == 0
        if self._kept and self._seen % self._stride == 0:
            self._snapshot()
        carried = 0 if self._carried is None else len(self._carried[1])
        if len(self._pending) + carried >= CHUNK:
            self._flush()

    def _copy(self) -> np.ndarray:
        dtype = np.float64 if self._wide else np.float32
        leaves, _ = check_params(self.opt.params, "Monitor")
        return np.concatenate([leaf.ravel() for leaf in leaves] or [np.empty(0)]).astype(dtype, copy=False)

    def _snapshot(self) -> None:
        if len(self._snapshots) >= self._kept:
            self._snapshots = self._snapshots[::2]
            self._stride *= 2
            if self._seen % self._stride:
                return
        self._snapshots.append((self._seen, self._copy()))

    def _flush(self) -> None:
        rows, per_path = self._rows()
        self._length = self.step_length if self._pending else self._length
        self._pending.clear()
        self._carried = None
        if not len(rows["steps"]):
            return
        norms = np.where(rows["norm_count"] > 0, rows["norm_max"], np.nan)
        # Norms before clipping; one that is infinite is a crossing of any limit.
        ratios, self._top = ratios_to_median(norms, self._recent, self._top)
        self._recent = np.concatenate([self._recent, norms])[-WINDOW:]
        start = self._first + self._seen - len(norms)
        told = ~np.isnan(ratios)
        new = np.stack([ratios[told], start + 1 + np.flatnonzero(told)], axis=1)
        self._ratios += len(new)
        self._crossed += int((new[:, 0] > CLIFF).sum())
        both = np.concatenate([self._worst, new])
        self._worst = both[np.argsort(-both[:, 0], kind="stable")[:WORST]]
        self._series.extend(rows, per_path)

    def _rows(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The pending steps as arrays."""
        rows, per_path = self._read_records()
        if self._carried is None:
            return rows, per_path
        before, before_paths = self._carried
        joined = {name: np.concatenate([before[name], column]) for name, column in rows.items()}
        return joined, np.concatenate([before_paths, per_path])

    def _read_records(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        count = len(self._pending)
        loss = np.array([value for value, _ in self._pending], np.float64)  # None is NaN
        was_told = np.array([value is not None for value, _ in self._pending], bool)
        records = [record for _, record in self._pending]
        told = [record.grad_norm for record in records]
        norm = np.array([math.nan if n is None else n for n in told], np.float64)
        has_loss, has_norm = np.isfinite(loss), np.isfinite(norm)
        rows = {name: np.zeros(count) for name in FIELDS}
        rows["steps"][:] = 1.0
        rows["loss_count"], rows["loss_sum"] = has_loss.astype(float), np.where(has_loss, loss, 0.0)
        rows["loss_min"] = rows["loss_max"] = np.where(has_loss, loss, np.nan)
        rows["loss_bad"] = (was_told & ~has_loss).astype(float)
        rows["norm_count"], rows["norm_sum"] = has_norm.astype(float), np.where(has_norm, norm, 0.0)
        rows["norm_min"] = rows["norm_max"] = np.where(has_norm, norm, np.nan)
        rows["clipped"] = np.array([record.clip_factor < 1 for record in records], float)
        rows["skipped"] = np.array([record.skipped for record in records], float)
        rows["nonfinite"] = np.array([record.nonfinite for record in records], float)
        per_path = np.zeros((count, len(self._paths), len(PATH_FIELDS)))
        told = [i for i, record in enumerate(records) if record.diagnostics]
        if told:
            nothing: dict[str, Any] = dict.fromkeys(_RECORD, None)  # of an array that stands still
            numbers = np.array(
                [
                    [*record.diagnostics.get(path, nothing).values()]
                    for record in (records[i] for i in told)
                    for path in self._paths
                ],
                np.float64,  # None is NaN
            ).reshape(len(told), len(self._paths), len(_RECORD))
            known = np.isfinite(numbers)
            whole: np.ndarray = np.logical_and.reduce(known[:, :, :4], axis=2)
            per_path[told, :, :4] = np.where(whole[:, :, None], numbers[:, :, :4], 0.0)
            cosine = whole & known[:, :, 4]
            per_path[told, :, 4] = np.where(cosine, numbers[:, :, 4], 0.0)
            per_path[told, :, 5], per_path[told, :, 6] = cosine, whole
        return rows, per_path

    @property
    def step_length(self) -> float | None:
        """What a unit of gradient moves the parameters by: update over gradient norm, or `lr` of plain SGD.

        None where it is not known, or where updates do not go along gradients: rates that adapt to each element.
        """
        if getattr(self.opt, "rule", "sgd") not in ALONG:
            return None
        for _, record in reversed(self._pending):
            if record.diagnostics and record.grad_norm:  # the norm before clipping
                u = math.sqrt(sum(row["update_norm"] ** 2 for row in record.diagnostics.values()))
                return u / record.grad_norm if math.isfinite(u / record.grad_norm) else None
        if self._length is not None:
            return self._length
        if getattr(self.opt, "rule", None) == "sgd":
            return float(self.opt.scalars["lr"])
        return None

    def _note(self, loss: float, gg: float, ghg: float, lr: float | None) -> None:
        if len(self._probes) and self._probes[-1, 0] == self._first + self._seen:
            return  # one point a step
        row = [self._first + self._seen, loss, gg, ghg, math.nan if lr is None else lr]
        self._probes = np.vstack([self._probes, row])
        if len(self._probes) > PROBES:
            self._probes = self._probes[::2]

    def _tree(self, vector: np.ndarray) -> Any:
        leaves, _ = check_params(self.opt.params, "Monitor")
        parts = iter(np.split(vector, np.cumsum([leaf.size for leaf in leaves])[:-1]))
        return map_tree(lambda leaf: next(parts).reshape(leaf.shape), self.opt.params)

    def tails(self) -> GradientTails:
        """Cliffs, heavy tails and clipping, as `gradient_tails`."""
        self._flush()
        steps = max(self._series.steps, 1)
        over = self._worst[self._worst[:, 0] > CLIFF]
        return tails_of(
            self._worst[:, 1].astype(int), self._worst[:, 0], self._ratios, sorted(over[:64, 1].astype(int).tolist()),
            self._crossed, float(self._series.column("clipped").sum()) / steps, CLIFF,
        )  # fmt: skip

    # ---- saving ----

    def state_dict(self) -> dict[str, Any]:
        """All that was watched: a tree of arrays and plain values. `answers` are not part of it."""
        rows, per_path = self._rows()
        return {
            "first": self._first,
            "seen": self._seen,
            "series": self._series.state_dict(),
            "pending": {name: column.copy() for name, column in rows.items()},
            "pending_paths": per_path,
            "recent": self._recent.copy(),
            "top": self._top,
            "worst": self._worst.copy(),
            "counts": [self._ratios, self._crossed],
            "refused": list(self._refused),
            "probes": self._probes.copy(),
            "step_length": self.step_length,
            "stride": self._stride,
            "snapshot_steps": [step for step, _ in self._snapshots],
            "snapshots": [vector.copy() for _, vector in self._snapshots],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises
        ------
        TypeError, ValueError
            The state is of another model, capacity or number of snapshots, or none at all; nothing has been changed.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"Monitor: state is {type(state).__name__}; a dict from state_dict() is wanted")
        missing = [name for name in self.state_dict() if name not in state]
        if missing:
            raise ValueError(f"Monitor: the state has no {missing[0]!r}; a dict from state_dict() is wanted")
        try:
            new = self._checked(state)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f"Monitor: the state does not fit: {error}") from None
        self.__dict__.update(new)
        self._pending.clear()
        self.answers.clear()
        if self._thins:
            self.opt.diagnostics = self._seen % self._every == 0

    def _checked(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes of a saved state."""

        def whole(name: str, value: Any) -> int:
            return check_integer("state", name, value, 0)

        def array(name: str, value: Any, *shape: int | None) -> np.ndarray:
            if (
                not isinstance(value, np.ndarray)
                or value.dtype != np.float64
                or value.ndim != len(shape)
                or any(w is not None and w != n for w, n in zip(shape, value.shape, strict=True))
            ):
                got = (
                    f"{value.dtype}{list(value.shape)}"
                    if isinstance(value, np.ndarray)
                    else type(value).__name__
                )
                raise ValueError(f"{name} is {got}, needed float64{list(shape)}")
            return value.copy()

        series = self._series.from_state(state["series"])
        seen, first = whole("seen", state["seen"]), whole("first", state["first"])
        pending = state["pending"]
        if not isinstance(pending, Mapping) or set(pending) != set(FIELDS):
            raise ValueError(f"pending has other fields than {list(FIELDS)}")
        count = seen - series.steps
        rows = {name: array(f"pending[{name!r}]", column, count) for name, column in pending.items()}
        per_path = array("pending_paths", state["pending_paths"], count, len(self._paths), len(PATH_FIELDS))
        length = state["step_length"]
        if length is not None:
            length = check_number("state", "step_length", length)
        counts = [whole("counts", value) for value in state["counts"]]
        refusals, message = state["refused"]
        if not isinstance(message, str):
            raise ValueError(f"the message of a refusal is {type(message).__name__}")
        size, dtype = self._copy().size, np.float64 if self._wide else np.float32
        steps = [whole("snapshot_steps", value) for value in state["snapshot_steps"]]
        vectors = state["snapshots"]
        if len(steps) != len(vectors) or len(steps) > self._kept:
            raise ValueError(
                f"{len(vectors)} snapshots for {len(steps)} steps; at most {self._kept} are kept here"
            )
        for vector in vectors:
            if not isinstance(vector, np.ndarray) or vector.shape != (size,) or vector.dtype != dtype:
                raise ValueError(f"a snapshot is no {np.dtype(dtype)} array of {size} parameters")
        ratios, crossed = counts
        return {
            "_series": series, "_seen": seen, "_first": first, "_carried": (rows, per_path) if count else None,
            "_length": length, "_recent": array("recent", state["recent"], None),
            "_top": check_number("state", "top", state["top"]),
            "_worst": array("worst", state["worst"], None, 2), "_ratios": ratios, "_crossed": crossed,
            "_refused": (whole("refused", refusals), message),
            "_probes": array("probes", state["probes"], None, len(PROBE)),
            "_stride": check_integer("state", "stride", state["stride"], 1),
            "_snapshots": [(step, vector.copy()) for step, vector in zip(steps, vectors, strict=True)],
        }  # fmt: skip
