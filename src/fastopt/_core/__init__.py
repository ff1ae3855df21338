"""Floor 1: typed Cython between NumPy arrays and the C engine. Knows arrays, knows no optimizer, holds no formula."""
