"""A profile's stages on a CPU: its models' real shapes with random weights, cut to two layers. `make dry-run`."""
