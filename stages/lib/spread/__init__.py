"""Work in pieces by the workers of a Ray cluster: the pieces, what a worker does with one, and what is lost with it."""
