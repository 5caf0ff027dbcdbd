"""Search, fusion, relevance, measures and the benchmark's pictures."""
