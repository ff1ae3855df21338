"""Benchmarks, run by hand: ``python -m bench.update --quick``. See README.md for how to read the figures."""
