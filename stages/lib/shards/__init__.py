"""Memory-mapped shards of tokens: written, resumed, read."""
