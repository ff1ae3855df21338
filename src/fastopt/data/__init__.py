"""Data: mini-batches, their orders, and the data set that comes with the package."""

from fastopt.data.batches import Batches
from fastopt.data.digits import load_digits
from fastopt.data.orders import Computed, Permuted, Rows
from fastopt.data.permutation import Permutation

__all__ = ["Batches", "Computed", "Permutation", "Permuted", "Rows", "load_digits"]
