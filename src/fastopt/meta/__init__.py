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
from fastopt.meta.curriculum import Curriculum, Mixture, combined, losses_of
from fastopt.meta.self_paced import SelfPaced

__all__ = [
    "BiggerBatches",
    "Curriculum",
    "Mixture",
    "NoiseGuided",
    "SelfPaced",
    "combined",
    "geometric_size",
    "linear_size",
    "losses_of",
    "pacing",
    "scale_lr",
    "stepped_size",
]
