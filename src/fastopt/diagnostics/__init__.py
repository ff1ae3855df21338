"""What holds a run back (Deep Learning, 8.2): numbers, a verdict in words, a picture.

Every question is a function that returns an `Answer`: ``number``, ``verdict``, ``trouble``, ``plot()``. `Monitor`
watches a run from the records of its steps, asks them all, and reports.

>>> import numpy as np, fastopt as fo
>>> def fun(x):                                             # value and gradient
...     return x[0] ** 2 - x[1] ** 2, np.array([2 * x[0], -2 * x[1]])
>>> point = fo.diagnostics.critical_point(fun, np.zeros(2))
>>> point.trouble, point.kind
(True, 'saddle')
>>> print(point)
A saddle: 1 of 2 directions curve down, the strongest by -2; `escape` steps along it.
"""

from __future__ import annotations

from fastopt.diagnostics._answer import Answer
from fastopt.diagnostics.check import GradientCheck, GradientError, check_gradients
from fastopt.diagnostics.critical import CriticalPoint, critical_point
from fastopt.diagnostics.curvature import Conditioning, Curvature, conditioning, curvature
from fastopt.diagnostics.escape import Escape, escape
from fastopt.diagnostics.hessian import Spectrum, extreme_eigenvalues, hessian_operator
from fastopt.diagnostics.inexact import InexactGradient, inexact_gradient
from fastopt.diagnostics.jacobians import LongTerm, long_term
from fastopt.diagnostics.landscape import Plane, StraightLine, plane, straight_line
from fastopt.diagnostics.monitor import Monitor
from fastopt.diagnostics.noise import (
    Disagreement,
    GradientMoments,
    NoiseEstimate,
    NoiseScale,
    disagreement,
    noise_from_batches,
    noise_from_norms,
    standard_error,
)
from fastopt.diagnostics.page import Report
from fastopt.diagnostics.symptoms import Symptom, gradient_norm_test
from fastopt.diagnostics.tails import GradientTails, gradient_tails
from fastopt.diagnostics.trajectory import Trajectory, trajectory

__all__ = [
    "Answer",
    "Conditioning",
    "CriticalPoint",
    "Curvature",
    "Disagreement",
    "Escape",
    "GradientCheck",
    "GradientError",
    "GradientMoments",
    "GradientTails",
    "InexactGradient",
    "LongTerm",
    "Monitor",
    "NoiseEstimate",
    "NoiseScale",
    "Plane",
    "Report",
    "Spectrum",
    "StraightLine",
    "Symptom",
    "Trajectory",
    "check_gradients",
    "conditioning",
    "critical_point",
    "curvature",
    "disagreement",
    "escape",
    "extreme_eigenvalues",
    "gradient_norm_test",
    "gradient_tails",
    "hessian_operator",
    "inexact_gradient",
    "long_term",
    "noise_from_batches",
    "noise_from_norms",
    "plane",
    "standard_error",
    "straight_line",
    "trajectory",
]
