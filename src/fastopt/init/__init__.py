"""Initial values of parameters (Deep Learning, 8.4): filled in place from a generator, and returned.

Every initializer takes an array or a tree of arrays and ``rng=``; `tree` takes a rule for each path. Inputs and
outputs of a weight array are its last two axes, (..., in, out), as in ``y = x @ w``; ``axes="out_in"`` is torch's
layout.
"""

from fastopt.init._biases import forget_bias, marginal_bias, relu_bias
from fastopt.init._fans import Fans
from fastopt.init._fans import fans_of as fans
from fastopt.init._gains import gain
from fastopt.init._layers import Layer, Skip
from fastopt.init._lsuv import lsuv
from fastopt.init._orthogonal import delta_orthogonal, orthogonal
from fastopt.init._scaled import (
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    heuristic_uniform,
    lecun_normal,
    lecun_uniform,
    variance_scaling,
)
from fastopt.init._simple import constant, normal, ones, truncated_normal, uniform, zeros
from fastopt.init._structured import identity, near_identity, sparse
from fastopt.init._tree import tree
from fastopt.init._walk import random_walk
from fastopt.init._watch import LayerScale, Scales, adjust, watch

__all__ = [
    "Fans",
    "Layer",
    "LayerScale",
    "Scales",
    "Skip",
    "adjust",
    "constant",
    "delta_orthogonal",
    "fans",
    "forget_bias",
    "gain",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "heuristic_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "lsuv",
    "marginal_bias",
    "near_identity",
    "normal",
    "ones",
    "orthogonal",
    "random_walk",
    "relu_bias",
    "sparse",
    "tree",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "watch",
    "zeros",
]
