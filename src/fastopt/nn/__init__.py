"""A small network to train: layers, losses, a model with one flat vector of parameters. Not a framework."""

from fastopt.nn.files import load, save
from fastopt.nn.fold import fold
from fastopt.nn.layers import GELU, Auxiliary, Dense, Dropout, Layer, ReLU, Residual, Sigmoid, Tanh
from fastopt.nn.losses import BinaryCrossEntropy, Hinge, Huber, Loss, SoftmaxCrossEntropy, SquaredError
from fastopt.nn.model import Sequential, mlp
from fastopt.nn.norms import BatchNorm, LayerNorm, RMSNorm
from fastopt.nn.pretraining import Segment, greedy_stages, hint

__all__ = [
    "Auxiliary",
    "BatchNorm",
    "BinaryCrossEntropy",
    "Dense",
    "Dropout",
    "GELU",
    "Hinge",
    "Huber",
    "Layer",
    "LayerNorm",
    "Loss",
    "RMSNorm",
    "ReLU",
    "Residual",
    "Segment",
    "Sequential",
    "Sigmoid",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "Tanh",
    "fold",
    "greedy_stages",
    "hint",
    "load",
    "mlp",
    "save",
]
