"""Around an optimizer (Deep Learning, 8.1, 8.7): averages, early stopping, pretraining, continuation, curricula.

All of it works on any model that is a tree of parameters and a function giving loss and gradients. ``progress=`` takes
False (nothing), True (a bar, or a line now and then, on stderr), or a function ``(title, done, total, numbers)``.
"""

from fastopt.meta import pacing
from fastopt.meta.averages import OnPlateau, adopt_average, averaged, swa
from fastopt.meta.batch_size import (
    BiggerBatches,
    NoiseGuided,
    geometric_size,
    linear_size,
    scale_lr,
    stepped_size,
)
from fastopt.meta.continuation import by_steps, continuation
from fastopt.meta.curriculum import Curriculum, Mixture, combined, losses_of
from fastopt.meta.early_stopping import EarlyStopping
from fastopt.meta.levels import Attempt, Continuation, ContinuationResult
from fastopt.meta.pretrain import Greedy, Hint, Stage
from fastopt.meta.self_paced import SelfPaced
from fastopt.meta.smoothing import Smoothed, tempered_cross_entropy, tempered_errors
from fastopt.meta.training import early_stop, train_steps, train_until
from fastopt.meta.transferring import Thaw, transfer

__all__ = [
    "Attempt",
    "BiggerBatches",
    "Continuation",
    "ContinuationResult",
    "Curriculum",
    "EarlyStopping",
    "Greedy",
    "Hint",
    "Mixture",
    "NoiseGuided",
    "OnPlateau",
    "SelfPaced",
    "Smoothed",
    "Stage",
    "Thaw",
    "adopt_average",
    "averaged",
    "by_steps",
    "combined",
    "continuation",
    "early_stop",
    "geometric_size",
    "linear_size",
    "losses_of",
    "pacing",
    "scale_lr",
    "stepped_size",
    "swa",
    "tempered_cross_entropy",
    "tempered_errors",
    "train_steps",
    "train_until",
    "transfer",
]
