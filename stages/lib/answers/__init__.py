"""How answers are written, what they state, and how alike two of them are."""
