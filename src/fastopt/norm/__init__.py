"""Batch, layer and RMS normalization (Deep Learning, 8.7.1) as functions on arrays, forward and backward."""

from fastopt._core.norm import Cache
from fastopt.norm.batch import batch_norm, batch_norm_backward, running_statistics
from fastopt.norm.folding import fold, fold_into_next
from fastopt.norm.rows import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward

__all__ = [
    "Cache",
    "batch_norm",
    "batch_norm_backward",
    "fold",
    "fold_into_next",
    "layer_norm",
    "layer_norm_backward",
    "rms_norm",
    "rms_norm_backward",
    "running_statistics",
]
