"""``--diagnose``: the run watched from its own steps, and asked at its end what held it back."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from fastopt.cli.files import is_our_png
from fastopt.cli.prepare import Prepared

__all__ = ["DIAGNOSIS", "Diagnosis", "is_our_diagnosis"]

DIAGNOSIS = ("diagnosis.png", "diagnosis.html")
ROWS = 1024  # training rows, the same throughout, that probes see
LITTLE = 128  # of them, for the curvature along the run
SHARE = 20  # the run passes this many times the rows that such a probe passes, three times LITTLE, before the next
BATCHES = 32  # at most so many for the noise
PRODUCTS = 40  # with the Hessian, for each answer
SNAPSHOTS = 16
EVERY = 8  # steps between two that gather diagnostics path by path
ROOM = 1 << 24  # parameters times snapshots


class Diagnosis:
    """A monitor of a run, and the functions that it asks with.

    Parameters
    ----------
    model, opt
        Of the run.
    twin
        A model of the same widths without dropout: probes neither draw from the run's generators nor write into its
        buffers.
    data : Prepared
    """

    def __init__(self, model: Any, opt: Any, twin: Any, data: Prepared) -> None:
        from fastopt.diagnostics import Monitor

        self.model, self.twin = model, twin
        self.x, self.y = data.x["train"], data.y["train"]
        snapshots = min(SNAPSHOTS, 2 * (ROOM // max(model.vector.size, 1) // 2))
        self.monitor = Monitor(opt, snapshots=snapshots, every=EVERY)
        # Rows spread over the table, whatever its order.
        self.rows = np.linspace(0, len(self.y) - 1, min(ROWS, len(self.y))).astype(np.int64)

    def watch(self, record: Any, loss: float) -> None:
        self.monitor.observe(record, loss)

    def _function(self, rows: np.ndarray) -> Any:
        x, y = self.x[rows], self.y[rows]
        return lambda params: self._of_batch(params, x, y)

    def _of_batch(self, params: Any, x: np.ndarray, y: np.ndarray) -> Any:
        """Loss and gradients at the model's parameters as they are, in its own tree."""
        self.twin.vector[:] = self.model.vector
        loss, _ = self.twin.loss_and_grads(x, y)
        self.model.grad_vector[:] = self.twin.grad_vector
        return loss, self.model.grads

    def after_epoch(self, epochs: int) -> None:
        """Ask for the curvature now and then: counted in rows, not in time, so that a resumed run asks alike."""
        period = -(-SHARE * 3 * LITTLE // len(self.y))
        if epochs != 1 and epochs % period:
            return
        step = max(1, len(self.rows) // LITTLE)
        self._ask(lambda: self.monitor.probe_curvature(self._function(self.rows[::step])))

    def report(self, progress: bool) -> Any:
        """Ask with the weights that are kept, and put the page together."""
        monitor = self.monitor
        if monitor.steps:
            fun = self._function(self.rows)
            size = max(1, len(self.rows) // BATCHES)
            self._ask(lambda: monitor.probe(fun, products=PRODUCTS, progress=progress))
            # Neighbouring rows may be alike: batches take them from all over.
            mixed = np.random.default_rng(0).permutation(self.rows)
            parts = [mixed[i : i + size] for i in range(0, len(mixed) - size + 1, size)]
            if len(parts) > 1:
                batches = ((self.x[part], self.y[part]) for part in parts)
                self._ask(lambda: monitor.probe_noise(self._of_batch, batches))
            if monitor.snapshots:
                self._ask(lambda: monitor.probe_path(fun))
        return self._page()

    def of_lost_run(self, lost: Any) -> Any:
        """The page of a run that diverged: its record alone, what is not finite having nothing to tell."""
        self.monitor.refused(str(lost))
        return self._page()

    def _page(self) -> Any:
        from fastopt.diagnostics import Report

        return Report(self.monitor, self.monitor.ask(), "What holds this run back")

    @staticmethod
    def _ask(question: Any) -> None:
        # Where a probe meets Inf there is no answer; the run's own record says why.
        with suppress(FloatingPointError):
            question()


def is_our_diagnosis(folder: Path) -> bool:
    path = folder / DIAGNOSIS[0]
    try:
        with path.open("rb") as file:
            return is_our_png(file.read(1 << 16))
    except OSError:
        return False
