"""Writing questions and answers, and rejecting bad ones."""
