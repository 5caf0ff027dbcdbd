"""Training an embedding model and a cross-encoder on a corpus' own questions: examples, hard negatives, trainers."""
