"""Texts in any language: their words, and whether they are English."""
