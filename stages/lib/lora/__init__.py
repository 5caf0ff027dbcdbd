"""Supervised tuning: masks, batches, memory, the trainer."""
