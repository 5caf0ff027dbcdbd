"""Finding the passages and sentences that answer a question, and telling when none does."""
