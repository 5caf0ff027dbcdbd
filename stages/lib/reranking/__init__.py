"""Rerankers by cross-encoder, late interaction, yes/no and query likelihood."""
