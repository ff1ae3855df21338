"""Around an optimizer (Deep Learning, 8.1, 8.7): averages, early stopping, pretraining, continuation, curricula."""

from fastopt.meta.averages import OnPlateau, adopt_average, averaged, swa

__all__ = ["OnPlateau", "adopt_average", "averaged", "swa"]
