"""Batch, layer and RMS normalization (Deep Learning, 8.7.1) as functions on arrays, forward and backward."""
