"""A run watched from its own records, and asked at any step what holds it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from fastopt._progress import Progress
from fastopt.diagnostics._answer import Answer
from fastopt.diagnostics._objective import Objective
from fastopt.diagnostics.critical import critical_point
from fastopt.diagnostics.curvature import Conditioning, Curvature, conditioning, curvature_of
from fastopt.diagnostics.hessian import Product
from fastopt.diagnostics.inexact import InexactGradient, inexact_gradient
from fastopt.diagnostics.landscape import StraightLine, straight_line
from fastopt.diagnostics.symptoms import Trend, symptoms, trend
from fastopt.diagnostics.trajectory import Trajectory, trajectory
from fastopt.diagnostics.watch import Watch

if TYPE_CHECKING:
    from fastopt.diagnostics.page import Report

__all__ = ["Monitor"]


class Monitor(Watch):
    """Watch a run, and say what holds it back.

    Everything comes from the records of the optimizer's own steps: no array is read for it. What needs the function
    is asked by `probe` and its like, whenever wanted.

    Parameters
    ----------
    opt : Optimizer
        Made with ``diagnostics=True`` it tells norms, updates and cosines path by path; without, the global norm.
    capacity : int, default 512
        Bins that the run is kept in; even, at least 32. When they are full, each takes twice as many steps.
    snapshots : int, default 0
        Copies of the parameters kept along the run, thinned likewise: 2 or more (even) for the path and the straight
        line from the start.

    every : int, default 1
        Have the optimizer gather its diagnostics only at every so many steps (by its attribute `diagnostics`, which it
        must have been made with): they cost as much as a step or two. Loss, norm and clipping come from all steps.

    Attributes
    ----------
    opt
    answers : dict
        The last answer to each question that `probe`, `probe_noise` and `probe_path` asked. Not part of the state.

    Raises
    ------
    TypeError, ValueError
        An argument is not what is wanted.

    Notes
    -----
    A step costs some 4 microseconds, and with ``diagnostics=True`` 1 more for every array, on average over 128 steps.
    Memory: 12 numbers a bin, 7 more a bin and path; snapshots as many copies of the parameters.

    Verdicts and their thresholds are in docs/diagnostics.md. In a monitor a gradient lost in noise and a step beyond
    its limit count as trouble only where the loss is not falling: late in a good run noise always wins, and many
    networks train at the edge of stability.

    Examples
    --------
    >>> import numpy as np, fastopt as fo
    >>> scale = np.array([1.0, 3.0])
    >>> x = np.ones(2)
    >>> opt = fo.SGD(x, lr=0.3, diagnostics=True)
    >>> monitor = fo.diagnostics.Monitor(opt)
    >>> for _ in range(100):
    ...     record = monitor.step(scale * x, loss=x @ (scale * x) / 2)
    >>> monitor.verdicts()
    []
    """

    def probe_curvature(
        self, fun: Callable[..., Any], *, hessp: Callable[..., Any] | None = None
    ) -> Curvature:
        """``g'g`` and ``g'Hg`` here, added to the record of the run; three gradients.

        Parameters
        ----------
        fun : callable
            ``fun(params) -> (loss, grads)``, always of the same examples, so that points along the run compare.
        hessp : callable, optional
            As for `hessian_operator`.

        Returns
        -------
        Curvature

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `curvature`.
        """
        lr = self.step_length
        with Objective("Monitor.probe_curvature", fun, self.opt.params).moving() as objective:
            product = Product(objective, hessp, None)
            loss, g = objective.start()
            found = curvature_of(loss, g, product(g), lr)
        self._note(found.loss, found.gg, found.gHg, lr)
        return found

    def probe(
        self,
        fun: Callable[..., Any],
        *,
        hessp: Callable[..., Any] | None = None,
        products: int = 100,
        progress: Progress = False,
    ) -> list[Answer]:
        """Ask here what needs the function: curvature, condition number, kind of point.

        Parameters
        ----------
        fun : callable
            ``fun(params) -> (loss, grads)``, not random; it may read the arrays of the optimizer's params. They are
            put back bit for bit.
        hessp : callable, optional
            As for `hessian_operator`.
        products : int, default 100
            At most so many products with the Hessian for each answer.
        progress : bool or callable, default False

        Returns
        -------
        list of Answer
            Those in trouble; all are in `answers`.

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `conditioning` and `critical_point`.
        """
        lr, params = self.step_length, self.opt.params
        ill = conditioning(fun, params, lr=lr, hessp=hessp, products=products, progress=progress)
        self._flush()
        where = trend(self._series)
        seen = float(np.ptp(where.loss)) if where.known else 0.0
        point = critical_point(
            fun, params, hessp=hessp, products=products, progress=progress, dense=100,
            scale=max(abs(ill.curvature.loss), seen),
        )  # fmt: skip
        self._note(ill.curvature.loss, ill.curvature.gg, ill.curvature.gHg, lr)
        self.answers[ill.question], self.answers[point.question] = ill, point
        return [a for a in self._weighed([ill, point], where) if a.trouble]

    def probe_noise(
        self,
        fun: Callable[..., Any],
        batches: Iterable[Any],
        *,
        population: int | None = None,
        progress: Progress = False,
    ) -> InexactGradient:
        """Ask here how much the gradients of batches disagree; as `inexact_gradient`."""
        found = inexact_gradient(fun, self.opt.params, batches, population=population, progress=progress)
        self.answers[found.question] = found
        return found

    def probe_path(
        self, fun: Callable[..., Any], *, points: int = 51, progress: Progress = False
    ) -> tuple[StraightLine, Trajectory]:
        """Ask here about local and global structure: the loss on the straight line from the start, and the path.

        Raises
        ------
        ValueError
            The monitor keeps no snapshots, or has seen no step.
        """
        if not self._snapshots or not self._seen:
            why = "keeps no snapshots" if not self._snapshots else "has seen no step"
            raise ValueError(
                f"Monitor.probe_path: this monitor {why}; Monitor(opt, snapshots=16) and a run are wanted"
            )
        line = straight_line(
            fun, self.opt.params, self._tree(self._snapshots[0][1]), points=points, progress=progress
        )
        path = trajectory([*(v for _, v in self._snapshots), self._copy()])
        self.answers[line.question], self.answers[path.question] = line, path
        return line, path

    def ask(self) -> list[Answer]:
        """Every answer there is, in trouble or not."""
        self._flush()
        where = trend(self._series)
        found: list[Answer] = list(symptoms(self._series, self._paths, self._eps, self._first, self._refused))
        if self._ratios or self._series.column("clipped").any():
            found.append(self.tails())
        return found + self._weighed(list(self.answers.values()), where)

    @staticmethod
    def _weighed(answers: list[Answer], where: Trend) -> list[Answer]:
        """What is no trouble to a run that goes on well."""
        out: list[Answer] = []
        for answer in answers:
            if where.falling and isinstance(answer, InexactGradient):
                answer = replace(answer, trouble=False)
            elif where.falling and isinstance(answer, Conditioning) and answer.curvature.trouble:
                answer = replace(answer, trouble=answer.slow or answer.spectrum.trouble)
            out.append(answer)
        return out

    def verdicts(self) -> list[Answer]:
        """The answers in trouble; empty where nothing holds the run back."""
        return [answer for answer in self.ask() if answer.trouble]

    def report(
        self,
        folder: Any = None,
        *,
        name: str = "diagnosis",
        title: str = "What holds this run back",
        file: TextIO | None = None,
        quiet: bool = False,
    ) -> Report:
        """Print the verdicts, and draw one page: ``<folder>/<name>.png`` and ``<folder>/<name>.html``.

        Parameters
        ----------
        folder : path-like, optional
            An existing folder. Without it nothing is written, and matplotlib is not needed.
        name : str, default "diagnosis"
        title : str
        file : text file, optional
            Where verdicts are printed; default standard output.
        quiet : bool, default False
            Print nothing.

        Returns
        -------
        Report
            With ``text``, ``answers``, ``troubles``, ``figure()``, ``png()`` and ``html()``.

        Raises
        ------
        ImportError
            A picture is asked for and matplotlib is not installed.
        OSError
            The folder cannot be written to; a file of an earlier report is there still.
        """
        from fastopt.diagnostics.page import Report

        if not isinstance(name, str) or not name or Path(name).name != name:
            raise ValueError(f"Monitor.report: name is {name!r}; a file name without a folder is wanted")
        report = Report(self, self.ask(), str(title))
        if folder is not None:
            report.write(Path(folder), name)
        if not quiet:
            print(report.text, file=file)
        return report
