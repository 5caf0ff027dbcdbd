"""Grids of DVC experiments that survive what is killed: `python -m experiments` (docs/experiments.md)."""
