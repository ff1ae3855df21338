"""First-order optimizers (book 8.3 and 8.5)."""

from fastopt.optim.adagrad import Adadelta, Adagrad
from fastopt.optim.adam import Adam, Adamax, AdamW, NAdam, RAdam
from fastopt.optim.base import Optimizer
from fastopt.optim.rmsprop import RMSprop
from fastopt.optim.rprop import Lion, Rprop
from fastopt.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
]
