"""Exact search, its inputs, BM25, and the fusion of rankings."""
