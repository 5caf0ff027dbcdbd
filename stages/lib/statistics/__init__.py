"""Paired bootstrap, and drawing by hash."""
