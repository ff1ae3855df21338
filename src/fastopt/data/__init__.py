"""Data: mini-batches, their orders, and the data set that comes with the package."""

from fastopt.data.batches import Batches
from fastopt.data.blocks import Blocks
from fastopt.data.digits import load_digits
from fastopt.data.grouped import Grouped, Stratified
from fastopt.data.orders import Computed, Permuted, Rows, Strategy
from fastopt.data.permutation import Permutation
from fastopt.data.weighted import Weighted

__all__ = [
    "Batches",
    "Blocks",
    "Computed",
    "Grouped",
    "Permutation",
    "Permuted",
    "Rows",
    "Strategy",
    "Stratified",
    "Weighted",
    "load_digits",
]
