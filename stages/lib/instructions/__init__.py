"""Instruction texts from files and packages, and batches of them."""
