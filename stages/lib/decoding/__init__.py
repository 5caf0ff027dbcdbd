"""What generation and scoring share: attention over groups of heads, and a cache that grows in place."""
