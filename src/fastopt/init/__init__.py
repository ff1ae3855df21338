"""Initial values of parameters (Deep Learning, 8.4): filled in place from a generator, and returned."""
