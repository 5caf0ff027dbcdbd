"""Supervised tuning: masks, batches, adapters, memory, the trainer."""
