"""The from-scratch model: tokenizers, shards, model, training loop, checkpoints, generation, HellaSwag."""
