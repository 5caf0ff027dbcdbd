"""What generation and scoring share: attention over groups of heads, a cache that grows in place, the token loop."""
