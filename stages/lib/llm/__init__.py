"""Talking to language models: one small protocol, one file a backend, and the ledger in front of them."""
