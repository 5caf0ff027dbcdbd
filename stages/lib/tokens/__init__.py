"""Tokenizers, instruction texts and memory-mapped shards; no torch."""
