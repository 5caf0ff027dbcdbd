"""Exact pairs of near-duplicates, their groups, and a judge of them."""
