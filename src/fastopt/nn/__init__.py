"""A small network to train: layers, losses, a model with one flat vector of parameters. Not a framework."""

from fastopt.nn.files import load, save
from fastopt.nn.layers import GELU, Dense, Dropout, Layer, ReLU, Residual, Sigmoid, Tanh
from fastopt.nn.losses import BinaryCrossEntropy, Hinge, Huber, Loss, SoftmaxCrossEntropy, SquaredError
from fastopt.nn.model import Sequential, mlp

__all__ = [
    "BinaryCrossEntropy",
    "Dense",
    "Dropout",
    "GELU",
    "Hinge",
    "Huber",
    "Layer",
    "Loss",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "Tanh",
    "load",
    "mlp",
    "save",
]
