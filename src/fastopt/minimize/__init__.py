"""Minimizers of deterministic objectives."""
