"""Data: mini-batches, their orders and sources, and the data set that comes with the package."""

from fastopt.data.batches import Batches
from fastopt.data.blocks import Blocks
from fastopt.data.csr import Csr
from fastopt.data.digits import load_digits
from fastopt.data.grouped import Grouped, Stratified
from fastopt.data.npy import Npy
from fastopt.data.orders import Computed, Permuted, Rows, Strategy
from fastopt.data.permutation import Permutation
from fastopt.data.tables import Table
from fastopt.data.weighted import Weighted

__all__ = [
    "Batches",
    "Blocks",
    "Computed",
    "Csr",
    "Grouped",
    "Npy",
    "Permutation",
    "Permuted",
    "Rows",
    "Strategy",
    "Stratified",
    "Table",
    "Weighted",
    "load_digits",
]
