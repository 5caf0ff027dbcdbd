"""Chat sets and question-reasoning-answer sets: items, edge cases, splits."""
