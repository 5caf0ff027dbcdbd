"""Tuning: chat templates and masks, LoRA, rewards, answer comparison, GGUF export, chat."""
