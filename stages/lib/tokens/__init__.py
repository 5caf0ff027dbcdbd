"""Tokenizers; no torch."""
