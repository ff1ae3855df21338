"""What holds a run back (Deep Learning, 8.2): numbers, a verdict in words, a picture."""

from fastopt.diagnostics.noise import (
    Disagreement,
    GradientMoments,
    NoiseEstimate,
    NoiseScale,
    disagreement,
    noise_from_batches,
    noise_from_norms,
    standard_error,
)

__all__ = [
    "Disagreement",
    "GradientMoments",
    "NoiseEstimate",
    "NoiseScale",
    "disagreement",
    "noise_from_batches",
    "noise_from_norms",
    "standard_error",
]
