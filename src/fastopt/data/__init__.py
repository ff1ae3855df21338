"""Data: mini-batches, their orders, and the data set that comes with the package."""

from fastopt.data.batches import Batches
from fastopt.data.digits import load_digits

__all__ = ["Batches", "load_digits"]
