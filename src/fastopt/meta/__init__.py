"""Around an optimizer (Deep Learning, 8.1, 8.7): averages, early stopping, pretraining, continuation, curricula.

All of it works on any model that is a tree of parameters and a function giving loss and gradients. ``progress=`` takes
False (nothing), True (a bar, or a line now and then, on stderr), or a function ``(title, done, total, numbers)``.
"""

from fastopt.meta.averages import OnPlateau, adopt_average, averaged, swa
from fastopt.meta.early_stopping import EarlyStopping
from fastopt.meta.pretrain import Greedy, Hint, Stage
from fastopt.meta.training import early_stop, train_steps, train_until
from fastopt.meta.transferring import Thaw, transfer

__all__ = [
    "EarlyStopping",
    "Greedy",
    "Hint",
    "OnPlateau",
    "Stage",
    "Thaw",
    "adopt_average",
    "averaged",
    "early_stop",
    "swa",
    "train_steps",
    "train_until",
    "transfer",
]
