"""Around an optimizer (Deep Learning, 8.1, 8.7): averages, early stopping, pretraining, continuation, curricula."""

from fastopt.meta import pacing
from fastopt.meta.batch_size import (
    BiggerBatches,
    NoiseGuided,
    geometric_size,
    linear_size,
    scale_lr,
    stepped_size,
)
from fastopt.meta.continuation import (
    Attempt,
    Continuation,
    ContinuationResult,
    by_steps,
    continuation,
)
from fastopt.meta.curriculum import Curriculum, Mixture, combined, losses_of
from fastopt.meta.self_paced import SelfPaced
from fastopt.meta.smoothing import Smoothed, tempered_cross_entropy, tempered_errors

__all__ = [
    "Attempt",
    "BiggerBatches",
    "Continuation",
    "ContinuationResult",
    "Curriculum",
    "Mixture",
    "NoiseGuided",
    "SelfPaced",
    "Smoothed",
    "by_steps",
    "combined",
    "continuation",
    "geometric_size",
    "linear_size",
    "losses_of",
    "pacing",
    "scale_lr",
    "stepped_size",
    "tempered_cross_entropy",
    "tempered_errors",
]
