"""LoRA adapters: loading, resuming, publishing them with a card."""
