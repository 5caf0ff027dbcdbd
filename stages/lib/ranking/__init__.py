"""Relevance, measures and the benchmark's report and pictures."""
