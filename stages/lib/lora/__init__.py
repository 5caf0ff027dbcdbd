"""Supervised tuning: the chat set, masks, batches, memory, the trainer."""
