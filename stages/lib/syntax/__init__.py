"""English sentences by their parse: what can be asked about them."""
