"""The curve of a training: its rows, what is scored on the way, and the picture of both."""
