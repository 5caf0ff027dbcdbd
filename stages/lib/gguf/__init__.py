"""Release: merge, quantize, write and verify a GGUF file."""
