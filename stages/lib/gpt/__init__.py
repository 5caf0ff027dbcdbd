"""The GPT from scratch: model, checkpoints, generation."""
