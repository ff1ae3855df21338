"""Data: mini-batches, their orders and sources, and the data set that comes with the package."""

from fastopt.data.batches import Batches
from fastopt.data.csr import Csr
from fastopt.data.digits import load_digits
from fastopt.data.npy import Npy
from fastopt.data.tables import Table

__all__ = ["Batches", "Csr", "Npy", "Table", "load_digits"]
